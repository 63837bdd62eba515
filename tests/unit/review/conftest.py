"""Predictions as ``jobs/predict.py`` writes them, made up."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from pyarrow import parquet

from kinoray.data.output import OutputFolder
from kinoray.data.rows import VideoFacts
from kinoray.predict.table import Outcome, Written

CLASSES = ("jump", "run", "sit")
Write = Callable[..., OutputFolder]


@pytest.fixture
def write_shards(tmp_path: Path) -> Write:
    """``write_shards(shards, top_k=3, with_times=False)``: a folder with a file for each list of outcomes."""

    def write(shards: Sequence[Sequence[Outcome]], *, top_k: int = 3, with_times: bool = False) -> OutputFolder:
        folder = OutputFolder(str(tmp_path / "predictions"))
        written = Written(CLASSES, top_k, False, False, with_times, "the-model", "the-views", "the-run")
        for number, rows in enumerate(shards):
            with folder.writing(f"part-{number:09d}.parquet") as file:
                parquet.write_table(written.table(rows), file, compression="zstd")
        return folder

    return write


@pytest.fixture
def scored() -> Callable[..., Outcome]:
    """``scored("id", [0.7, 0.2, 0.1], uri=..., start_seconds=...)``."""

    def make(video_id: str, scores: Sequence[float], *, uri: str | None = None, **more: float) -> Outcome:
        facts = VideoFacts(duration_seconds=2.0)
        return Outcome(
            video_id, uri or f"/gone/{video_id}", "", 1, "ok", "", facts, np.array(scores, np.float32), **more
        )

    return make
