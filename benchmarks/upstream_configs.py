#!/usr/bin/env python3
"""All configs of MMAction2 for recognizers: which become whole recipes, and what their networks cost here and there.

python benchmarks/upstream_configs.py FOLDER [JSON]      FOLDER is MMAction2's `configs`, it holds `recognition`

Nothing in FOLDER is run, and nothing computed but shapes. Parameters "there" are exact: upstream_parameters.json holds
those of every network as MMAction2 1.2.0 with MMEngine 0.10.7 built it. GFLOPs "there" are what its metafile.yml files
say, ours are multiply-adds of one view of the test.
"""

import json
import re
import sys
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import torch
import yaml
from report import print_table, write_json
from torch._subclasses.fake_tensor import FakeTensorMode

from kinoray.errors import ConfigError
from kinoray.mmaction2.models import model_values
from kinoray.mmaction2.read import read_config
from kinoray.models.cost import forward_cost, num_parameters
from kinoray.models.kinds import MODELS, ModelConfig, RecognizerConfig
from kinoray.recipe import Recipe
from kinoray.train.describe import view_shapes

SECTIONS = ("recognition", "recognition_audio", "skeleton")
UPSTREAM_PARAMETERS = Path(__file__).with_name("upstream_parameters.json")
GIGA = 1e9
_SUFFIXES = {"": 1.0, "M": 1e6, "G": 1e9}


def main() -> None:
    """Print a row for each config, why some are no whole recipe, and the counts; write the rows."""
    if not 2 <= len(sys.argv) <= 3 or not (folder := Path(sys.argv[1])).joinpath(SECTIONS[0]).is_dir():
        sys.exit(__doc__)
    rows, reasons = [], {}
    stated = _stated_metadata(folder)
    upstream_parameters = json.loads(UPSTREAM_PARAMETERS.read_text())
    for path in sorted(path for section in SECTIONS for path in (folder / section).rglob("*.py")):
        name = path.relative_to(folder).as_posix()
        row, why = _measured(path, stated.get(name, {}))
        rows.append({"config": name.removesuffix(".py"), **row, "parameters there": upstream_parameters.get(name)})
        reasons[name] = why
    print_table([{name: row.get(name) for name in _COLUMNS} for row in rows])
    for name, why in reasons.items():
        if why:
            print(f"\n{name}: {why}")
    for section in SECTIONS:
        _print_counts(section, [row for row in rows if row["config"].startswith(f"{section}/")])
    write_json("upstream_configs", rows, sys.argv[2] if len(sys.argv) > 2 else None)


_COLUMNS = ("config", "becomes", "parameters here", "parameters there", "view", "GFLOPs here", "GFLOPs there")


def _measured(path: Path, stated: Mapping[str, Any]) -> tuple[dict[str, Any], str]:
    """What becomes of a config, and why it is less than a recipe."""
    try:
        values = model_values(read_config(path))
    except ConfigError as error:
        return {"becomes": "nothing"}, str(error)
    becomes, why, shape = "recipe", "", ()
    try:
        shape = view_shapes(Recipe.load(path)).get("test", ())
    except ConfigError as error:
        becomes, why = "model", str(error)
    parameters, macs = _cost(json.dumps({**values, "pretrained": None} if "pretrained" in values else values), shape)
    flops = {"GFLOPs here": macs / GIGA if macs else None, "GFLOPs there": _number(stated.get("FLOPs"), GIGA)}
    return {"becomes": becomes, "parameters here": parameters, "view": "x".join(map(str, shape[1:])), **flops}, why


@cache
def _cost(model: str, shape: tuple[int, ...]) -> tuple[int, int]:
    """Parameters, and multiply-adds of one view of ``(M, ...)``, 0 without a shape."""
    config = MODELS.validate(json.loads(model))
    assert isinstance(config, RecognizerConfig)
    with torch.device("meta"):
        network = config.build().eval()
    if not shape:
        return num_parameters(network), 0
    dtype = torch.uint8 if isinstance(config, ModelConfig) else torch.float32
    with FakeTensorMode(allow_non_fake_inputs=True):
        network.to_empty(device="cpu")
        clips = torch.zeros((1, 1, *shape[1:]), dtype=dtype)
        return num_parameters(network), forward_cost(network, clips).macs


def _stated_metadata(folder: Path) -> dict[str, dict[str, Any]]:
    """Config, below the folder -> what a metafile says of its network."""
    models = [
        model
        for section in SECTIONS
        for file in sorted((folder / section).rglob("metafile.yml"))
        for model in yaml.safe_load(file.read_text()).get("Models", [])
    ]
    return {model["Config"].removeprefix("configs/"): model["Metadata"] for model in models}


def _number(text: object, unit: float) -> float | None:
    """``36.3G`` in a unit; plain numbers are of one."""
    found = re.fullmatch(r"([\d.]+)([MG]?)", str(text))
    return float(found[1]) * _SUFFIXES[found[2]] / unit if found else None


def _print_counts(section: str, rows: list[dict[str, Any]]) -> None:
    built = [row for row in rows if "parameters here" in row]
    equal = sum(row["parameters here"] == row["parameters there"] for row in built)
    recipes = sum(row["becomes"] == "recipe" for row in rows)
    print(
        f"\n{section}: {len(rows)} configs, {recipes} become whole recipes, {len(built)} networks are built, "
        f"{equal} of them with MMAction2's number of parameters"
    )


if __name__ == "__main__":
    main()
