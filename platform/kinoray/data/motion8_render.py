"""The pictures of motion8: a disc on the move over a panning background, drawn with numpy alone.

Why time is needed. The disc has four state variables: horizontal and vertical position (the picture wraps around),
rotation (a turn is a period) and zoom (its rings repeat with a fixed ratio of radii). Each is a phase in [0, 1) that
starts uniformly and independently, in every class; a class drives one of them, forwards or backwards, and nothing else
in a video depends on its class. A uniform phase plus any constant stays uniform modulo 1, hence

- at every time t all four phases are uniform and independent, whatever the class: a single frame says nothing;
- pan, distractors, light and noise are distributed the same when time runs backwards, and a phase that starts
  uniformly also ends uniformly, so a `left` played backwards is distributed exactly as a `right`: frames in
  an unknown order tell at best which phase moves, one class of two.

This holds for the pictures drawn here; what the encoder adds is measured in ``datasets/motion8/README.md``.
"""

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

SIZE: Final = 64
"""Height and width, in pixels."""
NUM_FRAMES: Final = 24

DRIVES: Final = {
    "left": (0, -1),
    "right": (0, 1),
    "up": (1, -1),
    "down": (1, 1),
    "cw": (2, 1),
    "ccw": (2, -1),
    "approach": (3, 1),
    "recede": (3, -1),
}
"""Class -> (index of the driven phase, sign). Rows grow downwards, so a growing angle turns clockwise."""

RING_PERIOD: Final = math.log(2.5)
"""Zooming by a factor of 2.5 gives the same rings again."""
DRIVE_PER_FRAME: Final = (1.4 / SIZE, 1.4 / SIZE, 0.12 / (2 * math.pi), 0.1 / RING_PERIOD)
"""Mean change of each phase: 1.4 pixels, 0.12 radians, a zoom of 10 %. Alike at two thirds of the disc's radius."""

NUM_WAVES: Final = 10
NUM_DISTRACTORS: Final = 3


@dataclass(frozen=True)
class Disc:
    """A textured disc: ``cos(spokes * angle) * cos(rings * log radius)`` in two colours.

    Attributes:
        start: (4,) phases at frame 0: horizontal, vertical, rotation, zoom.
        speed: the drive, as a multiple of DRIVE_PER_FRAME.
        radius: in pixels, below SIZE / 2.
        spokes: light sectors in a turn.
        shift: (2,) phases of the spokes and the rings, in radians.
        colours: (2, 3) grey levels.
    """

    start: Floats
    speed: float
    radius: float
    spokes: int
    shift: Floats
    colours: Floats


@dataclass(frozen=True)
class Scene:
    """All that is random about a video except its noise; nothing in it depends on the class.

    Attributes:
        disc: what the class drives.
        pan: (2,) pixels per frame by which the whole picture moves, x then y.
        wave_numbers: (NUM_WAVES, 2) whole periods of the background's waves per picture, x then y.
        waves: (3, NUM_WAVES) complex amplitudes per channel, in grey levels.
        spots: (NUM_DISTRACTORS, 8): x, y, their change per frame, radius (pixels), three grey levels.
        flicker: (2,) phase at frame 0 and its change per frame, in radians.
    """

    disc: Disc
    pan: Floats
    wave_numbers: Floats
    waves: NDArray[np.complex64]
    spots: Floats
    flicker: Floats


def draw_scene(rng: np.random.Generator) -> Scene:
    """Draw a scene. Every velocity is as likely as its opposite."""
    colours = rng.uniform(20, 235, (2, 3))
    while np.abs(colours[0].mean() - colours[1].mean()) < 70:
        colours = rng.uniform(20, 235, (2, 3))
    disc = Disc(
        start=rng.random(4, np.float32),
        speed=rng.uniform(0.75, 1.25),
        radius=rng.uniform(15, 21),
        spokes=int(rng.integers(3, 5)),
        shift=rng.uniform(0, 2 * np.pi, 2).astype(np.float32),
        colours=colours.astype(np.float32),
    )
    shared, own = rng.normal(size=(2, 1, NUM_WAVES)), rng.normal(size=(2, 3, NUM_WAVES))
    amplitudes = shared[0] + 0.4 * own[0] + 1j * (shared[1] + 0.4 * own[1])
    spots = np.concatenate(
        [
            rng.uniform(0, SIZE, (NUM_DISTRACTORS, 2)),
            rng.uniform(-1.2, 1.2, (NUM_DISTRACTORS, 2)),
            rng.uniform(2.5, 4.5, (NUM_DISTRACTORS, 1)),
            rng.uniform(20, 235, (NUM_DISTRACTORS, 3)),
        ],
        axis=1,
    )
    return Scene(
        disc=disc,
        pan=rng.uniform(-0.4, 0.4, 2).astype(np.float32),
        wave_numbers=rng.integers(-5, 6, (NUM_WAVES, 2)).astype(np.float32),
        waves=(9 * amplitudes).astype(np.complex64),
        spots=spots.astype(np.float32),
        flicker=np.array([rng.uniform(0, 2 * np.pi), rng.uniform(-0.4, 0.4)], np.float32),
    )


def trajectory(disc: Disc, label: str) -> Floats:
    """Phases of the disc in every frame: (NUM_FRAMES, 4) in [0, 1)."""
    axis, sign = DRIVES[label]
    phases = np.repeat(disc.start[None].astype(np.float64), NUM_FRAMES, axis=0)
    phases[:, axis] += np.arange(NUM_FRAMES) * sign * disc.speed * DRIVE_PER_FRAME[axis]
    return (phases % 1).astype(np.float32)


def render(scene: Scene, label: str, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Draw a video: (NUM_FRAMES, SIZE, SIZE, 3) uint8. The generator draws the sensor's noise."""
    times = np.arange(NUM_FRAMES, dtype=np.float32)
    pan = times[:, None] * scene.pan
    frames = _background(scene, pan)
    _paint_disc(frames, scene.disc, trajectory(scene.disc, label), pan)
    for spot in scene.spots:
        dx, dy = _offsets(spot[:2] + times[:, None] * spot[2:4] + pan)
        _blend(frames, spot[5:], _inside(np.hypot(dx, dy), spot[4]))
    light = 1 + 0.15 * np.cos(scene.flicker[0] + times * scene.flicker[1])
    noise = 4 * rng.standard_normal((NUM_FRAMES, SIZE, SIZE, 1), np.float32)
    seen: Floats = np.clip(frames * light[:, None, None, None] + noise, 0, 255)
    return seen.astype(np.uint8)


def _background(scene: Scene, pan: Floats) -> Floats:
    """A sum of plane waves with whole periods, moved by turning their phases: (T, H, W, 3)."""
    pixels = 2j * np.pi / SIZE * np.arange(SIZE, dtype=np.float32)
    along_x, along_y = (np.exp(pixels[:, None] * numbers).astype(np.complex64) for numbers in scene.wave_numbers.T)
    moved = np.exp(-2j * np.pi / SIZE * (pan @ scene.wave_numbers.T)).astype(np.complex64)
    rows = along_y * (moved[:, None] * scene.waves)[:, :, None]  # (T, 3, H, waves)
    grey = 115 + (rows @ along_x.T).real
    return np.ascontiguousarray(grey.transpose(0, 2, 3, 1))


def _paint_disc(frames: Floats, disc: Disc, phases: Floats, pan: Floats) -> None:
    dx, dy = _offsets(phases[:, :2] * SIZE + pan)
    radius = np.hypot(dx, dy)
    turn = disc.spokes * (np.arctan2(dy, dx) - 2 * np.pi * phases[:, 2, None, None]) + disc.shift[0]
    rings = 2 * np.pi * (np.log(np.maximum(radius, 1)) / RING_PERIOD - phases[:, 3, None, None]) + disc.shift[1]
    share = (0.5 + 0.5 * np.tanh(3 * np.cos(turn) * np.cos(rings)))[..., None]
    dark, light = disc.colours
    _blend(frames, dark + share * (light - dark), _inside(radius, disc.radius))


def _offsets(centres: Floats) -> tuple[Floats, Floats]:
    """Pixels from the nearest copy of a wandering centre, (T, 2) -> x of shape (T, 1, W) and y of (T, H, 1)."""
    wrapped = (np.arange(SIZE, dtype=np.float32) - centres[..., None] + SIZE / 2) % SIZE - SIZE / 2
    return wrapped[:, 0, None, :], wrapped[:, 1, :, None]


def _inside(distance: Floats, radius: float) -> Floats:
    """1 inside, 0 outside, with an edge one pixel wide."""
    share: Floats = np.clip(radius - distance + 0.5, 0, 1)
    return share


def _blend(frames: Floats, colours: Floats, share: Floats) -> None:
    """Lay colours, (3,) or (T, H, W, 3), over frames where ``share`` (T, H, W) is not zero, in place."""
    frames += share[..., None] * (colours - frames)
