"""What ``jobs/export.py`` takes and shows."""

import argparse
from pathlib import Path

import torch
from rich.console import Console

from kinoray.cli.console import closing_table
from kinoray.data.views import EvalView
from kinoray.errors import ConfigError
from kinoray.exported.files import export
from kinoray.exported.model import ExportedModel, Facts
from kinoray.models.base import Normalize
from kinoray.models.cost import num_parameters
from kinoray.recognizer import VideoRecognizer

NUM_VIDEOS = NUM_VIEWS = 2
"""Of the clips that are passed through: a size of one would be taken for a constant."""


def export_parser(description: str) -> argparse.ArgumentParser:
    """What the job takes."""
    arguments = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("model", help="a run, a checkpoint, or a config with --checkpoint")
    arguments.add_argument("--checkpoint", metavar="FILE", help="weights for the config")
    arguments.add_argument("-o", "--out", metavar="FILE", required=True, help="model.onnx or model.pt2")
    arguments.add_argument("--split", choices=["val", "test"], default="val", help="whose views go along; default: val")
    arguments.add_argument("--site", metavar="YAML", help="names the packages of your own kinds")
    arguments.set_defaults(set=[])
    return arguments


def export_recognizer(console: Console, recognizer: VideoRecognizer, out: Path) -> None:
    """Write a recognizer to a file, compare the two, and say what came of it.

    Args:
        console: where to.
        recognizer: on the CPU.
        out: the file.

    Raises:
        ConfigError: the suffix names no format, or torch cannot export such a model.
        CheckpointError: the file does not compute what the model does.
        ResourceError: a package that writes the format is not installed.
    """
    model = recognizer.model
    if isinstance(model, ExportedModel):
        raise ConfigError("MODEL, got a file that is exported already; give the run or the checkpoint it was made of")
    if not isinstance(model.normalize, Normalize) or not isinstance(recognizer.view, EvalView):
        raise ConfigError(f"MODEL, got a {type(model).__name__}, which looks at no pictures; there are no views for it")
    facts = Facts(
        classes=recognizer.classes,
        view=EvalView.model_validate(recognizer.view.model_dump(include=set(EvalView.model_fields))),
        average=recognizer.average,
        multi_label=recognizer.multi_label,
        recipe="" if recognizer.recipe is None else recognizer.recipe.yaml(),
    )
    shape = facts.view_shape(model.normalize.mean.numel())
    clips = torch.randint(
        256, (NUM_VIDEOS, NUM_VIEWS, *shape), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )
    difference = export(model, facts, clips, out)
    rows = [
        ("takes", f"clips, uint8, videos x views x {' x '.join(str(size) for size in shape)}"),
        ("gives", f"logits, videos x views x {model.num_classes}"),
        ("parameters", f"{num_parameters(model):,}"),
        ("max |Δlogit|", f"{difference:.1e} from the model's"),
        ("file", f"{out}, {out.stat().st_size / 2**20:,.1f} MiB"),
    ]
    console.print(closing_table("exported", rows))
