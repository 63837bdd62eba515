"""MMAction2's lists: a line per video, ``path label``, or per folder of frames, ``folder [start] frames label``.

A line may end with several labels, which are indices then: ``path 1 5 7``.
"""

import re
from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from kinoray.data.annotations import INDEX, AnnotationSource, Lines, frame_columns
from kinoray.data.sources import indices_or_names


class ListSource(AnnotationSource):
    """What lists of videos and of frames share."""

    path: str
    """The list; local path or URI."""
    delimiter: str | None = Field(None, min_length=1)
    """Between the fields; None: any white space. A path may hold it as well, a label not."""

    def describe(self) -> str:
        return self.path

    def split_lines(self, lines: Lines, numbers: Sequence[str], what: str, example: str) -> dict[str, pa.Array]:
        """Take lines apart, from their ends.

        Args:
            lines: of the list.
            numbers: names of the fields between ``path`` and ``label``, all of them whole numbers.
            what: a line holds, for messages.
            example: of a line, fields with spaces between them, for messages.

        Returns:
            Name of a field -> strings; ``label`` are names or indices or, as soon as one line has several, lists of
            indices.

        Raises:
            DataError: a line is not as it should be.
        """
        gap = r"\s+" if self.delimiter is None else rf"\s*{re.escape(self.delimiter)}\s*"
        middle = [rf"(?P<{name}>{INDEX})" for name in numbers]
        shown = (self.delimiter or " ").join(example.split())
        fields = lines.fields(gap.join([r"(?P<path>.*\S)", *middle, r"(?P<label>\S.*)"]), what, shown)
        has_index = pc.match_substring_regex(fields["label"], r"^\d+$")
        has_more = pc.match_substring_regex(fields["path"], rf"{gap}\d+$")
        if not pc.any(pc.and_(has_index, has_more)).as_py():
            return fields | {"label": indices_or_names(fields["label"])}
        indices = rf"(?P<label>{INDEX}(?:{gap}{INDEX})*)"
        fields = lines.fields(gap.join([r"(?P<path>.*?\S)", *middle, indices]), f"{what}s as indices", shown)
        several = pc.split_pattern_regex(fields["label"], gap)
        return fields | {"label": several.cast(pa.list_(pa.int64()))}


class VideoListSource(ListSource):
    """Videos listed as ``path label``, as for MMAction2's VideoDataset; labels are indices or names."""

    kind: str = "video_list"

    def read(self) -> pa.Table:
        lines = Lines.read(self.path)
        fields = self.split_lines(lines, [], "a video and its label", "a/b.mp4 3")
        return pa.table(
            {
                "video_id": fields["path"],
                "path": lines.rooted(self.root, fields["path"]),
                "label": fields["label"],
            }
        )


class FrameListSource(ListSource):
    """Folders of frames listed as ``folder frames label``, as for MMAction2's RawframeDataset."""

    kind: str = "frame_list"
    with_offset: bool = False
    """Lines read ``folder start frames label``: of the folder's frames, so many from the start on (0 is the first)."""
    template: str | None = None
    """Name of a frame's file, with its number in the braces: ``img_{:05}.jpg``; None: found out from the folder."""
    fps: float = Field(30.0, gt=0)
    """Frames per second that the folders were made with."""

    def read(self) -> pa.Table:
        lines = Lines.read(self.path)
        if self.with_offset:
            what, example = "a folder, its first frame, the number of frames and the label", "a/b 0 48 3"
            fields = self.split_lines(lines, ["start", "frames"], what, example)
        else:
            what, example = "a folder, the number of its frames and the label", "a/b 48 3"
            fields = self.split_lines(lines, ["frames"], f"{what} (with_offset is off)", example)
        num_frames = fields["frames"].cast(pa.int64())
        lines.check(pc.greater(num_frames, 0), "a number of frames", "it should be above 0")
        columns = {
            "video_id": fields["path"],
            "path": lines.rooted(self.root, fields["path"]),
            "label": fields["label"],
            **frame_columns(len(num_frames), self.template, self.fps),
        }
        if self.with_offset:
            start = fields["start"].cast(pa.int64())
            stop = pc.add(start, num_frames)
            frames = pc.binary_join_element_wise(fields["start"], stop.cast(pa.string()), "-")
            columns["video_id"] = pc.binary_join_element_wise(fields["path"], frames, "@")
            columns["start_seconds"] = pc.divide(start.cast(pa.float64()), self.fps)
            columns["end_seconds"] = pc.divide(stop.cast(pa.float64()), self.fps)
        return pa.table(columns)


class AudioListSource(ListSource):
    """Spectrograms or files with sound, listed as ``path frames label``, as for MMAction2's AudioDataset.

    The number of the video's frames is not needed: clips are counted in frames of the spectrogram.
    """

    kind: str = "audio_list"

    def read(self) -> pa.Table:
        what = "a spectrogram, the number of its video's frames and the label"
        lines = Lines.read(self.path)
        fields = self.split_lines(lines, ["frames"], what, "a/b.npy 163 3")
        return pa.table(
            {
                "video_id": fields["path"],
                "path": lines.rooted(self.root, fields["path"]),
                "label": fields["label"],
            }
        )
