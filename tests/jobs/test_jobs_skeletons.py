"""Skeletons from a pickle of MMAction2's kind, trained by the job as videos are."""

import sys
from pathlib import Path

import pytest
import yaml

sys.path.insert(0, str(Path(__file__).parents[1] / "unit" / "train" / "helpers"))

from toy_skeletons import MOTIONS, write_figures  # after the path is set

from kinoray.train.checkpoint import open_checkpoint

pytestmark = [pytest.mark.ray, pytest.mark.slow]


def test_heatmaps_teach(run_job, tmp_path):
    write_figures(tmp_path / "figures.pkl", train_per_motion=16, val_per_motion=6)
    source = {"kind": "skeletons", "path": "figures.pkl"}
    view = {
        "kind": "heatmap",
        "sampling": {"kind": "stratified", "clip_len": 8},
        "resize": 20,
        "crop": 20,
        "num_persons": 1,
        "sigma": 1.0,
    }
    recipe = {
        "model": {
            "kind": "posec3d",
            "num_classes": len(MOTIONS),
            "width": 8,
            "num_blocks": [1, 1, 1],
            "dropout": 0.0,
        },
        "data": {
            "train": {**view, "source": {**source, "split": "train"}, "batch_size": 16, "box": {"scale": [0.8, 1.0]}},
            "val": {**view, "source": {**source, "split": "val"}},
            "classes": list(MOTIONS),
        },
        "optimizer": {"kind": "adamw", "lr": 0.01},
        "training": {"epochs": 4, "precise_batch_norm": 4},
    }
    (tmp_path / "figures.yaml").write_text(yaml.safe_dump(recipe))

    done = run_job("train.py", "figures.yaml", "--set", "site.local_cpus=2")

    assert done.returncode == 0, done.stdout + done.stderr
    assert "posec3d on 64 train + 24 val videos of 4 classes" in done.stdout
    best = open_checkpoint(next((tmp_path / "runs").glob("figures-*")))
    assert best.metrics["top1"] >= 0.9
