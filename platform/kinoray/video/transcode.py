"""Videos encoded anew so that any clip of them is cheap to read: small, and with a keyframe every few pictures.

The n-th picture of the result shows the n-th picture of the source at the same time, so sampling, segments and labels
stay what they were. Pictures are upright, sound is gone.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from io import BytesIO
from typing import TYPE_CHECKING, Any, Literal

import av
import numpy as np
from av.video.reformatter import ColorRange

from kinoray.errors import ConfigError
from kinoray.video.frames import Shot
from kinoray.video.mpeg4 import MIN_PICTURE_BYTES
from kinoray.video.pieces import pieces

if TYPE_CHECKING:
    from collections.abc import Iterator

    from av import Packet, VideoStream
    from av.container import OutputContainer
    from numpy.typing import NDArray

    from kinoray.video.decode import VideoReader
    from kinoray.video.frames import Matrix, Planes

MAX_HELD_BYTES = 64 << 20
"""Decoded pictures in memory at a time."""

# A constant quantizer: about 40 dB against the source. Two frames in three are B-frames, which readers may skip.
_ENCODERS = {
    "mpeg4": ("mpeg4", {"qmin": "4", "qmax": "4", "bf": "2"}),
    "h264": ("libx264", {"crf": "20", "preset": "veryfast", "tune": "fastdecode"}),
}
# FFmpeg's numbers of matrix and primaries, and of the transfer curve; the container keeps only all three together.
_COLOURS: dict[Matrix, tuple[int, int]] = {"bt709": (1, 1), "bt601": (6, 6), "bt2020": (9, 14)}
_TIME_TOLERANCE_SECONDS = 1e-6
_MIN_SHORT_SIDE = 16
# Pictures that follow each other more slowly are timed in milliseconds.
_MIN_RATE = Fraction(1, 1001)
_LEVELS = np.arange(256)
_TO_LIMITED_LUMA = np.round(16 + _LEVELS * 219 / 255).astype(np.uint8)
_TO_LIMITED_CHROMA = np.round(128 + (_LEVELS - 128) * 224 / 255).astype(np.uint8)


@dataclass(frozen=True)
class Encoding:
    """How videos are encoded anew.

    Attributes:
        codec: ``mpeg4`` reads fastest; ``h264`` takes about 0.6 of its bytes and 1.5 times the time to read.
        short_side: of the picture, in pixels; smaller pictures keep their size.
        gop: pictures from one keyframe to the next.
    """

    codec: Literal["mpeg4", "h264"] = "mpeg4"
    short_side: int = 256
    gop: int = 16

    def __post_init__(self) -> None:
        if self.short_side < _MIN_SHORT_SIDE:
            raise ConfigError(f"short side, got {self.short_side} pixels; it should be at least {_MIN_SHORT_SIDE}")

    def __str__(self) -> str:
        return f"{self.codec} of short side {self.short_side}, keyframe every {self.gop}"

    def size(self, height: int, width: int) -> tuple[int, int]:
        """``(height, width)`` of the result, both even."""
        scale = min(1.0, self.short_side / min(height, width))
        return max(2, 2 * round(height * scale / 2)), max(2, 2 * round(width * scale / 2))


def transcode(video: VideoReader, encoding: Encoding) -> bytes:
    """All pictures of an open video as an MP4 file.

    Raises:
        DecodeError: more of its pictures are damaged than the reader may fill.
    """
    height, width = encoding.size(video.height, video.width)
    name, options = _ENCODERS[encoding.codec]
    times = _Times.of(video.pts_seconds, video.fps)
    target = BytesIO()
    with av.open(target, "w", format="mp4") as container:
        stream = container.add_stream(name, options={**options, "g": str(encoding.gop)})
        assert isinstance(stream, av.VideoStream)
        encoder = stream.codec_context
        stream.height, stream.width, stream.pix_fmt = height, width, "yuv420p"
        # The encoder counts pictures, since MPEG-4 cannot express fine times; the container gets the real ones.
        encoder.time_base = 1 / times.rate
        encoder.thread_count = 1
        stream.time_base = times.base
        if times.ticks[0] > 0:
            _begin_with_silence(container)
        packets: list[Packet[VideoStream]] = []
        index = 0
        for planes in _all_planes(video, (height, width)):
            encoder.colorspace, encoder.color_trc = _COLOURS[planes.matrix]
            encoder.color_primaries, encoder.color_range = encoder.colorspace, ColorRange.MPEG
            for picture in _limited(planes).reshape(len(planes), -1, width):
                frame = av.VideoFrame.from_ndarray(picture, format="yuv420p")
                frame.pts, frame.time_base = index, encoder.time_base
                packets += stream.encode(frame)
                index += 1
        for packet in _timed(packets + stream.encode(None), times):
            packet.stream = stream
            container.mux(packet)
    return target.getvalue()


@dataclass(frozen=True)
class _Times:
    """When pictures are shown.

    Attributes:
        ticks: of every picture, rising.
        base: seconds of a tick.
        rate: pictures per second.
    """

    ticks: NDArray[np.int64]
    base: Fraction
    rate: Fraction

    @classmethod
    def of(cls, pts_seconds: NDArray[np.float64], fps: float) -> _Times:
        """Ticks of the frame rate where all pictures keep to it, else milliseconds, else microseconds."""
        rate = max(Fraction(fps).limit_denominator(1001), _MIN_RATE)
        for base in (1 / rate, Fraction(1, 1000), Fraction(1, 1_000_000)):
            ticks = np.round(pts_seconds / float(base)).astype(np.int64)
            if np.abs(ticks * float(base) - pts_seconds).max() < _TIME_TOLERANCE_SECONDS:
                break
        return cls(ticks, base, rate)

    @property
    def usual(self) -> int:
        """Ticks from one picture to the next by the frame rate."""
        return round(1 / (self.rate * self.base))

    def at(self, index: int) -> int:
        """The tick of a picture, or of as many before the first one as decoding has to begin earlier."""
        return int(self.ticks[max(index, 0)]) + min(index, 0) * self.usual


def _all_planes(video: VideoReader, size: tuple[int, int]) -> Iterator[Planes]:
    """All pictures in order, in pieces that begin at a keyframe where one is near enough."""
    longest = max(1, MAX_HELD_BYTES // (size[0] * size[1] * 3 // 2))
    for indices in pieces(video, np.arange(video.num_frames), longest):
        yield video.read_planes([Shot(indices, size=size)])[0]


def _limited(planes: Planes) -> NDArray[np.uint8]:
    """``(T, B)`` with black to white in 16..235, as encoders take them."""
    if not planes.is_full_range:
        return planes.data
    num_luma = planes.height * planes.width
    luma, chroma = _TO_LIMITED_LUMA[planes.data[:, :num_luma]], _TO_LIMITED_CHROMA[planes.data[:, num_luma:]]
    return np.concatenate([luma, chroma], axis=1)


def _timed(packets: list[Packet[VideoStream]], times: _Times) -> Iterator[Packet[VideoStream]]:
    """Packets that are timed in pictures, timed in ticks."""
    left = times.at(len(times.ticks) - 1) + times.usual - times.at(0)  # MP4 keeps the duration as a sum over packets
    for number, packet in enumerate(packets):
        timed = packet if packet.size >= MIN_PICTURE_BYTES else _padded(packet)
        assert packet.pts is not None
        assert packet.dts is not None
        dts = times.at(packet.dts)
        following = packets[number + 1].dts if number + 1 < len(packets) else None
        timed.duration = max(1, left if following is None else times.at(following) - dts)
        left -= timed.duration
        timed.pts, timed.dts, timed.time_base = times.at(packet.pts), dts, times.base
        yield timed


def _padded(packet: Packet[VideoStream]) -> Packet[Any]:
    """The same with zeros at its end, which decoders pass over: tiny MPEG-4 packets may stand for no picture at all."""
    padded = av.Packet(bytes(packet) + bytes(MIN_PICTURE_BYTES - packet.size))
    padded.is_keyframe = packet.is_keyframe
    return padded


def _begin_with_silence(container: OutputContainer) -> None:
    """Lets the file begin at zero: times count from a file's first packet, and the first picture comes later."""
    silence = container.add_stream("flac", rate=8_000, layout="mono")
    frame = av.AudioFrame.from_ndarray(np.zeros((1, 256), np.int16), format="s16", layout="mono")
    frame.sample_rate, frame.pts = 8_000, 0
    container.mux(silence.encode(frame))
    container.mux(silence.encode(None))
