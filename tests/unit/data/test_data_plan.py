import numpy as np
import pyarrow as pa
import pytest

from kinoray.data.plan import (
    check_batch_size,
    epoch_plan,
    evaluation_plan,
    evaluation_share,
    num_steps,
    part_of_batch,
    training_share,
)
from kinoray.data.rows import MANIFEST_SCHEMA, PLAN_SCHEMA
from kinoray.errors import ConfigError


def manifest(num_videos):
    rows = [{"video_id": f"v{number:03d}", "path": f"/{number}", "label": number % 3} for number in range(num_videos)]
    return pa.Table.from_pylist(rows, schema=MANIFEST_SCHEMA)


def ids(table):
    return table["video_id"].to_pylist()


def test_an_epoch_holds_every_video_once_with_its_own_fields():
    plan = epoch_plan(manifest(100), seed=3, epoch=5)
    assert plan.schema == PLAN_SCHEMA
    assert plan["position"].to_pylist() == list(range(100))
    assert sorted(ids(plan)) == ids(manifest(100))
    assert plan["path"].to_pylist() == [f"/{int(video_id[1:])}" for video_id in ids(plan)]
    assert plan["label"].to_pylist() == [int(video_id[1:]) % 3 for video_id in ids(plan)]
    assert len(set(plan["clip_seed"].to_pylist())) == 100


def test_the_plan_does_not_depend_on_the_manifests_order():
    videos = manifest(50)
    shuffled = videos.take(pa.array(np.random.default_rng(0).permutation(50)))
    chunked = pa.concat_tables([shuffled.slice(0, 7), shuffled.slice(7)])
    assert epoch_plan(chunked, seed=1, epoch=2).equals(epoch_plan(videos, seed=1, epoch=2))


def test_a_videos_draw_does_not_depend_on_other_videos():
    seeds = [
        dict(zip(ids(plan), plan["clip_seed"].to_pylist(), strict=True))
        for plan in (epoch_plan(manifest(number), seed=1, epoch=0) for number in (20, 10))
    ]
    assert seeds[1].items() <= seeds[0].items()


def test_seed_and_epoch_give_other_orders_and_draws():
    plans = [
        epoch_plan(manifest(30), seed=seed, epoch=epoch) for seed, epoch in [(0, 0), (0, 1), (1, 0), (1, 11), (11, 1)]
    ]
    assert len({tuple(ids(plan)) for plan in plans}) == 5
    assert len({seed for plan in plans for seed in plan["clip_seed"].to_pylist()}) == 150


def test_the_order_is_the_same_in_every_process():
    rows = [{"video_id": video_id, "path": "", "label": 0} for video_id in ("a", "ä", "b", "c")]
    plan = epoch_plan(pa.Table.from_pylist(rows, schema=MANIFEST_SCHEMA), seed=0, epoch=1)
    assert ids(plan) == ["c", "a", "ä", "b"]
    assert plan["clip_seed"].to_pylist() == [
        4663003808605687021, 17093239884746456399, 2779719286782660473, 15887035652064610536,
    ]  # fmt: skip


@pytest.mark.parametrize("world_size", [1, 2, 4])
def test_workers_share_each_global_batch(world_size):
    plan = epoch_plan(manifest(31), seed=0, epoch=0)
    shares = [ids(training_share(plan, batch_size=8, rank=rank, world_size=world_size)) for rank in range(world_size)]
    per_rank = 8 // world_size
    batches = [
        [video_id for share in shares for video_id in share[step * per_rank : (step + 1) * per_rank]]
        for step in range(len(shares[0]) // per_rank)
    ]
    assert batches == [ids(plan)[start : start + 8] for start in range(0, 24, 8)]


def test_another_rest_is_left_out_in_each_epoch():
    left_out = [set(ids(epoch_plan(manifest(9), seed=0, epoch=epoch))[8:]) for epoch in range(20)]
    assert len(set.union(*left_out)) > 5


@pytest.mark.parametrize("num_videos", [1, 7, 8, 30])
@pytest.mark.parametrize("world_size", [1, 2, 3, 5])
def test_evaluation_counts_every_video_once_in_the_same_batches(num_videos, world_size):
    plan = evaluation_plan(manifest(num_videos))
    batches = []
    for rank in range(world_size):
        share = evaluation_share(plan, batch_size=4, rank=rank, world_size=world_size)
        batches += [share["position"].to_pylist()[start : start + 4] for start in range(0, share.num_rows, 4)]
    whole = list(range(num_videos))
    assert sorted(batches) == [whole[start : start + 4] for start in range(0, num_videos, 4)]
    assert ids(plan) == ids(manifest(num_videos))
    assert set(plan["clip_seed"].to_pylist()) == {0}


def test_steps_of_an_epoch():
    assert num_steps(31, 8) == 3
    assert num_steps(8, 8) == 1
    with pytest.raises(
        ConfigError, match=r"batch_size: 8 is more than the 7 training videos; at most 7 would make one"
    ):
        num_steps(7, 8)


@pytest.mark.parametrize(
    ("batch_size", "world_size", "near"), [(10, 4, "8 or 12"), (2, 4, "4"), (3, 2, "2 or 4"), (7, 8, "8")]
)
def test_a_batch_that_cannot_be_dealt_evenly(batch_size, world_size, near):
    with pytest.raises(ConfigError) as caught:
        check_batch_size(batch_size, world_size)
    assert str(caught.value) == (
        f"data.train.batch_size: {batch_size} cannot be dealt evenly to {world_size} workers; "
        f"use {near}, or another site.workers"
    )


@pytest.mark.parametrize("world_size", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("done", [0, 5, 10])
def test_any_number_of_workers_shares_the_same_batches(world_size, done):
    plan = evaluation_plan(manifest(23))
    shares = [
        training_share(plan, batch_size=5, rank=rank, world_size=world_size, done=done)["position"].to_pylist()
        for rank in range(world_size)
    ]
    sizes = [len(part_of_batch(5, rank=rank, world_size=world_size)) for rank in range(world_size)]
    assert sum(sizes) == 5
    assert max(sizes) - min(sizes) <= 1
    batches = [
        [place for share, size in zip(shares, sizes, strict=True) for place in share[step * size : (step + 1) * size]]
        for step in range(4 - done // 5)
    ]
    assert batches == [list(range(start, start + 5)) for start in range(done, 20, 5)]


def test_even_batches_are_accepted():
    check_batch_size(8, 4)
