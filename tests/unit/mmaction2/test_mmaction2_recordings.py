"""Pipelines of skeletons and of sound; see shared/golden/README.md, section on poses."""

import json
from pathlib import Path

import pytest
import torch

from kinoray.config.layers import from_tree
from kinoray.data.config import EVAL_SPLITS, TRAIN_SPLITS
from kinoray.mmaction2.draft import Draft
from kinoray.mmaction2.part import Part
from kinoray.mmaction2.read import Source
from kinoray.mmaction2.recordings import put_pose_view
from kinoray.mmaction2.sound import put_sound_view

GOLDEN = Path(__file__).resolve().parents[4] / "shared" / "golden"
STREAMS = {
    "stgcn_joint_2d": ("coco", "joint"),
    "stgcn_bone_2d": ("coco", "bone"),
    "stgcn_joint_motion_2d": ("coco", "joint_motion"),
    "stgcn_bone_motion_2d": ("coco", "bone_motion"),
    "stgcn_joint_3d": ("nturgb+d", "joint"),
    "stgcn_bone_3d": ("nturgb+d", "bone"),
}
SAMPLER = {"type": "UniformSampleFrames", "clip_len": 16}
COMPACT = {"type": "PoseCompact", "hw_ratio": 1.0, "allow_imgpad": True}
CROP = (
    {"type": "RandomResizedCrop", "area_range": [0.5, 1.0]},
    {"type": "Resize", "scale": [56, 56], "keep_ratio": False},
)
SHORT_SIDE = {"type": "Resize", "scale": [-1, 64]}
HEATMAPS = {"type": "GeneratePoseTarget", "sigma": 0.7}
FLIP = {"type": "Flip", "flip_ratio": 0.4, "left_kp": [1], "right_kp": [2]}


def draft_of(pipeline, put=put_pose_view, *, is_training=False):
    owner = Part(Source(Path("config.py"), {"data": {"pipeline": pipeline}}, {}), "data", {"pipeline": pipeline})
    draft = Draft(owner.source)
    put(draft, owner.parts("pipeline"), "view", owner, is_training=is_training)
    return draft


def split_of(pipeline, put=put_pose_view, *, is_training=False):
    draft = draft_of(pipeline, put, is_training=is_training)
    assert not draft.problems
    values = {"source": "a.csv", "batch_size": 1, **from_tree(draft.tree()).values["view"]}
    return (TRAIN_SPLITS if is_training else EVAL_SPLITS).validate(values)


def golden(name):
    if not GOLDEN.is_dir():
        pytest.skip("no ../shared/golden beside the repository")
    return json.loads((GOLDEN / "pose.json").read_text())[name]


@pytest.mark.parametrize("name", STREAMS)
def test_graphs(name):
    recorded = golden(name)
    split = split_of(recorded["pipeline"])
    assert (split.joints, split.stream) == STREAMS[name]
    assert list(split.float_shape()) == recorded["output"]["shape"]


@pytest.mark.parametrize(("name", "draws"), [("posec3d_keypoint", "joints"), ("posec3d_limb", "limbs")])
def test_heatmaps(name, draws):
    recorded = golden(name)
    split = split_of(recorded["pipeline"])
    assert (split.draws, split.sigma, split.resize, split.crop) == (draws, 0.6, 64, 64)
    shown = split.shown(torch.zeros(1, *split.float_shape()))
    assert list(shown.shape[1:]) == recorded["output"]["shape"]


def test_heatmaps_to_train_on():
    split = split_of([SAMPLER, COMPACT, SHORT_SIDE, *CROP, FLIP, HEATMAPS], is_training=True)
    assert (split.kind, split.resize, split.crop, split.flip, split.sigma) == ("heatmap", 64, 56, 0.4, 0.7)
    assert split.box.scale == (0.5, 1.0)
    assert split_of([SAMPLER, COMPACT, SHORT_SIDE, *CROP, HEATMAPS], is_training=True).flip == 0


def test_heatmaps_without_a_crop_and_mirrored():
    square = {"type": "Resize", "scale": [64, 64], "keep_ratio": False}
    steps = [{**SAMPLER, "num_clips": 10, "test_mode": True}, COMPACT, square, {**HEATMAPS, "double": True}]
    split = split_of(steps)
    assert (split.keep_ratio, split.resize, split.crop, split.with_mirrored) == (False, 64, 64, True)


def test_sound():
    steps = [
        {"type": "LoadAudioFeature"},
        {"type": "SampleFrames", "clip_len": 64, "frame_interval": 1, "num_clips": 10, "test_mode": True},
        {"type": "AudioFeatureSelector", "fixed_length": 100},
        {"type": "FormatAudioShape", "input_format": "NCTF"},
    ]
    split = split_of(steps, put_sound_view)
    assert split.kind == "audio"
    assert split.float_shape()[:3] == (10, 1, 100)


@pytest.mark.parametrize(
    ("steps", "told"),
    [
        ([SAMPLER, COMPACT, SHORT_SIDE, *CROP], "lacks GeneratePoseTarget or FormatGCNInput"),
        ([{"type": "GenSkeFeat"}, {"type": "FormatGCNInput"}], "lacks a sampler"),
        ([SAMPLER, {"type": "GenSkeFeat", "feats": ["j", "b"]}, {"type": "FormatGCNInput"}], "feats, got ['j', 'b']"),
        ([SAMPLER, {"type": "GenSkeFeat", "dataset": "mine"}, {"type": "FormatGCNInput"}], "dataset, got 'mine'"),
        ([SAMPLER, {"type": "PoseCompact"}, SHORT_SIDE, *CROP, HEATMAPS], "hw_ratio, missing"),
        ([SAMPLER, COMPACT, SHORT_SIDE, *CROP, {**HEATMAPS, "scaling": 0.25}], "scaling, got 0.25"),
        ([SAMPLER, COMPACT, SHORT_SIDE, *CROP, {**HEATMAPS, "with_limb": True}], "with_limb, got True"),
        ([SAMPLER, {"type": "JointToBone"}, {"type": "FormatGCNInput"}], "'JointToBone' of skeletons has no"),
        ([SAMPLER, {"type": "FormatGCNInput", "mode": "loop"}], "mode, got 'loop'"),
    ],
)  # fmt: skip
def test_what_has_no_translation(steps, told):
    assert any(told in problem for problem in draft_of(steps, is_training=True).problems)


def test_sound_that_has_no_translation():
    assert "lacks SampleFrames" in draft_of([{"type": "AudioFeatureSelector"}], put_sound_view).problems[0]
    assert "'MelSpectrogram' of sound" in draft_of([{"type": "MelSpectrogram"}], put_sound_view).problems[0]
