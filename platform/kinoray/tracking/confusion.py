"""The picture of what is taken for what."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter
from numpy.typing import NDArray

from kinoray.tracking.pictures import BLUE, GRID, INK, MUTED, add_title, shortened

MAX_NAMED_CLASSES = 60
MAX_PRINTED_CLASSES = 12
NUM_LISTED_CONFUSIONS = 20


def confusion_picture(confusion: NDArray[np.int64], classes: Sequence[str]) -> Figure:
    """The confusion matrix as shares of each true class.

    Few classes get names and numbers; many get a list of what is confused most beside the matrix.

    Args:
        confusion: ``(K, K)`` counts; row = true class, column = predicted class.
        classes: K names.
    """
    num_classes = len(classes)
    counts = confusion.sum(axis=1, keepdims=True)
    shares = confusion / np.maximum(counts, 1)
    with_list = num_classes > MAX_PRINTED_CLASSES
    side = float(np.clip(3.2 + 0.32 * num_classes, 4.5, 12))
    figure = Figure(figsize=(side + 5 * with_list, side), layout="constrained")
    grid = figure.add_gridspec(1, 1 + with_list, width_ratios=[side] + [4] * with_list)
    ax = figure.add_subplot(grid[0])
    # The root lifts small confusions out of the white.
    image = ax.imshow(shares, cmap="Blues", norm=PowerNorm(0.5, 0, 1), interpolation="nearest")
    bar = figure.colorbar(image, cax=ax.inset_axes((1.02, 0, 0.025, 1)), ticks=[0, 0.05, 0.25, 0.5, 1])
    bar.ax.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    bar.ax.tick_params(colors=MUTED, labelsize=8, length=0)
    bar.outline.set_visible(False)
    total = int(confusion.sum())
    accuracy = np.trace(confusion) / max(total, 1)
    add_title(ax, f"top-1 {accuracy:.1%} of {total:,} videos")
    _label_classes(ax, classes)
    if not with_list:
        _print_shares(ax, shares)
    else:
        _list_confusions(figure.add_subplot(grid[1]), shares, counts[:, 0], classes)
    return figure


def _label_classes(ax: Axes, classes: Sequence[str]) -> None:
    ax.set_xlabel("predicted", fontsize=10, color=MUTED)
    ax.set_ylabel("true", fontsize=10, color=MUTED)
    ax.tick_params(colors=MUTED, labelsize=8, length=0)
    ax.spines[:].set_color(GRID)
    if len(classes) <= MAX_NAMED_CLASSES:
        names = [shortened(name, 24) for name in classes]
        ax.set_xticks(range(len(names)), names, rotation=90 if len(names) > 4 else 0, parse_math=False)
        ax.set_yticks(range(len(names)), names, parse_math=False)
    else:
        ax.xaxis.set_major_locator(MaxNLocator(8, integer=True))
        ax.yaxis.set_major_locator(MaxNLocator(8, integer=True))


def _print_shares(ax: Axes, shares: NDArray[np.float64]) -> None:
    for (row, column), share in np.ndenumerate(shares):
        if share > 0:
            color = "white" if share > 0.35 else INK
            ax.text(column, row, f"{share:.0%}", ha="center", va="center", fontsize=9, color=color)


def _list_confusions(ax: Axes, shares: NDArray[np.float64], counts: NDArray[np.int64], classes: Sequence[str]) -> None:
    """The off-diagonal pairs that hold the most videos."""
    ax.set_axis_off()
    missed = shares * counts[:, None]
    np.fill_diagonal(missed, 0)
    order = np.argsort(missed, axis=None)[::-1][:NUM_LISTED_CONFUSIONS]
    add_title(ax, "Most often confused")
    for line, (row, column) in enumerate(zip(*np.unravel_index(order, missed.shape), strict=True)):
        if missed[row, column] == 0:
            break
        pair = f"{shortened(classes[row], 22)} → {shortened(classes[column], 22)}"
        _write_line(ax, line, 0, f"{shares[row, column]:.0%}", BLUE)
        _write_line(ax, line, 34, pair, INK)


def _write_line(ax: Axes, line: int, indent_points: float, text: str, color: str) -> None:
    ax.annotate(
        text,
        (0, 1),
        xycoords="axes fraction",
        xytext=(indent_points, -18 * (line + 1)),
        textcoords="offset points",
        fontsize=9,
        color=color,
        va="center",
        parse_math=False,
    )
