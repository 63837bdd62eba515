import numpy as np
import pytest

from kinoray.tracking.curves import curves_picture
from kinoray.tracking.pictures import png_bytes


def test_curves_show_the_panels_that_have_points() -> None:
    figure = curves_picture(
        {
            "train/loss": [(10, 2.0), (20, 1.0)],
            "val/loss": [(20, 1.5)],
            "val/top1": [(20, 0.25), (40, 0.5), (60, 0.4)],
        }
    )
    png_bytes(figure)
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["Loss", "Accuracy on val"]
    assert figure.axes[1].get_title(loc="right") == "best top-1 50.0%"


def test_curves_bear_a_loss_that_is_not_a_number() -> None:
    assert png_bytes(curves_picture({"train/loss": [(1, 2.0), (2, float("nan")), (3, float("inf"))]}))


def test_what_could_not_be_measured_is_not_the_best() -> None:
    unknown = float("nan")
    figure = curves_picture({"val/top1": [(20, unknown), (40, 0.5), (60, 0.4)]})
    assert figure.axes[0].get_title(loc="right") == "best top-1 50.0%"
    assert curves_picture({"val/top1": [(20, unknown)]}).axes[0].get_title(loc="right") == ""


def test_a_first_loss_far_above_the_others_does_not_press_the_curve_flat() -> None:
    steps = [(step, 900.0 if step == 1 else 2.0 + step % 2) for step in range(1, 400)]
    axes = curves_picture({"train/loss": steps, "train/epoch_loss": [(399, 2.5)], "val/loss": [(399, 40.0)]}).axes[0]
    low, high = axes.get_ylim()
    assert 0 < low < 2
    assert 40 < high < 50, "the validation loss stays, the first step leaves"


def test_a_long_run_is_drawn_whole() -> None:
    steps = np.arange(10, 50_000, 10)
    points = [(int(step), 1 / step) for step in steps]
    figure = curves_picture({"train/loss": points, "train/lr": points})
    assert [len(axes.lines[0].get_xdata()) for axes in figure.axes] == [len(steps)] * 2
    assert len(png_bytes(figure)) < 500_000


@pytest.mark.parametrize(
    ("factors", "note"),
    [
        ((1.0,), ""),
        ((1.0, 10.0), "some groups × 10"),
        ((0.5, 1.0), "some groups × 0.5"),
        (tuple(0.5**power for power in range(6, -1, -1)), "7 groups, × 0.0156 … × 0.5"),
    ],
)
def test_the_rate_tells_of_groups_with_other_rates(factors: tuple[float, ...], note: str) -> None:
    (axes,) = curves_picture({"train/lr": [(1, 0.1), (2, 0.05)]}, factors).axes
    assert axes.get_title(loc="right") == note
    assert axes.get_ylim()[0] == 0
