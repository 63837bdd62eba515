"""How events travel from the first worker to the process that started the run."""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import ray

from kinoray.train.events import Event, Listener

POLL_SECONDS = 0.25


class Mailbox:
    """Holds events until they are taken. An actor, so that it outlives restarted workers."""

    def __init__(self) -> None:
        self._events: list[Event] = []

    def put(self, event: Event) -> None:
        self._events.append(event)

    def take(self) -> list[Event]:
        events, self._events = self._events, []
        return events


def sender(mailbox: Any) -> Listener:
    """A listener for workers that posts events without waiting."""

    def send(event: Event) -> None:
        mailbox.put.remote(event)

    return send


@contextmanager
def delivering(listeners: Sequence[Listener]) -> Iterator[Any]:
    """A mailbox whose events are handed to the listeners, in order, by a thread of this process.

    Leaving the context delivers what is still in the box. A listener must not raise; if one does, the error is raised
    when the context is left.
    """
    mailbox = ray.remote(num_cpus=0)(Mailbox).remote()
    stop = threading.Event()
    problems: list[Exception] = []

    def deliver() -> None:
        for event in ray.get(mailbox.take.remote()):
            for listener in listeners:
                _hand(listener, event, problems)

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
    if problems:
        raise problems[0]


def _hand(listener: Callable[[Event], None], event: Event, problems: list[Exception]) -> None:
    try:
        listener(event)
    except Exception as error:  # noqa: BLE001 - a listener's fault must not stop the others, nor the run
        problems.append(error)
