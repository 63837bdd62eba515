"""Turns packets into frames, feeding the decoder no more of them than exact frames need."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

import av
from av.video.frame import PictureType

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator

    from av import Packet, VideoFrame, VideoStream
    from av.video.codeccontext import VideoCodecContext

    from kinoray.video.limits import Deadline
    from kinoray.video.packets import PacketTable, Run

    Packets = Iterator[Packet[VideoStream]]

# Pictures that no other refers to are marked as such, and leaving them out changes no other. Not so in AV1 and VP9,
# nor in HEVC, where the mark holds for one temporal layer only.
_SKIPPABLE_CODECS = {"h264", "mpeg4", "mpeg2video", "mpeg1video"}
# Any keyframe tells their decoders all; others also heed what stands in the first packet, such as who encoded it.
_STATELESS_CODECS = {"h264", "hevc", "vp8", "vp9", "av1", "mjpeg", "mpeg1video", "mpeg2video"}


class _Begun(NamedTuple):
    """A decoder in the middle of its work: fed from packet ``first`` to ``stop - 1``, having given ``frames``."""

    first: int
    stop: int
    frames: list[VideoFrame]


class FrameDecoder:
    """Decodes the frames of one video; each comes with the number of its packet as its ``pts``.

    Args:
        decoder: FFmpeg's.
        codec: FFmpeg's name of the codec.
        packets: gives the packets from a number on.
        num_packets: of the stream.
        may_skip: whether frames may be left out that no other refers to, if the codec tells which.
        deadline: of the work at hand.
    """

    def __init__(
        self,
        decoder: VideoCodecContext,
        codec: str,
        packets: Callable[[int], Packets],
        num_packets: int,
        deadline: Deadline,
        *,
        may_skip: bool,
    ) -> None:
        self._decoder = decoder
        self._packets = packets
        self._num_packets = num_packets
        self._deadline = deadline
        self._begun: _Begun | None = None
        self._may_skip = may_skip and codec in _SKIPPABLE_CODECS
        self._is_primed = codec in _STATELESS_CODECS

    @property
    def pixel_format(self) -> str:
        """FFmpeg's name; empty before anything was decoded."""
        return self._decoder.pix_fmt or ""

    def begin(self, first: int, *, may_go_on: bool) -> VideoFrame | None:
        """Decode from a keyframe on until a frame comes.

        Args:
            first: number of the keyframe's packet.
            may_go_on: whether a run from there may go on where this stops. The frame then comes when the decoder has
                seen what follows it; otherwise the first packet is all that is decoded, if it yields a frame.
        """
        self._decoder.flush_buffers()
        self._begun = None
        self._is_primed |= first == 0
        for number, packet in enumerate(self._packets(first), first):
            self._deadline.check()
            frames = self._decoded(packet, number)
            if not frames and not may_go_on:
                frames = list(self._drained())
                self._decoder.flush_buffers()
            elif frames:
                self._begun = _Begun(first, number + 1, frames)
            if frames:
                return frames[0]
        return next(self._drained(), None)

    def all(self) -> Iterator[VideoFrame]:
        """Every frame of the stream, in the order in which the decoder gives them."""
        self._begun = None
        self._decoder.flush_buffers()
        self._is_primed = True
        return self._fed(0, self._num_packets, ())

    def run(self, run: Run) -> Iterator[VideoFrame]:
        """The wanted frames of a run, among others."""
        begun, self._begun = self._begun, None
        start = run.first
        if begun is not None and begun.first == run.first:
            yield from begun.frames
            start = begun.stop
        else:
            if not self._is_primed and run.first > 0:
                self.begin(0, may_go_on=False)
                self._begun = None
            self._decoder.flush_buffers()
        yield from self._fed(start, run.wanted[-1] + 1, set(run.wanted))

    def _fed(self, first: int, stop: int, wanted: Collection[int]) -> Iterator[VideoFrame]:
        """Feed packets ``first`` to ``stop - 1``; given the wanted ones, skip others that none refers to."""
        decoder = self._decoder
        may_skip = self._may_skip and bool(wanted)
        is_skipping = False
        try:
            for number, packet in enumerate(islice(self._packets(first), max(stop - first, 0)), first):
                self._deadline.check()
                if may_skip and is_skipping == (number in wanted):
                    is_skipping = not is_skipping
                    decoder.skip_frame = "NONREF" if is_skipping else "DEFAULT"
                yield from self._decoded(packet, number)
            yield from self._drained()
        finally:
            decoder.skip_frame = "DEFAULT"

    def _decoded(self, packet: Packet[VideoStream], number: int) -> list[VideoFrame]:
        packet.pts = number
        try:
            return self._decoder.decode(packet)
        except av.FFmpegError:
            return []  # a damaged picture: what does not come is counted by the reader

    def _drained(self) -> Iterator[VideoFrame]:
        try:
            yield from self._decoder.decode(None)
        except av.FFmpegError:
            return


def wanted_frames(
    decoder: FrameDecoder, table: PacketTable, indices: Iterable[int], *, codec: str, from_start: bool
) -> Iterator[tuple[int, VideoFrame]]:
    """Frames with their display indices, run by run; others than the wanted ones may come along."""
    if not len(table.shown):
        yield from all_frames(decoder, table)
        return
    numbers = sorted(int(table.shown[index]) for index in indices)
    for run in table.runs(numbers, from_start=from_start):
        due = set(run.wanted)
        # H.264 also marks as keyframes the points from which pictures are refreshed bit by bit, and what is
        # decoded from there is wrong at first: only a whole picture at the entry makes the others exact.
        entry = int(table.ranks[run.first]) if run.first and codec == "h264" else None
        for frame in decoder.run(run):
            index = table.rank(frame.pts)
            if entry is not None and index >= entry:
                if index > entry or frame.pict_type != PictureType.I:
                    break
                entry = None
            if frame.pts in due:
                yield index, frame
                due.discard(frame.pts)
                if not due:
                    break


def all_frames(decoder: FrameDecoder, table: PacketTable) -> Iterator[tuple[int, VideoFrame]]:
    """Every frame that the decoder gives for the whole stream, with its display index."""
    for count, frame in enumerate(decoder.all()):
        yield table.rank(frame.pts) if len(table.shown) else count, frame
