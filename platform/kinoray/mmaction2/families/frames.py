"""Recognizers that see frames one by one: TSN, TSM, TIN, TRN, TANet, TPN on TSM, and C2D."""

from typing import Any

from kinoray.mmaction2.families.common import BLOCKS, NO_EFFECT, Network, averages_in_space, non_local

# Depth -> (groups, width of each) -> the same network of a library.
_RESNEXT = {
    50: {(32, 4): "torchvision:resnext50_32x4d"},
    101: {
        (32, 4): "timm:resnext101_32x4d",
        (32, 8): "torchvision:resnext101_32x8d",
        (64, 4): "torchvision:resnext101_64x4d",
    },
}
_TSM_PLACES = "after every second block of stages 2 and 3"


def tsn(network: Network) -> dict[str, Any]:
    """``ResNet`` with ``TSNHead``."""
    values = _frames(network, "tsn") | {"backbone": resnet_of_frames(network)}
    averages_in_space(network.head)
    return values | network.classifier("TSNHead", dropout=0.4)


def tsn_library(network: Network) -> dict[str, Any]:
    """``torchvision.NAME`` or ``timm.NAME``."""
    backbone = network.backbone
    library, _, name = str(backbone.values["type"]).partition(".")
    backbone.ignore({"type": "", "feature_shape": "the network's own maps tell"})
    pretrained = backbone.take("pretrained")
    channels = backbone.take("in_chans", 3) if library == "timm" else 3
    averages_in_space(network.head)
    return {
        "kind": "tsn",
        **network.pictures(channels),
        "backbone": f"{library}:{name}",
        "pretrained": f"{library}://{name}" if pretrained is True else pretrained or None,
        **network.classifier("TSNHead", dropout=0.4),
    }


def tsn_resnext(network: Network) -> dict[str, Any]:
    """``mmcls.ResNeXt``."""
    backbone = network.backbone
    values = _frames(network, "tsn")
    backbone.choice("depth", dict.fromkeys(_RESNEXT), 50)
    sizes = backbone.take("groups", 32), backbone.take("width_per_group", 4)
    name = _RESNEXT[backbone.values.get("depth", 50)].get(sizes)
    if name is None:
        raise backbone.error("groups", "32 with width_per_group 4, or one that torchvision or timm has", default=32)
    resnet_of_frames(network)
    averages_in_space(network.head)
    return values | {"backbone": name} | network.classifier("TSNHead", dropout=0.4)


def tsn_mobileone(network: Network) -> dict[str, Any]:
    """``mmpretrain.MobileOne`` with ``TSNHead``."""
    values = _frames(network, "tsn") | {"backbone": _mobileone(network)}
    averages_in_space(network.head)
    return values | network.classifier("TSNHead", dropout=0.4)


def trn(network: Network) -> dict[str, Any]:
    """``ResNet`` with ``TRNHead``."""
    head = network.head
    values = _frames(network, "trn") | {"backbone": resnet_of_frames(network)}
    head.only("spatial_type", "avg")
    return (
        values
        | network.classifier("TRNHead", dropout=0.8)
        | {
            "num_frames": head.take("num_segments", 8),
            "relations": head.choice("relation_type", {"TRN": "all", "TRNMultiScale": "multi_scale"}, "TRNMultiScale"),
            "embed_width": head.take("hidden_dim", 256),
        }
    )


def tsm(network: Network) -> dict[str, Any]:
    """``ResNetTSM`` with ``TSMHead``."""
    values = _frames(network, "tsm") | {"backbone": resnet_of_frames(network)} | shifts(network)
    return values | {"non_local": _tsm_non_local(network)} | _tsm_head(network)


def tsm_mobilenet(network: Network) -> dict[str, Any]:
    """``MobileNetV2TSM``."""
    backbone = network.backbone
    values = _frames(network, "tsm") | {"backbone": "mobilenet_v2"} | shifts(network)
    network.norms()
    backbone.only("widen_factor", 1.0)
    backbone.only("out_indices", (7,))
    return values | _tsm_head(network)


def tsm_mobileone(network: Network) -> dict[str, Any]:
    """``MobileOneTSM``."""
    values = _frames(network, "tsm") | {"backbone": _mobileone(network)} | shifts(network)
    return values | _tsm_head(network)


def tin(network: Network) -> dict[str, Any]:
    """``ResNetTIN``."""
    values = _frames(network, "tin") | {"backbone": resnet_of_frames(network)} | shifts(network)
    network.backbone.only("is_tin", True)
    network.backbone.only("non_local_cfg", {}, None)
    return values | _tsm_head(network)


def tanet(network: Network) -> dict[str, Any]:
    """``TANet``."""
    values = _frames(network, "tanet") | {"backbone": resnet_of_frames(network)}
    network.backbone.only("tam_cfg", None, {})
    return values | {"num_frames": network.backbone.need("num_segments")} | _tsm_head(network)


def c2d(network: Network) -> dict[str, Any]:
    """``C2D``."""
    backbone = network.backbone
    values = {
        "kind": "c2d",
        **network.pictures(network.in_channels()),
        "pretrained": network.start(),
        "backbone": resnet_of_frames(network),
    }
    network.settings_of_training()
    backbone.ignore({"with_pool2d": ""})
    network.head.only("spatial_type", "avg")
    return values | network.classifier("I3DHead", dropout=0.5)


def _frames(network: Network, kind: str) -> dict[str, Any]:
    """What all recognizers with a 2D network are told."""
    backbone = network.backbone
    backbone.ignore(NO_EFFECT["backbone"])
    if backbone.take("with_cp", default=False):
        network.training["activation_checkpointing"] = True
    return {
        "kind": kind,
        **network.pictures(network.in_channels()),
        "pretrained": network.start(),
        "norm_eval": backbone.take("norm_eval", default=False),
        "partial_bn": backbone.take("partial_bn", default=False),
        "frozen_stages": backbone.take("frozen_stages", -1),
    }


def resnet_of_frames(network: Network, *, out_indices: tuple[int, ...] = (3,)) -> str:
    """The name of a 2D ResNet."""
    backbone = network.backbone
    depth = backbone.need("depth")
    if depth not in BLOCKS:
        raise backbone.error("depth", " or ".join(map(str, BLOCKS)))
    network.norms()
    backbone.only("out_indices", out_indices, default=(3,))
    backbone.demand({"num_stages": 4, "strides": (1, 2, 2, 2), "dilations": (1, 1, 1, 1), "style": "pytorch"})
    return f"resnet{depth}"


def _mobileone(network: Network) -> str:
    backbone = network.backbone
    arch = backbone.choice("arch", {f"s{size}": f"mobileone_s{size}" for size in range(5)}, None)
    network.norms()
    backbone.only("out_indices", (3,))
    return f"{arch}_merged" if backbone.take("deploy", default=False) else str(arch)


def shifts(network: Network) -> dict[str, Any]:
    """How a TSM or a TIN joins frames."""
    backbone = network.backbone
    backbone.only("is_shift", True)
    backbone.only("shift_place", "blockres")
    backbone.only("temporal_pool", False)
    return {"num_frames": backbone.take("num_segments", 8), "shift_div": backbone.take("shift_div", 8)}


def _tsm_non_local(network: Network) -> str | None:
    numbers = BLOCKS[network.backbone.values["depth"]]
    expected = [[int(stage in {1, 2} and block % 2 == 0) for block in range(n)] for stage, n in enumerate(numbers)]
    return non_local(network.backbone, expected, scaled=False, places=_TSM_PLACES)


def _tsm_head(network: Network) -> dict[str, Any]:
    averages_in_space(network.head)
    network.head.ignore({"num_segments": "T of the views", "is_shift": "matters with temporal_pool alone"})
    network.head.only("temporal_pool", False)
    return network.classifier("TSMHead", dropout=0.8)
