"""The layers of a neural network, forward and backward, as plain functions of NumPy arrays.

Every layer is a pair. `foo_forward(x, ...)` returns `(out, cache)`. `foo_backward(dout, cache)` takes
`dout`, the gradient of the loss with respect to `out`, and returns the gradients with respect to the
forward's inputs, in their order and shapes. What a cache holds is private to the pair. A loss
returns its value and its gradient at once.

Axes: N examples in a minibatch, D input features, M output features, C classes or channels, H W image
height and width, F filters, HH WW filter height and width, H' W' output height and width.

A layer computes in the dtype of x: float32 stays float32, and parameters or upstream gradients of
another dtype are brought to it. No argument is modified and no output shares memory with an input,
save where a docstring says so. Arguments that do not fit raise ValueError.
"""

import math

import numpy as np

from cs231n.kernels.matmul import matmul
from cs231n.validation import (
    SCORE_PER_CLASS,
    as_float_array,
    as_float_arrays,
    as_plain_array,
    as_upstream,
    in_dtype,
    require_integer,
    require_keep_probability,
    require_labels,
    require_mode,
    require_ndim,
    require_number,
    require_settings,
    require_shape,
)
from cs231n.windows import convolution_geometry, pooling_geometry

__all__ = [
    "affine_backward",
    "affine_forward",
    "batchnorm_backward",
    "batchnorm_backward_alt",
    "batchnorm_forward",
    "conv_backward_naive",
    "conv_forward_naive",
    "dropout_backward",
    "dropout_forward",
    "layernorm_backward",
    "layernorm_forward",
    "max_pool_backward_naive",
    "max_pool_forward_naive",
    "relu_backward",
    "relu_forward",
    "softmax_loss",
    "spatial_batchnorm_backward",
    "spatial_batchnorm_forward",
    "spatial_groupnorm_backward",
    "spatial_groupnorm_forward",
    "svm_loss",
]


def affine_forward(x, w, b):
    """Compute a fully connected layer: each example, flattened to a row, times w, plus b.

    - x: (N, d1, ..., dk)
    - w: (D, M) with D = d1 * ... * dk
    - b: (M,)

    Returns out (N, M).

    >>> x, w, b = np.array([[1.0, 2.0]]), np.array([[3.0, 4.0], [5.0, 6.0]]), np.array([0.5, -0.5])
    >>> affine_forward(x, w, b)[0]
    array([[13.5, 15.5]])
    """
    x, w, b = as_float_arrays(x, w, b)
    require_ndim("w", w, "D, M")
    num_features = _count_features(x, w)
    require_shape("b", b, w.shape[1:], "one bias per column of w")
    out = matmul(x.reshape(len(x), num_features), w)
    out += b
    return out, (x, w)


def affine_backward(dout, cache, need_dx=True):
    """Return the gradients of `affine_forward`: dx (N, d1, ..., dk), dw (D, M), db (M,).

    A network's first layer needs no dx, a third of the work: with need_dx=False it is None.
    """
    x, w = cache
    dout = as_upstream(dout, (len(x), w.shape[1]), x.dtype)
    # With rows x_n, out_nm = sum_d x_nd w_dm + b_m, hence dx = dout w^T, dw = x^T dout and db = sum_n dout_n.
    dx = matmul(dout, w.T).reshape(x.shape) if need_dx else None
    dw = matmul(x.reshape(len(x), len(w)).T, dout)
    db = dout.sum(axis=0)
    return dx, dw, db


def _count_features(x, w):
    """Return the number of features of an example of x; ValueError unless w has a row for each."""
    if x.ndim < 2:
        raise ValueError(
            f"x must have shape (N, d1, ..., dk), N examples; got {x.shape}. "
            "A single example becomes a minibatch of one as x[np.newaxis]."
        )
    if len(x) == 0:
        raise ValueError(f"x must hold at least one example; got the shape {x.shape}")
    num_features = math.prod(x.shape[1:])
    if num_features != len(w):
        raise ValueError(
            f"x must have shape (N, d1, ..., dk) with d1 * ... * dk = {len(w)}, the rows of w {w.shape}; "
            f"got {x.shape}, which has {num_features} features per example"
        )
    return num_features


def relu_forward(x):
    """Compute the rectified linear unit, max(x, 0) element by element, for x of any shape."""
    x = as_float_array(x)
    return np.maximum(x, 0), x


def relu_backward(dout, cache):
    """Return the gradient of `relu_forward`. At exactly 0, where there is no slope, it is 0."""
    x = cache
    dout = as_upstream(dout, x.shape, x.dtype)
    return dout * (x > 0)


def _normalize(x, axes, eps):
    """Shift and scale x to mean 0 and variance 1 over `axes`; the core of every normalization layer.

    Returns x_hat = (x - mean) / sqrt(var + eps) and the mean, the biased variance and
    inv_std = 1 / sqrt(var + eps), whose reduced axes have length 1.
    """
    mean = x.mean(axis=axes, keepdims=True)
    x_hat = x - mean
    var = np.square(x_hat).mean(axis=axes, keepdims=True)
    inv_std = 1 / np.sqrt(var + eps)
    x_hat *= inv_std
    return x_hat, mean, var, inv_std


def _normalize_backward(dx_hat, x_hat, inv_std, axes):
    """Return the gradient of `_normalize` with respect to x, in closed form.

    An x_i moves its own x_hat_i, and every x_hat_j over the same axes through the mean and the
    variance. Summing the three paths gives, with means over `axes`,

        dx = inv_std * (dx_hat - mean(dx_hat) - x_hat * mean(dx_hat * x_hat)).

    Read: what remains of dx_hat once its components along (1, ..., 1) and along x_hat are removed,
    since x_hat does not change when x is shifted or scaled. (Ioffe and Szegedy 2015,
    https://arxiv.org/abs/1502.03167, section 3, simplified.)
    """
    dx = dx_hat - dx_hat.mean(axis=axes, keepdims=True)
    dx -= x_hat * (dx_hat * x_hat).mean(axis=axes, keepdims=True)
    dx *= inv_std
    return dx


def batchnorm_forward(x, gamma, beta, bn_param):
    """Bring each feature to mean 0 and variance 1 over the minibatch, then apply gamma and beta.

    - x: (N, D); gamma, beta: (D,)
    - bn_param: a dictionary with `mode`, 'train' or 'test' (required); `eps`, 1e-5; `momentum`, 0.9;
      `running_mean` and `running_var`, (D,), zeros at first

    Training uses the minibatch's mean and biased variance and writes back to bn_param
    running = momentum * running + (1 - momentum) * sample. Testing uses the running averages. Both
    divide by sqrt(var + eps). Returns out (N, D). (Ioffe and Szegedy 2015,
    https://arxiv.org/abs/1502.03167, algorithms 1 and 2.)
    """
    x, gamma, beta = as_float_arrays(x, gamma, beta, names=("x", "gamma", "beta"))
    _require_features(x, gamma, beta)
    x_hat, inv_std, mode = _normalize_batch(x, bn_param, axes=0)
    out = gamma * x_hat
    out += beta
    return out, (x_hat, inv_std, gamma, mode)


def batchnorm_backward(dout, cache):
    """Return the gradients of `batchnorm_forward`, node by node: dx (N, D), dgamma (D,), dbeta (D,).

    Each step undoes one node of the forward pass, in reverse:
    x -> mean -> centered -> var -> inv_std -> x_hat -> out. In test mode the averages are constants.
    """
    x_hat, inv_std, gamma, mode = cache
    dout = as_upstream(dout, x_hat.shape, x_hat.dtype)
    N = len(dout)
    # out = gamma * x_hat + beta
    dbeta = dout.sum(axis=0)
    dgamma = (dout * x_hat).sum(axis=0)
    dx_hat = dout * gamma
    if mode == "test":
        return dx_hat * inv_std, dgamma, dbeta
    # x_hat = centered * inv_std
    centered = x_hat / inv_std
    dcentered = dx_hat * inv_std
    dinv_std = (dx_hat * centered).sum(axis=0)
    # inv_std = (var + eps) ** -0.5
    dvar = -0.5 * inv_std**3 * dinv_std
    # var = mean(centered ** 2)
    dcentered += 2 / N * centered * dvar
    # centered = x - mean
    dmean = -dcentered.sum(axis=0)
    # mean = sum(x) / N
    dx = dcentered + dmean / N
    return dx, dgamma, dbeta


def batchnorm_backward_alt(dout, cache):
    """Return the gradients of `batchnorm_forward` in closed form, with fewer passes over memory."""
    return _batchnorm_backward(dout, cache, axes=0)


def _batchnorm_backward(dout, cache, axes):
    """Return batch normalization's gradients in closed form, the statistics being taken over `axes`."""
    x_hat, inv_std, gamma, mode = cache
    dout = as_upstream(dout, x_hat.shape, x_hat.dtype)
    dbeta = dout.sum(axis=axes)
    dgamma = (dout * x_hat).sum(axis=axes)
    dx_hat = dout * gamma
    if mode == "test":
        return dx_hat * inv_std, dgamma, dbeta
    return _normalize_backward(dx_hat, x_hat, inv_std, axes), dgamma, dbeta


def layernorm_forward(x, gamma, beta, ln_param):
    """Bring each example to mean 0 and variance 1 over its features, then apply gamma and beta.

    - x: (N, D); gamma, beta: (D,)
    - ln_param: a dictionary with `eps`, 1e-5

    Training and testing are the same, since an example does not depend on its minibatch. Returns
    out (N, D). (Ba, Kiros and Hinton 2016, https://arxiv.org/abs/1607.06450, equation 4.)
    """
    x, gamma, beta = as_float_arrays(x, gamma, beta, names=("x", "gamma", "beta"))
    _require_features(x, gamma, beta)
    eps = require_settings("ln_param", ln_param).get("eps", 1e-5)
    eps = require_number("ln_param['eps']", eps, 0, 1)
    x_hat, _, _, inv_std = _normalize(x, axes=1, eps=eps)
    out = gamma * x_hat
    out += beta
    return out, (x_hat, inv_std, gamma)


def layernorm_backward(dout, cache):
    """Return the gradients of `layernorm_forward`: dx (N, D), dgamma (D,), dbeta (D,)."""
    x_hat, inv_std, gamma = cache
    dout = as_upstream(dout, x_hat.shape, x_hat.dtype)
    dbeta = dout.sum(axis=0)
    dgamma = (dout * x_hat).sum(axis=0)
    dx = _normalize_backward(dout * gamma, x_hat, inv_std, axes=1)
    return dx, dgamma, dbeta


def _require_features(x, gamma, beta):
    require_ndim("x", x, "N, D")
    require_shape("gamma", gamma, x.shape[1:], "one scale per feature of x")
    require_shape("beta", beta, x.shape[1:], "one shift per feature of x")


def _normalize_batch(x, bn_param, axes):
    """Normalize as batch normalization does before gamma and beta; return x_hat, inv_std and the mode.

    The statistics are taken over `axes`, all but the feature or channel axis 1; reduced axes have
    length 1. In training the running averages in bn_param are updated.
    """
    mode = require_mode(bn_param, "bn_param")
    eps = require_number("bn_param['eps']", bn_param.get("eps", 1e-5), 0, 1)
    momentum = require_number("bn_param['momentum']", bn_param.get("momentum", 0.9), 0, 1)
    running_mean, running_var = _running_averages(bn_param, x)
    if mode == "train":
        x_hat, mean, var, inv_std = _normalize(x, axes, eps)
        bn_param["running_mean"] = momentum * running_mean + (1 - momentum) * mean.reshape(-1)
        bn_param["running_var"] = momentum * running_var + (1 - momentum) * var.reshape(-1)
        return x_hat, inv_std, mode
    per_feature = (-1,) + (1,) * (x.ndim - 2)
    inv_std = 1 / np.sqrt(running_var + eps).reshape(per_feature)
    return (x - running_mean.reshape(per_feature)) * inv_std, inv_std, mode


def _running_averages(bn_param, x):
    """Return the running mean and variance in the dtype of x, zeros where bn_param has none yet."""
    averages = []
    for name in ("running_mean", "running_var"):
        average = bn_param.get(name)
        if average is None:
            average = np.zeros(x.shape[1], x.dtype)
        entry = f"bn_param['{name}']"
        average = in_dtype(entry, average, x.dtype)
        require_shape(entry, average, x.shape[1:2], "one per feature or channel of x")
        averages.append(average)
    return averages


def dropout_forward(x, dropout_param):
    """Compute inverted dropout: keep each unit with probability p and divide it by p, set the others to 0.

    - x: any shape
    - dropout_param: a dictionary with `p`, the probability to KEEP a unit, in (0, 1]; `mode`, 'train'
      or 'test' (required); `seed`, to draw the same mask again, as a gradient check needs

    Dividing by p in training leaves the expected output at x, so that testing can return x itself
    (not a copy). Without a seed the mask comes from NumPy's global generator; with one that
    generator is left alone. (Srivastava et al. 2014, https://jmlr.org/papers/v15/srivastava14a.html,
    section 10 for this inverted form.)
    """
    x = as_float_array(x)
    mode = require_mode(dropout_param, "dropout_param")
    p = require_keep_probability(
        "dropout_param['p'], the probability to keep a unit,", dropout_param.get("p")
    )
    shape, dtype, mask = x.shape, x.dtype, None
    if mode == "test":
        return x, (shape, dtype, mask)
    seed = dropout_param.get("seed")
    rand = np.random.rand if seed is None else np.random.RandomState(seed).rand
    mask = np.less(rand(*x.shape), p).astype(x.dtype)
    mask /= p
    return x * mask, (shape, dtype, mask)


def dropout_backward(dout, cache):
    """Return the gradient of `dropout_forward` for the mask that it drew, or in test mode for none."""
    shape, dtype, mask = cache
    dout = as_upstream(dout, shape, dtype)
    return dout if mask is None else dout * mask


def conv_forward_naive(x, w, b, conv_param):
    """Compute a convolution from its definition: every output is a window of x times a filter, summed.

    - x: (N, C, H, W); w: (F, C, HH, WW); b: (F,)
    - conv_param: a dictionary with `stride`, the pixels between neighbouring windows, and `pad`, the
      zeros around the image on every side; each may be a pair (rows, columns)

    out_nfij = b_f + sum_cpq x_padded[n, c, i * stride + p, j * stride + q] * w_fcpq: a correlation, as
    in every deep-learning library, since the filter is not flipped. Returns out (N, F, H', W') with
    H' = 1 + (H + 2 pad - HH) / stride, rounded down, and W' likewise: a window that would reach beyond
    the padded image is left out. (CS231n notes, "Convolutional networks".)

    >>> x, w, b = np.ones((1, 3, 4, 6)), np.ones((2, 3, 3, 3)), np.array([0.0, 0.5])
    >>> out, cache = conv_forward_naive(x, w, b, {"stride": 1, "pad": 1})
    >>> out.shape, out[0, :, 0, 0].tolist()  # in the corner, 4 pixels of the image and 5 of the padding
    ((1, 2, 4, 6), [12.0, 12.5])
    """
    x, w, b = as_float_arrays(x, w, b)
    stride, pad, out_height, out_width = convolution_geometry(x, w, b, conv_param)
    padded = _pad(x, pad)
    out_shape = len(x), len(w), out_height, out_width
    out = np.empty(out_shape, x.dtype)
    for n, f, i, j in np.ndindex(out.shape):
        window = _window(i, j, stride, *w.shape[2:])
        out[n, f, i, j] = np.sum(padded[n][window] * w[f]) + b[f]
    return out, (x, w, stride, pad, out_shape)


def conv_backward_naive(dout, cache, need_dx=True):
    """Return the gradients of `conv_forward_naive`: dx (N, C, H, W), dw (F, C, HH, WW), db (F,).

    With need_dx=False dx is None.
    """
    x, w, stride, pad, out_shape = cache
    dout = as_upstream(dout, out_shape, x.dtype)
    # An output is linear in its window and in its filter, so its gradient flows to the window in proportion
    # to the filter, and to the filter in proportion to the window. Windows overlap, and all use the same
    # filters: what they contribute adds up.
    padded = _pad(x, pad)
    dpadded, dw = np.zeros_like(padded), np.zeros_like(w)
    for n, f, i, j in np.ndindex(dout.shape):
        window = _window(i, j, stride, *w.shape[2:])
        dpadded[n][window] += dout[n, f, i, j] * w[f]
        dw[f] += dout[n, f, i, j] * padded[n][window]
    (top, left), (H, W) = pad, x.shape[2:]
    dx = dpadded[:, :, top : top + H, left : left + W].copy() if need_dx else None
    return dx, dw, dout.sum(axis=(0, 2, 3))


def max_pool_forward_naive(x, pool_param):
    """Compute max pooling: the largest value of every window, channel by channel.

    - x: (N, C, H, W)
    - pool_param: a dictionary with `pool_height`, `pool_width` and `stride`, which may be a pair (rows,
      columns); there is no padding

    Returns out (N, C, H', W') with H' = 1 + (H - pool_height) / stride, rounded down, and W' likewise.
    """
    x = as_float_array(x)
    pool_height, pool_width, stride, out_height, out_width = pooling_geometry(x, pool_param)
    out_shape = *x.shape[:2], out_height, out_width
    out = np.empty(out_shape, x.dtype)
    for n, c, i, j in np.ndindex(out.shape):
        _, rows, columns = _window(i, j, stride, pool_height, pool_width)
        out[n, c, i, j] = x[n, c, rows, columns].max()
    return out, (x, pool_height, pool_width, stride, out_shape)


def max_pool_backward_naive(dout, cache):
    """Return the gradient of `max_pool_forward_naive`: dx (N, C, H, W).

    On a tie the first value in row-major order counts as the largest of its window.
    """
    x, pool_height, pool_width, stride, out_shape = cache
    dout = as_upstream(dout, out_shape, x.dtype)
    # Only the largest value of a window moved the output: it takes the whole gradient. A pixel that is the
    # largest of several windows takes several, one that is in no window takes none.
    dx = np.zeros_like(x)
    for n, c, i, j in np.ndindex(dout.shape):
        _, rows, columns = _window(i, j, stride, pool_height, pool_width)
        p, q = divmod(x[n, c, rows, columns].argmax(), pool_width)
        dx[n, c, rows.start + p, columns.start + q] += dout[n, c, i, j]
    return dx


def _pad(x, pad):
    """Return x (N, C, H, W) with pad = (rows, columns) of zeros on both sides of every image."""
    rows, columns = pad
    return np.pad(x, ((0, 0), (0, 0), (rows, rows), (columns, columns)))


def _window(i, j, stride, height, width):
    """Return the index of the window behind output pixel (i, j) in one image (C, H, W); stride is a pair."""
    top, left = i * stride[0], j * stride[1]
    return slice(None), slice(top, top + height), slice(left, left + width)


def spatial_batchnorm_forward(x, gamma, beta, bn_param):
    """Compute batch normalization of images: each channel over the minibatch and all of its pixels.

    - x: (N, C, H, W); gamma, beta: (C,)
    - bn_param: as `batchnorm_forward` takes it, with running averages (C,)

    A filter looks for the same thing everywhere, so all places of its output share one mean, variance,
    gamma and beta. Returns out (N, C, H, W). (Ioffe and Szegedy 2015, section 3.2.)
    """
    x, gamma, beta = as_float_arrays(x, gamma, beta, names=("x", "gamma", "beta"))
    require_ndim("x", x, "N, C, H, W")
    require_shape("gamma", gamma, x.shape[1:2], "one scale per channel of x")
    require_shape("beta", beta, x.shape[1:2], "one shift per channel of x")
    x_hat, inv_std, mode = _normalize_batch(x, bn_param, axes=(0, 2, 3))
    gamma, beta = (param.reshape(-1, 1, 1) for param in (gamma, beta))
    out = gamma * x_hat
    out += beta
    return out, (x_hat, inv_std, gamma, mode)


def spatial_batchnorm_backward(dout, cache):
    """Return the gradients of `spatial_batchnorm_forward`: dx (N, C, H, W), dgamma (C,), dbeta (C,)."""
    return _batchnorm_backward(dout, cache, axes=(0, 2, 3))


def spatial_groupnorm_forward(x, gamma, beta, G, gn_param):
    """Compute group normalization: each image over the pixels of one group of channels at a time.

    - x: (N, C, H, W)
    - gamma, beta: (C,) or (1, C, 1, 1), one per channel; gradients come back in the same shape
    - G: the number of groups, which must divide C
    - gn_param: a dictionary with `eps`, 1e-5

    G = 1 is layer normalization of an image, G = C normalizes every channel alone. Training and
    testing are the same. Returns out (N, C, H, W). (Wu and He 2018, https://arxiv.org/abs/1803.08494,
    section 3.)
    """
    x, gamma, beta = as_float_arrays(x, gamma, beta, names=("x", "gamma", "beta"))
    require_ndim("x", x, "N, C, H, W")
    C = x.shape[1]
    G = _require_groups(G, C)
    _require_per_channel(C, gamma=gamma, beta=beta)
    eps = require_settings("gn_param", gn_param).get("eps", 1e-5)
    eps = require_number("gn_param['eps']", eps, 0, 1)
    x_hat, _, _, inv_std = _normalize(_in_groups(x, G), axes=(2, 3, 4), eps=eps)
    x_hat = x_hat.reshape(x.shape)
    out = gamma.reshape(-1, 1, 1) * x_hat
    out += beta.reshape(-1, 1, 1)
    beta_shape = beta.shape
    return out, (x_hat, inv_std, gamma, beta_shape, G)


def spatial_groupnorm_backward(dout, cache):
    """Return the gradients of `spatial_groupnorm_forward`: dx, dgamma, dbeta, shaped as x, gamma, beta."""
    x_hat, inv_std, gamma, beta_shape, G = cache
    dout = as_upstream(dout, x_hat.shape, x_hat.dtype)
    dbeta = dout.sum(axis=(0, 2, 3)).reshape(beta_shape)
    dgamma = (dout * x_hat).sum(axis=(0, 2, 3)).reshape(gamma.shape)
    dx_hat = _in_groups(dout * gamma.reshape(-1, 1, 1), G)
    dx = _normalize_backward(dx_hat, _in_groups(x_hat, G), inv_std, axes=(2, 3, 4))
    return dx.reshape(dout.shape), dgamma, dbeta


def _in_groups(x, G):
    """Return x (N, C, H, W) with its channels in groups: (N, G, C / G, H, W)."""
    N, C, H, W = x.shape
    return x.reshape(N, G, C // G, H, W)


def _require_groups(G, num_channels):
    if num_channels % require_integer("G", G, 1):
        raise ValueError(f"G must divide the number of channels, {num_channels}; got G = {G}")
    return int(G)


def _require_per_channel(num_channels, **params):
    for name, param in params.items():
        if param.shape not in ((num_channels,), (1, num_channels, 1, 1)):
            raise ValueError(
                f"{name} must have shape ({num_channels},) or (1, {num_channels}, 1, 1), one number per "
                f"channel of x; got {param.shape}"
            )


def svm_loss(x, y):
    """Compute the multiclass hinge loss with margin 1, averaged over the minibatch.

    - x: scores (N, C)
    - y: labels (N,), integers in [0, C)

    loss = 1/N sum_n sum_{c != y_n} max(0, x_nc - x_ny + 1). Returns loss and dx (N, C).
    (Weston and Watkins 1999; CS231n notes, "Linear classification".)
    """
    x, y, rows = _as_scores(x, y)
    margins = np.maximum(0, x - x[rows, y, np.newaxis] + 1)
    margins[rows, y] = 0
    loss = margins.sum() / len(x)
    dx = (margins > 0).astype(x.dtype)
    dx[rows, y] = -dx.sum(axis=1)
    dx /= len(x)
    return loss, dx


def softmax_loss(x, y):
    """Compute the cross-entropy of the softmax of the scores, averaged over the minibatch.

    - x: scores (logits), (N, C)
    - y: labels (N,), integers in [0, C)

    With p_nc = exp(x_nc) / sum_k exp(x_nk), loss = -1/N sum_n log p_ny and dx = (p - onehot(y)) / N.
    Scores are shifted by their row's maximum, which leaves p unchanged, so that exp cannot overflow;
    the log is taken of the sum only, which also works where p is 0. Returns loss and dx (N, C).

    >>> loss, dx = softmax_loss(np.array([[0.0, 0.0], [0.0, 1000.0]]), np.array([0, 1]))
    >>> print(f"{loss:.4f}", dx.tolist())
    0.3466 [[-0.25, 0.25], [0.0, 0.0]]
    """
    x, y, rows = _as_scores(x, y)
    shifted = x - x.max(axis=1, keepdims=True)
    exponentials = np.exp(shifted)
    sums = exponentials.sum(axis=1, keepdims=True)
    loss = (np.log(sums).sum() - shifted[rows, y].sum()) / len(x)
    probabilities = exponentials / sums
    dx = probabilities  # no longer needed: dx takes their place
    dx[rows, y] -= 1
    dx /= len(x)
    return loss, dx


def _as_scores(x, y):
    """Return the scores as floats, the labels as an array, and row numbers to index each label's score."""
    x = as_float_array(x)
    y = as_plain_array("y", y)
    require_ndim("x", x, "N, C", SCORE_PER_CLASS)
    require_labels(y, *x.shape)
    return x, y, np.arange(len(x))
