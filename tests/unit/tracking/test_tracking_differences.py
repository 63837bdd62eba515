"""What is said to differ between a recorded run and its repetition."""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from kinoray.recipe import Recipe
from kinoray.tracking.differences import compare_histories, differences
from kinoray.tracking.provenance import Environment
from kinoray.tracking.recorded import RecordedRun
from kinoray.tracking.run import DatasetInfo

BEFORE = Environment(
    folder="/work",
    num_workers=2,
    cpus_per_worker=4,
    gpus_per_worker=1,
    threads_per_worker=4,
    python="3.11.7",
    system="Linux x86_64",
    cpu="Xeon, AVX512",
    gpus=("NVIDIA H200, 575.1",),
    kinoray="0.1.0",
    code={"train/loop.py": "aa", "cli/console.py": "bb"},
    commit="0123456789abcdef",
    versions={"torch": "2.15.0", "av": "18.1.0", "boto3": "1.44", "rich": "15.0"},
)
DATA = {
    "train": DatasetInfo("a.csv", "a.csv", "d1", 1200, "training", "l1"),
    "val": DatasetInfo("b.csv", "b.csv", "d2", 9, "validation", "l2"),
}
MakeRecipe = Callable[..., Recipe]
Differ = Callable[..., dict[str, tuple[str, str, bool]]]


@pytest.fixture
def differ(toy_recipe: MakeRecipe) -> Differ:
    """What differs from a run, with values replaced; by what it is."""

    def differ(
        here: dict[str, Any] | None = None,
        *,
        before: Environment | None = BEFORE,
        resumed: Environment | None = None,
        replaced: dict[str, Any] | None = None,
        data: dict[str, DatasetInfo] | None = None,
        **tags: Any,
    ) -> dict[str, tuple[str, str, bool]]:
        values = {"commit": "0123456789abcdef", "device": "", "num_workers": None, **tags}
        run = RecordedRun(
            "id", "toy-1", "e", toy_recipe().yaml(), DATA, environment=before, resumed_environment=resumed, **values
        )
        now = BEFORE.model_copy(update=here or {})
        found = differences(run, toy_recipe(replaced), DATA | (data or {}), now)
        order = [each.may_change for each in found]
        assert order == sorted(order, reverse=True), "what may change numbers comes first"
        return {each.what: tuple(each)[1:] for each in found}

    return differ


def test_nothing_differs(differ: Differ) -> None:
    assert differ() == {}


@pytest.mark.parametrize(
    ("here", "what", "cells"),
    [
        ({"python": "3.12.1"}, "Python", ("3.11.7", "3.12.1", True)),
        ({"python": "3.11.9"}, "Python", ("3.11.7", "3.11.9", False)),
        ({"num_workers": 1}, "workers", ("2", "1", True)),
        ({"threads_per_worker": 1}, "torch threads of a worker", ("4", "1", False)),
        ({"gpus": ()}, "GPUs", ("NVIDIA H200, 575.1", "none", True)),
        ({"cpu": "EPYC, AVX2"}, "CPU", ("Xeon, AVX512", "EPYC, AVX2", False)),
        ({"folder": "/home"}, "folder that it starts in", ("/work", "/home", False)),
        ({"user_packages": {"/x/mine": "1"}}, "packages of yours", ("none", "/x/mine", True)),
        (
            {"commit": "fedcba9876543210", "changed_files": ("a.py", "b.py")},
            "commit, with the same code of Kinoray",
            ("commit 01234567", "commit fedcba98 + 2 changed files", False),
        ),
        (
            {"code": {**BEFORE.code, "train/loop.py": "ab", "cli/console.py": "bc"}},
            "code of Kinoray",
            ("0.1.0, commit 01234567", "0.1.0, commit 01234567; files that differ: train/loop.py", True),
        ),
        (
            {"code": {"train/loop.py": "aa"}},
            "code of Kinoray",
            ("0.1.0, commit 01234567", "0.1.0, commit 01234567; files that differ: cli/console.py", False),
        ),
    ],
)
def test_one_thing_differs(differ: Differ, here: dict[str, Any], what: str, cells: tuple[str, str, bool]) -> None:
    assert differ(here) == {what: cells}


def test_on_a_cpu_its_kind_and_threads_count(differ: Differ) -> None:
    found = differ({"gpus_per_worker": 0.0, "cpu": "EPYC, AVX2", "threads_per_worker": 1})
    assert found["device of a worker"] == ("1 GPU", "CPU", True)
    assert found["CPU"][2]
    assert found["torch threads of a worker"][2]


def test_packages_that_compute_stand_alone(differ: Differ) -> None:
    versions = {"torch": "2.16.0", "av": "18.1.0", "boto3": "1.45", "nvidia-cudnn-cu13": "9.9"}
    assert differ({"versions": versions}) == {
        "torch": ("2.15.0", "2.16.0", True),
        "nvidia-cudnn-cu13": ("–", "9.9", True),
        "other packages (2)": ("boto3 1.44, rich 15.0", "boto3 1.45, rich –", False),
    }


def test_the_recipe_that_was_set(differ: Differ) -> None:
    assert differ(replaced={"optimizer.lr": 0.25, "name": "again"}) == {
        "optimizer.lr": ("0.05", "0.25", True),
        "name": ("toy", "again", False),
    }


def test_videos(differ: Differ) -> None:
    moved = replace(DATA["train"], source="/mnt/a.csv", digest="d9")
    other = replace(moved, listing="l9", num_videos=1100)
    assert differ(data={"train": moved}) == {"place of the train videos": ("a.csv", "/mnt/a.csv", False)}
    assert differ(data={"train": other}) == {
        "train videos": ("1,200 of a.csv, digest d1", "1,100 of /mnt/a.csv, digest d9", True)
    }
    new = DatasetInfo("c.csv", "c.csv", "d3", 5, "testing")
    assert differ(data={"test": new}) == {"test videos": ("not recorded", "5 of c.csv, digest d3", True)}


def test_a_run_that_went_on_elsewhere(differ: Differ) -> None:
    assert differ(resumed=BEFORE.model_copy(update={"folder": "/home"})) == {}
    (what,) = differ(resumed=BEFORE.model_copy(update={"num_workers": 1}))
    assert what == "the run was continued"


def test_a_run_without_such_a_record(differ: Differ) -> None:
    found = differ(before=None, commit="", device="cpu", num_workers=1)
    assert list(found) == ["code of Kinoray", "workers", "packages", "machine"]
    assert found["packages"] == ("not recorded", "torch 2.15.0, av 18.1.0", True)
    assert found["machine"][0] == "cpu"
    assert list(differ(before=None)) == ["packages", "machine"]


def test_equal_to_the_bit() -> None:
    history = {"a": [(1, 0.1), (2, math.nan)], "b": [(1, math.inf)]}
    found = compare_histories(history, {"a": [(1, 0.1), (2, math.nan)], "b": [(1, math.inf)]})
    assert (found.num_metrics, found.num_points, dict(found.differing)) == (2, 3, {})
    assert (found.num_missing, found.num_new) == (0, 0)


def test_the_largest_difference_comes_first() -> None:
    recorded = {"a": [(1, 1.0), (2, 2.0)], "b": [(1, -1.0)], "c": [(1, 0.0)], "d": [(1, 1.0)], "e": [(1, 1.0)]}
    new = {
        "a": [(1, 1.0 + 2**-52), (2, 2.0)],
        "b": [(1, 1.0)],
        "c": [(1, math.nan)],
        "d": [(1, 1.0), (2, 1.0)],
        "f": [(3, 1.0)],
    }
    found = compare_histories(recorded, new)
    assert dict(found.differing) == {"c": math.inf, "b": 2.0, "a": pytest.approx(2**-52)}
    assert list(found.differing) == ["c", "b", "a"]
    assert (found.num_metrics, found.num_points, found.num_missing, found.num_new) == (4, 5, 1, 2)
