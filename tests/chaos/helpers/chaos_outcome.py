"""What a training leaves: the videos of its steps, its metrics, its weights; and how two of them compare."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from chaos_job import RUN, Job, Line, Strike
from chaos_table import Row
from mlflow import MlflowClient
from torch import Tensor

from kinoray.train.checkpoint import newest_of_run, open_checkpoint
from kinoray.train.fetching import file_sizes, local_folder

CLOCKS = frozenset(
    {
        "train/videos_per_second",
        "train/data_wait_fraction",
        "train/epoch_seconds",
        "train/decode_cpu_seconds_per_clip",
    }
)
"""Metrics whose values no two runs share."""
Points = Mapping[str, Sequence[tuple[int, float]]]


@dataclass(frozen=True)
class Outcome:
    """Of one run.

    Attributes:
        videos: step -> the ids of its global batch, by rank, as they were learned last.
        epochs: step -> its epoch.
        metrics: key -> (step, value) in the order of steps.
        weights: of the last checkpoint, with the optimizer's memory.
    """

    videos: Mapping[int, tuple[str, ...]]
    epochs: Mapping[int, int]
    metrics: Points
    weights: Mapping[str, Tensor]


def outcome_of(job: Job, *, storage: str = "", tracking_uri: str = "", num_runs: int = 1) -> Outcome:
    """What a job has left in its folder, or in another storage or store."""
    last: dict[tuple[int, int], Line] = {(line.step, line.rank): line for line in job.lines()}
    ordered = [last[key] for key in sorted(last)]
    videos: dict[int, tuple[str, ...]] = {}
    for line in ordered:
        videos[line.step] = (*videos.get(line.step, ()), *line.videos)
    place = newest_of_run(f"{storage or job.folder / 'runs'}/{RUN}")
    assert place is not None
    checkpoint = open_checkpoint(local_folder(place, tuple(file_sizes(place))))
    state = checkpoint.training_state()
    momentum = {
        f"optimizer.{number}.{name}": value
        for number, values in state["optimizer"]["state"].items()
        for name, value in values.items()
        if isinstance(value, Tensor)
    }
    learned = {f"learned.{name}": value for name, value in state.get("model", {}).items()}
    return Outcome(
        videos=videos,
        epochs={line.step: line.epoch for line in ordered},
        metrics=_metrics(tracking_uri or f"sqlite:///{job.folder}/runs/mlflow.db", num_runs),
        weights={**checkpoint.weights(), **momentum, **learned},
    )


def _metrics(uri: str, num_runs: int) -> Points:
    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name("kinoray")
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id])
    assert [run.info.run_name for run in runs] == [RUN] * num_runs
    assert runs[0].info.status == "FINISHED"
    found = {key: client.get_metric_history(runs[0].info.run_id, key) for key in runs[0].data.metrics}
    return {key: sorted((point.step, point.value) for point in points) for key, points in found.items()}


class Damage(NamedTuple):
    """Of a run, beside another one; each is to be 0."""

    lost_videos: int
    duplicated_videos: int
    moved_videos: int
    """Steps whose videos are others, or in another order."""
    lost_points: int
    duplicated_points: int
    other_values: int
    """Points of metrics, clocks aside, whose values differ."""
    difference: float


def damage(run: Outcome, whole: Outcome) -> Damage:
    """How a run differs from an undisturbed one."""
    ours, theirs = _by_epoch(run), _by_epoch(whole)
    points, all_points = _steps(run.metrics), _steps(whole.metrics)
    return Damage(
        lost_videos=(theirs - ours).total(),
        duplicated_videos=(ours - theirs).total(),
        moved_videos=sum(run.videos.get(step) != videos for step, videos in whole.videos.items()),
        lost_points=(all_points - points).total(),
        duplicated_points=(points - all_points).total(),
        other_values=len(_values(whole.metrics) ^ _values(run.metrics)),
        difference=difference(run.weights, whole.weights),
    )


def difference(weights: Mapping[str, Tensor], others: Mapping[str, Tensor]) -> float:
    """The largest of two sets of the same names and shapes."""
    assert weights.keys() == others.keys()
    return max(float((weights[name].double() - others[name].double()).abs().max()) for name in weights)


def _by_epoch(outcome: Outcome) -> "Counter[tuple[int, str]]":
    return Counter((outcome.epochs[step], video) for step, videos in outcome.videos.items() for video in videos)


def _steps(metrics: Points) -> "Counter[tuple[str, int]]":
    return Counter((key, step) for key, points in metrics.items() for step, _ in points)


def _values(metrics: Points) -> set[tuple[str, int, float]]:
    return {(key, step, value) for key, points in metrics.items() if key not in CLOCKS for step, value in points}


class Recovery(NamedTuple):
    """What a fault has cost."""

    seconds: float
    """To the first step computed after it."""
    num_recomputed: int


def recoveries(lines: Iterable[Line], strikes: Sequence[Strike]) -> list[Recovery]:
    """Of each strike after which there was something left to do, in order."""
    first = [line for line in lines if line.rank == 0]
    found = []
    for strike in strikes:
        later = [line for line in first if strike.is_overcome_by(line)]
        if not later:  # a job whose driver dies goes on for seconds, perhaps to its end
            continue
        before = max(line.step for line in first if line not in later)
        found.append(Recovery(later[0].seconds - strike.seconds, max(0, before - later[0].step + 1)))
    return found


def row_of(fault: str, strikes: Sequence[Strike], costs: Sequence[Recovery], harm: Damage, *, note: str = "") -> Row:
    """For the table."""
    return Row(
        fault=fault,
        injected=len(strikes),
        lost=harm.lost_videos + harm.lost_points,
        duplicated=harm.duplicated_videos + harm.duplicated_points,
        recomputed=[cost.num_recomputed for cost in costs],
        recoveries=[cost.seconds for cost in costs],
        difference=harm.difference,
        note=note,
    )
