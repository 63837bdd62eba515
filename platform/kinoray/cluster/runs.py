"""Names of runs, and finding the checkpoints of earlier ones in a site's storage."""

import json
import tempfile
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import pyarrow.fs as pafs

from kinoray.errors import CheckpointError
from kinoray.recipe import Recipe
from kinoray.site import Site
from kinoray.train.checkpoint import INDEX


def new_run_name(recipe: Recipe) -> str:
    """The recipe's name and the time, to the second: ``tiny3d_motion8-20261121-143005``."""
    return f"{recipe.name}-{datetime.now():%Y%m%d-%H%M%S}"


def recipe_of_run(site: Site, run_name: str, overrides: Sequence[str]) -> Recipe:
    """The recipe that a run's newest checkpoint holds, with overrides.

    Raises:
        CheckpointError: the storage holds no checkpoint of such a run.
    """
    newest = max(_checkpoints(site, run_name), key=lambda folder: int(folder.rpartition("-")[2]), default=None)
    if newest is None:
        raise CheckpointError(f"--resume {run_name}: no checkpoint of it in {site.storage_path()}; {_others(site)}")
    return Recipe.load(Path(local_copy(newest, files=("recipe.yaml",))) / "recipe.yaml", overrides)


def local_copy(folder: str, files: Sequence[str] | None = None) -> str:
    """A checkpoint folder as a local one: itself, or fetched from its store into a temporary folder.

    Args:
        folder: path or URI.
        files: names to fetch; None: the index and every file that it lists.

    Raises:
        CheckpointError: a file is not there.
    """
    if "://" not in folder:
        return folder
    filesystem, inner = pafs.FileSystem.from_uri(folder)
    target = Path(tempfile.mkdtemp(prefix="kinoray-fetched-"))

    def fetch(name: str) -> None:
        try:
            with filesystem.open_input_stream(f"{inner}/{name}") as source:
                (target / name).write_bytes(source.read())
        except (FileNotFoundError, OSError) as error:
            raise CheckpointError(f"{folder}/{name}: cannot be fetched: {error}") from error

    if files is None:
        fetch(INDEX)
        files = list(json.loads((target / INDEX).read_text(encoding="utf-8"))["files"])
    for name in files:
        fetch(name)
    return str(target)


def _checkpoints(site: Site, run_name: str) -> list[str]:
    """Checkpoint folders of a run, whole ones only."""
    storage = site.storage_path()
    filesystem, root = pafs.FileSystem.from_uri(f"{storage}/{run_name}")
    selector = pafs.FileSelector(root, allow_not_found=True)
    folders = [info.path for info in filesystem.get_file_info(selector) if info.type == pafs.FileType.Directory]
    whole = [folder for folder in folders if filesystem.get_file_info(f"{folder}/{INDEX}").type == pafs.FileType.File]
    return [f"{storage}/{run_name}/{folder.rpartition('/')[2]}" for folder in whole]


def _others(site: Site) -> str:
    filesystem, root = pafs.FileSystem.from_uri(site.storage_path())
    found = filesystem.get_file_info(pafs.FileSelector(root, allow_not_found=True))
    names = sorted(info.base_name for info in found if info.type == pafs.FileType.Directory)
    return f"runs there: {', '.join(names[-5:])}" if names else "it holds no run"
