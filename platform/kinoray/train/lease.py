"""One process at a time trains a run: a file in its folder says who, and that it still lives.

A scheduler may start a job twice, and somebody may give a command again whose first run is only slow. Machines have
clocks of their own, so nothing is compared but what the file says now and a while later.
"""

import json
import os
import secrets
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pyarrow as pa

from kinoray.errors import ResourceError
from kinoray.train.fetching import filesystem_of

FILE = ".owner.json"
BEAT_SECONDS = 10.0
STALE_SECONDS = 35.0
"""Without a beat, after which an owner counts as gone: several of them, for a store may be slow."""
SETTLE_SECONDS = 1.0
"""After which who came at the same time has written the file, too; the last one has it."""


@contextmanager
def leased(folder: str) -> Iterator[None]:
    """Own a run's folder inside.

    Args:
        folder: path or URI.

    Raises:
        ResourceError: another process owns it, and lives.
    """
    lease = _Lease(folder)
    lease.take()
    thread = threading.Thread(target=lease.beat, name="kinoray-lease", daemon=True)
    thread.start()
    try:
        yield
    finally:
        lease.over.set()
        thread.join(STALE_SECONDS)
        lease.give_back()


class _Lease:
    def __init__(self, folder: str) -> None:
        self.folder, self.over = folder, threading.Event()
        self._filesystem, root = filesystem_of(folder)
        self._root, self._file = root, f"{root}/{FILE}"
        self._own = {"host": socket.gethostname(), "pid": os.getpid(), "id": secrets.token_hex(8)}

    def take(self) -> None:
        owner = self._read()
        if owner is not None and not self._is_dead(owner):
            self._refuse_if_alive(owner)
        self._write(0)
        time.sleep(SETTLE_SECONDS)
        owner = self._read()
        if owner is not None and owner["id"] != self._own["id"]:
            self._refuse(owner)

    def beat(self) -> None:
        """Say again and again that this process lives, until it is over; a store that is away is asked again."""
        number = 0
        while not self.over.wait(BEAT_SECONDS):
            number += 1
            with suppress(OSError, pa.ArrowException):
                self._write(number)

    def give_back(self) -> None:
        with suppress(OSError, pa.ArrowException):
            owner = self._read()
            if owner is not None and owner["id"] == self._own["id"]:
                self._filesystem.delete_file(self._file)

    def _read(self) -> dict[str, Any] | None:
        """None: nobody owns it, or what is there was cut off."""
        try:
            with self._filesystem.open_input_stream(self._file) as stream:
                owner = json.loads(stream.read())
        except (FileNotFoundError, ValueError):
            return None
        return owner if isinstance(owner, dict) and {"host", "pid", "id", "beat"} <= owner.keys() else None

    def _write(self, number: int) -> None:
        content = json.dumps({**self._own, "beat": number}).encode()
        self._filesystem.create_dir(self._root, recursive=True)
        with self._filesystem.open_output_stream(self._file) as stream:
            stream.write(content)

    def _is_dead(self, owner: dict[str, Any]) -> bool:
        """Whether it was a process of this machine that is no more."""
        if owner["host"] != self._own["host"]:
            return False
        try:
            os.kill(owner["pid"], 0)
        except ProcessLookupError:
            return True
        except PermissionError:  # somebody else's
            return False
        return False

    def _refuse_if_alive(self, owner: dict[str, Any]) -> None:
        """Wait until it says that it lives, or has had the time to.

        Raises:
            ResourceError: it lives.
        """
        until = time.monotonic() + STALE_SECONDS
        while time.monotonic() < until:
            time.sleep(SETTLE_SECONDS)
            now = self._read()
            if now is None or self._is_dead(now):
                return
            if (now["id"], now["beat"]) != (owner["id"], owner["beat"]):
                self._refuse(now)

    def _refuse(self, owner: dict[str, Any]) -> None:
        raise ResourceError(
            f"{self.folder}: this run is being trained by process {owner['pid']} on {owner['host']}; wait for its end "
            "or end it, or give this run another name"
        )
