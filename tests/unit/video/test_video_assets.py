"""Real files of many kinds: what is read at random equals a linear decode, and damage never surprises."""

import hashlib
import json
from pathlib import Path

import av
import numpy as np
import pytest

from kinoray.errors import DecodeError
from kinoray.video.decode import VideoReader

SHARED = Path(__file__).resolve().parents[3].parent / "shared"
FILES = sorted(path for folder in ("decoder", "decoder_derived") for path in (SHARED / "assets" / folder).glob("[!.]*"))
UNREADABLE = {
    "audio_only.mp4": "no_video",
    "corrupt_empty.mp4": "empty",
    "corrupt_html_error_page.mp4": "unreadable",
    "corrupt_random_bytes.mp4": "unreadable",
    "corrupt_truncated_no_moov.mp4": "unreadable",
}
DAMAGED = {"decord_corrupted.mp4", "corrupt_bitflips.mp4"}


def linear(path, wanted):
    """The wanted frames of a plain decode as RGB by display index, and how many frames there are."""
    pictures, count = {}, 0
    with av.open(str(path), metadata_errors="replace") as container:
        stream = container.streams.best("video")
        stream.codec_context.thread_count = 1
        for packet in container.demux(stream):
            try:
                for frame in packet.decode():
                    if count in wanted:
                        turns = round(frame.rotation / 90) % 4
                        pictures[count] = np.rot90(frame.to_ndarray(format="rgb24"), turns)
                    count += 1
            except av.FFmpegError:
                continue
    return pictures, count


@pytest.mark.skipif(not FILES, reason="the shared videos are not on this machine")
def test_real_files():
    num_equal = 0
    for path in FILES:
        if path.name in UNREADABLE:
            with pytest.raises(DecodeError) as caught:
                VideoReader(str(path))
            assert caught.value.reason == UNREADABLE[path.name], path.name
        elif path.name in DAMAGED:
            with VideoReader(str(path), max_missing=0.5) as video:
                assert len(video.read(np.arange(video.num_frames))) == video.num_frames
                assert 0 < video.num_filled <= 0.1 * video.num_frames, path.name
        else:
            with VideoReader(str(path)) as video:
                indices = np.linspace(0, video.num_frames - 1, 8).round().astype(int)
                frames = video.read(indices)
                expected, count = linear(path, set(indices.tolist()))
                assert (video.num_frames, video.num_filled) == (count, 0), path.name
                for index, picture in zip(indices, frames.data, strict=True):
                    np.testing.assert_array_equal(picture, expected[index], err_msg=f"{path.name}: frame {index}")
            num_equal += 1
    assert num_equal > 40


def test_frames_are_the_references_to_the_bit():
    path = SHARED / "assets" / "decoder" / "mmaction2_demo_arm_wrestling.mp4"
    golden = SHARED / "golden" / "pipeline.json"
    if not (path.exists() and golden.exists()):
        pytest.skip("the reference frames are not on this machine")
    expected = json.loads(golden.read_text())["decode_pyav"]
    with VideoReader(str(path)) as video:
        assert video.num_frames == expected["total_frames"]
        frames = video.read(expected["indices"])
    digests = [hashlib.sha256(picture.tobytes()).hexdigest() for picture in frames.data]
    assert digests == [frame["sha256"] for frame in expected["frames"]]
