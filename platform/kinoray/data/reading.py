"""One planned row to one clip: the function that runs on decoding nodes."""

import time
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from kinoray.data.rows import ClipRow, PlanRow, ReadRow
from kinoray.data.views import View, Views, segment_frames
from kinoray.errors import DataError
from kinoray.video.files import without_passwords
from kinoray.video.limits import Limits
from kinoray.video.open import Backend, open_video
from kinoray.video.packets import PacketIndex
from kinoray.video.video import Video


@dataclass(frozen=True)
class ClipReader:
    """Reads the view of a video that a plan row stands for.

    Attributes:
        view: what is cut out.
        flip_labels: label -> label of the mirrored video; empty where mirroring changes no label.
        limits: what one video may cost.
        reader: what decodes files.
    """

    view: View
    flip_labels: tuple[int, ...] = ()
    limits: Limits = field(default_factory=Limits)
    reader: Backend = "pyav"

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
        views, error = None, ""
        mirrored_label = self.flip_labels[label] if self.flip_labels and label >= 0 else label
        try:
            with self._open(row, name) as video:
                segment = segment_frames(video, row["start_seconds"], row["end_seconds"])
                views = self.view.read(video, segment, row["clip_seed"], out, one_mirror=mirrored_label != label)
        except DataError as problem:
            message = str(problem)
            error = message if message.startswith(name) else f"{name}: {message}"
        except MemoryError:
            error = f"{name}: there is not enough memory for it"
        read = ReadRow(
            video_id=row["video_id"],
            position=row["position"],
            clip_seed=np.uint64(row["clip_seed"]),
            label=mirrored_label if views is not None and views.is_mirrored else label,
            error=error,
            decode_seconds=time.thread_time() - started,
            colour=0 if views is None else views.colour,
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
