"""State dicts out of files, without running anything in them: ``.safetensors``, ``.pth``, ``.pt``."""

import re
import struct
import warnings
from collections.abc import Mapping
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, Self, TypeGuard

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from kinoray.errors import CheckpointError

WEIGHT_SUFFIXES = (".safetensors", ".pth", ".pt")
WRAPPERS = ("state_dict", "ema_state_dict", "model_state", "model", "module")
"""Keys under which training programs keep the weights, the first that is there. What MMEngine averages over training
(EMA) lies in ``state_dict`` too: it puts the weights that were averaged into ``ema_state_dict``."""
COUNTERS_OF_AVERAGES = ("n_averaged", "steps")
"""What PyTorch's and MMEngine's moving averages keep beside ``module.``."""


class _Inert:
    """Stands for a foreign object in a file: takes whatever makes one, does nothing with it and keeps nothing."""

    def __new__(cls, *_: object) -> Self:
        return super().__new__(cls)

    def __init__(self, *_: object) -> None:
        pass

    def __setstate__(self, state: object) -> None:
        pass


# What training checkpoints of MMEngine hold besides tensors and plain values: histories of what was logged, in arrays
# and numbers of NumPy 1 and 2. None of it is needed here.
_STANDINS: list[Any] = [
    (_Inert, name)
    for name in (
        "mmengine.logging.history_buffer.HistoryBuffer",
        "builtins.getattr",  # names a method of a HistoryBuffer; here it is no getattr, and gets nothing
        "numpy.ndarray",
        "numpy.dtype",
        *(f"numpy.{core}.multiarray.{name}" for core in ("core", "_core") for name in ("_reconstruct", "scalar")),
    )
]
# What PyTorch's unpickler raises for pickles that are cut off or forged.
_DAMAGE = (
    OSError,
    RuntimeError,
    EOFError,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    AssertionError,
    struct.error,
)


def read_state_dict(path: str | Path, *, where: str = "") -> dict[str, Tensor]:
    """Read a file's tensors, without the names that wrappers for several workers, compiling and averaging add.

    A ``.pth`` holds the state dict, or a mapping with it under one of ``WRAPPERS``.

    Args:
        path: of the file.
        where: what messages call it, unless its path.

    Raises:
        CheckpointError: the file is missing, damaged, of another type, needs code to be run, or holds no state dict.
    """
    path = Path(path)
    where = where or str(path)
    if not path.is_file():
        raise CheckpointError(f"{where}: no such file; give the path of a .safetensors, .pth or .pt file")
    if path.suffix == ".safetensors":
        content = _read_safetensors(path, where)
    elif path.suffix in WEIGHT_SUFFIXES:
        content = _read_torch(path, where)
    else:
        raise CheckpointError(f"{where}: unknown file type, got {path.suffix!r}; one of {', '.join(WEIGHT_SUFFIXES)}")
    if isinstance(content, Mapping):
        content = next((content[key] for key in WRAPPERS if isinstance(content.get(key), Mapping)), content)
    if not _is_state_dict(content):
        raise CheckpointError(
            f"{where}: holds no state dict, got {_describe(content)}; save model.state_dict() or {{'state_dict': ...}}"
        )
    return _unwrapped(content)


def _read_safetensors(path: Path, where: str) -> object:
    try:
        return safetensors.torch.load_file(path)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{where}: damaged or unreadable, got {error}; copy or download it again") from error


def _read_torch(path: Path, where: str) -> object:
    try:
        with torch.serialization.safe_globals(_STANDINS), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of pickles that are not PyTorch's; they are refused right after
            content: object = torch.load(path, map_location="cpu", weights_only=True)
    except UnpicklingError as error:
        unsafe = re.search(r"GLOBAL (\w[\w.]*\w)", str(error))
        if unsafe is None:
            raise CheckpointError(f"{where}: damaged or no PyTorch file; copy or download it again") from error
        raise CheckpointError(
            f"{where}: not read, because it holds more than tensors and would run code, got {unsafe[1]}; "
            "save only its state_dict, best as .safetensors, where that code is trusted"
        ) from error
    except _DAMAGE as error:
        raise CheckpointError(f"{where}: damaged or unreadable, got {error}; copy or download it again") from error
    return content


def _is_state_dict(content: object) -> TypeGuard[Mapping[str, Tensor]]:
    return (
        isinstance(content, Mapping)
        and len(content) > 0
        and all(isinstance(key, str) and isinstance(value, Tensor) for key, value in content.items())
    )


def _unwrapped(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Drop ``_orig_mod.`` of compiled modules wherever it stands, and ``module.`` where it is around everything."""
    clean = {key.replace("_orig_mod.", ""): value for key, value in state_dict.items()}
    inner = {key: value for key, value in clean.items() if key not in COUNTERS_OF_AVERAGES}
    if inner and all(key.startswith("module.") for key in inner):
        return {key.removeprefix("module."): value for key, value in inner.items()}
    return clean


def _describe(content: object) -> str:
    if not isinstance(content, Mapping):
        return f"a {type(content).__name__}"
    if not content:
        return "an empty mapping"
    keys = [repr(key) for key in content]
    return f"a mapping with {', '.join(keys[:3])}" + (", ..." if len(keys) > 3 else "")
