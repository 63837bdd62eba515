"""What a recipe's network costs on the recipe's own views; nothing is read and nothing computed but shapes."""

from dataclasses import dataclass

import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from kinoray.data.float_views import FloatView
from kinoray.data.views import TrainView, View
from kinoray.errors import ConfigError
from kinoray.models.base import Recognizer
from kinoray.models.cost import ForwardCost, TrainingCost, forward_cost, num_parameters, training_cost
from kinoray.models.kinds import ModelConfig, RecognizerConfig
from kinoray.recipe import Recipe
from kinoray.train.world import World
from kinoray.train.wrapping import prepare, wrap

NUM_VIDEOS = 2
"""Trained on at a time to learn what one takes: batch norms may refuse a single one."""


@dataclass(frozen=True)
class SplitCost:
    """Of one video of a split.

    Attributes:
        split: ``train``, ``val`` or ``test``.
        shape: ``(M, C, T, H, W)``, or ``(M, ...)`` of what is no picture.
        view: of one of its M views.
        video: of all of them at once, scored in fp32.
    """

    split: str
    shape: tuple[int, ...]
    view: ForwardCost
    video: ForwardCost


@dataclass(frozen=True)
class Description:
    """What a recipe's network costs.

    Attributes:
        num_parameters: of all.
        num_trained: of those that are not frozen.
        splits: those that the recipe names views for.
        training: a step on one video, by the recipe's precision, freezing and recomputing.
    """

    num_parameters: int
    num_trained: int
    splits: tuple[SplitCost, ...]
    training: TrainingCost


def view_shapes(recipe: Recipe) -> dict[str, tuple[int, ...]]:
    """Split -> ``(M, C, T, H, W)`` or ``(M, ...)`` of one video's views, for the splits that the recipe names."""
    splits = {"train": recipe.data.train, "val": recipe.data.val, "test": recipe.data.test}
    num_channels = len(recipe.model.mean) if isinstance(recipe.model, ModelConfig) else 3
    return {name: _view_shape(split, num_channels) for name, split in splits.items() if split is not None}


def _view_shape(split: View, num_channels: int) -> tuple[int, ...]:
    if isinstance(split, FloatView):
        return split.model_shape()
    is_training = isinstance(split, TrainView)
    num_clips, clip_len = split.sampling.shape(is_training=is_training)
    num_views = num_clips * (split.repeats if isinstance(split, TrainView) else split.num_crops)
    return num_views, num_channels, clip_len, split.crop, split.crop


def describe_model(recipe: Recipe) -> Description:
    """Build the recipe's network without data and pass its views through.

    Raises:
        ConfigError: the model does not take the recipe's views.
    """
    shapes, training = view_shapes(recipe), recipe.training
    dtype = torch.float32 if isinstance(recipe.data.train, FloatView) else torch.uint8
    model = shapes_only(recipe.model)
    with FakeTensorMode(allow_non_fake_inputs=True):
        model.to_empty(device="cpu")
        total = num_parameters(model)
        splits = []
        try:
            for split, shape in shapes.items():
                view, video = (forward_cost(model, _clips(1, (m, *shape[1:]), dtype)) for m in (1, shape[0]))
                splits.append(SplitCost(split, shape, view, video))
            prepare(model, training, World())
            wrap(model, None, training.model_copy(update={"compile": None}), World())
            step = training_cost(
                model.train(), _clips(NUM_VIDEOS, shapes["train"], dtype), precision=training.precision
            )
        except (RuntimeError, ValueError) as error:
            why = str(error).partition("\n")[0]
            raise ConfigError(
                f"recipe {recipe.name}: its model does not take its views "
                f"({', '.join(f'{split} {shape}' for split, shape in shapes.items())}): {why}"
            ) from error
    of_one = TrainingCost(step.saved_bytes // NUM_VIDEOS, step.peak_bytes // NUM_VIDEOS)
    num_trained = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    return Description(total, num_trained, tuple(splits), of_one)


def shapes_only(config: RecognizerConfig) -> Recognizer:
    """The network without memory for its parameters, in eval mode."""
    config = config.without_pretrained()
    try:
        with torch.device("meta"):
            return config.build().eval()
    except (RuntimeError, NotImplementedError):  # users' networks may look at values as they are made
        return config.build().eval()


def _clips(num_videos: int, shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
    return torch.zeros((num_videos, *shape), dtype=dtype)
