"""What ``jobs/recognize.py`` takes and prints."""

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console
from toy_training import CLASSES

from kinoray.cli.recognizing import check_arguments, device_named, recognize, recognize_parser, top_table
from kinoray.errors import ConfigError, ResourceError
from kinoray.recipe import Recipe
from kinoray.recognizer import Recognition, VideoRecognizer


@pytest.fixture
def console() -> Console:
    return Console(file=io.StringIO(), width=60)


def text_of(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_the_best_classes_in_order(console: Console) -> None:
    found = Recognition(np.array([0.25, 0.05, 0.7], np.float32), ("a [b]", "two", "three"))
    console.print(top_table("folder/[x].mp4", found, 2))
    rows = [line.strip("│ ").split("│") for line in text_of(console).splitlines() if line.startswith("│")]
    assert [[cell.strip() for cell in row] for row in rows] == [
        ["class", "score"],
        ["three", "0.700"],
        ["a [b]", "0.250"],
    ]
    assert text_of(console).startswith("folder/[x].mp4")


def test_a_video_is_named_and_written(
    console: Console, toy_recipe: Callable[..., Recipe], toy_videos: Path, tmp_path: Path
) -> None:
    recipe = toy_recipe()
    torch.manual_seed(0)
    recognizer = VideoRecognizer(
        recipe.model.build().eval(), recipe.data.evaluation_split("val"), CLASSES, "probability"
    )
    out = tmp_path / "shown.mp4"
    recognize(console, recognizer, str(toy_videos / "val-dim-0.mp4"), top=3, out=str(out))
    assert all(name in text_of(console) for name in CLASSES)
    assert "with labels:" in text_of(console)
    assert out.stat().st_size > 1000


def test_what_makes_no_sense_is_told_at_once() -> None:
    parser = recognize_parser("")
    with pytest.raises(ConfigError, match="--top: classes to show, got 0"):
        check_arguments(parser.parse_args(["a.mp4", "--model", "run", "--top", "0"]))
    with pytest.raises(ConfigError, match=r"--out: .* got 'b\.webm'"):
        check_arguments(parser.parse_args(["a.mp4", "--model", "run", "--out", "b.webm"]))


def test_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    assert device_named("cpu") == "cpu"
    with pytest.raises(ConfigError, match="--device, got 'gpu'; it should read like cpu, cuda or cuda:1"):
        device_named("gpu")
    with pytest.raises(ResourceError, match="torch finds no 'cuda:99' on this machine"):
        device_named("cuda:99")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert device_named(None) == "cuda"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert device_named(None) == "cpu"
