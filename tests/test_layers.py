"""Affine and ReLU layers and the sandwich of the two."""

import math

import numpy as np
import pytest
from conftest import (
    DTYPES,
    Layer,
    assert_same,
    draw,
    draw_all,
    every_layer_check,
    layers,
    seeds,
    sizes,
    torch_gradients,
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
    out, cache = affine_forward(x, w, b)
    np.testing.assert_array_equal(out, [[19, 32, 45]])  # 1*1 + 2*4 + 10, 1*2 + 2*5 + 20, 1*3 + 2*6 + 30

    dx, dw, db = affine_backward(np.array([[1.0, 0.0, -1.0]]), cache)
    np.testing.assert_array_equal(dx, [[[-2], [-2]]])  # 1*1 - 1*3, 1*4 - 1*6
    np.testing.assert_array_equal(dw, [[1, 0, -1], [2, 0, -2]])  # x^T dout
    np.testing.assert_array_equal(db, [1, 0, -1])


def test_bias_gradient_sums_over_the_minibatch():
    x, w, b = draw_all([(3, 2), (2, 2), (2,)])
    _, cache = affine_forward(x, w, b)
    *_, db = affine_backward(np.array([[1.0, 10.0], [2.0, 20.0], [3.0, 30.0]]), cache)
    np.testing.assert_array_equal(db, [6, 60])


def test_relu_on_paper():
    out, cache = relu_forward(np.array([[-2.0, 0.0, 3.0]]))
    np.testing.assert_array_equal(out, [[0, 0, 3]])
    np.testing.assert_array_equal(relu_backward(np.array([[5.0, 6.0, 7.0]]), cache), [[0, 0, 7]])


def test_relu_gradient_at_exactly_zero_is_zero():
    _, cache = relu_forward(np.array([0.0, -0.0]))
    np.testing.assert_array_equal(relu_backward(np.ones(2), cache), [0, 0])


def affine_in_torch(x, w, b):
    return functional.linear(x.flatten(1), w.T, b)


def affine_relu_in_torch(x, w, b):
    return functional.relu(affine_in_torch(x, w, b))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    "forward, backward, in_torch",
    [
        (affine_forward, affine_backward, affine_in_torch),
        (affine_relu_forward, affine_relu_backward, affine_relu_in_torch),
    ],
)
@given(affine_shapes, seeds)
def test_affine_agrees_with_torch(forward, backward, in_torch, dtype, shape, seed):
    N, dims, M = shape
    arrays = draw_all([(N, *dims), (math.prod(dims), M), (M,)], dtype, seed)
    dout = draw((N, M), dtype, seed)
    out, cache = forward(*arrays)
    expected_out, expected_grads = torch_gradients(in_torch, arrays, dout)
    assert_same(out, expected_out, dtype)
    for grad, expected in zip(backward(dout, cache), expected_grads, strict=True):
        assert_same(grad, expected, dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@given(st.lists(sizes, min_size=1, max_size=4), seeds)
def test_relu_agrees_with_torch(dtype, shape, seed):
    x, dout = draw_all([shape, shape], dtype, seed)
    out, cache = relu_forward(x)
    expected_out, (expected_dx,) = torch_gradients(functional.relu, [x], dout)
    assert_same(out, expected_out, dtype)
    assert_same(relu_backward(dout, cache), expected_dx, dtype)


def test_integer_input_is_computed_in_float64():
    out, cache = affine_forward(np.array([[1, 2]]), np.eye(2), np.full(2, 0.5))
    assert_same(out, [[1.5, 2.5]], np.float64)
    assert affine_backward(np.ones((1, 2)), cache)[0].dtype == np.float64


@layers(affine=AFFINE, affine_relu=AFFINE_RELU)
def test_need_dx_false_leaves_out_dx_only(layer):
    arrays, dout = layer.draw()
    _, cache = layer(*arrays)
    dx, dw, db = layer.backward(dout, cache, need_dx=False)
    assert dx is None
    for grad, expected in zip((dw, db), layer.backward(dout, cache)[1:], strict=True):
        np.testing.assert_array_equal(grad, expected)


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
