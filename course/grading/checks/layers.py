"""Checks of the layers: the same layer of the reference, on the same numbers, must give the same.

A `Case` says how to draw a layer's arguments. The forward pass is called with them as they are, and then
again with what the exercise's other checks vary. The backward pass gets the cache of the submission's own
forward pass, as that is private to the pair.
"""

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, field

import numpy as np

from course.grading.compare import agree, agree_in_value, items, unmodified
from course.grading.sandbox.runtime.protocol import Kept
from cs231n import layers

MODULE = "cs231n.layers"


@dataclass(frozen=True)
class Case:
    """How a layer is tried.

    - draw: from a Subject and a dtype to {argument: value}, in the order of the forward's arguments
    - gradients: the names of the arguments that the backward pass returns gradients of
    - variants: {property: function that changes the drawn arguments}, beyond the plain case
    - state: the entries of its parameter dictionary that the forward pass has to write
    """

    draw: Callable
    gradients: tuple
    variants: dict = field(default_factory=dict)
    state: tuple = ()


def forward_checks(name, case):
    """The checks of a forward function."""

    def check(vary, dtype=np.float64, compare=agree_in_value):
        def run(subject):
            arguments = vary(subject, case.draw(subject, dtype))
            call = _call_forward(subject, name, arguments)
            _compare_forward(name, call, arguments, case, compare)

        return run

    checks = [("values", check(_as_drawn))]
    checks += [(words, check(vary)) for words, vary in case.variants.items()]
    checks.append(("dtype: float32 stays float32", check(_as_drawn, np.float32, agree)))
    checks.append(("arguments are left alone", lambda subject: _arguments_left_alone(subject, name, case)))
    return checks


def backward_checks(name, forward_name, case):
    """The checks of a backward function."""

    def check(vary, dtype=np.float64, compare=agree_in_value):
        return lambda subject: _check_backward(subject, name, forward_name, case, vary, dtype, compare)

    checks = [("values", check(_as_drawn))]
    checks += [(words, check(vary)) for words, vary in case.variants.items()]
    checks.append(("dtype: float32 stays float32", check(_as_drawn, np.float32, agree)))
    return checks


def _check_backward(subject, name, forward_name, case, vary, dtype, compare):
    arguments = vary(subject, case.draw(subject, dtype))
    out, cache = _reference(forward_name, arguments)
    dout = subject.draw(*out.shape, dtype=dtype)
    call = _call_forward(subject, forward_name, arguments)
    items(forward_name, call["result"], 2)
    call = subject.call(f"{MODULE}:{name}", dout, Kept(call["call"])[1])
    expected = getattr(layers, name)(dout, cache)
    result = call["result"]
    if len(case.gradients) == 1:
        result, expected = (result,), (expected,)
    items(name, result, len(case.gradients))
    known = _known(case, arguments, out, dout, expected)
    for argument, actual, right in zip(case.gradients, result, expected, strict=True):
        compare(f"d{argument}", actual, right, known | {"name": argument})
    unmodified({"dout": dout}, {"dout": call["args"][0]})


def _known(case, arguments, out, dout, expected):
    """What a diagnosis of a wrong gradient can go by."""
    settings = {key: value for key, value in arguments.items() if isinstance(value, int)}
    for value in arguments.values():
        settings |= value if isinstance(value, dict) else {}
    return {
        "inputs": {name: arguments[name] for name in case.gradients},
        "out": out,
        "dout": dout,
        "numeric": dict(zip(case.gradients, expected, strict=True)),
        "settings": settings,
    }


def _call_forward(subject, name, arguments):
    return subject.call(f"{MODULE}:{name}", *arguments.values())


def _reference(name, arguments):
    return getattr(layers, name)(*deepcopy(list(arguments.values())))


def _compare_forward(name, call, arguments, case, compare):
    reference_arguments = deepcopy(arguments)
    expected, _ = getattr(layers, name)(*reference_arguments.values())
    actual, _ = items(name, call["result"], 2)
    compare("out", actual, expected)
    *_, param = reference_arguments.values()
    for key in case.state:
        if key in param:
            agree_in_value(f"{list(arguments)[-1]}['{key}']", call["args"][-1].get(key), param[key])


def _arguments_left_alone(subject, name, case):
    arguments = case.draw(subject, np.float64)
    call = _call_forward(subject, name, arguments)
    items(name, call["result"], 2)
    arrays = {key: value for key, value in arguments.items() if isinstance(value, np.ndarray)}
    unmodified(arrays, dict(zip(arguments, call["args"], strict=True)))


def _as_drawn(subject, arguments):
    return arguments


def _with_param(name, **changes):
    """A variant that changes entries of the parameter dictionary `name`."""
    return lambda subject, arguments: arguments | {name: arguments[name] | changes}


def _affine(subject, dtype):
    shape = subject.size(2, 5), subject.size(2, 4), subject.size(2, 4)
    outputs = subject.size(2, 7)
    w = subject.draw(shape[1] * shape[2], outputs, dtype=dtype)
    return {"x": subject.draw(*shape, dtype=dtype), "w": w, "b": subject.draw(outputs, dtype=dtype)}


def _one_example(subject, arguments):
    return arguments | {"x": arguments["x"][:1]}


def _deeper(subject, arguments):
    x = arguments["x"]
    return arguments | {"x": x.reshape(*x.shape, 1)}


def _relu(subject, dtype):
    x = subject.draw(subject.size(2, 4), subject.size(2, 4), subject.size(2, 4), dtype=dtype)
    x[0, 0, 0] = 0
    return {"x": x}


def _features(subject, dtype, param_name, param):
    N, D = subject.size(4, 7), subject.size(3, 6)
    x = (3 * subject.draw(N, D) + 5).astype(dtype)
    gamma, beta = subject.draw(D, dtype=dtype), subject.draw(D, dtype=dtype)
    return {"x": x, "gamma": gamma, "beta": beta, param_name: param}


def _batchnorm(subject, dtype):
    arguments = _features(subject, dtype, "bn_param", None)
    return arguments | {"bn_param": _bn_param(subject, arguments["x"].shape[1], dtype)}


def _bn_param(subject, size, dtype):
    mean, var = subject.draw(size, dtype=dtype), subject.rng.uniform(0.5, 2, size).astype(dtype)
    return {"mode": "train", "running_mean": mean, "running_var": var}


def _without_averages(subject, arguments):
    return arguments | {"bn_param": {"mode": "train", "momentum": 0.7}}


def _layernorm(subject, dtype):
    return _features(subject, dtype, "ln_param", {})


def _dropout(subject, dtype):
    shape = subject.size(20, 30), subject.size(20, 30)
    param = {"mode": "train", "p": subject.rng.uniform(0.3, 0.7), "seed": subject.size(0, 10**6)}
    return {"x": subject.draw(*shape, dtype=dtype), "dropout_param": param}


def _images(subject, dtype, height, width, channels=None):
    return subject.draw(subject.size(2, 3), channels or subject.size(2, 4), height, width, dtype=dtype)


def _convolution(subject, dtype):
    x = _images(subject, dtype, subject.size(5, 7), subject.size(8, 9))
    w = subject.draw(subject.size(2, 4), x.shape[1], 3, 3, dtype=dtype)
    return {"x": x, "w": w, "b": subject.draw(len(w), dtype=dtype), "conv_param": {"stride": 1, "pad": 1}}


def _strided(subject, arguments):
    """Stride 2, and a filter that is not square, on an image that it fits."""
    x = _images(subject, np.float64, 7, 8, channels=arguments["x"].shape[1])
    w = subject.draw(len(arguments["w"]), x.shape[1], 3, 2)
    return arguments | {"x": x, "w": w, "conv_param": {"stride": 2, "pad": 0}}


def _pooling(subject, dtype):
    x = _images(subject, dtype, 6, 8)
    return {"x": x, "pool_param": {"pool_height": 2, "pool_width": 2, "stride": 2}}


def _overlapping(subject, arguments):
    x = _images(subject, np.float64, 7, 5)
    return arguments | {"x": x, "pool_param": {"pool_height": 3, "pool_width": 2, "stride": 1}}


def _ties(subject, arguments):
    return arguments | {"x": np.round(arguments["x"])}


def _spatial_batchnorm(subject, dtype):
    x = (3 * _images(subject, np.float64, 3, 5) + 5).astype(dtype)
    C = x.shape[1]
    gamma, beta = subject.draw(C, dtype=dtype), subject.draw(C, dtype=dtype)
    return {"x": x, "gamma": gamma, "beta": beta, "bn_param": _bn_param(subject, C, dtype)}


def _groupnorm(subject, dtype):
    x = (3 * _images(subject, np.float64, 3, 5, channels=6) + 5).astype(dtype)
    gamma, beta = subject.draw(1, 6, 1, 1, dtype=dtype), subject.draw(1, 6, 1, 1, dtype=dtype)
    return {"x": x, "gamma": gamma, "beta": beta, "G": int(subject.rng.choice([2, 3])), "gn_param": {}}


def _flat_gamma(subject, arguments):
    return arguments | {name: arguments[name].reshape(-1) for name in ("gamma", "beta")}


AVERAGES = ("running_mean", "running_var")
BATCHNORM_VARIANTS = {
    "test mode": _with_param("bn_param", mode="test", eps=0.05),
    "running averages that start at zero, another momentum": _without_averages,
    "another eps": _with_param("bn_param", eps=0.1),
}
CASES = {
    "affine": Case(_affine, ("x", "w", "b"), {"one example": _one_example, "more axes": _deeper}),
    "relu": Case(_relu, ("x",)),
    "batchnorm": Case(_batchnorm, ("x", "gamma", "beta"), BATCHNORM_VARIANTS, AVERAGES),
    "layernorm": Case(_layernorm, ("x", "gamma", "beta"), {"another eps": _with_param("ln_param", eps=0.1)}),
    "dropout": Case(_dropout, ("x",), {"test mode": _with_param("dropout_param", mode="test")}),
    "conv": Case(
        _convolution,
        ("x", "w", "b"),
        {"stride 2, no padding": _strided, "padding 2": _with_param("conv_param", pad=2)},
    ),
    "max_pool": Case(_pooling, ("x",), {"windows that overlap": _overlapping, "ties": _ties}),
    "spatial_batchnorm": Case(_spatial_batchnorm, ("x", "gamma", "beta"), BATCHNORM_VARIANTS, AVERAGES),
    "spatial_groupnorm": Case(
        _groupnorm,
        ("x", "gamma", "beta"),
        {"gamma and beta of shape (C,)": _flat_gamma, "one group": lambda _, arguments: arguments | {"G": 1}},
    ),
}


def _all_checks():
    checks = {}
    for layer, case in CASES.items():
        suffix = "_naive" if layer in ("conv", "max_pool") else ""
        forward, backward = f"{layer}_forward{suffix}", f"{layer}_backward{suffix}"
        checks[forward] = forward_checks(forward, case)
        checks[backward] = backward_checks(backward, forward, case)
    checks["batchnorm_backward_alt"] = backward_checks(
        "batchnorm_backward_alt", "batchnorm_forward", CASES["batchnorm"]
    )
    return checks


LAYER_CHECKS = _all_checks()
