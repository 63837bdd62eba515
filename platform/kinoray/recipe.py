"""A recipe: everything that decides what is computed, and nothing about where."""

import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, ParamSpec, Self, TypeVar

from pydantic import Field, PrivateAttr, model_validator

from kinoray.callbacks import AnyCallback
from kinoray.config.base import Config
from kinoray.config.kinds import failure
from kinoray.config.layers import Layered, from_values, override, read_layers, replace_values
from kinoray.config.problems import validate
from kinoray.config.text import describe, flatten, to_yaml
from kinoray.data.config import TRAIN_SPLITS, DataConfig
from kinoray.losses import AnyLoss, CrossEntropyConfig
from kinoray.metric_kinds import AnyMetric
from kinoray.metrics import TOP_K
from kinoray.mmaction2.translate import recipe_values
from kinoray.models.kinds import AnyModel
from kinoray.optim import AnyOptimizer
from kinoray.param_groups import NamePattern
from kinoray.schedules import AnySchedule, lr_factor
from kinoray.transforms.kinds import MixConfig

Average = Literal["probability", "score"]
Given = ParamSpec("Given")
T = TypeVar("T")


class DDPConfig(Config):
    """How workers add up their gradients, where each has the whole model."""

    find_unused_parameters: bool = False
    """For a model of which some parameters take no part in some steps; costs a walk through the graph every step."""
    bucket_mb: float | None = Field(None, gt=0)
    """Gradients are sent in buckets of this size, while earlier layers still compute theirs; None: 1, then 25 each."""
    send_bf16: bool = False
    """Halves what is sent, and rounds it to 3 digits: for slow networks between nodes."""


class TrainingConfig(Config):
    """How long and how to train."""

    epochs: int = Field(gt=0)
    clip_grad_norm: float | None = Field(None, gt=0)
    """Largest norm of the gradient over all parameters; larger ones are scaled down to it."""
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    """bf16, fp16: forward and loss under autocast; weights and optimizer stay in fp32. fp16 scales its gradients."""
    micro_batches: int = Field(1, gt=0)
    """Parts in which a worker takes its share of a batch, to need less memory; gradients add up over them."""
    freeze: tuple[NamePattern, ...] = ()
    """Parameters that are not trained, by name; parts without any others stay in evaluation mode, batch norms too."""
    ema_decay: float | None = Field(None, gt=0, lt=1)
    """Keep a moving average of the weights, e.g. 0.9998: it is what is evaluated and kept."""
    mix: MixConfig | None = None
    """Mix videos of a batch with one another, and their labels (mixup, cutmix)."""
    sync_batch_norm: bool = False
    """Batch norms use the statistics of the global batch, not of each worker's share; several workers need GPUs."""
    precise_batch_norm: int | None = Field(None, gt=0)
    """Before each evaluation, measure the statistics of batch norms anew on so many global batches."""
    compile: Literal["default", "reduce-overhead", "max-autotune"] | None = None
    """torch.compile's mode: fuses kernels for speed, after a first step that takes minutes."""
    activation_checkpointing: bool = False
    """Keep only what goes into each block and compute the rest again: much less memory, 20 to 45 % more time."""
    channels_last: bool = False
    """Weights of convolutions with channels innermost in memory, as GPUs with tensor cores like them."""
    ddp: DDPConfig = DDPConfig()
    sharding: Literal["none", "full"] = "none"
    """full: weights, gradients and optimizer are split over the workers (FSDP2), for models too large for one."""
    init_from: str | None = None
    """Weights to start from: a run, a checkpoint folder, .safetensors, .pth, a URL or torchvision://resnet50; the head
    is left out where K differs. ``#sha256=...`` after a file is checked."""
    keep_best: int = Field(1, gt=0)
    """Checkpoints kept besides the last one, by ``evaluation.monitor``."""
    checkpoint_every_steps: int | None = Field(None, gt=0)
    """Checkpoints within an epoch, besides the one at its end: no more than these steps are lost with a process."""
    on_divergence: Literal["stop", "roll_back"] = "stop"
    """What to do where a loss is no number: end, or go on from the last checkpoint without that batch."""
    log_every_steps: int = Field(10, gt=0)

    @model_validator(mode="after")
    def _goes_together(self) -> Self:
        refused = {
            "precision fp16, whose overflows each worker would see alone": self.precision == "fp16",
            "channels_last, which it would undo": self.channels_last,
            "ddp, which it takes the place of": self.ddp != DDPConfig(),
        }
        if self.sharding == "full" and any(refused.values()):
            found = next(name for name, is_set in refused.items() if is_set)
            raise ValueError(f"sharding, got full with {found}; leave one of the two out")
        # A known limit of torch: pytorch/pytorch issue 169545.
        if self.compile not in (None, "default") and self.micro_batches > 1:
            raise ValueError(
                f"compile, got {self.compile} with micro_batches {self.micro_batches}; it should be default, for CUDA "
                "graphs write the gradients of a part over those of the part before"
            )
        return self


class EvaluationConfig(Config):
    """How views become scores and scores become a decision."""

    every_epochs: int = Field(1, gt=0)
    """The last epoch is always evaluated."""
    average: Average = "probability"
    """Views are averaged after (probability) or before (score) the softmax; with ``data.multi_label``, the sigmoid."""
    metrics: tuple[AnyMetric, ...] = ()
    """Metrics of yours, besides those that are always measured."""
    monitor: str = "top1"
    """The metric of ``data.val`` by which checkpoints are ranked; of ``loss`` and ``calibration_error`` less is better,
    of the others more."""
    temporal_probe: bool = False
    """Score the last epoch's model also with shuffled, reversed and single frames."""

    def is_due(self, epoch: int, num_epochs: int) -> bool:
        """Whether an epoch, counted from 0, ends with an evaluation."""
        return epoch == num_epochs - 1 or (epoch + 1) % self.every_epochs == 0


def measured(num_classes: int, *, multi_label: bool) -> tuple[str, ...]:
    """What every evaluation measures."""
    if multi_label:
        return "top1", "mean_average_precision", "mmit_mean_average_precision", "loss"
    top5 = ("top5",) if num_classes > TOP_K else ()
    return "top1", *top5, "mean_class_accuracy", "calibration_error", "loss"


class Recipe(Config):
    """Model, data, optimization and evaluation of one experiment."""

    name: str = Field("recipe", min_length=1, pattern=r"^[^./\\?][^/\\?]*$")
    """Runs have folders of this name in the site's storage; default: the recipe file's name."""
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
    callbacks: tuple[AnyCallback, ...] = ()
    """Code of yours that runs in training, in this order."""

    _layered: Layered = PrivateAttr(default_factory=lambda: Layered({}, {}))

    @property
    def measured(self) -> tuple[str, ...]:
        """What an evaluation measures, metrics of the user's included."""
        always = measured(self.model.num_classes, multi_label=self.data.multi_label)
        return (*always, *(name for metric in self.evaluation.metrics for name in metric.names()))

    @model_validator(mode="after")
    def _metrics_have_names(self) -> Self:
        known = set(measured(self.model.num_classes, multi_label=self.data.multi_label))
        for number, metric in enumerate(self.evaluation.metrics):
            place = f"evaluation.metrics.{number} ({metric.kind})"
            names = _asked(place, metric.names)
            if not isinstance(names, tuple):  # letters of a word would do as names
                raise ValueError(f"{place}: names, got {names!r}; it should give a tuple")  # noqa: TRY004
            for name in names:
                if name in known or not re.fullmatch(r"\w+", str(name), re.ASCII):
                    raise ValueError(
                        f"{place}, got the name '{name}'; it should be a word of letters, digits and underscores other "
                        f"than {', '.join(sorted(known))}"
                    )
                known.add(name)
        return self

    @model_validator(mode="after")
    def _monitor_is_measured(self) -> Self:
        names = self.measured
        if self.evaluation.monitor not in names:
            labels = ", several labels a video" if self.data.multi_label else ""
            raise ValueError(
                f"evaluation.monitor, got {self.evaluation.monitor} with {self.model.num_classes} classes{labels}; it "
                f"should be one of {', '.join(names)}"
            )
        return self

    @model_validator(mode="after")
    def _loss_takes_the_labels(self) -> Self:
        if self.data.multi_label and not self.loss.takes_several_labels:
            raise ValueError(
                f"loss, got {self.loss.kind} with data.multi_label: true; it should score every class on its own, as "
                "binary_cross_entropy does (a loss of yours says so by takes_several_labels = True)"
            )
        return self

    @model_validator(mode="after")
    def _model_takes_the_views(self) -> Self:
        wanted = self.model.views
        for name, split in (("train", self.data.train), ("val", self.data.val), ("test", self.data.test)):
            if wanted and split is not None and split.kind in TRAIN_SPLITS.kinds and split.kind != wanted:
                raise ValueError(f"data.{name}.kind, got {split.kind}; {self.model.kind} takes views of kind {wanted}")
        return self

    @model_validator(mode="after")
    def _callbacks_suit(self) -> Self:
        for number, callback in enumerate(self.callbacks):
            _asked(f"callbacks.{number} ({callback.kind})", callback.check, self)
        return self

    def __eq__(self, other: object) -> bool:
        """Equal in what is computed, whoever set it."""
        return isinstance(other, Recipe) and self.yaml() == other.yaml()

    def __hash__(self) -> int:
        return hash(self.yaml())

    @classmethod
    def load(cls, path: str | Path, overrides: Sequence[str] = ()) -> Self:
        """Read a recipe file, its bases and overrides such as ``optimizer.lr=0.01``; also a config of MMAction2 1.x.

        Raises:
            ConfigError: lists every problem with what set it.
        """
        if Path(path).suffix == ".py":
            return cls.from_layers(recipe_values(path, overrides), f"recipe {path}")
        layered = read_layers(path)
        if "name" not in layered.values:
            layered = replace_values(layered, {"name": Path(path).stem}, "the file's name")
        return cls.from_layers(override(layered, overrides), f"recipe {path}")

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any], origin: str) -> Self:
        """Validate a nested mapping, e.g. one that ``Recipe.yaml`` wrote."""
        return cls.from_layers(from_values(values, origin), f"recipe {origin}")

    @classmethod
    def from_layers(cls, layered: Layered, what: str) -> Self:
        """Validate values of which each has its origin; ``what`` they are begins the message.

        Raises:
            ConfigError: lists every problem with what set it.
        """
        recipe = validate(cls, layered, what)
        recipe._layered = layered  # noqa: SLF001 - its own class
        return recipe

    def replace(self, values: Mapping[str, Any], origin: str = "replace") -> Self:
        """A validated copy with dotted paths set, e.g. ``{"optimizer.lr": 0.1}``."""
        base = self._layered if self._layered.values else from_values(self.model_dump(mode="json"), "code")
        return self.from_layers(replace_values(base, values, origin), f"recipe {self.name}")

    @property
    def scaled_lr(self) -> float:
        """The learning rate before the schedule's factors, for the recipe's batch size."""
        return self.optimizer.scaled_lr(self.data.train.batch_size)

    def lr(self, epoch: float, steps_per_epoch: int = 100) -> float:
        """The learning rate at a moment, in fractional epochs."""
        factor = lr_factor(
            self.schedule,
            int(epoch * steps_per_epoch),
            steps_per_epoch=steps_per_epoch,
            num_epochs=self.training.epochs,
        )
        return self.scaled_lr * factor

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


def _asked(place: str, method: Callable[Given, T], *arguments: Given.args, **named: Given.kwargs) -> T:
    """What a method of the user's answers; a ValueError that names its place where it raises."""
    try:
        return method(*arguments, **named)
    except ValueError as error:
        raise ValueError(f"{place}: {error}") from error
    except Exception as error:
        raise ValueError(f"{place}: {method.__name__} raised {failure(error)}") from error
