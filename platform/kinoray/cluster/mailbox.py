"""How events travel from the first worker to the process that started the run, and notes between workers."""

import logging
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import ray
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from kinoray.train.events import Diverged, EpochDone, Event, Finished, Listener

POLL_SECONDS = 0.25
logger = logging.getLogger(__name__)


class Mailbox:
    """Holds events until they are taken, and boards with notes. An actor, so that it outlives restarted workers."""

    def __init__(self) -> None:
        self._events: list[Event] = []
        self._boards: dict[str, dict[Any, Any]] = {}

    def put(self, event: Event) -> None:
        self._events.append(event)

    def take(self) -> list[Event]:
        events, self._events = self._events, []
        return events

    def pin(self, board: str, name: Any, note: Any) -> None:
        self._boards.setdefault(board, {})[name] = note

    def pinned(self, board: str) -> dict[Any, Any]:
        return self._boards.get(board, {})

    def unpinned(self, board: str) -> dict[Any, Any]:
        """What was on a board, which is empty now."""
        return self._boards.pop(board, {})


def sender(mailbox: Any) -> Listener:
    """A listener for workers. It waits only for what must not be lost when the worker ends."""

    def send(event: Event) -> None:
        posted = mailbox.put.remote(event)
        if isinstance(event, EpochDone | Diverged | Finished):
            ray.get(posted)

    return send


@contextmanager
def delivering(listeners: Sequence[Listener]) -> Iterator[Any]:
    """A mailbox whose events are handed to the listeners, in order, by a thread of this process.

    Leaving the context delivers what is still in the box. A listener that raises is told of in the log and left out
    from then on: what shows a run must not end it. The box lies on this process's node.
    """
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    mailbox = ray.remote(num_cpus=0, scheduling_strategy=here)(Mailbox).remote()
    stop = threading.Event()
    listening = list(listeners)

    def deliver() -> None:
        try:
            events = ray.get(mailbox.take.remote())
        except RayError as error:
            logger.warning("events of the run no longer arrive: %s", error)
            stop.set()
            return
        for event in events:
            for listener in tuple(listening):
                try:
                    listener(event)
                except Exception:
                    logger.exception("a listener failed and hears no more of this run")
                    listening.remove(listener)

    def run() -> None:
        while not stop.wait(POLL_SECONDS):
            deliver()

    thread = threading.Thread(target=run, name="kinoray-events", daemon=True)
    thread.start()
    try:
        yield mailbox
    finally:
        stop.set()
        thread.join()
        deliver()
        ray.kill(mailbox)
