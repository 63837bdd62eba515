"""User code in the training loop: what a callback is, what it sees, and the table of them. Imports no torch.

``train.callbacks`` calls them; docs/extending.md shows one of each kind.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

from kinoray.config.kinds import KindConfig, KindTable

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor
    from torch.optim import Optimizer

    from kinoray.models.base import Recognizer
    from kinoray.recipe import Recipe
    from kinoray.train.batch import Batch
    from kinoray.train.events import EpochDone, Evaluation
    from kinoray.train.world import World


@dataclass
class Training:
    """A training as its callbacks see it, on one worker.

    Weights and the optimizer's state may be changed, in the same way on every worker. The learning rate is set anew
    before each step. Everything else is to be read.

    Attributes:
        recipe: that is trained.
        classes: K names.
        world: this worker's rank, the number of workers, its device.
        net: the recognizer that learns, not wrapped for DDP; to be left in the mode (train, eval) it is found in.
        result: what is evaluated and kept: ``net``, or the moving average of its weights.
        optimizer: of ``net``.
        steps_per_epoch: optimizer steps of an epoch.
        epoch: that is under way, or was the last, counted from 0; -1 before the first.
        step: optimizer steps done.
        stop_reason: why ``stop`` was called here, empty where it was not.
    """

    recipe: Recipe
    classes: tuple[str, ...]
    world: World
    net: Recognizer
    result: Recognizer
    optimizer: Optimizer
    steps_per_epoch: int
    epoch: int
    step: int
    stop_reason: str = ""

    def stop(self, reason: str) -> None:
        """End training before the next epoch, on all workers; the first call counts, on whatever worker.

        The epoch under way is trained to its end, and evaluated and kept as every last one is; in ``on_checkpoint`` it
        is too late for the evaluation.

        Args:
            reason: a line for the console and the tracked run.
        """
        self.stop_reason = self.stop_reason or reason or "a callback asked for it"


@dataclass(frozen=True)
class StepEnd:
    """One optimizer step on one worker.

    Tensors are on the device: reading their values makes a GPU's queue run dry, so do it rarely.

    Attributes:
        batch: this worker's share, as it was read: not augmented, bad videos included.
        loss: ``()`` mean over the readable videos of ``batch``; 0 where there are none.
        grad_norm: ``()`` over all workers, before the gradient was clipped.
        lr: of the step, without the factors of parameter groups.
    """

    batch: Batch
    loss: Tensor
    grad_norm: Tensor
    lr: float


class CallbackConfig(KindConfig):
    """Base of code that runs at moments of a training, on every worker, in the recipe's order.

    A subclass overrides the hooks it needs. Its fields are settings; what it remembers goes into attributes whose names
    begin with an underscore. Each training works on a copy of its own. An error in a hook ends the run.
    """

    def check(self, recipe: Recipe) -> None:
        """Called when a recipe is read, before anything starts.

        Raises:
            ValueError: the callback is of no use with this recipe.
        """

    def on_fit_start(self, training: Training) -> None:
        """The model is ready; of a training that goes on, ``restore`` was called before."""

    def on_step_end(self, training: Training, end: StepEnd) -> None:
        """Weights have followed the gradients of a global batch."""

    def on_epoch_end(self, training: Training, trained: EpochDone) -> None:
        """The last batch of an epoch is learned; it is neither evaluated nor kept yet.

        Running statistics are this worker's own. So are the times in ``trained``; its loss is that of all workers, and
        only the first one's names the bad videos.
        """

    def on_evaluate_end(self, training: Training, evaluation: Evaluation) -> None:
        """An epoch was evaluated; every worker gets the same evaluation."""

    def on_checkpoint(self, training: Training, folder: Path | None) -> None:
        """A checkpoint is about to be written.

        Args:
            training: is not to be changed here.
            folder: empty, to add files to, which are kept with the checkpoint; None on all workers but the first.
        """

    def on_fit_end(self, training: Training) -> None:
        """All epochs are done, or training was stopped; the last checkpoint is stored."""

    def on_exception(self, training: Training, error: BaseException) -> None:
        """This worker fails, perhaps by an error of a callback; other workers may wait for it in vain."""

    def state(self) -> Mapping[str, Any]:
        """What a training that goes on must know: values that JSON can hold. Asked of the first worker."""
        return {}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take up what ``state`` gave when the checkpoint was written, on every worker."""


CALLBACKS = KindTable(
    what="callback",
    base=CallbackConfig,
    kinds={"early_stop": "kinoray.early_stop:EarlyStop"},
)
AnyCallback = Annotated[CallbackConfig, CALLBACKS]
