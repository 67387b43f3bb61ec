"""Mistakes in affine layers: wrong products, orders and sums are named, also where equal sizes hide them."""

import itertools

import numpy as np
import pytest
from broken_layers import about, named_first, title_of
from conftest import draw, draw_all

from cs231n.gradcheck.check import FAIL, PASS, check_layer
from cs231n.gradcheck.diagnosis import Case, Mistake, Observed, diagnose, right_gradients
from cs231n.layers import (
    affine_backward,
    affine_forward,
    batchnorm_backward,
    batchnorm_forward,
    layernorm_backward,
    layernorm_forward,
)

pytestmark = pytest.mark.q1

N_EQUALS_M, SQUARE, CUBE = ((5, 3), 5), ((4, 6), 6), ((5, 5), 5)
WIDE, IMAGE, SQUARE_IMAGE = ((3, 5), 7), ((3, 2, 4), 7), ((6, 2, 3), 6)


def check_affine(sizes, forward=affine_forward, names=("x", "w", "b"), **wrong):
    """Check an affine layer with some gradients replaced: dx=function of (dout, x, w, b, x as rows)."""
    shape, M = sizes
    D = int(np.prod(shape[1:]))
    arrays = dict(zip(names, draw_all([shape, (D, M), (M,)], seed=4), strict=True))

    def backward(dout, cache):
        x, w, b = arrays.values()
        right = affine_backward(dout, affine_forward(x, w, b)[1])
        rows = x.reshape(len(x), -1)
        changed = {key: change(dout, x, w, b, rows) for key, change in wrong.items()}
        return tuple(changed.get(key, grad) for key, grad in zip(("dx", "dw", "db"), right, strict=True))

    return check_layer(lambda *args: (forward(*args)[0], None), backward, arrays)


BUGS = {
    "db-axis-hidden": (N_EQUALS_M, "db", Mistake.SUMMED_OVER_WRONG_AXES, lambda dout, *_: dout.sum(axis=1)),
    "db-axis-shown": (WIDE, "db", Mistake.SUMMED_OVER_WRONG_AXES, lambda dout, *_: dout.sum(axis=1)),
    "db-mean-hidden": (N_EQUALS_M, "db", Mistake.SUMMED_OVER_WRONG_AXES, lambda dout, *_: dout.mean(axis=1)),
    "db-mean-shown": (WIDE, "db", Mistake.SUMMED_OVER_WRONG_AXES, lambda dout, *_: dout.mean(axis=1)),
    "db-mean": (WIDE, "db", about(Mistake.TOO_SMALL, "N"), lambda dout, *_: dout.mean(axis=0)),
    "db-one-number": (
        WIDE,
        "db",
        Mistake.SUMMED_OVER_TOO_MANY_AXES,
        lambda dout, x, w, b, rows: np.full_like(b, dout.sum()),
    ),
    "db-row": (WIDE, "db", Mistake.WRONG_LAYOUT, lambda dout, *_: dout.sum(axis=0, keepdims=True)),
    "db-first": (WIDE, "db", about(Mistake.TERMS_LEFT_OUT, "examples"), lambda dout, *_: dout[0]),
    "db-last-of-many": (((9, 3), 4), "db", Mistake.ONLY_LAST_TERM, lambda dout, *_: dout[-1]),
    "db-all-but-first-of-many": (
        ((9, 3), 4),
        "db",
        about(Mistake.TERMS_LEFT_OUT, "examples"),
        lambda dout, *_: dout[1:].sum(axis=0),
    ),
    "db-ones": (WIDE, "db", Mistake.NO_DOUT, lambda dout, x, w, b, rows: np.ones_like(b)),
    "db-N": (WIDE, "db", Mistake.NO_DOUT, lambda dout, x, w, b, rows: np.full_like(b, len(x))),
    "dx-w": (SQUARE, "dx", Mistake.W_NOT_TRANSPOSED, lambda dout, x, w, b, rows: dout @ w),
    "dx-w-image": (
        SQUARE_IMAGE,
        "dx",
        Mistake.W_NOT_TRANSPOSED,
        lambda dout, x, w, b, rows: (dout @ w).reshape(x.shape),
    ),
    "dx-out": (WIDE, "dx", Mistake.WRONG_PRODUCT, lambda dout, x, w, b, rows: (x @ w + b) @ w.T),
    "dx-x": (SQUARE, "dx", Mistake.WRONG_PRODUCT, lambda dout, x, w, b, rows: x @ w.T),
    "dx-dout-transposed": (N_EQUALS_M, "dx", Mistake.WRONG_PRODUCT, lambda dout, x, w, b, rows: dout.T @ w.T),
    "dx-swapped": (CUBE, "dx", Mistake.WRONG_PRODUCT, lambda dout, x, w, b, rows: w.T @ dout),
    "dx-transposed": (CUBE, "dx", Mistake.TRANSPOSED, lambda dout, x, w, b, rows: w @ dout.T),
    "dx-no-dout": (
        IMAGE,
        "dx",
        Mistake.NO_DOUT,
        lambda dout, x, w, b, rows: (np.ones_like(dout) @ w.T).reshape(x.shape),
    ),
    "dx-not-turned": (
        WIDE,
        "dx",
        about(Mistake.RESHAPED, "dx"),
        lambda dout, x, w, b, rows: (w @ dout.T).reshape(x.shape),
    ),
    "dx-not-turned-image": (
        IMAGE,
        "dx",
        about(Mistake.RESHAPED, "dx"),
        lambda dout, x, w, b, rows: (w @ dout.T).reshape(x.shape),
    ),
    "dx-column-order": (
        IMAGE,
        "dx",
        about(Mistake.RESHAPED, "dx"),
        lambda dout, x, w, b, rows: (dout @ w.T).reshape(x.shape, order="F"),
    ),
    "dx-axes": (
        IMAGE,
        "dx",
        about(Mistake.RESHAPED, "dx"),
        lambda dout, x, w, b, rows: (dout @ w.T).reshape(3, 4, 2).transpose(0, 2, 1),
    ),
    "dx-flat": (IMAGE, "dx", Mistake.WRONG_LAYOUT, lambda dout, x, w, b, rows: dout @ w.T),
    "dx-flat-transposed": (IMAGE, "dx", Mistake.TRANSPOSED, lambda dout, x, w, b, rows: w @ dout.T),
    "dx-sign": (IMAGE, "dx", Mistake.SIGN, lambda dout, x, w, b, rows: -(dout @ w.T).reshape(x.shape)),
    "dx-is-dw": (CUBE, "dx", about(Mistake.OF_ANOTHER_ARGUMENT, "w"), lambda dout, x, *_: x.T @ dout),
    "dw-transposed": (SQUARE, "dw", Mistake.TRANSPOSED, lambda dout, x, w, b, rows: dout.T @ x),
    "dw-transposed-shown": (WIDE, "dw", Mistake.TRANSPOSED, lambda dout, x, w, b, rows: dout.T @ x),
    "dw-x": (((4, 4), 6), "dw", Mistake.WRONG_PRODUCT, lambda dout, x, w, b, rows: x @ dout),
    "dw-both": (CUBE, "dw", Mistake.WRONG_PRODUCT, lambda dout, x, w, b, rows: dout @ x),
    "dw-dout-twice": (SQUARE, "dw", Mistake.WRONG_PRODUCT, lambda dout, x, w, b, rows: dout.T @ dout),
    "dw-x-twice": (SQUARE, "dw", Mistake.WRONG_PRODUCT, lambda dout, x, w, b, rows: x.T @ x),
    "dw-out": (IMAGE, "dw", Mistake.WRONG_PRODUCT, lambda dout, x, w, b, rows: rows.T @ (rows @ w + b)),
    "dw-no-dout": (IMAGE, "dw", Mistake.NO_DOUT, lambda dout, x, w, b, rows: rows.T @ np.ones_like(dout)),
    "dw-order": (
        IMAGE,
        "dw",
        about(Mistake.RESHAPED, "x"),
        lambda dout, x, w, b, rows: x.reshape(-1, len(x)) @ dout,
    ),
    "dw-column-order": (
        IMAGE,
        "dw",
        about(Mistake.RESHAPED, "x"),
        lambda dout, x, w, b, rows: x.reshape(len(x), -1, order="F").T @ dout,
    ),
    "dw-mean": (
        IMAGE,
        "dw",
        about(Mistake.TOO_SMALL, "N"),
        lambda dout, x, w, b, rows: rows.T @ dout / len(x),
    ),
    "dw-last": (
        IMAGE,
        "dw",
        Mistake.ONLY_LAST_TERM,
        lambda dout, x, w, b, rows: np.outer(rows[-1], dout[-1]),
    ),
    "dw-first": (
        IMAGE,
        "dw",
        about(Mistake.TERMS_LEFT_OUT, "examples"),
        lambda dout, x, w, b, rows: np.outer(rows[0], dout[0]),
    ),
    "dw-not-summed": (
        WIDE,
        "dw",
        Mistake.NOT_SUMMED_OVER_BATCH,
        lambda dout, x, w, b, rows: x[:, :, np.newaxis] * dout[:, np.newaxis],
    ),
    "dw-zero": (WIDE, "dw", Mistake.ZERO, lambda dout, x, w, b, rows: 0 * w),
}


@pytest.mark.parametrize("names", [("x", "w", "b"), ("a", "weights", "bias")], ids=["x-w-b", "own-names"])
@pytest.mark.parametrize("name", BUGS)
def test_a_mistake_in_an_affine_layer_is_named_first(name, names):
    sizes, key, mistake, change = BUGS[name]
    report = check_affine(sizes, names=names, **{key: change})
    assert report.status == FAIL
    expected = title_of(mistake)
    own = dict(zip("xwb", names, strict=True))
    if (
        names[0] != "x"
        and isinstance(mistake, type(about(Mistake.SIGN)))
        and mistake.about in ("x", "dx", "w")
    ):
        new = ("d" if mistake.about == "dx" else "") + own[mistake.about[-1]]
        expected = title_of(about(mistake.mistake, new))
    assert [cause.title for cause in report.all_causes()] == [expected], str(report)


def transposing(x, w, b):
    return x.reshape(len(x), -1) @ w.T + b, None


def along_examples(x, w, b):
    return x.reshape(len(x), -1) @ w + b[:, np.newaxis], None


def in_column_order(x, w, b):
    return x.reshape(len(x), -1, order="F") @ w + b, None


def without_b(x, w, b):
    return x.reshape(len(x), -1) @ w, None


@pytest.mark.parametrize(
    "forward, sizes, words, wrong",
    [
        (transposing, SQUARE, "transposes w", {"dx", "dw"}),
        (along_examples, N_EQUALS_M, "adds b along the wrong axis", {"db"}),
        (in_column_order, IMAGE, "flattens x in another order", {"dx", "dw"}),
    ],
)
def test_a_wrong_forward_pass_is_named_where_the_gradients_are_right(forward, sizes, words, wrong):
    report = check_affine(sizes, forward)
    title = title_of(about(Mistake.FORWARD_WRONG, words))
    assert named_first(report) == dict.fromkeys(wrong, title)


def test_an_argument_that_is_not_used_is_named():
    report = check_affine(WIDE, without_b)
    assert named_first(report) == {"db": title_of(about(Mistake.INDEPENDENT, "b"))}


# ---------------------------------------------------------------------------------------------------------
# Other layers with a sum over what shares a parameter
# ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "axis, mistake", [(1, Mistake.SUMMED_OVER_WRONG_AXES), (None, Mistake.SUMMED_OVER_TOO_MANY_AXES)]
)
@pytest.mark.parametrize("norm", ["batch", "layer"])
def test_equal_sizes_hide_no_wrong_axis_of_a_normalization(norm, axis, mistake):
    x, gamma, beta = draw((5, 5)), draw(5, seed=1), draw(5, seed=2)
    param = {"mode": "train", "eps": 1e-3} if norm == "batch" else {"eps": 1e-3}
    forward = batchnorm_forward if norm == "batch" else layernorm_forward
    right = batchnorm_backward if norm == "batch" else layernorm_backward
    normed = forward(x, np.ones(5), np.zeros(5), param)[0]

    def backward(dout, cache):
        dx, _, _ = right(dout, cache)
        return dx, np.zeros(5) + (dout * normed).sum(axis=axis), np.zeros(5) + dout.sum(axis=axis)

    inputs = {"x": x, "gamma": gamma, "beta": beta}
    report = check_layer(lambda *args: forward(*args, param), backward, inputs, settings={"eps": 1e-3})
    assert named_first(report) == {"dgamma": title_of(mistake), "dbeta": title_of(mistake)}


# ---------------------------------------------------------------------------------------------------------
# Nothing is accused that is right, or wrong in a way of its own
# ---------------------------------------------------------------------------------------------------------

MESSES = {
    "noise": lambda grad, rng: grad + 0.1 * rng.standard_normal(grad.shape),
    "squares": lambda grad, rng: grad * np.abs(grad),
    "scaled": lambda grad, rng: grad * (1 + rng.random(grad.shape)),
}


@pytest.mark.parametrize("mess", MESSES)
@pytest.mark.parametrize("sizes", [N_EQUALS_M, SQUARE, CUBE, WIDE, IMAGE, ((9, 2), 3)], ids=str)
def test_unknown_mistakes_have_no_cause(sizes, mess):
    def change(grad):
        return MESSES[mess](grad, np.random.default_rng(6))

    report = check_affine(
        sizes,
        dx=lambda dout, x, w, b, rows: change((dout @ w.T).reshape(x.shape)),
        dw=lambda dout, x, w, b, rows: change(rows.T @ dout),
        db=lambda dout, x, w, b, rows: change(dout.sum(axis=0)),
    )
    assert named_first(report) == {"dx": None, "dw": None, "db": None}


@pytest.mark.parametrize("sizes", [N_EQUALS_M, SQUARE, CUBE, WIDE, IMAGE], ids=str)
def test_right_layers_are_not_accused_and_formulas_are_right(sizes):
    assert check_affine(sizes).status == PASS
    shape, M = sizes
    x, w, b = draw_all([shape, (int(np.prod(shape[1:])), M), (M,)])
    out, cache = affine_forward(x, w, b)
    dout = draw(out.shape, seed=9)
    found = right_gradients(Observed(inputs={"a": x, "c": w, "d": b}, out=out, dout=dout))
    for gradient, right in zip(found.values(), affine_backward(dout, cache), strict=True):
        np.testing.assert_allclose(gradient, right, rtol=1e-12)
    without = right_gradients(Observed(inputs={"a": x, "c": w}, out=out - b, dout=dout))
    assert list(without) == ["a", "c"]
    assert right_gradients(Observed(inputs={"a": x, "c": w, "d": b}, out=out + 1, dout=dout)) == {}


ODD = [
    np.zeros(()),
    np.zeros((0, 2)),
    np.ones((2, 2)),
    np.ones(2),
    np.full((2, 1), 1e308),
    np.ones((2, 2, 1)),
]


def test_odd_arguments_raise_nothing():
    for x, w, b in itertools.product(ODD, repeat=3):
        for out in (None, np.ones((2, 2)), np.ones(())):
            known = {"inputs": {"x": x, "w": w, "b": b}, "out": out, "dout": out}
            right_gradients(Observed(**known))
            for name, value in known["inputs"].items():
                diagnose(Case(value + 1.5, np.ones_like(value), name, **known))
