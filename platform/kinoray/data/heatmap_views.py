"""Views of skeletons as heatmaps, one for each joint or limb. Joints travel; the device draws the heatmaps."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from kinoray.data.float_views import Floats, FloatView, FloatViews
from kinoray.data.rows import PlanRow
from kinoray.data.skeleton_views import NumPersons
from kinoray.data.skeletons import read_skeletons
from kinoray.data.splits_base import FloatEvalSplit, FloatTrainSplit
from kinoray.data.views import Side, segment_frames
from kinoray.transforms.boxes import short_side_size
from kinoray.transforms.crop_boxes import AnyBox, RandomResizedBox
from kinoray.transforms.poses import (
    MIRRORED,
    NUM_JOINTS,
    cut_out,
    mirrored,
    mirrored_limbs,
    surest_persons,
)
from kinoray.video.frames import Box

if TYPE_CHECKING:
    from torch import Tensor

Limbs = tuple[tuple[int, int], ...]
COCO_LIMBS: Limbs = (
    *((0, 5), (0, 6), (5, 7), (7, 9), (6, 8), (8, 10), (5, 11), (11, 13), (13, 15)),
    *((6, 12), (12, 14), (14, 16), (0, 1), (0, 2), (1, 3), (2, 4), (11, 12)),
)
"""In the order of MMAction2's networks of limbs."""


class HeatmapView(FloatView):
    """Fields that training and evaluation share; the model sees ``(N, M, V, T, H, W)``, or a heatmap for each limb."""

    joints: Literal["coco", "openpose"] = "coco"
    """What the joints are: coco (17) or openpose (18)."""
    draws: Literal["joints", "limbs"] = "joints"
    limbs: Limbs = COCO_LIMBS
    """Pairs of joints, where limbs are drawn."""
    sigma: float = Field(0.6, gt=0)
    """Of the bell curve that a joint becomes, in pixels of the heatmap."""
    use_scores: bool = True
    """Let joints be as bright as the detector is sure of them."""
    num_persons: NumPersons = 2
    """Persons of a view; of more, those whose joints are surest."""
    padding: float = Field(0.25, ge=0)
    """By how much the square around all persons is larger than they are, as a share of it."""
    resize: Side = 64
    """Short side of that square before cropping."""
    keep_ratio: bool = True
    """Off: what is cut out becomes a square, whatever it was."""
    crop: Side = 56
    """Side of the heatmaps, in pixels."""

    @model_validator(mode="after")
    def _joints_exist(self) -> Self:
        num_joints = NUM_JOINTS[self.joints]
        if self.draws == "limbs" and any(not 0 <= joint < num_joints for limb in self.limbs for joint in limb):
            raise ValueError(f"limbs: joints of {self.joints} are 0..{num_joints - 1}; name pairs of them")
        return self

    def shape_of(self, num_clips: int, clip_len: int) -> tuple[int, ...]:
        """x, y and score of the joints."""
        return num_clips, self.num_persons, clip_len, NUM_JOINTS[self.joints], 3

    def shown(self, clips: Tensor) -> Tensor:
        from kinoray.transforms.heatmaps import joint_heatmaps, limb_heatmaps

        points = clips.flatten(0, 1)
        if self.draws == "joints":
            maps = joint_heatmaps(points, self.crop, self.sigma)
        else:
            maps = limb_heatmaps(points, self.limbs, self.crop, self.sigma)
        return maps.view(*clips.shape[:2], *maps.shape[1:])

    def mirror_order(self) -> list[int]:
        """Of each heatmap the one that a mirror shows in its place."""
        if self.draws == "joints":
            return list(MIRRORED[self.joints])
        return mirrored_limbs(self.limbs, self.joints)

    def persons(
        self, row: PlanRow, name: str, rng: np.random.Generator | None
    ) -> tuple[Floats, Floats, tuple[int, int]]:
        """Joints of the picked frames in the resized square.

        Returns:
            ``(P, M * T, V, 2)``, ``(P, M * T, V)``, and height and width of the square.
        """
        skeletons = read_skeletons(row["path"], name, row.get("fps"))
        skeletons.check(NUM_JOINTS[self.joints], 2)
        frames = segment_frames(skeletons, row["start_seconds"], row["end_seconds"])
        pts_seconds = skeletons.pts_seconds[frames.start : frames.stop]
        picked = frames.start + self.sampling.pick(pts_seconds, skeletons.fps, rng).ravel()
        points, height, width = cut_out(skeletons.points[:, picked], skeletons.height, skeletons.width, self.padding)
        size = short_side_size(height, width, self.resize) if self.keep_ratio else (self.resize, self.resize)
        points = points * np.array([size[1] / width, size[0] / height], np.float32)
        scores = skeletons.scores[:, picked] if self.use_scores else np.ones(points.shape[:3], np.float32)
        points, scores = surest_persons(points, scores, self.num_persons)
        return points, scores, size

    def cropped(self, points: Floats, box: Box) -> Floats:
        """Joints as they lie in what is cut out and resized to ``crop``."""
        scale = np.array([self.crop / box.width, self.crop / box.height], np.float32)
        return (points - np.array([box.left, box.top], np.float32)) * scale

    def clips(self, points: Floats, scores: Floats, num_clips: int) -> Floats:
        """``(M, P, T, V, 3)`` of ``(P, M * T, V, 2)`` and ``(P, M * T, V)``."""
        joined = np.concatenate([points, scores[..., None]], axis=-1)
        return np.ascontiguousarray(
            joined.reshape(len(joined), num_clips, -1, *joined.shape[2:]).swapaxes(0, 1), np.float32
        )


class HeatmapTrain(HeatmapView, FloatTrainSplit):
    """Skeletons to train on, as heatmaps of a random box, perhaps mirrored."""

    kind: str = "heatmap"
    box: AnyBox = RandomResizedBox(scale=(0.56, 1.0))
    """Which part of the resized square is trained on."""
    flip: float = Field(0.5, ge=0, le=1)
    """Probability of a mirrored view; labels follow ``data.flip_labels``."""

    def views(self, row: PlanRow, name: str, rng: np.random.Generator | None) -> FloatViews:
        """All clips are cut and mirrored alike."""
        assert rng is not None
        is_mirrored = bool(rng.random() < self.flip)
        points, scores, (height, width) = self.persons(row, name, rng)
        points = self.cropped(points, self.box.draw(height, width, self.crop, rng))
        if is_mirrored:
            points, scores = mirrored(points, self.crop, self.joints), scores[:, :, list(MIRRORED[self.joints])]
        return FloatViews(self.clips(points, scores, self.float_shape()[0]), is_mirrored)


class HeatmapEval(HeatmapView, FloatEvalSplit):
    """Skeletons to score, as heatmaps of the centre; nothing is random."""

    kind: str = "heatmap"
    crop: Side = 64
    """Side of the heatmaps, in pixels."""
    with_mirrored: bool = False
    """Score every view mirrored as well."""

    @model_validator(mode="after")
    def _crop_fits(self) -> Self:
        if self.crop > self.resize:
            raise ValueError(f"crop, got {self.crop}; it should be at most resize ({self.resize})")
        return self

    def shown(self, clips: Tensor) -> Tensor:
        from kinoray.transforms.heatmaps import with_mirrored

        maps = super().shown(clips)
        return with_mirrored(maps, self.mirror_order()) if self.with_mirrored else maps

    def mirrors(self) -> str:
        return "with_mirrored, got true; use false" if self.with_mirrored else ""

    def views(self, row: PlanRow, name: str, rng: np.random.Generator | None) -> FloatViews:
        points, scores, (height, width) = self.persons(row, name, rng)
        centre = Box((height - self.crop) // 2, (width - self.crop) // 2, self.crop, self.crop)
        return FloatViews(self.clips(self.cropped(points, centre), scores, self.float_shape()[0]))
