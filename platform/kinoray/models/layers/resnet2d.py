"""2D residual networks from torchvision, without their classifier, on any number of input channels."""

from collections.abc import Iterator
from typing import Any, Literal, TypeAlias, cast

import torchvision
from torch import nn
from torchvision.models.resnet import BasicBlock, Bottleneck

ResNet2dName = Literal["resnet14", "resnet18", "resnet34", "resnet50", "resnet101", "resnet152", "resnext101_32x4d"]
Block2d: TypeAlias = BasicBlock | Bottleneck

# Those that torchvision names no builder of: blocks of each stage, and settings of theirs.
_OTHERS: dict[str, tuple[list[int], dict[str, Any]]] = {
    "resnet14": ([1, 1, 1, 1], {}),
    "resnext101_32x4d": ([3, 4, 23, 3], {"groups": 32, "width_per_group": 4}),
}

STAGES = (("conv1", "bn1"), ("layer1",), ("layer2",), ("layer3",), ("layer4",))
"""Names of the trunk's parts with weights, in order."""
MMACTION2_KEYS = (
    (r"^backbone\.conv1\.conv\.", "backbone.conv1."),
    (r"^backbone\.conv1\.bn\.", "backbone.bn1."),
    (r"\.conv(\d)\.conv\.", r".conv\1."),
    (r"\.conv(\d)\.bn\.", r".bn\1."),
    (r"\.downsample\.conv\.", ".downsample.0."),
    (r"\.downsample\.bn\.", ".downsample.1."),
)
"""Rules for ``rename_keys``, from MMAction2's ResNet to the trunk, both called ``backbone``."""
TORCHVISION_KEYS = ((r"^fc\.", "imagenet_fc."), (r"^(conv1|bn1|layer\d)\.", r"backbone.\1."))
"""Likewise, from torchvision's, whose classifier has no place."""


def resnet2d(name: ResNet2dName, *, in_channels: int = 3) -> tuple[nn.Sequential, int]:
    """Build the trunk, ``(B, C, H, W) -> (B, D, H / 32, W / 32)``, and tell its width D.

    Args:
        name: torchvision's builder; ``resnet14``, one bottleneck a stage, is for tests.
        in_channels: C.

    Source: arXiv 1512.03385, 1611.05431 (ResNeXt).
    """
    if name in _OTHERS:
        num_blocks, settings = _OTHERS[name]
        resnet = torchvision.models.ResNet(Bottleneck, num_blocks, **settings)
    else:
        resnet = torchvision.models.get_model(name)
    if in_channels != 3:
        resnet.conv1 = nn.Conv2d(in_channels, 64, kernel_size=7, stride=2, padding=3, bias=False)
        nn.init.kaiming_normal_(resnet.conv1.weight, mode="fan_out", nonlinearity="relu")
    trunk = nn.Sequential()
    for child_name, child in resnet.named_children():
        if child_name not in {"avgpool", "fc"}:
            trunk.add_module(child_name, child)
    return trunk, resnet.fc.in_features


def stages_of_blocks(trunk: nn.Module) -> Iterator[list[Block2d]]:
    """The residual blocks of each of the four stages; timm's are built as torchvision's, with more inside."""
    for (stage,) in STAGES[1:]:
        yield [cast(Block2d, block) for block in trunk.get_submodule(stage).children()]
