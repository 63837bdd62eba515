"""Skeletons made comparable, made into bones and motion, cut out and mirrored."""

from typing import get_args

import numpy as np
import pytest

from kinoray.data.heatmap_views import COCO_LIMBS
from kinoray.transforms.poses import (
    BONES,
    MIRRORED,
    NUM_JOINTS,
    Joints,
    cut_out,
    in_body,
    in_picture,
    mirrored,
    mirrored_limbs,
    persons_padded,
    stream_of,
    surest_persons,
)

ALL_JOINTS = get_args(Joints)


def random_points(persons=2, frames=5, joints=17, coordinates=2, seed=0):
    draws = np.random.default_rng(seed).uniform(100, 400, (persons, frames, joints, coordinates))
    return draws.astype(np.float32)


@pytest.mark.parametrize("joints", ALL_JOINTS)
def test_tables_are_of_all_joints(joints):
    assert len(BONES[joints]) == len(MIRRORED[joints]) == NUM_JOINTS[joints]
    assert [MIRRORED[joints][other] for other in MIRRORED[joints]] == list(range(NUM_JOINTS[joints]))


@pytest.mark.parametrize("joints", ALL_JOINTS)
def test_bones_lead_to_one_root(joints):
    joints_and_origins = dict(enumerate(BONES[joints]))
    (root,) = (joint for joint, origin in joints_and_origins.items() if joint == origin)
    ends = set(joints_and_origins)
    for _ in joints_and_origins:
        ends = {joints_and_origins[joint] for joint in ends}
    assert ends == {root}


def test_the_picture_reaches_from_minus_1_to_1():
    corners = np.array([[0, 0], [640, 480], [320, 240]], np.float32)[None, None]
    assert in_picture(corners, 480, 640)[0, 0].tolist() == [[-1, -1], [1, 1], [0, 0]]


def test_bodies_are_seen_from_themselves():
    points = random_points(joints=25, coordinates=3)
    body = in_body(points)

    assert body.shape == points.shape
    assert body.dtype == np.float32
    np.testing.assert_allclose(body[0, 0, 1], 0, atol=1e-4)  # the spine
    shoulders = body[0, 0, 8] - body[0, 0, 4]
    np.testing.assert_allclose(shoulders / np.linalg.norm(shoulders), [1, 0, 0], atol=1e-4)
    np.testing.assert_allclose(in_body(points + np.float32([50, -20, 7])), body, atol=1e-2)
    distances = np.linalg.norm(points[1, 3] - points[0, 2], axis=-1)
    np.testing.assert_allclose(np.linalg.norm(body[1, 3] - body[0, 2], axis=-1), distances, rtol=1e-4)


def test_who_is_seen_most_comes_first_and_frames_without_them_are_left_out():
    points = random_points(persons=3, joints=25, coordinates=3)
    points[0, 1:] = 0
    points[1, 2] = 0
    body = in_body(points)
    assert body.shape[:2] == (2, 4)
    assert body[0].all(axis=-1).sum() == 4 * 25 - 1  # all but the origin
    assert not body[1, 1:].any()
    assert not in_body(np.zeros_like(points)).any()


def test_streams():
    joint = random_points(coordinates=3)
    bone = stream_of(joint, "coco", "bone")
    assert not bone[:, :, 0, :2].any()  # the nose is the root
    np.testing.assert_array_equal(bone[:, :, 9, :2], joint[:, :, 9, :2] - joint[:, :, 7, :2])
    np.testing.assert_allclose(bone[:, :, 9, 2], (joint[:, :, 9, 2] + joint[:, :, 7, 2]) / 2)
    motion = stream_of(joint, "coco", "joint_motion")
    np.testing.assert_array_equal(motion[:, 1, :, :2], joint[:, 2, :, :2] - joint[:, 1, :, :2])
    np.testing.assert_allclose(motion[:, 1, :, 2], (joint[:, 2, :, 2] + joint[:, 1, :, 2]) / 2)
    assert not motion[:, -1].any()
    np.testing.assert_array_equal(
        stream_of(joint, "coco", "bone_motion")[..., :2], stream_of(bone, "coco", "joint_motion")[..., :2]
    )
    assert stream_of(joint, "coco", "joint") is joint


def test_depth_is_no_confidence():
    joint = random_points(joints=25, coordinates=3)
    bone = stream_of(joint, "nturgb+d", "bone")
    np.testing.assert_array_equal(bone, joint - joint[:, :, BONES["nturgb+d"]])


def test_streams_leave_their_input_alone():
    joint = random_points(coordinates=3)
    before = joint.copy()
    for stream in ("bone", "joint_motion", "bone_motion"):
        stream_of(joint, "coco", stream)
    cut_out(joint[..., :2], 480, 640, 0.25)
    mirrored(joint, 640, "coco")
    np.testing.assert_array_equal(joint, before)


def test_all_persons_lie_in_the_square():
    points = random_points()
    moved, height, width = cut_out(points, 480, 640, 0.25)
    longer = (points.max(axis=(0, 1, 2)) - points.min(axis=(0, 1, 2))).max()
    assert height == pytest.approx(longer * 1.25, abs=2)
    assert abs(height - width) <= 1
    middle = (moved.max(axis=(0, 1, 2)) + moved.min(axis=(0, 1, 2))) / 2
    np.testing.assert_allclose(middle, [width / 2, height / 2], atol=1.5)


def test_joints_that_were_not_seen_stay_so():
    points = random_points()
    points[0, 0, 3] = 0
    points[1, 2, 5] = np.nan
    moved, _, _ = cut_out(points, 480, 640, 0.25)
    assert not moved[0, 0, 3].any()
    assert not moved[1, 2, 5].any()
    turned = mirrored(points, 640, "coco")
    assert turned[0, 0, MIRRORED["coco"][3]].tolist() == [0, 0]


@pytest.mark.parametrize("points", [np.zeros((1, 2, 17, 2), np.float32), random_points() / 100])
def test_tiny_persons_are_not_cut_out(points):
    moved, height, width = cut_out(points, 480, 640, 0.25)
    assert (height, width) == (480, 640)
    np.testing.assert_array_equal(moved, points)


def test_a_mirror_swaps_sides():
    points = random_points()
    turned = mirrored(points, 640, "coco")
    np.testing.assert_array_equal(turned[:, :, 5, 0], 640 - points[:, :, 6, 0])
    np.testing.assert_array_equal(turned[:, :, 5, 1], points[:, :, 6, 1])
    np.testing.assert_allclose(mirrored(turned, 640, "coco"), points, rtol=1e-5)


def test_limbs_are_mirrored():
    order = mirrored_limbs(COCO_LIMBS, "coco")
    assert [order[number] for number in order] == list(range(len(COCO_LIMBS)))
    assert order[:4] == [1, 0, 4, 5]
    assert mirrored_limbs([(5, 7), (11, 12)], "coco") == [0, 1]  # the first has no counterpart


def test_the_surest_persons_are_kept_in_their_order():
    points = random_points(persons=3)
    scores = np.full((3, 5, 17), 0.5, np.float32)
    scores[1] = 0.1
    kept, kept_scores = surest_persons(points, scores, 2)
    np.testing.assert_array_equal(kept, points[[0, 2]])
    np.testing.assert_array_equal(kept_scores, scores[[0, 2]])
    more, _ = surest_persons(points, scores, 5)
    np.testing.assert_array_equal(more[:3], points)
    assert not more[3:].any()


def test_missing_persons_are_zeros():
    assert persons_padded(np.ones((1, 4), np.float32), 3).tolist() == [[1] * 4, [0] * 4, [0] * 4]
