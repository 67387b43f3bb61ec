"""The updates and the whole training steps that are timed.

Both change what they work on. So every side has parameters of its own, and sides agree when they reach the
same after some steps.
"""

from collections.abc import Callable
from math import prod
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from benchmarks.sides import COPY, Variant, assert_agree
from cs231n.classifiers.cnn import ThreeLayerConvNet
from cs231n.classifiers.deep_cnn import DeepConvNet
from cs231n.classifiers.fc_net import FullyConnectedNet
from cs231n.fast_optim import adam, sgd_momentum, update_all
from cs231n.pytorch.convnet import ConvNet

BATCH, PIXELS, CLASSES = 50, (3, 32, 32), 10
LEARNING_RATE, MOMENTUM = 1e-3, 0.9
BRIGHT = 200
WIDE = "two hidden layers of 1,000"
STEPS = 3  # of each side, before they are compared
FEW = (
    16  # images: of fewer, batch norm's gradients are so small that Adam makes whole steps of their rounding
)
OPTIMIZERS = "", "foreach", "fused"


class Update(NamedTuple):
    """An update rule on one matrix; as a row it is what `benchmarks.sides.Layer` is.

    - ours: the rule and its config
    - theirs: theirs(parameters, **how) returns the optimizer
    - moved: the arrays that it has to read or write
    """

    name: str
    ours: tuple[Callable[..., Any], dict[str, float]]
    theirs: Callable[..., torch.optim.Optimizer]
    moved: int
    shape: tuple[int, int] = (prod(PIXELS), 500)
    limit: str = COPY

    @property
    def work(self):
        return self.moved * prod(self.shape)

    def variants(self):
        return [*(Variant(optimizer=optimizer) for optimizer in OPTIMIZERS), Variant(compiled=True)]

    def our_side(self, dtype, seed):
        w, dw = self._data(dtype, seed)
        rule, config = self.ours[0], self.ours[1].copy()

        def side():
            rule(w, dw, config)
            return [w]

        return side

    def their_side(self, variant, dtype, seed):
        w, dw = map(torch.tensor, self._data(dtype, seed))
        parameter = nn.Parameter(w)
        parameter.grad = dw
        step = variant.compile(self.theirs([parameter], **_how(variant)).step)

        def side():
            step()
            return [parameter]

        return side

    def agree(self, ours, theirs):
        for _ in range(STEPS - 1):
            ours(), theirs()
        assert_agree(ours, theirs)

    def _data(self, dtype, seed):
        """Return w = 0, so that what is compared is the steps, and its gradient."""
        return np.zeros(self.shape, dtype), np.random.default_rng(seed).standard_normal(self.shape).astype(
            dtype
        )


def updates():
    """Return the rows of the update rules."""
    rate = {"learning_rate": LEARNING_RATE}
    text = "{}, 3072x500".format
    return [
        Update(  # reads w, dw and the velocity; writes w and the velocity
            text("SGD with momentum"),
            (sgd_momentum, rate | {"momentum": MOMENTUM}),
            lambda params, **how: torch.optim.SGD(params, LEARNING_RATE, MOMENTUM, **how),
            5,
        ),
        Update(  # reads w, dw, m and v; writes w, m and v
            text("Adam"),
            (adam, rate),
            lambda params, **how: torch.optim.Adam(params, LEARNING_RATE, **how),
            7,
        ),
    ]


def fully_connected(hidden_dims=(100,) * 5, weight_scale=0.1, **options):
    """Return a fully connected net, ours and PyTorch's.

    - weight_scale: brings the scores near 1; if they were near 0, the loss would be that of any net
    """
    model = FullyConnectedNet(list(hidden_dims), weight_scale=weight_scale, **options)
    layers = []
    for i, units in enumerate(hidden_dims, start=1):
        norms = {None: (), "batchnorm": (nn.BatchNorm1d(units),), "layernorm": (nn.LayerNorm(units),)}
        layers += [_linear(model, i), *norms[model.normalization], nn.ReLU()]
        if model.dropout_param:
            layers.append(nn.Dropout(1 - model.dropout_param["p"]))
    return model, nn.Sequential(nn.Flatten(), *layers, _linear(model, model.num_layers))


def three_layer_conv_net():
    """Return ThreeLayerConvNet with 500 hidden units, about as the notebook trains it, ours and PyTorch's."""
    model = ThreeLayerConvNet(hidden_dim=500, weight_scale=3e-2)
    convolution = _with_parameters(nn.Conv2d(3, 32, 7, padding=3), model.params["W1"], model.params["b1"])
    block = convolution, nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()
    return model, nn.Sequential(*block, _linear(model, 2), nn.ReLU(), _linear(model, 3))


def deep_conv_net():
    """Return DeepConvNet and the ConvNet of the PyTorch notebook, which gets its ReLU and its parameters."""
    model, net = DeepConvNet(), ConvNet()
    for module in list(net.modules()):
        for name, child in module.named_children():
            if isinstance(child, nn.GELU):
                setattr(module, name, nn.ReLU())
    for value, param in zip(model.params.values(), net.parameters(), strict=True):
        param.data.copy_(torch.from_numpy(value.T if value.ndim == 2 else value))
    return model, net


def _linear(model, i):
    """Return affine layer i of a model as a layer of PyTorch, which stores weights transposed."""
    W, b = model.params[f"W{i}"].T, model.params[f"b{i}"]
    return _with_parameters(nn.Linear(*reversed(W.shape)), W, b)


def _with_parameters(layer, weight, bias):
    layer.weight.data, layer.bias.data = torch.tensor(weight.copy()), torch.tensor(bias.copy())
    return layer


# A case makes one network twice: our model and PyTorch's, with the same parameters.
CASES = {
    "ThreeLayerConvNet": three_layer_conv_net,
    "six layers": fully_connected,
    "six layers, batch norm": lambda: fully_connected(normalization="batchnorm"),
    "six layers, layer norm": lambda: fully_connected(normalization="layernorm"),
    "six layers, dropout": lambda: fully_connected(dropout=0.5),
    "six layers, L2": lambda: fully_connected(reg=1e-2),
    WIDE: lambda: fully_connected((1000, 1000), weight_scale=0.02),
    "DeepConvNet": deep_conv_net,
}


class Training(NamedTuple):
    """A training step with Adam on a minibatch; as a row it is what `benchmarks.sides.Layer` is.

    - learned: the net knows its minibatch by heart: nearly all probabilities and gradients are denormal or 0
    """

    name: str
    case: Callable[[], tuple[Any, nn.Module]]
    learned: bool = False
    batch: int = BATCH
    limit: str = ""  # several layers, several limits
    work: float = float("nan")

    def variants(self):
        _, net = self.case()
        layouts = (False, True) if any(p.ndim == 4 for p in net.parameters()) else (False,)
        eager = [Variant(layout, False, how) for layout in layouts for how in OPTIMIZERS]
        return eager + [Variant(layout, True, "fused") for layout in layouts]

    def our_side(self, dtype, seed):
        return OurStep(*self._data(seed))

    def their_side(self, variant, dtype, seed):
        return TheirStep(variant, *self._data(seed))

    def agree(self, ours, theirs):
        """Assert the same losses of some steps (of one, if images are few); with dropout, the same scores.

        Dropout's masks differ, so the scores are those of test mode.
        """
        if getattr(ours.model, "dropout_param", None):
            np.testing.assert_allclose(ours.scores(), theirs.scores(), rtol=1e-4, atol=1e-5)
            return
        for _ in range(STEPS if self.batch >= FEW else 1):
            penalty = ours.penalty()  # PyTorch's loss is without it
            np.testing.assert_allclose(ours()[0] - penalty, theirs()[0], rtol=1e-3, atol=1e-6)

    def _data(self, seed):
        """Return model, net and a minibatch."""
        np.random.seed(seed)
        model, net = self.case()
        if self.learned:
            return model, net, *_minibatch_known_to(model, self.batch)
        X = np.random.randn(self.batch, *PIXELS).astype(np.float32)
        return model, net, X, np.random.randint(CLASSES, size=self.batch)


def _minibatch_known_to(model, batch):
    """Return images and labels whose scores are far above those of all other classes.

    Bright images have scores far apart, since a net of ReLUs without biases scales as they do.
    """
    X = BRIGHT * np.random.randn(40 * batch, *PIXELS).astype(np.float32)
    scores = model.loss(X)
    *_, second, first = np.sort(scores).T
    surest = np.argsort(first - second)[-batch:]
    return X[surest], scores[surest].argmax(axis=1)


class OurStep:
    """A training step of our model."""

    def __init__(self, model, net, X, y):
        self.model, self.X, self.y = model, X, y
        self.configs = {name: {"learning_rate": LEARNING_RATE} for name in model.params}

    def __call__(self):
        loss, grads = self.model.loss(self.X, self.y)
        update_all(adam, self.model.params, grads, self.configs)  # as the Solver does
        return [loss]

    def penalty(self):
        reg = getattr(self.model, "reg", 0)
        return sum(0.5 * reg * np.vdot(w, w) for name, w in self.model.params.items() if name[0] == "W")

    def scores(self):
        return self.model.loss(self.X)


class TheirStep:
    """A training step of PyTorch's; its optimizer adds the gradient of L2, which is the faster way."""

    def __init__(self, variant, model, net, X, y):
        layout = torch.channels_last if variant.channels_last else torch.contiguous_format
        self.net = net.to(memory_format=layout)
        self.X, self.y = variant.tensor(X), torch.tensor(y)
        weights = [param for param in net.parameters() if param.ndim > 1]
        others = [param for param in net.parameters() if param.ndim == 1]
        groups = [{"params": weights, "weight_decay": getattr(model, "reg", 0)}, {"params": others}]
        self.optimizer = torch.optim.Adam(groups, LEARNING_RATE, **_how(variant))
        self.loss = variant.compile(lambda X, y: cross_entropy(self.net(X), y))

    def __call__(self):
        self.optimizer.zero_grad()
        loss = self.loss(self.X, self.y)
        loss.backward()
        self.optimizer.step()
        return [loss.item()]

    def scores(self):
        self.net.eval()
        with torch.no_grad():
            scores = self.net(self.X).numpy()
        self.net.train()
        return scores


def _how(variant):
    """Return the argument that chooses how an optimizer of PyTorch works; none for its default."""
    return {variant.optimizer: True} if variant.optimizer else {}


def trainings():
    """Return the rows of the training steps."""
    rows = [Training(name, case) for name, case in CASES.items()]
    return [*rows, Training(f"{WIDE}, minibatch learned", CASES[WIDE], learned=True)]
