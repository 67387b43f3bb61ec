"""Judge which entries of a gradient are right: near the numeric ones, or off for a harmless reason."""

from dataclasses import dataclass, field

import numpy as np

from cs231n.gradcheck.diagnosis.causes import Cause, Kind
from cs231n.gradcheck.numeric import Numeric, rel_error
from cs231n.gradcheck.report import Worst
from cs231n.gradcheck.tolerances import (
    COARSE_ROUNDINGS,
    FLOOR,
    NEARLY_ALL,
    OPEN,
    SECOND_LOOKS,
    SMOOTH,
    SUM_FACTOR,
)
from cs231n.gradcheck.values import Array, Floats

SHOWN = 3  # entries that a report shows
KINKS = "Check away from kinks: with inputs that differ from 0 and from each other by more than the step."
NOISE = "Check at a point where this gradient is not so small, such as inputs around 1."


@dataclass
class Judgement:
    """Which entries of a gradient are right, and what a report says about them.

    - right: an array of booleans
    - expected: the numeric gradient as far as it is known, after second looks
    - error: the largest relative error of all entries; at a kink, the distance to the nearer slope counts
    - doubtful: kinks, curvature or noise may have had a part in the verdict
    - only_kinks: there are wrong entries, all of them at kinks, and no formula decides about them
    - notes: what is worth knowing and no mistake; undecided: why the numeric gradient decides nothing
    """

    right: Array
    expected: Floats
    error: float
    doubtful: bool
    only_kinks: bool = False
    notes: list[str] = field(default_factory=list)
    undecided: list[Cause] = field(default_factory=list)


def judge(actual: Floats, numeric: Numeric, tol: float, scale: float, formula: Array | None) -> Judgement:
    """Judge a gradient.

    - scale: the largest entry of the gradients of all arguments, by which a gradient of zero is measured
    - formula: the gradient by the layer's formula, which decides at kinks; None if it is not known
    """
    expected, noise = numeric.centered.copy(), numeric.noise
    noisy = ~_close(actual, expected, tol) & (np.abs(actual - expected) <= noise)
    unclear = ~_close(actual, expected, tol) & ~noisy & numeric.bent
    beside, between, at_kink = _look_again(actual, numeric, unclear, expected, tol)
    if formula is not None and np.shape(formula) == actual.shape:
        expected[at_kink] = formula[at_kink]
        between &= ~_close(actual, expected, tol)
    if between.any() and not _adds_up(np.where(between, actual, expected), numeric, tol):
        between[...] = False
    hidden, shown, undecided = _all_noise(actual, numeric, noisy, tol, scale)
    right = (_close(actual, expected, tol) | noisy | beside | between) & ~hidden
    if between.sum() > NEARLY_ALL * between.size:
        undecided.append(_all_kinks(between))
    notes = shown or _notes(noisy, between, numeric, tol)
    return Judgement(
        right,
        expected,
        _error(actual, np.where(between, actual, expected), right, floor_of(numeric, tol)),
        bool(undecided or notes or (~right & numeric.bent).any()),
        formula is None and not right.all() and bool(at_kink[~right].all()),
        notes,
        undecided,
    )


def _close(actual: Floats, expected: Floats, tol: float) -> Array:
    """Return where two arrays agree to the tolerance."""
    size = np.maximum(np.abs(actual) + np.abs(expected), FLOOR)
    is_close: Array = np.abs(actual - expected) <= tol * size
    return is_close


def _look_again(
    actual: Floats, numeric: Numeric, unclear: Array, expected: Floats, tol: float
) -> tuple[Array, Array, Array]:
    """Return which unclear entries are right by a smaller step, lie between two slopes, or are at kinks.

    A smaller step leaves a kink outside, or shows less of the curvature: `expected` gets its slope.
    """
    beside, between, at_kink = (np.zeros(unclear.shape, dtype=bool) for _ in range(3))
    indices = [tuple(index) for index in np.argwhere(unclear)]
    sample = indices[:: max(1, len(indices) // SECOND_LOOKS)]
    shown = False
    for index in [*sample, *sorted(set(indices) - set(sample))]:
        look = numeric.look_again(index, actual[index], tol)
        expected[index], at_kink[index] = look.expected, look.at_kink
        beside[index] = look.right and not look.at_kink
        between[index] = look.right and look.at_kink
        shown |= look.right or look.at_kink
        if index == sample[-1] and not shown:  # the gradient is wrong, and kinks have no part in it
            break
    return beside, between, at_kink


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


def _all_kinks(between: Array) -> Cause:
    """Return why a gradient cannot be checked at a point where nearly every entry is at a kink."""
    return Cause(
        "the check cannot decide: nearly every entry lies at a kink",
        f"at {between.sum()} of {between.size} entries the slopes to the left and to the right differ",
        KINKS,
        kind=Kind.UNDECIDED,
    )


def _all_noise(
    actual: Floats, numeric: Numeric, noisy: Array, tol: float, scale: float
) -> tuple[Array, list[str], list[Cause]]:
    """Return which entries larger steps show to be wrong, how exactly, and why noise decides nothing if so.

    A gradient of zero, such as that of a bias before batch normalization, is nothing but noise: that is fine
    if the noise is small beside the gradients of the other arguments.
    """
    wrong = np.zeros(noisy.shape, dtype=bool)
    size, noise = np.abs(numeric.centered).max(initial=0), numeric.noise
    is_zero = size <= noise and noise <= tol * scale
    if noisy.sum() <= NEARLY_ALL * noisy.size or is_zero or noise <= tol * size:
        return wrong, [], []
    indices = [tuple(index) for index in np.argwhere(noisy)]
    sample = indices[:: max(1, len(indices) // SECOND_LOOKS)]
    open_ = 0.0
    for index in sample:
        slope, unknown = numeric.with_larger_step(index)
        open_ = max(open_, unknown)
        wrong[index] = abs(actual[index] - slope) > unknown + tol * abs(slope)
    if wrong.any() or open_ <= tol * size:
        return wrong, [], []
    if open_ <= OPEN * size:
        share = (
            f"With a larger step they are right to {open_ / size:.0e} of the largest. This is not a mistake."
        )
        return wrong, [f"Nearly all entries are below the rounding noise, {noise:.0e}. {share}"], []
    return wrong, [], [_too_noisy(noise, size)]


def _too_noisy(noise: float, size: float) -> Cause:
    title = "the check cannot decide: the gradient is smaller than the rounding noise"
    evidence = f"its entries are at most {size:.0e}, the noise of the numeric gradient is {noise:.0e}"
    return Cause(title, evidence, NOISE, kind=Kind.UNDECIDED)


def _error(actual: Floats, expected: Floats, right: Array, floor: float) -> float:
    """Return the largest relative error of all entries; of the wrong ones, if there are any."""
    if right.all():
        return rel_error(actual, expected, floor) if actual.size else 0.0
    return rel_error(np.where(right, expected, actual), expected)


def floor_of(numeric: Numeric, tol: float) -> float:
    """Return the size below which the relative error of an entry is mostly rounding noise."""
    return max(FLOOR, numeric.noise / tol)


def _notes(noisy: Array, between: Array, numeric: Numeric, tol: float) -> list[str]:
    """Return the notes on entries whose numeric gradient is unreliable."""
    notes = []
    if between.any():
        notes.append(
            f"{_entries(between, 'lies', 'lie')} at a kink: the slopes to the left and to the "
            "right differ. The gradient is one of them, or lies between them. This is not a mistake."
        )
    size = np.abs(numeric.centered).max(initial=0)
    if noisy.any() and size > numeric.noise > tol * size:
        notes.append(
            f"{_entries(noisy, 'differs', 'differ')} by less than {numeric.noise:.0e}, the rounding noise of "
            "the numeric gradient. This is not a mistake."
        )
    return notes


def _entries(chosen: Array, one: str, several: str) -> str:
    """Return how many entries are chosen, as the beginning of a sentence, with its verb."""
    count = int(chosen.sum())
    return f"{count} of {chosen.size} entries {one if count == 1 else several}"


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
