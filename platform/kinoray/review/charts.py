"""Figures of a tally as HTML that a screen reader can read too."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from kinoray.review.markup import Cell, bar, name, number, percent, share, table, text
from kinoray.review.tally import Tally

MAX_MATRIX_CLASSES = 24
NUM_PAIRS = 15
MAX_CLASSES = 2000
"""Of the table; beyond it the page would be about nothing else."""
KINDS = ("right", "wrong", "no label")


def histogram(bins: NDArray[np.int64]) -> str:
    """Rows by confidence, ``(3, B)``: right, wrong, without a label; the numbers are in a table below."""
    most, num_bins = max(1, int(bins.sum(axis=0).max())), bins.shape[1]
    kinds = [kind for kind, counts in zip(KINDS, bins.tolist(), strict=True) if any(counts)]
    columns = []
    for place, counts in enumerate(bins.T.tolist()):
        span = f"{place / num_bins:.0%} to {(place + 1) / num_bins:.0%}"
        told = ", ".join(f"{count:,} {kind}" for kind, count in zip(KINDS, counts, strict=True) if count) or "none"
        parts = "".join(
            f'<i class="{kind.replace(" ", "-")}" style="height:{count / most:.2%}"></i>'
            for kind, count in zip(KINDS, counts, strict=True)
            if count
        )
        columns.append(f'<span title="{span}: {told}">{parts}</span>')
    total = int(bins.sum())
    told = f"Histogram of confidence; {percent(bins[:, -1].sum() / max(1, total))} are in the highest bin"
    legend = (
        "".join(f'<li class="{kind.replace(" ", "-")}">{kind}</li>' for kind in kinds) if kinds != [KINDS[2]] else ""
    )
    rows = [
        [
            Cell(f"{place / num_bins:.0%} – {(place + 1) / num_bins:.0%}"),
            *(number(counts[KINDS.index(k)]) for k in kinds),
        ]
        for place, counts in enumerate(bins.T.tolist())
        if any(counts)
    ]
    return (
        f'<div class="histogram" role="img" aria-label="{text(told)}"><div class="columns">{"".join(columns)}</div>'
        '<div class="axis"><span>0%</span><span>25%</span><span>50%</span><span>75%</span><span>100%</span></div></div>'
        f'<ul class="legend">{legend}</ul>'
        f"<details><summary>Numbers</summary>{table('Rows by confidence', ['confidence', *kinds], rows)}</details>"
    )


def class_table(total: Tally, classes: Sequence[int], anchors: Mapping[str, str]) -> str:
    """What is predicted how often and how surely, and where labels are known, how rightly.

    Args:
        total: of all rows.
        classes: in the order of the table.
        anchors: class -> where on the page its pictures are.
    """
    labels = list(total.names)
    is_labelled = bool(total.confusion)
    true: dict[int, int] = {}
    known: dict[int, int] = {}
    for (real, best), count in total.confusion.items():
        true[real] = true.get(real, 0) + count
        known[best] = known.get(best, 0) + count
    listed = [*classes, *sorted(set(true) - set(classes), key=lambda index: labels[index])]
    most = max(total.predicted.values(), default=1)
    rows: list[Sequence[Cell]] = []
    for index in listed[:MAX_CLASSES]:
        label, count = labels[index], total.predicted[index]
        linked = f'<a href="#{anchors[label]}">{name(label)}</a>' if label in anchors else name(label)
        cells = [
            Cell(linked),
            number(count),
            Cell(bar(count / most), "line"),
            share(_part(total.confidence[index], count)),
        ]
        if is_labelled:
            right = total.confusion[index, index]
            cells += [number(true.get(index, 0)), share(_part(right, true.get(index, 0)))]
            cells.append(share(_part(right, known.get(index, 0))))
        rows.append(cells)
    head = ["class", "predicted", "", "mean confidence", *(["true", "recall", "precision"] if is_labelled else [])]
    found = table("Classes", head, rows)
    if len(rows) <= MAX_MATRIX_CLASSES:
        return found
    told = f"{len(listed):,} classes as a table" + f", the first {MAX_CLASSES:,}" * (len(listed) > MAX_CLASSES)
    return f"<details><summary>{told}</summary>{found}</details>"


def confusion_table(total: Tally) -> str:
    """Counts, a row for each true class; nothing where there are too many classes to be read."""
    labels = list(total.names)
    classes = sorted({index for pair in total.confusion for index in pair}, key=lambda index: labels[index])
    if len(classes) > MAX_MATRIX_CLASSES:
        return ""
    rows: list[Sequence[Cell]] = []
    for true in classes:
        counts = [total.confusion[true, best] for best in classes]
        num_rows = max(1, sum(counts))
        cells = [
            # The root lifts small confusions out of the ground.
            Cell(
                f'<span style="--share:{(count / num_rows) ** 0.5:.0%}">{count or ""}</span>',
                "right" if best == true else "wrong",
            )
            for best, count in zip(classes, counts, strict=True)
        ]
        rows.append([Cell(name(labels[true])), *cells])
    head = ["true ↓ predicted →", *(labels[index] for index in classes)]
    return f"<div><h3>Confusion matrix</h3>{table('Confusion matrix', head, rows, kind='matrix')}</div>"


def confused_pairs(total: Tally) -> str:
    """What is taken for what most often."""
    labels = list(total.names)
    pairs = [(count, labels[true], labels[best]) for (true, best), count in total.confusion.items() if true != best]
    pairs.sort(key=lambda pair: (-pair[0], *pair[1:]))
    if not pairs:
        return ""
    rows = [[Cell(name(true)), Cell(name(best)), number(count)] for count, true, best in pairs[:NUM_PAIRS]]
    return (
        f"<div><h3>Most often confused</h3>{table('Most often confused', ['true', 'taken for', 'times'], rows)}</div>"
    )


def _part(count: float, of: float) -> float | None:
    return count / of if of else None
