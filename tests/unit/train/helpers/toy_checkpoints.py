"""Two checkpoints side by side."""

from pathlib import Path

import torch

from kinoray.train.checkpoint import open_checkpoint


def same(one: Path, other: Path) -> None:
    """Weights, running statistics and momentum are bit-equal."""
    first, second = open_checkpoint(one), open_checkpoint(other)
    assert first.progress == second.progress
    assert first.metrics == second.metrics
    pairs = [(first.weights(), second.weights())]
    states = [opened.training_state()["optimizer"]["state"] for opened in (first, second)]
    pairs += [tuple(opened.training_state().get("model", {"": torch.zeros(())}) for opened in (first, second))]
    pairs += [(states[0][key], states[1][key]) for key in states[0]]
    assert states[0].keys() == states[1].keys()
    assert states[0]
    for left, right in pairs:
        assert left.keys() == right.keys()
        assert all(torch.equal(left[name], right[name]) for name in left)
