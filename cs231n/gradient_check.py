"""Numeric gradients, to check the ones that were derived by hand.

All use the centered difference (f(x + h) - f(x - h)) / 2h, whose error is of order h^2 plus what
rounding leaves, about 1e-16 / h in float64. The functions change x in place, one coordinate at a
time, so that an f which closes over x sees the change, and put every coordinate back.
"""

import numpy as np
from tqdm import tqdm

from cs231n.gradcheck.numeric import rel_error

__all__ = ["eval_numerical_gradient", "eval_numerical_gradient_array", "grad_check_sparse", "rel_error"]


def eval_numerical_gradient(f, x, verbose=True, h=1e-5):
    """Numeric gradient of a scalar function: an array of x's shape and dtype.

    - f: takes x and returns a number
    - x: the point, an array of any shape, best in float64
    - verbose: show a progress bar when it takes longer than a second
    """
    _check_point(x, h)
    grad = np.zeros_like(x)
    indices = np.ndindex(x.shape)
    for index in tqdm(indices, "numeric gradient", x.size, leave=False, delay=1, disable=not verbose):
        above, below, width = _evaluate_around(f, x, index, h)
        grad[index] = (above - below) / width
    return grad


def eval_numerical_gradient_array(f, x, df, h=1e-5):
    """Numeric gradient of sum(f(x) * df) with respect to x, for a function f to an array.

    - f: takes x and returns an array
    - x: the point, an array of any shape, best in float64
    - df: the upstream gradient, of the shape of f(x)

    Returns an array of x's shape and dtype: what a backward pass returns, given dout = df.
    """
    _check_point(x, h)
    grad = np.zeros_like(x)
    for index in np.ndindex(x.shape):
        above, below, width = _evaluate_around(f, x, index, h)
        if np.shape(above) != np.shape(df):
            raise ValueError(f"df must have the shape of f(x), {np.shape(above)}; got {np.shape(df)}")
        grad[index] = np.sum((above - below) * df) / width
    return grad


# The course's own notebooks call this; ours do not.
def grad_check_sparse(f, x, analytic_grad, num_checks=10, h=1e-5):
    """Compare the analytic gradient of a scalar function with the numeric one at random coordinates.

    Prints a line for each and returns the largest relative error. Coordinates are drawn from NumPy's
    global generator.
    """
    _check_point(x, h)
    if np.shape(analytic_grad) != x.shape:
        raise ValueError(f"analytic_grad must have the shape of x, {x.shape}; got {np.shape(analytic_grad)}")
    errors = []
    for _ in range(num_checks):
        index = tuple(np.random.randint(length) for length in x.shape)
        above, below, width = _evaluate_around(f, x, index, h)
        numeric, analytic = (above - below) / width, analytic_grad[index]
        errors.append(rel_error(numeric, analytic))
        print(f"numerical {numeric: f}  analytic {analytic: f}  relative error {errors[-1]:.1e}")
    return max(errors)


def _check_point(x, h):
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


def _evaluate_around(f, x, index, h):
    """f at x[index] + h and at x[index] - h, and the distance between the two as x's dtype holds them."""
    center = x[index]
    try:
        x[index] = center + h
        high = x[index]
        above = np.array(f(x), dtype=np.float64)
        x[index] = center - h
        low = x[index]
        below = np.array(f(x), dtype=np.float64)
    finally:
        x[index] = center
    return above, below, float(high) - float(low)
