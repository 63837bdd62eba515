"""torch.export's ``.pt2``: a network as a graph of torch's operators, which runs without the code that made it.

A ``.pt2`` is a program: torch promises nothing of one that was made to do harm. What it would unpickle is refused here;
of strangers take ONNX.
"""

import io
import json
import zipfile
from pathlib import Path
from pickle import UnpicklingError
from textwrap import shorten

import torch
from torch import Tensor
from torch.export import ExportedProgram
from torch.export.passes import move_to_device_pass

from kinoray.errors import CheckpointError
from kinoray.exported.model import KEY, ExportedModel, Facts


def write_program(program: ExportedProgram, facts: Facts, path: Path) -> None:
    """Write a program."""
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)  # where in which file of this machine it was written
    torch.export.save(program, path, extra_files={KEY: facts.model_dump_json()})


def read_program(path: Path, device: torch.device) -> ExportedModel:
    """Open a file.

    Raises:
        CheckpointError: it is damaged, or was not written here.
    """
    try:
        text = _check(path)
        program = torch.export.load(path)
    except (OSError, ValueError, LookupError, RuntimeError, zipfile.BadZipFile, UnpicklingError) as error:
        why = shorten(f"{type(error).__name__}: {error}", 200, placeholder=" ...")
        raise CheckpointError(f"{path}: no .pt2 file that torch can open ({why}); export it again") from error
    facts = Facts.read(text, str(path))
    network = (program if device.type == "cpu" else move_to_device_pass(program, device)).module()

    def run(clips: Tensor) -> Tensor:
        logits: Tensor = network(clips)
        return logits

    return ExportedModel(run, device, facts, path)


def _check(path: Path) -> str:
    """The text of its facts, of a file that torch would unpickle nothing of.

    Raises:
        CheckpointError: it would, or there are no facts.
    """
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        # As torch's reader has it, which takes upper case for lower; another layout is read by its older, laxer reader.
        members = {name.partition("/")[2].lower(): name for name in names}
        if len(members) < len(names) or len({name.partition("/")[0] for name in names}) != 1:
            raise CheckpointError(f"{path}: not laid out as torch.export lays out its files; export it again")
        configs = [name for name in members if name.endswith("_config.json")]
        payloads = [entry for name in configs for entry in json.loads(archive.read(members[name]))["config"].values()]
        pickled = [entry for entry in payloads if entry["use_pickle"] or not _is_plain(entry["path_name"])]
        whole = [name for name in members if name.startswith(("data/weights/", "data/constants/")) and ".pt" in name]
        if pickled or whole or any(name.startswith("data/aotinductor") for name in members):
            raise CheckpointError(f"{path}: holds pickled or compiled parts, which are not opened; export it again")
        for name in (name for name in members if name.startswith("data/sample_inputs/")):
            torch.load(io.BytesIO(archive.read(members[name])), weights_only=True)
        if f"extra/{KEY}" not in members:
            raise CheckpointError(
                f"{path}: a .pt2 file without {KEY}, which says classes and views; give one that jobs/export.py wrote"
            )
        return archive.read(members[f"extra/{KEY}"]).decode()


def _is_plain(payload: str) -> bool:
    return payload.startswith(("weight_", "tensor_"))
