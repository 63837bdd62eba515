"""Optimizers and their configurations."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated

from pydantic import Field, model_validator

from kinoray.config.kinds import KindConfig, KindTable

if TYPE_CHECKING:
    from torch.nn import Parameter
    from torch.optim import Optimizer


Beta = Annotated[float, Field(ge=0, lt=1)]


class OptimizerConfig(KindConfig):
    """How weights follow gradients."""

    lr: float = Field(gt=0)
    """Before the schedule's factors."""
    weight_decay: float = Field(0.0, ge=0)

    @abstractmethod
    def build(self, parameters: Iterable[Parameter]) -> Optimizer:
        """Make the optimizer of these parameters."""


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

    def build(self, parameters: Iterable[Parameter]) -> Optimizer:
        from torch.optim import SGD

        return SGD(
            parameters, lr=self.lr, momentum=self.momentum, weight_decay=self.weight_decay, nesterov=self.nesterov
        )


class AdamWConfig(OptimizerConfig):
    """Adam with decoupled decay. Source: arXiv 1711.05101."""

    kind: str = "adamw"
    betas: tuple[Beta, Beta] = (0.9, 0.999)
    eps: float = Field(1e-8, gt=0)

    def build(self, parameters: Iterable[Parameter]) -> Optimizer:
        from torch.optim import AdamW

        return AdamW(parameters, lr=self.lr, betas=self.betas, eps=self.eps, weight_decay=self.weight_decay)


OPTIMIZERS = KindTable(
    what="optimizer",
    base=OptimizerConfig,
    kinds={"sgd": "kinoray.optim:SGDConfig", "adamw": "kinoray.optim:AdamWConfig"},
)
AnyOptimizer = Annotated[OptimizerConfig, OPTIMIZERS]
