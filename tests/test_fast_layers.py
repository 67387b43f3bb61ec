"""The fast layers and the kernels below them, compiled and in NumPy."""

import inspect
import tracemalloc

import numpy as np
import pytest
from conftest import (
    DTYPES,
    NOT_BUILT,
    Layer,
    assert_same,
    built,
    check_upstream_gradient_has_the_shape_of_the_output,
    compiled,
    draw,
    draw_all,
    every_layer_check,
    every_second,
    layer_checks,
    layers,
    seeds,
)
from geometry import (
    CONVOLUTIONS,
    PAIRS,
    POOL_2X2,
    POOLING_PAIRS,
    POOLINGS,
    REFUSED_CONVOLUTIONS,
    REFUSED_POOLINGS,
    SINGLE_POOLS,
    SINGLE_WINDOWS,
    Convolution,
    convolutions,
    poolings,
)
from hypothesis import given
from hypothesis import strategies as st

from cs231n import fast_layers, kernels
from cs231n import layers as naive_layers
from cs231n.fast_layers import (
    conv_backward_fast,
    conv_forward_fast,
    max_pool_backward_fast,
    max_pool_forward_fast,
)
from cs231n.kernels import numpy_kernels, threads
from cs231n.kernels.threads import use_threads
from cs231n.layers import (
    conv_backward_naive,
    conv_forward_naive,
    max_pool_backward_naive,
    max_pool_forward_naive,
)

pytestmark = pytest.mark.q4

NAMES = {name: module.removeprefix("cs231n.kernels.") for name, module in kernels.COMPILED.items()}
COMPILED = {name: built(module) for name, module in NAMES.items() if built(module)}
BACKENDS = {**COMPILED, "NumPy": numpy_kernels}
LAYERS = ("conv_forward", "conv_backward", "max_pool_forward", "max_pool_backward")
OF_COLUMNS = [name for name in ("im2col", "NumPy") if name in BACKENDS]

every_backend = pytest.mark.parametrize("module", BACKENDS.values(), ids=BACKENDS)
NONE = pytest.param(None, marks=pytest.mark.skip(reason=NOT_BUILT.format("direct_cython")), id="none")
every_compiled = pytest.mark.parametrize(
    "module", [pytest.param(module, id=name) for name, module in COMPILED.items()] or [NONE]
)
every_one_of_columns = pytest.mark.parametrize(
    "module", [BACKENDS[name] for name in OF_COLUMNS], ids=OF_COLUMNS
)
with_columns = pytest.mark.parametrize("backend", OF_COLUMNS, indirect=True)


@pytest.fixture(scope="module", params=BACKENDS)
def backend(request):
    """The module whose kernels the fast layers use."""
    with pytest.MonkeyPatch.context() as patch, use_threads(2):
        patch.setattr(kernels, "_in_use", kernels._in_use)
        patch.setattr(threads, "WORTH_SHARING", 0)  # threads for small arrays too
        kernels.load_kernels(request.param)
        assert kernels.kernels_for(np.dtype(np.float32)) is BACKENDS[request.param]
        yield BACKENDS[request.param]


def conv_layer(geometry):
    return Layer(conv_forward_fast, conv_backward_fast, geometry.shapes, geometry.param)


def pool_layer(geometry):
    return Layer(max_pool_forward_fast, max_pool_backward_fast, (geometry.x,), geometry.param)


CONV_LAYERS = layers(**{name: conv_layer(geometry) for name, geometry in (CONVOLUTIONS | PAIRS).items()})
POOL_LAYERS = layers(**{name: pool_layer(geometry) for name, geometry in (POOLINGS | POOLING_PAIRS).items()})
NAIVE = {
    conv_forward_fast: Layer(conv_forward_naive, conv_backward_naive, ()),
    max_pool_forward_fast: Layer(max_pool_forward_naive, max_pool_backward_naive, ()),
}


def assert_agrees_with_naive(layer, arrays, dtype):
    """Forward and backward give what the naive layer gives."""
    naive = NAIVE[layer.forward]._replace(param=layer.param)
    out, cache = layer(*arrays)
    expected_out, expected_cache = naive(*arrays)
    assert_same(out, expected_out, dtype)
    dout = draw(out.shape, dtype, 5)
    grads, expected_grads = layer.gradients(dout, cache), naive.gradients(dout, expected_cache)
    for grad, expected in zip(grads, expected_grads, strict=True):
        assert_same(grad, expected, dtype)


@every_layer_check
@CONV_LAYERS
def test_convolution_keeps_the_rules(backend, layer, check):
    check(layer)


@every_layer_check
@POOL_LAYERS
def test_max_pool_keeps_the_rules(backend, layer, check):
    check(layer)


@layer_checks(check_upstream_gradient_has_the_shape_of_the_output)
@layers(
    **{name: conv_layer(geometry) for name, geometry in SINGLE_WINDOWS.items()},
    **{f"pool_{name}": pool_layer(geometry) for name, geometry in SINGLE_POOLS.items()},
)
def test_a_single_window_keeps_the_rules(backend, layer, check):
    check(layer)


@pytest.mark.parametrize("dtype", DTYPES)
@given(convolutions(pairs=True), seeds)
def test_convolution_agrees_with_the_naive_one(backend, dtype, geometry, seed):
    assert_agrees_with_naive(conv_layer(geometry), draw_all(geometry.shapes, dtype, seed), dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@given(poolings(pairs=True), seeds)
def test_max_pool_agrees_with_the_naive_one(backend, dtype, geometry, seed):
    assert_agrees_with_naive(pool_layer(geometry), [draw(geometry.x, dtype, seed)], dtype)


special_values = st.sampled_from([0.0, -0.0, 1.0, 1.0, -1.0, np.inf, -np.inf, np.nan])


@pytest.mark.parametrize("dtype", DTYPES)
@given(poolings(pairs=True), st.data())
def test_ties_nan_and_infinities_go_where_the_naive_layer_sends_them(backend, dtype, geometry, data):
    size = int(np.prod(geometry.x))
    values = data.draw(st.lists(special_values, min_size=size, max_size=size))
    assert_agrees_with_naive(pool_layer(geometry), [np.array(values, dtype).reshape(geometry.x)], dtype)


@CONV_LAYERS
def test_need_dx_false_leaves_out_dx_only(backend, layer):
    arrays, dout = layer.draw()
    _, cache = layer(*arrays)
    dx, dw, db = conv_backward_fast(dout, cache, need_dx=False)
    assert dx is None
    for grad, expected in zip((dw, db), conv_backward_fast(dout, cache)[1:], strict=True):
        np.testing.assert_array_equal(grad, expected)


def test_integer_images_are_computed_in_float64(backend):
    x = np.arange(2 * 3 * 16).reshape(2, 3, 4, 4)
    geometry = Convolution(x.shape, (2, 3, 3, 3), 1, 1)
    out, cache = conv_forward_fast(x, *draw_all(geometry.shapes[1:], np.float32), geometry.param)
    grads = conv_backward_fast(np.ones_like(out), cache)
    pooled, _ = max_pool_forward_fast(x, POOL_2X2)
    assert {result.dtype for result in (out, *grads, pooled)} == {np.dtype(np.float64)}


@pytest.mark.parametrize("dtype", ["f2", ">f4", ">f8", np.longdouble])
def test_dtypes_that_were_not_compiled_are_left_to_numpy(backend, dtype):
    dtype = np.dtype(dtype)
    assert kernels.kernels_for(dtype) is numpy_kernels
    tol = 2e-2 if dtype.itemsize == 2 else 1e-4
    for layer in (conv_layer(CONVOLUTIONS["stride_2_pad_1"]), pool_layer(POOLINGS["overlapping"])):
        naive = NAIVE[layer.forward]._replace(param=layer.param)
        arrays, dout = layer.draw(dtype)
        out, cache = layer(*arrays)
        expected_out, expected_cache = naive(*(array.astype(np.float64) for array in arrays))
        results = out, *layer.gradients(dout, cache)
        expected = expected_out, *naive.gradients(dout, expected_cache)
        for result, value in zip(results, expected, strict=True):
            assert result.dtype.newbyteorder("=") == dtype.newbyteorder("=")
            np.testing.assert_allclose(result.astype(np.float64), value, rtol=tol, atol=tol)


@pytest.mark.parametrize("name", LAYERS)
def test_signature_is_that_of_the_naive_layer(name):
    fast, naive = getattr(fast_layers, f"{name}_fast"), getattr(naive_layers, f"{name}_naive")
    assert inspect.signature(fast) == inspect.signature(naive)


@pytest.mark.parametrize("x, w, b, conv_param, message", REFUSED_CONVOLUTIONS)
def test_convolution_that_does_not_fit_is_refused(x, w, b, conv_param, message):
    with pytest.raises(ValueError, match=message):
        conv_forward_fast(*draw_all([x, w, b]), conv_param)


def test_a_number_for_the_biases_is_refused():
    with pytest.raises(ValueError, match=r"b must have shape \(1,\).*got \(\)"):
        conv_forward_fast(draw((2, 3, 4, 4)), draw((1, 3, 3, 3)), 0.5, {"stride": 1, "pad": 0})


@pytest.mark.parametrize("x, settings, message", REFUSED_POOLINGS)
def test_pooling_that_does_not_fit_is_refused(x, settings, message):
    with pytest.raises(ValueError, match=message):
        max_pool_forward_fast(draw(x), POOL_2X2 | settings)


@pytest.mark.parametrize("shape", [(2, 3, 2, 1), (1, 3, 2, 2), (2, 1, 2, 2), (3, 2, 2), (2, 3, 4, 4)])
def test_upstream_gradient_that_does_not_fit_is_refused(backend, shape):
    x = draw((2, 3, 4, 4))
    _, conv_cache = conv_forward_fast(x, draw((3, 3, 3, 3)), draw(3), {"stride": 1, "pad": 0})
    _, pool_cache = max_pool_forward_fast(x, POOL_2X2)
    for backward, cache in ((conv_backward_fast, conv_cache), (max_pool_backward_fast, pool_cache)):
        with pytest.raises(ValueError, match=r"dout must have shape \(2, 3, 2, 2\) \(that of the output\)"):
            backward(draw(shape), cache)


# Columns a few at a time

ALL_CONVOLUTIONS = list((CONVOLUTIONS | PAIRS | SINGLE_WINDOWS).values())


@with_columns
@pytest.mark.parametrize("column_bytes", [1, 300, 600, 1500])
@pytest.mark.parametrize("dtype", DTYPES)
def test_results_do_not_depend_on_the_size_of_a_chunk(backend, monkeypatch, dtype, column_bytes):
    monkeypatch.setattr(backend, "COLUMN_BYTES", column_bytes)
    larger = [Convolution((5, 2, 9, 7), (3, 2, 3, 3), 1, 1), Convolution((4, 3, 11, 4), (2, 3, 1, 1), 1, 0)]
    for geometry in (*ALL_CONVOLUTIONS, *larger):
        assert_agrees_with_naive(conv_layer(geometry), draw_all(geometry.shapes, dtype), dtype)


@with_columns
def test_a_minibatch_never_has_all_of_its_columns_at_once(backend):
    geometry = Convolution((64, 16, 32, 32), (16, 16, 3, 3), 1, 1)
    x, w, b = draw_all(geometry.shapes, np.float32)
    all_columns = x.nbytes * 9
    with use_threads(1):
        tracemalloc.start()
        out, cache = conv_forward_fast(x, w, b, geometry.param)
        _, forward_peak = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()
        dx, _, _ = conv_backward_fast(out, cache)
        _, backward_peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert forward_peak < out.nbytes + 2 * backend.COLUMN_BYTES < all_columns / 2
    assert backward_peak < out.nbytes + dx.nbytes + 4 * backend.COLUMN_BYTES < all_columns


def test_compiled_im2col_never_has_all_columns_of_a_large_image_at_once():
    kernels = compiled("im2col_cython")
    x, w, b = draw_all([(1, 16, 128, 128), (4, 16, 3, 3), (4,)], np.float32)
    out, dx = np.empty((1, 4, 128, 128), np.float32), np.empty_like(x)
    tracemalloc.start()
    kernels.conv_forward(x, w, b, 1, 1, out)
    kernels.conv_backward(out, x, w, 1, 1, dx)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2 * kernels.COLUMN_BYTES < 9 * x.nbytes / 4


@pytest.mark.parametrize(
    "column_bytes, images", [(1, [1] * 7), (1535, [1] * 7), (1536, [2, 2, 2, 1]), (2304, [3, 3, 1])]
)
def test_numpy_takes_as_many_images_at_a_time_as_column_bytes_allow(monkeypatch, column_bytes, images):
    x, w, b, out = draw_all([(7, 2, 5, 4), (3, 2, 2, 3), (3,), (7, 3, 4, 2)])
    taken = []  # 2 * 2 * 3 rows, 4 * 2 columns of 8 bytes: 768 for an image
    of_numpy = numpy_kernels.im2col
    monkeypatch.setattr(numpy_kernels, "COLUMN_BYTES", column_bytes)
    monkeypatch.setattr(
        numpy_kernels, "im2col", lambda x, *window: taken.append(len(x)) or of_numpy(x, *window)
    )
    numpy_kernels.conv_forward(x, w, b, 1, 0, out)
    numpy_kernels.conv_backward(out, x, w, 1, 0, None)
    assert taken == images + images


# The kernels themselves


@every_one_of_columns
def test_im2col_on_paper(module):
    x = np.array([[[[1.0, 2, 3], [4, 5, 6]]], [[[7.0, 8, 9], [10, 11, 12]]]])  # two images, one channel
    cols = module.im2col(x, 2, 2, 1, 0)
    # A row for every place in the window, a column for every window: two of one image, two of the other.
    np.testing.assert_array_equal(cols, [[1, 2, 7, 8], [2, 3, 8, 9], [4, 5, 10, 11], [5, 6, 11, 12]])
    image_sums = [[[1, 2 + 2, 3], [4, 5 + 5, 6]]], [[[7, 8 + 8, 9], [10, 11 + 11, 12]]]
    np.testing.assert_array_equal(module.col2im(cols, x.shape, 2, 2, 1, 0), image_sums)


@every_one_of_columns
def test_im2col_with_channels_stride_and_pad_on_paper(module):
    x = np.array([[[[1.0, 2, 3]], [[4, 5, 6]]]])  # one row of pixels, two channels
    # Windows of 1 x 3, two apart, stand on the first and the last row of the padded image: all zeros.
    np.testing.assert_array_equal(module.im2col(x, 1, 3, 2, 1), np.zeros((6, 4)))
    cols = module.im2col(x, 3, 3, 2, 1)  # 0 1 2 and 2 3 0 in the middle row of the windows
    first, second = [[0, 2], [1, 3], [2, 0]], [[0, 5], [4, 6], [5, 0]]
    nothing = [[0, 0]] * 3
    np.testing.assert_array_equal(cols, nothing + first + nothing + nothing + second + nothing)


@pytest.mark.parametrize("dtype", DTYPES)
@given(convolutions(pairs=True), seeds)
def test_im2col_and_col2im_are_the_same_compiled_and_in_numpy(dtype, geometry, seed):
    window = *geometry.w[2:], geometry.stride, geometry.pad
    kernels, x = compiled("im2col_cython"), draw(geometry.x, dtype, seed)
    cols = kernels.im2col(x, *window)
    assert cols.dtype == dtype
    np.testing.assert_array_equal(cols, numpy_kernels.im2col(x, *window))
    cols = draw(cols.shape, dtype, seed)
    assert_same(kernels.col2im(cols, x.shape, *window), numpy_kernels.col2im(cols, x.shape, *window), dtype)


@every_one_of_columns
@given(convolutions(pairs=True), seeds)
def test_col2im_is_the_adjoint_of_im2col(module, geometry, seed):
    window = *geometry.w[2:], geometry.stride, geometry.pad
    x = draw(geometry.x, seed=seed)
    cols = module.im2col(x, *window)
    y = draw(cols.shape, seed=(seed, 1))
    adjoint = module.col2im(y, x.shape, *window)
    np.testing.assert_allclose(np.vdot(cols, y), np.vdot(x, adjoint), rtol=1e-10, atol=1e-10)


@every_one_of_columns
def test_im2col_takes_any_memory_layout(module):
    x = draw((2, 3, 4, 5))
    cols = module.im2col(x, 2, 3, 1, 1)
    images = module.col2im(cols, x.shape, 2, 3, 1, 1)
    for arrange in (np.asfortranarray, every_second):
        np.testing.assert_array_equal(module.im2col(arrange(x), 2, 3, 1, 1), cols)
        np.testing.assert_allclose(module.col2im(arrange(cols), x.shape, 2, 3, 1, 1), images)


@every_backend
@pytest.mark.parametrize("need_dx", [True, False])
def test_kernels_write_over_what_was_in_their_results(module, need_dx):
    for geometry in (CONVOLUTIONS["stride_2_pad_1"], CONVOLUTIONS["pointwise"]):
        x, w, b = draw_all(geometry.shapes)
        out, dx = np.full(geometry.out, np.nan), np.full(geometry.x, np.nan)
        module.conv_forward(x, w, b, geometry.stride, geometry.pad, out)
        expected, cache = conv_forward_naive(x, w, b, geometry.param)
        np.testing.assert_allclose(out, expected)
        dw, _ = module.conv_backward(out, x, w, geometry.stride, geometry.pad, dx if need_dx else None)
        expected_dx, expected_dw, _ = conv_backward_naive(out, cache)
        np.testing.assert_allclose(dw, expected_dw)
        np.testing.assert_allclose(dx, expected_dx if need_dx else np.full(x.shape, np.nan))


@every_backend
def test_max_pool_kernels_on_paper(module):
    x = np.array([[[[1.0, 9, 2], [3, 4, 5]], [[8, 7, 6], [8, 1, 9]]]])
    out, argmax = np.full((1, 2, 1, 2), np.nan), np.full((1, 2, 1, 2), -1, np.intp)
    module.max_pool_forward(x, 2, 2, 1, out, argmax)
    np.testing.assert_array_equal(out, [[[[9, 9]], [[8, 9]]]])
    np.testing.assert_array_equal(argmax, [[[[1, 1]], [[0, 5]]]])  # places in a plane of 2 rows of 3
    dx = np.full(x.shape, np.nan)
    module.max_pool_backward(np.array([[[[1.0, 2]], [[3, 4]]]]), argmax, dx)
    np.testing.assert_array_equal(dx, [[[[0, 3, 0], [0, 0, 0]], [[3, 0, 0], [0, 0, 4]]]])


def parameters(function):
    return list(inspect.signature(function).parameters)


def public_functions(module):
    return {
        name: parameters(function)
        for name, function in vars(module).items()
        if not name.startswith("_") and getattr(function, "__module__", None) == module.__name__
    }


def test_all_modules_have_the_same_functions_with_the_same_parameters():
    in_numpy = public_functions(numpy_kernels)
    assert in_numpy.keys() == {"im2col", "col2im", *LAYERS}
    assert public_functions(compiled("im2col_cython")) == in_numpy
    for name in LAYERS:
        assert parameters(getattr(compiled("direct_cython"), name)) == in_numpy[name]


@every_one_of_columns
@pytest.mark.parametrize("cols", [(12, 7), (11, 8), (12, 8, 1), (8, 12), (96,)])
def test_col2im_refuses_columns_that_do_not_fit(module, cols):
    with pytest.raises(ValueError, match=r"cols must have shape \(12, 8\) \(that of im2col's result\)"):
        module.col2im(draw(cols), (2, 3, 3, 3), 2, 2, 1, 0)


@every_one_of_columns
@pytest.mark.parametrize(
    "window, message",
    [
        ((4, 2, 1, 0), "window's height is 4, the image's 3"),
        ((2, 6, 1, 1), r"window's width is 6, the image's 3 \+ 2 \* 1"),
        ((2, 4, 2, (1, 0)), r"window's width is 4, the image's 3 \+ 2 \* 0"),
    ],
)
def test_im2col_and_col2im_refuse_windows_that_do_not_fit(module, window, message):
    with pytest.raises(ValueError, match=message):
        module.im2col(draw((2, 3, 3, 3)), *window)
    with pytest.raises(ValueError, match=message):
        module.col2im(draw((12, 8)), (2, 3, 3, 3), *window)


@every_one_of_columns
@pytest.mark.parametrize(
    "window, message",
    [
        ((2, 2, 0, 0), r"stride must be an integer of at least 1 or a pair of them.*; got 0"),
        ((2, 2, -1, 0), r"stride must be an integer of at least 1 or a pair of them.*; got -1"),
        ((0, 2, 1, 0), "HH must be an integer of at least 1; got 0"),
        ((2, -1, 1, 0), "WW must be an integer of at least 1; got -1"),
        ((2, 2, 1, -1), r"pad must be an integer of at least 0 or a pair of them.*; got -1"),
    ],
)
def test_im2col_and_col2im_refuse_windows_that_are_none(module, window, message):
    with pytest.raises(ValueError, match=message):
        module.im2col(draw((2, 3, 3, 3)), *window)
    with pytest.raises(ValueError, match=message):
        module.col2im(draw((12, 8)), (2, 3, 3, 3), *window)


X, W, B, OUT = (2, 3, 4, 5), (4, 3, 3, 2), (4,), (2, 4, 2, 4)


@every_compiled
@pytest.mark.parametrize(
    "x, w, b, out, message",
    [
        ((2, 2, 4, 5), W, B, OUT, r"x must have shape \(2, 3, 4, 5\) \(with the channels of w\)"),
        (X, (4, 2, 3, 2), B, OUT, r"x must have shape \(2, 2, 4, 5\)"),
        (X, W, (3,), OUT, r"b must have shape \(4,\) .*got \(3,\)"),
        (X, W, (4, 1), OUT, r"b must have shape \(4,\) .*got \(4, 1\)"),
        (X, W, B, (1, 4, 2, 4), r"out must have shape \(2, 4, 2, 4\).*got \(1, 4, 2, 4\)"),
        (X, W, B, (2, 3, 2, 4), r"out must have shape \(2, 4, 2, 4\).*got \(2, 3, 2, 4\)"),
        (X, W, B, (2, 4, 1, 4), r"out must have shape \(2, 4, 2, 4\).*got \(2, 4, 1, 4\)"),
        (X, W, B, (2, 4, 2, 3), r"out must have shape \(2, 4, 2, 4\).*got \(2, 4, 2, 3\)"),
        (X, W, B, (2, 4, 8), r"out must have shape \(2, 4, 2, 4\).*got \(2, 4, 8\)"),
        (X, (4, 3, 5, 2), B, OUT, "window's height is 5, the image's 4"),
        (X, (4, 3, 3), B, OUT, "values to unpack"),
        ((2, 3, 4), W, B, OUT, "values to unpack"),
    ],
)
def test_compiled_convolution_refuses_sizes_that_do_not_fit(module, x, w, b, out, message):
    x, w, b, out = draw_all([x, w, b, out])
    before = out.copy()
    with pytest.raises(ValueError, match=message):
        module.conv_forward(x, w, b, 1, 0, out)
    np.testing.assert_array_equal(out, before)
    if b.shape == B:
        with pytest.raises(ValueError, match=message):
            module.conv_backward(out, x, w, 1, 0, np.empty_like(x))


@every_compiled
def test_compiled_convolution_refuses_a_stride_or_dx_that_does_not_fit(module):
    x, w, b, out = draw_all([X, W, B, OUT])
    for stride, shape in ((2, r"\(2, 4, 1, 2\)"), ((1, 3), r"\(2, 4, 2, 2\)")):
        with pytest.raises(ValueError, match=f"out must have shape {shape}"):
            module.conv_forward(x, w, b, stride, 0, out)
        with pytest.raises(ValueError, match=f"out must have shape {shape}"):
            module.conv_backward(out, x, w, stride, 0, None)
    for shape in ((1, *X[1:]), X[:3], (*X[:3], 6)):
        with pytest.raises(ValueError, match=r"dx must have shape \(2, 3, 4, 5\) \(that of x\)"):
            module.conv_backward(out, x, w, 1, 0, np.empty(shape))


@every_compiled
@pytest.mark.parametrize("arrange", [np.asfortranarray, every_second])
def test_compiled_kernels_refuse_arrays_that_are_not_contiguous(module, arrange):
    x, w, b, out = draw_all([X, W, B, OUT])
    not_contiguous = pytest.raises(ValueError, match="not C-contiguous")
    for i in (0, 3):
        arrays = [x, w, b, out]
        arrays[i] = arrange(arrays[i])
        with not_contiguous:
            module.conv_forward(*arrays[:3], 1, 0, arrays[3])
        with not_contiguous:
            module.conv_backward(arrays[3], *arrays[:2], 1, 0, np.empty_like(x))
    with not_contiguous:
        module.conv_forward(x, w, every_second(b), 1, 0, out)
    with not_contiguous:
        module.conv_backward(out, x, w, 1, 0, arrange(x))
    maxima, argmax = draw((2, 3, 3, 4)), np.zeros((2, 3, 3, 4), np.intp)
    for arrays in (
        (arrange(x), maxima, argmax),
        (x, arrange(maxima), argmax),
        (x, maxima, arrange(argmax)),
    ):
        with not_contiguous:
            module.max_pool_forward(arrays[0], 2, 2, 1, *arrays[1:])
        with not_contiguous:
            module.max_pool_backward(*arrays[1:], arrays[0])


@every_compiled
def test_compiled_kernels_refuse_other_dtypes(module):
    x, w, b, out = draw_all([X, W, B, OUT])
    narrow = np.float32
    for arrays in (
        (x.astype(narrow), w, b, out),
        (x, w.astype(narrow), b, out),
        (x, w, b.astype(narrow), out),
        (x, w, b, out.astype(narrow)),
        (*(array.astype(np.int64) for array in (x, w, b, out)),),
    ):
        with pytest.raises((TypeError, ValueError), match=r"dtype mismatch|No matching signature"):
            module.conv_forward(*arrays[:3], 1, 0, arrays[3])
    maxima, argmax = draw((2, 3, 3, 4)), np.zeros((2, 3, 3, 4), np.int32)
    with pytest.raises(ValueError, match="dtype mismatch"):
        module.max_pool_forward(x, 2, 2, 1, maxima, argmax)
    with pytest.raises(ValueError, match="dtype mismatch"):
        module.max_pool_backward(maxima, argmax, x)


@every_compiled
@pytest.mark.parametrize(
    "x, window, out, argmax, message",
    [
        ((2, 3, 4, 5), (2, 2, 1), (2, 3, 3, 3), (2, 3, 3, 4), r"out must have shape \(2, 3, 3, 4\)"),
        ((2, 3, 4, 5), (2, 2, 1), (2, 3, 3, 4), (2, 3, 2, 4), r"argmax must have shape \(2, 3, 3, 4\)"),
        ((2, 3, 4, 5), (2, 2, 1), (1, 3, 3, 4), (1, 3, 3, 4), r"out must have shape \(2, 3, 3, 4\)"),
        ((2, 3, 4, 5), (2, 2, 1), (2, 3, 3, 4), (2, 3, 12), r"argmax must have shape \(2, 3, 3, 4\)"),
        ((2, 3, 4, 5), (2, 2, 2), (2, 3, 2, 3), (2, 3, 2, 3), r"out must have shape \(2, 3, 2, 2\)"),
        ((2, 3, 4, 5), (2, 2, (1, 2)), (2, 3, 2, 2), (2, 3, 2, 2), r"out must have shape \(2, 3, 3, 2\)"),
        ((2, 3, 4, 5), (5, 2, 1), (2, 3, 1, 4), (2, 3, 1, 4), "window's height is 5, the image's 4"),
        ((2, 3, 4), (2, 2, 1), (2, 3, 3), (2, 3, 3), "values to unpack"),
    ],
)
def test_compiled_max_pool_refuses_sizes_that_do_not_fit(module, x, window, out, argmax, message):
    with pytest.raises(ValueError, match=message):
        module.max_pool_forward(draw(x), *window, np.empty(out), np.zeros(argmax, np.intp))


@every_compiled
@pytest.mark.parametrize(
    "dout, argmax, message",
    [
        ((1, 3, 2, 2), (1, 3, 2, 2), r"dout must have shape \(2, 3, 2, 2\) \(with the images and channels"),
        ((2, 1, 2, 2), (2, 1, 2, 2), r"dout must have shape \(2, 3, 2, 2\)"),
        ((2, 3, 2, 2), (2, 3, 2, 1), r"argmax must have shape \(2, 3, 2, 2\) \(that of dout\)"),
        ((2, 3, 2, 2), (2, 3, 4), r"argmax must have shape \(2, 3, 2, 2\)"),
        ((2, 3, 4), (2, 3, 4), r"wrong number of dimensions|No matching signature"),
    ],
)
def test_compiled_max_pool_gradient_refuses_sizes_that_do_not_fit(module, dout, argmax, message):
    with pytest.raises((TypeError, ValueError), match=message):
        module.max_pool_backward(draw(dout), np.zeros(argmax, np.intp), np.empty((2, 3, 4, 4)))


@every_compiled
@pytest.mark.parametrize("place", [-1, 20, 10**12])
def test_compiled_max_pool_gradient_refuses_places_outside_of_the_plane(module, place):
    argmax = np.zeros((2, 3, 2, 2), np.intp)
    argmax[1, 2, 1, 0] = place
    with pytest.raises(ValueError, match="argmax must hold places from 0 to 19"):
        module.max_pool_backward(draw(argmax.shape), argmax, np.empty((2, 3, 4, 5)))
    argmax[1, 2, 1, 0] = 19
    dx = np.empty((2, 3, 4, 5))
    module.max_pool_backward(np.ones(argmax.shape), argmax, dx)
    assert dx[1, 2, 3, 4] == 1


# Threads


@pytest.mark.parametrize("N", [1, 2, 3, 7])
@pytest.mark.parametrize("dtype", DTYPES)
def test_results_do_not_depend_on_the_number_of_threads(backend, dtype, N):
    geometry = Convolution((N, 3, 8, 6), (5, 3, 3, 2), 2, 2)
    for layer in (
        conv_layer(geometry._replace(x=(N, 3, 9, 6))),
        conv_layer(Convolution((N, 3, 5, 4), (4, 3, 1, 1), 1, 0)),
        conv_layer(Convolution((N, 17, 4, 3), (32, 17, 3, 3), 1, 1)),
        pool_layer(POOLINGS["overlapping"]._replace(x=(N, 3, 9, 7))),
    ):
        arrays, dout = layer.draw(dtype)
        results = []
        for count in (1, 2):
            with use_threads(count):
                assert threads.num_threads() == count
                out, cache = layer(*arrays)
                results.append((out, *layer.gradients(dout, cache)))
        for one, two in zip(*results, strict=True):
            assert_same(two, one, dtype)
        with use_threads(2):
            assert_agrees_with_naive(layer, arrays, dtype)


@pytest.fixture
def shared(monkeypatch):
    """How many images, filters or channels were shared out, of what is worth 2**18 multiplications."""
    counts = []

    def map_slices(function, count, work, calls_blas=False):
        if threads.is_worth_sharing(work):
            counts.append(count)
        return [function(slice(0, count))]

    monkeypatch.setattr(threads, "WORTH_SHARING", 2**18)
    monkeypatch.setattr(fast_layers, "map_slices", map_slices)
    return counts


@pytest.mark.parametrize(
    "N, height, expected",
    [
        (3, 13, []),
        (3, 14, [3]),  # backward, which takes twice as many multiplications
        (3, 24, [3]),
        (3, 25, [3, 3]),
        (1, 34, []),
        (1, 35, [2]),  # a single image: the channels of its gradient
        (1, 66, [2]),
        (1, 67, [4, 2]),  # and its filters
    ],
)
def test_small_convolutions_stay_on_one_thread(shared, N, height, expected):
    # N * 4 outputs of `height` - 3 rows and 32 columns, each the sum of 2 * 4 * 4 products
    x, w, b = draw((N, 2, height, 35)), draw((4, 2, 4, 4)), draw(4)
    out, cache = conv_forward_fast(x, w, b, {"stride": 1, "pad": 0})
    conv_backward_fast(out, cache)
    assert shared == expected


@pytest.mark.parametrize("height, expected", [(14, []), (16, [4, 4])])
def test_small_poolings_stay_on_one_thread(shared, height, expected):
    # 4 * 64 columns of `height` pixels, each compared once, in the time of 64 multiplications
    out, cache = max_pool_forward_fast(draw((4, 1, height, 64)), POOL_2X2)
    max_pool_backward_fast(out, cache)
    assert shared == expected
