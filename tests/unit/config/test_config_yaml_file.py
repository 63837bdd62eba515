import math

import pytest

from kinoray.config.layers import read_layers
from kinoray.config.yaml_file import shown, source_and_line
from kinoray.errors import ConfigError


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def read(folder, text):
    (folder / "x.yaml").write_text(text)
    return read_layers("x.yaml")


def refusal(folder, text):
    with pytest.raises(ConfigError) as caught:
        read(folder, text)
    return str(caught.value)


@pytest.mark.parametrize(
    ("word", "value"),
    [
        ("1e-4", 1e-4),
        ("1E5", 1e5),
        ("-1.5e+3", -1500.0),
        (".5", 0.5),
        ("5.", 5.0),
        ("1_000.5", 1000.5),
        ("0.005", 0.005),
        ("-.inf", -math.inf),
        ("true", True),
        ("False", False),
        ("yes", "yes"),
        ("no", "no"),
        ("on", "on"),
        ("Off", "Off"),
        ("y", "y"),
        ("null", None),
        ("~", None),
        ("", None),
        ("50", 50),
        ("-3", -3),
        ("010", 10),
        ("0x1F", 31),
        ("0o17", 15),
        ("1_000", 1000),
        ("1__0", "1__0"),
        ("1:30", "1:30"),
        ("2024-01-01", "2024-01-01"),
        ("'50'", "50"),
        ("s3://a/b.pth", "s3://a/b.pth"),
        ("e5", "e5"),
        ("-", None),
        ("!!str 50", "50"),
        ("!!float 3", 3.0),
        ("=", "="),
    ],
)
def test_unquoted_words_mean_what_they_look_like(folder, word, value):
    if word == "-":  # a list of one empty element, not a minus
        value = [None]
        word = "\n  -"
    got = read(folder, f"a: {word}\n").values["a"]
    assert got == value
    assert type(got) is type(value)


def test_nan_is_a_float(folder):
    assert math.isnan(read(folder, "a: .nan").values["a"])


def test_keys_are_text_as_written(folder):
    assert read(folder, "{0: a, on: b, null: c, 1e-4: d}").values == {"0": "a", "on": "b", "null": "c", "1e-4": "d"}


def test_every_value_mapping_and_list_has_its_line(folder):
    layered = read(
        folder,
        "# a comment\nmodel:\n  kind: tsn\n  mean:\n    - 1\n    - 2\n\nschedule:\n  - {end: 3}\n",
    )
    assert layered.origins == {
        "": "x.yaml",
        "model": "x.yaml:2",
        "model.kind": "x.yaml:3",
        "model.mean": "x.yaml:4",
        "model.mean.0": "x.yaml:5",
        "model.mean.1": "x.yaml:6",
        "schedule": "x.yaml:8",
        "schedule.0": "x.yaml:9",
        "schedule.0.end": "x.yaml:9",
    }


def test_aliases_and_merges_keep_origins(folder):
    layered = read(
        folder,
        "train: &clip\n"
        "  clip_len: 32\n"
        "  num_clips: 1\n"
        "val: *clip\n"
        "test:\n"
        "  <<: *clip\n"
        "  num_clips: 10\n"
        "lr: &lr 0.1\n"
        "again: *lr\n",
    )
    clip = {"clip_len": 32, "num_clips": 1}
    assert layered.values == {"train": clip, "val": clip, "test": {**clip, "num_clips": 10}, "lr": 0.1, "again": 0.1}
    assert layered.origins["val"] == "x.yaml:4"
    assert layered.origins["val.clip_len"] == "x.yaml:2"
    assert layered.origins["test.clip_len"] == "x.yaml:2"
    assert layered.origins["test.num_clips"] == "x.yaml:7"
    assert layered.origins["again"] == "x.yaml:9"


def test_values_behind_aliases_are_not_shared(folder):
    values = read(folder, "a: &a {x: [1]}\nb: *a\n").values
    values["a"]["x"].append(2)
    assert values["b"] == {"x": [1]}


def test_of_several_merges_the_first_wins(folder):
    values = read(folder, "a: &a {x: 1}\nb: &b {x: 2, y: 2}\nc: {<<: [*a, *b], z: 3}\n").values
    assert values["c"] == {"x": 1, "y": 2, "z": 3}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "x.yaml:1: the file is empty; write a mapping such as model: {kind: ...}"),
        ("# only a comment\n", "x.yaml:1: the file is empty; write a mapping such as model: {kind: ...}"),
        ("\n- a\n", "x.yaml:2: should be a mapping of names to values, got a list"),
        ("word", "x.yaml:1: should be a mapping of names to values, got 'word'"),
        ("a: 1\nb: 2\na: 3\n", "x.yaml:3: 'a' is set twice, first at x.yaml:1"),
        ("m:\n  b: 2\n  'b': 3\n", "x.yaml:3: 'b' is set twice, first at x.yaml:2"),
        ("a: 1\n[1, 2]: 3\n", "x.yaml:2: a key should be a word, got a mapping or a list"),
        ("a: &a 1\nb: {<<: *a}\n", "x.yaml:1: '<<' should be a mapping or a list of mappings"),
        ("a: &a\n  b: *a\n", "x.yaml:2: an alias is used inside of what it stands for"),
        ("a: &a {<<: *a}\n", "x.yaml:1: an alias is used inside of what it stands for"),
        ("a: !!int abc\n", "x.yaml:1: 'abc' is no int"),
        ("a: !!bool maybe\n", "x.yaml:1: 'maybe' is no bool"),
        ("a: !!float x\n", "x.yaml:1: 'x' is no float"),
        ("a: !mine x\n", "x.yaml:1: the tag !mine is not for recipes; they hold plain values only"),
        ("a: !!set {x: 1}\n", "x.yaml:1: the tag !!set is not for recipes; they hold plain values only"),
        ("a: !mine [x]\n", "x.yaml:1: the tag !mine is not for recipes; they hold plain values only"),
    ],
)
def test_what_is_no_recipe_is_refused_with_its_line(folder, text, message):
    assert refusal(folder, text) == message


@pytest.mark.parametrize(
    ("text", "beginning", "part"),
    [
        ("a: 1\nb: c: d\n", "x.yaml:2: not readable as YAML: ", "mapping values are not allowed"),
        ("a: [1, 2\nb: 3\n", "x.yaml:2: not readable as YAML: ", "flow sequence"),
        ("a: 1\n\tb: 2\n", "x.yaml:2: not readable as YAML: ", "\\t"),
        ("a: *nowhere\n", "x.yaml:1: not readable as YAML: ", "nowhere"),
        ("a: 1\n---\nb: 2\n", "x.yaml:2: not readable as YAML: ", "single document"),
        ("b: 1\na: \x00\n", "x.yaml:2: not readable as YAML: ", "#x0000"),
    ],
)
def test_broken_yaml_is_refused_with_its_line(folder, text, beginning, part):
    message = refusal(folder, text)
    assert message.startswith(beginning)
    assert part in message
    assert "\n" not in message


def test_nothing_is_executed(folder):
    message = refusal(folder, f"a: !!python/object/apply:pathlib.Path.touch ['{folder}/touched']\n")
    assert "!!python/object/apply:pathlib.Path.touch" in message
    assert not (folder / "touched").exists()


def test_a_byte_order_mark_is_no_part_of_a_key(folder):
    assert read(folder, "\ufeffa: 1\n").values == {"a": 1}


def test_a_missing_file_names_its_neighbours(folder):
    (folder / "configs").mkdir()
    for name in ("slowfast_r50.yaml", "tsn.yaml"):
        (folder / "configs" / name).write_text("a: 1")
    with pytest.raises(ConfigError) as caught:
        read_layers("configs/slowfast_r5.yaml")
    assert str(caught.value) == ("configs/slowfast_r5.yaml: no such file; did you mean configs/slowfast_r50.yaml?")
    with pytest.raises(ConfigError, match=r"^configs/zzz\.txt: no such file$"):
        read_layers("configs/zzz.txt")
    with pytest.raises(ConfigError, match=r"^cfg/tsn\.yaml: no such file; there is no folder cfg either$"):
        read_layers("cfg/tsn.yaml")


def test_a_folder_or_other_bytes_are_refused(folder):
    with pytest.raises(ConfigError, match=r"cannot be read: Is a directory"):
        read_layers(folder)
    (folder / "x.yaml").write_bytes(b"a: \xff\xfe")
    with pytest.raises(ConfigError, match=r"^x\.yaml: cannot be read: it is not UTF-8 text$"):
        read_layers("x.yaml")


def test_paths_are_shown_from_here_where_they_are_inside(folder, tmp_path_factory):
    outside = tmp_path_factory.mktemp("outside") / "y.yaml"
    assert shown(folder / "a" / ".." / "x.yaml") == "x.yaml"
    assert shown(outside) == str(outside.resolve())


@pytest.mark.parametrize(
    ("origin", "parts"),
    [
        ("configs/x.yaml:12", ("configs/x.yaml", 12)),
        ("configs/x.yaml", ("configs/x.yaml", 0)),
        ("--set name=a:b", ("--set name=a:b", 0)),
        ("", ("", 0)),
    ],
)
def test_an_origin_has_a_source_and_maybe_a_line(origin, parts):
    assert source_and_line(origin) == parts


def bomb(lines):
    return "a0: &a0 [x]\n" + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, lines))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (f"a: {'x' * 500_000}", "x.yaml: should be a recipe, a site or a sweep, got more than 500,000 characters"),
        (f"b: 1\na: {'[' * 60}{']' * 60}", "x.yaml:2: not readable as YAML: values lie more than 50 deep"),
        (f"a: {'[' * 50_000}", "x.yaml:1: not readable as YAML: values lie more than 50 deep"),
        ("a0: &a0 [x]\n" + "".join(f"a{n}: &a{n} [*a{n - 1}]\n" for n in range(1, 60)), "more than 50 deep"),
        (bomb(12), "x.yaml:1: more than 50,000 values, those that aliases stand for included"),
        (
            "a: 9223372036854775808",
            "x.yaml:1: 9223372036854775808 is too large; whole numbers go up to 92233720368547758",
        ),
        (f"a: {'9' * 5000}", f"x.yaml:1: {'9' * 60} is too large"),
        (f"a: 0x{'f' * 5000}", "is too large"),
        ('a: "\\ud800"', r"x.yaml:1: '\ud800' is no text"),
        ('"\\ud800": 1', r"x.yaml:1: '\ud800' is no text"),
        ("a: !!null 3", "x.yaml:1: '3' is no null"),
        ("base: /dev/zero", "x.yaml:1: base /dev/zero: should be a recipe, a site or a sweep, got more than"),
        ("base: /dev/null", "x.yaml:1: base /dev/null:1: the file is empty"),
        ('base: "a\\0b"', r"cannot be a path: embedded null byte"),
    ],
)
def test_a_text_takes_neither_time_nor_memory_without_end(folder, text, told):
    assert told in refusal(folder, text)


def test_the_largest_whole_numbers_and_many_values_are_taken(folder):
    values = read(folder, f"a: 9223372036854775807\nb: -9223372036854775807\nc: {[1] * 40_000}\n").values
    assert (values["a"], values["b"], len(values["c"])) == (2**63 - 1, 1 - 2**63, 40_000)
