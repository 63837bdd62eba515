"""What changes pixels in MMAction2's training pipelines -> ``augment``.

Source: datasets/transforms/{processing,wrappers}.py of MMAction2 1.2.0; PyTorchVideo's rand_augment.py (0e64109).
"""

from collections.abc import Callable, Mapping
from typing import Any

from kinoray.mmaction2.draft import Draft, demand
from kinoray.mmaction2.part import Part

_RAND_AUGMENT_OPS = (
    *("brightness", "contrast", "colour", "sharpness", "autocontrast", "equalize", "rotate", "posterize", "solarize"),
    *("shear_x", "shear_y", "translate_x", "translate_y"),
)
_STEPS = 3
"""Of our magnitudes, which go up to 30, in one of PyTorchVideo's, which go up to 10."""


def put_augmentation(draft: Draft, step: Part, kind: str, at: str) -> None:
    """Translate a transform of pixels.

    Args:
        draft: what takes it.
        step: the transform.
        kind: its type, a key of ``AUGMENTATIONS``.
        at: path of the element of the recipe's ``augment``.

    Raises:
        ConfigError: it has no translation.
    """
    AUGMENTATIONS[kind](draft, step, at)
    step.finish()


def _colour_jitter(draft: Draft, step: Part, at: str) -> None:
    values = {"kind": "colour_jitter"}
    for name, default in (("brightness", 0.5), ("contrast", 0.5), ("saturation", 0.5), ("hue", 0.1)):
        value = step.take(name, default)
        centre = 0.0 if name == "hue" else 1.0
        if isinstance(value, list):
            if len(value) != 2 or abs(value[0] + value[1] - 2 * centre) > 1e-9:
                raise step.error(name, f"a number, or a range around {centre:g}")
            value = (value[1] - value[0]) / 2
        values[name] = value
    draft.put(at, values, step)
    draft.differ(step, "brightness, contrast, saturation, hue always in this order; MMAction2 draws an order once")


def _random_erasing(draft: Draft, step: Part, at: str) -> None:
    ratio = step.take("aspect_range", [0.3, 10 / 3])
    if not isinstance(ratio, list):
        ratio = sorted((ratio, 1 / ratio))
    fill: Any = "noise"
    if step.take("mode", "const") == "const":
        levels = step.take("fill_color", [128, 128, 128])
        levels = levels if isinstance(levels, list) else [levels]
        fill = sum(levels) / len(levels)
        if len(set(levels)) > 1:
            draft.differ(step, f"one grey level for all channels, their mean {fill:g}", "fill_color")
    elif step.values.get("fill_std") is not None:
        raise step.error("fill_std", "None, as noise is of even levels here")
    draft.ignore(step, "has no part in this mode", "fill_color", "fill_std")
    values = {
        "kind": "random_erasing",
        "probability": step.take("erase_prob", 0.5),
        "scale": [step.take("min_area_ratio", 0.02), step.take("max_area_ratio", 1 / 3)],
        "ratio": list(ratio),
        "fill": fill,
    }
    draft.put(at, values, step)


def _pytorchvideo(draft: Draft, step: Part, at: str) -> None:
    step.only("op", "RandAugment")
    demand(step, "sampling_type", "gaussian", why="which magnitude_spread is")
    spread = (step.take("sampling_hparas") or {}).get("sampling_std", 0.5)
    values = {
        "kind": "rand_augment",
        "num_ops": step.take("num_layers", 2),
        "magnitude": float(step.take("magnitude", 9) * _STEPS),
        "magnitude_spread": float(spread * _STEPS),
        "op_probability": step.take("prob", 0.5),
        "ops": list(_RAND_AUGMENT_OPS),
        "fill": 0.0,
    }
    draft.put(at, values, step)
    how = (
        "operations as torchvision has them: invert is left out, posterize keeps 8 bits and fewer instead of 4 and "
        "fewer, solarize starts at a level of 255 instead of 1; it works on the cropped view"
    )
    draft.differ(step, how)


def _torchvision(draft: Draft, step: Part, at: str) -> None:
    op = step.need("op")
    if op == "ColorJitter":
        names = ("brightness", "contrast", "saturation", "hue")
        values = {name: step.take(name) for name in names if name in step.left}
        draft.put(at, {"kind": "colour_jitter", **values}, step)
    elif op == "RandomGrayscale":
        draft.put(at, {"kind": "grayscale", "probability": step.take("p", 0.1)}, step)
    elif op == "GaussianBlur":
        values = {"kernel_size": step.need("kernel_size"), "sigma": step.take("sigma", [0.1, 2.0])}
        draft.put(at, {"kind": "gaussian_blur", **values}, step)
    elif op == "RandAugment":
        values = {"num_ops": step.take("num_ops", 2), "magnitude": float(step.take("magnitude", 9)), "fill": 0.0}
        step.only("num_magnitude_bins", 31)
        step.only("interpolation", None, "nearest")
        draft.put(at, {"kind": "rand_augment", **values, "interpolation": "nearest"}, step)
    else:
        raise step.error("op", "ColorJitter, RandomGrayscale, GaussianBlur or RandAugment")


AUGMENTATIONS: Mapping[str, Callable[[Draft, Part, str], None]] = {
    "ColorJitter": _colour_jitter,
    "RandomErasing": _random_erasing,
    "PytorchVideoWrapper": _pytorchvideo,
    "TorchVisionWrapper": _torchvision,
}
"""Type -> what translates it."""
