"""Makes ``toy_training`` importable, and gives the rooms from training upward real videos that teach in seconds."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent / "train" / "helpers"))

from toy_training import toy_values, write_videos  # after the path is set

from kinoray.recipe import Recipe


@pytest.fixture(scope="session")
def toy_videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ``train.csv`` (24 videos) and ``val.csv`` (9): dim, rising and falling light, H.264."""
    root = tmp_path_factory.mktemp("toy_videos")
    write_videos(root, "train", videos_per_class=8)
    write_videos(root, "val", videos_per_class=3)
    return root


@pytest.fixture
def toy_recipe(toy_videos: Path) -> Callable[..., Recipe]:
    """A recipe on the toy videos with dotted paths replaced."""

    def make(replaced: dict[str, Any] | None = None) -> Recipe:
        recipe = Recipe.from_mapping(toy_values(toy_videos), "test")
        return recipe.replace(replaced, "test") if replaced else recipe

    return make
