"""Comparing what a submission computed with what is right, in words that give no number away."""

import contextlib

import numpy as np

from course.grading.sandbox.runtime.protocol import Other, Tensor
from cs231n.gradcheck.diagnosis import Case, diagnose, diagnose_value

RELATIVE = {8: 1e-6, 4: 2e-3, 2: 1e-1}  # by the bytes of a floating-point number
MAX_DIAGNOSED = 10**6  # entries of an array that a diagnosis looks at


class FaultError(Exception):
    """What is wrong with a result, for the learner."""


def agree(name, actual, expected, known=None):
    """Raise FaultError unless shape and dtype are those of `expected` and, within rounding, the values."""
    actual, expected = _of_one_shape(name, actual, expected, known or {})
    if actual.dtype != expected.dtype:
        raise FaultError(f"{name} has the dtype {actual.dtype} and should have {expected.dtype}")
    agree_in_value(name, actual, expected, known)


def agree_in_value(name, actual, expected, known=None):
    """Raise FaultError unless `actual` has the shape and, within rounding, the values of `expected`.

    `known` are fields of a diagnosis's `Case`, from which more can be said about what is wrong.
    """
    actual, expected = _of_one_shape(name, actual, expected, known or {})
    if not np.isfinite(actual).all():
        raise FaultError(f"{name} has entries that are NaN or infinite")
    coarser = min(actual.dtype.itemsize, expected.dtype.itemsize) if actual.dtype.kind == "f" else 8
    scale = np.abs(expected).max(initial=0)
    tolerance = RELATIVE[coarser] * np.maximum(np.abs(expected), 1e-2 * scale) + 1e-12
    wrong = np.abs(actual.astype(np.float64) - expected) > tolerance
    if wrong.any():
        part = "" if wrong.all() else f" in part, {_share(wrong)} of its entries"
        raise FaultError(f"{name} has wrong values{part}{_why(actual, expected, known or {})}")


def _of_one_shape(name, actual, expected, known):
    """Both as arrays; FaultError if their shapes differ."""
    actual, expected = as_array(name, actual), np.asarray(expected)
    if actual.shape != expected.shape:
        why = _why(actual, expected, known)
        raise FaultError(f"{name} has the shape {actual.shape} and should have {expected.shape}{why}")
    return actual, expected


def _why(actual, expected, known):
    """What the wrong values speak for, in words without numbers; "" if nothing that is known fits."""
    if actual.size > MAX_DIAGNOSED:
        return ""
    with contextlib.suppress(Exception):  # a diagnosis is a help; without one the verdict stands all the same
        causes = diagnose_value(actual, expected, **known)
        if not causes:
            causes = diagnose(Case(actual.astype(np.float64), expected.astype(np.float64), **known))
        titles = dict.fromkeys(cause.title for cause in causes if cause.title != "it has the wrong shape")
        return f": {', or '.join(titles)}" if titles else ""
    return ""


def as_array(name, value):
    """`value` as an array of numbers; FaultError if it is none."""
    if isinstance(value, Tensor):
        return value.array
    if value is None:
        raise FaultError(f"{name} is None")
    if isinstance(value, Other | str | dict | tuple | list | np.dtype):
        kind = value.type_name if isinstance(value, Other) else type(value).__name__
        raise FaultError(f"{name} should be an array of numbers; it is of the type {kind}")
    return np.asarray(value)


def items(name, value, count):
    """The `count` items of a tuple or list that a function returned; FaultError if it is something else."""
    if not isinstance(value, tuple | list) or len(value) != count:
        what = f"{len(value)} values" if isinstance(value, tuple | list) else _kind(value)
        raise FaultError(f"{name} should return {count} values; it returned {what}")
    return value


def unmodified(before, after):
    """Raise FaultError if an array among the arguments is no longer what it was: {name: array} twice."""
    for name, array in before.items():
        now = after.get(name)
        if not (isinstance(now, np.ndarray) and np.array_equal(now, array)):
            raise FaultError(f"the argument {name} was modified")


def _kind(value):
    if value is None:
        return "None"
    return (
        "one array"
        if isinstance(value, np.ndarray)
        else f"a {getattr(value, 'type_name', type(value).__name__)}"
    )


def _share(wrong):
    share = wrong.mean()
    return "a few" if share < 0.1 else "some" if share < 0.5 else "most"
