"""Gradient mistakes that learners of CS231n, assignment 2, really make, each with what a teaching assistant would say.

`CASES` lists them. `case.make()` returns fresh objects every time:

- a layer or a loss: dict(kind="layer", forward, backward, inputs, settings). `forward(*inputs.values())`
  returns (out, cache), `backward(dout, cache)` a gradient, or a tuple of them in the order of the inputs.
  The gradient of the input `x` is called `dx`. A loss's `out` is a number, its cache the gradient.
- a network: dict(kind="model", model, X, y). `model.loss(X, y)` returns (loss, grads), and a gradient has
  the name of its parameter.

`case.wrong` names the gradients that are wrong; all others are right. Where the mistake is in forward,
backward belongs to the right forward.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from cs231n.classifiers.cnn import ThreeLayerConvNet
from cs231n.classifiers.fc_net import FullyConnectedNet, TwoLayerNet
from cs231n.fast_layers import (
    conv_backward_fast,
    conv_forward_fast,
    max_pool_backward_fast,
    max_pool_forward_fast,
)
from cs231n.layer_utils import (
    affine_relu_backward,
    affine_relu_forward,
    conv_relu_pool_backward,
    conv_relu_pool_forward,
)
from cs231n.layers import (
    affine_backward,
    affine_forward,
    batchnorm_backward,
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
)


@dataclass(frozen=True)
class Case:
    """A mistake: how to make an example of it, which gradients it spoils, and what it is in words."""

    id: str
    family: str
    make: Callable[[], dict]
    wrong: list[str]
    what: str
    also_fine: list[str] = field(default_factory=list)


CASES: list[Case] = []


def mistake(family, wrong, what, *also_fine):
    """Add the decorated `make` to CASES, under its own name; `wrong` is a string of names."""

    def add(make):
        CASES.append(Case(make.__name__, family, make, wrong.split(), what, list(also_fine)))
        return make

    return add


def layer(forward, backward, inputs, **settings):
    return {"kind": "layer", "forward": forward, "backward": backward, "inputs": inputs, "settings": settings}


def normal(seed, **shapes):
    """Return normally distributed float64 arrays of the given shapes, by name."""
    rng = np.random.RandomState(seed)
    return {name: rng.randn(*shape) for name, shape in shapes.items()}


# ---------------------------------------------------------------- affine


def affine_with_cache(x, w, b):
    """The right forward pass, with the course's cache."""
    out = x.reshape(x.shape[0], -1).dot(w) + b
    return out, (x, w, b)


@mistake(
    "affine",
    "dx",
    "dx multiplies dout by w, where it has to multiply by w transposed.",
    "the transpose of w is missing in dx",
    "dx is dout w instead of dout w^T",
)
def affine_dx_no_transpose():
    def backward(dout, cache):
        x, w, b = cache
        dx = np.dot(dout, w).reshape(x.shape)
        dw = np.dot(x.T, dout)
        db = np.sum(dout, axis=0)
        return dx, dw, db

    return layer(affine_with_cache, backward, normal(1, x=(3, 4), w=(4, 4), b=(4,)))


@mistake(
    "affine",
    "dw",
    "dw is transposed: it is dout^T x instead of x^T dout.",
    "dw is the transpose of the right gradient",
    "rows and columns of dw are swapped",
)
def affine_dw_transposed():
    def backward(dout, cache):
        x, w, b = cache
        dx = dout.dot(w.T).reshape(x.shape)
        dw = dout.T.dot(x)
        db = dout.sum(axis=0)
        return dx, dw, db

    return layer(affine_with_cache, backward, normal(2, x=(6, 3), w=(3, 3), b=(3,)))


@mistake(
    "affine",
    "db",
    "db is the mean of dout over the batch instead of its sum.",
    "db is N times too small",
    "db is divided by the batch size",
)
def affine_db_mean():
    def backward(dout, cache):
        x, w, b = cache
        dx = dout.dot(w.T).reshape(x.shape)
        dw = x.reshape(x.shape[0], -1).T.dot(dout)
        db = np.mean(dout, axis=0)
        return dx, dw, db

    return layer(affine_with_cache, backward, normal(3, x=(5, 2, 3), w=(6, 4), b=(4,)))


@mistake(
    "affine",
    "db",
    "db sums dout over the units (axis 1) instead of over the batch (axis 0).",
    "db is summed over the wrong axis",
)
def affine_db_axis():
    def backward(dout, cache):
        x, w, b = cache
        dx = dout.dot(w.T).reshape(x.shape)
        dw = x.reshape(x.shape[0], -1).T.dot(dout)
        db = np.sum(dout, axis=1)
        return dx, dw, db

    return layer(affine_with_cache, backward, normal(4, x=(4, 7), w=(7, 4), b=(4,)))


@mistake(
    "affine",
    "db",
    "db adds up all of dout, over the units too, so that every bias gets the same total.",
    "the axis is missing in the sum for db",
    "db is summed over everything, not only the batch",
)
def affine_db_no_axis():
    def backward(dout, cache):
        x, w, b = cache
        db = np.zeros_like(b)
        dx = dout.dot(w.T).reshape(x.shape)
        dw = x.reshape(x.shape[0], -1).T.dot(dout)
        db += np.sum(dout)
        return dx, dw, db

    return layer(affine_with_cache, backward, normal(5, x=(3, 2, 2), w=(4, 5), b=(5,)))


@mistake(
    "affine",
    "dw db",
    "dw and db are divided by the batch size, though the loss already averages.",
    "dw and db are N times too small",
    "dw and db are averaged over the batch instead of summed",
)
def affine_params_averaged():
    def backward(dout, cache):
        x, w, b = cache
        N = x.shape[0]
        dx = dout.dot(w.T).reshape(x.shape)
        dw = x.reshape(N, -1).T.dot(dout) / N
        db = dout.sum(axis=0) / N
        return dx, dw, db

    return layer(affine_with_cache, backward, normal(6, x=(7, 3), w=(3, 2), b=(2,)))


@mistake(
    "affine",
    "dw",
    "dw flattens x the wrong way: it reshapes to (D, N), which mixes the examples, instead of "
    "reshaping to (N, D) and transposing.",
    "in dw, x is reshaped where it has to be transposed",
    "the elements of x are in the wrong order in dw",
)
def affine_dw_reshape_for_transpose():
    def backward(dout, cache):
        x, w, b = cache
        N = x.shape[0]
        D = w.shape[0]
        dx = dout.dot(w.T).reshape(x.shape)
        dw = x.reshape(D, N).dot(dout)
        db = dout.sum(axis=0)
        return dx, dw, db

    return layer(affine_with_cache, backward, normal(7, x=(3, 2, 4), w=(8, 2), b=(2,)))


@mistake(
    "affine",
    "dw",
    "the loop over the examples assigns dw instead of adding to it, so that only the last example counts.",
    "dw is the gradient of the last example alone",
    "dw is not summed over the batch",
)
def affine_dw_last_example():
    def backward(dout, cache):
        x, w, b = cache
        N = x.shape[0]
        rows = x.reshape(N, -1)
        dx = np.zeros_like(rows)
        dw = np.zeros_like(w)
        db = np.zeros_like(b)
        for n in range(N):
            dx[n] = w.dot(dout[n])
            dw = np.outer(rows[n], dout[n])
            db += dout[n]
        return dx.reshape(x.shape), dw, db

    return layer(affine_with_cache, backward, normal(8, x=(4, 3), w=(3, 5), b=(5,)))


@mistake(
    "affine",
    "dw",
    "dw is computed from the layer's output instead of its input: forward overwrote x before it put it in the cache.",
    "the cache holds out in place of x",
    "dw uses out where it needs x",
)
def affine_cache_holds_output():
    def forward(x, w, b):
        shape = x.shape
        x = x.reshape(shape[0], -1)
        x = x.dot(w) + b
        cache = (x, w, shape)
        return x, cache

    def backward(dout, cache):
        x, w, shape = cache
        dx = dout.dot(w.T).reshape(shape)
        dw = x.T.dot(dout)
        db = dout.sum(axis=0)
        return dx, dw, db

    return layer(forward, backward, normal(9, x=(5, 3), w=(3, 3), b=(3,)))


@mistake(
    "affine",
    "db",
    "forward forgets to add the bias.",
    "the output does not depend on b",
    "b has no effect in forward, so its true gradient is zero",
)
def affine_forward_no_bias():
    def forward(x, w, b):
        out = x.reshape(x.shape[0], -1).dot(w)
        return out, (x, w, b)

    def backward(dout, cache):
        x, w, b = cache
        dx = dout.dot(w.T).reshape(x.shape)
        dw = x.reshape(x.shape[0], -1).T.dot(dout)
        db = dout.sum(axis=0)
        return dx, dw, db

    return layer(forward, backward, normal(10, x=(2, 3, 2), w=(6, 3), b=(3,)))


@mistake(
    "affine",
    "dx",
    "dx is put back into the shape of x in column-major (Fortran) order, so that its elements are at the wrong places.",
    "the elements of dx are scrambled by the reshape",
    "dx has the right numbers in the wrong order",
)
def affine_dx_fortran_reshape():
    def backward(dout, cache):
        x, w, b = cache
        N = x.shape[0]
        dx = np.dot(w, dout.T).reshape(x.shape[::-1]).T  # (D, N) back to x
        dw = x.reshape(N, -1).T.dot(dout)
        db = dout.sum(axis=0)
        return dx, dw, db

    return layer(affine_with_cache, backward, normal(11, x=(3, 2, 3), w=(6, 4), b=(4,)))


# ---------------------------------------------------------------- relu


def away_from_zero(seed, shape):
    """Return an array without numbers near 0, where the ReLU has its kink."""
    x = np.random.RandomState(seed).randn(*shape)
    return {"x": x + 0.1 * np.sign(x)}


def relu_with_cache(x):
    out = np.maximum(0, x)
    return out, x


@mistake(
    "relu",
    "dx",
    "the mask looks at the sign of dout instead of the sign of x.",
    "dx is dout where dout is positive, not where x is",
    "negative upstream gradients are set to zero",
)
def relu_mask_of_dout():
    def backward(dout, cache):
        x = cache
        dx = np.maximum(dout, 0)
        return dx

    return layer(relu_with_cache, backward, away_from_zero(12, (4, 5)))


@mistake(
    "relu",
    "dx",
    "dx is only the mask: it is not multiplied by the upstream gradient dout.",
    "dout is missing",
    "dx is the local derivative, 1 or 0, without the chain rule",
)
def relu_no_dout():
    def backward(dout, cache):
        x = cache
        dx = np.zeros_like(x)
        dx[x > 0] = 1
        return dx

    return layer(relu_with_cache, backward, away_from_zero(13, (3, 2, 4)))


@mistake(
    "relu",
    "dx",
    "the mask is the wrong way round: the gradient passes where x is negative.",
    "dx is zero where x is positive, and dout where it is negative",
    "the mask is inverted",
)
def relu_mask_inverted():
    def backward(dout, cache):
        x = cache
        dx = dout.copy()
        dx[x > 0] = 0
        return dx

    return layer(relu_with_cache, backward, away_from_zero(14, (5, 5)))


@mistake(
    "relu",
    "dx",
    "dout is multiplied by the ReLU's output instead of by 1 where the input is positive.",
    "dx is dout times max(x, 0)",
    "dx has a factor x too much",
)
def relu_times_output():
    def backward(dout, cache):
        x = cache
        dx = dout * np.maximum(0, x)
        return dx

    return layer(relu_with_cache, backward, away_from_zero(15, (6, 2)))


@mistake(
    "relu",
    "dx",
    "forward is a leaky ReLU, which lets 0.1 x through below zero, where backward is that of a plain ReLU.",
    "where x is negative, dx is zero but the output moves",
    "the slope for negative x is missing in backward",
)
def relu_forward_leaky():
    def forward(x):
        out = np.where(x > 0, x, 0.1 * x)
        return out, x

    def backward(dout, cache):
        x = cache
        return dout * (x > 0)

    return layer(forward, backward, away_from_zero(16, (2, 7)))


# ---------------------------------------------------------------- sandwiches


@mistake(
    "sandwich",
    "dx dw db",
    "backward undoes the layers in the wrong order: the affine layer first, then the ReLU.",
    "the ReLU's mask is applied to dx, after the affine layer, instead of to dout",
    "relu_backward has to come before affine_backward",
)
def sandwich_order():
    def forward(x, w, b):
        a, fc_cache = affine_forward(x, w, b)
        out, relu_cache = relu_forward(a)
        return out, (fc_cache, relu_cache)

    def backward(dout, cache):
        fc_cache, relu_cache = cache
        da, dw, db = affine_backward(dout, fc_cache)
        dx = relu_backward(da, relu_cache)
        return dx, dw, db

    return layer(forward, backward, normal(17, x=(3, 4), w=(4, 4), b=(4,)))


@mistake(
    "sandwich",
    "dx dw db",
    "backward skips the ReLU.",
    "the ReLU's mask is missing",
    "gradient also flows through units that the ReLU has switched off",
)
def sandwich_no_relu():
    def forward(x, w, b):
        a, fc_cache = affine_forward(x, w, b)
        out, relu_cache = relu_forward(a)
        return out, (fc_cache, relu_cache)

    def backward(dout, cache):
        fc_cache, relu_cache = cache
        dx, dw, db = affine_backward(dout, fc_cache)
        return dx, dw, db

    return layer(forward, backward, normal(18, x=(5, 2, 2), w=(4, 3), b=(3,)))


def affine_bn_relu_inputs(seed, N, D, M):
    inputs = normal(seed, x=(N, D), w=(D, M), b=(M,), gamma=(M,), beta=(M,))
    inputs["gamma"] = 1 + 0.3 * inputs["gamma"]
    return inputs


@mistake(
    "sandwich",
    "dx dw dgamma dbeta",
    "the ReLU's mask is taken from the affine layer's output instead of from its own "
    "input, the output of the batch normalization.",
    "relu_backward gets the wrong cache",
    "the mask looks at the numbers before the normalization",
)
def sandwich_bn_relu_mask_of_affine():
    def forward(x, w, b, gamma, beta):
        a, fc_cache = affine_forward(x, w, b)
        an, bn_cache = batchnorm_forward(a, gamma, beta, {"mode": "train"})
        out, relu_cache = relu_forward(an)
        return out, (fc_cache, bn_cache, a)

    def backward(dout, cache):
        fc_cache, bn_cache, relu_cache = cache
        dan = relu_backward(dout, relu_cache)
        da, dgamma, dbeta = batchnorm_backward(dan, bn_cache)
        dx, dw, db = affine_backward(da, fc_cache)
        return dx, dw, db, dgamma, dbeta

    return layer(forward, backward, affine_bn_relu_inputs(19, 5, 3, 4))


@mistake(
    "sandwich",
    "dx dw db",
    "backward skips the batch normalization on its way to the affine layer: affine_backward "
    "gets the gradient of the normalization's output, not of its input.",
    "the affine layer's gradients do not go through batchnorm_backward",
    "dan is passed on in place of da",
)
def sandwich_bn_result_unused():
    def forward(x, w, b, gamma, beta):
        a, fc_cache = affine_forward(x, w, b)
        an, bn_cache = batchnorm_forward(a, gamma, beta, {"mode": "train"})
        out, relu_cache = relu_forward(an)
        return out, (fc_cache, bn_cache, relu_cache)

    def backward(dout, cache):
        fc_cache, bn_cache, relu_cache = cache
        dan = relu_backward(dout, relu_cache)
        da, dgamma, dbeta = batchnorm_backward(dan, bn_cache)
        dx, dw, db = affine_backward(dan, fc_cache)
        return dx, dw, db, dgamma, dbeta

    return layer(forward, backward, affine_bn_relu_inputs(20, 6, 4, 3))


@mistake(
    "sandwich",
    "dx dw db",
    "backward skips the ReLU between the convolution and the pooling.",
    "the ReLU's mask is missing",
    "gradient also flows through outputs that the ReLU has set to zero",
)
def sandwich_conv_relu_pool_no_relu():
    pool_param = {"pool_height": 2, "pool_width": 2, "stride": 2}

    def forward(x, w, b):
        a, conv_cache = conv_forward_fast(x, w, b, {"stride": 1, "pad": 1})
        s, relu_cache = relu_forward(a)
        out, pool_cache = max_pool_forward_fast(s, pool_param)
        return out, (conv_cache, relu_cache, pool_cache)

    def backward(dout, cache):
        conv_cache, relu_cache, pool_cache = cache
        ds = max_pool_backward_fast(dout, pool_cache)
        dx, dw, db = conv_backward_fast(ds, conv_cache)
        return dx, dw, db

    inputs = normal(21, x=(2, 2, 4, 4), w=(3, 2, 3, 3), b=(3,))
    inputs["b"] -= 3.0
    return layer(forward, backward, inputs, stride=1, pad=1, pool_height=2, pool_width=2)


@mistake(
    "sandwich",
    "dx dw dgamma dbeta",
    "the gradient that came out of the ReLU is never used: the normalization's backward gets dout itself.",
    "the ReLU's mask is missing",
    "backward skips the ReLU",
)
def sandwich_conv_bn_relu_dout_reused():
    def forward(x, w, b, gamma, beta):
        a, conv_cache = conv_forward_fast(x, w, b, {"stride": 1, "pad": 1})
        an, bn_cache = spatial_batchnorm_forward(a, gamma, beta, {"mode": "train"})
        out, relu_cache = relu_forward(an)
        return out, (conv_cache, bn_cache, relu_cache)

    def backward(dout, cache):
        conv_cache, bn_cache, relu_cache = cache
        dan = relu_backward(dout, relu_cache)
        da, dgamma, dbeta = spatial_batchnorm_backward(dout, bn_cache)
        dx, dw, db = conv_backward_fast(da, conv_cache)
        return dx, dw, db, dgamma, dbeta

    inputs = normal(22, x=(2, 2, 3, 4), w=(2, 2, 3, 3), b=(2,), gamma=(2,), beta=(2,))
    return layer(forward, backward, inputs, stride=1, pad=1)


# ---------------------------------------------------------------- dropout


def inverted_dropout(p, seed):
    """Return the right forward pass in training; its cache is the mask, with numbers 0 and 1 / p."""

    def forward(x):
        mask = (np.random.RandomState(seed).rand(*x.shape) < p) / p
        return x * mask, mask

    return forward


@mistake(
    "dropout",
    "dx",
    "backward ignores the mask and passes dout on as it is.",
    "dropped units get a gradient, and kept ones lack the factor 1 / p",
    "dropout_backward is that of test mode",
)
def dropout_no_mask():
    def backward(dout, cache):
        dx = dout
        return dx

    return layer(inverted_dropout(0.6, 3), backward, normal(30, x=(4, 6)), p=0.6)


@mistake(
    "dropout",
    "dx",
    "backward draws a new random mask instead of using forward's.",
    "backward drops other units than forward",
    "the mask is not kept in the cache",
)
def dropout_new_mask():
    p = 0.5

    def forward(x):
        rng = np.random.RandomState(11)
        mask = (rng.rand(*x.shape) < p) / p
        return x * mask, rng

    def backward(dout, cache):
        rng = cache
        mask = (rng.rand(*dout.shape) < p) / p
        return dout * mask

    return layer(forward, backward, normal(31, x=(5, 5)), p=p)


@mistake(
    "dropout",
    "dx",
    "backward applies the mask but forgets to divide by p.",
    "dx is p times the right gradient",
    "the factor 1 / p of inverted dropout is missing in backward",
)
def dropout_no_scale():
    p = 0.4

    def forward(x):
        mask = np.random.RandomState(5).rand(*x.shape) < p
        return x * mask / p, mask

    def backward(dout, cache):
        mask = cache
        dx = dout * mask
        return dx

    return layer(forward, backward, normal(32, x=(3, 8)), p=p)


@mistake(
    "dropout",
    "dx",
    "backward divides by p twice: the mask already contains the division.",
    "dx is 1 / p times too large",
    "the scale 1 / p is applied once more in backward",
)
def dropout_scaled_twice():
    p = 0.7

    def backward(dout, cache):
        mask = cache
        dx = dout * mask / p
        return dx

    return layer(inverted_dropout(p, 6), backward, normal(33, x=(4, 3, 2)), p=p)


@mistake(
    "dropout",
    "dx",
    "the mask is inverted: backward passes the gradient to the dropped units and none to the kept ones.",
    "dx is zero where units are kept",
    "backward uses 1 - mask",
)
def dropout_mask_inverted():
    p = 0.6

    def forward(x):
        drop = np.random.RandomState(7).rand(*x.shape) >= p
        out = x / p
        out[drop] = 0
        return out, drop

    def backward(dout, cache):
        mask = cache
        dx = dout * mask / p
        return dx

    return layer(forward, backward, normal(34, x=(6, 4)), p=p)


@mistake(
    "dropout",
    "dx",
    "forward does not divide by p in training, where backward does.",
    "forward is plain dropout, backward that of inverted dropout",
    "dx is 1 / p times too large for this forward",
)
def dropout_forward_not_inverted():
    p = 0.3

    def forward(x):
        mask = np.random.RandomState(8).rand(*x.shape) < p
        return x * mask, mask

    def backward(dout, cache):
        mask = cache
        return dout * mask / p

    return layer(forward, backward, normal(35, x=(7, 3)), p=p)


@mistake(
    "dropout",
    "dx",
    "in test mode backward multiplies dout by p, though forward changes nothing there.",
    "dx is p times the right gradient",
    "the scaling at test time belongs to plain dropout, not to the inverted one",
)
def dropout_test_times_p():
    p = 0.8

    def forward(x):
        out = x
        return out, ("test", p)

    def backward(dout, cache):
        mode, p = cache
        if mode == "test":
            dx = dout * p
        return dx

    return layer(forward, backward, normal(36, x=(3, 5)), p=p, mode="test")


@mistake(
    "dropout",
    "dx",
    "backward applies the training mask in test mode too, where forward drops nothing.",
    "the test mode is not handled in backward",
    "in test mode dx has to be dout, but it is masked and scaled",
)
def dropout_test_masked():
    p = 0.5

    def forward(x):
        mask = (np.random.RandomState(9).rand(*x.shape) < p) / p
        mode = "test"
        out = x * mask if mode == "train" else x
        return out, mask

    def backward(dout, cache):
        mask = cache
        dx = dout * mask
        return dx

    return layer(forward, backward, normal(37, x=(4, 4)), p=p, mode="test")


@mistake(
    "dropout",
    "dx",
    "backward divides by 1 - p, the probability to drop a unit, instead of by p, the one to keep it.",
    "dx is p / (1 - p) times the right gradient",
    "p is mistaken for the probability to drop a unit in backward",
)
def dropout_scale_of_drop_probability():
    p = 0.75

    def forward(x):
        mask = np.random.RandomState(10).rand(*x.shape) < p
        return x * mask / p, mask

    def backward(dout, cache):
        mask = cache
        dx = dout * mask / (1 - p)
        return dx

    return layer(forward, backward, normal(38, x=(5, 6)), p=p)


@mistake(
    "dropout",
    "dx",
    "dout is multiplied by the output instead of by the mask: forward put the wrong array in the cache.",
    "dx has a factor x too much",
    "the cache holds out in place of the mask",
)
def dropout_times_output():
    p = 0.6

    def forward(x):
        mask = (np.random.RandomState(12).rand(*x.shape) < p) / p
        out = x * mask
        return out, out

    def backward(dout, cache):
        dx = dout * cache
        return dx

    return layer(forward, backward, normal(39, x=(2, 9)), p=p)


@mistake(
    "dropout",
    "dx",
    "backward multiplies by p where it has to divide by it.",
    "dx is p squared times the right gradient",
    "the scale is upside down in backward",
)
def dropout_scale_upside_down():
    p = 0.5

    def forward(x):
        mask = np.random.RandomState(13).rand(*x.shape) < p
        return x * mask / p, mask

    def backward(dout, cache):
        mask = cache
        dx = dout * mask * p
        return dx

    return layer(forward, backward, normal(40, x=(2, 3, 3)), p=p)


# ---------------------------------------------------------------- softmax loss


def loss(function, seed, N, C, scale=1.0):
    """Return a loss as a layer: its cache is the gradient that the learner's function computed."""
    rng = np.random.RandomState(seed)
    x, y = scale * rng.randn(N, C), rng.randint(C, size=N)

    def forward(x):
        return function(x, y)

    def backward(dout, dx):
        return dout * dx

    return layer(forward, backward, {"x": x}, y=y)


def softmax_of(x):
    """Return the right loss and the probabilities."""
    exp_scores = np.exp(x - np.max(x, axis=1, keepdims=True))
    probs = exp_scores / np.sum(exp_scores, axis=1, keepdims=True)
    return probs


@mistake(
    "softmax",
    "dx",
    "the gradient is not divided by the batch size, though the loss is an average.",
    "dx is N times too large",
)
def softmax_no_average():
    def softmax(x, y):
        N = x.shape[0]
        probs = softmax_of(x)
        loss = -np.sum(np.log(probs[np.arange(N), y])) / N
        dx = probs.copy()
        dx[np.arange(N), y] -= 1
        return loss, dx

    return loss(softmax, 50, 6, 4)


@mistake(
    "softmax",
    "dx",
    "the gradient is divided by the number of classes instead of the number of examples.",
    "dx is N / C times the right gradient",
    "dx is averaged over the wrong axis",
)
def softmax_divided_by_classes():
    def softmax(x, y):
        N, C = x.shape
        probs = softmax_of(x)
        loss = -np.sum(np.log(probs[np.arange(N), y])) / N
        dx = probs.copy()
        dx[np.arange(N), y] -= 1
        dx /= C
        return loss, dx

    return loss(softmax, 51, 3, 7)


@mistake(
    "softmax",
    "dx",
    "the 1 is not subtracted at the correct class: dx is only the probabilities over N.",
    "the gradient at the correct class is wrong by 1 / N",
    "dx is p / N instead of (p - onehot) / N",
)
def softmax_no_minus_one():
    def softmax(x, y):
        N = x.shape[0]
        probs = softmax_of(x)
        loss = -np.sum(np.log(probs[np.arange(N), y])) / N
        dx = probs / N
        return loss, dx

    return loss(softmax, 52, 5, 5)


@mistake(
    "softmax",
    "dx",
    "dx[:, y] subtracts 1 in the columns of all labels in every row; dx[np.arange(N), y] picks each row's own.",
    "the 1 is subtracted at the other examples' classes too",
    "the index of the correct classes is wrong",
)
def softmax_colon_y():
    def softmax(x, y):
        N = x.shape[0]
        probs = softmax_of(x)
        loss = -np.sum(np.log(probs[np.arange(N), y])) / N
        dx = probs.copy()
        dx[:, y] -= 1
        dx /= N
        return loss, dx

    return loss(softmax, 53, 4, 6)


@mistake(
    "softmax",
    "dx",
    "the sign is wrong: the gradient points towards a smaller loss.",
    "dx is -1 times the right gradient",
    "dx is (onehot - p) / N instead of (p - onehot) / N",
)
def softmax_sign():
    def softmax(x, y):
        N = x.shape[0]
        probs = softmax_of(x)
        loss = -np.mean(np.log(probs[np.arange(N), y]))
        dx = -probs
        dx[np.arange(N), y] += 1
        dx /= N
        return loss, dx

    return loss(softmax, 54, 5, 3)


@mistake(
    "softmax",
    "dx",
    "the probabilities are divided by N before the 1 is subtracted, so that the 1 is not divided.",
    "at the correct class 1 is subtracted instead of 1 / N",
    "the correct class's entry is not averaged",
)
def softmax_one_not_averaged():
    def softmax(x, y):
        N = x.shape[0]
        probs = softmax_of(x)
        loss = -np.sum(np.log(probs[np.arange(N), y])) / N
        dx = probs / N
        dx[np.arange(N), y] -= 1
        return loss, dx

    return loss(softmax, 55, 4, 4)


@mistake(
    "softmax",
    "dx",
    "the derivative of the logarithm is missing: dx is the gradient of minus the correct class's "
    "probability, not of minus its log.",
    "every row lacks the factor 1 / p of its correct class",
    "each row is multiplied by the probability of its label",
)
def softmax_no_log_derivative():
    def softmax(x, y):
        N = x.shape[0]
        probs = softmax_of(x)
        correct = probs[np.arange(N), y]
        loss = -np.sum(np.log(correct)) / N
        dx = correct[:, np.newaxis] * probs
        dx[np.arange(N), y] -= correct
        dx /= N
        return loss, dx

    return loss(softmax, 56, 6, 3)


@mistake(
    "softmax",
    "dx",
    "for the gradient the exponentials are normalized over the batch (axis 0) instead of over the classes (axis 1).",
    "the probabilities in dx are normalized over the wrong axis",
    "the columns of the probabilities sum to 1, not the rows",
)
def softmax_axis():
    def softmax(x, y):
        N = x.shape[0]
        shifted = x - np.max(x, axis=1, keepdims=True)
        loss = np.mean(np.log(np.sum(np.exp(shifted), axis=1)) - shifted[np.arange(N), y])
        dx = np.exp(shifted) / np.sum(np.exp(shifted), axis=0)
        dx[np.arange(N), y] -= 1
        dx /= N
        return loss, dx

    return loss(softmax, 57, 4, 4)


@mistake(
    "softmax",
    "dx",
    "the loss is the sum over the batch, where the gradient is that of the average.",
    "dx is N times too small for this loss",
    "the division by N is missing in the loss",
)
def softmax_loss_not_averaged():
    def softmax(x, y):
        N = x.shape[0]
        probs = softmax_of(x)
        loss = -np.sum(np.log(probs[np.arange(N), y]))
        dx = probs.copy()
        dx[np.arange(N), y] -= 1
        dx /= N
        return loss, dx

    return loss(softmax, 58, 7, 4)


@mistake(
    "softmax",
    "dx",
    "dx uses the exponentials without dividing them by their sum.",
    "the probabilities are not normalized in the gradient",
    "exp of the scores stands in place of the softmax",
)
def softmax_unnormalized():
    def softmax(x, y):
        N = x.shape[0]
        exp_scores = np.exp(x - x.max(axis=1, keepdims=True))
        probs = exp_scores / exp_scores.sum(axis=1, keepdims=True)
        loss = -np.sum(np.log(probs[np.arange(N), y])) / N
        dx = exp_scores.copy()
        dx[np.arange(N), y] -= 1
        dx /= N
        return loss, dx

    return loss(softmax, 59, 3, 5)


@mistake(
    "softmax",
    "dx",
    "only the correct class gets a gradient; the other classes' probabilities are left out.",
    "dx is zero at all wrong classes",
    "raising a wrong class's score also raises the loss, which dx does not say",
)
def softmax_only_correct():
    def softmax(x, y):
        N = x.shape[0]
        probs = softmax_of(x)
        loss = -np.sum(np.log(probs[np.arange(N), y])) / N
        dx = np.zeros_like(x)
        dx[np.arange(N), y] = (probs[np.arange(N), y] - 1) / N
        return loss, dx

    return loss(softmax, 60, 5, 4)


@mistake(
    "softmax",
    "dx",
    "the loop skips the correct class, which therefore gets no gradient.",
    "dx is zero at the correct class, where it has to be (p - 1) / N",
    "the correct class is left out",
)
def softmax_skips_correct():
    def softmax(x, y):
        N, C = x.shape
        dx = np.zeros_like(x)
        loss = 0.0
        for i in range(N):
            scores = x[i] - np.max(x[i])
            total = np.sum(np.exp(scores))
            loss += -scores[y[i]] + np.log(total)
            for j in range(C):
                if j == y[i]:
                    continue
                dx[i, j] += np.exp(scores[j]) / total
        return loss / N, dx / N

    return loss(softmax, 61, 4, 3)


@mistake(
    "softmax",
    "dx",
    "the loss takes the mean over all N x C entries instead of dividing by N, where dx divides by N.",
    "dx is C times too large for this loss",
    "the loss is C times too small",
)
def softmax_loss_mean_of_all():
    def softmax(x, y):
        N, C = x.shape
        probs = softmax_of(x)
        onehot = np.eye(C)[y]
        loss = -np.mean(onehot * np.log(probs))
        dx = (probs - onehot) / N
        return loss, dx

    return loss(softmax, 62, 4, 5)


# ---------------------------------------------------------------- svm loss


def hinge_of(x, y):
    """Return the right loss and margins, zero at the correct class."""
    N = x.shape[0]
    correct = x[np.arange(N), y]
    margins = np.maximum(0, x - correct[:, np.newaxis] + 1.0)
    margins[np.arange(N), y] = 0
    return np.sum(margins) / N, margins


@mistake(
    "svm",
    "dx",
    "the correct class gets -1 once, instead of -1 for every class that violates the margin.",
    "the correct class's entry is not multiplied by the number of violated margins",
    "dx at the correct class is assigned in the loop instead of added up",
)
def svm_correct_counted_once():
    def svm(x, y):
        N, C = x.shape
        dx = np.zeros_like(x)
        loss = 0.0
        for i in range(N):
            for j in range(C):
                if j == y[i]:
                    continue
                margin = x[i, j] - x[i, y[i]] + 1
                if margin > 0:
                    loss += margin
                    dx[i, j] = 1
                    dx[i, y[i]] = -1
        return loss / N, dx / N

    return loss(svm, 70, 5, 4)


@mistake(
    "svm",
    "dx",
    "the correct class gets no gradient.",
    "dx is zero at the correct class, where it has to be minus the number of violated margins over N",
    "only the wrong classes get a gradient",
)
def svm_no_correct():
    def svm(x, y):
        N = x.shape[0]
        loss, margins = hinge_of(x, y)
        dx = np.zeros_like(x)
        dx[margins > 0] = 1
        dx /= N
        return loss, dx

    return loss(svm, 71, 4, 5)


@mistake("svm", "dx", "the gradient is not divided by the batch size.", "dx is N times too large")
def svm_no_average():
    def svm(x, y):
        N = x.shape[0]
        loss, margins = hinge_of(x, y)
        num_pos = np.sum(margins > 0, axis=1)
        dx = np.zeros_like(x)
        dx[margins > 0] = 1
        dx[np.arange(N), y] -= num_pos
        return loss, dx

    return loss(svm, 72, 6, 3)


@mistake(
    "svm",
    "dx",
    "the correct class counts as a violated margin of its own, since its margin of 1 is not set to zero "
    "before the violations are counted.",
    "the entry of the correct class is one violation, 1 / N, too negative",
    "the count of violations is one too large",
)
def svm_correct_counts_itself():
    def svm(x, y):
        N = x.shape[0]
        correct = x[np.arange(N), y]
        margins = np.maximum(0, x - correct[:, np.newaxis] + 1.0)
        loss = np.sum(margins) / N - 1
        dx = np.zeros_like(x)
        dx[margins > 0] = 1
        dx[np.arange(N), y] = -np.sum(margins > 0, axis=1)
        dx /= N
        return loss, dx

    return loss(svm, 73, 5, 5)


@mistake(
    "svm",
    "dx",
    "dx contains the margins themselves instead of 1 for each positive margin.",
    "the indicator of a violated margin is replaced by the margin's size",
    "dx is half the gradient of the squared hinge",
)
def svm_margins_for_indicator():
    def svm(x, y):
        N = x.shape[0]
        loss, margins = hinge_of(x, y)
        dx = margins.copy()
        dx[np.arange(N), y] = -np.sum(margins, axis=1)
        dx /= N
        return loss, dx

    return loss(svm, 74, 4, 6)


@mistake(
    "svm",
    "dx",
    "the margin of 1 is missing in the gradient: it only counts classes that score higher than the correct "
    "one, not those within the margin.",
    "delta is forgotten in backward",
    "classes that are below the correct score by less than 1 get no gradient",
)
def svm_no_delta():
    def svm(x, y):
        N = x.shape[0]
        loss, margins = hinge_of(x, y)
        correct = x[np.arange(N), y][:, np.newaxis]
        dx = (x - correct > 0).astype(float)
        dx[np.arange(N), y] = -dx.sum(axis=1)
        dx /= N
        return loss, dx

    return loss(svm, 75, 6, 4)


@mistake(
    "svm",
    "dx",
    "the gradient is divided by the number of all scores, N times C, instead of by N.",
    "dx is C times too small",
    "dx is averaged over the classes too",
)
def svm_divided_by_size():
    def svm(x, y):
        loss, margins = hinge_of(x, y)
        dx = (margins > 0).astype(float)
        dx[np.arange(len(y)), y] = -dx.sum(axis=1)
        dx /= x.size
        return loss, dx

    return loss(svm, 76, 3, 4)


@mistake(
    "svm",
    "dx",
    "the violations are counted per class (axis 0) instead of per example (axis 1).",
    "the count at the correct class is summed over the wrong axis",
)
def svm_count_axis():
    def svm(x, y):
        N = x.shape[0]
        loss, margins = hinge_of(x, y)
        mask = (margins > 0).astype(float)
        num_pos = np.sum(mask, axis=0)
        dx = mask
        dx[np.arange(N), y] -= num_pos
        dx /= N
        return loss, dx

    return loss(svm, 77, 5, 5)


@mistake(
    "svm",
    "dx",
    "the sign at the correct class is wrong: the violations are added there instead of subtracted.",
    "raising the correct score lowers the loss, but dx says the opposite",
    "the correct class's entry has to be negative",
)
def svm_correct_sign():
    def svm(x, y):
        N = x.shape[0]
        loss, margins = hinge_of(x, y)
        dx = (margins > 0).astype(float)
        dx[np.arange(N), y] = dx.sum(axis=1)
        dx /= N
        return loss, dx

    return loss(svm, 78, 4, 3)


@mistake(
    "svm",
    "dx",
    "the loss squares the margins, where the gradient is that of the plain hinge.",
    "the factor 2 times the margin is missing in dx",
    "the loss is the squared hinge loss",
)
def svm_loss_squared():
    def svm(x, y):
        N = x.shape[0]
        _, margins = hinge_of(x, y)
        loss = np.sum(margins**2) / N
        dx = (margins > 0).astype(float)
        dx[np.arange(N), y] = -dx.sum(axis=1)
        dx /= N
        return loss, dx

    return loss(svm, 79, 7, 3)


# ---------------------------------------------------------------- batch normalization


def bn_forward(eps=1e-5):
    """Return the right forward pass in training, step by step, with all intermediate results in the cache."""

    def forward(x, gamma, beta):
        N, D = x.shape
        mu = 1.0 / N * np.sum(x, axis=0)
        xmu = x - mu
        var = 1.0 / N * np.sum(xmu**2, axis=0)
        sqrtvar = np.sqrt(var + eps)
        ivar = 1.0 / sqrtvar
        xhat = xmu * ivar
        out = gamma * xhat + beta
        return out, (xhat, gamma, xmu, ivar, sqrtvar, var, eps)

    return forward


def bn_inputs(seed, N, D, scale=2.0):
    inputs = normal(seed, x=(N, D), gamma=(D,), beta=(D,))
    inputs["x"] = scale * inputs["x"] + 0.5
    inputs["gamma"] += 1.5
    return inputs


@mistake(
    "batchnorm",
    "dx",
    "the mean is treated as a constant: the gradient that flows to x through the mean is missing.",
    "the last step, dmu / N, is left out",
    "dx does not sum to zero over the batch",
)
def bn_no_mean_path():
    def backward(dout, cache):
        xhat, gamma, xmu, ivar, sqrtvar, var, eps = cache
        N, D = dout.shape
        dbeta = np.sum(dout, axis=0)
        dgamma = np.sum(dout * xhat, axis=0)
        dxhat = dout * gamma
        divar = np.sum(dxhat * xmu, axis=0)
        dxmu1 = dxhat * ivar
        dsqrtvar = -1.0 / (sqrtvar**2) * divar
        dvar = 0.5 / np.sqrt(var + eps) * dsqrtvar
        dsq = 1.0 / N * np.ones((N, D)) * dvar
        dxmu2 = 2 * xmu * dsq
        dx = dxmu1 + dxmu2
        return dx, dgamma, dbeta

    return layer(bn_forward(), backward, bn_inputs(100, 5, 4))


@mistake(
    "batchnorm",
    "dx",
    "the variance is treated as a constant: the gradient that flows to x through the variance is missing.",
    "the path through the standard deviation is left out",
    "the term with xhat * sum(dxhat * xhat) is missing",
)
def bn_no_var_path():
    def backward(dout, cache):
        xhat, gamma, xmu, ivar, sqrtvar, var, eps = cache
        N, D = dout.shape
        dbeta = np.sum(dout, axis=0)
        dgamma = np.sum(dout * xhat, axis=0)
        dxhat = dout * gamma
        dxmu = dxhat * ivar
        dmu = -np.sum(dxmu, axis=0)
        dx = dxmu + dmu / N
        return dx, dgamma, dbeta

    return layer(bn_forward(), backward, bn_inputs(101, 4, 6))


@mistake(
    "batchnorm",
    "dx",
    "mean and variance are both treated as constants: dx is only dout * gamma / std.",
    "backward is that of test mode, though forward used the batch's statistics",
    "the paths through the mean and the variance are missing",
)
def bn_constants():
    def backward(dout, cache):
        xhat, gamma, xmu, ivar, sqrtvar, var, eps = cache
        dbeta = np.sum(dout, axis=0)
        dgamma = np.sum(dout * xhat, axis=0)
        dx = dout * gamma / np.sqrt(var + eps)
        return dx, dgamma, dbeta

    return layer(bn_forward(), backward, bn_inputs(102, 6, 3))


@mistake(
    "batchnorm",
    "dx",
    "the derivative of 1 / sqrtvar is -1 / sqrtvar squared; the square is missing.",
    "the path through the variance has the wrong power of the standard deviation",
    "the variance's share of dx is too large by a factor of the standard deviation",
)
def bn_inverse_not_squared():
    def backward(dout, cache):
        xhat, gamma, xmu, ivar, sqrtvar, var, eps = cache
        N, D = dout.shape
        dbeta = np.sum(dout, axis=0)
        dgamma = np.sum(dout * xhat, axis=0)
        dxhat = dout * gamma
        divar = np.sum(dxhat * xmu, axis=0)
        dxmu1 = dxhat * ivar
        dsqrtvar = -1.0 / sqrtvar * divar
        dvar = 0.5 * 1.0 / np.sqrt(var + eps) * dsqrtvar
        dsq = 1.0 / N * np.ones((N, D)) * dvar
        dxmu2 = 2 * xmu * dsq
        dx1 = dxmu1 + dxmu2
        dmu = -1 * np.sum(dxmu1 + dxmu2, axis=0)
        dx2 = 1.0 / N * np.ones((N, D)) * dmu
        dx = dx1 + dx2
        return dx, dgamma, dbeta

    return layer(bn_forward(), backward, bn_inputs(103, 5, 3, scale=3.0))


@mistake(
    "batchnorm",
    "dx",
    "the minus sign is missing in the derivative of 1 / sqrt(var): the variance's share of dx is added "
    "instead of subtracted.",
    "dvar has the wrong sign",
    "the term with xhat * sum(dxhat * xhat) has the wrong sign",
)
def bn_dvar_sign():
    def backward(dout, cache):
        xhat, gamma, xmu, ivar, sqrtvar, var, eps = cache
        N = dout.shape[0]
        dbeta = np.sum(dout, axis=0)
        dgamma = np.sum(dout * xhat, axis=0)
        dxhat = dout * gamma
        dvar = np.sum(dxhat * xmu * 0.5 * (var + eps) ** (-1.5), axis=0)
        dmean = np.sum(-dxhat * ivar, axis=0) + dvar * np.sum(-2 * xmu, axis=0) / N
        dx = dxhat * ivar + dvar * 2 * xmu / N + dmean / N
        return dx, dgamma, dbeta

    return layer(bn_forward(), backward, bn_inputs(104, 4, 5))


@mistake(
    "batchnorm",
    "dx",
    "the factor 2 is missing in the derivative of the square.",
    "the variance's share of dx is half as large as it has to be",
    "dxmu2 is xmu * dsq instead of 2 * xmu * dsq",
)
def bn_no_factor_two():
    def backward(dout, cache):
        xhat, gamma, xmu, ivar, sqrtvar, var, eps = cache
        N, D = dout.shape
        dbeta = np.sum(dout, axis=0)
        dgamma = np.sum(dout * xhat, axis=0)
        dxhat = dout * gamma
        divar = np.sum(dxhat * xmu, axis=0)
        dxmu1 = dxhat * ivar
        dsqrtvar = -1.0 / (sqrtvar**2) * divar
        dvar = 0.5 * 1.0 / np.sqrt(var + eps) * dsqrtvar
        dsq = 1.0 / N * np.ones((N, D)) * dvar
        dxmu2 = xmu * dsq
        dx1 = dxmu1 + dxmu2
        dmu = -1 * np.sum(dxmu1 + dxmu2, axis=0)
        dx2 = 1.0 / N * np.ones((N, D)) * dmu
        return dx1 + dx2, dgamma, dbeta

    return layer(bn_forward(), backward, bn_inputs(105, 4, 4))


@mistake(
    "batchnorm",
    "dx",
    "the 1 / N of the variance is missing: dvar is not spread over the batch.",
    "the variance's share of dx is N times too large",
    "the mean in the variance is treated as a sum",
)
def bn_dvar_not_averaged():
    def backward(dout, cache):
        xhat, gamma, xmu, ivar, sqrtvar, var, eps = cache
        N, D = dout.shape
        dbeta = np.sum(dout, axis=0)
        dgamma = np.sum(dout * xhat, axis=0)
        dxhat = dout * gamma
        divar = np.sum(dxhat * xmu, axis=0)
        dxmu1 = dxhat * ivar
        dsqrtvar = -1.0 / (sqrtvar**2) * divar
        dvar = 0.5 * 1.0 / np.sqrt(var + eps) * dsqrtvar
        dsq = np.ones((N, D)) * dvar
        dxmu2 = 2 * xmu * dsq
        dx1 = dxmu1 + dxmu2
        dmu = -1 * np.sum(dxmu1 + dxmu2, axis=0)
        dx2 = 1.0 / N * np.ones((N, D)) * dmu
        return dx1 + dx2, dgamma, dbeta

    return layer(bn_forward(), backward, bn_inputs(106, 7, 3))


@mistake(
    "batchnorm",
    "dx",
    "the 1 / N of the mean is missing: dmu is added to every row without dividing by the batch size.",
    "the mean's share of dx is N times too large",
    "the mean is treated as a sum in the last step",
)
def bn_dmu_not_averaged():
    def backward(dout, cache):
        xhat, gamma, xmu, ivar, sqrtvar, var, eps = cache
        N, D = dout.shape
        dbeta = np.sum(dout, axis=0)
        dgamma = np.sum(dout * xhat, axis=0)
        dxhat = dout * gamma
        divar = np.sum(dxhat * xmu, axis=0)
        dxmu1 = dxhat * ivar
        dvar = -0.5 * sqrtvar ** (-3) * divar
        dxmu2 = 2.0 / N * xmu * dvar
        dx1 = dxmu1 + dxmu2
        dmu = -np.sum(dx1, axis=0)
        dx2 = np.ones((N, D)) * dmu
        return dx1 + dx2, dgamma, dbeta

    return layer(bn_forward(), backward, bn_inputs(107, 3, 5))


@mistake(
    "batchnorm",
    "dx",
    "the sign of dmu is wrong: xmu is x minus mu, so that the mean's share has to be subtracted.",
    "the gradient through the mean has the wrong sign",
    "dmu / N is added to dx instead of subtracted",
)
def bn_dmu_sign():
    def backward(dout, cache):
        xhat, gamma, xmu, ivar, sqrtvar, var, eps = cache
        N = dout.shape[0]
        dbeta = np.sum(dout, axis=0)
        dgamma = np.sum(dout * xhat, axis=0)
        dxhat = dout * gamma
        dxmu = dxhat * ivar
        divar = np.sum(dxhat * xmu, axis=0)
        dvar = -0.5 * (var + eps) ** (-1.5) * divar
        dxmu += 2.0 / N * xmu * dvar
        dmu = np.sum(dxmu, axis=0)
        dx = dxmu + dmu / N
        return dx, dgamma, dbeta

    return layer(bn_forward(), backward, bn_inputs(108, 5, 5))


@mistake(
    "batchnorm",
    "dx",
    "gamma is missing in dx: the gradient of xhat is dout times gamma, not dout.",
    "dxhat is not multiplied by gamma",
    "each column of dx is to be multiplied by its gamma",
)
def bn_no_gamma():
    def backward(dout, cache):
        xhat, gamma, xmu, ivar, sqrtvar, var, eps = cache
        N = dout.shape[0]
        dbeta = np.sum(dout, axis=0)
        dgamma = np.sum(dout * xhat, axis=0)
        dxhat = dout
        dvar = np.sum(dxhat * xmu * -0.5 * (var + eps) ** (-1.5), axis=0)
        dmean = np.sum(-dxhat * ivar, axis=0) + dvar * np.mean(-2 * xmu, axis=0)
        dx = dxhat * ivar + dvar * 2 * xmu / N + dmean / N
        return dx, dgamma, dbeta

    return layer(bn_forward(), backward, bn_inputs(109, 4, 3))


@mistake(
    "batchnorm",
    "dgamma",
    "dgamma uses the centered x, which is not divided by the standard deviation, in place of xhat.",
    "each dgamma is multiplied by its feature's standard deviation",
    "dgamma needs the normalized x",
)
def bn_dgamma_of_centered():
    def backward(dout, cache):
        xhat, gamma, xmu, ivar, sqrtvar, var, eps = cache
        N = dout.shape[0]
        dbeta = np.sum(dout, axis=0)
        dgamma = np.sum(dout * xmu, axis=0)
        dxhat = dout * gamma
        dx = ivar / N * (N * dxhat - np.sum(dxhat, axis=0) - xhat * np.sum(dxhat * xhat, axis=0))
        return dx, dgamma, dbeta

    return layer(bn_forward(), backward, bn_inputs(110, 6, 4))


@mistake(
    "batchnorm",
    "dgamma",
    "dgamma is summed over the features (axis 1) instead of over the batch (axis 0).",
    "dgamma is summed over the wrong axis",
)
def bn_dgamma_axis():
    def backward(dout, cache):
        xhat, gamma, xmu, ivar, sqrtvar, var, eps = cache
        N = dout.shape[0]
        dbeta = np.sum(dout, axis=0)
        dgamma = np.sum(dout * xhat, axis=1)
        dxhat = dout * gamma
        dx = ivar / N * (N * dxhat - np.sum(dxhat, axis=0) - xhat * np.sum(dxhat * xhat, axis=0))
        return dx, dgamma, dbeta

    return layer(bn_forward(), backward, bn_inputs(111, 4, 4))


@mistake(
    "batchnorm",
    "dgamma dbeta",
    "dgamma and dbeta are averaged over the batch instead of summed.",
    "dgamma and dbeta are N times too small",
)
def bn_params_averaged():
    def backward(dout, cache):
        xhat, gamma, xmu, ivar, sqrtvar, var, eps = cache
        N = dout.shape[0]
        dbeta = np.mean(dout, axis=0)
        dgamma = np.mean(dout * xhat, axis=0)
        dxhat = dout * gamma
        dx = ivar / N * (N * dxhat - np.sum(dxhat, axis=0) - xhat * np.sum(dxhat * xhat, axis=0))
        return dx, dgamma, dbeta

    return layer(bn_forward(), backward, bn_inputs(112, 5, 3))


@mistake(
    "batchnorm",
    "dgamma",
    "dgamma is not multiplied by xhat: it is the sum of dout, the same as dbeta.",
    "xhat is missing in dgamma",
    "dgamma is a copy of dbeta",
)
def bn_dgamma_no_xhat():
    def backward(dout, cache):
        xhat, gamma, xmu, ivar, sqrtvar, var, eps = cache
        N = dout.shape[0]
        dbeta = np.sum(dout, axis=0)
        dgamma = np.sum(dout, axis=0)
        dxhat = dout * gamma
        dvar = np.sum(dxhat * xmu, axis=0) * -0.5 * ivar**3
        dmu = -np.sum(dxhat * ivar, axis=0)
        dx = dxhat * ivar + dvar * 2 * xmu / N + dmu / N
        return dx, dgamma, dbeta

    return layer(bn_forward(), backward, bn_inputs(113, 3, 7))


@mistake(
    "batchnorm",
    "dx",
    "divar is not summed over the batch, though all rows share one variance.",
    "the sum over axis 0 is missing in the gradient of the variance",
    "each example only gets its own share of the variance's gradient",
)
def bn_divar_not_summed():
    def backward(dout, cache):
        xhat, gamma, xmu, ivar, sqrtvar, var, eps = cache
        N, D = dout.shape
        dbeta = np.sum(dout, axis=0)
        dgamma = np.sum(dout * xhat, axis=0)
        dxhat = dout * gamma
        divar = dxhat * xmu
        dxmu1 = dxhat * ivar
        dsqrtvar = -1.0 / (sqrtvar**2) * divar
        dvar = 0.5 * 1.0 / np.sqrt(var + eps) * dsqrtvar
        dsq = 1.0 / N * np.ones((N, D)) * dvar
        dxmu2 = 2 * xmu * dsq
        dx1 = dxmu1 + dxmu2
        dmu = -1 * np.sum(dxmu1 + dxmu2, axis=0)
        dx2 = 1.0 / N * np.ones((N, D)) * dmu
        return dx1 + dx2, dgamma, dbeta

    return layer(bn_forward(), backward, bn_inputs(114, 5, 4))


@mistake(
    "batchnorm",
    "dx",
    "in the closed form dxhat is not multiplied by N, while the sums are subtracted from it and all is divided by N.",
    "the direct term of dx is N times too small",
    "the factor N is missing in front of dxhat",
)
def bn_closed_no_n():
    def backward(dout, cache):
        xhat, gamma, xmu, ivar, sqrtvar, var, eps = cache
        N = dout.shape[0]
        dbeta = np.sum(dout, axis=0)
        dgamma = np.sum(dout * xhat, axis=0)
        dxhat = dout * gamma
        dx = 1.0 / N * ivar * (dxhat - np.sum(dxhat, axis=0) - xhat * np.sum(dxhat * xhat, axis=0))
        return dx, dgamma, dbeta

    return layer(bn_forward(), backward, bn_inputs(115, 4, 5))


@mistake(
    "batchnorm",
    "dx",
    "the closed form mixes dout and dxhat: the sums that are subtracted are dbeta and dgamma, which lack gamma.",
    "gamma is missing in the terms of the mean and the variance",
    "only the direct term is multiplied by gamma",
)
def bn_closed_sums_without_gamma():
    def backward(dout, cache):
        xhat, gamma, xmu, ivar, sqrtvar, var, eps = cache
        N = dout.shape[0]
        dbeta = np.sum(dout, axis=0)
        dgamma = np.sum(dout * xhat, axis=0)
        dxhat = dout * gamma
        dx = ivar / N * (N * dxhat - dbeta - xhat * dgamma)
        return dx, dgamma, dbeta

    return layer(bn_forward(), backward, bn_inputs(116, 5, 3))


@mistake(
    "batchnorm",
    "dx",
    "in the closed form the last term has the wrong sign: xhat * sum(dxhat * xhat) has to be subtracted.",
    "the variance's share of dx has the wrong sign",
    "a plus stands where a minus belongs in front of the xhat term",
)
def bn_closed_sign():
    def backward(dout, cache):
        xhat, gamma, xmu, ivar, sqrtvar, var, eps = cache
        N = dout.shape[0]
        dbeta = np.sum(dout, axis=0)
        dgamma = np.sum(dout * xhat, axis=0)
        dx = gamma * ivar / N * (N * dout - dbeta + xhat * dgamma)
        return dx, dgamma, dbeta

    return layer(bn_forward(), backward, bn_inputs(117, 3, 3))


@mistake(
    "batchnorm",
    "dx",
    "backward forgets eps: it divides by sqrt(var) where forward divided by sqrt(var + eps).",
    "eps is missing in backward",
    "the standard deviation in backward is smaller than forward's",
)
def bn_no_eps():
    eps = 0.1

    def backward(dout, cache):
        xhat, gamma, xmu, ivar, sqrtvar, var, eps = cache
        N = dout.shape[0]
        dbeta = np.sum(dout, axis=0)
        dgamma = np.sum(dout * xhat, axis=0)
        dxhat = dout * gamma
        dvar = np.sum(dxhat * xmu * -0.5 * var ** (-1.5), axis=0)
        dmu = np.sum(-dxhat / np.sqrt(var), axis=0)
        dx = dxhat / np.sqrt(var) + dvar * 2 * xmu / N + dmu / N
        return dx, dgamma, dbeta

    return layer(bn_forward(eps), backward, bn_inputs(118, 6, 3, scale=1.0), eps=eps)


@mistake(
    "batchnorm",
    "dx",
    "backward takes the square root once more: the cache holds the standard deviation, but is read as the variance.",
    "dx is divided by the square root of the standard deviation",
    "variance and standard deviation are mixed up in the cache",
)
def bn_std_taken_for_var():
    def forward(x, gamma, beta):
        eps = 1e-5
        mean = np.mean(x, axis=0)
        std = np.sqrt(np.var(x, axis=0) + eps)
        xhat = (x - mean) / std
        return gamma * xhat + beta, (xhat, gamma, std, eps)

    def backward(dout, cache):
        xhat, gamma, var, eps = cache
        N = dout.shape[0]
        dbeta = np.sum(dout, axis=0)
        dgamma = np.sum(dout * xhat, axis=0)
        dxhat = dout * gamma
        dx = (N * dxhat - np.sum(dxhat, axis=0) - xhat * np.sum(dxhat * xhat, axis=0)) / (
            N * np.sqrt(var + eps)
        )
        return dx, dgamma, dbeta

    return layer(forward, backward, bn_inputs(119, 5, 4, scale=3.0))


@mistake(
    "batchnorm",
    "dx dgamma",
    "forward uses the unbiased variance, divided by N - 1, where backward and the assignment have the "
    "biased one, divided by N.",
    "the variance in forward has ddof=1",
    "forward's standard deviation is too large",
)
def bn_forward_unbiased():
    def forward(x, gamma, beta):
        N = x.shape[0]
        eps = 1e-5
        mean = np.mean(x, axis=0)
        xmu = x - mean
        out = gamma * xmu / np.sqrt(np.var(x, axis=0, ddof=1) + eps) + beta
        ivar = 1.0 / np.sqrt(np.sum(xmu**2, axis=0) / N + eps)
        return out, (xmu * ivar, gamma, ivar)

    return layer(forward, bn_closed_backward, bn_inputs(120, 4, 3))


def bn_closed_backward(dout, cache):
    """The right backward pass, for mistakes in forward."""
    xhat, gamma, ivar = cache
    N = dout.shape[0]
    dbeta = np.sum(dout, axis=0)
    dgamma = np.sum(dout * xhat, axis=0)
    dx = gamma * ivar / N * (N * dout - dbeta - xhat * dgamma)
    return dx, dgamma, dbeta


@mistake(
    "batchnorm",
    "dx dgamma",
    "forward divides by the variance instead of by its square root.",
    "the square root is missing in forward",
    "forward's xhat has the wrong scale",
)
def bn_forward_no_sqrt():
    def forward(x, gamma, beta):
        eps = 1e-5
        xmu = x - np.mean(x, axis=0)
        var = np.var(x, axis=0)
        out = gamma * xmu / (var + eps) + beta
        ivar = 1.0 / np.sqrt(var + eps)
        return out, (xmu * ivar, gamma, ivar)

    return layer(forward, bn_closed_backward, bn_inputs(121, 6, 4))


@mistake(
    "batchnorm",
    "dx",
    "in test mode backward uses the formula of training, though mean and variance are constants there.",
    "the test mode is not handled in backward",
    "gradient flows through statistics that do not depend on x",
)
def bn_test_mode_as_train():
    rng = np.random.RandomState(1)
    mean, var, eps = rng.randn(3), 1 + rng.rand(3), 1e-5

    def forward(x, gamma, beta):
        ivar = 1.0 / np.sqrt(var + eps)
        xhat = (x - mean) * ivar
        return gamma * xhat + beta, (xhat, gamma, ivar)

    def backward(dout, cache):
        xhat, gamma, ivar = cache
        N = dout.shape[0]
        dbeta = np.sum(dout, axis=0)
        dgamma = np.sum(dout * xhat, axis=0)
        dx = gamma * ivar / N * (N * dout - dbeta - xhat * dgamma)
        return dx, dgamma, dbeta

    return layer(forward, backward, bn_inputs(122, 5, 3), mode="test", running_mean=mean, running_var=var)


@mistake(
    "batchnorm",
    "dx",
    "the second part of dxmu replaces the first instead of being added: only the path through the variance is "
    "left, the direct one is lost.",
    "dxmu is assigned where it has to be added to",
    "dxhat / std is missing in dx",
)
def bn_dxmu_overwritten():
    def backward(dout, cache):
        xhat, gamma, xmu, ivar, sqrtvar, var, eps = cache
        N, D = dout.shape
        dbeta = np.sum(dout, axis=0)
        dgamma = np.sum(dout * xhat, axis=0)
        dxhat = dout * gamma
        dxmu = dxhat * ivar
        dmu = -np.sum(dxmu, axis=0)
        divar = np.sum(dxhat * xmu, axis=0)
        dvar = -0.5 * ivar**3 * divar
        dxmu = 2.0 / N * xmu * dvar
        dx = dxmu + dmu / N
        return dx, dgamma, dbeta

    return layer(bn_forward(), backward, bn_inputs(123, 4, 4))


@mistake(
    "batchnorm",
    "dx",
    "the sum for dmu has no axis: it adds up all features, so that every column gets the same number.",
    "axis=0 is missing in dmu",
    "the gradient of the mean is summed over the features too",
)
def bn_dmu_no_axis():
    def backward(dout, cache):
        xhat, gamma, xmu, ivar, sqrtvar, var, eps = cache
        N, D = dout.shape
        dbeta = np.sum(dout, axis=0)
        dgamma = np.sum(dout * xhat, axis=0)
        dxhat = dout * gamma
        dvar = np.sum(dxhat * xmu * -0.5 * (var + eps) ** (-1.5), axis=0)
        dxmu = dxhat * ivar + 2.0 / N * xmu * dvar
        dmu = -np.sum(dxmu)
        dx = dxmu + dmu / N
        return dx, dgamma, dbeta

    return layer(bn_forward(), backward, bn_inputs(124, 6, 2))


@mistake(
    "batchnorm",
    "dx",
    "the sums over the batch are divided by D, the number of features, where they have to be divided by N.",
    "N and D are swapped in the closed form",
    "the paths through mean and variance are divided by the wrong number",
)
def bn_d_for_n():
    def backward(dout, cache):
        xhat, gamma, xmu, ivar, sqrtvar, var, eps = cache
        D, N = dout.shape
        dbeta = np.sum(dout, axis=0)
        dgamma = np.sum(dout * xhat, axis=0)
        dxhat = dout * gamma
        dx = ivar * (dxhat - np.sum(dxhat, axis=0) / N - xhat * np.sum(dxhat * xhat, axis=0) / N)
        return dx, dgamma, dbeta

    return layer(bn_forward(), backward, bn_inputs(125, 3, 6))


@mistake(
    "batchnorm",
    "dx",
    "the exponent in dvar is -1/2 where it has to be -3/2.",
    "the variance's share of dx lacks a division by var + eps",
    "dvar has the wrong power of the variance",
)
def bn_dvar_power():
    def backward(dout, cache):
        xhat, gamma, xmu, ivar, sqrtvar, var, eps = cache
        N = dout.shape[0]
        dbeta = np.sum(dout, axis=0)
        dgamma = np.sum(dout * xhat, axis=0)
        dxhat = dout * gamma
        dvar = np.sum(dxhat * xmu * -0.5 * (var + eps) ** (-0.5), axis=0)
        dmu = np.sum(-dxhat * ivar, axis=0)
        dx = dxhat * ivar + dvar * 2 * xmu / N + dmu / N
        return dx, dgamma, dbeta

    return layer(bn_forward(), backward, bn_inputs(126, 5, 5, scale=1.5))


# ---------------------------------------------------------------- layer normalization


def ln_forward(x, gamma, beta):
    """The right forward pass."""
    D = x.shape[1]
    eps = 1e-5
    mu = np.sum(x, axis=1, keepdims=True) / D
    xmu = x - mu
    var = np.sum(xmu**2, axis=1, keepdims=True) / D
    ivar = 1.0 / np.sqrt(var + eps)
    xhat = xmu * ivar
    return gamma * xhat + beta, (xhat, gamma, xmu, ivar, var, eps)


@mistake(
    "layernorm",
    "dx",
    "backward is copied from batch normalization: the statistics' gradients are summed over the batch (axis 0) "
    "instead of over the features (axis 1).",
    "the means in dx are taken over the wrong axis",
)
def ln_as_bn():
    def backward(dout, cache):
        xhat, gamma, xmu, ivar, var, eps = cache
        N, D = dout.shape
        dbeta = np.sum(dout, axis=0)
        dgamma = np.sum(dout * xhat, axis=0)
        dxhat = dout * gamma
        dx = ivar / N * (N * dxhat - np.sum(dxhat, axis=0) - xhat * np.sum(dxhat * xhat, axis=0))
        return dx, dgamma, dbeta

    return layer(ln_forward, backward, bn_inputs(130, 4, 4))


@mistake(
    "layernorm",
    "dx",
    "the sums over the features are divided by N, the batch size, instead of by D, the number of features.",
    "N stands in place of D in dx",
    "the paths through mean and variance have the wrong divisor",
)
def ln_n_for_d():
    def backward(dout, cache):
        xhat, gamma, xmu, ivar, var, eps = cache
        N, D = dout.shape
        dbeta = np.sum(dout, axis=0)
        dgamma = np.sum(dout * xhat, axis=0)
        dxhat = dout * gamma
        dvar = np.sum(dxhat * xmu * -0.5 * (var + eps) ** (-1.5), axis=1, keepdims=True)
        dmu = np.sum(-dxhat * ivar, axis=1, keepdims=True)
        dx = dxhat * ivar + dvar * 2 * xmu / N + dmu / N
        return dx, dgamma, dbeta

    return layer(ln_forward, backward, bn_inputs(131, 3, 5))


@mistake(
    "layernorm",
    "dgamma dbeta",
    "dgamma and dbeta are summed over the features (axis 1), like the statistics, instead of over the batch (axis 0).",
    "dgamma and dbeta are summed over the wrong axis",
)
def ln_params_axis():
    def backward(dout, cache):
        xhat, gamma, xmu, ivar, var, eps = cache
        dbeta = np.sum(dout, axis=1)
        dgamma = np.sum(dout * xhat, axis=1)
        dxhat = dout * gamma
        dx = (
            dxhat
            - np.mean(dxhat, axis=1, keepdims=True)
            - xhat * np.mean(dxhat * xhat, axis=1, keepdims=True)
        )
        return dx * ivar, dgamma, dbeta

    return layer(ln_forward, backward, bn_inputs(132, 5, 5))


@mistake(
    "layernorm",
    "dx",
    "gamma is multiplied along the wrong axis: after the transposition it scales the examples instead of the features.",
    "row n of dxhat is multiplied by gamma n",
    "gamma is applied to the transposed dout",
)
def ln_gamma_on_transposed():
    def backward(dout, cache):
        xhat, gamma, xmu, ivar, var, eps = cache
        dbeta = np.sum(dout, axis=0)
        dgamma = np.sum(dout * xhat, axis=0)
        # the same as batch normalization, with everything transposed
        dxhat = dout.T * gamma
        xhat, ivar = xhat.T, ivar.T
        D = dxhat.shape[0]
        dx = ivar / D * (D * dxhat - np.sum(dxhat, axis=0) - xhat * np.sum(dxhat * xhat, axis=0))
        return dx.T, dgamma, dbeta

    return layer(ln_forward, backward, bn_inputs(133, 4, 4))


@mistake(
    "layernorm",
    "dx",
    "gamma is multiplied at the very end, as in batch normalization's closed form; here it differs within a "
    "row, so it belongs inside the sums.",
    "the sums are taken over dout instead of over dout * gamma",
    "gamma is pulled out of a sum over the features, which it is not constant in",
)
def ln_gamma_outside():
    def backward(dout, cache):
        xhat, gamma, xmu, ivar, var, eps = cache
        D = dout.shape[1]
        dbeta = np.sum(dout, axis=0)
        dgamma = np.sum(dout * xhat, axis=0)
        sum_dout = np.sum(dout, axis=1, keepdims=True)
        sum_dout_xhat = np.sum(dout * xhat, axis=1, keepdims=True)
        dx = gamma * ivar / D * (D * dout - sum_dout - xhat * sum_dout_xhat)
        return dx, dgamma, dbeta

    return layer(ln_forward, backward, bn_inputs(134, 3, 6))


@mistake(
    "layernorm",
    "dx",
    "keepdims=True is missing: the means of the rows are subtracted from the columns.",
    "mean n is taken from column n instead of from row n",
    "the row means are broadcast along the wrong axis",
)
def ln_no_keepdims():
    def backward(dout, cache):
        xhat, gamma, xmu, ivar, var, eps = cache
        dbeta = np.sum(dout, axis=0)
        dgamma = np.sum(dout * xhat, axis=0)
        dxhat = dout * gamma
        dx = ivar * (dxhat - np.mean(dxhat, axis=1) - xhat * np.mean(dxhat * xhat, axis=1))
        return dx, dgamma, dbeta

    return layer(ln_forward, backward, bn_inputs(135, 5, 5))


@mistake(
    "layernorm",
    "dx",
    "only the gradient of the variance is summed over the batch (axis 0); it has to be summed over the features.",
    "dvar has the wrong axis",
    "the variance's share of dx mixes the examples",
)
def ln_dvar_axis():
    def backward(dout, cache):
        xhat, gamma, xmu, ivar, var, eps = cache
        N, D = dout.shape
        dbeta = np.sum(dout, axis=0)
        dgamma = np.sum(dout * xhat, axis=0)
        dxhat = dout * gamma
        dvar = np.sum(dxhat * xmu * -0.5 * (var + eps) ** (-1.5), axis=0, keepdims=True)
        dxmu = dxhat * ivar + 2.0 / D * xmu * dvar
        dx = dxmu - np.sum(dxmu, axis=1, keepdims=True) / D
        return dx, dgamma, dbeta

    return layer(ln_forward, backward, bn_inputs(136, 6, 3))


@mistake(
    "layernorm",
    "dx dgamma",
    "forward normalizes over the batch (axis 0), like batch normalization, where backward is right for the "
    "features (axis 1).",
    "forward's mean and variance are taken over the wrong axis",
    "forward is batch normalization",
)
def ln_forward_as_bn():
    def forward(x, gamma, beta):
        eps = 1e-5
        out = gamma * (x - x.mean(axis=0)) / np.sqrt(x.var(axis=0) + eps) + beta
        ivar = 1.0 / np.sqrt(x.var(axis=1, keepdims=True) + eps)
        xhat = (x - x.mean(axis=1, keepdims=True)) * ivar
        return out, (xhat, gamma, ivar)

    def backward(dout, cache):
        xhat, gamma, ivar = cache
        dbeta = np.sum(dout, axis=0)
        dgamma = np.sum(dout * xhat, axis=0)
        dxhat = dout * gamma
        dx = (
            dxhat
            - np.mean(dxhat, axis=1, keepdims=True)
            - xhat * np.mean(dxhat * xhat, axis=1, keepdims=True)
        )
        return dx * ivar, dgamma, dbeta

    return layer(forward, backward, bn_inputs(137, 4, 5))


@mistake(
    "layernorm",
    "dx",
    "mean and variance of the row are treated as constants, as in batch normalization's test mode.",
    "dx is only dout * gamma / std",
    "the paths through the mean and the variance are missing",
)
def ln_constants():
    def backward(dout, cache):
        xhat, gamma, xmu, ivar, var, eps = cache
        dbeta = np.sum(dout, axis=0)
        dgamma = np.sum(dout * xhat, axis=0)
        dx = dout * gamma * ivar
        return dx, dgamma, dbeta

    return layer(ln_forward, backward, bn_inputs(138, 2, 7))


# ---------------------------------------------------------------- spatial batch normalization


def sbn_forward(x, gamma, beta):
    """The right forward pass: batch normalization of all pixels, (N * H * W, C)."""
    N, C, H, W = x.shape
    flat = x.transpose(0, 2, 3, 1).reshape(-1, C)
    out, bn_cache = bn_forward()(flat, gamma, beta)
    return out.reshape(N, H, W, C).transpose(0, 3, 1, 2), bn_cache


def sbn_flat_backward(dout, bn_cache):
    """The right backward pass of the flat pixels."""
    xhat, gamma, xmu, ivar, sqrtvar, var, eps = bn_cache
    return bn_closed_backward(dout, (xhat, gamma, ivar))


def sbn_inputs(seed, N, C, H, W):
    inputs = normal(seed, x=(N, C, H, W), gamma=(C,), beta=(C,))
    inputs["x"] = 2 * inputs["x"] + 1
    inputs["gamma"] += 1.5
    return inputs


@mistake(
    "spatial_batchnorm",
    "dx dgamma dbeta",
    "dout is reshaped to (N * H * W, C) without moving the channels to the last axis first, "
    "so that channels and pixels are mixed.",
    "the transpose of dout is missing before the reshape",
    "dout's elements land at the wrong channels",
)
def sbn_dout_not_transposed():
    def backward(dout, cache):
        N, C, H, W = dout.shape
        dout_flat = dout.reshape(-1, C)
        dx_flat, dgamma, dbeta = sbn_flat_backward(dout_flat, cache)
        dx = dx_flat.reshape(N, H, W, C).transpose(0, 3, 1, 2)
        return dx, dgamma, dbeta

    return layer(sbn_forward, backward, sbn_inputs(140, 2, 3, 3, 4))


@mistake(
    "spatial_batchnorm",
    "dx",
    "dx is transposed back in the wrong order, (0, 3, 2, 1) instead of (0, 3, 1, 2): rows and columns of "
    "every image are swapped.",
    "every image of dx is transposed",
    "height and width are swapped in dx",
)
def sbn_dx_transposed_wrongly():
    def backward(dout, cache):
        N, C, H, W = dout.shape
        dout_flat = dout.transpose(0, 2, 3, 1).reshape(-1, C)
        dx_flat, dgamma, dbeta = sbn_flat_backward(dout_flat, cache)
        dx = dx_flat.reshape(N, H, W, C).transpose(0, 3, 2, 1)
        return dx, dgamma, dbeta

    return layer(sbn_forward, backward, sbn_inputs(141, 2, 2, 4, 4))


@mistake(
    "spatial_batchnorm",
    "dx",
    "dx is reshaped straight to (N, C, H, W); it has to be reshaped to (N, H, W, C) and transposed.",
    "the transpose of dx is missing after the reshape",
    "dx has the right numbers at the wrong places",
)
def sbn_dx_reshaped():
    def backward(dout, cache):
        N, C, H, W = dout.shape
        dout_flat = dout.transpose(0, 2, 3, 1).reshape(-1, C)
        dx_flat, dgamma, dbeta = sbn_flat_backward(dout_flat, cache)
        dx = dx_flat.reshape(N, C, H, W)
        return dx, dgamma, dbeta

    return layer(sbn_forward, backward, sbn_inputs(142, 3, 2, 3, 2))


@mistake(
    "spatial_batchnorm",
    "dx",
    "the closed form divides by N, the number of images, instead of by N * H * W, the number of values "
    "that share a mean.",
    "the number of values per channel is wrong in dx",
    "the sums over the pixels are divided by the batch size only",
)
def sbn_count_is_n():
    def forward(x, gamma, beta):
        eps = 1e-5
        mean = x.mean(axis=(0, 2, 3), keepdims=True)
        ivar = 1.0 / np.sqrt(x.var(axis=(0, 2, 3), keepdims=True) + eps)
        xhat = (x - mean) * ivar
        return gamma.reshape(1, -1, 1, 1) * xhat + beta.reshape(1, -1, 1, 1), (xhat, ivar, gamma)

    def backward(dout, cache):
        xhat, ivar, gamma = cache
        N = dout.shape[0]
        dbeta = dout.sum(axis=(0, 2, 3))
        dgamma = (dout * xhat).sum(axis=(0, 2, 3))
        dxhat = dout * gamma.reshape(1, -1, 1, 1)
        sum1 = dxhat.sum(axis=(0, 2, 3), keepdims=True)
        sum2 = (dxhat * xhat).sum(axis=(0, 2, 3), keepdims=True)
        dx = ivar / N * (N * dxhat - sum1 - xhat * sum2)
        return dx, dgamma, dbeta

    return layer(forward, backward, sbn_inputs(143, 3, 2, 2, 3))


@mistake(
    "spatial_batchnorm",
    "dbeta",
    "dbeta is summed over axes (0, 1, 2), as if the channels came last, instead of (0, 2, 3).",
    "dbeta is summed over the channels instead of over the width",
    "the axes of the sum are wrong for dbeta",
)
def sbn_dbeta_axes():
    def backward(dout, cache):
        N, C, H, W = dout.shape
        dbeta = np.sum(dout, axis=(0, 1, 2))
        dout_flat = dout.transpose(0, 2, 3, 1).reshape(-1, C)
        dx_flat, dgamma, _ = sbn_flat_backward(dout_flat, cache)
        dx = dx_flat.reshape(N, H, W, C).transpose(0, 3, 1, 2)
        return dx, dgamma, dbeta

    return layer(sbn_forward, backward, sbn_inputs(144, 2, 3, 4, 3))


@mistake(
    "spatial_batchnorm",
    "dx",
    "the means in dx are taken over every image by itself, axes (2, 3), instead of over the whole batch, (0, 2, 3).",
    "the batch axis is missing in the means",
    "backward is that of instance normalization",
)
def sbn_per_image():
    def forward(x, gamma, beta):
        eps = 1e-5
        mean = x.mean(axis=(0, 2, 3), keepdims=True)
        ivar = 1.0 / np.sqrt(x.var(axis=(0, 2, 3), keepdims=True) + eps)
        xhat = (x - mean) * ivar
        return gamma.reshape(1, -1, 1, 1) * xhat + beta.reshape(1, -1, 1, 1), (xhat, ivar, gamma)

    def backward(dout, cache):
        xhat, ivar, gamma = cache
        dbeta = dout.sum(axis=(0, 2, 3))
        dgamma = (dout * xhat).sum(axis=(0, 2, 3))
        dxhat = dout * gamma.reshape(1, -1, 1, 1)
        dx = dxhat - dxhat.mean(axis=(2, 3), keepdims=True)
        dx -= xhat * (dxhat * xhat).mean(axis=(2, 3), keepdims=True)
        return dx * ivar, dgamma, dbeta

    return layer(forward, backward, sbn_inputs(145, 2, 3, 2, 2))


@mistake(
    "spatial_batchnorm",
    "dx dgamma",
    "forward transposes its output back in the wrong order, so that every image's rows and columns are swapped.",
    "out is transposed in forward",
    "height and width are swapped in forward's output",
)
def sbn_forward_transposed():
    def forward(x, gamma, beta):
        N, C, H, W = x.shape
        out, bn_cache = bn_forward()(x.transpose(0, 2, 3, 1).reshape(-1, C), gamma, beta)
        return out.reshape(N, H, W, C).transpose(0, 3, 2, 1), bn_cache

    def backward(dout, cache):
        N, C, H, W = dout.shape
        dx_flat, dgamma, dbeta = sbn_flat_backward(dout.transpose(0, 2, 3, 1).reshape(-1, C), cache)
        return dx_flat.reshape(N, H, W, C).transpose(0, 3, 1, 2), dgamma, dbeta

    return layer(forward, backward, sbn_inputs(146, 2, 2, 3, 3))


@mistake(
    "spatial_batchnorm",
    "dgamma dbeta",
    "dgamma and dbeta are averaged over the pixels of an image instead of summed.",
    "dgamma and dbeta are H * W times too small",
)
def sbn_params_pixel_mean():
    def backward(dout, cache):
        N, C, H, W = dout.shape
        xhat = cache[0].reshape(N, H, W, C).transpose(0, 3, 1, 2)
        dbeta = dout.mean(axis=(2, 3)).sum(axis=0)
        dgamma = (dout * xhat).mean(axis=(2, 3)).sum(axis=0)
        dx_flat, _, _ = sbn_flat_backward(dout.transpose(0, 2, 3, 1).reshape(-1, C), cache)
        return dx_flat.reshape(N, H, W, C).transpose(0, 3, 1, 2), dgamma, dbeta

    return layer(sbn_forward, backward, sbn_inputs(147, 3, 2, 2, 4))


# ---------------------------------------------------------------- group normalization


def gn_forward(G):
    """Return the right forward pass: mean and variance over (N, G, C / G, H, W)'s last three axes."""

    def forward(x, gamma, beta):
        N, C, H, W = x.shape
        eps = 1e-5
        grouped = x.reshape(N, G, C // G, H, W)
        mean = grouped.mean(axis=(2, 3, 4), keepdims=True)
        ivar = 1.0 / np.sqrt(grouped.var(axis=(2, 3, 4), keepdims=True) + eps)
        xhat = (grouped - mean) * ivar
        out = gamma * xhat.reshape(x.shape) + beta
        return out, (xhat, ivar, gamma, G)

    return forward


def gn_inputs(seed, N, C, H, W):
    inputs = normal(seed, x=(N, C, H, W), gamma=(1, C, 1, 1), beta=(1, C, 1, 1))
    inputs["x"] = 2 * inputs["x"] - 1
    inputs["gamma"] += 1.5
    return inputs


@mistake(
    "groupnorm",
    "dx",
    "the sums are divided by the number of channels in a group; the pixels, H * W, are missing in the count.",
    "the number of values per group is H * W times too small",
    "the paths through mean and variance are H * W times too large",
)
def gn_count_channels():
    def backward(dout, cache):
        xhat, ivar, gamma, G = cache
        N, C, H, W = dout.shape
        dbeta = np.sum(dout, axis=(0, 2, 3), keepdims=True)
        dgamma = np.sum(dout * xhat.reshape(dout.shape), axis=(0, 2, 3), keepdims=True)
        dxhat = (dout * gamma).reshape(xhat.shape)
        M = C // G
        sum1 = np.sum(dxhat, axis=(2, 3, 4), keepdims=True)
        sum2 = np.sum(dxhat * xhat, axis=(2, 3, 4), keepdims=True)
        dx = ivar * (dxhat - sum1 / M - xhat * sum2 / M)
        return dx.reshape(dout.shape), dgamma, dbeta

    return layer(gn_forward(2), backward, gn_inputs(150, 2, 4, 2, 3), G=2)


@mistake(
    "groupnorm",
    "dx",
    "the means in dx are taken over all channels of an image; the groups are ignored.",
    "backward is that of layer normalization (G = 1)",
    "different groups are mixed in dx",
)
def gn_ignores_groups():
    def backward(dout, cache):
        xhat, ivar, gamma, G = cache
        N, C, H, W = dout.shape
        xhat = xhat.reshape(dout.shape)
        dbeta = np.sum(dout, axis=(0, 2, 3), keepdims=True)
        dgamma = np.sum(dout * xhat, axis=(0, 2, 3), keepdims=True)
        dxhat = dout * gamma
        dx = dxhat - np.mean(dxhat, axis=(1, 2, 3), keepdims=True)
        dx -= xhat * np.mean(dxhat * xhat, axis=(1, 2, 3), keepdims=True)
        dx = dx.reshape(N, G, C // G, H, W) * ivar
        return dx.reshape(N, C, H, W), dgamma, dbeta

    return layer(gn_forward(3), backward, gn_inputs(151, 2, 6, 2, 2), G=3)


@mistake(
    "groupnorm",
    "dgamma dbeta",
    "dgamma and dbeta are summed over the channels of a group, so that all of a group get the same, though "
    "every channel has a gamma and beta of its own.",
    "gamma and beta are treated as one per group",
)
def gn_params_per_group():
    def backward(dout, cache):
        xhat, ivar, gamma, G = cache
        N, C, H, W = dout.shape
        grouped = dout.reshape(xhat.shape)
        dbeta = np.repeat(np.sum(grouped, axis=(0, 2, 3, 4)), C // G).reshape(1, C, 1, 1)
        dgamma = np.repeat(np.sum(grouped * xhat, axis=(0, 2, 3, 4)), C // G).reshape(1, C, 1, 1)
        dxhat = (dout * gamma).reshape(xhat.shape)
        dx = dxhat - dxhat.mean(axis=(2, 3, 4), keepdims=True)
        dx -= xhat * (dxhat * xhat).mean(axis=(2, 3, 4), keepdims=True)
        return (dx * ivar).reshape(dout.shape), dgamma, dbeta

    return layer(gn_forward(2), backward, gn_inputs(152, 3, 4, 2, 2), G=2)


@mistake(
    "groupnorm",
    "dx",
    "gamma is multiplied at the end, after the means over the group, where it belongs before: it differs from "
    "channel to channel within a group.",
    "the means are taken over dout instead of over dout * gamma",
    "gamma is pulled out of a sum in which it is not constant",
)
def gn_gamma_outside():
    def backward(dout, cache):
        xhat, ivar, gamma, G = cache
        N, C, H, W = dout.shape
        dbeta = np.sum(dout, axis=(0, 2, 3), keepdims=True)
        dgamma = np.sum(dout * xhat.reshape(dout.shape), axis=(0, 2, 3), keepdims=True)
        d = dout.reshape(xhat.shape)
        M = C // G * H * W
        sum1 = np.sum(d, axis=(2, 3, 4), keepdims=True)
        sum2 = np.sum(d * xhat, axis=(2, 3, 4), keepdims=True)
        dx = ivar / M * (M * d - sum1 - xhat * sum2)
        return gamma * dx.reshape(dout.shape), dgamma, dbeta

    return layer(gn_forward(2), backward, gn_inputs(153, 2, 6, 2, 2), G=2)


@mistake(
    "groupnorm",
    "dx",
    "backward puts the channels into the groups in another order than forward: every G-th channel instead of "
    "neighbouring ones.",
    "backward reshapes to (N, C / G, G, H, W) instead of (N, G, C / G, H, W)",
    "the means in dx are taken over the wrong channels",
)
def gn_groups_interleaved():
    def backward(dout, cache):
        xhat, ivar, gamma, G = cache
        N, C, H, W = dout.shape
        dbeta = np.sum(dout, axis=(0, 2, 3), keepdims=True)
        dgamma = np.sum(dout * xhat.reshape(dout.shape), axis=(0, 2, 3), keepdims=True)
        dxhat = (dout * gamma).reshape(N, C // G, G, H, W)
        xh = xhat.reshape(N, C // G, G, H, W)
        dx = (
            dxhat
            - dxhat.mean(axis=(1, 3, 4), keepdims=True)
            - xh * (dxhat * xh).mean(axis=(1, 3, 4), keepdims=True)
        )
        dx = dx.reshape(xhat.shape) * ivar
        return dx.reshape(N, C, H, W), dgamma, dbeta

    return layer(gn_forward(2), backward, gn_inputs(154, 2, 6, 2, 3), G=2)


@mistake(
    "groupnorm",
    "dx",
    "the means in dx run over the batch too, as in batch normalization; every image has statistics of its own.",
    "axis 0 does not belong in the means of dx",
    "different images are mixed in dx",
)
def gn_over_batch():
    def backward(dout, cache):
        xhat, ivar, gamma, G = cache
        dbeta = np.sum(dout, axis=(0, 2, 3), keepdims=True)
        dgamma = np.sum(dout * xhat.reshape(dout.shape), axis=(0, 2, 3), keepdims=True)
        dxhat = (dout * gamma).reshape(xhat.shape)
        dx = dxhat - dxhat.mean(axis=(0, 2, 3, 4), keepdims=True)
        dx -= xhat * (dxhat * xhat).mean(axis=(0, 2, 3, 4), keepdims=True)
        return (dx * ivar).reshape(dout.shape), dgamma, dbeta

    return layer(gn_forward(2), backward, gn_inputs(155, 3, 4, 1, 3), G=2)


@mistake(
    "groupnorm",
    "dx",
    "the variance is treated as a constant: only the mean's path is in dx.",
    "the gradient that flows to x through the variance is missing",
    "the term with xhat * mean(dxhat * xhat) is missing",
)
def gn_no_var_path():
    def backward(dout, cache):
        xhat, ivar, gamma, G = cache
        dbeta = np.sum(dout, axis=(0, 2, 3), keepdims=True)
        dgamma = np.sum(dout * xhat.reshape(dout.shape), axis=(0, 2, 3), keepdims=True)
        dxhat = (dout * gamma).reshape(xhat.shape)
        dxmu = dxhat * ivar
        dx = dxmu - np.mean(dxmu, axis=(2, 3, 4), keepdims=True)
        return dx.reshape(dout.shape), dgamma, dbeta

    return layer(gn_forward(3), backward, gn_inputs(156, 2, 3, 2, 2), G=3)


# ---------------------------------------------------------------- convolution


def conv_forward(stride, pad):
    """Return the right forward pass."""

    def forward(x, w, b):
        N, C, H, W = x.shape
        F, C, HH, WW = w.shape
        H_out = 1 + (H + 2 * pad - HH) // stride
        W_out = 1 + (W + 2 * pad - WW) // stride
        x_pad = np.pad(x, ((0, 0), (0, 0), (pad, pad), (pad, pad)), mode="constant")
        out = np.zeros((N, F, H_out, W_out))
        for i in range(H_out):
            for j in range(W_out):
                window = x_pad[:, :, i * stride : i * stride + HH, j * stride : j * stride + WW]
                out[:, :, i, j] = np.tensordot(window, w, axes=([1, 2, 3], [1, 2, 3])) + b
        return out, (x, w, b, stride, pad)

    return forward


def right_conv_backward(dout, cache):
    """The right backward pass, for mistakes in forward."""
    x, w, b, stride, pad = cache
    N, C, H, W = x.shape
    F, C, HH, WW = w.shape
    x_pad = np.pad(x, ((0, 0), (0, 0), (pad, pad), (pad, pad)))
    dx_pad = np.zeros_like(x_pad)
    dw = np.zeros_like(w)
    for n, f, i, j in np.ndindex(dout.shape):
        rows, cols = slice(i * stride, i * stride + HH), slice(j * stride, j * stride + WW)
        dw[f] += x_pad[n, :, rows, cols] * dout[n, f, i, j]
        dx_pad[n, :, rows, cols] += w[f] * dout[n, f, i, j]
    return dx_pad[:, :, pad : pad + H, pad : pad + W], dw, dout.sum(axis=(0, 2, 3))


def conv(backward, seed, x, w, stride, pad, forward=None):
    inputs = normal(seed, x=x, w=w, b=(w[0],))
    return layer(forward or conv_forward(stride, pad), backward, inputs, stride=stride, pad=pad)


@mistake(
    "conv",
    "dx",
    "dx is assigned instead of added up: where windows overlap, a later one overwrites the earlier ones, and the last "
    "filter overwrites all others.",
    "a += is missing for dx",
    "a pixel only gets the gradient of its last window and filter",
)
def conv_dx_assigned():
    def backward(dout, cache):
        x, w, b, stride, pad = cache
        N, C, H, W = x.shape
        F, C, HH, WW = w.shape
        x_pad = np.pad(x, ((0, 0), (0, 0), (pad, pad), (pad, pad)))
        dx_pad = np.zeros_like(x_pad)
        dw = np.zeros_like(w)
        db = np.sum(dout, axis=(0, 2, 3))
        for n in range(N):
            for f in range(F):
                for i in range(dout.shape[2]):
                    for j in range(dout.shape[3]):
                        hs, ws = i * stride, j * stride
                        dw[f] += x_pad[n, :, hs : hs + HH, ws : ws + WW] * dout[n, f, i, j]
                        dx_pad[n, :, hs : hs + HH, ws : ws + WW] = w[f] * dout[n, f, i, j]
        dx = dx_pad[:, :, pad : pad + H, pad : pad + W]
        return dx, dw, db

    return conv(backward, 200, (2, 2, 4, 4), (2, 2, 3, 3), 1, 1)


@mistake(
    "conv",
    "dw",
    "dw is assigned instead of added up: only the last window of the last image is left.",
    "a += is missing for dw",
    "dw is not summed over the images and the places",
)
def conv_dw_assigned():
    def backward(dout, cache):
        x, w, b, stride, pad = cache
        N, C, H, W = x.shape
        F, C, HH, WW = w.shape
        x_pad = np.pad(x, ((0, 0), (0, 0), (pad, pad), (pad, pad)))
        dx_pad = np.zeros_like(x_pad)
        dw = np.zeros_like(w)
        db = np.sum(dout, axis=(0, 2, 3))
        for n in range(N):
            for f in range(F):
                for i in range(dout.shape[2]):
                    for j in range(dout.shape[3]):
                        hs, ws = i * stride, j * stride
                        dw[f] = x_pad[n, :, hs : hs + HH, ws : ws + WW] * dout[n, f, i, j]
                        dx_pad[n, :, hs : hs + HH, ws : ws + WW] += w[f] * dout[n, f, i, j]
        dx = dx_pad[:, :, pad : pad + H, pad : pad + W]
        return dx, dw, db

    return conv(backward, 201, (2, 3, 5, 4), (2, 3, 3, 2), 1, 0)


@mistake(
    "conv",
    "dx",
    "the padding is cut off on the wrong side: dx starts at row and column 0 of the padded gradient instead of at "
    "row and column pad.",
    "dx is shifted by pad pixels",
    "dx is cropped at the top left corner",
)
def conv_dx_crop():
    def backward(dout, cache):
        x, w, b, stride, pad = cache
        N, C, H, W = x.shape
        F, C, HH, WW = w.shape
        x_pad = np.pad(x, ((0, 0), (0, 0), (pad, pad), (pad, pad)))
        dx_pad = np.zeros_like(x_pad)
        dw = np.zeros_like(w)
        db = np.zeros_like(b)
        for n in range(N):
            for f in range(F):
                db[f] += dout[n, f].sum()
                for i in range(dout.shape[2]):
                    for j in range(dout.shape[3]):
                        hs, ws = i * stride, j * stride
                        dw[f] += x_pad[n, :, hs : hs + HH, ws : ws + WW] * dout[n, f, i, j]
                        dx_pad[n, :, hs : hs + HH, ws : ws + WW] += w[f] * dout[n, f, i, j]
        dx = dx_pad[:, :, :H, :W]
        return dx, dw, db

    return conv(backward, 202, (2, 1, 4, 5), (3, 1, 3, 3), 1, 1)


@mistake(
    "conv",
    "dx dw",
    "backward forgets the stride: the window of output (i, j) starts at (i, j) instead of at (i * stride, j * stride).",
    "the windows in backward are those of stride 1",
    "stride is missing in the window's indices",
)
def conv_no_stride():
    def backward(dout, cache):
        x, w, b, stride, pad = cache
        N, C, H, W = x.shape
        F, C, HH, WW = w.shape
        x_pad = np.pad(x, ((0, 0), (0, 0), (pad, pad), (pad, pad)))
        dx_pad = np.zeros_like(x_pad)
        dw = np.zeros_like(w)
        db = np.sum(dout, axis=(0, 2, 3))
        for n in range(N):
            for f in range(F):
                for i in range(dout.shape[2]):
                    for j in range(dout.shape[3]):
                        dw[f] += x_pad[n, :, i : i + HH, j : j + WW] * dout[n, f, i, j]
                        dx_pad[n, :, i : i + HH, j : j + WW] += w[f] * dout[n, f, i, j]
        dx = dx_pad[:, :, pad : pad + H, pad : pad + W]
        return dx, dw, db

    return conv(backward, 203, (2, 2, 5, 5), (2, 2, 3, 3), 2, 1)


@mistake(
    "conv",
    "dx",
    "the filter is flipped in dx: it is rotated by 180 degrees, as for a convolution with dout, though the windows are "
    "already those of forward.",
    "dx uses w upside down and mirrored",
    "w must not be rotated when the gradient is added window by window",
)
def conv_dx_flipped():
    def backward(dout, cache):
        x, w, b, stride, pad = cache
        N, C, H, W = x.shape
        F, C, HH, WW = w.shape
        x_pad = np.pad(x, ((0, 0), (0, 0), (pad, pad), (pad, pad)))
        dx_pad = np.zeros_like(x_pad)
        dw = np.zeros_like(w)
        db = np.sum(dout, axis=(0, 2, 3))
        for n in range(N):
            for f in range(F):
                for i in range(dout.shape[2]):
                    for j in range(dout.shape[3]):
                        hs, ws = i * stride, j * stride
                        dw[f] += x_pad[n, :, hs : hs + HH, ws : ws + WW] * dout[n, f, i, j]
                        dx_pad[n, :, hs : hs + HH, ws : ws + WW] += w[f, :, ::-1, ::-1] * dout[n, f, i, j]
        dx = dx_pad[:, :, pad : pad + H, pad : pad + W]
        return dx, dw, db

    return conv(backward, 204, (1, 2, 4, 4), (2, 2, 3, 3), 1, 1)


@mistake(
    "conv",
    "dx dw",
    "forward flips the filter, a convolution in the mathematical sense, where backward and the course have a "
    "correlation.",
    "forward uses w rotated by 180 degrees",
    "w is upside down and mirrored in forward",
)
def conv_forward_flipped():
    def forward(x, w, b):
        stride, pad = 1, 1
        out, _ = conv_forward(stride, pad)(x, w[:, :, ::-1, ::-1], b)
        return out, (x, w, b, stride, pad)

    return conv(right_conv_backward, 205, (2, 1, 4, 4), (2, 1, 3, 3), 1, 1, forward)


@mistake(
    "conv",
    "db",
    "db is summed over axes (0, 1, 2), as if the filters came last, instead of (0, 2, 3).",
    "db is summed over the filters instead of over the width",
    "the axes of the sum are wrong for db",
)
def conv_db_axes():
    def backward(dout, cache):
        dx, dw, _ = right_conv_backward(dout, cache)
        db = np.sum(dout, axis=(0, 1, 2))
        return dx, dw, db

    return conv(backward, 206, (2, 2, 4, 3), (3, 2, 3, 3), 1, 1)


@mistake(
    "conv",
    "db",
    "db is the mean of dout over images and pixels instead of the sum.",
    "db is N * H' * W' times too small",
    "db is divided by the number of outputs of a filter",
)
def conv_db_mean():
    def backward(dout, cache):
        dx, dw, _ = right_conv_backward(dout, cache)
        db = np.mean(dout, axis=(0, 2, 3))
        return dx, dw, db

    return conv(backward, 207, (3, 1, 3, 4), (2, 1, 2, 2), 1, 0)


@mistake(
    "conv",
    "db",
    "db is assigned anew for every image, so that only the last image counts.",
    "db is not summed over the batch",
    "a += is missing for db",
)
def conv_db_last_image():
    def backward(dout, cache):
        x, w, b, stride, pad = cache
        N, C, H, W = x.shape
        F, C, HH, WW = w.shape
        x_pad = np.pad(x, ((0, 0), (0, 0), (pad, pad), (pad, pad)))
        dx_pad = np.zeros_like(x_pad)
        dw = np.zeros_like(w)
        db = np.zeros_like(b)
        for n in range(N):
            for f in range(F):
                db[f] = np.sum(dout[n, f])
                for i in range(dout.shape[2]):
                    for j in range(dout.shape[3]):
                        hs, ws = i * stride, j * stride
                        dw[f] += x_pad[n, :, hs : hs + HH, ws : ws + WW] * dout[n, f, i, j]
                        dx_pad[n, :, hs : hs + HH, ws : ws + WW] += w[f] * dout[n, f, i, j]
        dx = dx_pad[:, :, pad : pad + H, pad : pad + W]
        return dx, dw, db

    return conv(backward, 208, (3, 2, 4, 4), (2, 2, 2, 2), 2, 0)


@mistake(
    "conv",
    "dx dw",
    "the indices of dout are swapped: window (i, j) is multiplied by dout[n, f, j, i].",
    "dout is transposed",
    "rows and columns of dout are mixed up",
)
def conv_dout_ij_swapped():
    def backward(dout, cache):
        x, w, b, stride, pad = cache
        N, C, H, W = x.shape
        F, C, HH, WW = w.shape
        x_pad = np.pad(x, ((0, 0), (0, 0), (pad, pad), (pad, pad)))
        dx_pad = np.zeros_like(x_pad)
        dw = np.zeros_like(w)
        db = np.sum(dout, axis=(0, 2, 3))
        for n in range(N):
            for f in range(F):
                for i in range(dout.shape[2]):
                    for j in range(dout.shape[3]):
                        hs, ws = i * stride, j * stride
                        dw[f] += x_pad[n, :, hs : hs + HH, ws : ws + WW] * dout[n, f, j, i]
                        dx_pad[n, :, hs : hs + HH, ws : ws + WW] += w[f] * dout[n, f, j, i]
        dx = dx_pad[:, :, pad : pad + H, pad : pad + W]
        return dx, dw, db

    return conv(backward, 209, (2, 2, 4, 4), (2, 2, 3, 3), 1, 1)


@mistake(
    "conv",
    "dw",
    "in dw alone the window's rows and columns are swapped: it starts at (j, i) instead of at (i, j).",
    "dw takes x's windows from the transposed place",
    "i and j are mixed up in the window for dw",
)
def conv_dw_window_swapped():
    def backward(dout, cache):
        x, w, b, stride, pad = cache
        N, C, H, W = x.shape
        F, C, HH, WW = w.shape
        x_pad = np.pad(x, ((0, 0), (0, 0), (pad, pad), (pad, pad)))
        dx_pad = np.zeros_like(x_pad)
        dw = np.zeros_like(w)
        db = np.sum(dout, axis=(0, 2, 3))
        for n in range(N):
            for f in range(F):
                for i in range(dout.shape[2]):
                    for j in range(dout.shape[3]):
                        hs, ws = i * stride, j * stride
                        dw[f] += x_pad[n, :, ws : ws + HH, hs : hs + WW] * dout[n, f, i, j]
                        dx_pad[n, :, hs : hs + HH, ws : ws + WW] += w[f] * dout[n, f, i, j]
        dx = dx_pad[:, :, pad : pad + H, pad : pad + W]
        return dx, dw, db

    return conv(backward, 210, (2, 1, 5, 5), (2, 1, 3, 3), 2, 1)


@mistake(
    "conv",
    "dx",
    "dx uses w[n], indexed by the image, instead of w[f], the filter.",
    "image n gets filter n for all outputs",
    "the wrong filter is used in dx",
)
def conv_dx_filter_of_image():
    def backward(dout, cache):
        x, w, b, stride, pad = cache
        N, C, H, W = x.shape
        F, C, HH, WW = w.shape
        x_pad = np.pad(x, ((0, 0), (0, 0), (pad, pad), (pad, pad)))
        dx_pad = np.zeros_like(x_pad)
        dw = np.zeros_like(w)
        db = np.sum(dout, axis=(0, 2, 3))
        for n in range(N):
            for f in range(F):
                for i in range(dout.shape[2]):
                    for j in range(dout.shape[3]):
                        hs, ws = i * stride, j * stride
                        dw[f] += x_pad[n, :, hs : hs + HH, ws : ws + WW] * dout[n, f, i, j]
                        dx_pad[n, :, hs : hs + HH, ws : ws + WW] += w[n] * dout[n, f, i, j]
        dx = dx_pad[:, :, pad : pad + H, pad : pad + W]
        return dx, dw, db

    return conv(backward, 211, (2, 2, 3, 4), (3, 2, 3, 3), 1, 1)


@mistake(
    "conv",
    "dw",
    "dw is set to zero again for every image, inside the loop, so that only the last image counts.",
    "dw is the gradient of the last image alone",
    "dw is not summed over the batch",
)
def conv_dw_reset():
    def backward(dout, cache):
        x, w, b, stride, pad = cache
        N, C, H, W = x.shape
        F, C, HH, WW = w.shape
        x_pad = np.pad(x, ((0, 0), (0, 0), (pad, pad), (pad, pad)))
        dx_pad = np.zeros_like(x_pad)
        db = np.sum(dout, axis=(0, 2, 3))
        for n in range(N):
            dw = np.zeros_like(w)
            for f in range(F):
                for i in range(dout.shape[2]):
                    for j in range(dout.shape[3]):
                        hs, ws = i * stride, j * stride
                        dw[f] += x_pad[n, :, hs : hs + HH, ws : ws + WW] * dout[n, f, i, j]
                        dx_pad[n, :, hs : hs + HH, ws : ws + WW] += w[f] * dout[n, f, i, j]
        dx = dx_pad[:, :, pad : pad + H, pad : pad + W]
        return dx, dw, db

    return conv(backward, 212, (3, 2, 4, 4), (2, 2, 3, 3), 1, 0)


@mistake(
    "conv",
    "dx dw",
    "the loops stop one output too early, so that the last row and the last column of dout are left out.",
    "the + 1 is missing in the output's size in backward",
    "the last windows get no gradient",
)
def conv_loops_too_short():
    def backward(dout, cache):
        x, w, b, stride, pad = cache
        N, C, H, W = x.shape
        F, C, HH, WW = w.shape
        H_out = (H + 2 * pad - HH) // stride
        W_out = (W + 2 * pad - WW) // stride
        x_pad = np.pad(x, ((0, 0), (0, 0), (pad, pad), (pad, pad)))
        dx_pad = np.zeros_like(x_pad)
        dw = np.zeros_like(w)
        db = np.sum(dout, axis=(0, 2, 3))
        for n in range(N):
            for f in range(F):
                for i in range(H_out):
                    for j in range(W_out):
                        hs, ws = i * stride, j * stride
                        dw[f] += x_pad[n, :, hs : hs + HH, ws : ws + WW] * dout[n, f, i, j]
                        dx_pad[n, :, hs : hs + HH, ws : ws + WW] += w[f] * dout[n, f, i, j]
        dx = dx_pad[:, :, pad : pad + H, pad : pad + W]
        return dx, dw, db

    return conv(backward, 213, (2, 2, 4, 5), (2, 2, 2, 3), 1, 0)


@mistake(
    "conv",
    "dw db",
    "dw and db are divided by the batch size.",
    "dw and db are N times too small",
    "the parameters' gradients are averaged over the images instead of summed",
)
def conv_params_averaged():
    def backward(dout, cache):
        x, w, b, stride, pad = cache
        N = x.shape[0]
        dx, dw, db = right_conv_backward(dout, cache)
        return dx, dw / N, db / N

    return conv(backward, 214, (4, 1, 4, 4), (2, 1, 2, 2), 2, 0)


def im2col(x, HH, WW, stride, pad):
    """Return the windows as columns, (C * HH * WW, N * H' * W'), with the images in the outer order."""
    N, C, H, W = x.shape
    x_pad = np.pad(x, ((0, 0), (0, 0), (pad, pad), (pad, pad)))
    H_out, W_out = 1 + (H + 2 * pad - HH) // stride, 1 + (W + 2 * pad - WW) // stride
    cols = [
        x_pad[n, :, i * stride : i * stride + HH, j * stride : j * stride + WW].reshape(-1)
        for n in range(N)
        for i in range(H_out)
        for j in range(W_out)
    ]
    return np.array(cols).T


def col2im(cols, x_shape, HH, WW, stride, pad):
    """Add the columns up at the places that `im2col` took them from."""
    N, C, H, W = x_shape
    dx_pad = np.zeros((N, C, H + 2 * pad, W + 2 * pad))
    H_out, W_out = 1 + (H + 2 * pad - HH) // stride, 1 + (W + 2 * pad - WW) // stride
    for k, (n, i, j) in enumerate(np.ndindex(N, H_out, W_out)):
        window = cols[:, k].reshape(C, HH, WW)
        dx_pad[n, :, i * stride : i * stride + HH, j * stride : j * stride + WW] += window
    return dx_pad[:, :, pad : pad + H, pad : pad + W]


@mistake(
    "conv",
    "dx dw",
    "with im2col, dout is reshaped to (F, N * H' * W') without moving the filters to the first axis, so that images "
    "and filters are mixed.",
    "dout.transpose(1, 0, 2, 3) is missing before the reshape",
    "dout's elements land at the wrong filters",
)
def conv_im2col_dout_not_transposed():
    def backward(dout, cache):
        x, w, b, stride, pad = cache
        F, C, HH, WW = w.shape
        db = np.sum(dout, axis=(0, 2, 3))
        dout_rows = dout.reshape(F, -1)
        dw = dout_rows.dot(im2col(x, HH, WW, stride, pad).T).reshape(w.shape)
        dx = col2im(w.reshape(F, -1).T.dot(dout_rows), x.shape, HH, WW, stride, pad)
        return dx, dw, db

    return conv(backward, 215, (2, 2, 4, 4), (3, 2, 3, 3), 1, 1)


@mistake(
    "conv",
    "dx",
    "with im2col, w is reshaped to (C * HH * WW, F) instead of reshaped to (F, C * HH * WW) and transposed, which "
    "scrambles the filters.",
    "w is reshaped where it has to be transposed in dx",
)
def conv_im2col_w_reshaped():
    def backward(dout, cache):
        x, w, b, stride, pad = cache
        F, C, HH, WW = w.shape
        db = np.sum(dout, axis=(0, 2, 3))
        dout_rows = dout.transpose(1, 0, 2, 3).reshape(F, -1)
        dw = dout_rows.dot(im2col(x, HH, WW, stride, pad).T).reshape(w.shape)
        dx = col2im(w.reshape(-1, F).dot(dout_rows), x.shape, HH, WW, stride, pad)
        return dx, dw, db

    return conv(backward, 216, (2, 3, 5, 4), (2, 3, 3, 2), 2, 0)


@mistake(
    "conv",
    "db",
    "forward adds the bias inside the loop over the channels, so once for every channel.",
    "the output contains b C times",
    "db is C times too small for this forward",
)
def conv_forward_bias_per_channel():
    def forward(x, w, b):
        stride, pad = 1, 1
        N, C, H, W = x.shape
        F, C, HH, WW = w.shape
        x_pad = np.pad(x, ((0, 0), (0, 0), (pad, pad), (pad, pad)))
        out = np.zeros((N, F, H + 2 * pad - HH + 1, W + 2 * pad - WW + 1))
        for n in range(N):
            for f in range(F):
                for c in range(C):
                    for i in range(out.shape[2]):
                        for j in range(out.shape[3]):
                            out[n, f, i, j] += np.sum(x_pad[n, c, i : i + HH, j : j + WW] * w[f, c]) + b[f]
        return out, (x, w, b, stride, pad)

    return conv(right_conv_backward, 217, (1, 3, 3, 3), (2, 3, 3, 3), 1, 1, forward)


@mistake(
    "conv",
    "dx dw",
    "forward forgets the stride along the width: the window's column starts at j instead of at j * stride.",
    "forward uses stride 1 for the columns and the right stride for the rows",
    "stride is missing for j in forward",
)
def conv_forward_no_stride_in_width():
    def forward(x, w, b):
        stride, pad = 2, 1
        N, C, H, W = x.shape
        F, C, HH, WW = w.shape
        H_out = 1 + (H + 2 * pad - HH) // stride
        W_out = 1 + (W + 2 * pad - WW) // stride
        x_pad = np.pad(x, ((0, 0), (0, 0), (pad, pad), (pad, pad)))
        out = np.zeros((N, F, H_out, W_out))
        for n in range(N):
            for f in range(F):
                for i in range(H_out):
                    for j in range(W_out):
                        out[n, f, i, j] = (
                            np.sum(x_pad[n, :, i * stride : i * stride + HH, j : j + WW] * w[f]) + b[f]
                        )
        return out, (x, w, b, stride, pad)

    return conv(right_conv_backward, 218, (1, 2, 5, 5), (2, 2, 3, 3), 2, 1, forward)


@mistake(
    "conv",
    "dx",
    "pixel by pixel, dx guards against the padding on the far side only: negative indices wrap around, and the "
    "padding's gradient is added at the opposite edge.",
    "the gradient of the top and left padding lands at the bottom and right edges",
    "a check for h >= 0 and v >= 0 is missing",
)
def conv_dx_negative_index():
    def backward(dout, cache):
        x, w, b, stride, pad = cache
        N, C, H, W = x.shape
        F, C, HH, WW = w.shape
        _, dw, db = right_conv_backward(dout, cache)
        dx = np.zeros_like(x)
        for n in range(N):
            for f in range(F):
                for i in range(dout.shape[2]):
                    for j in range(dout.shape[3]):
                        for p in range(HH):
                            for q in range(WW):
                                h = i * stride + p - pad
                                v = j * stride + q - pad
                                if h < H and v < W:
                                    dx[n, :, h, v] += w[f, :, p, q] * dout[n, f, i, j]
        return dx, dw, db

    return conv(backward, 219, (1, 2, 4, 4), (2, 2, 3, 3), 1, 1)


@mistake(
    "conv",
    "dx",
    "pixel by pixel, dx leaves out row 0 and column 0: the guard against the padding has > 0 where it needs >= 0.",
    "the first row and the first column of dx are zero",
    "an off-by-one in the check whether a pixel is in the padding",
)
def conv_dx_guard_off_by_one():
    def backward(dout, cache):
        x, w, b, stride, pad = cache
        N, C, H, W = x.shape
        F, C, HH, WW = w.shape
        _, dw, db = right_conv_backward(dout, cache)
        dx = np.zeros_like(x)
        for n in range(N):
            for f in range(F):
                for i in range(dout.shape[2]):
                    for j in range(dout.shape[3]):
                        for p in range(HH):
                            for q in range(WW):
                                h = i * stride + p - pad
                                v = j * stride + q - pad
                                if 0 < h < H and 0 < v < W:
                                    dx[n, :, h, v] += w[f, :, p, q] * dout[n, f, i, j]
        return dx, dw, db

    return conv(backward, 220, (1, 1, 5, 3), (2, 1, 3, 3), 2, 1)


@mistake(
    "conv",
    "dw",
    "the line for dw stands after the loop over the channels, so that only the last channel gets a gradient.",
    "dw is zero for all channels but the last",
    "an indentation leaves out channels in dw",
)
def conv_dw_last_channel():
    def backward(dout, cache):
        x, w, b, stride, pad = cache
        N, C, H, W = x.shape
        F, C, HH, WW = w.shape
        x_pad = np.pad(x, ((0, 0), (0, 0), (pad, pad), (pad, pad)))
        dx_pad = np.zeros_like(x_pad)
        dw = np.zeros_like(w)
        db = np.sum(dout, axis=(0, 2, 3))
        for n in range(N):
            for f in range(F):
                for i in range(dout.shape[2]):
                    for j in range(dout.shape[3]):
                        hs, ws = i * stride, j * stride
                        for c in range(C):
                            dx_pad[n, c, hs : hs + HH, ws : ws + WW] += w[f, c] * dout[n, f, i, j]
                        dw[f, c] += x_pad[n, c, hs : hs + HH, ws : ws + WW] * dout[n, f, i, j]
        dx = dx_pad[:, :, pad : pad + H, pad : pad + W]
        return dx, dw, db

    return conv(backward, 221, (2, 3, 4, 3), (2, 3, 2, 2), 1, 0)


@mistake(
    "conv",
    "dw",
    "for dw, x is padded only at the bottom and on the right, by 2 * pad, so that every window is shifted by pad pixels.",
    "the padding of x is missing at the top and left in dw",
    "the windows in dw start pad pixels too far down and right",
)
def conv_dw_pad_one_side():
    def backward(dout, cache):
        x, w, b, stride, pad = cache
        F, C, HH, WW = w.shape
        dx, _, db = right_conv_backward(dout, cache)
        x_pad = np.pad(x, ((0, 0), (0, 0), (0, 2 * pad), (0, 2 * pad)))
        dw = np.zeros_like(w)
        for i in range(dout.shape[2]):
            for j in range(dout.shape[3]):
                window = x_pad[:, :, i * stride : i * stride + HH, j * stride : j * stride + WW]
                dw += np.einsum("nf,nchw->fchw", dout[:, :, i, j], window)
        return dx, dw, db

    return conv(backward, 222, (2, 2, 4, 4), (2, 2, 3, 3), 1, 1)


# ---------------------------------------------------------------- max pooling


def pool_forward(pool_height, pool_width, stride):
    """Return the right forward pass."""

    def forward(x):
        N, C, H, W = x.shape
        H_out = 1 + (H - pool_height) // stride
        W_out = 1 + (W - pool_width) // stride
        out = np.zeros((N, C, H_out, W_out))
        for i in range(H_out):
            for j in range(W_out):
                hs, ws = i * stride, j * stride
                out[:, :, i, j] = x[:, :, hs : hs + pool_height, ws : ws + pool_width].max(axis=(2, 3))
        return out, (x, pool_height, pool_width, stride)

    return forward


def right_pool_backward(dout, cache):
    """The right backward pass, for mistakes in forward."""
    x, ph, pw, stride = cache
    dx = np.zeros_like(x)
    for n, c, i, j in np.ndindex(dout.shape):
        p, q = divmod(x[n, c, i * stride : i * stride + ph, j * stride : j * stride + pw].argmax(), pw)
        dx[n, c, i * stride + p, j * stride + q] += dout[n, c, i, j]
    return dx


def pool(backward, seed, x, ph, pw, stride, forward=None):
    """Return a max pooling layer; no two pixels of x are closer than 0.1."""
    numbers = np.random.RandomState(seed).permutation(np.prod(x)).reshape(x)
    inputs = {"x": 0.1 * (numbers - numbers.mean())}
    settings = {"pool_height": ph, "pool_width": pw, "stride": stride}
    return layer(forward or pool_forward(ph, pw, stride), backward, inputs, **settings)


@mistake(
    "maxpool",
    "dx",
    "dx is assigned instead of added up: a pixel that is the largest of several overlapping windows only gets the "
    "last one's gradient.",
    "a += is missing where windows overlap",
)
def pool_assigned():
    def backward(dout, cache):
        x, ph, pw, stride = cache
        N, C, H_out, W_out = dout.shape
        dx = np.zeros_like(x)
        for n in range(N):
            for c in range(C):
                for i in range(H_out):
                    for j in range(W_out):
                        window = x[n, c, i * stride : i * stride + ph, j * stride : j * stride + pw]
                        row, col = np.unravel_index(np.argmax(window), window.shape)
                        dx[n, c, i * stride + row, j * stride + col] = dout[n, c, i, j]
        return dx

    return pool(backward, 240, (2, 2, 5, 5), 3, 3, 1)


@mistake(
    "maxpool",
    "dx",
    "where several pixels of a window are equally large, each of them gets the whole gradient.",
    "ties are counted several times",
    "the mask x == max has more than one pixel where pixels are equal",
)
def pool_ties_all():
    def backward(dout, cache):
        x, ph, pw, stride = cache
        N, C, H_out, W_out = dout.shape
        dx = np.zeros_like(x)
        for n in range(N):
            for c in range(C):
                for i in range(H_out):
                    for j in range(W_out):
                        hs, ws = i * stride, j * stride
                        window = x[n, c, hs : hs + ph, ws : ws + pw]
                        mask = window == np.max(window)
                        dx[n, c, hs : hs + ph, ws : ws + pw] += mask * dout[n, c, i, j]
        return dx

    case = pool(backward, 241, (2, 2, 4, 4), 2, 2, 2)
    case["inputs"]["x"] = np.random.RandomState(241).randint(4, size=(2, 2, 4, 4)).astype(float)
    return case


@mistake(
    "maxpool",
    "dx",
    "the position of the maximum is unravelled with height and width of the window swapped.",
    "np.unravel_index gets (pool_width, pool_height)",
    "the gradient lands at the wrong pixel of a window that is not square",
)
def pool_unravel_swapped():
    def backward(dout, cache):
        x, ph, pw, stride = cache
        N, C, H_out, W_out = dout.shape
        dx = np.zeros_like(x)
        for n in range(N):
            for c in range(C):
                for i in range(H_out):
                    for j in range(W_out):
                        window = x[n, c, i * stride : i * stride + ph, j * stride : j * stride + pw]
                        row, col = np.unravel_index(np.argmax(window), (pw, ph))
                        dx[n, c, i * stride + row, j * stride + col] += dout[n, c, i, j]
        return dx

    return pool(backward, 243, (2, 1, 4, 5), 2, 3, 2)


@mistake(
    "maxpool",
    "dx",
    "row and column of the maximum within its window are swapped.",
    "the gradient goes to the transposed place in the window",
    "(row, col) is used as (col, row)",
)
def pool_row_col_swapped():
    def backward(dout, cache):
        x, ph, pw, stride = cache
        N, C, H_out, W_out = dout.shape
        dx = np.zeros_like(x)
        for n in range(N):
            for c in range(C):
                for i in range(H_out):
                    for j in range(W_out):
                        window = x[n, c, i * stride : i * stride + ph, j * stride : j * stride + pw]
                        col, row = np.unravel_index(np.argmax(window), window.shape)
                        dx[n, c, i * stride + row, j * stride + col] += dout[n, c, i, j]
        return dx

    return pool(backward, 243, (2, 2, 4, 6), 2, 2, 2)


@mistake(
    "maxpool",
    "dx",
    "the gradient is put at the maximum's place without the stride: at (i + row, j + col) instead of "
    "(i * stride + row, j * stride + col).",
    "stride is missing in the index of dx",
    "the windows of dx are those of stride 1",
)
def pool_no_stride():
    def backward(dout, cache):
        x, ph, pw, stride = cache
        N, C, H_out, W_out = dout.shape
        dx = np.zeros_like(x)
        for n in range(N):
            for c in range(C):
                for i in range(H_out):
                    for j in range(W_out):
                        window = x[n, c, i * stride : i * stride + ph, j * stride : j * stride + pw]
                        row, col = np.unravel_index(np.argmax(window), window.shape)
                        dx[n, c, i + row, j + col] += dout[n, c, i, j]
        return dx

    return pool(backward, 244, (1, 3, 6, 6), 2, 2, 2)


@mistake(
    "maxpool",
    "dx",
    "dx is 1 at every maximum: it is not multiplied by dout.",
    "dout is missing",
    "dx counts how often a pixel is the maximum",
)
def pool_no_dout():
    def backward(dout, cache):
        x, ph, pw, stride = cache
        N, C, H_out, W_out = dout.shape
        dx = np.zeros_like(x)
        for n in range(N):
            for c in range(C):
                for i in range(H_out):
                    for j in range(W_out):
                        hs, ws = i * stride, j * stride
                        window = x[n, c, hs : hs + ph, ws : ws + pw]
                        dx[n, c, hs : hs + ph, ws : ws + pw] += window == np.max(window)
        return dx

    return pool(backward, 245, (2, 2, 4, 4), 2, 2, 2)


@mistake(
    "maxpool",
    "dx",
    "the gradient is shared equally by all pixels of a window, as in average pooling.",
    "every pixel gets dout over the window's size, not only the maximum",
    "backward is that of average pooling",
)
def pool_average():
    def backward(dout, cache):
        x, ph, pw, stride = cache
        N, C, H_out, W_out = dout.shape
        dx = np.zeros_like(x)
        for n in range(N):
            for c in range(C):
                for i in range(H_out):
                    for j in range(W_out):
                        hs, ws = i * stride, j * stride
                        dx[n, c, hs : hs + ph, ws : ws + pw] += dout[n, c, i, j] / (ph * pw)
        return dx

    return pool(backward, 246, (2, 1, 5, 5), 3, 3, 2)


@mistake(
    "maxpool",
    "dx",
    "the maximum is taken over all channels of the window together, so that only one channel gets a gradient.",
    "backward compares different channels with each other",
    "the maximum in backward is not taken channel by channel",
)
def pool_max_over_channels():
    def backward(dout, cache):
        x, ph, pw, stride = cache
        N, C, H_out, W_out = dout.shape
        dx = np.zeros_like(x)
        for n in range(N):
            for i in range(H_out):
                for j in range(W_out):
                    hs, ws = i * stride, j * stride
                    window = x[n, :, hs : hs + ph, ws : ws + pw]
                    mask = window == np.max(window)
                    dx[n, :, hs : hs + ph, ws : ws + pw] += mask * dout[n, :, i, j][:, np.newaxis, np.newaxis]
        return dx

    return pool(backward, 247, (2, 3, 4, 4), 2, 2, 2)


@mistake(
    "maxpool",
    "dx",
    "the maximum is taken over all images of the batch together, so that only one image gets a gradient per window.",
    "backward compares different images with each other",
    "the batch axis is in the maximum in backward",
)
def pool_max_over_batch():
    def backward(dout, cache):
        x, ph, pw, stride = cache
        N, C, H_out, W_out = dout.shape
        dx = np.zeros_like(x)
        for i in range(H_out):
            for j in range(W_out):
                hs, ws = i * stride, j * stride
                window = x[:, :, hs : hs + ph, ws : ws + pw]
                mask = window == np.max(window, axis=(0, 2, 3), keepdims=True)
                dx[:, :, hs : hs + ph, ws : ws + pw] += mask * dout[:, :, i, j][:, :, np.newaxis, np.newaxis]
        return dx

    return pool(backward, 248, (3, 2, 4, 4), 2, 2, 2)


@mistake(
    "maxpool",
    "dx",
    "the windows in backward start at i * pool_height and j * pool_width; they have to start at i * stride and "
    "j * stride.",
    "the pool size is taken for the stride",
    "backward looks at other windows than forward",
)
def pool_size_for_stride():
    def backward(dout, cache):
        x, ph, pw, stride = cache
        N, C, H_out, W_out = dout.shape
        dx = np.zeros_like(x)
        for n in range(N):
            for c in range(C):
                for i in range(H_out):
                    for j in range(W_out):
                        hs, ws = i * ph, j * pw
                        window = x[n, c, hs : hs + ph, ws : ws + pw]
                        row, col = np.unravel_index(np.argmax(window), window.shape)
                        dx[n, c, hs + row, ws + col] += dout[n, c, i, j]
        return dx

    return pool(backward, 249, (1, 2, 8, 5), 2, 2, 3)


@mistake(
    "maxpool",
    "dx",
    "the loops stop one window too early: the last row and the last column of windows get no gradient.",
    "the end of the range is off by one",
    "the + 1 is missing in the loop's bound",
)
def pool_loops_too_short():
    def backward(dout, cache):
        x, ph, pw, stride = cache
        N, C, H, W = x.shape
        dx = np.zeros_like(x)
        for n in range(N):
            for c in range(C):
                for i, hs in enumerate(range(0, H - ph, stride)):
                    for j, ws in enumerate(range(0, W - pw, stride)):
                        window = x[n, c, hs : hs + ph, ws : ws + pw]
                        row, col = np.unravel_index(np.argmax(window), window.shape)
                        dx[n, c, hs + row, ws + col] += dout[n, c, i, j]
        return dx

    return pool(backward, 250, (2, 2, 6, 4), 2, 2, 2)


@mistake(
    "maxpool",
    "dx",
    "forward's windows are as large as the stride instead of as large as the pool.",
    "forward uses stride x stride windows, where they have to be pool_height x pool_width",
    "forward's windows are too small",
)
def pool_forward_window_is_stride():
    def forward(x):
        ph, pw, stride = 3, 3, 2
        N, C, H, W = x.shape
        out = np.zeros((N, C, 1 + (H - ph) // stride, 1 + (W - pw) // stride))
        for n, c, i, j in np.ndindex(out.shape):
            out[n, c, i, j] = np.max(x[n, c, i * stride : (i + 1) * stride, j * stride : (j + 1) * stride])
        return out, (x, ph, pw, stride)

    return pool(right_pool_backward, 251, (2, 1, 5, 7), 3, 3, 2, forward)


@mistake(
    "maxpool",
    "dx",
    "forward starts its search for the maximum at 0, so that a window of negative numbers gives 0 instead of its "
    "largest number.",
    "negative maxima are clipped at zero in forward",
    "forward is max pooling followed by a ReLU",
)
def pool_forward_starts_at_zero():
    def forward(x):
        ph, pw, stride = 2, 2, 2
        N, C, H, W = x.shape
        out = np.zeros((N, C, 1 + (H - ph) // stride, 1 + (W - pw) // stride))
        for n, c, i, j in np.ndindex(out.shape):
            biggest = 0
            for p in range(ph):
                for q in range(pw):
                    if x[n, c, i * stride + p, j * stride + q] > biggest:
                        biggest = x[n, c, i * stride + p, j * stride + q]
            out[n, c, i, j] = biggest
        return out, (x, ph, pw, stride)

    case = pool(right_pool_backward, 252, (2, 2, 4, 4), 2, 2, 2, forward)
    case["inputs"]["x"] -= 2.05
    return case


@mistake(
    "maxpool",
    "dx",
    "backward uses pool_height for the width too.",
    "the window in backward is square, though the pool is not",
    "columns of the window are left out in backward",
)
def pool_height_for_width():
    def backward(dout, cache):
        x, ph, pw, stride = cache
        N, C, H_out, W_out = dout.shape
        dx = np.zeros_like(x)
        for n in range(N):
            for c in range(C):
                for i in range(H_out):
                    for j in range(W_out):
                        hs, ws = i * stride, j * stride
                        window = x[n, c, hs : hs + ph, ws : ws + ph]
                        mask = window == np.max(window)
                        dx[n, c, hs : hs + ph, ws : ws + ph] += mask * dout[n, c, i, j]
        return dx

    return pool(backward, 253, (2, 1, 4, 6), 2, 4, 2)


@mistake(
    "maxpool",
    "dx",
    "the indices of dout are swapped: window (i, j) gets dout[n, c, j, i].",
    "dout is transposed",
    "rows and columns of dout are mixed up",
)
def pool_dout_transposed():
    def backward(dout, cache):
        x, ph, pw, stride = cache
        N, C, H_out, W_out = dout.shape
        dx = np.zeros_like(x)
        for n in range(N):
            for c in range(C):
                for i in range(H_out):
                    for j in range(W_out):
                        hs, ws = i * stride, j * stride
                        window = x[n, c, hs : hs + ph, ws : ws + pw]
                        row, col = np.unravel_index(window.argmax(), window.shape)
                        dx[n, c, hs + row, ws + col] += dout[n, c, j, i]
        return dx

    return pool(backward, 254, (2, 2, 7, 7), 3, 3, 2)


# ---------------------------------------------------------------- networks: how they are set up


def set_params(model, seed, scale=0.7):
    """Draw parameters that make every gradient large enough to check, biases, gammas and betas included."""
    rng = np.random.RandomState(seed)
    for name in sorted(model.params):
        numbers = rng.randn(*model.params[name].shape)
        if name.startswith("W"):
            numbers = scale * numbers
        elif name.startswith("gamma"):
            numbers = 1 + 0.3 * numbers
        else:
            numbers = 0.3 * numbers
        model.params[name] = numbers


def network(model, seed, X_shape, num_classes, scale=0.7):
    set_params(model, seed, scale)
    rng = np.random.RandomState(seed + 1)
    X = rng.randn(*X_shape)
    y = rng.randint(num_classes, size=X_shape[0])
    return {"kind": "model", "model": model, "X": X, "y": y}


def two_layer(net, seed, N=5, D=6, H=7, C=3, reg=0.3):
    model = net(input_dim=D, hidden_dim=H, num_classes=C, reg=reg)
    return network(model, seed, (N, D), C)


def fully_connected(net, draw, hidden, N=5, D=6, C=4, reg=0.0, **arguments):
    model = net(hidden, input_dim=D, num_classes=C, reg=reg, dtype=np.float64, **arguments)
    return network(model, draw, (N, D), C)


def convnet(net, seed, N=2, input_dim=(2, 4, 6), filters=3, size=3, hidden=5, C=4, reg=0.0):
    model = net(input_dim, filters, size, hidden, C, reg=reg, dtype=np.float64)
    return network(model, seed, (N, *input_dim), C, scale=0.5)


# ---------------------------------------------------------------- TwoLayerNet


@mistake(
    "two_layer",
    "W1 W2",
    "the gradient of the regularization is missing: the loss contains it, the gradients do not.",
    "reg * W is not added to the weights' gradients",
    "the gradients are those of the loss without regularization",
)
def two_layer_no_reg_gradient():
    class Net(TwoLayerNet):
        def loss(self, X, y=None):
            W1, b1, W2, b2 = (self.params[k] for k in ("W1", "b1", "W2", "b2"))
            h, cache1 = affine_relu_forward(X, W1, b1)
            scores, cache2 = affine_forward(h, W2, b2)
            if y is None:
                return scores
            grads = {}
            loss, dscores = softmax_loss(scores, y)
            loss += 0.5 * self.reg * (np.sum(W1 * W1) + np.sum(W2 * W2))
            dh, grads["W2"], grads["b2"] = affine_backward(dscores, cache2)
            dx, grads["W1"], grads["b1"] = affine_relu_backward(dh, cache1)
            return loss, grads

    return two_layer(Net, 300)


@mistake(
    "two_layer",
    "W1 W2",
    "the gradient of the regularization is twice too large: with the factor 0.5 in the loss it is reg * W, not "
    "2 * reg * W.",
    "the 0.5 of the loss is ignored in the gradient",
    "reg * W is added once too often",
)
def two_layer_reg_gradient_doubled():
    class Net(TwoLayerNet):
        def loss(self, X, y=None):
            W1, b1, W2, b2 = (self.params[k] for k in ("W1", "b1", "W2", "b2"))
            h, cache1 = affine_relu_forward(X, W1, b1)
            scores, cache2 = affine_forward(h, W2, b2)
            if y is None:
                return scores
            grads = {}
            loss, dscores = softmax_loss(scores, y)
            loss += 0.5 * self.reg * (np.sum(W1 * W1) + np.sum(W2 * W2))
            dh, grads["W2"], grads["b2"] = affine_backward(dscores, cache2)
            dx, grads["W1"], grads["b1"] = affine_relu_backward(dh, cache1)
            grads["W1"] += 2 * self.reg * W1
            grads["W2"] += 2 * self.reg * W2
            return loss, grads

    return two_layer(Net, 302, N=4, D=5, H=5, C=5, reg=0.1)


@mistake(
    "two_layer",
    "W1 W2",
    "the loss lacks the factor 0.5 in the regularization, which the gradients assume.",
    "the penalty in the loss is twice too large",
    "for this loss the gradient of the regularization is 2 * reg * W",
)
def two_layer_loss_no_half():
    class Net(TwoLayerNet):
        def loss(self, X, y=None):
            W1, b1, W2, b2 = (self.params[k] for k in ("W1", "b1", "W2", "b2"))
            h, cache1 = affine_relu_forward(X, W1, b1)
            scores, cache2 = affine_forward(h, W2, b2)
            if y is None:
                return scores
            grads = {}
            loss, dscores = softmax_loss(scores, y)
            loss += self.reg * np.sum(W1**2) + self.reg * np.sum(W2**2)
            dh, dW2, grads["b2"] = affine_backward(dscores, cache2)
            dx, dW1, grads["b1"] = affine_relu_backward(dh, cache1)
            grads["W2"] = dW2 + self.reg * W2
            grads["W1"] = dW1 + self.reg * W1
            return loss, grads

    return two_layer(Net, 304, reg=0.5)


@mistake(
    "two_layer",
    "b1 b2",
    "the biases' gradients contain a regularization that the loss does not have.",
    "reg * b is added to the gradients of the biases",
    "biases are not regularized",
)
def two_layer_reg_on_biases():
    class Net(TwoLayerNet):
        def loss(self, X, y=None):
            W1, b1, W2, b2 = (self.params[k] for k in ("W1", "b1", "W2", "b2"))
            h, cache1 = affine_relu_forward(X, W1, b1)
            scores, cache2 = affine_forward(h, W2, b2)
            if y is None:
                return scores
            grads = {}
            loss, dscores = softmax_loss(scores, y)
            loss += 0.5 * self.reg * (np.sum(W1 * W1) + np.sum(W2 * W2))
            dh, grads["W2"], grads["b2"] = affine_backward(dscores, cache2)
            dx, grads["W1"], grads["b1"] = affine_relu_backward(dh, cache1)
            for name in self.params:
                grads[name] += self.reg * self.params[name]
            return loss, grads

    return two_layer(Net, 306, N=6, D=4, H=3, C=4, reg=0.7)


@mistake(
    "two_layer",
    "W1",
    "the loss leaves out W1 in the regularization; only W2 is penalized.",
    "the gradient of W1 contains a penalty that the loss lacks",
    "np.sum(W1 * W1) is missing in the loss",
)
def two_layer_loss_without_w1_penalty():
    class Net(TwoLayerNet):
        def loss(self, X, y=None):
            W1, b1, W2, b2 = (self.params[k] for k in ("W1", "b1", "W2", "b2"))
            h, cache1 = affine_relu_forward(X, W1, b1)
            scores, cache2 = affine_forward(h, W2, b2)
            if y is None:
                return scores
            grads = {}
            loss, dscores = softmax_loss(scores, y)
            loss += 0.5 * self.reg * np.sum(W2 * W2)
            dh, grads["W2"], grads["b2"] = affine_backward(dscores, cache2)
            dx, grads["W1"], grads["b1"] = affine_relu_backward(dh, cache1)
            grads["W2"] += self.reg * W2
            grads["W1"] += self.reg * W1
            return loss, grads

    return two_layer(Net, 308)


@mistake(
    "two_layer",
    "W1 b1",
    "backward skips the ReLU of the hidden layer.",
    "the ReLU's mask is missing",
    "gradient flows through hidden units that are switched off",
)
def two_layer_no_relu():
    class Net(TwoLayerNet):
        def loss(self, X, y=None):
            W1, b1, W2, b2 = (self.params[k] for k in ("W1", "b1", "W2", "b2"))
            a = X.dot(W1) + b1
            h = np.maximum(0, a)
            scores = h.dot(W2) + b2
            if y is None:
                return scores
            loss, dscores = softmax_loss(scores, y)
            loss += 0.5 * self.reg * (np.sum(W1 * W1) + np.sum(W2 * W2))
            dh = dscores.dot(W2.T)
            grads = {
                "W2": h.T.dot(dscores) + self.reg * W2,
                "b2": np.sum(dscores, axis=0),
                "W1": X.T.dot(dh) + self.reg * W1,
                "b1": np.sum(dh, axis=0),
            }
            return loss, grads

    return two_layer(Net, 310, N=4, D=3, H=8, C=3, reg=0.1)


@mistake(
    "two_layer",
    "W1 b1",
    "the ReLU's mask looks at the gradient instead of at the hidden units: dh is set to zero where dh is negative.",
    "dh[dh <= 0] = 0 stands where dh[h <= 0] = 0 belongs",
    "the hidden layer's mask is the sign of dh",
)
def two_layer_mask_of_gradient():
    class Net(TwoLayerNet):
        def loss(self, X, y=None):
            W1, b1, W2, b2 = (self.params[k] for k in ("W1", "b1", "W2", "b2"))
            h = np.maximum(0, X.dot(W1) + b1)
            scores = h.dot(W2) + b2
            if y is None:
                return scores
            loss, dscores = softmax_loss(scores, y)
            loss += 0.5 * self.reg * (np.sum(W1 * W1) + np.sum(W2 * W2))
            dh = dscores.dot(W2.T)
            dh[dh <= 0] = 0
            grads = {
                "W2": h.T.dot(dscores) + self.reg * W2,
                "b2": np.sum(dscores, axis=0),
                "W1": X.T.dot(dh) + self.reg * W1,
                "b1": np.sum(dh, axis=0),
            }
            return loss, grads

    return two_layer(Net, 312, N=6, D=5, H=4, C=3, reg=0.0)


@mistake(
    "two_layer",
    "W1 b1 W2 b2",
    "the gradient is divided by the batch size twice: softmax_loss has already done it.",
    "the data's share of all gradients is N times too small",
    "dscores is divided by N once too often",
)
def two_layer_averaged_twice():
    class Net(TwoLayerNet):
        def loss(self, X, y=None):
            W1, b1, W2, b2 = (self.params[k] for k in ("W1", "b1", "W2", "b2"))
            h, cache1 = affine_relu_forward(X, W1, b1)
            scores, cache2 = affine_forward(h, W2, b2)
            if y is None:
                return scores
            N = X.shape[0]
            grads = {}
            loss, dscores = softmax_loss(scores, y)
            dscores /= N
            loss += 0.5 * self.reg * (np.sum(W1 * W1) + np.sum(W2 * W2))
            dh, grads["W2"], grads["b2"] = affine_backward(dscores, cache2)
            dx, grads["W1"], grads["b1"] = affine_relu_backward(dh, cache1)
            grads["W1"] += self.reg * W1
            grads["W2"] += self.reg * W2
            return loss, grads

    return two_layer(Net, 314, N=4, reg=0.05)


@mistake(
    "two_layer",
    "W2",
    "dW2 uses the hidden units before the ReLU instead of after it.",
    "the input of the second layer is the ReLU's output, not the first layer's",
    "dW2 also counts hidden units that the ReLU has switched off",
)
def two_layer_w2_before_relu():
    class Net(TwoLayerNet):
        def loss(self, X, y=None):
            W1, b1, W2, b2 = (self.params[k] for k in ("W1", "b1", "W2", "b2"))
            a = X.dot(W1) + b1
            h = np.maximum(0, a)
            scores = h.dot(W2) + b2
            if y is None:
                return scores
            loss, dscores = softmax_loss(scores, y)
            loss += 0.5 * self.reg * (np.sum(W1 * W1) + np.sum(W2 * W2))
            dh = dscores.dot(W2.T)
            da = dh * (a > 0)
            grads = {
                "W2": a.T.dot(dscores) + self.reg * W2,
                "b2": np.sum(dscores, axis=0),
                "W1": X.T.dot(da) + self.reg * W1,
                "b1": np.sum(da, axis=0),
            }
            return loss, grads

    return two_layer(Net, 316, N=3, D=3, H=6, C=5, reg=0.2)


@mistake(
    "two_layer",
    "b1",
    "db1 is summed before the ReLU's mask is applied.",
    "the ReLU's mask is missing in db1 alone",
    "the bias also gets the gradient of hidden units that are switched off",
)
def two_layer_b1_before_mask():
    class Net(TwoLayerNet):
        def loss(self, X, y=None):
            W1, b1, W2, b2 = (self.params[k] for k in ("W1", "b1", "W2", "b2"))
            h = np.maximum(0, X.dot(W1) + b1)
            scores = h.dot(W2) + b2
            if y is None:
                return scores
            loss, dscores = softmax_loss(scores, y)
            loss += 0.5 * self.reg * (np.sum(W1 * W1) + np.sum(W2 * W2))
            grads = {}
            grads["W2"] = h.T.dot(dscores) + self.reg * W2
            grads["b2"] = np.sum(dscores, axis=0)
            dh = dscores.dot(W2.T)
            grads["b1"] = np.sum(dh, axis=0)
            dh[h <= 0] = 0
            grads["W1"] = X.T.dot(dh) + self.reg * W1
            return loss, grads

    return two_layer(Net, 318, N=7, D=4, H=5, C=3, reg=0.1)


@mistake(
    "two_layer",
    "W1 W2",
    "the gradient of the regularization is divided by the batch size, which the loss does not do.",
    "reg * W / N is added instead of reg * W",
    "the penalty's gradient is N times too small",
)
def two_layer_reg_gradient_over_n():
    class Net(TwoLayerNet):
        def loss(self, X, y=None):
            W1, b1, W2, b2 = (self.params[k] for k in ("W1", "b1", "W2", "b2"))
            h, cache1 = affine_relu_forward(X, W1, b1)
            scores, cache2 = affine_forward(h, W2, b2)
            if y is None:
                return scores
            N = X.shape[0]
            grads = {}
            loss, dscores = softmax_loss(scores, y)
            loss += 0.5 * self.reg * (np.sum(W1 * W1) + np.sum(W2 * W2))
            dh, grads["W2"], grads["b2"] = affine_backward(dscores, cache2)
            dx, grads["W1"], grads["b1"] = affine_relu_backward(dh, cache1)
            grads["W1"] += self.reg * W1 / N
            grads["W2"] += self.reg * W2 / N
            return loss, grads

    return two_layer(Net, 320, N=5, D=7, H=4, C=4, reg=0.4)


@mistake(
    "two_layer",
    "W1 W2",
    "the regularization replaces the gradient of the data instead of being added to it.",
    "dW is only reg * W",
    "the gradient of the softmax loss is lost for the weights, since = stands where += belongs",
)
def two_layer_reg_overwrites():
    class Net(TwoLayerNet):
        def loss(self, X, y=None):
            W1, b1, W2, b2 = (self.params[k] for k in ("W1", "b1", "W2", "b2"))
            h, cache1 = affine_relu_forward(X, W1, b1)
            scores, cache2 = affine_forward(h, W2, b2)
            if y is None:
                return scores
            grads = {}
            loss, dscores = softmax_loss(scores, y)
            loss += 0.5 * self.reg * (np.sum(W1 * W1) + np.sum(W2 * W2))
            dh, grads["W2"], grads["b2"] = affine_backward(dscores, cache2)
            dx, grads["W1"], grads["b1"] = affine_relu_backward(dh, cache1)
            grads["W1"] = self.reg * W1
            grads["W2"] = self.reg * W2
            return loss, grads

    return two_layer(Net, 322, N=3, D=5, H=6, C=3, reg=0.2)


# ---------------------------------------------------------------- FullyConnectedNet


def learner_affine_relu_forward(net, out, i):
    """Hidden layer i of a plain network."""
    return affine_relu_forward(out, net.params[f"W{i}"], net.params[f"b{i}"])


@mistake(
    "network",
    "W1 b1 W2 b2",
    "the caches of the hidden layers overwrite each other: backward uses the last hidden layer's cache for all of "
    "them.",
    "one variable holds the cache of every layer",
    "backward of the first layers uses the cache of the last hidden layer",
)
def net_cache_overwritten():
    class Net(FullyConnectedNet):
        def loss(self, X, y=None):
            L = self.num_layers
            out = X
            for i in range(1, L):
                out, cache = learner_affine_relu_forward(self, out, i)
            scores, last_cache = affine_forward(out, self.params[f"W{L}"], self.params[f"b{L}"])
            if y is None:
                return scores
            grads = {}
            loss, dout = softmax_loss(scores, y)
            dout, grads[f"W{L}"], grads[f"b{L}"] = affine_backward(dout, last_cache)
            for i in range(L - 1, 0, -1):
                dout, grads[f"W{i}"], grads[f"b{i}"] = affine_relu_backward(dout, cache)
            return loss, grads

    return fully_connected(Net, 330, [6, 6, 6], D=6)


@mistake(
    "network",
    "W1 W2",
    "only the last layer's weights get the gradient of the regularization, though the loss penalizes all of them.",
    "reg * W is missing for the hidden layers",
    "the line with reg * W is not in the loop over the hidden layers",
)
def net_reg_gradient_last_layer_only():
    class Net(FullyConnectedNet):
        def loss(self, X, y=None):
            L = self.num_layers
            out, caches = X, {}
            for i in range(1, L):
                out, caches[i] = learner_affine_relu_forward(self, out, i)
            scores, caches[L] = affine_forward(out, self.params[f"W{L}"], self.params[f"b{L}"])
            if y is None:
                return scores
            grads = {}
            loss, dout = softmax_loss(scores, y)
            for i in range(1, L + 1):
                loss += 0.5 * self.reg * np.sum(self.params[f"W{i}"] ** 2)
            dout, grads[f"W{L}"], grads[f"b{L}"] = affine_backward(dout, caches[L])
            grads[f"W{L}"] += self.reg * self.params[f"W{L}"]
            for i in range(L - 1, 0, -1):
                dout, grads[f"W{i}"], grads[f"b{i}"] = affine_relu_backward(dout, caches[i])
            return loss, grads

    return fully_connected(Net, 332, [5, 7], reg=0.4)


@mistake(
    "network",
    "W3",
    "the loop that adds the regularization to the loss ends one layer too early: the last weights are not penalized.",
    "range(1, L) leaves out layer L in the loss",
    "the gradient of the last weights contains a penalty that the loss lacks",
)
def net_loss_penalty_skips_last():
    class Net(FullyConnectedNet):
        def loss(self, X, y=None):
            L = self.num_layers
            out, caches = X, {}
            for i in range(1, L):
                out, caches[i] = learner_affine_relu_forward(self, out, i)
            scores, caches[L] = affine_forward(out, self.params[f"W{L}"], self.params[f"b{L}"])
            if y is None:
                return scores
            grads = {}
            loss, dout = softmax_loss(scores, y)
            for i in range(1, L):
                loss += 0.5 * self.reg * np.sum(self.params[f"W{i}"] ** 2)
            dout, grads[f"W{L}"], grads[f"b{L}"] = affine_backward(dout, caches[L])
            for i in range(L - 1, 0, -1):
                dout, grads[f"W{i}"], grads[f"b{i}"] = affine_relu_backward(dout, caches[i])
            for i in range(1, L + 1):
                grads[f"W{i}"] += self.reg * self.params[f"W{i}"]
            return loss, grads

    return fully_connected(Net, 334, [4, 5], N=3, reg=0.8)


class NormalizedNet(FullyConnectedNet):
    """A network with batch or layer normalization, whose forward pass is right; what follows derives from it."""

    def forward(self, X):
        """Return the scores and the caches: caches[i] = (fc_cache, norm_cache, relu_cache, dropout_cache)."""
        L = self.num_layers
        out, caches = X, {}
        for i in range(1, L):
            out, fc_cache = affine_forward(out, self.params[f"W{i}"], self.params[f"b{i}"])
            norm_cache = dropout_cache = None
            if self.normalization == "batchnorm":
                gamma, beta = self.params[f"gamma{i}"], self.params[f"beta{i}"]
                out, norm_cache = batchnorm_forward(out, gamma, beta, {"mode": "train"})
            elif self.normalization == "layernorm":
                gamma, beta = self.params[f"gamma{i}"], self.params[f"beta{i}"]
                out, norm_cache = layernorm_forward(out, gamma, beta, {})
            out, relu_cache = relu_forward(out)
            if self.dropout_param is not None:
                out, dropout_cache = dropout_forward(out, self.dropout_param)
            caches[i] = fc_cache, norm_cache, relu_cache, dropout_cache
        scores, caches[L] = affine_forward(out, self.params[f"W{L}"], self.params[f"b{L}"])
        return scores, caches


@mistake(
    "network",
    "gamma1 beta1 gamma2 beta2",
    "dgamma and dbeta are swapped when they are stored.",
    "the gradients of gamma and beta are exchanged",
    "grads['gamma'] holds dbeta, and grads['beta'] holds dgamma",
)
def net_gamma_beta_swapped():
    class Net(NormalizedNet):
        def loss(self, X, y=None):
            L = self.num_layers
            scores, caches = self.forward(X)
            if y is None:
                return scores
            grads = {}
            loss, dout = softmax_loss(scores, y)
            dout, grads[f"W{L}"], grads[f"b{L}"] = affine_backward(dout, caches[L])
            for i in range(L - 1, 0, -1):
                fc_cache, norm_cache, relu_cache, _ = caches[i]
                dout = relu_backward(dout, relu_cache)
                dout, grads[f"beta{i}"], grads[f"gamma{i}"] = batchnorm_backward(dout, norm_cache)
                dout, grads[f"W{i}"], grads[f"b{i}"] = affine_backward(dout, fc_cache)
            return loss, grads

    return fully_connected(Net, 336, [5, 4], normalization="batchnorm")


@mistake(
    "network",
    "gamma1 gamma2",
    "the gammas' gradients contain a regularization that the loss does not have.",
    "reg * gamma is added to the gradients of gamma",
    "gamma is regularized like a weight in the gradients",
)
def net_reg_on_gamma():
    class Net(NormalizedNet):
        def loss(self, X, y=None):
            L = self.num_layers
            scores, caches = self.forward(X)
            if y is None:
                return scores
            grads = {}
            loss, dout = softmax_loss(scores, y)
            dout, grads[f"W{L}"], grads[f"b{L}"] = affine_backward(dout, caches[L])
            for i in range(L - 1, 0, -1):
                fc_cache, norm_cache, relu_cache, _ = caches[i]
                dout = relu_backward(dout, relu_cache)
                dout, grads[f"gamma{i}"], grads[f"beta{i}"] = layernorm_backward(dout, norm_cache)
                dout, grads[f"W{i}"], grads[f"b{i}"] = affine_backward(dout, fc_cache)
                grads[f"gamma{i}"] += self.reg * self.params[f"gamma{i}"]
            for i in range(1, L + 1):
                loss += 0.5 * self.reg * np.sum(self.params[f"W{i}"] ** 2)
                grads[f"W{i}"] += self.reg * self.params[f"W{i}"]
            return loss, grads

    return fully_connected(Net, 338, [6, 5], normalization="layernorm", reg=0.2)


@mistake(
    "network",
    "W1 b1 W2 b2",
    "backward leaves out dropout: the masks that forward applied are missing.",
    "gradient also flows through dropped units",
    "dropout_backward is never called",
)
def net_no_dropout_backward():
    class Net(NormalizedNet):
        def loss(self, X, y=None):
            L = self.num_layers
            scores, caches = self.forward(X)
            if y is None:
                return scores
            grads = {}
            loss, dout = softmax_loss(scores, y)
            dout, grads[f"W{L}"], grads[f"b{L}"] = affine_backward(dout, caches[L])
            for i in range(L - 1, 0, -1):
                fc_cache, _, relu_cache, dropout_cache = caches[i]
                dout = relu_backward(dout, relu_cache)
                dout, grads[f"W{i}"], grads[f"b{i}"] = affine_backward(dout, fc_cache)
            return loss, grads

    return fully_connected(Net, 340, [6, 5], dropout=0.6, seed=7)


@mistake(
    "network",
    "W1 b1 W2 b2 gamma1 beta1 gamma2 beta2",
    "backward undoes batch normalization before the ReLU; it has to undo the ReLU first.",
    "relu_backward and batchnorm_backward are in the wrong order",
    "the ReLU's mask is applied after the normalization's backward",
)
def net_bn_relu_order():
    class Net(NormalizedNet):
        def loss(self, X, y=None):
            L = self.num_layers
            scores, caches = self.forward(X)
            if y is None:
                return scores
            grads = {}
            loss, dout = softmax_loss(scores, y)
            dout, grads[f"W{L}"], grads[f"b{L}"] = affine_backward(dout, caches[L])
            for i in range(L - 1, 0, -1):
                fc_cache, norm_cache, relu_cache, _ = caches[i]
                dout, grads[f"gamma{i}"], grads[f"beta{i}"] = batchnorm_backward(dout, norm_cache)
                dout = relu_backward(dout, relu_cache)
                dout, grads[f"W{i}"], grads[f"b{i}"] = affine_backward(dout, fc_cache)
            return loss, grads

    return fully_connected(Net, 342, [5, 5], N=6, normalization="batchnorm")


@mistake(
    "network",
    "W1 b1 W3 b3",
    "the hidden layers' gradients are stored in reverse order: that of layer i under the name of layer L - i.",
    "the gradients of the first and the last hidden layer are exchanged",
    "the index of the layer is counted from the wrong end",
)
def net_names_reversed():
    class Net(FullyConnectedNet):
        def loss(self, X, y=None):
            L = self.num_layers
            out, caches = X, []
            for i in range(1, L):
                out, cache = learner_affine_relu_forward(self, out, i)
                caches.append(cache)
            scores, last_cache = affine_forward(out, self.params[f"W{L}"], self.params[f"b{L}"])
            if y is None:
                return scores
            grads = {}
            loss, dout = softmax_loss(scores, y)
            dout, grads[f"W{L}"], grads[f"b{L}"] = affine_backward(dout, last_cache)
            for i, cache in enumerate(reversed(caches), start=1):
                dout, grads[f"W{i}"], grads[f"b{i}"] = affine_relu_backward(dout, cache)
            return loss, grads

    return fully_connected(Net, 344, [5, 5, 5], D=5, N=5)


@mistake(
    "network",
    "W1 b1",
    "dout is not passed on: the first hidden layer's backward gets the gradient of the second's output, since dx is "
    "never assigned to dout.",
    "every hidden layer gets the same upstream gradient",
    "dx of a layer is not used as the dout of the one below",
)
def net_dout_not_passed_on():
    class Net(FullyConnectedNet):
        def loss(self, X, y=None):
            L = self.num_layers
            out, caches = X, {}
            for i in range(1, L):
                out, caches[i] = learner_affine_relu_forward(self, out, i)
            scores, caches[L] = affine_forward(out, self.params[f"W{L}"], self.params[f"b{L}"])
            if y is None:
                return scores
            grads = {}
            loss, dscores = softmax_loss(scores, y)
            dout, grads[f"W{L}"], grads[f"b{L}"] = affine_backward(dscores, caches[L])
            for i in range(L - 1, 0, -1):
                dx, grads[f"W{i}"], grads[f"b{i}"] = affine_relu_backward(dout, caches[i])
            return loss, grads

    return fully_connected(Net, 346, [7, 7], D=4, N=3)


@mistake(
    "network",
    "W1 W2 W3 b1 b2 b3",
    "backward sends the gradient of the scores through a ReLU that forward does not have.",
    "negative scores get no gradient",
    "the last layer is treated like a hidden one in backward",
)
def net_relu_on_scores_in_backward():
    class Net(FullyConnectedNet):
        def loss(self, X, y=None):
            L = self.num_layers
            out, caches = X, {}
            for i in range(1, L):
                out, caches[i] = learner_affine_relu_forward(self, out, i)
            scores, fc_cache = affine_forward(out, self.params[f"W{L}"], self.params[f"b{L}"])
            caches[L] = fc_cache, scores
            if y is None:
                return scores
            grads = {}
            loss, dout = softmax_loss(scores, y)
            fc_cache, relu_cache = caches[L]
            dout = relu_backward(dout, relu_cache)
            dout, grads[f"W{L}"], grads[f"b{L}"] = affine_backward(dout, fc_cache)
            for i in range(L - 1, 0, -1):
                dout, grads[f"W{i}"], grads[f"b{i}"] = affine_relu_backward(dout, caches[i])
            return loss, grads

    return fully_connected(Net, 348, [6, 4], N=4, D=5)


@mistake(
    "network",
    "W1 b1 W2 b2",
    "forward puts a ReLU on the scores too, where backward is that of a last layer without one.",
    "the scores are clipped at zero before the softmax",
    "the last layer is treated like a hidden one in forward",
)
def net_relu_on_scores_in_forward():
    class Net(FullyConnectedNet):
        def loss(self, X, y=None):
            L = self.num_layers
            out, caches = X, {}
            for i in range(1, L + 1):
                out, fc_cache = affine_forward(out, self.params[f"W{i}"], self.params[f"b{i}"])
                out, relu_cache = relu_forward(out)
                caches[i] = fc_cache, relu_cache
            scores = out
            if y is None:
                return scores
            grads = {}
            loss, dout = softmax_loss(scores, y)
            dout, grads[f"W{L}"], grads[f"b{L}"] = affine_backward(dout, caches[L][0])
            for i in range(L - 1, 0, -1):
                dout = relu_backward(dout, caches[i][1])
                dout, grads[f"W{i}"], grads[f"b{i}"] = affine_backward(dout, caches[i][0])
            return loss, grads

    return fully_connected(Net, 350, [6], N=6, D=3)


@mistake(
    "network",
    "W1 b1 W2 b2 gamma1 beta1",
    "batch normalization's backward treats the batch's mean and variance as constants, as in test mode.",
    "the paths through the mean and the variance are missing in the normalization's dx",
    "dx of the normalization is only dout * gamma / std",
)
def net_bn_backward_of_test_mode():
    def simple_backward(dout, cache):
        x_hat, inv_std, gamma, mode = cache
        return dout * gamma * inv_std, np.sum(dout * x_hat, axis=0), np.sum(dout, axis=0)

    class Net(NormalizedNet):
        def loss(self, X, y=None):
            L = self.num_layers
            scores, caches = self.forward(X)
            if y is None:
                return scores
            grads = {}
            loss, dout = softmax_loss(scores, y)
            dout, grads[f"W{L}"], grads[f"b{L}"] = affine_backward(dout, caches[L])
            for i in range(L - 1, 0, -1):
                fc_cache, norm_cache, relu_cache, _ = caches[i]
                dout = relu_backward(dout, relu_cache)
                dout, grads[f"gamma{i}"], grads[f"beta{i}"] = simple_backward(dout, norm_cache)
                dout, grads[f"W{i}"], grads[f"b{i}"] = affine_backward(dout, fc_cache)
            return loss, grads

    return fully_connected(Net, 352, [5, 6], N=4, normalization="batchnorm")


@mistake(
    "network",
    "W1 b1 W2 b2",
    "dropout is undone at the wrong place: its mask is applied below the affine layer instead of above the ReLU.",
    "dropout_backward comes after affine_backward, where it has to come first",
    "each mask hits the gradient of the layer's input",
)
def net_dropout_order():
    class Net(NormalizedNet):
        def loss(self, X, y=None):
            L = self.num_layers
            scores, caches = self.forward(X)
            if y is None:
                return scores
            grads = {}
            loss, dout = softmax_loss(scores, y)
            dout, grads[f"W{L}"], grads[f"b{L}"] = affine_backward(dout, caches[L])
            for i in range(L - 1, 0, -1):
                fc_cache, _, relu_cache, dropout_cache = caches[i]
                dout = relu_backward(dout, relu_cache)
                dout, grads[f"W{i}"], grads[f"b{i}"] = affine_backward(dout, fc_cache)
                dout = dropout_backward(dout, dropout_cache)
            return loss, grads

    return fully_connected(Net, 354, [6, 6], D=6, dropout=0.5, seed=3)


@mistake(
    "network",
    "W1 W2 W3",
    "the loss penalizes the norm of the weights instead of its square.",
    "the square is missing in the regularization of the loss",
    "np.linalg.norm(W) stands where np.sum(W * W) belongs",
)
def net_penalty_norm_not_squared():
    class Net(FullyConnectedNet):
        def loss(self, X, y=None):
            L = self.num_layers
            out, caches = X, {}
            for i in range(1, L):
                out, caches[i] = learner_affine_relu_forward(self, out, i)
            scores, caches[L] = affine_forward(out, self.params[f"W{L}"], self.params[f"b{L}"])
            if y is None:
                return scores
            grads = {}
            loss, dout = softmax_loss(scores, y)
            dout, grads[f"W{L}"], grads[f"b{L}"] = affine_backward(dout, caches[L])
            for i in range(L - 1, 0, -1):
                dout, grads[f"W{i}"], grads[f"b{i}"] = affine_relu_backward(dout, caches[i])
            for i in range(1, L + 1):
                loss += 0.5 * self.reg * np.linalg.norm(self.params[f"W{i}"])
                grads[f"W{i}"] += self.reg * self.params[f"W{i}"]
            return loss, grads

    return fully_connected(Net, 356, [3, 5], N=7, reg=0.3)


@mistake(
    "network",
    "W3",
    "the last layer's weights get the gradient of the regularization twice: once with the layer and once more in the "
    "loop over all layers.",
    "reg * W is added once too often to the last weights",
)
def net_reg_twice_on_last():
    class Net(FullyConnectedNet):
        def loss(self, X, y=None):
            L = self.num_layers
            out, caches = X, {}
            for i in range(1, L):
                out, caches[i] = learner_affine_relu_forward(self, out, i)
            scores, caches[L] = affine_forward(out, self.params[f"W{L}"], self.params[f"b{L}"])
            if y is None:
                return scores
            grads = {}
            loss, dout = softmax_loss(scores, y)
            dout, grads[f"W{L}"], grads[f"b{L}"] = affine_backward(dout, caches[L])
            grads[f"W{L}"] += self.reg * self.params[f"W{L}"]
            for i in range(L - 1, 0, -1):
                dout, grads[f"W{i}"], grads[f"b{i}"] = affine_relu_backward(dout, caches[i])
            for i in range(1, L + 1):
                loss += 0.5 * self.reg * np.sum(self.params[f"W{i}"] ** 2)
                grads[f"W{i}"] += self.reg * self.params[f"W{i}"]
            return loss, grads

    return fully_connected(Net, 358, [5, 4], reg=0.5)


@mistake(
    "network",
    "beta1 beta2",
    "dbeta is summed from the gradient above the ReLU instead of below it.",
    "the ReLU's mask is missing in dbeta alone",
    "dbeta also gets the gradient of units that are switched off",
)
def net_beta_above_relu():
    class Net(NormalizedNet):
        def loss(self, X, y=None):
            L = self.num_layers
            scores, caches = self.forward(X)
            if y is None:
                return scores
            grads = {}
            loss, dout = softmax_loss(scores, y)
            dout, grads[f"W{L}"], grads[f"b{L}"] = affine_backward(dout, caches[L])
            for i in range(L - 1, 0, -1):
                fc_cache, norm_cache, relu_cache, _ = caches[i]
                grads[f"beta{i}"] = np.sum(dout, axis=0)
                dout = relu_backward(dout, relu_cache)
                dout, grads[f"gamma{i}"], _ = layernorm_backward(dout, norm_cache)
                dout, grads[f"W{i}"], grads[f"b{i}"] = affine_backward(dout, fc_cache)
            return loss, grads

    return fully_connected(Net, 360, [4, 6], N=3, normalization="layernorm")


@mistake(
    "network",
    "W1 b1 W2 b2 gamma1 beta1",
    "layer normalization's backward is that of batch normalization: its means are taken over the batch "
    "instead of over the features.",
    "dx of the normalization is averaged over the wrong axis",
    "the network calls the wrong backward function",
)
def net_layernorm_backward_over_batch():
    def norm_backward(dout, cache):
        x_hat, inv_std, gamma = cache
        dbeta = np.sum(dout, axis=0)
        dgamma = np.sum(dout * x_hat, axis=0)
        dx_hat = dout * gamma
        dx = inv_std * (dx_hat - np.mean(dx_hat, axis=0) - x_hat * np.mean(dx_hat * x_hat, axis=0))
        return dx, dgamma, dbeta

    class Net(NormalizedNet):
        def loss(self, X, y=None):
            L = self.num_layers
            scores, caches = self.forward(X)
            if y is None:
                return scores
            grads = {}
            loss, dout = softmax_loss(scores, y)
            dout, grads[f"W{L}"], grads[f"b{L}"] = affine_backward(dout, caches[L])
            for i in range(L - 1, 0, -1):
                fc_cache, norm_cache, relu_cache, _ = caches[i]
                dout = relu_backward(dout, relu_cache)
                dout, grads[f"gamma{i}"], grads[f"beta{i}"] = norm_backward(dout, norm_cache)
                dout, grads[f"W{i}"], grads[f"b{i}"] = affine_backward(dout, fc_cache)
            return loss, grads

    return fully_connected(Net, 362, [5, 5], N=5, normalization="layernorm")


@mistake(
    "network",
    "W1 gamma1 beta1",
    "the first hidden layer's backward uses the second layer's dropout mask.",
    "the dropout caches are mixed up: the index of the layer is off by one",
    "the wrong units count as dropped in the first layer",
)
def net_dropout_mask_of_other_layer():
    class Net(NormalizedNet):
        def loss(self, X, y=None):
            L = self.num_layers
            scores, caches = self.forward(X)
            if y is None:
                return scores
            dropout_cache = caches[L - 1][3]
            grads = {}
            loss, dout = softmax_loss(scores, y)
            dout, grads[f"W{L}"], grads[f"b{L}"] = affine_backward(dout, caches[L])
            for i in range(L - 1, 0, -1):
                fc_cache, norm_cache, relu_cache, _ = caches[i]
                dout = dropout_backward(dout, dropout_cache)
                dout = relu_backward(dout, relu_cache)
                dout, grads[f"gamma{i}"], grads[f"beta{i}"] = batchnorm_backward(dout, norm_cache)
                dout, grads[f"W{i}"], grads[f"b{i}"] = affine_backward(dout, fc_cache)
            return loss, grads

        def forward(self, X):
            # a mask of its own for every layer: without a seed, dropout draws on from the global generator
            state = np.random.get_state()
            np.random.seed(5)
            result = super().forward(X)
            np.random.set_state(state)
            return result

    return fully_connected(Net, 364, [6, 6], normalization="batchnorm", dropout=0.6)


# ---------------------------------------------------------------- ThreeLayerConvNet


def add_penalty(net, loss, grads):
    """The right regularization."""
    for name in ("W1", "W2", "W3"):
        loss += 0.5 * net.reg * np.sum(net.params[name] ** 2)
        grads[name] = grads[name] + net.reg * net.params[name]
    return loss


def conv_net_forward(net, X):
    """The right forward pass, layer by layer."""
    W1, b1, W2, b2, W3, b3 = (net.params[k] for k in ("W1", "b1", "W2", "b2", "W3", "b3"))
    a1, conv_cache = conv_forward_fast(X, W1, b1, net.conv_param)
    r1, relu1_cache = relu_forward(a1)
    p1, pool_cache = max_pool_forward_fast(r1, net.pool_param)
    a2, fc2_cache = affine_forward(p1, W2, b2)
    r2, relu2_cache = relu_forward(a2)
    scores, fc3_cache = affine_forward(r2, W3, b3)
    return scores, (conv_cache, relu1_cache, pool_cache, fc2_cache, relu2_cache, fc3_cache)


@mistake(
    "cnn",
    "W1",
    "the convolution's filters get no gradient of the regularization, though the loss penalizes them.",
    "reg * W1 is missing",
    "W1 is left out when the penalty's gradient is added",
)
def cnn_no_reg_on_filters():
    class Net(ThreeLayerConvNet):
        def loss(self, X, y=None):
            W1, b1, W2, b2, W3, b3 = (self.params[k] for k in ("W1", "b1", "W2", "b2", "W3", "b3"))
            out, cache1 = conv_relu_pool_forward(X, W1, b1, self.conv_param, self.pool_param)
            out, cache2 = affine_relu_forward(out, W2, b2)
            scores, cache3 = affine_forward(out, W3, b3)
            if y is None:
                return scores
            grads = {}
            loss, dout = softmax_loss(scores, y)
            loss += 0.5 * self.reg * (np.sum(W1**2) + np.sum(W2**2) + np.sum(W3**2))
            dout, grads["W3"], grads["b3"] = affine_backward(dout, cache3)
            dout, grads["W2"], grads["b2"] = affine_relu_backward(dout, cache2)
            dout, grads["W1"], grads["b1"] = conv_relu_pool_backward(dout, cache1)
            grads["W3"] += self.reg * W3
            grads["W2"] += self.reg * W2
            return loss, grads

    return convnet(Net, 400, reg=0.3)


@mistake(
    "cnn",
    "W1 b1",
    "backward skips the ReLU after the convolution.",
    "the ReLU's mask is missing between pooling and convolution",
    "gradient flows through outputs that the ReLU has set to zero",
)
def cnn_no_relu_after_conv():
    class Net(ThreeLayerConvNet):
        def loss(self, X, y=None):
            scores, caches = conv_net_forward(self, X)
            if y is None:
                return scores
            conv_cache, relu1_cache, pool_cache, fc2_cache, relu2_cache, fc3_cache = caches
            grads = {}
            loss, dout = softmax_loss(scores, y)
            dout, grads["W3"], grads["b3"] = affine_backward(dout, fc3_cache)
            dout = relu_backward(dout, relu2_cache)
            dout, grads["W2"], grads["b2"] = affine_backward(dout, fc2_cache)
            dout = max_pool_backward_fast(dout, pool_cache)
            dout, grads["W1"], grads["b1"] = conv_backward_fast(dout, conv_cache)
            return add_penalty(self, loss, grads), grads

    case = convnet(Net, 402, reg=0.1)
    case["model"].params["b1"] -= 1.5
    return case


@mistake(
    "cnn",
    "W1 b1",
    "the gradient of the flattened pooling output is unflattened in the wrong order: as (N, H, W, F) and transposed, "
    "though forward flattened (N, F, H, W).",
    "the channels are taken from the wrong places when dout gets its four axes back",
    "the reshape before the pooling's backward scrambles dout",
)
def cnn_unflattened_channels_last():
    class Net(ThreeLayerConvNet):
        def loss(self, X, y=None):
            scores, caches = conv_net_forward(self, X)
            if y is None:
                return scores
            conv_cache, relu1_cache, pool_cache, fc2_cache, relu2_cache, fc3_cache = caches
            N, F, H, W = fc2_cache[0].shape
            grads = {}
            loss, dout = softmax_loss(scores, y)
            dout, grads["W3"], grads["b3"] = affine_backward(dout, fc3_cache)
            dout = relu_backward(dout, relu2_cache)
            dflat = dout.dot(self.params["W2"].T)
            _, grads["W2"], grads["b2"] = affine_backward(dout, fc2_cache)
            dout = dflat.reshape(N, H, W, F).transpose(0, 3, 1, 2)
            dout = max_pool_backward_fast(np.ascontiguousarray(dout), pool_cache)
            dout = relu_backward(dout, relu1_cache)
            dout, grads["W1"], grads["b1"] = conv_backward_fast(dout, conv_cache)
            return add_penalty(self, loss, grads), grads

    return convnet(Net, 404)


@mistake(
    "cnn",
    "W3",
    "the loss leaves out W3 in the regularization, where the gradient has it.",
    "the gradient of W3 contains a penalty that the loss lacks",
    "np.sum(W3 ** 2) is missing in the loss",
)
def cnn_loss_without_w3_penalty():
    class Net(ThreeLayerConvNet):
        def loss(self, X, y=None):
            W1, b1, W2, b2, W3, b3 = (self.params[k] for k in ("W1", "b1", "W2", "b2", "W3", "b3"))
            out, cache1 = conv_relu_pool_forward(X, W1, b1, self.conv_param, self.pool_param)
            out, cache2 = affine_relu_forward(out, W2, b2)
            scores, cache3 = affine_forward(out, W3, b3)
            if y is None:
                return scores
            grads = {}
            loss, dout = softmax_loss(scores, y)
            loss += 0.5 * self.reg * (np.sum(W1**2) + np.sum(W2**2))
            dout, dW3, grads["b3"] = affine_backward(dout, cache3)
            dout, dW2, grads["b2"] = affine_relu_backward(dout, cache2)
            dout, dW1, grads["b1"] = conv_relu_pool_backward(dout, cache1)
            grads["W1"] = dW1 + self.reg * W1
            grads["W2"] = dW2 + self.reg * W2
            grads["W3"] = dW3 + self.reg * W3
            return loss, grads

    return convnet(Net, 406, N=3, input_dim=(1, 4, 4), reg=0.6)


@mistake(
    "cnn",
    "W1 b1",
    "the convolution's gradients are divided by the batch size once more.",
    "dW1 and db1 are N times too small",
    "softmax_loss has already divided by N",
)
def cnn_conv_params_averaged():
    class Net(ThreeLayerConvNet):
        def loss(self, X, y=None):
            W1, b1, W2, b2, W3, b3 = (self.params[k] for k in ("W1", "b1", "W2", "b2", "W3", "b3"))
            N = X.shape[0]
            out, cache1 = conv_relu_pool_forward(X, W1, b1, self.conv_param, self.pool_param)
            out, cache2 = affine_relu_forward(out, W2, b2)
            scores, cache3 = affine_forward(out, W3, b3)
            if y is None:
                return scores
            grads = {}
            loss, dout = softmax_loss(scores, y)
            dout, grads["W3"], grads["b3"] = affine_backward(dout, cache3)
            dout, grads["W2"], grads["b2"] = affine_relu_backward(dout, cache2)
            dout, dW1, db1 = conv_relu_pool_backward(dout, cache1)
            grads["W1"] = dW1 / N
            grads["b1"] = db1 / N
            return loss, grads

    return convnet(Net, 408, N=3, input_dim=(3, 4, 4), filters=2)


@mistake(
    "cnn",
    "W1 b1 W2 b2",
    "backward skips the ReLU of the hidden affine layer: it calls affine_backward alone.",
    "the ReLU's mask is missing after the hidden affine layer",
    "gradient flows through hidden units that are switched off",
)
def cnn_no_relu_in_hidden_affine():
    class Net(ThreeLayerConvNet):
        def loss(self, X, y=None):
            scores, caches = conv_net_forward(self, X)
            if y is None:
                return scores
            conv_cache, relu1_cache, pool_cache, fc2_cache, relu2_cache, fc3_cache = caches
            grads = {}
            loss, dout = softmax_loss(scores, y)
            dout, grads["W3"], grads["b3"] = affine_backward(dout, fc3_cache)
            dout, grads["W2"], grads["b2"] = affine_backward(dout, fc2_cache)
            dout = max_pool_backward_fast(dout, pool_cache)
            dout = relu_backward(dout, relu1_cache)
            dout, grads["W1"], grads["b1"] = conv_backward_fast(dout, conv_cache)
            return add_penalty(self, loss, grads), grads

    return convnet(Net, 410, hidden=8, C=3)


@mistake(
    "cnn",
    "W1 b1",
    "the pooling's backward gives every pixel of a window the whole gradient, not only the largest one.",
    "dout is only enlarged to the size before the pooling, without the mask of the maxima",
    "backward of the pooling repeats dout 2 x 2 times",
)
def cnn_pool_repeats():
    class Net(ThreeLayerConvNet):
        def loss(self, X, y=None):
            scores, caches = conv_net_forward(self, X)
            if y is None:
                return scores
            conv_cache, relu1_cache, pool_cache, fc2_cache, relu2_cache, fc3_cache = caches
            grads = {}
            loss, dout = softmax_loss(scores, y)
            dout, grads["W3"], grads["b3"] = affine_backward(dout, fc3_cache)
            dout = relu_backward(dout, relu2_cache)
            dout, grads["W2"], grads["b2"] = affine_backward(dout, fc2_cache)
            dout = np.repeat(np.repeat(dout, 2, axis=2), 2, axis=3)
            dout = relu_backward(dout, relu1_cache)
            dout, grads["W1"], grads["b1"] = conv_backward_fast(dout, conv_cache)
            return add_penalty(self, loss, grads), grads

    return convnet(Net, 412, input_dim=(1, 6, 4), reg=0.05)


@mistake(
    "cnn",
    "b1 b2 b3",
    "the loss penalizes the biases too, which the gradients do not.",
    "reg * b is missing in the biases' gradients, or the biases do not belong in the loss",
    "the penalty runs over all parameters in the loss",
)
def cnn_loss_penalizes_biases():
    class Net(ThreeLayerConvNet):
        def loss(self, X, y=None):
            W1, b1, W2, b2, W3, b3 = (self.params[k] for k in ("W1", "b1", "W2", "b2", "W3", "b3"))
            out, cache1 = conv_relu_pool_forward(X, W1, b1, self.conv_param, self.pool_param)
            out, cache2 = affine_relu_forward(out, W2, b2)
            scores, cache3 = affine_forward(out, W3, b3)
            if y is None:
                return scores
            grads = {}
            loss, dout = softmax_loss(scores, y)
            for name in self.params:
                loss += 0.5 * self.reg * np.sum(self.params[name] ** 2)
            dout, grads["W3"], grads["b3"] = affine_backward(dout, cache3)
            dout, grads["W2"], grads["b2"] = affine_relu_backward(dout, cache2)
            dout, grads["W1"], grads["b1"] = conv_relu_pool_backward(dout, cache1)
            for name in ("W1", "W2", "W3"):
                grads[name] += self.reg * self.params[name]
            return loss, grads

    return convnet(Net, 414, input_dim=(2, 4, 4), reg=0.9)


@mistake(
    "cnn",
    "W1 b1",
    "in the pooling's backward the whole gradient goes to the top left pixel of every window.",
    "the place of the maximum is ignored, and pixel (0, 0) of each window is taken instead",
)
def cnn_pool_top_left():
    class Net(ThreeLayerConvNet):
        def loss(self, X, y=None):
            scores, caches = conv_net_forward(self, X)
            if y is None:
                return scores
            conv_cache, relu1_cache, pool_cache, fc2_cache, relu2_cache, fc3_cache = caches
            grads = {}
            loss, dout = softmax_loss(scores, y)
            dout, grads["W3"], grads["b3"] = affine_backward(dout, fc3_cache)
            dout = relu_backward(dout, relu2_cache)
            dout, grads["W2"], grads["b2"] = affine_backward(dout, fc2_cache)
            dr1 = np.zeros_like(relu1_cache)
            dr1[:, :, ::2, ::2] = dout
            da1 = relu_backward(dr1, relu1_cache)
            dout, grads["W1"], grads["b1"] = conv_backward_fast(da1, conv_cache)
            return add_penalty(self, loss, grads), grads

    return convnet(Net, 416, N=3, input_dim=(1, 4, 4), filters=2)


@mistake(
    "cnn",
    "W1 W2 W3",
    "the gradient of the regularization has the wrong sign: reg * W is subtracted instead of added.",
    "a minus stands where a plus belongs in front of reg * W",
    "the penalty's gradient makes the weights grow",
)
def cnn_reg_sign():
    class Net(ThreeLayerConvNet):
        def loss(self, X, y=None):
            W1, b1, W2, b2, W3, b3 = (self.params[k] for k in ("W1", "b1", "W2", "b2", "W3", "b3"))
            out, cache1 = conv_relu_pool_forward(X, W1, b1, self.conv_param, self.pool_param)
            out, cache2 = affine_relu_forward(out, W2, b2)
            scores, cache3 = affine_forward(out, W3, b3)
            if y is None:
                return scores
            grads = {}
            loss, dout = softmax_loss(scores, y)
            loss += 0.5 * self.reg * (np.sum(W1**2) + np.sum(W2**2) + np.sum(W3**2))
            dout, grads["W3"], grads["b3"] = affine_backward(dout, cache3)
            dout, grads["W2"], grads["b2"] = affine_relu_backward(dout, cache2)
            dout, grads["W1"], grads["b1"] = conv_relu_pool_backward(dout, cache1)
            for name in ("W1", "W2", "W3"):
                grads[name] -= self.reg * self.params[name]
            return loss, grads

    return convnet(Net, 418, input_dim=(1, 4, 6), reg=0.25)
