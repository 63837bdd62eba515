"""The checkpoints of a run: whole or not there, the best and the last kept, the newest undamaged one used."""

import errno
import os
import resource
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import wait
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from toy_killed_writers import kill_while_writing
from toy_training import CLASSES

from kinoray.errors import CheckpointError
from kinoray.recipe import Recipe
from kinoray.train.checkpoint import INDEX, Progress, open_checkpoint
from kinoray.train.store import Draft, RunStore, copied, settled

MakeRecipe = Callable[..., Recipe]
MakeDraft = Callable[..., Draft]
NAN = float("nan")


@pytest.fixture
def draft(toy_recipe: MakeRecipe, tmp_path: Path) -> MakeDraft:
    number = 0

    def draft(epoch: int = 0, *, videos: int = 0, top1: float | None = 0.25, size: int = 4) -> Draft:
        nonlocal number
        number += 1
        files = tmp_path / f"files-{number}"
        files.mkdir()
        return Draft(
            weights={"weight": torch.full((size,), float(number))},
            training_state={"optimizer": {}},
            recipe=toy_recipe(),
            classes=CLASSES,
            progress=Progress(epoch, step=10 * epoch + videos, videos=videos),
            metrics={} if top1 is None else {"top1": top1},
            files=files,
        )

    return draft


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return tmp_path / "run"


def store_in(run: Path, *, keep_best: int = 1, in_background: bool = False) -> RunStore:
    return RunStore(str(run), monitor="top1", keep_best=keep_best, in_background=in_background)


def names(run: Path) -> list[str]:
    return sorted(path.name for path in run.iterdir())


@pytest.mark.parametrize("values", [[NAN, 0.6, 0.4], [0.6, NAN, 0.4], [0.6, 0.4, NAN]])
def test_what_could_not_be_measured_is_not_the_best(draft: MakeDraft, run: Path, values: list[float]) -> None:
    store = store_in(run)
    for epoch, top1 in enumerate(values):
        store.save(draft(epoch, top1=top1), name=f"epoch-{epoch:04d}")
    assert open_checkpoint(run).metrics == {"top1": 0.6}


@pytest.mark.parametrize(
    ("keep_best", "kept"),
    [(1, [[0], [0, 1], [1, 2], [1, 3], [1, 4]]), (2, [[0], [0, 1], [0, 1, 2], [0, 1, 3], [1, 4]])],
)
@pytest.mark.parametrize("goes_on", [False, True])
def test_the_best_and_the_last_are_kept(
    draft: MakeDraft, run: Path, keep_best: int, kept: list[list[int]], *, goes_on: bool
) -> None:
    store = store_in(run, keep_best=keep_best)
    assert store.newest() is None
    for epoch, top1 in enumerate([0.5, 0.9, 0.1, 0.2, 0.7]):
        name = f"epoch-{epoch:04d}"
        store.save(draft(epoch, top1=top1), name=name)
        assert names(run) == [f"epoch-{n:04d}" for n in kept[epoch]]
        assert store.newest() == str(run / name) == store.place(name)
        store = store_in(run, keep_best=keep_best) if goes_on else store


def test_one_from_the_middle_of_an_epoch_lasts_until_the_next(draft: MakeDraft, run: Path) -> None:
    store = store_in(run)
    store.save(draft(0), name="epoch-0000")
    for videos in (6, 12):
        store.save(draft(0, videos=videos, top1=None), name=f"epoch-0001-step-{videos:08d}")
        assert names(run) == ["epoch-0000", f"epoch-0001-step-{videos:08d}"]
    assert store.newest() == str(run / "epoch-0001-step-00000012")
    store.save(draft(1, top1=0.1), name="epoch-0001")
    assert names(run) == ["epoch-0000", "epoch-0001"]


def test_a_checkpoint_of_the_same_epoch_is_replaced(draft: MakeDraft, run: Path) -> None:
    for top1 in (0.5, 0.25):
        store_in(run).save(draft(3, top1=top1), name="epoch-0003")
    assert open_checkpoint(run).metrics == {"top1": 0.25}
    assert names(run) == ["epoch-0003"]


def test_training_goes_on_while_it_is_written(draft: MakeDraft, run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first is held up until the weights have changed; what is copied does not change with them."""
    weight = torch.zeros(4)
    one = draft(0)
    one = Draft(**{**vars(one), "weights": copied({"weight": weight})})
    write, begun, has_changed = Draft.write, [], threading.Event()

    def noted(self: Draft, folder: Path) -> None:
        begun.append(folder.name)
        assert has_changed.wait(10)
        write(self, folder)

    monkeypatch.setattr(Draft, "write", noted)
    store = store_in(run, keep_best=2, in_background=True)
    with settled(store, is_first=True):
        store.save(one, name="epoch-0000")
        store.check()
        weight += 1
        has_changed.set()
        store.save(draft(1), name="epoch-0001")
        assert (run / "epoch-0000" / INDEX).is_file()
    assert begun == [".epoch-0000", ".epoch-0001"]
    assert names(run) == ["epoch-0000", "epoch-0001"]
    assert open_checkpoint(run / "epoch-0000").weights()["weight"].tolist() == [0.0] * 4


def test_others_may_read_it(draft: MakeDraft, run: Path) -> None:
    """What callbacks add comes from a temporary folder, which only its owner may enter."""
    one = draft(0)
    one.files.chmod(0o700)
    (one.files / "notes.txt").write_text("of a callback")
    umask = os.umask(0o022)
    try:
        store_in(run).save(one, name="epoch-0000")
    finally:
        os.umask(umask)
    assert (run / "epoch-0000").stat().st_mode & 0o777 == 0o755
    assert (run / "epoch-0000" / "notes.txt").read_text() == "of a callback"


def test_the_newest_that_is_undamaged_is_used(draft: MakeDraft, run: Path) -> None:
    store = store_in(run, keep_best=3)
    for epoch in range(3):
        store.save(draft(epoch), name=f"epoch-{epoch:04d}")
    weights = run / "epoch-0002" / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1  # the size is as it was
    weights.write_bytes(content)
    (run / "epoch-0001" / "classes.txt").unlink()
    store = store_in(run)
    assert store.newest() == str(run / "epoch-0000")
    assert store.newest() == str(run / "epoch-0000")
    assert len(store.passed_over) == 2  # told once
    assert "epoch-0002/model.safetensors: its digest is not the one in" in store.passed_over[0]
    assert "epoch-0001/classes.txt: missing" in store.passed_over[1]


@pytest.mark.parametrize("num_bytes_lost", [0, 1])
def test_where_none_is_undamaged_nothing_begins_anew(draft: MakeDraft, run: Path, num_bytes_lost: int) -> None:
    store_in(run).save(draft(0), name="epoch-0000")
    weights = run / "epoch-0000" / "model.safetensors"
    weights.write_bytes(bytes(weights.stat().st_size - num_bytes_lost))
    with pytest.raises(CheckpointError, match=r"none of its 1 checkpoints is undamaged; the newest: .*safetensors"):
        store_in(run).newest()


def test_what_was_cut_off_within_its_index_never_was_one(draft: MakeDraft, run: Path) -> None:
    """As where files cannot be renamed."""
    store_in(run).save(draft(0), name="epoch-0000")
    index = run / "epoch-0000" / INDEX
    index.write_bytes(index.read_bytes()[:-9])
    store = store_in(run)
    assert store.newest() is None
    assert store.passed_over == []


def test_what_a_killed_process_left_is_cleared_up(draft: MakeDraft, run: Path) -> None:
    store_in(run).save(draft(0), name="epoch-0000")
    for name in (".epoch-0001", ".epoch-0000.old", "epoch-0002-step-00000003", "mine", ".hidden"):
        (run / name).mkdir()
        (run / name / "model.safetensors").write_bytes(b"half")
    (run / "notes.txt").write_text("mine")
    assert store_in(run).newest() == str(run / "epoch-0000")
    assert names(run) == [".hidden", "epoch-0000", "mine", "notes.txt"]


@contextmanager
def files_of_at_most(num_bytes: int) -> Iterator[None]:
    """The system refuses to write more into any file, as a full disk does."""
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


def save_and_settle(store: RunStore, draft: Draft) -> None:
    store.save(draft, name=f"epoch-{draft.progress.epoch:04d}")
    store.settle()


@pytest.mark.parametrize("in_background", [False, True])
def test_a_full_disk_is_told_and_costs_no_checkpoint(draft: MakeDraft, run: Path, *, in_background: bool) -> None:
    store = store_in(run, in_background=in_background)
    store.save(draft(0), name="epoch-0000")
    large = draft(1, size=300_000)
    message = r"epoch-0001: cannot be stored: .*; make room in the storage or mend it, and resume the run"
    with files_of_at_most(100_000), pytest.raises(CheckpointError, match=message) as caught:
        save_and_settle(store, large)
    assert "epoch-0000 is whole" in str(caught.value)
    assert caught.value.at_work
    assert names(run) == ["epoch-0000"]
    assert not large.files.exists()
    assert store_in(run).newest() == str(run / "epoch-0000")
    store.save(draft(1), name="epoch-0001")  # there is room again
    store.settle()
    assert open_checkpoint(run / "epoch-0001").progress.epoch == 1


def fail(self: Draft, folder: Path) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder))


def test_a_failure_is_told_with_the_next_one(draft: MakeDraft, run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Draft, "write", fail)
    store = store_in(run, in_background=True)
    run.mkdir()
    store.save(draft(0), name="epoch-0000")
    late = draft(1)
    with pytest.raises(CheckpointError, match=r"epoch-0000: cannot be stored: .*No space left on device"):
        store.save(late, name="epoch-0001")
    assert not late.files.exists()
    store.settle()
    store.save(draft(0), name="epoch-0000")
    assert store._writing is not None
    wait([store._writing])
    with pytest.raises(CheckpointError, match=r"epoch-0000: cannot be stored"):
        store.check()
    store.check()  # told once


def test_a_storage_that_is_gone_is_told(draft: MakeDraft, run: Path) -> None:
    """Then nobody can say, either, which checkpoint is whole."""
    store = store_in(run)
    store.save(draft(0), name="epoch-0000")
    run.rename(run.with_name("elsewhere"))
    run.write_text("no folder")
    with pytest.raises(CheckpointError, match=r"epoch-0001: cannot be stored: .*; make room in the storage or mend it"):
        store.save(draft(1), name="epoch-0001")


def fail_at_work(store: RunStore, draft: Draft) -> None:
    with settled(store, is_first=True):
        store.save(draft, name="epoch-0000")
        raise ZeroDivisionError


def test_an_error_of_the_work_is_not_hidden_by_one_of_the_store(
    draft: MakeDraft, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Draft, "write", fail)
    with pytest.raises(ZeroDivisionError):
        fail_at_work(store_in(run, in_background=True), draft(0))


def test_a_writer_that_is_killed_leaves_a_whole_newest(toy_recipe: MakeRecipe, tmp_path: Path) -> None:
    assert kill_while_writing(toy_recipe(), tmp_path, 8) > 0


@pytest.mark.slow
def test_two_hundred_kills_leave_a_whole_newest(toy_recipe: MakeRecipe, tmp_path: Path) -> None:
    assert kill_while_writing(toy_recipe(), tmp_path, 200) > 50
