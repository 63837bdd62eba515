"""The 2D networks that see the frames of a video one by one, by name.

Names are our own (ResNets, MobileNetV2, MobileOne), ``torchvision:densenet161`` or, with the package timm,
``timm:swin_base_patch4_window7_224``.
"""

import re
from collections.abc import Mapping
from typing import Annotated, Literal, NamedTuple, cast, get_args

from pydantic import AfterValidator
from torch import nn

from kinoray.config.suggest import did_you_mean
from kinoray.models.layers import library2d, mobilenet2d, mobileone, resnet2d
from kinoray.models.layers.library2d import LibraryTrunk
from kinoray.models.layers.mobileone import MobileOneName
from kinoray.models.layers.resnet2d import ResNet2dName
from kinoray.models.weights import KeyRules

Backbone2dName = ResNet2dName | Literal["mobilenet_v2"] | MobileOneName
"""Those that are our own."""
OWN_NAMES: tuple[str, ...] = (*get_args(ResNet2dName), "mobilenet_v2", *get_args(MobileOneName))

_OF_LIBRARY = re.compile(r"(timm|torchvision):(\w+)", re.ASCII)


def _known(name: str) -> str:
    if name not in OWN_NAMES and not _OF_LIBRARY.fullmatch(name):
        raise ValueError(
            f"no backbone '{name}'{did_you_mean(name, OWN_NAMES)}; one of {', '.join(OWN_NAMES)}; or torchvision:NAME "
            "or timm:NAME for any of theirs"
        )
    # What we have ourselves is the same network, with more that can be done to it.
    own = name.removeprefix("torchvision:")
    return own if own in OWN_NAMES else name


AnyBackbone2d = Annotated[str, AfterValidator(_known)]
"""One of our own, or a library's."""


class Backbone2d(NamedTuple):
    """A 2D network without its classifier.

    Attributes:
        trunk: ``(B, C, H, W)`` -> ``(B, width, h, w)``; h and w are a 32nd of H and W in our own.
        stages: names of the trunk's parts, in order.
        key_rules: project -> rules from its names to those of a recognizer that calls the trunk ``backbone``.
    """

    trunk: nn.Module
    width: int
    stages: tuple[tuple[str, ...], ...]
    key_rules: Mapping[str, KeyRules]


def backbone2d(name: str, *, in_channels: int = 3) -> Backbone2d:
    """Build it with fresh weights.

    Raises:
        ConfigError: its library has no network of that name.
        ResourceError: its library is not installed.
    """
    if found := _OF_LIBRARY.fullmatch(name):
        return _of_library(found[1], found[2], in_channels)
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


def _of_library(library: str, name: str, in_channels: int) -> Backbone2d:
    build = library2d.timm_network if library == "timm" else library2d.torchvision_network
    network = build(name, in_channels)
    width, unused = library2d.probe(network, library2d.picture_side(library, name), in_channels)
    for parameter in unused:
        network.get_parameter(parameter).requires_grad = False
    if isinstance(network, nn.Sequential) and hasattr(network, "layer4"):  # a ResNet
        rules = {"MMAction2": resnet2d.MMACTION2_KEYS, library: resnet2d.TORCHVISION_KEYS}
        return Backbone2d(network, width, resnet2d.STAGES, rules)
    return Backbone2d(
        LibraryTrunk(network, width),
        width,
        library2d.parts_of(network, "network."),
        {project: library2d.KEYS[project] for project in ("MMAction2", library)},
    )
