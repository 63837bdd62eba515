"""Data sets of MMAction2 as sources, and the wrappers around them."""

import pytest
from mmaction2_small import CONFIG

from kinoray.errors import ConfigError
from kinoray.mmaction2.translate import translate_config
from kinoray.recipe import Recipe

TRAIN = CONFIG[CONFIG.index("        type='VideoDataset'") : CONFIG.index("\nval_dataloader")]
assert TRAIN.endswith("pipeline=train_pipeline))")


def train_source(config_file, dataset):
    return Recipe.load(config_file(CONFIG.replace(TRAIN, f"{dataset}))"))).data.train.source.model_dump()


@pytest.mark.parametrize(
    ("dataset", "expected"),
    [
        (
            "type='VideoDataset', ann_file='a.csv', data_root='root', data_prefix=dict(video='v'), delimiter=','",
            {"kind": "video_list", "path": "root/a.csv", "root": "root/v", "delimiter": ","},
        ),
        (
            "type='mmaction.VideoDataset', ann_file='/lists/a.txt'",
            {"kind": "video_list", "path": "/lists/a.txt", "root": ".", "delimiter": None},
        ),
        (
            "type='VideoDataset', ann_file='s3://b/a.txt', data_prefix=dict(video='s3://b/v')",
            {"kind": "video_list", "path": "s3://b/a.txt", "root": "s3://b/v"},
        ),
        (
            "type='RawframeDataset', ann_file='a.txt', data_prefix=dict(img='frames'), with_offset=True, start_index=0",
            {"kind": "frame_list", "root": "frames", "template": "img_{:05}.jpg", "with_offset": True},
        ),
        (
            "type='RawframeDataset', ann_file='a.txt', filename_tmpl='{:06}.png'",
            {"kind": "frame_list", "template": "{:06}.png", "with_offset": False},
        ),
    ],
)
def test_lists(config_file, dataset, expected):
    found = train_source(config_file, f"{dataset}, pipeline=train_pipeline")
    assert {key: found[key] for key in expected} == expected


def test_several_passes_are_one_epoch_there(config_file):
    repeated = f"type='RepeatDataset', times=3, dataset=dict({TRAIN.strip()}"
    text = CONFIG.replace(TRAIN, f"{repeated})").replace(
        "dict(type='MultiStepLR'", "dict(type='LinearLR', end=2), dict(type='MultiStepLR'"
    )
    recipe = Recipe.load(config_file(text))
    assert recipe.training.epochs == 30
    assert recipe.evaluation.every_epochs == 6
    assert recipe.schedule[0].end == 6
    assert recipe.schedule[1].milestones == (12, 24)


def test_repeated_views(source_of):
    dataset = TRAIN.replace("'VideoDataset'", "'RepeatAugDataset', num_repeats=2, sample_once=True")
    translation = translate_config(source_of(CONFIG.replace(TRAIN, dataset)))
    assert translation.layered.values["data"]["train"]["repeats"] == 2
    assert translation.layered.values["data"]["train"]["batch_size"] == 8
    assert any("draws its own frames" in remark.told for remark in translation.different)


def test_several_lists(config_file):
    one = "dict(type='VideoDataset', ann_file='{}.txt', data_prefix=dict(video='{}'), pipeline=train_pipeline)"
    found = train_source(
        config_file, f"type='ConcatDataset', datasets=[{one.format('a', 'v')}, {one.format('b', 'w')}]"
    )
    assert found["kind"] == "joined"
    assert [(source["path"], source["root"]) for source in found["sources"]] == [("a.txt", "v"), ("b.txt", "w")]


def test_lists_of_different_views_have_no_translation(config_file):
    one = "dict(type='VideoDataset', ann_file='a.txt', pipeline={})"
    with pytest.raises(ConfigError, match="that of the first data set"):
        train_source(
            config_file,
            f"type='ConcatDataset', datasets=[{one.format('train_pipeline')}, {one.format('val_pipeline')}]",
        )


def test_several_labels(config_file):
    text = CONFIG.replace("type='VideoDataset'", "type='VideoDataset', multi_class=True, num_classes=5")
    text = text.replace("type='TSNHead'", "type='TSNHead', multi_class=True, loss_cls=dict(type='BCELossWithLogits')")
    recipe = Recipe.load(config_file(text))
    assert recipe.data.multi_label
    assert recipe.loss.kind == "binary_cross_entropy"


def test_a_test_split_of_the_same_videos_names_them_once(config_file):
    text = CONFIG + "test_dataloader = val_dataloader\n"
    data = Recipe.load(config_file(text)).data
    assert data.test.source is None
    assert data.evaluation_source("test") == data.val.source


@pytest.mark.parametrize(
    ("dataset", "told"),
    [
        ("type='AVADataset', ann_file='a'", "'AVADataset' has no translation; known are"),
        ("type='VideoDataset', pipeline=train_pipeline", "missing 'ann_file'"),
        ("type='RawframeDataset', ann_file='a', modality='Flow', pipeline=train_pipeline", "modality, got 'Flow'"),
        ("type='VideoDataset', ann_file='a', data_prefix='v', pipeline=train_pipeline", "data_prefix, got 'v'"),
        (
            "type='VideoDataset', ann_file='a', indices=5, pipeline=train_pipeline",
            "indices, got 5; it has no translation",
        ),
    ],
)
def test_what_has_no_translation(config_file, dataset, told):
    with pytest.raises(ConfigError, match=told):
        train_source(config_file, dataset)


def test_two_loaders_for_one_training(config_file):
    text = CONFIG.replace("train_dataloader = dict(", "train_dataloader = 2 * [dict(").replace(TRAIN, TRAIN + "]")
    with pytest.raises(ConfigError, match="one dataloader"):
        Recipe.load(config_file(text))
