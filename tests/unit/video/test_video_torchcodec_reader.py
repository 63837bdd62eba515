"""The torchcodec reader against ours, and that it refuses what it cannot read exactly."""

import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from kinoray.errors import DecodeError, ResourceError
from kinoray.video import torchcodec_reader
from kinoray.video.decode import VideoReader
from kinoray.video.frames import Box, Shot
from kinoray.video.open import check_backend, open_video
from kinoray.video.torchcodec_reader import TorchcodecReader

sys.path.insert(0, str(Path(__file__).parent / "helpers"))

import odd_videos as odd  # after the path is set

SHARED = Path(__file__).resolve().parents[3].parent / "shared" / "assets"
FILES = sorted(path for folder in ("decoder", "decoder_derived") for path in (SHARED / folder).glob("[!.]*"))
# What torchcodec 0.17 with FFmpeg 5 gets wrong, and by what we notice.
REFUSED = {
    "hmdb51_RATRACE_wave_f_nm_np1_fr_goo_37.avi": "no display times",
    "hmdb51_SchoolRulesHowTheyHelpUs_wave_f_nm_np1_ba_med_0.avi": "no display times",
    "hmdb51_TrumanShow_wave_f_nm_np1_fr_med_26.avi": "no display times",
    "hmdb51_Turnk_r_Pippi_Michel_cartwheel_f_cm_np2_le_med_6.avi": "no display times",
    "mmaction2_test.avi": "no display times",
    "mpeg2.mpg": "no more frames left to decode",
    "h264.ts": "no more frames left to decode",
    "corrupt_truncated_tail.mp4": "it finds 33 frames where there are 32",
    "corrupt_bitflips.mp4": "Invalid data found",  # damage that ours fills
    "decord_corrupted.mp4": "Invalid data found",
}


class FakeDecoder:
    """Gives the right pictures of a numbered video; ``shift`` puts it that many frames off."""

    shift = 0
    num_extra = 0

    def __init__(self, source, **settings):
        assert settings == {"seek_mode": "exact", "dimension_order": "NHWC", "num_ffmpeg_threads": 1, "device": "cpu"}
        with VideoReader(source) as video:
            self._data = video.read(range(video.num_frames)).data
            self._times = video.pts_seconds

    def __len__(self):
        return len(self._data) + self.num_extra

    def get_frames_at(self, indices):
        places = [index + self.shift for index in indices]
        return SimpleNamespace(data=torch.from_numpy(self._data[places]), pts_seconds=torch.tensor(self._times[places]))


@pytest.fixture
def fake(monkeypatch):
    monkeypatch.setattr(torchcodec_reader, "_decoder_class", lambda: FakeDecoder)
    monkeypatch.setattr(torchcodec_reader, "_BATCH_BYTES", 48 * 64 * 3 * 4)
    return FakeDecoder


@pytest.fixture
def movie(tmp_path):
    return str(odd.video(tmp_path / "movie.mp4", options=odd.LOSSLESS | {"bf": "0"}))


def test_reads_like_ours(fake, movie):
    shots = [Shot(np.array([7, 3, 3, 39])), Shot(np.arange(20), Box(4, 6, 40, 50), (20, 30), mirror=True)]
    with VideoReader(movie) as ours, TorchcodecReader(Path(movie).read_bytes(), name="mine") as video:
        assert (video.num_frames, video.height, video.width, video.fps) == (40, 48, 64, 25.0)
        np.testing.assert_array_equal(video.keyframes, ours.keyframes)
        np.testing.assert_array_equal(video.frames_at([0.5, 9.0]), [12, 39])
        for mine, expected in zip(video.read_shots(shots), ours.read_shots(shots), strict=True):
            np.testing.assert_array_equal(mine.pts_seconds, expected.pts_seconds)
            assert np.abs(mine.data.astype(int) - expected.data).mean() < 2
        np.testing.assert_array_equal(video.read([5]).data, ours.read([5]).data)
        out = np.zeros((1, 48, 64, 3), np.uint8)
        video.read_shots([Shot(np.array([5]), out=out)])
        np.testing.assert_array_equal(out, ours.read([5]).data)
        for mine, expected in zip(video.read_planes(shots), ours.read_planes(shots), strict=True):
            assert (mine.height, mine.width, mine.matrix, mine.is_full_range) == (
                expected.height,
                expected.width,
                expected.matrix,
                expected.is_full_range,
            )
            assert np.abs(mine.data.astype(int) - expected.data).mean() < 2
        assert video.read_shots([]) == []
        with pytest.raises(IndexError, match="mine: frame index, got 40; the video has 40 frames"):
            video.read([40])


def test_other_frames_are_refused(fake, movie, monkeypatch):
    monkeypatch.setattr(fake, "shift", 1)
    with TorchcodecReader(movie) as video, pytest.raises(DecodeError, match=r"movie\.mp4: .* other frames") as caught:
        video.read([3])
    assert caught.value.reason == "unreadable"


def test_another_count_is_refused(fake, movie, monkeypatch):
    monkeypatch.setattr(fake, "num_extra", 1)
    with pytest.raises(DecodeError, match=r"movie\.mp4: .* finds 41 frames where there are 40"):
        TorchcodecReader(movie)


def test_containers_without_times_are_refused(fake, tmp_path):
    with pytest.raises(DecodeError, match=r"a\.avi: .* no display times; use the usual reader"):
        TorchcodecReader(str(odd.video(tmp_path / "a.avi")))


def test_torchcodec_is_not_there(movie, monkeypatch):
    def fail(name):
        raise ImportError(f"No module named {name}\nand a long stack")

    monkeypatch.setattr(torchcodec_reader, "import_module", fail)
    for act in (lambda: TorchcodecReader(movie), lambda: check_backend("torchcodec")):
        with pytest.raises(ResourceError, match=r"\(No module named torchcodec\.decoders\); pip install 'kinoray"):
            act()


def test_there_is_no_gpu(fake, movie, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    check_backend("pyav")
    check_backend("torchcodec")
    check_backend("nvdec")  # the process that starts a run on a cluster needs no GPU
    with pytest.raises(ResourceError, match="torchcodec: to decode on cuda, got no GPU"):
        open_video(movie, backend="nvdec")


@pytest.mark.skipif(not FILES, reason="the shared videos are not on this machine")
def test_real_files():
    pytest.importorskip("torchcodec.decoders", exc_type=(ImportError, RuntimeError))
    num_equal = 0
    for path in FILES:
        try:
            ours = VideoReader(str(path), max_missing=0.5)
        except DecodeError:
            with pytest.raises(DecodeError):
                TorchcodecReader(str(path))
            continue
        indices = np.random.default_rng(0).integers(ours.num_frames, size=6)
        if path.name in REFUSED:
            with pytest.raises(DecodeError, match=REFUSED[path.name]), TorchcodecReader(str(path)) as video:
                video.read(range(video.num_frames))
            continue
        with ours, TorchcodecReader(str(path)) as video:
            difference = np.abs(ours.read(indices).data.astype(int) - video.read(indices).data)
            # Libraries differ in how they cut 10 bits to 8.
            assert difference.mean() < (3.5 if "10bits" in path.name else 0.1), path.name
            num_equal += 1
    assert num_equal > 35
