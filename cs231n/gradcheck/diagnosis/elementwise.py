"""Mistakes in layers that let some entries pass and stop the others: ReLU and dropout.

Their gradient is dout * mask, where the mask is 0 for a stopped entry and c for the others: 1 in ReLU, 1/p in
inverted dropout. A layer is recognized as one of them only if the numeric gradient has this form, with
entries of both kinds.
"""

from collections.abc import Iterator

import numpy as np

from cs231n.gradcheck.diagnosis.causes import Array, Case, Finding, matching, same
from cs231n.gradcheck.diagnosis.mistakes import Mistake
from cs231n.gradcheck.tolerances import MOSTLY

RELU = "ReLU is flat where the input is negative: the gradient is 0 there, and dout elsewhere."
DROPOUT = "Backward uses the mask of the forward pass: dx = dout * mask."
CHAIN_RULE = "The chain rule: the upstream gradient is a factor."


def find_elementwise(case: Case) -> Iterator[Finding]:
    """Find mistakes in a mask, if the layer has one."""
    mask = mask_of(case)
    if mask is None or case.x is None or case.dout is None:
        return
    is_relu = np.array_equal(mask > 0, case.x > 0) and np.isclose(mask.max(), 1)
    look = RELU if is_relu else DROPOUT
    if is_relu:
        yield from _wrong_where_negative(case, case.x < 0)
    else:
        yield from matching(case, [(Mistake.NO_MASK, case.dout)], look)
    yield from matching(case, [(Mistake.NO_DOUT, mask)], CHAIN_RULE)
    yield from _inverted(case, case.dout, mask == 0, look)
    by_dout = case.dout * (case.dout > 0) * mask.max()
    yield from matching(case, [(Mistake.MASK_OF_DOUT, by_dout)], look)


def mask_of(case: Case) -> Array | None:
    """Return the mask of zeros and one other number that dout is multiplied by, or None."""
    x, dout = case.x, case.dout
    if x is None or dout is None or not x.shape == dout.shape == case.actual.shape or not dout.all():
        return None
    ratio = case.expected / dout
    passed = case.expected != 0
    if passed.all() or not passed.any():
        return None
    mask = np.where(passed, np.median(ratio[passed]), 0.0)
    return mask if mask.max() > 0 and same(dout * mask, case.expected) else None


def _wrong_where_negative(case: Case, negative: Array) -> Iterator[Finding]:
    """Find a gradient that is wrong where the input is negative, and nowhere else."""
    wrong = case.wrong
    if wrong.any() and not (wrong & ~negative).any() and wrong[negative].mean() > MOSTLY:
        evidence = f"{wrong.sum()} of {negative.sum()} such entries are wrong, and no others"
        yield Finding(Mistake.WRONG_WHERE_NEGATIVE, evidence, RELU)


def _inverted(case: Case, dout: Array, stopped: Array, look: str) -> Iterator[Finding]:
    """Find dout, times some number, in the entries that the mask should stop, and only there."""
    factor = np.median(case.actual[stopped] / dout[stopped])
    if factor > 0:
        yield from matching(case, [(Mistake.MASK_INVERTED, factor * dout * stopped)], look)
