"""The layers of `cs231n.layers` that memory limits, compiled: the same names, signatures, results and errors.

Each reads and writes its arrays as few times as it can. A cache keeps x and its statistics, not x_hat. Where
the kernels are not built, or do not know the dtype of x, `cs231n.layers` computes; arrays with gaps or in
another order are copied first.

Results differ from those of `cs231n.layers` by rounding. They depend neither on the vector instructions nor
on the number of threads, with one exception: each thread sums dgamma and dbeta of layer and group
normalization over its own images, and these sums are then added.
"""

from typing import NamedTuple

import numpy as np

from cs231n import layers
from cs231n.kernels import COMPILED_DTYPES
from cs231n.kernels.threads import ELEMENTWISE, EXPONENTIAL, NORMALIZATION, map_slices
from cs231n.layers import (
    _as_scores,
    _require_features,
    _require_groups,
    _require_per_channel,
    _running_averages,
)
from cs231n.validation import (
    as_float_array,
    as_float_arrays,
    as_upstream,
    require_keep_probability,
    require_mode,
    require_ndim,
    require_number,
    require_settings,
    require_shape,
)

try:
    from cs231n.kernels import norms_cython as norms
except ImportError:  # not built, or for another Python
    norms = None

__all__ = [
    "batchnorm_backward",
    "batchnorm_backward_alt",
    "batchnorm_forward",
    "dropout_backward",
    "dropout_forward",
    "layernorm_backward",
    "layernorm_forward",
    "relu_backward",
    "relu_forward",
    "softmax_loss",
    "spatial_batchnorm_backward",
    "spatial_batchnorm_forward",
    "spatial_groupnorm_backward",
    "spatial_groupnorm_forward",
]


class Normalized(NamedTuple):
    """The cache of a normalization: x (N, C, P) with P pixels or P = 1, what it was normalized by, gamma."""

    x: np.ndarray
    mean: np.ndarray
    inv_std: np.ndarray
    gamma: np.ndarray
    shape: tuple  # of x as it was passed
    param_shapes: tuple = ()  # of gamma and beta as they were passed, which some layers let differ
    fixed: bool = False  # whether mean and inv_std were constants, as in test mode


class Kept(NamedTuple):
    """The mask of dropout: which units were kept, and what these were multiplied by."""

    units: np.ndarray
    scale: float


def relu_forward(x):
    """Compute `cs231n.layers.relu_forward`. The cache is out itself, which has to stay as it is."""
    x = as_float_array(x)
    if not _is_for_kernels(x):
        return layers.relu_forward(x)
    x = _plain(x)
    out = np.empty_like(x)
    _map_numbers(norms.relu, x, out)
    return out, out


def relu_backward(dout, cache):
    """Return the gradient of `relu_forward`: out is positive where x is."""
    out = cache
    if not _is_for_kernels(out):
        return layers.relu_backward(dout, cache)
    dout = _plain(as_upstream(dout, out.shape, out.dtype))
    dx = np.empty_like(out)
    _map_numbers(norms.relu_backward, dout, out, dx)
    return dx


def batchnorm_forward(x, gamma, beta, bn_param):
    """Compute `cs231n.layers.batchnorm_forward`."""
    x, gamma, beta = as_float_arrays(x, gamma, beta, names=("x", "gamma", "beta"))
    if not _is_for_kernels(x):
        return layers.batchnorm_forward(x, gamma, beta, bn_param)
    _require_features(x, gamma, beta)
    return _batch_forward(x, gamma, beta, bn_param)


def batchnorm_backward(dout, cache):
    """Return the gradients of `batchnorm_forward`: dx (N, D), dgamma (D,), dbeta (D,)."""
    if not isinstance(cache, Normalized):
        return layers.batchnorm_backward(dout, cache)
    return _batch_backward(dout, cache)


def batchnorm_backward_alt(dout, cache):
    """Return the gradients of `batchnorm_forward`; the same as `batchnorm_backward`."""
    if not isinstance(cache, Normalized):
        return layers.batchnorm_backward_alt(dout, cache)
    return _batch_backward(dout, cache)


def layernorm_forward(x, gamma, beta, ln_param):
    """Compute `cs231n.layers.layernorm_forward`."""
    x, gamma, beta = as_float_arrays(x, gamma, beta, names=("x", "gamma", "beta"))
    if not _is_for_kernels(x):
        return layers.layernorm_forward(x, gamma, beta, ln_param)
    _require_features(x, gamma, beta)
    eps = require_settings("ln_param", ln_param).get("eps", 1e-5)
    eps = require_number("ln_param['eps']", eps, 0, 1)
    return _group_forward(x, gamma, beta, 1, eps)


def layernorm_backward(dout, cache):
    """Return the gradients of `layernorm_forward`: dx (N, D), dgamma (D,), dbeta (D,)."""
    if not isinstance(cache, Normalized):
        return layers.layernorm_backward(dout, cache)
    return _group_backward(dout, cache)


def dropout_forward(x, dropout_param):
    """Compute `cs231n.layers.dropout_forward`, with the mask that it draws."""
    x = as_float_array(x)
    mode = require_mode(dropout_param, "dropout_param")
    if mode == "test" or not _is_for_kernels(x):
        return layers.dropout_forward(x, dropout_param)
    p = require_keep_probability(
        "dropout_param['p'], the probability to keep a unit,", dropout_param.get("p")
    )
    seed = dropout_param.get("seed")
    rand = np.random.rand if seed is None else np.random.RandomState(seed).rand
    real = x.dtype.type
    mask = Kept(np.less(rand(*x.shape), p), real(1) / real(p))
    return _keep(x, mask), (x.shape, x.dtype, mask)


def dropout_backward(dout, cache):
    """Return the gradient of `dropout_forward`: dout through the same mask; in test mode dout itself."""
    shape, dtype, mask = cache
    if not isinstance(mask, Kept):
        return layers.dropout_backward(dout, cache)
    return _keep(as_upstream(dout, shape, dtype), mask)


def spatial_batchnorm_forward(x, gamma, beta, bn_param):
    """Compute `cs231n.layers.spatial_batchnorm_forward`."""
    x, gamma, beta = as_float_arrays(x, gamma, beta, names=("x", "gamma", "beta"))
    if not _is_for_kernels(x):
        return layers.spatial_batchnorm_forward(x, gamma, beta, bn_param)
    require_ndim("x", x, "N, C, H, W")
    require_shape("gamma", gamma, x.shape[1:2], "one scale per channel of x")
    require_shape("beta", beta, x.shape[1:2], "one shift per channel of x")
    return _batch_forward(x, gamma, beta, bn_param)


def spatial_batchnorm_backward(dout, cache):
    """Return the gradients of `spatial_batchnorm_forward`: dx (N, C, H, W), dgamma (C,), dbeta (C,)."""
    if not isinstance(cache, Normalized):
        return layers.spatial_batchnorm_backward(dout, cache)
    return _batch_backward(dout, cache)


def spatial_groupnorm_forward(x, gamma, beta, G, gn_param):
    """Compute `cs231n.layers.spatial_groupnorm_forward`."""
    x, gamma, beta = as_float_arrays(x, gamma, beta, names=("x", "gamma", "beta"))
    if not _is_for_kernels(x):
        return layers.spatial_groupnorm_forward(x, gamma, beta, G, gn_param)
    require_ndim("x", x, "N, C, H, W")
    G = _require_groups(G, x.shape[1])
    _require_per_channel(x.shape[1], gamma=gamma, beta=beta)
    eps = require_settings("gn_param", gn_param).get("eps", 1e-5)
    eps = require_number("gn_param['eps']", eps, 0, 1)
    return _group_forward(x, gamma, beta, G, eps)


def spatial_groupnorm_backward(dout, cache):
    """Return the gradients of `spatial_groupnorm_forward`: dx, dgamma, dbeta, shaped as x, gamma, beta."""
    if not isinstance(cache, Normalized):
        return layers.spatial_groupnorm_backward(dout, cache)
    return _group_backward(dout, cache)


def softmax_loss(x, y):
    """Compute `cs231n.layers.softmax_loss`.

    Gradients that would be denormal, less than 1.2e-38 in float32, are 0: processors take a hundred times as
    long for such numbers, and a network that has learned its minibatch is full of them.
    """
    x = as_float_array(x)
    if not _is_for_kernels(x):
        return layers.softmax_loss(x, y)
    x, y, _ = _as_scores(x, y)
    x, y = _plain(x), np.ascontiguousarray(y, np.intp)
    losses, dx = np.empty(len(x)), np.empty_like(x)

    def of_rows(part):
        norms.softmax(x[part], y[part], len(x), losses[part], dx[part])

    map_slices(of_rows, len(x), work=EXPONENTIAL * x.size)
    return x.dtype.type(losses.mean()), dx


def _is_for_kernels(x):
    """Return whether the kernels are there and compute in the dtype of x."""
    return norms is not None and x.dtype in COMPILED_DTYPES and x.ndim > 0


def _plain(array):
    """Return an array as the kernels read it, without gaps; itself if it is so."""
    flags = array.flags
    return array if flags.c_contiguous and flags.aligned else np.array(array, order="C")


def _map_numbers(function, *arrays):
    """Call function with a flat view of each array; of large arrays, on every thread with a part of each."""
    flat = [array.reshape(-1) for array in arrays]
    size = flat[0].size
    map_slices(lambda part: function(*(array[part] for array in flat)), size, work=ELEMENTWISE * size)


def _keep(x, mask):
    """Return x times the mask of dropout."""
    x, units = _plain(x), mask.units.view(np.uint8)
    out = np.empty_like(x)
    _map_numbers(lambda x, units, out: norms.keep(x, units, mask.scale, out), x, units, out)
    return out


def _batch_forward(x, gamma, beta, bn_param):
    """Normalize each channel of x (N, C, ...), as `cs231n.layers._normalize_batch` does, and scale it."""
    mode = require_mode(bn_param, "bn_param")
    eps = require_number("bn_param['eps']", bn_param.get("eps", 1e-5), 0, 1)
    momentum = require_number("bn_param['momentum']", bn_param.get("momentum", 0.9), 0, 1)
    running_mean, running_var = _running_averages(bn_param, x)
    N, C = x.shape[:2]
    images, gamma, beta = _plain(x).reshape(N, C, -1), _plain(gamma), _plain(beta)
    out = np.empty_like(images)
    if mode == "train":
        mean, var, inv_std = np.empty((3, C), x.dtype)
    else:
        mean, var, inv_std = _plain(running_mean), None, 1 / np.sqrt(running_var + eps)

    def of_channels(part):
        norms.batch_forward(images, part, gamma, beta, eps, mean, var, inv_std, out)

    map_slices(of_channels, C, work=NORMALIZATION * x.size)
    if mode == "train":
        bn_param["running_mean"] = momentum * running_mean + (1 - momentum) * mean
        bn_param["running_var"] = momentum * running_var + (1 - momentum) * var
    cache = Normalized(images, mean, inv_std, gamma, x.shape, fixed=mode == "test")
    return out.reshape(x.shape), cache


def _batch_backward(dout, cache):
    """Return the gradients of `_batch_forward`."""
    x, mean, inv_std, gamma = cache[:4]
    dout = _plain(as_upstream(dout, cache.shape, x.dtype)).reshape(x.shape)
    dx, (dgamma, dbeta) = np.empty_like(x), np.empty((2, len(gamma)), x.dtype)

    def of_channels(part):
        norms.batch_backward(dout, x, part, mean, inv_std, gamma, dx, dgamma, dbeta)

    map_slices(of_channels, len(gamma), work=NORMALIZATION * x.size)
    if cache.fixed:
        np.multiply(dout, (gamma * inv_std)[:, np.newaxis], out=dx)
    return dx.reshape(cache.shape), dgamma, dbeta


def _group_forward(x, gamma, beta, G, eps):
    """Normalize each image of x (N, C, ...) over one of G groups of channels at a time, and scale it."""
    N, C = x.shape[:2]
    param_shapes = gamma.shape, beta.shape
    images, gamma, beta = _plain(x).reshape(N, C, -1), _plain(gamma).reshape(-1), _plain(beta).reshape(-1)
    out, (mean, inv_std) = np.empty_like(images), np.empty((2, N, G), x.dtype)

    def of_images(part):
        norms.group_forward(images, part, gamma, beta, eps, mean, inv_std, out)

    map_slices(of_images, N, work=NORMALIZATION * x.size)
    return out.reshape(x.shape), Normalized(images, mean, inv_std, gamma, x.shape, param_shapes)


def _group_backward(dout, cache):
    """Return the gradients of `_group_forward`."""
    x, mean, inv_std, gamma = cache[:4]
    dout = _plain(as_upstream(dout, cache.shape, x.dtype)).reshape(x.shape)
    dx = np.empty_like(x)

    def of_images(part):
        return norms.group_backward(dout, x, part, mean, inv_std, gamma, dx)

    sums = sum(map_slices(of_images, len(x), work=NORMALIZATION * x.size)).astype(x.dtype)
    dgamma, dbeta = (row.reshape(shape) for row, shape in zip(sums, cache.param_shapes, strict=True))
    return dx.reshape(cache.shape), dgamma, dbeta
