"""Workers of a run that may become fewer: what Ray reserves for them, what decodes for them, what is told of them."""

from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace

import pytest
from ray.train.v2._internal.exceptions import WorkerHealthCheckFailedError

from kinoray.cluster import worker
from kinoray.cluster.mailbox import Mailbox
from kinoray.cluster.remote import DecodeBudget
from kinoray.cluster.training import StopAtOwnErrors, TellOfEnds, check_run, worker_resources
from kinoray.cluster.watch import PAST
from kinoray.cluster.worker import budget_now
from kinoray.errors import ConfigError, DataError, HungWorkerError
from kinoray.recipe import Recipe
from kinoray.site import Allocation

FOUR = Allocation(num_workers=4, cpus_per_worker=1, gpus_per_worker=0, decode_cpus=4, decode_threads=1)
HUNG = HungWorkerError("worker 1 has not answered")
DEAD = WorkerHealthCheckFailedError("A worker health check failed.", failure=RuntimeError("gone"))


def test_ray_counts_all_workers_of_a_range() -> None:
    tenths = replace(FOUR, cpus_per_worker=0.1, gpus_per_worker=0.2, decode_threads=0)
    assert worker_resources(tenths) == {"CPU": 0.1, "GPU": 0.2}
    assert sum([0.1] * 6) // 0.1 == 5, "as Ray counts"
    reserved = worker_resources(replace(tenths, workers_range=(1, 6)))
    assert reserved == {"CPU": 0.0625, "GPU": 0.1875}
    assert all(sum([share] * 6) // share == 6 for share in reserved.values())
    tiny = replace(tenths, cpus_per_worker=0.01, workers_range=(1, 6))
    assert worker_resources(tiny)["CPU"] == 0.01


def test_a_range_of_workers_needs_no_even_batch(make_recipe: Callable[..., Recipe]) -> None:
    recipe = make_recipe({"data.train.batch_size": 6})
    dataset = recipe.data.load(8)
    check_run(recipe, dataset, replace(FOUR, num_workers=2, workers_range=(1, 4)))
    with pytest.raises(ConfigError, match="6 cannot be dealt evenly to 4 workers"):
        check_run(recipe, dataset, FOUR)
    with pytest.raises(ConfigError, match="6 cannot be dealt to 8 workers; at least 8 can"):
        check_run(recipe, dataset, replace(FOUR, num_workers=2, workers_range=(1, 8)))


@pytest.mark.parametrize(
    ("cluster_cpus", "cpus", "threads", "beside_share"),
    [(16, 2.0, 1, 0.25), (12, 1.0, 1, 0.25), (9, 0.0, 1, 1.0), (8, 0.0, 1, 1.0)],
    ids=["all there", "half of the decode CPUs", "too few for a task each", "none"],
)
def test_threads_decode_where_the_cpus_for_tasks_are_gone(
    monkeypatch: pytest.MonkeyPatch, cluster_cpus: float, cpus: float, threads: int, beside_share: float
) -> None:
    monkeypatch.setattr(worker, "ray", SimpleNamespace(cluster_resources=lambda: {"CPU": cluster_cpus}))
    start = DecodeBudget(threads=1, beside_share=0.25, cpus=2.0, cpus_per_task=1.0)
    now = budget_now(start, num_workers=4, reserved_cpus=2.0)
    assert (now.cpus, now.threads, now.beside_share) == (cpus, threads, beside_share)


@pytest.mark.parametrize(
    ("errors", "told"),
    [
        ({2: DEAD}, "worker 2 died"),
        ({0: RuntimeError("Connection closed"), 1: DEAD, 3: DEAD}, "workers 1, 3 died"),
        ({0: RuntimeError("closed"), 2: HUNG}, "worker 1 has not answered"),
        ({1: RuntimeError("out of memory\nand more")}, "worker 1 failed: RuntimeError: out of memory"),
    ],
)
def test_the_next_group_is_told_what_ended_the_last(errors: dict[int, Exception], told: str) -> None:
    box = Mailbox()
    mailbox = SimpleNamespace(pin=SimpleNamespace(remote=box.pin))
    TellOfEnds(mailbox).after_exception(run_context=None, worker_exceptions=errors)
    assert list(box.unpinned(PAST).values()) == [told]
    assert box.unpinned(PAST) == {}


def test_a_hung_worker_is_tried_again_and_another_error_of_ours_is_not() -> None:
    StopAtOwnErrors().after_exception(run_context=None, worker_exceptions={0: HUNG})
    with pytest.raises(DataError, match="none"):
        StopAtOwnErrors().after_exception(run_context=None, worker_exceptions={0: HUNG, 1: DataError("none")})
