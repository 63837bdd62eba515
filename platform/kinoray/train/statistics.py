"""Running statistics of batch norms, measured anew by weights that stand still.

In training they trail behind the weights and are of the last few batches; those of an average of weights are of other
weights. Here they are those of all values of a number of batches, in the precision that evaluation computes in.

Source: arXiv 2105.07576, section 3.
"""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from kinoray.train.batch import Batch
from kinoray.train.learner import Learner, buffers_kept, parts_of, training_clips


class _Moments:
    """What a batch norm of D channels has seen: ``(1 + 2 D,)`` number of values, their sums, the sums of squares."""

    def __init__(self, norm: _BatchNorm, device: torch.device) -> None:
        self.norm = norm
        self.sums = torch.zeros(1 + 2 * norm.num_features, dtype=torch.float64, device=device)
        self.latest = torch.zeros_like(self.sums)

    def see(self, norm: nn.Module, inputs: tuple[Any, ...]) -> None:
        """Hook: take note of what goes into the norm, ``(B, D, ...)``."""
        del norm
        values: Tensor = inputs[0]
        others = [dim for dim in range(values.ndim) if dim != 1]
        variance, mean = (x.double() for x in torch.var_mean(values.float(), others, correction=0))
        count = mean.new_tensor([values.numel() // values.shape[1]])
        self.latest += torch.cat([count, count * mean, count * (variance + mean**2)])

    def settle(self, *, counts: bool) -> None:
        """Count what came since the last call, or forget it."""
        if counts:
            self.sums += self.latest
        self.latest.zero_()

    def write(self) -> None:
        """Give the norm its statistics, with torch's own unbiased variance; none where nothing came."""
        count, (total, squares) = self.sums[0], self.sums[1:].chunk(2)
        if count > 1 and self.norm.running_mean is not None and self.norm.running_var is not None:
            mean = total / count
            self.norm.running_mean.copy_(mean)
            self.norm.running_var.copy_((squares / count - mean**2) * count / (count - 1))


@torch.no_grad()
def renew_statistics(learner: Learner, batches: Iterable[Batch]) -> None:
    """Measure the statistics of the batch norms that are evaluated, on batches of training by all workers.

    Clips are augmented and mixed as in training. Norms that are frozen keep their statistics.
    """
    net = learner.result
    net.train()
    norms = [module for module in net.modules() if isinstance(module, _BatchNorm) and module.training]
    seen = [_Moments(norm, learner.world.device) for norm in norms if norm.track_running_stats]
    if not seen:
        return
    hooks = [moments.norm.register_forward_pre_hook(moments.see) for moments in seen]
    try:
        # Blank clips would stay in what a norm that saw no others has.
        with buffers_kept(net), torch.compiler.set_stance("force_eager"):
            for batch in batches:
                for part in parts_of(batch, learner.training.micro_batches):
                    net(training_clips(learner, part)[0])
                    for moments in seen:
                        moments.settle(counts=part.num_good > 0)
    finally:
        for hook in hooks:
            hook.remove()
    # One exchange for all of them.
    sums = learner.world.sum(torch.cat([moments.sums for moments in seen]))
    for moments, total in zip(seen, torch.split(sums, [len(moments.sums) for moments in seen]), strict=True):
        moments.sums = total
        moments.write()
