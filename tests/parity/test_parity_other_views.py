"""Networks of skeletons, heatmaps and sound against numbers of a running MMAction2 (main 4d6c934).

See shared/golden/README.md, sections 1-3.
"""

import hashlib
from typing import Any

import pytest
import torch
from golden_models import GOLDEN, make_state_dict, make_views, read_fixture, read_scores

from kinoray.models.kinds import MODELS, RecognizerConfig
from kinoray.models.layers.graphs import Partition, adjacency
from kinoray.models.weights import load_weights

pytestmark = pytest.mark.skipif(not GOLDEN.is_dir(), reason="no ../shared/golden beside the repository")

CASES: dict[str, dict[str, Any]] = {
    "stgcn_2d": {"kind": "stgcn", "num_classes": 60},
    "stgcn_3d": {"kind": "stgcn", "num_classes": 60, "layout": "nturgb+d"},
    "stgcnpp_2d": {"kind": "stgcnpp", "num_classes": 60},
    "stgcnpp_3d": {"kind": "stgcnpp", "num_classes": 60, "layout": "nturgb+d"},
    "agcn_2d": {"kind": "agcn", "num_classes": 60},
    "agcn_3d": {"kind": "agcn", "num_classes": 60, "layout": "nturgb+d"},
    "posec3d_ntu60": {"kind": "posec3d", "num_classes": 60},
    "audio_tsn_r18": {"kind": "audio_tsn", "num_classes": 400},
}


@pytest.mark.parametrize("name", CASES)
def test_logits(name: str) -> None:
    fixture = read_fixture(name)
    config = MODELS.validate(CASES[name])
    assert isinstance(config, RecognizerConfig)
    model = config.build().eval()

    report = load_weights(model, make_state_dict(fixture), where=name)
    with torch.inference_mode():
        logits = model(make_views(fixture["input"])[None])

    torch.testing.assert_close(logits[0], read_scores(name)["logits"], atol=2e-5, rtol=1e-4)
    assert sum(parameter.numel() for parameter in model.parameters()) == fixture["num_params"]
    assert not report.fresh


@pytest.mark.parametrize(("name", "partition"), [("stgcn_2d", "stgcn_spatial"), ("agcn_2d", "spatial")])
def test_graphs_are_built_as_the_reference_builds_them(name: str, partition: Partition) -> None:
    digests = {kept["sha256"] for kept in read_fixture(name)["kept_buffers"].values()}
    assert digests == {hashlib.sha256(adjacency("coco", partition).numpy().tobytes()).hexdigest()}


def test_a_checkpoint_that_holds_the_graphs_loads_as_well() -> None:
    weights = make_state_dict(read_fixture("stgcn_2d"))
    config = MODELS.validate(CASES["stgcn_2d"])
    assert isinstance(config, RecognizerConfig)
    graphs = {f"backbone.gcn.{block}.gcn.A": torch.zeros(3, 17, 17) for block in range(10)}

    report = load_weights(config.build(), weights | graphs, where="stgcn_2d")

    assert sorted(report.unused) == sorted(graphs)
