"""Batch and group normalization of images."""

from functools import wraps

import numpy as np
import pytest
import torch
from agreement import assert_close, assert_equal, assert_layer, assert_true
from conftest import (
    DTYPES,
    Layer,
    assert_agrees_with_torch,
    assert_moved,
    assert_same,
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

# What messages say that the forward pass has to do
BATCHNORM_OUT = {
    "train": "It is batch normalization with one mean and one biased variance per channel, over N, H and W.",
    "test": "It is gamma * (x - running_mean) / sqrt(running_var + eps) + beta, channel by channel.",
}
RUNNING = (
    "In training mode, running = momentum * running + (1 - momentum) * the minibatch's mean or variance."
)

both_modes = pytest.mark.parametrize("mode", ["train", "test"])
eps_values = st.sampled_from([1e-3, 1e-2, 0.5])


def group_layer(G, x=(2, 6, 3, 4), gamma="vector", beta="vector"):
    """Group normalization with gamma and beta of shape (C,) or (1, C, 1, 1)."""
    shapes = {"vector": (x[1],), "image": (1, x[1], 1, 1)}
    param = {"eps": np.float64(1e-3), "G": G}
    return Layer(groupnorm, spatial_groupnorm_backward, (x, shapes[gamma], shapes[beta]), param)


@wraps(spatial_groupnorm_forward)
def groupnorm(x, gamma, beta, settings):
    """`spatial_groupnorm_forward` with G among the settings."""
    return spatial_groupnorm_forward(x, gamma, beta, settings["G"], {"eps": settings["eps"]})


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
    arrays = x, np.array([4.0, 1.0]), np.array([10.0, 0.0])
    bn_param = {"mode": "train", "eps": 1, "momentum": 0.75, "running_mean": [4.0, 1.0]}
    out = [[[4], [12]], [[12], [12]]], 2 * first / np.sqrt(4 * 3 + 1)  # 4 * (-3, 1, 1, 1) / 2 + 10

    # As for a feature: dx = 1/2 * (4, 0, 0, 0) - 1 + 1.5 * (-1.5, 0.5, 0.5, 0.5)) in channel 0.
    dout = np.zeros(x.shape)
    dout[0, 0, 0, 0] = 1
    dx = [[[0.375], [-0.125]], [[-0.125], [-0.125]]], np.zeros(first.shape)
    out, dx = (np.stack(channels, axis=1) for channels in (out, dx))
    layer = BATCHNORM._replace(param=bn_param)
    assert_layer(layer, arrays, dout, out, (dx, [-1.5, 0], [1, 0]))

    spatial_batchnorm_forward(*arrays, bn_param)
    # 3/4 * (4, 1) + 1/4 * (0, 5), and 1/4 * (3, 12)
    assert_moved(spatial_batchnorm_forward, bn_param, [3, 2], [0.75, 3])


def test_spatial_batchnorm_in_test_mode_on_paper():
    bn_param = {"mode": "test", "eps": 1, "running_mean": [1.0, 0.0], "running_var": [3.0, 8.0]}
    arrays = np.array([[[[5.0, 1.0]], [[3.0, 6.0]]]]), np.array([3.0, 1.0]), np.array([10.0, 0.0])
    out = [[[[16, 10]], [[1, 2]]]]  # 3 * (5 - 1) / 2 + 10 ...; 3 / 3, 6 / 3
    dout = np.array([[[[4.0, 2.0]], [[3.0, 0.0]]]])
    dx = [[[[6, 3]], [[1, 0]]]]  # dout * 3 / 2; dout / 3
    dgamma, dbeta = [8, 3], [6, 3]  # 4 * 2 + 2 * 0; 3 * 1
    layer = BATCHNORM._replace(param=bn_param)
    assert_layer(layer, arrays, dout, out, (dx, dgamma, dbeta), rule=BATCHNORM_OUT["test"])


def test_spatial_groupnorm_on_paper():
    # Groups of two channels, each one row of two pixels: mean 0 and variance 3, then twice that plus 5.
    x = np.array([[[[-3.0, 1.0]], [[1.0, 1.0]], [[-1.0, 7.0]], [[7.0, 7.0]]]])
    gamma, beta = np.array([4.0, 6.0, 1.0, 1.0]), np.array([10.0, 20.0, 0.0, 0.0])
    first, second = [[[4, 12]], [[23, 23]]], np.array([[[-6, 2]], [[2, 2]]]) / np.sqrt(13)
    out = np.concatenate([first, second])[np.newaxis]  # (-3, 1) / 2 * 4 + 10; 1 / 2 * 6 + 20

    dout = np.zeros(x.shape)
    dout[0, 0, 0, 0] = 1
    dx = np.zeros(x.shape)
    dx[0, :2] = [[[0.375, -0.125]], [[-0.125, -0.125]]]
    layer = group_layer(2)._replace(param={"eps": 1, "G": 2})
    assert_layer(layer, (x, gamma, beta), dout, out, (dx, [-1.5, 0, 0, 0], [1, 0, 0, 0]))


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

    layer = BATCHNORM._replace(param=bn_param)
    assert_agrees_with_torch(layer, in_torch, arrays, dout, dtype, BATCHNORM_OUT[mode])
    spatial_batchnorm_forward(*arrays, bn_param)
    name = "bn_param['running_{}'] after spatial_batchnorm_forward" + layer.mode
    assert_same(bn_param["running_mean"], torch_mean.numpy(), dtype, name.format("mean"), RUNNING)
    if mode == "train":  # torch's sample variance is the unbiased one, ours the biased one
        count = N * H * W
        sample_part = torch_var.numpy() - momentum * var
        expected = momentum * var + sample_part * (count - 1) / count
        assert_same(bn_param["running_var"], expected, dtype, name.format("var"), RUNNING)


@pytest.mark.parametrize("dtype", DTYPES)
@given(sizes, st.integers(1, 3), st.integers(1, 3), st.integers(2, 5), sizes, eps_values, seeds)
def test_spatial_groupnorm_agrees_with_torch(dtype, N, G, channels_per_group, H, W, eps, seed):
    C = G * channels_per_group
    arrays = draw_all([(N, C, H, W), C, C], dtype, seed)
    dout = draw((N, C, H, W), dtype, seed)

    def in_torch(x, gamma, beta):
        return functional.group_norm(x, G, gamma, beta, eps)

    layer = group_layer(G)._replace(param={"eps": eps, "G": G})
    assert_agrees_with_torch(layer, in_torch, arrays, dout, dtype)


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
    rule = "It has to stay the same if the channels of a group are scaled and shifted."
    assert_close("spatial_groupnorm_forward out", *outs, rule, rtol=1e-6, atol=1e-6)


@given(seeds, st.floats(0.5, 20), st.floats(-20, 20))
def test_spatial_batchnorm_ignores_the_scale_and_the_shift_of_a_channel(seed, scale, shift):
    x, gamma, beta = draw_all([(2, 3, 3, 4), 3, 3], seed=seed)
    moved = x.copy()
    moved[:, 1] = scale * x[:, 1] + shift
    param = {"mode": "train", "eps": 1e-12}
    outs = [spatial_batchnorm_forward(images, gamma, beta, param)[0] for images in (x, moved)]
    rule = "It has to stay the same if a channel is scaled and shifted."
    assert_close(BATCHNORM.output, *outs, rule, rtol=1e-6, atol=1e-6)


def test_groupnorm_sees_neither_the_minibatch_nor_the_mode():
    x, gamma, beta = draw_all([(4, 6, 2, 3), 6, 6])
    out, _ = spatial_groupnorm_forward(x, gamma, beta, 3, {"mode": "train"})
    alone, _ = spatial_groupnorm_forward(x[1:2], gamma, beta, 3, {"mode": "test"})
    rule = "An image is normalized by itself, in training and in test mode."
    assert_close("spatial_groupnorm_forward out", out[1:2], alone, rule)


def test_output_has_mean_beta_and_deviation_gamma():
    x = 5 + 3 * draw((10, 4, 12, 10))
    gamma, beta = np.full(4, 0.7), np.full(4, -4.0)
    batch, _ = spatial_batchnorm_forward(x, gamma, beta, {"mode": "train"})
    mean, deviation = "Its mean has to be beta.", "Its standard deviation has to be gamma."
    name, axes = "a channel of spatial_batchnorm_forward out", (0, 2, 3)
    assert_close(name, batch.mean(axes), -4, mean)
    assert_close(name, batch.std(axes), 0.7, deviation, rtol=1e-5)
    group, _ = spatial_groupnorm_forward(x, gamma, beta, 2, {})
    name, group = "a group of spatial_groupnorm_forward out", group.reshape(20, -1)
    assert_close(name, group.mean(axis=1), -4, mean)
    assert_close(name, group.std(axis=1), 0.7, deviation, rtol=1e-5)


@pytest.mark.parametrize("dtype", DTYPES)
def test_running_averages_are_one_per_channel_and_move_with_momentum_0_9(dtype):
    x, gamma, beta = draw_all([(3, 2, 4, 5), 2, 2], dtype)
    bn_param = {"mode": "train"}
    for weight in (0.1, 0.19):  # 1 - 0.9, 1 - 0.9^2
        spatial_batchnorm_forward(x, gamma, beta, bn_param)
        name = "bn_param['running_{}'] after spatial_batchnorm_forward"
        mean, var = weight * x.mean(axis=(0, 2, 3)), weight * x.var(axis=(0, 2, 3))
        assert_same(bn_param["running_mean"], mean, dtype, name.format("mean"), RUNNING)
        assert_same(bn_param["running_var"], var, dtype, name.format("var"), RUNNING)


def test_running_averages_rest_in_test_mode():
    bn_param = {"mode": "test"} | {name: average.copy() for name, average in AVERAGES.items()}
    spatial_batchnorm_forward(*draw_all(BATCHNORM.shapes), bn_param)
    for name, average in AVERAGES.items():
        what, rule = f"bn_param['{name}'] after spatial_batchnorm_forward", "In test mode it stays as it was."
        assert_equal(what, bn_param[name], average, rule)


def test_test_mode_with_the_averages_of_one_minibatch_repeats_training():
    arrays = draw_all(BATCHNORM.shapes)
    bn_param = {"mode": "train", "momentum": 0}
    out, _ = spatial_batchnorm_forward(*arrays, bn_param)
    tested, _ = spatial_batchnorm_forward(*arrays, bn_param | {"mode": "test"})
    rule = "With the minibatch's own averages as running averages (momentum 0) it is that of training mode."
    what = "spatial_batchnorm_forward out in test mode"
    assert_close(what, tested, out, rule, says="does not repeat training")


def test_eps_is_1e_5_where_it_is_not_given():
    x, gamma, beta = draw_all([(2, 4, 3, 3), 4, 4])
    x *= 1e-3  # a variance of the size of eps
    for name, forward in {
        "spatial_batchnorm_forward": lambda param: spatial_batchnorm_forward(
            x, gamma, beta, param | {"mode": "train"}
        )[0],
        "spatial_groupnorm_forward": lambda param: spatial_groupnorm_forward(x, gamma, beta, 2, param)[0],
    }.items():
        default, explicit, other = forward({}), forward({"eps": 1e-5}), forward({"eps": 1e-6})
        assert_equal(f"{name} out without eps", default, explicit, "The default of eps is 1e-5.")
        assert_true(not np.allclose(default, other), f"{name} ignores eps")


@pytest.mark.parametrize("gamma", [(6,), (1, 6, 1, 1)])
@pytest.mark.parametrize("beta", [(6,), (1, 6, 1, 1)])
def test_groupnorm_gradients_have_the_shapes_of_gamma_and_beta(gamma, beta):
    x, dout, scale, shift = draw_all([(2, 6, 3, 4), (2, 6, 3, 4), 6, 6])
    _, cache = spatial_groupnorm_forward(x, scale.reshape(gamma), shift.reshape(beta), 3, {})
    dx, dgamma, dbeta = spatial_groupnorm_backward(dout, cache)
    _, flat_cache = spatial_groupnorm_forward(x, scale, shift, 3, {})
    expected_dx, expected_dgamma, expected_dbeta = spatial_groupnorm_backward(dout, flat_cache)
    name, rule = "spatial_groupnorm_backward {}", "Gradients have the shapes of gamma and beta."
    assert_equal(name.format("dx"), dx, expected_dx, rule)
    assert_equal(name.format("dgamma"), dgamma, expected_dgamma.reshape(gamma), rule)
    assert_equal(name.format("dbeta"), dbeta, expected_dbeta.reshape(beta), rule)


def test_the_number_of_groups_may_be_a_numpy_integer():
    x, gamma, beta = draw_all([(2, 6, 3, 4), 6, 6])
    expected, _ = spatial_groupnorm_forward(x, gamma, beta, 3, {})
    out, _ = spatial_groupnorm_forward(x, gamma, beta, np.int64(3), {})
    assert_equal("spatial_groupnorm_forward out", out, expected, "G may be a NumPy integer.")


@validation
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


@validation
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


@validation
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


@validation
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


@validation
def test_groupnorm_refuses_a_negative_eps():
    with pytest.raises(ValueError, match=r"gn_param\['eps'\] must be in \[0, 1\]; got -1"):
        spatial_groupnorm_forward(*draw_all([(2, 4, 3, 3), 4, 4]), 2, {"eps": -1})
