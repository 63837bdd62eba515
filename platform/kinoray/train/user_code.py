"""Calling code that a recipe names: where it fails, the run ends with an error that shows the user's own lines."""

import traceback
from collections.abc import Callable, Mapping, Sequence
from typing import ParamSpec, TypeVar

import numpy as np
from numpy.typing import NDArray

from kinoray.errors import UserCodeError
from kinoray.metric_kinds import MetricConfig

Given = ParamSpec("Given")
T = TypeVar("T")


def call_users(place: str, method: Callable[Given, T], *arguments: Given.args, **named: Given.kwargs) -> T:
    """Call a method of the user's.

    Args:
        place: in the recipe, e.g. ``callbacks.0 (my_package.hooks:Notes)``.
        method: of what stands there.
        arguments: of the method.
        named: of the method.

    Raises:
        UserCodeError: it raises. The message holds its frames, for an error's own traceback is lost between processes.
    """
    try:
        return method(*arguments, **named)
    except (Exception, SystemExit) as error:  # of a worker that leaves, the others would hear nothing
        own = error.__traceback__.tb_next if error.__traceback__ else None
        frames = "".join(traceback.format_tb(own)).rstrip()
        raise UserCodeError(f"{place}: {method.__name__} raised {type(error).__name__}: {error}\n{frames}") from error


def users_metrics(
    metrics: Sequence[MetricConfig], scores: NDArray[np.float32], labels: NDArray[np.int64] | NDArray[np.bool_]
) -> dict[str, float]:
    """What metrics of the user's make of the scores of a split.

    Args:
        metrics: of the recipe's evaluation.
        scores: ``(N, K)``.
        labels: ``(N,)``, or ``(N, K)`` bool where videos may have several.

    Raises:
        UserCodeError: a metric raises, or does not give what it names.
    """
    found: dict[str, float] = {}
    for number, metric in enumerate(metrics):
        place = f"evaluation.metrics.{number} ({metric.kind})"
        # Copies: what follows looks at the same scores.
        measured: object = call_users(place, metric.measure, scores.copy(), labels.copy())
        found |= _figures(measured, metric.names(), place)
    return found


def _figures(measured: object, names: Sequence[str], place: str) -> dict[str, float]:
    wanted = f"{place}: measure, got {measured!r:.200}; it should give a mapping with a number for each of "
    if not isinstance(measured, Mapping) or set(measured) != set(names):
        raise UserCodeError(wanted + ", ".join(names))
    try:
        return {name: float(value) for name, value in measured.items()}
    except (TypeError, ValueError) as error:
        raise UserCodeError(wanted + ", ".join(names)) from error
