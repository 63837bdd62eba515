import json
from pathlib import Path

import numpy as np
import pytest

from kinoray.transforms.boxes import crop_offsets, random_resized_box, short_side_size

PIPELINE = Path(__file__).resolve().parents[3].parent / "shared" / "golden" / "pipeline.json"

SCALE, RATIO = (0.08, 1.0), (3 / 4, 4 / 3)


def boxes(height, width, scale=SCALE, ratio=RATIO, count=300):
    return [random_resized_box(height, width, scale, ratio, np.random.default_rng(seed)) for seed in range(count)]


@pytest.mark.parametrize(("height", "width"), [(240, 320), (320, 240), (64, 64)])
def test_random_boxes_have_the_area_and_ratio_that_are_asked_for(height, width):
    drawn = np.array(boxes(height, width))
    tops, lefts, heights, widths = drawn.T
    assert (drawn >= 0).all()
    assert (tops + heights <= height).all()
    assert (lefts + widths <= width).all()
    shares = heights * widths / (height * width)
    # Sides are rounded to whole pixels.
    assert shares.min() > 0.07
    assert shares.max() <= 1.0
    assert (widths / heights).min() > 0.75 * 0.94
    assert (widths / heights).max() < 4 / 3 * 1.06
    assert shares.max() - shares.min() > 0.8


def test_all_places_are_as_likely():
    tops, lefts, heights, widths = np.array(boxes(20, 20, scale=(0.64, 0.64), ratio=(1.0, 1.0))).T
    assert set(heights) == set(widths) == {16}
    for places in (tops, lefts):
        counts = np.bincount(places)
        assert len(counts) == 5
        assert 40 <= counts.min() <= counts.max() <= 80


@pytest.mark.parametrize(
    ("height", "width", "ratio", "expected"),
    [
        (100, 1000, RATIO, (0, 433, 100, 133)),
        (1000, 100, RATIO, (433, 0, 133, 100)),
        (100, 100, (2.0, 2.0), (25, 0, 50, 100)),
        (100, 100, (0.5, 0.5), (0, 25, 100, 50)),
        (1, 64, RATIO, (0, 31, 1, 1)),
    ],
)
def test_where_none_fits_it_is_the_largest_centred_one(height, width, ratio, expected):
    assert set(boxes(height, width, scale=(1.0, 1.0), ratio=ratio, count=5)) == {expected}


def test_a_box_takes_the_same_draws_whether_it_fits_or_not():
    rngs = [np.random.default_rng(1), np.random.default_rng(1)]
    random_resized_box(100, 100, SCALE, RATIO, rngs[0])
    random_resized_box(10, 1000, (1.0, 1.0), RATIO, rngs[1])
    assert rngs[0].random() == rngs[1].random()


@pytest.mark.parametrize(
    ("height", "width", "short_side", "expected"),
    [
        (240, 320, 256, (256, 341)),
        (320, 240, 256, (341, 256)),
        (100, 100, 64, (64, 64)),
        (1080, 1920, 256, (256, 455)),
        (999, 1000, 8, (8, 8)),
        # Where the arithmetic's order decides: 462 times 182/168 is 500.5.
        (182, 168, 426, (462, 426)),
        (182, 272, 340, (340, 508)),
    ],
)
def test_the_short_side_gets_its_length(height, width, short_side, expected):
    assert short_side_size(height, width, short_side) == expected


@pytest.mark.parametrize(
    ("size", "num_crops", "expected"),
    [
        ((256, 340), 1, [(16, 58)]),
        ((224, 224), 1, [(0, 0)]),
        ((256, 341), 3, [(0, 0), (0, 42), (0, 84)]),
        ((340, 256), 3, [(0, 0), (42, 0), (84, 0)]),
        ((256, 256), 3, [(0, 0), (0, 0), (0, 0)]),
    ],
)
def test_crops(size, num_crops, expected):
    assert crop_offsets(*size, 224 if num_crops == 1 else 256, num_crops) == expected


def test_crops_equal_the_references():
    """MMAction2 lists the centre last; scores are averaged, so the order says nothing."""
    if not PIPELINE.is_file():
        pytest.skip("no ../shared/golden/pipeline.json beside the repository")
    num_checked = 0
    for case in json.loads(PIPELINE.read_text())["synthetic"]["cases"]:
        resize, *crops = case["steps"]
        if resize["type"] != "Resize" or resize["scale"][0] != -1 or "interpolation" in resize:
            continue
        size = short_side_size(240, 320, resize["scale"][1])
        if not crops:
            assert list(size) == case["img_shape"]
        elif crops[0]["type"] in {"CenterCrop", "ThreeCrop"}:
            crop = crops[0]["crop_size"]
            num_crops = 3 if crops[0]["type"] == "ThreeCrop" else 1
            expected = np.unique(np.array(case["crop_bbox"]).reshape(-1, 4), axis=0)
            ours = [[left, top, left + crop, top + crop] for top, left in crop_offsets(*size, crop, num_crops)]
            np.testing.assert_array_equal(np.unique(ours, axis=0), expected)
        else:
            continue
        num_checked += 1
    assert num_checked >= 4
