"""Losses per sample: the loop averages them over the global batch.

Targets are labels ``(B,)`` int64, or shares of the classes ``(B, K)`` floats where videos are mixed or have several
labels.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field, PositiveFloat

from kinoray.config.kinds import KindConfig, KindTable
from kinoray.errors import ConfigError

if TYPE_CHECKING:
    from torch import Tensor


class LossConfig(KindConfig):
    """What training makes small."""

    takes_several_labels: ClassVar[bool] = False
    """Whether targets may hold several ones in a row, or none: every class is scored on its own, by a sigmoid."""

    @abstractmethod
    def per_sample(self, logits: Tensor, targets: Tensor) -> Tensor:
        """``(B, K)`` logits; ``(B,)`` int64 or ``(B, K)`` float targets -> ``(B,)`` losses, at least float32.

        Raises:
            ConfigError: settings that are given class by class do not fit K.
        """


class CrossEntropyConfig(LossConfig):
    """Softmax cross-entropy."""

    kind: str = "cross_entropy"
    label_smoothing: float = Field(0.0, ge=0, lt=1)
    class_weights: tuple[PositiveFloat, ...] | None = None
    """One a class, times a video's loss. The mean is over videos all the same: weights of mean 1 keep its size."""

    def per_sample(self, logits: Tensor, targets: Tensor) -> Tensor:
        from torch.nn.functional import cross_entropy

        weight = None if self.class_weights is None else _per_class(self.class_weights, logits, "class_weights")
        return cross_entropy(
            logits.float(), _floating(targets), weight, label_smoothing=self.label_smoothing, reduction="none"
        )


class BinaryCrossEntropyConfig(LossConfig):
    """A yes or no for every class on its own, averaged over classes: for videos with several labels."""

    takes_several_labels = True

    kind: str = "binary_cross_entropy"
    label_smoothing: float = Field(0.0, ge=0, lt=1)
    """s turns targets 1 and 0 into 1 - s/2 and s/2."""
    positive_weights: tuple[PositiveFloat, ...] | None = None
    """One a class, times the loss of its positives; negatives / positives of the class balances it."""

    def per_sample(self, logits: Tensor, targets: Tensor) -> Tensor:
        from torch.nn.functional import binary_cross_entropy_with_logits

        smooth = self.label_smoothing
        shares = one_hot(targets, logits.shape[1]) * (1 - smooth) + smooth / 2
        weight = (
            None if self.positive_weights is None else _per_class(self.positive_weights, logits, "positive_weights")
        )
        losses = binary_cross_entropy_with_logits(logits.float(), shares, pos_weight=weight, reduction="none")
        return losses.mean(dim=1)


class FocalConfig(LossConfig):
    """Cross-entropy that counts well-recognized videos less. Source: arXiv 1708.02002, its softmax form."""

    kind: str = "focal"
    gamma: float = Field(2.0, ge=0)
    """0 is cross-entropy."""

    def per_sample(self, logits: Tensor, targets: Tensor) -> Tensor:
        log_probs = logits.float().log_softmax(dim=1)
        shares = one_hot(targets, logits.shape[1])
        # At 0 the gradient of a power below 1 is infinite, and 0 times that is no number.
        doubts = (1 - log_probs.exp()).clamp(min=1e-12)
        return -(shares * doubts**self.gamma * log_probs).sum(dim=1)


def one_hot(targets: Tensor, num_classes: int) -> Tensor:
    """``(B,)`` labels -> ``(B, K)`` float32 shares; shares stay as they are."""
    if targets.ndim == 2:
        return targets.float()
    from torch.nn.functional import one_hot as hot

    return hot(targets, num_classes).float()


def _floating(targets: Tensor) -> Tensor:
    return targets.float() if targets.ndim == 2 else targets


def _per_class(values: tuple[float, ...], logits: Tensor, field: str) -> Tensor:
    if len(values) != logits.shape[1]:
        raise ConfigError(
            f"loss.{field}: {len(values)} numbers, model.num_classes is {logits.shape[1]}; give one for every class"
        )
    return logits.new_tensor(values).float()


LOSSES = KindTable(
    what="loss",
    base=LossConfig,
    kinds={
        "cross_entropy": "kinoray.losses:CrossEntropyConfig",
        "binary_cross_entropy": "kinoray.losses:BinaryCrossEntropyConfig",
        "focal": "kinoray.losses:FocalConfig",
    },
    default="cross_entropy",
)
AnyLoss = Annotated[LossConfig, LOSSES]
