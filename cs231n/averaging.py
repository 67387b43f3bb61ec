"""Averages of the weights, which are often better than the weights after the last step.

The average moves towards the parameters after every update: average += weight * (params - average). An
averaging is any function of t, which counts the updates from 1, that returns this weight, from 0 to 1. The
Solver measures the validation set with the average, and keeps the best average:

    Solver(model, data, average=ExponentialAverage(0.99))
    Solver(model, data, average=PolyakAverage(start=1000))

The running averages of batch normalization are averaged in the same way. Those of a Polyak average lag
behind for long: with batch normalization, an exponential one does better.
"""

from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import numpy as np

from cs231n.validation import require_integer, require_number

Averaging = Callable[[int], float]


@dataclass(frozen=True)
class ExponentialAverage:
    """Let each step count `decay` times as much as the one after it: an average over some 1 / (1 - decay).

        >>> round(ExponentialAverage(0.9)(1), 3), round(ExponentialAverage(0.9)(1000), 3)
        (1.0, 0.1)

    It is sum_i decay^(t - i) w_i / sum_i decay^(t - i) over the weights w_1 .. w_t: the start at w_1 is
    corrected as in Adam (Kingma and Ba 2015, https://arxiv.org/abs/1412.6980, section 3).
    """

    decay: float = 0.999

    def __post_init__(self) -> None:
        require_number("decay", self.decay, 0, 1, "left")

    def __call__(self, t: int) -> float:
        return (1 - self.decay) / (1 - self.decay**t)


@dataclass(frozen=True)
class PolyakAverage:
    """Take the mean of the weights after all steps, or after those that follow the first `start`.

        >>> [PolyakAverage(start=2)(t) for t in (1, 2, 3, 4)]
        [1.0, 1.0, 1.0, 0.5]

    (Polyak and Juditsky 1992, https://doi.org/10.1137/0330046, equation 2.)
    """

    start: int = 0

    def __post_init__(self) -> None:
        require_integer("start", self.start, 0)

    def __call__(self, t: int) -> float:
        return 1 / max(t - self.start, 1)


def move_average(averages: dict[str, Any], values: Mapping[str, Any], weight: float) -> None:
    """Move the averages towards arrays of the same names, in place; anything but floats is copied."""
    for name, value in values.items():
        if weight == 1 or name not in averages or not _is_floating(value):
            averages[name] = deepcopy(value)
        else:
            step = value - averages[name]
            step *= weight
            averages[name] += step


def _is_floating(value: object) -> bool:
    return isinstance(value, (np.ndarray, np.floating)) and value.dtype.kind == "f"
