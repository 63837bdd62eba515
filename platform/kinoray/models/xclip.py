"""X-CLIP: a video beside texts; with the names of classes as texts it knows them without having been taught.

The texts are embedded once, when it is built, and are the head: a checkpoint carries them, and training changes them.
Needs the package transformers (``kinoray[transformers]``).

Source: arXiv 2208.02816; the code is transformers', of which the text encoder is left out once it has done its work.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn.functional import normalize

from kinoray.errors import CheckpointError, ConfigError
from kinoray.models.base import Recognizer
from kinoray.models.huggingface import TransformersConfig
from kinoray.models.layers.transformers_library import check_size, import_transformers, read_pretrained
from kinoray.models.weights import KeyRules
from kinoray.video.files import without_passwords

KEYS: KeyRules = ((r"^(?!fc\.)", "network."),)
"""Rules from transformers' names to ours."""

_TEXTS_AT_ONCE = 64


class Texts(nn.Module):
    """What the classes are called: ``(K, D)`` embeddings."""

    def __init__(self, embeddings: Tensor) -> None:
        super().__init__()
        self.embeddings = nn.Parameter(embeddings)


class XCLIP(Recognizer):
    """X-CLIP's video encoder, and the embedded texts that a video is compared with.

    Args:
        network: transformers' model; its text encoder is removed.
        texts: ``(K, D)`` embeddings of the classes' texts.
        mean: three, grey levels.
        std: three, grey levels.
    """

    def __init__(self, network: Any, texts: Tensor, *, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__(num_classes=len(texts), mean=mean, std=std)
        self.network: Any = network  # of attributes that only transformers knows
        self.network.text_model = self.network.text_projection = nn.Identity()
        self.fc = Texts(texts)

    def forward_features(self, clips: Tensor) -> Tensor:
        """``(B, 3, T, H, W)`` -> ``(B, 1 + L, D)``: the video's embedding, then those of a frame's L patches.

        Raises:
            ConfigError: the network knows no positions for views of that size.
        """
        check_size(self.network.config.vision_config, clips)
        b, _, t = clips.shape[:3]
        seen = self.network.vision_model(pixel_values=clips.transpose(1, 2).flatten(0, 1))
        frames = self.network.visual_projection(seen.pooler_output).view(b, t, -1)
        video = self.network.mit(frames).pooler_output
        patches = self.network.prompts_visual_layernorm(seen.last_hidden_state[:, 1:])
        patches = (patches @ self.network.prompts_visual_projection).view(b, t, -1, video.shape[-1]).mean(1)
        return torch.cat([video[:, None], patches], dim=1)

    def forward_head(self, features: Tensor) -> Tensor:
        """``(B, 1 + L, D)`` -> ``(B, K)`` cosines, times the scale that the network has learned."""
        video, patches = features[:, 0], features[:, 1:]
        texts = self.fc.embeddings.expand(features.shape[0], -1, -1)
        texts = texts + self.network.prompts_generator(texts, patches)
        cosines = normalize(texts, dim=-1) @ normalize(video, dim=-1)[..., None]
        scores: Tensor = self.network.logit_scale.exp() * cosines[..., 0]
        return scores

    def head(self) -> nn.Module:
        return self.fc

    def key_rules(self) -> Mapping[str, KeyRules]:
        return {"Hugging Face": KEYS}

    def parts_by_depth(self) -> list[list[nn.Module]]:
        vision = self.network.vision_model
        after = [vision.post_layernorm, self.network.visual_projection, self.network.mit]
        before = [vision.embeddings, vision.pre_layernorm]
        return [before, *([layer] for layer in vision.encoder.layers), [*after, self.network.prompts_generator]]


class XCLIPConfig(TransformersConfig):
    """Settings of X-CLIP; the default mean and std are those of its published weights."""

    kind: str = "xclip"
    class_names: str | tuple[str, ...] = ()
    """One for each class, in their order: a list, or a file with one on each line, as data.classes is."""
    template: str = Field("{}", pattern=r"\{\}")
    """The text of a class; {} is its name, as in "a video of {}"."""

    @model_validator(mode="after")
    def _has_names(self) -> Self:
        if self.pretrained is not None and not self.class_names:
            raise ValueError("class_names: they are the texts that videos are compared with, got none; name them")
        if isinstance(self.class_names, tuple) and len(self.class_names) not in {0, self.num_classes}:
            raise ValueError(f"class_names: got {len(self.class_names)}, num_classes is {self.num_classes}")
        return self

    def config_class(self) -> str:
        return "XCLIPConfig"

    def build(self) -> XCLIP:
        sizes = self.sizes()
        made = import_transformers().XCLIPModel
        if self.pretrained is None:
            network, report = made(sizes), None
            texts = torch.randn(self.num_classes, sizes.projection_dim) * sizes.projection_dim**-0.5
        else:
            network, report = read_pretrained(made, self.pretrained, sizes, KEYS)
            texts = self._embedded(network, self.pretrained)
        model = XCLIP(network, texts, mean=self.mean, std=self.std)
        model.weights_report = report
        return model

    def texts(self) -> list[str]:
        """What each class is called.

        Raises:
            ConfigError: their file cannot be read, or names another number of classes.
        """
        names: Sequence[str] = self.class_names
        if isinstance(self.class_names, str):
            try:
                names = Path(self.class_names).read_text(encoding="utf-8").splitlines()
            except (OSError, UnicodeError) as error:
                raise ConfigError(f"model.class_names: {self.class_names}: cannot be read, got {error}") from error
            if len(names) != self.num_classes:
                raise ConfigError(
                    f"model.class_names: {self.class_names}: {len(names)} lines, num_classes is {self.num_classes}"
                )
        return [self.template.replace("{}", name) for name in names]

    def _embedded(self, network: Any, source: str) -> Tensor:
        """``(K, D)``, by the network's own text encoder."""
        where = f"model.pretrained: {without_passwords(source)}"
        try:
            tokenizer = import_transformers().AutoTokenizer.from_pretrained(source)
        except (OSError, ValueError) as error:
            raise CheckpointError(f"{where}: no tokenizer can be read, got {error}") from error
        num_words = network.config.text_config.vocab_size
        if len(tokenizer) != num_words:  # where its files are missing, transformers makes up an empty one
            raise CheckpointError(f"{where}: its tokenizer knows {len(tokenizer)} words, the network {num_words}")
        texts, parts = self.texts(), []
        length = network.config.text_config.max_position_embeddings
        for first in range(0, len(texts), _TEXTS_AT_ONCE):
            part = texts[first : first + _TEXTS_AT_ONCE]
            tokens = tokenizer(part, padding=True, truncation=True, max_length=length, return_tensors="pt")
            with torch.no_grad():
                parts.append(network.get_text_features(**tokens).pooler_output)
        return torch.cat(parts)
