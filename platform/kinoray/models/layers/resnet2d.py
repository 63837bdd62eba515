"""2D residual networks from torchvision, without their classifier, on any number of input channels."""

from pickle import UnpicklingError
from typing import Literal

import torchvision
from torch import Tensor, hub, nn

from kinoray.errors import CheckpointError, ConfigError

ResNet2dName = Literal["resnet18", "resnet34", "resnet50", "resnet101", "resnet152"]


def resnet2d(name: ResNet2dName, *, in_channels: int = 3, pretrained: str | None = None) -> tuple[nn.Sequential, int]:
    """Build the trunk, ``(B, C, H, W) -> (B, D, H / 32, W / 32)``, and tell its width D.

    Args:
        name: torchvision's builder.
        in_channels: C.
        pretrained: a name of torchvision's weights, as ``IMAGENET1K_V1``. For other inputs than RGB the first layer
            gets the mean of the three colour kernels in every channel, as TSN does for optical flow.

    Raises:
        ConfigError: torchvision has no such weights.
        CheckpointError: the weights cannot be fetched or read.

    Source: arXiv 1512.03385; cross-modality start of the first layer: arXiv 1608.00859, section 3.2.
    """
    resnet = torchvision.models.get_model(name)
    if pretrained is not None:
        resnet.load_state_dict(fetch_imagenet_weights(name, pretrained))
    if in_channels != 3:
        resnet.conv1 = _stem(in_channels, resnet.conv1.weight.data if pretrained is not None else None)
    trunk = nn.Sequential()
    for child_name, child in resnet.named_children():
        if child_name not in {"avgpool", "fc"}:
            trunk.add_module(child_name, child)
    return trunk, resnet.fc.in_features


def check_imagenet_weights(name: ResNet2dName, weights: str) -> None:
    """Raise ConfigError where torchvision has no weights of that name for the network."""
    known = torchvision.models.get_model_weights(name).__members__
    if weights not in known:
        raise ConfigError(f"pretrained: no weights of {name}, got {weights!r}; torchvision has {', '.join(known)}")


def fetch_imagenet_weights(name: ResNet2dName, weights: str) -> dict[str, Tensor]:
    """Read torchvision's weights from its cache, or download them into it.

    Raises:
        ConfigError: torchvision has no such weights.
        CheckpointError: they cannot be fetched or read.
    """
    check_imagenet_weights(name, weights)
    picked = torchvision.models.get_model_weights(name)[weights]
    try:
        state_dict: dict[str, Tensor] = picked.get_state_dict(progress=False, check_hash=True, weights_only=True)
    except (OSError, RuntimeError, UnpicklingError) as error:
        file_name = picked.url.rsplit("/", 1)[-1]
        raise CheckpointError(
            f"pretrained: weights {weights} of {name} cannot be read, got {error}; download {picked.url} elsewhere and "
            f"put it at {hub.get_dir()}/checkpoints/{file_name} on every machine, or set pretrained to null"
        ) from error
    return state_dict


def _stem(in_channels: int, rgb_weight: Tensor | None) -> nn.Conv2d:
    conv = nn.Conv2d(in_channels, 64, kernel_size=7, stride=2, padding=3, bias=False)
    if rgb_weight is None:
        nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
    else:
        conv.weight.data.copy_(rgb_weight.mean(dim=1, keepdim=True).expand_as(conv.weight))
    return conv
