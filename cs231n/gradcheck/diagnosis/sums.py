"""Gradients that are sums of shares, one for each example or filter, some of which are left out.

What all examples share, a weight or a bias, gets the sum of what each of them contributes. With a share s_n
for each, the difference to the right gradient is a sum of -s_n over those that are left out: least squares
gives the coefficients, which have to be 0 or -1.
"""

import numpy as np

from cs231n.gradcheck.diagnosis.causes import CLOSE, Cause, same
from cs231n.gradcheck.diagnosis.convolution import convolution_of
from cs231n.gradcheck.diagnosis.terms import recognize

SHOWN = 6  # indices that are listed


def sum_causes(case):
    """Causes that are shares left out of a sum."""
    for part, shares in _summands(case):
        if same(shares.sum(axis=0), case.expected):
            yield from _left_out(case, part, shares)


def shares_of(case):
    """Arrays of dout's shape whose sums over all axes but the second are the numeric gradient."""
    if case.dout is None or case.dout.ndim not in (2, 4):
        return
    others = tuple(axis for axis in range(case.dout.ndim) if axis != 1)
    candidates = [case.dout]
    terms = recognize(case)
    if terms is not None:
        candidates.append(case.dout * terms.x_hat.reshape(terms.shape))
    for shares in candidates:
        if same(shares.sum(axis=others).reshape(-1), case.expected.reshape(-1)):
            yield shares


def _summands(case):
    """(what they are, shares): of examples or of filters, along the first axis, in the gradient's shape."""
    for shares in shares_of(case):
        over_pixels = shares.sum(axis=tuple(range(2, shares.ndim)))
        yield "examples", over_pixels.reshape(len(shares), *case.expected.shape)
    x, w = case.x, case.inputs.get("w")
    if case.dout is None or x is None or w is None:
        return
    if case.name == "w" and case.dout.ndim == 2 and x.size == len(x) * len(w) and len(x) == len(case.dout):
        yield "examples", np.einsum("nd,nm->ndm", x.reshape(len(x), -1), case.dout)
    layer = convolution_of(case)
    if layer is not None and case.name == "w":
        yield "examples", np.stack([layer.dw(only=[n]) for n in range(len(x))])
    elif layer is not None and case.actual.shape == x.shape:
        yield "filters", np.stack([layer.dx(only=[f]) for f in range(len(w))])


def _left_out(case, part, shares):
    columns = shares.reshape(len(shares), -1).T
    difference = (case.actual - case.expected).reshape(-1)
    if len(shares) < 2:
        return
    coefficients, _, rank, _ = np.linalg.lstsq(columns, difference, rcond=None)
    if rank < len(shares) or np.abs(coefficients - np.round(coefficients)).max() > 1e-3:
        return
    counts = np.round(coefficients).astype(int)
    if not counts.any() or np.abs(columns @ counts - difference).max() > CLOSE * np.abs(columns).max():
        return
    if not set(counts) <= {0, -1}:
        return
    left = np.flatnonzero(counts)
    if len(left) == len(shares) - 1 and counts[-1] == 0:
        yield Cause(
            "only the last share is left of a sum",
            f"it is what the last of the {part} contributes, of {len(shares)}",
            "Use += in a loop: = forgets what came before.",
        )
    elif len(left) < len(shares):
        yield Cause(
            f"some {part} are left out of the sum",
            f"it is right but for the {part} {listed(left)}, of {len(shares)}",
            "Look at where the loop or the slice begins and ends.",
        )


def listed(indices):
    """The first few of some indices, as text."""
    return ", ".join(map(str, indices[:SHOWN])) + (", ..." if len(indices) > SHOWN else "")
