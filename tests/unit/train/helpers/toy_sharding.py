"""Two workers that split a model between them, or add up its gradients in other ways."""

import shutil
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from toy_workers import joined_workers, outcome

from kinoray.recipe import Recipe
from kinoray.train.learner import start_learner
from kinoray.train.world import World


def worker(rank: int, size: int, recipes: dict[str, str], folder: Path) -> None:
    """Train every recipe (name -> file) with the others; leaves ``NAME-RANK.pt`` with the outcome and the shares.

    One whose name says that it is resumed goes on from the first epoch of ``ddp``.
    """
    with joined_workers(rank, size, folder):
        for name, path in recipes.items():
            recipe = Recipe.load(path)
            if name.endswith("_resumed"):
                if rank == 0:
                    shutil.copytree(folder / "ddp" / "epoch-0000", folder / name / "epoch-0000")
                dist.barrier()
            shares = shares_of(recipe, World(rank, size))
            torch.save(outcome(recipe, folder / name, rank, size) | shares, folder / f"{name}-{rank}.pt")


def shares_of(recipe: Recipe, world: World) -> dict[str, Any]:
    """Of each parameter the share that this worker holds, and how its learner adds up gradients."""
    learner = start_learner(recipe, world)
    held = {
        name: (parameter.to_local() if hasattr(parameter, "to_local") else parameter).numel() / parameter.numel()
        for name, parameter in learner.net.named_parameters()
    }
    model = learner.model
    return {
        "shares": held,
        "bucket_bytes": getattr(model, "bucket_bytes_cap", None),
        "looks_for_unused": getattr(model, "find_unused_parameters", None),
    }
