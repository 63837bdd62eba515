import math

import pytest
import torch
from pydantic import TypeAdapter, ValidationError

from kinoray.schedules import (
    AnySchedule,
    ConstantSchedule,
    CosineSchedule,
    ExponentialSchedule,
    LinearSchedule,
    MultiStepSchedule,
    OneCycleSchedule,
    PolynomialSchedule,
    StepSchedule,
    lr_factor,
)


def factors(*schedules, num_epochs, steps_per_epoch=2):
    steps = range(num_epochs * steps_per_epoch)
    return [lr_factor(schedules, step, steps_per_epoch=steps_per_epoch, num_epochs=num_epochs) for step in steps]


def test_no_schedule_leaves_the_rate():
    assert factors(num_epochs=2) == [1.0] * 4


def test_a_linear_warm_up_by_epoch_reaches_its_end_in_the_last_one():
    warm_up = LinearSchedule(start_factor=0.5, end=3)
    assert factors(warm_up, num_epochs=4) == [0.5, 0.5, 0.75, 0.75, 1.0, 1.0, 1.0, 1.0]


def test_a_linear_warm_up_by_step():
    warm_up = LinearSchedule(start_factor=0.25, end=2, per="step")
    assert factors(warm_up, num_epochs=3) == pytest.approx([0.25, 0.5, 0.75, 1.0, 1.0, 1.0])


def test_a_linear_schedule_may_go_down_and_begin_late():
    cool_down = LinearSchedule(start_factor=1, end_factor=0, begin=1)
    assert factors(cool_down, num_epochs=4, steps_per_epoch=1) == [1.0, 1.0, 0.5, 0.0]


def test_begin_and_end_may_lie_within_an_epoch():
    warm_up = LinearSchedule(start_factor=0, begin=0.5, end=1.5, per="step")
    assert factors(warm_up, num_epochs=2, steps_per_epoch=4) == pytest.approx([1, 1, 0, 1 / 3, 2 / 3, 1, 1, 1])


@pytest.mark.parametrize("per", ["step", "epoch"])
def test_a_cosine_ends_with_training(per):
    steps_per_epoch = 5
    got = factors(CosineSchedule(per=per), num_epochs=6, steps_per_epoch=steps_per_epoch)
    unit = 1 if per == "step" else steps_per_epoch
    assert got == pytest.approx([(1 + math.cos(math.pi * (step // unit) * unit / 30)) / 2 for step in range(30)])


def test_a_cosine_goes_down_to_its_least_factor_and_stays_there():
    got = factors(CosineSchedule(min_factor=0.1, end=100, per="step"), num_epochs=110, steps_per_epoch=10)
    assert got == sorted(got, reverse=True)
    assert got[0] == 1.0
    assert got[-1] == got[999] == pytest.approx(0.1, abs=1e-5)


def test_milestones_count_from_begin():
    steps = MultiStepSchedule(milestones=(1, 2.5), gamma=0.5, begin=1, per="step")
    assert factors(steps, num_epochs=5) == [1, 1, 1, 1, 0.5, 0.5, 0.5, 0.25, 0.25, 0.25]
    assert factors(MultiStepSchedule(milestones=(1, 1)), num_epochs=2) == pytest.approx([1, 1, 0.01, 0.01])


def test_a_constant_is_lifted_at_the_last_moment_before_its_end():
    assert factors(ConstantSchedule(value=0.3, end=2, per="step"), num_epochs=3) == [0.3, 0.3, 0.3, 1.0, 1.0, 1.0]


def test_schedules_multiply():
    warm_up, drop = LinearSchedule(start_factor=0.5, end=2), MultiStepSchedule(milestones=(1,))
    assert factors(warm_up, drop, num_epochs=3, steps_per_epoch=1) == pytest.approx([0.5, 0.1, 0.1])


def test_a_schedule_that_begins_after_training_does_nothing():
    assert factors(LinearSchedule(begin=9), num_epochs=2) == [1.0] * 4


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"kind": "cosine", "begin": 5, "end": 5}, "end, got 5; it should be after begin (5)"),
        ({"kind": "cosine", "min_factor": 1}, "less than 1"),
        ({"kind": "linear", "end": 1}, "end, got 1 with begin 0 and per epoch; it should be two epochs after begin"),
        ({"kind": "constant", "begin": 2, "end": 3.9}, "end, got 3.9 with begin 2 and per epoch"),
        ({"kind": "linear", "begin": -1}, "greater than or equal to 0"),
        ({"kind": "multistep", "milestones": []}, "at least 1 item"),
        ({"kind": "multistep", "milestones": [-1]}, "greater than or equal to 0"),
        ({"kind": "cosin"}, "did you mean 'cosine'"),
    ],
)
def test_impossible_schedules(settings, told):
    with pytest.raises(ValidationError) as caught:
        TypeAdapter(AnySchedule).validate_python(settings)
    assert told in str(caught.value)


@pytest.mark.parametrize(
    ("schedule", "reference", "settings"),
    [
        (StepSchedule(every=3, gamma=0.5), torch.optim.lr_scheduler.StepLR, {"step_size": 3, "gamma": 0.5}),
        (ExponentialSchedule(gamma=0.9), torch.optim.lr_scheduler.ExponentialLR, {"gamma": 0.9}),
        (PolynomialSchedule(power=2), torch.optim.lr_scheduler.PolynomialLR, {"total_iters": 29, "power": 2}),
        (OneCycleSchedule(), torch.optim.lr_scheduler.OneCycleLR, {"max_lr": 1.0, "total_steps": 30}),
    ],
)
def test_rates_are_those_of_torch(schedule, reference, settings):
    if reference is torch.optim.lr_scheduler.OneCycleLR:
        settings = settings | {"final_div_factor": 1e4}
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler = reference(optimizer, **settings)
    expected = []
    for epoch in range(30):
        expected.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        if epoch < 29:
            scheduler.step()
    assert factors(schedule, num_epochs=30, steps_per_epoch=1) == pytest.approx(expected, abs=1e-12)


def test_steps_may_be_shorter_than_an_epoch():
    assert factors(StepSchedule(every=0.5, gamma=0.5, per="step"), num_epochs=1, steps_per_epoch=4) == [1, 1, 0.5, 0.5]


def test_a_warm_up_over_a_cosine_never_reaches_the_stated_rate():
    """MMEngine multiplies schedules that overlap: SlowFast's 34 epochs of warm-up make 0.005 a peak of 0.00377."""
    overlapping = factors(LinearSchedule(start_factor=0.1, end=34), CosineSchedule(), num_epochs=100)
    assert 0.005 * max(overlapping) == pytest.approx(0.00377, abs=5e-6)
    one_after_the_other = factors(LinearSchedule(start_factor=0.1, end=34), CosineSchedule(begin=34), num_epochs=100)
    assert max(one_after_the_other) == 1.0
