"""Searches: the same seed gives the same points, grids are complete, and what is learned shows."""

import pytest

from kinoray.errors import ResourceError
from kinoray.sweep.search import GridSearch, OptunaSearch, RandomSearch
from kinoray.sweep.space import Parameter

SPACE = {
    "optimizer.kind": Parameter(choice=("sgd", "adamw")),
    "optimizer.lr": Parameter(loguniform=(1e-4, 1e-1)),
    "optimizer.momentum": Parameter(uniform=(0.5, 0.9), when={"optimizer.kind": "sgd"}),
}
LISTS = {"model.depth": Parameter(grid=(18, 50)), "schedule": Parameter(choice={"flat": [], "cosine": [{}]})}


def points(search, space, number):
    asked = search.start(space)
    return [dict(asked.ask(index)) for index in range(number)]


def test_random_points_depend_on_the_seed_and_their_place_alone():
    first = points(RandomSearch(), SPACE, 8)
    assert points(RandomSearch(), SPACE, 12)[:8] == first
    assert RandomSearch().start(SPACE).ask(5) == first[5]
    assert points(RandomSearch(seed=1), SPACE, 8) != first
    assert {tuple(point) for point in first} == {tuple(SPACE), ("optimizer.kind", "optimizer.lr")}


def test_a_grid_in_a_random_search_comes_in_turn():
    space = {"optimizer.lr": SPACE["optimizer.lr"], **LISTS}
    found = points(RandomSearch(), space, 6)
    assert [point["model.depth"] for point in found] == [18, 50, 18, 50, 18, 50]
    assert len({point["optimizer.lr"] for point in found}) == 6


def test_a_grid_has_every_combination():
    assert GridSearch().num_points(LISTS, None) == 4
    assert GridSearch().num_points(LISTS, 3) == 3
    assert [tuple(point.values()) for point in points(GridSearch(), LISTS, 4)] == [
        (18, "flat"),
        (18, "cosine"),
        (50, "flat"),
        (50, "cosine"),
    ]
    with pytest.raises(ValueError, match=r"got a range for optimizer\.lr"):
        GridSearch().num_points(SPACE, 4)


def test_a_search_without_a_number_of_trials_is_refused():
    with pytest.raises(ValueError, match="trials: missing; say how many points a random search"):
        RandomSearch().num_points(SPACE, None)


def test_optuna_that_is_not_there_is_named(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "optuna", None)
    with pytest.raises(ResourceError, match=r"Optuna is not installed; `pip install kinoray\[sweep\]`"):
        OptunaSearch().num_points(SPACE, 4)


def test_optuna_learns_and_repeats_itself():
    pytest.importorskip("optuna")

    def run():
        search = OptunaSearch(startup_trials=5).start(SPACE)
        found = []
        for index in range(25):
            point = search.ask(index)
            found.append(dict(point))
            search.tell(index, None if index == 3 else -abs(point["optimizer.lr"] - 0.01))
        return found

    first = run()
    assert run() == first
    late = [point["optimizer.lr"] for point in first[-8:]]
    assert max(abs(lr - 0.01) for lr in late) < 0.03
    assert all(("optimizer.momentum" in point) == (point["optimizer.kind"] == "sgd") for point in first)


@pytest.mark.parametrize("search", [GridSearch(), RandomSearch()])
def test_more_combinations_than_a_sweep_can_hold_are_refused(search):
    space = {f"path{number}": Parameter(grid=tuple(range(100))) for number in range(5)}
    with pytest.raises(ValueError, match="more than 10,000 combinations"):
        search.num_points(space, 4)
