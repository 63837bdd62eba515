"""Arithmetic on skeletons: coordinates of joints made comparable, made into bones and motion, and moved like pictures.

Shapes: P persons, T frames, V joints, C coordinates. A joint whose coordinates are all 0 was not seen. No torch here:
this runs where recordings are read.

Source: arXiv 1805.07694 (axes of the body, bones), 2104.13586 (the box around persons). Numbers compared with
PreNormalize2D, PreNormalize3D, GenSkeFeat and PoseCompact of MMAction2 at 4d6c934.
"""

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Joints = Literal["coco", "nturgb+d", "openpose"]
Stream = Literal["joint", "bone", "joint_motion", "bone_motion"]

NUM_JOINTS: dict[Joints, int] = {"coco": 17, "nturgb+d": 25, "openpose": 18}
BONES: dict[Joints, tuple[int, ...]] = {
    "coco": (0, 0, 0, 1, 2, 0, 0, 5, 6, 7, 8, 0, 0, 11, 12, 13, 14),
    "nturgb+d": (1, 20, 20, 2, 20, 4, 5, 6, 20, 8, 9, 10, 0, 12, 13, 14, 0, 16, 17, 18, 20, 22, 7, 24, 11),
    "openpose": (0, 0, 1, 2, 3, 1, 5, 6, 2, 8, 9, 5, 11, 12, 0, 0, 14, 15),
}
"""Of every joint the one that its bone comes from; the root's is its own."""
MIRRORED: dict[Joints, tuple[int, ...]] = {
    "coco": (0, 2, 1, 4, 3, 6, 5, 8, 7, 10, 9, 12, 11, 14, 13, 16, 15),
    "nturgb+d": (0, 1, 2, 3, 8, 9, 10, 11, 4, 5, 6, 7, 16, 17, 18, 19, 12, 13, 14, 15, 20, 23, 24, 21, 22),
    "openpose": (0, 1, 5, 6, 7, 2, 3, 4, 11, 12, 13, 8, 9, 10, 15, 14, 17, 16),
}
"""Of every joint the one that a mirror shows in its place."""
# Joints of NTU RGB+D: hip and spine give the body's z axis, right and left shoulder its x axis.
_HIP, _SPINE, _RIGHT_SHOULDER, _LEFT_SHOULDER = 0, 1, 8, 4
_SMALL = 1e-6
MIN_BODY_PIXELS = 10
"""Persons that take up less are not cut out."""


def in_picture(points: Floats, height: int, width: int) -> Floats:
    """``(P, T, V, 2)`` pixels -> the same from -1 to 1 between the edges of the picture."""
    half = np.array([width / 2, height / 2], np.float32)
    return (points - half) / half


def in_body(points: Floats) -> Floats:
    """``(P, T, V, 3)`` -> ``(P, T', V, 3)``: as seen from the first person's body in the first frame that shows it.

    The spine becomes the origin, the way from the hip to it the z axis, that from the left to the right shoulder about
    the x axis. Frames without the person who is seen most are left out, and that person comes first. Of more than two
    persons the first two are kept.
    """
    points = points[:2]
    if not points.any():
        return points
    is_seen = np.asarray(~np.isclose(points, 0).all(axis=(2, 3)))
    first = int(len(points) == 2 and is_seen[0].sum() < is_seen[1].sum())
    if not is_seen[first].any():
        return points
    body = points[[first, *({0, 1} - {first})][: len(points)]][:, is_seen[first]].astype(np.float64)
    origin = body[0, 0, _SPINE if body.shape[2] == NUM_JOINTS["nturgb+d"] else -1].copy()
    body = (body - origin) * (body != 0).any(axis=-1, keepdims=True)
    body = body @ _turning(body[0, 0, _SPINE] - body[0, 0, _HIP], np.array([0.0, 0.0, 1.0])).T
    body = body @ _turning(body[0, 0, _RIGHT_SHOULDER] - body[0, 0, _LEFT_SHOULDER], np.array([1.0, 0.0, 0.0])).T
    seen_from_body: Floats = body.astype(np.float32)
    return seen_from_body


def stream_of(points: Floats, joints: Joints, stream: Stream) -> Floats:
    """``(P, T, V, C)`` -> the same shape: joints as they are, bones, or how either moves until the next frame.

    Where C is x, y and a confidence, the confidence of a bone or of a motion is the mean of its two ends'.
    """
    has_confidence = joints != "nturgb+d" and points.shape[-1] == 3
    features = points
    if stream.startswith("bone"):
        origins = points[:, :, BONES[joints]]
        features = points - origins
        if has_confidence:
            features[..., 2] = (points[..., 2] + origins[..., 2]) / 2
    if stream.endswith("motion"):
        motion = np.zeros_like(features)
        motion[:, :-1] = np.diff(features, axis=1)
        if has_confidence:
            motion[:, :-1, :, 2] = (features[:, :-1, :, 2] + features[:, 1:, :, 2]) / 2
        features = motion
    return features


def cut_out(points: Floats, height: int, width: int, padding: float) -> tuple[Floats, int, int]:
    """Move to the square around all persons of all frames.

    Args:
        points: ``(P, T, V, 2)`` pixels.
        height: of the picture.
        width: of the picture.
        padding: by how much the box is larger than what it holds, as a share of it; it may reach out of the picture.

    Returns:
        The points; height and width of their box, or of the picture where persons are too small.
    """
    points = np.nan_to_num(points, nan=0.0, posinf=0.0, neginf=0.0)
    is_there = points != 0
    if not is_there.reshape(-1, 2).any(axis=0).all():
        return points, height, width
    low = np.min(points, axis=(0, 1, 2), where=is_there, initial=np.inf)
    high = np.max(points, axis=(0, 1, 2), where=is_there, initial=-np.inf)
    if (high - low).min() < MIN_BODY_PIXELS:
        return points, height, width
    centre = (high + low) / 2
    half = float(((high - low) / 2).max()) * (1 + padding)
    left, top, right, bottom = (int(edge) for edge in (*(centre - half), *(centre + half)))
    # A coordinate of 0 says that the joint was not seen.
    moved = np.where(is_there, points - np.array([left, top], np.float32), points)
    return moved, bottom - top, right - left


def mirrored(points: Floats, width: int, joints: Joints) -> Floats:
    """``(P, T, V, C)``, C from x on, in a picture of that width -> as a mirror shows them."""
    turned = points[:, :, MIRRORED[joints]]
    turned[..., 0] = np.where(turned[..., 0] != 0, width - turned[..., 0], 0)
    return turned


def mirrored_limbs(limbs: Sequence[tuple[int, int]], joints: Joints) -> list[int]:
    """Of every limb the number of the one that a mirror shows in its place; its own where there is none."""
    numbers = {frozenset(limb): number for number, limb in enumerate(limbs)}
    others = [frozenset(MIRRORED[joints][joint] for joint in limb) for limb in limbs]
    return [numbers.get(other, number) for number, other in enumerate(others)]


def surest_persons(points: Floats, scores: Floats, num_persons: int) -> tuple[Floats, Floats]:
    """``(P, T, V, C)`` and ``(P, T, V)`` -> of exactly so many persons: those seen most surely, then empty ones."""
    surest = np.sort(np.argsort(-scores.sum(axis=(1, 2)), kind="stable")[:num_persons])
    return persons_padded(points[surest], num_persons), persons_padded(scores[surest], num_persons)


def persons_padded(values: Floats, num_persons: int) -> Floats:
    """``(P, ...)`` -> ``(num_persons, ...)`` with zeros for those that are missing; P is at most that."""
    return np.pad(values, [(0, num_persons - len(values)), *[(0, 0)] * (values.ndim - 1)])


def _turning(vector: NDArray[np.float64], onto: NDArray[np.float64]) -> NDArray[np.float64]:
    """``(3, 3)``: turns a vector into the direction of a unit vector, around what is upright on both."""
    axis, length = np.cross(vector, onto), np.linalg.norm(vector)
    if np.abs(vector).sum() < _SMALL or np.abs(axis).sum() < _SMALL:
        return np.eye(3)
    angle = math.acos(float(np.clip(vector @ onto / length, -1, 1)))
    if angle < _SMALL:
        return np.eye(3)
    x, y, z = axis / np.linalg.norm(axis)
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.asarray(np.eye(3) + math.sin(angle) * cross + (1 - math.cos(angle)) * cross @ cross)
