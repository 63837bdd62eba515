import json
import math
import random
import struct
from pathlib import Path
from typing import Any

import pytest
import yaml
from toy_recipe import SGD, TSN, AdamW, Choice, Range, Recipe, SlowFast, Stage, Training, UserNet

from kinoray.config.base import Config
from kinoray.config.layers import from_values, override, read_layers
from kinoray.config.problems import validate
from kinoray.config.text import describe, flatten, to_yaml

FULL = Recipe(
    name="a: b # c",
    model=UserNet(num_classes=3, mean=(1e-5, 2.0)),
    teacher=TSN(num_classes=3),
    optimizer=AdamW(lr=1e-4),
    schedule=(
        Stage(end=1),
        Stage(end=2, factor=Range(low=0.1, high=1e22)),
        Stage(end=3, factor=Choice(options=(1, 2))),
    ),
    views=[(1, 2), (3, 4)],
    pair=(Range(low=0, high=1), Training(epochs=2, init_from=Path("a b/c.pth"), note="two\nlines\ttab")),
    multipliers={"backbone.layer4": 0.1, "yes": 2.0, "": 1.0, "1": 3.0},
    stages={"x": Range(low=1, high=2)},
)


def read_back(config, folder):
    (folder / "back.yaml").write_text(to_yaml(config), encoding="utf-8")
    return validate(type(config), read_layers(folder / "back.yaml"), "recipe")


def test_flat_names_every_leaf_in_the_order_of_the_fields():
    recipe = Recipe(
        model=SlowFast(num_classes=3),
        schedule=(Stage(end=1), Stage(end=2, factor=Range(low=0, high=1))),
        training=Training(epochs=2, init_from=Path("a/b.pth")),
        multipliers={"head": 10},
    )
    assert list(flatten(recipe).items()) == [
        ("name", "toy"),
        ("seed", 0),
        ("model.kind", "slowfast"),
        ("model.num_classes", 3),
        ("model.mean", "[1.0, 2.5]"),
        ("model.depth", 50),
        ("model.dropout", 0.5),
        ("teacher", None),
        ("optimizer.kind", "sgd"),
        ("optimizer.lr", 0.1),
        ("optimizer.momentum", 0.9),
        ("optimizer.nesterov", False),
        ("schedule.0.end", 1),
        ("schedule.0.factor", 1.0),
        ("schedule.1.end", 2),
        ("schedule.1.factor.low", 0.0),
        ("schedule.1.factor.high", 1.0),
        ("views", "[[1, 2]]"),
        ("pair", None),
        ("multipliers.head", 10.0),
        ("stages", "{}"),
        ("training.epochs", 2),
        ("training.precision", "fp32"),
        ("training.clip_norm", None),
        ("training.init_from", "a/b.pth"),
        ("training.note", ""),
    ]


def test_every_flat_pair_is_an_assignment():
    pairs = {path: value for path, value in flatten(FULL).items() if not path.startswith("multipliers")}
    layered = from_values({"multipliers": FULL.multipliers, "schedule": [{}, {}, {}], "pair": [{}, {}]}, "code")
    assignments = [f"{path}={leaf if str(leaf).startswith('[') else json.dumps(leaf)}" for path, leaf in pairs.items()]
    assert validate(Recipe, override(layered, assignments), "recipe") == FULL


def test_the_yaml_is_clean():
    recipe = Recipe(model=TSN(num_classes=3), optimizer=SGD(lr=1e-5), schedule=(Stage(end=1), Stage(end=2)))
    assert to_yaml(recipe) == (
        "name: toy\n"
        "seed: 0\n"
        "model:\n"
        "  kind: tsn\n"
        "  num_classes: 3\n"
        "  mean: [1.0, 2.5]\n"
        "  num_segments: 8\n"
        "teacher: null\n"
        "optimizer:\n"
        "  kind: sgd\n"
        "  lr: 1e-05\n"
        "  momentum: 0.9\n"
        "  nesterov: false\n"
        "schedule:\n"
        "  - end: 1\n"
        "    factor: 1.0\n"
        "  - end: 2\n"
        "    factor: 1.0\n"
        "views: [[1, 2]]\n"
        "pair: null\n"
        "multipliers: {}\n"
        "stages: {}\n"
        "training:\n"
        "  epochs: 1\n"
        "  precision: fp32\n"
        "  clip_norm: null\n"
        "  init_from: null\n"
        "  note: ''\n"
    )


def test_a_full_recipe_reads_back_equal(tmp_path):
    assert read_back(FULL, tmp_path) == FULL


class Anything(Config):
    value: Any


WORDS = [
    "", " ", "yes", "no", "on", "true", "null", "~", "1", "1.5", "1e-4", "1e5", ".5", "0x1f", "0o7", "010", "1_000",
    "1:30", "2024-01-01", "<<", "=", "*a", "&a", "!x", "%x", "@x", "`x", "- x", "-", "?", "? x", ": x", "x: y", "x:",
    "x #y", "#x", "[x", "{x", "]", "}", "a, b", "'", '"', "\\", "it's", "a\nb", "a\n", "\n", "\ta", "a\r\nb", "é",
    "日本", "😀", "\u2028", "\x85", "\x07", "\ufeff", "nan", ".nan", "inf", ".inf", "---", "...", "x" * 300,
    "word " * 60, " lead", "trail ", "s3://b/k?a=1&b=2",
]  # fmt: skip


@pytest.mark.parametrize("text", WORDS)
def test_any_text_reads_back(text, tmp_path):
    config = Anything(value={"v": text, "l": [text, [text]], "m": [{"v": text}], text: 1})
    assert read_back(config, tmp_path) == config
    assert all("\n" not in line for line in to_yaml(config).split("\n"))
    # Other readers of YAML must not take it for anything but text either.
    assert yaml.safe_load(to_yaml(config))["value"]["v"] == text


def test_any_float_reads_back_to_the_last_bit(tmp_path):
    rng = random.Random(0)
    floats = [struct.unpack("d", rng.randbytes(8))[0] for _ in range(300)]
    floats = [value for value in floats if math.isfinite(value)]
    floats += [0.0, -0.0, 1e16, 1e-5, 0.1 + 0.2, 5e-324, 1.7976931348623157e308, 100.0]
    back = read_back(Anything(value=floats), tmp_path).value
    assert [value.hex() for value in back] == [value.hex() for value in floats]


@pytest.mark.parametrize("seed", range(20))
def test_any_nesting_reads_back(seed, tmp_path):
    rng = random.Random(seed)

    def some(depth):
        sort = rng.randrange(8 if depth < 4 else 5)
        if sort < 5:
            return rng.choice([None, True, False, rng.randrange(-99, 99), rng.random(), rng.choice(WORDS)])
        if sort == 5:
            return [some(depth + 1) for _ in range(rng.randrange(4))]
        return {rng.choice(WORDS): some(depth + 1) for _ in range(rng.randrange(4))}

    config = Anything(value={"v": some(0), "w": [some(1), some(1)]})
    assert read_back(config, tmp_path) == config


def test_values_that_yaml_lacks_are_written_as_plain_ones(tmp_path):
    assert to_yaml(Anything(value={"a": [1, Path("x"), {2}]})) == "value:\n  a: [1, x, [2]]\n"
    infinite = Anything(value=[math.inf, -math.inf])
    assert read_back(infinite, tmp_path) == infinite


def test_described_lines_end_with_who_set_them(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "base.yaml").write_text("training: {epochs: 5}\n")
    (tmp_path / "x.yaml").write_text(
        "base: base.yaml\n"
        "model:\n"
        "  kind: tsn\n"
        "  num_classes: 3\n"
        "  mean:\n"
        "    - 1\n"
        "    - 2\n"
        "schedule:\n"
        "  - {end: 1}\n"
        "views: [[1, 2], [3, 4]]\n"
    )
    note = "a  b\\n" + "x" * 26
    layered = override(read_layers("x.yaml"), ["model.mean.1=7", "optimizer.lr=1e-5", f'training.note="{note}"'])
    recipe = validate(Recipe, layered, "recipe x.yaml")
    text = describe(recipe, layered.origins)
    expected = [
        ("name: toy", "default"),
        ("seed: 0", "default"),
        ("model:", None),
        ("  kind: tsn", "x.yaml:3"),
        ("  num_classes: 3", "x.yaml:4"),
        ("  mean: [1.0, 7.0]", "x.yaml:5, --set model.mean.1=7"),
        ("  num_segments: 8", "default"),
        ("teacher: null", "default"),
        ("optimizer:", None),
        ("  kind: sgd", "default"),
        ("  lr: 1e-05", "--set optimizer.lr=1e-5"),
        ("  momentum: 0.9", "default"),
        ("  nesterov: false", "default"),
        ("schedule:", None),
        ("  - end: 1", "x.yaml:9"),
        ("    factor: 1.0", "default"),
        ("views: [[1, 2], [3, 4]]", "x.yaml:10"),
        ("pair: null", "default"),
        ("multipliers: {}", "default"),
        ("stages: {}", "default"),
        ("training:", None),
        ("  epochs: 5", "base.yaml:1"),
        ("  precision: fp32", "default"),
        ("  clip_norm: null", "default"),
        ("  init_from: null", "default"),
        (f'  note: "{note}"', f'--set training.note="{note.replace("  ", " ")}"'),
    ]
    width = max(len(line) for line, _ in expected)
    assert text.splitlines() == [f"{line:{width}}  # {who}" if who else line for line, who in expected]
    (tmp_path / "back.yaml").write_text(text)
    assert validate(Recipe, read_layers("back.yaml"), "recipe") == recipe


def test_a_long_line_does_not_push_the_other_comments_away():
    text = describe(Anything(value={"a": 1, "b": "x" * 200}), {"value.b": "--set\nvalue"})
    assert text == f"value:\n  a: 1  # default\n  b: {'x' * 200}  # --set value\n"
