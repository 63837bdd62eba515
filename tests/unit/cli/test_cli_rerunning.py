"""How a recorded run becomes one to run again, and what a person sees of it."""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from toy_training import load_data

from kinoray.cli import rerunning
from kinoray.cli.rerunning import (
    allocate_as_recorded,
    as_recorded,
    comparison_lines,
    conclude,
    show_differences,
)
from kinoray.cli.rerunning import load_data as load_again
from kinoray.errors import DataError, ResourceError
from kinoray.recipe import Recipe
from kinoray.site import Allocation, Capacity, Node, Site
from kinoray.tracking.differences import Comparison
from kinoray.tracking.provenance import environment_here
from kinoray.tracking.recorded import RecordedRun
from kinoray.tracking.training import dataset_infos

ON_GPU, ON_CPU = Allocation(2, 4.0, 1.0, 2.0), Allocation(1, 1.0, 0.0, 1.0)
MakeRecipe = Callable[..., Recipe]


@pytest.fixture
def recorded(toy_recipe: MakeRecipe) -> Callable[[Allocation | None], RecordedRun]:
    """A run of the toy recipe with so many workers."""

    def recorded(allocation: Allocation | None) -> RecordedRun:
        return RecordedRun(
            run_id="0" * 32,
            name="toy-1",
            experiment="mine",
            recipe_yaml=toy_recipe().yaml(),
            data=dataset_infos(load_data(toy_recipe())),
            commit="",
            device="cpu",
            num_workers=3,
            environment=None if allocation is None else environment_here(Site(), allocation),
            resumed_environment=None,
        )

    return recorded


@pytest.mark.parametrize(
    ("allocation", "said", "wanted"),
    [
        (ON_GPU, {}, {"workers": 2, "cpus_per_worker": 4.0, "gpus_per_worker": 1.0, "experiment": "mine"}),
        (ON_GPU, {"workers": 1, "experiment": "tries"}, {"workers": 1, "cpus_per_worker": 4.0, "experiment": "tries"}),
        (ON_GPU, {"gpus_per_worker": 0}, {"workers": 2, "cpus_per_worker": None, "gpus_per_worker": 0}),
        (None, {}, {"workers": 3, "cpus_per_worker": None, "gpus_per_worker": None, "experiment": "mine"}),
    ],
)
def test_the_site_is_that_of_the_run_but_for_what_it_says(
    recorded: Callable[..., RecordedRun], allocation: Allocation | None, said: dict[str, Any], wanted: dict[str, Any]
) -> None:
    site = as_recorded(Site(**said), recorded(allocation))
    assert {name: getattr(site, name) for name in wanted} == wanted


def test_the_site_means_the_same_in_another_folder(recorded: Callable[..., RecordedRun]) -> None:
    site = as_recorded(Site(storage="a/b", tracking_uri="sqlite:///c.db", packages=("mine",)), recorded(ON_CPU))
    assert site.storage == str(Path.cwd() / "a/b")
    assert site.tracking_uri == f"sqlite:///{Path.cwd()}/c.db"
    assert site.packages == (str(Path.cwd() / "mine"),)


def test_a_place_that_cannot_hold_it(recorded: Callable[..., RecordedRun]) -> None:
    run = recorded(ON_GPU)
    with pytest.raises(ResourceError, match=r"had is taken \(site\.workers 2, site\.cpus_per_worker 4, site\.gpus_per"):
        allocate_as_recorded(as_recorded(Site(), run), Capacity((Node(8),)), run)


def test_other_videos_are_refused_unless_allowed(
    recorded: Callable[..., RecordedRun], toy_recipe: MakeRecipe, toy_videos: Path, tmp_path: Path
) -> None:
    run = recorded(ON_CPU)
    assert load_again(toy_recipe(), run, allow_other=False).train.num_videos == 24
    lines = (toy_videos / "train.csv").read_text().splitlines()
    shorter = tmp_path / "train.csv"
    shorter.write_text("\n".join(lines[:-1]))
    source = {"kind": "manifest", "path": str(shorter), "root": str(toy_videos)}
    recipe = toy_recipe({"data.train.source": source})
    with pytest.raises(DataError, match=r"data\.train: .*train\.csv is not what run toy-1 read, got 23 videos, digest"):
        load_again(recipe, run, allow_other=False)
    assert load_again(recipe, run, allow_other=True).train.num_videos == 23
    shorter.write_text("\n".join(lines))  # the same list in another place
    assert load_again(recipe, run, allow_other=False).train.num_videos == 24


def test_a_list_that_is_gone(recorded: Callable[..., RecordedRun], toy_recipe: MakeRecipe) -> None:
    with pytest.raises(DataError, match=r"gone\.csv: no such file .*\nrelative paths of run toy-1 start from "):
        load_again(toy_recipe({"data.train.source": "gone.csv"}), recorded(ON_CPU), allow_other=False)


def test_differences_are_shown_in_two_groups(recorded: Callable[..., RecordedRun], toy_recipe: MakeRecipe) -> None:
    run, recipe = recorded(ON_CPU), toy_recipe()
    here, dataset = environment_here(Site(), ON_CPU), load_data(recipe)
    shown = Console(file=io.StringIO(), width=200)
    show_differences(shown, run, recipe, dataset, run.environment or here)
    assert "nothing that is recorded of it differs here" in text_of(shown)
    shown = Console(file=io.StringIO(), width=200)
    show_differences(shown, run, recipe, dataset, here.model_copy(update={"folder": "/home", "num_workers": 2}))
    first, second = text_of(shown).split("should change no number")
    assert "may change the numbers" in first
    assert "workers" in first
    assert "/home" in second


@pytest.mark.parametrize(
    ("comparison", "lines"),
    [
        (Comparison(34, 120, {}, 0, 0), ["bit-equal: 34 metrics at 120 points"]),
        (
            Comparison(3, 9, {"val/loss": 0.5, "train/loss": 1e-7}, 0, 4),
            [
                "not bit-equal: 2 of 3 metrics at 9 points differ, by a largest relative difference of",
                "  val/loss  0.5",
                "  train/loss  1e-07",
                "4 more points are in the new run alone",
            ],
        ),
        (
            Comparison(0, 0, {}, 2, 0),
            [
                "compared: nothing, for the two runs share no point of any metric",
                "2 more points are in the recorded run alone",
            ],
        ),
    ],
)
def test_what_came_of_it(comparison: Comparison, lines: list[str]) -> None:
    assert comparison_lines(comparison) == lines


def test_many_metrics_that_differ() -> None:
    lines = comparison_lines(Comparison(12, 12, {f"m{number}": 0.1 for number in range(12)}, 0, 0))
    assert lines[-1] == "  ... and 2 more"
    assert len(lines) == 12


def test_a_store_that_is_away_at_the_end(recorded: Callable[..., RecordedRun], monkeypatch: pytest.MonkeyPatch) -> None:
    def away(uri: str, run_id: str) -> None:
        raise ResourceError("tracking: does not answer")

    monkeypatch.setattr(rerunning, "load_history", away)
    with pytest.raises(ResourceError) as caught:
        conclude(Console(file=io.StringIO()), "sqlite:///x", recorded(ON_CPU), "1")
    assert caught.value.at_work, "training is done, so the input was not wrong"


def text_of(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()
