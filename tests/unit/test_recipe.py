import math
import pickle
import subprocess
import sys
from pathlib import Path

import cloudpickle
import pytest
import yaml

from kinoray.errors import ConfigError
from kinoray.recipe import Recipe

PLATFORM = Path(__file__).resolve().parents[2] / "platform"

BASE = """\
seed: 3
data:
  train: {sampling: &clip {clip_len: 8, frame_interval: 2}, crop: 64, batch_size: 8, source: train.csv}
  val: {sampling: *clip, crop: 64, source: {kind: folder, root: "videos/val set"}}
  test: {sampling: {kind: segments, num_segments: 4}, crop: 64, num_crops: 3}
  flip_labels: {"yes": "no", "no": "yes"}
optimizer: {kind: sgd, lr: 0.1}
training: {epochs: 20}
"""
RECIPE = """\
base: _base_/videos.yaml
model: {kind: tsn, num_classes: 10}
data:
  train:
    source: {kind: manifest, path: train.csv, where: {fold: [1, two]}}
optimizer: {weight_decay: 1e-4}
schedule:
  - {kind: linear, start_factor: 0.1, end: 4, per: step}
  - {kind: cosine, per: epoch}
"""


@pytest.fixture
def file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "_base_").mkdir()
    (tmp_path / "_base_" / "videos.yaml").write_text(BASE)
    (tmp_path / "tsn_tiny.yaml").write_text(RECIPE)
    return tmp_path / "tsn_tiny.yaml"


@pytest.fixture
def recipe(file):
    return Recipe.load(file)


def refusal(act, *args):
    with pytest.raises(ConfigError) as caught:
        act(*args)
    return str(caught.value)


def test_bases_files_and_overrides_lie_over_each_other(file):
    recipe = Recipe.load(file, ["optimizer.lr=0.02", "data.train.sampling.num_clips=2", "schedule.0.end=5"])
    assert (recipe.seed, recipe.training.epochs, recipe.optimizer.weight_decay) == (3, 20, 1e-4)
    assert (recipe.optimizer.lr, recipe.schedule[0].end) == (0.02, 5)
    assert (recipe.data.train.sampling.num_clips, recipe.data.val.sampling.num_clips) == (2, 1)
    assert recipe.data.train.source.where == {"fold": (1, "two")}
    assert recipe.loss.kind == "cross_entropy"


def test_the_name_is_the_files_unless_it_is_set(file):
    assert Recipe.load(file).name == "tsn_tiny"
    assert Recipe.load(file, ["name=mine"]).name == "mine"
    file.write_text(f"{RECIPE}name: own\n")
    assert Recipe.load(file).name == "own"


def test_every_problem_is_told_with_what_set_it(file):
    message = refusal(Recipe.load, file, ["optimizer.lr=-1", "data.train.crp=3", "model.num_classes=ten"])
    told = message.splitlines()
    assert told[0] == f"recipe {file}: 3 problems"
    assert sorted(told[1:]) == [
        "  data.train.crp: no such field (did you mean 'crop'?)  [--set data.train.crp=3]",
        "  model.num_classes: should be a whole number, got 'ten'  [--set model.num_classes=ten]",
        "  optimizer.lr: should be greater than 0, got -1  [--set optimizer.lr=-1]",
    ]


def test_top5_cannot_be_watched_among_five_classes(file):
    told = "evaluation.monitor, got top5 with 5 classes; it should be one of top1, mean_class_accuracy, calibration_"
    assert told in refusal(Recipe.load, file, ["evaluation.monitor=top5", "model.num_classes=5"])
    assert Recipe.load(file, ["evaluation.monitor=top5", "model.num_classes=6"]).evaluation.monitor == "top5"


def test_yaml_reads_back_to_an_equal_recipe(recipe, tmp_path):
    (tmp_path / "again.yaml").write_text(recipe.yaml())
    again = Recipe.load(tmp_path / "again.yaml")
    assert again == recipe == Recipe.from_mapping(yaml.safe_load(recipe.yaml()), "checkpoint")
    assert again.yaml() == recipe.yaml()
    assert again.digest() == recipe.digest()
    assert hash(again) == hash(recipe)
    assert len(recipe.digest()) == 12


def test_any_change_gives_another_recipe(recipe):
    changes = [{"seed": 4}, {"model.dropout": 0.1}, {"data.val.crop": 65}, {"schedule": []}, {"name": "other"}]
    others = [recipe.replace(change) for change in changes]
    assert len({recipe.digest(), *(other.digest() for other in others)}) == 6
    assert all(other != recipe for other in others)
    assert recipe != recipe.yaml()


def test_replace_is_a_validated_copy_that_knows_who_set_what(recipe):
    changed = recipe.replace({"optimizer.lr": 0.5, "schedule.1.min_factor": 0.1}, "trial 7")
    assert (changed.optimizer.lr, changed.schedule[1].min_factor, changed.optimizer.weight_decay) == (0.5, 0.1, 1e-4)
    assert recipe.optimizer.lr == 0.1
    lines = {
        line.split("#")[0].strip(): line.split("# ")[-1] for line in changed.describe().splitlines() if "#" in line
    }
    assert lines["lr: 0.5"] == "trial 7"
    assert lines["weight_decay: 0.0001"] == "tsn_tiny.yaml:6"
    assert lines["epochs: 20"] == "_base_/videos.yaml:8"
    assert lines["name: tsn_tiny"] == "the file's name"
    assert lines["nesterov: false"] == "default"
    message = refusal(recipe.replace, {"optimizer.lr": -1}, "trial 8")
    assert message.splitlines()[1] == "  optimizer.lr: should be greater than 0, got -1  [trial 8]"


def test_replacing_a_kind_drops_the_fields_of_the_old_one(recipe):
    changed = recipe.replace({"optimizer.lr": 0.01, "optimizer.kind": "adamw"})
    assert (changed.optimizer.kind, changed.optimizer.lr, changed.optimizer.weight_decay) == ("adamw", 0.01, 0.0)


def test_a_recipe_made_in_code_can_be_replaced_too(recipe):
    made = Recipe(
        model=recipe.model, data=recipe.data, optimizer=recipe.optimizer, training=recipe.training, name="made"
    )
    changed = made.replace({"training.epochs": 5, "model.num_classes": 7})
    assert (changed.training.epochs, changed.model.num_classes, changed.name) == (5, 7, "made")
    assert changed.data == recipe.data
    assert changed == made.replace({"model.num_classes": 7}).replace({"training.epochs": 5})


def test_flat_keys_and_values_are_assignments(file, recipe):
    flat = recipe.flat()
    assert flat["optimizer.lr"] == 0.1
    assert flat["schedule.1.kind"] == "cosine"
    assert flat["data.train.source.where.fold"] == "[1, two]"
    # The other values are plain; these are YAML already.
    written = {path: value for path, value in flat.items() if str(value).startswith(("[", "{"))}
    plain = {path: yaml.dump(value).splitlines()[0] for path, value in flat.items() if path not in written}
    assert Recipe.load(file, [f"{path}={value}" for path, value in (plain | written).items()]) == recipe
    file.write_text("model: {kind: tsn}\nschedule: [{kind: cosine}, {kind: cosine}]\n")
    assert Recipe.load(file, [f"{path}={value}" for path, value in (plain | written).items()]) == recipe


def test_the_learning_rate_at_a_moment(recipe):
    assert recipe.lr(0) == pytest.approx(0.1 * 0.1)
    assert recipe.lr(2, steps_per_epoch=50) == pytest.approx(
        0.1 * (0.1 + 0.9 * 100 / 199) * (1 + math.cos(math.pi * 2 / 20)) / 2
    )
    assert recipe.lr(10.7) == pytest.approx(0.05)
    assert recipe.replace({"schedule": []}).lr(19.9) == 0.1


@pytest.mark.parametrize("pickler", [pickle, cloudpickle])
def test_a_recipe_travels_with_its_origins(recipe, pickler):
    again = pickle.loads(pickler.dumps(recipe))
    assert again == recipe
    assert again.describe() == recipe.describe()
    assert again.replace({"seed": 9}) == recipe.replace({"seed": 9})


def test_only_a_picked_model_imports_torch(file, tmp_path):
    (tmp_path / "own_net.py").write_text(
        "from kinoray.models.kinds import ModelConfig\nclass OwnNet(ModelConfig):\n    kind: str = 'own_net:OwnNet'\n"
        "    def build(self):\n        from torch import nn\n        return nn.Identity()\n"
    )
    code = (
        "import sys; from kinoray.recipe import Recipe; "
        f"recipe = Recipe.load({str(file)!r}, sys.argv[1:]); recipe.yaml(); recipe.lr(1.5); "
        "print(*{'torch', 'ray', 'mlflow'} & set(sys.modules))"
    )

    def loaded(*overrides):
        paths = f"{PLATFORM}:{tmp_path}"
        command = [sys.executable, "-c", code, *overrides]
        done = subprocess.run(command, env={"PYTHONPATH": paths}, capture_output=True, text=True, check=True)
        return done.stdout.split()

    assert loaded("model={kind: own_net:OwnNet, num_classes: 3}") == []
    assert loaded() == ["torch"]


def test_the_learning_rate_is_that_of_the_batch(recipe):
    scaled = recipe.replace({"optimizer.base_batch_size": 32, "data.train.batch_size": 8})
    assert (recipe.scaled_lr, scaled.scaled_lr) == (0.1, pytest.approx(0.025))
    for epoch in (0, 5.5, 19):
        assert scaled.lr(epoch) == pytest.approx(recipe.lr(epoch) / 4)


@pytest.mark.parametrize("name", ["../x", "a/b", "a\\b", ".x", "a?b=c"])
def test_a_name_is_that_of_a_folder(make_recipe, name):
    with pytest.raises(ConfigError, match="name: should match the pattern"):
        make_recipe({"name": name})
