"""Tiny networks of transformers, saved as its own are."""

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor, nn

from kinoray.errors import CheckpointError, ConfigError, ResourceError
from kinoray.models.huggingface import NETWORKS, HuggingFaceConfig, HuggingFaceVideo
from kinoray.models.kinds import MODELS
from kinoray.models.weights import warm_start

transformers = pytest.importorskip("transformers")

SMALL = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
VIEWS = {"image_size": 32, "num_frames": 4, "intermediate_size": 32}
SETTINGS: dict[str, dict[str, Any]] = {
    "videomae": SMALL | VIEWS,
    "timesformer": SMALL | VIEWS,
    "vivit": SMALL | VIEWS | {"tubelet_size": [2, 16, 16]},
    "vjepa2": SMALL
    | {"crop_size": 32, "frames_per_clip": 4, "mlp_ratio": 2.0, "pred_hidden_size": 12, "pred_num_hidden_layers": 1}
    | {"pred_num_attention_heads": 1, "num_pooler_layers": 1, "hidden_size": 24},
}


def video(num_frames: int = 4, side: int = 32) -> Tensor:
    shape = (1, 2, 3, num_frames, side, side)
    return torch.randint(256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def config(network: str, **settings: object) -> HuggingFaceConfig:
    values = {"num_classes": 3, "network": network, **settings}
    return HuggingFaceConfig.model_validate(
        values if "pretrained" in values else {"settings": SETTINGS[network], **values}
    )


def build(network: str, **settings: object) -> HuggingFaceVideo:
    torch.manual_seed(0)
    return config(network, **settings).build()


def saved(network: str, folder: Path, num_classes: int = 3) -> nn.Module:
    """A classifier of transformers with random weights, in a folder as on its hub."""
    torch.manual_seed(1)
    prefix = NETWORKS[network].prefix
    sizes = getattr(transformers, f"{prefix}Config")(**SETTINGS[network], num_labels=num_classes)
    made = getattr(transformers, f"{prefix}ForVideoClassification")(sizes)
    made.save_pretrained(folder)
    return made.eval()


@pytest.mark.parametrize("network", sorted(NETWORKS))
def test_scores_are_those_of_transformers(network: str, tmp_path: Path) -> None:
    theirs = saved(network, tmp_path)
    model = build(network, pretrained=str(tmp_path)).eval()
    report = model.weights_report
    assert report is not None
    assert report.fresh == {}

    mean, std = (torch.tensor(values).view(3, 1, 1, 1) for values in NETWORKS[network].normalization)
    with torch.inference_mode():
        expected = theirs(((video()[0] - mean) / std).transpose(1, 2)).logits
        torch.testing.assert_close(model(video())[0], expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("network", sorted(NETWORKS))
def test_everything_in_it_learns(network: str) -> None:
    model = build(network).train()
    model(video()).square().sum().backward()
    assert [name for name, value in model.named_parameters() if value.grad is None] == []
    assert len(model.parts_by_depth()) == 3


def test_another_label_set_keeps_the_head(tmp_path: Path) -> None:
    saved("videomae", tmp_path, num_classes=7)
    report = build("videomae", pretrained=str(tmp_path)).weights_report
    assert report is not None
    assert report.fresh == {"fc.weight": "7x16 in the file, 3x16 here", "fc.bias": "7 in the file, 3 here"}
    assert report.line().startswith(f"model.pretrained: {tmp_path}: ")
    assert report.names == "Hugging Face"


def test_sizes_without_weights(tmp_path: Path) -> None:
    """What a checkpoint of ours is loaded into."""
    saved("timesformer", tmp_path, num_classes=7)
    pretrained = config("timesformer", pretrained=str(tmp_path))
    fresh = pretrained.without_pretrained()
    assert fresh.pretrained is None
    assert fresh.settings["hidden_size"] == 16
    assert "id2label" not in fresh.settings
    shapes = {key: value.shape for key, value in fresh.build().state_dict().items()}
    assert shapes == {key: value.shape for key, value in pretrained.build().state_dict().items()}
    again = MODELS.validate(fresh.model_dump(mode="json"))
    assert again == fresh
    assert config("timesformer").without_pretrained() == config("timesformer")


def test_sizes_that_are_stated_need_nothing_else() -> None:
    stated = HuggingFaceConfig(num_classes=3, network="vivit", settings=SETTINGS["vivit"], pretrained="not/there")
    assert stated.without_pretrained() == config("vivit")


def test_files_of_transformers_start_a_network(tmp_path: Path) -> None:
    theirs = saved("vivit", tmp_path)
    report = warm_start(build("vivit"), theirs.state_dict(), where="file")
    assert (report.names, report.fresh, report.unused) == ("Hugging Face", {}, ())


def test_a_fixed_size_is_told() -> None:
    with pytest.raises(ConfigError, match="videomae has positions for views of 4x32x32, got 8x32x32"):
        build("videomae")(video(8))
    assert build("vjepa2").eval()(video(8, 48)).shape == (1, 2, 3)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"hiden_size": 3},
            r"model\.settings\.hiden_size: transformers knows no such setting .did you mean 'hidden_size'",
        ),
        ({"hidden_size": "wide"}, r"model\.settings: do not make a VideoMAEConfig, got .*hidden_size"),
    ],
)
def test_wrong_sizes_are_named(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build("videomae", settings=settings)


def test_a_folder_of_something_else_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"model\.pretrained: .*: got no config\.json that names a network"):
        build("videomae", pretrained=str(tmp_path))
    saved("vivit", tmp_path)
    with pytest.raises(CheckpointError, match=r"got vivit, should be videomae; set model\.network"):
        build("videomae", pretrained=str(tmp_path))
    for weights in tmp_path.glob("*.safetensors"):
        weights.write_bytes(b"no weights")
    with pytest.raises(CheckpointError, match="weights cannot be read"):
        build("vivit", pretrained=str(tmp_path))


def test_too_little_is_refused(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    saved("videomae", tmp_path)
    (file,) = tmp_path.glob("*.safetensors")
    save_file({key: value for key, value in load_file(file).items() if "layer.0." in key}, file, {"format": "pt"})
    with pytest.raises(CheckpointError, match=r"weights fit \d+% of VideoMAEForVideoClassification"):
        build("videomae", pretrained=str(tmp_path))


def test_missing_transformers_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(ResourceError, match=r"pip install 'kinoray\[transformers\]'"):
        build("videomae")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"mean": (1.0,), "std": (1.0,)}, "see 3 channels, got 1"),
        ({"network": "videomae3"}, "vjepa2"),
    ],
)
def test_wrong_settings_are_named(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        HuggingFaceConfig.model_validate({"num_classes": 3, **settings})
