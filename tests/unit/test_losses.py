import math

import pytest
import torch
from pydantic import TypeAdapter, ValidationError

from kinoray.errors import ConfigError
from kinoray.losses import AnyLoss, BinaryCrossEntropyConfig, CrossEntropyConfig, FocalConfig

LOGITS = torch.tensor([[2.0, 0.0, -1.0], [0.5, 0.5, 0.5]])
LABELS = torch.tensor([0, 2])


def by_hand(logits, target):
    norm = math.log(sum(math.exp(logit) for logit in logits))
    return sum(share * (norm - logit) for share, logit in zip(target, logits, strict=True))


def test_cross_entropy_is_per_sample():
    losses = CrossEntropyConfig().per_sample(LOGITS, LABELS)
    assert losses.shape == (2,)
    assert losses.tolist() == pytest.approx([by_hand([2, 0, -1], [1, 0, 0]), math.log(3)], rel=1e-6)


def test_label_smoothing_spreads_some_over_all_classes():
    losses = CrossEntropyConfig(label_smoothing=0.3).per_sample(LOGITS, LABELS)
    assert losses[0].item() == pytest.approx(by_hand([2, 0, -1], [0.8, 0.1, 0.1]), rel=1e-6)


def test_half_precision_is_widened():
    logits = torch.tensor([[20.0, 0.0]], dtype=torch.bfloat16)
    loss = CrossEntropyConfig().per_sample(logits, torch.tensor([1]))
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(20.0)


def test_cross_entropy_is_meant_where_no_kind_is_named():
    assert TypeAdapter(AnyLoss).validate_python({"label_smoothing": 0.1}) == CrossEntropyConfig(label_smoothing=0.1)
    with pytest.raises(ValidationError, match="less than 1"):
        TypeAdapter(AnyLoss).validate_python({"label_smoothing": 1})


SHARES = torch.tensor([[0.7, 0.3, 0.0], [0.0, 0.0, 1.0]])


def test_cross_entropy_takes_shares_of_classes():
    losses = CrossEntropyConfig().per_sample(LOGITS, SHARES)
    assert losses.tolist() == pytest.approx([by_hand([2, 0, -1], [0.7, 0.3, 0]), math.log(3)], rel=1e-6)


def test_class_weights_multiply_a_videos_loss():
    plain = CrossEntropyConfig().per_sample(LOGITS, LABELS)
    weighted = CrossEntropyConfig(class_weights=(2.0, 1.0, 0.5)).per_sample(LOGITS, LABELS)
    assert torch.allclose(weighted, plain * torch.tensor([2.0, 0.5]))
    with pytest.raises(ConfigError, match=r"loss\.class_weights: 2 numbers, model\.num_classes is 3"):
        CrossEntropyConfig(class_weights=(1.0, 1.0)).per_sample(LOGITS, LABELS)


def test_binary_cross_entropy_asks_every_class():
    def yes(logit):
        return -math.log(1 / (1 + math.exp(-logit)))

    losses = BinaryCrossEntropyConfig().per_sample(LOGITS, torch.tensor([[1.0, 1.0, 0.0], [0.0, 0.0, 0.0]]))
    assert losses.tolist() == pytest.approx([(yes(2) + yes(0) + yes(1)) / 3, yes(-0.5)], rel=1e-6)
    labels = BinaryCrossEntropyConfig(label_smoothing=0.2, positive_weights=(3.0, 1.0, 1.0)).per_sample(LOGITS, LABELS)
    expected = (3 * 0.9 * yes(2) + 0.1 * yes(-2) + 0.1 * yes(0) + 0.9 * yes(0) + 0.1 * yes(-1) + 0.9 * yes(1)) / 3
    assert labels[0].item() == pytest.approx(expected, rel=1e-6)


def test_focal_counts_the_certain_less():
    plain = CrossEntropyConfig().per_sample(LOGITS, SHARES)
    assert torch.allclose(FocalConfig(gamma=0).per_sample(LOGITS, SHARES), plain)
    certain = FocalConfig(gamma=2).per_sample(LOGITS, LABELS)
    probability = LOGITS.softmax(1)[[0, 1], [0, 2]]
    assert torch.allclose(certain, (1 - probability) ** 2 * CrossEntropyConfig().per_sample(LOGITS, LABELS))


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
def test_focal_has_a_gradient_where_nothing_is_in_doubt(gamma):
    logits = torch.tensor([[200.0, 0.0, 0.0], [200.0, 0.0, 0.0]], requires_grad=True)
    losses = FocalConfig(gamma=gamma).per_sample(logits, torch.tensor([0, 1]))
    assert losses.tolist() == pytest.approx([0.0, 200.0], abs=1e-4)
    losses.sum().backward()
    assert logits.grad[0].abs().max() < 1e-6
    assert logits.grad[1].tolist() == pytest.approx([1.0, -1.0, 0.0], abs=1e-4)
