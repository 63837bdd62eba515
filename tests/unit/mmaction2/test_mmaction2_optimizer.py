"""Optimizers and rates: against what MMEngine made of the same settings, and what has no translation.

The rates are those of whole trainings of 50 steps an epoch; see shared/golden/README.md, section 8.
"""

import gzip
import json
from collections import Counter
from functools import cache
from pathlib import Path

import pytest
import torch
from mmaction2_small import CONFIG

from kinoray.errors import ConfigError
from kinoray.mmaction2.draft import Draft
from kinoray.mmaction2.models import model_values
from kinoray.mmaction2.optimizer import put_optimizer
from kinoray.mmaction2.part import Part
from kinoray.mmaction2.read import Source
from kinoray.mmaction2.schedule import put_schedule
from kinoray.models.kinds import MODELS
from kinoray.optim import OPTIMIZERS
from kinoray.recipe import Recipe
from kinoray.schedules import SCHEDULES, lr_factor

GOLDEN = Path(__file__).resolve().parents[4] / "shared" / "golden"
needs_golden = pytest.mark.skipif(not GOLDEN.is_dir(), reason="no ../shared/golden beside the repository")
EPOCH_LENGTH, STEPS = 50, (0, 25, 49)
TRAININGS = (
    *("tsn_r50", "tsm_r50", "i3d_r50", "slowonly_r50", "slowfast_r50_4x16", "slowfast_r50_8x8", "c3d", "r2plus1d_r34"),
    *("ircsn_r50", "swin_tiny", "mvit_small", "timesformer_divST", "uniformerv2_base", "tpn_slowonly_r50", "trn_r50"),
    *("tanet_r50", "c2d_r50", "stgcn_2d", "posec3d_ntu60", "audio_tsn_r18", "bmn_400", "bsn_pem_400", "tcanet"),
    *("omni_slowonly_r50", "tsm_mobilenetv2"),
)
GROUPED = (
    "tsm_r50",
    "swin_tiny",
    "mvit_small",
    "timesformer_divST",
    "uniformerv2_base",
    "tanet_r50",
    "tsm_mobilenetv2",
)


@cache
def trainings():
    return json.loads(gzip.decompress((GOLDEN / "schedules.json.gz").read_bytes()))


def source(values):
    return Source(Path("config.py"), values, {})


def translated(training, model_kind=None, passes=1):
    """``optimizer`` and ``schedule`` of a recorded training."""
    keys = ("optim_wrapper", "param_scheduler")
    draft = Draft(source({key: training[key] for key in keys}))
    whole = Part.whole(draft.source)
    if model_kind is not None:
        draft.put("model.kind", model_kind, whole)
    put_optimizer(draft, whole)
    put_schedule(draft, whole, passes)
    assert not draft.problems
    values = {path: entry.value for path, entry in draft.entries.items()}
    fields = {path.removeprefix("optimizer."): value for path, value in values.items() if path.startswith("optimizer.")}
    schedules = [
        {
            path.removeprefix(f"schedule.{number}."): v
            for path, v in values.items()
            if path.startswith(f"schedule.{number}.")
        }
        for number in range(len(training["param_scheduler"]))
    ]
    return OPTIMIZERS.validate(fields), [SCHEDULES.validate(schedule) for schedule in schedules]


@needs_golden
def test_all_recorded_trainings_are_compared():
    assert set(TRAININGS) == set(trainings())


@needs_golden
@pytest.mark.parametrize("name", TRAININGS)
def test_rates_of_a_whole_training(name):
    training = trainings()[name]
    optimizer, schedules = translated(training)
    expected = training["lr_at_iter_0_25_49_of_each_epoch"]
    found = [
        optimizer.lr * lr_factor(schedules, epoch * EPOCH_LENGTH + step, steps_per_epoch=EPOCH_LENGTH, num_epochs=num)
        for num in [training["max_epochs"]]
        for epoch in range(num)
        for step in STEPS
    ]
    assert found == pytest.approx(expected, rel=1e-12, abs=1e-15)


@needs_golden
def test_an_epoch_of_several_passes():
    training = trainings()["stgcn_2d"]
    optimizer, schedules = translated(training, passes=5)
    found = [
        optimizer.lr
        * lr_factor(schedules, epoch * EPOCH_LENGTH + step, steps_per_epoch=EPOCH_LENGTH // 5, num_epochs=80)
        for epoch in range(16)
        for step in STEPS
    ]
    assert found == pytest.approx(training["lr_at_iter_0_25_49_of_each_epoch"], rel=1e-12, abs=1e-15)


@needs_golden
@pytest.mark.parametrize("name", GROUPED)
def test_groups_of_parameters(name):
    values = model_values(source({"model": json.loads((GOLDEN / f"models/{name}.json").read_text())["model_cfg"]}))
    config = MODELS.validate(values).without_pretrained()
    with torch.device("meta"):
        net = config.build()
    optimizer, _ = translated(trainings()[name], values["kind"])
    found = Counter()
    for group in optimizer.parameter_groups(net):
        found[f"lr={group['lr']:.6g} wd={group['weight_decay']:.6g}"] += sum(p.numel() for p in group["params"])
    expected = {group: told["numel"] for group, told in trainings()[name]["param_groups"].items() if told["count"]}
    assert found == expected


def test_weights_of_the_default_constructor(config_file):
    text = CONFIG.replace(
        "clip_grad=", "paramwise_cfg=dict(norm_decay_mult=0., bias_lr_mult=2, flat_decay_mult=1), clip_grad="
    )
    groups = Recipe.load(config_file(text)).optimizer.groups
    assert [(rule.of, rule.lr_factor, rule.decay_factor) for rule in groups] == [("norm", 1, 0), ("bias", 2, 1)]


@pytest.mark.parametrize(
    ("optimizer", "expected"),
    [
        ("type='SGD', lr=0.1", {"kind": "sgd", "momentum": 0.0, "weight_decay": 0.0}),
        ("type='AdamW', lr=0.1", {"kind": "adamw", "weight_decay": 0.01, "betas": (0.9, 0.999)}),
        ("type='Adam', lr=0.1, betas=(0.8, 0.99), eps=1e-6", {"kind": "adam", "betas": (0.8, 0.99), "eps": 1e-6}),
    ],
)
def test_defaults_are_those_of_torch(config_file, optimizer, expected):
    text = CONFIG.replace("type='SGD', lr=0.01, momentum=0.9, weight_decay=0.0001", optimizer)
    found = Recipe.load(config_file(text)).optimizer.model_dump()
    assert {key: found[key] for key in expected} == expected


@pytest.mark.parametrize(
    ("wrapper", "precision"),
    [
        ("type='AmpOptimWrapper', ", "fp16"),
        ("type='AmpOptimWrapper', dtype='bfloat16', loss_scale='dynamic', ", "bf16"),
    ],
)
def test_mixed_precision(config_file, wrapper, precision):
    text = CONFIG.replace("optim_wrapper = dict(", f"optim_wrapper = dict({wrapper}")
    assert Recipe.load(config_file(text)).training.precision == precision


@pytest.mark.parametrize(
    ("scheduler", "expected"),
    [
        ("type='StepLR', step_size=3, gamma=0.5", {"kind": "step", "every": 3, "gamma": 0.5}),
        ("type='ExponentialLR', gamma=0.9, convert_to_iter_based=True", {"kind": "exponential", "per": "step"}),
        ("type='PolyLR', power=2, eta_min=0.001, end=10", {"kind": "polynomial", "power": 2, "min_factor": 0.1}),
        ("type='ConstantLR', factor=0.5, end=4", {"kind": "constant", "value": 0.5, "end": 4}),
        ("type='CosineAnnealingLR', T_max=9, begin=1, end=8", {"kind": "cosine", "begin": 1, "end": 10}),
        ("type='OneCycleLR', eta_max=0.01, total_steps=10", {"kind": "one_cycle", "start_factor": 0.04, "end": 10}),
        ("type='LinearLR', end=3, end_factor=0.9", {"kind": "linear", "start_factor": 1 / 3, "end_factor": 0.9}),
    ],
)
def test_schedulers(config_file, scheduler, expected):
    old = "type='MultiStepLR', begin=0, end=10, by_epoch=True, milestones=[4, 8], gamma=0.1"
    found = Recipe.load(config_file(CONFIG.replace(old, scheduler))).schedule[0].model_dump()
    assert {key: found[key] for key in expected} == pytest.approx(expected)


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("norm_type=2", "norm_type=1", r"clip_grad\.norm_type, got 1; it should be 2"),
        ("type='SGD'", "dampening=0.1, type='SGD'", r"optimizer\.dampening, got 0\.1"),
        (
            "optim_wrapper = dict(",
            "optim_wrapper = dict(constructor='MyConstructor', ",
            r"constructor, got 'MyConstructor'",
        ),
        ("optim_wrapper = dict(", "optim_wrapper = dict(type='ApexOptimWrapper', ", r"type, got 'ApexOptimWrapper'"),
        ("clip_grad=", "paramwise_cfg=dict(custom_keys={'fc': dict(lr_mult=9)}), clip_grad=", "got the key 'fc'"),
        ("by_epoch=True", "by_epoch=False", r"by_epoch, got False; it should be True"),
        ("type='MultiStepLR'", "type='ReduceOnPlateauLR'", "'ReduceOnPlateauLR' has no translation"),
        ("gamma=0.1", "gamma=0.1, param_name='momentum'", r"param_name, got 'momentum'"),
        ("milestones=[4, 8], gamma=0.1", "T_max=3", r"milestones"),
    ],
)
def test_what_has_no_translation(config_file, old, new, told):
    with pytest.raises(ConfigError, match=told):
        Recipe.load(config_file(CONFIG.replace(old, new)))


def test_a_cosine_that_would_rise_again(config_file):
    old = "type='MultiStepLR', begin=0, end=10, by_epoch=True, milestones=[4, 8], gamma=0.1"
    text = CONFIG.replace(old, "type='CosineAnnealingLR', T_max=4, begin=0, end=10")
    with pytest.raises(ConfigError, match=r"T_max, got 4; it should be at least end - begin, 10"):
        Recipe.load(config_file(text))
