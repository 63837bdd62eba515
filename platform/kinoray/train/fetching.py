"""Checkpoints behind a URI, brought to this machine; whatever file systems pyarrow speaks (s3://, gs://)."""

import atexit
import shutil
import tempfile
from pathlib import Path

import pyarrow as pa
from pyarrow.fs import FileSelector, FileSystem, FileType

from kinoray.errors import CheckpointError


def local_folder(place: str, files: tuple[str, ...]) -> Path:
    """A folder's path: its own where it is local, else that of a copy of some of its files, removed at exit.

    Raises:
        CheckpointError: a file cannot be fetched.
    """
    if "://" not in place:
        return Path(place)
    target = Path(tempfile.mkdtemp(prefix="kinoray-fetched-"))
    atexit.register(shutil.rmtree, target, ignore_errors=True)
    filesystem, folder = filesystem_of(place)
    for name in files:
        try:
            with filesystem.open_input_stream(f"{folder}/{name}") as source, (target / name).open("wb") as copy:
                shutil.copyfileobj(source, copy)
        except (OSError, pa.ArrowException) as error:
            raise CheckpointError(f"{place}/{name}: cannot be fetched: {error}") from error
    return target


def folders(place: str) -> list[str]:
    """The folders in a folder, as paths or URIs, by name; hidden ones are left out."""
    filesystem, root = filesystem_of(place)
    entries = filesystem.get_file_info(FileSelector(root, allow_not_found=True))
    names = sorted(info.base_name for info in entries if info.type == FileType.Directory)
    return [f"{place}/{name}" for name in names if not name.startswith(".")]


def folders_with(place: str, file: str) -> list[str]:
    """Those of ``folders`` that hold a file of this name."""
    return [folder for folder in folders(place) if has_file(folder, file)]


def file_sizes(place: str) -> dict[str, int]:
    """File name -> bytes of what a folder holds."""
    filesystem, root = filesystem_of(place)
    entries = filesystem.get_file_info(FileSelector(root, allow_not_found=True))
    return {info.base_name: info.size for info in entries if info.type == FileType.File}


def has_file(place: str, file: str) -> bool:
    """Whether a folder holds a file of this name."""
    filesystem, root = filesystem_of(place)
    return bool(filesystem.get_file_info(f"{root}/{file}").type == FileType.File)


def filesystem_of(place: str) -> tuple[FileSystem, str]:
    """The file system of a path or URI, and the path in it.

    Raises:
        CheckpointError: there is none.
    """
    try:
        filesystem, root = FileSystem.from_uri(place if "://" in place else str(Path(place).resolve()))
    except (OSError, ValueError, pa.ArrowException) as error:
        raise CheckpointError(f"{place}: no such place for checkpoints: {error}") from error
    return filesystem, root.rstrip("/")
