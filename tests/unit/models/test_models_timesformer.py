import pytest
import torch
from pydantic import ValidationError
from torch import Tensor
from torchvision.models import VisionTransformer

from kinoray.errors import ConfigError
from kinoray.models.timesformer import TimeSformer, TimeSformerConfig, timesformer_divided, timesformer_joint
from kinoray.models.weights import load_weights, warm_start
from kinoray.param_groups import GroupRule, parameter_groups

SMALL = {"num_classes": 3, "crop": 32, "width": 16, "depth": 2, "num_heads": 2, "num_frames": 4}


def small(**settings: object) -> TimeSformer:
    torch.manual_seed(0)
    return TimeSformerConfig.model_validate({**SMALL, **settings}).build()


def clips(num_frames: int = 4) -> Tensor:
    return torch.rand(2, 3, num_frames, 32, 32, generator=torch.Generator().manual_seed(0))


def pictures_net() -> VisionTransformer:
    torch.manual_seed(1)
    return VisionTransformer(
        image_size=32, patch_size=16, num_layers=2, num_heads=2, hidden_dim=16, mlp_dim=64, num_classes=7
    ).eval()


def features_of(net: VisionTransformer, pictures: Tensor) -> Tensor:
    tokens = net._process_input(pictures)
    tokens = torch.cat([net.class_token.expand(len(tokens), -1, -1), tokens], dim=1)
    features: Tensor = net.encoder(tokens)[:, 0]
    return features


def in_timms_names(net: VisionTransformer) -> dict[str, Tensor]:
    """The weights as timm calls them, which knows no other layers."""
    names = {"class_token": "cls_token", "encoder.pos_embedding": "pos_embed"}
    words = {
        "conv_proj.": "patch_embed.proj.",
        "encoder.layers.encoder_layer_": "blocks.",
        "encoder.ln.": "norm.",
        ".ln_1.": ".norm1.",
        ".ln_2.": ".norm2.",
        ".self_attention.in_proj_": ".attn.qkv.",
        ".self_attention.out_proj.": ".attn.proj.",
        ".mlp.0.": ".mlp.fc1.",
        ".mlp.3.": ".mlp.fc2.",
        "heads.head.": "head.",
    }
    renamed = {}
    for key, value in net.state_dict().items():
        new_key = names.get(key, key)
        for old, new in words.items():
            new_key = new_key.replace(old, new)
        renamed[new_key] = value
    return renamed


def in_mmcvs_names(net: VisionTransformer) -> dict[str, Tensor]:
    words = {
        "patch_embed.proj.": "patch_embed.projection.",
        "blocks.": "transformer_layers.layers.",
        ".norm1.": ".norms.0.",
        ".norm2.": ".norms.1.",
        ".attn.qkv.": ".attentions.0.attn.in_proj_",
        ".attn.proj.": ".attentions.0.attn.out_proj.",
        ".mlp.fc1.": ".ffns.0.layers.0.0.",
        ".mlp.fc2.": ".ffns.0.layers.1.",
    }
    renamed = {}
    for key, value in in_timms_names(net).items():
        new_key = key
        for old, new in words.items():
            new_key = new_key.replace(old, new)
        renamed[new_key] = value
    return renamed


@pytest.mark.parametrize(
    ("names", "weights"),
    [("torchvision", dict), ("timm", in_timms_names), ("MMCV", in_mmcvs_names)],
)
def test_a_pictures_transformer_starts_both_attentions(names: str, weights: object) -> None:
    net, model = pictures_net(), small()
    state_dict = net.state_dict() if weights is dict else weights(net)  # type: ignore[operator]
    report = warm_start(model, state_dict, where="ViT")

    assert report.names == names
    assert set(report.fresh) == {
        *("time_embed", "fc.weight", "fc.bias"),
        *(f"blocks.{number}.time_fc.{kind}" for number in range(2) for kind in ("weight", "bias")),
    }
    assert len(report.unused) == 2
    for block in model.blocks:
        assert torch.equal(block.time_attn.qkv.weight, block.attn.qkv.weight)
        assert torch.equal(block.time_norm.bias, block.norm1.bias)


@pytest.mark.parametrize("attention", ["space_only", "joint"])
def test_checkpoints_of_mmaction2_without_divided_attention_are_read(attention: str) -> None:
    source, model = small(attention="space_only", num_frames=1), small(attention=attention)
    warm_start(source, pictures_net().state_dict(), where="ViT")
    names = {"head.weight": "cls_head.fc_cls.weight", "head.bias": "cls_head.fc_cls.bias"}
    given = {names.get(key, f"backbone.{key}"): value for key, value in in_mmcvs_names(pictures_net()).items()}
    if attention == "joint":
        given["backbone.time_embed"] = torch.rand(1, 4, 16)
    report = load_weights(model, given, where="k400.pth")
    assert report.names == "MMAction2"
    assert set(report.fresh) == {"fc.weight", "fc.bias"}
    assert torch.equal(model.blocks[1].attn.qkv.weight, source.blocks[1].attn.qkv.weight)


@pytest.mark.parametrize("attention", ["space_only", "joint", "divided"])
def test_a_single_frame_is_seen_as_the_picture_was(attention: str) -> None:
    """All three begin as the picture's transformer: of one frame they make the same features."""
    net, model = pictures_net(), small(attention=attention, num_frames=1).eval()
    warm_start(model, net.state_dict(), where="ViT")
    pictures = clips(1)
    torch.testing.assert_close(
        model.forward_features(pictures), features_of(net, pictures[:, :, 0]), atol=1e-5, rtol=1e-4
    )


def test_space_only_averages_its_frames() -> None:
    net, model = pictures_net(), small(attention="space_only").eval()
    warm_start(model, net.state_dict(), where="ViT")
    x = clips()
    model.norm = torch.nn.Identity()
    net.encoder.ln = torch.nn.Identity()
    each = torch.stack([features_of(net, x[:, :, number]) for number in range(4)])
    torch.testing.assert_close(model.forward_features(x), each.mean(dim=0), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(("attention", "sees_order"), [("divided", True), ("joint", True), ("space_only", False)])
def test_who_sees_the_order_of_frames(attention: str, sees_order: bool) -> None:
    model, x = small(attention=attention).eval(), clips()
    if model.time_embed is not None:
        torch.nn.init.normal_(model.time_embed)
    moved = model.forward_features(x.flip(2))
    assert torch.allclose(moved, model.forward_features(x), atol=1e-5) is not sees_order


def test_a_divided_block_starts_without_attention_over_time() -> None:
    block = small().blocks[0].eval()
    tokens = torch.rand(1, 1 + 4 * 4, 16)
    other = tokens.clone()
    other[:, 1:5] = torch.rand(4, 16)  # the first frame
    changed = (block(tokens, 4) != block(other, 4)).any(dim=2)[0]
    assert changed[:5].all()  # the class token asks all frames
    assert not changed[5:].any()


def test_positions_of_larger_pictures_and_longer_clips_are_made() -> None:
    source, model = small(), small(crop=64, num_frames=8)
    torch.nn.init.normal_(source.time_embed)
    report = warm_start(model, source.state_dict(), where="small.pth")
    assert report.adapted == ("pos_embed", "time_embed")
    assert torch.equal(model.time_embed[0, ::2], source.time_embed[0])
    assert torch.equal(model.time_embed[0, 1::2], source.time_embed[0])
    assert model.eval().forward_features(torch.rand(1, 3, 8, 64, 64)).shape == (1, 16)


def test_clips_of_another_size_are_refused() -> None:
    with pytest.raises(ConfigError, match="TimeSformer for clips of 4 x 32 x 32"):
        small()(torch.zeros(1, 1, 3, 8, 32, 32, dtype=torch.uint8))


def test_tokens_and_positions_can_be_spared_decay() -> None:
    rule = GroupRule(match="_(token|embed)$", decay_factor=0)
    model = small()
    groups = parameter_groups(model, [rule], lr=0.1, weight_decay=0.2, layer_decay=None)
    spared = [group["params"] for group in groups if group["weight_decay"] == 0]
    assert [id(p) for p in spared[0]] == [id(p) for p in (model.cls_token, model.pos_embed, model.time_embed)]


@pytest.mark.parametrize(("wrong", "message"), [({"crop": 40}, "crop"), ({"num_heads": 3}, "num_heads")])
def test_sizes_have_to_fit(wrong: dict[str, int], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        TimeSformerConfig.model_validate({**SMALL, **wrong})


def test_builders_are_the_published_sizes() -> None:
    with torch.device("meta"):
        divided, joint = timesformer_divided(101), timesformer_joint(101)
    assert sum(p.numel() for p in divided.parameters()) == 121_336_421
    assert sum(p.numel() for p in joint.parameters()) == 85_882_469
