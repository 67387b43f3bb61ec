"""Why a gradient is wrong: the way in which it differs from the numeric one tells the mistake.

`diagnose` looks for every mistake that it knows and names those that the numbers speak for. It names none
that they do not: where nothing fits, it says where the error sits, and no more.
"""

import numpy as np

from cs231n.diagnosis.causes import Case, Cause, same
from cs231n.diagnosis.normalization import normalization_causes
from cs231n.diagnosis.parts import part_causes
from cs231n.diagnosis.regularization import regularization_causes
from cs231n.diagnosis.shapes import is_numbers, shape_causes
from cs231n.diagnosis.whole import whole_causes

__all__ = ["Case", "Cause", "diagnose", "diagnose_value"]

EXPLANATIONS = (regularization_causes, whole_causes, normalization_causes)


def diagnose(case):
    """The causes that fit a `Case`, the likeliest first; none if nothing that is known does."""
    if same(case.actual, case.expected):  # right but for rounding: everything would fit
        return []
    causes = [cause for explain in EXPLANATIONS for cause in explain(case)]
    return causes or list(part_causes(case))


def diagnose_value(value, expected):
    """Causes for what cannot be compared entry by entry with `expected`, an array; none if it can."""
    if value is None:
        return [
            Cause("it is None", "no gradient was returned", "Was it computed, and returned in its place?")
        ]
    if not is_numbers(value) and not np.isscalar(value):
        kind = f"an array of {value.dtype}" if isinstance(value, np.ndarray) else f"a {type(value).__name__}"
        return [
            Cause(
                "it is not an array of numbers", f"it is {kind}", "A gradient is an array like its argument."
            )
        ]
    value = np.asarray(value)
    if value.shape != np.shape(expected):
        return shape_causes(value, np.asarray(expected))
    bad = ~np.isfinite(value)
    if bad.any():
        first = tuple(int(i) for i in np.argwhere(bad)[0])
        return [
            Cause(
                "it is not finite",
                f"{bad.sum()} of {value.size} entries are NaN or infinite, the first at {first}",
                "Look for a division by zero, a log of zero or an overflow in exp.",
            )
        ]
    return []
