"""A small recipe with everything a real one may hold: kinds, unions, options, lists, dictionaries, own checks."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator
from pydantic_core import PydanticCustomError

from kinoray.config.base import Config
from kinoray.config.kinds import KindConfig, KindTable


class Net(KindConfig):
    num_classes: int = Field(gt=0)
    """K, the number
    of scores."""
    mean: Annotated[tuple[float, ...], Field(min_length=1)] = (1.0, 2.5)


class SlowFast(Net):
    kind: str = "slowfast"
    depth: Literal[18, 50, 101] = 50
    dropout: float = Field(0.5, ge=0, lt=1)


class TSN(Net):
    kind: str = "tsn"
    num_segments: int = Field(8, multiple_of=2)


class UserNet(Net):
    """What a user would write; no table names it."""

    kind: str = "toy_recipe:UserNet"
    width: int = 64


NETS = KindTable("model", Net, {"slowfast": "toy_recipe:SlowFast", "tsn": "toy_recipe:TSN"})
AnyNet = Annotated[Net, NETS]


class Optimizer(KindConfig):
    lr: float = Field(gt=0)


class SGD(Optimizer):
    kind: str = "sgd"
    momentum: float = Field(0.9, ge=0, le=1)
    nesterov: bool = False

    @field_validator("momentum")
    @classmethod
    def _not_half(cls, value: float) -> float:
        if value == 0.5:
            raise ValueError("should not be a half {braces}")
        return value


class AdamW(Optimizer):
    kind: str = "adamw"
    betas: tuple[float, float] = (0.9, 0.999)


OPTIMIZERS = KindTable("optimizer", Optimizer, {"sgd": "toy_recipe:SGD", "adamw": "toy_recipe:AdamW"}, default="sgd")
AnyOptimizer = Annotated[Optimizer, OPTIMIZERS]


class Range(Config):
    low: float
    high: float


class Choice(Config):
    options: tuple[float, ...]


class Stage(Config):
    end: int
    factor: float | Range | Choice = 1.0


class Training(Config):
    epochs: int = Field(gt=0)
    precision: Literal["fp32", "bf16"] = "fp32"
    clip_norm: float | None = None
    init_from: Path | None = None
    note: str = Field("", max_length=40)

    @model_validator(mode="after")
    def _bf16_is_clipped(self) -> "Training":
        if self.precision == "bf16" and self.clip_norm is None:
            raise PydanticCustomError("clip", "bf16 needs clip_norm; {why}", {"why": "its sums are coarse"})
        return self


class Recipe(Config):
    name: str = "toy"
    seed: int = Field(0, ge=0)
    model: AnyNet
    teacher: AnyNet | None = None
    optimizer: AnyOptimizer = SGD(lr=0.1)
    schedule: tuple[Stage, ...] = ()
    views: list[tuple[int, int]] = Field(default_factory=lambda: [(1, 2)])
    pair: tuple[Range, Training] | None = None
    multipliers: dict[str, float] = Field(default_factory=dict)
    stages: dict[str, Range] = Field(default_factory=dict)
    training: Training = Training(epochs=1)

    @model_validator(mode="after")
    def _seeds_are_not_unlucky(self) -> "Recipe":
        if self.seed == 13:
            raise ValueError("seed 13 is unlucky; take 14")
        return self
