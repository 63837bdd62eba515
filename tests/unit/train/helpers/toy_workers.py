"""Workers that train together without Ray: processes of this machine that talk over gloo."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from toy_training import load_data

from kinoray.data.config import Dataset
from kinoray.data.plan import epoch_plan, evaluation_plan, evaluation_share, part_of_batch, training_share
from kinoray.data.reading import ClipReader
from kinoray.recipe import Recipe
from kinoray.train.batch import Batch
from kinoray.train.evaluate import evaluate, predict, temporal_probe
from kinoray.train.events import Event
from kinoray.train.local import LocalFeed
from kinoray.train.loop import fit
from kinoray.train.predictions import gather_predictions
from kinoray.train.store import RunStore
from kinoray.train.world import World


class ShareFeed(LocalFeed):
    """One worker's share of everything, as Ray's feed deals it; notes which videos came when."""

    def __init__(self, recipe: Recipe, dataset: Dataset, world: World) -> None:
        super().__init__(recipe, dataset, num_threads=1)
        self.recipe, self.world = recipe, world
        self.seen: list[tuple[str, ...]] = []

    def train(self, epoch: int, *, done: int = 0) -> Iterator[Batch]:
        split, size = self.recipe.data.train, self.world.size
        plan = epoch_plan(self.dataset.train.table, seed=self.recipe.seed, epoch=epoch)
        rank, batch_size = self.world.rank, split.batch_size
        share = training_share(plan, batch_size=batch_size, rank=rank, world_size=size, done=done)
        own_size = len(part_of_batch(batch_size, rank=rank, world_size=size))
        for batch in self._stream(share, ClipReader(split), own_size):
            self.seen.append(batch.video_ids)
            yield batch

    def val(self, epoch: int) -> Iterator[Batch]:
        del epoch
        assert self.dataset.val is not None
        split = self.recipe.data.evaluation_split("val")
        plan = evaluation_plan(self.dataset.val.table)
        rank, size = self.world.rank, self.world.size
        share = evaluation_share(plan, batch_size=split.batch_size, rank=rank, world_size=size)
        return self._stream(share, ClipReader(split), split.batch_size)


class WatchfulWorld(World):
    """Notes buffers before and after they are averaged."""

    def average_buffers(self, model: nn.Module) -> None:
        notes = self.__dict__.setdefault("notes", [])
        notes.append(copies(model))
        super().average_buffers(model)
        notes.append(copies(model))


def copies(model: nn.Module) -> dict[str, Tensor]:
    return {name: buffer.clone() for name, buffer in model.named_buffers()}


def outcome(recipe: Recipe, folder: Path, rank: int, size: int) -> dict[str, Any]:
    """All that one worker sees of a training and an evaluation."""
    world = WatchfulWorld(rank, size)
    dataset = load_data(recipe)
    events: list[Event] = []
    feed = ShareFeed(recipe, dataset, world)
    store = RunStore(str(folder), monitor="top1", keep_best=recipe.training.keep_best)
    fit(recipe, feed, store, world, events.append)
    torch.manual_seed(1)
    model = recipe.model.build().eval()
    assert dataset.val is not None
    return {
        "events": events,
        "seen": feed.seen,
        "buffers": world.__dict__["notes"],
        "predictions": gather_predictions(predict(model, feed.val(0), average="probability", world=world), world),
        "evaluation": evaluate(model, feed.val(0), world, recipe=recipe, manifest=dataset.val),
        "probe": temporal_probe(model, feed.val(0), world, average="probability"),
    }


@contextmanager
def joined_workers(rank: int, size: int, folder: Path) -> Iterator[None]:
    """A process group over gloo, on one thread."""
    torch.set_num_threads(1)
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    # Workers meet in a file: a port that was free a moment ago may be taken.
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=size)
    yield
    dist.destroy_process_group()


def worker(rank: int, size: int, recipes: dict[str, str], folder: Path) -> None:
    """Train every recipe (name -> file) with the others; leaves ``NAME-RANK.pt``."""
    with joined_workers(rank, size, folder):
        for name, path in recipes.items():
            torch.save(outcome(Recipe.load(path), folder / name, rank, size), folder / f"{name}-{rank}.pt")
