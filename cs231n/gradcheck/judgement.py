"""Judge which entries of a gradient are right: near the numeric ones, or off for a harmless reason."""

import numpy as np

from cs231n.gradcheck.numeric import Numeric
from cs231n.gradcheck.report import Worst
from cs231n.gradcheck.tolerances import COARSE_EPS, COARSE_ROUNDINGS, FLOOR, SMOOTH, SUM_FACTOR
from cs231n.gradcheck.values import Array, Floats

SHOWN = 3  # entries that a report shows
COARSE = "The forward pass computes in float32, too coarse for a numeric gradient: check in float64."


def right_entries(actual: Floats, numeric: Numeric, tol: float) -> tuple[Array, list[str]]:
    """Return which entries are right, and notes on those that are right for a reason worth knowing."""
    difference = np.abs(actual - numeric.centered)
    close = difference <= tol * np.maximum(np.abs(actual) + np.abs(numeric.centered), FLOOR)
    noisy = ~close & (difference <= numeric.noise)
    beside, at_kink = _near_kinks(actual, numeric, ~close & ~noisy & numeric.near(actual, tol), tol)
    if at_kink.any() and not _adds_up(np.where(at_kink, actual, numeric.centered), numeric, tol):
        at_kink[...] = False
    return close | noisy | beside | at_kink, _notes(noisy, beside | at_kink, numeric)


def _near_kinks(actual: Floats, numeric: Numeric, candidates: Array, tol: float) -> tuple[Array, Array]:
    """Return which candidates are right with a kink beside the point, and which with a kink at the point."""
    beside, at_kink = np.zeros(candidates.shape, dtype=bool), np.zeros(candidates.shape, dtype=bool)
    for index in map(tuple, np.argwhere(candidates)):
        holds, is_kink = numeric.holds_at(index, actual[index], tol)
        beside[index], at_kink[index] = holds and not is_kink, holds and is_kink
    return beside, at_kink


def _adds_up(grad: Floats, numeric: Numeric, tol: float) -> bool:
    """Return whether the sum of a gradient is the slope along a step of all entries at once.

    If several entries share a maximum, each may have any slope between two, but they share one gradient. A
    step of all of them leaves them equal; if the function is smooth along it, the slope is the sum.
    """
    if numeric.slopes is None:
        return True
    left, right = numeric.slopes(..., 1.0)
    size = float(np.abs(grad).sum())
    if abs(right - left) > SMOOTH * size:
        return True
    return bool(abs(grad.sum() - (left + right) / 2) <= SUM_FACTOR * (tol * size + numeric.noise))


def _notes(noisy: Array, kinks: Array, numeric: Numeric) -> list[str]:
    """Return the notes on entries whose numeric gradient is unreliable."""
    notes = []
    if numeric.eps > COARSE_EPS:
        notes.append(COARSE)
    if kinks.any():
        notes.append(
            f"{kinks.sum()} of {kinks.size} entries have a kink within the step: the slopes to the left and "
            "to the right differ. The gradient is one of them, or lies between them. This is not a mistake."
        )
    if noisy.any():
        notes.append(
            f"{noisy.sum()} of {noisy.size} entries differ by less than {numeric.noise:.0e}, the rounding "
            "noise of their numeric gradient. This is not a mistake."
        )
    return notes


def is_rounding(grad: object, actual: Floats, expected: Floats) -> bool:
    """Return whether the precision of a gradient in less than float64 explains its whole difference."""
    dtype = getattr(grad, "dtype", actual.dtype)
    if dtype.kind != "f" or dtype.itemsize >= 8:
        return False
    difference = np.abs(actual - expected).max()
    return bool(difference <= COARSE_ROUNDINGS * np.finfo(dtype).eps * np.abs(expected).max())


def worst_entries(actual: Floats, expected: Floats, right: Array) -> list[Worst]:
    """Return (index, gradient, numeric gradient) of the wrong entries with the largest differences."""
    off = np.where(right, -1, np.abs(actual - expected))
    flat = np.argsort(-off, axis=None, kind="stable")[: min(SHOWN, int((~right).sum()))]
    indices = [tuple(int(i) for i in np.unravel_index(position, off.shape)) for position in flat]
    return [(index, float(actual[index]), float(expected[index])) for index in indices]
