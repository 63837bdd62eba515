"""A config of MMAction2 comes in, and every job takes what comes out, or the config itself."""

import pytest

CONFIG = """
model = dict(
    type='Recognizer2D',
    backbone=dict(type='ResNet', depth=18, norm_eval=False),
    cls_head=dict(type='TSNHead', num_classes=3, in_channels=512, average_clips='prob'))
pipeline = [
    dict(type='SampleFrames', clip_len=1, num_clips=2),
    dict(type='Resize', scale=(-1, 64)),
    dict(type='RandomCrop', size=56),
    dict(type='Flip', flip_ratio=0.5),
]
train_dataloader = dict(
    batch_size=4, dataset=dict(type='VideoDataset', ann_file='train.txt', pipeline=pipeline))
optim_wrapper = dict(optimizer=dict(type='SGD', lr=0.1, momentum=0.9))
train_cfg = dict(max_epochs=3)
"""

LR_LINE = CONFIG[: CONFIG.index("optim_wrapper")].count("\n") + 1


@pytest.fixture
def config(tmp_path):
    path = tmp_path / "net_2xb4.py"
    path.write_text(CONFIG)
    return path


def test_a_config_is_imported(call_job, config, tmp_path):
    done = call_job("import_mmaction2.py", str(config), "-o", "out")
    assert done.returncode == 0, done.stderr
    assert "optim_wrapper.optimizer.lr" in done.stdout
    assert f"net_2xb4.py:{LR_LINE} " in done.stdout
    assert "lr: 0.1" in (tmp_path / "out/net_2xb4.yaml").read_text()


def test_a_config_is_taken_for_a_recipe(call_job, config):
    done = call_job("train.py", str(config), "--set", "optimizer.lr=0.2", "--print-recipe")
    assert done.returncode == 0, done.stderr
    assert "batch_size: 8 " in done.stdout
    assert f"net_2xb4.py:{LR_LINE}\n" in done.stdout
    assert "--set optimizer.lr=0.2" in done.stdout


def test_what_has_no_translation_ends_it(call_job, config, tmp_path):
    config.write_text(CONFIG.replace("SGD", "Lion").replace("RandomCrop", "MyCrop"))
    done = call_job("import_mmaction2.py", str(config), "-o", "out")
    assert done.returncode == 2
    assert "3 problems" in done.stderr
    assert "Traceback" not in done.stderr
    assert "'Lion'" in done.stderr
    assert "'MyCrop'" in done.stderr
    assert "lacks a crop" in done.stderr
    assert not (tmp_path / "out").exists()
