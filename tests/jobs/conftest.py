"""Jobs as a user runs them: subprocesses, in a folder of their own."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def run_job(tmp_path: Path) -> Run:
    """``run_job("train.py", "recipe.yaml", ...)`` with the exit code, standard output and standard error."""

    def run(job: str, *arguments: str, timeout_seconds: int = 240) -> subprocess.CompletedProcess[str]:
        environment = {key: value for key, value in os.environ.items() if not key.startswith(("RAY_", "MLFLOW_"))}
        return subprocess.run(
            [sys.executable, str(ROOT / "jobs" / job), *arguments],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=timeout_seconds,
            check=False,
        )

    return run


@pytest.fixture
def recipe_file(tmp_path: Path, recipe_values: dict[str, Any]) -> Path:
    """The small recipe as a file."""
    path = tmp_path / "small.yaml"
    path.write_text(yaml.safe_dump(recipe_values, sort_keys=False))
    return path
