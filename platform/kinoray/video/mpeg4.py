"""Which packets of an MPEG-4 Part 2 stream become frames, and in which order, told from their headers.

AVI has no timestamps for reordered frames, and DivX packs a B-frame into the packet of the frame before it, followed by
a packet that holds nothing. Decoding would tell the order too, at the price of decoding everything.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable

    from typing_extensions import Buffer

_VOP_START = b"\x00\x00\x01\xb6"
_B_VOP = 2
# What an encoder writes that packs B-frames; FFmpeg heeds them only then.
_PACKS = re.compile(rb"DivX\d+(?:Build|b)\d+p")
# FFmpeg takes a packet of at most 19 bytes for the empty one that stands where a packed B-frame is shown.
MIN_PICTURE_BYTES = 20


class FrameOrder(NamedTuple):
    """The frames of a stream, each named by the packet that makes the decoder decode it.

    Attributes:
        numbers: of packets, in the order in which their frames are shown.
        late: packets at which decoding cannot start, since the frame decoded there came with an earlier one.
        may_skip: whether the decoder may leave out B-frames: where one comes in the packet of another B-frame, it
            would forget that other.
    """

    numbers: list[int]
    late: set[int]
    may_skip: bool


def frame_order(packets: Iterable[Buffer], *, has_b_frames: bool) -> FrameOrder | None:
    """Follow a stream's headers the way FFmpeg's decoder does.

    Args:
        packets: of the whole stream, in decoding order.
        has_b_frames: whether the stream's header allows them.

    Returns:
        None where only decoding tells.
    """
    numbers: list[int] = []
    late: set[int] = set()
    may_skip = True
    packed: int | None = None  # the kind of a B-frame that came in the packet of another frame
    anchors: list[int] = []  # I- and P-frames; each is shown when the next one comes
    packs = False
    for number, packet in enumerate(packets):
        content = bytes(packet)
        packs = packs or _PACKS.search(content, 0, 256) is not None
        kinds = _vop_kinds(content)
        is_empty = len(content) < MIN_PICTURE_BYTES
        if not kinds and is_empty:
            continue
        if packed is not None:
            if len(kinds) != 1:
                return None
            late.add(number)
            may_skip &= is_empty
            kind, packed = packed, None if is_empty else kinds[0]
        elif is_empty or not (len(kinds) == 1 or (packs and kinds[1:] == [_B_VOP])):
            return None  # a tiny frame or none, a fragment, or more than a packed B-frame
        else:
            kind, packed = kinds[0], (kinds[1] if len(kinds) == 2 else None)
        if kind != _B_VOP:
            numbers.extend(anchors[-1:])
            anchors.append(number)
        elif has_b_frames and len(anchors) > 1:
            numbers.append(number)
        else:
            return None
    numbers.extend(anchors[-1:])
    return FrameOrder(numbers, late, may_skip)


def _vop_kinds(content: bytes) -> list[int]:
    """Coding types of the pictures in a packet: 0 for I, 1 for P, 2 for B, 3 for sprites."""
    kinds = []
    at = content.find(_VOP_START)
    while 0 <= at < len(content) - len(_VOP_START):
        kinds.append(content[at + len(_VOP_START)] >> 6)
        at = content.find(_VOP_START, at + len(_VOP_START))
    return kinds
