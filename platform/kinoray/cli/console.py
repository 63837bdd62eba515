"""What a person sees of a run: one line that says what will happen, progress, and a closing table.

On a terminal progress is live; elsewhere it is plain lines, one an epoch and one every half minute.
"""

import time
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Self

from rich import box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from kinoray.data.config import Dataset
from kinoray.recipe import Recipe
from kinoray.train.events import BadVideo, EpochDone, Evaluation, Event, Finished, Started, StepsDone

PLAIN_LINE_SECONDS = 30
SLOW_DATA_FRACTION = 0.2
NUM_BAD_SHOWN = 5


def make_console() -> Console:
    """Standard output; as wide as it needs to be where it is no terminal, so that no line is broken in a log."""
    console = Console(highlight=False, soft_wrap=True)
    return console if console.is_terminal else Console(highlight=False, soft_wrap=True, width=160)


def announce(console: Console, recipe: Recipe, dataset: Dataset, allocation: str, *, run_name: str) -> None:
    """Say in one line what will run."""
    num_val = dataset.val.num_videos if dataset.val else 0
    console.print(
        f"[bold]{run_name}[/]: {recipe.model.kind} on {dataset.train.num_videos:,} train + {num_val:,} val videos of "
        f"{len(dataset.classes)} classes, {recipe.training.epochs} epochs, global batch "
        f"{recipe.data.train.batch_size}, seed {recipe.seed}; {allocation}"
    )


class TrainingConsole:
    """A listener that shows a training run. A context manager, because a live display has to be closed.

    Args:
        console: where to.
        monitor: the metric of data.val that ranks checkpoints.
    """

    def __init__(self, console: Console, monitor: str) -> None:
        self.console, self.monitor = console, monitor
        self.started: Started | None = None
        self.best: EpochDone | None = None
        self.epochs: list[EpochDone] = []
        self.probe: Mapping[str, float] = {}
        self._begin = self._last_line = time.monotonic()
        self._progress = Progress(
            TextColumn("[bold]epoch {task.fields[epoch]}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("{task.fields[figures]}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._task = self._progress.add_task("", total=None, epoch="-", figures="starting workers")

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def __call__(self, event: Event) -> None:
        match event:
            case Started():
                self._on_start(event)
            case StepsDone():
                self._on_steps(event)
            case EpochDone():
                self._on_epoch(event)
            case Finished():
                self.probe = event.probe

    @property
    def videos_per_second(self) -> float:
        """Over all training epochs, without evaluation."""
        seconds = sum(epoch.seconds for epoch in self.epochs)
        return sum(epoch.videos_per_second * epoch.seconds for epoch in self.epochs) / seconds if seconds else 0.0

    @property
    def data_wait_fraction(self) -> float:
        """Share of the training time in which rank 0 waited for data."""
        seconds = sum(epoch.seconds for epoch in self.epochs)
        return sum(epoch.data_wait_fraction * epoch.seconds for epoch in self.epochs) / seconds if seconds else 0.0

    def close(self, *, checkpoint: str, places: Sequence[tuple[str, str]]) -> None:
        """Print the closing table; ``places`` are more rows, such as where MLflow shows the run."""
        table = _table("done")
        if self.best is not None and self.best.evaluation is not None:
            for name, figure in self.best.evaluation.metrics.items():
                table.add_row(f"val/{name}", _figure(name, figure))
            table.add_row("best epoch", f"{self.best.epoch + 1} of {len(self.epochs) and self.epochs[-1].epoch + 1}")
        for name, accuracy in self.probe.items():
            table.add_row(f"temporal probe, {name.replace('_', ' ')}", f"{accuracy:.3f}")
        table.add_row("training speed", f"{self.videos_per_second:.1f} videos/s")
        table.add_row("waiting for data", f"{self.data_wait_fraction:.0%} of the training time{self._advice()}")
        table.add_row("wall time", _duration(time.monotonic() - self._begin))
        num_bad = len({video.video_id for epoch in self.epochs for video in _bad_videos(epoch)})
        if num_bad:
            table.add_row("unreadable videos", str(num_bad))
        table.add_row("checkpoint", checkpoint)
        for name, value in places:
            table.add_row(name, value)
        self.console.print(table)

    def _on_start(self, event: Started) -> None:
        self.started = event
        resumed = f", resumed at epoch {event.first_epoch + 1}" if event.first_epoch else ""
        self.console.print(
            f"{event.num_workers} worker{'s' * (event.num_workers > 1)} on {event.device}: "
            f"{event.num_parameters:,} parameters, {event.num_epochs} epochs x {event.steps_per_epoch} steps{resumed} "
            f"({time.monotonic() - self._begin:.0f} s to start)"
        )
        self._progress.reset(self._task, total=event.num_epochs * event.steps_per_epoch)
        self._progress.update(
            self._task,
            completed=event.first_epoch * event.steps_per_epoch,
            epoch=event.first_epoch + 1,
            figures="decoding the first batch",
        )

    def _on_steps(self, event: StepsDone) -> None:
        figures = (
            f"loss {event.loss:.3f}  lr {event.lr:.2g}  {event.videos_per_second:.0f} videos/s  "
            f"data wait {event.data_wait_fraction:.0%}"
        )
        self._progress.update(self._task, completed=event.step, epoch=event.epoch + 1, figures=figures)
        now = time.monotonic()
        if not self.console.is_terminal and now - self._last_line > PLAIN_LINE_SECONDS:
            self._last_line = now
            total = self.started.num_epochs * self.started.steps_per_epoch if self.started else 0
            self.console.print(f"epoch {event.epoch + 1}  step {event.step}/{total}  {figures}")

    def _on_epoch(self, event: EpochDone) -> None:
        self.epochs.append(event)
        if event.is_best:
            self.best = event
        num_epochs = self.started.num_epochs if self.started else 0
        line = f"epoch {event.epoch + 1:>{len(str(num_epochs))}}/{num_epochs}  loss {event.train_loss:.3f}"
        if event.evaluation is not None:
            shown = {name: event.evaluation.metrics[name] for name in (self.monitor, "loss")}
            line += "".join(f"  val/{name} {_figure(name, value)}" for name, value in shown.items())
        line += f"  {event.videos_per_second:.0f} videos/s  data wait {event.data_wait_fraction:.0%}"
        self.console.print(line + ("  [bold green]best[/]" if event.is_best else ""))
        self._last_line = time.monotonic()
        self._show_bad(_bad_videos(event))

    def _show_bad(self, bad: Sequence[BadVideo]) -> None:
        for video in bad[:NUM_BAD_SHOWN]:
            self.console.print(f"  [yellow]unreadable[/] {video.error}", markup=True)
        if len(bad) > NUM_BAD_SHOWN:
            self.console.print(f"  ... and {len(bad) - NUM_BAD_SHOWN} more; all are listed in the run's bad_videos.csv")

    def _advice(self) -> str:
        return " (data is the bottleneck: give decoding more CPUs)" if self._data_is_slow() else ""

    def _data_is_slow(self) -> bool:
        return self.data_wait_fraction > SLOW_DATA_FRACTION


def show_evaluation(
    console: Console, evaluation: Evaluation, *, probe: Mapping[str, float], places: Sequence[tuple[str, str]]
) -> None:
    """Print the table of an evaluation."""
    table = _table("evaluated")
    for name, figure in evaluation.metrics.items():
        table.add_row(name, _figure(name, figure))
    for name, accuracy in probe.items():
        table.add_row(f"temporal probe, {name.replace('_', ' ')}", f"{accuracy:.3f}")
    table.add_row("videos", str(evaluation.num_videos))
    if evaluation.bad_videos:
        table.add_row("unreadable videos", f"{len(evaluation.bad_videos)}, the first: {evaluation.bad_videos[0].error}")
    table.add_row("wall time", _duration(evaluation.seconds))
    for name, value in places:
        table.add_row(name, value)
    console.print(table)


def _table(title: str) -> Table:
    table = Table(title=title, box=box.ROUNDED, show_header=False, title_justify="left", title_style="bold")
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    return table


def _figure(name: str, value: float) -> str:
    return f"{value:.4f}" if name == "loss" else f"{value:.3f}"


def _duration(seconds: float) -> str:
    minutes, rest = divmod(int(seconds + 0.5), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s" if minutes else f"{rest} s"


def _bad_videos(epoch: EpochDone) -> tuple[BadVideo, ...]:
    return epoch.bad_videos + (epoch.evaluation.bad_videos if epoch.evaluation else ())
