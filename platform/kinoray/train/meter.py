"""What a training epoch adds up to, and what it is worth telling on the way."""

import math
import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple, NoReturn

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
        step: optimizer steps done before.
        past: what ``state`` gave in the middle of this epoch; empty where it begins.

    Attributes:
        learned: the last step that was not left out, counted from 0.
        is_save_asked: whether a worker asked for a checkpoint with the last report.
    """

    def __init__(self, world: World, *, epoch: int, step: int, past: Mapping[str, Any]) -> None:
        self.world, self.epoch, self.step = world, epoch, step
        self.learned = step - 1
        self._epoch = _Sums(**past.get("sums", {}))
        self._bad: list[tuple[str, str]] = [(name, why) for name, why in past.get("bad", ()) if world.is_first]
        self.is_save_asked = False
        self._window_start, self._window_wait = time.perf_counter(), 0.0
        # This worker's sum of losses, number of videos, number of bad videos; on the device, so that no step waits.
        self._window = torch.zeros(3, dtype=torch.float64, device=world.device)
        self._steps: list[_Step] = []

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
        self.learned = self.step
        self._steps.append(_Step(self.step, loss[0], grad_norm, batch.video_ids))
        self.step += 1
        self._window[:2] += loss
        self._epoch.decode_seconds += batch.decode_seconds
        self._epoch.num_clips += len(batch.errors)
        bad = [(name, error) for name, error in zip(batch.video_ids, batch.errors, strict=True) if error]
        if bad:
            self._window[2] += len(bad)
            self._bad += bad

    @property
    def num_bad(self) -> int:
        """Unreadable videos of all workers up to the last report."""
        return self._epoch.num_bad

    def leave_out(self) -> None:
        """Count a step whose batch is not learned."""
        self.step += 1

    def report(self, lr: float, *, asks_to_save: bool = False) -> StepsDone | None:
        """Figures of the steps since the last report; None where none of their videos could be read.

        Args:
            lr: of the last step.
            asks_to_save: this worker wants a checkpoint.

        Raises:
            DivergenceError: the loss or the gradient is not finite.
        """
        wait_seconds, started = self._window_wait, self._window_start
        loss_sum, num_videos, grad_norm = self._end_window(asks_to_save=asks_to_save)
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

    def leave_out_time(self) -> None:
        """What has passed since the last report is not training."""
        self._window_start = time.perf_counter()

    def state(self) -> dict[str, Any]:
        """The sums up to the last report; all workers have to ask."""
        bad = [list(video) for part in self.world.gather(self._bad) for video in part]
        return {"sums": asdict(self._epoch), "bad": bad}

    def close(self, manifest: Manifest) -> EpochDone:
        """Figures of the whole epoch, not yet evaluated; the manifest names the bad videos' files.

        Raises:
            DivergenceError: the loss or the gradient is not finite.
            DataError: no video of the epoch could be read.
        """
        self._end_window()
        if not self._epoch.videos:
            first = self._bad[0][1] if self._bad else "all were left out"
            raise DataError(f"epoch {self.epoch + 1}: none of its videos could be read; the first: {first}")
        seconds = self._epoch.seconds
        bad = [
            BadVideo(name, manifest.path_of(name), error)
            for part in self.world.gather(self._bad)
            for name, error in part
        ]
        return EpochDone(
            epoch=self.epoch,
            step=self.step,
            train_loss=self._epoch.loss / self._epoch.videos,
            videos_per_second=self._epoch.videos / seconds,
            data_wait_fraction=self._epoch.wait_seconds / seconds,
            seconds=seconds,
            evaluation=None,
            is_best=False,
            checkpoint="",
            bad_videos=tuple(bad),
            decode_cpu_seconds_per_clip=self._epoch.decode_seconds / max(1, self._epoch.num_clips),
        )

    def _end_window(self, *, asks_to_save: bool = False) -> tuple[float, float, float]:
        """Sum of losses, number of videos (of all workers) and mean gradient norm since the last report."""
        asked = self._window.new_tensor([float(asks_to_save)])
        loss_sum, num_videos, num_bad, num_asking = self.world.sum(torch.cat([self._window, asked])).tolist()
        grad_norm = torch.stack([step.grad_norm for step in self._steps]).mean().item() if self._steps else 0.0
        if not math.isfinite(loss_sum) or not math.isfinite(grad_norm):
            self._raise_divergence()
        self._epoch.loss += loss_sum
        self._epoch.videos += num_videos
        self._epoch.wait_seconds += self._window_wait
        self._epoch.num_bad += int(num_bad)
        self.is_save_asked = num_asking > 0
        self._window.zero_()
        self._steps.clear()
        now = time.perf_counter()
        self._epoch.seconds += now - self._window_start
        self._window_start, self._window_wait = now, 0.0
        return loss_sum, num_videos, grad_norm

    def _raise_divergence(self) -> NoReturn:
        """Name the first step whose loss, on any worker, or whose gradient is no number, and its videos."""
        losses = torch.stack([step.loss_sum.double() for step in self._steps])
        losses, norms = self.world.sum(losses), torch.stack([step.grad_norm for step in self._steps])
        is_lost = ~(losses.isfinite() & norms.isfinite())
        place = int(is_lost.nonzero()[0]) if is_lost.any() else len(self._steps) - 1
        step = self._steps[place]
        what, value = ("gradient's norm", norms[place]) if losses[place].isfinite() else ("loss", losses[place])
        videos = [name for part in self.world.gather(step.video_ids) for name in part]
        raise DivergenceError(
            f"training diverged: the {what} is {value.item()} in epoch {self.epoch + 1}, step {step.step + 1}; lower "
            "optimizer.lr, warm up longer, or set training.clip_grad_norm",
            step=step.step,
            videos=tuple(videos),
        )


@dataclass
class _Sums:
    """Of an epoch, up to the last report; loss, videos and num_bad are of all workers."""

    loss: float = 0.0
    videos: float = 0.0
    seconds: float = 0.0
    wait_seconds: float = 0.0
    decode_seconds: float = 0.0
    num_clips: int = 0
    num_bad: int = 0


class _Step(NamedTuple):
    step: int
    """Done before it."""
    loss_sum: Tensor
    grad_norm: Tensor
    video_ids: tuple[str, ...]
