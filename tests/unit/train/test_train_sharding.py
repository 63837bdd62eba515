"""Two workers that split the model (FSDP2) lose, score and keep what two workers with a model each (DDP) do."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from toy_sharding import worker
from toy_training import toy_values
from toy_workers import outcome

from kinoray.recipe import Recipe
from kinoray.train.checkpoint import open_checkpoint
from kinoray.train.events import EpochDone, StepsDone

# Gradients that are clipped and come in two parts, an optimizer with a memory, an average, measured statistics.
BASIC = {
    "model.kind": "tiny3d",
    "model.num_classes": 3,
    "model.widths": [8, 16, 24],
    "optimizer.kind": "adamw",
    "optimizer.lr": 0.005,
    "optimizer.weight_decay": 0.05,
    "training.clip_grad_norm": 0.3,
    "training.micro_batches": 2,
    "training.ema_decay": 0.7,
    "training.precise_batch_norm": 2,
    "training.keep_best": 2,
    "evaluation.temporal_probe": True,
}
FULL = {"training.sharding": "full"}
ONE_EPOCH = {"training.epochs": 1}
VARIANTS: dict[str, dict[str, Any]] = {
    "ddp": {},
    "full": FULL,
    "full_plain": FULL | {"training.ema_decay": None, "training.precise_batch_norm": None},
    "ddp_plain": {"training.ema_decay": None, "training.precise_batch_norm": None},
    "full_sparing": FULL | {"training.activation_checkpointing": True},
    "full_resumed": FULL,
    "ddp_sparing": {"training.activation_checkpointing": True},
    "ddp_options": ONE_EPOCH | {"training.ddp.bucket_mb": 0.001, "training.ddp.find_unused_parameters": True},
    "ddp_bf16": ONE_EPOCH | {"training.ddp.send_bf16": True},
}


@pytest.fixture(scope="module")
def recipes(toy_videos: Path) -> dict[str, Recipe]:
    basic = Recipe.from_mapping(toy_values(toy_videos), "test").replace(BASIC)
    return {name: basic.replace(values) if values else basic for name, values in VARIANTS.items()}


@pytest.fixture(scope="module")
def folder(recipes: dict[str, Recipe], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of the runs, one beside the other."""
    folder = tmp_path_factory.mktemp("two_workers")
    files = {name: str(folder / f"{name}.yaml") for name in recipes}
    for name, recipe in recipes.items():
        Path(files[name]).write_text(recipe.yaml())
    torch.multiprocessing.spawn(worker, (2, files, folder), nprocs=2)
    return folder


@pytest.fixture
def run(folder: Path) -> Callable[..., dict[str, Any]]:
    return lambda name, rank=0: torch.load(folder / f"{name}-{rank}.pt", weights_only=False)


def steps(run: dict[str, Any]) -> list[tuple[float, float]]:
    """Loss and norm of the gradient."""
    return [(event.loss, event.grad_norm) for event in run["events"] if isinstance(event, StepsDone)]


def metrics(run: dict[str, Any]) -> list[dict[str, float]]:
    return [dict(event.evaluation.metrics) for event in run["events"] if isinstance(event, EpochDone)]


def assert_same_weights(one: Path, other: Path) -> None:
    first, second = open_checkpoint(one), open_checkpoint(other)
    for name, value in second.weights().items():
        # Adam's steps are of the size of lr, however small the gradient: 1e-3 of one of them.
        torch.testing.assert_close(first.weights()[name], value, rtol=1e-4, atol=5e-6, msg=lambda t, n=name: f"{n} {t}")


@pytest.mark.parametrize(
    ("name", "reference"),
    [("full", "ddp"), ("full_plain", "ddp_plain"), ("full_sparing", "ddp"), ("ddp_sparing", "ddp")],
)
def test_they_compute_the_same(run, folder: Path, name: str, reference: str) -> None:
    """Losses and norms within 1e-5; clipped at every step, scored by weights that were averaged."""
    ours, theirs = run(name), run(reference)
    np.testing.assert_allclose(steps(ours), steps(theirs), rtol=1e-5)
    assert all(norm > 0.3 for _, norm in steps(theirs))
    for one, other in zip(metrics(ours), metrics(theirs), strict=True):
        assert one == pytest.approx(other, rel=1e-5)
    assert ours["events"][-1].probe == theirs["events"][-1].probe
    assert run(name, 1)["events"][-1].probe == theirs["events"][-1].probe
    for epoch in range(2):
        assert_same_weights(folder / name / f"epoch-000{epoch}", folder / reference / f"epoch-000{epoch}")


def test_each_holds_a_part_of_every_tensor(run) -> None:
    assert set(run("ddp")["shares"].values()) == {1.0}
    halves = [run("full", rank)["shares"] for rank in range(2)]
    assert all(
        first + second == pytest.approx(1.0) for first, second in zip(*(h.values() for h in halves), strict=True)
    )
    assert all(0.3 < share < 0.7 for name, share in halves[0].items() if not name.startswith("classifier"))


def test_a_sharded_run_goes_on_from_an_unsharded_one(run, folder: Path) -> None:
    np.testing.assert_allclose(steps(run("full_resumed")), steps(run("ddp"))[4:], rtol=1e-5)
    assert_same_weights(folder / "full_resumed" / "epoch-0001", folder / "ddp" / "epoch-0001")


def test_one_worker_goes_on_from_a_sharded_run(recipes: dict[str, Recipe], folder: Path, tmp_path: Path) -> None:
    """Its checkpoint holds whole tensors: the optimizer's, the trained weights and those that were averaged."""
    for name in ("full", "ddp"):
        shutil.copytree(folder / name / "epoch-0000", tmp_path / name / "epoch-0000")
    losses = [steps(outcome(recipes["ddp"], tmp_path / name, 0, 1)) for name in ("full", "ddp")]
    assert len(losses[0]) == 4
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-5)


def test_options_of_ddp_reach_it_and_change_no_number(run) -> None:
    plain, other = run("ddp"), run("ddp_options")
    assert (plain["bucket_bytes"], plain["looks_for_unused"]) == (25 * 2**20, False)
    assert (other["bucket_bytes"], other["looks_for_unused"]) == (int(0.001 * 2**20), True)
    np.testing.assert_allclose(steps(other), steps(plain)[:4], rtol=1e-5)


def test_gradients_sent_in_bf16_are_rounded(run) -> None:
    """8 bits of mantissa: 0.4 % of each gradient, less of their norm; later steps start from other weights."""
    ours, theirs = np.array(steps(run("ddp_bf16"))), np.array(steps(run("ddp"))[:4])
    assert not np.array_equal(ours, theirs)
    np.testing.assert_allclose(ours[0], theirs[0], rtol=4e-3)
    np.testing.assert_allclose(ours[:, 0], theirs[:, 0], rtol=0.05)
