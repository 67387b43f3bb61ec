"""Gradients compared along random directions: for layers that are too large for every entry.

The slope of sum(out * dout) along a direction v is <gradient, v>, a number that two forward passes give. A
gradient that is wrong by e is found unless <e, v> = 0, which is almost never so; and what turns a gradient
that is wrong as a whole into the right one, such as a transposition, turns its slopes into the right ones.
"""

from dataclasses import dataclass, field

import numpy as np

from cs231n.gradcheck.diagnosis import REARRANGED, Case, Cause, diagnose_value, factor_causes
from cs231n.gradcheck.numeric import ROUNDINGS, SMALLER
from cs231n.gradcheck.report import FAIL, PASS, WARN, Comparison
from cs231n.gradcheck.values import as_floats, is_numbers

SHOWN = 3  # directions that are shown
KINK = "A smaller step fits: there are kinks within the larger one. That is no mistake."
AT_KINK = "There are kinks at this very point, and what they may change is as much as the difference."
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

    def bend(self, h):
        """By how much the slopes to the two sides differ."""
        return abs(self.move(h) - 2 * self.move(0.0) + self.move(-h)) / h


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
    """The gradient grads[key] along directions[key], beside the numeric slopes there.

    Where they differ a smaller step is tried: along a direction that moves thousands of entries some of them
    pass a kink. With the smallest one, what is left may be as large as the slopes to the two sides differ.
    """
    causes = diagnose_value(grads[key], known["inputs"][key])
    if causes:
        undone = list(_undone(key, grads, directions, tol, h))
        return Comparison(name, FAIL, np.inf, tol, causes=undone or causes)
    actual = _along(grads[key], directions[key])
    for share in (1.0, *SMALLER):
        numeric = _slopes(directions[key], h * share)
        error, left = _error(actual, numeric), np.abs(actual - numeric).max()
        noise = directions[key][0].noise / (h * share)
        if error <= tol or left <= noise:
            return Comparison(
                name, PASS if share == 1 else WARN, error, tol, notes=[] if share == 1 else [KINK]
            )
    if left <= noise + 2 * max(direction.bend(h * share) for direction in directions[key]):
        return Comparison(name, WARN, error, tol, notes=[AT_KINK])
    return _failed(name, key, grads, directions, tol, h, known)


def _failed(name, key, grads, directions, tol, h, known):
    actual, numeric = _along(grads[key], directions[key]), _slopes(directions[key], h)
    shown = zip(actual[:SHOWN].tolist(), numeric.tolist(), strict=False)
    worst = [(f"direction {i}", a, n) for i, (a, n) in enumerate(shown)]
    if np.any(as_floats(grads[key])):
        case = Case(actual, numeric, name=key, tol=tol, **known)
        causes = [*factor_causes(case), *_undone(key, grads, directions, tol, h)]
    else:
        causes = [Cause("it is zero everywhere", "and should not be", "Was it computed, and returned?")]
    return Comparison(name, FAIL, _error(actual, numeric), tol, worst, causes)


def _slopes(directions, h):
    return np.array([direction.slope(h) for direction in directions])


def _along(grad, directions):
    return np.array([np.vdot(as_floats(grad), direction.vector) for direction in directions])


def _error(actual, numeric):
    return float(np.abs(actual - numeric).max() / max(np.abs(numeric).max(), 1e-8))


def _undone(key, grads, directions, tol, h):
    """Causes that, undone, give the right slopes in all directions."""
    if not is_numbers(grads[key]):
        return
    grad = as_floats(grads[key])
    candidates = [(title, key, repaired, look) for title, repaired, look in _repairs(grad)]
    candidates += [(f"it is the gradient of {other}", other, grad, ORDER) for other in grads if other != key]
    for title, argument, repaired, look in candidates:
        along = directions[argument]
        if repaired.shape != along[0].vector.shape:
            continue
        if _error(_along(repaired, along), _slopes(along, h)) <= 10 * tol:
            evidence = f"as such it is right along all of {len(along)} directions"
            yield Cause(title, evidence, look)


def _repairs(grad):
    """(title, what the gradient is without the mistake, where to look) for mistakes that can be undone."""
    for mistake, turn, look in REARRANGED.get(grad.ndim, ()):
        yield mistake.value, turn(grad), look
    if grad.ndim > 1:
        look = "What all examples share, such as a bias, gets the sum of their gradients."
        yield "it is not summed over the batch", grad.sum(axis=0), look
