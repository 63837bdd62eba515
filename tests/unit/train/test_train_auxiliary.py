"""Auxiliary heads: scored in training alone, each with a weight of its own in the loss."""

from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy
from torch.optim.swa_utils import AveragedModel
from toy_training import ToyNet, batch_of

from kinoray.losses import BinaryCrossEntropyConfig, CrossEntropyConfig
from kinoray.recipe import TrainingConfig
from kinoray.train.learner import Learner, train_step
from kinoray.train.world import World
from kinoray.train.wrapping import wrap
from kinoray.transforms.kinds import MixConfig
from kinoray.transforms.mix import mix

WEIGHTS = (1.0, 0.5, 0.25)


class ManyHeads(ToyNet):
    def __init__(self) -> None:
        super().__init__(num_classes=3, norm="group", dropout=0.0)
        self.others = nn.ModuleList(nn.Linear(16, 3) for _ in range(2))
        self.loss_weights = WEIGHTS

    def forward_head(self, features: Tensor) -> Tensor:
        heads = [self.fc, *self.others] if self.training else [self.fc]
        scores = [head(features) for head in heads]
        return torch.stack(scores, dim=1) if self.training else scores[0]


def learner_of(**training: object) -> Learner:
    torch.manual_seed(0)
    net = ManyHeads().train()
    settings = TrainingConfig.model_validate({"epochs": 1, **training})
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    scaler = torch.amp.GradScaler("cpu", enabled=False)
    return Learner(net, net, optimizer, CrossEntropyConfig(), settings, World(), scaler)


def weighed(net: nn.Module, clips: Tensor, loss: Callable[[Tensor], Tensor]) -> Tensor:
    """``loss`` takes the logits ``(N, K)`` of one head for one view; the mean over views, the sum over heads."""
    logits = net(clips)
    of_heads = [torch.stack([loss(view) for view in logits[:, :, head].unbind(1)]).mean() for head in range(3)]
    return sum(weight * value for weight, value in zip(WEIGHTS, of_heads, strict=True))


@pytest.mark.parametrize(("num_views", "micro_batches"), [(1, 1), (3, 1), (2, 2)])
def test_the_loss_is_the_weighed_sum_over_heads(num_views: int, micro_batches: int) -> None:
    ours, plain = learner_of(micro_batches=micro_batches), learner_of()
    batch = batch_of(6, num_views=num_views)
    totals, _ = train_step(ours, batch)
    loss = weighed(plain.net, batch.clips.permute(0, 1, 5, 2, 3, 4), lambda view: cross_entropy(view, batch.labels))
    loss.backward()
    plain.optimizer.step()

    assert (totals[0] / totals[1]).item() == pytest.approx(loss.item(), rel=1e-5)
    for (name, value), expected in zip(ours.net.named_parameters(), plain.net.parameters(), strict=True):
        torch.testing.assert_close(value, expected, rtol=1e-4, atol=1e-6, msg=lambda text, name=name: f"{name} {text}")


def test_every_head_learns_shares_of_labels() -> None:
    how = MixConfig(mixup=0.8)
    learner = replace(learner_of(mix=how.model_dump()), loss=BinaryCrossEntropyConfig())
    net, batch = learner_of().net, batch_of(6)
    totals, _ = train_step(learner, batch)
    clips, labels, _ = batch.on(torch.device("cpu"))
    shares = nn.functional.one_hot(labels, 3).float()
    clips, shares = mix(how, clips.float(), shares, batch.clip_seeds, batch.positions)
    loss = weighed(net, clips, lambda view: binary_cross_entropy_with_logits(view, shares))
    assert (totals[0] / totals[1]).item() == pytest.approx(loss.item(), rel=1e-5)


def test_bad_videos_weigh_nothing_in_any_head() -> None:
    ours, plain = learner_of(), learner_of()
    batch, good = batch_of(6, bad=[0, 4]), [1, 2, 3, 5]
    totals, _ = train_step(ours, batch)
    clips = batch.clips[good].permute(0, 1, 5, 2, 3, 4)
    loss = weighed(plain.net, clips, lambda view: cross_entropy(view, batch.labels[good]))
    assert totals.tolist() == pytest.approx([4 * loss.item(), 4], rel=1e-5)


def test_evaluation_knows_one_head() -> None:
    learner = learner_of()
    averaged = replace(learner, average=AveragedModel(learner.net))
    train_step(averaged, batch_of(4))
    clips = batch_of(4, num_views=2).clips.permute(0, 1, 5, 2, 3, 4)
    with torch.inference_mode():
        assert averaged.result.eval()(clips).shape == (4, 2, 3)
        assert learner.net.train()(clips).shape == (4, 2, 3, 3)


@pytest.fixture
def process_group() -> Iterator[None]:
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    yield
    dist.destroy_process_group()


def test_ddp_finds_all_heads_in_use(process_group: None) -> None:
    learner, plain = learner_of(micro_batches=2), learner_of(micro_batches=2)
    model = wrap(learner.net, None, learner.training, World(size=2))
    assert model is not learner.net
    learner = replace(learner, model=model)
    for seed in range(2):  # with a head left out, DDP would wait for it in the second step
        batch = batch_of(6, seed=seed)
        assert train_step(learner, batch)[0].tolist() == pytest.approx(train_step(plain, batch)[0].tolist(), rel=1e-5)
