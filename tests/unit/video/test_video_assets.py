"""Real files of many kinds: what is read at random equals a linear decode, and damage never surprises."""

import hashlib
import json
import zlib
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np
import pytest

from kinoray.errors import DecodeError
from kinoray.video.decode import VideoReader
from kinoray.video.packets import PacketIndex

SHARED = Path(__file__).resolve().parents[3].parent / "shared"
FILES = sorted(path for folder in ("decoder", "decoder_derived") for path in (SHARED / "assets" / folder).glob("[!.]*"))
UNREADABLE = {
    "audio_only.mp4": "no_video",
    "corrupt_empty.mp4": "empty",
    "corrupt_html_error_page.mp4": "unreadable",
    "corrupt_random_bytes.mp4": "unreadable",
    "corrupt_truncated_no_moov.mp4": "unreadable",
}
DAMAGED = {"decord_corrupted.mp4", "corrupt_bitflips.mp4"}
NUM_PIXELS_COMPARED = 10_000_000
"""Of each file; the larger its pictures, the fewer of them."""


class Linear(NamedTuple):
    """What a plain decode of a whole file gives: a digest of every picture as RGB, and its time."""

    digests: list[int]
    seconds: list[float | None]


def digest(picture):
    return zlib.crc32(np.ascontiguousarray(picture))


def decode_all(path, wanted=None):
    """Digests of all pictures, or of the wanted ones, and every frame's time."""
    digests, seconds = [], []
    with av.open(str(path), metadata_errors="replace") as container:
        stream = container.streams.best("video")
        stream.codec_context.thread_count = 1
        for packet in container.demux(stream):
            try:
                frames = packet.decode()
            except av.FFmpegError:
                continue
            for frame in frames:
                is_wanted = wanted is None or len(digests) in wanted
                picture = frame.to_ndarray(format="rgb24") if is_wanted else None
                turns = round(frame.rotation / 90) % 4
                digests.append(digest(np.rot90(picture, turns)) if is_wanted else None)
                seconds.append(frame.pts and float(frame.pts * stream.time_base))
    return Linear(digests, seconds)


def index_lists(num_frames, num_wanted, rng):
    """Random lists of indices, together as long as wanted: clips, sparse ones in order, and any with repeats."""
    makers = [
        lambda: np.minimum(rng.integers(num_frames) + 2 * np.arange(12), num_frames - 1),
        lambda: np.sort(rng.integers(num_frames, size=4)),
        lambda: rng.choice(rng.integers(num_frames, size=3), size=5),
        lambda: num_frames - 1 - np.arange(min(num_frames, 6)),
    ]
    lists = [make() for make in makers]
    while sum(map(len, lists)) < num_wanted:
        lists.append(makers[rng.integers(len(makers))]())
    return lists


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_real_files(path):
    if path.name in UNREADABLE:
        with pytest.raises(DecodeError) as caught:
            VideoReader(str(path))
        assert caught.value.reason == UNREADABLE[path.name]
        return
    with VideoReader(str(path), max_missing=0.5 if path.name in DAMAGED else 0) as video:
        if path.name in DAMAGED:
            assert len(video.read(np.arange(video.num_frames))) == video.num_frames
            assert 0 < video.num_filled <= 0.1 * video.num_frames
            return
        packed = video.packet_index().to_bytes()
        assert len(packed) < 200 + 9 * video.num_frames
        rng = np.random.default_rng(zlib.crc32(path.name.encode()))
        lists = index_lists(video.num_frames, min(NUM_PIXELS_COMPARED // (video.width * video.height), 150), rng)
        expected = decode_all(path, set(np.concatenate(lists).tolist()))
        assert video.num_frames == len(expected.digests)
        with VideoReader(str(path), index=PacketIndex.from_bytes(packed)) as indexed:
            for number, indices in enumerate(lists):
                frames = (video, indexed)[number % 2].read(indices)
                wanted = [expected.digests[index] for index in indices]
                assert [digest(picture) for picture in frames.data] == wanted, indices
            assert (video.num_filled, indexed.num_filled) == (0, 0)


def shared_file(name):
    path = SHARED / "assets" / name
    if not path.exists():
        pytest.skip(f"the shared video {name} is not on this machine")
    return path


def test_frames_by_time_where_their_rate_varies():
    path = shared_file("decoder_derived/vfr_h264.mp4")
    expected = decode_all(path)
    shown_at = np.array(expected.seconds)
    assert len(set(np.diff(shown_at).round(4))) > 3
    rng = np.random.default_rng(0)
    times = np.concatenate([rng.uniform(shown_at[0], shown_at[-1] + 0.2, 60), shown_at])
    until_seconds = shown_at - times[:, None]
    times = times[~((until_seconds > 0) & (until_seconds < 0.001)).any(axis=1)]  # there, rounding decides
    with VideoReader(str(path)) as video:
        np.testing.assert_allclose(video.pts_seconds, shown_at - min(shown_at[0], 0))
        indices = video.frames_at(times)
        assert indices.tolist() == [np.flatnonzero(shown_at <= time)[-1] for time in times]
        frames = video.read(indices)
    assert [digest(picture) for picture in frames.data] == [expected.digests[index] for index in indices]
    np.testing.assert_array_equal(frames.pts_seconds, video.pts_seconds[indices])


def test_frames_are_the_references_to_the_bit():
    path = shared_file("decoder/mmaction2_demo_arm_wrestling.mp4")
    golden = SHARED / "golden" / "pipeline.json"
    if not golden.exists():
        pytest.skip("the reference frames are not on this machine")
    expected = json.loads(golden.read_text())["decode_pyav"]
    with VideoReader(str(path)) as video:
        assert video.num_frames == expected["total_frames"]
        frames = video.read(expected["indices"])
    digests = [hashlib.sha256(picture.tobytes()).hexdigest() for picture in frames.data]
    assert digests == [frame["sha256"] for frame in expected["frames"]]
