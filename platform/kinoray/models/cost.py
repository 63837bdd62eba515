"""What a network costs: multiply-adds, memory, and where in it they go. Run it on fake tensors, and size costs nothing.

A multiplication with its addition counts once, as in the "FLOPs" of papers on video; torch's counter counts two. Only
matrix products, convolutions and attention count, which is all but a hundredth.

Memory is that of tensors that are alive at a time, without parameters, their gradients and an optimizer's state, and
without what a library's kernels use for themselves or an allocator keeps in reserve.
"""

import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode
from torch.utils.weak import WeakIdKeyDictionary

from kinoray.models.base import Recognizer

OTHER = "(other)"
"""What is in no stage: tokens, positions, connections between pathways."""


@dataclass(frozen=True)
class Stage:
    """A part of a network.

    Attributes:
        name: of the module.
        output_shape: of what it gives, with B = N * M in front; None where that is not one tensor.
        num_parameters: in it.
        macs: multiply-adds of a forward pass.
    """

    name: str
    output_shape: tuple[int, ...] | None
    num_parameters: int
    macs: int


@dataclass(frozen=True)
class ForwardCost:
    """Of scoring clips.

    Attributes:
        macs: multiply-adds.
        peak_bytes: of activations, the clips included.
        stages: in the order of depth, the head last; their parameters and multiply-adds add up to the whole.
    """

    macs: int
    peak_bytes: int
    stages: tuple[Stage, ...]


@dataclass(frozen=True)
class TrainingCost:
    """Of one step on clips.

    Attributes:
        saved_bytes: of activations that the backward pass waits for.
        peak_bytes: of activations and their gradients.
    """

    saved_bytes: int
    peak_bytes: int


def num_parameters(module: nn.Module) -> int:
    """Trained or not."""
    return sum(parameter.numel() for parameter in module.parameters())


def forward_cost(model: Recognizer, clips: Tensor) -> ForwardCost:
    """Run a forward pass of a model in eval mode on ``(N, M, C, T, H, W)`` uint8 clips."""
    names = {module: name for name, module in model.named_modules()}
    parts = [part for part in _parts(model) if part in names]
    shapes: dict[str, tuple[int, ...]] = {}
    hooks = [part.register_forward_hook(_shape_noted(shapes, names[part])) for part in parts]
    counter = FlopCounterMode(display=False)
    memory = _LiveMemory(model)
    with torch.no_grad(), _frozen(model), counter, memory:
        memory.add(clips)
        model(clips)
    for hook in hooks:
        hook.remove()
    # The counter calls the whole by its class, and parts by their place in it.
    root, counted = type(model).__name__, counter.get_flop_counts()
    flops = {name.removeprefix(root).removeprefix("."): sum(of.values()) for name, of in counted.items()}
    stages = [
        Stage(name, shapes.get(name), num_parameters(part), _flops_of(part, name, flops) // 2)
        for part, name in ((part, names[part]) for part in parts)
    ]
    macs = counter.get_total_flops() // 2
    rest = Stage(
        OTHER,
        None,
        num_parameters(model) - sum(stage.num_parameters for stage in stages),
        macs - sum(stage.macs for stage in stages),
    )
    others = [rest] if rest.num_parameters or rest.macs else []
    return ForwardCost(macs, memory.peak_bytes, (*stages, *others))


def training_cost(model: nn.Module, clips: Tensor, *, precision: str = "fp32") -> TrainingCost:
    """Run a forward and a backward pass of a model in training mode.

    Args:
        model: changed only in its running statistics.
        clips: ``(N, M, C, T, H, W)`` uint8.
        precision: ``fp32``, or ``bf16`` or ``fp16`` for autocast.
    """
    memory = _LiveMemory(model)
    dtype = torch.float16 if precision == "fp16" else torch.bfloat16
    with _gradients_dropped(model), memory:
        memory.add(clips)
        with torch.autocast(clips.device.type, dtype, enabled=precision != "fp32"):
            loss = model(clips).float().mean()
        saved_bytes = memory.now_bytes
        loss.backward()
    return TrainingCost(saved_bytes, memory.peak_bytes)


class _LiveMemory(TorchDispatchMode):
    """Follows the memory that operations take and give back.

    Args:
        model: whose parameters and buffers do not count.

    Attributes:
        now_bytes: that are alive.
        peak_bytes: the most there were.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.now_bytes = self.peak_bytes = 0
        self._known: WeakIdKeyDictionary = WeakIdKeyDictionary()
        for tensor in (*model.parameters(), *model.buffers()):
            self._known[tensor.untyped_storage()] = 0

    def add(self, tensor: Tensor) -> None:
        """Count a tensor, once for all views of it, until it is freed."""
        storage = tensor.untyped_storage()
        if storage in self._known:
            return
        num_bytes = storage.nbytes()
        self._known[storage] = num_bytes
        weakref.finalize(storage, self._free, num_bytes)
        self.now_bytes += num_bytes
        self.peak_bytes = max(self.peak_bytes, self.now_bytes)

    def _free(self, num_bytes: int) -> None:
        self.now_bytes -= num_bytes

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, Tensor):
                self.add(leaf)
        return result


@contextmanager
def _frozen(model: nn.Module) -> Iterator[None]:
    """No parameter asks for gradients: the counter stumbles over views of those that do."""
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    for parameter in trained:
        parameter.requires_grad_(False)
    yield
    for parameter in trained:
        parameter.requires_grad_(True)


@contextmanager
def _gradients_dropped(model: nn.Module) -> Iterator[None]:
    """Parameters forget their gradients at once: those do not grow with the batch and are no activations."""

    def forget(parameter: Tensor) -> None:
        parameter.grad = None

    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    hooks = [parameter.register_post_accumulate_grad_hook(forget) for parameter in trained]
    yield
    for hook in hooks:
        hook.remove()


def _parts(model: Recognizer) -> list[nn.Module]:
    """What a family calls its parts, in order; its children where it names none."""
    by_depth = [part for stage in model.parts_by_depth() for part in stage]
    if not by_depth:
        return [child for child in model.children() if child is not model.normalize]
    return [*by_depth, model.head()]


def _flops_of(module: nn.Module, name: str, flops: Mapping[str, int]) -> int:
    """Of a module, or of its children where it is not called as a whole, as a list of blocks is not."""
    if name in flops:
        return flops[name]
    return sum(_flops_of(child, f"{name}.{part}", flops) for part, child in module.named_children())


def _shape_noted(shapes: dict[str, tuple[int, ...]], name: str) -> Callable[[nn.Module, Any, Any], None]:
    def note(module: nn.Module, inputs: Any, output: Any) -> None:
        del module, inputs
        if isinstance(output, Tensor):
            shapes[name] = tuple(output.shape)

    return note
