"""The last layer of recognizers."""

from torch import nn


def classifier(width: int, num_classes: int, std: float = 0.01) -> nn.Linear:
    """A linear layer from D to K with small normal weights and no bias at the start."""
    fc = nn.Linear(width, num_classes)
    nn.init.normal_(fc.weight, std=std)
    nn.init.zeros_(fc.bias)
    return fc
