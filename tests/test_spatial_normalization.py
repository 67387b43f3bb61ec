"""Batch and group normalization of images."""

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

from cs231n.layers import (
    batchnorm_backward,
    batchnorm_forward,
    layernorm_backward,
    layernorm_forward,
    spatial_batchnorm_backward,
    spatial_batchnorm_forward,
    spatial_groupnorm_backward,
    spatial_groupnorm_forward,
)

pytestmark = pytest.mark.q4

AVERAGES = {"running_mean": draw(3, seed=7), "running_var": np.array([0.3, 2.0, 1.7])}
BATCHNORM = Layer(
    spatial_batchnorm_forward,
    spatial_batchnorm_backward,
    ((2, 3, 4, 5), (3,), (3,)),
    {"mode": "train", "eps": np.float64(1e-3), "momentum": np.float64(0.8)},
)

both_modes = pytest.mark.parametrize("mode", ["train", "test"])
eps_values = st.sampled_from([1e-3, 1e-2, 0.5])


def group_layer(G, x=(2, 6, 3, 4), gamma="vector", beta="vector"):
    """Group normalization with gamma and beta of shape (C,) or (1, C, 1, 1)."""
    shapes = {"vector": (x[1],), "image": (1, x[1], 1, 1)}
    return Layer(
        lambda x, gamma, beta, gn_param: spatial_groupnorm_forward(x, gamma, beta, G, gn_param),
        spatial_groupnorm_backward,
        (x, shapes[gamma], shapes[beta]),
        {"eps": np.float64(1e-3)},
    )


@every_layer_check
@layers(
    batchnorm=BATCHNORM,
    batchnorm_in_test_mode=BATCHNORM._replace(param=BATCHNORM.param | AVERAGES | {"mode": "test"}),
    batchnorm_one_image=BATCHNORM._replace(shapes=((1, 3, 2, 3), (3,), (3,))),
    batchnorm_one_channel=BATCHNORM._replace(shapes=((3, 1, 3, 2), (1,), (1,))),
    groupnorm=group_layer(2),
    groupnorm_one_group=group_layer(1),
    groupnorm_a_group_for_every_channel=group_layer(6),
    groupnorm_one_image=group_layer(3, x=(1, 3, 2, 3)),
    groupnorm_gamma_and_beta_like_images=group_layer(3, gamma="image", beta="image"),
    groupnorm_gamma_like_an_image=group_layer(2, gamma="image"),
    groupnorm_beta_like_an_image=group_layer(2, beta="image"),
)
def test_layer_keeps_the_rules(layer, check):
    check(layer)


def test_spatial_batchnorm_on_paper():
    # Channel 0: mean 0, variance (9 + 3) / 4 = 3, with eps a root of 2. Channel 1: twice that, plus 5.
    first = np.array([[[-3.0], [1.0]], [[1.0], [1.0]]])  # (N, H, W) = (2, 2, 1)
    x = np.stack([first, 2 * first + 5], axis=1)
    gamma, beta = np.array([4.0, 1.0]), np.array([10.0, 0.0])
    bn_param = {"mode": "train", "eps": 1, "momentum": 0.75, "running_mean": [4.0, 1.0]}
    out, cache = spatial_batchnorm_forward(x, gamma, beta, bn_param)
    np.testing.assert_allclose(out[:, 0], [[[4], [12]], [[12], [12]]])  # 4 * (-3, 1, 1, 1) / 2 + 10
    np.testing.assert_allclose(out[:, 1], 2 * first / np.sqrt(4 * 3 + 1))
    np.testing.assert_allclose(bn_param["running_mean"], [3, 2])  # 3/4 * (4, 1) + 1/4 * (0, 5)
    np.testing.assert_allclose(bn_param["running_var"], [0.75, 3])  # 1/4 * (3, 12)

    # As for a feature: dx = 1/2 * (4, 0, 0, 0) - 1 + 1.5 * (-1.5, 0.5, 0.5, 0.5)) in channel 0.
    dout = np.zeros(x.shape)
    dout[0, 0, 0, 0] = 1
    dx, dgamma, dbeta = spatial_batchnorm_backward(dout, cache)
    np.testing.assert_allclose(dx[:, 0], [[[0.375], [-0.125]], [[-0.125], [-0.125]]])
    np.testing.assert_array_equal(dx[:, 1], 0)
    np.testing.assert_allclose(dgamma, [-1.5, 0])
    np.testing.assert_allclose(dbeta, [1, 0])


def test_spatial_batchnorm_in_test_mode_on_paper():
    bn_param = {"mode": "test", "eps": 1, "running_mean": [1.0, 0.0], "running_var": [3.0, 8.0]}
    x = np.array([[[[5.0, 1.0]], [[3.0, 6.0]]]])
    out, cache = spatial_batchnorm_forward(x, np.array([3.0, 1.0]), np.array([10.0, 0.0]), bn_param)
    np.testing.assert_allclose(out, [[[[16, 10]], [[1, 2]]]])  # 3 * (5 - 1) / 2 + 10 ...; 3 / 3, 6 / 3
    dx, dgamma, dbeta = spatial_batchnorm_backward(np.array([[[[4.0, 2.0]], [[3.0, 0.0]]]]), cache)
    np.testing.assert_allclose(dx, [[[[6, 3]], [[1, 0]]]])  # dout * 3 / 2; dout / 3
    np.testing.assert_allclose(dgamma, [8, 3])  # 4 * 2 + 2 * 0; 3 * 1
    np.testing.assert_allclose(dbeta, [6, 3])


def test_spatial_groupnorm_on_paper():
    # Groups of two channels, each one row of two pixels: mean 0 and variance 3, then twice that plus 5.
    x = np.array([[[[-3.0, 1.0]], [[1.0, 1.0]], [[-1.0, 7.0]], [[7.0, 7.0]]]])
    gamma, beta = np.array([4.0, 6.0, 1.0, 1.0]), np.array([10.0, 20.0, 0.0, 0.0])
    out, cache = spatial_groupnorm_forward(x, gamma, beta, 2, {"eps": 1})
    np.testing.assert_allclose(out[0, :2], [[[4, 12]], [[23, 23]]])  # (-3, 1) / 2 * 4 + 10; 1 / 2 * 6 + 20
    np.testing.assert_allclose(out[0, 2:], np.array([[[-6, 2]], [[2, 2]]]) / np.sqrt(13))

    dout = np.zeros(x.shape)
    dout[0, 0, 0, 0] = 1
    dx, dgamma, dbeta = spatial_groupnorm_backward(dout, cache)
    np.testing.assert_allclose(dx[0, :2], [[[0.375, -0.125]], [[-0.125, -0.125]]])
    np.testing.assert_array_equal(dx[0, 2:], 0)
    np.testing.assert_allclose(dgamma, [-1.5, 0, 0, 0])
    np.testing.assert_allclose(dbeta, [1, 0, 0, 0])


@both_modes
@pytest.mark.parametrize("dtype", DTYPES)
@given(sizes, sizes, st.integers(2, 5), sizes, st.floats(0.1, 0.9), eps_values, seeds)
def test_spatial_batchnorm_agrees_with_torch(dtype, mode, N, C, H, W, momentum, eps, seed):
    arrays = draw_all([(N, C, H, W), C, C], dtype, seed)
    dout, mean, root_var = draw_all([(N, C, H, W), C, C], dtype, (seed, 1))
    var = root_var**2
    bn_param = {"mode": mode, "eps": eps, "momentum": momentum, "running_mean": mean, "running_var": var}
    torch_mean, torch_var = torch.tensor(mean), torch.tensor(var)

    def in_torch(x, gamma, beta):  # torch's momentum is the weight of the new, not of the old
        return functional.batch_norm(
            x, torch_mean, torch_var, gamma, beta, mode == "train", 1 - momentum, eps
        )

    out, cache = spatial_batchnorm_forward(*arrays, bn_param)
    expected_out, expected_grads = torch_gradients(in_torch, arrays, dout)
    assert_same(out, expected_out, dtype)
    for grad, expected in zip(spatial_batchnorm_backward(dout, cache), expected_grads, strict=True):
        assert_same(grad, expected, dtype)
    assert_same(bn_param["running_mean"], torch_mean.numpy(), dtype)
    if mode == "train":  # torch's sample variance is the unbiased one, ours the biased one
        count = N * H * W
        sample_part = torch_var.numpy() - momentum * var
        assert_same(bn_param["running_var"], momentum * var + sample_part * (count - 1) / count, dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@given(sizes, st.integers(1, 3), st.integers(1, 3), st.integers(2, 5), sizes, eps_values, seeds)
def test_spatial_groupnorm_agrees_with_torch(dtype, N, G, channels_per_group, H, W, eps, seed):
    C = G * channels_per_group
    arrays = draw_all([(N, C, H, W), C, C], dtype, seed)
    dout = draw((N, C, H, W), dtype, seed)
    out, cache = spatial_groupnorm_forward(*arrays, G, {"eps": eps})
    expected_out, expected_grads = torch_gradients(
        lambda x, gamma, beta: functional.group_norm(x, G, gamma, beta, eps), arrays, dout
    )
    assert_same(out, expected_out, dtype)
    for grad, expected in zip(spatial_groupnorm_backward(dout, cache), expected_grads, strict=True):
        assert_same(grad, expected, dtype)


def as_rows(images):
    """Every pixel an example, every channel a feature: (N H W, C)."""
    return images.transpose(0, 2, 3, 1).reshape(-1, images.shape[1])


@both_modes
@given(sizes, sizes, sizes, sizes, seeds)
def test_spatial_batchnorm_is_batchnorm_with_pixels_for_examples(mode, N, C, H, W, seed):
    x, dout, gamma, beta, mean, root_var = draw_all([(N, C, H, W)] * 2 + [C] * 4, seed=seed)
    bn_param = {"mode": mode, "eps": 1e-2, "running_mean": mean, "running_var": root_var**2}
    spatial_param = bn_param.copy()
    out, cache = spatial_batchnorm_forward(x, gamma, beta, spatial_param)
    expected_out, expected_cache = batchnorm_forward(as_rows(x), gamma, beta, bn_param)
    np.testing.assert_allclose(as_rows(out), expected_out, rtol=1e-9, atol=1e-9)
    dx, dgamma, dbeta = spatial_batchnorm_backward(dout, cache)
    expected = batchnorm_backward(as_rows(dout), expected_cache)
    for grad, expected_grad in zip((as_rows(dx), dgamma, dbeta), expected, strict=True):
        np.testing.assert_allclose(grad, expected_grad, rtol=1e-9, atol=1e-9)
    for name in ("running_mean", "running_var"):
        np.testing.assert_allclose(spatial_param[name], bn_param[name])


@given(sizes, sizes, sizes, sizes, seeds)
def test_one_group_is_layernorm_over_the_whole_image(N, C, H, W, seed):
    x, dout, gamma, beta = draw_all([(N, C, H, W)] * 2 + [C] * 2, seed=seed)
    out, cache = spatial_groupnorm_forward(x, gamma, beta, 1, {"eps": 1e-2})
    row_gamma, row_beta = (np.repeat(param, H * W) for param in (gamma, beta))
    expected, layer_cache = layernorm_forward(x.reshape(N, -1), row_gamma, row_beta, {"eps": 1e-2})
    np.testing.assert_allclose(out, expected.reshape(x.shape), rtol=1e-9, atol=1e-9)
    dx, dgamma, dbeta = spatial_groupnorm_backward(dout, cache)
    row_dx, row_dgamma, row_dbeta = layernorm_backward(dout.reshape(N, -1), layer_cache)
    np.testing.assert_allclose(dx, row_dx.reshape(x.shape), rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(dgamma, row_dgamma.reshape(C, -1).sum(axis=1), rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(dbeta, row_dbeta.reshape(C, -1).sum(axis=1), rtol=1e-9, atol=1e-9)


def test_a_group_for_every_channel_normalizes_each_by_itself():
    x, gamma, beta = draw_all([(2, 3, 4, 5), 3, 3])
    out, _ = spatial_groupnorm_forward(x, gamma, beta, 3, {"eps": 1e-2})
    for n, c in np.ndindex(2, 3):
        plane = x[n, c]
        expected = gamma[c] * (plane - plane.mean()) / np.sqrt(plane.var() + 1e-2) + beta[c]
        np.testing.assert_allclose(out[n, c], expected)


@given(seeds, st.floats(0.5, 20), st.floats(-20, 20))
def test_groupnorm_ignores_the_scale_and_the_shift_of_a_group(seed, scale, shift):
    x, gamma, beta = draw_all([(2, 4, 3, 3), 4, 4], seed=seed)
    moved = x.copy()
    moved[1, 2:] = scale * x[1, 2:] + shift
    outs = [spatial_groupnorm_forward(images, gamma, beta, 2, {"eps": 1e-12})[0] for images in (x, moved)]
    np.testing.assert_allclose(*outs, rtol=1e-6, atol=1e-6)


@given(seeds, st.floats(0.5, 20), st.floats(-20, 20))
def test_spatial_batchnorm_ignores_the_scale_and_the_shift_of_a_channel(seed, scale, shift):
    x, gamma, beta = draw_all([(2, 3, 3, 4), 3, 3], seed=seed)
    moved = x.copy()
    moved[:, 1] = scale * x[:, 1] + shift
    param = {"mode": "train", "eps": 1e-12}
    outs = [spatial_batchnorm_forward(images, gamma, beta, param)[0] for images in (x, moved)]
    np.testing.assert_allclose(*outs, rtol=1e-6, atol=1e-6)


def test_groupnorm_sees_neither_the_minibatch_nor_the_mode():
    x, gamma, beta = draw_all([(4, 6, 2, 3), 6, 6])
    out, _ = spatial_groupnorm_forward(x, gamma, beta, 3, {"mode": "train"})
    alone, _ = spatial_groupnorm_forward(x[1:2], gamma, beta, 3, {"mode": "test"})
    np.testing.assert_allclose(out[1:2], alone)


def test_output_has_mean_beta_and_deviation_gamma():
    x = 5 + 3 * draw((10, 4, 12, 10))
    gamma, beta = np.full(4, 0.7), np.full(4, -4.0)
    batch, _ = spatial_batchnorm_forward(x, gamma, beta, {"mode": "train"})
    np.testing.assert_allclose(batch.mean(axis=(0, 2, 3)), -4)
    np.testing.assert_allclose(batch.std(axis=(0, 2, 3)), 0.7, rtol=1e-5)
    group, _ = spatial_groupnorm_forward(x, gamma, beta, 2, {})
    np.testing.assert_allclose(group.reshape(20, -1).mean(axis=1), -4)
    np.testing.assert_allclose(group.reshape(20, -1).std(axis=1), 0.7, rtol=1e-5)


@pytest.mark.parametrize("dtype", DTYPES)
def test_running_averages_are_one_per_channel_and_move_with_momentum_0_9(dtype):
    x, gamma, beta = draw_all([(3, 2, 4, 5), 2, 2], dtype)
    bn_param = {"mode": "train"}
    for weight in (0.1, 0.19):  # 1 - 0.9, 1 - 0.9^2
        spatial_batchnorm_forward(x, gamma, beta, bn_param)
        assert_same(bn_param["running_mean"], weight * x.mean(axis=(0, 2, 3)), dtype)
        assert_same(bn_param["running_var"], weight * x.var(axis=(0, 2, 3)), dtype)


def test_running_averages_rest_in_test_mode():
    bn_param = {"mode": "test"} | {name: average.copy() for name, average in AVERAGES.items()}
    spatial_batchnorm_forward(*draw_all(BATCHNORM.shapes), bn_param)
    for name, average in AVERAGES.items():
        np.testing.assert_array_equal(bn_param[name], average)


def test_test_mode_with_the_averages_of_one_minibatch_repeats_training():
    arrays = draw_all(BATCHNORM.shapes)
    bn_param = {"mode": "train", "momentum": 0}
    out, _ = spatial_batchnorm_forward(*arrays, bn_param)
    np.testing.assert_allclose(spatial_batchnorm_forward(*arrays, bn_param | {"mode": "test"})[0], out)


def test_eps_is_1e_5_where_it_is_not_given():
    x, gamma, beta = draw_all([(2, 4, 3, 3), 4, 4])
    x *= 1e-3  # a variance of the size of eps
    for forward in (
        lambda param: spatial_batchnorm_forward(x, gamma, beta, param | {"mode": "train"})[0],
        lambda param: spatial_groupnorm_forward(x, gamma, beta, 2, param)[0],
    ):
        np.testing.assert_array_equal(forward({}), forward({"eps": 1e-5}))
        assert not np.allclose(forward({}), forward({"eps": 1e-6}))


@pytest.mark.parametrize("gamma", [(6,), (1, 6, 1, 1)])
@pytest.mark.parametrize("beta", [(6,), (1, 6, 1, 1)])
def test_groupnorm_gradients_have_the_shapes_of_gamma_and_beta(gamma, beta):
    x, dout, scale, shift = draw_all([(2, 6, 3, 4), (2, 6, 3, 4), 6, 6])
    _, cache = spatial_groupnorm_forward(x, scale.reshape(gamma), shift.reshape(beta), 3, {})
    dx, dgamma, dbeta = spatial_groupnorm_backward(dout, cache)
    _, flat_cache = spatial_groupnorm_forward(x, scale, shift, 3, {})
    expected_dx, expected_dgamma, expected_dbeta = spatial_groupnorm_backward(dout, flat_cache)
    np.testing.assert_array_equal(dx, expected_dx)
    np.testing.assert_array_equal(dgamma, expected_dgamma.reshape(gamma))
    np.testing.assert_array_equal(dbeta, expected_dbeta.reshape(beta))


def test_the_number_of_groups_may_be_a_numpy_integer():
    x, gamma, beta = draw_all([(2, 6, 3, 4), 6, 6])
    expected, _ = spatial_groupnorm_forward(x, gamma, beta, 3, {})
    np.testing.assert_array_equal(spatial_groupnorm_forward(x, gamma, beta, np.int64(3), {})[0], expected)


@pytest.mark.parametrize(
    "x, gamma, beta, message",
    [
        ((2, 3), (3,), (3,), r"x must have the axes \(N, C, H, W\); got the shape \(2, 3\)"),
        ((2, 3, 4), (3,), (3,), r"x must have the axes \(N, C, H, W\); got the shape \(2, 3, 4\)"),
        ((2, 3, 0, 4), (3,), (3,), r"x must not be empty; got the shape \(2, 3, 0, 4\)"),
        ((2, 3, 4, 4), (4,), (3,), r"gamma must have shape \(3,\) \(one scale per channel.*got \(4,\)"),
        ((2, 3, 4, 4), (3, 1, 1), (3,), r"gamma must have shape \(3,\).*got \(3, 1, 1\)"),
        ((2, 3, 4, 4), (1, 3, 1, 1), (3,), r"gamma must have shape \(3,\).*got \(1, 3, 1, 1\)"),
        ((2, 3, 4, 4), (3,), (1,), r"beta must have shape \(3,\) \(one shift per channel.*got \(1,\)"),
        ((2, 3, 4, 4), (3,), (), r"beta must have shape \(3,\).*got \(\)"),
    ],
)
def test_batchnorm_shapes_that_do_not_fit_are_refused(x, gamma, beta, message):
    bn_param = {"mode": "train"}
    with pytest.raises(ValueError, match=message):
        spatial_batchnorm_forward(*draw_all([x, gamma, beta]), bn_param)
    assert bn_param == {"mode": "train"}


@pytest.mark.parametrize(
    "x, gamma, beta, message",
    [
        ((2, 4), (4,), (4,), r"x must have the axes \(N, C, H, W\); got the shape \(2, 4\)"),
        ((0, 4, 3, 3), (4,), (4,), r"x must not be empty; got the shape \(0, 4, 3, 3\)"),
        (
            (2, 4, 3, 3),
            (4, 1, 1),
            (4,),
            r"gamma must have shape \(4,\) or \(1, 4, 1, 1\), one number per channel of x; got \(4, 1, 1\)",
        ),
        ((2, 4, 3, 3), (2,), (4,), r"gamma must have shape \(4,\) or .*got \(2,\)"),
        ((2, 4, 3, 3), (1,), (4,), r"gamma must have shape \(4,\) or .*got \(1,\)"),
        ((2, 4, 3, 3), (4,), (4, 1, 1, 1), r"beta must have shape \(4,\) or .*got \(4, 1, 1, 1\)"),
        ((2, 4, 3, 3), (4,), (1, 4), r"beta must have shape \(4,\) or .*got \(1, 4\)"),
        ((2, 4, 3, 3), (4,), (), r"beta must have shape \(4,\) or .*got \(\)"),
    ],
)
def test_groupnorm_shapes_that_do_not_fit_are_refused(x, gamma, beta, message):
    with pytest.raises(ValueError, match=message):
        spatial_groupnorm_forward(*draw_all([x, gamma, beta]), 2, {})


@pytest.mark.parametrize(
    "G, message",
    [
        (4, "G must divide the number of channels, 6; got G = 4"),
        (12, "G must divide the number of channels, 6; got G = 12"),
        (0, "G must be an integer of at least 1; got 0"),
        (-2, "G must be an integer of at least 1; got -2"),
        (2.0, "G must be an integer of at least 1; got 2.0"),
        (True, "G must be an integer of at least 1; got True"),
        (None, "G must be an integer of at least 1; got None"),
    ],
)
def test_groups_that_do_not_fit_are_refused(G, message):
    with pytest.raises(ValueError, match=message):
        spatial_groupnorm_forward(*draw_all([(2, 6, 3, 3), 6, 6]), G, {})


@pytest.mark.parametrize(
    "settings, message",
    [
        ({}, r"bn_param\['mode'\] must be 'train' or 'test'; got None"),
        ({"mode": "train", "eps": -1}, r"bn_param\['eps'\] must be in \[0, 1\]; got -1"),
        ({"mode": "train", "running_mean": np.zeros((1, 3, 1, 1))}, r"bn_param\['running_mean'\] must have"),
        ({"mode": "test", "running_var": np.ones(60)}, r"bn_param\['running_var'\] must have shape \(3,\)"),
    ],
)
def test_batchnorm_settings_that_do_not_fit_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        spatial_batchnorm_forward(*draw_all(BATCHNORM.shapes), settings)


def test_groupnorm_refuses_a_negative_eps():
    with pytest.raises(ValueError, match=r"gn_param\['eps'\] must be in \[0, 1\]; got -1"):
        spatial_groupnorm_forward(*draw_all([(2, 4, 3, 3), 4, 4]), 2, {"eps": -1})
