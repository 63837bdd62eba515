"""Where trials and the workers that train them meet: jobs go one way, reports the other, decisions back again.

Workers live as long as the sweep and take one job after the other, so a trial costs no new process. An asynchronous
actor: whoever asks waits in it until there is an answer. A job holds no recipe, which is made where it is trained: a
recipe's model brings torch into the memory of every process that it goes through.
"""

import asyncio
from collections.abc import Awaitable
from dataclasses import dataclass, field, replace
from typing import Any, Literal, TypeAlias, TypeVar

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from kinoray.sweep.trials import Trial

T = TypeVar("T")
WAIT_SECONDS = 20.0
"""Then a question is asked anew, so that workers that wait for the first one do not give it up for lost."""


@dataclass(frozen=True)
class Job:
    """What a group of workers is to train.

    Attributes:
        trial: says which values.
        folder: of the trial's checkpoints, a path or URI.
        resume_from: a checkpoint's place, perhaps another trial's; None: from the start.
        keep_all: whether each reported checkpoint is kept, for other trials to go on from.
        ticket: names it at the desk, which gives it.
    """

    trial: Trial
    folder: str
    resume_from: str | None
    keep_all: bool
    ticket: int = 0


@dataclass(frozen=True)
class Report:
    """An evaluated epoch; the workers wait for a decision, unless it is the last one.

    Attributes:
        epoch: counted from 0.
        value: of the monitored metric.
        checkpoint: its place.
        train_seconds: in training steps and evaluations since the report before.
        is_last: nothing is left to train; ``reason`` says why, where that is not for being at the last epoch.
    """

    epoch: int
    value: float
    checkpoint: str
    train_seconds: float
    is_last: bool = False
    reason: str = ""


@dataclass(frozen=True)
class Ended:
    """The job ends without another report: nothing was left to do, or a callback of the recipe has stopped it."""

    reason: str = ""


@dataclass(frozen=True)
class Failed:
    """The job cannot go on. ``again``: it may succeed when it is tried once more."""

    error: str
    again: bool


Answer: TypeAlias = Report | Ended | Failed
Decision: TypeAlias = Literal["go", "stop"]


@dataclass
class _Open:
    """A job that is not done with."""

    answers: "asyncio.Queue[Answer]" = field(default_factory=asyncio.Queue)
    decisions: "asyncio.Queue[Decision]" = field(default_factory=asyncio.Queue)


class Desk:
    """The actor. A group of workers is known by the number of its slot."""

    def __init__(self) -> None:
        self._waiting: asyncio.Queue[Job | None] = asyncio.Queue()  # None wakes who waits: the desk is closed
        self._open: dict[int, _Open] = {}
        self._at_slot: dict[int, int] = {}
        self._asked: dict[int, object] = {}
        self._tickets = 0
        self._closed: str | None = None

    async def submit(self, job: Job) -> int:
        """Put a job in line; returns its ticket."""
        self._tickets += 1
        self._open[self._tickets] = _Open()
        self._waiting.put_nowait(replace(job, ticket=self._tickets))
        return self._tickets

    async def answer(self, ticket: int) -> Answer | None:
        """What the workers say next; None: nothing yet.

        Raises:
            RuntimeError: there are no workers any more.
        """
        if self._closed:
            raise RuntimeError(self._closed)
        answer = await _within(self._open[ticket].answers.get())
        if answer is not None and is_last(answer):
            del self._open[ticket]
        return answer

    async def decide(self, ticket: int, decision: Decision) -> None:
        """Answer a report; after ``stop`` the ticket is void."""
        entry = self._open.pop(ticket, None) if decision == "stop" else self._open.get(ticket)
        if entry is not None:
            entry.decisions.put_nowait(decision)

    async def next_job(self, slot: int) -> Job | Literal["closed"] | None:
        """Work for a group; None: nothing yet. Whatever it had begun before is lost: its workers have died."""
        lost = self._at_slot.pop(slot, None)
        if lost in self._open:
            self._open[lost].answers.put_nowait(Failed("a worker died", again=True))
        question = self._asked[slot] = object()
        if self._is_closed():
            return "closed"
        while (job := await _within(self._waiting.get())) is not None:
            if self._asked[slot] is not question:  # of workers that are no more: others have asked since
                self._waiting.put_nowait(job)
                return None
            if job.ticket in self._open:
                self._at_slot[slot] = job.ticket
                return job
        if not self._is_closed():
            return None
        self._waiting.put_nowait(None)
        return "closed"

    async def tell(self, slot: int, ticket: int, answer: Answer) -> None:
        """Workers answer the one who submitted."""
        if ticket in self._open:
            self._open[ticket].answers.put_nowait(answer)
        if is_last(answer):
            self._at_slot.pop(slot, None)

    async def decision(self, ticket: int) -> Decision | None:
        """What becomes of a job after a report; None: nothing yet."""
        entry = self._open.get(ticket)
        return "stop" if entry is None or self._is_closed() else await _within(entry.decisions.get())

    async def close(self, error: str = "") -> None:
        """No more work: workers go home, and whoever waits for them is told why, if there is an error."""
        self._closed = self._closed or error
        self._waiting.put_nowait(None)
        for entry in self._open.values():
            entry.decisions.put_nowait("stop")

    def _is_closed(self) -> bool:
        return self._closed is not None


def is_last(answer: Answer) -> bool:
    """Whether nothing follows, and the ticket is done with."""
    return not isinstance(answer, Report) or answer.is_last


async def _within(answer: Awaitable[T]) -> T | None:
    try:
        return await asyncio.wait_for(answer, WAIT_SECONDS)
    except TimeoutError:
        return None


def open_desk() -> Any:
    """A handle on a new desk, on this process's node."""
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    return ray.remote(num_cpus=0, scheduling_strategy=here)(Desk).remote()
