"""What is timed of the fully connected half: an Adam step and whole training steps, ours and PyTorch's.

Each case gives a pair of functions, ours and PyTorch's, that do the same work; that their results agree is
asserted before they are handed out.
"""

import numpy as np
import torch
from torch import nn

from cs231n.classifiers.fc_net import FullyConnectedNet
from cs231n.optim import adam

BATCH, PIXELS, CLASSES = 50, 3 * 32 * 32, 10


def adam_step():
    """One Adam step on a matrix of 3072 x 500."""
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
    return ours, optimizer.step


def training_step(normalization):
    """Forward, backward and Adam of the six-layer net (100 units a layer) on a minibatch of 50 images."""
    np.random.seed(0)
    X = np.random.randn(BATCH, 3, 32, 32).astype(np.float32)
    y = np.random.randint(CLASSES, size=BATCH)
    model = FullyConnectedNet([100] * 5, normalization=normalization, weight_scale=2e-2)
    net = _torch_twin(model)
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)
    tensor, labels = torch.tensor(X), torch.tensor(y)
    configs = {name: {} for name in model.params}

    def ours():
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

    for _ in range(3):
        np.testing.assert_allclose(ours(), theirs(), rtol=1e-3)
    return ours, theirs


def _torch_twin(model):
    """The same network in PyTorch, with the same weights."""
    layers = [nn.Flatten()]
    for i in range(1, model.num_layers + 1):
        weight = torch.tensor(model.params[f"W{i}"].T.copy())
        linear = nn.Linear(weight.shape[1], weight.shape[0])
        linear.weight.data = weight
        nn.init.zeros_(linear.bias)
        layers.append(linear)
        if i < model.num_layers:
            if model.normalization:
                layers.append(nn.BatchNorm1d(len(weight), momentum=0.1))
            layers.append(nn.ReLU())
    return nn.Sequential(*layers)


CASES = {
    "Adam step, 3072 x 500": adam_step,
    "training step, six layers": lambda: training_step(None),
    "training step, six layers with batch norm": lambda: training_step("batchnorm"),
}
