"""Which trials of a sweep go on: what Ray Tune's schedulers need to know. Imports no torch, no Ray."""

from abc import abstractmethod
from typing import Annotated, Any, ClassVar

from pydantic import Field

from kinoray.config.kinds import KindConfig, KindTable


class SchedulerConfig(KindConfig):
    """Base of all schedulers."""

    takes_turns: ClassVar[bool] = False
    """Whether trials pause and go on later, so that all are under way before any is over; every checkpoint is kept."""


class NoScheduler(SchedulerConfig):
    """Every trial is trained to its end."""

    kind: str = "none"


class ASHA(SchedulerConfig):
    """Successive halving, asynchronous: of trials of one age only the best share goes on. Source: arXiv 1810.05934."""

    kind: str = "asha"
    grace_epochs: int = Field(1, gt=0)
    """That every trial is trained."""
    reduction_factor: float = Field(3, gt=1)
    """One of so many goes on; the ages at which this is decided are ``grace_epochs`` times its powers."""
    brackets: int = Field(1, gt=0)


class MedianStop(SchedulerConfig):
    """A trial stops when its best value is worse than the median of the others' means so far. Source: Golovin 2017."""

    kind: str = "median"
    grace_epochs: int = Field(1, gt=0)
    """That every trial is trained."""
    min_trials: int = Field(3, gt=0)
    """That must have come as far before one is stopped."""


class PBT(SchedulerConfig):
    """Population-based training: the worst go on from checkpoints of the best, with perturbed values.

    All trials are brought to one epoch before they are compared, in turns where the site does not hold all at once.
    Source: arXiv 1711.09846.
    """

    takes_turns = True
    kind: str = "pbt"
    interval_epochs: int = Field(1, gt=0)
    """Between two looks at a trial."""
    perturb: tuple[str, ...] = ()
    """Paths of the space that change in mid-training; default: those of optimizer, schedule, loss and training."""
    quantile: float = Field(0.25, gt=0, le=0.5)
    """Share of trials that is replaced, and share that they are replaced by."""
    resample: float = Field(0.25, ge=0, le=1)
    """How often a value is drawn anew instead of being perturbed."""
    factors: tuple[float, ...] = Field((0.8, 1.2), min_length=1)
    """A number is multiplied by one of these; a label moves to a neighbour."""


class TuneScheduler(SchedulerConfig):
    """Base of a scheduler of yours."""

    @abstractmethod
    def build(self, *, time_attr: str, metric: str, mode: str, num_epochs: int) -> Any:
        """A ``ray.tune.schedulers.TrialScheduler`` for results that have these names."""


SCHEDULERS = KindTable(
    what="scheduler",
    base=SchedulerConfig,
    kinds={
        "none": "kinoray.sweep.schedulers:NoScheduler",
        "asha": "kinoray.sweep.schedulers:ASHA",
        "median": "kinoray.sweep.schedulers:MedianStop",
        "pbt": "kinoray.sweep.schedulers:PBT",
    },
    default="none",
)
AnyScheduler = Annotated[SchedulerConfig, SCHEDULERS]
