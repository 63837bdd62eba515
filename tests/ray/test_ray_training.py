"""Real Ray Train runs: what a run leaves, one worker against two, failures, and exact evaluation."""

from dataclasses import replace

import numpy as np
import pytest

from kinoray.cluster.training import evaluate, train
from kinoray.errors import DataError
from kinoray.site import Allocation
from kinoray.train.checkpoint import newest_of_run, open_checkpoint
from kinoray.train.events import BatchSeen, EpochDone, Finished, Started, StepsDone
from kinoray.train.predictions import score_predictions

pytestmark = pytest.mark.ray
TWO = Allocation(num_workers=2, cpus_per_worker=0.5, gpus_per_worker=0, decode_cpus=1)
ONE = replace(TWO, num_workers=1)


def run(recipe, site, allocation, name):
    events = []
    best = train(recipe, recipe.data.load(8), site, allocation, run_name=name, listeners=[events.append])
    return best, events


@pytest.fixture(scope="module")
def trained():
    """Results of runs that several tests look at."""
    return {}


@pytest.fixture
def two_workers(make_recipe, site, trained):
    if "two" not in trained:
        trained["two"] = run(make_recipe(), site, TWO, "two-workers")
    return trained["two"]


def test_events_tell_the_run_in_order(two_workers):
    _, events = two_workers
    kinds = [type(event) for event in events]
    assert kinds == [Started, BatchSeen, *[StepsDone] * 3, EpochDone, *[StepsDone] * 3, EpochDone, Finished]
    assert events[0].num_workers == 2
    assert [event.step for event in events if isinstance(event, StepsDone)] == [1, 2, 3, 4, 5, 6]


def test_one_worker_and_two_compute_the_same_losses(two_workers, make_recipe, site):
    """Batches are the same; sums over halves differ from sums over the whole only in float32 rounding."""
    _, of_two = two_workers
    _, of_one = run(make_recipe(), site, ONE, "one-worker")
    losses = [[event.loss for event in events if isinstance(event, StepsDone)] for events in (of_one, of_two)]
    np.testing.assert_allclose(losses[1], losses[0], rtol=1e-5)
    metrics = [
        [event.evaluation.metrics for event in events if isinstance(event, EpochDone)] for events in (of_one, of_two)
    ]
    for one, two in zip(*metrics, strict=True):
        assert two["loss"] == pytest.approx(one["loss"], rel=1e-4)


@pytest.mark.parametrize("allocation", [ONE, TWO], ids=["one-worker", "two-workers"])
def test_the_checkpoint_evaluates_to_the_logged_metrics_to_the_bit(two_workers, make_recipe, site, allocation):
    best, events = two_workers
    checkpoint = open_checkpoint(best)
    recipe = make_recipe()
    manifest = recipe.data.load(8).val
    outcome = evaluate(recipe, checkpoint, manifest, allocation, split="val", with_probe=False)
    scored = score_predictions(outcome.predictions, recipe, manifest)
    logged = next(e for e in events if isinstance(e, EpochDone) and e.epoch == checkpoint.progress.epoch).evaluation
    assert scored.metrics == logged.metrics == checkpoint.metrics
    assert np.array_equal(scored.confusion, logged.confusion)
    assert scored.num_videos == 16


def test_a_finished_run_is_continued_under_its_name(two_workers, make_recipe, site):
    longer = make_recipe({"training.epochs": 3})
    _, events = run(longer, site, TWO, "two-workers")
    assert events[0].first_epoch == 2
    assert [event.epoch for event in events if isinstance(event, EpochDone)] == [2]
    assert open_checkpoint(newest_of_run(f"{site.storage}/two-workers")).progress.step == 9


def test_too_many_bad_videos_end_a_run_with_the_workers_own_error(make_recipe, site, motion8, tmp_path):
    lines = (motion8 / "train.csv").read_text().splitlines()
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"no video")
    rows = [line.split(",") for line in lines[1:]]
    text = [
        lines[0],
        *(
            f"{video},{broken if index < 6 else motion8 / path},{label}"
            for index, (video, path, label) in enumerate(rows)
        ),
    ]
    manifest = tmp_path / "train.csv"
    manifest.write_text("\n".join(text))
    recipe = make_recipe({"data.train.source": str(manifest), "data.max_bad_fraction": 0.1})
    with pytest.raises(DataError, match=r"\d of 24 videos could not be read.*broken\.mp4") as raised:
        run(recipe, site, TWO, "too-many-bad")
    assert raised.value.at_work


def test_the_checkpoint_of_least_loss_is_kept(make_recipe, site):
    """With a rate that spoils the weights, so that the best is hardly the last."""
    recipe = make_recipe({"evaluation.monitor": "loss", "optimizer.lr": 3.0, "training.epochs": 3})
    best, events = run(recipe, site, ONE, "least-loss")
    losses = [event.evaluation.metrics["loss"] for event in events if isinstance(event, EpochDone)]
    assert open_checkpoint(best).metrics["loss"] == min(losses)
