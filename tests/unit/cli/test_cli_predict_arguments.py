"""What is wrong with a prediction is told before anything heavy is imported."""

import subprocess
import sys
from pathlib import Path

import pytest

from kinoray.cli.predict_arguments import check_arguments, predict_parser
from kinoray.errors import ConfigError, DataError

ROOT = Path(__file__).resolve().parents[3]


def checked(tmp_path, *words):
    always = ["--model", "model", "--videos", str(tmp_path), "--out", str(tmp_path / "out")]
    check_arguments(predict_parser("").parse_args([*always, *words]))


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--batch-size", "0"], "--batch-size: got 0"),
        (["--segment-seconds", "-1"], "--segment-seconds: got -1"),
        (["--stride-seconds", "2"], "got no --segment-seconds"),
        (["--videos", "s3://key:secret@bucket/in"], "holds a secret"),
    ],
)
def test_arguments_that_cannot_be(tmp_path, words, told):
    with pytest.raises(ConfigError, match=told):
        checked(tmp_path, *words)


def test_videos_that_cannot_be_listed(tmp_path):
    with pytest.raises(DataError, match="nowhere: no such file"):
        checked(tmp_path, "--videos", str(tmp_path / "nowhere"))
    checked(tmp_path)


def test_none_of_this_waits_for_torch_or_ray(tmp_path):
    words = ["--model", "model", "--videos", str(tmp_path / "nowhere"), "--out", str(tmp_path / "out")]
    done = subprocess.run(
        [sys.executable, "-X", "importtime", ROOT / "jobs" / "predict.py", *words],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "nowhere: no such file" in done.stderr
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "pyarrow" in imported
    assert not imported & {"torch", "ray", "mlflow", "pandas"}
