import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from kinoray.errors import ConfigError
from kinoray.models.videomae import VideoMAE, VideoMAEConfig, videomae_small
from kinoray.models.weights import load_weights, warm_start
from kinoray.param_groups import GroupRule, parameter_groups

SMALL = {"num_classes": 3, "crop": 32, "width": 16, "depth": 3, "num_heads": 2, "num_frames": 4}


def small(**settings: object) -> VideoMAE:
    torch.manual_seed(0)
    return VideoMAEConfig.model_validate({**SMALL, **settings}).build()


def as_pretrained(model: VideoMAE) -> dict[str, Tensor]:
    """A checkpoint of the masked pretraining: an encoder, and a decoder that no classifier has."""
    trunk = {key: value for key, value in model.state_dict().items() if not key.startswith(("norm.", "fc."))}
    return {
        **{f"encoder.{key}": value for key, value in trunk.items()},
        "encoder.norm.weight": torch.full((16,), 5.0),
        "encoder.norm.bias": torch.full((16,), 5.0),
        "encoder_to_decoder.weight": torch.zeros(8, 16),
        "mask_token": torch.zeros(1, 1, 8),
        "decoder.blocks.0.norm1.weight": torch.zeros(8),
    }


def test_a_pretrained_encoder_is_found() -> None:
    source, model = small(), small()
    torch.nn.init.normal_(source.blocks[1].attn.q_bias)
    report = warm_start(model, as_pretrained(source), where="pretrain.pth")
    assert set(report.fresh) == {"norm.weight", "norm.bias", "fc.weight", "fc.bias"}
    assert len(report.unused) == 5
    assert torch.equal(model.blocks[1].attn.q_bias, source.blocks[1].attn.q_bias)
    assert (model.norm.weight == 1).all(), "the encoder's norm is of each token, the classifier's of their mean"


def test_a_fine_tuned_network_of_the_authors_is_read() -> None:
    source = small()
    names = {"norm.": "fc_norm.", "fc.": "head."}
    given = {}
    for key, value in source.state_dict().items():
        prefix = next((old for old in names if key.startswith(old)), "")
        given[names.get(prefix, "") + key.removeprefix(prefix)] = value
    report = load_weights(small(), given, where="k400.pth")
    assert report.names == "VideoMAE"
    assert len(report.loaded) == len(source.state_dict())


def test_a_table_of_sinusoids_in_a_file_is_left_out() -> None:
    source = small()
    given = {f"backbone.{key}": value for key, value in source.state_dict().items() if not key.startswith("fc.")}
    given |= {"cls_head.fc_cls.weight": source.fc.weight, "cls_head.fc_cls.bias": source.fc.bias}
    report = load_weights(small(), {"backbone.pos_embed": torch.zeros(1, 8, 16), **given}, where="k400.pth")
    assert report.unused == ("backbone.pos_embed",)
    learned = small(positions="learned")
    load_weights(learned, {"backbone.pos_embed": torch.ones(1, 8, 16), **given}, where="k400.pth")
    assert (learned.pos_embed == 1).all()


def test_the_table_is_no_weight() -> None:
    assert "pos_embed" not in small().state_dict()
    assert "pos_embed" in dict(small(positions="learned").named_parameters())


def test_pictures_of_another_size_are_scored() -> None:
    model = small().eval()
    assert model.forward_features(torch.rand(2, 3, 4, 48, 64)).shape == (2, 16)


def test_clips_of_another_length_are_refused() -> None:
    with pytest.raises(ConfigError, match="VideoMAE for clips of 4 x 32 x 32"):
        small()(torch.zeros(1, 1, 3, 8, 32, 32, dtype=torch.uint8))


def test_time_and_place_matter() -> None:
    model, x = small().eval(), torch.rand(1, 3, 4, 32, 32)
    for axis in (2, 3, 4):
        assert not torch.allclose(model.forward_features(x.flip(axis)), model.forward_features(x), atol=1e-5)


def test_first_token_alone() -> None:
    model = small(pooling="first").eval()
    for block in model.blocks:  # without attention the first token sees its own box alone
        torch.nn.init.zeros_(block.attn.proj.weight)
    x = torch.rand(1, 3, 4, 32, 32)
    other = x.clone()
    other[:, :, 2:] = 0
    assert torch.equal(model.forward_features(x), model.forward_features(other))
    other[:, :, 0, 0, 0] += 1
    assert not torch.equal(model.forward_features(x), model.forward_features(other))


def test_the_rate_decays_from_layer_to_layer_as_the_authors_do() -> None:
    model = small()
    groups = parameter_groups(
        model, [GroupRule(of="vector", decay_factor=0)], lr=1.0, weight_decay=0.05, layer_decay=0.5
    )
    rates = {id(p): (group["lr"], group["weight_decay"]) for group in groups for p in group["params"]}  # type: ignore[attr-defined]
    found = {name: rates[id(p)] for name, p in model.named_parameters()}
    assert found["fc.weight"] == (1, 0.05)
    assert found["fc.bias"] == (1, 0)
    assert found["blocks.2.mlp.fc1.weight"] == (0.5, 0.05)
    assert found["blocks.0.attn.qkv.weight"] == (0.5**3, 0.05)
    assert found["blocks.0.attn.q_bias"] == (0.5**3, 0)
    assert found["patch_embed.proj.weight"] == (0.5**4, 0.05)


def test_layer_scale_and_biases_are_options() -> None:
    names = [name for name, _ in small(layer_scale=0.1, qkv_bias=False).named_parameters()]
    assert "blocks.0.scale1.gamma" in names
    assert not any("q_bias" in name for name in names)


@pytest.mark.parametrize(
    ("wrong", "message"), [({"crop": 40}, "crop"), ({"num_heads": 3}, "num_heads"), ({"num_frames": 5}, "tubelet")]
)
def test_sizes_have_to_fit(wrong: dict[str, int], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        VideoMAEConfig.model_validate({**SMALL, **wrong})


def test_builder_is_the_published_size() -> None:
    with torch.device("meta"):
        assert sum(p.numel() for p in videomae_small().parameters()) == 22_033_936
