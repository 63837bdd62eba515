"""The record of a sweep in its folder: what it is, and every state of its trials in the order they came about."""

import os
from pathlib import Path

from pyarrow.fs import FileSystem, FileType

from kinoray.errors import ConfigError
from kinoray.recipe import Recipe
from kinoray.sweep.file import Sweep, TrialState

STATES = "trials.jsonl"
SWEEP = "sweep.yaml"
RECIPE = "recipe.yaml"
MAY_CHANGE = ("trials:", "concurrency:", "  hours:", "max_retries:")
"""Lines of the sweep that may differ when it goes on."""


class TrialLog:
    """Append-only; a line that a killed process has not finished is dropped.

    Args:
        place: the sweep's folder, a path or URI.

    Attributes:
        states: all that were recorded, the oldest first.
    """

    def __init__(self, place: str) -> None:
        self.place = place
        self._filesystem, self._root = FileSystem.from_uri(place if "://" in place else str(Path(place).resolve()))
        text = self._read(STATES) or ""
        self._lines = [line for line in text.split("\n")[:-1] if line]
        self.states = [TrialState.from_json(line) for line in self._lines]

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

    def open(self, sweep: Sweep, recipe: Recipe) -> None:
        """Begin the record, or go on in that of the same sweep.

        Raises:
            ConfigError: the folder holds another sweep.
        """
        self.check(sweep, recipe)
        self._filesystem.create_dir(self._root, recursive=True)
        for name, text in ((SWEEP, sweep.yaml()), (RECIPE, recipe.yaml())):
            self._write(name, text)
        self._write(STATES, "".join(f"{line}\n" for line in self._lines))

    def add(self, state: TrialState) -> None:
        """Append a state; it is on disk when this returns."""
        self._lines.append(state.to_json())
        self.states.append(state)
        if "://" in self.place:  # object stores know no appending
            self._write(STATES, "".join(f"{line}\n" for line in self._lines))
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

    def _write(self, name: str, text: str) -> None:
        with self._filesystem.open_output_stream(f"{self._root}/{name}") as file:
            file.write(text.encode())


def _is_report(before: TrialState, state: TrialState) -> bool:
    return (state.epoch, state.latest, state.resumed_from) != (before.epoch, before.latest, before.resumed_from)


def _first_difference(known: str, text: str) -> str | None:
    """A line that only one of two texts has, but for those that may change."""
    pair = [[line for line in each.splitlines() if not line.startswith(MAY_CHANGE)] for each in (known, text)]
    return next((line for line in pair[0] if line not in pair[1]), next((n for n in pair[1] if n not in pair[0]), None))
