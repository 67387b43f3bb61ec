"""Gradients of a wrong shape: not summed, summed over too many or wrong axes, transposed, or padded."""

from collections.abc import Iterator
from itertools import permutations

import numpy as np

from cs231n.gradcheck.diagnosis.causes import Case, Finding, same, same_values
from cs231n.gradcheck.diagnosis.mistakes import Mistake
from cs231n.gradcheck.diagnosis.sums import AXES, axes_text, products_summed_in, some_axes
from cs231n.gradcheck.diagnosis.whole import where_it_belongs


def find_shapes(case: Case) -> Finding:
    """Find the first mistake that explains a shape which is not the argument's."""
    explainers = (
        _transposed,
        _of_another_argument,
        _other_layout,
        _axes_out_of_order,
        _padding_kept,
        _not_summed,
        _summed_over_too_many_axes,
        _summed_over_wrong_axes,
    )
    unexplained = Finding(
        Mistake.WRONG_SHAPE,
        f"its shape is {case.actual.shape}; that of its argument is {case.expected.shape}",
        "A gradient has the shape of its argument.",
    )
    return next((finding for explain in explainers for finding in explain(case)), unexplained)


def _transposed(case: Case) -> Iterator[Finding]:
    is_turned = case.actual.ndim == 2 and case.actual.size == case.expected.size
    if is_turned and min(case.actual.shape) > 1 and same_values(case.actual.T, case.expected):
        yield Finding(
            Mistake.TRANSPOSED,
            f"its shape is {case.actual.shape}; its transpose is right",
            "Swap the factors of the matrix product, and transpose the other one.",
        )


def _of_another_argument(case: Case) -> Iterator[Finding]:
    for name, gradient in case.numeric.items():
        if name != case.name and same(case.actual, gradient):
            evidence = f"its shape and every entry match d{name}"
            yield Finding(Mistake.OF_ANOTHER_ARGUMENT, evidence, where_it_belongs(case, name), about=name)


def _other_layout(case: Case) -> Iterator[Finding]:
    if case.actual.size == case.expected.size and same_values(case.actual, case.expected):
        yield Finding(
            Mistake.WRONG_LAYOUT,
            f"its shape is {case.actual.shape}; that of its argument is {case.expected.shape}",
            "Reshape it to the shape of the argument.",
        )


def _axes_out_of_order(case: Case) -> Iterator[Finding]:
    """Find images whose axes were not put back in order after a transpose, perhaps as a matrix."""
    actual, expected = case.actual, case.expected
    if expected.ndim != 4 or actual.size != expected.size:
        return
    for order in permutations(range(expected.ndim)):
        if same_values(actual, expected.transpose(order)):
            letters = ", ".join("NCHW"[axis] for axis in order)
            yield Finding(
                Mistake.AXES_OUT_OF_ORDER,
                f"its shape is {actual.shape}; its values are in the order ({letters}), not (N, C, H, W)",
                "Undo on the way back what transpose and reshape did on the way in.",
            )
            return


def _padding_kept(case: Case) -> Iterator[Finding]:
    """Find the gradient of the padded image, which contains that of the image."""
    actual, expected = case.actual, case.expected
    if actual.ndim != 4 or expected.ndim != 4:
        return
    height, width = expected.shape[2:]
    more = actual.shape[2] - height, actual.shape[3] - width
    for top, left in np.ndindex(max(more[0] + 1, 0), max(more[1] + 1, 0)):
        if same(actual[:, :, top : top + height, left : left + width], expected):
            bottom, right = more[0] - top, more[1] - left
            sides = {"top": top, "bottom": bottom, "left": left, "right": right}
            kept = ", ".join(f"{count} at the {side}" for side, count in sides.items() if count)
            yield Finding(
                Mistake.PADDING_KEPT,
                f"its shape is {actual.shape}; without {kept} it is right",
                "The padding is not part of x: cut its gradient off on all four sides.",
            )
            return


def _not_summed(case: Case) -> Iterator[Finding]:
    actual, expected = case.actual, case.expected
    if actual.size <= expected.size:
        return
    for axes in some_axes(actual.ndim):
        if same_values(actual.sum(axis=axes), expected):
            over_batch = axes == (0,) and actual.shape[1:] == expected.shape
            yield Finding(
                Mistake.NOT_SUMMED_OVER_BATCH if over_batch else Mistake.NOT_SUMMED,
                f"its shape is {actual.shape}; summed over {axes_text(axes)} it is right",
                "What all examples share, such as a bias, gets the sum of their gradients.",
            )


def _summed_over_too_many_axes(case: Case) -> Iterator[Finding]:
    actual, expected = case.actual, case.expected
    if actual.size >= expected.size:
        return
    for axes in some_axes(expected.ndim):
        if same_values(actual, expected.sum(axis=axes)):
            yield Finding(
                Mistake.SUMMED_OVER_TOO_MANY_AXES,
                f"its shape is {actual.shape}; it is the right gradient, summed over {axes_text(axes)}",
                "Sum only over the axes that the argument does not have.",
            )


def _summed_over_wrong_axes(case: Case) -> Iterator[Finding]:
    for products in products_summed_in(case):
        for axes in some_axes(products.ndim):
            for word, reduced in (("sum", products.sum(axis=axes)), ("mean", products.mean(axis=axes))):
                if same_values(case.actual, reduced):
                    evidence = f"its shape is {case.actual.shape}; it is a {word} over {axes_text(axes)}"
                    yield Finding(Mistake.SUMMED_OVER_WRONG_AXES, evidence, AXES)
