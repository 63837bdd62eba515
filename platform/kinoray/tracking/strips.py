"""Pictures of videos: a few frames of each in a row, with words beside them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from kinoray.tracking.pictures import INK, MUTED, shortened
from kinoray.train.events import BatchSeen

FRAME_INCHES = 1.15
WORDS_INCHES = 3.1
MAX_LINE_CHARS = 40
LINE_POINTS = 13


@dataclass(frozen=True)
class Strip:
    """One row.

    Attributes:
        pictures: ``(F, H, W, 3)`` uint8.
        lines: (text, colour), what is written beside them.
    """

    pictures: NDArray[np.uint8]
    lines: Sequence[tuple[str, str]]


def strips_picture(title: str, strips: Sequence[Strip]) -> Figure:
    """One strip below the other.

    Args:
        title: of all.
        strips: at least one, with pictures of any size.
    """
    num_frames = max(len(strip.pictures) for strip in strips)
    heights = [FRAME_INCHES * max(0.5, strip.pictures.shape[1] / strip.pictures.shape[2]) for strip in strips]
    width, height = WORDS_INCHES + FRAME_INCHES * num_frames, sum(heights) + 0.3
    figure = Figure(figsize=(width, height))
    figure.text(0, 1, title, fontsize=11, fontweight="bold", color=INK, va="top", parse_math=False)
    top = sum(heights)
    for strip, part in zip(strips, heights, strict=True):
        top -= part
        place = (0.0, top / height, WORDS_INCHES / width, part / height)
        _write(figure.add_axes(place), strip.lines)
        shown = FRAME_INCHES * len(strip.pictures) / width
        _draw(figure.add_axes((WORDS_INCHES / width, top / height, shown, part / height)), strip.pictures)
    return figure


def batch_picture(event: BatchSeen, classes: Sequence[str]) -> Figure:
    """The videos of a ``BatchSeen`` with the names of their classes; of mixed ones, with the shares."""
    strips = []
    for pictures, labels in zip(event.pictures, event.labels, strict=True):
        lines = [
            (classes[label] if share == 1 else f"{share:.0%} {classes[label]}", MUTED if share < labels[0][1] else INK)
            for label, share in labels
        ]
        strips.append(Strip(pictures, lines))
    return strips_picture("What the model sees: the first batch, after crop, augmentation and mix", strips)


def _write(ax: Axes, lines: Sequence[tuple[str, str]]) -> None:
    ax.set_axis_off()
    for place, (text, color) in enumerate(lines):
        ax.annotate(
            shortened(text, MAX_LINE_CHARS),
            (0, 0.5),
            xycoords="axes fraction",
            xytext=(0, LINE_POINTS * ((len(lines) - 1) / 2 - place)),
            textcoords="offset points",
            fontsize=9,
            color=color,
            va="center",
            parse_math=False,
        )


def _draw(ax: Axes, pictures: NDArray[np.uint8]) -> None:
    """All frames as one picture with white gaps between them."""
    ax.set_axis_off()
    gap = max(1, pictures.shape[2] // 28)
    padded = np.pad(pictures, ((0, 0), (0, gap), (0, gap), (0, 0)), constant_values=255)
    ax.imshow(np.concatenate(padded, axis=1), aspect="auto")
