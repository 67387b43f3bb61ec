"""Affine and ReLU layers and the sandwich of the two."""

import math

import numpy as np
import pytest
from agreement import assert_dtype, assert_equal, assert_layer
from conftest import (
    DTYPES,
    Layer,
    assert_agrees_with_torch,
    assert_same,
    check_need_dx_false_leaves_out_dx_only,
    draw,
    draw_all,
    every_layer_check,
    layers,
    seeds,
    sizes,
    validation,
)
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional

from cs231n.layer_utils import affine_relu_backward, affine_relu_forward
from cs231n.layers import affine_backward, affine_forward, relu_backward, relu_forward

pytestmark = pytest.mark.q1

AFFINE = Layer(affine_forward, affine_backward, ((4, 2, 3), (6, 5), (5,)))
RELU = Layer(relu_forward, relu_backward, ((4, 2, 3),))
AFFINE_RELU = Layer(affine_relu_forward, affine_relu_backward, AFFINE.shapes)
ONE_EXAMPLE = ((1, 6), (6, 5), (5,))

affine_shapes = st.tuples(sizes, st.lists(sizes, min_size=1, max_size=3), sizes)


@every_layer_check
@layers(
    affine=AFFINE,
    affine_one_example=AFFINE._replace(shapes=ONE_EXAMPLE),
    relu=RELU,
    relu_vector=RELU._replace(shapes=((7,),)),
    affine_relu=AFFINE_RELU,
    affine_relu_one_example=AFFINE_RELU._replace(shapes=ONE_EXAMPLE),
)
def test_layer_keeps_the_rules(layer, check):
    check(layer)


def test_affine_on_paper():
    x = np.array([[[1.0], [2.0]]])  # one example of shape (2, 1): the row (1, 2)
    w = np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
    b = np.array([10.0, 20.0, 30.0])
    out = [[19, 32, 45]]  # 1*1 + 2*4 + 10, 1*2 + 2*5 + 20, 1*3 + 2*6 + 30
    dout = np.array([[1.0, 0.0, -1.0]])
    dx = [[[-2], [-2]]]  # 1*1 - 1*3, 1*4 - 1*6
    dw = [[1, 0, -1], [2, 0, -2]]  # x^T dout
    assert_layer(AFFINE, (x, w, b), dout, out, (dx, dw, [1, 0, -1]), assert_equal)


def test_bias_gradient_sums_over_the_minibatch():
    x, w, b = draw_all([(3, 2), (2, 2), (2,)])
    _, cache = affine_forward(x, w, b)
    *_, db = affine_backward(np.array([[1.0, 10.0], [2.0, 20.0], [3.0, 30.0]]), cache)
    assert_equal("affine_backward db", db, [6, 60], "It is the sum of dout over the minibatch.")


def test_relu_on_paper():
    x, dout = np.array([[-2.0, 0.0, 3.0]]), np.array([[5.0, 6.0, 7.0]])
    assert_layer(RELU, (x,), dout, [[0, 0, 3]], ([[0, 0, 7]],), assert_equal)


def test_relu_gradient_at_exactly_zero_is_zero():
    _, cache = relu_forward(np.array([0.0, -0.0]))
    rule = "Where x is exactly 0, the gradient has to be 0."
    assert_equal("relu_backward dx", relu_backward(np.ones(2), cache), [0, 0], rule)


def affine_in_torch(x, w, b):
    return functional.linear(x.flatten(1), w.T, b)


def affine_relu_in_torch(x, w, b):
    return functional.relu(affine_in_torch(x, w, b))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("layer, in_torch", [(AFFINE, affine_in_torch), (AFFINE_RELU, affine_relu_in_torch)])
@given(affine_shapes, seeds)
def test_affine_agrees_with_torch(layer, in_torch, dtype, shape, seed):
    N, dims, M = shape
    arrays = draw_all([(N, *dims), (math.prod(dims), M), (M,)], dtype, seed)
    assert_agrees_with_torch(layer, in_torch, arrays, draw((N, M), dtype, seed), dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@given(st.lists(sizes, min_size=1, max_size=4), seeds)
def test_relu_agrees_with_torch(dtype, shape, seed):
    x, dout = draw_all([shape, shape], dtype, seed)
    assert_agrees_with_torch(RELU, functional.relu, [x], dout, dtype)


def test_integer_input_is_computed_in_float64():
    out, cache = affine_forward(np.array([[1, 2]]), np.eye(2), np.full(2, 0.5))
    rule = "An x of integers is computed in float64."
    assert_same(out, [[1.5, 2.5]], np.float64, "affine_forward out", rule)
    assert_dtype("affine_backward dx", affine_backward(np.ones((1, 2)), cache)[0], np.float64, rule)


@layers(affine=AFFINE, affine_relu=AFFINE_RELU)
def test_need_dx_false_leaves_out_dx_only(layer):
    check_need_dx_false_leaves_out_dx_only(layer)


@validation
@pytest.mark.parametrize(
    "x, w, b, message",
    [
        ((4, 7), (6, 5), (5,), r"x must have shape .* = 6.*got \(4, 7\), which has 7 features"),
        ((6,), (6, 5), (5,), r"x must have shape \(N, d1, ..., dk\).*got \(6,\)"),
        ((6,), (1, 5), (5,), r"x must have shape .*got \(6,\)"),
        ((4, 6), (6,), (5,), r"w must have the axes \(D, M\); got the shape \(6,\)"),
        ((4, 6), (6, 5), (1,), r"b must have shape \(5,\) \(one bias per column of w\); got \(1,\)"),
        ((4, 6), (6, 5), (4, 5), r"b must have shape \(5,\)"),
    ],
)
@pytest.mark.parametrize("forward", [affine_forward, affine_relu_forward])
def test_shapes_that_do_not_fit_are_refused(forward, x, w, b, message):
    with pytest.raises(ValueError, match=message):
        forward(*draw_all([x, w, b]))
