"""Checks for notebooks: print PASS and the number, or raise AssertionError with what looks wrong.

A relative error alone says that a gradient is wrong, not why. A check that fails here comes with a diagnosis,
see `cs231n.gradcheck.check`: most mistakes leave a trace in the numbers.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from cs231n.gradcheck.arguments import (
    require_callables,
    require_gradients,
    require_input_arrays,
    require_positive,
    require_settings,
    require_upstream,
)
from cs231n.gradcheck.check import check_model
from cs231n.gradcheck.compare import compare_all
from cs231n.gradcheck.conduct import conduct_of_output
from cs231n.gradcheck.diagnosis import Case, diagnose, diagnose_value
from cs231n.gradcheck.judgement import worst_entries
from cs231n.gradcheck.numeric import numeric_gradients, rel_error
from cs231n.gradcheck.report import Comparison, Report
from cs231n.gradcheck.tolerances import FLOOR, LAYER_TOL, NETWORK_TOL, STEP
from cs231n.passes import FAIL, PASS, Bound, write_line

SEES_MORE = "check_layer(forward, backward, inputs) sees more: it knows the inputs and calls backward itself."


def check_close(name: str, actual: Any, expected: Any, tol: float, floor: float = FLOOR) -> None:
    """Print PASS if the largest relative error is at most `tol`; else raise AssertionError with a diagnosis.

    >>> check_close("dx", [1.0, 2.0], [1.0, 2.0], tol=1e-8)
    PASS  dx: relative error 0.0e+00 (at most 1e-08)

    - name: what is checked, for the message
    - actual, expected: arrays (or numbers) that should agree
    - tol: the largest relative error that passes
    - floor: entries smaller than this are compared as if they had this size, see `rel_error`
    """
    actual, expected = None if actual is None else np.asarray(actual), np.asarray(expected)
    causes = diagnose_value(actual, expected)
    if causes:
        raise AssertionError(str(Comparison(name, FAIL, np.inf, tol, causes=causes)))
    error = rel_error(actual, expected, floor)
    if error <= tol:
        print(write_line(PASS, Bound.AT_MOST, name, error, tol))
        return
    actual, expected = actual.astype(np.float64), expected.astype(np.float64)
    size = np.maximum(np.abs(actual) + np.abs(expected), floor)
    worst = worst_entries(actual, expected, np.abs(actual - expected) <= tol * size)
    causes = diagnose(Case(actual, expected, tol=tol, floor=floor)) if np.isfinite(expected).all() else []
    notes = [] if causes or not expected.ndim else [f"If this is a gradient, {SEES_MORE}"]
    raise AssertionError(str(Comparison(name, FAIL, error, tol, worst, causes, notes)))


def check_at_least(name: str, value: float, bound: float) -> None:
    """Print PASS if value >= bound, else raise AssertionError.

    >>> check_at_least("training accuracy", 0.54, 0.5)
    PASS  training accuracy: 0.54 (at least 0.5)
    """
    if not value >= bound:
        raise AssertionError(f"FAIL  {name}: {value:.4g} is below {bound:.4g}")
    print(write_line(PASS, Bound.AT_LEAST, name, value, bound))


def check_backward(
    name: str,
    forward: Callable[..., Any],
    inputs: dict[str, Any],
    dout: Any,
    grads: Any,
    *,
    settings: dict[str, Any] | None = None,
    tol: float = LAYER_TOL,
    h: float = STEP,
) -> None:
    """Check the gradients that a layer's backward pass returned, and print a line for each.

    - name: of the layer, for the messages
    - forward: a function of the arrays in `inputs`, in their order, that returns the layer's output
    - inputs: {name: array} of the arguments; copies in float64 are used of those that are not in float64
    - dout: the upstream gradient; grads: the gradients of the inputs, in the same order
    - settings: what else the layer was called with, such as stride and pad, for the diagnosis
    - tol: the largest relative error that passes
    - h: the step of the numeric gradient
    """
    require_callables(forward=forward)
    require_positive(tol=tol, h=h)
    arrays, settings = require_input_arrays(inputs), require_settings(settings)
    grads = require_gradients(grads, arrays)
    report = Report(name, causes=conduct_of_output(forward, arrays))
    if not report.causes:
        out = np.asarray(forward(*arrays.values()))
        dout = require_upstream(dout, out)
        numeric = numeric_gradients(lambda: np.asarray(forward(*arrays.values())), arrays, dout, h)
        known = {"inputs": arrays, "out": out, "dout": dout, "settings": settings}
        report.comparisons = compare_all(name, grads, numeric, tol, known)
        if any(comparison.status == FAIL and not comparison.causes for comparison in report.comparisons):
            report.notes.append(SEES_MORE)
    report.show()


def check_gradients(
    model: Any, X: Any, y: Any, *, name: str = "", tol: float = NETWORK_TOL, h: float = STEP
) -> None:
    """Check every gradient that `model.loss(X, y)` returns, and print a line for each.

    The arguments are those of `check_model`.
    """
    check_model(model, X, y, name=name, tol=tol, h=h).show()
