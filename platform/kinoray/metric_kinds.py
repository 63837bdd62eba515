"""The base of metrics of your own, and their table. Imports no torch."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated

from kinoray.config.kinds import KindConfig, KindTable

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class MetricConfig(KindConfig):
    """Figures over the scores of a split, beside those that are always measured; larger is better."""

    @abstractmethod
    def names(self) -> tuple[str, ...]:
        """What ``measure`` gives: words of letters, digits and underscores that no other metric has."""

    @abstractmethod
    def measure(
        self, scores: NDArray[np.float32], labels: NDArray[np.int64] | NDArray[np.bool_]
    ) -> Mapping[str, float]:
        """A figure for every one of ``names``.

        Args:
            scores: ``(N, K)`` of the readable videos, in the manifest's order, averaged over views.
            labels: ``(N,)``; with ``data.multi_label`` ``(N, K)`` bool.
        """


METRICS = KindTable(what="metric", base=MetricConfig, kinds={})
AnyMetric = Annotated[MetricConfig, METRICS]
