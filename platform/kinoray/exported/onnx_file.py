"""ONNX: a network as a graph of standard operators, which onnxruntime, TensorRT and OpenVINO run without torch."""

from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import Tensor
from torch.export import ExportedProgram

from kinoray.errors import CheckpointError, ResourceError
from kinoray.exported.model import INPUT, KEY, OUTPUT, ExportedModel, Facts

WRITING, READING = ("onnx", "onnxscript", "onnxruntime"), ("onnxruntime",)
_ERRORS_ONLY = 3


def check_packages(needed: tuple[str, ...], where: str) -> None:
    """Raise a ResourceError that says what to install."""
    missing = [name for name in needed if find_spec(name) is None]
    if missing:
        raise ResourceError(
            f"{where}: ONNX needs {', '.join(missing)}, got none here; install Kinoray with its extra: "
            "pip install 'kinoray[onnx]'"
        )


def write_onnx(program: ExportedProgram, facts: Facts, path: Path) -> None:
    """Write a program; weights beyond ONNX's 2 GB go beside it, into a file of the same name and ``.data``."""
    written = torch.onnx.export(
        program, input_names=[INPUT], output_names=[OUTPUT], dynamo=True, external_data=False, verbose=False
    )
    assert written is not None
    for node in written.model.graph.all_nodes():
        node.metadata_props.clear()  # where in which file of this machine it was written
    written.model.metadata_props[KEY] = facts.model_dump_json()
    written.save(path)


def read_onnx(path: Path, device: torch.device) -> ExportedModel:
    """Open a file in onnxruntime.

    Raises:
        CheckpointError: it is damaged, or was not written here.
        ResourceError: onnxruntime is not installed, or cannot use the device.
    """
    check_packages(READING, str(path))
    runtime = import_module("onnxruntime")
    provider = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}.get(device.type)
    if provider not in runtime.get_available_providers():
        raise ResourceError(
            f"{path}: onnxruntime, got device {device}, which the one installed here cannot use; for GPUs install "
            "onnxruntime-gpu, or take the cpu"
        )
    options = runtime.SessionOptions()
    options.log_severity_level = _ERRORS_ONLY
    device_id = {"device_id": device.index or 0} if device.type == "cuda" else {}
    try:
        session = runtime.InferenceSession(path, options, providers=[(provider, device_id)])
    except Exception as error:  # onnxruntime's have no base of their own
        why = str(error).partition("\n")[0]
        raise CheckpointError(f"{path}: onnxruntime cannot open it ({why}); export it again") from error
    stored = session.get_modelmeta().custom_metadata_map
    if KEY not in stored:
        raise CheckpointError(
            f"{path}: an ONNX file without {KEY}, which says classes and views; give one that jobs/export.py wrote"
        )

    def run(clips: Tensor) -> Tensor:
        (logits,) = session.run([OUTPUT], {INPUT: clips.contiguous().numpy()})
        return torch.from_numpy(logits)

    return ExportedModel(run, torch.device("cpu"), Facts.read(stored[KEY], str(path)), path)
