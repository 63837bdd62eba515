"""Clips on their way to the model: RGB and planes, good and bad, on a CPU and on a GPU."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from toy_training import load_data, train_here

from kinoray.data.plan import epoch_plan
from kinoray.data.reading import ClipReader
from kinoray.data.rows import ReadRow
from kinoray.data.views import EvalView, TrainView
from kinoray.recipe import Recipe
from kinoray.train.batch import Batch
from kinoray.train.events import EpochDone
from kinoray.train.local import LocalFeed
from kinoray.video.sampling import ClipSampling

MakeRecipe = Callable[..., Recipe]
CPU = torch.device("cpu")
SHARED = Path(__file__).resolve().parents[4] / "shared" / "assets" / "decoder"
SAMPLING = ClipSampling(clip_len=4, frame_interval=3)


def write_colours(path: Path, *, pix_fmt: str = "yuv420p", size: tuple[int, int] = (96, 128)) -> str:
    """H.264: saturated blobs that drift over a gradient, with some grain."""
    height, width = size
    rows, columns = np.mgrid[:height, :width]
    rng = np.random.default_rng(0)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"crf": "18", "threads": "1"})
        stream.height, stream.width, stream.pix_fmt = height, width, pix_fmt
        for index in range(16):
            image = np.stack([columns * 255 / width, rows * 255 / height, 255 - columns * 255 / width], axis=-1)
            for number, colour in enumerate(((250, 20, 20), (20, 250, 20), (20, 20, 250), (250, 250, 20))):
                centre = 20 + 20 * number, (15 * number + 6 * index) % width
                image[np.hypot(rows - centre[0], columns - centre[1]) < 13] = colour
            image = np.clip(image + rng.normal(0, 4, image.shape), 0, 255).astype(np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode(None))
    return str(path)


def plan_row(path: str, number: int = 0) -> Any:
    return {
        "video_id": f"v{number}", "path": path, "label": 0, "start_seconds": None, "end_seconds": None,
        "position": number, "clip_seed": number,
    }  # fmt: skip


def batch_of(view: TrainView | EvalView, paths: list[str]) -> Batch:
    rows = [ClipReader(view)(plan_row(path, number)) for number, path in enumerate(paths)]
    return Batch.from_columns({name: np.array([row[name] for row in rows]) for name in rows[0]})  # type: ignore[literal-required]


def differences(view: TrainView | EvalView, paths: list[str]) -> NDArray[np.int64]:
    """Grey levels between what a model gets by way of RGB and by way of planes."""
    batches = [batch_of(view.model_copy(update={"pixels": pixels}), paths) for pixels in ("rgb", "yuv420")]
    assert [batch.errors for batch in batches] == [("",) * len(paths)] * 2
    assert batches[1].clips.nbytes * 2 == batches[0].clips.nbytes
    rgb, planes = (batch.on(CPU)[0] for batch in batches)
    assert rgb.shape == planes.shape
    return (rgb.int() - planes.int()).abs().numpy()


def assert_rounding(found: NDArray[np.int64]) -> None:
    """FFmpeg's conversion rounds two or three products down and so is darker by about 1.2 levels."""
    assert found.mean() < 1.5
    assert np.percentile(found, 99.9) <= 3


TRAIN = TrainView(sampling=SAMPLING, crop=56, repeats=2)
# The short side as it is and crops that start at even pixels, so that both ways show the same pixels.
EVAL = EvalView(sampling=SAMPLING, crop=64, resize=96, num_crops=3)


@pytest.mark.parametrize("view", [TRAIN, EVAL], ids=["train", "eval"])
def test_planes_differ_from_rgb_by_rounding(tmp_path: Path, view: TrainView | EvalView) -> None:
    assert_rounding(differences(view, [write_colours(tmp_path / "colours.mp4")] * 4))


@pytest.mark.parametrize(
    "name", ["ucf101_v_SoccerJuggling_g23_c01.avi", "k400_SOX5yA1l24A.mp4", "torchcodec_bt709_full_range.mp4"]
)
def test_planes_of_real_videos_differ_from_rgb_by_rounding(name: str) -> None:
    if not (SHARED / name).exists():
        pytest.skip(f"{name} is not in ../shared/assets")
    assert_rounding(differences(TrainView(sampling=SAMPLING, crop=112), [str(SHARED / name)] * 4))


def test_bad_videos_are_left_out_of_planes_too(tmp_path: Path) -> None:
    path = write_colours(tmp_path / "colours.mp4")
    view = TRAIN.model_copy(update={"pixels": "yuv420"})
    batch, alone = batch_of(view, [path, "/no/such.mp4", path]), batch_of(view, [path])
    clips, labels, weights = batch.on(CPU)
    assert (clips.shape, labels.shape, weights.tolist()) == ((2, 2, 3, 4, 56, 56), (2,), [1.0, 1.0])
    assert batch.clip_seeds[batch.kept].tolist() == batch.positions[batch.kept].tolist() == [0, 2]
    assert torch.equal(clips[:1], alone.on(CPU)[0])
    everything = batch.all_clips_on(CPU)
    assert torch.equal(everything[[0, 2]], clips)
    assert everything.shape[0] == 3


def test_colours_stay_with_their_videos(tmp_path: Path) -> None:
    """A bad video before others must not shift their colours."""
    limited = write_colours(tmp_path / "limited.mp4")
    full = write_colours(tmp_path / "full.mp4", pix_fmt="yuvj420p")
    view = EVAL.model_copy(update={"pixels": "yuv420"})
    mixed = batch_of(view, ["/no/such.mp4", full, limited])
    assert mixed.colours[1] != mixed.colours[2]
    clips = mixed.on(CPU)[0]
    for clip, path in zip(clips, (full, limited), strict=True):
        assert torch.equal(clip, batch_of(view, [path]).on(CPU)[0][0])


def test_a_feed_reads_its_batches_in_place(toy_recipe: MakeRecipe) -> None:
    for pixels, shape in (("rgb", (6, 2, 4, 16, 16, 3)), ("yuv420", (6, 2, 4, 24, 16))):
        recipe = toy_recipe({"data.train.pixels": pixels, "data.train.repeats": 2})
        feed = LocalFeed(recipe, load_data(recipe), num_threads=2)
        first, again = (list(feed.train(0)) for _ in range(2))
        assert len(first) == feed.steps_per_epoch
        for one, other in zip(first, again, strict=True):
            assert one.clips.shape == shape
            assert torch.equal(one.clips, other.clips)
            assert (one.video_ids, one.positions.tolist()) == (other.video_ids, other.positions.tolist())


def test_training_on_planes_is_training_on_rgb(toy_recipe: MakeRecipe, tmp_path: Path) -> None:
    losses = {}
    for pixels in ("rgb", "yuv420", "native"):
        replaced = {"data.train.pixels": pixels, "data.val.pixels": pixels, "evaluation.temporal_probe": True}
        events = train_here(toy_recipe(replaced), tmp_path / pixels)
        epochs = [event for event in events if isinstance(event, EpochDone)]
        losses[pixels] = [epoch.train_loss for epoch in epochs]
        assert all(epoch.evaluation is not None and epoch.evaluation.num_videos == 9 for epoch in epochs)
    # The same clips with up to 3 grey levels of rounding between them.
    for pixels in ("yuv420", "native"):
        np.testing.assert_allclose(losses[pixels], losses["rgb"], rtol=0.02)
        assert losses[pixels] != losses["rgb"]


def test_seeds_are_the_plans_to_the_last_bit(toy_recipe: MakeRecipe) -> None:
    recipe = toy_recipe()
    dataset = load_data(recipe)
    plan = epoch_plan(dataset.train.table, seed=recipe.seed, epoch=3)
    batches = list(LocalFeed(recipe, dataset, num_threads=2).train(3))
    seeds = np.concatenate([batch.clip_seeds for batch in batches])
    assert seeds.dtype == np.uint64
    assert seeds.tolist() == plan["clip_seed"].to_pylist()[: len(seeds)]
    assert batches[0].cut(slice(2, 4)).clip_seeds.tolist() == seeds[2:4].tolist()


def test_columns_are_those_of_a_row() -> None:
    fields = set(Batch.__annotations__) - {"clips", "floats"}
    renamed = {"labels": "label", "video_ids": "video_id", "positions": "position", "errors": "error"}
    renamed |= {"colours": "colour", "clip_seeds": "clip_seed"}
    assert {renamed.get(name, name) for name in fields} == set(ReadRow.__annotations__)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("pixels", ["rgb", "yuv420"])
def test_a_gpu_gets_the_same(tmp_path: Path, pixels: str) -> None:
    path = write_colours(tmp_path / "colours.mp4")
    view = TRAIN.model_copy(update={"pixels": pixels})
    for paths in ([path, path], [path, "/no/such.mp4", path]):
        batch = batch_of(view, paths)
        for _ in range(3):  # memory that was handed out before is handed out again
            clips, labels, weights = batch.on(torch.device("cuda"))
            expected = batch.on(CPU)
            assert (clips.cpu().int() - expected[0].int()).abs().max() <= (pixels == "yuv420")
            assert torch.equal(labels.cpu(), expected[1])
            assert torch.equal(weights.cpu(), expected[2])
