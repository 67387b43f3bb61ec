"""The direct kernels: both algorithms, with every set of vector instructions that this processor has."""

import os
import subprocess
import sys
from functools import cache

import numpy as np
import pytest
from conftest import DTYPES, PATIENCE, Layer, compiled, draw, draw_all, every_layer_check, layers, seeds
from geometry import Convolution, Pooling, convolutions, poolings
from hypothesis import given
from hypothesis import strategies as st

from cs231n import kernels
from cs231n.fast_layers import conv_backward_fast, conv_forward_fast
from cs231n.kernels import numpy_kernels, threads
from cs231n.kernels.threads import use_threads

pytestmark = pytest.mark.q4

direct_cython = compiled("direct_cython")
SETS = direct_cython.vector_sets()
ROUNDING = {np.dtype(np.float32): 2e-6, np.dtype(np.float64): 4e-15}  # relative to what is summed

# An image is copied in bands of rows of 2**18 bytes: some geometries have several bands, of which the last is
# smaller. For the gradient of w, small images are grouped until they have 256 outputs.
CONVOLUTIONS = {
    "narrow": Convolution((3, 2, 40, 3), (5, 2, 3, 2), 1, 1),
    "one_column": Convolution((2, 3, 50, 1), (4, 3, 3, 1), 1, 0),
    "one_row": Convolution((2, 3, 1, 50), (4, 3, 1, 3), 1, 0),
    "one_vector": Convolution((2, 3, 6, 18), (16, 3, 3, 3), 1, 0),
    "one_vector_and_one_pixel": Convolution((2, 3, 6, 19), (17, 3, 3, 3), 1, 0),
    "one_vector_less_one_pixel": Convolution((2, 3, 6, 17), (15, 3, 3, 3), 1, 0),
    "three_vectors": Convolution((2, 3, 5, 48), (8, 3, 3, 3), 1, 1),
    "four_vectors_and_one_pixel": Convolution((2, 3, 5, 65), (9, 3, 3, 3), 1, 1),
    "one_channel_and_filter": Convolution((3, 1, 9, 21), (1, 1, 3, 3), 1, 1),
    "one_of_each": Convolution((1, 1, 1, 1), (1, 1, 1, 1), 1, 0),
    "pointwise": Convolution((3, 20, 9, 17), (33, 20, 1, 1), 1, 0),
    "pointwise_stride_2": Convolution((3, 20, 17, 33), (9, 20, 1, 1), 2, 0),
    "pointwise_stride_3_pad_2": Convolution((2, 3, 9, 18), (4, 3, 1, 1), 3, 2),
    "large_window_stride_2": Convolution((2, 2, 21, 41), (3, 2, 11, 7), 2, 1),
    "stride_3": Convolution((2, 4, 25, 40), (5, 4, 4, 7), 3, 3),
    "stride_beyond_the_window": Convolution((3, 3, 24, 57), (5, 3, 2, 2), 3, 1),
    "stride_beyond_the_image": Convolution((2, 2, 1, 2), (3, 2, 5, 2), 4, 2),
    "pad_beyond_the_window": Convolution((2, 3, 5, 9), (4, 3, 2, 3), 1, 5),
    "pad_beyond_the_window_stride_2": Convolution((2, 3, 4, 20), (4, 3, 2, 4), 2, 7),
    "stride_2_even_image": Convolution((3, 3, 32, 48), (5, 3, 3, 3), 2, 1),
    "stride_3_leaves_out_two_columns": Convolution((2, 3, 9, 53), (4, 3, 3, 3), 3, 0),
    "strides_that_differ": Convolution((2, 3, 12, 50), (5, 3, 3, 4), (3, 2), 1),
    "pads_that_differ": Convolution((2, 3, 7, 40), (5, 3, 3, 4), 1, (0, 3)),
    "several_images_at_a_time": Convolution((30, 2, 3, 3), (5, 2, 3, 3), 1, 1),
    "two_images_at_a_time": Convolution((5, 3, 10, 10), (17, 3, 3, 3), 1, 1),
    "some_rows_at_a_time": Convolution((2, 4, 83, 512), (3, 4, 3, 3), 1, 1),
    "some_rows_at_a_time_stride_2": Convolution((1, 3, 161, 513), (4, 3, 3, 3), 2, 1),
    "two_rows_of_many_channels": Convolution((2, 700, 7, 34), (3, 700, 3, 3), 1, 1),
    "one_row_of_many_channels": Convolution((2, 2100, 3, 34), (2, 2100, 2, 3), 1, 1),
    "two_rows_of_many_filters": Convolution((2, 3, 9, 34), (700, 3, 3, 3), 1, 1),
    "some_rows_of_many_filters_stride_3": Convolution((1, 2, 23, 101), (650, 2, 2, 5), 3, 0),
}
# Winograd's algorithm transforms 48 patches or more at a time: several images, or some rows of one image.
WINOGRAD = {
    "pad_0": Convolution((2, 17, 5, 8), (19, 17, 3, 3), 1, 0),
    "pad_1": Convolution((2, 16, 8, 7), (16, 16, 3, 3), 1, 1),
    "pad_2": Convolution((2, 18, 3, 6), (17, 18, 3, 3), 1, 2),
    "pad_3": Convolution((2, 16, 2, 3), (33, 16, 3, 3), 1, 3),
    "pad_5": Convolution((2, 3, 2, 4), (5, 3, 3, 3), 1, 5),
    "pad_down": Convolution((2, 16, 5, 8), (17, 16, 3, 3), 1, (1, 0)),
    "pad_across": Convolution((2, 17, 5, 8), (16, 17, 3, 3), 1, (0, 3)),
    "one_channel_and_filter": Convolution((2, 1, 6, 9), (1, 1, 3, 3), 1, 1),
    "one_output": Convolution((3, 16, 3, 3), (16, 16, 3, 3), 1, 0),
    "one_pixel": Convolution((3, 16, 1, 1), (16, 16, 3, 3), 1, 1),
    "one_pixel_pad_3": Convolution((3, 5, 1, 1), (4, 5, 3, 3), 1, 3),
    "one_row": Convolution((2, 16, 1, 97), (20, 16, 3, 3), 1, 1),
    "one_column": Convolution((2, 16, 97, 1), (20, 16, 3, 3), 1, 1),
    "several_images_at_a_time": Convolution((130, 16, 3, 3), (16, 16, 3, 3), 1, 1),
    "some_rows_at_a_time": Convolution((2, 16, 45, 41), (16, 16, 3, 3), 1, 1),
    "some_rows_of_many_channels": Convolution((2, 130, 13, 14), (140, 130, 3, 3), 1, 1),
    "a_row_at_a_time": Convolution((1, 33, 5, 600), (32, 33, 3, 3), 1, 0),
    "some_filters_at_a_time": Convolution((2, 130, 5, 6), (140, 130, 3, 3), 1, 1),
    "2x2": Convolution((2, 16, 7, 12), (18, 16, 2, 2), 1, 0),
    "4x4": Convolution((3, 17, 6, 10), (16, 17, 4, 4), 1, 2),
    "5x5": Convolution((2, 17, 9, 11), (19, 17, 5, 5), 1, 2),
    "5x5_one_output": Convolution((3, 16, 5, 5), (17, 16, 5, 5), 1, 0),
    "2x5": Convolution((2, 9, 8, 13), (10, 9, 2, 5), 1, (0, 3)),
    "4x3_some_rows_at_a_time": Convolution((2, 17, 45, 41), (16, 17, 4, 3), 1, 1),
}
POOLINGS = {
    "narrow": Pooling((3, 2, 40, 4), 2, 2, 2),
    "one_vector": Pooling((2, 3, 6, 32), 2, 2, 2),
    "one_vector_and_one_window": Pooling((2, 3, 6, 34), 2, 2, 2),
    "overlapping": Pooling((2, 2, 9, 41), 3, 3, 2),
    "overlapping_on_an_even_image": Pooling((2, 2, 8, 42), 3, 3, 2),
    "odd_image": Pooling((2, 2, 7, 35), 2, 2, 2),
    "strides_that_differ": Pooling((2, 2, 9, 42), 2, 3, (2, 4)),
    "overlapping_at_every_pixel": Pooling((2, 2, 8, 37), 2, 3, 1),
    "gaps": Pooling((2, 2, 8, 50), 2, 2, 3),
    "pixels": Pooling((2, 2, 5, 40), 1, 1, 1),
    "every_third_pixel": Pooling((2, 2, 7, 40), 1, 1, 3),
    "wide": Pooling((2, 2, 10, 99), 1, 9, 9),
    "tall": Pooling((2, 2, 45, 21), 9, 1, 4),
    "large": Pooling((1, 2, 24, 35), 7, 9, 1),
    "larger": Pooling((1, 2, 24, 35), 8, 8, 1),
    "whole_image": Pooling((2, 2, 7, 6), 7, 6, 1),
    "whole_larger_image": Pooling((2, 2, 20, 30), 20, 30, 1),
    "vectors_of_several_rows": Pooling((2, 3, 8, 8), 2, 2, 2),
    "vectors_of_several_planes": Pooling((3, 7, 4, 4), 4, 4, 4),
}


@pytest.fixture(scope="module", params=SETS)
def vectors(request):
    """Let the direct kernels compute with this set of vector instructions."""
    direct_cython.use_vectors(request.param)
    yield request.param
    direct_cython.use_vectors(SETS[-1])


@pytest.fixture(scope="module")
def algorithm(request):
    """Let "direct" or "Winograd" compute 3x3 filters at stride 1, whatever the number of channels."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(direct_cython, "ALGORITHM", request.param)
        yield request.param


@pytest.fixture
def in_use(monkeypatch):
    """Let the fast layers use the direct kernels, and threads even for small arrays."""
    monkeypatch.setattr(kernels, "_in_use", direct_cython)
    monkeypatch.setattr(threads, "WORTH_SHARING", 0)


def convolve(module, geometry, x, w, b, dout):
    """Return out, dx, dw and db. The arrays for out and dx hold NaN before."""
    out, dx = np.full(geometry.out, np.nan, x.dtype), np.full_like(x, np.nan)
    module.conv_forward(x, w, b, geometry.stride, geometry.pad, out)
    return out, dx, *module.conv_backward(dout, x, w, geometry.stride, geometry.pad, dx)


def arrays_for(geometry, dtype, seed=0):
    return draw_all((*geometry.shapes, geometry.out), dtype, seed)


@cache
def results_in_numpy(geometry, dtype, seed=0):
    """Return what NumPy computes in float64 from arrays of this dtype, and the sizes of what it sums.

    The sizes are sums of absolute values. Rounding is relative to them, as the terms of a sum may cancel.
    """
    arrays = [array.astype(np.float64) for array in arrays_for(geometry, dtype, seed)]
    sizes = convolve(numpy_kernels, geometry, *map(np.abs, arrays))
    return convolve(numpy_kernels, geometry, *arrays), sizes


def assert_near(results, expected, sizes, dtype):
    """Assert that results differ from the expected values only by rounding, relative to the largest size."""
    for name, result, value, size in zip(("out", "dx", "dw", "db"), results, expected, sizes, strict=True):
        assert (result.shape, result.dtype) == (value.shape, dtype), name
        largest = size.max()
        np.testing.assert_allclose(
            result, value, rtol=0, atol=ROUNDING[np.dtype(dtype)] * largest, err_msg=name
        )


CASES = {
    f"{algorithm}-{name.replace('_', '-')}": (algorithm, geometry)
    for algorithm, geometries in (("direct", CONVOLUTIONS), ("direct", WINOGRAD), ("Winograd", WINOGRAD))
    for name, geometry in geometries.items()
}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("algorithm, geometry", CASES.values(), ids=CASES, indirect=["algorithm"])
def test_convolution_agrees_with_numpy(vectors, algorithm, geometry, dtype):
    results = convolve(direct_cython, geometry, *arrays_for(geometry, dtype))
    assert_near(results, *results_in_numpy(geometry, dtype), dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("channels, filters", [(0, 3), (3, 0), (0, 0)])
def test_no_channels_and_no_filters(vectors, channels, filters, dtype):
    """Sums over no channels or no filters are zero."""
    geometry = Convolution((2, channels, 5, 6), (filters, channels, 3, 3), 1, 1)
    x, w, b, dout = arrays_for(geometry, dtype)
    out, dx, dw, db = convolve(direct_cython, geometry, x, w, b, dout)
    np.testing.assert_array_equal(out, np.broadcast_to(b[:, np.newaxis, np.newaxis], geometry.out))
    np.testing.assert_array_equal(dx, np.zeros(geometry.x))
    assert dw.shape == geometry.w and db.shape == (filters,)
    np.testing.assert_allclose(db, dout.sum(axis=(0, 2, 3)), rtol=1e-5)


def run_program(code, **settings):
    """Run code in a new Python with these environment variables; return what it printed."""
    command, environment = [sys.executable, "-c", code], os.environ | settings
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 0, done.stderr
    return done.stdout


def assert_agrees_with_numpy(geometry, dtype, seed):
    results = convolve(direct_cython, geometry, *arrays_for(geometry, dtype, seed))
    assert_near(results, *results_in_numpy.__wrapped__(geometry, dtype, seed), dtype)


every_algorithm = pytest.mark.parametrize("algorithm", ["direct", "Winograd"], indirect=True)
up_to_40 = st.integers(1, 40)
of_3x3 = {"windows": st.just(3), "strides": st.just(1)}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("algorithm", ["direct"], indirect=True)
@given(geometry=convolutions(filters=up_to_40, most_columns=70, pairs=True), seed=seeds)
def test_any_convolution_agrees_with_numpy(vectors, algorithm, dtype, geometry, seed):
    assert_agrees_with_numpy(geometry, dtype, seed)


@pytest.mark.parametrize("dtype", DTYPES)
@every_algorithm
@given(geometry=convolutions(filters=up_to_40, most_columns=70, pairs=True, **of_3x3), seed=seeds)
def test_any_convolution_with_3x3_filters_agrees_with_numpy(vectors, algorithm, dtype, geometry, seed):
    assert_agrees_with_numpy(geometry, dtype, seed)


def assert_pools_as_numpy_does(geometry, x):
    """Assert that maxima and their indices are identical, whatever their arrays held before."""
    window = geometry.height, geometry.width, geometry.stride
    results = []
    for module in (direct_cython, numpy_kernels):
        out, argmax = np.full(geometry.out, 99, x.dtype), np.full(geometry.out, -1, np.intp)
        module.max_pool_forward(x, *window, out, argmax)
        results.append((out, argmax))
    for result, expected in zip(*results, strict=True):
        np.testing.assert_array_equal(result, expected)


def special(shape, dtype, seed=0):
    """Draw from a few values, so that many are equal: among them NaN, infinities and both zeros."""
    values = np.array([0.0, -0.0, 1, 2, 3, -1, np.inf, -np.inf, np.nan], dtype)
    return np.random.default_rng(seed).choice(values, shape)


@pytest.mark.parametrize("fill", [draw, special])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("geometry", POOLINGS.values(), ids=[name.replace("_", "-") for name in POOLINGS])
def test_max_pool_agrees_with_numpy(vectors, geometry, dtype, fill):
    assert_pools_as_numpy_does(geometry, fill(geometry.x, dtype))


@pytest.mark.parametrize("dtype", DTYPES)
@given(geometry=poolings(most_columns=70, pairs=True), seed=seeds)
def test_any_max_pool_agrees_with_numpy(vectors, dtype, geometry, seed):
    assert_pools_as_numpy_does(geometry, special(geometry.x, dtype, seed))


def test_large_windows_are_left_to_im2col(monkeypatch):
    """In large windows a new maximum is rare, so a branch is faster than a selection."""
    left = []
    monkeypatch.setattr(
        direct_cython, "max_pool_forward_by_pixel", lambda x, *window: left.append(window[:2])
    )
    monkeypatch.setattr(direct_cython, "LARGE_WINDOW", 6)
    for window in ((1, 5), (2, 3), (7, 1)):
        shape = (1, 1, 8 - window[0], 6 - window[1])
        direct_cython.max_pool_forward(
            draw((1, 1, 7, 5)), *window, 1, np.empty(shape), np.empty(shape, np.intp)
        )
    assert left == [(2, 3), (7, 1)]


def conv_layer(geometry):
    return Layer(conv_forward_fast, conv_backward_fast, geometry.shapes, geometry.param)


@layers(
    pad_0=conv_layer(Convolution((2, 2, 4, 5), (3, 2, 3, 3), 1, 0)),
    pad_1=conv_layer(Convolution((2, 2, 3, 4), (3, 2, 3, 3), 1, 1)),
    pad_2=conv_layer(Convolution((1, 2, 2, 3), (2, 2, 3, 3), 1, 2)),
    pad_3=conv_layer(Convolution((2, 1, 1, 2), (1, 1, 3, 3), 1, 3)),
)
@every_layer_check
@every_algorithm
def test_layers_with_3x3_filters_keep_the_rules(in_use, algorithm, check, layer):
    check(layer)


# Threads


def passes_on_threads(count, geometry, dtype):
    """Return out, dx, dw and db of the fast layers on this many threads."""
    x, w, b, dout = arrays_for(geometry, dtype)
    with use_threads(count):
        out, cache = conv_forward_fast(x, w, b, geometry.param)
        return out, *conv_backward_fast(dout, cache)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    "geometry",
    [
        pytest.param(Convolution((5, 3, 11, 13), (7, 3, 3, 3), 2, 1), id="direct"),
        pytest.param(Convolution((7, 16, 9, 11), (17, 16, 3, 3), 1, 1), id="Winograd"),
        pytest.param(Convolution((2, 16, 45, 41), (16, 16, 3, 3), 1, 1), id="Winograd-bands"),
        pytest.param(Convolution((40, 3, 3, 3), (4, 3, 2, 2), 1, 0), id="groups"),
        pytest.param(Convolution((1, 33, 5, 6), (34, 33, 3, 3), 1, 1), id="one-image"),
    ],
)
def test_results_depend_on_threads_as_documented(in_use, vectors, geometry, dtype):
    """out and dx have the same bits on 1 and 2 threads; all results repeat on the same number of threads."""
    on_one, on_two = (passes_on_threads(count, geometry, dtype) for count in (1, 2))
    for result, expected in zip(on_two[:2], on_one[:2], strict=True):
        np.testing.assert_array_equal(result, expected)
    assert_near(on_two, on_one, results_in_numpy(geometry, dtype)[1], dtype)
    for count, results in ((1, on_one), (2, on_two)):
        for again, result in zip(passes_on_threads(count, geometry, dtype), results, strict=True):
            np.testing.assert_array_equal(again, result)


def test_threads_share_the_minibatch(in_use, monkeypatch):
    """The test above compares one call of the kernels with two."""
    calls = []
    forward = direct_cython.conv_forward
    monkeypatch.setattr(
        direct_cython, "conv_forward", lambda x, *rest: calls.append(len(x)) or forward(x, *rest)
    )
    geometry = Convolution((5, 3, 11, 13), (7, 3, 3, 3), 2, 1)
    for count, expected in ((1, [5]), (2, [2, 3])):
        calls.clear()
        passes_on_threads(count, geometry, np.float32)
        assert sorted(calls) == expected


# Which algorithm, which vectors


def results_by(algorithm, geometry, dtype=np.float64, change=lambda x, w, b, dout: None):
    """Return out, dx, dw and db by "direct", "Winograd" where it is possible, or the "faster" algorithm."""
    arrays = arrays_for(geometry, dtype)
    change(*arrays)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(direct_cython, "ALGORITHM", algorithm)
        return convolve(direct_cython, geometry, *arrays)


def are_equal(results, others):
    return all(np.array_equal(one, other) for one, other in zip(results, others, strict=True))


@pytest.mark.parametrize(
    "window, stride, is_possible",
    [((n, m), 1, True) for n in (2, 3, 5) for m in (2, 4, 5)]
    + [((n, m), 1, False) for n, m in ((1, 3), (3, 1), (1, 1), (6, 3), (3, 6))]
    + [((3, 3), stride, False) for stride in (2, (1, 2), (2, 1))],
)
def test_winograd_is_for_windows_of_2x2_to_5x5_at_stride_1(window, stride, is_possible):
    """The algorithms round differently, so their last digits tell them apart."""
    geometry = Convolution((1, 5, 9, 9), (4, 5, *window), stride, 1)
    direct, winograd = (results_by(algorithm, geometry) for algorithm in ("direct", "Winograd"))
    assert are_equal(winograd, direct) != is_possible


@pytest.mark.parametrize("channels, faster", [(2, "direct"), (64, "Winograd")])
def test_winograd_is_for_many_channels(channels, faster):
    geometry = Convolution((2, channels, 8, 8), (channels, channels, 3, 3), 1, 1)
    assert are_equal(results_by("faster", geometry), results_by(faster, geometry))
    other = "direct" if faster == "Winograd" else "Winograd"
    assert not are_equal(results_by("faster", geometry), results_by(other, geometry))


@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan])
@pytest.mark.parametrize("changed", range(4), ids=["x", "w", "b", "dout"])
def test_what_is_not_finite_goes_the_direct_way(vectors, changed, value):
    """Winograd's algorithm would subtract an infinity from itself, and spread a NaN over its patch."""
    geometry = Convolution((3, 5, 9, 9), (4, 5, 3, 3), 1, 1)

    def change(*arrays):
        arrays[changed].flat[-5 if changed != 2 else 1] = value

    direct, winograd = (
        results_by(algorithm, geometry, change=change) for algorithm in ("direct", "Winograd")
    )
    reads = (("out", "dw"), ("out", "dx"), (), ("dx", "dw"))[changed]  # the results that it reaches
    for name, one, other in zip(("out", "dx", "dw", "db"), direct, winograd, strict=True):
        assert np.array_equal(np.isfinite(one), np.isfinite(other)), name
        if name in reads:
            np.testing.assert_array_equal(one, other)


@every_algorithm
def test_nan_reaches_exactly_its_outputs(vectors, algorithm):
    """A NaN in x spoils the outputs whose windows contain it and no others."""
    geometry = Convolution((3, 2, 6, 21), (3, 2, 3, 3), 1, 1)
    x, w, b, _ = arrays_for(geometry, np.float64)
    for place in np.ndindex(6, 21):
        broken = x.copy()
        broken[(1, 1, *place)] = np.nan
        out, expected = np.empty(geometry.out), np.empty(geometry.out)
        direct_cython.conv_forward(broken, w, b, 1, 1, out)
        numpy_kernels.conv_forward(broken, w, b, 1, 1, expected)
        np.testing.assert_array_equal(np.isnan(out), np.isnan(expected))


@every_algorithm
@pytest.mark.parametrize("dtype", DTYPES)
def test_arrays_may_begin_anywhere(vectors, algorithm, dtype):
    """Arrays need only be aligned to the size of one number."""
    geometry = Convolution((3, 2, 7, 21), (5, 2, 3, 3), 1, 1)
    arrays = arrays_for(geometry, dtype)
    expected = convolve(direct_cython, geometry, *arrays)
    for shift in range(1, 16):
        shifted = [shift_by(array, shift) for array in arrays]
        out, dx = (shift_by(np.full(shape, np.nan, dtype), shift) for shape in (geometry.out, geometry.x))
        direct_cython.conv_forward(*shifted[:3], 1, 1, out)
        grads = direct_cython.conv_backward(shifted[3], *shifted[:2], 1, 1, dx)
        for result, value in zip((out, dx, *grads), expected, strict=True):
            np.testing.assert_array_equal(result, value)


def shift_by(array, count):
    """Return the same values `count` places later in memory, aligned only to the size of a number."""
    memory = np.empty(array.size + count, array.dtype)
    memory[count:] = array.reshape(-1)
    return memory[count:].reshape(array.shape)


def test_unknown_vectors_are_refused():
    """An unknown set of vector instructions is a ValueError that lists the known ones."""
    for name in ("AVX-1024", "", "avx2", None, 0):
        with pytest.raises(ValueError) as raised:
            direct_cython.use_vectors(name)
        assert str(raised.value) == f"name must be one of {', '.join(SETS)}; got {name!r}"


SUMS = """
import numpy as np
from cs231n.kernels import direct_cython

dout = np.random.default_rng(0).random((1, 64, 40, 40), np.float32)
x, w = np.ones((1, 1, 40, 40), np.float32), np.ones((64, 1, 1, 1), np.float32)

def sums():
    return direct_cython.conv_backward(dout, x, w, 1, 0, None)[1]

first = sums()
for name in direct_cython.vector_sets():
    direct_cython.use_vectors(name)
    print(name, (sums() == first).all())
"""


def test_widest_vectors_are_the_default():
    """Each set adds up a filter's pixels in its own order, so the last digits show which one was used."""
    printed = run_program(SUMS)
    assert printed.splitlines() == [f"{name} {name == SETS[-1]}" for name in SETS]


# Memory

SCARCE = """
import resource
import numpy as np
from cs231n.kernels import direct_cython

C = 20_000  # channels whose padded rows, three of them, take 14 MB
x, w, b = np.ones((1, C, 1, 1), np.float32), np.ones((1, C, 3, 3), np.float32), np.ones(1, np.float32)
out, dx = np.zeros((1, 1, 59, 59), np.float32), np.zeros_like(x)

def run(name):
    if name == "forward":
        return direct_cython.conv_forward(x, w, b, 1, 30, out)
    return direct_cython.conv_backward(out, x, w, 1, 30, dx)

def refusals(name):
    with open("/proc/self/statm") as file:
        in_use = int(file.read().split()[0]) * resource.getpagesize()
    for megabytes in range(4, 100, 2):
        resource.setrlimit(resource.RLIMIT_AS, (in_use + megabytes * 2**20, resource.RLIM_INFINITY))
        try:
            run(name)
        except MemoryError as error:
            assert str(error) == "too little memory for the workspace of a convolution"
        else:
            return megabytes // 2 - 2

print(refusals("forward"), refusals("backward"), out.sum(dtype=float), dx.sum(dtype=float))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux can limit the memory of a process")
def test_scarce_memory_is_an_error():
    """Too little memory raises MemoryError; with enough of it the results are right."""
    # With this threshold glibc returns a freed workspace to the system instead of keeping it for the next one
    *refusals, sum_of_out, sum_of_dx = run_program(SCARCE, MALLOC_MMAP_THRESHOLD_="1000000").split()
    assert all(0 < int(count) < 48 for count in refusals)
    # Of 59 * 59 windows, nine contain the only pixel of each channel; each sums 20,000 ones and a bias
    assert float(sum_of_out) == 9 * 20_000 + 59 * 59
    assert float(sum_of_dx) == 20_000 * 9 * (20_000 + 1)
