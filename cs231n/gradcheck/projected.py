"""Compare gradients along random directions: for layers that are too large to check every entry.

The slope of sum(out * dout) along a direction v is <gradient, v>, a number that two forward passes give. A
gradient that is wrong by e is found unless <e, v> = 0, which almost never happens. If undoing a mistake, such
as a transposition, makes the slopes right along every direction, that mistake is the cause.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from cs231n.gradcheck.conduct import Run
from cs231n.gradcheck.diagnosis import (
    REARRANGED,
    Case,
    Cause,
    Kind,
    Mistake,
    Observed,
    diagnose,
    diagnose_value,
    factor_causes,
    right_gradients,
)
from cs231n.gradcheck.judgement import KINKS
from cs231n.gradcheck.numeric import EPS, rounding_of
from cs231n.gradcheck.report import Comparison, Worst
from cs231n.gradcheck.tolerances import (
    BEND_FACTOR,
    FLOOR,
    MOST_DIAGNOSED,
    OPEN,
    REPAIR_FACTOR,
    ROUNDINGS,
    SMALLER_STEPS,
)
from cs231n.gradcheck.values import Array, Floats, float64_copy, is_numbers
from cs231n.passes import FAIL, PASS, WARN

SHOWN = 3  # directions that a report shows
KINK = "With a smaller step the slopes agree: the larger one crosses kinks. This is not a mistake."
AT_KINK = "The point is at a kink, which can explain the whole difference. This need not be a mistake."
UNDECIDED = "the check cannot decide: the slopes to the two sides differ along every direction"
ORDER = "Return the gradients in the order of the forward pass's arguments."


@dataclass
class Direction:
    """A random direction in which one argument moves.

    - move: a function of the distance that gives sum(out * dout) there
    - noise: the rounding error of such a sum
    - known: {step: slope} of the slopes that were measured before
    """

    vector: Floats
    move: Callable[[float], float]
    noise: float
    known: dict[float, float] = field(default_factory=dict)

    def slope(self, h: float) -> float:
        """Return the slope, by the centered difference with this step."""
        if h not in self.known:
            self.known[h] = (self.move(h) - self.move(-h)) / (2 * h)
        return self.known[h]

    def bend(self, h: float) -> float:
        """Return by how much the slopes to the two sides differ."""
        return abs(self.move(h) - 2 * self.move(0.0) + self.move(-h)) / h


@dataclass(frozen=True)
class Projection:
    """What `compare_slopes` compares by: directions and gradients for every argument, and the settings.

    - known: the fields of a `Case` that hold for every argument
    """

    grads: dict[str, Any]
    directions: dict[str, list[Direction]]
    tol: float
    h: float
    known: dict[str, Any]


def random_directions(
    forward: Callable[..., Any], inputs: dict[str, Floats], run: Run, count: int, rng: np.random.Generator
) -> dict[str, list[Direction]]:
    """Return {argument: `count` random directions in which it moves}."""
    moved = {name: array.copy() for name, array in inputs.items()}

    def out() -> Any:
        return forward(*(array.copy() for array in moved.values()))[0]

    of_sum = EPS * max(float(np.sum(np.abs(run.out * run.dout))), 1.0)
    noise = ROUNDINGS * max(of_sum, rounding_of(out, moved.values(), run.dout))

    def along(key: str, vector: Floats) -> Callable[[float], float]:
        def move(distance: float) -> float:
            moved[key][...] = inputs[key] + distance * vector
            try:
                return float(np.sum(float64_copy(out()) * run.dout))
            finally:
                moved[key][...] = inputs[key]

        return move

    def directions(key: str) -> list[Direction]:
        vectors = [np.asarray(rng.standard_normal(inputs[key].shape)) for _ in range(count)]
        return [Direction(vector, along(key, vector), noise) for vector in vectors]

    return {key: directions(key) for key in inputs}


def compare_slopes(name: str, key: str, projection: Projection) -> Comparison:
    """Compare the slopes of one gradient along its directions with the numeric slopes.

    If they differ, a smaller step is tried: a direction that moves thousands of entries moves some of them
    past a kink. With the smallest step, the difference may be as large as that between the two sides' slopes.
    """
    directions, tol = projection.directions[key], projection.tol
    causes = diagnose_value(projection.grads[key], projection.known["inputs"][key])
    if causes:
        explained = _by_formula(key, projection) or list(_undone(key, projection))
        return Comparison(name, FAIL, np.inf, tol, causes=explained or causes)
    actual = _along(projection.grads[key], directions)
    for scale in (1.0, *SMALLER_STEPS):
        h = projection.h * scale
        numeric = _slopes(directions, h)
        error, difference = _error(actual, numeric), _largest(actual - numeric)
        noise = directions[0].noise / h
        if error <= tol or difference <= noise:
            notes = [] if scale == 1 else [KINK]
            return Comparison(name, WARN if notes else PASS, error, tol, notes=notes)
    if difference > noise + BEND_FACTOR * max(direction.bend(h) for direction in directions):
        return _failed(name, key, projection)
    if error > OPEN:
        cause = Cause(UNDECIDED, f"they differ by {difference:.1e}", KINKS, kind=Kind.UNDECIDED)
        return Comparison(name, FAIL, error, tol, causes=[cause], doubtful=True)
    return Comparison(name, WARN, error, tol, notes=[AT_KINK], doubtful=True)


def _failed(name: str, key: str, projection: Projection) -> Comparison:
    """Return a Comparison that fails, with the causes that explain all slopes."""
    grad, directions = projection.grads[key], projection.directions[key]
    actual, numeric = _along(grad, directions), _slopes(directions, projection.h)
    if np.any(float64_copy(grad)) and (causes := _by_formula(key, projection)):
        pass
    elif np.any(float64_copy(grad)):
        case = Case(actual, numeric, name=key, tol=projection.tol, **projection.known)
        causes = [*factor_causes(case), *_undone(key, projection)]
    else:
        look = "Was it computed, and returned?"
        causes = [Cause(Mistake.ZERO.value, "the numeric gradient is not", look)]
    error, worst = _error(actual, numeric), _worst(actual, numeric)
    return Comparison(name, FAIL, error, projection.tol, worst, causes, doubtful=True)


def _by_formula(key: str, projection: Projection) -> list[Cause]:
    """Return the causes that explain the whole gradient, if the layer is known and its formula is right."""
    if sum(grad.size for grad in projection.known["inputs"].values()) > MOST_DIAGNOSED:
        return []
    gradients = right_gradients(Observed.of(projection.known))
    directions = projection.directions[key]
    expected = gradients.get(key)
    if expected is None or expected.shape != directions[0].vector.shape:
        return []
    if (
        _error(_along(expected, directions), _slopes(directions, projection.h))
        > REPAIR_FACTOR * projection.tol
    ):
        return []
    grad = projection.grads[key]
    more = {**projection.known, "name": key, "numeric": gradients}
    causes = diagnose_value(grad, expected, **more)
    if causes:
        return causes
    return diagnose(Case(float64_copy(grad), expected, tol=projection.tol, **more))


def _worst(actual: Floats, numeric: Floats) -> list[Worst]:
    pairs = zip(actual[:SHOWN].tolist(), numeric[:SHOWN].tolist(), strict=True)
    return [(f"direction {i}", slope, expected) for i, (slope, expected) in enumerate(pairs)]


def _slopes(directions: list[Direction], h: float) -> Floats:
    return np.array([direction.slope(h) for direction in directions])


def _along(grad: Any, directions: list[Direction]) -> Floats:
    return np.array([np.vdot(float64_copy(grad), direction.vector) for direction in directions])


def _error(actual: Floats, numeric: Floats) -> float:
    return _largest(actual - numeric) / max(_largest(numeric), FLOOR)


def _largest(array: Floats) -> float:
    return float(np.abs(array).max())


def _undone(key: str, projection: Projection) -> Iterator[Cause]:
    """Yield the mistakes that, undone, give the right slopes along all directions."""
    if not is_numbers(projection.grads[key]):
        return
    grad = float64_copy(projection.grads[key])
    candidates = [(title, key, repaired, look) for title, repaired, look in _repairs(grad)]
    others = [other for other in projection.grads if other != key]
    candidates += [(f"it is the gradient of {other}", other, grad, ORDER) for other in others]
    for title, argument, repaired, look in candidates:
        directions = projection.directions[argument]
        if repaired.shape != directions[0].vector.shape:
            continue
        error = _error(_along(repaired, directions), _slopes(directions, projection.h))
        if error <= REPAIR_FACTOR * projection.tol:
            yield Cause(title, f"with this undone, it is right along all {len(directions)} directions", look)


def _repairs(grad: Floats) -> Iterator[tuple[str, Array, str]]:
    """Yield (title, the gradient without the mistake, where to look) for mistakes that can be undone."""
    for mistake, turn, look in REARRANGED.get(grad.ndim, ()):
        yield mistake.value, turn(grad), look
    if grad.ndim > 1 and len(grad) == 1:
        yield Mistake.WRONG_LAYOUT.value, grad[0], "Reshape it to the shape of the argument."
    elif grad.ndim > 1:
        look = "What all examples share, such as a bias, gets the sum of their gradients."
        yield Mistake.NOT_SUMMED_OVER_BATCH.value, grad.sum(axis=0), look
