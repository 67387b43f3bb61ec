"""Handle whatever a learner's code returns: nothing here raises, whatever the value."""

import numbers
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Floats = NDArray[np.float64]


def is_numbers(value: Any) -> bool:
    """Return whether this is an array of real numbers, or one number that float64 can hold.

    Objects, strings and complex numbers are not. Only the type is looked at, since an object may claim to be
    an array, or raise an error whatever is done with it.
    """
    if issubclass(type(value), np.ndarray):
        return value.dtype.kind in "fiub"
    if not issubclass(type(value), numbers.Real | np.bool_):
        return False
    try:
        float(value)
    except Exception:  # too large, or a number that does not behave
        return False
    return True


def float64_copy(value: Any) -> Floats:
    """Return a copy in float64 of an array or number for which `is_numbers` holds."""
    with np.errstate(all="ignore"):
        is_array = issubclass(type(value), np.ndarray)
        return np.array(value if is_array else float(value), dtype=np.float64, subok=False)


def private_copy(value: Any) -> Any:
    """Return a copy of an array of numbers, which nobody else can change; anything else as it is."""
    is_array = issubclass(type(value), np.ndarray) and is_numbers(value)
    return np.array(value, subok=False) if is_array else value


def equal(a: Any, b: Any) -> bool:
    """Return whether two values hold the same numbers; True if one of them does not hold numbers at all."""
    if not (is_numbers(a) and is_numbers(b)):
        return True
    return np.array_equal(float64_copy(a), float64_copy(b), equal_nan=True)


def as_list(values: Any) -> list[Any]:
    """Return the items of a tuple or list, or a list of the one value that a function returned."""
    return list(values) if issubclass(type(values), tuple | list) else [values]


def message_of(error: BaseException) -> str:
    """Return the type of an error and its text, or the type alone if making the text fails."""
    try:
        return f"{type(error).__name__}: {error}"
    except Exception:
        return type(error).__name__
