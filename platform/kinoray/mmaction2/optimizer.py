"""MMAction2's optimizer wrappers -> ``optimizer``, and what of them belongs to ``training``.

Source: engine/optimizers of MMAction2 1.2.0 and mmengine/optim/optimizer of MMEngine 0.10; held to the parameter groups
that they make.
"""

from collections.abc import Callable, Mapping
from typing import Any

from kinoray.errors import ConfigError
from kinoray.mmaction2.draft import Draft, demand
from kinoray.mmaction2.part import Part

_NOT_QKV = r"^(?!.*\.qkv\.bias$)"
"""MMAction2's UniFormerV2 is made of torch's MultiheadAttention, whose ``in_proj_bias`` MMEngine takes for no bias."""
_FIELDS: Mapping[str, Mapping[str, str]] = {
    "SGD": {"kind": "sgd", "momentum": "momentum", "nesterov": "nesterov"},
    "Adam": {"kind": "adam", "betas": "betas", "eps": "eps"},
    "AdamW": {"kind": "adamw", "betas": "betas", "eps": "eps"},
}
"""Optimizer -> our kind and our fields by its keys."""
_SPEED = ("foreach", "fused", "capturable", "differentiable", "maximize", "amsgrad")
_PRECISIONS = {"float16": "fp16", "bfloat16": "bf16"}


def put_optimizer(draft: Draft, whole: Part) -> None:
    """Translate ``optim_wrapper`` and ``auto_scale_lr``; problems are kept in the draft."""
    with draft.collecting("optimizer"):
        wrapper = whole.part("optim_wrapper")
        if wrapper is None:
            _put_default(draft, whole)
            return
        with draft.collecting("optimizer"):
            _put_settings(draft, wrapper)
        with draft.collecting("optimizer.groups"):
            _put_groups(draft, wrapper)
        with draft.collecting("training.clip_grad_norm"):
            _put_clipping(draft, wrapper)
        with draft.collecting("training.precision"):
            _put_precision(draft, wrapper)
        with draft.collecting("training.micro_batches"):
            counts = wrapper.take("accumulative_counts", 1)
            if counts != 1:
                draft.put("training.micro_batches", counts, wrapper, "accumulative_counts")
        with draft.collecting("optimizer"):
            wrapper.finish(("type", "optimizer", "clip_grad", "constructor", "paramwise_cfg", "accumulative_counts"))
    with draft.collecting("optimizer.base_batch_size"):
        _put_scaling(draft, whole)


def _put_default(draft: Draft, whole: Part) -> None:
    if "train_dataloader" in whole:
        raise ConfigError(f"{whole.where()}: optim_wrapper: missing")
    draft.put("optimizer.kind", "sgd", whole)
    draft.put("optimizer.lr", 0.01, whole)
    draft.differ(whole, "made up, as the config only tests: optimizer, data.train, training.epochs; set them to train")


def _put_settings(draft: Draft, wrapper: Part) -> None:
    optimizer = wrapper.part("optimizer")
    if optimizer is None:
        raise ConfigError(f"{wrapper.where()}: {wrapper.path}: missing 'optimizer'")
    kind = optimizer.type
    if kind not in _FIELDS:
        told = f"the optimizer '{kind}' has no translation; known are {', '.join(_FIELDS)}, for others set optimizer "
        raise ConfigError(f"{optimizer.where('type')}: {optimizer.path}: {told}to one of yours (docs/training.md)")
    draft.put("optimizer.kind", _FIELDS[kind]["kind"], optimizer, "type")
    draft.put("optimizer.lr", optimizer.need("lr"), optimizer, "lr")
    if kind == "SGD" and "momentum" not in optimizer:
        draft.put("optimizer.momentum", 0.0, optimizer, "type")
    default_decay = 0.01 if kind == "AdamW" else 0.0
    decay = optimizer.take("weight_decay", default_decay)
    if decay:
        draft.put("optimizer.weight_decay", decay, optimizer, "weight_decay")
    for key, name in _FIELDS[kind].items():
        if key != "kind" and key in optimizer.left:
            draft.put(f"optimizer.{name}", optimizer.take(key), optimizer, key)
    optimizer.only("dampening", 0)
    optimizer.only("amsgrad", False)
    optimizer.only("maximize", False)
    draft.ignore(optimizer, "torch picks the fastest that there is", *_SPEED)
    optimizer.finish(("lr", "weight_decay", *_FIELDS[kind]))


def _put_clipping(draft: Draft, wrapper: Part) -> None:
    clipping = wrapper.part("clip_grad")
    if clipping is None:
        return
    demand(clipping, "type", "norm", why="as gradients are clipped by their norm")
    clipping.only("norm_type", 2, 2.0)
    draft.put("training.clip_grad_norm", clipping.need("max_norm"), clipping, "max_norm")
    draft.ignore(clipping, "a loss that is no number ends a training anyway", "error_if_nonfinite")
    clipping.finish(("type", "max_norm", "norm_type"))


def _put_precision(draft: Draft, wrapper: Part) -> None:
    kind = wrapper.type or "OptimWrapper"
    if kind == "OptimWrapper":
        return
    if kind != "AmpOptimWrapper":
        raise wrapper.error("type", "OptimWrapper or AmpOptimWrapper")
    dtype = wrapper.take("dtype") or "float16"
    if dtype not in _PRECISIONS:
        raise wrapper.error("dtype", " or ".join(_PRECISIONS))
    draft.put("training.precision", _PRECISIONS[dtype], wrapper, "type")
    draft.ignore(wrapper, "fp16 finds the scale of its gradients by itself", "loss_scale", "use_fsdp")


def _put_scaling(draft: Draft, whole: Part) -> None:
    scaling = whole.part("auto_scale_lr")
    if scaling is None:
        return
    base, enabled = scaling.take("base_batch_size"), scaling.take("enable", False)
    scaling.finish(("enable", "base_batch_size"))
    if base is None:
        return
    if enabled:
        accumulated = draft.entries.get("training.micro_batches")
        times = accumulated.value if accumulated is not None else 1
        draft.put("optimizer.base_batch_size", base * times, scaling, "base_batch_size")
    else:
        why = f"it is off; set optimizer.base_batch_size to {base} to scale the learning rate with the batch"
        draft.skip(scaling, why)


def _put_groups(draft: Draft, wrapper: Part) -> None:
    constructor = str(wrapper.take("constructor", "")).rpartition(".")[2] or "DefaultOptimWrapperConstructor"
    if constructor not in _CONSTRUCTORS:
        raise wrapper.error("constructor", " or ".join(_CONSTRUCTORS))
    rules = wrapper.part("paramwise_cfg") or Part(wrapper.source, wrapper.below("paramwise_cfg"), {})
    groups = _CONSTRUCTORS[constructor](draft, rules)
    rules.finish()
    if groups:
        draft.put("optimizer.groups", groups, rules if rules.values else wrapper)


Groups = list[dict[str, Any]]


def _default_groups(draft: Draft, rules: Part) -> Groups:
    """Rules by role; a parameter that a custom key names gets those of no role."""
    groups: Groups = []
    for role, lr_key, decay_key in (
        ("norm", "", "norm_decay_mult"),
        ("bias", "bias_lr_mult", "bias_decay_mult"),
        ("vector", "", "flat_decay_mult"),
    ):
        rule: dict[str, Any] = {"of": role}
        rule |= _factor(rules, lr_key, "lr_factor") if lr_key else {}
        rule |= _factor(rules, decay_key, "decay_factor")
        if len(rule) > 1:
            groups.append(rule | ({"match": _NOT_QKV} if role == "bias" and _is_uniformerv2(draft) else {}))
    custom = rules.part("custom_keys")
    for key in custom or ():
        assert custom is not None
        groups += _custom_group(draft, custom, key)
    draft.ignore(rules, "no layer here is of that kind", "dwconv_decay_mult", "dcn_offset_lr_mult")
    draft.ignore(rules, "no parameter is in two groups", "bypass_duplicate")
    return groups


def _is_uniformerv2(draft: Draft) -> bool:
    model = draft.entries.get("model.kind")
    return model is not None and model.value == "uniformerv2"


def _custom_group(draft: Draft, custom: Part, key: str) -> Groups:
    rule = Part(custom.source, custom.below(key), custom.take(key) or {})
    if key.startswith("."):
        # Names of parameters begin with the name of a part, so MMEngine finds this in none of them.
        draft.skip(rule, f"fits no parameter in MMAction2 either: names begin with '{key[1:]}', without the dot")
        return []
    factors = _factor(rule, "lr_mult", "lr_factor") | _factor(rule, "decay_mult", "decay_factor")
    rule.finish(("lr_mult", "decay_mult"))
    return _named(rule, key, factors)


def _swin_groups(draft: Draft, rules: Part) -> Groups:
    """Every key is part of a name; factors multiply."""
    groups: Groups = []
    for key in rules:
        rule = Part(rules.source, rules.below(key), rules.take(key) or {})
        if key == "absolute_pos_embed":
            draft.skip(rule, "video Swin has no absolute positions")
            continue
        factors = _factor(rule, "lr_mult", "lr_factor") | _factor(rule, "decay_mult", "decay_factor")
        rule.finish(("lr_mult", "decay_mult"))
        groups += _named(rule, key, factors)
    return groups


def _named(rule: Part, key: str, factors: Mapping[str, float]) -> Groups:
    """Rules for the parameters whose names in MMAction2 hold a key."""
    if not factors:
        return []
    if key == "backbone":
        # All parameters, and the head's back again.
        back = {name: 1 / factor for name, factor in factors.items() if factor}
        if len(back) < len(factors):
            raise ConfigError(
                f"{rule.where()}: {rule.path}: a backbone's factors should be above 0; or set training.freeze"
            )
        return [{"of": "any", **factors}, {"of": "head", **back}]
    roles = {"cls_head": "head", "head": "head", "norm": "norm"}
    same = ("relative_position_bias_table", "cls_token", "pos_embed", "time_embed")
    if key not in (*roles, *same):
        right = (
            f"a name that is the same in Kinoray ({', '.join(('backbone', *roles, *same))}); or set optimizer.groups"
        )
        raise ConfigError(f"{rule.where()}: {rule.path}: got the key '{key}'; it should be {right}")
    return [{"of": roles[key], **factors} if key in roles else {"match": key, **factors}]


def _tsm_groups(draft: Draft, rules: Part) -> Groups:
    groups: Groups = [{"of": "norm", "decay_factor": 0.0}, {"of": "bias", "lr_factor": 2.0, "decay_factor": 0.0}]
    if rules.take("fc_lr5", False):
        groups.append({"of": "head", "lr_factor": 5.0})
    del draft
    return groups


def _layer_decay(draft: Draft, rules: Part) -> Groups:
    rules.only("decay_type", "layer_wise")
    draft.put("optimizer.layer_decay", rules.need("decay_rate"), rules, "decay_rate")
    draft.ignore(rules, "the model knows its stages", "num_layers")
    return [{"of": "vector", "decay_factor": 0.0}]


def _factor(rules: Part, key: str, name: str) -> dict[str, float]:
    factor = rules.take(key)
    return {} if factor is None or factor == 1 else {name: float(factor)}


_CONSTRUCTORS: Mapping[str, Callable[[Draft, Part], Groups]] = {
    "DefaultOptimWrapperConstructor": _default_groups,
    "TSMOptimWrapperConstructor": _tsm_groups,
    "SwinOptimWrapperConstructor": _swin_groups,
    "LearningRateDecayOptimizerConstructor": _layer_decay,
}
