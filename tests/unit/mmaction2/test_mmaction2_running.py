"""Loops, hooks, evaluators, losses and the rest of what a config says of a training."""

import pytest
from mmaction2_small import CONFIG

from kinoray.errors import ConfigError
from kinoray.mmaction2.translate import translate_config
from kinoray.recipe import Recipe

HEAD = "type='TSNHead'"
PREPROCESSOR = "format_shape='NCHW')"
MIXUP = "dict(type='MixupBlending', num_classes=5, alpha=0.8)"
CUTMIX = "dict(type='CutmixBlending', num_classes=5)"
EITHER = f"dict(type='RandomBatchAugment', augments=[{MIXUP}, {CUTMIX}]"  # to be closed


@pytest.mark.parametrize(
    ("more", "path", "value"),
    [
        ("load_from = 'a.pth'", "training.init_from", "a.pth"),
        ("randomness = dict(seed=7, diff_rank_seed=True, deterministic=True)", "seed", 7),
        ("compile = True", "training.compile", "default"),
        ("compile = dict(mode='max-autotune')", "training.compile", "max-autotune"),
        ("custom_hooks = [dict(type='EMAHook', momentum=0.001, priority=49)]", "training.ema_decay", 0.999),
        ("custom_hooks = [dict(type='EMAHook')]", "training.ema_decay", 0.9998),
        ("custom_hooks = dict(type='EarlyStoppingHook', monitor='acc/top1')", "callbacks.0.patience", 10),
    ],
)
def test_settings_of_the_top(config_file, more, path, value):
    assert Recipe.load(config_file(f"{CONFIG}{more}\n")).flat()[path] == pytest.approx(value)


@pytest.mark.parametrize(
    ("old", "new", "path", "value"),
    [
        (HEAD, f"{HEAD}, label_smooth_eps=0.1", "loss.label_smoothing", 0.1),
        (HEAD, f"{HEAD}, loss_cls=dict(class_weight=[1, 2])", "loss.class_weights", "[1.0, 2.0]"),
        (PREPROCESSOR, f"{PREPROCESSOR[:-1]}, blending={MIXUP})", "training.mix.mixup", 0.8),
        (PREPROCESSOR, f"{PREPROCESSOR[:-1]}, blending={CUTMIX})", "training.mix.cutmix", 0.2),
        ("save_best='auto'", "save_best='acc/mean1'", "evaluation.monitor", "mean_class_accuracy"),
        ("val_interval=2", "val_interval=1", "evaluation.every_epochs", 1),
    ],
)  # fmt: skip
def test_settings_within(config_file, old, new, path, value):
    assert Recipe.load(config_file(CONFIG.replace(old, new))).flat()[path] == value


def test_mixing_either_way(config_file):
    for probs, probability in (("", 1), (", probs=[0.4, 0.4]", 0.8)):
        blending = f"{EITHER}{probs})"
        mix = Recipe.load(
            config_file(CONFIG.replace(PREPROCESSOR, f"{PREPROCESSOR[:-1]}, blending={blending})"))
        ).training.mix
        assert (mix.mixup, mix.cutmix, mix.probability) == (0.8, 0.2, probability)


def test_only_heads_of_tsn_average_scores(config_file):
    i3d = CONFIG.replace("Recognizer2D", "Recognizer3D").replace(
        "type='ResNet', depth=50, norm_eval=False",
        "type='ResNet3d', depth=50, pretrained2d=False, zero_init_residual=False, conv1_kernel=(5, 7, 7), "
        "norm_eval=False, inflate=((1, 1, 1), (1, 0, 1, 0), (1, 0, 1, 0, 1, 0), (0, 1, 0))",
    )
    i3d = i3d.replace("TSNHead", "I3DHead").replace("NCHW", "NCTHW").replace("clip_len=1", "clip_len=8")
    assert Recipe.load(config_file(i3d)).evaluation.average == "probability"
    assert Recipe.load(config_file(i3d.replace("'prob'", "'score'"))).evaluation.average == "score"


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("type='EpochBasedTrainLoop', max_epochs", "type='IterBasedTrainLoop', max_iters", "EpochBasedTrainLoop"),
        ("max_epochs=10, ", "", "missing 'max_epochs'"),
        ("val_interval=2", "dynamic_intervals=[(5, 1)]", "dynamic_intervals"),
        ("save_best='auto'", "save_best='coco/AP'", "save_best, got 'coco/AP'"),
        (HEAD, f"{HEAD}, loss_cls=dict(type='CBFocalLoss')", "the loss 'CBFocalLoss'"),
        (HEAD, f"{HEAD}, loss_cls=dict(type='CrossEntropyLoss', loss_weight=0.5)", "loss_weight, got 0.5"),
        (HEAD, f"{HEAD}, label_smooth_eps=0.1, loss_cls=dict(type='BCELossWithLogits')", "label_smooth_eps, got 0.1"),
        ("dict(type='AccMetric')", "dict(type='AccMetric', metric_list=('f1',))", "metric_list"),
        ("val_evaluator", "resume = True\nval_evaluator", "resume, got True"),
        ("val_evaluator", "compile = dict(fullgraph=True)\nval_evaluator", "compile, got"),
        ("val_evaluator", "custom_hooks = [dict(type='MyHook')]\nval_evaluator", "the hook 'MyHook'"),
        ("val_evaluator", "custom_hooks = [dict(type='EMAHook', begin_epoch=3)]\nval_evaluator", "begin_epoch, got 3"),
        (PREPROCESSOR, f"{PREPROCESSOR[:-1]}, blending={EITHER}, probs=[0.9, 0.1]))", "equal shares"),
    ],
)  # fmt: skip
def test_what_has_no_translation(config_file, old, new, told):
    assert old in CONFIG
    with pytest.raises(ConfigError, match=told):
        Recipe.load(config_file(CONFIG.replace(old, new)))


def test_epochs_that_the_user_sets(config_file):
    text = CONFIG.replace("type='EpochBasedTrainLoop', max_epochs", "type='IterBasedTrainLoop', max_iters")
    assert Recipe.load(config_file(text), ["training.epochs=7"]).training.epochs == 7


def test_what_differs_is_told(source_of):
    text = CONFIG.replace("interval=1, save", "interval=3, max_keep_ckpts=5, save").replace(
        "val_begin=1", "val_begin=4"
    )
    translation = translate_config(source_of(text))
    told = {remark.key for remark in translation.different}
    assert {
        "default_hooks.checkpoint.interval",
        "default_hooks.checkpoint.max_keep_ckpts",
        "train_cfg.val_begin",
    } <= told
