"""Which parameters learn at which rate: rules by name and by role, and decay from layer to layer."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Literal, Protocol

from pydantic import AfterValidator, Field

from kinoray.config.base import Config
from kinoray.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from torch import nn
    from torch.nn import Parameter

Role = Literal["any", "bias", "norm", "vector", "head"]
_NUM_NAMES_SHOWN = 8


def _is_an_expression(text: str) -> str:
    try:
        re.compile(text)
    except re.error as error:
        raise ValueError(f"got '{text}', no regular expression ({error}); dots are escaped as in layer4\\.0") from None
    return text


NamePattern = Annotated[str, AfterValidator(_is_an_expression)]
"""Regular expression that is searched in the names of a model's parameters."""


class GroupRule(Config):
    """Factors for some of the model's parameters.

    What several rules say of one parameter multiplies: a rule for biases and one for the head meet in the head's bias.
    """

    of: Role = "any"
    """``bias``: those named so, of layers other than norms; ``norm``: all of normalization layers; ``vector``: those of
    at most one dimension; ``head``: all of the head."""
    match: NamePattern = ""
    """Searched in the parameter's name; empty matches all."""
    lr_factor: float = Field(1.0, ge=0)
    decay_factor: float = Field(1.0, ge=0)


class Net(Protocol):
    """What is asked of a model: ``kinoray.models.base.Recognizer`` has it."""

    def named_modules(self) -> Iterator[tuple[str, nn.Module]]: ...

    def named_parameters(self) -> Iterator[tuple[str, Parameter]]: ...

    def head(self) -> nn.Module: ...

    def parts_by_depth(self) -> Sequence[Sequence[nn.Module]]: ...


def freeze(net: Net, patterns: Sequence[str]) -> None:
    """Leave the parameters whose names match as they are: no gradients, in no group.

    Raises:
        ConfigError: a pattern fits no parameter, or together they fit all.
    """
    parameters = dict(net.named_parameters())
    for number, pattern in enumerate(patterns):
        found = [parameter for name, parameter in parameters.items() if re.search(pattern, name)]
        if not found:
            raise ConfigError(
                f"training.freeze.{number}: fits none of the model's parameters, got '{pattern}'; names are like "
                f"{', '.join(list(parameters)[:_NUM_NAMES_SHOWN])}"
            )
        for parameter in found:
            parameter.requires_grad = False
    if patterns and not any(parameter.requires_grad for parameter in parameters.values()):
        raise ConfigError(
            f"training.freeze: fits all of the model's parameters, got {', '.join(map(repr, patterns))}; leave "
            f"something to train, such as the head, {', '.join(list(parameters)[-2:])}"
        )


def parameter_groups(
    net: Net, rules: Sequence[GroupRule], *, lr: float, weight_decay: float, layer_decay: float | None
) -> list[dict[str, object]]:
    """Torch's parameter groups, each with its ``lr_factor`` besides; frozen parameters are in none.

    Args:
        net: the model.
        rules: what is said of some parameters.
        lr: of a parameter of which nothing is said.
        weight_decay: likewise.
        layer_decay: factor of the learning rate from each stage to the one before it; the head has factor 1. None: no
            such decay.

    Raises:
        ConfigError: a rule fits no parameter, or the model names no stages.
    """
    roles = _Roles(net)
    used = [False] * len(rules)
    groups: dict[tuple[float, float], list[Parameter]] = {}
    for name, parameter in net.named_parameters():
        lr_factor, decay_factor = _depth_factor(roles, name, layer_decay), 1.0
        for number, rule in enumerate(rules):
            if rule.of in roles.of(name, parameter) and re.search(rule.match, name):
                used[number] = True
                lr_factor *= rule.lr_factor
                decay_factor *= rule.decay_factor
        if parameter.requires_grad:
            groups.setdefault((lr_factor, decay_factor), []).append(parameter)
    if not all(used):
        number = used.index(False)
        rule = rules[number]
        raise ConfigError(
            f"optimizer.groups.{number}: fits none of the model's parameters, got of '{rule.of}' and match "
            f"'{rule.match}'; names are like {', '.join(roles.names[:_NUM_NAMES_SHOWN])}"
        )
    if not groups:
        raise ConfigError("model: all of its parameters are frozen, there is nothing to train")
    return [
        {"params": group, "lr": lr * lr_factor, "weight_decay": weight_decay * decay_factor, "lr_factor": lr_factor}
        for (lr_factor, decay_factor), group in groups.items()
    ]


class _Roles:
    """What each parameter of a model is."""

    def __init__(self, net: Net) -> None:
        self.names = [name for name, _ in net.named_parameters()]
        self._norms = {name for name, module in net.named_modules() if _is_norm(module)}
        names = {id(module): name for name, module in net.named_modules()}
        self._head = names[id(net.head())]
        self._stages = [[names[id(module)] for module in stage] for stage in net.parts_by_depth()]

    def of(self, name: str, parameter: Parameter) -> Iterable[Role]:
        owner, _, last = name.rpartition(".")
        yield "any"
        if owner in self._norms:
            yield "norm"
        elif last == "bias":
            yield "bias"
        if parameter.ndim <= 1:
            yield "vector"
        if _is_within(name, self._head):
            yield "head"

    def stage_of(self, name: str) -> tuple[int, int]:
        """Number of the stage, 0 for what comes before them all (tokens, positions); and the head's number."""
        if not self._stages:
            raise ConfigError("optimizer.layer_decay: this model does not name its stages; leave it out")
        num_stages = len(self._stages)
        if _is_within(name, self._head):
            return num_stages + 1, num_stages + 1
        found = (
            number for number, stage in enumerate(self._stages, 1) if any(_is_within(name, part) for part in stage)
        )
        return next(found, 0), num_stages + 1


def _depth_factor(roles: _Roles, name: str, layer_decay: float | None) -> float:
    if layer_decay is None:
        return 1.0
    stage, last = roles.stage_of(name)
    return float(layer_decay ** (last - stage))


def _is_within(name: str, module: str) -> bool:
    return not module or name.startswith(f"{module}.")


def _is_norm(module: nn.Module) -> bool:
    from torch import nn
    from torch.nn.modules.batchnorm import _NormBase

    return isinstance(module, (_NormBase, nn.GroupNorm, nn.LayerNorm, nn.LocalResponseNorm, nn.RMSNorm))
