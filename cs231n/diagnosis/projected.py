"""Gradients compared along random directions: for layers that are too large for every entry.

The slope of sum(out * dout) along a direction v is <gradient, v>, a number that two forward passes give. A
gradient that is wrong by e is found unless <e, v> = 0, which is almost never so; and what turns a gradient
that is wrong as a whole into the right one, such as a transposition, turns its slopes into the right ones.
"""

from dataclasses import dataclass, field

import numpy as np

from cs231n.diagnosis import REARRANGED, Case, Cause, diagnose_value, factor_causes
from cs231n.diagnosis.numeric import ROUNDINGS, SMALLER
from cs231n.diagnosis.report import FAIL, PASS, WARN, Comparison
from cs231n.diagnosis.values import as_floats, is_numbers

SHOWN = 3  # directions that are shown
KINK = "A smaller step fits: there are kinks within the larger one. That is no mistake."
ORDER = "Look at the order in which gradients are returned: that of the forward pass's arguments."


@dataclass
class Direction:
    """A random direction in which one argument is moved, and the slopes there, by their step.

    - move: a function of the step that gives sum(out * dout) at that distance
    - noise: the rounding of such a sum
    """

    vector: np.ndarray
    move: object
    noise: float
    known: dict = field(default_factory=dict)

    def slope(self, h):
        """The slope, as the centered difference with this step has it."""
        if h not in self.known:
            self.known[h] = (self.move(h) - self.move(-h)) / (2 * h)
        return self.known[h]


def random_directions(forward, inputs, key, run, count, rng):
    """`count` random directions to move inputs[key] in; `run`: out, dout and what else one pass gave."""
    out, dout = run[:2]
    noise = ROUNDINGS * np.finfo(np.float64).eps * max(float(np.sum(np.abs(out * dout))), 1.0)

    def direction():
        vector = rng.standard_normal(inputs[key].shape)

        def move(h):
            moved = {
                name: array + h * vector if name == key else array.copy() for name, array in inputs.items()
            }
            return float(np.sum(as_floats(forward(*moved.values())[0]) * dout))

        return Direction(vector, move, noise)

    return [direction() for _ in range(count)]


def compare_slopes(name, key, grads, directions, tol, h, known):
    """The gradient grads[key] along its directions, beside the numeric slopes there.

    Where they differ a smaller step is tried: along a direction that moves thousands of entries some of them
    pass a kink.
    """
    causes = diagnose_value(grads[key], known["inputs"][key])
    if causes:
        numeric = np.array([direction.slope(h) for direction in directions])
        explained = list(_repaired(key, grads, directions, numeric, tol))
        return Comparison(name, FAIL, np.inf, tol, causes=explained or causes)
    actual = _along(grads[key], directions)
    for share in (1.0, *SMALLER):
        numeric = np.array([direction.slope(h * share) for direction in directions])
        error = _error(actual, numeric)
        if error <= tol or np.abs(actual - numeric).max() <= directions[0].noise / (h * share):
            notes = [KINK] if share < 1 else []
            return Comparison(name, WARN if notes else PASS, error, tol, notes=notes)
    return _failed(name, key, grads, directions, tol, h, known)


def _failed(name, key, grads, directions, tol, h, known):
    actual = _along(grads[key], directions)
    numeric = np.array([direction.slope(h) for direction in directions])
    worst = [(f"direction {i}", a, n) for i, (a, n) in enumerate(zip(actual[:SHOWN], numeric, strict=False))]
    case = Case(actual, numeric, name=key, tol=tol, **known)
    causes = []
    if not np.any(as_floats(grads[key])):
        causes.append(Cause("it is zero everywhere", "and should not be", "Was it computed, and returned?"))
    else:
        causes += [*factor_causes(case), *_repaired(key, grads, directions, numeric, tol)]
    return Comparison(name, FAIL, _error(actual, numeric), tol, worst, causes)


def _along(grad, directions):
    return np.array([np.vdot(as_floats(grad), direction.vector) for direction in directions])


def _error(actual, numeric):
    return float(np.abs(actual - numeric).max() / max(np.abs(numeric).max(), 1e-8))


def _repaired(key, grads, directions, numeric, tol):
    """Causes that, undone, give the right slopes in all directions."""
    shape = directions[0].vector.shape
    for title, repaired, look in _repairs(key, grads):
        if repaired.shape == shape and _error(_along(repaired, directions), numeric) <= 10 * tol:
            evidence = f"without this mistake it is right along all {len(directions)} directions"
            yield Cause(title, evidence, look)


def _repairs(key, grads):
    """(title, what the gradient is without the mistake, where to look) for mistakes that can be undone."""
    for other, grad in grads.items():
        if other != key and is_numbers(grad):
            yield (
                f"it is the gradient of another argument, and that of {other} is its",
                as_floats(grad),
                ORDER,
            )
    if not is_numbers(grads[key]):
        return
    grad = as_floats(grads[key])
    for title, turn, look in REARRANGED.get(grad.ndim, ()):
        if turn(grad).shape != grad.shape or not np.array_equal(turn(grad), grad):
            yield title, turn(grad), look
    if grad.ndim > 1:
        look = "What all examples share, such as a bias, gets the sum of their gradients."
        yield "it is not summed over the batch", grad.sum(axis=0), look
