"""The worst mistakes of an evaluation as a table, a picture and short clips of the frames that were scored.

The videos are read by the process that started the run, when the run is over. It may not reach them, and it must not
wait for them: what cannot be read in the time that there is, is in the table with the reason.
"""

import csv
import io
import logging
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from threading import Thread

import numpy as np
from numpy.typing import NDArray

from kinoray.data.manifest import Manifest
from kinoray.data.plan import evaluation_plan
from kinoray.data.reading import ClipReader
from kinoray.data.views import EvalView, View
from kinoray.tracking.clips import captioned, gif_bytes
from kinoray.tracking.pictures import GREEN, MUTED, RED, png_bytes
from kinoray.tracking.strips import Strip, strips_picture
from kinoray.train.events import Mistake
from kinoray.video.limits import Limits
from kinoray.video.sampling_math import spread

NUM_CLIPS = 10
READING_SECONDS = 20.0
MAX_CLIP_FRAMES = 32
CLIP_FPS = 8
"""Slower than most clips are: one looks for what went wrong."""
MAX_STRIP_FRAMES = 6
MIN_CLIP_LEN = 4
NO_PICTURE = "not shown: no pictures were scored"
"""Clips with fewer frames than this are shown one after the other."""
COLUMNS = (
    "video_id",
    "path",
    "start_seconds",
    "end_seconds",
    "true",
    "true_confidence",
    "predicted",
    "confidence",
    "clip",
)

logger = logging.getLogger("kinoray.tracking")


@dataclass(frozen=True)
class Seen:
    """What became of a mistake: ``pictures`` ``(F, H, W, 3)`` of it, or None and the reason."""

    pictures: NDArray[np.uint8] | None
    reason: str = ""


def mistake_files(
    mistakes: Sequence[Mistake], manifest: Manifest, view: View, *, seconds: float = READING_SECONDS
) -> dict[str, bytes]:
    """Path -> content of ``mistakes.csv``, ``mistakes.png`` and ``mistakes/*.gif``; of those that could be made.

    Never raises: what shows a run must not end it.

    Args:
        mistakes: of an evaluation of this manifest, the worst first; clips are made of the first ten that can be read.
        manifest: what was scored.
        view: by which views.
        seconds: within which the videos have to be read.
    """
    if not mistakes:
        return {}
    try:
        if not isinstance(view, EvalView):
            return {"mistakes.csv": _table(mistakes, [NO_PICTURE] * len(mistakes), manifest).encode()}
        return _files(mistakes, read_mistakes(mistakes, manifest, view, seconds=seconds), manifest)
    except Exception:
        logger.exception("the worst mistakes could not be shown")
        return {}


def _files(mistakes: Sequence[Mistake], seen: Sequence[Seen], manifest: Manifest) -> dict[str, bytes]:
    classes = manifest.classes
    names, strips, files = [], [], {}
    for number, (mistake, found) in enumerate(zip(mistakes, seen, strict=True), 1):
        name = found.reason
        if found.pictures is not None:
            lines = _caption(mistake, classes)
            true, predicted = (_slug(words) for words in (_true(mistake, classes), classes[mistake.predicted]))
            name = f"mistakes/{number:02}-{true}-as-{predicted}.gif"
            files[name] = gif_bytes(captioned(found.pictures, lines[:2]), fps=CLIP_FPS)
            chosen = found.pictures[spread(len(found.pictures), MAX_STRIP_FRAMES)]
            strips.append(Strip(chosen, lines))
        names.append(name)
    if strips:
        files["mistakes.png"] = png_bytes(strips_picture("The most confident mistakes", strips))
    else:
        logger.warning("the worst mistakes are not shown: %s", next(filter(None, names), "nothing could be read"))
    files["mistakes.csv"] = _table(mistakes, names, manifest).encode()
    return files


def read_mistakes(
    mistakes: Sequence[Mistake], manifest: Manifest, view: EvalView, *, seconds: float
) -> tuple[Seen, ...]:
    """What was scored of each, as far as ten can be read within the time; the rest is left out with a reason."""
    read: list[Seen] = []

    def work() -> None:
        deadline, num_left = time.monotonic() + seconds, NUM_CLIPS
        for mistake in mistakes:
            left = deadline - time.monotonic()
            if num_left == 0 or left <= 0:
                return
            read.append(_read(mistake, manifest, view, seconds=left))
            num_left -= read[-1].pictures is not None

    # Storage that does not answer holds up a thread for as long as it likes; this one is then left behind.
    reader = Thread(target=work, name="kinoray-mistakes", daemon=True)
    reader.start()
    reader.join(seconds)
    done = tuple(read)
    num_shown = sum(seen.pictures is not None for seen in done)
    why = "" if num_shown == NUM_CLIPS else f"not read: {seconds:g} seconds were over"
    return (*done, *[Seen(None, why)] * (len(mistakes) - len(done)))


def scored_frames(clip: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """``(M, T, H, W, 3)`` views -> ``(F, H, W, 3)``: the middle clip, or all clips where each is but a frame or few."""
    frames = clip[len(clip) // 2] if clip.shape[1] >= MIN_CLIP_LEN else clip.reshape(-1, *clip.shape[2:])
    return frames[spread(len(frames), MAX_CLIP_FRAMES)]


def _read(mistake: Mistake, manifest: Manifest, view: EvalView, *, seconds: float) -> Seen:
    centre = view.model_copy(update={"num_crops": 1, "resize": view.short_side(), "pixels": "rgb"})
    (row,) = evaluation_plan(manifest.table.slice(mistake.position, 1)).to_pylist()
    try:
        read = ClipReader(centre, limits=Limits(seconds=seconds))(row)
    except Exception as error:  # noqa: BLE001 - a picture that cannot be made must not end a run
        return Seen(None, f"not read: {type(error).__name__}: {error}")
    return Seen(None, read["error"]) if read["error"] else Seen(scored_frames(read["clip"]))


def _caption(mistake: Mistake, classes: Sequence[str]) -> list[tuple[str, str]]:
    return [
        (f"{mistake.confidence:.0%} {classes[mistake.predicted]}", RED),
        (f"{mistake.label_confidence:.0%} true: {_true(mistake, classes)}", GREEN),
        (mistake.video_id, MUTED),
    ]


def _true(mistake: Mistake, classes: Sequence[str]) -> str:
    return " + ".join(classes[label] for label in mistake.labels) or "none"


def _table(mistakes: Sequence[Mistake], names: Sequence[str], manifest: Manifest) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for mistake, name in zip(mistakes, names, strict=True):
        (row,) = manifest.table.slice(mistake.position, 1).to_pylist()
        true, predicted = _true(mistake, manifest.classes), manifest.classes[mistake.predicted]
        segment = [row["start_seconds"], row["end_seconds"]]
        confidences = [f"{value:.4f}" for value in (mistake.label_confidence, mistake.confidence)]
        writer.writerow(
            [mistake.video_id, mistake.path, *segment, true, confidences[0], predicted, confidences[1], name]
        )
    return text.getvalue()


def _slug(name: str) -> str:
    """A name as part of a file's, whatever keeps the file."""
    return re.sub(r"[^A-Za-z0-9]+", "_", name).strip("_")[:24] or "class"
