"""Guesses at what a misspelt word was meant to be."""

from collections.abc import Iterable
from difflib import get_close_matches


def closest(word: str, known: Iterable[str], most: int = 3) -> list[str]:
    """The known words that are near to ``word`` whatever their case, nearest first; often none."""
    by_lower = {name.casefold(): name for name in known}
    return [by_lower[near] for near in get_close_matches(word.casefold(), by_lower, n=most)]


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """A remark to put behind a wrong word, beginning with a space; empty where no known word is near."""
    near = closest(word, known, most=1)
    return f" (did you mean '{near[0]}'?)" if near else ""
