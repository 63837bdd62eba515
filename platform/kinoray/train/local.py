"""Training in this very process, without Ray: clips are decoded by threads beside the model.

For a single machine without a cluster, for debugging, and for tests.
"""

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray

from kinoray.data.config import Dataset
from kinoray.data.plan import epoch_plan, evaluation_plan, num_steps, training_share
from kinoray.data.reading import ClipReader
from kinoray.data.rows import ReadRow
from kinoray.recipe import Recipe
from kinoray.train.batch import Batch
from kinoray.train.checkpoint import FolderStore, Progress
from kinoray.train.events import Listener
from kinoray.train.loop import fit
from kinoray.train.world import World

BATCHES_AHEAD = 2


class LocalFeed:
    """The feed of ``train.loop.fit`` for a single process.

    Args:
        recipe: its data part says what is read.
        dataset: the manifests.
        num_threads: that decode; PyAV works outside the interpreter's lock.
    """

    def __init__(self, recipe: Recipe, dataset: Dataset, *, num_threads: int) -> None:
        self.dataset = dataset
        self.steps_per_epoch = num_steps(dataset.train.num_videos, recipe.data.train.batch_size)
        self._recipe, self._num_threads = recipe, num_threads

    def train(self, epoch: int) -> Iterator[Batch]:
        split = self._recipe.data.train
        plan = epoch_plan(self.dataset.train.table, seed=self._recipe.seed, epoch=epoch)
        share = training_share(plan, batch_size=split.batch_size, rank=0, world_size=1)
        return self._stream(share, ClipReader(split, self.dataset.flip_labels), split.batch_size)

    def val(self, epoch: int) -> Iterator[Batch]:
        del epoch
        if self.dataset.val is None:
            return iter(())
        split = self._recipe.data.evaluation_split("val")
        return self._stream(evaluation_plan(self.dataset.val.table), ClipReader(split), split.batch_size)

    def _stream(self, rows: pa.Table, reader: ClipReader, batch_size: int) -> Iterator[Batch]:
        """Batches in the order of the rows; a few are decoded ahead, straight into their place."""
        listed, shape = rows.to_pylist(), reader.view.clip_shape()
        with ThreadPoolExecutor(self._num_threads, thread_name_prefix="kinoray-decode") as pool:
            pending: deque[tuple[NDArray[np.uint8], list[Future[ReadRow]]]] = deque()
            for start in range(0, len(listed), batch_size):
                part = listed[start : start + batch_size]
                clips = np.empty((len(part), *shape), np.uint8)
                reads = [pool.submit(reader.read_into, row, clip) for row, clip in zip(part, clips, strict=True)]
                pending.append((clips, reads))
                if len(pending) > BATCHES_AHEAD:
                    yield _batch(*pending.popleft())
            while pending:
                yield _batch(*pending.popleft())


def fit_locally(recipe: Recipe, dataset: Dataset, folder: Path, *, num_threads: int, emit: Listener) -> Progress:
    """Train in this process on its first GPU, or its CPU; checkpoints go to ``folder``, from where a run resumes."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    store = FolderStore(folder, monitor=recipe.evaluation.monitor, keep_best=recipe.training.keep_best)
    feed = LocalFeed(recipe, dataset, num_threads=num_threads)
    return fit(recipe, feed, store, World(device=device), emit)


def _batch(clips: NDArray[np.uint8], reads: list[Future[ReadRow]]) -> Batch:
    rows = [read.result() for read in reads]
    columns = {name: np.array([row[name] for row in rows]) for name in ReadRow.__annotations__}  # type: ignore[literal-required]
    return Batch.from_columns(columns | {"clip": clips})
