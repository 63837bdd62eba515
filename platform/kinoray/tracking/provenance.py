"""What a run is recorded with so that it can be run again: code, packages, machine and workers.

All of it is of the process that starts the run, and of its machine; the workers of a cluster are taken to be alike.
"""

import hashlib
import os
import platform
import re
import subprocess
from collections.abc import Iterable, Mapping
from importlib.metadata import distributions
from pathlib import Path

import torch
from pydantic import BaseModel, ConfigDict

import kinoray
from kinoray.site import Allocation, Site

ENVIRONMENT, REQUIREMENTS = "environment.json", "requirements.txt"
RESUMED_ENVIRONMENT = "environment_resumed.json"
COMMIT_VARIABLE = "KINORAY_GIT_COMMIT"
COMMIT_TAG = "mlflow.source.git.commit"
PROGRAM_SECONDS = 5
"""Longest that git and nvidia-smi are waited for."""


class Environment(BaseModel):
    """Where a run was computed and by which code. What a later version adds or drops does not make it unreadable."""

    model_config = ConfigDict(frozen=True, extra="ignore", use_attribute_docstrings=True)

    folder: str
    """That relative paths of the recipe start from."""
    num_workers: int
    cpus_per_worker: float
    gpus_per_worker: float
    threads_per_worker: int
    """Of torch."""
    python: str
    system: str
    """Such as ``Linux x86_64``."""
    cpu: str
    """Its name, and what torch uses of it, such as ``AVX512``."""
    gpus: tuple[str, ...] = ()
    """Name and driver of each."""
    kinoray: str
    """Its version."""
    code: Mapping[str, str] = {}
    """Kinoray's own Python files -> digest of each."""
    commit: str = ""
    """Empty outside a checkout."""
    changed_files: tuple[str, ...] = ()
    """Of the checkout, tracked by git and not as committed."""
    user_packages: Mapping[str, str] = {}
    """Folder of ``site.packages`` -> digest of its Python files."""
    versions: Mapping[str, str] = {}
    """Of every other package that is installed."""


def environment_here(site: Site, allocation: Allocation) -> Environment:
    """What a run that starts now would be recorded with.

    Args:
        site: names the user's packages.
        allocation: what the run gets.
    """
    return Environment(
        folder=str(Path.cwd()),
        num_workers=allocation.num_workers,
        cpus_per_worker=allocation.cpus_per_worker,
        gpus_per_worker=allocation.gpus_per_worker,
        threads_per_worker=allocation.threads_per_worker,
        python=platform.python_version(),
        system=f"{platform.system()} {platform.machine()}",
        cpu=f"{_cpu_name()}, {torch.backends.cpu.get_cpu_capability()}",
        gpus=_gpus(),
        kinoray=kinoray.__version__,
        code=code_digests(Path(kinoray.__file__).parent),
        commit=git_commit(),
        changed_files=changed_files(),
        user_packages={str(Path(folder).resolve()): _digest_of_all(Path(folder)) for folder in site.packages},
        versions=installed_versions(),
    )


def environment_files(environment: Environment, *, resumed: bool = False) -> dict[str, bytes]:
    """Artifact -> content; those of a run that goes on elsewhere take no earlier one's place."""
    files = {
        ENVIRONMENT: environment.model_dump_json(indent=2).encode(),
        REQUIREMENTS: requirements(environment).encode(),
    }
    return {path.replace(".", "_resumed."): content for path, content in files.items()} if resumed else files


def requirements(environment: Environment) -> str:
    """The lock of an environment, for ``pip install -r``."""
    code = f" at commit {environment.commit}" if environment.commit else ""
    lines = [f"# Python {environment.python}, {environment.system}; Kinoray {environment.kinoray}{code}"]
    return "\n".join([*lines, *(f"{name}=={version}" for name, version in environment.versions.items())]) + "\n"


def installed_versions() -> dict[str, str]:
    """Package -> version, sorted; of two that hide each other the first one found, as imports do. Without Kinoray."""
    found: dict[str, str] = {}
    for package in distributions():
        name = re.sub(r"[-_.]+", "-", package.name or "").lower()
        found.setdefault(name, package.version)
    return {name: found[name] for name in sorted(found) if name and name != "kinoray"}


def code_digests(folder: Path) -> dict[str, str]:
    """Python file below a folder -> 12 hex digits of its content."""
    files = {file.relative_to(folder).as_posix(): file for file in sorted(folder.rglob("*.py"))}
    return {name: hashlib.sha256(file.read_bytes()).hexdigest()[:12] for name, file in files.items()}


def git_tags() -> dict[str, str]:
    """The commit of the code that runs, and whether it was changed since; empty outside a checkout."""
    commit = git_commit()
    if not commit or os.environ.get(COMMIT_VARIABLE):
        return {COMMIT_TAG: commit} if commit else {}
    return {COMMIT_TAG: commit, "git_changed": str(bool(changed_files())).lower()}


def git_commit() -> str:
    """Of the code that runs; empty outside a checkout.

    An uploaded job has no checkout; whoever submits it may tell the commit in ``KINORAY_GIT_COMMIT``.
    """
    return os.environ.get(COMMIT_VARIABLE) or "".join(_git("rev-parse", "HEAD"))


def changed_files() -> tuple[str, ...]:
    """Tracked files of the checkout that are not as committed."""
    if os.environ.get(COMMIT_VARIABLE):
        return ()
    return tuple(line[3:] for line in _git("status", "--porcelain", "--untracked-files=no"))


def _git(*words: str) -> list[str]:
    """Lines of what git says of the checkout that runs; none outside one."""
    root = Path(__file__).resolve().parents[3]
    if not (root / "platform/kinoray").is_dir():  # installed: the checkout around it is another project's
        return []
    return _lines(["git", "-C", str(root), *words])


def _digest_of_all(folder: Path) -> str:
    return hashlib.sha256(repr(code_digests(folder)).encode()).hexdigest()[:12]


def _gpus() -> tuple[str, ...]:
    """Asked without CUDA, which would take memory of the GPUs for this process."""
    return tuple(_lines(["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"]))


def _cpu_name() -> str:
    try:
        lines: Iterable[str] = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = ()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, "") or platform.processor() or platform.machine()


def _lines(command: list[str]) -> list[str]:
    try:
        done = subprocess.run(  # noqa: S603 - fixed words
            command, capture_output=True, text=True, timeout=PROGRAM_SECONDS, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return []
    return done.stdout.splitlines()
