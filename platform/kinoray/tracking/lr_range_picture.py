"""The picture of a learning-rate range test."""

import numpy as np
from matplotlib.figure import Figure

from kinoray.tracking.pictures import BLUE, GREEN, GRID, INK, MUTED, ORANGE, PALE_BLUE, RED, add_title
from kinoray.train.lr_finder import LrRange


def lr_range_picture(found: LrRange) -> Figure:
    """Loss over the rate, with the points that were read off."""
    figure = Figure(figsize=(8, 4.4), layout="constrained")
    ax = figure.subplots()
    add_title(ax, "Loss while the learning rate grows")
    ax.plot(found.rates, found.losses, color=PALE_BLUE, linewidth=1.2, label="of each batch")
    ax.plot(found.rates, found.smoothed, color=BLUE, linewidth=2, label="smoothed")
    marks = {
        "falls fastest": (found.steepest, GREEN),
        "lowest": (found.turn, ORANGE),
        "worse than at first": (found.bound, RED),
    }
    for name, (rate, color) in marks.items():
        if rate is not None:
            ax.axvline(rate, color=color, linewidth=1.2, linestyle=(0, (4, 3)), label=f"{name} at {rate:.2g}")
    if (space := found.space) is not None:
        ax.axvspan(*space, color=GREEN, alpha=0.08, linewidth=0, label=f"to sweep: {space[0]:g} to {space[1]:g}")
    ax.set_xscale("log")
    low, high = min(found.smoothed), max(found.smoothed)
    margin = 0.25 * (high - low) or 0.1 * abs(high) or 1.0
    ax.set_ylim(low - margin, min(high, 2 * float(np.mean(found.smoothed[:5]))) + margin)
    ax.set_xlabel("optimizer.lr", fontsize=9, color=MUTED)
    ax.grid(color=GRID, linewidth=0.8)
    ax.set_axisbelow(True)
    ax.tick_params(colors=MUTED, labelsize=9, length=0, which="both")
    ax.spines[["top", "right"]].set_visible(False)
    ax.spines[["left", "bottom"]].set_color(GRID)
    ax.legend(frameon=False, fontsize=9, labelcolor=INK, loc="lower left")
    return figure
