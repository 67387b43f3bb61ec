"""Convolution and pooling in NumPy, by im2col: the fast layers use these kernels if none were compiled.

im2col ("image to columns") lays every window of the images out as a column of a matrix; a convolution
is then one matrix product, filters (F, C HH WW) times columns (C HH WW, N H' W'). col2im is its adjoint:
it adds every column back to the pixels it was taken from, which is how the gradient returns to the image.
(Chellapilla, Puri and Simard 2006, "High performance convolutional neural networks for document
processing".)

`cs231n.kernels.im2col_cython` has the same functions with the same arguments and results. All but im2col and
col2im write into arrays that the caller made: `out` and `dx` may then be slices of a minibatch. `stride` and
`pad` are one integer, or a pair (rows, columns).

Axes: N images, C channels, H W image height and width, F filters, HH WW window height and width, H' W'
output height and width.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from cs231n.validation import require_pair, require_shape
from cs231n.windows import Pair, window_geometry

Array = NDArray[Any]

COLUMN_BYTES = 4 * 2**20  # of columns made at a time: they stay in the cache until they are multiplied


def im2col(x: Array, HH: int, WW: int, stride: int | Pair, pad: int | Pair) -> Array:
    """Return the windows of images x (N, C, H, W) as columns: (C HH WW, N H' W').

    A row is one position (c, p, q) within the window, a column one window (n, i, j). Pixels of the padding
    are zeros.

    >>> x = np.arange(9.0).reshape(1, 1, 3, 3)
    >>> im2col(x, HH=2, WW=2, stride=1, pad=0)
    array([[0., 1., 3., 4.],
           [1., 2., 4., 5.],
           [3., 4., 6., 7.],
           [4., 5., 7., 8.]])
    """
    N, C = x.shape[:2]
    stride, (top, left), out_height, out_width = window_geometry(x.shape, HH, WW, stride, pad)
    padded = np.pad(x, ((0, 0), (0, 0), (top, top), (left, left)))
    cols = np.empty((C, HH, WW, N, out_height, out_width), x.dtype)
    for p, q in np.ndindex(HH, WW):
        cols[:, p, q] = _at(padded, p, q, stride, out_height, out_width).swapaxes(0, 1)
    return cols.reshape(C * HH * WW, N * out_height * out_width)


def col2im(
    cols: Array, x_shape: tuple[int, int, int, int], HH: int, WW: int, stride: int | Pair, pad: int | Pair
) -> Array:
    """Add columns (C HH WW, N H' W') up to images of shape x_shape: the adjoint of `im2col`."""
    N, C, H, W = x_shape
    stride, (top, left), out_height, out_width = window_geometry(x_shape, HH, WW, stride, pad)
    require_shape("cols", cols, (C * HH * WW, N * out_height * out_width), "that of im2col's result")
    cols = cols.reshape(C, HH, WW, N, out_height, out_width)
    padded = np.zeros((N, C, H + 2 * top, W + 2 * left), cols.dtype)
    for p, q in np.ndindex(HH, WW):
        _at(padded, p, q, stride, out_height, out_width)[...] += cols[:, p, q].swapaxes(0, 1)
    return padded[:, :, top : top + H, left : left + W]


def conv_forward(x: Array, w: Array, b: Array, stride: int | Pair, pad: int | Pair, out: Array) -> None:
    """Write the convolution of x (N, C, H, W) with w (F, C, HH, WW), plus b (F,), into out (N, F, H', W')."""
    F, _, HH, WW = w.shape
    for part in _chunks(x, w, out):
        values = w.reshape(F, -1) @ im2col(x[part], HH, WW, stride, pad)
        values += b[:, np.newaxis]
        out[part] = _images_first(values, out[part].shape)


def conv_backward(
    dout: Array, x: Array, w: Array, stride: int | Pair, pad: int | Pair, dx: Array | None
) -> tuple[Array, Array]:
    """Write the gradient of x into dx, unless that is None; return dw (F, C, HH, WW) and db (F,)."""
    F, _, HH, WW = w.shape
    dw_columns = np.zeros((w[0].size, F), x.dtype)  # transposed: BLAS is faster with the long factor first
    for part in _chunks(x, w, dout):
        cols = im2col(x[part], HH, WW, stride, pad)
        drows = dout[part].swapaxes(0, 1).reshape(F, -1)
        dw_columns += cols @ drows.T
        if dx is not None:
            dcols = w.reshape(F, -1).T @ drows
            dx[part] = col2im(dcols, x[part].shape, HH, WW, stride, pad)
    return dw_columns.T.reshape(w.shape), dout.sum(axis=(0, 2, 3))


def max_pool_forward(x: Array, HH: int, WW: int, stride: int | Pair, out: Array, argmax: Array) -> None:
    """Write the largest value of every window into out, and its index in the plane H W into argmax.

    - x: (N, C, H, W); out, argmax: (N, C, H', W'), the latter of dtype np.intp
    """
    W = x.shape[3]
    stride = require_pair("stride", stride, 1)
    rows, columns = (step * np.arange(size) for step, size in zip(stride, out.shape[2:], strict=True))
    corner = rows[:, np.newaxis] * W + columns  # the index of each window's first pixel
    out[...] = _at(x, 0, 0, stride, *out.shape[2:])
    argmax[...] = corner
    for p, q in np.ndindex(HH, WW):
        candidate = _at(x, p, q, stride, *out.shape[2:])
        better = ~(candidate <= out) & ~np.isnan(out)  # a NaN beats every number; the first NaN stays
        np.copyto(out, candidate, where=better)
        np.copyto(argmax, corner + p * W + q, where=better)


def max_pool_backward(dout: Array, argmax: Array, dx: Array) -> None:
    """Write into dx (N, C, H, W) the gradients dout (N, C, H', W'), added up at the indices argmax."""
    N, C, H, W = dx.shape
    planes = H * W * np.arange(N * C).reshape(N, C, 1, 1)
    dx[...] = 0
    np.add.at(dx.reshape(-1), (planes + argmax).reshape(-1), dout.reshape(-1))


def _at(x: Array, p: int, q: int, stride: Pair, out_height: int, out_width: int) -> Array:
    """Return pixel (p, q) of every window of x (N, C, H, W): a view (N, C, H', W')."""
    down, across = stride
    return x[:, :, p : p + down * out_height : down, q : q + across * out_width : across]


def _chunks(x: Array, w: Array, out: Array) -> list[slice]:
    """Return slices of the minibatch with about COLUMN_BYTES of columns each, but at least one image."""
    bytes_per_image = w[0].size * out[0, 0].size * x.itemsize
    images = max(1, COLUMN_BYTES // bytes_per_image)
    return [slice(start, start + images) for start in range(0, len(x), images)]


def _images_first(rows: Array, shape: tuple[int, ...]) -> Array:
    """Rearrange rows (F, N H' W') into images of shape (N, F, H', W')."""
    N, F, out_height, out_width = shape
    images: Array = rows.reshape(F, N, out_height, out_width).swapaxes(0, 1)
    return images
