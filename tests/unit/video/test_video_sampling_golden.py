"""All 795 reference cases of MMAction2's samplers: every one is run, and how many of each is stated."""

import gzip
import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from pydantic import TypeAdapter

from kinoray.video.sampling import AnySampling
from kinoray.video.sampling_math import LegacyDraws

GOLDEN = Path(__file__).resolve().parents[3].parent / "shared" / "golden" / "sampling.json.gz"

KINDS = {
    "SampleFrames": "clips",
    "DenseSampleFrames": "dense",
    "UniformSample": "uniform",
    "UniformSampleFrames": "stratified",
    "UntrimmedSampleFrames": "windows",
    "SampleAVAFrames": "moment",
}
FIELDS = {
    "twice_sample": "twice",
    "out_of_bound_opt": "out_of_bound",
    "temporal_jitter": "jitter",
    "keep_tail_frames": "keep_tail",
    "clip_interval": "stride",
}
# (transform, an argument beyond lengths and counts or "", how it is compared) -> cases
TOTALS = {
    ("SampleFrames", "", "tests"): 197,  # 20 of them count from 1 (start_index)
    ("SampleFrames", "twice_sample", "tests"): 40,
    ("SampleFrames", "out_of_bound_opt", "tests"): 20,
    ("SampleFrames", "target_fps", "tests"): 80,
    ("SampleFrames", "", "training"): 200,
    ("SampleFrames", "keep_tail_frames", "training"): 20,
    ("SampleFrames", "temporal_jitter", "training"): 20,
    ("DenseSampleFrames", "", "tests"): 20,
    ("DenseSampleFrames", "", "training"): 20,
    ("UniformSample", "", "tests"): 40,
    ("UniformSample", "", "training"): 20,
    ("UniformSampleFrames", "", "tests"): 40,
    ("UniformSampleFrames", "", "training"): 20,
    ("UntrimmedSampleFrames", "clip_interval", "tests"): 32,
    ("UntrimmedSampleFrames", "clip_interval", "raises"): 8,
    ("SampleAVAFrames", "", "tests"): 18,
}


class ReferenceDraws(LegacyDraws):
    """The numbers that the reference drew after ``np.random.seed``."""

    def uniform(self, low, high, size):
        return self.state.uniform(low, high, size)


def category(case):
    extra = [name for name in case["args"] if name not in {"clip_len", "frame_interval", "num_clips", "test_mode"}]
    assert len(extra) <= 1
    compared = "raises" if "raises" in case else "training" if "np_random_seed" in case else "tests"
    return case["transform"], "".join(extra), compared


@pytest.fixture(scope="module")
def cases():
    if not GOLDEN.exists():
        pytest.skip("the reference indices are not on this machine")
    with gzip.open(GOLDEN, "rt") as file:
        return json.load(file)


def sample(case):
    """What our sampling makes of a case, ``(M, T)``."""
    args = {FIELDS.get(name, name): value for name, value in case["args"].items() if name != "test_mode"}
    given = case["input"]
    is_training = "np_random_seed" in case
    if case["transform"] == "DenseSampleFrames":
        # Its 8 clips of one frame at each of 10 positions are our 10 clips of 8 frames.
        assert args == {"clip_len": 1, "frame_interval": 1, "num_clips": 8}
        args = {"clip_len": 8, "frame_interval": 64 // 8, "num_clips": 1 if is_training else 10}
    elif case["transform"] == "UntrimmedSampleFrames":
        args["edges"] = "repeat"
    elif case["transform"] == "SampleAVAFrames":
        args["at_seconds"] = given["timestamp"] - given["timestamp_start"]
    sampling = TypeAdapter(AnySampling).validate_python({"kind": KINDS[case["transform"]], **args})
    num_frames = given["total_frames"] if "total_frames" in given else given["shot_info"][1]
    fps = given.get("avg_fps") or given.get("fps") or 25.0
    return sampling.indices(num_frames, fps, ReferenceDraws(case["np_random_seed"]) if is_training else None)


def test_all_795_cases_are_named(cases):
    assert Counter(map(category, cases)) == TOTALS
    assert len(cases) == sum(TOTALS.values()) == 795


@pytest.mark.parametrize("which", [which for which in TOTALS if which[2] != "raises"], ids=" ".join)
def test_indices_are_the_references(cases, which):
    """Training too: from the same random numbers the same draws make the same indices."""
    num_equal = 0
    for case in cases:
        if category(case) == which:
            expected = np.array(case["frame_inds"]) - case["input"].get("start_index", 0)
            np.testing.assert_array_equal(sample(case).ravel(), expected, err_msg=f"{case['args']} {case['input']}")
            num_equal += 1
    assert num_equal == TOTALS[which]


def test_where_the_reference_fails_we_have_one_window(cases):
    """UntrimmedSampleFrames finds no centre in a video of at most half a stride."""
    num_mended = 0
    for case in cases:
        if "raises" in case:
            windows = sample(case)
            num_frames, clip_len = case["input"]["total_frames"], case["args"]["clip_len"]
            assert num_frames <= case["args"]["clip_interval"] // 2
            assert windows.shape == (1, clip_len)
            assert windows[0, clip_len // 2] == num_frames // 2
            assert windows.min() >= 0
            assert windows.max() < num_frames
            num_mended += 1
    assert num_mended == 8
