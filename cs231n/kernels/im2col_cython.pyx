# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False, cdivision=True
"""Convolution and pooling by im2col, compiled, for float32 and float64: see `cs231n.kernels.numpy_kernels`.

Every public function checks the sizes of its arguments in Python. The functions below it trust these sizes,
do not check bounds, and run without the interpreter's lock, so that threads can share a minibatch.

A convolution computes a few rows of an image's output at a time, at most COLUMN_BYTES of columns. These stay
in the cache between im2col, which writes them, and the matrix product, which reads them. The product is the
BLAS's, called without returning to Python.
"""

from cython cimport floating
from scipy.linalg.cython_blas cimport dgemm, dgemv, sgemm, sgemv

import numpy as np

from cs231n.validation import require_shape
from cs231n.windows import window_geometry

COLUMN_BYTES = 2**20  # half of a typical second-level cache


cdef struct Windows:
    Py_ssize_t height, width  # HH, WW
    Py_ssize_t stride_down, stride_across, pad_down, pad_across
    Py_ssize_t rows, columns  # H', W' of the output


cdef Windows _window_geometry(x_shape, HH, WW, stride, pad):
    """Return the sizes of the windows; ValueError unless they fit into the images."""
    cdef Windows windows
    stride, pad, windows.rows, windows.columns = window_geometry(x_shape, HH, WW, stride, pad)
    windows.height, windows.width = HH, WW
    windows.stride_down, windows.stride_across = stride
    windows.pad_down, windows.pad_across = pad
    return windows


def im2col(x, HH, WW, stride, pad):
    """Return the windows of images x (N, C, H, W) as columns: (C HH WW, N H' W')."""
    x = np.ascontiguousarray(x)
    N, C = x.shape[:2]
    cdef Windows windows = _window_geometry(x.shape, HH, WW, stride, pad)
    cols = np.empty((C * HH * WW, N * windows.rows * windows.columns), x.dtype)
    _im2col(x, windows, cols)
    return cols


def _im2col(const floating[:, :, :, ::1] x, Windows windows, floating[:, ::1] cols):
    cdef Py_ssize_t n, size = windows.rows * windows.columns
    with nogil:
        for n in range(x.shape[0]):
            image_to_columns(x[n], windows, 0, windows.rows, cols, n * size)


def col2im(cols, x_shape, HH, WW, stride, pad):
    """Add columns (C HH WW, N H' W') up to images of shape x_shape: the adjoint of `im2col`."""
    N, C = x_shape[:2]
    cdef Windows windows = _window_geometry(x_shape, HH, WW, stride, pad)
    shape = (C * HH * WW, N * windows.rows * windows.columns)
    require_shape("cols", cols, shape, "that of im2col's result")
    x = np.zeros(x_shape, cols.dtype)
    _col2im(np.ascontiguousarray(cols), windows, x)
    return x


def _col2im(const floating[:, ::1] cols, Windows windows, floating[:, :, :, ::1] x):
    cdef Py_ssize_t n, size = windows.rows * windows.columns
    with nogil:
        for n in range(x.shape[0]):
            columns_to_image(cols, n * size, windows, 0, windows.rows, x[n])


def conv_forward(x, w, b, stride, pad, out):
    """Write the convolution of x (N, C, H, W) with w (F, C, HH, WW), plus b (F,), into out (N, F, H', W')."""
    cdef Windows windows = _convolution_geometry(x, w, stride, pad, out)
    require_shape("b", b, w.shape[:1], "one bias per filter of w")
    _conv_forward(x, w.reshape(len(w), -1), b, windows, _workspace(x, w, windows), out)


def _conv_forward(
    const floating[:, :, :, ::1] x,
    const floating[:, ::1] w,
    const floating[::1] b,
    Windows windows,
    floating[:, ::1] cols,
    floating[:, :, :, ::1] out,
):
    cdef Py_ssize_t n, f, top, bottom, rows_at_a_time = cols.shape[1] // windows.columns
    cdef int F = w.shape[0], K = w.shape[1], P = windows.rows * windows.columns, size, ld_cols
    cdef const floating* columns
    with nogil:
        for n in range(x.shape[0]):
            bottom = 0
            while bottom < windows.rows:
                top, bottom = bottom, min(bottom + rows_at_a_time, windows.rows)
                size = (bottom - top) * windows.columns
                columns = columns_of(x[n], windows, top, bottom, cols, &ld_cols)
                for f in range(F):
                    fill(&out[n, f, top, 0], b[f], size)
                # out (F, size) = b + w (F, K) columns (K, size)
                gemm(c"n", c"n", F, size, K, &w[0, 0], K, columns, ld_cols, 1, &out[n, 0, top, 0], P)


def conv_backward(dout, x, w, stride, pad, dx):
    """Write the gradient of x into dx, unless that is None; return dw (F, C, HH, WW) and db (F,)."""
    cdef Windows windows = _convolution_geometry(x, w, stride, pad, dout)
    if dx is not None:
        require_shape("dx", dx, x.shape, "that of x")
    w_rows = w.reshape(len(w), -1)
    dw_columns, db = np.zeros(w_rows.T.shape, x.dtype), np.zeros(len(w), x.dtype)
    _conv_backward(dout, x, w_rows, windows, _workspace(x, w, windows), dx, dw_columns, db)
    return np.ascontiguousarray(dw_columns.T).reshape(w.shape), db


def _conv_backward(
    const floating[:, :, :, ::1] dout,
    const floating[:, :, :, ::1] x,
    const floating[:, ::1] w,
    Windows windows,
    floating[:, ::1] cols,
    floating[:, :, :, ::1] dx,
    floating[:, ::1] dw,
    floating[::1] db,
):
    cdef Py_ssize_t n, top, bottom, rows_at_a_time = cols.shape[1] // windows.columns
    cdef int F = w.shape[0], K = w.shape[1], P = windows.rows * windows.columns, size, ld_cols
    cdef bint need_dx = dx is not None, pointwise = is_pointwise(windows)
    cdef floating[::1] ones = np.ones_like(cols[0])
    cdef const floating* columns
    cdef const floating* drows
    with nogil:
        for n in range(x.shape[0]):
            if need_dx:
                fill(&dx[n, 0, 0, 0], 0, dx.shape[1] * dx.shape[2] * dx.shape[3])
            bottom = 0
            while bottom < windows.rows:
                top, bottom = bottom, min(bottom + rows_at_a_time, windows.rows)
                size = (bottom - top) * windows.columns
                columns = columns_of(x[n], windows, top, bottom, cols, &ld_cols)
                drows = &dout[n, 0, top, 0]
                # db (F,) += drows (F, size) ones (size,)
                gemv(F, size, drows, P, &ones[0], 1, &db[0])
                # dw^T (K, F) += columns (K, size) drows^T (size, F)
                gemm(c"n", c"t", K, F, size, columns, ld_cols, drows, P, 1, &dw[0, 0], F)
                if not need_dx:
                    continue
                # dcolumns (K, size) = w^T (K, F) drows (F, size)
                if pointwise:
                    gemm(c"t", c"n", K, size, F, &w[0, 0], K, drows, P, 0, &dx[n, 0, top, 0], P)
                else:
                    gemm(c"t", c"n", K, size, F, &w[0, 0], K, drows, P, 0, &cols[0, 0], ld_cols)
                    columns_to_image(cols, 0, windows, top, bottom, dx[n])


cdef Windows _convolution_geometry(x, w, stride, pad, out):
    """Return the sizes of the windows; ValueError unless x, w and the output, or its gradient, fit."""
    F, C, HH, WW = w.shape
    require_shape("x", x, (len(x), C, *x.shape[2:]), "with the channels of w")
    cdef Windows windows = _window_geometry(x.shape, HH, WW, stride, pad)
    require_shape("out", out, (len(x), F, windows.rows, windows.columns), "that of the output")
    return windows


cdef _workspace(x, w, Windows windows):
    """Return an array for the columns of some rows of output, COLUMN_BYTES or a little less."""
    bytes_per_row = w[0].size * windows.columns * x.itemsize
    tiles = -(-windows.rows // max(1, COLUMN_BYTES // bytes_per_row))
    return np.empty((w[0].size, -(-windows.rows // tiles) * windows.columns), x.dtype)


def max_pool_forward(x, HH, WW, stride, out, argmax):
    """Write the largest value of every window into out, and its index in the plane H W into argmax.

    - x: (N, C, H, W); out, argmax: (N, C, H', W'), the latter of dtype np.intp
    """
    cdef Windows windows = _window_geometry(x.shape, HH, WW, stride, 0)
    for name, array in (("out", out), ("argmax", argmax)):
        require_shape(name, array, (*x.shape[:2], windows.rows, windows.columns), "one value per window")
    _max_pool_forward(x, windows, out, argmax)


def _max_pool_forward(
    const floating[:, :, :, ::1] x,
    Windows windows,
    floating[:, :, :, ::1] out,
    Py_ssize_t[:, :, :, ::1] argmax,
):
    cdef Py_ssize_t n, c, i, j, p, q, W = x.shape[3], place, best_place
    cdef floating best, value
    cdef const floating* plane
    with nogil:
        for n in range(x.shape[0]):
            for c in range(x.shape[1]):
                plane = &x[n, c, 0, 0]
                for i in range(windows.rows):
                    for j in range(windows.columns):
                        best_place = i * windows.stride_down * W + j * windows.stride_across
                        best = plane[best_place]
                        for p in range(windows.height):
                            place = (i * windows.stride_down + p) * W + j * windows.stride_across
                            for q in range(windows.width):
                                value = plane[place]
                                # a NaN beats every number; the first NaN stays
                                if value > best or (value != value and best == best):
                                    best, best_place = value, place
                                place += 1
                        out[n, c, i, j] = best
                        argmax[n, c, i, j] = best_place


def max_pool_backward(dout, argmax, dx):
    """Write into dx (N, C, H, W) the gradients dout (N, C, H', W'), added up at the indices argmax."""
    require_shape("dout", dout, (*dx.shape[:2], *dout.shape[2:]), "with the images and channels of dx")
    require_shape("argmax", argmax, dout.shape, "that of dout")
    if argmax.min() < 0 or argmax.max() >= dx[0, 0].size:
        raise ValueError(f"argmax must hold places from 0 to {dx[0, 0].size - 1}, pixels of a plane of dx")
    _max_pool_backward(dout, argmax, dx)


def _max_pool_backward(
    const floating[:, :, :, ::1] dout,
    const Py_ssize_t[:, :, :, ::1] argmax,
    floating[:, :, :, ::1] dx,
):
    cdef Py_ssize_t n, c, i, j
    cdef floating* plane
    with nogil:
        for n in range(dx.shape[0]):
            for c in range(dx.shape[1]):
                plane = &dx[n, c, 0, 0]
                fill(plane, 0, dx.shape[2] * dx.shape[3])
                for i in range(dout.shape[2]):
                    for j in range(dout.shape[3]):
                        plane[argmax[n, c, i, j]] += dout[n, c, i, j]


cdef const floating* columns_of(
    const floating[:, :, ::1] image,
    Windows windows,
    Py_ssize_t top,
    Py_ssize_t bottom,
    floating[:, ::1] cols,
    int* leading_dimension,
) noexcept nogil:
    """Return the columns of the windows in rows top <= i < bottom, and write the distance between their rows.

    If a window is one pixel, the image itself is its matrix of columns.
    """
    if is_pointwise(windows):
        leading_dimension[0] = image.shape[1] * image.shape[2]
        return &image[0, top, 0]
    image_to_columns(image, windows, top, bottom, cols, 0)
    leading_dimension[0] = cols.shape[1]
    return &cols[0, 0]


cdef inline void fill(floating* values, floating value, Py_ssize_t count) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(count):
        values[i] = value


cdef bint is_pointwise(Windows windows) noexcept nogil:
    return (
        windows.height == windows.width == windows.stride_down == windows.stride_across == 1
        and windows.pad_down == windows.pad_across == 0
    )


cdef void image_to_columns(
    const floating[:, :, ::1] image,
    Windows windows,
    Py_ssize_t top,
    Py_ssize_t bottom,
    floating[:, ::1] cols,
    Py_ssize_t start,
) noexcept nogil:
    """Write the columns of an image (C, H, W), for output rows top <= i < bottom, from column `start` on."""
    cdef Py_ssize_t c, p, q, i, j, y, shift, first, last, row = 0, column, stride = windows.stride_across
    for c in range(image.shape[0]):
        for p in range(windows.height):
            for q in range(windows.width):
                shift = q - windows.pad_across  # pixel q of window j is column j * stride + shift of the image
                inside(shift, stride, image.shape[2], windows.columns, &first, &last)
                for i in range(top, bottom):
                    y = i * windows.stride_down + p - windows.pad_down
                    column = start + (i - top) * windows.columns
                    if y < 0 or y >= image.shape[1]:
                        for j in range(windows.columns):
                            cols[row, column + j] = 0
                        continue
                    for j in range(first):
                        cols[row, column + j] = 0
                    if stride == 1:  # contiguous pixels: this copies whole vectors
                        for j in range(first, last):
                            cols[row, column + j] = image[c, y, j + shift]
                    elif stride == 2:  # a constant, so that the compiler can vectorize the loop
                        for j in range(first, last):
                            cols[row, column + j] = image[c, y, 2 * j + shift]
                    else:
                        for j in range(first, last):
                            cols[row, column + j] = image[c, y, j * stride + shift]
                    for j in range(last, windows.columns):
                        cols[row, column + j] = 0
                row += 1


cdef void columns_to_image(
    const floating[:, ::1] cols,
    Py_ssize_t start,
    Windows windows,
    Py_ssize_t top,
    Py_ssize_t bottom,
    floating[:, :, ::1] image,
) noexcept nogil:
    """Add the columns to the image: the adjoint of `image_to_columns`."""
    cdef Py_ssize_t c, p, q, i, j, y, shift, first, last, row = 0, column, stride = windows.stride_across
    for c in range(image.shape[0]):
        for p in range(windows.height):
            for q in range(windows.width):
                shift = q - windows.pad_across
                inside(shift, stride, image.shape[2], windows.columns, &first, &last)
                for i in range(top, bottom):
                    y = i * windows.stride_down + p - windows.pad_down
                    column = start + (i - top) * windows.columns
                    if y < 0 or y >= image.shape[1]:
                        continue
                    if stride == 1:
                        for j in range(first, last):
                            image[c, y, j + shift] += cols[row, column + j]
                    else:
                        for j in range(first, last):
                            image[c, y, j * stride + shift] += cols[row, column + j]
                row += 1


cdef void inside(
    Py_ssize_t shift, Py_ssize_t stride, Py_ssize_t size, Py_ssize_t count, Py_ssize_t* first, Py_ssize_t* last
) noexcept nogil:
    """Write the range first <= j < last of the `count` windows for which 0 <= j * stride + shift < size."""
    first[0] = 0 if shift >= 0 else min((stride - 1 - shift) // stride, count)
    last[0] = 0 if shift >= size else min((size - 1 - shift) // stride + 1, count)


cdef void gemm(
    char trans_a, char trans_b, int m, int n, int k,
    const floating* a, int lda, const floating* b, int ldb, floating beta, floating* c, int ldc,
) noexcept nogil:
    """Compute c (m, n) = op(a) op(b) + beta c for matrices stored by rows: BLAS sees their transposes."""
    cdef floating one = 1
    if floating is float:
        sgemm(&trans_b, &trans_a, &n, &m, &k, &one, <float*>b, &ldb, <float*>a, &lda, &beta, c, &ldc)
    else:
        dgemm(&trans_b, &trans_a, &n, &m, &k, &one, <double*>b, &ldb, <double*>a, &lda, &beta, c, &ldc)


cdef void gemv(
    int m, int n, const floating* a, int lda, const floating* x, floating beta, floating* y
) noexcept nogil:
    """Compute y (m,) = a (m, n) x (n,) + beta y for a matrix stored by rows."""
    cdef floating one = 1
    cdef int step = 1
    cdef char trans = c"t"
    if floating is float:
        sgemv(&trans, &n, &m, &one, <float*>a, &lda, <float*>x, &step, &beta, y, &step)
    else:
        dgemv(&trans, &n, &m, &one, <double*>a, &lda, <double*>x, &step, &beta, y, &step)
