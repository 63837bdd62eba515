"""A callback that writes down what every worker has trained on, step by step."""

import json
import os
import time
from pathlib import Path

from pydantic import Field

from kinoray.callbacks import CallbackConfig, StepEnd, Training


class Ledger(CallbackConfig):
    """Adds a line to a file for each step of each worker."""

    kind: str = "chaos_package.ledger:Ledger"
    path: Path
    pause_seconds: float = Field(0.0, ge=0)
    """After each step: draws a short run out, so that moments can be hit."""

    def on_step_end(self, training: Training, end: StepEnd) -> None:
        line = {
            "seconds": time.time(),
            "process": os.getpid(),
            "rank": training.world.rank,
            "epoch": training.epoch,
            "step": training.step,
            "videos": end.batch.video_ids,
            "loss": end.loss.item(),
        }
        with self.path.open("ab", buffering=0) as file:
            file.write(json.dumps(line).encode() + b"\n")
        time.sleep(self.pause_seconds)
