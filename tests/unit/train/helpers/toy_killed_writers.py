"""Processes that are killed while they write checkpoints."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

from kinoray.recipe import Recipe
from kinoray.train.checkpoint import open_checkpoint
from kinoray.train.store import RunStore

# For each line of its input: a process that writes checkpoints one after the other, until it is killed.
WRITES = """
import os, sys
from pathlib import Path
import torch
from kinoray.recipe import Recipe
from kinoray.train.checkpoint import Progress
from kinoray.train.store import Draft, RunStore

def write():
    torch.set_num_threads(1)
    store = RunStore(sys.argv[2], monitor="top1", keep_best=1, in_background=False)
    newest = store.newest()
    epoch = 0 if newest is None else int(newest[-4:]) + 1
    print(os.getpid(), flush=True)
    while True:
        files = Path(sys.argv[3]) / str(epoch)
        files.mkdir(exist_ok=True)
        state = {"optimizer": {"momentum": torch.full((100_000,), float(epoch))}}
        weights = {"weight": torch.full((100_000,), float(epoch))}
        metrics = {"top1": epoch % 7 / 7}
        draft = Draft(weights, state, recipe, ("a",), Progress(epoch, step=epoch), metrics, files)
        store.save(draft, name=f"epoch-{epoch:04d}")
        epoch += 1

recipe = Recipe.load(sys.argv[1])
for line in sys.stdin:
    process = os.fork()
    if not process:
        write()
    os.waitpid(process, 0)
"""


def kill_while_writing(recipe: Recipe, folder: Path, num_kills: int, *, seed: int = 0) -> int:
    """Kill writers at moments that are spread over the writing of checkpoints; returns the number of epochs."""
    (folder / "recipe.yaml").write_text(recipe.yaml())
    (folder / "files").mkdir()
    places = [str(Path(__file__).parent), str(Path(__file__).parents[4] / "platform")]
    code = f"import sys; sys.path[:0] = {places}\n{WRITES}"
    words = [sys.executable, "-c", code, *(str(folder / name) for name in ("recipe.yaml", "run", "files"))]
    dice, last = random.Random(seed), -1
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as writers:
        assert writers.stdin is not None
        assert writers.stdout is not None
        for _ in range(num_kills):
            print("write", file=writers.stdin, flush=True)
            writer = int(writers.stdout.readline())
            time.sleep(dice.random() * 0.4)
            os.kill(writer, signal.SIGKILL)
            newest = RunStore(str(folder / "run"), monitor="top1", keep_best=1, in_background=False).newest()
            if newest is None:
                assert last == -1
                continue
            opened = open_checkpoint(newest)
            epoch = opened.progress.epoch
            assert epoch >= last
            assert opened.weights()["weight"].eq(epoch).all()
            assert opened.training_state()["optimizer"]["momentum"].eq(epoch).all()
            last = epoch
        writers.stdin.close()
    return last + 1
