"""Optimizers and their configurations."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field, model_validator

from kinoray.config.kinds import KindConfig, KindTable
from kinoray.param_groups import GroupRule, Net, parameter_groups

if TYPE_CHECKING:
    from torch.optim import Optimizer


Beta = Annotated[float, Field(ge=0, lt=1)]


class OptimizerConfig(KindConfig):
    """How weights follow gradients."""

    lr: float = Field(gt=0)
    """Before the schedule's factors."""
    base_batch_size: int | None = Field(None, gt=0)
    """The global batch that ``lr`` is meant for: with a batch of another size it is scaled in proportion."""
    weight_decay: float = Field(0.0, ge=0)
    groups: tuple[GroupRule, ...] = ()
    """Rules for parameters that learn or decay otherwise, e.g. ``{of: norm, decay_factor: 0}``."""
    layer_decay: float | None = Field(None, gt=0, le=1)
    """Factor of the learning rate from each stage of the model to the one before it."""

    def scaled_lr(self, batch_size: int) -> float:
        """``lr`` for so many videos an optimizer step. Source: arXiv 1706.02677."""
        return self.lr if self.base_batch_size is None else self.lr * batch_size / self.base_batch_size

    @abstractmethod
    def build(self, net: Net) -> Optimizer:
        """Make the optimizer of a model's parameters, in the groups that ``parameter_groups`` gives.

        Training sets the groups' rates anew at every step, by schedule and batch size.

        Raises:
            ConfigError: the groups do not fit the model.
        """

    def parameter_groups(self, net: Net) -> list[dict[str, Any]]:
        """Torch's parameter groups, each with its rate, decay, and ``lr_factor``."""
        return parameter_groups(
            net, self.groups, lr=self.lr, weight_decay=self.weight_decay, layer_decay=self.layer_decay
        )


class SGDConfig(OptimizerConfig):
    """Stochastic gradient descent with momentum; decay is coupled, as in torch."""

    kind: str = "sgd"
    momentum: float = Field(0.9, ge=0, lt=1)
    nesterov: bool = False

    @model_validator(mode="after")
    def _nesterov_has_momentum(self) -> SGDConfig:
        if self.nesterov and self.momentum == 0:
            raise ValueError("nesterov, got true with momentum 0; it should be false, or momentum above 0")
        return self

    def build(self, net: Net) -> Optimizer:
        from torch.optim import SGD

        return SGD(self.parameter_groups(net), lr=self.lr, momentum=self.momentum, nesterov=self.nesterov)


class AdamConfig(OptimizerConfig):
    """Adam; decay is coupled, as in torch. Source: arXiv 1412.6980."""

    kind: str = "adam"
    betas: tuple[Beta, Beta] = (0.9, 0.999)
    eps: float = Field(1e-8, gt=0)

    def build(self, net: Net) -> Optimizer:
        from torch.optim import Adam

        return Adam(self.parameter_groups(net), lr=self.lr, betas=self.betas, eps=self.eps)


class AdamWConfig(OptimizerConfig):
    """Adam with decoupled decay. Source: arXiv 1711.05101."""

    kind: str = "adamw"
    betas: tuple[Beta, Beta] = (0.9, 0.999)
    eps: float = Field(1e-8, gt=0)

    def build(self, net: Net) -> Optimizer:
        from torch.optim import AdamW

        return AdamW(self.parameter_groups(net), lr=self.lr, betas=self.betas, eps=self.eps)


OPTIMIZERS = KindTable(
    what="optimizer",
    base=OptimizerConfig,
    kinds={
        "sgd": "kinoray.optim:SGDConfig",
        "adam": "kinoray.optim:AdamConfig",
        "adamw": "kinoray.optim:AdamWConfig",
    },
)
AnyOptimizer = Annotated[OptimizerConfig, OPTIMIZERS]
