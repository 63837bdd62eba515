"""Exact frames of a video by their display index, decoding no more than they need."""

from __future__ import annotations

from contextlib import contextmanager
from io import BytesIO
from itertools import chain, islice
from typing import TYPE_CHECKING, BinaryIO

import av
import numpy as np

from kinoray.errors import DecodeError
from kinoray.video.container import StoredPackets, VideoFile
from kinoray.video.convert import quarter_turns
from kinoray.video.decoding import FrameDecoder, all_frames, wanted_frames
from kinoray.video.files import open_video_file, without_passwords
from kinoray.video.frame_reader import FrameReader
from kinoray.video.limits import Limits
from kinoray.video.packets import PacketIndex, PacketTable, list_packets

if TYPE_CHECKING:
    from collections.abc import Iterator

    from av import Packet, VideoFrame, VideoStream
    from numpy.typing import NDArray

    from kinoray.video.shots import Album

_LIMITS = Limits()


class VideoReader(FrameReader):
    """Reads exact frames, by display index, from one video file.

    Frames are the container's, in display order, edit lists honoured; the picture is turned as its display matrix
    asks. Pixels are taken as square, and high dynamic range is cut to 8 bits without tone mapping. For the attributes
    see ``FrameReader``.

    Args:
        source: a path, a URI that ``open_video_file`` knows, or the content.
        name: what messages call the video; the path where there is one.
        max_missing: largest fraction of a shot's frames that may be undecodable; those are filled with the nearest
            frame that came.
        index: of this very file, from ``packet_index``; nothing is then decoded and little is read at opening.
        limits: what the video may cost.

    Raises:
        DecodeError: no such video, no pictures in it, none of them can be decoded, it is too slow, or the index is
            another file's.
    """

    def __init__(
        self,
        source: str | bytes | BinaryIO,
        *,
        name: str | None = None,
        max_missing: float = 0.1,
        index: PacketIndex | None = None,
        limits: Limits = _LIMITS,
    ) -> None:
        name = name or (without_passwords(source) if isinstance(source, str) else "video in memory")
        super().__init__(name, max_missing, limits)
        if isinstance(source, str):
            source = open_video_file(source, ranged=index is not None, max_seconds=limits.seconds)
        elif isinstance(source, bytes):
            source = BytesIO(source)
        self._file = VideoFile(source, self.name, limits, self._deadline)
        try:
            with self._failures_named():
                self._index = self._learn() if index is None else self._trust(index)
        except BaseException:
            self.close()
            raise
        self.codec = self._index.codec
        self.num_bytes = self._index.num_bytes
        self.height, self.width = self._index.height, self._index.width
        self.fps = self._index.fps
        self.num_frames = self._index.table.num_frames
        self.pts_seconds = self._index.pts_seconds
        self.duration_seconds = self.num_frames / self.fps

    def close(self) -> None:
        """Let go of the file and the decoder; a source that was given as an open file stays open."""
        self._file.close()

    @property
    def keyframes(self) -> NDArray[np.int64]:
        """Display indices of the frames that can be decoded alone, ascending."""
        return self._index.table.keyframes

    def packet_index(self) -> PacketIndex:
        """What opening this video another time need not find out again."""
        return self._index

    def _learn(self) -> PacketIndex:
        """Demux the whole stream and decode its first frame; where frames must be counted, decode all."""
        file = self._file
        table, kept = self._list_packets()
        if self._is_reordered_in_secret(table) and file.reopen_thoroughly():
            table, kept = self._list_packets()
        if not len(table):
            raise DecodeError(f"{self.name}: its video stream is empty", "damaged")
        self._decoder = self._start_decoder(table, kept)
        first: VideoFrame | None = None
        if table.is_doubtful:
            numbers: list[int | None] = []
            for frame in self._decoder.all():
                first = first or frame
                numbers.append(frame.pts)
            table = table.showing(numbers)
        else:
            entry = table.entry(int(table.shown[0]))
            # Where it is likely that frames will be wanted which are decoded from there, the first one comes along.
            num_from_there = next((key for key in table.keys.tolist() if key > entry), len(table)) - entry
            first = self._decoder.begin(entry, may_go_on=2 * num_from_there > len(table))
        if first is None:
            raise DecodeError(f"{self.name}: none of its {len(table)} packets can be decoded", "damaged")
        is_turned = quarter_turns(first) % 2 == 1
        return PacketIndex(
            num_bytes=file.num_bytes,
            codec=file.codec,
            height=first.width if is_turned else first.height,
            width=first.height if is_turned else first.width,
            fps=_frame_rate(table, file.tick_seconds, file.stated_fps),
            tick_seconds=file.tick_seconds,
            start_seconds=file.start_seconds,
            # The h264 decoder forgets on a seek which encoder made the stream, and 4:4:4 of older x264 needs that.
            from_start=file.codec == "h264" and "444" in self._decoder.pixel_format,
            table=table,
        )

    def _trust(self, index: PacketIndex) -> PacketIndex:
        file = self._file
        if (index.num_bytes, index.codec) != (file.num_bytes, file.codec):
            raise DecodeError(
                f"{self.name}: its index, got one of {index.num_bytes} bytes of {index.codec}; the video has "
                f"{file.num_bytes} of {file.codec}; run jobs/prepare.py again",
                "index",
            )
        if self._is_reordered_in_secret(index.table):
            file.reopen_thoroughly()
        self._decoder = self._start_decoder(index.table, [], at=0)
        return index

    def _is_reordered_in_secret(self, table: PacketTable) -> bool:
        """Whether frames are reordered and the header does not tell: the decoder would drop some at first."""
        return not self._file.decoder.has_b_frames and bool((np.diff(table.shown) < 0).any())

    def _list_packets(self) -> tuple[PacketTable, list[Packet[VideoStream]]]:
        file = self._file
        return list_packets(
            file.demux(),
            format_name=file.format_name,
            codec=file.codec,
            has_b_frames=file.decoder.has_b_frames,
            max_kept_bytes=self._limits.num_bytes_kept,
        )

    def _start_decoder(
        self, table: PacketTable, kept: list[Packet[VideoStream]], *, at: int | None = None
    ) -> FrameDecoder:
        def kept_since(first: int) -> Iterator[Packet[VideoStream]]:
            return islice(kept, first, None)

        stored = StoredPackets(self._file, self.name, table, at=len(table) if at is None else at)
        packets = kept_since if kept else stored.since
        return FrameDecoder(
            self._file.decoder, self._file.codec, packets, len(table), self._deadline, may_skip=table.may_skip
        )

    def _give(self, album: Album) -> None:
        index = self._index
        wanted = wanted_frames(
            self._decoder, index.table, list(album.due), codec=index.codec, from_start=index.from_start
        )
        # The second round is for frames that come only when the decoder has seen all of the stream before them.
        rounds = chain(wanted, all_frames(self._decoder, index.table)) if album.due else ()
        with self._failures_named():
            for number, frame in rounds:
                album.take(number, frame)
                if not album.due:
                    break

    def _trouble(self, first: int) -> str:
        del first  # a frame of a file has no name that would help
        return "cannot be decoded"

    @contextmanager
    def _failures_named(self) -> Iterator[None]:
        try:
            yield
        except av.FFmpegError as error:
            raise DecodeError(f"{self.name}: its pictures cannot be read ({error})", "damaged") from error


def _frame_rate(table: PacketTable, tick_seconds: float, stated_fps: float) -> float:
    """Average frames per second: the container's word where the timestamps bear it out."""
    if table.is_timed and table.num_frames > 1:
        ticks = table.pts[table.shown[-1]] - table.pts[table.shown[0]]
        measured = (table.num_frames - 1) / (float(ticks) * tick_seconds)
        return stated_fps if abs(stated_fps - measured) < 0.01 * measured else measured
    return stated_fps or 1.0
