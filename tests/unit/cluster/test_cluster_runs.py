"""Which run a command line means: a new one, one that goes on, one of that name whether or not it has begun."""

from pathlib import Path

import pytest

from kinoray.cluster.runs import ChosenRun, choose_run
from kinoray.errors import CheckpointError, ConfigError
from kinoray.recipe import Recipe
from kinoray.site import Site
from kinoray.train.checkpoint import Progress, write_checkpoint

RECIPE = Path(__file__).parents[3] / "configs/tiny3d/tiny3d_motion8.yaml"


@pytest.fixture
def site(tmp_path):
    return Site(storage=str(tmp_path))


@pytest.fixture
def begun(tmp_path):
    """A run of this name has a checkpoint."""
    write_checkpoint(
        tmp_path / "night" / "epoch-0000",
        weights={},
        training_state={},
        recipe=Recipe.load(RECIPE, ["training.init_from=/old/weights.pth"]),
        classes=["a"],
        progress=Progress(0, 1),
        metrics={},
    )


def choose(site, *overrides, recipe=str(RECIPE), run=None, resume=None) -> ChosenRun:
    return choose_run(site, recipe, overrides, default=RECIPE, run=run, resume=resume)


def test_a_run_without_a_name_is_new_each_time(site):
    one, other = choose(site), choose(site, recipe=None)
    assert one.recipe == other.recipe
    assert one.name != other.name
    assert one.name.startswith("tiny3d_motion8-")
    assert not one.goes_on
    assert not one.has_checkpoint


def test_a_named_run_begins(site):
    chosen = choose(site, run="night")
    assert (chosen.name, chosen.goes_on, chosen.has_checkpoint) == ("night", True, False)


def test_and_goes_on_by_the_same_command(site, begun):
    chosen = choose(site, "training.init_from=elsewhere.pth", run="night")
    assert (chosen.name, chosen.goes_on, chosen.has_checkpoint) == ("night", True, True)


def test_but_not_by_another_recipe(site, begun):
    with pytest.raises(ConfigError) as caught:
        choose(site, "optimizer.lr=0.5", "seed=7", run="night")
    lines = str(caught.value).splitlines()
    assert lines[0].startswith("--run night: was begun by another recipe; give this one another name, or go on with")
    assert lines[1:] == ["  seed: 0, now 7", "  optimizer.lr: 0.03, now 0.5"]


@pytest.mark.parametrize("name", ["", "a/b", "..", "-x", "a b", "s3://bucket"])
def test_what_is_no_name_is_refused(site, name):
    with pytest.raises(ConfigError, match=r"--run: got '.*'; a run's name should be letters, digits"):
        choose(site, run=name)


def test_a_resumed_run_has_its_own_recipe(site, begun):
    chosen = choose(site, "optimizer.lr=0.5", recipe=None, resume="night")
    assert chosen.recipe.optimizer.lr == 0.5
    assert chosen.recipe.training.init_from == "/old/weights.pth"
    assert chosen.has_checkpoint
    with pytest.raises(ConfigError, match=r"--resume night: goes on by its own recipe, got .*yaml, too; leave it out"):
        choose(site, resume="night")


def test_runs_that_could_be_meant_are_named(site, begun):
    with pytest.raises(CheckpointError, match=r"--resume day: no checkpoint of it in .*; runs there: night"):
        choose(site, recipe=None, resume="day")
