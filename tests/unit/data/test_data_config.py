import sys

import pytest
from pydantic import ValidationError

from kinoray.data.config import DataConfig
from kinoray.errors import ConfigError, DataError, ResourceError

VIEW = {"sampling": {"clip_len": 4}, "crop": 32}


@pytest.fixture
def config(tmp_path):
    """Makes a DataConfig whose manifests hold ``{split: [label, ...]}``; the videos exist, empty."""

    def make(labels, **fields):
        splits = {}
        for split, written in labels.items():
            lines = "".join(f"{split}{number}.mp4,{label}\n" for number, label in enumerate(written))
            (tmp_path / f"{split}.csv").write_text(f"path,label\n{lines}")
            for number in range(len(written)):
                (tmp_path / f"{split}{number}.mp4").touch()
            splits[split] = VIEW | {"source": str(tmp_path / f"{split}.csv")}
        splits["train"]["batch_size"] = 2
        return DataConfig(**splits, **fields)

    return make


def refusal(kind, act, *args):
    with pytest.raises(kind) as caught:
        act(*args)
    message = str(caught.value)
    assert kind is ValidationError or "\n" not in message
    return message


def test_classes_are_those_of_the_training_videos(config):
    data = config({"train": ["walk", "run"], "val": ["run"]}).load(2)
    assert data.classes == data.train.classes == data.val.classes == ("run", "walk")
    assert data.train.table["label"].to_pylist() == [1, 0]
    assert data.val.table["label"].to_pylist() == [0]
    assert data.flip_labels == ()


def test_a_split_can_be_left_out(config):
    assert config({"train": ["walk", "run"]}).load(2).val is None


def test_indices_that_training_does_not_show_are_still_classes(config):
    data = config({"train": [0, 1], "val": [3]}).load(4)
    assert data.classes == data.train.classes == ("0", "1", "2", "3")
    assert data.val.table["label"].to_pylist() == [3]


def test_classes_may_be_stated(config, tmp_path):
    (tmp_path / "classes.txt").write_text("walk\nsit\nrun\n")
    for classes in (["walk", "sit", "run"], str(tmp_path / "classes.txt")):
        data = config({"train": ["walk", "run"]}, classes=classes).load(3)
        assert data.classes == ("walk", "sit", "run")
        assert data.train.table["label"].to_pylist() == [0, 2]


def test_classes_have_to_fit_the_model(config):
    derived = config({"train": ["walk", "run"]})
    for num_classes in (1, 3):
        assert refusal(DataError, derived.load, num_classes).endswith(
            f"has labels of 2 classes, the last of them in row 1 (train0.mp4), model.num_classes is {num_classes}; "
            "set it to 2, correct the labels, or name all classes in data.classes"
        )
    assert "has labels of 6 classes, the last of them in row 2 (train1.mp4), model.num_classes is 5" in refusal(
        DataError, config({"train": [0, 5]}).load, 5
    )
    assert refusal(DataError, config({"train": ["a"]}, classes=["a", "b"]).load, 3) == (
        "data.classes: names 2 classes, model.num_classes is 3; the two should be equal"
    )


def test_labels_of_val_have_to_be_classes_of_training(config):
    told = "row 1 (val0.mp4) has label 'sit', 1 such row(s) in all; the 2 classes are run, walk"
    assert told in refusal(DataError, config({"train": ["walk", "run"], "val": ["sit"]}).load, 2)


def test_missing_videos_are_told(config, tmp_path):
    data = config({"train": ["walk", "run"], "val": ["run"]})
    (tmp_path / "val0.mp4").unlink()
    assert refusal(DataError, data.load, 2).startswith(f"val data {tmp_path}/val.csv: 1 of the 1 video files looked at")


def test_mirrored_classes(config):
    both = {"left": "right", "right": "left"}
    data = config({"train": ["left", "jump", "right"]}, flip_labels=both)
    assert data.load(3).flip_labels == (0, 2, 1)
    unknown = config({"train": ["up", "down"]}, flip_labels=both)
    assert refusal(ConfigError, unknown.load, 2) == ("data.flip_labels: 'left' is no class; the 2 classes are down, up")
    half = refusal(ValidationError, lambda: config({"train": ["a"]}, flip_labels={"left": "right"}))
    assert "flip_labels: 'left' becomes 'right', so 'right' must become 'left'" in half


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"val": VIEW}, "val.source: missing; only data.test may leave it out"),
        ({"classes": ["a", "b", "a"]}, "classes: 'a' is named twice; each class has a name of its own"),
        ({"classes": []}, "at least 1 item"),
        ({"max_bad_fraction": 1.5}, "less than or equal to 1"),
    ],
)
def test_impossible_settings(config, fields, told):
    assert told in refusal(ValidationError, lambda: config({"train": ["a"]}, **fields))


def test_views_and_videos_of_an_evaluation(config):
    data = config({"train": ["a"], "val": ["a"]}, test=VIEW | {"num_crops": 3})
    assert data.evaluation_split("test").num_crops == 3
    assert data.evaluation_source("test") == data.val.source
    assert data.evaluation_split("val") == data.val
    without_test = config({"train": ["a"], "val": ["a"]})
    assert without_test.evaluation_split("test") == without_test.val
    own = config({"train": ["a"], "val": ["a"], "test": ["a"]})
    assert own.evaluation_source("test") == own.test.source != own.val.source


def test_an_evaluation_needs_views_and_videos(config):
    assert refusal(ConfigError, config({"train": ["a"]}).evaluation_split, "test") == (
        "data.test: missing; name its videos and views to evaluate on it"
    )
    assert refusal(ConfigError, config({"train": ["a"]}, test=VIEW).evaluation_source, "test") == (
        "data.test.source: missing; name its videos to evaluate on them"
    )


def test_augmentations_are_listed_in_order(config, tmp_path):
    values = config({"train": ["a"], "val": ["a"]}).model_dump(mode="json")
    values["train"]["augment"] = [{"kind": "rand_augment", "num_ops": 3}, {"kind": "random_erasing"}]
    data = DataConfig.model_validate(values)
    assert [augmentation.kind for augmentation in data.train.augment] == ["rand_augment", "random_erasing"]
    assert DataConfig.model_validate(data.model_dump(mode="json")) == data
    values["train"]["augment"][1]["scale"] = [0.5, 2]
    assert "scale, got [0.5, 2]" in refusal(ValidationError, DataConfig.model_validate, values)


def test_mirrored_crops_are_refused_where_a_mirror_changes_the_class(config):
    splits = {"train": ["left", "right"], "val": ["left"]}
    flip_labels = {"left": "right", "right": "left"}
    assert config(splits, test=VIEW | {"num_crops": 10}).evaluation_split("test").num_crops == 10
    message = refusal(ValidationError, lambda: config(splits, test=VIEW | {"num_crops": 10}, flip_labels=flip_labels))
    assert "test.num_crops, got 10, half of them mirrored; use 3, as a mirror changes classes by flip_labels" in message


def test_the_reader_is_installed(config, monkeypatch):
    monkeypatch.setitem(sys.modules, "torchcodec", None)
    monkeypatch.setitem(sys.modules, "torchcodec.decoders", None)
    data = config({"train": ["walk", "run"]}, reader="torchcodec")
    message = refusal(ResourceError, data.load, 2)
    assert "torchcodec: cannot be loaded" in message
    assert "pip install 'kinoray[torchcodec]'" in message
    with pytest.raises(ValidationError, match="'pyav', 'torchcodec' or 'nvdec'"):
        config({"train": ["walk", "run"]}, reader="decord")
