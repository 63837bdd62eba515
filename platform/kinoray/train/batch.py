"""A batch of clips between the pipeline and the model."""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kinoray.data.float_views import FloatView
from kinoray.data.views import View
from kinoray.train.packed import PackedClips
from kinoray.transforms.yuv import planes_to_rgb


@dataclass(frozen=True)
class Batch:
    """Clips of one worker's share of a global batch, bad videos included.

    Attributes:
        clips: uint8, RGB ``(N, M, T, H, W, C)`` or planes ``(N, M, T, 3 * H / 2, W)`` or N packed rows, as in
            ``ClipRow``. May alias memory that other processes read: never written in place.
        labels: ``(N,)`` int64.
        video_ids: N ids.
        positions: ``(N,)`` int64, places in the plan.
        clip_seeds: ``(N,)`` uint64, of the plan.
        errors: N messages, empty where the video was read.
        decode_seconds: CPU time that reading took, summed over the videos.
        colours: N codes of what YUV planes are in (``transforms.colours``); without meaning for RGB.
        facts: N texts, see ``ReadRow``.
        floats: that the clips are bytes of, where they are no pictures; says what the model sees of them.
    """

    clips: Tensor | PackedClips
    labels: Tensor
    video_ids: tuple[str, ...]
    positions: NDArray[np.int64]
    clip_seeds: NDArray[np.uint64]
    errors: tuple[str, ...]
    decode_seconds: float
    colours: tuple[int, ...]
    facts: tuple[str, ...] = ()
    floats: FloatView | None = None

    @classmethod
    def from_columns(cls, columns: Mapping[str, Any], view: View | None = None) -> Self:
        """From columns of ``ClipRow`` fields, arrays or for packed rows also ``PackedClips``; clips are not copied.

        ``view`` is what they were cut out by; it may be left out where they are pictures.
        """
        clips = columns["clip"]
        return cls(
            clips=clips if isinstance(clips, PackedClips) else _clips_of(clips),
            labels=torch.tensor(columns["label"], dtype=torch.int64),
            video_ids=tuple(str(video_id) for video_id in columns["video_id"]),
            positions=np.array(columns["position"], dtype=np.int64),
            clip_seeds=np.array(columns["clip_seed"], dtype=np.uint64),
            errors=tuple(str(error) for error in columns["error"]),
            decode_seconds=float(np.sum(columns["decode_seconds"])),
            colours=tuple(int(colour) for colour in columns["colour"]),
            facts=tuple(str(facts) for facts in columns["facts"]),
            floats=view if isinstance(view, FloatView) else None,
        )

    @property
    def num_good(self) -> int:
        """Videos that were read."""
        return sum(not error for error in self.errors)

    @property
    def kept(self) -> list[int]:
        """Places of the videos that are trained on: those that were read, or all where none was.

        Every worker has to take part in every step.
        """
        return [index for index, error in enumerate(self.errors) if not error] or list(range(len(self.errors)))

    def cut(self, part: slice) -> "Batch":
        """Some of the videos; ``decode_seconds`` stays that of all."""
        return replace(
            self,
            clips=self.clips[part],
            labels=self.labels[part],
            video_ids=self.video_ids[part],
            positions=self.positions[part],
            clip_seeds=self.clip_seeds[part],
            errors=self.errors[part],
            colours=self.colours[part],
            facts=self.facts[part],
        )

    def on(self, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
        """Clips, labels and weights of the videos that are ``kept`` on a device, for training; 0 is a bad one's weight.

        Returns:
            ``(N, M, C, T, H, W)`` uint8 or N x M views of floats; ``(N,)`` int64; ``(N,)`` float32.
        """
        kept = self.kept
        weights = torch.full((len(kept),), 1.0 if self.num_good else 0.0)
        labels, weights = (x.to(device, non_blocking=True) for x in (self.labels[kept], weights))
        return self._clips_on(device, kept), labels, weights

    def all_clips_on(self, device: torch.device) -> Tensor:
        """``(N, M, C, T, H, W)`` uint8, or other views, on a device, for scoring: bad videos included."""
        return self._clips_on(device, range(len(self.errors)))

    def _clips_on(self, device: torch.device, kept: Sequence[int]) -> Tensor:
        if self.floats is not None:
            assert isinstance(self.clips, Tensor)
            return self.floats.model_clips(moved(self.clips, kept, device))
        return _shown(self.clips, kept, [self.colours[index] for index in kept], device)


def clip_on(clip: NDArray[np.uint8], colour: int, device: torch.device) -> Tensor:
    """What a model looks at of one video: ``(1, M, C, T, H, W)`` uint8, of the ``clip`` and ``colour`` of a row."""
    return _shown(_clips_of(clip[None]), [0], [colour], device)


def _clips_of(clips: NDArray[np.uint8]) -> Tensor | PackedClips:
    if clips.ndim == 2:
        return PackedClips.of_rows(clips)
    with warnings.catch_warnings():
        # The array is read-only because it lies in shared memory; nothing here writes to it.
        warnings.filterwarnings("ignore", message="The given NumPy array is not writ")
        return torch.from_numpy(clips)


def _shown(clips: Tensor | PackedClips, kept: Sequence[int], colours: Sequence[int], device: torch.device) -> Tensor:
    """``(N, M, C, T, H, W)`` uint8 of the kept rows; ``colours`` are theirs. Of RGB a view, channels last in memory."""
    if isinstance(clips, PackedClips):
        return clips.rgb_on(device, kept, colours)
    clips = moved(clips, kept, device)
    return clips.permute(0, 1, 5, 2, 3, 4) if clips.ndim == 6 else planes_to_rgb(clips, colours)


def moved(clips: Tensor, kept: Sequence[int], device: torch.device) -> Tensor:
    """The kept rows (ascending) on a device, without waiting for the copy; on a CPU nothing is copied if all are kept.

    A GPU fetches only from pinned memory without holding up this thread. Torch keeps such memory in blocks that it
    hands out again as soon as the copies from them are done, so that after the first steps this allocates nothing;
    a staging buffer of our own would need the same events to be as safe. Rows that are left out are never copied.
    """
    is_whole = len(kept) == len(clips)
    if device.type != "cuda":
        return (clips if is_whole else clips[list(kept)]).to(device)
    # Torch notes a copy by where its block begins: a later part of one could be handed out while it is still copied.
    if is_whole and clips.storage_offset() == 0 and clips.is_pinned():
        return clips.to(device, non_blocking=True)
    pinned = torch.empty((len(kept), *clips.shape[1:]), dtype=clips.dtype, pin_memory=True)
    if is_whole:
        pinned.copy_(clips)
    else:
        torch.index_select(clips, 0, torch.tensor(kept), out=pinned)
    return pinned.to(device, non_blocking=True)
