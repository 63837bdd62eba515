"""Whole skeleton pipelines against a running MMAction2; see shared/golden/README.md, section on poses."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from kinoray.data.heatmap_views import HeatmapEval
from kinoray.data.rows import PlanRow
from kinoray.data.skeleton_views import SkeletonEval
from kinoray.data.skeletons import pack_skeletons

GOLDEN = Path(__file__).resolve().parents[2].parent / "shared" / "golden"
pytestmark = pytest.mark.skipif(
    not (GOLDEN / "pose.json").is_file(), reason="no ../shared with golden/pose.json and golden/pose.npz"
)

STREAMS = {
    "stgcn_joint_2d": {"stream": "joint"},
    "stgcn_bone_2d": {"stream": "bone"},
    "stgcn_joint_motion_2d": {"stream": "joint_motion"},
    "stgcn_bone_motion_2d": {"stream": "bone_motion"},
    "stgcn_joint_3d": {"stream": "joint", "joints": "nturgb+d"},
    "stgcn_bone_3d": {"stream": "bone", "joints": "nturgb+d"},
}
SHOWN_FRAMES = slice(None, None, 10)
"""Of graphs, which frames the reference's file holds."""
SHOWN_MAPS = (slice(None), slice(None), slice(None, None, 8), slice(None, None, 8), slice(None, None, 8))
"""Of heatmaps, which places."""


def golden(name: str) -> tuple[dict[str, Any], NDArray[np.float32]]:
    return json.loads((GOLDEN / "pose.json").read_text())[name], np.load(GOLDEN / "pose.npz")[name]


@pytest.fixture
def row_of(tmp_path: Path) -> Any:
    def make(name: str) -> PlanRow:
        """The reference's seeded skeletons: joints that wander from random places, two persons and 40 frames."""
        facts, _ = golden(name)
        num_coordinates, num_joints = facts["dims"], facts["V"]
        draws = np.random.RandomState(21)
        places = draws.rand(2, 1, num_joints, num_coordinates)
        ways = draws.randn(2, 40, num_joints, num_coordinates).cumsum(axis=1)
        if num_coordinates == 2:
            points = [400, 300] + places * [200, 300] + 2 * ways
            scores = 0.3 + 0.7 * draws.rand(2, 40, num_joints)
        else:
            points, scores = [400, 300, 2] + places * [200, 300, 2] + 0.02 * ways, None
        path = tmp_path / "skeletons.npz"
        path.write_bytes(pack_skeletons(points, scores, (1080, 1920)))
        return PlanRow(
            video_id="a", path=str(path), label=0, start_seconds=None, end_seconds=None, position=0, clip_seed=0
        )

    return make


@pytest.mark.parametrize("name", STREAMS)
def test_graphs(name: str, row_of: Any) -> None:
    facts, expected = golden(name)
    view = SkeletonEval(sampling={"kind": "stratified", "clip_len": 100}, **STREAMS[name])

    graphs = view.take(row_of(name), "a").values

    assert list(graphs.shape) == facts["output"]["shape"]
    np.testing.assert_allclose(graphs[:, :, SHOWN_FRAMES], expected, atol=2e-4, rtol=1e-5)
    assert graphs.mean() == pytest.approx(facts["output"]["mean"], abs=1e-4, rel=1e-5)
    assert graphs.std() == pytest.approx(facts["output"]["std"], rel=1e-5)


@pytest.mark.parametrize(("name", "draws"), [("posec3d_keypoint", "joints"), ("posec3d_limb", "limbs")])
def test_heatmaps(name: str, draws: str, row_of: Any) -> None:
    facts, expected = golden(name)
    view = HeatmapEval(sampling={"kind": "stratified", "clip_len": 48}, draws=draws)

    taken = view.take(row_of(name), "a").values
    maps = view.shown(torch.from_numpy(taken)[None])[0].numpy()

    assert list(maps.shape) == facts["output"]["shape"]
    np.testing.assert_allclose(maps[SHOWN_MAPS], expected, atol=1e-5)
    assert maps.mean() == pytest.approx(facts["output"]["mean"], rel=1e-4)
    assert maps.std() == pytest.approx(facts["output"]["std"], rel=1e-4)
