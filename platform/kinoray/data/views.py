"""What is cut out of a video: for training random views, for evaluation fixed clips times fixed crops."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Annotated, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from kinoray.config.base import Config
from kinoray.data.float_views import FloatView, Recording
from kinoray.data.native import Squares, read_boxes, read_squares, row_capacity
from kinoray.data.packing import header_bytes, write_blank
from kinoray.data.planes import split_planes
from kinoray.errors import DataError
from kinoray.transforms.boxes import crop_offsets, short_side_size
from kinoray.transforms.colours import colour_code
from kinoray.transforms.crop_boxes import AnyBox, RandomResizedBox, fixed_corners
from kinoray.video.frames import Shot
from kinoray.video.sampling import AnySampling, check_stackable
from kinoray.video.video import Video

TIME_TOLERANCE_SECONDS = 0.001
"""Annotations round to milliseconds: 0.667 means the frame at 2/3 of a second."""

Side = Annotated[int, Field(ge=8, le=2048)]
Pixels = Literal["rgb", "yuv420", "native"]
Pictures = NDArray[np.uint8]


class Views(NamedTuple):
    """The views of one video.

    Attributes:
        clip: as in ``ClipRow``.
        is_mirrored: whether the label becomes that of the mirrored video.
        colour: as in ``ClipRow``.
    """

    clip: Pictures
    is_mirrored: bool
    colour: int


class TrainView(Config):
    """Random views: a random clip, a random box of the picture resized to a square, perhaps mirrored."""

    sampling: AnySampling
    crop: Side
    """Side of the square that is trained on, in pixels."""
    box: AnyBox = RandomResizedBox()
    """Which part of the picture becomes that square."""
    flip: float = Field(0.5, ge=0, le=1)
    """Probability of a mirrored clip; labels follow ``data.flip_labels``."""
    repeats: int = Field(1, gt=0, le=64)
    """Views drawn from a video while it is decoded once; a step sees ``repeats`` x ``batch_size`` of them."""
    pixels: Pixels = "rgb"
    """What travels to the model. yuv420: planes of the view's size, half the bytes; native: planes of the video's own
    size, the least work for decoding. Both become RGB on the model's device, native ones are resized there too."""

    @model_validator(mode="after")
    def _clips_can_be_stacked(self) -> "TrainView":
        check_stackable(self.sampling)
        self.box.check(self.crop)
        _check_side(self.crop, self.pixels)
        return self

    def clip_shape(self) -> tuple[int, ...]:
        """Of the clip in ``ClipRow``; M = repeats x clips of the sampling, repeats outermost."""
        num_clips, clip_len = self.sampling.shape(is_training=True)
        num_views = self.repeats * num_clips
        if self.pixels == "native":
            return (row_capacity(num_views * clip_len, num_views, self.crop),)
        return num_views, clip_len, *_picture_shape(self.crop, self.pixels)

    def blank(self, out: Pictures | None = None) -> Pictures:
        """The clip of a video that cannot be read; see ``read`` for ``out``."""
        num_clips, clip_len = self.sampling.shape(is_training=True)
        return _blank(self.clip_shape(), (self.repeats * num_clips, clip_len, self.crop), out)

    def shots(self, video: Video, segment: range, clip_seed: int, *, one_mirror: bool = False) -> list[Shot]:
        """What a seed stands for, one for each repeat; nothing is decoded to know it.

        Args:
            video: the open video.
            segment: its display frames that belong to the row.
            clip_seed: decides everything that is random; the first repeat is what it stands for without repeats.
            one_mirror: mirror all repeats or none of them: the row has one label, and a mirror changes it.
        """
        rng = np.random.default_rng(clip_seed)
        shots = []
        for _ in range(self.repeats):
            mirror = bool(rng.random() < self.flip)
            box = self.box.draw(video.height, video.width, self.crop, rng)
            indices = _picked(self.sampling, video, segment, rng)
            shots.append(Shot(indices.ravel(), box, (self.crop, self.crop), mirror))
        return [replace(shot, mirror=shots[0].mirror) for shot in shots] if one_mirror else shots

    def read(
        self,
        video: Video,
        segment: range,
        clip_seed: int,
        out: Pictures | None = None,
        *,
        one_mirror: bool = False,
    ) -> Views:
        """Read what a seed stands for, in one pass over the video; see ``shots``.

        ``out`` is where to write the clip, of ``clip_shape`` and contiguous; None: a new array. The clip may be shorter
        than a packed row's shape says.
        """
        shots = self.shots(video, segment, clip_seed, one_mirror=one_mirror)
        if self.pixels == "native":
            num_clips, _ = self.sampling.shape(is_training=True)
            clip, colour = read_boxes(video, shots, num_clips, out)
            return Views(clip, shots[0].mirror, colour)
        clip = np.empty(self.clip_shape(), np.uint8) if out is None else out
        return Views(clip, shots[0].mirror, _read_into(clip, video, shots, self.pixels))


class EvalView(Config):
    """Fixed views: the clips of a deterministic sampling times one, three or ten crops of the resized picture."""

    sampling: AnySampling
    crop: Side
    """Side of the square that is scored, in pixels."""
    resize: Side | None = None
    """Short side of the picture before cropping; default: 8/7 of ``crop`` (256 for 224), ``crop`` with three crops."""
    num_crops: Literal[1, 3, 10] = 1
    """1: the centre; 3: both ends and the centre of the longer side; 10: corners and centre, also mirrored."""
    pixels: Pixels = "rgb"
    """As for training; crops of yuv420 start at even pixels, so up to one pixel before those of rgb."""

    @model_validator(mode="after")
    def _crop_fits(self) -> "EvalView":
        if self.short_side() < self.crop:
            raise ValueError(f"resize, got {self.resize}; it should be at least crop ({self.crop})")
        _check_side(self.crop, self.pixels)
        return self

    def short_side(self) -> int:
        """Short side of the resized picture, in pixels."""
        if self.resize is not None:
            return self.resize
        return self.crop if self.num_crops == 3 else round(self.crop * 8 / 7)

    def clip_shape(self) -> tuple[int, ...]:
        """Of the clip in ``ClipRow``; M = clips of the sampling x crops, clips outermost.

        Raises:
            ConfigError: M depends on the video.
        """
        num_clips, clip_len = self.sampling.shape(is_training=False)
        num_views = num_clips * self.num_crops
        if self.pixels == "native":
            return (row_capacity(num_clips * clip_len, num_views, self.crop, min(self.num_crops, 5)),)
        return num_views, clip_len, *_picture_shape(self.crop, self.pixels)

    def blank(self, out: Pictures | None = None) -> Pictures:
        """The clip of a video that cannot be read; see ``TrainView``."""
        num_clips, clip_len = self.sampling.shape(is_training=False)
        return _blank(self.clip_shape(), (num_clips * self.num_crops, clip_len, self.crop), out)

    def read(
        self,
        video: Video,
        segment: range,
        clip_seed: int = 0,
        out: Pictures | None = None,
        *,
        one_mirror: bool = False,
    ) -> Views:
        """Read all views, decoding each frame once. Nothing is random, the label stays; see ``TrainView``."""
        del clip_seed, one_mirror
        indices = self.indices(video, segment)
        size = short_side_size(video.height, video.width, self.short_side())
        squares = Squares(size, self._corners(size), self.crop, with_mirrors=self.num_crops == 10)
        if self.pixels == "native":
            clip, colour = read_squares(video, indices, squares, out)
            return Views(clip, False, colour)
        num_clips, clip_len = indices.shape
        picture = _picture_shape(self.crop, self.pixels)
        clip = np.empty((num_clips * self.num_crops, clip_len, *picture), np.uint8) if out is None else out
        if squares.of_long_picture:
            shots = squares.shots(indices, (video.height, video.width))
            return Views(clip, False, _read_into(clip, video, shots, self.pixels))
        wanted, place = np.unique(indices, return_inverse=True)
        (pictures,), colour = _read(video, [Shot(wanted, size=size)], self.pixels)
        views = clip.reshape(num_clips, self.num_crops, clip_len, *picture)
        self._cut(pictures, size, place.reshape(indices.shape), views)
        return Views(clip, False, colour)

    def indices(self, video: Video, segment: range) -> NDArray[np.int64]:
        """``(clips, T)`` display frames that are scored."""
        return _picked(self.sampling, video, segment, None)

    def _corners(self, size: tuple[int, int]) -> list[tuple[int, int]]:
        """(top, left) of the crops of a picture of that size; ten crops are five and their mirrors."""
        if self.num_crops == 10:
            return fixed_corners(size[0] - self.crop, size[1] - self.crop, 5)
        return crop_offsets(*size, self.crop, self.num_crops)

    def _cut(self, pictures: Pictures, size: tuple[int, int], place: NDArray[np.int64], views: Pictures) -> None:
        """Write the crops of ``pictures[place]`` into ``views``, ``(clips, crops, T, ...)``."""
        corners = self._corners(size)
        if self.pixels == "rgb":
            layers = [(pictures, views, 1)]
        else:
            corners = [(top // 2 * 2, left // 2 * 2) for top, left in corners]
            flat = views.reshape(*views.shape[:-2], -1)
            of_views = split_planes(flat, self.crop, self.crop)
            layers = list(zip(split_planes(pictures, *size), of_views, (1, 2, 2), strict=True))
        for source, target, grid in layers:
            side = self.crop // grid
            for number, (top, left) in enumerate(corners):
                windows = source[:, top // grid :, left // grid :][:, :side, :side]
                for clip, frame in np.ndindex(place.shape):
                    window = windows[place[clip, frame]]
                    target[clip, number, frame] = window
                    if self.num_crops == 10:
                        target[clip, number + 5, frame] = window[:, ::-1]


View = TrainView | EvalView | FloatView


def segment_frames(video: Recording, start_seconds: float | None, end_seconds: float | None) -> range:
    """The display frames that appear in ``[start, end)``, at least the one that is shown at ``start``.

    Raises:
        DataError: the video is over before the segment starts.
    """
    if start_seconds is None and end_seconds is None:
        return range(video.num_frames)
    start = -math.inf if start_seconds is None else start_seconds
    end = math.inf if end_seconds is None else end_seconds
    over_seconds = float(video.pts_seconds[-1]) + 1 / video.fps
    if start >= over_seconds:
        raise DataError(
            f"{video.name}: a segment that starts at {start:g} seconds, got a video of {over_seconds:g}; "
            "correct start_seconds"
        )
    first, stop = np.searchsorted(video.pts_seconds, [start - TIME_TOLERANCE_SECONDS, end - TIME_TOLERANCE_SECONDS])
    if stop <= first:
        first = max(int(first) - 1, 0)
    return range(int(first), max(int(stop), int(first) + 1))


def flip_indices(flip_labels: Mapping[str, str], classes: tuple[str, ...]) -> tuple[int, ...]:
    """Label -> label of the mirrored video; classes that are not named keep theirs."""
    return tuple(classes.index(flip_labels.get(name, name)) for name in classes)


def _picked(sampling: AnySampling, video: Video, segment: range, rng: np.random.Generator | None) -> NDArray[np.int64]:
    """``(M, T)`` display indices of the video, all in the segment."""
    keyframes = video.keyframes - segment.start if sampling.at_keyframes else None
    pts_seconds = video.pts_seconds[segment.start : segment.stop]
    return segment.start + sampling.pick(pts_seconds, video.fps, rng, keyframes)


def _read(video: Video, shots: Sequence[Shot], pixels: Pixels) -> tuple[list[Pictures], int]:
    """Pictures of each shot, RGB ``(T, H, W, 3)`` or planes ``(T, B)``, and their colour code."""
    if pixels == "rgb":
        return [frames.data for frames in video.read_shots(shots)], 0
    planes = video.read_planes(shots)
    return [shot.data for shot in planes], colour_code(planes[0].matrix, planes[0].is_full_range)


def _read_into(clip: Pictures, video: Video, shots: Sequence[Shot], pixels: Pixels) -> int:
    """Read shots into their places, one after the other; gives their colour code."""
    picture = clip.shape[-3:] if pixels == "rgb" else (-1,)
    places = clip.reshape(len(shots), len(shots[0].indices), *picture)
    _, colour = _read(video, [replace(shot, out=place) for shot, place in zip(shots, places, strict=True)], pixels)
    return colour


def _blank(clip_shape: tuple[int, ...], shown: tuple[int, int, int], out: Pictures | None) -> Pictures:
    """``shown``: M, T and the side, which a packed row states."""
    if len(clip_shape) > 1:
        clip = np.empty(clip_shape, np.uint8) if out is None else out
        clip.fill(0)
        return clip
    clip = np.empty(header_bytes(shown[0]), np.uint8) if out is None else out[: header_bytes(shown[0])]
    write_blank(clip, *shown)
    return clip


def _picture_shape(crop: int, pixels: Pixels) -> tuple[int, ...]:
    return (crop, crop, 3) if pixels == "rgb" else (crop * 3 // 2, crop)


def _check_side(crop: int, pixels: Pixels) -> None:
    if pixels == "yuv420" and crop % 2:
        raise ValueError(f"crop, got {crop} with pixels: yuv420; it should be even, {crop - 1} or {crop + 1}")
