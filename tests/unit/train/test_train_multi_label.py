"""Videos with several labels, from the manifest to what is measured: which of three colours a video shows."""

from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import av
import numpy as np
import pyarrow as pa
import pytest
import torch
from pyarrow import parquet
from toy_training import load_data, train_here
from toy_workers import ShareFeed

from kinoray.errors import ConfigError, DataError
from kinoray.recipe import Recipe
from kinoray.recognizer import load_recognizer
from kinoray.train.checkpoint import open_checkpoint
from kinoray.train.evaluate import average_views, evaluate, predict, temporal_probe
from kinoray.train.events import EpochDone, Finished
from kinoray.train.learner import start_learner, train_step
from kinoray.train.local import LocalFeed, fit_locally
from kinoray.train.predictions import joined, score_predictions
from kinoray.train.world import World

COLOURS = ("blue", "green", "red")
"""As they are sorted; RGB has them the other way round."""
MakeRecipe = Callable[..., Recipe]


def write_colours(path: Path, shown: list[str], rng: np.random.Generator) -> None:
    levels = np.array([190 if colour in shown else 60 for colour in reversed(COLOURS)])
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10, options={"crf": "12", "threads": "1"})
        stream.width, stream.height, stream.pix_fmt = 48, 32, "yuv420p"
        for _ in range(8):
            image = np.clip(levels + rng.normal(0, 20, (4, 6, 3)), 0, 255).astype(np.uint8).repeat(8, 0).repeat(8, 1)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())


@pytest.fixture(scope="module")
def colours(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``train`` (24 videos) as a CSV, ``val`` (16) as Parquet with lists; every mix of colours, none too."""
    root, rng = tmp_path_factory.mktemp("colours"), np.random.default_rng(0)
    mixes = [[c for c, is_shown in zip(COLOURS, row, strict=True) if is_shown] for row in product((0, 1), repeat=3)]
    for split, copies in (("train", 3), ("val", 2)):
        rows = [(f"{split}-{n}-{'-'.join(mix)}.mp4", mix) for mix in mixes for n in range(copies)]
        for name, mix in rows:
            write_colours(root / name, mix, rng)
        table = pa.table({"path": [name for name, _ in rows], "label": [mix for _, mix in rows]})
        parquet.write_table(table, root / f"{split}.parquet")
    return root


@pytest.fixture
def colour_recipe(toy_recipe: MakeRecipe, colours: Path) -> MakeRecipe:
    several = {
        "data.train.source": str(colours / "train.parquet"),
        "data.val.source": str(colours / "val.parquet"),
        "data.classes": list(COLOURS),
        "data.multi_label": True,
        "loss": {"kind": "binary_cross_entropy"},
        "model.norm": "group",
        "optimizer.lr": 0.5,
        "training.epochs": 12,
        "evaluation.every_epochs": 12,
        "evaluation.monitor": "mean_average_precision",
        "evaluation.temporal_probe": True,
    }
    return lambda more=None: toy_recipe(several | (more or {}))


@pytest.mark.parametrize("mix", [None, {"mixup": 0.4}], ids=["plain", "mixup"])
def test_a_set_of_several_labels_is_learned(colour_recipe: MakeRecipe, tmp_path: Path, mix: dict[str, Any]) -> None:
    recipe, events = colour_recipe({"training.mix": mix}), []
    fit_locally(recipe, load_data(recipe), tmp_path / "run", num_threads=2, emit=events.append)
    (evaluation,) = [e.evaluation for e in events if isinstance(e, EpochDone) and e.evaluation]
    assert list(evaluation.metrics) == ["top1", "mean_average_precision", "mmit_mean_average_precision", "loss"]
    assert evaluation.metrics["mean_average_precision"] > 0.95
    assert evaluation.metrics["top1"] > 0.9
    assert evaluation.confusion is None
    (probe,) = [event.probe for event in events if isinstance(event, Finished)]
    assert probe["ordered"] == evaluation.metrics["top1"]
    best = open_checkpoint(tmp_path / "run")
    assert best.metrics == evaluation.metrics
    path = str(load_data(recipe).val.table["path"][15])
    scores = load_recognizer(tmp_path / "run").recognize(path).scores
    assert scores.sum() > 1.5  # of a video that shows all three: probabilities of their own


def test_one_and_two_workers_score_the_same_bits(colour_recipe: MakeRecipe) -> None:
    recipe = colour_recipe()
    dataset = load_data(recipe)
    torch.manual_seed(0)
    model = recipe.model.build().eval()
    one = evaluate(
        model, LocalFeed(recipe, dataset, num_threads=1).val(0), World(), recipe=recipe, manifest=dataset.val
    )
    shares = [
        predict(
            model,
            ShareFeed(recipe, dataset, World(rank, 2)).val(0),
            average="probability",
            world=World(),
            multi_label=True,
        )
        for rank in range(2)
    ]
    assert [len(share.labels) for share in shares] == [8, 8]
    two = score_predictions(joined(shares), recipe, dataset.val)
    assert two.metrics == one.metrics
    assert two.mistakes == one.mistakes


def test_the_step_sees_all_labels_of_a_video(colour_recipe: MakeRecipe) -> None:
    recipe = colour_recipe()
    dataset = load_data(recipe)
    feed = LocalFeed(recipe, dataset, num_threads=1)
    learner = start_learner(recipe, World(), label_sets=dataset.train.label_sets)
    batch = next(iter(feed.train(0)))
    shown = [[float(colour in video_id) for colour in COLOURS] for video_id in batch.video_ids]
    targets = learner.targets(batch, batch.labels)
    assert targets.tolist() == shown
    loss_sum, _ = train_step(learner, batch)
    fresh = start_learner(recipe, World(), label_sets=dataset.train.label_sets)
    with torch.no_grad():
        logits = fresh.net.train()(batch.on(torch.device("cpu"))[0])[:, 0]
        expected = torch.nn.functional.binary_cross_entropy_with_logits(logits, targets) * len(shown)
    assert float(loss_sum[0]) == pytest.approx(float(expected), rel=1e-5)


def test_classes_are_scored_by_a_sigmoid() -> None:
    logits = torch.tensor([[[0.0, 4.0], [2.0, 0.0]]])
    scores = average_views(logits, "probability", multi_label=True)
    torch.testing.assert_close(scores, logits.sigmoid().mean(1))
    assert torch.equal(average_views(logits, "score", multi_label=True), logits.mean(1))


def test_what_does_not_go_with_several_labels(colour_recipe: MakeRecipe) -> None:
    for changes, told in (
        ({"loss": {"kind": "cross_entropy"}}, "loss, got cross_entropy with data.multi_label: true; it should score"),
        ({"loss": {"kind": "focal"}}, "loss, got focal with data.multi_label: true"),
        ({"evaluation.monitor": "mean_class_accuracy"}, "with 3 classes, several labels a video; it should be one of"),
    ):
        with pytest.raises(ConfigError, match=told):
            colour_recipe(changes)
    with pytest.raises(DataError, match=r"has 0 labels \(\); a row has one, unless the recipe says data.multi_label"):
        load_data(colour_recipe({"data.multi_label": False, "evaluation.monitor": "top1"}))


def test_the_loss_may_be_what_is_watched(toy_recipe: MakeRecipe, tmp_path: Path) -> None:
    recipe = toy_recipe({"evaluation.monitor": "loss", "training.epochs": 3, "optimizer.lr": 4.0})
    epochs = [event for event in train_here(recipe, tmp_path / "run") if isinstance(event, EpochDone)]
    losses = [epoch.evaluation.metrics["loss"] for epoch in epochs]
    best = min(range(3), key=lambda epoch: (losses[epoch], -epoch))
    assert [epoch.epoch for epoch in epochs if epoch.is_best][-1] == best
    kept = open_checkpoint(tmp_path / "run")
    assert (kept.progress.epoch, kept.metrics["loss"]) == (best, losses[best])


def test_the_probe_knows_label_sets(colour_recipe: MakeRecipe) -> None:
    recipe = colour_recipe()
    dataset = load_data(recipe)

    class Reddest(torch.nn.Module):
        def forward(self, clips: torch.Tensor) -> torch.Tensor:
            """Red shown or not: its logit; nothing else is ever best."""
            red = clips[:, :, 0].float().mean((2, 3, 4))
            return torch.stack([red * 0, red * 0, red], dim=-1)

    feed = LocalFeed(recipe, dataset, num_threads=1)
    probe = temporal_probe(Reddest(), feed.val(0), World(), average="score", label_sets=dataset.val.label_sets)
    assert set(probe.values()) == {8 / 14}
