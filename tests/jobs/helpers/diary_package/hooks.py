"""Notes of what every worker learned, and a brake, both by files: workers come and go, and are in other processes."""

import json
import os
import socket
import time
from pathlib import Path

from kinoray.callbacks import CallbackConfig


class Diary(CallbackConfig):
    """Writes a line for each step; each takes at least as many seconds as the file ``pace`` says."""

    kind: str = "diary_package.hooks:Diary"
    folder: str

    def on_step_end(self, training, end):
        line = {
            "step": training.step,
            "rank": training.world.rank,
            "size": training.world.size,
            "videos": list(end.batch.video_ids),
            "seconds": time.time(),
            "host": socket.gethostname(),
            "pid": os.getpid(),
        }
        folder = Path(self.folder)
        with (folder / f"{os.getpid()}.jsonl").open("a") as file:
            file.write(json.dumps(line) + "\n")
        time.sleep(float((folder / "pace").read_text()))
