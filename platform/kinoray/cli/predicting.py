"""What a person sees of ``jobs/predict.py``, and how it begins."""

import time
from argparse import Namespace
from collections.abc import Mapping
from datetime import timedelta
from types import TracebackType
from typing import Any, Self

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from kinoray.cli.console import closing_table, progress_bar
from kinoray.cli.predict_arguments import output_of
from kinoray.cluster.predict.desk import Progress
from kinoray.cluster.predict.run import Predicted
from kinoray.cluster.predict.worker import Assignment
from kinoray.errors import ConfigError, DataError
from kinoray.exported.model import ExportedModel
from kinoray.predict.conclusion import QUARANTINE
from kinoray.predict.listing import JOB, Listing, frozen_listing
from kinoray.predict.request import Request, absolute_place, check_same, digest_of_views, digest_of_weights, views_of
from kinoray.predict.scoring import classifier
from kinoray.predict.table import SCORED, Written
from kinoray.predict.windows import Window
from kinoray.recognizer import load_recognizer
from kinoray.site import Allocation, Site
from kinoray.video.limits import Limits

PLAIN_LINE_SECONDS = 30


class Prediction:
    """What the arguments ask for, with the model opened once to look at it.

    Raises:
        ConfigError: something in the arguments cannot be, or the output folder holds something else.
        CheckpointError: there is no such model.
    """

    def __init__(self, arguments: Namespace, site: Site) -> None:
        self.arguments, self._site = arguments, site
        self.output = output_of(arguments)
        window = None
        if arguments.segment_seconds is not None:
            window = Window(arguments.segment_seconds, arguments.stride_seconds or arguments.segment_seconds)
        place = absolute_place(arguments.model)
        self.recognizer = load_recognizer(place, arguments.checkpoint, split=arguments.split, labels=arguments.labels)
        self.request = Request(
            model=place,
            checkpoint=arguments.checkpoint and absolute_place(arguments.checkpoint),
            labels=arguments.labels and absolute_place(arguments.labels),
            split=arguments.split,
            view=views_of(self.recognizer.view, arguments.views),
            window=window,
            batch_size=arguments.batch_size,
            precision=arguments.precision,
            compiled=arguments.compile,
            limits=Limits(seconds=arguments.timeout_seconds),
        )
        if arguments.embeddings:
            classifier(self.recognizer.model)
        if isinstance(self.recognizer.model, ExportedModel) and (arguments.compile or arguments.precision != "fp32"):
            raise ConfigError("--compile, --precision: got an exported file, which computes as it was written")
        self.model_id = digest_of_weights(self.recognizer)
        self.recipe_digest = digest_of_views(self.recognizer, self.request)

    def claim(self) -> Mapping[str, Any]:
        """Note in the output folder what it is for; what an earlier run noted comes back.

        Raises:
            ConfigError: it holds something else.
        """
        arguments = self.arguments
        identity = {
            "videos": absolute_place(arguments.videos),
            "model_id": self.model_id,
            "recipe_digest": self.recipe_digest,
            "top": arguments.top,
            "scores": arguments.scores,
            "embeddings": arguments.embeddings,
        }
        return check_same(self.output, identity)

    def describe(self, listing: Listing, num_written: int) -> str:
        """What is to be done, and how much of it an earlier run did."""
        return (
            f"{self.arguments.model}: {listing.num_videos:,} videos of {self.arguments.videos}, "
            f"{listing.num_bytes / 1e9:,.2f} GB; {num_written:,} of {listing.num_shards:,} shards written before"
        )

    def shown(self) -> dict[str, Any]:
        """What a review of the output has to know of the model."""
        return {"classes": self.recognizer.classes, "view": self.request.view.model_dump(mode="json")}

    def assignment(self, listing: Listing, run_id: str) -> Assignment:
        """What workers are told."""
        arguments = self.arguments
        written = Written(
            classes=self.recognizer.classes,
            top_k=arguments.top,
            all_scores=arguments.scores == "all",
            with_embeddings=arguments.embeddings,
            with_times=self.request.window is not None,
            model_id=self.model_id,
            recipe_digest=self.recipe_digest,
            run_id=run_id,
        )
        return Assignment(self.request, listing, self.output, written)

    def listing(self) -> Listing:
        """The videos, listed now or by an earlier run.

        Raises:
            DataError: they cannot be listed, or there are none.
        """
        try:
            return frozen_listing(self.arguments.videos, self.output, shard_rows=self.arguments.videos_per_shard)
        except (ConfigError, DataError):
            self.output.delete(JOB)  # so that a folder in which nothing is yet may be used with the right place
            raise


class PredictionConsole:
    """A listener that shows how far a prediction is. A context manager, because a live display has to be closed."""

    def __init__(self, console: Console, listing: Listing, num_before: int) -> None:
        self._console, self._listing = console, listing
        self._num_before = min(num_before * listing.shard_rows, listing.num_videos)
        self._begin = self._last_line = time.monotonic()
        self._bar = progress_bar(console, "[bold]{task.description}")
        self._task = self._bar.add_task("predicting", total=listing.num_videos, figures="starting workers")

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def __call__(self, progress: Progress) -> None:
        now, tally = time.monotonic(), progress.tally
        if not tally.num_videos:
            return
        seconds = max(now - self._begin, 1e-3)
        rate = tally.num_videos / seconds
        busy = max(tally.decode_seconds + tally.model_seconds, 1e-9)
        bad = sum(count for status, count in progress.counts.items() if status not in SCORED)
        figures = (
            f"{rate:.1f}/s, {tally.video_seconds / seconds:.0f} h of video/h, "
            f"decode {tally.decode_seconds / busy:.0%}, model {tally.model_seconds / busy:.0%}"
            + f", {bad:,} bad" * bool(bad)
            + f", {progress.num_deaths} workers lost" * bool(progress.num_deaths)
        )
        done = min(self._num_before + tally.num_videos, self._listing.num_videos)
        self._bar.update(self._task, completed=done, figures=figures)
        if not self._console.is_terminal and now - self._last_line > PLAIN_LINE_SECONDS:
            self._last_line = now
            left = timedelta(seconds=round((self._listing.num_videos - done) / rate))
            self._console.print(f"{done:,}/{self._listing.num_videos:,} videos, {figures}, {left} left")


def show_predicted(
    console: Console, done: Predicted, site: Site, allocation: Allocation, places: list[tuple[str, str]]
) -> dict[str, float]:
    """Print what was done; gives the figures, for MLflow."""
    table = Table(box=box.ROUNDED, title="rows by status", title_justify="left", title_style="bold")
    for name in ("status", "rows"):
        table.add_column(name, justify="right" if name == "rows" else "left")
    for status, count in done.written.counts.items():
        if count:
            table.add_row(Text(status), f"{count:,}")
    console.print(table)
    for bad in done.written.bad:
        console.print(Text.assemble((f"  {bad.status} ", "yellow"), bad.error))
    num_bad = sum(count for status, count in done.written.counts.items() if status not in SCORED)
    if num_bad > len(done.written.bad):
        console.print(f"  ... and {num_bad - len(done.written.bad):,} more; all are in {QUARANTINE} beside the rows")
    figures = figures_of(done, site, allocation)
    rows = [(name.replace("_", " "), f"{value:,.4g}") for name, value in figures.items() if "/" not in name]
    console.print(closing_table("predicted", [*rows, *places]))
    return figures


def figures_of(done: Predicted, site: Site, allocation: Allocation) -> dict[str, float]:
    """What a run did and cost."""
    tally, seconds = done.progress.tally, max(done.seconds, 1e-9)
    hours = seconds / 3600
    figures = {
        "videos": float(tally.num_videos),
        "seconds": seconds,
        "videos_per_second": tally.num_videos / seconds,
        "video_hours_per_hour": tally.video_seconds / seconds,
        "decode_cpu_seconds": tally.decode_seconds,
        "model_seconds": tally.model_seconds,
        "model_idle_fraction": max(0.0, 1 - tally.model_seconds / (seconds * allocation.num_workers)),
        "workers_lost": float(done.progress.num_deaths),
        **{f"rows/{status}": float(count) for status, count in done.written.counts.items()},
    }
    cpus = allocation.num_workers * allocation.cpus_per_worker + allocation.decode_cpus
    gpus = allocation.num_workers * allocation.gpus_per_worker
    price = hours * (cpus * (site.price_per_cpu_hour or 0) + gpus * (site.price_per_gpu_hour or 0))
    if price and tally.num_videos:
        figures["cost"] = price
        figures["cost_per_1000_videos"] = price / tally.num_videos * 1000
        if tally.video_seconds:
            figures["cost_per_video_hour"] = price / tally.video_seconds * 3600
    return figures
