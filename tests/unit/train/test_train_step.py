"""One optimizer step against a plain full-batch loop."""

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from toy_training import ToyNet, batch_of

from kinoray.recipe import Recipe, TrainingConfig
from kinoray.train.batch import Batch
from kinoray.train.learner import Learner, train_step
from kinoray.train.world import World
from kinoray.transforms.augment import apply_augmentations
from kinoray.transforms.augmentations import Grayscale
from kinoray.transforms.kinds import MixConfig
from kinoray.transforms.mix import mix

MakeRecipe = Callable[..., Recipe]


def learner_of(norm: str = "group", **training: object) -> Learner:
    torch.manual_seed(0)
    net = ToyNet(num_classes=3, norm=norm, dropout=0.0).train()  # type: ignore[arg-type]
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-3)
    from kinoray.losses import CrossEntropyConfig

    settings = TrainingConfig.model_validate({"epochs": 1, **training})
    scaler = torch.amp.GradScaler("cpu", enabled=settings.precision == "fp16")
    return Learner(net, net, optimizer, CrossEntropyConfig(), settings, World(), scaler)


def plain_step(
    learner: Learner, clips: Tensor, labels: Tensor, clip_grad_norm: float = math.inf
) -> tuple[float, float]:
    """Every view is a sample of its video's label; the mean over all of them."""
    logits = learner.net(clips.permute(0, 1, 5, 2, 3, 4))
    samples = [
        torch.nn.functional.cross_entropy(logits[n, m][None], labels[n][None])
        for n in range(logits.shape[0])
        for m in range(logits.shape[1])
    ]
    loss = torch.stack(samples).mean()
    learner.optimizer.zero_grad()
    torch.autograd.backward(loss)
    norm = torch.nn.utils.clip_grad_norm_(learner.net.parameters(), clip_grad_norm)
    learner.optimizer.step()
    return loss.item(), norm.item()


def assert_same_state(one: Learner, other: Learner) -> None:
    for (name, value), expected in zip(one.net.state_dict().items(), other.net.state_dict().values(), strict=True):
        # Sums of up to 32 float32 in another order; gradients are of the size of 1.
        torch.testing.assert_close(value, expected, rtol=1e-5, atol=1e-6, msg=lambda text, name=name: f"{name}: {text}")


def test_a_batch_says_what_it_holds() -> None:
    batch = batch_of(4, num_views=2, bad=[1])
    assert (batch.num_good, batch.decode_seconds, batch.video_ids[3]) == (3, 1.0, "v3")
    clips, labels, weights = batch.on(torch.device("cpu"))
    assert clips.shape == (3, 2, 3, 4, 16, 16)
    assert clips.dtype == torch.uint8
    assert labels.tolist() == [0, 2, 0]
    assert weights.tolist() == [1.0, 1.0, 1.0]
    assert torch.equal(clips[1], batch.clips[2].permute(0, 4, 1, 2, 3))


def test_a_batch_without_bad_videos_is_not_copied() -> None:
    batch = batch_of(4)
    assert batch.on(torch.device("cpu"))[0].data_ptr() == batch.clips.data_ptr()


def test_a_batch_of_bad_videos_keeps_its_shape_and_weighs_nothing() -> None:
    clips, labels, weights = batch_of(2, bad=[0, 1]).on(torch.device("cpu"))
    assert (clips.shape[0], labels.shape[0]) == (2, 2)
    assert weights.tolist() == [0.0, 0.0]


def test_read_only_arrays_are_taken_without_a_warning() -> None:
    columns = {
        "clip": np.zeros((1, 1, 1, 8, 8, 3), np.uint8),
        "label": np.array([0]),
        "video_id": np.array(["v"]),
        "position": np.array([0]),
        "clip_seed": np.array([0]),
        "error": np.array([""]),
        "decode_seconds": np.array([0.0]),
        "facts": np.array([""]),
        "colour": np.array([0]),
    }
    for column in columns.values():
        column.flags.writeable = False
    assert Batch.from_columns(columns).clips.shape == (1, 1, 1, 8, 8, 3)


@pytest.mark.parametrize("num_views", [1, 3])
@pytest.mark.parametrize("norm", ["group", "batch"])
def test_it_is_the_step_of_a_plain_loop(norm: str, num_views: int) -> None:
    ours, plain = learner_of(norm), learner_of(norm)
    for seed in range(3):
        batch = batch_of(6, num_views=num_views, seed=seed)
        totals, norm_told = train_step(ours, batch)
        loss, norm_found = plain_step(plain, batch.clips, batch.labels)
        assert totals[1] == 6
        assert (totals[0] / totals[1]).item() == pytest.approx(loss, rel=1e-5)
        assert norm_told.item() == pytest.approx(norm_found, rel=1e-4)
        assert_same_state(ours, plain)


@pytest.mark.parametrize("norm", ["group", "batch"])
def test_bad_videos_weigh_nothing(norm: str) -> None:
    ours, plain = learner_of(norm), learner_of(norm)
    batch = batch_of(6, bad=[0, 4])
    totals, _ = train_step(ours, batch)
    good = [1, 2, 3, 5]
    loss, _ = plain_step(plain, batch.clips[good], batch.labels[good])
    assert totals.tolist() == pytest.approx([4 * loss, 4], rel=1e-5)
    assert_same_state(ours, plain)


@pytest.mark.parametrize("norm", ["group", "batch"])
def test_a_step_without_readable_videos_changes_nothing(norm: str) -> None:
    ours, plain = learner_of(norm), learner_of(norm)
    for learner in (ours, plain):
        train_step(learner, batch_of(4))  # momentum and decay would move the weights from here on
    totals, grad_norm = train_step(ours, batch_of(3, bad=[0, 1, 2]))
    assert totals.tolist() == [0.0, 0.0]
    assert grad_norm == 0
    assert all(
        torch.equal(value, expected)
        for value, expected in zip(ours.net.state_dict().values(), plain.net.state_dict().values(), strict=True)
    )
    for learner in (ours, plain):
        train_step(learner, batch_of(4, seed=1))
    assert_same_state(ours, plain)


def test_a_large_gradient_is_scaled_down() -> None:
    ours, plain, free = learner_of(clip_grad_norm=0.01), learner_of(), learner_of()
    batch = batch_of(6)
    _, told = train_step(ours, batch)
    _, found = plain_step(plain, batch.clips, batch.labels, clip_grad_norm=0.01)
    _, unclipped = train_step(free, batch)
    assert told.item() == pytest.approx(found, rel=1e-4)
    assert told.item() == pytest.approx(unclipped.item(), rel=1e-6)  # told as it was before clipping
    assert_same_state(ours, plain)
    norms = torch.stack([parameter.grad.norm() for parameter in ours.net.parameters()]).norm()
    assert norms.item() == pytest.approx(0.01, rel=1e-3)


def test_bf16_computes_in_bf16_and_keeps_fp32() -> None:
    half, full = learner_of(precision="bf16"), learner_of()
    seen: list[torch.dtype] = []
    half.net.fc.register_forward_hook(lambda module, inputs, output: seen.append(output.dtype))
    for seed in range(2):
        batch = batch_of(6, seed=seed)
        totals, _ = train_step(half, batch)
        expected, _ = train_step(full, batch)
        # bf16 has 8 bits of mantissa: 2^-8 = 0.4 % a number, and the loss is of the size of 1.
        assert totals[0].item() == pytest.approx(expected[0].item(), rel=0.03)
    assert set(seen) == {torch.bfloat16}
    assert totals.dtype == torch.float64
    assert all(parameter.dtype == parameter.grad.dtype == torch.float32 for parameter in half.net.parameters())
    assert half.net.conv.weight.tolist() != full.net.conv.weight.tolist()


def test_clips_are_not_written_to() -> None:
    batch = batch_of(4, bad=[2])
    before = batch.clips.clone()
    train_step(learner_of("batch"), batch)
    assert torch.equal(batch.clips, before)


@pytest.mark.parametrize(("num_parts", "bad"), [(2, []), (4, [1]), (9, []), (3, [0, 1])])
def test_micro_batches_add_up_to_the_batch(num_parts: int, bad: list[int]) -> None:
    """Also where one of them holds nothing but bad videos; the norm is one that does not look across videos."""
    whole, parted = learner_of(), learner_of(micro_batches=num_parts)
    for seed in range(3):
        batch = batch_of(6, bad=bad, seed=seed)
        (one, one_norm), (other, other_norm) = train_step(whole, batch), train_step(parted, batch)
        assert other.tolist() == pytest.approx(one.tolist(), rel=1e-5)
        assert other_norm.item() == pytest.approx(one_norm.item(), rel=1e-4)
        assert_same_state(parted, whole)


def test_a_part_of_bad_videos_leaves_the_running_statistics() -> None:
    ours, plain = learner_of("batch", micro_batches=3), learner_of("batch", micro_batches=2)
    batch = batch_of(6, bad=[2, 3])
    train_step(ours, batch)
    without = Batch.from_columns(
        {
            "clip": batch.clips.numpy()[[0, 1, 4, 5]],
            "label": batch.labels.numpy()[[0, 1, 4, 5]],
            "video_id": np.array(["v0", "v1", "v4", "v5"]),
            "position": np.arange(4),
            "clip_seed": np.arange(4),
            "error": np.array([""] * 4),
            "decode_seconds": np.zeros(4),
            "facts": np.full(4, ""),
            "colour": np.zeros(4, np.int64),
        }
    )
    train_step(plain, without)
    assert_same_state(ours, plain)


def test_the_average_follows_the_weights() -> None:
    learner = learner_of()
    averaged = AveragedModel(learner.net, multi_avg_fn=get_ema_multi_avg_fn(0.75))
    learner = replace(learner, average=averaged)
    expected = None
    for seed in range(3):
        train_step(learner, batch_of(4, seed=seed))
        weights = {name: value.clone() for name, value in learner.net.named_parameters()}
        expected = weights if expected is None else {n: 0.75 * expected[n] + 0.25 * weights[n] for n in weights}
    assert learner.result is averaged.module
    for name, value in learner.result.named_parameters():
        torch.testing.assert_close(value, expected[name])


def test_half_precision_leaves_out_a_step_that_overflows() -> None:
    learner, untouched = learner_of(precision="fp16"), learner_of(precision="fp16")
    scale = learner.scaler.get_scale()
    for parameter in learner.net.parameters():
        parameter.register_hook(lambda gradient: gradient * torch.inf)
        break
    _, norm = train_step(learner, batch_of(4))
    assert norm == 0
    assert learner.scaler.get_scale() == scale / 2
    assert_same_state(learner, untouched)


@pytest.mark.parametrize(("precision", "rel"), [("bf16", 0.05), ("fp16", 0.01)])
def test_reduced_precision_learns_nearly_the_same(precision: str, rel: float) -> None:
    full, reduced = learner_of(), learner_of(precision=precision)
    for seed in range(3):
        batch = batch_of(6, seed=seed)
        (one, one_norm), (other, other_norm) = train_step(full, batch), train_step(reduced, batch)
        assert other[0].item() == pytest.approx(one[0].item(), rel=rel)
        assert other_norm.item() == pytest.approx(one_norm.item(), rel=10 * rel)
    assert all(parameter.dtype == torch.float32 for parameter in reduced.net.parameters())


def test_pixels_are_augmented_and_videos_mixed() -> None:
    """As if the batch had come augmented and mixed, with shares of labels."""
    config = Grayscale(probability=1)
    how = MixConfig(mixup=0.8)
    learner, plain = replace(learner_of(mix=how.model_dump()), augment=(config,)), learner_of()
    batch = batch_of(6)
    totals, _ = train_step(learner, batch)
    clips, labels, _ = batch.on(torch.device("cpu"))
    clips = apply_augmentations((config,), clips, batch.clip_seeds)
    clips, shares = mix(how, clips, torch.nn.functional.one_hot(labels, 3).float(), batch.clip_seeds, batch.positions)
    assert ((shares > 0).sum(1) == 2).any()
    losses = torch.nn.functional.cross_entropy(plain.net(clips)[:, 0], shares)
    assert (totals[0] / totals[1]).item() == pytest.approx(losses.item(), rel=1e-5)
