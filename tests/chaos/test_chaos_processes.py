"""What a run consists of is killed or hangs: its training workers, its decode tasks, the job itself."""

import re
import signal

import pytest
from chaos_job import SAVE_EVERY_STEPS, draw_steps
from chaos_outcome import damage, outcome_of, recoveries, row_of

pytestmark = [pytest.mark.ray, pytest.mark.timeout(900)]
NUM_STRIKES = 3
TIMEOUT_SECONDS = 10


@pytest.mark.parametrize("round_number", range(5))
def test_a_training_worker_is_killed(round_number, start, undisturbed, dice, report) -> None:
    job = start()
    strikes = job.struck(draw_steps(dice, NUM_STRIKES), dice, lambda: job.strike_one("RayTrainWorker", dice))
    job.finish()
    harm = damage(outcome_of(job), undisturbed)
    costs = recoveries(job.lines(), strikes)
    report(row_of("training worker killed", strikes, costs, harm))
    assert not any(harm)
    assert max(cost.num_recomputed for cost in costs) <= SAVE_EVERY_STEPS


def test_a_training_worker_hangs(start, undisturbed, dice, report) -> None:
    job = start({"site.collective_timeout_seconds": TIMEOUT_SECONDS})
    step = draw_steps(dice, 1)
    strikes = job.struck(step, dice, lambda: job.strike_one("RayTrainWorker", dice, how=signal.SIGSTOP))
    job.finish()
    assert re.search(rf"worker \d \(host \S+, pid \d+\) has not answered for {TIMEOUT_SECONDS} s", job.log())
    harm = damage(outcome_of(job), undisturbed)
    costs = recoveries(job.lines(), strikes)
    report(row_of(f"training worker hangs, timeout {TIMEOUT_SECONDS} s", strikes, costs, harm))
    assert not any(harm)
    assert max(cost.num_recomputed for cost in costs) <= SAVE_EVERY_STEPS


def test_the_driver_is_killed_and_the_same_command_given_again(start, undisturbed, dice, report) -> None:
    job = start()

    def strike() -> None:
        job.kill_driver()
        job.start()

    strikes = job.struck(draw_steps(dice, NUM_STRIKES), dice, strike)
    job.finish()
    harm = damage(outcome_of(job), undisturbed)
    costs = recoveries(job.lines(), strikes)
    report(row_of("driver killed, command again", strikes, costs, harm))
    assert not any(harm)
    assert max(cost.num_recomputed for cost in costs) <= SAVE_EVERY_STEPS


def test_a_decode_task_is_killed(start, undisturbed, dice, report) -> None:
    job = start({"site.decode_threads": 0})
    steps = draw_steps(dice, NUM_STRIKES)
    strikes = job.struck(steps, dice, lambda: job.strike_one("Map", dice), ends_workers=False)
    job.finish()
    harm = damage(outcome_of(job), undisturbed)
    costs = recoveries(job.lines(), strikes)
    report(row_of("decode task killed", strikes, costs, harm))
    assert not any(harm)
    assert sum(cost.num_recomputed for cost in costs) == 0
