"""A list of videos."""

import pyarrow as pa
from pydantic import Field

from kinoray.data.sources import AnySource, SourceConfig


class EveryNth(SourceConfig):
    """Some rows of another list, for a quick look at a large set."""

    kind: str = "my_package.source:EveryNth"
    of: AnySource
    n: int = Field(gt=0)

    def read(self) -> pa.Table:
        rows = self.of.read()
        return rows.take(list(range(0, rows.num_rows, self.n)))

    def class_names(self) -> tuple[str, ...] | None:
        return self.of.class_names()

    def describe(self) -> str:
        return f"every {self.n}th video of {self.of.describe()}"
