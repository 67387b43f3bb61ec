"""Sandwiches: layers that are nearly always used together, as one forward/backward pair.

The contract is that of `cs231n.layers`: `foo_forward(...)` returns `(out, cache)`, and
`foo_backward(dout, cache)` returns the gradients in the order of the forward's arguments.
"""

from cs231n.fast_layers import (
    conv_backward_fast,
    conv_forward_fast,
    max_pool_backward_fast,
    max_pool_forward_fast,
)
from cs231n.layers import (
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
    spatial_batchnorm_backward,
    spatial_batchnorm_forward,
)
from cs231n.validation import require_choice

__all__ = [
    "affine_norm_relu_dropout_backward",
    "affine_norm_relu_dropout_forward",
    "affine_relu_backward",
    "affine_relu_forward",
    "conv_bn_relu_backward",
    "conv_bn_relu_forward",
    "conv_relu_backward",
    "conv_relu_forward",
    "conv_relu_pool_backward",
    "conv_relu_pool_forward",
]

NORMALIZATIONS = {
    "batchnorm": (batchnorm_forward, batchnorm_backward_alt),
    "layernorm": (layernorm_forward, layernorm_backward),
}


def affine_relu_forward(x, w, b):
    """Affine, then ReLU: x (N, d1, ..., dk), w (D, M), b (M,) to out (N, M)."""
    a, affine_cache = affine_forward(x, w, b)
    out, relu_cache = relu_forward(a)
    return out, (affine_cache, relu_cache)


def affine_relu_backward(dout, cache, need_dx=True):
    """Backward of `affine_relu_forward`: dx (None where not needed), dw, db."""
    affine_cache, relu_cache = cache
    da = relu_backward(dout, relu_cache)
    return affine_backward(da, affine_cache, need_dx)


def affine_norm_relu_dropout_forward(
    x, w, b, gamma=None, beta=None, normalization=None, norm_param=None, dropout_param=None
):
    """One hidden layer: affine, [normalization], ReLU, [dropout].

    - x (N, d1, ..., dk), w (D, M), b (M,)
    - gamma, beta (M,) and norm_param: as the normalization takes them
    - normalization: 'batchnorm', 'layernorm' or None for none
    - dropout_param: as `dropout_forward` takes it, or None for no dropout

    Returns out (N, M).
    """
    require_choice("normalization", normalization, (None, *NORMALIZATIONS))
    a, affine_cache = affine_forward(x, w, b)
    norm_cache = dropout_cache = None
    if normalization is not None:
        norm_forward, _ = NORMALIZATIONS[normalization]
        a, norm_cache = norm_forward(a, gamma, beta, norm_param)
    out, relu_cache = relu_forward(a)
    if dropout_param is not None:
        out, dropout_cache = dropout_forward(out, dropout_param)
    uses = normalization, dropout_param is not None
    return out, (uses, affine_cache, norm_cache, relu_cache, dropout_cache)


def affine_norm_relu_dropout_backward(dout, cache, need_dx=True):
    """Backward of the hidden layer: dx, dw, db, dgamma, dbeta.

    dx is None where it is not needed, dgamma and dbeta without normalization.
    """
    (normalization, uses_dropout), affine_cache, norm_cache, relu_cache, dropout_cache = cache
    if uses_dropout:
        dout = dropout_backward(dout, dropout_cache)
    da = relu_backward(dout, relu_cache)
    dgamma = dbeta = None
    if normalization is not None:
        _, norm_backward = NORMALIZATIONS[normalization]
        da, dgamma, dbeta = norm_backward(da, norm_cache)
    return *affine_backward(da, affine_cache, need_dx), dgamma, dbeta


def conv_relu_forward(x, w, b, conv_param):
    """Convolution, then ReLU: x (N, C, H, W), w (F, C, HH, WW), b (F,) to out (N, F, H', W')."""
    a, conv_cache = conv_forward_fast(x, w, b, conv_param)
    out, relu_cache = relu_forward(a)
    return out, (conv_cache, relu_cache)


def conv_relu_backward(dout, cache, need_dx=True):
    """Backward of `conv_relu_forward`: dx (None where not needed), dw, db."""
    conv_cache, relu_cache = cache
    da = relu_backward(dout, relu_cache)
    return conv_backward_fast(da, conv_cache, need_dx)


def conv_bn_relu_forward(x, w, b, gamma, beta, conv_param, bn_param):
    """Convolution, spatial batch normalization with gamma and beta (F,), ReLU: out (N, F, H', W')."""
    a, conv_cache = conv_forward_fast(x, w, b, conv_param)
    normalized, bn_cache = spatial_batchnorm_forward(a, gamma, beta, bn_param)
    out, relu_cache = relu_forward(normalized)
    return out, (conv_cache, bn_cache, relu_cache)


def conv_bn_relu_backward(dout, cache, need_dx=True):
    """Backward of `conv_bn_relu_forward`: dx (None where not needed), dw, db, dgamma, dbeta."""
    conv_cache, bn_cache, relu_cache = cache
    dnormalized = relu_backward(dout, relu_cache)
    da, dgamma, dbeta = spatial_batchnorm_backward(dnormalized, bn_cache)
    return *conv_backward_fast(da, conv_cache, need_dx), dgamma, dbeta


def conv_relu_pool_forward(x, w, b, conv_param, pool_param):
    """Convolution, ReLU, max pooling: x (N, C, H, W), w (F, C, HH, WW), b (F,) to out (N, F, H'', W'').

    ReLU never decreases, so it may as well follow the maximum: the same result and, as nothing flows
    back through a maximum that is not positive, the same gradients, with less to do.
    """
    a, conv_cache = conv_forward_fast(x, w, b, conv_param)
    pooled, pool_cache = max_pool_forward_fast(a, pool_param)
    out, relu_cache = relu_forward(pooled)
    return out, (conv_cache, pool_cache, relu_cache)


def conv_relu_pool_backward(dout, cache, need_dx=True):
    """Backward of `conv_relu_pool_forward`: dx (None where not needed), dw, db."""
    conv_cache, pool_cache, relu_cache = cache
    dpooled = relu_backward(dout, relu_cache)
    da = max_pool_backward_fast(dpooled, pool_cache)
    return conv_backward_fast(da, conv_cache, need_dx)
