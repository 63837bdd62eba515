"""A few damaged videos in this process, proof that the fuzzer finds what it looks for, and the videos as they were."""

import sys
from collections import Counter
from pathlib import Path

import av
import numpy as np
import pytest

from kinoray.errors import DecodeError
from kinoray.video.decode import VideoReader
from kinoray.video.limits import Limits
from kinoray.video.packets import PacketIndex

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "benchmarks"))
sys.path.insert(0, str(Path(__file__).parent / "helpers"))

import fuzz  # after the path is set
from bad_reading import crash_or_hang


@pytest.fixture(scope="module", autouse=True)
def small_videos(tmp_path_factory):
    folder = fuzz.SMALL_FOLDER
    fuzz.SMALL_FOLDER = tmp_path_factory.mktemp("fuzz")
    fuzz.make_small_videos()
    yield
    fuzz.SMALL_FOLDER = folder
    fuzz._content.cache_clear()


@pytest.mark.parametrize("file", [clip.file for clip in fuzz.SMALL_CLIPS])
@pytest.mark.parametrize("is_kept", [True, False], ids=["packets kept", "packets read again"])
def test_undamaged_videos_are_read_exactly(file, is_kept):
    path = str(fuzz.SMALL_FOLDER / file)
    with av.open(path) as container:
        expected = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    limits = Limits() if is_kept else Limits(num_bytes_kept=0)
    rng = np.random.default_rng(0)
    index = None
    for _ in range(2):  # then with the index that the first reading learnt
        with VideoReader(path, index=index, limits=limits) as video:
            assert video.num_frames == len(expected)
            for _ in range(4):
                wanted = rng.integers(len(expected), size=3)
                for number, picture in zip(wanted, video.read(wanted).data, strict=True):
                    np.testing.assert_array_equal(picture, expected[number], err_msg=f"frame {number}")
            assert video.num_filled == 0
            index = PacketIndex.from_bytes(video.packet_index().to_bytes())


def test_damaged_videos_are_read_or_refused(tmp_path):
    outcomes = [fuzz.read_one(seed, tmp_path) for seed in range(60)]
    assert [outcome for outcome in outcomes if outcome.is_finding] == []
    assert max(outcome.seconds for outcome in outcomes) < 10
    counts = Counter(outcome.what for outcome in outcomes)
    assert counts["read"] >= 10
    assert counts["error unreadable"] >= 5
    assert list(tmp_path.iterdir()) == []


def test_a_seed_always_makes_the_same_file():
    for seed in range(10):
        assert fuzz.damaged(seed) == fuzz.damaged(seed)
    assert len({fuzz.damaged(seed)[1] for seed in range(10)}) == 10


@pytest.mark.parametrize(
    ("error", "what"),
    [
        (ValueError("a.mp4: odd"), "wrong error"),
        (MemoryError(), "wrong error"),
        (DecodeError("a video cannot be read", "damaged"), "unnamed"),
    ],
)
def test_wrong_errors_are_found(tmp_path, monkeypatch, error, what):
    def fail(*_, **__):
        raise error

    monkeypatch.setattr(fuzz, "VideoReader", fail)
    outcome = fuzz.read_one(0, tmp_path)
    assert (outcome.what, outcome.is_finding) == (what, True)


def test_crashes_and_hangs_are_found():
    outcomes = {outcome.seed: outcome for outcome in fuzz.read_apart(range(5), 2, crash_or_hang, hang_seconds=2.0)}
    assert [outcomes[seed].what for seed in range(5)] == ["read", "crash", "hang", "read", "read"]
    assert outcomes[1].detail == "exit code -11"


def test_headers_that_promise_no_frame_are_not_believed(tmp_path):
    """An AVI whose every header was damaged so that it shows nothing; found by this fuzzer."""
    assert not fuzz.read_one(101837, tmp_path).is_finding
