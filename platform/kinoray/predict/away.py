"""Videos that a store does not give: one by one, or because it is away. No torch: processes that decode import this."""

import random
from collections.abc import Sequence

from kinoray.errors import DecodeError, ResourceError
from kinoray.video.files import open_video_file

UNAVAILABLE, MISSING = "unavailable", "missing"
"""Reasons of a DecodeError: the store may give the video later; it will not."""
NUM_ASKED = 3
"""Of other videos, whether their store is away."""


def is_vouched_for(uri: str) -> bool:
    """Whether what is unavailable is no property of a video, but ends the job.

    A web server is no store: a list may name thousands, some of which will never answer again.
    """
    return not uri.startswith(("http://", "https://"))


def check_available(error: str, reason: str, uri: str) -> None:
    """Raise a ResourceError where a store is away: that is no property of the video."""
    if reason == UNAVAILABLE and is_vouched_for(uri):
        problem = ResourceError(f"{error}; run the same command again when the store answers")
        problem.at_work = True
        raise problem


def gives_others(uri: str, others: Sequence[str]) -> bool:
    """Whether the store of a video answers now when it is asked for most of some others."""
    known = [other for other in others if other != uri and _store_of(other) == _store_of(uri)]
    asked = random.sample(known, min(len(known), NUM_ASKED))
    return sum(map(_is_answered, asked)) > len(asked) / 2


def _store_of(uri: str) -> list[str]:
    """Scheme and bucket."""
    return uri.split("/", 3)[:3]


def _is_answered(uri: str) -> bool:
    try:
        source = open_video_file(uri, ranged=True)
        if not isinstance(source, str):
            source.read(1)
    except DecodeError as error:
        return error.reason != UNAVAILABLE
    return True
