"""Recognizers of skeletons as graphs, and of sound: ST-GCN, ST-GCN++, 2s-AGCN, audio TSN, audio ResNet."""

from typing import Any

from kinoray.mmaction2.families.common import NO_EFFECT, Network

_ADAPTIVE = {None: "fixed", "importance": "importance", "offset": "offset", "init": "free"}


def stgcn(network: Network) -> dict[str, Any]:
    """``STGCN``; with several reaches in time it is ST-GCN++."""
    backbone = network.backbone
    network.floats()
    values = _graphs(network) | {
        "adaptive": backbone.choice("gcn_adaptive", _ADAPTIVE, "importance"),
        "joint_residual": backbone.take("gcn_with_res", default=False),
        "time_scales": backbone.choice("tcn_type", {"unit_tcn": "one", "mstcn": "many"}, "unit_tcn"),
    }
    backbone.only("data_bn_type", "VC")
    backbone.ignore({"num_person": "persons are seen one by one"})
    backbone.only("gcn_conv_pos", "pre")
    return {"kind": "stgcnpp" if values["time_scales"] == "many" else "stgcn", **values}


def agcn(network: Network) -> dict[str, Any]:
    """``AAGCN``."""
    backbone = network.backbone
    network.floats()
    backbone.only("data_bn_type", "MVC")
    backbone.only("gcn_adaptive", True)
    return {
        "kind": "agcn",
        **_graphs(network),
        "attention": backbone.take("gcn_attention", default=True),
        "num_persons": backbone.take("num_person", 2),
    }


def audio_tsn(network: Network) -> dict[str, Any]:
    """``ResNet`` with ``TSNAudioHead``."""
    backbone = network.backbone
    network.floats()
    network.settings_of_training()
    network.norms()
    network.start_all()
    backbone.only("in_channels", 1, default=3)
    backbone.demand({"num_stages": 4, "out_indices": (3,), "strides": (1, 2, 2, 2), "style": "pytorch"})
    backbone.only("dilations", (1, 1, 1, 1))
    return {"kind": "audio_tsn", "backbone": f"resnet{backbone.need('depth')}", **_audio_head(network)}


def audio_resnet(network: Network) -> dict[str, Any]:
    """``ResNetAudio``."""
    backbone = network.backbone
    network.floats()
    network.settings_of_training()
    network.norms()
    network.start_all()
    backbone.only("in_channels", 1)
    backbone.demand({"num_stages": 4, "strides": (1, 2, 2, 2), "conv1_kernel": 9, "conv1_stride": 1})
    backbone.only("dilations", (1, 1, 1, 1))
    backbone.only("factorize", (1, 1, 0, 0))
    width = backbone.take("base_channels", 32)
    return {"kind": "audio_resnet", "depth": backbone.need("depth"), "width": width, **_audio_head(network)}


def _audio_head(network: Network) -> dict[str, Any]:
    network.head.only("spatial_type", "avg")
    return network.classifier("TSNAudioHead", dropout=0.4)


def _graphs(network: Network) -> dict[str, Any]:
    """What all networks of graphs are told."""
    backbone, head = network.backbone, network.head
    backbone.ignore(NO_EFFECT["backbone"])
    network.start_all()
    graph = backbone.part("graph_cfg")
    if graph is None:
        raise backbone.error("graph_cfg", "a mapping such as dict(layout='coco', mode='spatial')")
    values = {
        "layout": graph.choice("layout", {name: name for name in ("coco", "nturgb+d", "openpose")}, "coco"),
        "partition": graph.choice(
            "mode", {name: name for name in ("stgcn_spatial", "spatial", "binary_adj")}, "spatial"
        ),
        "in_channels": backbone.take("in_channels", 3),
        "width": backbone.take("base_channels", 64),
        "num_blocks": backbone.take("num_stages", 10),
        "halving": backbone.take("inflate_stages", [5, 8]),
    }
    graph.only("max_hop", 1)
    graph.finish()
    backbone.only("ch_ratio", 2)
    backbone.only("down_stages", values["halving"], default=[5, 8])
    return values | network.classifier("GCNHead", dropout=0.0) | {"dropout": head.take("dropout", 0.0)}
