"""Which parameters learn and decay how, against a running MMEngine; see shared/golden/README.md, section 8.

The networks here are trees of empty modules, made of the parameter names of the reference's checkpoints.
"""

import gzip
import hashlib
import json
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from kinoray.param_groups import GroupRule, parameter_groups

GOLDEN = Path(__file__).resolve().parents[2].parent / "shared" / "golden"
SCHEDULES = GOLDEN / "schedules.json.gz"
pytestmark = pytest.mark.skipif(not SCHEDULES.is_file(), reason="no ../shared/golden/schedules.json.gz")

CASES: dict[str, Any] = json.loads(gzip.decompress(SCHEDULES.read_bytes())) if SCHEDULES.is_file() else {}
WITHOUT_KEYS = {
    "slowfast_r50_8x8": "its names are those of slowfast_r50_4x16, its shapes are kept aside"
} | dict.fromkeys(
    ("tpn_slowonly_r50", "bmn_400", "bsn_pem_400", "tcanet", "omni_slowonly_r50"), "its parameter names are kept aside"
)


class Tree(nn.Module):
    """A network that is only names and shapes."""

    def __init__(self, shapes: Mapping[str, Sequence[int]], buffers: Iterable[str]) -> None:
        super().__init__()
        owners_of_statistics = {name.rpartition(".")[0] for name in buffers if name.endswith("running_mean")}
        for name, shape in shapes.items():
            owner, _, last = name.rpartition(".")
            is_vector = len(shapes.get(f"{owner}.weight", ())) == 1  # of all layers only norms have such weights
            kind = nn.BatchNorm1d if owner in owners_of_statistics else nn.LayerNorm if is_vector else nn.Module
            module = self._module(owner, kind)
            module.register_parameter(last, nn.Parameter(torch.empty(tuple(shape), device="meta")))

    def _module(self, path: str, kind: type[nn.Module]) -> nn.Module:
        module: nn.Module = self
        words = path.split(".") if path else []
        for depth, word in enumerate(words, 1):
            if not hasattr(module, word):
                is_norm = depth == len(words) and kind is not nn.Module
                module.add_module(word, kind(1, device="meta") if is_norm else nn.Module())
            module = getattr(module, word)
        return module

    def head(self) -> nn.Module:
        return self.get_submodule("cls_head")

    def parts_by_depth(self) -> Sequence[Sequence[nn.Module]]:
        return ()


def tree_of(name: str) -> Tree:
    if name in WITHOUT_KEYS:
        pytest.skip(WITHOUT_KEYS[name])
    entries: dict[str, list[Any]] = json.loads((GOLDEN / "models" / f"{name}.json").read_text())["state_dict"]
    statistics = re.compile(r"(running_mean|running_var|num_batches_tracked)$")
    buffers = [key for key, entry in entries.items() if statistics.search(key) or "kept" in entry]
    return Tree({key: entry[0] for key, entry in entries.items() if key not in buffers}, buffers)


def translated(wrapper: Mapping[str, Any], names: Iterable[str]) -> list[GroupRule]:
    """MMEngine's and MMAction2's rules as ours. Theirs may fit no parameter and then do nothing; ours are refused."""
    return [rule for rule in _translated(wrapper) if any(re.search(rule.match, name) for name in names)]


def _translated(wrapper: Mapping[str, Any]) -> list[GroupRule]:
    how = wrapper.get("paramwise_cfg", {})
    if wrapper.get("constructor") == "TSMOptimWrapperConstructor":
        rules = [GroupRule(of="norm", decay_factor=0), GroupRule(of="bias", lr_factor=2, decay_factor=0)]
        return [*rules, GroupRule(of="head", lr_factor=5)] if how["fc_lr5"] else rules
    if wrapper.get("constructor") == "SwinOptimWrapperConstructor":
        return [
            GroupRule(match=re.escape(key), lr_factor=of.get("lr_mult", 1), decay_factor=of.get("decay_mult", 1))
            for key, of in how.items()
        ]
    of_roles = [
        GroupRule(of=role, decay_factor=how[key])
        for role, key in (("norm", "norm_decay_mult"), ("bias", "bias_decay_mult"))
        if key in how
    ]
    return of_roles + [
        GroupRule(match="^" + re.escape(key), lr_factor=of.get("lr_mult", 1), decay_factor=of.get("decay_mult", 1))
        for key, of in how.get("custom_keys", {}).items()
    ]


def digest(names: Iterable[str]) -> str:
    return hashlib.sha256("\n".join(sorted(names)).encode()).hexdigest()


@pytest.mark.parametrize("name", CASES)
def test_parameter_groups(name: str) -> None:
    """Names, number and size of every group with parameters, by its learning rate and decay."""
    case, net = CASES[name], tree_of(name)
    optimizer = case["optim_wrapper"]["optimizer"]
    names = {id(parameter): key for key, parameter in net.named_parameters()}
    rules = translated(case["optim_wrapper"], names.values())
    found: dict[str, list[nn.Parameter]] = defaultdict(list)
    groups = parameter_groups(net, rules, lr=optimizer["lr"], weight_decay=optimizer["weight_decay"], layer_decay=None)
    for group in groups:
        found[f"lr={group['lr']:g} wd={group['weight_decay']:g}"] += group["params"]  # type: ignore[operator]
    ours = {
        key: (len(group), sum(p.numel() for p in group), digest(names[id(p)] for p in group))
        for key, group in found.items()
    }
    theirs = {
        key: (group["count"], group["numel"], group["sha256_sorted_names"])
        for key, group in case["param_groups"].items()
        if group["count"]
    }
    assert ours == theirs
