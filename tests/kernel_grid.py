"""A program that compares every kernel of a compiled module with NumPy's, on many small geometries.

python kernel_grid.py MODULE FENCE

Every array has its own memory, with FENCE bytes before and behind it. They are filled with 255, which is NaN
in a float and -1 in an index, so reading them spoils the result; the program also checks that nothing was
written there. A sanitizer watches the memory itself and needs FENCE 0.

Every geometry is computed in every way that the module has: with several numbers of rows at a time, with each
set of vector instructions, with and without Winograd's algorithm.
"""

import ctypes
import importlib
import sys
from contextlib import suppress
from itertools import product
from math import prod

import numpy as np

from cs231n.kernels import numpy_kernels as reference
from cs231n.validation import require_pair

MODULE, FENCE = sys.argv[1], int(sys.argv[2])

DTYPES = (np.float32, np.float64)
TOLERANCES = {np.float32: 1e-4, np.float64: 1e-11}
WINDOWS = ((1, 1), (1, 4), (2, 3), (3, 2), (3, 3))  # HH, WW
OUTPUTS = ((1, 1), (1, 2), (2, 5), (5, 3), (7, 8))  # H', W'; (1, 1): a window as large as the padded image
MOVES = (  # stride, pad, and the pixels behind the last window: integers, or pairs (rows, columns)
    *((stride, pad, 0) for stride in (1, 2, 3) for pad in (0, 1, 2, 3)),
    (2, 0, 1),
    (2, 1, 1),
    (3, 0, (2, 1)),
    (3, 2, (1, 2)),
    (1, (0, 2), 0),
    (1, (3, 1), 0),
    ((1, 2), 0, (0, 1)),
    ((2, 1), (0, 1), (1, 0)),
    ((3, 2), (1, 3), (2, 1)),
    ((2, 4), (3, 0), (0, 3)),
)
SIZES = ((1, 1, 1), (2, 3, 4), (3, 2, 1))  # N, C, F
LARGER = (  # window, output, stride, pad, (N, C, F), rest; more images, rows or filters than at a time
    ((3, 3), (3, 3), 1, 1, (30, 2, 3)),
    ((3, 3), (11, 35), 1, (0, 1), (2, 3, 5)),
    ((3, 3), (9, 35), 2, 1, (2, 3, 5), 1),
    ((3, 2), (9, 21), (1, 3), (2, 0), (2, 3, 5), (0, 1)),
    ((2, 4), (12, 19), (3, 1), (0, 1), (3, 2, 9), (2, 0)),
    ((2, 2), (5, 35), (2, 3), 0, (2, 3, 3), 1),
    ((3, 3), (21, 13), 1, 1, (2, 3, 5)),
    ((3, 3), (2, 50), 1, 1, (1, 2, 17)),
    ((3, 3), (3, 33), 1, 1, (1, 2, 2)),
    ((3, 3), (17, 2), 1, 1, (2, 17, 20)),
    ((3, 3), (5, 6), 1, 0, (4, 18, 19)),
    ((3, 3), (4, 5), 1, 1, (2, 7, 15)),
    ((1, 1), (9, 16), 1, 0, (2, 5, 33)),
    ((2, 5), (7, 33), 2, 2, (3, 2, 9)),
    ((2, 2), (5, 35), 2, 0, (2, 3, 3)),
    ((2, 3), (6, 41), 1, 0, (2, 2, 7)),
    ((5, 5), (9, 16), 3, 3, (2, 3, 8)),
    ((2, 2), (5, 17), 3, 1, (2, 2, 3)),
)


def room(shape, dtype):
    """Return an array full of 255, with fences."""
    size = prod(shape) * np.dtype(dtype).itemsize
    memory = np.full(size + 2 * FENCE, 255, np.uint8)
    return memory[FENCE : FENCE + size].view(dtype).reshape(shape)


def place(array):
    """Copy an array to its own memory, with fences and read-only."""
    placed = room(array.shape, array.dtype)
    placed[...] = array
    placed.flags.writeable = False
    return placed


def check(actual, expected, what):
    """Assert that a result agrees with NumPy's, which is finite or NaN.

    Most agree at the first look, which takes a third of the time of np.allclose. NaN never do.
    """
    tol = TOLERANCES.get(expected.dtype.type, 0)
    assert (actual.shape, actual.dtype) == (expected.shape, expected.dtype), what
    if not (abs(actual - expected) <= tol + tol * abs(expected)).all():
        assert np.allclose(actual, expected, rtol=tol, atol=tol, equal_nan=True), f"{what} is wrong"


def check_fences(*arrays):
    """Assert that nothing was written beside these arrays."""
    for array in arrays:
        memory = array.base
        assert (memory[:FENCE] == 255).all() and (memory[len(memory) - FENCE :] == 255).all()


def is_direct(kernels):
    return hasattr(kernels, "use_vectors")


def every_number_of_rows(kernels, bytes_per_row, rows):
    """Let the im2col kernels make the columns of 1, 2 and all rows at a time; yield for each."""
    for rows_at_a_time in {1, 2, rows}:
        kernels.COLUMN_BYTES = rows_at_a_time * bytes_per_row
        yield


def every_path(kernels, bytes_per_row):
    """Let the direct kernels use each set of vectors and, if possible, few rows at a time; yield for each."""
    limits = constants(kernels, "band_bytes", "winograd_bytes")
    usual = [limit.value for limit in limits]
    for name in kernels.vector_sets():
        kernels.use_vectors(name)
        yield
        for rows_at_a_time in (1, 3) if limits else ():
            for limit in limits:
                limit.value = rows_at_a_time * bytes_per_row
            yield
        for limit, value in zip(limits, usual, strict=True):
            limit.value = value


def constants(kernels, *names):
    """Return these limits of the C code if they are variables, as when compiled for tests; else none."""
    with suppress(ValueError):
        library = ctypes.CDLL(kernels.__file__)
        return [ctypes.c_long.in_dll(library, name) for name in names]
    return []


def check_convolution(kernels, x, w, b, stride, pad, outputs):
    HH, WW = w.shape[2:]
    expected_out = np.empty((len(x), len(w), *outputs), x.dtype)
    reference.conv_forward(x, w, b, stride, pad, expected_out)
    dout = place(np.random.standard_normal(expected_out.shape).astype(x.dtype))
    expected_dx = np.empty_like(x)
    expected_dw, expected_db = reference.conv_backward(dout, x, w, stride, pad, expected_dx)

    def check_results():
        out, dx = room(expected_out.shape, x.dtype), room(x.shape, x.dtype)
        kernels.conv_forward(x, w, b, stride, pad, out)
        check(out, expected_out, "out")
        grads = [kernels.conv_backward(dout, x, w, stride, pad, into) for into in (dx, None)]
        check(dx, expected_dx, "dx")
        for dw, db in grads:
            check(dw, expected_dw, "dw")
            check(db, expected_db, "db")
        check_fences(out, dx)

    if is_direct(kernels):
        has_two_algorithms = {*w.shape[2:]} <= {2, 3, 4, 5} and require_pair("stride", stride, 1) == (1, 1)
        for algorithm in ("Winograd", "direct") if has_two_algorithms else ("direct",):
            kernels.ALGORITHM = algorithm
            for _ in every_path(kernels, x[0, :, 0].nbytes):
                check_results()
        return
    for _ in every_number_of_rows(kernels, w[0].size * outputs[1] * x.itemsize, outputs[0]):
        check_results()
    cols = reference.im2col(x, HH, WW, stride, pad)
    check(kernels.im2col(x, HH, WW, stride, pad), cols, "im2col")
    dcols = place(np.random.standard_normal(cols.shape).astype(x.dtype))
    expected_dx = reference.col2im(dcols, x.shape, HH, WW, stride, pad)
    check(kernels.col2im(dcols, x.shape, HH, WW, stride, pad), expected_dx, "col2im")


def check_pooling(kernels, x, HH, WW, stride, outputs):
    shape = (*x.shape[:2], *outputs)
    expected, expected_argmax = np.empty(shape, x.dtype), np.empty(shape, np.intp)
    reference.max_pool_forward(x, HH, WW, stride, expected, expected_argmax)
    dout = place(np.random.standard_normal(shape).astype(x.dtype))
    expected_dx = np.empty_like(x)
    reference.max_pool_backward(dout, expected_argmax, expected_dx)
    for _ in every_path(kernels, x[0, :, 0].nbytes) if is_direct(kernels) else range(1):
        out, argmax = room(shape, x.dtype), room(shape, np.intp)
        kernels.max_pool_forward(x, HH, WW, stride, out, argmax)
        check(out, expected, "out")
        check(argmax, expected_argmax, "argmax")
        dx = room(x.shape, x.dtype)
        kernels.max_pool_backward(dout, place(argmax), dx)
        check(dx, expected_dx, "dx")
        check_fences(out, argmax, dx)


def check_geometry(kernels, dtype, window, outputs, stride, pad, size, rest=0):
    """Check all kernels on this geometry; return False if its image would have no pixels.

    - size: N, C, F; rest: the pixels behind the last window, fewer than a stride
    """
    N, C, F = size
    moves = np.array([require_pair(name, value, 0) for name, value in (("stride", stride), ("pad", pad))])
    H, W = (np.array(window) + moves[0] * (np.array(outputs) - 1) + rest - 2 * moves[1]).tolist()
    if min(H, W) < 1:
        return False
    shapes = ((N, C, H, W), (F, C, *window), (F,))
    x, w, b = (place(np.random.standard_normal(shape).astype(dtype)) for shape in shapes)
    check_convolution(kernels, x, w, b, stride, pad, outputs)
    if moves[1].max() == 0:
        x = np.random.choice([np.nan, 1, 2, 3], (N, C, H, W), p=[0.1, 0.3, 0.3, 0.3])  # has ties
        check_pooling(kernels, place(x.astype(dtype)), *window, stride, outputs)
    return True


def main():
    np.random.seed(0)
    kernels = importlib.import_module(MODULE)
    escaped = []  # exceptions in `noexcept` functions, which cannot propagate
    sys.unraisablehook = lambda unraisable: escaped.append(repr(unraisable.exc_value))
    count = 0
    grid = product(WINDOWS, OUTPUTS, MOVES, SIZES)
    small = (
        (window, outputs, stride, pad, size, rest) for window, outputs, (stride, pad, rest), size in grid
    )
    for dtype, geometry in product(DTYPES, (*small, *LARGER)):
        try:
            count += check_geometry(kernels, dtype, *geometry)
            assert not escaped, escaped
        except Exception:
            print(f"{dtype.__name__}: window, output, stride, pad, (N, C, F), pixels behind = {geometry}")
            raise
    print(count, "geometries")


if __name__ == "__main__":
    main()
