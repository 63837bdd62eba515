"""What a training worker looks out for: nodes that go or come, and workers that no longer answer."""

import os
import re
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import ray
import ray.util

from kinoray.errors import HungWorkerError
from kinoray.train.world import World

SAVE_SECONDS = 15.0
"""Between checkpoints while this group of workers may end at any moment."""
LOOK_SECONDS = 5.0
"""Between looks at what the cluster has."""
RESIZE_SECONDS = 30.0
"""Between looks of Ray's controller at whether more workers would fit. Each growth costs a restart."""
NOTICE_SECONDS = 120.0
"""How long a node is taken to stay whose end has no time; so does Ray's controller."""
ANSWER_SECONDS = 2.0
"""How long those that waited in vain wait for one another to say so."""
PAST = "past"
"""The board of what ended earlier groups of workers."""
_TIMEOUT = re.compile(r"tim(ed|e) ?out", re.IGNORECASE)  # "Timed out waiting", "Application timeout", "WaitTimeout"


class Preemption:
    """Whether a node of this worker's group is going to be taken away, as spot nodes are."""

    def __init__(self) -> None:
        self._told_at: float | None = None

    def deadline(self) -> float | None:
        """When the node goes, in seconds since 1970; None: none is known to go."""
        # Private: Ray's public question is an exchange of all workers. A test notices where it moves.
        from ray.train.v2._internal.execution.context import get_train_context

        info = get_train_context().preemption_context.preemption_info
        if info is None:
            return None
        if self._told_at is None:
            self._told_at = time.time()
        return info.deadline_ms / 1_000 if info.deadline_ms else self._told_at + NOTICE_SECONDS


class SaveReasons:
    """Asked at every report of the first worker: whether a checkpoint is wanted, since this group may end soon.

    Args:
        preemption: what is known of nodes that go.
        grows: whether Ray will end the group for a larger one when nodes come.
    """

    def __init__(self, preemption: Preemption, *, grows: bool) -> None:
        self._preemption, self._grows = preemption, grows
        self._room = _room() if grows else 0.0
        self._saved_at = self._looked_at = self._larger_by = float("-inf")

    def __call__(self) -> bool:
        now = time.time()
        if now - self._saved_at < SAVE_SECONDS or now > self._ends_by(now):
            return False
        self._saved_at = now
        return True

    def _ends_by(self, now: float) -> float:
        """Until when this group may end, in seconds since 1970."""
        if self._grows and now - self._looked_at >= LOOK_SECONDS:
            self._looked_at, before, self._room = now, self._room, _room()
            if self._room > before:
                self._larger_by = now + LOOK_SECONDS + RESIZE_SECONDS
        return max(self._larger_by, self._preemption.deadline() or self._larger_by)


def _room() -> float:
    """CPUs and GPUs of the cluster."""
    resources = ray.cluster_resources()
    return float(resources.get("CPU", 0.0) + resources.get("GPU", 0.0))


@contextmanager
def naming_the_hung(
    mailbox: Any, world: World, preemption: Preemption, *, timeout_seconds: float, step: Callable[[], int]
) -> Iterator[None]:
    """Where an exchange inside waits in vain, tell which worker did not come to it.

    Args:
        mailbox: on whose boards the workers leave notes for one another.
        world: this worker.
        preemption: what is known of nodes that go.
        timeout_seconds: after which an exchange fails.
        step: gives the step that this worker is at.

    Raises:
        HungWorkerError: an exchange has timed out.
    """
    if world.size == 1:
        yield
        return
    group = ray.util.get_current_placement_group().id.hex()  # a new one at each start
    mailbox.pin.remote(f"{group} members", world.rank, (socket.gethostname(), os.getpid()))
    try:
        yield
    except RuntimeError as error:  # all of torch's are, those of its exchanges included
        _outlast(preemption.deadline())
        board = f"{group} back"
        ray.get(mailbox.pin.remote(board, world.rank, bool(_TIMEOUT.search(str(error)))))
        time.sleep(ANSWER_SECONDS)
        back: dict[int, bool] = ray.get(mailbox.pinned.remote(board))
        if not any(back.values()):
            raise
        members: dict[int, tuple[str, int]] = ray.get(mailbox.pinned.remote(f"{group} members"))
        hung = {rank: members.get(rank) for rank in range(world.size) if rank not in back}
        raise HungWorkerError(hung_message(hung, timeout_seconds, step())) from error


def hung_message(hung: dict[int, tuple[str, int] | None], timeout_seconds: float, step: int) -> str:
    """Tell of workers that do not answer.

    Args:
        hung: rank -> host and process id, None where it never said.
        timeout_seconds: that was waited.
        step: at which.
    """
    waited = f"{timeout_seconds:g} s at step {step:,}"
    if not hung:
        return (
            f"workers: an exchange took more than {waited}, though none of them is missing; the network between their "
            "nodes is slow or broken, or site.collective_timeout_seconds is too short"
        )
    named = [
        f"worker {rank}" + (f" (host {place[0]}, pid {place[1]})" if place else "") for rank, place in hung.items()
    ]
    verb, them = ("has", "it") if len(hung) == 1 else ("have", "them")
    return (
        f"{', '.join(named)} {verb} not answered for {waited}, the others wait for {them}; see what stops {them} "
        "there, or raise site.collective_timeout_seconds"
    )


def _outlast(deadline: float | None) -> None:
    """Wait for a node's end that is known to come.

    What fails while it is being taken away fails because of it. Ray counts a failure as the node's only when it has
    seen the node's end, or the time of it has come; then it ends this process.
    """
    while deadline is not None and time.time() < deadline + ANSWER_SECONDS:
        time.sleep(0.2)
