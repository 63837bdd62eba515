"""Rows that were read, as the columns that a batch is made of. No torch here: this runs where decoding does."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kinoray.data.rows import ReadRow


def columns_of(rows: Sequence[ReadRow]) -> dict[str, NDArray[Any]]:
    """What ``Batch.from_columns`` takes, but the clips."""
    return {name: np.array([row[name] for row in rows]) for name in ReadRow.__annotations__}  # type: ignore[literal-required]
