"""What ``jobs/import_mmaction2.py`` takes, writes and shows."""

import argparse
from collections.abc import Iterable, Sequence
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from kinoray.cli.console import closing_table
from kinoray.config.text import inline, with_comments
from kinoray.errors import CheckpointError, ConfigError
from kinoray.mmaction2.draft import Entry, Remark
from kinoray.mmaction2.loaders import Options
from kinoray.mmaction2.read import read_config
from kinoray.mmaction2.translate import Translation, translate_config
from kinoray.models.weights import WeightsReport, load_weights
from kinoray.recipe import Recipe
from kinoray.train.checkpoint import Progress, read_weights, write_checkpoint

CHECKPOINT = "checkpoint"
"""The folder of converted weights, below the one that is asked for."""


def importing_parser(description: str) -> argparse.ArgumentParser:
    """What the job takes."""
    arguments = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("config", help="a config of MMAction2 1.x, a .py file; it is read, never run")
    arguments.add_argument("--checkpoint", metavar="PTH", help="weights to convert: a file or a URL")
    arguments.add_argument("-o", "--out", metavar="FOLDER", required=True, help="where to write; made if missing")
    arguments.add_argument(
        "--data-root", metavar="FOLDER", default="", help="what the config's relative paths are below"
    )
    arguments.add_argument(
        "--gpus", type=int, metavar="N", help="GPUs that the config was meant for, if its name is silent"
    )
    arguments.add_argument(
        "--set",
        metavar="PATH=VALUE",
        action="append",
        default=[],
        help="override one value of the recipe, such as data.train.source=my.csv; may be repeated",
    )
    return arguments


def translated(arguments: argparse.Namespace) -> tuple[Translation, Recipe]:
    """The config's translation, and the recipe that it is.

    Raises:
        ConfigError: lists what has no translation, or what is wrong with the recipe.
    """
    if arguments.gpus is not None and arguments.gpus < 1:
        raise ConfigError(f"--gpus: a number of GPUs, got {arguments.gpus}; it should be at least 1")
    options = Options(data_root=arguments.data_root, num_gpus=arguments.gpus)
    translation = translate_config(read_config(arguments.config), arguments.set, options)
    return translation, Recipe.from_layers(translation.layered, f"recipe {arguments.config}")


def write_recipe(translation: Translation, recipe: Recipe, config: Path, out: Path) -> Path:
    """Write the recipe as people would: what is set, and beside it what it was made from.

    Args:
        translation: of the config.
        recipe: that it is.
        config: the file.
        out: folder, made if missing.

    Returns:
        The recipe's file.
    """
    keys = {entry.path: entry.key for entry in translation.entries}

    def comment(path: str) -> str:
        origin = translation.layered.origins.get(path, "")
        return origin if origin.startswith("--set") else _of_nearest(keys, path)

    head = [f"# {config.name} of MMAction2, translated by jobs/import_mmaction2.py."]
    if translation.different:
        head.append("# Not quite the same:")
        head += [f"#   {remark.key or 'config'}: {remark.told}" for remark in translation.different]
    out.mkdir(parents=True, exist_ok=True)
    file = out / f"{recipe.name}.yaml"
    file.write_text("\n".join([*head, with_comments(translation.layered.values, comment)]), encoding="utf-8")
    assert Recipe.load(file) == recipe, file
    return file


def convert_weights(recipe: Recipe, checkpoint: str, out: Path) -> WeightsReport:
    """Write the weights under our names as a checkpoint, which every job takes.

    Raises:
        CheckpointError: they do not fit the recipe's model.
    """
    model = recipe.model.without_pretrained().build()
    report = load_weights(model, read_weights(checkpoint), where=checkpoint)
    if report.fresh:
        raise CheckpointError(
            f"{checkpoint}: its head is of another number of classes than the config's ({recipe.model.num_classes}); "
            "give the config that it was trained with"
        )
    classes = recipe.data.class_names() or tuple(str(index) for index in range(recipe.model.num_classes))
    write_checkpoint(
        out / CHECKPOINT,
        weights=model.state_dict(),
        training_state={},
        recipe=recipe,
        classes=classes,
        progress=Progress(epoch=recipe.training.epochs - 1, step=0),
        metrics={},
    )
    return report


def show_import(console: Console, translation: Translation, places: Sequence[tuple[str, str]]) -> None:
    """Print what became of every key.

    Args:
        console: where to.
        translation: of the config.
        places: what was written, and where.
    """
    console.print(_translated(translation.entries))
    if translation.different:
        console.print(_remarks("not quite the same", translation.different))
    if translation.idle:
        console.print(_remarks("without effect here", _by_reason(translation.idle)))
    console.print(closing_table("imported", places))


def _translated(entries: Iterable[Entry]) -> Table:
    table = Table(title="translated", box=box.ROUNDED, title_justify="left", title_style="bold")
    for heading in ("config", "recipe", "set at"):
        table.add_column(heading, overflow="fold")
    for entry in entries:
        table.add_row(Text(entry.key), Text(f"{entry.path}: {inline(entry.value)}"), Text(entry.origin))
    return table


def _remarks(title: str, remarks: Iterable[Remark]) -> Table:
    table = Table(title=title, box=box.ROUNDED, show_header=False, title_justify="left", title_style="bold")
    table.add_column(overflow="fold")
    table.add_column(overflow="fold")
    for remark in remarks:
        table.add_row(Text(remark.key), Text(remark.told))
    return table


def _by_reason(remarks: Iterable[Remark]) -> list[Remark]:
    """Keys that share their reason, in a row."""
    keys: dict[str, list[Remark]] = {}
    for remark in remarks:
        keys.setdefault(remark.told, []).append(remark)
    return [
        Remark(", ".join(dict.fromkeys(remark.key for remark in alike)), alike[0].origin, told)
        for told, alike in keys.items()
    ]


def _of_nearest(keys: dict[str, str], path: str) -> str:
    """The key that a leaf of the recipe was made from."""
    leaf = path
    while path and path not in keys:
        path = path.rpartition(".")[0]
    return keys.get(path) or ("" if leaf == "name" else "made up")
