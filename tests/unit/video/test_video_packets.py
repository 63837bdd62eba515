from dataclasses import dataclass

import pytest

from kinoray.video.packets import PacketTable, Run, demux, read_table


@dataclass
class FakePacket:
    pts: int | None
    is_keyframe: bool = False
    size: int = 100
    is_discard: bool = False
    is_corrupt: bool = False

    @property
    def dts(self):
        return self.pts


def table_of(*packets, format_name="mov,mp4,m4a,3gp,3g2,mj2", codec="h264", has_b_frames=True):
    return read_table(packets, format_name=format_name, codec=codec, has_b_frames=has_b_frames)


def test_display_order_is_by_time_and_leaves_out_discarded_packets():
    key = FakePacket(0, is_keyframe=True, is_discard=True)
    table = table_of(key, FakePacket(3), FakePacket(1), FakePacket(2), FakePacket(6))
    assert table.shown == [2, 3, 1, 4]
    assert (table.is_timed, table.is_doubtful, table.keys, table.num_bytes) == (True, False, [0], 500)


@pytest.mark.parametrize(
    ("packets", "how"),
    [
        ([FakePacket(0, is_keyframe=True), FakePacket(None)], {}),
        ([FakePacket(0, is_keyframe=True), FakePacket(1), FakePacket(1)], {}),
        ([FakePacket(0, is_keyframe=True), FakePacket(1)], {"format_name": "avi"}),
        ([FakePacket(0, is_keyframe=True), FakePacket(1)], {"format_name": "avi", "codec": "mpeg4"}),
    ],
    ids=["no time", "same time", "h264 in avi", "B-frames in avi"],
)
def test_frames_are_counted_where_times_mean_nothing(packets, how):
    table = table_of(*packets, **how)
    assert (table.is_timed, table.is_doubtful, table.shown) == (False, True, [])
    table.show([0, 1])
    assert table.shown == []


@pytest.mark.parametrize(
    "packets",
    [
        [FakePacket(0), FakePacket(1, is_keyframe=True), FakePacket(2)],
        [FakePacket(1, is_keyframe=True), FakePacket(0), FakePacket(2)],
        [FakePacket(0, is_keyframe=True), FakePacket(1), FakePacket(2, is_corrupt=True)],
    ],
    ids=["no keyframe first", "leading picture", "cut off"],
)
def test_doubtful_packets_are_shown_if_they_decode(packets):
    table = table_of(*packets)
    assert (table.is_timed, table.is_doubtful) == (True, True)
    table.show([1, 2])
    assert [table.pts[number] for number in table.shown] == [1, 2]
    table.show([2, 1])
    assert not table.is_timed


def test_runs_start_at_keyframes_and_merge_where_nothing_is_skipped():
    table = PacketTable(pts=list(range(40)), keys=[0, 10, 20, 30])
    assert table.runs([3, 7, 12, 35], from_start=False) == [Run(0, [3, 7]), Run(10, [12]), Run(30, [35])]
    assert table.runs([9, 10], from_start=False) == [Run(0, [9, 10])]
    assert table.runs([25, 35], from_start=True) == [Run(0, [25, 35])]


def test_a_leading_picture_needs_the_keyframe_before():
    table = PacketTable(pts=[0, 1, 2, 5, 3, 4, 6], keys=[0, 3])
    assert table.runs([4], from_start=False) == [Run(0, [4])]
    assert table.runs([6], from_start=False) == [Run(3, [6])]


def test_a_stream_that_shows_up_late_is_passed_over():
    class Container:
        def __init__(self):
            self.left = [FakePacket(0), "late", FakePacket(1), FakePacket(None, size=0)]

        def demux(self, stream):
            while self.left:
                packet = self.left.pop(0)
                if packet == "late":
                    raise IndexError("list index out of range")
                yield packet

    assert [packet.pts for packet in demux(Container(), None)] == [0, 1]
