import csv
import json
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest
from av.video.frame import PictureType
from numpy.typing import NDArray

from kinoray.data import motion8
from kinoray.data.motion8 import CLASSES, FLIP_LABELS, FPS, generate, video_frames
from kinoray.data.motion8_render import DRIVE_PER_FRAME, DRIVES, NUM_FRAMES, SIZE, draw_scene, render, trajectory
from kinoray.errors import DataError

OPPOSITES = [("left", "right"), ("up", "down"), ("cw", "ccw"), ("approach", "recede")]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("parent") / "motion8"
    generate(path, num_train=18, num_val=8)
    return path


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def contents(root: Path) -> dict[str, bytes]:
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}


# What is drawn


@pytest.mark.parametrize("pair", OPPOSITES, ids=lambda pair: pair[0])
def test_a_motion_played_backwards_is_its_opposite(pair: tuple[str, str]) -> None:
    disc = draw_scene(np.random.default_rng(3)).disc
    forwards = trajectory(disc, pair[0])
    opposite = trajectory(replace(disc, start=forwards[-1]), pair[1])

    turns = opposite - forwards[::-1]
    np.testing.assert_allclose(turns - np.round(turns), 0, atol=1e-5)
    assert np.abs(np.diff(forwards, axis=0)).max() > 0


@pytest.mark.parametrize("label", CLASSES)
def test_all_four_phases_are_uniform_in_every_frame_of_every_class(label: str) -> None:
    discs = [draw_scene(np.random.default_rng([7, index])).disc for index in range(2000)]
    phases = np.stack([trajectory(disc, label) for disc in discs])
    for frame in (0, NUM_FRAMES // 2, NUM_FRAMES - 1):
        bins = np.stack([np.histogram(phases[:, frame, axis], 10, (0, 1))[0] for axis in range(4)])
        # 200 a bin, standard deviation 13.4; five of them for the 960 bins of this test.
        assert np.abs(bins - 200).max() < 68
        np.testing.assert_allclose(np.corrcoef(phases[:, frame].T), np.eye(4), atol=0.1)


def test_the_same_seed_draws_the_same_scene_in_all_classes() -> None:
    """At frame 0 nothing has moved yet: the class has no other way into the picture."""
    first_frames = [
        render(draw_scene(np.random.default_rng(5)), label, np.random.default_rng(6))[0] for label in CLASSES
    ]
    for frame in first_frames[1:]:
        np.testing.assert_array_equal(frame, first_frames[0])


def test_every_velocity_is_as_likely_as_its_opposite() -> None:
    scenes = [draw_scene(np.random.default_rng([1, index])) for index in range(2000)]
    velocities = np.stack([np.concatenate([s.pan, s.spots[:, 2:4].ravel(), s.flicker[1:]]) for s in scenes])
    forwards = (velocities > 0).mean(0)
    np.testing.assert_allclose(forwards, 0.5, atol=0.06)  # five standard deviations
    np.testing.assert_allclose(np.abs(velocities.mean(0)) / velocities.std(0), 0, atol=0.12)


@pytest.mark.parametrize(("label", "step"), [("left", (0, -3)), ("right", (0, 3)), ("up", (-3, 0)), ("down", (3, 0))])
def test_the_disc_goes_where_its_class_says(label: str, step: tuple[int, int]) -> None:
    scene = draw_scene(np.random.default_rng(2))
    disc = replace(scene.disc, speed=3 / SIZE / DRIVE_PER_FRAME[0])  # whole pixels, so that a shift is exact
    scene = replace(scene, disc=disc, spots=scene.spots[:0], pan=scene.pan * 0, waves=scene.waves * 0)
    scene = replace(scene, flicker=scene.flicker * 0)
    first, second = (frame.astype(float) for frame in render(scene, label, np.random.default_rng(0))[:2])
    noise_only = 8
    assert np.abs(second - np.roll(first, step, axis=(0, 1))).mean() < noise_only
    assert np.abs(second - np.roll(first, np.negative(step), axis=(0, 1))).mean() > noise_only


def test_mirrored_motions_are_what_flip_labels_say() -> None:
    axes = {label: DRIVES[label][0] for label in CLASSES}
    for label in CLASSES:
        mirrored = FLIP_LABELS.get(label, label)
        assert axes[mirrored] == axes[label]
        # A mirror turns round what is horizontal and what turns; it leaves heights and sizes alone.
        assert (mirrored != label) == (axes[label] in (0, 2))


def test_simple_statistics_of_a_frame_do_not_tell_the_class() -> None:
    """One-way analysis of variance of a middle frame's statistics: classes differ no more than chance has them."""
    num_videos = 16
    statistics = np.empty((len(CLASSES), num_videos, 6))
    for index in range(len(CLASSES) * num_videos):
        frames, label = video_frames(11, "train", index)
        frame = frames[NUM_FRAMES // 2].astype(np.float64)
        edges = [np.abs(np.diff(frame, axis=axis)).mean() for axis in (0, 1)]
        halves = [frame[: SIZE // 2].mean() - frame.mean(), frame[:, : SIZE // 2].mean() - frame.mean()]
        statistics[CLASSES.index(label), index // len(CLASSES)] = [frame.mean(), frame.std(), *edges, *halves]
    between = num_videos * statistics.mean(1).var(0, ddof=1)
    within = statistics.var(1, ddof=1).mean(0)
    assert (between / within).max() < 4  # F(7, 120) exceeds it once in 1,700 times


# What is written


def test_videos_are_h264_with_b_frames(root: Path) -> None:
    with av.open(str(root / "videos/train/00003.mp4")) as container:
        stream = container.streams.video[0]
        frames = list(container.decode(stream))
        codec = stream.codec_context
        assert (codec.name, codec.pix_fmt, codec.width, codec.height) == ("h264", "yuv420p", SIZE, SIZE)
        assert stream.average_rate == FPS
    kinds = Counter(PictureType(frame.pict_type).name for frame in frames)
    assert len(frames) == NUM_FRAMES
    assert kinds["I"] == 2
    assert kinds["B"] > kinds["P"] > 0


def test_decoded_video_shows_what_was_drawn(root: Path) -> None:
    drawn, _ = video_frames(0, "val", 4)
    with av.open(str(root / "videos/val/00004.mp4")) as container:
        decoded = np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])
    assert np.abs(decoded.astype(float) - drawn).mean() < 12
    assert np.abs(decoded[::-1].astype(float) - drawn).mean() > 12


def test_lists_name_every_video_once_with_balanced_labels(root: Path) -> None:
    for split, num_videos in (("train", 18), ("val", 8)):
        listed = rows(root / f"{split}.csv")
        assert list(listed[0]) == ["video_id", "path", "label"]
        assert {row["path"] for row in listed} == {
            path.relative_to(root).as_posix() for path in (root / "videos" / split).iterdir()
        }
        counts = Counter(row["label"] for row in listed)
        assert set(counts) == set(CLASSES)
        assert max(counts.values()) - min(counts.values()) <= 1
        assert len({row["video_id"] for row in listed}) == len(listed) == num_videos


def test_bytes_depend_on_seed_split_and_index_alone(root: Path, tmp_path: Path) -> None:
    generate(tmp_path / "again", num_train=18, num_val=8, num_threads=1)
    generate(tmp_path / "other", num_train=8, num_val=8, seed=1)
    again, other, first = contents(tmp_path / "again"), contents(tmp_path / "other"), contents(root)
    assert again == first
    videos = [data for files in (first, other) for name, data in files.items() if name.endswith(".mp4")]
    assert len(set(videos)) == len(videos)


# When it is written


def test_a_second_call_does_nothing(root: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in root.rglob("*")}
    generate(root, num_train=18, num_val=8)
    assert {path: path.stat().st_mtime_ns for path in root.rglob("*")} == before


def test_other_parameters_are_refused(root: Path) -> None:
    before = contents(root)
    with pytest.raises(DataError, match="remove the folder"):
        generate(root, num_train=18, num_val=8, seed=1)
    assert contents(root) == before


def test_strange_folders_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(DataError, match="remove the folder"):
        generate(tmp_path, num_train=1, num_val=1)
    (tmp_path / "motion8.json").write_text("{")
    with pytest.raises(DataError, match="damaged"):
        generate(tmp_path, num_train=1, num_val=1)
    assert (tmp_path / "thesis.txt").read_text() == "years of work"


def test_an_interrupted_set_leaves_nothing_and_is_redone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tmp_path / "set"

    def encode(path: Path, frames: NDArray[np.uint8]) -> None:
        if path.stem == "00005":
            raise KeyboardInterrupt
        path.touch()

    with monkeypatch.context() as patched:
        patched.setattr(motion8, "encode", encode)
        with pytest.raises(KeyboardInterrupt):
            generate(root, num_train=8, num_val=1)
    assert list(tmp_path.iterdir()) == []

    generate(root, num_train=8, num_val=1)
    assert all(path.stat().st_size for path in root.rglob("*.mp4"))


def test_an_empty_folder_is_filled(tmp_path: Path) -> None:
    generate(tmp_path, num_train=1, num_val=1)
    assert json.loads((tmp_path / "motion8.json").read_text())["num_train"] == 1


def test_callers_at_once_get_one_whole_set(tmp_path: Path) -> None:
    root = tmp_path / "deep" / "set"
    with ThreadPoolExecutor(3) as pool:
        calls = [pool.submit(generate, root, num_train=8, num_val=2) for _ in range(3)]
    for call in calls:
        call.result()
    assert len(rows(root / "train.csv")) == 8
    assert list(root.parent.iterdir()) == [root]


def test_a_set_that_cannot_be_placed_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def rename(self: Path, target: Path) -> None:
        raise PermissionError("no")

    monkeypatch.setattr(Path, "rename", rename)
    with pytest.raises(PermissionError, match="no"):
        generate(tmp_path / "set", num_train=1, num_val=1)


@pytest.mark.parametrize("wrong", [{"num_train": 0}, {"num_val": -1}, {"seed": -1}, {"num_threads": 0}])
def test_numbers_that_make_no_sense(tmp_path: Path, wrong: dict[str, int]) -> None:
    with pytest.raises(DataError, match="at least"):
        generate(tmp_path / "set", **{"num_train": 1, "num_val": 1, **wrong})
    assert list(tmp_path.iterdir()) == []


def test_the_label_file_of_the_dataset_names_the_classes() -> None:
    labels = Path(__file__).resolve().parents[3] / "datasets/motion8/labels.txt"
    assert tuple(labels.read_text().split()) == CLASSES
