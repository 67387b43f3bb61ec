"""Compute numeric gradients that know how far they can be trusted: rounding noise, and kinks.

The centered difference is the mean of the slopes to the left and to the right. If the step crosses a kink,
such as ReLU's, the two slopes differ, and their mean is the slope of neither side. A smaller step leaves the
kink outside, unless it is at x itself, where every slope between the two is a gradient.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from types import EllipsisType
from typing import Any

import numpy as np

from cs231n.gradcheck.tolerances import ABOVE_NOISE, FLOOR, ROUNDINGS, SMALLER_STEPS, STEP, STILL_A_KINK
from cs231n.gradcheck.values import Array, Floats, float64_copy

Index = tuple[int, ...] | EllipsisType
EPS = float(np.finfo(np.float64).eps)


@dataclass
class Numeric:
    """A numeric gradient: the mean of the slopes to the left and to the right, and its rounding noise.

    - slopes: a function of (index, scale) that measures the two slopes of an entry again, with `scale` times
      the step; the index ... stands for a step of all entries at once; None if they cannot be measured again
    - eps: the precision in which the forward pass computes
    """

    centered: Floats
    left: Floats
    right: Floats
    noise: float
    slopes: Callable[[Index, float], tuple[float, float]] | None = None
    eps: float = EPS

    def near(self, values: Floats, tol: float) -> Array:
        """Return where values are so close to the slopes that a kink, or curvature, may explain the rest."""
        low, high = np.minimum(self.left, self.right), np.maximum(self.left, self.right)
        margin = (high - low) + tol * np.abs(values) + self.noise
        is_close: Array = (low - margin <= values) & (values <= high + margin)
        return is_close & (high - low > ABOVE_NOISE * self.noise)

    def holds_at(self, index: tuple[int, ...], value: float, tol: float) -> tuple[bool, bool]:
        """Return whether the value is a gradient at an entry, and whether that entry is itself at a kink."""
        left, right, noise = self.left[index], self.right[index], self.noise
        width = abs(right - left)
        for scale in SMALLER_STEPS:
            if self.slopes is None or self.noise / scale > width / ABOVE_NOISE:  # it would measure noise only
                break
            noise = self.noise / scale
            left, right = self.slopes(index, scale)
            centered = (left + right) / 2
            if abs(value - centered) <= tol * max(abs(value) + abs(centered), FLOOR) + noise:
                return True, False
        low, high = min(left, right), max(left, right)
        margin = tol * max(abs(value), abs(low), abs(high)) + noise
        at_kink = bool(high - low > max(STILL_A_KINK * width, ABOVE_NOISE * noise))
        return bool(at_kink and low - margin <= value <= high + margin), at_kink


def numeric_gradient(
    f: Callable[[], Any],
    x: Array,
    dout: Array | float,
    h: float = STEP,
    indices: Iterable[tuple[int, ...]] | None = None,
) -> Numeric:
    """Return the Numeric gradient of sum(f() * dout) with respect to x, which f closes over.

    x is changed in place, one entry at a time, and put back. `indices` are the entries to compute, by
    default all; the others stay 0.
    """
    first = f()
    center = float64_copy(first)
    eps = max(_precision(first), _precision(x), EPS)
    noise = ROUNDINGS * eps * max(float(np.sum(np.abs(center * dout))), 1.0) / h

    def slopes(index: Index, scale: float = 1.0) -> tuple[float, float]:
        return _slopes_at(f, x, index, h * scale, center, dout)

    left, right = np.zeros(x.shape), np.zeros(x.shape)
    for index in np.ndindex(x.shape) if indices is None else indices:
        left[index], right[index] = slopes(index)
    return Numeric((left + right) / 2, left, right, noise, slopes, eps)


def _slopes_at(
    f: Callable[[], Any], x: Array, index: Index, h: float, center: Floats, dout: Array | float
) -> tuple[float, float]:
    """Return the slopes to the left and to the right of one entry, or along a step of all entries at once.

    They are divided by the step that was made: x +- h is rounded to x's dtype.
    """
    value = x[index].copy()
    try:
        x[index] = value + h
        above, up = float64_copy(f()), np.mean(x[index] - value, dtype=np.float64)
        x[index] = value - h
        below, down = float64_copy(f()), np.mean(value - x[index], dtype=np.float64)
    finally:
        x[index] = value
    return float(np.sum((center - below) * dout) / down), float(np.sum((above - center) * dout) / up)


def _precision(value: Any) -> float:
    """Return the eps of a floating array's dtype; 0 for anything else."""
    dtype = getattr(value, "dtype", None)
    return float(np.finfo(dtype).eps) if isinstance(dtype, np.dtype) and dtype.kind == "f" else 0.0


def rel_error(x: Any, y: Any, floor: float = FLOOR) -> float:
    """Return the largest relative error between two arrays: max |x - y| / max(floor, |x| + |y|).

    >>> rel_error([1.0, 3.0], [1.0, 1.0])  # |3 - 1| / (3 + 1)
    0.5

    0 means equal; 1 means a wrong sign, or a zero where the other array has none. If any entry is NaN or
    infinite it is inf, which passes no check. Both arrays must have the same shape, since broadcasting would
    compare the wrong entries.
    """
    x, y = np.asarray(x), np.asarray(y)
    if x.shape != y.shape:
        raise ValueError(f"x and y must have the same shape; got {x.shape} and {y.shape}")
    if x.size == 0:
        raise ValueError(f"x and y must not be empty; got the shape {x.shape}")
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        return np.inf
    x, y = x.astype(np.float64) / 2, y.astype(np.float64) / 2  # halved so that no sum overflows
    return float(np.max(np.abs(x - y) / np.maximum(floor / 2, np.abs(x) + np.abs(y))))
