"""Why a gradient is wrong: the way it differs from the numeric gradient shows the mistake.

`diagnose` looks for every mistake that it knows and reports only those that the numbers support. If nothing
fits, `where_wrong` says where the error sits, and no more.

A mistake is recognized in one of two ways. Either it is an operation on the right gradient, such as a factor;
or the layer is recognized, because its formula gives the output or the numeric gradient, and the formula with
the mistake gives the learner's gradient. Both have to agree in all entries, see `tolerances`.

An explainer, such as `find_sums`, takes a `Case` and yields a `Finding` for every mistake that fits.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from cs231n.gradcheck.diagnosis.affine import find_affine, gradients_of_affine
from cs231n.gradcheck.diagnosis.causes import Array, Case, Cause, Finding, Kind, Observed, causes_of, same
from cs231n.gradcheck.diagnosis.convolution import gradients_of_convolution
from cs231n.gradcheck.diagnosis.convolution_mistakes import find_convolution
from cs231n.gradcheck.diagnosis.elementwise import find_elementwise, gradients_of_mask
from cs231n.gradcheck.diagnosis.factors import find_factors
from cs231n.gradcheck.diagnosis.forward_passes import find_forward_passes
from cs231n.gradcheck.diagnosis.losses import find_losses, gradients_of_loss
from cs231n.gradcheck.diagnosis.mistakes import Mistake
from cs231n.gradcheck.diagnosis.networks import case_of_its_layer, find_networks, gradients_of_network
from cs231n.gradcheck.diagnosis.normalization import find_normalization, gradients_of_normalization
from cs231n.gradcheck.diagnosis.parts import find_parts, where_wrong
from cs231n.gradcheck.diagnosis.pooling import gradients_of_pooling, judged_by_formula
from cs231n.gradcheck.diagnosis.pooling_mistakes import find_pooling
from cs231n.gradcheck.diagnosis.regularization import find_regularization
from cs231n.gradcheck.diagnosis.reshapes import find_reshaped
from cs231n.gradcheck.diagnosis.sandwiches import find_sandwich, gradients_of_sandwich
from cs231n.gradcheck.diagnosis.shapes import find_shapes
from cs231n.gradcheck.diagnosis.sums import find_sums
from cs231n.gradcheck.diagnosis.whole import REARRANGED, find_whole
from cs231n.gradcheck.values import float64_copy, is_numbers

__all__ = [
    "REARRANGED",
    "Case",
    "Cause",
    "Kind",
    "Mistake",
    "Observed",
    "diagnose",
    "diagnose_value",
    "factor_causes",
    "right_gradients",
    "where_wrong",
]

Explainer = Callable[[Case], Iterator[Finding]]

# They recognize a layer and then name the very line that is wrong. What the others would say of the same
# numbers is true, but says less, so it is left out.
EXACT: list[Explainer] = [
    find_networks,
    find_forward_passes,
    find_sandwich,
    find_losses,
    find_elementwise,
    find_affine,
]

EXPLAINERS: list[Explainer] = [  # the likeliest mistakes first
    find_regularization,
    find_normalization,  # before a constant offset, which it may be with one feature or example
    find_whole,
    find_factors,
    find_convolution,
    find_pooling,
    find_sums,
]

# Each returns the right gradients {name: array} of a layer that it recognizes by its output alone, or None.
FORMULAS: list[Callable[[Observed], Mapping[str, Array] | None]] = [
    gradients_of_affine,
    gradients_of_mask,
    gradients_of_loss,
    gradients_of_convolution,
    gradients_of_pooling,
    gradients_of_normalization,
    gradients_of_sandwich,
    gradients_of_network,
]


def diagnose(case: Case) -> list[Cause]:
    """Return the causes that fit a `Case`, the likeliest first; an empty list if no known mistake fits."""
    with np.errstate(all="ignore"):
        case = judged_by_formula(case)
        if same(case.actual, case.expected) and not case.wrong.any():  # right except for rounding
            return []
        findings = list(_found(case)) or list(_found(case_of_its_layer(case)))
        return causes_of(findings or find_parts(case))


def _found(case: Case | None) -> Iterator[Finding]:
    """Yield what the first exact explainer finds, or else all others; a mere order of entries comes last."""
    if case is None:
        return
    exact = (list(explain(case)) for explain in EXACT)
    findings = next(filter(None, exact), []) or [found for explain in EXPLAINERS for found in explain(case)]
    yield from findings or find_reshaped(case)


def right_gradients(observed: Observed) -> Mapping[str, Array]:
    """Return the gradients {name: array} that a known layer's formulas give; {} if the layer is not known."""
    with np.errstate(all="ignore"):
        found = (formula(observed) for formula in FORMULAS)
        return next((gradients for gradients in found if gradients is not None), {})


def factor_causes(case: Case) -> list[Cause]:
    """Return the causes that are a constant factor, for gradients of which only some numbers are known."""
    return causes_of(find_factors(case))


def diagnose_value(value: Any, expected: Any, **known: Any) -> list[Cause]:
    """Return causes for a value that cannot be compared with the array `expected` entry by entry.

    The list is empty if it can.

    - known: other fields of a `Case`, which often explain a wrong shape
    """
    if value is None:
        return [_none().cause()]
    if not is_numbers(value):
        return [_not_numbers(value).cause()]
    value, expected = float64_copy(value), np.asarray(expected)
    if value.shape != expected.shape:
        with np.errstate(all="ignore"):
            return causes_of([find_shapes(Case(value, expected, **known))])
    return [] if np.isfinite(value).all() else [_not_finite(value).cause()]


def _none() -> Finding:
    look = "Was it computed, and returned in its place?"
    return Finding(Mistake.NONE, "no gradient was returned", look)


def _not_numbers(value: Any) -> Finding:
    is_array = issubclass(type(value), np.ndarray)
    kind = f"an array of {value.dtype}" if is_array else f"a {type(value).__name__}"
    return Finding(Mistake.NOT_NUMBERS, f"it is {kind}", "A gradient is an array like its argument.")


def _not_finite(value: Array) -> Finding:
    bad = ~np.isfinite(value)
    first = tuple(int(i) for i in np.argwhere(bad)[0])
    evidence = f"{bad.sum()} of {value.size} entries are NaN or infinite, the first at {first}"
    look = "Look for a division by zero, a log of zero or an overflow in exp."
    return Finding(Mistake.NOT_FINITE, evidence, look)
