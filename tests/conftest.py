"""What all tests share: a small demo set, and recipes on it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kinoray.data.motion8 import generate
from kinoray.recipe import Recipe

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared"
NUM_TRAIN, NUM_VAL = 24, 16


@pytest.fixture(scope="session")
def motion8(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with 24 + 16 videos of the demo set."""
    root = tmp_path_factory.mktemp("motion8") / "set"
    generate(root, num_train=NUM_TRAIN, num_val=NUM_VAL)
    return root


@pytest.fixture
def recipe_values(motion8: Path) -> dict[str, Any]:
    """A recipe that trains in seconds; its norm does not depend on how a batch is dealt."""
    sampling = {"clip_len": 8, "frame_interval": 2}
    return {
        "name": "small",
        "model": {"kind": "tiny3d", "num_classes": 8, "norm": "group"},
        "data": {
            "train": {
                "source": str(motion8 / "train.csv"),
                "sampling": sampling,
                "crop": 32,
                "box": {"scale": [0.6, 1.0]},
                "batch_size": 8,
            },
            "val": {"source": str(motion8 / "val.csv"), "sampling": sampling, "crop": 32, "batch_size": 4},
            "flip_labels": {"left": "right", "right": "left", "cw": "ccw", "ccw": "cw"},
        },
        "optimizer": {"kind": "sgd", "lr": 0.05},
        "training": {"epochs": 2, "log_every_steps": 1},
    }


@pytest.fixture
def make_recipe(recipe_values: dict[str, Any]) -> Callable[..., Recipe]:
    """The small recipe with dotted paths replaced."""

    def make(replaced: dict[str, Any] | None = None) -> Recipe:
        recipe = Recipe.from_mapping(recipe_values, "test")
        return recipe.replace(replaced, "test") if replaced else recipe

    return make
