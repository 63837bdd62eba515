"""One table of what video files come as: how each is made, and what reading it gives."""

import os
import socket
import struct
import sys
import time
from collections.abc import Callable, Iterable
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from kinoray.errors import DecodeError
from kinoray.video.decode import VideoReader
from kinoray.video.frames import Shot
from kinoray.video.limits import Limits
from kinoray.video.packets import PacketIndex

sys.path.insert(0, str(Path(__file__).parent / "helpers"))

import odd_videos as odd  # after the path is set

SHARED = Path(__file__).resolve().parents[3].parent / "shared" / "assets"
INTRA = {"qp": "0", "g": "1", "bf": "0", "preset": "ultrafast"}
ALL = list(range(40))
TINY = [5]

Check = Callable[[Path], None]


def shows(which: Iterable[int], *, size: tuple[int, int] = (48, 64), at_seconds: float = 0.0, **facts: Any) -> Check:
    """Reading gives these pictures, of this height and width, to the bit of a plain decode.

    Facts: ``doubtful``, places of the pictures that may be anything; ``num_filled``; ``is_full_range``.
    """
    return partial(_check_pictures, list(which), size, at_seconds, facts)


def _check_pictures(
    which: list[int], size: tuple[int, int], at_seconds: float, facts: dict[str, Any], path: Path
) -> None:
    sure = [place for place in range(len(which)) if place not in facts.get("doubtful", ())]
    with VideoReader(str(path), max_missing=0.5) as video:
        assert (video.num_frames, video.height, video.width) == (len(which), *size)
        assert video.pts_seconds[0] == pytest.approx(at_seconds, abs=0.002)
        data = video.read(range(video.num_frames)).data
        assert video.num_filled == facts.get("num_filled", 0) or video.num_filled <= len(facts.get("doubtful", ()))
        numbers = odd.numbers(data, is_full_range=facts.get("is_full_range", False))
        assert [numbers[place] for place in sure] == [which[place] for place in sure]
        planes = video.read_planes([Shot(np.array([sure[-1]]))])[0]
        assert (planes.height, planes.width) == size
        index = PacketIndex.from_bytes(video.packet_index().to_bytes())
    if "num_filled" not in facts and "doubtful" not in facts:
        for picture, expected in zip(data, plain_decode(path).values(), strict=True):
            if picture.shape == expected.shape:  # else the stream has changed its resolution
                np.testing.assert_array_equal(picture, expected)
    # Not those that are filled: what with depends on what else is read.
    scattered = np.random.default_rng(0).choice([place for place in sure if which.count(which[place]) == 1], 7)
    for known in (None, index):
        with VideoReader(str(path), max_missing=0.5, index=known) as video:
            np.testing.assert_array_equal(video.read(scattered).data, data[scattered])


def plain_decode(path: Path, wanted: Iterable[int] | None = None) -> dict[int, np.ndarray]:
    """Pictures of a plain decode by display index, all or the wanted ones; the last index is always there."""
    with av.open(str(path), metadata_errors="replace") as container:
        stream = container.streams.best("video")
        frames = dict(enumerate(frame for packet in container.demux(stream) for frame in packet.decode()))
    return {
        index: np.rot90(frame.to_ndarray(format="rgb24"), round(frame.rotation / 90) % 4)
        for index, frame in frames.items()
        if wanted is None or index in wanted or index == len(frames) - 1
    }


def begins(at_least: int, below: int) -> Check:
    """Reading gives the first pictures of a whole video, that many, and none else."""

    def check(path: Path) -> None:
        with VideoReader(str(path)) as video:
            assert at_least <= video.num_frames < below
            num_sure = video.num_frames - 1  # the last may be half there
            assert odd.numbers(video.read(range(num_sure)).data) == ALL[:num_sure]

    return check


def fails(reason: str) -> Check:
    """Opening is refused for this reason, with the file's name, and at once."""

    def check(path: Path) -> None:
        started = time.monotonic()
        with pytest.raises(DecodeError) as caught:
            VideoReader(str(path))
        assert caught.value.reason == reason
        assert str(caught.value).startswith(f"{path}: ")
        assert time.monotonic() - started < 5

    return check


def is_real(num_frames: int) -> Check:
    """A file that cannot be made here: every frame comes, scattered ones to the bit of a plain decode."""

    def check(path: Path) -> None:
        scattered = np.random.default_rng(0).integers(num_frames // 2, size=5)
        expected = plain_decode(path, scattered)
        with VideoReader(str(path)) as video:
            assert video.num_frames == max(expected) + 1 == num_frames
            for index, picture in zip(scattered, video.read(scattered).data, strict=True):
                np.testing.assert_array_equal(picture, expected[index])

    return check


def made(file: str, which: Iterable[int] = ALL, **how: Any) -> Callable[[Path], Path]:
    """A video that the encoder makes as it is."""
    return lambda folder: odd.video(folder / file, list(which), **how)


def changed(file: str, change: Callable[..., None], **how: Any) -> Callable[[Path], Path]:
    """A video whose bytes are changed afterwards."""
    return lambda folder: odd.edited(odd.video(folder / file, **how), change)


def by(make: Callable[..., Path], file: str, **how: Any) -> Callable[[Path], Path]:
    return lambda folder: make(folder / file, **how)


def holding(file: str, content: bytes) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        (folder / file).write_bytes(content)
        return folder / file

    return make


def blanked(folder: Path) -> Path:
    path = odd.video(folder / "holes.mp4", options=INTRA)
    return odd.edited(path, lambda content: odd.blank(content, path, [20, 21]))


def flipped(folder: Path) -> Path:
    """Bits flipped in the second of four groups of pictures."""
    path = odd.video(folder / "flips.mp4", options=odd.LOSSLESS | {"bf": "0"})
    with av.open(str(path)) as container:
        payloads = [bytes(packet) for packet in container.demux(video=0) if packet.size]
    content = path.read_bytes()
    start, stop = content.index(payloads[13]), content.index(payloads[23])
    return odd.edited(path, partial(odd.flip_bits, num_flips=60, start=start, stop=stop))


def cut(content: bytearray, fraction: float = 0.6) -> None:
    del content[int(len(content) * fraction) :]


def unpiped(folder: Path) -> Path:
    with (folder / "live.mkv").open("wb") as file:
        odd.stream_to(file)
    return folder / "live.mkv"


def real(file: str) -> Callable[[Path], Path]:
    def find(folder: Path) -> Path:
        if not (SHARED / file).exists():
            pytest.skip("the shared videos are not on this machine")
        return SHARED / file

    return find


def latin_title(content: bytearray) -> None:
    """A title that is not UTF-8."""
    content[:] = content.replace(b"Jaeger", b"J\xe4ger\x00")


def forbidden(folder: Path) -> Path:
    if os.geteuid() == 0:
        pytest.skip("root may read everything")
    path = odd.video(folder / "secret.mp4", TINY)
    path.chmod(0)
    return path


X264 = {"qp": "0", "preset": "ultrafast"}
CASES: dict[str, tuple[Callable[[Path], Path], Check]] = {
    # What encoders and containers do.
    "h264 with B-frames in avi": (made("a.avi"), shows(ALL)),
    "h264 without a container": (made("a.h264"), shows(ALL)),
    "mpeg4 with B-frames in avi": (made("a.avi", codec="mpeg4", options={"b": "2M", "bf": "2"}), shows(ALL)),
    "packed B-frames": (by(odd.packed, "a.avi"), shows(ALL)),
    "packed B-frames of a film": (
        real("decoder/hmdb51_Turnk_r_Pippi_Michel_cartwheel_f_cm_np2_le_med_6.avi"),
        is_real(83),
    ),
    "open GOP": (made("a.mkv", options=X264 | {"x264-params": "open-gop=1:keyint=12:bframes=3"}), shows(ALL)),
    "intra refresh": (made("a.ts", options=X264 | {"x264-params": "intra-refresh=1:keyint=12:bframes=0"}), shows(ALL)),
    "only the first is a keyframe": (made("a.mp4", options=X264 | {"g": "999"}), shows(ALL)),
    "h264 4:4:4": (made("a.mp4", pix_fmt="yuv444p"), shows(ALL)),
    "h264 4:4:4 of old x264": (real("decoder/imageio_cockatoo.mp4"), is_real(280)),
    "mpeg2 in ts": (made("a.ts", codec="mpeg2video", options={"b": "2M", "bf": "2"}), shows(ALL)),
    "vp8 with hidden frames": (
        made("a.webm", codec="libvpx", options={"b": "2M", "auto-alt-ref": "1", "lag-in-frames": "16"}),
        shows(ALL),
    ),
    "av1": (real("decoder/torchcodec_av1_video.mkv"), is_real(125)),
    "edit list": (changed("a.mp4", odd.cut_start), shows(ALL[10:])),
    "late start": (by(odd.with_sound, "a.mp4", start=25), shows(ALL, at_seconds=1.0)),
    "uneven times": (real("decoder_derived/vfr_h264.mp4"), is_real(72)),
    "cover as stream 0": (by(odd.cover_first, "a.mp4"), shows(ALL)),
    "several video streams": (by(odd.still_then_movie, "a.mkv"), shows(ALL)),
    "no duration, no index": (unpiped, shows(ALL)),
    "wrong frame count in the header": (changed("a.avi", odd.claim_frames, codec="mpeg4"), shows(ALL)),
    "title in an old encoding": (changed("a.avi", latin_title, tags={"title": "Jaeger"}), shows(ALL)),
    # What pictures are.
    "resolution changes": (by(odd.shrinking, "a.ts"), shows(ALL)),
    "10 bits": (made("a.mp4", pix_fmt="yuv420p10le"), shows(ALL)),
    "full range": (made("a.mp4", color_range=2), shows(ALL, is_full_range=True)),
    "turned": (changed("a.mp4", odd.turn), shows(ALL, size=(64, 48))),
    "pixels that are not square": (made("a.mp4", sample_aspect_ratio=2), shows(ALL)),
    "odd sizes": (made("a.avi", codec="mpeg4", height=47, width=63), shows(ALL, size=(47, 63))),
    "odd sizes, lossless": (made("a.mkv", codec="ffv1", options={}, height=47, width=63), shows(ALL, size=(47, 63))),
    "one frame": (made("a.mp4", TINY), shows(TINY)),
    "one pixel": (made("a.mkv", TINY, codec="ffv1", options={}, height=1, width=1), shows(TINY, size=(1, 1))),
    # Damage.
    "cut off, index in front": (changed("a.mp4", cut, muxer={"movflags": "faststart"}), begins(15, 30)),
    "cut off, no index": (changed("a.mkv", cut), begins(15, 30)),
    "cut off, index at the end": (changed("a.mp4", cut), fails("unreadable")),
    "bits flipped": (flipped, shows(ALL, doubtful=range(12, 24))),
    "holes of zeros": (blanked, shows([*ALL[:20], 19, 22, *ALL[22:]], num_filled=2)),
    "pictures claim to be huge": (
        changed("a.avi", odd.claim_size, codec="mjpeg", pix_fmt="yuvj420p"),
        fails("damaged"),
    ),
    # What is no video.
    "sound only": (by(odd.with_sound, "a.mp4", has_video=False), fails("no_video")),
    "a web page": (
        holding("a.mp4", b"<!DOCTYPE html><html><body>404 Not Found</body></html>" * 40),
        fails("unreadable"),
    ),
    "text": (
        holding("a.mp4", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n"),
        fails("unreadable"),
    ),
    "noise": (holding("a.mp4", np.random.default_rng(0).bytes(10_000)), fails("unreadable")),
    "empty": (holding("a.mp4", b""), fails("empty")),
    "a folder": (lambda folder: folder, fails("unreadable")),
    "missing": (lambda folder: folder / "none.mp4", fails("missing")),
    "no permission": (forbidden, fails("denied")),
}


@pytest.mark.parametrize("case", CASES)
def test_every_kind_of_file(tmp_path: Path, case: str):
    make, check = CASES[case]
    check(make(tmp_path))


@pytest.mark.parametrize("kind", ["hls", "concat", "pattern", "dash", "sdp"])
def test_no_file_leads_elsewhere(tmp_path: Path, kind: str):
    """A playlist must open neither addresses nor other files, whatever it calls itself."""
    target = odd.video(tmp_path / "target.ts")
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        address = f"http://127.0.0.1:{server.getsockname()[1]}/a.ts"
        texts = {
            "hls": "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{}\n#EXT-X-ENDLIST\n",
            "concat": "ffconcat version 1.0\nfile '{}'\n",
            "pattern": "{}",
            "dash": '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static"><Period>'
            "<AdaptationSet><Representation><BaseURL>{}</BaseURL></Representation></AdaptationSet></Period></MPD>",
            "sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=a\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 9 RTP/AVP 96\na={}\n",
        }
        for goal in (address, str(target), target.name):
            for suffix in (".mp4", ".m3u8", ".ffconcat", ".mpd", ".sdp"):
                fails("unreadable")(holding(f"list{suffix}", texts[kind].format(goal).encode())(tmp_path))
            with pytest.raises(DecodeError, match="list in memory"):
                VideoReader(texts[kind].format(goal).encode(), name="list in memory")
        with pytest.raises(BlockingIOError):
            server.accept()


@pytest.mark.parametrize("file", ["a.mp4", "a.mkv", "a.avi", "a.ts"])
def test_a_slow_source_is_given_up(tmp_path: Path, file: str):
    content = odd.video(tmp_path / file).read_bytes()
    started = time.monotonic()
    with pytest.raises(DecodeError, match=r"slow\.mp4: not read within 0\.2 seconds") as caught:
        VideoReader(odd.Trickle(content, lambda: time.sleep(0.15)), name="slow.mp4", limits=Limits(seconds=0.2))
    assert caught.value.reason == "slow"
    assert time.monotonic() - started < 2


def test_pictures_larger_than_the_limit(tmp_path: Path):
    path = odd.video(tmp_path / "a.mp4")
    with VideoReader(str(path), limits=Limits(num_pixels=48 * 64 * 4)) as video:
        assert video.num_frames == 40
    with pytest.raises(DecodeError, match=r"a\.mp4"):
        VideoReader(str(path), limits=Limits(num_pixels=1000))


def test_an_mp4_that_claims_a_huge_table(tmp_path: Path):
    """Its header says that there are four thousand million samples; memory is taken for what is there."""

    def claim(content: bytearray) -> None:
        struct.pack_into(">I", content, content.index(b"stsz") + 12, 0xFFFF_FFF0)

    path = odd.edited(odd.video(tmp_path / "a.mp4"), claim)
    with pytest.raises(DecodeError, match=r"a\.mp4") as caught:
        VideoReader(str(path))
    assert caught.value.reason in {"unreadable", "damaged"}


def test_bytes_and_files_fail_with_the_name_they_were_given():
    for source in (b"", b"text", BytesIO(b""), BytesIO(b"\x00\x00\x00\x18ftypmp42")):
        with pytest.raises(DecodeError, match=r"^clip 7: "):
            VideoReader(source, name="clip 7")
