import numpy as np
import pytest

from kinoray.review.cases import Case, Shortlist


def case_of(video_id: str) -> Case:
    return Case(video_id, video_id, ("run",), (1.0,), None, None, None)


@pytest.mark.parametrize("batch", [1, 7, 300])
def test_the_best_are_kept_whatever_the_order(batch):
    rng = np.random.default_rng(batch)
    keys = np.repeat(np.arange(100) / 100, 3)  # of equals, ids decide
    groups = np.tile([0, 1, 5], 100)
    ids = [f"{number:03}" for number in range(300)]
    shortlist = Shortlist(4)
    order = rng.permutation(300)
    for rows in np.split(order, range(batch, 300, batch)):
        shortlist.offer(groups[rows], keys[rows], lambda number, rows=rows: case_of(ids[rows[number]]))
    assert [case.video_id for case in shortlist.of(1)] == ["298", "295", "292", "289"]
    assert shortlist.of(2) == ()
    same = Shortlist(2)
    same.offer(np.zeros(300, np.int64)[order], np.ones(300)[order], lambda number: case_of(ids[order[number]]))
    assert [case.video_id for case in same.of()] == ["000", "001"]


def test_what_is_no_number_or_not_wanted_is_not_kept():
    shortlist, none = Shortlist(3), Shortlist(0)
    keys, groups = np.array([np.nan, 0.5]), np.zeros(2, np.int64)
    shortlist.offer(groups, keys, lambda number: case_of(str(number)))
    none.offer(groups, keys, lambda number: case_of(str(number)))
    assert [case.video_id for case in shortlist.of()] == ["1"]
    assert none.of() == ()


def test_cases_are_made_of_candidates_only():
    made = []

    def make(number):
        made.append(number)
        return case_of(f"{number:04}")

    shortlist = Shortlist(2)
    for _ in range(5):
        shortlist.offer(np.zeros(1000, np.int64), np.arange(1000) / 1000.0, make)
    assert len(made) < 50
