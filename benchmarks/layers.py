"""The layers that are timed, forward and backward."""

from math import prod

import numpy as np
import torch
from torch.nn import functional

from benchmarks.sides import COPY, MATRIX_PRODUCT, Layer, as_arrays, assert_agree
from cs231n.fast_layers import (
    conv_backward_fast,
    conv_forward_fast,
    max_pool_backward_fast,
    max_pool_forward_fast,
)

# What the models use
from cs231n.model_layers import (
    affine_backward,
    affine_forward,
    batchnorm_backward_alt,
    batchnorm_forward,
    dropout_backward,
    dropout_forward,
    layernorm_backward,
    layernorm_forward,
    relu_backward,
    relu_forward,
    softmax_loss,
    spatial_batchnorm_backward,
    spatial_batchnorm_forward,
    spatial_groupnorm_backward,
    spatial_groupnorm_forward,
)
from cs231n.windows import count_windows

TUNED = (  # x (N, C, H, W); filters (F, HH, WW); stride, pad; the kernels were tuned to these
    ((100, 3, 31, 31), (25, 3, 3), 2, 1),
    ((50, 3, 32, 32), (32, 7, 7), 1, 3),
    ((64, 16, 32, 32), (32, 3, 3), 1, 1),
    ((64, 64, 16, 16), (64, 3, 3), 1, 1),
    ((64, 32, 32, 32), (64, 3, 3), 1, 1),
    ((32, 128, 8, 8), (128, 3, 3), 1, 1),
    ((100, 32, 32, 32), (64, 1, 1), 1, 0),
)
UNTUNED = (  # as they occur in known networks, and some of odd sizes
    ((64, 128, 16, 16), (256, 1, 1), 1, 0),
    ((32, 256, 14, 14), (64, 1, 1), 1, 0),
    ((64, 64, 32, 32), (128, 1, 1), 2, 0),
    ((32, 64, 32, 32), (128, 3, 3), 2, 1),
    ((8, 64, 56, 56), (64, 3, 3), 1, 1),
    ((32, 256, 8, 8), (256, 3, 3), 1, 1),
    ((8, 16, 64, 64), (16, 3, 3), 1, 1),
    ((50, 3, 32, 32), (64, 3, 3), 1, 1),
    ((20, 24, 11, 11), (40, 3, 3), 1, 1),
    ((16, 48, 19, 23), (72, 3, 3), 1, 0),
    ((16, 32, 28, 28), (64, 5, 5), 1, 2),
    ((16, 3, 112, 112), (64, 7, 7), 2, 3),
)
IMAGES, FEATURES, SCORES = (64, 32, 32, 32), (256, 1024), (512, 1000)
KEEP, GROUPS = 0.5, 4
# Arrays as large as x that have to be read or written: x and out, then dout, x and dx. Dropout's backward
# needs no x, and its mask can be drawn again.
ELEMENTWISE, DROPOUT = 5, 4


def convolution(x_shape, filters, stride, pad):
    """Return the row of a convolution: x_shape (N, C, H, W), filters (F, HH, WW)."""
    (N, C, *_), (F, HH, WW) = x_shape, filters
    out_shape = N, F, *count_windows(x_shape, HH, WW, stride, pad)
    param = {"stride": stride, "pad": pad}
    return Layer(
        f"{_times(*x_shape)}; {F} of {HH}x{WW}; {stride}, {pad}",
        (x_shape, (F, C, HH, WW), (F,)),
        out_shape,
        _pair(lambda x, w, b: conv_forward_fast(x, w, b, param), conv_backward_fast),
        lambda x, w, b: functional.conv2d(x, w, b, stride, pad),
        MATRIX_PRODUCT,
        3 * 2 * prod(out_shape) * C * HH * WW,
        assert_agree,
    )


def convolutions():
    """Return the rows of all convolutions."""
    return [convolution(*shape) for shape in (*TUNED, *UNTUNED)]


def pooling(x_shape, size, stride):
    """Return the row of a max pooling with square windows: x_shape (N, C, H, W)."""
    out_shape = *x_shape[:2], *count_windows(x_shape, size, size, stride, 0)
    param = {"pool_height": size, "pool_width": size, "stride": stride}
    return _memory_row(
        f"max pooling {size}x{size}, stride {stride}",
        (x_shape,),
        _pair(lambda x: max_pool_forward_fast(x, param), max_pool_backward_fast),
        lambda x: functional.max_pool2d(x, size, stride),
        2 * (prod(x_shape) + prod(out_shape)),  # x and out, then dout and dx
        out_shape,
    )


def spatial_batch_norm(x_shape):
    """Return the row of a spatial batch norm: x_shape (N, C, H, W)."""
    return _normalization(
        "spatial batch norm",
        x_shape,
        lambda x, gamma, beta: spatial_batchnorm_forward(x, gamma, beta, {"mode": "train"}),
        spatial_batchnorm_backward,
        _torch_batch_norm,
    )


def layer_norm(x_shape):
    """Return the row of a layer norm: x_shape (N, D)."""
    return _normalization(
        "layer norm",
        x_shape,
        lambda x, gamma, beta: layernorm_forward(x, gamma, beta, {}),
        layernorm_backward,
        lambda x, gamma, beta: functional.layer_norm(x, gamma.shape, gamma, beta),
    )


def normalizations():
    """Return the rows of every normalization, in training mode."""
    return [
        spatial_batch_norm(IMAGES),
        _normalization(
            f"group norm, {GROUPS} groups",
            IMAGES,
            lambda x, gamma, beta: spatial_groupnorm_forward(x, gamma, beta, GROUPS, {}),
            spatial_groupnorm_backward,
            lambda x, gamma, beta: functional.group_norm(x, GROUPS, gamma, beta),
        ),
        _normalization(
            "batch norm",
            FEATURES,
            lambda x, gamma, beta: batchnorm_forward(x, gamma, beta, {"mode": "train"}),
            batchnorm_backward_alt,
            _torch_batch_norm,
        ),
        layer_norm(FEATURES),
    ]


def _torch_batch_norm(x, gamma, beta):
    return functional.batch_norm(x, None, None, gamma, beta, training=True)


def _normalization(name, shape, forward, backward, theirs):
    """Return the row of a normalization of x, whose gamma and beta are one per feature or channel."""
    shapes = shape, shape[1:2], shape[1:2]
    return _memory_row(name, shapes, _pair(forward, backward), theirs, ELEMENTWISE * prod(shape))


def others():
    """Return the rows of an affine layer, a loss, and what is done element by element or in windows."""
    labels = np.arange(SCORES[0]) % SCORES[1]
    label_tensor = torch.tensor(labels)
    dropout = {"mode": "train", "p": KEEP}
    (N, D), M = FEATURES, 1024
    affine = Layer(
        f"affine {N}x{D} to {M}",
        ((N, D), (D, M), (M,)),
        (N, M),
        _pair(affine_forward, affine_backward),
        lambda x, w, b: torch.addmm(b, x, w),
        MATRIX_PRODUCT,
        3 * 2 * N * D * M,
        assert_agree,
    )
    size = prod(IMAGES)
    return [
        affine,
        _memory_row(
            "softmax loss",
            (SCORES,),
            lambda inputs, dout: list(softmax_loss(*inputs, labels)),
            lambda x: functional.cross_entropy(x, label_tensor),
            2 * prod(SCORES),  # x and dx
            out_shape=(),
        ),
        _memory_row("ReLU", (IMAGES,), _pair(relu_forward, relu_backward), torch.relu, ELEMENTWISE * size),
        _memory_row(
            "dropout",
            (IMAGES,),
            _pair(lambda x: dropout_forward(x, dropout), dropout_backward),
            lambda x: functional.dropout(x, 1 - KEEP),
            DROPOUT * size,
            agree=_assert_both_drop,
        ),
        _memory_row(
            "residual sum",
            (IMAGES, IMAGES),
            lambda inputs, dout: [np.add(*inputs), dout, dout],
            torch.add,
            3 * size,  # both and their sum; the gradient of either is dout itself
        ),
        pooling(IMAGES, 2, 2),
        pooling(IMAGES, 3, 2),
    ]


def _memory_row(name, shapes, ours, theirs, moved, out_shape=None, agree=assert_agree):
    """Return the row of a layer that is limited by memory; `moved` counts elements read and written."""
    out_shape = shapes[0] if out_shape is None else out_shape
    return Layer(f"{name}, {_times(*shapes[0])}", shapes, out_shape, ours, theirs, COPY, moved, agree)


def _pair(forward, backward):
    """Return a function of inputs and dout that runs both and lists the output and the gradients."""

    def ours(inputs, dout):
        out, cache = forward(*inputs)
        grads = backward(dout, cache)
        return [out, *grads] if isinstance(grads, tuple) else [out, grads]

    return ours


def _assert_both_drop(ours, theirs):
    """Assert that two dropouts are equal where both keep a unit, and keep as many as they should.

    Their masks differ. Neither x nor dout has a zero, so the mask shows, and backward must use forward's.
    """
    (out, dx), (their_out, their_dx) = as_arrays(ours()), as_arrays(theirs())
    for mask, gradient in ((out != 0, dx), (their_out != 0, their_dx)):
        assert abs(mask.mean() - KEEP) < 5 / np.sqrt(mask.size)
        np.testing.assert_array_equal(mask, gradient != 0)
    both = (out != 0) & (their_out != 0)
    np.testing.assert_allclose(out[both], their_out[both], rtol=1e-6)
    np.testing.assert_allclose(dx[both], their_dx[both], rtol=1e-6)


def _times(*sizes):
    return "x".join(map(str, sizes))
