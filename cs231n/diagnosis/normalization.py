"""Mistakes in the backward pass of a normalization: each of its terms has a way of being forgotten.

With r = 1 / sqrt(var + eps), x_hat = (x - mean) r and g = gamma dout, the gradient is
r (g - mean(g) - x_hat mean(g x_hat)), the means over the axes that are normalized. Only where the numeric
gradient is this one, for some axes, is the layer taken for a normalization.
"""

import math
from itertools import chain, combinations

import numpy as np

from cs231n.diagnosis.causes import Cause, matching

FORMULA = (
    "The gradient is r (g - mean(g) - x_hat mean(g x_hat)), with g = gamma dout and r = 1 / sqrt(var + eps)."
)
DGAMMA = "dgamma is the sum of dout * x_hat over what shares gamma."


def normalization_causes(case):
    """Causes that are terms of a normalization's gradient, where the layer is one."""
    terms = recognize(case)
    if terms is None:
        return
    if case.actual.shape == terms.shape:
        yield from _wrong_amounts(case, terms)
        yield from matching(case, _wrong_factors(terms), FORMULA)
        yield from matching(case, _wrong_axes(terms), FORMULA)
    elif case.name.startswith("gamma"):
        yield from matching(case, _wrong_dgamma(case, terms), DGAMMA)


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


def _wrong_amounts(case, terms):
    """A term too few, too many, of wrong sign, or a sum where a mean should be."""
    amounts = terms.amounts(case.actual)
    if amounts is None or not math.isclose(amounts[0], 1, rel_tol=1e-4):
        return
    mean, variance = (_amount(amount, terms) for amount in amounts[1:])
    both = mean == variance
    if both and mean == "is missing":
        titles = ["mean and variance are treated as constants"]
    elif both and mean == "is a sum, not a mean":
        titles = ["sums stand where means should"]
    elif both and mean == "is divided by N, not by all that is summed":
        titles = [f"the means {mean.replace('is', 'are', 1)}"]
    elif variance == "is divided by N - 1, not by N" and not mean:
        titles = [f"the variance {variance}"]
    else:
        named = (("mean", mean), ("variance", variance))
        titles = [f"the {name}'s term {wrong}" for name, wrong in named if wrong]
    evidence = f"mean(g) is in it {amounts[1]:.4g} times, x_hat mean(g x_hat) {amounts[2]:.4g} times"
    for title in titles:
        yield Cause(title, evidence, FORMULA)


def _amount(amount, terms):
    """What is wrong with a term that should be there once, in words; None if nothing is."""
    meanings = (  # the first that fits
        (1, None),
        (0, "is missing"),
        (-1, "has the wrong sign"),
        (terms.count, "is a sum, not a mean"),
        (terms.count / max(terms.count - 1, 1), "is divided by N - 1, not by N"),
        (2, "is twice what it should be"),
        (0.5, "is half of what it should be"),
        (terms.count / len(terms.x), "is divided by N, not by all that is summed"),
    )
    for number, meaning in meanings:
        if math.isclose(amount, number, rel_tol=1e-4, abs_tol=1e-4):
            return meaning
    return "is off by a factor"


def _wrong_factors(terms):
    """(title, gradient) where gamma, eps or the deviation is missing, or is there too often."""
    r = terms.r
    no_eps = 1 / np.sqrt(np.maximum(terms.var, 1e-300))
    unbiased = 1 / np.sqrt(terms.var * terms.count / max(terms.count - 1, 1) + terms.eps)
    yield "gamma is missing", terms.gradient(g=terms.dout)
    yield "the division by the deviation is missing", terms.gradient(r=1)
    yield "the division by the deviation is missing", terms.gradient(r=1, power=1)
    yield "it is divided by the variance, not by the deviation", terms.gradient(r=r**2)
    yield "eps is missing", terms.gradient(r=no_eps)
    yield "eps is missing", terms.gradient(r=no_eps, x_hat=terms.centered * no_eps)
    yield (
        "the variance is divided by N - 1, not by N",
        terms.gradient(r=unbiased, x_hat=terms.centered * unbiased),
    )
    yield "x - mean stands where x_hat should", terms.gradient(x_hat=terms.centered)
    for power in (-2, -1, 1, 2):
        yield "the variance's term has a wrong power of sqrt(var + eps)", terms.gradient(power=power)


def _wrong_axes(terms):
    """(title, gradient) with the two means over any other axes."""
    ndim = terms.x.ndim
    for axes in chain.from_iterable(combinations(range(ndim), count) for count in range(1, ndim + 1)):
        if axes != terms.axes:
            yield "the means are taken over the wrong axes", terms.gradient(axes=axes)


def _wrong_dgamma(case, terms):
    """(title, gradient of gamma) where something else stands for x_hat."""
    others = tuple(axis for axis in range(len(terms.shape)) if axis != 1)
    for title, factor in (
        ("x stands where x_hat should", terms.x),
        ("x - mean stands where x_hat should", terms.centered),
    ):
        shares = (terms.dout * factor).reshape(terms.shape)
        yield title, shares.sum(axis=others).reshape(case.expected.shape)
