"""What a person sees of a sweep: one table of its trials, the best first, and in the end what to do with the best."""

import shlex
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from rich import box
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from kinoray.cli.console import PLAIN_LINE_SECONDS, duration, shown
from kinoray.cluster.sweep.plan import Plan
from kinoray.cluster.sweep.trial_log import TrialLog
from kinoray.config.yaml_file import shown as shown_path
from kinoray.recipe import Recipe
from kinoray.sweep.file import SweepEvent, SweepFinished, SweepStarted, TrialChanged, TrialEvent
from kinoray.sweep.trials import TrialState, ranked
from kinoray.train.events import StepsDone

NUM_ROWS = 12
"""Of the live table, those that run besides."""
NUM_BEST = 5
BEST = "best.yaml"
COLOURS = {"running": "cyan", "pruned": "yellow", "failed": "red", "finished": "green", "waiting": "dim"}


def announce_sweep(console: Console, plan: Plan, log: TrialLog) -> None:
    """Say in one line what will be tried, and in another what of it was done before."""
    sweep, recipe = plan.sweep, plan.recipe
    at_a_time = "one at a time" if plan.concurrency == 1 else f"{plan.concurrency} at a time"
    seeds = f" ({len(sweep.seeds)} seeds each)" if len(sweep.seeds) > 1 else ""
    console.print(
        Text.assemble(
            (sweep.name, "bold"),
            f": {sweep.num_trials} trials{seeds} of {recipe.name} over {', '.join(sweep.space)}; {sweep.search.kind} "
            f"search, scheduler {sweep.scheduler.kind}, up to {recipe.training.epochs} epochs, by val/"
            f"{recipe.evaluation.monitor}; {at_a_time}, {plan.allocation.describe()}",
        )
    )
    if log.states:
        over = sum(state.is_over for state in log.current().values())
        console.print(f"goes on in {log.place}: {over} of {sweep.num_trials} trials are done")


class SweepConsole:
    """A listener that shows a sweep. A context manager, because a live display has to be closed."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.started: SweepStarted | None = None
        self.states: dict[int, TrialState] = {}
        self.speed: dict[int, float] = {}
        self._begin = self._last_line = time.monotonic()
        self._seconds_before = 0.0
        self._live = Live(console=console, transient=True, auto_refresh=False, get_renderable=self._table)

    def __enter__(self) -> Self:
        if self.console.is_terminal:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.console.is_terminal:
            self._live.stop()

    def __call__(self, event: SweepEvent) -> None:
        match event:
            case SweepStarted():
                self.started = event
            case TrialChanged(state):
                known = self.states.get(state.trial.number)
                self.states[state.trial.number] = state
                if known is None and state.is_over:
                    self._seconds_before += state.seconds
                elif state.is_over or (known is not None and state.trial.labels != known.trial.labels):
                    self._tell(state, "" if state.is_over else "now with")
                elif state.epoch and not self.console.is_terminal and self._is_long_silent():
                    self._tell(state)
            case TrialEvent(number, StepsDone() as steps):
                self.speed[number] = steps.videos_per_second
            case SweepFinished(states):
                self.states = {state.trial.number: state for state in states}
        if self.console.is_terminal:
            self._live.refresh()

    @property
    def num_over(self) -> int:
        return sum(state.is_over for state in self.states.values())

    def eta(self) -> str:
        """How long it may take still; empty before the first trial is over."""
        if self.started is None:
            return ""
        done = self.num_over
        spent = time.monotonic() - self._begin + self._seconds_before
        left = self.started.sweep.num_trials - done
        return f"about {duration(spent / done * left)} left" if done and left else ""

    def _is_long_silent(self) -> bool:
        return time.monotonic() - self._last_line > PLAIN_LINE_SECONDS

    def _tell(self, state: TrialState, word: str = "") -> None:
        """One plain line for a trial: its status or another word, its values, its metric."""
        assert self.started is not None
        self._last_line = time.monotonic()
        settings = " ".join(f"{path}={label}" for path, label in state.trial.labels.items())
        line = Text.assemble(
            f"{state.trial.name} ", (word or state.status, COLOURS[state.status]), f" {settings}  {self._result(state)}"
        )
        if state.error and state.status != "pruned":
            line.append(f"  {state.error.splitlines()[0]}")
        if state.is_over:
            line.append(f"  [{self.num_over}/{self.started.sweep.num_trials}] {self.eta()}")
        self.console.print(line)

    def _result(self, state: TrialState) -> str:
        assert self.started is not None
        monitor = self.started.recipe.evaluation.monitor
        value = "-" if state.best is None else shown(monitor, state.best)
        return f"val/{monitor} {value} after epoch {state.epoch} of {self.started.recipe.training.epochs}"

    def _table(self) -> Group:
        if self.started is None:
            return Group(Text("starting workers", "dim"))
        monitor, paths = self.started.recipe.evaluation.monitor, tuple(self.started.sweep.space)
        states = ranked(self.states.values(), monitor)
        rows = [state for rank, state in enumerate(states) if rank < NUM_ROWS or state.status == "running"]
        table = leaderboard(rows, paths, monitor)
        counts = {status: sum(state.status == status for state in states) for status in COLOURS}
        told = ", ".join(f"{number} {status}" for status, number in counts.items() if number)
        speed = sum(self.speed.get(state.trial.number, 0.0) for state in rows if state.status == "running")
        figures = [told, self.eta(), f"{speed:.0f} videos/s" if speed else ""]
        return Group(table, Text("  ".join(figure for figure in figures if figure), "dim"))


def leaderboard(states: Sequence[TrialState], paths: Sequence[str], monitor: str) -> Table:
    """A row for each trial, in the order given."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    with_seeds = len({state.trial.seed for state in states}) > 1
    for name in (
        "trial",
        *paths,
        *(["seed"] if with_seeds else []),
        f"val/{monitor}",
        "at epoch",
        "epochs",
        "time",
        "status",
    ):
        table.add_column(name, overflow="fold")
    for state in states:
        table.add_row(
            Text(str(state.trial.number)),
            *(Text(str(state.trial.labels.get(path, "-"))) for path in paths),
            *([Text(str(state.trial.seed))] if with_seeds else []),
            Text("-" if state.best is None else shown(monitor, state.best)),
            Text("-" if state.best_epoch is None else str(state.best_epoch + 1)),
            Text(str(state.epoch)),
            Text(duration(state.seconds)),
            Text(state.status, COLOURS[state.status]),
        )
    return table


def close_sweep(
    console: Console,
    plan: Plan,
    log: TrialLog,
    states: Sequence[TrialState],
    *,
    overrides: Sequence[str],
    places: Sequence[tuple[str, str]],
) -> None:
    """Print the best trials and how to train the best one again, whose recipe becomes ``best.yaml``.

    Args:
        console: where to.
        plan: of the sweep that is done.
        log: its record.
        states: the best first.
        overrides: of the recipe, on the command line.
        places: where else something of the sweep is, by name; empty ones are left out.
    """
    sweep, recipe = plan.sweep, plan.recipe
    console.print(leaderboard(states[:NUM_BEST], tuple(sweep.space), recipe.evaluation.monitor))
    counts = {status: sum(state.status == status for state in states) for status in ("finished", "pruned", "failed")}
    console.print(f"{len(states)} trials: {', '.join(f'{number} {status}' for status, number in counts.items())}")
    best = states[0] if states else None
    if best is None or best.best is None:
        return
    assignments = [*overrides, *sweep.assignments(recipe, best.trial, overrides)]
    place = log.put(BEST, Recipe.load(sweep.recipe_path, assignments).yaml())
    for name, value in [("best checkpoint", best.checkpoint or ""), ("best recipe", place), *places]:
        if value:
            console.print(Text.assemble((f"{name}: ", "bold"), value))
    if sweep.perturbed:
        console.print("its values changed in mid-training; the recipe has the last ones")
    console.print(Text.assemble(("train it again: ", "bold"), retrain_command(sweep.recipe_path, assignments)))


def retrain_command(recipe: Path, assignments: Sequence[str]) -> str:
    """What trains a recipe with these values."""
    return shlex.join(["python", "jobs/train.py", shown_path(recipe), *(w for a in assignments for w in ("--set", a))])
