"""Mistakes in the backward pass of a normalization: each of its terms can be forgotten in its own way.

`terms` has the formula. Least squares gives how many times a gradient contains each term; other mistakes,
such as means over other axes, are tried one by one.
"""

import math
from collections.abc import Iterator

import numpy as np

from cs231n.gradcheck.diagnosis.causes import Array, Case, Finding, matching
from cs231n.gradcheck.diagnosis.mistakes import Mistake
from cs231n.gradcheck.diagnosis.sums import some_axes
from cs231n.gradcheck.diagnosis.terms import Terms, recognize
from cs231n.gradcheck.tolerances import TERM_COUNT, TINY_VARIANCE

FORMULA = (
    "The gradient is r (g - mean(g) - x_hat mean(g x_hat)), with g = gamma dout and r = 1 / sqrt(var + eps)."
)
DGAMMA = "dgamma is the sum of dout * x_hat over everything that shares gamma."
OF_BOTH_TERMS = {  # the same mistake in both terms has a name of its own
    Mistake.TERM_MISSING: Mistake.CONSTANTS,
    Mistake.TERM_SUMMED: Mistake.SUMS_FOR_MEANS,
    Mistake.TERM_OVER_EXAMPLES: Mistake.MEANS_OVER_EXAMPLES,
}


def find_normalization(case: Case) -> Iterator[Finding]:
    """Find mistakes in the terms of a normalization's gradient, if the layer is one."""
    terms = recognize(case)
    if terms is None:
        return
    if case.actual.shape == terms.shape:
        yield from _miscounted_terms(case, terms)
        yield from matching(case, _wrong_factors(terms), FORMULA)
        yield from matching(case, _wrong_axes(terms), FORMULA)
    elif case.name.startswith("gamma"):
        yield from matching(case, _wrong_dgamma(case, terms), DGAMMA)


def _miscounted_terms(case: Case, terms: Terms) -> Iterator[Finding]:
    """Find a term that is missing, has the wrong sign, is a sum instead of a mean, and the like."""
    counts = terms.counts(case.actual)
    if counts is None or not math.isclose(counts[0], 1, rel_tol=TERM_COUNT):
        return
    _, of_mean, of_variance = counts
    evidence = f"mean(g) is in it {_text(of_mean)} times, x_hat mean(g x_hat) {_text(of_variance)} times"
    for mistake, term in _mistakes(_mistake(of_mean, terms), _mistake(of_variance, terms)):
        yield Finding(mistake, evidence, FORMULA, about=term)


def _text(count: float) -> str:
    return f"{round(count, 4) + 0.0:.6g}"  # + 0.0 turns -0.0 into 0.0


def _mistakes(in_mean: Mistake | None, in_variance: Mistake | None) -> Iterator[tuple[Mistake, str]]:
    """Yield (mistake, term it is in), given the mistakes in the two terms."""
    if in_mean is in_variance and in_mean in OF_BOTH_TERMS:
        yield OF_BOTH_TERMS[in_mean], ""
        return
    if in_variance is Mistake.TERM_UNBIASED and in_mean is None:
        yield Mistake.UNBIASED_VARIANCE, ""
        return
    if in_mean is not None:
        yield in_mean, "mean"
    if in_variance is not None:
        yield in_variance, "variance"


def _mistake(count: float, terms: Terms) -> Mistake | None:
    """Return the mistake in a term that the gradient contains `count` times; None for once."""
    meanings = (  # the first that fits
        (1, None),
        (0, Mistake.TERM_MISSING),
        (-1, Mistake.TERM_NEGATIVE),
        (terms.count, Mistake.TERM_SUMMED),
        (terms.count / max(terms.count - 1, 1), Mistake.TERM_UNBIASED),
        (2, Mistake.TERM_TWICE),
        (0.5, Mistake.TERM_HALF),
        (terms.count / len(terms.x), Mistake.TERM_OVER_EXAMPLES),
    )
    for number, mistake in meanings:
        if math.isclose(count, number, rel_tol=TERM_COUNT, abs_tol=TERM_COUNT):
            return mistake
    return Mistake.TERM_SCALED


def _wrong_factors(terms: Terms) -> Iterator[tuple[Mistake, Array]]:
    """Yield (mistake, gradient) where gamma, eps or the standard deviation is missing or in excess."""
    r, one = terms.r, np.ones(1)
    without_eps = 1 / np.sqrt(np.maximum(terms.var, TINY_VARIANCE))
    unbiased_var = terms.var * terms.count / max(terms.count - 1, 1)
    unbiased = 1 / np.sqrt(unbiased_var + terms.eps)
    yield Mistake.NO_GAMMA, terms.gradient(g=terms.dout)
    yield Mistake.NO_DIVISION_BY_STD, terms.gradient(r=one)
    yield Mistake.NO_DIVISION_BY_STD, terms.gradient(r=one, extra_power=1)
    yield Mistake.DIVIDED_BY_VARIANCE, terms.gradient(r=r**2)
    yield Mistake.NO_EPS, terms.gradient(r=without_eps)
    yield Mistake.NO_EPS, terms.gradient(r=without_eps, x_hat=terms.centered * without_eps)
    yield Mistake.UNBIASED_VARIANCE, terms.gradient(r=unbiased, x_hat=terms.centered * unbiased)
    yield Mistake.CENTERED_FOR_X_HAT, terms.gradient(x_hat=terms.centered)
    for power in (-2, -1, 1, 2):
        yield Mistake.WRONG_POWER, terms.gradient(extra_power=power)


def _wrong_axes(terms: Terms) -> Iterator[tuple[Mistake, Array]]:
    """Yield (mistake, gradient) with the two means over any other axes."""
    for axes in some_axes(terms.x.ndim):
        if axes != terms.axes:
            yield Mistake.MEANS_OVER_WRONG_AXES, terms.gradient(axes=axes)


def _wrong_dgamma(case: Case, terms: Terms) -> Iterator[tuple[Mistake, Array]]:
    """Yield (mistake, gradient of gamma) where another factor replaces x_hat."""
    all_but_channels = tuple(axis for axis in range(len(terms.shape)) if axis != 1)
    replacements = ((Mistake.X_FOR_X_HAT, terms.x), (Mistake.CENTERED_FOR_X_HAT, terms.centered))
    for mistake, factor in replacements:
        products = (terms.dout * factor).reshape(terms.shape)
        yield mistake, products.sum(axis=all_but_channels).reshape(case.expected.shape)
