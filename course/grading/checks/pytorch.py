"""Checks of the PyTorch notebook's exercises, and of the network of the challenge.

The definitions of the notebook make a module in the worker. The judge computes the same with PyTorch.
"""

import math

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812  its usual name
from torch import nn

from course.grading.compare import FaultError, agree_in_value, as_array
from course.grading.sandbox.runtime.protocol import Kept, Tensor

CHALLENGE = "cs231n.pytorch.convnet:ConvNet"
CLASSES = 4
LEARNED = 0.75  # share of new images that a network has to tell apart after the steps below
STEPS, BATCH = 60, 32


def _channels(subject):
    return subject.size(3, 5), subject.size(2, 4)


def _convnet_params(subject, channels, size=32):
    c1, c2 = channels
    shapes = [(c1, 3, 5, 5), (c1,), (c2, c1, 3, 3), (c2,), (c2 * size * size, 10), (10,)]
    return [
        torch.from_numpy(subject.draw(*shape)) / math.sqrt(max(1, math.prod(shape) // shape[0]))
        for shape in shapes
    ]


def _convnet(x, params):
    w1, b1, w2, b2, w3, b3 = params
    x = F.relu(F.conv2d(x, w1, b1, padding=2))
    x = F.relu(F.conv2d(x, w2, b2, padding=1))
    return x.reshape(len(x), -1) @ w3 + b3


def _barebones(size):
    def check(subject):
        x = torch.from_numpy(subject.draw(3, 3, size, size))
        params = _convnet_params(subject, _channels(subject), size)
        arguments = Tensor(x.numpy()), [Tensor(param.numpy()) for param in params]
        scores = subject.call("notebook:three_layer_convnet", *arguments)["result"]
        agree_in_value("the scores", scores, _convnet(x, params).numpy())

    return check


def _kaiming(subject):
    """Shapes, biases of zero, and weights as wide as Kaiming initialization asks for."""
    params = subject.call("notebook:convnet_params")["result"]
    shapes = [(32, 3, 5, 5), (32,), (16, 32, 3, 3), (16,), (16 * 32 * 32, 10), (10,)]
    if not isinstance(params, list | tuple) or len(params) != len(shapes):
        raise FaultError(f"convnet_params should return {len(shapes)} tensors")
    for number, (param, shape) in enumerate(zip(params, shapes, strict=True), start=1):
        param = as_array(f"parameter {number}", param)
        if param.shape != shape:
            raise FaultError(f"parameter {number} has the shape {param.shape} and should have {shape}")
        _check_spread(number, param)


def _check_spread(number, param):
    if param.ndim == 1:
        if param.any():
            raise FaultError(f"parameter {number}, a bias, should start at zero")
        return
    fan_in = param.shape[0] if param.ndim == 2 else param[0].size
    if not 0.9 < param.std() / math.sqrt(2 / fan_in) < 1.1:
        raise FaultError(f"parameter {number} is not as wide as Kaiming initialization asks for")


def _module(target):
    """A network whose parameters, in their order, are those of the barebones one gives the same scores."""

    def check(subject):
        model = Kept(subject.call(target)["call"])
        state = subject.command("state", owner=model)
        params = [as_array(name, value) for name, value in state.items()]
        x = subject.draw(2, 3, 32, 32).astype(np.float32)
        scores = subject.call((model, "__call__"), Tensor(x))["result"]
        agree_in_value("the scores", scores, _as_module(x, params))

    return check


def _as_module(x, params):
    shapes = [param.shape for param in params]
    if [len(shape) for shape in shapes] != [4, 1, 4, 1, 2, 1] or shapes[0][1:] != (3, 5, 5):
        raise FaultError(
            "the network should have a convolution of 5x5, one of 3x3 and an affine layer, with biases"
        )
    params = [torch.from_numpy(param) for param in params]
    params[4] = params[4].T
    return _convnet(torch.from_numpy(x), params).numpy()


def _loop(subject):
    """After the notebook's loop, a network has the parameters that plain gradient descent gives it."""
    batches = [(subject.draw(5, 6).astype(np.float32), subject.labels(5, 4)) for _ in range(3)]
    start = subject.draw(4, 6).astype(np.float32), subject.draw(4).astype(np.float32)
    model = Kept(subject.call("torch.nn:Linear", 6, 4)["call"])
    for name, value in zip(("weight", "bias"), start, strict=True):
        subject.command("set", owner=_attribute(subject, model, name), name="data", value=Tensor(value))
    tensors = [(Tensor(x), Tensor(y)) for x, y in batches]
    subject.command("train_loop", name="loop", model=model, learning_rate=0.1, batches=tensors)
    state = subject.command("state", owner=model)
    for name, expected in _descend(start, batches).items():
        agree_in_value(f"the network's {name} after training", state[name], expected)


def _attribute(subject, owner, name):
    return Kept(subject.call("builtins:getattr", owner, name)["call"])


def _descend(start, batches):
    model = nn.Linear(6, 4)
    model.weight.data, model.bias.data = (torch.from_numpy(value.copy()) for value in start)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for x, y in batches:
        optimizer.zero_grad()
        F.cross_entropy(model(torch.from_numpy(x)), torch.from_numpy(y)).backward()
        optimizer.step()
    return {name: value.detach().numpy() for name, value in model.named_parameters()}


def _images(subject, count):
    """Images of bars that lie, stand or lean, in colours and places that say nothing, and their classes."""
    labels = subject.labels(count, CLASSES)
    rows, columns = np.mgrid[:32, :32]
    phases = np.stack([rows, columns, rows + columns, rows - columns])[labels]
    waves = np.sin(2 * np.pi * phases / 8 + subject.rng.uniform(0, 6, (count, 1, 1)))
    colours = subject.rng.uniform(0.5, 1.5, (count, 3, 1, 1)) * subject.rng.choice([-1, 1], (count, 3, 1, 1))
    images = waves[:, np.newaxis] * colours + 0.3 * subject.draw(count, 3, 32, 32)
    return images.astype(np.float32), labels


def _learns(subject):
    """The network of the challenge learns to tell textures apart, on images that it has not seen."""
    subject.command("seed", number=subject.size(0, 10**6))
    model = Kept(subject.call(CHALLENGE, CLASSES)["call"])
    images, labels = _images(subject, 320)
    settings = {"steps": STEPS, "batch_size": BATCH, "learning_rate": 0.02}
    subject.command("fit", model=model, images=Tensor(images), labels=Tensor(labels), **settings)
    images, labels = _images(subject, 100)
    scores = subject.call((model, "__call__"), Tensor(images))["result"]
    scores = as_array("the scores", scores)
    if scores.shape != (100, CLASSES):
        raise FaultError(f"ConvNet({CLASSES}) should give scores of the shape (N, {CLASSES})")
    if (scores.argmax(axis=1) == labels).mean() < LEARNED:
        raise FaultError(
            "trained for a while, ConvNet does not tell apart textures that are easy to tell apart"
        )


PYTORCH_CHECKS = {
    "three-layer-convnet": [("scores", _barebones(32)), ("images of another size", _barebones(12))],
    "convnet-params": [("shapes, zero biases and Kaiming's spread", _kaiming)],
    "module-convnet": [("scores", _module("notebook:ThreeLayerConv"))],
    "training-loop": [("three steps of gradient descent", _loop)],
    "sequential-convnet": [("scores", _module("notebook:sequential_convnet"))],
    "challenge": [("it learns", _learns)],
}
