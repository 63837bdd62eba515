"""The picture of what a prepared list holds."""

from collections.abc import Mapping
from itertools import pairwise

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, LogLocator, MaxNLocator, NullFormatter

from kinoray.data.summary import Spread, Summary
from kinoray.tracking.pictures import BLUE, GRID, INK, MUTED, ORANGE, RED, add_title, shortened

MAX_BARS = 10
"""Values that get a bar of their own."""
MAX_CLASS_BARS = 24
"""More classes than this show the largest and the smallest only, half of it each."""
MIN_BAR_PLACES = 5
MAX_RATIO_NAMED = 30
"""Of figures that differ more, only powers of ten have their tick; others 2 and 5 times these as well."""


def summary_picture(summary: Summary) -> Figure:
    """How long, large and fast the videos are, in which codecs, of which classes, and why some are bad."""
    figure = Figure(figsize=(15, 9.5), layout="constrained")
    grid = figure.add_gridspec(3, 4, width_ratios=[1, 1, 1, 1.3])
    places = [figure.add_subplot(grid[row, column]) for row in range(3) for column in range(3)]
    _draw_spread(places[0], "Duration", summary.duration_seconds, "s")
    _draw_spread(places[1], "Frames", summary.frames, "")
    _draw_spread(places[2], "File size", summary.file_bytes, "B")
    _draw_counts(places[3], "Frames per second", summary.fps, BLUE)
    _draw_counts(places[4], "Short side, pixels", summary.short_sides, BLUE)
    _draw_counts(places[5], "Codec", summary.codecs, BLUE)
    _draw_counts(places[6], "Bad videos by reason", summary.reasons, RED)
    kinds = {"exact": summary.num_exact, "near": summary.num_near, "in other lists": summary.num_leaks}
    _draw_counts(places[7], "Duplicates", {name: count for name, count in kinds.items() if count}, ORANGE)
    _draw_counts(places[8], "Rows of the splits", summary.split_rows, BLUE)
    _draw_classes(figure.add_subplot(grid[:, 3]), summary)
    return figure


def _draw_spread(ax: Axes, title: str, spread: Spread, unit: str) -> None:
    add_title(ax, title)
    _tidy(ax)
    centres, widths = zip(*(((low + high) / 2, high - low) for low, high in pairwise(spread.edges)), strict=True)
    ax.bar(centres, spread.counts, widths, color=BLUE)
    shown = EngFormatter(unit, places=1, sep="")
    ax.set_xlabel(
        f"{shown(spread.least)} to {shown(spread.most)}, median {shown(spread.median)}", fontsize=9, color=MUTED
    )
    if len(spread.counts) > 1:
        ax.set_xscale("log")
        is_wide = spread.most > MAX_RATIO_NAMED * spread.least
        ax.xaxis.set_major_locator(LogLocator(subs=(1,) if is_wide else (1, 2, 5), numticks=8))
        ax.xaxis.set_minor_formatter(NullFormatter())
    ax.xaxis.set_major_formatter(EngFormatter(unit, sep=""))


def _draw_counts(ax: Axes, title: str, counts: Mapping[str, int], color: str) -> None:
    """The most frequent values, by name or in the order of numbers."""
    add_title(ax, title)
    if not counts:
        ax.set_axis_off()
        ax.text(0, 0.9, "none", color=MUTED, fontsize=10, transform=ax.transAxes)
        return
    kept = dict(list(counts.items())[:MAX_BARS])
    if all(name.replace(".", "", 1).isdecimal() for name in kept):
        kept = dict(sorted(kept.items(), key=lambda item: float(item[0])))
    if others := sum(counts.values()) - sum(kept.values()):
        kept[f"{len(counts) - MAX_BARS} others"] = others
    _draw_bars(ax, list(kept), list(kept.values()), [color] * len(kept))


def _draw_classes(ax: Axes, summary: Summary) -> None:
    names, half = list(summary.classes), MAX_CLASS_BARS // 2
    left_out = 0
    if len(names) > MAX_CLASS_BARS:
        left_out = len(names) - MAX_CLASS_BARS
        names = names[:half] + names[-half:]
    few = summary.small_classes
    add_title(ax, f"{len(summary.classes):,} classes, 1 : {summary.imbalance:.1f}")
    if not names:
        ax.set_axis_off()
        return
    counts = [summary.classes[name] for name in names]
    _draw_bars(ax, [shortened(name, 28) for name in names], counts, [ORANGE if name in few else BLUE for name in names])
    if left_out:
        ax.axhline(half - 0.5, color=MUTED, linewidth=0.8, linestyle=":")
        label = f"{left_out:,} classes between"
        ax.text(1, half - 0.5, label, fontsize=8, color=MUTED, ha="right", transform=ax.get_yaxis_transform())


def _draw_bars(ax: Axes, names: list[str], counts: list[int], colors: list[str]) -> None:
    _tidy(ax)
    places = np.arange(len(counts))
    ax.barh(places, counts, color=colors, height=0.7)
    ax.set_yticks(places, names, parse_math=False)
    ax.set_ylim(max(len(counts), MIN_BAR_PLACES) - 0.4, -0.6)
    ax.set_xlim(0, 1.15 * max(counts))
    ax.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    for place, count in zip(places, counts, strict=True):
        ax.annotate(
            f"{count:,}", (count, place), (3, 0), textcoords="offset points", fontsize=8, color=INK, va="center"
        )


def _tidy(ax: Axes) -> None:
    ax.grid(color=GRID, linewidth=0.8)
    ax.set_axisbelow(True)
    ax.tick_params(colors=MUTED, labelsize=8, length=0, which="both")
    ax.spines[["top", "right"]].set_visible(False)
    ax.spines[["left", "bottom"]].set_color(GRID)
