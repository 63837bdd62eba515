"""What a training epoch adds up to, and what it is worth telling on the way."""

import math
import time
from collections.abc import Iterable

import torch
from torch import Tensor

from kinoray.data.manifest import Manifest
from kinoray.errors import DivergenceError
from kinoray.train.batch import Batch
from kinoray.train.events import BadVideo, EpochDone, StepsDone
from kinoray.train.world import World


class Meter:
    """Sums of one epoch, and of the steps since the last report, on one worker.

    Args:
        world: this worker; reports need all workers at the same step.
        epoch: counted from 0.
        step: optimizer steps done before this epoch.
        every_steps: how often a report is due.
    """

    def __init__(self, world: World, *, epoch: int, step: int, every_steps: int) -> None:
        self.world, self.epoch, self.step, self.every_steps = world, epoch, step, every_steps
        self.bad: list[tuple[str, str]] = []
        self._epoch_start = self._window_start = time.perf_counter()
        self._epoch_loss = torch.zeros(2, dtype=torch.float64, device=world.device)
        self._window_loss = torch.zeros_like(self._epoch_loss)
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
        self._window_loss += loss
        self._grad_norms.append(grad_norm)
        self._decode_seconds += batch.decode_seconds
        self._num_clips += len(batch.errors)
        self.bad += [(name, error) for name, error in zip(batch.video_ids, batch.errors, strict=True) if error]

    @property
    def is_due(self) -> bool:
        return self.step % self.every_steps == 0

    def report(self, lr: float) -> StepsDone:
        """Figures of the steps since the last report.

        Raises:
            DivergenceError: the loss is not finite.
        """
        loss, num_videos = self._mean_loss(self._window_loss)
        if not math.isfinite(loss):
            raise DivergenceError(
                f"training diverged: the loss is {loss} in epoch {self.epoch}, step {self.step}; "
                "lower optimizer.lr, warm up longer, or set training.clip_grad_norm"
            )
        now = time.perf_counter()
        seconds = now - self._window_start
        done = StepsDone(
            epoch=self.epoch,
            step=self.step,
            loss=loss,
            lr=lr,
            grad_norm=torch.stack(self._grad_norms).mean().item(),
            videos_per_second=num_videos / seconds,
            data_wait_fraction=self._window_wait / seconds,
        )
        self._epoch_loss += self._window_loss
        self._epoch_wait += self._window_wait
        self._window_loss.zero_()
        self._grad_norms.clear()
        self._window_start, self._window_wait = now, 0.0
        return done

    def close(self, manifest: Manifest) -> EpochDone:
        """Figures of the whole epoch, not yet evaluated; the manifest names the bad videos' files."""
        loss, num_videos = self._mean_loss(self._epoch_loss + self._window_loss)
        if not math.isfinite(loss):
            raise DivergenceError(f"training diverged: the loss is {loss} in epoch {self.epoch}; lower optimizer.lr")
        seconds = time.perf_counter() - self._epoch_start
        bad = [
            BadVideo(name, manifest.path_of(name), error)
            for part in self.world.gather(self.bad)
            for name, error in part
        ]
        return EpochDone(
            epoch=self.epoch,
            step=self.step,
            train_loss=loss,
            videos_per_second=num_videos / seconds,
            data_wait_fraction=(self._epoch_wait + self._window_wait) / seconds,
            seconds=seconds,
            evaluation=None,
            is_best=False,
            checkpoint="",
            bad_videos=tuple(bad),
            decode_seconds_per_clip=self._decode_seconds / max(1, self._num_clips),
        )

    def _mean_loss(self, local: Tensor) -> tuple[float, float]:
        """Mean loss over all workers' videos, and their number."""
        loss_sum, num_videos = self.world.sum(local.clone()).tolist()
        return loss_sum / max(1.0, num_videos), num_videos
