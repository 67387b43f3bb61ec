"""Checks that speak: a line with PASS and the number, or an AssertionError that says what looks wrong.

A relative error alone tells a learner that a gradient is wrong, not why. Most mistakes leave a trace in
the numbers (a missing factor, a flipped sign, a transposed product), so a failed check looks for it.
"""

import numpy as np

from cs231n.gradient_check import eval_numerical_gradient, eval_numerical_gradient_array, rel_error


def check_close(name, actual, expected, tol, floor=1e-8):
    """Print PASS if the largest relative error is at most `tol`; else raise AssertionError with a diagnosis.

    - name: what is checked, for the message
    - actual, expected: arrays (or numbers) that should agree
    - tol: the largest relative error that passes
    - floor: entries smaller than this are compared as if they had this size, see `rel_error`
    """
    actual, expected = np.asarray(actual), np.asarray(expected)
    if actual.shape != expected.shape:
        raise AssertionError(f"FAIL  {name}: its shape is {actual.shape} and should be {expected.shape}")
    error = rel_error(actual, expected, floor)
    if not error <= tol:
        reason = diagnose(actual, expected, tol, floor)
        raise AssertionError(f"FAIL  {name}: relative error {error:.1e}, at most {tol:.0e}. {reason}")
    print(f"PASS  {name}: relative error {error:.1e} (at most {tol:.0e})")


def check_at_least(name, value, bound):
    """Print PASS if value >= bound, else raise AssertionError."""
    if not value >= bound:
        raise AssertionError(f"FAIL  {name}: {value:.4g} is below {bound:.4g}")
    print(f"PASS  {name}: {value:.4g} (at least {bound:.4g})")


def diagnose(actual, expected, tol, floor=1e-8):
    """Say in a sentence or two how `actual` differs from `expected`: arrays of one shape."""
    actual, expected = np.asarray(actual, dtype=np.float64), np.asarray(expected, dtype=np.float64)
    bad = ~np.isfinite(actual)
    if bad.any():
        return (
            f"{bad.sum()} of {actual.size} entries are NaN or infinite, the first at {_first(bad)}: look for "
            "a division by zero, a log of zero or an overflow in exp."
        )
    return _pattern(actual, expected, tol) or _worst_entry(actual, expected, tol, floor)


def _pattern(actual, expected, tol):
    """The one simple transformation of `expected` that gives `actual`, in words, or None."""

    def same(a, b):
        return rel_error(a, b) <= max(tol, 1e-6)

    if same(actual, expected):  # right but for rounding: every pattern would fit
        return None
    if not actual.any():
        return "It is zero everywhere: was it computed at all?"
    if actual.ndim == 2 and actual.shape[0] == actual.shape[1] and same(actual, expected.T):
        return "It is the transpose of what it should be: swap the factors of the matrix product."
    if expected.any():
        factor = np.vdot(actual, expected) / np.vdot(expected, expected)
        if actual.size > 1 and factor and same(actual, factor * expected):
            return f"It is {factor:.6g} times what it should be, everywhere: look for a factor or a sign."
    shift = (actual - expected).mean()
    if actual.size > 1 and same(actual - shift, expected):
        return f"It is what it should be plus {shift:.6g}, everywhere: look for a constant term."
    return None


def _worst_entry(actual, expected, tol, floor):
    errors = np.abs(actual - expected) / np.maximum(floor, np.abs(actual) + np.abs(expected))
    wrong = ~(errors <= tol)
    worst = np.unravel_index(np.argmax(np.where(np.isfinite(errors), errors, np.inf)), errors.shape)
    where = f"entry {tuple(int(i) for i in worst)}" if actual.ndim else "the value"
    return (
        f"{wrong.sum()} of {actual.size} entries differ; the worst is {where}: got {actual[worst]:.8g}, "
        f"expected {expected[worst]:.8g}."
    )


def _first(mask):
    return tuple(int(i) for i in np.argwhere(mask)[0]) if mask.ndim else "()"


def check_backward(name, forward, arrays, dout, grads, tol):
    """Check the gradients that a layer's backward pass returned against numeric ones, a line for each.

    - name: of the layer, for the messages
    - forward: a function of the arrays in `arrays`, in their order, that returns the layer's output
    - arrays: {name: array} of the inputs
    - dout: the upstream gradient; grads: the gradients of the inputs, in the same order
    - tol: the largest relative error that passes
    """
    for (argument, array), grad in zip(arrays.items(), grads, strict=True):
        numeric = eval_numerical_gradient_array(lambda _: forward(*arrays.values()), array, dout)
        check_close(f"{name} d{argument}", grad, numeric, tol)


def check_gradients(model, X, y, tol, h=1e-5):
    """Check every gradient that `model.loss(X, y)` returns against the numeric one, a line for each.

    - model: has `params` and `loss(X, y)`; small, since each parameter costs two losses
    - tol: the largest relative error that passes
    """
    loss, grads = model.loss(X, y)
    # Rounding leaves a difference of two losses uncertain by some units in their last place; a gradient
    # that is zero, such as that of a bias before batch normalization, is compared with this noise.
    noise = 8 * np.finfo(np.float64).eps * max(1.0, abs(float(loss))) / (2 * h)
    for name in sorted(model.params):
        if name not in grads:
            raise AssertionError(f"FAIL  d{name}: loss(X, y) returns no gradient of {name}")
        numeric = eval_numerical_gradient(lambda _: model.loss(X, y)[0], model.params[name], h=h)
        check_close(f"d{name}", grads[name], numeric, tol, floor=max(1e-8, noise / tol))
