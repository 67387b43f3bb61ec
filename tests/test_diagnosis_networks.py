"""Planted bugs in whole networks: steps of the backward pass that are put together in a wrong way.

The network here is written the way a learner writes it, loop by loop, with places where it can go wrong: what
the caches hold, which steps the backward pass goes through, what it starts from, what it returns.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest
from broken_layers import about, named_first, titles_of

from cs231n.classifiers import cnn, fc_net
from cs231n.gradcheck.check import FAIL, PASS, WARN, check_model
from cs231n.gradcheck.diagnosis import Mistake
from cs231n.gradcheck.diagnosis.conclusion import conclusion
from cs231n.gradcheck.diagnosis.regularization import uneven_penalty

pytestmark = pytest.mark.q1

P, SEED, EPS = 0.6, 3, 1e-5


def unchanged(value, *_):
    return value


class Learner:
    """A fully connected network whose backward pass can be broken.

    - edit(caches, net): changes what the backward pass reads; caches[i] has x, w, z (= x w + b), normed, mask
    - order: the steps that the backward pass of a hidden layer goes through
    - start(dscores, scores): what the backward pass starts from
    - after(grads, net): changes the gradients
    """

    order = ("dropout", "relu", "norm", "affine")

    def __init__(self, dims, axis=None, p=None, reg=0.3, scale=0.5, svm=False, seed=0):
        rng = np.random.default_rng(seed)
        self.last, self.axis, self.reg, self.svm = len(dims) - 1, axis, reg, svm
        self.dropout_param = {"mode": "train", "p": p, "seed": SEED} if p else {}
        self.params = {}
        for i in range(1, len(dims)):
            self.params[f"W{i}"] = scale * rng.standard_normal(dims[i - 1 : i + 1])
            self.params[f"b{i}"] = scale * rng.standard_normal(dims[i])
            if axis is not None and i < self.last:
                self.params[f"gamma{i}"] = 1 + scale * rng.standard_normal(dims[i])
                self.params[f"beta{i}"] = scale * rng.standard_normal(dims[i])
        self.edit = self.start = self.after = unchanged

    def loss(self, X, y):
        self.X, out = X, X.reshape(len(X), -1)
        caches = {}
        for i in range(1, self.last + 1):
            out, caches[i] = self.forward(out, i)
        loss, dscores = (self.hinge if self.svm else self.softmax)(out, y)
        caches = self.edit(caches, self)
        dout, grads = self.start(dscores, out), {}
        for i in range(self.last, 0, -1):
            dout = self.backward(dout, caches[i], i, grads)
        for i in range(1, self.last + 1):
            W = self.params[f"W{i}"]
            loss += 0.5 * self.reg * (W * W).sum()
            grads[f"W{i}"] = grads[f"W{i}"] + self.reg * W
        return loss, self.after(grads, self)

    def forward(self, x, i):
        w = self.params[f"W{i}"]
        z = x @ w + self.params[f"b{i}"]
        cache = {"x": x, "x_of_dw": x, "w": w, "z": z}
        if i == self.last:
            return z, cache
        if self.axis is not None:
            mean, var = z.mean(self.axis, keepdims=True), z.var(self.axis, keepdims=True)
            cache["std"] = np.sqrt(var + EPS)
            cache["x_hat"] = (z - mean) / cache["std"]
            cache["gamma"] = self.params[f"gamma{i}"]
            z = cache["gamma"] * cache["x_hat"] + self.params[f"beta{i}"]
        cache["pre"], cache["positive"] = z, z > 0
        out = cache["activation"] = np.maximum(z, 0)
        if self.dropout_param:
            cache["mask"] = (np.random.RandomState(SEED).rand(*out.shape) < P) / P
            out = out * cache["mask"]
        return out, cache

    def backward(self, dout, cache, i, grads):
        for step in ("affine",) if i == self.last else self.order:
            dout = getattr(self, step)(dout, cache, i, grads)
        return dout

    def affine(self, dout, cache, i, grads):
        grads[f"W{i}"], grads[f"b{i}"] = cache["x_of_dw"].T @ dout, dout.sum(axis=0)
        return dout @ cache["w"].T

    def norm(self, dout, cache, i, grads):
        if self.axis is None:
            return dout
        x_hat, dx_hat = cache["x_hat"], dout * cache["gamma"]
        grads[f"gamma{i}"], grads[f"beta{i}"] = (dout * x_hat).sum(axis=0), dout.sum(axis=0)
        mean, product = dx_hat.mean(self.axis, keepdims=True), (dx_hat * x_hat).mean(self.axis, keepdims=True)
        return (dx_hat - mean - x_hat * product) / cache["std"]

    def norm_skipped(self, dout, cache, i, grads):
        self.norm(dout, cache, i, grads)
        return dout

    def relu(self, dout, cache, i, grads):
        return dout * cache["positive"]

    def dropout(self, dout, cache, i, grads):
        return dout * cache["mask"] if self.dropout_param else dout

    def softmax(self, scores, y):
        p = np.exp(scores - scores.max(axis=1, keepdims=True))
        p /= p.sum(axis=1, keepdims=True)
        rows = np.arange(len(y))
        loss = -np.log(p[rows, y]).mean()
        p[rows, y] -= 1
        return loss, p / len(y)

    def hinge(self, scores, y):
        rows = np.arange(len(y))
        margins = np.maximum(0, scores - scores[rows, y][:, None] + 1)
        margins[rows, y] = 0
        dscores = (margins > 0).astype(float)
        dscores[rows, y] = -dscores.sum(axis=1)
        return margins.sum() / len(y), dscores / len(y)


def minibatch(D=6, N=7, C=4):
    return np.random.default_rng(9).standard_normal((N, D)), np.arange(N) % C


SHALLOW, DEEP, EQUAL = (6, 5, 4), (6, 5, 7, 4), (6, 6, 6, 6, 4)
SAME_WIDTH = (6, 5, 5, 5, 4)


class Bug(NamedTuple):
    """A mistake, the network it is planted in, and the Finding to expect first of some gradients."""

    name: str
    dims: tuple[int, ...]
    options: dict[str, Any]
    change: dict[str, Any]
    expected: Any
    wrong: tuple[str, ...]


def layers(first, last=1, kinds=("W", "b")):
    return tuple(f"{kind}{i}" for i in range(last, first + 1) for kind in kinds)


def each(change):
    """The edit that changes the cache of every hidden layer: change(cache, the one before or None)."""

    def edit(caches, net):
        for i in range(1, net.last):
            change(caches[i], caches.get(i - 1))
        return caches

    return edit


def one(i, change):
    def edit(caches, net):
        change(caches[i], caches.get(i - 1))
        return caches

    return edit


def dw_of(key):
    """The edit that computes every dW but the first with another array of the layer before."""

    def edit(caches, net):
        for i in range(2, net.last + 1):
            caches[i]["x_of_dw"] = np.asarray(caches[i - 1][key], dtype=float)
        return caches

    return edit


def put(**values):
    return lambda cache, before: cache.update(values)


def rewired(source, keys=None):
    """The edit that lets hidden layer i use the cache, or some keys of the cache, of layer source(i, n)."""

    def edit(caches, net):
        hidden = range(1, net.last)
        new = dict(caches)
        for i in hidden:
            other = caches[source(i, net.last - 1)]
            new[i] = other if keys is None else {**caches[i], **{key: other[key] for key in keys}}
        return new

    return edit


def before_relu(caches, net):
    for i in range(2, net.last + 1):
        caches[i]["x_of_dw"] = caches[i - 1]["pre"]
    return caches


def x_everywhere(caches, net):
    caches[2]["x_of_dw"] = net.X
    return caches


def swap_w(caches, net):
    caches[3]["w"] = caches[2]["w"]
    return caches


def transposed_w(caches, net):
    caches[3]["w"] = caches[3]["w"].T
    return caches


def one_upstream(grads, net):
    return grads


NORM, LAYER, DROP = {"axis": 0}, {"axis": 1}, {"p": P}
NO_RELU, NO_DROPOUT = ("dropout", "norm", "affine"), ("relu", "norm", "affine")
NO_NORM, SWAPPED = ("dropout", "relu", "norm_skipped", "affine"), ("dropout", "norm", "relu", "affine")
ALL = "all hidden layers"
ALL_BELOW = layers(2), layers(3)
M = Mistake

BUGS = [
    Bug("no-relu", SHALLOW, {}, {"order": NO_RELU}, about(M.RELU_LEFT_OUT, "layer 1"), layers(1)),
    Bug("no-relu", DEEP, {}, {"order": NO_RELU}, about(M.RELU_LEFT_OUT, ALL), layers(2)),
    Bug("no-relu-svm", DEEP, {"svm": True}, {"order": NO_RELU}, about(M.RELU_LEFT_OUT, ALL), layers(2)),
    Bug("no-relu-no-reg", DEEP, {"reg": 0.0}, {"order": NO_RELU}, about(M.RELU_LEFT_OUT, ALL), layers(2)),
    Bug(
        "no-relu-in-1",
        DEEP,
        {},
        {"edit": one(1, put(positive=1.0))},
        about(M.RELU_LEFT_OUT, "layer 1"),
        layers(1),
    ),
    Bug("no-dropout", DEEP, DROP, {"order": NO_DROPOUT}, about(M.DROPOUT_LEFT_OUT, ALL), layers(2)),
    Bug(
        "no-dropout-in-2",
        DEEP,
        DROP,
        {"edit": one(2, put(mask=1.0))},
        about(M.DROPOUT_LEFT_OUT, "layer 2"),
        layers(2),
    ),
    Bug(
        "no-p",
        DEEP,
        DROP,
        {"edit": each(lambda cache, _: cache.update(mask=cache["mask"] > 0))},
        about(M.DROPOUT_UNSCALED, ALL),
        layers(2),
    ),
    Bug("no-norm", DEEP, NORM, {"order": NO_NORM}, about(M.NORM_LEFT_OUT, ALL), ("W2", "W1", "gamma1")),
    Bug("no-norm", DEEP, LAYER, {"order": NO_NORM}, about(M.NORM_LEFT_OUT, ALL), ("W2", "W1", "gamma1")),
    Bug("swapped", DEEP, NORM, {"order": SWAPPED}, about(M.NORM_AND_RELU_SWAPPED, ALL), ("W2", "W1")),
    Bug("swapped", SHALLOW, LAYER, {"order": SWAPPED}, about(M.NORM_AND_RELU_SWAPPED, "layer 1"), ("W1",)),
    Bug(
        "mask-before-norm",
        DEEP,
        NORM,
        {"edit": each(lambda cache, _: cache.update(positive=cache["z"] > 0))},
        about(M.RELU_MASK_BEFORE_NORM, ALL),
        ("W2", "W1"),
    ),
    Bug("pre-activation", SHALLOW, {}, {"edit": dw_of("pre")}, about(M.DW_BEFORE_RELU, "dW2"), ("W2",)),
    Bug("pre-activation", DEEP, DROP, {"edit": dw_of("pre")}, about(M.DW_BEFORE_RELU, "dW2 and dW3"), ()),
    Bug("mask-for-h", SHALLOW, {}, {"edit": dw_of("positive")}, about(M.DW_OF_MASK, "dW2"), ("W2",)),
    Bug("before-norm", SHALLOW, NORM, {"edit": dw_of("z")}, about(M.DW_BEFORE_NORM, "dW2"), ("W2",)),
    Bug(
        "before-dropout", SHALLOW, DROP, {"edit": dw_of("activation")}, about(M.DW_BEFORE_DROPOUT, "dW2"), ()
    ),
    Bug("x-for-h", EQUAL, {}, {"edit": x_everywhere}, about(M.DW_OF_X, "dW2"), ("W2",)),
    Bug(
        "reversed",
        EQUAL,
        {},
        {"edit": rewired(lambda i, n: n + 1 - i)},
        about(M.CACHES_REVERSED, "caches"),
        layers(3),
    ),
    Bug("last-cache", EQUAL, NORM, {"edit": rewired(lambda i, n: n)}, about(M.CACHES_OF_LAST, "caches"), ()),
    Bug(
        "next-cache",
        EQUAL,
        {},
        {"edit": rewired(lambda i, n: min(i + 1, n))},
        about(M.CACHES_OF_NEXT, "caches"),
        (),
    ),
    Bug(
        "relu-caches",
        SAME_WIDTH,
        {},
        {"edit": rewired(lambda i, n: n + 1 - i, ["positive"])},
        about(M.CACHES_REVERSED, "ReLU masks"),
        (),
    ),
    Bug(
        "relu-mask-of-2",
        SAME_WIDTH,
        {},
        {"edit": rewired(lambda i, n: 2 if i == 3 else i, ["positive"])},
        about(M.RELU_MASK_OF_ANOTHER, "layer 3"),
        layers(3),
    ),
    Bug("w-of-2", EQUAL, {}, {"edit": swap_w}, about(M.WEIGHTS_OF_ANOTHER, "layer 3"), layers(2)),
    Bug(
        "w-not-transposed",
        EQUAL,
        {},
        {"edit": transposed_w},
        about(M.WEIGHTS_NOT_TRANSPOSED, "layer 3"),
        layers(2),
    ),
    Bug("ones", DEEP, {}, {"start": lambda dscores, _: np.ones_like(dscores)}, M.SCORES_IGNORED, layers(3)),
    Bug(
        "relu-on-scores",
        DEEP,
        {},
        {"start": lambda dscores, scores: dscores * (scores > 0)},
        M.SCORES_OF_RELU,
        layers(3),
    ),
]


def net_of(planted):
    net = Learner(planted.dims, **planted.options)
    for name, value in planted.change.items():
        setattr(net, name, value)
    return net


def check(net, **options):
    return check_model(net, *minibatch(), **options)


@pytest.mark.parametrize("planted", BUGS, ids=lambda b: f"{b.name}-{len(b.dims) - 1}-{'-'.join(b.options)}")
def test_a_mistake_in_the_structure_is_named_first(planted):
    report = check(net_of(planted))
    named = named_first(report)
    assert set(named.values()) == set(titles_of({"": planted.expected}).values()), str(report)
    assert {f"d{name}" for name in planted.wrong} <= named.keys()
