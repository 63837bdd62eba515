import io

import av
import numpy as np
import pytest

from kinoray.video.encode import NUM_TICKS, webp_bytes, write_mp4

PICTURE = np.zeros((32, 64, 3), np.uint8)
PICTURE[:, 32:] = (250, 30, 30)


def decoded(content: bytes) -> list[av.VideoFrame]:
    with av.open(io.BytesIO(content)) as container:
        return list(container.decode(video=0))


def test_a_picture_comes_back_from_webp():
    (frame,) = decoded(webp_bytes(PICTURE))
    assert np.abs(frame.to_ndarray(format="rgb24").astype(int) - PICTURE)[:, [5, 58]].max() < 16


@pytest.mark.parametrize("to_file", [False, True])
def test_pictures_come_back_from_mp4_at_their_times(to_file, tmp_path):
    target = tmp_path / "clip.mp4" if to_file else io.BytesIO()
    ticks = [0, NUM_TICKS // 4, NUM_TICKS]
    write_mp4(target, zip([PICTURE] * 3, ticks, strict=True), (32, 64), 4.0)
    frames = decoded(target.read_bytes() if to_file else target.getvalue())
    assert [float(frame.time) for frame in frames] == [0.0, 0.25, 1.0]
    assert np.abs(frames[2].to_ndarray(format="rgb24").astype(int) - PICTURE)[:, [5, 58]].max() < 16
