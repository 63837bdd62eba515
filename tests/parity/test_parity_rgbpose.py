"""RGBPoseConv3D against scores that RGBPoseConv3D and RGBPoseHead of MMAction2 1.2.0 computed.

Weights and inputs as in shared/golden/README.md, sections 1 and 2.
"""

import pytest
import torch
from golden_models import GOLDEN, make_state_dict, make_views

from kinoray.models.rgbpose_conv3d import rgbpose_conv3d_ntu60
from kinoray.models.weights import load_weights, rename_keys
from kinoray.transforms.paired import paired

pytestmark = pytest.mark.skipif(not GOLDEN.is_dir(), reason="no ../shared/golden beside the repository")

PICTURES = {"kind": "uint8", "shape": [2, 3, 4, 64, 64], "seed": 0}
HEATMAPS = {"kind": "uniform", "shape": [2, 17, 16, 16, 16], "seed": 1, "low": 0.0, "high": 1.0}
TO_MMACTION2 = (
    (r"^backbone\.to_rgb\.0\.", "backbone.rgb_path.layer2_lateral.conv."),
    (r"^backbone\.to_rgb\.1\.", "backbone.rgb_path.layer3_lateral.conv."),
    (r"^backbone\.to_pose\.0\.", "backbone.pose_path.layer1_lateral."),
    (r"^backbone\.to_pose\.1\.", "backbone.pose_path.layer2_lateral."),
    (r"^backbone\.(rgb|pose)\.", r"backbone.\1_path."),
    (r"^fc\.", "cls_head.fc_"),
)
EXPECTED = [
    [[8.12871, 2.52036, 0.54403, -5.52405], [1.67952, 2.97978, -2.57132, 1.03001]],
    [[8.12075, 2.51694, 0.58051, -5.62462], [1.67527, 2.98321, -2.62103, 0.96712]],
]
"""Of two views the first four classes' scores, by pictures and by heatmaps."""


def test_scores_of_both() -> None:
    model = rgbpose_conv3d_ntu60().eval()
    theirs = rename_keys(model.state_dict(), TO_MMACTION2)
    assert len(theirs) == 594
    spec = {key: [list(value.shape), str(value.dtype).removeprefix("torch.")] for key, value in theirs.items()}

    report = load_weights(model, make_state_dict({"state_dict": spec, "scales": []}), where="MMAction2")
    with torch.inference_mode():
        clips = paired(make_views(PICTURES).float(), make_views(HEATMAPS))
        scores = model.scores_of_both(model.forward_features(clips))

    assert report.names == "MMAction2"
    torch.testing.assert_close(scores[:, :, :4], torch.tensor(EXPECTED), atol=2e-5, rtol=1e-5)
