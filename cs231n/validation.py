"""Checks of what callers pass in: each error names the argument, its value and the rule.

A wrong shape that NumPy happens to broadcast gives a wrong number without a word, which is the
costliest mistake a learner can make; so every layer checks its arguments before it computes.
"""

import math
from numbers import Integral

import numpy as np


def as_floats(x, *others):
    """Arrays in the floating dtype of `x` (float64 if x holds integers), copied only to change dtype.

    A layer computes in the dtype of its input: parameters of another precision are brought to it.
    """
    x = np.asarray(x)
    if x.dtype.kind != "f":
        x = x.astype(np.float64)
    return x, *(np.asarray(other, dtype=x.dtype) for other in others)


def require_shape(name, array, shape, rule):
    """Raise ValueError unless `array` has exactly this shape; `rule` says where the shape comes from."""
    if array.shape != shape:
        raise ValueError(f"{name} must have shape {shape} ({rule}); got {array.shape}")


def require_ndim(name, array, axes):
    """Raise ValueError unless `array` has the axes written in `axes`, such as "N, D", and is not empty."""
    if array.ndim != axes.count(",") + 1:
        raise ValueError(f"{name} must have the axes ({axes}); got the shape {array.shape}")
    if array.size == 0:
        raise ValueError(f"{name} must not be empty; got the shape {array.shape} for ({axes})")


def require_choice(name, value, choices):
    """Raise ValueError unless `value` is one of `choices`."""
    if value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(map(repr, choices))}; got {value!r}")


def require_mode(param, name):
    """The mode of a layer's parameter dictionary; ValueError unless it is 'train' or 'test'."""
    mode = param.get("mode")
    if mode not in ("train", "test"):
        raise ValueError(f"{name}['mode'] must be 'train' or 'test'; got {mode!r}")
    return mode


def require_number(name, value, low, high, closed="both"):
    """`value` as a Python float; ValueError unless it lies between `low` and `high`.

    `closed` says which bounds belong to the range: 'both', 'left', 'right' or 'neither'. A Python
    float does not raise float32 arrays to float64, as a NumPy scalar does.
    """
    number = float(value) if isinstance(value, (int, float, np.number)) else math.nan  # in no range
    above = number >= low if closed in ("both", "left") else number > low
    below = number <= high if closed in ("both", "right") else number < high
    if not (above and below):
        brackets = (
            "[" if closed in ("both", "left") else "(",
            "]" if closed in ("both", "right") else ")",
        )
        raise ValueError(f"{name} must be in {brackets[0]}{low:g}, {high:g}{brackets[1]}; got {value!r}")
    return number


def require_integer(name, value, low):
    """`value` as a Python int; ValueError unless it is an integer of at least `low`."""
    if not isinstance(value, Integral) or isinstance(value, bool) or value < low:
        raise ValueError(f"{name} must be an integer of at least {low}; got {value!r}")
    return int(value)


def require_labels(y, num_examples, num_classes):
    """Raise ValueError unless `y` holds one class index in [0, num_classes) per example."""
    if y.shape != (num_examples,):
        raise ValueError(f"y must have shape ({num_examples},), one label per row of x; got {y.shape}")
    if y.dtype.kind not in "iu":
        raise ValueError(f"y must hold integer labels; got dtype {y.dtype}")
    if y.min() < 0 or y.max() >= num_classes:
        raise ValueError(
            f"y must hold labels from 0 to {num_classes - 1}; got labels from {y.min()} to {y.max()}"
        )
