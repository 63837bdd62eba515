"""Files of skeletons: the joints of all persons in all frames of one video, as NumPy arrays in an ``.npz``.

``keypoint`` is ``(P, T, V, C)`` in pixels (C = 2) or in space (C = 3), ``keypoint_score`` ``(P, T, V)`` the detector's
confidence, which may be missing, and ``img_shape`` height and width of the picture. The names are MMAction2's.
"""

import io
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kinoray.data.float_views import Floats
from kinoray.errors import DecodeError
from kinoray.video.files import read_whole
from kinoray.video.shards import is_shard_path, read_shard_video

DEFAULT_FPS = 30.0
"""Of skeletons whose file does not tell."""


@dataclass(frozen=True)
class Skeletons:
    """The persons of one video.

    Attributes:
        name: what messages call it.
        points: ``(P, T, V, C)`` float32; 0 where a joint was not seen.
        scores: ``(P, T, V)`` float32, how sure the joints are.
        height: of the picture, in pixels.
        width: of the picture, in pixels.
        fps: frames per second.
    """

    name: str
    points: Floats
    scores: Floats
    height: int
    width: int
    fps: float = DEFAULT_FPS

    @property
    def num_frames(self) -> int:
        return int(self.points.shape[1])

    @property
    def pts_seconds(self) -> NDArray[np.float64]:
        return np.arange(self.num_frames) / self.fps

    def check(self, num_joints: int, num_coordinates: int) -> None:
        """Raise a DecodeError where they are of other joints than a view wants."""
        if self.points.shape[2:] != (num_joints, num_coordinates):
            _, _, joints, coordinates = self.points.shape
            raise DecodeError(
                f"{self.name}: joints, got {joints} of {coordinates} coordinates; the view's 'joints' has "
                f"{num_joints} of {num_coordinates}",
                "unreadable",
            )


def pack_skeletons(points: NDArray[Any], scores: NDArray[Any] | None, size: tuple[int, int]) -> bytes:
    """The content of a file; ``size`` is height and width of the picture."""
    file, img_shape = io.BytesIO(), np.array(size, np.int64)
    if scores is None:
        np.savez(file, keypoint=points, img_shape=img_shape)
    else:
        np.savez(file, keypoint=points, keypoint_score=scores, img_shape=img_shape)
    return file.getvalue()


def read_skeletons(path: str, name: str, fps: float | None = None) -> Skeletons:
    """Read a file, local or behind a URI, or in a shard.

    Args:
        path: of it.
        name: what messages call it.
        fps: frames per second, where they are known.

    Raises:
        DecodeError: it cannot be read or holds something else.
    """
    content = read_shard_video(path) if is_shard_path(path) else read_whole(path)
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            return _checked({key: arrays[key] for key in arrays.files}, name, fps or DEFAULT_FPS)
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, TypeError, AttributeError) as error:
        told = " ".join(str(error).split())
        raise DecodeError(
            f"{name}: no file of skeletons ({told}); it should be an .npz with keypoint (persons, frames, joints, 2 or "
            "3) and img_shape",
            "unreadable",
        ) from error


def _checked(arrays: Mapping[str, NDArray[Any]], name: str, fps: float) -> Skeletons:
    points = arrays["keypoint"].astype(np.float32)
    if points.ndim != 4 or 0 in points.shape:
        raise ValueError(f"keypoint has the shape {'x'.join(map(str, points.shape))}")
    scores = arrays.get("keypoint_score")
    scores = np.ones(points.shape[:3], np.float32) if scores is None else scores.astype(np.float32)
    if scores.shape != points.shape[:3]:
        raise ValueError(f"keypoint_score has the shape {'x'.join(map(str, scores.shape))}")
    height, width = arrays["img_shape"].tolist()
    return Skeletons(name, points, scores, int(height), int(width), fps)
