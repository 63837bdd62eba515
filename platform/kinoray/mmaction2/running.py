"""What MMAction2's configs say of a training beside optimizer and rates -> ``training``, ``evaluation``, ``loss``, ...

Source: MMAction2 1.2.0 and the hooks and loops of MMEngine 0.10.
"""

from collections.abc import Mapping
from typing import Any

from kinoray.errors import ConfigError
from kinoray.mmaction2.draft import Draft, demand
from kinoray.mmaction2.part import Part

_METRICS = {"acc/top1": "top1", "acc/top5": "top5", "acc/mean1": "mean_class_accuracy", "auto": "top1"}
_METRICS |= {"acc/mean_average_precision": "mean_average_precision", "top1": "top1", "top1_acc": "top1"}
"""MMAction2's names of figures -> ours."""
_MEASURED = frozenset(
    ("top_k_accuracy", "mean_class_accuracy", "mean_average_precision", "mmit_mean_average_precision")
)
_HOOKS = {
    "runtime_info": "what is under way is told by events",
    "timer": "speed is always measured",
    "param_scheduler": "schedules are part of every step",
    "sampler_seed": "the plan of an epoch follows from the seed",
    "sync_buffers": "running statistics are averaged over workers before each evaluation",
}
_TOP = {
    "default_scope": "names are looked up in MMAction2's own",
    "file_client_args": "a path or URI says where files are",
    "env_cfg": "a site says where it runs",
    "launcher": "a site says where it runs",
    "log_processor": "what is logged is in docs/tracking.md",
    "log_level": "what is logged is in docs/tracking.md",
    "visualizer": "MLflow shows it",
    "vis_backends": "MLflow shows it",
    "work_dir": "a site names the place of runs",
    "val_cfg": "evaluation is always the same",
    "test_cfg": "evaluation is always the same",
    "custom_imports": "nothing is imported; a type of your own has no translation",
    "find_unused_parameters": "all parameters of the models here take part",
    "model_wrapper_cfg": "a site says how many workers there are",
    "runner_type": "there is one loop",
}


def put_running(draft: Draft, whole: Part, passes: int) -> None:
    """Translate loops, hooks, evaluators and the rest of the top; problems are kept in the draft.

    Args:
        draft: what takes them.
        whole: the config.
        passes: over the videos in what the config calls an epoch.
    """
    _put_loop(draft, whole, passes)
    _put_hooks(draft, whole)
    for split in ("val", "test"):
        _check_evaluators(draft, whole, split)
    put_head(draft)
    _put_mix(draft)
    with draft.collecting("seed"):
        _put_seed(draft, whole)
    with draft.collecting("training.compile"):
        _put_compile(draft, whole)
    with draft.collecting("training.init_from"):
        if whole.take("load_from"):
            draft.put("training.init_from", whole.values["load_from"], whole, "load_from")
        demand(whole, "resume", False, None, why="as a run is continued with jobs/train.py --resume RUN")
    for key, why in _TOP.items():
        draft.ignore(whole, why, key)


def _put_loop(draft: Draft, whole: Part, passes: int) -> None:
    with draft.collecting("training.epochs"):
        loop = whole.part("train_cfg")
        if loop is None:
            if "train_dataloader" in whole:
                raise ConfigError(f"{whole.where()}: train_cfg: missing")
            draft.put("training.epochs", 1, whole)
            return
        demand(loop, "type", "EpochBasedTrainLoop", why="as training is counted in epochs; set training.epochs")
        loop.only("by_epoch", True)
        draft.put("training.epochs", loop.need("max_epochs") * passes, loop, "max_epochs")
        if passes > 1:
            draft.differ(loop, f"passes over the videos: MMAction2's epoch has {passes} (RepeatDataset)", "max_epochs")
        interval = loop.take("val_interval", 1) * passes
        if interval != 1:
            draft.put("evaluation.every_epochs", interval, loop, "val_interval")
        if loop.take("val_begin", 1) > 1:
            draft.differ(loop, "evaluation begins with the first epoch that is due", "val_begin")
        loop.finish(("type", "max_epochs", "val_interval", "val_begin"))


def _put_hooks(draft: Draft, whole: Part) -> None:
    with draft.collecting("training"):
        hooks = whole.part("default_hooks")
        if hooks is not None:
            _put_default_hooks(draft, hooks)
    with draft.collecting("callbacks"):
        num_callbacks = 0
        for hook in whole.parts("custom_hooks"):
            with draft.collecting("callbacks"):
                num_callbacks += _put_custom_hook(draft, hook, num_callbacks)


def _put_default_hooks(draft: Draft, hooks: Part) -> None:
    with draft.collecting("training.keep_best"):
        checkpoint = hooks.part("checkpoint")
        if checkpoint is not None:
            _put_checkpoint(draft, checkpoint)
    logger = hooks.part("logger")
    if logger is not None:
        if "interval" in logger:
            draft.put("training.log_every_steps", logger.take("interval"), logger, "interval")
        draft.skip(logger, "every step is logged at the end of its interval")
    for name, why in _HOOKS.items():
        draft.ignore(hooks, why, name)
    draft.ignore(hooks, "pictures of views go to MLflow", "visualization")
    hooks.finish((*_HOOKS, "checkpoint", "logger"))


def _put_checkpoint(draft: Draft, checkpoint: Part) -> None:
    best = checkpoint.take("save_best")
    best = best[0] if isinstance(best, list) and best else best
    if best is not None:
        if best not in _METRICS:
            raise checkpoint.error("save_best", f"one of {', '.join(_METRICS)}")
        draft.put("evaluation.monitor", _METRICS[best], checkpoint, "save_best")
    if checkpoint.take("interval", 1) != 1:
        draft.differ(checkpoint, "a checkpoint is written after every epoch", "interval")
    if "max_keep_ckpts" in checkpoint and checkpoint.take("max_keep_ckpts") != 1:
        draft.differ(checkpoint, "the last and the best are kept; training.keep_best keeps more", "max_keep_ckpts")
    draft.skip(checkpoint, "checkpoints are complete and written after every epoch")


def _put_custom_hook(draft: Draft, hook: Part, number: int) -> int:
    """Gives how many callbacks it became."""
    kind = hook.type
    if kind == "EMAHook":
        demand(hook, "ema_type", "ExponentialMovingAverage", why="as ema_decay is")
        hook.only("begin_iter", 0)
        hook.only("begin_epoch", 0)
        draft.put("training.ema_decay", 1 - hook.take("momentum", 0.0002), hook, "momentum")
        draft.ignore(hook, "names and order are Kinoray's", "priority", "strict_load", "update_buffers", "interval")
        hook.finish(("ema_type", "momentum"))
        return 0
    if kind == "EarlyStoppingHook":
        monitor = hook.need("monitor")
        if monitor not in _METRICS:
            raise hook.error("monitor", f"one of {', '.join(_METRICS)}")
        values: dict[str, Any] = {"kind": "early_stop", "monitor": _METRICS[monitor]}
        values |= {"patience": hook.take("patience", 5), "min_delta": hook.take("min_delta", 0.1)}
        every = draft.entries.get("evaluation.every_epochs")
        values["patience"] *= 1 if every is None else every.value
        hook.only("stopping_threshold", None)
        draft.ignore(hook, "follows from the metric", "rule", "strict", "check_finite")
        hook.finish(("monitor", "patience", "min_delta"))
        draft.put(f"callbacks.{number}", values, hook)
        return 1
    if kind in {"EmptyCacheHook", "SyncBuffersHook", "VisualizationHook", "DistSamplerSeedHook"}:
        draft.skip(hook, "does nothing to what is computed")
        return 0
    raise ConfigError(f"{hook.where('type')}: {hook.path}: the hook '{kind}' has no translation; write a callback")


def _check_evaluators(draft: Draft, whole: Part, split: str) -> None:
    key = f"{split}_evaluator"
    with draft.collecting("evaluation.metrics"):
        for evaluator in whole.parts(key):
            kind = evaluator.type
            if kind == "AccMetric":
                asked = evaluator.take("metric_list") or evaluator.take("metrics") or []
                for name in asked if isinstance(asked, list) else [asked]:
                    if name not in _MEASURED:
                        raise evaluator.error("metric_list", f"of {', '.join(sorted(_MEASURED))}")
                if "metric_options" in evaluator:
                    draft.differ(evaluator, "the best and the five best classes are counted", "metric_options")
            elif kind != "ConfusionMatrix":
                known = "AccMetric, ConfusionMatrix"
                told = f"the metric '{kind}' has no translation; known are {known}"
                raise ConfigError(f"{evaluator.where('type')}: {evaluator.path}: {told}")
            draft.skip(evaluator, "every evaluation measures accuracies and counts confusions")


def _model_part(draft: Draft, *keys: str) -> Part:
    """A mapping within ``model``, empty where there is none; what else is in it is translated with the model."""
    values: Any = draft.source.values
    for key in ("model", *keys):
        values = values.get(key) if isinstance(values, Mapping) else None
    return Part(draft.source, ".".join(("model", *keys)), values if isinstance(values, Mapping) else {})


def put_head(draft: Draft) -> None:
    """What the head says of losses and averages."""
    head = _model_part(draft, "cls_head")
    kind = head.type
    with draft.collecting("loss"):
        _put_loss(draft, head)
    with draft.collecting("evaluation.average"):
        default = "prob" if kind == "GCNHead" else None
        average = head.take("average_clips", default)
        if average not in ("prob", "score", None):
            raise head.error("average_clips", "'prob' or 'score'")
        if kind == "TSNHead":
            draft.put("evaluation.average", "score", head, "type")
            draft.differ(
                head, "scores, as TSNHead averages all frames of all crops before the softmax", "average_clips"
            )
        elif average == "score":
            draft.put("evaluation.average", "score", head, "average_clips")


def _put_loss(draft: Draft, head: Part) -> None:
    loss = head.part("loss_cls") or Part(head.source, head.below("loss_cls"), {})
    kind, smoothing = loss.type or "CrossEntropyLoss", head.take("label_smooth_eps", 0.0)
    demand(loss, "loss_weight", 1, 1.0, why="as a weight of the only loss is one of the learning rate")
    weights = loss.take("class_weight")
    if kind == "CrossEntropyLoss":
        if smoothing:
            draft.put("loss.label_smoothing", smoothing, head, "label_smooth_eps")
        if weights is not None:
            draft.put("loss.class_weights", weights, loss, "class_weight")
            draft.differ(loss, "the mean is over videos; MMAction2 divides by the weights of the batch", "class_weight")
    elif kind == "BCELossWithLogits":
        if smoothing:
            raise head.error("label_smooth_eps", "0 with BCELossWithLogits")
        if weights is not None:
            raise loss.error("class_weight", "None with BCELossWithLogits")
        draft.put("loss.kind", "binary_cross_entropy", loss, "type")
    else:
        known = "CrossEntropyLoss, BCELossWithLogits"
        raise ConfigError(f"{loss.where('type')}: {loss.path}: the loss '{kind}' has no translation; known are {known}")
    loss.finish(("type", "loss_weight", "class_weight"))


def _put_mix(draft: Draft) -> None:
    with draft.collecting("training.mix"):
        blending = _model_part(draft, "data_preprocessor", "blending")
        if not blending.values:
            return
        steps = [blending]
        if blending.values.get("type", "").rpartition(".")[2] == "RandomBatchAugment":
            steps = blending.parts("augments")
            probs = blending.values.get("probs")
            shares = probs if isinstance(probs, list) else [1 / len(steps)] * len(steps)
            if len(set(shares)) > 1:
                raise blending.error("probs", "equal shares, or None")
            if probs is not None:
                draft.put("training.mix.probability", sum(shares), blending, "probs")
        for step in steps:
            name = {"MixupBlending": "mixup", "CutmixBlending": "cutmix"}.get(step.type)
            if name is None:
                raise step.error("type", "MixupBlending or CutmixBlending")
            draft.put(f"training.mix.{name}", float(step.take("alpha", 0.2)), step, "alpha")
            draft.ignore(step, "is model.num_classes", "num_classes")
            step.finish(("alpha", "num_classes"))
        draft.differ(blending, "each pair of videos draws its own share; MMAction2 draws one for a batch")


def _put_seed(draft: Draft, whole: Part) -> None:
    randomness = whole.part("randomness")
    if randomness is None:
        return
    seed = randomness.take("seed")
    if seed is not None:
        draft.put("seed", seed, randomness, "seed")
    draft.ignore(randomness, "order and views follow from the seed, whatever the workers", "diff_rank_seed")
    if randomness.take("deterministic", False):
        draft.differ(randomness, "kernels of a GPU are not made deterministic", "deterministic")
    randomness.finish(("seed", "deterministic"))


def _put_compile(draft: Draft, whole: Part) -> None:
    if not whole.values.get("compile"):
        draft.ignore(whole, "is off", "compile")
        return
    settings = whole.take("compile")
    mode = settings.get("mode", "default") if isinstance(settings, Mapping) else "default"
    if isinstance(settings, Mapping) and settings.keys() - {"mode", "backend", "target", "disable"}:
        raise whole.error("compile", "True, or dict(mode=...)")
    draft.put("training.compile", mode, whole, "compile")
