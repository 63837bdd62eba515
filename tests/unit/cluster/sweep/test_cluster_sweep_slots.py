"""The checkpoints of a trial: in its own folder, from a place that it is told, and no more of them than needed."""

from dataclasses import replace
from pathlib import Path

import pytest

from kinoray.cluster.sweep.desk import Job
from kinoray.cluster.sweep.slots import TrialStore
from kinoray.sweep.trials import Trial
from kinoray.train.checkpoint import INDEX, Progress, read_summary
from kinoray.train.fetching import folders_with
from kinoray.train.store import Draft


@pytest.fixture
def job(tmp_path):
    trial = Trial(0, {}, 0, "try-000")
    return Job(trial, folder=str(tmp_path / "try-000"), resume_from=None, keep_all=False)


@pytest.fixture
def save(tmp_path, make_recipe):
    """Save an epoch with an accuracy, as ``fit`` does; returns its place."""

    def save(store, epoch, top1):
        files = tmp_path / f"files-{epoch}-{top1}"
        files.mkdir()
        draft = Draft(
            weights={},
            training_state={},
            recipe=make_recipe(),
            classes=["a"],
            progress=Progress(epoch, epoch),
            metrics={"top1": top1},
            files=files,
        )
        store.save(draft, name=f"epoch-{epoch:04d}")
        return store.place(f"epoch-{epoch:04d}")

    return save


def names(job):
    return [place.rpartition("/")[2] for place in folders_with(job.folder, INDEX)]


def test_the_best_and_the_newest_stay(job, save, make_recipe):
    store = TrialStore(job, make_recipe())
    assert store.newest() is None
    for epoch, top1 in enumerate([0.2, 0.9, 0.3, 0.4]):
        assert save(store, epoch, top1) == f"{job.folder}/epoch-{epoch:04d}"
        assert len(names(job)) <= 3  # the one before stays until the sweep has noted the new one
        store.prune()
    assert names(job) == ["epoch-0001", "epoch-0003"]


def test_a_population_keeps_all(job, save, make_recipe):
    store = TrialStore(replace(job, keep_all=True), make_recipe())
    for epoch in range(3):
        save(store, epoch, 0.5)
        store.prune()
    assert len(names(job)) == 3


def test_it_goes_on_from_where_it_is_told_and_knows_what_was_there(job, save, make_recipe):
    store = TrialStore(job, make_recipe())
    places = [save(store, epoch, top1) for epoch, top1 in enumerate([0.8, 0.1])]
    again = TrialStore(replace(job, resume_from=places[0]), make_recipe())
    assert again.newest() == places[0]
    assert save(again, 1, 0.2) == places[1]
    again.prune()
    assert names(job) == ["epoch-0000", "epoch-0001"]
    save(again, 2, 0.3)
    again.prune()
    assert names(job) == ["epoch-0000", "epoch-0002"]


def test_a_checkpoint_that_was_cut_off_is_passed_over(job, save, make_recipe):
    """Killed while it copied: within the index, or before the weights were there."""
    store = TrialStore(job, make_recipe())
    first, second, third = (save(store, epoch, 0.5) for epoch in range(3))
    (Path(second) / INDEX).write_text("{")
    (Path(third) / "model.safetensors").write_bytes(b"")
    again = TrialStore(replace(job, resume_from=first), make_recipe())
    assert save(again, 1, 0.6) == second
    again.prune()
    assert len(read_summary(second).metrics) == 1
