"""Shards are given out once, again after deaths, and videos are blamed only with evidence."""

from kinoray.cluster.predict.desk import DEATHS_TO_CONVICT, MAX_DEATHS, Desk
from kinoray.predict.tally import Tally


def test_every_shard_is_given_out_once():
    desk = Desk(4, [1])
    taken = [desk.take("a"), desk.take("b"), desk.take("a")]
    assert [task.shard for task in taken] == [0, 2, 3]
    assert desk.take("b") is None
    for worker, task in zip("aba", taken, strict=True):
        assert not desk.is_done()
        desk.wrote(worker, task.shard, {"ok": 2})
    assert desk.is_done()
    assert desk.progress().counts == {"ok": 6}
    assert desk.progress().num_shards == 4


def test_a_death_gives_all_that_a_worker_held_to_others_who_are_careful():
    desk = Desk(2, [])
    first, second = desk.take("a"), desk.take("a")
    assert not first.is_careful
    assert desk.lost("a") is None
    again = [desk.take("b"), desk.take("b")]
    assert [(task.shard, task.attempt, task.is_careful) for task in again] == [
        (first.shard, 2, True),
        (second.shard, 2, True),
    ]
    assert desk.progress().num_deaths == 1


def test_one_death_convicts_nobody_and_two_do():
    desk = Desk(1, [])
    desk.take("w0")
    desk.lost("w0")  # not careful yet: nobody knows what was read
    for number in range(1, DEATHS_TO_CONVICT + 1):
        desk.take(f"w{number}")
        assert desk.verdicts(0) == {}
        desk.reading(0, "good")
        desk.reading(0, "")
        desk.reading(0, "bad")
        desk.lost(f"w{number}")
    assert desk.take("last").is_careful
    assert desk.verdicts(0) == {"bad": "crashed"}


def test_a_video_that_hung_is_not_read_again():
    desk = Desk(1, [])
    desk.take("a")
    desk.convict(0, "slow.mp4", "slow")
    desk.convict(0, "also.mp4", "slow")  # of the same process
    assert desk.lost("a") is None
    assert not desk.take("b").is_careful
    assert desk.verdicts(0) == {"slow.mp4": "slow", "also.mp4": "slow"}
    assert desk.lost("b") is None
    assert desk.take("c").is_careful


def test_a_shard_whose_workers_always_die_is_named():
    desk = Desk(1, [])
    found = []
    for number in range(MAX_DEATHS + 1):
        desk.take(str(number))
        found.append(desk.lost(str(number)))
    assert found == [None] * MAX_DEATHS + [0]


def test_a_shard_whose_decoding_processes_died_is_done_again_with_care():
    desk = Desk(2, [])
    desk.take("a")
    desk.take("a")
    assert not desk.failed("a", 0)
    again = desk.take("a")
    assert (again.shard, again.attempt, again.is_careful) == (0, 2, True)
    desk.wrote("a", 0, {"ok": 1})
    desk.wrote("a", 1, {"ok": 1})
    assert desk.is_done()


def test_work_adds_up():
    desk = Desk(1, [])
    desk.note(Tally(2, 0.5, 1.0, 10.0))
    desk.note(Tally(1, 0.25, 0.5, 5.0))
    assert desk.progress().tally == Tally(3, 0.75, 1.5, 15.0)
