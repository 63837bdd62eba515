"""Where runs are kept: which places are allowed, whether one answers, and how to look at it."""

import http.client
import logging
import os
import shlex
import socket
import sqlite3
import ssl
import urllib.error
import urllib.request
import warnings
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from alembic.util.exc import CommandError
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from sqlalchemy.exc import SQLAlchemyError

from kinoray.config.secrets import without_passwords
from kinoray.errors import ConfigError, ResourceError

ANSWER_SECONDS = 3.0
"""How long a server may take to say that it lives."""

ARTIFACTS = "mlartifacts"
"""Folder beside a local store that holds its files."""

_SQLITE = "sqlite:///"
_NOISY_LOGGERS = ("mlflow", "alembic", "urllib3.connectionpool", "git.cmd")


def default_uri(storage: str) -> str:
    """The SQLite store in a local folder of runs.

    Raises:
        ConfigError: the folder is remote.
    """
    if "://" in storage:
        raise ConfigError(
            f"tracking: no SQLite store can live under {storage}; "
            "name a tracking server (http://host:5000) or a local one (sqlite:////folder/mlflow.db)"
        )
    return f"{_SQLITE}{Path(storage).expanduser().resolve() / 'mlflow.db'}"


def checked_uri(uri: str) -> str:
    """The URI with a local SQLite file made absolute, so that it means the same in every process.

    Raises:
        ConfigError: MLflow cannot keep runs there.
    """
    uri = uri.rstrip("/")
    if uri.startswith(_SQLITE):
        path, question_mark, options = uri.removeprefix(_SQLITE).partition("?")
        return f"{_SQLITE}{Path(path).expanduser().resolve()}{question_mark}{options}"
    scheme = urlsplit(uri).scheme
    if scheme in ("http", "https") or uri.startswith("databricks") or ("sql" in scheme and scheme != "sqlite"):
        return uri
    folder = "/runs" if scheme else str(Path(uri or ".").expanduser().resolve())
    raise ConfigError(
        f"tracking: MLflow keeps no runs in {uri or 'an empty URI'!r}; "
        f"give a server (http://host:5000) or a file ({_SQLITE}{folder}/mlflow.db)"
    )


def sqlite_file(uri: str) -> Path | None:
    """The file of a local store; None for servers."""
    return Path(uri.removeprefix(_SQLITE).partition("?")[0]) if uri.startswith(_SQLITE) else None


def public_uri(uri: str) -> str:
    """The URI without user name and password, for messages and links."""
    parts = urlsplit(uri)
    if "@" in parts.netloc:
        uri = urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
    return without_passwords(uri)


def why_no_answer(uri: str) -> str:
    """Why the store cannot be used now, within ``ANSWER_SECONDS``; empty where it can.

    MLflow's own calls retry for minutes, so this is asked before each of them.
    """
    parts = urlsplit(uri)
    try:
        if (file := sqlite_file(uri)) is not None:
            with closing(sqlite3.connect(file, timeout=ANSWER_SECONDS)) as database:
                database.execute("PRAGMA schema_version")
        elif parts.scheme in ("http", "https"):
            return _why_unhealthy(f"{public_uri(uri)}/health")
        elif parts.hostname and parts.port:
            socket.create_connection((parts.hostname, parts.port), timeout=ANSWER_SECONDS).close()
    except (OSError, sqlite3.Error) as error:
        return str(error)
    return ""


def _why_unhealthy(url: str) -> str:
    try:
        with urllib.request.urlopen(url, timeout=ANSWER_SECONDS):  # noqa: S310 - the caller checked the scheme
            return ""
    except urllib.error.HTTPError as error:
        # A gateway may hide /health or ask for a login first; only a server in trouble is no answer.
        return f"HTTP {error.code}" if error.code >= http.client.INTERNAL_SERVER_ERROR else ""
    except urllib.error.URLError as error:
        # Whether an own certificate is trusted is set in MLflow's environment, so MLflow has to try.
        return "" if isinstance(error.reason, ssl.SSLError) else str(error.reason)
    except (http.client.HTTPException, ValueError) as error:
        return f"{type(error).__name__}: {error}"


def connect(uri: str) -> MlflowClient:
    """A client of a store that answers; a new SQLite store gets its tables (6 s).

    Args:
        uri: as ``checked_uri`` returns it.

    Raises:
        ResourceError: the store cannot be reached or used.
    """
    file = sqlite_file(uri)
    try:
        if file is not None:
            file.parent.mkdir(parents=True, exist_ok=True)
        why = why_no_answer(uri)
    except OSError as error:
        why = str(error)
    if why:
        advice = "give a file that can be written" if file else "start the server, or give another tracking URI"
        raise ResourceError(f"tracking: {public_uri(uri)} does not answer: {why}; {advice}")
    with quiet(), refusals_named(uri):
        return MlflowClient(tracking_uri=uri, registry_uri=uri)


def open_experiment(client: MlflowClient, uri: str, name: str) -> str:
    """The id of an experiment, made where there is none.

    Raises:
        ConfigError: it was deleted.
    """
    found = client.get_experiment_by_name(name)
    if found is None:
        # MLflow's default is relative to the working directory, which differs from process to process.
        file = sqlite_file(uri)
        location = (file.parent / ARTIFACTS).as_uri() if file else None
        try:
            return client.create_experiment(name, artifact_location=location)
        except MlflowException as error:
            # Another run of a sweep may have made it in the meantime.
            found = client.get_experiment_by_name(name)
            if found is None:
                raise error from None
    if found.lifecycle_stage != "active":
        raise ConfigError(
            f"tracking: experiment {name!r} is deleted; give another name, "
            f"or `mlflow experiments restore --experiment-id {found.experiment_id}`"
        )
    return found.experiment_id


def run_link(uri: str, experiment_id: str, run_id: str) -> str:
    """Where a browser finds the run; for a file, after the command that serves it."""
    return page_link(uri, f"/#/experiments/{experiment_id}/runs/{run_id}?workflowType=machine_learning")


def page_link(uri: str, page: str) -> str:
    """Where a browser finds a page of the store; for a file, after the command that serves it."""
    file = sqlite_file(uri)
    if file is None:
        return f"{public_uri(uri)}{page}"
    command = ["mlflow", "server", "--backend-store-uri", uri, "--artifacts-destination", str(file.parent / ARTIFACTS)]
    return f"{shlex.join(command)} --port 5000\nhttp://127.0.0.1:5000{page}"


@contextmanager
def refusals_named(uri: str) -> Iterator[None]:
    """Turn what MLflow and its database layers raise into one line that names the store."""
    try:
        yield
    except (MlflowException, SQLAlchemyError, CommandError) as error:
        told = without_passwords(str(error).splitlines()[0])
        raise ResourceError(f"tracking: {public_uri(uri)} refuses: {told}") from error


@contextmanager
def quiet() -> Iterator[None]:
    """Hold back what MLflow says about itself: table creation, git, missing examples, deprecations of its own."""
    # Bars of files that never leave this machine, in logs too. Read anew at each use, and whoever sets it has it.
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    # A link to the run, with the password that the server's URI holds; ours is shown without.
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
    levels = {name: logging.getLogger(name).level for name in _NOISY_LOGGERS}
    for name in levels:
        logging.getLogger(name).setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)
