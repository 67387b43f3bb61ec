"""The terms of a normalization's gradient, and whether a layer is a normalization at all.

With r = 1 / sqrt(var + eps), x_hat = (x - mean) r and g = gamma dout, the gradient is
r (g - mean(g) - x_hat mean(g x_hat)), the means over the axes that are normalized. Only where the numeric
gradient is this one, for some axes, is the layer taken for a normalization.
"""

import math

import numpy as np


def recognize(case):
    """The Terms of the normalization that the case is of; None if it is of none."""
    x, gamma, dout = case.x, case.inputs.get("gamma"), case.dout
    if x is None or gamma is None or dout is None or x.ndim not in (2, 4) or dout.shape != x.shape:
        return None
    if case.dx.shape != x.shape or gamma.size != x.shape[1]:
        return None
    for view, axes in _views(x, case.settings.get("G")):
        terms = Terms(x, gamma, dout, view, axes, case.settings.get("eps", 1e-5))
        if np.abs(terms.gradient() - case.dx).max() <= 1e-5 * np.abs(case.dx).max():
            return terms
    return None


def _views(x, groups):
    """(shape, axes) of the ways to normalize x: over the batch, over an example, over its groups."""
    if x.ndim == 2:
        yield from ((x.shape, (0,)), (x.shape, (1,)))
    else:
        yield x.shape, (0, 2, 3)
        if groups and x.shape[1] % groups == 0:
            yield (len(x), groups, x.shape[1] // groups, *x.shape[2:]), (2, 3, 4)


class Terms:
    """The parts that a normalization's gradient is made of, in the shape in which its axes are apart."""

    def __init__(self, x, gamma, dout, view, axes, eps):
        per_channel = np.reshape(gamma, (-1,) + (1,) * (x.ndim - 2))
        self.shape, self.axes, self.eps = x.shape, axes, eps
        self.count = math.prod(view[axis] for axis in axes)
        self.x, self.dout = x.reshape(view), dout.reshape(view)
        self.g = (dout * per_channel).reshape(view)
        self.centered = self.x - self.mean(self.x)
        self.var = self.mean(self.centered**2)
        self.r = 1 / np.sqrt(self.var + eps)
        self.x_hat = self.centered * self.r

    def mean(self, array, axes=None):
        return array.mean(axis=axes or self.axes, keepdims=True)

    def gradient(self, g=None, r=None, power=0, x_hat=None, axes=None):
        """The gradient with what is named changed; `power`: by which power of r the last term is off."""
        g = self.g if g is None else g
        r = self.r if r is None else r
        x_hat = self.x_hat if x_hat is None else x_hat
        inner = g - self.mean(g, axes) - self.r**power * x_hat * self.mean(g * x_hat, axes)
        return (r * inner).reshape(self.shape)

    def amounts(self, actual):
        """How often the three terms r g, r mean(g) and r x_hat mean(g x_hat) are in a gradient; or None."""
        parts = [self.g, self.mean(self.g), self.x_hat * self.mean(self.g * self.x_hat)]
        columns = np.stack(
            [np.broadcast_to(self.r * part, self.x.shape).reshape(-1) for part in parts], axis=1
        )
        amounts, _, rank, _ = np.linalg.lstsq(columns, actual.reshape(-1), rcond=None)
        rest = np.abs(columns @ amounts - actual.reshape(-1)).max()
        return amounts * [1, -1, -1] if rank == 3 and rest <= 1e-6 * np.abs(actual).max() else None
