"""3D convolutional networks: I3D, SlowOnly, SlowFast, R(2+1)D, CSN, C3D, X3D, and PoseC3D on heatmaps."""

from collections.abc import Sequence
from typing import Any

from kinoray.mmaction2.families.common import BLOCKS, NO_EFFECT, Network, non_local
from kinoray.mmaction2.part import Part

_FOUR = (1, 1, 1, 1)
# What all 3D ResNets of ours have: key -> its value, which is what the key's absence means, too.
_RESNET3D: dict[str, Any] = {
    "num_stages": 4,
    "stage_blocks": None,
    "spatial_strides": (1, 2, 2, 2),
    "dilations": _FOUR,
    "conv1_stride_s": 2,
    "pool1_stride_s": 2,
    "with_pool1": True,
    "style": "pytorch",
}
_LATERAL: dict[str, Any] = {"lateral": False, "lateral_inv": False, "lateral_norm": False}


def i3d(network: Network) -> dict[str, Any]:
    """``ResNet3d``."""
    backbone, depth = network.backbone, _depth(network.backbone, default=50)
    backbone.demand(_RESNET3D | {"out_indices": (3,), "temporal_strides": _FOUR, "inflate_style": "3x1x1"})
    backbone.only("conv1_kernel", (5, 7, 7), default=(3, 7, 7))
    backbone.only("with_pool2", True)
    odd = [[1 - block % 2 for block in range(number)] for number in BLOCKS[depth][:3]]
    alternate = [[1] * BLOCKS[depth][0], *odd[1:], [block % 2 for block in range(BLOCKS[depth][3])]]
    inflate = backbone.take("inflate", [1, 1, 1, 1])
    if inflate not in (alternate, [1, 1, 1, 1], 1):
        raise backbone.error("inflate", f"(1, 1, 1, 1) or {alternate}")
    places = [[int(stage in {1, 2} and block in {1, 3, 5}) for block in range(n)] for stage, n in _stages(depth)]
    return _pooled(network, "i3d", depth) | {
        "inflate": "alternate" if inflate == alternate else "all",
        "stem_time_strides": (backbone.take("conv1_stride_t", 1), backbone.take("pool1_stride_t", 1)),
        "non_local": non_local(backbone, places, scaled=False, places="after blocks 2, 4 and 6 of stages 2 and 3"),
        "pretrained": network.start(),
    }


def slowonly(network: Network) -> dict[str, Any]:
    """``ResNet3dSlowOnly`` on pictures; of three stages it is PoseC3D."""
    backbone, depth = network.backbone, _depth(network.backbone, default=50)
    if backbone.values.get("num_stages", 4) == 3:
        return posec3d(network)
    demand_slow(backbone, out_indices=(3,))
    places = [[int(stage in {1, 2} and block in {0, 2, 4}) for block in range(n)] for stage, n in _stages(depth)]
    return _pooled(network, "slowonly", depth) | {
        "non_local": non_local(backbone, places, scaled=True, places="after blocks 1, 3 and 5 of stages 2 and 3"),
        "pretrained": network.start(),
    }


def omnisource(network: Network) -> dict[str, Any]:
    """``OmniResNet`` with ``OmniHead``, of which the part for pictures is left out."""
    backbone, head = network.backbone, network.head
    backbone.only("layers", list(BLOCKS[50]))
    head.ignore({"image_classes": "", "image_dropout_ratio": ""})
    head.only("video_nl_head", True)
    dropout = head.take("video_dropout_ratio", 0.5)
    network.notes.append(f"{head.where()}: {head.path}: the classifier of pictures is left out")
    values = network.classifier("OmniHead", dropout=dropout, num_classes="video_classes")
    return {"kind": "omnisource", **network.pictures(), "pretrained": backbone.take("pretrain_2d"), **values}


def posec3d(network: Network) -> dict[str, Any]:
    """SlowOnly's three last stages on heatmaps."""
    backbone = network.backbone
    three = {"num_stages": 3, "spatial_strides": (2, 2, 2), "dilations": (1, 1, 1), "out_indices": (2,)}
    stem = {"conv1_stride_s": 1, "pool1_stride_s": 1, "inflate": (0, 1, 1)}
    for key, value in (three | stem).items():
        backbone.only(key, value, default=object)
    backbone.demand(_LATERAL | {"depth": 50, "inflate_style": "3x1x1", "style": "pytorch", "with_pool1": True})
    backbone.demand({"conv1_kernel": (1, 7, 7), "conv1_stride_t": 1, "pool1_stride_t": 1, "with_pool2": False})
    backbone.only("non_local", _FOUR[:3], (0, 0, 0), (0, 0, 0, 0), default=(0, 0, 0))
    network.floats()
    network.norms()
    network.settings_of_training()
    network.start_all()
    network.head.only("spatial_type", "avg")
    return {
        "kind": "posec3d",
        "in_channels": network.in_channels(),
        "width": backbone.take("base_channels", 64),
        "num_blocks": backbone.take("stage_blocks", BLOCKS[50][:3]),
        "time_strides": backbone.need("temporal_strides"),
        **network.classifier("I3DHead", dropout=0.5),
    }


def slowfast(network: Network) -> dict[str, Any]:
    """``ResNet3dSlowFast``."""
    backbone = network.backbone
    slow, fast = backbone.part("slow_pathway"), backbone.part("fast_pathway")
    if slow is None or fast is None:
        raise backbone.error("slow_pathway", "given, and fast_pathway too")
    speed, narrow = backbone.take("speed_ratio", 8), backbone.take("channel_ratio", 8)
    backbone.only("resample_rate", speed, default=8)
    for pathway in (slow, fast):
        pathway.only("type", "resnet3d", "ResNet3d")
        pathway.demand(_RESNET3D | {"out_indices": (3,), "temporal_strides": _FOUR, "inflate_style": "3x1x1"})
        pathway.demand({"conv1_stride_t": 1, "pool1_stride_t": 1, "lateral_infl": 2, "lateral_inv": False})
        pathway.demand({"norm_eval": False, "frozen_stages": -1, "with_cp": False, "lateral_activate": _FOUR})
        pathway.only("non_local_cfg", {}, None)
        pathway.ignore(NO_EFFECT["backbone"])
        pathway.ignore({"with_pool2": "SlowFast has none whatever it says"})
        network.norms(pathway)
    slow.only("lateral", True, default=False)
    slow.only("speed_ratio", speed)  # where a config was written out again, it is here too
    slow.only("channel_ratio", narrow)
    slow.only("conv1_kernel", (1, 7, 7), default=(3, 7, 7))
    slow.only("inflate", (0, 0, 1, 1), default=_FOUR)
    fast.only("lateral", False)
    fast.only("conv1_kernel", (5, 7, 7), default=(3, 7, 7))
    fast.only("inflate", _FOUR)
    fast.only("pretrained", None)
    width = slow.take("base_channels", 64)
    fast.only("base_channels", width // narrow, default=64)
    channels = slow.take("in_channels", 3)
    fast.only("in_channels", channels, default=3)
    network.start_all()
    network.head.only("spatial_type", "avg")
    values = {
        "kind": "slowfast",
        **network.pictures(channels),
        "depth": _depth(slow, default=50),
        "fast_depth": _depth(fast, default=50),
        "speed_ratio": speed,
        "channel_ratio": narrow,
        "fusion_kernel": slow.take("fusion_kernel", 5),
        "fusion_norm": slow.take("lateral_norm", default=False),
        "width": width,
        "pretrained": slow.take("pretrained"),
        **network.classifier("SlowFastHead", dropout=0.8),
    }
    slow.finish()
    fast.finish()
    return values


def r2plus1d(network: Network) -> dict[str, Any]:
    """``ResNet2Plus1d``."""
    backbone, depth = network.backbone, _depth(network.backbone, default=50)
    backbone.demand(_RESNET3D | {"out_indices": (3,), "inflate": _FOUR, "inflate_style": "3x1x1"})
    backbone.demand({"conv1_kernel": (3, 7, 7), "conv1_stride_t": 1, "pool1_stride_t": 1})
    backbone.only("temporal_strides", (1, 2, 2, 2), default=_FOUR)
    if "conv_cfg" not in backbone:
        raise backbone.error("conv_cfg", "dict(type='Conv2plus1d')", default="Conv3d")
    backbone.only("non_local_cfg", {}, None)
    backbone.ignore({"with_pool2": "R(2+1)D has none whatever it says"})
    network.start_all()
    return _pooled(network, "r2plus1d", depth, eps=1e-3, conv=("Conv2plus1d",))


def csn(network: Network) -> dict[str, Any]:
    """``ResNet3dCSN``."""
    backbone, depth = network.backbone, _depth(network.backbone, default=None)
    backbone.demand(_RESNET3D | {"out_indices": (3,), "inflate": _FOUR, "inflate_style": "3x3x3"})
    backbone.demand({"conv1_kernel": (3, 7, 7), "conv1_stride_t": 1, "pool1_stride_t": 1})
    backbone.only("temporal_strides", (1, 2, 2, 2))
    backbone.only("with_pool2", False, default=True)
    backbone.only("non_local_cfg", {}, None)
    network.start_all()
    interactions = backbone.choice("bottleneck_mode", {"ir": "reduced", "ip": "preserved"}, "ir")
    return _pooled(network, "csn", depth, eps=1e-3, default_eps=1e-3) | {"interactions": interactions}


def c3d(network: Network) -> dict[str, Any]:
    """``C3D``."""
    backbone = network.backbone
    backbone.ignore({"style": "has no strides", "init_std": "first weights"})
    backbone.demand({"norm_cfg": None, "conv_cfg": {"type": "Conv3d"}, "act_cfg": {"type": "ReLU"}})
    backbone.only("out_dim", 8192)
    network.start_all()
    network.head.only("spatial_type", None, default="avg")
    values = network.classifier("I3DHead", dropout=0.5)
    backbone.only("dropout_ratio", values["dropout"], default=0.5)
    return {"kind": "c3d", **network.pictures(), **values}


def x3d(network: Network) -> dict[str, Any]:
    """``X3D``."""
    backbone = network.backbone
    backbone.demand({"num_stages": 4, "spatial_strides": (2, 2, 2, 2), "se_style": "half", "se_ratio": 1 / 16})
    backbone.demand({"use_swish": True})
    network.norms()
    network.settings_of_training()
    network.start_all()
    network.head.only("spatial_type", "avg")
    network.head.only("fc1_bias", False)
    return {
        "kind": "x3d",
        **network.pictures(network.in_channels()),
        "width_factor": backbone.take("gamma_w", 1.0),
        "bottleneck_factor": backbone.take("gamma_b", 1.0),
        "depth_factor": backbone.take("gamma_d", 1.0),
        **network.classifier("X3DHead", dropout=0.5),
    }


def _pooled(
    network: Network,
    kind: str,
    depth: int,
    *,
    eps: float = 1e-5,
    default_eps: float = 1e-5,
    conv: Sequence[str] = ("Conv3d",),
) -> dict[str, Any]:
    network.norms(eps=eps, default_eps=default_eps, conv=conv)
    network.settings_of_training()
    network.head.only("spatial_type", "avg")
    return {
        "kind": kind,
        **network.pictures(network.in_channels()),
        "depth": depth,
        "width": network.backbone.take("base_channels", 64),
        **network.classifier("I3DHead", dropout=0.5),
    }


def _depth(part: Part, *, default: int | None) -> int:
    return int(part.choice("depth", {depth: depth for depth in BLOCKS}, default))


def _stages(depth: int) -> list[tuple[int, int]]:
    return list(enumerate(BLOCKS[depth]))


def demand_slow(backbone: Part, *, out_indices: tuple[int, ...]) -> None:
    """What makes a 3D ResNet a slow pathway alone; all of it is its default."""
    backbone.only("out_indices", out_indices, default=(3,))
    backbone.demand(_RESNET3D | _LATERAL | {"inflate_style": "3x1x1", "with_pool2": False})
    backbone.demand({"conv1_kernel": (1, 7, 7), "inflate": (0, 0, 1, 1), "temporal_strides": _FOUR})
    backbone.demand({"conv1_stride_t": 1, "pool1_stride_t": 1})
