"""The sandwiches with a convolution and the convolutional network that is made of them."""

from functools import partial, wraps

import numpy as np
import pytest
import torch
from agreement import (
    assert_close,
    assert_dtype,
    assert_equal,
    assert_layer,
    assert_loss,
    assert_model_gradients,
    assert_true,
)
from conftest import (
    DTYPES,
    Layer,
    assert_agrees_with_torch,
    assert_moved,
    check_need_dx_false_leaves_out_dx_only,
    draw,
    draw_all,
    every_layer_check,
    every_second,
    layers,
    near_numeric,
    seeds,
    validation,
)
from geometry import POOL_2X2, REFUSED_CONVOLUTIONS, Convolution, convolutions
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional

from cs231n import fast_layers, layer_utils
from cs231n import layers as naive_layers
from cs231n.classifiers import cnn
from cs231n.classifiers.cnn import ThreeLayerConvNet
from cs231n.gradient_check import eval_numerical_gradient
from cs231n.layer_utils import (
    conv_bn_relu_backward,
    conv_bn_relu_forward,
    conv_relu_backward,
    conv_relu_forward,
    conv_relu_pool_backward,
    conv_relu_pool_forward,
)

pytestmark = pytest.mark.q4

OVERLAPPING = {"pool_height": 3, "pool_width": 2, "stride": 1}
AVERAGES = {"running_mean": draw(3, seed=7), "running_var": np.array([0.3, 2.0, 1.7])}


def conv_relu(geometry):
    return Layer(conv_relu_forward, conv_relu_backward, geometry.shapes, geometry.param)


def conv_bn_relu(geometry, **settings):
    """The parameter dictionary is bn_param, which the layer writes to."""

    @wraps(conv_bn_relu_forward)
    def forward(x, w, b, gamma, beta, bn_param):
        return conv_bn_relu_forward(x, w, b, gamma, beta, geometry.param, bn_param)

    bn_param = {"mode": "train", "eps": np.float64(1e-3)} | settings
    return Layer(forward, conv_bn_relu_backward, (*geometry.shapes, *2 * [geometry.w[:1]]), bn_param)


def conv_relu_pool(geometry, pool_param):
    @wraps(conv_relu_pool_forward)
    def forward(x, w, b, pool_param):
        return conv_relu_pool_forward(x, w, b, geometry.param, pool_param)

    return Layer(forward, conv_relu_pool_backward, geometry.shapes, pool_param)


SAME_SIZE = Convolution((2, 2, 4, 6), (3, 2, 3, 3), 1, 1)
STRIDE_2 = Convolution((3, 2, 5, 7), (3, 2, 3, 1), 2, 0)
POINTWISE = Convolution((2, 3, 4, 3), (3, 3, 1, 1), 1, 0)
SANDWICHES = {
    "conv_relu": conv_relu(SAME_SIZE),
    "conv_relu_stride_2": conv_relu(STRIDE_2),
    "conv_bn_relu": conv_bn_relu(SAME_SIZE),
    "conv_bn_relu_one_image": conv_bn_relu(Convolution((1, 1, 3, 4), (2, 1, 2, 2), 1, 0)),
    "conv_bn_relu_in_test_mode": conv_bn_relu(SAME_SIZE, mode="test", **AVERAGES),
    "conv_relu_pool": conv_relu_pool(SAME_SIZE, POOL_2X2),
    "conv_relu_pool_overlapping": conv_relu_pool(POINTWISE, OVERLAPPING),
}


@every_layer_check
@layers(**SANDWICHES)
def test_sandwich_keeps_the_rules(layer, check):
    check(layer)


@layers(**SANDWICHES)
def test_need_dx_false_leaves_out_dx_only(layer):
    check_need_dx_false_leaves_out_dx_only(layer)


def image(rows):
    """One image with one channel."""
    return np.array([[rows]], dtype=float)


def test_conv_relu_pool_on_paper():
    x, w = image([[1, -2, -3, -4], [-5, 6, -7, -8]]), image([[2]])
    param = {"stride": 1, "pad": 0}
    # 2 x + 1: the largest are 13 and -5, of which ReLU leaves 13 and 0
    out, dx = image([[13, 0]]), image([[0, 0, 0, 0], [0, 20, 0, 0]])
    layer = conv_relu_pool(Convolution(x.shape, w.shape, **param), POOL_2X2)
    arrays, dout = (x, w, np.array([1.0])), image([[10, 100]])
    assert_layer(layer, arrays, dout, out, (dx, image([[60]]), [10]), assert_equal)


@pytest.mark.parametrize("dtype", DTYPES)
@given(convolutions(), seeds)
def test_conv_relu_agrees_with_torch(dtype, geometry, seed):
    def in_torch(x, w, b):
        return functional.relu(functional.conv2d(x, w, b, geometry.stride, geometry.pad))

    layer = conv_relu(geometry)
    assert_agrees_with_torch(layer, in_torch, *layer.draw(dtype, seed), dtype)


@pytest.mark.parametrize("mode", ["train", "test"])
@given(seeds)
def test_conv_bn_relu_agrees_with_torch(mode, seed):
    bn_param = AVERAGES | {"mode": mode, "momentum": 0.7}

    def in_torch(x, w, b, gamma, beta):
        a = functional.conv2d(x, w, b, STRIDE_2.stride, STRIDE_2.pad)
        mean, var = (torch.tensor(AVERAGES[name]) for name in ("running_mean", "running_var"))
        normalized = functional.batch_norm(a, mean, var, gamma, beta, mode == "train", eps=1e-3)
        return functional.relu(normalized)

    layer = conv_bn_relu(STRIDE_2, **bn_param)
    assert_agrees_with_torch(layer, in_torch, *layer.draw(np.float64, seed), np.float64)


@pytest.mark.parametrize("dtype", DTYPES)
@given(st.sampled_from([(SAME_SIZE, POOL_2X2), (POINTWISE, OVERLAPPING)]), seeds)
def test_conv_relu_pool_agrees_with_torch(dtype, case, seed):
    geometry, pool_param = case
    window = pool_param["pool_height"], pool_param["pool_width"]

    def in_torch(x, w, b):
        out = functional.relu(functional.conv2d(x, w, b, geometry.stride, geometry.pad))
        return functional.max_pool2d(out, window, pool_param["stride"])

    layer = conv_relu_pool(geometry, pool_param)
    assert_agrees_with_torch(layer, in_torch, *layer.draw(dtype, seed), dtype)


def test_conv_bn_relu_moves_its_running_averages_in_training_only():
    x, w, b = draw_all(SAME_SIZE.shapes)
    gamma, beta = draw_all([3, 3], seed=1)
    a, _ = fast_layers.conv_forward_fast(x, w, b, SAME_SIZE.param)
    bn_param = {"mode": "train"}
    conv_bn_relu_forward(x, w, b, gamma, beta, SAME_SIZE.param, bn_param)
    assert_moved(conv_bn_relu_forward, bn_param, 0.1 * a.mean(axis=(0, 2, 3)), 0.1 * a.var(axis=(0, 2, 3)))
    before = dict(bn_param)
    conv_bn_relu_forward(x, w, b, gamma, beta, SAME_SIZE.param, bn_param | {"mode": "test"})
    for name in AVERAGES:
        what, rule = f"bn_param['{name}'] after conv_bn_relu_forward", "In test mode it stays as it was."
        assert_equal(what, bn_param[name], before[name], rule)


@validation
@pytest.mark.parametrize("x, w, b, conv_param, message", REFUSED_CONVOLUTIONS)
def test_sandwiches_refuse_what_the_convolution_refuses(x, w, b, conv_param, message):
    x, w, b = draw_all([x, w, b])
    for forward, others in (
        (conv_relu_forward, [conv_param]),
        (conv_bn_relu_forward, [draw(4), draw(4), conv_param, {"mode": "train"}]),
        (conv_relu_pool_forward, [conv_param, POOL_2X2]),
    ):
        with pytest.raises(ValueError, match=message):
            forward(x, w, b, *others)


PARAMS = ("W1", "b1", "W2", "b2", "W3", "b3")
NET = "They are conv - ReLU - 2x2 max pool - affine - ReLU - affine of X."
INPUT_DIM = (2, 4, 6)  # neither square nor of three channels
N, C = 3, 4


def build(input_dim=INPUT_DIM, seed=0, **settings):
    """A small net none of whose parameters is 0 or 1, and whose loss is far from log C."""
    settings = {
        "num_filters": 3,
        "filter_size": 3,
        "hidden_dim": 5,
        "num_classes": C,
        "dtype": np.float64,
    } | settings
    model = ThreeLayerConvNet(input_dim, **settings)
    for i, (name, param) in enumerate(model.params.items()):
        model.params[name] = 0.5 * draw(param.shape, param.dtype, (seed, i))
    return model


def draw_batch(n=N, input_dim=INPUT_DIM, c=C, dtype=np.float64, seed=0):
    return draw((n, *input_dim), dtype, seed), np.random.default_rng(seed).integers(0, c, n)


@pytest.mark.parametrize(
    "input_dim, filter_size", [(INPUT_DIM, 3), ((1, 2, 2), 5), ((3, 6, 2), 1)], ids=["3x3", "5x5", "1x1"]
)
@pytest.mark.parametrize("reg", [0, 0.5])
def test_gradients_agree_with_numeric_ones(input_dim, filter_size, reg):
    model = build(input_dim, filter_size=filter_size, reg=reg)
    X, y = draw_batch(input_dim=input_dim)
    _, grads = model.loss(X, y)
    numeric = {
        name: eval_numerical_gradient(lambda _: model.loss(X, y)[0], param, verbose=False)
        for name, param in model.params.items()
    }
    assert_model_gradients(model, X, y, grads, numeric, near_numeric)


def loss_in_torch(params, X, y, reg):
    """Scores, loss and L2 penalty of the net, from their definitions in words, in PyTorch."""
    W1, b1, W2, b2, W3, b3 = params
    out = functional.relu(functional.conv2d(X, W1, b1, padding="same"))
    out = functional.max_pool2d(out, 2).flatten(1)
    scores = functional.relu(out @ W2 + b2) @ W3 + b3
    penalty = sum(W.square().sum() for W in (W1, W2, W3))
    return scores, functional.cross_entropy(scores, y), 0.5 * reg * penalty


@pytest.mark.parametrize("dtype", DTYPES)
@given(
    st.integers(1, 4),
    st.tuples(st.integers(1, 3), st.sampled_from([2, 4, 7]), st.sampled_from([2, 5, 6])),
    st.sampled_from([1, 3, 5, 7]),
    st.sampled_from([0, 0.3]),
    seeds,
)
def test_net_agrees_with_torch(dtype, n, input_dim, filter_size, reg, seed):
    model = build(input_dim, seed, filter_size=filter_size, reg=reg, dtype=dtype)
    X, y = draw_batch(n, input_dim, dtype=dtype, seed=seed)
    loss, grads = model.loss(X, y)
    params = [torch.tensor(param, requires_grad=True) for param in model.params.values()]
    scores, data_loss, penalty = loss_in_torch(params, torch.from_numpy(X), torch.from_numpy(y), reg)
    (data_loss + penalty).backward()
    tol = 1e-4 if dtype == np.float32 else 1e-9
    expected = scores.detach().numpy()
    assert_close("ThreeLayerConvNet.loss scores", model.loss(X), expected, NET, rtol=tol, atol=10 * tol)
    assert_loss(model, loss, data_loss.item(), penalty.item(), rtol=tol, atol=tol)
    expected = {name: param.grad.numpy() for name, param in zip(PARAMS, params, strict=True)}
    assert_model_gradients(model, X, y, grads, expected, partial(assert_close, rtol=10 * tol, atol=10 * tol))
    assert list(grads) == list(PARAMS)


def test_net_on_paper():
    model = ThreeLayerConvNet((1, 2, 2), 1, 1, 1, 2, reg=0.5, dtype=np.float64)
    values = {"W1": [2], "b1": [1], "W2": [3], "b2": [-5], "W3": [1, 2], "b3": [16, 0]}
    for name, value in values.items():
        model.params[name] = np.array(value, dtype=float).reshape(model.params[name].shape)
    X, y = image([[1, 3], [-4, 2]]), np.array([0])
    # 2 x + 1 is largest at 3, where it is 7; 3 * 7 - 5 = 16; scores 16 + 16 and 2 * 16
    assert_equal("ThreeLayerConvNet.loss scores", model.loss(X), [[32, 32]], NET)
    loss, grads = model.loss(X, y)
    # both classes have probability 1/2; the weights' squares sum to 4 + 9 + 5: 0.5 * 0.5 * 18 = 4.5
    assert_loss(model, loss, np.log(2), 4.5, rtol=1e-7)
    # dscores = (-1/2, 1/2), dhidden = -1/2 + 2/2 = 1/2, dpooled = 3/2; 0.5 * W is the penalty's part
    expected = {
        "W1": [[[[4.5 + 1]]]],
        "b1": [1.5],
        "W2": [[3.5 + 1.5]],
        "b2": [0.5],
        "W3": [[-8 + 0.5, 8 + 1]],
        "b3": [-0.5, 0.5],
    }
    assert_model_gradients(model, X, y, grads, expected)


def test_penalty_is_on_the_weights_only():
    model, (X, y) = build(reg=0.0), draw_batch()
    loss, grads = model.loss(X, y)
    model.reg = 0.8
    penalized_loss, penalized_grads = model.loss(X, y)
    weights = {name: param for name, param in model.params.items() if name.startswith("W")}
    what, rule = f"{type(model).__name__}.loss, the penalty's part of {{}}", "reg = 0.8, and the loss has {}."
    expected = 0.4 * sum(np.sum(W**2) for W in weights.values())
    whole = rule.format("0.5 * reg * (the sum of the squares of all weights, not of biases)")
    assert_close(what.format("the loss"), penalized_loss - loss, expected, whole)
    for name, grad in grads.items():
        is_weight = name in weights
        expected = 0.8 * weights[name] if is_weight else 0
        part = rule.format(f"{'a' if is_weight else 'no'} penalty on {name}")
        part += " Its gradient is reg * W." if is_weight else ""
        assert_close(what.format(f"d{name}"), penalized_grads[name] - grad, expected, part, atol=1e-12)


@pytest.mark.parametrize("dtype", DTYPES)
def test_everything_is_in_the_models_dtype(dtype):
    """Also with settings and images of other types."""
    model = ThreeLayerConvNet(
        INPUT_DIM, 3, 3, 5, C, weight_scale=np.float64(0.1), reg=np.float64(0.5), dtype=dtype
    )
    for X in (draw((N, *INPUT_DIM)), draw((N, *INPUT_DIM), np.float32), np.ones((N, *INPUT_DIM), np.uint8)):
        loss, grads = model.loss(X, np.arange(N))
        results = [model.loss(X), loss, *grads.values(), *model.params.values()]
        for result in results:
            rule = "Scores, loss, gradients and parameters have the model's dtype."
            assert_dtype("a result of ThreeLayerConvNet", result, dtype, rule)
        rule = "X is brought to the model's dtype first."
        assert_equal("ThreeLayerConvNet.loss scores", model.loss(X), model.loss(X.astype(dtype)), rule)


def test_loss_leaves_its_arguments_and_the_parameters_alone():
    model, (X, y) = build(reg=0.5), draw_batch()
    for array in (X, y, *model.params.values()):
        array.flags.writeable = False
    scores, (_, grads) = model.loss(X), model.loss(X, y)
    for name, result in {"scores": scores, **grads}.items():
        shared = any(np.shares_memory(result, array) for array in (X, *model.params.values()))
        assert_true(not shared, f"{type(model).__name__}.loss: {name} shares memory with X or a parameter")


def test_images_of_any_layout():
    model, (X, y) = build(), draw_batch()
    expected_loss, expected_grads = model.loss(X, y)
    for arranged in (np.asfortranarray(X), every_second(X)):
        name, rule = "ThreeLayerConvNet.loss", "It has to be the same, whatever the layout of X."
        assert_close(f"{name} scores", model.loss(arranged), model.loss(X), rule)
        loss, grads = model.loss(arranged, y)
        assert_close(f"{name} loss", loss, expected_loss, rule)
        assert_close(f"{name} dW1", grads["W1"], expected_grads["W1"], rule, atol=1e-12)


def test_an_image_does_not_depend_on_its_minibatch():
    model, (X, _) = build(), draw_batch()
    rule = "The scores of an image do not depend on the others in its minibatch."
    assert_close("ThreeLayerConvNet.loss scores", model.loss(X[1:2]), model.loss(X)[1:2], rule)


def test_small_weights_start_at_the_loss_of_guessing_and_the_penalty_raises_it():
    np.random.seed(0)
    model = ThreeLayerConvNet((3, 16, 16))
    X, y = draw_batch(10, (3, 16, 16), 10)
    loss, _ = model.loss(X, y)
    rule = "With small weights all classes are equally likely: the loss is log C."
    assert_close("the loss of a new ThreeLayerConvNet", loss, np.log(10), rule, rtol=1e-3)
    model.reg = 0.5
    penalized, _ = model.loss(X, y)
    got = f"It is {loss:.4g} for reg = 0 and {penalized:.4g} for reg = 0.5; expected 0.01 to 0.2 more."
    raised = loss + 0.01 < penalized < loss + 0.2
    assert_true(raised, "ThreeLayerConvNet.loss: the penalty has the wrong size", got)


def test_weights_are_drawn_in_order_from_the_global_generator():
    np.random.seed(6)
    shapes = {"W1": (3, 2, 5, 5), "W2": (3 * 2 * 3, 5), "W3": (5, C)}
    expected = {name: 0.05 * np.random.randn(*shape) for name, shape in shapes.items()}
    next_number = np.random.rand()
    np.random.seed(6)
    model = ThreeLayerConvNet(INPUT_DIM, 3, 5, 5, C, weight_scale=0.05, dtype=np.float64)
    assert np.random.rand() == next_number
    for name, W in expected.items():
        np.testing.assert_array_equal(model.params[name], W)


def test_parameters_and_their_shapes():
    params = ThreeLayerConvNet(INPUT_DIM, 3, 5, 7, C).params
    shapes = {"W1": (3, 2, 5, 5), "b1": (3,), "W2": (18, 7), "b2": (7,), "W3": (7, C), "b3": (C,)}
    actual, name = {name: param.shape for name, param in params.items()}, "ThreeLayerConvNet._initial_params"
    got = f"Got {actual}, expected {shapes}."
    assert_true(actual == shapes, f"{name} returns the wrong names or shapes", got)
    nonzero = any(params[name].any() for name in ("b1", "b2", "b3"))
    assert_true(not nonzero, f"{name}: biases do not start at 0")


def test_defaults_are_for_cifar10():
    np.random.seed(0)
    model = ThreeLayerConvNet()
    shapes = {"W1": (32, 3, 7, 7), "W2": (32 * 16 * 16, 100), "W3": (100, 10)}
    for key, shape in shapes.items():
        W, name = model.params[key], f"ThreeLayerConvNet._initial_params: {key}"
        assert_true(W.shape == shape, f"{name} has the wrong shape", f"Got {W.shape}, expected {shape}.")
        assert_close(f"{name}'s deviation", W.std(), 1e-3, "It is weight_scale.", rtol=0.05)
    assert model.reg == 0
    for name, param in model.params.items():
        assert_dtype(
            f"ThreeLayerConvNet._initial_params {name}", param, np.float32, "It is the model's dtype."
        )


def test_gradient_of_the_images_is_not_computed(monkeypatch):
    results = []

    def backward(*args, **settings):
        results.append(conv_relu_pool_backward(*args, **settings))
        return results[-1]

    monkeypatch.setattr(cnn, "conv_relu_pool_backward", backward)
    build().loss(*draw_batch())
    got = "The images need no gradient: call conv_relu_pool_backward once, with need_dx=False."
    without_dx = [dx for dx, _, _ in results] == [None]
    assert_true(without_dx, "ThreeLayerConvNet.loss computes the gradient of the images", got)


def test_a_few_steps_of_sgd_lower_the_loss():
    np.random.seed(0)
    model = ThreeLayerConvNet((3, 8, 8), 4, 3, 10, 3, weight_scale=0.1)
    X, y = draw_batch(10, (3, 8, 8), 3)
    losses = []
    for _ in range(20):
        loss, grads = model.loss(X, y)
        losses.append(loss)
        for name, grad in grads.items():
            model.params[name] -= 0.3 * grad
    got = f"It goes from {losses[0]:.4g} to {losses[-1]:.4g} in 20 steps; expected less than half of it."
    lowered = losses[-1] < 0.5 * losses[0]
    assert_true(lowered, "ThreeLayerConvNet.loss: steps against the gradient do not lower the loss", got)


@validation
@pytest.mark.parametrize(
    "settings, message",
    [
        ({"filter_size": 4}, "filter_size must be odd, so that the image keeps its size; got 4"),
        ({"filter_size": 2}, r"filter_size must be odd, .*got 2"),
        ({"filter_size": 6}, r"filter_size must be odd, .*got 6"),
        ({"filter_size": 0}, "filter_size must be an integer of at least 1; got 0"),
        ({"filter_size": -3}, "filter_size must be an integer of at least 1; got -3"),
        ({"filter_size": 3.0}, "filter_size must be an integer of at least 1; got 3.0"),
        ({"filter_size": True}, "filter_size must be an integer of at least 1; got True"),
        ({"filter_size": None}, "filter_size must be an integer of at least 1; got None"),
        ({"input_dim": (3, 1, 8)}, r"input_dim must have a height and width of at least 2.*got \(3, 1, 8\)"),
        ({"input_dim": (3, 8, 1)}, r"input_dim must have a height and width of at least 2.*got \(3, 8, 1\)"),
    ],
)
def test_settings_that_do_not_fit_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        ThreeLayerConvNet(**settings)


@validation
def test_input_that_does_not_fit_is_refused():
    model, (X, y) = build(), draw_batch()
    for wrong in (X[:, 1:], X.reshape(N, -1), X[..., :4], X[..., :5]):
        with pytest.raises(ValueError, match=r"(?i)^x "):  # of the model, or of the layer that it is given to
            model.loss(wrong, y)
    with pytest.raises(ValueError, match="y must hold labels from 0 to 3; got labels from 4 to 4"):
        model.loss(X, np.full(N, C))
    with pytest.raises(ValueError, match=rf"y must have shape \({N},\)"):
        model.loss(X, y[1:])


def test_star_import_hands_on_every_layer_and_sandwich():
    names = {}
    exec("from cs231n.classifiers.cnn import *", names)
    for module in (naive_layers, fast_layers, layer_utils):
        for name in module.__all__:
            assert names[name] is getattr(module, name)
    assert names["ThreeLayerConvNet"] is ThreeLayerConvNet
    assert set(cnn.__all__) == names.keys() - {"__builtins__"}
