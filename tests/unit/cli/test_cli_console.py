"""What a person reads: plain lines in a log, a live display on a terminal, a closing table."""

import io
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console
from toy_training import load_data

from kinoray.cli import console as module
from kinoray.cli.console import TrainingConsole, announce, closing_table, data_advice, make_console
from kinoray.recipe import Recipe
from kinoray.train.checkpoint import Checkpoint, Progress
from kinoray.train.events import BadVideo, Diverged, EpochDone, Evaluation, Finished, Started, StepsDone

STARTED = Started(
    device="cpu", num_workers=2, num_parameters=1_234_567, num_epochs=10, first_epoch=0, steps_per_epoch=4,
    num_train_videos=24, num_val_videos=9,
)  # fmt: skip
STEPS = StepsDone(epoch=0, step=3, loss=1.25, lr=0.05, grad_norm=2.0, videos_per_second=31.4, data_wait_fraction=0.07)
EVALUATION = Evaluation({"top1": 0.75, "mean_class_accuracy": 0.5, "loss": 0.66666}, np.eye(3, dtype=np.int64), 9)
EPOCH = EpochDone(
    epoch=0, step=4, train_loss=1.5, videos_per_second=30.0, data_wait_fraction=0.1, seconds=2.0,
    evaluation=EVALUATION, is_best=True, checkpoint="/runs/a/epoch-0000",
)  # fmt: skip
TRICKY = "/videos/[bold]clip[/] [1] :fire: [/x].mp4"


@pytest.fixture
def log() -> Console:
    return Console(file=io.StringIO(), highlight=False, soft_wrap=True, width=200)


def lines(console: Console) -> list[str]:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue().splitlines()


def best_of(events: Iterable[object]) -> Checkpoint:
    """The summary of the best checkpoint that such a run leaves."""
    scored = [event for event in events if isinstance(event, EpochDone) and event.is_best and event.evaluation]
    metrics = scored[-1].evaluation.metrics if scored else {}
    return Checkpoint(Path(), Progress(scored[-1].epoch if scored else 0, 0), metrics)


def show(console: Console, *events: object, monitor: str = "top1", closed: bool = False) -> list[str]:
    with TrainingConsole(console, monitor, decode_cpus=1) as view:
        for event in events:
            view(event)  # type: ignore[arg-type]
    if closed:
        view.close(TRICKY, best_of(events), places=[("MLflow", "sqlite:///runs/[x].db")])
    return lines(console)


def test_the_run_is_announced_in_one_line(toy_recipe: Callable[..., Recipe], log: Console) -> None:
    recipe = toy_recipe()
    announce(log, recipe, load_data(recipe), "1 worker x 1 CPU + 1 decode CPU", run_name="toy-[1]")
    line = (
        "toy-[1]: toy_training:ToyConfig on 24 train + 9 val videos of 3 classes, 2 epochs, global batch 6, seed 0; "
        "1 worker x 1 CPU + 1 decode CPU"
    )
    assert lines(log) == [line]


def test_what_the_batch_makes_of_the_learning_rate_is_announced(
    toy_recipe: Callable[..., Recipe], log: Console
) -> None:
    recipe = toy_recipe({"optimizer.base_batch_size": 24, "training.compile": "default"})
    announce(log, recipe, load_data(recipe), "1 worker", run_name="toy")
    first, second = lines(log)
    assert "global batch 6, lr 0.0125 (0.05 at a batch of 24), seed 0" in first
    assert second == "training.compile: the first steps and the first evaluation wait for the compiler"


def test_a_log_has_plain_lines(log: Console) -> None:
    worse = replace(EPOCH, epoch=1, step=8, is_best=False, evaluation=None)
    assert show(log, STARTED, STEPS, EPOCH, worse, Finished()) == [
        "2 workers on cpu: 1,234,567 parameters, 10 epochs x 4 steps; started after 0 s",
        "epoch  1/10  loss 1.500  val/top1 0.750  val/loss 0.6667  30 videos/s  data wait 10%  best",
        "epoch  2/10  loss 1.500  30 videos/s  data wait 10%",
    ]


def test_a_log_says_what_became_of_the_weights_in_one_line(log: Console) -> None:
    event = replace(STARTED, weights="training.init_from: [x].pth: 2 tensors loaded\n\nloaded:\n  fc.weight\n  fc.bias")
    assert show(log, event)[1:] == ["training.init_from: [x].pth: 2 tensors loaded"]


def test_a_log_says_why_training_ended_early(log: Console) -> None:
    reason = "val/[top1] no better for 3 epochs"
    assert show(log, STARTED, EPOCH, Finished(stopped=reason))[2:] == [f"stopped after epoch 1: {reason}"]
    assert show(log, Finished(stopped=reason))[-1] == f"stopped before its first epoch here: {reason}"


def test_a_log_says_every_half_minute_that_work_goes_on(log: Console, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PLAIN_LINE_SECONDS", -1)
    assert show(log, STARTED, STEPS)[1:] == ["epoch 1  step 3/40  loss 1.250  lr 0.05  31 videos/s  data wait 7%"]


@pytest.mark.parametrize(
    ("first_epoch", "first_step", "said"),
    [
        (3, 12, "10 epochs x 4 steps, resumed at epoch 4;"),
        (3, 14, "10 epochs x 4 steps, resumed at epoch 4, step 3 of it;"),
        (0, 2, "10 epochs x 4 steps, resumed at epoch 1, step 3 of it;"),
        (10, 40, "steps, all of them done before;"),
    ],
)
def test_a_resumed_run_says_so(log: Console, first_epoch: int, first_step: int, said: str) -> None:
    assert said in show(log, replace(STARTED, first_epoch=first_epoch, first_step=first_step))[0]


def test_a_checkpoint_that_was_passed_over_is_told(log: Console) -> None:
    assert show(log, replace(STARTED, notes=("epoch-0003: damaged",)))[1:] == ["epoch-0003: damaged"]


@pytest.mark.parametrize(
    ("rolled_back", "said"),
    [(False, "its batch: v0, v1"), (True, "going back to the last checkpoint, on without this batch: v0, v1")],
)
def test_a_batch_that_diverges_is_named(log: Console, *, rolled_back: bool, said: str) -> None:
    videos = (("v0", "a/v0.mp4"), ("v1", "a/v1.mp4"))
    event = Diverged(0, 2, "the loss is nan", videos, rolled_back)
    assert show(log, STARTED, event)[-1] == f"  diverged: the loss is nan; {said}"


def test_one_is_not_many(log: Console) -> None:
    line = show(log, replace(STARTED, num_workers=1, num_epochs=1, steps_per_epoch=1))[0]
    assert line.startswith("1 worker on cpu: 1,234,567 parameters, 1 epoch x 1 step;")


def test_a_metric_that_was_not_measured_is_left_out(log: Console) -> None:
    assert "val/loss 0.6667" in show(log, STARTED, EPOCH, monitor="top5")[1]
    assert "top5" not in "".join(lines(log))


def test_bad_videos_are_told_once_and_as_they_are_written(log: Console) -> None:
    bad = [BadVideo(f"v{n}", f"{n}{TRICKY}", f"{n}{TRICKY}: no such file") for n in range(7)]
    first = replace(EPOCH, bad_videos=tuple(bad[:1]), evaluation=replace(EVALUATION, bad_videos=(bad[1],)))
    second = replace(EPOCH, epoch=1, bad_videos=tuple(bad[1::-1]))
    third = replace(EPOCH, epoch=2, bad_videos=(*bad, BadVideo("v8", "8", "8"), BadVideo("v9", "9", "9")))
    said = show(log, STARTED, first, second, third, closed=True)
    told = [line for line in said if line.startswith("  ")]
    assert told[:2] == [f"  unreadable {n}{TRICKY}: no such file" for n in range(2)]
    assert told[2:7] == [f"  unreadable {n}{TRICKY}: no such file" for n in range(2, 7)]
    assert told[7:] == ["  ... and 2 more; all are listed in the run's bad_videos.csv"]
    assert ["unreadable videos", "9"] in rows(said)


def rows(said: list[str]) -> list[list[str]]:
    return [[cell.strip() for cell in line.strip("│").split("│")] for line in said if line.startswith("│")]


def test_the_closing_table(log: Console) -> None:
    second = replace(EPOCH, epoch=1, step=8, is_best=False, videos_per_second=10.0, data_wait_fraction=0.5, seconds=6.0)
    probe = Finished({"ordered": 0.75, "single_frame": 0.25})
    said = show(log, STARTED, EPOCH, second, probe, closed=True)
    assert rows(said) == [
        ["val/top1", "0.750"],
        ["val/mean_class_accuracy", "0.500"],
        ["val/loss", "0.6667"],
        ["best epoch", "1 of 10"],
        ["temporal probe, ordered", "0.750"],
        ["temporal probe, single frame", "0.250"],
        ["training speed", "15.0 videos/s"],
        ["waiting for data", "40% of the training time"],
        ["wall time", "0 s"],
        ["checkpoint", TRICKY],
        ["MLflow", "sqlite:///runs/[x].db"],
    ]


SLOW = replace(
    EPOCH,
    seconds=60.0,
    videos_per_second=160.0,
    data_wait_fraction=0.6,
    decode_cpu_seconds_per_clip=0.005,
    is_best=False,
)


def test_a_model_that_waits_for_decoding_gets_the_numbers() -> None:
    assert data_advice(SLOW, 1) == (
        "the model waits 60% of the time; 5 CPU-ms a video x the 400 videos/s that it could take need 2 decode CPUs, "
        "it has 1: raise site.decode_cpus or add nodes, or shrink the videos once with jobs/prepare.py --transcode"
    )


def test_where_decoding_could_keep_up_reading_is_slow() -> None:
    assert "need 2 decode CPUs, it has 16: so reading is slow" in data_advice(SLOW, 16)


@pytest.mark.parametrize("changes", [{"data_wait_fraction": 0.1}, {"seconds": 8.0}], ids=["little", "short"])
def test_little_waiting_is_not_worth_a_word(changes: dict[str, float]) -> None:
    assert data_advice(replace(SLOW, **changes), 1) == ""


def test_a_model_that_only_waits_is_no_division_by_zero() -> None:
    assert "waits 100% of the time" in data_advice(replace(SLOW, data_wait_fraction=1.0), 1)


def test_advice_is_given_once(log: Console) -> None:
    said = show(log, STARTED, EPOCH, SLOW, replace(SLOW, epoch=1))
    assert [line.startswith("  data: the model waits") for line in said] == [False, False, False, True, False]


def test_the_closing_table_of_a_run_that_had_nothing_left_to_do(log: Console) -> None:
    said = show(log, replace(STARTED, first_epoch=10), Finished(), closed=True)
    assert [row[0] for row in rows(said)] == ["wall time", "checkpoint", "MLflow"]


def test_a_log_line_is_as_long_as_it_needs(capsys: pytest.CaptureFixture[str]) -> None:
    console = make_console()
    path = "/videos/[1]/" + "x" * 400
    console.print(f"{path}: done")
    console.print(closing_table("evaluated", [("predictions", path)]))
    said = capsys.readouterr().out
    assert f"{path}: done\n" in said
    assert path in said.partition("predictions")[2]
    assert "\x1b" not in said


def test_a_terminal_shows_progress() -> None:
    terminal = Console(file=io.StringIO(), force_terminal=True, width=120)
    bad = replace(EPOCH, bad_videos=(BadVideo("v", TRICKY, f"{TRICKY}: no such file"),))
    with TrainingConsole(terminal, "top1", decode_cpus=1) as view:
        for event in (STARTED, STEPS, bad, Finished({"ordered": 1.0})):
            view(event)
            view._progress.refresh()  # it would else come ten times a second
    view.close(TRICKY, best_of([bad]), places=[])
    said = "\n".join(lines(terminal))
    assert "\x1b[" in said
    for text in ("decoding the first batch", "starting workers", "loss 1.250", "val/top1 0.750", "best epoch", TRICKY):
        assert text in said, text


def test_a_broken_run_leaves_the_terminal_in_order() -> None:
    terminal = Console(file=io.StringIO(), force_terminal=True, width=120)
    view = TrainingConsole(terminal, "top1", decode_cpus=1)

    def broken() -> None:
        with view:
            view(STARTED)
            raise RuntimeError("lost")

    with pytest.raises(RuntimeError, match="lost"):
        broken()
    said = "\n".join(lines(terminal))
    assert said.rfind("\x1b[?25h") > said.rfind("\x1b[?25l")  # the cursor is shown again
