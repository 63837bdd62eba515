"""Weights of other networks given to a recognizer: renamed by rules, made to fit, checked key by key, and told of."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from torch import Size, Tensor, nn

from kinoray.errors import CheckpointError
from kinoray.models.base import Recognizer
from kinoray.models.inflation import Inflation, fit_kernel

KeyRules = Sequence[tuple[str, str | tuple[str, ...]]]
"""(regular expression, replacement), each applied in turn to every key.

Several replacements give one tensor as many places; none, ``()``, leaves out what the recognizer computes by itself.
"""

MIN_TRUNK_FRACTION = 0.5
"""Of the parameters that other networks may bring, that a warm start must find; with less it is a foreign file."""
# Files older than PyTorch 0.4.1 lack these counters of batch norms; no output depends on them.
_COUNTER = ".num_batches_tracked"


@dataclass(frozen=True)
class WeightsReport:
    """What became of weights that a recognizer was given.

    Attributes:
        where: what they come from.
        names: the project whose names the file uses; empty where they are the recognizer's own.
        loaded: the recognizer's tensors that were copied as they are.
        adapted: those that were made to fit: 2D kernels inflated, colours averaged for other channels, tables of
            positions resized.
        fresh: those that keep their random start, and why.
        unused: the file's keys that have no place in the recognizer.
    """

    where: str
    names: str
    loaded: tuple[str, ...]
    adapted: tuple[str, ...]
    fresh: Mapping[str, str]
    unused: tuple[str, ...]

    def line(self) -> str:
        """The counts."""
        counts = [f"{len(self.loaded)} tensors loaded"]
        counts += [f"{len(self.adapted)} adapted"] * bool(self.adapted)
        counts += [f"{len(self.fresh)} fresh"] * bool(self.fresh)
        counts += [f"{len(self.unused)} of the file unused"] * bool(self.unused)
        return f"{self.where}: {', '.join(counts)}" + (f" ({self.names}'s names)" if self.names else "")

    def text(self) -> str:
        """The counts, and below them every name."""
        lists: dict[str, Iterable[str]] = {
            "loaded": self.loaded,
            "adapted": self.adapted,
            "fresh": [f"{name}  ({why})" for name, why in self.fresh.items()],
            "unused": self.unused,
        }
        parts = ["\n".join((f"{title}:", *(f"  {name}" for name in names))) for title, names in lists.items() if names]
        return "\n\n".join([self.line(), *parts])


@dataclass(frozen=True)
class _Match:
    """A state dict laid beside a recognizer's.

    Attributes:
        names: the project whose rules were used, empty for none.
        origins: the recognizer's key -> the file's, where both have one.
        unused: the file's keys that lead nowhere.
        left_out: those that the rules leave out.
    """

    names: str
    origins: dict[str, str]
    unused: tuple[str, ...]
    left_out: tuple[str, ...]


def rename_keys(state_dict: Mapping[str, Tensor], rules: KeyRules) -> dict[str, Tensor]:
    """Apply every rule to every key; the values are the given ones, not copies.

    Raises:
        CheckpointError: two keys become one.
    """
    return {new: state_dict[old] for new, old in _new_names(state_dict, rules).items()}


def load_weights(model: Recognizer, state_dict: Mapping[str, Tensor], *, where: str) -> WeightsReport:
    """Copy weights into a recognizer, all but a head that was trained for another number of classes.

    Args:
        model: changed in place, and only if everything fits.
        state_dict: in the recognizer's own keys, or in those of a project that it has rules for.
        where: what the weights come from, for messages.

    Raises:
        CheckpointError: keys are missing or unexpected, or shapes differ elsewhere than in the head's K.
    """
    expected, match = model.state_dict(), _best_match(model, state_dict)
    given = {key: state_dict[old] for key, old in match.origins.items()}
    head = _keys_of(model, [model.head()])
    reshaped = [key for key, value in given.items() if value.shape != expected[key].shape]
    other_classes = [key for key in reshaped if key in head and _differs_in_classes(given[key], expected[key], model)]
    problems = {
        "missing": _missing(expected, given),
        "unexpected": match.unused,
        "of another shape": [
            f"{key} {_shape(given[key].shape)}, here {_shape(expected[key].shape)}"
            for key in reshaped
            if key not in other_classes
        ],
    }
    if any(problems.values()):
        raise CheckpointError(_misfit(f"{where}: weights do not fit", model, problems))
    skipped = {key: "head of other classes" for key in given if other_classes and key in head}
    kept = {key: value for key, value in given.items() if key not in skipped}
    model.load_state_dict(kept, strict=False)
    return WeightsReport(where, match.names, tuple(kept), (), skipped, match.left_out)


def warm_start(
    model: Recognizer, state_dict: Mapping[str, Tensor], *, where: str, inflation: Inflation = "mean"
) -> WeightsReport:
    """Copy what there is for a recognizer, made to fit where rules lead there; the rest keeps its random start.

    Args:
        model: changed in place, and only if its trunk finds enough.
        state_dict: in the recognizer's own keys, or in those of a project that it has rules for.
        where: what the weights come from, for messages.
        inflation: how 2D kernels become 3D.

    Raises:
        CheckpointError: less than half of the parameters are there, the head and the model's ``own_parts`` aside.
    """
    expected, match = model.state_dict(), _best_match(model, state_dict)
    kept: dict[str, Tensor] = {}
    fresh: dict[str, str] = {}
    for key, old in match.origins.items():
        value, shape = state_dict[old], expected[key].shape
        fitted = value if value.shape == shape else fit_kernel(value, shape, inflation)
        if fitted is None:
            fitted = model.fit(key, value)
        if fitted is None:
            fresh[key] = f"{_shape(value.shape)} in the file, {_shape(shape)} here"
        else:
            kept[key] = fitted
    head = _keys_of(model, [model.head()])
    if head & fresh.keys():
        fresh |= dict.fromkeys(kept.keys() & head, "head of other classes")
        kept = {key: value for key, value in kept.items() if key not in head}
    missing = _missing(expected, match.origins)
    aside = head | _keys_of(model, model.own_parts())
    trunk = {key: value.numel() for key, value in model.named_parameters() if key not in aside}
    found = sum(trunk[key] for key in kept if key in trunk) / max(sum(trunk.values()), 1)
    if found < MIN_TRUNK_FRACTION:
        reshaped = [f"{key} {why}" for key, why in fresh.items() if key not in head]
        problems = {"missing": missing, "unexpected": match.unused, "of another shape": reshaped}
        raise CheckpointError(_misfit(f"{where}: weights fit {found:.0%} of the trunk of", model, problems))
    fresh |= dict.fromkeys(missing, "not in the file")
    model.load_state_dict(kept, strict=False)
    adapted = tuple(key for key, value in kept.items() if value is not state_dict[match.origins[key]])
    loaded = tuple(key for key in kept if key not in adapted)
    in_order = {key: fresh[key] for key in expected if key in fresh}
    return WeightsReport(where, match.names, loaded, adapted, in_order, (*match.unused, *match.left_out))


def _best_match(model: Recognizer, state_dict: Mapping[str, Tensor]) -> _Match:
    """The recognizer's own names, or those of another project if more of them have a place."""
    expected = model.state_dict()
    matches = []
    for names, rules in {"": (), **model.key_rules()}.items():
        try:
            renamed = _new_names(state_dict, rules)
        except CheckpointError:
            continue  # rules for other keys than these
        origins = {key: renamed[key] for key in expected if key in renamed}
        unused = tuple(old for key, old in renamed.items() if key not in expected)
        placed = set(renamed.values())
        matches.append(_Match(names, origins, unused, tuple(old for old in state_dict if old not in placed)))
    return max(matches, key=lambda match: len(match.origins))


def _new_names(keys: Iterable[str], rules: KeyRules) -> dict[str, str]:
    """New key -> old key, in the old order."""
    origins: dict[str, str] = {}
    for key in keys:
        new_keys = [key]
        for pattern, replacements in rules:
            new_keys = [new for old in new_keys for new in _replaced(old, pattern, replacements)]
        for new_key in new_keys:
            if new_key in origins:
                raise CheckpointError(f"{key}: becomes {new_key}, as {origins[new_key]} does; keep one of the two")
            origins[new_key] = key
    return origins


def _replaced(key: str, pattern: str, replacements: str | tuple[str, ...]) -> list[str]:
    if isinstance(replacements, str):
        return [re.sub(pattern, replacements, key)]
    if re.search(pattern, key) is None:
        return [key]
    return [re.sub(pattern, replacement, key) for replacement in replacements]


def _missing(expected: Iterable[str], given: Mapping[str, object]) -> list[str]:
    return [key for key in expected if key not in given and not key.endswith(_COUNTER)]


def _keys_of(model: Recognizer, parts: Sequence[nn.Module]) -> set[str]:
    names = [name for name, module in model.named_modules() if any(module is part for part in parts)]
    return {f"{name}.{key}" for name in names for key in model.get_submodule(name).state_dict()}


def _differs_in_classes(given: Tensor, expected: Tensor, model: Recognizer) -> bool:
    sizes = zip(given.shape, expected.shape, strict=False)
    return given.ndim == expected.ndim and all(b in {a, model.num_classes} for a, b in sizes)


def _misfit(what: str, model: Recognizer, problems: Mapping[str, Sequence[str]]) -> str:
    found = "; ".join(f"{_count(keys)} {what}: {_first(keys)}" for what, keys in problems.items() if keys)
    return (
        f"{what} {type(model).__name__}, got {found}; "
        "they belong to another family or size, or their keys follow another project's names"
    )


def _count(keys: Sequence[str]) -> str:
    return f"{len(keys)} key{'s' if len(keys) > 1 else ''}"


def _first(keys: Sequence[str], num_shown: int = 3) -> str:
    return ", ".join(keys[:num_shown]) + (", ..." if len(keys) > num_shown else "")


def _shape(shape: Size) -> str:
    return "x".join(map(str, shape)) or "scalar"
