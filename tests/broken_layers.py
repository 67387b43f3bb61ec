"""Layers to plant bugs in, and backward passes with mistakes, written out from their formulas.

Nothing here depends on how the library's layers are written or on what their caches hold. A planted bug
replaces some gradients of a right layer: a function of a `run` gives the wrong one. `run` has the upstream
gradient, the arguments, the settings and the right gradients by name, so `lambda run: run.dw.T` is a bug.
"""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
from conftest import draw_all

from cs231n import layers
from cs231n.fast_layers import conv_forward_fast
from cs231n.gradcheck.check import FAIL, check_layer
from cs231n.gradcheck.diagnosis import Mistake
from cs231n.gradcheck.diagnosis.causes import Finding

LABELS = np.array([2, 0, 3, 3, 1])


class Subject(NamedTuple):
    """A right layer: its two functions, the shapes of its arguments, and what forward takes after them.

    - backward: None for a loss, whose forward returns (loss, dx)
    - settings: what a diagnosis is told about the layer
    """

    forward: Callable[..., Any]
    backward: Callable[..., Any] | None
    shapes: dict[str, tuple[int, ...]]
    behind: tuple[Any, ...] = ()
    settings: dict[str, Any] | None = None


NORM = {"gamma": (5,), "beta": (5,)}
TRAIN = {"mode": "train", "eps": 1e-3}
WIDE, STRIDED, VALID = {"stride": 1, "pad": 1}, {"stride": 2, "pad": 1}, {"stride": 1, "pad": 0}
TILES = {"pool_height": 2, "pool_width": 2, "stride": 2}
OVERLAP = {"pool_height": 3, "pool_width": 2, "stride": 1}
DROPOUT = {"mode": "train", "p": 0.7, "seed": 5}


def affine(x, w, b):
    return Subject(layers.affine_forward, layers.affine_backward, {"x": x, "w": w, "b": b})


def conv(conv_param, x, w, b):
    """Return a convolution, with the fast forward pass: numeric gradients with the naive one take long."""
    shapes = {"x": x, "w": w, "b": b}
    return Subject(conv_forward_fast, layers.conv_backward_naive, shapes, (conv_param,), conv_param)


def pool(pool_param, x):
    forward, backward = layers.max_pool_forward_naive, layers.max_pool_backward_naive
    return Subject(forward, backward, {"x": x}, (pool_param,), pool_param)


def batchnorm(backward):
    return Subject(layers.batchnorm_forward, backward, {"x": (6, 5), **NORM}, (TRAIN,), {"eps": 1e-3})


SUBJECTS = {
    "affine": affine((3, 5), (5, 7), (7,)),
    "affine-image": affine((3, 2, 3), (6, 7), (7,)),
    "affine-square": affine((3, 5), (5, 5), (5,)),
    "relu": Subject(layers.relu_forward, layers.relu_backward, {"x": (6, 9)}),
    "dropout": Subject(
        layers.dropout_forward, layers.dropout_backward, {"x": (6, 9)}, (DROPOUT,), {"p": 0.7}
    ),
    "batchnorm": batchnorm(layers.batchnorm_backward),
    "batchnorm-alt": batchnorm(layers.batchnorm_backward_alt),
    "layernorm": Subject(
        layers.layernorm_forward, layers.layernorm_backward, {"x": (4, 5), **NORM}, ({},), {"eps": 1e-5}
    ),
    "conv": conv(WIDE, (3, 4, 5, 7), (6, 4, 3, 2), (6,)),
    "conv-strided": conv(STRIDED, (3, 4, 5, 7), (6, 4, 3, 3), (6,)),
    "conv-square": conv(VALID, (3, 4, 6, 5), (2, 4, 3, 3), (2,)),
    "pool": pool(TILES, (3, 2, 4, 6)),
    "pool-overlap": pool(OVERLAP, (3, 2, 5, 4)),
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
    "softmax": Subject(layers.softmax_loss, None, {"x": (5, 4)}, (LABELS,)),
    "svm": Subject(layers.svm_loss, None, {"x": (5, 4)}, (LABELS,)),
}


# ---------------------------------------------------------------------------------------------------------
# Running a right layer, and checking a broken one
# ---------------------------------------------------------------------------------------------------------


def run_of(subject, arguments, dout):
    """Run a right layer once; return arguments, settings, dout, out and the gradients dx, dw, ... by name.

    `run.again(x=..., dout=...)` is another run, with some of these changed.
    """
    forward, backward = right_pair(subject)
    out, cache = forward(*arguments.values())
    grads = as_tuple(backward(dout, cache))

    def again(dout=dout, **changes):
        return run_of(subject, arguments | changes, dout)

    named = {f"d{name}": grad for name, grad in zip(arguments, grads, strict=True)}
    return SimpleNamespace(
        **(subject.settings or {}), **arguments, **named, out=out, dout=dout, again=again, subject=subject
    )


def as_tuple(grads):
    return grads if isinstance(grads, tuple) else (grads,)


def right_pair(subject):
    """Return (forward, backward) of a subject, as functions of its arrays alone."""

    def forward(*args):
        return subject.forward(*args, *subject.behind)

    return forward, subject.backward or _times


def _times(dout, dx):
    """Run the backward pass of a loss, whose forward returns its gradient in place of a cache."""
    return dout * dx


def broken_pair(subject, **wrong):
    """Return (forward, backward) of a layer with some gradients replaced: dx=function of a run."""

    def forward(*args):
        return subject.forward(*args, *subject.behind)[0], args

    def backward(dout, args):
        run = run_of(subject, dict(zip(subject.shapes, args, strict=True)), dout)
        grads = {name: getattr(run, name) for name in (f"d{argument}" for argument in subject.shapes)}
        grads |= {name: give(run) for name, give in wrong.items()}
        return tuple(grads.values())

    return forward, backward


def check_pair(subject, forward, backward, arrays=None, **options):
    """Check a pair of functions in place of a subject's; return the Report."""
    if arrays is None:
        arrays = dict(zip(subject.shapes, draw_all(subject.shapes.values(), seed=7), strict=True))
    return check_layer(forward, backward, arrays, settings=subject.settings, **options)


def check_broken(subject, wrong, **options):
    """Check a subject with the gradients of `wrong`, {"dx": function of a run}; return the Report."""
    return check_pair(subject, *broken_pair(subject, **wrong), **options)


def check_changed(subject, change, **options):
    """Check a subject with each gradient replaced by change(argument, gradient); return the Report."""
    forward, right = broken_pair(subject)

    def backward(dout, args):
        return tuple(map(change, subject.shapes, right(dout, args)))

    return check_pair(subject, forward, backward, **options)


def check_right(subject, **options):
    """Check a subject as it is; return the Report."""
    return check_pair(subject, *right_pair(subject), **options)


# ---------------------------------------------------------------------------------------------------------
# What is expected of a report
# ---------------------------------------------------------------------------------------------------------


def about(mistake, what="", **facts):
    """Return the Finding to expect of a mistake that concerns an argument, a size or a part."""
    return Finding(mistake, "", "", what, **facts)


def title_of(expected):
    """Return the title of a Finding or Mistake; leave a text, for causes outside `diagnosis`, and None."""
    if isinstance(expected, Mistake):
        expected = about(expected)
    return expected.cause().title if isinstance(expected, Finding) else expected


def titles_of(expected):
    return {name: title_of(mistake) for name, mistake in expected.items()}


def named_first(report):
    """Return {gradient that failed: the title of its first cause, or None}; "" stands for the layer."""
    titles = {
        comparison.name.split()[-1]: comparison.causes[0].title if comparison.causes else None
        for comparison in report.comparisons
        if comparison.status == FAIL
    }
    return ({"": report.causes[0].title} if report.causes else {}) | titles


# ---------------------------------------------------------------------------------------------------------
# Elementwise layers and losses
# ---------------------------------------------------------------------------------------------------------


def mask_of(run):
    """Return what dropout multiplied x by: 0 or 1 / p."""
    return run.dx / run.dout


def new_mask(run):
    return run.dout * (np.random.rand(*run.x.shape) < run.p) / run.p


def relu_in_place(x):
    return np.maximum(x, 0, out=x).copy(), (x,)


def dropout_without_seed(x):
    out, _ = layers.dropout_forward(x, {"mode": "train", "p": DROPOUT["p"]})
    return out, (x,)


def onehot(run):
    """Return dout / N at the label of each example, 0 elsewhere."""
    is_label = np.zeros_like(run.x)
    is_label[np.arange(len(run.x)), LABELS] = 1
    return run.dout / len(run.x) * is_label


def unnormalized_softmax(run):
    """Return softmax's dx without the division of exp(x) by its sum."""
    exp = np.exp(run.x - run.x.max(axis=1, keepdims=True))
    return run.dout / len(run.x) * exp - onehot(run)


def with_label_entry(run, value):
    """Return a loss's dx with another entry, `value` * dout / N, at the label of each example."""
    dx = run.dx.copy()
    dx[np.arange(len(dx)), LABELS] = value * run.dout / len(dx)
    return dx


# ---------------------------------------------------------------------------------------------------------
# Batch normalization, node by node
# ---------------------------------------------------------------------------------------------------------


def through_graph(of_mean=None, of_variance=None, half=-0.5, power=3, with_std=True, with_gamma=True):
    """Return a function of a run: dx of batch normalization along its graph, with some factors wrong.

    - of_mean: 1 / N, the slope of the mean; of_variance: 2 / N, the slope of var = mean(centered ** 2)
    - half and power: those of the slope of (var + eps) ** -0.5, which is -0.5 * inv_std ** 3
    - with_std: whether the direct path divides by the standard deviation; with_gamma: whether dout does
    """

    def dx(run):
        N = len(run.x)
        mean_slope = 1 / N if of_mean is None else of_mean
        variance_slope = 2 / N if of_variance is None else of_variance
        centered = run.x - run.x.mean(axis=0)
        inv_std = 1 / np.sqrt(np.square(centered).mean(axis=0) + run.eps)
        dx_hat = run.dout * run.gamma if with_gamma else run.dout
        dvar = half * inv_std**power * (dx_hat * centered).sum(axis=0)
        dcentered = dx_hat * inv_std if with_std else dx_hat
        dcentered = dcentered + variance_slope * centered * dvar
        return dcentered - mean_slope * dcentered.sum(axis=0)

    return dx


# ---------------------------------------------------------------------------------------------------------
# Normalizations in closed form: dx = r (g - mean(g) - x_hat mean(g x_hat))
# ---------------------------------------------------------------------------------------------------------


class Parts:
    """g = gamma dout, x_hat, r = 1 / sqrt(var + eps) and the mean over the axes that are normalized."""

    def __init__(self, run):
        self.view, self.axes = _view_and_axes(run)
        per_channel = run.gamma.reshape(-1, *(1,) * (run.x.ndim - 2))
        x, self.eps = run.x.reshape(self.view), run.eps
        self.g = (run.dout * per_channel).reshape(self.view)
        self.centered = x - self.mean(x)
        self.r = 1 / np.sqrt(self.mean(self.centered**2) + run.eps)
        self.x_hat = self.centered * self.r

    def mean(self, array):
        return array.mean(axis=self.axes, keepdims=True)

    def sum(self, array):
        return array.sum(axis=self.axes, keepdims=True)


def _view_and_axes(run):
    """Return the shape in which x is normalized, and the axes."""
    N, C, *pixels = run.x.shape
    if run.subject.forward is layers.layernorm_forward:
        return (N, C), 1
    if run.subject.forward is layers.spatial_groupnorm_forward:
        return (N, run.G, C // run.G, *pixels), (2, 3, 4)
    return run.x.shape, (0, 2, 3) if pixels else 0


def x_hat(run):
    return Parts(run).x_hat.reshape(run.x.shape)


def centered(run):
    return Parts(run).centered.reshape(run.x.shape)


def closed_form(formula):
    """Return the function of a run that computes dx by a formula of its Parts."""

    def dx(run):
        return formula(Parts(run)).reshape(run.x.shape)

    return dx


@closed_form
def no_mean_term(p):
    return p.r * (p.g - p.x_hat * p.mean(p.g * p.x_hat))


@closed_form
def no_variance_term(p):
    return p.r * (p.g - p.mean(p.g))


@closed_form
def no_std(p):
    return p.g - p.mean(p.g) - p.x_hat * p.mean(p.g * p.x_hat)


@closed_form
def variance_for_std(p):
    return p.r**2 * (p.g - p.mean(p.g) - p.x_hat * p.mean(p.g * p.x_hat))


@closed_form
def centered_for_x_hat(p):
    return p.r * (p.g - p.mean(p.g) - p.centered * p.mean(p.g * p.x_hat))


@closed_form
def sums_for_means(p):
    return p.r * (p.g - p.sum(p.g) - p.x_hat * p.sum(p.g * p.x_hat))


@closed_form
def means_over_examples(p):
    N = len(p.g)
    return p.r * (p.g - p.sum(p.g) / N - p.x_hat * p.sum(p.g * p.x_hat) / N)


@closed_form
def no_product(p):
    return p.r * (p.g - p.mean(p.g) - p.x_hat * p.mean(p.g))


@closed_form
def no_eps(p):
    without_eps = (p.r**-2 - p.eps) ** -0.5
    return without_eps * (p.g - p.mean(p.g) - p.x_hat * p.mean(p.g * p.x_hat))


def means_over(axes):
    """Return a function of a run: dx with both means over other axes, of x or of its groups."""

    @closed_form
    def dx(p):
        g_mean = p.g.mean(axis=axes, keepdims=True)
        product_mean = (p.g * p.x_hat).mean(axis=axes, keepdims=True)
        return p.r * (p.g - g_mean - p.x_hat * product_mean)

    return dx


def no_gamma(run):
    return run.again(gamma=np.ones_like(run.gamma)).dx


# ---------------------------------------------------------------------------------------------------------
# Windows: convolution and pooling
# ---------------------------------------------------------------------------------------------------------


def windows(run, size, stride):
    """Yield the index of every output pixel and of its window in all channels, in row-major order."""
    height, width = size
    for n, f, i, j in np.ndindex(run.dout.shape):
        rows = slice(i * stride, i * stride + height)
        columns = slice(j * stride, j * stride + width)
        yield (n, f, i, j), (n, slice(None), rows, columns)


def padded(run):
    """Return x with its padding."""
    return np.pad(run.x, ((0, 0), (0, 0), (run.pad, run.pad), (run.pad, run.pad)))


def conv_dpadded(run, stride=None, assign=False):
    """Return the gradient of a convolution's padded x, window by window.

    - stride: that of the windows, if it is another one
    - assign: whether each window overwrites the ones before it
    """
    gradient = np.zeros_like(padded(run))
    for pixel, window in windows(run, run.w.shape[2:], stride or run.stride):
        new = run.dout[pixel] * run.w[pixel[1]]
        gradient[window] = new if assign else gradient[window] + new
    return gradient


def conv_dx(run, **changes):
    H, W = run.x.shape[2:]
    return conv_dpadded(run, **changes)[:, :, run.pad : run.pad + H, run.pad : run.pad + W]


def conv_dw(run, stride=None, assign=False):
    """Return the gradient of a convolution's w; the options are those of `conv_dpadded`."""
    x, dw = padded(run), np.zeros_like(run.w)
    for pixel, window in windows(run, run.w.shape[2:], stride or run.stride):
        new = run.dout[pixel] * x[window]
        dw[pixel[1]] = new if assign else dw[pixel[1]] + new
    return dw


def pool_dx(run, weights, stride=None, assign=False):
    """Return dx of a max pooling, window by window.

    - weights: a function of a window that says which part of dout each of its entries gets
    - stride: that of the windows which dx is written to; assign: whether later entries overwrite earlier ones
    """
    dx, size = np.zeros_like(run.x), (run.pool_height, run.pool_width)
    targets = windows(run, size, stride or run.stride)
    for (pixel, window), (_, target) in zip(windows(run, size, run.stride), targets, strict=True):
        _, c, *_ = pixel
        new = run.dout[pixel] * weights(run.x[window][c])
        old = dx[target][c]
        old[...] = np.where(new != 0, new, old) if assign else old + new
    return dx


def first_largest(window):
    weights = np.zeros_like(window)
    weights.flat[window.argmax()] = 1
    return weights


def first_smallest(window):
    return first_largest(-window)


def all_largest(window):
    return (window == window.max()).astype(window.dtype)


def shared_by_largest(window):
    return all_largest(window) / all_largest(window).sum()


def equal_parts(window):
    return np.full_like(window, 1 / window.size)
