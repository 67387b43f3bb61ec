"""Compiled code gives the same bits wherever its arrays lie in memory and however far apart they are.

A compiler that does not know whether two arrays overlap makes two versions of a loop; the distance between
the arrays decides which one runs. If these rounded differently, training could end with different weights.
"""

import numpy as np
import pytest
from conftest import DTYPES, compiled, draw, draw_all

pytestmark = pytest.mark.q4

direct_cython, im2col_cython, optim_cython = map(compiled, ("direct_cython", "im2col_cython", "optim_cython"))
SETS = direct_cython.vector_sets()
GAPS = (0, 1, 3, 7, 16, 61)  # numbers between one array and the next
STARTS = (0, 1, 5)

every_dtype = pytest.mark.parametrize("dtype", DTYPES)
every_set = pytest.mark.parametrize("vectors", range(len(SETS)), ids=SETS)


def placements(*arrays):
    """Yield copies of the arrays in one block of memory, at several starts and distances."""
    for start in STARTS:
        for gap in GAPS:
            memory = np.zeros(start + sum(array.size + gap for array in arrays), arrays[0].dtype)
            placed, end = [], start
            for array in arrays:
                view = memory[end : end + array.size].reshape(array.shape)
                view[...] = array
                placed.append(view)
                end += array.size + gap
            yield placed


def assert_all_equal(outcomes):
    first, *others = outcomes
    assert len(others) == len(GAPS) * len(STARTS) - 1
    for other in others:
        for array, expected in zip(other, first, strict=True):
            np.testing.assert_array_equal(array, expected)


RULES = {  # settings of a step, and how many arrays of state
    "sgd": ((0.03,), 0),
    "sgd_momentum": ((0.03, 0.9), 1),
    "nesterov": ((0.03, 0.9), 1),
    "rmsprop": ((0.03, 0.99, 1e-8), 1),
    "adam": ((0.03, 0.9, 0.999, 1e-8, 0.97), 2),
}


@every_dtype
@every_set
@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("size", [1, 5, 17, 100])
def test_updates_have_the_same_bits_everywhere(rule, dtype, vectors, size):
    """The distance between two arrays of a step does not change its bits."""
    settings, num_states = RULES[rule]

    def steps():
        w, dw, *state = draw_all([size] * (2 + num_states), dtype)
        for arrays in placements(w, dw, *(array**2 for array in state)):
            optim_cython.take_steps(rule, [(settings, arrays)], vectors=vectors)
            yield [array.copy() for array in arrays]

    assert_all_equal(steps())


@pytest.fixture(params=["im2col", *SETS])
def kernels(request):
    """Return each compiled module, the direct one with each set of vector instructions."""
    if request.param == "im2col":
        yield im2col_cython
        return
    direct_cython.use_vectors(request.param)
    yield direct_cython
    direct_cython.use_vectors(SETS[-1])


@every_dtype
@pytest.mark.parametrize(
    "N, C, F, H, W, window, stride, pad",
    [
        pytest.param(2, 3, 5, 9, 11, 3, 2, 1, id="strided"),
        pytest.param(3, 2, 3, 5, 4, 1, 1, 0, id="pointwise"),
        pytest.param(2, 18, 17, 11, 10, 3, 1, 1, id="Winograd"),
        pytest.param(1, 4, 9, 6, 40, 5, 1, 2, id="wide"),
    ],
)
def test_convolution_has_the_same_bits_everywhere(kernels, dtype, N, C, F, H, W, window, stride, pad):
    """Neither algorithm depends on where its arrays lie."""
    rows, columns = ((side + 2 * pad - window) // stride + 1 for side in (H, W))
    x, w, b, dout = draw_all([(N, C, H, W), (F, C, window, window), (F,), (N, F, rows, columns)], dtype)

    def passes():
        for x_, w_, b_, dout_, out, dx in placements(x, w, b, dout, dout, x):
            kernels.conv_forward(x_, w_, b_, stride, pad, out)
            dw, db = kernels.conv_backward(dout_, x_, w_, stride, pad, dx)
            yield out.copy(), dx.copy(), dw, db

    assert_all_equal(passes())


@every_dtype
@pytest.mark.parametrize("window, stride", [(2, 2), (3, 2), (3, 1)])
def test_pooling_has_the_same_bits_everywhere(kernels, dtype, window, stride):
    """Maxima, their indices and gradients do not depend on where the arrays lie."""
    x = draw((2, 3, 7, 9), dtype)
    rows, columns = ((side - window) // stride + 1 for side in x.shape[2:])
    x = np.ascontiguousarray(x[:, :, : (rows - 1) * stride + window, : (columns - 1) * stride + window])
    dout = draw((2, 3, rows, columns), dtype, 1)

    def passes():
        for x_, dout_, out, dx in placements(x, dout, dout, x):
            argmax = np.empty(out.shape, np.intp)
            kernels.max_pool_forward(x_, window, window, stride, out, argmax)
            kernels.max_pool_backward(dout_, argmax, dx)
            yield out.copy(), argmax, dx.copy()

    assert_all_equal(passes())
