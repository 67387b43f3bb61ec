"""Numeric gradients that know how far they can be trusted: noise of rounding, and kinks.

The centered difference is the mean of the slopes to the left and to the right. Where a kink, as that of
max(x, 0), is within the step these differ, and their mean is the slope of neither side. With a smaller step
the kink is left outside, unless it is at x itself, where every slope between the two is a gradient.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from cs231n.gradcheck.values import as_floats

STEP = 1e-5
SMALLER = (0.1, 0.01)  # shares of the step that an entry is looked at again with
ROUNDINGS = 4  # a sum of n terms is this many roundings of the sum of their sizes uncertain, or less


@dataclass
class Numeric:
    """A numeric gradient, the slopes to either side that it is the mean of, and the noise of rounding.

    - slopes: a function of (index, share of the step) that gives the two slopes there again; None if there is
      no other look; the index ... stands for a step of all entries at once
    - eps: the precision of what the forward pass computes in
    """

    centered: np.ndarray
    left: np.ndarray
    right: np.ndarray
    noise: float
    slopes: Callable | None = None
    eps: float = np.finfo(np.float64).eps

    def near(self, values, tol):
        """Where values are so close to the slopes that a kink, or curvature, may explain what is left."""
        low, high = np.minimum(self.left, self.right), np.maximum(self.left, self.right)
        margin = (high - low) + tol * np.abs(values) + self.noise
        return (low - margin <= values) & (values <= high + margin) & (high - low > 10 * self.noise)

    def holds_at(self, index, value, tol):
        """Whether the value is a gradient at an entry, and whether that entry is itself at a kink."""
        left, right, noise = self.left[index], self.right[index], self.noise
        width = abs(right - left)
        for share in SMALLER if self.slopes else ():
            if self.noise / share > width / 10:  # with a smaller step there would be noise only
                break
            noise = self.noise / share
            left, right = self.slopes(index, share)
            centered = (left + right) / 2
            if abs(value - centered) <= tol * max(abs(value) + abs(centered), 1e-8) + noise:
                return True, False
        low, high = min(left, right), max(left, right)
        margin = tol * max(abs(value), abs(low), abs(high)) + noise
        at_kink = high - low > max(0.3 * width, 10 * noise)  # curvature would have shrunk with the step
        return bool(at_kink and low - margin <= value <= high + margin), bool(at_kink)


def numeric_gradient(f, x, dout, h=STEP):
    """The Numeric gradient of sum(f() * dout) with respect to x, which f closes over, in place."""
    first = f()
    center = as_floats(first)
    eps = max(_precision(first), _precision(x), np.finfo(np.float64).eps)
    noise = ROUNDINGS * eps * max(float(np.sum(np.abs(center * dout))), 1.0) / h

    def slopes(index, share=1.0):
        return _slopes_at(f, x, index, h * share, center, dout)

    left, right = np.zeros(x.shape), np.zeros(x.shape)
    for index in np.ndindex(x.shape):
        left[index], right[index] = slopes(index)
    return Numeric((left + right) / 2, left, right, noise, slopes, eps)


def _slopes_at(f, x, index, h, center, dout):
    """The slopes to the left and to the right of one entry, or along a step of all entries at once."""
    value = x[index].copy()
    try:
        x[index] = value + h
        above, up = as_floats(f()), np.mean(x[index] - value, dtype=np.float64)
        x[index] = value - h
        below, down = as_floats(f()), np.mean(value - x[index], dtype=np.float64)
    finally:
        x[index] = value
    return float(np.sum((center - below) * dout) / down), float(np.sum((above - center) * dout) / up)


def _precision(value):
    dtype = getattr(value, "dtype", None)
    return np.finfo(dtype).eps if dtype is not None and dtype.kind == "f" else 0.0


def rel_error(x, y, floor=1e-8):
    """Largest relative error between two arrays of one shape: max |x - y| / max(floor, |x| + |y|).

    0 means equal and 1 a wrong sign or a zero where none should be; a NaN or an infinity anywhere
    makes it inf, so that it passes no threshold. Shapes that differ raise ValueError: broadcasting
    would compare the wrong entries.
    """
    x, y = np.asarray(x), np.asarray(y)
    if x.shape != y.shape:
        raise ValueError(f"x and y must have the same shape; got {x.shape} and {y.shape}")
    if x.size == 0:
        raise ValueError(f"x and y must not be empty; got the shape {x.shape}")
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        return np.inf
    x, y = x.astype(np.float64) / 2, y.astype(np.float64) / 2  # so that no sum overflows
    return float(np.max(np.abs(x - y) / np.maximum(floor / 2, np.abs(x) + np.abs(y))))
