"""One planned row to one clip: the function that runs on decoding nodes."""

import time
from dataclasses import dataclass

import numpy as np

from kinoray.data.rows import ClipRow, PlanRow
from kinoray.data.views import View, segment_frames
from kinoray.errors import DataError
from kinoray.video.decode import VideoReader
from kinoray.video.files import open_video_file


@dataclass(frozen=True)
class ClipReader:
    """Reads the view of a video that a plan row stands for.

    Attributes:
        view: what is cut out.
        flip_labels: label -> label of the mirrored video; empty where mirroring changes no label.
    """

    view: View
    flip_labels: tuple[int, ...] = ()

    def __call__(self, row: PlanRow) -> ClipRow:
        """Never raises for a bad video: its row comes back with a zero clip and the ``error``."""
        started = time.perf_counter()
        label = row["label"]
        error = ""
        try:
            with VideoReader(open_video_file(row["path"]), name=row["path"]) as reader:
                segment = segment_frames(reader, row["start_seconds"], row["end_seconds"])
                clip, mirrored = self.view.read(reader, segment, row["clip_seed"])
            if mirrored and self.flip_labels and label >= 0:
                label = self.flip_labels[label]
        except DataError as problem:
            clip = np.zeros(self.view.clip_shape(), dtype=np.uint8)
            error = str(problem)
        return ClipRow(
            video_id=row["video_id"],
            position=row["position"],
            label=label,
            clip=clip,
            error=error,
            decode_seconds=time.perf_counter() - started,
        )
