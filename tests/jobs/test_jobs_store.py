"""A run whose videos and checkpoints lie in an S3 store, spoken to by its real protocol."""

import boto3
import pandas as pd
import pytest

pytestmark = [pytest.mark.ray, pytest.mark.slow]


def test_train_resume_and_evaluate_in_a_bucket(bucket, motion8, run_job, recipe_file, tmp_path):
    client = boto3.client("s3")
    for path in [*motion8.glob("*.csv"), *motion8.glob("videos/*/*.mp4")]:
        client.upload_file(str(path), bucket, f"set/{path.relative_to(motion8)}")
    settings = {
        "data.train.source": f"s3://{bucket}/set/train.csv",
        "data.val.source": f"s3://{bucket}/set/val.csv",
    }
    site = {
        "site.local_cpus": "2",
        "site.storage": f"s3://{bucket}/runs",
        "site.tracking_uri": f"sqlite:///{tmp_path}/mlflow.db",
    }

    def words(values):
        return [word for name, value in values.items() for word in ("--set", f"{name}={value}")]

    done = run_job("train.py", str(recipe_file), *words(settings | site))
    assert done.returncode == 0, done.stdout + done.stderr
    keys = [item["Key"] for item in client.list_objects_v2(Bucket=bucket, Prefix="runs/")["Contents"]]
    run = next(key for key in keys if key.endswith("checkpoint.json")).split("/")[1]
    done = run_job("train.py", "--resume", run, *words(site | {"training.epochs": 3}))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "3/3" in done.stdout
    done = run_job("evaluate.py", f"s3://{bucket}/runs/{run}", "--set", "site.local_cpus=2", "--out", "p.parquet")
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(pd.read_parquet(tmp_path / "p.parquet")) == 16
