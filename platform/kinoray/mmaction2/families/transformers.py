"""Transformers: TimeSformer, VideoMAE, MViT, Video Swin, UniFormer, UniFormerV2."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from kinoray.errors import ConfigError
from kinoray.mmaction2.families.common import NO_EFFECT, Network
from kinoray.mmaction2.part import Part

_TIMESFORMER_DROP_PATH = 0.1  # which its reference does not let configs change

_MVIT_SIZES = {
    "tiny": {"embed_dims": 96, "num_layers": 10, "num_heads": 1, "downscale_indices": [1, 3, 8]},
    "small": {"embed_dims": 96, "num_layers": 16, "num_heads": 1, "downscale_indices": [1, 3, 14]},
    "base": {"embed_dims": 96, "num_layers": 24, "num_heads": 1, "downscale_indices": [2, 5, 21]},
    "large": {"embed_dims": 144, "num_layers": 48, "num_heads": 2, "downscale_indices": [2, 8, 44]},
}
_SWIN_SIZES = {
    "tiny": {"embed_dims": 96, "depths": [2, 2, 6, 2], "num_heads": [3, 6, 12, 24]},
    "small": {"embed_dims": 96, "depths": [2, 2, 18, 2], "num_heads": [3, 6, 12, 24]},
    "base": {"embed_dims": 128, "depths": [2, 2, 18, 2], "num_heads": [4, 8, 16, 32]},
    "large": {"embed_dims": 192, "depths": [2, 2, 18, 2], "num_heads": [6, 12, 24, 48]},
}
_NO_DROPOUT: dict[str, Any] = {"qk_scale": None, "drop_rate": 0.0, "attn_drop_rate": 0.0}


def timesformer(network: Network) -> dict[str, Any]:
    """``TimeSformer``."""
    backbone = network.backbone
    _begin(network)
    backbone.only("transformer_layers", None)
    backbone.only("dropout_ratio", 0.0)
    attention = {"divided_space_time": "divided", "joint_space_time": "joint", "space_only": "space_only"}
    return {
        "kind": "timesformer",
        **network.pictures(network.in_channels()),
        "pretrained": network.start(),
        "attention": backbone.choice("attention_type", attention, "divided_space_time"),
        "num_frames": backbone.need("num_frames"),
        "crop": backbone.need("img_size"),
        "patch": backbone.need("patch_size"),
        "width": backbone.take("embed_dims", 768),
        "depth": backbone.take("num_transformer_layers", 12),
        "num_heads": backbone.take("num_heads", 12),
        "drop_path": _TIMESFORMER_DROP_PATH,
        **network.classifier("TimeSformerHead", dropout=0.0),
    }


def videomae(network: Network) -> dict[str, Any]:
    """``VisionTransformer``."""
    backbone = network.backbone
    _begin(network)
    backbone.demand(_NO_DROPOUT | {"return_feat_map": False})
    return {
        "kind": "videomae",
        **network.pictures(network.in_channels()),
        "pretrained": network.start(),
        "num_frames": backbone.take("num_frames", 16),
        "crop": backbone.take("img_size", 224),
        "patch": backbone.take("patch_size", 16),
        "tubelet": backbone.take("tubelet_size", 2),
        "width": backbone.take("embed_dims", 768),
        "depth": backbone.take("depth", 12),
        "num_heads": backbone.take("num_heads", 12),
        "mlp_ratio": backbone.take("mlp_ratio", 4.0),
        "qkv_bias": backbone.take("qkv_bias", default=True),
        "positions": "learned" if backbone.take("use_learnable_pos_emb", default=False) else "sinusoids",
        "pooling": "mean" if backbone.take("use_mean_pooling", default=True) else "first",
        "layer_scale": backbone.take("init_values", 0.0),
        "drop_path": backbone.take("drop_path_rate", 0.0),
        **network.classifier("TimeSformerHead", dropout=0.0),
    }


def mvit(network: Network) -> dict[str, Any]:
    """``MViT``."""
    backbone, head = network.backbone, network.head
    _begin(network)
    size = _size(backbone, _MVIT_SIZES, "base")
    backbone.demand({"out_scales": -1, "use_abs_pos_embed": False, "interpolate_mode": "trilinear"})
    backbone.demand({"pool_kernel": (3, 3, 3), "dim_mul": 2, "head_mul": 2, "adaptive_kv_stride": (1, 8, 8)})
    backbone.demand({"rel_pos_embed": True, "mlp_ratio": 4.0, "qkv_bias": True})
    if (patch := backbone.part("patch_cfg")) is not None:
        patch.demand({"kernel_size": (3, 7, 7), "stride": (2, 4, 4), "padding": (1, 3, 3)})
        patch.finish()
    backbone.ignore({"rel_pos_zero_init": "first weights", "pretrained_type": "the names in a file tell"})
    token = backbone.take("with_cls_token", default=True)
    scores_token = head.take("with_cls_token", default=True)
    backbone.only("output_cls_token", scores_token, default=True)
    return {
        "kind": "mvit",
        **network.pictures(network.in_channels()),
        "pretrained": network.start(),
        "num_frames": backbone.take("temporal_size", 16),
        "crop": backbone.take("spatial_size", 224),
        "width": size["embed_dims"],
        "num_heads": size["num_heads"],
        "num_blocks": size["num_layers"],
        "stage_starts": size["downscale_indices"],
        "widen_in": "attention" if backbone.take("dim_mul_in_attention", default=True) else "mlp",
        "class_token": token,
        "residual_pooling": backbone.take("residual_pooling", default=True),
        "pooling": "class_token" if scores_token else "mean",
        "drop_path": backbone.take("drop_path_rate", 0.0),
        "head_scale": head.take("init_scale", 1.0),
        **network.classifier("MViTHead", dropout=0.5),
    }


def video_swin(network: Network) -> dict[str, Any]:
    """``SwinTransformer3D``."""
    backbone = network.backbone
    _begin(network, eps=1e-5)
    size = _size(backbone, _SWIN_SIZES, None)
    backbone.demand(_NO_DROPOUT | {"patch_size": (2, 4, 4), "mlp_ratio": 4.0, "qkv_bias": True, "patch_norm": True})
    backbone.demand({"out_indices": (3,), "out_after_downsample": False})
    if (activation := backbone.part("act_cfg")) is not None:
        activation.only("type", "GELU")
        activation.finish()
    network.settings_of_training()
    network.head.only("spatial_type", "avg")
    return {
        "kind": "video_swin",
        **network.pictures(network.in_channels()),
        "pretrained": network.start(),
        "width": size["embed_dims"],
        "num_blocks": size["depths"],
        "num_heads": size["num_heads"],
        "window": backbone.take("window_size", [8, 7, 7]),
        "drop_path": backbone.take("drop_path_rate", 0.1),
        **network.classifier("I3DHead", dropout=0.5),
    }


def uniformer(network: Network) -> dict[str, Any]:
    """``UniFormer``."""
    backbone = network.backbone
    _begin(network)
    backbone.demand(_NO_DROPOUT | {"mlp_ratio": 4.0, "qkv_bias": True})
    backbone.ignore({"img_size": "any will do"})
    network.head.only("spatial_type", "avg")
    return {
        "kind": "uniformer",
        **network.pictures(backbone.take("in_chans", 3)),
        "pretrained": network.start(),
        "widths": backbone.take("embed_dim", [64, 128, 320, 512]),
        "num_blocks": backbone.take("depth", [5, 8, 20, 7]),
        "head_width": backbone.take("head_dim", 64),
        "drop_path": backbone.take("drop_path_rate", 0.0),
        **network.classifier("I3DHead", dropout=0.5),
    }


def uniformerv2(network: Network) -> dict[str, Any]:
    """``UniFormerV2``."""
    backbone = network.backbone
    _begin(network)
    width, heads = backbone.take("width", 768), backbone.take("heads", 12)
    places = backbone.take("return_list", [8, 9, 10, 11])
    backbone.demand({"kernel_size": 3, "mlp_factor": 4.0})
    backbone.only("n_layers", len(places), default=4)
    backbone.only("n_dim", width, default=768)
    backbone.only("n_head", heads, default=12)
    dropouts = backbone.take("mlp_dropout", [0.5] * 4)
    if len(dropouts) != len(places) or len(set(dropouts)) > 1:
        raise backbone.error("mlp_dropout", f"{len(places)} equal numbers")
    backbone.ignore({"clip_pretrained": "the name says whether it is CLIP's"})
    num_local = 2 if backbone.take("double_lmhra", default=False) else 1
    head_rows = _head_rows(network)
    dropout = {"TimeSformerHead": 0.0, "UniFormerHead": 0.0}
    return {
        "kind": "uniformerv2",
        **network.pictures(),
        "pretrained": network.start(),
        "num_frames": backbone.take("t_size", 8),
        "crop": backbone.take("input_resolution", 224),
        "patch": backbone.take("patch_size", 16),
        "width": width,
        "depth": backbone.take("layers", 12),
        "num_heads": heads,
        "global_after": places,
        "num_local": 0 if backbone.take("no_lmhra", default=True) else num_local,
        "local_reduction": backbone.take("dw_reduction", 1.5),
        "halves_time": backbone.take("temporal_downsample", default=False),
        "drop_path": backbone.take("backbone_drop_path_rate", 0.0),
        "global_drop_path": backbone.take("drop_path_rate", 0.0),
        "global_dropout": dropouts[0],
        "head_rows": head_rows,
        **network.classifier(*dropout, dropout=0.0),
    }


def _begin(network: Network, *, eps: float = 1e-6) -> None:
    """Take what all transformers have: what has no effect, and layer norms."""
    network.backbone.ignore(NO_EFFECT["backbone"])
    norm = network.backbone.part("norm_cfg")
    if norm is not None:
        norm.only("type", "LN")
        norm.only("eps", eps, default=1e-5)
        norm.finish()


def _size(backbone: Part, sizes: Mapping[str, Mapping[str, Any]], default: str | None) -> Mapping[str, Any]:
    """A size by name, by its first letter, or spelt out."""
    arch = backbone.take("arch", default)
    if isinstance(arch, dict):
        (keys,) = {tuple(size) for size in sizes.values()}
        if arch.keys() != set(keys):
            raise backbone.error("arch", f"a mapping with {', '.join(keys)}")
        return arch
    names = {**{name[0]: size for name, size in sizes.items()}, **sizes}
    if arch not in names:
        raise backbone.error("arch", " or ".join(sizes))
    return names[arch]


def _head_rows(network: Network) -> Sequence[int] | None:
    """Which rows of a head of 710 classes score those of this one; None where no file says so."""
    head, source = network.head, network.model.source
    place = head.take("channel_map")
    if place is None:
        return None
    folders = [Path(), *source.path.resolve().parents]
    path = next((folder / place for folder in folders if (folder / place).is_file()), None)
    if path is None:
        network.notes.append(
            f"{head.where('channel_map')}: {head.below('channel_map')}: no file {place} here or above the config; a "
            "warm start leaves the head fresh"
        )
        return None
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        rows = None
    if not (isinstance(rows, list) and all(isinstance(row, int) for row in rows)):
        raise ConfigError(f"{path}: should hold a list of whole numbers, the row of each class")
    return rows
