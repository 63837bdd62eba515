import pytest
import torch
import torchvision
from pydantic import ValidationError
from torch import Tensor

from kinoray.errors import CheckpointError, ConfigError
from kinoray.models.slowonly import SlowOnlyConfig
from kinoray.models.tpn import TPN, TPNConfig, tpn_slowonly_r50, tpn_tsm_r50
from kinoray.models.weights import load_weights, rename_keys, warm_start

# From our names to MMAction2's.
NECK_BACK = (
    (r"^neck\.spatial\.", "neck.spatial_modulation.spatial_modulation.0."),
    (r"^neck\.temporal\.(\d)\.", r"neck.temporal_modulation_ops.\1.conv.conv."),
    (r"^neck\.upward\.", "neck.downsample_ops.0.conv.conv."),
    (r"^neck\.fuse\.", "neck.pyramid_fusion."),
    (r"^neck\.(\w+)\.levels\.(\d)\.", r"neck.\1.downsamples.\2.conv."),
    (r"^neck\.(\w+)\.fuse\.", r"neck.\1.fusion_conv."),
    (r"^neck\.top_down\.", "neck.level_fusion_1."),
    (r"^neck\.bottom_up\.", "neck.level_fusion_2."),
    (r"^auxiliary\.", "neck.aux_head.conv."),
    (r"^fc\.auxiliary\.", "neck.aux_head.fc."),
    (r"^fc\.main\.", "cls_head.fc_cls."),
)


def small(**settings: object) -> TPN:
    torch.manual_seed(0)
    defaults: dict[str, object] = {"num_classes": 3, "depth": 18, "width": 4, "neck_width": 32}
    return TPNConfig.model_validate(defaults | settings).build()


def video(num_frames: int = 8, side: int = 32) -> Tensor:
    shape = (2, 1, 3, num_frames, side, side)
    return torch.randint(256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(("num_frames", "num_left"), [(4, 1), (8, 1), (20, 3)])
def test_sizes_of_the_pyramid(num_frames: int, num_left: int) -> None:
    model = small().eval()
    low, high = torch.randn(1, 16, num_frames, 5, 4), torch.randn(1, 32, num_frames, 3, 2)
    assert model.neck(low, high).shape == (1, 64, num_left, 3, 2)


def test_an_auxiliary_head_scores_in_training_alone() -> None:
    model = small()
    assert model.train()(video()).shape == (2, 1, 2, 3)
    assert model.eval()(video()).shape == (2, 1, 3)
    assert model.loss_weights == (1.0, 0.5)
    plain = small(auxiliary_weight=0)
    assert plain.train()(video()).shape == (2, 1, 3)
    assert plain.loss_weights == (1.0,)
    assert not any("auxiliary" in name for name in plain.state_dict())


def test_which_maps_the_way_up_begins_with() -> None:
    cascade, parallel = small().eval(), small(flow="parallel").eval()
    assert not torch.allclose(cascade(video()), parallel(video()), atol=1e-6)


def test_multiples_of_the_frames_are_joined_apart() -> None:
    model = small(backbone="tsm", width=64).eval()
    clips = video(num_frames=16)
    with torch.inference_mode():
        halves = torch.stack([model(half) for half in clips.split(8, dim=3)])
        torch.testing.assert_close(model(clips), halves.mean(0))
    with pytest.raises(ConfigError, match="8 frames are joined, got views of 12"):
        model(video(num_frames=12))


@pytest.mark.parametrize("num_classes", [3, 7])
def test_checkpoints_of_mmaction2_land(num_classes: int) -> None:
    source, model = small(num_classes=num_classes), small()
    given = rename_keys(source.state_dict(), NECK_BACK)
    report = load_weights(model, given, where="file.pth")
    heads = [key for key in model.state_dict() if key.startswith("fc.")]
    assert len(heads) == 4
    assert (report.names, list(report.fresh)) == ("MMAction2", heads if num_classes == 7 else [])
    assert len(report.loaded) == len(given) - len(report.fresh)


@pytest.mark.parametrize("backbone", ["tsm", "slowonly"])
def test_pictures_start_the_backbone(backbone: str) -> None:
    """Though the pyramid, which no other network has, is the larger part."""
    model = small(backbone=backbone, width=64, neck_width=1024)
    report = warm_start(model, torchvision.models.resnet18().state_dict(), where="ImageNet")
    assert report.names == "torchvision"
    assert {name.partition(".")[0] for name in report.fresh} == {"neck", "auxiliary", "fc"}


def test_slowonly_starts_the_backbone() -> None:
    slowonly = SlowOnlyConfig(num_classes=3, depth=18, width=4).build()
    report = warm_start(small(), slowonly.state_dict(), where="SlowOnly")
    assert set(report.loaded) == {name for name in slowonly.state_dict() if name.startswith("backbone.")}


def test_foreign_weights_are_refused() -> None:
    half = {name: value for name, value in small().state_dict().items() if not name.startswith("backbone.layer4")}
    with pytest.raises(CheckpointError, match=r"weights fit \d\d% of the trunk of TPN"):
        warm_start(small(), half, where="file.pth")
    with pytest.raises(CheckpointError, match="weights fit 0% of the trunk of TPN"):
        warm_start(small(), torchvision.models.mobilenet_v2().state_dict(), where="file.pth")


def test_export() -> None:
    model = small().eval()
    exported = torch.export.export(model, (video(),)).module()
    with torch.inference_mode():
        torch.testing.assert_close(exported(video()), model(video()))


def test_builders_are_the_published_sizes() -> None:
    with torch.device("meta"):
        on_clips, on_frames = tpn_slowonly_r50(101), tpn_tsm_r50()
    assert on_clips.fc.main.weight.shape == (101, 2048)
    assert on_frames.fc.auxiliary.weight.shape == (174, 2048)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"neck_width": 100}, "multiple of 32"),
        ({"depth": 18, "width": 5}, "last stage has to be a multiple of 32, got 5"),
        ({"backbone": "tsm", "width": 32}, "stem has 64 channels, got 32"),
        ({"pretrained": "IMAGENET1K_V9"}, "no weights of resnet50"),
    ],
)
def test_wrong_settings_are_named(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        TPNConfig.model_validate({"num_classes": 3, **settings})
