"""What was injected and what came of it, as one table."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from statistics import median
from typing import Any

HEADS = ("fault", "times", "lost", "duplicated", "recomputed", "recovery s", "weights", "besides")


@dataclass
class Row:
    """Measured of one fault.

    Attributes:
        injected: how often.
        lost: videos and metric points that the undisturbed run has, and this one has not.
        duplicated: those that it has more often.
        recomputed: steps, for each time.
        recoveries: seconds from the injection to the first step computed after it, for each time.
        difference: the largest between final weights and those of the undisturbed run; None where there are none.
        note: what else was measured.
    """

    fault: str
    injected: int
    lost: int
    duplicated: int
    recomputed: list[int] = field(default_factory=list)
    recoveries: list[float] = field(default_factory=list)
    difference: float | None = None
    note: str = ""

    def add(self, other: "Row") -> None:
        """Take in another row of the same fault."""
        self.injected += other.injected
        self.lost += other.lost
        self.duplicated += other.duplicated
        self.recomputed += other.recomputed
        self.recoveries += other.recoveries
        found = [value for value in (self.difference, other.difference) if value is not None]
        self.difference = max(found, default=None)
        self.note = self.note or other.note

    def cells(self) -> tuple[str, ...]:
        weights = "" if self.difference is None else f"differ by {self.difference:.1e}"
        return (
            self.fault,
            str(self.injected),
            str(self.lost),
            str(self.duplicated),
            f"{sum(self.recomputed)} (at most {max(self.recomputed)})" if self.recomputed else "",
            f"{median(self.recoveries):.1f} (at most {max(self.recoveries):.1f})" if self.recoveries else "",
            "bit-equal" if self.difference == 0 else weights,
            self.note,
        )

    def plain(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def merged(rows: Iterable[Row]) -> list[Row]:
    """One row a fault, in the order of their first ones."""
    found: dict[str, Row] = {}
    for row in rows:
        if row.fault in found:
            found[row.fault].add(row)
        else:
            found[row.fault] = Row(**row.plain())
    return list(found.values())


def table(rows: Iterable[Row]) -> list[str]:
    """Lines, columns aligned."""
    cells = [HEADS, *(row.cells() for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells]
