"""A trained recognizer for one video at a time: ``load_recognizer(...).recognize("video.mp4").top(5)``."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kinoray.config.base import Config
from kinoray.config.layers import from_values
from kinoray.config.problems import validate
from kinoray.data.config import AnyEvalSplit
from kinoray.data.float_views import FloatView
from kinoray.data.manifest import read_classes
from kinoray.data.rows import PlanRow
from kinoray.data.views import EvalView
from kinoray.errors import CheckpointError, ConfigError, DataError
from kinoray.exported.files import is_exported, open_exported
from kinoray.exported.model import ExportedModel
from kinoray.mmaction2.models import model_values
from kinoray.mmaction2.read import Source, read_config
from kinoray.mmaction2.views import view_values
from kinoray.models.base import Recognizer
from kinoray.models.kinds import AnyModel, RecognizerConfig
from kinoray.models.weights import load_weights
from kinoray.recipe import Average, EvaluationConfig, Recipe
from kinoray.train.batch import clip_on
from kinoray.train.checkpoint import open_checkpoint, read_weights
from kinoray.train.evaluate import average_views
from kinoray.video.array_video import ArrayVideo
from kinoray.video.files import without_passwords
from kinoray.video.open import open_video
from kinoray.video.video import Video


@dataclass(frozen=True)
class Recognition:
    """What was recognized.

    Attributes:
        scores: ``(K,)`` float32, averaged over views.
        classes: K names.
    """

    scores: NDArray[np.float32]
    classes: tuple[str, ...]

    def top(self, k: int = 5) -> list[tuple[str, float]]:
        """The k best classes with their scores, best first."""
        best = np.argsort(self.scores)[::-1][:k]
        return [(self.classes[index], float(self.scores[index])) for index in best]


class VideoRecognizer:
    """A model with the views it looks at and the names of its classes.

    Args:
        model: in eval mode, on its device; or an exported file, open.
        view: how a video, or what else is recognized, becomes clips; where that is not known, the error that says so.
        classes: K names.
        average: how views become one score.
        multi_label: whether every class is scored on its own.
        recipe: that the model was built by; None where it came from an exported file.
    """

    def __init__(
        self,
        model: Recognizer | ExportedModel,
        view: EvalView | FloatView | ConfigError,
        classes: tuple[str, ...],
        average: Average,
        *,
        multi_label: bool = False,
        recipe: Recipe | None = None,
    ) -> None:
        self.model, self._view, self.classes = model, view, classes
        self.average, self.multi_label, self.recipe = average, multi_label, recipe
        self.device = model.device if isinstance(model, ExportedModel) else next(model.parameters()).device

    @property
    def view(self) -> EvalView:
        """How a video becomes clips.

        Raises:
            ConfigError: a config of MMAction2 does not say, or says what has no translation; or the model looks at
                skeletons or sound.
        """
        if isinstance(self._view, ConfigError):
            raise ConfigError(str(self._view))
        if isinstance(self._view, FloatView):
            raise ConfigError("model, got one that looks at skeletons or sound; this takes one that looks at pictures")
        return self._view

    def __call__(self, clips: Tensor) -> Tensor:
        """``(N, M, C, T, H, W)`` uint8, or N x M views of floats -> ``(N, M, K)`` logits."""
        with torch.inference_mode():
            logits: Tensor = self.model(clips.to(self.device))
        return logits

    def recognize(self, video: str | Path | bytes | BinaryIO | NDArray[np.uint8]) -> Recognition:
        """Score one video: a path of a file or of a folder of frames, a URI, its bytes, or ``(T, H, W, 3)`` RGB.

        Where the model looks at skeletons or sound: a path or URI of an ``.npz`` of skeletons, of an ``.npy`` of a
        spectrogram, or of a file with sound.

        Raises:
            DecodeError: it cannot be read.
            DataError: an array is no video.
            ConfigError: see ``view``.
        """
        if isinstance(self._view, FloatView):
            clips = _float_clips(video, self._view, self.device)
        else:
            view = self.view
            with _opened(video) as opened:
                views = view.read(opened, range(opened.num_frames))
            clips = clip_on(views.clip, views.colour, self.device)
        scores = average_views(self(clips).float(), self.average, multi_label=self.multi_label)
        return Recognition(scores[0].cpu().numpy(), self.classes)


def load_recognizer(
    source: str | Path,
    checkpoint: str | Path | None = None,
    *,
    device: str = "cpu",
    split: str = "val",
    labels: str | Path | None = None,
) -> VideoRecognizer:
    """Load a run or a checkpoint, an exported file, or a recipe with weights from elsewhere.

    Args:
        source: a run's folder (its best checkpoint) or a checkpoint's folder; an .onnx or .pt2 file of
            jobs/export.py; if ``checkpoint`` is given, a recipe file or a config of MMAction2 1.x, of which its
            ``model`` will do. Paths or URIs. A .pt2 is a program: open none of strangers.
        checkpoint: weights for the recipe: .safetensors, .pth, a checkpoint's or a run's folder.
        device: torch's name of the device.
        split: whose views are taken of a video, ``val`` or ``test``; an exported file has but one kind.
        labels: a text file with a class name a line, perhaps behind its number, as MMAction2's label maps; default: the
            names that the source has.

    Raises:
        CheckpointError: it is missing, incomplete or damaged, or does not fit the recipe.
        ConfigError: the recipe does not load.
        DataError: ``labels`` cannot be read, or names another number of classes.
        ResourceError: what an exported file runs on is not here.
    """
    if checkpoint is None and is_exported(source):
        exported = open_exported(source, torch.device(device))
        facts = exported.facts
        classes = _named(facts.classes, labels)
        return VideoRecognizer(exported, facts.view, classes, facts.average, multi_label=facts.multi_label)
    if checkpoint is None:
        opened = open_checkpoint(source)
        recipe, classes = opened.recipe(), opened.classes()
        model = recipe.model.without_pretrained().build()
        opened.restore_model(model)
    elif Path(source).suffix == ".py":
        return _of_mmaction2(read_config(source), str(checkpoint), torch.device(device), split, labels)
    else:
        recipe = Recipe.load(source)
        classes = recipe.data.class_names() or tuple(str(index) for index in range(recipe.model.num_classes))
        model = _built(recipe.model, str(checkpoint), str(source))
    view, classes = recipe.data.evaluation_split(split), _named(classes, labels)
    average, multi_label = recipe.evaluation.average, recipe.data.multi_label
    return VideoRecognizer(model.to(device).eval(), view, classes, average, multi_label=multi_label, recipe=recipe)


class _ModelOnly(Config):
    model: AnyModel


class _ViewOnly(Config):
    view: AnyEvalSplit
    evaluation: EvaluationConfig = EvaluationConfig()


def _of_mmaction2(
    config: Source, checkpoint: str, device: torch.device, split: str, labels: str | Path | None
) -> VideoRecognizer:
    """A config of MMAction2, of which all but ``model`` may be missing or have no translation."""
    what = f"MMAction2's config {config.path}"
    model_config = validate(_ModelOnly, from_values({"model": model_values(config)}, str(config.path)), what).model
    model = _built(model_config, checkpoint, str(config.path))
    classes = _named(tuple(str(index) for index in range(model.num_classes)), labels)
    average: Average = "probability"
    view: EvalView | FloatView | ConfigError
    try:
        seen = validate(_ViewOnly, view_values(config, split), what)
        view, average = seen.view, seen.evaluation.average
    except ConfigError as error:
        view = error
    try:
        recipe = Recipe.load(config.path)
    except ConfigError:  # what is needed of it is at hand
        recipe = None
    multi_label = bool(config.values["model"]["cls_head"].get("multi_class"))
    return VideoRecognizer(model.to(device).eval(), view, classes, average, multi_label=multi_label, recipe=recipe)


def _built(config: RecognizerConfig, checkpoint: str, source: str) -> Recognizer:
    """The model of a recipe or config with a checkpoint's weights, all of them."""
    model = config.without_pretrained().build()
    report = load_weights(model, read_weights(checkpoint), where=checkpoint)
    if report.fresh:
        raise CheckpointError(
            f"{checkpoint}: its head is of another number of classes than model.num_classes ({config.num_classes}) of "
            f"{source}; give the recipe that it was trained with"
        )
    return model


def _float_clips(recording: object, view: FloatView, device: torch.device) -> Tensor:
    if not isinstance(recording, str | Path):
        raise DataError(f"recording, got {type(recording).__name__}; this model takes a path or a URI")
    path = str(recording)
    row = PlanRow(video_id=path, path=path, label=-1, start_seconds=None, end_seconds=None, position=0, clip_seed=0)
    taken = view.take(row, without_passwords(path))
    return view.shown(torch.from_numpy(taken.values)[None].to(device))


def _opened(video: str | Path | bytes | BinaryIO | NDArray[np.uint8]) -> Video:
    if isinstance(video, np.ndarray):
        return ArrayVideo(video)
    return open_video(str(video) if isinstance(video, Path) else video)


def _named(classes: tuple[str, ...], labels: str | Path | None) -> tuple[str, ...]:
    """The names in a file, of as many classes; numbers before them, where all rise by one, are no part of them."""
    if labels is None:
        return classes
    names = read_classes(str(labels), setting="labels")
    numbered = [re.fullmatch(r"(\d+)\s+(.+)", name) for name in names]
    found = [match for match in numbered if match]
    first = int(found[0][1]) if found else 0
    if [int(match[1]) for match in found] == list(range(first, first + len(names))):  # as in UCF101's classInd.txt
        names = tuple(match[2] for match in found)
    if len(names) != len(classes):
        raise DataError(f"labels: {labels} names {len(names)} classes, the model scores {len(classes)}; give its own")
    return names
