"""Frames decoded by torchcodec: on a GPU's decoder (NVDEC), or with the FFmpeg libraries of the machine."""

from __future__ import annotations

from importlib import import_module
from io import BytesIO
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
from av import VideoFrame

from kinoray.errors import DecodeError, ResourceError
from kinoray.video.decode import VideoReader
from kinoray.video.files import open_video_file, without_passwords
from kinoray.video.frame_reader import FrameReader
from kinoray.video.limits import Limits

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from kinoray.video.packets import PacketIndex
    from kinoray.video.shots import Album

# Full-size RGB pictures are held at once up to this size.
_BATCH_BYTES = 256 << 20
_LIMITS = Limits()


class TorchcodecReader(FrameReader):
    """Reads exact frames with torchcodec, in its exact mode.

    Which frames there are, and when each is shown, is told by a ``VideoReader``; torchcodec only decodes. Every frame
    must carry the time of the one that was asked for, and files where that proves nothing, since their containers
    hold no display times, are refused. Frames that cannot be decoded are an error, never filled. Pictures come as
    full-size RGB, also from a GPU, and are cut and resized on the CPU; planes are made from them, so that there is
    nothing to gain. For the attributes see ``FrameReader``.

    Args:
        source: as for ``VideoReader``.
        name: what messages call the video.
        index: as for ``VideoReader``.
        limits: what the video may cost.
        device: "cpu", or "cuda" for NVDEC.

    Attributes:
        keyframes: display indices of the frames that can be decoded alone, ascending.

    Raises:
        DecodeError: as for ``VideoReader``; reason ``unreadable`` where torchcodec's frames cannot be trusted.
        ResourceError: torchcodec is not installed, finds no FFmpeg, or there is no such device.
    """

    def __init__(
        self,
        source: str | bytes | BinaryIO,
        *,
        name: str | None = None,
        index: PacketIndex | None = None,
        limits: Limits = _LIMITS,
        device: str = "cpu",
    ) -> None:
        check_torchcodec(device)
        name = name or (without_passwords(source) if isinstance(source, str) else "video in memory")
        super().__init__(name, 0.0, limits)
        opened = open_video_file(source) if isinstance(source, str) else source
        file = BytesIO(opened) if isinstance(opened, bytes) else opened
        with VideoReader(file, name=self.name, index=index, limits=limits) as video:
            table = video.packet_index().table
            self.num_frames, self.fps, self.codec = video.num_frames, video.fps, video.codec
            self.height, self.width = video.height, video.width
            self.pts_seconds, self.keyframes = video.pts_seconds, video.keyframes
            self.duration_seconds, self.num_bytes = video.duration_seconds, video.num_bytes
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

    def close(self) -> None:
        """Let go of the decoder."""
        self._decoder = None

    def _give(self, album: Album) -> None:
        for index, picture in self._pictures(np.array(sorted(album.due), np.int64)):
            album.take(index, picture)

    def _trouble(self, first: int) -> str:
        return f"were not given, the first is number {first}"

    def _pictures(self, wanted: NDArray[np.int64]) -> Iterator[tuple[int, VideoFrame]]:
        """Ascending frames in full size."""
        step = max(_BATCH_BYTES // (self.height * self.width * 3), 1)
        for start in range(0, len(wanted), step):
            self._deadline.check()
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


def check_torchcodec(device: str) -> None:
    """Raise a ResourceError where this process cannot decode with torchcodec on that device."""
    _decoder_class()
    if device != "cpu" and not import_module("torch").cuda.is_available():
        raise ResourceError(f"torchcodec: to decode on {device}, got no GPU that this process may use; use the CPU")


def _decoder_class() -> Any:
    try:
        return import_module("torchcodec.decoders").VideoDecoder
    except (ImportError, RuntimeError, OSError) as error:
        raise ResourceError(
            f"torchcodec: cannot be loaded ({_first_line(error)}); pip install 'kinoray[torchcodec]', and FFmpeg's "
            "shared libraries by the system's package manager"
        ) from error


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]  # a stack follows
