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
)
from cs231n.gradcheck.check import check_model, compare_all
from cs231n.gradcheck.diagnosis import Case, diagnose, diagnose_value
from cs231n.gradcheck.judgement import worst_entries
from cs231n.gradcheck.numeric import numeric_gradient, rel_error
from cs231n.gradcheck.report import Comparison
from cs231n.gradcheck.tolerances import FLOOR, LAYER_TOL, NETWORK_TOL, STEP
from cs231n.passes import FAIL, PASS, Bound, write_line


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
    raise AssertionError(str(Comparison(name, FAIL, error, tol, worst, causes)))


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
    - inputs: {name: array} of the arguments
    - dout: the upstream gradient; grads: the gradients of the inputs, in the same order
    - settings: what else the layer was called with, such as stride and pad, for the diagnosis
    - tol: the largest relative error that passes
    - h: the step of the numeric gradient
    """
    require_callables(forward=forward)
    require_positive(tol=tol, h=h)
    arrays, settings = require_input_arrays(inputs), require_settings(settings)
    grads = require_gradients(grads, arrays)

    def output() -> Any:
        return np.asarray(forward(*arrays.values()))

    numeric = {key: numeric_gradient(output, array, dout, h) for key, array in arrays.items()}
    known = {"inputs": arrays, "out": output(), "dout": dout, "settings": settings}
    _print_or_raise(compare_all(name, grads, numeric, tol, known))


def check_gradients(
    model: Any, X: Any, y: Any, *, name: str = "", tol: float = NETWORK_TOL, h: float = STEP
) -> None:
    """Check every gradient that `model.loss(X, y)` returns, and print a line for each.

    The arguments are those of `check_model`.
    """
    report = check_model(model, X, y, name=name, tol=tol, h=h)
    if report.causes:  # the model as a whole is wrong: there may be nothing to compare
        raise AssertionError(str(report))
    _print_or_raise(report.comparisons)


def _print_or_raise(comparisons: list[Comparison]) -> None:
    """Print what passes; raise AssertionError at the first comparison that fails."""
    for comparison in comparisons:
        if comparison.status == FAIL:
            raise AssertionError(str(comparison))
        print(comparison)
