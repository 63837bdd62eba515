"""The statistics of batch norms, measured anew before an evaluation."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor
from toy_training import ToyNet, batch_of, load_data, train_here

from kinoray.losses import CrossEntropyConfig
from kinoray.recipe import Recipe, TrainingConfig
from kinoray.train.checkpoint import open_checkpoint
from kinoray.train.learner import Learner, train_step
from kinoray.train.local import LocalFeed
from kinoray.train.statistics import renew_statistics
from kinoray.train.world import World
from kinoray.transforms.augment import apply_augmentations
from kinoray.transforms.augmentations import Grayscale

MakeRecipe = Callable[..., Recipe]
CPU = torch.device("cpu")


def learner_of(**training: object) -> Learner:
    torch.manual_seed(0)
    net = ToyNet(num_classes=3, norm="batch", dropout=0.5).train()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    config = TrainingConfig.model_validate({"epochs": 1, **training})
    scaler = torch.amp.GradScaler("cpu", enabled=False)
    return Learner(net, net, optimizer, CrossEntropyConfig(), config, World(), scaler)


def expected(net: ToyNet, clips: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and variance of each channel over all that comes out of the first convolution."""
    with torch.no_grad():
        values = net.conv(net.normalize(clips.flatten(0, 1))).double().transpose(0, 1).flatten(1)
    return values.mean(1).float(), values.var(1).float()


def assert_statistics(net: ToyNet, clips: Tensor) -> None:
    mean, variance = expected(net, clips)
    torch.testing.assert_close(net.norm.running_mean, mean, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(net.norm.running_var, variance, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("micro_batches", [1, 3])
def test_they_are_of_all_values_however_these_are_cut(micro_batches: int) -> None:
    """Batches of two sizes, one with bad videos, one of nothing else."""
    learner = learner_of(micro_batches=micro_batches)
    batches = [batch_of(6, seed=1), batch_of(5, bad=[0, 4], seed=2), batch_of(2, bad=[0, 1], seed=3)]
    weights = {name: value.clone() for name, value in learner.net.named_parameters()}
    renew_statistics(learner, batches)
    assert_statistics(learner.net, torch.cat([batch.on(CPU)[0] for batch in batches[:2]]))
    assert all(torch.equal(value, weights[name]) for name, value in learner.net.named_parameters())
    assert not learner.net.norm._forward_pre_hooks


def test_nothing_is_learned_from_unreadable_videos() -> None:
    """Nor do other buffers than the statistics change, such as a norm's count of its batches."""
    learner = learner_of()
    before = {name: value.clone() for name, value in learner.net.named_buffers()}
    renew_statistics(learner, [batch_of(2, bad=[0, 1])])
    assert all(torch.equal(value, before[name]) for name, value in learner.net.named_buffers())
    renew_statistics(learner, [batch_of(6)])
    changed = {name for name, value in learner.net.named_buffers() if not torch.equal(value, before[name])}
    assert changed == {"norm.running_mean", "norm.running_var"}


def test_they_are_of_augmented_clips() -> None:
    learner, batch = replace(learner_of(), augment=(Grayscale(probability=1),)), batch_of(6)
    renew_statistics(learner, [batch])
    assert_statistics(learner.net, apply_augmentations(learner.augment, batch.on(CPU)[0], batch.clip_seeds))


def test_frozen_norms_and_nets_without_any_keep_what_they_have() -> None:
    learner = learner_of()
    learner.net.norm.requires_grad_(False)
    before = learner.net.norm.running_mean.clone()
    assert not torch.equal(expected(learner.net, batch_of(6).on(CPU)[0])[0], before)

    def never() -> Iterator[None]:
        raise AssertionError("no batch is needed")
        yield

    renew_statistics(learner, never())
    assert torch.equal(learner.net.norm.running_mean, before)


def test_those_of_the_average_are_measured_where_it_is_evaluated() -> None:
    from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

    learner = learner_of()
    learner = replace(learner, average=AveragedModel(learner.net, multi_avg_fn=get_ema_multi_avg_fn(0.5)))
    for seed in range(3):
        train_step(learner, batch_of(6, seed=seed))
    trained = learner.net.norm.running_mean.clone()
    renew_statistics(learner, [batch_of(6, seed=7)])
    assert_statistics(learner.result, batch_of(6, seed=7).on(CPU)[0])
    assert torch.equal(learner.net.norm.running_mean, trained)


def test_before_each_evaluation(toy_recipe: MakeRecipe, tmp_path: Path) -> None:
    """The checkpoint holds the statistics of the first batches of its epoch, by its own weights."""
    recipe = toy_recipe({"training.precise_batch_norm": 3})
    train_here(recipe, tmp_path)
    checkpoint = open_checkpoint(tmp_path / "epoch-0001")
    net = recipe.model.build()
    checkpoint.restore_model(net)
    batches = list(LocalFeed(recipe, load_data(recipe), num_threads=1).train(1))
    assert len(batches) == 4
    assert_statistics(net, torch.cat([batch.on(CPU)[0] for batch in batches[:3]]))


def test_not_between_evaluations(toy_recipe: MakeRecipe, tmp_path: Path) -> None:
    values = {"evaluation.every_epochs": 2, "training.keep_best": 2}
    for name, number in (("precise", 2), ("plain", None)):
        train_here(toy_recipe(values | {"training.precise_batch_norm": number}), tmp_path / name)
    first, last = (
        [open_checkpoint(tmp_path / name / f"epoch-000{epoch}").weights() for name in ("precise", "plain")]
        for epoch in range(2)
    )
    assert all(torch.equal(value, first[1][name]) for name, value in first[0].items())
    differs = {name for name, value in last[0].items() if not torch.equal(value, last[1][name])}
    assert differs >= {"norm.running_mean", "norm.running_var"}
    assert not any(name in differs for name in ("conv.weight", "fc.weight"))
