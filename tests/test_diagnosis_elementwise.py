"""Mistakes in ReLU and dropout: the diagnosis names them by the mask that the output shows."""

import numpy as np
import pytest
from broken_layers import about, named_first, title_of
from conftest import draw

from cs231n.gradcheck.check import FAIL, check_layer
from cs231n.gradcheck.diagnosis import Case, Mistake, Observed, diagnose, right_gradients
from cs231n.layers import dropout_backward, dropout_forward, relu_backward, relu_forward

pytestmark = pytest.mark.q1

SHAPES = [(6, 9), (5, 5), (4, 3, 5), (40,)]


def check_relu(backward, shape, forward=relu_forward):
    return check_layer(forward, backward, {"x": draw(shape, seed=2)})


RELU = {
    "no-mask": (Mistake.NO_MASK, lambda dout, x: dout),
    "at-least-0": (Mistake.NO_MASK, lambda dout, x: dout * (np.maximum(x, 0) >= 0)),
    "leaky": (Mistake.LEAKY, lambda dout, x: np.where(x > 0, dout, 0.1 * dout)),
    "sign-of-x": (Mistake.LEAKY, lambda dout, x: dout * np.sign(x)),
    "reversed": (Mistake.MASK_INVERTED, lambda dout, x: dout * (x < 0)),
    "of-dout": (Mistake.MASK_OF_DOUT, lambda dout, x: np.maximum(dout, 0)),
    "of-both": (Mistake.MASK_OF_BOTH, lambda dout, x: np.maximum(dout, 0) * (x > 0)),
    "no-dout": (Mistake.NO_DOUT, lambda dout, x: (x > 0) * 1.0),
    "out": (Mistake.OUTPUT_RETURNED, lambda dout, x: np.maximum(x, 0)),
    "x": (Mistake.INPUT_RETURNED, lambda dout, x: x),
    "times-x": (Mistake.MASK_HOLDS_X, lambda dout, x: dout * np.maximum(x, 0)),
    "times-all-x": (Mistake.MASK_HOLDS_X, lambda dout, x: dout * x),
    "other": (Mistake.ANOTHER_MASK, lambda dout, x: dout * (x < 0)[::-1]),
    "zero": (Mistake.ZERO, lambda dout, x: 0 * dout),
    "sign": (Mistake.SIGN, lambda dout, x: -dout * (x > 0)),
    "negative-only": (Mistake.WRONG_WHERE_NEGATIVE, lambda dout, x: dout * np.where(x > 0, 1, np.exp(x))),
}


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("name", RELU)
def test_a_mistake_in_relu_is_named_first(name, shape):
    mistake, backward = RELU[name]
    report = check_relu(backward, shape)
    assert report.status == FAIL
    assert [cause.title for cause in report.all_causes()] == [title_of(mistake)], str(report)


def test_kinks_of_relu_hide_no_mistake():
    x = draw((6, 5))
    x[0, :2] = 0
    report = check_layer(relu_forward, lambda dout, x: dout, {"x": x})
    assert [cause.title for cause in report.all_causes()] == [title_of(Mistake.NO_MASK)]


def test_the_slope_of_a_leaky_relu_is_printed():
    (cause,) = check_relu(lambda dout, x: np.where(x > 0, dout, 0.01 * dout), (6, 9)).all_causes()
    assert cause.evidence == "the slope there is 0.01"


# ---------------------------------------------------------------------------------------------------------
# Dropout
# ---------------------------------------------------------------------------------------------------------


def dropout(backward, p, shape, settings, forward=dropout_forward, mode="train", seed=5):
    """Check a dropout: backward is a function of (dout, x, the 0-1 mask, p)."""
    param = {"mode": mode, "p": p, "seed": seed}
    kept = np.random.RandomState(seed).rand(*shape) < p

    def run(x):
        return forward(x, param)[0], x

    def back(dout, x):
        return backward(dout, x, kept, p)

    return check_layer(run, back, {"x": draw(shape, seed=2)}, settings=param if settings else None)


def new_mask(dout, x, kept, p):
    return dout * (np.random.RandomState(77).rand(*x.shape) < p) / p


DROPOUT = {
    "no-mask": (Mistake.NO_MASK, lambda dout, x, kept, p: dout),
    "no-mask-divided": (Mistake.MASK_NOT_APPLIED, lambda dout, x, kept, p: dout / p),
    "new-mask": (Mistake.ANOTHER_MASK, new_mask),
    "mask-moved": (Mistake.ANOTHER_MASK, lambda dout, x, kept, p: dout * np.roll(kept, 1) / p),
    "inverted": (Mistake.MASK_INVERTED, lambda dout, x, kept, p: dout * ~kept / p),
    "inverted-not-divided": (Mistake.MASK_INVERTED, lambda dout, x, kept, p: dout * ~kept),
    "twice": (Mistake.DIVIDED_BY_P_TWICE, lambda dout, x, kept, p: dout * kept / p**2),
    "not-divided": (Mistake.NO_DIVISION_BY_P, lambda dout, x, kept, p: dout * kept),
    "one-minus-p": (Mistake.ONE_MINUS_P, lambda dout, x, kept, p: dout * kept / (1 - p)),
    "multiplied": (Mistake.MULTIPLIED_BY_P, lambda dout, x, kept, p: dout * kept * p),
    "no-dout": (Mistake.NO_DOUT, lambda dout, x, kept, p: kept / p),
    "no-dout-not-divided": (Mistake.NO_DOUT, lambda dout, x, kept, p: kept * 1.0),
    "mask-of-x": (Mistake.MASK_HOLDS_X, lambda dout, x, kept, p: dout * x * kept / p),
    "mask-of-x-not-divided": (Mistake.MASK_HOLDS_X, lambda dout, x, kept, p: dout * x * kept),
    "out": (Mistake.OUTPUT_RETURNED, lambda dout, x, kept, p: x * kept / p),
    "mask-of-dout": (Mistake.MASK_OF_DOUT, lambda dout, x, kept, p: dout * (dout > 0) / p),
    "sign": (Mistake.SIGN, lambda dout, x, kept, p: -dout * kept / p),
    "zero": (Mistake.ZERO, lambda dout, x, kept, p: 0 * dout),
}


@pytest.mark.parametrize("settings", [True, False], ids=["settings", "no-settings"])
@pytest.mark.parametrize("p", [0.3, 0.6, 0.85])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("name", DROPOUT)
def test_a_mistake_in_dropout_is_named_first(name, shape, p, settings):
    mistake, backward = DROPOUT[name]
    report = dropout(backward, p, shape, settings)
    assert report.status == FAIL
    assert [cause.title for cause in report.all_causes()] == [title_of(mistake)], str(report)


def masked(dout, x, kept, p):
    return dout * kept / p


def unmasked(dout, x, kept, p):
    return dout


@pytest.mark.parametrize("settings", [True, False], ids=["settings", "no-settings"])
@pytest.mark.parametrize("backward", [masked, lambda dout, x, kept, p: dout * kept])
def test_test_mode_that_is_treated_as_training_is_named(backward, settings):
    report = dropout(backward, 0.6, (6, 9), settings, mode="test")
    assert [cause.title for cause in report.all_causes()] == [title_of(Mistake.MASK_WITHOUT_FORWARD)]


@pytest.mark.parametrize("scale", [lambda dout, p: dout * p, lambda dout, p: dout / p])
def test_a_scale_in_test_mode_is_named(scale):
    report = dropout(lambda dout, x, kept, p: scale(dout, p), 0.6, (6, 9), True, mode="test")
    assert [cause.title for cause in report.all_causes()] == [title_of(Mistake.SCALED_WITHOUT_FORWARD)]


def vanilla(x, param):
    """Dropout that scales in test mode, and not in training."""
    if param["mode"] == "test":
        return x * param["p"], None
    return x * (np.random.RandomState(param["seed"]).rand(*x.shape) < param["p"]), None


def by_one_minus_p(x, param):
    return x * (np.random.RandomState(param["seed"]).rand(*x.shape) < param["p"]) / (1 - param["p"]), None


def always(x, param):
    return dropout_forward(x, param | {"mode": "train"})


def never(x, param):
    return x.copy(), None


FORWARD = {
    "not-divided": (vanilla, masked, "train", "does not divide by p"),
    "one-minus-p": (by_one_minus_p, masked, "train", "does not scale by 1 / p"),
    "scaled-in-test": (vanilla, unmasked, "test", "scales its input in test mode"),
    "drops-in-test": (always, unmasked, "test", "drops entries in test mode"),
    "never-drops": (never, masked, "train", "drops nothing in training mode"),
}


@pytest.mark.parametrize("name", FORWARD)
def test_settings_show_that_the_forward_pass_is_wrong(name):
    forward, backward, mode, words = FORWARD[name]
    report = dropout(backward, 0.6, (6, 9), True, forward, mode)
    assert [cause.title for cause in report.all_causes()] == [title_of(about(Mistake.FORWARD_WRONG, words))]


# ---------------------------------------------------------------------------------------------------------
# Nothing is accused that is right, or wrong in a way of its own
# ---------------------------------------------------------------------------------------------------------

MESSES = {
    "noise": lambda grad, rng: grad + 0.1 * rng.standard_normal(grad.shape),
    "squares": lambda grad, rng: grad * np.abs(grad),
    "scaled": lambda grad, rng: grad * (1 + rng.random(grad.shape)),
    "some-halved": lambda grad, rng: grad * np.where(rng.random(grad.shape) < 0.5, 0.5, 1),
}


@pytest.mark.parametrize("mess", MESSES)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("settings", [True, False])
def test_unknown_mistakes_have_no_cause(mess, shape, settings):
    def change(grad):
        return MESSES[mess](grad, np.random.default_rng(6))

    reports = [
        check_relu(lambda dout, x: change(dout * (x > 0)), shape),
        dropout(lambda *run: change(masked(*run)), 0.6, shape, settings),
        dropout(lambda *run: change(unmasked(*run)), 0.6, shape, settings, mode="test"),
    ]
    for report in reports:
        assert report.status == FAIL
        assert report.all_causes() == [], str(report)


@pytest.mark.parametrize("settings", [True, False])
@pytest.mark.parametrize("mode", ["train", "test"])
def test_right_layers_are_not_accused(mode, settings):
    backward = masked if mode == "train" else unmasked
    assert dropout(backward, 0.6, (6, 9), settings, mode=mode).status == "PASS"
    assert check_relu(lambda dout, x: relu_backward(dout, x), (6, 9)).status == "PASS"


def test_a_layer_that_multiplies_by_a_number_is_no_dropout():
    """What divides by its sum is x times one number too, but its gradient is another one."""

    def forward(x):
        return x / x.sum(), x

    report = check_layer(forward, lambda dout, x: dout / x.sum(), {"x": np.abs(draw((4, 5)))})
    assert named_first(report) == {"dx": title_of(Mistake.OFF_BY_CONSTANT)}
    x = np.abs(draw((4, 5)))
    assert right_gradients(Observed(inputs={"x": x}, out=x / x.sum(), dout=draw(x.shape))) == {}


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_formulas_give_the_right_gradients(shape):
    x, dout = draw(shape), draw(shape, seed=1)
    out, cache = relu_forward(x)
    found = right_gradients(Observed(inputs={"a": x}, out=out, dout=dout))
    np.testing.assert_array_equal(found["a"], relu_backward(dout, cache))
    for mode in ("train", "test"):
        out, cache = dropout_forward(x, {"mode": mode, "p": 0.7, "seed": 3})
        found = right_gradients(Observed(inputs={"a": x}, out=out, dout=dout, settings={"p": 0.7}))
        np.testing.assert_allclose(found["a"], dropout_backward(dout, cache), rtol=1e-12)


@pytest.mark.parametrize(
    "x", [np.zeros((2, 3)), np.zeros((0, 3)), np.full((2, 2), 1e308), -np.ones(4), np.float64(2.0)]
)
def test_odd_inputs_raise_nothing(x):
    x = np.asarray(x)
    for out in (x, np.maximum(x, 0), 0 * x, None, np.array(1.0)):
        for settings in ({}, {"p": 0.0}, {"p": 1.0}, {"p": "half", "mode": 3}):
            known = {"inputs": {"x": x}, "out": out, "dout": draw(x.shape), "settings": settings}
            for expected in (np.zeros_like(x), np.ones_like(x)):
                diagnose(Case(np.full_like(x, 0.5), expected, "x", **known))
            right_gradients(Observed(**known))
