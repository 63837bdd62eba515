"""One SQLite store for the whole room: its first use makes MLflow's tables, which takes seconds."""

import sys
from pathlib import Path

import pytest
from mlflow import MlflowClient

from kinoray.tracking.store import connect, default_uri

sys.path.insert(0, str(Path(__file__).parent / "helpers"))


@pytest.fixture(scope="session")
def store_uri(tmp_path_factory: pytest.TempPathFactory) -> str:
    uri = default_uri(str(tmp_path_factory.mktemp("store") / "not yet there"))
    connect(uri)
    return uri


@pytest.fixture
def client(store_uri: str) -> MlflowClient:
    return MlflowClient(tracking_uri=store_uri)
