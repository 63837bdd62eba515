"""Samplers, crops and augmentations: what they become, and that the views are those of a running MMAction2.

See shared/golden/README.md, sections 5 and 6.
"""

import gzip
import json
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from mmaction2_small import CONFIG

from kinoray.data.views import EvalView
from kinoray.errors import ConfigError
from kinoray.mmaction2.draft import Draft
from kinoray.mmaction2.part import Part
from kinoray.mmaction2.pipelines import put_view
from kinoray.mmaction2.read import Source
from kinoray.mmaction2.sampling import SAMPLERS, put_sampling
from kinoray.mmaction2.translate import translate_config
from kinoray.recipe import Recipe
from kinoray.video.sampling import SAMPLINGS

GOLDEN = Path(__file__).resolve().parents[4] / "shared" / "golden"
needs_golden = pytest.mark.skipif(not GOLDEN.is_dir(), reason="no ../shared/golden beside the repository")
PIPELINES = (
    *("slowfast_r50_8x8_test", "slowfast_r50_8x8_val", "tsn_r50_val", "tsn_r50_test", "tsm_r50_test", "x3d_m_test"),
    *("mvit_small_test", "swin_tiny_test"),
)
BOX = """    dict(type='RandomResizedCrop'),
    dict(type='Resize', scale=(224, 224), keep_ratio=False),"""
FLIP = "dict(type='Flip', flip_ratio=0.5)"
VAL_CROP = "dict(type='CenterCrop', crop_size=224)"


def part_of(values):
    return Part(Source(Path("config.py"), {"step": values}, {}), "step", values)


def nested(entries, prefix):
    """Dotted paths below a prefix as a mapping."""
    found = {}
    for path, entry in entries.items():
        if path.startswith(f"{prefix}."):
            *above, last = path.removeprefix(f"{prefix}.").split(".")
            place = found
            for name in above:
                place = place.setdefault(name, {})
            place[last] = entry.value
    return found


@cache
def sampling_cases():
    cases = json.loads(gzip.decompress((GOLDEN / "sampling.json.gz").read_bytes()))
    return [
        case
        for case in cases
        if case["transform"] in SAMPLERS and case["args"].get("test_mode") and "raises" not in case
    ]


@needs_golden
@pytest.mark.parametrize("kind", sorted(SAMPLERS))
def test_samplers_pick_the_same_frames(kind):
    cases = [case for case in sampling_cases() if case["transform"] == kind]
    assert len(cases) >= 10
    for case in cases:
        values = {"type": kind, **case["args"]}
        step = part_of(values)
        draft = Draft(step.source)
        put_sampling(draft, step, step.type, "sampling", is_training=False)
        sampling = SAMPLINGS.validate(nested(draft.entries, "sampling"))
        frames = sampling.indices(case["input"]["total_frames"], case["input"].get("avg_fps", 25.0), None)
        first = case["input"]["start_index"]  # of files' names; ours counts from 0
        assert (frames.ravel() + first).tolist() == case["frame_inds"], values


@needs_golden
@pytest.mark.parametrize("name", PIPELINES)
def test_views_of_whole_pipelines(name):
    golden = json.loads((GOLDEN / "pipeline.json").read_text())
    pipeline, output = golden[name]["pipeline"], golden[name]["output"]["shape"]
    owner = part_of({"pipeline": pipeline})
    draft = Draft(owner.source)
    put_view(draft, owner.parts("pipeline"), "view", owner, is_training=False)
    assert not draft.problems
    view = EvalView.model_validate(nested(draft.entries, "view"))
    num_views, clip_len, *picture = view.clip_shape()
    frames_apart = len(output) == 4  # (views x T, C, H, W) of 2D networks
    assert output == (
        [num_views * clip_len, 3, *picture[:2]] if frames_apart else [num_views, 3, clip_len, *picture[:2]]
    )
    video = golden["decode_decord"]
    picked = view.sampling.indices(video["total_frames"], video["avg_fps"], None)
    assert np.array_equal(picked.ravel(), np.ravel(golden[name]["stages"][1]["frame_inds"]))


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        (
            "dict(type='RandomResizedCrop', area_range=(0.5, 1.0), lazy=True), {resize}",
            {"crop": 64, "box": {"kind": "random_resized", "scale": (0.5, 1.0), "ratio": (3 / 4, 4 / 3)}},
        ),
        (
            "dict(type='MultiScaleCrop', input_size=64, scales=(1, .8), max_wh_scale_gap=0), {resize}",
            {"crop": 64, "box": {"kind": "multi_scale", "scales": (1, 0.8), "max_scale_gap": 0, "places": 5}},
        ),
        (
            "dict(type='MultiScaleCrop', input_size=64, random_crop=True), {resize}",
            {"crop": 64, "box": {"kind": "multi_scale", "scales": (1,), "max_scale_gap": 1, "places": "any"}},
        ),
        (
            "dict(type='RandomRescale', scale_range=(128, 160)), dict(type='RandomCrop', size=112),",
            {"crop": 112, "box": {"kind": "rescaled", "short_side": (128, 160)}},
        ),
        ("dict(type='RandomCrop', size=224),", {"crop": 224, "box": {"kind": "rescaled", "short_side": (256, 256)}}),
        ("dict(type='CenterCrop', crop_size=256),", {"crop": 256, "box": {"kind": "centre"}}),
    ],
)
def test_boxes_of_training(config_file, steps, expected):
    resize = "dict(type='Resize', scale=(64, 64), keep_ratio=False, lazy=True),"
    view = Recipe.load(config_file(CONFIG.replace(BOX, steps.format(resize=resize)))).data.train.model_dump()
    assert {key: view[key] for key in expected} == expected


@pytest.mark.parametrize(
    ("steps", "num_crops", "crop"),
    [("dict(type='ThreeCrop', crop_size=256)", 3, 256), ("dict(type='TenCrop', crop_size=(224, 224))", 10, 224)],
)
def test_crops_of_evaluation(config_file, steps, num_crops, crop):
    val = Recipe.load(config_file(CONFIG.replace(VAL_CROP, steps))).data.val
    assert (val.num_crops, val.crop, val.resize) == (num_crops, crop, 256)


def test_no_flip_is_no_flip(config_file):
    assert Recipe.load(config_file(CONFIG.replace(FLIP + ",", ""))).data.train.flip == 0


def test_labels_that_a_mirror_exchanges(config_file):
    text = CONFIG.replace("flip_ratio=0.5", "flip_ratio=0.25, flip_label_map={1: 3, 3: 1}")
    recipe = Recipe.load(config_file(text.replace(VAL_CROP, "dict(type='TenCrop', crop_size=224)")))
    assert recipe.data.flip_labels == {"1": "3", "3": "1"}
    assert recipe.data.train.flip == 0.25
    assert recipe.data.val.num_crops == 3  # half of ten would be mirrored


@pytest.mark.parametrize(
    ("step", "expected"),
    [
        (
            "dict(type='PytorchVideoWrapper', op='RandAugment', magnitude=7, num_layers=4)",
            {"kind": "rand_augment", "num_ops": 4, "magnitude": 21, "magnitude_spread": 1.5, "op_probability": 0.5},
        ),
        (
            "dict(type='RandomErasing', erase_prob=0.25, mode='rand')",
            {"kind": "random_erasing", "probability": 0.25, "scale": (0.02, 1 / 3), "fill": "noise"},
        ),
        (
            "dict(type='RandomErasing', aspect_range=0.5, fill_color=(120, 110, 100))",
            {"kind": "random_erasing", "probability": 0.5, "ratio": (0.5, 2), "fill": 110},
        ),
        (
            "dict(type='ColorJitter', hue=0.2, contrast=(0.7, 1.3))",
            {"kind": "colour_jitter", "brightness": 0.5, "contrast": pytest.approx(0.3), "hue": 0.2},
        ),
        (
            "dict(type='torchvision.TorchVisionWrapper', op='RandomGrayscale', p=0.2)",
            {"kind": "grayscale", "probability": 0.2},
        ),
        (
            "dict(type='TorchVisionWrapper', op='GaussianBlur', kernel_size=5)",
            {"kind": "gaussian_blur", "kernel_size": 5, "sigma": (0.1, 2)},
        ),
        (
            "dict(type='TorchVisionWrapper', op='RandAugment', magnitude=5)",
            {"kind": "rand_augment", "num_ops": 2, "magnitude": 5, "interpolation": "nearest", "fill": 0},
        ),
        (
            "dict(type='TorchVisionWrapper', op='ColorJitter', brightness=0.3)",
            {"kind": "colour_jitter", "brightness": 0.3, "contrast": 0, "hue": 0},
        ),
    ],
)
def test_augmentations(config_file, step, expected):
    (found,) = Recipe.load(config_file(CONFIG.replace(FLIP, f"{FLIP}, {step}"))).data.train.augment
    assert {key: getattr(found, key) for key in expected} == expected


def test_evaluation_changes_no_pixels(source_of):
    source = source_of(CONFIG.replace(VAL_CROP, f"{VAL_CROP}, dict(type='ColorJitter')"))
    translation = translate_config(source)
    assert any("ColorJitter" in remark.key and "left out" in remark.told for remark in translation.different)


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("scale=(-1, 256)", "scale=(340, 256)", r"scale, got \[340, 256\]; it should be \(-1, S\)"),
        ("scale=(224, 224), keep_ratio=False", "scale=(224, 256), keep_ratio=False", "keep_ratio=False after a crop"),
        ("crop_size=224", "crop_size=(224, 200)", "one whole number, or two that are equal"),
        (VAL_CROP, "dict(type='Flip', flip_ratio=0)", "lacks a crop and its size"),
        (VAL_CROP, "dict(type='RandomResizedCrop')", "a random crop has no translation in an evaluation"),
        ("dict(type='SampleFrames', clip_len=1, frame_interval=1, num_clips=3),", "", "lacks a sampler"),
        ("num_clips=3),", "num_clips=3, test_mode=True),", "test_mode, got True; it should be False for training"),
        ("flip_ratio=0.5", "direction='vertical'", "direction, got 'vertical'"),
        ("flip_ratio=0.5", "flip_rate=0.5", r"flip_rate, got 0.5; it has no translation"),
        ("input_format='NCHW'", "input_format='NPTCHW'", "input_format, got 'NPTCHW'"),
        (BOX, "dict(type='CenterCrop', crop_size=224),", "the short side of Resize"),
        (BOX, "dict(type='ThreeCrop', crop_size=256),", "training takes one crop"),
        (FLIP, f"{FLIP}, dict(type='PytorchVideoWrapper', op='AugMix')", "op, got 'AugMix'"),
        (FLIP, f"{FLIP}, dict(type='TorchVisionWrapper', op='RandomInvert')", "op, got 'RandomInvert'"),
        (FLIP, f"{FLIP}, dict(type='ColorJitter', contrast=(0.5, 1.2))", "a range around 1"),
        ("type='SampleFrames', clip_len=1", "type='DenseSampleFrames', clip_len=8", "num_clips, got 3; it should be 1"),
    ],
)
def test_what_has_no_translation(config_file, old, new, told):
    assert old in CONFIG
    with pytest.raises(ConfigError, match=told):
        Recipe.load(config_file(CONFIG.replace(old, new)))
