"""What all pictures of a run share: colours, fonts, and how they become files. No pyplot, no global state."""

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from matplotlib.axes import Axes
from matplotlib.figure import Figure

INK, MUTED, GRID = "#1f2933", "#7b8794", "#e4e7eb"
BLUE, ORANGE, GREEN, VIOLET, RED = "#2b6cb0", "#dd6b20", "#2f855a", "#805ad5", "#c53030"
PALE_BLUE = "#a3bfdb"


def png_bytes(figure: Figure) -> bytes:
    """Render a figure."""
    target = io.BytesIO()
    with glyphs_may_lack():
        figure.savefig(target, format="png", dpi=150, bbox_inches="tight", pad_inches=0.15)
    return target.getvalue()


@contextmanager
def glyphs_may_lack() -> Iterator[None]:
    """Class names may be in a script that the font lacks; boxes are better than no picture."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        yield


def add_title(ax: Axes, text: str) -> None:
    """Above its left end."""
    ax.set_title(text, loc="left", fontsize=11, fontweight="bold", color=INK, parse_math=False)


def shortened(name: str, max_chars: int) -> str:
    """A name, or its beginning and end: long class names often begin alike."""
    if len(name) <= max_chars:
        return name
    end = (max_chars - 1) // 3
    return f"{name[: max_chars - 1 - end].rstrip()}…{name[-end:].lstrip()}"
