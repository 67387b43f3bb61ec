"""Mistakes in convolution and max pooling, planted in loops: each has to be the only cause.

The loops are written out here and share nothing with the diagnosis. A bug changes one of their parts: which
windows they visit, where these begin, which entry of dout, filter or image they use, and how they add up.
"""

from types import SimpleNamespace

import numpy as np
import pytest
from broken_layers import about, title_of
from conftest import draw

from cs231n import layers
from cs231n.gradcheck.check import FAIL, check_layer
from cs231n.gradcheck.diagnosis import (
    Case,
    Mistake,
    Observed,
    diagnose,
    diagnose_value,
    right_gradients,
)
from cs231n.gradcheck.diagnosis.convolution import convolution_of
from cs231n.gradcheck.diagnosis.geometry import geometry_of
from cs231n.gradcheck.diagnosis.pooling import pooling_of
from cs231n.gradcheck.judgement import judge
from cs231n.gradcheck.numeric import numeric_gradient

pytestmark = pytest.mark.q1

CONVOLUTIONS = {  # shapes of x and w, stride and pad
    "wide": ((3, 4, 5, 7), (6, 4, 3, 2), 1, 1),
    "square": ((3, 3, 5, 5), (3, 3, 3, 3), 1, 1),
    "strided": ((2, 3, 7, 9), (4, 3, 3, 3), 2, 1),
    "tall": ((2, 2, 8, 4), (3, 2, 2, 2), 1, 0),
    "floor": ((2, 2, 8, 10), (3, 2, 3, 3), 2, 0),
}
POOLINGS = {  # shape of x, height, width and stride of the windows
    "tiles": ((3, 2, 6, 8), 2, 2, 2),
    "square": ((3, 3, 6, 6), 2, 2, 2),
    "overlap": ((2, 3, 7, 9), 3, 3, 2),
    "wide": ((2, 2, 6, 8), 2, 3, 1),
    "gaps": ((2, 2, 8, 11), 2, 2, 3),
    "tall": ((2, 3, 9, 8), 3, 2, 2),
}
NAMES = {"dx": "x", "dw": "w", "db": "b"}


# ---------------------------------------------------------------------------------------------------------
# Loops
# ---------------------------------------------------------------------------------------------------------


def convolution(shape="wide", seed=0):
    """A run of the right convolution: x, w, b, stride, pad, out, dout, padded, and the settings."""
    x_shape, w_shape, stride, pad = CONVOLUTIONS[shape]
    x, w, b = (draw(size, seed=(seed, k)) for k, size in enumerate((x_shape, w_shape, w_shape[0])))
    param = {"stride": stride, "pad": pad}
    seen = x[
        :, :, : covered(x.shape[2], pad, w.shape[2], stride), : covered(x.shape[3], pad, w.shape[3], stride)
    ]
    out, cache = layers.conv_forward_naive(seen, w, b, param)
    dout = draw(out.shape, seed=(seed, 3))
    dseen, dw, db = layers.conv_backward_naive(dout, cache)
    dx = np.zeros_like(x)
    dx[:, :, : seen.shape[2], : seen.shape[3]] = dseen
    grads = dx, dw, db
    padded = np.pad(x, ((0, 0), (0, 0), (pad, pad), (pad, pad)))
    right = dict(zip(NAMES, grads, strict=True))
    inputs = {"x": x, "w": w, "b": b}
    return SimpleNamespace(
        **inputs, inputs=inputs, settings=param, out=out, dout=dout, padded=padded, right=right, **param
    )


def covered(length, pad, window, stride):
    """Return how much of a length windows cover: the layers of the course accept nothing beyond."""
    return length - (length + 2 * pad - window) % stride


def pooling(shape="tiles", seed=0, x=None):
    """A run of the right max pooling."""
    x_shape, height, width, stride = POOLINGS[shape]
    x = draw(x_shape, seed=seed) if x is None else x
    param = {"pool_height": height, "pool_width": width, "stride": stride}
    out, cache = layers.max_pool_forward_naive(x, param)
    dout = draw(out.shape, seed=(seed, 3))
    right = {"dx": layers.max_pool_backward_naive(dout, cache)}
    return SimpleNamespace(
        x=x,
        inputs={"x": x},
        settings=param,
        out=out,
        dout=dout,
        right=right,
        height=height,
        width=width,
        stride=stride,
    )


def everywhere(*index):
    return True


def conv_loop(run, w=None, padded=None, dout=None, start=None, keep=everywhere, assign=False):
    """The gradients of a convolution, window by window.

    - start: a function of (i, j) that says where the window begins; keep: of (n, f, i, j), whether it counts
    """
    w, padded = run.w if w is None else w, run.padded if padded is None else padded
    dout = run.dout if dout is None else np.broadcast_to(dout, run.dout.shape)
    dpadded, dw, db = np.zeros_like(run.padded), np.zeros_like(run.w), np.zeros_like(run.b)
    HH, WW = run.w.shape[2:]
    for n, f, i, j in np.ndindex(dout.shape):
        if not keep(n, f, i, j):
            continue
        top, left = start(i, j) if start else (i * run.stride, j * run.stride)
        window = np.s_[n, :, top : top + HH, left : left + WW]
        if assign:
            dpadded[window], dw[f], db[f] = 0, 0, 0
        dpadded[window] += dout[n, f, i, j] * w[f]
        dw[f] += dout[n, f, i, j] * padded[window]
        db[f] += dout[n, f, i, j]
    H, W = run.x.shape[2:]
    return {"dx": dpadded[:, :, run.pad : run.pad + H, run.pad : run.pad + W], "dw": dw, "db": db}


def pool_loop(run, mask=None, dout=None, read=None, write=None, keep=everywhere, assign=False, size=None):
    """The gradient of a max pooling, window by window.

    - mask: a function of a window and (n, c, i, j) that says which part of dout each entry gets
    - read, write: functions of (i, j) that say where the windows of x and of dx begin
    """
    dout = run.dout if dout is None else np.broadcast_to(dout, run.dout.shape)
    mask, dx = mask or (lambda window, *_: first(window)), np.zeros_like(run.x)
    height, width = size or (run.height, run.width)
    for n, c, i, j in np.ndindex(dout.shape):
        if not keep(n, c, i, j):
            continue
        top, left = read(i, j) if read else (i * run.stride, j * run.stride)
        window = run.x[n, c, top : top + height, left : left + width]
        new = dout[n, c, i, j] * mask(window, n, c, i, j)
        if write:
            top, left = write(i, j)
        target = dx[n, c, top : top + height, left : left + width]
        target[...] = new[: target.shape[0], : target.shape[1]] + (0 if assign else target)
    return {"dx": dx}


def scatter(run, place):
    """dx of a max pooling that adds dout at `place`, a function of the index k of the maximum and (i, j)."""
    dx = np.zeros_like(run.x)
    for n, c, i, j in np.ndindex(run.dout.shape):
        top, left = i * run.stride, j * run.stride
        window = run.x[n, c, top : top + run.height, left : left + run.width]
        dx[(n, c, *place(int(window.argmax()), i, j))] += run.dout[n, c, i, j]
    return {"dx": dx}


def first(window):
    mask = np.zeros_like(window)
    mask.flat[window.argmax()] = 1
    return mask


def last(window):
    return first(window[::-1, ::-1])[::-1, ::-1]


def every(window):
    return (window == window.max()).astype(float)


# ---------------------------------------------------------------------------------------------------------
# Planted bugs: (layer, gradients that are wrong, mistake, function of a run, shapes)
# ---------------------------------------------------------------------------------------------------------

LEFT_OUT = about(Mistake.TERMS_LEFT_OUT, "windows")


def one(what):
    return about(Mistake.ONE_FOR_ALL, what)


def rows_below(run):
    return run.dout.shape[2] - 1


def columns_below(run):
    return run.dout.shape[3] - 1


CONVOLUTION = {
    "last-row-left-out": (
        "dx dw db",
        LEFT_OUT,
        lambda r: conv_loop(r, keep=lambda n, f, i, j: i < rows_below(r)),
    ),
    "last-column-left-out": (
        "dx dw db",
        LEFT_OUT,
        lambda r: conv_loop(r, keep=lambda n, f, i, j: j < columns_below(r)),
    ),
    "first-row-left-out": ("dx dw db", LEFT_OUT, lambda r: conv_loop(r, keep=lambda n, f, i, j: i > 0)),
    "last-row-and-column-left-out": (
        "dx dw db",
        LEFT_OUT,
        lambda r: conv_loop(r, keep=lambda n, f, i, j: i < rows_below(r) and j < columns_below(r)),
    ),
    "border-left-out": (
        "dx dw db",
        LEFT_OUT,
        lambda r: conv_loop(r, keep=lambda n, f, i, j: 0 < i < rows_below(r) and 0 < j < columns_below(r)),
    ),
    "every-second": (
        "dx dw db",
        LEFT_OUT,
        lambda r: conv_loop(r, keep=lambda n, f, i, j: i % 2 == j % 2 == 0),
    ),
    "dw-last-window": ("dw db", Mistake.ONLY_LAST_TERM, lambda r: conv_loop(r, assign=True)),
    "dw-last-window-of-each": (
        "dw db",
        Mistake.ONLY_LAST_TERM,
        lambda r: conv_loop(r, keep=lambda n, f, i, j: i == rows_below(r) and j == columns_below(r)),
    ),
    "dx-assigned": ("dx", Mistake.ASSIGNED, lambda r: conv_loop(r, assign=True), "wide square strided tall"),
    "stride-ignored": (
        "dx dw",
        Mistake.STRIDE_IGNORED,
        lambda r: conv_loop(r, start=lambda i, j: (i, j)),
        "strided floor",
    ),
    "stride-ignored-in-columns": (
        "dx dw",
        Mistake.STRIDE_IGNORED,
        lambda r: conv_loop(r, start=lambda i, j: (i * r.stride, j)),
        "strided floor",
    ),
    "flipped": ("dx", Mistake.FLIPPED, lambda r: conv_loop(r, w=r.w[:, :, ::-1, ::-1])),
    "upside-down": ("dx", Mistake.UPSIDE_DOWN, lambda r: conv_loop(r, w=r.w[:, :, ::-1])),
    "mirrored": ("dx", Mistake.MIRRORED, lambda r: conv_loop(r, w=r.w[..., ::-1])),
    "w-transposed": (
        "dx",
        Mistake.HEIGHT_WIDTH_SWAPPED,
        lambda r: conv_loop(r, w=r.w.swapaxes(2, 3)),
        "square strided tall floor",
    ),
    "w-rotated": (
        "dx",
        Mistake.ROTATED,
        lambda r: conv_loop(r, w=np.rot90(r.w, 1, (2, 3))),
        "square strided tall floor",
    ),
    "w-rot90-of-wrong-axes": ("dx", Mistake.REVERSED, lambda r: conv_loop(r, w=np.rot90(r.w, 2))),
    "w-np.flip": ("dx", Mistake.REVERSED, lambda r: conv_loop(r, w=np.flip(r.w))),
    "w-axes-swapped": (
        "dx",
        Mistake.FIRST_AXES_SWAPPED,
        lambda r: conv_loop(r, w=r.w.swapaxes(0, 1)),
        "square",
    ),
    "w-flipped-and-swapped": (
        "dx",
        Mistake.FLIPPED_AND_SWAPPED,
        lambda r: conv_loop(r, w=np.flip(r.w, (2, 3)).swapaxes(0, 1)),
        "square",
    ),
    "first-filter-for-all": ("dx", one("filter's w"), lambda r: conv_loop(r, w=0 * r.w + r.w[:1])),
    "last-filter-for-all": ("dx", one("filter's w"), lambda r: conv_loop(r, w=0 * r.w + r.w[-1:])),
    "channel-for-all": ("dx", one("channel's w"), lambda r: conv_loop(r, w=0 * r.w + r.w[:, :1])),
    "w-summed": (
        "dx",
        about(Mistake.SUMMED_FIRST, "w"),
        lambda r: conv_loop(r, w=0 * r.w + r.w.sum(axis=1, keepdims=True)),
    ),
    "w-missing": ("dx", about(Mistake.FACTOR_MISSING, "w"), lambda r: conv_loop(r, w=np.ones_like(r.w))),
    "channel-by-channel": (
        "dx",
        Mistake.CHANNEL_BY_CHANNEL,
        lambda r: conv_loop(r, w=r.w * np.eye(3)[:, :, None, None]),
        "square",
    ),
    "first-example-for-all": (
        "dw",
        one("example's x"),
        lambda r: conv_loop(r, padded=0 * r.padded + r.padded[:1]),
    ),
    "x-channel-for-all": (
        "dw",
        one("channel's x"),
        lambda r: conv_loop(r, padded=0 * r.padded + r.padded[:, :1]),
    ),
    "x-missing": ("dw", about(Mistake.FACTOR_MISSING, "x"), lambda r: conv_loop(r, padded=0 * r.padded + 1)),
    "x-padded-at-the-end": (
        "dw",
        Mistake.WINDOWS_SHIFTED,
        lambda r: conv_loop(r, padded=np.pad(r.x, ((0, 0), (0, 0), (0, 2 * r.pad), (0, 2 * r.pad)))),
        "wide square strided",
    ),
    "x-padded-with-edges": (
        "dw",
        Mistake.PADDING_NOT_ZERO,
        lambda r: conv_loop(r, padded=np.pad(r.x, ((0, 0), (0, 0), (1, 1), (1, 1)), mode="edge")),
        "wide square strided",
    ),
    "x-examples-and-channels": (
        "dw",
        about(Mistake.AXES_SWAPPED, "examples and channels of x"),
        lambda r: conv_loop(r, padded=r.padded.swapaxes(0, 1)),
        "square",
    ),
    "dout-missing": ("dx dw", Mistake.NO_DOUT, lambda r: conv_loop(r, dout=1.0)),
    "out-for-dout": ("dx dw db", Mistake.OUT_FOR_DOUT, lambda r: conv_loop(r, dout=r.out)),
    "dout-of-first-window": (
        "dx dw",
        one("window's dout"),
        lambda r: conv_loop(r, dout=r.dout[:, :, :1, :1]),
    ),
    "dout-of-first-example": ("dx dw db", one("example's dout"), lambda r: conv_loop(r, dout=r.dout[:1])),
    "dout-of-last-filter": ("dx dw db", one("filter's dout"), lambda r: conv_loop(r, dout=r.dout[:, -1:])),
    "dx-product-of-sums": (
        "dx",
        Mistake.PRODUCT_OF_SUMS,
        lambda r: conv_loop(r, dout=r.dout.sum(axis=1, keepdims=True)),
    ),
    "dw-product-of-sums": (
        "dw",
        Mistake.PRODUCT_OF_SUMS,
        lambda r: conv_loop(r, dout=r.dout.sum(axis=0, keepdims=True)),
    ),
    "dw-dout-summed": (
        "dw",
        about(Mistake.SUMMED_FIRST, "dout"),
        lambda r: conv_loop(r, dout=r.dout.sum(axis=1, keepdims=True)),
    ),
    "dout-averaged-over-pixels": (
        "dx dw",
        about(Mistake.AVERAGED_FIRST, "dout"),
        lambda r: conv_loop(r, dout=r.dout.mean(axis=(2, 3), keepdims=True)),
    ),
    "dout-transposed": (
        "dx dw",
        about(Mistake.OUTPUT_SWAPPED, "row and column"),
        lambda r: conv_loop(r, dout=r.dout.swapaxes(2, 3)),
        "square",
    ),
    "windows-transposed": (
        "dx dw",
        about(Mistake.OUTPUT_SWAPPED, "row and column"),
        lambda r: conv_loop(r, start=lambda i, j: (j * r.stride, i * r.stride)),
        "square",
    ),
    "dout-examples-and-filters": (
        "dx dw",
        about(Mistake.OUTPUT_SWAPPED, "example and filter"),
        lambda r: conv_loop(r, dout=r.dout.swapaxes(0, 1)),
        "square",
    ),
    "dout-flipped": ("dx dw", Mistake.DOUT_REVERSED, lambda r: conv_loop(r, dout=r.dout[:, :, ::-1, ::-1])),
    "first-window-for-all": ("dx dw", one("window"), lambda r: conv_loop(r, start=lambda i, j: (0, 0))),
    "db-wrong-axes": (
        "db",
        Mistake.SUMMED_OVER_WRONG_AXES,
        lambda r: {"db": r.dout.sum(axis=(1, 2, 3))},
        "square",
    ),
    "db-total": ("db", Mistake.SUMMED_OVER_TOO_MANY_AXES, lambda r: {"db": 0 * r.b + r.dout.sum()}),
}

POOLING = {
    "last-row-left-out": (LEFT_OUT, lambda r: pool_loop(r, keep=lambda n, c, i, j: i < rows_below(r))),
    "last-column-left-out": (LEFT_OUT, lambda r: pool_loop(r, keep=lambda n, c, i, j: j < columns_below(r))),
    "first-row-left-out": (LEFT_OUT, lambda r: pool_loop(r, keep=lambda n, c, i, j: i > 0)),
    "last-row-and-column-left-out": (
        LEFT_OUT,
        lambda r: pool_loop(r, keep=lambda n, c, i, j: i < rows_below(r) and j < columns_below(r)),
    ),
    "assigned": (Mistake.ASSIGNED, lambda r: pool_loop(r, assign=True), "overlap wide tall"),
    "smallest": (Mistake.SMALLEST_TAKES_IT, lambda r: pool_loop(r, lambda window, *_: first(-window))),
    "all": (Mistake.ALL_TAKE_IT, lambda r: pool_loop(r, lambda window, *_: np.ones_like(window))),
    "average": (Mistake.ALL_TAKE_IT, lambda r: pool_loop(r, lambda window, *_: 0 * window + 1 / window.size)),
    "near": (
        Mistake.NEAR_MAXIMA,
        lambda r: pool_loop(r, lambda window, *_: 1.0 * (window > window.max() - 0.3)),
    ),
    "near-relative": (
        Mistake.NEAR_MAXIMA,
        lambda r: pool_loop(r, lambda window, *_: 1.0 * (window >= window.max() - 0.4 * abs(window.max()))),
    ),
    "value": (Mistake.MAXIMUM_AS_FACTOR, lambda r: pool_loop(r, lambda window, *_: first(window) * window)),
    "all-channels": (
        about(Mistake.MAXIMUM_OVER, "all channels"),
        lambda r: pool_loop(r, lambda window, n, c, i, j: 1.0 * (window == windows_of(r, i, j)[n].max())),
    ),
    "all-examples": (
        about(Mistake.MAXIMUM_OVER, "all examples"),
        lambda r: pool_loop(r, lambda window, n, c, i, j: 1.0 * (window == windows_of(r, i, j)[:, c].max())),
    ),
    "whole-image": (
        about(Mistake.MAXIMUM_OVER, "the whole image"),
        lambda r: pool_loop(r, lambda window, n, c, i, j: 1.0 * (window == r.x[n, c].max())),
    ),
    "argmax-of-the-image": (
        about(Mistake.MAXIMUM_OVER, "the whole image"),
        lambda r: {"dx": np.stack([[first(image) for image in images] for images in r.x]) * total(r)},
    ),
    "each-column": (
        about(Mistake.MAXIMUM_OVER, "each column of a window"),
        lambda r: pool_loop(r, lambda window, *_: 1.0 * (window == window.max(axis=0))),
    ),
    "channel-0-for-all": (
        one("channel's maximum"),
        lambda r: pool_loop(r, lambda window, n, c, i, j: first(windows_of(r, i, j)[n, 0])),
    ),
    "stride-ignored-in-writing": (
        Mistake.STRIDE_IGNORED,
        lambda r: pool_loop(r, write=lambda i, j: (i, j)),
        "tiles square overlap gaps tall",
    ),
    "stride-ignored": (
        Mistake.STRIDE_IGNORED,
        lambda r: pool_loop(r, read=lambda i, j: (i, j)),
        "tiles square overlap gaps tall",
    ),
    "stride-ignored-with-cached-output": (
        Mistake.STRIDE_IGNORED,
        lambda r: pool_loop(
            r, lambda window, *index: 1.0 * (window == r.out[index]), read=lambda i, j: (i, j)
        ),
        "tiles square overlap gaps tall",
    ),
    "size-for-stride": (
        Mistake.STRIDE_IS_SIZE,
        lambda r: pool_loop(r, read=lambda i, j: (i * r.height, j * r.width)),
        "gaps",
    ),
    "window-swapped": (
        Mistake.WINDOW_SWAPPED,
        lambda r: pool_loop(r, size=(r.width, r.height)),
        "wide tall",
    ),
    "argmax-swapped": (
        Mistake.ARGMAX_SWAPPED,
        lambda r: scatter(r, lambda k, i, j: (i * r.stride + k % r.width, j * r.stride + k // r.width)),
        "tiles square overlap gaps",
    ),
    "no-offset": (
        Mistake.NO_WINDOW_OFFSET,
        lambda r: scatter(r, lambda k, i, j: divmod(k, r.width)),
    ),
    "dout-transposed": (
        about(Mistake.OUTPUT_SWAPPED, "row and column"),
        lambda r: pool_loop(r, dout=r.dout.swapaxes(2, 3)),
        "square",
    ),
    "dout-missing": (Mistake.NO_DOUT, lambda r: pool_loop(r, dout=1.0)),
    "dout-summed": (about(Mistake.SUMMED_FIRST, "dout"), lambda r: pool_loop(r, dout=total(r))),
    "dout-of-first-window": (one("window's dout"), lambda r: pool_loop(r, dout=r.dout[:, :, :1, :1])),
    "dout-of-channel-0": (one("channel's dout"), lambda r: pool_loop(r, dout=r.dout[:, :1])),
    "out-for-dout": (Mistake.OUT_FOR_DOUT, lambda r: pool_loop(r, dout=r.out)),
}


def windows_of(run, i, j):
    """The windows (N, C, height, width) of output pixel (i, j)."""
    top, left = i * run.stride, j * run.stride
    return run.x[:, :, top : top + run.height, left : left + run.width]


def total(run):
    return run.dout.sum(axis=(2, 3), keepdims=True)


def planted(bugs, shapes, gradients_first):
    """Yield (bug, shape, gradient) of each."""
    for name, (*facts, last_fact) in bugs.items():
        chosen = last_fact.split() if isinstance(last_fact, str) else list(shapes)
        for shape in chosen:
            for gradient in facts[0].split() if gradients_first else ["dx"]:
                yield pytest.param(name, shape, gradient, id=f"{name}-{shape}-{gradient}")


def case_of(run, gradient, actual, settings=True, expected=None, prefix=""):
    inputs = {prefix + name: array for name, array in run.inputs.items()}
    return Case(
        actual,
        run.right[gradient] if expected is None else expected,
        name=prefix + NAMES[gradient],
        inputs=inputs,
        out=run.out,
        dout=run.dout,
        settings=run.settings if settings else {},
    )


def titles(case):
    return [cause.title for cause in diagnose(case)]


def assert_named(run, gradient, actual, mistake):
    """The mistake is the only cause, with settings or without them, and whatever the arguments are called."""
    assert not np.allclose(actual, run.right[gradient]), "the bug does nothing"
    for settings, prefix in ((True, ""), (False, "my_")):
        found = titles(case_of(run, gradient, actual, settings, prefix=prefix))
        assert found == [title_of(mistake)], (settings, prefix)


@pytest.mark.parametrize("name, shape, gradient", [*planted(CONVOLUTION, CONVOLUTIONS, True)])
def test_a_mistake_in_a_convolution_is_named(name, shape, gradient):
    run = convolution(shape)
    _, mistake, make, *_ = CONVOLUTION[name]
    assert_named(run, gradient, make(run)[gradient], mistake)


@pytest.mark.parametrize("name, shape, gradient", [*planted(POOLING, POOLINGS, False)])
def test_a_mistake_in_a_max_pooling_is_named(name, shape, gradient):
    run = pooling(shape)
    mistake, make, *_ = POOLING[name]
    assert_named(run, gradient, make(run)[gradient], mistake)


@pytest.mark.parametrize("shape", CONVOLUTIONS)
def test_the_loops_of_the_convolution_are_right(shape):
    run = convolution(shape)
    for gradient, array in conv_loop(run).items():
        np.testing.assert_allclose(array, run.right[gradient], atol=1e-12)
        assert titles(case_of(run, gradient, array)) == []


@pytest.mark.parametrize("shape", POOLINGS)
def test_the_loop_of_the_max_pooling_is_right(shape):
    run = pooling(shape)
    for loop in (pool_loop(run), scatter(run, lambda k, i, j: place_of(run, k, i, j))):
        np.testing.assert_allclose(loop["dx"], run.right["dx"], atol=1e-12)


def place_of(run, k, i, j):
    p, q = divmod(k, run.width)
    return i * run.stride + p, j * run.stride + q


# ---------------------------------------------------------------------------------------------------------
# Ties: what is right there is what the formula says
# ---------------------------------------------------------------------------------------------------------

SMALL = {
    "overlap": ((1, 2, 5, 5), 2, 2, 1),
    "alexnet": ((1, 2, 7, 7), 3, 3, 2),
    "tiles": ((2, 2, 6, 6), 2, 2, 2),
}


def tied_run(shape, seed):
    """A max pooling of the outputs of ReLU, rounded so that many are equal, and its numeric gradient."""
    POOLINGS[f"tied-{shape}"] = SMALL[shape]
    run = pooling(f"tied-{shape}", seed, x=np.maximum(np.round(draw(SMALL[shape][0], seed=(seed, 9))), 0))
    del POOLINGS[f"tied-{shape}"]

    def forward():
        return layers.max_pool_forward_naive(run.x, run.settings)[0]

    run.numeric = numeric_gradient(forward, run.x, run.dout)
    return run


def as_checked(run, actual):
    """A case as a check makes it: entries that it takes for right have their numeric value."""
    judged = judge(actual, run.numeric, 1e-6, 1.0, formula=None)
    return case_of(run, "dx", np.where(judged.right, judged.expected, actual), expected=judged.expected)


@pytest.mark.parametrize("shape", SMALL)
@pytest.mark.parametrize("seed", range(8))
def test_a_right_max_pooling_with_ties_is_never_accused(shape, seed):
    run = tied_run(shape, seed)
    assert titles(as_checked(run, run.right["dx"])) == []
    assert titles(case_of(run, "dx", run.right["dx"], expected=run.numeric.centered)) == []
    (right,) = right_gradients(case_of(run, "dx", run.right["dx"], settings=False)).values()
    np.testing.assert_array_equal(right, run.right["dx"])


TIED = {
    "assigned": (Mistake.ASSIGNED, lambda r: pool_loop(r, assign=True), "overlap alexnet"),
    "assigned-to-all-maxima": (
        Mistake.ASSIGNED,
        lambda r: pool_loop(r, lambda window, *_: every(window), assign=True),
        "overlap alexnet",
    ),
    "last-row": (LEFT_OUT, lambda r: pool_loop(r, keep=lambda n, c, i, j: i < rows_below(r))),
    "smallest": (Mistake.SMALLEST_TAKES_IT, lambda r: pool_loop(r, lambda window, *_: first(-window))),
    "all-maxima": (Mistake.ALL_OF_TIES, lambda r: pool_loop(r, lambda window, *_: every(window))),
    "all": (Mistake.ALL_TAKE_IT, lambda r: pool_loop(r, lambda window, *_: np.ones_like(window))),
    "no-dout": (Mistake.NO_DOUT, lambda r: pool_loop(r, dout=1.0)),
    "sign": (Mistake.SIGN, lambda r: {"dx": -r.right["dx"]}),
}


@pytest.mark.parametrize("name, shape, gradient", [*planted(TIED, SMALL, False)])
@pytest.mark.parametrize("seed", range(2))
def test_a_mistake_is_named_although_there_are_ties(name, shape, gradient, seed):
    run = tied_run(shape, seed)
    mistake, make, *_ = TIED[name]
    actual = make(run)[gradient]
    assert not np.allclose(actual, run.right[gradient]), "the bug does nothing"
    assert titles(case_of(run, gradient, actual, expected=run.numeric.centered))[:1] == [title_of(mistake)]
    assert titles(as_checked(run, actual))[:1] == [title_of(mistake)]


@pytest.mark.parametrize(
    "mistake, mask",
    [
        (Mistake.LAST_OF_TIES, last),
        (Mistake.TIES_SHARED, lambda window: every(window) / every(window).sum()),
        (Mistake.ALL_OF_TIES, every),
    ],
)
def test_another_way_to_decide_ties_is_named(mistake, mask):
    """A grader that compares with the reference's gradient asks for it; a numeric gradient cannot tell."""
    x = np.round(2 * draw((2, 2, 6, 6)))
    run = pooling("square", x=np.concatenate([x, x[:1]])[:, [0, 1, 1]])
    assert titles(case_of(run, "dx", pool_loop(run, lambda window, *_: mask(window))["dx"])) == [
        title_of(mistake)
    ]


# ---------------------------------------------------------------------------------------------------------
# Recognizing a layer
# ---------------------------------------------------------------------------------------------------------


def observed(run, **settings):
    return Observed(inputs=run.inputs, out=run.out, dout=run.dout, settings=settings)


@pytest.mark.parametrize("shape", CONVOLUTIONS)
def test_stride_and_padding_of_a_convolution_are_found(shape):
    run = convolution(shape)
    for settings in (
        {},
        {"stride": run.stride},
        {"pad": run.pad},
        run.settings,
        {"stride": (1, 2), "pad": "same"},
    ):
        assert geometry_of(observed(run, **settings)) == (run.stride, run.pad)


def test_settings_that_contradict_the_output_are_not_used():
    run = convolution("wide")
    assert geometry_of(observed(run, stride=1, pad=0)) == (1, 1)
    assert geometry_of(observed(run, stride=-1, pad=-3)) == (1, 1)
    run = pooling("overlap")
    layer = pooling_of(observed(run, pool_height=2, pool_width=2, stride=2))
    assert (layer.grid.size, layer.stride) == ((3, 3), 2)


@pytest.mark.parametrize("shape", POOLINGS)
def test_windows_of_a_max_pooling_are_found(shape):
    run = pooling(shape)
    for settings in ({}, {"stride": run.stride}, {"pool_height": run.height}, run.settings):
        layer = pooling_of(observed(run, **settings))
        assert (layer.grid.size, layer.stride) == ((run.height, run.width), run.stride)


def test_a_single_window_needs_no_stride():
    """All strides are right for it: the gradients are the same."""
    x, w, b = draw((2, 3, 5, 5)), draw((4, 3, 5, 5), seed=1), draw(4, seed=2)
    out, cache = layers.conv_forward_naive(x, w, b, {"stride": 1, "pad": 0})
    dout = draw(out.shape, seed=3)
    found = right_gradients(Observed(inputs={"image": x, "filters": w, "bias": b}, out=out, dout=dout))
    assert list(found) == ["image", "filters", "bias"]
    for gradient, right in zip(found.values(), layers.conv_backward_naive(dout, cache), strict=True):
        np.testing.assert_allclose(gradient, right, atol=1e-12)


@pytest.mark.parametrize("shape", CONVOLUTIONS)
def test_gradients_by_formula_of_a_convolution(shape):
    run = convolution(shape)
    found = right_gradients(observed(run))
    for gradient, name in NAMES.items():
        np.testing.assert_allclose(found[name], run.right[gradient], atol=1e-12)
    run.inputs, run.out = {"x": run.x, "w": run.w}, run.out - run.b.reshape(-1, 1, 1)
    assert right_gradients(observed(run)).keys() == {"x", "w"}


OTHERS = {
    "relu behind": lambda run: np.maximum(run.out, 0),
    "another bias": lambda run: run.out + 1,
    "noise": lambda run: run.out + 0.01 * draw(run.out.shape, seed=5),
    "zero": lambda run: np.zeros_like(run.out),
    "nan": lambda run: run.out * np.nan,
    "None": lambda run: None,
    "a number": lambda run: run.out.sum(),
    "fewer": lambda run: run.out[:, :, 1:],
}


@pytest.mark.parametrize("other", OTHERS)
@pytest.mark.parametrize("make", [convolution, pooling])
def test_another_layer_is_not_recognized(make, other):
    run = make()
    out = OTHERS[other](run)
    dout = None if out is None else np.ones_like(out)
    for settings in ({}, run.settings):
        seen = Observed(inputs=run.inputs, out=out, dout=dout, settings=settings)
        if other != "relu behind":
            assert right_gradients(seen) == {}
        if other != "relu behind" or make is convolution:  # then it is a sandwich
            assert convolution_of(seen) is None
            assert pooling_of(seen) is None


def test_where_several_layers_give_the_output_none_is_taken():
    run = convolution("square")
    run.x, run.out = 0 * run.x, 0 * run.out + run.b.reshape(-1, 1, 1)
    run.inputs = run.inputs | {"x": run.x}
    assert convolution_of(observed(run)) is None
    assert convolution_of(observed(run, stride=1, pad=1)) is not None
    run = pooling("tiles", x=np.zeros((3, 2, 6, 8)))
    assert pooling_of(observed(run, **run.settings)) is not None


@pytest.mark.parametrize("shape", [(0, 2, 4, 4), (2, 0, 4, 4), (2, 2, 1, 1)])
def test_sizes_that_degenerate_raise_nothing(shape):
    x = np.ones(shape)
    for inputs in ({"x": x}, {"x": x, "w": x, "b": np.ones(shape[0])}):
        seen = Case(x, x + 1, name="x", inputs=inputs, out=x, dout=x)
        diagnose(seen)
        right_gradients(seen)


# ---------------------------------------------------------------------------------------------------------
# What is wrong in no known way
# ---------------------------------------------------------------------------------------------------------

MESSES = {
    "noise": lambda grad: grad + 0.1 * draw(grad.shape, seed=8),
    "cubes": lambda grad: grad**3,
    "rolled": lambda grad: np.roll(grad, 1, axis=-1) + 0.3 * grad,
    "scaled": lambda grad: grad * (1 + 0.2 * np.abs(draw(grad.shape, seed=8))),
}


@pytest.mark.parametrize("mess", MESSES)
@pytest.mark.parametrize("shape", CONVOLUTIONS)
def test_an_unknown_mistake_in_a_convolution_has_no_cause(shape, mess):
    run = convolution(shape)
    for gradient, right in run.right.items():
        assert titles(case_of(run, gradient, MESSES[mess](right), settings=False)) == []


@pytest.mark.parametrize("mess", MESSES)
@pytest.mark.parametrize("shape", POOLINGS)
def test_an_unknown_mistake_in_a_max_pooling_has_no_cause(shape, mess):
    run = pooling(shape)
    assert titles(case_of(run, "dx", MESSES[mess](run.right["dx"]), settings=False)) == []


def test_a_check_names_the_mistake_without_settings():
    run = convolution("square")

    def forward(x, w, b):
        return layers.conv_forward_naive(x, w, b, run.settings)

    def backward(dout, cache):
        run.dout = dout
        return conv_loop(run, w=run.w[:, :, ::-1, ::-1])["dx"], *layers.conv_backward_naive(dout, cache)[1:]

    report = check_layer(forward, backward, run.inputs)
    assert [comparison.status for comparison in report.comparisons] == [FAIL, "PASS", "PASS"]
    assert [cause.title for cause in report.all_causes()] == [title_of(Mistake.FLIPPED)]


def test_padding_that_is_kept_is_named_without_settings():
    run = convolution("wide")
    for pads in (((1, 1), (1, 1)), ((0, 1), (0, 1)), ((0, 0), (2, 0))):
        kept = np.pad(run.right["dx"], ((0, 0), (0, 0), *pads), constant_values=1.5)
        (cause,) = diagnose_value(
            kept, run.right["dx"], name="x", inputs=run.inputs, out=run.out, dout=run.dout
        )
        assert cause.title == title_of(Mistake.PADDING_KEPT)


def test_evidence_says_which_windows_are_left():
    run = convolution("strided")
    dw = conv_loop(run, keep=lambda n, f, i, j: i < 3 and j % 2 == 0)["dw"]
    (cause,) = diagnose(case_of(run, "dw", dw))
    assert cause.evidence == (
        "every entry matches the formula with only the windows in rows 0-2 (of 0-3) and every second column, "
        "from column 0"
    )
