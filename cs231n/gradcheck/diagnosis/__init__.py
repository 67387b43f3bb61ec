"""Why a gradient is wrong: the way in which it differs from the numeric one tells the mistake.

`diagnose` looks for every mistake that it knows and names those that the numbers speak for. It names none
that they do not: where nothing fits, `where_wrong` says where the error sits, and no more.

A mistake is known in one of two ways. Either it is an operation on the right gradient, such as a factor; or
the layer is recognized, because its own formula gives the numeric gradient, and the formula with the mistake
gives the gradient at hand. Both have to agree in all entries, to 1e-5 of the largest.
"""

import numpy as np

from cs231n.gradcheck.diagnosis.causes import Case, Cause, Kind, same
from cs231n.gradcheck.diagnosis.convolution import convolution_causes
from cs231n.gradcheck.diagnosis.elementwise import elementwise_causes
from cs231n.gradcheck.diagnosis.factors import factor_causes
from cs231n.gradcheck.diagnosis.normalization import normalization_causes
from cs231n.gradcheck.diagnosis.parts import part_causes, where_wrong
from cs231n.gradcheck.diagnosis.pooling import pooling_causes
from cs231n.gradcheck.diagnosis.regularization import regularization_causes
from cs231n.gradcheck.diagnosis.shapes import shape_causes
from cs231n.gradcheck.diagnosis.sums import sum_causes
from cs231n.gradcheck.diagnosis.whole import REARRANGED, whole_causes
from cs231n.gradcheck.values import float64_copy, is_numbers

__all__ = [
    "REARRANGED",
    "Case",
    "Cause",
    "Kind",
    "diagnose",
    "diagnose_value",
    "factor_causes",
    "where_wrong",
]

EXPLANATIONS = (
    *(regularization_causes, whole_causes, factor_causes, elementwise_causes),
    *(normalization_causes, convolution_causes, pooling_causes, sum_causes),
)


def diagnose(case):
    """The causes that fit a `Case`, the likeliest first; none if nothing that is known does."""
    with np.errstate(all="ignore"):
        if same(case.actual, case.expected) and not case.wrong.any():  # right but for rounding
            return []
        causes = {cause.title: cause for explain in EXPLANATIONS for cause in explain(case)}
        return list(causes.values()) or list(part_causes(case))


def diagnose_value(value, expected, **known):
    """Causes for what cannot be compared entry by entry with `expected`, an array; none if it can.

    - known: what is known besides, as in a `Case`; a wrong shape is often explained by it
    """
    if value is None:
        look = "Was it computed, and returned in its place?"
        return [Cause("it is None", "no gradient was returned", look, kind=Kind.MISSING)]
    if not is_numbers(value):
        is_array = issubclass(type(value), np.ndarray)
        kind = f"an array of {value.dtype}" if is_array else f"a {type(value).__name__}"
        look = "A gradient is an array like its argument."
        return [Cause("it is not an array of numbers", f"it is {kind}", look, kind=Kind.NOT_NUMBERS)]
    value, expected = float64_copy(value), np.asarray(expected)
    if value.shape != expected.shape:
        with np.errstate(all="ignore"):
            return shape_causes(Case(value, expected, **known))
    bad = ~np.isfinite(value)
    if bad.any():
        first = tuple(int(i) for i in np.argwhere(bad)[0])
        return [
            Cause(
                "it is not finite",
                f"{bad.sum()} of {value.size} entries are NaN or infinite, the first at {first}",
                "Look for a division by zero, a log of zero or an overflow in exp.",
                kind=Kind.NOT_FINITE,
            )
        ]
    return []
