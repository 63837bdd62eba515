"""Workers that train together until something happens, and others that go on."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from toy_training import ToyConfig, ToyNet, load_data
from toy_workers import ShareFeed, joined_workers

from kinoray.recipe import Recipe
from kinoray.train.events import Event, StepsDone
from kinoray.train.loop import fit
from kinoray.train.store import RunStore
from kinoray.train.world import World

WHITE = 250
"""A grey level that no video of the toy set has."""


class TouchyNet(ToyNet):
    """No number comes of a batch with a white video."""

    def forward_features(self, clips: Tensor) -> Tensor:
        is_white = (clips * 50 + 128).mean(dim=(1, 2, 3, 4)).max() > WHITE
        return super().forward_features(clips) * torch.where(is_white, float("nan"), 1.0)


class TouchyConfig(ToyConfig):
    kind: str = "toy_broken:TouchyConfig"

    def build(self) -> TouchyNet:
        return TouchyNet(num_classes=self.num_classes, norm=self.norm, dropout=self.dropout)


def worker(rank: int, size: int, recipe_file: str, folder: Path, stop_after: int | None) -> None:
    """Train with the others, until so many steps are done; leaves the videos of each step and the reports."""
    recipe = Recipe.load(recipe_file)
    world = World(rank, size)
    reports: list[StepsDone] = []

    def listen(event: Event) -> None:
        if isinstance(event, StepsDone):
            reports.append(event)
            if event.step == stop_after:
                raise KeyboardInterrupt

    with joined_workers(rank, size, folder):
        feed = ShareFeed(recipe, load_data(recipe), world)
        store = RunStore(str(folder / "run"), monitor="top1", keep_best=1)
        try:
            fit(recipe, feed, store, world, listen)
        except KeyboardInterrupt:
            assert stop_after is not None
        found: dict[str, Any] = {"seen": feed.seen, "reports": reports}
        torch.save(found, folder / f"seen-{rank}.pt")
