"""Mistakes in the backward pass of a normalization: each of its terms has a way of being forgotten.

`terms` has the formula. Least squares tells how often each term is in a gradient; other mistakes, such as
means over other axes, are tried one by one.
"""

import math
from itertools import chain, combinations

import numpy as np

from cs231n.gradcheck.diagnosis.causes import Cause, matching
from cs231n.gradcheck.diagnosis.terms import recognize

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
