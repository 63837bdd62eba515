"""A trained recognizer in MLflow's model store, beside the run that made it. Nothing is pickled."""

import math
import tempfile
import time
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path

import mlflow
from mlflow import MlflowClient
from mlflow.entities import LoggedModelOutput, LoggedModelStatus, Metric
from mlflow.models import Model, ModelSignature
from mlflow.types import ColSpec, DataType, ParamSchema, ParamSpec, Schema
from mlflow.types.schema import Array

import kinoray
from kinoray.errors import CheckpointError
from kinoray.tracking.store import checked_uri, connect, quiet, refusals_named

REQUIREMENTS = (
    "av",
    "mlflow",
    "numpy",
    "pandas",
    "pyarrow",
    "pydantic",
    "pyyaml",
    "safetensors",
    "torch",
    "torchvision",
)
"""What recognizing needs; Kinoray itself travels in the model."""

SIGNATURE = ModelSignature(
    inputs=Schema([ColSpec("string", "path")]),
    # Spark makes of these the type of what a UDF gives.
    outputs=Schema(
        [
            ColSpec("string", "path"),
            ColSpec("string", "label"),
            ColSpec("double", "score"),
            ColSpec(Array(DataType.string), "top_labels"),
            ColSpec(Array(DataType.double), "top_scores"),
            ColSpec(Array(DataType.double), "scores"),
            ColSpec("string", "error"),
        ]
    ),
    params=ParamSchema([ParamSpec("top_k", "long", 5)]),
)


def log_recognizer(
    *,
    uri: str,
    run_id: str,
    checkpoint_dir: Path,
    name: str = "recognizer",
    metrics: Mapping[str, float],
) -> str:
    """Store a checkpoint as a model that ``mlflow.pyfunc.load_model`` loads where Kinoray is not installed.

    Args:
        uri: of the store, as ``RunTracker.start`` takes it.
        run_id: the run that made it.
        checkpoint_dir: a local checkpoint folder.
        name: of the model in the run's list.
        metrics: of the checkpoint, by the keys of the run's metrics (``val/top1``).

    Returns:
        The model's URI, ``models:/m-…``.

    Raises:
        CheckpointError: the folder is none.
        ResourceError: the store does not answer or refuses.
    """
    if not (checkpoint_dir / "checkpoint.json").is_file():
        raise CheckpointError(f"{checkpoint_dir}: holds no checkpoint.json; give a checkpoint folder")
    uri = checked_uri(uri)
    client = connect(uri)
    with quiet(), refusals_named(uri):
        run = client.get_run(run_id)
        logged = client.create_logged_model(
            run.info.experiment_id, name=name, source_run_id=run_id, params=run.data.params, model_type="recognizer"
        )
        status = LoggedModelStatus.FAILED
        try:
            record = Model(
                artifact_path=logged.artifact_location,
                run_id=run_id,
                model_uuid=logged.model_id,
                model_id=logged.model_id,
            )
            with tempfile.TemporaryDirectory() as folder:
                _save(Path(folder) / "model", record, checkpoint_dir)
                client.log_model_artifacts(logged.model_id, str(Path(folder) / "model"))
            points = [_point(client, run_id, logged.model_id, key, value) for key, value in metrics.items()]
            client.log_outputs(run_id, [LoggedModelOutput(logged.model_id, max((p.step for p in points), default=0))])
            client.log_batch(run_id, metrics=points)
            status = LoggedModelStatus.READY
        finally:
            client.finalize_logged_model(logged.model_id, status)
    return str(logged.model_uri)


def _save(folder: Path, record: Model, checkpoint_dir: Path) -> None:
    # Loaded on first use, and only then: it warns about its own type hints, which `quiet` holds back.
    mlflow.pyfunc.save_model(
        path=str(folder),
        mlflow_model=record,
        python_model=str(Path(__file__).with_name("recognizer_pyfunc.py")),
        artifacts={"checkpoint": str(checkpoint_dir)},
        code_paths=[str(Path(kinoray.__file__).parent)],
        # A local suffix such as +cpu names a build that no package index has.
        pip_requirements=[f"{package}=={version(package).partition('+')[0]}" for package in REQUIREMENTS],
        signature=SIGNATURE,
        model_config={"device": "cpu"},
    )


def _point(client: MlflowClient, run_id: str, model_id: str, key: str, value: float) -> Metric:
    """A metric as the model's own: the run's point of that value, so that it stays one point in the run's history."""
    history = client.get_metric_history(run_id, key)
    same = [point for point in history if math.isclose(point.value, value)]
    step = max((point.step for point in same or history), default=0)
    timestamp = next((point.timestamp for point in same if point.step == step), int(time.time() * 1000))
    return Metric(key, value, timestamp, step, model_id=model_id, run_id=run_id)
