"""A worker's batches: the plan's order, whoever decodes and whatever the number of workers; bad videos as rows."""

import os
import time

import pytest
import ray
import torch

from kinoray.cluster.ingest import RayFeed, decoded
from kinoray.cluster.remote import DecodeBudget
from kinoray.data.plan import evaluation_plan
from kinoray.data.reading import ClipReader
from kinoray.errors import ResourceError
from kinoray.train.local import LocalFeed
from kinoray.train.world import World

pytestmark = pytest.mark.ray
REMOTE = DecodeBudget(cpus=1, cpus_per_task=0.5, object_store_bytes=2**28)
CPU = torch.device("cpu")
BESIDE = DecodeBudget(threads=2, beside_share=1)
BOTH = DecodeBudget(threads=1, beside_share=0.4, cpus=1, cpus_per_task=0.5, object_store_bytes=2**28)


ONE_EPOCH = {"training.epochs": 1, "data.val": None}
"""No stream is begun ahead, which nobody would take and which might still run when the session ends."""


def feed(recipe, dataset, *, rank=0, size=1, budget=REMOTE):
    return RayFeed(recipe, dataset, World(rank, size), budget)


@pytest.mark.parametrize("budget", [REMOTE, BESIDE, BOTH], ids=["remote", "beside", "both"])
def test_batches_are_those_of_a_feed_without_ray(make_recipe, budget):
    recipe = make_recipe({"data.train.batch_size": 5, "data.val": None})
    dataset = recipe.data.load(8)
    fed = feed(recipe, dataset, budget=budget)
    for epoch in (0, 1):
        over_ray = list(fed.train(epoch))
        beside = list(LocalFeed(recipe, dataset, num_threads=1).train(epoch))
        assert [batch.video_ids for batch in over_ray] == [batch.video_ids for batch in beside]
        for one, other in zip(over_ray, beside, strict=True):
            assert torch.equal(one.clips, other.clips)
            assert torch.equal(one.labels, other.labels)


@pytest.mark.parametrize("store_bytes", [2**28, 2**18], ids=["whole_batches", "small_blocks"])
def test_packed_rows_are_those_of_a_feed_without_ray(make_recipe, motion8, tmp_path, store_bytes):
    """Also where a batch comes from several blocks, and with a row of a bad video in it."""
    lines = (motion8 / "train.csv").read_text().splitlines()
    rows = [f"{video},{motion8 / path},{label}" for video, path, label in (line.split(",") for line in lines[1:])]
    manifest = tmp_path / "train.csv"
    manifest.write_text("\n".join(["video_id,path,label", f"gone,{tmp_path / 'gone.mp4'},left", *rows]))
    native = {"data.train.pixels": "native", "data.train.repeats": 2, "data.train.source": str(manifest)}
    recipe = make_recipe({"data.train.batch_size": 5, "data.max_bad_fraction": 0.2, **native, **ONE_EPOCH})
    dataset = recipe.data.load(8)
    budget = DecodeBudget(cpus=1, cpus_per_task=0.5, object_store_bytes=store_bytes)
    over_ray = list(feed(recipe, dataset, budget=budget).train(0))
    beside = list(LocalFeed(recipe, dataset, num_threads=1).train(0))
    assert len(over_ray) == len(beside) > 2
    assert sum(batch.num_good < 5 for batch in beside) == 1
    for one, other in zip(over_ray, beside, strict=True):
        assert one.errors == other.errors
        assert torch.equal(one.all_clips_on(CPU), other.all_clips_on(CPU))
        for index in range(5):
            assert one.clips.row(index).tobytes() == other.clips.row(index).tobytes()


def test_two_workers_share_each_global_batch(make_recipe):
    recipe = make_recipe(ONE_EPOCH)
    dataset = recipe.data.load(8)
    whole = list(feed(recipe, dataset).train(0))
    halves = [list(feed(recipe, dataset, rank=rank, size=2).train(0)) for rank in (0, 1)]
    assert len(whole) == len(halves[0]) == len(halves[1]) == 3
    for global_batch, first, second in zip(whole, *halves, strict=True):
        assert global_batch.video_ids == first.video_ids + second.video_ids
        assert torch.equal(global_batch.clips, torch.cat([first.clips, second.clips]))


def test_evaluation_shares_hold_every_video_once(make_recipe):
    recipe = make_recipe({"data.val.batch_size": 3, "training.epochs": 1})
    dataset = recipe.data.load(8)
    shares = [list(feed(recipe, dataset, rank=rank, size=2).val(0)) for rank in (0, 1)]
    positions = [position for share in shares for batch in share for position in batch.positions.tolist()]
    assert sorted(positions) == list(range(16))
    assert [len(batch.video_ids) for batch in shares[0]] == [3, 3, 3]
    assert [len(batch.video_ids) for batch in shares[1]] == [3, 3, 1]


def test_a_slow_worker_is_not_flooded(make_recipe):
    """Blocks wait in the store up to the budget, not beyond it; and waiting takes no CPU time of the worker."""
    recipe = make_recipe()
    split, table = recipe.data.val, recipe.data.load(8).val.table
    clip_bytes = torch.Size(split.clip_shape()).numel()
    budget = DecodeBudget(cpus=1, object_store_bytes=6 * clip_bytes)
    batches = decoded(evaluation_plan(table), ClipReader(split), 1, budget, World()).batches()
    first = next(batches)
    time.sleep(1)  # enough to decode all sixteen
    started = time.process_time()
    time.sleep(1)
    assert time.process_time() - started < 0.3
    held = ray.cluster_resources()["object_store_memory"] - ray.available_resources()["object_store_memory"]
    assert held < 12 * clip_bytes
    assert [first.positions[0], *(batch.positions[0] for batch in batches)] == list(range(16))


def test_the_next_stream_begins_early_and_belongs_to_the_next_epoch(make_recipe):
    recipe = make_recipe()
    dataset = recipe.data.load(8)
    ahead = feed(recipe, dataset)
    first = ahead.train(0)
    next(first)
    assert ahead._next is not None, "three batches: the next stream is due with the first"
    in_turn = [list(first), list(ahead.val(0)), list(ahead.train(1)), list(ahead.val(1))]
    fresh = [
        list(feed(recipe, dataset, budget=BESIDE).train(0))[1:],
        list(feed(recipe, dataset, budget=BESIDE).val(0)),
        list(feed(recipe, dataset, budget=BESIDE).train(1)),
        list(feed(recipe, dataset, budget=BESIDE).val(1)),
    ]
    for got, expected in zip(in_turn, fresh, strict=True):
        assert [batch.video_ids for batch in got] == [batch.video_ids for batch in expected]


def test_a_bad_video_is_a_row_with_its_error(make_recipe, motion8, tmp_path):
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"<html>not found</html>")
    rows = (motion8 / "val.csv").read_text().splitlines()
    manifest = tmp_path / "val.csv"
    lines = ["video_id,path,label", f"bad,{broken},left", f"gone,{tmp_path / 'gone.mp4'},right"]
    lines += [f"{video},{motion8 / path},{label}" for video, path, label in (row.split(",") for row in rows[1:])]
    manifest.write_text("\n".join(lines))
    recipe = make_recipe({"data.val.source": str(manifest), "data.max_bad_fraction": 0.2, "training.epochs": 1})
    batches = list(feed(recipe, recipe.data.load(8)).val(0))
    errors = {video: error for batch in batches for video, error in zip(batch.video_ids, batch.errors, strict=True)}
    assert str(broken) in errors["bad"]
    assert "no such file" in errors["gone"]
    assert sum(bool(error) for error in errors.values()) == 2
    assert int(batches[0].clips[0].max()) == 0


def test_a_video_that_kills_its_reader_ends_the_stream(make_recipe):
    """And does not hang it: Ray Data by itself would start the task again for ever."""

    class Deadly(ClipReader):
        def read_into(self, row, out):
            if row["position"] == 3:
                os._exit(1)
            return super().read_into(row, out)

    recipe = make_recipe(ONE_EPOCH)
    rows = evaluation_plan(recipe.data.load(8).train.table)
    stream = decoded(rows, Deadly(recipe.data.train), 4, REMOTE, World())
    with pytest.raises(ResourceError, match="4 processes died one after the other of the same videos") as caught:
        list(stream.batches())
    assert caught.value.at_work
