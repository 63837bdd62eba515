"""The checkpoints of a trial: in its own folder, from a place that it is told, and no more of them than needed."""

from dataclasses import replace
from pathlib import Path

import pytest

from kinoray.cluster.sweep.desk import Job
from kinoray.cluster.sweep.slots import TrialStore
from kinoray.sweep.trials import Trial
from kinoray.train.checkpoint import INDEX, Progress, read_summary, write_checkpoint
from kinoray.train.fetching import folders_with
from kinoray.train.world import World


@pytest.fixture
def job(tmp_path):
    trial = Trial(0, {}, 0, "try-000")
    return Job(trial, folder=str(tmp_path / "try-000"), resume_from=None, keep_all=False)


@pytest.fixture
def save(tmp_path, make_recipe):
    """Save an epoch with an accuracy, as ``fit`` does."""

    def save(store, epoch, top1):
        folder = tmp_path / f"fresh-{epoch}-{top1}"
        progress, metrics = Progress(epoch, epoch), {"top1": top1}
        write_checkpoint(
            folder,
            weights={},
            training_state={},
            recipe=make_recipe(),
            classes=["a"],
            progress=progress,
            metrics=metrics,
        )
        return store.save(folder, name=f"epoch-{epoch:04d}", metrics=metrics)

    return save


def names(job):
    return [place.rpartition("/")[2] for place in folders_with(job.folder, INDEX)]


def test_the_best_and_the_newest_stay(job, save, make_recipe):
    store = TrialStore(job, make_recipe(), World())
    assert store.latest() is None
    for epoch, top1 in enumerate([0.2, 0.9, 0.3, 0.4]):
        assert save(store, epoch, top1) == f"{job.folder}/epoch-{epoch:04d}"
        assert len(names(job)) <= 3  # the one before stays until the sweep has noted the new one
        store.prune()
    assert names(job) == ["epoch-0001", "epoch-0003"]


def test_a_population_keeps_all(job, save, make_recipe):
    store = TrialStore(replace(job, keep_all=True), make_recipe(), World())
    for epoch in range(3):
        save(store, epoch, 0.5)
        store.prune()
    assert len(names(job)) == 3


def test_it_goes_on_from_where_it_is_told_and_knows_what_was_there(job, save, make_recipe):
    store = TrialStore(job, make_recipe(), World())
    places = [save(store, epoch, top1) for epoch, top1 in enumerate([0.8, 0.1])]
    again = TrialStore(replace(job, resume_from=places[0]), make_recipe(), World())
    assert str(again.latest()) == places[0]
    assert save(again, 1, 0.2) == places[1]
    again.prune()
    assert names(job) == ["epoch-0000", "epoch-0001"]
    save(again, 2, 0.3)
    again.prune()
    assert names(job) == ["epoch-0000", "epoch-0002"]


def test_other_workers_only_learn_the_place(job, make_recipe):
    store = TrialStore(job, make_recipe(), World(rank=1, size=2))
    assert store.save(None, name="epoch-0000", metrics={}) == f"{job.folder}/epoch-0000"
    store.prune()
    assert names(job) == []


def test_a_checkpoint_that_was_cut_off_is_passed_over(job, save, make_recipe):
    """Killed while it copied: within the index, or before the weights were there."""
    store = TrialStore(job, make_recipe(), World())
    first, second, third = (save(store, epoch, 0.5) for epoch in range(3))
    (Path(second) / INDEX).write_text("{")
    (Path(third) / "model.safetensors").write_bytes(b"")
    again = TrialStore(replace(job, resume_from=first), make_recipe(), World())
    assert save(again, 1, 0.6) == second
    again.prune()
    assert len(read_summary(second).metrics) == 1
