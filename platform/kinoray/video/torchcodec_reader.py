"""Frames decoded by torchcodec: on a GPU's decoder (NVDEC), or with the FFmpeg libraries of the machine."""

from __future__ import annotations

from importlib import import_module
from io import BytesIO
from typing import TYPE_CHECKING, Any, BinaryIO, Self

import numpy as np
from av import VideoFrame

from kinoray.errors import DecodeError, ResourceError
from kinoray.video.convert import Converter
from kinoray.video.decode import VideoReader
from kinoray.video.files import open_video_file, without_passwords
from kinoray.video.frames import Box, Frames, Planes, Shot
from kinoray.video.limits import Limits

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import ArrayLike, NDArray

    from kinoray.video.packets import PacketIndex

# Full-size RGB pictures are held at once up to this size.
_BATCH_BYTES = 256 << 20
_LIMITS = Limits()


class TorchcodecReader:
    """Reads exact frames with torchcodec, in its exact mode.

    Which frames there are, and when each is shown, is told by a ``VideoReader``; torchcodec only decodes. Every frame
    must carry the time of the one that was asked for, and files where that proves nothing, since their containers
    hold no display times, are refused. Frames that cannot be decoded are an error, never filled. Pictures come as
    full-size RGB, also from a GPU, and are cut and resized on the CPU.

    Args:
        source: as for ``VideoReader``.
        name: what messages call the video.
        index: as for ``VideoReader``.
        limits: what opening may cost.
        device: "cpu", or "cuda" for NVDEC.

    Attributes:
        num_filled: always 0.

    Raises:
        DecodeError: as for ``VideoReader``; reason ``unreadable`` where torchcodec's frames cannot be trusted.
        ResourceError: torchcodec is not installed, or finds no FFmpeg.
    """

    num_filled = 0

    def __init__(
        self,
        source: str | bytes | BinaryIO,
        *,
        name: str | None = None,
        index: PacketIndex | None = None,
        limits: Limits = _LIMITS,
        device: str = "cpu",
    ) -> None:
        self.name = name or (without_passwords(source) if isinstance(source, str) else "video in memory")
        opened = open_video_file(source) if isinstance(source, str) else source
        file = BytesIO(opened) if isinstance(opened, bytes) else opened
        with VideoReader(file, name=self.name, index=index, limits=limits) as video:
            table = video.packet_index().table
            self.num_frames, self.fps, self.codec = video.num_frames, video.fps, video.codec
            self.height, self.width = video.height, video.width
            self.pts_seconds, self.keyframes = video.pts_seconds, video.keyframes
            self.duration_seconds, self.num_bytes = video.duration_seconds, video.num_bytes
            self.frames_at = video.frames_at
            self._stamps = table.pts[table.shown] * video.packet_index().tick_seconds
        if not table.is_timed:
            raise self._untrusted("its container holds no display times")
        if not isinstance(file, str):
            file.seek(0)
        try:
            self._decoder: Any = _decoder_class()(
                file, seek_mode="exact", dimension_order="NHWC", num_ffmpeg_threads=1, device=device
            )
        except (RuntimeError, ValueError) as error:
            raise DecodeError(
                f"{self.name}: not a video that torchcodec can open ({_first_line(error)})", "unreadable"
            ) from error
        if len(self._decoder) != self.num_frames:
            raise self._untrusted(f"it finds {len(self._decoder)} frames where there are {self.num_frames}")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the decoder."""
        self._decoder = None

    def read(
        self, indices: ArrayLike, *, crop: Box | None = None, size: tuple[int, int] | None = None, mirror: bool = False
    ) -> Frames:
        """Decode frames, see ``VideoReader.read``."""
        return self.read_shots([Shot(np.asarray(indices, np.int64).reshape(-1), crop, size, mirror)])[0]

    def read_shots(self, shots: Sequence[Shot]) -> list[Frames]:
        """Decode several shots, see ``VideoReader.read_shots``."""
        return [Frames(data, self.pts_seconds[shot.indices]) for shot, data, _ in self._gather(shots, planes=False)]

    def read_planes(self, shots: Sequence[Shot]) -> list[Planes]:
        """The same as planes; they are made from RGB, so that there is nothing to gain."""
        return [
            Planes(data, made.height, made.width, made.matrix, made.is_full_range, self.pts_seconds[shot.indices])
            for shot, data, made in self._gather(shots, planes=True)
        ]

    def _gather(self, shots: Sequence[Shot], *, planes: bool) -> list[tuple[Shot, NDArray[np.uint8], Converter]]:
        gathered = []
        for shot in shots:
            size = (self.height, self.width)
            converter = Converter(size, shot.crop, shot.size, mirror=shot.mirror, planes=planes)
            gathered.append((shot, np.empty((len(shot.indices), *converter.shape), np.uint8), converter))
        wanted = {int(index) for shot in shots for index in shot.indices}
        for index, picture in self._pictures(np.array(sorted(wanted), np.int64)):
            for shot, data, converter in gathered:
                for row in np.flatnonzero(shot.indices == index):
                    converter.convert(picture, data[row])
        return gathered

    def _pictures(self, wanted: NDArray[np.int64]) -> Iterator[tuple[int, VideoFrame]]:
        """Ascending frames in full size."""
        outside = wanted[(wanted < 0) | (wanted >= self.num_frames)]
        if outside.size:
            raise IndexError(f"{self.name}: frame index, got {outside[0]}; the video has {self.num_frames} frames")
        step = max(_BATCH_BYTES // (self.height * self.width * 3), 1)
        for start in range(0, len(wanted), step):
            some = wanted[start : start + step]
            try:
                batch = self._decoder.get_frames_at(some.tolist())
            except (RuntimeError, ValueError, IndexError) as error:
                raise DecodeError(f"{self.name}: frames cannot be decoded ({_first_line(error)})", "damaged") from error
            pictures = batch.data.cpu().contiguous().numpy()
            if pictures.shape[1:3] != (self.height, self.width):
                raise self._untrusted(f"its pictures are {pictures.shape[1:3]}, not {(self.height, self.width)}")
            if np.abs(batch.pts_seconds.numpy() - self._stamps[some]).max() > 0.001:
                raise self._untrusted("it gives other frames than were asked for")
            for index, picture in zip(some.tolist(), pictures, strict=True):
                yield index, VideoFrame.from_ndarray(picture, format="rgb24")

    def _untrusted(self, why: str) -> DecodeError:
        return DecodeError(f"{self.name}: torchcodec cannot read it exactly: {why}; use the usual reader", "unreadable")


def _decoder_class() -> Any:
    try:
        return import_module("torchcodec.decoders").VideoDecoder
    except (ImportError, RuntimeError, OSError) as error:
        raise ResourceError(
            f"torchcodec: cannot be loaded ({_first_line(error)}); install it and FFmpeg's shared libraries"
        ) from error


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]  # a stack follows
