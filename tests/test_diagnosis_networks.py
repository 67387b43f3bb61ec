"""Planted bugs in whole networks: steps of the backward pass that are put together in a wrong way.

The network here is written the way a learner writes it, loop by loop, with places where it can go wrong: what
the caches hold, which steps the backward pass goes through, what it starts from, what it returns.
"""

from typing import Any, NamedTuple

import numpy as np
import pytest
from broken_layers import about, named_first, titles_of

from cs231n.classifiers import fc_net
from cs231n.gradcheck.check import FAIL, PASS, WARN, check_model
from cs231n.gradcheck.diagnosis import Case, Mistake, right_gradients
from cs231n.gradcheck.diagnosis.causes import Network
from cs231n.gradcheck.diagnosis.conclusion import ALL_WRONG, conclusion
from cs231n.gradcheck.diagnosis.networks import find_networks
from cs231n.gradcheck.diagnosis.regularization import uneven_penalty
from cs231n.gradcheck.models import knowledge_of
from cs231n.gradcheck.numeric import numeric_gradient

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


def test_the_network_that_bugs_are_planted_in_is_right():
    for dims in (SHALLOW, DEEP, EQUAL):
        for options in ({}, NORM, LAYER, DROP, {"svm": True}, {"reg": 0.0}):
            report = check(Learner(dims, **options))
            assert report.status in (PASS, WARN), str(report)


def test_every_hidden_layer_with_the_same_upstream_gradient():
    class Same(Learner):
        def backward(self, dout, cache, i, grads):
            below = super().backward(dout, cache, i, grads)
            return below if i == self.last else dout

    assert set(named_first(check(Same(EQUAL))).values()) == {Mistake.SAME_UPSTREAM.value}


@pytest.mark.parametrize("names, before", [(("W1",), "dW1"), (("b1",), "db1"), (("W2", "b2"), "dW2 and db2")])
def test_a_gradient_that_is_computed_too_early(names, before):
    net, early = Learner(DEEP), Learner(DEEP)
    early.edit = one(int(names[0][1]), put(positive=1.0))

    def after(grads, _):
        return grads | {name: early.loss(net.X, minibatch()[1])[1][name] for name in names}

    net.after = after
    expected = titles_of({f"d{name}": about(Mistake.BEFORE_RELU_BACKWARD, before) for name in names})
    assert named_first(check(net)) == expected


# ---------------------------------------------------------------------------------------------------------
# Together with the penalty, or with a gradient that cannot be compared
# ---------------------------------------------------------------------------------------------------------


def data_loss_only(grads, net):
    return {name: grad - net.reg * net.params[name] * (name[0] == "W") for name, grad in grads.items()}


def penalty_twice(grads, net):
    return {name: grad + net.reg * net.params[name] * (name[0] == "W") for name, grad in grads.items()}


@pytest.mark.parametrize(
    "after, penalty", [(data_loss_only, Mistake.PENALTY_MISSING), (penalty_twice, Mistake.PENALTY_TWICE)]
)
def test_a_wrong_penalty_besides_is_named_too(after, penalty):
    net = Learner(DEEP)
    net.order, net.after = NO_RELU, after
    causes = {c.name: [cause.title for cause in c.causes] for c in check(net).comparisons if c.causes}
    relu = about(Mistake.RELU_LEFT_OUT, ALL)
    beside = about(Mistake.RELU_LEFT_OUT, ALL, beside_penalty=True).cause().title
    assert causes == {
        "dW1": [beside, penalty.value],
        "dW2": [beside, penalty.value],
        "dW3": [penalty.value],
        "db1": [relu.cause().title],
        "db2": [relu.cause().title],
    }


def test_two_kinds_of_steps_that_are_left_out_are_both_named():
    net = Learner(DEEP, **DROP)
    net.order = ("norm", "affine")
    expected = [about(mistake, ALL).cause().title for mistake in (M.RELU_LEFT_OUT, M.DROPOUT_LEFT_OUT)]
    assert [cause.title for cause in check(net).comparisons[0].causes] == expected


UNUSABLE = {
    "missing": lambda grads, net: {name: grad for name, grad in grads.items() if name != "b2"},
    "none": lambda grads, net: grads | {"b2": None},
    "text": lambda grads, net: grads | {"b2": "db2"},
    "shape": lambda grads, net: grads | {"b2": grads["b2"][1:]},
    "nan": lambda grads, net: grads | {"b2": grads["b2"] * np.nan},
}


@pytest.mark.parametrize("after", UNUSABLE.values(), ids=UNUSABLE)
def test_the_other_gradients_are_enough(after):
    net = Learner(SHALLOW)
    net.order, net.after = NO_RELU, after
    named = named_first(check(net))
    title = about(Mistake.RELU_LEFT_OUT, "layer 1").cause().title
    assert (named["dW1"], named["db1"]) == (title, title)
    assert named["db2"] != title


# ---------------------------------------------------------------------------------------------------------
# Convolutional networks
# ---------------------------------------------------------------------------------------------------------


def tiles_of(conv):
    """The windows of 2x2 pooling, each as a row of its four entries: (N, F, H / 2, W / 2, 4)."""
    N, F, H, W = conv.shape
    return conv.reshape(N, F, H // 2, 2, W // 2, 2).swapaxes(3, 4).reshape(N, F, H // 2, W // 2, 4)


def gradients_into(places, dout):
    """An image (N, F, H, W) with the gradient of each window at one of its four places, and zeros beside."""
    N, F, rows, columns = dout.shape
    tiles = np.where(np.arange(4) == places[..., np.newaxis], dout[..., np.newaxis], 0)
    return tiles.reshape(N, F, rows, columns, 2, 2).swapaxes(3, 4).reshape(N, F, 2 * rows, 2 * columns)


class ConvLearner:
    """conv - ReLU - pool - affine - ReLU - affine - softmax, whose backward pass can be broken."""

    relu_1 = relu_2 = True

    def __init__(self, C=2, H=4, W=6, F=3, size=3, hidden=7, classes=4, reg=0.3):
        rng, self.reg = np.random.default_rng(4), reg
        shapes = {"W1": (F, C, size, size), "W2": (F * H * W // 4, hidden), "W3": (hidden, classes)}
        shapes |= {"b1": (F,), "b2": (hidden,), "b3": (classes,)}
        self.params = {name: 0.5 * rng.standard_normal(shape) for name, shape in shapes.items()}
        self.X, self.y = rng.standard_normal((5, C, H, W)), np.arange(5) % classes
        self.unflatten = lambda dx, shape: dx.reshape(shape)

    def windows(self, X):
        pad = self.params["W1"].shape[2] // 2
        padded = np.pad(X, ((0, 0), (0, 0), (pad, pad), (pad, pad)))
        return np.lib.stride_tricks.sliding_window_view(padded, self.params["W1"].shape[2:], axis=(2, 3))

    def unpool(self, dout, conv):
        return gradients_into(tiles_of(conv).argmax(axis=-1), dout)

    def loss(self, X, y):
        p = self.params
        windows = self.windows(X)
        conv = np.einsum("nchwij,fcij->nfhw", windows, p["W1"]) + p["b1"][:, None, None]
        active = np.maximum(conv, 0)
        pooled = active.reshape(*active.shape[:2], X.shape[2] // 2, 2, X.shape[3] // 2, 2).max(axis=(3, 5))
        flat = pooled.reshape(len(X), -1)
        pre = flat @ p["W2"] + p["b2"]
        hidden = np.maximum(pre, 0)
        scores = hidden @ p["W3"] + p["b3"]
        prob = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
        loss = -np.log(prob[range(len(X)), y]).mean()
        dscores = (prob - np.eye(prob.shape[1])[y]) / len(X)
        dhidden = dscores @ p["W3"].T * (pre > 0 if self.relu_2 else 1)
        dconv = self.unpool(self.unflatten(dhidden @ p["W2"].T, pooled.shape), active)
        dconv = dconv * (conv > 0 if self.relu_1 else 1)
        grads = {
            "W1": np.einsum("nfhw,nchwij->fcij", dconv, windows),
            "b1": dconv.sum(axis=(0, 2, 3)),
            "W2": flat.T @ dhidden,
            "b2": dhidden.sum(axis=0),
            "W3": hidden.T @ dscores,
            "b3": dscores.sum(axis=0),
        }
        for name in ("W1", "W2", "W3"):
            loss += 0.5 * self.reg * (p[name] ** 2).sum()
            grads[name] = grads[name] + self.reg * p[name]
        return loss, grads


def channels_last(dx, shape):
    N, F, H, W = shape
    return dx.reshape(N, H, W, F).transpose(0, 3, 1, 2)


def width_first(dx, shape):
    N, F, H, W = shape
    return dx.reshape(N, F, W, H).swapaxes(2, 3)


def upsampled(dout, conv):
    return dout.repeat(2, axis=2).repeat(2, axis=3)


CONV_BUGS = {
    "right": ({}, None),
    "relu-1": ({"relu_1": False}, about(M.RELU_LEFT_OUT, "layer 1")),
    "relu-2": ({"relu_2": False}, about(M.RELU_LEFT_OUT, "layer 2")),
    "both-relus": ({"relu_1": False, "relu_2": False}, about(M.RELU_LEFT_OUT, ALL)),
    "channels-last": ({"unflatten": channels_last}, M.WRONG_UNFLATTENING),
    "width-first": ({"unflatten": width_first}, M.WRONG_UNFLATTENING),
    "upsampled": ({"unpool": upsampled}, M.POOLING_LEFT_OUT),
    "upsampled-mean": ({"unpool": lambda *args: upsampled(*args) / 4}, M.POOLING_LEFT_OUT),
}


@pytest.mark.parametrize("sizes", [{}, {"C": 1, "H": 4, "W": 4, "F": 4, "size": 5, "hidden": 6}])
@pytest.mark.parametrize("name", CONV_BUGS)
def test_a_mistake_in_a_convolutional_network_is_named_first(name, sizes):
    change, expected = CONV_BUGS[name]
    net = ConvLearner(**sizes)
    for attribute, value in change.items():
        setattr(net, attribute, value)
    report = check_model(net, net.X, net.y)
    if expected is None:
        assert report.status in (PASS, WARN)
    else:
        assert set(named_first(report).values()) == set(titles_of({"": expected}).values()), str(report)


# ---------------------------------------------------------------------------------------------------------
# No false causes
# ---------------------------------------------------------------------------------------------------------


def scrambled(grads, net):
    rng = np.random.default_rng(5)
    return grads | {"W1": grads["W1"] * rng.uniform(0.5, 2, grads["W1"].shape)}


def no_relu_and_scrambled(grads, net):
    return grads | {"b3": grads["b3"] * np.linspace(0.5, 2, len(grads["b3"]))}


@pytest.mark.parametrize("options", [{}, NORM, LAYER, DROP])
def test_an_unknown_mistake_has_no_cause(options):
    for change in ({"after": scrambled}, {"order": NO_RELU, "after": no_relu_and_scrambled}):
        net = Learner(DEEP, **options)
        for name, value in change.items():
            setattr(net, name, value)
        assert named_first(check(net))["dW1"] is None


ODD_LABELS = [None, "labels", np.zeros((7, 2)), np.full(7, 99), np.zeros(7)]


@pytest.mark.parametrize("y", ODD_LABELS, ids=repr)
def test_labels_that_are_none_raise_nothing(y):
    net = Learner(SHALLOW)
    labels = minibatch()[1]
    right = net.loss
    net.order = NO_RELU
    net.loss = lambda X, _: right(X, labels)
    report = check_model(net, minibatch()[0], y)
    assert report.status == FAIL
    assert named_first(report) == {"dW1": None, "db1": None}


def test_parameters_with_other_names_are_not_recognized():
    net = Learner(SHALLOW)
    inner, names = Learner(SHALLOW), {"W1": "weights", "b1": "bias", "W2": "V", "b2": "c"}
    inner.order = NO_RELU
    net.params = {names[name]: param for name, param in inner.params.items()}
    net.loss = lambda X, y: (lambda loss, grads: (loss, {names[n]: g for n, g in grads.items()}))(
        *inner.loss(X, y)
    )
    assert named_first(check(net)) == {"dbias": None, "dweights": None}


ODD_WEIGHTS = [(), (4,), (4, 3), (2, 3, 4), (2, 3, 3, 3), (0, 3)]


@pytest.mark.parametrize("X_shape", [(4,), (5, 3), (5, 2, 6, 6), (0, 3), (5, 3, 2)])
@pytest.mark.parametrize("W1", ODD_WEIGHTS)
@pytest.mark.parametrize("W2", ODD_WEIGHTS)
def test_shapes_that_do_not_fit_raise_nothing(X_shape, W1, W2):
    rng = np.random.default_rng(0)
    shapes = {"W1": W1, "b1": (3,), "W2": W2, "b2": (4,)}
    params = {name: rng.standard_normal(shape) for name, shape in shapes.items()}
    numeric = {name: np.asarray(rng.standard_normal(shape)) for name, shape in shapes.items()}
    known = {
        "inputs": {"X": rng.standard_normal(X_shape), **params},
        "network": Network(np.arange(X_shape[0]) % 3, 1.0, numeric),
        "settings": {"p": 0.5, "seed": 3},
    }
    case = Case(numeric["b2"] + 1, numeric["b2"], name="b2", numeric=numeric, reg=0.1, **known)
    assert list(find_networks(case)) == []
    assert right_gradients(case) == {}


@pytest.mark.parametrize("dims", [SHALLOW, DEEP])
def test_a_kink_beside_the_point_does_not_hide_the_mistake(dims):
    net = Learner(dims, scale=1e-2)
    net.order = NO_RELU
    where = "layer 1" if dims is SHALLOW else ALL
    assert set(named_first(check(net)).values()) == {about(M.RELU_LEFT_OUT, where).cause().title}


# ---------------------------------------------------------------------------------------------------------
# The penalty
# ---------------------------------------------------------------------------------------------------------


def only_penalty(grads, net):
    return grads | {"W1": net.reg * net.params["W1"], "W2": net.reg * net.params["W2"]}


def penalty_of_other(grads, net):
    return grads | {"W2": grads["W2"] + net.reg * (net.params["W3"] - net.params["W2"])}


def test_a_gradient_that_is_the_penalty_alone():
    net = Learner(DEEP)
    net.after = only_penalty
    title = Mistake.PENALTY_ONLY.value
    assert named_first(check(net)) == {"dW1": title, "dW2": title}


def test_a_penalty_of_the_wrong_layer():
    net = Learner(EQUAL)
    net.after = penalty_of_other
    assert named_first(check(net)) == {"dW2": about(Mistake.PENALTY_OF_ANOTHER, "W3").cause().title}


def test_a_loss_that_penalizes_one_weight_instead_of_another():
    net = Learner(DEEP)
    right = net.loss

    def loss(X, y):
        value, grads = right(X, y)
        W1, W3 = net.params["W1"], net.params["W3"]
        return value + 0.5 * net.reg * ((W1**2).sum() - (W3**2).sum()), grads

    net.loss = loss
    title = about(Mistake.LOSS_PENALTY_UNEVEN, "W1 twice and W3 not at all").cause().title
    report = check(net)
    assert named_first(report) == {"dW1": title, "dW3": title}
    assert "The gradient is right." in str(report)


def test_a_penalty_is_uneven_only_if_one_weight_takes_the_place_of_another():
    assert uneven_penalty({"W1": 2.0, "W2": 1.0, "W3": 0.0}) == "W1 twice and W3 not at all"
    assert uneven_penalty({"W1": 2.0, "W2": 2.0, "b1": 0.0}) == ""
    assert uneven_penalty({"W1": 1.0, "W2": 0.0}) == ""
    assert uneven_penalty({}) == ""


def test_numbers_that_are_rounding_noise_print_as_0():
    net = Learner(SHALLOW)
    net.after = data_loss_only
    evidence = [cause.evidence for cause in check(net).all_causes()]
    assert evidence == [f"the gradient contains 0 * reg * {W}, expected 1 * reg * {W}" for W in ("W1", "W2")]


def test_a_loss_that_penalizes_a_bias_is_wrong_and_its_gradient_is_right():
    net = Learner(SHALLOW)
    right = net.loss

    def loss(X, y):
        value, grads = right(X, y)
        return value + 0.5 * net.reg * (net.params["b1"] ** 2).sum(), grads

    net.loss = loss
    (cause,) = check(net).all_causes()
    expected = "the loss contains 1 * 0.5 * reg * sum(b1 * b1), expected 0 * 0.5 * reg * sum(b1 * b1)"
    assert cause.evidence == expected
    assert cause.look.endswith("The gradient is right.")


# ---------------------------------------------------------------------------------------------------------
# The right gradients
# ---------------------------------------------------------------------------------------------------------


def case_of(model, X, y):
    value, grads = model.loss(X, y)
    assert np.isfinite(value)

    def loss():
        return model.loss(X, y)[0]

    numeric = {name: numeric_gradient(loss, param, 1.0).centered for name, param in model.params.items()}
    known = knowledge_of(model, X, y, grads, loss)
    return Case(grads["W1"], numeric["W1"], name="W1", numeric=numeric, tol=1e-5, floor=1e-5, **known)


def reference(**options):
    np.random.seed(0)
    return fc_net.FullyConnectedNet([5, 6], 6, 4, reg=0.3, dtype=np.float64, seed=2, **options)


@pytest.mark.parametrize("scale", [0.3, 1.0])
@pytest.mark.parametrize(
    "options",
    [{}, {"dropout": 0.7}, {"normalization": "batchnorm"}, {"normalization": "layernorm", "dropout": 0.7}],
)
def test_the_right_gradients_of_a_known_network(options, scale):
    model = reference(weight_scale=scale, **options)
    X, y = minibatch()
    gradients = right_gradients(case_of(model, X, y))
    right = model.loss(X, y)[1]
    assert gradients.keys() == right.keys()
    for name, grad in right.items():
        np.testing.assert_allclose(gradients[name], grad, rtol=1e-9, atol=1e-13)


def test_an_unknown_network_has_no_right_gradients():
    model = reference(weight_scale=0.3)
    right = model.loss
    model.loss = lambda X, y: (1.01 * right(X, y)[0], right(X, y)[1])
    assert right_gradients(case_of(model, *minibatch())) == {}


# ---------------------------------------------------------------------------------------------------------
# What follows from which gradients are right
# ---------------------------------------------------------------------------------------------------------

LAYER_1_WRONG = "those of layer 1 are wrong: look at the backward pass between the two."
CONCLUSIONS = [
    ("W2 b2", "W1 b1", f"The gradients of layer 2 are right and {LAYER_1_WRONG}"),
    (
        "W3 b3",
        "W1 b1 W2 b2",
        "The gradients of layer 3 are right and those of layers 1 and 2 are wrong: "
        "look at the backward pass between layers 3 and 2.",
    ),
    (
        "W1 b1 b2",
        "W2",
        "The gradient of W2 is wrong, but what is passed on to layer 1 is right: "
        "look at how dW2 is computed.",
    ),
    (
        "W2 b2 gamma1 beta1",
        "W1 b1",
        "The gradients of beta1 and gamma1 are right and those of W1 and b1 are wrong: "
        "look at the backward pass of layer 1 between its normalization and its weights.",
    ),
    (
        "b2",
        "W1 b1 W2",
        "The gradient of W2 is wrong: look at how dW2 is computed. "
        f"The gradient of b2 is right and {LAYER_1_WRONG}",
    ),
    (
        "b1 b2",
        "W1 W2",
        "All gradients of weights are wrong and all others are right: "
        "look at how dW is computed, and at the regularization.",
    ),
    (
        "W1 W2",
        "b1 b2",
        "All gradients of biases are wrong and all others are right: look at how db is computed.",
    ),
    ("b1", "W1 gamma1 beta1 W2 b2", ALL_WRONG),
    ("", "W1 b1", ALL_WRONG),
    ("V", "U b", "The gradient of V is right; the gradients of U and b are wrong."),
    ("W1 b1", "", ""),
    ("", "W", ""),
    ("", "", ""),
]


@pytest.mark.parametrize("right, wrong, sentence", CONCLUSIONS)
def test_what_follows_from_which_gradients_are_right(right, wrong, sentence):
    assert conclusion(right.split(), wrong.split()) == sentence
