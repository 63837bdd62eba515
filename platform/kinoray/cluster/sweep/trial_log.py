"""The record of a sweep in its folder: what it is, and every state of its trials in the order they came about."""

import fcntl
import logging
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from itertools import zip_longest
from pathlib import Path

from pyarrow.fs import FileSystem, FileType

from kinoray.errors import ConfigError, ResourceError
from kinoray.recipe import Recipe
from kinoray.sweep.file import Sweep
from kinoray.sweep.trials import TrialState

STATES = "trials.jsonl"
SWEEP = "sweep.yaml"
RECIPE = "recipe.yaml"
IDENTITY = "sweep_id"
LOCK = ".lock"
MAY_CHANGE = ("trials:", "concurrency:", "  hours:", "max_retries:")
"""Lines of the sweep that may differ when it goes on."""
logger = logging.getLogger(__name__)


class TrialLog:
    """Append-only; a line that a killed process has not finished is dropped.

    Args:
        place: the sweep's folder, a path or URI.

    Attributes:
        states: all that were recorded, the oldest first.
        sweep_id: tells this sweep from others of its name, in other folders or before; empty before ``opened``.
    """

    def __init__(self, place: str) -> None:
        self.place = place
        self._filesystem, self._root = FileSystem.from_uri(place if "://" in place else str(Path(place).resolve()))
        text = self._read(STATES) or ""
        self._lines = [line for line in text.split("\n")[:-1] if line]
        self._is_cut = not text.endswith("\n")
        self.states = [TrialState.from_json(line) for line in self._lines]
        self.sweep_id = ""

    def check(self, sweep: Sweep, recipe: Recipe) -> None:
        """See whether the sweep may go on here.

        Raises:
            ConfigError: the folder holds another sweep.
        """
        for name, text in ((SWEEP, sweep.yaml()), (RECIPE, recipe.yaml())):
            known = self._read(name) if self.states else None
            differing = None if known is None else _first_difference(known, text)
            if differing is not None:
                raise ConfigError(
                    f"sweep {sweep.name}: {self.place} holds trials of another sweep ({name} has "
                    f"'{differing.strip()}'); give this one another name (--set sweep.name=...) or remove the folder"
                )

    @contextmanager
    def opened(self, sweep: Sweep, recipe: Recipe) -> Iterator[None]:
        """Begin the record, or go on in that of the same sweep; inside, states may be added.

        Raises:
            ConfigError: the folder holds another sweep.
            ResourceError: another process runs this one.
        """
        self.check(sweep, recipe)
        self._filesystem.create_dir(self._root, recursive=True)
        with nullcontext() if "://" in self.place else _locked(Path(self._root) / LOCK):
            for name, text in ((SWEEP, sweep.yaml()), (RECIPE, recipe.yaml())):
                self._write(name, text)
            if self._is_cut:
                self._write_states()
            self.sweep_id = self._read(IDENTITY) or secrets.token_hex(8)
            self._write(IDENTITY, self.sweep_id)
            yield

    def add(self, state: TrialState) -> None:
        """Append a state; it is on disk when this returns."""
        self._lines.append(state.to_json())
        self.states.append(state)
        if "://" in self.place:  # object stores know no appending
            self._write_states()
            return
        with (Path(self._root) / STATES).open("a", encoding="utf-8") as file:
            file.write(f"{self._lines[-1]}\n")
            file.flush()
            os.fsync(file.fileno())

    def current(self) -> dict[int, TrialState]:
        """The newest state of each trial."""
        return {state.trial.number: state for state in self.states}

    def reports(self) -> dict[int, list[TrialState]]:
        """The states of each trial that tell of one more evaluated epoch."""
        found: dict[int, list[TrialState]] = {}
        last: dict[int, TrialState] = {}
        for state in self.states:
            number = state.trial.number
            before = last.get(number)
            if state.latest is not None and (before is None or _is_report(before, state)):
                found.setdefault(number, []).append(state)
            last[number] = state
        return found

    def put(self, name: str, text: str) -> str:
        """Write a file beside the record; returns its place."""
        self._write(name, text)
        return f"{self.place}/{name}"

    def _read(self, name: str) -> str | None:
        path = f"{self._root}/{name}"
        if self._filesystem.get_file_info(path).type != FileType.File:
            return None
        with self._filesystem.open_input_stream(path) as file:
            return bytes(file.read()).decode()

    def _write_states(self) -> None:
        self._write(STATES, "".join(f"{line}\n" for line in self._lines))
        self._is_cut = False

    def _write(self, name: str, text: str) -> None:
        """A file is whole or as it was before, whenever this process is killed."""
        is_local = "://" not in self.place
        path = f"{self._root}/.{name}.part" if is_local else f"{self._root}/{name}"
        with self._filesystem.open_output_stream(path) as file:
            file.write(text.encode())
        if is_local:
            Path(path).replace(f"{self._root}/{name}")


def _is_report(before: TrialState, state: TrialState) -> bool:
    return (state.epoch, state.latest, state.resumed_from) != (before.epoch, before.latest, before.resumed_from)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Only one process at a time is inside; who is killed is out.

    Raises:
        ResourceError: another one is.
    """
    with path.open("w", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ResourceError(
                f"sweep {path.parent.name}: another process runs it in {path.parent}; wait for its end, or end it"
            ) from None
        except OSError as error:  # not every network file system has locks
            logger.warning("%s: cannot be locked (%s); see that nobody else runs this sweep", path, error)
        yield


def _first_difference(known: str, text: str) -> str | None:
    """The first line that is not the same in two texts, but for those that may change."""
    pair = [[line for line in each.splitlines() if not line.startswith(MAY_CHANGE)] for each in (known, text)]
    return next((old or new for old, new in zip_longest(*pair, fillvalue="") if old != new), None)
