"""Views of skeletons as graphs: coordinates of joints, bones or their motion, over frames and persons."""

from typing import Annotated

import numpy as np
from pydantic import Field

from kinoray.data.float_views import Floats, FloatView, FloatViews
from kinoray.data.rows import PlanRow
from kinoray.data.skeletons import read_skeletons
from kinoray.data.splits_base import FloatEvalSplit, FloatTrainSplit
from kinoray.data.views import segment_frames
from kinoray.transforms.poses import (
    NUM_JOINTS,
    Joints,
    Stream,
    in_body,
    in_picture,
    persons_padded,
    stream_of,
)

NUM_COORDINATES = 3
"""x, y and z; of joints in a picture x, y and the detector's confidence."""
NumPersons = Annotated[int, Field(gt=0, le=64)]


class SkeletonView(FloatView):
    """Fields that training and evaluation share; the model sees ``(N, M, P, T, V, 3)``."""

    joints: Joints = "coco"
    """What the joints are: coco (17 in the picture), openpose (18 in the picture), nturgb+d (25 in space)."""
    stream: Stream = "joint"
    """Coordinates of joints, bones between them, or how either moves from frame to frame."""
    num_persons: NumPersons = 2
    """P, persons of a view: the first of the file, and zeros where there are fewer."""

    def shape_of(self, num_clips: int, clip_len: int) -> tuple[int, ...]:
        return num_clips, self.num_persons, clip_len, NUM_JOINTS[self.joints], NUM_COORDINATES

    def views(self, row: PlanRow, name: str, rng: np.random.Generator | None) -> FloatViews:
        skeletons = read_skeletons(row["path"], name, row.get("fps"))
        is_spatial = self.joints == "nturgb+d"
        skeletons.check(NUM_JOINTS[self.joints], 3 if is_spatial else 2)
        frames = segment_frames(skeletons, row["start_seconds"], row["end_seconds"])
        points = skeletons.points[:, frames.start : frames.stop]
        if is_spatial:
            points = in_body(points)
        else:
            scores = skeletons.scores[:, frames.start : frames.stop]
            points = np.concatenate([in_picture(points, skeletons.height, skeletons.width), scores[..., None]], axis=-1)
        features: Floats = stream_of(points, self.joints, self.stream)[: self.num_persons]
        picked = self.sampling.pick(np.arange(features.shape[1]) / skeletons.fps, skeletons.fps, rng)
        clips = persons_padded(features[:, picked], self.num_persons)
        return FloatViews(np.ascontiguousarray(clips.swapaxes(0, 1), np.float32))


class SkeletonTrain(SkeletonView, FloatTrainSplit):
    """Skeletons to train on, as graphs; nothing is mirrored."""

    kind: str = "skeleton"


class SkeletonEval(SkeletonView, FloatEvalSplit):
    """Skeletons to score, as graphs."""

    kind: str = "skeleton"
