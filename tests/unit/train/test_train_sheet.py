"""The picture of a batch is taken from the tensors that the model got."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from toy_training import ToyNet, train_here

from kinoray.losses import CrossEntropyConfig
from kinoray.recipe import Recipe
from kinoray.train.events import BatchSeen
from kinoray.train.sheet import MAX_FRAMES, MAX_SIDE, MAX_VIDEOS, Sheet, thumbnails

MIXED = {
    "training.mix": {"mixup": 0.8, "cutmix": 1.0},
    "data.train.augment": [{"kind": "grayscale", "probability": 0.5}],
}


@pytest.mark.parametrize("replaced", [{}, MIXED, MIXED | {"training.micro_batches": 2}], ids=["plain", "mix", "parts"])
def test_it_shows_what_went_into_the_first_step(
    toy_recipe: Callable[..., Recipe], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, replaced: dict[str, Any]
) -> None:
    clips: list[Tensor] = []
    targets: list[Tensor] = []
    forward, per_sample = ToyNet.forward, CrossEntropyConfig.per_sample

    def note_clips(self: ToyNet, seen: Tensor) -> Tensor:
        if self.training:
            clips.append(seen)
        return forward(self, seen)

    def note_targets(self: CrossEntropyConfig, logits: Tensor, wanted: Tensor) -> Tensor:
        targets.append(wanted)
        return per_sample(self, logits, wanted)

    monkeypatch.setattr(ToyNet, "forward", note_clips)
    monkeypatch.setattr(CrossEntropyConfig, "per_sample", note_targets)
    events = train_here(toy_recipe({"training.epochs": 1, **replaced}), tmp_path / "run")
    (event,) = (event for event in events if isinstance(event, BatchSeen))
    num_parts = replaced.get("training.micro_batches", 1)
    seen, wanted = torch.cat(clips[:num_parts]), torch.cat(targets[:num_parts])
    assert event.pictures.shape == (6, 4, 16, 16, 3)
    exact = seen[:, 0].permute(0, 2, 3, 4, 1).float().numpy()
    assert np.abs(event.pictures - exact).max() <= 0.5
    assert len(event.labels) == 6
    for labels, target in zip(event.labels, wanted, strict=True):
        shares = np.zeros(3)
        for label, share in labels:
            shares[label] = share
        expected = np.eye(3)[target] if target.ndim == 0 else target.numpy()
        np.testing.assert_allclose(shares, expected, atol=1e-6)
        assert [share for _, share in labels] == sorted((share for _, share in labels), reverse=True)
    assert any(len(labels) > 1 for labels in event.labels) == ("training.mix" in replaced)


def test_it_changes_nothing_in_what_is_learned() -> None:
    """No random number is drawn for it and nothing is written to."""
    clips = (torch.arange(2 * 3 * 4 * 20 * 20) % 256).view(2, 1, 3, 4, 20, 20).float()
    before, state = clips.clone(), torch.get_rng_state()
    Sheet().add(clips, torch.tensor([0, 1]))
    assert torch.equal(clips, before)
    assert torch.equal(torch.get_rng_state(), state)


def test_it_stays_small_whatever_the_batch() -> None:
    sheet = Sheet()
    for _ in range(4):
        sheet.add(torch.zeros(5, 2, 3, 32, 160, 320, dtype=torch.uint8), torch.zeros(5, dtype=torch.int64))
    event = sheet.event()
    assert event.pictures.shape == (MAX_VIDEOS, MAX_FRAMES, MAX_SIDE // 2, MAX_SIDE, 3)
    assert len(event.labels) == MAX_VIDEOS


def test_thumbnails_are_means_of_the_pixels_they_cover_in_time_order() -> None:
    rng = np.random.default_rng(0)
    clips = torch.from_numpy(rng.integers(0, 256, (1, 2, 3, 11, 224, 224), dtype=np.uint8))
    (small,) = thumbnails(clips)
    for place, frame in enumerate((0, 2, 4, 6, 8, 10)):
        blocks = clips[0, 0, :, frame].float().reshape(3, 112, 2, 112, 2).mean(dim=(2, 4))
        assert np.abs(small[place] - blocks.permute(1, 2, 0).numpy()).max() <= 0.5


def test_floating_clips_are_rounded_and_kept_in_range() -> None:
    clips = torch.tensor([-3.0, 0.4, 0.6, 254.7, 300.0]).view(1, 1, 1, 1, 1, 5).expand(1, 1, 3, 1, 5, 5)
    assert thumbnails(clips)[0, 0, 0, :, 0].tolist() == [0, 0, 1, 255, 255]


def test_several_labels_are_all_named_and_none_are_none() -> None:
    sheet = Sheet()
    sheet.add(torch.zeros(2, 1, 3, 1, 8, 8, dtype=torch.uint8), torch.tensor([[1.0, 0, 1.0, 0], [0, 0, 0, 0]]))
    assert [sorted(labels) for labels in sheet.event().labels] == [[(0, 1.0), (2, 1.0)], []]
