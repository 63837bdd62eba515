"""What is asked of a prediction, and how it is told from another one in the same folder."""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from torch import nn

from kinoray.data.output import OutputFolder
from kinoray.data.views import EvalView
from kinoray.errors import ConfigError
from kinoray.predict.listing import JOB
from kinoray.predict.scoring import Precision
from kinoray.predict.windows import Window
from kinoray.recognizer import VideoRecognizer, load_recognizer
from kinoray.video.limits import Limits
from kinoray.video.open import Backend


@dataclass(frozen=True)
class Request:
    """What every video goes through.

    Attributes:
        model: run, checkpoint, exported file, or a recipe for ``checkpoint``; absolute, or a URI.
        split: whose views are taken.
        view: what is cut out of a video, or of a window.
        window: None scores whole videos.
        batch_size: videos, or windows, that the model scores at a time.
        limits: of reading one video.
    """

    model: str
    checkpoint: str | None
    labels: str | None
    split: str
    view: EvalView
    window: Window | None
    batch_size: int
    precision: Precision
    compiled: bool
    backend: Backend = "pyav"
    limits: Limits = field(default_factory=Limits)

    @property
    def num_clips(self) -> int:
        """Views of one video or window."""
        num_clips, _ = self.view.sampling.shape(is_training=False)
        return int(num_clips * self.view.num_crops)

    def open_model(self, device: str = "cpu") -> VideoRecognizer:
        """The recognizer."""
        return load_recognizer(self.model, self.checkpoint, device=device, split=self.split, labels=self.labels)


def views_of(view: EvalView, views: str | None) -> EvalView:
    """The model's views, or as many clips and crops, of the same size and scale.

    Args:
        view: of the model.
        views: clips and crops, as in ``10x3``; None leaves them.

    Raises:
        ConfigError: they make no sense, or the sampling takes another number of clips.
    """
    values: dict[str, Any] = {name: getattr(view, name) for name in EvalView.model_fields}
    if views is None:
        return EvalView.model_validate(values)
    match = re.fullmatch(r"(\d+)x(\d+)", views)
    if match is None:
        raise ConfigError(f"--views: clips and crops, got '{views}'; it should read like 10x3")
    num_clips, num_crops = int(match[1]), int(match[2])
    if "num_clips" in type(view.sampling).model_fields:
        values["sampling"] = {**view.sampling.model_dump(), "num_clips": num_clips}
    elif view.sampling.shape(is_training=False)[0] != num_clips:
        raise ConfigError(f"--views: clips, got {num_clips} with a sampling of kind '{view.sampling.kind}'")
    try:
        return EvalView.model_validate({**values, "num_crops": num_crops, "resize": view.short_side()})
    except ValidationError as error:
        raise ConfigError(f"--views {views}: {error.errors()[0]['msg']}") from error


def absolute_place(place: str) -> str:
    """Workers have a working folder of their own."""
    return place if "://" in place else str(Path(place).absolute())


def digest_of_weights(recognizer: VideoRecognizer) -> str:
    """Of all tensors of a model, or of an exported file."""
    digest = hashlib.sha256()
    if isinstance(recognizer.model, nn.Module):
        for name, tensor in sorted(recognizer.model.state_dict().items()):
            digest.update(name.encode())
            digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    else:
        digest.update(recognizer.model.path.read_bytes())
    return digest.hexdigest()[:16]


def digest_of_views(recognizer: VideoRecognizer, request: Request) -> str:
    """Of whatever decides the scores beside the weights."""
    facts = {
        "view": request.view.model_dump(mode="json"),
        "window": request.window,
        "average": recognizer.average,
        "multi_label": recognizer.multi_label,
        "classes": recognizer.classes,
        "precision": request.precision,
        "backend": request.backend,
        "model": type(recognizer.model).__name__,
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]


def check_same(output: OutputFolder, identity: dict[str, Any]) -> dict[str, Any]:
    """Note in an output folder what it holds, or see that it holds this.

    Returns:
        What was noted: ``identity``, and what earlier runs added.

    Raises:
        ConfigError: it holds something else.
    """
    content = output.read(JOB)
    if content is None:
        output.write(JOB, json.dumps(identity, indent=2).encode())
        return identity
    known: dict[str, Any] = json.loads(content)
    other = [name for name, value in identity.items() if known.get(name) != value]
    if other:
        told = "; ".join(f"{name} {_short(known.get(name))}, now {_short(identity[name])}" for name in other)
        raise ConfigError(
            f"--out: {output.root} holds predictions of something else ({told}); rows of both would be mixed: use "
            "another --out, or delete what is there"
        )
    return known


def note(output: OutputFolder, known: Mapping[str, Any], **more: Any) -> dict[str, Any]:
    """Add to what is noted."""
    noted = {**known, **more}
    output.write(JOB, json.dumps(noted, indent=2).encode())
    return noted


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
