"""Two workers see the same batches, lose the same and score the same as one."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from toy_training import load_data, read_rows, toy_values, write_manifest
from toy_workers import ShareFeed, outcome, worker

from kinoray.recipe import Recipe
from kinoray.train.events import EpochDone, StepsDone
from kinoray.train.world import World

GROUP = {"model.norm": "group"}
# Weights that stand still (to the bit), so that running statistics can be foretold.
STILL = {"optimizer.lr": 1e-30, "optimizer.weight_decay": 0.0, "training.epochs": 1}


@pytest.fixture(scope="module")
def recipes(toy_videos: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Recipe]:
    basic = Recipe.from_mapping(toy_values(toy_videos), "test")
    missing = tmp_path_factory.mktemp("missing") / "train.csv"
    rows = [(str(toy_videos / name), label) for name, label in read_rows(toy_videos / "train.csv")]
    write_manifest(missing, [("missing.mp4", "dim"), ("absent.mp4", "rising"), *rows])
    # One video for each worker: a bad one is its worker's whole share.
    lonely = {"data.train.source": str(missing), "data.train.batch_size": 2, "data.max_bad_fraction": 0.1}
    return {
        "group": basic.replace(GROUP),
        "still": basic.replace(STILL),
        "bad": basic.replace(GROUP | lonely | {"training.epochs": 1}),
        "bad_still": basic.replace(STILL | lonely),
    }


@pytest.fixture(scope="module")
def two_workers(recipes: dict[str, Recipe], tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Any]]:
    folder = tmp_path_factory.mktemp("two_workers")
    files = {name: str(folder / f"{name}.yaml") for name in recipes}
    for name, recipe in recipes.items():
        Path(files[name]).write_text(recipe.yaml())
    torch.multiprocessing.spawn(worker, (2, files, folder), nprocs=2)
    return {
        name: [torch.load(folder / f"{name}-{rank}.pt", weights_only=False) for rank in range(2)] for name in recipes
    }


@pytest.fixture
def one_worker(recipes: dict[str, Recipe], tmp_path: Path) -> Callable[[str], dict[str, Any]]:
    return lambda name: outcome(recipes[name], tmp_path / "one", 0, 1)


def losses(events: list[Any]) -> list[float]:
    return [event.loss for event in events if isinstance(event, StepsDone)]


@pytest.mark.parametrize("name", ["group", "bad"])
def test_losses_agree(two_workers, one_worker, name: str) -> None:
    """Within 1e-5: gradients of two shares are summed in another order, 1e-7 apart, and few steps make little of it."""
    ours = losses(two_workers[name][0]["events"])
    assert len(ours) == {"group": 8, "bad": 13}[name]
    np.testing.assert_allclose(ours, losses(one_worker(name)["events"]), rtol=1e-5)
    assert losses(two_workers[name][1]["events"]) == ours


def test_every_video_is_seen_once_in_the_same_global_batches(two_workers, one_worker) -> None:
    one = one_worker("group")["seen"]
    shares = [run["seen"] for run in two_workers["group"]]
    assert [first + second for first, second in zip(*shares, strict=True)] == one
    assert {len(share) for run in shares for share in run} == {3}
    for epoch in range(2):
        videos = [video for batch in one[4 * epoch : 4 * epoch + 4] for video in batch]
        assert len(set(videos)) == len(videos) == 24


def test_predictions_are_equal_to_the_bit(two_workers, one_worker) -> None:
    one, (first, second) = one_worker("group"), two_workers["group"]
    assert second["predictions"] is None
    assert second["evaluation"] is None
    assert first["predictions"].video_ids == one["predictions"].video_ids
    assert np.array_equal(first["predictions"].scores, one["predictions"].scores)
    assert first["evaluation"].metrics == one["evaluation"].metrics
    assert np.array_equal(first["evaluation"].confusion, one["evaluation"].confusion)
    assert first["evaluation"].num_videos == 9
    assert first["probe"] == second["probe"] == one["probe"]


def test_epochs_agree(two_workers, one_worker) -> None:
    ours, one = (
        [event for event in events if isinstance(event, EpochDone)]
        for events in (two_workers["bad"][0]["events"], one_worker("bad")["events"])
    )
    assert ours[0].train_loss == pytest.approx(one[0].train_loss, rel=1e-5)
    assert {video.video_id for video in ours[0].bad_videos} == {video.video_id for video in one[0].bad_videos}
    assert len(ours[0].bad_videos) == 2
    assert ours[0].evaluation.metrics == pytest.approx(one[0].evaluation.metrics, rel=1e-4)


@pytest.mark.parametrize("name", ["still", "bad_still"])
def test_running_statistics_are_the_mean_of_the_workers_own(two_workers, recipes, name: str) -> None:
    own = [expected_buffers(recipes[name], rank) for rank in range(2)]
    assert not torch.allclose(own[0]["norm.running_mean"], own[1]["norm.running_mean"], rtol=1e-3)
    for rank in range(2):
        before, after = two_workers[name][rank]["buffers"]
        for key in ("norm.running_mean", "norm.running_var"):
            torch.testing.assert_close(before[key], own[rank][key], rtol=1e-5, atol=1e-6)
            torch.testing.assert_close(after[key], (own[0][key] + own[1][key]) / 2, rtol=1e-5, atol=1e-6)
        assert torch.equal(after["normalize.mean"], before["normalize.mean"])
    assert all(
        torch.equal(two_workers[name][0]["buffers"][1][key], two_workers[name][1]["buffers"][1][key])
        for key in ("norm.running_mean", "norm.running_var")
    )


def expected_buffers(recipe: Recipe, rank: int) -> dict[str, torch.Tensor]:
    """Running statistics after one epoch of a worker's readable videos, by a net whose weights stand still."""
    torch.manual_seed(recipe.seed)
    net = recipe.model.build().train()
    for batch in ShareFeed(recipe, load_data(recipe), World(rank, 2)).train(0):
        if batch.num_good:
            net(batch.on(torch.device("cpu"))[0])
    return dict(net.named_buffers())


def test_one_worker_needs_no_group() -> None:
    world = World()
    values = torch.tensor([1.0, 2.0])
    assert torch.equal(world.sum(values), values)
    assert world.gather("item") == ["item"]
    assert world.is_first
    assert world.describe() == "cpu"
