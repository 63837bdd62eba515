"""A callback."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import Field, PrivateAttr

from kinoray.callbacks import CallbackConfig, StepEnd, Training
from kinoray.train.events import EpochDone, Evaluation


class Diary(CallbackConfig):
    """Keeps a diary in every checkpoint, and ends training when accuracy is good enough."""

    kind: str = "my_package.callbacks:Diary"
    good_enough: float = Field(1.0, gt=0, le=1)
    """Of top1 on data.val."""

    _num_videos: int = 0
    _pages: list[dict[str, Any]] = PrivateAttr(default_factory=list)

    def on_step_end(self, training: Training, end: StepEnd) -> None:
        self._num_videos += end.batch.num_good

    def on_epoch_end(self, training: Training, trained: EpochDone) -> None:
        length = sum(float(weights.detach().square().sum()) for weights in training.net.parameters()) ** 0.5
        self._pages.append({"epoch": trained.epoch + 1, "train_loss": trained.train_loss, "length": length})

    def on_evaluate_end(self, training: Training, evaluation: Evaluation) -> None:
        self._pages[-1] |= evaluation.metrics
        if evaluation.metrics["top1"] >= self.good_enough:
            training.stop(f"val/top1 {evaluation.metrics['top1']:.3f} is good enough")

    def on_checkpoint(self, training: Training, folder: Path | None) -> None:
        if folder is not None:  # this is the first worker
            (folder / "diary.json").write_text(json.dumps(self._pages, indent=2))

    def state(self) -> dict[str, Any]:
        return {"num_videos": self._num_videos, "pages": self._pages}

    def restore(self, state: Mapping[str, Any]) -> None:
        self._num_videos, self._pages = state["num_videos"], state["pages"]
