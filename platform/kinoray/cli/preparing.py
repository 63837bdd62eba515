"""What a person says to ``jobs/prepare.py`` and sees of it: how far it is, and at the end what it did and found."""

import time
from argparse import ArgumentParser, Namespace
from collections.abc import Mapping
from datetime import timedelta
from pathlib import PurePosixPath
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.text import Text

from kinoray.cli.arguments import job_parser, recipe_overrides
from kinoray.cli.console import progress_bar
from kinoray.cli.preparing_picture import summary_picture
from kinoray.cluster.prepare import Stage
from kinoray.data.duplicates import Footage
from kinoray.data.output import OutputFolder
from kinoray.data.prepare import Preparation, read_listing
from kinoray.data.prepared import BAD_VIDEOS, DUPLICATES, Prepared, Record
from kinoray.data.splits import Division
from kinoray.data.summary import FEW_VIDEOS, Summary
from kinoray.errors import ConfigError, DataError
from kinoray.site import Site
from kinoray.tracking.pictures import png_bytes
from kinoray.video.transcode import Encoding

PLAIN_LINE_SECONDS = 30
NUM_BAD_SHOWN = 5
NUM_NAMES_SHOWN = 4
PICTURE = "summary.png"


def prepare_parser(description: str) -> ArgumentParser:
    """The parser of ``jobs/prepare.py``."""
    parser = job_parser(description)
    parser.add_argument("source", metavar="SOURCE")
    parser.add_argument("output", metavar="OUTPUT", help="folder or URI; on several nodes reachable from all")
    parser.add_argument("--transcode", action="store_true", help="encode anew, for fast clips")
    parser.add_argument("--codec", choices=["mpeg4", "h264"], default="mpeg4", help="h264: smaller, slower to read")
    parser.add_argument("--short-side", type=int, default=256, metavar="PIXELS", help="of larger pictures")
    parser.add_argument("--shards", action="store_true", help="pack the videos into files of 256 MB")
    parser.add_argument("--split", metavar="NAME=SHARE,...", help="cut the list, e.g. train=0.8,val=0.2")
    parser.add_argument(
        "--group-by",
        metavar="COLUMN|REGEX",
        help="what stays together in a split: a column of a manifest (one word; default: group), or what a regular "
        "expression finds in the path, e.g. '_g\\d+_'",
    )
    parser.add_argument("--seed", type=int, default=0, help="of --split")
    parser.add_argument(
        "--against",
        metavar="OTHER",
        action="append",
        default=[],
        help="OUTPUT of another list, or a manifest in it, that is to share no footage with this one; may be repeated",
    )
    parser.add_argument(
        "--no-fingerprints", action="store_true", help="look for no duplicates: decode one picture only"
    )
    return parser


class Request:
    """What the arguments ask for.

    Args:
        arguments: of ``prepare_parser``.

    Attributes:
        num_rows: of the list.

    Raises:
        ConfigError: something in them cannot be.
        DataError: a list in them cannot be used.
    """

    def __init__(self, arguments: Namespace) -> None:
        if arguments.no_fingerprints and arguments.against:
            raise ConfigError("--against compares fingerprints, got --no-fingerprints; leave one of them out")
        if arguments.split is None and arguments.group_by is not None:
            raise ConfigError("--group-by, got no --split; it says what stays together in a split")
        column = arguments.group_by if (arguments.group_by or "").isidentifier() else None
        pattern = None if column else arguments.group_by
        is_split = arguments.split is not None
        self._division = Division.parse(arguments.split, pattern, arguments.seed) if is_split else None
        self._listing = read_listing(arguments.source, recipe_overrides(arguments.set), group_column=column)
        self._others = [Footage.read(place) for place in arguments.against]
        encoding = Encoding(arguments.codec, arguments.short_side) if arguments.transcode else None
        output = OutputFolder(Site.load(None, [f"storage={arguments.output}"]).storage_path())
        self._preparation = Preparation(output, encoding, arguments.shards, not arguments.no_fingerprints)
        self.num_rows: int = self._listing.num_rows

    def describe(self) -> str:
        """What will be done, in words."""
        return self._preparation.describe()

    def record(self) -> Record:
        """Begin, or go on with, what is asked for."""
        return Record(self._preparation, self._listing, division=self._division, others=self._others)


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
        """Print what was done and found, and draw it.

        Raises:
            DataError: the list shares footage with others that it was compared with.
        """
        done.output.write(PICTURE, png_bytes(summary_picture(done.summary)))
        done.output.clear_work()
        for error in done.errors[:NUM_BAD_SHOWN]:
            self._console.print(Text.assemble(("  bad ", "yellow"), error))
        if len(done.errors) > NUM_BAD_SHOWN:
            self._console.print(f"  ... and {len(done.errors) - NUM_BAD_SHOWN} more")
        kept = f", {done.num_kept:,} of them by an earlier run" if done.num_kept else ""
        reasons = ", ".join(f"{count:,} {reason}" for reason, count in done.summary.reasons.items())
        bad = f"; {len(done.errors):,} bad ({reasons}), listed in {BAD_VIDEOS}" if done.errors else ""
        summary = done.summary
        ratio = summary.num_bytes / done.source_bytes
        self._console.print(
            f"prepared {done.num_videos - len(done.errors):,} of {done.num_videos:,} videos{kept}{bad}; "
            f"{summary.num_frames:,} frames, {done.source_bytes / 1e6:,.1f} MB became "
            f"{summary.num_bytes / 1e6:,.1f} MB (x{ratio:.2f}) in {_clock(time.monotonic() - self._begin)}"
        )
        for line in summary_lines(summary):
            self._console.print(Text(line))
        for manifest in done.manifests:
            name = PurePosixPath(manifest.partition("?")[0]).stem if summary.splits else "train"
            self._console.print(Text(f"data.{name}.source={manifest}"))
        if summary.num_leaks:
            leaks = DataError(
                f"{summary.num_leaks:,} of {summary.num_rows:,} rows show what other lists show, see {DUPLICATES}; "
                "all is written, and where: {leak: ['']} of a manifest source leaves them out"
            )
            leaks.at_work = True
            raise leaks


def summary_lines(summary: Summary) -> list[str]:
    """What one wants to know of a list before training on it."""
    seconds, rates = summary.duration_seconds, [float(rate) for rate in summary.fps]
    sides = [int(side) for side in summary.short_sides]
    durations = (
        f"{summary.hours:,.2f} hours, {_span([seconds.least, seconds.most])} seconds, median {seconds.median:.3g}"
    )
    lines = [f"{durations}; {_span(rates)} fps; short side {_span(sides)}; {_counts(summary.codecs)}"]
    counts = summary.classes.values()
    sizes = f" of {min(counts):,} to {max(counts):,} rows (1 : {summary.imbalance:.1f})" if counts else ""
    few = f"; {len(summary.small_classes):,} with fewer than {FEW_VIDEOS}: {_counts(summary.small_classes)}"
    lines.append(f"{len(counts):,} classes{sizes}{few if summary.small_classes else ''}")
    if summary.num_damaged:
        lines.append(f"{summary.num_damaged:,} videos open, but of their pictures many are damaged")
    if summary.num_duplicate_groups:
        lines.append(
            f"{summary.num_exact:,} exact and {summary.num_near:,} near duplicates, {summary.num_duplicate_groups:,} "
            f"groups of them, listed in {DUPLICATES}"
        )
    for name, of_split in summary.splits.items():
        absent = [label for label in summary.classes if label not in of_split]
        told = f", none of {', '.join(absent[:NUM_NAMES_SHOWN])}" if absent else ""
        more = f" and {len(absent) - NUM_NAMES_SHOWN} more" if len(absent) > NUM_NAMES_SHOWN else ""
        lines.append(f"{name}: {summary.split_rows[name]:,} rows of {len(of_split):,} classes{told}{more}")
    return lines


def _span(values: list[float] | list[int]) -> str:
    least, most = min(values), max(values)
    return f"{least:.4g}" if least == most else f"{least:.4g} to {most:.4g}"


def _counts(counts: Mapping[str, int]) -> str:
    shown = ", ".join(f"{name} ({count:,})" for name, count in list(counts.items())[:NUM_NAMES_SHOWN])
    return f"{shown}, ..." if len(counts) > NUM_NAMES_SHOWN else shown


def _clock(seconds: float) -> str:
    return str(timedelta(seconds=round(seconds)))
