"""Training in this very process, without Ray: clips are decoded by threads beside the model.

For a single machine without a cluster, for debugging, and for tests.
"""

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import pyarrow as pa
import torch

from kinoray.data.config import Dataset
from kinoray.data.plan import epoch_plan, evaluation_plan, num_steps, training_share
from kinoray.data.reading import ClipReader
from kinoray.recipe import Recipe
from kinoray.train.batch import Batch
from kinoray.train.beside import decoded_beside
from kinoray.train.checkpoint import Progress
from kinoray.train.events import Listener
from kinoray.train.loop import fit
from kinoray.train.store import RunStore
from kinoray.train.world import World


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

    def train(self, epoch: int, *, done: int = 0) -> Iterator[Batch]:
        split = self._recipe.data.train
        plan = epoch_plan(self.dataset.train.table, seed=self._recipe.seed, epoch=epoch)
        share = training_share(plan, batch_size=split.batch_size, rank=0, world_size=1, done=done)
        reader = ClipReader(split, self.dataset.flip_labels, reader=self._recipe.data.reader)
        return self._stream(share, reader, split.batch_size)

    def first_batches(self, epoch: int) -> Iterator[Batch]:
        return islice(self.train(epoch), self._recipe.training.precise_batch_norm)

    def val(self, epoch: int) -> Iterator[Batch]:
        del epoch
        if self.dataset.val is None:
            return iter(())
        split = self._recipe.data.evaluation_split("val")
        reader = ClipReader(split, reader=self._recipe.data.reader)
        return self._stream(evaluation_plan(self.dataset.val.table), reader, split.batch_size)

    def _stream(self, rows: pa.Table, reader: ClipReader, batch_size: int) -> Iterator[Batch]:
        return decoded_beside(rows, reader, batch_size, self._num_threads, pinned=torch.cuda.is_available())


def fit_locally(recipe: Recipe, dataset: Dataset, folder: Path, *, num_threads: int, emit: Listener) -> Progress:
    """Train in this process on its first GPU, or its CPU; checkpoints go to ``folder``, from where a run resumes."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    store = RunStore(str(folder), monitor=recipe.evaluation.monitor, keep_best=recipe.training.keep_best)
    feed = LocalFeed(recipe, dataset, num_threads=num_threads)
    return fit(recipe, feed, store, World(device=device), emit)
