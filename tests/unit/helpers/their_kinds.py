"""What docs/examples/my_package has no example of: splits, a sampling, a box, an optimizer, a loss of the user's."""

import numpy as np
import torch
from pydantic import model_validator
from torch import Tensor

from kinoray.data.config import EvalSplit, TrainSplit
from kinoray.losses import LossConfig
from kinoray.optim import OptimizerConfig
from kinoray.transforms.crop_boxes import BoxConfig
from kinoray.video.frames import Box
from kinoray.video.sampling import SamplingConfig

CALLED: set[str] = set()


class OwnTrain(TrainSplit):
    kind: str = "their_kinds:OwnTrain"

    @model_validator(mode="after")
    def _is_told(self):
        CALLED.add("train split")
        return self


class OwnViews(EvalSplit):
    kind: str = "their_kinds:OwnViews"

    @model_validator(mode="after")
    def _is_told(self):
        CALLED.add("val split")
        return self


class FirstFrames(SamplingConfig):
    kind: str = "their_kinds:FirstFrames"
    clip_len: int

    def indices(self, num_frames, fps, rng):
        CALLED.add("sampling")
        return np.arange(self.clip_len)[None] % num_frames


class TopLeft(BoxConfig):
    kind: str = "their_kinds:TopLeft"

    def draw(self, height, width, crop, rng):
        CALLED.add("box")
        return Box(0, 0, min(height, width), min(height, width))


class Signs(OptimizerConfig):
    kind: str = "their_kinds:Signs"

    def build(self, net):
        CALLED.add("optimizer")
        return torch.optim.Rprop(self.parameter_groups(net), lr=self.lr)


class Hinge(LossConfig):
    kind: str = "their_kinds:Hinge"

    def per_sample(self, logits: Tensor, targets: Tensor) -> Tensor:
        CALLED.add("loss")
        return torch.nn.functional.multi_margin_loss(logits.float(), targets, reduction="none")
