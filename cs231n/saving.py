"""Read a model that `model.save(path)` wrote, perhaps on another machine, without trusting the file."""

import math
import os
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from cs231n import checkpoint
from cs231n.classifiers.cnn import ThreeLayerConvNet
from cs231n.classifiers.fc_net import FullyConnectedNet, TwoLayerNet
from cs231n.saved_model import SavedModel, read_header, restored
from cs231n.validation import require_choice, require_integer, require_number

try:
    from cs231n.classifiers.deep_cnn import DeepConvNet, filters_of
except ImportError:  # not in the learners' version, in which it would show how a network is written
    DeepConvNet = None  # type: ignore[assignment, misc]


def load(path: str | os.PathLike[str], models: Sequence[type[SavedModel]] = ()) -> Any:
    """Return the model in the file `path`, ready for `predict`, for `loss` and for more training.

    It has the parameters and running averages to the bit, and the preprocessing. A file from a stranger
    can run no code and takes little more memory than it is long.

    - models: classes of your own, derived from `SavedModel`, that the file may name besides those of
      `cs231n.classifiers`; these are made with whatever arguments the file gives

    Raises OSError if the file cannot be opened, and ValueError that says why for one that is damaged or no
    model.
    """
    known = {model.__name__: model for model in (*_COUNTS, *models)}
    tree = checkpoint.load(path, "a saved model")
    try:
        header = read_header(tree)
        model = known.get(header["class"])
        if model is None:
            raise ValueError(
                f"it is a model of the class {header['class'][:100]!r}, and known are {', '.join(known)}. "
                "A class of your own: load(path, models=[TheClass])."
            )
        if model in _COUNTS:
            _require_numbers(header["settings"])
            _require_room(_COUNTS[model](header["settings"]), tree.get("params"))
        return restored(model, tree)
    except ValueError as error:
        raise ValueError(f"{path} cannot be loaded: {error}") from error


def _require_room(num_weights: int, params: Any) -> None:
    """Raise ValueError if the settings ask for more weights than the file holds.

    Settings are a few bytes and can ask for all of the memory; so they are counted before anything is made.
    """
    held = sum(np.size(param) for param in params.values()) if isinstance(params, dict) else 0
    if num_weights > held:
        raise ValueError(f"its settings ask for {num_weights:,} weights, and it holds {held:,} numbers")


def _require_numbers(settings: Mapping[str, Any]) -> None:
    """Raise ValueError unless the scale of weights is a number, and they are floats: others can be long."""
    require_number("its weight_scale", settings.get("weight_scale", 1.0), 0, math.inf)
    require_choice("its dtype", settings.get("dtype", "float64"), ("float32", "float64"))


def _sizes(settings: Mapping[str, Any], *names: str) -> list[int]:
    """Return these settings, sizes or lists of them, one after the other."""
    sizes = []
    for name in names:
        values = settings.get(name)
        listed = values if isinstance(values, list) else [values]
        sizes += [require_integer(f"its {name}", value, 1) for value in listed]
    return sizes


def _count_two_layers(settings: Mapping[str, Any]) -> int:
    input_dim, hidden_dim, num_classes = _sizes(settings, "input_dim", "hidden_dim", "num_classes")
    return (input_dim + num_classes) * hidden_dim


def _count_fully_connected(settings: Mapping[str, Any]) -> int:
    return sum(a * b for a, b in pairwise(_sizes(settings, "input_dim", "hidden_dims", "num_classes")))


def _count_three_layers(settings: Mapping[str, Any]) -> int:
    if len(_sizes(settings, "input_dim")) != 3:
        raise ValueError(f"its input_dim must be (C, H, W); got {settings.get('input_dim')!r}")
    sizes = _sizes(settings, "input_dim", "num_filters", "filter_size", "hidden_dim", "num_classes")
    C, H, W, filters, filter_size, hidden_dim, num_classes = sizes
    pooled = (H // 2) * (W // 2)
    return filters * (C * filter_size**2 + pooled * hidden_dim) + hidden_dim * num_classes


def _count_deep(settings: Mapping[str, Any]) -> int:
    channels: list[int] = [*_sizes(settings, "input_dim")[:1], *filters_of(_sizes(settings, "widths"))]
    convolutions = sum(9 * a * b for a, b in pairwise(channels))
    return convolutions + channels[-1] * _sizes(settings, "num_classes")[0]


_COUNTS: dict[type[Any], Callable[[Mapping[str, Any]], int]] = {
    TwoLayerNet: _count_two_layers,
    FullyConnectedNet: _count_fully_connected,
    ThreeLayerConvNet: _count_three_layers,
}
if DeepConvNet is not None:
    _COUNTS[DeepConvNet] = _count_deep
