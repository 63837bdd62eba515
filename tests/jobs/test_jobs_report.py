"""A page over predictions, local and in a store."""

import numpy as np
import pytest
from pyarrow import parquet

from kinoray.data.output import OutputFolder
from kinoray.data.rows import VideoFacts
from kinoray.predict.table import Outcome, Written


def write_predictions(place: str, uri: str) -> None:
    written = Written(("left", "right"), 2, False, False, False, "model", "views", "run")
    scores = np.array([0.2, 0.8], np.float32)
    rows = [Outcome("a", uri, "", 1, "ok", "", VideoFacts(duration_seconds=1.0), scores)]
    with OutputFolder(place).writing("part-000000000.parquet") as file:
        parquet.write_table(written.table(rows), file)


def test_a_page_with_pictures_and_accuracy(motion8, call_job, tmp_path):
    video = next((motion8 / "videos").rglob("*.mp4"))
    write_predictions(str(tmp_path / "out"), str(video))
    (tmp_path / "labels.csv").write_text(f"path,label\n{video},0\n")
    (tmp_path / "classes.txt").write_text("left\nright\n")
    done = call_job("report.py", "out", "--labels", "labels.csv", "--classes", "classes.txt")
    assert done.returncode == 0, done.stderr
    assert "0.0000 of 1 labelled rows" in done.stdout
    page = (tmp_path / "out" / "_report.html").read_text()
    assert "data:video/mp4" in page
    assert "data:image/webp" in page
    assert parquet.read_table(tmp_path / "out").num_rows == 1  # the page is in nobody's way
    done = call_job("report.py", "out", "--out", "pages/one.html", "--max-thumbnails", "0")
    assert done.returncode == 0, done.stderr
    assert "data:image" not in (tmp_path / "pages" / "one.html").read_text()


def test_predictions_in_a_bucket(bucket, call_job):
    write_predictions(f"s3://{bucket}/out", f"s3://{bucket}/gone.mp4")
    done = call_job("report.py", f"s3://{bucket}/out")
    assert done.returncode == 0, done.stderr
    assert "1 missing" in done.stdout
    assert b"no such file" in (OutputFolder(f"s3://{bucket}/out").read("_report.html") or b"")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("nothing",), "no predictions; looked for part-*.parquet"),
        (("nothing", "--per-class", "-1"), "--per-class: got -1"),
    ],
)
def test_mistakes_are_told(arguments, told, call_job):
    done = call_job("report.py", *arguments)
    assert done.returncode == 2
    assert told in done.stderr
