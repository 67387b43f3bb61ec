"""Gradient mistakes that learners of CS231n, assignment 2, make: a test set for tools that name the cause.

`CASES` lists them. `case.make()` returns fresh objects: a layer (kind "layer") or a network (kind "model").
`case.wrong` names the inputs (or the parameters) whose gradient is wrong, with respect to the forward pass as
it is written in the case. Everything is in float64 and repeats itself.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from cs231n import layer_utils as right_utils
from cs231n import layers as right
from cs231n.classifiers.cnn import ThreeLayerConvNet
from cs231n.classifiers.fc_net import FullyConnectedNet, TwoLayerNet


@dataclass(frozen=True)
class Case:
    id: str
    family: str
    make: Callable[[], dict]
    wrong: list
    what: str
    also_fine: list = field(default_factory=list)


CASES = []


def mistake(family, wrong, what, *also_fine):
    """Register the decorated make() as a case; `wrong` are names separated by spaces."""

    def register(make):
        slug = make.__name__.replace("_", "-")
        CASES.append(Case(slug, family, make, wrong.split(), what, list(also_fine)))
        return make

    return register


def draw(seed, *shapes):
    rng = np.random.RandomState(seed)
    return [rng.randn(*shape) for shape in shapes]


def layer(forward, backward, settings=None, **inputs):
    return {
        "kind": "layer",
        "forward": forward,
        "backward": backward,
        "inputs": inputs,
        "settings": settings or {},
    }


def loss_layer(loss, seed, N, C, scale=1.0):
    rng = np.random.RandomState(seed)
    x, y = scale * rng.randn(N, C), rng.randint(C, size=N)
    return layer(lambda x: loss(x, y), lambda dout, dx: dout * dx, {"y": y}, x=x)


# ---------------------------------------------------------------------------------------------------------
# Affine, ReLU, sandwiches
# ---------------------------------------------------------------------------------------------------------


def affine_forward(x, w, b):
    out = x.reshape(x.shape[0], -1).dot(w) + b
    return out, (x, w, b)


def affine_case(backward, seed, x_shape, M, forward=affine_forward):
    D = int(np.prod(x_shape[1:]))
    x, w, b = draw(seed, x_shape, (D, M), (M,))
    return layer(forward, backward, x=x, w=w, b=b)


@mistake(
    "affine",
    "b",
    "The bias gradient is summed over the outputs (axis 1) instead of over the batch (axis 0); it fits only because N = M.",
    "db sums dout along the wrong axis.",
)
def affine_db_axis_one():
    def backward(dout, cache):
        x, w, b = cache
        dx = dout.dot(w.T).reshape(x.shape)
        dw = x.reshape(x.shape[0], -1).T.dot(dout)
        db = np.sum(dout, axis=1)
        return dx, dw, db

    return affine_case(backward, 1, (5, 7), 5)


@mistake(
    "affine",
    "w",
    "x is reshaped to (D, N) instead of being transposed, so the entries of different examples are mixed up in dw.",
    "dw uses a reshape where a transpose is needed.",
)
def affine_dw_reshape_for_transpose():
    def backward(dout, cache):
        x, w, b = cache
        N, D = x.shape[0], w.shape[0]
        dx = np.dot(dout, w.T).reshape(x.shape)
        dw = np.dot(x.reshape(D, N), dout)
        db = np.sum(dout, axis=0)
        return dx, dw, db

    return affine_case(backward, 2, (4, 2, 3), 5)


@mistake(
    "affine",
    "w",
    "x.T reverses all axes of a multi-dimensional x, so the rows of dw come in the wrong order: flatten first, then transpose.",
    "The rows of dw are permuted: the features are flattened in reversed axis order.",
    "dw flattens the transposed x instead of transposing the flattened x.",
)
def affine_dw_transpose_before_flatten():
    def backward(dout, cache):
        x, w, b = cache
        N = x.shape[0]
        dx = np.dot(dout, w.T).reshape(x.shape)
        dw = np.dot(x.T.reshape(-1, N), dout)
        db = np.sum(dout, axis=0)
        return dx, dw, db

    return affine_case(backward, 3, (3, 2, 4), 3)


@mistake(
    "affine",
    "x",
    "dx multiplies dout by w instead of by w transposed; it fits only because D = M.",
    "The transpose of w is missing in dx.",
)
def affine_dx_no_transpose():
    def backward(dout, cache):
        x, w, b = cache
        dx = dout.dot(w).reshape(x.shape)
        dw = x.T.dot(dout)
        db = dout.sum(axis=0)
        return dx, dw, db

    return affine_case(backward, 4, (3, 6), 6)


@mistake(
    "affine",
    "w",
    "The weight gradient is returned transposed (dout^T x instead of x^T dout); it fits only because w is square.",
    "dw is the transpose of the right gradient.",
)
def affine_dw_transposed():
    def backward(dout, cache):
        x, w, b = cache
        dx = dout.dot(w.T)
        dw = dout.T.dot(x)
        db = dout.sum(axis=0)
        return dx, dw, db

    return affine_case(backward, 5, (7, 4), 4)


@mistake(
    "affine",
    "w b",
    "dw and db are averaged over the batch: divided by N, though the averaging belongs to the loss and is already in dout.",
    "dw and db are N times too small.",
    "The gradients of the parameters are scaled by 1 / N.",
)
def affine_params_averaged():
    def backward(dout, cache):
        x, w, b = cache
        N = x.shape[0]
        x_row = x.reshape(N, -1)
        dx = dout.dot(w.T).reshape(x.shape)
        dw = x_row.T.dot(dout) / N
        db = np.mean(dout, axis=0)
        return dx, dw, db

    return affine_case(backward, 6, (6, 5), 3)


@mistake(
    "affine",
    "w",
    "In the loop over examples dw is overwritten instead of added up, so only the last example counts.",
    "dw uses = where it needs +=.",
    "dw holds the contribution of the last example only.",
)
def affine_dw_last_example():
    def backward(dout, cache):
        x, w, b = cache
        x_row = x.reshape(x.shape[0], -1)
        dx = dout.dot(w.T).reshape(x.shape)
        dw = np.zeros_like(w)
        for i in range(x.shape[0]):
            dw = np.outer(x_row[i], dout[i])
        db = dout.sum(axis=0)
        return dx, dw, db

    return affine_case(backward, 7, (4, 3), 2)


@mistake(
    "affine",
    "b",
    "db adds up dout over the batch and over the outputs too: every bias gets the sum of all of dout.",
    "np.sum(dout) without an axis: all entries of db are the same number.",
    "The sum over the batch has no axis=0.",
)
def affine_db_total_sum():
    def backward(dout, cache):
        x, w, b = cache
        dx = np.reshape(np.dot(dout, w.T), x.shape)
        dw = np.dot(np.reshape(x, (x.shape[0], -1)).T, dout)
        db = np.ones_like(b) * np.sum(dout)
        return dx, dw, db

    return affine_case(backward, 8, (2, 3, 2), 4)


def relu_forward(x):
    return np.maximum(0, x), x


@mistake(
    "relu",
    "x",
    "The mask looks at the sign of dout instead of the sign of the input x.",
    "dx zeroes the negative upstream gradients, not the units that were off.",
    "dx is max(0, dout).",
)
def relu_mask_of_dout():
    def backward(dout, cache):
        dx = dout.copy()
        dx[dout <= 0] = 0
        return dx

    (x,) = draw(11, (4, 6))
    return layer(relu_forward, backward, x=x)


@mistake(
    "relu",
    "x",
    "dout is multiplied by the output max(0, x) instead of by the mask x > 0.",
    "The derivative of ReLU is taken to be x where x > 0; it is 1.",
    "Each gradient is x times what it should be.",
)
def relu_times_output():
    def backward(dout, cache):
        x = cache
        return dout * np.maximum(0, x)

    (x,) = draw(12, (5, 5))
    return layer(relu_forward, backward, x=x)


@mistake(
    "relu",
    "x",
    "The mask is inverted: the gradient flows where x < 0 and is blocked where x > 0.",
    "The comparison sign in the mask is the wrong way round.",
)
def relu_mask_inverted():
    def backward(dout, cache):
        x = cache
        dx = dout.copy()
        dx[x > 0] = 0
        return dx

    (x,) = draw(13, (3, 2, 4))
    return layer(relu_forward, backward, x=x)


@mistake(
    "relu",
    "x",
    "The upstream gradient is forgotten: the local derivative x > 0 is returned without being multiplied by dout.",
    "dx is the mask of zeros and ones itself.",
    "The chain rule's factor dout is missing.",
)
def relu_no_upstream():
    def backward(dout, cache):
        x = cache
        return (x > 0).astype(float)

    (x,) = draw(14, (3, 7))
    return layer(relu_forward, backward, x=x)


@mistake(
    "relu",
    "x",
    "The gradient is passed through everywhere: the units with negative input are not switched off.",
    "dx is dout; the mask is missing.",
    "The mask is out >= 0, which is true everywhere: the output of a ReLU is never negative.",
)
def relu_pass_through():
    def backward(dout, cache):
        out = np.maximum(0, cache)
        return dout * (out >= 0)

    (x,) = draw(15, (2, 9))
    return layer(relu_forward, backward, x=x)


def affine_relu_forward(x, w, b):
    a, fc_cache = affine_forward(x, w, b)
    out, relu_cache = relu_forward(a)
    return out, (fc_cache, relu_cache)


def right_affine_backward(dout, cache):
    x, w, b = cache
    dx = dout.dot(w.T).reshape(x.shape)
    dw = x.reshape(x.shape[0], -1).T.dot(dout)
    return dx, dw, dout.sum(axis=0)


@mistake(
    "sandwich",
    "x w b",
    "The ReLU is left out of the backward pass: dout goes straight to the affine layer.",
    "The ReLU mask is never applied.",
)
def affine_relu_skips_relu():
    def backward(dout, cache):
        fc_cache, relu_cache = cache
        dx, dw, db = right_affine_backward(dout, fc_cache)
        return dx, dw, db

    return affine_case(backward, 21, (4, 5), 6, affine_relu_forward)


@mistake(
    "sandwich",
    "w b",
    "Only dx gets the gradient that went through the ReLU; dw and db are computed from dout before the ReLU.",
    "dw and db ignore the ReLU mask.",
)
def affine_relu_params_before_mask():
    def backward(dout, cache):
        fc_cache, relu_cache = cache
        x, w, b = fc_cache
        da = dout * (relu_cache > 0)
        dx = da.dot(w.T).reshape(x.shape)
        dw = x.reshape(x.shape[0], -1).T.dot(dout)
        db = np.sum(dout, axis=0)
        return dx, dw, db

    return affine_case(backward, 22, (3, 2, 2), 5, affine_relu_forward)


@mistake(
    "sandwich",
    "x w b",
    "The ReLU mask is taken from the input of the affine layer instead of from its output; it fits only because D = M.",
    "The wrong array is masked on: x > 0 instead of x w + b > 0.",
)
def affine_relu_mask_of_input():
    def backward(dout, cache):
        (x, w, b), a = cache
        da = dout * (x > 0)
        return right_affine_backward(da, (x, w, b))

    return affine_case(backward, 23, (5, 4), 4, affine_relu_forward)


def affine_bn_relu_case(backward, seed):
    x, w, b, gamma, beta = draw(seed, (6, 4), (4, 5), (5,), (5,), (5,))

    def forward(x, w, b, gamma, beta):
        a, fc_cache = right.affine_forward(x, w, b)
        n, bn_cache = right.batchnorm_forward(a, gamma, beta, {"mode": "train"})
        out, relu_cache = right.relu_forward(n)
        return out, (fc_cache, bn_cache, relu_cache)

    return layer(forward, backward, x=x, w=w, b=b, gamma=gamma, beta=beta)


@mistake(
    "sandwich",
    "gamma beta",
    "The gradients of gamma and beta are returned in the wrong order.",
    "dgamma and dbeta are swapped.",
)
def affine_bn_relu_swapped():
    def backward(dout, cache):
        fc_cache, bn_cache, relu_cache = cache
        dn = right.relu_backward(dout, relu_cache)
        da, dgamma, dbeta = right.batchnorm_backward(dn, bn_cache)
        dx, dw, db = right.affine_backward(da, fc_cache)
        return dx, dw, db, dbeta, dgamma

    return affine_bn_relu_case(backward, 24)


@mistake(
    "sandwich",
    "x w b gamma beta",
    "Backward runs ReLU and batch normalization in the order of the forward pass instead of in reverse: batch norm first, then the ReLU mask.",
    "The ReLU mask is applied after the batch-normalization backward instead of before it.",
)
def affine_bn_relu_order():
    def backward(dout, cache):
        fc_cache, bn_cache, relu_cache = cache
        dn, dgamma, dbeta = right.batchnorm_backward(dout, bn_cache)
        da = right.relu_backward(dn, relu_cache)
        dx, dw, db = right.affine_backward(da, fc_cache)
        return dx, dw, db, dgamma, dbeta

    return affine_bn_relu_case(backward, 25)


@mistake(
    "sandwich",
    "x w b",
    "The ReLU between convolution and pooling is skipped in the backward pass.",
    "The ReLU mask is missing: gradient flows through units that were off.",
)
def conv_relu_pool_skips_relu():
    conv_param, pool_param = {"stride": 1, "pad": 1}, {"pool_height": 2, "pool_width": 2, "stride": 2}

    def forward(x, w, b):
        a, conv_cache = right.conv_forward_naive(x, w, b, conv_param)
        r, relu_cache = right.relu_forward(a)
        out, pool_cache = right.max_pool_forward_naive(r, pool_param)
        return out, (conv_cache, relu_cache, pool_cache)

    def backward(dout, cache):
        conv_cache, relu_cache, pool_cache = cache
        ds = right.max_pool_backward_naive(dout, pool_cache)
        dx, dw, db = right.conv_backward_naive(ds, conv_cache)
        return dx, dw, db

    x, w, b = draw(26, (2, 2, 4, 6), (3, 2, 3, 3), (3,))
    return layer(forward, backward, x=x, w=w, b=b - 2)


# ---------------------------------------------------------------------------------------------------------
# Dropout
# ---------------------------------------------------------------------------------------------------------


def dropout_case(backward, seed, shape, p, mode="train", forward=None):
    """The learner's forward keeps the 0/1 mask and the settings."""

    def right_forward(x):
        if mode == "test":
            return x.copy(), (None, p, mode)
        np.random.seed(seed)
        keep = (np.random.rand(*x.shape) < p).astype(float)
        return x * keep / p, (keep, p, mode)

    (x,) = draw(seed + 100, shape)
    settings = {"p": p} if mode == "train" else {"p": p, "mode": mode}
    return layer(forward or right_forward, backward, settings, x=x)


@mistake(
    "dropout",
    "x",
    "The backward pass applies the mask but forgets the division by p of inverted dropout.",
    "dx is p times what it should be.",
    "The scale 1 / p is missing.",
)
def dropout_no_scale():
    def backward(dout, cache):
        keep, p, mode = cache
        return dout * keep

    return dropout_case(backward, 31, (5, 6), 0.4)


@mistake(
    "dropout",
    "x",
    "The backward pass multiplies by p where the forward pass divides by p.",
    "dx is p squared times what it should be.",
)
def dropout_times_p():
    def backward(dout, cache):
        keep, p, mode = cache
        return dout * keep * p

    return dropout_case(backward, 32, (4, 4), 0.7)


@mistake(
    "dropout",
    "x",
    "A new mask is drawn in the backward pass instead of using the mask of the forward pass.",
    "Backward drops other units than forward did.",
)
def dropout_new_mask():
    def backward(dout, cache):
        keep, p, mode = cache
        mask = (np.random.rand(*dout.shape) < p) / p
        return dout * mask

    return dropout_case(backward, 33, (6, 5), 0.5)


@mistake(
    "dropout",
    "x",
    "The gradient is scaled by 1 / p but the mask is missing: dropped units get gradient too.",
    "dx is dout / p everywhere.",
)
def dropout_no_mask():
    def backward(dout, cache):
        keep, p, mode = cache
        return dout / p

    return dropout_case(backward, 34, (3, 8), 0.6)


@mistake(
    "dropout",
    "x",
    "The backward pass divides by 1 - p instead of by p: the probability to keep is mixed up with the one to drop.",
    "dx is p / (1 - p) times what it should be.",
    "The scale is 1 / (1 - p) where it should be 1 / p.",
)
def dropout_scale_one_minus_p():
    def backward(dout, cache):
        keep, p, mode = cache
        return dout * keep / (1 - p)

    return dropout_case(backward, 35, (5, 5), 0.8)


@mistake(
    "dropout",
    "x",
    "The mask is inverted in the backward pass: the gradient goes to the dropped units instead of the kept ones.",
    "Backward uses the complement of the mask.",
)
def dropout_mask_inverted():
    def backward(dout, cache):
        keep, p, mode = cache
        dx = dout / p
        dx[keep == 1] = 0
        return dx

    return dropout_case(backward, 36, (4, 3, 2), 0.45)


@mistake(
    "dropout",
    "x",
    "In test mode dropout does nothing, but the backward pass still divides the gradient by p.",
    "In test mode dx should be dout; it is dout / p.",
    "dx is 1 / p times what it should be.",
)
def dropout_test_mode_scaled():
    def backward(dout, cache):
        keep, p, mode = cache
        if mode == "test":
            return dout / p
        return dout * keep / p

    return dropout_case(backward, 37, (3, 5), 0.3, mode="test")


@mistake(
    "dropout",
    "x",
    "The forward pass divides by p twice (the mask already holds 1 / p), the backward pass only once.",
    "dx is p times what the forward pass asks for.",
    "The forward output is 1 / p too large.",
)
def dropout_forward_scaled_twice():
    seed, p = 38, 0.5

    def forward(x):
        np.random.seed(seed)
        mask = (np.random.rand(*x.shape) < p) / p
        return x * mask / p, mask

    def backward(dout, mask):
        return dout * mask

    return dropout_case(backward, seed, (7, 3), p, forward=forward)


@mistake(
    "dropout",
    "x",
    "The upstream gradient is forgotten: backward returns the mask itself.",
    "dx is the local derivative, mask / p, without the factor dout.",
)
def dropout_no_upstream():
    def backward(dout, cache):
        keep, p, mode = cache
        return keep / p

    return dropout_case(backward, 39, (4, 5), 0.75)


# ---------------------------------------------------------------------------------------------------------
# Losses
# ---------------------------------------------------------------------------------------------------------


@mistake(
    "softmax",
    "x",
    "The 1 is not subtracted at the correct class: dx is just the probabilities over N.",
    "The onehot(y) term is missing in p - onehot(y).",
)
def softmax_no_minus_one():
    def loss(x, y):
        N = x.shape[0]
        shifted = x - np.max(x, axis=1, keepdims=True)
        probs = np.exp(shifted) / np.sum(np.exp(shifted), axis=1, keepdims=True)
        loss = -np.sum(np.log(probs[np.arange(N), y])) / N
        dx = probs.copy()
        dx /= N
        return loss, dx

    return loss_layer(loss, 41, 5, 4)


@mistake(
    "softmax",
    "x",
    "The gradient is not divided by the number of examples, though the loss is an average.",
    "dx is N times too large.",
)
def softmax_not_averaged():
    def loss(x, y):
        N = x.shape[0]
        shifted = x - np.max(x, axis=1, keepdims=True)
        probs = np.exp(shifted) / np.sum(np.exp(shifted), axis=1, keepdims=True)
        loss = -np.mean(np.log(probs[np.arange(N), y]))
        dx = probs.copy()
        dx[np.arange(N), y] -= 1
        return loss, dx

    return loss_layer(loss, 42, 6, 3)


@mistake(
    "softmax",
    "x",
    "The probabilities are divided by N before the 1 is subtracted, so the 1 at the correct class is not averaged.",
    "dx is p / N - onehot(y); the division by N must come after the subtraction.",
    "The entry of the correct class is off by 1/N - 1: 1 is subtracted there instead of 1 / N.",
)
def softmax_one_not_averaged():
    def loss(x, y):
        N = x.shape[0]
        exps = np.exp(x - x.max(axis=1, keepdims=True))
        probs = exps / exps.sum(axis=1, keepdims=True)
        loss = -np.log(probs[range(N), y]).sum() / N
        dx = probs / N
        dx[range(N), y] -= 1
        return loss, dx

    return loss_layer(loss, 43, 4, 5)


@mistake(
    "softmax",
    "x",
    "dx[:, y] -= 1 subtracts 1 in every row at every class that occurs in the batch, instead of in row n at class y_n.",
    "The indexing of the correct class uses : instead of np.arange(N).",
)
def softmax_index_all_rows():
    def loss(x, y):
        N = x.shape[0]
        exps = np.exp(x - x.max(axis=1, keepdims=True))
        probs = exps / exps.sum(axis=1, keepdims=True)
        loss = -np.log(probs[np.arange(N), y]).sum() / N
        dx = probs.copy()
        dx[:, y] -= 1
        dx /= N
        return loss, dx

    return loss_layer(loss, 44, 3, 6)


@mistake(
    "softmax",
    "x",
    "The sign is flipped: onehot(y) - p instead of p - onehot(y).",
    "dx is minus the right gradient.",
    "The minus sign of -log is lost.",
)
def softmax_sign():
    def loss(x, y):
        N, C = x.shape
        exps = np.exp(x - x.max(axis=1, keepdims=True))
        probs = exps / exps.sum(axis=1, keepdims=True)
        onehot = np.eye(C)[y]
        loss = -np.sum(onehot * np.log(probs)) / N
        dx = (onehot - probs) / N
        return loss, dx

    return loss_layer(loss, 45, 5, 5)


@mistake(
    "softmax",
    "x",
    "The gradient is divided by the number of classes C instead of the number of examples N.",
    "dx is scaled by N / C.",
    "x.shape[1] is used where x.shape[0] belongs.",
)
def softmax_divided_by_classes():
    def loss(x, y):
        N = x.shape[0]
        logp = x - x.max(axis=1, keepdims=True)
        logp = logp - np.log(np.sum(np.exp(logp), axis=1, keepdims=True))
        loss = -np.mean(logp[np.arange(N), y])
        dx = np.exp(logp)
        dx[np.arange(N), y] -= 1
        dx /= x.shape[1]
        return loss, dx

    return loss_layer(loss, 46, 3, 7)


@mistake(
    "softmax",
    "x",
    "The derivative of the softmax is applied once more: p - onehot(y) is multiplied by p (1 - p), as if the softmax were an elementwise sigmoid.",
    "There is an extra factor p (1 - p) in dx.",
)
def softmax_extra_sigmoid_factor():
    def loss(x, y):
        N = x.shape[0]
        exps = np.exp(x - x.max(axis=1, keepdims=True))
        probs = exps / exps.sum(axis=1, keepdims=True)
        loss = -np.log(probs[np.arange(N), y]).mean()
        dprobs = probs.copy()
        dprobs[np.arange(N), y] -= 1
        dx = dprobs * probs * (1 - probs) / N
        return loss, dx

    return loss_layer(loss, 47, 6, 4)


@mistake(
    "softmax",
    "x",
    "The loss is summed over the batch while the gradient is averaged.",
    "dx is N times too small for the loss that is returned.",
    "The loss is not divided by N.",
)
def softmax_loss_summed():
    def loss(x, y):
        N = x.shape[0]
        exps = np.exp(x - x.max(axis=1, keepdims=True))
        probs = exps / exps.sum(axis=1, keepdims=True)
        loss = -np.sum(np.log(probs[np.arange(N), y]))
        dx = probs.copy()
        dx[np.arange(N), y] -= 1
        dx /= N
        return loss, dx

    return loss_layer(loss, 48, 7, 3)


@mistake(
    "softmax",
    "x",
    "The exponentials are never normalized in the gradient: dx uses exp(x) instead of the probabilities.",
    "The division by the sum of the exponentials is missing in dx.",
)
def softmax_unnormalized():
    def loss(x, y):
        N = x.shape[0]
        exps = np.exp(x - x.max(axis=1, keepdims=True))
        loss = -np.mean(np.log(exps[np.arange(N), y] / exps.sum(axis=1)))
        dx = exps
        dx[np.arange(N), y] -= 1
        dx /= N
        return loss, dx

    return loss_layer(loss, 49, 4, 3)


@mistake(
    "softmax",
    "x",
    "For the gradient the exponentials are normalized over the batch (axis 0) instead of over the classes (axis 1).",
    "The probabilities in dx sum to one down the columns, not along the rows.",
)
def softmax_normalized_over_batch():
    def loss(x, y):
        N = x.shape[0]
        exps = np.exp(x - x.max(axis=1, keepdims=True))
        correct = exps[np.arange(N), y]
        loss = -np.mean(np.log(correct / exps.sum(axis=1)))
        dx = exps / exps.sum(axis=0)
        dx[np.arange(N), y] -= 1
        dx /= N
        return loss, dx

    return loss_layer(loss, 50, 4, 4)


def margins_of(x, y):
    N = x.shape[0]
    margins = np.maximum(0, x - x[np.arange(N), y][:, np.newaxis] + 1.0)
    margins[np.arange(N), y] = 0
    return margins


@mistake(
    "svm",
    "x",
    "The correct class gets -1 instead of minus the number of classes that violate the margin.",
    "The violations are not counted at the correct class.",
)
def svm_correct_minus_one():
    def loss(x, y):
        N = x.shape[0]
        margins = margins_of(x, y)
        loss = np.sum(margins) / N
        dx = np.zeros_like(x)
        dx[margins > 0] = 1
        dx[np.arange(N), y] = -1
        dx /= N
        return loss, dx

    return loss_layer(loss, 51, 5, 6)


@mistake(
    "svm",
    "x",
    "The correct class gets no gradient at all: the loss depends on its score in every violated margin.",
    "The -count term at the correct class is missing.",
)
def svm_correct_class_missing():
    def loss(x, y):
        N = x.shape[0]
        margins = margins_of(x, y)
        loss = np.sum(margins) / N
        dx = (margins > 0).astype(float) / N
        return loss, dx

    return loss_layer(loss, 52, 4, 4)


@mistake(
    "svm",
    "x",
    "dx uses the margins themselves instead of the indicator margin > 0: that is half the gradient of a squared hinge loss.",
    "Every contribution is multiplied by the size of its margin.",
)
def svm_margin_values():
    def loss(x, y):
        N = x.shape[0]
        margins = margins_of(x, y)
        loss = np.sum(margins) / N
        dx = margins.copy()
        dx[np.arange(N), y] -= np.sum(margins, axis=1)
        dx /= N
        return loss, dx

    return loss_layer(loss, 53, 6, 3)


@mistake(
    "svm",
    "x",
    "The correct class gets -(C - 1) always, also for classes whose margin is kept.",
    "All other classes are counted at the correct class, not only those that violate the margin.",
)
def svm_counts_all_classes():
    def loss(x, y):
        N, C = x.shape
        margins = margins_of(x, y)
        loss = np.sum(margins) / N
        dx = (margins > 0).astype(float)
        dx[np.arange(N), y] -= C - 1
        dx /= N
        return loss, dx

    return loss_layer(loss, 54, 5, 5, scale=2.0)


@mistake(
    "svm",
    "x",
    "The gradient is not divided by the number of examples.",
    "dx is N times too large.",
)
def svm_not_averaged():
    def loss(x, y):
        N = x.shape[0]
        margins = margins_of(x, y)
        loss = np.sum(margins) / N
        dx = (margins > 0).astype(float)
        dx[np.arange(N), y] -= np.sum(margins > 0, axis=1)
        return loss, dx

    return loss_layer(loss, 55, 3, 8)


@mistake(
    "svm",
    "x",
    "The gradient is computed without the margin 1: a class counts only where its score is above the correct one's.",
    "The + 1 is missing in the mask of the gradient.",
)
def svm_mask_without_margin():
    def loss(x, y):
        N = x.shape[0]
        correct = x[np.arange(N), y][:, np.newaxis]
        margins = np.maximum(0, x - correct + 1)
        margins[np.arange(N), y] = 0
        loss = margins.sum() / N
        mask = (x - correct > 0).astype(float)
        dx = mask
        dx[np.arange(N), y] = -mask.sum(axis=1)
        dx /= N
        return loss, dx

    return loss_layer(loss, 56, 6, 5)


@mistake(
    "svm",
    "x",
    "The correct class itself is counted as a violation (its margin of 1 is positive), so its entry is one too low.",
    "The count at the correct class is one too large: the correct class was not excluded.",
)
def svm_counts_itself():
    def loss(x, y):
        N = x.shape[0]
        margins = np.maximum(0, x - x[np.arange(N), y].reshape(-1, 1) + 1)
        loss = np.sum(margins) / N - 1
        mask = (margins > 0).astype(float)
        dx = mask.copy()
        dx[np.arange(N), y] = -np.sum(mask, axis=1)
        dx /= N
        return loss, dx

    return loss_layer(loss, 57, 7, 4)


@mistake(
    "svm",
    "x",
    "The entry of the correct class has the wrong sign: plus the number of violations instead of minus.",
    "The gradient of the correct class is negated.",
)
def svm_correct_class_sign():
    def loss(x, y):
        N = x.shape[0]
        loss, dx = 0.0, np.zeros_like(x)
        for i in range(N):
            for j in range(x.shape[1]):
                if j == y[i]:
                    continue
                margin = x[i, j] - x[i, y[i]] + 1
                if margin > 0:
                    loss += margin
                    dx[i, j] += 1
                    dx[i, y[i]] += 1
        return loss / N, dx / N

    return loss_layer(loss, 58, 4, 6)


@mistake(
    "svm",
    "x",
    "The loss is averaged over examples and classes (np.mean) while the gradient is divided by N only.",
    "dx is C times too large for the loss that is returned.",
)
def svm_loss_mean_over_all():
    def loss(x, y):
        N = x.shape[0]
        margins = margins_of(x, y)
        loss = np.mean(margins)
        dx = (margins > 0).astype(float)
        dx[np.arange(N), y] -= np.sum(dx, axis=1)
        dx /= N
        return loss, dx

    return loss_layer(loss, 59, 5, 3)


@mistake(
    "svm",
    "x",
    "The violations are counted down the batch (axis 0) instead of along the classes (axis 1); it fits only because N = C.",
    "The count at the correct class sums the mask over the wrong axis.",
)
def svm_count_axis_zero():
    def loss(x, y):
        N = x.shape[0]
        margins = margins_of(x, y)
        loss = np.sum(margins) / N
        dx = (margins > 0).astype(float)
        dx[np.arange(N), y] = -np.sum(dx, axis=0)
        dx /= N
        return loss, dx

    return loss_layer(loss, 60, 5, 5)


# ---------------------------------------------------------------------------------------------------------
# Batch and layer normalization
# ---------------------------------------------------------------------------------------------------------


def batchnorm_forward(x, gamma, beta, eps=1e-5):
    mean = np.mean(x, axis=0)
    var = np.var(x, axis=0)
    std = np.sqrt(var + eps)
    x_hat = (x - mean) / std
    return gamma * x_hat + beta, (x, x_hat, mean, var, std, gamma, eps)


def norm_case(forward, backward, seed, shape, eps=None, settings=None, per_channel=None):
    C = per_channel or shape[1]
    x, gamma, beta = draw(seed, shape, (C,), (C,))
    settings = dict(settings or {})
    if eps is not None:
        settings["eps"] = eps
        inner = forward
        forward = lambda x, gamma, beta: inner(x, gamma, beta, eps)  # noqa: E731
    return layer(forward, backward, settings, x=2.5 * x + 1, gamma=gamma, beta=beta)


@mistake(
    "batchnorm",
    "x",
    "The path through the mean is missing: x also moves x_hat through the batch mean.",
    "The term -mean(dx_hat) / std is missing in dx.",
    "The mean is treated as a constant.",
)
def bn_staged_no_mean_path():
    def backward(dout, cache):
        x, x_hat, mean, var, std, gamma, eps = cache
        N = x.shape[0]
        dbeta = np.sum(dout, axis=0)
        dgamma = np.sum(dout * x_hat, axis=0)
        dx_hat = dout * gamma
        dvar = np.sum(dx_hat * (x - mean) * -0.5 * (var + eps) ** -1.5, axis=0)
        dx = dx_hat / std + dvar * 2 * (x - mean) / N
        return dx, dgamma, dbeta

    return norm_case(batchnorm_forward, backward, 101, (5, 4))


@mistake(
    "batchnorm",
    "x",
    "The path through the variance is missing: x also moves x_hat through the batch variance.",
    "The term -x_hat * mean(dx_hat * x_hat) is missing in dx.",
    "The variance is treated as a constant.",
)
def bn_staged_no_var_path():
    def backward(dout, cache):
        x, x_hat, mean, var, std, gamma, eps = cache
        N = x.shape[0]
        dbeta = np.sum(dout, axis=0)
        dgamma = np.sum(dout * x_hat, axis=0)
        dx_hat = dout * gamma
        dmean = np.sum(-dx_hat / std, axis=0)
        dx = dx_hat / std + dmean / N
        return dx, dgamma, dbeta

    return norm_case(batchnorm_forward, backward, 102, (4, 6))


@mistake(
    "batchnorm",
    "x",
    "gamma is missing in dx: dout is not multiplied by gamma before it goes through the normalization.",
    "dx is 1 / gamma times what it should be, feature by feature.",
    "dx_hat = dout instead of dout * gamma.",
)
def bn_alt_no_gamma():
    def backward(dout, cache):
        x, x_hat, mean, var, std, gamma, eps = cache
        N = x.shape[0]
        dbeta = dout.sum(axis=0)
        dgamma = (dout * x_hat).sum(axis=0)
        dx = (N * dout - dbeta - x_hat * dgamma) / (N * std)
        return dx, dgamma, dbeta

    return norm_case(batchnorm_forward, backward, 103, (7, 3))


@mistake(
    "batchnorm",
    "x",
    "The power in the derivative of 1 / sqrt(var + eps) is wrong: -0.5 instead of -1.5.",
    "dvar lacks a factor 1 / (var + eps).",
    "The path through the variance is (var + eps) times too large.",
)
def bn_staged_dvar_power():
    def backward(dout, cache):
        x, x_hat, mean, var, std, gamma, eps = cache
        N = x.shape[0]
        dbeta = np.sum(dout, axis=0)
        dgamma = np.sum(dout * x_hat, axis=0)
        dx_hat = dout * gamma
        dvar = np.sum(dx_hat * (x - mean), axis=0) * -0.5 * np.power(var + eps, -0.5)
        dmean = np.sum(-dx_hat / std, axis=0) + dvar * np.mean(-2 * (x - mean), axis=0)
        dx = dx_hat / std + dvar * 2 * (x - mean) / N + dmean / N
        return dx, dgamma, dbeta

    return norm_case(batchnorm_forward, backward, 104, (6, 4))


@mistake(
    "batchnorm",
    "gamma",
    "dgamma multiplies dout by the input x instead of the normalized x_hat.",
    "gamma scales x_hat, so its gradient is the sum of dout * x_hat; x was used.",
)
def bn_dgamma_with_x():
    def backward(dout, cache):
        x, x_hat, mean, var, std, gamma, eps = cache
        N = x.shape[0]
        dbeta = np.sum(dout, axis=0)
        dgamma = np.sum(dout * x, axis=0)
        dx_hat = dout * gamma
        dx = (N * dx_hat - dx_hat.sum(axis=0) - x_hat * (dx_hat * x_hat).sum(axis=0)) / (N * std)
        return dx, dgamma, dbeta

    return norm_case(batchnorm_forward, backward, 105, (5, 5))


@mistake(
    "batchnorm",
    "gamma",
    "dgamma multiplies dout by the output gamma * x_hat + beta instead of by x_hat.",
    "The output of the layer was cached and used in dgamma in the place of x_hat.",
)
def bn_dgamma_with_out():
    def backward(dout, cache):
        x, x_hat, mean, var, std, gamma, beta = cache
        out = gamma * x_hat + beta
        N = x.shape[0]
        dbeta = np.sum(dout, axis=0)
        dgamma = np.sum(dout * out, axis=0)
        dx_hat = dout * gamma
        dx = (N * dx_hat - dx_hat.sum(axis=0) - x_hat * (dx_hat * x_hat).sum(axis=0)) / (N * std)
        return dx, dgamma, dbeta

    def forward(x, gamma, beta):
        out, cache = batchnorm_forward(x, gamma, beta)
        return out, (*cache[:-1], beta)

    return norm_case(forward, backward, 106, (6, 3))


@mistake(
    "batchnorm",
    "x",
    "The gradient of the mean is not divided by N when it is handed back to the N examples.",
    "The mean path is N times too large.",
    "The 1 / N of the mean is missing.",
)
def bn_staged_dmean_not_divided():
    def backward(dout, cache):
        x, x_hat, mean, var, std, gamma, eps = cache
        N = x.shape[0]
        dbeta = np.sum(dout, axis=0)
        dgamma = np.sum(dout * x_hat, axis=0)
        dx_hat = dout * gamma
        dvar = np.sum(dx_hat * (x - mean), axis=0) * -0.5 * (var + eps) ** (-1.5)
        dmean = np.sum(dx_hat, axis=0) * -1 / std
        dx = dx_hat / std + dvar * 2 * (x - mean) / N + dmean
        return dx, dgamma, dbeta

    return norm_case(batchnorm_forward, backward, 107, (4, 4))


@mistake(
    "batchnorm",
    "x",
    "The 2 from the derivative of the square is missing in the variance path.",
    "The variance path is half of what it should be.",
)
def bn_staged_no_two():
    def backward(dout, cache):
        x, x_hat, mean, var, std, gamma, eps = cache
        N, D = x.shape
        dbeta = np.sum(dout, axis=0)
        dgamma = np.sum(dout * x_hat, axis=0)
        xmu, ivar = x - mean, 1.0 / std
        dx_hat = dout * gamma
        divar = np.sum(dx_hat * xmu, axis=0)
        dxmu1 = dx_hat * ivar
        dsqrtvar = -1.0 / (std**2) * divar
        dvar = 0.5 * 1.0 / np.sqrt(var + eps) * dsqrtvar
        dsq = 1.0 / N * np.ones((N, D)) * dvar
        dxmu2 = xmu * dsq
        dx1 = dxmu1 + dxmu2
        dmu = -1 * np.sum(dxmu1 + dxmu2, axis=0)
        dx2 = 1.0 / N * np.ones((N, D)) * dmu
        return dx1 + dx2, dgamma, dbeta

    return norm_case(batchnorm_forward, backward, 108, (5, 3))


@mistake(
    "batchnorm",
    "x",
    "In the derivative of 1 / sqrtvar the square is missing: -1 / sqrtvar instead of -1 / sqrtvar**2.",
    "The variance path lacks a factor 1 / std.",
    "The variance path is sqrt(var + eps) times too large.",
)
def bn_staged_dsqrtvar_square():
    def backward(dout, cache):
        x, x_hat, mean, var, std, gamma, eps = cache
        N, D = x.shape
        dbeta = np.sum(dout, axis=0)
        dgamma = np.sum(dout * x_hat, axis=0)
        xmu, ivar = x - mean, 1.0 / std
        dx_hat = dout * gamma
        divar = np.sum(dx_hat * xmu, axis=0)
        dxmu1 = dx_hat * ivar
        dsqrtvar = -1.0 / std * divar
        dvar = 0.5 * 1.0 / np.sqrt(var + eps) * dsqrtvar
        dsq = 1.0 / N * np.ones((N, D)) * dvar
        dxmu2 = 2 * xmu * dsq
        dx1 = dxmu1 + dxmu2
        dmu = -1 * np.sum(dxmu1 + dxmu2, axis=0)
        dx2 = 1.0 / N * np.ones((N, D)) * dmu
        return dx1 + dx2, dgamma, dbeta

    return norm_case(batchnorm_forward, backward, 109, (3, 5))


@mistake(
    "batchnorm",
    "x",
    "In the closed form the N in front of the first term is missing: it should be N * dx_hat minus the two sums, all over N.",
    "The direct path is N times too small.",
    "dx_hat is divided by N although only the two sums should be.",
)
def bn_alt_first_term_no_n():
    def backward(dout, cache):
        x, x_hat, mean, var, std, gamma, eps = cache
        N = x.shape[0]
        dbeta = dout.sum(axis=0)
        dgamma = (dout * x_hat).sum(axis=0)
        dx_hat = dout * gamma
        dx = (1.0 / N) / std * (dx_hat - np.sum(dx_hat, axis=0) - x_hat * np.sum(dx_hat * x_hat, axis=0))
        return dx, dgamma, dbeta

    return norm_case(batchnorm_forward, backward, 110, (6, 2))


@mistake(
    "batchnorm",
    "x",
    "In the closed form the variance term is a sum instead of a mean over the batch.",
    "The term x_hat * sum(dx_hat * x_hat) lacks its 1 / N.",
    "The variance path is N times too large.",
)
def bn_alt_third_term_sum():
    def backward(dout, cache):
        x, x_hat, mean, var, std, gamma, eps = cache
        dbeta = dout.sum(axis=0)
        dgamma = (dout * x_hat).sum(axis=0)
        dx_hat = dout * gamma
        dx = (dx_hat - dx_hat.mean(axis=0) - x_hat * (dx_hat * x_hat).sum(axis=0)) / std
        return dx, dgamma, dbeta

    return norm_case(batchnorm_forward, backward, 111, (4, 7))


@mistake(
    "batchnorm",
    "x",
    "The sign of the variance term is wrong in the closed form: plus instead of minus.",
    "The term x_hat * mean(dx_hat * x_hat) is added instead of subtracted.",
    "The path through the variance is negated.",
)
def bn_alt_third_term_sign():
    def backward(dout, cache):
        x, x_hat, mean, var, std, gamma, eps = cache
        N = x.shape[0]
        dbeta = dout.sum(axis=0)
        dgamma = (dout * x_hat).sum(axis=0)
        dx = gamma / (N * std) * (N * dout - dbeta + x_hat * dgamma)
        return dx, dgamma, dbeta

    return norm_case(batchnorm_forward, backward, 112, (8, 3))


@mistake(
    "batchnorm",
    "x",
    "The forward pass divides the sum of squares by N - 1 (ddof=1), the backward pass assumes the biased variance with N.",
    "The variance of the forward pass is the unbiased one.",
    "The variance path of the backward pass does not fit the forward pass: it is off by (N - 1) / N.",
)
def bn_forward_unbiased_variance():
    def forward(x, gamma, beta, eps=1e-5):
        mean = np.mean(x, axis=0)
        var = np.var(x, axis=0, ddof=1)
        std = np.sqrt(var + eps)
        x_hat = (x - mean) / std
        return gamma * x_hat + beta, (x, x_hat, mean, var, std, gamma, eps)

    def backward(dout, cache):
        x, x_hat, mean, var, std, gamma, eps = cache
        N = x.shape[0]
        dbeta = np.sum(dout, axis=0)
        dgamma = np.sum(dout * x_hat, axis=0)
        dx_hat = dout * gamma
        dvar = np.sum(dx_hat * (x - mean) * -0.5 * (var + eps) ** -1.5, axis=0)
        dmean = np.sum(-dx_hat / std, axis=0) + dvar * np.mean(-2 * (x - mean), axis=0)
        dx = dx_hat / std + dvar * 2 * (x - mean) / N + dmean / N
        return dx, dgamma, dbeta

    return norm_case(forward, backward, 113, (4, 5))


@mistake(
    "batchnorm",
    "x",
    "eps is left out of the backward pass: it divides by sqrt(var) where the forward pass divides by sqrt(var + eps).",
    "The standard deviation of the backward pass lacks eps.",
)
def bn_no_eps_in_backward():
    def backward(dout, cache):
        x, x_hat, mean, var, std, gamma, eps = cache
        N = x.shape[0]
        dbeta = dout.sum(axis=0)
        dgamma = (dout * x_hat).sum(axis=0)
        dx_hat = dout * gamma
        std = np.sqrt(var)
        dvar = np.sum(dx_hat * (x - mean), axis=0) * -0.5 / std**3
        dx = dx_hat / std + 2.0 / N * (x - mean) * dvar - np.mean(dx_hat / std, axis=0)
        return dx, dgamma, dbeta

    return norm_case(batchnorm_forward, backward, 114, (6, 4), eps=0.5)


@mistake(
    "batchnorm",
    "x",
    "The sums over the batch are taken along the features (axis 1); it fits only because N = D.",
    "The means in the closed form are over the wrong axis: it is layer normalization's formula.",
)
def bn_alt_wrong_axis():
    def backward(dout, cache):
        x, x_hat, mean, var, std, gamma, eps = cache
        dbeta = dout.sum(axis=0)
        dgamma = (dout * x_hat).sum(axis=0)
        dx_hat = dout * gamma
        dx = dx_hat - dx_hat.mean(axis=1, keepdims=True)
        dx = dx - x_hat * (dx_hat * x_hat).mean(axis=1, keepdims=True)
        dx = dx / std
        return dx, dgamma, dbeta

    return norm_case(batchnorm_forward, backward, 115, (5, 5))


@mistake(
    "batchnorm",
    "beta",
    "dbeta is averaged over the batch instead of summed.",
    "dbeta is N times too small.",
)
def bn_dbeta_mean():
    def backward(dout, cache):
        x, x_hat, mean, var, std, gamma, eps = cache
        dbeta = np.mean(dout, axis=0)
        dgamma = np.sum(dout * x_hat, axis=0)
        dx_hat = dout * gamma
        dx = (dx_hat - dx_hat.mean(axis=0) - x_hat * (dx_hat * x_hat).mean(axis=0)) / std
        return dx, dgamma, dbeta

    return norm_case(batchnorm_forward, backward, 116, (7, 4))


def batchnorm_test_case(backward, seed, N, D):
    rng = np.random.RandomState(seed + 1)
    running_mean, running_var = rng.randn(D), 0.5 + 2 * rng.rand(D)

    def forward(x, gamma, beta):
        std = np.sqrt(running_var + 1e-5)
        x_hat = (x - running_mean) / std
        return gamma * x_hat + beta, (x_hat, std, gamma)

    return norm_case(forward, backward, seed, (N, D), settings={"mode": "test"})


@mistake(
    "batchnorm",
    "x",
    "In test mode the running averages are constants, but the backward pass uses the training formula with its mean and variance paths.",
    "The training-mode backward is used in test mode.",
    "dx should be dout * gamma / std; the mean and variance terms do not belong there.",
)
def bn_test_mode_training_backward():
    def backward(dout, cache):
        x_hat, std, gamma = cache
        N = dout.shape[0]
        dbeta = dout.sum(axis=0)
        dgamma = (dout * x_hat).sum(axis=0)
        dx = gamma / (N * std) * (N * dout - dbeta - x_hat * dgamma)
        return dx, dgamma, dbeta

    return batchnorm_test_case(backward, 117, 5, 4)


@mistake(
    "batchnorm",
    "x",
    "In test mode dx is not divided by the standard deviation.",
    "The factor 1 / sqrt(running_var + eps) is missing in dx.",
)
def bn_test_mode_no_std():
    def backward(dout, cache):
        x_hat, std, gamma = cache
        dbeta = dout.sum(axis=0)
        dgamma = (dout * x_hat).sum(axis=0)
        dx = dout * gamma
        return dx, dgamma, dbeta

    return batchnorm_test_case(backward, 118, 3, 6)


def layernorm_forward(x, gamma, beta, eps=1e-5):
    mean = np.mean(x, axis=1, keepdims=True)
    var = np.var(x, axis=1, keepdims=True)
    std = np.sqrt(var + eps)
    x_hat = (x - mean) / std
    return gamma * x_hat + beta, (x, x_hat, mean, var, std, gamma, eps)


@mistake(
    "layernorm",
    "x",
    "The closed form divides by the batch size N instead of the number of features D.",
    "The two means over the features use N in the place of D, so the mean and variance terms are D / N times too large.",
)
def ln_alt_n_for_d():
    def backward(dout, cache):
        x, x_hat, mean, var, std, gamma, eps = cache
        N, D = x.shape
        dbeta = np.sum(dout, axis=0)
        dgamma = np.sum(dout * x_hat, axis=0)
        dx_hat = dout * gamma
        dx = N * dx_hat - np.sum(dx_hat, axis=1, keepdims=True)
        dx = dx - x_hat * np.sum(dx_hat * x_hat, axis=1, keepdims=True)
        dx = dx / (N * std)
        return dx, dgamma, dbeta

    return norm_case(layernorm_forward, backward, 121, (3, 7))


@mistake(
    "layernorm",
    "x",
    "gamma is multiplied in at the end, as in batch normalization; in layer normalization it differs between the features that are averaged, so it must come before the means.",
    "gamma is outside the means over the features instead of inside.",
)
def ln_gamma_outside():
    def backward(dout, cache):
        x, x_hat, mean, var, std, gamma, eps = cache
        dbeta = np.sum(dout, axis=0)
        dgamma = np.sum(dout * x_hat, axis=0)
        dx = dout - np.mean(dout, axis=1, keepdims=True)
        dx -= x_hat * np.mean(dout * x_hat, axis=1, keepdims=True)
        dx *= gamma / std
        return dx, dgamma, dbeta

    return norm_case(layernorm_forward, backward, 122, (4, 6))


@mistake(
    "layernorm",
    "x",
    "The means are taken over the batch (axis 0), as in batch normalization, instead of over the features of an example (axis 1).",
    "Batch normalization's backward formula is used.",
    "The sums are along the wrong axis.",
)
def ln_means_over_batch():
    def backward(dout, cache):
        x, x_hat, mean, var, std, gamma, eps = cache
        N = x.shape[0]
        dbeta = np.sum(dout, axis=0)
        dgamma = np.sum(dout * x_hat, axis=0)
        dx_hat = dout * gamma
        dx = (N * dx_hat - dx_hat.sum(axis=0) - x_hat * (dx_hat * x_hat).sum(axis=0)) / (N * std)
        return dx, dgamma, dbeta

    return norm_case(layernorm_forward, backward, 123, (5, 4))


@mistake(
    "layernorm",
    "gamma beta",
    "dgamma and dbeta are summed over the features (axis 1) instead of over the batch; it fits only because N = D.",
    "The sums of dgamma and dbeta are along the wrong axis.",
)
def ln_params_axis_one():
    def backward(dout, cache):
        x, x_hat, mean, var, std, gamma, eps = cache
        dbeta = np.sum(dout, axis=1)
        dgamma = np.sum(dout * x_hat, axis=1)
        dx_hat = dout * gamma
        dx = dx_hat - np.mean(dx_hat, axis=1, keepdims=True)
        dx -= x_hat * np.mean(dx_hat * x_hat, axis=1, keepdims=True)
        dx /= std
        return dx, dgamma, dbeta

    return norm_case(layernorm_forward, backward, 124, (6, 6))


@mistake(
    "layernorm",
    "x",
    "The variance path divides by N where it should divide by D, the number of features.",
    "The variance path is D / N times what it should be.",
)
def ln_staged_var_path_n():
    def backward(dout, cache):
        x, x_hat, mean, var, std, gamma, eps = cache
        N, D = x.shape
        dbeta = np.sum(dout, axis=0)
        dgamma = np.sum(dout * x_hat, axis=0)
        dx_hat = dout * gamma
        dvar = np.sum(dx_hat * (x - mean) * -0.5 * (var + eps) ** -1.5, axis=1, keepdims=True)
        dmean = np.sum(-dx_hat / std, axis=1, keepdims=True)
        dx = dx_hat / std + dvar * 2 * (x - mean) / N + dmean / D
        return dx, dgamma, dbeta

    return norm_case(layernorm_forward, backward, 125, (2, 5))


@mistake(
    "layernorm",
    "x",
    "The path through the mean is missing.",
    "The term -mean(dx_hat) / std is missing.",
    "The mean of each example is treated as a constant.",
)
def ln_staged_no_mean_path():
    def backward(dout, cache):
        x, x_hat, mean, var, std, gamma, eps = cache
        N, D = x.shape
        dbeta = np.sum(dout, axis=0)
        dgamma = np.sum(dout * x_hat, axis=0)
        dx_hat = dout * gamma
        dvar = np.sum(dx_hat * (x - mean) * -0.5 * (var + eps) ** -1.5, axis=1, keepdims=True)
        dx = dx_hat / std + dvar * 2 * (x - mean) / D
        return dx, dgamma, dbeta

    return norm_case(layernorm_forward, backward, 126, (5, 5))


@mistake(
    "layernorm",
    "x",
    "Batch normalization is run on the transposed arrays, but dx is not transposed back; it fits only because N = D.",
    "dx is the transpose of the right gradient.",
)
def ln_dx_not_transposed_back():
    def backward(dout, cache):
        x, x_hat, mean, var, std, gamma, eps = cache
        dbeta = np.sum(dout, axis=0)
        dgamma = np.sum(dout * x_hat, axis=0)
        dx_hat = (dout * gamma).T
        x_hat = x_hat.T
        D = dx_hat.shape[0]
        dx = D * dx_hat - dx_hat.sum(axis=0) - x_hat * (dx_hat * x_hat).sum(axis=0)
        dx = dx / (D * std.T)
        return dx, dgamma, dbeta

    return norm_case(layernorm_forward, backward, 127, (4, 4))


@mistake(
    "layernorm",
    "x",
    "x_hat is missing in front of the mean of dx_hat * x_hat in the variance term.",
    "The last term of the closed form is not multiplied by x_hat.",
)
def ln_alt_no_x_hat():
    def backward(dout, cache):
        x, x_hat, mean, var, std, gamma, eps = cache
        dbeta = np.sum(dout, axis=0)
        dgamma = np.sum(dout * x_hat, axis=0)
        dx_hat = dout * gamma
        dx = dx_hat - np.mean(dx_hat, axis=1, keepdims=True)
        dx = dx - np.mean(dx_hat * x_hat, axis=1, keepdims=True)
        dx = dx / std
        return dx, dgamma, dbeta

    return norm_case(layernorm_forward, backward, 128, (6, 3))


# ---------------------------------------------------------------------------------------------------------
# Spatial batch normalization and group normalization
# ---------------------------------------------------------------------------------------------------------


def spatial_batchnorm_forward(x, gamma, beta, eps=1e-5):
    N, C, H, W = x.shape
    flat = x.transpose(0, 2, 3, 1).reshape(-1, C)
    out, cache = batchnorm_forward(flat, gamma, beta, eps)
    return out.reshape(N, H, W, C).transpose(0, 3, 1, 2), cache


def right_batchnorm_backward(dout, cache):
    x, x_hat, mean, var, std, gamma, eps = cache
    N = x.shape[0]
    dbeta = dout.sum(axis=0)
    dgamma = (dout * x_hat).sum(axis=0)
    dx = gamma / (N * std) * (N * dout - dbeta - x_hat * dgamma)
    return dx, dgamma, dbeta


@mistake(
    "spatial_batchnorm",
    "x gamma beta",
    "dout is reshaped to (-1, C) without first moving the channel axis to the end, so channels and pixels are mixed.",
    "The transpose of dout before the reshape is missing.",
)
def sbn_dout_no_transpose():
    def backward(dout, cache):
        N, C, H, W = dout.shape
        dx, dgamma, dbeta = right_batchnorm_backward(dout.reshape(-1, C), cache)
        dx = dx.reshape(N, H, W, C).transpose(0, 3, 1, 2)
        return dx, dgamma, dbeta

    return norm_case(spatial_batchnorm_forward, backward, 131, (2, 3, 4, 5))


@mistake(
    "spatial_batchnorm",
    "x",
    "dx is reshaped straight to (N, C, H, W) though its rows are ordered (N, H, W, C): it needs a reshape to (N, H, W, C) and a transpose.",
    "The transpose back to channels-first is missing; the entries of dx are in the wrong places.",
)
def sbn_dx_reshaped_only():
    def backward(dout, cache):
        N, C, H, W = dout.shape
        dout_flat = dout.transpose(0, 2, 3, 1).reshape(-1, C)
        dx, dgamma, dbeta = right_batchnorm_backward(dout_flat, cache)
        return dx.reshape(N, C, H, W), dgamma, dbeta

    return norm_case(spatial_batchnorm_forward, backward, 132, (3, 2, 3, 4))


@mistake(
    "spatial_batchnorm",
    "x",
    "The transpose back swaps height and width: (0, 3, 2, 1) instead of (0, 3, 1, 2); it fits only because H = W.",
    "Every image of dx is transposed.",
)
def sbn_dx_height_width_swapped():
    def backward(dout, cache):
        N, C, H, W = dout.shape
        dout_flat = dout.transpose(0, 2, 3, 1).reshape(-1, C)
        dx, dgamma, dbeta = right_batchnorm_backward(dout_flat, cache)
        dx = dx.reshape(N, H, W, C).transpose(0, 3, 2, 1)
        return dx, dgamma, dbeta

    return norm_case(spatial_batchnorm_forward, backward, 133, (2, 4, 3, 3))


def spatial_batchnorm_forward_axes(x, gamma, beta, eps=1e-5):
    mean = x.mean(axis=(0, 2, 3), keepdims=True)
    var = x.var(axis=(0, 2, 3), keepdims=True)
    std = np.sqrt(var + eps)
    x_hat = (x - mean) / std
    out = gamma.reshape(1, -1, 1, 1) * x_hat + beta.reshape(1, -1, 1, 1)
    return out, (x_hat, std, gamma)


@mistake(
    "spatial_batchnorm",
    "x",
    "The number of averaged values is taken to be N instead of N * H * W.",
    "The sums over batch and pixels are divided by N only, so the mean and variance terms are H * W times too large relative to the direct one.",
)
def sbn_count_is_n():
    def backward(dout, cache):
        x_hat, std, gamma = cache
        m = dout.shape[0]
        dbeta = dout.sum(axis=(0, 2, 3))
        dgamma = (dout * x_hat).sum(axis=(0, 2, 3))
        dx_hat = dout * gamma.reshape(1, -1, 1, 1)
        s1 = dx_hat.sum(axis=(0, 2, 3), keepdims=True)
        s2 = (dx_hat * x_hat).sum(axis=(0, 2, 3), keepdims=True)
        dx = (m * dx_hat - s1 - x_hat * s2) / (m * std)
        return dx, dgamma, dbeta

    return norm_case(spatial_batchnorm_forward_axes, backward, 134, (3, 2, 2, 3))


@mistake(
    "spatial_batchnorm",
    "x",
    "The means of the backward pass are taken over the pixels of each image only, not over the batch: that is instance normalization.",
    "axis=(2, 3) where axis=(0, 2, 3) is needed.",
)
def sbn_means_per_image():
    def backward(dout, cache):
        x_hat, std, gamma = cache
        dbeta = np.sum(dout, axis=(0, 2, 3))
        dgamma = np.sum(dout * x_hat, axis=(0, 2, 3))
        dx_hat = dout * gamma[None, :, None, None]
        dx = dx_hat - np.mean(dx_hat, axis=(2, 3), keepdims=True)
        dx -= x_hat * np.mean(dx_hat * x_hat, axis=(2, 3), keepdims=True)
        dx /= std
        return dx, dgamma, dbeta

    return norm_case(spatial_batchnorm_forward_axes, backward, 135, (4, 3, 2, 2))


@mistake(
    "spatial_batchnorm",
    "gamma beta",
    "dgamma and dbeta are averaged over the pixels instead of summed.",
    "dgamma and dbeta are H * W times too small.",
)
def sbn_params_mean_over_pixels():
    def backward(dout, cache):
        x_hat, std, gamma = cache
        dbeta = dout.mean(axis=(2, 3)).sum(axis=0)
        dgamma = (dout * x_hat).mean(axis=(2, 3)).sum(axis=0)
        dx_hat = dout * gamma.reshape(1, -1, 1, 1)
        dx = dx_hat - dx_hat.mean(axis=(0, 2, 3), keepdims=True)
        dx -= x_hat * (dx_hat * x_hat).mean(axis=(0, 2, 3), keepdims=True)
        dx /= std
        return dx, dgamma, dbeta

    return norm_case(spatial_batchnorm_forward_axes, backward, 136, (2, 3, 3, 4))


def groupnorm_case(backward, seed, shape, G):
    def forward(x, gamma, beta, eps=1e-5):
        N, C, H, W = x.shape
        xg = x.reshape(N, G, C // G, H, W)
        mean = xg.mean(axis=(2, 3, 4), keepdims=True)
        var = xg.var(axis=(2, 3, 4), keepdims=True)
        std = np.sqrt(var + eps)
        x_hat = ((xg - mean) / std).reshape(N, C, H, W)
        return gamma * x_hat + beta, (x_hat, std, gamma, G)

    x, gamma, beta = draw(seed, shape, (1, shape[1], 1, 1), (1, shape[1], 1, 1))
    return layer(forward, backward, {"G": G}, x=2 * x - 1, gamma=gamma, beta=beta)


@mistake(
    "groupnorm",
    "x",
    "The number of averaged values is taken to be H * W instead of C / G * H * W.",
    "The channels of a group are not counted, so the two sums are C / G times too large relative to the direct term.",
)
def gn_count_without_channels():
    def backward(dout, cache):
        x_hat, std, gamma, G = cache
        N, C, H, W = dout.shape
        dbeta = dout.sum(axis=(0, 2, 3), keepdims=True)
        dgamma = (dout * x_hat).sum(axis=(0, 2, 3), keepdims=True)
        dx_hat = (dout * gamma).reshape(N, G, C // G, H, W)
        x_hat = x_hat.reshape(N, G, C // G, H, W)
        m = H * W
        dx = m * dx_hat - dx_hat.sum(axis=(2, 3, 4), keepdims=True)
        dx = dx - x_hat * (dx_hat * x_hat).sum(axis=(2, 3, 4), keepdims=True)
        dx = dx / (m * std)
        return dx.reshape(N, C, H, W), dgamma, dbeta

    return groupnorm_case(backward, 141, (2, 6, 2, 3), 2)


@mistake(
    "groupnorm",
    "x",
    "gamma is missing in dx: dout is not multiplied by gamma before the normalization is undone.",
    "dx_hat = dout instead of dout * gamma.",
)
def gn_no_gamma():
    def backward(dout, cache):
        x_hat, std, gamma, G = cache
        N, C, H, W = dout.shape
        dbeta = np.sum(dout, axis=(0, 2, 3), keepdims=True)
        dgamma = np.sum(dout * x_hat, axis=(0, 2, 3), keepdims=True)
        dx_hat = dout.reshape(N, G, C // G, H, W)
        x_hat = x_hat.reshape(N, G, C // G, H, W)
        dx = dx_hat - dx_hat.mean(axis=(2, 3, 4), keepdims=True)
        dx = dx - x_hat * (dx_hat * x_hat).mean(axis=(2, 3, 4), keepdims=True)
        dx = dx / std
        return dx.reshape(N, C, H, W), dgamma, dbeta

    return groupnorm_case(backward, 142, (3, 4, 3, 2), 2)


@mistake(
    "groupnorm",
    "x",
    "gamma is multiplied in after the means, as in batch normalization; within a group gamma differs between channels, so it must come before.",
    "gamma is outside the means over the group instead of inside.",
)
def gn_gamma_outside():
    def backward(dout, cache):
        x_hat, std, gamma, G = cache
        N, C, H, W = dout.shape
        dbeta = np.sum(dout, axis=(0, 2, 3), keepdims=True)
        dgamma = np.sum(dout * x_hat, axis=(0, 2, 3), keepdims=True)
        d = dout.reshape(N, G, C // G, H, W)
        xg = x_hat.reshape(N, G, C // G, H, W)
        dx = d - d.mean(axis=(2, 3, 4), keepdims=True) - xg * (d * xg).mean(axis=(2, 3, 4), keepdims=True)
        dx = (dx / std).reshape(N, C, H, W) * gamma
        return dx, dgamma, dbeta

    return groupnorm_case(backward, 143, (2, 4, 3, 3), 2)


@mistake(
    "groupnorm",
    "x",
    "The means of the backward pass run over all channels of an image instead of over one group: that is layer normalization.",
    "The groups are ignored in the mean and variance terms.",
)
def gn_means_over_all_channels():
    def backward(dout, cache):
        x_hat, std, gamma, G = cache
        N, C, H, W = dout.shape
        dbeta = np.sum(dout, axis=(0, 2, 3), keepdims=True)
        dgamma = np.sum(dout * x_hat, axis=(0, 2, 3), keepdims=True)
        dx_hat = dout * gamma
        dx = dx_hat - dx_hat.mean(axis=(1, 2, 3), keepdims=True)
        dx = dx - x_hat * (dx_hat * x_hat).mean(axis=(1, 2, 3), keepdims=True)
        dx = (dx.reshape(N, G, C // G, H, W) / std).reshape(N, C, H, W)
        return dx, dgamma, dbeta

    return groupnorm_case(backward, 144, (2, 6, 2, 2), 3)


@mistake(
    "groupnorm",
    "x",
    "The channels are put in groups the wrong way round in the backward pass, (C / G, G) instead of (G, C / G), so the means run over other channels than in the forward pass.",
    "The groups of the backward pass are interleaved channels, not neighbouring ones.",
)
def gn_groups_interleaved():
    def backward(dout, cache):
        x_hat, std, gamma, G = cache
        N, C, H, W = dout.shape
        dbeta = np.sum(dout, axis=(0, 2, 3), keepdims=True)
        dgamma = np.sum(dout * x_hat, axis=(0, 2, 3), keepdims=True)
        dx_hat = (dout * gamma).reshape(N, C // G, G, H, W)
        xg = x_hat.reshape(N, C // G, G, H, W)
        dx = dx_hat - dx_hat.mean(axis=(1, 3, 4), keepdims=True)
        dx = dx - xg * (dx_hat * xg).mean(axis=(1, 3, 4), keepdims=True)
        dx = dx.reshape(N, G, C // G, H, W) / std
        return dx.reshape(N, C, H, W), dgamma, dbeta

    return groupnorm_case(backward, 145, (3, 6, 2, 2), 2)


@mistake(
    "groupnorm",
    "x",
    "The variance path is missing: only the mean of dx_hat is removed.",
    "The term -x_hat * mean(dx_hat * x_hat) is missing.",
    "The variance is treated as a constant.",
)
def gn_no_variance_path():
    def backward(dout, cache):
        x_hat, std, gamma, G = cache
        N, C, H, W = dout.shape
        dbeta = np.sum(dout, axis=(0, 2, 3), keepdims=True)
        dgamma = np.sum(dout * x_hat, axis=(0, 2, 3), keepdims=True)
        dx_hat = (dout * gamma).reshape(N, G, -1)
        dx = dx_hat - dx_hat.mean(axis=2, keepdims=True)
        dx = dx / std.reshape(N, G, 1)
        return dx.reshape(N, C, H, W), dgamma, dbeta

    return groupnorm_case(backward, 146, (2, 4, 2, 3), 4)


# ---------------------------------------------------------------------------------------------------------
# Convolution
# ---------------------------------------------------------------------------------------------------------


def conv_case(backward, seed, x_shape, w_shape, stride, pad, forward=None):
    def right_forward(x, w, b):
        N, C, H, W = x.shape
        F, C, HH, WW = w.shape
        H_out, W_out = 1 + (H + 2 * pad - HH) // stride, 1 + (W + 2 * pad - WW) // stride
        x_pad = np.pad(x, ((0, 0), (0, 0), (pad, pad), (pad, pad)))
        out = np.zeros((N, F, H_out, W_out))
        for i in range(H_out):
            for j in range(W_out):
                window = x_pad[:, :, i * stride : i * stride + HH, j * stride : j * stride + WW]
                out[:, :, i, j] = np.tensordot(window, w, axes=([1, 2, 3], [1, 2, 3])) + b
        return out, (x, w, b, stride, pad)

    x, w, b = draw(seed, x_shape, w_shape, (w_shape[0],))
    return layer(forward or right_forward, backward, {"stride": stride, "pad": pad}, x=x, w=w, b=b)


def padded(x, pad):
    return np.pad(x, ((0, 0), (0, 0), (pad, pad), (pad, pad)), mode="constant")


def right_conv_backward(dout, cache):
    x, w, b, s, pad = cache
    N, C, H, W = x.shape
    F, _, HH, WW = w.shape
    x_pad = padded(x, pad)
    dx_pad, dw = np.zeros_like(x_pad), np.zeros_like(w)
    for n in range(N):
        for f in range(F):
            for i in range(dout.shape[2]):
                for j in range(dout.shape[3]):
                    dx_pad[n, :, i * s : i * s + HH, j * s : j * s + WW] += w[f] * dout[n, f, i, j]
                    dw[f] += x_pad[n, :, i * s : i * s + HH, j * s : j * s + WW] * dout[n, f, i, j]
    return dx_pad[:, :, pad : pad + H, pad : pad + W], dw, dout.sum(axis=(0, 2, 3))


@mistake(
    "conv",
    "x",
    "The padding is cut off at the wrong place: the first H rows and W columns of the padded gradient are returned instead of the middle.",
    "dx is shifted by pad pixels down and to the right.",
    "dx_pad[:, :, :H, :W] instead of dx_pad[:, :, pad:pad+H, pad:pad+W].",
)
def conv_dx_unpadded_at_corner():
    def backward(dout, cache):
        x, w, b, s, pad = cache
        N, C, H, W = x.shape
        F, _, HH, WW = w.shape
        x_pad = padded(x, pad)
        dx_pad, dw = np.zeros_like(x_pad), np.zeros_like(w)
        for n in range(N):
            for f in range(F):
                for i in range(dout.shape[2]):
                    for j in range(dout.shape[3]):
                        dx_pad[n, :, i * s : i * s + HH, j * s : j * s + WW] += w[f] * dout[n, f, i, j]
                        dw[f] += x_pad[n, :, i * s : i * s + HH, j * s : j * s + WW] * dout[n, f, i, j]
        return dx_pad[:, :, :H, :W], dw, np.sum(dout, axis=(0, 2, 3))

    return conv_case(backward, 201, (2, 3, 5, 5), (2, 3, 3, 3), 1, 1)


@mistake(
    "conv",
    "x",
    "The contributions of overlapping windows are assigned to dx instead of added.",
    "dx uses = where it needs +=.",
    "Each pixel keeps only what the last window and filter gave it.",
)
def conv_dx_assigned():
    def backward(dout, cache):
        x, w, b, s, pad = cache
        N, C, H, W = x.shape
        F, _, HH, WW = w.shape
        x_pad = padded(x, pad)
        dx_pad, dw = np.zeros_like(x_pad), np.zeros_like(w)
        for n in range(N):
            for f in range(F):
                for i in range(dout.shape[2]):
                    for j in range(dout.shape[3]):
                        h, v = i * s, j * s
                        dx_pad[n, :, h : h + HH, v : v + WW] = w[f] * dout[n, f, i, j]
                        dw[f] += x_pad[n, :, h : h + HH, v : v + WW] * dout[n, f, i, j]
        dx = dx_pad[:, :, pad : pad + H, pad : pad + W]
        return dx, dw, np.sum(dout, axis=(0, 2, 3))

    return conv_case(backward, 202, (2, 2, 4, 6), (3, 2, 3, 3), 1, 1)


@mistake(
    "conv",
    "w",
    "The stride is forgotten when the windows for dw are cut: they start at (i, j) instead of (i * stride, j * stride).",
    "dw multiplies dout with the wrong windows of x; the stride is missing in their place.",
)
def conv_dw_no_stride():
    def backward(dout, cache):
        x, w, b, s, pad = cache
        dx, _, db = right_conv_backward(dout, cache)
        N, F, H_out, W_out = dout.shape
        _, _, HH, WW = w.shape
        x_pad = padded(x, pad)
        dw = np.zeros_like(w)
        for f in range(F):
            for i in range(H_out):
                for j in range(W_out):
                    window = x_pad[:, :, i : i + HH, j : j + WW]
                    dw[f] += np.sum(window * dout[:, f, i, j][:, None, None, None], axis=0)
        return dx, dw, db

    return conv_case(backward, 203, (3, 2, 6, 8), (2, 2, 4, 4), 2, 1)


@mistake(
    "conv",
    "b",
    "db is overwritten for every image instead of added up over the batch: only the last image counts.",
    "db uses = where it needs +=.",
    "The sum over the batch is missing in db.",
)
def conv_db_last_image():
    def backward(dout, cache):
        x, w, b, s, pad = cache
        dx, dw, _ = right_conv_backward(dout, cache)
        db = np.zeros_like(b)
        for n in range(dout.shape[0]):
            for f in range(dout.shape[1]):
                db[f] = np.sum(dout[n, f])
        return dx, dw, db

    return conv_case(backward, 204, (4, 1, 4, 4), (3, 1, 2, 2), 2, 0)


@mistake(
    "conv",
    "w",
    "dw is assigned instead of added up: only the last image and window count.",
    "dw uses = where it needs +=.",
    "dw is the contribution of the last window only.",
)
def conv_dw_assigned():
    def backward(dout, cache):
        x, w, b, s, pad = cache
        dx, _, db = right_conv_backward(dout, cache)
        N, F, H_out, W_out = dout.shape
        _, _, HH, WW = w.shape
        x_pad = padded(x, pad)
        dw = np.zeros_like(w)
        for n in range(N):
            for f in range(F):
                for i in range(H_out):
                    for j in range(W_out):
                        window = x_pad[n, :, i * s : i * s + HH, j * s : j * s + WW]
                        dw[f] = window * dout[n, f, i, j]
        return dx, dw, db

    return conv_case(backward, 205, (2, 3, 4, 5), (2, 3, 2, 3), 1, 0)


@mistake(
    "conv",
    "x",
    "The filter is flipped when dout is spread back over its window; each window should get w as it is.",
    "dx uses the filters rotated by 180 degrees.",
)
def conv_dx_flipped():
    def backward(dout, cache):
        x, w, b, s, pad = cache
        N, C, H, W = x.shape
        F, _, HH, WW = w.shape
        _, dw, db = right_conv_backward(dout, cache)
        dx_pad = np.zeros((N, C, H + 2 * pad, W + 2 * pad))
        for n in range(N):
            for f in range(F):
                for i in range(dout.shape[2]):
                    for j in range(dout.shape[3]):
                        rows, cols = slice(i * s, i * s + HH), slice(j * s, j * s + WW)
                        dx_pad[n, :, rows, cols] += w[f, :, ::-1, ::-1] * dout[n, f, i, j]
        return dx_pad[:, :, pad : H + pad, pad : W + pad], dw, db

    return conv_case(backward, 206, (2, 2, 5, 4), (3, 2, 3, 3), 1, 1)


@mistake(
    "conv",
    "w",
    "dw is set to zero again at the start of every image, so only the last image of the batch counts.",
    "The initialization of dw stands inside the loop over the images.",
    "dw is not summed over the batch.",
)
def conv_dw_reset_per_image():
    def backward(dout, cache):
        x, w, b, s, pad = cache
        dx, _, db = right_conv_backward(dout, cache)
        N, F, H_out, W_out = dout.shape
        _, _, HH, WW = w.shape
        x_pad = padded(x, pad)
        for n in range(N):
            dw = np.zeros_like(w)
            for f in range(F):
                for i in range(H_out):
                    for j in range(W_out):
                        dw[f] += x_pad[n, :, i * s : i * s + HH, j * s : j * s + WW] * dout[n, f, i, j]
        return dx, dw, db

    return conv_case(backward, 207, (3, 2, 5, 7), (2, 2, 3, 3), 2, 1)


@mistake(
    "conv",
    "x w",
    "The loops stop one too early: the last row and the last column of dout are left out.",
    "Off by one: range(H_out - 1) and range(W_out - 1).",
)
def conv_loops_one_short():
    def backward(dout, cache):
        x, w, b, s, pad = cache
        N, C, H, W = x.shape
        F, _, HH, WW = w.shape
        H_out, W_out = dout.shape[2:]
        x_pad = padded(x, pad)
        dx_pad, dw = np.zeros_like(x_pad), np.zeros_like(w)
        for n in range(N):
            for f in range(F):
                for i in range(H_out - 1):
                    for j in range(W_out - 1):
                        rows, cols = slice(i * s, i * s + HH), slice(j * s, j * s + WW)
                        dx_pad[n, :, rows, cols] += w[f] * dout[n, f, i, j]
                        dw[f] += x_pad[n, :, rows, cols] * dout[n, f, i, j]
        return dx_pad[:, :, pad : pad + H, pad : pad + W], dw, dout.sum(axis=(0, 2, 3))

    return conv_case(backward, 208, (2, 2, 5, 5), (2, 2, 3, 3), 1, 1)


@mistake(
    "conv",
    "x",
    "Rows and columns are swapped when a window's gradient is put back: window (i, j) goes to the place of window (j, i).",
    "dx puts the windows at the transposed place; it fits only because the image is square.",
)
def conv_dx_indices_swapped():
    def backward(dout, cache):
        x, w, b, s, pad = cache
        N, C, H, W = x.shape
        F, _, HH, WW = w.shape
        _, dw, db = right_conv_backward(dout, cache)
        dx_pad = np.zeros((N, C, H + 2 * pad, W + 2 * pad))
        for n in range(N):
            for f in range(F):
                for i in range(dout.shape[2]):
                    for j in range(dout.shape[3]):
                        dx_pad[n, :, j * s : j * s + HH, i * s : i * s + WW] += w[f] * dout[n, f, i, j]
        return dx_pad[:, :, pad : pad + H, pad : pad + W], dw, db

    return conv_case(backward, 209, (2, 3, 5, 5), (2, 3, 3, 3), 2, 1)


@mistake(
    "conv",
    "x",
    "The stride is applied to the rows only; the columns of the window in dx start at j instead of j * stride.",
    "In dx the stride is missing in the horizontal direction.",
)
def conv_dx_stride_rows_only():
    def backward(dout, cache):
        x, w, b, s, pad = cache
        N, C, H, W = x.shape
        F, _, HH, WW = w.shape
        _, dw, db = right_conv_backward(dout, cache)
        dx_pad = np.zeros((N, C, H + 2 * pad, W + 2 * pad))
        for n in range(N):
            for f in range(F):
                for i in range(dout.shape[2]):
                    for j in range(dout.shape[3]):
                        dx_pad[n, :, i * s : i * s + HH, j : j + WW] += w[f] * dout[n, f, i, j]
        return dx_pad[:, :, pad : pad + H, pad : pad + W], dw, db

    return conv_case(backward, 210, (2, 2, 4, 6), (2, 2, 2, 2), 2, 0)


@mistake(
    "conv",
    "b",
    "The forward pass forgets to add the bias, so the loss does not depend on b, but db is computed as if it did.",
    "The true gradient of b is zero, since b is not used in the forward pass.",
)
def conv_forward_without_bias():
    s, pad = 1, 1

    def forward(x, w, b):
        N, C, H, W = x.shape
        F, C, HH, WW = w.shape
        H_out, W_out = 1 + (H + 2 * pad - HH) // s, 1 + (W + 2 * pad - WW) // s
        x_pad = padded(x, pad)
        out = np.zeros((N, F, H_out, W_out))
        for n in range(N):
            for f in range(F):
                for i in range(H_out):
                    for j in range(W_out):
                        out[n, f, i, j] = np.sum(x_pad[n, :, i : i + HH, j : j + WW] * w[f])
        return out, (x, w, b, s, pad)

    return conv_case(right_conv_backward, 211, (2, 1, 3, 4), (2, 1, 3, 3), s, pad, forward)


@mistake(
    "conv",
    "x w",
    "The forward pass flips the filter (a true convolution), the backward pass does not.",
    "Backward fits a correlation, but forward rotates the filter by 180 degrees.",
    "dw comes out flipped, and dx uses the filter unflipped.",
)
def conv_forward_flips_filter():
    s, pad = 1, 0

    def forward(x, w, b):
        N, C, H, W = x.shape
        F, C, HH, WW = w.shape
        out = np.zeros((N, F, H - HH + 1, W - WW + 1))
        for n in range(N):
            for f in range(F):
                for i in range(H - HH + 1):
                    for j in range(W - WW + 1):
                        window = x[n, :, i : i + HH, j : j + WW]
                        out[n, f, i, j] = np.sum(window * w[f, :, ::-1, ::-1]) + b[f]
        return out, (x, w, b, s, pad)

    return conv_case(right_conv_backward, 212, (2, 2, 5, 5), (3, 2, 2, 3), s, pad, forward)


@mistake(
    "conv",
    "w b",
    "dw and db are divided by the batch size; the average belongs to the loss.",
    "dw and db are N times too small.",
)
def conv_params_averaged():
    def backward(dout, cache):
        dx, dw, db = right_conv_backward(dout, cache)
        N = dout.shape[0]
        dw /= N
        db /= N
        return dx, dw, db

    return conv_case(backward, 213, (5, 2, 3, 3), (2, 2, 3, 3), 1, 1)


@mistake(
    "conv",
    "w",
    "dw multiplies every image's dout with the windows of the first image: the index n is missing in x.",
    "x_pad[0] is used for all images instead of x_pad[n].",
)
def conv_dw_first_image():
    def backward(dout, cache):
        x, w, b, s, pad = cache
        dx, _, db = right_conv_backward(dout, cache)
        N, F, H_out, W_out = dout.shape
        _, _, HH, WW = w.shape
        x_pad = padded(x, pad)
        dw = np.zeros_like(w)
        for n in range(N):
            for f in range(F):
                for i in range(H_out):
                    for j in range(W_out):
                        dw[f] += x_pad[0, :, i * s : i * s + HH, j * s : j * s + WW] * dout[n, f, i, j]
        return dx, dw, db

    return conv_case(backward, 214, (3, 3, 4, 4), (2, 3, 2, 2), 2, 0)


def im2col(x_pad, HH, WW, s, H_out, W_out):
    """Return columns (C * HH * WW, N * H_out * W_out), images outermost among the columns."""
    N, C = x_pad.shape[:2]
    cols = np.zeros((C, HH, WW, N, H_out, W_out))
    for p in range(HH):
        for q in range(WW):
            patch = x_pad[:, :, p : p + s * H_out : s, q : q + s * W_out : s]
            cols[:, p, q] = patch.transpose(1, 0, 2, 3)
    return cols.reshape(C * HH * WW, -1)


@mistake(
    "conv",
    "w",
    "dout is reshaped to (F, -1) without first moving the filter axis to the front, so values of different filters and images are mixed.",
    "The transpose(1, 0, 2, 3) of dout before the reshape is missing.",
)
def conv_im2col_dout_not_transposed():
    def backward(dout, cache):
        x, w, b, s, pad = cache
        dx, _, db = right_conv_backward(dout, cache)
        F, C, HH, WW = w.shape
        cols = im2col(padded(x, pad), HH, WW, s, *dout.shape[2:])
        dw = dout.reshape(F, -1).dot(cols.T).reshape(w.shape)
        return dx, dw, db

    return conv_case(backward, 215, (3, 2, 4, 5), (2, 2, 3, 3), 1, 1)


@mistake(
    "conv",
    "x",
    "Windows that hang over the border into the padding are skipped, although their pixels inside the image need the gradient.",
    "dx ignores the outputs whose windows touch the padding.",
)
def conv_dx_skips_border_windows():
    def backward(dout, cache):
        x, w, b, s, pad = cache
        N, C, H, W = x.shape
        F, _, HH, WW = w.shape
        _, dw, db = right_conv_backward(dout, cache)
        dx = np.zeros_like(x)
        for n in range(N):
            for f in range(F):
                for i in range(dout.shape[2]):
                    for j in range(dout.shape[3]):
                        top, left = i * s - pad, j * s - pad
                        if top < 0 or left < 0 or top + HH > H or left + WW > W:
                            continue
                        dx[n, :, top : top + HH, left : left + WW] += w[f] * dout[n, f, i, j]
        return dx, dw, db

    return conv_case(backward, 216, (2, 2, 6, 5), (2, 2, 3, 3), 1, 1)


@mistake(
    "conv",
    "x w",
    "The output width is computed from the height, so on images wider than high the right-hand part of dout is ignored.",
    "W_out is set to H_out: the last columns of dout are left out of dx and dw.",
)
def conv_width_from_height():
    def backward(dout, cache):
        x, w, b, s, pad = cache
        N, C, H, W = x.shape
        F, _, HH, WW = w.shape
        H_out = 1 + (H + 2 * pad - HH) // s
        W_out = 1 + (H + 2 * pad - HH) // s
        x_pad = padded(x, pad)
        dx_pad, dw, db = np.zeros_like(x_pad), np.zeros_like(w), np.sum(dout, axis=(0, 2, 3))
        for n in range(N):
            for f in range(F):
                for i in range(H_out):
                    for j in range(W_out):
                        rows, cols = slice(i * s, i * s + HH), slice(j * s, j * s + WW)
                        dx_pad[n, :, rows, cols] += w[f] * dout[n, f, i, j]
                        dw[f] += x_pad[n, :, rows, cols] * dout[n, f, i, j]
        return dx_pad[:, :, pad : pad + H, pad : pad + W], dw, db

    return conv_case(backward, 217, (2, 1, 4, 8), (2, 1, 2, 2), 2, 0)


# ---------------------------------------------------------------------------------------------------------
# Max pooling
# ---------------------------------------------------------------------------------------------------------


def pool_case(backward, seed, shape, height, width, stride):
    def forward(x):
        N, C, H, W = x.shape
        H_out, W_out = 1 + (H - height) // stride, 1 + (W - width) // stride
        out = np.zeros((N, C, H_out, W_out))
        for i in range(H_out):
            for j in range(W_out):
                window = x[:, :, i * stride : i * stride + height, j * stride : j * stride + width]
                out[:, :, i, j] = window.max(axis=(2, 3))
        return out, (x, height, width, stride)

    (x,) = draw(seed, shape)
    return layer(forward, backward, {"pool_height": height, "pool_width": width, "stride": stride}, x=x)


@mistake(
    "maxpool",
    "x",
    "Where windows overlap the gradient is assigned instead of added, so what earlier windows gave is lost.",
    "dx[window] = mask * dout overwrites; it needs +=.",
)
def pool_overlap_assigned():
    def backward(dout, cache):
        x, ph, pw, s = cache
        dx = np.zeros_like(x)
        for n, c, i, j in np.ndindex(dout.shape):
            window = x[n, c, i * s : i * s + ph, j * s : j * s + pw]
            m = np.max(window)
            dx[n, c, i * s : i * s + ph, j * s : j * s + pw] = (window == m) * dout[n, c, i, j]
        return dx

    return pool_case(backward, 301, (2, 2, 5, 5), 3, 3, 1)


@mistake(
    "maxpool",
    "x",
    "The whole window gets dout: the mask of the largest value is missing.",
    "Every pixel of a window receives the full gradient, not only the maximum.",
)
def pool_no_mask():
    def backward(dout, cache):
        x, ph, pw, s = cache
        dx = np.zeros_like(x)
        for n, c, i, j in np.ndindex(dout.shape):
            dx[n, c, i * s : i * s + ph, j * s : j * s + pw] += dout[n, c, i, j]
        return dx

    return pool_case(backward, 302, (2, 3, 4, 6), 2, 2, 2)


@mistake(
    "maxpool",
    "x",
    "The gradient is spread evenly over the window: that is the backward pass of average pooling.",
    "Every pixel of a window gets dout / (pool_height * pool_width).",
)
def pool_average_backward():
    def backward(dout, cache):
        x, ph, pw, s = cache
        dx = np.zeros_like(x)
        for n, c, i, j in np.ndindex(dout.shape):
            dx[n, c, i * s : i * s + ph, j * s : j * s + pw] += dout[n, c, i, j] / (ph * pw)
        return dx

    return pool_case(backward, 303, (3, 1, 6, 6), 3, 3, 3)


@mistake(
    "maxpool",
    "x",
    "The index of the maximum is unraveled with height and width swapped, (pool_width, pool_height); for a non-square window that is another pixel.",
    "The flat argmax is turned into a row and a column with the wrong width.",
)
def pool_unravel_swapped():
    def backward(dout, cache):
        x, ph, pw, s = cache
        dx = np.zeros((x.shape[0], x.shape[1], x.shape[2] + pw, x.shape[3] + ph))
        for n, c, i, j in np.ndindex(dout.shape):
            window = x[n, c, i * s : i * s + ph, j * s : j * s + pw]
            p, q = np.unravel_index(np.argmax(window), (pw, ph))
            dx[n, c, i * s + p, j * s + q] += dout[n, c, i, j]
        return dx[:, :, : x.shape[2], : x.shape[3]]

    return pool_case(backward, 304, (2, 2, 6, 7), 2, 3, 2)


@mistake(
    "maxpool",
    "x",
    "The stride is missing when the gradient is put back: it goes to (i + p, j + q) instead of (i * stride + p, j * stride + q).",
    "The windows of the backward pass are placed without the stride.",
)
def pool_destination_no_stride():
    def backward(dout, cache):
        x, ph, pw, s = cache
        dx = np.zeros_like(x)
        for n, c, i, j in np.ndindex(dout.shape):
            window = x[n, c, i * s : i * s + ph, j * s : j * s + pw]
            p, q = np.unravel_index(window.argmax(), window.shape)
            dx[n, c, i + p, j + q] += dout[n, c, i, j]
        return dx

    return pool_case(backward, 305, (2, 2, 6, 4), 2, 2, 2)


@mistake(
    "maxpool",
    "x",
    "The place of the maximum is used as if it were a place in the image, though it is relative to the window: the window's offset is missing.",
    "All gradient piles up in the top left corner of the image.",
)
def pool_no_window_offset():
    def backward(dout, cache):
        x, ph, pw, s = cache
        dx = np.zeros_like(x)
        for n, c, i, j in np.ndindex(dout.shape):
            window = x[n, c, i * s : i * s + ph, j * s : j * s + pw]
            p, q = np.unravel_index(np.argmax(window), window.shape)
            dx[n, c, p, q] += dout[n, c, i, j]
        return dx

    return pool_case(backward, 306, (2, 3, 4, 4), 2, 2, 2)


@mistake(
    "maxpool",
    "x",
    "The row and the column of the maximum within its window are swapped.",
    "The gradient goes to the pixel mirrored at the window's diagonal.",
)
def pool_row_column_swapped():
    def backward(dout, cache):
        x, ph, pw, s = cache
        dx = np.zeros_like(x)
        for n, c, i, j in np.ndindex(dout.shape):
            window = x[n, c, i * s : i * s + ph, j * s : j * s + pw]
            q, p = np.unravel_index(np.argmax(window), (ph, pw))
            dx[n, c, i * s + p, j * s + q] += dout[n, c, i, j]
        return dx

    return pool_case(backward, 307, (2, 2, 6, 6), 3, 3, 3)


@mistake(
    "maxpool",
    "x",
    "The gradient is multiplied by the value of the maximum: the window itself is used where the mask of zeros and ones belongs.",
    "dx holds dout * max where it should hold dout.",
)
def pool_times_value():
    def backward(dout, cache):
        x, ph, pw, s = cache
        dx = np.zeros_like(x)
        for n, c, i, j in np.ndindex(dout.shape):
            window = x[n, c, i * s : i * s + ph, j * s : j * s + pw]
            masked = window * (window == np.max(window))
            dx[n, c, i * s : i * s + ph, j * s : j * s + pw] += masked * dout[n, c, i, j]
        return dx

    return pool_case(backward, 308, (3, 2, 4, 4), 2, 2, 2)


@mistake(
    "maxpool",
    "x",
    "The maximum is taken over all channels together, so of all channels only the one with the largest value gets gradient.",
    "The mask compares with the maximum over channels and window; it should be one maximum per channel.",
)
def pool_max_over_channels():
    def backward(dout, cache):
        x, ph, pw, s = cache
        N, C, H_out, W_out = dout.shape
        dx = np.zeros_like(x)
        for n in range(N):
            for i in range(H_out):
                for j in range(W_out):
                    window = x[n, :, i * s : i * s + ph, j * s : j * s + pw]
                    mask = window == np.max(window)
                    dx[n, :, i * s : i * s + ph, j * s : j * s + pw] += mask * dout[n, :, i, j][:, None, None]
        return dx

    return pool_case(backward, 309, (2, 3, 4, 6), 2, 2, 2)


@mistake(
    "maxpool",
    "x",
    "dout is enlarged with np.tile instead of np.repeat: whole copies of dout lie side by side, so the windows get other windows' gradients.",
    "The mask is right but the upsampled dout is arranged wrongly.",
)
def pool_tile_for_repeat():
    def backward(dout, cache):
        x, ph, pw, s = cache
        N, C, H, W = x.shape
        blocks = x.reshape(N, C, H // ph, ph, W // pw, pw)
        mask = (blocks == blocks.max(axis=(3, 5), keepdims=True)).reshape(x.shape)
        return mask * np.tile(dout, (1, 1, ph, pw))

    return pool_case(backward, 310, (2, 2, 4, 6), 2, 2, 2)


@mistake(
    "maxpool",
    "x",
    "The backward pass cuts windows of the size of the stride instead of the pool size, so the maximum of an overlapping window is looked for in a part of it only.",
    "The window of the backward pass is smaller than that of the forward pass: stride x stride.",
)
def pool_window_of_stride_size():
    def backward(dout, cache):
        x, ph, pw, s = cache
        dx = np.zeros_like(x)
        for n, c, i, j in np.ndindex(dout.shape):
            window = x[n, c, i * s : (i + 1) * s, j * s : (j + 1) * s]
            p, q = np.unravel_index(np.argmax(window), window.shape)
            dx[n, c, i * s + p, j * s + q] += dout[n, c, i, j]
        return dx

    return pool_case(backward, 311, (2, 2, 7, 7), 3, 3, 2)


@mistake(
    "maxpool",
    "x",
    "The upstream gradient is forgotten: each maximum gets 1 instead of dout.",
    "dx counts how often a pixel is the maximum of a window; the factor dout is missing.",
)
def pool_no_upstream():
    def backward(dout, cache):
        x, ph, pw, s = cache
        dx = np.zeros_like(x)
        for n, c, i, j in np.ndindex(dout.shape):
            window = x[n, c, i * s : i * s + ph, j * s : j * s + pw]
            p, q = np.unravel_index(np.argmax(window), window.shape)
            dx[n, c, i * s + p, j * s + q] += 1
        return dx

    return pool_case(backward, 312, (2, 2, 5, 3), 3, 3, 2)


@mistake(
    "maxpool",
    "x",
    "The loops of the backward pass stop one window early, so the last row and column of windows hand back nothing.",
    "Off by one: range(H_out - 1) and range(W_out - 1).",
)
def pool_loops_one_short():
    def backward(dout, cache):
        x, ph, pw, s = cache
        N, C, H, W = x.shape
        dx = np.zeros_like(x)
        for n in range(N):
            for c in range(C):
                for i in range((H - ph) // s):
                    for j in range((W - pw) // s):
                        window = x[n, c, i * s : i * s + ph, j * s : j * s + pw]
                        mask = window == window.max()
                        dx[n, c, i * s : i * s + ph, j * s : j * s + pw] += mask * dout[n, c, i, j]
        return dx

    return pool_case(backward, 313, (1, 2, 6, 8), 2, 2, 2)


# ---------------------------------------------------------------------------------------------------------
# Two-layer networks
# ---------------------------------------------------------------------------------------------------------


def model_case(model, seed, N, X_shape, C):
    """Give the model random parameters, biases too, and make a minibatch for it."""
    rng = np.random.RandomState(seed)
    for name in sorted(model.params):
        param = model.params[name]
        offset = 1.0 if name.startswith("gamma") else 0.0
        model.params[name] = offset + 0.4 * rng.randn(*param.shape)
    X, y = rng.randn(N, *X_shape), rng.randint(C, size=N)
    return {"kind": "model", "model": model, "X": X, "y": y}


def two_layer_case(Model, seed, N=5, D=6, H=7, C=4, reg=0.5):
    return model_case(Model(input_dim=D, hidden_dim=H, num_classes=C, reg=reg), seed, N, (D,), C)


def softmax(scores, y):
    """The right softmax loss, for networks whose mistake is elsewhere."""
    return right.softmax_loss(scores, y)


@mistake(
    "two_layer",
    "W1 W2",
    "The gradient of the penalty is 2 * reg * W, though the loss has 0.5 * reg * sum(W * W): it should be reg * W.",
    "The penalty's gradient is twice too large.",
    "The 0.5 in the penalty was not taken into account in the gradients of the weights.",
)
def two_layer_reg_times_two():
    class Model(TwoLayerNet):
        def loss(self, X, y=None):
            W1, b1, W2, b2 = (self.params[k] for k in ("W1", "b1", "W2", "b2"))
            hidden, cache1 = right_utils.affine_relu_forward(X, W1, b1)
            scores, cache2 = right.affine_forward(hidden, W2, b2)
            if y is None:
                return scores
            loss, dscores = softmax(scores, y)
            loss += 0.5 * self.reg * (np.sum(W1 * W1) + np.sum(W2 * W2))
            grads = {}
            dhidden, grads["W2"], grads["b2"] = right.affine_backward(dscores, cache2)
            _, grads["W1"], grads["b1"] = right_utils.affine_relu_backward(dhidden, cache1)
            grads["W1"] += 2 * self.reg * W1
            grads["W2"] += 2 * self.reg * W2
            return loss, grads

    return two_layer_case(Model, 401)


@mistake(
    "two_layer",
    "W1 W2",
    "The loss adds reg * sum(W * W) without the 0.5, while the gradients add reg * W.",
    "The penalty in the loss is twice what the gradients assume.",
    "The penalty's part of the gradients is half of what the loss asks for.",
)
def two_layer_loss_without_half():
    class Model(TwoLayerNet):
        def loss(self, X, y=None):
            W1, b1, W2, b2 = (self.params[k] for k in ("W1", "b1", "W2", "b2"))
            hidden, cache1 = right_utils.affine_relu_forward(X, W1, b1)
            scores, cache2 = right.affine_forward(hidden, W2, b2)
            if y is None:
                return scores
            loss, dscores = softmax(scores, y)
            loss += self.reg * np.sum(W1**2) + self.reg * np.sum(W2**2)
            dhidden, dW2, db2 = right.affine_backward(dscores, cache2)
            _, dW1, db1 = right_utils.affine_relu_backward(dhidden, cache1)
            dW1 += self.reg * W1
            dW2 += self.reg * W2
            return loss, {"W1": dW1, "b1": db1, "W2": dW2, "b2": db2}

    return two_layer_case(Model, 402, N=4, D=5, H=5, C=5, reg=0.3)


@mistake(
    "two_layer",
    "W1",
    "The penalty's gradient is missing for W1: only W2 gets reg * W2.",
    "reg * W1 is not added to dW1.",
)
def two_layer_reg_missing_w1():
    class Model(TwoLayerNet):
        def loss(self, X, y=None):
            W1, b1, W2, b2 = (self.params[k] for k in ("W1", "b1", "W2", "b2"))
            hidden, cache1 = right_utils.affine_relu_forward(X, W1, b1)
            scores, cache2 = right.affine_forward(hidden, W2, b2)
            if y is None:
                return scores
            loss, dscores = softmax(scores, y)
            loss += 0.5 * self.reg * (np.sum(W1 * W1) + np.sum(W2 * W2))
            dhidden, dW2, db2 = right.affine_backward(dscores, cache2)
            dW2 += self.reg * W2
            _, dW1, db1 = right_utils.affine_relu_backward(dhidden, cache1)
            return loss, {"W1": dW1, "b1": db1, "W2": dW2, "b2": db2}

    return two_layer_case(Model, 403, N=3, D=8, H=4, C=3)


@mistake(
    "two_layer",
    "W1 b1",
    "The ReLU is left out of the backward pass: dhidden goes straight into the first affine layer.",
    "The ReLU mask is missing in the gradients of the first layer.",
)
def two_layer_no_relu_backward():
    class Model(TwoLayerNet):
        def loss(self, X, y=None):
            W1, b1, W2, b2 = (self.params[k] for k in ("W1", "b1", "W2", "b2"))
            z1 = X.dot(W1) + b1
            h1 = np.maximum(0, z1)
            scores = h1.dot(W2) + b2
            if y is None:
                return scores
            loss, dscores = softmax(scores, y)
            loss += 0.5 * self.reg * (np.sum(W1 * W1) + np.sum(W2 * W2))
            dW2 = h1.T.dot(dscores) + self.reg * W2
            db2 = dscores.sum(axis=0)
            dh1 = dscores.dot(W2.T)
            dW1 = X.T.dot(dh1) + self.reg * W1
            db1 = dh1.sum(axis=0)
            return loss, {"W1": dW1, "b1": db1, "W2": dW2, "b2": db2}

    return two_layer_case(Model, 404, reg=0.0)


@mistake(
    "two_layer",
    "b1 b2",
    "The penalty's gradient is added to the biases too, though the loss penalizes the weights only.",
    "reg * b is added to the gradients of the biases.",
)
def two_layer_reg_on_biases():
    class Model(TwoLayerNet):
        def loss(self, X, y=None):
            W1, b1, W2, b2 = (self.params[k] for k in ("W1", "b1", "W2", "b2"))
            hidden, cache1 = right_utils.affine_relu_forward(X, W1, b1)
            scores, cache2 = right.affine_forward(hidden, W2, b2)
            if y is None:
                return scores
            loss, dscores = softmax(scores, y)
            loss += 0.5 * self.reg * (np.sum(W1 * W1) + np.sum(W2 * W2))
            grads = {}
            dhidden, grads["W2"], grads["b2"] = right.affine_backward(dscores, cache2)
            _, grads["W1"], grads["b1"] = right_utils.affine_relu_backward(dhidden, cache1)
            for name in self.params:
                grads[name] += self.reg * self.params[name]
            return loss, grads

    return two_layer_case(Model, 405, N=6, D=4, H=6, C=3, reg=0.8)


@mistake(
    "two_layer",
    "W1 W2 b1 b2",
    "The gradient of the scores is divided by N once more, though softmax_loss has averaged it already.",
    "All gradients are N times too small.",
    "The average over the batch is taken twice.",
)
def two_layer_divided_by_n_twice():
    class Model(TwoLayerNet):
        def loss(self, X, y=None):
            N = X.shape[0]
            W1, b1, W2, b2 = (self.params[k] for k in ("W1", "b1", "W2", "b2"))
            hidden, cache1 = right_utils.affine_relu_forward(X, W1, b1)
            scores, cache2 = right.affine_forward(hidden, W2, b2)
            if y is None:
                return scores
            loss, dscores = softmax(scores, y)
            dscores /= N
            dhidden, dW2, db2 = right.affine_backward(dscores, cache2)
            _, dW1, db1 = right_utils.affine_relu_backward(dhidden, cache1)
            return loss, {"W1": dW1, "b1": db1, "W2": dW2, "b2": db2}

    return two_layer_case(Model, 406, N=4, reg=0.0)


@mistake(
    "two_layer",
    "W2",
    "dW2 uses the hidden layer before the ReLU instead of after it.",
    "The pre-activation z1 stands in dW2 in the place of max(0, z1).",
)
def two_layer_dw2_before_relu():
    class Model(TwoLayerNet):
        def loss(self, X, y=None):
            W1, b1, W2, b2 = (self.params[k] for k in ("W1", "b1", "W2", "b2"))
            z1 = X.dot(W1) + b1
            h1 = np.maximum(0, z1)
            scores = h1.dot(W2) + b2
            if y is None:
                return scores
            loss, dscores = softmax(scores, y)
            loss += 0.5 * self.reg * (np.sum(W1 * W1) + np.sum(W2 * W2))
            dW2 = z1.T.dot(dscores) + self.reg * W2
            db2 = dscores.sum(axis=0)
            dz1 = dscores.dot(W2.T)
            dz1[z1 <= 0] = 0
            dW1 = X.T.dot(dz1) + self.reg * W1
            db1 = dz1.sum(axis=0)
            return loss, {"W1": dW1, "b1": db1, "W2": dW2, "b2": db2}

    return two_layer_case(Model, 407, reg=0.1)


@mistake(
    "two_layer",
    "W1 b1",
    "The ReLU mask is taken from the gradient dhidden instead of from the hidden units.",
    "Negative gradients are zeroed, not the gradients of the units that were off.",
)
def two_layer_mask_of_gradient():
    class Model(TwoLayerNet):
        def loss(self, X, y=None):
            W1, b1, W2, b2 = (self.params[k] for k in ("W1", "b1", "W2", "b2"))
            h1 = np.maximum(0, X.dot(W1) + b1)
            scores = h1.dot(W2) + b2
            if y is None:
                return scores
            loss, dscores = softmax(scores, y)
            loss += 0.5 * self.reg * (np.sum(W1 * W1) + np.sum(W2 * W2))
            dW2 = h1.T.dot(dscores) + self.reg * W2
            db2 = dscores.sum(axis=0)
            dh1 = dscores.dot(W2.T)
            dh1 = np.maximum(0, dh1)
            dW1 = X.T.dot(dh1) + self.reg * W1
            db1 = dh1.sum(axis=0)
            return loss, {"W1": dW1, "b1": db1, "W2": dW2, "b2": db2}

    return two_layer_case(Model, 408, N=7, D=3, H=5, C=6, reg=0.0)


@mistake(
    "two_layer",
    "b1",
    "db1 is computed from the gradient before it went through the ReLU; dW1 is right.",
    "The ReLU mask is missing in db1 only.",
)
def two_layer_db1_before_mask():
    class Model(TwoLayerNet):
        def loss(self, X, y=None):
            W1, b1, W2, b2 = (self.params[k] for k in ("W1", "b1", "W2", "b2"))
            z1 = X.dot(W1) + b1
            h1 = np.maximum(0, z1)
            scores = h1.dot(W2) + b2
            if y is None:
                return scores
            loss, dscores = softmax(scores, y)
            loss += 0.5 * self.reg * (np.sum(W1 * W1) + np.sum(W2 * W2))
            dh1 = dscores.dot(W2.T)
            grads = {
                "W2": h1.T.dot(dscores) + self.reg * W2,
                "b2": np.sum(dscores, axis=0),
                "W1": X.T.dot(dh1 * (z1 > 0)) + self.reg * W1,
                "b1": np.sum(dh1, axis=0),
            }
            return loss, grads

    return two_layer_case(Model, 409)


@mistake(
    "two_layer",
    "W1 W2",
    "The loss penalizes W1 twice and W2 never: a copied line was not adapted.",
    "sum(W1 * W1) stands in the loss in the place of sum(W2 * W2).",
)
def two_layer_loss_w1_twice():
    class Model(TwoLayerNet):
        def loss(self, X, y=None):
            W1, b1, W2, b2 = (self.params[k] for k in ("W1", "b1", "W2", "b2"))
            hidden, cache1 = right_utils.affine_relu_forward(X, W1, b1)
            scores, cache2 = right.affine_forward(hidden, W2, b2)
            if y is None:
                return scores
            loss, dscores = softmax(scores, y)
            loss += 0.5 * self.reg * (np.sum(W1 * W1) + np.sum(W1 * W1))
            dhidden, dW2, db2 = right.affine_backward(dscores, cache2)
            _, dW1, db1 = right_utils.affine_relu_backward(dhidden, cache1)
            dW1 += self.reg * W1
            dW2 += self.reg * W2
            return loss, {"W1": dW1, "b1": db1, "W2": dW2, "b2": db2}

    return two_layer_case(Model, 410, N=3, D=5, H=6, C=4)


@mistake(
    "two_layer",
    "W2",
    "dW2 gets the penalty of the wrong matrix: reg * W1 instead of reg * W2; it fits only because both have the same shape.",
    "W1 stands in the penalty of dW2.",
)
def two_layer_reg_of_wrong_matrix():
    class Model(TwoLayerNet):
        def loss(self, X, y=None):
            W1, b1, W2, b2 = (self.params[k] for k in ("W1", "b1", "W2", "b2"))
            hidden, cache1 = right_utils.affine_relu_forward(X, W1, b1)
            scores, cache2 = right.affine_forward(hidden, W2, b2)
            if y is None:
                return scores
            loss, dscores = softmax(scores, y)
            loss += 0.5 * self.reg * (np.sum(W1 * W1) + np.sum(W2 * W2))
            dhidden, dW2, db2 = right.affine_backward(dscores, cache2)
            _, dW1, db1 = right_utils.affine_relu_backward(dhidden, cache1)
            dW1 += self.reg * W1
            dW2 += self.reg * W1
            return loss, {"W1": dW1, "b1": db1, "W2": dW2, "b2": db2}

    return two_layer_case(Model, 411, N=6, D=5, H=5, C=5)


# ---------------------------------------------------------------------------------------------------------
# Fully connected networks of any depth
# ---------------------------------------------------------------------------------------------------------


def fc_case(Model, draw_seed, hidden, N=5, D=6, C=4, **settings):
    model = Model(hidden, input_dim=D, num_classes=C, dtype=np.float64, **settings)
    return model_case(model, draw_seed, N, (D,), C)


class PlainNet(FullyConnectedNet):
    """The forward pass and the penalty of a learner's net, which are right; the cases write loss."""

    def forward(self, X, train):
        mode = "train" if train else "test"
        for bn_param in self.bn_params:
            bn_param["mode"] = mode
        if self.dropout_param is not None:
            self.dropout_param["mode"] = mode
        h, caches = X, []
        for i in range(1, self.num_layers):
            h, fc_cache = right.affine_forward(h, self.params[f"W{i}"], self.params[f"b{i}"])
            norm_cache = drop_cache = None
            if self.normalization is not None:
                gamma, beta = self.params[f"gamma{i}"], self.params[f"beta{i}"]
                norm = (
                    right.batchnorm_forward if self.normalization == "batchnorm" else right.layernorm_forward
                )
                h, norm_cache = norm(h, gamma, beta, self.bn_params[i - 1])
            h, relu_cache = right.relu_forward(h)
            if self.dropout_param is not None:
                h, drop_cache = right.dropout_forward(h, self.dropout_param)
            caches.append((fc_cache, norm_cache, relu_cache, drop_cache))
        L = self.num_layers
        scores, cache = right.affine_forward(h, self.params[f"W{L}"], self.params[f"b{L}"])
        return scores, caches, cache

    def penalty(self):
        weights = (self.params[f"W{i}"] for i in range(1, self.num_layers + 1))
        return 0.5 * self.reg * sum(np.sum(W * W) for W in weights)


@mistake(
    "network",
    "W1 W2",
    "The penalty's gradient is added to the last layer only; the hidden layers' weights do not get reg * W.",
    "reg * W is missing in the gradients of the hidden layers.",
)
def net_reg_last_layer_only():
    class Model(PlainNet):
        def loss(self, X, y=None):
            scores, caches, last = self.forward(X, y is not None)
            if y is None:
                return scores
            L, grads = self.num_layers, {}
            loss, dout = softmax(scores, y)
            loss += self.penalty()
            dout, grads[f"W{L}"], grads[f"b{L}"] = right.affine_backward(dout, last)
            grads[f"W{L}"] += self.reg * self.params[f"W{L}"]
            for i in range(L - 1, 0, -1):
                fc_cache, _, relu_cache, _ = caches[i - 1]
                dout = right.relu_backward(dout, relu_cache)
                dout, grads[f"W{i}"], grads[f"b{i}"] = right.affine_backward(dout, fc_cache)
            return loss, grads

    return fc_case(Model, 501, [5, 4], reg=0.5)


@mistake(
    "network",
    "gamma1 gamma2",
    "The penalty's gradient is added to gamma too, though the loss penalizes the weights only.",
    "reg * gamma is added to dgamma.",
)
def net_reg_on_gamma():
    class Model(PlainNet):
        def loss(self, X, y=None):
            scores, caches, last = self.forward(X, y is not None)
            if y is None:
                return scores
            L, grads = self.num_layers, {}
            loss, dout = softmax(scores, y)
            loss += self.penalty()
            dout, grads[f"W{L}"], grads[f"b{L}"] = right.affine_backward(dout, last)
            for i in range(L - 1, 0, -1):
                fc_cache, bn_cache, relu_cache, _ = caches[i - 1]
                dout = right.relu_backward(dout, relu_cache)
                dout, grads[f"gamma{i}"], grads[f"beta{i}"] = right.batchnorm_backward(dout, bn_cache)
                dout, grads[f"W{i}"], grads[f"b{i}"] = right.affine_backward(dout, fc_cache)
            for name in grads:
                if not name.startswith("b"):
                    grads[name] += self.reg * self.params[name]
            return loss, grads

    return fc_case(Model, 502, [4, 5], N=6, reg=0.4, normalization="batchnorm")


@mistake(
    "network",
    "W1 b1 W2 b2",
    "Dropout is left out of the backward pass: the gradient is neither masked nor scaled.",
    "dropout_backward is never called.",
)
def net_no_dropout_backward():
    class Model(PlainNet):
        def loss(self, X, y=None):
            scores, caches, last = self.forward(X, y is not None)
            if y is None:
                return scores
            L, grads = self.num_layers, {}
            loss, dout = softmax(scores, y)
            loss += self.penalty()
            dout, grads[f"W{L}"], grads[f"b{L}"] = right.affine_backward(dout, last)
            for i in range(L - 1, 0, -1):
                fc_cache, _, relu_cache, drop_cache = caches[i - 1]
                dout = right.relu_backward(dout, relu_cache)
                dout, grads[f"W{i}"], grads[f"b{i}"] = right.affine_backward(dout, fc_cache)
            for i in range(1, L + 1):
                grads[f"W{i}"] += self.reg * self.params[f"W{i}"]
            return loss, grads

    return fc_case(Model, 503, [8, 7], reg=0.1, dropout=0.6, seed=5)


@mistake(
    "network",
    "W1 b1 gamma1 beta1 W2 b2",
    "Batch normalization is skipped in the backward pass of the hidden layers: dout goes from the ReLU straight to the affine layer.",
    "dx of batchnorm_backward is thrown away.",
)
def net_bn_dx_ignored():
    class Model(PlainNet):
        def loss(self, X, y=None):
            scores, caches, last = self.forward(X, y is not None)
            if y is None:
                return scores
            L, grads = self.num_layers, {}
            loss, dout = softmax(scores, y)
            dout, grads[f"W{L}"], grads[f"b{L}"] = right.affine_backward(dout, last)
            i = 2
            fc_cache, bn_cache, relu_cache, _ = caches[i - 1]
            dout = right.relu_backward(dout, relu_cache)
            _, grads[f"gamma{i}"], grads[f"beta{i}"] = right.batchnorm_backward(dout, bn_cache)
            dout, grads[f"W{i}"], grads[f"b{i}"] = right.affine_backward(dout, fc_cache)
            i = 1
            fc_cache, bn_cache, relu_cache, _ = caches[i - 1]
            dout = right.relu_backward(dout, relu_cache)
            _, grads[f"gamma{i}"], grads[f"beta{i}"] = right.batchnorm_backward(dout, bn_cache)
            dout, grads[f"W{i}"], grads[f"b{i}"] = right.affine_backward(dout, fc_cache)
            return loss, grads

    return fc_case(Model, 504, [5, 6], N=7, normalization="batchnorm")


@mistake(
    "network",
    "gamma1 beta1 gamma2 beta2",
    "dgamma and dbeta are stored under each other's names.",
    "The gradients of gamma and beta are swapped.",
)
def net_gamma_beta_swapped():
    class Model(PlainNet):
        def loss(self, X, y=None):
            scores, caches, last = self.forward(X, y is not None)
            if y is None:
                return scores
            L, grads = self.num_layers, {}
            loss, dout = softmax(scores, y)
            loss += self.penalty()
            dout, grads[f"W{L}"], grads[f"b{L}"] = right.affine_backward(dout, last)
            for i in range(L - 1, 0, -1):
                fc_cache, ln_cache, relu_cache, _ = caches[i - 1]
                dout = right.relu_backward(dout, relu_cache)
                dout, grads[f"beta{i}"], grads[f"gamma{i}"] = right.layernorm_backward(dout, ln_cache)
                dout, grads[f"W{i}"], grads[f"b{i}"] = right.affine_backward(dout, fc_cache)
            for i in range(1, L + 1):
                grads[f"W{i}"] += self.reg * self.params[f"W{i}"]
            return loss, grads

    return fc_case(Model, 505, [6, 5], reg=0.2, normalization="layernorm")


@mistake(
    "network",
    "W1 b1 W2 b2",
    "Every hidden layer uses the ReLU cache of the last hidden layer; it fits only because all have the same size.",
    "The ReLU masks of the earlier layers are those of a later layer.",
    "The loop overwrites relu_cache in the forward pass and keeps only the last.",
)
def net_relu_cache_of_last_layer():
    class Model(PlainNet):
        def loss(self, X, y=None):
            scores, caches, last = self.forward(X, y is not None)
            if y is None:
                return scores
            L, grads = self.num_layers, {}
            loss, dout = softmax(scores, y)
            loss += self.penalty()
            relu_cache = caches[-1][2]
            dout, grads[f"W{L}"], grads[f"b{L}"] = right.affine_backward(dout, last)
            for i in range(L - 1, 0, -1):
                fc_cache = caches[i - 1][0]
                dout = right.relu_backward(dout, relu_cache)
                dout, grads[f"W{i}"], grads[f"b{i}"] = right.affine_backward(dout, fc_cache)
            for i in range(1, L + 1):
                grads[f"W{i}"] += self.reg * self.params[f"W{i}"]
            return loss, grads

    return fc_case(Model, 506, [6, 6, 6], N=4, reg=0.0)


@mistake(
    "network",
    "W1 b1 W2 b2",
    "dout is never updated in the loop: every hidden layer gets the gradient of the last hidden layer's output instead of what the layer after it handed back.",
    "The dx of one layer is not passed on to the layer before it.",
)
def net_dout_not_updated():
    class Model(PlainNet):
        def loss(self, X, y=None):
            scores, caches, last = self.forward(X, y is not None)
            if y is None:
                return scores
            L, grads = self.num_layers, {}
            loss, dscores = softmax(scores, y)
            loss += self.penalty()
            dout, grads[f"W{L}"], grads[f"b{L}"] = right.affine_backward(dscores, last)
            for i in range(L - 1, 0, -1):
                fc_cache, _, relu_cache, _ = caches[i - 1]
                da = right.relu_backward(dout, relu_cache)
                dx, dW, db = right.affine_backward(da, fc_cache)
                grads[f"W{i}"] = dW + self.reg * self.params[f"W{i}"]
                grads[f"b{i}"] = db
            grads[f"W{L}"] += self.reg * self.params[f"W{L}"]
            return loss, grads

    return fc_case(Model, 507, [5, 5, 5], D=4, reg=0.1)


@mistake(
    "network",
    "W1 b1 W2 b2 W3 b3",
    "The forward pass applies a ReLU to the scores as well, but the backward pass does not go through it.",
    "The last layer is affine-ReLU in forward and affine only in backward.",
    "The ReLU mask of the scores is missing in the backward pass.",
)
def net_relu_on_scores():
    class Model(PlainNet):
        def loss(self, X, y=None):
            h, caches = X, []
            for i in range(1, self.num_layers + 1):
                h, cache = right_utils.affine_relu_forward(h, self.params[f"W{i}"], self.params[f"b{i}"])
                caches.append(cache)
            scores = h
            if y is None:
                return scores
            L, grads = self.num_layers, {}
            loss, dout = softmax(scores, y)
            fc_cache = caches[-1][0][1]
            dout, grads[f"W{L}"], grads[f"b{L}"] = right.affine_backward(dout, fc_cache)
            for i in range(L - 1, 0, -1):
                dout, grads[f"W{i}"], grads[f"b{i}"] = right_utils.affine_relu_backward(dout, caches[i - 1])
            return loss, grads

    return fc_case(Model, 508, [7, 6], N=4, C=5)


@mistake(
    "network",
    "W1 W2 W3",
    "The gradient of the loss is overwritten by the penalty's: grads[W] = reg * W instead of +=.",
    "The weights' gradients contain the penalty only.",
)
def net_reg_overwrites():
    class Model(PlainNet):
        def loss(self, X, y=None):
            scores, caches, last = self.forward(X, y is not None)
            if y is None:
                return scores
            L, grads = self.num_layers, {}
            loss, dout = softmax(scores, y)
            loss += self.penalty()
            dout, grads[f"W{L}"], grads[f"b{L}"] = right.affine_backward(dout, last)
            for i in range(L - 1, 0, -1):
                fc_cache, _, relu_cache, _ = caches[i - 1]
                dout = right.relu_backward(dout, relu_cache)
                dout, grads[f"W{i}"], grads[f"b{i}"] = right.affine_backward(dout, fc_cache)
            for i in range(1, L + 1):
                grads[f"W{i}"] = self.reg * self.params[f"W{i}"]
            return loss, grads

    return fc_case(Model, 509, [4, 6], N=3, reg=0.7)


@mistake(
    "network",
    "W1 b1 gamma1 beta1 W2 b2",
    "A network with layer normalization uses batch normalization's backward pass, whose means run over the batch instead of over the features.",
    "The normalization's backward takes its means along the wrong axis.",
)
def net_layernorm_with_batchnorm_backward():
    class Model(PlainNet):
        def norm_backward(self, dout, cache):
            x_hat, inv_std, gamma = cache[:3]
            N = dout.shape[0]
            dbeta = dout.sum(axis=0)
            dgamma = (dout * x_hat).sum(axis=0)
            dx_hat = dout * gamma
            dx = inv_std / N * (N * dx_hat - dx_hat.sum(axis=0) - x_hat * (dx_hat * x_hat).sum(axis=0))
            return dx, dgamma, dbeta

        def loss(self, X, y=None):
            scores, caches, last = self.forward(X, y is not None)
            if y is None:
                return scores
            L, grads = self.num_layers, {}
            loss, dout = softmax(scores, y)
            loss += self.penalty()
            dout, grads[f"W{L}"], grads[f"b{L}"] = right.affine_backward(dout, last)
            for i in range(L - 1, 0, -1):
                fc_cache, norm_cache, relu_cache, _ = caches[i - 1]
                dout = right.relu_backward(dout, relu_cache)
                dout, grads[f"gamma{i}"], grads[f"beta{i}"] = self.norm_backward(dout, norm_cache)
                dout, grads[f"W{i}"], grads[f"b{i}"] = right.affine_backward(dout, fc_cache)
            for i in range(1, L + 1):
                grads[f"W{i}"] += self.reg * self.params[f"W{i}"]
            return loss, grads

    return fc_case(Model, 510, [6, 5], N=6, reg=0.0, normalization="layernorm")


@mistake(
    "network",
    "W1 W2 W3",
    "The loss adds 0.5 * reg * sum(W) instead of 0.5 * reg * sum(W * W): the square is missing.",
    "The penalty in the loss is linear in the weights, while the gradients add reg * W.",
)
def net_penalty_not_squared():
    class Model(PlainNet):
        def loss(self, X, y=None):
            scores, caches, last = self.forward(X, y is not None)
            if y is None:
                return scores
            L, grads = self.num_layers, {}
            loss, dout = softmax(scores, y)
            dout, grads[f"W{L}"], grads[f"b{L}"] = right.affine_backward(dout, last)
            for i in range(L - 1, 0, -1):
                fc_cache, _, relu_cache, _ = caches[i - 1]
                dout = right.relu_backward(dout, relu_cache)
                dout, grads[f"W{i}"], grads[f"b{i}"] = right.affine_backward(dout, fc_cache)
            for i in range(1, L + 1):
                W = self.params[f"W{i}"]
                loss += 0.5 * self.reg * np.sum(W)
                grads[f"W{i}"] += self.reg * W
            return loss, grads

    return fc_case(Model, 511, [5, 3], N=4, D=7, C=3, reg=0.6)


@mistake(
    "network",
    "W1 W2",
    "The penalty is overwritten in the loop over the layers, so the loss contains that of the last layer only; the gradients have all.",
    "reg_loss uses = where it needs +=: the loss penalizes the last weight matrix only.",
)
def net_penalty_of_last_layer():
    class Model(PlainNet):
        def loss(self, X, y=None):
            scores, caches, last = self.forward(X, y is not None)
            if y is None:
                return scores
            L, grads = self.num_layers, {}
            data_loss, dout = softmax(scores, y)
            for i in range(1, L + 1):
                reg_loss = 0.5 * self.reg * np.sum(self.params[f"W{i}"] ** 2)
            loss = data_loss + reg_loss
            dout, grads[f"W{L}"], grads[f"b{L}"] = right.affine_backward(dout, last)
            for i in range(L - 1, 0, -1):
                fc_cache, _, relu_cache, _ = caches[i - 1]
                dout = right.relu_backward(dout, relu_cache)
                dout, grads[f"W{i}"], grads[f"b{i}"] = right.affine_backward(dout, fc_cache)
            for i in range(1, L + 1):
                grads[f"W{i}"] += self.reg * self.params[f"W{i}"]
            return loss, grads

    return fc_case(Model, 512, [6, 4], N=7, reg=0.5)


@mistake(
    "network",
    "W1 W2 W3",
    "The penalty's gradient is divided by the batch size: reg * W / N instead of reg * W.",
    "The penalty's part of the gradients is N times too small.",
)
def net_reg_divided_by_n():
    class Model(PlainNet):
        def loss(self, X, y=None):
            scores, caches, last = self.forward(X, y is not None)
            if y is None:
                return scores
            N, L, grads = X.shape[0], self.num_layers, {}
            loss, dout = softmax(scores, y)
            loss += self.penalty()
            dout, grads[f"W{L}"], grads[f"b{L}"] = right.affine_backward(dout, last)
            grads[f"W{L}"] += self.reg * self.params[f"W{L}"] / N
            for i in range(L - 1, 0, -1):
                fc_cache, _, relu_cache, _ = caches[i - 1]
                dout = right.relu_backward(dout, relu_cache)
                dout, grads[f"W{i}"], grads[f"b{i}"] = right.affine_backward(dout, fc_cache)
                grads[f"W{i}"] += self.reg * self.params[f"W{i}"] / N
            return loss, grads

    return fc_case(Model, 513, [5, 5], N=8, reg=0.9)


@mistake(
    "network",
    "W2",
    "The gradient of the hidden weights W2 is transposed; it fits only because the hidden layers have the same size.",
    "dW2 is the transpose of the right gradient.",
)
def net_hidden_weight_transposed():
    class Model(PlainNet):
        def loss(self, X, y=None):
            W1, W2, W3 = (self.params[f"W{i}"] for i in (1, 2, 3))
            b1, b2, b3 = (self.params[f"b{i}"] for i in (1, 2, 3))
            z1 = X @ W1 + b1
            h1 = np.maximum(z1, 0)
            z2 = h1 @ W2 + b2
            h2 = np.maximum(z2, 0)
            scores = h2 @ W3 + b3
            if y is None:
                return scores
            loss, dscores = softmax(scores, y)
            grads = {"W3": h2.T @ dscores, "b3": dscores.sum(axis=0)}
            dz2 = (dscores @ W3.T) * (z2 > 0)
            grads["W2"], grads["b2"] = dz2.T @ h1, dz2.sum(axis=0)
            dz1 = (dz2 @ W2.T) * (z1 > 0)
            grads["W1"], grads["b1"] = X.T @ dz1, dz1.sum(axis=0)
            return loss, grads

    return fc_case(Model, 514, [6, 6], N=5, reg=0.0)


@mistake(
    "network",
    "W1 b1 gamma1 beta1 W2 b2",
    "Batch normalization's mean and variance are treated as constants in the backward pass: dx = dout * gamma / std, as in test mode.",
    "The paths through the batch mean and the batch variance are missing.",
    "The test-mode backward is used in training.",
)
def net_bn_statistics_constant():
    class Model(PlainNet):
        def loss(self, X, y=None):
            scores, caches, last = self.forward(X, y is not None)
            if y is None:
                return scores
            L, grads = self.num_layers, {}
            loss, dout = softmax(scores, y)
            loss += self.penalty()
            dout, grads[f"W{L}"], grads[f"b{L}"] = right.affine_backward(dout, last)
            for i in range(L - 1, 0, -1):
                fc_cache, (x_hat, inv_std, gamma, mode), relu_cache, _ = caches[i - 1]
                dout = right.relu_backward(dout, relu_cache)
                grads[f"gamma{i}"] = np.sum(dout * x_hat, axis=0)
                grads[f"beta{i}"] = np.sum(dout, axis=0)
                dout = dout * gamma * inv_std
                dout, grads[f"W{i}"], grads[f"b{i}"] = right.affine_backward(dout, fc_cache)
            for i in range(1, L + 1):
                grads[f"W{i}"] += self.reg * self.params[f"W{i}"]
            return loss, grads

    return fc_case(Model, 515, [5, 4], N=6, reg=0.1, normalization="batchnorm")


@mistake(
    "network",
    "W1 b1 W2 b2",
    "The dropout mask is applied in the backward pass without the division by the keep probability.",
    "From every dropout layer on, the gradient is p times too small.",
)
def net_dropout_mask_unscaled():
    class Model(PlainNet):
        def loss(self, X, y=None):
            scores, caches, last = self.forward(X, y is not None)
            if y is None:
                return scores
            L, grads = self.num_layers, {}
            loss, dout = softmax(scores, y)
            dout, grads[f"W{L}"], grads[f"b{L}"] = right.affine_backward(dout, last)
            for i in range(L - 1, 0, -1):
                fc_cache, _, relu_cache, (shape, dtype, mask) = caches[i - 1]
                dout = dout * (mask > 0)
                dout = right.relu_backward(dout, relu_cache)
                dout, grads[f"W{i}"], grads[f"b{i}"] = right.affine_backward(dout, fc_cache)
            return loss, grads

    return fc_case(Model, 516, [7, 8], reg=0.0, dropout=0.5, seed=11)


# ---------------------------------------------------------------------------------------------------------
# The three-layer ConvNet
# ---------------------------------------------------------------------------------------------------------


def cnn_case(Model, seed, N=3, input_dim=(2, 4, 6), F=3, size=3, hidden=5, C=4, reg=0.0):
    model = Model(
        input_dim=input_dim,
        num_filters=F,
        filter_size=size,
        hidden_dim=hidden,
        num_classes=C,
        reg=reg,
        dtype=np.float64,
    )
    return model_case(model, seed, N, input_dim, C)


class PlainConvNet(ThreeLayerConvNet):
    """The forward pass of a learner's ConvNet, layer by layer, which is right; the cases write loss."""

    def forward(self, X):
        W1, b1, W2, b2, W3, b3 = (self.params[k] for k in ("W1", "b1", "W2", "b2", "W3", "b3"))
        conv, conv_cache = right.conv_forward_naive(X, W1, b1, self.conv_param)
        relu, relu_cache = right.relu_forward(conv)
        pool, pool_cache = right.max_pool_forward_naive(relu, self.pool_param)
        z2, fc_cache = right.affine_forward(pool, W2, b2)
        h2, relu2_cache = right.relu_forward(z2)
        scores, out_cache = right.affine_forward(h2, W3, b3)
        return scores, (conv_cache, relu_cache, pool_cache, fc_cache, relu2_cache, out_cache)


@mistake(
    "cnn",
    "W1",
    "The penalty's gradient is missing for the convolution's filters: reg * W1 is not added.",
    "Only W2 and W3 get the penalty's gradient.",
)
def cnn_reg_missing_filters():
    class Model(PlainConvNet):
        def loss(self, X, y=None):
            scores, (conv, relu, pool, fc, relu2, out) = self.forward(X)
            if y is None:
                return scores
            W1, W2, W3 = self.params["W1"], self.params["W2"], self.params["W3"]
            loss, dscores = softmax(scores, y)
            loss += 0.5 * self.reg * (np.sum(W1**2) + np.sum(W2**2) + np.sum(W3**2))
            dh2, dW3, db3 = right.affine_backward(dscores, out)
            dpool, dW2, db2 = right.affine_backward(right.relu_backward(dh2, relu2), fc)
            drelu = right.max_pool_backward_naive(dpool, pool)
            _, dW1, db1 = right.conv_backward_naive(right.relu_backward(drelu, relu), conv)
            dW2 += self.reg * W2
            dW3 += self.reg * W3
            return loss, {"W1": dW1, "b1": db1, "W2": dW2, "b2": db2, "W3": dW3, "b3": db3}

    return cnn_case(Model, 601, reg=0.5)


@mistake(
    "cnn",
    "W1 W3",
    "The loss penalizes W1 twice and W3 never: a copied term was not adapted.",
    "sum(W1 ** 2) stands in the loss in the place of sum(W3 ** 2).",
)
def cnn_loss_w1_twice():
    class Model(PlainConvNet):
        def loss(self, X, y=None):
            scores, (conv, relu, pool, fc, relu2, out) = self.forward(X)
            if y is None:
                return scores
            W1, W2, W3 = self.params["W1"], self.params["W2"], self.params["W3"]
            loss, dscores = softmax(scores, y)
            loss += 0.5 * self.reg * (np.sum(W1**2) + np.sum(W2**2) + np.sum(W1**2))
            dh2, dW3, db3 = right.affine_backward(dscores, out)
            dpool, dW2, db2 = right.affine_backward(right.relu_backward(dh2, relu2), fc)
            drelu = right.max_pool_backward_naive(dpool, pool)
            _, dW1, db1 = right.conv_backward_naive(right.relu_backward(drelu, relu), conv)
            dW1 += self.reg * W1
            dW2 += self.reg * W2
            dW3 += self.reg * W3
            return loss, {"W1": dW1, "b1": db1, "W2": dW2, "b2": db2, "W3": dW3, "b3": db3}

    return cnn_case(Model, 602, N=2, input_dim=(1, 4, 4), reg=0.4)


@mistake(
    "cnn",
    "W1 b1",
    "The ReLU after the convolution is left out of the backward pass.",
    "The gradient goes from the pooling straight to the convolution, without the ReLU mask.",
)
def cnn_no_conv_relu_backward():
    class Model(PlainConvNet):
        def loss(self, X, y=None):
            scores, (conv, relu, pool, fc, relu2, out) = self.forward(X)
            if y is None:
                return scores
            loss, dscores = softmax(scores, y)
            grads = {}
            dh2, grads["W3"], grads["b3"] = right.affine_backward(dscores, out)
            dz2 = right.relu_backward(dh2, relu2)
            dpool, grads["W2"], grads["b2"] = right.affine_backward(dz2, fc)
            dconv = right.max_pool_backward_naive(dpool, pool)
            _, grads["W1"], grads["b1"] = right.conv_backward_naive(dconv, conv)
            return loss, grads

    case = cnn_case(Model, 603, input_dim=(2, 4, 4), F=2)
    case["model"].params["b1"] -= 1.5
    return case


@mistake(
    "cnn",
    "W1 b1 W2 b2",
    "The ReLU between the two affine layers is left out of the backward pass.",
    "The hidden layer's ReLU mask is missing.",
)
def cnn_no_hidden_relu_backward():
    class Model(PlainConvNet):
        def loss(self, X, y=None):
            scores, (conv, relu, pool, fc, relu2, out) = self.forward(X)
            if y is None:
                return scores
            loss, dscores = softmax(scores, y)
            dh2, dW3, db3 = right.affine_backward(dscores, out)
            dpool, dW2, db2 = right.affine_backward(dh2, fc)
            drelu = right.max_pool_backward_naive(dpool, pool)
            _, dW1, db1 = right.conv_backward_naive(right.relu_backward(drelu, relu), conv)
            return loss, {"W1": dW1, "b1": db1, "W2": dW2, "b2": db2, "W3": dW3, "b3": db3}

    return cnn_case(Model, 604, hidden=7)


@mistake(
    "cnn",
    "W1 b1",
    "The gradient of the flattened features is reshaped to (N, H, W, F) and transposed, though the features were flattened as (N, F, H, W): a plain reshape is right.",
    "The pooled features' gradient comes to the wrong channels and pixels.",
)
def cnn_unflattened_channels_last():
    class Model(PlainConvNet):
        def loss(self, X, y=None):
            scores, (conv, relu, pool, fc, relu2, out) = self.forward(X)
            if y is None:
                return scores
            loss, dscores = softmax(scores, y)
            dh2, dW3, db3 = right.affine_backward(dscores, out)
            dflat, dW2, db2 = right.affine_backward(right.relu_backward(dh2, relu2), fc)
            N, F, H, W = dflat.shape
            dpool = dflat.reshape(N, H, W, F).transpose(0, 3, 1, 2)
            drelu = right.max_pool_backward_naive(dpool, pool)
            _, dW1, db1 = right.conv_backward_naive(right.relu_backward(drelu, relu), conv)
            return loss, {"W1": dW1, "b1": db1, "W2": dW2, "b2": db2, "W3": dW3, "b3": db3}

    return cnn_case(Model, 605, F=4)


@mistake(
    "cnn",
    "W1 b1",
    "The gradients of the convolution's filters and biases are divided by N once more, though softmax_loss has averaged already.",
    "dW1 and db1 are N times too small.",
)
def cnn_conv_averaged_again():
    class Model(PlainConvNet):
        def loss(self, X, y=None):
            scores, (conv, relu, pool, fc, relu2, out) = self.forward(X)
            if y is None:
                return scores
            N = X.shape[0]
            loss, dscores = softmax(scores, y)
            dh2, dW3, db3 = right.affine_backward(dscores, out)
            dpool, dW2, db2 = right.affine_backward(right.relu_backward(dh2, relu2), fc)
            drelu = right.max_pool_backward_naive(dpool, pool)
            _, dW1, db1 = right.conv_backward_naive(right.relu_backward(drelu, relu), conv)
            grads = {"W1": dW1 / N, "b1": db1 / N, "W2": dW2, "b2": db2, "W3": dW3, "b3": db3}
            return loss, grads

    return cnn_case(Model, 606, N=4, input_dim=(3, 4, 4), F=2)


@mistake(
    "cnn",
    "W2",
    "The penalty's gradient is added to dW2 twice: once right after the layer and once more at the end.",
    "dW2 contains 2 * reg * W2 instead of reg * W2.",
)
def cnn_reg_w2_twice():
    class Model(PlainConvNet):
        def loss(self, X, y=None):
            scores, (conv, relu, pool, fc, relu2, out) = self.forward(X)
            if y is None:
                return scores
            loss, dscores = softmax(scores, y)
            grads = {}
            dh2, grads["W3"], grads["b3"] = right.affine_backward(dscores, out)
            dpool, grads["W2"], grads["b2"] = right.affine_backward(right.relu_backward(dh2, relu2), fc)
            grads["W2"] += self.reg * self.params["W2"]
            drelu = right.max_pool_backward_naive(dpool, pool)
            dconv = right.relu_backward(drelu, relu)
            _, grads["W1"], grads["b1"] = right.conv_backward_naive(dconv, conv)
            for k in ("W1", "W2", "W3"):
                loss += 0.5 * self.reg * np.sum(self.params[k] * self.params[k])
                grads[k] += self.reg * self.params[k]
            return loss, grads

    return cnn_case(Model, 607, hidden=4, reg=0.3)


@mistake(
    "cnn",
    "W1 b1",
    "The pooling's backward pass spreads the gradient evenly over each window, as average pooling would, instead of giving it to the maximum.",
    "Average pooling's backward is used for max pooling.",
)
def cnn_pool_average_backward():
    class Model(PlainConvNet):
        def loss(self, X, y=None):
            scores, (conv, relu, pool, fc, relu2, out) = self.forward(X)
            if y is None:
                return scores
            loss, dscores = softmax(scores, y)
            dh2, dW3, db3 = right.affine_backward(dscores, out)
            dpool, dW2, db2 = right.affine_backward(right.relu_backward(dh2, relu2), fc)
            drelu = np.repeat(np.repeat(dpool, 2, axis=2), 2, axis=3) / 4
            _, dW1, db1 = right.conv_backward_naive(right.relu_backward(drelu, relu), conv)
            return loss, {"W1": dW1, "b1": db1, "W2": dW2, "b2": db2, "W3": dW3, "b3": db3}

    return cnn_case(Model, 608, input_dim=(1, 6, 4), F=4, C=3)


@mistake(
    "cnn",
    "b1 b2 b3",
    "The biases get the penalty's gradient too, though the loss penalizes only the weights.",
    "reg * b is added to the gradients of the biases.",
)
def cnn_reg_on_biases():
    class Model(PlainConvNet):
        def loss(self, X, y=None):
            scores, (conv, relu, pool, fc, relu2, out) = self.forward(X)
            if y is None:
                return scores
            loss, dscores = softmax(scores, y)
            grads = {}
            dh2, grads["W3"], grads["b3"] = right.affine_backward(dscores, out)
            dpool, grads["W2"], grads["b2"] = right.affine_backward(right.relu_backward(dh2, relu2), fc)
            drelu = right.max_pool_backward_naive(dpool, pool)
            dconv = right.relu_backward(drelu, relu)
            _, grads["W1"], grads["b1"] = right.conv_backward_naive(dconv, conv)
            for k in ("W1", "W2", "W3"):
                loss += 0.5 * self.reg * np.sum(self.params[k] ** 2)
            for k, v in self.params.items():
                grads[k] = grads[k] + self.reg * v
            return loss, grads

    return cnn_case(Model, 609, N=2, reg=0.6)
