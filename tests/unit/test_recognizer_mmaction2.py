"""Two lines for a user of MMAction2: their config and checkpoint, and a video in one of many forms."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from kinoray import load_recognizer
from kinoray.errors import CheckpointError, ConfigError, DataError
from kinoray.mmaction2.models import model_values
from kinoray.mmaction2.read import read_config
from kinoray.models.base import Recognizer
from kinoray.models.kinds import MODELS
from kinoray.video.open import open_video

MODEL = """
model = dict(
    type='Recognizer3D',
    backbone=dict(type='X3D', gamma_w=0.3, gamma_b=2, gamma_d=0.2),
    cls_head=dict(type='X3DHead', num_classes=3, in_channels=1, average_clips='score'),
    data_preprocessor=dict(type='ActionDataPreprocessor', mean=[120, 110, 100], std=[60, 50, 40]))
"""
VIEWS = """
test_pipeline = [
    dict(type='SampleFrames', clip_len=4, frame_interval=2, num_clips=2, test_mode=True),
    dict(type='Resize', scale=(-1, 32)),
    dict(type='ThreeCrop', crop_size=32),
    dict(type='FormatShape', input_format='NCTHW')]
test_dataloader = dict(
    batch_size=1,
    dataset=dict(type='RepeatDataset', times=1, dataset=dict(type='VideoDataset', pipeline=test_pipeline)))
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "x3d.py"
    path.write_text(MODEL + VIEWS)
    return path


@pytest.fixture
def trained(config: Path) -> Recognizer:
    torch.manual_seed(0)
    model = MODELS.validate(model_values(read_config(config))).build().eval()
    assert isinstance(model, Recognizer)
    for weights in model.head().parameters():
        torch.nn.init.normal_(weights)
    return model


@pytest.fixture
def checkpoint(trained: Recognizer, tmp_path: Path) -> Path:
    path = tmp_path / "x3d.pth"
    torch.save({"meta": {"epoch": 3}, "state_dict": trained.state_dict()}, path)
    return path


@pytest.fixture(scope="module")
def video(toy_videos: Path) -> Path:
    return toy_videos / "val-rising-0.mp4"


def test_a_config_that_holds_nothing_but_a_model(config: Path, checkpoint: Path, trained: Recognizer) -> None:
    config.write_text(MODEL)
    recognizer = load_recognizer(config, checkpoint)
    clips = torch.randint(0, 256, (1, 2, 3, 4, 32, 32), dtype=torch.uint8)
    with torch.inference_mode():
        assert torch.equal(recognizer(clips), trained(clips))
    assert recognizer.classes == ("0", "1", "2")
    assert recognizer.recipe is None
    with pytest.raises(ConfigError, match="val_dataloader: missing, so how to look at a video is not known"):
        recognizer.recognize(b"")


def test_views_and_averages_are_those_of_the_config(
    config: Path, checkpoint: Path, trained: Recognizer, video: Path
) -> None:
    recognizer = load_recognizer(config, checkpoint)  # has no val_dataloader; that of the test stands in
    view = recognizer.view
    assert (view.crop, view.num_crops, view.sampling.shape(is_training=False)) == (32, 3, (2, 4))
    with open_video(str(video)) as opened:
        clips = torch.from_numpy(view.read(opened, range(opened.num_frames)).clip)
    with torch.inference_mode():
        logits = trained(clips.permute(0, 4, 1, 2, 3)[None])
    assert logits.std(dim=1).min() > 1e-3
    np.testing.assert_allclose(recognizer.recognize(video).scores, logits.mean(dim=1)[0].numpy(), atol=1e-5)


def test_a_file_its_bytes_its_frames_and_a_folder_of_them(
    config: Path, checkpoint: Path, video: Path, tmp_path: Path
) -> None:
    recognizer = load_recognizer(config, checkpoint)
    with open_video(str(video)) as opened:
        frames = opened.read(range(opened.num_frames)).data
    expected = recognizer.recognize(video).scores
    assert np.array_equal(recognizer.recognize(video.read_bytes()).scores, expected)
    np.testing.assert_allclose(recognizer.recognize(frames).scores, expected, atol=1e-5)
    (tmp_path / "frames").mkdir()
    for number, frame in enumerate(frames):
        Image.fromarray(frame).save(tmp_path / "frames" / f"img_{number:05d}.png")
    assert np.array_equal(recognizer.recognize(tmp_path / "frames").scores, recognizer.recognize(frames).scores)
    with pytest.raises(DataError, match=r"it should be uint8 \(T, H, W, 3\)"):
        recognizer.recognize(frames[0])


def test_several_labels_are_scored_each_on_its_own(config: Path, checkpoint: Path, video: Path) -> None:
    text = MODEL.replace("average_clips='score'", "multi_class=True, average_clips='prob', loss_cls=dict(type=LOSS)")
    config.write_text(f"LOSS = 'BCELossWithLogits'{text}{VIEWS}")
    scores = load_recognizer(config, checkpoint).recognize(video).scores
    assert abs(scores.sum() - 1) > 0.01
    assert ((scores > 0) & (scores < 1)).all()


def test_a_label_map_names_the_classes(config: Path, checkpoint: Path, video: Path, tmp_path: Path) -> None:
    labels = tmp_path / "label_map.txt"
    labels.write_text("abseiling\nair drumming\nanswering questions\n")
    recognizer = load_recognizer(config, checkpoint, labels=labels)
    assert {name for name, _ in recognizer.recognize(video).top(3)} == set(labels.read_text().splitlines())
    labels.write_text("1 abseiling\n2 air drumming\n3 answering questions\n")
    assert load_recognizer(config, checkpoint, labels=labels).classes == recognizer.classes
    labels.write_text("abseiling\n")
    with pytest.raises(DataError, match="names 1 classes, the model scores 3"):
        load_recognizer(config, checkpoint, labels=labels)


def test_a_pipeline_without_translation_is_told_when_it_is_needed(config: Path, checkpoint: Path) -> None:
    config.write_text(MODEL + VIEWS.replace("'ThreeCrop'", "'MyCrop'"))
    recognizer = load_recognizer(config, checkpoint)
    assert recognizer(torch.zeros(1, 1, 3, 4, 32, 32)).shape == (1, 1, 3)
    with pytest.raises(ConfigError, match=r"x3d\.py:[0-9]+: .*MyCrop"):
        recognizer.recognize(b"")


def test_what_does_not_fit_is_told(config: Path, checkpoint: Path) -> None:
    config.write_text(MODEL.replace("num_classes=3", "num_classes=4"))
    with pytest.raises(CheckpointError, match=r"another number of classes than model\.num_classes \(4\) of .*x3d\.py"):
        load_recognizer(config, checkpoint)
    config.write_text(MODEL.replace("gamma_d=0.2", "gamma_d=2"))
    with pytest.raises(CheckpointError, match=r"weights do not fit X3D, got .* missing"):
        load_recognizer(config, checkpoint)
    config.write_text(MODEL.replace("gamma_d=0.2", "gamma_e=2"))
    with pytest.raises(ConfigError, match=r"x3d\.py:4: model\.backbone\.gamma_e, got 2; it has no translation"):
        load_recognizer(config, checkpoint)
    config.write_text(MODEL.replace("gamma_d=0.2", "gamma_d=-1"))
    with pytest.raises(ConfigError, match=r"model\.depth_factor: should be greater than 0, got -1  \[.*x3d\.py"):
        load_recognizer(config, checkpoint)
