"""Checkpoints: a folder that says what is in it, loadable without Ray and without unpickling anything.

``model.safetensors``  weights
``recipe.yaml``        the resolved recipe
``classes.txt``        class names, one a line
``training.pt``        what only training needs, tensors and plain values only; a copy for inference is without it
``checkpoint.json``    epoch, metrics, and size and digest of every other file; written last
"""

import hashlib
import json
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from pickle import UnpicklingError
from textwrap import shorten
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.optim import Optimizer

import kinoray
from kinoray.errors import CheckpointError, ConfigError
from kinoray.metrics import merit
from kinoray.models.base import Recognizer
from kinoray.models.pretrained import has_source, is_weights_file, read_source
from kinoray.models.weight_files import WEIGHT_SUFFIXES
from kinoray.recipe import Recipe
from kinoray.train.fetching import file_sizes, folders_with, has_file, local_folder
from kinoray.video.files import without_passwords

INDEX = "checkpoint.json"
TRAINING_STATE = "training.pt"
FILES = ("model.safetensors", "recipe.yaml", "classes.txt", TRAINING_STATE)
FORMAT = 1


@dataclass(frozen=True)
class Progress:
    """How far training has come.

    Attributes:
        epoch: the last epoch that is done, counted from 0; -1 before the first is.
        step: optimizer steps done.
        videos: of the next epoch's plan that are done too; 0 between epochs.
        best: the best value of the monitored metric so far; None before the first evaluation.
        best_epoch: the epoch it was reached in.
        callbacks: what the recipe's callbacks remember, plain values that JSON gives back.
    """

    epoch: int
    step: int
    videos: int = 0
    best: float | None = None
    best_epoch: int | None = None
    callbacks: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Checkpoint:
    """An opened checkpoint folder whose files are all there and undamaged."""

    folder: Path
    progress: Progress
    metrics: Mapping[str, float]

    def recipe(self, overrides: Sequence[str] = ()) -> Recipe:
        return Recipe.load(self.folder / "recipe.yaml", overrides)

    def classes(self) -> tuple[str, ...]:
        return tuple((self.folder / "classes.txt").read_text(encoding="utf-8").removesuffix("\n").split("\n"))

    def weights(self) -> dict[str, Tensor]:
        with _damage_named(self.folder / "model.safetensors") as path:
            return load_file(path)

    def training_state(self) -> dict[str, Any]:
        """What ``write_checkpoint`` got as the training state; read once."""
        return self._training_state

    @cached_property
    def _training_state(self) -> dict[str, Any]:
        with _damage_named(self.folder / TRAINING_STATE) as path:
            state: dict[str, Any] = torch.load(path, weights_only=True, map_location="cpu")
        return state

    def restore_model(self, model: nn.Module) -> None:
        """Give a model these weights, all of them.

        Raises:
            CheckpointError: they belong to another model.
        """
        try:
            model.load_state_dict(self.weights())
        except RuntimeError as error:
            why = shorten(str(error), 300, placeholder=" ...")
            raise CheckpointError(
                f"{self.folder}: its weights do not fit the recipe's model: {why}; keep the model of the checkpoint's "
                "recipe, or start anew with training.init_from"
            ) from error

    def restore_optimizer(
        self, optimizer: Optimizer, state: Mapping[str, Any], net: Recognizer, recipe: Recipe
    ) -> None:
        """Give a net's optimizer its memory of past gradients; what the recipe sets stays as the recipe sets it.

        Args:
            optimizer: of the net's parameters.
            state: an optimizer's, of this checkpoint's ``training_state``.
            net: that is trained.
            recipe: that it is trained by.

        Raises:
            CheckpointError: the recipe has an optimizer of another kind, or other parameters were trained.
        """
        past = self.recipe().optimizer
        if past.kind != recipe.optimizer.kind:
            raise CheckpointError(
                f"{self.folder}: trained with optimizer.kind {past.kind}, which cannot go on as "
                f"{recipe.optimizer.kind}; keep {past.kind}, or start anew with training.init_from"
            )
        # What is remembered goes by a parameter's place in the groups, which were perhaps others then.
        then = past.build(net)
        try:
            then.load_state_dict(dict(state))
        except ValueError as error:
            raise CheckpointError(
                f"{self.folder}: its optimizer trained other parameters than the recipe's ({error}); keep those of "
                "the checkpoint's recipe, or start anew with training.init_from"
            ) from error
        optimizer.state.update(then.state)


def write_checkpoint(
    folder: Path,
    *,
    weights: Mapping[str, Tensor],
    training_state: Mapping[str, Any],
    recipe: Recipe,
    classes: Sequence[str],
    progress: Progress,
    metrics: Mapping[str, float],
) -> None:
    """Fill a folder; whoever calls moves or uploads it as a whole.

    Args:
        folder: made if missing; files that callbacks added are kept.
        weights: state dict of what the checkpoint is for.
        training_state: tensors and plain values that only training needs, the optimizer's state among them.
        recipe: that was trained.
        classes: K names.
        progress: how far training has come.
        metrics: of this epoch's evaluation.
    """
    folder.mkdir(parents=True, exist_ok=True)
    save_file(_each_its_own(weights), folder / "model.safetensors", metadata={"format": "pt"})
    torch.save(dict(training_state), folder / TRAINING_STATE)
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


def _each_its_own(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights on the CPU, none in another's memory: safetensors refuses two names for one, as tied weights have."""
    saved: dict[str, Tensor] = {}
    used: set[int] = set()
    for name, tensor in weights.items():
        own = tensor.detach().cpu().contiguous()
        if own.untyped_storage().data_ptr() in used:
            own = own.clone()
        used.add(own.untyped_storage().data_ptr())
        saved[name] = own
    return saved


def open_checkpoint(folder: str | Path, *, verify: bool = True) -> Checkpoint:
    """Open a checkpoint folder, or the best checkpoint of a run's folder.

    Args:
        folder: local path, or a URI, whose files are fetched.
        verify: compare every file's digest with the index.

    Raises:
        CheckpointError: it is missing, incomplete or damaged.
    """
    place = str(folder)
    if not has_file(place, INDEX):
        place = best_of_run(place)
    names = [name for name in (*FILES, INDEX) if name != TRAINING_STATE or has_file(place, name)]
    path = local_folder(place, tuple(names))
    opened, files = _read_index(path)
    for file, num_bytes, digest in files:
        found = file.stat().st_size if file.is_file() else None
        if found != num_bytes:
            state = "missing" if found is None else f"{found} bytes, should have {num_bytes}"
            raise CheckpointError(f"{file}: {state}; the checkpoint is incomplete, copy or download it again")
        if verify and _sha256(file) != digest:
            raise CheckpointError(f"{file}: its digest is not the one in {INDEX}; the file is damaged or was altered")
    return opened


def read_weights(place: str) -> dict[str, Tensor]:
    """The state dict of a weights file, see ``models/pretrained.py``, a checkpoint folder, or a run's best checkpoint.

    Raises:
        ConfigError: torchvision has no weights of that name.
        CheckpointError: there is none, or it is damaged.
    """
    if is_weights_file(place):
        return read_source(place)
    return open_checkpoint(place).weights()


def check_weights(place: str, setting: str) -> None:
    """See that ``read_weights`` would find something, without reading it.

    Raises:
        ConfigError: torchvision has no weights of that name; names the setting, as the others do.
        CheckpointError: there is nothing, or nobody can say.
    """
    is_file = is_weights_file(place)
    try:
        is_there = has_source(place) if is_file else bool(has_file(place, INDEX) or folders_with(place, INDEX))
    except (ConfigError, CheckpointError) as error:
        told = str(error)
        raise type(error)(told if told.startswith(setting) else f"{setting}: {told}") from error
    if not is_there:
        raise CheckpointError(
            f"{setting}: {without_passwords(place)} is no {', '.join(WEIGHT_SUFFIXES)} file, no checkpoint and no run "
            "with one"
        )


def rank_key(checkpoint: Checkpoint, monitor: str) -> tuple[float, int]:
    """Larger is better: the merit of the monitored metric, then the later epoch."""
    measured = checkpoint.metrics.get(monitor)
    return float("-inf") if measured is None else merit(monitor, measured), checkpoint.progress.epoch


def newest_of_run(run: str) -> str | None:
    """The place of a run's newest whole checkpoint; None where it has none."""
    return next(iter(newest_first(run)), None)


def newest_first(run: str) -> list[str]:
    """A run's whole checkpoints, those that are furthest in training first."""
    return furthest_first(whole_checkpoints(run))


def furthest_first(places: Iterable[str]) -> list[str]:
    """Checkpoints by how far training had come; one whose index cannot be read, so that nobody can say, is left out."""
    progress = {}
    for place in places:
        with suppress(CheckpointError):
            progress[place] = read_summary(place).progress
    return sorted(progress, key=lambda place: (progress[place].epoch, progress[place].videos), reverse=True)


def best_of_run(run: str) -> str:
    """The place of a run's best whole checkpoint.

    Raises:
        CheckpointError: it has none.
    """
    places = whole_checkpoints(run)
    if not places:
        why = "holds no whole checkpoint" if "://" in run or Path(run).is_dir() else "no such folder"
        raise CheckpointError(f"{run}: {why}; give a checkpoint folder or a run's folder")
    opened = {place: read_summary(place) for place in places}
    try:
        monitor = opened[places[-1]].recipe().evaluation.monitor
    except ConfigError as error:
        raise CheckpointError(f"{places[-1]}: its recipe no longer loads: {error}") from error
    return max(places, key=lambda place: rank_key(opened[place], monitor))


def read_summary(place: str) -> Checkpoint:
    """A checkpoint's index and recipe, without the files that weigh."""
    return _read_index(local_folder(place, (INDEX, "recipe.yaml")))[0]


def whole_checkpoints(run: str) -> list[str]:
    """A run's checkpoints without those whose upload was cut off, be it within the index."""
    whole = []
    for place in folders_with(run, INDEX):
        sizes = file_sizes(place)
        with _damage_named(local_folder(place, (INDEX,)) / INDEX) as file, suppress(json.JSONDecodeError):
            listed = json.loads(file.read_text(encoding="utf-8"))["files"]
            if all(sizes.get(name) == known["bytes"] for name, known in listed.items()):
                whole.append(place)
    return whole


def _read_index(path: Path) -> tuple[Checkpoint, list[tuple[Path, int, str]]]:
    """What a local folder holds, and its files with their size and digest."""
    with _damage_named(path / INDEX) as file:
        index = json.loads(file.read_text(encoding="utf-8"))
        if index["format"] != FORMAT:
            raise CheckpointError(
                f"{file}: checkpoint format {index['format']}, this Kinoray ({kinoray.__version__}) reads {FORMAT}"
            )
        opened = Checkpoint(path, Progress(**index["progress"]), dict(index["metrics"]))
        files = [
            (path / name, index["files"][name]["bytes"], index["files"][name]["sha256"])
            for name in FILES
            if name != TRAINING_STATE or name in index["files"]
        ]
    return opened, files


@contextmanager
def _damage_named(path: Path) -> Iterator[Path]:
    """A file to read: whatever its content provokes becomes a CheckpointError that names it."""
    try:
        yield path
    except (
        OSError,
        ValueError,
        LookupError,
        TypeError,
        RuntimeError,
        EOFError,
        SafetensorError,
        UnpicklingError,
    ) as error:
        why = shorten(f"{type(error).__name__}: {error}", 200, placeholder=" ...")
        raise CheckpointError(f"{path}: damaged or unreadable, got {why}; copy or download it again") from error


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def copy_for_inference(checkpoint: Checkpoint, folder: Path) -> None:
    """A checkpoint without what only training needs: a third of the size, opened like any other.

    What callbacks added stays behind: of a checkpoint in a store it was not even fetched.
    """
    folder.mkdir(parents=True)
    index = json.loads((checkpoint.folder / INDEX).read_text(encoding="utf-8"))
    index["files"] = {name: index["files"][name] for name in FILES if name != TRAINING_STATE}
    for name in index["files"]:
        shutil.copy(checkpoint.folder / name, folder)
    (folder / INDEX).write_text(json.dumps(index, indent=2), encoding="utf-8")
