"""Gradients that are wrong as a whole: zero, of another argument, turned around, or off by a factor."""

import math

import numpy as np

from cs231n.diagnosis.causes import CLOSE, Cause


def whole_causes(case):
    """Causes that explain every entry of the gradient."""
    if not case.actual.any() and case.expected.any():
        yield Cause("it is zero everywhere", "and should not be", "Was it computed, and returned?")
        return
    for test in (_exchanged, _rearranged, _multiplied, _shifted):
        yield from test(case)


def _exchanged(case):
    """It is the gradient of another argument."""
    for name, gradient in case.numeric.items():
        if name != case.name and case.is_explained_by(gradient):
            yield Cause(
                f"it is the gradient of {name}",
                f"all entries are those of d{name}",
                "Look at the order in which gradients are returned: that of the forward pass's arguments.",
            )


def _rearranged(case):
    """The right values, in other places."""
    expected = case.expected
    turned = {}
    if expected.ndim == 2:
        turned["it is transposed", "Swap the factors of the matrix product."] = expected.T
    if expected.ndim == 4:
        flipped = "A filter is not flipped going forward; going backward it may have to be, or must not."
        turned["its filters are flipped", flipped] = expected[:, :, ::-1, ::-1]
        turned["its filters are upside down", flipped] = expected[:, :, ::-1]
        turned["its filters are mirrored", flipped] = expected[:, :, :, ::-1]
        turned["height and width are exchanged", "Look at the order of the last two axes."] = (
            expected.swapaxes(2, 3)
        )
        turned["the first two axes are exchanged", "Look at the order of axes 0 and 1."] = expected.swapaxes(
            0, 1
        )
    for (title, look), array in turned.items():
        if case.is_explained_by(array):
            yield Cause(title, "its values are right, in other places", look)


def _multiplied(case):
    """A constant factor, called by the sizes that give it."""
    norm = np.vdot(case.expected, case.expected)
    factor = np.vdot(case.expected, case.actual) / norm if norm else 0.0
    if case.actual.size < 2 or not factor or not case.is_explained_by(factor * case.expected):
        return
    named = False
    for label, look, value in _factors(case):
        for power, what in ((1, f"{label} times too large"), (-1, f"{label} times too small")):
            for sign, minus in ((1, ""), (-1, ", and its sign is wrong")):
                if math.isclose(factor, sign * value**power, rel_tol=10 * CLOSE):
                    named = True
                    yield Cause(
                        f"it is {what}{minus}", f"every entry is {factor:.6g} times what it should be", look
                    )
    if math.isclose(factor, -1, rel_tol=10 * CLOSE):
        yield Cause("its sign is wrong", "every entry is -1 times what it should be", "Look for a minus.")
    elif not named:
        yield Cause(
            "it is off by a constant factor",
            f"every entry is {factor:.6g} times what it should be",
            "Look for a factor that is missing or too much.",
        )


def _factors(case):
    """(name, where to look, value) of the numbers at hand that a gradient may be off by."""
    sums = "A loss that is a mean over examples has 1/N in its gradient, once."
    pixels = "Is there a mean where a sum is meant, or the other way around?"
    yield "2", "The derivative of w^2 is 2 w; that of w^2 / 2 is w.", 2
    keep = case.settings.get("p")
    if keep is not None:
        yield "p", "Inverted dropout divides by the keep probability p, forward and backward, once.", keep
        if not math.isclose(keep, 0.5):
            yield "1 - p", "p is the probability to keep a unit, not to drop it.", 1 - keep
    for label, value in _sizes(case).items():
        yield label, sums if label == "N" else pixels, value


def _sizes(case):
    """{name: number} of the sizes at hand, and of their products, that are larger than two."""
    sizes = {}
    first = next(iter(case.inputs.values()), None)
    if first is not None and first.ndim:
        sizes["N"] = len(first)
    for array, letters in ((first, ("C", "H", "W")), (case.out, ("F", "H'", "W'"))):
        if array is not None and array.ndim == 4:
            _, depth, height, width = array.shape
            sizes |= {letters[0]: depth, letters[1] + letters[2]: height * width}
            sizes["N" + letters[1] + letters[2]] = len(array) * height * width
        elif array is not None and array.ndim == 2:
            sizes["D" if array is first else "M"] = array.shape[1]
    return {label: value for label, value in sizes.items() if value > 2}


def _shifted(case):
    shift = float((case.actual - case.expected).mean())
    if case.actual.size > 1 and case.is_explained_by(case.expected + shift):
        yield Cause(
            "it is off by a constant",
            f"every entry is what it should be plus {shift:.6g}",
            "Look for a term that does not depend on the entry.",
        )
