"""A config and a checkpoint of MMAction2 give the scores that a running MMAction2 (main 4d6c934) gave.

See shared/golden/README.md, sections 1-3 and 10.
"""

from pathlib import Path
from typing import Any

import pytest
import torch
from golden_models import GOLDEN, make_state_dict, make_views, read_fixture, read_scores
from torch import Tensor

from kinoray import load_recognizer
from kinoray.models.trn import TRN

pytestmark = pytest.mark.skipif(not GOLDEN.is_dir(), reason="no ../shared/golden beside the repository")

# Of logits between 0.2 and 7; other orders of summation differ by up to 5e-6.
MAX_LOGIT_ERROR = 5e-5
MAX_PROBABILITY_ERROR = 1e-5

# The reference draws three sets of each size anew in every call. Its logits are a sum of terms, one for each set; least
# squares over all 246 gives 1 for these, as places among the combinations of 7, 6 .. 2 frames, and 0 for all others.
TRN_DRAWS = ((2, 4, 7), (4, 15, 22), (0, 48, 51), (9, 46, 47), (19, 23, 35), (0, 13, 27))

FIXTURES = sorted(path.stem for path in (GOLDEN / "models").glob("*.json"))
# More than three seconds of a core, or of a family that a cheaper one stands for.
SLOW = {
    "c3d",
    "mvit_small",
    "r2plus1d_r34",
    "slowfast_r101_r50_4x16",
    "swin_tiny",
    "timesformer_divST",
    "tpn_tsm_r50",
    "tsm_r50",
    "tsm_r50_nl_dot",
    "uniformer_small",
    "uniformerv2_base",
    "videomae_base",
}


def as_clips(views: Tensor, num_views: int) -> Tensor:
    """``(M * T, C, H, W)`` -> ``(M, C, T, H, W)``; the others stay."""
    return views.unflatten(0, (num_views, -1)).transpose(1, 2) if views.ndim == 4 else views


def write_files(folder: Path, fixture: dict[str, Any]) -> tuple[Path, Path]:
    """What a user of MMAction2 brings."""
    config, checkpoint = folder / "config.py", folder / "checkpoint.pth"
    config.write_text(f"model = {fixture['model_cfg']!r}\n")
    torch.save({"meta": {}, "state_dict": make_state_dict(fixture)}, checkpoint)
    return config, checkpoint


@pytest.mark.parametrize("name", [pytest.param(name, marks=[pytest.mark.slow] * (name in SLOW)) for name in FIXTURES])
def test_scores(name: str, tmp_path: Path) -> None:
    fixture, expected = read_fixture(name), read_scores(name)
    recognizer = load_recognizer(*write_files(tmp_path, fixture))
    model = recognizer.model
    if isinstance(model, TRN):
        drawn = zip(model.fc.subsets[1:], TRN_DRAWS, strict=True)
        model.fc.subsets[1:] = [[subsets[i] for i in places] for subsets, places in drawn]
    views = make_views(fixture["input"])
    clips = as_clips(views, len(expected["logits"])) if fixture["recognizer"] == "Recognizer2D" else views

    logits = recognizer(clips[None])[0]

    logit_error = (logits - expected["logits"]).abs().max().item()
    probabilities = logits.softmax(dim=-1).mean(dim=0)
    probability_error = (probabilities - expected["avg_prob"].flatten()).abs().max().item()
    print(f"{name}: {logit_error:.1e} of logits up to {expected['logits'].abs().max():.1f}, {probability_error:.1e}")
    assert logit_error <= MAX_LOGIT_ERROR
    assert probability_error <= MAX_PROBABILITY_ERROR
    assert sum(parameter.numel() for parameter in model.parameters()) == fixture["num_params"]
