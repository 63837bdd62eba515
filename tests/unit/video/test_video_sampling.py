import gzip
import json
from pathlib import Path

import numpy as np
import pytest
from pydantic import TypeAdapter, ValidationError

from kinoray.errors import DataError
from kinoray.video.sampling import (
    AnySampling,
    ClipSampling,
    SamplingConfig,
    SegmentSampling,
    clip_indices,
    random_offsets,
    spread_offsets,
)

GOLDEN = Path(__file__).resolve().parents[3].parent / "shared" / "golden" / "sampling.json.gz"
NAMES = {"twice_sample": "twice", "out_of_bound_opt": "out_of_bound"}


def golden_cases(*, seeded):
    if not GOLDEN.exists():
        pytest.skip("the reference indices are not on this machine")
    with gzip.open(GOLDEN, "rt") as file:
        cases = json.load(file)
    for case in cases:
        args = {NAMES.get(key, key): value for key, value in case["args"].items() if key != "test_mode"}
        is_ours = case["transform"] == "SampleFrames" and args.keys() <= ClipSampling.model_fields.keys()
        if is_ours and ("np_random_seed" in case) == seeded:
            expected = np.array(case["frame_inds"]).reshape(-1, args["clip_len"]) - case["input"]["start_index"]
            yield args, case["input"]["total_frames"], expected


def test_test_indices_equal_the_references():
    cases = list(golden_cases(seeded=False))
    assert len(cases) > 200
    for args, num_frames, expected in cases:
        np.testing.assert_array_equal(
            ClipSampling(**args).indices(num_frames, 30.0, None), expected, err_msg=f"{args} of {num_frames} frames"
        )


def test_segments_in_tests_are_the_references_single_frame_clips():
    num_checked = 0
    for args, num_frames, expected in golden_cases(seeded=False):
        if args["clip_len"] == 1:
            twice = args.get("twice", False)
            picked = SegmentSampling(num_segments=args["num_clips"], twice=twice).indices(num_frames, 30.0, None)
            np.testing.assert_array_equal(picked, expected.reshape(2 if twice else 1, -1))
            num_checked += 1
    assert num_checked > 20


def test_training_offsets_stay_where_the_references_can_be():
    """Each clip's start, over many draws, spans what the reference's single draw lies in."""
    num_cases = 0
    for args, num_frames, expected in golden_cases(seeded=True):
        config = ClipSampling(**args)
        draws = np.stack([config.indices(num_frames, 30.0, np.random.default_rng(seed))[:, 0] for seed in range(60)])
        span = args["clip_len"] * args["frame_interval"]
        slack = max((num_frames - span + 1) // args["num_clips"], 1) * 0.2
        if (num_frames - span + 1) // args["num_clips"] <= 0 and num_frames > max(args["num_clips"], span):
            slack = num_frames  # sorted free draws: only the range of the whole is sharp
        assert (expected[:, 0] >= draws.min(axis=0) - slack).all(), (args, num_frames)
        assert (expected[:, 0] <= draws.max(axis=0) + slack).all(), (args, num_frames)
        np.testing.assert_array_equal(
            (draws[0][:, None] + np.arange(args["clip_len"]) * args["frame_interval"]) % num_frames,
            config.indices(num_frames, 30.0, np.random.default_rng(0)),
        )
        num_cases += 1
    assert num_cases > 150


def test_training_offsets_are_uniform_in_their_interval():
    rng = np.random.default_rng(0)
    draws = np.stack([random_offsets(100, 21, 4, rng) for _ in range(4000)])
    for clip in range(4):
        values, counts = np.unique(draws[:, clip], return_counts=True)
        np.testing.assert_array_equal(values, np.arange(20) + 20 * clip)
        assert abs(counts - 200).max() < 75


@pytest.mark.parametrize(
    ("num_frames", "span", "num_clips", "allowed"),
    [
        (10, 8, 5, {0, 1, 2}),  # fewer starts than clips, longer than a clip: free draws
        (8, 8, 3, {0, 1}),  # exactly one start: spread evenly, rounded
        (5, 8, 3, {0}),  # shorter than a clip
    ],
)
def test_training_offsets_of_short_videos(num_frames, span, num_clips, allowed):
    draws = [random_offsets(num_frames, span, num_clips, np.random.default_rng(seed)) for seed in range(50)]
    assert {int(start) for draw in draws for start in draw} == allowed
    assert all((np.diff(draw) >= 0).all() for draw in draws)


def test_fewer_frames_than_segments_are_spread_evenly():
    picked = SegmentSampling(num_segments=8).indices(4, 30.0, np.random.default_rng(0))
    assert picked.tolist() == [[0, 0, 1, 2, 2, 2, 3, 0]]  # rounded to even, and past the end it starts over


def test_segments_take_one_frame_of_each_segment():
    draws = [SegmentSampling(num_segments=5).indices(50, 30.0, np.random.default_rng(seed)) for seed in range(200)]
    assert {draw.shape for draw in draws} == {(1, 5)}
    assert all((draw[0] // 10 == np.arange(5)).all() for draw in draws)
    assert {int(draw[0, 0]) for draw in draws} == set(range(10))


def test_one_clip_twice_is_the_centre_twice():
    assert spread_offsets(30, 10, 1, twice=True).tolist() == [10, 10]


def test_past_the_end():
    starts = np.array([3, 9])
    given = {"clip_len": 4, "frame_interval": 3}
    assert clip_indices(starts, 10, **given, out_of_bound="loop").tolist() == [[3, 6, 9, 2], [9, 2, 5, 8]]
    assert clip_indices(starts, 10, **given, out_of_bound="repeat_last").tolist() == [[3, 6, 9, 9], [9, 9, 9, 9]]


def test_same_generator_same_indices():
    config = ClipSampling(clip_len=8, frame_interval=4, num_clips=3)
    first, again, other = (config.indices(300, 30.0, np.random.default_rng(seed)) for seed in (7, 7, 8))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()
    assert first.dtype == np.int64


@pytest.mark.parametrize("config", [ClipSampling(clip_len=4), SegmentSampling(num_segments=3)])
@pytest.mark.parametrize("rng", [None, np.random.default_rng(0)])
def test_no_frames_is_an_error(config, rng):
    with pytest.raises(DataError, match="0 frames"):
        config.indices(0, 30.0, rng)


def test_kinds():
    picked = TypeAdapter(AnySampling)
    assert picked.validate_python({"clip_len": 4}) == ClipSampling(clip_len=4)
    segments = picked.validate_python({"kind": "segments", "num_segments": 3})
    assert isinstance(segments, SegmentSampling)
    assert isinstance(segments, SamplingConfig)
    with pytest.raises(ValidationError, match="no sampling"):
        picked.validate_python({"kind": "haphazard"})


@pytest.mark.parametrize(
    "bad", [{"clip_len": 0}, {"clip_len": 4, "num_clips": 0}, {"clip_len": 4, "frame_interval": 0}]
)
def test_bounds(bad):
    with pytest.raises(ValidationError, match="greater than 0"):
        ClipSampling(**bad)
