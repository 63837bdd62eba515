"""Curves of several runs in one picture."""

import math
from collections.abc import Mapping, Sequence

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from kinoray.metrics import SMALLER_IS_BETTER
from kinoray.tracking.pictures import BLUE, GREEN, GRID, INK, MUTED, ORANGE, RED, VIOLET, add_title, shortened
from kinoray.tracking.summary import History

COLORS = (BLUE, ORANGE, GREEN, VIOLET, RED)
MAX_NAMED = 12
"""Runs that the legend names; the first ones."""
MAX_MARKED_POINTS = 60
MAX_COLUMNS = 3


def curves_of_runs_picture(runs: Mapping[str, History], keys: Sequence[str]) -> Figure:
    """A panel for each metric that some run has, a line in it for each run.

    Args:
        runs: name -> history, in the order of the legend.
        keys: of metrics.
    """
    shown = [key for key in keys if any(history.get(key) for history in runs.values())]
    num_rows = max(1, math.ceil(len(shown) / MAX_COLUMNS))
    num_columns = max(1, math.ceil(len(shown) / num_rows))
    figure = Figure(figsize=(5.6 * num_columns, 4.2 * num_rows), layout="constrained")
    axes = figure.subplots(num_rows, num_columns, squeeze=False).flatten()
    for ax in axes[len(shown) :]:
        ax.set_axis_off()
    for ax, key in zip(axes, shown, strict=False):
        _tidy(ax, key)
        for number, (name, history) in enumerate(runs.items()):
            if points := history.get(key):
                steps, values = zip(*points, strict=True)
                label = shortened(name, 40) if number < MAX_NAMED else None
                marker = "o" if len(points) <= MAX_MARKED_POINTS else ""
                ax.plot(steps, values, label=label, color=_color(number, len(runs)), marker=marker, markersize=3)
    if len(runs) > 1 and shown:
        note = f"and {len(runs) - MAX_NAMED} more" if len(runs) > MAX_NAMED else None
        handles, labels = axes[0].get_legend_handles_labels()
        figure.legend(
            handles,
            labels,
            title=note,
            loc="outside lower center",
            ncols=min(3, len(labels) or 1),
            frameon=False,
            fontsize=8,
            labelcolor=INK,
        )
    return figure


def _color(number: int, num_runs: int) -> tuple[float, ...] | str:
    if num_runs <= len(COLORS):
        return COLORS[number]
    return tuple(mpl.colormaps["turbo"](0.05 + 0.9 * number / (num_runs - 1)))


def _tidy(ax: Axes, key: str) -> None:
    add_title(ax, key)
    ax.set_xlabel("optimizer steps", fontsize=9, color=MUTED)
    ax.grid(color=GRID, linewidth=0.8)
    ax.set_axisbelow(True)
    ax.tick_params(colors=MUTED, labelsize=9, length=0)
    ax.xaxis.set_major_locator(MaxNLocator(6, integer=True, min_n_ticks=1))
    ax.spines[["top", "right"]].set_visible(False)
    ax.spines[["left", "bottom"]].set_color(GRID)
    section, _, name = key.rpartition("/")
    if section == "val" and name not in SMALLER_IS_BETTER:
        ax.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=None))
