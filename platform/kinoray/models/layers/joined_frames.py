"""Layers that join the frames of a clip, put inside a 2D network that sees every frame on its own.

The frames of B clips are one axis of the network's input, T after T. What is put in runs before or after a layer that
is already there, as a child of it: the names of all other weights stay those of the 2D network.
"""

from functools import partial

from torch import Tensor, nn

from kinoray.errors import ConfigError


def join_before(layer: nn.Module, name: str, joining: nn.Module) -> None:
    """Let ``joining`` run on the input of a layer, as its child of that name."""
    _adopt(layer, name, joining)
    layer.register_forward_pre_hook(partial(_run_before, name))


def join_after(layer: nn.Module, name: str, joining: nn.Module) -> None:
    """Let ``joining`` run on the output of a layer, as its child of that name."""
    _adopt(layer, name, joining)
    layer.register_forward_hook(partial(_run_after, name))


def as_clips(frames: Tensor, num_frames: int) -> Tensor:
    """``(B * T, C, H, W)`` -> ``(B, T, C, H, W)``."""
    return frames.view(-1, num_frames, *frames.shape[1:])


def check_num_frames(clips: Tensor, num_frames: int) -> None:
    """See that ``(B, C, T, H, W)`` clips can be joined, so many frames at a time.

    Raises:
        ConfigError: T is no multiple of them.
    """
    if clips.shape[2] % num_frames:
        raise ConfigError(
            f"model.num_frames: {num_frames} frames are joined, got views of {clips.shape[2]}; give the model's "
            "num_frames and the sampling the same number, or the sampling a multiple"
        )


def _adopt(layer: nn.Module, name: str, joining: nn.Module) -> None:
    assert not isinstance(layer, nn.Sequential), "its children run one after the other"
    layer.add_module(name, joining)


# The child is looked up when it runs: a copy of the network has a copy of it.
def _run_before(name: str, layer: nn.Module, inputs: tuple[Tensor]) -> Tensor:
    joined: Tensor = layer.get_submodule(name)(*inputs)
    return joined


def _run_after(name: str, layer: nn.Module, inputs: tuple[Tensor], output: Tensor) -> Tensor:
    del inputs
    joined: Tensor = layer.get_submodule(name)(output)
    return joined
