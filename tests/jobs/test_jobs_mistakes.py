"""What a user sees of a mistake: one line that names it, exit code 2, no traceback, and nothing started."""

import json

import pytest

from kinoray.data.motion8 import CLASSES


def told(done, code=2):
    """The error's text; fails where the job ended otherwise than with a message."""
    assert done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stderr + done.stdout
    assert done.stderr.startswith("train.py: ")
    return done.stderr


def test_a_typo_in_a_key(run_job, recipe_file):
    error = told(run_job("train.py", str(recipe_file), "--set", "optimizer.momentun=0.8"))
    assert "optimizer.momentun" in error
    assert "did you mean 'momentum'" in error
    assert "[--set optimizer.momentun=0.8]" in error


def test_a_missing_recipe(call_job, recipe_file):
    error = told(call_job("train.py", str(recipe_file.with_name("smal.yaml"))))
    assert "smal.yaml" in error
    assert "small.yaml" in error


def test_a_missing_manifest(call_job, recipe_file):
    error = told(call_job("train.py", str(recipe_file), "--set", "data.train.source=nowhere/train.csv"))
    assert "nowhere/train.csv: no such file" in error


def test_missing_videos(call_job, recipe_file, tmp_path):
    manifest = tmp_path / "lost.csv"
    manifest.write_text("path,label\n" + "".join(f"lost{index}.mp4,{name}\n" for index, name in enumerate(CLASSES)))
    error = told(call_job("train.py", str(recipe_file), "--set", f"data.train.source={manifest}"))
    assert "8 of the 8 video files looked at do not exist" in error
    assert "lost0.mp4" in error


@pytest.mark.parametrize("label", ["8", "-1"])
def test_a_label_out_of_range(call_job, recipe_file, tmp_path, label):
    manifest = tmp_path / "labels.csv"
    manifest.write_text(f"path,label\na.mp4,0\nb.mp4,{label}\n")
    error = told(call_job("train.py", str(recipe_file), "--set", f"data.train.source={manifest}"))
    assert "labels.csv" in error
    assert ("model.num_classes is 8" if label == "8" else "has label -1") in error


def test_an_empty_manifest(call_job, recipe_file, tmp_path):
    manifest = tmp_path / "empty.csv"
    manifest.write_text("path,label\n")
    assert "empty.csv: the manifest is empty" in told(
        call_job("train.py", str(recipe_file), "--set", f"data.train.source={manifest}")
    )


def test_too_few_cpus(call_job, recipe_file):
    settings = ("site.local_cpus=2", "site.workers=2", "site.cpus_per_worker=1")
    error = told(call_job("train.py", str(recipe_file), *(word for text in settings for word in ("--set", text))))
    assert "2 workers x 1 CPU = 2 CPUs" in error
    assert "the cluster's 2 CPUs" in error


def test_an_unreachable_mlflow_server(run_job, recipe_file):
    error = told(
        run_job("train.py", str(recipe_file), "--set", "site.tracking_uri=http://127.0.0.1:9", timeout_seconds=60)
    )
    assert "http://127.0.0.1:9" in error


def test_no_cluster_at_the_address(run_job, recipe_file):
    error = told(run_job("train.py", str(recipe_file), "--set", "site.address=127.0.0.1:9", timeout_seconds=120))
    assert "no Ray cluster to join at 127.0.0.1:9" in error


def test_a_checkpoint_that_is_none(call_job, tmp_path):
    done = call_job("evaluate.py", str(tmp_path))
    assert done.returncode == 2
    assert "holds no whole checkpoint" in done.stderr


def test_a_dry_run_checks_everything_and_starts_nothing(call_job, recipe_file, tmp_path):
    done = call_job("train.py", str(recipe_file), "--dry-run", "--set", "site.local_cpus=2")
    assert done.returncode == 0, done.stderr
    assert "24 train + 16 val videos of 8 classes" in done.stdout
    assert "1 worker x (1 CPU + 1 decode thread)" in done.stdout
    assert not (tmp_path / "runs").exists()


def test_print_recipe_tells_every_value_and_who_set_it(call_job, recipe_file):
    done = call_job("train.py", str(recipe_file), "--print-recipe", "--set", "optimizer.lr=0.02")
    assert done.returncode == 0, done.stderr
    line = next(line for line in done.stdout.splitlines() if line.strip().startswith("lr:"))
    assert "0.02" in line
    assert "--set optimizer.lr=0.02" in line
    assert "# default" in done.stdout
    assert json.dumps("small.yaml")[1:-1] in done.stdout
