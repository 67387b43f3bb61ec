# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False
"""Convolution without columns, compiled, for float32 and float64: see `cs231n.kernels.numpy_kernels`.

The functions here check the sizes of their arguments and call C code, which begins in `c/convolution.h`. It
has two algorithms: a direct convolution for every geometry, and Winograd's for windows of 2x2 to 5x5 pixels at
stride 1, which is faster with many channels. Both run without the interpreter's lock, so that threads can
share a minibatch.

Winograd's algorithm adds and subtracts neighbouring pixels before it multiplies. So rounding errors are
relative to the largest pixel of a 6x6 patch.
"""

from cython cimport floating

import numpy as np

from cs231n.kernels.im2col_cython import max_pool_backward  # noqa: F401  as fast as C would be
from cs231n.kernels.im2col_cython import max_pool_forward as max_pool_forward_by_pixel
from cs231n.validation import require_shape
from cs231n.windows import window_geometry

cdef extern from "c/convolution.h" nogil:
    ctypedef struct Geometry:
        Py_ssize_t images, channels, height, width, filters, window_height, window_width
        Py_ssize_t stride_down, stride_across, pad_down, pad_across, rows, columns
    ctypedef struct Convolution:
        int (*forward)(const Geometry*, const void*, const void*, const void*, void*) noexcept nogil
        int (*backward_input)(const Geometry*, const void*, const void*, void*) noexcept nogil
        int (*backward_weights)(const Geometry*, const void*, const void*, void*, void*) noexcept nogil
    ctypedef void MaxPool(const Geometry*, const void*, void*, Py_ssize_t*) noexcept
    const Convolution CONVOLUTIONS[3][2][2]
    MaxPool* MAX_POOLS[3][2]
    const char* const SET_NAMES[3]
    int count_sets()
    int winograd_is_possible(const Geometry*)
    int winograd_pays(const Geometry*)

# Which algorithm convolves: "faster", as `winograd_pays` in C estimates it; to measure or to test also "direct",
# or "Winograd" wherever it is possible.
ALGORITHM = "faster"

# Pooling windows of at least this many pixels: a new maximum is rare, so the branch in im2col_cython predicts
# well and is faster than the branch-free code in C.
LARGE_WINDOW = 64

cdef int _set = count_sets() - 1  # the vector instructions in use: the widest


def vector_sets():
    """Return the names of the processor's sets of vector instructions, the widest last; it is the default."""
    return [SET_NAMES[i].decode() for i in range(count_sets())]


def use_vectors(name):
    """Use this set of vector instructions from now on, to measure or to test; the default is the fastest."""
    global _set
    if name not in vector_sets():
        raise ValueError(f"name must be one of {', '.join(vector_sets())}; got {name!r}")
    _set = vector_sets().index(name)


def conv_forward(x, w, b, stride, pad, out):
    """Write the convolution of x (N, C, H, W) with w (F, C, HH, WW), plus b (F,), into out (N, F, H', W')."""
    cdef Geometry geometry = _convolution_geometry(x, w, stride, pad, out)
    require_shape("b", b, w.shape[:1], "one bias per filter of w")
    _conv_forward(geometry, x, w, b, out)


def _conv_forward(
    Geometry geometry,
    const floating[:, :, :, ::1] x,
    const floating[:, :, :, ::1] w,
    const floating[::1] b,
    floating[:, :, :, ::1] out,
):
    cdef const Convolution* convolution = _choose_algorithm(&geometry, floating is double)
    cdef int enough
    with nogil:
        enough = convolution.forward(&geometry, &x[0, 0, 0, 0], &w[0, 0, 0, 0], &b[0], &out[0, 0, 0, 0])
    _require_memory(enough)


def conv_backward(dout, x, w, stride, pad, dx):
    """Write the gradient of x into dx, unless that is None; return dw (F, C, HH, WW) and db (F,)."""
    cdef Geometry geometry = _convolution_geometry(x, w, stride, pad, dout)
    if dx is not None:
        require_shape("dx", dx, x.shape, "that of x")
    dw, db = np.empty_like(w), np.empty(len(w), w.dtype)
    _conv_backward(geometry, dout, x, w, dx, dw, db)
    return dw, db


def _conv_backward(
    Geometry geometry,
    const floating[:, :, :, ::1] dout,
    const floating[:, :, :, ::1] x,
    const floating[:, :, :, ::1] w,
    floating[:, :, :, ::1] dx,
    floating[:, :, :, ::1] dw,
    floating[::1] db,
):
    cdef const Convolution* convolution = _choose_algorithm(&geometry, floating is double)
    cdef bint need_dx = dx is not None
    cdef int enough = 1
    with nogil:
        if need_dx:
            enough = convolution.backward_input(&geometry, &dout[0, 0, 0, 0], &w[0, 0, 0, 0], &dx[0, 0, 0, 0])
        if enough:
            enough = convolution.backward_weights(
                &geometry, &dout[0, 0, 0, 0], &x[0, 0, 0, 0], &dw[0, 0, 0, 0], &db[0]
            )
    _require_memory(enough)


def max_pool_forward(x, HH, WW, stride, out, argmax):
    """Write the largest value of every window into out, and its index in the plane H W into argmax.

    - x: (N, C, H, W); out, argmax: (N, C, H', W'), the latter of dtype np.intp
    """
    cdef Geometry g
    N, C, H, W = x.shape
    if HH * WW >= LARGE_WINDOW or H * W > 2**31:  # for float32, offsets are 32-bit
        return max_pool_forward_by_pixel(x, HH, WW, stride, out, argmax)
    stride, _, rows, columns = window_geometry(x.shape, HH, WW, stride, 0)
    for name, array in (("out", out), ("argmax", argmax)):
        require_shape(name, array, (N, C, rows, columns), "one value per window")
    g.images, g.channels, g.height, g.width = N * C, 1, H, W
    g.filters, g.window_height, g.window_width = 1, HH, WW
    g.stride_down, g.stride_across = stride
    g.pad_down, g.pad_across, g.rows, g.columns = 0, 0, rows, columns
    _max_pool_forward(g, x, out, argmax)


def _max_pool_forward(
    Geometry geometry,
    const floating[:, :, :, ::1] x,
    floating[:, :, :, ::1] out,
    Py_ssize_t[:, :, :, ::1] argmax,
):
    cdef MaxPool* max_pool = MAX_POOLS[_set][floating is double]
    with nogil:
        max_pool(&geometry, &x[0, 0, 0, 0], &out[0, 0, 0, 0], &argmax[0, 0, 0, 0])


cdef Geometry _convolution_geometry(x, w, stride, pad, out):
    """Return the sizes of a convolution; ValueError unless x, w and the output, or its gradient, fit."""
    cdef Geometry g
    F, C, HH, WW = w.shape
    require_shape("x", x, (len(x), C, *x.shape[2:]), "with the channels of w")
    stride, pad, rows, columns = window_geometry(x.shape, HH, WW, stride, pad)
    require_shape("out", out, (len(x), F, rows, columns), "that of the output")
    g.images, g.channels, g.height, g.width = x.shape
    g.filters, g.window_height, g.window_width = F, HH, WW
    g.stride_down, g.stride_across = stride
    g.pad_down, g.pad_across = pad
    g.rows, g.columns = rows, columns
    return g


cdef const Convolution* _choose_algorithm(const Geometry* g, bint double_precision) noexcept:
    """Choose the algorithm: Winograd's where it is possible and faster."""
    cdef bint winograd = winograd_is_possible(g) and ALGORITHM != "direct"
    if ALGORITHM == "faster":
        winograd = winograd and winograd_pays(g)
    return &CONVOLUTIONS[_set][winograd][double_precision]


cdef _require_memory(int enough):
    if not enough:
        raise MemoryError("too little memory for the workspace of a convolution")
