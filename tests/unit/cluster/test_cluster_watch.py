"""What a worker looks out for, with a clock and a cluster of the test's own."""

import dataclasses
from types import SimpleNamespace
from typing import Any

import pytest
from ray.train.v2._internal.execution import context
from ray.train.v2._internal.execution.preemption import PreemptionContext
from ray.train.v2.api.preemption import PreemptionInfo

from kinoray.cluster import watch
from kinoray.cluster.mailbox import Mailbox
from kinoray.cluster.watch import Preemption, SaveReasons, hung_message, naming_the_hung
from kinoray.errors import HungWorkerError
from kinoray.train.world import World


class Surroundings:
    """The time, and what the cluster has; SaveReasons sees nothing else."""

    def __init__(self) -> None:
        self.now, self.room, self.deadline = 1_000.0, 8.0, None

    def reasons(self, *, grows: bool) -> SaveReasons:
        return SaveReasons(SimpleNamespace(deadline=lambda: self.deadline), grows=grows)

    def saves(self, reasons: SaveReasons, seconds: int) -> list[int]:
        """When a checkpoint is asked for, in seconds from now."""
        begin, found = self.now, []
        for second in range(seconds):
            self.now = begin + second
            if reasons():
                found.append(second)
        return found


@pytest.fixture
def around(monkeypatch: pytest.MonkeyPatch) -> Surroundings:
    surroundings = Surroundings()
    monkeypatch.setattr(watch, "time", SimpleNamespace(time=lambda: surroundings.now, sleep=lambda _: None))
    monkeypatch.setattr(watch, "_room", lambda: surroundings.room)
    return surroundings


def test_steps_are_stored_until_a_node_goes(around: Surroundings) -> None:
    reasons = around.reasons(grows=False)
    assert around.saves(reasons, 20) == []
    around.deadline = around.now + 40
    assert around.saves(reasons, 60) == [0, 15, 30]


def test_steps_are_stored_when_nodes_come_that_the_run_may_use(around: Surroundings) -> None:
    growing, full = around.reasons(grows=True), around.reasons(grows=False)
    assert around.saves(growing, 20) == []
    around.room -= 4
    assert around.saves(growing, 20) == [], "fewer nodes are no reason"
    around.room += 2
    assert around.saves(full, 20) == []
    first, *others = around.saves(growing, 100)
    assert first <= watch.LOOK_SECONDS
    assert [each - first for each in others] == [15, 30]


@pytest.mark.parametrize(("deadline_ms", "expected"), [(2_000_000, 2_000.0), (None, 1_120.0), (0, 1_120.0)])
def test_ray_s_notice_is_understood(
    around: Surroundings, monkeypatch: pytest.MonkeyPatch, deadline_ms: int | None, expected: float
) -> None:
    """Where Ray keeps it is private: this fails where another Ray keeps it elsewhere."""
    (field,) = [field for field in dataclasses.fields(context.TrainContext) if field.name == "preemption_context"]
    assert field.type is PreemptionContext
    notice = PreemptionContext()
    monkeypatch.setattr(context, "_train_context", SimpleNamespace(preemption_context=notice))
    preemption = Preemption()
    assert preemption.deadline() is None
    notice.preemption_info = PreemptionInfo(deadline_ms=deadline_ms, preempted_node_to_ranks={"a": [0]})
    assert preemption.deadline() == expected
    around.now += 50
    assert preemption.deadline() == expected


class Box:
    """A mailbox in this process, called as an actor is."""

    def __init__(self) -> None:
        box = Mailbox()
        self.pin, self.pinned = (SimpleNamespace(remote=method) for method in (box.pin, box.pinned))


@pytest.fixture
def box(around: Surroundings, monkeypatch: pytest.MonkeyPatch) -> Box:
    group = SimpleNamespace(id=SimpleNamespace(hex=lambda: "group"))
    util = SimpleNamespace(get_current_placement_group=lambda: group)
    monkeypatch.setattr(watch, "ray", SimpleNamespace(get=lambda value: value, util=util))
    return Box()


def fail(box: Box, error: Exception, *, came_back: dict[int, bool], size: int = 3) -> pytest.ExceptionInfo[Any]:
    """Rank 0 fails, after some others."""
    for rank in range(1, size):
        box.pin.remote("group members", rank, (f"host-{rank}", 100 + rank))
    for rank, timed_out in came_back.items():
        box.pin.remote("group back", rank, timed_out)
    watched = naming_the_hung(box, World(0, size), Preemption(), timeout_seconds=10, step=lambda: 57)
    with pytest.raises((RuntimeError, ValueError, HungWorkerError)) as caught, watched:
        raise error
    return caught


TIMED_OUT = RuntimeError("[unbound_buffer.cc:78] Timed out waiting 10000ms for recv operation to complete")
CLOSED = RuntimeError("Connection closed by peer [127.0.0.1]:1234")


@pytest.fixture(autouse=True)
def no_notice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(context, "_train_context", SimpleNamespace(preemption_context=PreemptionContext()))


@pytest.mark.parametrize(("error", "came_back"), [(TIMED_OUT, {2: False}), (CLOSED, {2: True})])
def test_who_does_not_come_back_is_named(box: Box, error: Exception, came_back: dict[int, bool]) -> None:
    caught = fail(box, error, came_back=came_back)
    assert caught.type is HungWorkerError
    assert caught.value.at_work
    assert str(caught.value).startswith("worker 1 (host host-1, pid 101) has not answered for 10 s at step 57, the")
    assert caught.value.__cause__ is error


@pytest.mark.parametrize(
    ("error", "came_back", "size"),
    [(CLOSED, {2: False}, 3), (ValueError("timed out"), {}, 3), (TIMED_OUT, {}, 1)],
    ids=["a worker died", "another error", "nobody to wait for"],
)
def test_other_errors_stay_what_they_are(box: Box, error: Exception, came_back: dict[int, bool], size: int) -> None:
    assert fail(box, error, came_back=came_back, size=size).value is error


def test_messages() -> None:
    assert hung_message({0: None, 3: ("b", 7)}, 600, 1_234).startswith(
        "worker 0, worker 3 (host b, pid 7) have not answered for 600 s at step 1,234, the others wait for them; "
    )
    assert "none of them is missing; the network between" in hung_message({}, 600, 1)
