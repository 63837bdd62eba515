"""Pictures and tables of a sweep."""

import csv
import io
import math
from collections.abc import Mapping

import pytest
from matplotlib.figure import Figure

from kinoray.sweep.space import Label
from kinoray.sweep.trials import Status, Trial, TrialState, ranked
from kinoray.tracking.lr_range_picture import lr_range_picture
from kinoray.tracking.pictures import png_bytes
from kinoray.tracking.sweep_pictures import leaderboard_picture, parallel_picture, values_picture
from kinoray.tracking.sweep_tables import describe_trial, leaderboard_csv, short_paths, shown_values
from kinoray.train.lr_finder import exponential_rates, range_test

PNG = b"\x89PNG"


def state(
    number: int, labels: Mapping[str, Label], best: float | None, status: Status = "finished", seed: int = 0
) -> TrialState:
    trial = Trial(number, labels, seed, f"s-{number:03d}", labels)
    return TrialState(trial, status, epoch=4, value=best, best=best, best_epoch=None if best is None else 3)


@pytest.fixture
def states() -> tuple[TrialState, ...]:
    listed = [
        state(0, {"optimizer.lr": 0.001, "schedule": "cosine"}, 0.2),
        state(1, {"optimizer.lr": 0.01, "schedule": "flat", "model.dropout": 0.5}, 0.6),
        state(2, {"optimizer.lr": 0.1, "schedule": "cosine"}, 0.9),
        state(3, {"optimizer.lr": 1.0, "schedule": "flat", "model.dropout": 0.1}, 0.1, "pruned"),
        state(4, {"optimizer.lr": 3.0, "schedule": "flat", "model.dropout": 0.3}, None, "failed"),
    ]
    return ranked(listed, "top1")


def texts(figure: Figure) -> str:
    return "|".join(text.get_text() for ax in figure.axes for text in (*ax.texts, *ax.get_yticklabels()))


def test_the_leaderboard(states: tuple[TrialState, ...]) -> None:
    figure = leaderboard_picture(states, "top1")
    (ax,) = figure.axes
    assert [bar.get_width() for bar in ax.patches] == [0.9, 0.6, 0.2, 0.1, 0.0]
    assert "002  lr 0.1, schedule cosine" in texts(figure)
    assert "10.00%  pruned after epoch 4" in texts(figure)
    assert png_bytes(figure).startswith(PNG)


def test_a_long_leaderboard_shows_the_best() -> None:
    many = ranked((state(number, {"optimizer.lr": 0.1}, number / 100, seed=number) for number in range(50)), "top1")
    figure = leaderboard_picture(many, "top1")
    assert len(figure.axes[0].patches) == 30
    assert "the best 30 of 50" in figure.axes[0].get_title(loc="left")
    assert "049  lr 0.1, seed 49" in texts(figure), "what tells them apart"


def test_the_metric_over_values(states: tuple[TrialState, ...]) -> None:
    figure = values_picture(states, "top1")
    assert [ax.get_title(loc="left") for ax in figure.axes] == [
        "top1 over lr",
        "top1 over schedule",
        "top1 over dropout",
    ]
    assert [ax.get_xscale() for ax in figure.axes] == ["log", "linear", "linear"]
    hollow = [line for line in figure.axes[0].lines if line.get_markerfacecolor() == "white"]
    assert [float(line.get_xdata()[0]) for line in hollow] == [1.0]  # type: ignore[index]
    assert [text.get_text() for text in figure.axes[0].get_legend().get_texts()] == ["cosine", "flat"]  # type: ignore[union-attr]
    assert png_bytes(figure).startswith(PNG)


def test_evenly_spaced_values_are_not_shown_by_their_logarithm() -> None:
    even = [state(n, {"model.dropout": share}, 0.5) for n, share in enumerate((0.01, 0.12, 0.25, 0.37, 0.5))]
    assert values_picture(even, "top1").axes[0].get_xscale() == "linear"


def test_parallel_coordinates(states: tuple[TrialState, ...]) -> None:
    figure = parallel_picture(states, "top1")
    (ax,) = figure.axes
    lines = [line for line in ax.lines if line.get_marker() == "o"]
    assert len(lines) == 4, "not the one that failed"
    best = lines[-1].get_ydata()
    assert best == pytest.approx([math.log(100) / math.log(3000), 0.0, math.nan, 1.0], nan_ok=True)
    assert lines[-1].get_linewidth() > lines[0].get_linewidth()
    assert [tick.get_text() for tick in ax.get_xticklabels()] == ["lr", "schedule", "dropout", "top1"]
    assert png_bytes(figure).startswith(PNG)


def test_of_a_loss_the_lowest_is_best() -> None:
    listed = ranked((state(n, {"optimizer.lr": 0.1 * (n + 1)}, value) for n, value in enumerate((2.0, 0.5))), "loss")
    lines = [line for line in parallel_picture(listed, "loss").axes[0].lines if line.get_marker() == "o"]
    assert list(lines[-1].get_ydata()) == [1.0, 0.0]  # type: ignore[arg-type]
    assert "0.5000" in texts(leaderboard_picture(listed, "loss"))


@pytest.mark.parametrize("value", [None, math.nan])
def test_pictures_of_trials_without_a_result(value: float | None) -> None:
    lone = (state(0, {"optimizer.lr": 0.1}, value, "failed"),)
    for picture in (leaderboard_picture, values_picture, parallel_picture):
        assert png_bytes(picture(lone, "top1")).startswith(PNG)


def test_short_names_of_paths() -> None:
    assert short_paths(("optimizer.lr", "model.dropout")) == {"optimizer.lr": "lr", "model.dropout": "dropout"}
    clash = ("data.train.crop", "data.val.crop", "data.train.augment.0")
    assert short_paths(clash) == {path: path for path in clash}


def test_values_in_words() -> None:
    trial = state(0, {"optimizer.lr": 0.0001234, "schedule": "one_cycle", "model.flag": True}, None, seed=3).trial
    assert shown_values(trial) == "lr 0.0001234, schedule one_cycle, flag True"
    assert shown_values(trial, with_seed=True).endswith(", seed 3")


def test_the_table(states: tuple[TrialState, ...]) -> None:
    rows = list(csv.DictReader(io.StringIO(leaderboard_csv(states, "top1", {"s-002": "abc"}))))
    assert [row["rank"] for row in rows] == ["1", "2", "3", "4", "5"]
    assert (rows[0]["run_id"], rows[1]["run_id"]) == ("abc", "")
    assert (rows[0]["model.dropout"], rows[1]["model.dropout"]) == ("", "0.5")
    assert (rows[4]["status"], rows[4]["best_top1"]) == ("failed", "")


def test_the_page_of_a_pruned_trial(states: tuple[TrialState, ...]) -> None:
    pruned = next(state for state in states if state.status == "pruned")
    page = describe_trial(pruned, "top1")
    assert page.startswith("**Pruned** after epoch 4")
    assert "Best top1: 10.00% in epoch 4" in page


def test_the_picture_of_a_range_test() -> None:
    losses = iter([2.0 - 0.02 * step for step in range(60)] + [3.0 * 1.5**step for step in range(20)])
    found = range_test(exponential_rates(1e-5, 1.0, 80), lambda rate: next(losses))
    figure = lr_range_picture(found)
    (ax,) = figure.axes
    assert ax.get_xscale() == "log"
    assert ax.get_ylim()[1] < 6, "what was lost does not flatten the rest"
    assert png_bytes(figure).startswith(PNG)
