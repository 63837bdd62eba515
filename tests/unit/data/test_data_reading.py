import pickle
import sys
import time
from pathlib import Path

import av
import numpy as np
import pytest

from kinoray.data import reading
from kinoray.data.reading import ClipReader
from kinoray.data.rows import ClipRow
from kinoray.data.shards import write_shard
from kinoray.data.views import EvalView, TrainView
from kinoray.errors import DataError, ResourceError
from kinoray.transforms.colours import COLOURS
from kinoray.video.decode import VideoReader
from kinoray.video.open import open_video
from kinoray.video.sampling import ClipSampling

SAMPLING = ClipSampling(clip_len=4, frame_interval=2, num_clips=2)
TRAIN = TrainView(sampling=SAMPLING, crop=16, flip=0.5, box={"scale": (1, 1), "ratio": (4 / 3, 4 / 3)})
EVAL = EvalView(sampling=SAMPLING, crop=24, num_crops=3)


def plan_row(path, **fields):
    return {
        "video_id": "v7", "path": str(path), "label": 0, "start_seconds": None, "end_seconds": None,
        "position": 11, "clip_seed": 5,
    } | fields  # fmt: skip


def test_a_row_becomes_the_clip_of_its_view(video, indices_of):
    read = ClipReader(EVAL)(plan_row(video, label=2))
    assert read.keys() == ClipRow.__annotations__.keys()
    assert (read["video_id"], read["position"], read["label"], read["error"]) == ("v7", 11, 2, "")
    assert read["clip"].shape == EVAL.clip_shape() == (6, 4, 24, 24, 3)
    assert indices_of(read["clip"])[::3].tolist() == [[0, 2, 4, 6], [33, 35, 37, 39]]
    assert read["decode_seconds"] > 0
    assert read["colour"] == 0
    assert read["clip_seed"] == 5


def test_a_mirrored_clip_has_the_mirrored_label(video, brighter_side):
    reader = ClipReader(TRAIN, flip_labels=(1, 0, 2))
    seen = set()
    for seed in range(20):
        for label in (0, 1, 2, -1):
            read = reader(plan_row(video, clip_seed=seed, label=label))
            is_mirrored = brighter_side(read["clip"]) == "right"
            assert read["label"] == ({0: 1, 1: 0}.get(label, label) if is_mirrored else label)
            seen.add(is_mirrored)
    assert seen == {True, False}


def test_repeats_share_a_mirror_only_where_the_label_depends_on_it(video, brighter_side):
    reader = ClipReader(TRAIN.model_copy(update={"repeats": 4}), flip_labels=(1, 0, 2))
    sides = {0: set(), 2: set(), -1: set()}
    for seed in range(20):
        for label, seen in sides.items():
            read = reader(plan_row(video, clip_seed=seed, label=label))
            found = [brighter_side(clip) for clip in read["clip"]]
            assert read["label"] == (1 if label == 0 and found[0] == "right" else label)
            seen.add(len(set(found)))
    assert sides == {0: {1}, 2: {1, 2}, -1: {1, 2}}


@pytest.mark.parametrize("pixels", ["rgb", "yuv420", "native"])
@pytest.mark.parametrize("view", [TRAIN, TRAIN.model_copy(update={"repeats": 2}), EVAL])
def test_rows_are_read_side_by_side(video, view, pixels):
    reader = ClipReader(view.model_copy(update={"pixels": pixels}), flip_labels=(1, 0))
    block = np.full((3, *reader.view.clip_shape()), 77, np.uint8)
    rows = [plan_row(video, clip_seed=1), plan_row("/no/such.mp4"), plan_row(video, clip_seed=2)]
    for row, place in zip(rows, block, strict=True):
        told, alone = reader.read_into(row, place), reader(row)
        clip = alone.pop("clip")
        np.testing.assert_array_equal(place[: len(clip)], clip)
        assert told.keys() == alone.keys()
        assert {**told, "decode_seconds": 0} == {**alone, "decode_seconds": 0}


def test_planes_come_with_their_colour(tmp_path):
    path = tmp_path / "full.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"qp": "0"})
        stream.height, stream.width, stream.pix_fmt = 48, 64, "yuv420p"
        stream.codec_context.colorspace, stream.codec_context.color_range = 1, 2
        for level in (60, 70, 80, 90):
            planes = np.full((72, 64), level, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(planes, format="yuv420p")))
        container.mux(stream.encode(None))
    view = TrainView(sampling=ClipSampling(clip_len=4), crop=16, pixels="yuv420")
    read = ClipReader(view)(plan_row(path))
    assert read["error"] == ""
    assert COLOURS[read["colour"]] == ("bt709", True)
    assert read["clip"].shape == (1, 4, 24, 16)
    assert read["clip"][0, :, 3, 3].tolist() == [60, 70, 80, 90]
    assert ClipReader(view)(plan_row("/no/such.mp4"))["clip"].shape == (1, 4, 24, 16)


def test_a_known_packet_index_changes_nothing(video, write_video, tmp_path):
    with VideoReader(video) as opened:
        index = opened.packet_index().to_bytes()
    reader = ClipReader(TRAIN)
    known, anew = reader(plan_row(video, packet_index=index)), reader(plan_row(video, packet_index=None))
    assert known["error"] == ""
    np.testing.assert_array_equal(known["clip"], anew["clip"])
    other = write_video(tmp_path / "other.mp4", 30)
    assert reader(plan_row(other, packet_index=index))["error"].startswith(f"{other}: ")
    assert reader(plan_row(video, packet_index=b"no index"))["error"].startswith(f"{video}: ")


@pytest.mark.parametrize("view", [TRAIN, EVAL])
@pytest.mark.parametrize("pixels", ["rgb", "yuv420", "native"])
def test_a_video_in_a_shard_is_the_video(video, tmp_path, view, pixels):
    reader = ClipReader(view.model_copy(update={"pixels": pixels}))
    with (tmp_path / "shard.parquet").open("wb") as file:
        (place,) = write_shard(file, [("numbered", Path(video).read_bytes())])
    read = reader(plan_row(f"{tmp_path}/shard.parquet{place}"))
    assert read["error"] == ""
    np.testing.assert_array_equal(read["clip"], reader(plan_row(video))["clip"])


@pytest.mark.parametrize("pixels", ["rgb", "yuv420"])
def test_a_folder_of_pictures_is_a_video(tmp_path, pixels):
    folder = tmp_path / "frames"
    folder.mkdir()
    for index in range(8):
        frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), 20 * index, np.uint8), format="rgb24")
        encoder = av.CodecContext.create("png", "w")
        encoder.height, encoder.width, encoder.pix_fmt = 48, 64, "rgb24"
        (folder / f"img_{index:05}.png").write_bytes(bytes(encoder.encode(frame)[0]))
    view = EvalView(sampling=ClipSampling(clip_len=4, frame_interval=2), crop=16, pixels=pixels)
    read = ClipReader(view)(plan_row(folder))
    assert read["error"] == ""
    shown = read["clip"][0, :, 5, 5].astype(float)
    levels = shown[:, 0] if pixels == "rgb" else (shown - 16) * 255 / 219
    np.testing.assert_allclose(levels, [0, 40, 80, 120], atol=1.5)


def test_a_video_too_large_for_the_memory_is_a_bad_one(video, monkeypatch):
    def read(*args, **kwargs):
        raise MemoryError

    monkeypatch.setattr(TrainView, "read", read)
    out = np.full(TRAIN.clip_shape(), 77, np.uint8)
    assert ClipReader(TRAIN).read_into(plan_row(video), out)["error"] == f"{video}: there is not enough memory for it"
    assert not out.any()


def test_every_error_names_the_file(video, monkeypatch):
    def read(*args, **kwargs):
        raise DataError("sampling: nothing to sample from")

    monkeypatch.setattr(TrainView, "read", read)
    assert ClipReader(TRAIN)(plan_row(video))["error"] == f"{video}: sampling: nothing to sample from"


def test_seconds_are_those_of_the_processor(video, monkeypatch):
    def read(*args, **kwargs):
        time.sleep(0.2)
        raise DataError("slept")

    monkeypatch.setattr(TrainView, "read", read)
    assert ClipReader(TRAIN)(plan_row(video))["decode_seconds"] < 0.1


def test_without_flip_labels_a_mirror_changes_none(video):
    reader = ClipReader(TRAIN)
    assert {reader(plan_row(video, clip_seed=seed, label=1))["label"] for seed in range(10)} == {1}


def test_the_seed_of_the_row_decides(video):
    reader = ClipReader(TRAIN)
    first, again, other = (reader(plan_row(video, clip_seed=seed))["clip"] for seed in (3, 3, 4))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


def test_only_the_segment_is_read(video, indices_of):
    read = ClipReader(EVAL)(plan_row(video, start_seconds=0.4, end_seconds=0.8))
    assert indices_of(read["clip"])[::3].tolist() == [[10, 12, 14, 16], [13, 15, 17, 19]]


@pytest.mark.parametrize("view", [TRAIN, EVAL])
@pytest.mark.parametrize("damage", ["missing", "empty", "text", "cut", "folder", "late_segment"])
def test_a_bad_video_is_a_row_with_its_error(video, tmp_path, view, damage):
    path, segment = tmp_path / "bad.mp4", {}
    if damage == "folder":
        path.mkdir()
    elif damage == "late_segment":
        path, segment = video, {"start_seconds": 60.0, "end_seconds": 61.0}
    elif damage != "missing":
        content = Path(video).read_bytes()
        path.write_bytes({"empty": b"", "text": b"no video at all\n", "cut": content[: len(content) // 2]}[damage])
    read = ClipReader(view, flip_labels=(1, 0))(plan_row(path, label=1, **segment))
    assert read["error"].startswith(f"{path}: ")
    assert "\n" not in read["error"]
    assert read["clip"].shape == view.clip_shape()
    assert read["clip"].dtype == np.uint8
    assert not read["clip"].any()
    assert (read["video_id"], read["position"], read["label"]) == ("v7", 11, 1)


def test_a_reader_travels_to_another_process(video):
    reader = ClipReader(TRAIN, flip_labels=(1, 0))
    again = pickle.loads(pickle.dumps(reader))
    assert again == reader
    np.testing.assert_array_equal(again(plan_row(video))["clip"], reader(plan_row(video))["clip"])


def test_the_reader_that_is_asked_for_is_used(video, monkeypatch):
    asked = []
    monkeypatch.setattr(reading, "open_video", lambda path, **how: asked.append(how["backend"]) or open_video(path))
    for reader in (ClipReader(EVAL), ClipReader(EVAL, reader="nvdec")):
        assert reader(plan_row(video))["error"] == ""
    assert asked == ["pyav", "nvdec"]


def test_a_reader_that_is_not_installed_is_no_fault_of_the_video(video, monkeypatch):
    monkeypatch.setitem(sys.modules, "torchcodec", None)
    monkeypatch.setitem(sys.modules, "torchcodec.decoders", None)
    with pytest.raises(ResourceError, match="torchcodec: cannot be loaded"):
        ClipReader(EVAL, reader="torchcodec")(plan_row(video))
