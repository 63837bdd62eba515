"""Strips and clips of videos as addresses that hold the picture itself."""

import io
import time
from base64 import b64encode
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from kinoray.data.views import EvalView, segment_frames
from kinoray.errors import KinorayError
from kinoray.review.cases import Case
from kinoray.video.encode import NUM_TICKS, webp_bytes, write_mp4
from kinoray.video.frames import Shot
from kinoray.video.limits import Limits
from kinoray.video.open import open_video
from kinoray.video.sampling_math import spread
from kinoray.video.video import Video

STRIP_ASPECT = 4.5
"""Width of a strip by its height, as near as whole frames come to it."""
STRIP_HEIGHT, CLIP_HEIGHT = 112, 192
MAX_ASPECT = 3.0
"""Of a frame; longer ones would make strips of any size."""
MIN_STRIP_FRAMES, MAX_STRIP_FRAMES = 3, 6
MAX_CLIP_FRAMES = 32
MIN_CLIP_LEN = 4
"""Clips with fewer frames than this are shown one after the other."""
CLIP_FPS = 8
"""Slower than most clips are: one looks for what went wrong."""
NUM_THREADS = 4
_EVENLY = 32
_MAX_SECONDS = 60.0
"""For one video."""

Kind = Literal["strip", "clip"]


class Picture(NamedTuple):
    """A strip or a clip.

    Attributes:
        address: a ``data:`` URI; empty where there is a ``reason`` why there is no picture.
        size: ``(height, width)`` in pixels.
        seconds: when the frames of a strip are shown, or first and last of a clip.
    """

    address: str
    size: tuple[int, int] = (0, 0)
    seconds: tuple[float, ...] = ()
    reason: str = ""


def noted_view(job: Mapping[str, Any]) -> EvalView | None:
    """The view by which a prediction was made; None where its folder does not tell one that can be trusted.

    A class outside this package would be imported by its name, and a folder of files has no say in what is run.
    """
    values = job.get("view")
    if not isinstance(values, dict) or ":" in str(values.get("sampling", {}).get("kind", "")):
        return None
    try:
        return EvalView.model_validate(values)
    except (ValidationError, KinorayError):
        return None


class Looker:
    """Reads the frames that were scored, several videos at a time.

    Args:
        view: chooses the frames; None takes them evenly.
        seconds: for all pictures; those that are not begun by then say so.
    """

    def __init__(self, view: EvalView | None, *, seconds: float) -> None:
        self._view, self._seconds = view, seconds
        self._end = time.monotonic() + seconds

    def look(self, cases: Sequence[Case], kind: Kind) -> list[Picture]:
        """A picture of each case."""
        with ThreadPoolExecutor(NUM_THREADS, thread_name_prefix="kinoray-review") as pool:
            return list(pool.map(lambda case: self._picture(case, kind), cases))

    def _picture(self, case: Case, kind: Kind) -> Picture:
        left = self._end - time.monotonic()
        if left <= 0:
            return Picture("", reason=f"not read: {self._seconds:g} seconds were over")
        try:
            with open_video(case.uri, limits=Limits(seconds=min(left, _MAX_SECONDS))) as video:
                indices = self._indices(case, video)
                return _strip(video, indices) if kind == "strip" else _clip(video, indices)
        except KinorayError as error:
            return Picture("", reason=str(error))
        except Exception as error:  # noqa: BLE001 - a picture that cannot be made must not end the page
            return Picture("", reason=f"not read: {type(error).__name__}: {error}")

    def _indices(self, case: Case, video: Video) -> NDArray[np.int64]:
        """``(M, T)`` display indices."""
        segment = segment_frames(video, case.start_seconds, case.end_seconds)
        if self._view is not None:
            return self._view.indices(video, segment)
        return segment.start + spread(len(segment), _EVENLY)[None]


def _strip(video: Video, indices: NDArray[np.int64]) -> Picture:
    height, width = _size(video, STRIP_HEIGHT)
    most = int(np.clip(round(STRIP_ASPECT * height / width), MIN_STRIP_FRAMES, MAX_STRIP_FRAMES))
    frames = np.unique(indices)
    chosen = frames[spread(len(frames), most)]
    pictures = video.read(chosen, size=(height, width))
    gap = np.full((height, 2, 3), 255, np.uint8)
    row = [part for picture in pictures.data for part in (gap, picture)][1:]
    strip = np.concatenate(row, axis=1)
    return Picture(_address("image/webp", webp_bytes(strip)), _shape(strip), tuple(pictures.pts_seconds.tolist()))


def _clip(video: Video, indices: NDArray[np.int64]) -> Picture:
    """The middle clip, or all clips where each is but a frame or few."""
    frames = indices[len(indices) // 2] if indices.shape[1] >= MIN_CLIP_LEN else indices.ravel()
    size = _size(video, CLIP_HEIGHT)
    (pictures,) = video.read_shots([Shot(frames[spread(len(frames), MAX_CLIP_FRAMES)], size=size)])
    target = io.BytesIO()
    timed = ((picture, number * NUM_TICKS // CLIP_FPS) for number, picture in enumerate(pictures.data))
    write_mp4(target, timed, size, CLIP_FPS, crf=26)
    seconds = pictures.pts_seconds
    return Picture(_address("video/mp4", target.getvalue()), size, (float(seconds.min()), float(seconds.max())))


def _size(video: Video, height: int) -> tuple[int, int]:
    """``(height, width)``, even, of at most this height; small pictures keep theirs."""
    scale = min(1.0, height / video.height, MAX_ASPECT * height / video.width)
    shown, width = (max(2, 2 * round(side * scale / 2)) for side in (video.height, video.width))
    return shown, width


def _shape(picture: NDArray[np.uint8]) -> tuple[int, int]:
    return picture.shape[0], picture.shape[1]


def _address(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{b64encode(content).decode()}"
