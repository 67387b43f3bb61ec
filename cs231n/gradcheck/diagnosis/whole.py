"""Gradients that are wrong as a whole: zero, of another argument, turned around, shifted, not transposed."""

import numpy as np

from cs231n.gradcheck.diagnosis.causes import Cause, matching, same

FILTERS = "A filter is not flipped going forward; going backward it may have to be, or must not."
PADDING = "Is the padding cut off on both sides, and as wide as it was put on?"
REARRANGED = {  # what was done to the right gradient, by its number of dimensions; each undoes itself
    2: [("it is transposed", lambda g: g.T, "Swap the factors of the matrix product.")],
    4: [
        ("its filters are flipped", lambda g: g[:, :, ::-1, ::-1], FILTERS),
        ("its filters are upside down", lambda g: g[:, :, ::-1], FILTERS),
        ("its filters are mirrored", lambda g: g[..., ::-1], FILTERS),
        (
            "height and width are exchanged",
            lambda g: g.swapaxes(2, 3),
            "Look at the order of the last two axes.",
        ),
        (
            "the first two axes are exchanged",
            lambda g: g.swapaxes(0, 1),
            "Look at the order of axes 0 and 1.",
        ),
    ],
}


def whole_causes(case):
    """Causes that explain every entry of the gradient."""
    if not case.actual.any() and case.expected.any():
        yield Cause("it is zero everywhere", "and should not be", "Was it computed, and returned?")
        return
    for test in (_exchanged, _rearranged, _offset, _moved, _not_transposed):
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
    for title, turn, look in REARRANGED.get(case.expected.ndim, ()):
        yield from matching(case, [(title, turn(case.expected))], look)


def _offset(case):
    shift = float((case.actual - case.expected).mean())
    if case.actual.size > 2 and case.is_explained_by(case.expected + shift):
        yield Cause(
            "it is off by a constant",
            f"every entry is what it should be plus {shift:.6g}",
            "Look for a term that does not depend on the entry.",
        )


def _moved(case):
    """An image's gradient a few pixels away: what is left of it there is right."""
    if case.actual.ndim != 4 or case.actual.shape != np.shape(case.x):
        return
    reach = max(2, case.settings.get("pad", 0))
    for down, right in np.ndindex(2 * reach + 1, 2 * reach + 1):
        down, right = down - reach, right - reach
        here, there = _overlap(case.actual, down, right), _overlap(case.expected, -down, -right)
        if (down or right) and there.size > case.actual.size / 4 and there.any() and same(here, there):
            yield Cause(
                "it is shifted by some pixels",
                f"it is {down} rows and {right} columns away from where it should be",
                PADDING,
            )
            return


def _overlap(images, down, right):
    """The pixels that are left of images which lose rows at one end and columns at one side."""
    rows, columns = (
        slice(max(by, 0), size + min(by, 0)) for by, size in zip((down, right), images.shape[2:], strict=True)
    )
    return images[:, :, rows, columns]


def _not_transposed(case):
    """dx = dout w^T of an affine layer, with w for w^T where w is square."""
    w, dout = case.inputs.get("w"), case.dout
    if w is None or dout is None or w.ndim != 2 or dout.ndim != 2 or len(w) != w.shape[1] != 0:
        return
    if dout.shape[1] == len(w) and same((dout @ w.T).reshape(-1), case.expected.reshape(-1)):
        wrong = (dout @ w).reshape(-1)
        if wrong.size == case.actual.size:
            look = "out = x w, so dx = dout w^T: what fits by its shape need not be right."
            yield from matching(case, [("w is not transposed", wrong.reshape(case.actual.shape))], look)
