"""How many workers a run goes on with, where a site gives a range."""

import time
from typing import Any

from ray.train.v2._internal.execution.scaling_policy import ElasticScalingPolicy, NoopDecision, ScalingDecision

from kinoray.cluster.session import nodes_to_stay

PAUSE_SECONDS = 1.0


class RoomToStay(ElasticScalingPolicy):  # type: ignore[misc]
    """Ray's own policy, which knows nodes from a list that is up to 20 s old, with those in it that are to go.

    Private to Ray, whose minor is pinned: the tests of elastic runs notice where it moves.
    """

    def _count_possible_workers(self, reserved_resources: Any) -> int:
        counted = int(super()._count_possible_workers(reserved_resources))
        of_one = self.scaling_config._resources_per_worker_not_none  # noqa: SLF001 - as the base class
        return min(counted, nodes_to_stay().num_workers_that_fit(of_one["CPU"], of_one.get("GPU", 0.0)))

    def make_decision_for_non_running_worker_group(self) -> ScalingDecision:
        """See the base class. Where there is no room yet, the controller asks again at once, so this takes its time."""
        decision = super().make_decision_for_non_running_worker_group()
        if isinstance(decision, NoopDecision):
            time.sleep(PAUSE_SECONDS)
        return decision
