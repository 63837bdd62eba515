"""The end of a prediction: rows are counted, videos without scores are listed, and a file says that this is all."""

import json
import re
from collections import Counter
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv, parquet

from kinoray.data.output import OutputFolder
from kinoray.errors import ResourceError
from kinoray.predict.listing import Listing
from kinoray.predict.table import SCORED, STATUSES, counts_of

SUCCESS, MANIFEST, QUARANTINE = "_SUCCESS", "_manifest.parquet", "_quarantine.csv"
NUM_READERS = 16
SHARDS_AT_A_TIME = 4096
"""That are counted, or held in memory for it."""
NUM_BAD_SHOWN = 10
_SHARD = re.compile(r"part-(\d{9})\.parquet")
_QUARANTINED = pa.schema([(name, pa.string()) for name in ("video_id", "uri", "status", "error")])


class Bad(NamedTuple):
    """A video without scores, and why."""

    video_id: str
    uri: str
    status: str
    error: str


@dataclass(frozen=True)
class Conclusion:
    """What a finished prediction wrote.

    Attributes:
        counts: rows by status.
        num_rows: as many as videos where these are not cut.
        bad: the first videos without scores; ``QUARANTINE`` lists all.
    """

    counts: dict[str, int]
    num_rows: int
    bad: tuple[Bad, ...]


def shard_name(number: int) -> str:
    """Of a shard's file: the same whoever writes it, however often."""
    return f"part-{number:09d}.parquet"


def written_shards(output: OutputFolder) -> list[int]:
    """Numbers of the shards that are there."""
    names = (_SHARD.fullmatch(name) for name in output.names())
    return sorted(int(match[1]) for match in names if match)


def conclude(output: OutputFolder, listing: Listing, *, of_windows: bool) -> Conclusion:
    """Count what is written, list what has no scores, and say that it is all.

    Args:
        output: holds all shards.
        listing: of the videos.
        of_windows: whether a video may have several rows.

    Raises:
        ResourceError: shards are missing or damaged, or their rows are not those of the listing.
    """

    def look(number: int) -> dict[str, Any]:
        found = _counted(output, shard_name(number))
        due = min(listing.shard_rows, listing.num_videos - number * listing.shard_rows)
        if found["num_rows"] < due or (found["num_rows"] > due and not of_windows):
            raise ResourceError(
                f"{output.path(found['shard'])}: rows, got {found['num_rows']}; the list of videos has {due}: delete "
                "it and run the same command again"
            )
        return found

    counts: Counter[str] = Counter()
    num_rows = 0
    types = [("shard", pa.string()), ("num_rows", pa.int64()), *((status, pa.int64()) for status in STATUSES)]
    schema = pa.schema(types)
    first_bad: list[Bad] = []
    with (
        output.writing(MANIFEST) as file,
        output.writing(QUARANTINE) as list_file,
        parquet.ParquetWriter(file, schema) as writer,
        csv.CSVWriter(list_file, _QUARANTINED) as bad_writer,
        ThreadPoolExecutor(NUM_READERS) as pool,
    ):
        for start in range(0, listing.num_shards, SHARDS_AT_A_TIME):
            rows = list(pool.map(look, range(start, min(start + SHARDS_AT_A_TIME, listing.num_shards))))
            for row in rows:
                counts.update({status: row.get(status, 0) for status in STATUSES})
                num_rows += row["num_rows"]
            writer.write_table(pa.Table.from_pylist(rows, schema=schema))
            for bad in pool.map(lambda row: _quarantined(output, row), rows):
                bad_writer.write_table(bad)
                first_bad += [Bad(**row) for row in bad.slice(0, NUM_BAD_SHOWN - len(first_bad)).to_pylist()]
    assert num_rows == counts.total()
    summary = {"num_videos": listing.num_videos, "num_rows": num_rows, "num_shards": listing.num_shards}
    output.write(SUCCESS, json.dumps({**summary, "counts": counts}, indent=2).encode())
    output.clear_work()
    return Conclusion(dict(counts), num_rows, tuple(first_bad))


def _quarantined(output: OutputFolder, counted: Mapping[str, Any]) -> pa.Table:
    """The rows of a shard that have no scores, without what all of them lack."""
    if not any(counted.get(status) for status in STATUSES if status not in SCORED):
        return _QUARANTINED.empty_table()
    file = output.open(counted["shard"])
    assert file is not None, counted["shard"]
    with file:
        table = parquet.read_table(file, columns=_QUARANTINED.names)
    return table.filter(~pc.field("status").isin(list(SCORED))).cast(_QUARANTINED)


def _counted(output: OutputFolder, name: str) -> dict[str, Any]:
    """What the footer of a shard says."""
    file = output.open(name)
    if file is None:
        raise ResourceError(f"{output.path(name)}: missing; run the same command again")
    try:
        with file:
            footer = parquet.read_metadata(file)
    except pa.ArrowInvalid as error:
        raise ResourceError(
            f"{output.path(name)}: damaged ({error}); delete it and run the same command again"
        ) from error
    return {"shard": name, "num_rows": footer.num_rows, **counts_of(footer.schema.to_arrow_schema())}
