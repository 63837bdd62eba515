"""MMAction2's frame samplers -> ``sampling``.

Source: datasets/transforms/loading.py of MMAction2 1.2.0; docs/sampling.md says which of ours gives the same indices.
"""

from collections.abc import Mapping
from typing import Any

from kinoray.mmaction2.draft import Draft
from kinoray.mmaction2.part import Part

SAMPLERS = frozenset(("SampleFrames", "DenseSampleFrames", "UniformSample", "UniformSampleFrames"))
_DENSE_RANGE, _DENSE_POSITIONS = 64, 10
"""Defaults of DenseSampleFrames."""


def put_sampling(draft: Draft, step: Part, kind: str, at: str, *, is_training: bool) -> None:
    """Translate a sampler.

    Args:
        draft: what takes it.
        step: the transform.
        kind: its type.
        at: path of the recipe's ``sampling``.
        is_training: whether the view is one for training.

    Raises:
        ConfigError: it has no translation.
    """
    _check_mode(draft, step, is_training=is_training)
    draft.ignore(step, "frames count from 0 here, whatever their files are called", "start_index")
    if kind == "UniformSample":
        fields = {"kind": "uniform", "clip_len": "clip_len", "num_clips": "num_clips"}
        _put_same(draft, step, at, fields)
    elif kind == "UniformSampleFrames":
        fields = {"kind": "stratified", "clip_len": "clip_len", "num_clips": "num_clips", "test_seed": "seed"}
        _put_same(draft, step, at, fields)
    elif kind == "DenseSampleFrames":
        _put_dense(draft, step, at, is_training=is_training)
    else:
        _put_clips(draft, step, at, is_training=is_training)
    step.finish(("clip_len", "frame_interval", "num_clips", "test_mode", "twice_sample", "target_fps"))


def _check_mode(draft: Draft, step: Part, *, is_training: bool) -> None:
    tests = bool(step.take("test_mode", False))
    if is_training and tests:
        raise step.error("test_mode", "False for training, whose views are drawn at random")
    if not is_training and not tests:
        draft.differ(step, "without test_mode MMAction2 draws frames at random; here evaluation never is")


def _put_same(draft: Draft, step: Part, at: str, fields: Mapping[str, str]) -> None:
    """A sampler whose fields are ours under other names; ``kind`` is ours."""
    draft.put(f"{at}.kind", fields["kind"], step, "type")
    for name, key in fields.items():
        if name != "kind" and key in step.left:
            draft.put(f"{at}.{name}", step.take(key), step, key)


def _put_clips(draft: Draft, step: Part, at: str, *, is_training: bool) -> None:
    if _is_given(step, "clip_len", 1) and not (step.values.get("keep_tail_frames") or step.values.get("target_fps")):
        # Clips of one frame: what follows stacks them to one clip of as many frames.
        step.take("clip_len")
        draft.put(f"{at}.kind", "segments", step, "clip_len")
        draft.put(f"{at}.num_segments", step.take("num_clips", 1), step, "num_clips")
        draft.ignore(step, "clips of one frame have no interval", "frame_interval", "temporal_jitter")
        draft.ignore(step, "single frames never reach past the end of a video", "out_of_bound_opt")
        draft.ignore(step, "is the default", "keep_tail_frames", "target_fps")
        _put_flag(draft, step, at, "twice", "twice_sample", counts=not is_training)
        return
    draft.put(f"{at}.kind", "clips", step, "type")
    draft.put(f"{at}.clip_len", step.need("clip_len"), step, "clip_len")
    for name, key in (
        ("frame_interval", "frame_interval"),
        ("num_clips", "num_clips"),
        ("out_of_bound", "out_of_bound_opt"),
    ):
        if key in step.left:
            draft.put(f"{at}.{name}", step.take(key), step, key)
    if step.values.get("target_fps") is not None:
        draft.put(f"{at}.target_fps", step.take("target_fps"), step, "target_fps")
    draft.ignore(step, "is the default", "target_fps")
    _put_flag(draft, step, at, "twice", "twice_sample", counts=not is_training)
    _put_flag(draft, step, at, "jitter", "temporal_jitter", counts=is_training)
    _put_flag(draft, step, at, "keep_tail", "keep_tail_frames", counts=is_training)


def _put_flag(draft: Draft, step: Part, at: str, name: str, key: str, *, counts: bool) -> None:
    """A switch; ``counts``: whether it does anything in this sort of view."""
    if step.values.get(key) and counts:
        draft.put(f"{at}.{name}", step.take(key), step, key)
    else:
        draft.ignore(step, "does nothing in this view", key)


def _put_dense(draft: Draft, step: Part, at: str, *, is_training: bool) -> None:
    """A clip from each position; clips of one frame, spread over the range, are one clip here."""
    sample_range = step.take("sample_range", _DENSE_RANGE)
    clip_len, num_clips = step.need("clip_len"), step.take("num_clips", 1)
    interval = step.take("frame_interval", 1)
    positions = step.take("num_sample_positions", _DENSE_POSITIONS)
    if clip_len == 1:
        clip_len, interval = num_clips, max(1, sample_range // num_clips)
    elif num_clips != 1:
        raise step.error("num_clips", "1 for clips of several frames, or clip_len 1")
    draft.put(f"{at}.kind", "dense", step, "type")
    draft.put(f"{at}.clip_len", clip_len, step, "clip_len")
    draft.put(f"{at}.frame_interval", interval, step, "frame_interval")
    if not is_training:
        draft.put(f"{at}.num_clips", positions, step, "num_sample_positions")
    if sample_range != _DENSE_RANGE:
        draft.put(f"{at}.sample_range", sample_range, step, "sample_range")
    if "out_of_bound_opt" in step.left:
        draft.put(f"{at}.out_of_bound", step.take("out_of_bound_opt"), step, "out_of_bound_opt")
    draft.ignore(step, "is the default", *(key for key in _DENSE_OFF if not step.values.get(key)))


_DENSE_OFF = ("temporal_jitter", "twice_sample", "keep_tail_frames", "target_fps")


def _is_given(step: Part, key: str, value: Any) -> bool:
    return key in step and step.values[key] == value
