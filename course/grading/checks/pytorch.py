"""Checks of the exercises in the PyTorch notebook, and of the network of the challenge.

In the worker, the definitions of the notebook are a module. The judge computes the expected values with
PyTorch.
"""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812  its usual name
from numpy.typing import NDArray
from torch import nn

from course.grading.compare import FaultError, agree_in_value, as_array
from course.grading.sandbox.runtime.protocol import Tensor
from course.grading.subject import Checks, Subject

NOTEBOOK_NAMES = {"device": "cpu"}  # {name: value}, what the notebook's definitions use besides each other
TRAINING = "worker_training"  # the module of training loops that a check sends to the worker
CHALLENGE = "cs231n.pytorch.convnet:ConvNet"
CLASSES = 4
LEARNED = 0.75  # the share of new images that a network has to classify correctly after training
STEPS, BATCH, LEARNING_RATE = 60, 32, 0.02


def _convnet_params(subject: Subject, size: int) -> list[torch.Tensor]:
    c1, c2 = subject.size(3, 5), subject.size(2, 4)
    shapes: list[tuple[int, ...]] = [
        (c1, 3, 5, 5),
        (c1,),
        (c2, c1, 3, 3),
        (c2,),
        (c2 * size * size, 10),
        (10,),
    ]
    return [
        torch.from_numpy(subject.draw(*shape)) / math.sqrt(max(1, math.prod(shape) // shape[0]))
        for shape in shapes
    ]


def _convnet(x: torch.Tensor, params: list[torch.Tensor]) -> torch.Tensor:
    w1, b1, w2, b2, w3, b3 = params
    x = F.relu(F.conv2d(x, w1, b1, padding=2))
    x = F.relu(F.conv2d(x, w2, b2, padding=1))
    return x.reshape(len(x), -1) @ w3 + b3


@dataclass(frozen=True)
class BarebonesScores:
    """Checks the scores of the ConvNet that is written with functions, on images of one size."""

    size: int

    def __call__(self, subject: Subject) -> None:
        x = torch.from_numpy(subject.draw(3, 3, self.size, self.size))
        params = _convnet_params(subject, self.size)
        arguments = Tensor(x.numpy()), [Tensor(param.numpy()) for param in params]
        scores = subject.call("notebook:three_layer_convnet", *arguments)["result"]
        agree_in_value("the scores", scores, _convnet(x, params).numpy())


def kaiming(subject: Subject) -> None:
    """Check the shapes of the parameters, zero biases, and the spread of Kaiming initialization."""
    params = subject.call("notebook:convnet_params")["result"]
    shapes = [(32, 3, 5, 5), (32,), (16, 32, 3, 3), (16,), (16 * 32 * 32, 10), (10,)]
    if not isinstance(params, list | tuple) or len(params) != len(shapes):
        raise FaultError(f"convnet_params should return {len(shapes)} tensors")
    for number, (param, shape) in enumerate(zip(params, shapes, strict=True), start=1):
        param = as_array(f"parameter {number}", param)
        if param.shape != shape:
            raise FaultError(f"parameter {number} has the shape {param.shape} and should have {shape}")
        _check_spread(number, param)


def _check_spread(number: int, param: NDArray[Any]) -> None:
    if param.ndim == 1:
        if param.any():
            raise FaultError(f"parameter {number}, a bias, should start at zero")
        return
    fan_in = param.shape[0] if param.ndim == 2 else param[0].size
    if not 0.9 < param.std() / math.sqrt(2 / fan_in) < 1.1:
        raise FaultError(f"parameter {number} does not have the standard deviation of Kaiming initialization")


@dataclass(frozen=True)
class ModuleScores:
    """Checks that a module gives the scores of `_convnet` with the module's parameters."""

    target: str

    def __call__(self, subject: Subject) -> None:
        model = subject.create(self.target)
        state = subject.command("state", owner=model)
        params = [as_array(name, value) for name, value in state.items()]
        x = subject.draw(2, 3, 32, 32).astype(np.float32)
        scores = subject.call((model, "__call__"), Tensor(x))["result"]
        agree_in_value("the scores", scores, _scores_of_module(x, params))


def _scores_of_module(x: NDArray[Any], params: list[NDArray[Any]]) -> NDArray[Any]:
    shapes = [param.shape for param in params]
    if [len(shape) for shape in shapes] != [4, 1, 4, 1, 2, 1] or shapes[0][1:] != (3, 5, 5):
        raise FaultError(
            "the network should have a 5x5 convolution, a 3x3 convolution and an affine layer, with biases"
        )
    tensors = [torch.from_numpy(param) for param in params]
    tensors[4] = tensors[4].T  # nn.Linear multiplies with the transposed weights
    scores: NDArray[Any] = _convnet(torch.from_numpy(x), tensors).numpy()
    return scores


def training_loop(subject: Subject) -> None:
    """Check that the notebook's loop trains a linear layer as plain gradient descent does."""
    batches = [(subject.draw(5, 6).astype(np.float32), subject.labels(5, 4)) for _ in range(3)]
    start = subject.draw(4, 6).astype(np.float32), subject.draw(4).astype(np.float32)
    model = subject.create("torch.nn:Linear", 6, 4)
    for name, value in zip(("weight", "bias"), start, strict=True):
        parameter = subject.create("builtins:getattr", model, name)
        subject.command("set", owner=parameter, name="data", value=Tensor(value))
    tensors = [(Tensor(x), Tensor(y)) for x, y in batches]
    _run_in_worker(subject, "train", "loop", model, 0.1, tensors)
    state = subject.command("state", owner=model)
    for name, expected in _descend(start, batches).items():
        agree_in_value(f"the network's {name} after training", state[name], expected)


def _run_in_worker(subject: Subject, function: str, *args: Any) -> None:
    """Call a function of worker_training.py in the worker, beside the submission's code."""
    source = Path(__file__).with_name(f"{TRAINING}.py").read_text(encoding="utf-8")
    subject.command("load", name=TRAINING, source=source)
    subject.command("call", target=f"{TRAINING}:{function}", args=args, kwargs={})


def _descend(
    start: tuple[NDArray[Any], NDArray[Any]], batches: list[tuple[NDArray[Any], NDArray[Any]]]
) -> dict[str, NDArray[Any]]:
    """Return the parameters of a linear layer after a step of gradient descent for each minibatch."""
    model = nn.Linear(6, 4)
    model.weight.data, model.bias.data = (torch.from_numpy(value.copy()) for value in start)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for x, y in batches:
        optimizer.zero_grad()
        F.cross_entropy(model(torch.from_numpy(x)), torch.from_numpy(y)).backward()
        optimizer.step()
    return {name: value.detach().numpy() for name, value in model.named_parameters()}


def _images(subject: Subject, count: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """Draw images of horizontal, vertical or diagonal bars, and their classes.

    Colours and positions are random, so only the direction of the bars tells the class.
    """
    labels = subject.labels(count, CLASSES)
    rows, columns = np.mgrid[:32, :32]
    phases = np.stack([rows, columns, rows + columns, rows - columns])[labels]
    waves = np.sin(2 * np.pi * phases / 8 + subject.rng.uniform(0, 6, (count, 1, 1)))
    colours = subject.rng.uniform(0.5, 1.5, (count, 3, 1, 1)) * subject.rng.choice([-1, 1], (count, 3, 1, 1))
    images = waves[:, np.newaxis] * colours + 0.3 * subject.draw(count, 3, 32, 32)
    return images.astype(np.float32), labels


def learns(subject: Subject) -> None:
    """Check that the network of the challenge learns to classify textures on new images."""
    subject.command("seed", number=subject.size(0, 10**6))
    model = subject.create(CHALLENGE, CLASSES)
    images, labels = _images(subject, 320)
    _run_in_worker(subject, "fit", model, Tensor(images), Tensor(labels), STEPS, BATCH, LEARNING_RATE)
    images, labels = _images(subject, 100)
    scores = subject.call((model, "__call__"), Tensor(images))["result"]
    scores = as_array("the scores", scores)
    if scores.shape != (100, CLASSES):
        raise FaultError(f"ConvNet({CLASSES}) should give scores of the shape (N, {CLASSES})")
    if (scores.argmax(axis=1) == labels).mean() < LEARNED:
        raise FaultError(
            f"after {STEPS} training steps, ConvNet cannot tell textures apart that are easy to tell apart"
        )


PYTORCH_CHECKS: Checks = {
    "three-layer-convnet": [
        ("scores", BarebonesScores(32)),
        ("images of another size", BarebonesScores(12)),
    ],
    "convnet-params": [("shapes, zero biases and Kaiming's spread", kaiming)],
    "module-convnet": [("scores", ModuleScores("notebook:ThreeLayerConv"))],
    "training-loop": [("three steps of gradient descent", training_loop)],
    "sequential-convnet": [("scores", ModuleScores("notebook:sequential_convnet"))],
    "challenge": [("it learns", learns)],
}
