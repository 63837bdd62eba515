from collections import OrderedDict
from fractions import Fraction
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from kinoray.errors import CheckpointError
from kinoray.models.slowfast import SlowFast, SlowFastConfig
from kinoray.models.weights import load_weights, read_state_dict, rename_keys

GOLDEN = Path(__file__).resolve().parents[3].parent / "shared" / "golden"


def small(num_classes: int = 3, width: int = 8) -> SlowFast:
    return SlowFastConfig(num_classes=num_classes, depth=18, width=width, channel_ratio=4).build()


def same(left: dict[str, Tensor], right: dict[str, Tensor]) -> bool:
    return left.keys() == right.keys() and all(torch.equal(left[key], right[key]) for key in left)


# --- read_state_dict


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


def test_mmengine_container_is_refused_for_now() -> None:
    path = GOLDEN / "mmengine_checkpoint_sample.pth"
    if not path.is_file():
        pytest.skip("no ../shared/golden beside the repository")
    with pytest.raises(CheckpointError, match=r"would run code, got [\w.]+"):
        read_state_dict(path)


@pytest.mark.parametrize("name", ["weights.pth", "weights.pt", "weights.safetensors"])
@pytest.mark.parametrize("content", [b"", b"<html>404</html>", b"PK\x03\x04 cut off"])
def test_damaged_file(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(CheckpointError, match=rf"{name}: damaged"):
        read_state_dict(tmp_path / name)


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
        ({"epoch": 3, "model": TENSORS}, "got a mapping with 'epoch', 'model'"),
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


# --- rename_keys


def test_rules_are_applied_in_turn() -> None:
    rules = [(r"^backbone\.", "trunk."), (r"layer(\d)\.", r"stage\1."), (r"^trunk\.stage1\.", "first.")]
    renamed = rename_keys({"backbone.layer1.a": torch.tensor(1), "head.a": torch.tensor(2)}, rules)
    assert same(renamed, {"first.a": torch.tensor(1), "head.a": torch.tensor(2)})


def test_two_keys_must_not_become_one() -> None:
    with pytest.raises(CheckpointError, match=r"b\.x: becomes c\.x, as a\.x does"):
        rename_keys({"a.x": torch.zeros(1), "b.x": torch.zeros(1)}, [("^[ab]", "c")])


# --- load_weights


def test_same_label_set_loads_everything() -> None:
    source, model = small(), small()
    report = load_weights(model, source.state_dict(), where="file.pth")
    assert same(dict(model.state_dict()), dict(source.state_dict()))
    assert report.num_loaded == len(source.state_dict())
    assert report.skipped == ()


def test_another_label_set_keeps_the_head() -> None:
    source, model = small(num_classes=7), small()
    head = {key: value.clone() for key, value in model.head().state_dict().items()}
    report = load_weights(model, source.state_dict(), where="file.pth")

    assert report.skipped == ("fc.weight", "fc.bias")
    assert report.num_loaded == len(source.state_dict()) - 2
    assert same(dict(model.head().state_dict()), head)
    assert same(dict(model.backbone.state_dict()), dict(source.backbone.state_dict()))


def test_half_precision_file_is_widened() -> None:
    source, model = small(), small()
    load_weights(model, {key: value.half() for key, value in source.state_dict().items()}, where="file.pth")
    assert model.fc.weight.dtype == torch.float32
    torch.testing.assert_close(model.fc.weight, source.fc.weight, atol=1e-4, rtol=1e-3)


def test_counters_of_batch_norm_may_be_missing() -> None:
    source, model = small(), small()
    given = {key: value for key, value in source.state_dict().items() if not key.endswith("num_batches_tracked")}
    assert load_weights(model, given, where="file.pth").num_loaded == len(given)


@pytest.mark.parametrize(
    ("rename", "message"),
    [
        ((r"^fc\.bias", "gone"), "1 key missing: fc.bias; 1 key unexpected: gone;"),
        (
            (r"^backbone", "trunk"),
            r"missing: (backbone\.\S+, ){3}\.\.\.; \d+ keys unexpected: (trunk\.\S+, ){3}\.\.\.;",
        ),
    ],
)
def test_other_keys_are_named_and_nothing_is_loaded(rename: tuple[str, str], message: str) -> None:
    model = small()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    given = rename_keys(small().state_dict(), [rename])

    with pytest.raises(
        CheckpointError, match=f"file.pth: weights do not fit SlowFast, got .*{message}.*family or size"
    ):
        load_weights(model, given, where="file.pth")
    assert same(dict(model.state_dict()), before)


@pytest.mark.parametrize("num_classes", [3, 7])
def test_another_size_is_named_with_its_shapes(num_classes: int) -> None:
    with pytest.raises(CheckpointError, match=r"of another shape: \S+ 4x3x5x7x7, here 2x3x5x7x7"):
        load_weights(small(), small(num_classes, width=16).state_dict(), where="file.pth")
