"""One model by three ways: MLflow's pyfunc, ``load_recognizer`` and ``jobs/predict.py`` give the same bits."""

import mlflow
import numpy as np
import pandas as pd
import pytest
import torch

import kinoray
from kinoray.recipe import Recipe
from kinoray.tracking.model import log_recognizer
from kinoray.tracking.run import RunTracker
from kinoray.tracking.store import connect, default_uri
from kinoray.train.checkpoint import Progress, write_checkpoint

pytestmark = [pytest.mark.ray, pytest.mark.slow]


@pytest.fixture
def checkpoint(recipe_file, tmp_path):
    recipe = Recipe.load(recipe_file)
    torch.manual_seed(0)
    folder = tmp_path / "model"
    write_checkpoint(
        folder,
        weights=recipe.model.build().state_dict(),
        training_state={},
        recipe=recipe,
        classes=[f"class {index}" for index in range(8)],
        progress=Progress(epoch=0, step=1),
        metrics={},
    )
    return folder


@pytest.fixture
def one_thread():
    """As many as the job's worker has: how sums are shared out among threads shows in their last bits."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("one_thread")
def test_three_ways(checkpoint, motion8, run_job, tmp_path):
    broken = tmp_path / "in" / "broken.mp4"
    broken.parent.mkdir()
    broken.write_bytes(b"no video at all")
    paths = [*sorted((motion8 / "videos").rglob("*.mp4"))[:6], broken]
    pd.DataFrame({"path": map(str, paths)}).to_csv(tmp_path / "list.csv", index=False)
    done = run_job(
        "predict.py", "--model", str(checkpoint), "--videos", "list.csv", "--out", "out", "--split", "val",
        "--batch-size", "1", "--scores", "all", "--set", "site.local_cpus=2",
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    rows = pd.read_parquet(tmp_path / "out").set_index("uri").loc[[str(path) for path in paths]]

    uri = default_uri(str(tmp_path / "store"))
    connect(uri)
    tracker = RunTracker.start(uri=uri, experiment="ways", name="tiny", params={}, tags={}, recipe_yaml="", datasets={})
    mlflow.set_tracking_uri(uri)
    try:
        model = mlflow.pyfunc.load_model(
            log_recognizer(uri=uri, run_id=tracker.run_id, checkpoint_dir=checkpoint, metrics={})
        )
    finally:
        mlflow.set_tracking_uri(None)
    table = model.predict(pd.DataFrame({"path": [str(path) for path in paths]}))

    recognizer = kinoray.load_recognizer(checkpoint)
    expected = [recognizer.recognize(path).scores.tolist() for path in paths[:-1]]
    assert table["scores"].tolist() == [*expected, []]
    assert [np.asarray(scores).tolist() for scores in rows["scores"].iloc[:-1]] == expected
    assert rows["scores"].iloc[-1] is None
    assert table["label"].tolist()[:-1] == [labels[0] for labels in rows["top_labels"].iloc[:-1]]
    assert "broken.mp4" in table["error"].iloc[-1]
