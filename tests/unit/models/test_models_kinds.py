"""What holds for every recognizer of the table, on the smallest variant of each family."""

from importlib import import_module
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from kinoray.models import mvit, uniformer, video_swin
from kinoray.models.base import Recognizer
from kinoray.models.kinds import MODELS, ModelConfig, RecognizerConfig

SMALL: dict[str, dict[str, Any]] = {
    "tsn": {"backbone": "resnet18"},
    "tsm": {"backbone": "resnet14"},
    "tin": {"backbone": "resnet14"},
    "trn": {"backbone": "resnet14", "embed_width": 8},
    "tanet": {"backbone": "resnet14"},
    "tpn": {"depth": 18, "width": 8, "neck_width": 32},
    "c2d": {"backbone": "resnet14"},
    "c3d": {"num_frames": 16, "crop": 32, "width": 4, "hidden": 16},
    "csn": {"width": 8},
    "i3d": {"depth": 18, "width": 8},
    "r2plus1d": {"depth": 18, "width": 4},
    "slowonly": {"depth": 18, "width": 8},
    "omnisource": {"width": 4},
    "torchvision_video": {"network": "mc3_18"},
    "huggingface": {
        "network": "videomae",
        "settings": {
            "image_size": 32,
            "num_frames": 8,
            "hidden_size": 16,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "intermediate_size": 32,
        },
    },
    "xclip": {
        "settings": {
            "projection_dim": 16,
            "prompt_layers": 1,
            "prompt_num_attention_heads": 2,
            "vision_config": {
                "image_size": 32,
                "num_frames": 8,
                "hidden_size": 16,
                "intermediate_size": 32,
                "num_hidden_layers": 2,
                "num_attention_heads": 2,
                "mit_hidden_size": 16,
                "mit_intermediate_size": 32,
                "mit_num_attention_heads": 2,
            },
        },
    },
    "x3d": {"width_factor": 0.3, "depth_factor": 0.2, "hidden": 16},
    "slowfast": {"depth": 18, "width": 8, "channel_ratio": 4, "speed_ratio": 4},
    "mvit": {"num_frames": 8, "crop": 32, "width": 8, "num_blocks": 4, "stage_starts": (1, 2, 3)},
    "video_swin": {"width": 8, "num_blocks": (2, 2, 2, 2), "num_heads": (1, 2, 2, 4), "window": (2, 3, 3)},
    "uniformer": {"widths": (8, 8, 16, 32), "num_blocks": (1, 1, 1, 1), "head_width": 8},
    "timesformer": {"crop": 32, "width": 16, "depth": 2, "num_heads": 2, "num_frames": 4},
    "videomae": {"crop": 32, "width": 16, "depth": 2, "num_heads": 2, "num_frames": 4},
    "uniformerv2": {"crop": 32, "width": 16, "depth": 2, "num_heads": 2, "num_frames": 4, "global_after": (1,)},
    "stgcn": {"width": 8, "num_blocks": 3, "halving": (2,)},
    "stgcnpp": {"width": 12, "num_blocks": 3, "halving": (2,)},
    "agcn": {"width": 8, "num_blocks": 3, "halving": (2,), "attention": True},
    "posec3d": {"width": 8, "num_blocks": (1, 1, 1)},
    "rgbpose_conv3d": {"depth": 18, "width": 8, "pose_width": 4, "pose_blocks": (1, 1, 1)},
    "audio_resnet": {"width": 4},
}
"""The settings that make a family small; a family that is small by itself needs none."""

FLOAT_VIEWS: dict[str, tuple[int, ...]] = {
    "stgcn": (2, 8, 17, 3),
    "stgcnpp": (2, 8, 17, 3),
    "agcn": (2, 8, 17, 3),
    "posec3d": (17, 8, 16, 16),
    "rgbpose_conv3d": (16 * 3 + 4 * 17, 2, 8, 8),
    "audio_tsn": (1, 64, 40),
    "audio_resnet": (1, 16, 40),
}
"""The shape of a view of the families that see no pictures."""

PUBLISHED: list[tuple[dict[str, Any], int]] = [
    ({"kind": "tsn", "backbone": "resnet50"}, 24_327_632),
    ({"kind": "tsm"}, 24_327_632),
    ({"kind": "tsm", "backbone": "mobilenet_v2"}, 2_736_272),
    ({"kind": "tsm", "backbone": "mobileone_s4"}, 13_721_848),
    ({"kind": "tsm", "non_local": "dot_product"}, 31_682_000),
    ({"kind": "tin"}, 24_358_640),
    ({"kind": "tanet"}, 25_590_320),
    ({"kind": "tpn"}, 91_498_336),
    ({"kind": "tpn", "backbone": "tsm", "num_classes": 174}, 82_445_724),
    ({"kind": "slowfast", "depth": 50, "speed_ratio": 8}, 34_479_288),
    ({"kind": "slowfast", "depth": 50, "speed_ratio": 4, "fusion_kernel": 7}, 34_565_560),
    ({"kind": "slowfast", "depth": 101, "speed_ratio": 4, "fusion_kernel": 7}, 62_912_312),
    ({"kind": "slowfast", "depth": 101, "fast_depth": 50}, 62_384_312),
    ({"kind": "c2d"}, 24_327_632),
    ({"kind": "c2d", "backbone": "resnet101"}, 43_319_760),
    ({"kind": "c3d", "num_classes": 101}, 78_409_573),
    ({"kind": "csn"}, 13_131_152),
    ({"kind": "csn", "depth": 152}, 29_703_568),
    ({"kind": "csn", "depth": 152, "interactions": "preserved"}, 33_016_592),
    ({"kind": "i3d"}, 28_043_472),
    ({"kind": "i3d", "num_classes": 101}, 27_430_821),
    ({"kind": "i3d", "non_local": "dot_product"}, 35_397_840),
    ({"kind": "i3d", "non_local": "embedded_gaussian"}, 35_397_840),
    ({"kind": "i3d", "non_local": "gaussian"}, 31_723_728),
    ({"kind": "i3d", "inflate": "all", "stem_time_strides": (1, 1)}, 33_024_208),
    ({"kind": "r2plus1d"}, 63_759_281),
    ({"kind": "slowonly"}, 32_454_096),
    ({"kind": "slowonly", "depth": 101}, 60_359_120),
    ({"kind": "slowonly", "mean": (128.0, 128.0), "std": (128.0, 128.0)}, 32_450_960),
    ({"kind": "slowonly", "non_local": "embedded_gaussian"}, 39_808_464),
    ({"kind": "omnisource"}, 33_595_696),
    ({"kind": "x3d"}, 3_794_322),
    ({"kind": "torchvision_video", "network": "r3d_18"}, 33_371_472),
    ({"kind": "torchvision_video", "network": "r2plus1d_18"}, 31_505_325),
    ({"kind": "torchvision_video", "network": "s3d"}, 8_320_048),
    ({"kind": "torchvision_video", "network": "mvit_v2_s"}, 34_537_744),
    ({"kind": "torchvision_video", "network": "swin3d_t"}, 28_158_070),
    ({"kind": "mvit"}, 34_537_744),
    ({"kind": "mvit", "num_classes": 174}, 34_363_950),
    ({"kind": "mvit", "widen_in": "mlp"}, 36_475_120),
    ({"kind": "mvit", "num_frames": 32, **mvit.SIZES["base"]}, 51_230_128),
    ({"kind": "mvit", "num_frames": 40, "crop": 312, **mvit.SIZES["large"]}, 213_390_112),
    ({"kind": "video_swin"}, 28_158_070),
    ({"kind": "video_swin", **video_swin.SIZES["small"]}, 49_816_678),
    ({"kind": "video_swin", **video_swin.SIZES["base"]}, 88_048_984),
    ({"kind": "video_swin", **video_swin.SIZES["large"]}, 196_953_916),
    ({"kind": "uniformer"}, 21_400_400),
    ({"kind": "uniformer", **uniformer.SIZES["base"]}, 49_813_200),
    ({"kind": "timesformer"}, 121_566_352),
    ({"kind": "timesformer", "num_classes": 101}, 121_336_421),
    ({"kind": "timesformer", "attention": "joint"}, 86_112_400),
    ({"kind": "timesformer", "attention": "space_only"}, 86_106_256),
    ({"kind": "videomae"}, 86_534_800),
    ({"kind": "videomae", "width": 1024, "depth": 24, "num_heads": 16}, 304_270_736),
    ({"kind": "videomae", "width": 384, "num_heads": 6}, 22_033_936),
    ({"kind": "uniformerv2"}, 114_552_208),
    ({"kind": "uniformerv2", "num_classes": 101}, 114_322_277),
    ({"kind": "stgcn", "num_classes": 60}, 3_088_704),
    ({"kind": "stgcnpp", "num_classes": 60}, 1_393_016),
    ({"kind": "agcn", "num_classes": 60}, 3_459_344),
    ({"kind": "posec3d", "num_classes": 60}, 2_024_860),
    ({"kind": "rgbpose_conv3d", "num_classes": 60}, 36_147_928),
    ({"kind": "audio_tsn"}, 11_375_440),
]
"""Settings and the number of parameters, for 400 classes unless they say otherwise."""


@pytest.fixture(params=sorted(MODELS.kinds))
def config(request: pytest.FixtureRequest) -> RecognizerConfig:
    kind = request.param
    module = MODELS.kinds[kind].partition(":")[0]
    try:
        import_module(module)
    except ModuleNotFoundError as error:
        if error.name != module:
            raise
        pytest.skip(f"{module} is not there yet")
    picked = MODELS.validate({"kind": kind, "num_classes": 5, **SMALL.get(kind, {})})
    assert isinstance(picked, RecognizerConfig)
    return picked


@pytest.fixture
def model(config: RecognizerConfig) -> Recognizer:
    torch.manual_seed(0)
    return config.build()


@pytest.fixture
def clips(config: RecognizerConfig) -> Tensor:
    """Two videos, two views each; of pictures, 8 frames of 32 x 32, or as many as the family is told."""
    generator = torch.Generator().manual_seed(1)
    if not isinstance(config, ModelConfig):
        return torch.rand((2, 2, *FLOAT_VIEWS[config.kind]), generator=generator)
    shape = (2, 2, len(config.mean), getattr(config, "num_frames", 8), 32, 32)
    return torch.randint(256, shape, dtype=torch.uint8, generator=generator)


def test_views_become_logits(model: Recognizer, clips: Tensor) -> None:
    with torch.inference_mode():
        logits = model.eval()(clips)

    assert logits.shape == (2, 2, 5)
    assert logits.dtype == torch.float32
    assert logits.isfinite().all()


def test_every_parameter_has_a_finite_gradient(model: Recognizer, clips: Tensor) -> None:
    logits = model.train()(clips).flatten(0, 1)
    # An auxiliary head's follow those of the head.
    labels = torch.arange(4).repeat_interleave(logits[0].numel() // 5)
    torch.nn.functional.cross_entropy(logits.reshape(-1, 5), labels).backward()

    without = [name for name, value in model.named_parameters() if value.grad is None]
    infinite = [name for name, value in model.named_parameters() if not value.grad.isfinite().all()]
    assert (without, infinite) == ([], [])


def test_a_view_is_scored_on_its_own(model: Recognizer, clips: Tensor) -> None:
    model.eval()
    with torch.inference_mode():
        together = model(clips)
        alone = model(clips[1:, :1])
        moved = model(clips.flip(1))

    torch.testing.assert_close(alone[0, 0], together[1, 0], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(moved.flip(1), together, atol=1e-5, rtol=1e-5)


def test_input_is_not_written_to(model: Recognizer, clips: Tensor) -> None:
    before = clips.clone()
    model.train()(clips)
    assert torch.equal(clips, before)


def test_state_dict_carries_the_whole_model(config: RecognizerConfig, model: Recognizer, clips: Tensor) -> None:
    model.train()(clips)  # so that running statistics are no longer those of a fresh model
    other = config.build()
    other.load_state_dict(model.state_dict())
    with torch.inference_mode():
        assert torch.equal(other.eval()(clips), model.eval()(clips))


def test_head_is_what_depends_on_the_number_of_classes(config: RecognizerConfig, model: Recognizer) -> None:
    more = config.model_copy(update={"num_classes": 7}).build().state_dict()
    changed = {key for key, value in model.state_dict().items() if value.shape != more[key].shape}
    name = next(name for name, module in model.named_modules() if module is model.head())

    assert changed
    assert all(key.startswith(f"{name}.") for key in changed)


@pytest.mark.parametrize(("settings", "num_params"), PUBLISHED)
def test_published_sizes(settings: dict[str, Any], num_params: int) -> None:
    config = MODELS.validate({"num_classes": 400, **settings})
    assert isinstance(config, RecognizerConfig)
    with torch.device("meta"):
        model = config.build()
    assert sum(parameter.numel() for parameter in model.parameters()) == num_params


@pytest.mark.parametrize("wrong", [{"std": (1.0,)}, {"std": (1.0, 0.0, 1.0)}, {"mean": (), "std": ()}])
def test_mean_and_std_belong_together(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match=r"std|mean"):
        MODELS.pick("tiny3d").model_validate({"num_classes": 2, **wrong})
