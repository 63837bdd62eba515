"""What a person sees of a run: one line that says what will happen, progress, and a closing table.

On a terminal progress is live; elsewhere it is plain lines, one an epoch and one every half minute. Names and paths go
to the console as ``Text``: a bracket in a file's name is no markup.
"""

import time
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Self

from rich import box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from kinoray.data.config import Dataset
from kinoray.recipe import Recipe
from kinoray.train.checkpoint import Checkpoint
from kinoray.train.events import Diverged, EpochDone, Event, Finished, Started, StepsDone

LOG_WIDTH = 1_000
PLAIN_LINE_SECONDS = 30
SLOW_DATA_FRACTION = 0.1
SLOW_DATA_SECONDS = 5
"""Of waiting in an epoch; less is the start of a pipeline, or not worth a word."""
NUM_BAD_SHOWN = 5


def make_console() -> Console:
    """Standard output; as wide as it needs to be where it is no terminal, so that no line is broken in a log."""
    console = Console(highlight=False, markup=False, emoji=False, soft_wrap=True)
    if not console.is_terminal:
        console.width = LOG_WIDTH
    return console


def announce(console: Console, recipe: Recipe, dataset: Dataset, allocation: str, *, run_name: str) -> None:
    """Say in one line what will run, and what will take its time."""
    num_val = dataset.val.num_videos if dataset.val else 0
    base = recipe.optimizer.base_batch_size
    scaled = f", lr {recipe.scaled_lr:.3g} ({recipe.optimizer.lr:g} at a batch of {base})" if base is not None else ""
    what = (
        f"{recipe.model.kind} on {dataset.train.num_videos:,} train + {num_val:,} val videos of "
        f"{_count(len(dataset.classes), 'class', 'classes')}, {_count(recipe.training.epochs, 'epoch')}, global batch "
        f"{recipe.data.train.batch_size}{scaled}, seed {recipe.seed}; {allocation}"
    )
    console.print(Text.assemble((run_name, "bold"), ": ", what))
    if recipe.training.compile is not None:
        console.print("training.compile: the first steps and the first evaluation wait for the compiler")


class TrainingConsole:
    """A listener that shows a training run. A context manager, because a live display has to be closed.

    Args:
        console: where to.
        monitor: the metric of data.val that ranks checkpoints.
        decode_cpus: that the run has, for advice where they are too few.
    """

    def __init__(self, console: Console, monitor: str, *, decode_cpus: float) -> None:
        self.console, self.monitor, self.decode_cpus = console, monitor, decode_cpus
        self.is_advised = False
        self.started: Started | None = None
        self.epochs: dict[int, EpochDone] = {}
        self.probe: Mapping[str, float] = {}
        self._bad: set[str] = set()
        self._begin = self._last_line = time.monotonic()
        self._progress = progress_bar(console, "[bold]epoch {task.fields[epoch]}")
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
            case Diverged():
                self._on_divergence(event)
            case Finished():
                self.probe = event.probe
                self._on_finish(event)

    @property
    def videos_per_second(self) -> float:
        """Over all training epochs, without evaluation."""
        seconds = sum(epoch.seconds for epoch in self.epochs.values())
        return (
            sum(epoch.videos_per_second * epoch.seconds for epoch in self.epochs.values()) / seconds if seconds else 0.0
        )

    @property
    def data_wait_fraction(self) -> float:
        """Share of the training time in which rank 0 waited for data."""
        seconds = sum(epoch.seconds for epoch in self.epochs.values())
        return (
            sum(epoch.data_wait_fraction * epoch.seconds for epoch in self.epochs.values()) / seconds
            if seconds
            else 0.0
        )

    def close(self, place: str, best: Checkpoint, *, places: Sequence[tuple[str, str]]) -> None:
        """Print the closing table.

        Args:
            place: of the best checkpoint.
            best: its summary; it may be older than what this process has seen.
            places: more rows, such as where MLflow shows the run.
        """
        rows = [(f"val/{name}", shown(name, figure)) for name, figure in best.metrics.items()]
        if best.metrics and self.started is not None:
            rows.append(("best epoch", f"{best.progress.epoch + 1} of {self.started.num_epochs}"))
        rows += probe_rows(self.probe)
        if self.epochs:
            rows.append(("training speed", f"{self.videos_per_second:.1f} videos/s"))
            rows.append(("waiting for data", f"{self.data_wait_fraction:.0%} of the training time"))
        rows.append(("wall time", duration(time.monotonic() - self._begin)))
        if self._bad:
            rows.append(("unreadable videos", str(len(self._bad))))
        self.console.print(closing_table("done", [*rows, ("checkpoint", place), *places]))

    def _on_start(self, event: Started) -> None:
        self.started = event
        in_epoch = event.first_step - event.first_epoch * event.steps_per_epoch
        begin = f"resumed at epoch {event.first_epoch + 1}" if event.first_step else ""
        begin += f", step {in_epoch + 1} of it" if in_epoch > 0 else ""
        if event.first_epoch >= event.num_epochs:
            begin = "all of them done before"
        self.console.print(
            f"{_count(event.num_workers, 'worker')} on {event.device}: {event.num_parameters:,} parameters, "
            f"{_count(event.num_epochs, 'epoch')} x {_count(event.steps_per_epoch, 'step')}{begin and ', '}{begin}; "
            f"started after {duration(time.monotonic() - self._begin)}",
            markup=False,
        )
        for note in (*event.weights.splitlines()[:1], *event.notes):
            self.console.print(Text(note))
        self._progress.reset(self._task, total=event.num_epochs * event.steps_per_epoch)
        self._progress.update(
            self._task,
            completed=event.first_step,
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
            self.console.print(f"epoch {event.epoch + 1}  step {event.step}/{total}  {figures}", markup=False)

    def _on_epoch(self, event: EpochDone) -> None:
        self.epochs[event.epoch] = event
        num_epochs = self.started.num_epochs if self.started else 0
        line = f"epoch {event.epoch + 1:>{len(str(num_epochs))}}/{num_epochs}  loss {event.train_loss:.3f}"
        if event.evaluation is not None:
            metrics = event.evaluation.metrics
            told = [name for name in dict.fromkeys((self.monitor, "loss")) if name in metrics]
            line += "".join(f"  val/{name} {shown(name, metrics[name])}" for name in told)
        line += f"  {event.videos_per_second:.0f} videos/s  data wait {event.data_wait_fraction:.0%}"
        self.console.print(Text.assemble(line, ("  best" if event.is_best else "", "bold green")))
        self._last_line = time.monotonic()
        self._show_bad(event)
        self._advise(event)

    def _on_divergence(self, event: Diverged) -> None:
        named = ", ".join(name for name, _ in event.videos[:NUM_BAD_SHOWN])
        more = f" and {len(event.videos) - NUM_BAD_SHOWN} more" if len(event.videos) > NUM_BAD_SHOWN else ""
        end = "going back to the last checkpoint, on without this batch" if event.rolled_back else "its batch"
        self.console.print(Text.assemble(("  diverged: ", "yellow"), f"{event.what}; {end}: {named}{more}"))

    def _on_finish(self, event: Finished) -> None:
        if event.stopped:
            after = f" after epoch {max(self.epochs) + 1}" if self.epochs else " before its first epoch here"
            self.console.print(Text.assemble((f"stopped{after}: ", "yellow"), event.stopped))

    def _show_bad(self, event: EpochDone) -> None:
        """Tell of bad videos once, not every epoch."""
        found = event.bad_videos + (event.evaluation.bad_videos if event.evaluation else ())
        new = [video for video in found if video.path not in self._bad]
        self._bad.update(video.path for video in new)
        for video in new[:NUM_BAD_SHOWN]:
            self.console.print(Text.assemble(("  unreadable ", "yellow"), video.error))
        if len(new) > NUM_BAD_SHOWN:
            self.console.print(f"  ... and {len(new) - NUM_BAD_SHOWN} more; all are listed in the run's bad_videos.csv")

    def _advise(self, event: EpochDone) -> None:
        """Tell once what would help if the model waits for data."""
        advice = "" if self.is_advised else data_advice(event, self.decode_cpus)
        if advice:
            self.is_advised = True
            self.console.print(Text.assemble(("  data: ", "yellow"), advice))


def progress_bar(console: Console, title: str) -> Progress:
    """A line that is drawn anew as work goes on, with a field ``figures``; nothing where no terminal looks.

    Args:
        console: where to.
        title: its first column, as rich formats it.
    """
    return Progress(
        TextColumn(title),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TextColumn("{task.fields[figures]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )


def data_advice(epoch: EpochDone, decode_cpus: float) -> str:
    """What to do about a model that waits for data, in one line with the numbers; empty where it hardly waits.

    Args:
        epoch: what was measured.
        decode_cpus: that were there.
    """
    wait = epoch.data_wait_fraction
    if wait <= SLOW_DATA_FRACTION or wait * epoch.seconds < SLOW_DATA_SECONDS:
        return ""
    could_take = epoch.videos_per_second / max(1 - wait, 0.01)
    needed = could_take * epoch.decode_cpu_seconds_per_clip
    found = (
        f"the model waits {wait:.0%} of the time; {epoch.decode_cpu_seconds_per_clip * 1_000:.2g} CPU-ms a video x the "
        f"{could_take:.3g} videos/s that it could take need {needed:.2g} decode CPUs, it has {decode_cpus:.3g}: "
    )
    if needed > decode_cpus:
        return found + "raise site.decode_cpus or add nodes, or shrink the videos once with jobs/prepare.py --transcode"
    return found + "so reading is slow, not decoding: keep the videos nearer, or in shards (jobs/prepare.py)"


def closing_table(title: str, rows: Sequence[tuple[str, str]]) -> Table:
    """Names and values, a row each."""
    table = Table(title=title, box=box.ROUNDED, show_header=False, title_justify="left", title_style="bold")
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in rows:
        table.add_row(Text(name), Text(value))
    return table


def probe_rows(probe: Mapping[str, float]) -> list[tuple[str, str]]:
    """What a closing table says of the temporal probe."""
    return [(f"temporal probe, {name.replace('_', ' ')}", f"{accuracy:.3f}") for name, accuracy in probe.items()]


def _count(number: int, one: str, many: str = "") -> str:
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def shown(name: str, value: float) -> str:
    """A metric, to as many places as it is worth."""
    return f"{value:.4f}" if name == "loss" else f"{value:.3f}"


def duration(seconds: float) -> str:
    """Hours, minutes, seconds; of more than a minute only two of them."""
    minutes, rest = divmod(int(seconds + 0.5), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s" if minutes else f"{rest} s"
