"""Planted bugs in networks: in the penalty, in the gradients that are returned, in one layer of a chain.

A bug replaces `loss(X, y)` of a right network: it changes what the right one returned.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import broken_layers as broken
import numpy as np
import pytest
from broken_layers import SUBJECTS, about, named_first, titles_of

from cs231n import layers
from cs231n.classifiers import cnn, fc_net
from cs231n.gradcheck.check import FAIL, PASS, WARN, check_model
from cs231n.gradcheck.diagnosis import Kind, Mistake

pytestmark = pytest.mark.q1

P, SEED = 0.7, 1  # of dropout
ALL_W, ALL_B = ("W1", "W2"), ("b1", "b2")


def make_model(kind):
    """A small network of a kind, in float64, without a parameter that is 0, and a minibatch for it."""
    rng = np.random.default_rng(3)
    if kind == "conv":
        model = cnn.ThreeLayerConvNet((2, 4, 6), 3, 3, 7, 5, reg=0.3, dtype=np.float64)
        X = rng.standard_normal((4, 2, 4, 6))
    elif kind == "two-layer":
        model, X = fc_net.TwoLayerNet(6, 5, 3, reg=0.3), rng.standard_normal((4, 6))
    else:
        options = {"dropout": P, "seed": SEED} if kind == "dropout" else {"normalization": kind}
        model = fc_net.FullyConnectedNet([5], 6, 3, reg=0.3, dtype=np.float64, **options)
        X = rng.standard_normal((8, 6))
    for param in model.params.values():
        param[...] = 0.5 * rng.standard_normal(param.shape)
    return model, X, np.arange(len(X)) % 3


class Batch(NamedTuple):
    """What a bug may look at, and the gradients that it changes in place."""

    model: Any
    X: np.ndarray
    y: np.ndarray
    grads: dict[str, Any]


def plant(model, change):
    """Let `change(batch)` change the gradients of a network; what it returns is added to the loss."""
    right = model.loss

    def loss(X, y):
        value, grads = right(X, y)
        return value + (change(Batch(model, X, y, grads)) or 0.0), grads

    model.loss = loss


# ---------------------------------------------------------------------------------------------------------
# Changes of a batch
# ---------------------------------------------------------------------------------------------------------


def in_gradient(times, names):
    """The change that adds `times` reg * W to the gradients of some parameters."""

    def change(batch):
        for name in names:
            batch.grads[name] += times * batch.model.reg * batch.model.params[name]

    return change


def in_loss(times, names):
    """The change that adds the penalty of some parameters to the loss, `times` times."""

    def change(batch):
        params = (batch.model.params[name] for name in names)
        return times * 0.5 * batch.model.reg * sum(np.vdot(param, param) for param in params)

    return change


def both(*changes):
    def change(batch):
        return sum(part(batch) or 0.0 for part in changes)

    return change


def summed_penalty(batch):
    for name in ALL_W:
        W = batch.model.params[name]
        batch.grads[name] += batch.model.reg * (W.sum() - W)


def penalty_without_reg(batch):
    for name in ALL_W:
        batch.grads[name] += (1 - batch.model.reg) * batch.model.params[name]


def sum_over_examples(batch):
    """The gradients of a loss that is not divided by N; the penalty's are right."""
    for name, grad in batch.grads.items():
        penalty = batch.model.reg * batch.model.params[name] if name in ALL_W else 0.0
        grad += (len(batch.X) - 1) * (grad - penalty)


def without_b2(batch):
    del batch.grads["b2"]


def b2_for_b1(batch):
    batch.grads["b1"] = batch.grads["b2"]


def beta_for_gamma(batch):
    grads = batch.grads
    grads["gamma1"], grads["beta1"] = grads["beta1"], grads["gamma1"]


def first_layer(batch, *middle):
    """Put the gradients of W1 and b1 through other layers between the two affine ones.

    - middle: (forward, backward) pairs of functions of one array
    """
    params, grads, reg = batch.model.params, batch.grads, batch.model.reg
    out, caches = batch.X @ params["W1"] + params["b1"], []
    for forward, _ in middle:
        out, cache = forward(out)
        caches.append(cache)
    _, dscores = layers.softmax_loss(out @ params["W2"] + params["b2"], batch.y)
    dout = dscores @ params["W2"].T
    for (_, backward), cache in zip(reversed(middle), reversed(caches), strict=True):
        dout = backward(dout, cache)
    grads["W1"][...] = batch.X.T @ dout + reg * params["W1"]
    grads["b1"][...] = dout.sum(axis=0)


RELU = layers.relu_forward, layers.relu_backward
DROPOUT = SUBJECTS["dropout"]._replace(behind=({"mode": "train", "p": P, "seed": SEED},), settings={"p": P})
BATCHNORM = SUBJECTS["batchnorm"]._replace(behind=({"mode": "train"},), settings={"eps": 1e-5})


def of_one_array(pair):
    """A pair whose backward pass returns the tuple (dx,), with dx alone."""
    forward, backward = pair
    return forward, lambda dout, cache: backward(dout, cache)[0]


def no_relu(batch):
    first_layer(batch, (layers.relu_forward, lambda dout, cache: dout))


def through_dropout(wrong):
    """The change to a network whose dropout has another dx: a function of a run, see `broken_layers`."""

    def change(batch):
        first_layer(batch, RELU, of_one_array(broken.broken_pair(DROPOUT, **wrong)))

    return change


def through_batchnorm(wrong):
    """The change to a network whose batch normalization has another dx."""

    def change(batch):
        gamma, beta = batch.model.params["gamma1"], batch.model.params["beta1"]
        forward, backward = of_one_array(broken.broken_pair(BATCHNORM, **wrong))
        first_layer(batch, (lambda x: forward(x, gamma, beta), backward), RELU)

    return change


# ---------------------------------------------------------------------------------------------------------
# Planted bugs
# ---------------------------------------------------------------------------------------------------------


class Bug(NamedTuple):
    """A change of a network, and what is expected of the gradients that it makes wrong."""

    model: str
    name: str
    change: Callable[[Batch], Any]
    expected: dict[str, Any]


def everywhere(mistake, names=ALL_W):
    return dict.fromkeys(names, mistake)


def on_others(name):
    return about(Mistake.PENALTY_ON_OTHERS, name)


def of_layer_1(mistake):
    return everywhere(about(mistake, "layer 1"), ("W1", "b1"))


NO_VARIANCE = about(Mistake.TERM_MISSING, "variance")
CONV_W, CONV_B = (*ALL_W, "W3"), (*ALL_B, "b3")

BUGS = [
    Bug("two-layer", "no-penalty", in_gradient(-1, ALL_W), everywhere(Mistake.PENALTY_MISSING)),
    Bug("two-layer", "penalty-twice", in_gradient(1, ALL_W), everywhere(Mistake.PENALTY_TWICE)),
    Bug("two-layer", "penalty-half", in_gradient(-0.5, ALL_W), everywhere(Mistake.PENALTY_HALF)),
    Bug("two-layer", "penalty-sign", in_gradient(-2, ALL_W), everywhere(Mistake.PENALTY_NEGATIVE)),
    Bug("two-layer", "penalty-strength", in_gradient(-0.7, ALL_W), everywhere(Mistake.PENALTY_SCALED)),
    Bug("two-layer", "penalty-sum", summed_penalty, everywhere(Mistake.PENALTY_SUMMED)),
    Bug("two-layer", "penalty-no-reg", penalty_without_reg, everywhere(Mistake.PENALTY_WITHOUT_REG)),
    Bug("two-layer", "first-weights-only", in_gradient(-1, ["W2"]), {"W2": Mistake.PENALTY_MISSING}),
    Bug("two-layer", "biases", in_gradient(1, ALL_B), everywhere(on_others("biases"), ALL_B)),
    Bug("two-layer", "loss-without-penalty", in_loss(-1, ALL_W), everywhere(Mistake.LOSS_PENALTY_MISSING)),
    Bug("two-layer", "loss-without-half", in_loss(1, ALL_W), everywhere(Mistake.LOSS_PENALTY_TWICE)),
    Bug("two-layer", "reg-w-squared", both(in_loss(1, ALL_W), in_gradient(1, ALL_W)), {}),
    Bug(
        "two-layer",
        "no-mean",
        sum_over_examples,
        everywhere(Mistake.SCORES_SUMMED, ALL_W + ALL_B),
    ),
    Bug("two-layer", "missing-key", without_b2, {"b2": Mistake.NONE}),
    Bug("two-layer", "keys-mixed", b2_for_b1, {"b1": about(Mistake.OF_ANOTHER_ARGUMENT, "b2")}),
    Bug("two-layer", "no-relu", no_relu, of_layer_1(Mistake.RELU_LEFT_OUT)),
    Bug("batchnorm", "gammas", both(in_loss(1, ["gamma1"]), in_gradient(1, ["gamma1"])), {}),
    Bug("batchnorm", "gammas-gradient-only", in_gradient(1, ["gamma1"]), {"gamma1": on_others("gammas")}),
    Bug("layernorm", "betas-gradient-only", in_gradient(1, ["beta1"]), {"beta1": on_others("betas")}),
    Bug("batchnorm", "no-penalty", in_gradient(-1, ALL_W), everywhere(Mistake.PENALTY_MISSING)),
    Bug(
        "batchnorm",
        "gamma-beta-order",
        beta_for_gamma,
        {
            "gamma1": about(Mistake.OF_ANOTHER_ARGUMENT, "beta1"),
            "beta1": about(Mistake.OF_ANOTHER_ARGUMENT, "gamma1"),
        },
    ),
    Bug("batchnorm", "no-variance", through_batchnorm({"dx": broken.no_variance_term}), {"W1": NO_VARIANCE}),
    Bug(
        "dropout",
        "no-mask",
        through_dropout({"dx": lambda run: run.dout}),
        of_layer_1(Mistake.DROPOUT_LEFT_OUT),
    ),
    Bug(
        "dropout",
        "no-scale",
        through_dropout({"dx": lambda run: run.dout * (broken.mask_of(run) > 0)}),
        of_layer_1(Mistake.DROPOUT_UNSCALED),
    ),
    Bug("conv", "no-penalty", in_gradient(-1, CONV_W), everywhere(Mistake.PENALTY_MISSING, CONV_W)),
    Bug("conv", "filters-without-penalty", in_gradient(-1, ["W1"]), {"W1": Mistake.PENALTY_MISSING}),
    Bug("conv", "penalty-twice", in_gradient(1, CONV_W), everywhere(Mistake.PENALTY_TWICE, CONV_W)),
    Bug("conv", "biases", in_gradient(1, CONV_B), everywhere(on_others("biases"), CONV_B)),
]


@pytest.mark.parametrize("planted", BUGS, ids=lambda planted: f"{planted.model}-{planted.name}")
def test_a_bug_in_a_network_is_named(planted):
    model, X, y = make_model(planted.model)
    plant(model, planted.change)
    report = check_model(model, X, y)
    titles = {f"d{name}": title for name, title in titles_of(planted.expected).items()}
    assert named_first(report) == titles, str(report)
    assert all(len(comparison.causes) <= 1 for comparison in report.comparisons), str(report)


NOTHING_WRONG = {
    "two-layer": lambda batch: first_layer(batch, RELU),
    "dropout": through_dropout({}),
    "batchnorm": through_batchnorm({}),
}


@pytest.mark.parametrize("kind", NOTHING_WRONG)
def test_the_way_that_bugs_are_planted_is_right(kind):
    model, X, y = make_model(kind)
    plant(model, NOTHING_WRONG[kind])
    assert check_model(model, X, y).status in (PASS, WARN)


# ---------------------------------------------------------------------------------------------------------
# No false alarms
# ---------------------------------------------------------------------------------------------------------


def test_a_bias_before_batch_normalization_has_the_gradient_zero():
    model, X, y = make_model("batchnorm")
    comparisons = {comparison.name: comparison for comparison in check_model(model, X, y).comparisons}
    assert comparisons.pop("db1").status in (PASS, WARN)
    assert {comparison.status for comparison in comparisons.values()} == {PASS}


class Offset:
    """loss = 1e7 + sum(W ** 2) + 1e-4 sum(b): what is small drowns in the rounding of the loss."""

    def __init__(self, factor=1.0):
        self.params, self.factor = {"W": np.array([1.0, -3.0]), "b": np.array([2.0, 3.0])}, factor

    def loss(self, X, y):
        W, b = self.params["W"], self.params["b"]
        return 1e7 + np.sum(W**2) + 1e-4 * b.sum(), {"W": 2 * W * self.factor, "b": np.full(2, 1e-4)}


def test_what_drowns_in_rounding_is_not_passed():
    """The noise of the slopes is about 1e-3: b's gradient may be right, and the check cannot know."""
    report = check_model(Offset(), None, None)
    assert report.comparisons[0].status != FAIL
    assert [cause.kind for cause in report.all_causes()] == [Kind.UNDECIDED]
    wrong = check_model(Offset(factor=1.01), None, None)
    assert [comparison.status for comparison in wrong.comparisons] == [FAIL, FAIL]
