"""One planned row to one clip: the function that runs on decoding nodes."""

import json
import time
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from kinoray.data.float_views import FloatView
from kinoray.data.rows import ClipRow, PlanRow, ReadRow, VideoFacts
from kinoray.data.views import View, Views, segment_frames
from kinoray.errors import DataError, DecodeError
from kinoray.video.files import without_passwords
from kinoray.video.limits import Limits
from kinoray.video.open import Backend, open_video
from kinoray.video.packets import PacketIndex
from kinoray.video.video import Video


class RowReader(Protocol):
    """What pipelines need of a ``ClipReader``."""

    @property
    def view(self) -> View:
        """What is cut out."""

    def read_into(self, row: PlanRow, out: NDArray[np.uint8]) -> ReadRow:
        """Read a row's clip into its place."""


@dataclass(frozen=True)
class ClipReader:
    """Reads the view of a video that a plan row stands for.

    Attributes:
        view: what is cut out.
        flip_labels: label -> label of the mirrored video; empty where mirroring changes no label.
        limits: what one video may cost.
        reader: what decodes files.
        with_facts: tell of each video what ``VideoFacts`` says.
    """

    view: View
    flip_labels: tuple[int, ...] = ()
    limits: Limits = field(default_factory=Limits)
    reader: Backend = "pyav"
    with_facts: bool = False

    def __call__(self, row: PlanRow) -> ClipRow:
        """Never raises for a bad video: its row comes back with a blank clip and the ``error``."""
        views, read = self._read(row, None)
        clip = self.view.blank() if views is None else views.clip
        return ClipRow(**read, clip=clip)

    def read_into(self, row: PlanRow, out: NDArray[np.uint8]) -> ReadRow:
        """As a call, with the clip written into ``out``: contiguous, of the shape ``view.clip_shape()``.

        For rows whose clips are to lie side by side, which spares their stacking. Of a packed row only the beginning
        may be written; the row tells how much.
        """
        views, read = self._read(row, out)
        if views is None:
            self.view.blank(out)
        return read

    def _read(self, row: PlanRow, out: NDArray[np.uint8] | None) -> tuple[Views | None, ReadRow]:
        started, name, label = time.thread_time(), without_passwords(row["path"]), row["label"]
        views, error, facts = None, "", VideoFacts()
        mirrored_label = self.flip_labels[label] if self.flip_labels and label >= 0 else label
        try:
            if isinstance(self.view, FloatView):
                taken = self.view.take(row, name)
                views = Views(self.view.written(taken.values, out), taken.is_mirrored, colour=0)
            else:
                with self._open(row, name) as video:
                    facts = facts_of(video) if self.with_facts else facts
                    segment = segment_frames(video, row["start_seconds"], row["end_seconds"])
                    views = self.view.read(video, segment, row["clip_seed"], out, one_mirror=mirrored_label != label)
                    facts["num_filled"] = getattr(video, "num_filled", 0)
        except DataError as problem:
            message = str(problem)
            error = message if message.startswith(name) else f"{name}: {message}"
            facts["reason"] = problem.reason if isinstance(problem, DecodeError) else "damaged"
        except MemoryError:
            error, facts["reason"] = f"{name}: there is not enough memory for it", "memory"
        read = ReadRow(
            video_id=row["video_id"],
            position=row["position"],
            clip_seed=np.uint64(row["clip_seed"]),
            label=mirrored_label if views is not None and views.is_mirrored else label,
            error=error,
            decode_seconds=time.thread_time() - started,
            colour=0 if views is None else views.colour,
            facts=json.dumps(facts) if self.with_facts else "",
        )
        return views, read

    def _open(self, row: PlanRow, name: str) -> Video:
        known = row.get("packet_index")
        return open_video(
            row["path"],
            name=name,
            index=None if known is None else PacketIndex.from_bytes(known),
            limits=self.limits,
            frame_template=row.get("frame_template"),
            frame_fps=row.get("fps"),
            backend=self.reader,
        )


def facts_of(video: Video) -> VideoFacts:
    """What opening a video tells of it."""
    return VideoFacts(
        codec=video.codec,
        width=video.width,
        height=video.height,
        fps=video.fps,
        duration_seconds=video.duration_seconds,
        num_frames=video.num_frames,
        num_bytes=video.num_bytes,
    )
