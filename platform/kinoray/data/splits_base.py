"""What every split of a recipe is told, whatever it is of: pictures, skeletons or sound."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from pydantic import Field

from kinoray.config.kinds import KindConfig
from kinoray.data.float_views import FloatView, FloatViews
from kinoray.data.sources import AnySource
from kinoray.transforms.kinds import AnyAugmentation

if TYPE_CHECKING:
    from kinoray.data.rows import PlanRow


class TrainBase(KindConfig):
    """Recordings to train on."""

    source: AnySource
    batch_size: int = Field(gt=0)
    """Videos of one optimizer step over ALL workers, each with as many views as are drawn of it."""


class EvalBase(KindConfig):
    """Recordings to score."""

    source: AnySource | None = None
    """Default, for ``data.test`` only: the source of ``data.val``."""
    batch_size: int = Field(8, gt=0)
    """Videos scored at a time on one worker."""

    def mirrors(self) -> str:
        """The setting by which some views are mirrored, and what would be right; empty where none are."""
        return ""


class FloatTrainSplit(FloatView, TrainBase):
    """Base of what is trained on where it is no picture."""

    @property
    def augment(self) -> tuple[AnyAugmentation, ...]:
        """None: augmentations change pixels."""
        return ()

    def float_shape(self) -> tuple[int, ...]:
        return self.shape_of(*self.sampling.shape(is_training=True))

    def take(self, row: PlanRow, name: str) -> FloatViews:
        return self.views(row, name, np.random.default_rng(row["clip_seed"]))


class FloatEvalSplit(FloatView, EvalBase):
    """Base of what is scored where it is no picture; nothing is random."""

    def float_shape(self) -> tuple[int, ...]:
        return self.shape_of(*self.sampling.shape(is_training=False))

    def take(self, row: PlanRow, name: str) -> FloatViews:
        return self.views(row, name, None)
