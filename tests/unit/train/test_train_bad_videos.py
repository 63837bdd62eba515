"""Videos that cannot be read are counted and named, and nothing else: training is as if they had never been there."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from toy_training import load_data, read_rows, train_here, write_manifest

from kinoray.errors import DataError
from kinoray.recipe import Recipe
from kinoray.train.checkpoint import open_checkpoint
from kinoray.train.events import EpochDone, StepsDone
from kinoray.train.local import LocalFeed

MakeRecipe = Callable[..., Recipe]
BAD = ("missing.mp4", "text.mp4", "truncated.mp4")


@pytest.fixture(scope="module")
def partly_bad(toy_videos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The toy videos and three more that are missing, a text, and cut off."""
    root = tmp_path_factory.mktemp("partly_bad")
    shutil.copytree(toy_videos, root, dirs_exist_ok=True)
    (root / "text.mp4").write_text("not a video\n" * 100)
    whole = (root / "train-dim-0.mp4").read_bytes()
    (root / "truncated.mp4").write_bytes(whole[: len(whole) // 2])
    rows = read_rows(root / "train.csv")
    write_manifest(root / "train.csv", rows + [(name, "rising") for name in BAD])
    return root


def bad_recipe(toy_recipe: MakeRecipe, root: Path, **replaced: object) -> Recipe:
    values = {"data.train.source": str(root / "train.csv"), "data.max_bad_fraction": 0.2, "data.train.batch_size": 3}
    return toy_recipe(values | {name.replace("__", "."): value for name, value in replaced.items()})


def plain_training(recipe: Recipe) -> tuple[list[float], dict[str, torch.Tensor]]:
    """The losses and weights of a plain loop that leaves bad videos out, and skips a batch of nothing else."""
    torch.manual_seed(recipe.seed)
    net = recipe.model.build().train()
    optimizer = recipe.optimizer.build(net)
    feed = LocalFeed(recipe, load_data(recipe), num_threads=1)
    losses = []
    for epoch in range(recipe.training.epochs):
        for batch in feed.train(epoch):
            good = [index for index, error in enumerate(batch.errors) if not error]
            if not good:
                continue
            logits = net(batch.clips[good].permute(0, 1, 5, 2, 3, 4))[:, 0]
            loss = torch.nn.functional.cross_entropy(logits, batch.labels[good])
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()
            losses.append(loss.item())
    return losses, net.state_dict()


@pytest.mark.parametrize("batch_size", [3, 1], ids=["among others", "alone in their batch"])
@pytest.mark.parametrize("norm", ["batch", "group"])
def test_they_change_nothing(
    toy_recipe: MakeRecipe, partly_bad: Path, tmp_path: Path, norm: str, batch_size: int
) -> None:
    recipe = bad_recipe(toy_recipe, partly_bad, data__train__batch_size=batch_size, model__norm=norm)
    events = train_here(recipe, tmp_path)
    losses, weights = plain_training(recipe)
    told = [event.loss for event in events if isinstance(event, StepsDone)]
    assert len(losses) == 2 * 24 if batch_size == 1 else 2 * 9
    # Sum over n against mean: the last digit of a float32 may differ, and 18 steps carry it on.
    np.testing.assert_allclose(told, losses, rtol=1e-4)
    last = open_checkpoint(tmp_path / "epoch-0001").weights()
    for name, value in weights.items():
        torch.testing.assert_close(last[name], value, rtol=1e-4, atol=1e-5)


def test_they_are_named_in_every_epoch(toy_recipe: MakeRecipe, partly_bad: Path, tmp_path: Path) -> None:
    epochs = [e for e in train_here(bad_recipe(toy_recipe, partly_bad), tmp_path) if isinstance(e, EpochDone)]
    for epoch in epochs:
        found = {video.video_id: video for video in epoch.bad_videos}
        assert sorted(found) == sorted(BAD)
        assert all(video.path == str(partly_bad / name) for name, video in found.items())
        assert "no such file" in found["missing.mp4"].error
        assert all(str(partly_bad / name) in video.error for name, video in found.items())


def test_a_label_of_a_bad_video_does_not_matter(toy_recipe: MakeRecipe, partly_bad: Path, tmp_path: Path) -> None:
    rows = [(path, "dim" if path in BAD else label) for path, label in read_rows(partly_bad / "train.csv")]
    write_manifest(partly_bad / "other.csv", rows)
    runs = []
    for name in ("train.csv", "other.csv"):
        recipe = bad_recipe(toy_recipe, partly_bad, data__train__source=str(partly_bad / name))
        runs.append([e.loss for e in train_here(recipe, tmp_path / name) if isinstance(e, StepsDone)])
    assert runs[0] == runs[1]


def test_too_many_stop_training_as_soon_as_they_are_too_many(
    toy_recipe: MakeRecipe, partly_bad: Path, tmp_path: Path
) -> None:
    recipe = bad_recipe(toy_recipe, partly_bad, data__max_bad_fraction=0.05)  # of 27: one is fine, two are not
    events: list[object] = []
    with pytest.raises(
        DataError, match=r"2 of 27 videos could not be read, more than data\.max_bad_fraction \(0\.05\)"
    ):
        train_here(recipe, tmp_path, events.append)
    steps = [event for event in events if isinstance(event, StepsDone)]
    feed = LocalFeed(recipe, load_data(recipe), num_threads=1)
    bad_so_far = np.cumsum([len(batch.errors) - batch.num_good for batch in feed.train(0)])
    assert len(steps) == np.argmax(bad_so_far > 1) + 1 < 9
    assert not list(tmp_path.iterdir())


def test_too_many_stop_training_at_the_end_of_the_epoch_at_the_latest(
    toy_recipe: MakeRecipe, partly_bad: Path, tmp_path: Path
) -> None:
    recipe = bad_recipe(toy_recipe, partly_bad, data__max_bad_fraction=0.05, training__log_every_steps=100)
    with pytest.raises(DataError, match="3 of 27 videos"):
        train_here(recipe, tmp_path)


def test_nothing_but_bad_videos_is_an_error_whatever_the_limit(
    toy_recipe: MakeRecipe, toy_videos: Path, tmp_path: Path
) -> None:
    (tmp_path / "text.mp4").write_text("not a video\n")
    write_manifest(tmp_path / "train.csv", [("text.mp4", "dim"), ("missing.mp4", "rising"), ("gone.mp4", "falling")])
    recipe = bad_recipe(toy_recipe, tmp_path, data__max_bad_fraction=1.0, data__train__batch_size=1)
    events: list[object] = []
    with pytest.raises(DataError, match="epoch 1: none of its videos could be read; the first: "):
        train_here(recipe, tmp_path / "run", events.append)
    assert not [event for event in events if isinstance(event, StepsDone)]


def test_a_bad_val_video_is_left_out_of_the_score(toy_recipe: MakeRecipe, partly_bad: Path, tmp_path: Path) -> None:
    rows = read_rows(partly_bad / "val.csv")
    write_manifest(partly_bad / "val_bad.csv", [rows[0], ("text.mp4", "dim"), *rows[1:]])
    limit = {"data__max_bad_fraction": 0.5}
    clean = train_here(bad_recipe(toy_recipe, partly_bad, **limit), tmp_path / "clean")
    source = {"data__val__source": str(partly_bad / "val_bad.csv")}
    mixed = train_here(bad_recipe(toy_recipe, partly_bad, **limit, **source), tmp_path / "mixed")
    for one, other in zip(clean, mixed, strict=True):
        if isinstance(one, EpochDone):
            assert other.evaluation.num_videos == 9
            assert [video.video_id for video in other.evaluation.bad_videos] == ["text.mp4"]
            assert other.evaluation.metrics == pytest.approx(one.evaluation.metrics, rel=1e-6)
            assert np.array_equal(other.evaluation.confusion, one.evaluation.confusion)
