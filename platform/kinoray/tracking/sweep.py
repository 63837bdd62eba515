"""A sweep in MLflow: a run of its own, below which every trial is a run."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from urllib.parse import quote

from matplotlib.figure import Figure
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID

from kinoray.data.config import Dataset
from kinoray.errors import KinorayError
from kinoray.metrics import SMALLER_IS_BETTER
from kinoray.recipe import Recipe
from kinoray.site import Allocation, Site
from kinoray.sweep.datasets import dataset_key
from kinoray.sweep.file import Sweep, SweepEvent, SweepFinished, SweepStarted, TrialChanged, TrialEvent
from kinoray.sweep.trials import Trial, TrialState
from kinoray.sweep.trials import ranked as ranked_states
from kinoray.tracking.compare_picture import curves_of_runs_picture
from kinoray.tracking.outbox import logger
from kinoray.tracking.pictures import png_bytes
from kinoray.tracking.provenance import environment_files, environment_here
from kinoray.tracking.run import DatasetInfo, RunTracker, Scalar, Status
from kinoray.tracking.store import checked_uri, connect, default_uri, page_link, quiet, refusals_named
from kinoray.tracking.summary import Point
from kinoray.tracking.sweep_pictures import leaderboard_picture, parallel_picture, values_picture
from kinoray.tracking.sweep_tables import (
    describe_sweep,
    describe_trial,
    leaderboard_csv,
    public_label,
    shown_values,
    space_params,
)
from kinoray.tracking.training import (
    RUN_NAME_TAG,
    dataset_infos,
    find_run,
    log_model_of,
    origin_tags,
    recipe_params,
    recipe_tags,
)
from kinoray.tracking.trial_run import STATUS, STATUS_TAG, EarlierTrial, TrialRun, earlier_trials
from kinoray.train.events import EpochDone, Event

INTERRUPTED = "interrupted"
PICTURE_SECONDS = 60.0
"""Least time between two drawings of the sweep's pictures, which take a second of CPU."""
SWEEP_ID_TAG = "sweep_id"
SCHEDULER_TAG = "scheduler"
MODEL_TAG, MODEL_SOURCE_TAG = "best_model", "best_model_checkpoint"


@contextmanager
def tracked_sweep(
    sweep: Sweep, recipe: Recipe, datasets: Mapping[str, Dataset], site: Site, allocation: Allocation, *, sweep_id: str
) -> Iterator["SweepTracker"]:
    """Record a sweep; one that goes on does so in the runs that it has.

    Args:
        sweep: its name is that of the run.
        recipe: that all trials start from.
        datasets: by ``dataset_key``, of the recipe and of those of all trials; they become the runs' datasets.
        site: names the store and the experiment.
        allocation: what each trial gets; becomes a part of the sweep's artifact ``environment.json``.
        sweep_id: of its record. Names are no help: other storage may hold a sweep of this name, or have held one.

    Raises:
        ResourceError: the store does not answer.
        ConfigError: the URI is of no use.
    """
    uri = checked_uri(site.tracking_uri or default_uri(site.storage_path()))
    run_id = find_run(uri, site.experiment, sweep_id, tag=SWEEP_ID_TAG)
    infos = {key: dataset_infos(dataset) for key, dataset in datasets.items()}
    plan = _Plan(sweep, recipe, infos, origin_tags(site), uri, site.experiment, sweep_id)
    parent = plan.open_parent(run_id)
    parent.put_files(environment_files(environment_here(site, allocation), resumed=run_id is not None))
    earlier, models = {}, {}
    if run_id is not None:
        earlier = earlier_trials(uri, parent, f"val/{recipe.evaluation.monitor}")
        models = _stored_model(uri, run_id)
    tracker = SweepTracker(plan, parent, earlier, models)
    try:
        yield tracker
    except (KeyboardInterrupt, SystemExit):
        tracker.finish("KILLED", error="interrupted; the same command goes on")
        raise
    except BaseException as error:
        tracker.finish("FAILED", error=str(error).splitlines()[0] if str(error) else type(error).__name__)
        raise
    tracker.finish("FINISHED")


class SweepTracker:
    """A listener that records a sweep; made by ``tracked_sweep``.

    What the store does never stops the sweep: values wait in memory, runs of trials that cannot be made are made later.

    Args:
        plan: what is recorded.
        parent: the run of the sweep.
        earlier: trial name -> its run, where the sweep goes on.
        models: checkpoint -> URI of the model that an earlier session made of it.

    Attributes:
        best_model: URI of the best trial's model; empty before the sweep is finished.
    """

    def __init__(
        self, plan: "_Plan", parent: RunTracker, earlier: Mapping[str, EarlierTrial], models: Mapping[str, str]
    ) -> None:
        self.parent = parent
        self._plan, self._earlier, self._models = plan, earlier, models
        self._metric = plan.recipe.evaluation.monitor
        self._trials: dict[int, TrialRun] = {}
        self._states: dict[int, TrialState] = {}
        self._events_before: dict[int, list[Event]] = {}
        self._curves: dict[str, list[Point]] = {name: list(trial.points) for name, trial in earlier.items()}
        self._drawn_at = -PICTURE_SECONDS
        self.best_model = ""

    def __call__(self, event: SweepEvent) -> None:
        """Record an event; never raises for what the store does."""
        match event:
            case SweepStarted():
                planned = "as many as the search plans" if event.trials is None else str(len(event.trials))
                self.parent.set_tags({"num_trials": planned, "folder": event.where})
                self.parent.deliver()
            case TrialChanged():
                self._note_state(event.state)
            case TrialEvent():
                self._note_event(event.number, event.event)
            case SweepFinished():
                self._states |= {state.trial.number: state for state in event.states}
                self._store_best_model()

    def link(self) -> str:
        """Where a browser finds the sweep; for a local file, after the command that serves it."""
        return self.parent.link()

    def trials_link(self) -> str:
        """Where a browser finds all trials side by side, the best first."""
        condition = quote(f"tags.`{MLFLOW_PARENT_RUN_ID}` = '{self.parent.run_id}'")
        order = quote(f"metrics.`best/val_{self._metric}`")
        ascending = "true" if self._plan.smaller_is_better else "false"
        return page_link(
            self.parent.uri,
            f"/#/experiments/{self.parent.experiment_id}/runs?workflowType=machine_learning&compareRunsMode=CHART"
            f"&searchFilter={condition}&orderByKey={order}&orderByAsc={ascending}",
        )

    def finish(self, status: Status, *, error: str = "") -> None:
        """End the run of the sweep, and those of trials that are still open; a second call does nothing."""
        for trial in self._trials.values():
            trial.end("KILLED", {STATUS_TAG: INTERRUPTED}, description="")
            trial.close()
        self._refresh(draw=True)
        self.parent.finish(status, error=error, description=self._description(status, error))

    @property
    def states(self) -> tuple[TrialState, ...]:
        """Of all trials that were told of, the best first."""
        return ranked_states(self._states.values(), self._metric)

    def _note_state(self, state: TrialState) -> None:
        number = state.trial.number
        self._states[number] = state
        if state.status == "running":
            # Population-based training changes the values on the way; params, which cannot change, are the first ones.
            tags = {STATUS_TAG: "running", "values": shown_values(state.trial), "attempts": str(max(1, state.attempts))}
            self._trial(state.trial).set_tags(tags)
            for event in self._events_before.pop(number, ()):
                self._note_event(number, event)
        elif state.is_over:
            known = self._earlier.get(state.trial.name)
            if number in self._trials or known is None or not known.is_recorded_as(state):
                description = describe_trial(state, self._metric)
                num_epochs = state.epoch if number in self._trials else 0  # of an earlier session nothing more comes
                self._trial(state.trial).end(
                    STATUS[state.status], _end_tags(state), description=description, num_epochs=num_epochs
                )
            self._refresh(draw=time.monotonic() - self._drawn_at > PICTURE_SECONDS)

    def _note_event(self, number: int, event: Event) -> None:
        if number not in self._trials:
            # Told before the trial itself is known: nothing may be lost by the order of two messages.
            self._events_before.setdefault(number, []).append(event)
            return
        if isinstance(event, EpochDone) and event.evaluation is not None:
            points = self._curves.setdefault(self._trials[number].name, [])
            if self._metric in event.evaluation.metrics and (not points or event.step > points[-1][0]):
                points.append((event.step, event.evaluation.metrics[self._metric]))
        self._trials[number].add(event)

    def _trial(self, trial: Trial) -> "TrialRun":
        known = self._earlier.get(trial.name)
        run_id = None if known is None else known.run_id
        if trial.number not in self._trials:
            self._trials[trial.number] = TrialRun(
                trial.name, lambda: self._plan.open_trial(trial, self.parent.run_id, run_id)
            )
        return self._trials[trial.number]

    def _refresh(self, *, draw: bool) -> None:
        """Bring what the sweep's run shows up to date."""
        states = self.states
        if not states:
            return
        counts = {status: sum(state.status == status for state in states) for status in STATUS}
        metrics: dict[str, float] = {f"trials/{status}": count for status, count in counts.items()}
        best = states[0]
        if best.best is not None and best.best_epoch is not None:
            metrics |= {f"best/val_{self._metric}": best.best, "best/epoch": best.best_epoch + 1}
            tags = {"best_trial": best.trial.name, "best_checkpoint": best.checkpoint or ""}
            self.parent.set_tags({name: value for name, value in tags.items() if value})
            best_recipe = self._plan.sweep.recipe_of(self._plan.recipe, best.trial).yaml()
            self.parent.put_files({"best_recipe.yaml": best_recipe.encode()})
        self.parent.add_metrics(metrics, sum(counts.values()))
        self.parent.put_files({"leaderboard.csv": leaderboard_csv(states, self._metric, self._run_ids()).encode()})
        self.parent.set_tags({"mlflow.note.content": self._description("RUNNING", "")})
        if draw:
            self._draw(states)
        self.parent.deliver()

    def _draw(self, states: tuple[TrialState, ...]) -> None:
        self._drawn_at = time.monotonic()
        names = {state.trial.name: shown_values(state.trial) for state in states}
        curves = {f"{name[-3:]}: {names[name]}": {f"val/{self._metric}": self._curves.get(name, [])} for name in names}
        pictures: dict[str, Callable[[], Figure]] = {
            "leaderboard.png": lambda: leaderboard_picture(states, self._metric),
            "parallel_coordinates.png": lambda: parallel_picture(states, self._metric),
            "values_vs_metric.png": lambda: values_picture(states, self._metric),
            "curves.png": lambda: curves_of_runs_picture(curves, (f"val/{self._metric}",)),
        }
        for path, draw in pictures.items():
            try:
                self.parent.put_files({path: png_bytes(draw())})
            except Exception:  # noqa: BLE001 - a picture that cannot be drawn must not cost the sweep what else it records
                logger.exception("%s could not be drawn", path)

    def _description(self, status: str, error: str) -> str:
        return describe_sweep(
            self.states,
            self._metric,
            status=status,
            error=error,
            model=self.best_model,
            trials_page=self.trials_link().splitlines()[-1].partition("/#/")[2],
        )

    def _run_ids(self) -> dict[str, str]:
        found = {name: trial.run_id for name, trial in self._earlier.items()}
        return found | {trial.name: trial.run_id for trial in self._trials.values() if trial.run_id}

    def _store_best_model(self) -> None:
        """Keep the best checkpoint as the model of its trial, unless an earlier session has."""
        best = next(iter(self.states), None)
        run_id = None if best is None else self._run_ids().get(best.trial.name)
        if best is None or best.checkpoint is None or run_id is None:
            return
        if best.checkpoint in self._models:
            self.best_model = self._models[best.checkpoint]
            return
        try:
            self.best_model = log_model_of(self.parent.uri, run_id, best.checkpoint)
        except KinorayError as error:
            logger.warning("the best model is not stored: %s", error)
            return
        if self.best_model.startswith("models:"):
            self.parent.set_tags({MODEL_TAG: self.best_model, MODEL_SOURCE_TAG: best.checkpoint})


@dataclass(frozen=True)
class _Plan:
    """What the runs of a sweep have in common, and how they begin."""

    sweep: Sweep
    recipe: Recipe
    datasets: Mapping[str, Mapping[str, DatasetInfo]]
    origin: Mapping[str, str]
    uri: str
    experiment: str
    sweep_id: str

    @property
    def smaller_is_better(self) -> bool:
        return self.recipe.evaluation.monitor in SMALLER_IS_BETTER

    def open_parent(self, run_id: str | None) -> RunTracker:
        tags = {
            "kind": "sweep",
            SWEEP_ID_TAG: self.sweep_id,
            RUN_NAME_TAG: self.sweep.name,
            **recipe_tags(self.recipe),
            **self.origin,
        }
        parent = self._open(
            self.sweep.name, recipe_params(self.recipe) | space_params(self.sweep), tags, self.recipe, run_id
        )
        parent.put_files({"sweep.yaml": self.sweep.yaml().encode()})
        return parent

    def open_trial(self, trial: Trial, parent_id: str, run_id: str | None) -> RunTracker:
        recipe = self.sweep.recipe_of(self.recipe, trial)
        tags = {
            "kind": "trial",
            "sweep": self.sweep.name,
            "trial": str(trial.number),
            SCHEDULER_TAG: self.sweep.scheduler.kind,
            RUN_NAME_TAG: trial.name,
            MLFLOW_PARENT_RUN_ID: parent_id,
            **recipe_tags(recipe),
            "recipe": self.recipe.name,
            **self.origin,
        }
        # The name of a schedule says more than its values, which stand beside it and in recipe.yaml.
        params = {**recipe_params(recipe), **{path: public_label(label) for path, label in trial.labels.items()}}
        del params["name"]  # differs in every trial and is that of the run
        return self._open(trial.name, params, tags, recipe, run_id)

    def _open(
        self, name: str, params: Mapping[str, Scalar], tags: Mapping[str, str], recipe: Recipe, run_id: str | None
    ) -> RunTracker:
        return RunTracker.start(
            uri=self.uri,
            experiment=self.experiment,
            name=name,
            params=params,
            tags=tags,
            recipe_yaml=recipe.yaml(),
            datasets=self.datasets.get(dataset_key(recipe), {}),
            resume_run_id=run_id,
            monitor=recipe.evaluation.monitor,
        )


def _end_tags(state: TrialState) -> dict[str, str]:
    """Of a trial that is over."""
    why = state.error or ("all epochs done" if state.status == "finished" else f"after epoch {state.epoch}")
    tags = {STATUS_TAG: state.status, "ended": why, "attempts": str(max(1, state.attempts))}
    return tags | ({"error": state.error} if state.status == "failed" else {})


def _stored_model(uri: str, run_id: str) -> dict[str, str]:
    """Checkpoint -> URI of the model that an earlier session stored as the best one."""
    client = connect(uri)
    with quiet(), refusals_named(uri):
        tags = client.get_run(run_id).data.tags
    return {tags[MODEL_SOURCE_TAG]: tags[MODEL_TAG]} if MODEL_TAG in tags and MODEL_SOURCE_TAG in tags else {}
