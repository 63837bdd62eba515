import struct
from io import BytesIO
from pathlib import Path

import av
import numpy as np
import pytest

from kinoray.errors import DecodeError
from kinoray.video import packets
from kinoray.video.decode import VideoReader
from kinoray.video.frames import Box

MANY = [[59, 3, 3, 17, 40, 0, 25], [0], [59], list(range(60)), [12, 11, 24, 23], []]


def decode_all(path):
    """Every frame that a plain linear decode gives, and the number of packets it stumbled over."""
    frames, num_errors = [], 0
    with av.open(path, metadata_errors="replace") as container:
        stream = container.streams.best("video")
        stream.codec_context.thread_count = 1
        for packet in container.demux(stream):
            try:
                frames += packet.decode()
            except av.FFmpegError:
                num_errors += 1
    return frames, num_errors


def as_shown(frame):
    return np.rot90(frame.to_ndarray(format="rgb24"), round(frame.rotation / 90) % 4)


def test_frames_are_the_asked_ones(movie, indices_of):
    with VideoReader(movie) as video:
        assert (video.num_frames, video.height, video.width, video.codec) == (60, 48, 64, "h264")
        assert video.fps == 25.0
        assert video.duration_seconds == pytest.approx(2.4)
        np.testing.assert_allclose(video.pts_seconds, np.arange(60) / 25)
        for indices in MANY:
            frames = video.read(indices)
            assert indices_of(frames) == indices
            assert frames.data.shape == (len(indices), 48, 64, 3)
            assert frames.data.dtype == np.uint8
            np.testing.assert_allclose(frames.pts_seconds, np.array(indices) / 25)
            assert len(frames) == len(indices)


FORMATS = {
    "ffv1.mkv": ("ffv1", {}),
    "open_gop.mkv": ("libx264", {"qp": "0", "x264-params": "open-gop=1:keyint=12:bframes=3"}),
    "intra_refresh.ts": ("libx264", {"qp": "0", "x264-params": "intra-refresh=1:keyint=12:bframes=0"}),
    "bframes.ts": ("libx264", None),
    "bframes.avi": ("libx264", None),
    "raw.h264": ("libx264", None),
    "plain_mpeg4.avi": ("mpeg4", {"g": "12"}),
    "bframes_mpeg4.avi": ("mpeg4", {"g": "12", "bf": "2"}),
    "bframes_mpeg4.mp4": ("mpeg4", {"g": "12", "bf": "2"}),
    "bframes_mpeg2.mpg": ("mpeg2video", {"g": "12", "bf": "2"}),
    "vp8.webm": ("libvpx", {"g": "12", "auto-alt-ref": "1", "lag-in-frames": "16", "b": "1M"}),
    "vp9.webm": ("libvpx-vp9", {"g": "12", "deadline": "realtime", "cpu-used": "8"}),
    "hevc.mp4": ("libx265", {"preset": "ultrafast", "x265-params": "keyint=12:log-level=none"}),
}


@pytest.mark.parametrize("file", FORMATS)
def test_every_format_equals_a_linear_decode(tmp_path, write_video, file):
    codec, options = FORMATS[file]
    path = write_video(tmp_path / file, codec=codec, options=options)
    expected, _ = decode_all(path)
    rng = np.random.default_rng(0)
    with VideoReader(path) as video:
        assert video.num_frames == len(expected) == 60
        for _ in range(5):
            indices = rng.integers(60, size=6)
            data = video.read(indices).data
            assert video.num_filled == 0
            for picture, index in zip(data, indices, strict=True):
                np.testing.assert_array_equal(picture, as_shown(expected[index]))


def test_variable_frame_rate(tmp_path, write_video, indices_of):
    pts = np.cumsum(np.random.default_rng(0).integers(10, 90, 40)).tolist()
    with VideoReader(write_video(tmp_path / "uneven.mkv", 40, pts=pts)) as video:
        assert video.num_frames == 40
        np.testing.assert_allclose(np.diff(video.pts_seconds), np.diff(pts) / 1000)
        assert video.fps == pytest.approx(39 / (pts[-1] - pts[0]) * 1000, rel=0.011)
        assert indices_of(video.read([39, 7, 21])) == [39, 7, 21]


def test_bytes_and_open_files(movie, indices_of):
    content = Path(movie).read_bytes()
    file = BytesIO(content)
    for source in (content, file):
        with VideoReader(source, name="mine") as video:
            assert indices_of(video.read([50, 2])) == [50, 2]
            assert video.num_bytes == len(content)
    assert not file.closed


def test_packets_too_large_to_keep_are_read_again(movie, tmp_path, write_video, indices_of, monkeypatch):
    monkeypatch.setattr(packets, "KEPT_BYTES", 100)
    ts = write_video(tmp_path / "movie.ts")
    content = Path(movie).read_bytes()
    for source in (movie, ts, content, write_video(tmp_path / "movie.mkv"), write_video(tmp_path / "movie.avi")):
        with VideoReader(source) as video:
            for indices in MANY:
                assert indices_of(video.read(indices)) == indices


def turn_file(path, turned_path, degrees):
    """Write the display matrix for a clockwise turn into an MP4's track header."""
    matrix = {90: (0, 1, -1, 0), 180: (-1, 0, 0, -1), 270: (0, -1, 1, 0)}[degrees]
    content = bytearray(Path(path).read_bytes())
    start = content.index(b"tkhd") + 4 + 4 + 20 + 8 + 8
    a, b, c, d = (value << 16 for value in matrix)
    content[start : start + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    turned_path.write_bytes(content)
    return str(turned_path)


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_rotation_is_applied(movie, tmp_path, degrees):
    with VideoReader(movie) as video:
        upright = video.read([5]).data[0]
        small = video.read([5], size=(24, 32)).data[0]
    crop = Box(6, 10, 20, 30)
    with VideoReader(turn_file(movie, tmp_path / "turned.mp4", degrees)) as video:
        turned = np.rot90(upright, -degrees // 90)
        assert (video.height, video.width) == turned.shape[:2]
        np.testing.assert_array_equal(video.read([5]).data[0], turned)
        np.testing.assert_array_equal(video.read([5], crop=crop).data[0], turned[6:26, 10:40])
        turned_small = np.rot90(small, -degrees // 90)
        np.testing.assert_array_equal(video.read([5], size=turned_small.shape[:2]).data[0], turned_small)


def test_index_outside(movie):
    with VideoReader(movie) as video:
        for index in (60, -1):
            with pytest.raises(IndexError, match=rf"movie.mp4: frame index, got {index}; the video has 60 frames"):
                video.read([0, index])


@pytest.mark.parametrize("crop", [Box(-1, 0, 4, 4), Box(0, 0, 49, 4), Box(0, 60, 4, 5), Box(0, 0, 0, 4)])
def test_crop_outside(movie, crop):
    with VideoReader(movie) as video, pytest.raises(ValueError, match="within 48 x 64"):
        video.read([0], crop=crop)


def test_cover_art_is_not_the_stream(tmp_path):
    path = tmp_path / "song.mp4"
    with av.open(str(path), "w") as container:
        cover = container.add_stream("mjpeg", rate=1)
        cover.width = cover.height = 16
        cover.pix_fmt = "yuvj420p"
        cover.disposition = av.stream.Disposition.attached_pic
        container.mux(cover.encode(av.VideoFrame(16, 16, "yuvj420p")))
        container.mux(cover.encode(None))
    with pytest.raises(DecodeError, match="no video stream") as caught:
        VideoReader(str(path))
    assert caught.value.reason == "no_video"


@pytest.mark.parametrize(
    "content",
    [
        b"<html><body>404 Not Found</body></html>",
        b"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nmovie.mp4\n#EXT-X-ENDLIST\n",
        b"ffconcat version 1.0\nfile movie.mp4\n",
        bytes(range(256)) * 40,
    ],
    ids=["html", "hls", "concat", "noise"],
)
def test_what_is_no_video(movie, content):
    path = Path(movie).with_name("other.mp4")
    path.write_bytes(content)
    for source in (str(path), content):
        with pytest.raises(DecodeError, match="not a video") as caught:
            VideoReader(source, name="what")
        assert caught.value.reason == "unreadable"
        assert str(caught.value).startswith("what: ")


def test_index_cut_off(movie):
    content = Path(movie).read_bytes()
    with pytest.raises(DecodeError) as caught:
        VideoReader(content[: len(content) // 2])
    assert caught.value.reason == "unreadable"


def test_file_cut_short_keeps_what_is_there(tmp_path, write_video, indices_of):
    content = Path(write_video(tmp_path / "movie.mkv")).read_bytes()
    with VideoReader(content[: len(content) * 2 // 3]) as video:
        assert 20 < video.num_frames < 60
        assert indices_of(video.read([video.num_frames // 2])) == [video.num_frames // 2]


def blank_packets(path, numbers):
    """The file's content with the payload of some packets (of all-intra video) overwritten with zeros."""
    content = bytearray(Path(path).read_bytes())
    with av.open(path) as container:
        for number, packet in enumerate(container.demux(video=0)):
            if number in numbers:
                start = content.index(bytes(packet))
                content[start : start + packet.size] = bytes(packet.size)
    return bytes(content)


def test_damaged_frames_are_filled_up_to_a_limit(tmp_path, write_video, indices_of):
    path = write_video(tmp_path / "intra.mp4", options={"qp": "0", "g": "1", "bf": "0", "preset": "ultrafast"})
    content = blank_packets(path, {20, 21})
    with VideoReader(content) as video:
        assert video.num_frames == 60
        assert indices_of(video.read(range(60))) == [*range(20), 19, 22, *range(22, 60)]
        assert video.num_filled == 2
        assert indices_of(video.read([3, 4])) == [3, 4]
        assert video.num_filled == 0
        with pytest.raises(DecodeError, match="1 of 4 frames cannot be decoded") as caught:
            video.read([19, 20, 22, 23])
        assert caught.value.reason == "damaged"
    with VideoReader(content, max_missing=0.5) as video:
        assert indices_of(video.read([20, 24])) == [24, 24]
        with pytest.raises(DecodeError):
            video.read([20])


def test_nothing_can_be_decoded(tmp_path, write_video):
    path = write_video(tmp_path / "intra.mp4", 8, options={"qp": "0", "g": "1", "bf": "0", "preset": "ultrafast"})
    with pytest.raises(DecodeError, match="none of its 8 packets") as caught:
        VideoReader(blank_packets(path, range(8)))
    assert caught.value.reason == "damaged"
