"""One training run in MLflow: ``RunTracker`` listens to the events of a run and records them.

Everything is recorded from the process that started the run; the workers only emit events.
"""

import getpass
import json
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

import numpy as np
from matplotlib.figure import Figure
from mlflow import MlflowClient
from mlflow.entities import Dataset, DatasetInput, InputTag, RunTag
from mlflow.utils.validation import MAX_DATASET_DIGEST_SIZE, MAX_PARAM_VAL_LENGTH, MAX_TAG_VAL_LENGTH
from numpy.typing import NDArray

from kinoray.errors import ResourceError
from kinoray.tracking.bars import class_bars_picture
from kinoray.tracking.confusion import confusion_picture
from kinoray.tracking.curves import curves_picture
from kinoray.tracking.outbox import Outbox, cut, first_line, log_params, logger, upload
from kinoray.tracking.pictures import png_bytes
from kinoray.tracking.store import checked_uri, connect, open_experiment, public_uri, quiet, refusals_named, run_link
from kinoray.tracking.strips import batch_picture
from kinoray.tracking.summary import Best, Point, bad_videos_table, describe_run, read_bad_videos, videos_table
from kinoray.train.events import (
    BadVideo,
    BatchSeen,
    Diverged,
    EpochDone,
    Event,
    Finished,
    Mistake,
    Recalled,
    Started,
    StepsDone,
)

Scalar: TypeAlias = str | int | float | bool | None
Status: TypeAlias = Literal["FINISHED", "FAILED", "KILLED"]

BAD_VIDEOS = "bad_videos.csv"


@dataclass(frozen=True)
class DatasetInfo:
    """What a run reads, for MLflow's dataset column.

    Attributes:
        source: path or URI of the manifest.
        digest: of the manifest; MLflow keeps the first 36 characters.
        context: ``training``, ``validation`` or ``testing``.
        listing: digest that does not depend on where the files lie; empty where it is not told.
    """

    name: str
    source: str
    digest: str
    num_videos: int
    context: str
    listing: str = ""


class RunTracker:
    """A listener that records a run; made by ``start``.

    A store that stops answering never stops the run: values wait in memory and are sent when it answers again.
    Epochs are counted from 1 here, as people read them; events count from 0.

    Args:
        client: of the store.
        uri: of the store.
        experiment_id: as the store names it.
        run_id: of a run that exists and is running.
        tags: of the run; its description repeats ``recipe`` and ``command``.
        classes: K names for the pictures; None numbers them.
        monitor: the metric of an evaluation that says which epoch is best.
    """

    def __init__(
        self,
        client: MlflowClient,
        *,
        uri: str,
        experiment_id: str,
        run_id: str,
        tags: Mapping[str, str],
        classes: tuple[str, ...] | None = None,
        monitor: str = "top1",
    ) -> None:
        self.uri, self.experiment_id, self.run_id, self.monitor = uri, experiment_id, run_id, monitor
        self._client = client
        self._outbox = Outbox(client, uri=uri, run_id=run_id)
        self._classes = classes
        self._lr_factors: tuple[float, ...] = (1.0,)
        self._tags = tags
        self._history: dict[str, list[Point]] = {}
        self._best: Best | None = None
        self._confusion: NDArray[np.int64] | None = None
        self._mistakes: tuple[Mistake, ...] = ()
        self._bad_videos: dict[tuple[str, str], tuple[int, BadVideo]] = {}
        self._is_finished = False

    @classmethod
    def start(
        cls,
        *,
        uri: str,
        experiment: str,
        name: str,
        params: Mapping[str, Scalar],
        tags: Mapping[str, str],
        recipe_yaml: str,
        datasets: Mapping[str, DatasetInfo],
        resume_run_id: str | None = None,
        classes: tuple[str, ...] | None = None,
        monitor: str = "top1",
    ) -> "RunTracker":
        """Create a run, or continue one, and record what it will compute.

        Args:
            uri: a tracking server, a database, or ``sqlite:////folder/mlflow.db``.
            experiment: made where there is none.
            name: as the run's row reads.
            params: dotted path -> value.
            tags: to filter by; ``recipe`` and ``command`` also appear in the description.
            recipe_yaml: the resolved recipe.
            datasets: split -> what it is.
            resume_run_id: the run to continue; its metrics go on where they ended.
            classes: K names for the pictures; None numbers them.
            monitor: the metric of an evaluation that says which epoch is best.

        Raises:
            ConfigError: the URI is of no use, or the experiment is deleted.
            ResourceError: the store does not answer within seconds, or refuses the run.
        """
        uri = checked_uri(uri)
        client = connect(uri)
        tags = {key: cut(value, MAX_TAG_VAL_LENGTH) for key, value in (_origin_tags() | dict(tags)).items()}
        with quiet(), refusals_named(uri):
            if resume_run_id is None:
                experiment_id = open_experiment(client, uri, experiment)
                run = client.create_run(experiment_id, tags=tags, run_name=name)
            else:
                run = client.get_run(resume_run_id)
                client.update_run(resume_run_id, status="RUNNING", name=name)
            run_id, experiment_id = run.info.run_id, run.info.experiment_id
            tracker = cls(
                client,
                uri=uri,
                experiment_id=experiment_id,
                run_id=run_id,
                tags=tags,
                classes=classes,
                monitor=monitor,
            )
            if resume_run_id is not None:
                tracker._recall(run.data.metrics, run.data.tags)
                client.log_batch(run_id, tags=[RunTag(key, value) for key, value in tags.items()])
            log_params(client, run_id, _new_params(params, run.data.params))
            client.log_inputs(run_id, datasets=[_dataset_input(split, info) for split, info in datasets.items()])
            tracker._store_recipe(recipe_yaml)
        return tracker

    def link(self) -> str:
        """Where a browser finds the run; for a local file, after the command that serves it."""
        return run_link(self.uri, self.experiment_id, self.run_id)

    def __call__(self, event: Event) -> None:
        """Record an event; never raises for what the store does."""
        self.keep(event)
        self.deliver()

    def keep(self, event: Event) -> None:
        """Take an event up, to be sent with the next ``deliver``."""
        match event:
            case Started():
                self._note_start(event)
            case BatchSeen():
                last = max((label for labels in event.labels for label, _ in labels), default=0)
                self._put_picture("batch.png", lambda: batch_picture(event, self._names(last + 1)))
            case StepsDone():
                self._add("train", _step_metrics(event), event.step)
            case EpochDone():
                self._note_epoch(event)
            case Recalled():
                for told in event.events:  # of which only what did not arrive is new here
                    self.keep(told)
            case Diverged():
                self._outbox.put_file(f"diverged_step_{event.step + 1}.csv", videos_table(event.videos).encode())
            case Finished():
                self._add("probe", event.probe, self._last_step())
                # Always told, so that what an earlier process said of this run does not stay.
                self._outbox.set_tags({"ended": event.stopped or "all epochs done"})

    def deliver(self) -> None:
        """Send what waits; never raises for what the store does."""
        self._outbox.deliver()

    def set_tags(self, tags: Mapping[str, str]) -> None:
        """Tags of the run, to be sent with the next ``deliver``."""
        self._outbox.set_tags(tags)

    def add_metrics(self, metrics: Mapping[str, float], step: int) -> None:
        """Points of metrics, to be sent with the next ``deliver``; a step that has one already keeps it."""
        self._add("", metrics, step)

    @property
    def mistakes(self) -> tuple[Mistake, ...]:
        """The most confident ones of the best epoch."""
        return self._mistakes

    def put_files(self, files: Mapping[str, bytes]) -> None:
        """Store artifacts, path -> content."""
        for path, content in files.items():
            self._outbox.put_file(path, content)

    def finish(self, status: Status, *, error: str = "", description: str = "") -> None:
        """End the run with its pictures and description; a second call does nothing.

        Args:
            status: how it ended.
            error: why, in a line, where it did not finish.
            description: Markdown for its page; default: made of what was recorded.
        """
        if self._is_finished:
            return
        self._is_finished = True
        if any(key in self._history for key in ("train/loss", "train/epoch_loss")):
            self._put_picture("curves.png", lambda: curves_picture(self._history, self._lr_factors))
        if (confusion := self._confusion) is not None:
            self._put_picture("confusion_best.png", lambda: confusion_picture(confusion, self._names(len(confusion))))
            self._put_picture("classes_best.png", lambda: class_bars_picture(confusion, self._names(len(confusion))))
        note = description or describe_run(
            status=status, error=error, best=self._best, history=self._history, tags=self._tags
        )
        self._outbox.set_tags({"mlflow.note.content": note} | ({"error": error} if error else {}))
        self._outbox.end_run(status)

    def _names(self, num_classes: int) -> tuple[str, ...]:
        return self._classes or tuple(str(index) for index in range(num_classes))

    def _put_picture(self, path: str, draw: Callable[[], Figure]) -> None:
        """A picture that cannot be drawn must not cost the run what else it records."""
        try:
            self._outbox.put_file(path, png_bytes(draw()))
        except Exception:  # noqa: BLE001 - whatever the drawing of rare data comes upon
            logger.exception("%s could not be drawn", path)

    def _store_recipe(self, recipe_yaml: str) -> None:
        """Store the first file; where files cannot go is better known now than when the model is ready."""
        try:
            upload(self._client, self.run_id, "recipe.yaml", recipe_yaml.encode())
        except Exception as error:
            self._client.set_terminated(self.run_id, "FAILED")
            raise ResourceError(
                f"tracking: {public_uri(self.uri)} takes no files: {first_line(error)}; "
                "check where its artifacts are kept, and the right to write there"
            ) from error

    def _note_start(self, event: Started) -> None:
        names = ("device", "num_workers", "num_parameters", "num_train_videos", "num_val_videos")
        self._outbox.set_tags({name: str(getattr(event, name)) for name in names})
        self._lr_factors = event.lr_factors

    def _note_epoch(self, event: EpochDone) -> None:
        epoch = event.epoch + 1
        self._note_bad_videos("train", epoch, event.bad_videos)
        metrics = {"epoch": epoch, "train/epoch_loss": event.train_loss, "train/epoch_seconds": event.seconds}
        if event.decode_cpu_seconds_per_clip:
            metrics["train/decode_cpu_seconds_per_clip"] = event.decode_cpu_seconds_per_clip
        evaluation = event.evaluation
        if evaluation is not None:
            self._note_bad_videos("val", epoch, evaluation.bad_videos)
            self._add("val", evaluation.metrics, event.step)
        self._outbox.set_tags({"checkpoint": event.checkpoint})
        if event.is_best:
            measured = {} if evaluation is None else evaluation.metrics
            self._best = Best(epoch, event.checkpoint, dict(measured))
            self._confusion = None if evaluation is None else evaluation.confusion
            self._mistakes = () if evaluation is None else evaluation.mistakes
            self._outbox.set_tags({"best_checkpoint": event.checkpoint})
            metrics["best/epoch"] = epoch
            if self.monitor in measured:
                metrics[f"best/val_{self.monitor}"] = measured[self.monitor]
        self._add("", metrics | {"bad_videos": len(self._bad_videos)}, event.step)

    def _note_bad_videos(self, split: str, epoch: int, videos: tuple[BadVideo, ...]) -> None:
        known = len(self._bad_videos)
        for video in videos:
            self._bad_videos.setdefault((split, video.video_id), (epoch, video))
        if len(self._bad_videos) > known:
            rows = ((split, epoch, video) for (split, _), (epoch, video) in self._bad_videos.items())
            self._outbox.put_file(BAD_VIDEOS, bad_videos_table(rows).encode())

    def _add(self, section: str, metrics: Mapping[str, float], step: int) -> None:
        """Keep metrics, except those of a step that is computed again after a restart."""
        for name, value in metrics.items():
            key = f"{section}/{name}" if section else name
            points = self._history.setdefault(key, [])
            if not points or step > points[-1][0]:
                points.append((step, float(value)))
                self._outbox.add_metric(key, float(value), step)

    def _last_step(self) -> int:
        return max((points[-1][0] for points in self._history.values()), default=0)

    def _recall(self, metrics: Mapping[str, float], tags: Mapping[str, str]) -> None:
        """Know what an earlier process recorded in this run."""
        for key in metrics:
            points = ((point.step, point.value) for point in self._client.get_metric_history(self.run_id, key))
            self._history[key] = sorted(points)
        if "best/epoch" in metrics:
            step = self._history["best/epoch"][-1][0]
            scores = {key: dict(points) for key, points in self._history.items() if key.startswith("val/")}
            measured = {key.removeprefix("val/"): points[step] for key, points in scores.items() if step in points}
            self._best = Best(int(metrics["best/epoch"]), tags.get("best_checkpoint", ""), measured)
        if any(file.path == BAD_VIDEOS for file in self._client.list_artifacts(self.run_id)):
            with tempfile.TemporaryDirectory() as folder:
                table = Path(self._client.download_artifacts(self.run_id, BAD_VIDEOS, folder))
                for split, epoch, video in read_bad_videos(table.read_text(encoding="utf-8")):
                    self._bad_videos[split, video.video_id] = epoch, video


@contextmanager
def ended(tracker: RunTracker) -> Iterator[RunTracker]:
    """Whatever becomes of what is within, the run says so."""
    try:
        yield tracker
    except (KeyboardInterrupt, SystemExit):
        tracker.finish("KILLED", error="interrupted")
        raise
    except BaseException as error:
        tracker.finish("FAILED", error=str(error).splitlines()[0] if str(error) else type(error).__name__)
        raise
    tracker.finish("FINISHED")


def _step_metrics(event: StepsDone) -> dict[str, float]:
    names = ("loss", "lr", "grad_norm", "videos_per_second", "data_wait_fraction")
    return {name: getattr(event, name) for name in names}


def _origin_tags() -> dict[str, str]:
    """What MLflow's own run starter would say of user and program."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container without a user database
        user = "unknown"
    return {"mlflow.user": user, "mlflow.source.name": sys.argv[0], "mlflow.source.type": "LOCAL"}


def _new_params(params: Mapping[str, Scalar], recorded: Mapping[str, str]) -> dict[str, str]:
    """Params as text, as ``--set`` takes them, without those that a continued run has."""
    text = {key: value if isinstance(value, str) else json.dumps(value) for key, value in params.items()}
    for key, value in recorded.items():
        if key in text and cut(text[key], MAX_PARAM_VAL_LENGTH) != value:
            logger.warning("param %s stays %s in the tracked run, although it is %s now", key, value, text[key])
    return {key: value for key, value in text.items() if key not in recorded}


def _dataset_input(split: str, info: DatasetInfo) -> DatasetInput:
    dataset = Dataset(
        name=info.name,
        digest=info.digest[:MAX_DATASET_DIGEST_SIZE],
        source_type="http" if info.source.startswith("http") else "local",
        source=json.dumps({"uri": info.source}),
        profile=json.dumps({"num_videos": info.num_videos}),
    )
    tags = [InputTag("mlflow.data.context", info.context), InputTag("split", split)]
    tags += [InputTag("listing", info.listing)] if info.listing else []
    return DatasetInput(dataset=dataset, tags=tags)
