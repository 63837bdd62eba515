"""A node is lost with the worker on it, and another one takes its place."""

import secrets
from collections.abc import Iterator

import pytest
from chaos_job import SAVE_EVERY_STEPS, draw_steps
from chaos_outcome import damage, outcome_of, recoveries, row_of
from nodes import Nodes

pytestmark = [pytest.mark.ray, pytest.mark.timeout(900)]


@pytest.fixture
def nodes(monkeypatch: pytest.MonkeyPatch) -> Iterator[Nodes]:
    """Two nodes that hold a worker each, and a first one that is too small for any."""
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    monkeypatch.setenv("RAY_AUTH_TOKEN", secrets.token_hex(32))
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    nodes = Nodes(head_cpus=1)
    try:
        assert (nodes.tell("add"), nodes.tell("add")) == (2, 3)
        yield nodes
    finally:
        nodes.end()


def test_a_node_is_lost(nodes, start, undisturbed, dice, report) -> None:
    site = {"address": nodes.address, "local_cpus": None, "cpus_per_worker": 1.5, "decode_cpus": 1}
    job = start({f"site.{name}": value for name, value in site.items()})

    def lose_one() -> None:
        assert nodes.tell("lose") == 2
        assert nodes.tell("add") == 3

    strikes = job.struck(draw_steps(dice, 2), dice, lose_one)
    job.finish()
    harm = damage(outcome_of(job), undisturbed)
    costs = recoveries(job.lines(), strikes)
    report(row_of("node lost and replaced", strikes, costs, harm))
    assert not any(harm)
    assert max(cost.num_recomputed for cost in costs) <= SAVE_EVERY_STEPS
