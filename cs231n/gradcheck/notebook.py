"""Checks that speak: a line with PASS and the number, or an AssertionError that says what looks wrong.

A relative error alone tells a learner that a gradient is wrong, not why. What fails here is diagnosed, see
`cs231n.gradcheck.check`: most mistakes leave a trace in the numbers.
"""

import numpy as np

from cs231n.gradcheck.check import FAIL, Comparison, check_model, compare_all, numeric_gradient
from cs231n.gradcheck.diagnosis import Case, diagnose, diagnose_value
from cs231n.gradcheck.judgement import worst_entries
from cs231n.gradcheck.numeric import rel_error


def check_close(name, actual, expected, tol, floor=1e-8):
    """Print PASS if the largest relative error is at most `tol`; else raise AssertionError with a diagnosis.

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
        print(f"PASS  {name}: relative error {error:.1e} (at most {tol:.0e})")
        return
    actual, expected = actual.astype(np.float64), expected.astype(np.float64)
    size = np.maximum(np.abs(actual) + np.abs(expected), floor)
    worst = worst_entries(actual, expected, np.abs(actual - expected) <= tol * size)
    causes = diagnose(Case(actual, expected, tol=tol, floor=floor)) if np.isfinite(expected).all() else []
    raise AssertionError(str(Comparison(name, FAIL, error, tol, worst, causes)))


def check_at_least(name, value, bound):
    """Print PASS if value >= bound, else raise AssertionError."""
    if not value >= bound:
        raise AssertionError(f"FAIL  {name}: {value:.4g} is below {bound:.4g}")
    print(f"PASS  {name}: {value:.4g} (at least {bound:.4g})")


def check_backward(name, forward, arrays, dout, grads, tol, settings=None):
    """Check the gradients that a layer's backward pass returned against numeric ones, a line for each.

    - name: of the layer, for the messages
    - forward: a function of the arrays in `arrays`, in their order, that returns the layer's output
    - arrays: {name: array} of the inputs
    - dout: the upstream gradient; grads: the gradients of the inputs, in the same order
    - tol: the largest relative error that passes
    - settings: what else the layer was called with, such as stride and pad, which helps the diagnosis
    """
    numeric = {
        argument: numeric_gradient(lambda: forward(*arrays.values()), array, dout)
        for argument, array in arrays.items()
    }
    out = np.asarray(forward(*arrays.values()))
    known = {"inputs": arrays, "out": out, "dout": dout, "settings": settings or {}}
    _tell(compare_all(name, grads, numeric, tol, known))


def check_gradients(model, X, y, tol, h=1e-5):
    """Check every gradient that `model.loss(X, y)` returns against the numeric one, a line for each.

    - model: has `params` and `loss(X, y)`; small, since each parameter costs two losses
    - tol: the largest relative error that passes
    """
    report = check_model(model, X, y, tol, h)
    if report.causes:  # the model as a whole is wrong: there may be nothing to compare
        raise AssertionError(str(report))
    _tell(report.comparisons)


def _tell(comparisons):
    """Print what passes; raise AssertionError at the first that does not."""
    for comparison in comparisons:
        if comparison.status == FAIL:
            raise AssertionError(str(comparison))
        print(comparison)
