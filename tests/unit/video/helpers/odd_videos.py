"""Videos as they are found in the wild, made small: every picture tells which frame it is.

Luma is 16 plus ``STEP`` times the frame's number, brighter in the upper left corner; a strip of noise at the right
keeps packets as large as those of filmed video.
"""

import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from fractions import Fraction
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

import av
import numpy as np

HEIGHT, WIDTH = 48, 64
RATE = 25
STEP = 5
LOSSLESS = {"qp": "0", "g": "12", "bf": "2", "preset": "ultrafast"}


def picture(number: int, height: int = HEIGHT, width: int = WIDTH) -> np.ndarray:
    """``(H, W)`` luma."""
    luma = np.full((height, width), 16 + STEP * number, np.uint8)
    luma[: height // 4, : width // 2] += 30
    noisy = width - width // 5
    luma[:, noisy:] = np.random.default_rng(number).integers(40, 200, (height, width - noisy))
    return luma


def numbers(pictures: np.ndarray, *, is_full_range: bool = False) -> list[int]:
    """Which frames the RGB pictures ``(T, H, W, 3)`` are, read from the middle."""
    top, left = pictures.shape[1] // 2, pictures.shape[2] // 2
    middle = pictures[:, top : top + 3, left : left + 3, 1].mean(axis=(1, 2))
    levels = middle - 16 if is_full_range else middle * 219 / 255
    return np.round(levels / STEP).astype(int).tolist()


def frame_of(luma: np.ndarray, pixels: str = "yuv420p") -> av.VideoFrame:
    """A frame without colour, in any pixel format."""
    frame = av.VideoFrame(luma.shape[1], luma.shape[0], "yuv420p")
    for place, plane in enumerate(frame.planes):
        rows = np.full((plane.height, plane.line_size), 128, np.uint8)
        if place == 0:
            rows[:, : plane.width] = luma
        plane.update(rows)
    return frame if pixels == "yuv420p" else frame.reformat(format=pixels)


def add_stream(container: Any, codec: str, options: dict[str, str] | None, **settings: Any) -> Any:
    """A video stream with attributes ``settings``, 48 x 64 and 25 frames a second unless they say otherwise."""
    default = LOSSLESS if codec == "libx264" else {"b": "2M"}
    stream = container.add_stream(codec, rate=RATE, options=default if options is None else options)
    settings = {"height": HEIGHT, "width": WIDTH, "pix_fmt": "yuv420p"} | settings
    for name, value in settings.items():
        setattr(stream, name, value)
    stream.codec_context.time_base = Fraction(1, RATE)
    return stream


def encode(stream: Any, which: Iterable[int], *, start: int = 0) -> Iterator[av.Packet]:
    """Packets of numbered pictures, shown one after another from frame ``start`` on."""
    for place, number in enumerate(which, start):
        frame = frame_of(picture(number, stream.height, stream.width), stream.pix_fmt)
        frame.time_base = Fraction(1, RATE)
        frame.pts = place
        yield from stream.encode(frame)
    yield from stream.encode(None)


def video(
    path: Path,
    which: Sequence[int] = range(40),
    *,
    codec: str = "libx264",
    options: dict[str, str] | None = None,
    muxer: dict[str, str] | None = None,
    start: int = 0,
    tags: dict[str, str] | None = None,
    **settings: Any,
) -> Path:
    """Write one stream of numbered pictures; the path's suffix tells the container."""
    with av.open(str(path), "w", options=muxer or {}) as container:
        container.metadata.update(tags or {})
        stream = add_stream(container, codec, options, **settings)
        for packet in encode(stream, which, start=start):
            container.mux(packet)
    return path


def edited(path: Path, change: Callable[[bytearray], None]) -> Path:
    """Change a file's bytes in place."""
    content = bytearray(path.read_bytes())
    change(content)
    path.write_bytes(content)
    return path


def with_sound(path: Path, *, start: int = 0, has_video: bool = True) -> Path:
    """Two seconds of silence from the start, and a video that begins ``start`` frames later."""
    with av.open(str(path), "w") as container:
        stream = add_stream(container, "libx264", None) if has_video else None
        sound: Any = container.add_stream("aac", rate=16_000)
        for packet in encode(stream, range(40), start=start) if stream else ():
            container.mux(packet)
        for place in range(0, 32_000, 1024):
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
            frame.sample_rate, frame.pts = 16_000, place
            container.mux(sound.encode(frame))
        container.mux(sound.encode(None))
    return path


def still_then_movie(path: Path) -> Path:
    """A first video stream of one picture, a second one of 40."""
    with av.open(str(path), "w") as container:
        still = add_stream(container, "mjpeg", None, pix_fmt="yuvj420p")
        movie = add_stream(container, "libx264", None)
        for packet in [*encode(still, [7]), *encode(movie, range(40))]:
            container.mux(packet)
    return path


def cover_first(path: Path) -> Path:
    """An MP4 whose cover is stream 0: the tags that hold it stand before the track."""
    with av.open(str(path), "w") as container:
        movie = add_stream(container, "libx264", None)
        cover = add_stream(container, "mjpeg", None, pix_fmt="yuvj420p")
        cover.disposition = av.stream.Disposition.attached_pic
        for packet in [*encode(movie, range(40)), *encode(cover, [7])]:
            container.mux(packet)

    def tags_first(content: bytearray) -> None:
        start = content.index(b"moov") + 4
        boxes = []
        while start < len(content):
            size = struct.unpack_from(">I", content, start)[0]
            boxes.append(bytes(content[start : start + size]))
            start += size
        boxes.sort(key=lambda box: [b"mvhd", b"udta", b"trak"].index(box[4:8]))
        content[content.index(b"moov") + 4 :] = b"".join(boxes)

    return edited(path, tags_first)


def shrinking(path: Path) -> Path:
    """A broadcast that goes from 48 x 64 to 32 x 48 after 20 frames."""
    parts = []
    for name, height, width in (("large", 48, 64), ("small", 32, 48)):
        part = path.with_name(f"{name}.h264")
        which = range(20) if name == "large" else range(20, 40)
        video(part, which, options=LOSSLESS | {"bf": "0"}, height=height, width=width)
        with av.open(str(part)) as container:
            parts += [bytes(packet) for packet in container.demux(video=0) if packet.size]
    with av.open(str(path), "w") as container:
        stream = add_stream(container, "libx264", None)
        for place, content in enumerate(parts):
            packet = av.Packet(content)
            packet.stream, packet.time_base = stream, Fraction(1, RATE)
            packet.pts = packet.dts = place
            packet.is_keyframe = content[4] & 31 == 7 or place in (0, 20)
            container.mux(packet)
    return path


def packed(path: Path) -> Path:
    """DivX in AVI: each B-frame in the packet of the frame before it, then a packet that holds nothing."""
    plain = video(
        path.with_name("plain.avi"), codec="mpeg4", options={"b": "2M", "g": "12", "bf": "1", "flags": "+bitexact"}
    )
    with av.open(str(plain)) as container:
        packets = [bytes(packet) for packet in container.demux(video=0) if packet.size]
    first_picture = packets[0].index(b"\x00\x00\x01\xb6")
    packets[0] = packets[0][:first_picture] + b"\x00\x00\x01\xb2DivX503b1393p" + packets[0][first_picture:]
    joined = packets[:1]
    for content in packets[1:]:
        if content[content.index(b"\x00\x00\x01\xb6") + 4] >> 6 == 2:
            joined[-1] += content
            joined.append(b"\x00\x00\x01\xb6\x50\x00\x00\x5f")
        else:
            joined.append(content)
    with av.open(str(path), "w") as container:
        stream = add_stream(container, "mpeg4", None)
        for place, content in enumerate(joined):
            packet = av.Packet(content)
            packet.stream, packet.time_base = stream, Fraction(1, RATE)
            packet.pts = packet.dts = place
            packet.is_keyframe = content[content.index(b"\x00\x00\x01\xb6") + 4] >> 6 == 0
            container.mux(packet)
    return path


def turn(content: bytearray, degrees: int = 90) -> None:
    """Write the display matrix of a clockwise turn into an MP4's track header."""
    a, b, c, d = (value << 16 for value in {90: (0, 1, -1, 0), 180: (-1, 0, 0, -1)}[degrees])
    struct.pack_into(">9i", content, content.index(b"tkhd") + 4 + 40, a, b, 0, c, d, 0, 0, 0, 1 << 30)


def cut_start(content: bytearray, num_frames: int = 10) -> None:
    """Make an MP4's edit list begin ``num_frames`` later."""
    start = content.index(b"elst") + 12
    duration, time = struct.unpack_from(">Ii", content, start)
    timescale = struct.unpack_from(">I", content, content.index(b"mdhd") + 4 + 12)[0]
    movie_scale = struct.unpack_from(">I", content, content.index(b"mvhd") + 4 + 12)[0]
    shift = num_frames * timescale // RATE
    struct.pack_into(">Ii", content, start, duration - num_frames * movie_scale // RATE, time + shift)


def claim_frames(content: bytearray) -> None:
    """Let an AVI's headers say that there are 9,999 frames."""
    for name, offset in ((b"avih", 8 + 16), (b"strh", 8 + 32)):
        struct.pack_into("<I", content, content.index(name) + offset, 9999)


def claim_size(content: bytearray) -> None:
    """Let every JPEG say that it is 65,000 x 65,000 pixels."""
    at = content.find(b"\xff\xc0")
    while at >= 0:
        struct.pack_into(">HH", content, at + 5, 65_000, 65_000)
        at = content.find(b"\xff\xc0", at + 2)


def blank(content: bytearray, path: Path, which: Iterable[int]) -> None:
    """Overwrite the payload of some packets with zeros."""
    with av.open(str(path)) as container:
        payloads = [bytes(packet) for packet in container.demux(video=0) if packet.size]
    for number in which:
        start = content.index(payloads[number])
        content[start : start + len(payloads[number])] = bytes(len(payloads[number]))


def flip_bits(content: bytearray, num_flips: int, start: int, stop: int) -> None:
    """Flip seeded bits between two places."""
    rng = np.random.default_rng(0)
    for at, bit in zip(rng.integers(start, stop, num_flips), rng.integers(8, size=num_flips), strict=True):
        content[at] ^= 1 << bit


class Trickle(BytesIO):
    """A file that keeps its reader waiting, after it has been opened."""

    def __init__(self, content: bytes, wait: Callable[[], None]) -> None:
        super().__init__(content)
        self._wait = wait

    def read(self, size: int | None = -1, /) -> bytes:
        self._wait()
        return super().read(size)


def stream_to(file: BinaryIO, **settings: Any) -> None:
    """Write a Matroska video to where nothing can be written twice: it has neither duration nor index."""

    class Pipe:
        def write(self, data: bytes) -> int:
            return file.write(data)

    with av.open(Pipe(), "w", format="matroska", options={"live": "1"}) as container:
        stream = add_stream(container, "libx264", None, **settings)
        for packet in encode(stream, range(40)):
            container.mux(packet)
