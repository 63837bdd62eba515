"""RGBPoseConv3D: a network on pictures and one on heatmaps, each told of the other."""

from typing import Any

from kinoray.mmaction2.families.common import BLOCKS, NO_EFFECT, Network
from kinoray.mmaction2.part import Part

# What the networks of both have: key -> its value, which is what the key's absence means, too.
_BOTH: dict[str, Any] = {
    "with_pool1": True,
    "conv1_stride_t": 1,
    "pool1_stride_t": 1,
    "inflate_style": "3x1x1",
    "style": "pytorch",
    "lateral_norm": False,
    "norm_eval": False,
    "frozen_stages": -1,
    "with_cp": False,
    "pretrained": None,
}
# What sets each apart: key -> its value, and what the key's absence means.
_RGB: dict[str, tuple[Any, Any]] = {
    "num_stages": (4, 4),
    "stage_blocks": (None, None),
    "out_indices": ((3,), (3,)),
    "spatial_strides": ((1, 2, 2, 2), (1, 2, 2, 2)),
    "temporal_strides": ((1, 1, 1, 1), (1, 1, 1, 1)),
    "dilations": ((1, 1, 1, 1), (1, 1, 1, 1)),
    "inflate": ((0, 0, 1, 1), (1, 1, 1, 1)),
    "conv1_stride_s": (2, 2),
    "pool1_stride_s": (2, 2),
    "lateral_inv": (False, False),
    "lateral_infl": (1, 2),
    "lateral_activate": ((0, 0, 1, 1), (1, 1, 1, 1)),
}
_POSE: dict[str, tuple[Any, Any]] = {
    "depth": (50, 50),
    "num_stages": (3, 4),
    "out_indices": ((2,), (3,)),
    "spatial_strides": ((2, 2, 2), (1, 2, 2, 2)),
    "temporal_strides": ((1, 1, 1), (1, 1, 1, 1)),
    "dilations": ((1, 1, 1), (1, 1, 1, 1)),
    "inflate": ((0, 1, 1), (1, 1, 1, 1)),
    "conv1_stride_s": (1, 2),
    "pool1_stride_s": (1, 2),
    "lateral_inv": (True, False),
    "lateral_infl": (16, 2),
    "lateral_activate": ((0, 1, 1), (1, 1, 1, 1)),
}


def rgbpose(network: Network) -> dict[str, Any]:
    """``RGBPoseConv3D`` with ``RGBPoseHead``."""
    backbone, head = network.backbone, network.head
    rgb, pose = backbone.part("rgb_pathway"), backbone.part("pose_pathway")
    if rgb is None or pose is None:
        raise backbone.error("pose_pathway" if rgb else "rgb_pathway", "given, as there is no default here")
    backbone.demand({"rgb_detach": False, "pose_detach": False, "rgb_drop_path": 0, "pose_drop_path": 0})
    speed, narrow = backbone.take("speed_ratio", 4), backbone.take("channel_ratio", 4)
    for pathway, own in ((rgb, _RGB), (pose, _POSE)):
        _take(pathway, own)
        pathway.only("speed_ratio", speed)  # where a config was written out again, it is here too
        pathway.only("channel_ratio", narrow)
        network.norms(pathway)
    network.start_all()
    width, kernel = rgb.take("base_channels", 64), rgb.take("fusion_kernel", 5)
    pose_width = 2 * width // narrow
    pose.only("base_channels", pose_width, default=64)
    pose.only("fusion_kernel", kernel, default=5)
    head.only("loss_components", ["rgb", "pose"])
    head.only("loss_weights", 1.0, [1.0, 1.0])
    head.demand({"multi_class": False, "average_clips": "prob"})
    dropout = head.take("dropout", 0.5)
    if not isinstance(dropout, int | float):
        raise head.error("dropout", "one number, for both classifiers")
    values = {
        "kind": "rgbpose_conv3d",
        **network.pictures(rgb.take("in_channels", 3)),
        "depth": rgb.choice("depth", {depth: depth for depth in BLOCKS if depth >= 50}, 50),
        "width": width,
        "num_joints": pose.take("in_channels", 3),
        "pose_width": pose_width,
        "pose_blocks": pose.take("stage_blocks") or BLOCKS[50][:3],
        "speed_ratio": speed,
        "fusion_kernel": kernel,
        **network.classifier("RGBPoseHead", dropout=dropout),
    }
    rgb.finish()
    pose.finish()
    return values


def _take(pathway: Part, own: dict[str, tuple[Any, Any]]) -> None:
    pathway.demand(_BOTH)
    for key, (value, default) in own.items():
        pathway.only(key, value, default=default)
    pathway.only("lateral", True, default=False)
    pathway.only("conv1_kernel", (1, 7, 7), default=(3, 7, 7))
    pathway.only("non_local_cfg", {}, None)
    pathway.ignore({**NO_EFFECT["backbone"], "with_pool2": "RGBPoseConv3D has none whatever it says"})
