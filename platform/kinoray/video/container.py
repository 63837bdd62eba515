"""One open video file: its container, the stream that holds the pictures, and that stream's decoder."""

from __future__ import annotations

from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import av
from av.stream import Discard, Disposition

from kinoray.errors import DecodeError
from kinoray.video.packets import NO_TIME

if TYPE_CHECKING:
    from collections.abc import Iterator

    from av import Packet, VideoStream
    from av.container import InputContainer
    from av.video.codeccontext import VideoCodecContext

    from kinoray.video.limits import Deadline, Limits
    from kinoray.video.packets import PacketTable

# Only formats that hold their own pictures: a playlist could make us open other files and addresses.
_FORMATS = (
    "3g2,3gp,aiff,amv,apng,asf,avi,av1,dv,flv,gif,h261,h263,h264,hevc,ivf,live_flv,m4a,m4v,matroska,mj2,mjpeg,mov,mp4,"
    "mpeg,mpegts,mpegvideo,mxf,nut,obu,ogg,rm,swf,vc1,vob,webm,wtv,yuv4mpegpipe"
)
_OPTIONS = {"protocol_whitelist": "file", "format_whitelist": _FORMATS}
# An MP4's header tells all that FFmpeg would else learn by decoding the first picture of every stream. Starting the
# sound's decoder would take two thirds of the opening; where a video decoder that is not named here would have told
# more, ``reopen_thoroughly`` lets it.
_FAST_OPTIONS = {
    **_OPTIONS,
    "skip_frame": "all",
    "analyzeduration": "1",
    "codec_whitelist": "h264,hevc,libdav1d,av1,vp9,mpeg4",
}
_MP4_BOXES = {b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide"}
# Old AVIs hold titles in any encoding; PyAV 19 reads them without being told, and no longer takes the argument.
ENCODING: dict[str, Any] = {"metadata_errors": "replace"} if int(av.__version__.partition(".")[0]) < 19 else {}
# Reading on over so many packets is cheaper than seeking.
_NEAR = 16


class VideoFile:
    """One open video file.

    Args:
        source: a path, or an open file, which stays open.
        name: what messages call the video.
        limits: what it may cost.
        deadline: of the work at hand.

    Attributes:
        decoder: of the stream that holds the pictures; it outlives ``rewind``.
        codec: FFmpeg's name ("h264").
        format_name: FFmpeg's name of the container's format.
        num_bytes: of the file.
        tick_seconds: unit of the stream's times.
        start_seconds: earliest time of any stream.
        stated_fps: the container's word, 0 where it has none.

    Raises:
        DecodeError: it is no video, or holds no pictures.
    """

    def __init__(self, source: str | BinaryIO, name: str, limits: Limits, deadline: Deadline) -> None:
        self._source = source
        self._name = name
        self._limits = limits
        self._deadline = deadline
        with self._failures_named():
            self._is_fast = _is_mp4(source)
        self._open()
        self._prepare()

    def close(self) -> None:
        """Let go of the file."""
        self._container.close()

    def rewind(self) -> None:
        """Go back to the first packet. The decoder is left as it is."""
        self._container.close()
        self._open()

    def reopen_thoroughly(self) -> bool:
        """Learn more of the streams than the header tells, with a new decoder; whether that was left to do."""
        if not self._is_fast:
            return False
        self._is_fast = False
        self.rewind()
        self._prepare()
        return True

    def demux(self) -> Iterator[Packet[VideoStream]]:
        """The stream's packets that hold data, from where the container stands."""
        with self._failures_named():
            while True:
                try:
                    for packet in self._container.demux(self._stream):
                        self._deadline.check()
                        if packet.size:
                            yield packet
                except IndexError:
                    self._deadline.check()
                    continue  # PyAV trips over a packet of a stream that shows up late; the next packet is fine
                return

    def seek(self, ticks: int) -> bool:
        """Go to a keyframe at or before a time, or wherever the container thinks that is; whether it went anywhere."""
        try:
            with self._failures_named():
                self._container.seek(ticks, stream=self._stream)
        except av.FFmpegError:
            return False
        return True

    def _open(self) -> None:
        source = f"file:{self._source}" if isinstance(self._source, str) else self._source
        if not isinstance(source, str) and source.seekable():
            source.seek(0)
        options = {**(_FAST_OPTIONS if self._is_fast else _OPTIONS), "max_pixels": str(self._limits.num_pixels)}
        try:
            with self._failures_named():
                self._container: InputContainer = av.open(
                    source, "r", options=options, timeout=self._limits.seconds, **ENCODING
                )
        except (av.FFmpegError, OSError, ValueError) as error:
            raise DecodeError(f"{self._name}: not a video that FFmpeg can open ({error})", "unreadable") from error
        stream = self._container.streams.best("video")
        if stream is None or Disposition.attached_pic in stream.disposition:
            self._container.close()
            raise DecodeError(f"{self._name}: there is no video stream in it", "no_video")
        if stream.codec_context is None or stream.time_base is None:
            self._container.close()
            raise DecodeError(f"{self._name}: FFmpeg has no decoder for its video stream", "unreadable")
        for other in self._container.streams:
            if other is not stream:
                other.discard = Discard.all
        self._stream = stream

    def _prepare(self) -> None:
        stream, container = self._stream, self._container
        self.decoder: VideoCodecContext = stream.codec_context
        self.decoder.thread_type = "NONE"  # one video per thread costs the least CPU time
        self.decoder.thread_count = 1
        self.decoder.options = {"max_pixels": str(self._limits.num_pixels)}
        self.codec: str = self.decoder.codec.canonical_name
        self.format_name = container.format.name
        self.num_bytes: int = container.size
        self.tick_seconds = float(stream.time_base or 1)
        self.start_seconds = float((container.start_time or 0) / av.time_base)
        self.stated_fps = float(stream.average_rate or stream.guessed_rate or 0)

    @contextmanager
    def _failures_named(self) -> Iterator[None]:
        """Turn what the source raises, and an interruption of FFmpeg, into a DecodeError; let FFmpeg's own pass."""
        try:
            yield
        except av.ExitError as error:
            raise self._deadline.error() from error
        except av.FFmpegError:  # some are an OSError too
            raise
        except OSError as error:
            raise DecodeError(f"{self._name}: cannot be read ({error})", "unreadable") from error


class StoredPackets:
    """A listed file's packets, read again when they are wanted.

    Args:
        file: at the packet ``at``.
        name: what messages call the video.
        table: what the packets must be.
        at: number of a packet.
    """

    def __init__(self, file: VideoFile, name: str, table: PacketTable, *, at: int) -> None:
        self._file = file
        self._name = name
        self._table = table
        self._can_seek = True
        self._incoming: Iterator[Packet[VideoStream]]
        self._start()
        self._next = at

    def since(self, first: int) -> Iterator[Packet[VideoStream]]:
        """Packets from number ``first`` on.

        Raises:
            DecodeError: reason ``index``; the file's packets are not those of the table.
        """
        if not 0 <= first - self._next <= _NEAR:
            self._go_to(first)
        due = first
        while due < len(self._table):
            packet = next(self._incoming, None)
            if packet is None or self._stamp(packet) != self._table.stamps[self._next]:
                if not self._has_sought:
                    raise DecodeError(
                        f"{self._name}: its packets are not those of its index, from number {self._next} on; "
                        "run jobs/prepare.py again",
                        "index",
                    )
                self._can_seek = False  # times after a seek are not those of a reading from the start
                self._rewind()
                continue
            number = self._next
            self._next += 1
            if number == due:
                due += 1
                yield packet

    def _go_to(self, first: int) -> None:
        """Bring the next packet to number ``first`` or before it."""
        times = [self._table.dts[first]]
        if self._table.is_timed:
            times.insert(0, self._table.pts[first])
        for time in times if self._can_seek else []:
            if time == NO_TIME or not self._file.seek(int(time)):
                continue
            incoming = self._file.demux()
            landed = next(incoming, None)
            number = None if landed is None else self._number_of(landed)
            if landed is not None and number is not None and number <= first:
                self._incoming, self._next = chain([landed], incoming), number
                self._has_sought = True
                return
        self._rewind()

    def _rewind(self) -> None:
        self._file.rewind()
        self._start()

    def _start(self) -> None:
        self._incoming = self._file.demux()
        self._next = 0
        self._has_sought = False

    def _number_of(self, packet: Packet[VideoStream]) -> int | None:
        numbers = (self._table.stamps == self._stamp(packet)).nonzero()[0]
        return int(numbers[0]) if len(numbers) == 1 else None

    def _stamp(self, packet: Packet[VideoStream]) -> int:
        time = packet.pts if self._table.is_timed else packet.dts
        return NO_TIME if time is None else time


def _is_mp4(source: str | BinaryIO) -> bool:
    if isinstance(source, str):
        with Path(source).open("rb") as file:
            return file.read(8)[4:] in _MP4_BOXES
    if not source.seekable():
        return False
    source.seek(0)
    return source.read(8)[4:] in _MP4_BOXES
