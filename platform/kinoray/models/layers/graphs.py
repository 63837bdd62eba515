"""Skeletons as graphs: which joints are neighbours, and how much each hears of the others.

Source: arXiv 1801.07455 (partitions of neighbours). Numbers compared with Graph of MMAction2 at 4d6c934.
"""

from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kinoray.transforms.poses import Joints

Partition = Literal["spatial", "stgcn_spatial", "binary_adj"]

TOWARDS_CENTRE: dict[Joints, tuple[int, ...]] = {
    "coco": (0, 0, 0, 1, 2, 0, 0, 5, 6, 7, 8, 5, 6, 11, 12, 13, 14),
    "nturgb+d": (1, 20, 20, 2, 20, 4, 5, 6, 20, 8, 9, 10, 0, 12, 13, 14, 0, 16, 17, 18, 20, 7, 7, 11, 11),
    "openpose": (1, 1, 1, 2, 3, 1, 5, 6, 2, 8, 9, 5, 11, 12, 0, 0, 14, 15),
}
"""Of each joint its neighbour on the way to the centre; the centre's is itself."""


def adjacency(layout: Joints, partition: Partition) -> Tensor:
    """``(S, V, V)`` float32: in each of S graphs, at ``[:, v, w]``, how much of joint v joint w takes.

    Args:
        layout: whose joints.
        partition: ``spatial`` tells apart a joint itself, neighbours farther out and neighbours farther in by the
            bones; ``stgcn_spatial`` likewise by their distances from the centre, and all three share one norm;
            ``binary_adj`` knows only that they are neighbours.
    """
    neighbours = TOWARDS_CENTRE[layout]
    (centre,) = (joint for joint, neighbour in enumerate(neighbours) if joint == neighbour)
    inward = np.zeros((len(neighbours), len(neighbours)))
    inward[neighbours, range(len(neighbours))] = 1
    inward[centre, centre] = 0
    if partition == "binary_adj":
        graphs = (inward + inward.T)[None]
    elif partition == "spatial":
        graphs = np.stack([np.eye(len(inward)), _columns_sum_to_1(inward), _columns_sum_to_1(inward.T)])
    else:
        graphs = _by_distance(inward, centre)
    return torch.tensor(graphs, dtype=torch.float32)


def _by_distance(inward: NDArray[np.float64], centre: int) -> NDArray[np.float64]:
    """A joint itself; neighbours not nearer to the centre than it is; nearer ones."""
    myself = np.eye(len(inward))
    neighbours = inward + inward.T
    shares = _columns_sum_to_1(myself + neighbours)
    # Only distances of up to one bone are told apart; all other joints are equally far.
    distance = np.where(neighbours[centre] > 0, 1.0, np.inf)
    distance[centre] = 0
    is_nearer = distance[:, None] < distance[None, :]
    return np.stack([myself * shares, neighbours * ~is_nearer * shares, neighbours * is_nearer * shares])


def _columns_sum_to_1(edges: NDArray[np.float64]) -> NDArray[np.float64]:
    """Columns without any edge stay 0."""
    degrees = edges.sum(axis=0)
    shares: NDArray[np.float64] = np.divide(1, degrees, out=np.zeros_like(degrees), where=degrees > 0)
    return edges * shares
