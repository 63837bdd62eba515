"""What learns: the network, its optimizer, and one step of both."""

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim import Optimizer
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from kinoray.losses import LossConfig, one_hot
from kinoray.models.base import Recognizer
from kinoray.models.weights import load_weights
from kinoray.recipe import Recipe, TrainingConfig
from kinoray.train.batch import Batch
from kinoray.train.checkpoint import Checkpoint, Progress, Store, open_checkpoint, read_weights
from kinoray.train.world import World
from kinoray.transforms.augment import apply_augmentations
from kinoray.transforms.kinds import AugmentationConfig
from kinoray.transforms.mix import mix

PRECISIONS = {"bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class Learner:
    """What a training step changes and needs.

    Attributes:
        net: the recognizer, unwrapped.
        model: the same, wrapped for DDP where there are several workers.
        scaler: keeps the gradients of fp16 from vanishing; does nothing for other precisions.
        average: the moving average of the weights, None where the recipe wants none.
        augment: what is done to the pixels of a batch.
    """

    net: Recognizer
    model: nn.Module
    optimizer: Optimizer
    loss: LossConfig
    training: TrainingConfig
    world: World
    scaler: torch.amp.GradScaler
    average: AveragedModel | None = None
    augment: tuple[AugmentationConfig, ...] = ()

    @property
    def result(self) -> Recognizer:
        """The recognizer that is evaluated and kept: the averaged one if there is one."""
        return self.net if self.average is None else cast(Recognizer, self.average.module)

    def autocast(self) -> torch.autocast | nullcontext[None]:
        """The precision of forward and loss."""
        if (dtype := PRECISIONS.get(self.training.precision)) is not None:
            return torch.autocast(self.world.device.type, dtype=dtype)
        return nullcontext()

    def follow_gradients(self) -> Tensor:
        """Clip them, change the weights, and average these.

        Returns:
            ``()`` the gradient's norm before clipping. With fp16, a step whose gradients overflow is left out and the
            scaler lowers its scale; the norm is 0 then.
        """
        self.scaler.unscale_(self.optimizer)
        norm = nn.utils.clip_grad_norm_(self.net.parameters(), self.training.clip_grad_norm or float("inf")).detach()
        self.scaler.step(self.optimizer)
        self.scaler.update()
        if self.average is not None:
            self.average.update_parameters(self.net)
        return torch.where(norm.isfinite(), norm, 0.0) if self.scaler.is_enabled() else norm

    def state(self) -> dict[str, Any]:
        """What a checkpoint must hold besides ``result``, so that training goes on as if it had never stopped."""
        state: dict[str, Any] = {"optimizer": self.optimizer.state_dict(), "scaler": self.scaler.state_dict()}
        if self.average is not None:
            state["model"] = self.net.state_dict()
            state["num_averaged"] = self.average.n_averaged
        return state

    def restore(self, checkpoint: Checkpoint, recipe: Recipe) -> None:
        """Take up weights and state; what the recipe sets stays as the recipe sets it.

        Where the average is new, or no longer wanted, it starts from the checkpoint's result.

        Raises:
            CheckpointError: they belong to another model or optimizer.
        """
        state = checkpoint.training_state()
        checkpoint.restore_model(self.result)
        if self.average is not None:
            self.net.load_state_dict(state.get("model", self.result.state_dict()))
            if "num_averaged" in state:
                self.average.n_averaged.copy_(state["num_averaged"])
        checkpoint.restore_optimizer(self.optimizer, state["optimizer"], self.net, recipe)
        if self.scaler.is_enabled() and state.get("scaler"):
            self.scaler.load_state_dict(state["scaler"])


def train_step(learner: Learner, batch: Batch) -> tuple[Tensor, Tensor]:
    """One optimizer step on a global batch, of which ``batch`` is this worker's share.

    The loss is the mean over the readable videos of the global batch, however they are dealt to workers and cut into
    micro-batches. Where none of them is readable nothing changes.

    Returns:
        ``(2,)`` float64, this worker's sum of losses and number of videos; and ``()`` the gradient's norm.
    """
    world = learner.world
    num_good = torch.tensor(float(batch.num_good), device=world.device)
    num_videos = world.sum(num_good.clone())
    learner.optimizer.zero_grad(set_to_none=True)
    loss_sum = torch.zeros((), device=world.device)
    parts = _parts(batch, learner.training.micro_batches)
    for part in parts:
        # The blank clips of a part without readable videos must not enter the running statistics.
        kept = [] if part.num_good else [(buffer, buffer.clone()) for buffer in learner.net.buffers()]
        with _gradients_joined(learner.model, join=part is parts[-1]):
            part_sum = _loss_sum(learner, part)
            # DDP averages gradients over workers; times their number it sums them.
            torch.autograd.backward(learner.scaler.scale(part_sum * world.size / num_videos.clamp(min=1)))
        loss_sum += part_sum.detach()
        for buffer, value in kept:
            buffer.copy_(value)
    grad_norm = learner.follow_gradients() if batch.num_good or num_videos else torch.zeros_like(loss_sum)
    return torch.stack([loss_sum, num_good]).double(), grad_norm


def start_learner(recipe: Recipe, store: Store, world: World) -> tuple[Learner, Progress]:
    """Weights, optimizer and counters: of the newest checkpoint, else of ``init_from``, else fresh."""
    training = recipe.training
    folder, init_from = store.latest(), training.init_from
    is_fresh = folder is None and init_from is None
    torch.manual_seed(recipe.seed)
    net = (recipe.model if is_fresh else recipe.model.without_pretrained()).build().to(world.device)
    if folder is None and init_from is not None:
        load_weights(net, read_weights(init_from), where=f"training.init_from: {init_from}")
    optimizer = recipe.optimizer.build(net)
    scaler = torch.amp.GradScaler(world.device.type, enabled=training.precision == "fp16")
    average = None
    if training.ema_decay is not None:
        average = AveragedModel(net, multi_avg_fn=get_ema_multi_avg_fn(training.ema_decay))  # type: ignore[no-untyped-call]
    # Without broadcasting, every worker's running statistics are of its own videos until they are averaged.
    model = DistributedDataParallel(net, broadcast_buffers=False) if world.size > 1 else net
    learner = Learner(net, model, optimizer, recipe.loss, training, world, scaler, average, recipe.data.train.augment)
    if folder is None:
        return learner, Progress(epoch=-1, step=0)
    checkpoint = open_checkpoint(folder)
    learner.restore(checkpoint, recipe)
    return learner, checkpoint.progress


def _parts(batch: Batch, num_parts: int) -> list[Batch]:
    """A batch cut into at most so many parts of nearly equal size, none of them empty."""
    bounds = [len(batch.errors) * number // num_parts for number in range(num_parts + 1)]
    slices = [slice(start, stop) for start, stop in pairwise(bounds) if stop > start]
    return [batch.cut(part) for part in slices] if len(slices) > 1 else [batch]


def _loss_sum(learner: Learner, part: Batch) -> Tensor:
    """``()`` float32: the sum over a micro-batch of each readable video's loss, the mean of its views'."""
    clips, targets, weights = part.on(learner.world.device)
    seeds = part.clip_seeds[part.kept]
    clips = apply_augmentations(learner.augment, clips, seeds)
    if (how := learner.training.mix) is not None:
        shares = one_hot(targets, learner.net.num_classes)
        clips, targets = mix(how, clips, shares, seeds, part.positions[part.kept])
    with learner.autocast():
        logits = learner.model(clips)
        num_views = logits.shape[1]
        losses = learner.loss.per_sample(logits.flatten(0, 1), targets.repeat_interleave(num_views, dim=0))
    return (losses.view(-1, num_views).mean(1) * weights).sum()


def _gradients_joined(model: nn.Module, *, join: bool) -> AbstractContextManager[None]:
    """Workers exchange gradients once a step, with the last micro-batch."""
    return model.no_sync() if isinstance(model, DistributedDataParallel) and not join else nullcontext()
