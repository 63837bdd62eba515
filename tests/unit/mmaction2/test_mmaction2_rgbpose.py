"""RGBPoseConv3D's model from MMAction2's config."""

from collections.abc import Callable

import pytest

from kinoray.errors import ConfigError
from kinoray.mmaction2.models import model_values
from kinoray.mmaction2.read import Source
from kinoray.models.kinds import MODELS

TEXT = """
model = dict(
    type='MMRecognizer3D',
    backbone=dict(
        type='RGBPoseConv3D', speed_ratio=4, channel_ratio=4,
        rgb_pathway=dict(
            lateral=True, lateral_infl=1, lateral_activate=[0, 0, 1, 1], fusion_kernel=7, base_channels=32,
            conv1_kernel=(1, 7, 7), inflate=(0, 0, 1, 1), with_pool2=False),
        pose_pathway=dict(
            num_stages=3, stage_blocks=(4, 6, 3), lateral=True, lateral_inv=True, lateral_infl=16,
            lateral_activate=[0, 1, 1], fusion_kernel=7, in_channels=18, base_channels=16, out_indices=(2,),
            conv1_kernel=(1, 7, 7), conv1_stride_s=1, pool1_stride_s=1, inflate=(0, 1, 1),
            spatial_strides=(2, 2, 2), temporal_strides=(1, 1, 1), dilations=(1, 1, 1))),
    cls_head=dict(
        type='RGBPoseHead', num_classes=5, in_channels=[1024, 256], dropout=0.25,
        loss_components=['rgb', 'pose'], loss_weights=[1., 1.], average_clips='prob'),
    data_preprocessor=dict(
        type='MultiModalDataPreprocessor',
        preprocessors=dict(
            imgs=dict(type='ActionDataPreprocessor', mean=[9, 8, 7], std=[3, 2, 1], format_shape='NCTHW'),
            heatmap_imgs=dict(type='ActionDataPreprocessor'))))
"""


def test_it_is_translated(source_of: Callable[..., Source]) -> None:
    values = model_values(source_of(TEXT))
    assert values == {
        "kind": "rgbpose_conv3d",
        "num_classes": 5,
        "mean": [9, 8, 7],
        "std": [3, 2, 1],
        "depth": 50,
        "width": 32,
        "num_joints": 18,
        "pose_width": 16,
        "pose_blocks": [4, 6, 3],
        "speed_ratio": 4,
        "fusion_kernel": 7,
        "dropout": 0.25,
    }
    assert MODELS.validate(values).model_dump(mode="json").items() >= values.items()


@pytest.mark.parametrize(
    ("there", "instead", "what"),
    [
        ("base_channels=16", "base_channels=32", r"pose_pathway\.base_channels, got 32; it should be 16"),
        ("lateral_infl=16", "lateral_infl=8", r"pose_pathway\.lateral_infl, got 8; it should be 16"),
        ("lateral_infl=1,", "", r"rgb_pathway\.lateral_infl, missing, which means 2; it should be 1"),
        ("channel_ratio=4", "channel_ratio=4, rgb_detach=True", r"backbone\.rgb_detach, got True; it should be False"),
        ("loss_weights=[1., 1.]", "loss_weights=[1., 2.]", r"loss_weights, got \[1\.0, 2\.0\]; it should be 1\.0"),
        ("dropout=0.25", "dropout=dict(rgb=0.5, pose=0.1)", r"cls_head\.dropout, got .*it should be one number"),
        ("'prob'", "'score'", r"cls_head\.average_clips, got 'score'; it should be 'prob'"),
        (
            "imgs=dict(type='ActionDataPreprocessor')",
            "imgs=dict(mean=[1], std=[1])",
            r"heatmap_imgs\.mean, got \[1\]; it should be left out",
        ),
        ("pose_pathway=", "other_pathway=", r"pose_pathway, missing, which means None; it should be given"),
    ],
)
def test_what_has_no_translation(source_of: Callable[..., Source], there: str, instead: str, what: str) -> None:
    assert there in TEXT
    with pytest.raises(ConfigError, match=what):
        model_values(source_of(TEXT.replace(there, instead)))
