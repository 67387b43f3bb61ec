"""Strides that do not divide, and pairs of strides and paddings, on every kernel."""

import numpy as np
import pytest
from conftest import DTYPES, assert_same
from geometry import PAIRS, POOLING_PAIRS
from random_geometries import BACKENDS, check, compare_random_geometries

from cs231n import kernels
from cs231n.fast_layers import (
    conv_backward_fast,
    conv_forward_fast,
    max_pool_backward_fast,
    max_pool_forward_fast,
)
from cs231n.layers import (
    conv_backward_naive,
    conv_forward_naive,
    max_pool_backward_naive,
    max_pool_forward_naive,
)

pytestmark = pytest.mark.q4

CONVOLUTIONS = {
    "naive": (conv_forward_naive, conv_backward_naive),
    "fast": (conv_forward_fast, conv_backward_fast),
}
POOLINGS = {
    "naive": (max_pool_forward_naive, max_pool_backward_naive),
    "fast": (max_pool_forward_fast, max_pool_backward_fast),
}
VERSIONS = ("naive", *BACKENDS)


@pytest.fixture(params=VERSIONS)
def version(request, monkeypatch):
    """The naive layers, or the fast ones on one kind of kernels."""
    if request.param == "naive":
        return "naive"
    monkeypatch.setattr(kernels, "_in_use", BACKENDS[request.param])
    return "fast"


def passes(functions, *arguments):
    """The output of a layer and its gradients for an upstream gradient of ones."""
    forward, backward = functions
    out, cache = forward(*arguments)
    grads = backward(np.ones_like(out), cache)
    return out, grads if isinstance(grads, tuple) else (grads,)


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_convolution_leaves_out_what_does_not_fit_on_paper(version, dtype):
    x = np.arange(1, 13, dtype=dtype).reshape(1, 1, 3, 4)
    w, b = np.array([[[[1, 10, 100]]]], dtype), np.zeros(1, dtype)
    out, (dx, dw, db) = passes(CONVOLUTIONS[version], x, w, b, {"stride": 2, "pad": 0})
    # Two windows fit, on rows 0 and 2; the second beside them would need column 4
    np.testing.assert_array_equal(out, [[[[1 + 20 + 300], [9 + 100 + 1100]]]])
    np.testing.assert_array_equal(dx, [[[[1, 10, 100, 0], [0, 0, 0, 0], [1, 10, 100, 0]]]])
    np.testing.assert_array_equal(dw, [[[[1 + 9, 2 + 10, 3 + 11]]]])
    np.testing.assert_array_equal(db, [2])


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_pooling_leaves_out_what_does_not_fit_on_paper(version, dtype):
    x = np.array([[[[1, 2, 9], [4, 3, 9], [9, 9, 9]]]], dtype)
    out, (dx,) = passes(POOLINGS[version], x, {"pool_height": 2, "pool_width": 2, "stride": 2})
    np.testing.assert_array_equal(out, [[[[4]]]])
    np.testing.assert_array_equal(dx, [[[[0, 0, 0], [1, 0, 0], [0, 0, 0]]]])


def test_the_common_strided_convolution_halves_the_image(version):
    x, w = np.ones((1, 1, 32, 48)), np.ones((2, 1, 3, 3))
    out, (dx, _, _) = passes(CONVOLUTIONS[version], x, w, np.zeros(2), {"stride": 2, "pad": 1})
    assert out.shape == (1, 2, 16, 24)
    assert out[0, 0, 0, 0] == 4 and out[0, 0, -1, -1] == 9  # the padding below and on the right is unused
    assert dx[0, 0, -1, -1] == 2  # the last pixel is in one window of each filter


def test_pixels_in_no_window_do_not_matter(version):
    """Not even if they are NaN; their gradient is 0."""
    x, w, b = np.random.default_rng(0).standard_normal((2, 1, 6, 8)), np.ones((1, 1, 2, 2)), np.zeros(1)
    unused = (
        np.s_[:, :, [2, 5]],
        np.s_[:, :, :, [2, 3, 6, 7]],
    )  # windows are on rows 0, 1, 3, 4, columns 0, 1, 4, 5
    spoilt = x.copy()
    for part in unused:
        spoilt[part] = np.nan
    stride = {"stride": (3, 4)}
    for functions, arguments in (
        (CONVOLUTIONS[version], (w, b, stride | {"pad": 0})),
        (POOLINGS[version], (stride | {"pool_height": 2, "pool_width": 2},)),
    ):
        out, grads = passes(functions, spoilt, *arguments)
        expected, expected_grads = passes(functions, x, *arguments)
        assert_same(out, expected, np.float64)
        for grad, value in zip(grads, expected_grads, strict=True):
            assert_same(grad, value, np.float64)
        for part in unused:
            assert not grads[0][part].any()


EVERY_PAIR = {f"convolution-{name}": geometry for name, geometry in PAIRS.items()}
EVERY_PAIR |= {f"pooling-{name}": geometry for name, geometry in POOLING_PAIRS.items()}


@pytest.mark.parametrize("geometry", EVERY_PAIR.values(), ids=EVERY_PAIR)
@pytest.mark.parametrize("dtype", DTYPES)
def test_pairs_agree_with_torch(geometry, dtype):
    check(geometry, dtype, np.random.default_rng(0))


@pytest.mark.parametrize("seed", range(3))
def test_random_geometries_agree_with_torch(seed):
    """python tests/random_geometries.py 10000 tries more of them."""
    compare_random_geometries(100, seed)


@pytest.mark.parametrize("pair", [(2, 1), [2, 1], (np.int64(2), np.int64(1))])
def test_a_pair_may_be_a_tuple_or_a_list(version, pair):
    x, w, b = np.ones((1, 1, 5, 5)), np.ones((1, 1, 3, 3)), np.zeros(1)
    out, _ = passes(CONVOLUTIONS[version], x, w, b, {"stride": pair, "pad": pair})
    assert out.shape == (1, 1, 4, 5)
    pooled, _ = passes(POOLINGS[version], x, {"pool_height": 3, "pool_width": 3, "stride": pair})
    assert pooled.shape == (1, 1, 2, 3)
