"""The terms of a normalization's gradient, and whether a layer is a normalization at all.

With r = 1 / sqrt(var + eps), x_hat = (x - mean) r and g = gamma dout, the gradient is
r (g - mean(g) - x_hat mean(g x_hat)), with means over the normalized axes. A layer is recognized as a
normalization only if the numeric gradient is this one for some axes.
"""

import math
from collections.abc import Iterator

import numpy as np

from cs231n.gradcheck.diagnosis.causes import Array, Case, same
from cs231n.gradcheck.tolerances import COMBINATION

DEFAULT_EPS = 1e-5  # of the layers
SIGNS = np.array([1, -1, -1])  # of the three terms in the gradient

Axes = tuple[int, ...]


class Terms:
    """The parts of a normalization's gradient, in a shape with separate axes for what is normalized."""

    def __init__(self, x: Array, gamma: Array, dout: Array, view: Axes, axes: Axes, eps: float) -> None:
        per_channel = np.reshape(gamma, (-1,) + (1,) * (x.ndim - 2))
        self.shape, self.axes, self.eps = x.shape, axes, eps
        self.count = math.prod(view[axis] for axis in axes)
        self.x, self.dout = x.reshape(view), dout.reshape(view)
        self.g = (dout * per_channel).reshape(view)
        self.centered = self.x - self.mean(self.x)
        self.var = self.mean(self.centered**2)
        self.r = 1 / np.sqrt(self.var + eps)
        self.x_hat = self.centered * self.r

    def mean(self, array: Array, axes: Axes | None = None) -> Array:
        """Return the mean over the normalized axes or others, which stay with length 1."""
        mean: Array = array.mean(axis=axes or self.axes, keepdims=True)
        return mean

    def gradient(
        self,
        g: Array | None = None,
        r: Array | None = None,
        x_hat: Array | None = None,
        axes: Axes | None = None,
        extra_power: int = 0,
    ) -> Array:
        """Return the gradient, with the named parts changed and the last term times r**extra_power."""
        g = self.g if g is None else g
        r = self.r if r is None else r
        x_hat = self.x_hat if x_hat is None else x_hat
        of_variance = self.r**extra_power * x_hat * self.mean(g * x_hat, axes)
        return (r * (g - self.mean(g, axes) - of_variance)).reshape(self.shape)

    def counts(self, actual: Array) -> tuple[float, float, float] | None:
        """Return how many times a gradient contains r g, -r mean(g) and -r x_hat mean(g x_hat), or None."""
        parts = [self.g, self.mean(self.g), self.x_hat * self.mean(self.g * self.x_hat)]
        terms = [np.broadcast_to(self.r * part, self.x.shape).reshape(-1) for part in parts]
        columns, target = np.stack(terms, axis=1), actual.reshape(-1)
        coefficients, _, rank, _ = np.linalg.lstsq(columns, target, rcond=None)
        rest = np.abs(columns @ coefficients - target).max()
        if rank < len(parts) or not rest <= COMBINATION * np.abs(actual).max():
            return None
        of_g, of_mean, of_variance = (SIGNS * coefficients).tolist()
        return of_g, of_mean, of_variance


def recognize(case: Case) -> Terms | None:
    """Return the Terms of the normalization under test, or None if the layer is not one."""
    x, gamma, dout = case.x, case.inputs.get("gamma"), case.dout
    if x is None or gamma is None or dout is None or x.ndim not in (2, 4):
        return None
    if not dout.shape == case.dx.shape == x.shape or gamma.size != x.shape[1]:
        return None
    eps = case.number("eps")
    for view, axes in _views(x, case.integer("G")):
        terms = Terms(x, gamma, dout, view, axes, DEFAULT_EPS if eps is None else eps)
        if same(terms.gradient(), case.dx):
            return terms
    return None


def _views(x: Array, groups: int | None) -> Iterator[tuple[Axes, Axes]]:
    """Yield (shape, axes) of the ways to normalize x: over the batch, over an example, over its groups."""
    if x.ndim == 2:
        yield x.shape, (0,)
        yield x.shape, (1,)
        return
    yield x.shape, (0, 2, 3)
    if groups and x.shape[1] % groups == 0:
        yield (len(x), groups, x.shape[1] // groups, *x.shape[2:]), (2, 3, 4)
