import struct
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import av
import numpy as np
import pytest

from kinoray.errors import DecodeError
from kinoray.video import decoding
from kinoray.video.decode import VideoReader
from kinoray.video.frames import Box, Shot
from kinoray.video.limits import Limits
from kinoray.video.packets import PacketIndex

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


def copies_of(movie, folder, write_video):
    """The movie in every kind of container, one of them in memory."""
    names = ("movie.ts", "movie.mkv", "movie.avi", "movie.flv", "movie.h264")
    return [movie, Path(movie).read_bytes(), *(write_video(folder / name, codec="libx264") for name in names)]


def test_packets_too_large_to_keep_are_read_again(movie, tmp_path, write_video, indices_of):
    for source in copies_of(movie, tmp_path, write_video):
        with VideoReader(source, limits=Limits(num_bytes_kept=100)) as video:
            for indices in MANY:
                assert indices_of(video.read(indices)) == indices


def test_an_index_takes_the_place_of_demuxing_and_decoding(movie, tmp_path, write_video, indices_of, monkeypatch):
    for source in copies_of(movie, tmp_path, write_video):
        with VideoReader(source) as video:
            packed = video.packet_index().to_bytes()
        with monkeypatch.context() as patch:
            patch.setattr(decoding.FrameDecoder, "begin", None)
            patch.setattr("kinoray.video.decode.list_packets", None)
            indexed = VideoReader(source, index=PacketIndex.from_bytes(packed))
        with indexed:
            facts = ("num_frames", "fps", "width", "height", "duration_seconds", "codec", "num_bytes")
            assert [getattr(indexed, fact) for fact in facts] == [getattr(video, fact) for fact in facts]
            np.testing.assert_array_equal(indexed.pts_seconds, video.pts_seconds)
            np.testing.assert_array_equal(indexed.keyframes, video.keyframes)
            for indices in MANY:
                assert indices_of(indexed.read(indices)) == indices


@pytest.mark.parametrize("with_index", [False, True])
def test_an_mp4_whose_header_tells_too_little_is_looked_into(movie, indices_of, monkeypatch, with_index):
    with VideoReader(movie) as video:
        index = video.packet_index() if with_index else None
    monkeypatch.setattr(VideoReader, "_is_reordered_in_secret", lambda *_: True)
    opened = []
    plain = av.open
    monkeypatch.setattr(av, "open", lambda *args, **how: opened.append(how["options"]) or plain(*args, **how))
    with VideoReader(movie, index=index) as video:
        assert ["skip_frame" in options for options in opened] == [True, False]
        for indices in MANY:
            assert indices_of(video.read(indices)) == indices


def test_with_an_index_little_is_read(tmp_path, write_video, indices_of):
    path = write_video(tmp_path / "long.avi", 80, size=(96, 128), codec="rawvideo")
    with VideoReader(path) as video:
        index = video.packet_index()

    class Counting(BytesIO):
        num_read = 0

        def read(self, size=-1):
            content = super().read(size)
            self.num_read += len(content)
            return content

    file = Counting(Path(path).read_bytes())
    with VideoReader(file, index=index) as video:
        assert indices_of(video.read([60])) == [60]
    assert file.num_read < 0.2 * index.num_bytes


def test_another_videos_index_is_refused(movie, tmp_path, write_video):
    with VideoReader(movie) as video:
        index = video.packet_index()
    with pytest.raises(DecodeError, match=r"its index, got one of \d+ bytes .* run jobs/prepare.py again") as caught:
        VideoReader(write_video(tmp_path / "other.mp4", 59), index=index)
    assert caught.value.reason == "index"
    moved = replace(index, table=replace(index.table, pts=index.table.pts + 1))
    with (
        VideoReader(movie, index=moved) as video,
        pytest.raises(DecodeError, match="its packets are not those of its index") as caught,
    ):
        video.read([30])
    assert caught.value.reason == "index"


def test_shots_are_read_together(movie, indices_of, monkeypatch):
    num_decoded = []
    plain = decoding.FrameDecoder._decoded
    monkeypatch.setattr(decoding.FrameDecoder, "_decoded", lambda *args: num_decoded.append(1) or plain(*args))
    box = Box(6, 10, 20, 30)
    shots = [
        Shot(np.array([30, 31, 30])),
        Shot(np.array([31, 29]), crop=box, size=(10, 15), mirror=True),
        Shot(np.array([29, 31])),
        Shot(np.array([], np.int64), size=(8, 8)),
    ]
    with VideoReader(movie) as video:
        alone = [video.read(shot.indices, crop=shot.crop, size=shot.size, mirror=shot.mirror) for shot in shots]
        num_decoded.clear()
        together = video.read_shots(shots)
        assert len(num_decoded) <= 12
        num_decoded.clear()
        assert video.read_shots([]) == []
        assert num_decoded == []
    assert [indices_of(frames) for frames in together[::2]] == [[30, 31, 30], [29, 31]]
    assert together[1].data.shape == (2, 10, 15, 3)
    assert together[3].data.shape == (0, 8, 8, 3)
    for one, other in zip(alone, together, strict=True):
        np.testing.assert_array_equal(one.data, other.data)
        np.testing.assert_array_equal(one.pts_seconds, other.pts_seconds)


def test_planes_are_the_decoders_own(movie):
    expected, _ = decode_all(movie)
    with VideoReader(movie) as video:
        whole, part = video.read_planes([Shot(np.array([7, 40, 7])), Shot(np.array([40]), crop=Box(2, 4, 6, 10))])
    native = expected[40].to_ndarray(format="yuv420p")
    assert (whole.height, whole.width, whole.is_full_range, len(whole)) == (48, 64, False, 3)
    np.testing.assert_array_equal(whole.data[1], native.reshape(-1))
    np.testing.assert_array_equal(whole.data[0], whole.data[2])
    np.testing.assert_allclose(whole.pts_seconds, [7 / 25, 40 / 25, 7 / 25])
    assert part.data.shape == (1, 6 * 10 + 2 * 3 * 5)
    np.testing.assert_array_equal(part.data[0, :60].reshape(6, 10), native[2:8, 4:14])


def test_keyframes_can_be_decoded_alone(movie, indices_of, monkeypatch):
    num_decoded = []
    plain = decoding.FrameDecoder._decoded
    with VideoReader(movie) as video:
        assert video.keyframes.tolist() == [0, 12, 24, 36, 48]
        monkeypatch.setattr(decoding.FrameDecoder, "_decoded", lambda *args: num_decoded.append(1) or plain(*args))
        assert indices_of(video.read(video.keyframes[1:])) == [12, 24, 36, 48]
        assert len(num_decoded) == 4


def test_frames_at_times(movie):
    with VideoReader(movie) as video:
        seconds = [[-1, 0, 0.0399, 0.04], [0.0396, 1.0, 2.36, 99]]
        assert video.frames_at(seconds).tolist() == [[0, 0, 1, 1], [1, 25, 59, 59]]
        assert video.frames_at(0.5) == 12


@pytest.mark.parametrize("index", [False, True])
def test_time_is_limited(movie, index):
    with VideoReader(movie) as video:
        table = video.packet_index() if index else None
        with pytest.raises(DecodeError, match=r"^movie: not read within 0 seconds") as caught:
            VideoReader(movie, name="movie", index=table, limits=Limits(seconds=0.0)).read([40])
    assert caught.value.reason == "slow"


def test_pictures_are_limited(movie):
    with pytest.raises(DecodeError, match="none of its 60 packets can be decoded"):
        VideoReader(movie, limits=Limits(num_pixels=1000))


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
