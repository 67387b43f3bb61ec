"""Mistakes in the way that a sandwich puts its steps together are named, with the names of its arguments."""

import numpy as np
import pytest
from conftest import draw

from cs231n import layers
from cs231n.gradcheck import FAIL, PASS, check_layer
from cs231n.gradcheck.diagnosis import Mistake

THIS = "this layer"


def norm_forward(x, gamma, beta):
    return layers.batchnorm_forward(x, gamma, beta, {"mode": "train"})


def arrays(shape, D, M, *more):
    sizes = (shape, (D, M), (M,), *more)
    return dict(zip(("x", "w", "b", "gamma", "beta"), map(draw, sizes), strict=False))


def affine_relu(x, w, b):
    a, fc = layers.affine_forward(x, w, b)
    out, _ = layers.relu_forward(a)
    return out, (fc, a, x)


def affine_norm_relu(x, w, b, gamma, beta):
    a, fc = layers.affine_forward(x, w, b)
    an, norm = norm_forward(a, gamma, beta)
    out, _ = layers.relu_forward(an)
    return out, (fc, norm, an, a)


def right(dout, cache):
    fc, a, _ = cache
    return layers.affine_backward(dout * (a > 0), fc)


def no_relu(dout, cache):
    return layers.affine_backward(dout, cache[0])


def mask_of_x(dout, cache):
    fc, _, x = cache
    return layers.affine_backward(dout * (x > 0), fc)


def forward_order(dout, cache):
    fc, a, _ = cache
    dx, dw, db = layers.affine_backward(dout, fc)
    return dx * (a > 0), dw, db


def normed(dout, cache, relu=True, norm=True, before=False):
    fc, caches, an, a = cache
    if relu:
        dout = dout * ((a if before else an) > 0)
    da, dgamma, dbeta = layers.batchnorm_backward(dout, caches)
    return *layers.affine_backward(da if norm else dout, fc), dgamma, dbeta


def named(report):
    return {c.name: c.causes[0].title for c in report.comparisons if c.status == FAIL and c.causes}


SQUARE, WIDE = arrays((4, 5), 5, 5), arrays((4, 2, 3), 6, 5)


@pytest.mark.parametrize("inputs", [SQUARE, WIDE], ids=["square", "wide"])
def test_a_right_sandwich_passes(inputs):
    assert check_layer(affine_relu, right, inputs).status == PASS


@pytest.mark.parametrize(
    "backward, mistake, about, inputs",
    [
        (no_relu, Mistake.RELU_LEFT_OUT, THIS, WIDE),
        (no_relu, Mistake.RELU_LEFT_OUT, THIS, SQUARE),
        (mask_of_x, Mistake.RELU_MASK_OF_INPUT, THIS, SQUARE),
    ],
)
def test_affine_relu(backward, mistake, about, inputs):
    titles = named(check_layer(affine_relu, backward, inputs))
    assert titles == dict.fromkeys(("dx", "dw", "db"), mistake.value.format(about))


def test_forward_order():
    titles = named(check_layer(affine_relu, forward_order, SQUARE))
    assert titles["dx"] == Mistake.FORWARD_ORDER.value
    assert titles["dw"] == Mistake.RELU_LEFT_OUT.value.format(THIS)  # the same numbers


@pytest.mark.parametrize(
    "options, mistake, wrong",
    [
        ({"relu": False}, Mistake.RELU_LEFT_OUT, ("dx", "dw", "dgamma", "dbeta")),
        ({"norm": False}, Mistake.NORM_LEFT_OUT, ("dx", "dw", "db")),
        ({"before": True}, Mistake.RELU_MASK_BEFORE_NORM, ("dx", "dw", "dgamma", "dbeta")),
    ],
)
def test_affine_norm_relu(options, mistake, wrong):
    inputs = arrays((6, 4), 4, 3, (3,), (3,))
    inputs["beta"] = 0.5 + 0.1 * inputs["beta"]
    report = check_layer(affine_norm_relu, lambda dout, cache: normed(dout, cache, **options), inputs)
    assert named(report) == dict.fromkeys(wrong, mistake.value.format(THIS))


def test_other_names_are_taken_up():
    inputs = dict(zip(("input", "weight", "bias"), WIDE.values(), strict=True))

    def backward(dout, cache):
        dx, _, _ = right(dout, cache)
        return dx, *no_relu(dout, cache)[1:]

    titles = named(check_layer(affine_relu, backward, inputs))
    assert titles == dict.fromkeys(("dweight", "dbias"), Mistake.RELU_LEFT_OUT.value.format(THIS))


def test_an_unknown_mistake_is_not_accused():
    def backward(dout, cache):
        dx, dw, db = right(dout, cache)
        return dx + 0.1 * np.sin(np.arange(dx.size)).reshape(dx.shape), dw, db

    report = check_layer(affine_relu, backward, WIDE)
    assert report.status == FAIL
    assert named(report) == {}
