"""Checkpoints: a folder that says what is in it, loadable without Ray and without unpickling anything.

``model.safetensors``  weights
``recipe.yaml``        the resolved recipe
``classes.txt``        class names, one a line
``training.pt``        optimizer and counters, tensors and plain values only
``checkpoint.json``    epoch, metrics, and size and digest of every other file; written last
"""

import hashlib
import json
import shutil
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.optim import Optimizer

import kinoray
from kinoray.errors import CheckpointError, ConfigError
from kinoray.recipe import Recipe

INDEX = "checkpoint.json"
FORMAT = 1


@dataclass(frozen=True)
class Progress:
    """How far training has come.

    Attributes:
        epoch: the last epoch that is done, counted from 0.
        step: optimizer steps done.
        best: the best value of the monitored metric so far; None before the first evaluation.
        best_epoch: the epoch it was reached in.
    """

    epoch: int
    step: int
    best: float | None = None
    best_epoch: int | None = None


@dataclass(frozen=True)
class Checkpoint:
    """An opened checkpoint folder whose files are all there and undamaged."""

    folder: Path
    progress: Progress
    metrics: Mapping[str, float]

    def recipe(self, overrides: Sequence[str] = ()) -> Recipe:
        return Recipe.load(self.folder / "recipe.yaml", overrides)

    def classes(self) -> tuple[str, ...]:
        return tuple((self.folder / "classes.txt").read_text(encoding="utf-8").splitlines())

    def weights(self) -> dict[str, Tensor]:
        return load_file(self.folder / "model.safetensors")

    def training_state(self) -> dict[str, Any]:
        """What ``write_checkpoint`` got as the optimizer's state."""
        state: dict[str, Any] = torch.load(self.folder / "training.pt", weights_only=True, map_location="cpu")
        return state


def write_checkpoint(
    folder: Path,
    *,
    model: nn.Module,
    optimizer: Optimizer,
    recipe: Recipe,
    classes: Sequence[str],
    progress: Progress,
    metrics: Mapping[str, float],
) -> None:
    """Fill an empty folder; whoever calls moves or uploads it as a whole."""
    folder.mkdir(parents=True, exist_ok=True)
    weights = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    torch.save({"optimizer": optimizer.state_dict()}, folder / "training.pt")
    (folder / "recipe.yaml").write_text(recipe.yaml(), encoding="utf-8")
    (folder / "classes.txt").write_text("\n".join(classes) + "\n", encoding="utf-8")
    files = {path.name: {"bytes": path.stat().st_size, "sha256": _sha256(path)} for path in sorted(folder.iterdir())}
    index = {
        "format": FORMAT,
        "kinoray": kinoray.__version__,
        "progress": asdict(progress),
        "metrics": dict(metrics),
        "files": files,
    }
    (folder / INDEX).write_text(json.dumps(index, indent=2), encoding="utf-8")


def open_checkpoint(folder: str | Path, *, verify: bool = True) -> Checkpoint:
    """Open a checkpoint folder, or the best checkpoint of a run's folder.

    Args:
        folder: local path.
        verify: compare every file's digest with the index.

    Raises:
        CheckpointError: it is missing, incomplete or damaged.
    """
    path = Path(folder)
    if not (path / INDEX).is_file():
        path = _best_of_run(path)
    try:
        index = json.loads((path / INDEX).read_text(encoding="utf-8"))
    except (OSError, json.JSONDecodeError) as error:
        raise CheckpointError(f"{path / INDEX}: cannot be read: {error}") from None
    if index.get("format") != FORMAT:
        raise CheckpointError(
            f"{path}: checkpoint format {index.get('format')}, this Kinoray ({kinoray.__version__}) reads {FORMAT}"
        )
    for name, expected in index["files"].items():
        file = path / name
        if not file.is_file() or file.stat().st_size != expected["bytes"]:
            size = f"{file.stat().st_size} bytes" if file.is_file() else "missing"
            raise CheckpointError(
                f"{file}: {size}, should have {expected['bytes']} bytes; the checkpoint is incomplete"
            )
        if verify and _sha256(file) != expected["sha256"]:
            raise CheckpointError(f"{file}: its digest is not the one in {INDEX}; the file is damaged")
    return Checkpoint(path, Progress(**index["progress"]), index["metrics"])


class Store(Protocol):
    """Where checkpoints go. Called by every worker at the end of every epoch, in step."""

    def save(self, checkpoint: Path | None, *, name: str, metrics: Mapping[str, float]) -> str:
        """Store a folder that ``write_checkpoint`` filled (None on all workers but the first); returns its place."""
        ...

    def latest(self) -> Path | None:
        """The newest checkpoint to resume from, as a local folder; None for a fresh run."""
        ...


class FolderStore:
    """Checkpoints of a single worker in a local folder: the last one and the best ones.

    Args:
        folder: made if missing.
        monitor: the metric that ranks them, larger is better.
        keep_best: how many to keep besides the last.
    """

    def __init__(self, folder: Path, *, monitor: str, keep_best: int) -> None:
        self.folder, self.monitor, self.keep_best = folder, monitor, keep_best

    def save(self, checkpoint: Path | None, *, name: str, metrics: Mapping[str, float]) -> str:
        """Copy aside, then rename: a checkpoint is either whole or not there."""
        if checkpoint is None:
            raise CheckpointError(f"{self.folder}: a folder store serves a single worker")
        del metrics
        target = self.folder / name
        aside = self.folder / f".{name}-{uuid.uuid4().hex[:8]}"
        shutil.copytree(checkpoint, aside)
        if target.exists():
            shutil.rmtree(target)
        aside.rename(target)
        for loser in self._ranked()[self.keep_best :]:
            if loser != target:
                shutil.rmtree(loser)
        return str(target)

    def latest(self) -> Path | None:
        found = self._all()
        return max(found, key=lambda path: open_checkpoint(path, verify=False).progress.epoch) if found else None

    def _all(self) -> list[Path]:
        if not self.folder.is_dir():
            return []
        return [path for path in self.folder.iterdir() if not path.name.startswith(".") and (path / INDEX).is_file()]

    def _ranked(self) -> list[Path]:
        return sorted(
            self._all(), key=lambda path: rank_key(open_checkpoint(path, verify=False), self.monitor), reverse=True
        )


def rank_key(checkpoint: Checkpoint, monitor: str) -> tuple[float, int]:
    """Larger is better: the monitored metric, then the later epoch."""
    return checkpoint.metrics.get(monitor, float("-inf")), checkpoint.progress.epoch


def _best_of_run(run: Path) -> Path:
    found = sorted(path.parent for path in run.glob(f"*/{INDEX}")) + sorted(
        path.parent for path in run.glob(f"checkpoints/*/{INDEX}")
    )
    if not found:
        why = f"holds no {INDEX}" if run.is_dir() else "no such folder"
        raise CheckpointError(f"{run}: {why}; give a checkpoint folder or a run's folder")
    opened = [open_checkpoint(path, verify=False) for path in found]
    try:
        monitor = opened[-1].recipe().evaluation.monitor
    except ConfigError as error:
        raise CheckpointError(f"{opened[-1].folder}: its recipe no longer loads: {error}") from error
    return max(opened, key=lambda checkpoint: rank_key(checkpoint, monitor)).folder


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
