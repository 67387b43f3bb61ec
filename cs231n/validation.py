"""Checks of what callers pass in: each error names the argument, its value, the rule and the remedy.

A wrong shape that NumPy happens to broadcast gives a wrong number without a word, which is the
costliest mistake a learner can make; so every layer checks its arguments before it computes.

What is checked at every training step compares shapes and dtypes only. What visits every number of an
array (`require_finite`) is for data, once.
"""

import math
from collections.abc import Collection, Iterable, Mapping
from itertools import repeat
from typing import Any, TypeGuard

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

SCORE_PER_CLASS = "Every class has a column of scores, so a model of two classes has two (num_classes=2)."
EXAMPLES = {  # of dictionaries of settings
    "bn_param": '{"mode": "train"}',
    "dropout_param": '{"mode": "train", "p": 0.5}',
    "conv_param": '{"stride": 1, "pad": 1}',
    "pool_param": '{"pool_height": 2, "pool_width": 2, "stride": 2}',
    "config": '{"learning_rate": 1e-2}',
    "optim_config": '{"learning_rate": 1e-2}',
    "data": '{"X_train": X, "y_train": y, "X_val": ..., "y_val": ...}',
}
CHANNELS = (1, 3, 4)  # of a picture: grey, colours, colours and transparency


def as_plain_array(name: str, value: ArrayLike) -> NDArray[Any]:
    """Return `value` as a plain array; ValueError if NumPy cannot make one or would drop a mask."""
    if isinstance(value, np.ma.MaskedArray):
        raise ValueError(
            f"{name} must be an array without a mask, which would be lost; got a masked array. "
            f"Pass {name}.filled(value), or leave the masked entries out."
        )
    try:
        return np.asarray(value)
    except Exception as error:  # of any kind: other libraries' arrays raise what they like
        raise ValueError(
            f"{name} must be an array; NumPy cannot make one of this {type(value).__name__}: "
            f"{str(error).rstrip('.')}. {_conversion_remedy(name, value)}"
        ) from error


def _conversion_remedy(name: str, value: object) -> str:
    if isinstance(value, (list, tuple)):
        return "Give all rows the same length."
    return f"A tensor is converted by {name}.detach().cpu().numpy()."


def as_real_array(name: str, value: ArrayLike) -> NDArray[Any]:
    """Return `value` as an array of floats, integers or bools; ValueError if it is none."""
    array = value if type(value) is np.ndarray else as_plain_array(name, value)
    if array.dtype.kind not in "fiub":
        got = f"dtype {array.dtype}" if array.ndim else repr(value)
        raise ValueError(f"{name} must hold real numbers; got {got}. {_real_remedy(name, array)}")
    return array


def _real_remedy(name: str, array: NDArray[Any]) -> str:
    if array.dtype.kind == "c":
        return f"Pass {name}.real, or real and imaginary part as two features."
    if array.ndim == 0:
        return "Pass an array of floats."
    return f"If these are numbers, pass np.array({name}, dtype=np.float64)."


def as_float_array(x: ArrayLike, name: str = "x") -> NDArray[Any]:
    """Return `x` as an array of floats: integers become float64, and floats keep their dtype."""
    if type(x) is np.ndarray and x.dtype.kind == "f":  # what a layer mostly gets costs no further call
        return x
    x = as_real_array(name, x)
    return x if x.dtype.kind == "f" else x.astype(np.float64)


def as_float_arrays(
    x: ArrayLike, *others: ArrayLike, names: tuple[str, ...] = ("x", "w", "b")
) -> tuple[NDArray[Any], ...]:
    """Return `x` as an array of floats and the others in its dtype; only a change of dtype copies.

    A layer computes in the dtype of its input: parameters of another precision are brought to it.

    - names: what errors call the arguments
    """
    x = as_float_array(x, names[0])
    return x, *map(in_dtype, names[1:], others, repeat(x.dtype))


def in_dtype(name: str, value: ArrayLike, dtype: DTypeLike) -> NDArray[Any]:
    """Return `value` as an array of this dtype of floats, itself if it is one; ValueError if it is none."""
    if type(value) is np.ndarray and value.dtype is dtype:  # as above
        return value
    return as_real_array(name, value).astype(dtype, copy=False)


def as_upstream(dout: ArrayLike, shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
    """Return the upstream gradient of a layer in its dtype; ValueError unless it has its output's shape."""
    dout = in_dtype("dout", dout, dtype)
    require_shape("dout", dout, shape, "that of the output")
    return dout


def require_shape(name: str, array: NDArray[Any], shape: tuple[int, ...], rule: str) -> None:
    """Raise ValueError unless `array` has exactly this shape; `rule` says where the shape comes from."""
    if array.shape != shape:
        raise ValueError(f"{name} must have shape {shape} ({rule}); got {array.shape}")


def require_ndim(name: str, array: NDArray[Any], axes: str, remedy: str = "") -> None:
    """Raise ValueError unless `array` has the axes written in `axes`, such as "N, D", and is not empty."""
    if array.ndim != axes.count(",") + 1:
        end = f". {remedy}" if remedy else ""
        raise ValueError(f"{name} must have the axes ({axes}); got the shape {array.shape}{end}")
    if array.size == 0:
        raise ValueError(f"{name} must not be empty; got the shape {array.shape} for ({axes})")


def require_choice(name: str, value: object, choices: Collection[object]) -> None:
    """Raise ValueError unless `value` is one of `choices`."""
    try:
        is_known = value in choices
    except (TypeError, ValueError):  # a list cannot be looked up, an array equals nothing as a whole
        is_known = False
    if not is_known:
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


def require_settings(name: str, param: Any) -> Mapping[str, Any]:
    """Return a dictionary of settings; ValueError if it is none."""
    if not isinstance(param, (dict, Mapping)):  # dict first: for it, isinstance is ten times as fast
        got = "None" if param is None else f"a {type(param).__name__}"
        of_layers = name.endswith("_param") and isinstance(param, (list, tuple))
        remedy = ". Pass the one of this layer" if of_layers else ""
        raise ValueError(
            f"{name} must be a dictionary, such as {EXAMPLES.get(name, '{}')}; got {got}{remedy}"
        )
    return param


def require_mode(param: Mapping[str, Any], name: str) -> str:
    """Return the mode of a layer's parameter dictionary; ValueError unless it is 'train' or 'test'."""
    mode = require_settings(name, param).get("mode")
    if mode not in ("train", "test"):
        raise ValueError(f"{name}['mode'] must be 'train' or 'test'; got {mode!r}")
    return str(mode)


def require_number(name: str, value: object, low: float, high: float, closed: str = "both") -> float:
    """Return `value` as a Python float; ValueError unless it lies between `low` and `high`.

    `closed` says which bounds belong to the range: 'both', 'left', 'right' or 'neither'. A Python
    float does not raise float32 arrays to float64, as a NumPy scalar does.
    """
    number = (
        float(value) if isinstance(value, (int, float, np.integer, np.floating)) else math.nan
    )  # in no range
    above = number >= low if closed in ("both", "left") else number > low
    below = number <= high if closed in ("both", "right") else number < high
    if not (above and below):
        opening = "[" if closed in ("both", "left") else "("
        closing = "]" if closed in ("both", "right") else ")"
        raise ValueError(f"{name} must be in {opening}{low:g}, {high:g}{closing}; got {value!r}")
    return number


def require_keep_probability(name: str, value: object) -> float:
    """Return the probability to keep a unit as a float; ValueError unless it lies in (0, 1]."""
    if isinstance(value, (int, float, np.number)) and value == 0:
        raise ValueError(
            f"{name} must be in (0, 1]; got {value!r}. Pass 1 for no dropout. "
            "(The course of 2016 and 2017 passed the probability to drop a unit: pass 1 minus that.)"
        )
    return require_number(name, value, 0, 1, closed="right")


def require_integer(name: str, value: object, low: int) -> int:
    """Return `value` as a Python int; ValueError unless it is an integer, no bool, of at least `low`."""
    if not _is_integer(value, low):
        raise ValueError(
            f"{name} must be an integer of at least {low}; got {value!r}{_whole_float_remedy(value)}"
        )
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
    raise ValueError(f"{name} must be {rule}; got {value!r}{_whole_float_remedy(value)}")


def _whole_float_remedy(value: object) -> str:
    if isinstance(value, (float, np.floating)) and float(value).is_integer():
        return f". A float is no integer, even if it is whole: divide with // or pass {int(value)}."
    return ""


def _is_integer(value: object, low: int) -> TypeGuard[int]:
    """Return whether `value` is an integer, no bool, of at least `low`."""
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool) and bool(value >= low)


def require_seed(name: str, seed: Any) -> None:
    """Raise ValueError unless NumPy can seed a generator with `seed`; None is no seed."""
    try:
        np.random.RandomState(seed)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name} must be an integer from 0 to 2**32 - 1, or None; got {seed!r}") from error


def require_float_dtype(name: str, dtype: Any) -> np.dtype[Any]:
    """Return `dtype` as a dtype; ValueError unless it is float32 or float64, in the machine's byte order."""
    try:
        found: np.dtype[Any] | None = (
            None if dtype is None else np.dtype(dtype)
        )  # NumPy would take None for float64
    except (TypeError, ValueError):
        found = None
    if found is None or found not in (np.float32, np.float64):
        raise ValueError(f"{name} must be np.float32 or np.float64; got {dtype!r}{_dtype_reason(found)}")
    return found


def _dtype_reason(dtype: np.dtype[Any] | None) -> str:
    if dtype is None:
        return ""
    if dtype.kind in "iub":
        return ", which would round every weight to a whole number"
    if dtype == np.float16:
        return ", in which small gradients, and the epsilon 1e-8 of Adam and RMSProp, are 0"
    return ", which the compiled kernels do not know"


def require_finite(name: str, array: NDArray[Any], remedy: str) -> None:
    """Raise ValueError if `array` holds NaN or infinity; say how many, and where the first is."""
    found = describe_not_finite(array)
    if found:
        raise ValueError(f"{name} must hold finite numbers; got {found}. {remedy}")


def describe_not_finite(array: NDArray[Any]) -> str:
    """Return how many NaN and infinite numbers an array holds and where the first is; "" if none.

    >>> describe_not_finite(np.array([[0.0, np.inf], [np.nan, np.nan]]))
    '2 NaN and 1 infinite value, the first at index (0, 1)'
    """
    if array.dtype.kind not in "fc":
        return ""
    with np.errstate(all="ignore"):
        if np.isfinite(array.sum()):  # a sum with NaN or infinity is never finite; it needs no memory
            return ""
    finite = np.isfinite(array)
    if finite.all():  # only the sum was too large
        return ""
    num_nan = np.count_nonzero(np.isnan(array))
    num_infinite = finite.size - np.count_nonzero(finite) - num_nan
    plural = "s" if num_infinite > 1 else ""
    words = (num_nan, "NaN"), (num_infinite, f"infinite value{plural}")
    counts = [f"{count} {word}" for count, word in words if count]
    return f"{' and '.join(counts)}, the first at {_index_text(~finite)}"


def _index_text(wrong: NDArray[np.bool_]) -> str:
    """Return the index of the first True, as a person writes it."""
    index = tuple(int(i) for i in np.unravel_index(np.argmax(wrong), wrong.shape))
    return f"index {index[0] if len(index) == 1 else index}"


def require_labels(y: NDArray[Any], num_examples: int, num_classes: int, name: str = "y") -> None:
    """Raise ValueError unless `y` holds one class index in [0, num_classes) per example."""
    if y.shape != (num_examples,):
        raise ValueError(
            f"{name} must have shape ({num_examples},), one label per row of x; got {y.shape}."
            f"{label_shape_remedy(name, y, num_examples)}"
        )
    require_label_dtype(name, y)
    low, high = y.min(), y.max()
    if low < 0 or high >= num_classes:
        outside = _index_text((y < 0) | (y >= num_classes))
        raise ValueError(
            f"{name} must hold labels from 0 to {num_classes - 1}; got labels from {low} to {high}, the "
            f"first one outside at {outside}. {_range_remedy(name, y, num_classes)}"
        )


def label_shape_remedy(name: str, y: NDArray[Any], num_examples: int) -> str:
    """Return, after a space, a sentence on how labels of a wrong shape become labels; "" if unknown."""
    if y.ndim == 2 and len(y) == num_examples and y.shape[1] > 1:
        is_one_hot = y.dtype.kind in "fiub" and bool(
            ((y == 0) | (y == 1)).all() and (y.sum(axis=1) == 1).all()
        )
        what = "They are one-hot" if is_one_hot else "If they have a column per class"
        return f" {what}: pass {name}.argmax(axis=1)."
    if y.ndim > 1 and y.size == num_examples:
        return f" Pass {name}.ravel()."
    if y.ndim == 1:
        return " Take labels and examples from the same rows."
    return " Pass an array with a label per example." if y.ndim == 0 else ""


def require_label_values(name: str, y: NDArray[Any]) -> None:
    """Raise ValueError unless `y` holds integers of at least 0; how many classes there are is not known."""
    require_label_dtype(name, y)
    if y.min() < 0:
        where = _index_text(y < 0)
        raise ValueError(
            f"{name} must hold labels from 0 on; got {y[y < 0][0]} at {where}. {_negative_remedy(name, y)}"
        )


def require_label_dtype(name: str, y: NDArray[Any]) -> None:
    """Raise ValueError unless `y` has an integer dtype; say how labels of its kind become integers."""
    if y.dtype.kind not in "iu":
        raise ValueError(
            f"{name} must hold integer labels; got dtype {y.dtype}{_label_dtype_remedy(name, y)}"
        )


def _label_dtype_remedy(name: str, y: NDArray[Any]) -> str:
    if y.dtype.kind == "b":
        return f". Pass {name}.astype(int)."
    try:
        numbers = y.astype(np.float64) if y.dtype.kind in "fOUS" else None
    except (TypeError, ValueError):
        numbers = None
    if numbers is None:
        return f". Number the classes: pass np.unique({name}, return_inverse=True)[1]."
    missing, whole = ~np.isfinite(numbers), np.rint(numbers)
    if missing.any():
        return f", with {y[missing][0]!s} at {_index_text(missing)}. Leave out examples without a label."
    if (numbers != whole).any():
        text = f", with {y[numbers != whole][0]!s} at {_index_text(numbers != whole)}. "
        if np.allclose(numbers, whole, rtol=0, atol=1e-3):
            return f"{text}Rounding makes them whole: pass np.rint({name}).astype(int)."
        return f"{text}Labels are the numbers of classes, not quantities or probabilities."
    return f". Pass {name}.astype({'float).astype(' if y.dtype.kind in 'US' else ''}int)."


def _range_remedy(name: str, y: NDArray[Any], num_classes: int) -> str:
    low, high = y.min(), y.max()
    if low < 0:
        return _negative_remedy(name, y)
    if low > 0 and high == num_classes:
        return f"Labels that start at 1: pass {name} - 1."
    scores = "a single score" if num_classes == 1 else f"{num_classes} scores"
    return f"Each example has {scores}, one per class; a model with num_classes={high + 1} has enough."


def _negative_remedy(name: str, y: NDArray[Any]) -> str:
    if np.isin(y, (-1, 1)).all():
        return f"Labels -1 and 1: pass ({name} + 1) // 2."
    if y.min() == -1:
        return f"If -1 marks examples without a label, leave these out: {name} >= 0 chooses the others."
    return f"Number the classes from 0: pass np.unique({name}, return_inverse=True)[1]."


def require_scores(scores: ArrayLike, num_examples: int) -> NDArray[Any]:
    """Return a model's scores as an array; ValueError unless they are (num_examples, C) with C at least 2."""
    scores = as_real_array("the scores, model.loss(X),", scores)
    if scores.ndim != 2 or len(scores) != num_examples or scores.shape[1] < 2:
        raise ValueError(
            f"model.loss(X) must return scores of shape ({num_examples}, C), one per example and class, C at "
            f"least 2; got {scores.shape}. {SCORE_PER_CLASS} A model with one output needs another metric: "
            "give the Solver metric=binary_accuracy or one of your own."
        )
    return scores


def require_sizes(name: str, values: Any) -> list[int]:
    """Return the sizes of layers as a list; ValueError unless they are integers of at least 1."""
    if isinstance(values, (str, Mapping)) or not isinstance(values, Iterable) or np.ndim(values) == 0:  # type: ignore[arg-type]
        example = values if isinstance(values, (int, np.integer)) else 100
        raise ValueError(
            f"{name} must be a list with the size of each hidden layer; got {values!r}. "
            f"For one hidden layer pass [{example}]."
        )
    return [require_integer(f"{name}[{i}]", value, 1) for i, value in enumerate(values)]


def require_num_features(name: str, value: Any) -> int:
    """Return the number of features of an example; ValueError unless it is an integer of at least 1."""
    if isinstance(value, (tuple, list)) and all(isinstance(size, int) for size in value):
        raise ValueError(
            f"{name} must be an integer, the number of features of an example; got {value!r}. "
            f"Pass their product, {math.prod(value)}."
        )
    return require_integer(name, value, 1)


def require_image_shape(name: str, shape: Any) -> tuple[int, int, int]:
    """Return an image's shape (C, H, W); ValueError unless it is three sizes with the channels first."""
    if not isinstance(shape, (tuple, list, np.ndarray)) or len(shape) != 3:
        raise ValueError(
            f"{name} must be (C, H, W), the channels, height and width of an image; got {shape!r}. "
            "For 32x32 images in colour pass (3, 32, 32)."
        )
    C, H, W = (require_integer(f"{name}[{i}]", size, 1) for i, size in enumerate(shape))
    if _are_channels_last(C, H, W):
        raise ValueError(
            f"{name} must be (C, H, W), the channels first; got {tuple(shape)}, in which they seem to be "
            f"last. Pass {(W, C, H)}, and images as X.transpose(0, 3, 1, 2)."
        )
    return C, H, W


def _are_channels_last(C: int, H: int, W: int) -> bool:
    """Return whether (C, H, W) reads as (height, width, channels): a picture has more than a few pixels.

    Images 4 pixels wide exist, so that 4 is taken for channels of a square picture only.
    """
    is_picture = min(C, H) > max(CHANNELS)
    return is_picture and (W in (1, 3) or (W == 4 and C == H))


def as_examples(X: ArrayLike, num_features: int, dtype: DTypeLike) -> NDArray[Any]:
    """Return a minibatch X (N, d1, ..., dk) in the dtype of a fully connected model.

    Raises ValueError unless N is at least 1 and d1 * ... * dk is `num_features`, the model's input_dim.
    """
    X = in_dtype("X", X, dtype)
    features = math.prod(X.shape[1:])
    if X.ndim < 2 or features != num_features:
        raise ValueError(
            f"X must have shape (N, d1, ..., dk) with d1 * ... * dk = {num_features}, the model's input_dim; "
            f"got {X.shape}. {_features_remedy(X, num_features)}"
        )
    _require_examples(X)
    return X


def _features_remedy(X: NDArray[Any], num_features: int) -> str:
    if X.size == num_features:
        return "A single example becomes a minibatch of one as X[np.newaxis]."
    if X.ndim < 2:
        return "Examples are rows."
    features = math.prod(X.shape[1:])
    return f"Bring the examples to the size of the model, or make the model with input_dim={features}."


def as_images(X: ArrayLike, input_dim: tuple[int, int, int], dtype: DTypeLike) -> NDArray[Any]:
    """Return a minibatch X (N, C, H, W) in the dtype of a model of images.

    Raises ValueError unless N is at least 1 and (C, H, W) is `input_dim`, that of the model.
    """
    X = in_dtype("X", X, dtype)
    if X.ndim != 4 or X.shape[1:] != input_dim:
        raise ValueError(
            f"X must have the axes (N, C, H, W) with (C, H, W) = {input_dim}, the model's input_dim; "
            f"got the shape {X.shape}. {_images_remedy(X.shape, input_dim)}"
        )
    _require_examples(X)
    return X


def _images_remedy(shape: tuple[int, ...], input_dim: tuple[int, int, int]) -> str:
    C, H, W = input_dim
    if shape == input_dim:
        return "A single image becomes a minibatch of one as X[np.newaxis]."
    if shape == (H, W, C):
        return "A single image with its channels last becomes X.transpose(2, 0, 1)[np.newaxis]."
    if shape[1:] == (H, W, C):
        return "The channels are last: pass X.transpose(0, 3, 1, 2)."
    if len(shape) == 3 and C == 1 and shape[1:] == (H, W):
        return "Grey images get their axis of channels as X[:, np.newaxis]."
    if len(shape) == 2 and shape[1] == math.prod(input_dim):
        return f"Flattened images get their shape back as X.reshape(-1, {C}, {H}, {W})."
    if len(shape) != 4:
        return "Four axes are needed: images, channels, rows, columns."
    return f"Bring the images to the size of the model, or make the model with input_dim={shape[1:]}."


def _require_examples(X: NDArray[Any]) -> None:
    if len(X) == 0:
        raise ValueError(f"X must hold at least one example; got the shape {X.shape}")
