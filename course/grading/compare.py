"""Compare what a submission computed with the right result, in words that give no number away."""

import contextlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from course.grading.sandbox.runtime.protocol import Other, Tensor
from cs231n.gradcheck.diagnosis import Case, Kind, diagnose, diagnose_value

Array = NDArray[Any]

RELATIVE = {8: 1e-6, 4: 2e-3, 2: 1e-1}  # tolerances, by the bytes of a floating-point number
SMALL = 1e-2  # entries below this fraction of the largest are compared as if they had this size
NEGLIGIBLE = 1e-12  # differences that are right whatever the scale
MAX_DIAGNOSED = 10**6  # entries of an array that a diagnosis looks at


class FaultError(Exception):
    """Say what is wrong with a result, for the learner."""


def agree(name: str, actual: Any, expected: Any, known: dict[str, Any] | None = None) -> None:
    """Raise FaultError unless shape, dtype and, up to rounding, values are those of `expected`."""
    actual, expected = _of_one_shape(name, actual, expected, known or {})
    if actual.dtype != expected.dtype:
        raise FaultError(f"{name} has the dtype {actual.dtype} and should have {expected.dtype}")
    agree_in_value(name, actual, expected, known)


def agree_in_value(name: str, actual: Any, expected: Any, known: dict[str, Any] | None = None) -> None:
    """Raise FaultError unless `actual` has the shape and, up to rounding, the values of `expected`.

    `known` are fields of a diagnosis's `Case`, which help to say what is wrong.
    """
    actual, expected = _of_one_shape(name, actual, expected, known or {})
    if not np.isfinite(actual).all():
        raise FaultError(f"{name} has entries that are NaN or infinite")
    wrong = _wrong_entries(actual, expected)
    if wrong.any():
        part = "" if wrong.all() else f" in part, {_how_many(wrong)} of its entries"
        raise FaultError(f"{name} has wrong values{part}{_why(actual, expected, known or {})}")


def _wrong_entries(actual: Array, expected: Array) -> Array:
    """Return which entries differ by more than rounding explains."""
    coarser = min(actual.dtype.itemsize, expected.dtype.itemsize) if actual.dtype.kind == "f" else 8
    scale = np.abs(expected).max(initial=0)
    tolerance = RELATIVE[coarser] * np.maximum(np.abs(expected), SMALL * scale) + NEGLIGIBLE
    return np.asarray(np.abs(actual.astype(np.float64) - expected) > tolerance)


def _of_one_shape(name: str, actual: Any, expected: Any, known: dict[str, Any]) -> tuple[Array, Array]:
    """Return both as arrays; FaultError if their shapes differ."""
    actual, expected = as_array(name, actual), np.asarray(expected)
    if actual.shape != expected.shape:
        why = _why(actual, expected, known)
        raise FaultError(f"{name} has the shape {actual.shape} and should have {expected.shape}{why}")
    return actual, expected


def _why(actual: Array, expected: Array, known: dict[str, Any]) -> str:
    """Return the likely causes, in words without numbers; "" if no known mistake matches."""
    if actual.size > MAX_DIAGNOSED:
        return ""
    with contextlib.suppress(Exception):  # a diagnosis is a help; without one the verdict is still the same
        causes = diagnose_value(actual, expected, **known)
        if not causes:
            causes = diagnose(Case(actual.astype(np.float64), expected.astype(np.float64), **known))
        # A wrong shape that nothing explains adds nothing: the fault says the shape already
        titles = dict.fromkeys(cause.title for cause in causes if cause.kind is not Kind.SHAPE)
        return f": {', or '.join(titles)}" if titles else ""
    return ""


def as_array(name: str, value: Any) -> Array:
    """Return `value` as an array of numbers; FaultError if it is something else."""
    if isinstance(value, Tensor):
        return np.asarray(value.array)
    if value is None:
        raise FaultError(f"{name} is None")
    if isinstance(value, Other | str | dict | tuple | list | np.dtype):
        raise FaultError(f"{name} should be an array of numbers; it is of the type {_type_name(value)}")
    return np.asarray(value)


def items(name: str, value: Any, count: int) -> Any:
    """Return the tuple or list that a function returned; FaultError unless it has `count` items."""
    if not isinstance(value, tuple | list) or len(value) != count:
        returned = f"{len(value)} values" if isinstance(value, tuple | list) else _kind(value)
        raise FaultError(f"{name} should return {count} values; it returned {returned}")
    return value


def unmodified(before: dict[str, Array], after: dict[str, Any]) -> None:
    """Raise FaultError if an array among the arguments, {name: array} before and after, was modified."""
    for name, array in before.items():
        now = after.get(name)
        if not (isinstance(now, np.ndarray) and np.array_equal(now, array)):
            raise FaultError(f"the argument {name} was modified")


def _kind(value: Any) -> str:
    """Describe a value that a function returned."""
    if value is None:
        return "None"
    return "one array" if isinstance(value, np.ndarray) else f"a {_type_name(value)}"


def _type_name(value: Any) -> str:
    """Return the name of the type that a value had in the submission."""
    return str(value.type_name) if isinstance(value, Other) else type(value).__name__


def _how_many(wrong: Array) -> str:
    """Say how many entries are wrong without giving a number away."""
    fraction = wrong.mean()
    if fraction < 0.1:
        return "a few"
    return "some" if fraction < 0.5 else "most"
