"""What a training run tells of itself in MLflow."""

import pytest

from kinoray.tracking.training import COMMIT_VARIABLE, git_tags, without_passwords


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (
            "--set site.tracking_uri=https://me:word@host/mlflow --dry-run",
            "--set site.tracking_uri=https://host/mlflow --dry-run",
        ),
        ("postgresql://me:w%40rd@db:5432/runs", "postgresql://db:5432/runs"),
        ("s3://bucket/a@b.csv", "s3://bucket/a@b.csv"),
        ("sqlite:////runs/mlflow.db", "sqlite:////runs/mlflow.db"),
    ],
)
def test_tags_name_no_password(text: str, shown: str) -> None:
    assert without_passwords(text) == shown


def test_an_uploaded_job_is_told_its_commit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(COMMIT_VARIABLE, "0123abc")
    assert git_tags() == {"mlflow.source.git.commit": "0123abc"}
