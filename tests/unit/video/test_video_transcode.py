"""Encoding anew keeps every picture, its time, its place and its colour."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from kinoray.errors import ConfigError, DecodeError
from kinoray.video import transcode as module
from kinoray.video.decode import VideoReader
from kinoray.video.mpeg4 import MIN_PICTURE_BYTES
from kinoray.video.transcode import Encoding, transcode

SHARED = Path(__file__).resolve().parents[3].parent / "shared"
UNEVEN_MS = [
    40,
    80,
    95,
    300,
    301,
    420,
    1000,
    1033,
    1100,
    2000,
    2040,
    2080,
    2500,
    2501,
    2502,
    2600,
    2650,
    2700,
    3000,
    3100,
]
CODECS = ("mpeg4", "h264")


NUM_BITS, STRIPE = 8, 16


def write_bits(path, num_frames, *, pts=None):
    """A video whose pictures show their index as stripes, dark and bright: a code that no quantizer blurs."""
    base = Fraction(1, 1000) if pts else Fraction(1, 25)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"qp": "0", "g": "12", "bf": "2"})
        stream.height, stream.width, stream.pix_fmt = 48, NUM_BITS * STRIPE, "yuv420p"
        stream.codec_context.time_base = base
        for index in range(num_frames):
            bits = (index >> np.arange(NUM_BITS)) & 1
            planes = np.full((72, NUM_BITS * STRIPE), 128, np.uint8)
            planes[:48] = np.repeat(60 + 120 * bits, STRIPE)
            frame = av.VideoFrame.from_ndarray(planes, format="yuv420p")
            frame.pts, frame.time_base = pts[index] if pts else index, base
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return str(path)


def shown(video):
    """The index that each picture of a video shows."""
    middles = video.read(range(video.num_frames)).data[:, 24, STRIPE // 2 :: STRIPE, 1]
    return (1 << np.arange(NUM_BITS)) @ (middles > 127).T


@pytest.fixture(scope="module")
def movie(tmp_path_factory):
    """60 pictures, 48 x 128, 25 a second."""
    return write_bits(tmp_path_factory.mktemp("bits") / "movie.mp4", 60)


def encoded(source, **options):
    with VideoReader(source) as video:
        return transcode(video, Encoding(**options))


@pytest.mark.parametrize("codec", CODECS)
def test_every_frame_shows_what_it_showed(movie, codec):
    with VideoReader(movie) as before, VideoReader(encoded(movie, codec=codec)) as after:
        assert after.num_frames == before.num_frames == 60
        assert after.codec == codec
        assert shown(after).tolist() == shown(before).tolist() == list(range(60))
        np.testing.assert_array_equal(after.pts_seconds, before.pts_seconds)
        assert after.fps == before.fps == 25


@pytest.mark.parametrize("codec", CODECS)
def test_uneven_times_stay(tmp_path, codec):
    source = write_bits(tmp_path / "uneven.mkv", len(UNEVEN_MS), pts=UNEVEN_MS)
    with VideoReader(source) as before, VideoReader(encoded(source, codec=codec)) as after:
        np.testing.assert_allclose(after.pts_seconds, before.pts_seconds, atol=1e-6)
        assert np.ptp(np.diff(before.pts_seconds)) > 0.5, "the source is uneven"
        assert after.fps == pytest.approx(before.fps, rel=1e-3)
        assert shown(after).tolist() == list(range(len(UNEVEN_MS)))


def test_slides_may_stay_long(tmp_path):
    source = write_bits(tmp_path / "slides.mkv", 3, pts=[0, 1_500_000, 3_600_000])
    with VideoReader(source) as before, VideoReader(encoded(source)) as after:
        np.testing.assert_allclose(after.pts_seconds, before.pts_seconds, atol=1e-6)
        assert shown(after).tolist() == [0, 1, 2]


def test_a_late_first_picture_stays_late(movie, tmp_path):
    """Times count from the begin of the file, where sound may start before pictures."""
    late = tmp_path / "late.mp4"
    with av.open(movie) as container, av.open(str(late), "w") as target:
        sound = target.add_stream("aac", rate=8_000, layout="mono")
        pictures = target.add_stream_from_template(container.streams.video[0])
        silence = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        silence.sample_rate, silence.pts = 8_000, 0
        target.mux(sound.encode(silence))
        target.mux(sound.encode(None))
        for packet in container.demux(container.streams.video[0]):
            if packet.size:
                packet.pts += round(0.2 / packet.time_base)
                packet.dts += round(0.2 / packet.time_base)
                packet.stream = pictures
                target.mux(packet)
    with VideoReader(str(late)) as before, VideoReader(encoded(str(late))) as after:
        assert before.pts_seconds[0] > 0.1
        np.testing.assert_allclose(after.pts_seconds, before.pts_seconds, atol=1e-6)


def test_clips_are_a_few_pictures_from_a_keyframe(movie):
    with VideoReader(encoded(movie, gop=8)) as video:
        gaps = np.diff([*video.keyframes, video.num_frames])
        assert video.keyframes[0] == 0
        assert gaps.max() <= 8 + 2, "two B-frames may be shown before the keyframe that they come after"


@pytest.mark.parametrize(
    ("height", "width", "size"),
    [
        (1080, 1920, (256, 456)),
        (1920, 1080, (456, 256)),
        (240, 320, (240, 320)),
        (179, 319, (180, 320)),
        (1, 1, (2, 2)),
    ],
)
def test_size(height, width, size):
    assert Encoding().size(height, width) == size


def test_only_larger_pictures_shrink(movie):
    with VideoReader(encoded(movie)) as same, VideoReader(encoded(movie, short_side=32)) as small:
        assert (same.height, same.width) == (48, 128)
        assert (small.height, small.width) == (32, 86)


def test_a_senseless_short_side_is_refused():
    with pytest.raises(ConfigError, match="short side, got 4"):
        Encoding(short_side=4)


def test_pieces_make_no_difference(movie, monkeypatch):
    whole = encoded(movie)
    monkeypatch.setattr(module, "MAX_HELD_BYTES", 20 * 48 * 128 * 3 // 2)
    assert encoded(movie) == whole


def test_sound_is_gone_and_tiny_pictures_are_none(tmp_path):
    """A still video's B-frames are smaller than what may stand for no picture, and readers would have to count."""
    still = tmp_path / "still.mp4"
    with av.open(str(still), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"qp": "0"})
        stream.height, stream.width, stream.pix_fmt = 48, 64, "yuv420p"
        for _ in range(20):
            picture = np.full((72, 64), 100, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="yuv420p")))
        container.mux(stream.encode(None))
    result = tmp_path / "result.mp4"
    result.write_bytes(encoded(str(still)))
    with av.open(str(result)) as container:
        assert [stream.type for stream in container.streams] == ["video"]
        sizes = [packet.size for packet in container.demux(video=0) if packet.size]
    assert len(sizes) == 20
    assert min(sizes) == MIN_PICTURE_BYTES


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("matrix", [1, 5])
@pytest.mark.parametrize("color_range", [1, 2])
def test_colours_stay(tmp_path, codec, matrix, color_range):
    source = tmp_path / "colours.mp4"
    planes = np.empty((72, 64), np.uint8)
    planes[:48], planes[48:60], planes[60:] = 120, 90, 180
    with av.open(str(source), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"qp": "0"})
        stream.height, stream.width, stream.pix_fmt = 48, 64, "yuv420p"
        encoder = stream.codec_context
        encoder.time_base = Fraction(1, 25)
        encoder.colorspace, encoder.color_range = matrix, color_range
        container.mux(stream.encode(av.VideoFrame.from_ndarray(planes, format="yuv420p")))
        container.mux(stream.encode(None))
    with VideoReader(str(source)) as before, VideoReader(encoded(str(source), codec=codec)) as after:
        middle = np.s_[0, 20:28, 20:28]
        wanted, got = (video.read([0]).data[middle].mean((0, 1)) for video in (before, after))
        np.testing.assert_allclose(got, wanted, atol=3)


@pytest.mark.parametrize("name", ["rotate90_flag.mp4", "odd_dims_yuv444.mp4", "h264.ts", "mpeg2.mpg", "vfr_h264.mp4"])
def test_real_videos(name):
    path = SHARED / "assets" / "decoder_derived" / name
    if not path.exists():
        pytest.skip("the shared videos are not here")
    with VideoReader(str(path)) as before, VideoReader(encoded(str(path))) as after:
        assert after.num_frames == before.num_frames
        np.testing.assert_allclose(after.pts_seconds, before.pts_seconds, atol=1e-6)
        assert (after.height > after.width) == (before.height > before.width)
        indices = np.linspace(0, before.num_frames - 1, 4).astype(int)
        wanted = before.read(indices, size=(after.height, after.width)).data.astype(float)
        got = after.read(indices).data.astype(float)
        assert np.mean((wanted - got) ** 2) < 255**2 / 10 ** (36 / 10), "above 36 dB"


def test_a_damaged_video_is_an_error(movie):
    content = bytearray(Path(movie).read_bytes())
    content[len(content) // 3 :] = bytes(len(content) - len(content) // 3)
    with pytest.raises(DecodeError):
        encoded(bytes(content))
