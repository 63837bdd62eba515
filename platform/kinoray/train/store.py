"""Where the checkpoints of a run go: each is whole or not there, and is written while training goes on."""

import logging
import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa
from pyarrow.fs import FileSelector, FileSystem, FileType, LocalFileSystem, copy_files
from safetensors import SafetensorError
from torch import Tensor

from kinoray.errors import CheckpointError
from kinoray.metrics import merit
from kinoray.recipe import Recipe
from kinoray.train.checkpoint import (
    INDEX,
    Progress,
    furthest_first,
    newest_first,
    open_checkpoint,
    rank_key,
    read_summary,
    write_checkpoint,
)
from kinoray.train.fetching import file_sizes, filesystem_of, folders_with, local_folder

MIN_KEPT = 2
"""Checkpoints of a run: one may turn out to be damaged."""
RETRY_SECONDS = (5.0, 20.0)
"""Before a store is asked again to take a checkpoint; a disk is not, whose errors do not pass."""
NAME = re.compile(r"\.?epoch-\d+(-step-\d+)?(\.old)?")
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Draft:
    """A checkpoint in memory; the fields are those of ``write_checkpoint``.

    Attributes:
        files: a folder of files to keep with it, removed when the draft is written or given up.
    """

    weights: Mapping[str, Tensor]
    training_state: Mapping[str, Any]
    recipe: Recipe
    classes: Sequence[str]
    progress: Progress
    metrics: Mapping[str, float]
    files: Path

    def write(self, folder: Path) -> None:
        """Fill a new folder."""
        folder.mkdir(parents=True)  # not a copy of the temporary one, which only its owner may enter
        for path in self.files.iterdir():
            shutil.copy(path, folder)
        write_checkpoint(
            folder,
            weights=self.weights,
            training_state=self.training_state,
            recipe=self.recipe,
            classes=self.classes,
            progress=self.progress,
            metrics=self.metrics,
        )


def copied(value: Any) -> Any:
    """Tensors of nested containers as copies on the CPU, which go on changing nowhere."""
    if isinstance(value, Tensor):
        return value.detach().to("cpu", copy=True)
    if isinstance(value, Mapping):
        return {key: copied(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(copied(item) for item in value)
    return value


class Store(Protocol):
    """The checkpoints of a run; only the first worker saves and chooses."""

    @property
    def passed_over(self) -> Sequence[str]:
        """What the last ``newest`` found damaged, a line each."""
        ...

    def place(self, name: str) -> str:
        """Where a checkpoint of this name is stored."""
        ...

    def save(self, draft: Draft, *, name: str) -> None:
        """Store a checkpoint; it may be on its way still when this returns.

        Raises:
            CheckpointError: this one or the one before cannot be stored.
        """
        ...

    def check(self) -> None:
        """Without waiting.

        Raises:
            CheckpointError: what was saved could not be stored.
        """
        ...

    def settle(self) -> None:
        """Wait until all that was saved is stored.

        Raises:
            CheckpointError: it cannot be.
        """
        ...

    def newest(self) -> str | None:
        """The place of the newest undamaged checkpoint to go on from; None for a fresh run."""
        ...

    def fetch(self, place: str) -> Path:
        """A place of ``newest`` as a local folder, on any worker."""
        ...


class RunStore:
    """The checkpoints of a run in a folder: the last one and the best ones.

    Args:
        folder: path or URI; made if missing.
        monitor: the metric that ranks them.
        keep_best: how many to keep besides the last, two in all at least; those that were not measured rank lowest.
        in_background: training goes on while one is written; the next one waits for it.
    """

    def __init__(self, folder: str, *, monitor: str, keep_best: int, in_background: bool = True) -> None:
        self.folder, self.monitor, self.keep_best = folder, monitor, keep_best
        self.passed_over: list[str] = []
        self._pool = ThreadPoolExecutor(1, "kinoray-checkpoint") if in_background else None
        self._writing: Future[None] | None = None
        self._fetched: dict[str, Path] = {}
        self._kept: dict[str, tuple[float, int]] | None = None
        self._damaged: set[str] = set()

    def place(self, name: str) -> str:
        return f"{self.folder}/{name}"

    def save(self, draft: Draft, *, name: str) -> None:
        try:
            self.settle()
        except CheckpointError:
            shutil.rmtree(draft.files, ignore_errors=True)
            raise
        if self._pool is None:
            self._store(self.place(name), draft)
        else:
            self._writing = self._pool.submit(self._store, self.place(name), draft)

    def check(self) -> None:
        if self._writing is not None and self._writing.done():
            self.settle()

    def settle(self) -> None:
        writing, self._writing = self._writing, None
        if writing is not None:
            writing.result()

    def newest(self) -> str | None:
        self.settle()
        self._clear_up()
        self.passed_over.clear()
        places = furthest_first(folders_with(self.folder, INDEX))
        for place in places:
            try:
                open_checkpoint(self.fetch(place))
            except CheckpointError as error:
                self.passed_over.append(str(error))
                self._damaged.add(place)
            else:
                return place
        if places:
            raise CheckpointError(
                f"{self.folder}: none of its {len(places)} checkpoints is undamaged; the newest: {self.passed_over[0]}"
            )
        return None

    def fetch(self, place: str) -> Path:
        if place not in self._fetched:
            self._fetched[place] = local_folder(place, tuple(file_sizes(place)))
        return self._fetched[place]

    def prune(self) -> None:
        """Drop what is neither the newest nor among the best."""
        kept = self._known()
        best = sorted(kept, key=kept.__getitem__, reverse=True)[: self.keep_best]
        wanted = {*best, *list(kept)[-1:]}
        wanted |= {*list(kept)[-MIN_KEPT:]} if len(wanted) < MIN_KEPT else set()
        for place in set(kept) - wanted:
            try:
                drop(place)
            except (OSError, pa.ArrowException) as error:  # tried again with the next one
                logger.warning("%s: cannot be removed: %s", place, error)
            else:
                del kept[place]

    def _store(self, place: str, draft: Draft) -> None:
        try:
            self._write(place, draft)
        except (OSError, RuntimeError, SafetensorError, pa.ArrowException) as error:
            raise self._not_stored(place, error) from error
        finally:
            shutil.rmtree(draft.files, ignore_errors=True)
        self._fetched.pop(place, None)
        self._damaged.discard(place)
        value = draft.metrics.get(self.monitor)
        kept = self._known()
        kept.pop(place, None)  # the newest comes last
        kept[place] = float("-inf") if value is None else merit(self.monitor, value), draft.progress.epoch
        self._after_storing(place)

    def _write(self, place: str, draft: Draft) -> None:
        for seconds in RETRY_SECONDS if "://" in place else ():
            try:
                _write_whole(place, draft)
            except OSError as error:
                logger.warning("%s: not stored yet, tried again in %g s: %s", place, seconds, error)
                time.sleep(seconds)
            else:
                return
        _write_whole(place, draft)

    def _after_storing(self, place: str) -> None:
        del place
        self.prune()

    def _not_stored(self, place: str, error: Exception) -> CheckpointError:
        last = ""
        with suppress(CheckpointError, OSError, pa.ArrowException):  # what takes nothing perhaps gives nothing, too
            last = next((f", {before} is whole" for before in newest_first(self.folder)), "")
        failure = CheckpointError(
            f"{place}: cannot be stored: {error}{last}; make room in the storage or mend it, and resume the run"
        )
        failure.at_work = True
        return failure

    def _known(self) -> dict[str, tuple[float, int]]:
        """Place -> its rank, the newest last."""
        if self._kept is None:
            places = [place for place in reversed(newest_first(self.folder)) if place not in self._damaged]
            self._kept = {place: rank_key(read_summary(place), self.monitor) for place in places}
        return self._kept

    def _clear_up(self) -> None:
        """Remove what a process that was killed left half written or half removed."""
        filesystem, root = filesystem_of(self.folder)
        for info in filesystem.get_file_info(FileSelector(root, allow_not_found=True)):
            is_ours = info.type == FileType.Directory and NAME.fullmatch(info.base_name)
            if is_ours and (info.base_name.startswith(".") or not _has_index(filesystem, info.path)):
                filesystem.delete_dir(info.path)


@contextmanager
def settled(store: Store, *, is_first: bool) -> Iterator[None]:
    """Leave only when all that was saved inside is stored, also where the work fails."""
    try:
        yield
    except BaseException:
        with suppress(CheckpointError):
            if is_first:
                store.settle()
        raise
    if is_first:
        store.settle()


def _has_index(filesystem: FileSystem, folder: str) -> bool:
    return bool(filesystem.get_file_info(f"{folder}/{INDEX}").type == FileType.File)


def _write_whole(place: str, draft: Draft) -> None:
    """Write aside, then rename; where files cannot be renamed, the index comes last."""
    if "://" not in place:
        _write_local(Path(place), draft)
        return
    filesystem, folder = filesystem_of(place)
    if _has_index(filesystem, folder):
        filesystem.delete_file(f"{folder}/{INDEX}")
    with tempfile.TemporaryDirectory(prefix="kinoray-checkpoint-") as aside:
        draft.write(Path(aside) / "whole")
        index = (Path(aside) / "whole" / INDEX).rename(Path(aside) / INDEX)
        filesystem.create_dir(folder, recursive=True)
        copy_files(
            str(Path(aside) / "whole"),
            folder,
            source_filesystem=LocalFileSystem(),
            destination_filesystem=filesystem,
        )
        with filesystem.open_output_stream(f"{folder}/{INDEX}") as stream:
            stream.write(index.read_bytes())


def _write_local(target: Path, draft: Draft) -> None:
    aside, old = target.with_name(f".{target.name}"), target.with_name(f".{target.name}.old")
    shutil.rmtree(aside, ignore_errors=True)
    shutil.rmtree(old, ignore_errors=True)
    try:
        draft.write(aside)
        # On the disk, not only in the system's memory: a machine that goes down must not leave empty files.
        for path in (*aside.iterdir(), aside):
            _sync(path)
        if target.exists():
            target.rename(old)
        aside.rename(target)
        _sync(target.parent)
    except BaseException:
        shutil.rmtree(aside, ignore_errors=True)
        raise
    shutil.rmtree(old, ignore_errors=True)


def _sync(path: Path) -> None:
    """Wait until a file or folder is on its disk; some network folders know no such thing of a folder."""
    handle = os.open(path, os.O_RDONLY)
    try:
        with nullcontext() if path.is_file() else suppress(OSError):
            os.fsync(handle)
    finally:
        os.close(handle)


def drop(place: str) -> None:
    """Remove a checkpoint so that at no moment it looks whole and is not."""
    if "://" not in place:
        path = Path(place)
        old = path.with_name(f".{path.name}.old")
        shutil.rmtree(old, ignore_errors=True)
        if path.exists():
            path.rename(old)
            shutil.rmtree(old)
        return
    filesystem, folder = filesystem_of(place)
    with suppress(FileNotFoundError):
        filesystem.delete_file(f"{folder}/{INDEX}")
        filesystem.delete_dir(folder)
