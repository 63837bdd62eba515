"""Videos that were cut into pictures: folders of JPEG or PNG files."""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import av
import numpy as np

from kinoray.errors import DataError, DecodeError
from kinoray.video.convert import quarter_turns
from kinoray.video.files import named_failures, without_passwords
from kinoray.video.frame_names import frame_names
from kinoray.video.frame_reader import FrameReader
from kinoray.video.limits import Limits
from kinoray.video.stores import Folder

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from av import VideoCodecContext, VideoFrame
    from numpy.typing import NDArray

    from kinoray.video.shots import Album

# FFmpeg's decoders by how a file begins. With crop, resize and RGB they take 0.39 ms for a JPEG of 340 x 256 and
# 1.8 ms at 720p; simplejpeg with OpenCV 0.37 and 1.9, Pillow 0.84 and 5.4; TorchVision 0.33 and 1.8 to decode alone.
_CODECS = {b"\xff\xd8": "mjpeg", b"\x89PNG\r\n\x1a\n": "png"}
# A picture in a store costs two requests; so many pictures are waited for at the same time.
_NUM_REQUESTS = 16
_LIMITS = Limits()
FRAMES_PER_SECOND = 30.0
"""Of pictures that do not say."""


class FrameFolder(FrameReader):
    """Reads frames, by display index, from a folder that holds a picture for each.

    The first picture gives the size; others are brought to it. Pictures are turned (not mirrored) as their EXIF says;
    alpha is left out, CMYK, grey and 16-bit pictures become RGB of 8 bits. A picture that is damaged, even in part,
    counts as missing.

    Args:
        path: of the folder, or its URI in a store.
        template: names of the pictures, ``img_{:05d}.jpg``, see ``frame_names``; None finds out.
        fps: frames per second that the pictures were taken at.
        first_index: number of the first frame; None: the smallest there is.
        name: what messages call the video; the path by default.
        max_missing: largest fraction of the frames asked for that may be missing; those are filled with the nearest
            frame that came.
        limits: what it may cost.

    Attributes:
        num_frames: from the first to the last picture, missing ones included.
        keyframes: ``(num_frames,)``, all of them: each frame can be decoded alone.

    Raises:
        DecodeError: no such folder, no pictures in it, or none of them can be decoded.
        DataError: ``fps`` is none.
        ConfigError: the template is not one.
    """

    def __init__(
        self,
        path: str,
        *,
        template: str | None = None,
        fps: float = FRAMES_PER_SECOND,
        first_index: int | None = None,
        name: str | None = None,
        max_missing: float = 0.1,
        limits: Limits = _LIMITS,
    ) -> None:
        super().__init__(name or without_passwords(path), max_missing, limits)
        if not 0 < fps < math.inf:
            raise DataError(f"{self.name}: frames per second of its pictures, got {fps:g}; it should be above 0")
        self.fps = fps
        self._path = path
        self._decoders: dict[str, VideoCodecContext] = {}
        with named_failures(path):
            self._folder = Folder(path)
            sizes = self._folder.sizes()
        self._names = frame_names(sizes, template=template, first_index=first_index, where=self.name)
        self.num_frames = len(self._names)
        self.num_bytes = sum(sizes[name] for name in self._names if name is not None)
        self.codec = ""
        self.duration_seconds = self.num_frames / fps
        self.pts_seconds: NDArray[np.float64] = np.arange(self.num_frames) / fps
        self.keyframes: NDArray[np.int64] = np.arange(self.num_frames)
        first = next((frame for index in range(self.num_frames) for _, frame in self._frames([index])), None)
        if first is None:
            raise DecodeError(f"{self.name}: none of its {self.num_frames} pictures can be decoded", "damaged")
        size = (first.height, first.width)
        self.height, self.width = size[::-1] if quarter_turns(first) % 2 else size

    def close(self) -> None:
        """Let go of the decoders; no file stays open between readings."""
        self._decoders.clear()

    def _give(self, album: Album) -> None:
        for index, frame in self._frames(sorted(album.due)):
            try:
                album.take(index, frame)
            except av.FFmpegError as error:
                raise DecodeError(f"{self.name}: {self._names[index]} cannot be converted ({error})") from error

    def _trouble(self, first: int) -> str:
        return f"are missing or damaged, the first is {self._names[first] or f'number {first}'}"

    def _frames(self, indices: Sequence[int]) -> Iterator[tuple[int, VideoFrame]]:
        """The pictures that can be decoded, with their display indices, in the order of ``indices``."""
        for index, content in self._contents(indices):
            self._deadline.check()
            frame = self._decode(content)
            if frame is not None:
                yield index, frame

    def _contents(self, indices: Sequence[int]) -> Iterator[tuple[int, bytes]]:
        if not self._folder.is_remote:
            for index in indices:
                yield index, self._content(index)
            return
        with ThreadPoolExecutor(_NUM_REQUESTS) as pool:
            for start in range(0, len(indices), _NUM_REQUESTS):  # no more than these are held in memory
                some = indices[start : start + _NUM_REQUESTS]
                yield from zip(some, pool.map(self._content, some), strict=True)

    def _content(self, index: int) -> bytes:
        """A picture's file, empty where there is none."""
        name = self._names[index]
        if name is None:
            return b""
        try:
            with named_failures(f"{self._path.rstrip('/')}/{name}"):
                return self._folder.read(name)
        except DecodeError as error:
            if error.reason == "missing":  # since the folder was listed
                return b""
            raise

    def _decode(self, content: bytes) -> VideoFrame | None:
        codec = next((codec for start, codec in _CODECS.items() if content.startswith(start)), None)
        if codec is None:
            return None
        # A decoder is good for one PNG: FFmpeg 8.1 takes the next one's first row for a change of this one's last.
        decoder = self._decoders.get(codec) or self._make_decoder(codec)
        if codec != "png":
            self._decoders[codec] = decoder
        try:
            frames = decoder.decode(av.Packet(content))
        except av.FFmpegError:
            return None
        self.codec = self.codec or codec
        return frames[0] if frames else None

    def _make_decoder(self, codec: str) -> VideoCodecContext:
        decoder = av.CodecContext.create(codec, "r")
        assert isinstance(decoder, av.VideoCodecContext)
        decoder.thread_type = "NONE"
        decoder.thread_count = 1
        # Otherwise half a picture passes for a whole one, grey below.
        decoder.options = {"err_detect": "explode", "max_pixels": str(self._limits.num_pixels)}
        return decoder
