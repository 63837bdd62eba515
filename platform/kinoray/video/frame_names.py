"""Which files of a folder are the frames of a video, and in which order."""

import math
import re
from collections.abc import Iterable, Sequence
from pathlib import PurePosixPath
from string import Formatter

from kinoray.errors import ConfigError, DecodeError

_SUFFIXES = {".jpg", ".jpeg", ".png"}
# What MMAction2 calls frames; beside them may lie flow_x_00001.jpg and flow_y_00001.jpg.
_USUAL_START = "img_"


def frame_names(names: Iterable[str], *, template: str | None, first_index: int | None, where: str) -> list[str | None]:
    """File names in display order, None for a frame whose file is not there.

    Args:
        names: of all files in the folder.
        template: ``img_{:05d}.jpg``, whose number counts frames. None: the pictures of the one kind there is (names
            that differ in their digits alone), by number. Numbers that all lie a larger step apart (0, 5, 10) count
            frames all the same.
        first_index: number of the first frame; None: the smallest there is.
        where: what messages call the folder.

    Raises:
        DecodeError: there are no pictures, of several kinds, or more are missing than there.
        ConfigError: the template is not one.
    """
    pictures = _matching(names, template) if template is not None else _numbered(names, first_index or 0, where)
    numbers = sorted(number for number in pictures if first_index is None or number >= first_index)
    if not numbers:
        wanted = f"pictures named {template}" if template else "JPEG or PNG pictures"
        raise DecodeError(f"{where}: there are no {wanted} in it", "no_video")
    first = numbers[0] if first_index is None else first_index
    step = 1 if template is not None else _step([first, *numbers])
    num_frames = (numbers[-1] - first) // step + 1
    if num_frames > 2 * len(numbers):
        raise DecodeError(
            f"{where}: {num_frames - len(numbers)} of {num_frames} frames have no file, from {pictures[numbers[0]]} "
            f"to {pictures[numbers[-1]]}",
            "damaged",
        )
    return [pictures.get(first + index * step) for index in range(num_frames)]


def _matching(names: Iterable[str], template: str) -> dict[int, str]:
    """The files that a template names, by number."""
    try:
        fields = [(text, field) for text, field, *_ in Formatter().parse(template)]
        is_one = sum(field is not None for _, field in fields) == 1
        example = template.format(1)
    except (ValueError, IndexError, KeyError, AttributeError, TypeError):
        is_one, example = False, ""
    if not is_one or example == template:
        raise ConfigError(f"template of a frame's name, got '{template}'; it should be like 'img_{{:05d}}.jpg'")
    pattern = re.compile("".join(re.escape(text) + (r"(\d+)" if field is not None else "") for text, field in fields))
    matches = {name: int(match[1]) for name in names if (match := pattern.fullmatch(name))}
    return {number: name for name, number in matches.items() if template.format(number) == name}


def _numbered(names: Iterable[str], first: int, where: str) -> dict[int, str]:
    """The pictures of the one kind there is, by the number in their names, or by their place (from ``first`` on)."""
    kinds: dict[str, list[str]] = {}
    for name in names:
        if PurePosixPath(name).suffix.lower() in _SUFFIXES and not name.startswith("."):
            kinds.setdefault(re.sub(r"\d+", "#", name), []).append(name)
    usual = [kind for kind in kinds if kind.startswith(_USUAL_START)]
    if len(kinds) > 1 and len(usual) != 1:
        found = ", ".join(sorted(kinds)[:3]) + (", ..." if len(kinds) > 3 else "")
        raise DecodeError(
            f"{where}: a folder of frames, got pictures of {len(kinds)} kinds ({found}); a template names one of them",
            "unreadable",
        )
    chosen = kinds[usual[0]] if usual else [name for kind in kinds.values() for name in kind]
    digits = {name: [int(number) for number in re.findall(r"\d+", name)] for name in chosen}
    ordered = sorted(chosen, key=lambda name: (digits[name], name))
    columns = list(zip(*(digits[name] for name in ordered), strict=True))
    counting = columns[-1:] if len(ordered) == 1 else [column for column in columns if len(set(column)) > 1]
    if len(counting) == 1 and len(set(counting[0])) == len(ordered):
        numbers = counting[0]
        if numbers[-1] - numbers[0] < 2 * len(numbers) * _step(numbers):  # else they are times or the like
            return dict(zip(numbers, ordered, strict=True))
    return dict(enumerate(ordered, first))


def _step(numbers: Sequence[int]) -> int:
    """The largest step that leads from the first to each of them, all ascending."""
    return math.gcd(*(number - numbers[0] for number in numbers)) or 1
