"""Inverted dropout, alone and in a chain."""

import numpy as np
import pytest
from agreement import assert_equal, assert_layer, assert_true
from conftest import (
    DTYPES,
    Layer,
    check_arguments_are_left_alone,
    draw,
    draw_all,
    every_layer_check,
    layer_checks,
    layers,
    same_in,
    seeds,
    sizes,
    validation,
)
from hypothesis import given
from hypothesis import strategies as st

from cs231n.layer_utils import chain_backward, chain_forward
from cs231n.layers import affine_backward, affine_forward, dropout_backward, dropout_forward

pytestmark = pytest.mark.q3

TRAIN = {"mode": "train", "p": np.float64(0.6), "seed": 3}
GENERATOR = "With a seed, the mask comes from a generator of its own: np.random.RandomState(seed)."
DROPOUT = Layer(dropout_forward, dropout_backward, ((4, 2, 3),), TRAIN)


def affine_dropout(x, w, b, dropout_param):
    affine = affine_forward, affine_backward, w, b
    return chain_forward(x, affine, (dropout_forward, dropout_backward, dropout_param))


@every_layer_check
@layers(
    dropout=DROPOUT,
    dropout_one_example=DROPOUT._replace(shapes=((1, 7),)),
    at_the_end_of_a_chain=Layer(affine_dropout, chain_backward, ((5, 4), (4, 3), (3,)), TRAIN),
)
def test_layer_keeps_the_rules(layer, check):
    check(layer)


@layer_checks(check_arguments_are_left_alone)
def test_test_mode_keeps_the_rules_but_hands_x_through(check):
    check(DROPOUT._replace(param=TRAIN | {"mode": "test"}))


@pytest.mark.parametrize("dtype", DTYPES)
@given(st.lists(sizes, min_size=1, max_size=4), st.floats(0.05, 1), seeds)
def test_the_mask_of_a_seed_is_that_of_random_state(dtype, shape, p, seed):
    x, dout = draw_all([shape, shape], dtype)
    kept = np.random.RandomState(seed).rand(*shape) < p
    layer = DROPOUT._replace(param={"mode": "train", "p": p, "seed": seed})
    out, dx = (np.where(kept, values / dtype(p), 0) for values in (x, dout))
    assert_layer(layer, (x,), dout, out, (dx,), same_in(dtype))


@pytest.mark.parametrize("p", [0.25, 0.4, 0.7, 1])
def test_p_is_the_share_that_is_kept_and_the_mean_stays(p):
    x = 10 + draw((500, 500))
    out, _ = dropout_forward(x, {"mode": "train", "p": p, "seed": 0})
    spread = np.sqrt((1 - p) / p / x.size)  # of the mean of mask / p
    name, share, ratio = DROPOUT.output, (out != 0).mean(), out.mean() / x.mean()
    assert_true(
        abs(share - p) <= 4 * p * spread,
        f"{name} keeps the wrong share of the units",
        f"It keeps {share:.3g} of them, expected {p}: p is the probability to keep a unit.",
    )
    assert_true(
        abs(ratio - 1) <= 4 * spread + 1e-12,
        f"{name} has another mean than x",
        f"Its mean is {ratio:.4g} times that of x, expected 1 (p = {p}): divide what is kept by p.",
    )


def test_on_paper():
    x = np.array([1.0, 2.0, 3.0, 4.0])
    # RandomState(0).rand(4) begins 0.55, 0.72, 0.60, 0.54: at p = 0.6 all but the second and third are kept
    layer = DROPOUT._replace(param={"mode": "train", "p": 0.6, "seed": 0})
    assert_layer(layer, (x,), np.full(4, 3.0), [1 / 0.6, 0, 0, 4 / 0.6], ([5, 0, 0, 5],))


def test_p_1_keeps_everything():
    x = draw((4, 3))
    layer, rule = DROPOUT._replace(param={"mode": "train", "p": 1}), "With p = 1 every unit is kept."
    assert_layer(layer, (x,), x, x, (x,), assert_equal, rule)


@pytest.mark.parametrize("dtype", DTYPES)
def test_test_mode_returns_x(dtype):
    x, dout = draw_all([(4, 3), (4, 3)], dtype)
    layer = DROPOUT._replace(param=TRAIN | {"mode": "test"})
    assert_layer(layer, (x,), dout, x, (dout,), same_in(dtype), "In test mode it returns x itself.")


@pytest.mark.parametrize("mode", ["train", "test"])
def test_a_seed_leaves_the_global_generator_alone(mode):
    np.random.seed(5)
    expected = np.random.rand(3)
    np.random.seed(5)
    dropout_forward(draw((4, 3)), {"mode": mode, "p": 0.5, "seed": 0})
    assert_equal("np.random after dropout_forward with a seed", np.random.rand(3), expected, GENERATOR)


def test_seed_0_is_a_seed():
    outs = [dropout_forward(np.ones(100), {"mode": "train", "p": 0.5, "seed": 0})[0] for _ in range(2)]
    assert_equal(DROPOUT.output, *outs, "With the seed 0, a second call has to draw the same mask.")


@pytest.mark.parametrize("no_seed", [{}, {"seed": None}])
def test_without_a_seed_the_global_generator_draws_the_mask(no_seed):
    x, param = draw((40, 3)), {"mode": "train", "p": 0.5} | no_seed
    np.random.seed(8)
    first, second = (dropout_forward(x, param)[0] for _ in range(2))
    name = DROPOUT.output
    rule = "Without a seed, NumPy's global generator draws the mask: np.random.rand."
    assert_true(not np.array_equal(first, second), f"{name} has the same mask again without a seed", rule)
    assert_equal(name, first, dropout_forward(x, param | {"seed": 8})[0], rule)


def test_dropout_param_is_left_alone():
    param = dict(TRAIN)
    dropout_forward(draw((4, 3)), param)
    assert_true(param == TRAIN, "dropout_forward changes dropout_param")


@validation
@pytest.mark.parametrize(
    "param, message",
    [
        ({"p": 0.5}, r"dropout_param\['mode'\] must be 'train' or 'test'; got None"),
        ({"mode": "eval", "p": 0.5}, r"dropout_param\['mode'\] must be 'train' or 'test'; got 'eval'"),
        ({"mode": "train", "p": 0}, r"dropout_param\['p'\], the probability to keep .* \(0, 1\]; got 0"),
        ({"mode": "train", "p": 1.5}, r"dropout_param\['p'\].* must be in \(0, 1\]; got 1.5"),
        ({"mode": "test", "p": -0.5}, r"dropout_param\['p'\].* must be in \(0, 1\]; got -0.5"),
        ({"mode": "train", "p": np.nan}, r"dropout_param\['p'\].* must be in \(0, 1\]; got nan"),
        ({"mode": "train"}, r"dropout_param\['p'\].* must be in \(0, 1\]; got None"),
    ],
)
def test_settings_that_do_not_fit_are_refused(param, message):
    with pytest.raises(ValueError, match=message):
        dropout_forward(draw((4, 3)), param)
