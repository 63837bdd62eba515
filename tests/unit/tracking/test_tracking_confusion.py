import time
from io import BytesIO

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.image import imread

from kinoray.tracking.confusion import confusion_picture
from kinoray.tracking.pictures import png_bytes


def texts(figure: Figure) -> list[str]:
    return [text.get_text() for axes in figure.axes for text in [*axes.texts, *axes.get_xticklabels()]]


@pytest.mark.parametrize("num_classes", [2, 8, 400])
def test_confusion_is_drawn_for_few_and_many_classes(num_classes) -> None:
    confusion = np.eye(num_classes, dtype=np.int64) * 30
    confusion[0, 1] = 10
    begin = time.monotonic()
    png = png_bytes(confusion_picture(confusion, [f"class {i}" for i in range(num_classes)]))
    assert time.monotonic() - begin < 10
    assert len(png) < 2_000_000
    pixels = imread(BytesIO(png))
    assert min(pixels.shape[:2]) > 500
    dark = (pixels[..., :3].sum(-1) < 1.0).mean()
    assert dark > 0.001, "the diagonal must be seen"


def test_few_classes_are_named_and_their_shares_printed() -> None:
    figure = confusion_picture(np.array([[3, 1], [0, 0]]), ["jump", "run"])
    assert {"jump", "run", "75%", "25%"} <= set(texts(figure))
    assert figure.axes[0].get_title(loc="left") == "top-1 75.0% of 4 videos"


def test_many_classes_list_the_largest_confusions_first() -> None:
    confusion = np.eye(100, dtype=np.int64) * 5
    confusion[7, 9], confusion[50, 3] = 15, 5
    figure = confusion_picture(confusion, [f"c{i}" for i in range(100)])
    listed = [text.get_text() for axes in figure.axes for text in axes.texts]
    assert listed == ["75%", "c7 → c9", "50%", "c50 → c3"]


def test_names_with_any_character_are_drawn_as_they_are() -> None:
    names = ["win $5 a_1 $x^{", "打球", "a" * 80]
    figure = confusion_picture(np.eye(3, dtype=np.int64), names)
    png_bytes(figure)
    assert "win $5 a_1 $x^{" in texts(figure)
