"""Weights and inputs of networks that a running MMAction2 (main 4d6c934) scored; see shared/golden/README.md."""

import importlib.util
import json
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

GOLDEN = Path(__file__).resolve().parents[3].parent / "shared" / "golden"


@cache
def load_recipe() -> ModuleType:
    spec = importlib.util.spec_from_file_location("golden_recipe", GOLDEN / "recipe.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def read_fixture(name: str) -> dict[str, Any]:
    path = GOLDEN / "models" / f"{name}.json"
    if not path.is_file():
        pytest.skip(f"no {path.name} in ../shared/golden/models")
    return json.loads(path.read_text())


def read_scores(name: str) -> dict[str, Tensor]:
    with np.load(GOLDEN / "models" / f"{name}.npz") as arrays:
        return {key: torch.from_numpy(arrays[key]) for key in arrays.files}


def make_state_dict(fixture: dict[str, Any]) -> dict[str, Tensor]:
    """MMAction2's checkpoint, in its own keys, without what the network computes by itself."""
    tensors = load_recipe().make_tensor
    return {
        key: torch.from_numpy(np.asarray(tensors(key, *spec, scales=fixture["scales"])))
        for key, spec in fixture["state_dict"].items()
        if "kept" not in spec
    }


def make_views(spec: dict[str, Any]) -> Tensor:
    """The fixture's input as MMAction2 takes it: of 2D networks, views and frames lie on one axis."""
    return torch.from_numpy(load_recipe().make_input(spec))
