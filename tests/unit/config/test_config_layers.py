import random

import pytest

from kinoray.config.layers import Layered, from_values, override, read_layers, replace_values
from kinoray.errors import ConfigError


@pytest.fixture
def write(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def write(name, text):
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    return write


MODEL = {"kind": "tsn", "depth": 50, "mean": [1, 2, 3]}
SCHEDULE = [{"kind": "linear", "end": 5}, {"kind": "cosine"}]


@pytest.fixture
def layered():
    return from_values({"model": MODEL, "schedule": SCHEDULE, "lr": 0.1, "off": None}, "code")


def refusal(act, *args):
    with pytest.raises(ConfigError) as caught:
        act(*args)
    return str(caught.value)


# Files over their bases.


def test_mappings_merge_and_lists_replace(write):
    write("base.yaml", "a: {x: 1, y: {p: 1, q: 2}}\nl: [1, 2, 3]\nkept: 1\n")
    write("top.yaml", "base: base.yaml\na:\n  y: {q: 3}\n  z: 4\nl: [9]\n")
    layered = read_layers("top.yaml")
    assert layered.values == {"a": {"x": 1, "y": {"p": 1, "q": 3}, "z": 4}, "l": [9], "kept": 1}
    assert layered.origins == {
        "": "top.yaml",
        "a": "top.yaml:2",
        "a.x": "base.yaml:1",
        "a.y": "top.yaml:3",
        "a.y.p": "base.yaml:1",
        "a.y.q": "top.yaml:3",
        "a.z": "top.yaml:4",
        "l": "top.yaml:5",
        "l.0": "top.yaml:5",
        "kept": "base.yaml:3",
    }


def test_a_changed_kind_replaces_the_mapping_and_its_origins(write):
    write("base.yaml", "opt: {kind: sgd, momentum: 0.9}\nm: {kind: tsn, depth: 50}\nd: {lr: 1}\n")
    write("top.yaml", "base: base.yaml\nopt: {kind: adamw, lr: 1}\nm: {kind: tsn, width: 2}\nd: {kind: sgd}\n")
    layered = read_layers("top.yaml")
    assert layered.values == {
        "opt": {"kind": "adamw", "lr": 1},
        "m": {"kind": "tsn", "depth": 50, "width": 2},
        "d": {"lr": 1, "kind": "sgd"},
    }
    assert "opt.momentum" not in layered.origins


def test_a_mapping_and_another_value_replace_each_other(write):
    write("base.yaml", "a: {x: 1}\nb: 1\nc: {x: 1}\n")
    write("top.yaml", "base: base.yaml\na: 1\nb: {x: 1}\nc: null\n")
    layered = read_layers("top.yaml")
    assert layered.values == {"a": 1, "b": {"x": 1}, "c": None}
    assert set(layered.origins) == {"", "a", "b", "b.x", "c"}


def test_of_several_bases_the_later_wins_and_each_may_have_its_own(write):
    write("shared/deep.yaml", "x: deep\ny: deep\nz: deep\n")
    write("shared/one.yaml", "base: deep.yaml\nx: one\ny: one\n")
    write("shared/two.yaml", "base: [deep.yaml]\nx: two\n")
    write("r/top.yaml", "base:\n  - ../shared/one.yaml\n  - ../shared/two.yaml\nw: top\n")
    layered = read_layers("r/top.yaml")
    assert layered.values == {"x": "two", "y": "deep", "z": "deep", "w": "top"}
    assert layered.origins["x"] == "shared/two.yaml:2"
    assert layered.origins["w"] == "r/top.yaml:4"


def test_base_is_special_at_the_top_only(write):
    write("x.yaml", "m: {base: 3}\n")
    assert read_layers("x.yaml").values == {"m": {"base": 3}}


def test_cycles_of_bases_are_shown(write):
    write("a.yaml", "base: b.yaml\n")
    write("b.yaml", "x: 1\nbase: [c.yaml]\n")
    write("c.yaml", "base: ./b.yaml\n")
    assert refusal(read_layers, "a.yaml") == (
        "c.yaml:1: base b.yaml: a file cannot be its own base: b.yaml -> c.yaml -> b.yaml"
    )


@pytest.mark.parametrize(
    ("base", "message"),
    [
        ("5", "x.yaml:2: base should be a path or a list of paths, got 5"),
        ("", "x.yaml:2: base should be a path or a list of paths, got None"),
        ("''", "x.yaml:2: base should be a path or a list of paths, got ''"),
        ("{a: 1}", "x.yaml:2: base should be a path or a list of paths, got {'a': 1}"),
        ("[x.yml, [3]]", "x.yaml:2: base should be a path or a list of paths, got [3]"),
        ("_base_/runtme.yaml", "x.yaml:2: base _base_/runtme.yaml: no such file; did you mean _base_/runtime.yaml?"),
        ("../_base_", "x.yaml:2: base {parent}/_base_: no such file"),
    ],
)
def test_a_wrong_base_names_the_line(write, tmp_path, base, message):
    write("_base_/runtime.yaml", "a: 1")
    write("x.yml", "a: 1")
    write("x.yaml", f"lr: 1\nbase: {base}\n")
    assert refusal(read_layers, "x.yaml") == message.replace("{parent}", str(tmp_path.parent))


# --set


@pytest.mark.parametrize(
    ("assignment", "path", "value"),
    [
        ("lr=1e-4", ["lr"], 1e-4),
        ("lr=yes", ["lr"], "yes"),
        ("lr=", ["lr"], None),
        ("lr=a=b", ["lr"], "a=b"),
        (" lr = 3 ", ["lr"], 3),
        ("model.depth=101", ["model", "depth"], 101),
        ("model.new.deep.er=[1, x]", ["model", "new", "deep", "er"], [1, "x"]),
        ("off.x=1", ["off", "x"], 1),
        ("schedule.0.end=7", ["schedule", 0, "end"], 7),
        ("schedule.1.begin=2", ["schedule", 1, "begin"], 2),
        ("model.mean.2=0.5", ["model", "mean", 2], 0.5),
        ("model.mean=[7]", ["model", "mean"], [7]),
        ("model=null", ["model"], None),
    ],
)
def test_an_assignment_sets_one_place(layered, assignment, path, value):
    new = override(layered, [assignment])
    got = new.values
    for key in path:
        got = got[key]
    assert got == value
    assert type(got) is type(value)
    dotted = ".".join(map(str, path))
    assert new.origins[dotted] == f"--set {assignment}"
    untouched = {key: origin for key, origin in new.origins.items() if not origin.startswith("--set")}
    assert untouched.items() <= layered.origins.items()


def test_the_layers_below_stay_as_they_were(layered):
    before = Layered(
        {"model": {**MODEL, "mean": [1, 2, 3]}, "schedule": [{**part} for part in SCHEDULE], "lr": 0.1, "off": None},
        dict(layered.origins),
    )
    override(layered, ["model.mean.0=5", "schedule.0={kind: cosine}", "new.x=1"])
    assert layered == before


def test_what_is_made_on_the_way_and_what_was_there_keep_their_own_origins(layered):
    origins = override(layered, ["model.head.x=1", "schedule.0.end=9"]).origins
    assert origins["model"] == "code"
    assert origins["model.head"] == "--set model.head.x=1"
    assert origins["schedule"] == origins["schedule.0"] == origins["schedule.0.kind"] == "code"


def test_a_mapping_is_laid_over_what_is_there(layered):
    new = override(layered, ["model={depth: 18}", "schedule.0={end: 1}"])
    assert new.values["model"] == {**MODEL, "depth": 18}
    assert new.values["schedule"] == [{"kind": "linear", "end": 1}, {"kind": "cosine"}]


@pytest.mark.parametrize("assignment", ["model.kind=slowfast", "model={kind: slowfast}"])
def test_a_changed_kind_in_an_assignment_replaces_the_mapping(layered, assignment):
    new = override(layered, [assignment])
    assert new.values["model"] == {"kind": "slowfast"}
    assert {path for path in new.origins if path.startswith("model")} == {"model", "model.kind"}
    assert new.origins["model"] == f"--set {assignment}"


def test_the_same_kind_again_changes_nothing(layered):
    assert override(layered, ["model.kind=tsn"]).values == layered.values


def test_a_kind_counts_before_its_fields_in_whatever_order(layered):
    last = override(layered, ["model.width=2", "model.head.kind=b", "lr=5", "model.kind=slowfast"])
    assert last.values["model"] == {"kind": "slowfast", "width": 2, "head": {"kind": "b"}}
    assert last.values["lr"] == 5
    twice = override(layered, ["model.kind=a", "model.width=2", "model.kind=slowfast"])
    assert twice.values["model"] == {"kind": "slowfast", "width": 2}
    element = override(layered, ["schedule.0.end=2", "schedule.0.kind=cosine"])
    assert element.values["schedule"][0] == {"kind": "cosine", "end": 2}
    assert override(layered, ["x.y=1", "kind=z"]).values["x"] == {"y": 1}


def test_of_equal_paths_the_last_counts(layered):
    assert override(layered, ["lr=1", "lr=2"]).values["lr"] == 2


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("model.depth", "--set model.depth: should read PATH=VALUE, such as --set model.depth=VALUE"),
        ("", "--set : should read PATH=VALUE, such as --set optimizer.lr=0.01"),
        ("=3", "--set =3: should read PATH=VALUE, such as --set optimizer.lr=0.01"),
        ("model..x=3", "--set model..x=3: should read PATH=VALUE, such as --set model.x=VALUE"),
        (".x.=3", "--set .x.=3: should read PATH=VALUE, such as --set x=VALUE"),
        (
            "schedule.2.end=3",
            (
                "--set schedule.2.end=3: schedule is a list of 2 and has no schedule.2; "
                "its elements are schedule.0 to schedule.1  [code]"
            ),
        ),
        (
            "schedule.end=3",
            (
                "--set schedule.end=3: schedule is a list of 2 and has no schedule.end; "
                "its elements are schedule.0 to schedule.1  [code]"
            ),
        ),
        (
            "schedule.-1=3",
            (
                "--set schedule.-1=3: schedule is a list of 2 and has no schedule.-1; "
                "its elements are schedule.0 to schedule.1  [code]"
            ),
        ),
        ("steps.0=3", "--set steps.0=3: steps is not set, so it has no element 0; set all of steps"),
        ("off.1.x=3", "--set off.1.x=3: off is not set, so it has no element 1; set all of off"),
        (
            "model.depth.x=3",
            "--set model.depth.x=3: model.depth is 50 and has no 'x' below it; set model.depth itself  [code]",
        ),
        (
            "model.kind.x=3",
            "--set model.kind.x=3: model.kind is 'tsn' and has no 'x' below it; set model.kind itself  [code]",
        ),
        ("lr={a: 1, a: 2}", "--set lr={a: 1, a: 2}: 'a' is set twice, first at --set lr={a: 1, a: 2}"),
    ],
)
def test_an_assignment_that_cannot_be_says_why(layered, assignment, message):
    assert refusal(override, layered, [assignment]) == message


def test_an_element_of_an_empty_list_cannot_be_set():
    empty = from_values({"schedule": []}, "code")
    assert refusal(override, empty, ["schedule.0=1"]).endswith("has no schedule.0; set all of schedule  [code]")


def test_broken_yaml_in_an_assignment_names_it(layered):
    assert refusal(override, layered, ["lr=[1"]).startswith("--set lr=[1: not readable as YAML: ")


# From a program.


def test_values_of_a_program_have_one_origin():
    layered = from_values({"a": {1: (2, {"b": None})}}, "translated")
    assert layered.values == {"a": {"1": [2, {"b": None}]}}
    paths = ["", "a", "a.1", "a.1.0", "a.1.1", "a.1.1.b"]
    assert layered.origins == dict.fromkeys(paths, "translated")


def test_values_are_copied():
    values = {"a": {"b": [1]}}
    layered = from_values(values, "code")
    layered.values["a"]["b"].append(2)
    assert values == {"a": {"b": [1]}}


def test_values_are_replaced_by_path(layered):
    new = replace_values(layered, {"model.depth": 18, "schedule.0.end": 3, "model.kind": "slowfast"}, "trial 4")
    assert new.values["model"] == {"kind": "slowfast", "depth": 18}
    assert new.values["schedule"][0]["end"] == 3
    assert new.origins["model.depth"] == "trial 4"
    assert new.origins["lr"] == "code"


def test_a_path_that_cannot_be_replaced_names_the_origin(layered):
    assert refusal(replace_values, layered, {"lr.x": 3}, "trial 4") == (
        "trial 4: lr is 0.1 and has no 'x' below it; set lr itself  [code]"
    )


def test_layers_without_origins_can_be_set():
    assert override(Layered({}, {}), ["a.b=1"]) == Layered(
        {"a": {"b": 1}}, {"": "", "a": "--set a.b=1", "a.b": "--set a.b=1"}
    )


# Properties.


def some_value(rng, depth=0):
    sort = rng.randrange(6 if depth < 3 else 4)
    if sort < 4:
        return [rng.randrange(9), rng.random(), None, f"word{rng.randrange(9)}"][sort]
    if sort == 4:
        return [some_value(rng, depth + 1) for _ in range(rng.randrange(4))]
    return {name: some_value(rng, depth + 1) for name in rng.sample("abcde", rng.randrange(4))}


@pytest.mark.parametrize("seed", range(30))
def test_setting_every_path_builds_the_same_values(seed):
    rng = random.Random(seed)
    values = {name: some_value(rng) for name in "abc"}
    layered = from_values(values, "one")
    leaves = {
        path: value
        for path in layered.origins
        if path and not isinstance(value := at(layered.values, path), dict | list)
    }
    assert replace_values(layered, leaves, "two").values == values
    assert replace_values(Layered({}, {}), values, "two").values == values
    again = replace_values(layered, leaves, "two").origins
    assert {path for path, origin in again.items() if origin == "two"} == set(leaves)
    assert list(again) == list(layered.origins)


@pytest.mark.parametrize("seed", range(30))
def test_merging_is_the_same_in_files_and_in_assignments(seed, write):
    rng = random.Random(seed)
    low, high = ({name: some_value(rng) for name in "abc"} for _ in range(2))
    write("low.yaml", repr(low).replace("None", "null"))
    write("high.yaml", repr({"base": "low.yaml", **high}).replace("None", "null"))
    assert read_layers("high.yaml").values == replace_values(from_values(low, "low"), high, "high").values


def at(values, path):
    for key in path.split("."):
        values = values[int(key)] if isinstance(values, list) else values[key]
    return values


@pytest.mark.parametrize(
    ("assignment", "told"),
    [
        ("a." * 3_000 + "b=1", "a path has up to 50 parts, got 3001"),
        ("\udcff=1", "should be UTF-8 text"),
        ("a=\udcff", "should be UTF-8 text"),
        (f"list.{'9' * 5_000}=1", "list is a list of 1 and has no list.999"),
    ],
)
def test_odd_assignments_are_told(assignment, told):
    with pytest.raises(ConfigError) as caught:
        override(from_values({"list": [1]}, "here"), [assignment])
    assert str(caught.value).startswith(f"--set {assignment}")
    assert told in str(caught.value)
