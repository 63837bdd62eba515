"""Losses per sample: the loop averages them over the global batch."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from kinoray.config.kinds import KindConfig, KindTable

if TYPE_CHECKING:
    from torch import Tensor


class LossConfig(KindConfig):
    """What training makes small."""

    @abstractmethod
    def per_sample(self, logits: Tensor, labels: Tensor) -> Tensor:
        """``(B, K)`` logits, ``(B,)`` int64 labels -> ``(B,)`` losses, at least float32."""


class CrossEntropyConfig(LossConfig):
    """Softmax cross-entropy."""

    kind: str = "cross_entropy"
    label_smoothing: float = Field(0.0, ge=0, lt=1)

    def per_sample(self, logits: Tensor, labels: Tensor) -> Tensor:
        from torch.nn.functional import cross_entropy

        return cross_entropy(logits.float(), labels, label_smoothing=self.label_smoothing, reduction="none")


LOSSES = KindTable(
    what="loss", base=LossConfig, kinds={"cross_entropy": "kinoray.losses:CrossEntropyConfig"}, default="cross_entropy"
)
AnyLoss = Annotated[LossConfig, LOSSES]
