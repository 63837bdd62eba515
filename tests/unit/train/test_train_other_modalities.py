"""Skeletons and sound go through the whole pipeline, and networks of every kind learn from them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from toy_skeletons import MOTIONS, SOUNDS, write_figures, write_sounds

from kinoray.recipe import Recipe
from kinoray.train.events import EpochDone, Event
from kinoray.train.local import fit_locally

Train = Callable[[dict[str, Any]], float]


@pytest.fixture(scope="module")
def figures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("figures") / "figures.pkl"
    write_figures(path, train_per_motion=16, val_per_motion=6)
    return path


@pytest.fixture
def train(tmp_path: Path) -> Train:
    def make(values: dict[str, Any]) -> float:
        """Accuracy on ``val`` after the last epoch."""
        recipe = Recipe.from_mapping(values, "test")
        events: list[Event] = []
        dataset = recipe.data.load(recipe.model.num_classes)
        fit_locally(recipe, dataset, tmp_path / "run", num_threads=1, emit=events.append)
        last = [event for event in events if isinstance(event, EpochDone)][-1]
        assert last.evaluation is not None
        return last.evaluation.metrics["top1"]

    return make


def recipe_on_figures(
    figures: Path, view: dict[str, Any], val: dict[str, Any], model: dict[str, Any]
) -> dict[str, Any]:
    source = {"kind": "skeletons", "path": str(figures)}
    return {
        "model": {"num_classes": len(MOTIONS), **model},
        "data": {
            "train": {**view, "source": {**source, "split": "train"}, "batch_size": 16},
            "val": {**view, **val, "source": {**source, "split": "val"}, "batch_size": 8},
            "classes": list(MOTIONS),
        },
        "optimizer": {"kind": "adamw", "lr": 0.01},
        # Motion is small: running statistics, which start at 1, would take 100 steps to come down to it.
        "training": {"epochs": 4, "precise_batch_norm": 4},
    }


@pytest.mark.parametrize("model", [{"kind": "stgcn"}, {"kind": "agcn", "num_persons": 1}])
def test_graphs_teach(model: dict[str, Any], figures: Path, train: Train) -> None:
    sampling = {"kind": "stratified", "clip_len": 16}
    view = {"kind": "skeleton", "sampling": sampling, "stream": "joint_motion", "num_persons": 1}
    small = {"width": 16, "num_blocks": 2, "halving": [2]}

    assert train(recipe_on_figures(figures, view, {}, {**model, **small})) >= 0.7


def test_heatmaps_teach(figures: Path, train: Train) -> None:
    sampling = {"kind": "stratified", "clip_len": 8}
    view = {"kind": "heatmap", "sampling": sampling, "resize": 20, "crop": 20, "num_persons": 1, "sigma": 1.0}
    model = {"kind": "posec3d", "width": 8, "num_blocks": [1, 1, 1], "dropout": 0.0}
    values = recipe_on_figures(figures, view, {"with_mirrored": True}, model)
    values["data"]["train"]["box"] = {"scale": [0.8, 1.0]}

    assert train(values) >= 0.9


def test_sounds_teach(tmp_path: Path, train: Train) -> None:
    for split, count in (("train", 24), ("val", 6)):
        write_sounds(tmp_path, split, per_sound=count)
    view = {"kind": "audio", "sampling": {"clip_len": 24}, "spectrogram": {"num_bands": 20}}
    values = {
        "model": {"kind": "audio_resnet", "num_classes": len(SOUNDS), "width": 8, "dropout": 0.0},
        "data": {
            "train": {**view, "source": str(tmp_path / "train.csv"), "batch_size": 8},
            "val": {**view, "source": str(tmp_path / "val.csv")},
        },
        "optimizer": {"kind": "adamw", "lr": 0.003},
        "training": {"epochs": 2, "precise_batch_norm": 4},
    }

    assert train(values) >= 0.9
