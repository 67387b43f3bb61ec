"""Compute numeric gradients that know how far they can be trusted: rounding noise, and kinks.

The centered difference is the mean of the slopes to the left and to the right. If the step crosses a kink,
such as ReLU's, the two slopes differ, and their mean is the slope of neither side. A smaller step leaves the
kink outside, unless it is at x itself, where every slope between the two is a gradient.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from types import EllipsisType
from typing import Any, NamedTuple

import numpy as np
from tqdm import tqdm

from cs231n.gradcheck.tolerances import (
    ABOVE_NOISE,
    FLOOR,
    LARGER_STEPS,
    ROUNDINGS,
    SMALLER_STEPS,
    STEP,
    STILL_A_KINK,
)
from cs231n.gradcheck.values import Array, Floats, equal, float64_copy

Index = tuple[int, ...] | EllipsisType
EPS = float(np.finfo(np.float64).eps)
ROUNDING_TRIALS = 2  # ways to round that are tried


class Look(NamedTuple):
    """What a second look at one entry shows.

    - right: the value is a gradient there; at_kink: the point itself is at a kink
    - expected: the centered difference with the smallest step that was tried
    """

    right: bool
    at_kink: bool
    expected: float


@dataclass
class Numeric:
    """A numeric gradient: the mean of the slopes to the left and to the right, and its rounding noise.

    - slopes: a function of (index, scale) that measures the two slopes of an entry again, with `scale` times
      the step; the index ... stands for a step of all entries at once; None if they cannot be measured again
    - steady: the forward pass returned the same at the end as at the beginning
    """

    centered: Floats
    left: Floats
    right: Floats
    noise: float
    slopes: Callable[[Index, float], tuple[float, float]] | None = None
    steady: bool = True

    @property
    def bent(self) -> Array:
        """Where the slopes to the two sides differ, and it is not noise: at kinks, and where it is curved."""
        is_bent: Array = np.abs(self.right - self.left) > ABOVE_NOISE * self.noise
        return is_bent

    def look_again(self, index: tuple[int, ...], value: float, tol: float) -> Look:
        """Return what smaller steps show about a value: kinks beside the point are then outside the step."""
        left, right, noise = self.left[index], self.right[index], self.noise
        width, expected = abs(right - left), float(self.centered[index])
        for scale in SMALLER_STEPS:
            if self.slopes is None or self.noise / scale > width / ABOVE_NOISE:  # it would measure noise only
                break
            noise = self.noise / scale
            left, right = self.slopes(index, scale)
            expected = (left + right) / 2
            if abs(value - expected) <= tol * max(abs(value) + abs(expected), FLOOR) + noise:
                return Look(True, False, expected)
        low, high = min(left, right), max(left, right)
        margin = tol * max(abs(value), abs(low), abs(high)) + noise
        at_kink = bool(high - low > max(STILL_A_KINK * width, ABOVE_NOISE * noise))
        return Look(at_kink and bool(low - margin <= value <= high + margin), at_kink, expected)

    def with_larger_step(self, index: tuple[int, ...]) -> tuple[float, float]:
        """Return the slope of an entry by steps in which rounding matters less, and how far off it may be.

        The error of a centered difference grows as the square of the step: two steps show how large it is.
        """
        if self.slopes is None:
            return float(self.centered[index]), self.noise
        near, far = (sum(self.slopes(index, scale)) / 2 for scale in LARGER_STEPS)
        return near, self.noise / LARGER_STEPS[0] + abs(far - near)


def numeric_gradient(
    f: Callable[[], Any],
    x: Array,
    dout: Array | float,
    h: float = STEP,
    indices: Iterable[tuple[int, ...]] | None = None,
    *,
    rounding: float = 0.0,
) -> Numeric:
    """Return the Numeric gradient of sum(f() * dout) with respect to x, which f closes over.

    x is changed in place, one entry at a time, and put back. `indices` are the entries to compute, by
    default all; the others stay 0. `rounding` is the rounding error of sum(f() * dout), if it is known to be
    larger than that of the sum alone, see `rounding_of`.
    """
    first = f()
    center = float64_copy(first)
    eps = max(_precision(first), _precision(x), EPS)
    noise = ROUNDINGS * max(eps * max(float(np.sum(np.abs(center * dout))), 1.0), rounding) / h

    def slopes(index: Index, scale: float = 1.0) -> tuple[float, float]:
        return _slopes_at(f, x, index, h * scale, center, dout)

    left, right = np.zeros(x.shape), np.zeros(x.shape)
    for index in np.ndindex(x.shape) if indices is None else indices:
        left[index], right[index] = slopes(index)
    return Numeric((left + right) / 2, left, right, noise, slopes, steady=equal(center, f()))


def numeric_gradients(
    f: Callable[[], Any], arrays: Mapping[str, Array], dout: Array | float, h: float = STEP
) -> dict[str, Numeric]:
    """Return the Numeric gradient for each array that f closes over; after five seconds, show progress."""
    rounding = rounding_of(f, arrays.values(), dout)
    total = sum(array.size for array in arrays.values())
    with tqdm(
        total=total, desc="gradient check", unit="entry", delay=5, mininterval=1, leave=False, ncols=79
    ) as bar:

        def counted(array: Array) -> Iterator[tuple[int, ...]]:
            for index in np.ndindex(array.shape):
                yield index
                bar.update()

        return {
            name: numeric_gradient(f, array, dout, h, counted(array), rounding=rounding)
            for name, array in arrays.items()
        }


def rounding_of(f: Callable[[], Any], arrays: Iterable[Array], dout: Array | float) -> float:
    """Return by how much sum(f() * dout) changes if the arrays, which f closes over, are rounded otherwise.

    Each number moves by one unit in its last place, up or down. Where a forward pass subtracts nearly equal
    numbers, as a normalization of small differences does, this is far more than the rounding of the output.
    """
    arrays = list(arrays)
    before, center = [array.copy() for array in arrays], float64_copy(f())
    signs = np.random.default_rng(0)
    changes = []
    try:
        for _ in range(ROUNDING_TRIALS):
            for array, value in zip(arrays, before, strict=True):
                array[...] = value * (1 + EPS * signs.choice((-1.0, 1.0), size=value.shape))
            changes.append(abs(float(np.sum((float64_copy(f()) - center) * dout))))
    finally:
        for array, value in zip(arrays, before, strict=True):
            array[...] = value
    largest = max(changes)
    return largest if np.isfinite(largest) else 0.0


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
