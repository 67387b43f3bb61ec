"""Numeric gradients under the course's names, to check the ones that were derived by hand.

All use the centered difference (f(x + h) - f(x - h)) / 2h of `cs231n.gradcheck`, whose error is of order h^2
plus rounding, about 1e-16 / h in float64. They change x in place, one entry at a time, so that an f that
closes over x sees the change, and put every entry back.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from tqdm import tqdm

from cs231n.gone import explain_gone
from cs231n.gradcheck.numeric import numeric_gradient, rel_error
from cs231n.gradcheck.tolerances import STEP
from cs231n.gradcheck.values import Array

__all__ = ["eval_numerical_gradient", "eval_numerical_gradient_array", "grad_check_sparse", "rel_error"]

if not TYPE_CHECKING:  # mypy would take every name to be here
    __getattr__ = explain_gone(__name__)


def eval_numerical_gradient(
    f: Callable[[Array], Any], x: Array, verbose: bool = True, h: float = STEP
) -> Array:
    """Return the numeric gradient of a scalar function, an array of x's shape and dtype.

    >>> gradient = eval_numerical_gradient(lambda x: np.sum(x**2), np.array([1.0, 2.0]))
    >>> print(gradient.round(6))
    [2. 4.]

    - f: takes x and returns a number
    - x: the point, an array of any shape, best in float64
    - verbose: show a progress bar if it takes longer than a second
    """
    _require_point(x, h)
    indices = tqdm(np.ndindex(x.shape), "numeric gradient", x.size, leave=False, delay=1, disable=not verbose)
    return numeric_gradient(lambda: _number(f(x)), x, 1.0, h, indices).centered.astype(x.dtype)


def eval_numerical_gradient_array(f: Callable[[Array], Any], x: Array, df: Array, h: float = STEP) -> Array:
    """Return the numeric gradient of sum(f(x) * df) with respect to x, for a function f to an array.

    - f: takes x and returns an array
    - x: the point, an array of any shape, best in float64
    - df: the upstream gradient, of the shape of f(x)

    The result has x's shape and dtype. A backward pass returns the same, given dout = df.
    """
    _require_point(x, h)

    def out() -> Array:
        array = np.asarray(f(x))
        if array.shape != np.shape(df):
            raise ValueError(f"df must have the shape of f(x), {array.shape}; got {np.shape(df)}")
        return array

    return numeric_gradient(out, x, df, h).centered.astype(x.dtype)


def grad_check_sparse(
    f: Callable[[Array], Any], x: Array, analytic_grad: Array, num_checks: int = 10, h: float = STEP
) -> float:
    """Compare the analytic gradient of a scalar function with the numeric one at random entries.

    Print a line for each and return the largest relative error. The entries are drawn from NumPy's global
    generator.
    """
    _require_point(x, h)
    if np.shape(analytic_grad) != x.shape:
        raise ValueError(f"analytic_grad must have the shape of x, {x.shape}; got {np.shape(analytic_grad)}")
    indices = [tuple(np.random.randint(length) for length in x.shape) for _ in range(num_checks)]
    grad = numeric_gradient(lambda: _number(f(x)), x, 1.0, h, indices).centered
    errors = []
    for index in indices:
        numeric, analytic = grad[index], analytic_grad[index]
        errors.append(rel_error(numeric, analytic))
        print(f"numerical {numeric: f}  analytic {analytic: f}  relative error {errors[-1]:.1e}")
    return max(errors)


def _require_point(x: Any, h: float) -> None:
    """Raise ValueError unless x is an array of floats whose precision allows the step h."""
    if not isinstance(x, np.ndarray) or x.dtype.kind != "f":
        raise ValueError(
            f"x must be an array of floats; got {getattr(x, 'dtype', type(x).__name__)}, which x + {h:g} "
            "would truncate. Convert it with x.astype(np.float64)."
        )
    if h < np.sqrt(np.finfo(x.dtype).eps):
        raise ValueError(
            f"h = {h:g} is too small for {x.dtype}: f(x + h) - f(x - h) would be rounding error. Check in "
            "float64 (x.astype(np.float64); a model takes dtype=np.float64)."
        )


def _number(value: Any) -> Array:
    """Return the value of a scalar function; ValueError if it is an array of several numbers."""
    array = np.asarray(value)
    if array.size != 1:
        raise ValueError(
            f"f(x) must be a number; got an array of shape {array.shape}. For a function to an array, use "
            "eval_numerical_gradient_array."
        )
    return array
