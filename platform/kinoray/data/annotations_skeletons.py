"""Skeletons as MMAction2 keeps them: one pickle that holds all videos of a data set and the names of its splits.

A pickle can only be read as a whole. So what is in it is written into a shard beside it once, from where every video
can be read alone.
"""

import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pyarrow import parquet

from kinoray.config.suggest import did_you_mean
from kinoray.data.paths import climbs
from kinoray.data.restricted_pickle import read_pickle
from kinoray.data.shards import write_shard
from kinoray.data.skeletons import pack_skeletons
from kinoray.data.sources import SourceConfig
from kinoray.errors import DataError

FULL_HD = (1080, 1920)
"""Height and width of the picture where an annotation tells none, as in MMAction2."""
MAX_PERSONS = 10
"""Of a frame, where persons are listed box by box; the surest."""
_INDEX, _SHARD = "index.parquet", "skeletons.parquet"


class SkeletonSource(SourceConfig):
    """A pickle of MMAction2's PoseDataset: NTU RGB+D, FineGYM, UCF101, HMDB51, Kinetics, Diving48."""

    kind: str = "skeletons"
    path: str
    """The pickle, a local file; what is read from it is kept beside it, in ``<path>.unpacked``."""
    split: str | None = None
    """Which of the pickle's splits, as xsub_train; None: all videos."""
    root: str | None = None
    """Folder of a pickle for each video, where the one of annotations holds no joints (Kinetics)."""

    def describe(self) -> str:
        return self.path if self.split is None else f"{self.path} {self.split}"

    def read(self) -> pa.Table:
        folder = unpacked(Path(self.path), None if self.root is None else Path(self.root))
        index = parquet.read_table(folder / _INDEX)
        if self.split is not None:
            names = sorted(set(pc.list_flatten(index["splits"]).to_pylist()))
            if self.split not in names:
                near = did_you_mean(self.split, names)
                raise DataError(f"{self.path}: has no split '{self.split}'{near}; it has {', '.join(names) or 'none'}")
            is_in = [self.split in splits for splits in index["splits"].to_pylist()]
            index = index.filter(pa.array(is_in))
        return pa.table(
            {
                "video_id": index["video_id"],
                "path": pc.binary_join_element_wise(str(folder / _SHARD), index["place"], ""),
                "label": index["label"],
            }
        )


@dataclass(frozen=True)
class _Video:
    video_id: str
    label: int | list[int]
    content: bytes


def unpacked(path: Path, root: Path | None = None) -> Path:
    """The folder that holds what is in a pickle; written if it is not there, or of another state of the file.

    Raises:
        DataError: the pickle is missing or unreadable, holds something else, or lies where nothing can be written.
    """
    try:
        facts = path.stat()
    except OSError as error:
        raise _unreadable(path, error) from error
    state = f"{facts.st_size}-{facts.st_mtime_ns}-{root}".encode()
    folder = path.with_name(f"{path.name}.unpacked")
    if (folder / _INDEX).is_file() and (parquet.read_schema(folder / _INDEX).metadata or {}).get(b"state") == state:
        return folder
    annotations, splits = _parts(_held(path), str(path))
    try:
        _replace(folder, lambda new: _write(new, _videos(annotations, root, str(path)), splits, state))
    except OSError as error:
        raise DataError(
            f"{folder}: cannot be written: {error.strerror}; what a pickle holds is unpacked once beside it, so its "
            "folder should be writable, or be copied to one that is"
        ) from error
    return folder


def _replace(folder: Path, write: Callable[[Path], None]) -> None:
    """Write a folder anew; it appears whole or not at all."""
    temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        write(temporary)
        shutil.rmtree(folder, ignore_errors=True)
        temporary.rename(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _held(path: Path) -> Any:
    try:
        with path.open("rb") as file:
            return read_pickle(file, str(path))
    except OSError as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: OSError) -> DataError:
    return DataError(f"{path}: cannot be read: {error.strerror}; it should be a pickle of skeletons")


def _parts(held: Any, where: str) -> tuple[Sequence[Any], Mapping[str, set[str]]]:
    annotations, splits = (held.get("annotations"), held.get("split")) if isinstance(held, Mapping) else (held, None)
    if isinstance(annotations, list) and annotations and isinstance(splits or {}, Mapping):
        return annotations, {str(name): set(map(str, videos)) for name, videos in (splits or {}).items()}
    raise DataError(f"{where}: no skeletons; it should hold 'split' and 'annotations', or a list of annotations")


def _write(folder: Path, videos: Iterator[_Video], splits: Mapping[str, set[str]], state: bytes) -> None:
    """Write the shard, and an index of what is in it: ``video_id place label splits``."""
    ids: list[str] = []
    labels: list[int | list[int]] = []

    def contents() -> Iterator[tuple[str, bytes]]:
        for video in videos:
            ids.append(video.video_id)
            labels.append(video.label)
            yield video.video_id, video.content

    with (folder / _SHARD).open("wb") as file:
        places = write_shard(file, contents())
    of_splits = [[name for name, listed in splits.items() if video_id in listed] for video_id in ids]
    kept: Sequence[Any] = labels
    if any(isinstance(label, list) for label in labels):
        kept = [label if isinstance(label, list) else [label] for label in labels]
    columns = {"video_id": ids, "place": places, "label": kept}
    index = pa.table({**columns, "splits": pa.array(of_splits, pa.list_(pa.string()))})
    parquet.write_table(index.replace_schema_metadata({b"state": state}), folder / _INDEX)


def _videos(annotations: Sequence[Any], root: Path | None, where: str) -> Iterator[_Video]:
    for number, annotation in enumerate(annotations, 1):
        try:
            yield _video(annotation, root)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            told = f"no {error}" if isinstance(error, KeyError) else " ".join(str(error).split())
            raise DataError(
                f"{where}: annotation {number} is not of a skeleton ({told}); it should have frame_dir, label and "
                "keypoint (persons, frames, joints, 2 or 3)"
            ) from error


def _video(annotation: Mapping[str, Any], root: Path | None) -> _Video:
    video_id = str(annotation["filename"] if "filename" in annotation else annotation["frame_dir"])
    if root is not None:
        if climbs(video_id):
            raise ValueError(f"its name, got '{video_id}', leads out of {root}")
        annotation = {**annotation, **_held(root / f"{video_id}.pkl")}
    label = annotation["label"]
    points, scores = annotation["keypoint"], annotation.get("keypoint_score")
    if "frame_inds" in annotation:
        points, scores = _by_person(points, annotation["frame_inds"])
    if points.ndim != 4 or points.dtype.kind != "f" or (scores is not None and scores.dtype.kind != "f"):
        raise ValueError(f"keypoint is {points.dtype} of the shape {points.shape}")
    height, width = annotation.get("img_shape", FULL_HD)
    return _Video(
        video_id,
        [int(one) for one in label] if isinstance(label, list | tuple) else int(label),
        pack_skeletons(points, scores, (int(height), int(width))),
    )


def _by_person(boxes: NDArray[Any], frames: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Persons box by box -> frame by frame: ``(P, T, V, 2)`` and ``(P, T, V)``; frames without anyone are left out.

    Args:
        boxes: ``(B, V, 3)``, of each box joints as x, y and score.
        frames: ``(B,)``, which frame each box is in, ascending.
    """
    _, frame, counts = np.unique(frames, return_inverse=True, return_counts=True)
    sureness = boxes[:, :, 2].sum(axis=1, dtype=np.float64)
    crowded = counts.max() > MAX_PERSONS
    order = np.lexsort((-sureness, frame)) if crowded else np.lexsort((np.arange(len(frame)), frame))
    place = np.arange(len(frame)) - (np.cumsum(counts) - counts)[frame[order]]
    persons = np.zeros((counts.max(), len(counts), *boxes.shape[1:]), np.float16)
    persons[place, frame[order]] = boxes[order]
    persons = persons[:MAX_PERSONS]
    return persons[..., :2], persons[..., 2]
