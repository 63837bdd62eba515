"""From a checkpoint to names on a video, to a file of another runtime and from it, and to what the recipe costs."""

import numpy as np
import pandas as pd
import pytest
import torch

from kinoray.recipe import Recipe
from kinoray.recognizer import load_recognizer
from kinoray.train.checkpoint import Progress, write_checkpoint

CLASSES = ["up", "down", "left", "right", "cw", "ccw", "grow", "shrink"]
ONNX_WARNS = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # its packages, about one another


@pytest.fixture
def checkpoint(recipe_file, tmp_path):
    """Of a network that was never trained."""
    recipe = Recipe.load(recipe_file)
    torch.manual_seed(0)
    write_checkpoint(
        tmp_path / "model",
        weights=recipe.model.build().state_dict(),
        training_state={},
        recipe=recipe,
        classes=CLASSES,
        progress=Progress(epoch=0, step=1),
        metrics={},
    )
    return tmp_path / "model"


@pytest.fixture
def video(motion8):
    return str(min((motion8 / "videos").rglob("*.mp4")))


def rows(done):
    lines = [line.strip("│ ").split("│") for line in done.stdout.splitlines() if line.startswith("│")]
    return [[cell.strip() for cell in line] for line in lines]


def test_a_video_is_recognized_and_shown(call_job, checkpoint, video, tmp_path):
    (tmp_path / "labels.txt").write_text("".join(f"{name.upper()}\n" for name in CLASSES))
    done = call_job("recognize.py", video, "--model", "model", "--labels", "labels.txt", "--out", "shown.mp4")
    assert done.returncode == 0, done.stderr
    expected = load_recognizer(checkpoint).recognize(video).top(5)
    assert rows(done) == [["class", "score"], *([name.upper(), f"{score:.3f}"] for name, score in expected)]
    assert (tmp_path / "shown.mp4").stat().st_size > 1000


@ONNX_WARNS
@pytest.mark.parametrize("file", ["model.pt2", pytest.param("model.onnx", marks=pytest.mark.slow)])
def test_an_exported_file_recognizes_the_same(call_job, checkpoint, video, tmp_path, file):
    done = call_job("export.py", "model", "-o", file)
    assert done.returncode == 0, done.stderr
    told = dict(rows(done))
    assert float(told["max |Δlogit|"].split()[0]) < 1e-4
    assert told["parameters"] == f"{sum(value.numel() for value in load_recognizer(checkpoint).model.parameters()):,}"
    (from_file, from_checkpoint) = (call_job("recognize.py", video, "--model", name) for name in (file, "model"))
    assert (from_file.returncode, rows(from_file)) == (0, rows(from_checkpoint))


def test_a_recipe_is_described(call_job, recipe_file, tmp_path):
    done = call_job("describe.py", str(recipe_file), "--set", "data.val.num_crops=3")
    assert done.returncode == 0, done.stderr
    told = {row[0]: row[1:] for row in rows(done)}
    assert told["train"][0] == "1 x 3 x 8 x 32 x 32"
    assert told["val"][0] == "3 x 3 x 8 x 32 x 32"
    assert float(told["val"][2]) == pytest.approx(3 * float(told["val"][1]), abs=2e-3)


@pytest.mark.parametrize(
    ("job", "arguments", "says"),
    [
        ("recognize.py", ["VIDEO", "--model", "model", "--top", "0"], "--top: classes to show, got 0"),
        ("recognize.py", ["VIDEO", "--model", "model", "--out", "a.avi"], "should end with .mp4 or .gif"),
        ("recognize.py", ["VIDEO", "--model", "model", "--device", "gpu"], "should read like cpu, cuda or cuda:1"),
        ("recognize.py", ["absent.mp4", "--model", "model"], "absent.mp4: no such file"),
        ("recognize.py", ["VIDEO", "--model", "absent.onnx"], "absent.onnx: no such file"),
        ("export.py", ["model", "-o", "model.pth"], "should end with .onnx or .pt2"),
        ("export.py", ["absent", "-o", "model.pt2"], "no such folder"),
        ("describe.py", ["RECIPE", "--set", "model.widht=8"], "model.widht: no such field"),
    ],
)
def test_mistakes_end_with_a_line_and_no_file(call_job, checkpoint, video, recipe_file, tmp_path, job, arguments, says):
    before = set(tmp_path.iterdir())
    places = {"VIDEO": video, "RECIPE": str(recipe_file)}
    done = call_job(job, *(places.get(word, word) for word in arguments))
    assert done.returncode == 2
    assert says in done.stderr
    assert "Traceback" not in done.stderr
    assert set(tmp_path.iterdir()) == before


@pytest.mark.slow
@ONNX_WARNS
def test_an_exported_file_labels_a_folder(call_job, run_job, checkpoint, motion8, tmp_path):
    assert call_job("export.py", "model", "-o", "model.onnx").returncode == 0
    folder = motion8 / "videos"
    words = ("--model", "model.onnx", "--videos", str(folder), "--split", "val", "--set", "site.local_cpus=2")
    done = call_job("predict.py", *words, "--out", "other", "--precision", "bf16")
    assert done.returncode == 2
    assert "an exported file, which computes as it was written" in done.stderr
    done = run_job("predict.py", *words, "--out", "out", "--scores", "all")
    assert done.returncode == 0, done.stdout + done.stderr
    rows = pd.read_parquet(tmp_path / "out")
    assert set(rows["status"]) == {"ok"}
    recognizer = load_recognizer(checkpoint)
    for video, scores in zip(rows["video_id"][::10], rows["scores"][::10], strict=True):
        np.testing.assert_allclose(scores, recognizer.recognize(folder / video).scores, atol=1e-5)
