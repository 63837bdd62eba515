"""The picture of how well each class is recognized."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter
from numpy.typing import NDArray

from kinoray.tracking.pictures import BLUE, GRID, INK, MUTED, RED, add_title, shortened

MAX_BARS = 40
"""More classes than this show the worst and the best only, half of it each."""
NORMAL_QUANTILE = 1.96
"""Of 95 in 100."""


def class_bars_picture(confusion: NDArray[np.int64], classes: Sequence[str]) -> Figure:
    """Accuracy of each class with its number of videos and 95 % interval, the worst first.

    Args:
        confusion: ``(K, K)`` counts; row = true class, column = predicted class.
        classes: K names.
    """
    counts = confusion.sum(axis=1)
    present = np.flatnonzero(counts)
    accuracy = confusion.diagonal()[present] / counts[present]
    # Of equals, the class with more videos comes first, whichever end of the list it is at: it is the surer find.
    worst_first, best_first = (present[np.lexsort((-counts[present], sign * accuracy))] for sign in (1, -1))
    half = MAX_BARS // 2
    parts = [("Accuracy by class", worst_first)]
    if len(worst_first) > MAX_BARS:
        parts = [("Worst classes", worst_first[:half]), ("Best classes", best_first[:half])]
    num_rows = max(1, *(len(part) for _, part in parts))
    figure = Figure(figsize=(7.2 * len(parts), 1.1 + 0.26 * num_rows), layout="constrained")
    for ax, (title, part) in zip(figure.subplots(1, len(parts), squeeze=False)[0], parts, strict=True):
        mean = float(accuracy.mean()) if len(present) else 0.0
        add_title(ax, title)
        _draw_bars(ax, [classes[label] for label in part], confusion.diagonal()[part], counts[part], mean)
    figure.supxlabel(_note(len(present), len(classes), len(parts) > 1), fontsize=9, color=MUTED)
    return figure


def wilson_interval(num_hits: NDArray[np.int64], num_videos: NDArray[np.int64]) -> NDArray[np.float64]:
    """``(2, ...)`` ends of the 95 % interval of a share. Source: Wilson, JASA 22 (1927)."""
    squared = NORMAL_QUANTILE**2
    share = num_hits / num_videos
    middle = (share + squared / (2 * num_videos)) / (1 + squared / num_videos)
    spread = np.sqrt(share * (1 - share) / num_videos + squared / (4 * num_videos**2))
    half = NORMAL_QUANTILE * spread / (1 + squared / num_videos)
    return np.stack([middle - half, middle + half]).clip(0, 1)


def _draw_bars(
    ax: Axes, names: Sequence[str], num_hits: NDArray[np.int64], num_videos: NDArray[np.int64], mean: float
) -> None:
    """Bars from top to bottom; those whose interval lies below the mean are red."""
    places = np.arange(len(names))
    share = num_hits / num_videos
    low, high = wilson_interval(num_hits, num_videos)
    colors = [RED if end < mean else BLUE for end in high]
    ax.barh(places, share, color=colors, height=0.72)
    ax.hlines(places, low, high, color=INK, linewidth=1, alpha=0.55)
    for place, (part, of) in enumerate(zip(num_hits, num_videos, strict=True)):
        ax.text(1.11, place, f"{part / of:.0%}", fontsize=8, color=INK, va="center", ha="right")
        ax.text(1.24, place, f"{of:,}", fontsize=8, color=MUTED, va="center", ha="right")
    ax.text(1.24, -1, "videos", fontsize=8, color=MUTED, va="center", ha="right")
    ax.plot([mean, mean], [-0.6, len(names) - 0.4], color=MUTED, linewidth=1, linestyle=(0, (4, 3)))
    ax.text(mean, -1, f"mean {mean:.0%}", fontsize=8, color=MUTED, va="center", ha="center", backgroundcolor="white")
    ax.set_yticks(places, [shortened(name, 34) for name in names], parse_math=False)
    ax.set_ylim(len(names) - 0.4, -1.4)
    ax.set_xlim(0, 1.25)
    ax.set_xticks(np.linspace(0, 1, 5))
    ax.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    ax.tick_params(colors=MUTED, labelsize=8, length=0)
    ax.tick_params(axis="y", labelcolor=INK)
    ax.grid(axis="x", color=GRID, linewidth=0.8)
    ax.set_axisbelow(True)
    ax.spines[:].set_visible(False)


def _note(num_present: int, num_classes: int, are_some: bool) -> str:
    absent = num_classes - num_present
    notes = ["line: 95 % interval", "red: interval below the mean"]
    if are_some:
        notes.insert(0, f"{min(num_present, MAX_BARS)} of {num_present} classes")
    if absent:
        notes.append(f"classes without videos: {absent}")
    return " · ".join(notes)
