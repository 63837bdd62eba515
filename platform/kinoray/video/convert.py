"""Decoded frames to pictures, RGB or YUV planes: rotated, cropped, resized, mirrored.

All of it works on the decoder's own planes, so that only the picture that is wanted becomes RGB.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from av import VideoFrame
from av.video.reformatter import ColorPrimaries, ColorRange, Colorspace, ColorTrc, Interpolation, VideoReformatter

from kinoray.video.chain import Chain
from kinoray.video.frames import Box, Matrix

if TYPE_CHECKING:
    from av.video.plane import VideoPlane
    from numpy.typing import NDArray

    from kinoray.video.chain import Filter

# What planes are written from; gray, as it has no chroma, only for gray sources.
_YUV420 = "yuv420p|yuvj420p|gray"
# ...of which swscale takes these for full range, whatever their tags say.
_ALWAYS_FULL = {"yuvj420p", "gray"}
# Chroma of what has no colour.
_NO_COLOUR = 128
# What a resized picture may be before it becomes RGB; libavfilter takes the one nearest to the source.
_PLANES = "yuv420p|yuvj420p|yuv422p|yuvj422p|yuv444p|yuvj444p|gray|rgb24"
# The conversion to RGB works on blocks: a crop that starts at one converts as the same part of the full picture does.
_BLOCK = 4
# AVColorSpace: no matrix is stated; constant-luminance BT.2020, which differs in what 8 bits hardly show.
_UNSPECIFIED, _BT2020_CONSTANT = 2, 10
_MATRICES: dict[int, Matrix] = {Colorspace.ITU709: "bt709", Colorspace.BT2020: "bt2020"}
# What swscale takes for BT.601, besides that itself: no YUV at all (a false tag where there are YUV planes) and FCC,
# which differs from it by less than half a level.
_BT601 = {0, _UNSPECIFIED, Colorspace.FCC, Colorspace.ITU601, 6}
_CONVERTIBLE = {*_BT601, *_MATRICES, Colorspace.SMPTE240M}
# Counterclockwise quarter turns. The vertical flip turns the lines in memory upside down, so it never comes last.
_TURNS: tuple[tuple[Filter, ...], ...] = (
    (),
    (("transpose", "cclock"),),
    (("vflip", ""), ("hflip", "")),
    (("transpose", "clock"),),
)
_MIRROR: tuple[Filter, ...] = (("hflip", ""),)
_TO_RGB: tuple[Filter, ...] = (("scale", "flags=bilinear"), ("format", "rgb24"))


class Converter:
    """Turns the frames of one video into pictures of one size.

    Frames whose coded size differs from the first one's (streams that change their resolution) are brought to the
    displayed size first.

    Planes are 8-bit YUV 4:2:0, one row of chroma to two of luma, chroma centred between them. Without a ``size`` they
    are the decoder's own samples where the video is such, and the crop is widened outwards to even edges (or the
    picture's), which is before it is mirrored. Turned or mirrored, an odd width or height puts the chroma off by at
    most a pixel.

    Args:
        displayed: ``(height, width)`` of the picture as it is shown.
        crop: what to cut out, None for the whole picture.
        size: ``(height, width)`` to resize to, bilinear; None keeps the crop's own.
        mirror: whether to exchange left and right, last of all.
        planes: give YUV planes, not RGB.

    Attributes:
        shape: of what ``convert`` writes, ``(H, W, 3)`` or for planes ``(B,)``: Y, then U, then V, row by row.
        height: H.
        width: W.
        matrix: which YUV the planes are: what conversion to RGB would take them for. Known after the first frame.
        is_full_range: of the planes. Known after the first frame.
    """

    def __init__(
        self,
        displayed: tuple[int, int],
        crop: Box | None,
        size: tuple[int, int] | None,
        *,
        mirror: bool = False,
        planes: bool = False,
    ) -> None:
        self._displayed = displayed
        self._crop = crop or Box(0, 0, *displayed)
        self._mirror = mirror
        self._is_planes = planes
        if planes and size is None:
            self._crop = self._crop.widened(displayed)
        self.height, self.width = size or (self._crop.height, self._crop.width)
        self.shape: tuple[int, ...] = (self.height, self.width, 3)
        if planes:
            self.shape = (self.height * self.width + 2 * -(-self.height // 2) * -(-self.width // 2),)
        self.matrix: Matrix = "bt601"
        self.is_full_range = False
        self._to_rgb = VideoReformatter()
        self._chains: dict[tuple[object, ...], Chain] = {}

    def convert(self, frame: VideoFrame, out: NDArray[np.uint8]) -> None:
        """Write the frame's picture into ``out``, of this converter's ``shape``."""
        _forget_unknown_colours(frame)
        key = (frame.width, frame.height, frame.format.name, frame.colorspace, frame.color_range, frame.rotation)
        chain = self._chains.get(key)
        if chain is None:
            chain = self._chains[key] = self._plan(frame)
        picture = chain.run(frame)
        if self._is_planes:
            self.matrix = _matrix(picture)
            self.is_full_range = picture.color_range == ColorRange.JPEG or picture.format.name in _ALWAYS_FULL
            _write_planes(picture, chain.window, out)
        else:
            rgb = self._to_rgb.reformat(picture, format="rgb24", interpolation=Interpolation.BILINEAR, threads=1)
            np.copyto(out, _rows(rgb.planes[0])[:, : 3 * self.width].reshape(self.shape))

    def _plan(self, frame: VideoFrame) -> Chain:
        """The filters for frames like this one; for RGB, what they give needs no more than conversion."""
        turns, is_mirrored = _orientation(frame)
        coded, size = _turned(self._displayed, turns), _turned((self.height, self.width), turns)
        crop = turn_back(self._crop, self._displayed, turns)
        if is_mirrored:
            crop = crop._replace(left=coded[1] - crop.left - crop.width)
        turning = [*(_MIRROR if is_mirrored else ()), *_TURNS[turns], *(_MIRROR if self._mirror else ())]
        window = Box(0, 0, self.height, self.width)
        is_resized = size != (crop.height, crop.width)
        filters: list[Filter] = []
        if (frame.height, frame.width) != coded:
            filters.append(("scale", f"{coded[1]}:{coded[0]}:flags=bilinear"))
        if is_resized:
            filters += self._resizing(frame, crop, size)
            # Planes are less to turn than RGB, but at an odd edge their chroma would come to lie on other pixels.
            is_even = self.height % 2 == self.width % 2 == 0
            filters += turning if self._is_planes or is_even or not turning else [*_TO_RGB, *turning]
        elif self._is_planes:
            if not _is_yuv420(frame):
                filters.append(("scale", f"flags=bilinear:out_color_matrix={_matrix(frame)}"))
            if filters or turning:
                filters.append(_format(frame, _YUV420))
            if turning:
                filters += [_cut(crop), *turning]
            else:
                window = crop
        elif turning or crop != (0, 0, *coded):
            wider = crop.widened(coded, _BLOCK)
            within = crop._replace(top=crop.top - wider.top, left=crop.left - wider.left)
            filters += [_cut(wider), *_TO_RGB, _cut(within), *turning]
        return Chain(frame, filters, window)

    def _resizing(self, frame: VideoFrame, crop: Box, size: tuple[int, int]) -> list[Filter]:
        """Cut out ``crop``, in the coded picture, and bring it to ``(height, width)``, as planes."""
        # Pixels of luma to one of chroma; how far the crop starts past a whole one of chroma.
        grid_x, grid_y = 1024 // frame.format.chroma_width(1024), 1024 // frame.format.chroma_height(1024)
        past_x, past_y = crop.left % grid_x, crop.top % grid_y
        filters: list[Filter] = []
        if (past_x or past_y) and frame.format.components[0].bits > 8:
            filters.append(("format", _PLANES))  # the crop filter would start amid the bytes of a chroma sample
        scale = f"{size[1]}:{size[0]}:flags=bilinear:in_h_chr_pos={_chroma_centre(grid_x, past_x)}"
        scale += f":in_v_chr_pos={_chroma_centre(grid_y, past_y)}"
        if self._is_planes:
            scale += f":out_color_matrix={_matrix(frame)}"
        return [*filters, _cut(crop), ("scale", scale), _format(frame, _YUV420 if self._is_planes else _PLANES)]


def quarter_turns(frame: VideoFrame) -> int:
    """How often to turn the frame counterclockwise by 90 degrees, as its display matrix asks: 0..3."""
    return round(frame.rotation / 90) % 4


def _orientation(frame: VideoFrame) -> tuple[int, bool]:
    """Quarter turns counterclockwise to display the frame, and whether left and right are exchanged before them."""
    turns = quarter_turns(frame)
    try:
        matrix: Any = frame.side_data.get("DISPLAYMATRIX")
    except ValueError:  # PyAV knows not all kinds of side data, such as the Exif tags of a JPEG
        matrix = None
    if matrix is None:
        return turns, False
    across_x, across_y, _, down_x, down_y = np.frombuffer(matrix, np.int32)[:5].tolist()
    # Where it mirrors, the angle that FFmpeg tells is that of the mirrored picture's left-to-right.
    return ((turns + 2) % 4, True) if across_x * down_y < across_y * down_x else (turns, False)


def _turned(size: tuple[int, int], turns: int) -> tuple[int, int]:
    """``(height, width)`` after as many quarter turns."""
    return (size[1], size[0]) if turns % 2 else size


def turn_back(box: Box, displayed: tuple[int, int], turns: int) -> Box:
    """Where a box of the displayed picture lies in the coded picture.

    Args:
        box: in the displayed picture.
        displayed: ``(height, width)`` of the displayed picture.
        turns: counterclockwise quarter turns from the coded to the displayed picture.
    """
    height, width = displayed
    for _ in range(turns):
        box = Box(box.left, height - box.top - box.height, box.width, box.height)
        height, width = width, height
    return box


def _forget_unknown_colours(frame: VideoFrame) -> None:
    """Take from the frame the tags that swscale would refuse, and those that would not change the picture."""
    if frame.colorspace not in _CONVERTIBLE:
        frame.colorspace = Colorspace.BT2020 if frame.colorspace == _BT2020_CONSTANT else _UNSPECIFIED
    frame.color_trc = ColorTrc.UNSPECIFIED
    frame.color_primaries = ColorPrimaries.UNSPECIFIED


def _matrix(frame: VideoFrame) -> Matrix:
    """Which YUV the planes of this frame are, or become: BT.601 where they are none of the three."""
    return _MATRICES.get(frame.colorspace, "bt601")


def _is_yuv420(frame: VideoFrame) -> bool:
    """Whether the frame's planes are such as are asked for."""
    return frame.format.name in _YUV420.split("|") and frame.colorspace != Colorspace.SMPTE240M


def _cut(box: Box) -> Filter:
    return "crop", f"{box.width}:{box.height}:{box.left}:{box.top}:exact=1"


def _format(frame: VideoFrame, choice: str) -> Filter:
    """The filter for one of these formats: the frame's own where it may be, which saves libavfilter the search."""
    return "format", frame.format.name if frame.format.name in choice.split("|") else choice


def _chroma_centre(grid: int, past: int) -> int:
    """Where the first chroma sample's centre lies, in 1/256 pixel of luma from the first one's.

    Args:
        grid: pixels of luma to one of chroma, along this axis.
        past: pixels of luma by which the crop starts after the chroma sample does.
    """
    return 128 * (grid - 1) - 256 * past


def _write_planes(frame: VideoFrame, box: Box, out: NDArray[np.uint8]) -> None:
    """Write the part ``box`` of the planes of a 4:2:0 or gray frame one after the other into ``out``, ``(B,)``."""
    start = 0
    for plane, grid in zip(frame.planes, (1, 2, 2), strict=False):
        top, left = box.top // grid, box.left // grid
        height, width = -(-box.height // grid), -(-box.width // grid)
        stop = start + height * width
        out[start:stop].reshape(height, width)[:] = _rows(plane)[top : top + height, left : left + width]
        start = stop
    out[start:] = _NO_COLOUR


def _rows(plane: VideoPlane) -> NDArray[np.uint8]:
    """``(rows, bytes)`` view of a plane, the padding at the end of its rows included."""
    rows = np.frombuffer(memoryview(plane), np.uint8).reshape(-1, abs(plane.line_size))
    return rows if plane.line_size > 0 else rows[::-1]
