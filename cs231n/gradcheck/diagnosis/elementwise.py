"""Mistakes in layers that let some entries pass and stop the others: ReLU and dropout.

Their gradient is dout * mask, the mask 0 where an entry is stopped and c elsewhere: 1 in ReLU, 1/p in
inverted dropout. A layer is taken for one only where the numeric gradient is of this form, with both kinds of
entries.
"""

import numpy as np

from cs231n.gradcheck.diagnosis.causes import Cause, matching, same

RELU = "Where the input is negative ReLU is flat: the gradient is 0 there, and dout elsewhere."
DROPOUT = "Backward uses the mask of the forward pass: dx = dout * mask."


def elementwise_causes(case):
    """Causes that are mistakes in a mask, where the layer is one."""
    mask = mask_of(case)
    if mask is None:
        return
    is_relu = np.array_equal(mask > 0, case.x > 0) and np.isclose(mask.max(), 1)
    look = RELU if is_relu else DROPOUT
    if is_relu:
        yield from _negative(case)
    else:
        yield from matching(case, [("dout comes through unchanged", case.dout)], look)
    yield from matching(
        case, [("dout is missing", mask)], "The chain rule: what came from above is a factor."
    )
    yield from _reversed(case, mask, look)
    by_dout = case.dout * (case.dout > 0) * mask.max()
    yield from matching(case, [("the mask is that of dout", by_dout)], look)


def mask_of(case):
    """What the numeric gradient multiplies dout by, entry for entry: 0 or one other number; else None."""
    x, dout = case.x, case.dout
    if x is None or dout is None or not x.shape == dout.shape == case.actual.shape or not dout.all():
        return None
    ratio = case.expected / dout
    passed = case.expected != 0
    if passed.all() or not passed.any():
        return None
    mask = np.where(passed, np.median(ratio[passed]), 0.0)
    return mask if mask.max() > 0 and same(dout * mask, case.expected) else None


def _negative(case):
    """Wrong where the input is negative, and nowhere else: something comes through there."""
    wrong, negative = case.wrong, case.x < 0
    if wrong.any() and not (wrong & ~negative).any() and wrong[negative].mean() > 0.5:
        yield Cause(
            "it is wrong for entries where the input is negative",
            f"{wrong.sum()} of {negative.sum()} such entries, and no other",
            RELU,
        )


def _reversed(case, mask, look):
    """dout, times some number, comes through just where it should not."""
    stopped = mask == 0
    factor = np.median(case.actual[stopped] / case.dout[stopped])
    if factor > 0:
        turned = factor * case.dout * stopped
        yield from matching(case, [("the mask is the wrong way around", turned)], look)
