"""Mistakes in the backward pass of a normalization: each of its terms has a way of being forgotten.

With r = 1 / sqrt(var + eps), x_hat = (x - mean) r and g = gamma dout, the gradient is
r (g - mean(g) - x_hat mean(g x_hat)), the means over the axes that are normalized. Only where the numeric
gradient is this one, for some axes, is the layer taken for a normalization.
"""

import math

import numpy as np

from cs231n.diagnosis.causes import Cause

FORMULA = (
    "The gradient is r (g - mean(g) - x_hat mean(g x_hat)), with g = gamma dout and r = 1 / sqrt(var + eps)."
)


def normalization_causes(case):
    """Causes that are terms of a normalization's gradient, where the layer is one."""
    x, gamma = next(iter(case.inputs.values()), None), case.inputs.get("gamma")
    if x is None or gamma is None or case.dout is None or x.ndim not in (2, 4) or case.dout.shape != x.shape:
        return
    for view, axes in _views(x, case.settings.get("G")):
        terms = Terms(x, gamma, case.dout, view, axes, case.settings.get("eps", 1e-5))
        right = case.numeric.get(next(iter(case.inputs)), case.expected)
        if terms.explain(right):
            yield from _forgotten(case, terms)
            return


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
        per_channel = np.reshape(gamma, (-1,) + (1,) * (x.ndim - 2)) if x.ndim == 4 else gamma
        self.shape, self.axes = x.shape, axes
        self.count = math.prod(view[axis] for axis in axes)
        self.x, self.dout = x.reshape(view), dout.reshape(view)
        self.g = (dout * per_channel).reshape(view)
        self.centered = self.x - self._mean(self.x)
        var = self._mean(self.centered**2)
        self.r = 1 / np.sqrt(var + eps)
        self.unbiased_r = 1 / np.sqrt(var * self.count / max(self.count - 1, 1) + eps)
        self.x_hat = self.centered * self.r

    def _mean(self, array):
        return array.mean(axis=self.axes, keepdims=True)

    def gradient(self, g=None, r=None, mean=1, variance=1, x_hat=None):
        """The gradient with what is named changed: how often each of its two means is subtracted."""
        g = self.g if g is None else g
        r = self.r if r is None else r
        x_hat = self.x_hat if x_hat is None else x_hat
        inner = g - mean * self._mean(g) - variance * x_hat * self._mean(g * x_hat)
        return (r * inner).reshape(self.shape)

    def explain(self, expected):
        right = self.gradient()
        return np.abs(right - expected).max() <= 1e-4 * np.abs(expected).max()


def _forgotten(case, terms):
    """Of the gradients with one mistake, those that were computed."""
    of_x = {
        "the mean's term is missing": terms.gradient(mean=0),
        "the variance's term is missing": terms.gradient(variance=0),
        "mean and variance are treated as constants": terms.gradient(mean=0, variance=0),
        "the mean's term has the wrong sign": terms.gradient(mean=-1),
        "the variance's term has the wrong sign": terms.gradient(variance=-1),
        "the variance's term is twice what it should be": terms.gradient(variance=2),
        "the variance's term is half of what it should be": terms.gradient(variance=0.5),
        "sums stand where means should": terms.gradient(mean=terms.count, variance=terms.count),
        "the mean's term is a sum, not a mean": terms.gradient(mean=terms.count),
        "the variance's term is a sum, not a mean": terms.gradient(variance=terms.count),
        "gamma is missing": terms.gradient(g=terms.dout),
        "the division by the deviation is missing": terms.gradient(r=1),
        "it is divided by the variance, not by the deviation": terms.gradient(r=terms.r**2),
        "the variance is divided by N - 1, not by N": terms.gradient(
            r=terms.unbiased_r, x_hat=terms.centered * terms.unbiased_r
        ),
        "x - mean stands where x_hat should": terms.gradient(x_hat=terms.centered),
    }
    yield from _matching(case, of_x, FORMULA)
    of_gamma = {
        "x stands where x_hat should": _per_gamma(terms.dout * terms.x, terms, case),
        "x - mean stands where x_hat should": _per_gamma(terms.dout * terms.centered, terms, case),
    }
    yield from _matching(case, of_gamma, "dgamma is the sum of dout * x_hat over what shares gamma.")


def _per_gamma(array, terms, case):
    """What the entries of gamma get: summed over all axes but that of features or channels."""
    array = array.reshape(terms.shape)
    axes = tuple(axis for axis in range(array.ndim) if axis != 1)
    return array.sum(axis=axes).reshape(case.inputs["gamma"].shape)


def _matching(case, candidates, look):
    for title, gradient in candidates.items():
        if gradient.shape == case.actual.shape and case.is_explained_by(gradient):
            yield Cause(title, "all entries are those of the formula with this mistake", look)
