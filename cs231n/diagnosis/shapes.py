"""Gradients of a wrong shape: what was summed too often, not at all, or turned around."""

from itertools import chain, combinations

import numpy as np

from cs231n.diagnosis.causes import Cause, same


def shape_causes(actual, expected):
    """Causes of a gradient's shape, where it is not that of its argument."""
    tests = _turned_around, _not_summed, _summed_too_much, _differently_laid_out
    causes = [cause for test in tests for cause in test(actual, expected)]
    return causes[:1] or [
        Cause(
            "it has the wrong shape",
            f"its shape is {actual.shape}, that of its argument {expected.shape}",
            "A gradient has the shape of what it is the gradient of.",
        )
    ]


def _turned_around(actual, expected):
    if actual.ndim == 2 and same(actual.T, expected):
        yield Cause(
            "it is transposed",
            f"turned around, its shape {actual.shape} and all values fit",
            "Swap the factors of the matrix product, and transpose the other one.",
        )


def _not_summed(actual, expected):
    for axes in _some_axes(actual.ndim):
        if same(actual.sum(axis=axes).reshape(-1), expected.reshape(-1)):
            first = axes == (0,) and actual.shape[1:] == expected.shape
            yield Cause(
                "it is not summed over the batch" if first else "it is not summed",
                f"its shape is {actual.shape}; summed over {_axes(axes)} it is right",
                "What all examples share, such as a bias, gets the sum of their gradients.",
            )
            return


def _summed_too_much(actual, expected):
    for axes in _some_axes(expected.ndim):
        if actual.size < expected.size and same(actual.reshape(-1), expected.sum(axis=axes).reshape(-1)):
            yield Cause(
                "it is summed too much",
                f"its shape is {actual.shape}; it is the right gradient, summed over {_axes(axes)}",
                "Sum over those axes only that the argument does not have.",
            )
            return


def _differently_laid_out(actual, expected):
    if actual.size == expected.size and same(actual.reshape(expected.shape), expected):
        yield Cause(
            "its values are right but its shape is not",
            f"its shape is {actual.shape}, that of its argument {expected.shape}",
            "Reshape it to the shape that the argument came in.",
        )


def _some_axes(ndim):
    """Every choice of axes, the fewest first."""
    return chain.from_iterable(combinations(range(ndim), count) for count in range(1, min(ndim, 4) + 1))


def _axes(axes):
    return f"axis {axes[0]}" if len(axes) == 1 else f"the axes {', '.join(map(str, axes))}"


def is_numbers(array):
    """Whether this is an array of real numbers, and not of objects or texts."""
    return isinstance(array, np.ndarray) and array.dtype.kind in "fiub"
