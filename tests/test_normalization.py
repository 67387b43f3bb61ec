"""Batch and layer normalization, alone and inside a hidden layer."""

import numpy as np
import pytest
import torch
from conftest import (
    DTYPES,
    Layer,
    assert_same,
    draw,
    draw_all,
    every_layer_check,
    layers,
    seeds,
    sizes,
    torch_gradients,
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


def in_test_mode(layer):
    return layer._replace(param=layer.param | AVERAGES | {"mode": "test"})


def hidden_layer(layer):
    """A chain with this normalization in the middle."""

    def forward(x, w, b, gamma, beta, param):
        affine = affine_forward, affine_backward, w, b
        normalization = layer.forward, layer.backward, gamma, beta, param
        return chain_forward(x, affine, normalization, (relu_forward, relu_backward))

    return Layer(forward, chain_backward, ((5, 2, 2), (4, 3), (3,), (3,), (3,)), layer.param)


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
    out, cache = batchnorm_forward(x, np.array([4.0]), np.array([10.0]), bn_param)
    np.testing.assert_allclose(out, [[4], [12], [12], [12]])  # 4 * (-3, 1, 1, 1) / 2 + 10
    np.testing.assert_allclose(bn_param["running_mean"], [3])  # 3/4 * 4 + 1/4 * 0
    np.testing.assert_allclose(bn_param["running_var"], [3.75])  # 3/4 * 4 + 1/4 * 3

    # dx_hat = (4, 0, 0, 0) has mean 1, and dx_hat * x_hat = (-6, 0, 0, 0) has mean -1.5:
    # dx = 1/2 * ((4, 0, 0, 0) - 1 + 1.5 * (-1.5, 0.5, 0.5, 0.5)) = 1/2 * (0.75, -0.25, -0.25, -0.25)
    for backward in (batchnorm_backward, batchnorm_backward_alt):
        dx, dgamma, dbeta = backward(np.array([[1.0], [0.0], [0.0], [0.0]]), cache)
        np.testing.assert_allclose(dx, [[0.375], [-0.125], [-0.125], [-0.125]])
        np.testing.assert_allclose(dgamma, [-1.5])
        np.testing.assert_allclose(dbeta, [1])


def test_batchnorm_in_test_mode_on_paper():
    bn_param = {"mode": "test", "eps": 1, "running_mean": [1.0], "running_var": [3.0]}
    out, cache = batchnorm_forward(np.array([[5.0], [1.0]]), np.array([3.0]), np.array([10.0]), bn_param)
    np.testing.assert_allclose(out, [[16], [10]])  # 3 * (5 - 1) / sqrt(3 + 1) + 10; eps is inside the root
    for backward in (batchnorm_backward, batchnorm_backward_alt):
        dx, dgamma, dbeta = backward(np.array([[4.0], [2.0]]), cache)
        np.testing.assert_allclose(dx, [[6], [3]])  # dout * 3 / 2
        np.testing.assert_allclose(dgamma, [8])  # 4 * 2 + 2 * 0
        np.testing.assert_allclose(dbeta, [6])


def test_layernorm_on_paper():
    x = np.array([[-3.0, 1.0, 1.0, 1.0]])  # mean 0, variance 3, as above but along the row
    gamma, beta = np.array([4.0, 4.0, 6.0, 8.0]), np.array([10.0, 20.0, 30.0, 40.0])
    out, cache = layernorm_forward(x, gamma, beta, {"eps": 1})
    np.testing.assert_allclose(out, [[4, 22, 33, 44]])
    dx, dgamma, dbeta = layernorm_backward(np.array([[1.0, 0.0, 0.0, 0.0]]), cache)
    np.testing.assert_allclose(dx, [[0.375, -0.125, -0.125, -0.125]])
    np.testing.assert_allclose(dgamma, [-1.5, 0, 0, 0])
    np.testing.assert_allclose(dbeta, [1, 0, 0, 0])


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

    out, cache = batchnorm_forward(*arrays, bn_param)
    expected_out, expected_grads = torch_gradients(in_torch, arrays, dout)
    assert_same(out, expected_out, dtype)
    for grad, expected in zip(backward(dout, cache), expected_grads, strict=True):
        assert_same(grad, expected, dtype)
    assert_same(bn_param["running_mean"], torch_mean.numpy(), dtype)
    if mode == "train":  # torch's sample variance is the unbiased one, ours the biased one
        sample_part = torch_var.numpy() - momentum * var
        assert_same(bn_param["running_var"], momentum * var + sample_part * (N - 1) / N, dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@given(sizes, st.integers(2, 6), eps_values, seeds)
def test_layernorm_agrees_with_torch(dtype, N, D, eps, seed):
    arrays = draw_all([(N, D), D, D], dtype, seed)
    dout = draw((N, D), dtype, seed)
    out, cache = layernorm_forward(*arrays, {"eps": eps})
    expected_out, expected_grads = torch_gradients(
        lambda x, gamma, beta: functional.layer_norm(x, (D,), gamma, beta, eps), arrays, dout
    )
    assert_same(out, expected_out, dtype)
    for grad, expected in zip(layernorm_backward(dout, cache), expected_grads, strict=True):
        assert_same(grad, expected, dtype)


@both_modes
@given(st.integers(2, 50), sizes, seeds)
def test_both_backwards_of_batchnorm_agree(mode, N, D, seed):
    arrays = draw_all([(N, D), D, D], seed=seed)
    _, cache = batchnorm_forward(*arrays, {"mode": mode})
    dout = draw((N, D), seed=seed)
    for grad, expected in zip(
        batchnorm_backward_alt(dout, cache), batchnorm_backward(dout, cache), strict=True
    ):
        np.testing.assert_allclose(grad, expected, rtol=1e-6, atol=1e-6 * np.abs(dout).max())


@pytest.mark.parametrize("forward, axis", [(batchnorm_forward, 0), (layernorm_forward, 1)])
def test_output_has_mean_beta_and_deviation_gamma(forward, axis):
    x = 5 + 3 * draw((200, 200))
    out, _ = forward(x, np.full(200, 0.7), np.full(200, -4.0), {"mode": "train"})
    np.testing.assert_allclose(out.mean(axis), -4)
    np.testing.assert_allclose(out.std(axis), 0.7, rtol=1e-5)


@given(seeds, st.floats(0.5, 20), st.floats(-20, 20))
def test_layernorm_ignores_the_scale_and_the_shift_of_an_example(seed, scale, shift):
    x, gamma, beta = draw_all([(3, 8), 8, 8], seed=seed)
    param = {"eps": 1e-12}
    np.testing.assert_allclose(
        layernorm_forward(scale * x + shift, gamma, beta, param)[0],
        layernorm_forward(x, gamma, beta, param)[0],
        rtol=1e-6,
        atol=1e-6,
    )


@given(seeds, st.floats(0.5, 20), st.floats(-20, 20))
def test_batchnorm_ignores_the_scale_and_the_shift_of_a_feature(seed, scale, shift):
    x, gamma, beta = draw_all([(8, 3), 3, 3], seed=seed)
    param = {"mode": "train", "eps": 1e-12}
    np.testing.assert_allclose(
        batchnorm_forward(scale * x + shift, gamma, beta, param)[0],
        batchnorm_forward(x, gamma, beta, param)[0],
        rtol=1e-6,
        atol=1e-6,
    )


def test_an_example_depends_on_its_minibatch_in_batchnorm_only():
    x, gamma, beta = draw_all([(4, 3), 3, 3])
    alone = x[:1]
    for forward, is_same in ((layernorm_forward, True), (batchnorm_forward, False)):
        out, out_alone = (forward(rows, gamma, beta, {"mode": "train"})[0] for rows in (x, alone))
        assert np.allclose(out[:1], out_alone) == is_same


def test_layernorm_is_the_same_in_training_and_test():
    arrays = draw_all(LAYERNORM.shapes)
    outs = [layernorm_forward(*arrays, {"mode": mode})[0] for mode in ("train", "test")]
    np.testing.assert_array_equal(*outs)


@both_forwards
def test_eps_is_1e_5_where_it_is_not_given(forward):
    arrays = draw_all([(4, 3), 3, 3])
    arrays[0] *= 1e-3  # a variance of the size of eps
    default, explicit, other = (
        forward(*arrays, {"mode": "train"} | eps)[0] for eps in ({}, {"eps": 1e-5}, {"eps": 1e-6})
    )
    np.testing.assert_array_equal(default, explicit)
    assert not np.allclose(default, other)


def test_running_averages_start_at_zero_and_move_with_momentum_0_9():
    x, gamma, beta = draw_all([(6, 3), 3, 3])
    bn_param = {"mode": "train"}
    for weight in (0.1, 0.19):  # 1 - 0.9, 1 - 0.9^2
        batchnorm_forward(x, gamma, beta, bn_param)
        np.testing.assert_allclose(bn_param["running_mean"], weight * x.mean(axis=0))
        np.testing.assert_allclose(bn_param["running_var"], weight * x.var(axis=0))


def test_running_averages_rest_in_test_mode():
    x, gamma, beta = draw_all([(6, 3), 3, 3])
    bn_param = {"mode": "test"} | {name: average.copy() for name, average in AVERAGES.items()}
    batchnorm_forward(x, gamma, beta, bn_param)
    for name, average in AVERAGES.items():
        np.testing.assert_array_equal(bn_param[name], average)


def test_test_mode_without_running_averages_takes_zeros():
    x, gamma, beta = draw_all([(6, 3), 3, 3])
    zeros = {"mode": "test", "running_mean": np.zeros(3), "running_var": np.zeros(3)}
    expected, _ = batchnorm_forward(x, gamma, beta, zeros)
    np.testing.assert_array_equal(batchnorm_forward(x, gamma, beta, {"mode": "test"})[0], expected)
    np.testing.assert_allclose(expected, gamma * x / np.sqrt(1e-5) + beta)


def test_test_mode_with_the_averages_of_one_minibatch_repeats_training():
    arrays = draw_all(BATCHNORM.shapes)
    bn_param = {"mode": "train", "momentum": 0}
    out, _ = batchnorm_forward(*arrays, bn_param)
    np.testing.assert_allclose(batchnorm_forward(*arrays, bn_param | {"mode": "test"})[0], out)


@pytest.mark.parametrize("dtype", DTYPES)
def test_running_averages_have_the_dtype_of_x(dtype):
    arrays = draw_all(BATCHNORM.shapes, dtype)
    for averages in ({}, AVERAGES):
        bn_param = BATCHNORM.param | averages
        batchnorm_forward(*arrays, bn_param)
        assert bn_param["running_mean"].dtype == bn_param["running_var"].dtype == dtype


@pytest.mark.parametrize("dtype", DTYPES)
def test_features_that_never_vary_become_beta(dtype):
    x = np.full((4, 3), 0.1, dtype)
    _, gamma, beta = draw_all([(), 3, 3], dtype)
    for forward in (batchnorm_forward, layernorm_forward):
        assert_same(forward(x, gamma, beta, {"mode": "train"})[0], np.broadcast_to(beta, x.shape), dtype)


@pytest.mark.parametrize("layer", [BATCHNORM, LAYERNORM], ids=["batchnorm", "layernorm"])
def test_a_chain_runs_its_layers_in_order(layer):
    hidden = hidden_layer(layer)
    (x, w, b, gamma, beta), _ = hidden.draw()
    out, _ = hidden(x, w, b, gamma, beta)
    expected, _ = layer.forward(x.reshape(len(x), -1) @ w + b, gamma, beta, dict(layer.param))
    np.testing.assert_allclose(out, np.maximum(expected, 0))


def test_a_chain_can_leave_out_dx():
    hidden = hidden_layer(BATCHNORM)
    arrays, dout = hidden.draw()
    _, cache = hidden(*arrays)
    dx, *grads = chain_backward(dout, cache, need_dx=False)
    assert dx is None
    for grad, expected in zip(grads, chain_backward(dout, cache)[1:], strict=True):
        np.testing.assert_array_equal(grad, expected)


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


def test_a_refused_call_leaves_bn_param_as_it_was():
    bn_param = {"mode": "train"}
    with pytest.raises(ValueError, match="beta"):
        batchnorm_forward(*draw_all([(4, 3), 3, 4]), bn_param)
    assert bn_param == {"mode": "train"}


def test_layernorm_refuses_a_negative_eps():
    with pytest.raises(ValueError, match=r"ln_param\['eps'\] must be in \[0, 1\]; got -1"):
        layernorm_forward(*draw_all(LAYERNORM.shapes), {"eps": -1})
