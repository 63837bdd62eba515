"""Writing recognizers to files of other runtimes, and opening those: the suffix says which, ``.onnx`` or ``.pt2``."""

import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType

import torch
from torch import Tensor
from torch.export import Dim, ExportedProgram

from kinoray.errors import CheckpointError, ConfigError
from kinoray.exported.model import INPUT, ExportedModel, Facts
from kinoray.exported.onnx_file import WRITING, check_packages, read_onnx, write_onnx
from kinoray.exported.program_file import read_program, write_program
from kinoray.models.base import Recognizer
from kinoray.train.fetching import local_folder

_READERS: Mapping[str, Callable[[Path, torch.device], ExportedModel]] = MappingProxyType(
    {".onnx": read_onnx, ".pt2": read_program}
)
SUFFIXES = tuple(_READERS)
MAX_DIFFERENCE = 1e-3
"""Of a logit, in an exported file and in the recognizer that it was made of."""


def is_exported(source: str | Path) -> bool:
    """Whether a name is that of an exported file."""
    return str(source).endswith(SUFFIXES)


def open_exported(source: str | Path, device: torch.device) -> ExportedModel:
    """Open a file, by its path or URI.

    Raises:
        CheckpointError: it is not there, damaged, or was not written here.
        ResourceError: its runtime is not installed, or cannot use the device.
    """
    folder, _, name = str(source).rpartition("/")
    path = local_folder(folder, (name,)) / name if "://" in folder else Path(source)
    if not path.is_file():
        raise CheckpointError(f"{source}: no such file")
    return _READERS[path.suffix](path, device)


def check_target(path: Path) -> None:
    """See that a file can be written, before anything that takes its time.

    Raises:
        ConfigError: its suffix names no format.
        ResourceError: what writes the format is not installed.
    """
    if path.suffix not in SUFFIXES:
        raise ConfigError(f"--out: the exported file, got '{path}'; it should end with {' or '.join(SUFFIXES)}")
    if path.suffix == ".onnx":
        check_packages(WRITING, str(path))


def export(model: Recognizer, facts: Facts, clips: Tensor, path: Path) -> float:
    """Write a recognizer to a file, open that, and compare the two.

    Args:
        model: in eval mode, on the CPU.
        facts: that go along.
        clips: ``(2, 2, C, T, H, W)`` uint8; N and M of what the file takes are free, the rest is as here.
        path: the file; what was there is replaced once the new one has proved right.

    Returns:
        The largest difference between two logits.

    Raises:
        ConfigError: torch cannot export such a model.
        CheckpointError: the file does not compute what the model does.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".exporting-") as folder:
        new = Path(folder) / path.name
        try:
            program = export_program(model, clips)
            write_onnx(program, facts, new) if path.suffix == ".onnx" else write_program(program, facts, new)
        except (RuntimeError, ValueError, TypeError, LookupError, AttributeError) as error:
            why = str(error).strip().partition("\n")[0]
            raise ConfigError(f"{path}: torch cannot export {type(model).__name__}: {why}") from error
        difference = largest_difference(model, open_exported(new, torch.device("cpu")), clips)
        if not difference <= MAX_DIFFERENCE:
            wrong = CheckpointError(
                f"{path}: not written, for its logits differ by {difference:.2g} from the model's, more than "
                f"{MAX_DIFFERENCE:g}; try the other of {' and '.join(SUFFIXES)}"
            )
            wrong.at_work = True
            raise wrong
        for part in Path(folder).iterdir():
            part.replace(path.parent / part.name)
    return difference


def export_program(model: Recognizer, clips: Tensor) -> ExportedProgram:
    """A recognizer in eval mode as a graph, for any number of videos and views."""
    shapes = {INPUT: {0: Dim("videos"), 1: Dim("views")}}
    return torch.export.export(model, (clips,), dynamic_shapes=shapes, strict=False)


def largest_difference(model: Recognizer, exported: ExportedModel, clips: Tensor) -> float:
    """Between logits of a model and those of its file, for other numbers of videos and of views than clips have."""
    with torch.inference_mode():
        pairs = [(model(part), exported(part)) for part in (clips[:1], clips[:, :1])]
    return max(float((one - other).abs().max()) for one, other in pairs)
