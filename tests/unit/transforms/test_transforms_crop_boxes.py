import json
import random
from pathlib import Path

import numpy as np
import pytest
from pydantic import TypeAdapter, ValidationError

from kinoray.transforms.boxes import crop_offsets, random_resized_box, short_side_size
from kinoray.transforms.crop_boxes import (
    AnyBox,
    CentreBox,
    MultiScaleBox,
    RandomResizedBox,
    RescaledBox,
    box_before_resize,
    fixed_corners,
    multi_scale_sizes,
)
from kinoray.video.frames import Box

PIPELINE = Path(__file__).resolve().parents[3].parent / "shared" / "golden" / "pipeline.json"
STORED = (240, 320)
"""(height, width) of the references' picture."""


class LegacyDraws:
    """The random numbers of the reference's process, which seeded both generators, in its order."""

    def __init__(self, seed):
        self.numpy, self.python = np.random.RandomState(seed), random.Random(seed)

    def integers(self, *bounds):
        return self.numpy.randint(*bounds)


class PythonDraws(LegacyDraws):
    def integers(self, num):
        return self.python.choice(range(num))


class ResizedDraws(LegacyDraws):
    """Ratios are drawn before areas there; and the places of the box come from Python's generator, x before y."""

    def __init__(self, seed, places):
        super().__init__(seed)
        ratios, areas = (self.numpy.random_sample(10) for _ in range(2))
        self.uniforms, self.places = [areas, ratios], places

    def uniform(self, low, high, size):
        return low + (high - low) * self.uniforms.pop(0)

    def random(self, num):
        return np.array(self.places)


def boxes_of(*types):
    """[(steps, seed or None, its boxes as (top, left, height, width))] of the reference's cases of these steps."""
    if not PIPELINE.is_file():
        pytest.skip("no ../shared/golden/pipeline.json beside the repository")
    found = []
    for case in json.loads(PIPELINE.read_text())["synthetic"]["cases"]:
        if tuple(step["type"] for step in case["steps"]) == types:
            corners = np.array(case["crop_bbox"]).reshape(-1, 4)
            boxes = {Box(top, left, bottom - top, right - left) for left, top, right, bottom in corners.tolist()}
            found.append((case["steps"], case.get("np_random_and_random_seed"), boxes))
    return found


def test_multi_scale_boxes_equal_the_references():
    cases = boxes_of("Resize", "MultiScaleCrop", "Resize")
    assert len(cases) == 8
    for (resize, crop, _), seed, expected in cases:
        assert crop["random_crop"] is False
        config = MultiScaleBox(scales=crop["scales"], max_scale_gap=crop["max_wh_scale_gap"])
        size = short_side_size(*STORED, resize["scale"][1])
        assert {config.draw(*size, crop["input_size"], PythonDraws(seed))} == expected


def test_rescaled_boxes_equal_the_references():
    cases = boxes_of("RandomRescale", "RandomCrop")
    assert len(cases) == 4
    for (rescale, crop), seed, (expected,) in cases:
        config = RescaledBox(short_side=rescale["scale_range"])
        size = short_side_size(*STORED, LegacyDraws(seed).integers(256, 321))
        # Drawn in a picture of the random size, the box is the reference's; of the stored one it is whole pixels.
        drawn = config.draw(*STORED, crop["size"], LegacyDraws(seed))
        assert drawn == box_before_resize(expected, size, STORED)
        for ours, exact, axis in zip(drawn, expected, (0, 1, 0, 1), strict=True):
            assert abs(ours - exact * STORED[axis] / size[axis]) <= 1


def test_random_resized_boxes_equal_the_references():
    cases = boxes_of("Resize", "RandomResizedCrop", "Resize", "Flip")
    assert len(cases) == 12
    for (resize, *_), seed, (expected,) in cases:
        height, width = short_side_size(*STORED, resize["scale"][1])
        python = LegacyDraws(seed).python
        left, top = (python.randint(0, room) for room in (width - expected.width, height - expected.height))
        places = ((top + 0.5) / (height - expected.height + 1), (left + 0.5) / (width - expected.width + 1))
        draws = ResizedDraws(seed, places)
        assert random_resized_box(height, width, (0.08, 1.0), (3 / 4, 4 / 3), draws) == expected


def test_centre_three_and_ten_crops_equal_the_references():
    for crop_type, num_boxes in (("CenterCrop", 1), ("ThreeCrop", 3), ("TenCrop", 5)):
        (((resize, crop), _, expected),) = boxes_of("Resize", crop_type)
        height, width = short_side_size(*STORED, resize["scale"][1])
        side = crop["crop_size"]
        ours = (
            fixed_corners(height - side, width - side, 5)
            if crop_type == "TenCrop"
            else crop_offsets(height, width, side, num_boxes)
        )
        assert {Box(top, left, side, side) for top, left in ours} == expected
        assert len(ours) == num_boxes


KINDS = [
    RandomResizedBox(),
    MultiScaleBox(),
    MultiScaleBox(places=13),
    MultiScaleBox(places="any", max_scale_gap=0),
    RescaledBox(),
    CentreBox(),
]


@pytest.mark.parametrize("config", KINDS, ids=lambda config: config.kind)
@pytest.mark.parametrize("size", [(240, 320), (320, 240), (120, 120), (33, 500)])
def test_boxes_lie_in_the_picture(config, size):
    for seed in range(200):
        top, left, height, width = config.draw(*size, 224, np.random.default_rng(seed))
        assert top >= 0
        assert left >= 0
        assert height > 0
        assert width > 0
        assert top + height <= size[0]
        assert left + width <= size[1]


def test_multi_scale_draws_all_its_boxes():
    for places in (5, 13):
        config = MultiScaleBox(places=places)
        drawn = {config.draw(240, 320, 112, np.random.default_rng(seed)) for seed in range(3000)}
        # Of the largest box, 240 x 240, the places differ along one side only.
        sizes = {box[2:] for box in drawn}
        assert sizes == set(multi_scale_sizes(240, 112, config.scales, 1))
        assert len(sizes) == 10
        assert len([box for box in drawn if box[2:] == (158, 158)]) == places
    anywhere = {MultiScaleBox(places="any").draw(240, 320, 112, np.random.default_rng(seed))[:2] for seed in range(500)}
    assert len(anywhere) > 400


def test_a_size_close_to_the_wanted_one_becomes_it():
    assert multi_scale_sizes(256, 222, (0.875,), 1) == [(222, 222)]
    assert multi_scale_sizes(256, 221, (0.875,), 1) == [(224, 224)]
    assert multi_scale_sizes(223, 224, (1.0,), 1) == [(223, 223)]


def test_a_box_of_the_smallest_picture_holds_a_pixel():
    assert set(multi_scale_sizes(1, 224, (1.0, 0.66), 1)) == {(1, 1)}


def test_kinds_are_picked_by_name():
    adapter = TypeAdapter(AnyBox)
    assert adapter.validate_python({}) == RandomResizedBox()
    assert adapter.validate_python({"kind": "multi_scale", "places": 13}) == MultiScaleBox(places=13)
    assert adapter.validate_python({"kind": "rescaled"}).draw(256, 256, 256, np.random.default_rng(0)).height > 200
    assert adapter.validate_python({"kind": "centre"}).draw(10, 21, 8, np.random.default_rng(0)) == (0, 5, 10, 10)


@pytest.mark.parametrize(
    ("kind", "wrong"),
    [
        (RandomResizedBox, {"scale": (0.5, 1.5)}),
        (RandomResizedBox, {"ratio": (2, 1)}),
        (MultiScaleBox, {"scales": (1.2,)}),
        (MultiScaleBox, {"scales": ()}),
        (RescaledBox, {"short_side": (320, 256)}),
    ],
)
def test_what_cannot_be_is_told(kind, wrong):
    with pytest.raises(ValidationError, match=next(iter(wrong))):
        kind(**wrong)


def test_a_square_larger_than_the_rescaled_picture_is_told():
    RescaledBox().check(256)
    with pytest.raises(ValueError, match=r"short_side, got 256 at least; it should be at least crop \(288\)"):
        RescaledBox().check(288)
