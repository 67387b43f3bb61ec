"""Planted bugs: copies of the layers and networks with one mistake each, whose cause has to be named first.

A diagnosis that is wrong is worse than none. So every cause that a report names is compared with the one that
was planted, also for gradients that only suffer from it; what is right, and what is wrong in a way that no
list can hold, has no cause at all.
"""

import inspect
from typing import NamedTuple

import numpy as np
import pytest
from conftest import draw, draw_all

from cs231n import layer_utils, layers
from cs231n.classifiers import cnn, fc_net, regularization
from cs231n.fast_layers import conv_forward_fast
from cs231n.gradcheck.check import FAIL, PASS, WARN, check_layer, check_model

pytestmark = pytest.mark.q1

NONE = "it is None"
ZERO = "it is zero everywhere"
SIGN = "its sign is wrong"
N_SMALL, N_LARGE = "it is N times too small", "it is N times too large"
TRANSPOSED = "it is transposed"
UNSUMMED = "it is not summed"
RESHAPED = "its values are right but its shape is not"
NO_DOUT = "dout is missing"
NO_MASK = "dout comes through unchanged"
REVERSED = "the mask is the wrong way around"
NEGATIVE = "it is wrong for entries where the input is negative"
NO_P, P_TWICE = "the division by p is missing", "it is divided by p once too often"
ASSIGNED = "where windows overlap, gradients are assigned instead of added"
LAST = "only the last share is left of a sum"
FLIPPED = "its filters are flipped"
NO_STRIDE = "the stride is ignored"
WRONG_AXES = "the means are taken over the wrong axes"
UNCENTERED = "x - mean stands where x_hat should"
LABEL = "it is wrong at one entry of each example"
LEFT_OUT = "some examples are left out of the sum"
NO_REG, REG_TWICE = "the regularization term is missing", "the regularization term is twice what it should be"


class Subject(NamedTuple):
    """A pair to plant bugs in: its functions, its arguments, and what comes behind them."""

    forward: object
    backward: object
    shapes: dict
    behind: tuple = ()
    settings: dict | None = None


CONV = {"x": (3, 4, 5, 7), "w": (6, 4, 3, 2), "b": (6,)}
NORM = {"gamma": (5,), "beta": (5,)}
STRIDED, WIDE = {"stride": 2, "pad": 1}, {"stride": 1, "pad": 1}
TILES = {"pool_height": 2, "pool_width": 2, "stride": 2}
OVERLAP = {"pool_height": 3, "pool_width": 2, "stride": 1}
TRAIN = {"mode": "train", "eps": 1e-3}

SUBJECTS = {
    "affine": Subject(layers.affine_forward, layers.affine_backward, {"x": (3, 5), "w": (5, 7), "b": (7,)}),
    "affine-image": Subject(
        layers.affine_forward, layers.affine_backward, {"x": (3, 2, 3), "w": (6, 7), "b": (7,)}
    ),
    "affine-square": Subject(
        layers.affine_forward, layers.affine_backward, {"x": (3, 5), "w": (5, 5), "b": (5,)}
    ),
    "relu": Subject(layers.relu_forward, layers.relu_backward, {"x": (6, 9)}),
    "dropout": Subject(
        layers.dropout_forward,
        layers.dropout_backward,
        {"x": (6, 9)},
        ({"mode": "train", "p": 0.7, "seed": 5},),
        {"p": 0.7},
    ),
    "batchnorm": Subject(
        layers.batchnorm_forward, layers.batchnorm_backward, {"x": (6, 5), **NORM}, (TRAIN,), {"eps": 1e-3}
    ),
    "batchnorm-alt": Subject(
        layers.batchnorm_forward,
        layers.batchnorm_backward_alt,
        {"x": (6, 5), **NORM},
        (TRAIN,),
        {"eps": 1e-3},
    ),
    "layernorm": Subject(
        layers.layernorm_forward, layers.layernorm_backward, {"x": (4, 5), **NORM}, ({},), {"eps": 1e-5}
    ),
    "conv": Subject(conv_forward_fast, layers.conv_backward_naive, CONV, (WIDE,), WIDE),
    "conv-strided": Subject(
        conv_forward_fast,
        layers.conv_backward_naive,
        {**CONV, "w": (6, 4, 3, 3)},
        (STRIDED,),
        STRIDED,
    ),
    "conv-square": Subject(
        conv_forward_fast,
        layers.conv_backward_naive,
        {"x": (3, 4, 6, 5), "w": (2, 4, 3, 3), "b": (2,)},
        ({"stride": 1, "pad": 0},),
        {"stride": 1, "pad": 0},
    ),
    "pool": Subject(
        layers.max_pool_forward_naive, layers.max_pool_backward_naive, {"x": (3, 2, 4, 6)}, (TILES,), TILES
    ),
    "pool-overlap": Subject(
        layers.max_pool_forward_naive,
        layers.max_pool_backward_naive,
        {"x": (3, 2, 5, 4)},
        (OVERLAP,),
        OVERLAP,
    ),
    "spatial-batchnorm": Subject(
        layers.spatial_batchnorm_forward,
        layers.spatial_batchnorm_backward,
        {"x": (3, 5, 2, 4), **NORM},
        (TRAIN,),
        {"eps": 1e-3},
    ),
    "groupnorm": Subject(
        layers.spatial_groupnorm_forward,
        layers.spatial_groupnorm_backward,
        {"x": (3, 6, 2, 4), "gamma": (6,), "beta": (6,)},
        (2, {}),
        {"G": 2, "eps": 1e-5},
    ),
    "softmax": Subject(layers.softmax_loss, None, {"x": (5, 4)}),
    "svm": Subject(layers.svm_loss, None, {"x": (5, 4)}),
}
LOSS_FUNCTIONS = (layers.softmax_loss, layers.svm_loss)
LABELS = np.array([2, 0, 3, 3, 1])


def edited(function, *edits, within=None):
    """`function` from a copy of its module, in whose source every (old, new) text of `edits` is replaced.

    - within: what to edit, if it is not the function itself but a helper, a class or a method behind it
    """
    module = inspect.getmodule(function)
    original = source = inspect.getsource(within or function)
    for old, new in edits:
        assert old in source, f"there is no {old!r} to replace"
        source = source.replace(old, new)
    whole = inspect.getsource(module)
    assert original in whole
    namespace = {"__name__": module.__name__}
    exec(whole.replace(original, source), namespace)
    return namespace[function.__name__]


def report_on(subject, *edits, where="backward", within=None, arrays=None, **options):
    """The Report on a subject with edits in its forward pass, its backward pass, or a helper of one."""
    functions = {"forward": subject.forward, "backward": subject.backward}
    if edits:
        functions[where] = edited(functions[where], *edits, within=within)
    if arrays is None:
        arrays = dict(zip(subject.shapes, draw_all(subject.shapes.values(), seed=7), strict=True))
    behind = subject.behind or ((LABELS,) if subject.forward in LOSS_FUNCTIONS else ())
    forward, backward = functions.values()
    return check_layer(
        lambda *args: forward(*args, *behind),
        backward or times_gradient,
        arrays,
        subject.settings,
        **options,
    )


def times_gradient(dout, dx):
    """The backward pass of a loss, which returns its gradient beside its value."""
    return dout * dx


def named_first(report):
    """{gradient: the title of its first cause, or None} of what failed; "" stands for the layer."""
    titles = {
        comparison.name.split()[-1]: comparison.causes[0].title if comparison.causes else None
        for comparison in report.comparisons
        if comparison.status == FAIL
    }
    return ({"": report.causes[0].title} if report.causes else {}) | titles


class Bug(NamedTuple):
    """An edit, and the titles that the gradients it makes wrong are to have; None for no title at all."""

    subject: str
    name: str
    edits: tuple
    titles: dict
    where: str = "backward"
    within: object = None


def bug(subject, name, old, new, titles, **where):
    return Bug(subject, name, ((old, new),), titles, **where)


CLOSED = {"within": layers._normalize_backward}
SHARED = {"within": layers._batchnorm_backward}
FORWARD = {"where": "forward"}

AFFINE = [
    bug("affine", "dx-none", "return dx, dw, db", "return None, dw, db", {"dx": NONE}),
    bug("affine", "dw-zero", "return dx, dw, db", "return dx, np.zeros_like(w), db", {"dw": ZERO}),
    bug("affine", "db-not-summed", "dout.sum(axis=0)", "dout", {"db": "it is not summed over the batch"}),
    bug("affine", "db-one-number", "dout.sum(axis=0)", "dout.sum()", {"db": "it is summed too much"}),
    bug("affine", "db-mean", "dout.sum(axis=0)", "dout.mean(axis=0)", {"db": N_SMALL}),
    bug("affine", "db-keepdims", "sum(axis=0)", "sum(axis=0, keepdims=True)", {"db": RESHAPED}),
    bug("affine", "db-wrong-axis", "sum(axis=0)", "sum(axis=1)", {"db": "it is summed over the wrong axes"}),
    bug(
        "affine-square",
        "db-last-example",
        "dout.sum(axis=0)",
        "dout[-1]",
        {"db": LAST},
    ),
    bug("affine", "db-list", "dout.sum(axis=0)", "[0.0] * 7", {"db": "it is not an array of numbers"}),
    bug("affine", "dw-mean", "dw = matmul(", "dw = 1 / len(x) * matmul(", {"dw": N_SMALL}),
    bug("affine", "dw-transposed", "return dx, dw, db", "return dx, dw.T, db", {"dw": TRANSPOSED}),
    bug("affine-square", "dw-transposed", "return dx, dw, db", "return dx, dw.T, db", {"dw": TRANSPOSED}),
    bug("affine-image", "dx-flat", ").reshape(x.shape) if", ") if", {"dx": RESHAPED}),
    bug("affine", "dx-sign", "dx = matmul(dout", "dx = matmul(-dout", {"dx": SIGN}),
    bug("affine-square", "dx-w-not-transposed", "w.T", "w", {"dx": "w is not transposed"}),
    bug(
        "affine",
        "dw-db-order",
        "return dx, dw, db",
        "return dx, db, dw",
        {"dw": "it is the gradient of b", "db": "it is the gradient of w"},
    ),
    bug("affine", "dw-twice", "dw = matmul(", "dw = 2 * matmul(", {"dw": "it is 2 times too large"}),
    bug(
        "affine",
        "dw-an-example-left-out",
        "dout)\n    db",
        "dout * [[0], [1], [1]])\n    db",
        {"dw": LEFT_OUT},
    ),
    bug(
        "affine",
        "dx-examples-left-out",
        "dx = matmul(dout, w.T)",
        "dx = matmul(dout * [[0], [1], [1]], w.T)",
        {"dx": "it is wrong for some examples only"},
    ),
    bug(
        "affine",
        "dw-outputs-left-out",
        "    db =",
        "    dw[:, 3] = 0\n    db =",
        {"dw": "it is wrong for some outputs only"},
    ),
    bug(
        "affine",
        "too-few",
        "return dx, dw, db",
        "return dx, dw",
        {"": "backward returns another number of gradients than there are arguments"},
    ),
    bug("affine", "raises", "dout.sum(axis=0)", "dout.sum(axis=5)", {"": "it raises an error"}),
    bug(
        "affine",
        "only-out",
        "return out, (x, w)",
        "return out",
        {"": "forward does not return (out, cache)"},
        **FORWARD,
    ),
]

ELEMENTWISE = [
    bug("relu", "no-mask", "dout * (x > 0)", "dout * 1", {"dx": NEGATIVE}),
    bug("relu", "leaky", "dout * (x > 0)", "np.where(x > 0, dout, 0.01 * dout)", {"dx": NEGATIVE}),
    bug("relu", "mask-reversed", "(x > 0)", "(x < 0)", {"dx": REVERSED}),
    bug("relu", "mask-of-dout", "(x > 0)", "(dout > 0)", {"dx": "the mask is that of dout"}),
    bug("relu", "no-dout", "dout * (x > 0)", "1.0 * (x > 0)", {"dx": NO_DOUT}),
    bug("relu", "returns-relu", "dout * (x > 0)", "np.maximum(x, 0)", {"dx": None}),
    bug(
        "relu",
        "in-place",
        "np.maximum(x, 0), x",
        "np.maximum(x, 0, out=x).copy(), x",
        {"": "the forward pass modifies its argument x"},
        **FORWARD,
    ),
    bug("dropout", "no-mask", "dout * mask", "dout", {"dx": NO_MASK}),
    bug("dropout", "no-scale", "dout * mask", "dout * (mask > 0)", {"dx": NO_P}),
    bug("dropout", "scaled-twice", "dout * mask", "dout * mask / 0.7", {"dx": P_TWICE}),
    bug(
        "dropout",
        "one-minus-p",
        "dout * mask",
        "dout * (mask > 0) / 0.3",
        {"dx": "1 - p stands where p should"},
    ),
    bug("dropout", "mask-reversed", "dout * mask", "dout * (mask == 0) / 0.7", {"dx": REVERSED}),
    bug(
        "dropout",
        "new-mask",
        "dout * mask",
        "dout * (np.random.rand(*shape) < 0.7) / 0.7",
        {"": "the backward pass gives another result each time"},
    ),
    bug(
        "dropout",
        "no-seed",
        "np.random.rand if seed is None else np.random.RandomState(seed).rand",
        "np.random.rand",
        {"": "the forward pass gives another result each time"},
        **FORWARD,
    ),
    bug("dropout", "no-dout", "dout * mask", "mask", {"dx": NO_DOUT}),
]

BATCHNORM = [
    bug(
        "batchnorm",
        "no-mean",
        "dx = dcentered + dmean / N",
        "dx = dcentered",
        {"dx": "the mean's term is missing"},
    ),
    bug(
        "batchnorm",
        "no-variance",
        "    dcentered += 2 / N * centered * dvar\n",
        "",
        {"dx": "the variance's term is missing"},
    ),
    Bug(
        "batchnorm",
        "constants",
        (("dcentered += 2 / N * centered * dvar", ""), ("dcentered + dmean / N", "dcentered")),
        {"dx": "mean and variance are treated as constants"},
    ),
    bug("batchnorm", "no-half", "-0.5 *", "-1.0 *", {"dx": "the variance's term is twice what it should be"}),
    bug(
        "batchnorm",
        "no-two",
        "2 / N *",
        "1 / N *",
        {"dx": "the variance's term is half of what it should be"},
    ),
    bug("batchnorm", "variance-sign", "-0.5 *", "0.5 *", {"dx": "the variance's term has the wrong sign"}),
    bug(
        "batchnorm",
        "mean-sign",
        "dcentered + dmean",
        "dcentered - dmean",
        {"dx": "the mean's term has the wrong sign"},
    ),
    bug(
        "batchnorm",
        "power",
        "inv_std**3",
        "inv_std**2",
        {"dx": "the variance's term has a wrong power of sqrt(var + eps)"},
    ),
    bug("batchnorm", "mean-sum", "dmean / N", "dmean", {"dx": "the mean's term is a sum, not a mean"}),
    bug("batchnorm", "variance-sum", "2 / N *", "2 *", {"dx": "the variance's term is a sum, not a mean"}),
    bug(
        "batchnorm",
        "unbiased",
        "2 / N *",
        "2 / (N - 1) *",
        {"dx": "the variance is divided by N - 1, not by N"},
    ),
    bug("batchnorm", "no-gamma", "dx_hat = dout * gamma", "dx_hat = dout", {"dx": "gamma is missing"}),
    bug(
        "batchnorm",
        "direct-unscaled",
        "dcentered = dx_hat * inv_std",
        "dcentered = dx_hat",
        {"dx": "the division by the deviation is missing"},
    ),
    bug("batchnorm", "dgamma-centered", "(dout * x_hat)", "(dout * x_hat / inv_std)", {"dgamma": UNCENTERED}),
    bug(
        "batchnorm",
        "dgamma-not-summed",
        "(dout * x_hat).sum(axis=0)",
        "dout * x_hat",
        {"dgamma": "it is not summed over the batch"},
    ),
    bug(
        "batchnorm",
        "dgamma-dbeta-order",
        "return dx, dgamma, dbeta",
        "return dx, dbeta, dgamma",
        {"dgamma": "it is the gradient of beta", "dbeta": "it is the gradient of gamma"},
    ),
    bug("batchnorm", "dgamma-mean", "(dout * x_hat).sum(", "(dout * x_hat).mean(", {"dgamma": N_SMALL}),
    bug(
        "batchnorm",
        "dbeta-is-dgamma",
        "dbeta = dout",
        "dbeta = (dout * x_hat)",
        {"dbeta": "it is the gradient of gamma"},
    ),
    bug("batchnorm", "dgamma-no-xhat", "(dout * x_hat)", "dout", {"dgamma": "it is the gradient of beta"}),
    bug(
        "batchnorm-alt",
        "no-mean",
        "dx_hat - dx_hat.mean(axis=axes, keepdims=True)",
        "dx_hat.copy()",
        {"dx": "the mean's term is missing"},
        **CLOSED,
    ),
    bug(
        "batchnorm-alt",
        "no-variance",
        "dx -= x_hat",
        "dx -= 0 * x_hat",
        {"dx": "the variance's term is missing"},
        **CLOSED,
    ),
    bug(
        "batchnorm-alt",
        "no-inv-std",
        "    dx *= inv_std\n",
        "",
        {"dx": "the division by the deviation is missing"},
        **CLOSED,
    ),
    bug(
        "batchnorm-alt",
        "variance",
        "dx *= inv_std",
        "dx *= inv_std**2",
        {"dx": "it is divided by the variance, not by the deviation"},
        **CLOSED,
    ),
    bug(
        "batchnorm-alt",
        "centered",
        "dx -= x_hat *",
        "dx -= x_hat / inv_std *",
        {"dx": "the variance's term has a wrong power of sqrt(var + eps)"},
        **CLOSED,
    ),
    bug("batchnorm-alt", "sums", ".mean(", ".sum(", {"dx": "sums stand where means should"}, **CLOSED),
    bug("batchnorm-alt", "no-product", "(dx_hat * x_hat).mean", "dx_hat.mean", {"dx": None}, **CLOSED),
    bug(
        "batchnorm-alt",
        "no-eps",
        "dx *= inv_std",
        "dx *= (inv_std**-2 - 1e-3) ** -0.5",
        {"dx": "eps is missing"},
        **CLOSED,
    ),
    bug("batchnorm-alt", "sign", "dx *= inv_std", "dx *= -inv_std", {"dx": SIGN}, **CLOSED),
]

NORMALIZATION = [
    bug("layernorm", "over-the-batch", "axes=1", "axes=0", {"dx": WRONG_AXES}),
    bug("layernorm", "no-gamma", "dout * gamma", "dout", {"dx": "gamma is missing"}),
    bug(
        "layernorm",
        "no-mean",
        "dx_hat - dx_hat.mean(axis=axes, keepdims=True)",
        "dx_hat.copy()",
        {"dx": "the mean's term is missing"},
        **CLOSED,
    ),
    bug(
        "layernorm",
        "no-variance",
        "dx -= x_hat",
        "dx -= 0 * x_hat",
        {"dx": "the variance's term is missing"},
        **CLOSED,
    ),
    bug(
        "layernorm",
        "dbeta-wrong-axis",
        "dbeta = dout.sum(axis=0)",
        "dbeta = dout.sum(axis=1)",
        {"dbeta": "it is summed over the wrong axes"},
    ),
    bug(
        "layernorm",
        "dgamma-wrong-axis",
        "x_hat).sum(axis=0)",
        "x_hat).sum(axis=1)",
        {"dgamma": "it is summed over the wrong axes"},
    ),
    bug(
        "spatial-batchnorm",
        "no-mean",
        "dx_hat - dx_hat.mean(axis=axes, keepdims=True)",
        "dx_hat.copy()",
        {"dx": "the mean's term is missing"},
        **CLOSED,
    ),
    bug(
        "spatial-batchnorm",
        "no-variance",
        "dx -= x_hat",
        "dx -= 0 * x_hat",
        {"dx": "the variance's term is missing"},
        **CLOSED,
    ),
    bug("spatial-batchnorm", "axes", "inv_std, axes)", "inv_std, axes=0)", {"dx": WRONG_AXES}, **SHARED),
    bug(
        "spatial-batchnorm",
        "divided-by-n",
        ".mean(axis=axes, keepdims=True)",
        ".sum(axis=axes, keepdims=True) / len(dx_hat)",
        {"dx": "the means are divided by N, not by all that is summed"},
        **CLOSED,
    ),
    bug(
        "spatial-batchnorm",
        "dbeta-not-summed",
        "dbeta = dout.sum(axis=axes)",
        "dbeta = dout.sum(axis=0)",
        {"dbeta": UNSUMMED},
        **SHARED,
    ),
    bug(
        "spatial-batchnorm",
        "dgamma-mean",
        "x_hat).sum(axis=axes)",
        "x_hat).mean(axis=axes)",
        {"dgamma": "it is NHW times too small"},
        **SHARED,
    ),
    bug(
        "groupnorm",
        "one-group",
        "_in_groups(x_hat, G), inv_std, axes=(2, 3, 4)",
        "_in_groups(x_hat, G), inv_std, axes=(1, 2, 3, 4)",
        {"dx": WRONG_AXES},
    ),
    bug("groupnorm", "gamma-left-out", "dout * gamma.reshape(-1, 1, 1)", "dout", {"dx": "gamma is missing"}),
    bug(
        "groupnorm",
        "no-mean",
        "dx_hat - dx_hat.mean(axis=axes, keepdims=True)",
        "dx_hat.copy()",
        {"dx": "the mean's term is missing"},
        **CLOSED,
    ),
    bug(
        "groupnorm",
        "no-variance",
        "dx -= x_hat",
        "dx -= 0 * x_hat",
        {"dx": "the variance's term is missing"},
        **CLOSED,
    ),
    bug(
        "groupnorm",
        "dgamma-kept-axes",
        ".reshape(gamma.shape)",
        ".reshape(1, -1, 1, 1)",
        {"dgamma": RESHAPED},
    ),
    bug(
        "groupnorm",
        "dbeta-not-summed",
        "dout.sum(axis=(0, 2, 3)).reshape(beta_shape)",
        "dout.sum(axis=(2, 3))",
        {"dbeta": "it is not summed over the batch"},
    ),
]

CONVOLUTION = [
    bug("conv", "dx-assigned", "[window] +=", "[window] =", {"dx": ASSIGNED}),
    bug("conv-strided", "dx-assigned", "[window] +=", "[window] =", {"dx": ASSIGNED}),
    bug("conv", "dw-assigned", "dw[f] +=", "dw[f] =", {"dw": LAST}),
    bug(
        "conv",
        "padding-kept",
        "dpadded[:, :, pad : pad + H, pad : pad + W]",
        "dpadded",
        {"dx": "the padding is not cut off"},
    ),
    bug(
        "conv",
        "padding-cut-at-one-end",
        "pad : pad + H, pad : pad + W",
        ":H, :W",
        {"dx": "it is shifted by some pixels"},
    ),
    bug("conv", "dw-flipped", "* padded[n][window]", "* padded[n][window][:, ::-1, ::-1]", {"dw": FLIPPED}),
    bug("conv", "dx-flipped", "* w[f]", "* w[f][:, ::-1, ::-1]", {"dx": FLIPPED}),
    bug("conv-strided", "dx-flipped", "* w[f]", "* w[f][:, ::-1, ::-1]", {"dx": FLIPPED}),
    bug(
        "conv-square",
        "dw-exchanged",
        "* padded[n][window]",
        "* padded[n][window].swapaxes(1, 2)",
        {"dw": "height and width are exchanged"},
    ),
    bug(
        "conv-square",
        "dx-exchanged",
        "* w[f]",
        "* w[f].swapaxes(1, 2)",
        {"dx": "height and width are exchanged"},
    ),
    bug("conv-strided", "no-stride", "j, stride,", "j, 1,", {"dx": NO_STRIDE, "dw": NO_STRIDE}),
    bug("conv", "db-not-summed", "dout.sum(axis=(0, 2, 3))", "dout.sum(axis=(0, 2))", {"db": UNSUMMED}),
    bug("conv", "db-mean", "dout.sum(axis=(0", "dout.mean(axis=(0", {"db": "it is NH'W' times too small"}),
    bug("conv", "dw-mean", "dx = dpad", "dw /= len(x)\n    dx = dpad", {"dw": N_SMALL}),
    bug(
        "conv", "dw-pixels-mean", "dx = dpad", "dw /= 40\n    dx = dpad", {"dw": "it is H'W' times too small"}
    ),
    bug(
        "conv",
        "a-filter-left-out",
        "    for n",
        "    dout = dout * (np.arange(6) < 5).reshape(-1, 1, 1)\n    for n",
        {
            "dw": "it is wrong for some filters only",
            "db": "it is wrong for some features only",
            "dx": "some filters are left out of the sum",
        },
    ),
    bug(
        "conv",
        "an-image-left-out",
        "ndindex(dout.shape)",
        "ndindex(2, *dout.shape[1:])",
        {"dx": "it is wrong for some examples only", "dw": LEFT_OUT},
    ),
    bug(
        "conv",
        "dx-channel-left-out",
        "    dx = dpad",
        "    dpadded[:, 1] = 0\n    dx = dpad",
        {"dx": "it is wrong for some channels only"},
    ),
    bug(
        "conv",
        "dx-border",
        "dpadded[:, :, pad : pad + H, pad : pad + W]",
        "np.pad(dpadded[:, :, 2:-2, 2:-2], ((0, 0), (0, 0), (1, 1), (1, 1)))",
        {"dx": "it is wrong at the border of the image"},
    ),
    bug(
        "conv-strided",
        "dx-offset",
        "    dx = dpad",
        "    dpadded[:, :, 1::2] *= 1.5\n    dx = dpad",
        {"dx": "it is wrong at some offsets of the stride"},
    ),
    bug(
        "conv",
        "no-padding-in-dw",
        "* padded[n][window]",
        "* _pad(x * (np.arange(7) > 0), pad)[n][window]",
        {"dw": None},
    ),
]

POOLING = [
    bug("pool-overlap", "assigned", "] += dout", "] = dout", {"dx": ASSIGNED}),
    bug("pool", "no-stride", "i * stride + p, j * stride + q", "i + p, j + q", {"dx": NO_STRIDE}),
    bug(
        "pool",
        "smallest",
        ".argmax()",
        ".argmin()",
        {"dx": "the smallest entry of a window takes the gradient"},
    ),
    bug(
        "pool",
        "everywhere",
        "i * stride + p, j * stride + q",
        "rows, columns",
        {"dx": "every entry of a window takes the gradient"},
    ),
    bug(
        "pool",
        "mean",
        "i * stride + p, j * stride + q] += dout[n, c, i, j]",
        "rows, columns] += dout[n, c, i, j] / 4",
        {"dx": "every entry of a window takes the gradient"},
    ),
    bug("pool", "maximum-for-gradient", "dout[n, c, i, j]", "x[n, c, rows, columns].max()", {"dx": None}),
    bug(
        "pool",
        "first-image-only",
        "ndindex(dout.shape)",
        "ndindex(1, *dout.shape[1:])",
        {"dx": "it is wrong for some examples only"},
    ),
]

LOSSES = [
    bug("softmax", "no-mean", "    dx /= len(x)\n", "", {"dx": N_LARGE}, **FORWARD),
    bug("softmax", "no-label", "    dx[rows, y] -= 1\n", "", {"dx": LABEL}, **FORWARD),
    bug("softmax", "label-sign", "dx[rows, y] -= 1", "dx[rows, y] += 1", {"dx": LABEL}, **FORWARD),
    bug("softmax", "sign", "return loss, dx", "return loss, -dx", {"dx": SIGN}, **FORWARD),
    bug(
        "softmax",
        "divided-by-classes",
        "dx /= len(x)",
        "dx /= x.shape[1]",
        {"dx": "it is off by a constant factor"},
        **FORWARD,
    ),
    bug("softmax", "unnormalized", "exponentials / sums", "exponentials", {"dx": None}, **FORWARD),
    bug("svm", "no-mean", "    dx /= len(x)\n", "", {"dx": N_LARGE}, **FORWARD),
    bug("svm", "no-label", "dx[rows, y] = -dx.sum(axis=1)", "dx[rows, y] = 0", {"dx": LABEL}, **FORWARD),
    bug(
        "svm",
        "label-counted-once",
        "dx[rows, y] = -dx.sum(axis=1)",
        "dx[rows, y] = -7",
        {"dx": LABEL},
        **FORWARD,
    ),
]

BUGS = [*AFFINE, *ELEMENTWISE, *BATCHNORM, *NORMALIZATION, *CONVOLUTION, *POOLING, *LOSSES]


@pytest.mark.parametrize("planted", BUGS, ids=lambda planted: f"{planted.subject}-{planted.name}")
def test_a_planted_bug_is_named(planted):
    report = report_on(SUBJECTS[planted.subject], *planted.edits, where=planted.where, within=planted.within)
    assert report.status == FAIL
    assert named_first(report) == planted.titles, str(report)
    assert all(len(comparison.causes) <= 1 for comparison in report.comparisons), str(report)


class ModelBug(NamedTuple):
    """An edit in a network, in a layer it uses or in its penalty, and the titles of its wrong gradients."""

    model: str
    name: str
    edits: tuple
    titles: dict
    within: object = regularization.add_l2_penalty


PENALTY = "            grad += reg * params[name]\n"
WEIGHTS_ONLY = 'if name.startswith("W")'
ALL_W = ("W1", "W2")


def model_bug(model, name, old, new, titles, **within):
    return ModelBug(model, name, ((old, new),), titles, **within)


def everywhere(title, names=ALL_W):
    return dict.fromkeys(names, title)


MODEL_BUGS = [
    model_bug("two-layer", "no-penalty", PENALTY, "", everywhere(NO_REG)),
    model_bug("two-layer", "penalty-twice", "grad += reg", "grad += 2 * reg", everywhere(REG_TWICE)),
    model_bug(
        "two-layer",
        "penalty-half",
        "grad += reg",
        "grad += 0.5 * reg",
        everywhere("the regularization term is half of what it should be"),
    ),
    model_bug(
        "two-layer",
        "penalty-sign",
        "grad += reg",
        "grad -= reg",
        everywhere("the regularization term has the wrong sign"),
    ),
    model_bug(
        "two-layer",
        "penalty-strength",
        "grad += reg",
        "grad += 0.3 * reg",
        everywhere("the regularization term has the wrong strength"),
    ),
    model_bug(
        "two-layer",
        "penalty-sum",
        "grad += reg * params[name]",
        "grad += reg * params[name].sum()",
        everywhere("the regularization term is a sum"),
    ),
    model_bug(
        "two-layer",
        "penalty-no-reg",
        "grad += reg *",
        "grad +=",
        everywhere("the regularization term lacks reg"),
    ),
    model_bug(
        "two-layer",
        "first-weights-only",
        "grad += reg * params[name]",
        "grad += (name == 'W1') * reg * params[name]",
        {"W2": NO_REG},
    ),
    model_bug(
        "two-layer",
        "biases",
        "            grad += reg",
        "        grad += reg",
        everywhere("the regularization is applied to biases", ("b1", "b2")),
    ),
    model_bug(
        "two-layer",
        "loss-without-penalty",
        "loss += 0.5 * reg * np.vdot(params[name], params[name])",
        "loss += 0",
        everywhere("the loss lacks its penalty"),
    ),
    model_bug(
        "two-layer",
        "loss-without-half",
        "loss += 0.5",
        "loss += 1.0",
        everywhere("the penalty in the loss is twice what it should be"),
    ),
    ModelBug(
        "two-layer", "reg-w-squared", (("loss += 0.5", "loss += 1.0"), ("grad += reg", "grad += 2 * reg")), {}
    ),
    model_bug(
        "two-layer",
        "no-mean",
        "    dx /= len(x)\n",
        "",
        everywhere("but for the regularization, it is N times too large") | everywhere(N_LARGE, ("b1", "b2")),
        within=layers.softmax_loss,
    ),
    model_bug(
        "two-layer",
        "missing-key",
        '"W2": dW2, "b2": db2}',
        '"W2": dW2}',
        {"b2": NONE},
        within=fc_net.TwoLayerNet.loss,
    ),
    model_bug(
        "two-layer",
        "keys-mixed",
        '"b1": db1',
        '"b1": db2',
        {"b1": "it is the gradient of b2"},
        within=fc_net.TwoLayerNet.loss,
    ),
    model_bug(
        "two-layer",
        "no-relu",
        "dout * (x > 0)",
        "dout",
        {"W1": None, "b1": None},
        within=layers.relu_backward,
    ),
    model_bug("batchnorm", "gammas", WEIGHTS_ONLY, 'if name.startswith(("W", "g"))', {}),
    model_bug(
        "batchnorm",
        "gammas-gradient-only",
        "            grad += reg",
        "        if name[0] in 'gW':\n            grad += reg",
        {"gamma1": "the regularization is applied to gammas"},
    ),
    model_bug(
        "layernorm",
        "betas-gradient-only",
        "            grad += reg",
        "        if name[:2] == 'be' or name[0] == 'W':\n            grad += reg",
        {"beta1": "the regularization is applied to betas"},
    ),
    model_bug("batchnorm", "no-penalty", PENALTY, "", everywhere(NO_REG)),
    model_bug(
        "batchnorm",
        "gamma-beta-order",
        "axes), dgamma, dbeta\n",
        "axes), dbeta, dgamma\n",
        {"gamma1": "it is the gradient of beta1", "beta1": "it is the gradient of gamma1"},
        within=layers._batchnorm_backward,
    ),
    model_bug(
        "batchnorm",
        "no-variance",
        "dx -= x_hat",
        "dx -= 0 * x_hat",
        {"W1": None},
        within=layers._normalize_backward,
    ),
    model_bug(
        "dropout",
        "no-mask",
        "dout * mask",
        "dout * 1",
        {"W1": None, "b1": None},
        within=layers.dropout_backward,
    ),
    model_bug(
        "dropout",
        "no-scale",
        "dout * mask",
        "dout * (mask > 0)",
        {
            "W1": "but for the regularization, the division by p is missing",
            "b1": "the division by p is missing",
        },
        within=layers.dropout_backward,
    ),
    model_bug("conv", "no-penalty", PENALTY, "", everywhere(NO_REG, ("W1", "W2", "W3"))),
    model_bug(
        "conv", "filters-without-penalty", "grad += reg", "grad += (grad.ndim == 2) * reg", {"W1": NO_REG}
    ),
    model_bug(
        "conv", "penalty-twice", "grad += reg", "grad += 2 * reg", everywhere(REG_TWICE, ("W1", "W2", "W3"))
    ),
    model_bug(
        "conv",
        "biases",
        "            grad += reg",
        "        grad += reg",
        everywhere("the regularization is applied to biases", ("b1", "b2", "b3")),
    ),
]


def patched(monkeypatch, planted):
    """Put a bug where the networks look for it: in each module that has the edited function's name."""
    if not planted.edits:
        return
    target = planted.within
    if "." in target.__qualname__:  # a method
        class_name, method = target.__qualname__.split(".")
        original = getattr(fc_net, class_name)
        monkeypatch.setattr(
            original, method, getattr(edited(original, *planted.edits, within=target), method)
        )
        return
    if target is layers._normalize_backward:
        return monkeypatch.setattr(layers, target.__name__, edited(target, *planted.edits))
    new = edited(target, *planted.edits)
    for module in (layers, layer_utils, fc_net, cnn, regularization):
        if getattr(module, target.__name__, None) is target:
            monkeypatch.setattr(module, target.__name__, new)


def make_model(kind):
    """A small network of the kind, in float64, no parameter of which is 0, and a minibatch for it."""
    rng = np.random.default_rng(3)
    if kind == "conv":
        model = cnn.ThreeLayerConvNet((2, 4, 6), 3, 3, 7, 5, reg=0.3, dtype=np.float64)
        X = rng.standard_normal((4, 2, 4, 6))
    elif kind == "two-layer":
        model, X = fc_net.TwoLayerNet(6, 5, 3, reg=0.3), rng.standard_normal((4, 6))
    else:
        options = {"dropout": 0.7, "seed": 1} if kind == "dropout" else {"normalization": kind}
        model = fc_net.FullyConnectedNet([5], 6, 3, reg=0.3, dtype=np.float64, **options)
        X = rng.standard_normal((8, 6))
    for param in model.params.values():
        param[...] = 0.5 * rng.standard_normal(param.shape)
    return model, X, np.arange(len(X)) % 3


@pytest.mark.parametrize("planted", MODEL_BUGS, ids=lambda planted: f"{planted.model}-{planted.name}")
def test_a_bug_in_a_network_is_named(planted, monkeypatch):
    patched(monkeypatch, planted)
    model, X, y = make_model(planted.model)
    report = check_model(model, X, y)
    titles = {f"d{name}" if name else "": title for name, title in planted.titles.items()}
    assert named_first(report) == titles, str(report)
    assert all(len(comparison.causes) <= 1 for comparison in report.comparisons), str(report)


def random_layer(kind, rng):
    """A layer of the kind, with random sizes and settings, as the arguments of `check_layer`."""
    N, C, H, W = rng.integers(2, 5, size=4)
    stride, pad = int(rng.integers(1, 3)), int(rng.integers(0, 3))
    window = int(rng.integers(1, 4)), int(rng.integers(1, 4))
    windows = [int(rng.integers(1, 4)) for _ in "HW"]
    image = N, C, *(max(size + stride * (count - 1), 1) for size, count in zip(window, windows, strict=True))
    eps = float(10.0 ** rng.integers(-6, -1))
    features = {"gamma": (C,), "beta": (C,)}
    conv, pool = (
        {"stride": stride, "pad": pad},
        {"pool_height": window[0], "pool_width": window[1], "stride": stride},
    )
    p, seed = float(rng.uniform(0.3, 0.9)), int(rng.integers(100))
    padded = *image[:2], *(size + 2 * pad * stride for size in image[2:])
    behind, settings, shapes = {
        "affine": ((), {}, {"x": (N, H, W), "w": (H * W, C), "b": (C,)}),
        "relu": ((), {}, {"x": (N, C, H)}),
        "dropout": (({"mode": "train", "p": p, "seed": seed},), {"p": p}, {"x": (N, C, H)}),
        "batchnorm": (({"mode": "train", "eps": eps},), {"eps": eps}, {"x": (N + 3, C), **features}),
        "layernorm": (({"eps": eps},), {"eps": eps}, {"x": (N, C + 3), "gamma": (C + 3,), "beta": (C + 3,)}),
        "conv": ((conv,), conv, {"x": padded, "w": (H, C, *window), "b": (H,)}),
        "pool": ((pool,), pool, {"x": image}),
        "spatial-batchnorm": (
            ({"mode": "train", "eps": eps},),
            {"eps": eps},
            {"x": (N, C, H + 1, W), **features},
        ),
        "groupnorm": (
            (2, {"eps": eps}),
            {"G": 2, "eps": eps},
            {"x": (N, 2 * C, H + 1, W), "gamma": (2 * C,), "beta": (2 * C,)},
        ),
        "softmax": ((rng.integers(0, C, N),), {}, {"x": (N, C)}),
        "svm": ((rng.integers(0, C, N),), {}, {"x": (N, C)}),
    }[kind]
    subject = SUBJECTS[kind]
    arrays = {name: rng.standard_normal(shape) for name, shape in shapes.items()}
    backward = subject.backward or times_gradient
    return (lambda *args: subject.forward(*args, *behind)), backward, arrays, settings


KINDS = [name for name in SUBJECTS if name.count("-") == 0 or name == "spatial-batchnorm"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", range(20))
def test_a_right_layer_raises_no_alarm(kind, seed):
    report = check_layer(*random_layer(kind, np.random.default_rng([seed, KINDS.index(kind)])), seed=seed)
    assert report.status in (PASS, WARN)
    assert report.all_causes() == []
    for comparison in report.comparisons:
        assert comparison.status == PASS or any("no mistake" in n or "no sign" in n for n in comparison.notes)


def with_noise(grad, rng):
    return grad + 0.1 * rng.standard_normal(grad.shape)


def some_entries(grad, rng):
    wrong = rng.random(grad.shape) < 0.3
    wrong.flat[[0, -1]] = True, False
    return grad + wrong * rng.standard_normal(grad.shape)


def squared(grad, rng):
    return grad * np.abs(grad)


def bent(grad, rng):
    return np.tanh(3 * grad) + 0.1 * grad**2


def scaled_entry_by_entry(grad, rng):
    return grad * (1 + rng.random(grad.shape))


def backwards(grad, rng):
    return grad.reshape(-1)[::-1].reshape(grad.shape)


MESSES = [with_noise, some_entries, squared, bent, scaled_entry_by_entry, backwards]


@pytest.mark.parametrize("mess", MESSES)
@pytest.mark.parametrize("name", SUBJECTS)
def test_what_is_wrong_in_no_known_way_has_no_cause(name, mess):
    subject = SUBJECTS[name]
    backward = subject.backward or times_gradient

    def wrong(dout, cache):
        rng = np.random.default_rng(8)
        grads = backward(dout, cache)
        grads = grads if isinstance(grads, tuple) else (grads,)
        return tuple(mess(grad, rng) for grad in grads)

    report = report_on(subject._replace(backward=wrong))
    assert {comparison.status for comparison in report.comparisons} == {FAIL}
    assert report.all_causes() == []
    for comparison in report.comparisons:
        assert "No mistake that is known fits" in str(comparison)
        assert "entries are wrong" in str(comparison)


def planted(subject, change, **options):
    """The Report on a subject each of whose gradients is changed by change(name, gradient)."""

    def backward(dout, cache):
        grads = (subject.backward or times_gradient)(dout, cache)
        grads = grads if isinstance(grads, tuple) else (grads,)
        return tuple(change(name, grad) for name, grad in zip(subject.shapes, grads, strict=True))

    return report_on(subject._replace(backward=backward), **options)


@pytest.mark.parametrize("name", SUBJECTS)
def test_a_tenth_of_a_percent_is_wrong(name):
    report = planted(SUBJECTS[name], lambda _, grad: 1.001 * grad)
    assert {comparison.status for comparison in report.comparisons} == {FAIL}
    assert set(named_first(report).values()) == {"it is off by a constant factor"}


@pytest.mark.parametrize("name", SUBJECTS)
def test_a_tenth_of_a_percent_of_one_entry_is_wrong(name):
    def change(_, grad):
        grad = grad.copy()
        grad.flat[np.argmax(grad != 0)] *= 1.001
        return grad

    report = planted(SUBJECTS[name], change)
    assert set(named_first(report).values()) == {None}
    assert {comparison.status for comparison in report.comparisons} == {FAIL}
    assert all(
        f"1 of {np.prod(shape)} entries are wrong" in str(report) for shape in SUBJECTS[name].shapes.values()
    )


@pytest.mark.parametrize("factor", [5, 1 / 5])
def test_where_sizes_coincide_all_their_names_are_listed(factor):
    square = SUBJECTS["affine-square"]._replace(shapes={"x": (5, 5), "w": (5, 5), "b": (5,)})
    report = planted(square, lambda name, grad: factor * grad if name == "w" else grad)
    direction = "large" if factor > 1 else "small"
    titles = [cause.title for cause in report.all_causes()]
    assert titles == [f"it is {size} times too {direction}" for size in "NDM"]


def test_where_p_is_a_half_the_square_is_listed_too():
    subject = SUBJECTS["dropout"]._replace(
        behind=({"mode": "train", "p": 0.5, "seed": 5},), settings={"p": 0.5}
    )
    report = planted(subject, lambda _, grad: grad / 2)
    assert [cause.title for cause in report.all_causes()] == [NO_P, "it is 2 times too small"]


@pytest.mark.parametrize("name", SUBJECTS)
def test_every_single_cause_of_a_sign_is_the_sign(name):
    report = planted(SUBJECTS[name], lambda _, grad: -grad)
    assert {cause.title for cause in report.all_causes()} == {SIGN}


@pytest.mark.parametrize("name", ["affine", "conv", "softmax"])
def test_a_constant_that_is_added_is_named(name):
    report = planted(SUBJECTS[name], lambda _, grad: grad + 0.25)
    assert set(named_first(report).values()) == {"it is off by a constant"}


RELU_EDGE = np.array([[0.0, 1.0, -2.0], [3e-6, -4e-6, 0.5], [-1.0, 2e-7, -0.3]])


def test_kinks_of_relu_are_no_mistakes():
    report = report_on(SUBJECTS["relu"], arrays={"x": RELU_EDGE})
    (comparison,) = report.comparisons
    assert comparison.status == WARN
    assert "4 of 9 entries have a kink within the step" in str(comparison)
    assert comparison.error < 1e-6


@pytest.mark.parametrize(
    "at, factor",
    [((1, 0), 1.001), ((1, 0), 0.6), ((1, 1), 1.001), ((2, 1), 1.001), ((0, 0), 1.5), ((0, 1), 1.001)],
)
def test_a_wrong_gradient_beside_a_kink_fails(at, factor):
    def backward(dout, x):
        dx = dout * (x > -1e-5)  # 0 counts as positive, and so does what is a little below it
        dx[1, 1] = 0
        dx[at] = factor * dout[at]
        return dx

    report = report_on(SUBJECTS["relu"]._replace(backward=backward), arrays={"x": RELU_EDGE})
    (comparison,) = report.comparisons
    assert comparison.status == FAIL
    assert [index for index, *_ in comparison.worst] == [at]


TIED = np.array([[[[2.0, 2.0, 5.0, 1.0], [0.0, 1.0, 5.0, 4.0], [7.0, 3.0, 1.0, 0.5], [6.0, 2.0, 1.5, 8.0]]]])


def test_ties_in_a_window_are_no_mistakes():
    report = report_on(SUBJECTS["pool"], arrays={"x": TIED})
    assert report.status == WARN
    assert "4 of 16 entries have a kink" in str(report)


@pytest.mark.parametrize("share, is_right", [("largest", False), ("largest / largest.sum()", True)])
def test_entries_that_share_a_maximum_share_its_gradient(share, is_right):
    """Two shares of a half are as good as a whole and nothing; two wholes are twice the gradient."""
    edits = [
        ("p, q = divmod(x[n, c, rows, columns].argmax(), pool_width)", "window = x[n, c, rows, columns]"),
        ("        dx[n, c, i *", "        largest = window == window.max()\n        dx[n, c, i *"),
        (
            "i * stride + p, j * stride + q] += dout[n, c, i, j]",
            f"rows, columns] += dout[n, c, i, j] * {share}",
        ),
    ]
    report = report_on(SUBJECTS["pool"], *edits, arrays={"x": TIED})
    if is_right:
        assert report.status != FAIL
    else:
        assert named_first(report) == {"dx": "ties in a window are not decided as they should be"}


def test_the_margin_of_the_hinge_loss_is_a_kink():
    x = np.array([[1.0, 2.0, 0.5, 3.0]] * 5) + np.arange(5)[:, np.newaxis]
    report = report_on(SUBJECTS["svm"], arrays={"x": x})  # margins of exactly 1
    assert report.status == WARN
    assert "have a kink within the step" in str(report)


def test_a_bias_before_batch_normalization_has_the_gradient_zero():
    model, X, y = make_model("batchnorm")
    comparisons = {comparison.name: comparison for comparison in check_model(model, X, y).comparisons}
    assert comparisons.pop("db1").status in (PASS, WARN)
    assert {comparison.status for comparison in comparisons.values()} == {PASS}


class Offset:
    """loss = 1e7 + sum(W ** 2) + 1e-4 sum(b): what is small drowns in the rounding of the loss."""

    def __init__(self, factor=1.0):
        self.params, self.factor = {"W": np.array([1.0, -3.0]), "b": np.array([2.0, 3.0])}, factor

    def loss(self, X, y):
        W, b = self.params["W"], self.params["b"]
        return 1e7 + np.sum(W**2) + 1e-4 * b.sum(), {"W": 2 * W * self.factor, "b": np.full(2, 1.7e-4)}


def test_what_drowns_in_rounding_is_no_mistake_and_what_does_not_is_one():
    report = check_model(Offset(), None, None)
    assert report.status == WARN
    assert "the noise of rounding" in str(report)
    wrong = check_model(Offset(factor=1.01), None, None)
    assert [comparison.status for comparison in wrong.comparisons] == [FAIL, WARN]


@pytest.mark.parametrize("name", ["batchnorm", "conv-strided", "relu"])
def test_a_diagnosis_is_the_same_each_time(name):
    texts = {str(planted(SUBJECTS[name], lambda _, grad: grad**2)) for _ in range(2)}
    assert len(texts) == 1


def test_examples_of_any_shape_are_called_examples():
    x, w, b = draw((4, 2, 3)), draw((6, 5)), draw(5)

    def backward(dout, cache):
        dx, dw, db = layers.affine_backward(dout, cache)
        dx[3] = 0
        return dx, dw, db

    report = check_layer(layers.affine_forward, backward, {"x": x, "w": w, "b": b})
    (cause,) = report.all_causes()
    assert cause.title == "it is wrong for some examples only"
    assert "those of the examples 3, of 4" in cause.evidence
