import pytest
import torch
from pydantic import ValidationError
from torch import nn

from kinoray.models.c2d import C2D, C2DConfig
from kinoray.models.weights import load_weights


def small(**settings: object) -> C2D:
    torch.manual_seed(0)
    return C2DConfig.model_validate({"num_classes": 3, "backbone": "resnet14", **settings}).build()


@pytest.mark.parametrize(("num_frames", "num_left"), [(1, 1), (2, 1), (5, 2), (8, 4)])
def test_pairs_of_frames_become_one(num_frames: int, num_left: int) -> None:
    features = small().eval().forward_features(torch.zeros(1, 3, num_frames, 65, 47))
    assert features.shape == (1, 2048, num_left, 2, 2)


def test_pooling_is_that_over_two_frames() -> None:
    model = small().eval()
    clip = torch.randn(2, 3, 4, 32, 32)
    inner = []
    model.backbone.layer1.register_forward_hook(lambda _module, _inputs, output: inner.append(output))
    model.backbone.layer2.register_forward_pre_hook(lambda _module, inputs: inner.append(inputs[0]))
    with torch.inference_mode():
        model.forward_features(clip)
    before, after = (maps.view(2, -1, *maps.shape[1:]).transpose(1, 2) for maps in inner)
    assert torch.equal(nn.functional.max_pool3d(before, (2, 1, 1)), after)


def test_frames_of_a_pair_may_change_places_but_not_pairs() -> None:
    model = small().eval()
    clip = torch.randn(1, 3, 4, 32, 32)
    with torch.inference_mode():
        expected = model.forward_features(clip)
        assert torch.equal(model.forward_features(clip[:, :, [1, 0, 3, 2]]), expected)
        assert not torch.allclose(model.forward_features(clip[:, :, [0, 2, 1, 3]]), expected)


def test_checkpoint_of_mmaction2_lands() -> None:
    given = {}
    for key, value in small().state_dict().items():
        name = key.replace("downsample.0", "downsample.conv").replace("downsample.1", "downsample.bn")
        for number in "123":
            name = name.replace(f"conv{number}.", f"conv{number}.conv.").replace(f"bn{number}.", f"conv{number}.bn.")
        given[f"cls_head.fc_cls.{name[3:]}" if name.startswith("fc.") else name] = value
    report = load_weights(small(), given, where="here")
    assert (report.names, len(report.loaded)) == ("MMAction2", len(given))


def test_wrong_weights_are_named() -> None:
    with pytest.raises(ValidationError, match="IMAGENET9K"):
        C2DConfig.model_validate({"num_classes": 3, "pretrained": "IMAGENET9K"})
