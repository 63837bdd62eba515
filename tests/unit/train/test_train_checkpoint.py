"""Checkpoints: whole or not there, opened without Ray, and every damage named."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn
from toy_training import CLASSES

from kinoray.errors import CheckpointError
from kinoray.recipe import Recipe
from kinoray.train.checkpoint import (
    FILES,
    Progress,
    best_of_run,
    newest_of_run,
    open_checkpoint,
    write_checkpoint,
)

MakeRecipe = Callable[..., Recipe]
PROGRESS = Progress(epoch=3, step=16, best=0.5, best_epoch=2)

# Ray cannot be imported, and unpickling anything but tensors and plain values would fail.
STRANGER = """
import sys
sys.modules["ray"] = None
sys.path[:0] = [{helpers!r}, {platform!r}]
import kinoray
from kinoray.train.checkpoint import open_checkpoint
state = open_checkpoint({folder!r}).training_state()
recognizer = kinoray.load_recognizer({folder!r})
assert sys.modules["ray"] is None and "mlflow" not in sys.modules
print(len(state["optimizer"]["state"]), *recognizer.classes)
"""


@pytest.fixture
def net(toy_recipe: MakeRecipe) -> nn.Module:
    torch.manual_seed(0)
    return toy_recipe().model.build()


@pytest.fixture
def write(toy_recipe: MakeRecipe, net: nn.Module) -> Callable[..., Path]:
    def write(
        folder: Path, progress: Progress = PROGRESS, metrics: dict[str, float] | None = None, **replaced: nn.Module
    ) -> Path:
        model = replaced.get("model", net)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
        for parameter in model.parameters():
            parameter.grad = torch.ones_like(parameter)
        optimizer.step()
        write_checkpoint(
            folder,
            weights=model.state_dict(),
            training_state={"optimizer": optimizer.state_dict()},
            recipe=toy_recipe(),
            classes=CLASSES,
            progress=progress,
            metrics=metrics or {"top1": 0.25},
        )
        return folder

    return write


def test_it_comes_back_as_it_was(write: Callable[..., Path], net: nn.Module, toy_recipe, tmp_path: Path) -> None:
    opened = open_checkpoint(write(tmp_path / "c"))
    assert opened.progress == PROGRESS
    assert opened.metrics == {"top1": 0.25}
    assert opened.classes() == CLASSES
    assert opened.recipe() == toy_recipe()
    weights = opened.weights()
    assert weights.keys() == net.state_dict().keys()
    assert all(torch.equal(weights[name], value) for name, value in net.state_dict().items())
    assert sorted(path.name for path in (tmp_path / "c").iterdir()) == sorted((*FILES, "checkpoint.json"))


def test_it_opens_without_ray(write: Callable[..., Path], tmp_path: Path) -> None:
    helpers, platform = Path(__file__).parent / "helpers", Path(__file__).parents[3] / "platform"
    code = STRANGER.format(helpers=str(helpers), platform=str(platform), folder=str(write(tmp_path / "c")))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["7", *CLASSES]


def test_weights_that_share_memory_are_written(write: Callable[..., Path], tmp_path: Path) -> None:
    tied = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    tied[1].weight = tied[0].weight
    weights = open_checkpoint(write(tmp_path / "c", model=tied)).weights()
    assert torch.equal(weights["0.weight"], weights["1.weight"])


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_named(write: Callable[..., Path], tmp_path: Path, name: str) -> None:
    (write(tmp_path / "c") / name).unlink()
    with pytest.raises(CheckpointError, match=rf"c/{name}: missing; the checkpoint is incomplete"):
        open_checkpoint(tmp_path / "c")


@pytest.mark.parametrize("name", FILES)
def test_a_truncated_file_is_named(write: Callable[..., Path], tmp_path: Path, name: str) -> None:
    file = write(tmp_path / "c") / name
    content = file.read_bytes()
    file.write_bytes(content[:-1])
    with pytest.raises(CheckpointError, match=rf"{name}: {len(content) - 1} bytes, should have {len(content)}"):
        open_checkpoint(tmp_path / "c", verify=False)


@pytest.mark.parametrize("name", FILES)
def test_an_altered_file_is_named(write: Callable[..., Path], tmp_path: Path, name: str) -> None:
    file = write(tmp_path / "c") / name
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    with pytest.raises(CheckpointError, match=rf"c/{name}: its digest is not the one in checkpoint.json"):
        open_checkpoint(tmp_path / "c")


@pytest.mark.parametrize("name", ["model.safetensors", "training.pt"])
def test_damage_that_was_not_looked_for_is_named_on_reading(
    write: Callable[..., Path], tmp_path: Path, name: str
) -> None:
    file = write(tmp_path / "c") / name
    opened = open_checkpoint(tmp_path / "c")
    file.write_bytes(b"\x00" * file.stat().st_size)
    with pytest.raises(CheckpointError, match=rf"c/{name}: damaged or unreadable"):
        opened.weights() if name == "model.safetensors" else opened.training_state()


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"\xff\xfe\x00", b"[]", b"{}", b'{"format": 1}', b'{"format": 1, "progress": 3, "files": {}}'],
)
def test_a_damaged_index_is_named(write: Callable[..., Path], tmp_path: Path, content: bytes) -> None:
    (write(tmp_path / "c") / "checkpoint.json").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"c/checkpoint\.json: damaged or unreadable"):
        open_checkpoint(tmp_path / "c")


def test_an_index_that_lists_too_little_is_named(write: Callable[..., Path], tmp_path: Path) -> None:
    index = write(tmp_path / "c") / "checkpoint.json"
    values = json.loads(index.read_text())
    del values["files"]["model.safetensors"]
    index.write_text(json.dumps(values))
    with pytest.raises(CheckpointError, match=r"checkpoint\.json: damaged.*model\.safetensors"):
        open_checkpoint(tmp_path / "c")


def test_a_format_of_the_future_is_refused(write: Callable[..., Path], tmp_path: Path) -> None:
    index = write(tmp_path / "c") / "checkpoint.json"
    index.write_text(json.dumps({**json.loads(index.read_text()), "format": 2}))
    with pytest.raises(CheckpointError, match=r"checkpoint format 2, this Kinoray \(.*\) reads 1"):
        open_checkpoint(tmp_path / "c")


@pytest.mark.parametrize(("make", "why"), [(False, "no such folder"), (True, "holds no whole checkpoint")])
def test_no_checkpoint_is_said_so(tmp_path: Path, make: bool, why: str) -> None:
    if make:
        (tmp_path / "run").mkdir()
    with pytest.raises(CheckpointError, match=f"run: {why}; give a checkpoint folder or a run's folder"):
        open_checkpoint(tmp_path / "run")


@pytest.mark.parametrize("index", ["", '{"format": 1, "files": {"model.saf'])
def test_what_was_cut_off_is_passed_over(write: Callable[..., Path], tmp_path: Path, index: str) -> None:
    write(tmp_path / "epoch-0000", Progress(0, 3))
    (write(tmp_path / "epoch-0001", Progress(1, 6)) / "checkpoint.json").write_text(index)
    assert newest_of_run(str(tmp_path)) == best_of_run(str(tmp_path)) == str(tmp_path / "epoch-0000")


def test_of_a_run_the_best_is_opened(write: Callable[..., Path], tmp_path: Path) -> None:
    for epoch, top1 in enumerate([0.2, 0.6, 0.6, 0.4]):
        write(tmp_path / f"epoch-{epoch:04d}", Progress(epoch, epoch), {"top1": top1})
    (tmp_path / ".epoch-0004").mkdir()
    (tmp_path / ".epoch-0004" / "checkpoint.json").write_text("{")
    assert open_checkpoint(tmp_path).progress.epoch == 2
