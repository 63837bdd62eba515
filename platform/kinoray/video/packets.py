"""The table of a video's packets: its frames in display order, and which packets must be decoded for some of them."""

from __future__ import annotations

import json
import math
import zlib
from array import array
from bisect import bisect_right
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple, Self

import av
import numpy as np

from kinoray.errors import DecodeError
from kinoray.video.mpeg4 import MIN_PICTURE_BYTES, frame_order

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from av import Packet, VideoStream
    from numpy.typing import NDArray

NO_TIME = np.iinfo(np.int64).min
# Containers whose timestamps tell the order of decoding only; what the demuxer makes of B-frames there is a guess.
_DECODING_TIMES = {"avi", "asf", "h264", "hevc", "m4v", "mpegvideo", "vc1", "obu"}
# Their decoders learn how far frames are reordered only while decoding.
_REORDERED_LATE = {"h264", "hevc", "vc1"}


class Run(NamedTuple):
    """Decode packets ``first`` to ``wanted[-1]``, for the frames of the packets ``wanted`` (ascending)."""

    first: int
    wanted: list[int]


@dataclass(frozen=True, eq=False)
class PacketTable:
    """All packets of one stream in decoding order. A packet's number is its place in it.

    Attributes:
        pts: ``(P,)`` int64 of every packet, ``NO_TIME`` where it has none.
        dts: ``(P,)`` likewise.
        keys: int64, ascending: numbers of the packets at which decoding may start.
        shown: int64: numbers of the packets that become frames, in display order. Empty where frames must be
            counted as the decoder gives them.
        num_frames: of the video.
        is_timed: whether ``pts`` tells when frames are shown.
        may_skip: whether the decoder may leave out frames that no other refers to, where its codec allows it.
        is_doubtful: whether packets may yield no frame, so that only decoding tells which frames there are; until
            then nothing is shown.
    """

    pts: NDArray[np.int64]
    dts: NDArray[np.int64]
    keys: NDArray[np.int64]
    shown: NDArray[np.int64]
    num_frames: int
    is_timed: bool
    may_skip: bool = True
    is_doubtful: bool = False

    def __len__(self) -> int:
        return len(self.pts)

    def showing(self, numbers: Sequence[int | None]) -> Self:
        """Settle what is shown: the packets of all frames, in the order in which the decoder gives them."""
        known = np.array([-1 if number is None else number for number in numbers], np.int64)
        known = known[(known >= 0) & (known < len(self))]
        may_start = np.zeros(len(self), np.bool)
        may_start[known] = True
        is_mapped = np.count_nonzero(may_start) == len(numbers)
        may_start[0] = True
        shown = known if is_mapped else known[:0]
        times = self.pts[shown]
        is_rising = is_mapped and bool((times != NO_TIME).all() and (times[1:] > times[:-1]).all())
        return replace(
            self,
            keys=self.keys[may_start[self.keys]],
            shown=shown,
            num_frames=len(numbers),
            is_timed=self.is_timed and is_rising,
            is_doubtful=False,
        )

    @cached_property
    def ranks(self) -> NDArray[np.int64]:
        """``(P,)`` display index of every packet's frame, -1 where it has none."""
        ranks = np.full(len(self), -1, np.int64)
        ranks[self.shown] = np.arange(len(self.shown))
        return ranks

    def rank(self, number: int | None) -> int:
        """Display index of a packet's frame, -1 where there is no such packet or frame."""
        return int(self.ranks[number]) if number is not None and 0 <= number < len(self) else -1

    @property
    def keyframes(self) -> NDArray[np.int64]:
        """Display indices of the frames at which decoding may start, ascending."""
        ranks = self.ranks[self.keys]
        return np.sort(ranks[ranks >= 0])

    @cached_property
    def stamps(self) -> NDArray[np.int64]:
        """``(P,)`` the time by which a packet is known again after a seek."""
        return self.pts if self.is_timed else self.dts

    def runs(self, wanted: Iterable[int], *, from_start: bool) -> list[Run]:
        """Group wanted packets (ascending) so that what lies between far ones is not decoded.

        Args:
            wanted: packet numbers.
            from_start: the decoder must see the whole stream up to a wanted frame.
        """
        runs: list[Run] = []
        for number in wanted:
            first = 0 if from_start else self.entry(number)
            if runs and first <= runs[-1].wanted[-1] + 1:
                runs[-1].wanted.append(number)
            else:
                runs.append(Run(first, [number]))
        return runs

    def entry(self, number: int) -> int:
        """The keyframe to start from; one more back where a frame is shown before the keyframe it follows."""
        place = bisect_right(self._keys, number) - 1
        if place < 0:
            return 0
        is_leading = self.ranks[number] < self.ranks[self._keys[place]]
        return self._keys[max(place - 1, 0) if is_leading else place]

    @cached_property
    def _keys(self) -> list[int]:
        keys: list[int] = self.keys.tolist()
        return keys


@dataclass(frozen=True, eq=False)
class PacketIndex:
    """All that opening a video learns about it, so that it need not be learnt again.

    Attributes:
        num_bytes: of the file.
        codec: FFmpeg's name of the codec.
        height: pixels of the displayed picture.
        width: pixels of the displayed picture.
        fps: average frames per second.
        tick_seconds: unit of the table's times.
        start_seconds: what the table's times are counted from.
        from_start: whether the decoder must see the whole stream up to a wanted frame.
        table: the packets.
    """

    num_bytes: int
    codec: str
    height: int
    width: int
    fps: float
    tick_seconds: float
    start_seconds: float
    from_start: bool
    table: PacketTable

    @cached_property
    def pts_seconds(self) -> NDArray[np.float64]:
        """``(num_frames,)``, when each frame is shown, from the start of the file."""
        if not self.table.is_timed:
            return np.arange(self.table.num_frames) / self.fps
        seconds = self.table.pts[self.table.shown].astype(np.float64) * self.tick_seconds
        return seconds - min(float(seconds[0]), self.start_seconds)

    def to_bytes(self) -> bytes:
        """Pack the index: about one byte a packet where frames come evenly, three where they do not."""
        table = self.table
        facts = {
            **{name: getattr(self, name) for name in _FACTS},
            "num_frames": table.num_frames,
            "is_timed": table.is_timed,
            "may_skip": table.may_skip,
            "lengths": [len(table), len(table.keys), len(table.shown)],
        }
        # Written as differences, most of which are equal. Times that are not there wrap around, here and back.
        columns = [
            np.diff(table.dts, prepend=0),
            table.pts - table.dts,
            np.diff(table.keys, prepend=0),
            table.shown - np.arange(len(table.shown)),
        ]
        content = b"".join(column.astype("<i8").tobytes() for column in columns)
        return _MAGIC + zlib.compress(json.dumps(facts).encode() + b"\n" + content)

    @classmethod
    def from_bytes(cls, content: bytes) -> Self:
        """Unpack what ``to_bytes`` packed.

        Raises:
            DecodeError: reason ``index``; it is not an index, or one of another version.
        """
        try:
            index = cls._unpacked(content)
            problem = "" if _is_possible(index) else "its numbers contradict each other"
        except (ValueError, LookupError, TypeError, OverflowError, RecursionError, zlib.error) as error:
            problem = str(error)
        if problem:
            raise DecodeError(f"packet index: cannot be read ({problem}); run jobs/prepare.py again", "index")
        return index

    @classmethod
    def _unpacked(cls, content: bytes) -> Self:
        magic, packed = content[: len(_MAGIC)], content[len(_MAGIC) :]
        stream = zlib.decompressobj()
        head, _, body = stream.decompress(packed if magic == _MAGIC else b"", _MAX_UNPACKED_BYTES).partition(b"\n")
        if not stream.eof:
            raise ValueError("it is cut off, too long, or of another version")
        facts = json.loads(head)
        lengths = facts["lengths"]
        columns = np.frombuffer(body, "<i8").astype(np.int64)
        dts, offsets, keys, shown = np.split(columns, np.cumsum([lengths[0], *lengths])[:3])
        dts = np.cumsum(dts)
        table = PacketTable(
            pts=offsets + dts,
            dts=dts,
            keys=np.cumsum(keys),
            shown=shown + np.arange(lengths[2]),
            num_frames=facts["num_frames"],
            is_timed=facts["is_timed"],
            may_skip=facts["may_skip"],
        )
        return cls(**{name: facts[name] for name in _FACTS}, table=table)


# The last byte is the version of the format.
_MAGIC = b"KNRX\x01"
# Of more than a day of video; a manifest could hold a few bytes that unpack to all memory.
_MAX_UNPACKED_BYTES = 256 << 20
_FACTS = ("num_bytes", "codec", "height", "width", "fps", "tick_seconds", "start_seconds", "from_start")


def _is_possible(index: PacketIndex) -> bool:
    """Whether all that readers count on holds, so that nothing which a manifest may hold can do harm."""
    table, keys, shown = index.table, index.table.keys, index.table.shown
    counts = (table.num_frames, index.height, index.width, index.num_bytes)
    if not all(isinstance(count, int) for count in counts) or min(counts) <= 0:
        return False
    if not all(0 < number < math.inf for number in (index.fps, index.tick_seconds, abs(index.start_seconds) + 1)):
        return False
    for numbers in (keys, shown):
        if not ((numbers >= 0) & (numbers < len(table))).all():
            return False
    if (keys[1:] <= keys[:-1]).any():
        return False
    if len(shown) == 0:  # frames that are counted need no packet of their own, but some byte
        return not table.is_timed and table.num_frames <= index.num_bytes
    times = table.pts[shown]
    return table.num_frames == len(shown) and not (table.is_timed and (times[1:] <= times[:-1]).any())


# What a packet takes in memory besides its content; a file may hold millions of nearly empty ones.
_PACKET_BYTES = 700


class Listing(NamedTuple):
    """What demuxing a whole stream gives.

    Attributes:
        table: of its packets.
        kept: the packets, empty where they are too large together.
    """

    table: PacketTable
    kept: list[Packet[VideoStream]]


def list_packets(
    packets: Iterable[Packet[VideoStream]],
    *,
    format_name: str,
    codec: str,
    has_b_frames: bool,
    max_kept_bytes: int,
) -> Listing:
    """Demux a stream once, decoding nothing.

    Args:
        packets: all of one stream, in the container's order.
        format_name: FFmpeg's name of the container's format.
        codec: FFmpeg's name of the codec.
        has_b_frames: whether the decoder expects reordered frames.
        max_kept_bytes: of packets together, above which none is kept.
    """
    rows = array("q")  # a list of tuples would take five times the memory
    kept: list[Packet[VideoStream]] = []
    num_bytes = 0
    is_whole = True
    try:
        for packet in packets:
            pts, dts, size = packet.pts, packet.dts, packet.size
            is_hidden = packet.is_discard or (codec == "vp8" and not memoryview(packet)[0] & 0x10)  # bit 4: show_frame
            times = NO_TIME if pts is None else pts, NO_TIME if dts is None else dts
            rows.extend((*times, packet.is_keyframe, is_hidden, packet.is_corrupt, size))
            num_bytes += size + _PACKET_BYTES
            if num_bytes <= max_kept_bytes:
                kept.append(packet)
    except av.FFmpegError:
        is_whole = False  # a damaged container; what came before the damage is a video
    if num_bytes > max_kept_bytes:
        kept.clear()
    fields = np.frombuffer(rows, np.int64).reshape(-1, 6)
    is_whole &= not fields[:, 4].any()
    table = _judge(fields, is_whole=is_whole, format_name=format_name, codec=codec, has_b_frames=has_b_frames)
    if table.is_doubtful and is_whole and codec == "mpeg4" and kept:
        table = _ordered_by_headers(table, kept, fields[:, 3] != 0, has_b_frames=has_b_frames)
    return Listing(table, kept)


def _judge(
    fields: NDArray[np.int64], *, is_whole: bool, format_name: str, codec: str, has_b_frames: bool
) -> PacketTable:
    """Make the table from ``(P, 6)`` pts, dts, is key, is hidden, is corrupt, bytes.

    Decides whether timestamps and the number of packets can be believed.
    """
    pts, dts, is_key, is_hidden, _, sizes = np.ascontiguousarray(fields.T)
    keys = np.flatnonzero(is_key)
    shown = np.flatnonzero(is_hidden == 0)
    order = np.argsort(pts[shown])
    times = pts[shown[order]]
    has_gaps = codec.startswith(("mpeg4", "msmpeg4")) and bool((sizes < MIN_PICTURE_BYTES).any())
    is_guessed = format_name in _DECODING_TIMES and (has_b_frames or has_gaps or codec in _REORDERED_LATE)
    is_timed = not is_guessed and bool((times[:1] != NO_TIME).all() and (times[1:] > times[:-1]).all())
    # Cut from a longer stream: the first frames lack what they were predicted from.
    is_amid = len(times) == 0 or len(keys) == 0 or keys[0] != 0 or times[0] < pts[0]
    is_doubtful = not (is_timed and is_whole) or has_gaps or bool(is_amid)
    table = PacketTable(pts, dts, keys, shown[:0], 0, is_timed=is_timed, may_skip=codec != "mpeg4", is_doubtful=True)
    return table if is_doubtful else replace(table, may_skip=True).showing(shown[order].tolist())


def _ordered_by_headers(
    table: PacketTable, packets: list[Packet[VideoStream]], is_hidden: NDArray[np.bool], *, has_b_frames: bool
) -> PacketTable:
    order = frame_order(packets, has_b_frames=has_b_frames)
    if order is None or len(table.keys) == 0 or table.keys[0] != 0:
        return table
    keys = table.keys[~np.isin(table.keys, list(order.late))]
    shown = [number for number in order.numbers if not is_hidden[number]]
    if not shown:
        return table
    return replace(table, keys=keys, may_skip=order.may_skip).showing(shown)
