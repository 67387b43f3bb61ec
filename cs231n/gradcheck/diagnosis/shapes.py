"""Gradients of a wrong shape: what was summed too often, not at all, or turned around."""

from itertools import chain, combinations

from cs231n.gradcheck.diagnosis.causes import Cause, Kind, same
from cs231n.gradcheck.diagnosis.sums import shares_of


def shape_causes(case):
    """Causes of a gradient's shape, where it is not that of its argument."""
    tests = (
        *(_turned_around, _exchanged, _differently_laid_out, _padding_kept),
        *(_not_summed, _summed_too_much, _summed_elsewhere),
    )
    causes = [cause for test in tests for cause in test(case)]
    return causes[:1] or [
        Cause(
            "it has the wrong shape",
            f"its shape is {case.actual.shape}, that of its argument {case.expected.shape}",
            "A gradient has the shape of what it is the gradient of.",
            kind=Kind.SHAPE,
        )
    ]


def _turned_around(case):
    if case.actual.ndim == 2 and same(case.actual.T, case.expected):
        yield Cause(
            "it is transposed",
            f"turned around, its shape {case.actual.shape} and all values fit",
            "Swap the factors of the matrix product, and transpose the other one.",
        )


def _exchanged(case):
    for name, gradient in case.numeric.items():
        if name != case.name and same(case.actual, gradient):
            yield Cause(
                f"it is the gradient of {name}",
                f"its shape and all its entries are those of d{name}",
                "Look at the order in which gradients are returned: that of the forward pass's arguments.",
            )


def _differently_laid_out(case):
    actual, expected = case.actual, case.expected
    if actual.size == expected.size and same(actual.reshape(expected.shape), expected):
        yield Cause(
            "its values are right but its shape is not",
            f"its shape is {actual.shape}, that of its argument {expected.shape}",
            "Reshape it to the shape that the argument came in.",
        )


def _padding_kept(case):
    """The gradient of the padded image, whose inside is the one of the image."""
    pad, actual, expected = case.settings.get("pad"), case.actual, case.expected
    if not pad or actual.ndim != 4 or expected.ndim != 4:
        return
    if same(actual[:, :, pad:-pad, pad:-pad], expected):
        yield Cause(
            "the padding is not cut off",
            f"its shape is {actual.shape}; without {pad} pixels on every side it is right",
            "The padding is no part of x: cut its gradient off.",
        )


def _not_summed(case):
    actual, expected = case.actual, case.expected
    for axes in some_axes(actual.ndim):
        if actual.size > expected.size and same(actual.sum(axis=axes).reshape(-1), expected.reshape(-1)):
            first = axes == (0,) and actual.shape[1:] == expected.shape
            yield Cause(
                "it is not summed over the batch" if first else "it is not summed",
                f"its shape is {actual.shape}; summed over {_axes(axes)} it is right",
                "What all examples share, such as a bias, gets the sum of their gradients.",
            )
            return


def _summed_too_much(case):
    actual, expected = case.actual, case.expected
    for axes in some_axes(expected.ndim):
        if actual.size < expected.size and same(actual.reshape(-1), expected.sum(axis=axes).reshape(-1)):
            yield Cause(
                "it is summed too much",
                f"its shape is {actual.shape}; it is the right gradient, summed over {_axes(axes)}",
                "Sum over those axes only that the argument does not have.",
            )
            return


def _summed_elsewhere(case):
    """Of shares that have to be summed over all axes but that of features, other sums."""
    for shares in shares_of(case):
        for axes in some_axes(shares.ndim):
            if same(case.actual.reshape(-1), shares.sum(axis=axes).reshape(-1)):
                yield Cause(
                    "it is summed over the wrong axes",
                    f"its shape is {case.actual.shape}; it is a sum over {_axes(axes)}",
                    "Sum over all axes but that of the features or channels.",
                )
                return


def some_axes(ndim):
    """Every choice of axes, the fewest first."""
    return chain.from_iterable(combinations(range(ndim), count) for count in range(1, min(ndim, 5) + 1))


def _axes(axes):
    return f"axis {axes[0]}" if len(axes) == 1 else f"the axes {', '.join(map(str, axes))}"
