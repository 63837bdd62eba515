"""What a sweep may choose from: ranges, lists, conditions, and how labels stand for values."""

import pytest
from pydantic import ValidationError

from kinoray.sweep.space import Parameter, check_conditions, combinations, fill

SCHEDULES = {"cosine": [{"kind": "cosine"}], "flat": []}


def parameter(**values):
    return Parameter.model_validate(values)


@pytest.mark.parametrize("share", [0.0, 0.3, 0.7, 0.999])
@pytest.mark.parametrize(
    ("values", "low", "high"),
    [
        ({"uniform": [0.5, 2.0]}, 0.5, 2.0),
        ({"loguniform": [1e-4, 1e-1]}, 1e-4, 1e-1),
        ({"randint": [3, 5]}, 3, 5),
        ({"uniform": [0.0, 1.0], "step": 0.3}, 0.0, 0.9),
        ({"randint": [8, 33], "step": 8}, 8, 32),
    ],
)
def test_a_range_stays_within_its_ends(values, low, high, share):
    assert low <= parameter(**values).at(share) <= high


def test_ranges_reach_all_of_their_numbers():
    shares = [index / 1000 for index in range(1000)]
    assert {parameter(randint=[3, 5]).at(share) for share in shares} == {3, 4, 5}
    assert {parameter(uniform=[0, 1], step=0.3).at(share) for share in shares} == {0.0, 0.3, 0.6, 0.9}
    assert {parameter(randint=[8, 33], step=8).at(share) for share in shares} == {8, 16, 24, 32}
    below = sum(parameter(loguniform=[1e-4, 1e-2]).at(share) < 1e-3 for share in shares)
    assert below == pytest.approx(500, abs=2)


def test_numbers_are_short_and_ends_exact():
    assert parameter(loguniform=[1e-3, 0.3]).at(1 / 3) == 0.006694
    assert parameter(uniform=[0.123456, 0.3]).ends == (0.123456, 0.3)
    assert all(isinstance(number, int) for number in parameter(randint=[1, 9]).ends)


def test_labels_of_lists():
    named = parameter(choice=SCHEDULES)
    assert (named.ends, named.value("cosine"), named.value("flat")) == (("cosine", "flat"), [{"kind": "cosine"}], [])
    plain = parameter(choice=[0.1, "a", None, True, [1, 2]])
    assert plain.ends == (0.1, "a", None, True, "[1, 2]")
    assert plain.value("[1, 2]") == [1, 2]
    assert [parameter(choice=["a", "b", "c"]).at(share) for share in (0.0, 0.5, 0.99)] == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, "nothing to choose from"),
        ({"uniform": [0, 1], "choice": [1]}, "got uniform and choice"),
        ({"uniform": [1, 1]}, r"uniform, got \[1, 1\]; the first should be less"),
        ({"loguniform": [0, 1]}, "both should be above 0"),
        ({"uniform": [0, float("inf")]}, "finite number"),
        ({"choice": [1, 2], "step": 1}, "only a range has steps"),
        ({"choice": [1, 1]}, "each once"),
        ({"grid": []}, "at least one value"),
        ({"randint": [1.5, 3]}, "integer"),
    ],
)
def test_what_makes_no_sense_is_refused(values, message):
    with pytest.raises(ValidationError, match=message):
        parameter(**values)


SPACE = {
    "optimizer.kind": parameter(choice=["sgd", "adamw"]),
    "optimizer.lr": parameter(loguniform=[1e-4, 1e-1]),
    "optimizer.momentum": parameter(choice=[0.8, 0.9], when={"optimizer.kind": "sgd"}),
    "optimizer.nesterov": parameter(choice=[True, False], when={"optimizer.momentum": [0.9]}),
}


def test_a_point_meets_the_conditions_of_what_is_wanted():
    assert fill(SPACE, {"optimizer.kind": "adamw"}) == {"optimizer.kind": "adamw", "optimizer.lr": 1e-4}
    assert fill(SPACE, {"optimizer.nesterov": False}) == {
        "optimizer.kind": "sgd",
        "optimizer.lr": 1e-4,
        "optimizer.momentum": 0.9,
        "optimizer.nesterov": False,
    }


def test_combinations_leave_out_what_is_not_set():
    found = [tuple(point.values()) for point in combinations(SPACE)]
    assert found == [("sgd", 0.8), ("sgd", 0.9, True), ("sgd", 0.9, False), ("adamw",)]


def test_conditions_name_labels_above():
    check_conditions(SPACE)
    with pytest.raises(ValueError, match=r"optimizer.lr.when: 'optimizer.kind' is no path that stands above"):
        check_conditions({"optimizer.lr": parameter(uniform=[0, 1], when={"optimizer.kind": "sgd"})})
    space = {"a": parameter(choice=["x", "y"]), "b": parameter(choice=[1], when={"a": "z"})}
    with pytest.raises(ValueError, match=r"b\.when: a is never 'z'; its labels are x, y"):
        check_conditions(space)


def test_conditions_that_meet_at_one_label_are_found():
    """Each of two paths narrows what a third may be."""
    space = {
        "a": parameter(choice=["x", "y", "z"]),
        "b": parameter(choice=[1, 2], when={"a": ["y", "z"]}),
        "c": parameter(choice=[3], when={"a": ["x", "y"], "b": 2}),
    }
    check_conditions(space)
    assert fill(space, {"c": 3}) == {"a": "y", "b": 2, "c": 3}


@pytest.mark.parametrize("when", [{"a": []}, {"a": "x", "b": 1}], ids=["no-label", "exclude-each-other"])
def test_a_condition_that_is_never_met_is_told(when):
    space = {
        "a": parameter(choice=["x", "y"]),
        "b": parameter(choice=[1, 2], when={"a": "y"}),
        "c": parameter(choice=[3], when=when),
    }
    with pytest.raises(ValueError, match=r"c\.when: is never met"):
        check_conditions(space)
