"""A cluster of several nodes on this machine, told by lines what to do: ``add``, ``lose``, ``end``."""

import sys

from ray.cluster_utils import Cluster

NODE = {"num_cpus": 2, "object_store_memory": 200 * 2**20}


def main() -> None:
    """Answer each line with one: first the address, then how many nodes there are."""
    cluster = Cluster(initialize_head=True, head_node_args=NODE | {"include_dashboard": False})
    others = []
    print(cluster.address, flush=True)
    for line in sys.stdin:
        if line.strip() == "end":
            break
        if line.strip() == "add":
            others.append(cluster.add_node(**NODE))
        else:
            cluster.remove_node(others.pop(), allow_graceful=False)
        print(1 + len(others), flush=True)
    cluster.shutdown()


if __name__ == "__main__":
    main()
