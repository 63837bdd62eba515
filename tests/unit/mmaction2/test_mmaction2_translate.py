"""A whole config becomes a recipe: what is in it, who set it, and what is said where there is no translation."""

import subprocess
import sys
from pathlib import Path

import pytest
from mmaction2_small import CONFIG, DATA, MODEL

from kinoray.errors import ConfigError, DataError
from kinoray.mmaction2.loaders import Options
from kinoray.mmaction2.translate import translate_config
from kinoray.recipe import Recipe


def test_a_config_is_a_recipe(config_file):
    recipe = Recipe.load(config_file(CONFIG))
    assert recipe.name == "small_2xb4_kinetics"
    assert recipe.model.num_classes == 5
    assert recipe.model.mean == (120, 110, 100)
    train, val = recipe.data.train, recipe.data.val
    assert train.source.model_dump() == {
        "kind": "video_list",
        "path": "lists/train.txt",
        "root": "videos",
        "delimiter": None,
    }
    assert train.batch_size == 8
    assert train.sampling.shape(is_training=True) == (1, 3)
    assert (train.crop, train.flip, train.box.kind) == (224, 0.5, "random_resized")
    assert (val.resize, val.crop, val.num_crops, val.batch_size) == (256, 224, 1, 2)
    assert (recipe.optimizer.kind, recipe.optimizer.lr, recipe.optimizer.weight_decay) == ("sgd", 0.01, 1e-4)
    assert [schedule.milestones for schedule in recipe.schedule] == [(4, 8)]
    assert (recipe.training.epochs, recipe.training.clip_grad_norm, recipe.training.log_every_steps) == (10, 40, 20)
    assert (recipe.evaluation.every_epochs, recipe.evaluation.monitor) == (2, "top1")
    assert recipe.evaluation.average == "score"  # TSNHead averages the crops' frames before the softmax


def test_its_yaml_is_the_same_recipe(config_file, tmp_path):
    recipe = Recipe.load(config_file(CONFIG))
    (tmp_path / "written.yaml").write_text(recipe.yaml())
    assert Recipe.load(tmp_path / "written.yaml") == recipe


def test_every_value_knows_its_line(config_file):
    text = CONFIG.replace("lr=0.01", "lr=-0.01")
    line = text[: text.index("lr=-0.01")].count("\n") + 1
    with pytest.raises(ConfigError, match=rf"optimizer.lr: should be greater than 0.*small_2xb4_kinetics\.py:{line}\]"):
        Recipe.load(config_file(text))


def test_overrides_are_laid_over_it(config_file):
    recipe = Recipe.load(config_file(CONFIG), ["optimizer.lr=0.5", "data.train.sampling.num_segments=4"])
    assert recipe.optimizer.lr == 0.5
    assert recipe.data.train.sampling.shape(is_training=True) == (1, 4)
    assert "--set optimizer.lr=0.5" in recipe.describe()


def test_all_problems_are_told_at_once_with_key_and_line(config_file):
    text = CONFIG.replace("dict(type='RandomResizedCrop')", "dict(type='ImgAug', transforms='default')")
    text = text.replace("type='SGD'", "type='Lion'").replace("type='MultiStepLR'", "type='CosineRestartLR'")
    text = text.replace("type='AccMetric'", "type='AVAMetric'").replace("max_norm=40", "max_norm=40, max_value=1")
    with pytest.raises(ConfigError) as error:
        Recipe.load(config_file(text))
    told = str(error.value)
    assert "MMAction2's config" in told
    for needle in ("'ImgAug' has no translation", "'Lion'", "'CosineRestartLR'", "'AVAMetric'", "clip_grad.max_value"):
        line = next(line for line in told.splitlines() if needle in line)
        assert "small_2xb4_kinetics.py:" in line


def test_what_the_user_sets_needs_no_translation(config_file):
    path = config_file(CONFIG.replace("type='SGD'", "type='Lion'").replace("'VideoDataset'", "'VideoTextDataset'"))
    sets = ["optimizer={kind: adamw, lr: 0.1}", "data.train.source=a.csv", "data.val.source=b.csv"]
    with pytest.raises(ConfigError, match="'Lion'"):
        Recipe.load(path, sets[1:])
    # Without a data set that is known there is no pipeline either, so the views have to be set as well.
    views = ["data.train.sampling={num_segments: 3, kind: segments}", "data.train.crop=64"]
    views += ["data.val.sampling={num_segments: 3, kind: segments}", "data.val.crop=64"]
    recipe = Recipe.load(path, [*sets, *views])
    assert (recipe.optimizer.kind, recipe.data.train.source.path) == ("adamw", "a.csv")


def test_nothing_is_dropped_in_silence(source_of):
    source = source_of(CONFIG + "my_variable = 3\nenv_cfg = dict(cudnn_benchmark=False)\n")
    translation = translate_config(source)
    idle = {remark.key: remark.told for remark in translation.idle}
    assert "variable" in idle["my_variable"]
    assert "site" in idle["env_cfg"]
    assert idle["train_dataloader.num_workers"]
    assert "data.reader" in idle["train_dataloader.dataset.pipeline.0(DecordInit)"]
    named = {entry.key.partition(".")[0].partition("(")[0] for entry in translation.entries}
    named |= {remark.key.partition(".")[0].partition("(")[0] for remark in (*translation.idle, *translation.different)}
    assert set(source.values) <= named


def test_a_misspelt_key_is_a_problem(config_file):
    with pytest.raises(ConfigError, match=r"optim_wrapper\.clip_gard, got .*did you mean 'clip_grad'"):
        Recipe.load(config_file(CONFIG.replace("clip_grad=", "clip_gard=")))


@pytest.mark.parametrize(
    ("name", "options", "batch_size", "told"),
    [
        ("small_2xb4.py", Options(), 8, "'2xb4' in the file's name"),
        ("small_2xb4.py", Options(num_gpus=5), 20, "as told"),
        ("small.py", Options(), 16, "auto_scale_lr.base_batch_size"),
    ],
)
def test_the_global_batch(source_of, name, options, batch_size, told):
    source = source_of(CONFIG + "auto_scale_lr = dict(enable=False, base_batch_size=16)\n", name)
    translation = translate_config(source, (), options)
    assert translation.layered.values["data"]["train"]["batch_size"] == batch_size
    assert any(told in remark.told for remark in translation.different)
    assert "base_batch_size" not in translation.layered.values["optimizer"]


def test_a_batch_of_unknown_size_is_that_of_one_gpu(source_of):
    translation = translate_config(source_of(CONFIG, "small.py"))
    assert translation.layered.values["data"]["train"]["batch_size"] == 4
    assert any("neither" in remark.told for remark in translation.different)


def test_learning_rates_scale_where_the_config_says_so(config_file):
    path = config_file(CONFIG + "auto_scale_lr = dict(enable=True, base_batch_size=16)\n")
    recipe = Recipe.load(path)
    assert recipe.optimizer.base_batch_size == 16
    assert recipe.scaled_lr == pytest.approx(0.005)


def test_accumulation_is_part_of_the_batch(config_file):
    text = CONFIG.replace("clip_grad=dict", "accumulative_counts=2, clip_grad=dict")
    recipe = Recipe.load(config_file(text))
    assert (recipe.data.train.batch_size, recipe.training.micro_batches) == (16, 2)


def test_data_below_another_folder(source_of):
    values = translate_config(source_of(CONFIG), (), Options(data_root="/data")).layered.values["data"]
    assert values["train"]["source"]["path"] == "/data/lists/train.txt"
    assert values["val"]["source"]["root"] == "/data/videos"


def test_a_config_that_only_tests(config_file):
    test = DATA[: DATA.index("train_dataloader")] + DATA[DATA.index("val_dataloader") :]
    recipe = Recipe.load(config_file(MODEL + test.replace("val_dataloader", "test_dataloader")))
    assert recipe.data.val is None
    assert recipe.data.evaluation_split("test").crop == 224
    assert recipe.data.train.source.kind == "missing"
    with pytest.raises(DataError, match=r"small_2xb4_kinetics\.py has no train_dataloader"):
        recipe.data.load(recipe.model.num_classes)


def test_a_model_alone_is_no_recipe(config_file):
    with pytest.raises(ConfigError, match="train_dataloader: missing"):
        Recipe.load(config_file(MODEL))


def test_no_torch_is_needed():
    code = "import sys, kinoray.mmaction2.translate; sys.exit('torch' in sys.modules)"
    platform = Path(__file__).parents[3] / "platform"
    assert subprocess.run([sys.executable, "-c", code], env={"PYTHONPATH": str(platform)}, check=False).returncode == 0
