"""Videos of a list that show the same footage as others, of the list itself or of another one that was prepared."""

from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Self

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyarrow import parquet

from kinoray.data.fingerprints import NUM_BYTES, pictures
from kinoray.data.likeness import Pairs, components, like_pairs
from kinoray.data.sources import TABLE_SUFFIXES, read_table
from kinoray.errors import DataError
from kinoray.video.files import without_passwords

FINGERPRINTS = "fingerprints.parquet"
FINGERPRINT_COLUMNS = pa.schema([("source_path", pa.string()), ("fingerprint", pa.binary())])
DUPLICATES_SCHEMA = pa.schema(
    [
        ("group", pa.int64()),
        ("video_id", pa.string()),
        ("path", pa.string()),
        ("split", pa.string()),
        ("kind", pa.string()),
        ("distance", pa.float64()),
    ]
)

EXACT = -1.0
"""The distance of equal files, less than that of any others."""


@dataclass(frozen=True)
class Footage:
    """What is known of the videos of a list: a row each, several rows perhaps of one file.

    Attributes:
        ids: of the rows.
        paths: of their files, as the source has them.
        digests: of their bytes, empty where unknown.
        fingerprints: empty where unknown.
        durations_seconds: 0 where unknown.
        name: of the list, for reports.
    """

    ids: list[str]
    paths: list[str]
    digests: list[str]
    fingerprints: list[bytes]
    durations_seconds: list[float]
    name: str

    @classmethod
    def of(cls, table: pa.Table, name: str) -> Self:
        """Of a prepared manifest with a column ``fingerprint``."""
        durations = [
            frames / fps if frames and fps else 0.0
            for frames, fps in zip(table["num_frames"].to_pylist(), table["fps"].to_pylist(), strict=True)
        ]
        digests, fingerprints = table["content_digest"].to_pylist(), table["fingerprint"].to_pylist()
        return cls(
            ids=table["video_id"].to_pylist(),
            paths=table["source_path"].to_pylist(),
            digests=[digest or "" for digest in digests],
            fingerprints=[content if content and len(content) == NUM_BYTES else b"" for content in fingerprints],
            durations_seconds=durations,
            name=name,
        )

    @classmethod
    def read(cls, place: str) -> Self:
        """Of an output folder, or a manifest in one.

        Raises:
            DataError: nothing there was prepared, or it was without fingerprints.
        """
        is_manifest = place.partition("?")[0].endswith(TABLE_SUFFIXES)
        location, mark, options = place.partition("?") if "://" in place else (place, "", "")
        folder = location.rpartition("/")[0] or "." if is_manifest else location.rstrip("/")
        manifest = place if is_manifest else f"{folder}/manifest.parquet{mark}{options}"
        try:
            table = read_table(manifest)
            known = read_table(f"{folder}/{FINGERPRINTS}{mark}{options}")
            by_path = dict(zip(known["source_path"].to_pylist(), known["fingerprint"].to_pylist(), strict=True))
            found = [by_path.get(path) for path in table["source_path"].to_pylist()]
            _check_known(found, table)
            return cls.of(table.append_column("fingerprint", pa.array(found, pa.binary())), without_passwords(place))
        except (DataError, KeyError) as error:
            told = f"it lacks the column {error}" if isinstance(error, KeyError) else str(error)
            raise DataError(
                f"--against {without_passwords(place)}: got what holds no fingerprints ({told}); it should be the "
                "OUTPUT of jobs/prepare.py, or a manifest in it"
            ) from error


@dataclass(frozen=True)
class Duplicates:
    """Rows that show the same footage.

    Attributes:
        lists: the list that was asked about, and those it was compared with. "All rows" are theirs, in this order.
        kin: ``(R,)`` of all rows; equal for those that show the same footage, or lie in one file.
        kinds: ``(R,)`` of all rows: "exact" where the bytes are there again, "near" where the footage is, or "".
        distances: ``(R,)`` of all rows that have a kind, to what is most like them.
    """

    lists: tuple[Footage, ...]
    kin: NDArray[np.int64]
    kinds: NDArray[np.str_]
    distances: NDArray[np.float64]

    @property
    def num_own(self) -> int:
        """Rows of the list that was asked about; they are the first ones."""
        return len(self.lists[0].ids)

    @property
    def num_groups(self) -> int:
        """How many different things are there more than once."""
        return len(np.unique(self.kin[self.kinds != ""]))

    def leaks(self) -> list[str]:
        """Of each own row: the id of a row of another list that shows the same, if possible of equal bytes, or ""."""
        id_of: dict[str | int, str] = {}
        others = [row for footage in self.lists[1:] for row in zip(footage.ids, footage.digests, strict=True)]
        for kin, (video_id, digest) in zip(self.kin[self.num_own :].tolist(), others, strict=True):
            id_of.setdefault(kin, video_id)
            id_of.setdefault(digest, video_id)
        own = zip(self.kin.tolist(), self.lists[0].digests, strict=False)
        return [id_of.get(digest or kin, id_of.get(kin, "")) for kin, digest in own]

    def table(self, splits: Sequence[str] | None) -> pa.Table:
        """Rows of ``DUPLICATES_SCHEMA``, without those that stand alone.

        Args:
            splits: of own rows; None where they were not split.
        """
        rows = np.flatnonzero(self.kinds != "")
        rows = rows[np.argsort(self.kin[rows], kind="stable")]
        named = [
            (video_id, without_passwords(path), footage.name)
            for footage in self.lists
            for video_id, path in zip(footage.ids, footage.paths, strict=True)
        ]
        ids, paths, lists = zip(*named, strict=True)
        splits = [*(splits or lists[: self.num_own]), *lists[self.num_own :]]
        return pa.table(
            [
                np.unique(self.kin[rows], return_inverse=True)[1] + 1,
                *([column[row] for row in rows] for column in (ids, paths, splits)),
                self.kinds[rows].tolist(),
                self.distances[rows].clip(0).round(3),
            ],
            schema=DUPLICATES_SCHEMA,
        )


def find_duplicates(own: Footage, others: Sequence[Footage]) -> Duplicates:
    """Look for rows of a list that show what other rows show, of itself or of other lists.

    Rows of one file are no duplicates of each other; but what one of them shows again, so may the others.

    Args:
        own: the list.
        others: whose own duplicates are not looked for.
    """
    lists = (own, *others)
    # A file is one thing in each list.
    places = [(number, path) for number, footage in enumerate(lists) for path in footage.paths]
    files = {place: number for number, place in enumerate(dict.fromkeys(places))}
    file_of = np.array([files[place] for place in places], np.int64)
    _, first_rows = np.unique(file_of, return_index=True)
    is_own = np.array([number == 0 for number, _ in files])
    digests = [digest for footage in lists for digest in footage.digests]
    digests = [digests[row] for row in first_rows]
    exact, near = _exact_pairs(digests), _near_pairs(lists, first_rows, digests)
    first = np.concatenate([exact.first, near.first])
    second = np.concatenate([exact.second, near.second])
    distance = np.concatenate([exact.distance, near.distance])
    is_asked = is_own[first] | is_own[second]
    first, second, distance = first[is_asked], second[is_asked], distance[is_asked]
    nearest = np.full(len(files), np.inf)
    np.minimum.at(nearest, first, distance)
    np.minimum.at(nearest, second, distance)
    kinds = np.select([nearest == EXACT, nearest < np.inf], ["exact", "near"], "")
    return Duplicates(lists, components(len(files), first, second)[file_of], kinds[file_of], nearest[file_of])


def fingerprint_file(table: pa.Table) -> bytes:
    """The content of ``FINGERPRINTS``.

    Args:
        table: with the columns of ``FINGERPRINT_COLUMNS``.
    """
    content = BytesIO()
    parquet.write_table(table.select(FINGERPRINT_COLUMNS.names), content, compression="zstd")
    return content.getvalue()


def read_fingerprints(content: bytes | None) -> dict[str, bytes | None]:
    """``source_path`` -> fingerprint, of the content of ``FINGERPRINTS``; nothing where it cannot be read."""
    try:
        table = parquet.read_table(BytesIO(content or b""), columns=FINGERPRINT_COLUMNS.names)
    except pa.ArrowException:
        return {}
    return dict(zip(table["source_path"].to_pylist(), table["fingerprint"].to_pylist(), strict=True))


def list_name(place: str) -> str:
    """What a list is called in reports: its folder."""
    return Path(place.partition("?")[0].rstrip("/")).name


def _check_known(fingerprints: Sequence[bytes | None], table: pa.Table) -> None:
    """Raise a DataError where a video that can be read has no fingerprint or digest: nothing would ever be like it."""
    errors, digests = table["error"].to_pylist(), table["content_digest"].to_pylist()
    rows = zip(fingerprints, digests, errors, strict=True)
    num_unknown = sum(not error and (content is None or not digest) for content, digest, error in rows)
    if num_unknown:
        raise DataError(f"{num_unknown:,} of its {table.num_rows:,} rows, as after --no-fingerprints")


def _exact_pairs(digests: Sequence[str]) -> Pairs:
    """Each file with the first one of the same bytes."""
    first_of: dict[str, int] = {}
    firsts = [first_of.setdefault(digest, number) if digest else number for number, digest in enumerate(digests)]
    second = np.flatnonzero(np.array(firsts) != np.arange(len(firsts)))
    return Pairs(np.array(firsts, np.int64)[second], second, np.full(len(second), EXACT, np.float32))


def _near_pairs(lists: Sequence[Footage], first_rows: NDArray[np.int64], digests: Sequence[str]) -> Pairs:
    """Pairs of files of different bytes."""
    fingerprints = [content for footage in lists for content in footage.fingerprints]
    durations = [seconds for footage in lists for seconds in footage.durations_seconds]
    first_of = {digest: number for number, digest in reversed(list(enumerate(digests)))}
    numbers = [
        number
        for number, (row, digest) in enumerate(zip(first_rows.tolist(), digests, strict=True))
        if fingerprints[row] and durations[row] > 0 and first_of[digest] == number
    ]
    rows = first_rows[numbers].tolist()
    pairs = like_pairs(pictures([fingerprints[row] for row in rows]), np.array([durations[row] for row in rows]))
    files = np.array(numbers, np.int64)
    return Pairs(files[pairs.first], files[pairs.second], pairs.distance)
