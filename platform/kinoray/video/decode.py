"""Exact frames of a video by their display index, decoding no more than they need."""

from __future__ import annotations

from functools import cached_property
from io import BytesIO
from itertools import chain, islice
from typing import TYPE_CHECKING, Any, BinaryIO, Self

import av
import numpy as np
from av.stream import Discard, Disposition
from av.video.frame import PictureType

from kinoray.errors import DecodeError
from kinoray.video.convert import Converter, quarter_turns
from kinoray.video.files import open_video_file
from kinoray.video.frames import Box, Frames
from kinoray.video.packets import demux, read_table

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from av import Packet, VideoFrame, VideoStream
    from av.container import InputContainer
    from numpy.typing import ArrayLike, NDArray

    from kinoray.video.packets import PacketTable

# Only formats that hold their own pictures: a playlist could make us open other files and addresses.
_FORMATS = (
    "3g2,3gp,aiff,amv,apng,asf,avi,av1,dv,flv,gif,h261,h263,h264,hevc,ivf,live_flv,m4a,m4v,matroska,mj2,mjpeg,mov,mp4,"
    "mpeg,mpegts,mpegvideo,mxf,nut,obu,ogg,rm,swf,vc1,vob,webm,wtv,yuv4mpegpipe"
)
_OPTIONS = {"protocol_whitelist": "file", "format_whitelist": _FORMATS}
# 16 times 4K; a header can claim any size and make the decoder allocate it.
_MAX_PIXELS = 16 * 3840 * 2160
# Pictures that no other refers to are marked as such, and leaving them out changes no other. Not so in AV1 and VP9,
# nor in HEVC, where the mark holds for one temporal layer only.
_SKIPPABLE_CODECS = {"h264", "mpeg4", "mpeg2video", "mpeg1video"}
# Old AVIs hold titles in any encoding; PyAV 19 reads them without being told, and no longer takes the argument.
_ENCODING: dict[str, Any] = {"metadata_errors": "replace"} if int(av.__version__.partition(".")[0]) < 19 else {}


class VideoReader:
    """Reads exact frames, by display index, from one video file.

    Frames are the container's, in display order, edit lists honoured; the picture is turned as its display matrix
    asks. Pixels are taken as square, and high dynamic range is cut to 8 bits without tone mapping.

    Args:
        source: a path, a URI that ``open_video_file`` knows, or the content.
        name: what messages call the video; the path where there is one.
        max_missing: largest fraction of the frames asked for that may be undecodable; those are filled with the
            nearest frame that came.

    Attributes:
        num_frames: exact.
        fps: average frames per second.
        width: pixels of the displayed picture.
        height: pixels of the displayed picture.
        duration_seconds: of all frames.
        pts_seconds: ``(num_frames,)``, when each frame is shown, from the start of the file.
        codec: FFmpeg's name ("h264").
        num_bytes: of the file.
        num_filled: frames that the last ``read`` had to fill.

    Raises:
        DecodeError: no such video, no pictures in it, or none of them can be decoded.
    """

    def __init__(self, source: str | bytes | BinaryIO, *, name: str | None = None, max_missing: float = 0.1) -> None:
        self.name = name or (source if isinstance(source, str) else "video in memory")
        self._max_missing = max_missing
        self.num_filled = 0
        if isinstance(source, str):
            self._source = open_video_file(source)
        else:
            self._source = BytesIO(source) if isinstance(source, bytes) else source
        self._open()
        try:
            self._table = self._read_table()
            first = self._first_frame()
            size = (first.height, first.width)
            self.height, self.width = size[::-1] if quarter_turns(first) % 2 else size
            self.pts_seconds = self._measure_times()
        except BaseException:
            self.close()
            raise
        self.num_frames = len(self.pts_seconds)
        self.duration_seconds = self.num_frames / self.fps

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the file and the decoder; a source that was given as an open file stays open."""
        self._container.close()

    def read(self, indices: ArrayLike, *, crop: Box | None = None, size: tuple[int, int] | None = None) -> Frames:
        """Decode frames.

        Args:
            indices: ``(T,)`` display indices, in any order, also repeated; each is decoded once.
            crop: what to cut out of every picture, None for all of it.
            size: ``(height, width)`` to resize the (cropped) pictures to, bilinear; None leaves them.

        Raises:
            IndexError: an index is not one of the video's.
            ValueError: the crop leaves the picture.
            DecodeError: reason ``damaged``, more than ``max_missing`` of the frames cannot be decoded.
        """
        asked = self._checked_indices(indices)
        self._check_crop(crop)
        wanted, place = np.unique(asked, return_inverse=True)
        converter = Converter((self.height, self.width), crop, size)
        pictures = np.empty((len(wanted), *converter.shape), np.uint8)
        rows = {int(index): row for row, index in enumerate(wanted)}
        missing = dict(rows)
        # The second round is for frames that come only when the decoder has seen all of the stream before them.
        try:
            for frames in (self._decode_wanted(rows), self._decode_linear()):
                if not missing:
                    break
                for index, frame in frames:
                    row = missing.pop(index, None)
                    if row is not None:
                        converter.convert(frame, pictures[row])
                        if not missing:
                            break
        except av.FFmpegError as error:
            raise DecodeError(f"{self.name}: its pictures cannot be read ({error})", "damaged") from error
        self._fill(pictures, list(missing.values()), wanted)
        if not np.array_equal(place, np.arange(len(wanted))):
            pictures = pictures[place]
        return Frames(pictures, self.pts_seconds[asked])

    @cached_property
    def fps(self) -> float:
        """Average frames per second: the container's word where the timestamps bear it out."""
        stated = float(self._stream.average_rate or self._stream.guessed_rate or 0)
        pts = [self._table.pts[number] for number in self._table.shown]
        if len(pts) > 1 and pts[0] is not None and pts[-1] is not None:
            measured = (len(pts) - 1) / ((pts[-1] - pts[0]) * float(self._time_base))
            return stated if abs(stated - measured) < 0.01 * measured else measured
        return stated or 1.0

    def _open(self) -> None:
        source = f"file:{self._source}" if isinstance(self._source, str) else self._source
        if not isinstance(source, str) and source.seekable():
            source.seek(0)
        try:
            self._container: InputContainer = av.open(source, "r", options=_OPTIONS, **_ENCODING)
        except (av.FFmpegError, OSError, ValueError) as error:
            raise DecodeError(f"{self.name}: not a video that FFmpeg can open ({error})", "unreadable") from error
        stream = self._container.streams.best("video")
        if stream is None or Disposition.attached_pic in stream.disposition:
            self._container.close()
            raise DecodeError(f"{self.name}: there is no video stream in it", "no_video")
        if stream.codec_context is None or stream.time_base is None:
            self._container.close()
            raise DecodeError(f"{self.name}: FFmpeg has no decoder for its video stream", "unreadable")
        for other in self._container.streams:
            if other is not stream:
                other.discard = Discard.all
        self._stream = stream
        self._time_base = stream.time_base
        self._decoder = stream.codec_context
        self._decoder.thread_type = "NONE"  # one video per thread costs the least CPU time
        self._decoder.thread_count = 1
        self._decoder.options = {"max_pixels": str(_MAX_PIXELS)}
        self.codec: str = self._decoder.codec.canonical_name
        self.num_bytes: int = self._container.size

    def _read_table(self) -> PacketTable:
        table = read_table(
            demux(self._container, self._stream),
            format_name=self._container.format.name,
            codec=self.codec,
            has_b_frames=self._decoder.has_b_frames,
        )
        if not table.pts:
            raise DecodeError(f"{self.name}: its video stream is empty", "damaged")
        return table

    def _first_frame(self) -> VideoFrame:
        """The first frame that can be decoded; where frames must be counted, this is where it is done."""
        first = None
        if self._table.is_doubtful:
            times: list[int | None] = []
            for frame in self._decode(0, len(self._table.pts)):
                first = first or frame
                times.append(frame.pts)
            self._num_counted = len(times)
            self._table.show(times)
        else:
            number = self._table.shown[0]
            entry = self._table.runs([number], from_start=False)[0].first
            first = next(self._decode(entry, number + 1), None) or next(self._decode(0, len(self._table.pts)), None)
        if first is None:
            raise DecodeError(f"{self.name}: none of its {len(self._table.pts)} packets can be decoded", "damaged")
        return first

    def _measure_times(self) -> NDArray[np.float64]:
        if not self._table.is_timed:
            return np.arange(self._num_counted) / self.fps
        pts = np.array([self._table.pts[number] for number in self._table.shown], np.float64)
        times: NDArray[np.float64] = pts * float(self._time_base)
        start_seconds = float((self._container.start_time or 0) / av.time_base)
        return times - min(float(times[0]), start_seconds)

    def _checked_indices(self, indices: ArrayLike) -> NDArray[np.int64]:
        asked = np.asarray(indices, dtype=np.int64).reshape(-1)
        outside = asked[(asked < 0) | (asked >= self.num_frames)]
        if outside.size:
            raise IndexError(
                f"{self.name}: frame index, got {outside[0]}; the video has {self.num_frames} frames, "
                f"0 to {self.num_frames - 1}"
            )
        return asked

    def _check_crop(self, crop: Box | None) -> None:
        if crop is None:
            return
        bottom, right = crop.top + crop.height, crop.left + crop.width
        if min(crop.top, crop.left, crop.height - 1, crop.width - 1) < 0 or bottom > self.height or right > self.width:
            raise ValueError(f"{self.name}: crop, got {crop}; it lies within {self.height} x {self.width} pixels")

    def _fill(self, pictures: NDArray[np.uint8], missing: list[int], wanted: NDArray[np.int64]) -> None:
        """Copy to every missing row of ``pictures`` the row of the nearest index that came."""
        self.num_filled = len(missing)
        if not missing:
            return
        if len(missing) > self._max_missing * len(wanted) or len(missing) == len(wanted):
            raise DecodeError(
                f"{self.name}: {len(missing)} of {len(wanted)} frames cannot be decoded; "
                f"at most {self._max_missing:.0%} may be filled with their neighbours",
                "damaged",
            )
        came = np.setdiff1d(np.arange(len(wanted)), missing)
        for row in missing:
            pictures[row] = pictures[came[np.argmin(np.abs(wanted[came] - wanted[row]))]]

    def _decode_wanted(self, indices: Iterable[int]) -> Iterator[tuple[int, VideoFrame]]:
        """Frames with their display indices, run by run; others than the wanted ones may come along."""
        if not self._table.is_timed:
            yield from self._decode_linear()
            return
        shown = self._table.shown
        index_of = {shown[index]: index for index in indices}
        at_pts = {self._table.pts[number]: index for number, index in index_of.items()}
        # The h264 decoder forgets on a seek which encoder made the stream, and 4:4:4 of older x264 needs that.
        is_bound = self.codec == "h264" and "444" in (self._decoder.pix_fmt or "")
        for run in self._table.runs(sorted(index_of), from_start=is_bound):
            due = set(run.wanted)
            # H.264 also marks as keyframes the points from which pictures are refreshed bit by bit, and what is
            # decoded from there is wrong at first: only a whole picture at the entry makes the others exact.
            entry_pts = self._table.pts[run.first] if run.first and self.codec == "h264" else None
            for frame in self._decode(run.first, run.wanted[-1] + 1, due):
                if entry_pts is not None and frame.pts is not None and frame.pts >= entry_pts:
                    if frame.pts > entry_pts or frame.pict_type != PictureType.I:
                        break
                    entry_pts = None
                index = at_pts.get(frame.pts)
                if index is not None:
                    yield index, frame
                    due.discard(shown[index])
                    if not due:
                        break

    def _decode_linear(self) -> Iterator[tuple[int, VideoFrame]]:
        """Every frame that the decoder gives for the whole stream, with its display index."""
        at_pts = {self._table.pts[number]: index for index, number in enumerate(self._table.shown)}
        for count, frame in enumerate(self._decode(0, len(self._table.pts))):
            index = at_pts.get(frame.pts) if self._table.is_timed else count
            if index is not None:
                yield index, frame

    def _decode(self, first: int, stop: int, wanted: Iterable[int] = ()) -> Iterator[VideoFrame]:
        """Decode packets ``first`` to ``stop - 1``; given the wanted ones, skip others that none refers to."""
        packets = self._packets(first, stop)
        decoder = self._decoder
        decoder.flush_buffers()
        needed = set(wanted)
        may_skip = bool(needed) and self.codec in _SKIPPABLE_CODECS
        decoder.skip_frame = "DEFAULT"
        is_skipping = False
        for number, packet in enumerate(packets, first):
            if may_skip and is_skipping == (number in needed):
                is_skipping = not is_skipping
                decoder.skip_frame = "NONREF" if is_skipping else "DEFAULT"
            try:
                yield from decoder.decode(packet)
            except av.FFmpegError:
                continue  # a damaged picture: what does not come is counted by the reader
        try:
            yield from decoder.decode(None)
        except av.FFmpegError:
            return

    def _packets(self, first: int, stop: int) -> Iterator[Packet[VideoStream]]:
        if self._table.kept:
            return islice(self._table.kept, first, stop)
        if first and (packets := self._seek(first)) is not None:
            return islice(packets, stop - first)
        self._container.close()
        self._open()
        return islice(demux(self._container, self._stream), first, stop)

    def _seek(self, first: int) -> Iterator[Packet[VideoStream]] | None:
        """Packets from number ``first`` on, or None where the container cannot be brought to or before it."""
        target = self._table.dts[first]
        target = self._table.pts[first] if target is None else target
        if target is None:
            return None
        self._container.seek(target, stream=self._stream)
        packets = demux(self._container, self._stream)
        landed = next(packets, None)
        if landed is None:
            return None
        number = self._number_of_pts.get(landed.pts)
        if number is None or number > first:
            return None
        return islice(chain([landed], packets), first - number, None)

    @cached_property
    def _number_of_pts(self) -> dict[int | None, int]:
        return {pts: number for number, pts in enumerate(self._table.pts)}
