"""A small convolutional network with any normalization or none: what the experiments of a notebook train.

The contract of a model is that of `cs231n.classifiers.fc_net`. There is no L2 penalty.
"""

from itertools import pairwise

import numpy as np

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
    spatial_groupnorm_backward,
    spatial_groupnorm_forward,
)
from cs231n.validation import as_images, require_choice

CONV_PARAM = {"stride": 1, "pad": 1}
POOL_PARAM = {"pool_height": 2, "pool_width": 2, "stride": 2}
NORMALIZATIONS = (None, "batch", "layer", "group")


class SmallConvNet:
    """{3x3 convolution - normalization - ReLU - 2x2 max pool} for each number of filters - affine - softmax.

    - normalization: None, "batch", "layer" (over a whole image) or "group"
    - groups: how many groups the channels are in, if it is "group"

    params: W1, b1, gamma1, beta1, ... of the convolutions, then W and b of the affine layer. Weights are
    Gaussian with variance 2 / fan-in (He et al. 2015, https://arxiv.org/abs/1502.01852, equation 10).
    """

    def __init__(
        self,
        filters=(16, 32),
        normalization=None,
        groups=4,
        input_dim=(3, 32, 32),
        num_classes=10,
        dtype=np.float32,
    ):
        require_choice("normalization", normalization, NORMALIZATIONS)
        self.filters = filters
        self.normalization = normalization
        self.groups = 1 if normalization == "layer" else groups
        self.input_dim = input_dim
        self.dtype = dtype
        self.bn_params = [{} for _ in filters] if normalization == "batch" else []
        self.params = self._initial_params(num_classes)

    def _initial_params(self, num_classes):
        params = {}
        C, H, W = self.input_dim
        for i, (fan_in, F) in enumerate(pairwise([C, *self.filters]), start=1):
            params[f"W{i}"] = np.sqrt(2 / (9 * fan_in)) * np.random.randn(F, fan_in, 3, 3)
            params[f"b{i}"] = np.zeros(F)
            if self.normalization:
                params[f"gamma{i}"], params[f"beta{i}"] = np.ones(F), np.zeros(F)
        side = 2 ** len(self.filters)
        features = self.filters[-1] * (H // side) * (W // side)
        params["W"] = np.sqrt(2 / features) * np.random.randn(features, num_classes)
        params["b"] = np.zeros(num_classes)
        return {name: param.astype(self.dtype) for name, param in params.items()}

    def loss(self, X, y=None):
        """Return the scores (N, C) of X (N, C, H, W), or with labels y (N,) loss and gradients."""
        X = as_images(X, self.input_dim, self.dtype)
        scores, caches = chain_forward(X, *self.layers("test" if y is None else "train"))
        if y is None:
            return scores
        loss, dscores = softmax_loss(scores, y)
        _, *grads = chain_backward(dscores, caches, need_dx=False)
        return loss, dict(zip(self.params, grads, strict=True))

    def layers(self, mode="test"):
        """Return the network up to its scores as a chain of layers; batch normalization is in this mode."""
        for bn_param in self.bn_params:
            bn_param["mode"] = mode
        layers = []
        for i in range(1, len(self.filters) + 1):
            W, b = self.params[f"W{i}"], self.params[f"b{i}"]
            layers.append((conv_forward_fast, conv_backward_fast, W, b, CONV_PARAM))
            if self.normalization:
                layers.append(self._normalization(i))
            layers.append((relu_forward, relu_backward))
            layers.append((max_pool_forward_fast, max_pool_backward_fast, POOL_PARAM))
        return [*layers, (affine_forward, affine_backward, self.params["W"], self.params["b"])]

    def _normalization(self, i):
        gamma, beta = self.params[f"gamma{i}"], self.params[f"beta{i}"]
        if self.normalization == "batch":
            return spatial_batchnorm_forward, spatial_batchnorm_backward, gamma, beta, self.bn_params[i - 1]
        return spatial_groupnorm_forward, spatial_groupnorm_backward, gamma, beta, self.groups, {}
