"""The data part of a recipe: three splits, their views, and the classes that all of them share."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Annotated

from pydantic import Field, model_validator

from kinoray.config.base import Config
from kinoray.config.kinds import KindTable
from kinoray.data.manifest import Manifest, check_files, load_manifest, read_classes, repeated_name
from kinoray.data.sources import SourceConfig
from kinoray.data.splits_base import EvalBase, FloatEvalSplit, FloatTrainSplit, TrainBase
from kinoray.data.views import EvalView, TrainView, flip_indices
from kinoray.errors import ConfigError, DataError
from kinoray.transforms.kinds import AnyAugmentation
from kinoray.video.open import Backend, check_backend
from kinoray.video.sampling import check_stackable

ClassName = Annotated[str, Field(min_length=1)]


class TrainSplit(TrainView, TrainBase):
    """Videos to train on and the view that is drawn from each in every epoch."""

    kind: str = "video"
    augment: tuple[AnyAugmentation, ...] = ()
    """What changes the pixels of a view, in this order, on the model's device."""


class EvalSplit(EvalView, EvalBase):
    """Videos to score and the views that are taken of each."""

    kind: str = "video"

    @model_validator(mode="after")
    def _clips_can_be_stacked(self) -> "EvalSplit":
        check_stackable(self.sampling)
        return self

    def mirrors(self) -> str:
        return "num_crops, got 10, half of them mirrored; use 3" if self.num_crops == 10 else ""


TRAIN_SPLITS = KindTable(
    what="training split",
    base=TrainBase,
    kinds={
        "video": "kinoray.data.config:TrainSplit",
        "skeleton": "kinoray.data.skeleton_views:SkeletonTrain",
        "heatmap": "kinoray.data.heatmap_views:HeatmapTrain",
        "audio": "kinoray.data.audio_views:AudioTrain",
    },
    default="video",
)
EVAL_SPLITS = KindTable(
    what="evaluation split",
    base=EvalBase,
    kinds={
        "video": "kinoray.data.config:EvalSplit",
        "skeleton": "kinoray.data.skeleton_views:SkeletonEval",
        "heatmap": "kinoray.data.heatmap_views:HeatmapEval",
        "audio": "kinoray.data.audio_views:AudioEval",
    },
    default="video",
)
AnyTrainSplit = Annotated[TrainSplit | FloatTrainSplit, TRAIN_SPLITS]
AnyEvalSplit = Annotated[EvalSplit | FloatEvalSplit, EVAL_SPLITS]


@dataclass(frozen=True)
class Dataset:
    """The manifests of a recipe, read and checked.

    Attributes:
        classes: K names.
        flip_labels: value of the training manifest's ``label`` -> that of the mirrored video; empty where mirroring
            changes none.
    """

    train: Manifest
    val: Manifest | None
    classes: tuple[str, ...]
    flip_labels: tuple[int, ...]

    def absolute(self) -> "Dataset":
        """The same with absolute paths of videos."""
        return replace(self, train=self.train.absolute(), val=self.val and self.val.absolute())


class DataConfig(Config):
    """Which videos, which views of them, which classes."""

    train: AnyTrainSplit
    val: AnyEvalSplit | None = None
    """Scored after each epoch; None: training goes unchecked."""
    test: AnyEvalSplit | None = None
    """What jobs/evaluate.py scores; None: ``val``."""
    classes: Annotated[tuple[ClassName, ...], Field(min_length=1)] | str | None = None
    """Class names, or a text file with one a line; None: those that the training source states, else derived from its
    labels."""
    multi_label: bool = False
    """Whether a video may have several labels, or none; every class is then scored on its own, by a sigmoid."""
    flip_labels: Mapping[str, str] = {}
    """Classes that a mirror turns into each other, e.g. ``{left: right, right: left}``."""
    max_bad_fraction: float = Field(0.01, ge=0, le=1)
    """Share of unreadable videos above which a job stops."""
    reader: Backend = "pyav"
    """What decodes video files: pyav; torchcodec, with the FFmpeg of the machine; nvdec, torchcodec on a GPU."""

    @model_validator(mode="after")
    def _val_names_its_videos(self) -> "DataConfig":
        if self.val is not None and self.val.source is None:
            raise ValueError("val.source: missing; only data.test may leave it out and use that of data.val")
        return self

    @model_validator(mode="after")
    def _mirrored_crops_keep_their_class(self) -> "DataConfig":
        for name, split in (("val", self.val), ("test", self.test)):
            mirrors = "" if split is None else split.mirrors()
            if self.flip_labels and mirrors:
                raise ValueError(f"{name}.{mirrors}, as a mirror changes classes by flip_labels")
        return self

    @model_validator(mode="after")
    def _classes_differ(self) -> "DataConfig":
        repeated = None if isinstance(self.classes, str) else repeated_name(self.classes or ())
        if repeated is not None:
            raise ValueError(f"classes: '{repeated}' is named twice; each class has a name of its own")
        return self

    @model_validator(mode="after")
    def _mirror_twice_is_nothing(self) -> "DataConfig":
        for name, mirrored in self.flip_labels.items():
            if self.flip_labels.get(mirrored) != name:
                raise ValueError(f"flip_labels: '{name}' becomes '{mirrored}', so '{mirrored}' must become '{name}'")
        return self

    def evaluation_split(self, name: str) -> EvalSplit | FloatEvalSplit:
        """The views of ``val`` or ``test``.

        Raises:
            ConfigError: the recipe has no such split.
        """
        split = {"val": self.val, "test": self.test or self.val}[name]
        if split is None:
            raise ConfigError(f"data.{name}: missing; name its videos and views to evaluate on it")
        return split

    def evaluation_source(self, name: str) -> SourceConfig:
        """The videos of ``val`` or ``test``.

        Raises:
            ConfigError: the recipe names none.
        """
        source = self.evaluation_split(name).source
        if source is None and self.val is not None:
            source = self.val.source
        if source is None:
            raise ConfigError(f"data.{name}.source: missing; name its videos to evaluate on them")
        return source

    def load(self, num_classes: int) -> Dataset:
        """Read and check the manifests that training needs.

        Args:
            num_classes: K of the model.

        Raises:
            DataError: a list is unusable, or its classes do not fit the model.
            ConfigError: ``flip_labels`` names something that is no class.
            ResourceError: the ``reader`` is not installed.
        """
        check_backend(self.reader)
        names = self.class_names() or self.train.source.class_names()
        stated_in = self.classes if isinstance(self.classes, str) else ""
        if names is not None and len(names) != num_classes:
            where = "data.classes" if self.classes is not None else f"train data {self.train.source.describe()}"
            stated = f"{where}: {stated_in}" if stated_in else f"{where}:"
            raise DataError(
                f"{stated} names {len(names)} classes, model.num_classes is {num_classes}; the two should be equal"
            )
        train = load_manifest(
            self.train.source, names, split="train", multi_label=self.multi_label, stated_in=stated_in
        )
        indices = tuple(str(index) for index in range(num_classes))
        if train.classes == indices[: len(train.classes)]:
            train = replace(train, classes=indices)  # the training videos need not show the last classes
        if len(train.classes) != num_classes:
            raise DataError(
                f"{train.where}: has labels of {len(train.classes)} classes, the last of them in "
                f"{train.first_of_last()}, model.num_classes is {num_classes}; set it to {len(train.classes)}, correct "
                "the labels, or name all classes in data.classes"
            )
        classes = train.classes
        val = None
        if self.val is not None and self.val.source is not None:
            val = load_manifest(
                self.val.source, classes, split="val", multi_label=self.multi_label, stated_in=stated_in
            )
        for manifest in (train, val):
            if manifest is not None:
                check_files(manifest, self.max_bad_fraction)
        train, flip_labels = train.mirrored(self.flip_map(classes))
        return Dataset(train, val, classes, flip_labels)

    def class_names(self) -> tuple[str, ...] | None:
        """The class names that the recipe states, None where they are to be derived."""
        return read_classes(self.classes) if isinstance(self.classes, str) else self.classes

    def flip_map(self, classes: tuple[str, ...]) -> tuple[int, ...]:
        """``flip_labels`` as indices; empty where it is empty.

        Raises:
            ConfigError: it names something that is no class.
        """
        unknown = [name for name in self.flip_labels if name not in classes]
        if unknown:
            shown = ", ".join(classes[:12]) + ", ..." * (len(classes) > 12)
            raise ConfigError(f"data.flip_labels: '{unknown[0]}' is no class; the {len(classes)} classes are {shown}")
        return flip_indices(self.flip_labels, classes) if self.flip_labels else ()
