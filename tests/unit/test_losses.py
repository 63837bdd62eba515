import math

import pytest
import torch
from pydantic import TypeAdapter, ValidationError

from kinoray.losses import AnyLoss, CrossEntropyConfig

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
