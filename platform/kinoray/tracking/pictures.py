"""Pictures of a run: learning curves and the confusion matrix. No pyplot, no global state."""

import io
import warnings
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter
from numpy.typing import NDArray

from kinoray.tracking.summary import History

MAX_NAMED_CLASSES = 60
MAX_PRINTED_CLASSES = 12
NUM_LISTED_CONFUSIONS = 20

INK, MUTED, GRID = "#1f2933", "#7b8794", "#e4e7eb"
BLUE, ORANGE, GREEN, VIOLET = "#2b6cb0", "#dd6b20", "#2f855a", "#805ad5"

PANELS = (
    ("Loss", {"train/loss": ("steps", "#a3bfdb"), "train/epoch_loss": ("train", BLUE), "val/loss": ("val", ORANGE)}),
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


def png_bytes(figure: Figure) -> bytes:
    """Render a figure."""
    target = io.BytesIO()
    with warnings.catch_warnings():
        # Class names may be in a script that the font lacks; boxes are better than no picture.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        figure.savefig(target, format="png", dpi=150, bbox_inches="tight", pad_inches=0.15)
    return target.getvalue()


def curves_picture(history: History) -> Figure:
    """Loss, accuracy and learning rate over optimizer steps; panels without points are left out."""
    panels = [(title, lines) for title, lines in PANELS if any(history.get(key) for key in lines)]
    figure = Figure(figsize=(5.2 * max(len(panels), 1), 3.8), layout="constrained")
    axes = figure.subplots(1, max(len(panels), 1), squeeze=False)[0]
    for ax, (title, lines) in zip(axes, panels, strict=False):
        _tidy(ax, title)
        for key, (name, color) in lines.items():
            if points := history.get(key):
                _draw_line(ax, points, name, color, is_fine=key in ("train/loss", "train/lr"))
        if len(ax.lines) > 1:
            ax.legend(frameon=False, fontsize=9, labelcolor=INK)
        if title.startswith("Accuracy"):
            ax.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=None))
            _mark_best(ax, history.get("val/top1", ()))
    return figure


def _draw_line(ax: Axes, points: Sequence[tuple[int, float]], name: str, color: str, *, is_fine: bool) -> None:
    steps, values = zip(*points, strict=True)
    marker = "" if (is_fine and len(points) > 1) or len(points) > 60 else "o"
    ax.plot(steps, values, label=name, color=color, linewidth=1.2 if is_fine else 2, marker=marker, markersize=4)


def _mark_best(ax: Axes, points: Sequence[tuple[int, float]]) -> None:
    if not points:
        return
    step, value = max(points, key=lambda point: point[1])
    ax.plot([step], [value], marker="o", markersize=9, markerfacecolor="none", markeredgecolor=ORANGE)
    ax.set_title(f"best top-1 {value:.1%}", loc="right", fontsize=9, color=ORANGE)


def _tidy(ax: Axes, title: str) -> None:
    ax.set_title(title, loc="left", fontsize=11, fontweight="bold", color=INK)
    ax.set_xlabel("optimizer steps", fontsize=9, color=MUTED)
    ax.grid(color=GRID, linewidth=0.8)
    ax.set_axisbelow(True)
    ax.tick_params(colors=MUTED, labelsize=9, length=0)
    ax.xaxis.set_major_locator(MaxNLocator(6, integer=True, min_n_ticks=1))
    ax.spines[["top", "right"]].set_visible(False)
    ax.spines[["left", "bottom"]].set_color(GRID)


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
    bar = figure.colorbar(image, ax=ax, fraction=0.04, pad=0.02, aspect=35, ticks=[0, 0.05, 0.25, 0.5, 1])
    bar.ax.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    bar.ax.tick_params(colors=MUTED, labelsize=8, length=0)
    bar.outline.set_visible(False)
    total = int(confusion.sum())
    accuracy = np.trace(confusion) / max(total, 1)
    ax.set_title(f"top-1 {accuracy:.1%} of {total:,} videos", loc="left", fontsize=11, fontweight="bold", color=INK)
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
        names = [_short(name, 24) for name in classes]
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
    ax.set_title("Most often confused", loc="left", fontsize=11, fontweight="bold", color=INK)
    for line, (row, column) in enumerate(zip(*np.unravel_index(order, missed.shape), strict=True)):
        if missed[row, column] == 0:
            break
        pair = f"{_short(classes[row], 22)} → {_short(classes[column], 22)}"
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


def _short(name: str, max_chars: int) -> str:
    return name if len(name) <= max_chars else name[: max_chars - 1] + "…"
