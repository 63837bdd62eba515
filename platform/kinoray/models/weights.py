"""Weights from files and from other networks: read safely, renamed by rules, checked key by key."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import TypeGuard

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from kinoray.errors import CheckpointError
from kinoray.models.base import Recognizer

KeyRules = Sequence[tuple[str, str]]
"""(regular expression, replacement), each applied in turn to every key."""


@dataclass(frozen=True)
class WeightsReport:
    """What became of a state dict.

    Attributes:
        num_loaded: tensors copied into the recognizer.
        skipped: keys of the head, which belongs to another label set; empty where it was loaded too.
    """

    num_loaded: int
    skipped: tuple[str, ...]


def read_state_dict(path: str | Path) -> dict[str, Tensor]:
    """Read the tensors of a ``.safetensors``, ``.pth`` or ``.pt`` file without running anything in it.

    A ``.pth`` holds the state dict or ``{"state_dict": ...}``; the ``module.`` of a data-parallel wrapper is dropped.

    Raises:
        CheckpointError: the file is missing, damaged, of another type, needs code to be run, or holds no state dict.
    """
    path = Path(path)
    if not path.is_file():
        raise CheckpointError(f"{path}: no such file; give the path of a .safetensors, .pth or .pt file")
    if path.suffix == ".safetensors":
        content = _read_safetensors(path)
    elif path.suffix in {".pth", ".pt"}:
        content = _read_torch(path)
    else:
        raise CheckpointError(f"{path}: unknown file type, got {path.suffix!r}; one of .safetensors, .pth, .pt")
    if isinstance(content, Mapping) and "state_dict" in content:
        content = content["state_dict"]
    if not _is_state_dict(content):
        raise CheckpointError(
            f"{path}: holds no state dict, got {_describe(content)}; save model.state_dict() or {{'state_dict': ...}}"
        )
    wrapped = all(key.startswith("module.") for key in content)
    return {key.removeprefix("module.") if wrapped else key: value for key, value in content.items()}


def rename_keys(state_dict: Mapping[str, Tensor], rules: KeyRules) -> dict[str, Tensor]:
    """Apply every rule to every key.

    Raises:
        CheckpointError: two keys become one.
    """
    renamed: dict[str, Tensor] = {}
    origins: dict[str, str] = {}
    for key, value in state_dict.items():
        new_key = key
        for pattern, replacement in rules:
            new_key = re.sub(pattern, replacement, new_key)
        if new_key in renamed:
            raise CheckpointError(f"{key}: becomes {new_key}, as {origins[new_key]} does; keep one of the two")
        renamed[new_key] = value
        origins[new_key] = key
    return renamed


def load_weights(model: Recognizer, state_dict: Mapping[str, Tensor], *, where: str) -> WeightsReport:
    """Copy weights into a recognizer, all but a head that was trained for another number of classes.

    Args:
        model: changed in place, and only if everything fits.
        state_dict: in the recognizer's own keys.
        where: what the weights come from, for messages.

    Raises:
        CheckpointError: keys are missing or unexpected, or shapes differ elsewhere than in the head's K.
    """
    expected = model.state_dict()
    head = _head_keys(model)
    reshaped = [key for key, value in state_dict.items() if key in expected and value.shape != expected[key].shape]
    other_classes = [
        key for key in reshaped if key in head and _differs_in_classes(state_dict[key], expected[key], model)
    ]
    skipped = head if other_classes else set()

    problems = {
        # Files older than PyTorch 0.4.1 lack these counters; no output depends on them.
        "missing": [k for k in expected if k not in state_dict and not k.endswith(".num_batches_tracked")],
        "unexpected": [key for key in state_dict if key not in expected],
        "of another shape": [
            f"{key} {_shape(state_dict[key])}, here {_shape(expected[key])}"
            for key in reshaped
            if key not in other_classes
        ],
    }
    if any(problems.values()):
        found = "; ".join(f"{_count(keys)} {what}: {_first(keys)}" for what, keys in problems.items() if keys)
        raise CheckpointError(
            f"{where}: weights do not fit {type(model).__name__}, got {found}; "
            "they belong to another family or size, or their keys follow another project's names"
        )
    kept = {key: value for key, value in state_dict.items() if key not in skipped}
    model.load_state_dict(kept, strict=False)
    return WeightsReport(num_loaded=len(kept), skipped=tuple(key for key in state_dict if key in skipped))


def _read_safetensors(path: Path) -> object:
    try:
        return safetensors.torch.load_file(path)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{path}: damaged or unreadable, got {error}; copy or download it again") from error


def _read_torch(path: Path) -> object:
    try:
        content: object = torch.load(path, map_location="cpu", weights_only=True)
    except UnpicklingError as error:
        unsafe = re.search(r"GLOBAL ([\w.]+)", str(error))
        if unsafe is None:
            raise CheckpointError(f"{path}: damaged or no PyTorch file; copy or download it again") from error
        raise CheckpointError(
            f"{path}: not read, because it holds more than tensors and would run code, got {unsafe[1]}; "
            "save only its state_dict, best as .safetensors, where that code is trusted"
        ) from error
    except (OSError, RuntimeError, EOFError) as error:
        raise CheckpointError(f"{path}: damaged or unreadable, got {error}; copy or download it again") from error
    return content


def _is_state_dict(content: object) -> TypeGuard[Mapping[str, Tensor]]:
    return (
        isinstance(content, Mapping)
        and len(content) > 0
        and all(isinstance(key, str) and isinstance(value, Tensor) for key, value in content.items())
    )


def _head_keys(model: Recognizer) -> set[str]:
    head = model.head()
    name = next(name for name, module in model.named_modules() if module is head)
    return {f"{name}.{key}" for key in head.state_dict()}


def _differs_in_classes(given: Tensor, expected: Tensor, model: Recognizer) -> bool:
    sizes = zip(given.shape, expected.shape, strict=False)
    return given.ndim == expected.ndim and all(b in {a, model.num_classes} for a, b in sizes)


def _count(keys: Sequence[str]) -> str:
    return f"{len(keys)} key{'s' if len(keys) > 1 else ''}"


def _first(keys: Sequence[str], num_shown: int = 3) -> str:
    return ", ".join(keys[:num_shown]) + (", ..." if len(keys) > num_shown else "")


def _shape(tensor: Tensor) -> str:
    return "x".join(map(str, tensor.shape)) or "scalar"


def _describe(content: object) -> str:
    if isinstance(content, Mapping):
        return f"a mapping with {_first([repr(key) for key in content])}" if content else "an empty mapping"
    return f"a {type(content).__name__}"
