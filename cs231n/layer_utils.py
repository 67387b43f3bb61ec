"""Sandwiches: layers that are nearly always used together, as one forward/backward pair.

The contract is that of `cs231n.layers`: `foo_forward(...)` returns `(out, cache)`, and
`foo_backward(dout, cache)` returns the gradients in the order of the forward's arguments. A sandwich is a
chain: its layers run in order, and backward in reverse.
"""

import numpy as np

from cs231n.fast_layers import (
    conv_backward_fast,
    conv_forward_fast,
    max_pool_backward_fast,
    max_pool_forward_fast,
)
from cs231n.gone import explain_gone
from cs231n.model_layers import (
    affine_backward,
    affine_forward,
    relu_backward,
    relu_forward,
    spatial_batchnorm_backward,
    spatial_batchnorm_forward,
)

__all__ = [
    "affine_relu_backward",
    "affine_relu_forward",
    "chain_backward",
    "chain_forward",
    "conv_bn_relu_backward",
    "conv_bn_relu_forward",
    "conv_relu_backward",
    "conv_relu_forward",
    "conv_relu_pool_backward",
    "conv_relu_pool_forward",
]

__getattr__ = explain_gone(__name__)


def chain_forward(x, *layers):
    """Run x through layers, one after the other.

    A layer is a tuple of its forward function, its backward function and what forward takes after x: a chain
    of an affine layer and a ReLU is `(affine_forward, affine_backward, w, b), (relu_forward, relu_backward)`.
    """
    caches = []
    for forward, backward, *arguments in layers:
        x, cache = forward(x, *arguments)
        caches.append((backward, cache))
    return x, caches


def chain_backward(dout, caches, need_dx=True):
    """Run `chain_forward` in reverse: dx, then the gradients of all layers' parameters, in forward's order.

    With need_dx=False, which the first layer must know, dx is None.
    """
    grads = []
    for position, (backward, cache) in reversed(list(enumerate(caches))):
        without_dx = {"need_dx": False} if position == 0 and not need_dx else {}
        dout, *param_grads = _as_list(backward(dout, cache, **without_dx))
        grads = param_grads + grads
    return dout, *grads


def _as_list(grads):
    """Return what a backward function returned as a list; a layer without parameters returns dx alone."""
    return [grads] if isinstance(grads, np.ndarray) else list(grads)


def affine_relu_forward(x, w, b):
    """Compute affine, then ReLU: x (N, d1, ..., dk), w (D, M), b (M,) to out (N, M)."""
    return chain_forward(x, (affine_forward, affine_backward, w, b), (relu_forward, relu_backward))


def affine_relu_backward(dout, cache, need_dx=True):
    """Return the gradients of `affine_relu_forward`: dx (None where not needed), dw, db."""
    return chain_backward(dout, cache, need_dx)


def conv_relu_forward(x, w, b, conv_param):
    """Compute convolution, then ReLU: x (N, C, H, W), w (F, C, HH, WW), b (F,) to out (N, F, H', W')."""
    convolution = conv_forward_fast, conv_backward_fast, w, b, conv_param
    return chain_forward(x, convolution, (relu_forward, relu_backward))


def conv_relu_backward(dout, cache, need_dx=True):
    """Return the gradients of `conv_relu_forward`: dx (None where not needed), dw, db."""
    return chain_backward(dout, cache, need_dx)


# The course's own notebooks call conv_bn_relu_*; the models here do not.
def conv_bn_relu_forward(x, w, b, gamma, beta, conv_param, bn_param):
    """Compute convolution, spatial batch normalization with gamma, beta (F,), ReLU: out (N, F, H', W')."""
    convolution = conv_forward_fast, conv_backward_fast, w, b, conv_param
    normalization = spatial_batchnorm_forward, spatial_batchnorm_backward, gamma, beta, bn_param
    return chain_forward(x, convolution, normalization, (relu_forward, relu_backward))


def conv_bn_relu_backward(dout, cache, need_dx=True):
    """Return the gradients of `conv_bn_relu_forward`: dx (None where not needed), dw, db, dgamma, dbeta."""
    return chain_backward(dout, cache, need_dx)


def conv_relu_pool_forward(x, w, b, conv_param, pool_param):
    """Compute convolution, ReLU, max pooling: x (N, C, H, W), w (F, C, HH, WW), b (F,) to (N, F, H'', W'').

    ReLU never decreases, so it may as well follow the maximum: the result is the same and, as nothing flows
    back through a maximum that is not positive, so are the gradients, with less to do.
    """
    convolution = conv_forward_fast, conv_backward_fast, w, b, conv_param
    pooling = max_pool_forward_fast, max_pool_backward_fast, pool_param
    return chain_forward(x, convolution, pooling, (relu_forward, relu_backward))


def conv_relu_pool_backward(dout, cache, need_dx=True):
    """Return the gradients of `conv_relu_pool_forward`: dx (None where not needed), dw, db."""
    return chain_backward(dout, cache, need_dx)
