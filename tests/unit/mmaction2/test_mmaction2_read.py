"""Configs are read as MMEngine would run them, with the line of every value; and nothing is ever run."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kinoray.errors import ConfigError
from kinoray.mmaction2.read import Source, read_config

SourceOf = Callable[..., Source]


def value_of(source_of: SourceOf, expression: str, before: str = "") -> Any:
    return source_of(f"{before}\nx = {expression}").values["x"]


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("dict(a=1, b=[1.5, 'two', None, True])", {"a": 1, "b": [1.5, "two", None, True]}),
        ("dict(dict(a=1), b=2)", {"a": 1, "b": 2}),
        ("dict([('a', 1)])", {"a": 1}),
        ("{'a': 1, 2: (3, -4)}", {"a": 1, "2": [3, -4]}),
        ("{**dict(a=1), 'b': 2}", {"a": 1, "b": 2}),
        ("dict(a=0, **dict(a=1))", {"a": 1}),
        ("[0.1 * 4, 7 // 2, 2 ** 3, 7 % 4, 1 / 4]", [0.4, 3, 8, 3, 0.25]),
        ("[1] + [2] * 2", [1, 2, 2]),
        ("[*range(2), 5]", [0, 1, 5]),
        ("[dict(n=n) for n in range(4) if n % 2]", [{"n": 1}, {"n": 3}]),
        ("[a + b for a in (1, 2) for b in (10, 20)]", [11, 21, 12, 22]),
        ("{str(n): n for n in (1, 2)}", {"1": 1, "2": 2}),
        ("f'{3:03d}_{\"a\"!r}.pth'", "003_'a'.pth"),
        ("'{}/{name}'.format('a', name='b')", "a/b"),
        ("'%s-%d' % ('a', 2)", "a-2"),
        ("'a' 'b' + 'c'.upper()", "abC"),
        ("1 if 2 > 1 and not False else 0", 1),
        ("1 < 2 < 2 or 'no'", "no"),
        ("dict(a=[1, 2, 3])['a'][1:]", [2, 3]),
        ("max(len('abc'), int('2'))", 3),
        ("list(dict(a=1).items())", [["a", 1]]),
        ("dict(a=1).get('b', 7)", 7),
    ],
)
def test_expressions_mean_what_python_means(source_of: SourceOf, expression: str, value: Any) -> None:
    assert value_of(source_of, expression) == value


def test_names_stand_for_what_was_defined_before(source_of: SourceOf) -> None:
    assert value_of(source_of, "dict(a=n, **d)", "n = m = 2\nd = dict(b=n)\nn += 1") == {"a": 3, "b": 2}
    assert value_of(source_of, "[a, b]", "a, b = 1, 2") == [1, 2]


def test_two_names_for_one_list_are_one_list(source_of: SourceOf) -> None:
    text = "x = [1]\ny = x\nz = x.copy()\ny.append(2)\nd = dict(x=x)\nd['x'][0] = 5\ny += [3]"
    assert source_of(text).values == {"x": [5, 2], "y": [5, 2, 3], "z": [1], "d": {"x": [5, 2]}}


def test_mappings_are_changed_in_place(source_of: SourceOf) -> None:
    text = "d = dict(a=dict(b=1, c=2))\nd.update(e=3)\nd.merge(dict(a=dict(b=7)))\ndel d['a']['c']\nd.pop('e')\nl = [d]"
    assert source_of(text).values == {"d": {"a": {"b": 7}}, "l": [{"a": {"b": 7}}]}
    assert source_of("import copy\na = dict(b=[1])\nc = copy.deepcopy(a)\nc['b'].append(2)").values["a"] == {"b": [1]}


def test_bases_lie_below(config_file: Callable[..., Path]) -> None:
    config_file("a = dict(b=1, c=dict(d=2, e=3))\nn = 1", "low.py")
    config_file("f = 4", "other.py")
    path = config_file("_base_ = ['./low.py', 'other.py']\na = dict(c=dict(e=5))\ng = _base_.a.b", "high.py")
    source = read_config(path)
    assert source.values == {"a": {"b": 1, "c": {"d": 2, "e": 5}}, "n": 1, "f": 4, "g": 1}
    lines = {place: Path(origin).name for place, origin in source.origins.items()}
    assert (lines["a.c.e"], lines["a.c.d"], lines["f"]) == ("high.py:2", "low.py:1", "other.py:1")
    assert source.where("a.c.d.nothing") == source.origins["a.c.d"]


def test_delete_replaces_instead_of_merging(config_file: Callable[..., Path]) -> None:
    config_file("a = dict(b=1, c=dict(d=2))\ne = None", "low.py")
    text = "_base_ = 'low.py'\na = dict(_delete_=True, c=dict(f=3))\ne = dict(_delete_=True, g=1)"
    assert read_config(config_file(text, "high.py")).values == {"a": {"c": {"f": 3}}, "e": {"g": 1}}


def test_words_of_mmengine_are_filled_in(config_file: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    config_file("a = dict(b=[1, 2])", "low.py")
    monkeypatch.setenv("THERE", "7")
    lines = [
        "_base_ = 'low.py'",
        "c = {{_base_.a.b}}",
        "d = '{{ _base_.a.b }}'",
        "e = 'has {{_base_.a.b}}'",
        "f = './{{ fileBasenameNoExtension }}/{{fileExtname}}'",
        "g = {{$THERE:1}} + {{$ABSENT_IN_TESTS:2}}",
    ]
    values = read_config(config_file("\n".join(lines), "high.py")).values
    assert values["c"] == values["d"] == [1, 2]
    assert (values["e"], values["f"], values["g"]) == ("has [1, 2]", "./high/.py", 9)
    with pytest.raises(ConfigError, match=r"2: the environment variable ABSENT_IN_TESTS is not set"):
        read_config(config_file("\na = '{{$ABSENT_IN_TESTS}}'"))


def test_pure_python_configs(config_file: Callable[..., Path]) -> None:
    (config_file("", "x.py").parent / "sub").mkdir()
    config_file("model = dict(backbone=dict(depth=50))\nlr = 1", "low.py")
    lines = [
        "from mmengine.config import read_base",
        "with read_base():",
        "    from ..low import *",
        "from mmaction.models import ResNet",
        "import mmaction.datasets as ds",
        "model['backbone']['type'] = ResNet",
        "model.backbone.depth = 101",
        "loader = dict(type=ds.VideoDataset)",
    ]
    assert read_config(config_file("\n".join(lines), "sub/high.py")).values == {
        "model": {"backbone": {"depth": 101, "type": "ResNet"}},
        "lr": 1,
        "loader": {"type": "VideoDataset"},
    }


@pytest.mark.parametrize(
    "line",
    [
        "open('ran', 'w')",
        "x = open('ran', 'w')",
        "x = __import__('os').system('touch ran')",
        "import os; x = os.system('touch ran')",
        "x = (lambda: 1)()",
        "x = ''.__class__",
        "x = '{0.__class__}'.format(1)",
        "x = getattr(1, 'real')",
        "x = [].__class__.__base__.__subclasses__()",
        "for i in [1]: pass",
        "def f(): return 1",
        "class A: pass",
        "exec('x = 1')",
        "x = (y := 1)",
        "x = b'bytes'",
    ],
)
def test_what_is_more_than_plain_values_is_refused(
    source_of: SourceOf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=r"small_2xb4_kinetics\.py:2: "):
        source_of(f"a = 1\n{line}")
    assert not Path("ran").exists()


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("depht = 1\nx = depth", r"py:2: 'depth' is not defined before \(did you mean 'depht'\?\)"),
        ("x = dict(a=1)['b']", r"py:1: there is no 'b'"),
        ("x = 1 + 'a'", r"py:1: cannot be computed"),
        ("x = [1][3]", r"py:1: cannot be computed"),
        ("a, b = [1]", r"py:1: 1 values for 2 names"),
        ("x = dict(**[1])", r"py:1: should be a mapping"),
        ("x = [\n1,\n", r"py:1: not readable as Python"),
        ("_base_ = 'absent.py'", r"py:1: _base_ .*absent\.py: no such file"),
        ("_base_ = 'mmaction::_base_/default_runtime.py'", r"py:1: _base_, got 'mmaction::.* give the path of a copy"),
        ("_base_ = 3", r"py:1: _base_ should be a path"),
        ("_base_ = 'small_2xb4_kinetics.py'", r"a file cannot be its own base"),
        ("x = []\nx.append(x)", r"hold themselves"),
        ("x = 'a' * 10 ** 9", r"py:1: too large"),
        ("x = 9 ** 9 ** 9", r"py:1: too large"),
        ("x = '%999999999d' % 1", r"py:1: too large"),
        ("x = list(range(10 ** 9))", r"py:1: cannot be computed"),
        ("x = " + "[" * 500 + "]" * 500, r"too deep|too many nested|not readable"),
    ],
)
def test_mistakes_are_told_with_their_line(source_of: SourceOf, text: str, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        source_of(text)


def test_two_bases_may_not_set_the_same(config_file: Callable[..., Path]) -> None:
    config_file("a = 1", "one.py")
    config_file("a = 2", "two.py")
    with pytest.raises(ConfigError, match=r"two bases set 'a': .*one\.py:1 and .*two\.py:1"):
        read_config(config_file("_base_ = ['one.py', 'two.py']"))


def test_what_is_shared_too_often_is_refused(source_of: SourceOf) -> None:
    doubling = "\n".join(f"x{n} = [x{n - 1}] * 10" for n in range(1, 9))
    with pytest.raises(ConfigError, match="holds more than"):
        source_of(f"x0 = [1] * 10\n{doubling}")
