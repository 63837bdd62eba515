from io import BytesIO

import numpy as np
import pytest
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.image import imread

from kinoray.tracking.bars import class_bars_picture, wilson_interval
from kinoray.tracking.pictures import BLUE, RED, png_bytes


def confusion_of(hits: list[int], num_videos: list[int]) -> np.ndarray:
    confusion = np.diag(hits)
    for label, (hit, num) in enumerate(zip(hits, num_videos, strict=True)):
        confusion[label, (label + 1) % len(hits)] += num - hit
    return confusion


def names(figure: Figure) -> list[list[str]]:
    return [[label.get_text() for label in axes.get_yticklabels()] for axes in figure.axes]


def words(figure: Figure) -> list[str]:
    return [text.get_text() for axes in figure.axes for text in axes.texts]


def test_the_worst_class_comes_first_with_its_number_of_videos() -> None:
    figure = class_bars_picture(confusion_of([9, 0, 5], [10, 1200, 10]), ["run", "jump", "sit"])
    assert names(figure) == [["jump", "sit", "run"]]
    assert [bar.get_width() for bar in figure.axes[0].patches] == pytest.approx([0, 0.5, 0.9])
    assert words(figure)[:6] == ["0%", "1,200", "50%", "10", "90%", "10"]
    assert "mean 47%" in words(figure), "of classes, not of videos"


def test_classes_without_videos_are_counted_and_left_out() -> None:
    figure = class_bars_picture(confusion_of([3, 0, 1], [4, 0, 4]), ["a", "b", "c"])
    assert names(figure) == [["c", "a"]]
    assert figure.get_supxlabel().endswith("classes without videos: 1")


def test_of_many_classes_the_ends_are_shown_each_class_once() -> None:
    num_classes = 400
    hits = np.random.default_rng(0).integers(0, 51, num_classes).tolist()
    figure = class_bars_picture(confusion_of(hits, [50] * num_classes), [f"c{index}" for index in range(num_classes)])
    worst, best = ([hits[int(name[1:])] for name in part] for part in names(figure))
    assert worst == sorted(hits)[:20]
    assert best == sorted(hits, reverse=True)[:20]
    assert not set(names(figure)[0]) & set(names(figure)[1])
    assert figure.get_supxlabel().startswith("40 of 400 classes")
    assert min(imread(BytesIO(png_bytes(figure))).shape[:2]) > 500


def test_of_equal_classes_the_surer_find_comes_first_at_both_ends() -> None:
    num_videos = list(range(2, 62))
    figure = class_bars_picture(confusion_of([0] * 30 + num_videos[30:], num_videos), [str(num) for num in num_videos])
    worst, best = names(figure)
    assert worst[:2] == ["31", "30"]
    assert best[:2] == ["61", "60"]


def test_red_is_what_is_below_the_mean_beyond_chance() -> None:
    # 2 of 4 may be chance at a mean of 77 %, 200 of 400 is none.
    figure = class_bars_picture(confusion_of([2, 200, 400, 100, 100], [4, 400, 400, 100, 100]), list("abcde"))
    colors = dict(zip(names(figure)[0], (bar.get_facecolor() for bar in figure.axes[0].patches), strict=True))
    assert colors["b"] == to_rgba(RED)
    assert colors["a"] == to_rgba(BLUE)


def test_an_evaluation_without_any_video_has_a_picture() -> None:
    assert png_bytes(class_bars_picture(np.zeros((3, 3), np.int64), ["a", "b", "c"]))


def test_the_interval_is_wilsons() -> None:
    # Newcombe, Statistics in Medicine 17 (1998), table I: method 3.
    low, high = wilson_interval(np.array([81, 15, 0, 1]), np.array([263, 148, 20, 29]))
    np.testing.assert_allclose(low, [0.2553, 0.0624, 0.0, 0.0061], atol=1e-4)
    np.testing.assert_allclose(high, [0.3662, 0.1605, 0.1611, 0.1718], atol=1e-4)
