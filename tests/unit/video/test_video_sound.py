"""Sound of any file, at any rate, as one channel."""

import io
import itertools
import socket
import wave

import av
import numpy as np
import pytest

from kinoray.data.shards import write_shard
from kinoray.errors import DecodeError
from kinoray.video import sound
from kinoray.video.sound import read_sound

RATE = 16_000


def tone(hertz, num_samples, rate=RATE):
    return 0.3 * np.sin(2 * np.pi * hertz * np.arange(num_samples) / rate)


def wav_bytes(*channels, rate=RATE):
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setnchannels(len(channels))
        writer.setsampwidth(2)
        writer.setframerate(rate)
        writer.writeframes((np.stack(channels, axis=1) * 32768).astype("<i2").tobytes())
    return file.getvalue()


def frequency(samples, rate):
    return np.abs(np.fft.rfft(samples)).argmax() * rate / len(samples)


@pytest.fixture
def wav(tmp_path):
    def write(*channels, rate=RATE):
        path = tmp_path / "sound.wav"
        path.write_bytes(wav_bytes(*channels, rate=rate))
        return str(path)

    return write


def test_samples_come_as_they_are(wav):
    written = tone(440, 5000)
    samples = read_sound(wav(written), "a", RATE)
    assert samples.dtype == np.float32
    np.testing.assert_allclose(samples, written, atol=1 / 32768)


def test_channels_become_one(wav):
    left, right = tone(440, 5000), tone(1000, 5000)
    samples = read_sound(wav(left, right), "a", RATE)
    np.testing.assert_allclose(samples / samples.std(), (left + right) / (left + right).std(), atol=1e-3)


def test_another_rate(wav):
    samples = read_sound(wav(tone(440, 44_100, rate=44_100), rate=44_100), "a", RATE)
    assert len(samples) == pytest.approx(RATE, abs=32)
    assert frequency(samples, RATE) == pytest.approx(440, abs=2)


def test_the_sound_of_a_video(tmp_path):
    path = tmp_path / "film.mp4"
    with av.open(str(path), "w") as container:
        pictures = container.add_stream("libx264", rate=25, options={"preset": "ultrafast"})
        pictures.width, pictures.height, pictures.pix_fmt = 32, 32, "yuv420p"
        voice = container.add_stream("aac", rate=RATE, layout="mono")
        for _ in range(25):
            container.mux(pictures.encode(av.VideoFrame.from_ndarray(np.zeros((48, 32), np.uint8), "yuv420p")))
        frame = av.AudioFrame.from_ndarray(tone(700, RATE).astype(np.float32)[None], "fltp", "mono")
        frame.sample_rate = RATE
        container.mux(voice.encode(frame))
        for stream in (pictures, voice):
            container.mux(stream.encode(None))
    samples = read_sound(str(path), "film", RATE)
    assert len(samples) == pytest.approx(RATE, abs=2048)
    assert frequency(samples, RATE) == pytest.approx(700, abs=5)


def test_sound_in_a_shard(tmp_path):
    path = tmp_path / "sounds.parquet"
    with path.open("wb") as file:
        places = write_shard(file, [("a", wav_bytes(tone(300, 100))), ("b", wav_bytes(tone(600, 4000)))])
    assert len(read_sound(f"{path}{places[1]}", "b", RATE)) == 4000


def test_a_video_without_sound(movie):
    with pytest.raises(DecodeError, match=r"^film: holds no sound$"):
        read_sound(movie, "film", RATE)


@pytest.mark.parametrize(
    "content",
    [
        b"no sound at all",
        b"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nother.wav\n",
        b"ffconcat version 1.0\nfile other.wav\n",
    ],
)
def test_what_is_no_sound(content, tmp_path, wav):
    (tmp_path / "other.wav").write_bytes(wav_bytes(tone(440, 5000)))
    path = tmp_path / "a.bin"
    path.write_bytes(content)
    with pytest.raises(DecodeError, match="its sound cannot be decoded"):
        read_sound(str(path), "a", RATE)


def test_a_file_that_is_cut_off_gives_what_it_holds(tmp_path):
    path = tmp_path / "cut.wav"
    path.write_bytes(wav_bytes(tone(440, 5000))[:4044])
    assert len(read_sound(str(path), "a", RATE)) == 2000


def test_far_too_much_sound(wav, monkeypatch):
    monkeypatch.setattr(sound, "MAX_SECONDS", 1)
    assert len(read_sound(wav(tone(440, RATE)), "a", RATE)) == RATE
    with pytest.raises(DecodeError, match="lasts more than 1 seconds; cut it into segments"):
        read_sound(wav(tone(440, 2 * RATE)), "a", RATE)


def test_no_file_leads_elsewhere(tmp_path):
    """A playlist must open neither addresses nor other files, whatever it calls itself."""
    (tmp_path / "goal.wav").write_bytes(wav_bytes(tone(440, 5000)))
    texts = (
        "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{}\n#EXT-X-ENDLIST\n",
        "ffconcat version 1.0\nfile '{}'\n",
        "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=a\nc=IN IP4 127.0.0.1\nt=0 0\nm=audio 9 RTP/AVP 0\na={}\n",
    )
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        goals = (f"http://127.0.0.1:{server.getsockname()[1]}/a.wav", str(tmp_path / "goal.wav"), "goal.wav")
        for text, goal, ending in itertools.product(texts, goals, (".wav", ".m3u8", ".ffconcat", ".sdp")):
            path = tmp_path / f"list{ending}"
            path.write_text(text.format(goal))
            with pytest.raises(DecodeError, match="cannot be decoded"):
                read_sound(str(path), "list", RATE)
        with pytest.raises(BlockingIOError):
            server.accept()


@pytest.mark.parametrize("name", ["concat:a.wav", "http:a.wav", "subfile,,start,0,end,9,,:a.wav", "a:b%03d.wav"])
def test_a_name_is_a_name(tmp_path, monkeypatch, name):
    """FFmpeg would take them for protocols and patterns of its own."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / name).write_bytes(wav_bytes(tone(440, 5000)))
    assert len(read_sound(name, "a", RATE)) == 5000
