"""Gradients that are off by a constant factor, which is called by the sizes and settings that give it."""

import math
from dataclasses import replace

import numpy as np

from cs231n.gradcheck.diagnosis.causes import CLOSE, Cause

MEAN = "A loss that is a mean over examples has 1/N in its gradient, once; a sum over examples has none."
PIXELS = "Is there a mean where a sum is meant, or the other way around?"
SQUARE = "The derivative of w^2 is 2 w; that of w^2 / 2 is w."
KEEP = "Inverted dropout divides what is kept by p, the probability to keep it, forward and backward, once."


def factor_causes(case):
    """Causes that are a constant factor; with an L2 penalty, also one of all but the penalty's term."""
    causes = list(_multiplied(case))
    param = case.inputs.get(case.name)
    if causes or not case.reg or param is None or np.shape(param) != case.actual.shape:
        return causes
    if not case.name.startswith("W") or not math.isclose(case.penalty.get(case.name, 1.0), 1, rel_tol=1e-3):
        return causes
    without = replace(
        case, actual=case.actual - case.reg * param, expected=case.expected - case.reg * param, reg=0.0
    )
    return [
        Cause(f"but for the regularization, {cause.title}", cause.evidence, cause.look)
        for cause in _multiplied(without)
    ]


def _multiplied(case):
    norm = np.vdot(case.expected, case.expected)
    factor = np.vdot(case.expected, case.actual) / norm if norm else 0.0
    if np.count_nonzero(case.expected) < 2 or not factor or not case.is_explained_by(factor * case.expected):
        return
    evidence = f"every entry is {factor:.6g} times what it should be"
    if math.isclose(factor, -1, rel_tol=10 * CLOSE):
        yield Cause("its sign is wrong", evidence, "Look for a minus.")
        return
    named = False
    for title, value, look in _named_factors(case):
        for sign, minus in ((1, ""), (-1, ", and its sign is wrong")):
            if math.isclose(factor, sign * value, rel_tol=10 * CLOSE):
                named = True
                yield Cause(title + minus, evidence, look)
    if not named:
        look = "Look for a factor that is missing or too much."
        yield Cause("it is off by a constant factor", evidence, look)


def _named_factors(case):
    """(title, factor, where to look) of the numbers at hand that a gradient may be off by."""
    keep = case.settings.get("p")
    if keep is not None and 0 < keep < 1:
        yield "the division by p is missing", keep, KEEP
        yield "it is divided by p once too often", 1 / keep, KEEP
        if not math.isclose(keep, 0.5):
            yield "1 - p stands where p should", keep / (1 - keep), KEEP
    for label, value in _sizes(case).items():
        look = MEAN if label == "N" else PIXELS
        yield f"it is {label} times too large", value, look
        yield f"it is {label} times too small", 1 / value, look
    yield "it is 2 times too large", 2, SQUARE
    yield "it is 2 times too small", 0.5, SQUARE


def _sizes(case):
    """{name: number} of the sizes at hand, and of their products, that are larger than two."""
    sizes = {}
    first = case.x
    keeps_shape = np.shape(case.out) == np.shape(first) and "w" not in case.inputs
    if first is not None and np.ndim(first):
        sizes["N"] = len(first)
    for array, letters in ((first, ("C", "H", "W")), (case.out, ("F", "H'", "W'"))):
        if array is None or (array is not first and keeps_shape):
            continue
        if np.ndim(array) == 4:
            _, depth, height, width = array.shape
            sizes |= {letters[0]: depth, letters[1] + letters[2]: height * width}
            sizes["N" + letters[1] + letters[2]] = len(array) * height * width
        elif np.ndim(array) == 2:
            sizes["D" if array is first else "M"] = array.shape[1]
    return {label: value for label, value in sizes.items() if value > 1}
