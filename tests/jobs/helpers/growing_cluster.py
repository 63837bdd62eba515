"""A cluster of several nodes on this machine, told by lines what to do.

``add``; ``lose``: the last one, at once; ``preempt SECONDS``: it is told so long before that it will be; ``end``.
Its argument is the number of CPUs of the first node.
"""

import sys
import time

from ray._raylet import GcsClient
from ray.cluster_utils import Cluster
from ray.core.generated.autoscaler_pb2 import DrainNodeReason

NODE = {"num_cpus": 2, "object_store_memory": 200 * 2**20}


def main() -> None:
    """Answer each line with one: first the address, then how many nodes there are."""
    head = NODE | {"num_cpus": int(sys.argv[1]), "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    others = []
    print(cluster.address, flush=True)
    for line in sys.stdin:
        word, *numbers = line.split()
        if word == "end":
            break
        if word == "add":
            others.append(cluster.add_node(**NODE))
        else:
            if word == "preempt":
                announce(cluster.address, others[-1].node_id, float(numbers[0]))
            cluster.remove_node(others.pop(), allow_graceful=False)
        print(1 + len(others), flush=True)
    cluster.shutdown()


def announce(address: str, node_id: str, seconds: float) -> None:
    """Do what a cloud's agent does before it takes a spot node away, and wait for that moment."""
    goes_at = time.time() + seconds
    is_accepted, why = GcsClient(address=address).drain_node(
        node_id, DrainNodeReason.DRAIN_NODE_REASON_PREEMPTION, "a spot node", int(goes_at * 1_000)
    )
    assert is_accepted, why
    time.sleep(goes_at - time.time())


if __name__ == "__main__":
    main()
