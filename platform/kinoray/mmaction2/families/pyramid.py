"""TPN on TSM and on SlowOnly."""

from collections.abc import Mapping
from typing import Any

from kinoray.errors import ConfigError
from kinoray.mmaction2.families.clips import demand_slow
from kinoray.mmaction2.families.common import BLOCKS, Network, averages_in_space
from kinoray.mmaction2.families.frames import resnet_of_frames, shifts
from kinoray.mmaction2.part import Part

_LAST_TWO = (2, 3)


def tpn_tsm(network: Network) -> dict[str, Any]:
    """``ResNetTSM`` with ``TPN``."""
    backbone = network.backbone
    name = resnet_of_frames(network, out_indices=_LAST_TWO)
    backbone.demand({"norm_eval": False, "partial_bn": False, "frozen_stages": -1, "with_cp": False})
    backbone.only("non_local_cfg", {}, None)
    depth = int(name.removeprefix("resnet"))
    return {"kind": "tpn", "backbone": "tsm", "depth": depth, **shifts(network), **_pyramid(network, 64, depth)}


def tpn_slowonly(network: Network) -> dict[str, Any]:
    """``ResNet3dSlowOnly`` with ``TPN``."""
    backbone = network.backbone
    depth = backbone.choice("depth", {depth: depth for depth in BLOCKS}, 50)
    demand_slow(backbone, out_indices=_LAST_TWO)
    backbone.only("non_local_cfg", {}, None)
    network.norms()
    network.settings_of_training()
    width = backbone.take("base_channels", 64)
    values = {"kind": "tpn", "backbone": "slowonly", "depth": depth, "width": width}
    return values | _pyramid(network, width, depth)


def _pyramid(network: Network, stem: int, depth: int) -> dict[str, Any]:
    neck = network.model.part("neck")
    if neck is None or neck.type != "TPN":
        raise ConfigError(f"{network.model.where('neck')}: model.neck: TPNHead needs a neck of type TPN")
    low, high = (stem * 2**stage * (4 if depth >= 50 else 1) for stage in _LAST_TWO)
    width = neck.need("out_channels")
    neck.only("in_channels", (low, high), default=None)
    _demand(neck, "spatial_modulation_cfg", {"in_channels": (low, high), "out_channels": high})
    _demand(neck, "temporal_modulation_cfg", {"downsample_scales": (8, 8)})
    _demand(neck, "upsample_cfg", {"scale_factor": (1, 1, 1)})
    _demand(neck, "downsample_cfg", {"downsample_scale": (1, 1, 1)})
    fusion = {"in_channels": (width, width), "mid_channels": (width, width), "out_channels": 2 * width}
    _demand(neck, "level_fusion_cfg", fusion | {"downsample_scales": ((1, 1, 1), (1, 1, 1))})
    values = network.classifier("TPNHead", dropout=0.4)
    weight = _auxiliary_weight(neck, values["num_classes"])
    flow = neck.choice("flow_type", {"cascade": "cascade", "parallel": "parallel"}, "cascade")
    neck.finish()
    averages_in_space(network.head)
    network.head.ignore({"num_segments": "T of the views"})
    pictures = network.pictures(network.in_channels())
    return {
        **pictures,
        "pretrained": network.start(),
        "neck_width": width,
        "flow": flow,
        "auxiliary_weight": weight,
        **values,
    }


def _demand(neck: Part, name: str, values: Mapping[str, Any]) -> None:
    part = neck.part(name)
    if part is None:
        raise neck.error(name, f"given, as dict({', '.join(values)})")
    part.demand(values)
    part.finish()


def _auxiliary_weight(neck: Part, num_classes: int) -> float:
    part = neck.part("aux_head_cfg")
    if part is None:
        return 0.0
    part.only("out_channels", num_classes)
    part.ignore({"loss_cls": "goes to the recipe's loss"})
    weight = part.take("loss_weight", 0.5)
    part.finish()
    return float(weight)
