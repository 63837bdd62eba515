"""The videos that a model gets most confidently wrong."""

import numpy as np
from numpy.typing import NDArray

from kinoray.data.manifest import Manifest
from kinoray.metrics import ranked
from kinoray.train.events import Mistake

MAX_MISTAKES = 20


def worst_mistakes(
    probabilities: NDArray[np.floating], labels: NDArray[np.int64], positions: NDArray[np.int64], manifest: Manifest
) -> tuple[Mistake, ...]:
    """Videos that are taken for what they are not, the most confident mistake first; equals as in the manifest.

    Args:
        probabilities: ``(N, K)``, of the classes.
        labels: ``(N,)``, as in the manifest.
        positions: ``(N,)`` rows of the manifest, ascending.
        manifest: names the videos, and knows what labels stand for.
    """
    predicted = ranked(probabilities)[:, -1]
    targets = manifest.targets(labels)
    wrong = np.flatnonzero(~targets[np.arange(len(targets)), predicted])
    confidence = probabilities[wrong, predicted[wrong]]
    worst = wrong[np.argsort(-confidence, kind="stable")][:MAX_MISTAKES]
    ids, paths = manifest.table["video_id"].take(positions[worst]), manifest.shown_paths(positions[worst])
    mistakes = []
    for number, video_id, path in zip(worst, ids.to_pylist(), paths, strict=True):
        classes = np.flatnonzero(targets[number])
        mistakes.append(
            Mistake(
                position=int(positions[number]),
                video_id=video_id,
                path=path,
                labels=tuple(classes.tolist()),
                predicted=int(predicted[number]),
                confidence=float(probabilities[number, predicted[number]]),
                label_confidence=float(probabilities[number, classes].max(initial=0.0)),
            )
        )
    return tuple(mistakes)
