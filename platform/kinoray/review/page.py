"""The page: what is in which order, and in what words. One file, nothing is fetched, nothing runs."""

from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import NamedTuple

from kinoray.review.cases import Case
from kinoray.review.charts import class_table, confused_pairs, confusion_table, histogram
from kinoray.review.markup import Cell, card, clock, name, percent, section, table, text, tile
from kinoray.review.pictures import Picture
from kinoray.review.tally import Shards, Tally

# Even a name that got past escaping could neither run nor fetch anything.
_POLICY = "default-src 'none'; img-src data:; media-src data:; style-src 'unsafe-inline'; base-uri 'none'"


class Sheet(NamedTuple):
    """Cases of a class."""

    label: str
    cases: tuple[Case, ...]


class Seen(NamedTuple):
    """Pictures; a case may have one of either kind."""

    clips: Mapping[Case, Picture]
    strips: Mapping[Case, Picture]


class Shown(NamedTuple):
    """What there are pictures of.

    Attributes:
        mistakes: as clips.
        unsure: as strips.
        sheets: as strips, of the classes that are predicted most.
    """

    mistakes: tuple[Case, ...]
    unsure: tuple[Case, ...]
    sheets: tuple[Sheet, ...]

    @property
    def strips(self) -> list[Case]:
        """Each once."""
        return list(dict.fromkeys([*self.unsure, *(case for sheet in self.sheets for case in sheet.cases)]))


def chosen(total: Tally, *, max_thumbnails: int) -> Shown:
    """What to show: fewer of each class where there are many, and then fewer classes."""
    unsure = total.unsure.of()[:max_thumbnails]
    left = max_thumbnails - len(unsure)
    classes = by_size(total)
    per_class = min(total.sizes.per_class, max(1, left // max(1, len(classes))))
    labels = list(total.names)
    sheets = [Sheet(labels[number], total.surest.of(number)[:per_class]) for number in classes]
    return Shown(total.mistakes.of(), unsure, tuple(sheets[: left // per_class if per_class else 0]))


def by_size(total: Tally) -> list[int]:
    """The classes that were predicted, the most frequent first; equals by name."""
    labels = list(total.names)
    return sorted(total.predicted, key=lambda number: (-total.predicted[number], labels[number]))


def render(root: str, shards: Shards, total: Tally, shown: Shown, seen: Seen) -> str:
    """The page.

    Args:
        root: where the predictions are.
        shards: of them.
        total: of all rows.
        shown: what there are pictures of.
        seen: pictures of all that is shown.
    """
    rows = "windows" if total.has_windows else "videos"
    sections = [
        _labelled(total, shown, seen, rows),
        section(
            "confidence",
            "Confidence",
            f"How sure the model is of its first label, over {sum(total.predicted.values()):,} scored {rows}.",
            histogram(total.bins),
        ),
        _unsure(total, shown, seen),
        _classes(total, shown, seen, rows),
        _unscored(total, rows),
    ]
    links = [
        ("mistakes", "Mistakes", total.confusion),
        ("confidence", "Confidence", True),
        ("unsure", "Unsure", shown.unsure),
        ("classes", "Classes", total.predicted),
        ("unscored", "Not scored", total.unscored),
    ]
    nav = "".join(f'<a href="#{anchor}">{text(title)}</a>' for anchor, title, is_there in links if is_there)
    style = (files("kinoray.review") / "style.css").read_text(encoding="utf-8")
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="light dark">'
        f"<title>Review of {text(root.rstrip('/').rpartition('/')[2])}</title><style>{style}</style></head><body>"
        f'{_header(root, shards, total)}<nav aria-label="Parts of this page">{nav}</nav>'
        f"<main>{''.join(sections)}</main></body></html>\n"
    )


def _header(root: str, shards: Shards, total: Tally) -> str:
    listed = shards.num_listed
    is_whole = listed == total.num_videos
    state = "complete" if is_whole else f"so far, of {listed:,} listed" if listed else "so far"
    num_scored = sum(total.predicted.values())
    tiles = [tile("Videos", f"{total.num_videos:,}", state)]
    if total.has_windows:
        tiles.append(tile("Windows", f"{total.num_rows:,}"))
    tiles += [
        tile("Scored", percent(num_scored / max(1, total.num_rows)), f"{num_scored:,}"),
        tile("Not scored", f"{total.num_rows - num_scored:,}"),
        tile("Video", _duration(total.video_seconds)),
    ]
    if total.confusion:
        num_labelled = sum(total.confusion.values())
        right = sum(count for (true, best), count in total.confusion.items() if true == best)
        tiles.append(tile("Top-1 accuracy", f"{right / num_labelled:.1%}", f"of {num_labelled:,}"))
        if total.top_k > 1:
            tiles.append(tile(f"Top-{total.top_k} accuracy", f"{total.num_in_top / num_labelled:.1%}"))
    facts = [
        (title, ", ".join(sorted(values)))
        for title, values in zip(("model", "views", "run"), total.provenance.values(), strict=True)
        if any(values)
    ]
    told = "".join(f"<span>{title} <code>{text(value)}</code></span>" for title, value in facts)
    statuses = "".join(
        f'<li class="{"" if status in {"ok", "partial"} else "bad"}"><b>{count:,}</b> {text(status)}</li>'
        for status, count in total.statuses.most_common()
    )
    return (
        f'<header><h1>Review of predictions</h1><p class="place">{name(root)}</p><p class="facts">{told}</p>'
        f'<dl class="tiles">{"".join(tiles)}</dl>'
        f'<ul class="statuses" aria-label="Rows by status">{statuses}</ul></header>'
    )


def _duration(seconds: float) -> str:
    return f"{seconds / 3600:,.1f} h" if seconds >= 3600 else f"{seconds / 60:,.1f} min"


def _labelled(total: Tally, shown: Shown, seen: Seen, rows: str) -> str:
    if not total.confusion:
        return ""
    num_labelled = sum(total.confusion.values())
    num_wrong = num_labelled - sum(count for (true, best), count in total.confusion.items() if true == best)
    lead = f"{num_wrong:,} of {num_labelled:,} labelled {rows} are taken for another class."
    if total.num_unlisted:
        lead += f" {total.num_unlisted:,} scored {rows} have no label."
    body = f'<div class="beside">{confusion_table(total)}{confused_pairs(total)}</div>'
    if shown.mistakes:
        body += "<h3>The most confident mistakes</h3>" + _cards(
            shown.mistakes, seen.clips, kind="clips", with_scores=True
        )
    return section("mistakes", "Against the labels", lead, body)


def _unsure(total: Tally, shown: Shown, seen: Seen) -> str:
    how = "The two highest scores lie closest here." if total.top_k > 1 else "The least confident."
    lead = f"{how} Good candidates to label by hand."
    cards = _cards(shown.unsure, seen.strips, kind="", with_scores=True) if shown.unsure else ""
    return section("unsure", "Unsure", lead, cards)


def _classes(total: Tally, shown: Shown, seen: Seen, rows: str) -> str:
    sheets = []
    for index, sheet in enumerate(shown.sheets):
        cards = _cards(sheet.cases, seen.strips, kind="small", with_scores=False)
        sheets.append(
            f'<article id="class-{index}"><h3>{name(sheet.label)} '
            f"<small>{total.predicted[total.names[sheet.label]]:,}</small></h3>{cards}</article>"
        )
    num_left = len(total.predicted) - len(shown.sheets)
    lead = f"What is predicted, and the most confident {rows} of each class: frames that were scored, in their order."
    if num_left:
        lead += f" No pictures of {num_left:,} further classes; --max-thumbnails allows more."
    anchors = {sheet.label: f"class-{index}" for index, sheet in enumerate(shown.sheets)}
    return section("classes", "Classes", lead, class_table(total, by_size(total), anchors) + "".join(sheets))


def _unscored(total: Tally, rows: str) -> str:
    found = total.unscored
    if not found:
        return ""
    num_all = total.num_rows - sum(total.predicted.values())
    lead = f"{num_all:,} {rows} without scores, and why."
    if num_all > len(found):
        lead += f" The first {len(found):,} are listed."
    head = ["video", "status", "error"]
    lines: list[Sequence[Cell]] = []
    for row in found:
        window = ""
        if row.start_seconds is not None and row.end_seconds is not None:
            window = f' <span class="window">{clock(row.start_seconds)} – {clock(row.end_seconds)}</span>'
        lines.append(
            [
                Cell(f'<span title="{text(row.uri)}">{name(row.video_id)}</span>{window}', "id"),
                Cell(text(row.status)),
                Cell(name(row.error.removeprefix(f"{row.uri}: ")), "error"),
            ]
        )
    return section("unscored", "Not scored", lead, table("Videos without scores", head, lines, kind="wide"))


def _cards(cases: Sequence[Case], seen: Mapping[Case, Picture], *, kind: str, with_scores: bool) -> str:
    return f'<div class="cards {kind}">{"".join(card(c, seen[c], with_scores=with_scores) for c in cases)}</div>'
