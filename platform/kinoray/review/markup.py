"""Pieces of HTML. Whatever comes from outside passes ``text``."""

import html
import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from kinoray.review.cases import Case
from kinoray.review.pictures import Picture

# Controls, and what turns the direction of writing: names of files may hold them, and would hide what follows.
_UNPRINTABLE = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
NUM_BARS = 3
"""Labels of a card."""


class Cell(NamedTuple):
    """Of a table.

    Attributes:
        content: HTML.
        kind: of its style; ``n`` is a number.
    """

    content: str
    kind: str = ""


def text(value: object) -> str:
    """As a reader sees it, whatever it holds."""
    return html.escape(_UNPRINTABLE.sub("\ufffd", str(value)), quote=True)


def name(value: object) -> str:
    """A name in any script, which leaves the direction of what is around it alone."""
    return f"<bdi>{text(value)}</bdi>"


def number(value: float) -> Cell:
    """A count."""
    return Cell(f"{value:,.0f}", "n")


def share(value: float | None) -> Cell:
    """A part of 1."""
    return Cell("–" if value is None else text(percent(value)), "n")


def percent(value: float) -> str:
    """A part of 1; nothing less than all is shown as all, nor more than nothing as nothing."""
    if 0 < value < 0.001:
        return "<0.1%"
    if 0.999 < value < 1:
        return ">99.9%"
    return f"{value:.1%}" if 0 < value < 0.01 or 0.99 < value < 1 else f"{value:.0%}"


def clock(seconds: float) -> str:
    """A place in a video."""
    minutes, rest = divmod(round(seconds, 1), 60)
    hours, minutes = divmod(int(minutes), 60)
    return f"{hours}:{minutes:02}:{rest:04.1f}" if hours else f"{minutes}:{rest:04.1f}"


def table(caption: str, head: Sequence[str], rows: Iterable[Sequence[Cell]], *, kind: str = "") -> str:
    """A table in a box that scrolls sideways where it has no room.

    Args:
        caption: for those who do not see it.
        head: of the columns; the first cell of each row is its head.
        rows: as many cells each.
        kind: of its style.
    """
    columns = "".join(f'<th scope="col"><span>{text(word)}</span></th>' for word in head)
    lines = "".join(
        f'<tr><th scope="row" class="{first.kind}">{first.content}</th>'
        + "".join(f'<td class="{cell.kind}">{cell.content}</td>' for cell in rest)
        + "</tr>"
        for first, *rest in rows
    )
    return (
        f'<div class="scroll" role="region" aria-label="{text(caption)}" tabindex="0"><table class="{kind}">'
        f'<caption class="aside">{text(caption)}</caption>'
        f"<thead><tr>{columns}</tr></thead><tbody>{lines}</tbody></table></div>"
    )


def section(anchor: str, title: str, lead: str, body: str) -> str:
    """A part of the page, left out where it has no body; ``lead`` is HTML."""
    if not body:
        return ""
    return f'<section id="{anchor}"><h2>{text(title)}</h2><p class="lead">{lead}</p>{body}</section>'


def bar(part: float) -> str:
    """A line of a length between nothing and all."""
    return f'<span class="bar" aria-hidden="true"><span style="width:{max(0.0, min(part, 1.0)):.1%}"></span></span>'


def tile(title: str, figure: str, note: str = "") -> str:
    """A figure that is seen at once."""
    return f"<div><dt>{text(title)}</dt><dd>{text(figure)}<small>{text(note)}</small></dd></div>"


def card(case: Case, picture: Picture, *, with_scores: bool) -> str:
    """A picture, what it is of, and what the model says.

    Args:
        case: what is shown.
        picture: of it.
        with_scores: all labels as bars, or the first one's confidence in words.
    """
    said = _bars(case) if with_scores else _verdict(case)
    return (
        f'<figure class="{"wrong" if case.is_wrong else ""}">{_shown(case, picture)}<figcaption>'
        f'<span class="id" title="{text(case.uri)}">{name(case.video_id)}</span>{_window(case)}{said}'
        "</figcaption></figure>"
    )


def _shown(case: Case, picture: Picture) -> str:
    if picture.reason:
        return f'<div class="gone"><b>no picture</b><span>{name(picture.reason)}</span></div>'
    height, width = picture.size
    of = f"{case.video_id}, predicted {case.labels[0]}"
    if picture.address.startswith("data:video/"):
        first, last = picture.seconds
        return (
            f'<video src="{picture.address}" width="{width}" height="{height}" autoplay muted loop playsinline '
            f'controls aria-label="{text(f"clip from {clock(first)} to {clock(last)} of {of}")}"></video>'
        )
    seen = f"{len(picture.seconds)} frames of {of}, at {', '.join(map(clock, picture.seconds))}"
    return (
        f'<img src="{picture.address}" width="{width}" height="{height}" alt="{text(seen)}" loading="lazy" '
        'decoding="async">'
    )


def _window(case: Case) -> str:
    if case.start_seconds is None or case.end_seconds is None:
        return ""
    return f'<span class="window">{clock(case.start_seconds)} – {clock(case.end_seconds)}</span>'


def _verdict(case: Case) -> str:
    true = f' <span class="true">true: {name(case.truth)}</span>' if case.is_wrong else ""
    return f'<span class="verdict">{text(percent(case.scores[0]))}{true}</span>'


def _bars(case: Case) -> str:
    lines = []
    for label, score in list(zip(case.labels, case.scores, strict=True))[:NUM_BARS]:
        is_true = label == case.truth
        mark = '<span class="true">true</span>' if is_true else ""
        lines.append(
            f'<li class="{"is-true" if is_true else ""}"><span>{name(label)} {mark}</span>'
            f"<b>{text(percent(score))}</b>{bar(score)}</li>"
        )
    if case.is_wrong and case.truth not in case.labels[:NUM_BARS]:
        lines.append(f'<li class="is-true"><span class="true">true: {name(case.truth)}</span></li>')
    return f'<ol class="bars">{"".join(lines)}</ol>'
