"""motion8, the demo set that Kinoray generates: eight motions in real H.264, which no single frame gives away.

The argument why a model must look at time is in ``motion8_render``.
"""

import csv
import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final
from uuid import uuid4

import av
import numpy as np
from numpy.typing import NDArray

from kinoray.data.motion8_render import DRIVES, NUM_FRAMES, SIZE, draw_scene, render
from kinoray.errors import DataError

VERSION: Final = 1
"""Raised whenever the same seed would give other videos."""
FPS: Final = 16
CLASSES: Final = tuple(DRIVES)
FLIP_LABELS: Final = {"left": "right", "right": "left", "cw": "ccw", "ccw": "cw"}
"""What a class becomes when its frames are mirrored; the others stay what they are."""
SPLITS: Final = ("train", "val")
CARD_NAME: Final = "motion8.json"


def video_frames(seed: int, split: str, index: int) -> tuple[NDArray[np.uint8], str]:
    """The frames of one video before encoding, (T, H, W, 3) uint8 RGB, and the name of its class."""
    rng = np.random.default_rng([seed, SPLITS.index(split), index])
    label = CLASSES[index % len(CLASSES)]
    return render(draw_scene(rng), label, rng), label


def generate(root: Path, *, num_train: int, num_val: int, seed: int = 0, num_threads: int = 2) -> None:
    """Write ``train.csv``, ``val.csv``, ``videos/<split>/<index>.mp4`` and ``motion8.json`` under ``root``.

    The CSV columns are video_id, path (from the CSV's folder) and label (a class name). A second call with the same
    parameters does nothing. The folder appears whole or not at all, also when several processes call at once. Threads
    serve as well as processes here (numpy and the encoder let go of the interpreter), and are safe in any worker.

    Raises:
        DataError: ``root`` holds something else than this very set, or a number makes no sense.
    """
    if min(num_train, num_val, num_threads) < 1 or seed < 0:
        raise DataError(
            f"motion8: num_train, num_val, num_threads, seed, got {num_train}, {num_val}, {num_threads}, {seed}; "
            "the first three must be at least 1 and the seed at least 0"
        )
    card: dict[str, str | int] = {
        "dataset": "motion8",
        "version": VERSION,
        "num_train": num_train,
        "num_val": num_val,
        "seed": seed,
        "num_frames": NUM_FRAMES,
        "size": SIZE,
        "fps": FPS,
    }
    if _is_done(root, card):
        return
    unfinished = root.parent / f".{root.name}.{uuid4().hex}.part"
    try:
        for split, num_videos in zip(SPLITS, (num_train, num_val), strict=True):
            _write_split(unfinished, split, num_videos, seed, num_threads)
        (unfinished / CARD_NAME).write_text(json.dumps(card, indent=2) + "\n")
        _publish(unfinished, root, card)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _is_done(root: Path, card: dict[str, str | int]) -> bool:
    """Whether ``root`` holds the set; False if it is missing or an empty folder.

    Raises:
        DataError: it holds something else.
    """
    try:
        found = json.loads((root / CARD_NAME).read_text())
    except FileNotFoundError:
        if not root.exists() or not any(root.iterdir()):
            return False
        found = "files of another origin"
    except ValueError:
        found = f"a damaged {CARD_NAME}"
    if found == card:
        return True
    raise DataError(f"motion8: {root}, got {found}; wanted {card}: remove the folder or choose another")


def _publish(unfinished: Path, root: Path, card: dict[str, str | int]) -> None:
    try:
        unfinished.rename(root)
    except OSError:
        # Another process was first: its set is ours, if it is the same. Anything else is a true failure.
        if not _is_done(root, card):
            raise


def _write_split(root: Path, split: str, num_videos: int, seed: int, num_threads: int) -> None:
    folder = root / "videos" / split
    folder.mkdir(parents=True)

    def write(index: int) -> tuple[str, str, str]:
        frames, label = video_frames(seed, split, index)
        path = folder / f"{index:05d}.mp4"
        encode(path, frames)
        return f"{split}_{index:05d}", path.relative_to(root).as_posix(), label

    with ThreadPoolExecutor(num_threads) as pool:
        rows = list(pool.map(write, range(num_videos)))
    with (root / f"{split}.csv").open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("video_id", "path", "label"))
        writer.writerows(rows)


def encode(path: Path, frames: NDArray[np.uint8]) -> None:
    """Write (T, H, W, 3) uint8 RGB frames as H.264: 4:2:0, a key frame every 12, two B-frames between references.

    One thread and no vector code in the encoder: with AVX-512, libx264 (core 165) was measured to give other bytes
    for the same frames from call to call.
    """
    options = {
        "preset": "superfast",
        "crf": "23",
        "g": "12",
        "bf": "2",
        "sc_threshold": "0",
        "threads": "1",
        "x264-params": "asm=0",
    }
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=FPS, options=options)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "yuv420p"
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
