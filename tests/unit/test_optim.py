import sys
from types import ModuleType

import pytest
import torch
from pydantic import TypeAdapter, ValidationError
from pydantic_core import PydanticCustomError

from kinoray.optim import OPTIMIZERS, AdamWConfig, AnyOptimizer, OptimizerConfig, SGDConfig


def step(config, value=2.0, gradient=0.5, num_steps=1):
    """The weight after some steps with one gradient."""
    weight = torch.nn.Parameter(torch.tensor([value], dtype=torch.float64))
    optimizer = config.build([weight])
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
    group = config.build([torch.nn.Parameter(torch.zeros(1))]).param_groups[0]
    assert (group["betas"], group["eps"]) == ((0.8, 0.99), 1e-8)


def test_a_kind_picks_the_optimizer():
    adapter = TypeAdapter(AnyOptimizer)
    assert adapter.validate_python({"kind": "sgd", "lr": 0.1}) == SGDConfig(lr=0.1)
    assert adapter.validate_python({"kind": "adamw", "lr": 1}) == AdamWConfig(lr=1)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"lr": 0.1}, "missing; one of adamw, sgd"),
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
