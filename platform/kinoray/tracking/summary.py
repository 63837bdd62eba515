"""What is said about a run in words: its description page and its table of bad videos."""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from kinoray.train.events import BadVideo

Point = tuple[int, float]
"""(step, value)"""
History = Mapping[str, Sequence[Point]]
"""Metric key -> points, steps ascending."""

BAD_VIDEO_COLUMNS = ("split", "video_id", "path", "epoch", "error")


@dataclass(frozen=True)
class Best:
    """The best epoch so far.

    Attributes:
        epoch: counted from 1, as people do.
        checkpoint: where it is stored.
        metrics: of its evaluation.
    """

    epoch: int
    checkpoint: str
    metrics: Mapping[str, float]


def describe_run(*, status: str, error: str, best: Best | None, history: History, tags: Mapping[str, str]) -> str:
    """Markdown for the run's page."""
    blocks = [f"**{status.capitalize()}**{f': {error}' if error else ''}"]
    if best is not None:
        rows = "\n".join(f"| {name} | {_figure(name, value)} |" for name, value in best.metrics.items())
        blocks.append(f"### Best epoch: {best.epoch}\n\n| metric | value |\n|---|---|\n{rows}")
        blocks.append(f"Checkpoint: `{best.checkpoint}`")
    num_bad = history["bad_videos"][-1][1] if "bad_videos" in history else 0
    if num_bad:
        blocks.append(f"{num_bad:.0f} videos could not be read: see `bad_videos.csv` under Artifacts")
    blocks += [f"{what.capitalize()}: `{tags[what]}`" for what in ("recipe", "command") if what in tags]
    blocks.append("Resolved recipe: `recipe.yaml` under Artifacts")
    return "\n\n".join(blocks)


def _figure(name: str, value: float) -> str:
    return f"{value:.4f}" if "loss" in name else f"{value:.2%}"


def bad_videos_table(videos: Iterable[tuple[str, int, BadVideo]]) -> str:
    """CSV of (split, epoch, video) with a header."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(BAD_VIDEO_COLUMNS)
    writer.writerows((split, video.video_id, video.path, epoch, video.error) for split, epoch, video in videos)
    return text.getvalue()


def videos_table(videos: Iterable[tuple[str, str]]) -> str:
    """CSV of (id, path) with a header."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([("video_id", "path"), *videos])
    return text.getvalue()


def read_bad_videos(table: str) -> list[tuple[str, int, BadVideo]]:
    """The inverse of ``bad_videos_table``."""
    rows = csv.DictReader(io.StringIO(table))
    return [(row["split"], int(row["epoch"]), BadVideo(row["video_id"], row["path"], row["error"])) for row in rows]
