"""Whole test pipelines against a running MMAction2; see shared/golden/README.md, section 6.

The reference resizes with OpenCV's bilinear, which does not smooth before it makes a picture smaller, and ours does.
Where nothing is resized the pixels differ by the conversion from YUV alone.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from kinoray.data.views import EvalView
from kinoray.video.open import open_video

SHARED = Path(__file__).resolve().parents[2].parent / "shared"
VIDEO = SHARED / "assets" / "decoder" / "mmaction2_demo_arm_wrestling.mp4"
GOLDEN = SHARED / "golden" / "pipeline.json"
pytestmark = pytest.mark.skipif(
    not (GOLDEN.is_file() and VIDEO.is_file()), reason="no ../shared with golden/pipeline.json and its video"
)

NAMES = (
    "slowfast_r50_8x8_test",
    "slowfast_r50_8x8_val",
    "tsn_r50_val",
    "tsn_r50_test",
    "tsm_r50_test",
    "x3d_m_test",
    "mvit_small_test",
    "swin_tiny_test",
)
CROPS = {"CenterCrop": [0], "ThreeCrop": [0, 2, 1], "TenCrop": [0, 5, 1, 6, 2, 7, 3, 8, 4, 9]}
"""Our place of each crop of theirs, in their order."""
IS_RESIZED = {"mvit_small_test", "swin_tiny_test"}
SIDE = 16


def view_of(pipeline: list[dict[str, Any]]) -> EvalView:
    steps = {step["type"]: step for step in pipeline}
    sampling = dict(steps["SampleFrames"])
    sampling.pop("type")
    sampling.pop("test_mode")
    (crop,) = steps.keys() & CROPS.keys()
    return EvalView(
        sampling={"kind": "clips", **sampling},
        crop=steps[crop]["crop_size"],
        resize=steps["Resize"]["scale"][1],
        num_crops=len(CROPS[crop]),
    )


def read(golden: dict[str, Any]) -> NDArray[np.uint8]:
    """``(M, T, H, W, C)``, the views in the reference's order: crops outermost where it stacks clips."""
    view = view_of(golden["pipeline"])
    order = next(CROPS[step["type"]] for step in golden["pipeline"] if step["type"] in CROPS)
    with open_video(str(VIDEO)) as video:
        clip = view.read(video, range(video.num_frames)).clip
    num_clips = len(clip) // len(order)
    return clip.reshape(num_clips, len(order), *clip.shape[1:])[:, order].swapaxes(0, 1).reshape(clip.shape)


@pytest.mark.parametrize("name", NAMES)
def test_frames(name: str) -> None:
    golden = json.loads(GOLDEN.read_text())[name]
    view = view_of(golden["pipeline"])
    expected = next(stage for stage in golden["stages"] if stage["type"] == "SampleFrames")["frame_inds"]
    with open_video(str(VIDEO)) as video:
        found = view.sampling.pick(video.pts_seconds, video.fps, None, None)
    np.testing.assert_array_equal(found.ravel(), expected)


@pytest.mark.parametrize("name", sorted(set(NAMES) - IS_RESIZED))
def test_pixels_are_equal(name: str) -> None:
    """At 340x256 a short side of 256 leaves the video as it is: every byte of every view is the reference's."""
    golden = json.loads(GOLDEN.read_text())[name]
    clip = np.moveaxis(read(golden), -1, 1)  # (M, C, T, H, W)
    if len(golden["output"]["shape"]) == 4:
        clip = clip[:, :, 0]
    assert list(clip.shape) == golden["output"]["shape"]
    assert hashlib.sha256(np.ascontiguousarray(clip)).hexdigest() == golden["output"]["sha256"]


@pytest.mark.parametrize("name", sorted(IS_RESIZED))
def test_resized_pixels_are_near(name: str) -> None:
    """From 256 to 224 pixels: 0.2 grey levels of the mean of 14 x 14 pixels, and below 3 of single ones."""
    golden, arrays = json.loads(GOLDEN.read_text())[name], np.load(GOLDEN.with_suffix(".npz"))
    clip = read(golden)
    num_compared = 0
    for view, frame in ((view, frame) for view in golden["sampled_views"] for frame in (0, clip.shape[1] - 1)):
        key, picture = f"{name}_v{view}_t{frame}", clip[view, frame].astype(np.float64)
        side = picture.shape[0] // SIDE
        means = picture.reshape(SIDE, side, SIDE, side, 3).mean((1, 3))
        assert np.abs(means - arrays[f"{key}_pool16"]).mean() < 0.3
        centre = slice(picture.shape[0] // 2 - SIDE // 2, picture.shape[0] // 2 + SIDE // 2)
        assert np.abs(picture[centre, centre] - arrays[f"{key}_patch"]).mean() < 3
        num_compared += 1
    assert num_compared == 6
    np.testing.assert_allclose(clip.reshape(len(clip), -1).mean(1), golden["per_view_mean"], atol=0.25)
