"""Packed rows on their way to the model: the same views as by way of RGB, in parts, with bad videos, on a GPU."""

from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from kinoray.data.columns import columns_of
from kinoray.data.packing import header_bytes
from kinoray.data.reading import ClipReader
from kinoray.data.views import EvalView, TrainView
from kinoray.train.batch import Batch, clip_on
from kinoray.train.packed import PackedClips
from kinoray.transforms.crop_boxes import CentreBox
from kinoray.video.sampling import ClipSampling

CPU = torch.device("cpu")
SHARED = Path(__file__).resolve().parents[4] / "shared" / "assets" / "decoder"
SAMPLING = ClipSampling(clip_len=4, frame_interval=3)
TRAIN = TrainView(sampling=SAMPLING, crop=76, repeats=2)
EVAL = EvalView(sampling=SAMPLING, crop=64, resize=72)
VIEWS = {
    "train": TRAIN,
    "train_unresized": TRAIN.model_copy(update={"crop": 96, "box": CentreBox()}),
    "train_scaled": TRAIN.model_copy(update={"crop": 40}),
    "one_crop": EVAL,
    "three_crops": EVAL.model_copy(update={"num_crops": 3}),
    "three_odd_crops": EVAL.model_copy(update={"num_crops": 3, "crop": 63, "resize": 92}),
    "ten_crops": EVAL.model_copy(update={"num_crops": 10}),
    "scaled_crops": EVAL.model_copy(update={"num_crops": 3, "crop": 32, "resize": 42}),
    "clips": EVAL.model_copy(update={"sampling": ClipSampling(clip_len=2, num_clips=3), "num_crops": 3}),
}
# FFmpeg smooths the chroma of RGB pictures whose height is odd, ours never.
ODD = {
    "train": TRAIN.model_copy(update={"crop": 67}),
    "one_crop": EVAL.model_copy(update={"resize": 73}),
    "three_crops": EVAL.model_copy(update={"num_crops": 3, "crop": 63, "resize": 91}),
}
REAL = (
    "ucf101_v_SoccerJuggling_g23_c01.avi", "k400_SOX5yA1l24A.mp4", "torchcodec_bt709_full_range.mp4",
    "hmdb51_RATRACE_wave_f_nm_np1_fr_goo_37.avi", "decord_video_90.mov",
)  # fmt: skip


def write_colours(path: Path, height: int, width: int) -> str:
    """H.264: saturated discs that drift over a gradient, with some grain."""
    rows, columns = np.mgrid[:height, :width]
    rng = np.random.default_rng(0)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"crf": "18", "threads": "1"})
        stream.height, stream.width, stream.pix_fmt = height, width, "yuv420p"
        for index in range(16):
            across = columns % 130 * 1.9
            image = np.stack([across, rows * 2.6, 255 - across], axis=-1)
            for number, colour in enumerate(((250, 20, 20), (20, 250, 20), (20, 20, 250), (250, 250, 20))):
                centre = 20 + 20 * number, (15 * number + 6 * index) % 130
                image[np.hypot(rows - centre[0], columns % 130 - centre[1]) < 13] = colour
            image = np.clip(image + rng.normal(0, 4, image.shape), 0, 255).astype(np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode(None))
    return str(path)


@pytest.fixture(scope="module")
def colours(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_colours(tmp_path_factory.mktemp("packed") / "colours.mp4", 96, 130)


@pytest.fixture(scope="module")
def long(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_colours(tmp_path_factory.mktemp("packed") / "long.mp4", 96, 520)


def native(view: Any) -> Any:
    return view.model_copy(update={"pixels": "native"})


def plan_row(path: str, number: int = 0) -> Any:
    return {
        "video_id": f"v{number}", "path": path, "label": 0, "start_seconds": None, "end_seconds": None,
        "position": number, "clip_seed": number,
    }  # fmt: skip


def batch_of(view: Any, paths: list[str]) -> Batch:
    reader = ClipReader(view)
    clips = np.full((len(paths), *view.clip_shape()), 77, np.uint8)
    rows = [reader.read_into(plan_row(path, number), clips[number]) for number, path in enumerate(paths)]
    return Batch.from_columns({**columns_of(rows), "clip": clips})


def assert_rounding(view: Any, paths: list[str]) -> None:
    """As yuv420 differs from RGB: FFmpeg's conversion cuts products off and so is darker by about 1.2 levels.

    A level more comes of the planes that FFmpeg rounds between resizing and conversion.
    """
    rgb, ours = (batch_of(view.model_copy(update={"pixels": pixels}), paths) for pixels in ("rgb", "native"))
    assert rgb.errors == ours.errors == ("",) * len(paths)
    assert rgb.labels.tolist() == ours.labels.tolist()
    expected, found = rgb.all_clips_on(CPU), ours.all_clips_on(CPU)
    assert found.shape == expected.shape
    assert found.dtype == torch.uint8
    difference: NDArray[np.int64] = (found.int() - expected.int()).abs().numpy()
    assert difference.mean() < 1.5
    assert np.percentile(difference, 99.9) <= 4
    assert difference.max() <= 8


@pytest.mark.parametrize("view", VIEWS.values(), ids=VIEWS)
def test_native_planes_show_what_rgb_shows(colours: str, view: Any) -> None:
    assert_rounding(view, [colours] * 4)


@pytest.mark.parametrize("view", ["one_crop", "three_crops", "ten_crops", "scaled_crops", "clips"])
def test_squares_of_a_long_picture_too(long: str, view: str) -> None:
    assert_rounding(VIEWS[view], [long])


@pytest.mark.parametrize("view", ODD.values(), ids=ODD)
def test_at_odd_heights_chroma_differs(colours: str, view: Any) -> None:
    rgb, ours = (batch_of(view.model_copy(update={"pixels": pixels}), [colours]) for pixels in ("rgb", "native"))
    difference = (rgb.all_clips_on(CPU).int() - ours.all_clips_on(CPU).int()).abs().float()
    assert difference.median() <= 2
    assert difference.mean() < 5


@pytest.mark.parametrize("name", REAL)
@pytest.mark.parametrize("view", [TRAIN.model_copy(update={"crop": 160}), VIEWS["three_crops"]], ids=["train", "eval"])
def test_native_planes_of_real_videos_show_what_rgb_shows(name: str, view: Any) -> None:
    if not (SHARED / name).exists():
        pytest.skip(f"{name} is not in ../shared/assets")
    assert_rounding(view, [str(SHARED / name)] * 3)


@pytest.mark.parametrize("view", [TRAIN, EVAL], ids=["train", "eval"])
def test_bad_videos_are_left_out_or_blank(colours: str, view: Any) -> None:
    batch, alone = batch_of(native(view), [colours, "/no/such.mp4", colours]), batch_of(native(view), [colours])
    clips, labels, weights = batch.on(CPU)
    assert (len(clips), len(labels), weights.tolist()) == (2, 2, [1.0, 1.0])
    assert torch.equal(clips[:1], alone.on(CPU)[0])
    everything = batch.all_clips_on(CPU)
    assert torch.equal(everything[[0, 2]], clips)
    assert not everything[1].any()
    assert len(batch.clips.row(1)) == header_bytes(everything.shape[1])


def test_where_all_videos_are_bad_there_are_clips_all_the_same() -> None:
    clips, _, weights = batch_of(native(TRAIN), ["/no/such.mp4"] * 2).on(CPU)
    assert clips.shape == (2, 2, 3, 4, 76, 76)
    assert not clips.any()
    assert weights.tolist() == [0, 0]


def test_parts_of_a_batch_are_the_batch(colours: str) -> None:
    batch = batch_of(native(TRAIN), [colours] * 5)
    whole = batch.on(CPU)[0]
    parts = [batch.cut(part).on(CPU)[0] for part in (slice(0, 2), slice(2, 3), slice(3, 5))]
    assert torch.equal(torch.cat(parts), whole)
    assert len(batch.cut(slice(1, 4)).cut(slice(1, 3)).clips) == 2
    assert torch.equal(batch.cut(slice(1, 4)).cut(slice(1, 3)).on(CPU)[0], whole[2:4])


def test_rows_may_lie_anywhere_in_memory_that_cannot_be_written(colours: str) -> None:
    reader = ClipReader(native(TRAIN))
    rows = [reader(plan_row(colours, number)) for number in range(3)]
    data = np.concatenate([np.zeros(5, np.uint8), *(row["clip"] for row in rows)])
    starts = 5 + np.cumsum([0, *(len(row["clip"]) for row in rows)])[:3]
    data.flags.writeable = False
    clips = PackedClips(data, tuple(starts.tolist()))
    columns = columns_of(rows)
    expected = batch_of(native(TRAIN), [colours] * 3)
    assert torch.equal(Batch.from_columns({**columns, "clip": clips}).on(CPU)[0], expected.on(CPU)[0])
    for index, row in enumerate(rows):
        assert np.shares_memory(clips.row(index), data)
        np.testing.assert_array_equal(clips.row(index), row["clip"])


def test_every_video_has_its_own_colour(colours: str, tmp_path: Path) -> None:
    full = tmp_path / "full.mp4"
    with av.open(str(full), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"qp": "0"})
        stream.height, stream.width, stream.pix_fmt = 64, 64, "yuvj420p"
        for _ in range(16):
            frame = av.VideoFrame.from_ndarray(np.full((96, 64), 235, np.uint8), format="yuvj420p")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    mixed = batch_of(native(EVAL), ["/no/such.mp4", str(full), colours])
    assert mixed.colours[1] != mixed.colours[2]
    for clip, path in zip(mixed.on(CPU)[0], (str(full), colours), strict=True):
        assert torch.equal(clip, batch_of(native(EVAL), [path]).on(CPU)[0][0])


@pytest.mark.parametrize("pixels", ["rgb", "yuv420", "native"])
def test_one_video_alone_is_shown_as_in_a_batch(colours: str, pixels: str) -> None:
    view = EVAL.model_copy(update={"pixels": pixels})
    row = ClipReader(view)(plan_row(colours))
    assert torch.equal(clip_on(row["clip"], row["colour"], CPU), batch_of(view, [colours]).all_clips_on(CPU))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("view", [TRAIN, VIEWS["three_crops"]], ids=["train", "eval"])
def test_a_gpu_gets_the_same(colours: str, view: Any) -> None:
    for paths in ([colours, colours], [colours, "/no/such.mp4", colours]):
        batch = batch_of(native(view), paths)
        for _ in range(3):  # memory that was handed out before is handed out again
            clips = batch.all_clips_on(torch.device("cuda"))
            assert (clips.cpu().int() - batch.all_clips_on(CPU).int()).abs().max() <= 1
