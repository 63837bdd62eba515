from datetime import date
from typing import Annotated, Literal

import pytest
from pydantic import BeforeValidator, Field
from toy_recipe import SGD, Range, Recipe, SlowFast, UserNet

from kinoray.config.base import Config
from kinoray.config.layers import Layered, from_values, override, read_layers
from kinoray.config.problems import validate
from kinoray.errors import ConfigError

GOOD = """\
model: {kind: slowfast, num_classes: 3}
optimizer:
  lr: 0.1
training:
  epochs: 5
"""


@pytest.fixture
def problems(tmp_path, monkeypatch):
    """Of a recipe's text and assignments: the lines of the error, without the first."""
    monkeypatch.chdir(tmp_path)

    def problems(text, *assignments):
        (tmp_path / "x.yaml").write_text(text)
        with pytest.raises(ConfigError) as caught:
            validate(Recipe, override(read_layers("x.yaml"), assignments), "recipe x.yaml")
        first, *lines = str(caught.value).split("\n")
        assert first == f"recipe x.yaml: {len(lines)} problem{'s' * (len(lines) != 1)}"
        assert all(line.startswith("  ") for line in lines)
        return [line.removeprefix("  ") for line in lines]

    return problems


def test_good_values_become_a_configuration():
    recipe = validate(
        Recipe,
        from_values({"model": {"kind": "slowfast", "num_classes": 3}, "schedule": [{"end": 2}]}, "code"),
        "recipe",
    )
    assert recipe.model == SlowFast(num_classes=3)
    assert recipe.optimizer == SGD(lr=0.1)
    assert recipe.schedule[0].end == 2


def test_a_users_class_is_built():
    values = {"model": {"kind": "toy_recipe:UserNet", "num_classes": 3, "width": 5}}
    assert validate(Recipe, from_values(values, "code"), "recipe").model == UserNet(num_classes=3, width=5)


def test_a_users_package_is_picked_from_the_path(tmp_path, monkeypatch, problems):
    package = tmp_path / "lab_of_one"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "nets.py").write_text(
        "from toy_recipe import Net\n\n\nclass Lone(Net):\n    kind: str = 'lab_of_one.nets:Lone'\n    width: int = 4\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    layered = override(from_values({"model": {"num_classes": 3}}, "code"), ["model.kind=lab_of_one.nets:Lone"])
    assert type(validate(Recipe, layered, "recipe").model).__name__ == "Lone"
    assignment = "model={kind: lab_of_one.nets:Lone, num_classes: 2, widht: 3}"
    assert problems(GOOD, assignment) == [
        f"model.widht: no such field (did you mean 'width'?)  [--set {assignment}]",
    ]


LONE_KINDS = "one of slowfast, tsn; or package.module:Class for your own"


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        # Unknown fields.
        ("model.depht=101", "model.depht: no such field (did you mean 'depth'?)"),
        ("modle={}", "modle: no such field (did you mean 'model'?)"),
        ("teacher.wiht=1", "teacher.kind: missing; " + LONE_KINDS),
        ("training.momentum=1", "training.momentum: no such field; 'momentum' is a field of optimizer"),
        ("model.seed=1", "model.seed: no such field; 'seed' is a field of the top level"),
        (
            "optimizer.betas=1",
            "optimizer.betas: no such field; there are kind, lr, momentum, nesterov",
        ),
        ("schedule=[{end: 1, factr: 2}]", "schedule.0.factr: no such field (did you mean 'factor'?)"),
        ("schedule=[{end: 1, epochs: 2}]", "schedule.0.epochs: no such field; 'epochs' is a field of training"),
        (
            "schedule=[{end: 1, factor: {low: 0, high: 1, hihg: 2}}]",
            "schedule.0.factor.hihg: no such field (did you mean 'high'?)",
        ),
        ("stages={a: {low: 0, high: 1, lo: 2}}", "stages.a.lo: no such field (did you mean 'low'?)"),
        (
            "pair=[{low: 0, high: 1}, {epochs: 1, epoch: 2}]",
            "pair.1.epoch: no such field (did you mean 'epochs'?)",
        ),
        (
            "zzz=1",
            f"zzz: no such field; there are {', '.join(Recipe.model_fields)}",
        ),
        # Values of another type.
        ("optimizer.lr=fast", "optimizer.lr: should be a number, got 'fast'"),
        ("optimizer.lr=", "optimizer.lr: should be a number, got null"),
        ("optimizer.lr=.inf", "optimizer.lr: should be a finite number, got inf"),
        ("training.epochs=1.5", "training.epochs: should be a whole number, got 1.5"),
        ("training.epochs=many", "training.epochs: should be a whole number, got 'many'"),
        ("training.epochs=[]", "training.epochs: should be a whole number, got []"),
        ("optimizer.nesterov=maybe", "optimizer.nesterov: should be true or false, got 'maybe'"),
        ("optimizer.nesterov=[1]", "optimizer.nesterov: should be true or false, got [1]"),
        ("name=5", "name: should be text, got 5; quotes make it text"),
        ("name=true", "name: should be text, got true; quotes make it text"),
        ("name=[a]", "name: should be text, got ['a']"),
        ("schedule=3", "schedule: should be a list, got 3"),
        ("views={a: 1}", "views: should be a list, got {'a': 1}"),
        ("multipliers=3", "multipliers: should be a mapping, got 3"),
        ("training=3", "training: should be a mapping, got 3"),
        ("multipliers.head=big", "multipliers.head: should be a number, got 'big'"),
        ("views=[[1, 2], [1, x]]", "views.1.1: should be a whole number, got 'x'"),
        ("training.init_from=3", "training.init_from: should be a path, got 3"),
        ("model=tsn", "model: should be a mapping such as {kind: slowfast}, got 'tsn'"),
        ("optimizer=3", "optimizer: should be a mapping such as {kind: sgd}, got 3"),
        (f"schedule={'x' * 99}", f"schedule: should be a list, got '{'x' * 55} ..."),
        # Out of range.
        ("optimizer.lr=-1", "optimizer.lr: should be greater than 0, got -1"),
        ("seed=-1", "seed: should be at least 0, got -1"),
        ("model.dropout=1", "model.dropout: should be less than 1, got 1"),
        ("optimizer.momentum=1.5", "optimizer.momentum: should be at most 1, got 1.5"),
        ("model.mean=[]", "model.mean: should have at least 1 element, got []"),
        ("model={kind: tsn, num_classes: 2, num_segments: 3}", "model.num_segments: should be a multiple of 2, got 3"),
        (f"training.note={'x' * 41}", f"training.note: should have at most 40 characters, got '{'x' * 41}'"),
        # Choices.
        ("training.precision=fp16", "training.precision: should be 'fp32' or 'bf16', got 'fp16'"),
        ("model.depth=34", "model.depth: should be 18, 50 or 101, got 34"),
        # Kinds.
        ("model.kind=slowfst", "model.kind: no model 'slowfst' (did you mean 'slowfast'?); " + LONE_KINDS),
        ("model.kind=3", "model.kind: should be a word, got 3; " + LONE_KINDS),
        (
            "model.kind=no_such:Net",
            "model.kind: 'no_such:Net' cannot be imported: No module named 'no_such'; set PYTHONPATH or site.packages",
        ),
        (
            "model.kind=toy_recipe:SGD",
            "model.kind: 'toy_recipe:SGD' is no model; its class has to derive from toy_recipe.Net",
        ),
        # Messages of validators.
        ("optimizer.momentum=0.5", "optimizer.momentum: should not be a half {braces}"),
        ("training.precision=bf16", "training: bf16 needs clip_norm; its sums are coarse"),
        ("seed=13", "seed 13 is unlucky; take 14"),
        # Unions.
        (
            "schedule=[{end: 1, factor: much}]",
            "schedule.0.factor: should be a number or a mapping, got 'much'",
        ),
        ("schedule=[{end: 1, factor: {low: 1, high: x}}]", "schedule.0.factor.high: should be a number, got 'x'"),
        ("schedule=[{end: 1, factor: {options: [1, x]}}]", "schedule.0.factor.options.1: should be a number, got 'x'"),
        ("teacher={kind: tns, num_classes: 1}", "teacher.kind: no model 'tns' (did you mean 'tsn'?); " + LONE_KINDS),
    ],
)
def test_a_problem_reads(problems, assignment, message):
    who = {
        "training.precision=bf16": "x.yaml:4",
        "seed=13": "x.yaml",
        "teacher.wiht=1": f"teacher set by --set {assignment}",
    }.get(assignment, f"--set {assignment}")
    assert problems(GOOD, assignment) == [f"{message}  [{who}]"]


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("model:\n  kind: tsn\n", ["model.num_classes: missing; K, the number of scores.  [model set at x.yaml:1]"]),
        ("seed: 1\n", ["model: missing; it has no default  [x.yaml]"]),
        (
            GOOD + "schedule:\n  - {end: 1}\n  - factor: 2\n",
            ["schedule.1.end: missing; it has no default  [schedule.1 set at x.yaml:8]"],
        ),
        ("model: {num_classes: 3}\n", [f"model.kind: missing; {LONE_KINDS}  [model set at x.yaml:1]"]),
    ],
)
def test_what_is_missing_says_where_it_belongs(problems, text, lines):
    assert problems(text) == lines


def test_all_problems_are_listed_in_the_order_of_the_files(problems, tmp_path):
    (tmp_path / "base.yaml").write_text("seed: -1\nname: 4\noptimizer: {kind: sgd, lr: fast}\n")
    lines = problems(
        "base: base.yaml\ntraining: {precision: x, epochs: y}\nzeta: 1\nmodel: {kind: tsn}\nalpha: 1\nname: 5\n",
        "views=1",
        "optimizer.momentum=2",
    )
    assert [(line.split(":")[0], line.rsplit("[")[-1]) for line in lines] == [
        ("training.precision", "x.yaml:2]"),
        ("training.epochs", "x.yaml:2]"),
        ("zeta", "x.yaml:3]"),
        ("model.num_classes", "model set at x.yaml:4]"),
        ("alpha", "x.yaml:5]"),
        ("name", "x.yaml:6]"),
        ("seed", "base.yaml:1]"),
        ("optimizer.lr", "base.yaml:3]"),
        ("optimizer.momentum", "--set optimizer.momentum=2]"),
        ("views", "--set views=1]"),
    ]


def test_an_element_that_was_set_names_who_set_it(problems):
    assert problems(GOOD + "schedule: [{end: 1}, {end: x}]\n", "schedule.0.end=y") == [
        "schedule.1.end: should be a whole number, got 'x'  [x.yaml:6]",
        "schedule.0.end: should be a whole number, got 'y'  [--set schedule.0.end=y]",
    ]


def test_fields_of_the_picked_kind_are_known_not_those_of_others(problems):
    assert problems(GOOD, "model={kind: tsn, num_classes: 2, dept: 1}")[0].startswith(
        "model.dept: no such field; there are"
    )
    assert problems(GOOD, "model={kind: slowfast, num_classes: 2, dept: 1}")[0].startswith(
        "model.dept: no such field (did you mean 'depth'?)"
    )


@pytest.mark.parametrize("optimizer", ["", "optimizer: {lr: 1}\n", "optimizer: {kind: sgd, lr: 1}\n"])
def test_a_field_is_found_elsewhere_also_in_defaults(problems, optimizer):
    text = f"model: {{kind: tsn, num_classes: 2}}\n{optimizer}training: {{epochs: 1, nesterov: true}}\n"
    (line,) = problems(text)
    assert line.startswith("training.nesterov: no such field; 'nesterov' is a field of optimizer")


def test_values_without_origins_are_told_without():
    with pytest.raises(ConfigError) as caught:
        validate(Recipe, Layered({}, {}), "site local")
    assert str(caught.value) == "site local: 1 problem\n  model: missing; it has no default"


class Cat(Config):
    sort: Literal["cat"]


class Dog(Config):
    sort: Literal["dog"]
    age: int


class Zoo(Config):
    """Holds what the toy recipe does not: types and ways of picking that our own recipes have no use for."""

    opened: date | None = None
    animal: Annotated[Cat | Dog, Field(discriminator="sort")] | None = None
    both: Cat | Dog | None = None
    nothing: None = None
    tags: set[str] | None = None
    size: str = Field("", min_length=2, pattern="[a-z]+", validate_default=False)
    wrong: int = "x"
    hall: Annotated[Range, BeforeValidator(lambda value: value)] | None = None
    cages: dict[int, Dog] | None = None


@pytest.mark.parametrize(
    ("values", "lines"),
    [
        ({"opened": "soon"}, ["opened: should be a valid date or datetime, input is too short, got 'soon'"]),
        (
            {"animal": {"sort": "cow"}},
            ["animal: Input tag 'cow' found using 'sort' does not match any of the expected tags: 'cat', 'dog'"],
        ),
        ({"animal": {"sort": "dog", "age": "x"}}, ["animal.age: should be a whole number, got 'x'"]),
        ({"both": {"sort": "dog", "age": "x"}}, ["both.age: should be a whole number, got 'x'"]),
        ({"both": {"sort": "cat", "agee": 1}}, ["both.agee: no such field (did you mean 'age'?)"]),
        ({"nothing": 3}, ["nothing: should be null, got 3"]),
        ({"tags": 3}, ["tags: should be a list, got 3"]),
        ({"tags": [3]}, ["tags.0: should be text, got 3; quotes make it text"]),
        ({"size": "a"}, ["size: should have at least 2 characters, got 'a'"]),
        ({"size": "123"}, ["size: should match the pattern '[a-z]+', got '123'"]),
        ({"hall": {"low": 1, "hihg": 2, "high": 3}}, ["hall.hihg: no such field (did you mean 'high'?)"]),
        ({"cages": {"x": {"sort": "dog", "age": 1}}}, ["cages.x: should be a whole number, got 'x'"]),
        ({"cages": {"1": {"sort": "dog", "aeg": 1, "age": 1}}}, ["cages.1.aeg: no such field (did you mean 'age'?)"]),
    ],
)
def test_problems_of_other_types_read_well_too(values, lines):
    with pytest.raises(ConfigError) as caught:
        validate(Zoo, from_values({"wrong": 1, **values}, "code"), "zoo")
    assert str(caught.value).split("\n")[1:] == [f"  {line}  [code]" for line in lines]


def test_a_default_that_is_wrong_is_told_at_its_field():
    with pytest.raises(ConfigError) as caught:
        validate(Zoo, from_values({}, "code"), "zoo")
    assert str(caught.value) == "zoo: 1 problem\n  wrong: should be a whole number, got 'x'  [code]"


def test_the_error_stands_alone():
    with pytest.raises(ConfigError) as caught:
        validate(Recipe, from_values({}, "code"), "recipe")
    assert caught.value.__context__ is None


class Words(Config):
    words: tuple[str, ...]


def test_a_list_in_which_all_is_wrong_is_told_in_short():
    with pytest.raises(ConfigError) as caught:
        validate(Words, from_values({"words": list(range(10_000))}, "here"), "recipe here")
    lines = str(caught.value).splitlines()
    assert lines[0] == "recipe here: 10,000 problems"
    assert lines[1].startswith("  words.0: should be text")
    assert lines[50:] == ["  words.49: should be text, got 49; quotes make it text  [here]", "  ... and 9,950 more"]
