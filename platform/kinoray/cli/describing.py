"""What ``jobs/describe.py`` takes and shows."""

import argparse
from collections.abc import Sequence
from itertools import groupby

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from kinoray.models.cost import Stage
from kinoray.recipe import Recipe
from kinoray.train.describe import Description, SplitCost

BYTES_OF_FP32 = 4


def describe_parser(description: str) -> argparse.ArgumentParser:
    """What the job takes."""
    arguments = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("recipe", help="a recipe file")
    arguments.add_argument("--site", metavar="YAML", help="names the packages of your own kinds")
    arguments.add_argument(
        "--set",
        metavar="PATH=VALUE",
        action="append",
        default=[],
        help="override one value of the recipe, such as data.test.crop=224; may be repeated",
    )
    return arguments


def show_description(console: Console, recipe: Recipe, found: Description) -> None:
    """Print the parts of the network, the views, and what they cost.

    Args:
        console: where to.
        recipe: that was described.
        found: of it.
    """
    shown = found.splits[-1]
    console.print(_stages(shown))
    console.print(_splits(found.splits))
    frozen = found.num_parameters - found.num_trained
    console.print(
        f"{recipe.model.kind}: {found.num_parameters:,} parameters, {_mib(found.num_parameters * BYTES_OF_FP32)}"
        + (f", {frozen:,} of them frozen" if frozen else "")
    )
    recomputed = ", recomputing" if recipe.training.activation_checkpointing else ""
    console.print(
        f"training a video ({recipe.training.precision}{recomputed}): {_mib(found.training.saved_bytes)} of "
        f"activations wait for the backward pass, {_mib(found.training.peak_bytes)} at the peak, with their gradients; "
        "parameters, their gradients and the optimizer come to that"
    )
    console.print(
        "GMACs are what papers on video and MMAction2 call GFLOPs: a multiply-add counts once; "
        "strictly, FLOPs are twice as many"
    )


def _stages(split: SplitCost) -> Table:
    """A row for each part; neighbours that are alike share one."""
    table = Table(title=f"one view of {split.split}, {_by(split.shape[1:])}", box=box.ROUNDED, show_footer=True)
    table.title_justify, table.title_style = "left", "bold"
    stages = split.view.stages
    table.add_column("part", "all", no_wrap=True)
    table.add_column("output", no_wrap=True)
    table.add_column("parameters", f"{sum(stage.num_parameters for stage in stages):,}", justify="right")
    table.add_column("GMACs", _giga(split.view.macs), justify="right")
    for alike in (list(group) for _, group in groupby(stages, lambda stage: (_parent(stage.name), *_figures(stage)))):
        first, last = alike[0], alike[-1]
        name = first.name if first is last else f"{first.name} to {last.name}, each"
        shape = "" if first.output_shape is None else _by(first.output_shape[1:])
        table.add_row(Text(name), shape, f"{first.num_parameters:,}", _giga(first.macs))
    return table


def _splits(splits: Sequence[SplitCost]) -> Table:
    table = Table(title="one video", box=box.ROUNDED)
    table.title_justify, table.title_style = "left", "bold"
    for name in ("split", "views x C x T x H x W"):
        table.add_column(name, no_wrap=True)
    for name in ("GMACs of a view", "GMACs of all", "peak activations of a view", "of all"):
        table.add_column(name, justify="right")
    for split in splits:
        macs = [_giga(cost.macs) for cost in (split.view, split.video)]
        memory = [_mib(cost.peak_bytes) for cost in (split.view, split.video)]
        table.add_row(split.split, _by(split.shape), *macs, *memory)
    return table


def _figures(stage: Stage) -> tuple[tuple[int, ...] | None, int, int]:
    return stage.output_shape, stage.num_parameters, stage.macs


def _parent(name: str) -> str:
    return name.rpartition(".")[0]


def _by(numbers: Sequence[int]) -> str:
    return " x ".join(str(number) for number in numbers)


def _giga(number: int) -> str:
    return f"{number / 1e9:,.3f}"


def _mib(num_bytes: int) -> str:
    return f"{num_bytes / 2**20:,.1f} MiB"
