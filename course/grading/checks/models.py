"""Checks of the networks and of their L2 penalty.

The judge sets the parameters of a network, so its loss and its initialization are judged separately.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from course.grading.compare import FaultError, agree, agree_in_value, as_array, items
from course.grading.sandbox.runtime.protocol import Kept
from course.grading.subject import Checks, Subject
from cs231n.classifiers.cnn import ThreeLayerConvNet
from cs231n.classifiers.fc_net import FullyConnectedNet, TwoLayerNet
from cs231n.classifiers.regularization import add_l2_penalty

FC_NET, CNN = "cs231n.classifiers.fc_net", "cs231n.classifiers.cnn"


Options = dict[str, Any]  # {name: value}, arguments of a network's class
Params = dict[str, NDArray[Any]]
Compare = Callable[..., None]  # `agree` or `agree_in_value`


@dataclass(frozen=True)
class Net:
    """How to try a kind of network.

    - cls: the reference's class
    - module: the name of its module
    - draw: draws the arguments of the class
    """

    cls: type[Any]
    module: str
    draw: Callable[[Subject], Options]

    @property
    def target(self) -> str:
        return f"{self.module}:{self.cls.__name__}"

    def build(self, subject: Subject, options: Options) -> tuple[Kept, Any]:
        """Return the submission's network, in the worker, and the reference's, with the same parameters."""
        options = self.draw(subject) | options
        reference = self.cls(**_with_dtype(options))
        for name, param in reference.params.items():
            reference.params[name] = _random_param(subject, name, param)
        model = subject.create(self.target, **options)
        subject.command("set", owner=model, name="params", value=dict(reference.params))
        return model, reference


def _two_layer(subject: Subject) -> Options:
    return {
        "input_dim": subject.size(5, 9),
        "hidden_dim": subject.size(4, 8),
        "num_classes": subject.size(3, 5),
    }


def _fully_connected(subject: Subject) -> Options:
    hidden = [subject.size(4, 8) for _ in range(3)]
    sizes = {"hidden_dims": hidden, "input_dim": subject.size(5, 9), "num_classes": subject.size(3, 5)}
    return sizes | {"dtype": np.dtype(np.float64)}


def _convolutional(subject: Subject) -> Options:
    sizes = {"input_dim": (subject.size(2, 3), 6, 8), "num_filters": subject.size(2, 4), "filter_size": 3}
    return sizes | {"hidden_dim": subject.size(5, 9), "num_classes": 4, "dtype": np.dtype(np.float64)}


TWO_LAYER = Net(TwoLayerNet, FC_NET, _two_layer)
FULLY_CONNECTED = Net(FullyConnectedNet, FC_NET, _fully_connected)
CONVOLUTIONAL = Net(ThreeLayerConvNet, CNN, _convolutional)


def _with_dtype(options: Options) -> Options:
    """Return the options for the reference, with np.float32 in place of np.dtype("float32")."""
    return {key: value.type if isinstance(value, np.dtype) else value for key, value in options.items()}


def _random_param(subject: Subject, name: str, param: NDArray[Any]) -> NDArray[Any]:
    """Draw a parameter: scales near 1, and weights that preserve the size of the signal."""
    noise = subject.draw(*param.shape).astype(param.dtype)
    if name.startswith("gamma"):
        scale: NDArray[Any] = 1 + noise / 4
        return scale
    values: NDArray[Any] = noise / math.sqrt(param[..., 0].size if name.startswith("W") else 4)
    return values


def _minibatch(subject: Subject, reference: Any, count: int = 4) -> tuple[NDArray[Any], NDArray[Any]]:
    """Draw inputs for a network, images or rows, and labels."""
    first = reference.params["W1"]
    shape = (first.shape[1], 6, 8) if first.ndim == 4 else first.shape[:1]
    last = max(int(name[1:]) for name in reference.params if name.startswith("W"))
    classes = len(reference.params[f"b{last}"])
    return subject.draw(count, *shape), subject.labels(count, classes)


@dataclass(frozen=True)
class ScoresCheck:
    """Checks the scores, which loss(X) returns without labels."""

    net: Net
    options: Options = field(default_factory=dict)

    def __call__(self, subject: Subject) -> None:
        model, reference = self.net.build(subject, self.options)
        X, _ = _minibatch(subject, reference)
        scores = subject.call((model, "loss"), X)["result"]
        agree_in_value("the scores", scores, reference.loss(X))


@dataclass(frozen=True)
class LossCheck:
    """Checks the loss and every gradient of a training step."""

    net: Net
    options: Options = field(default_factory=dict)
    compare: Compare = agree_in_value

    def __call__(self, subject: Subject) -> None:
        model, reference = self.net.build(subject, self.options)
        X, y = _minibatch(subject, reference)
        result = subject.call((model, "loss"), X, y)["result"]
        loss, grads = items("loss(X, y)", result, 2)
        expected, expected_grads = reference.loss(X, y)
        agree_in_value("the loss", loss, expected)
        known = {"inputs": {"X": X, **reference.params}, "reg": reference.reg, "numeric": expected_grads}
        _compare_gradients(grads, expected_grads, self.compare, known)


@dataclass(frozen=True)
class ScoresAfterTrainingCheck:
    """Checks the scores after a training step: they use the running averages, and no dropout."""

    net: Net
    options: Options

    def __call__(self, subject: Subject) -> None:
        model, reference = self.net.build(subject, self.options)
        X, y = _minibatch(subject, reference)
        subject.call((model, "loss"), X, y)
        reference.loss(X, y)
        agree_in_value("the scores", subject.call((model, "loss"), X)["result"], reference.loss(X))


@dataclass(frozen=True)
class InitialParamsCheck:
    """Checks names, shapes, dtypes and values of the initial parameters.

    The weights are drawn from NumPy's global generator in the order W1, W2, ..., so a seed determines them.
    """

    net: Net
    options: Options = field(default_factory=dict)

    def __call__(self, subject: Subject) -> None:
        weight_scale = float(subject.rng.uniform(0.5, 2))
        options = self.net.draw(subject) | self.options | {"weight_scale": weight_scale}
        seed = subject.size(0, 10**6)
        subject.command("seed", number=seed)
        model = subject.create(self.net.target, **options)
        params = subject.command("get", owner=model, name="params")
        np.random.seed(seed)
        expected = self.net.cls(**_with_dtype(options)).params
        if not isinstance(params, dict) or set(params) != set(expected):
            raise FaultError(f"params should have the entries {', '.join(sorted(expected))}")
        for name, param in expected.items():
            agree(name, params[name], param)


@dataclass(frozen=True)
class PenaltyCheck:
    """Checks the L2 penalty: the loss, and the gradients, which are changed in place."""

    reg: float

    def __call__(self, subject: Subject) -> None:
        params = {
            "W1": subject.draw(3, 4),
            "b1": subject.draw(4),
            "gamma1": subject.draw(4),
            "W2": subject.draw(4, 2),
        }
        grads = {name: subject.draw(*param.shape) for name, param in params.items()}
        loss = float(subject.rng.uniform(1, 2))
        expected_grads = {name: grad.copy() for name, grad in grads.items()}
        expected = add_l2_penalty(loss, expected_grads, params, self.reg)
        call = subject.call("cs231n.classifiers.regularization:add_l2_penalty", loss, grads, params, self.reg)
        agree_in_value("the loss", call["result"], expected)
        known = {"inputs": params, "reg": self.reg}
        _compare_gradients(call["args"][1], expected_grads, agree_in_value, known)


def _compare_gradients(grads: Any, expected: Params, compare: Compare, known: dict[str, Any]) -> None:
    if not isinstance(grads, dict):
        raise FaultError("loss(X, y) should return the gradients as a dictionary")
    for name, grad in expected.items():
        if name not in grads:
            raise FaultError(f"loss(X, y) returns no gradient of {name}")
        if np.abs(grad).max(initial=0) < 1e-9:  # zero except for rounding, as of a bias before normalization
            _nearly_zero(name, grads[name], grad.shape)
        else:
            compare(f"the gradient of {name}", grads[name], grad, known | {"name": name})


def _nearly_zero(name: str, grad: Any, shape: tuple[int, ...]) -> None:
    grad = as_array(f"the gradient of {name}", grad)
    if grad.shape != shape or not np.abs(grad).max(initial=0) < 1e-6:
        raise FaultError(f"the gradient of {name} should be zero here")


FLOAT32: Options = {"dtype": np.dtype(np.float32)}
REGULARIZED: Options = {"reg": 0.7}
BATCHNORM: Options = {"normalization": "batchnorm"}
LAYERNORM: Options = {"normalization": "layernorm"}
DROPOUT: Options = {"dropout": 0.6, "seed": 17}

MODEL_CHECKS: Checks = {
    "add_l2_penalty": [
        ("the penalty and its gradients", PenaltyCheck(0.7)),
        ("strength 0", PenaltyCheck(0.0)),
    ],
    "TwoLayerNet": [("initial parameters", InitialParamsCheck(TWO_LAYER))],
    "TwoLayerNet.loss": [
        ("loss and gradients", LossCheck(TWO_LAYER)),
        ("scores", ScoresCheck(TWO_LAYER)),
        ("regularization", LossCheck(TWO_LAYER, REGULARIZED)),
    ],
    "FullyConnectedNet": [
        ("initial parameters", InitialParamsCheck(FULLY_CONNECTED)),
        ("with normalization", InitialParamsCheck(FULLY_CONNECTED, BATCHNORM)),
        ("in float32", InitialParamsCheck(FULLY_CONNECTED, FLOAT32)),
    ],
    "FullyConnectedNet.loss": [
        ("loss and gradients", LossCheck(FULLY_CONNECTED)),
        ("scores", ScoresCheck(FULLY_CONNECTED)),
        ("regularization", LossCheck(FULLY_CONNECTED, REGULARIZED)),
        ("one hidden layer", LossCheck(FULLY_CONNECTED, {"hidden_dims": [7]})),
        ("dtype: float32 stays float32", LossCheck(FULLY_CONNECTED, FLOAT32, agree)),
    ],
    "FullyConnectedNet.loss, normalized": [
        ("batch normalization", LossCheck(FULLY_CONNECTED, BATCHNORM | {"reg": 0.3})),
        ("layer normalization", LossCheck(FULLY_CONNECTED, LAYERNORM | {"reg": 0.3})),
        ("testing after training", ScoresAfterTrainingCheck(FULLY_CONNECTED, BATCHNORM)),
    ],
    "FullyConnectedNet.loss, with dropout": [
        ("loss and gradients", LossCheck(FULLY_CONNECTED, DROPOUT)),
        ("testing after training", ScoresAfterTrainingCheck(FULLY_CONNECTED, DROPOUT)),
    ],
    "ThreeLayerConvNet": [
        ("initial parameters", InitialParamsCheck(CONVOLUTIONAL)),
        ("in float32", InitialParamsCheck(CONVOLUTIONAL, FLOAT32)),
    ],
    "ThreeLayerConvNet.loss": [
        ("loss and gradients", LossCheck(CONVOLUTIONAL)),
        ("scores", ScoresCheck(CONVOLUTIONAL)),
        ("regularization", LossCheck(CONVOLUTIONAL, REGULARIZED)),
        ("dtype: float32 stays float32", LossCheck(CONVOLUTIONAL, FLOAT32, agree)),
    ],
}
