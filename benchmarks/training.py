"""Time an Adam step and whole training steps, ours and PyTorch's.

Each case returns functions that do the same work: first PyTorch's, then ours under the names of their
kernels. A case asserts that the results agree before it returns them.
"""

from functools import partial

import numpy as np
import torch
from torch import nn

from benchmarks.sides import DIRECT, NUMPY, PYTORCH, use_kernels
from benchmarks.timing import compare
from cs231n.classifiers.cnn import ThreeLayerConvNet
from cs231n.classifiers.deep_cnn import DeepConvNet
from cs231n.classifiers.fc_net import FullyConnectedNet
from cs231n.fast_optim import adam
from cs231n.pytorch.convnet import ConvNet

BATCH, PIXELS, CLASSES = 50, 3 * 32 * 32, 10


def adam_step():
    """Make an Adam step on a matrix of 3072 x 500."""
    rng = np.random.default_rng(0)
    w, dw = rng.standard_normal((2, PIXELS, 500), dtype=np.float32)
    parameter = nn.Parameter(torch.tensor(w))
    parameter.grad = torch.tensor(dw)
    optimizer = torch.optim.Adam([parameter], lr=1e-3)
    config = {}

    def ours():
        adam(w, dw, config)

    for _ in range(3):
        ours()
        optimizer.step()
    np.testing.assert_allclose(w, parameter.detach().numpy(), rtol=1e-5, atol=1e-6)
    return optimizer.step, {DIRECT: ours}


def fully_connected_step(normalization):
    """Make a training step with Adam of the six-layer net (100 units a layer) on a minibatch of 50 images."""
    np.random.seed(0)
    model = FullyConnectedNet([100] * 5, normalization=normalization, weight_scale=2e-2)
    layers = []
    for i in range(1, model.num_layers + 1):
        layers.append(_linear(model, i))
        if i < model.num_layers:
            layers += [nn.BatchNorm1d(100)] if normalization else []
            layers.append(nn.ReLU())
    return _training_step(model, nn.Sequential(nn.Flatten(), *layers), all_kernels=[DIRECT])


def convolutional_step():
    """Make a training step of ThreeLayerConvNet with 500 hidden units, as the notebook trains it."""
    np.random.seed(0)
    model = ThreeLayerConvNet(hidden_dim=500, weight_scale=1e-2)
    convolution = _with_parameters(nn.Conv2d(3, 32, 7, padding=3), model.params["W1"], model.params["b1"])
    block = convolution, nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()
    net = nn.Sequential(*block, _linear(model, 2), nn.ReLU(), _linear(model, 3))
    return _training_step(model, net, all_kernels=[DIRECT, NUMPY])


def deep_conv_net():
    """Return DeepConvNet and the ConvNet of the PyTorch notebook, which gets its ReLU and its parameters."""
    np.random.seed(0)
    model, net = DeepConvNet(), ConvNet()
    for module in list(net.modules()):
        for name, child in module.named_children():
            if isinstance(child, nn.GELU):
                setattr(module, name, nn.ReLU())
    for value, param in zip(model.params.values(), net.parameters(), strict=True):
        param.data.copy_(torch.from_numpy(value.T if value.ndim == 2 else value))
    return model, net


def _training_step(model, net, all_kernels):
    """Return functions that train `net`, in PyTorch, and `model`, on each of the kernels, for one step."""
    X = np.random.randn(BATCH, 3, 32, 32).astype(np.float32)
    y = np.random.randint(CLASSES, size=BATCH)
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)
    tensor, labels = torch.tensor(X), torch.tensor(y)
    configs = {name: {} for name in model.params}

    def ours(kernels):
        use_kernels(kernels)
        loss, grads = model.loss(X, y)
        for name, w in model.params.items():
            model.params[name], configs[name] = adam(w, grads[name], configs[name])
        return loss

    def theirs():
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(net(tensor), labels)
        loss.backward()
        optimizer.step()
        return loss.item()

    for step in range(4):
        np.testing.assert_allclose(ours(all_kernels[step % len(all_kernels)]), theirs(), rtol=1e-3)
    return theirs, {kernels: partial(ours, kernels) for kernels in all_kernels}


def _linear(model, i):
    """Return affine layer i of a model as a layer of PyTorch, which stores weights transposed."""
    W, b = model.params[f"W{i}"].T, model.params[f"b{i}"]
    return _with_parameters(nn.Linear(*reversed(W.shape)), W, b)


def _with_parameters(layer, weight, bias):
    layer.weight.data, layer.bias.data = torch.tensor(weight.copy()), torch.tensor(bias.copy())
    return layer


CASES = {
    "Adam step, 3072 x 500": adam_step,
    "training step, six layers": lambda: fully_connected_step(None),
    "training step, six layers with batch norm": lambda: fully_connected_step("batchnorm"),
    "training step, ThreeLayerConvNet": convolutional_step,
    "training step, DeepConvNet": lambda: _training_step(*deep_conv_net(), all_kernels=[DIRECT]),
}


def print_table():
    """Time every case; a number is left out where the kernels do not matter."""
    print("\n### training, float32\n")
    print("| what | direct, ms | NumPy | PyTorch | direct / PyTorch | NumPy / PyTorch |")
    print("|---|---|---|---|---|---|")
    for name, make in CASES.items():
        theirs, ours = make()
        seconds = dict(zip([PYTORCH, *ours], compare(theirs, *ours.values()), strict=True))
        cells = [f"{1e3 * seconds[side]:.2f}" if side in seconds else "" for side in (DIRECT, NUMPY, PYTORCH)]
        ratios = [seconds[side] / seconds[PYTORCH] if side in seconds else None for side in (DIRECT, NUMPY)]
        cells += [f"{ratio:.2f}" if ratio else "" for ratio in ratios]
        print(f"| {name} | {' | '.join(cells)} |", flush=True)
