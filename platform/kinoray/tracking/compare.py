"""Runs side by side, from what MLflow has of them: params that differ, metrics, curves and cost."""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID

from kinoray.errors import ConfigError
from kinoray.metrics import SMALLER_IS_BETTER, merit
from kinoray.site import Site
from kinoray.tracking.finding import existing_store, find_one
from kinoray.tracking.store import quiet, refusals_named
from kinoray.tracking.summary import History
from kinoray.tracking.trial_run import STATUS_TAG

CURVES = ("train/epoch_loss", "train/lr")
"""What is drawn besides metrics of the val split."""
SECONDS = "train/epoch_seconds"
MAX_RUNS = 50_000
"""As many as a store gives at once."""
MISSING = "–"


@dataclass(frozen=True)
class Cost:
    """What a run took.

    Attributes:
        wall_seconds: from its first to its last line, breaks before it was resumed included; None while it runs.
        train_seconds: in epochs, without start and evaluation.
        worker_hours: of training, of all workers' CPUs or, where they have one, GPUs.
        unit: ``GPU`` or ``CPU``.
        videos_per_second: over all training epochs; None where none is done.
    """

    wall_seconds: float | None
    train_seconds: float
    worker_hours: float
    unit: str
    videos_per_second: float | None


@dataclass(frozen=True)
class ComparedRun:
    """A run as MLflow has it.

    Attributes:
        status: of a trial of a sweep (``pruned``), else of MLflow (``finished``).
        params: dotted path -> text.
        history: of the metrics that are compared.
    """

    run_id: str
    name: str
    status: str
    params: Mapping[str, str]
    history: History
    cost: Cost

    @property
    def metrics(self) -> tuple[str, ...]:
        """Of the val split, without their section."""
        return tuple(sorted(key.removeprefix("val/") for key in self.history if key.startswith("val/")))

    def last(self, metric: str) -> float | None:
        points = self.history.get(f"val/{metric}")
        return points[-1][1] if points else None

    def best(self, metric: str) -> float | None:
        points = self.history.get(f"val/{metric}", ())
        return max((value for _, value in points), key=lambda value: merit(metric, value), default=None)


def load_runs(site: Site, names: Sequence[str]) -> list[ComparedRun]:
    """Runs by MLflow's id, its beginning, or name; for a sweep, its trials.

    Raises:
        ResourceError: the store does not answer.
        ConfigError: a name is unknown or that of several runs.
    """
    client, uri = existing_store(site)
    with quiet(), refusals_named(uri):
        experiments = [experiment.experiment_id for experiment in client.search_experiments()]
        found: dict[str, Run] = {}
        for name in names:
            run = find_one(client, experiments, name)
            trials = _trials(client, run) if run.data.tags.get("kind") == "sweep" else [run]
            if not trials:
                raise ConfigError(f"{name}: is a sweep without a trial; wait for its first, or name other runs")
            found |= {each.info.run_id: each for each in trials}
        return [_compared(client, run) for run in found.values()]


def differing_params(runs: Sequence[ComparedRun]) -> dict[str, list[str]]:
    """Dotted path -> the text of each run, of the params that are not the same in all.

    What lies below a param of every run, as the values of a schedule below its name in a sweep, is left out.
    """
    known = {path for run in runs for path in run.params}
    paths = sorted(path for path in known if not all(any(a in run.params for a in _above(path)) for run in runs))
    rows = {path: [run.params.get(path, MISSING) for run in runs] for path in paths}
    return {path: values for path, values in rows.items() if len(set(values)) > 1}


def common_metrics(runs: Sequence[ComparedRun]) -> tuple[str, ...]:
    """Metrics of the val split that some run has, the better-is-more ones first."""
    names = dict.fromkeys(metric for run in runs for metric in run.metrics)
    return tuple(sorted(names, key=lambda name: (name in SMALLER_IS_BETTER, name != "top1", name)))


def main_metrics(runs: Sequence[ComparedRun]) -> tuple[str, ...]:
    """Those of ``common_metrics`` by which checkpoints of the runs are ranked, and the loss."""
    wanted = {run.params.get("evaluation.monitor", "top1") for run in runs} | {"loss"}
    return tuple(name for name in common_metrics(runs) if name in wanted)


def curve_keys(runs: Sequence[ComparedRun]) -> tuple[str, ...]:
    """Metrics whose curves are drawn."""
    return (*(f"val/{name}" for name in main_metrics(runs)), *CURVES)


def compared_csv(runs: Sequence[ComparedRun]) -> str:
    """A row for each run."""
    params, metrics = differing_params(runs), common_metrics(runs)
    header = ["name", "run_id", "status", *params]
    header += [f"{which}_{metric}" for metric in metrics for which in ("best", "last")]
    header += ["wall_seconds", "train_seconds", "gpu_hours", "cpu_hours", "videos_per_second"]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    for number, run in enumerate(runs):
        figures = [figure for metric in metrics for figure in (run.best(metric), run.last(metric))]
        cost = run.cost
        hours = [cost.worker_hours if cost.unit == unit else None for unit in ("GPU", "CPU")]
        spent = [cost.wall_seconds, cost.train_seconds, *hours, cost.videos_per_second]
        values = [values[number] for values in params.values()]
        writer.writerow([run.name, run.run_id, run.status, *values, *figures, *spent])
    return text.getvalue()


def _trials(client: MlflowClient, sweep: Run) -> list[Run]:
    """Of a sweep, by number."""
    condition = f"tags.`{MLFLOW_PARENT_RUN_ID}` = '{sweep.info.run_id}' and tags.kind = 'trial'"
    trials = client.search_runs([sweep.info.experiment_id], condition, max_results=MAX_RUNS)
    return sorted(trials, key=lambda run: int(run.data.tags["trial"]))


def _compared(client: MlflowClient, run: Run) -> ComparedRun:
    keys = [key for key in run.data.metrics if key.startswith("val/") or key in (*CURVES, SECONDS)]
    history = {key: _points(client, run.info.run_id, key) for key in keys}
    status = run.data.tags.get(STATUS_TAG, run.info.status.lower())
    shown = {key: points for key, points in history.items() if key != SECONDS}
    cost = _cost(run, [seconds for _, seconds in history.get(SECONDS, ())])
    return ComparedRun(run.info.run_id, run.info.run_name, status, run.data.params, shown, cost)


def _above(path: str) -> list[str]:
    words = path.split(".")
    return [".".join(words[:count]) for count in range(1, len(words))]


def _points(client: MlflowClient, run_id: str, key: str) -> list[tuple[int, float]]:
    return sorted((point.step, point.value) for point in client.get_metric_history(run_id, key))


def _cost(run: Run, epoch_seconds: Sequence[float]) -> Cost:
    tags = run.data.tags
    unit = "GPU" if tags.get("device", "").startswith("cuda") else "CPU"
    each = float(tags.get(f"site.{unit.lower()}s_per_worker", 1))
    seconds = sum(epoch_seconds)
    num_videos = len(epoch_seconds) * int(tags.get("num_train_videos", 0))
    ended = run.info.end_time
    return Cost(
        wall_seconds=None if ended is None else (ended - run.info.start_time) / 1000,
        train_seconds=seconds,
        worker_hours=seconds / 3600 * int(tags.get("num_workers", 1)) * each,
        unit=unit,
        videos_per_second=num_videos / seconds if seconds else None,
    )
