"""Labels as they are written, names or indices, one or several a row, turned into indices of classes."""

from collections.abc import Callable, Sequence
from typing import TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from kinoray.data.sources import indices_or_names
from kinoray.errors import DataError

LABEL_DELIMITER = ";"
NAMES_SHOWN = 8
MAX_DERIVED_CLASSES = 1_000_000
"""More are no labels but numbers of something else, and their names would fill the memory."""

LabelSets: TypeAlias = tuple[tuple[int, ...], ...]
"""Distinct sets of classes, each ascending and perhaps empty. Where videos have several labels, the whole number that
goes with a video is the place of its set in here."""


def derived_classes(labels: pa.ChunkedArray, where: str) -> tuple[str, ...]:
    """Class names where none are stated: sorted names, or indices up to the largest.

    Raises:
        DataError: no row has a label, or one is far too large.
    """
    if labels.null_count == len(labels):
        raise DataError(f"{where}: no row has a label; each row needs a class name or index")
    if pa.types.is_integer(labels.type):
        largest = pc.max(labels).as_py()
        if largest >= MAX_DERIVED_CLASSES:
            raise DataError(
                f"{where}: labels, got {largest}; they are indices of classes from 0 on, or names of data.classes"
            )
        return tuple(str(index) for index in range(largest + 1))
    return tuple(sorted({str(name) for name in labels.to_pylist() if name is not None}))


def single_labels(labels: pa.ChunkedArray, where: str, row: Callable[[int], str]) -> pa.ChunkedArray:
    """Labels of rows that have one each; a list of one counts as one.

    Args:
        labels: as they are written.
        where: for messages.
        row: names a row, for messages.

    Raises:
        DataError: a row has several, or none.
    """
    if not _is_list(labels.type):
        return labels
    lengths = pc.fill_null(pc.list_value_length(labels), 0)
    first = pc.index(pc.equal(lengths, 1), value=False).as_py()
    if first >= 0:
        told = ", ".join(map(str, labels[first].as_py() or ()))
        raise DataError(
            f"{where}: {row(first)} has {lengths[first]} labels ({told}); a row has one, unless the recipe says "
            "data.multi_label: true"
        )
    return indices_or_names(pc.list_flatten(labels))


def label_lists(labels: pa.ChunkedArray, where: str, row: Callable[[int], str]) -> tuple[pa.Array, NDArray[np.int64]]:
    """All labels of rows that may have several, one after the other.

    Args:
        labels: lists as they are, possibly empty; texts are cut at each ``;``, numbers stand for themselves.
        where: for messages.
        row: names a row, for messages.

    Returns:
        (L,) names or indices, and (L,) the rows they belong to, ascending.

    Raises:
        DataError: a row says nothing of its labels.
    """
    first = pc.index(labels.is_null(), value=True).as_py()
    if first >= 0:
        raise DataError(f"{where}: {row(first)} has no label; an empty list says that it is of no class")
    if _is_list(labels.type):
        lists = labels.cast(pa.list_(labels.type.value_type)).combine_chunks()
    elif pa.types.is_string(labels.type):
        lists = pc.split_pattern(labels, LABEL_DELIMITER).combine_chunks()
    else:
        return labels.combine_chunks(), np.arange(len(labels))
    values = pc.list_flatten(lists)
    if pa.types.is_string(values.type) or pa.types.is_large_string(values.type):
        values = pc.utf8_trim_whitespace(values.cast(pa.string()))
        values = indices_or_names(pc.if_else(pc.equal(values, ""), None, values))
    return values, pc.list_parent_indices(lists).to_numpy()


def label_indices(labels: pa.Array, classes: Sequence[str], where: str, row: Callable[[int], str]) -> pa.Array:
    """``(L,)`` names or indices -> ``(L,)`` int64 in 0..K-1.

    Args:
        labels: as they are written.
        classes: K names.
        where: for messages.
        row: names the row that the n-th label belongs to, for messages.

    Raises:
        DataError: one is no class.
    """
    is_integer = pa.types.is_integer(labels.type)
    if not (is_integer or pa.types.is_string(labels.type) or pa.types.is_null(labels.type)):
        raise DataError(f"{where}: labels, got {labels.type}; they are class names or whole numbers")
    # Where classes are called "7" or "12", numbers are names: digits alone do not tell which is meant.
    are_named = any(name.isdecimal() and name != str(index) for index, name in enumerate(classes))
    if is_integer and not are_named:
        indices = labels.cast(pa.int64())
        within = pc.and_(pc.greater_equal(indices, 0), pc.less(indices, len(classes)))
        expected = f"labels are 0..{len(classes) - 1}"
    else:
        indices = pc.index_in(labels.cast(pa.string()), value_set=pa.array(classes, pa.string())).cast(pa.int64())
        within = pc.is_valid(indices)
        shown = ", ".join(classes[:NAMES_SHOWN]) + (", ..." if len(classes) > NAMES_SHOWN else "")
        expected = f"the {len(classes)} classes are {shown}"
    bad = pc.invert(pc.fill_null(within, fill_value=False))
    if num_bad := pc.sum(bad).as_py():
        first = pc.index(bad, value=True).as_py()
        got = labels[first].as_py()
        raise DataError(
            f"{where}: {row(first)} has {'no label' if got is None else f'label {got!r}'}, "
            f"{num_bad} such row(s) in all; {expected}"
        )
    return indices


def distinct_sets(indices: NDArray[np.int64], rows: NDArray[np.int64], num_rows: int) -> tuple[LabelSets, list[int]]:
    """The label sets of a manifest, in the order in which they first appear, and for each row the place of its own.

    Args:
        indices: (L,) classes.
        rows: (L,) the rows they belong to, ascending.
        num_rows: of the manifest.
    """
    ends = np.searchsorted(rows, np.arange(num_rows), side="right")
    places: dict[tuple[int, ...], int] = {}
    sets = [tuple(sorted(set(own.tolist()))) for own in np.split(indices, ends[:-1])]
    labels = [places.setdefault(own, len(places)) for own in sets]
    return tuple(places), labels


def mirrored_sets(label_sets: LabelSets, flip_labels: Sequence[int]) -> tuple[LabelSets, tuple[int, ...]]:
    """What a mirror makes of label sets.

    Args:
        label_sets: distinct.
        flip_labels: class -> class of the mirrored video.

    Returns:
        The sets with those that only mirrors show appended, and for each of them the place of its mirrored one.
    """
    places = {labels: place for place, labels in enumerate(label_sets)}
    for labels in label_sets:
        places.setdefault(_mirrored(labels, flip_labels), len(places))
    return tuple(places), tuple(places[_mirrored(labels, flip_labels)] for labels in places)


def multi_hot(label_sets: LabelSets, labels: Sequence[int], num_classes: int) -> NDArray[np.bool_]:
    """``(N, K)``: which classes each of N videos has, by the places of their sets."""
    targets = np.zeros((len(labels), num_classes), np.bool_)
    for target, label in zip(targets, labels, strict=True):
        target[list(label_sets[label])] = True
    return targets


def _mirrored(labels: tuple[int, ...], flip_labels: Sequence[int]) -> tuple[int, ...]:
    return tuple(sorted(flip_labels[label] for label in labels))


def _is_list(kind: pa.DataType) -> bool:
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind))
