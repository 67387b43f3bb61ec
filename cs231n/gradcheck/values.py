"""What a learner's code may return, taken as it is: nothing here raises, whatever the value."""

import numbers

import numpy as np


def is_numbers(value):
    """Whether this is an array of real numbers, or one that float64 can hold; no objects, texts, complex.

    Types are asked, not values: an object may claim to be an array, or raise when it is asked anything.
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


def as_floats(value):
    """A copy in float64 of what `is_numbers`."""
    with np.errstate(all="ignore"):
        is_array = issubclass(type(value), np.ndarray)
        return np.array(value if is_array else float(value), dtype=np.float64, subok=False)


def kept(value):
    """A copy of an array of numbers, which nobody else can change; anything else as it is."""
    is_array = issubclass(type(value), np.ndarray) and is_numbers(value)
    return np.array(value, subok=False) if is_array else value


def equal(a, b):
    """Whether two values are the same numbers; what are no numbers is not compared, and passes for equal."""
    if not (is_numbers(a) and is_numbers(b)):
        return True
    return np.array_equal(as_floats(a), as_floats(b), equal_nan=True)


def as_list(values):
    """What a function returned as a list: the items of a tuple or list, or the one thing that it is."""
    return list(values) if issubclass(type(values), tuple | list) else [values]


def message_of(error):
    """The type of an error and its text, if it has one that can be had."""
    try:
        return f"{type(error).__name__}: {error}"
    except Exception:
        return type(error).__name__
