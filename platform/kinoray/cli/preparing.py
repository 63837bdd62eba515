"""What a person sees of ``jobs/prepare.py``: how far it is and how long it will take, and at the end what was done."""

import time
from datetime import timedelta
from pathlib import PurePosixPath
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.text import Text

from kinoray.cli.console import progress_bar
from kinoray.cluster.prepare import Stage
from kinoray.data.prepared import Prepared

PLAIN_LINE_SECONDS = 30
NUM_BAD_SHOWN = 5


class PreparingConsole:
    """A listener that shows the stages of a preparation. A context manager, because a live display has to be closed."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._begin = time.monotonic()
        self._stage, self._stage_begin, self._last_line = "", self._begin, self._begin
        self._progress = progress_bar(console, "[bold]{task.description}")
        self._task = self._progress.add_task("starting", total=None, figures="")

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def __call__(self, stage: Stage) -> None:
        now = time.monotonic()
        if stage.name != self._stage:
            self._stage, self._stage_begin = stage.name, now
            self._progress.reset(self._task, total=stage.num_videos, description=stage.name)
        bad = f", {stage.num_bad} bad" if stage.num_bad else ""
        rate = stage.num_done / max(now - self._stage_begin, 1e-3)
        figures = f"{rate:.1f} videos/s{bad}"
        self._progress.update(self._task, completed=stage.num_done, figures=figures)
        if stage.num_done and not self._console.is_terminal and now - self._last_line > PLAIN_LINE_SECONDS:
            self._last_line = now
            left = _clock((stage.num_videos - stage.num_done) / rate)
            self._console.print(f"{stage.name} {stage.num_done:,}/{stage.num_videos:,} videos, {figures}, {left} left")

    def close(self, done: Prepared) -> None:
        """Print what was done."""
        for error in done.errors[:NUM_BAD_SHOWN]:
            self._console.print(Text.assemble(("  bad ", "yellow"), error))
        if len(done.errors) > NUM_BAD_SHOWN:
            self._console.print(f"  ... and {len(done.errors) - NUM_BAD_SHOWN} more")
        kept = f", {done.num_kept:,} of them by an earlier run" if done.num_kept else ""
        bad = f"; {len(done.errors):,} bad, listed in {PurePosixPath(done.bad_videos).name}" if done.errors else ""
        ratio = done.num_bytes / done.source_bytes
        self._console.print(
            f"prepared {done.num_videos - len(done.errors):,} of {done.num_videos:,} videos{kept}{bad}; "
            f"{done.num_frames:,} frames, {done.source_bytes / 1e6:,.1f} MB became {done.num_bytes / 1e6:,.1f} MB "
            f"(x{ratio:.2f}) in {_clock(time.monotonic() - self._begin)}"
        )
        self._console.print(Text(f"data.train.source={done.manifest}"))


def _clock(seconds: float) -> str:
    return str(timedelta(seconds=round(seconds)))
