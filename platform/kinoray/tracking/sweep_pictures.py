"""Pictures of a sweep: its leaderboard, the metric over each swept value, and all values at once."""

import math
from collections.abc import Mapping, Sequence
from statistics import median
from typing import NamedTuple

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.colors import Colormap
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from kinoray.metrics import SMALLER_IS_BETTER, merit
from kinoray.sweep.space import Label
from kinoray.sweep.trials import TrialState
from kinoray.tracking.pictures import (
    BLUE,
    GREEN,
    GRID,
    INK,
    MUTED,
    ORANGE,
    PALE_BLUE,
    RED,
    VIOLET,
    add_title,
    shortened,
)
from kinoray.tracking.sweep_tables import (
    has_several_seeds,
    short_paths,
    shown_label,
    shown_metric,
    shown_values,
    swept_paths,
)

MAX_ROWS = 30
"""Trials of a leaderboard that get a bar; the best ones."""
MAX_PANELS = 6
LOG_RATIO = 20
"""Numbers that span less than this are never shown on a logarithmic scale."""
BACKING = {"facecolor": "white", "alpha": 0.8, "edgecolor": "none", "pad": 0.8}
COLORS = {"finished": BLUE, "running": GREEN, "waiting": GRID, "pruned": PALE_BLUE, "failed": RED}
SERIES = (BLUE, ORANGE, GREEN, VIOLET, RED, MUTED)


def leaderboard_picture(states: Sequence[TrialState], metric: str) -> Figure:
    """A bar for each trial, as long as its best value of the metric.

    Args:
        states: the best first.
        metric: that ranks them.
    """
    shown = states[:MAX_ROWS]
    figure = Figure(figsize=(9, 1.2 + 0.3 * len(shown)), layout="constrained")
    ax = figure.subplots()
    rest = f", the best {len(shown)} of {len(states)}" if len(shown) < len(states) else ""
    add_title(ax, f"Trials by {metric}{rest}")
    longest = max((state.best for state in shown if state.best is not None and math.isfinite(state.best)), default=1.0)
    for place, state in enumerate(shown):
        value = state.best if state.best is not None and math.isfinite(state.best) else 0.0
        ax.barh(place, value, color=COLORS[state.status], height=0.72)
        what = shown_metric(metric, state.best)
        end = "" if state.status == "finished" else f"  {state.status} after epoch {state.epoch}"
        ax.text(value + 0.01 * longest, place, f"{what}{end}", fontsize=8, color=INK, va="center")
    with_seed = has_several_seeds(states)
    names = [
        shortened(f"{state.trial.number:03d}  {shown_values(state.trial, with_seed=with_seed)}", 64) for state in shown
    ]
    ax.set_yticks(range(len(shown)), names, parse_math=False)
    ax.set_ylim(len(shown) - 0.4, -0.6)
    ax.set_xlim(0, 1.3 * longest or 1.0)
    _tidy(ax)
    ax.tick_params(axis="y", labelcolor=INK)
    ax.grid(visible=False, axis="y")
    _metric_axis(ax, metric, axis="x")
    return figure


def values_picture(states: Sequence[TrialState], metric: str) -> Figure:
    """The best value of the metric over each swept path, the learning rate first; pruned trials are hollow.

    Colours stand for the labels of one path: the first that has words.
    """
    paths = sorted(swept_paths(states), key=lambda path: not path.endswith("lr"))[:MAX_PANELS]
    scales = {path: _scale(states, path) for path in paths}
    by = next((path for path in paths if scales[path].labels), None)
    figure = Figure(figsize=(5.2 * max(len(paths), 1), 4.2), layout="constrained")
    axes = figure.subplots(1, max(len(paths), 1), squeeze=False)[0]
    for ax, path in zip(axes, paths, strict=False):
        _tidy(ax)
        add_title(ax, f"{metric} over {short_paths(paths)[path]}")
        _scatter(ax, states, path, scale=scales[path], by=by if by != path else None)
        _metric_axis(ax, metric, axis="y")
    if axes[0].get_legend_handles_labels()[0]:
        axes[0].legend(frameon=False, fontsize=8, labelcolor=INK)
    return figure


def parallel_picture(states: Sequence[TrialState], metric: str) -> Figure:
    """A line for each trial through its values to its metric; the better, the darker."""
    paths = swept_paths(states)
    scales = {path: _scale(states, path) for path in paths}
    measured = [state for state in states if state.best is not None and math.isfinite(state.best)]
    results = [state.best for state in measured if state.best is not None]
    ends = (min(results), max(results)) if results else (0.0, 1.0)
    figure = Figure(figsize=(2.4 * (len(paths) + 1), 4.4), layout="constrained")
    ax = figure.subplots()
    add_title(ax, f"Values and {metric}: the darker, the better")
    cmap = mpl.colormaps["viridis_r"]
    merits = sorted(merit(metric, value) for value in results)
    for state in reversed(measured):  # the best one is on top
        assert state.best is not None
        heights = [
            scales[path].height(state.trial.labels[path]) if path in state.trial.labels else math.nan for path in paths
        ]
        heights.append((state.best - ends[0]) / (ends[1] - ends[0]) if ends[1] > ends[0] else 0.5)
        is_best = state is measured[0]
        ax.plot(
            range(len(heights)),
            heights,
            color=_shade(cmap, merits, merit(metric, state.best)),
            linewidth=3 if is_best else 1.4,
            linestyle="-" if state.status != "pruned" else (0, (4, 2)),
            marker="o",
            markersize=5 if is_best else 3,
        )
    _draw_rulers(ax, paths, scales, metric=metric, ends=ends)
    return figure


class _Scale(NamedTuple):
    """Where a path's labels stand: words one above the other, numbers as they are or by their logarithm."""

    labels: tuple[Label, ...]
    """Words, in the order they come; empty for numbers."""
    low: float
    high: float
    is_log: bool

    def height(self, label: Label) -> float:
        """0..1."""
        if self.labels:
            return self.labels.index(label) / max(1, len(self.labels) - 1)
        assert isinstance(label, int | float)
        if self.high == self.low:
            return 0.5
        if self.is_log:
            return math.log(label / self.low) / math.log(self.high / self.low)
        return (label - self.low) / (self.high - self.low)

    def ticks(self) -> list[tuple[float, str]]:
        """(height, text)."""
        if self.labels:
            return [(self.height(label), shortened(shown_label(label), 18)) for label in self.labels]
        middle = math.sqrt(self.low * self.high) if self.is_log else (self.low + self.high) / 2
        return [(self.height(number), f"{number:.3g}") for number in dict.fromkeys((self.low, middle, self.high))]


def _scale(states: Sequence[TrialState], path: str) -> _Scale:
    labels = tuple(dict.fromkeys(state.trial.labels[path] for state in states if path in state.trial.labels))
    if not all(isinstance(label, int | float) and not isinstance(label, bool) for label in labels):
        return _Scale(tuple(sorted(labels, key=str)), 0.0, 1.0, is_log=False)
    numbers = [float(label) for label in labels if isinstance(label, int | float)]
    low, high = min(numbers), max(numbers)
    return _Scale((), low, high, is_log=low > 0 and high / low >= LOG_RATIO and _is_log_spaced(numbers))


def _is_log_spaced(numbers: Sequence[float]) -> bool:
    """Whether half of some positive numbers lie below the middle of their logarithms, rather than below their own."""
    low, middle, high = min(numbers), median(numbers), max(numbers)
    return middle < math.sqrt(math.sqrt(low * high) * (low + high) / 2)


def _scatter(ax: Axes, states: Sequence[TrialState], path: str, *, scale: _Scale, by: str | None) -> None:
    groups = _groups(states, by)
    for state in states:
        if path not in state.trial.labels:
            continue
        label = state.trial.labels[path]
        x = float(scale.labels.index(label) if scale.labels else label or 0)
        color = groups[state.trial.labels.get(by)] if by else BLUE
        if state.best is None or not math.isfinite(state.best):
            ax.plot(x, 0.02, marker="x", color=RED, transform=ax.get_xaxis_transform(), linestyle="none")
            continue
        face = "white" if state.status == "pruned" else color
        ax.plot(x, state.best, marker="o", markersize=7, color=color, markerfacecolor=face, linestyle="none")
    for label, color in groups.items() if by else ():
        ax.plot([], [], marker="o", color=color, linestyle="none", label=shortened(shown_label(label), 24))
    if scale.labels:
        ax.set_xticks(range(len(scale.labels)), [shortened(shown_label(label), 16) for label in scale.labels])
        ax.set_xlim(-0.5, len(scale.labels) - 0.5)
    elif scale.is_log:
        ax.set_xscale("log")
    ax.set_xlabel(path, fontsize=9, color=MUTED)


def _groups(states: Sequence[TrialState], by: str | None) -> Mapping[Label, str]:
    if by is None:
        return {}
    labels = sorted({state.trial.labels.get(by) for state in states}, key=str)
    return {label: SERIES[min(number, len(SERIES) - 1)] for number, label in enumerate(labels)}


def _shade(cmap: Colormap, merits: Sequence[float], value: float) -> tuple[float, ...]:
    """By rank: one trial that diverged must not make all others look alike."""
    share = merits.index(value) / max(1, len(merits) - 1)
    return tuple(cmap(0.1 + 0.9 * share))


def _draw_rulers(
    ax: Axes, paths: Sequence[str], scales: Mapping[str, _Scale], *, metric: str, ends: tuple[float, float]
) -> None:
    rulers = [scales[path].ticks() for path in paths]
    rulers.append([(0.0, shown_metric(metric, ends[0])), (1.0, shown_metric(metric, ends[1]))])
    for place, ticks in enumerate(rulers):
        ax.axvline(place, color=GRID, linewidth=1.2, zorder=0)
        for height, text in ticks:
            ax.text(place + 0.03, height + 0.02, text, fontsize=8, color=INK, parse_math=False, bbox=BACKING)
    ax.set_xticks(range(len(rulers)), [*short_paths(paths).values(), metric], parse_math=False)
    ax.set_yticks([])
    ax.set_ylim(-0.06, 1.1)
    ax.set_xlim(-0.1, len(rulers) - 0.55)
    ax.tick_params(colors=INK, labelsize=9, length=0)
    ax.spines[:].set_visible(False)


def _metric_axis(ax: Axes, metric: str, *, axis: str) -> None:
    if metric not in SMALLER_IS_BETTER:
        (ax.xaxis if axis == "x" else ax.yaxis).set_major_formatter(PercentFormatter(1.0, decimals=None))


def _tidy(ax: Axes) -> None:
    ax.grid(color=GRID, linewidth=0.8)
    ax.set_axisbelow(True)
    ax.tick_params(colors=MUTED, labelsize=8, length=0, which="both")
    ax.spines[["top", "right"]].set_visible(False)
    ax.spines[["left", "bottom"]].set_color(GRID)
