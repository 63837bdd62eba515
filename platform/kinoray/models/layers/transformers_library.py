"""What networks of Hugging Face's transformers have in common: their sizes, their weights, and how to get them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError
from torch import Tensor

from kinoray.config.suggest import did_you_mean
from kinoray.errors import CheckpointError, ConfigError, ResourceError
from kinoray.models.weights import MIN_TRUNK_FRACTION, KeyRules, WeightsReport, rename_keys
from kinoray.video.files import without_passwords

if TYPE_CHECKING:
    from types import ModuleType

    from transformers import PreTrainedConfig

# What its configurations hold besides sizes.
_NO_SIZES = {"architectures", "dtype", "id2label", "label2id", "model_type", "num_labels", "transformers_version"}


def import_transformers() -> ModuleType:
    """The package.

    Raises:
        ResourceError: it is not installed.
    """
    try:
        import transformers
    except ModuleNotFoundError as error:
        raise ResourceError(
            f"transformers: networks of Hugging Face need the package, got {error}; pip install 'kinoray[transformers]'"
        ) from error
    module: ModuleType = transformers
    return module


def sizes_of(made: type[PreTrainedConfig], settings: Mapping[str, Any]) -> PreTrainedConfig:
    """A configuration of transformers.

    Raises:
        ConfigError: it has no such settings, or not with these values.
    """
    from huggingface_hub.errors import StrictDataclassError

    known = made().to_dict()
    for name, value in settings.items():
        _check_known(f"model.settings.{name}", name, known)
        if isinstance(value, Mapping) and isinstance(known[name], Mapping):
            for inner in value:
                _check_known(f"model.settings.{name}.{inner}", inner, known[name])
    try:
        return made(**settings)
    except (StrictDataclassError, TypeError, ValueError) as error:
        raise ConfigError(f"model.settings: do not make a {made.__name__}, got {error}") from error


def pretrained_sizes(made: type[PreTrainedConfig], source: str) -> PreTrainedConfig:
    """The configuration of pretrained weights.

    Args:
        made: its class.
        source: a folder, or a name on Hugging Face's hub.

    Raises:
        CheckpointError: there is none, or it is of another network.
    """
    where = f"model.pretrained: {without_passwords(source)}"
    try:
        values, _ = made.get_config_dict(source)
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{where}: cannot be read, got {error}") from error
    found = values.get("model_type", "no config.json that names a network")
    if found != made.model_type:
        raise CheckpointError(f"{where}: got {found}, should be {made.model_type}; set model.network or another place")
    return made.from_dict(values)


def settings_of(sizes: PreTrainedConfig) -> dict[str, Any]:
    """The settings that lead to a configuration."""
    usual = type(sizes)().to_dict()
    values = _only_sizes(sizes.to_dict())
    return {name: value for name, value in values.items() if name in usual and usual[name] != value}


def read_pretrained(
    made: Any, source: str, sizes: PreTrainedConfig, rules: KeyRules, *, head: str = ""
) -> tuple[Any, WeightsReport]:
    """A network with its pretrained weights, in float32; what they lack or hold in another shape stays fresh.

    Args:
        made: its class.
        source: a folder, or a name on Hugging Face's hub.
        sizes: its configuration.
        rules: from its names to the recognizer's, for the report.
        head: prefix of the names that depend on K.

    Raises:
        CheckpointError: they cannot be read, or are too few.
    """
    where = f"model.pretrained: {without_passwords(source)}"
    try:
        network, found = made.from_pretrained(
            source, config=sizes, dtype=torch.float32, ignore_mismatched_sizes=True, output_loading_info=True
        )
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise CheckpointError(f"{where}: weights cannot be read, got {error}") from error
    fresh = dict.fromkeys(found["missing_keys"], "not in the file")
    fresh |= {
        name: f"{_shape(given)} in the file, {_shape(here)} here" for name, given, here in found["mismatched_keys"]
    }
    trunk = {name: value.numel() for name, value in network.named_parameters() if not (head and name.startswith(head))}
    share = sum(count for name, count in trunk.items() if name not in fresh) / max(sum(trunk.values()), 1)
    if share < MIN_TRUNK_FRACTION:
        raise CheckpointError(f"{where}: weights fit {share:.0%} of {made.__name__}; they belong to another network")
    names = dict(zip(network.state_dict(), _renamed(network.state_dict(), rules), strict=True))
    loaded = tuple(new for old, new in names.items() if old not in fresh)
    told = {new: fresh[old] for old, new in names.items() if old in fresh}
    unused = tuple(sorted(found["unexpected_keys"]))
    return network, WeightsReport(where, "Hugging Face", loaded, (), told, unused)


def check_size(sizes: Any, clips: Tensor) -> None:
    """See that there are positions for ``(B, C, T, H, W)`` views.

    Raises:
        ConfigError: there are not.
    """
    side = sizes.image_size
    height, width = (side, side) if isinstance(side, int) else side
    wanted, got = (sizes.num_frames, height, width), tuple(clips.shape[2:])
    if got != wanted:
        raise ConfigError(
            f"model: {sizes.model_type} has positions for views of {_shape(wanted)}, got {_shape(got)}; set the "
            "sampling's number of frames and the crop"
        )


def _check_known(where: str, name: str, known: Mapping[str, Any]) -> None:
    if name not in known:
        raise ConfigError(f"{where}: transformers knows no such setting{did_you_mean(name, known)}")


def _only_sizes(values: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: _only_sizes(value) if isinstance(value, Mapping) else value
        for name, value in values.items()
        if name not in _NO_SIZES
    }


def _renamed(state_dict: Mapping[str, Tensor], rules: KeyRules) -> list[str]:
    return list(rename_keys(state_dict, rules))


def _shape(sizes: Iterable[int]) -> str:
    return "x".join(map(str, sizes))
