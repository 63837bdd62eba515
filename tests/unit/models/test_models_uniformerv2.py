import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from kinoray.errors import ConfigError
from kinoray.models.layers.transformer import QuickGELU, TransformerBlock
from kinoray.models.layers.uniformerv2 import GlobalBlock, LocalBlock
from kinoray.models.uniformerv2 import UniFormerV2, UniFormerV2Config, uniformerv2_large
from kinoray.models.weights import warm_start

SMALL = {
    "num_classes": 3,
    "crop": 32,
    "width": 16,
    "depth": 3,
    "num_heads": 2,
    "num_frames": 4,
    "global_after": (1, 2),
}


def small(**settings: object) -> UniFormerV2:
    torch.manual_seed(0)
    return UniFormerV2Config.model_validate({**SMALL, **settings}).build()


def clips() -> Tensor:
    return torch.rand(2, 3, 4, 32, 32, generator=torch.Generator().manual_seed(0))


def as_clip(model: UniFormerV2) -> dict[str, Tensor]:
    """The picture encoder of a CLIP checkpoint, whose first kernel is 2D, among what a video network has no use for."""
    words = {
        "cls_token": "class_embedding",
        "pos_embed": "positional_embedding",
        "patch_embed.proj.": "conv1.",
        "norm_pre.": "ln_pre.",
        "blocks.": "transformer.resblocks.",
        ".norm1.": ".ln_1.",
        ".norm2.": ".ln_2.",
        ".qkv.": ".in_proj_",
        ".attn.proj.": ".attn.out_proj.",
        ".fc1.": ".c_fc.",
        ".fc2.": ".c_proj.",
    }
    renamed = {"visual.ln_post.weight": torch.ones(16), "visual.proj": torch.ones(16, 8)}
    for key, value in model.state_dict().items():
        if key.startswith(("cls_token", "pos_embed", "patch_embed", "norm_pre", "blocks")):
            new_key = key
            for ours, theirs in words.items():
                new_key = new_key.replace(ours, theirs)
            renamed[f"visual.{new_key}"] = value[:, :, 0] if value.ndim == 5 else value
    return renamed


def test_clips_encoder_is_found() -> None:
    source, model = small(), small()
    torch.nn.init.normal_(source.patch_embed.proj.weight)
    report = warm_start(model, as_clip(source), where="ViT", inflation="center")
    assert report.names == "CLIP"
    assert report.adapted == ("patch_embed.proj.weight",)
    assert all(name.startswith(("video_token", "global_blocks.", "fusion.", "fc.")) for name in report.fresh)
    assert set(report.unused) == {"visual.ln_post.weight", "visual.proj"}
    assert torch.equal(model.patch_embed.proj.weight, source.patch_embed.proj.weight)


def test_halved_time_starts_from_the_middle_frame() -> None:
    source, model = small(), small(halves_time=True)
    warm_start(model, as_clip(source), where="ViT", inflation="center")
    assert torch.equal(model.patch_embed.proj.weight[:, :, 1], source.patch_embed.proj.weight[:, :, 0])
    assert not model.patch_embed.proj.weight[:, :, ::2].any()
    torch.testing.assert_close(model.patch_embed(clips()), source.patch_embed(clips()[:, :, ::2]))


def test_a_fresh_video_token_changes_nothing_and_learns_all_the_same() -> None:
    model = small()
    frames = model.norm_pre(torch.rand(8, 5, 16))
    for block in model.global_blocks:
        assert not block.eval()(model.video_token.expand(2, -1, -1), frames, (4, 2, 2)).any()
    model.train().forward_features(clips()).sum().backward()
    assert all(p.grad is not None for p in model.parameters() if p is not model.fc.weight and p is not model.fc.bias)


def test_a_global_block_asks_every_token() -> None:
    block = GlobalBlock(16, 2, drop_path=0.0, dropout=0.0).eval()
    torch.nn.init.normal_(block.attn.proj.weight)
    frames = torch.rand(2, 4 * 5, 16, requires_grad=True)
    block(torch.rand(2, 1, 16), frames.view(8, 5, 16), (4, 2, 2)).sum().backward()
    assert frames.grad is not None
    assert (frames.grad.abs().sum(dim=2) > 0).all()


@pytest.mark.parametrize("twice", [False, True])
def test_local_relations_start_as_nothing(twice: bool) -> None:
    torch.manual_seed(0)
    local = LocalBlock(16, 2, twice=twice, reduction=1.5, drop_path=0.0).eval()
    plain = TransformerBlock(16, 2, eps=1e-5, activation=QuickGELU).eval()
    plain.load_state_dict({key: value for key, value in local.state_dict().items() if not key.startswith("local")})
    frames = torch.rand(8, 5, 16)
    assert torch.equal(local(frames, (4, 2, 2)), plain(frames))


def test_local_relations_reach_the_next_frame_at_the_same_place() -> None:
    local = LocalBlock(16, 2, twice=False, reduction=1.5, drop_path=0.0).eval().local1
    torch.nn.init.normal_(local.widen.weight)
    places = torch.rand(4, 4, 16)  # one video of four frames of 2 x 2
    other = places.clone()
    other[0, 3] += 1
    changed = (local(places, (4, 2, 2)) != local(other, (4, 2, 2))).any(dim=2)
    assert changed.nonzero().tolist() == [[0, 3], [1, 3]]


def test_rows_of_a_larger_head_are_chosen() -> None:
    source, model = small(num_classes=7), small(head_rows=(6, 0, 2))
    torch.nn.init.normal_(source.fc.bias)
    report = warm_start(model, source.state_dict(), where="k710.pth")
    assert report.adapted == ("fc.weight", "fc.bias")
    assert torch.equal(model.fc.weight, source.fc.weight[[6, 0, 2]])
    assert torch.equal(model.fc.bias, source.fc.bias[[6, 0, 2]])


@pytest.mark.parametrize("rows", [None, (6, 0, 7)])
def test_without_their_rows_a_head_stays_fresh(rows: tuple[int, ...] | None) -> None:
    report = warm_start(small(head_rows=rows), small(num_classes=7).state_dict(), where="k710.pth")
    assert list(report.fresh) == ["fc.weight", "fc.bias"]


def test_positions_of_larger_pictures_are_made() -> None:
    model = small(crop=64)
    report = warm_start(model, small().state_dict(), where="small.pth")
    assert report.adapted == ("pos_embed",)
    assert model.eval().forward_features(torch.rand(1, 3, 4, 64, 64)).shape == (1, 16)


def test_stages_hold_every_layer_between_tokens_and_head() -> None:
    model = small(num_local=2)
    staged = {id(p) for stage in model.parts_by_depth() for part in stage for p in part.parameters()}
    rest = {name for name, p in model.named_parameters() if id(p) not in staged}
    assert rest == {
        *("cls_token", "pos_embed", "video_token", "patch_embed.proj.weight", "norm_pre.weight", "norm_pre.bias"),
        *("fc.weight", "fc.bias"),
    }
    assert len(model.parts_by_depth()) == 3


def test_clips_of_another_size_are_refused() -> None:
    with pytest.raises(ConfigError, match="UniFormerV2 for clips of 4 x 32 x 32"):
        small()(torch.zeros(1, 1, 3, 4, 32, 48, dtype=torch.uint8))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"crop": 40}, "crop"),
        ({"num_heads": 3}, "num_heads"),
        ({"global_after": (1, 3)}, "global_after"),
        ({"global_after": (2, 1)}, "global_after"),
        ({"head_rows": (1, 2)}, "head_rows"),
    ],
)
def test_sizes_have_to_fit(wrong: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        UniFormerV2Config.model_validate({**SMALL, **wrong})


def test_builder_is_the_published_size() -> None:
    with torch.device("meta"):
        model = uniformerv2_large(400, num_frames=32, crop=336)
    assert sum(p.numel() for p in model.parameters()) == 354_427_280
    assert model.size == (32, 336, 336)
