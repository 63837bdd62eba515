import sys

import pytest
from pydantic import ValidationError
from pydantic_core import PydanticCustomError
from toy_recipe import NETS, OPTIMIZERS, SGD, TSN, Recipe, SlowFast, UserNet

from kinoray.config.kinds import KindConfig, KindTable


def test_a_word_picks_its_class():
    net = NETS.validate({"kind": "tsn", "num_classes": 3})
    assert net == TSN(num_classes=3)


def test_without_a_kind_the_default_is_meant():
    assert OPTIMIZERS.validate({"lr": 1}) == SGD(lr=1)


def test_a_users_class_is_picked_by_its_path():
    net = NETS.validate({"kind": "toy_recipe:UserNet", "num_classes": 3, "width": 8})
    assert net == UserNet(num_classes=3, width=8)


def test_a_configuration_object_is_taken_as_it_is():
    net = SlowFast(num_classes=3)
    assert NETS.validate(net) is net


def test_classes_are_imported_only_when_picked(tmp_path, monkeypatch):
    (tmp_path / "lazy_nets.py").write_text("from toy_recipe import TSN\n")
    monkeypatch.syspath_prepend(tmp_path)
    table = KindTable("model", NETS.base, {"lazy": "lazy_nets:TSN"})
    assert "lazy_nets" not in sys.modules
    assert table.pick("lazy") is TSN
    assert sys.modules.pop("lazy_nets")


CHOICES = "one of slowfast, tsn; or package.module:Class for your own"


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("slowfst", f"no model 'slowfst' (did you mean 'slowfast'?); {CHOICES}"),
        ("TSN", f"no model 'TSN' (did you mean 'tsn'?); {CHOICES}"),
        ("{what}", f"no model '{{what}}'; {CHOICES}"),
        ("", f"no model ''; {CHOICES}"),
        (":Net", f"no model ':Net'; {CHOICES}"),
        (".nets:Net", f"no model '.nets:Net'; {CHOICES}"),
        ("nets:", f"no model 'nets:'; {CHOICES}"),
        (
            "no_such.nets:Net",
            "'no_such.nets:Net' cannot be imported: No module named 'no_such'; set PYTHONPATH or site.packages",
        ),
        ("toy_recipe:UserNett", "module 'toy_recipe' has no class 'UserNett' (did you mean 'UserNet'?)"),
        ("toy_recipe:SGD", "'toy_recipe:SGD' is no model; its class has to derive from toy_recipe.Net"),
        ("toy_recipe:NETS", "'toy_recipe:NETS' is no model; its class has to derive from toy_recipe.Net"),
    ],
)
def test_a_bad_pick_says_what_would_be_right(kind, message):
    with pytest.raises(PydanticCustomError) as caught:
        NETS.pick(kind)
    assert caught.value.message() == message


@pytest.mark.parametrize(
    ("code", "why"),
    [
        ("width = heigth", r"NameError: name 'heigth' is not defined \(.*broken_nets\.py, line 1\)$"),
        ("raise SystemExit('usage')", r"SystemExit: usage \(.*broken_nets\.py, line 1\)$"),
        ("def f(:", r"SyntaxError: .*\(broken_nets\.py, line 1\)$"),
        ("from toy_recipe import Nothing", r"ImportError: cannot import name 'Nothing'.*broken_nets\.py, line 1\)$"),
        ("import no_such", "No module named 'no_such'; set PYTHONPATH or site.packages$"),
    ],
)
def test_a_module_that_fails_to_import_is_told_with_its_line(tmp_path, monkeypatch, code, why):
    (tmp_path / "broken_nets.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(PydanticCustomError, match=rf"'broken_nets:Net' cannot be imported: {why}"):
        NETS.pick("broken_nets:Net")


@pytest.mark.parametrize(
    ("value", "place", "message"),
    [
        ({"num_classes": 3}, ("model", "kind"), f"missing; {CHOICES}"),
        ({"kind": 5}, ("model", "kind"), f"should be a word, got 5; {CHOICES}"),
        ({"kind": "slow"}, ("model", "kind"), f"no model 'slow' (did you mean 'slowfast'?); {CHOICES}"),
        ("slowfast", ("model",), "should be a mapping such as {kind: slowfast}"),
        ({"kind": "tsn", "num_classes": 0}, ("model", "num_classes"), "Input should be greater than 0"),
    ],
)
def test_a_problem_stands_at_its_own_place(value, place, message):
    with pytest.raises(ValidationError) as caught:
        Recipe.model_validate({"model": value})
    assert [(error["loc"], error["msg"]) for error in caught.value.errors()] == [(place, message)]


def test_a_table_without_words_still_gives_an_example():
    table = KindTable("thing", KindConfig, {})
    with pytest.raises(PydanticCustomError, match=r"such as \{kind: package.module:Class\}"):
        table.validate(3)
    with pytest.raises(PydanticCustomError, match=r"^no thing 'word'; package.module:Class for your own$"):
        table.pick("word")


def test_a_dump_holds_the_picked_class_in_the_asked_mode():
    recipe = Recipe(model=TSN(num_classes=3, num_segments=4))
    assert recipe.model_dump()["model"] == {"kind": "tsn", "num_classes": 3, "mean": (1.0, 2.5), "num_segments": 4}
    assert recipe.model_dump(mode="json")["model"]["mean"] == [1.0, 2.5]
    assert Recipe.model_validate_json(recipe.model_dump_json()) == recipe


def test_tables_can_be_hashed():
    assert hash(NETS) != hash(OPTIMIZERS)
