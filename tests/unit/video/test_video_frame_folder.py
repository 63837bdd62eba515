import io
import shutil
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from kinoray.errors import ConfigError, DataError, DecodeError
from kinoray.video.frame_folder import FrameFolder
from kinoray.video.frame_names import frame_names
from kinoray.video.frames import Box, Shot
from kinoray.video.limits import Limits
from kinoray.video.open import open_video
from kinoray.video.shots import Album

HEIGHT, WIDTH = 48, 64


def picture(index):
    """Grey levels of three times the frame's index, brighter in the upper left quarter."""
    level = np.full((HEIGHT, WIDTH, 3), 3 * index, np.uint8)
    level[: HEIGHT // 2, : WIDTH // 2] += 90
    return Image.fromarray(level)


def write_folder(folder, numbers=range(1, 21), template="img_{:05d}.jpg"):
    folder.mkdir()
    for place, number in enumerate(numbers):
        picture(place).save(folder / template.format(number), quality=95)
    return str(folder)


def numbers_of(frames):
    """Which pictures these are, read in the lower right quarter."""
    return np.round(frames.data[:, 3 * frames.data.shape[1] // 4, 3 * frames.data.shape[2] // 4, 1] / 3).tolist()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """20 JPEG pictures, img_00001.jpg and so on."""
    return write_folder(tmp_path_factory.mktemp("folder") / "frames")


@pytest.mark.parametrize(
    ("numbers", "template"),
    [
        (range(1, 21), "img_{:05d}.jpg"),
        (range(20), "{}.png"),
        (range(95, 115), "v1_frame{:d}.JPEG"),
        (range(0, 100, 5), "at {:03d}.png"),
    ],
)
def test_names_are_found_out(tmp_path, numbers, template):
    with FrameFolder(write_folder(tmp_path / "frames", numbers, template)) as video:
        assert video.num_frames == 20
        assert numbers_of(video.read([19, 0, 7, 7])) == [19, 0, 7, 7]


def test_what_it_tells(folder):
    with FrameFolder(folder, fps=10) as video:
        assert (video.num_frames, video.height, video.width) == (20, HEIGHT, WIDTH)
        assert (video.fps, video.duration_seconds, video.codec, video.name) == (10, 2.0, "mjpeg", folder)
        np.testing.assert_allclose(video.pts_seconds, np.arange(20) / 10)
        np.testing.assert_array_equal(video.keyframes, np.arange(20))
        assert video.frames_at([-1, 0, 0.25, 0.3, 9]).tolist() == [0, 0, 2, 3, 19]
        assert video.num_bytes > 20 * 500
        np.testing.assert_allclose(video.read([3, 1]).pts_seconds, [0.3, 0.1])


def test_shots_are_cut_resized_and_mirrored(folder):
    shots = [
        Shot(np.array([2, 5]), Box(0, 0, 24, 64), (12, 32)),
        Shot(np.array([5, 4, 5]), Box(0, 0, 24, 64), (12, 32), mirror=True),
        Shot(np.array([], np.int64)),
    ]
    with FrameFolder(folder) as video:
        plain, mirrored, empty = video.read_shots(shots)
        assert plain.data.shape == (2, 12, 32, 3)
        np.testing.assert_allclose(plain.data[:, 6, [8, 24], 0], [[96, 6], [105, 15]], atol=2)
        np.testing.assert_allclose(mirrored.data[:, 6, [8, 24], 0], [[15, 105], [12, 102], [15, 105]], atol=2)
        assert empty.data.shape == (0, HEIGHT, WIDTH, 3)
        one = video.read([5], crop=Box(0, 0, 24, 64), size=(12, 32), mirror=True)
        np.testing.assert_array_equal(one.data[0], mirrored.data[0])
        out = np.empty_like(plain.data)
        video.read_shots([replace(shots[0], out=out)])
        np.testing.assert_array_equal(out, plain.data)
        planes = video.read_planes(shots[:1])[0]
        assert planes.data.shape == (2, 12 * 32 * 3 // 2)
        assert (planes.matrix, planes.is_full_range) == ("bt601", True)
        np.testing.assert_allclose(planes.data[:, 6 * 32 + 8], [96, 105], atol=2)


def test_mistakes(folder):
    with FrameFolder(folder) as video:
        with pytest.raises(IndexError, match=r"frames: frame index, got 20; the video has 20 frames, 0 to 19"):
            video.read([20])
        with pytest.raises(ValueError, match=r"frames: crop, got Box\(.*\); it lies within 48 x 64 pixels"):
            video.read([0], crop=Box(0, 0, 49, 10))
    for template in ("img_05d.jpg", "{}_{}.jpg", "{name}.jpg", "{:q}.jpg", "{0.foo}.jpg", "{0[a]}.jpg"):
        with pytest.raises(ConfigError, match="template of a frame's name"):
            FrameFolder(folder, template=template)


@pytest.mark.parametrize("fps", [0, -1, float("nan"), float("inf")])
def test_a_rate_that_is_none(folder, fps):
    with pytest.raises(DataError, match="frames per second of its pictures, got"):
        FrameFolder(folder, fps=fps)


def test_a_picture_that_cannot_be_converted(folder, monkeypatch):
    def fail(*_):
        raise av.ArgumentError(22, "no such conversion")

    with FrameFolder(folder) as video:
        monkeypatch.setattr(Album, "take", fail)
        with pytest.raises(DecodeError, match=r"img_00004\.jpg cannot be converted"):
            video.read([3])


def failure(path, **options):
    with pytest.raises(DecodeError) as caught:
        FrameFolder(str(path), **options)
    assert str(path) in str(caught.value)
    return caught.value.reason, str(caught.value)


def test_folders_that_are_none(tmp_path, folder):
    assert failure(tmp_path / "none")[0] == "missing"
    assert failure(f"{folder}/img_00001.jpg")[0] in {"missing", "unreadable"}
    assert failure(tmp_path)[0] == "no_video"
    assert failure(folder, template="{:d}.png")[0] == "no_video"
    assert failure(folder, first_index=21)[0] == "no_video"
    (tmp_path / "a.jpg").write_bytes(b"<html>")
    assert failure(tmp_path)[0] == "damaged"
    (tmp_path / "b.jpg").write_bytes(b"")
    reason, message = failure(tmp_path)
    assert reason == "unreadable"
    assert "2 kinds (a.jpg, b.jpg); a template names one of them" in message


def test_limits(folder):
    assert failure(folder, limits=Limits(num_pixels=HEIGHT * WIDTH - 1))[0] == "damaged"
    assert failure(folder, limits=Limits(seconds=-1))[0] == "slow"


@pytest.fixture
def holed(folder, tmp_path):
    """The same, without the pictures of frames 4 and 13; 16 is cut in half."""
    shutil.copytree(folder, tmp_path / "holed")
    for number in (5, 14):
        (tmp_path / "holed" / f"img_{number:05d}.jpg").unlink()
    half = tmp_path / "holed" / "img_00017.jpg"
    half.write_bytes(half.read_bytes()[:400])
    return str(tmp_path / "holed")


def test_missing_pictures_are_filled(holed):
    with FrameFolder(holed, max_missing=0.2) as video:
        assert video.num_frames == 20
        expected = list(range(20))
        expected[4], expected[13], expected[16] = 3, 12, 15
        assert numbers_of(video.read(range(20))) == expected
        assert video.num_filled == 3
        assert numbers_of(video.read([4, 5, 6, 7, 8])) == [5, 5, 6, 7, 8]
        assert numbers_of(video.read([0, 19])) == [0, 19]
        assert video.num_filled == 0
        with pytest.raises(
            DecodeError, match=r"1 of 1 frames are missing or damaged, the first is number 4; at most 20%"
        ):
            video.read([4])
    with (
        FrameFolder(holed) as video,
        pytest.raises(DecodeError, match=r"3 of 20 .* the first is number 4; at most 10%"),
    ):
        video.read(range(20))
    with FrameFolder(holed) as video, pytest.raises(DecodeError, match=r"1 of 2 .* the first is img_00017\.jpg"):
        video.read([15, 16])


def test_pictures_that_go_while_it_is_open(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "frames")
    with FrameFolder(str(tmp_path / "frames")) as video:
        (tmp_path / "frames" / "img_00003.jpg").unlink()
        assert numbers_of(video.read(range(12))) == [0, 1, 1, *range(3, 12)]


def test_the_first_picture_may_be_missing(holed, folder):
    with FrameFolder(folder, first_index=0) as video:
        assert video.num_frames == 21
        assert numbers_of(video.read([1, 20])) == [0, 19]
    with FrameFolder(folder, template="img_{:05}.jpg", first_index=11) as video:
        assert numbers_of(video.read([0, 9])) == [10, 19]


def test_other_sizes_are_brought_to_the_first(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "frames")
    picture(3).resize((96, 96)).save(tmp_path / "frames" / "img_00004.jpg", quality=95)
    with FrameFolder(str(tmp_path / "frames")) as video:
        frames = video.read([3, 2])
        assert frames.data.shape == (2, HEIGHT, WIDTH, 3)
        assert numbers_of(frames) == [3, 2]
        np.testing.assert_allclose(frames.data[0, 10, 10], 99, atol=2)


def colourful():
    """A picture whose colours change slowly, so that coding loses little."""
    x, y = np.meshgrid(np.linspace(0, 1, WIDTH), np.linspace(0, 1, HEIGHT))
    levels = np.stack([40 + 150 * x, 200 - 120 * y, 60 + 90 * x * y], axis=-1)
    return Image.fromarray(levels.astype(np.uint8))


def grey16():
    return Image.fromarray(np.asarray(colourful().convert("L")).astype(np.uint16) * 257)


def with_alpha():
    image = colourful()
    image.putalpha(Image.linear_gradient("L").resize(image.size))
    return image


@pytest.mark.parametrize(
    ("make", "kind", "options", "is_grey"),
    [
        (colourful, "jpg", {"subsampling": 0}, False),
        (colourful, "jpg", {"subsampling": 2}, False),
        (colourful, "jpg", {"progressive": True}, False),
        (lambda: colourful().convert("L"), "jpg", {}, True),
        (lambda: colourful().convert("CMYK"), "jpg", {}, False),
        (colourful, "png", {}, False),
        (lambda: colourful().convert("L"), "png", {}, True),
        (lambda: colourful().convert("P", palette=Image.Palette.ADAPTIVE), "png", {}, False),
        (with_alpha, "png", {}, False),
        (lambda: with_alpha().convert("LA"), "png", {}, True),
        (grey16, "png", {}, True),
    ],
)
def test_all_kinds_of_pictures_become_rgb(tmp_path, make, kind, options, is_grey):
    make().save(tmp_path / f"1.{kind}", **({"quality": 95} if kind == "jpg" else {}) | options)
    expected = colourful().convert("L").convert("RGB") if is_grey else colourful()
    with FrameFolder(str(tmp_path)) as video:
        whole = video.read([0]).data[0].astype(int)
        assert np.abs(whole - np.asarray(expected)).mean() < 3
        part = video.read([0], crop=Box(8, 16, 24, 32), size=(12, 16)).data[0].astype(int)
    assert np.abs(part - np.asarray(expected.resize((16, 12), Image.Resampling.BOX, (16, 8, 48, 32)))).mean() < 3


def test_pictures_of_several_kinds_do_not_disturb_one_another(tmp_path):
    options = [{"subsampling": 0}, {"subsampling": 2}, {"quality": 40}, {"progressive": True}, {"optimize": True}]
    alone = []
    for number in range(20):
        image = colourful().transpose(Image.Transpose(number % 2)).convert("L" if number % 7 == 3 else "RGB")
        kind = ("PNG", {}) if number % 3 == 2 else ("JPEG", options[number % 5])
        for folder in ("all", str(number)):  # what a picture is, its beginning tells and not its name
            (tmp_path / folder).mkdir(exist_ok=True)
            image.save(tmp_path / folder / f"{number}.jpg", kind[0], **kind[1])
        with FrameFolder(str(tmp_path / str(number))) as video:
            alone.append(video.read([0]).data[0])
    with FrameFolder(str(tmp_path / "all")) as video:
        np.testing.assert_array_equal(video.read(range(20)).data, alone)


def test_pictures_are_turned_as_they_say(tmp_path):
    exif = Image.Exif()
    exif[0x112] = 6  # turn by 90 degrees, clockwise
    picture(10).save(tmp_path / "1.jpg", quality=95, exif=exif)
    with FrameFolder(str(tmp_path)) as video:
        assert (video.height, video.width) == (WIDTH, HEIGHT)
        data = video.read([0]).data[0]
    assert data[10, 40, 0] == pytest.approx(120, abs=2)
    assert data[10, 10, 0] == pytest.approx(30, abs=2)


NAMES = ["img_00001.jpg", "img_00002.jpg", "flow_x_00001.jpg", "flow_y_00001.jpg", ".img_00009.jpg", "labels.txt"]


@pytest.mark.parametrize(
    ("names", "options", "expected"),
    [
        (NAMES, {}, ["img_00001.jpg", "img_00002.jpg"]),
        (NAMES, {"template": "flow_x_{:05d}.jpg"}, ["flow_x_00001.jpg"]),
        (NAMES, {"template": "img_{:05}.jpg", "first_index": 0}, [None, "img_00001.jpg", "img_00002.jpg"]),
        (["img_1.jpg", "img_00002.jpg"], {"template": "img_{:05}.jpg"}, ["img_00002.jpg"]),
        (["9.png", "10.png", "12.png"], {}, ["9.png", "10.png", None, "12.png"]),
        (["0.png", "5.png", "15.png"], {}, ["0.png", "5.png", None, "15.png"]),
        (["1_2.png", "1_10.png", "0_30.png"], {}, ["0_30.png", "1_2.png", "1_10.png"]),
        (["01.png", "1.png"], {}, ["01.png", "1.png"]),
        (["1700.png", "1801.png", "9907.png"], {}, ["1700.png", "1801.png", "9907.png"]),
        (["1700.png", "1801.png", "9907.png"], {"first_index": 5}, ["1700.png", "1801.png", "9907.png"]),
        (["still.png"], {}, ["still.png"]),
        (["v2_7.png"], {"first_index": 6}, [None, "v2_7.png"]),
    ],
)
def test_order_of_names(names, options, expected):
    assert frame_names(names, **{"template": None, "first_index": None} | options, where="there") == expected


def test_more_holes_than_pictures():
    with pytest.raises(DecodeError, match=r"there: 8 of 10 frames have no file, from 1\.png to 10\.png"):
        frame_names(["1.png", "10.png"], template="{}.png", first_index=None, where="there")


def test_open_video(folder, movie, tmp_path, indices_of):
    with open_video(folder) as video:
        assert isinstance(video, FrameFolder)
        assert numbers_of(video.read([3])) == [3]
    with open_video(f"file://{folder}/", name="a walk") as video:
        assert video.name == "a walk"
    content = Path(movie).read_bytes()
    for source in (movie, f"file://{movie}", content, io.BytesIO(content)):
        with open_video(source) as video:
            assert indices_of(video.read([33])) == [33]
    with pytest.raises(DecodeError, match=r"none\.mp4: no such file"):
        open_video(str(tmp_path / "none.mp4"))
