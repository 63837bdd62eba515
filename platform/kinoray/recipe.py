"""A recipe: everything that decides what is computed, and nothing about where."""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, PrivateAttr, model_validator

from kinoray.config.base import Config
from kinoray.config.layers import Layered, from_values, override, read_layers, replace_values
from kinoray.config.problems import validate
from kinoray.config.text import describe, flatten, to_yaml
from kinoray.data.config import DataConfig
from kinoray.losses import AnyLoss, CrossEntropyConfig
from kinoray.models.kinds import AnyModel
from kinoray.optim import AnyOptimizer
from kinoray.schedules import AnySchedule, lr_factor
from kinoray.transforms.kinds import MixConfig

Average = Literal["probability", "score"]


class TrainingConfig(Config):
    """How long and how to train."""

    epochs: int = Field(gt=0)
    clip_grad_norm: float | None = Field(None, gt=0)
    """Largest norm of the gradient over all parameters; larger ones are scaled down to it."""
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    """bf16, fp16: forward and loss under autocast; weights and optimizer stay in fp32. fp16 scales its gradients."""
    micro_batches: int = Field(1, gt=0)
    """Parts in which a worker takes its share of a batch, to need less memory; gradients add up over them."""
    ema_decay: float | None = Field(None, gt=0, lt=1)
    """Keep a moving average of the weights, e.g. 0.9998: it is what is evaluated and kept."""
    mix: MixConfig | None = None
    """Mix videos of a batch with one another, and their labels (mixup, cutmix)."""
    init_from: str | None = None
    """Weights to start from: a run, a checkpoint folder, .safetensors or .pth; the head is left out where K differs."""
    keep_best: int = Field(1, gt=0)
    """Checkpoints kept besides the last one, by ``evaluation.monitor``."""
    log_every_steps: int = Field(10, gt=0)


class EvaluationConfig(Config):
    """How views become scores and scores become a decision."""

    every_epochs: int = Field(1, gt=0)
    """The last epoch is always evaluated."""
    average: Average = "probability"
    """Views are averaged after (probability) or before (score) the softmax."""
    monitor: Literal["top1", "top5", "mean_class_accuracy"] = "top1"
    """The metric of ``data.val`` by which checkpoints are ranked."""
    temporal_probe: bool = False
    """Score the last epoch's model also with shuffled, reversed and single frames."""

    def is_due(self, epoch: int, num_epochs: int) -> bool:
        """Whether an epoch, counted from 0, ends with an evaluation."""
        return epoch == num_epochs - 1 or (epoch + 1) % self.every_epochs == 0


class Recipe(Config):
    """Model, data, optimization and evaluation of one experiment."""

    name: str = Field("recipe", min_length=1)
    """Default: the recipe file's name."""
    seed: int = Field(0, ge=0)
    """Of weights, order and augmentation."""
    model: AnyModel
    data: DataConfig
    optimizer: AnyOptimizer
    schedule: tuple[AnySchedule, ...] = ()
    """Factors of the learning rate; they multiply."""
    loss: AnyLoss = CrossEntropyConfig()
    training: TrainingConfig
    evaluation: EvaluationConfig = EvaluationConfig()

    _layered: Layered = PrivateAttr(default_factory=lambda: Layered({}, {}))

    @model_validator(mode="after")
    def _monitor_is_measured(self) -> Self:
        if self.evaluation.monitor == "top5" and self.model.num_classes <= 5:
            raise ValueError(
                f"evaluation.monitor, got top5 with {self.model.num_classes} classes; it should be top1 or "
                "mean_class_accuracy, for top5 needs more than five"
            )
        return self

    def __eq__(self, other: object) -> bool:
        """Equal in what is computed, whoever set it."""
        return isinstance(other, Recipe) and self.yaml() == other.yaml()

    def __hash__(self) -> int:
        return hash(self.yaml())

    @classmethod
    def load(cls, path: str | Path, overrides: Sequence[str] = ()) -> Self:
        """Read a recipe file, its bases and overrides such as ``optimizer.lr=0.01``.

        Raises:
            ConfigError: lists every problem with what set it.
        """
        layered = read_layers(path)
        if "name" not in layered.values:
            layered = replace_values(layered, {"name": Path(path).stem}, "the file's name")
        return cls._validated(override(layered, overrides), f"recipe {path}")

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any], origin: str) -> Self:
        """Validate a nested mapping, e.g. one that ``Recipe.yaml`` wrote."""
        return cls._validated(from_values(values, origin), f"recipe {origin}")

    def replace(self, values: Mapping[str, Any], origin: str = "replace") -> Self:
        """A validated copy with dotted paths set, e.g. ``{"optimizer.lr": 0.1}``."""
        base = self._layered if self._layered.values else from_values(self.model_dump(mode="json"), "code")
        return self._validated(replace_values(base, values, origin), f"recipe {self.name}")

    @classmethod
    def _validated(cls, layered: Layered, what: str) -> Self:
        recipe = validate(cls, layered, what)
        recipe._layered = layered  # noqa: SLF001 - its own class
        return recipe

    def lr(self, epoch: float, steps_per_epoch: int = 100) -> float:
        """The learning rate at a moment, in fractional epochs."""
        factor = lr_factor(
            self.schedule,
            int(epoch * steps_per_epoch),
            steps_per_epoch=steps_per_epoch,
            num_epochs=self.training.epochs,
        )
        return self.optimizer.lr * factor

    def flat(self) -> dict[str, str | int | float | bool | None]:
        """Dotted path -> value of every leaf: the names of --set, of a sweep's space and of MLflow's params."""
        return flatten(self)

    def yaml(self) -> str:
        """The whole recipe, defaults included; ``Recipe.load`` reads it back to an equal one."""
        return to_yaml(self)

    def describe(self) -> str:
        """The whole recipe with the origin of each value."""
        return describe(self, self._layered.origins)

    def digest(self) -> str:
        """12 hex digits of everything in it."""
        return hashlib.sha256(self.yaml().encode()).hexdigest()[:12]
