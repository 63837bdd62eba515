"""The picture of how a run learned: loss, accuracy and learning rate over optimizer steps."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from kinoray.tracking.pictures import BLUE, GREEN, GRID, INK, MUTED, ORANGE, PALE_BLUE, VIOLET, add_title
from kinoray.tracking.summary import History, Point

PANELS = (
    ("Loss", {"train/loss": ("steps", PALE_BLUE), "train/epoch_loss": ("train", BLUE), "val/loss": ("val", ORANGE)}),
    (
        "Accuracy on val",
        {
            "val/top1": ("top-1", ORANGE),
            "val/top5": ("top-5", VIOLET),
            "val/mean_class_accuracy": ("mean class", GREEN),
        },
    ),
    ("Learning rate", {"train/lr": ("lr", BLUE)}),
)
"""Title -> metric key -> (name in the legend, colour)."""
FINE = ("train/loss", "train/lr")
"""What has a point every few steps."""
DASHED = ("val/mean_class_accuracy",)
"""What may lie on another line, which is seen through it."""
MAX_MARKED_POINTS = 60
MAX_LISTED_FACTORS = 4


def curves_picture(history: History, lr_factors: Sequence[float] = (1.0,)) -> Figure:
    """Curves of a run; panels without points are left out.

    Args:
        history: metrics by key.
        lr_factors: as in ``Started``.
    """
    panels = [(title, lines) for title, lines in PANELS if any(history.get(key) for key in lines)]
    figure = Figure(figsize=(5.2 * max(len(panels), 1), 3.8), layout="constrained")
    axes = figure.subplots(1, max(len(panels), 1), squeeze=False)[0]
    for ax, (title, lines) in zip(axes, panels, strict=False):
        _tidy(ax, title)
        for key, (name, color) in lines.items():
            if points := history.get(key):
                _draw_line(ax, points, name, color, is_fine=key in FINE)
                ax.lines[-1].set_linestyle("--" if key in DASHED else "-")
        if len(ax.lines) > 1:
            ax.legend(frameon=False, fontsize=9, labelcolor=INK)
        if title == "Loss":
            _keep_peaks_out(ax)
        elif title.startswith("Accuracy"):
            ax.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=None))
            _mark_best(ax, history.get("val/top1", ()))
        else:
            ax.set_ylim(bottom=0)
            ax.set_title(_groups_note(lr_factors), loc="right", fontsize=9, color=MUTED)
    return figure


def _draw_line(ax: Axes, points: Sequence[Point], name: str, color: str, *, is_fine: bool) -> None:
    steps, values = zip(*points, strict=True)
    marker = "" if (is_fine and len(points) > 1) or len(points) > MAX_MARKED_POINTS else "o"
    ax.plot(steps, values, label=name, color=color, linewidth=1.2 if is_fine else 2, marker=marker, markersize=4)


def _keep_peaks_out(ax: Axes) -> None:
    """Let a few high points of single steps, as the first ones often are, leave the picture."""
    coarse = [line for line in ax.lines if line.get_label() != "steps"]
    fine = [line for line in ax.lines if line.get_label() == "steps"]
    values = [np.asarray(line.get_ydata(), dtype=float) for line in (*coarse, *fine)]
    finite = [some[np.isfinite(some)] for some in values]
    tops = [some.max() for some in finite[: len(coarse)] if len(some)]
    tops += [np.percentile(some, 99) for some in finite[len(coarse) :] if len(some)]
    if tops:
        low, high = min(some.min() for some in finite if len(some)), max(tops)
        margin = 0.05 * (high - low) or 0.05 * abs(high) or 1.0
        ax.set_ylim(low - margin, high + margin)


def _mark_best(ax: Axes, points: Sequence[Point]) -> None:
    known = [point for point in points if np.isfinite(point[1])]
    if not known:
        return
    step, value = max(known, key=lambda point: point[1])
    ax.plot([step], [value], marker="o", markersize=9, markerfacecolor="none", markeredgecolor=ORANGE)
    ax.set_title(f"best top-1 {value:.1%}", loc="right", fontsize=9, color=ORANGE)


def _groups_note(lr_factors: Sequence[float]) -> str:
    """What multiplies the rate in some groups of parameters; empty where nothing does."""
    others = [f"× {factor:.3g}" for factor in lr_factors if factor != 1]
    if len(others) > MAX_LISTED_FACTORS:
        return f"{len(lr_factors)} groups, {others[0]} … {others[-1]}"
    return f"some groups {', '.join(others)}" if others else ""


def _tidy(ax: Axes, title: str) -> None:
    add_title(ax, title)
    ax.set_xlabel("optimizer steps", fontsize=9, color=MUTED)
    ax.grid(color=GRID, linewidth=0.8)
    ax.set_axisbelow(True)
    ax.tick_params(colors=MUTED, labelsize=9, length=0)
    ax.xaxis.set_major_locator(MaxNLocator(6, integer=True, min_n_ticks=1))
    ax.spines[["top", "right"]].set_visible(False)
    ax.spines[["left", "bottom"]].set_color(GRID)
