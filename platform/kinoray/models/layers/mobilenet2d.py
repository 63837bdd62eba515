"""MobileNetV2 from torchvision, without its classifier, on any number of input channels."""

import torchvision
from torch import nn

# How many blocks each stage has (arXiv 1801.04381, table 2), between the first convolution and the last.
NUM_BLOCKS = (1, 2, 3, 4, 3, 3, 1)
_FIRST = tuple(1 + sum(NUM_BLOCKS[:i]) for i in range(len(NUM_BLOCKS)))
_LAST = 1 + sum(NUM_BLOCKS)

STAGES = (
    ("features.0",),
    *(
        tuple(f"features.{i}" for i in range(first, first + count))
        for first, count in zip(_FIRST, NUM_BLOCKS, strict=True)
    ),
    (f"features.{_LAST}",),
)
"""Names of the trunk's parts, in order."""
MMACTION2_KEYS = (
    (r"^backbone\.conv1\.conv\.", "backbone.features.0.0."),
    (r"^backbone\.conv1\.bn\.", "backbone.features.0.1."),
    (r"^backbone\.conv2\.conv\.", f"backbone.features.{_LAST}.0."),
    (r"^backbone\.conv2\.bn\.", f"backbone.features.{_LAST}.1."),
    # The last convolution of a block has no activation, and no container of its own at torchvision.
    (r"^(backbone\.layer1\.0\.conv)\.1\.conv\.", r"\1.1."),
    (r"^(backbone\.layer1\.0\.conv)\.1\.bn\.", r"\1.2."),
    (r"^(backbone\.layer\d\.\d\.conv)\.2\.conv\.", r"\1.2."),
    (r"^(backbone\.layer\d\.\d\.conv)\.2\.bn\.", r"\1.3."),
    (r"^(backbone\.layer\d\.\d\.conv\.\d)\.conv\.", r"\1.0."),
    (r"^(backbone\.layer\d\.\d\.conv\.\d)\.bn\.", r"\1.1."),
    *(
        (rf"^backbone\.layer{stage + 1}\.{i}\.", f"backbone.features.{_FIRST[stage] + i}.")
        for stage, count in enumerate(NUM_BLOCKS)
        for i in range(count)
    ),
)
"""Rules for ``rename_keys``, from MMAction2's MobileNetV2 to the trunk, both called ``backbone``."""
TORCHVISION_KEYS = ((r"^classifier\.1\.", "imagenet_fc."), (r"^features\.", "backbone.features."))
"""Likewise, from torchvision's, whose classifier has no place."""


def mobilenet2d(*, in_channels: int = 3) -> tuple[nn.Sequential, int]:
    """Build the trunk, ``(B, C, H, W) -> (B, D, H / 32, W / 32)``, and tell its width D.

    Source: arXiv 1801.04381.
    """
    network = torchvision.models.mobilenet_v2()
    if in_channels != 3:
        first = nn.Conv2d(in_channels, 32, kernel_size=3, stride=2, padding=1, bias=False)
        nn.init.kaiming_normal_(first.weight, mode="fan_out")
        network.features[0][0] = first
    trunk = nn.Sequential()
    trunk.add_module("features", network.features)
    return trunk, network.last_channel
