"""The model that MLflow keeps: a real checkpoint of a real recognizer, loaded where Kinoray is not installed."""

import json
import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote

import av
import numpy as np
import pytest
import torch
from mlflow import MlflowClient

import kinoray
from kinoray.errors import CheckpointError, ResourceError
from kinoray.recipe import Recipe
from kinoray.tracking.model import REQUIREMENTS, log_recognizer
from kinoray.tracking.run import RunTracker
from kinoray.train.checkpoint import Progress, write_checkpoint
from kinoray.train.events import EpochDone, Evaluation

CLASSES = ("jump", "run", "wave")

# A process that knows Kinoray only from the model; prints what it sees as one line of JSON.
STRANGER = """
import json, sys
from pathlib import Path
sys.path = [place for place in sys.path if not (Path(place or ".") / "kinoray").is_dir()]
import mlflow, pandas as pd
uri, model_uri, good, bad = sys.argv[1:]
mlflow.set_tracking_uri(uri)
model = mlflow.pyfunc.load_model(model_uri)
tables = [
    model.predict(pd.DataFrame({"path": [good, bad, None, ""]})),
    model.predict([{"path": good}]),
    model.predict(pd.DataFrame({"path": [good]}), params={"top_k": 2}),
]
import kinoray
columns = model.metadata.get_output_schema().input_names()
found = [table.to_dict("records") for table in tables]
print(json.dumps({"kinoray": kinoray.__file__, "tables": found, "columns": columns}))
"""


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("videos") / "a video.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=8)
        stream.width, stream.height, stream.pix_fmt = 48, 32, "bgr0"
        for index in range(8):
            image = np.full((32, 48, 3), 20 * index, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())
    return path


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    source = {"kind": "manifest", "path": "unused.csv"}
    sampling = {"kind": "clips", "clip_len": 1, "frame_interval": 1, "num_clips": 2}
    view = {"source": source, "sampling": sampling, "crop": 32, "batch_size": 2}
    recipe = Recipe.from_mapping(
        {
            "model": {"kind": "tsn", "backbone": "resnet18", "num_classes": len(CLASSES)},
            "data": {"train": view, "val": {**view, "resize": 32}},
            "optimizer": {"kind": "sgd", "lr": 0.1},
            "training": {"epochs": 1},
        },
        "test",
    )
    torch.manual_seed(0)
    model = recipe.model.build()
    folder = tmp_path_factory.mktemp("run") / "epoch_0001"
    write_checkpoint(
        folder,
        weights=model.state_dict(),
        training_state={},
        recipe=recipe,
        classes=CLASSES,
        progress=Progress(epoch=0, step=10),
        metrics={"top1": 0.5},
    )
    return folder


@pytest.fixture(scope="module")
def tracker(store_uri: str) -> RunTracker:
    tracker = RunTracker.start(
        uri=store_uri,
        experiment="models",
        name="tsn",
        params={"optimizer.lr": 0.1},
        tags={},
        recipe_yaml="",
        datasets={},
    )
    evaluation = Evaluation({"top1": 0.5}, np.eye(3, dtype=np.int64), 3)
    tracker(EpochDone(0, 10, 1.0, 8.0, 0.1, 5.0, evaluation, True, "/ckpt/0"))
    worse = Evaluation({"top1": 0.25}, np.eye(3, dtype=np.int64), 3)
    tracker(EpochDone(1, 20, 1.0, 8.0, 0.1, 5.0, worse, False, "/ckpt/1"))
    return tracker


@pytest.fixture(scope="module")
def model_uri(store_uri: str, tracker: RunTracker, checkpoint: Path) -> str:
    return log_recognizer(
        uri=store_uri, run_id=tracker.run_id, checkpoint_dir=checkpoint, metrics={"val/top1": 0.5, "val/extra": 2.0}
    )


def test_the_model_belongs_to_its_run_and_bears_its_metrics(client: MlflowClient, tracker, model_uri) -> None:
    model = client.get_logged_model(model_uri.removeprefix("models:/"))
    assert (model.name, model.source_run_id, model.status) == ("recognizer", tracker.run_id, "READY")
    assert model.params == {"optimizer.lr": "0.1"}
    metrics = {metric.key: (metric.value, metric.step) for metric in model.metrics}
    assert metrics == {"val/top1": (0.5, 10), "val/extra": (2.0, 0)}
    assert [(out.model_id, out.step) for out in client.get_run(tracker.run_id).outputs.model_outputs] == [
        (model.model_id, 10)
    ]
    history = client.get_metric_history(tracker.run_id, "val/top1")
    assert [point.step for point in history] == [10, 20], "the run's own points must stay as they are"


def test_nothing_is_pickled_and_versions_are_stated(client: MlflowClient, model_uri) -> None:
    location = client.get_logged_model(model_uri.removeprefix("models:/")).artifact_location
    folder = Path(unquote(location.removeprefix("file://")))
    files = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert {"recognizer_pyfunc.py", "code/kinoray/recognizer.py", "MLmodel"} <= files
    assert any(name.endswith("model.safetensors") for name in files)
    assert not [name for name in files if name.endswith((".pkl", ".pickle", ".pyc"))]
    requirements = (folder / "requirements.txt").read_text().split()
    assert {line.split("==")[0] for line in requirements} == set(REQUIREMENTS)
    assert all("==" in line and "+" not in line for line in requirements)


def test_it_recognizes_where_kinoray_is_not_installed(store_uri, model_uri, checkpoint, video, tmp_path) -> None:
    bad = tmp_path / "bad.mp4"
    bad.write_bytes(b"no video at all")
    command = [sys.executable, "-c", STRANGER, store_uri, model_uri, str(video), str(bad)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout.splitlines()[-1])
    assert not Path(seen["kinoray"]).is_relative_to(Path(kinoray.__file__).parents[1])
    (good_row, bad_row, *unnamed), (as_records,), (top_two,) = seen["tables"]
    assert list(good_row) == list(bad_row) == seen["columns"]
    assert good_row["error"] == ""
    assert good_row["scores"] == kinoray.load_recognizer(checkpoint).recognize(video).scores.tolist()
    assert sorted(good_row["top_labels"]) == sorted(CLASSES)
    assert good_row["label"] == CLASSES[int(np.argmax(good_row["scores"]))]
    assert good_row["score"] == max(good_row["scores"])
    assert as_records == good_row
    assert top_two["top_labels"] == good_row["top_labels"][:2]
    assert bad_row["label"] == ""
    assert bad_row["scores"] == []
    assert bad_row["error"].startswith("DecodeError: ")
    assert "bad.mp4" in bad_row["error"]
    assert [row["error"].partition(":")[0] for row in unnamed] == ["DataError", "DataError"]
    assert [row["scores"] for row in unnamed] == [[], []]


def test_a_folder_that_is_no_checkpoint(store_uri, tracker, tmp_path) -> None:
    with pytest.raises(CheckpointError, match=r"holds no checkpoint\.json"):
        log_recognizer(uri=store_uri, run_id=tracker.run_id, checkpoint_dir=tmp_path, metrics={})


def test_a_run_that_does_not_exist(store_uri, checkpoint) -> None:
    with pytest.raises(ResourceError, match=r"refuses: .*deadbeef"):
        log_recognizer(uri=store_uri, run_id="deadbeef", checkpoint_dir=checkpoint, metrics={})


def test_a_model_that_cannot_be_stored_is_marked_as_failed(store_uri, tracker, checkpoint, client, monkeypatch) -> None:
    def fail(*args: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(MlflowClient, "log_model_artifacts", fail)
    with pytest.raises(OSError, match="disk full"):
        log_recognizer(uri=store_uri, run_id=tracker.run_id, checkpoint_dir=checkpoint, name="unlucky", metrics={})
    (model,) = client.search_logged_models([tracker.experiment_id], filter_string="name = 'unlucky'")
    assert model.status == "FAILED"
