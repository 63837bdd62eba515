import dataclasses
import json
import zlib
from dataclasses import dataclass

import numpy as np
import pytest

from kinoray.errors import DecodeError
from kinoray.video.decode import VideoReader
from kinoray.video.packets import _MAGIC, _PACKET_BYTES, NO_TIME, PacketIndex, PacketTable, Run, list_packets


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


def listing_of(
    *packets, format_name="mov,mp4,m4a,3gp,3g2,mj2", codec="h264", has_b_frames=True, max_kept_bytes=1 << 20
):
    return list_packets(
        packets, format_name=format_name, codec=codec, has_b_frames=has_b_frames, max_kept_bytes=max_kept_bytes
    )


def table_of(*packets, **how):
    return listing_of(*packets, **how).table


def plain_table(pts, keys, **facts):
    pts = np.array(pts, np.int64)
    table = PacketTable(pts, pts, np.array(keys, np.int64), pts[:0], 0, is_timed=True, **facts)
    return table.showing(np.argsort(pts))


def test_display_order_is_by_time_and_leaves_out_discarded_packets():
    key = FakePacket(0, is_keyframe=True, is_discard=True)
    table = table_of(key, FakePacket(3), FakePacket(1), FakePacket(2), FakePacket(6))
    assert table.shown.tolist() == [2, 3, 1, 4]
    assert table.ranks.tolist() == [-1, 2, 0, 1, 3]
    assert (table.num_frames, table.is_timed, table.is_doubtful, table.keys.tolist()) == (4, True, False, [0])


def test_nothing_is_listed_of_an_empty_stream():
    assert len(table_of()) == 0


def test_packets_are_kept_up_to_a_limit():
    packets = [FakePacket(0, is_keyframe=True), FakePacket(1)]
    limit = 2 * (100 + _PACKET_BYTES)
    assert listing_of(*packets, max_kept_bytes=limit).kept == packets
    assert listing_of(*packets, max_kept_bytes=limit - 1).kept == []


@pytest.mark.parametrize(
    ("packets", "how"),
    [
        ([FakePacket(0, is_keyframe=True), FakePacket(None)], {}),
        ([FakePacket(0, is_keyframe=True), FakePacket(1), FakePacket(1)], {}),
        ([FakePacket(0, is_keyframe=True), FakePacket(1)], {"format_name": "avi"}),
    ],
    ids=["no time", "same time", "h264 in avi"],
)
def test_frames_are_counted_where_times_mean_nothing(packets, how):
    table = table_of(*packets, **how)
    assert (table.is_timed, table.is_doubtful, table.shown.tolist()) == (False, True, [])
    table = table.showing([1, 0])
    assert (table.is_timed, table.is_doubtful, table.shown.tolist(), table.num_frames) == (False, False, [1, 0], 2)


@pytest.mark.parametrize("numbers", [[0, 0], [0, None]], ids=["two of one packet", "of none"])
def test_frames_that_no_packet_names_are_only_counted(numbers):
    table = table_of(FakePacket(0, is_keyframe=True), FakePacket(None)).showing(numbers)
    assert (table.num_frames, table.shown.tolist()) == (2, [])


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
    rising = table.showing([1, 2])
    assert (rising.shown.tolist(), rising.num_frames, rising.is_timed) == ([1, 2], 2, True)
    assert not table.showing([2, 1]).is_timed


def test_decoding_starts_at_no_packet_that_is_not_shown():
    table = plain_table([0, 1, 2, 3], [0, 1, 2]).showing([0, 2, 3])
    assert table.keys.tolist() == [0, 2]
    assert table.keyframes.tolist() == [0, 1]


def test_runs_start_at_keyframes_and_merge_where_nothing_is_skipped():
    table = plain_table(range(40), [0, 10, 20, 30])
    assert table.runs([3, 7, 12, 35], from_start=False) == [Run(0, [3, 7]), Run(10, [12]), Run(30, [35])]
    assert table.runs([9, 10], from_start=False) == [Run(0, [9, 10])]
    assert table.runs([25, 35], from_start=True) == [Run(0, [25, 35])]


def test_a_leading_picture_needs_the_keyframe_before():
    table = plain_table([0, 1, 2, 5, 3, 4, 6], [0, 3])
    assert table.runs([4], from_start=False) == [Run(0, [4])]
    assert table.runs([6], from_start=False) == [Run(3, [6])]
    assert table.keyframes.tolist() == [0, 5]


def index_of(table):
    return PacketIndex(
        num_bytes=1234,
        codec="h264",
        height=48,
        width=64,
        fps=30000 / 1001,
        tick_seconds=1 / 90000,
        start_seconds=0.1,
        from_start=False,
        table=table,
    )


@pytest.mark.parametrize("is_timed", [True, False])
def test_an_index_survives_packing(is_timed):
    rng = np.random.default_rng(0)
    pts = np.cumsum(rng.integers(2000, 4000, 10_000))
    dts = np.concatenate([[NO_TIME], pts[:-1]])
    shown = np.arange(1, 10_000)
    rng.shuffle(shown.reshape(-1, 11), axis=1)
    pts[shown] = np.sort(pts[shown])
    table = PacketTable(pts, dts, np.arange(0, 10_000, 12), shown, 9_999, is_timed=is_timed, may_skip=False)
    index = index_of(table)
    packed = index.to_bytes()
    assert len(packed) < 9 * len(pts)
    copy = PacketIndex.from_bytes(packed)
    for field in dataclasses.fields(PacketTable):
        np.testing.assert_array_equal(getattr(copy.table, field.name), getattr(table, field.name))
    assert {**vars(copy), "table": None} == {**vars(index), "table": None}
    np.testing.assert_array_equal(copy.pts_seconds, index.pts_seconds)


def test_an_index_of_even_frames_is_small():
    table = plain_table(np.arange(3000) * 512, [0, 250])
    assert len(index_of(table).to_bytes()) < 0.3 * 3000


def test_times_count_from_the_start_of_the_file():
    table = plain_table([90_000, 180_000], [0])
    np.testing.assert_allclose(index_of(table).pts_seconds, [0.9, 1.9])
    np.testing.assert_allclose(dataclasses.replace(index_of(table), start_seconds=5.0).pts_seconds, [0, 1])


@pytest.mark.parametrize("spoil", [lambda b: b"", lambda b: b"KNRX\x02" + b[5:], lambda b: b[:-9], lambda b: b[:5]])
def test_what_is_no_index(spoil):
    packed = index_of(plain_table([0, 1, 2], [0])).to_bytes()
    with pytest.raises(DecodeError, match=r"packet index: cannot be read .* run jobs/prepare.py again") as caught:
        PacketIndex.from_bytes(spoil(packed))
    assert caught.value.reason == "index"


@pytest.fixture(scope="module")
def parts(movie):
    """Facts and columns of an honest index."""
    with VideoReader(movie) as video:
        packed = video.packet_index().to_bytes()
    head, _, body = zlib.decompress(packed[len(_MAGIC) :]).partition(b"\n")
    return json.loads(head), np.frombuffer(body, "<i8")


def packed_of(facts, columns):
    return _MAGIC + zlib.compress(json.dumps(facts).encode() + b"\n" + columns.tobytes())


@pytest.mark.parametrize(
    "false",
    [
        *({"num_frames": number} for number in (0, -1, 59, 61, 1 << 60, 60.0, "60", None)),
        *(
            {name: value}
            for name in ("fps", "tick_seconds")
            for value in (0, -1, float("nan"), float("inf"), "a", None)
        ),
        *({name: value} for name in ("height", "width") for value in (0, -1, 48.5, "a", None)),
        *({"start_seconds": value} for value in (float("nan"), float("inf"), None)),
        *({"lengths": value} for value in (7, [60, 5], [-60, 5, 60], [1 << 70, 0, 0], [60, 5, 0])),
    ],
    ids=str,
)
def test_facts_that_cannot_be(parts, false):
    facts, columns = parts
    PacketIndex.from_bytes(packed_of(facts, columns))
    with pytest.raises(DecodeError, match=r"packet index: cannot be read \(.*\); run jobs/prepare\.py again") as caught:
        PacketIndex.from_bytes(packed_of(facts | false, columns))
    assert caught.value.reason == "index"


@pytest.mark.parametrize(
    ("place", "number"), [(120, -1), (120, 1 << 40), (121, 0), (125, -1), (125, 60), (124, 1 << 62)]
)
def test_packets_that_cannot_be(parts, place, number):
    facts, columns = parts
    assert facts["lengths"] == [60, 5, 60]
    forged = columns.copy()
    forged[place] = number
    with pytest.raises(DecodeError, match="its numbers contradict each other"):
        PacketIndex.from_bytes(packed_of(facts, forged))


def test_an_index_cannot_fill_the_memory():
    bomb = _MAGIC + zlib.compress(bytes(300 << 20))
    assert len(bomb) < 1 << 20
    with pytest.raises(DecodeError, match="too long"):
        PacketIndex.from_bytes(bomb)
    with pytest.raises(DecodeError, match="recursion"):
        PacketIndex.from_bytes(_MAGIC + zlib.compress(b"[" * 100_000))


def test_packets_that_hold_next_to_nothing_count_too():
    packets = [FakePacket(time, size=1) for time in range(100)]
    assert listing_of(*packets, max_kept_bytes=10_000).kept == []
