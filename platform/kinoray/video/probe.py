"""What a video holds, without decoding more than its first picture."""

from dataclasses import dataclass

from kinoray.video.open import open_video


@dataclass(frozen=True)
class VideoInfo:
    """Facts about one video.

    Attributes:
        num_frames: exact.
        fps: average frames per second.
        width: pixels of the displayed picture.
        height: pixels of the displayed picture.
        duration_seconds: of all frames.
        codec: FFmpeg's name ("h264").
        bytes: size of the file, or of all pictures of a folder.
    """

    num_frames: int
    fps: float
    width: int
    height: int
    duration_seconds: float
    codec: str
    bytes: int


def probe(path: str) -> VideoInfo:
    """Look into a video, given by a path or URI that ``open_video`` knows.

    Raises:
        DecodeError: the video cannot be opened, or its first picture cannot be decoded.
    """
    with open_video(path) as video:
        return VideoInfo(
            num_frames=video.num_frames,
            fps=video.fps,
            width=video.width,
            height=video.height,
            duration_seconds=video.duration_seconds,
            codec=video.codec,
            bytes=video.num_bytes,
        )
