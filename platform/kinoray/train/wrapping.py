"""How a network is made ready to train: for its device, for memory, for speed, and for several workers."""

import os
import shutil
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from importlib.util import find_spec
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.parallel import DistributedDataParallel
from torch.utils.checkpoint import checkpoint

from kinoray.errors import ConfigError, ResourceError
from kinoray.models.base import Recognizer
from kinoray.param_groups import freeze
from kinoray.recipe import DDPConfig, TrainingConfig
from kinoray.train.sharding import is_sharded, shard
from kinoray.train.world import World


def check_workers(training: TrainingConfig, *, num_workers: int, on_gpu: bool) -> None:
    """See that these workers can do what the recipe asks.

    Raises:
        ConfigError: they cannot.
    """
    if training.sync_batch_norm and num_workers > 1 and not on_gpu:
        raise ConfigError(
            f"training.sync_batch_norm: got true on {num_workers} workers without GPUs, for which torch has no such "
            "layer; leave it out, and where batches are small set training.precise_batch_norm, or a model's group norm"
        )


def check_device(training: TrainingConfig, device: torch.device) -> None:
    """See that this worker's machine has what the recipe needs.

    Raises:
        ResourceError: it has not.
    """
    on_gpu = device.type == "cuda"
    if training.precision == "bf16" and on_gpu and not torch.cuda.is_bf16_supported(including_emulation=False):
        name = torch.cuda.get_device_name(device)
        raise ResourceError(f"training.precision: got bf16, which {name} does not compute in; take fp16")
    if training.compile is not None:
        # As triton looks for them, and torch's C++ backend.
        default = "gcc or clang" if on_gpu else "clang++" if sys.platform == "darwin" else "g++"
        compiler = os.environ.get("CC" if on_gpu else "CXX", default)
        is_there = any(shutil.which(name) for name in compiler.split(" or "))
        if not is_there or (on_gpu and find_spec("triton") is None):
            needs = f"triton and the C compiler {compiler}" if on_gpu else f"the C++ compiler {compiler}"
            raise ResourceError(
                f"training.compile: needs {needs}, which are not all on this machine; install them or leave it out"
            )


def prepare(net: Recognizer, training: TrainingConfig, world: World) -> None:
    """Do what an average of the network shares, in place: freeze, order memory, put in layers that synchronize.

    Raises:
        ConfigError: what is to be frozen is not there.
    """
    freeze(net, training.freeze)
    if training.channels_last:
        for module in net.modules():
            if isinstance(module, nn.Conv2d | nn.Conv3d):
                is_3d = isinstance(module, nn.Conv3d)
                module.to(memory_format=torch.channels_last_3d if is_3d else torch.channels_last)
    if training.sync_batch_norm and world.size > 1:
        nn.SyncBatchNorm.convert_sync_batchnorm(net)


def wrap(net: Recognizer, average: Recognizer | None, training: TrainingConfig, world: World) -> nn.Module:
    """Ready a network to learn, and its average to be scored: in place, names of parameters stay.

    Returns:
        What forward is called on: the network, or DDP around it.

    Raises:
        ConfigError: the model does not name the blocks that are asked for.
    """
    is_to_be_sharded = training.sharding == "full" and world.size > 1
    networks = [net] if average is None else [net, average]
    if training.activation_checkpointing:
        _recompute_blocks(net)
    for network in networks:
        if is_to_be_sharded:
            shard(network, blocks_of(network), world)
        if training.compile is not None:
            network.compile(mode=training.compile)
    return _ddp(net, training.ddp) if world.size > 1 and not is_to_be_sharded else net


@contextmanager
def gradients_joined(model: nn.Module, *, join: bool) -> Iterator[None]:
    """Workers exchange the gradients of what is computed inside, or keep them for a later exchange."""
    if is_sharded(model):
        model.set_requires_gradient_sync(join)
    with model.no_sync() if isinstance(model, DistributedDataParallel) and not join else nullcontext():
        yield


def blocks_of(net: Recognizer) -> list[nn.Module]:
    """The parts between input and head that are worth handling one by one, such as residual blocks.

    Single layers are not. Empty where the model does not name its parts.
    """
    blocks: list[nn.Module] = []
    for part in (part for stage in net.parts_by_depth() for part in stage):
        inner = list(part.children())
        # A list is not called as a whole, a sequence of single layers is.
        is_chain = isinstance(part, nn.ModuleList) or (
            isinstance(part, nn.Sequential) and all(_is_composed(module) for module in inner)
        )
        blocks += inner if is_chain else [part]
    return [block for block in blocks if _is_composed(block)]


def _is_composed(module: nn.Module) -> bool:
    return any(True for _ in module.children())


def _recompute_blocks(net: Recognizer) -> None:
    blocks = blocks_of(net)
    if not blocks:
        raise ConfigError(
            f"training.activation_checkpointing: {type(net).__name__} does not name its blocks (parts_by_depth); leave "
            "it out"
        )
    for block in blocks:
        # In place: torch's own wrapper would change the names of parameters.
        block.forward = _recomputed(block)


def _recomputed(block: nn.Module) -> Callable[..., Any]:
    """A block's forward of which backward finds no activations but computes them again."""
    forward = block.forward
    norms = [module for module in block.modules() if isinstance(module, _BatchNorm)]

    def recomputed(*inputs: Any, **named: Any) -> Any:
        if not torch.is_grad_enabled():
            return forward(*inputs, **named)
        is_again = False

        def compute(*inputs: Any, **named: Any) -> Any:
            nonlocal is_again
            if torch.compiler.is_compiling():  # what changes buffers is once in the graph
                return forward(*inputs, **named)
            with _statistics_kept(norms) if is_again else nullcontext():
                is_again = True
                return forward(*inputs, **named)

        return checkpoint(compute, *inputs, use_reentrant=False, **named)

    return recomputed


@contextmanager
def _statistics_kept(norms: list[_BatchNorm]) -> Iterator[None]:
    """A batch must not enter running statistics a second time."""
    before = [(norm, norm.momentum, count) for norm in norms if (count := norm.num_batches_tracked) is not None]
    for norm, _, count in before:
        norm.momentum, norm.num_batches_tracked = 0.0, count.clone()
    try:
        yield
    finally:
        for norm, momentum, count in before:
            norm.momentum, norm.num_batches_tracked = momentum, count


def _ddp(net: nn.Module, how: DDPConfig) -> DistributedDataParallel:
    with warnings.catch_warnings():
        # Without broadcasting, every worker's running statistics are of its own videos until they are averaged. The
        # argument that torch 2.15 prefers is not there in 2.14.
        warnings.filterwarnings("ignore", "`broadcast_buffers` is deprecated", FutureWarning)
        model = DistributedDataParallel(
            net,
            broadcast_buffers=False,
            gradient_as_bucket_view=True,
            bucket_cap_mb=how.bucket_mb,
            find_unused_parameters=how.find_unused_parameters,
        )
    if how.send_bf16:
        from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import bf16_compress_hook

        model.register_comm_hook(None, bf16_compress_hook)
    return model
