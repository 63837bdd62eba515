"""A trained checkpoint as a recognizer of single videos."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from toy_training import CLASSES, load_data, train_here

import kinoray
from kinoray.errors import CheckpointError, ConfigError, DecodeError
from kinoray.recipe import Recipe
from kinoray.recognizer import Recognition, VideoRecognizer, load_recognizer
from kinoray.train.checkpoint import open_checkpoint
from kinoray.train.evaluate import predict
from kinoray.train.local import LocalFeed
from kinoray.train.world import World

MakeRecipe = Callable[..., Recipe]


@pytest.fixture(scope="module")
def trained(toy_videos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from toy_training import toy_values

    # Two views, so that averaging counts, and weights that would have to be fetched, had they not been trained since.
    recipe = Recipe.from_mapping(toy_values(toy_videos), "test").replace({"data.val.sampling.num_clips": 2})
    folder = tmp_path_factory.mktemp("trained") / "run"
    train_here(recipe, folder)
    train_here(recipe.replace({"training.epochs": 3, "model.pretrained": "NAME"}), folder)
    return folder


@pytest.fixture(scope="module")
def recognizer(trained: Path) -> VideoRecognizer:
    return load_recognizer(trained / "epoch-0002")


@pytest.fixture
def video(toy_videos: Path) -> Path:
    return toy_videos / "val-rising-0.mp4"


def test_scores_are_those_of_an_evaluation(trained: Path, recognizer: VideoRecognizer) -> None:
    recipe = open_checkpoint(trained / "epoch-0002").recipe()
    dataset = load_data(recipe)
    feed = LocalFeed(recipe, dataset, num_threads=1)
    scored = predict(recognizer.model, feed.val(0), average=recipe.evaluation.average, world=World())
    paths = dataset.val.table["path"].to_pylist()
    found = np.stack([recognizer.recognize(path).scores for path in paths])
    np.testing.assert_allclose(found, scored.scores, atol=1e-6)
    assert found.sum(axis=1) == pytest.approx(np.ones(9), abs=1e-6)


def test_a_path_bytes_and_an_open_file_are_the_same(recognizer: VideoRecognizer, video: Path) -> None:
    expected = recognizer.recognize(video).scores
    assert expected.shape == (3,)
    assert expected.dtype == np.float32
    with video.open("rb") as file:
        sources = [str(video), f"file://{video}", video.read_bytes(), file]
        for source in sources:
            assert np.array_equal(recognizer.recognize(source).scores, expected)
        assert not file.closed


def test_the_best_come_first(recognizer: VideoRecognizer, video: Path) -> None:
    found = recognizer.recognize(video)
    ranked = found.top(2)
    assert len(ranked) == 2
    assert ranked[0] == (CLASSES[int(found.scores.argmax())], float(found.scores.max()))
    assert ranked[0][1] >= ranked[1][1]
    assert {name for name, _ in found.top(10)} == set(CLASSES)


def test_of_equal_scores_the_later_class_is_better() -> None:
    """As metrics have it."""
    assert Recognition(np.array([0.25, 0.5, 0.5], np.float32), CLASSES).top(1) == [("falling", 0.5)]


def test_called_it_gives_logits(recognizer: VideoRecognizer) -> None:
    clips = torch.randint(0, 256, (2, 3, 3, 4, 16, 16), dtype=torch.uint8)
    logits = recognizer(clips)
    assert logits.shape == (2, 3, 3)
    assert not recognizer.model.training
    assert torch.equal(logits, recognizer(clips))


def test_a_runs_folder_stands_for_its_best(trained: Path, video: Path) -> None:
    best = open_checkpoint(trained).folder
    loaded = kinoray.load_recognizer(str(trained))
    assert np.array_equal(loaded.recognize(video).scores, load_recognizer(best).recognize(video).scores)
    assert loaded.classes == CLASSES


@pytest.mark.parametrize(("content", "why"), [(None, "no such file"), (b"", "empty"), (b"text" * 99, "clip.mp4")])
def test_a_bad_video_is_an_error(recognizer: VideoRecognizer, tmp_path: Path, content: bytes | None, why: str) -> None:
    if content is not None:
        (tmp_path / "clip.mp4").write_bytes(content)
    with pytest.raises(DecodeError, match=why):
        recognizer.recognize(tmp_path / "clip.mp4")


def test_bad_bytes_are_an_error(recognizer: VideoRecognizer) -> None:
    with pytest.raises(DecodeError, match="video in memory"):
        recognizer.recognize(b"text" * 99)


def test_what_is_no_checkpoint_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no such folder"):
        load_recognizer(tmp_path / "absent")


def test_a_recipe_without_val_has_no_views(toy_recipe: MakeRecipe, tmp_path: Path) -> None:
    values = toy_recipe({"training.epochs": 1}).model_dump(mode="json")
    values["data"]["val"] = None
    train_here(Recipe.from_mapping(values, "test"), tmp_path)
    with pytest.raises(ConfigError, match=r"data\.val: missing"):
        load_recognizer(tmp_path)


def test_a_recipe_with_weights_from_elsewhere(trained: Path, recognizer: VideoRecognizer, video: Path) -> None:
    folder = trained / "epoch-0002"
    for weights in (folder, folder / "model.safetensors"):
        loaded = load_recognizer(folder / "recipe.yaml", weights)
        assert np.array_equal(loaded.recognize(video).scores, recognizer.recognize(video).scores)


def test_weights_of_another_label_set_are_refused(trained: Path, tmp_path: Path) -> None:
    recipe = open_checkpoint(trained / "epoch-0002").recipe(["model.num_classes=7"])
    (tmp_path / "seven.yaml").write_text(recipe.yaml())
    with pytest.raises(CheckpointError, match="another number of classes"):
        load_recognizer(tmp_path / "seven.yaml", trained / "epoch-0002" / "model.safetensors")
