"""How much `ray job submit --working-dir` would upload, known before it is tried."""

import logging
import os
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from ray._private.ray_constants import (
    DASHBOARD_CLIENT_MAX_SIZE,
    RAY_RUNTIME_ENV_IGNORE_GITIGNORE,
    get_runtime_env_default_excludes,
)

# Private, so another minor of Ray may move them: a test compares the result with the archive Ray itself packs, and
# pyproject.toml holds Ray to one minor. Written anew here, the ignore rules would only seem to be the same.
from ray._private.runtime_env.packaging import _dir_travel, _get_excludes

from kinoray.errors import ConfigError

_LOG = logging.getLogger(__name__)
_MIB = 1024**2
_NUM_NAMED = 10
# Ray packs without compression: an entry costs its bytes, its name twice, and two fixed headers.
_ENTRY_HEADERS_BYTES = 30 + 46
_ARCHIVE_END_BYTES = 22


@dataclass(frozen=True)
class UploadReport:
    """What one upload of a directory consists of."""

    root: Path
    files: tuple[tuple[PurePosixPath, int], ...]
    """Path under the root, and size in bytes; the biggest first."""
    archive_bytes: int
    """Size of the archive that Ray sends."""
    limit_bytes: int = DASHBOARD_CLIENT_MAX_SIZE

    @property
    def fits(self) -> bool:
        """Whether Ray's dashboard accepts the archive."""
        return self.archive_bytes <= self.limit_bytes

    def describe(self) -> str:
        """One line, and the biggest files where it is too much."""
        size = f"{self.archive_bytes / _MIB:.1f} MiB in {len(self.files)} files"
        limit = f"{self.limit_bytes / _MIB:.0f} MiB"
        if self.fits:
            return f"{self.root}: an upload takes {size}; it fits in Ray's limit of {limit}"
        named = "".join(f"\n  {num_bytes / _MIB:9.1f} MiB  {path}" for path, num_bytes in self.files[:_NUM_NAMED])
        return (
            f"{self.root}: an upload takes {size}; Ray's limit is {limit}. Name what a job does not need in .rayignore "
            f"(patterns as in .gitignore), or keep it outside. The biggest files:{named}"
        )


def upload_size(root: Path) -> UploadReport:
    """Measures what Ray would upload of a directory, without reading or packing its files.

    .gitignore and .rayignore files at every level, Ray's own default excludes and its environment variables count.
    Symbolic links are followed, as Ray follows them.

    Raises:
        ConfigError: the root is not a directory.
    """
    root = root.absolute()
    if not root.is_dir():
        raise ConfigError(f"upload: root is not a directory, got {root}; it would be the root of a checkout")
    files: list[tuple[PurePosixPath, int]] = []
    archive_bytes = _ARCHIVE_END_BYTES

    def add(path: Path) -> None:
        nonlocal archive_bytes
        is_file = path.is_file()
        if not is_file and not (path.is_dir() and next(path.iterdir(), None) is None):
            return  # Ray stores files and empty directories; the other directories follow from their files
        relative = PurePosixPath(path.relative_to(root).as_posix())
        num_bytes = path.stat().st_size if is_file else 0
        name_bytes = len(str(relative).encode()) + (not is_file)  # a directory's name ends in a slash
        archive_bytes += _ENTRY_HEADERS_BYTES + 2 * name_bytes + num_bytes
        if is_file:
            files.append((relative, num_bytes))

    with_gitignore = os.environ.get(RAY_RUNTIME_ENV_IGNORE_GITIGNORE, "0") != "1"
    excludes = [_get_excludes(root, get_runtime_env_default_excludes())]
    _dir_travel(root, excludes, add, include_gitignore=with_gitignore, logger=_LOG)
    files.sort(key=lambda file: (-file[1], file[0]))
    return UploadReport(root, tuple(files), archive_bytes)
