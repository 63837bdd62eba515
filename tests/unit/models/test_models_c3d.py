import pytest
import torch

from kinoray.errors import ConfigError
from kinoray.models.c3d import C3D, C3DConfig
from kinoray.models.weights import load_weights, warm_start


def small(**settings: object) -> C3D:
    torch.manual_seed(0)
    small_size = {"num_classes": 3, "num_frames": 16, "crop": 32, "width": 4, "hidden": 16}
    return C3DConfig.model_validate({**small_size, **settings}).build()


@pytest.mark.parametrize(("num_frames", "crop"), [(16, 32), (17, 33), (32, 47), (16, 112)])
def test_linear_layers_fit_the_size_of_clips(num_frames: int, crop: int) -> None:
    model = small(num_frames=num_frames, crop=crop).eval()
    assert model(torch.zeros(1, 2, 3, num_frames, crop, crop, dtype=torch.uint8)).shape == (1, 2, 3)


@pytest.mark.parametrize("size", [(8, 32, 32), (16, 48, 32), (16, 64, 64)])
def test_clips_of_another_size_are_refused(size: tuple[int, int, int]) -> None:
    message = rf"16 x 32 x 32 .*got {size[0]} x {size[1]} x {size[2]}; set model.num_frames"
    with pytest.raises(ConfigError, match=message):
        small()(torch.zeros(1, 1, 3, *size, dtype=torch.uint8))


def test_published_network_sees_16_places() -> None:
    with torch.device("meta"):
        model = C3DConfig(num_classes=101).build()
    assert model.fc6.weight.shape == (4096, 8192)


def mmaction2_names(model: C3D) -> dict[str, torch.Tensor]:
    named = {}
    for key, value in model.state_dict().items():
        part, _, rest = key.partition(".")
        if part == "backbone":
            convolution, name = rest.split(".")
            named[f"backbone.{convolution}.conv.{name}"] = value
        else:
            named[f"cls_head.fc_cls.{rest}" if part == "fc" else f"backbone.{key}"] = value
    return named


def test_checkpoints_and_files_of_the_backbone_alone_land() -> None:
    whole = mmaction2_names(small())
    assert {"backbone.conv3b.conv.bias", "backbone.fc6.weight"} <= whole.keys()
    assert load_weights(small(), whole, where="here").names == "MMAction2"

    trunk = {key.removeprefix("backbone."): value for key, value in whole.items() if key.startswith("backbone.")}
    report = warm_start(small(), trunk, where="here")
    assert (set(report.fresh), report.unused) == ({"fc.weight", "fc.bias"}, ())


def test_parts_name_every_layer_but_the_head() -> None:
    model = small()
    parts = {id(value) for stage in model.parts_by_depth() for part in stage for value in part.parameters()}
    assert parts == {id(value) for name, value in model.named_parameters() if not name.startswith("fc.")}
