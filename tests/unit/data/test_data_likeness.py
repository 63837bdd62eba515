"""Footage is known again, and other footage of the same scene is told from it."""

import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from kinoray.data import likeness
from kinoray.data.fingerprints import fingerprint, pictures
from kinoray.data.likeness import MAX_DISTANCE, components, like_pairs, motion_distances
from kinoray.video.decode import VideoReader
from kinoray.video.transcode import Encoding, transcode

FIGHT2 = Path(__file__).resolve().parents[4] / "shared/assets/real_labelled/fight2"
NUM_TIMES, NUM_PIXELS = 24, 64


class Film:
    """Endless footage of a fixed scene in which a bright spot wanders, the same for the same seed."""

    def __init__(self, scene: int, motion: int) -> None:
        rng = np.random.default_rng(scene)
        self.scene = np.kron(rng.uniform(30, 170, (4, 4)), np.ones((2, 2)))
        rng = np.random.default_rng([scene, motion])
        self.waves = rng.uniform(0.2, 0.9, (2, 3)), rng.uniform(0, 6, (2, 3))

    def at(self, seconds):
        rates, phases = self.waves
        places = 3.5 + 1.5 * np.sin(np.multiply.outer(seconds, rates) + phases).sum(-1)
        grid = np.arange(8)
        spots = np.exp(-((places[:, :1] - grid) ** 2))[:, :, None] * np.exp(-((places[:, 1:] - grid) ** 2))[:, None]
        return self.scene + 60 * spots

    def pictures(self, start, end, noise=0.0):
        seconds = start + (np.arange(NUM_TIMES) + 0.5) / NUM_TIMES * (end - start)
        levels = self.at(seconds) + noise * np.random.default_rng(7).standard_normal((NUM_TIMES, 8, 8))
        return levels.round().clip(0, 255).astype(np.uint8).reshape(NUM_TIMES, NUM_PIXELS)


def pairs_of(films, durations):
    found = like_pairs(np.stack(films), np.array(durations, float))
    return list(zip(found.first.tolist(), found.second.tolist(), strict=True))


@pytest.mark.parametrize(
    "copy",
    [
        pytest.param(lambda film: (film.pictures(0, 10, noise=1.0), 10), id="coded anew"),
        pytest.param(lambda film: ((film.pictures(0, 10) * 0.8 + 20).astype(np.uint8), 10), id="fainter"),
        pytest.param(lambda film: (film.pictures(1, 9), 8), id="both ends cut off"),
        pytest.param(lambda film: (film.pictures(2.5, 10), 7.5), id="its beginning cut off"),
        pytest.param(lambda film: (film.pictures(2, 12), 10), id="another piece that overlaps"),
    ],
)
def test_a_copy_is_found_and_what_else_the_camera_saw_is_not(copy):
    film = Film(scene=1, motion=1)
    shown, seconds = copy(film)
    others = [Film(scene=1, motion=number).pictures(0, 10) for number in range(2, 8)]
    assert pairs_of([film.pictures(0, 10), *others, shown], [10] * 7 + [seconds]) == [(0, 7)]


def test_later_footage_is_other_footage():
    film = Film(scene=1, motion=1)
    assert pairs_of([film.pictures(0, 10), film.pictures(30, 40)], [10, 10]) == []


def test_a_short_piece_of_long_footage_is_not_looked_for():
    film = Film(scene=1, motion=1)
    assert pairs_of([film.pictures(0, 10), film.pictures(0, 5)], [10, 5]) == []


def test_where_nothing_moves_the_scene_decides():
    still = np.repeat(Film(1, 1).scene.reshape(1, NUM_PIXELS).astype(np.uint8), NUM_TIMES, axis=0)
    other = np.repeat(Film(2, 1).scene.reshape(1, NUM_PIXELS).astype(np.uint8), NUM_TIMES, axis=0)
    assert pairs_of([still, other, still], [3, 3, 3]) == [(0, 2)]


def test_blank_pictures_are_like_nothing():
    blank = np.full((NUM_TIMES, NUM_PIXELS), 16, np.uint8)
    assert pairs_of([blank, blank, blank + 1], [3, 3, 3]) == []


def test_no_videos_and_one():
    assert like_pairs(np.empty((0, NUM_TIMES, NUM_PIXELS), np.uint8), np.empty(0)).first.size == 0
    assert pairs_of([Film(1, 1).pictures(0, 3)], [3]) == []


def test_distance_is_one_less_the_correlation():
    """With equal durations and no offset, beside a plain computation of it."""
    one, other = (Film(1, motion).pictures(0, 10).astype(float) for motion in (1, 2))
    rest, others_rest = one - one.mean(0), other - other.mean(0)
    noise = likeness.NOISE * one.size
    energies = ((rest**2).sum() + noise) * ((others_rest**2).sum() + noise)
    expected = 1 - ((rest * others_rest).sum() + noise) / np.sqrt(energies)
    got = motion_distances(one[None].astype(np.uint8), other[None].astype(np.uint8), np.ones(1))
    assert got[0] <= expected + 1e-4, "no offset is one of those that are tried"
    same = motion_distances(one[None].astype(np.uint8), one[None].astype(np.uint8), np.ones(1))
    assert same[0] == pytest.approx(0, abs=1e-4)


def test_cells_lose_no_copy(monkeypatch):
    """Of a list too long to compare all with all."""
    films = [Film(scene, 1).pictures(0, 10) for scene in range(400)]
    copies = [Film(scene, 1).pictures(1, 9, noise=1.0) for scene in range(0, 400, 10)]
    monkeypatch.setattr(likeness, "MAX_SINGLE_CELL", 50)
    found = pairs_of([*films, *copies], [10] * 400 + [8] * 40)
    assert found == [(scene, 400 + number) for number, scene in enumerate(range(0, 400, 10))]
    cells = list(likeness._cells(likeness._averages(np.stack(films))[0]))
    assert max(map(len, cells)) < 200, "they are much smaller than the list"
    assert sum(map(len, cells)) == likeness.CELLS_PER_VIDEO * 400


def test_cells_take_little_memory():
    """Not all products with all centres at once: of a million videos, those are 8 GB."""
    scenes = np.random.default_rng(0).standard_normal((40_000, 4)).astype(np.float32)
    tracemalloc.start()
    num_members = sum(map(len, likeness._cells(scenes)))
    _, most_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert num_members == likeness.CELLS_PER_VIDEO * 40_000
    assert most_bytes < 200 * 40_000


def test_distances_are_within_the_limit():
    film = Film(scene=1, motion=1)
    found = like_pairs(np.stack([film.pictures(0, 10), film.pictures(0, 10, noise=2.0)]), np.array([10.0, 10.0]))
    assert (found.distance >= 0).all()
    assert (found.distance <= MAX_DISTANCE).all()


@pytest.mark.skipif(not FIGHT2.exists(), reason="needs ../shared/assets")
def test_real_clips_and_copies_of_them():
    """Neighbouring clips of surveillance cameras, several of one scene, beside smaller copies of half of them."""
    contents, durations = [], []
    clips = sorted(FIGHT2.glob("no_fight/*.mp4"))[20:36]
    for clip in clips:
        with VideoReader(str(clip)) as video:
            contents.append(fingerprint(video))
            durations.append(video.duration_seconds)
    for clip in clips[::2]:
        with VideoReader(str(clip)) as video:
            copy = transcode(video, Encoding("h264", short_side=72))
        with VideoReader(copy) as video:
            contents.append(fingerprint(video))
            durations.append(video.duration_seconds)
    assert pairs_of(list(pictures(contents)), durations) == [(2 * number, 16 + number) for number in range(8)]


def test_components_join_through_others():
    first, second = np.array([[4, 2, 6], [2, 0, 5]])
    assert components(7, first, second).tolist() == [0, 1, 0, 3, 0, 5, 5]
    assert components(2, first[:0], second[:0]).tolist() == [0, 1]
