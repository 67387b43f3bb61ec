"""A gradient check that says why: backward passes against numeric gradients, with a diagnosis.

    report = check_layer(affine_forward, affine_backward, {"x": x, "w": w, "b": b})
    print(report)

It computes in float64 with a random upstream gradient, and takes whatever a learner's code returns. An
entry is PASS, or FAIL with the causes that its numbers speak for, or WARN where something is to be known that
is no mistake: a kink within the step, a difference that is only the noise of rounding, float32.
"""

from dataclasses import dataclass, field

import numpy as np

from cs231n.diagnosis import Case, Cause, diagnose, diagnose_value
from cs231n.gradient_check import rel_error

PASS, WARN, FAIL = "PASS", "WARN", "FAIL"
WORST = 3  # entries that are shown
STEP = 1e-5
NOISE = 4 * np.finfo(np.float64).eps
KINK = 1e-3  # one-sided slopes that differ by this share of the largest have a kink between them
FLOAT32 = 1e-3  # relative error that computing in float32 explains


@dataclass
class Comparison:
    """A gradient beside the numeric one.

    - name: such as dx; status: PASS, WARN or FAIL; error: the largest relative error, at most tol to pass
    - worst: (index, gradient, numeric gradient) of the entries that are farthest off
    - causes: what explains the difference, the likeliest first; notes: what is to be known besides
    """

    name: str
    status: str
    error: float
    tol: float
    worst: list = field(default_factory=list)
    causes: list = field(default_factory=list)
    notes: list = field(default_factory=list)

    def __str__(self):
        if self.status != FAIL:
            head = f"{self.status}  {self.name}: relative error {self.error:.1e} (at most {self.tol:.0e})"
            return "\n".join([head, *(f"      {note}" for note in self.notes)])
        lines = [f"FAIL  {self.name}: relative error {self.error:.1e}, at most {self.tol:.0e}."]
        lines += [f"      {cause}" for cause in self.causes]
        if self.worst and not self.causes:
            lines.append("      No mistake that is known fits. The entries that are farthest off:")
        lines += [f"      {index}: {a:.8g}, and should be {n:.8g}" for index, a, n in self.worst]
        return "\n".join([*lines, *(f"      {note}" for note in self.notes)])


@dataclass
class Report:
    """Everything that a check of one layer or network found."""

    name: str
    comparisons: list = field(default_factory=list)
    causes: list = field(default_factory=list)

    @property
    def status(self):
        statuses = {comparison.status for comparison in self.comparisons}
        if self.causes or FAIL in statuses:
            return FAIL
        return WARN if WARN in statuses else PASS

    def all_causes(self):
        """Every cause that was found, those of the layer as a whole first."""
        return [*self.causes, *(cause for comparison in self.comparisons for cause in comparison.causes)]

    def raise_if_failed(self):
        """Raise AssertionError, with the report for its text, if anything failed."""
        if self.status == FAIL:
            raise AssertionError(str(self))

    def __str__(self):
        lines = [f"FAIL  {self.name}: {cause}" for cause in self.causes]
        return "\n".join([*lines, *map(str, self.comparisons)])

    def _repr_pretty_(self, printer, cycle):
        printer.text(str(self))


@dataclass
class Numeric:
    """A numeric gradient, the slopes to either side that it is the mean of, and the noise of rounding."""

    centered: np.ndarray
    left: np.ndarray
    right: np.ndarray
    noise: float

    @property
    def kinks(self):
        """Entries whose slopes to the left and to the right differ more than curvature explains."""
        largest = max(np.abs(self.centered).max(initial=0), self.noise)
        return np.abs(self.right - self.left) > KINK * largest + 10 * self.noise


def numeric_gradient(f, x, dout, h=STEP):
    """The Numeric gradient of sum(f() * dout) with respect to x, which f closes over, in place."""
    center = np.array(f(), dtype=np.float64)
    left, right = np.zeros(x.shape), np.zeros(x.shape)
    for index in np.ndindex(x.shape):
        value = x[index]
        try:
            x[index] = value + h
            right[index] = np.sum((f() - center) * dout) / (x[index] - value)
            x[index] = value - h
            left[index] = np.sum((center - f()) * dout) / (value - x[index])
        finally:
            x[index] = value
    noise = NOISE * max(float(np.sum(np.abs(center * dout))), 1.0) / h
    return Numeric((left + right) / 2, left, right, noise)


def check_layer(forward, backward, inputs, settings=None, name="", tol=1e-6, h=STEP, seed=231):
    """Check a layer's gradients; returns a Report.

    - forward: a function of the arrays in `inputs`, in their order, that returns (out, cache)
    - backward: a function of (dout, cache) that returns a gradient for each of them
    - inputs: {name: array}, which are copied and brought to float64
    - settings: what else the layer was called with, for the diagnosis: stride, pad, p, eps, G, ...
    - tol: the largest relative error that passes; h: the step of the numeric gradient
    - seed: of the upstream gradient
    """
    inputs = {key: np.array(array, dtype=np.float64) for key, array in inputs.items()}
    report = Report(name)
    try:
        run = _run(forward, backward, inputs, report, np.random.default_rng(seed))
    except NotImplementedError:  # an exercise that is still to be written
        raise
    except Exception as error:  # whatever a learner's code may raise
        report.causes.append(_raised(error))
        return report
    if run is not None:
        out, dout, grads = run
        numeric = {
            key: numeric_gradient(lambda: forward(*inputs.values())[0], array, dout, h)
            for key, array in inputs.items()
        }
        known = {"inputs": inputs, "out": out, "dout": dout, "settings": settings or {}}
        report.comparisons = compare_all(name, grads, numeric, tol, known)
    return report


def _run(forward, backward, inputs, report, rng):
    """Forward and backward once, with what is wrong with the layer as a whole noted in the report.

    Returns out, dout and the gradients; None where there is nothing to compare.
    """
    before = {key: array.copy() for key, array in inputs.items()}
    result = forward(*inputs.values())
    if not isinstance(result, tuple) or len(result) != 2:
        report.causes.append(
            Cause(
                "forward does not return (out, cache)",
                f"it returned a {type(result).__name__}",
                "Return the output and what backward needs, as a pair.",
            )
        )
        return None
    out, cache = result
    report.causes += _modified(before, inputs)
    out = np.array(out, dtype=np.float64)
    again = np.array(forward(*inputs.values())[0], dtype=np.float64)
    if not np.array_equal(out, again, equal_nan=True):
        report.causes.append(
            Cause(
                "the forward pass gives another result each time",
                "twice the same arguments gave two outputs",
                "Fix what it draws with a seed: no gradient can be checked otherwise.",
            )
        )
        return None
    dout = rng.standard_normal(out.shape)
    grads = backward(dout.copy(), cache)
    grads = list(grads) if isinstance(grads, tuple | list) else [grads]
    if len(grads) != len(inputs):
        report.causes.append(
            Cause(
                "backward returns another number of gradients than there are arguments",
                f"it returned {len(grads)} for {', '.join(inputs)}",
                "Return one for each argument of the forward pass, in their order.",
            )
        )
        return None
    report.causes += _stale(forward, backward, inputs, dout, cache, grads)
    return out, dout, grads


def _modified(before, inputs):
    """A cause for every argument that the forward pass has changed; the arguments get their values back."""
    for key, array in before.items():
        if not np.array_equal(array, inputs[key], equal_nan=True):
            inputs[key][...] = array
            yield Cause(
                f"the forward pass modifies its argument {key}",
                "it is not what it was before the call",
                "Write into a copy, or into a new array.",
            )


def _stale(forward, backward, inputs, dout, cache, grads):
    """A cause if backward gives other gradients once forward has been called with something else."""
    kept = [np.array(grad) if isinstance(grad, np.ndarray) else grad for grad in grads]
    forward(*(array + 1 for array in inputs.values()))
    again = backward(dout.copy(), cache)
    again = list(again) if isinstance(again, tuple | list) else [again]
    for old, new in zip(kept, again, strict=True):
        if isinstance(old, np.ndarray) and not np.array_equal(old, new, equal_nan=True):
            yield Cause(
                "the cache is stale",
                "after another forward pass the same cache gives other gradients",
                "Keep in the cache what this call computed, in arrays that no other call writes to.",
            )
            return


def _raised(error):
    return Cause(
        "it raises an error",
        f"{type(error).__name__}: {error}",
        "Run forward and backward by themselves to see where.",
    )


def compare_all(name, grads, numeric, tol, known):
    """A Comparison for each gradient, in the order of `numeric`, {argument: Numeric}."""
    centered = {key: gradient.centered for key, gradient in numeric.items()}
    return [
        compare(
            f"{name} d{key}".strip(), grad, numeric[key], tol, {**known, "name": key, "numeric": centered}
        )
        for key, grad in zip(numeric, grads, strict=True)
    ]


def compare(name, grad, numeric, tol, known):
    """One gradient beside its Numeric one; `known` are the fields of a `Case` besides the two."""
    expected = numeric.centered
    causes = diagnose_value(grad, expected)
    if causes:
        return Comparison(name, FAIL, np.inf, tol, causes=causes)
    grad = np.asarray(grad)
    actual = grad.astype(np.float64)
    right, notes = _right(actual, numeric, tol)
    error = (
        rel_error(np.where(right, expected, actual), expected)
        if not right.all()
        else _error(actual, numeric, tol)
    )
    if right.all():
        return Comparison(name, WARN if notes else PASS, error, tol, notes=notes)
    if grad.dtype == np.float32 and error <= FLOAT32:
        note = "It is computed in float32, whose rounding explains the difference: check in float64."
        return Comparison(name, WARN, error, tol, notes=[note])
    floor = max(1e-8, numeric.noise / tol)
    case = Case(np.where(right, expected, actual), expected, tol=tol, floor=floor, **known)
    return Comparison(name, FAIL, error, tol, farthest_off(actual, expected, right), diagnose(case), notes)


def _error(actual, numeric, tol):
    """The largest relative error of entries away from kinks, the noise of rounding taken for what it is."""
    smooth = ~numeric.kinks
    if not smooth.any():
        return 0.0
    return rel_error(actual[smooth], numeric.centered[smooth], floor=max(1e-8, numeric.noise / tol))


def _right(actual, numeric, tol):
    """Which entries are right, and notes on those that are right for a reason worth knowing."""
    difference = np.abs(actual - numeric.centered)
    size = np.maximum(np.abs(actual) + np.abs(numeric.centered), 1e-8)
    close = difference <= tol * size
    noisy = ~close & (difference <= numeric.noise)
    low, high = np.minimum(numeric.left, numeric.right), np.maximum(numeric.left, numeric.right)
    margin = tol * size + numeric.noise
    at_kink = ~close & ~noisy & numeric.kinks & (low - margin <= actual) & (actual <= high + margin)
    notes = []
    if at_kink.any():
        notes.append(
            f"{at_kink.sum()} of {actual.size} entries have a kink within the step: their slopes to the left "
            "and to the right differ, and the gradient lies between them. That is no mistake."
        )
    if noisy.any() and np.abs(numeric.centered[noisy]).max() > 0:
        notes.append(
            f"{noisy.sum()} of {actual.size} entries are so small that their numeric gradient is rounding "
            "only. That is no mistake."
        )
    return close | noisy | at_kink, notes


def farthest_off(actual, expected, right):
    """(index, gradient, numeric gradient) of the entries that are farthest off."""
    off = np.where(right, -1, np.abs(actual - expected))
    flat = np.argsort(-off, axis=None, kind="stable")[: min(WORST, int((~right).sum()))]
    indices = [tuple(int(i) for i in np.unravel_index(position, off.shape)) for position in flat]
    return [(index, float(actual[index]), float(expected[index])) for index in indices]


def check_model(model, X, y, tol=1e-5, h=STEP):
    """Check every gradient that `model.loss(X, y)` returns; returns a Report.

    - model: has `params` in float64, `loss(X, y)` and perhaps `reg`; small, each parameter costs two losses
    """
    report = Report(type(model).__name__)
    _, grads = model.loss(X, y)
    names = sorted(model.params)
    numeric = {
        name: numeric_gradient(lambda: model.loss(X, y)[0], model.params[name], 1.0, h) for name in names
    }
    known = {"inputs": {"X": X, **model.params}, "reg": getattr(model, "reg", 0.0)}
    report.comparisons = compare_all("", [grads.get(name) for name in names], numeric, tol, known)
    return report


def check_projected(forward, backward, inputs, name="", tol=1e-5, directions=4, h=STEP, seed=231):
    """Check a large layer cheaply, along a few random directions; returns a Report.

    The slope along a direction v is <gradient, v>: two forward passes each, whatever the size. A wrong
    gradient is found almost surely; where it is wrong is not seen. Arguments are those of `check_layer`.
    """
    inputs = {key: np.array(array, dtype=np.float64) for key, array in inputs.items()}
    report, rng = Report(name), np.random.default_rng(seed)
    try:
        run = _run(forward, backward, inputs, report, rng)
    except NotImplementedError:
        raise
    except Exception as error:
        report.causes.append(_raised(error))
        return report
    if run is not None:
        _, dout, grads = run
        for (key, array), grad in zip(inputs.items(), grads, strict=True):
            slopes = [
                _slopes(forward, inputs, array, grad, rng.standard_normal(array.shape), dout, h)
                for _ in range(directions)
            ]
            report.comparisons.append(_compare_slopes(f"{name} d{key}".strip(), grad, array, slopes, tol))
    return report


def _slopes(forward, inputs, array, grad, direction, dout, h):
    """The slope along a direction as the gradient has it, or None, and as two forward passes have it."""
    center = array.copy()
    try:
        array[...] = center + h * direction
        above = forward(*inputs.values())[0]
        array[...] = center - h * direction
        below = forward(*inputs.values())[0]
    finally:
        array[...] = center
    numeric = float(np.sum((above - below) * dout) / (2 * h))
    return (None if diagnose_value(grad, array) else float(np.vdot(grad, direction))), numeric


def _compare_slopes(name, grad, array, slopes, tol):
    causes = diagnose_value(grad, array)
    if causes:
        return Comparison(name, FAIL, np.inf, tol, causes=causes)
    actual, expected = np.array(slopes).T
    error = float(np.abs(actual - expected).max() / max(np.abs(expected).max(), 1e-8))
    if error <= tol:
        return Comparison(name, PASS, error, tol)
    worst = [(f"direction {i}", a, n) for i, (a, n) in enumerate(slopes[:WORST])]
    case = Case(actual, expected, name="slopes", tol=tol)
    return Comparison(name, FAIL, error, tol, worst, diagnose(case))
