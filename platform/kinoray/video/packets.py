"""The table of a video's packets: its frames in display order, and which packets must be decoded for some of them."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

import av

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from av import Packet, VideoStream
    from av.container import InputContainer

# Containers whose timestamps tell the order of decoding only; what the demuxer makes of B-frames there is a guess.
_DECODING_TIMES = {"avi", "asf", "h264", "hevc", "m4v", "mpegvideo", "vc1", "obu"}
# Their decoders learn how far frames are reordered only while decoding.
_REORDERED_LATE = {"h264", "hevc", "vc1"}
# A coded picture is larger; a smaller packet stands for "the same again" (N-VOP) and yields no frame.
_MIN_PICTURE_BYTES = 20
# Packets are kept in memory up to this size; of a larger video they are read again when wanted.
KEPT_BYTES = 256 << 20


class Run(NamedTuple):
    """Decode packets ``first`` to ``wanted[-1]``, for the frames of the packets ``wanted`` (ascending)."""

    first: int
    wanted: list[int]


@dataclass
class PacketTable:
    """All packets of one stream in decoding order.

    Attributes:
        pts: of every packet.
        dts: of every packet.
        keys: numbers of the keyframe packets.
        shown: numbers of the packets that become frames, in display order; empty where frames must be counted.
        num_bytes: of all packets.
        kept: the packets, empty where they are too large together.
    """

    pts: list[int | None] = field(default_factory=list)
    dts: list[int | None] = field(default_factory=list)
    keys: list[int] = field(default_factory=list)
    shown: list[int] = field(default_factory=list)
    num_bytes: int = 0
    kept: list[Packet[VideoStream]] = field(default_factory=list)
    is_doubtful: bool = False
    """Whether packets may yield no frame, so that only decoding tells which frames there are."""
    is_timed: bool = True
    """Whether timestamps name frames; else they are counted as the decoder gives them."""

    def show(self, frame_pts: Sequence[int | None]) -> None:
        """Settle what is shown from the timestamps of all frames in the order in which the decoder gave them."""
        known = {pts: number for number, pts in enumerate(self.pts)}
        numbers = [known.get(pts) for pts in frame_pts]
        times = [pts for pts in frame_pts if pts is not None]
        is_rising = all(a < b for a, b in pairwise(times))
        if self.is_timed and len(times) == len(frame_pts) and is_rising and None not in numbers:
            self.shown = [number for number in numbers if number is not None]
        else:
            self.is_timed = False
            self.shown = []

    def runs(self, wanted: Iterable[int], *, from_start: bool) -> list[Run]:
        """Group wanted packets (ascending) so that what lies between far ones is not decoded.

        Args:
            wanted: packet numbers.
            from_start: the decoder must see the whole stream up to a wanted frame.
        """
        runs: list[Run] = []
        for number in wanted:
            first = 0 if from_start else self._entry(number)
            if runs and first <= runs[-1].wanted[-1] + 1:
                runs[-1].wanted.append(number)
            else:
                runs.append(Run(first, [number]))
        return runs

    def _entry(self, number: int) -> int:
        """The keyframe to start from; one more back where a frame is shown before the keyframe it follows."""
        place = bisect_right(self.keys, number) - 1
        if place < 0:
            return 0
        key_pts, pts = self.pts[self.keys[place]], self.pts[number]
        is_leading = key_pts is not None and pts is not None and pts < key_pts
        return self.keys[max(place - 1, 0) if is_leading else place]


def demux(container: InputContainer, stream: VideoStream) -> Iterator[Packet[VideoStream]]:
    """A stream's packets that hold data, from where the container stands."""
    while True:
        try:
            yield from (packet for packet in container.demux(stream) if packet.size)
        except IndexError:
            continue  # PyAV trips over a packet of a stream that shows up late; the next packet is fine
        return


def read_table(
    packets: Iterable[Packet[VideoStream]], *, format_name: str, codec: str, has_b_frames: bool
) -> PacketTable:
    """Demux a stream once, decoding nothing.

    Args:
        packets: all of one stream, in the container's order.
        format_name: FFmpeg's name of the container's format.
        codec: FFmpeg's name of the codec.
        has_b_frames: whether the decoder expects reordered frames.
    """
    table = PacketTable()
    hidden: set[int] = set()
    smallest = _MIN_PICTURE_BYTES
    is_corrupt = False
    try:
        for packet in packets:
            number = len(table.pts)
            table.pts.append(packet.pts)
            table.dts.append(packet.dts)
            if packet.is_keyframe:
                table.keys.append(number)
            if packet.is_discard or (codec == "vp8" and not memoryview(packet)[0] & 0x10):  # bit 4: show_frame
                hidden.add(number)
            smallest = min(smallest, packet.size)
            is_corrupt |= packet.is_corrupt
            table.num_bytes += packet.size
            if table.num_bytes <= KEPT_BYTES:
                table.kept.append(packet)
    except av.FFmpegError:
        is_corrupt = True  # a damaged container; what came before the damage is a video
    if table.num_bytes > KEPT_BYTES:
        table.kept.clear()

    shown = [number for number in range(len(table.pts)) if number not in hidden]
    times = [pts for number in shown if (pts := table.pts[number]) is not None]
    has_gaps = smallest < _MIN_PICTURE_BYTES and codec.startswith(("mpeg4", "msmpeg4"))
    is_guessed = format_name in _DECODING_TIMES and (has_b_frames or has_gaps or codec in _REORDERED_LATE)
    table.is_timed = len(set(times)) == len(shown) and not is_guessed
    table.is_doubtful = not table.is_timed or is_corrupt or has_gaps or _starts_amid(table, times)
    if not table.is_doubtful:
        table.shown = sorted(shown, key=lambda number: table.pts[number] or 0)
    return table


def _starts_amid(table: PacketTable, times: list[int]) -> bool:
    """Whether the stream was cut from a longer one: its first frames lack what they were predicted from."""
    if not table.keys or table.keys[0] != 0 or not times:
        return True
    key_pts = table.pts[0]
    return key_pts is not None and min(times) < key_pts
