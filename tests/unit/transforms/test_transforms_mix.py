import numpy as np
import pytest
import torch
from pydantic import ValidationError

from kinoray.losses import BinaryCrossEntropyConfig, CrossEntropyConfig, FocalConfig
from kinoray.transforms.kinds import MixConfig
from kinoray.transforms.mix import cutmix_box, mix, partners

BOTH = MixConfig(mixup=0.8, cutmix=1.0)
K = 8


@pytest.fixture
def batch():
    """8 videos of 2 views; all pixels of a video have its own level, a multiple of 10."""
    clips = (torch.arange(1, 9, dtype=torch.uint8) * 10).view(8, 1, 1, 1, 1, 1).expand(8, 2, 3, 4, 16, 20).clone()
    seeds = np.random.default_rng(0).integers(2**64, size=8, dtype=np.uint64)
    return clips, torch.eye(K), seeds, np.arange(40, 48)


def test_neighbours_in_the_plan_are_partners():
    assert partners(np.arange(6)) == [1, 0, 3, 2, 5, 4]
    assert partners(np.array([7, 6, 2, 3])) == [1, 0, 3, 2]
    assert partners(np.array([3, 4, 5, 8])) == [0, 2, 1, 3]


@pytest.mark.parametrize("config", [MixConfig(mixup=0.8), MixConfig(cutmix=1.0), BOTH])
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_targets_say_what_clips_are_made_of(config, dtype, batch):
    clips, targets, seeds, positions = batch
    clips = clips.to(dtype)
    before = clips.clone()
    mixed, shares = mix(config, clips, targets, seeds, positions)
    assert torch.equal(clips, before)
    assert (mixed.shape, mixed.dtype) == (clips.shape, dtype)
    torch.testing.assert_close(shares.sum(1), torch.ones(8))
    assert ((shares > 0).sum(1) <= 2).all()
    levels = torch.arange(1.0, 9.0) * 10
    # A level is rounded where clips are uint8.
    tolerance = 0.5 if dtype == torch.uint8 else 1e-3
    torch.testing.assert_close(mixed.float().mean((1, 2, 3, 4, 5)), shares @ levels, rtol=0, atol=tolerance)
    assert (mixed != clips).flatten(1).any(1).sum() >= 5


def test_mixup_blends_and_cutmix_cuts_a_box_over_all_frames(batch):
    clips, targets, seeds, positions = batch
    blended, _ = mix(MixConfig(mixup=0.8), clips, targets, seeds, positions)
    assert all(len(video.unique()) == 1 for video in blended)
    cut, _ = mix(MixConfig(cutmix=1.0), clips, targets, seeds, positions)
    assert (cut == cut[:, :1, :1, :1]).all()
    assert all(set(video.unique().tolist()) <= {10 * n, 10 * (n - 1 ^ 1) + 10} for n, video in enumerate(cut, 1))
    is_other = cut[:, 0, 0, 0] != clips[:, 0, 0, 0]
    assert torch.equal(is_other.sum((1, 2)), is_other.any(1).sum(1) * is_other.any(2).sum(1))


def test_a_worker_computes_what_one_for_all_would(batch):
    """Shares of two workers, in any order of arrival, with one unreadable video."""
    clips, targets, seeds, positions = batch
    together = mix(BOTH, clips, targets, seeds, positions)
    for share in ([0, 1, 2, 3], [6, 7, 4, 5], [1, 0]):
        mixed = mix(BOTH, clips[share], targets[share], seeds[share], positions[share])
        assert all(torch.equal(ours, all_[share]) for ours, all_ in zip(mixed, together, strict=True))
    without_five = [0, 1, 2, 3, 4, 6, 7]
    mixed, shares = mix(BOTH, *(column[without_five] for column in batch))
    assert torch.equal(mixed[4], clips[4])
    assert torch.equal(shares[4], targets[4])
    rest = [0, 1, 2, 3, 5, 6]
    assert torch.equal(mixed[rest], together[0][without_five][rest])


def test_the_share_of_videos_that_is_mixed(batch):
    clips, targets, _, positions = batch
    assert all(torch.equal(x, y) for x, y in zip(mix(MixConfig(mixup=1, probability=0), *batch), batch, strict=False))
    is_mixed = [
        mix(MixConfig(mixup=1.0, probability=0.3), clips, targets, np.arange(8) + 8 * trial, positions)[1].amax(1) < 1
        for trial in range(40)
    ]
    assert 65 < torch.cat(is_mixed).sum() < 130


def test_mixup_and_cutmix_are_as_likely_and_shares_are_beta(batch):
    clips, targets, _, positions = batch
    own, num_blended = [], 0
    for trial in range(60):
        mixed, shares = mix(BOTH, clips, targets, np.arange(8) + 8 * trial, positions)
        own += shares.diagonal().tolist()
        num_blended += sum(
            len(video.unique()) == 1 and 0.01 < share[n] < 0.99
            for n, (video, share) in enumerate(zip(mixed, shares, strict=True))
        )
    assert 180 < num_blended < 280
    assert 0.45 < np.mean(own) < 0.6
    assert np.min(own) < 0.05
    assert np.max(own) > 0.95


def test_a_box_has_the_area_that_is_asked_for_unless_the_edge_cuts_it():
    rng = np.random.default_rng(0)
    boxes = np.array([cutmix_box(100, 200, 0.75, rng) for _ in range(500)])
    tops, lefts, heights, widths = boxes.T
    assert (boxes >= 0).all()
    assert (tops + heights <= 100).all()
    assert (lefts + widths <= 200).all()
    assert heights.max() == 50
    assert widths.max() == 100
    assert 0.2 < np.mean((heights == 50) & (widths == 100)) < 0.3
    assert cutmix_box(10, 10, 1.0, rng)[2:] == (0, 0)
    assert {cutmix_box(10, 10, 0.0, rng) for _ in range(50)} >= {(0, 0, 10, 10)}


@pytest.mark.parametrize("loss", [CrossEntropyConfig(label_smoothing=0.1), BinaryCrossEntropyConfig(), FocalConfig()])
def test_every_loss_takes_mixed_targets(loss, batch):
    _, shares = mix(BOTH, *batch)
    losses = loss.per_sample(torch.randn(8, K), shares)
    assert losses.shape == (8,)
    assert losses.isfinite().all()


def test_mixing_by_nothing_is_a_mistake():
    with pytest.raises(ValidationError, match="mixup or cutmix: both are 0"):
        MixConfig()
    with pytest.raises(ValidationError, match="mixup"):
        MixConfig(mixup=-1)
