"""A gradient check that says why: backward passes against numeric gradients, with a diagnosis.

    report = check_layer(affine_forward, affine_backward, {"x": x, "w": w, "b": b})
    print(report)

It computes in float64 with a random upstream gradient, and takes whatever a learner's code returns. An
entry is PASS, or FAIL with the causes that its numbers speak for, or WARN where something is to be known that
is no mistake: a kink within the step, a difference that is only the noise of rounding, float32.
"""

import numpy as np

from cs231n.gradcheck.conduct import raised, run_once
from cs231n.gradcheck.diagnosis import Case, Cause, diagnose, diagnose_value, where_wrong
from cs231n.gradcheck.judgement import is_rounding, right_entries, worst_entries
from cs231n.gradcheck.models import gradients_of, knowledge_of
from cs231n.gradcheck.numeric import STEP, numeric_gradient, rel_error
from cs231n.gradcheck.projected import compare_slopes, random_directions
from cs231n.gradcheck.report import FAIL, PASS, WARN, Comparison, Report
from cs231n.gradcheck.values import float64_copy

__all__ = [
    *("FAIL", "PASS", "WARN", "Case", "Cause", "Comparison", "Report"),
    *("check_layer", "check_model", "check_projected", "compare", "compare_all", "diagnose"),
    *("diagnose_value", "numeric_gradient"),
]


def check_layer(forward, backward, inputs, settings=None, name="", tol=1e-6, h=STEP, seed=231):
    """Check a layer's gradients; returns a Report.

    - forward: a function of the arrays in `inputs`, in their order, that returns (out, cache)
    - backward: a function of (dout, cache) that returns a gradient for each of them
    - inputs: {name: array}, which are copied and brought to float64
    - settings: what else the layer was called with, for the diagnosis: stride, pad, p, eps, G, ...
    - tol: the largest relative error that passes; h: the step of the numeric gradient
    - seed: of the upstream gradient
    """
    inputs, report = _as_float64(inputs), Report(name)

    def output():
        return forward(*(array.copy() for array in inputs.values()))[0]

    def check():
        run = run_once(forward, backward, inputs, report, np.random.default_rng(seed))
        if run is not None:
            out, dout, grads = run
            numeric = {key: numeric_gradient(output, array, dout, h) for key, array in inputs.items()}
            known = {"inputs": inputs, "out": out, "dout": dout, "settings": settings or {}}
            report.comparisons = compare_all(name, grads, numeric, tol, known)

    return _guarded(report, check)


def _as_float64(inputs):
    return {key: np.array(array, dtype=np.float64) for key, array in inputs.items()}


def _guarded(report, check):
    """The report after `check`, with a cause in it if that raises anything.

    NotImplementedError passes: it says that an exercise is still to be written, which is no mistake.
    """
    try:
        check()
    except NotImplementedError:
        raise
    except Exception as error:  # whatever a learner's code may raise
        report.causes.append(raised(error))
    return report


def check_model(model, X, y, tol=1e-5, h=STEP):
    """Check every gradient that `model.loss(X, y)` returns; returns a Report.

    - model: has `params` in float64, `loss(X, y)` and perhaps `reg`; small, each parameter costs two losses
    """
    report = Report(type(model).__name__)

    def loss():
        return model.loss(X, y)[0]

    def check():
        grads = gradients_of(model, X, y, report)
        if grads is not None:
            params = dict(sorted(model.params.items()))
            numeric = {name: numeric_gradient(loss, param, 1.0, h) for name, param in params.items()}
            known = knowledge_of(model, X, loss)
            grads = [grads.get(name) for name in params]
            report.comparisons = compare_all("", grads, numeric, tol, known)

    return _guarded(report, check)


def check_projected(
    forward, backward, inputs, name="", tol=1e-5, directions=4, h=STEP, seed=231, settings=None
):
    """Check a large layer cheaply, along a few random directions; returns a Report.

    The slope along a direction v is <gradient, v>: two forward passes each, whatever the size. A wrong
    gradient is found almost surely; where it is wrong is not seen. Arguments are those of `check_layer`.
    """
    inputs, report = _as_float64(inputs), Report(name)
    rng = np.random.default_rng(seed)

    def check():
        run = run_once(forward, backward, inputs, report, rng)
        if run is not None:
            known = {"inputs": inputs, "out": run[0], "dout": run[1], "settings": settings or {}}
            grads = dict(zip(inputs, run[2], strict=True))
            along = {key: random_directions(forward, inputs, key, run, directions, rng) for key in inputs}
            report.comparisons = [
                compare_slopes(f"{name} d{key}".strip(), key, grads, along, tol, h, known) for key in inputs
            ]

    return _guarded(report, check)


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
    causes = diagnose_value(grad, expected, **known) or _unusable(expected)
    if causes:
        return Comparison(name, FAIL, np.inf, tol, causes=causes)
    actual = float64_copy(grad)
    with np.errstate(all="ignore"):
        right, notes = right_entries(actual, numeric, tol)
        error = _error(actual, numeric, right, tol)
    if right.all():
        return Comparison(name, WARN if notes else PASS, error, tol, notes=notes)
    if is_rounding(grad, actual, expected):
        note = f"It is computed in {grad.dtype}, whose rounding explains the difference: check in float64."
        return Comparison(name, WARN, error, tol, notes=[note])
    floor = max(1e-8, numeric.noise / tol)
    case = Case(np.where(right, expected, actual), expected, tol=tol, floor=floor, **known)
    causes = diagnose(case)
    notes += [] if causes else [where_wrong(case)]
    return Comparison(name, FAIL, error, tol, worst_entries(actual, expected, right), causes, notes)


def _unusable(expected):
    if np.isfinite(expected).all():
        return []
    look = "Look for a division by zero, a log of zero or an overflow in exp."
    return [
        Cause("the forward pass is not finite beside its input", "a step away it is NaN or infinite", look)
    ]


def _error(actual, numeric, right, tol):
    """The largest relative error: of what is wrong, or else of what is right and not so at a kink."""
    expected = numeric.centered
    if not right.all():
        return rel_error(np.where(right, expected, actual), expected)
    near = np.abs(actual - expected) <= tol * np.maximum(np.abs(actual) + np.abs(expected), 1e-8)
    near |= np.abs(actual - expected) <= numeric.noise
    floor = max(1e-8, numeric.noise / tol)
    return rel_error(actual[near], expected[near], floor) if near.any() else 0.0
