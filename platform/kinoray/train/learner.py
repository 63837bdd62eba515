"""What learns: the network, its optimizer, and one step of both."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from itertools import pairwise
from textwrap import shorten
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from kinoray.data.labels import LabelSets, multi_hot
from kinoray.errors import CheckpointError
from kinoray.losses import LossConfig, one_hot
from kinoray.models.base import Recognizer
from kinoray.models.weights import warm_start
from kinoray.recipe import Recipe, TrainingConfig
from kinoray.train.batch import Batch
from kinoray.train.checkpoint import Checkpoint, read_weights
from kinoray.train.sharding import gathered, shard_state, unsharded, whole
from kinoray.train.sheet import Sheet
from kinoray.train.world import World
from kinoray.train.wrapping import check_device, check_workers, gradients_joined, prepare, wrap
from kinoray.transforms.augment import apply_augmentations
from kinoray.transforms.kinds import AugmentationConfig
from kinoray.transforms.mix import mix
from kinoray.video.files import without_passwords

PRECISIONS = {"bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class Learner:
    """What a training step changes and needs.

    Attributes:
        net: the recognizer, unwrapped.
        model: what forward is called on: the same, or DDP around it.
        scaler: keeps the gradients of fp16 from vanishing; does nothing for other precisions.
        average: the moving average of the weights, None where the recipe wants none.
        augment: what is done to the pixels of a batch.
        label_sets: of the training manifest, where its videos have several labels.
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
    label_sets: LabelSets | None = None

    @property
    def result(self) -> Recognizer:
        """The recognizer that is evaluated and kept: the averaged one if there is one."""
        return self.net if self.average is None else cast(Recognizer, self.average.module)

    def autocast(self) -> torch.autocast | nullcontext[None]:
        """The precision of forward and loss."""
        if (dtype := PRECISIONS.get(self.training.precision)) is not None:
            return torch.autocast(self.world.device.type, dtype=dtype)
        return nullcontext()

    def targets(self, part: Batch, labels: Tensor) -> Tensor:
        """What the loss takes: ``(N,)`` int64 labels as they are or, of videos with several, ``(N, K)`` of 0 and 1.

        Args:
            part: of a batch.
            labels: ``(N,)`` of its videos that are kept, on the device.
        """
        if self.label_sets is None:
            return labels
        # From the batch's own labels: asking a GPU for them would wait for all that it has to do.
        shares = multi_hot(self.label_sets, part.labels[part.kept].tolist(), self.net.num_classes)
        return torch.from_numpy(shares).to(self.world.device, non_blocking=True).float()

    def follow_gradients(self) -> Tensor:
        """Clip them, change the weights, and average these.

        Returns:
            ``()`` the gradient's norm before clipping. With fp16, a step whose gradients overflow is left out and the
            scaler lowers its scale; the norm is 0 then.
        """
        self.scaler.unscale_(self.optimizer)
        largest = self.training.clip_grad_norm or float("inf")
        norm = whole(nn.utils.clip_grad_norm_(self.net.parameters(), largest).detach())
        self.scaler.step(self.optimizer)
        self.scaler.update()
        if self.average is not None:
            self.average.update_parameters(self.net)
        return torch.where(norm.isfinite(), norm, 0.0) if self.scaler.is_enabled() else norm

    def whole_result(self) -> AbstractContextManager[None]:
        """``result`` may be called inside by one worker more often than by others."""
        return unsharded(self.result)

    def weights(self) -> dict[str, Tensor]:
        """State dict of ``result``. All workers have to ask; where it is sharded, only the first gets an answer."""
        weights: dict[str, Tensor] = gathered(dict(self.result.state_dict()), keep=self.world.is_first)
        return weights

    def statistics(self) -> list[dict[str, Tensor]]:
        """Each worker's running statistics, by rank, which differ within an epoch; all have to ask, the first gets it.

        What ``state_dict`` leaves out is left out here.
        """
        kept = self.net.state_dict().keys()
        own = {
            name: buffer.cpu()
            for name, buffer in self.net.named_buffers()
            if buffer.is_floating_point() and name in kept
        }
        return self.world.gather(own)

    def state(self) -> dict[str, Any]:
        """What a checkpoint must hold besides ``weights``, so that training goes on as if it had never stopped."""
        state: dict[str, Any] = {
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            "trained": _trained(self.net),
        }
        if self.average is not None:
            state["model"] = dict(self.net.state_dict())
            state["num_averaged"] = self.average.n_averaged
        whole_state: dict[str, Any] = gathered(state, keep=self.world.is_first)
        return whole_state

    def restore(self, checkpoint: Checkpoint, recipe: Recipe) -> None:
        """Take up what the optimizer remembers; what the recipe sets stays as the recipe sets it.

        Raises:
            CheckpointError: it belongs to another optimizer, or other parameters were trained.
        """
        state, trained = checkpoint.training_state(), _trained(self.net)
        # By number and shape alone, what is remembered of one could pass for what is remembered of another.
        if others := sorted(set(state.get("trained", trained)) ^ set(trained)):
            raise CheckpointError(
                f"{checkpoint.folder}: {shorten(', '.join(others), 200, placeholder=' ...')}: trained then and frozen "
                "now, or the other way round; keep training.freeze of the checkpoint's recipe, or start anew with "
                "training.init_from"
            )
        checkpoint.restore_optimizer(self.optimizer, state["optimizer"], self.net, recipe)
        shard_state(self.optimizer)
        if self.scaler.is_enabled() and state.get("scaler"):
            self.scaler.load_state_dict(state["scaler"])


def train_step(learner: Learner, batch: Batch, sheet: Sheet | None = None) -> tuple[Tensor, Tensor]:
    """One optimizer step on a global batch, of which ``batch`` is this worker's share.

    The loss is the mean over the readable videos of the global batch, however they are dealt to workers and cut into
    micro-batches. Where none of them is readable nothing changes. A sheet takes what goes into the model.

    Returns:
        ``(2,)`` float64, this worker's sum of losses and number of videos; and ``()`` the gradient's norm.
    """
    world = learner.world
    num_good = torch.tensor(float(batch.num_good), device=world.device)
    num_videos = world.sum(num_good.clone())
    learner.optimizer.zero_grad(set_to_none=True)
    loss_sum = torch.zeros((), device=world.device)
    parts = parts_of(batch, learner.training.micro_batches)
    for part in parts:
        # The blank clips of a part without readable videos must not enter the running statistics.
        kept = nullcontext() if part.num_good else buffers_kept(learner.net)
        with kept, gradients_joined(learner.model, join=part is parts[-1]):
            part_sum = _loss_sum(learner, part, sheet)
            # DDP averages gradients over workers; times their number it sums them.
            torch.autograd.backward(learner.scaler.scale(part_sum * world.size / num_videos.clamp(min=1)))
        loss_sum += part_sum.detach()
    grad_norm = learner.follow_gradients() if batch.num_good or num_videos else torch.zeros_like(loss_sum)
    return torch.stack([loss_sum, num_good]).double(), grad_norm


def start_learner(
    recipe: Recipe, world: World, *, checkpoint: Checkpoint | None = None, label_sets: LabelSets | None = None
) -> Learner:
    """Weights and optimizer: of a checkpoint to go on from, else of ``init_from``, else fresh.

    Raises:
        CheckpointError: it belongs to another model or optimizer.
    """
    training = recipe.training
    check_workers(training, num_workers=world.size, on_gpu=world.device.type == "cuda")
    check_device(training, world.device)
    init_from = training.init_from
    is_fresh = checkpoint is None and init_from is None
    torch.manual_seed(recipe.seed)
    net = (recipe.model if is_fresh else recipe.model.without_pretrained()).build().to(world.device)
    if checkpoint is None and init_from is not None:
        where = f"training.init_from: {without_passwords(init_from)}"
        net.weights_report = warm_start(net, read_weights(init_from), where=where)
    prepare(net, training, world)
    average = None
    if training.ema_decay is not None:
        average = AveragedModel(net, multi_avg_fn=get_ema_multi_avg_fn(training.ema_decay))
    if checkpoint is not None:
        _restore_weights(net, average, checkpoint, world)
    model = wrap(net, None if average is None else cast(Recognizer, average.module), training, world)
    optimizer = recipe.optimizer.build(net)
    scaler = torch.amp.GradScaler(world.device.type, enabled=training.precision == "fp16")
    augment = recipe.data.train.augment
    learner = Learner(net, model, optimizer, recipe.loss, training, world, scaler, average, augment, label_sets)
    if checkpoint is not None:
        learner.restore(checkpoint, recipe)
    return learner


def _restore_weights(net: Recognizer, average: AveragedModel | None, checkpoint: Checkpoint, world: World) -> None:
    """Where the average is new, or no longer wanted, it starts from the checkpoint's result.

    Raises:
        CheckpointError: they belong to another model.
    """
    state = checkpoint.training_state()
    if average is None:
        checkpoint.restore_model(net)
    else:
        checkpoint.restore_model(average.module)
        net.load_state_dict(state.get("model", average.module.state_dict()))
        if "num_averaged" in state:
            average.n_averaged.copy_(state["num_averaged"])
    statistics = state.get("statistics", ())
    if len(statistics) == world.size:  # of another number of workers each goes on from the mean, which has been loaded
        net.load_state_dict(statistics[world.rank], strict=False)


def mean_statistics(statistics: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    """The mean over workers of what each knows by the same name."""
    return {
        # In float64, as World.average_buffers does.
        name: torch.stack([of_one[name].double() for of_one in statistics]).mean(0).to(first.dtype)
        for name, first in statistics[0].items()
    }


def _trained(net: nn.Module) -> list[str]:
    return [name for name, parameter in net.named_parameters() if parameter.requires_grad]


@contextmanager
def buffers_kept(net: nn.Module) -> Iterator[None]:
    """What is computed inside leaves no trace in running statistics."""
    kept = [(buffer, buffer.clone()) for buffer in net.buffers()]
    try:
        yield
    finally:
        for buffer, value in kept:
            buffer.copy_(value)


def parts_of(batch: Batch, num_parts: int) -> list[Batch]:
    """A batch cut into at most so many parts of nearly equal size, none of them empty."""
    bounds = [len(batch.errors) * number // num_parts for number in range(num_parts + 1)]
    slices = [slice(start, stop) for start, stop in pairwise(bounds) if stop > start]
    return [batch.cut(part) for part in slices] if len(slices) > 1 else [batch]


def training_clips(learner: Learner, part: Batch) -> tuple[Tensor, Tensor, Tensor]:
    """Clips of a micro-batch as the model gets them in training, and what the loss takes: targets and weights.

    Returns:
        ``(N, M, C, T, H, W)`` in grey levels; ``(N,)`` int64 or ``(N, K)`` shares; ``(N,)`` float32.
    """
    clips, labels, weights = part.on(learner.world.device)
    targets = learner.targets(part, labels)
    seeds = part.clip_seeds[part.kept]
    clips = apply_augmentations(learner.augment, clips, seeds)
    if (how := learner.training.mix) is not None:
        shares = one_hot(targets, learner.net.num_classes)
        clips, targets = mix(how, clips, shares, seeds, part.positions[part.kept])
    return clips, targets, weights


def _loss_sum(learner: Learner, part: Batch, sheet: Sheet | None) -> Tensor:
    """``()`` float32: the sum over a micro-batch of each readable video's loss, the mean of its views'.

    Of a model with auxiliary heads it is the sum of all heads' losses, weighed as the model says.
    """
    clips, targets, weights = training_clips(learner, part)
    if sheet is not None:
        sheet.add(clips, targets)
    with learner.autocast():
        logits = learner.model(clips).flatten(1, -2)
        losses = learner.loss.per_sample(logits.flatten(0, 1), targets.repeat_interleave(logits.shape[1], dim=0))
    heads = learner.net.loss_weights
    sums = (losses.view(len(logits), -1, len(heads)).mean(1) * weights[:, None]).sum(0)
    return torch.stack([weight * of_head for weight, of_head in zip(heads, sums, strict=True)]).sum()
