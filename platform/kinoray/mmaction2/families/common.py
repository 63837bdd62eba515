"""What all networks of MMAction2 share: normalization, heads, norms, starting weights."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from kinoray.mmaction2.part import Part

BLOCKS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}
"""Depth of a residual network -> how many blocks each stage has."""
_DRAWN = "how fresh weights are drawn; here as each family's paper has it"
# mmengine's short names of files, as `mmcls://mobilenet_v2`; those that configs use.
_NAMED_FILES = {
    "mmcls://mobilenet_v2": "https://download.openmmlab.com/mmclassification/v0/mobilenet_v2/"
    "mobilenet_v2_batch256_imagenet_20200708-3b2dc3af.pth",
}

NO_EFFECT: dict[str, dict[str, str]] = {
    "cls_head": {
        "in_channels": "follows from the network before it",
        "init_std": _DRAWN,
        "init_scale": _DRAWN,
        "init_cfg": _DRAWN,
        "loss_cls": "goes to the recipe's loss",
        "label_smooth_eps": "goes to the recipe's loss",
        "multi_class": "goes to data.multi_label",
        "average_clips": "goes to evaluation.average",
        "topk": "top-1 and top-5 are always measured",
    },
    "backbone": {
        "torchvision_pretrain": "the names in a file tell whose it is",
        "pretrained2d": "the shapes in a file tell whether kernels are inflated",
        "zero_init_residual": _DRAWN,
    },
    "data_preprocessor": {
        "format_shape": "views are always (C, T, H, W)",
        "to_float32": "networks compute in floats anyway",
        "blending": "goes to training.mix",
    },
    "test_cfg": {
        "max_testing_views": "saves memory, changes no score",
        "fcn_test": "of a linear classifier: the mean of scores is the score of the mean",
    },
}
"""Part of ``model`` -> its keys that change nothing in the network -> why."""


@dataclass
class Network:
    """A recognizer that is being translated.

    Attributes:
        model: the config's ``model``.
        backbone: its ``backbone``.
        head: its ``cls_head``.
        mean: per channel, empty where views are not normalized.
        std: per channel.
        training: settings of ``training`` that the network brings along.
        notes: what a reader should know of the translation.
    """

    model: Part
    backbone: Part
    head: Part
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    training: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def pictures(self, num_channels: int = 3) -> dict[str, Any]:
        """``mean`` and ``std`` of ``(C, T, H, W)``; pictures that are not normalized are taken as they are."""
        if not self.mean:
            return {"mean": (0.0,) * num_channels, "std": (1.0,) * num_channels}
        if len(self.mean) != num_channels:
            raise self.backbone.error(
                "in_channels", f"{len(self.mean)}, the length of data_preprocessor.mean", default=3
            )
        return {"mean": self.mean, "std": self.std}

    def floats(self) -> None:
        """Demand that views are not normalized, as skeletons, heatmaps and spectrograms are not.

        Raises:
            ConfigError: they are.
        """
        if self.mean:
            preprocessor = self.model.part("data_preprocessor")
            assert preprocessor is not None
            raise preprocessor.error("mean", "left out, for these views are floats that are taken as they are")

    def in_channels(self) -> int:
        return int(self.backbone.take("in_channels", 3))

    def start(self, key: str = "pretrained") -> str | None:
        """Weights that the backbone starts from: a file or a URL, None for a random start."""
        return _file(self.backbone, key)

    def start_all(self) -> None:
        """Like ``start``, for families whose config names no weights: ``training.init_from`` does."""
        if (file := self.start()) is not None:
            self.training["init_from"] = file

    def settings_of_training(self) -> None:
        """Take what a 3D backbone says of training, and what has no effect."""
        self.backbone.ignore(NO_EFFECT["backbone"])
        if self.backbone.take("with_cp", default=False):
            self.training["activation_checkpointing"] = True
        if self.backbone.take("bn_frozen", default=False) and self.backbone.take("norm_eval", default=False):
            self.training["freeze"] = (r"\.bn\.",)
        else:
            self.backbone.only("norm_eval", False)
        self.backbone.only("frozen_stages", -1)
        self.backbone.only("partial_bn", False)

    def norms(
        self,
        part: Part | None = None,
        *,
        eps: float = 1e-5,
        default_eps: float = 1e-5,
        conv: Sequence[str] = ("Conv", "Conv2d", "Conv3d"),
    ) -> None:
        """Take ``norm_cfg``, ``conv_cfg`` and ``act_cfg``, which have to be batch norms, convolutions and ReLU.

        Args:
            part: that says so, the backbone unless given.
            eps: of the norms here.
            default_eps: of the norms there, without ``norm_cfg``.
            conv: names of the convolutions.

        Raises:
            ConfigError: they are others.
        """
        part = part or self.backbone
        norm = part.part("norm_cfg")
        if norm is None:
            if eps != default_eps:
                raise part.error("norm_cfg", f"dict(type='BN3d', eps={eps})", default=f"eps={default_eps}")
        else:
            norm.only("type", "BN", "BN2d", "BN3d", "SyncBN")
            if norm.values.get("type") == "SyncBN":
                self.training["sync_batch_norm"] = True
            norm.only("eps", eps, default=1e-5)
            norm.only("momentum", 0.1)
            norm.only("requires_grad", True)
            norm.finish()
        for key, word in (("conv_cfg", conv), ("act_cfg", ("ReLU", "ReLU6"))):
            if (what := part.part(key)) is not None:
                what.only("type", *word)
                what.ignore({"inplace": "saves memory"})
                what.finish()

    def classifier(self, *types: str, dropout: float, num_classes: str = "num_classes") -> dict[str, Any]:
        """``num_classes`` and ``dropout`` of a head that averages and classifies.

        Args:
            types: what the head may be.
            dropout: what it means to say nothing of it.
            num_classes: the key.

        Raises:
            ConfigError: it is another.
        """
        head = self.head
        if head.type not in types:
            raise head.error("type", " or ".join(types))
        head.ignore(NO_EFFECT["cls_head"])
        return {"num_classes": head.need(num_classes), "dropout": head.take("dropout_ratio", dropout) or 0.0}

    def finish(self) -> None:
        """Demand that all of ``model`` was taken."""
        for part in (self.model, self.backbone, self.head):
            part.finish()


Translation = Callable[[Network], dict[str, Any]]


def averages_in_space(head: Part) -> None:
    """Demand the usual pooling of a head."""
    head.only("spatial_type", "avg")
    if (consensus := head.part("consensus")) is not None:
        consensus.only("type", "AvgConsensus")
        consensus.only("dim", 1)
        consensus.finish()


def non_local(backbone: Part, expected: Sequence[Sequence[int]], *, scaled: bool, places: str) -> str | None:
    """The kind of non-local blocks, which have to stand where they stand here.

    Args:
        backbone: of a residual network.
        expected: for each stage, 1 for each block that one follows.
        scaled: whether ``embedded_gaussian`` divides by the square root of the width here.
        places: in words, for messages.

    Raises:
        ConfigError: they stand elsewhere, or are others.
    """
    config = backbone.part("non_local_cfg")
    flags = backbone.take("non_local", ())
    if not config or not config.values or not any(any(stage) if isinstance(stage, list) else stage for stage in flags):
        return None
    if flags != [list(stage) for stage in expected]:
        raise backbone.error("non_local", f"{expected}, {places}")
    kind = config.choice("mode", {kind: kind for kind in ("dot_product", "embedded_gaussian", "gaussian")}, None)
    config.only("sub_sample", True, default=False)
    config.only("use_scale", *((scaled,) if kind == "embedded_gaussian" else (True, False)), default=True)
    norm = config.part("norm_cfg")
    if norm is None:
        raise config.error("norm_cfg", "dict(type='BN3d')")
    norm.only("type", "BN3d", "BN", "SyncBN")
    norm.only("requires_grad", True)
    norm.finish()
    config.finish()
    return str(kind)


def _file(part: Part, key: str) -> str | None:
    """A file or URL from ``pretrained``, or from ``init_cfg``; other ``init_cfg`` are of first weights."""
    given = part.take(key)
    init = part.take("init_cfg")
    for each in init if isinstance(init, list) else [init]:
        if isinstance(each, dict) and each.get("type") == "Pretrained":
            given = each.get("checkpoint")
    if given is None or isinstance(given, str):
        return _NAMED_FILES.get(given or "", given)
    raise part.error(key, "a file, a URL or torchvision://resnet50")
