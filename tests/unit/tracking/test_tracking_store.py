import logging
import socket
import sqlite3
import threading
import time
import warnings
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from mlflow.exceptions import MlflowException

from kinoray.errors import ConfigError, ResourceError
from kinoray.tracking import store
from kinoray.tracking.store import checked_uri, connect, default_uri, public_uri, quiet, run_link, why_no_answer


def test_default_store_is_a_file_in_the_storage_folder(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert default_uri("runs") == f"sqlite:///{tmp_path}/runs/mlflow.db"
    assert checked_uri(default_uri("runs")) == default_uri("runs")
    with pytest.raises(ConfigError, match="no SQLite store can live under s3://bucket/runs"):
        default_uri("s3://bucket/runs")


def test_a_relative_file_is_made_absolute(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert checked_uri("sqlite:///mlflow.db?timeout=20") == f"sqlite:///{tmp_path}/mlflow.db?timeout=20"


@pytest.mark.parametrize(
    "uri", ["http://host:5000", "https://user:word@host/mlflow", "postgresql+psycopg2://u@h:5432/db", "databricks"]
)
def test_servers_are_taken_as_they_are(uri) -> None:
    assert checked_uri(uri) == uri
    assert checked_uri(uri + "/") == uri


@pytest.mark.parametrize("uri", ["./mlruns", "mlruns", "file:///data/mlruns", "", "s3://bucket/mlruns", "sqlite://"])
def test_places_that_hold_no_runs_are_refused_with_a_better_one(uri) -> None:
    with pytest.raises(ConfigError, match=r"MLflow keeps no runs in .*sqlite:////.*/mlflow\.db"):
        checked_uri(uri)


def test_passwords_are_not_shown() -> None:
    assert public_uri("https://user:word@host:5000/x") == "https://host:5000/x"
    link = run_link("http://user:word@host:5000", "3", "abc")
    assert link == "http://host:5000/#/experiments/3/runs/abc?workflowType=machine_learning"


def test_a_file_that_is_no_database(tmp_path) -> None:
    file = tmp_path / "mlflow.db"
    file.write_text("a" * 5000)
    with pytest.raises(ResourceError, match=r"mlflow\.db does not answer: file is not a database; give a file"):
        connect(f"sqlite:///{file}")


def test_a_store_below_a_file(tmp_path) -> None:
    (tmp_path / "runs").write_text("")
    with pytest.raises(ResourceError, match=r"does not answer: .*File exists.*; give a file that can be written"):
        connect(f"sqlite:///{tmp_path}/runs/mlflow.db")


def test_a_store_of_another_mlflow_is_named(tmp_path) -> None:
    file = tmp_path / "mlflow.db"
    with sqlite3.connect(file) as database:
        database.execute("CREATE TABLE alembic_version (version_num VARCHAR(32))")
        database.execute("INSERT INTO alembic_version VALUES ('0123456789ab')")
        for table in ("experiments", "runs", "tags", "metrics", "params"):
            database.execute(f"CREATE TABLE {table} (id INTEGER)")
    database.close()
    with pytest.raises(ResourceError, match=r"mlflow\.db refuses: "):
        connect(f"sqlite:///{file}")


class _Gateway(BaseHTTPRequestHandler):
    """Answers with the status that its path ends with."""

    def do_GET(self) -> None:
        self.send_response(int(self.path.split("/")[1]))
        self.end_headers()

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def gateway() -> Iterator[str]:
    server = HTTPServer(("127.0.0.1", 0), _Gateway)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize(("status", "why"), [(200, ""), (401, ""), (404, ""), (500, "HTTP 500"), (503, "HTTP 503")])
def test_only_a_server_in_trouble_is_no_answer(gateway, status, why) -> None:
    assert why_no_answer(f"{gateway}/{status}") == why


def test_a_server_that_is_no_mlflow_is_named(gateway) -> None:
    uri = f"{gateway}/404"
    with pytest.raises(ResourceError, match=f"{uri} refuses: "), store.refusals_named(uri):
        store.open_experiment(connect(uri), uri, "demo")


def test_a_server_that_accepts_and_says_nothing(monkeypatch) -> None:
    monkeypatch.setattr(store, "ANSWER_SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        begin = time.monotonic()
        assert "timed out" in why_no_answer(f"http://127.0.0.1:{listening.getsockname()[1]}")
        assert time.monotonic() - begin < 2


def test_a_database_server_is_asked_for_its_port() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        uri = f"postgresql://127.0.0.1:{listening.getsockname()[1]}/db"
        assert why_no_answer(uri) == ""
    assert "refused" in why_no_answer(uri)


def test_quiet_holds_back_noise_and_gives_it_back(capfd) -> None:
    logger = logging.getLogger("mlflow.store.db.utils")
    before = logging.getLogger("mlflow").level
    with quiet():
        logger.info("Creating initial MLflow database tables...")
        warnings.warn("a deprecation of its own", DeprecationWarning, stacklevel=1)
    assert logging.getLogger("mlflow").level == before
    assert capfd.readouterr().err == ""
    with pytest.raises(ZeroDivisionError), quiet():
        _ = 1 / 0
    assert logging.getLogger("mlflow").level == before


def test_an_experiment_made_by_a_neighbour_in_the_meantime(store_uri, monkeypatch) -> None:
    client = connect(store_uri)
    create = client.create_experiment
    ids = []

    def be_late(name: str, artifact_location: str) -> str:
        ids.append(create(name, artifact_location=artifact_location))
        raise MlflowException("already exists")

    monkeypatch.setattr(client, "create_experiment", be_late)
    assert store.open_experiment(client, store_uri, "race") == ids[0]


def test_the_room_is_silent_about_its_own_start(tmp_path, capfd) -> None:
    connect(default_uri(str(tmp_path)))
    assert capfd.readouterr() == ("", "")
    assert Path(tmp_path / "mlflow.db").stat().st_size > 0
