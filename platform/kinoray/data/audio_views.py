"""Views of sound: parts of a spectrogram, computed from a file with sound or read from one that holds it."""

from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import PurePath

import numpy as np
from numpy.typing import NDArray

from kinoray.data.float_views import Floats, FloatView, FloatViews
from kinoray.data.rows import PlanRow
from kinoray.data.splits_base import FloatEvalSplit, FloatTrainSplit
from kinoray.data.views import segment_frames
from kinoray.errors import DecodeError
from kinoray.transforms.spectrogram import SpectrogramConfig, spectrogram
from kinoray.video.files import read_whole
from kinoray.video.sound import read_sound


@dataclass(frozen=True)
class Spectrogram:
    """The sound of one recording.

    Attributes:
        name: what messages call it.
        levels: ``(T, F)``.
        fps: frames per second.
    """

    name: str
    levels: Floats
    fps: float

    @property
    def num_frames(self) -> int:
        return len(self.levels)

    @property
    def pts_seconds(self) -> NDArray[np.float64]:
        return np.arange(self.num_frames) / self.fps


class AudioView(FloatView):
    """Fields that training and evaluation share; the model sees ``(N, M, 1, T, F)``.

    Frames are those of the spectrogram, 62.5 a second unless told otherwise.
    """

    spectrogram: SpectrogramConfig = SpectrogramConfig()
    """How sound becomes a spectrogram; of an ``.npy`` that holds one, its frames per second and its bands."""

    def shape_of(self, num_clips: int, clip_len: int) -> tuple[int, ...]:
        return num_clips, 1, clip_len, self.spectrogram.num_bands

    def views(self, row: PlanRow, name: str, rng: np.random.Generator | None) -> FloatViews:
        sound = self._open(row["path"], name)
        frames = segment_frames(sound, row["start_seconds"], row["end_seconds"])
        pts_seconds = sound.pts_seconds[frames.start : frames.stop]
        picked = frames.start + self.sampling.pick(pts_seconds, sound.fps, rng)
        return FloatViews(sound.levels[picked][:, None])

    def _open(self, path: str, name: str) -> Spectrogram:
        if PurePath(path).suffix.lower() == ".npy":
            return Spectrogram(name, _read_levels(path, name, self.spectrogram.num_bands), self.spectrogram.fps)
        samples = read_sound(path, name, self.spectrogram.rate)
        return Spectrogram(name, spectrogram(samples, self.spectrogram), self.spectrogram.fps)


class AudioTrain(AudioView, FloatTrainSplit):
    """Sound to train on; nothing is mirrored."""

    kind: str = "audio"


class AudioEval(AudioView, FloatEvalSplit):
    """Sound to score."""

    kind: str = "audio"


def _read_levels(path: str, name: str, num_bands: int) -> Floats:
    try:
        levels = np.load(BytesIO(read_whole(path)), allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        raise DecodeError(f"{name}: no NumPy array ({' '.join(str(error).split())})", "unreadable") from error
    if levels.ndim != 2 or levels.shape[1] != num_bands or not len(levels) or levels.dtype.kind != "f":
        raise DecodeError(
            f"{name}: a spectrogram, got {levels.dtype} of the shape {_shape(levels.shape)}; it should be floats, "
            f"frames x {num_bands} bands (spectrogram.num_bands)",
            "unreadable",
        )
    floats: Floats = levels.astype(np.float32)
    return floats


def _shape(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape)) or "scalar"
