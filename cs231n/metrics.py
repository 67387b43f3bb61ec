"""Metrics: how good a model's scores are, as one number. `accuracy` is what a Solver measures by default.

A metric is any function of the scores of all examples, (N, ...) as the model returns them, and their targets
y (N, ...) that returns a number. Higher is better, unless the Solver is told otherwise:

    Solver(model, data, metric=binary_accuracy)
    Solver(model, data, metric=mean_squared_error)
    Solver(model, data, metric=lambda scores, y: np.abs(scores - y).max(), metric_goal="min")
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cs231n.validation import require_labels

Array = NDArray[Any]
Metric = Callable[[Array, Array], float]


def accuracy(scores: Array, y: Array) -> float:
    """Return the share of the examples whose highest score (N, C) is that of their label y (N,).

    Raises ValueError unless there are at least two classes and the labels are theirs, from 0 to C - 1.

    >>> accuracy(np.array([[1.0, 2.0], [0.5, 0.1]]), np.array([1, 1]))
    0.5
    """
    if scores.ndim != 2 or scores.shape[1] < 2:
        raise ValueError(
            "the model's scores must have shape (N, C), a column for each of at least two classes; got "
            f"{scores.shape}. A model with one output needs another metric: give the Solver "
            "metric=binary_accuracy or metric=mean_squared_error of cs231n.metrics, or a function of yours."
        )
    require_labels(y, *scores.shape)
    return float(np.count_nonzero(scores.argmax(axis=1) == y) / len(y))


def binary_accuracy(scores: Array, y: Array) -> float:
    """Return the share of the examples whose score is positive where their label is 1, and not where it is 0.

    A score is what a logistic function would take, (N,) or (N, 1), and so are the labels y, 0 or 1.

    >>> binary_accuracy(np.array([[2.0], [-1.0], [0.5], [-3.0]]), np.array([1, 0, 0, 0]))
    0.75
    """
    scores, y = _one_column("scores", scores), _one_column("y", y)
    if len(scores) != len(y):
        raise ValueError(f"y must hold one label per score; got {len(y)} labels for {len(scores)} scores")
    if not np.isin(y, (0, 1)).all():
        wrong = y[~np.isin(y, (0, 1))][0]
        raise ValueError(f"y must hold labels 0 and 1; got {wrong!r}. Labels -1 and 1: pass (y + 1) // 2.")
    return float(np.count_nonzero((scores > 0) == (y == 1)) / len(y))


def mean_squared_error(scores: Array, y: Array) -> float:
    """Return the mean of (scores - y)^2. A single column, (N, 1), may face targets (N,). Lower is better.

    >>> mean_squared_error(np.array([[1.0], [3.0]]), np.array([1.0, 1.0]))
    2.0
    """
    if scores.ndim == y.ndim + 1 and scores.shape[-1] == 1:
        scores = scores[..., 0]
    if scores.shape != y.shape:
        raise ValueError(f"y must have the scores' shape {scores.shape}; got {y.shape}")
    return float(np.mean(np.square(scores - y)))


LOWER_IS_BETTER: tuple[Metric, ...] = (mean_squared_error,)  # a Solver knows this of them


def _one_column(name: str, array: Array) -> Array:
    """Return an array (N,) or (N, 1) as (N,); ValueError for any other shape."""
    if array.ndim == 0 or array.size != len(array):
        raise ValueError(f"{name} must have shape (N,) or (N, 1); got {array.shape}")
    return array.reshape(-1)
