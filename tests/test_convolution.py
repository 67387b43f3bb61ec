"""Convolution and max pooling, the naive layers."""

import numpy as np
import pytest
from agreement import assert_dtype, assert_equal, assert_layer, summary_of
from conftest import (
    DTYPES,
    Layer,
    assert_agrees_with_torch,
    assert_same,
    check_need_dx_false_leaves_out_dx_only,
    check_upstream_gradient_has_the_shape_of_the_output,
    draw,
    draw_all,
    every_layer_check,
    layer_checks,
    layers,
    seeds,
    validation,
)
from geometry import (
    CONVOLUTIONS,
    POOL_2X2,
    POOLINGS,
    REFUSED_CONVOLUTIONS,
    REFUSED_POOLINGS,
    SINGLE_POOLS,
    SINGLE_WINDOWS,
    Pooling,
    convolutions,
    poolings,
)
from hypothesis import given
from scipy.signal import correlate
from torch.nn import functional

from cs231n.layers import (
    conv_backward_naive,
    conv_forward_naive,
    max_pool_backward_naive,
    max_pool_forward_naive,
)

pytestmark = pytest.mark.q4


def conv_layer(geometry):
    return Layer(conv_forward_naive, conv_backward_naive, geometry.shapes, geometry.param)


def pool_layer(geometry):
    return Layer(max_pool_forward_naive, max_pool_backward_naive, (geometry.x,), geometry.param)


def image(rows):
    """One image with one channel."""
    return np.array([[rows]], dtype=float)


@every_layer_check
@layers(**{name: conv_layer(geometry) for name, geometry in CONVOLUTIONS.items()})
def test_convolution_keeps_the_rules(layer, check):
    check(layer)


@every_layer_check
@layers(**{name: pool_layer(geometry) for name, geometry in POOLINGS.items()})
def test_max_pool_keeps_the_rules(layer, check):
    check(layer)


# The check of dout tries a narrower one, which an output one pixel wide does not have.
@layer_checks(check_upstream_gradient_has_the_shape_of_the_output)
@layers(
    **{name: conv_layer(geometry) for name, geometry in SINGLE_WINDOWS.items()},
    **{f"pool_{name}": pool_layer(geometry) for name, geometry in SINGLE_POOLS.items()},
)
def test_a_single_window_keeps_the_rules(layer, check):
    check(layer)


def assert_convolution(arrays, stride, pad, dout, out, grads):
    layer = Layer(conv_forward_naive, conv_backward_naive, (), {"stride": stride, "pad": pad})
    assert_layer(layer, arrays, dout, out, grads, assert_equal)


def test_convolution_on_paper():
    x, w = image([[1, 2, 3], [4, 5, 6], [7, 8, 9]]), image([[1, 2], [3, 4]])
    # 1*1 + 2*2 + 4*3 + 5*4 = 37, then 1 + 2 + 3 + 4 = 10 more per column and 30 per row; a flipped
    # filter would begin with 1*4 + 2*3 + 4*2 + 5*1 = 23
    out = image([[47, 57], [77, 87]])
    dx = image([[1, 2, 0], [3, 4 + 2, 4], [0, 6, 8]])  # w, and 2 w below it
    dw = image([[11, 14], [20, 23]])  # (1, 2, 4, 5) + 2 * (5, 6, 8, 9)
    assert_convolution((x, w, np.array([10.0])), 1, 0, image([[1, 0], [0, 2]]), out, (dx, dw, [3]))


def test_convolution_with_pad_and_stride_on_paper():
    x, w = image([[1, 2], [3, 4]]), image([[1, 10], [100, 1000]])
    # Each window holds one pixel and three zeros: the 1 in its last corner, the 4 in its first.
    out = dx = image([[1000 * 1, 100 * 2], [10 * 3, 1 * 4]])
    dw = image([[4 * 4, 3 * 3], [2 * 2, 1 * 1]])
    assert_convolution((x, w, np.zeros(1)), 2, 1, image([[1, 2], [3, 4]]), out, (dx, dw, [10]))


def test_convolution_sums_over_channels_for_every_filter_on_paper():
    x = np.array([2.0, 3.0]).reshape(1, 2, 1, 1)
    w = np.array([[1.0, 10.0], [100.0, 1000.0]]).reshape(2, 2, 1, 1)
    out = np.reshape([2 + 30 + 0.5, 200 + 3000 + 0.25], x.shape)
    dout = np.array([1.0, 2.0]).reshape(1, 2, 1, 1)
    dx, dw = np.reshape([1 + 200, 10 + 2000], x.shape), np.reshape([2, 3, 4, 6], w.shape)
    assert_convolution((x, w, np.array([0.5, 0.25])), 1, 0, dout, out, (dx, dw, [1, 2]))


def test_max_pool_on_paper():
    x = image([[1, 2, 8, 3], [4, 3, 5, 6], [9, 0, -3, -1], [0, 0, -4, -2]])
    dx = image([[0, 0, 2, 0], [1, 0, 0, 0], [3, 0, 0, 4], [0, 0, 0, 0]])
    layer, dout = pool_layer(Pooling(x.shape, 2, 2, 2)), image([[1, 2], [3, 4]])
    assert_layer(layer, (x,), dout, image([[4, 8], [9, -1]]), (dx,), assert_equal)


def test_overlapping_pools_add_their_gradients():
    x = image([[1, 2, 3], [4, 9, 5], [6, 7, 8]])  # the 9 is in all four windows
    layer = pool_layer(Pooling(x.shape, 2, 2, 1))
    out, dx = image([[9, 9], [9, 9]]), image([[0, 0, 0], [0, 10, 0], [0, 0, 0]])
    assert_layer(layer, (x,), image([[1, 2], [3, 4]]), out, (dx,), assert_equal)


@pytest.mark.parametrize(
    "window, expected",
    [
        ([[5, 5], [5, 5]], [[7, 0], [0, 0]]),
        ([[1, 5], [5, 1]], [[0, 7], [0, 0]]),  # column by column the other would be first
        ([[1, 1], [5, 5]], [[0, 0], [7, 0]]),
        ([[0.0, -0.0], [-0.0, 0.0]], [[7, 0], [0, 0]]),
        ([[-np.inf, -np.inf], [-np.inf, -np.inf]], [[7, 0], [0, 0]]),
    ],
)
def test_first_maximum_in_row_major_order_takes_the_gradient(window, expected):
    _, cache = max_pool_forward_naive(image(window), POOL_2X2)
    rule = "Of several maxima the first in row-major order takes the gradient."
    dx = max_pool_backward_naive(image([[7]]), cache)
    assert_equal("max_pool_backward_naive dx where entries are equal", dx, image(expected), rule)


def test_nan_in_a_window_is_its_maximum():
    x = image([[1, np.nan, 3, 4], [2, 5, 6, 7]])
    out, cache = max_pool_forward_naive(x, POOL_2X2)
    rule = "If a window holds NaN, NaN is its maximum, and takes the gradient."
    assert_equal("max_pool_forward_naive out", out, image([[np.nan, 7]]), rule)
    dx = max_pool_backward_naive(image([[1, 2]]), cache)
    assert_equal("max_pool_backward_naive dx", dx, image([[0, 1, 0, 0], [0, 0, 0, 2]]), rule)


@pytest.mark.parametrize("dtype", DTYPES)
@given(convolutions(), seeds)
def test_convolution_agrees_with_torch(dtype, geometry, seed):
    def in_torch(x, w, b):
        return functional.conv2d(x, w, b, geometry.stride, geometry.pad)

    arrays = draw_all(geometry.shapes, dtype, seed)
    dout = draw(geometry.out, dtype, seed)
    assert_agrees_with_torch(conv_layer(geometry), in_torch, arrays, dout, dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@given(poolings(), seeds)
def test_max_pool_agrees_with_torch(dtype, geometry, seed):
    def in_torch(x):
        return functional.max_pool2d(x, (geometry.height, geometry.width), geometry.stride)

    x, dout = draw(geometry.x, dtype, seed), draw(geometry.out, dtype, seed)
    assert_agrees_with_torch(pool_layer(geometry), in_torch, [x], dout, dtype)


@given(convolutions(), seeds)
def test_convolution_with_stride_1_is_scipys_correlation(geometry, seed):
    x, w, b = draw_all(geometry.shapes, seed=seed)
    pad = geometry.pad
    out, _ = conv_forward_naive(x, w, b, {"stride": 1, "pad": pad})
    padded = np.pad(x, ((0, 0), (0, 0), (pad, pad), (pad, pad)))
    expected = [[correlate(one, filt, "valid", "direct")[0] for filt in w] for one in padded]
    expected = np.array(expected) + b[:, np.newaxis, np.newaxis]
    assert_same(out, expected, np.float64, "conv_forward_naive out", summary_of(conv_forward_naive))


def test_need_dx_false_leaves_out_dx_only():
    for geometry in (CONVOLUTIONS["stride_2_pad_1"], CONVOLUTIONS["pointwise"]):
        check_need_dx_false_leaves_out_dx_only(conv_layer(geometry))


def test_settings_may_be_numpy_integers():
    geometry = CONVOLUTIONS["stride_2_pad_1"]
    arrays = draw_all(geometry.shapes)
    param = {name: np.int64(value) for name, value in geometry.param.items()}
    expected, _ = conv_forward_naive(*arrays, geometry.param)
    rule = "stride and pad may be NumPy integers."
    assert_equal("conv_forward_naive out", conv_forward_naive(*arrays, param)[0], expected, rule)


def test_integer_images_are_computed_in_float64():
    out, cache = conv_forward_naive(
        np.arange(9).reshape(1, 1, 3, 3), np.full((1, 1, 3, 3), 0.5), np.zeros(1), {"stride": 1, "pad": 0}
    )
    rule = "Images of integers are computed in float64."
    assert_same(out, image([[18]]), np.float64, "conv_forward_naive out", rule)  # (0 + ... + 8) / 2
    dx, _, _ = conv_backward_naive(np.ones((1, 1, 1, 1)), cache)
    assert_dtype("conv_backward_naive dx", dx, np.float64, rule)
    pooled, _ = max_pool_forward_naive(np.arange(4).reshape(1, 1, 2, 2), POOL_2X2)
    assert_dtype("max_pool_forward_naive out", pooled, np.float64, rule)


@validation
@pytest.mark.parametrize("x, w, b, conv_param, message", REFUSED_CONVOLUTIONS)
def test_convolution_that_does_not_fit_is_refused(x, w, b, conv_param, message):
    with pytest.raises(ValueError, match=message):
        conv_forward_naive(*draw_all([x, w, b]), conv_param)


@validation
def test_a_number_for_the_biases_is_refused():
    with pytest.raises(ValueError, match=r"b must have shape \(1,\).*got \(\)"):
        conv_forward_naive(draw((2, 3, 4, 4)), draw((1, 3, 3, 3)), 0.5, {"stride": 1, "pad": 0})


@validation
@pytest.mark.parametrize("x, settings, message", REFUSED_POOLINGS)
def test_pooling_that_does_not_fit_is_refused(x, settings, message):
    with pytest.raises(ValueError, match=message):
        max_pool_forward_naive(draw(x), POOL_2X2 | settings)


@validation
@pytest.mark.parametrize("missing", POOL_2X2)
def test_pooling_needs_all_of_its_settings(missing):
    settings = {name: value for name, value in POOL_2X2.items() if name != missing}
    with pytest.raises(ValueError, match=rf"pool_param\['{missing}'\] must be an integer.*got None"):
        max_pool_forward_naive(draw((2, 3, 4, 4)), settings)


@validation
@pytest.mark.parametrize("shape", [(2, 3, 2, 1), (1, 3, 2, 2), (2, 1, 2, 2), (3, 2, 2), (2, 3, 4, 4)])
def test_upstream_gradient_that_does_not_fit_is_refused(shape):
    x = draw((2, 3, 4, 4))
    _, conv_cache = conv_forward_naive(x, draw((3, 3, 3, 3)), draw(3), {"stride": 1, "pad": 0})
    _, pool_cache = max_pool_forward_naive(x, POOL_2X2)
    for backward, cache in ((conv_backward_naive, conv_cache), (max_pool_backward_naive, pool_cache)):
        with pytest.raises(ValueError, match=r"dout must have shape \(2, 3, 2, 2\) \(that of the output\)"):
            backward(draw(shape), cache)
