"""MMEngine's parameter schedulers -> ``schedule``.

Source: mmengine/optim/scheduler/param_scheduler.py of MMEngine 0.10; held to the rates of whole trainings.
"""

from collections.abc import Callable, Mapping
from typing import Any

from kinoray.errors import ConfigError
from kinoray.mmaction2.draft import Draft
from kinoray.mmaction2.part import Part

_MACHINERY = ("verbose", "last_step", "name")
_OPEN_END = 1e9
"""MMEngine's own word for "never" is the largest number there is."""


def put_schedule(draft: Draft, whole: Part, passes: int) -> None:
    """Translate ``param_scheduler``; problems are kept in the draft.

    Args:
        draft: what takes the schedules, the optimizer's learning rate already in it.
        whole: the config.
        passes: over the videos in what the config calls an epoch.
    """
    with draft.collecting("schedule"):
        for number, scheduler in enumerate(whole.parts("param_scheduler")):
            with draft.collecting("schedule"):
                _put(draft, scheduler, f"schedule.{number}", passes)


def _put(draft: Draft, scheduler: Part, at: str, passes: int) -> None:
    kind = scheduler.type.removesuffix("LR").removesuffix("ParamScheduler")
    if kind not in _KINDS:
        told = f"the scheduler '{scheduler.values.get('type')}' has no translation; known are {', '.join(_KINDS)} of LR"
        raise ConfigError(f"{scheduler.where('type')}: {scheduler.path}: {told}")
    scheduler.only("param_name", "lr")
    _check_by_epoch(scheduler)
    begin, end = scheduler.take("begin", 0), scheduler.take("end")
    end = None if end is None or end > _OPEN_END else end
    values = _KINDS[kind](draft, scheduler)
    end = values.pop("end", end)
    by_step = bool(scheduler.take("convert_to_iter_based", False))
    if by_step:
        values["per"] = "step"
    if begin:
        values["begin"] = begin
    if end is not None:
        values["end"] = end
    if passes > 1:
        _stretch(draft, scheduler, values, passes)
    for name, value in values.items():
        draft.put(f"{at}.{name}", value, scheduler, _KEYS.get(name, name))
    draft.ignore(scheduler, "rates follow from the step alone", *_MACHINERY)
    scheduler.finish(("begin", "end", "by_epoch", "convert_to_iter_based", "type"))


_KEYS = {
    "kind": "type",
    "per": "convert_to_iter_based",
    "min_factor": "eta_min",
    "every": "step_size",
    "value": "factor",
    "rise": "pct_start",
}
"""Our field -> MMEngine's."""


def _check_by_epoch(scheduler: Part) -> None:
    if not scheduler.take("by_epoch", True):
        right = "True, as begin and end are epochs here (convert_to_iter_based moves the rate at every step)"
        raise scheduler.error("by_epoch", right)


def _stretch(draft: Draft, scheduler: Part, values: dict[str, Any], passes: int) -> None:
    """Count passes over the videos, of which an epoch of the config has several."""
    for name in ("begin", "end", "every"):
        if name in values:
            values[name] *= passes
    if "milestones" in values:
        values["milestones"] = [milestone * passes for milestone in values["milestones"]]
    if "per" not in values and values["kind"] not in {"multistep", "step"}:
        draft.differ(scheduler, f"moves at every pass over the videos, in MMAction2 at every {passes}th")


def _linear(draft: Draft, scheduler: Part) -> dict[str, Any]:
    del draft
    values = {"kind": "linear", "start_factor": scheduler.take("start_factor", 1 / 3)}
    end_factor = scheduler.take("end_factor", 1.0)
    return values if end_factor == 1 else {**values, "end_factor": end_factor}


def _cosine(draft: Draft, scheduler: Part) -> dict[str, Any]:
    begin, end, half_wave = scheduler.values.get("begin", 0), scheduler.values.get("end"), scheduler.take("T_max")
    values: dict[str, Any] = {"kind": "cosine", **_floor(draft, scheduler)}
    if half_wave is None:
        return values
    if end is not None and end <= _OPEN_END and begin + half_wave < end:
        raise scheduler.error("T_max", f"at least end - begin, {end - begin}, as the rate does not rise again here")
    return {**values, "end": begin + half_wave}


def _multi_step(draft: Draft, scheduler: Part) -> dict[str, Any]:
    del draft
    return {
        "kind": "multistep",
        "milestones": list(scheduler.need("milestones")),
        "gamma": scheduler.take("gamma", 0.1),
    }


def _step(draft: Draft, scheduler: Part) -> dict[str, Any]:
    del draft
    return {"kind": "step", "every": scheduler.need("step_size"), "gamma": scheduler.take("gamma", 0.1)}


def _exponential(draft: Draft, scheduler: Part) -> dict[str, Any]:
    del draft
    return {"kind": "exponential", "gamma": scheduler.need("gamma")}


def _polynomial(draft: Draft, scheduler: Part) -> dict[str, Any]:
    return {"kind": "polynomial", "power": scheduler.take("power", 1), **_floor(draft, scheduler)}


def _constant(draft: Draft, scheduler: Part) -> dict[str, Any]:
    del draft
    return {"kind": "constant", "value": scheduler.take("factor", 1 / 3)}


def _one_cycle(draft: Draft, scheduler: Part) -> dict[str, Any]:
    lr = _lr(draft)
    peak = scheduler.take("eta_max")
    if peak is not None and peak != lr:
        raise ConfigError(
            f"{scheduler.where('eta_max')}: {scheduler.below('eta_max')}, got {peak}; it should be the optimizer's lr, "
            f"{lr:g}, which a one_cycle rises to"
        )
    scheduler.only("anneal_strategy", "cos")
    scheduler.only("three_phase", False)
    div, final = scheduler.take("div_factor", 25), scheduler.take("final_div_factor", 1e4)
    values: dict[str, Any] = {"kind": "one_cycle", "rise": scheduler.take("pct_start", 0.3)}
    values |= {"start_factor": 1 / div, "end_factor": 1 / (div * final)}
    total = scheduler.take("total_steps")
    return values if total is None else {**values, "end": scheduler.values.get("begin", 0) + total}


def _floor(draft: Draft, scheduler: Part) -> dict[str, float]:
    """The lowest rate, as a share of the optimizer's."""
    ratio, lowest = scheduler.take("eta_min_ratio"), scheduler.take("eta_min")
    if ratio is None and not lowest:
        return {}
    if ratio is None and draft.entries.get("optimizer.groups") is not None:
        groups = draft.entries["optimizer.groups"].value
        if any("lr_factor" in group for group in groups):
            draft.differ(scheduler, "groups of other rates end at their own share of it", "eta_min")
    return {"min_factor": ratio if ratio is not None else lowest / _lr(draft)}


def _lr(draft: Draft) -> float:
    entry = draft.entries.get("optimizer.lr")
    if entry is None or not isinstance(entry.value, int | float):
        raise ConfigError(
            f"{draft.source.where('optim_wrapper')}: optim_wrapper: no learning rate to relate schedules to"
        )
    return float(entry.value)


_KINDS: Mapping[str, Callable[[Draft, Part], dict[str, Any]]] = {
    "Linear": _linear,
    "CosineAnnealing": _cosine,
    "MultiStep": _multi_step,
    "Step": _step,
    "Exponential": _exponential,
    "Poly": _polynomial,
    "OneCycle": _one_cycle,
    "Constant": _constant,
}
"""Name of a scheduler without ``LR`` -> what translates it; ``end`` in its result takes the place of the config's."""
