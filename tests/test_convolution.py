"""Convolution and max pooling, the naive layers."""

import numpy as np
import pytest
from conftest import (
    DTYPES,
    LAYER_CHECKS,
    Layer,
    assert_same,
    check_upstream_gradient_has_the_shape_of_the_output,
    draw,
    draw_all,
    every_layer_check,
    layers,
    seeds,
    torch_gradients,
)
from geometry import (
    CONVOLUTIONS,
    POOL_2X2,
    POOLINGS,
    REFUSED_CONVOLUTIONS,
    REFUSED_POOLINGS,
    SINGLE_POOLS,
    SINGLE_WINDOWS,
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

# The check of dout tries a narrower one, which an output one pixel wide does not have.
NARROW_CHECKS = [c for c in LAYER_CHECKS if c is not check_upstream_gradient_has_the_shape_of_the_output]


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


@pytest.mark.parametrize("check", NARROW_CHECKS)
@layers(
    **{name: conv_layer(geometry) for name, geometry in SINGLE_WINDOWS.items()},
    **{f"pool_{name}": pool_layer(geometry) for name, geometry in SINGLE_POOLS.items()},
)
def test_a_single_window_keeps_the_rules(layer, check):
    check(layer)


def test_convolution_on_paper():
    x, w = image([[1, 2, 3], [4, 5, 6], [7, 8, 9]]), image([[1, 2], [3, 4]])
    out, cache = conv_forward_naive(x, w, np.array([10.0]), {"stride": 1, "pad": 0})
    # 1*1 + 2*2 + 4*3 + 5*4 = 37, then 1 + 2 + 3 + 4 = 10 more per column and 30 per row; a flipped
    # filter would begin with 1*4 + 2*3 + 4*2 + 5*1 = 23
    np.testing.assert_array_equal(out, image([[47, 57], [77, 87]]))

    dx, dw, db = conv_backward_naive(image([[1, 0], [0, 2]]), cache)
    np.testing.assert_array_equal(dx, image([[1, 2, 0], [3, 4 + 2, 4], [0, 6, 8]]))  # w, and 2 w below it
    np.testing.assert_array_equal(dw, image([[11, 14], [20, 23]]))  # (1, 2, 4, 5) + 2 * (5, 6, 8, 9)
    np.testing.assert_array_equal(db, [3])


def test_convolution_with_pad_and_stride_on_paper():
    x, w = image([[1, 2], [3, 4]]), image([[1, 10], [100, 1000]])
    out, cache = conv_forward_naive(x, w, np.zeros(1), {"stride": 2, "pad": 1})
    # Each window holds one pixel and three zeros: the 1 in its last corner, the 4 in its first.
    np.testing.assert_array_equal(out, image([[1000 * 1, 100 * 2], [10 * 3, 1 * 4]]))

    dx, dw, db = conv_backward_naive(image([[1, 2], [3, 4]]), cache)
    np.testing.assert_array_equal(dx, image([[1000 * 1, 100 * 2], [10 * 3, 1 * 4]]))
    np.testing.assert_array_equal(dw, image([[4 * 4, 3 * 3], [2 * 2, 1 * 1]]))
    np.testing.assert_array_equal(db, [10])


def test_convolution_sums_over_channels_for_every_filter_on_paper():
    x = np.array([2.0, 3.0]).reshape(1, 2, 1, 1)
    w = np.array([[1.0, 10.0], [100.0, 1000.0]]).reshape(2, 2, 1, 1)
    out, cache = conv_forward_naive(x, w, np.array([0.5, 0.25]), {"stride": 1, "pad": 0})
    np.testing.assert_array_equal(out.ravel(), [2 + 30 + 0.5, 200 + 3000 + 0.25])

    dx, dw, db = conv_backward_naive(np.array([1.0, 2.0]).reshape(1, 2, 1, 1), cache)
    np.testing.assert_array_equal(dx.ravel(), [1 + 200, 10 + 2000])
    np.testing.assert_array_equal(dw.ravel(), [2, 3, 4, 6])
    np.testing.assert_array_equal(db, [1, 2])


def test_max_pool_on_paper():
    x = image([[1, 2, 8, 3], [4, 3, 5, 6], [9, 0, -3, -1], [0, 0, -4, -2]])
    out, cache = max_pool_forward_naive(x, POOL_2X2)
    np.testing.assert_array_equal(out, image([[4, 8], [9, -1]]))
    dx = max_pool_backward_naive(image([[1, 2], [3, 4]]), cache)
    np.testing.assert_array_equal(dx, image([[0, 0, 2, 0], [1, 0, 0, 0], [3, 0, 0, 4], [0, 0, 0, 0]]))


def test_overlapping_pools_add_their_gradients():
    x = image([[1, 2, 3], [4, 9, 5], [6, 7, 8]])  # the 9 is in all four windows
    out, cache = max_pool_forward_naive(x, POOL_2X2 | {"stride": 1})
    np.testing.assert_array_equal(out, image([[9, 9], [9, 9]]))
    dx = max_pool_backward_naive(image([[1, 2], [3, 4]]), cache)
    np.testing.assert_array_equal(dx, image([[0, 0, 0], [0, 10, 0], [0, 0, 0]]))


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
    np.testing.assert_array_equal(max_pool_backward_naive(image([[7]]), cache), image(expected))


def test_nan_in_a_window_is_its_maximum():
    x = image([[1, np.nan, 3, 4], [2, 5, 6, 7]])
    out, cache = max_pool_forward_naive(x, POOL_2X2)
    np.testing.assert_array_equal(out, image([[np.nan, 7]]))
    dx = max_pool_backward_naive(image([[1, 2]]), cache)
    np.testing.assert_array_equal(dx, image([[0, 1, 0, 0], [0, 0, 0, 2]]))


@pytest.mark.parametrize("dtype", DTYPES)
@given(convolutions(), seeds)
def test_convolution_agrees_with_torch(dtype, geometry, seed):
    arrays = draw_all(geometry.shapes, dtype, seed)
    dout = draw(geometry.out, dtype, seed)
    out, cache = conv_forward_naive(*arrays, geometry.param)
    expected_out, expected_grads = torch_gradients(
        lambda x, w, b: functional.conv2d(x, w, b, geometry.stride, geometry.pad), arrays, dout
    )
    assert_same(out, expected_out, dtype)
    for grad, expected in zip(conv_backward_naive(dout, cache), expected_grads, strict=True):
        assert_same(grad, expected, dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@given(poolings(), seeds)
def test_max_pool_agrees_with_torch(dtype, geometry, seed):
    x = draw(geometry.x, dtype, seed)
    out, cache = max_pool_forward_naive(x, geometry.param)
    dout = draw(out.shape, dtype, seed)
    expected_out, (expected_dx,) = torch_gradients(
        lambda x: functional.max_pool2d(x, (geometry.height, geometry.width), geometry.stride), [x], dout
    )
    assert_same(out, expected_out, dtype)
    assert_same(max_pool_backward_naive(dout, cache), expected_dx, dtype)


@given(convolutions(), seeds)
def test_convolution_with_stride_1_is_scipys_correlation(geometry, seed):
    x, w, b = draw_all(geometry.shapes, seed=seed)
    pad = geometry.pad
    out, _ = conv_forward_naive(x, w, b, {"stride": 1, "pad": pad})
    padded = np.pad(x, ((0, 0), (0, 0), (pad, pad), (pad, pad)))
    expected = [[correlate(one, filt, "valid", "direct")[0] for filt in w] for one in padded]
    assert_same(out, np.array(expected) + b[:, np.newaxis, np.newaxis], np.float64)


def test_need_dx_false_leaves_out_dx_only():
    for geometry in (CONVOLUTIONS["stride_2_pad_1"], CONVOLUTIONS["pointwise"]):
        arrays, dout = conv_layer(geometry).draw()
        _, cache = conv_forward_naive(*arrays, geometry.param)
        dx, dw, db = conv_backward_naive(dout, cache, need_dx=False)
        assert dx is None
        for grad, expected in zip((dw, db), conv_backward_naive(dout, cache)[1:], strict=True):
            np.testing.assert_array_equal(grad, expected)


def test_settings_may_be_numpy_integers():
    geometry = CONVOLUTIONS["stride_2_pad_1"]
    arrays = draw_all(geometry.shapes)
    param = {name: np.int64(value) for name, value in geometry.param.items()}
    expected, _ = conv_forward_naive(*arrays, geometry.param)
    np.testing.assert_array_equal(conv_forward_naive(*arrays, param)[0], expected)


def test_integer_images_are_computed_in_float64():
    out, cache = conv_forward_naive(
        np.arange(9).reshape(1, 1, 3, 3), np.full((1, 1, 3, 3), 0.5), np.zeros(1), {"stride": 1, "pad": 0}
    )
    assert_same(out, image([[18]]), np.float64)  # (0 + ... + 8) / 2
    assert conv_backward_naive(np.ones((1, 1, 1, 1)), cache)[0].dtype == np.float64
    assert max_pool_forward_naive(np.arange(4).reshape(1, 1, 2, 2), POOL_2X2)[0].dtype == np.float64


@pytest.mark.parametrize("x, w, b, conv_param, message", REFUSED_CONVOLUTIONS)
def test_convolution_that_does_not_fit_is_refused(x, w, b, conv_param, message):
    with pytest.raises(ValueError, match=message):
        conv_forward_naive(*draw_all([x, w, b]), conv_param)


def test_a_number_for_the_biases_is_refused():
    with pytest.raises(ValueError, match=r"b must have shape \(1,\).*got \(\)"):
        conv_forward_naive(draw((2, 3, 4, 4)), draw((1, 3, 3, 3)), 0.5, {"stride": 1, "pad": 0})


@pytest.mark.parametrize("x, settings, message", REFUSED_POOLINGS)
def test_pooling_that_does_not_fit_is_refused(x, settings, message):
    with pytest.raises(ValueError, match=message):
        max_pool_forward_naive(draw(x), POOL_2X2 | settings)


@pytest.mark.parametrize("missing", POOL_2X2)
def test_pooling_needs_all_of_its_settings(missing):
    settings = {name: value for name, value in POOL_2X2.items() if name != missing}
    with pytest.raises(ValueError, match=rf"pool_param\['{missing}'\] must be an integer.*got None"):
        max_pool_forward_naive(draw((2, 3, 4, 4)), settings)


@pytest.mark.parametrize("shape", [(2, 3, 2, 1), (1, 3, 2, 2), (2, 1, 2, 2), (3, 2, 2), (2, 3, 4, 4)])
def test_upstream_gradient_that_does_not_fit_is_refused(shape):
    x = draw((2, 3, 4, 4))
    _, conv_cache = conv_forward_naive(x, draw((3, 3, 3, 3)), draw(3), {"stride": 1, "pad": 0})
    _, pool_cache = max_pool_forward_naive(x, POOL_2X2)
    for backward, cache in ((conv_backward_naive, conv_cache), (max_pool_backward_naive, pool_cache)):
        with pytest.raises(ValueError, match=r"dout must have shape \(2, 3, 2, 2\) \(that of the output\)"):
            backward(draw(shape), cache)
