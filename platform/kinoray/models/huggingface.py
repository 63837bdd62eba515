"""Video classifiers of Hugging Face's transformers: VideoMAE, TimeSformer, ViViT, V-JEPA 2 with its attentive probe.

Needs the package transformers (``kinoray[transformers]``), which is imported when such a model is built.

Source: arXiv 2203.12602 (VideoMAE), 2102.05095 (TimeSformer), 2103.15691 (ViViT), 2506.09985 (V-JEPA 2); the code is
transformers'.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Self

from pydantic import Field, JsonValue, model_validator
from torch import Tensor, nn

from kinoray.models.base import Recognizer
from kinoray.models.kinds import IMAGENET_MEAN, IMAGENET_STD, ModelConfig
from kinoray.models.layers.transformers_library import (
    check_size,
    import_transformers,
    pretrained_sizes,
    read_pretrained,
    settings_of,
    sizes_of,
)
from kinoray.models.weights import KeyRules

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

NetworkName = Literal["videomae", "timesformer", "vivit", "vjepa2"]
Numbers = tuple[float, float, float]


class _Network(NamedTuple):
    """What differs from network to network.

    Attributes:
        prefix: of its classes in transformers.
        normalization: mean and std in grey levels, as its published weights want them.
        embeddings: name of what comes before the blocks.
        blocks: name of the list of blocks.
        is_fixed: it has a position for every token of views of its own size, and none for others.
    """

    prefix: str
    normalization: tuple[Numbers, Numbers]
    embeddings: str
    blocks: str
    is_fixed: bool = True


_IMAGENET: tuple[Numbers, Numbers] = (IMAGENET_MEAN, IMAGENET_STD)
NETWORKS: dict[str, _Network] = {
    "videomae": _Network("VideoMAE", _IMAGENET, "videomae.embeddings", "videomae.encoder.layer"),
    "timesformer": _Network(
        "Timesformer", ((114.75,) * 3, (57.375,) * 3), "timesformer.embeddings", "timesformer.encoder.layer"
    ),
    "vivit": _Network("Vivit", ((127.5,) * 3, (127.5,) * 3), "vivit.embeddings", "vivit.layers"),
    "vjepa2": _Network(
        "VJEPA2",
        _IMAGENET,
        "vjepa2.encoder.embeddings",
        "vjepa2.encoder.layer",
        is_fixed=False,
    ),
}
KEYS: KeyRules = ((r"^classifier\.", "fc."), (r"^(?!fc\.)", "network."))
"""Rules from the names of transformers' classifiers to ours."""


class HuggingFaceVideo(Recognizer):
    """A video classifier of transformers.

    Args:
        network: transformers' model, whose ``classifier`` is taken over.
        known: what there is to know of its kind.
        num_classes: K.
        mean: three, grey levels.
        std: three, grey levels.
        dropout: share of the features dropped in training.
    """

    def __init__(
        self,
        network: Any,
        known: _Network,
        *,
        num_classes: int,
        mean: Sequence[float],
        std: Sequence[float],
        dropout: float,
    ) -> None:
        super().__init__(num_classes=num_classes, mean=mean, std=std)
        self.known = known
        self.network: Any = network  # of attributes that only transformers knows
        self.fc: nn.Module = network.get_submodule("classifier")
        self.network.classifier = nn.Identity()
        if hasattr(network, "vjepa2"):  # guesses what is masked in pretraining
            network.vjepa2.predictor = nn.Identity()
        self.dropout = nn.Dropout(dropout)

    def forward_features(self, clips: Tensor) -> Tensor:
        """``(B, 3, T, H, W)`` -> ``(B, D)``.

        Raises:
            ConfigError: the network knows no positions for views of that size.
        """
        if self.known.is_fixed:
            check_size(self.network.config, clips)
        # By place: its name is another in V-JEPA 2.
        features: Tensor = self.network(clips.transpose(1, 2)).logits
        return features

    def forward_head(self, features: Tensor) -> Tensor:
        """``(B, D)`` -> ``(B, K)``."""
        scores: Tensor = self.fc(self.dropout(features))
        return scores

    def head(self) -> nn.Module:
        return self.fc

    def key_rules(self) -> Mapping[str, KeyRules]:
        return {"Hugging Face": KEYS}

    def parts_by_depth(self) -> list[list[nn.Module]]:
        blocks = self.network.get_submodule(self.known.blocks).children()
        return [[self.network.get_submodule(self.known.embeddings)], *([block] for block in blocks)]


class TransformersConfig(ModelConfig):
    """What is told of every network of transformers."""

    settings: dict[str, JsonValue] | None = None
    """Sizes other than the defaults of its configuration class in transformers, by its names, as hidden_size; {} is the
    defaults. None takes those of ``pretrained``, which then has to be at hand wherever the network is built."""
    pretrained: str | None = None
    """A folder that ``save_pretrained`` wrote, or a name on Hugging Face's hub: weights to start from. The classifier
    is kept where there are as many classes. None is a random start."""

    @model_validator(mode="after")
    def _sees_colours(self) -> Self:
        if len(self.mean) != 3:
            raise ValueError(f"mean: these networks see 3 channels, got {len(self.mean)}")
        return self

    @abstractmethod
    def config_class(self) -> str:
        """Its name in transformers."""

    def sizes(self) -> PreTrainedConfig:
        """Transformers' own configuration.

        Raises:
            ResourceError: transformers is not installed.
            ConfigError: it has no such settings.
            CheckpointError: ``pretrained`` cannot be read, or is of another network.
        """
        made = getattr(import_transformers(), self.config_class())
        if self.settings is None and self.pretrained is not None:
            return pretrained_sizes(made, self.pretrained)
        return sizes_of(made, self.settings or {})

    def without_pretrained(self) -> Self:
        """Fresh weights, of the sizes that the pretrained ones have."""
        if self.pretrained is None:
            return self
        settings = settings_of(self.sizes()) if self.settings is None else self.settings
        return self.model_copy(update={"pretrained": None, "settings": settings})


class HuggingFaceConfig(TransformersConfig):
    """Settings of video classifiers of transformers; mean and std are those of a network's published weights."""

    kind: str = "huggingface"
    network: NetworkName = "videomae"
    """VideoMAE, TimeSformer, ViViT or V-JEPA 2."""
    dropout: float = Field(0.0, ge=0, lt=1)
    """Share of the features dropped in training, before they are scored."""

    @model_validator(mode="before")
    @classmethod
    def _normalizes_as_its_weights(cls, values: Any) -> Any:
        if not isinstance(values, Mapping):
            return values
        known = NETWORKS.get(str(values.get("network", cls.model_fields["network"].default)))
        if known is None:
            return values
        mean, std = known.normalization
        return {"mean": mean, "std": std, **values}

    def config_class(self) -> str:
        return f"{NETWORKS[self.network].prefix}Config"

    def build(self) -> HuggingFaceVideo:
        known = NETWORKS[self.network]
        sizes = self.sizes()
        sizes.num_labels = self.num_classes
        made = getattr(import_transformers(), f"{known.prefix}ForVideoClassification")
        report = None
        if self.pretrained is None:
            network = made(sizes)
        else:
            network, report = read_pretrained(made, self.pretrained, sizes, KEYS, head="classifier.")
        model = HuggingFaceVideo(
            network, known, num_classes=self.num_classes, mean=self.mean, std=self.std, dropout=self.dropout
        )
        model.weights_report = report
        return model
