"""What ``jobs/evaluate.py`` takes and shows: other views than the recipe's, and tables of what is worst."""

import re
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from kinoray.cli.console import closing_table, duration, probe_rows, shown
from kinoray.cluster.worker import EvaluationOutcome
from kinoray.data.config import EvalSplit
from kinoray.data.manifest import Manifest
from kinoray.errors import ConfigError
from kinoray.recipe import Recipe
from kinoray.site import Site
from kinoray.tracking.evaluation import log_evaluation
from kinoray.train.checkpoint import Checkpoint
from kinoray.train.events import Evaluation
from kinoray.train.predictions import score_predictions, write_predictions
from kinoray.train.report import Report, make_report, write_report

NUM_WORST_SHOWN = 10


def with_views(recipe: Recipe, split: str, views: str) -> Recipe:
    """A recipe that scores a split by other views: as many clips and crops, of the same size and scale.

    Args:
        recipe: whose sampling says what a clip is.
        split: ``val`` or ``test``.
        views: clips and crops, as in ``10x3``.

    Raises:
        ConfigError: they make no sense, or the sampling takes another number of clips.
    """
    match = re.fullmatch(r"(\d+)x(\d+)", views)
    if match is None:
        raise ConfigError(f"--views: clips and crops, got '{views}'; it should read like 10x3")
    num_clips, num_crops = int(match[1]), int(match[2])
    held_by = "val" if split == "test" and recipe.data.test is None else split
    before = recipe.data.evaluation_split(split)
    if not isinstance(before, EvalSplit):
        raise ConfigError(f"--views: got {views} for data.{held_by} of kind '{before.kind}'; only videos have crops")
    fields = type(before.sampling).model_fields
    values: dict[str, int] = {"num_crops": num_crops, "resize": before.short_side()}
    if "num_clips" in fields:
        values["sampling.num_clips"] = num_clips
    if "twice" in fields:
        values["sampling.twice"] = "num_clips" not in fields and num_clips == 2
    recipe = recipe.replace({f"data.{held_by}.{name}": value for name, value in values.items()}, f"--views {views}")
    _check_clips(recipe, split, num_clips, views)
    return recipe


def predictions_file(out: str | None, checkpoint: Checkpoint, split: str, *, named: str) -> Path:
    """Where the predictions go: as told, else beside the checkpoint or, of one in a store, into the working folder.

    Args:
        out: as the user told.
        checkpoint: that scores.
        split: that is scored.
        named: the checkpoint, as the user named it.

    Raises:
        ConfigError: it is no place for a table with others beside it.
    """
    if out is None:
        beside = Path(named).name if "://" in named else checkpoint.folder
        return Path(f"{beside}-predictions-{split}.parquet")
    if "://" in out or not out.endswith(".parquet"):
        raise ConfigError(f"--out: the predictions, got '{out}'; it should be a local file that ends with .parquet")
    return Path(out)


def conclude(
    console: Console,
    outcome: EvaluationOutcome,
    recipe: Recipe,
    manifest: Manifest,
    site: Site,
    *,
    checkpoint: str,
    out: Path,
) -> None:
    """Write what the workers predicted, so that nothing after it can cost that; score it, record it, and show it.

    Args:
        console: where to show it.
        outcome: of the workers.
        recipe: whose views were scored.
        manifest: of the split.
        site: names the tracking store.
        checkpoint: as the user named it.
        out: the predictions' file; tables go beside it.

    Raises:
        DataError: too many videos could not be read.
        UserCodeError: a metric of the recipe fails.
    """
    predictions = outcome.predictions
    write_predictions(predictions, manifest, out)
    evaluation = score_predictions(predictions, recipe, manifest, seconds=outcome.seconds)
    report = make_report(predictions, evaluation, manifest, probe=outcome.probe)
    places = [("predictions", str(out)), *write_report(report, out)]
    link = log_evaluation(evaluation, report, recipe, manifest, site, checkpoint=checkpoint)
    show_report(console, evaluation, report, places=[*places, ("MLflow", link)])


def show_report(
    console: Console, evaluation: Evaluation, report: Report, *, places: Sequence[tuple[str, str]] = ()
) -> None:
    """Print the tables of an evaluation.

    Args:
        console: where to.
        evaluation: of a split.
        report: of this evaluation.
        places: more rows, such as where the predictions are.
    """
    for what, table in (("class", report.classes), ("group", report.groups)):
        if table is not None and table.num_rows > 1:
            console.print(_worst(what, table))
    low, high = report.top1_interval
    drawn = "videos" if report.num_groups is None else f"{report.num_groups:,} groups of videos"
    rows = [(name, shown(name, figure)) for name, figure in report.metrics.items()]
    rows.insert(1, ("top1, 95 % interval", f"{low:.3f} to {high:.3f}, by {drawn}"))
    rows += probe_rows(report.probe)
    rows.append(("videos", f"{evaluation.num_videos:,}"))
    if evaluation.bad_videos:
        first = evaluation.bad_videos[0].error
        rows.append(("unreadable videos", f"{len(evaluation.bad_videos)}, the first: {first}"))
    rows.append(("wall time", duration(evaluation.seconds)))
    console.print(closing_table("evaluated", [*rows, *places]))


def _check_clips(recipe: Recipe, split: str, num_clips: int, views: str) -> None:
    view = recipe.data.evaluation_split(split)
    assert isinstance(view, EvalSplit)
    taken, _ = view.sampling.shape(is_training=False)
    if taken != num_clips:
        raise ConfigError(
            f"--views: clips, got {num_clips} with a sampling of kind '{view.sampling.kind}', which takes {taken} of "
            f"a video; write --views {taken}{views[views.index('x') :]}, or set another sampling"
        )


def _worst(what: str, rows: pa.Table) -> Table:
    """The head of a table whose first column names classes or groups."""
    some = rows.num_rows > NUM_WORST_SHOWN
    title = f"worst {what}es" if what == "class" else f"worst {what}s"
    table = Table(title=f"{title}, {NUM_WORST_SHOWN} of {rows.num_rows:,}" if some else title, box=box.ROUNDED)
    table.title_justify, table.title_style = "left", "bold"
    for name, kind in zip(rows.column_names, rows.schema.types, strict=True):
        is_text = pa.types.is_string(kind)
        table.add_column(name.replace("_", " "), justify="left" if is_text else "right", no_wrap=not is_text)
    for row in rows.slice(0, NUM_WORST_SHOWN).to_pylist():
        table.add_row(*(Text(_cell(value)) for value in row.values()))
    return table


def _cell(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.3f}"
    return f"{value:,}" if isinstance(value, int) else str(value or "")
