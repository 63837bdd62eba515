"""Calls a recipe's callbacks, on one worker; hooks that none of them overrides cost nothing."""

import json
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from kinoray.callbacks import CallbackConfig, StepEnd, Training
from kinoray.errors import UserCodeError
from kinoray.train.batch import Batch
from kinoray.train.checkpoint import FILES, INDEX
from kinoray.train.events import EpochDone, Evaluation
from kinoray.train.meter import Meter
from kinoray.train.user_code import call_users

HOOKS = (
    "on_fit_start",
    "on_step_end",
    "on_epoch_end",
    "on_evaluate_end",
    "on_checkpoint",
    "on_fit_end",
    "on_exception",
)
OWN_FILES = (*FILES, INDEX)
logger = logging.getLogger(__name__)


class _Slot(NamedTuple):
    key: str
    """What its state is kept under: survives that others come and go, and that settings change."""
    place: str
    """In the recipe, as messages name it."""
    callback: CallbackConfig


class Callbacks:
    """The callbacks of one training.

    Args:
        training: what they see; its recipe names them.
        remembered: what ``state`` gave when the checkpoint was written.
        reason_to_end: why training is to end although no callback asks for it; the same on every worker.

    Attributes:
        stopped: why training ends early, as all workers have agreed; empty where it does not.

    Raises:
        UserCodeError: a callback raises; so do all methods.
    """

    def __init__(
        self, training: Training, remembered: Mapping[str, Any], reason_to_end: Callable[[], str] = str
    ) -> None:
        self.training, self.stopped, self._reason_to_end = training, "", reason_to_end
        self._slots = _slots(training.recipe.callbacks)
        self._hooked = {hook: [slot for slot in self._slots if _has(slot.callback, hook)] for hook in HOOKS}
        for slot in self._slots:
            if slot.key in remembered:
                call_users(slot.place, slot.callback.restore, remembered[slot.key])

    def fit_start(self) -> None:
        self._run("on_fit_start")

    def reached(self, epoch: int, step: int) -> None:
        """Where training is, as all hooks see it from now on."""
        self.training.epoch, self.training.step = epoch, step

    def step_end(self, meter: Meter, batch: Batch, loss: Tensor, grad_norm: Tensor, lr: float) -> None:
        """Tell of a step: ``(2,)`` sum of losses and number of videos of this worker, ``()`` the gradient's norm."""
        if self._hooked["on_step_end"]:
            self.reached(meter.epoch, meter.step)
            self._run("on_step_end", StepEnd(batch, loss[0] / loss[1].clamp(min=1), grad_norm, lr))

    def epoch_end(self, trained: EpochDone) -> None:
        self.reached(trained.epoch, trained.step)
        self._run("on_epoch_end", trained)

    def evaluate_end(self, evaluation: Evaluation | None) -> None:
        """Tell of an evaluation, which rank 0 alone has."""
        if self._hooked["on_evaluate_end"]:
            self._run("on_evaluate_end", self.training.world.share(evaluation))

    def checkpoint(self, folder: Path | None) -> None:
        """Let callbacks add files to the empty folder of a checkpoint; None on all ranks but the first."""
        for slot in self._hooked["on_checkpoint"]:
            call_users(slot.place, slot.callback.on_checkpoint, self.training, folder)
            for path in () if folder is None else sorted(folder.iterdir()):
                if not path.is_file() or path.name in OWN_FILES:
                    raise UserCodeError(
                        f"{slot.place}: on_checkpoint, got '{path.name}' in the checkpoint; it should add plain files, "
                        f"no folders, under other names than {', '.join(OWN_FILES)}"
                    )

    def fit_end(self) -> None:
        self._run("on_fit_end")

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Tell of what is raised inside, and let it go on."""
        try:
            yield
        except BaseException as error:
            for slot in self._hooked["on_exception"]:
                try:
                    slot.callback.on_exception(self.training, error)
                except Exception:
                    logger.exception("%s: on_exception failed too", slot.place)
            raise

    def until_stopped(self, epochs: Iterable[int]) -> Iterator[int]:
        """The epochs that are to be trained."""
        for epoch in epochs:
            if self.agree_to_stop():
                return
            yield epoch

    def agree_to_stop(self) -> bool:
        """Whether a callback of any worker has asked for the end; every worker gets the same answer."""
        if self._slots and not self.stopped:
            world = self.training.world
            asked = [reason for reason in world.gather(self.training.stop_reason) if reason]
            self.stopped = world.share(asked[0] if asked else "")
        self.stopped = self.stopped or self._reason_to_end()
        return bool(self.stopped)

    def state(self) -> dict[str, Any]:
        """What the callbacks remember, as JSON gives it back."""
        remembered = {}
        for slot in self._slots:
            state = call_users(slot.place, slot.callback.state)
            try:
                text = json.dumps(state)
            except (TypeError, ValueError) as error:
                raise UserCodeError(
                    f"{slot.place}: state, got {state!r:.200} ({error}); it should hold what JSON can hold"
                ) from error
            if state:
                remembered[slot.key] = json.loads(text)
        return remembered

    def _run(self, hook: str, *arguments: object) -> None:
        for slot in self._hooked[hook]:
            call_users(slot.place, getattr(slot.callback, hook), self.training, *arguments)


def _slots(callbacks: Sequence[CallbackConfig]) -> list[_Slot]:
    # Copies: a recipe may be trained twice in a process, and neither training is to see what the other remembers.
    kinds = [callback.kind for callback in callbacks]
    return [
        _Slot(f"{kind} {kinds[:number].count(kind)}", f"callbacks.{number} ({kind})", callback.model_copy(deep=True))
        for number, (kind, callback) in enumerate(zip(kinds, callbacks, strict=True))
    ]


def _has(callback: CallbackConfig, hook: str) -> bool:
    return getattr(type(callback), hook) is not getattr(CallbackConfig, hook)
