"""What videos should be, looked up by where they are or by their id: 64 bytes a video, however long its names are."""

from collections.abc import Iterable, Iterator, Sequence
from hashlib import blake2b
from typing import Self

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from kinoray.data.labels import derived_classes, label_indices, single_labels
from kinoray.data.manifest import absolute
from kinoray.data.sources import ManifestSource
from kinoray.errors import DataError
from kinoray.video.files import without_passwords

UNKNOWN = -1
_BATCH_ROWS = 65_536


class Labels:
    """Labels of videos, and of segments of them.

    Args:
        names: of the classes.
        keys: ``(L,)``, of places and ids.
        labels: ``(L,)`` numbers of names.
        spans: ``(L, 2)`` start and end seconds; infinite where a row is of the whole video.
    """

    def __init__(
        self, names: tuple[str, ...], keys: NDArray[np.uint64], labels: NDArray[np.int64], spans: NDArray[np.float64]
    ) -> None:
        order = np.argsort(keys, kind="stable")
        self.names = names
        self._keys, self._labels, self._spans = keys[order], labels[order], spans[order]

    @classmethod
    def read(cls, path: str, classes: Sequence[str] | None) -> Self:
        """Labels of a manifest, whose rows without a label are left out.

        Args:
            path: a table with ``path`` and ``label``, perhaps ``video_id``, ``start_seconds`` and ``end_seconds``.
            classes: what numbers stand for; None where nobody said.

        Raises:
            DataError: it cannot be read, a video has several labels at a time, or numbers have no names.
        """
        table = ManifestSource(path=path).read()
        table = table.filter(table["label"].is_valid())

        def row(number: int) -> str:
            return f"row {number + 1} of those with a label ({table['video_id'][number].as_py()})"

        written = single_labels(table["label"], path, row)
        if classes is None and pa.types.is_integer(written.type):
            raise DataError(
                f"{path}: labels are numbers; say what they stand for by --classes, a file with a name a line"
            )
        names = tuple(classes) if pa.types.is_integer(written.type) and classes else derived_classes(written, path)
        labels = label_indices(written, names, path, row).to_numpy()
        places = _keys_of("place", _places(table["path"]), table.num_rows)
        ids = _keys_of("id", (video_id.as_py() for video_id in table["video_id"]), table.num_rows)
        spans = np.column_stack([_seconds(table, "start_seconds", -np.inf), _seconds(table, "end_seconds", np.inf)])
        return cls(names, np.concatenate([places, ids]), np.tile(labels, 2), np.tile(spans, (2, 1)))

    def of(self, uris: Sequence[str], ids: Sequence[str], middles: NDArray[np.float64]) -> NDArray[np.int64]:
        """Numbers of names, ``UNKNOWN`` where a video is not listed, or its rows do not agree.

        Args:
            uris: ``(N,)``; where one is not listed, its id counts.
            ids: ``(N,)``.
            middles: ``(N,)`` seconds; a window has the label of the segment in which its middle lies. NaN: the video's.
        """
        found = self._found(_keys_of("place", map(location, uris), len(uris)), middles)
        by_id = self._found(_keys_of("id", ids, len(ids)), middles)
        return np.where(found == UNKNOWN, by_id, found)

    def _found(self, keys: NDArray[np.uint64], middles: NDArray[np.float64]) -> NDArray[np.int64]:
        first, stop = (np.searchsorted(self._keys, keys, side) for side in ("left", "right"))
        found = np.full(len(keys), UNKNOWN, np.int64)
        alone = np.flatnonzero(stop - first == 1)
        row = first[alone]
        found[alone] = np.where(_holds(self._spans[row], middles[alone]), self._labels[row], UNKNOWN)
        for number in np.flatnonzero(stop - first > 1):
            rows = slice(first[number], stop[number])
            labels = np.unique(self._labels[rows][_holds(self._spans[rows], middles[number])])
            if len(labels) == 1:
                found[number] = labels[0]
        return found


def location(uri: str) -> str:
    """Where a video is, without the options and secrets of how it is reached."""
    if "://" not in uri:
        return uri
    place = uri.partition("?")[0]
    return without_passwords(place) if "@" in place else place


def _holds(spans: NDArray[np.float64], middles: NDArray[np.float64] | np.float64) -> NDArray[np.bool_]:
    """Which ``(n, 2)`` spans hold a time; all of them where it is NaN."""
    held: NDArray[np.bool_] = np.isnan(middles) | ((spans[:, 0] <= middles) & (middles < spans[:, 1]))
    return held


def _places(paths: pa.ChunkedArray) -> Iterator[str]:
    """Some at a time: as Python's they take ten times the memory."""
    for start in range(0, len(paths), _BATCH_ROWS):
        yield from map(location, absolute(paths.slice(start, _BATCH_ROWS)).to_pylist())


def _keys_of(kind: str, texts: Iterable[str], num_texts: int) -> NDArray[np.uint64]:
    """``(N,)``: of a million texts two have the same key once in 40 million times."""
    salt = kind.encode()
    digests = (int.from_bytes(blake2b(text.encode(), digest_size=8, salt=salt).digest()) for text in texts)
    return np.fromiter(digests, np.uint64, num_texts)


def _seconds(table: pa.Table, name: str, otherwise: float) -> NDArray[np.float64]:
    if name not in table.column_names:
        return np.full(table.num_rows, otherwise)
    seconds: NDArray[np.float64] = table[name].fill_null(otherwise).to_numpy()
    return seconds
