"""What a worker's feed starts ahead; all of it is decoded beside the worker, so no Ray is started."""

from collections.abc import Callable

import pytest
import torch
from toy_training import load_data

from kinoray.cluster.ingest import RayFeed
from kinoray.cluster.remote import DecodeBudget
from kinoray.recipe import Recipe
from kinoray.train.world import World

BESIDE = DecodeBudget(threads=1, beside_share=1.0)


@pytest.mark.parametrize(("num_batches", "expected"), [(3, 3), (9, 4)])
def test_the_first_batches_come_once_more(toy_recipe: Callable[..., Recipe], num_batches: int, expected: int) -> None:
    recipe = toy_recipe({"training.precise_batch_norm": num_batches, "evaluation.every_epochs": 2})
    feed = RayFeed(recipe, load_data(recipe), World(1, 2), BESIDE)
    followed = []
    batches = {}
    for what, epoch in (("train", 0), ("train", 1), ("first_batches", 1), ("val", 1)):
        batches[what, epoch] = list(getattr(feed, what)(epoch))
        followed.append(None if feed._next is None else feed._next[0])
    assert followed == [("train", 1), ("first", 1), ("val", 1), None]
    first, whole = batches["first_batches", 1], batches["train", 1]
    assert len(whole) == 4
    assert len(first) == expected
    for again, before in zip(first, whole[:expected], strict=True):
        assert again.video_ids == before.video_ids
        assert torch.equal(again.clips, before.clips)
    assert sum(len(batch.video_ids) for batch in batches["val", 1]) == 4
