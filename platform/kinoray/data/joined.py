"""Several lists as one, and the list that is still to be named."""

from typing import Annotated

import pyarrow as pa
from pydantic import Field

from kinoray.data.sources import AnySource, SourceConfig
from kinoray.errors import DataError


class JoinedSource(SourceConfig):
    """The videos of several sources, one after the other; their classes are the same."""

    kind: str = "joined"
    sources: Annotated[tuple[AnySource, ...], Field(min_length=1)]

    def describe(self) -> str:
        return " + ".join(source.describe() for source in self.sources)

    def class_names(self) -> tuple[str, ...] | None:
        stated = {names for source in self.sources if (names := source.class_names()) is not None}
        if len(stated) > 1:
            raise DataError(f"{self.describe()}: the sources state different classes; name them in data.classes")
        return stated.pop() if stated else None

    def read(self) -> pa.Table:
        tables = [source.read() for source in self.sources]
        try:
            return pa.concat_tables(tables, promote_options="default")
        except pa.ArrowException as error:
            kinds = ", ".join(
                f"{source.describe()}: {table['label'].type}"
                for source, table in zip(self.sources, tables, strict=True)
            )
            raise DataError(
                f"joined sources: their columns differ in type, of labels {kinds}; write them alike"
            ) from error


class MissingSource(SourceConfig):
    """No list yet: a recipe that only tests says so instead of naming videos to train on."""

    kind: str = "missing"
    why: str = "not named"

    def describe(self) -> str:
        return "(missing)"

    def read(self) -> pa.Table:
        raise DataError(f"data.train.source: missing, as {self.why}; set it to train, and the optimizer to what suits")
