"""What ``jobs/describe.py`` prints."""

import io
from collections.abc import Callable

import pytest
from rich.console import Console

from kinoray.cli.describing import describe_parser, show_description
from kinoray.models.cost import ForwardCost, Stage, TrainingCost
from kinoray.recipe import Recipe
from kinoray.train.describe import Description, SplitCost

GIGA = 10**9
BLOCK = {"output_shape": (2, 16, 768), "num_parameters": 1000, "macs": 2 * GIGA}


@pytest.fixture
def found() -> Description:
    stages = (
        Stage("stem", (2, 8, 4, 56, 56), 500, GIGA // 4),
        *(Stage(f"blocks.{number}", **BLOCK) for number in range(3)),
        Stage("fc", (2, 5), 250, 0),
        Stage("(other)", None, 16, GIGA // 2),
    )
    view = ForwardCost(6_750_000_000, 3 << 20, stages)
    video = ForwardCost(20_250_000_000, 9 << 20, stages)
    splits = (SplitCost("train", (1, 3, 8, 112, 112), view, view), SplitCost("val", (3, 3, 8, 128, 128), view, video))
    return Description(3766, 3266, splits, TrainingCost(40 << 20, 50 << 20))


@pytest.fixture
def shown(found: Description, toy_recipe: Callable[..., Recipe]) -> list[str]:
    console = Console(file=io.StringIO(), width=140)
    show_description(console, toy_recipe({"training.precision": "bf16"}), found)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue().splitlines()


def cells(lines: list[str], first: str) -> list[str]:
    (row,) = [line for line in lines if line.startswith(f"│ {first} ")]
    return [cell.strip() for cell in row.strip("│").split("│")]


def test_a_row_for_each_part_and_one_for_parts_that_are_alike(shown: list[str]) -> None:
    assert shown[0].rstrip() == "one view of val, 3 x 8 x 128 x 128"
    assert cells(shown, "stem") == ["stem", "8 x 4 x 56 x 56", "500", "0.250"]
    assert cells(shown, "blocks.0") == ["blocks.0 to blocks.2, each", "16 x 768", "1,000", "2.000"]
    assert cells(shown, "(other)") == ["(other)", "", "16", "0.500"]
    assert cells(shown, "all") == ["all", "", "3,766", "6.750"]


def test_a_row_for_each_split(shown: list[str]) -> None:
    assert cells(shown, "train") == ["train", "1 x 3 x 8 x 112 x 112", "6.750", "6.750", "3.0 MiB", "3.0 MiB"]
    assert cells(shown, "val") == ["val", "3 x 3 x 8 x 128 x 128", "6.750", "20.250", "3.0 MiB", "9.0 MiB"]


def test_what_is_counted_is_said(shown: list[str]) -> None:
    text = " ".join(" ".join(shown).split())
    assert "3,766 parameters, 0.0 MiB, 500 of them frozen" in text
    assert "training a video (bf16): 40.0 MiB of activations wait for the backward pass, 50.0 MiB at the peak" in text
    assert "GMACs are what papers on video and MMAction2 call GFLOPs" in text


def test_its_arguments() -> None:
    arguments = describe_parser("").parse_args(["recipe.yaml", "--set", "a=1", "--set", "b=2"])
    assert (arguments.recipe, arguments.set, arguments.site) == ("recipe.yaml", ["a=1", "b=2"], None)
