"""The operations of RandAugment, whose strengths all go up to 1.

Source: arXiv 1909.13719; what a strength means is torchvision 0.29's (its magnitude, of 30).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from kinoray.transforms.adjust import adjust_brightness_, adjust_contrast_, adjust_saturation_
from kinoray.transforms.augmentations import Interpolation, OperationName
from kinoray.transforms.tones import adjust_sharpness_, autocontrast_, equalize_, posterize_, solarize_
from kinoray.transforms.warp import Affine, rotation, shear_x, shear_y, translation, warp_

MAX_SHIFT = 150 / 331
"""Of the picture's side. Source: AutoAugment was searched on pictures of 331 pixels, with shifts of up to 150."""


@dataclass(frozen=True)
class Edges:
    """What operations that move pixels do besides moving them.

    Attributes:
        interpolation: between pixels.
        fill: grey level of what comes in from outside.
    """

    interpolation: Interpolation
    fill: float


Operation = Callable[[Tensor, Sequence[float], Edges], None]
"""Changes clips in place by B strengths, each 0..1, or -1..1 where the operation works both ways."""


def _blended(adjust: Callable[[Tensor, Sequence[float]], None]) -> Operation:
    def change(clips: Tensor, strengths: Sequence[float], edges: Edges) -> None:  # noqa: ARG001
        adjust(clips, [1 + 0.9 * strength for strength in strengths])

    return change


def _moved(affine: Callable[[float, int, int], Affine]) -> Operation:
    def change(clips: Tensor, strengths: Sequence[float], edges: Edges) -> None:
        height, width = clips.shape[-2:]
        warp_(clips, [affine(strength, height, width) for strength in strengths], edges.interpolation, edges.fill)

    return change


def _identity(clips: Tensor, strengths: Sequence[float], edges: Edges) -> None:
    del clips, strengths, edges


def _posterize(clips: Tensor, strengths: Sequence[float], edges: Edges) -> None:  # noqa: ARG001
    posterize_(clips, [8 - round(4 * strength) for strength in strengths])


def _solarize(clips: Tensor, strengths: Sequence[float], edges: Edges) -> None:  # noqa: ARG001
    solarize_(clips, [255 * (1 - strength) for strength in strengths])


def _autocontrast(clips: Tensor, strengths: Sequence[float], edges: Edges) -> None:  # noqa: ARG001
    autocontrast_(clips)


def _equalize(clips: Tensor, strengths: Sequence[float], edges: Edges) -> None:  # noqa: ARG001
    equalize_(clips)


OPERATIONS: Mapping[OperationName, Operation] = {
    "identity": _identity,
    "brightness": _blended(adjust_brightness_),
    "colour": _blended(adjust_saturation_),
    "contrast": _blended(adjust_contrast_),
    "sharpness": _blended(adjust_sharpness_),
    "shear_x": _moved(lambda strength, height, _: shear_x(0.3 * strength, height)),
    "shear_y": _moved(lambda strength, _, width: shear_y(0.3 * strength, width)),
    "translate_x": _moved(lambda strength, _, width: translation(int(MAX_SHIFT * strength * width), 0)),
    "translate_y": _moved(lambda strength, height, _: translation(0, int(MAX_SHIFT * strength * height))),
    "rotate": _moved(lambda strength, *_: rotation(30 * strength)),
    "posterize": _posterize,
    "solarize": _solarize,
    "autocontrast": _autocontrast,
    "equalize": _equalize,
}
