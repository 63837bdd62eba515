"""Values on their way to the store; they wait here while it does not answer."""

import logging
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from mlflow import MlflowClient
from mlflow.entities import Metric, Param, RunTag
from mlflow.utils.validation import (
    MAX_METRICS_PER_BATCH,
    MAX_PARAM_VAL_LENGTH,
    MAX_PARAMS_TAGS_PER_BATCH,
    MAX_TAG_VAL_LENGTH,
)

from kinoray.config.secrets import without_passwords
from kinoray.tracking.store import public_uri, why_no_answer

logger = logging.getLogger("kinoray.tracking")


def cut(text: str, max_chars: int) -> str:
    """The text, or its beginning with a visible note of how much is missing."""
    if len(text) <= max_chars:
        return text
    note = f" … [cut, {len(text)} characters in all]"
    return text[: max_chars - len(note)] + note


class Outbox:
    """Delivers metrics, tags and files of one run and never raises.

    Args:
        client: of the store.
        uri: of the store.
        run_id: whose values they are.
        pause_seconds: how long a silent store is left alone, so that it does not slow the run down.
    """

    def __init__(self, client: MlflowClient, *, uri: str, run_id: str, pause_seconds: float = 15.0) -> None:
        self.client, self.uri, self.run_id, self.pause_seconds = client, uri, run_id, pause_seconds
        self._metrics: list[Metric] = []
        self._tags: dict[str, str] = {}
        self._files: dict[str, bytes] = {}
        self._silent = False
        self._retry_at = 0.0

    @property
    def num_waiting(self) -> int:
        """Values that are not delivered yet."""
        return len(self._metrics) + len(self._tags) + len(self._files)

    def add_metric(self, key: str, value: float, step: int) -> None:
        # The time is fixed here: a value that is sent twice is then one point, not two.
        self._metrics.append(Metric(key, value, int(time.time() * 1000), step))

    def set_tags(self, tags: Mapping[str, str]) -> None:
        self._tags |= {key: cut(value, MAX_TAG_VAL_LENGTH) for key, value in tags.items()}

    def put_file(self, path: str, content: bytes) -> None:
        """Store an artifact; a later one of the same path takes its place."""
        self._files[path] = content

    def deliver(self, *, insist: bool = False) -> None:
        """Send what waits.

        Args:
            insist: also where the store was silent a moment ago.
        """
        if not self.num_waiting or (time.monotonic() < self._retry_at and not insist):
            return
        try:
            if why := why_no_answer(self.uri):
                raise ConnectionError(why)  # noqa: TRY301 - one way to fail, whoever noticed
            self._send()
        except Exception as error:  # noqa: BLE001 - stores raise whatever their drivers do; the run must go on
            self._retry_at = time.monotonic() + self.pause_seconds
            if not self._silent:
                logger.warning("%s takes no values now, they are kept: %s", public_uri(self.uri), first_line(error))
            self._silent = True
            return
        if self._silent:
            logger.info("%s takes values again; nothing is missing", public_uri(self.uri))
        self._silent = False

    def end_run(self, status: str) -> None:
        """Send what waits, for the last time, mark the run as ended, and say what is lost."""
        self.deliver(insist=True)
        if self.num_waiting:
            logger.warning("run %s: %d values could not be delivered and are lost", self.run_id, self.num_waiting)
        try:
            if why := why_no_answer(self.uri):
                raise ConnectionError(why)  # noqa: TRY301 - as in deliver
            self.client.set_terminated(self.run_id, status)
        except Exception as error:  # noqa: BLE001 - as in deliver
            logger.warning("run %s stays marked as running: %s", self.run_id, first_line(error))

    def _send(self) -> None:
        while self._metrics:
            self.client.log_batch(self.run_id, metrics=self._metrics[:MAX_METRICS_PER_BATCH])
            del self._metrics[:MAX_METRICS_PER_BATCH]
        while self._tags:
            keys = list(self._tags)[:MAX_PARAMS_TAGS_PER_BATCH]
            self.client.log_batch(self.run_id, tags=[RunTag(key, self._tags[key]) for key in keys])
            for key in keys:
                del self._tags[key]
        for path in list(self._files):
            upload(self.client, self.run_id, path, self._files[path])
            del self._files[path]


def log_params(client: MlflowClient, run_id: str, params: Mapping[str, str]) -> None:
    """Log params in the portions that MLflow takes."""
    entries = [Param(key, cut(value, MAX_PARAM_VAL_LENGTH)) for key, value in params.items()]
    for start in range(0, len(entries), MAX_PARAMS_TAGS_PER_BATCH):
        client.log_batch(run_id, params=entries[start : start + MAX_PARAMS_TAGS_PER_BATCH])


def upload(client: MlflowClient, run_id: str, path: str, content: bytes) -> None:
    """Store bytes as an artifact of a run; ``path`` may name folders."""
    place = PurePosixPath(path)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / place.name
        file.write_bytes(content)
        client.log_artifact(run_id, str(file), None if place.parent == PurePosixPath() else str(place.parent))


def first_line(error: Exception) -> str:
    """What an error says, in one line; MLflow's errors quote the store's URI with its password."""
    return without_passwords(next(iter(str(error).splitlines()), type(error).__name__))
