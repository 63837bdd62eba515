from pathlib import Path
from urllib.error import URLError

import pytest
import torch
import torchvision

from kinoray.errors import CheckpointError, ConfigError
from kinoray.models.layers.resnet2d import resnet2d

RESNET18_FILE = "resnet18-f37072fd.pth"


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of downloads, and no network."""

    def offline(url: str, *_: object, **__: object) -> None:
        raise URLError(f"no route to {url}")

    monkeypatch.setattr(torch.hub, "download_url_to_file", offline)
    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path))
    (tmp_path / "checkpoints").mkdir()
    return tmp_path / "checkpoints"


@pytest.fixture
def cached(hub: Path) -> dict[str, torch.Tensor]:
    """The cache holds the weights of another resnet18."""
    state_dict = torchvision.models.resnet18().state_dict()
    torch.save(state_dict, hub / RESNET18_FILE)
    return state_dict


def test_trunk_ends_before_the_pool() -> None:
    trunk, width = resnet2d("resnet18")
    assert trunk(torch.zeros(2, 3, 64, 32)).shape == (2, width, 2, 1)
    assert [name for name, _ in trunk.named_children()][-1] == "layer4"


def test_pretrained_weights_are_torchvisions(cached: dict[str, torch.Tensor]) -> None:
    trunk, _ = resnet2d("resnet18", pretrained="IMAGENET1K_V1")
    for key, value in trunk.state_dict().items():
        assert torch.equal(value, cached[key])


def test_pretrained_flow_repeats_the_mean_colour(cached: dict[str, torch.Tensor]) -> None:
    trunk, _ = resnet2d("resnet18", in_channels=10, pretrained="IMAGENET1K_V1")
    weight = trunk.state_dict()["conv1.weight"]

    assert weight.shape == (64, 10, 7, 7)
    for channel in range(10):
        torch.testing.assert_close(weight[:, channel], cached["conv1.weight"].mean(dim=1))
    assert torch.equal(trunk.state_dict()["layer4.1.conv2.weight"], cached["layer4.1.conv2.weight"])


def test_fresh_stem_for_other_channels_has_the_usual_spread() -> None:
    trunk, _ = resnet2d("resnet18", in_channels=10)
    std = trunk.state_dict()["conv1.weight"].std().item()
    assert std == pytest.approx((2 / (64 * 7 * 7)) ** 0.5, rel=0.05)


def test_failed_download_names_the_file_and_the_way_out(hub: Path) -> None:
    with pytest.raises(CheckpointError, match=f"no route to .*put it at {hub}/{RESNET18_FILE}.*set pretrained to null"):
        resnet2d("resnet18", pretrained="IMAGENET1K_V1")


def test_damaged_cache_is_named(hub: Path) -> None:
    (hub / RESNET18_FILE).write_bytes(b"<html>captive portal</html>")
    with pytest.raises(CheckpointError, match=RESNET18_FILE):
        resnet2d("resnet18", pretrained="IMAGENET1K_V1")


def test_unknown_weights_list_the_known(hub: Path) -> None:
    with pytest.raises(ConfigError, match="got 'IMAGENET'; torchvision has IMAGENET1K_V1"):
        resnet2d("resnet18", pretrained="IMAGENET")
