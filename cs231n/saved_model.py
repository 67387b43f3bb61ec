"""What every model here can do besides learning: be saved to a file, and classify pictures.

The file is an .npz of plain arrays, written and read by `cs231n.checkpoint` without pickle, and one of them
is a header in JSON. It holds all that another process needs: the class, the arguments that the model was made
with, the parameters, the running averages of batch normalization and the preprocessing. `load` is in
`cs231n.saving`.
"""

import inspect
import json
import math
import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cs231n import checkpoint
from cs231n.preprocessing import ImageShape, Preprocessing, as_pictures, guess_image_shape
from cs231n.validation import require_mode, require_number

FORMAT = "cs231n model"
VERSION = 1
BATCH_SIZE = 100  # pictures per forward pass, which limits the memory in use

Array = NDArray[Any]
Params = dict[str, Array]
Tree = dict[str, Any]


class SavedModel:
    """The base of a model: remembers the arguments it was made with, saves it, classifies pictures with it.

    A subclass has `params`, `loss(X, y=None)` and, where it keeps running averages, `bn_params`, as
    `cs231n.solver` says. It needs to do nothing for `save` and `predict`; its arguments must be numbers,
    strings, None, dtypes, or lists of these.

    - preprocessing: a `Preprocessing`, or None as long as nobody has said how images were prepared. The
      Solver hands on that of `get_CIFAR10_data`
    """

    params: Params
    loss: Callable[..., Any]
    preprocessing: Preprocessing | None = None
    _arguments: dict[str, Any]

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        """Remember the arguments. Copies are made without any, and get those of their original."""
        model = super().__new__(cls)
        with suppress(TypeError):  # which __init__ raises again, with its name
            model._arguments = _named_arguments(cls.__init__, model, *args, **kwargs)
        return model

    @property
    def settings(self) -> dict[str, Any]:
        """Return the arguments that make the model again, as its attributes now say where they have them.

        Those attributes are numbers or strings of an argument's name, such as `reg`.
        """
        attributes = {name: _plain(value) for name, value in vars(self).items() if name in self._arguments}
        return self._arguments | {
            name: value for name, value in attributes.items() if isinstance(value, (int, float, str))
        }

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the model to the file `path`, whole or not at all; `cs231n.saving.load` reads it.

        Raises ValueError, and writes nothing, for a model that could not be read again.
        """
        tree = _as_tree(self)
        try:
            restored(type(self), tree)
        except ValueError as error:
            raise ValueError(
                f"the model cannot be saved, since it could not be loaded again: {error}"
            ) from error
        checkpoint.save(path, tree)

    def predict(self, images: ArrayLike, probabilities: bool = False) -> Any:
        """Return the class of a picture uint8 (H, W, C), or the classes of several (N, H, W, C).

        A class is its name, str, or its label, int, where `preprocessing` has no names; those of several
        pictures are an array (N,). With `probabilities`, returns the classes and the probabilities of all
        classes, (C,) or (N, C). Raises ValueError for anything that is no picture of the model's size.
        """
        preprocessing = self._known_preprocessing()
        pictures, single = as_pictures(images, self.image_shape)
        starts = range(0, len(pictures), BATCH_SIZE)
        batches = (preprocessing.prepare(pictures[start : start + BATCH_SIZE]) for start in starts)
        scores = np.concatenate([self.loss(batch) for batch in batches])
        _require_scores(scores, len(pictures), preprocessing.class_names)
        labels = scores.argmax(axis=1)
        classes = np.array(preprocessing.class_names)[labels] if preprocessing.class_names else labels
        shares = _softmax(scores)
        if single:
            return (classes[0].item(), shares[0]) if probabilities else classes[0].item()
        return (classes, shares) if probabilities else classes

    @property
    def image_shape(self) -> ImageShape:
        """Return the (C, H, W) of the pictures that `predict` takes: of the mean image, else by `input_dim`.

        Raises ValueError if neither says it, or if they contradict each other.
        """
        of_mean = self.preprocessing.image_shape if self.preprocessing else None
        input_dim = self.settings.get("input_dim")
        of_input: ImageShape | None = None
        if isinstance(input_dim, list) and len(input_dim) == 3:
            of_input = input_dim[0], input_dim[1], input_dim[2]
        elif isinstance(input_dim, int):
            same_size = of_mean is not None and math.prod(of_mean) == input_dim
            of_input = of_mean if same_size else guess_image_shape(input_dim)
        if of_mean and input_dim is not None and of_mean != of_input:
            raise ValueError(
                f"preprocessing.mean_image must fit the model's input_dim, {input_dim}; got the shape "
                f"{of_mean}. Give the mean of the images that the model was trained on."
            )
        shape = of_mean or of_input
        if shape is None:
            raise ValueError(
                f"preprocessing.mean_image must have the shape (C, H, W) of an image, since the model's "
                f"input_dim, {input_dim}, does not say it. Where nothing was subtracted: np.zeros((C, H, W))."
            )
        return shape

    def _known_preprocessing(self) -> Preprocessing:
        if not isinstance(self.preprocessing, Preprocessing):
            raise ValueError(
                "model.preprocessing must say how the images that the model learned from were made of "
                f"pictures; got {type(self.preprocessing).__name__}. Set it to data.preprocessing, if data "
                "is what get_CIFAR10_data returned, or to cs231n.preprocessing.Preprocessing(mean_image=..., "
                "scale=..., class_names=...); without mean_image and scale for pixels from 0 to 255."
            )
        return self.preprocessing


def _named_arguments(function: Callable[..., Any], model: Any, *args: Any, **kwargs: Any) -> dict[str, Any]:
    """Return the arguments of a call of `__init__`, but for the model, by name, with their defaults."""
    signature = inspect.signature(function)
    bound = signature.bind_partial(model, *args, **kwargs)
    bound.apply_defaults()
    _, *given = bound.arguments.items()
    named: dict[str, Any] = {}
    for name, value in given:
        named |= value if signature.parameters[name].kind is inspect.Parameter.VAR_KEYWORD else {name: value}
    return {name: _plain(value) for name, value in named.items()}


def _plain(value: Any) -> Any:
    """Return an argument as JSON can hold it: lists, numbers, names of dtypes; others as they are."""
    if isinstance(value, np.dtype) or (isinstance(value, type) and issubclass(value, (np.generic, float))):
        return np.dtype(value).name
    if isinstance(value, (np.generic, np.ndarray)):
        return value.tolist()
    if isinstance(value, (list, tuple, range)):
        return [_plain(item) for item in value]
    return value


def _require_scores(scores: Array, num_pictures: int, class_names: tuple[str, ...] | Any) -> None:
    """Raise ValueError unless there is a finite score (N, C) for each picture and class."""
    if scores.ndim != 2 or len(scores) != num_pictures:
        raise ValueError(
            f"model.loss(X) must return scores ({num_pictures}, C); got the shape {scores.shape}"
        )
    if class_names and len(class_names) != scores.shape[1]:
        raise ValueError(
            f"preprocessing.class_names must name each of the model's {scores.shape[1]} classes; "
            f"got {len(class_names)}: {', '.join(class_names)}"
        )
    if not np.isfinite(scores).all():
        raise ValueError(
            "model.loss(X) must return finite scores; some are not, because the parameters are not finite or "
            "very large, as after a training that diverged. Train again with a smaller learning rate."
        )


def _softmax(scores: Array) -> Array:
    """Return the probabilities (N, C) of scores; subtracting the maximum changes nothing but the overflow."""
    shares = np.exp(scores - scores.max(axis=1, keepdims=True))
    result: Array = shares / shares.sum(axis=1, keepdims=True)
    return result


def _as_tree(model: Any) -> Tree:
    """Return all that a file holds of a model."""
    header = {"format": FORMAT, "version": VERSION, "class": type(model).__name__, "settings": model.settings}
    arrays: Tree = {}
    if model.preprocessing is not None:
        preprocessing = model._known_preprocessing()
        header["class_names"] = list(preprocessing.class_names)
        arrays = {"mean_image": preprocessing.mean_image, "scale": preprocessing.scale}
    bn_params = getattr(model, "bn_params", [])
    return {
        "header": _as_json(header),
        "params": dict(model.params),
        "bn_params": {str(i): dict(bn_param) for i, bn_param in enumerate(bn_params)},
        "preprocessing": arrays,
    }


def _as_json(header: Mapping[str, Any]) -> str:
    for name, value in header["settings"].items():
        try:
            json.dumps(value)
        except (TypeError, ValueError):
            raise ValueError(
                f"{name} must be a number, a string, None, a dtype or a list of these, for the model to be "
                f"saved; it was made with {value!r}"
            ) from None
    return json.dumps(header)


def read_header(tree: Mapping[str, Any]) -> dict[str, Any]:
    """Return the header of what was read from a file; ValueError that says what the file is instead."""
    text = tree.get("header")
    if not isinstance(text, str):
        raise ValueError(f"it is no model that model.save wrote{_what_else(tree)}")
    try:
        header = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"its header is damaged: {error}") from error
    if not isinstance(header, dict) or header.get("format") != FORMAT:
        raise ValueError("it is no model that model.save wrote: its header is another program's")
    version = header.get("version")
    if not isinstance(version, int) or version < 1:
        raise ValueError(f"its version must be a number of at least 1; got {version!r}")
    if version > VERSION:
        raise ValueError(
            f"it was saved by a later version of this library, in version {version} of the format; this one "
            f"reads {VERSION}. Update the library."
        )
    if not isinstance(header.get("class"), str) or not isinstance(header.get("settings"), dict):
        raise ValueError("its header is damaged: it does not name the class and its settings")
    return header


def _what_else(tree: Mapping[str, Any]) -> str:
    if {"settings", "progress", "optim_configs"} <= tree.keys():
        return (
            ", but a Solver's checkpoint. Make the Solver as it was, then solver.resume(); "
            "solver.model.save(path) writes its model"
        )
    names = ", ".join(list(tree)[:5])
    return f": it holds the arrays {names}, and not with which settings they make a model" if tree else ""


def restored(model_class: type[Any], tree: Mapping[str, Any]) -> Any:
    """Return the model in `tree`, which is of this class; ValueError if its parts do not fit together."""
    header = read_header(tree)
    model = _made_again(model_class, header["settings"])
    model.params = _fitting_params(model, _part(tree, "params"))
    bn_params = _part(tree, "bn_params")
    mine = getattr(model, "bn_params", [])
    if sorted(bn_params) != sorted(str(i) for i in range(len(mine))):
        raise ValueError(
            f"its bn_params must be {len(mine)}, one per normalized layer; it holds {sorted(bn_params)}"
        )
    for i, bn_param in enumerate(mine):
        _require_bn_param(f"bn_params[{i}]", bn_params[str(i)], model.params.get(f"gamma{i + 1}"))
        bn_param.clear()
        bn_param.update(bn_params[str(i)])
    if "class_names" in header:
        model.preprocessing = _restored_preprocessing(header["class_names"], _part(tree, "preprocessing"))
    return model


def _part(tree: Mapping[str, Any], name: str) -> dict[str, Any]:
    part = tree.get(name)
    if not isinstance(part, dict):
        raise ValueError(f"its {name} are missing")
    return part


def _made_again(model_class: type[Any], settings: Mapping[str, Any]) -> Any:
    """Return a new model with these settings; NumPy's global generator is left alone."""
    state = np.random.get_state()
    try:
        return model_class(**settings)
    except (NotImplementedError, MemoryError):  # a learner's exercise that is not done says so itself
        raise
    except Exception as error:
        raise ValueError(f"its settings make no {model_class.__name__}: {error}") from error
    finally:
        np.random.set_state(state)


def _fitting_params(model: Any, params: Mapping[str, Any]) -> Params:
    """Return a file's parameters in the model's order; ValueError unless they have its names and shapes."""
    ours = {name: np.shape(param) for name, param in model.params.items()}
    theirs = {name: np.shape(param) for name, param in params.items()}
    for name in sorted(ours.keys() | theirs.keys()):
        if ours.get(name) != theirs.get(name):
            raise ValueError(
                f"its {name} has the shape {theirs.get(name, 'missing')}; with its settings a "
                f"{type(model).__name__} has {ours.get(name, 'none of that name')}"
            )
        _require_floats(f"its {name}", params[name])
    return {name: params[name] for name in ours}


def _require_floats(name: str, array: Any) -> None:
    if not isinstance(array, np.ndarray) or array.dtype not in (np.float32, np.float64):
        raise ValueError(
            f"{name} must be float32 or float64; got {getattr(array, 'dtype', type(array).__name__)}"
        )


def _require_bn_param(name: str, bn_param: Any, gamma: Array | None) -> None:
    """Raise ValueError unless the settings and averages of a normalized layer are what the layer can use."""
    if not isinstance(bn_param, dict):
        raise ValueError(f"its {name} must be a dictionary; got {type(bn_param).__name__}")
    for key, value in bn_param.items():
        if key == "mode":
            require_mode(bn_param, f"its {name}")
        elif key in ("eps", "momentum"):
            require_number(f"its {name}[{key!r}]", value, 0, 1)
        elif key in ("running_mean", "running_var"):
            _require_floats(f"its {name}[{key!r}]", value)
            if value.ndim != 1 or (gamma is not None and value.shape != gamma.shape):
                raise ValueError(
                    f"its {name}[{key!r}] has the shape {value.shape}, which does not fit the layer"
                )


def _restored_preprocessing(class_names: Any, arrays: Mapping[str, Any]) -> Preprocessing:
    if arrays.keys() != {"mean_image", "scale"}:
        raise ValueError("its preprocessing must have a mean_image and a scale")
    if not isinstance(class_names, list):
        raise ValueError(f"its class_names must be a list; got {class_names!r}")
    return Preprocessing(class_names=class_names, **arrays)
