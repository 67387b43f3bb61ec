"""Mistakes of convolutions and poolings that are written with matrices, and forward passes that differ."""

import numpy as np
import pytest
from broken_layers import about, titles_of
from conftest import draw
from test_diagnosis_windows import (
    CONVOLUTIONS,
    POOLINGS,
    case_of,
    conv_loop,
    convolution,
    pool_loop,
    pooling,
    titles,
)

from cs231n.gradcheck.check import FAIL, PASS, check_layer
from cs231n.gradcheck.diagnosis import Case, Mistake, diagnose
from cs231n.gradcheck.diagnosis.reshapes import reshapes

pytestmark = pytest.mark.q1

DOUT, W, GRADIENT = Mistake.DOUT_NOT_TRANSPOSED, Mistake.W_RESHAPED, Mistake.ORDER_MIXED


def title_of(mistake):
    return titles_of({"": mistake})[""]


def as_matrix(dout):
    """dout as (F, N H' W') without the transpose, put back into images."""
    N, F, H, W = dout.shape
    return dout.reshape(F, N, H, W).swapaxes(0, 1)


def w_columns(w):
    """w as (C HH WW, F) without the transpose, put back into filters."""
    return w.reshape(*w.shape[1:], w.shape[0]).transpose(3, 0, 1, 2)


def windows_of(run):
    """The windows of padded x, (N, C, HH, WW, H', W'), as loops over the pixels of a window store them."""
    HH, WW = run.w.shape[2:]
    Hp, Wp = run.out.shape[2:]
    stored = np.zeros((*run.x.shape[:2], HH, WW, Hp, Wp))
    for p, q in np.ndindex(HH, WW):
        stored[:, :, p, q] = run.padded[
            :, :, p : p + run.stride * Hp : run.stride, q : q + run.stride * Wp : run.stride
        ][..., :Hp, :Wp]
    return stored


def dw_by_columns(run, columns):
    """dw by way of a matrix with a row for each pixel of the output and a column for each weight."""
    rows = run.dout.transpose(1, 0, 2, 3).reshape(len(run.w), -1)
    return {"dw": (rows @ columns).reshape(run.w.shape)}


def dx_by_columns(run, windows):
    """dx from the gradients (N, C, HH, WW, H', W') of windows."""
    dpadded, (Hp, Wp) = np.zeros_like(run.padded), run.out.shape[2:]
    for p, q, i, j in np.ndindex(*run.w.shape[2:], Hp, Wp):
        dpadded[:, :, p + i * run.stride, q + j * run.stride] += windows[:, :, p, q, i, j]
    H, W = run.x.shape[2:]
    return {"dx": dpadded[:, :, run.pad : run.pad + H, run.pad : run.pad + W]}


def columns_of_dx(run):
    """The gradients of windows as a matrix: rows (C, HH, WW), columns (N, H', W')."""
    return run.w.reshape(len(run.w), -1).T @ run.dout.transpose(1, 0, 2, 3).reshape(len(run.w), -1)


MATRICES = {
    "x-columns": (
        about(Mistake.WINDOWS_RESHAPED, "x"),
        "dw",
        lambda r: dw_by_columns(r, windows_of(r).reshape(-1, r.w[0].size)),
    ),
    "dx-columns": (
        about(Mistake.WINDOWS_RESHAPED, "dx"),
        "dx",
        lambda r: dx_by_columns(r, columns_of_dx(r).reshape(windows_of(r).shape)),
    ),
    "dout-to-rows": (DOUT, "dx dw", lambda r: conv_loop(r, dout=as_matrix(r.dout))),
    "dout-mixed-orders": (
        DOUT,
        "dx dw",
        lambda r: conv_loop(r, dout=mixed(r.dout)),
    ),
    "w-to-columns": (W, "dx", lambda r: conv_loop(r, w=w_columns(r.w))),
    "dw-from-columns": (
        GRADIENT,
        "dw",
        lambda r: {"dw": r.right["dw"].transpose(1, 2, 3, 0).reshape(r.w.shape)},
    ),
    "dw-from-channels-last": (
        GRADIENT,
        "dw",
        lambda r: {"dw": r.right["dw"].transpose(0, 2, 3, 1).reshape(r.w.shape)},
    ),
    "dx-from-channels-last": (
        GRADIENT,
        "dx",
        lambda r: {"dx": r.right["dx"].transpose(0, 2, 3, 1).reshape(r.x.shape)},
    ),
}


def mixed(dout):
    """The columns of dout with images first, used where they should come last."""
    N, F, H, W = dout.shape
    rows = dout.transpose(1, 0, 2, 3).reshape(F, -1)
    return rows.reshape(F, H, W, N).transpose(3, 0, 1, 2)


@pytest.mark.parametrize("settings", [True, False])
@pytest.mark.parametrize("shape", ["wide", "strided", "tall"])
@pytest.mark.parametrize("name", MATRICES)
def test_a_missing_transpose_in_a_convolution_is_named(name, shape, settings):
    mistake, gradients, make = MATRICES[name]
    run = convolution(shape)
    for gradient in gradients.split():
        actual = make(run)[gradient]
        assert not np.allclose(actual, run.right[gradient])
        assert titles(case_of(run, gradient, actual, settings)) == [title_of(mistake)], gradient


@pytest.mark.parametrize("shape", [(3, 4), (2, 3, 5), (2, 3, 4, 5)])
def test_a_gradient_in_another_order_is_named(shape):
    right, own = draw(shape), tuple(range(len(shape)))
    for wrong in reshapes(len(shape)):
        if wrong.put == own:
            (cause,) = diagnose(Case(wrong.of(right), right, name="x"))
            assert cause.title == title_of(GRADIENT)


def test_evidence_is_code_that_makes_the_mistake():
    right = draw((2, 3, 4, 5))
    for wrong in reshapes(4):
        made = eval(wrong.words("right", right.shape), {"right": right})
        np.testing.assert_array_equal(made, wrong.of(right))


@pytest.mark.parametrize("settings", [True, False])
@pytest.mark.parametrize("order", [(0, 1, 2, 4, 3, 5), (0, 1, 4, 2, 3, 5), (0, 1, 3, 5, 2, 4)])
def test_tiles_without_their_transpose_are_named(order, settings):
    run = pooling("tiles")
    N, C, H, W = run.x.shape
    tiles = run.right["dx"].reshape(N, C, H // 2, 2, W // 2, 2)
    actual = tiles.transpose(order).reshape(run.x.shape)
    assert titles(case_of(run, "dx", actual, settings)) == [title_of(GRADIENT)]


def test_other_values_are_not_a_matter_of_order():
    run = convolution("wide")
    for gradient, right in run.right.items():
        actual = 1.01 * np.random.default_rng(3).permutation(right.reshape(-1)).reshape(right.shape)
        assert titles(case_of(run, gradient, actual)) == []
        shuffled = np.random.default_rng(3).permutation(right.reshape(-1)).reshape(right.shape)
        assert titles(case_of(run, gradient, shuffled)) == []


# ---------------------------------------------------------------------------------------------------------
# What is left of a sum
# ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", CONVOLUTIONS)
@pytest.mark.parametrize("gradient", ["dw", "db"])
def test_only_the_last_example_is_left(gradient, shape):
    run = convolution(shape)
    for kept, mistake in (
        (len(run.x) - 1, Mistake.ONLY_LAST_TERM),
        (0, about(Mistake.TERMS_LEFT_OUT, "examples")),
    ):
        actual = conv_loop(run, keep=lambda n, f, i, j, kept=kept: n == kept)[gradient]
        assert titles(case_of(run, gradient, actual)) == [title_of(mistake)]


@pytest.mark.parametrize("filters", [2, 7])
def test_only_the_last_filter_is_left_where_windows_do_not_overlap(filters):
    run = disjoint(filters)
    actual = conv_loop(run, assign=True)["dx"]
    assert titles(case_of(run, "dx", actual)) == [title_of(Mistake.ONLY_LAST_TERM)]


def disjoint(filters):
    CONVOLUTIONS["disjoint"] = ((2, 3, 4, 6), (filters, 3, 2, 2), 2, 0)
    try:
        return convolution("disjoint")
    finally:
        del CONVOLUTIONS["disjoint"]


@pytest.mark.parametrize("axis", [0, 2, 3])
def test_only_the_last_term_is_left_of_the_parameters_of_a_spatial_norm(axis):
    x, gamma, beta = draw((3, 2, 4, 5)), draw((2,), seed=1), draw((2,), seed=2)
    kept = [slice(None)] * 4
    kept[axis] = slice(-1, None)

    def forward(x, gamma, beta):
        mean, var = x.mean(axis=(0, 2, 3), keepdims=True), x.var(axis=(0, 2, 3), keepdims=True)
        x_hat = (x - mean) / np.sqrt(var + 1e-5)
        return gamma.reshape(1, -1, 1, 1) * x_hat + beta.reshape(1, -1, 1, 1), (x_hat, gamma, var)

    def backward(dout, cache):
        x_hat, gamma, var = cache
        part, of_x_hat = dout[tuple(kept)], x_hat[tuple(kept)]
        g = dout * gamma.reshape(1, -1, 1, 1)
        mean, product = (a.mean(axis=(0, 2, 3), keepdims=True) for a in (g, g * x_hat))
        dx = (g - mean - x_hat * product) / np.sqrt(var + 1e-5)
        return dx, (part * of_x_hat).sum(axis=(0, 2, 3)), part.sum(axis=(0, 2, 3))

    report = check_layer(forward, backward, {"x": x, "gamma": gamma, "beta": beta})
    assert [c.status for c in report.comparisons] == [PASS, FAIL, FAIL]
    for comparison in report.comparisons[1:]:
        assert [cause.title for cause in comparison.causes] == [title_of(Mistake.ONLY_LAST_TERM)]


# ---------------------------------------------------------------------------------------------------------
# Forward passes
# ---------------------------------------------------------------------------------------------------------


def conv_out(run, w=None, b=None, padded=None, step=None):
    """The output of a convolution, window by window."""
    w, b = run.w if w is None else w, run.b if b is None else b
    padded, step = run.padded if padded is None else padded, step or run.stride
    HH, WW = run.w.shape[2:]
    out = np.zeros(run.out.shape)
    for n, f, i, j in np.ndindex(out.shape):
        window = padded[n, :, i * step : i * step + HH, j * step : j * step + WW]
        out[n, f, i, j] = (window * w[f]).sum() + b[f]
    return out


def padded_with(run, *widths, **how):
    first, last = widths or (run.pad, run.pad)
    return np.pad(run.x, ((0, 0), (0, 0), (first, last), (first, last)), **how)


FORWARD_CONV = {
    "flips the filters": ("dx dw", "all", lambda r: {"w": r.w[:, :, ::-1, ::-1]}),
    "mirrors the filters": ("dx dw", "all", lambda r: {"w": r.w[..., ::-1]}),
    "turns the filters upside down": ("dx dw", "all", lambda r: {"w": r.w[:, :, ::-1]}),
    "swaps height and width": ("dx dw", "square strided", lambda r: {"w": r.w.swapaxes(2, 3)}),
    "leaves out the bias": ("db", "all", lambda r: {"b": 0 * r.b}),
    "adds the bias for each entry": ("db", "all", lambda r: {"b": r.w[0].size * r.b}),
    "adds the bias for each channel": ("db", "wide strided", lambda r: {"b": r.w.shape[1] * r.b}),
    "pads x with the pixels of its border": (
        "dw",
        "wide square strided",
        lambda r: {"padded": padded_with(r, mode="edge")},
    ),
    "pads x with a number other than 0": (
        "dw",
        "wide square strided",
        lambda r: {"padded": padded_with(r, constant_values=0.7)},
    ),
    "pads x at its end only": (
        "dx dw",
        "wide square strided",
        lambda r: {"padded": padded_with(r, 0, 2 * r.pad)},
    ),
    "ignores the stride": ("dx dw", "strided floor", lambda r: {"step": 1}),
}


def forward_cases():
    for words, (gradients, shapes, _) in FORWARD_CONV.items():
        for shape in CONVOLUTIONS if shapes == "all" else shapes.split():
            yield from ((words, shape, gradient) for gradient in gradients.split())


@pytest.mark.parametrize("settings", [True, False])
@pytest.mark.parametrize("words, shape, gradient", [*forward_cases()])
def test_a_convolution_whose_forward_pass_differs_is_named(words, shape, gradient, settings):
    run = convolution(shape)
    run.out = conv_out(run, **FORWARD_CONV[words][2](run))
    expected = run.right[gradient] * 1.5 + 0.1  # that of the wrong forward pass: anything but the learner's
    found = titles(case_of(run, gradient, run.right[gradient], settings, expected))
    assert len(found) == 1
    assert found[0].startswith(f"the forward pass {words}")


def pool_out(run, reduce):
    out = np.zeros(run.out.shape)
    for n, c, i, j in np.ndindex(out.shape):
        top, left = i * run.stride, j * run.stride
        out[n, c, i, j] = reduce(run.x[n, c, top : top + run.height, left : left + run.width])
    return out


@pytest.mark.parametrize("settings", [True, False])
@pytest.mark.parametrize("shape", POOLINGS)
@pytest.mark.parametrize("words", ["maximum of 0", "mean", "sum", "minimum"])
def test_a_pooling_whose_forward_pass_differs_is_named(words, shape, settings):
    run = pooling(shape, x=draw(POOLINGS[shape][0]) - 1.0)
    kinds = {"mean": np.mean, "sum": np.sum, "minimum": np.min}
    run.out = pool_out(run, kinds.get(words, lambda window: max(0.0, window.max())))
    expected = run.right["dx"] * 1.5 + 0.1
    (found,) = titles(case_of(run, "dx", run.right["dx"], settings, expected))
    assert found.startswith(f"the forward pass takes the {words}")


def test_a_mistake_in_the_gradient_is_not_one_of_the_forward_pass():
    run = convolution("wide")
    run.out = conv_out(run, w=run.w[:, :, ::-1, ::-1])
    expected = run.right["dx"] * 1.5 + 0.1
    for actual in (2.5 * run.right["dx"] + 0.3, draw(run.x.shape, seed=5)):
        assert not any("forward" in title for title in titles(case_of(run, "dx", actual, True, expected)))


def test_relu_on_images_is_not_a_pooling():
    x = draw((2, 3, 4, 5))
    report = check_layer(lambda x: (np.maximum(x, 0), None), lambda dout, cache: dout, {"x": x})
    assert report.all_causes()
    assert not any("forward pass" in cause.title for cause in report.all_causes())


def test_average_pooling_that_is_right_passes():
    run = pooling("tiles")

    def forward(x):
        run.x = x
        return pool_out(run, np.mean), None

    def backward(dout, cache):
        run.dout = dout
        return pool_loop(run, mask=lambda window, *_: np.full(window.shape, 1 / window.size))

    def dx(dout, cache):
        return backward(dout, cache)["dx"]

    assert check_layer(forward, dx, {"x": run.x}).status == PASS
