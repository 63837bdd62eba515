"""The 2D networks that see the frames of a video one by one, by name."""

from collections.abc import Mapping
from typing import Literal, NamedTuple, cast, get_args

from torch import nn

from kinoray.models.layers import mobilenet2d, mobileone, resnet2d
from kinoray.models.layers.mobileone import MobileOneName
from kinoray.models.layers.resnet2d import ResNet2dName
from kinoray.models.weights import KeyRules

Backbone2dName = ResNet2dName | Literal["mobilenet_v2"] | MobileOneName


class Backbone2d(NamedTuple):
    """A 2D network without its classifier.

    Attributes:
        trunk: ``(B, C, H, W)`` -> ``(B, width, H / 32, W / 32)``.
        stages: names of the trunk's parts, in order.
        key_rules: project -> rules from its names to those of a recognizer that calls the trunk ``backbone``.
    """

    trunk: nn.Sequential
    width: int
    stages: tuple[tuple[str, ...], ...]
    key_rules: Mapping[str, KeyRules]


def backbone2d(name: Backbone2dName, *, in_channels: int = 3) -> Backbone2d:
    """Build it with fresh weights."""
    if name == "mobilenet_v2":
        trunk, width = mobilenet2d.mobilenet2d(in_channels=in_channels)
        rules = {"MMAction2": mobilenet2d.MMACTION2_KEYS, "torchvision": mobilenet2d.TORCHVISION_KEYS}
        return Backbone2d(trunk, width, mobilenet2d.STAGES, rules)
    if name in get_args(MobileOneName):
        trunk, width = mobileone.mobileone2d(cast(MobileOneName, name), in_channels=in_channels)
        return Backbone2d(trunk, width, mobileone.STAGES, {"MMAction2": mobileone.MMPRETRAIN_KEYS})
    trunk, width = resnet2d.resnet2d(cast(ResNet2dName, name), in_channels=in_channels)
    rules = {"MMAction2": resnet2d.MMACTION2_KEYS, "torchvision": resnet2d.TORCHVISION_KEYS}
    return Backbone2d(trunk, width, resnet2d.STAGES, rules)
