import pytest
import torch
from pydantic import ValidationError

from kinoray.models.tiny3d import STILL_SHARE, Tiny3D, Tiny3DConfig, emphasise_motion


def small(**settings: object) -> Tiny3D:
    torch.manual_seed(0)
    return Tiny3DConfig.model_validate({"num_classes": 5, "widths": [8, 16, 24], **settings}).build()


def clips(num_videos: int = 2, num_views: int = 1, num_frames: int = 4, side: int = 32) -> torch.Tensor:
    shape = (num_videos, num_views, 3, num_frames, side, side)
    return torch.randint(256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def test_every_view_gets_a_row_of_logits() -> None:
    assert small()(clips(num_views=3)).shape == (2, 3, 5)


def test_time_is_kept_and_space_is_strided() -> None:
    features = Tiny3DConfig(num_classes=8).build().forward_features(torch.rand(2, 3, 8, 56, 56))
    assert features.shape == (2, 64, 8, 4, 4)


@pytest.mark.parametrize(("num_frames", "side"), [(1, 32), (2, 9), (7, 61)])
def test_clips_of_any_length_and_size(num_frames: int, side: int) -> None:
    logits = small().eval()(clips(num_frames=num_frames, side=side))
    assert logits.isfinite().all()


def test_number_of_parameters() -> None:
    parameters = Tiny3DConfig(num_classes=8).build().parameters()
    assert sum(parameter.numel() for parameter in parameters) == 146_136


@pytest.mark.parametrize("norm", ["batch", "group"])
def test_every_parameter_gets_a_gradient(norm: str) -> None:
    model = small(norm=norm)
    torch.nn.functional.cross_entropy(model(clips())[:, 0], torch.tensor([1, 3])).backward()

    without = [name for name, value in model.named_parameters() if value.grad is None or not value.grad.any()]
    assert without == []


def test_order_of_frames_matters() -> None:
    model = small().eval()
    video = clips()
    assert not torch.allclose(model(video), model(video.flip(3)), atol=1e-3)


def test_group_norm_scores_a_video_alike_in_any_batch() -> None:
    model = small(norm="group")
    videos = clips(num_videos=3)
    torch.testing.assert_close(model(videos)[1:2], model(videos[1:2]))


def test_motion_is_emphasised_and_stillness_dimmed() -> None:
    ramp = torch.tensor([5.0, 7.0, 7.0]).view(1, 1, 3, 1, 1)
    expected = torch.tensor([5 * STILL_SHARE, 2 + 5 * STILL_SHARE, 7 * STILL_SHARE]).view(1, 1, 3, 1, 1)
    torch.testing.assert_close(emphasise_motion(ramp), expected)


def test_dropout_acts_in_training_only() -> None:
    model = small(dropout=0.5, norm="group")
    video = clips()
    assert not torch.equal(model(video), model(video))
    model.eval()
    torch.testing.assert_close(model(video), model(video))


def test_head_depends_on_the_classes_alone() -> None:
    head = {f"classifier.{name}" for name, _ in small().head().named_parameters()}
    shapes = [{name: value.shape for name, value in small(num_classes=k).named_parameters()} for k in (5, 6)]
    assert {name for name in shapes[0] if shapes[0][name] != shapes[1][name]} == head


@pytest.mark.parametrize("settings", [{"widths": [16]}, {"widths": [16, 20]}, {"norm": "layer"}, {"dropout": 1.0}])
def test_settings_that_cannot_be(settings: dict[str, object]) -> None:
    with pytest.raises(ValidationError, match=next(iter(settings))):
        small(**settings)
