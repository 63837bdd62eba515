"""What a run is recorded with, and reading it back from the store."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from mlflow import MlflowClient
from toy_training import load_data

import kinoray
from kinoray.errors import ConfigError, ResourceError
from kinoray.recipe import Recipe
from kinoray.site import Allocation, Site
from kinoray.tracking.provenance import (
    COMMIT_VARIABLE,
    Environment,
    code_digests,
    environment_files,
    environment_here,
    git_tags,
    requirements,
)
from kinoray.tracking.recorded import RecordedRun, load_history, load_recorded
from kinoray.tracking.run import RunTracker
from kinoray.tracking.training import tracked_training

ALLOCATION = Allocation(2, 1.5, 0.0, 1.0)
Record = Callable[..., str]


@pytest.fixture(scope="module")
def environment() -> Environment:
    return environment_here(Site(), ALLOCATION)


@pytest.fixture
def site(store_uri: str) -> Site:
    return Site(tracking_uri=store_uri, experiment="provenance")


@pytest.fixture
def record(store_uri: str, toy_recipe: Callable[..., Recipe]) -> Record:
    """Record a run that has begun; returns its id."""

    def record(name: str, **tags: str) -> str:
        tracker = RunTracker.start(
            uri=store_uri,
            experiment="provenance",
            name=name,
            params={},
            tags={key.replace("parent", "mlflow.parentRunId"): value for key, value in tags.items()},
            recipe_yaml=toy_recipe().yaml(),
            datasets={},
        )
        return tracker.run_id

    return record


def test_the_environment_is_that_of_this_process(environment: Environment) -> None:
    assert (environment.num_workers, environment.threads_per_worker, environment.folder) == (2, 1, str(Path.cwd()))
    assert environment.code["tracking/provenance.py"]
    assert environment.versions["torch"]
    assert "kinoray" not in environment.versions
    read = Environment.model_validate_json(environment_files(environment)["environment.json"])
    assert read == environment


def test_a_record_of_another_version_can_be_read(environment: Environment) -> None:
    values = environment.model_dump(exclude={"gpus"}) | {"colour_of_the_rack": "grey"}
    assert Environment.model_validate_json(json.dumps(values)) == environment.model_copy(update={"gpus": ()})


def test_the_lock_pins_what_is_installed(environment: Environment) -> None:
    first, *lines = requirements(environment).splitlines()
    assert first.startswith(f"# Python {environment.python}, ")
    assert f"torch=={environment.versions['torch']}" in lines
    assert lines == sorted(lines, key=lambda line: line.partition("==")[0])
    assert [line for line in lines if line.startswith("kinoray")] == []


def test_code_is_told_by_file(tmp_path: Path) -> None:
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner/a.py").write_text("1")
    (tmp_path / "notes.txt").write_text("no code")
    before = code_digests(tmp_path)
    assert list(before) == ["inner/a.py"]
    (tmp_path / "inner/a.py").write_text("2")
    assert code_digests(tmp_path) != before


def test_packages_of_the_user_are_told_by_their_code(tmp_path: Path) -> None:
    package = tmp_path / "mine"
    package.mkdir()
    digests = []
    for text in ("1", "2", "1"):
        (package / "net.py").write_text(text)
        digests.append(environment_here(Site(packages=(str(package),)), ALLOCATION).user_packages[str(package)])
    assert digests[0] == digests[2] != digests[1]


def test_a_commit_is_that_of_the_checkout_or_told(monkeypatch: pytest.MonkeyPatch) -> None:
    if (Path(kinoray.__file__).parents[2] / ".git").exists():
        assert len(git_tags()["mlflow.source.git.commit"]) == 40
    monkeypatch.setenv(COMMIT_VARIABLE, "0123abc")
    assert git_tags() == {"mlflow.source.git.commit": "0123abc"}
    assert environment_here(Site(), ALLOCATION).changed_files == ()


def test_a_training_is_read_back(site: Site, store_uri: str, toy_recipe: Callable[..., Recipe]) -> None:
    recipe = toy_recipe()
    dataset = load_data(recipe)
    with tracked_training(recipe, dataset, site, ALLOCATION, run_name="toy-1") as tracker:
        tracker.add_metrics({"train/loss": 2.0, "train/epoch_seconds": 9.0, "train/data_wait_fraction": 0.1}, 1)
        tracker.add_metrics({"train/loss": 1.0, "train/videos_per_second": 9.0}, 2)
    for name in ("toy-1", tracker.run_id, tracker.run_id[:12]):
        run = load_recorded(site, name)
        assert (run.run_id, run.name, run.experiment) == (tracker.run_id, "toy-1", "provenance")
    assert run.recipe() == recipe
    assert run.recipe(["optimizer.lr=0.5"]).optimizer.lr == 0.5
    assert run.environment == environment_here(site, ALLOCATION).model_copy(update={"code": run.environment.code})
    assert run.resumed_environment is None
    assert run.folder == Path.cwd()
    assert {split: info.digest for split, info in run.data.items()} == {
        "train": dataset.train.digest(),
        "val": dataset.val.digest(),
    }
    assert run.data["train"].listing
    assert run.data["train"].num_videos == dataset.train.num_videos
    assert load_history(store_uri, run.run_id) == {"train/loss": [(1, 2.0), (2, 1.0)]}


def test_a_run_that_goes_on_keeps_what_it_began_with(site: Site, toy_recipe: Callable[..., Recipe]) -> None:
    recipe = toy_recipe()
    dataset = load_data(recipe)
    for num_workers, resume in ((2, "nothing"), (1, "any recipe")):
        allocation = Allocation(num_workers, 1.0, 0.0, 1.0)
        with tracked_training(recipe, dataset, site, allocation, run_name="toy-2", resume=resume):
            pass
    run = load_recorded(site, "toy-2")
    assert run.environment is not None
    assert run.resumed_environment is not None
    assert (run.environment.num_workers, run.resumed_environment.num_workers) == (2, 1)


def test_a_trial_has_the_environment_of_its_sweep(
    record: Record, site: Site, client: MlflowClient, environment: Environment
) -> None:
    sweep = record("nightly", kind="sweep")
    client.log_text(sweep, environment.model_dump_json(), "environment.json")
    record("nightly-000", kind="trial", parent=sweep, scheduler="asha", num_workers="2")
    run = load_recorded(site, "nightly-000")
    assert run.environment == environment
    assert run.num_workers == 2


def test_a_run_from_before_there_was_such_a_record(record: Record, site: Site) -> None:
    record("old", kind="training")
    run = load_recorded(site, "old")
    assert (run.environment, run.commit, run.num_workers, run.data) == (None, "", None, {})
    assert run.folder == Path.cwd()


def test_runs_that_cannot_be_run_again(record: Record, site: Site, client: MlflowClient) -> None:
    trained = record("a training", kind="training")
    record("a sweep", kind="sweep")
    record("an evaluation of it", kind="evaluation", parent=trained)
    record("a prediction", kind="prediction")
    record("foreign")
    record("of a population", kind="trial", scheduler="pbt")
    experiment = client.get_experiment_by_name("provenance").experiment_id
    client.create_run(experiment, run_name="empty", tags={"kind": "training"})
    for name, message in {
        "a sweep": "name one of its trials, such as a sweep-000",
        "an evaluation of it": "name the training that it belongs to, a training",
        "a prediction": "is of kind 'prediction'; name a training",
        "foreign": "no training of Kinoray's",
        "of a population": "only with the whole sweep",
        "empty": r"no recipe\.yaml of the run can be found",
        "a trainin": r"no run of this name or id \(did you mean 'a training'\?\)",
        "0123abcd": "no run of this name or id",
    }.items():
        with pytest.raises(ConfigError, match=message):
            load_recorded(site, name)


def test_several_runs_whose_ids_begin_alike(
    record: Record, site: Site, client: MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    from kinoray.tracking import recorded

    ids = [record("alike", kind="training") for _ in range(2)]
    runs = [client.get_run(run_id) for run_id in ids]
    found = iter([[], runs])

    class Alike(MlflowClient):
        def search_runs(self, *_: object, **__: object) -> list[object]:
            return next(found)

    with pytest.raises(ConfigError, match=f"abcd: is how several ids begin; give an id instead: {ids[0]}, {ids[1]}"):
        recorded.find_one(Alike(tracking_uri=site.tracking_uri), [], "abcd")


def test_code_of_the_user_that_is_not_named(site: Site, record: Record, environment: Environment) -> None:
    record("toy-3", kind="training")
    run = load_recorded(site, "toy-3")
    before = environment.model_copy(update={"user_packages": {"/somewhere/mine": "0123"}})
    run = RecordedRun(**{**vars(run), "environment": before})
    with pytest.raises(ConfigError, match=r"it ran with site\.packages /somewhere/mine; name yours"):
        run.recipe(["model.kind=mine.net:Net"])


def test_files_that_cannot_be_fetched(record: Record, site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    record("away", kind="training")

    def fail(*_: object) -> None:
        raise OSError("https://me:secret@store/x is gone\nat all")

    monkeypatch.setattr(MlflowClient, "list_artifacts", fail)
    with pytest.raises(ResourceError, match=r"cannot be fetched: https://\*\*\*@store/x is gone$"):
        load_recorded(site, "away")


def test_without_a_checkpoint_only_a_run_of_the_same_recipe_goes_on(
    site: Site, toy_recipe: Callable[..., Recipe]
) -> None:
    """A run that goes on keeps its old points: of another recipe they would be wrong."""
    begun = []
    for recipe in (toy_recipe(), toy_recipe({"seed": 1}), toy_recipe({"seed": 1})):
        dataset = load_data(recipe)
        with tracked_training(recipe, dataset, site, ALLOCATION, run_name="toy-3", resume="same recipe") as tracker:
            begun.append(tracker.run_id)
    assert begun[0] != begun[1] == begun[2]
