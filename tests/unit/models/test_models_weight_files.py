"""State dicts out of files of every make, and nothing else out of them."""

import json
import os
import pickle
from collections import OrderedDict
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from kinoray.errors import CheckpointError
from kinoray.models.weight_files import read_state_dict

GOLDEN = Path(__file__).resolve().parents[3].parent / "shared" / "golden"


def same(left: dict[str, Tensor], right: dict[str, Tensor]) -> bool:
    return left.keys() == right.keys() and all(torch.equal(left[key], right[key]) for key in left)


TENSORS = {"a.weight": torch.arange(6.0).view(2, 3), "a.count": torch.tensor(3)}


@pytest.mark.parametrize("suffix", [".pth", ".pt"])
@pytest.mark.parametrize(
    "content",
    [
        TENSORS,
        OrderedDict(TENSORS),
        {"state_dict": TENSORS, "meta": {"epoch": 3}},
        {f"module.{key}": value for key, value in TENSORS.items()},
        {"state_dict": {f"module.{key}": value for key, value in TENSORS.items()}},
        {"epoch": 3, "model": TENSORS},
        {"model_state": TENSORS},
        {"module": TENSORS},
    ],
)
def test_torch_files_in_every_wrapping(tmp_path: Path, suffix: str, content: object) -> None:
    path = tmp_path / f"weights{suffix}"
    torch.save(content, path)
    assert same(read_state_dict(path), TENSORS)


def test_safetensors_file(tmp_path: Path) -> None:
    save_file(TENSORS, tmp_path / "weights.safetensors")
    assert same(read_state_dict(str(tmp_path / "weights.safetensors")), TENSORS)


def test_a_submodule_named_module_keeps_its_name(tmp_path: Path) -> None:
    content = {"module.a": torch.zeros(1), "b": torch.zeros(1)}
    torch.save(content, tmp_path / "weights.pth")
    assert same(read_state_dict(tmp_path / "weights.pth"), content)


def test_older_torch_format(tmp_path: Path) -> None:
    torch.save(TENSORS, tmp_path / "weights.pth", _use_new_zipfile_serialization=False)
    assert same(read_state_dict(tmp_path / "weights.pth"), TENSORS)


def test_file_that_would_run_code_is_refused(tmp_path: Path) -> None:
    torch.save({"state_dict": TENSORS, "best": Fraction(1, 3)}, tmp_path / "weights.pth")
    with pytest.raises(CheckpointError, match=r"would run code, got fractions\.Fraction; save only its state_dict"):
        read_state_dict(tmp_path / "weights.pth")


class Calls:
    """Pickled as a call."""

    def __init__(self, function: Callable[..., object], *arguments: object) -> None:
        self.call = function, arguments

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return self.call


@pytest.mark.parametrize(
    ("function", "named"),
    [(os.mkdir, r"(posix|nt)\.mkdir"), (os.system, r"(posix|nt)\.system"), (exec, "exec"), (Path.mkdir, r"pathlib\.")],
)
def test_what_a_file_would_do_does_not_happen(tmp_path: Path, function: Callable[..., object], named: str) -> None:
    target = tmp_path / "made"
    argument: object = str(target)
    if function is exec:
        argument = f"import os; os.mkdir({str(target)!r})"
    elif function is os.system:
        argument = f"mkdir {target}"
    elif function is Path.mkdir:
        argument = target
    torch.save({"state_dict": TENSORS, "meta": Calls(function, argument)}, tmp_path / "weights.pth")
    with pytest.raises(CheckpointError, match=f"would run code, got {named}"):
        read_state_dict(tmp_path / "weights.pth")
    assert not target.exists()


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_a_bare_pickle_is_no_checkpoint(tmp_path: Path, protocol: int) -> None:
    target = tmp_path / "made"
    (tmp_path / "weights.pth").write_bytes(pickle.dumps(Calls(os.mkdir, str(target)), protocol=protocol))
    with pytest.raises(CheckpointError, match=r"weights\.pth: (not read|damaged)"):
        read_state_dict(tmp_path / "weights.pth")
    assert not target.exists()


def test_allowed_names_are_stand_ins_that_do_nothing(tmp_path: Path) -> None:
    """MMEngine's files name getattr; it must lead nowhere."""
    before = set(torch.serialization.get_safe_globals())
    escape = Calls(getattr, Calls(getattr, TENSORS["a.weight"], "__class__"), "__init__")
    torch.save({"state_dict": TENSORS, "message_hub": escape}, tmp_path / "weights.pth")
    assert same(read_state_dict(tmp_path / "weights.pth"), TENSORS)
    called = Calls(getattr, Calls(getattr, str(tmp_path / "x"), "__class__"), "mkdir")
    torch.save({"state_dict": called}, tmp_path / "weights.pth")
    with pytest.raises(CheckpointError, match="holds no state dict"):
        read_state_dict(tmp_path / "weights.pth")
    assert set(torch.serialization.get_safe_globals()) == before


def test_numbers_and_arrays_of_numpy_are_passed_over(tmp_path: Path) -> None:
    content = {"state_dict": TENSORS, "meta": {"lr": np.float64(0.1), "history": np.arange(6.0).reshape(2, 3)}}
    torch.save(content, tmp_path / "weights.pth")
    assert same(read_state_dict(tmp_path / "weights.pth"), TENSORS)


def test_a_training_checkpoint_of_mmengine() -> None:
    path = GOLDEN / "mmengine_checkpoint_sample.pth"
    if not path.is_file():
        pytest.skip("no ../shared/golden beside the repository")
    told = json.loads(path.with_suffix(".json").read_text())["state_dict"]
    state_dict = read_state_dict(path)
    assert {key: list(value.shape) for key, value in state_dict.items()} == {k: v["shape"] for k, v in told.items()}
    for key, value in state_dict.items():
        assert value.double().sum().item() == pytest.approx(told[key]["sum"], rel=1e-5, abs=1e-6)


def test_of_averaged_weights_the_average_is_read(tmp_path: Path) -> None:
    """MMEngine swaps the two when it saves: ``state_dict`` is the average."""
    raw = {f"module.{key}": value + 1 for key, value in TENSORS.items()} | {"steps": torch.tensor(7)}
    torch.save({"state_dict": TENSORS, "ema_state_dict": raw}, tmp_path / "both.pth")
    assert same(read_state_dict(tmp_path / "both.pth"), TENSORS)
    torch.save({"ema_state_dict": raw}, tmp_path / "one.pth")
    assert same(read_state_dict(tmp_path / "one.pth"), {key: value + 1 for key, value in TENSORS.items()})


def test_names_that_wrappers_add_are_dropped(tmp_path: Path) -> None:
    average = AveragedModel(nn.ModuleDict({"conv": nn.Conv2d(1, 1, 1)}))
    torch.save(average.state_dict(), tmp_path / "average.pth")
    assert set(average.state_dict()) == {"n_averaged", "module.conv.weight", "module.conv.bias"}
    assert set(read_state_dict(tmp_path / "average.pth")) == {"conv.weight", "conv.bias"}
    for wrapping in ("_orig_mod.", "module._orig_mod.", "_orig_mod.module."):
        torch.save({f"{wrapping}{key}": value for key, value in TENSORS.items()}, tmp_path / "weights.pth")
        assert same(read_state_dict(tmp_path / "weights.pth"), TENSORS)
    torch.save({"a._orig_mod.weight": TENSORS["a.weight"], "a.count": TENSORS["a.count"]}, tmp_path / "part.pth")
    assert same(read_state_dict(tmp_path / "part.pth"), TENSORS)


@pytest.mark.parametrize("name", ["weights.pth", "weights.pt", "weights.safetensors"])
@pytest.mark.parametrize("content", [b"", b"<html>404</html>", b"PK\x03\x04 cut off"])
def test_damaged_file(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(CheckpointError, match=rf"{name}: damaged"):
        read_state_dict(tmp_path / name)


def test_an_older_file_that_was_cut_off_anywhere(tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    torch.save(TENSORS, path, _use_new_zipfile_serialization=False)
    content = path.read_bytes()
    for num_bytes in range(0, len(content) - 8, 3):
        path.write_bytes(content[:num_bytes])
        with pytest.raises(CheckpointError, match=r"weights\.pth: (damaged|holds no|.*, got \w[\w.]*\w;)"):
            read_state_dict(path)


@pytest.mark.parametrize("format_name", ["pth", "safetensors"])
def test_file_that_was_cut_off(tmp_path: Path, format_name: str) -> None:
    path = tmp_path / f"weights.{format_name}"
    if format_name == "pth":
        torch.save(TENSORS, path)
    else:
        save_file(TENSORS, path)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(CheckpointError, match="damaged"):
        read_state_dict(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"epoch": 3, "net": TENSORS}, "got a mapping with 'epoch', 'net'"),
        ({"state_dict": {}}, "got an empty mapping"),
        ([torch.zeros(1)], "got a list"),
        ({0: torch.zeros(1)}, "got a mapping with 0"),
    ],
)
def test_file_without_a_state_dict(tmp_path: Path, content: object, message: str) -> None:
    torch.save(content, tmp_path / "weights.pth")
    with pytest.raises(CheckpointError, match=f"holds no state dict, {message}"):
        read_state_dict(tmp_path / "weights.pth")


def test_missing_file_and_unknown_type(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no such file"):
        read_state_dict(tmp_path / "weights.pth")
    with pytest.raises(CheckpointError, match="no such file"):
        read_state_dict(tmp_path)
    (tmp_path / "weights.h5").touch()
    with pytest.raises(CheckpointError, match=r"got '\.h5'; one of \.safetensors"):
        read_state_dict(tmp_path / "weights.h5")
