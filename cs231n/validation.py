"""Checks of what callers pass in: each error names the argument, its value and the rule.

A wrong shape that NumPy happens to broadcast gives a wrong number without a word, which is the
costliest mistake a learner can make; so every layer checks its arguments before it computes.
"""

import math
from collections.abc import Collection, Mapping
from typing import Any, TypeGuard

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray


def as_float_array(x: ArrayLike) -> NDArray[Any]:
    """Return `x` as an array of floats: integers become float64, and floats keep their dtype."""
    x = np.asarray(x)
    return x if x.dtype.kind == "f" else x.astype(np.float64)


def as_float_arrays(x: ArrayLike, *others: ArrayLike) -> tuple[NDArray[Any], ...]:
    """Return `x` as an array of floats and the others in its dtype; only a change of dtype copies.

    A layer computes in the dtype of its input: parameters of another precision are brought to it.
    """
    x = as_float_array(x)
    return x, *(np.asarray(other, dtype=x.dtype) for other in others)


def as_upstream(dout: ArrayLike, shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
    """Return the upstream gradient of a layer in its dtype; ValueError unless it has its output's shape."""
    dout = np.asarray(dout, dtype=dtype)
    require_shape("dout", dout, shape, "that of the output")
    return dout


def require_shape(name: str, array: NDArray[Any], shape: tuple[int, ...], rule: str) -> None:
    """Raise ValueError unless `array` has exactly this shape; `rule` says where the shape comes from."""
    if array.shape != shape:
        raise ValueError(f"{name} must have shape {shape} ({rule}); got {array.shape}")


def require_ndim(name: str, array: NDArray[Any], axes: str) -> None:
    """Raise ValueError unless `array` has the axes written in `axes`, such as "N, D", and is not empty."""
    if array.ndim != axes.count(",") + 1:
        raise ValueError(f"{name} must have the axes ({axes}); got the shape {array.shape}")
    if array.size == 0:
        raise ValueError(f"{name} must not be empty; got the shape {array.shape} for ({axes})")


def require_choice(name: str, value: object, choices: Collection[object]) -> None:
    """Raise ValueError unless `value` is one of `choices`."""
    if value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(map(repr, choices))}; got {value!r}")


def require_function(name: str, value: object, form: str, others: str = "") -> None:
    """Raise ValueError unless `value` is a function; `form` is its signature, `others` what else may be."""
    if isinstance(value, type):
        raise ValueError(
            f"{name} must be {others}a function {form}; got the class {value.__name__}: "
            f"make one of it, as in {value.__name__}(...)"
        )
    if not callable(value):
        raise ValueError(f"{name} must be {others}a function {form}; got {value!r}")


def require_mode(param: Mapping[str, Any], name: str) -> str:
    """Return the mode of a layer's parameter dictionary; ValueError unless it is 'train' or 'test'."""
    mode = param.get("mode")
    if mode not in ("train", "test"):
        raise ValueError(f"{name}['mode'] must be 'train' or 'test'; got {mode!r}")
    return str(mode)


def require_number(name: str, value: object, low: float, high: float, closed: str = "both") -> float:
    """Return `value` as a Python float; ValueError unless it lies between `low` and `high`.

    `closed` says which bounds belong to the range: 'both', 'left', 'right' or 'neither'. A Python
    float does not raise float32 arrays to float64, as a NumPy scalar does.
    """
    number = float(value) if isinstance(value, (int, float, np.number)) else math.nan  # in no range
    above = number >= low if closed in ("both", "left") else number > low
    below = number <= high if closed in ("both", "right") else number < high
    if not (above and below):
        opening = "[" if closed in ("both", "left") else "("
        closing = "]" if closed in ("both", "right") else ")"
        raise ValueError(f"{name} must be in {opening}{low:g}, {high:g}{closing}; got {value!r}")
    return number


def require_integer(name: str, value: object, low: int) -> int:
    """Return `value` as a Python int; ValueError unless it is an integer, no bool, of at least `low`."""
    if not _is_integer(value, low):
        raise ValueError(f"{name} must be an integer of at least {low}; got {value!r}")
    return int(value)


def require_pair(name: str, value: object, low: int) -> tuple[int, int]:
    """Return `value`, one integer for rows and columns alike or a pair, as (rows, columns).

    ValueError unless both are integers, no bools, of at least `low`.
    """
    if _is_integer(value, low):
        return int(value), int(value)
    if isinstance(value, (tuple, list)) and len(value) == 2:
        rows, columns = value
        if _is_integer(rows, low) and _is_integer(columns, low):
            return int(rows), int(columns)
    rule = f"an integer of at least {low} or a pair of them, (rows, columns)"
    raise ValueError(f"{name} must be {rule}; got {value!r}")


def _is_integer(value: object, low: int) -> TypeGuard[int]:
    """Return whether `value` is an integer, no bool, of at least `low`."""
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool) and bool(value >= low)


def require_labels(y: NDArray[Any], num_examples: int, num_classes: int) -> None:
    """Raise ValueError unless `y` holds one class index in [0, num_classes) per example."""
    if y.shape != (num_examples,):
        raise ValueError(f"y must have shape ({num_examples},), one label per row of x; got {y.shape}")
    if y.dtype.kind not in "iu":
        raise ValueError(f"y must hold integer labels; got dtype {y.dtype}")
    if y.min() < 0 or y.max() >= num_classes:
        raise ValueError(
            f"y must hold labels from 0 to {num_classes - 1}; got labels from {y.min()} to {y.max()}"
        )
