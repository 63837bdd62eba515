"""What happens in a run, as values: the loop emits them, the console and the tracker listen.

Workers never talk to a terminal or a tracking server. Rank 0 emits events; wherever the run was started they are
handed to listeners one by one and in order. A step that is computed again after a restart is emitted again, so a
listener that keeps a history drops what it has already seen (``step`` never goes backwards in a history).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class BadVideo:
    """A video that could not be read, and why."""

    video_id: str
    path: str
    error: str


@dataclass(frozen=True)
class Started:
    """The workers are up and the first epoch begins."""

    device: str
    """Device of rank 0, e.g. ``cpu`` or ``cuda (NVIDIA H200)``."""
    num_workers: int
    num_parameters: int
    num_epochs: int
    first_epoch: int
    """0 for a fresh run; larger where it resumes."""
    steps_per_epoch: int
    num_train_videos: int
    num_val_videos: int
    lr_factors: tuple[float, ...] = (1.0,)
    """Of the groups of parameters, ascending, each once: a group's learning rate is so many times that of the run."""
    weights: str = ""
    """What became of the weights that a fresh run started from: the counts in the first line, below it every name."""
    first_step: int = 0
    """Optimizer steps done before; in the middle of an epoch where it resumes there."""
    notes: tuple[str, ...] = ()
    """What is worth a line each, such as a checkpoint that was damaged."""


@dataclass(frozen=True)
class BatchSeen:
    """Some videos of the first batch, as the model got them: cropped, augmented, mixed."""

    pictures: NDArray[np.uint8]
    """(N, F, H, W, 3) RGB; F frames spread over the first view of each video."""
    labels: tuple[tuple[tuple[int, float], ...], ...]
    """Of each video (class, its share of the target), the largest first."""


@dataclass(frozen=True)
class StepsDone:
    """Optimizer steps since the last such event of the epoch; figures are means over them."""

    epoch: int
    step: int
    """Optimizer steps done since the start of training."""
    loss: float
    lr: float
    """Of the last of them."""
    grad_norm: float
    """Before it was clipped."""
    videos_per_second: float
    """Over all workers."""
    data_wait_fraction: float
    """Share of the wall time in which rank 0 waited for data, 0..1."""


@dataclass(frozen=True)
class Mistake:
    """A video for which a class that it does not have got the highest score."""

    position: int
    """Row of the manifest."""
    video_id: str
    path: str
    labels: tuple[int, ...]
    """The classes that it has: one, or any number where videos have several labels."""
    predicted: int
    confidence: float
    """Probability of ``predicted``."""
    label_confidence: float
    """Probability of the likeliest of ``labels``; 0 where it has none."""


@dataclass(frozen=True)
class Evaluation:
    """Scores over every readable video of a split, each counted once."""

    metrics: Mapping[str, float]
    """Name -> value, those that ``recipe.measured`` names; all but ``loss`` are fractions 0..1."""
    confusion: NDArray[np.int64] | None
    """(K, K); row = true class, column = predicted class. None where videos have several labels."""
    num_videos: int
    """Videos counted, without the bad ones."""
    bad_videos: tuple[BadVideo, ...] = ()
    seconds: float = 0.0
    mistakes: tuple[Mistake, ...] = ()
    """The most confident ones, these first."""


@dataclass(frozen=True)
class EpochDone:
    """One epoch is trained, evaluated (where due) and its checkpoint is stored."""

    epoch: int
    step: int
    train_loss: float
    """Mean over the videos of the epoch."""
    videos_per_second: float
    data_wait_fraction: float
    seconds: float
    """Training only, without evaluation and checkpoint."""
    evaluation: Evaluation | None
    is_best: bool
    checkpoint: str
    """Where it is stored: a path or URI."""
    bad_videos: tuple[BadVideo, ...] = ()
    """Training videos of this epoch that could not be read."""
    decode_cpu_seconds_per_clip: float = 0.0
    """CPU time that reading one video took, mean."""


@dataclass(frozen=True)
class Finished:
    """All epochs are done, or a callback ended training before."""

    probe: Mapping[str, float] = field(default_factory=dict)
    """Accuracy with frames ``ordered``, ``reversed``, ``shuffled``, ``single_frame``; empty if not asked for."""
    stopped: str = ""
    """Why a callback ended training before the recipe's last epoch; empty where none did."""


@dataclass(frozen=True)
class Recalled:
    """What a run that goes on had told up to its checkpoint; perhaps not to everyone who listens now."""

    events: tuple[StepsDone | EpochDone, ...]


@dataclass(frozen=True)
class Diverged:
    """A step whose loss or gradient is no number."""

    epoch: int
    step: int
    """Optimizer steps done before it."""
    what: str
    """E.g. ``the loss is nan``."""
    videos: tuple[tuple[str, str], ...]
    """Of its global batch: id and path."""
    rolled_back: bool
    """Whether training goes on from the last checkpoint, without this batch; else it ends."""


Event: TypeAlias = Started | Recalled | BatchSeen | StepsDone | EpochDone | Diverged | Finished
Listener: TypeAlias = Callable[[Event], None]
