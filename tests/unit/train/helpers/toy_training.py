"""A recognizer small enough to train in a test, videos that teach it, and what tests of training share.

A module of its own name, so that recipes reach it as ``toy_training:ToyConfig`` and other processes can import it.
"""

import csv
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import av
import numpy as np
import torch
from torch import Tensor, nn

from kinoray.data.config import Dataset
from kinoray.losses import LossConfig
from kinoray.models.base import Recognizer
from kinoray.models.kinds import ModelConfig
from kinoray.recipe import Recipe
from kinoray.train.batch import Batch
from kinoray.train.events import Event
from kinoray.train.local import LocalFeed
from kinoray.train.loop import fit
from kinoray.train.store import RunStore
from kinoray.train.world import World

CLASSES = ("dim", "rising", "falling")
LIGHT = {"dim": (60, 60), "rising": (60, 200), "falling": (200, 60)}
NUM_FRAMES, HEIGHT, WIDTH = 10, 32, 48


class ToyNet(Recognizer):
    """Two 3D convolutions; sees in which order frames come."""

    def __init__(self, *, num_classes: int, norm: Literal["batch", "group"], dropout: float) -> None:
        super().__init__(num_classes=num_classes, mean=(128.0, 128.0, 128.0), std=(50.0, 50.0, 50.0))
        self.conv = nn.Conv3d(3, 8, 3, stride=(1, 4, 4), padding=(0, 1, 1), bias=False)
        self.norm = nn.BatchNorm3d(8) if norm == "batch" else nn.GroupNorm(2, 8)
        self.mix = nn.Conv3d(8, 16, 1)
        self.dropout = nn.Dropout(dropout)
        self.fc = nn.Linear(16, num_classes)

    def forward_features(self, clips: Tensor) -> Tensor:
        return self.mix(self.norm(self.conv(clips)).relu()).relu().mean(dim=(2, 3, 4))

    def forward_head(self, features: Tensor) -> Tensor:
        return self.fc(self.dropout(features))

    def head(self) -> nn.Module:
        return self.fc


class ToyConfig(ModelConfig):
    kind: str = "toy_training:ToyConfig"
    norm: Literal["batch", "group"] = "batch"
    dropout: float = 0.0
    pretrained: str | None = None

    def build(self) -> ToyNet:
        if self.pretrained is not None:
            raise AssertionError(f"{self.pretrained} would be fetched")
        return ToyNet(num_classes=self.num_classes, norm=self.norm, dropout=self.dropout)


class BrokenGradientLoss(LossConfig):
    """Finite, but its gradient is not a number."""

    kind: str = "toy_training:BrokenGradientLoss"

    def per_sample(self, logits: Tensor, labels: Tensor) -> Tensor:
        return (logits.float().sum(1) * 0).sqrt() + 1


class ByHand(Recognizer):
    """Scores how much brighter (``rising``) or darker the clip gets, or, blind to order, how bright it is."""

    def __init__(self, *, sees_order: bool) -> None:
        super().__init__(num_classes=3, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
        self.sees_order = sees_order

    def forward_features(self, clips: Tensor) -> Tensor:
        return clips.mean(dim=(1, 3, 4))

    def forward_head(self, features: Tensor) -> Tensor:
        """``(B, T)`` light of each frame -> ``(B, 3)``."""
        change = features[:, -1] - features[:, 0] if self.sees_order else torch.zeros(len(features))
        brightest = features.amax(dim=1)
        return torch.stack([95 - brightest, change, -change], dim=1)

    def head(self) -> nn.Module:
        return nn.Identity()


def write_video(path: Path, levels: np.ndarray, rng: np.random.Generator) -> None:
    """H.264, one grey level a frame, with a grain of its own."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10, options={"crf": "12", "threads": "1"})
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for level in levels:
            grain = rng.normal(0, 6, (HEIGHT // 8, WIDTH // 8, 1)).repeat(8, 0).repeat(8, 1)
            image = np.clip(level + grain, 0, 255).astype(np.uint8).repeat(3, 2)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())


def write_videos(root: Path, split: str, *, videos_per_class: int) -> None:
    """``{split}.csv`` and its videos."""
    rng = np.random.default_rng(len(split))
    rows = []
    for label, (first, last) in LIGHT.items():
        for number in range(videos_per_class):
            name = f"{split}-{label}-{number}.mp4"
            write_video(root / name, np.linspace(first, last, NUM_FRAMES) + rng.normal(0, 10), rng)
            rows.append((name, label))
    write_manifest(root / f"{split}.csv", rows)


def write_manifest(path: Path, rows: list[tuple[str, str]]) -> None:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([("path", "label"), *rows])


def read_rows(path: Path) -> list[tuple[str, str]]:
    with path.open(newline="") as file:
        return [(row["path"], row["label"]) for row in csv.DictReader(file)]


def toy_values(root: Path) -> dict[str, Any]:
    sampling = {"clip_len": 4, "frame_interval": 2}
    train = {
        "sampling": sampling,
        "crop": 16,
        "box": {"scale": [0.5, 1.0]},
        "batch_size": 6,
        "source": str(root / "train.csv"),
    }
    val = {"sampling": sampling, "crop": 16, "batch_size": 2, "source": str(root / "val.csv")}
    return {
        "name": "toy",
        "model": {"kind": "toy_training:ToyConfig", "num_classes": 3},
        "data": {"train": train, "val": val, "classes": list(CLASSES)},
        "optimizer": {"kind": "sgd", "lr": 0.05, "momentum": 0.9, "weight_decay": 1e-4},
        "training": {"epochs": 2, "log_every_steps": 1},
    }


def batch_of(num_videos: int, *, num_views: int = 1, bad: Sequence[int] = (), seed: int = 0) -> Batch:
    """Noise, with blank clips where a video is bad."""
    rng = np.random.default_rng(seed)
    clips = rng.integers(0, 256, (num_videos, num_views, 4, 16, 16, 3), dtype=np.uint8)
    clips[list(bad)] = 0
    return Batch.from_columns(
        {
            "clip": clips,
            "label": np.arange(num_videos) % 3,
            "video_id": np.array([f"v{index}" for index in range(num_videos)]),
            "position": np.arange(num_videos),
            "clip_seed": np.arange(num_videos),
            "error": np.array(["cannot be read" if index in bad else "" for index in range(num_videos)]),
            "decode_seconds": np.full(num_videos, 0.25),
            "facts": np.full(num_videos, ""),
            "colour": np.zeros(num_videos, np.int64),
        }
    )


def load_data(recipe: Recipe) -> Dataset:
    return recipe.data.load(recipe.model.num_classes)


def train_here(recipe: Recipe, folder: Path, emit: Callable[[Event], None] | None = None) -> list[Event]:
    """Fit on one thread of the CPU, also where there is a GPU; returns the events."""
    events: list[Event] = []

    def listen(event: Event) -> None:
        events.append(event)
        if emit is not None:
            emit(event)

    store = RunStore(str(folder), monitor=recipe.evaluation.monitor, keep_best=recipe.training.keep_best)
    fit(recipe, LocalFeed(recipe, load_data(recipe), num_threads=2), store, World(), listen)
    return events
