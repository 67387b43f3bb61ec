"""Checks of the networks and of their L2 penalty.

Parameters are set by the judge, so that a network is judged by what it computes with them, and its
initialization for itself.
"""

import math

import numpy as np

from course.grading.compare import FaultError, agree, agree_in_value, as_array, items
from course.grading.sandbox.runtime.protocol import Kept
from cs231n.classifiers.cnn import ThreeLayerConvNet
from cs231n.classifiers.fc_net import FullyConnectedNet, TwoLayerNet
from cs231n.classifiers.regularization import add_l2_penalty

FC_NET, CNN = "cs231n.classifiers.fc_net", "cs231n.classifiers.cnn"


class Net:
    """How a network of one kind is tried: the reference's class, its module, how to draw its arguments."""

    def __init__(self, cls, module, draw):
        self.cls, self.target, self.draw = cls, f"{module}:{cls.__name__}", draw

    def build(self, subject, **options):
        """The submission's network, kept in the worker, and the reference's, with the same parameters."""
        options = self.draw(subject) | options
        reference = self.cls(**_with_dtype(options))
        for name, param in reference.params.items():
            reference.params[name] = _random_param(subject, name, param)
        model = Kept(subject.call(self.target, **options)["call"])
        subject.command("set", owner=model, name="params", value=dict(reference.params))
        return model, reference


def _two_layer(subject):
    return {
        "input_dim": subject.size(5, 9),
        "hidden_dim": subject.size(4, 8),
        "num_classes": subject.size(3, 5),
    }


def _fully_connected(subject):
    hidden = [subject.size(4, 8) for _ in range(3)]
    sizes = {"hidden_dims": hidden, "input_dim": subject.size(5, 9), "num_classes": subject.size(3, 5)}
    return sizes | {"dtype": np.dtype(np.float64)}


def _convolutional(subject):
    sizes = {"input_dim": (subject.size(2, 3), 6, 8), "num_filters": subject.size(2, 4), "filter_size": 3}
    return sizes | {"hidden_dim": subject.size(5, 9), "num_classes": 4, "dtype": np.dtype(np.float64)}


TWO_LAYER = Net(TwoLayerNet, FC_NET, _two_layer)
FULLY_CONNECTED = Net(FullyConnectedNet, FC_NET, _fully_connected)
CONVOLUTIONAL = Net(ThreeLayerConvNet, CNN, _convolutional)


def _with_dtype(options):
    """The options as the reference takes them: without the margin of a dtype's spelling."""
    return {key: value.type if isinstance(value, np.dtype) else value for key, value in options.items()}


def _random_param(subject, name, param):
    """Random values: scales near 1, and weights that keep the signal's size."""
    noise = subject.draw(*param.shape).astype(param.dtype)
    if name.startswith("gamma"):
        return 1 + noise / 4
    return noise / math.sqrt(param[..., 0].size if name.startswith("W") else 4)


def _minibatch(subject, reference, count=4):
    """Images or rows for a network, and labels."""
    first = reference.params["W1"]
    shape = (first.shape[1], 6, 8) if first.ndim == 4 else first.shape[:1]
    classes = reference.loss(np.zeros((1, *shape))).shape[1]
    return subject.draw(count, *shape), subject.labels(count, classes)


def _scores(net, **options):
    def check(subject):
        model, reference = net.build(subject, **options)
        X, _ = _minibatch(subject, reference)
        scores = subject.call((model, "loss"), X)["result"]
        agree_in_value("the scores", scores, reference.loss(X))

    return check


def _loss(net, exact=agree_in_value, **options):
    """The loss and every gradient of a training step."""

    def check(subject):
        model, reference = net.build(subject, **options)
        X, y = _minibatch(subject, reference)
        result = subject.call((model, "loss"), X, y)["result"]
        loss, grads = items("loss(X, y)", result, 2)
        expected, expected_grads = reference.loss(X, y)
        agree_in_value("the loss", loss, expected)
        known = {"inputs": {"X": X, **reference.params}, "reg": reference.reg, "numeric": expected_grads}
        _compare_gradients(grads, expected_grads, exact, known)

    return check


def _compare_gradients(grads, expected, compare, known=None):
    if not isinstance(grads, dict):
        raise FaultError("loss(X, y) should return the gradients as a dictionary")
    for name, grad in expected.items():
        if name not in grads:
            raise FaultError(f"loss(X, y) returns no gradient of {name}")
        if np.abs(grad).max(initial=0) < 1e-9:  # zero but for rounding, as a bias before normalization
            _nearly_zero(name, grads[name], grad.shape)
        else:
            compare(f"the gradient of {name}", grads[name], grad, (known or {}) | {"name": name})


def _nearly_zero(name, grad, shape):
    grad = as_array(f"the gradient of {name}", grad)
    if grad.shape != shape or not np.abs(grad).max(initial=0) < 1e-6:
        raise FaultError(f"the gradient of {name} should be zero here")


def _test_after_training(**options):
    """Scores after a training step: running averages in use, dropout off."""

    def check(subject):
        model, reference = FULLY_CONNECTED.build(subject, **options)
        X, y = _minibatch(subject, reference)
        subject.call((model, "loss"), X, y)
        reference.loss(X, y)
        agree_in_value("the scores", subject.call((model, "loss"), X)["result"], reference.loss(X))

    return check


def _initial(net, **options):
    """Names, shapes, dtypes and values: weights come from NumPy's generator, in the order W1, W2, ..."""

    def check(subject):
        options_drawn = net.draw(subject) | options | {"weight_scale": float(subject.rng.uniform(0.5, 2))}
        seed = subject.size(0, 10**6)
        subject.command("seed", number=seed)
        model = Kept(subject.call(net.target, **options_drawn)["call"])
        params = subject.command("get", owner=model, name="params")
        np.random.seed(seed)
        expected = net.cls(**_with_dtype(options_drawn)).params
        if not isinstance(params, dict) or set(params) != set(expected):
            raise FaultError(f"params should have the entries {', '.join(sorted(expected))}")
        for name, param in expected.items():
            agree(name, params[name], param)

    return check


def _penalty(reg):
    def check(subject):
        params = {
            "W1": subject.draw(3, 4),
            "b1": subject.draw(4),
            "gamma1": subject.draw(4),
            "W2": subject.draw(4, 2),
        }
        grads = {name: subject.draw(*param.shape) for name, param in params.items()}
        loss = float(subject.rng.uniform(1, 2))
        expected_grads = {name: grad.copy() for name, grad in grads.items()}
        expected = add_l2_penalty(loss, expected_grads, params, reg)
        call = subject.call("cs231n.classifiers.regularization:add_l2_penalty", loss, grads, params, reg)
        agree_in_value("the loss", call["result"], expected)
        known = {"inputs": params, "reg": reg}
        _compare_gradients(call["args"][1], expected_grads, agree_in_value, known)

    return check


def _normalized(kind):
    return {"normalization": kind, "reg": 0.3}


MODEL_CHECKS = {
    "add_l2_penalty": [("the penalty and its gradients", _penalty(0.7)), ("strength 0", _penalty(0.0))],
    "TwoLayerNet": [("initial parameters", _initial(TWO_LAYER))],
    "TwoLayerNet.loss": [
        ("loss and gradients", _loss(TWO_LAYER)),
        ("scores", _scores(TWO_LAYER)),
        ("regularization", _loss(TWO_LAYER, reg=0.7)),
    ],
    "FullyConnectedNet": [
        ("initial parameters", _initial(FULLY_CONNECTED)),
        ("with normalization", _initial(FULLY_CONNECTED, normalization="batchnorm")),
        ("in float32", _initial(FULLY_CONNECTED, dtype=np.dtype(np.float32))),
    ],
    "FullyConnectedNet.loss": [
        ("loss and gradients", _loss(FULLY_CONNECTED)),
        ("scores", _scores(FULLY_CONNECTED)),
        ("regularization", _loss(FULLY_CONNECTED, reg=0.7)),
        ("one hidden layer", _loss(FULLY_CONNECTED, hidden_dims=[7])),
        ("dtype: float32 stays float32", _loss(FULLY_CONNECTED, agree, dtype=np.dtype(np.float32))),
    ],
    "FullyConnectedNet.loss, normalized": [
        ("batch normalization", _loss(FULLY_CONNECTED, **_normalized("batchnorm"))),
        ("layer normalization", _loss(FULLY_CONNECTED, **_normalized("layernorm"))),
        ("testing after training", _test_after_training(normalization="batchnorm")),
    ],
    "FullyConnectedNet.loss, with dropout": [
        ("loss and gradients", _loss(FULLY_CONNECTED, dropout=0.6, seed=17)),
        ("testing after training", _test_after_training(dropout=0.6, seed=17)),
    ],
    "ThreeLayerConvNet": [
        ("initial parameters", _initial(CONVOLUTIONAL)),
        ("in float32", _initial(CONVOLUTIONAL, dtype=np.dtype(np.float32))),
    ],
    "ThreeLayerConvNet.loss": [
        ("loss and gradients", _loss(CONVOLUTIONAL)),
        ("scores", _scores(CONVOLUTIONAL)),
        ("regularization", _loss(CONVOLUTIONAL, reg=0.7)),
        ("dtype: float32 stays float32", _loss(CONVOLUTIONAL, agree, dtype=np.dtype(np.float32))),
    ],
}
