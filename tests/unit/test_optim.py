import sys
from types import ModuleType

import pytest
import torch
from pydantic import TypeAdapter, ValidationError
from pydantic_core import PydanticCustomError

from kinoray.errors import ConfigError
from kinoray.optim import OPTIMIZERS, AdamWConfig, AnyOptimizer, OptimizerConfig, SGDConfig


class Toy(torch.nn.Module):
    """Two stages and a head."""

    def __init__(self, weight=None):
        super().__init__()
        self.token = torch.nn.Parameter(torch.zeros(1, 2)) if weight is None else weight
        self.low, self.high, self.fc = torch.nn.Module(), torch.nn.Module(), torch.nn.Module()
        if weight is None:
            self.low.conv = torch.nn.Conv1d(2, 2, 1)
            self.low.norm = torch.nn.BatchNorm1d(2)
            self.high.conv = torch.nn.Conv1d(2, 2, 1)
            self.fc = torch.nn.Linear(2, 3)

    def head(self):
        return self.fc

    def parts_by_depth(self):
        return [[self.low], [self.high]]


def grouped(config):
    """Parameter name -> (rate, decay, factor of the rate)."""
    net = Toy()
    names = {id(parameter): name for name, parameter in net.named_parameters()}
    return {
        names[id(parameter)]: tuple(round(group[key], 9) for key in ("lr", "weight_decay", "lr_factor"))
        for group in config.build(net).param_groups
        for parameter in group["params"]
    }


def step(config, value=2.0, gradient=0.5, num_steps=1):
    """The weight after some steps with one gradient."""
    weight = torch.nn.Parameter(torch.tensor([value], dtype=torch.float64))
    optimizer = config.build(Toy(weight=weight))
    for _ in range(num_steps):
        weight.grad = torch.full_like(weight, gradient)
        optimizer.step()
    return weight.item()


def test_sgd_decays_and_keeps_its_momentum():
    config = SGDConfig(lr=0.1, momentum=0.9, weight_decay=0.01)
    after_one = 2.0 - 0.1 * (0.5 + 0.01 * 2.0)
    second = 0.9 * (0.5 + 0.01 * 2.0) + 0.5 + 0.01 * after_one
    assert step(config) == pytest.approx(after_one)
    assert step(config, num_steps=2) == pytest.approx(after_one - 0.1 * second)


def test_nesterov_looks_ahead():
    assert step(SGDConfig(lr=0.1, momentum=0.9, nesterov=True)) == pytest.approx(2.0 - 0.1 * (0.5 + 0.9 * 0.5))


def test_adamw_decays_apart_from_the_gradient():
    config = AdamWConfig(lr=0.1, weight_decay=0.05, betas=(0.8, 0.99), eps=1e-8)
    assert step(config) == pytest.approx(2.0 * (1 - 0.1 * 0.05) - 0.1)
    group = config.build(Toy()).param_groups[0]
    assert (group["betas"], group["eps"]) == ((0.8, 0.99), 1e-8)


def test_a_kind_picks_the_optimizer():
    adapter = TypeAdapter(AnyOptimizer)
    assert adapter.validate_python({"kind": "sgd", "lr": 0.1}) == SGDConfig(lr=0.1)
    assert adapter.validate_python({"kind": "adamw", "lr": 1}) == AdamWConfig(lr=1)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"lr": 0.1}, "missing; one of adam, adamw, sgd"),
        ({"kind": "sgd", "lr": 0}, "greater than 0"),
        ({"kind": "sgd", "lr": 1, "momentum": 0, "nesterov": True}, "nesterov, got true with momentum 0; it should be"),
        ({"kind": "sgd", "lr": 1, "weight_decay": -1}, "greater than or equal to 0"),
        ({"kind": "adamw", "lr": 1, "betas": [0.9, 1.0]}, "less than 1"),
    ],
)
def test_impossible_optimizers(settings, told):
    with pytest.raises(ValidationError) as caught:
        TypeAdapter(AnyOptimizer).validate_python(settings)
    assert told in str(caught.value)


def test_a_kind_of_ones_own_says_how_it_is_built(monkeypatch):
    module = ModuleType("own_optim")
    module.Own = type("Own", (OptimizerConfig,), {"__module__": "own_optim"})
    monkeypatch.setitem(sys.modules, "own_optim", module)
    with pytest.raises(PydanticCustomError, match=r"'own_optim:Own' lacks build; see kinoray\.optim"):
        OPTIMIZERS.pick("own_optim:Own")


def test_without_rules_all_are_one_group():
    (group,) = SGDConfig(lr=0.1, weight_decay=0.01).build(Toy()).param_groups
    assert (len(group["params"]), group["lr"], group["weight_decay"], group["lr_factor"]) == (9, 0.1, 0.01, 1)


def test_rules_of_one_parameter_multiply():
    """As TSM is trained: biases twice as fast and the head five times, neither norms nor biases decay."""
    rules = [
        {"of": "bias", "lr_factor": 2, "decay_factor": 0},
        {"of": "norm", "decay_factor": 0},
        {"of": "head", "lr_factor": 5},
        {"match": "^token$", "lr_factor": 0.5},
    ]
    assert grouped(SGDConfig(lr=0.1, weight_decay=0.01, groups=rules)) == {
        "token": (0.05, 0.01, 0.5),
        "low.conv.weight": (0.1, 0.01, 1),
        "low.conv.bias": (0.2, 0, 2),
        "low.norm.weight": (0.1, 0, 1),
        "low.norm.bias": (0.1, 0, 1),
        "high.conv.weight": (0.1, 0.01, 1),
        "high.conv.bias": (0.2, 0, 2),
        "fc.weight": (0.5, 0.01, 5),
        "fc.bias": (1.0, 0, 10),
    }


def test_vectors_are_what_has_one_dimension():
    found = grouped(AdamWConfig(lr=0.1, weight_decay=0.01, groups=[{"of": "vector", "decay_factor": 0}]))
    vectors = {"low.conv.bias", "low.norm.weight", "low.norm.bias", "high.conv.bias", "fc.bias"}
    assert {name for name, (_, decay, _) in found.items() if decay == 0} == vectors


def test_the_rate_decays_from_the_head_down():
    found = grouped(AdamWConfig(lr=1.0, layer_decay=0.5))
    rates = {name: found[name][0] for name in ("fc.weight", "high.conv.bias", "low.norm.weight", "token")}
    assert rates == {"fc.weight": 1, "high.conv.bias": 0.5, "low.norm.weight": 0.25, "token": 0.125}


def test_a_rule_that_fits_nothing_is_an_error():
    config = SGDConfig(lr=0.1, groups=[{"of": "norm"}, {"of": "bias", "match": "layer5"}])
    with pytest.raises(
        ConfigError, match=r"optimizer\.groups\.1: fits none .* match 'layer5'; names are like token, low"
    ):
        config.build(Toy())


def test_depth_needs_a_model_that_knows_it(monkeypatch):
    monkeypatch.setattr(Toy, "parts_by_depth", lambda self: [])
    with pytest.raises(ConfigError, match=r"optimizer\.layer_decay: this model does not name its stages"):
        SGDConfig(lr=0.1, layer_decay=0.5).build(Toy())


def test_frozen_parameters_are_in_no_group():
    net = Toy()
    net.low.requires_grad_(requires_grad=False)
    groups = SGDConfig(lr=0.1, groups=[{"of": "norm", "decay_factor": 0}]).build(net).param_groups
    assert sum(len(group["params"]) for group in groups) == 5
    net.requires_grad_(requires_grad=False)
    with pytest.raises(ConfigError, match="all of its parameters are frozen"):
        SGDConfig(lr=0.1).build(net)


def test_match_is_a_regular_expression():
    with pytest.raises(ValidationError, match=r"got 'layer\(', no regular expression"):
        SGDConfig(lr=0.1, groups=[{"match": "layer("}])


@pytest.mark.parametrize(("batch_size", "expected"), [(64, 0.1), (16, 0.025), (96, 0.15)])
def test_the_rate_is_scaled_to_the_batch(batch_size, expected):
    assert SGDConfig(lr=0.1, base_batch_size=64).scaled_lr(batch_size) == pytest.approx(expected)
    assert SGDConfig(lr=0.1).scaled_lr(batch_size) == 0.1
