"""Convolution and max pooling, fast: the same signatures and results as the naive layers.

This module checks arguments and allocates results. Threads then share the images of the minibatch (of a
single image, the filters or the channels), and kernels, compiled or in NumPy, do the work: see
`cs231n.kernels`.
"""

import numpy as np

from cs231n.gone import explain_gone
from cs231n.kernels import kernels_for
from cs231n.kernels.threads import COMPARISON, map_slices
from cs231n.validation import as_float_array, as_float_arrays, as_upstream
from cs231n.windows import convolution_geometry, pooling_geometry

__all__ = [
    "conv_backward_fast",
    "conv_forward_fast",
    "max_pool_backward_fast",
    "max_pool_forward_fast",
]

__getattr__ = explain_gone(__name__)


def conv_forward_fast(x, w, b, conv_param):
    """Compute a convolution, as `cs231n.layers.conv_forward_naive` does: out (N, F, H', W').

    - x: (N, C, H, W); w: (F, C, HH, WW); b: (F,)
    - conv_param: a dictionary with `stride` and `pad`
    """
    x, w, b = as_float_arrays(x, w, b)
    stride, pad, out_height, out_width = convolution_geometry(x, w, b, conv_param)
    x, w, b = (np.ascontiguousarray(array) for array in (x, w, b))
    out_shape = len(x), len(w), out_height, out_width
    out = np.empty(out_shape, x.dtype)
    kernels = kernels_for(x.dtype)

    def of_images(part):
        kernels.conv_forward(x[part], w, b, stride, pad, out[part])

    def of_filters(part):
        kernels.conv_forward(x, w[part], b[part], stride, pad, out[:, part])

    work = out.size * w[0].size
    if len(x) == 1:
        map_slices(of_filters, len(w), work, calls_blas=True)
    else:
        map_slices(of_images, len(x), work, calls_blas=True)
    return out, (x, w, stride, pad, out_shape)


def conv_backward_fast(dout, cache, need_dx=True):
    """Return the gradients of `conv_forward_fast`: dx (N, C, H, W), None where not needed; dw; db (F,)."""
    x, w, stride, pad, out_shape = cache
    dout = np.ascontiguousarray(as_upstream(dout, out_shape, x.dtype))
    dx = np.empty_like(x) if need_dx else None
    kernels = kernels_for(x.dtype)

    def of_images(part):
        return kernels.conv_backward(dout[part], x[part], w, stride, pad, dx[part] if need_dx else None)

    def of_channels(part):
        w_part, dx_part = np.ascontiguousarray(w[:, part]), dx[:, part] if need_dx else None
        return kernels.conv_backward(dout, x[:, part], w_part, stride, pad, dx_part)

    work = 2 * dout.size * w[0].size
    if len(x) == 1:
        dws, dbs = zip(*map_slices(of_channels, x.shape[1], work, calls_blas=True), strict=True)
        return dx, np.concatenate(dws, axis=1), dbs[0]
    dws, dbs = zip(*map_slices(of_images, len(x), work, calls_blas=True), strict=True)
    return dx, _total(dws), _total(dbs)


def max_pool_forward_fast(x, pool_param):
    """Compute max pooling, as `cs231n.layers.max_pool_forward_naive` does: out (N, C, H', W').

    - x: (N, C, H, W)
    - pool_param: a dictionary with `pool_height`, `pool_width` and `stride`
    """
    x = as_float_array(x)
    pool_height, pool_width, stride, out_height, out_width = pooling_geometry(x, pool_param)
    x = np.ascontiguousarray(x)
    out = np.empty((*x.shape[:2], out_height, out_width), x.dtype)
    argmax = np.empty(out.shape, np.intp)
    kernels = kernels_for(x.dtype)

    def forward(part):
        kernels.max_pool_forward(x[part], pool_height, pool_width, stride, out[part], argmax[part])

    map_slices(forward, len(x), COMPARISON * out.size * pool_height * pool_width)
    x_shape, dtype = x.shape, x.dtype
    return out, (x_shape, dtype, argmax)


def max_pool_backward_fast(dout, cache):
    """Return the gradient of `max_pool_forward_fast`: dx (N, C, H, W)."""
    x_shape, dtype, argmax = cache
    dout = np.ascontiguousarray(as_upstream(dout, argmax.shape, dtype))
    dx = np.empty(x_shape, dtype)
    kernels = kernels_for(dtype)

    def backward(part):
        kernels.max_pool_backward(dout[part], argmax[part], dx[part])

    map_slices(backward, len(dx), COMPARISON * dx.size)
    return dx


def _total(parts):
    """Add arrays up in the first of them, and return it."""
    total, *others = parts
    for part in others:
        total += part
    return total
