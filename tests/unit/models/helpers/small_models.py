"""The smallest variant of each family, for other tests than those of the table, and for processes that they start."""

import runpy
from importlib.util import find_spec
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel
from toy_workers import joined_workers

from kinoray.models.kinds import MODELS, ModelConfig, RecognizerConfig

_TABLE = runpy.run_path(str(Path(__file__).parents[1] / "test_models_kinds.py"))
KINDS = sorted(kind for kind, place in MODELS.kinds.items() if find_spec(place.partition(":")[0]) is not None)


def small_config(kind: str) -> RecognizerConfig:
    """Five classes, and the settings that make the family small."""
    config = MODELS.validate({"kind": kind, "num_classes": 5, **_TABLE["SMALL"].get(kind, {})})
    assert isinstance(config, RecognizerConfig)
    return config


def small_clips(config: RecognizerConfig) -> Tensor:
    """Two videos, two views each."""
    generator = torch.Generator().manual_seed(1)
    if not isinstance(config, ModelConfig):
        return torch.rand((2, 2, *_TABLE["FLOAT_VIEWS"][config.kind]), generator=generator)
    shape = (2, 2, len(config.mean), getattr(config, "num_frames", 8), 32, 32)
    return torch.randint(256, shape, dtype=torch.uint8, generator=generator)


def train_all(rank: int, size: int, kinds: list[str], folder: Path) -> None:
    """Two steps of every kind under DDP; leaves kind -> what went wrong, empty for nothing, in ``RANK.pt``."""
    with joined_workers(rank, size, folder):
        torch.save({kind: _train(kind, rank) for kind in kinds}, folder / f"{rank}.pt")


def _train(kind: str, rank: int) -> str:
    config = small_config(kind)
    torch.manual_seed(0)
    try:
        model = DistributedDataParallel(config.build().train())
        for _ in range(2):  # the second step is where torch complains of parameters that the first left out
            model.zero_grad()
            model(small_clips(config).roll(rank, 0)).square().mean().backward()
    except (RuntimeError, ValueError) as error:
        return str(error)
    unlike = [name for name, value in model.module.named_parameters() if not _is_shared(value.grad)]
    return f"gradients that workers do not share: {unlike}" if unlike else ""


def _is_shared(gradient: Tensor | None) -> bool:
    """Whether every worker has the same; all of them must ask."""
    mine = torch.zeros(1) if gradient is None else gradient.abs().sum().reshape(1)
    all_of_them = [torch.empty(1) for _ in range(dist.get_world_size())]
    dist.all_gather(all_of_them, mine)
    return gradient is not None and all(torch.equal(mine, other) for other in all_of_them)
