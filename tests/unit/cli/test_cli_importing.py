"""What an import writes, and what it says of every key."""

import argparse
import io
import os

import pytest
import torch
from rich.console import Console

from kinoray.cli.importing import CHECKPOINT, convert_weights, importing_parser, show_import, translated, write_recipe
from kinoray.errors import CheckpointError, ConfigError
from kinoray.models.kinds import MODELS
from kinoray.recipe import Recipe
from kinoray.recognizer import load_recognizer

CONFIG = """
model = dict(
    type='Recognizer2D',
    backbone=dict(type='ResNet', depth=18, norm_eval=False),
    cls_head=dict(type='TSNHead', num_classes=3, in_channels=512, average_clips='prob'))
test_dataloader = dict(
    num_workers=1,
    dataset=dict(
        type='VideoDataset',
        ann_file='test.txt',
        data_prefix=dict(video='videos'),
        pipeline=[
            dict(type='SampleFrames', clip_len=1, num_clips=2, test_mode=True),
            dict(type='Resize', scale=(-1, 64)),
            dict(type='CenterCrop', crop_size=64),
        ]))
"""


@pytest.fixture
def arguments(tmp_path):
    config = tmp_path / "small.py"
    config.write_text(CONFIG)

    def parse(*more: str) -> argparse.Namespace:
        return importing_parser("").parse_args([str(config), "-o", str(tmp_path / "out"), *more])

    return parse


def written(given, tmp_path):
    translation, recipe = translated(given)
    return translation, recipe, write_recipe(translation, recipe, tmp_path / "small.py", tmp_path / "out")


def test_the_recipe_that_is_written_is_the_config(arguments, tmp_path):
    _, recipe, file = written(arguments("--data-root", "/data", "--set", "data.test.batch_size=4"), tmp_path)
    assert (
        Recipe.load(file)
        == recipe
        == Recipe.load(tmp_path / "small.py", ["data.test.batch_size=4"]).replace(
            {"data.test.source.path": "/data/test.txt", "data.test.source.root": "/data/videos"}
        )
    )
    text = file.read_text()
    assert text.startswith("# small.py of MMAction2")
    lines = {line.split(":")[0].strip(): line for line in text.splitlines()}
    assert lines["path"].endswith("# test_dataloader.dataset.ann_file")
    assert lines["resize"].endswith("# test_dataloader.dataset.pipeline.1(Resize).scale")
    assert lines["lr"].endswith("# made up")
    assert lines["batch_size"].endswith("# --set data.test.batch_size=4")
    assert "#   config: made up, as the config only tests" in text


def test_every_key_is_told(arguments, tmp_path):
    translation, _, file = written(arguments(), tmp_path)
    console = Console(width=400, file=io.StringIO())
    show_import(console, translation, [("recipe", str(file))])
    told = console.file.getvalue()
    assert "data.test.crop: 64" in told
    assert "test_dataloader.num_workers" in told
    assert str(file) in told


def test_weights_become_a_checkpoint(arguments, tmp_path):
    _, recipe = translated(arguments())
    weights = recipe.model.build().state_dict()
    torch.save({"state_dict": weights, "meta": {}}, tmp_path / "x.pth")
    report = convert_weights(recipe, str(tmp_path / "x.pth"), tmp_path / "out")
    assert len(report.loaded) == len(weights)
    recognizer = load_recognizer(tmp_path / "out" / CHECKPOINT, split="test")
    assert recognizer.classes == ("0", "1", "2")
    found = recognizer.model.state_dict()
    assert all(torch.equal(value, found[key]) for key, value in weights.items())


def test_weights_of_other_classes_are_refused(arguments, tmp_path):
    _, recipe = translated(arguments())
    other = recipe.replace({"model.num_classes": 4}).model.build()
    torch.save(other.state_dict(), tmp_path / "x.pth")
    with pytest.raises(CheckpointError, match="another number of classes"):
        convert_weights(recipe, str(tmp_path / "x.pth"), tmp_path / "out")
    assert not (tmp_path / "out").exists()


class MakesFolder:
    """A pickle that makes a folder when it is read."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return os.mkdir, (self.path,)


def harmful(path, weights, folder):
    torch.save({"state_dict": weights, "meta": MakesFolder(folder)}, path)


def cut_off(path, weights, folder):
    torch.save({"state_dict": weights}, path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def of_another_network(path, weights, folder):
    model = MODELS.validate({"kind": "x3d", "num_classes": 3}).build()
    torch.save({"state_dict": model.state_dict()}, path)


def of_a_larger_one(path, weights, folder):
    model = MODELS.validate({"kind": "tsn", "backbone": "resnet34", "num_classes": 3}).build()
    torch.save({"state_dict": model.state_dict()}, path)


@pytest.mark.parametrize(
    ("write", "told"),
    [
        (
            harmful,
            r"x\.pth: not read, because it holds more than tensors and would run code, got \w+\.mkdir; save only",
        ),
        (cut_off, r"x\.pth: damaged or unreadable, got .*; copy or download it again"),
        (
            of_another_network,
            r"x\.pth: weights do not fit TSN, got \d+ keys missing: .*; \d+ keys unexpected: .* family",
        ),
        (of_a_larger_one, r"x\.pth: weights do not fit TSN, got \d+ keys unexpected: backbone\.\S+, .*another family"),
    ],
)
def test_weights_that_are_none_of_this_network_are_refused(arguments, tmp_path, write, told):
    _, recipe = translated(arguments())
    write(tmp_path / "x.pth", recipe.model.build().state_dict(), tmp_path / "made")
    with pytest.raises(CheckpointError, match=told) as refused:
        convert_weights(recipe, str(tmp_path / "x.pth"), tmp_path / "out")
    assert str(refused.value).startswith(str(tmp_path / "x.pth"))
    assert not (tmp_path / "made").exists()
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("'ResNet'", "'ResNext'", r"small\.py:4: model\.backbone\.type, got 'ResNext'; .*did you mean 'ResNeXt'"),
        ("norm_eval", "norm_evil", r"small\.py:4: model\.backbone\.norm_evil, got False; it has no translation"),
        (
            "'Resize'",
            "'Shrink'",
            r"small\.py:\d+: test_dataloader\.dataset\.pipeline\.1: the transform 'Shrink' has no",
        ),
        ("'VideoDataset'", "'MyDataset'", r"small\.py:\d+: test_dataloader\.dataset: the data set 'MyDataset' has no"),
    ],
)
def test_what_has_no_translation_is_named_with_its_line(arguments, tmp_path, old, new, told):
    (tmp_path / "small.py").write_text(CONFIG.replace(old, new))
    with pytest.raises(ConfigError, match=told):
        translated(arguments())


def test_no_gpus_at_all(arguments):
    with pytest.raises(ConfigError, match=r"--gpus: a number of GPUs, got 0"):
        translated(arguments("--gpus", "0"))
