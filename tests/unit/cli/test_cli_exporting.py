"""What ``jobs/export.py`` takes and prints."""

import io
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from rich.console import Console
from toy_training import CLASSES

from kinoray.cli.exporting import export_parser, export_recognizer
from kinoray.errors import ConfigError
from kinoray.models.base import Recognizer
from kinoray.models.kinds import MODELS
from kinoray.recipe import Recipe
from kinoray.recognizer import VideoRecognizer, load_recognizer


@pytest.fixture
def console() -> Console:
    return Console(file=io.StringIO(), width=100)


@pytest.fixture
def recognizer(toy_recipe: Callable[..., Recipe]) -> VideoRecognizer:
    recipe = toy_recipe()
    torch.manual_seed(0)
    view = recipe.data.evaluation_split("val")
    return VideoRecognizer(recipe.model.build().eval(), view, CLASSES, "probability", recipe=recipe)


def test_it_says_what_was_written_and_how_exact_it_is(
    console: Console, recognizer: VideoRecognizer, tmp_path: Path
) -> None:
    export_recognizer(console, recognizer, tmp_path / "model.pt2")
    assert isinstance(console.file, io.StringIO)
    text = console.file.getvalue()
    assert "clips, uint8, videos x views x 3 x 4 x 16 x 16" in text
    assert "logits, videos x views x 3" in text
    assert "max |Δlogit| │ 0.0e+00 from the model's" in text
    loaded = load_recognizer(tmp_path / "model.pt2")
    assert loaded.classes == CLASSES
    assert loaded.view.short_side() == recognizer.view.short_side()
    with pytest.raises(ConfigError, match="a file that is exported already"):
        export_recognizer(console, loaded, tmp_path / "again.pt2")
    assert not (tmp_path / "again.pt2").exists()


def test_what_looks_at_no_pictures_is_left_out(console: Console, recognizer: VideoRecognizer, tmp_path: Path) -> None:
    skeletons = MODELS.validate({"kind": "stgcn", "num_classes": 3, "width": 8, "num_blocks": 1, "halving": ()}).build()
    assert isinstance(skeletons, Recognizer)
    other = VideoRecognizer(skeletons.eval(), recognizer.view, CLASSES, "probability")
    with pytest.raises(ConfigError, match="got a STGCN, which looks at no pictures"):
        export_recognizer(console, other, tmp_path / "model.pt2")


def test_its_arguments(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = export_parser("").parse_args(["run", "-o", "model.onnx"])
    assert (arguments.model, arguments.out, arguments.split, arguments.checkpoint) == ("run", "model.onnx", "val", None)
    with pytest.raises(SystemExit):
        export_parser("").parse_args(["run"])
    assert "-o/--out" in capsys.readouterr().err
