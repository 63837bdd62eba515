"""MMAction2's pipelines for pictures -> the views of ``data.train``, ``data.val`` and ``data.test``.

A pipeline says step by step what a view says as a whole, so the steps are gathered first: which frames, to which short
side, which box, which size. What a step means in its place decides whether there is a view that is the same.

Source: datasets/transforms of MMAction2 1.2.0.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kinoray.errors import ConfigError
from kinoray.mmaction2.augment import AUGMENTATIONS, put_augmentation
from kinoray.mmaction2.draft import Draft, demand
from kinoray.mmaction2.part import Part
from kinoray.mmaction2.sampling import SAMPLERS, put_sampling

_DECODERS = frozenset(
    f"{library}{step}" for library in ("Decord", "PyAV", "PIMS", "OpenCV") for step in ("Init", "Decode")
)
_IDLE: Mapping[str, str] = {
    **dict.fromkeys(_DECODERS, "videos are read by data.reader, always at the exact frames"),
    "RawFrameDecode": "pictures of a folder are read as the source says",
    "FormatShape": "views have the shape that the model takes",
    "PackActionInputs": "batches are packed by Kinoray",
    "Fuse": "boxes are always cut while decoding",
    "ToTensor": "clips become tensors anyway",
    "Collect": "batches are packed by Kinoray",
}
_CROPS = {"CenterCrop": 1, "ThreeCrop": 3, "TenCrop": 10}


@dataclass
class _Gathered:
    """What the steps of a pipeline have said so far.

    Attributes:
        short_side: of the resized picture, in pixels, and the step that said so.
        range_side: likewise, of a random short side.
        side: of the square that the model sees.
        input_size: to which MultiScaleCrop rounds its boxes.
        box: whether a random box was cut.
        num_augmentations: elements of ``augment``.
        has_flip: whether a mirror was mentioned.
        sampled: whether frames were picked.
    """

    draft: Draft
    at: str
    is_training: bool
    short_side: tuple[int, Part] | None = None
    range_side: tuple[list[int], Part] | None = None
    side: int | None = None
    input_size: tuple[int, Part] | None = None
    box: bool = False
    num_augmentations: int = 0
    has_flip: bool = False
    sampled: bool = False


def put_view(draft: Draft, steps: Sequence[Part], at: str, owner: Part, *, is_training: bool) -> None:
    """Translate a pipeline.

    Args:
        draft: what takes the view; problems are kept in it.
        steps: of the pipeline.
        at: path of the recipe's split.
        owner: the data set, which messages name.
        is_training: whether the split is one for training.
    """
    seen = _Gathered(draft, at, is_training)
    for step in steps:
        kind = step.type
        with draft.collecting(_target(kind, at)):
            _take(seen, step, kind)
    for missing, target, what in (
        (not seen.sampled, "sampling", "a sampler such as SampleFrames"),
        (seen.side is None, "crop", "a crop and its size, such as RandomResizedCrop and Resize, or CenterCrop"),
    ):
        if missing:
            with draft.collecting(f"{at}.{target}"):
                raise ConfigError(f"{owner.where('pipeline')}: {owner.below('pipeline')}: lacks {what}")
    if seen.input_size is not None and seen.input_size[0] != seen.side:
        draft.differ(seen.input_size[1], f"boxes are rounded to {seen.side}, the size of the view", "input_size")
    if is_training and not seen.has_flip:
        draft.put(f"{at}.flip", 0.0, owner, "pipeline")


def _target(kind: str, at: str) -> str:
    if kind in SAMPLERS:
        return f"{at}.sampling"
    return f"{at}.augment" if kind in AUGMENTATIONS else f"{at}.crop"


def _take(seen: _Gathered, step: Part, kind: str) -> None:
    if kind in SAMPLERS:
        put_sampling(seen.draft, step, kind, f"{seen.at}.sampling", is_training=seen.is_training)
        seen.sampled = True
    elif kind in _IDLE:
        _check_format(step, kind)
        seen.draft.skip(step, _IDLE[kind])
    elif kind in AUGMENTATIONS and not seen.is_training:
        seen.draft.skip(step, "evaluation changes no pixels at random, as MMAction2 would here")
        seen.draft.differ(step, "left out: evaluation is the same every time")
    elif kind in AUGMENTATIONS:
        put_augmentation(seen.draft, step, kind, f"{seen.at}.augment.{seen.num_augmentations}")
        seen.num_augmentations += 1
    elif kind in _SPATIAL:
        seen.draft.ignore(step, "boxes are always cut while decoding", "lazy")
        seen.draft.ignore(step, "pictures are resized by the decoder's own filter", "interpolation")
        _SPATIAL[kind](seen, step)
        step.finish()
    else:
        known = ", ".join(sorted((*SAMPLERS, *AUGMENTATIONS, *_SPATIAL)))
        raise ConfigError(f"{step.where()}: {step.path}: the transform '{kind}' has no translation; known are {known}")


def _check_format(step: Part, kind: str) -> None:
    allowed = ("NCTHW", "NCHW")
    if kind == "FormatShape" and step.values.get("input_format") not in allowed:
        raise step.error("input_format", " or ".join(allowed))


def _resize(seen: _Gathered, step: Part) -> None:
    scale, keeps_ratio = step.need("scale"), step.take("keep_ratio", True)
    sides = [scale, scale] if isinstance(scale, int) else scale
    if not (isinstance(sides, list) and len(sides) == 2):
        raise step.error("scale", "(-1, S) for the short side, or (S, S) with keep_ratio=False after a crop")
    if seen.box:
        if sides[0] != sides[1] or keeps_ratio:
            raise step.error("scale", "(S, S) with keep_ratio=False after a crop")
        _put_side(seen, step, "scale", sides[0])
    elif min(sides) == -1 and keeps_ratio:
        seen.short_side = max(sides), step
    else:
        raise step.error("scale", "(-1, S), which keeps the picture's proportions")


def _put_side(seen: _Gathered, step: Part, key: str, side: int) -> None:
    seen.side = side
    seen.draft.put(f"{seen.at}.crop", side, step, key)


def _note_short_side(seen: _Gathered) -> None:
    if seen.short_side is not None:
        why = "a box is a share of the picture, whatever its size: it is cut from the video as it is"
        seen.draft.skip(seen.short_side[1], why)
        seen.short_side = None


def _training_box(seen: _Gathered, step: Part, kind: str) -> None:
    if not seen.is_training:
        raise ConfigError(f"{step.where()}: {step.path}: a random crop has no translation in an evaluation")
    seen.box = True
    seen.draft.put(f"{seen.at}.box.kind", kind, step)


def _random_resized_crop(seen: _Gathered, step: Part) -> None:
    _training_box(seen, step, "random_resized")
    _note_short_side(seen)
    for name, key in (("scale", "area_range"), ("ratio", "aspect_ratio_range")):
        if key in step.left:
            seen.draft.put(f"{seen.at}.box.{name}", step.take(key), step, key)


def _multi_scale_crop(seen: _Gathered, step: Part) -> None:
    _training_box(seen, step, "multi_scale")
    _note_short_side(seen)
    at = f"{seen.at}.box"
    seen.input_size = square(step, "input_size"), step
    seen.draft.put(f"{at}.scales", step.take("scales", [1]), step, "scales")
    seen.draft.put(f"{at}.max_scale_gap", step.take("max_wh_scale_gap", 1), step, "max_wh_scale_gap")
    anywhere, num_places = step.take("random_crop", False), step.take("num_fixed_crops", 5)
    seen.draft.put(f"{at}.places", "any" if anywhere else num_places, step, "num_fixed_crops")


def _random_rescale(seen: _Gathered, step: Part) -> None:
    seen.range_side = list(step.need("scale_range")), step


def _random_crop(seen: _Gathered, step: Part) -> None:
    """Of a picture of a known or a random short side."""
    side = square(step, "size")
    if seen.range_side is not None:
        short_side, said = seen.range_side
    elif seen.short_side is not None:
        short_side, said = [seen.short_side[0]] * 2, seen.short_side[1]
    else:
        raise ConfigError(f"{step.where()}: {step.path}: RandomCrop needs RandomRescale or Resize (-1, S) before it")
    _training_box(seen, step, "rescaled")
    seen.draft.put(f"{seen.at}.box.short_side", short_side, said)
    _put_side(seen, step, "size", side)


def _fixed_crops(kind: str) -> Callable[[_Gathered, Part], None]:
    def take(seen: _Gathered, step: Part) -> None:
        side = square(step, "crop_size")
        if seen.short_side is None:
            raise ConfigError(f"{step.where()}: {step.path}: {kind} needs Resize (-1, S) before it")
        if not seen.is_training:
            seen.draft.put(f"{seen.at}.resize", seen.short_side[0], seen.short_side[1], "scale")
            seen.draft.put(f"{seen.at}.num_crops", _num_crops(seen, step, kind), step)
        elif kind == "CenterCrop" and side == seen.short_side[0]:
            seen.draft.put(f"{seen.at}.box.kind", "centre", step)
        else:
            right = "the short side of Resize, so that the crop is the largest centred square"
            raise step.error("crop_size", right if kind == "CenterCrop" else "of a CenterCrop: training takes one crop")
        _put_side(seen, step, "crop_size", side)

    return take


def _num_crops(seen: _Gathered, step: Part, kind: str) -> int:
    if kind == "TenCrop" and "data.flip_labels" in seen.draft.entries:
        seen.draft.differ(step, "three crops: half of ten are mirrored, which changes classes by flip_label_map")
        return 3
    return _CROPS[kind]


def _flip(seen: _Gathered, step: Part) -> None:
    ratio = step.take("flip_ratio", 0.5)
    draft = seen.draft
    draft.ignore(step, "there are no keypoints", "left_kp", "right_kp")
    if not seen.is_training:
        if ratio:
            draft.differ(step, "left out: evaluation is the same every time")
        step.ignore(tuple(step.left))
        return
    demand(step, "direction", "horizontal", why="left and right")
    seen.has_flip = True
    draft.put(f"{seen.at}.flip", ratio, step, "flip_ratio")
    labels: Mapping[Any, Any] | None = step.take("flip_label_map")
    if labels:
        # The list numbers classes, and so they are called until data.classes names them.
        mirrored = {str(label): str(other) for label, other in labels.items()}
        draft.put("data.flip_labels", mirrored, step, "flip_label_map")


def square(step: Part, key: str) -> int:
    """A side that is given once, or twice.

    Raises:
        ConfigError: it is something else.
    """
    size = step.need(key)
    sides = size if isinstance(size, list) else [size, size]
    if not (len(sides) == 2 and sides[0] == sides[1] and isinstance(sides[0], int)):
        raise step.error(key, "one whole number, or two that are equal")
    return int(sides[0])


_SPATIAL: Mapping[str, Callable[[_Gathered, Part], None]] = {
    "Resize": _resize,
    "RandomResizedCrop": _random_resized_crop,
    "MultiScaleCrop": _multi_scale_crop,
    "RandomRescale": _random_rescale,
    "RandomCrop": _random_crop,
    "Flip": _flip,
    **{kind: _fixed_crops(kind) for kind in _CROPS},
}
