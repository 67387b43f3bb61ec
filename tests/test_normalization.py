"""Batch and layer normalization, alone and inside a hidden layer."""

import numpy as np
import pytest
import torch
from agreement import assert_close, assert_dtype, assert_equal, assert_layer, assert_true
from conftest import (
    DTYPES,
    Layer,
    assert_agrees_with_torch,
    assert_moved,
    assert_same,
    check_need_dx_false_leaves_out_dx_only,
    draw,
    draw_all,
    every_layer_check,
    layers,
    seeds,
    sizes,
    validation,
)
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional

from cs231n.layer_utils import chain_backward, chain_forward
from cs231n.layers import (
    affine_backward,
    affine_forward,
    batchnorm_backward,
    batchnorm_backward_alt,
    batchnorm_forward,
    layernorm_backward,
    layernorm_forward,
    relu_backward,
    relu_forward,
)

pytestmark = pytest.mark.q2

# Settings are NumPy's float64, which must not raise float32 arrays to float64.
BATCHNORM = Layer(
    batchnorm_forward,
    batchnorm_backward,
    ((5, 3), (3,), (3,)),
    {"mode": "train", "eps": np.float64(1e-3), "momentum": np.float64(0.8)},
)
BATCHNORM_ALT = BATCHNORM._replace(backward=batchnorm_backward_alt)
LAYERNORM = Layer(layernorm_forward, layernorm_backward, ((4, 5), (5,), (5,)), {"eps": np.float64(1e-3)})
AVERAGES = {"running_mean": draw(3, seed=7), "running_var": np.array([0.3, 2.0, 1.7])}
ONE_EXAMPLE = ((1, 3), (3,), (3,))

both_backwards = pytest.mark.parametrize("backward", [batchnorm_backward, batchnorm_backward_alt])
both_modes = pytest.mark.parametrize("mode", ["train", "test"])
both_forwards = pytest.mark.parametrize("forward", [batchnorm_forward, layernorm_forward])
eps_values = st.sampled_from([1e-3, 1e-2, 0.5])  # smaller ones leave nothing of two equal float32 numbers


# What messages say that the forward passes have to do
BATCHNORM_OUT = {
    "train": "It is gamma * (x - mean) / sqrt(var + eps) + beta, with the "
    "mean and biased variance of each feature.",
    "test": "It is gamma * (x - running_mean) / sqrt(running_var + eps) + beta: the minibatch's own mean and "
    "variance are not used.",
}
RUNNING = (
    "In training mode, running = momentum * running + (1 - momentum) * the minibatch's mean or variance."
)


def in_test_mode(layer):
    return layer._replace(param=layer.param | AVERAGES | {"mode": "test"})


def hidden_layer(layer):
    """A chain with this normalization in the middle."""

    def chain_forward_with_normalization(x, w, b, gamma, beta, param):
        affine = affine_forward, affine_backward, w, b
        normalization = layer.forward, layer.backward, gamma, beta, param
        return chain_forward(x, affine, normalization, (relu_forward, relu_backward))

    return Layer(
        chain_forward_with_normalization, chain_backward, ((5, 2, 2), (4, 3), (3,), (3,), (3,)), layer.param
    )


@every_layer_check
@layers(
    batchnorm=BATCHNORM,
    batchnorm_alt=BATCHNORM_ALT,
    batchnorm_one_example=BATCHNORM._replace(shapes=ONE_EXAMPLE),
    batchnorm_alt_one_example=BATCHNORM_ALT._replace(shapes=ONE_EXAMPLE),
    batchnorm_in_test_mode=in_test_mode(BATCHNORM),
    batchnorm_alt_in_test_mode=in_test_mode(BATCHNORM_ALT),
    layernorm=LAYERNORM,
    layernorm_one_example=LAYERNORM._replace(shapes=ONE_EXAMPLE),
    hidden_layer_with_batchnorm=hidden_layer(BATCHNORM),
    hidden_layer_with_layernorm=hidden_layer(LAYERNORM),
)
def test_layer_keeps_the_rules(layer, check):
    check(layer)


def test_batchnorm_on_paper():
    x = np.array([[-3.0], [1.0], [1.0], [1.0]])  # mean 0, variance (9 + 3) / 4 = 3, with eps a root of 2
    bn_param = {"mode": "train", "eps": 1, "momentum": 0.75, "running_mean": [4.0], "running_var": [4.0]}
    arrays, out = (x, np.array([4.0]), np.array([10.0])), [[4], [12], [12], [12]]  # 4 (-3, 1, 1, 1) / 2 + 10
    # dx_hat = (4, 0, 0, 0) has mean 1, and dx_hat * x_hat = (-6, 0, 0, 0) has mean -1.5:
    # dx = 1/2 * ((4, 0, 0, 0) - 1 + 1.5 * (-1.5, 0.5, 0.5, 0.5)) = 1/2 * (0.75, -0.25, -0.25, -0.25)
    grads = [[0.375], [-0.125], [-0.125], [-0.125]], [-1.5], [1]
    for layer in (BATCHNORM, BATCHNORM_ALT):
        layer, dout = layer._replace(param=bn_param), np.array([[1.0], [0.0], [0.0], [0.0]])
        assert_layer(layer, arrays, dout, out, grads, rule=BATCHNORM_OUT["train"])

    batchnorm_forward(*arrays, bn_param)
    # 3/4 * 4 + 1/4 * 0 and 3/4 * 4 + 1/4 * 3; swapped, 1/4 * 4 + 3/4 * 0 and 1/4 * 4 + 3/4 * 3
    assert_moved(batchnorm_forward, bn_param, [3], [3.75], swapped=([1], [3.25]))


def test_batchnorm_in_test_mode_on_paper():
    bn_param = {"mode": "test", "eps": 1, "running_mean": [1.0], "running_var": [3.0]}
    arrays = np.array([[5.0], [1.0]]), np.array([3.0]), np.array([10.0])
    out = [[16], [10]]  # 3 * (5 - 1) / sqrt(3 + 1) + 10; eps is inside the root
    grads = [[6], [3]], [8], [6]  # dout * 3 / 2; 4 * 2 + 2 * 0; 4 + 2
    for layer in (BATCHNORM, BATCHNORM_ALT):
        layer, dout = layer._replace(param=bn_param), np.array([[4.0], [2.0]])
        assert_layer(layer, arrays, dout, out, grads, rule=BATCHNORM_OUT["test"])


def test_layernorm_on_paper():
    x = np.array([[-3.0, 1.0, 1.0, 1.0]])  # mean 0, variance 3, as above but along the row
    gamma, beta = np.array([4.0, 4.0, 6.0, 8.0]), np.array([10.0, 20.0, 30.0, 40.0])
    grads = [[0.375, -0.125, -0.125, -0.125]], [-1.5, 0, 0, 0], [1, 0, 0, 0]
    layer, dout = LAYERNORM._replace(param={"eps": 1}), np.array([[1.0, 0.0, 0.0, 0.0]])
    assert_layer(layer, (x, gamma, beta), dout, [[4, 22, 33, 44]], grads)


@both_modes
@both_backwards
@pytest.mark.parametrize("dtype", DTYPES)
@given(st.integers(2, 6), sizes, st.floats(0.1, 0.9), eps_values, seeds)
def test_batchnorm_agrees_with_torch(dtype, backward, mode, N, D, momentum, eps, seed):
    arrays = draw_all([(N, D), D, D], dtype, seed)
    dout, mean, root_var = draw_all([(N, D), D, D], dtype, (seed, 1))
    var = root_var**2
    bn_param = {"mode": mode, "eps": eps, "momentum": momentum, "running_mean": mean, "running_var": var}
    torch_mean, torch_var = torch.tensor(mean), torch.tensor(var)

    def in_torch(x, gamma, beta):  # torch's momentum is the weight of the new, not of the old
        return functional.batch_norm(
            x, torch_mean, torch_var, gamma, beta, mode == "train", 1 - momentum, eps
        )

    layer = BATCHNORM._replace(backward=backward, param=bn_param)
    assert_agrees_with_torch(layer, in_torch, arrays, dout, dtype, BATCHNORM_OUT[mode])
    batchnorm_forward(*arrays, bn_param)
    name = "bn_param['running_{}'] after batchnorm_forward" + layer.mode
    assert_same(bn_param["running_mean"], torch_mean.numpy(), dtype, name.format("mean"), RUNNING)
    if mode == "train":  # torch's sample variance is the unbiased one, ours the biased one
        sample_part = torch_var.numpy() - momentum * var
        expected = momentum * var + sample_part * (N - 1) / N
        assert_same(bn_param["running_var"], expected, dtype, name.format("var"), RUNNING)


@pytest.mark.parametrize("dtype", DTYPES)
@given(sizes, st.integers(2, 6), eps_values, seeds)
def test_layernorm_agrees_with_torch(dtype, N, D, eps, seed):
    arrays = draw_all([(N, D), D, D], dtype, seed)
    dout = draw((N, D), dtype, seed)

    def in_torch(x, gamma, beta):
        return functional.layer_norm(x, (D,), gamma, beta, eps)

    assert_agrees_with_torch(LAYERNORM._replace(param={"eps": eps}), in_torch, arrays, dout, dtype)


@both_modes
@given(st.integers(2, 50), sizes, seeds)
def test_both_backwards_of_batchnorm_agree(mode, N, D, seed):
    arrays = draw_all([(N, D), D, D], seed=seed)
    _, cache = batchnorm_forward(*arrays, {"mode": mode})
    dout = draw((N, D), seed=seed)
    grads = zip(batchnorm_backward_alt(dout, cache), batchnorm_backward(dout, cache), strict=True)
    for name, (grad, expected) in zip(("dx", "dgamma", "dbeta"), grads, strict=True):
        what, says = f"batchnorm_backward_alt {name}", "is not that of batchnorm_backward"
        rule = "What is expected here is that of batchnorm_backward. One of the two is wrong."
        assert_close(what, grad, expected, rule, rtol=1e-6, atol=1e-6 * np.abs(dout).max(), says=says)


@pytest.mark.parametrize("forward, axis", [(batchnorm_forward, 0), (layernorm_forward, 1)])
def test_output_has_mean_beta_and_deviation_gamma(forward, axis):
    x = 5 + 3 * draw((200, 200))
    out, _ = forward(x, np.full(200, 0.7), np.full(200, -4.0), {"mode": "train"})
    name, over = forward.__name__, ("feature", "example")[axis]
    assert_close(f"{name} out's mean", out.mean(axis), -4, f"Each {over}'s mean has to be beta.")
    rule = f"Each {over}'s standard deviation has to be gamma."
    assert_close(f"{name} out's standard deviation", out.std(axis), 0.7, rule, rtol=1e-5)


@given(seeds, st.floats(0.5, 20), st.floats(-20, 20))
def test_layernorm_ignores_the_scale_and_the_shift_of_an_example(seed, scale, shift):
    x, gamma, beta = draw_all([(3, 8), 8, 8], seed=seed)
    out, expected = (
        layernorm_forward(rows, gamma, beta, {"eps": 1e-12})[0] for rows in (scale * x + shift, x)
    )
    rule = "It has to stay the same if an example is scaled and shifted."
    assert_close("layernorm_forward out", out, expected, rule, rtol=1e-6, atol=1e-6)


@given(seeds, st.floats(0.5, 20), st.floats(-20, 20))
def test_batchnorm_ignores_the_scale_and_the_shift_of_a_feature(seed, scale, shift):
    x, gamma, beta = draw_all([(8, 3), 3, 3], seed=seed)
    param = {"mode": "train", "eps": 1e-12}
    out, expected = (batchnorm_forward(rows, gamma, beta, param)[0] for rows in (scale * x + shift, x))
    rule = "It has to stay the same if a feature is scaled and shifted."
    assert_close("batchnorm_forward out in training mode", out, expected, rule, rtol=1e-6, atol=1e-6)


def test_an_example_depends_on_its_minibatch_in_batchnorm_only():
    x, gamma, beta = draw_all([(4, 3), 3, 3])
    alone = x[:1]
    for forward, is_same in ((layernorm_forward, True), (batchnorm_forward, False)):
        out, out_alone = (forward(rows, gamma, beta, {"mode": "train"})[0] for rows in (x, alone))
        rule = "In layer normalization, and not in batch normalization, an example is normalized by itself."
        headline = f"{forward.__name__} normalizes over the wrong axis"
        assert_true(np.allclose(out[:1], out_alone) == is_same, headline, rule)


def test_layernorm_is_the_same_in_training_and_test():
    arrays = draw_all(LAYERNORM.shapes)
    outs = [layernorm_forward(*arrays, {"mode": mode})[0] for mode in ("train", "test")]
    assert_equal("layernorm_forward out", *outs, "It has to be the same in training and in test mode.")


@both_forwards
def test_eps_is_1e_5_where_it_is_not_given(forward):
    arrays = draw_all([(4, 3), 3, 3])
    arrays[0] *= 1e-3  # a variance of the size of eps
    default, explicit, other = (
        forward(*arrays, {"mode": "train"} | eps)[0] for eps in ({}, {"eps": 1e-5}, {"eps": 1e-6})
    )
    assert_equal(f"{forward.__name__} out without eps", default, explicit, "The default of eps is 1e-5.")
    assert_true(not np.allclose(default, other), f"{forward.__name__} ignores eps")


def test_running_averages_start_at_zero_and_move_with_momentum_0_9():
    x, gamma, beta = draw_all([(6, 3), 3, 3])
    bn_param = {"mode": "train"}
    for weight in (0.1, 0.19):  # 1 - 0.9, 1 - 0.9^2
        batchnorm_forward(x, gamma, beta, bn_param)
        assert_moved(batchnorm_forward, bn_param, weight * x.mean(axis=0), weight * x.var(axis=0))


def test_running_averages_rest_in_test_mode():
    x, gamma, beta = draw_all([(6, 3), 3, 3])
    bn_param = {"mode": "test"} | {name: average.copy() for name, average in AVERAGES.items()}
    batchnorm_forward(x, gamma, beta, bn_param)
    for name, average in AVERAGES.items():
        what, rule = f"bn_param['{name}'] after batchnorm_forward", "In test mode it stays as it was."
        assert_equal(what, bn_param[name], average, rule)


def test_test_mode_without_running_averages_takes_zeros():
    x, gamma, beta = draw_all([(6, 3), 3, 3])
    zeros = {"mode": "test", "running_mean": np.zeros(3), "running_var": np.zeros(3)}
    expected, _ = batchnorm_forward(x, gamma, beta, zeros)
    out, _ = batchnorm_forward(x, gamma, beta, {"mode": "test"})
    rule = "Running averages that bn_param lacks are zeros."
    assert_equal("batchnorm_forward out in test mode", out, expected, rule)
    formula = gamma * x / np.sqrt(1e-5) + beta
    assert_close("batchnorm_forward out in test mode", expected, formula, BATCHNORM_OUT["test"])


def test_test_mode_with_the_averages_of_one_minibatch_repeats_training():
    arrays = draw_all(BATCHNORM.shapes)
    bn_param = {"mode": "train", "momentum": 0}
    out, _ = batchnorm_forward(*arrays, bn_param)
    tested, _ = batchnorm_forward(*arrays, bn_param | {"mode": "test"})
    rule = "With the minibatch's own averages as running averages (momentum 0) it is that of training mode."
    assert_close("batchnorm_forward out in test mode", tested, out, rule, says="does not repeat training")


@pytest.mark.parametrize("dtype", DTYPES)
def test_running_averages_have_the_dtype_of_x(dtype):
    arrays = draw_all(BATCHNORM.shapes, dtype)
    for averages in ({}, AVERAGES):
        bn_param = BATCHNORM.param | averages
        batchnorm_forward(*arrays, bn_param)
        for name in AVERAGES:
            assert_dtype(f"bn_param['{name}'] after batchnorm_forward", bn_param[name], dtype)


@pytest.mark.parametrize("dtype", DTYPES)
def test_features_that_never_vary_become_beta(dtype):
    x = np.full((4, 3), 0.1, dtype)
    _, gamma, beta = draw_all([(), 3, 3], dtype)
    for forward in (batchnorm_forward, layernorm_forward):
        out, _ = forward(x, gamma, beta, {"mode": "train"})
        rule = "Where x does not vary, x_hat is 0 and what is left is beta."
        assert_same(out, np.broadcast_to(beta, x.shape), dtype, f"{forward.__name__} out", rule)


@pytest.mark.parametrize("layer", [BATCHNORM, LAYERNORM], ids=["batchnorm", "layernorm"])
def test_a_chain_runs_its_layers_in_order(layer):
    hidden = hidden_layer(layer)
    (x, w, b, gamma, beta), _ = hidden.draw()
    out, _ = hidden(x, w, b, gamma, beta)
    expected, _ = layer.forward(x.reshape(len(x), -1) @ w + b, gamma, beta, dict(layer.param))
    np.testing.assert_allclose(out, np.maximum(expected, 0))


def test_a_chain_can_leave_out_dx():
    hidden = hidden_layer(BATCHNORM)
    check_need_dx_false_leaves_out_dx_only(hidden)


@validation
@both_forwards
@pytest.mark.parametrize(
    "x, gamma, beta, message",
    [
        ((4, 3, 2), (3,), (3,), r"x must have the axes \(N, D\); got the shape \(4, 3, 2\)"),
        ((3,), (3,), (3,), r"x must have the axes \(N, D\); got the shape \(3,\)"),
        ((0, 3), (3,), (3,), r"x must not be empty; got the shape \(0, 3\)"),
        ((4, 3), (4,), (3,), r"gamma must have shape \(3,\) \(one scale per feature of x\); got \(4,\)"),
        ((4, 3), (3,), (1,), r"beta must have shape \(3,\) \(one shift per feature of x\); got \(1,\)"),
        ((4, 3), (1, 3), (3,), r"gamma must have shape \(3,\).*got \(1, 3\)"),
    ],
)
def test_shapes_that_do_not_fit_are_refused(forward, x, gamma, beta, message):
    with pytest.raises(ValueError, match=message):
        forward(*draw_all([x, gamma, beta]), {"mode": "train"})


@validation
@pytest.mark.parametrize(
    "settings, message",
    [
        ({}, r"bn_param\['mode'\] must be 'train' or 'test'; got None"),
        ({"mode": "Train"}, r"bn_param\['mode'\] must be 'train' or 'test'; got 'Train'"),
        ({"mode": "train", "eps": -1e-5}, r"bn_param\['eps'\] must be in \[0, 1\]; got -1e-05"),
        ({"mode": "train", "momentum": 1.1}, r"bn_param\['momentum'\] must be in \[0, 1\]; got 1.1"),
        ({"mode": "train", "momentum": np.nan}, r"bn_param\['momentum'\] must be in .*; got nan"),
        ({"mode": "test", "running_mean": np.zeros(4)}, r"bn_param\['running_mean'\] must have shape \(3,\)"),
        (
            {"mode": "train", "running_var": np.ones((1, 3))},
            r"bn_param\['running_var'\] must have shape \(3,\)",
        ),
    ],
)
def test_batchnorm_settings_that_do_not_fit_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        batchnorm_forward(*draw_all(BATCHNORM.shapes), settings)


@validation
def test_a_refused_call_leaves_bn_param_as_it_was():
    bn_param = {"mode": "train"}
    with pytest.raises(ValueError, match="beta"):
        batchnorm_forward(*draw_all([(4, 3), 3, 4]), bn_param)
    assert bn_param == {"mode": "train"}


@validation
def test_layernorm_refuses_a_negative_eps():
    with pytest.raises(ValueError, match=r"ln_param\['eps'\] must be in \[0, 1\]; got -1"):
        layernorm_forward(*draw_all(LAYERNORM.shapes), {"eps": -1})
