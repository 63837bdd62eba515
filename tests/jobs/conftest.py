"""Jobs as a user runs them: subprocesses, in a folder of their own."""

import io
import os
import runpy
import secrets
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import pytest
import yaml

sys.path.insert(0, str(Path(__file__).parent / "helpers"))

from local_bucket import local_bucket  # after the path is set
from nodes import Nodes

from kinoray.models.tiny3d import Tiny3DConfig
from kinoray.recipe import Recipe
from kinoray.train.checkpoint import Progress, write_checkpoint

ROOT = Path(__file__).resolve().parents[2]
Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def run_job(tmp_path: Path) -> Run:
    """``run_job("train.py", "recipe.yaml", ...)`` with the exit code, standard output and standard error."""

    def run(
        job: str, *arguments: str, timeout_seconds: int = 240, folder: Path = tmp_path
    ) -> subprocess.CompletedProcess[str]:
        environment = {key: value for key, value in os.environ.items() if not key.startswith(("RAY_", "MLFLOW_"))}
        return subprocess.run(
            [sys.executable, str(ROOT / "jobs" / job), *arguments],
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            timeout=timeout_seconds,
            check=False,
        )

    return run


@pytest.fixture
def call_job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """As ``run_job``, but in this process, which spares seconds of imports: for jobs that end before they start Ray."""

    def call(job: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        out, err, code = io.StringIO(), io.StringIO(), 0
        with monkeypatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
            for key in [key for key in os.environ if key.startswith(("RAY_", "MLFLOW_"))]:
                patch.delenv(key)
            patch.chdir(tmp_path)
            patch.setattr(sys, "path", sys.path.copy())
            patch.setattr(sys, "argv", [str(ROOT / "jobs" / job), *arguments])
            try:
                runpy.run_path(sys.argv[0], run_name="__main__")
            except SystemExit as end:
                code = end.code or 0
        return subprocess.CompletedProcess(arguments, code, out.getvalue(), err.getvalue())

    return call


@pytest.fixture
def recipe_file(tmp_path: Path, recipe_values: dict[str, Any]) -> Path:
    """The small recipe as a file."""
    path = tmp_path / "small.yaml"
    path.write_text(yaml.safe_dump(recipe_values, sort_keys=False))
    return path


@pytest.fixture
def checkpoint(recipe_file: Path, tmp_path: Path) -> Path:
    """Of a network that was never trained: its scores are as good as others to be compared."""
    recipe = Recipe.load(recipe_file)
    assert isinstance(recipe.model, Tiny3DConfig)
    folder = tmp_path / "model"
    write_checkpoint(
        folder,
        weights=recipe.model.build().state_dict(),
        training_state={},
        recipe=recipe,
        classes=[f"class {index}" for index in range(recipe.model.num_classes)],
        progress=Progress(epoch=0, step=1),
        metrics={},
    )
    return folder


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """An empty bucket of a server on the loopback address; jobs find it by their environment."""
    with local_bucket(monkeypatch) as name:
        yield name


@pytest.fixture
def nodes(monkeypatch: pytest.MonkeyPatch) -> Iterator[Nodes]:
    """A cluster of Ray on this machine, locked by a token, to which nodes come and from which they go."""
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    monkeypatch.setenv("RAY_AUTH_TOKEN", secrets.token_hex(32))
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    started = Nodes()
    yield started
    started.end()
