"""Labels on a cluster that grows to four nodes and loses one at work."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest

ROOT = Path(__file__).resolve().parents[2]
NUM_COPIES = 30
"""Of the 40 videos of the demo set."""


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.timeout(900)
def test_nodes_that_come_and_go(checkpoint, motion8, nodes, tmp_path):
    videos = tmp_path / "in"
    for copy in range(NUM_COPIES):
        (videos / str(copy)).mkdir(parents=True)
        for path in sorted((motion8 / "videos").rglob("*.mp4")):
            (videos / str(copy) / f"{path.parent.name}-{path.name}").symlink_to(path)
    out = tmp_path / "out"
    words = ["--model", checkpoint, "--videos", videos, "--out", out, "--videos-per-shard", 16, "--scores", "all"]
    command = [sys.executable, ROOT / "jobs/predict.py", *words, "--set", f"site.address={nodes.address}"]
    with (tmp_path / "log").open("w") as log:
        job = subprocess.Popen(
            [str(word) for word in command], cwd=tmp_path, stdout=log, stderr=log, env=dict(os.environ)
        )
    told = [("add", 2), ("add", 3), ("add", 4), ("lose", 3)]
    for word, num_nodes in told:
        before = len(list(out.glob("part-*.parquet")))
        while len(list(out.glob("part-*.parquet"))) < before + 6:
            assert job.poll() is None, (tmp_path / "log").read_text()
            time.sleep(0.05)
        assert nodes.tell(word) == num_nodes
    assert job.wait(600) == 0, (tmp_path / "log").read_text()
    rows = pd.read_parquet(out)
    assert len(rows) == rows["video_id"].nunique() == NUM_COPIES * 40
    assert (rows["status"] == "ok").all()
    copies = rows.assign(name=rows["video_id"].str.split("/").str[1])
    assert (copies.groupby("name")["top_labels"].agg(lambda labels: len({tuple(each) for each in labels})) == 1).all()
