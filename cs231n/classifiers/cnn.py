"""A small convolutional network for classification, with a softmax loss and L2 regularization.

The contract of a model is that of `cs231n.classifiers.fc_net`.
"""

import math

import numpy as np

from cs231n import fast_layers, layer_utils, layers, model_layers
from cs231n.classifiers.regularization import add_l2_penalty
from cs231n.fast_layers import *  # noqa: F403  the course's own notebooks import every layer from here
from cs231n.layer_utils import *  # noqa: F403
from cs231n.layer_utils import (
    affine_relu_backward,
    affine_relu_forward,
    conv_relu_pool_backward,
    conv_relu_pool_forward,
)
from cs231n.layers import *  # noqa: F403
from cs231n.layers import affine_backward, affine_forward
from cs231n.saved_model import SavedModel
from cs231n.validation import (
    as_images,
    require_float_dtype,
    require_image_shape,
    require_integer,
    require_number,
)

__all__ = ["ThreeLayerConvNet", *layers.__all__, *fast_layers.__all__, *layer_utils.__all__]


class ThreeLayerConvNet(SavedModel):
    """conv - ReLU - 2x2 max pool - affine - ReLU - affine - softmax.

    - input_dim: (C, H, W) of an image, H and W at least 2
    - num_filters: filters of the convolution; filter_size: their height and width, odd, so that stride 1
      and a padding of (filter_size - 1) / 2 keep the size of the image
    - hidden_dim: units of the hidden affine layer; num_classes: C
    - weight_scale: standard deviation of the initial weights; biases start at zero
    - reg: strength of the L2 penalty on the weights
    - dtype: what the model computes in, np.float32 or np.float64

    The pooling leaves out the last row or column of an image of odd height or width.

    params: W1 (num_filters, C, filter_size, filter_size), b1, W2 (num_filters * (H // 2) * (W // 2),
    hidden_dim), b2, W3 (hidden_dim, num_classes), b3.
    """

    def __init__(
        self,
        input_dim=(3, 32, 32),
        num_filters=32,
        filter_size=7,
        hidden_dim=100,
        num_classes=10,
        weight_scale=1e-3,
        reg=0.0,
        dtype=np.float32,
    ):
        self.input_dim = require_image_shape("input_dim", input_dim)
        _require_poolable(self.input_dim)
        if require_integer("filter_size", filter_size, 1) % 2 == 0:
            raise ValueError(f"filter_size must be odd, so that the image keeps its size; got {filter_size}")
        self.reg = require_number("reg", reg, 0, math.inf, closed="left")
        self.dtype = require_float_dtype("dtype", dtype)
        self._set_geometry(filter_size)
        self.params = self._initial_params(
            self.input_dim,
            require_integer("num_filters", num_filters, 1),
            filter_size,
            require_integer("hidden_dim", hidden_dim, 1),
            require_integer("num_classes", num_classes, 1),
            require_number("weight_scale", weight_scale, 0, math.inf, closed="left"),
        )

    def _set_geometry(self, filter_size):
        self.conv_param = {"stride": 1, "pad": (filter_size - 1) // 2}
        self.pool_param = {"pool_height": 2, "pool_width": 2, "stride": 2}

    def __setstate__(self, state):
        """Restore a pickled model, also one of the course's own class, which had its geometry in `loss`."""
        self.__dict__.update(state)
        if "conv_param" not in state:
            F, C, filter_size, _ = self.params["W1"].shape
            side = 2 * math.isqrt(len(self.params["W2"]) // F)
            self.input_dim = C, side, side
            self._set_geometry(filter_size)

    def _initial_params(self, input_dim, num_filters, filter_size, hidden_dim, num_classes, weight_scale):
        """Return the parameters that the class describes, by name, in the model's dtype."""
        C, H, W = input_dim
        params = {
            "W1": weight_scale * np.random.randn(num_filters, C, filter_size, filter_size),
            "b1": np.zeros(num_filters),
            "W2": weight_scale * np.random.randn(num_filters * (H // 2) * (W // 2), hidden_dim),
            "b2": np.zeros(hidden_dim),
            "W3": weight_scale * np.random.randn(hidden_dim, num_classes),
            "b3": np.zeros(num_classes),
        }
        return {name: param.astype(self.dtype) for name, param in params.items()}

    def loss(self, X, y=None):
        """Return the scores (N, C) of X (N, C, H, W), or with labels y (N,) loss and gradients.

        `as_images` brings X to the model's dtype, and refuses what does not fit its input_dim.
        """
        X = as_images(X, self.input_dim, self.dtype)
        W1, b1, W2, b2, W3, b3 = (self.params[name] for name in ("W1", "b1", "W2", "b2", "W3", "b3"))
        pooled, conv_cache = conv_relu_pool_forward(X, W1, b1, self.conv_param, self.pool_param)
        hidden, hidden_cache = affine_relu_forward(pooled, W2, b2)
        scores, scores_cache = affine_forward(hidden, W3, b3)
        if y is None:
            return scores

        loss, dscores = model_layers.softmax_loss(scores, y)
        dhidden, dW3, db3 = affine_backward(dscores, scores_cache)
        dpooled, dW2, db2 = affine_relu_backward(dhidden, hidden_cache)
        _, dW1, db1 = conv_relu_pool_backward(dpooled, conv_cache, need_dx=False)
        grads = {"W1": dW1, "b1": db1, "W2": dW2, "b2": db2, "W3": dW3, "b3": db3}
        return add_l2_penalty(loss, grads, self.params, self.reg), grads


def _require_poolable(input_dim):
    """Raise ValueError unless a window of 2x2 pooling fits into the image (C, H, W)."""
    _, H, W = input_dim
    if H < 2 or W < 2:
        raise ValueError(
            f"input_dim must have a height and width of at least 2, for 2x2 pooling; got {input_dim}"
        )
