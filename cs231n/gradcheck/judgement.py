"""Which entries of a gradient are right: near the numeric ones, or off for a reason that is no mistake."""

import numpy as np

WORST = 3  # entries that are shown
COARSE = 200  # roundings, relative to the largest entry, that computing in float32 may be off by


def right_entries(actual, numeric, tol):
    """Which entries are right, and notes on those that are right for a reason worth knowing."""
    difference = np.abs(actual - numeric.centered)
    close = difference <= tol * np.maximum(np.abs(actual) + np.abs(numeric.centered), 1e-8)
    noisy = ~close & (difference <= numeric.noise)
    beside, at_kink = np.zeros_like(close), np.zeros_like(close)
    for index in map(tuple, np.argwhere(~close & ~noisy & numeric.near(actual, tol))):
        holds, is_kink = numeric.holds_at(index, actual[index], tol)
        beside[index], at_kink[index] = holds and not is_kink, holds and is_kink
    if at_kink.any() and not _adds_up(np.where(at_kink, actual, numeric.centered), numeric, tol):
        at_kink[...] = False
    return close | noisy | beside | at_kink, _notes(noisy, beside, at_kink, numeric)


def _adds_up(grad, numeric, tol):
    """Whether the sum of a gradient is the slope along a step of all entries at once.

    If several entries share a maximum, each may have any slope between two, but they share one gradient. A
    step of all of them leaves them equal; where the slope along it is smooth it has to be the sum.
    """
    if numeric.slopes is None:
        return True
    left, right = numeric.slopes(..., 1.0)
    size = np.abs(grad).sum()
    if abs(right - left) > 1e-4 * size:
        return True
    return bool(abs(grad.sum() - (left + right) / 2) <= 10 * tol * size + 10 * numeric.noise)


def _notes(noisy, beside, at_kink, numeric):
    notes = []
    if numeric.eps > 1e-12:
        notes.append("The forward pass computes in float32, too coarse for a difference: check in float64.")
    if beside.any() or at_kink.any():
        count = beside.sum() + at_kink.sum()
        notes.append(
            f"{count} of {noisy.size} entries have a kink within the step: their slopes to either side "
            "differ. With a smaller step, or between the two, the gradient fits. That is no mistake."
        )
    if noisy.any():
        notes.append(
            f"{noisy.sum()} of {noisy.size} entries differ by less than {numeric.noise:.0e}, the noise of "
            "rounding in their numeric gradient. That is no sign of a mistake."
        )
    return notes


def is_rounding(grad, actual, expected):
    """Whether a gradient in less than float64 is off by no more than what its precision explains."""
    dtype = getattr(grad, "dtype", actual.dtype)
    if dtype.kind != "f" or dtype.itemsize >= 8:
        return False
    difference = np.abs(actual - expected).max()
    return bool(difference <= COARSE * np.finfo(dtype).eps * np.abs(expected).max())


def worst_entries(actual, expected, right):
    """(index, gradient, numeric gradient) of the entries that are farthest off."""
    off = np.where(right, -1, np.abs(actual - expected))
    flat = np.argsort(-off, axis=None, kind="stable")[: min(WORST, int((~right).sum()))]
    indices = [tuple(int(i) for i in np.unravel_index(position, off.shape)) for position in flat]
    return [(index, float(actual[index]), float(expected[index])) for index in indices]
