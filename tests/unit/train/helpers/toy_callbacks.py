"""Callbacks and metrics for tests. What they see they write to files, so that several processes can tell."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from pydantic import PrivateAttr
from toy_training import load_data
from toy_workers import ShareFeed

from kinoray.callbacks import CallbackConfig
from kinoray.metric_kinds import MetricConfig
from kinoray.recipe import Recipe
from kinoray.train.loop import fit
from kinoray.train.store import RunStore
from kinoray.train.world import World


class Recorder(CallbackConfig):
    """Writes a line for every hook, and does what its fields say."""

    kind: str = "toy_callbacks:Recorder"
    log: str
    name: str = "a"
    stop_in: str = ""
    """A hook, and perhaps `` EPOCH``."""
    stop_on_rank: int = 0
    fail_in: str = ""
    leaves: str = ""
    """A file's name, or a folder's that ends in ``/``."""
    remembers: Any = None

    _num_steps: int = 0
    _seen: list[int] = PrivateAttr(default_factory=list)

    def _note(self, training: Any, hook: str, **seen: Any) -> None:
        rank = training.world.rank
        with Path(f"{self.log}-{rank}").open("a") as file:
            file.write(json.dumps({"who": self.name, "hook": hook, "epoch": training.epoch, **seen}) + "\n")
        if self.stop_in in (hook, f"{hook} {training.epoch}") and rank == self.stop_on_rank:
            training.stop(f"{self.name} stops in {hook} on rank {rank}")
        if self.fail_in == hook:
            raise LookupError(f"no {hook} today")

    def on_fit_start(self, training):
        self._note(training, "on_fit_start", step=training.step, num_steps=self._num_steps, seen=self._seen)

    def on_step_end(self, training, end):
        self._num_steps += 1
        figures = {"loss": float(end.loss), "grad_norm": float(end.grad_norm), "lr": end.lr}
        self._note(training, "on_step_end", step=training.step, videos=list(end.batch.video_ids), **figures)

    def on_epoch_end(self, training, trained):
        self._seen.append(training.epoch)
        self._note(training, "on_epoch_end", step=training.step, loss=trained.train_loss)

    def on_evaluate_end(self, training, evaluation):
        self._note(training, "on_evaluate_end", metrics=dict(evaluation.metrics), confusion=str(evaluation.confusion))

    def on_checkpoint(self, training, folder):
        if folder is not None and self.leaves.endswith("/"):
            (folder / self.leaves).mkdir()
        elif folder is not None and self.leaves:
            (folder / self.leaves).write_text(f"of epoch {training.epoch}")
        self._note(training, "on_checkpoint", is_first=folder is not None)

    def on_fit_end(self, training):
        self._note(training, "on_fit_end", step=training.step)

    def on_exception(self, training, error):
        self._note(training, "on_exception", error=str(error).splitlines()[0])

    def state(self):
        return {"num_steps": self._num_steps, "seen": self._seen, "extra": self.remembers}

    def restore(self, state: Mapping[str, Any]) -> None:
        if self.fail_in == "restore":
            raise LookupError("no restore today")
        self._num_steps, self._seen = state["num_steps"], state["seen"]


class Blank(CallbackConfig):
    """Sets the weights that recognize to 0 after every epoch."""

    kind: str = "toy_callbacks:Blank"

    def on_epoch_end(self, training, trained):
        with torch.no_grad():
            for parameter in training.net.head().parameters():
                parameter.zero_()


class Places(CallbackConfig):
    """Writes down where checkpoints are made."""

    kind: str = "toy_callbacks:Places"
    log: str

    def on_checkpoint(self, training, folder):
        with Path(self.log).open("a") as file:
            file.write(f"epoch {training.epoch}, step {training.step}\n")


class Ruin(CallbackConfig):
    """Makes the weights no numbers after a step, of which neither loss nor gradient tells."""

    kind: str = "toy_callbacks:Ruin"
    step: int

    def on_step_end(self, training, end):
        if training.step == self.step:
            with torch.no_grad():
                training.net.conv.weight.fill_(float("nan"))


class Unfit(CallbackConfig):
    kind: str = "toy_callbacks:Unfit"
    wanted: str | None = None

    def check(self, recipe):
        if self.wanted is None:
            raise ValueError(f"cannot train {recipe.name}")
        return recipe.flat()[self.wanted]


class Leaving(CallbackConfig):
    """Ends the process; stops without a word."""

    kind: str = "toy_callbacks:Leaving"
    leaves: bool = True

    def on_epoch_end(self, training, trained):
        if self.leaves:
            raise SystemExit(0)
        training.stop("")


class OwnMetric(MetricConfig):
    kind: str = "toy_callbacks:OwnMetric"
    gives: tuple[str, ...] = ("mine",)
    named: tuple[str, ...] | str | None = ("mine",)
    fails: bool = False
    result: Any = None
    """What is given instead; ``nothing``: None."""

    def names(self):
        if self.named is None:
            raise LookupError("no names today")
        return self.named

    def measure(self, scores, labels):
        if self.fails:
            raise LookupError("no metric today")
        scores.fill(0)
        labels.fill(0)
        if self.result is not None:
            return None if self.result == "nothing" else self.result
        return dict.fromkeys(self.gives, scores.shape[1] + len(labels) / 100)


def worker(rank: int, size: int, recipe_file: str, folder: Path) -> None:
    """Train with the others, over gloo."""
    torch.set_num_threads(1)
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=size)
    recipe = Recipe.load(recipe_file)
    world = World(rank, size)
    store = RunStore(str(folder / "run"), monitor="top1", keep_best=9)
    progress = fit(recipe, ShareFeed(recipe, load_data(recipe), world), store, world, lambda event: None)
    (folder / f"last-{rank}").write_text(str(progress.epoch))
    dist.destroy_process_group()
