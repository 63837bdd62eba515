import pytest

from kinoray.video.mpeg4 import FrameOrder, frame_order

EMPTY = b"\x00\x00\x01\xb6\x57"
PACKED_MARK = b"\x00\x00\x01\xb2DivX503b1393p"


def packet(kinds, mark=b""):
    """A packet with pictures of these kinds ("PB" is a packed B-frame), "." for an empty picture."""
    if kinds == ".":
        return EMPTY
    return mark + b"".join(b"\x00\x00\x01\xb6" + bytes(["IPBS".index(kind) << 6]) + b"x" * 20 for kind in kinds)


def order_of(text, *, mark=PACKED_MARK, has_b_frames=True):
    kinds = text.split()
    packets = [packet(kinds[0], mark), *map(packet, kinds[1:])]
    return frame_order(packets, has_b_frames=has_b_frames)


def test_without_b_frames_packets_are_frames():
    assert order_of("I P P I P", mark=b"", has_b_frames=False) == FrameOrder([0, 1, 2, 3, 4], set(), True)


def test_b_frames_are_shown_before_the_frame_they_follow():
    assert order_of("I P B B P B", mark=b"") == FrameOrder([0, 2, 3, 1, 5, 4], set(), True)


def test_a_packed_frame_comes_with_the_empty_packet():
    assert order_of("I PB . P PB . I") == FrameOrder([0, 2, 1, 3, 5, 4, 6], {2, 5}, True)


def test_a_packed_frame_pushes_back_the_one_in_its_place():
    assert order_of("I PB B . P") == FrameOrder([0, 2, 3, 1, 4], {2, 3}, False)


def test_a_packet_of_nothing_is_no_frame():
    packets = [packet("I", PACKED_MARK), b"\x7f", packet("P")]
    assert frame_order(packets, has_b_frames=True) == FrameOrder([0, 2], set(), True)


@pytest.mark.parametrize(
    ("text", "how"),
    [
        ("I . P", {}),
        ("I PB PB .", {}),
        ("I PBB", {}),
        ("I PP", {}),
        ("I B P", {}),
        ("I PB .", {"mark": b""}),
        ("I P B", {"has_b_frames": False}),
    ],
    ids=[
        "a tiny frame or none",
        "a lost empty packet",
        "three at once",
        "two frames that others refer to",
        "a leading B-frame",
        "packed without a word",
        "no B-frames announced",
    ],
)
def test_what_only_decoding_tells(text, how):
    assert order_of(text, **how) is None


def test_a_fragment_is_left_to_the_decoder():
    assert frame_order([packet("I"), b"x" * 50], has_b_frames=True) is None
