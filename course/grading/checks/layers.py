"""Checks of the layers: on the same numbers, the learner's layer must give what the reference's gives.

A `LayerTrial` says how to draw the arguments of a layer. The forward pass is called with these arguments,
then again with each of the variants. The backward pass gets the cache of the submission's own forward pass,
because the contents of the cache are private to the two.
"""

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from course.grading.compare import agree, agree_in_value, items, unmodified
from course.grading.sandbox.runtime.protocol import Kept
from course.grading.subject import Check, Checks, Reply, Subject
from cs231n import layers

MODULE = "cs231n.layers"

Arguments = dict[str, Any]  # {name: value}, in the order of the forward pass's arguments
Draw = Callable[[Subject, DTypeLike], Arguments]
Vary = Callable[[Subject, Arguments], Arguments]
Compare = Callable[..., None]  # `agree` or `agree_in_value`


@dataclass(frozen=True)
class LayerTrial:
    """How to try a layer.

    - draw: draws the arguments of the forward pass, with arrays of a dtype
    - gradients: the names of the arguments whose gradients the backward pass returns, in order
    - variants: {property: function that changes the drawn arguments}
    - state: the keys of the parameter dictionary that the forward pass has to write
    """

    draw: Draw
    gradients: tuple[str, ...]
    variants: dict[str, Vary] = field(default_factory=dict)
    state: tuple[str, ...] = ()


def _as_drawn(subject: Subject, arguments: Arguments) -> Arguments:
    return arguments


@dataclass(frozen=True)
class ForwardCheck:
    """Checks that a forward pass returns the reference's output and writes the reference's state."""

    name: str
    trial: LayerTrial
    vary: Vary = _as_drawn
    dtype: DTypeLike = np.float64
    compare: Compare = agree_in_value

    def __call__(self, subject: Subject) -> None:
        arguments = self.vary(subject, self.trial.draw(subject, self.dtype))
        call = _call_forward(subject, self.name, arguments)
        reference_arguments = deepcopy(arguments)
        expected, _ = getattr(layers, self.name)(*reference_arguments.values())
        actual, _ = items(self.name, call["result"], 2)
        self.compare("out", actual, expected)
        self._compare_state(call, reference_arguments)

    def _compare_state(self, call: Reply, reference_arguments: Arguments) -> None:
        """Compare the parameter dictionary, which is the last argument, after the call."""
        param_name, expected = list(reference_arguments.items())[-1]
        actual = call["args"][-1]
        for key in self.trial.state:
            if key in expected:
                agree_in_value(f"{param_name}['{key}']", actual.get(key), expected[key])


@dataclass(frozen=True)
class ArgumentsCheck:
    """Checks that a forward pass does not modify the arrays among its arguments."""

    name: str
    trial: LayerTrial

    def __call__(self, subject: Subject) -> None:
        arguments = self.trial.draw(subject, np.float64)
        call = _call_forward(subject, self.name, arguments)
        items(self.name, call["result"], 2)
        arrays = {key: value for key, value in arguments.items() if isinstance(value, np.ndarray)}
        unmodified(arrays, dict(zip(arguments, call["args"], strict=True)))


@dataclass(frozen=True)
class BackwardCheck:
    """Checks that a backward pass returns the reference's gradients and does not modify dout."""

    name: str
    forward_name: str
    trial: LayerTrial
    vary: Vary = _as_drawn
    dtype: DTypeLike = np.float64
    compare: Compare = agree_in_value

    def __call__(self, subject: Subject) -> None:
        arguments = self.vary(subject, self.trial.draw(subject, self.dtype))
        out, cache = getattr(layers, self.forward_name)(*deepcopy(list(arguments.values())))
        dout = subject.draw(*out.shape, dtype=self.dtype)
        forward = _call_forward(subject, self.forward_name, arguments)
        items(self.forward_name, forward["result"], 2)
        call = subject.call(f"{MODULE}:{self.name}", dout, Kept(forward["call"])[1])
        expected = getattr(layers, self.name)(dout, cache)
        self._compare_gradients(call["result"], expected, arguments, out, dout)
        unmodified({"dout": dout}, {"dout": call["args"][0]})

    def _compare_gradients(
        self, result: Any, expected: Any, arguments: Arguments, out: NDArray[Any], dout: NDArray[Any]
    ) -> None:
        gradients = self.trial.gradients
        if len(gradients) == 1:
            result, expected = (result,), (expected,)
        items(self.name, result, len(gradients))
        known = _known(self.trial, arguments, out, dout, expected)
        for name, actual, right in zip(gradients, result, expected, strict=True):
            self.compare(f"d{name}", actual, right, known | {"name": name})


def forward_checks(name: str, trial: LayerTrial) -> list[tuple[str, Check]]:
    """Return the checks of a forward pass."""
    checks: list[tuple[str, Check]] = [("values", ForwardCheck(name, trial))]
    checks += [(words, ForwardCheck(name, trial, vary)) for words, vary in trial.variants.items()]
    in_float32 = ForwardCheck(name, trial, dtype=np.float32, compare=agree)
    checks.append(("dtype: float32 stays float32", in_float32))
    checks.append(("arguments are not modified", ArgumentsCheck(name, trial)))
    return checks


def backward_checks(name: str, forward_name: str, trial: LayerTrial) -> list[tuple[str, Check]]:
    """Return the checks of a backward pass."""
    checks: list[tuple[str, Check]] = [("values", BackwardCheck(name, forward_name, trial))]
    checks += [
        (words, BackwardCheck(name, forward_name, trial, vary)) for words, vary in trial.variants.items()
    ]
    in_float32 = BackwardCheck(name, forward_name, trial, dtype=np.float32, compare=agree)
    checks.append(("dtype: float32 stays float32", in_float32))
    return checks


def _known(
    trial: LayerTrial, arguments: Arguments, out: NDArray[Any], dout: NDArray[Any], expected: Any
) -> dict[str, Any]:
    """Return what is known about a gradient, as fields of a diagnosis's `Case`."""
    settings = {key: value for key, value in arguments.items() if isinstance(value, int)}
    for value in arguments.values():
        settings |= value if isinstance(value, dict) else {}
    return {
        "inputs": {name: arguments[name] for name in trial.gradients},
        "out": out,
        "dout": dout,
        "numeric": dict(zip(trial.gradients, expected, strict=True)),
        "settings": settings,
    }


def _call_forward(subject: Subject, name: str, arguments: Arguments) -> Reply:
    return subject.call(f"{MODULE}:{name}", *arguments.values())


def _with_param(name: str, **changes: Any) -> Vary:
    """Return a variant that changes entries of the parameter dictionary `name`."""
    return lambda subject, arguments: arguments | {name: arguments[name] | changes}


def _affine(subject: Subject, dtype: DTypeLike) -> Arguments:
    shape = subject.size(2, 5), subject.size(2, 4), subject.size(2, 4)
    outputs = subject.size(2, 7)
    w = subject.draw(shape[1] * shape[2], outputs, dtype=dtype)
    return {"x": subject.draw(*shape, dtype=dtype), "w": w, "b": subject.draw(outputs, dtype=dtype)}


def _one_example(subject: Subject, arguments: Arguments) -> Arguments:
    return arguments | {"x": arguments["x"][:1]}


def _deeper(subject: Subject, arguments: Arguments) -> Arguments:
    x = arguments["x"]
    return arguments | {"x": x.reshape(*x.shape, 1)}


def _relu(subject: Subject, dtype: DTypeLike) -> Arguments:
    x = subject.draw(subject.size(2, 4), subject.size(2, 4), subject.size(2, 4), dtype=dtype)
    x[0, 0, 0] = 0
    return {"x": x}


def _features(subject: Subject, dtype: DTypeLike, param_name: str, param: Any) -> Arguments:
    N, D = subject.size(4, 7), subject.size(3, 6)
    x = (3 * subject.draw(N, D) + 5).astype(dtype)
    gamma, beta = subject.draw(D, dtype=dtype), subject.draw(D, dtype=dtype)
    return {"x": x, "gamma": gamma, "beta": beta, param_name: param}


def _batchnorm(subject: Subject, dtype: DTypeLike) -> Arguments:
    arguments = _features(subject, dtype, "bn_param", None)
    return arguments | {"bn_param": _bn_param(subject, arguments["x"].shape[1], dtype)}


def _bn_param(subject: Subject, size: int, dtype: DTypeLike) -> dict[str, Any]:
    mean, var = subject.draw(size, dtype=dtype), subject.rng.uniform(0.5, 2, size).astype(dtype)
    return {"mode": "train", "running_mean": mean, "running_var": var}


def _without_averages(subject: Subject, arguments: Arguments) -> Arguments:
    return arguments | {"bn_param": {"mode": "train", "momentum": 0.7}}


def _layernorm(subject: Subject, dtype: DTypeLike) -> Arguments:
    return _features(subject, dtype, "ln_param", {})


def _dropout(subject: Subject, dtype: DTypeLike) -> Arguments:
    shape = subject.size(20, 30), subject.size(20, 30)
    param = {"mode": "train", "p": subject.rng.uniform(0.3, 0.7), "seed": subject.size(0, 10**6)}
    return {"x": subject.draw(*shape, dtype=dtype), "dropout_param": param}


def _images(
    subject: Subject, dtype: DTypeLike, height: int, width: int, channels: int | None = None
) -> NDArray[Any]:
    return subject.draw(subject.size(2, 3), channels or subject.size(2, 4), height, width, dtype=dtype)


def _convolution(subject: Subject, dtype: DTypeLike) -> Arguments:
    x = _images(subject, dtype, subject.size(5, 7), subject.size(8, 9))
    w = subject.draw(subject.size(2, 4), x.shape[1], 3, 3, dtype=dtype)
    return {"x": x, "w": w, "b": subject.draw(len(w), dtype=dtype), "conv_param": {"stride": 1, "pad": 1}}


def _strided(subject: Subject, arguments: Arguments) -> Arguments:
    """Use stride 2 and a filter that is not square, on an image of a matching size."""
    x = _images(subject, np.float64, 7, 8, channels=arguments["x"].shape[1])
    w = subject.draw(len(arguments["w"]), x.shape[1], 3, 2)
    return arguments | {"x": x, "w": w, "conv_param": {"stride": 2, "pad": 0}}


def _pooling(subject: Subject, dtype: DTypeLike) -> Arguments:
    x = _images(subject, dtype, 6, 8)
    return {"x": x, "pool_param": {"pool_height": 2, "pool_width": 2, "stride": 2}}


def _overlapping(subject: Subject, arguments: Arguments) -> Arguments:
    x = _images(subject, np.float64, 7, 5)
    return arguments | {"x": x, "pool_param": {"pool_height": 3, "pool_width": 2, "stride": 1}}


def _ties(subject: Subject, arguments: Arguments) -> Arguments:
    return arguments | {"x": np.round(arguments["x"])}


def _spatial_batchnorm(subject: Subject, dtype: DTypeLike) -> Arguments:
    x = (3 * _images(subject, np.float64, 3, 5) + 5).astype(dtype)
    C = x.shape[1]
    gamma, beta = subject.draw(C, dtype=dtype), subject.draw(C, dtype=dtype)
    return {"x": x, "gamma": gamma, "beta": beta, "bn_param": _bn_param(subject, C, dtype)}


def _groupnorm(subject: Subject, dtype: DTypeLike) -> Arguments:
    x = (3 * _images(subject, np.float64, 3, 5, channels=6) + 5).astype(dtype)
    gamma, beta = subject.draw(1, 6, 1, 1, dtype=dtype), subject.draw(1, 6, 1, 1, dtype=dtype)
    return {"x": x, "gamma": gamma, "beta": beta, "G": int(subject.rng.choice([2, 3])), "gn_param": {}}


def _flat_gamma(subject: Subject, arguments: Arguments) -> Arguments:
    return arguments | {name: arguments[name].reshape(-1) for name in ("gamma", "beta")}


def _one_group(subject: Subject, arguments: Arguments) -> Arguments:
    return arguments | {"G": 1}


AVERAGES = ("running_mean", "running_var")
BATCHNORM_VARIANTS = {
    "test mode": _with_param("bn_param", mode="test", eps=0.05),
    "without running averages at first, another momentum": _without_averages,
    "another eps": _with_param("bn_param", eps=0.1),
}
TRIALS = {
    "affine": LayerTrial(_affine, ("x", "w", "b"), {"one example": _one_example, "more axes": _deeper}),
    "relu": LayerTrial(_relu, ("x",)),
    "batchnorm": LayerTrial(_batchnorm, ("x", "gamma", "beta"), BATCHNORM_VARIANTS, AVERAGES),
    "layernorm": LayerTrial(
        _layernorm, ("x", "gamma", "beta"), {"another eps": _with_param("ln_param", eps=0.1)}
    ),
    "dropout": LayerTrial(_dropout, ("x",), {"test mode": _with_param("dropout_param", mode="test")}),
    "conv": LayerTrial(
        _convolution,
        ("x", "w", "b"),
        {"stride 2, no padding": _strided, "padding 2": _with_param("conv_param", pad=2)},
    ),
    "max_pool": LayerTrial(_pooling, ("x",), {"overlapping windows": _overlapping, "ties": _ties}),
    "spatial_batchnorm": LayerTrial(_spatial_batchnorm, ("x", "gamma", "beta"), BATCHNORM_VARIANTS, AVERAGES),
    "spatial_groupnorm": LayerTrial(
        _groupnorm,
        ("x", "gamma", "beta"),
        {"gamma and beta of shape (C,)": _flat_gamma, "one group": _one_group},
    ),
}


def _all_checks() -> Checks:
    checks: Checks = {}
    for layer, trial in TRIALS.items():
        suffix = "_naive" if layer in ("conv", "max_pool") else ""
        forward, backward = f"{layer}_forward{suffix}", f"{layer}_backward{suffix}"
        checks[forward] = forward_checks(forward, trial)
        checks[backward] = backward_checks(backward, forward, trial)
    checks["batchnorm_backward_alt"] = backward_checks(
        "batchnorm_backward_alt", "batchnorm_forward", TRIALS["batchnorm"]
    )
    return checks


LAYER_CHECKS = _all_checks()
