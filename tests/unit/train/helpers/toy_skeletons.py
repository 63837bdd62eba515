"""Stick figures that move in four ways, and sounds that rise or fall, for recognizers of skeletons and of sound."""

import pickle
import wave
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

MOTIONS = ("wave", "kick", "squat", "sway")
SOUNDS = ("falling", "rising")
# COCO's joints of a standing figure, x and y from 0 to 1: face, shoulders, elbows, wrists, hips, knees, ankles.
STANDING = np.array(
    [
        *[(0.5, 0.1), (0.53, 0.08), (0.47, 0.08), (0.56, 0.1), (0.44, 0.1)],
        *[(0.62, 0.25), (0.38, 0.25), (0.68, 0.4), (0.32, 0.4), (0.7, 0.55), (0.3, 0.55)],
        *[(0.57, 0.55), (0.43, 0.55), (0.57, 0.75), (0.43, 0.75), (0.57, 0.95), (0.43, 0.95)],
    ]
)
ARMS, LEGS = [7, 9, 8, 10], [13, 15, 14, 16]
RATE = 16_000


def figure(motion: str, num_frames: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """``(1, T, 17, 2)`` pixels of a picture of 480 x 640."""
    phase = np.sin(2 * np.pi * (np.arange(num_frames) / 16 + rng.random()))
    poses = np.tile(STANDING, (num_frames, 1, 1))
    if motion == "squat":
        poses[:, :13, 1] += 0.1 + 0.1 * phase[:, None]
    elif motion == "sway":
        poses[..., 0] += 0.15 * phase[:, None] * (1 - STANDING[:, 1])
    else:
        poses[:, ARMS if motion == "wave" else LEGS, 1] -= np.outer(0.5 + 0.5 * phase, [0.15, 0.4, 0.15, 0.4])
    poses += rng.normal(0, 0.005, poses.shape)
    place, size = rng.uniform(50, 200, 2), rng.uniform(150, 250)
    return (place + poses * size)[None].astype(np.float32)


def write_figures(path: Path, *, train_per_motion: int, val_per_motion: int) -> None:
    """A pickle as MMAction2's, with the splits ``train`` and ``val``."""
    rng = np.random.default_rng(0)
    annotations, splits = [], {"train": [], "val": []}
    for split, count in (("train", train_per_motion), ("val", val_per_motion)):
        for number in range(count * len(MOTIONS)):
            label, num_frames = number % len(MOTIONS), int(rng.integers(24, 64))
            points = figure(MOTIONS[label], num_frames, rng)
            splits[split].append(f"{split}{number}")
            annotations.append(
                {
                    "frame_dir": f"{split}{number}",
                    "label": label,
                    "img_shape": (480, 640),
                    "total_frames": num_frames,
                    "keypoint": points.astype(np.float16),
                    "keypoint_score": np.ones(points.shape[:3], np.float16),
                }
            )
    path.write_bytes(pickle.dumps({"split": splits, "annotations": annotations}))


def write_sounds(folder: Path, split: str, *, per_sound: int) -> None:
    """``<split>.csv`` and a WAV of half a second for each of its rows: a tone that falls or rises."""
    rng = np.random.default_rng(len(split))
    lines = ["path,label"]
    for number in range(per_sound * len(SOUNDS)):
        label = number % len(SOUNDS)
        first, last = rng.uniform(600, 900), rng.uniform(2400, 3600)
        hertz = np.geomspace(*((last, first) if SOUNDS[label] == "falling" else (first, last)), RATE // 2)
        tone = 0.3 * np.sin(2 * np.pi * np.cumsum(hertz) / RATE) + rng.normal(0, 0.02, RATE // 2)
        write_wav(folder / f"{split}{number}.wav", tone)
        lines.append(f"{split}{number}.wav,{SOUNDS[label]}")
    (folder / f"{split}.csv").write_text("\n".join(lines) + "\n")


def write_wav(path: Path, samples: NDArray[np.float64]) -> None:
    """One channel of 16 bits, 16,000 samples a second."""
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes((np.clip(samples, -1, 1) * 32767).astype("<i2").tobytes())
