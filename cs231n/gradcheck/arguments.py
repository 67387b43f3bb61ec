"""Validate what a check is called with: each error names the argument, its value, the rule and the remedy."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from cs231n.gradcheck.values import Array, Floats

CLOSE_OVER = "Let the function close over what has no gradient, such as labels"


def require_inputs(inputs: Any) -> dict[str, Floats]:
    """Return copies in float64 of the arrays in a dictionary; ValueError unless they hold floats."""
    _require_names(inputs)
    arrays = {name: np.asarray(value) for name, value in inputs.items()}
    for name, array in arrays.items():
        _require_float_dtype(name, array)
    return {name: np.array(array, dtype=np.float64) for name, array in arrays.items()}


def require_input_arrays(inputs: Any) -> dict[str, Array]:
    """Return the arrays of a dictionary, which the check will move; ValueError unless they hold floats.

    In place of arrays that are not in float64 the check moves copies in float64.
    """
    _require_names(inputs)
    for name, array in inputs.items():
        if not isinstance(array, np.ndarray):
            raise ValueError(
                f"inputs[{name!r}] must be an array, the one that forward reads; got {_kind(array)}. Convert "
                "it with np.asarray(..., dtype=np.float64) first."
            )
        _require_float_dtype(name, array)
    return {name: np.asarray(array, dtype=np.float64) for name, array in inputs.items()}


def _require_names(inputs: Any) -> None:
    """Raise ValueError unless `inputs` is a dictionary by name that holds something."""
    if not isinstance(inputs, Mapping) or not inputs or not all(isinstance(name, str) for name in inputs):
        raise ValueError(
            'inputs must be a dictionary {name: array}, such as {"x": x, "w": w}, in the order of the '
            f"arguments of forward; got {_kind(inputs)}"
        )


def _require_float_dtype(name: str, array: Array) -> None:
    if array.dtype.kind != "f":
        raise ValueError(
            f"inputs[{name!r}] must hold floats; got dtype {array.dtype}. Convert it with "
            f"np.asarray(..., dtype=np.float64). {CLOSE_OVER}."
        )


def require_callables(**functions: Any) -> None:
    """Raise ValueError unless every function can be called."""
    for name, function in functions.items():
        if not callable(function):
            raise ValueError(
                f"{name} must be a function; got {_kind(function)}. Pass the function without calling it."
            )


def require_model(model: Any) -> None:
    """Raise ValueError unless a model has a dictionary of parameters, and a loss."""
    params = getattr(model, "params", None)
    if not isinstance(params, dict) or not params:
        raise ValueError(
            f"model.params must be a dictionary {{name: array}} of its parameters; got {_kind(params)} in a "
            f"{type(model).__name__}. Pass an instance of the model."
        )
    if not callable(getattr(model, "loss", None)):
        raise ValueError(
            f"model must have a method loss(X, y) that returns (loss, grads); got a {type(model).__name__}"
        )


def require_gradients(grads: Any, inputs: dict[str, Array]) -> list[Any]:
    """Return the gradients as a list; ValueError unless there is one for each input."""
    if not isinstance(grads, tuple | list) or len(grads) != len(inputs):
        raise ValueError(
            f"grads must be a tuple or list with one gradient for each input ({', '.join(inputs)}); got "
            f"{_kind(grads)}. Put a single gradient in a list: [dx]."
        )
    return list(grads)


def require_upstream(dout: Any, out: Array) -> Any:
    """Return an upstream gradient; ValueError unless it is a number or has the shape of the output."""
    if np.ndim(dout) and np.shape(dout) != out.shape:
        raise ValueError(
            f"dout must have the shape of the output, {out.shape}; got the shape {np.shape(dout)}. Pass the "
            "upstream gradient that backward was called with."
        )
    return dout


def require_settings(settings: Any) -> dict[str, Any]:
    """Return the settings of a layer, {} for None; ValueError unless they are a dictionary."""
    if settings is None:
        return {}
    if not isinstance(settings, Mapping):
        raise ValueError(
            "settings must be a dictionary of what the layer was called with, such as "
            f'{{"stride": 2, "pad": 1}}; got {_kind(settings)}'
        )
    return dict(settings)


def require_positive(**values: Any) -> None:
    """Raise ValueError unless every value is a finite number above 0."""
    for name, value in values.items():
        is_number = isinstance(value, int | float | np.number) and not isinstance(value, bool)
        if not is_number or not 0 < value < np.inf:
            raise ValueError(f"{name} must be a positive number, such as 1e-6; got {value!r}")


def require_count(**values: Any) -> None:
    """Raise ValueError unless every value is an integer of at least 1."""
    for name, value in values.items():
        if not isinstance(value, int | np.integer) or isinstance(value, bool) or value < 1:
            raise ValueError(f"{name} must be an integer of at least 1; got {value!r}")


def _kind(value: Any) -> str:
    """Describe a value in a few words, such as "a tuple of 3"."""
    if value is None:
        return "None"
    if isinstance(value, np.ndarray):
        return f"an array of shape {value.shape}"
    if isinstance(value, str):
        return f"the string {value!r}"
    if isinstance(value, dict) and not value:
        return "an empty dictionary"
    if isinstance(value, dict):
        return f"a dictionary with the keys {', '.join(map(repr, value))}"
    if isinstance(value, tuple | list):
        return f"a {type(value).__name__} of {len(value)}"
    return f"{value!r}" if isinstance(value, int | float) else f"a {type(value).__name__}"
