"""``model`` of a config becomes a recipe's: every key is translated, known to change nothing, or named as an error."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kinoray.errors import ConfigError
from kinoray.mmaction2.models import model_values, translate_model
from kinoray.mmaction2.read import Source
from kinoray.models.kinds import MODELS

SourceOf = Callable[..., Source]

PICTURES = "data_preprocessor=dict(type='ActionDataPreprocessor', mean=[9, 8, 7], std=[3, 2, 1], format_shape='NCTHW')"
SLOWFAST = """dict(type='ResNet3dSlowFast', resample_rate=4, speed_ratio=4,
    slow_pathway=dict(type='resnet3d', depth=50, lateral=True, conv1_kernel=(1, 7, 7), inflate=(0, 0, 1, 1),
                      fusion_kernel=7, lateral_norm=True),
    fast_pathway=dict(type='resnet3d', depth=50, lateral=False, base_channels=8, conv1_kernel=(5, 7, 7)))"""
SLOWONLY = "dict(type='ResNet3dSlowOnly', depth=50, pretrained='torchvision://resnet50', lateral=False)"
POSEC3D = """dict(type='ResNet3dSlowOnly', depth=50, in_channels=17, base_channels=32, num_stages=3, out_indices=(2, ),
    stage_blocks=(4, 6, 3), conv1_stride_s=1, pool1_stride_s=1, inflate=(0, 1, 1), spatial_strides=(2, 2, 2),
    temporal_strides=(1, 1, 2), dilations=(1, 1, 1))"""
I3D = """dict(type='ResNet3d', depth=50, conv1_kernel=(5, 7, 7), conv1_stride_t=2, pool1_stride_t=2,
    inflate=((1, 1, 1), (1, 0, 1, 0), (1, 0, 1, 0, 1, 0), (0, 1, 0)),
    non_local=((0, 0, 0), (0, 1, 0, 1), (0, 1, 0, 1, 0, 1), (0, 0, 0)),
    non_local_cfg=dict(sub_sample=True, use_scale=False, norm_cfg=dict(type='BN3d'), mode='embedded_gaussian'))"""
CSN = "dict(type='ResNet3dCSN', pretrained='ig65m.pth', depth=152, with_pool2=False, norm_eval=True, bn_frozen=True)"
R2PLUS1D = """dict(type='ResNet2Plus1d', depth=34, conv1_kernel=(3, 7, 7), temporal_strides=(1, 2, 2, 2),
    conv_cfg=dict(type='Conv2plus1d'), norm_cfg=dict(type='SyncBN', eps=1e-3))"""
TPN = """dict(type='ResNetTSM', depth=50, out_indices=(2, 3), shift_div=8),
    neck=dict(type='TPN', in_channels=(1024, 2048), out_channels=1024,
        spatial_modulation_cfg=dict(in_channels=(1024, 2048), out_channels=2048),
        temporal_modulation_cfg=dict(downsample_scales=(8, 8)),
        upsample_cfg=dict(scale_factor=(1, 1, 1)), downsample_cfg=dict(downsample_scale=(1, 1, 1)),
        level_fusion_cfg=dict(in_channels=(1024, 1024), mid_channels=(1024, 1024), out_channels=2048,
                              downsample_scales=((1, 1, 1), (1, 1, 1))),
        aux_head_cfg=dict(out_channels=5, loss_weight=0.25))"""
UNIFORMERV2 = """dict(type='UniFormerV2', patch_size=14, width=1024, layers=24, heads=16, t_size=16,
    no_lmhra=False, double_lmhra=True, return_list=[20, 21, 22, 23], n_dim=1024, n_head=16, pretrained='ViT-B/16')"""


def model_of(backbone: str, head: str, more: str = "", recognizer: str = "Recognizer3D") -> str:
    return (
        f"model = dict(type='{recognizer}',\n  backbone={backbone},\n"
        f"  cls_head=dict(type='{head}', num_classes=5, in_channels=1),\n  {more})"
    )


FAMILIES: list[tuple[str, str, dict[str, Any]]] = [
    (
        "dict(type='ResNet', depth=101, partial_bn=True)",
        "TRNHead",
        {"kind": "trn", "backbone": "resnet101", "partial_bn": True, "num_frames": 8, "dropout": 0.8},
    ),
    ("dict(type='ResNet', depth=18)", "TSNHead", {"kind": "tsn", "backbone": "resnet18", "dropout": 0.4}),
    ("dict(type='mmpretrain.MobileOne', arch='s0')", "TSNHead", {"kind": "tsn", "backbone": "mobileone_s0"}),
    ("dict(type='MobileOneTSM', arch='s4', deploy=True)", "TSMHead", {"backbone": "mobileone_s4_merged"}),
    (
        "dict(type='torchvision.densenet161', pretrained=True)",
        "TSNHead",
        {"kind": "tsn", "backbone": "torchvision:densenet161", "pretrained": "torchvision://densenet161"},
    ),
    ("dict(type='timm.convnext_atto', feature_shape='NCHW')", "TSNHead", {"backbone": "timm:convnext_atto"}),
    ("dict(type='mmcls.ResNeXt', depth=101)", "TSNHead", {"backbone": "timm:resnext101_32x4d"}),
    ("dict(type='ResNetTSM', depth=50, num_segments=16)", "TSMHead", {"kind": "tsm", "num_frames": 16}),
    ("dict(type='MobileNetV2TSM')", "TSMHead", {"kind": "tsm", "backbone": "mobilenet_v2"}),
    ("dict(type='ResNetTIN', depth=50, shift_div=4)", "TSMHead", {"kind": "tin", "shift_div": 4}),
    ("dict(type='TANet', depth=50, num_segments=8)", "TSMHead", {"kind": "tanet", "num_frames": 8}),
    (TPN, "TPNHead", {"kind": "tpn", "backbone": "tsm", "neck_width": 1024, "auxiliary_weight": 0.25}),
    ("dict(type='C2D', depth=50)", "I3DHead", {"kind": "c2d", "backbone": "resnet50"}),
    (I3D, "I3DHead", {"kind": "i3d", "inflate": "alternate", "non_local": "embedded_gaussian"}),
    (SLOWONLY, "I3DHead", {"kind": "slowonly", "pretrained": "torchvision://resnet50", "dropout": 0.5}),
    (SLOWFAST, "SlowFastHead", {"kind": "slowfast", "speed_ratio": 4, "fusion_kernel": 7, "fusion_norm": True}),
    (R2PLUS1D, "I3DHead", {"kind": "r2plus1d", "depth": 34}),
    (CSN, "I3DHead", {"kind": "csn", "depth": 152, "interactions": "reduced"}),
    ("dict(type='X3D', gamma_d=2.2)", "X3DHead", {"kind": "x3d", "bottleneck_factor": 1.0, "depth_factor": 2.2}),
    (
        "dict(type='TimeSformer', num_frames=8, img_size=224, patch_size=16, attention_type='joint_space_time')",
        "TimeSformerHead",
        {"kind": "timesformer", "attention": "joint", "drop_path": 0.1},
    ),
    ("dict(type='VisionTransformer', embed_dims=384, num_heads=6)", "TimeSformerHead", {"kind": "videomae"}),
    ("dict(type='MViT', arch='large', temporal_size=40)", "MViTHead", {"kind": "mvit", "stage_starts": [2, 8, 44]}),
    ("dict(type='SwinTransformer3D', arch='b')", "I3DHead", {"kind": "video_swin", "width": 128}),
    ("dict(type='UniFormer', depth=[3, 4, 8, 3])", "I3DHead", {"kind": "uniformer", "num_blocks": [3, 4, 8, 3]}),
    (UNIFORMERV2, "TimeSformerHead", {"kind": "uniformerv2", "num_local": 2, "pretrained": "ViT-B/16"}),
]


@pytest.mark.parametrize(("backbone", "head", "expected"), FAMILIES, ids=[family[0][5:40] for family in FAMILIES])
def test_families(source_of: SourceOf, backbone: str, head: str, expected: dict[str, Any]) -> None:
    frames = head in {"TSNHead", "TRNHead", "TSMHead", "TPNHead"}
    text = model_of(backbone, head, PICTURES, "Recognizer2D" if frames else "Recognizer3D")
    values = model_values(source_of(text))
    assert values.items() >= {**expected, "num_classes": 5, "mean": [9, 8, 7], "std": [3, 2, 1]}.items()
    assert MODELS.validate(values).model_dump(mode="json").items() >= values.items()


@pytest.mark.parametrize(
    ("recognizer", "backbone", "head", "expected"),
    [
        ("Recognizer3D", POSEC3D, "I3DHead", {"kind": "posec3d", "in_channels": 17, "num_blocks": [4, 6, 3]}),
        (
            "RecognizerGCN",
            "dict(type='STGCN', graph_cfg=dict(layout='coco', mode='stgcn_spatial'))",
            "GCNHead",
            {"kind": "stgcn", "partition": "stgcn_spatial", "adaptive": "importance"},
        ),
        (
            "RecognizerGCN",
            "dict(type='STGCN', gcn_adaptive='init', gcn_with_res=True, tcn_type='mstcn', graph_cfg=dict())",
            "GCNHead",
            {"kind": "stgcnpp", "adaptive": "free", "joint_residual": True},
        ),
        (
            "RecognizerGCN",
            "dict(type='AAGCN', graph_cfg=dict(layout='nturgb+d', mode='spatial'), gcn_attention=False)",
            "GCNHead",
            {"kind": "agcn", "layout": "nturgb+d", "attention": False},
        ),
        (
            "RecognizerAudio",
            "dict(type='ResNet', depth=18, in_channels=1)",
            "TSNAudioHead",
            {"kind": "audio_tsn", "backbone": "resnet18", "dropout": 0.4},
        ),
        (
            "RecognizerAudio",
            "dict(type='ResNetAudio', depth=50)",
            "TSNAudioHead",
            {"kind": "audio_resnet", "depth": 50},
        ),
    ],
)
def test_views_of_floats(
    source_of: SourceOf, recognizer: str, backbone: str, head: str, expected: dict[str, Any]
) -> None:
    values = model_values(source_of(model_of(backbone, head, recognizer=recognizer)))
    assert values.items() >= expected.items()
    MODELS.validate(values)
    with pytest.raises(ConfigError, match=r"data_preprocessor\.mean, got \[9, 8, 7\]; it should be left out"):
        model_values(source_of(model_of(backbone, head, PICTURES, recognizer)))


def test_a_c3d_and_an_omnisource(source_of: SourceOf) -> None:
    head = "dict(type='I3DHead', num_classes=5, in_channels=4096, spatial_type=None)"
    text = f"model = dict(type='Recognizer3D', backbone=dict(type='C3D', pretrained='s.pth'), cls_head={head})"
    translated = translate_model(source_of(text))
    assert translated.values["kind"] == "c3d"
    assert translated.training == {"init_from": "s.pth"}
    head = "dict(type='OmniHead', image_classes=9, video_classes=5, in_channels=2048)"
    text = f"model = dict(type='RecognizerOmni', backbone=dict(type='OmniResNet'), cls_head={head})"
    translated = translate_model(source_of(text))
    assert translated.values["kind"] == "omnisource"
    assert translated.values["num_classes"] == 5
    assert "classifier of pictures is left out" in translated.notes[0]


def test_pictures_that_are_not_normalized_are_taken_as_they_are(source_of: SourceOf) -> None:
    values = model_values(source_of(model_of("dict(type='ResNet', depth=50, in_channels=10)", "TSNHead")))
    assert (values["mean"], values["std"]) == ([0.0] * 10, [1.0] * 10)


def test_what_a_network_says_of_training(source_of: SourceOf) -> None:
    assert translate_model(source_of(model_of(CSN, "I3DHead"))).training == {
        "init_from": "ig65m.pth",
        "freeze": [r"\.bn\."],
    }
    assert translate_model(source_of(model_of(R2PLUS1D, "I3DHead"))).training == {"sync_batch_norm": True}
    saving = SLOWONLY.replace("lateral=False", "with_cp=True")
    assert translate_model(source_of(model_of(saving, "I3DHead"))).training == {"activation_checkpointing": True}


def test_weights_of_a_start(source_of: SourceOf) -> None:
    init = "init_cfg=dict(type='Pretrained', checkpoint='s0.pth', prefix='backbone')"
    assert model_values(source_of(model_of(f"dict(type='MobileOneTSM', arch='s0', {init})", "TSMHead")))[
        "pretrained"
    ] == ("s0.pth")
    short = model_of("dict(type='MobileNetV2TSM', pretrained='mmcls://mobilenet_v2')", "TSMHead")
    assert model_values(source_of(short))["pretrained"].endswith("mobilenet_v2_batch256_imagenet_20200708-3b2dc3af.pth")


def test_rows_of_a_larger_head_come_from_their_file(source_of: SourceOf, tmp_path: Path) -> None:
    head = "dict(type='UniFormerHead', num_classes=2, in_channels=1, channel_map='maps/two.json')"
    text = f"model = dict(type='Recognizer3D', backbone=dict(type='UniFormerV2'), cls_head={head})"
    absent = translate_model(source_of(text))
    assert absent.values["head_rows"] is None
    assert "no file maps/two.json" in absent.notes[0]
    (tmp_path / "maps").mkdir()
    (tmp_path / "maps" / "two.json").write_text(json.dumps([4, 1]))
    assert model_values(source_of(text))["head_rows"] == [4, 1]
    (tmp_path / "maps" / "two.json").write_text("[4.5")
    with pytest.raises(ConfigError, match=r"two\.json: should hold a list of whole numbers"):
        model_values(source_of(text))


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("lateral=False", "lateral=True", r":2: model\.backbone\.lateral, got True; it should be False"),
        ("lateral=False", "widht=3", r":2: model\.backbone\.widht, got 3; it has no translation"),
        ("depth=50", "depth=51", r":2: model\.backbone\.depth, got 51; it should be 18 or 34 or 50"),
        ("lateral=False", "with_pool2=True", r"with_pool2, got True; it should be False"),
        ("lateral=False", "norm_eval=True", r"norm_eval, got True; it should be False"),
        ("lateral=False", "norm_cfg=dict(type='GN')", r"norm_cfg\.type, got 'GN'; it should be 'BN' or"),
        ("lateral=False", "non_local=(0, 1, 0, 0), non_local_cfg=dict(mode='gaussian')", r"backbone\.non_local, got"),
        ("lateral=False", "pretrained=3", r"backbone\.pretrained, got 3; it should be a file"),
        ("'ResNet3dSlowOnly'", "'ResNet3dSlowOnley'", r"type, got .* \(did you mean 'ResNet3dSlowOnly'\?\)"),
        ("I3DHead", "FeatureHead", r":3: model\.cls_head\.type, got 'FeatureHead'; it should be I3DHead or TPNHead"),
        ("num_classes=5, ", "", r":3: model\.cls_head: missing 'num_classes'"),
        ("num_classes=5", "num_classes=5, spatial_type='max'", r"spatial_type, got 'max'; it should be 'avg'"),
        ("Recognizer3D", "FastRCNN", r":1: model\.type, got 'FastRCNN'; it should be Recognizer2D or"),
        ("std=[3, 2, 1]", "std=[3, 2, 1], to_rgb=True", r":4: model\.data_preprocessor\.to_rgb, got True"),
        ("mean=[9, 8, 7]", "mean=[9, 8]", r"in_channels, missing, which means 3; it should be 2"),
        (
            "format_shape='NCTHW')",
            "format_shape='NCTHW'), neck=dict()",
            r":4: model\.neck, got {}; it has no translation",
        ),
    ],
)
def test_what_has_no_translation_is_told_with_its_line(source_of: SourceOf, old: str, new: str, told: str) -> None:
    text = model_of(SLOWONLY, "I3DHead", PICTURES)
    assert old in text
    where = "" if told.startswith(":") else ":[0-9]: .*"
    with pytest.raises(ConfigError, match=rf"small_2xb4_kinetics\.py{where}{told}"):
        model_values(source_of(text.replace(old, new)))


def test_a_default_that_is_another_network_is_told(source_of: SourceOf) -> None:
    text = model_of("dict(type='ResNet3d', depth=50)", "I3DHead")
    with pytest.raises(ConfigError, match=r"conv1_kernel, missing, which means \(3, 7, 7\); it should be \(5, 7, 7\)"):
        model_values(source_of(text))


@pytest.mark.parametrize(
    "more",
    [
        "data = dict(videos_per_gpu=8, train=dict(type='VideoDataset'))",
        "total_epochs = 50",
        "model['test_cfg'] = dict(average_clips='prob')",
    ],
)
def test_configs_of_0x_are_told_apart(source_of: SourceOf, more: str) -> None:
    text = model_of(SLOWONLY, "I3DHead")
    with pytest.raises(ConfigError, match=r"a config of MMAction2 0\.x, got .*; give the config of the same name"):
        model_values(source_of(f"{text}\n{more}"))


def test_a_config_without_a_model(source_of: SourceOf) -> None:
    with pytest.raises(ConfigError, match="no model"):
        model_values(source_of("lr = 1"))
    with pytest.raises(ConfigError, match=r"model: missing 'cls_head'"):
        model_values(source_of("model = dict(type='Recognizer2D', backbone=dict(type='ResNet'))"))


def test_translating_imports_no_torch() -> None:
    code = "import sys, kinoray.mmaction2.models, kinoray.mmaction2.read; sys.exit('torch' in sys.modules)"
    path = str(Path(__file__).resolve().parents[3] / "platform")
    subprocess.run([sys.executable, "-c", code], env={"PYTHONPATH": path}, check=True)
