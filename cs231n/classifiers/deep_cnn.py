"""A deep convolutional network: batch normalization, residual blocks, any widths.

It is the architecture of `cs231n.pytorch.convnet`, with ReLU for an activation, in layers of our own. The
contract of a model is that of `cs231n.classifiers.fc_net`.
"""

import math
from itertools import pairwise

import numpy as np

from cs231n.classifiers.regularization import add_l2_penalty
from cs231n.classifiers.running_averages import warn_of_lost_averages
from cs231n.fast_layers import (
    conv_backward_fast,
    conv_forward_fast,
    max_pool_backward_fast,
    max_pool_forward_fast,
)
from cs231n.layer_utils import chain_backward, chain_forward
from cs231n.model_layers import (
    affine_backward,
    affine_forward,
    relu_backward,
    relu_forward,
    softmax_loss,
    spatial_batchnorm_backward,
    spatial_batchnorm_forward,
)
from cs231n.saved_model import SavedModel
from cs231n.validation import (
    as_images,
    as_upstream,
    require_float_dtype,
    require_image_shape,
    require_integer,
    require_number,
    require_shape,
    require_sizes,
)

SHRINK = 1 / 8  # of the scores: small ones make the first steps small


class DeepConvNet(SavedModel):
    """stem - {2x2 max pool - block - residual block} x S - global max pool - affine - softmax.

    A block is a convolution of 3x3, spatial batch normalization and ReLU; a residual block adds its input to
    that. The stem is two blocks, the first of which pools, 2x2, before it normalizes: its largest images then
    cost a quarter. The affine layer takes the largest value of every channel.

    - input_dim: (C, H, W) of an image; it is halved S + 1 times
    - widths: the filters of the stem's two blocks, then those of each of the S stages
    - num_classes: C
    - label_smoothing: the share of the target that is spread over all classes, in [0, 1)
    - reg: strength of the L2 penalty on the weights
    - dtype: what the model computes in, np.float32 or np.float64

    params: W1, gamma1, beta1 to WK, gammaK, betaK of the K = 2 + 2 S convolutions, without biases, which the
    normalization would subtract again; then W(K + 1), b(K + 1) of the affine layer. Weights are Gaussian with
    variance 2 / fan-in (He et al. 2015, https://arxiv.org/abs/1502.01852, equation 10).
    bn_params: one dictionary of settings and running averages per convolution.

    >>> np.random.seed(0)
    >>> model = DeepConvNet((3, 8, 8), widths=(4, 6, 8), num_classes=5)
    >>> loss, grads = model.loss(np.random.randn(2, 3, 8, 8), np.array([4, 0]))
    >>> grads["W4"].shape, grads["W5"].shape
    ((8, 8, 3, 3), (8, 5))
    """

    def __init__(
        self,
        input_dim=(3, 32, 32),
        widths=(32, 48, 128, 128),
        num_classes=10,
        label_smoothing=0.0,
        reg=0.0,
        dtype=np.float32,
    ):
        self.input_dim = require_image_shape("input_dim", input_dim)
        self.widths = _require_widths(widths, self.input_dim)
        self.label_smoothing = require_number("label_smoothing", label_smoothing, 0, 1, closed="left")
        self.reg = require_number("reg", reg, 0, math.inf, closed="left")
        self.dtype = require_float_dtype("dtype", dtype)
        self.params = self._initial_params(require_integer("num_classes", num_classes, 1))
        self.bn_params = [{} for _ in filters_of(self.widths)]
        self._param_names = list(self.params)

    def _initial_params(self, num_classes):
        """Return the parameters that the class describes, by name, in the order in which they are used."""
        params = {}
        for i, (C, F) in enumerate(pairwise([self.input_dim[0], *filters_of(self.widths)]), start=1):
            params[f"W{i}"] = np.sqrt(2 / (C * 3 * 3)) * np.random.randn(F, C, 3, 3)
            params[f"gamma{i}"] = np.ones(F)
            params[f"beta{i}"] = np.zeros(F)
        params[f"W{i + 1}"] = np.sqrt(2 / F) * np.random.randn(F, num_classes)
        params[f"b{i + 1}"] = np.zeros(num_classes)
        return {name: param.astype(self.dtype) for name, param in params.items()}

    def loss(self, X, y=None):
        """Return the scores (N, C) of X (N, C, H, W), or with labels y (N,) loss and gradients.

        Batch normalization is in training mode when labels are given, else in test mode. `as_images` brings
        X to the model's dtype, and refuses what does not fit its input_dim.
        """
        X = as_images(X, self.input_dim, self.dtype)
        self._set_mode("test" if y is None else "train")
        out, caches = chain_forward(X, *self._layers())
        scores = SHRINK * out
        if y is None:
            return scores

        loss, dscores = smoothed_softmax_loss(scores, y, self.label_smoothing)
        _, *param_grads = chain_backward(SHRINK * dscores, caches, need_dx=False)
        grads = dict(zip(self._param_names, param_grads, strict=True))
        return add_l2_penalty(loss, grads, self.params, self.reg), grads

    def _set_mode(self, mode):
        for bn_param in self.bn_params:
            bn_param["mode"] = mode
        if mode == "test":
            warn_of_lost_averages(self.params, self.bn_params, stacklevel=3)

    def _layers(self):
        """Return the network up to its scores as a chain of layers."""
        halve, K = _max_pool(2, 2), len(self.bn_params)
        layers = [*self._block(1, halve), *self._block(2)]
        for i in range(3, K, 2):
            residual = residual_forward, residual_backward, *self._block(i + 1)
            layers += [halve, *self._block(i), residual]
        H, W = (size // 2 ** (len(self.widths) - 1) for size in self.input_dim[1:])
        affine = affine_forward, affine_backward, self.params[f"W{K + 1}"], self.params[f"b{K + 1}"]
        return [*layers, _max_pool(H, W), affine]

    def _block(self, i, *before_norm):
        """Return block i, counted from 1, as a chain of layers."""
        W, gamma, beta = (self.params[f"{name}{i}"] for name in ("W", "gamma", "beta"))
        norm = spatial_batchnorm_forward, spatial_batchnorm_backward, gamma, beta, self.bn_params[i - 1]
        return (conv3x3_forward, conv3x3_backward, W), *before_norm, norm, (relu_forward, relu_backward)


def filters_of(widths):
    """Return the number of filters of every convolution of a net with these widths."""
    return [*widths[:2], *(width for width in widths[2:] for _ in ("block", "residual block"))]


def conv3x3_forward(x, w):
    """Compute a convolution that keeps the size of the image, without a bias: w (F, C, 3, 3)."""
    return conv_forward_fast(x, w, np.zeros(len(w), w.dtype), {"stride": 1, "pad": 1})


def conv3x3_backward(dout, cache, need_dx=True):
    """Return the gradients of `conv3x3_forward`: dx (None where not needed), dw."""
    dx, dw, _ = conv_backward_fast(dout, cache, need_dx)
    return dx, dw


def residual_forward(x, *layers):
    """Compute x + chain(x) for a chain that keeps the shape of x; see `cs231n.layer_utils.chain_forward`.

    The chain learns a correction, and the gradient can pass it by. (He et al. 2016,
    https://arxiv.org/abs/1512.03385, equation 1.)
    """
    out, caches = chain_forward(x, *layers)
    require_shape("the chain's output", out, np.shape(x), "that of its input")
    return x + out, caches


def residual_backward(dout, caches):
    """Return the gradients of `residual_forward`: dx, the sum over both ways, then the chain's others."""
    dx, *grads = chain_backward(dout, caches)
    return dx + as_upstream(dout, dx.shape, dx.dtype), *grads


def smoothed_softmax_loss(scores, y, smoothing):
    """Compute the cross-entropy between (1 - s) onehot(y) + s / C and the softmax of the scores (N, C).

    As log p_c = x_c - log sum_k exp(x_k), it is softmax_loss + s * (x_y - mean_c x_c), averaged over the
    minibatch. Returns loss and dscores (N, C). (Szegedy et al. 2016, https://arxiv.org/abs/1512.00567,
    section 7.)
    """
    loss, dscores = softmax_loss(scores, y)
    N, C = scores.shape
    rows = np.arange(N)
    loss += smoothing * (scores[rows, y] - scores.mean(axis=1)).mean()
    dscores[rows, y] += smoothing / N
    dscores -= smoothing / (N * C)
    return loss, dscores


def _max_pool(height, width):
    """Return the layer of a chain that pools windows side by side."""
    pool_param = {"pool_height": height, "pool_width": width, "stride": (height, width)}
    return max_pool_forward_fast, max_pool_backward_fast, pool_param


def _require_widths(widths, input_dim):
    """Return the widths as a tuple; ValueError unless there are two or more and the image can be halved."""
    widths = tuple(require_sizes("widths", widths))
    if len(widths) < 2:
        raise ValueError(f"widths must have two sizes for the stem, then one per stage; got {widths}")
    times = len(widths) - 1
    if min(input_dim[1:]) < 2**times:
        raise ValueError(
            f"input_dim must have a height and width of at least {2**times}, which widths of {len(widths)} "
            f"sizes halve {times} times; got {input_dim}"
        )
    return widths
