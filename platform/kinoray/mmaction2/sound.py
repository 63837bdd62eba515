"""MMAction2's pipelines for spectrograms -> views of kind ``audio``.

Source: datasets/transforms/{loading,formatting}.py of MMAction2 1.2.0.
"""

from collections.abc import Sequence

from kinoray.errors import ConfigError
from kinoray.mmaction2.draft import Draft, demand
from kinoray.mmaction2.part import Part

_KNOWN = ("AudioFeatureSelector", "FormatAudioShape", "LoadAudioFeature", "PackActionInputs", "SampleFrames")
_CLIP_LEN = 128
"""Frames of the spectrogram that AudioFeatureSelector makes of a clip."""


def put_sound_view(draft: Draft, steps: Sequence[Part], at: str, owner: Part, *, is_training: bool) -> None:
    """Translate a pipeline of spectrograms; as ``pipelines.put_view``."""
    sampler, selector = None, None
    draft.put(f"{at}.kind", "audio", owner, "type")
    for step in steps:
        kind = step.type
        with draft.collecting(at):
            if kind == "SampleFrames":
                sampler = step
            elif kind == "AudioFeatureSelector":
                selector = step
            elif kind in _KNOWN:
                if kind == "LoadAudioFeature":
                    demand(step, "pad_method", "zero", why="as short spectrograms are not filled with noise")
                draft.skip(step, "spectrograms are read, and have the shape that the model takes")
            else:
                told = f"the transform '{kind}' of sound has no translation; known are {', '.join(_KNOWN)}"
                raise ConfigError(f"{step.where()}: {step.path}: {told}")
    with draft.collecting(f"{at}.sampling"):
        if sampler is None or selector is None:
            lacking = "SampleFrames" if sampler is None else "AudioFeatureSelector"
            raise ConfigError(f"{owner.where('pipeline')}: {owner.below('pipeline')}: lacks {lacking}")
        _put_sampling(draft, sampler, selector, f"{at}.sampling", is_training=is_training)


def _put_sampling(draft: Draft, sampler: Part, selector: Part, at: str, *, is_training: bool) -> None:
    if is_training:
        demand(sampler, "test_mode", False, why="in training")
    draft.put(f"{at}.clip_len", selector.take("fixed_length", _CLIP_LEN), selector, "fixed_length")
    if sampler.take("num_clips", 1) != 1:
        draft.put(f"{at}.num_clips", sampler.values["num_clips"], sampler, "num_clips")
    demand(sampler, "frame_interval", 1, why="every frame of the spectrogram")
    how = (
        "clips are counted in frames of the spectrogram, in MMAction2 in frames of the video, cut or padded after that"
    )
    draft.differ(sampler, how, "clip_len")
    draft.ignore(sampler, "the length of a clip is that of AudioFeatureSelector", "clip_len", "test_mode")
    sampler.finish()
    selector.finish()
