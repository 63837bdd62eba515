"""2D networks of torchvision and timm, whole but for their classifier, as backbones.

As in MMAction2, a frame's features are what comes out of a network's features, averaged over the picture or over
all tokens: what some networks do after that, before they classify, has no part in it, and is not trained.

Source: Recognizer2D and BaseRecognizer of MMAction2 at 4d6c934.
"""

from __future__ import annotations

from copy import deepcopy
from typing import TYPE_CHECKING, Any, cast

import torch
import torchvision
from torch import Tensor, nn

from kinoray.config.suggest import did_you_mean
from kinoray.errors import CheckpointError, ConfigError, ResourceError

if TYPE_CHECKING:
    from types import ModuleType

    from kinoray.models.weights import KeyRules

KEYS: dict[str, KeyRules] = {
    "MMAction2": ((r"^backbone\.", "backbone.network."),),
    "timm": ((r"^", "backbone.network."),),
    # Its oldest files name parts of DenseNets otherwise.
    "torchvision": ((r"(denselayer\d+\.(?:norm|conv))\.([12]\.)", r"\1\2"), (r"^", "backbone.network.")),
}
"""Project -> rules from its names to those of a recognizer that calls the trunk ``backbone``."""

# A second classifier in training, and a start that takes a minute.
_PLAIN: dict[str, dict[str, Any]] = {
    name: {"aux_logits": False, "init_weights": False} for name in ("googlenet", "inception_v3")
}


class LibraryTrunk(nn.Module):
    """A library's network that gives maps.

    Args:
        network: ``(B, C, H, W)`` -> maps with channels first or last, tokens, or one row of features.
        width: D of what it gives.
    """

    def __init__(self, network: nn.Module, width: int) -> None:
        super().__init__()
        self.network = network
        self.width = width

    def forward(self, frames: Tensor) -> Tensor:
        """``(B, C, H, W)`` -> ``(B, D, h, w)``; tokens are one column of a map."""
        maps = features_of(self.network, frames)
        if maps.ndim == 2:
            return maps[:, :, None, None]
        if maps.ndim == 3:
            return maps.mT[..., None]
        return maps if maps.shape[1] == self.width else maps.permute(0, 3, 1, 2)


def features_of(network: nn.Module, frames: Tensor) -> Tensor:
    """What comes out before pooling: timm's networks say so, torchvision's here end there."""
    forward = getattr(network, "forward_features", network)
    return cast(Tensor, forward(frames))


def torchvision_network(name: str, in_channels: int) -> nn.Module:
    """A picture classifier of torchvision without its classifier, with fresh weights.

    Raises:
        ConfigError: torchvision has none of that name.
    """
    known = torchvision.models.list_models(module=torchvision.models)
    if name not in known:
        raise ConfigError(
            f"model.backbone: torchvision has no picture classifier of that name, got '{name}'"
            f"{did_you_mean(name, known)}; see torchvision.models.list_models"
        )
    network: nn.Module = torchvision.models.get_model(name, **_PLAIN.get(name, {}))
    if in_channels != 3:
        _take_channels(network, in_channels)
    if isinstance(network, torchvision.models.ResNet):
        return without_classifier(network)
    if isinstance(network, torchvision.models.SwinTransformer):
        return _chain(network, "features", "norm", "permute")
    if hasattr(network, "features"):
        return _chain(network, "features")
    last = next(part for part in ("fc", "classifier", "heads") if hasattr(network, part))
    setattr(network, last, nn.Identity())
    return network


def timm_network(name: str, in_channels: int) -> nn.Module:
    """A picture classifier of timm without its classifier, with fresh weights.

    Raises:
        ResourceError: timm is not installed.
        ConfigError: timm has none of that name.
    """
    timm = import_timm()
    if not timm.is_model(name):
        raise ConfigError(
            f"model.backbone: timm has no network of that name, got '{name}'{did_you_mean(name, timm.list_models())}; "
            "see timm.list_models"
        )
    network: nn.Module = timm.create_model(name, num_classes=0, in_chans=in_channels)
    return without_classifier(network) if isinstance(network, timm.models.ResNet) else network


def timm_state_dict(name: str) -> dict[str, Tensor]:
    """Published weights of a network of timm, fetched by timm itself.

    Args:
        name: with the tag of its weights, ``resnet50.a1_in1k``; without, timm's first choice.

    Raises:
        ResourceError: timm is not installed.
        ConfigError: timm has no such weights.
        CheckpointError: they cannot be fetched.
    """
    timm = import_timm()
    network, _, _ = name.partition(".")
    known = timm.list_pretrained(f"{network}*")
    if name not in known and not (name == network and timm.models.is_model_pretrained(name)):
        tags = ", ".join(tag.partition(".")[2] for tag in known if tag.partition(".")[0] == network)
        raise ConfigError(
            f"timm://{name}: timm has no such weights; of {network} it has {tags}"
            if tags
            else f"timm://{name}: timm has no weights of {network}{did_you_mean(network, timm.list_models())}"
        )
    try:
        return dict(timm.create_model(name, pretrained=True).state_dict())
    except (OSError, RuntimeError, ValueError) as error:
        raise CheckpointError(f"timm://{name}: cannot be fetched, got {error}") from error


def import_timm() -> ModuleType:
    """The package.

    Raises:
        ResourceError: it is not installed.
    """
    try:
        import timm
    except ModuleNotFoundError as error:
        raise ResourceError(
            f"timm: networks and weights of timm need the package, got {error}; pip install 'kinoray[timm]'"
        ) from error
    module: ModuleType = timm
    return module


def picture_side(library: str, name: str) -> int:
    """Height and width in pixels of the pictures that a network was made for."""
    if library == "torchvision":
        return 299 if name == "inception_v3" else 224
    return int(import_timm().get_pretrained_cfg(name).input_size[-1])


def without_classifier(resnet: nn.Module) -> nn.Sequential:
    """The parts of a ResNet of torchvision or timm that make its maps, one after the other, under their names."""
    trunk = nn.Sequential()
    for name, child in resnet.named_children():
        if name not in {"avgpool", "global_pool", "fc"}:
            trunk.add_module(name, child)
    return trunk


def probe(network: nn.Module, side: int, in_channels: int) -> tuple[int, list[str]]:
    """Find D, the width of a network's features, and which of its parameters have no part in them; computes nothing."""
    network = deepcopy(network).to("meta")
    names, parameters = zip(*network.named_parameters(), strict=True)
    with torch.enable_grad():
        maps = features_of(network, torch.empty(2, in_channels, side, side, device="meta"))
    gradients: tuple[Tensor | None, ...] = torch.autograd.grad(
        maps, parameters, torch.empty_like(maps), allow_unused=True
    )
    unused = [name for name, gradient in zip(names, gradients, strict=True) if gradient is None]
    width = getattr(network, "num_features", maps.shape[1])
    return int(width), unused


def parts_of(network: nn.Module, prefix: str) -> tuple[tuple[str, ...], ...]:
    """Names of the parts with weights in the order they are made, the members of lists and chains one by one."""
    parts: list[str] = []
    for name, child in network.named_children():
        members = child.named_children() if isinstance(child, nn.Sequential | nn.ModuleList) else [("", child)]
        for member, module in members:
            if next(module.parameters(), None) is not None:
                parts.append(f"{prefix}{name}.{member}".removesuffix("."))
    return tuple((part,) for part in parts)


def _chain(network: nn.Module, *names: str) -> nn.Sequential:
    chain = nn.Sequential()
    for name in names:
        chain.add_module(name, network.get_submodule(name))
    return chain


def _take_channels(network: nn.Module, in_channels: int) -> None:
    """Let the first convolution see other channels than RGB."""
    name, first = next(item for item in network.named_modules() if isinstance(item[1], nn.Conv2d))
    assert isinstance(first, nn.Conv2d)
    other = nn.Conv2d(
        in_channels,
        first.out_channels,
        cast("tuple[int, int]", first.kernel_size),
        cast("tuple[int, int]", first.stride),
        cast("tuple[int, int]", first.padding),
        bias=first.bias is not None,
    )
    network.set_submodule(name, other)
