"""Mistakes inside of one layer of a network, and penalties of another form."""

import numpy as np
import pytest
from broken_layers import named_first, titles_of
from test_diagnosis_networks import (
    DEEP,
    EQUAL,
    LAYER,
    NORM,
    SHALLOW,
    ConvLearner,
    Learner,
    about,
    case_of,
    check,
    gradients_into,
    minibatch,
    tiles_of,
    upsampled,
)

from cs231n import layers
from cs231n.fast_layers import (
    conv_backward_fast,
    conv_forward_fast,
    max_pool_backward_fast,
    max_pool_forward_fast,
)
from cs231n.gradcheck.check import PASS, WARN, check_model
from cs231n.gradcheck.diagnosis import Mistake
from cs231n.gradcheck.diagnosis.networks import find_networks

pytestmark = pytest.mark.q1
M = Mistake


def inside(mistake, where, what=""):
    return f"in the dx of {where}, {mistake.value.format(what)}"


# ---------------------------------------------------------------------------------------------------------
# Normalizations
# ---------------------------------------------------------------------------------------------------------


def norm_dx(dout, cache, axis, squared=False, r=1.0, x_hat_missing=False):
    gamma = cache["gamma"] ** (2 if squared else 1)
    g, x_hat = dout * gamma, cache["x_hat"]
    mean, product = g.mean(axis, keepdims=True), (g * x_hat).mean(axis, keepdims=True)
    return (g - mean - (1 if x_hat_missing else x_hat) * product) / cache["std"] / r


class WrongNorm(Learner):
    """A network whose normalizations have a mistake in dx: all of them, or that of one layer."""

    only = None
    wrong = staticmethod(norm_dx)

    def norm(self, dout, cache, i, grads):
        dx = super().norm(dout, cache, i, grads)
        return dx if self.only not in (None, i) else self.wrong(dout, cache, self.axis)


NORMS = {
    "gamma-twice": (M.GAMMA_TWICE, lambda *args: norm_dx(*args, squared=True)),
    "variance": (M.DIVIDED_BY_VARIANCE, lambda dout, cache, axis: norm_dx(dout, cache, axis) / cache["std"]),
    "no-x-hat": (M.NO_X_HAT, lambda *args: norm_dx(*args, x_hat_missing=True)),
}


@pytest.mark.parametrize("options", [NORM, LAYER], ids=["batch", "layer"])
@pytest.mark.parametrize("only", [None, 1, 2])
@pytest.mark.parametrize("name", NORMS)
def test_a_mistake_in_the_dx_of_normalizations_is_named(name, only, options):
    mistake, wrong = NORMS[name]
    net = WrongNorm(DEEP, **options)
    net.only, net.wrong = only, wrong
    where = "the normalization of all layers" if only is None else f"the normalization of layer {only}"
    named = named_first(check(net))
    assert set(named.values()) == {inside(mistake, where)}
    assert "dW1" in named


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("again", [False, True])
@pytest.mark.parametrize("dims", [SHALLOW, DEEP])
def test_the_backward_pass_of_another_normalization_is_named(dims, again, axis):
    def wrong(dout, cache, axis):
        if again:
            z, other = cache["z"], 1 - axis
            std = np.sqrt(z.var(other, keepdims=True) + 1e-5)
            cache = cache | {"x_hat": (z - z.mean(other, keepdims=True)) / std, "std": std}
        return norm_dx(dout, cache, 1 - axis)

    net = WrongNorm(dims, axis=axis)
    net.wrong = wrong
    if again:
        net.norm = lambda dout, cache, i, grads: other_norm(net, wrong, dout, cache, i, grads, axis)
    expected = about(M.NORM_OF_ANOTHER_KIND, ("layer", "batch")[axis])
    assert set(named_first(check(net)).values()) == set(titles_of({"": expected}).values())


def other_norm(net, wrong, dout, cache, i, grads, axis):
    """The whole backward pass of the other normalization, with its own x_hat in dgamma."""
    z, other = cache["z"], 1 - axis
    std = np.sqrt(z.var(other, keepdims=True) + 1e-5)
    x_hat = (z - z.mean(other, keepdims=True)) / std
    grads[f"gamma{i}"], grads[f"beta{i}"] = (dout * x_hat).sum(axis=0), dout.sum(axis=0)
    return wrong(dout, cache, axis)


# ---------------------------------------------------------------------------------------------------------
# Affine layers
# ---------------------------------------------------------------------------------------------------------


class PassedOn(Learner):
    only = None

    def affine(self, dout, cache, i, grads):
        dx = super().affine(dout, cache, i, grads)
        return dout if dx.shape == dout.shape and self.only in (None, i) else dx


@pytest.mark.parametrize("only, layers_of_it", [(None, "layers 2 and 3"), (2, "layer 2"), (3, "layer 3")])
def test_an_upstream_gradient_that_is_passed_on_is_named(only, layers_of_it):
    net = PassedOn((6, 6, 6, 6))
    net.only = only
    assert set(named_first(check_model(net, *minibatch(C=6))).values()) == {
        M.UPSTREAM_PASSED_ON.value.format(layers_of_it)
    }


@pytest.mark.parametrize("layer", [2, 3])
def test_dx_that_is_computed_before_relu_is_named(layer):
    class Unmasked(Learner):
        def relu(self, dout, cache, i, grads):
            cache["unmasked"] = dout
            return super().relu(dout, cache, i, grads)

        def affine(self, dout, cache, i, grads):
            dx = super().affine(dout, cache, i, grads)
            return cache["unmasked"] @ cache["w"].T if i == layer else dx

    expected = M.BEFORE_RELU_BACKWARD.value.format(f"dx of layer {layer}")
    assert set(named_first(check(Unmasked(EQUAL))).values()) == {expected}


# ---------------------------------------------------------------------------------------------------------
# Convolution and pooling
# ---------------------------------------------------------------------------------------------------------


def into(choose):
    """The backward pass of a pooling that gives each gradient to the entry that `choose` says, 0 to 3."""
    return lambda dout, conv: gradients_into(choose(tiles_of(conv)), dout)


def largest(tiles):
    return tiles.argmax(axis=-1)


def swapped(tiles):
    row, column = np.divmod(largest(tiles), 2)
    return 2 * column + row


def untransposed(dout, conv):
    N, F, H, W = conv.shape
    tiles = into(largest)(dout, conv).reshape(N, F, H // 2, 2, W // 2, 2)
    return tiles.transpose(0, 1, 2, 4, 3, 5).reshape(conv.shape)


POOLS = {
    "row-and-column": (M.ARGMAX_SWAPPED, into(swapped)),
    "smallest": (M.SMALLEST_TAKES_IT, into(lambda tiles: tiles.argmin(axis=-1))),
    "untransposed": (M.ORDER_MIXED, untransposed),
    "image-0": (None, lambda dout, conv: into(largest)(np.broadcast_to(dout[:1], dout.shape), conv)),
}


@pytest.mark.parametrize("sizes", [{}, {"C": 1, "H": 4, "W": 4, "F": 4, "size": 5, "hidden": 6}])
@pytest.mark.parametrize("name", POOLS)
def test_a_mistake_in_the_pooling_of_a_network_is_named(name, sizes):
    mistake, unpool = POOLS[name]
    net = ConvLearner(**sizes)
    net.unpool = unpool
    named = set(named_first(check_model(net, net.X, net.y)).values())
    title = inside(mistake or M.ONE_FOR_ALL, "the pooling of layer 1", "" if mistake else "example's dout")
    assert named == {title}


class Shifted(ConvLearner):
    """Its dW1 takes the windows one column to the left of their place."""

    relu_1 = True

    def loss(self, X, y):
        seen, unpool = [], type(self).unpool

        def watched(dout, active):
            seen.append(unpool(self, dout, active) * (active > 0))
            return seen[-1]

        self.unpool = watched
        loss, grads = super().loss(X, y)
        padded = np.pad(X, ((0, 0), (0, 0), (1, 1), (2, 0)))
        windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(2, 3))
        dw = np.einsum("nfhw,nchwij->fcij", seen[-1], windows)
        return loss, grads | {"W1": dw + self.reg * self.params["W1"]}


def test_a_mistake_in_dw_of_a_convolution_is_named():
    net = Shifted()
    report = check_model(net, net.X, net.y)
    assert named_first(report) == {"dW1": M.WINDOWS_SHIFTED.value}


class TwoConvolutions:
    """conv - ReLU - pool - conv - ReLU - pool - affine - softmax, with a place for a mistake in dx."""

    def __init__(self, wrong):
        rng, self.reg, self.wrong = np.random.default_rng(2), 0.1, wrong
        shapes = {"W1": (2, 1, 3, 3), "W2": (3, 2, 3, 3), "W3": (12, 4), "b1": (2,), "b2": (3,), "b3": (4,)}
        self.params = {name: 0.6 * rng.standard_normal(shape) for name, shape in shapes.items()}
        self.X, self.y = rng.standard_normal((4, 1, 8, 8)), np.arange(4)

    def loss(self, X, y):
        p, caches, out, grads = self.params, [], X, {}
        for i in (1, 2):
            param = {"stride": 1, "pad": 1}
            arguments = out, p[f"W{i}"], p[f"b{i}"], param
            out, *cache = conv_relu_pool(*arguments)
            caches.append((arguments, *cache))
        scores, cache = layers.affine_forward(out, p["W3"], p["b3"])
        loss, dout = layers.softmax_loss(scores, y)
        dout, grads["W3"], grads["b3"] = layers.affine_backward(dout, cache)
        for i in (2, 1):
            arguments, conv, relu, pool = caches[i - 1]
            dconv = layers.relu_backward(max_pool_backward_fast(dout, pool), relu)
            dout, grads[f"W{i}"], grads[f"b{i}"] = conv_backward_fast(dconv, conv)
            dout = self.wrong(dout, dconv, arguments)
        for i in (1, 2, 3):
            loss += 0.5 * self.reg * (p[f"W{i}"] ** 2).sum()
            grads[f"W{i}"] += self.reg * p[f"W{i}"]
        return loss, grads


def conv_relu_pool(x, w, b, param):
    z, conv = conv_forward_fast(x, w, b, param)
    a, relu = layers.relu_forward(z)
    out, pool = max_pool_forward_fast(a, {"pool_height": 2, "pool_width": 2, "stride": 2})
    return out, conv, relu, pool


def flipped(dx, dconv, arguments):
    x, w, b, param = arguments
    cache = conv_forward_fast(x, np.ascontiguousarray(w[:, :, ::-1, ::-1]), b, param)[1]
    return conv_backward_fast(dconv, cache)[0]


@pytest.mark.parametrize(
    "wrong, title",
    [(flipped, inside(M.FLIPPED, "the convolution of layer 2")), (lambda dx, *_: np.abs(dx), None)],
)
def test_a_mistake_in_the_dx_of_a_convolution_in_a_network_is_named(wrong, title):
    net = TwoConvolutions(wrong)
    named = named_first(check_model(net, net.X, net.y))
    assert named == {"dW1": title, "db1": title}


@pytest.mark.parametrize("count", [1, 2])
def test_unknown_mistakes_in_what_is_passed_on_have_no_cause(count):
    for noise in (np.abs, lambda x: np.roll(x, 1, axis=-1) + 0.3 * x):
        net = ConvLearner()
        net.unpool = lambda dout, conv, noise=noise: noise(upsampled(dout, conv) * (conv > 0.1))
        assert named_first(check_model(net, net.X, net.y))["dW1"] is None
        deep = WrongNorm(DEEP, axis=count - 1)
        deep.wrong = lambda dout, cache, axis, noise=noise: noise(norm_dx(dout, cache, axis))
        assert named_first(check(deep))["dW1"] is None


@pytest.mark.parametrize("bias", [None, "b1", np.zeros(2), np.full(5, np.nan)], ids=repr)
def test_gradients_of_biases_that_are_unusable_raise_nothing(bias):
    net = WrongNorm(SHALLOW, axis=0)
    net.wrong = NORMS["gamma-twice"][1]
    grads = net.loss(*minibatch())[1]
    net.after = lambda grads, _: grads | {"b1": bias}
    case = case_of(net, *minibatch()) if grads else None
    assert list(find_networks(case)) is not None


# ---------------------------------------------------------------------------------------------------------
# Penalties
# ---------------------------------------------------------------------------------------------------------


class Penalized(Learner):
    """A network with another penalty in its loss, or another term in its gradients."""

    penalty = staticmethod(lambda w: 0.5 * (w * w).sum())
    term = staticmethod(lambda w: w)

    def loss(self, X, y):
        reg, self.reg = self.reg, 0.0
        loss, grads = super().loss(X, y)
        self.reg = reg
        for i in range(1, self.last + 1):
            w = self.params[f"W{i}"]
            loss += reg * self.penalty(w)
            grads[f"W{i}"] = grads[f"W{i}"] + reg * self.term(w)
        return loss, grads


PENALTIES = {
    "square-of-sum": lambda w: 0.5 * w.sum() ** 2,
    "square-of-sum-without-half": lambda w: w.sum() ** 2,
    "absolute": lambda w: np.abs(w).sum(),
    "half-absolute": lambda w: 0.5 * np.abs(w).sum(),
    "no-square": lambda w: 0.5 * w.sum(),
    "mean": lambda w: 0.5 * (w * w).mean(),
    "norm": lambda w: 0.5 * np.sqrt((w * w).sum()),
}
TERMS = {
    "square": lambda w: w * w,
    "half-square": lambda w: 0.5 * w * w,
    "penalty-itself": lambda w: 0.5 * (w * w).sum(),
    "sign": np.sign,
    "absolute": np.abs,
    "mean": lambda w: w.mean(),
}


@pytest.mark.parametrize("dims", [SHALLOW, DEEP])
@pytest.mark.parametrize("name", PENALTIES)
def test_a_penalty_of_another_form_in_the_loss_is_named(name, dims):
    net = Penalized(dims)
    net.penalty = PENALTIES[name]
    named = named_first(check(net))
    assert named.keys() == {f"dW{i}" for i in range(1, len(dims))}
    assert set(named.values()) == {M.LOSS_PENALTY_OF_ANOTHER_FORM.value}


@pytest.mark.parametrize("dims", [SHALLOW, DEEP])
@pytest.mark.parametrize("name", TERMS)
def test_a_term_of_another_form_in_the_gradient_is_named(name, dims):
    net = Penalized(dims)
    net.term = TERMS[name]
    assert set(named_first(check(net)).values()) == {M.PENALTY_OF_ANOTHER_FORM.value}


def test_other_penalties_have_no_such_cause():
    others = (
        (lambda w: (w**4).sum(), lambda w: w),
        (PENALTIES["mean"], np.sign),
        (Penalized.penalty, lambda w: 2 * w - np.sign(w)),  # as far off as with sum(abs(W)) in the loss
    )
    for penalty, term in others:
        net = Penalized(SHALLOW)
        net.penalty, net.term = penalty, term
        titles = {cause.title for comparison in check(net).comparisons for cause in comparison.causes}
        forms = {M.LOSS_PENALTY_OF_ANOTHER_FORM.value, M.PENALTY_OF_ANOTHER_FORM.value}
        assert not titles & forms
    assert check(Penalized(SHALLOW)).status in (PASS, WARN)
