"""A folder that many nodes write to at the same time: local, shared, or in a store. What is there is whole."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from typing import BinaryIO
from uuid import uuid4

import pyarrow as pa
from pyarrow.fs import FileSelector, FileSystem, FileType, LocalFileSystem

from kinoray.errors import ResourceError
from kinoray.video.files import without_passwords
from kinoray.video.stores import file_system

WORK = ".work"
"""Holds what is not finished; goes when all is."""


@dataclass(frozen=True)
class OutputFolder:
    """Files under one root.

    Attributes:
        root: an absolute path or a URI; what follows a ``?`` are options of the file system.
    """

    root: str

    def path(self, name: str) -> str:
        """Where a file is, as readers take it."""
        location, mark, options = self.root.partition("?") if "://" in self.root else (self.root, "", "")
        return f"{location.rstrip('/')}/{name}{mark}{options}"

    @contextmanager
    def writing(self, name: str) -> Iterator[BinaryIO]:
        """A new file, which is there when the block ends without an error.

        Raises:
            ResourceError: it cannot be written.
        """
        filesystem, base = self._place
        # A store shows an object when its upload is complete; a file system shows it from its first byte.
        is_local = isinstance(filesystem, LocalFileSystem)
        draft = f"{base}/{WORK}/{uuid4().hex}" if is_local else f"{base}/{name}"
        with self._failures(name, "written"):
            if is_local:
                filesystem.create_dir(f"{base}/{WORK}")
            try:
                with filesystem.open_output_stream(draft) as file:
                    yield file
            except BaseException:
                with suppress(OSError):  # closing completed an upload of less than all
                    filesystem.delete_file(draft)
                raise
            if is_local:
                filesystem.create_dir(f"{base}/{name}".rpartition("/")[0])
                filesystem.move(draft, f"{base}/{name}")

    def write(self, name: str, content: bytes) -> None:
        """Write or replace a file.

        Raises:
            ResourceError: it cannot be written.
        """
        with self.writing(name) as file:
            file.write(content)

    def open(self, name: str) -> pa.NativeFile | None:
        """A file for reading, None where there is none.

        Raises:
            ResourceError: it cannot be opened.
        """
        filesystem, base = self._place
        with self._failures(name, "read"):
            try:
                return filesystem.open_input_file(f"{base}/{name}")
            except FileNotFoundError:
                return None

    def read(self, name: str) -> bytes | None:
        """The content of a file, None where there is none.

        Raises:
            ResourceError: it cannot be read.
        """
        file = self.open(name)
        if file is None:
            return None
        with self._failures(name, "read"), file:
            content: bytes = file.read()
        return content

    def names(self) -> list[str]:
        """Of all files that lie directly in it.

        Raises:
            ResourceError: it cannot be listed.
        """
        filesystem, base = self._place
        with self._failures("", "listed"):
            found = filesystem.get_file_info(FileSelector(base, allow_not_found=True))
        return [info.base_name for info in found if info.type == FileType.File]

    def sizes(self, folder: str) -> dict[str, int]:
        """Name -> bytes of all files below a folder of the root; empty where there is none."""
        filesystem, base = self._place
        found = filesystem.get_file_info(FileSelector(f"{base}/{folder}", recursive=True, allow_not_found=True))
        return {info.path[len(base) + 1 :]: info.size for info in found if info.type == FileType.File}

    def delete(self, name: str) -> None:
        """Remove a file, if it is there."""
        filesystem, base = self._place
        with suppress(FileNotFoundError):
            filesystem.delete_file(f"{base}/{name}")

    def clear_work(self) -> None:
        """Remove what runs left unfinished."""
        filesystem, base = self._place
        if filesystem.get_file_info(f"{base}/{WORK}").type == FileType.Directory:
            filesystem.delete_dir(f"{base}/{WORK}")

    @contextmanager
    def _failures(self, name: str, what: str) -> Iterator[None]:
        """Of the file system, told with the name of a file and what cannot be done."""
        try:
            yield
        except (OSError, pa.ArrowException) as error:
            told = " ".join(str(error).split())
            raise ResourceError(without_passwords(f"{self.path(name)}: cannot be {what}: {told}")) from error

    @cached_property
    def _place(self) -> tuple[FileSystem, str]:
        if "://" not in self.root:
            return LocalFileSystem(), self.root.rstrip("/")
        try:
            filesystem, base = file_system(self.root)
        except (OSError, ValueError, pa.ArrowException) as error:
            raise ResourceError(f"{without_passwords(self.root)}: no such place to write to: {error}") from error
        return filesystem, base.rstrip("/")
