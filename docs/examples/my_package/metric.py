"""A metric."""

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from kinoray.metric_kinds import MetricConfig
from kinoray.metrics import top_k_accuracy


class TopK(MetricConfig):
    """Share of the videos whose class is among the k best."""

    kind: str = "my_package.metric:TopK"
    k: int = Field(gt=1)

    def names(self) -> tuple[str, ...]:
        return (f"top{self.k}",)

    def measure(self, scores: NDArray[np.float32], labels: NDArray[np.int64]) -> dict[str, float]:
        return {f"top{self.k}": top_k_accuracy(scores, labels, self.k)}
