"""Paths that lists give: below which root they lie, and which of them are refused.

A list of this machine may name any file of it by an absolute path, and links are followed: whoever may run us may read
those files anyhow. A list that comes from a store may have been written by anyone, so it names no file of this machine
but those below a root that the recipe gives.
"""

import re
from collections.abc import Callable
from pathlib import Path
from posixpath import normpath
from urllib.parse import unquote

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from kinoray.config.secrets import without_passwords
from kinoray.errors import DataError
from kinoray.video.stores import local_path

_MAX_SHOWN = 200
_WHOLE = "^(?:/|[A-Za-z][A-Za-z0-9+.-]*://)"
_OF_THIS_MACHINE = "(?i)^(?:/|file:)"
_HAS_PARENT = r"(?i)(?:^|/)(?:\.|%2e){2}(?:/|$)"


def split_uri(path: str) -> tuple[str, str]:
    """Location and options (from ``?`` on) of a URI; a local path has no options."""
    location, mark, options = path.partition("?") if "://" in path else (path, "", "")
    return location, mark + options


def parent_folder(path: str) -> str:
    """Where a file lies, with the options of its URI."""
    location, options = split_uri(path)
    return location.rpartition("/")[0] + options if "://" in path else str(Path(path).parent)


def below(root: str, name: str) -> str:
    """The file of that name in a folder or below a URI."""
    return str(_joined(root, pa.array([name]))[0])


def rooted(
    root: str, paths: pa.Array | pa.ChunkedArray, listed_in: str, row: Callable[[int], str]
) -> pa.Array | pa.ChunkedArray:
    """Paths below a folder or a URI, joined as text; absolute ones and URIs stay as they are.

    Args:
        root: what follows a ``?`` in a URI are options of the file system, and go to the end.
        paths: (L,) strings, as the list has them.
        listed_in: path or URI of the list.
        row: what messages call the place of a path in it, by its number from 0 on.

    Raises:
        DataError: a path leads out of the root, or a list of a store names a file of this machine.
    """
    has_parent = pc.and_(pc.match_substring_regex(paths, _HAS_PARENT), pc.invert(_is_whole(paths)))
    for number in np.flatnonzero(has_parent.to_numpy(zero_copy_only=False)).tolist():
        path = paths[number].as_py()
        if climbs(unquote(path) if root.startswith("http") else path):
            raise _refused(
                f"{listed_in}, {row(number)}",
                path,
                f"which leads out of {root}; set the source's root to a folder that holds all videos",
            )
    if local_path(listed_in) is None:
        first = pc.index(pc.match_substring_regex(paths, _OF_THIS_MACHINE), value=True).as_py()
        if first >= 0:
            raise _refused(
                f"{listed_in}, {row(first)}",
                paths[first].as_py(),
                "a file of this machine in a list from elsewhere; it should be relative to the source's root, or a URI "
                "such as s3://bucket/a.mp4 (a list that you trust may do so from a local copy)",
            )
    return _joined(root, paths)


def climbs(path: str) -> bool:
    """Whether a path leads out of the folder that it starts from."""
    return path.startswith("/") or normpath(path).split("/")[0] == ".."


def _joined(root: str, paths: pa.Array | pa.ChunkedArray) -> pa.Array | pa.ChunkedArray:
    location, options = split_uri(root)
    prefix = "" if root in {"", "."} else location.rstrip("/") + "/"
    joined = pc.binary_join_element_wise(prefix, paths, options, "")
    return pc.if_else(_is_whole(paths), paths, joined)


def _is_whole(paths: pa.Array | pa.ChunkedArray) -> pa.Array | pa.ChunkedArray:
    return pc.match_substring_regex(paths, _WHOLE)


def _refused(where: str, path: str, why: str) -> DataError:
    shown = re.sub(r"\s+", " ", path)[:_MAX_SHOWN]
    return DataError(without_passwords(f"{where}: a path, got '{shown}', {why}"))
