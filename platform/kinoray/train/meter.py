"""What a training epoch adds up to, and what it is worth telling on the way."""

import math
import time
from collections.abc import Iterable

import torch
from torch import Tensor

from kinoray.data.manifest import Manifest
from kinoray.errors import DataError, DivergenceError
from kinoray.train.batch import Batch
from kinoray.train.events import BadVideo, EpochDone, StepsDone
from kinoray.train.world import World


class Meter:
    """Sums of one epoch, and of the steps since the last report.

    Args:
        world: this worker; reports need all workers at the same step.
        epoch: counted from 0.
        step: optimizer steps done before this epoch.
        every_steps: how often a report is due.

    Attributes:
        num_bad: unreadable videos of all workers up to the last report.
    """

    def __init__(self, world: World, *, epoch: int, step: int, every_steps: int) -> None:
        self.world, self.epoch, self.step, self.every_steps = world, epoch, step, every_steps
        self.num_bad = 0
        self._bad: list[tuple[str, str]] = []
        self._epoch_start = self._window_start = time.perf_counter()
        self._epoch_loss = self._epoch_videos = 0.0
        # This worker's sum of losses, number of videos, number of bad videos; on the device, so that no step waits.
        self._window = torch.zeros(3, dtype=torch.float64, device=world.device)
        self._grad_norms: list[Tensor] = []
        self._epoch_wait = self._window_wait = self._decode_seconds = 0.0
        self._num_clips = 0

    def waiting(self, batches: Iterable[Batch]) -> Iterable[Batch]:
        """The same batches; the time that each is waited for is noted."""
        iterator = iter(batches)
        while True:
            started = time.perf_counter()
            batch = next(iterator, None)
            self._window_wait += time.perf_counter() - started
            if batch is None:
                return
            yield batch

    def add(self, loss: Tensor, grad_norm: Tensor, batch: Batch) -> None:
        """Count one step: ``(2,)`` sum of losses and number of videos, and the gradient's norm."""
        self.step += 1
        self._window[:2] += loss
        self._grad_norms.append(grad_norm)
        self._decode_seconds += batch.decode_seconds
        self._num_clips += len(batch.errors)
        bad = [(name, error) for name, error in zip(batch.video_ids, batch.errors, strict=True) if error]
        if bad:
            self._window[2] += len(bad)
            self._bad += bad

    @property
    def is_due(self) -> bool:
        return self.step % self.every_steps == 0

    def report(self, lr: float) -> StepsDone | None:
        """Figures of the steps since the last report; None where none of their videos could be read.

        Raises:
            DivergenceError: the loss or the gradient is not finite.
        """
        wait_seconds, started = self._window_wait, self._window_start
        loss_sum, num_videos, grad_norm = self._end_window()
        seconds = self._window_start - started
        if not num_videos:
            return None
        return StepsDone(
            epoch=self.epoch,
            step=self.step,
            loss=loss_sum / num_videos,
            lr=lr,
            grad_norm=grad_norm,
            videos_per_second=num_videos / seconds,
            data_wait_fraction=wait_seconds / seconds,
        )

    def close(self, manifest: Manifest) -> EpochDone:
        """Figures of the whole epoch, not yet evaluated; the manifest names the bad videos' files.

        Raises:
            DivergenceError: the loss or the gradient is not finite.
            DataError: no video of the epoch could be read.
        """
        self._end_window()
        if not self._epoch_videos:
            raise DataError(f"epoch {self.epoch + 1}: none of its videos could be read; the first: {self._bad[0][1]}")
        seconds = self._window_start - self._epoch_start
        bad = [
            BadVideo(name, manifest.path_of(name), error)
            for part in self.world.gather(self._bad)
            for name, error in part
        ]
        return EpochDone(
            epoch=self.epoch,
            step=self.step,
            train_loss=self._epoch_loss / self._epoch_videos,
            videos_per_second=self._epoch_videos / seconds,
            data_wait_fraction=self._epoch_wait / seconds,
            seconds=seconds,
            evaluation=None,
            is_best=False,
            checkpoint="",
            bad_videos=tuple(bad),
            decode_cpu_seconds_per_clip=self._decode_seconds / max(1, self._num_clips),
        )

    def _end_window(self) -> tuple[float, float, float]:
        """Sum of losses, number of videos (of all workers) and mean gradient norm since the last report."""
        loss_sum, num_videos, num_bad = self.world.sum(self._window.clone()).tolist()
        grad_norm = torch.stack(self._grad_norms).mean().item() if self._grad_norms else 0.0
        for what, value in {"loss": loss_sum / max(1.0, num_videos), "gradient's norm": grad_norm}.items():
            if not math.isfinite(value):
                raise DivergenceError(
                    f"training diverged: the {what} is {value} in epoch {self.epoch + 1}, up to step {self.step}; "
                    "lower optimizer.lr, warm up longer, or set training.clip_grad_norm"
                )
        self._epoch_loss += loss_sum
        self._epoch_videos += num_videos
        self._epoch_wait += self._window_wait
        self.num_bad += int(num_bad)
        self._window.zero_()
        self._grad_norms.clear()
        self._window_start, self._window_wait = time.perf_counter(), 0.0
        return loss_sum, num_videos, grad_norm
