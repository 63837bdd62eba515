"""Learning rates of whole trainings against a running MMEngine; see shared/golden/README.md, section 8."""

import gzip
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from kinoray.schedules import CosineSchedule, LinearSchedule, MultiStepSchedule, ScheduleConfig, lr_factor

GOLDEN = Path(__file__).resolve().parents[2].parent / "shared" / "golden" / "schedules.json.gz"


def read_cases() -> dict[str, Any]:
    if not GOLDEN.is_file():
        return {}
    cases: dict[str, Any] = json.loads(gzip.decompress(GOLDEN.read_bytes()))
    return cases


CASES = read_cases()

pytestmark = pytest.mark.skipif(not CASES, reason="no ../shared/golden/schedules.json.gz beside the repository")


def translated(scheduler: Mapping[str, Any], lr: float) -> ScheduleConfig:
    """MMEngine's scheduler as ours. A cosine ends ``T_max`` after its begin, where its ``end`` cuts it off or not."""
    begin = scheduler.get("begin", 0)
    common = {"begin": begin, "per": "step" if scheduler.get("convert_to_iter_based") else "epoch"}
    if scheduler["type"] == "LinearLR":
        return LinearSchedule(start_factor=scheduler["start_factor"], end=scheduler["end"], **common)
    if scheduler["type"] == "CosineAnnealingLR":
        min_factor = scheduler.get("eta_min_ratio", scheduler.get("eta_min", 0) / lr)
        return CosineSchedule(min_factor=min_factor, end=begin + scheduler["T_max"], **common)
    assert scheduler["type"] == "MultiStepLR"
    return MultiStepSchedule(
        milestones=scheduler["milestones"], gamma=scheduler["gamma"], end=scheduler["end"], **common
    )


@pytest.mark.parametrize("name", CASES)
def test_learning_rates(name: str) -> None:
    """All 25 configurations match; in none does a schedule with ``min_factor`` above 0 overlap another."""
    case = CASES[name]
    lr = case["optim_wrapper"]["optimizer"]["lr"]
    num_epochs, steps_per_epoch = case["max_epochs"], case["epoch_length"]
    schedules = [translated(scheduler, lr) for scheduler in case["param_scheduler"]]
    rates = [
        lr
        * lr_factor(schedules, epoch * steps_per_epoch + step, steps_per_epoch=steps_per_epoch, num_epochs=num_epochs)
        for epoch in range(num_epochs)
        for step in (0, 25, 49)
    ]
    assert rates == pytest.approx(case["lr_at_iter_0_25_49_of_each_epoch"], rel=1e-9)


def test_the_cases_hold_what_matters() -> None:
    """Warm-up by epoch and by step, a cosine with a floor, one that training cuts off."""
    schedulers = [scheduler for case in CASES.values() for scheduler in case["param_scheduler"]]
    assert {scheduler["type"] for scheduler in schedulers} == {"LinearLR", "CosineAnnealingLR", "MultiStepLR"}
    assert any(scheduler.get("eta_min") for scheduler in schedulers)
    assert any(scheduler.get("eta_min_ratio") for scheduler in schedulers)
    assert any(s.get("begin", 0) + s["T_max"] > s["end"] for s in schedulers if "T_max" in s and "end" in s)
    assert any(s["type"] == "LinearLR" and not s.get("convert_to_iter_based") for s in schedulers)
