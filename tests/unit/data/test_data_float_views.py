"""Views of skeletons, heatmaps and sound, from a row of a plan to what a model sees."""

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from toy_skeletons import write_wav

from kinoray.data.audio_views import AudioEval, AudioTrain
from kinoray.data.config import DataConfig
from kinoray.data.float_views import FloatView
from kinoray.data.heatmap_views import COCO_LIMBS, HeatmapEval, HeatmapTrain
from kinoray.data.reading import ClipReader
from kinoray.data.skeleton_views import SkeletonEval, SkeletonTrain
from kinoray.data.skeletons import pack_skeletons
from kinoray.errors import ConfigError
from kinoray.recipe import Recipe
from kinoray.transforms.poses import MIRRORED, in_picture

SAMPLING = {"kind": "stratified", "clip_len": 8}
TRAIN = {"source": "a.csv", "batch_size": 2, "sampling": SAMPLING}


def row(path, **fields):
    return {
        "video_id": "v", "path": str(path), "label": 0, "start_seconds": None, "end_seconds": None,
        "position": 0, "clip_seed": 5,
    } | fields  # fmt: skip


def shown(view: FloatView, read):
    """What the model sees of a row that was read."""
    return view.model_clips(torch.from_numpy(read["clip"])[None])[0]


def skeleton_file(path, *, num_joints=17, coordinates=2, persons=1, frames=30):
    """Joints that move to the right by 4 pixels a frame."""
    points = np.random.default_rng(0).uniform(100, 300, (persons, 1, num_joints, coordinates))
    points = points + 4 * np.arange(frames)[:, None, None] * np.eye(coordinates)[0]
    path.write_bytes(pack_skeletons(points, np.full(points.shape[:3], 0.5), (480, 640)))
    return points.astype(np.float32)


@pytest.fixture
def skeleton(tmp_path):
    path = tmp_path / "a.npz"
    skeleton_file(path)
    return path


VIEWS = [
    SkeletonTrain(**TRAIN),
    SkeletonEval(sampling={**SAMPLING, "num_clips": 3}),
    HeatmapTrain(**TRAIN),
    HeatmapTrain(**TRAIN, draws="limbs", crop=32),
    HeatmapEval(sampling={**SAMPLING, "num_clips": 3}, with_mirrored=True),
]


@pytest.mark.parametrize("view", VIEWS)
def test_a_row_becomes_what_the_model_sees(view, skeleton):
    read = ClipReader(view)(row(skeleton))
    assert read["error"] == ""
    assert (read["clip"].shape, read["clip"].dtype) == (view.clip_shape(), np.uint8)
    clips = shown(view, read)
    assert clips.shape == view.model_shape()
    assert clips.dtype == torch.float32
    assert clips.isfinite().all()
    assert clips.abs().sum() > 0

    place = np.empty(view.clip_shape(), np.uint8)
    ClipReader(view).read_into(row(skeleton), place)
    assert np.array_equal(place, read["clip"])


@pytest.mark.parametrize("view", VIEWS)
def test_what_is_random_follows_the_seed(view, skeleton):
    reader = ClipReader(view)
    clips = [reader(row(skeleton, clip_seed=seed))["clip"] for seed in (1, 1, 2)]
    assert np.array_equal(clips[0], clips[1])
    assert np.array_equal(clips[0], clips[2]) == isinstance(view, SkeletonEval | HeatmapEval)


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("content", [b"no archive", b""])
def test_what_cannot_be_read_is_a_blank_row(view, content, tmp_path):
    path = tmp_path / "bad.npz"
    path.write_bytes(content)
    read = ClipReader(view, with_facts=True)(row(path))
    assert read["error"].startswith(f"{path}: ")
    assert not read["clip"].any()
    assert read["clip"].shape == view.clip_shape()
    assert '"reason"' in read["facts"]


def test_shapes():
    assert [view.model_shape() for view in VIEWS] == [
        (1, 2, 8, 17, 3), (3, 2, 8, 17, 3), (1, 17, 8, 56, 56), (1, 17, 8, 32, 32), (6, 17, 8, 64, 64),
    ]  # fmt: skip


def test_graphs_hold_coordinates_and_confidence(tmp_path):
    points = skeleton_file(tmp_path / "a.npz", frames=8)
    view = SkeletonEval(sampling=SAMPLING)
    clip = shown(view, ClipReader(view)(row(tmp_path / "a.npz"))).numpy()
    np.testing.assert_allclose(clip[0, 0, ..., :2], in_picture(points[0], 480, 640), rtol=1e-5, atol=1e-6)
    assert (clip[0, 0, ..., 2] == 0.5).all()
    assert not clip[0, 1].any()  # nobody


def test_only_the_segment_is_seen(skeleton):
    view = SkeletonEval(sampling=SAMPLING, stream="joint")
    first = ClipReader(view)(row(skeleton, end_seconds=8 / 30))
    later = ClipReader(view)(row(skeleton, start_seconds=16 / 30, end_seconds=24 / 30))
    moved = shown(view, later)[0, 0, ..., 0] - shown(view, first)[0, 0, ..., 0]
    torch.testing.assert_close(moved, torch.full_like(moved, 16 * 4 / 320))


def test_joints_in_space(tmp_path):
    skeleton_file(tmp_path / "a.npz", num_joints=25, coordinates=3, persons=3)
    view = SkeletonEval(sampling=SAMPLING, joints="nturgb+d")
    clip = shown(view, ClipReader(view)(row(tmp_path / "a.npz")))
    assert clip.shape == (1, 2, 8, 25, 3)
    told = ClipReader(SkeletonEval(sampling=SAMPLING))(row(tmp_path / "a.npz"))["error"]
    assert "joints, got 25 of 3 coordinates; the view's 'joints' has 17 of 2" in told


def test_a_mirrored_view_has_the_mirrored_label(tmp_path):
    skeleton = tmp_path / "a.npz"
    skeleton_file(skeleton, frames=8)  # so that every frame is seen, whatever the seed
    seen = {}
    view = HeatmapTrain(**TRAIN, box={"kind": "centre"})
    for seed in range(12):
        read = ClipReader(view, flip_labels=(1, 0))(row(skeleton, clip_seed=seed))
        seen[read["label"]] = read["clip"].view(np.float32)
    assert set(seen) == {0, 1}
    straight, turned = seen[0][:, 0], seen[1][:, 0]  # of the one person there is
    height = straight[..., 1]
    np.testing.assert_allclose(turned[..., 0] + straight[..., list(MIRRORED["coco"]), 0], view.crop, atol=1e-3)
    np.testing.assert_allclose(turned[..., 1], height[..., list(MIRRORED["coco"])], atol=1e-4)
    assert ClipReader(HeatmapTrain(**TRAIN, flip=0), flip_labels=(1, 0))(row(skeleton))["label"] == 0


def test_scores_are_how_bright_joints_are(skeleton):
    for use_scores, brightest in ((True, 0.5), (False, 1.0)):
        view = HeatmapEval(sampling=SAMPLING, use_scores=use_scores, sigma=2.0)
        assert shown(view, ClipReader(view)(row(skeleton))).max() == pytest.approx(brightest, abs=0.05)


def test_a_square_of_any_shape():
    """Off: both sides become ``resize``."""
    kept = HeatmapEval(sampling=SAMPLING, keep_ratio=False, resize=64, crop=64)
    assert kept.model_shape() == (1, 17, 8, 64, 64)


def test_mirrored_scoring_and_mirrored_classes_do_not_mix():
    values = {
        "train": {"kind": "heatmap", **TRAIN},
        "val": {"kind": "heatmap", "source": "b.csv", "sampling": SAMPLING, "with_mirrored": True},
        "flip_labels": {"a": "b", "b": "a"},
    }
    with pytest.raises(ValidationError, match=r"val\.with_mirrored, got true; use false, as a mirror changes classes"):
        DataConfig.model_validate(values)


@pytest.mark.parametrize(
    ("view", "settings", "told"),
    [
        (SkeletonEval, {"sampling": {"kind": "windows", "clip_len": 8}}, "whose number of clips depends on the video"),
        (AudioEval, {"sampling": {"kind": "windows", "clip_len": 8}}, "whose number of clips depends on the video"),
        (HeatmapEval, {"sampling": SAMPLING, "resize": 56}, r"crop, got 64; it should be at most resize \(56\)"),
        (
            HeatmapEval,
            {"sampling": SAMPLING, "draws": "limbs", "limbs": [[0, 17]]},
            r"limbs: joints of coco are 0\.\.16",
        ),
        (HeatmapEval, {"sampling": SAMPLING, "joints": "nturgb+d"}, "'coco' or 'openpose'"),
    ],
)
def test_settings_that_cannot_be(view, settings, told):
    with pytest.raises(ValidationError, match=told):
        view(**settings)


def test_limbs_are_those_of_the_published_networks():
    assert len(COCO_LIMBS) == len(set(COCO_LIMBS)) == 17
    assert {joint for limb in COCO_LIMBS for joint in limb} == set(range(17))


@pytest.fixture
def sound(tmp_path):
    """A second of noise, the second half much louder."""
    samples = np.random.default_rng(0).normal(0, 0.001, 16_000)
    samples[8000:] *= 100
    write_wav(tmp_path / "a.wav", samples)
    return tmp_path / "a.wav"


def test_sound_becomes_spectrograms(sound):
    view = AudioEval(sampling={"clip_len": 16, "num_clips": 4})
    clips = shown(view, ClipReader(view)(row(sound)))
    assert clips.shape == view.model_shape() == (4, 1, 16, 80)
    assert clips[0].mean() < clips[3].mean() - 0.2
    late = shown(view, ClipReader(view)(row(sound, start_seconds=0.6)))
    assert late.mean() > clips[0].mean() + 0.2


def test_sound_to_train_on(sound):
    view = AudioTrain(source="a.csv", batch_size=1, sampling={"clip_len": 16}, spectrogram={"num_bands": 20})
    clips = [ClipReader(view)(row(sound, clip_seed=seed))["clip"] for seed in (1, 1, 2)]
    assert view.model_shape() == (1, 1, 16, 20)
    assert np.array_equal(clips[0], clips[1])
    assert not np.array_equal(clips[0], clips[2])


def test_spectrograms_from_a_file(tmp_path):
    levels = np.random.default_rng(0).uniform(0, 1, (40, 80))
    np.save(tmp_path / "a.npy", levels)
    view = AudioEval(sampling={"clip_len": 40})
    clip = shown(view, ClipReader(view)(row(tmp_path / "a.npy")))
    np.testing.assert_allclose(clip[0, 0], levels, rtol=1e-6)


@pytest.mark.parametrize(
    ("levels", "told"),
    [
        (np.zeros((40, 64)), "a spectrogram, got float64 of the shape 40x64; it should be floats, frames x 80 bands"),
        (np.zeros((0, 80)), "of the shape 0x80"),
        (np.zeros((40, 80), int), "got int64"),
        (np.array(1.0), "of the shape scalar"),
        (np.array([{}], dtype=object), "no NumPy array"),
    ],
)
def test_files_that_are_no_spectrograms(levels, told, tmp_path):
    np.save(tmp_path / "a.npy", levels, allow_pickle=True)
    read = ClipReader(AudioEval(sampling={"clip_len": 8}))(row(tmp_path / "a.npy"))
    assert told in read["error"]
    assert not read["clip"].any()


@pytest.mark.parametrize(
    ("model", "kind", "wanted"),
    [("stgcn", "heatmap", "skeleton"), ("posec3d", "audio", "heatmap"), ("tsm", "skeleton", "video")],
)
def test_a_model_takes_views_of_its_kind(model, kind, wanted):
    values = {
        "model": {"kind": model, "num_classes": 2},
        "data": {"train": {"kind": kind, **TRAIN}},
        "optimizer": {"kind": "sgd", "lr": 0.1},
        "training": {"epochs": 1},
    }
    with pytest.raises(ConfigError, match=rf"data\.train\.kind, got {kind}; {model} takes views of kind {wanted}"):
        Recipe.from_mapping(values, "test")
