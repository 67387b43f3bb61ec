"""Check gradients and say why they are wrong: backward passes against numeric gradients, with a diagnosis.

    report = check_layer(affine_forward, affine_backward, {"x": x, "w": w, "b": b})
    print(report)

A check computes in float64 with a random upstream gradient, and copes with anything that a learner's code
returns. Each gradient gets PASS, FAIL with the likely causes, or WARN for something worth knowing that is not
a mistake: a kink within the step, a difference that is only rounding noise, float32.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from cs231n.gradcheck.arguments import (
    require_callables,
    require_count,
    require_inputs,
    require_model,
    require_positive,
    require_settings,
)
from cs231n.gradcheck.conduct import NOT_FINITE, Run, raised, run_once
from cs231n.gradcheck.diagnosis import Case, Cause, Kind, diagnose, diagnose_value, where_wrong
from cs231n.gradcheck.judgement import is_rounding, right_entries, worst_entries
from cs231n.gradcheck.models import gradients_of, knowledge_of
from cs231n.gradcheck.numeric import Numeric, numeric_gradient, rel_error
from cs231n.gradcheck.projected import Projection, compare_slopes, random_directions
from cs231n.gradcheck.report import Comparison, Report
from cs231n.gradcheck.tolerances import FLOOR, LAYER_TOL, NETWORK_TOL, STEP
from cs231n.gradcheck.values import Array, Floats, float64_copy
from cs231n.passes import FAIL, PASS, WARN

SEED = 231

__all__ = [
    "FAIL",
    "PASS",
    "WARN",
    "Case",
    "Cause",
    "Comparison",
    "Kind",
    "Report",
    "check_layer",
    "check_model",
    "check_projected",
    "compare",
    "compare_all",
    "diagnose",
    "diagnose_value",
    "numeric_gradient",
]


def check_layer(
    forward: Callable[..., Any],
    backward: Callable[..., Any],
    inputs: dict[str, Any],
    *,
    settings: dict[str, Any] | None = None,
    name: str = "",
    tol: float = LAYER_TOL,
    h: float = STEP,
    seed: int = SEED,
) -> Report:
    """Check every entry of a layer's gradients and return a Report.

    >>> inputs = {"x": np.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]), "w": np.array([[1.0], [-1.0]])}
    >>> forward = lambda x, w: (x @ w, (x, w))
    >>> backward = lambda dout, cache: (dout @ cache[1].T, cache[0].T @ dout / 3)  # a mean, not a sum
    >>> print(check_layer(forward, backward, inputs))  # doctest: +ELLIPSIS
    PASS  dx: relative error ... (at most 1e-06)
    FAIL  dw: relative error 5.0e-01, at most 1e-06.
          it is N times too small: ...
          (1, 0): got 4.0138378, expected 12.041513
          (0, 0): got 3.09483, expected 9.28449

    - forward: a function of the arrays in `inputs`, in their order, that returns (out, cache)
    - backward: a function of (dout, cache) that returns a gradient for each of them
    - inputs: {name: array}, which are copied and converted to float64
    - settings: what else the layer was called with, for the diagnosis: stride, pad, p, eps, G, ...
    - name: of the layer, for the report
    - tol: the largest relative error that passes
    - h: the step of the numeric gradient
    - seed: of the random upstream gradient
    """
    require_callables(forward=forward, backward=backward)
    require_positive(tol=tol, h=h)
    arrays, settings, report = require_inputs(inputs), require_settings(settings), Report(name)

    def output() -> Any:
        return forward(*(array.copy() for array in arrays.values()))[0]

    def check() -> None:
        run = run_once(forward, backward, arrays, report, np.random.default_rng(seed))
        if run is not None:
            numeric = {key: numeric_gradient(output, array, run.dout, h) for key, array in arrays.items()}
            report.comparisons = compare_all(name, run.grads, numeric, tol, _known(arrays, run, settings))

    return _guarded(report, check)


def _known(inputs: dict[str, Floats], run: Run, settings: dict[str, Any]) -> dict[str, Any]:
    """Return the fields of a `Case` that hold for every gradient of a layer."""
    return {"inputs": inputs, "out": run.out, "dout": run.dout, "settings": settings}


def _guarded(report: Report, check: Callable[[], None]) -> Report:
    """Run a check and return its report, with a cause in it if a learner's code raises an exception.

    NotImplementedError is raised: it says that an exercise is still to be written, which is not a mistake.
    """
    try:
        check()
    except NotImplementedError:
        raise
    except Exception as error:  # whatever a learner's code may raise
        report.causes.append(raised(error))
    return report


def check_model(
    model: Any, X: Any, y: Any, *, name: str = "", tol: float = NETWORK_TOL, h: float = STEP
) -> Report:
    """Check every gradient that `model.loss(X, y)` returns and return a Report.

    - model: has `params` in float64, `loss(X, y)` and perhaps `reg`; it should be small, since each parameter
      costs two losses
    - name: of the model, for the report
    - tol: the largest relative error that passes
    - h: the step of the numeric gradient
    """
    require_model(model)
    require_positive(tol=tol, h=h)
    report = Report(name or type(model).__name__)

    def loss() -> Any:
        return model.loss(X, y)[0]

    def check() -> None:
        grads = gradients_of(model, X, y, report)
        if grads is not None:
            params = dict(sorted(model.params.items()))
            numeric = {key: numeric_gradient(loss, param, 1.0, h) for key, param in params.items()}
            known = knowledge_of(model, X, y, grads, loss)
            report.comparisons = compare_all(name, [grads.get(key) for key in params], numeric, tol, known)

    return _guarded(report, check)


def check_projected(
    forward: Callable[..., Any],
    backward: Callable[..., Any],
    inputs: dict[str, Any],
    *,
    settings: dict[str, Any] | None = None,
    name: str = "",
    tol: float = NETWORK_TOL,
    h: float = STEP,
    seed: int = SEED,
    directions: int = 4,
) -> Report:
    """Check the gradients of a large layer cheaply, along a few random directions, and return a Report.

    Each direction costs two forward passes, whatever the size. A wrong gradient is found almost surely, but
    not where it is wrong. The arguments are those of `check_layer`, and

    - directions: the number of random directions for each argument
    """
    require_callables(forward=forward, backward=backward)
    require_positive(tol=tol, h=h)
    require_count(directions=directions)
    arrays, settings, report = require_inputs(inputs), require_settings(settings), Report(name)
    rng = np.random.default_rng(seed)

    def check() -> None:
        run = run_once(forward, backward, arrays, report, rng)
        if run is not None:
            grads = dict(zip(arrays, run.grads, strict=True))
            along = {key: random_directions(forward, arrays, key, run, directions, rng) for key in arrays}
            projection = Projection(grads, along, tol, h, _known(arrays, run, settings))
            report.comparisons = [compare_slopes(_label(name, key), key, projection) for key in arrays]

    return _guarded(report, check)


def _label(name: str, key: str) -> str:
    """Return what a report calls the gradient of an argument, such as "affine dx"."""
    return f"{name} d{key}".strip()


def compare_all(
    name: str, grads: list[Any], numeric: dict[str, Numeric], tol: float, known: dict[str, Any]
) -> list[Comparison]:
    """Return a Comparison for each gradient, in the order of `numeric`, {argument: Numeric}."""
    centered = {key: gradient.centered for key, gradient in numeric.items()}
    return [
        compare(_label(name, key), grad, numeric[key], tol, {**known, "name": key, "numeric": centered})
        for key, grad in zip(numeric, grads, strict=True)
    ]


def compare(name: str, grad: Any, numeric: Numeric, tol: float, known: dict[str, Any]) -> Comparison:
    """Compare one gradient with its Numeric one; `known` are the other fields of a `Case`."""
    causes = diagnose_value(grad, numeric.centered, **known) or _not_finite_nearby(numeric)
    if causes:
        return Comparison(name, FAIL, np.inf, tol, causes=causes)
    actual = float64_copy(grad)
    with np.errstate(all="ignore"):
        right, notes = right_entries(actual, numeric, tol)
        error = _error(actual, numeric, right, tol)
    if right.all():
        return Comparison(name, WARN if notes else PASS, error, tol, notes=notes)
    if is_rounding(grad, actual, numeric.centered):
        note = f"It is computed in {grad.dtype}, whose rounding explains the difference: check in float64."
        return Comparison(name, WARN, error, tol, notes=[note])
    causes, places = _explain(actual, numeric, right, tol, known)
    worst = worst_entries(actual, numeric.centered, right)
    return Comparison(name, FAIL, error, tol, worst, causes, [*notes, *places])


def _explain(
    actual: Floats, numeric: Numeric, right: Array, tol: float, known: dict[str, Any]
) -> tuple[list[Cause], list[str]]:
    """Return the causes of the wrong entries; without a cause, a sentence on where they are."""
    expected = numeric.centered
    case = Case(np.where(right, expected, actual), expected, tol=tol, floor=_floor(numeric, tol), **known)
    causes = diagnose(case)
    return causes, [] if causes else [where_wrong(case)]


def _not_finite_nearby(numeric: Numeric) -> list[Cause]:
    """Return a cause if a numeric gradient is NaN or infinite."""
    if np.isfinite(numeric.centered).all():
        return []
    title, evidence = "the forward pass returns NaN or infinity near its input", "it does so one step away"
    return [Cause(title, evidence, NOT_FINITE, kind=Kind.NOT_FINITE)]


def _error(actual: Floats, numeric: Numeric, right: Array, tol: float) -> float:
    """Return the largest relative error: of the wrong entries, or else of the right ones not at a kink."""
    expected = numeric.centered
    if not right.all():
        return rel_error(np.where(right, expected, actual), expected)
    near = np.abs(actual - expected) <= tol * np.maximum(np.abs(actual) + np.abs(expected), FLOOR)
    near |= np.abs(actual - expected) <= numeric.noise
    return rel_error(actual[near], expected[near], _floor(numeric, tol)) if near.any() else 0.0


def _floor(numeric: Numeric, tol: float) -> float:
    """Return the size below which the relative error of an entry is mostly rounding noise."""
    return max(FLOOR, numeric.noise / tol)
