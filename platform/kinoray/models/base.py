"""What every recognizer is: views in, one row of logits per view out.

Views are uint8 pictures ``(C, T, H, W)``, or floats: heatmaps ``(C, T, H, W)``, skeletons ``(P, T, V, C)`` of P persons
with V joints, or spectrograms ``(1, T, F)`` of F bands.

Shape legend of the whole project: N videos, M views of a video (clips x crops), C channels, T frames, H W pixels,
K classes, L tokens, D width.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Self

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from kinoray.models.weights import KeyRules, WeightsReport


class Normalize(nn.Module):
    """Grey levels to normalized floats. ``(B, C, T, H, W)`` uint8 or float -> the same shape, floating point.

    Mean and std are buffers, so a checkpoint and an export carry their own preprocessing; they are not part of the
    state dict of trained weights, because the recipe states them.
    """

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        shape = (-1, 1, 1, 1)
        self.register_buffer("mean", torch.tensor(mean).view(shape), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(shape), persistent=False)
        self.mean: Tensor
        self.std: Tensor

    def forward(self, clips: Tensor) -> Tensor:
        return (clips.to(self.mean.dtype) - self.mean) / self.std


class Recognizer(nn.Module, ABC):
    """Base of all recognizers.

    A family implements ``forward_features`` and ``forward_head``; everything a caller sees goes through ``forward``.

    Args:
        num_classes: K.
        mean: per channel, grey levels; none for views that are floats, which are taken as they are.
        std: per channel, grey levels.

    Attributes:
        weights_report: what became of the weights that it was started from, None for a random start.
        loss_weights: of the head's scores and, after it, of those of A auxiliary heads; only training asks them.
    """

    def __init__(self, *, num_classes: int, mean: Sequence[float] = (), std: Sequence[float] = ()) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.weights_report: WeightsReport | None = None
        self.loss_weights: tuple[float, ...] = (1.0,)
        self.normalize = Normalize(mean, std) if mean else nn.Identity()

    def forward(self, clips: Tensor) -> Tensor:
        """``(N, M, C, T, H, W)`` uint8, or N x M views of floats -> ``(N, M, K)`` logits; each view on its own.

        In training ``(N, M, 1 + A, K)`` where there are auxiliary heads, in the order of ``loss_weights``.
        """
        n, m = clips.shape[:2]
        features = self.forward_features(self.normalize(clips.flatten(0, 1)))
        scores = self.forward_head(features)
        return scores.reshape(n, m, *scores.shape[1:])

    def train(self, mode: bool = True) -> Self:
        """Switch to training or evaluation; parts of which no parameter is trained stay in evaluation."""
        super().train(mode)
        for module in self.modules() if mode else ():
            trained = [parameter.requires_grad for parameter in module.parameters()]
            if trained and not any(trained):
                module.eval()
        return self

    @abstractmethod
    def forward_features(self, clips: Tensor) -> Tensor:
        """``(B, C, T, H, W)`` normalized floats, or other views -> the family's feature map, B = N * M."""

    @abstractmethod
    def forward_head(self, features: Tensor) -> Tensor:
        """The family's feature map -> ``(B, K)`` logits, or ``(B, 1 + A, K)`` in training with auxiliary heads."""

    @abstractmethod
    def head(self) -> nn.Module:
        """The layers that depend on K; replaced, not loaded, when weights come from another label set."""

    def parts_by_depth(self) -> Sequence[Sequence[nn.Module]]:
        """The parts between input and head, in order, for a learning rate that decays with depth.

        What is in no stage and not in the head (tokens, positions) counts as before the first.
        """
        return ()

    def own_parts(self) -> Sequence[nn.Module]:
        """Parts that other networks' weights lack: a warm start need not find them."""
        return ()

    def key_rules(self) -> Mapping[str, KeyRules]:
        """Project -> the rules that turn the keys of its checkpoints into this module's, see ``weights.py``."""
        return {}

    def fit(self, name: str, value: Tensor) -> Tensor | None:  # noqa: ARG002
        """Make another network's tensor fit the parameter of that name in a warm start; None where nothing leads there.

        Asked for what is no kernel, such as tables of positions of other clips or pictures.
        """
        return None
