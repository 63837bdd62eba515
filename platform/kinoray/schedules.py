"""Learning-rate schedules as pure functions of time; several multiply, as MMEngine's schedulers do.

Each gives a factor of the optimizer's ``lr``. Begin and end are in epochs whatever ``per`` is; ``per`` says whether the
factor moves at every optimizer step or once an epoch. Before its begin a schedule's factor is 1; after its last moment
it stays as it was there. Compared with MMEngine 0.10 over whole trainings; the one difference is by design: where a
schedule with ``min_factor`` above 0 overlaps another, MMEngine's recursion depends on both, here they multiply.
"""

import math
from abc import abstractmethod
from collections.abc import Sequence
from typing import Annotated, Literal, NamedTuple

from pydantic import Field, NonNegativeFloat, model_validator

from kinoray.config.kinds import KindConfig, KindTable


class Moment(NamedTuple):
    """A moment of a schedule's life, counted in steps or epochs as its ``per`` says."""

    time: int
    """Since the schedule's begin; 0 <= time < length."""
    length: int
    """From the schedule's begin to its end."""
    epoch_length: int
    """Of one epoch: 1 where ``per`` is epoch."""


class ScheduleConfig(KindConfig):
    """A factor of the learning rate between two moments of training."""

    per: Literal["step", "epoch"] = "epoch"
    """When the factor moves."""
    begin: float = Field(0, ge=0)
    """In epochs."""
    end: float | None = Field(None, gt=0)
    """In epochs; default: the end of training."""

    @model_validator(mode="after")
    def _begins_before_it_ends(self) -> "ScheduleConfig":
        if self.end is not None and self.end <= self.begin:
            raise ValueError(f"end, got {self.end:g}; it should be after begin ({self.begin:g})")
        return self

    @abstractmethod
    def factor(self, at: Moment) -> float:
        """The factor at a moment."""


class LinearSchedule(ScheduleConfig):
    """From one factor to another in a straight line: the usual warm-up."""

    kind: str = "linear"
    start_factor: float = Field(1 / 3, ge=0)
    end_factor: float = Field(1.0, ge=0)

    @model_validator(mode="after")
    def _has_two_moments(self) -> "LinearSchedule":
        _check_moments(self)
        return self

    def factor(self, at: Moment) -> float:
        return self.start_factor + (self.end_factor - self.start_factor) * at.time / max(1, at.length - 1)


class CosineSchedule(ScheduleConfig):
    """Half a cosine wave from 1 to ``min_factor``. Source: arXiv 1608.03983."""

    kind: str = "cosine"
    min_factor: float = Field(0.0, ge=0, lt=1)

    def factor(self, at: Moment) -> float:
        return self.min_factor + (1 - self.min_factor) * (1 + math.cos(math.pi * at.time / at.length)) / 2


class MultiStepSchedule(ScheduleConfig):
    """Times ``gamma`` at every milestone."""

    kind: str = "multistep"
    milestones: tuple[NonNegativeFloat, ...] = Field(min_length=1)
    """In epochs since ``begin``."""
    gamma: float = Field(0.1, gt=0)

    def factor(self, at: Moment) -> float:
        return self.gamma ** sum(at.time >= milestone * at.epoch_length for milestone in self.milestones)


class StepSchedule(ScheduleConfig):
    """Times ``gamma`` again and again."""

    kind: str = "step"
    every: float = Field(gt=0)
    """In epochs."""
    gamma: float = Field(0.1, gt=0)

    def factor(self, at: Moment) -> float:
        return self.gamma ** (at.time // max(1, int(self.every * at.epoch_length)))


class ExponentialSchedule(ScheduleConfig):
    """Times ``gamma`` at every step (or epoch, as ``per`` says)."""

    kind: str = "exponential"
    gamma: float = Field(gt=0)

    def factor(self, at: Moment) -> float:
        return self.gamma**at.time


class PolynomialSchedule(ScheduleConfig):
    """From 1 to ``min_factor`` along a power of the time that is left; 1 is a straight line."""

    kind: str = "polynomial"
    power: float = Field(1.0, gt=0)
    min_factor: float = Field(0.0, ge=0, lt=1)

    @model_validator(mode="after")
    def _has_two_moments(self) -> "PolynomialSchedule":
        _check_moments(self)
        return self

    def factor(self, at: Moment) -> float:
        left = 1 - at.time / max(1, at.length - 1)
        return self.min_factor + (1 - self.min_factor) * math.pow(left, self.power)


class OneCycleSchedule(ScheduleConfig):
    """Up to the optimizer's rate and down far below where it began, in half waves. Source: arXiv 1708.07120."""

    kind: str = "one_cycle"
    rise: float = Field(0.3, gt=0, lt=1)
    """Share of the time that the rate rises."""
    start_factor: float = Field(1 / 25, gt=0, le=1)
    end_factor: float = Field(1 / 250_000, ge=0, le=1)

    def factor(self, at: Moment) -> float:
        peak = self.rise * at.length - 1
        if at.time <= peak and peak > 0:
            low, share = self.start_factor, at.time / peak
        else:
            low, share = self.end_factor, (at.length - 1 - at.time) / max(1e-9, at.length - 1 - peak)
        return low + (1 - low) * (1 - math.cos(math.pi * share)) / 2


class ConstantSchedule(ScheduleConfig):
    """One factor, and 1 from the last step (or epoch) before ``end`` on, as in MMEngine."""

    kind: str = "constant"
    value: float = Field(1.0, ge=0)

    @model_validator(mode="after")
    def _has_two_moments(self) -> "ConstantSchedule":
        _check_moments(self)
        return self

    def factor(self, at: Moment) -> float:
        return self.value if at.time < at.length - 1 else 1.0


def _check_moments(schedule: ScheduleConfig) -> None:
    """Within one epoch a factor that moves by epoch cannot move: the rate would stay at its first one for good."""
    if schedule.per == "epoch" and schedule.end is not None and int(schedule.end) - int(schedule.begin) < 2:
        raise ValueError(
            f"end, got {schedule.end:g} with begin {schedule.begin:g} and per epoch; it should be two epochs after "
            "begin or later, or per step"
        )


SCHEDULES = KindTable(
    what="schedule",
    base=ScheduleConfig,
    kinds={
        "linear": "kinoray.schedules:LinearSchedule",
        "cosine": "kinoray.schedules:CosineSchedule",
        "multistep": "kinoray.schedules:MultiStepSchedule",
        "step": "kinoray.schedules:StepSchedule",
        "exponential": "kinoray.schedules:ExponentialSchedule",
        "polynomial": "kinoray.schedules:PolynomialSchedule",
        "one_cycle": "kinoray.schedules:OneCycleSchedule",
        "constant": "kinoray.schedules:ConstantSchedule",
    },
)
AnySchedule = Annotated[ScheduleConfig, SCHEDULES]


def lr_factor(schedules: Sequence[ScheduleConfig], step: int, *, steps_per_epoch: int, num_epochs: int) -> float:
    """Product of all schedules' factors at an optimizer step (counted from 0)."""
    product = 1.0
    for schedule in schedules:
        epoch_length = steps_per_epoch if schedule.per == "step" else 1
        now = step if schedule.per == "step" else step // steps_per_epoch
        begin = int(schedule.begin * epoch_length)
        end = int((num_epochs if schedule.end is None else schedule.end) * epoch_length)
        length = max(1, end - begin)
        if now >= begin:
            product *= schedule.factor(Moment(min(now - begin, length - 1), length, epoch_length))
    return product
