"""Fully connected networks for classification, with a softmax loss and L2 regularization.

A model holds its parameters in `params`, a dictionary of arrays, and computes in one dtype
throughout. `loss(X)` returns the scores; `loss(X, y)` returns the loss and its gradients with
respect to every parameter, under the same names. Weights are drawn from NumPy's global generator, in
the order W1, W2, ..., so that `np.random.seed` repeats a model. `save(path)` and `predict(images)` are
those of `cs231n.saved_model`.
"""

import math
from itertools import pairwise

import numpy as np

from cs231n import layer_utils, layers, model_layers
from cs231n.classifiers.regularization import add_l2_penalty
from cs231n.classifiers.running_averages import warn_of_lost_averages
from cs231n.layer_utils import *  # noqa: F403  the course's own notebooks import every layer from here
from cs231n.layer_utils import affine_relu_backward, affine_relu_forward, chain_backward, chain_forward
from cs231n.layers import *  # noqa: F403
from cs231n.layers import affine_backward, affine_forward
from cs231n.saved_model import SavedModel
from cs231n.validation import (
    as_examples,
    require_choice,
    require_float_dtype,
    require_integer,
    require_keep_probability,
    require_num_features,
    require_number,
    require_seed,
    require_sizes,
)

NORMALIZATIONS = {
    "batchnorm": (model_layers.batchnorm_forward, model_layers.batchnorm_backward_alt),
    "layernorm": (model_layers.layernorm_forward, model_layers.layernorm_backward),
}

__all__ = ["FullyConnectedNet", "TwoLayerNet", *layers.__all__, *layer_utils.__all__]


class TwoLayerNet(SavedModel):
    """affine - ReLU - affine - softmax, in float64.

    - input_dim: features per example; hidden_dim: hidden units; num_classes: C
    - weight_scale: standard deviation of the initial weights; biases start at zero
    - reg: strength of the L2 penalty on the weights

    params: W1 (input_dim, hidden_dim), b1, W2 (hidden_dim, num_classes), b2.
    """

    def __init__(self, input_dim=3 * 32 * 32, hidden_dim=100, num_classes=10, weight_scale=1e-3, reg=0.0):
        self.input_dim = require_num_features("input_dim", input_dim)
        self.dtype = np.dtype(np.float64)
        self.reg = require_number("reg", reg, 0, math.inf, closed="left")
        self.params = self._initial_params(
            self.input_dim,
            require_integer("hidden_dim", hidden_dim, 1),
            require_integer("num_classes", num_classes, 1),
            require_number("weight_scale", weight_scale, 0, math.inf, closed="left"),
        )

    def _initial_params(self, input_dim, hidden_dim, num_classes, weight_scale):
        """Return W1, b1, W2 and b2 as the class describes them, under these names."""
        return {
            "W1": weight_scale * np.random.randn(input_dim, hidden_dim),
            "b1": np.zeros(hidden_dim),
            "W2": weight_scale * np.random.randn(hidden_dim, num_classes),
            "b2": np.zeros(num_classes),
        }

    def __setstate__(self, state):
        """Restore a pickled model, also one of the course's own class, which had only `params` and `reg`."""
        of_course = {"input_dim": len(state["params"]["W1"]), "dtype": np.dtype(np.float64)}
        self.__dict__.update(of_course | state)

    def loss(self, X, y=None):
        """Return the scores (N, C) of X (N, d1, ..., dk), or with labels y (N,) loss and gradients.

        `as_examples` brings X to the model's dtype, and refuses what does not fit its input_dim.
        """
        X = as_examples(X, self.input_dim, self.dtype)
        W1, b1, W2, b2 = (self.params[name] for name in ("W1", "b1", "W2", "b2"))
        hidden, hidden_cache = affine_relu_forward(X, W1, b1)
        scores, scores_cache = affine_forward(hidden, W2, b2)
        if y is None:
            return scores

        loss, dscores = model_layers.softmax_loss(scores, y)
        dhidden, dW2, db2 = affine_backward(dscores, scores_cache)
        _, dW1, db1 = affine_relu_backward(dhidden, hidden_cache, need_dx=False)
        grads = {"W1": dW1, "b1": db1, "W2": dW2, "b2": db2}
        return add_l2_penalty(loss, grads, self.params, self.reg), grads


class FullyConnectedNet(SavedModel):
    """{affine - [batch or layer normalization] - ReLU - [dropout]} x (L - 1) - affine - softmax.

    - hidden_dims: the units of each hidden layer, L - 1 integers
    - input_dim: features per example; num_classes: C
    - dropout: the probability to KEEP a hidden unit, in (0, 1]; 1 means no dropout.
      `dropout_keep_ratio` is the same argument under the name of the course's later notebooks
    - normalization: 'batchnorm', 'layernorm' or None; it took the place of the course's `use_batchnorm`
    - reg: strength of the L2 penalty on the weights
    - weight_scale: standard deviation of the initial weights; biases and betas start at 0, gammas at 1
    - dtype: what the model computes in, np.float32 or np.float64
    - seed: makes every forward pass draw the same dropout masks, as a gradient check needs; for
      training leave it None

    params: W1, b1 to WL, bL and, with normalization, gamma1, beta1 to gamma(L-1), beta(L-1).
    bn_params: one dictionary of settings and running averages per normalized layer.

    >>> np.random.seed(0)
    >>> model = FullyConnectedNet([20, 10], input_dim=6, num_classes=3, normalization="batchnorm")
    >>> loss, grads = model.loss(np.random.randn(4, 6), np.array([0, 2, 1, 1]))
    >>> print(f"{loss:.1f}", grads["gamma2"].shape)
    1.1 (10,)
    """

    def __init__(
        self,
        hidden_dims,
        input_dim=3 * 32 * 32,
        num_classes=10,
        dropout=1,
        normalization=None,
        reg=0.0,
        weight_scale=1e-2,
        dtype=np.float32,
        seed=None,
        dropout_keep_ratio=None,
        use_batchnorm=None,
    ):
        _require_normalization(normalization, use_batchnorm)
        keep = _keep_probability(dropout, dropout_keep_ratio)
        require_seed("seed", seed)
        hidden_dims = require_sizes("hidden_dims", hidden_dims)
        num_classes = require_integer("num_classes", num_classes, 1)
        self.input_dim = require_num_features("input_dim", input_dim)
        self.normalization = normalization
        self.reg = require_number("reg", reg, 0, math.inf, closed="left")
        self.dtype = require_float_dtype("dtype", dtype)
        self.num_layers = len(hidden_dims) + 1
        self.dropout_param = None if keep == 1 else {"mode": "train", "p": keep, "seed": seed}
        self.bn_params = [{} for _ in hidden_dims] if normalization else []
        self.params = self._initial_params(
            [self.input_dim, *hidden_dims, num_classes],
            require_number("weight_scale", weight_scale, 0, math.inf, closed="left"),
        )

    def _initial_params(self, dims, weight_scale):
        """Return the parameters that the class describes, by name, in the model's dtype.

        - dims: the sizes of the input, of every hidden layer and of the output: input_dim, ..., C
        """
        params = {}
        for i, (fan_in, fan_out) in enumerate(pairwise(dims), start=1):
            params[f"W{i}"] = weight_scale * np.random.randn(fan_in, fan_out)
            params[f"b{i}"] = np.zeros(fan_out)
            if self.normalization and i < self.num_layers:
                params[f"gamma{i}"] = np.ones(fan_out)
                params[f"beta{i}"] = np.zeros(fan_out)
        return {name: param.astype(self.dtype) for name, param in params.items()}

    def __setstate__(self, state):
        """Restore a pickled model, also one of the course's own class, whose attributes differ."""
        self.__dict__.update(state)
        if "use_dropout" not in state:
            return
        self.input_dim = len(self.params["W1"])
        self.dropout_param = state["dropout_param"] or None  # {} stood for no dropout
        if "use_batchnorm" in state:  # 2016 and 2017; p was then the probability to drop a unit
            self.normalization = "batchnorm" if state["use_batchnorm"] else None
            if self.dropout_param:
                self.dropout_param = {**self.dropout_param, "p": 1 - self.dropout_param["p"]}

    def loss(self, X, y=None):
        """Return the scores (N, C) of X (N, d1, ..., dk), or with labels y (N,) loss and gradients.

        Batch normalization and dropout are in training mode when labels are given, else in test mode.
        `as_examples` brings X to the model's dtype, and refuses what does not fit its input_dim.
        """
        self._set_mode("test" if y is None else "train")
        out = as_examples(X, self.input_dim, self.dtype)
        caches = []
        for i in range(1, self.num_layers):
            out, cache = chain_forward(out, *self._hidden_layer(i))
            caches.append(cache)
        L = self.num_layers
        scores, scores_cache = affine_forward(out, self.params[f"W{L}"], self.params[f"b{L}"])
        if y is None:
            return scores

        loss, dscores = model_layers.softmax_loss(scores, y)
        grads = {}
        dout, grads[f"W{L}"], grads[f"b{L}"] = affine_backward(dscores, scores_cache)
        for i in reversed(range(1, L)):
            dout, *param_grads = chain_backward(dout, caches.pop(), need_dx=i > 1)
            grads.update(zip(self._param_names(i), param_grads, strict=True))
        return add_l2_penalty(loss, grads, self.params, self.reg), grads

    def _set_mode(self, mode):
        for bn_param in self.bn_params:
            bn_param["mode"] = mode
        if self.dropout_param is not None:
            self.dropout_param["mode"] = mode
        if mode == "test" and self.normalization == "batchnorm":
            warn_of_lost_averages(self.params, self.bn_params, stacklevel=3)

    def _hidden_layer(self, i):
        """Return hidden layer i, counted from 1, as a chain of layers."""
        chain = [(affine_forward, affine_backward, self.params[f"W{i}"], self.params[f"b{i}"])]
        if self.normalization:
            gamma, beta = self.params[f"gamma{i}"], self.params[f"beta{i}"]
            chain.append((*NORMALIZATIONS[self.normalization], gamma, beta, self.bn_params[i - 1]))
        chain.append((model_layers.relu_forward, model_layers.relu_backward))
        if self.dropout_param is not None:
            chain.append((model_layers.dropout_forward, model_layers.dropout_backward, self.dropout_param))
        return chain

    def _param_names(self, i):
        """Return the names of hidden layer i's parameters, in the order of its gradients."""
        names = ("W", "b", "gamma", "beta") if self.normalization else ("W", "b")
        return [f"{name}{i}" for name in names]


def _require_normalization(normalization, use_batchnorm):
    """Raise ValueError for an unknown normalization, or for the argument that it took the place of."""
    if use_batchnorm is not None:
        now = "batchnorm" if use_batchnorm else None
        raise ValueError(
            f"use_batchnorm is gone: use_batchnorm={use_batchnorm!r} is now normalization={now!r}"
        )
    require_choice("normalization", normalization, (None, *NORMALIZATIONS))


def _keep_probability(dropout, dropout_keep_ratio):
    """Return the probability to keep a unit, which has two names."""
    if dropout_keep_ratio is None:
        return require_keep_probability("dropout, the probability to keep a unit,", dropout)
    if dropout != 1:
        raise ValueError(
            f"dropout={dropout!r} and dropout_keep_ratio={dropout_keep_ratio!r} are two names of one "
            "argument; give one of them"
        )
    return require_keep_probability("dropout_keep_ratio", dropout_keep_ratio)
