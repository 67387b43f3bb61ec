"""The fully connected models: their losses, gradients, initial weights and settings."""

from itertools import product

import numpy as np
import pytest
import torch
from agreement import (
    assert_close,
    assert_dtype,
    assert_equal,
    assert_loss,
    assert_model_gradients,
    assert_true,
)
from conftest import DTYPES, draw, every_second, near_numeric, seeds, sizes, validation
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional

from cs231n import layer_utils, layers
from cs231n.classifiers import fc_net
from cs231n.classifiers.fc_net import FullyConnectedNet, TwoLayerNet
from cs231n.gradient_check import eval_numerical_gradient

q1, q2, q3 = pytest.mark.q1, pytest.mark.q2, pytest.mark.q3
every_normalization = pytest.mark.parametrize(
    "normalization",
    [pytest.param(None, marks=q1), pytest.param("batchnorm", marks=q2), pytest.param("layernorm", marks=q2)],
)


def question(normalization, dropout):
    """The mark of the question at which a net with these settings can first work."""
    if dropout != 1:
        return q3
    return q2 if normalization else q1


KINDS = list(product((None, "batchnorm", "layernorm"), (1, 0.6)))
every_kind = pytest.mark.parametrize(
    "normalization, dropout", [pytest.param(*kind, marks=question(*kind)) for kind in KINDS]
)

MODELS_DTYPE = "Scores, loss, gradients, parameters and running averages have the model's dtype."
N, D, C = 4, 6, 3
HIDDEN = (5, 4)


def draw_batch(n=N, d=D, c=C, dtype=np.float64, seed=0):
    return draw((n, d), dtype, seed), np.random.default_rng(seed).integers(0, c, n)


def build(hidden_dims=HIDDEN, input_dim=D, num_classes=C, dtype=np.float64, seed=123, **settings):
    """A net none of whose parameters is 0 or 1, and whose loss is far from log C."""
    model = FullyConnectedNet(hidden_dims, input_dim, num_classes, dtype=dtype, seed=seed, **settings)
    return with_random_params(model)


def with_random_params(model):
    for i, (name, param) in enumerate(model.params.items()):
        model.params[name] = draw(param.shape, param.dtype, (99, i))
    return model


def two_layer_net(**settings):
    return with_random_params(TwoLayerNet(D, 5, C, **settings))


@pytest.fixture(
    params=[
        pytest.param(None, marks=q1, id="two-layers"),
        *(pytest.param(kind, marks=question(*kind), id=f"{kind[0]}-{kind[1]}") for kind in KINDS),
    ]
)
def model(request):
    """A small model of every kind, with the L2 term."""
    if request.param is None:
        return two_layer_net(reg=0.7)
    normalization, dropout = request.param
    return build(normalization=normalization, dropout=dropout, reg=0.7)


def test_gradients_agree_with_numeric_ones(model):
    X, y = draw_batch()
    _, grads = model.loss(X, y)
    numeric = {
        name: eval_numerical_gradient(lambda _: model.loss(X, y)[0], param, verbose=False)
        for name, param in model.params.items()
    }
    assert_model_gradients(model, X, y, grads, numeric, near_numeric)


def loss_in_torch(model, params, X, y):
    """The training loss of a FullyConnectedNet and its L2 penalty, from their definitions, in PyTorch."""
    out, penalty = X, 0
    for i in range(1, model.num_layers + 1):
        penalty = penalty + params[f"W{i}"].square().sum()
        out = out @ params[f"W{i}"] + params[f"b{i}"]
        if i == model.num_layers:
            break
        scale_and_shift = params.get(f"gamma{i}"), params.get(f"beta{i}")
        if model.normalization == "batchnorm":
            out = functional.batch_norm(out, None, None, *scale_and_shift, training=True)
        if model.normalization == "layernorm":
            out = functional.layer_norm(out, out.shape[1:], *scale_and_shift)
        out = functional.relu(out)
        if model.dropout_param is not None:
            seed, p = model.dropout_param["seed"], model.dropout_param["p"]
            out = out * torch.from_numpy(np.random.RandomState(seed).rand(*out.shape) < p) / p
    return functional.cross_entropy(out, y), 0.5 * model.reg * penalty


@every_kind
@pytest.mark.parametrize("dtype", DTYPES)
@given(st.lists(sizes, max_size=3), st.integers(3, 6), sizes, sizes, st.sampled_from([0, 0.3]), seeds)
def test_net_agrees_with_torch(normalization, dropout, dtype, hidden_dims, n, d, c, reg, seed):
    model = build(hidden_dims, d, c, dtype, seed, normalization=normalization, dropout=dropout, reg=reg)
    X, y = draw_batch(n, d, c, dtype, seed)
    loss, grads = model.loss(X, y)
    params = {name: torch.tensor(param, requires_grad=True) for name, param in model.params.items()}
    data_loss, penalty = loss_in_torch(model, params, torch.from_numpy(X), torch.from_numpy(y))
    (data_loss + penalty).backward()
    # Nearly equal features of a small minibatch are divided by the root of eps: rounding times 300 a layer.
    tol = 1e-2 if dtype == np.float32 else 1e-7
    assert_loss(model, loss, data_loss.item(), penalty.item(), rtol=tol)

    def compare(what, grad, expected, *words):
        scale = max(np.abs(expected).max(), 1)
        assert_close(what, grad, expected, *words, rtol=tol, atol=tol * scale)

    expected = {name: param.grad.numpy() for name, param in params.items()}
    assert_model_gradients(model, X, y, grads, expected, compare)


@q1
def test_two_layer_net_on_paper():
    model = TwoLayerNet(input_dim=2, hidden_dim=2, num_classes=2, reg=0.5)
    model.params = {
        "W1": np.array([[1.0, -1.0], [1.0, 1.0]]),
        "b1": np.array([0.0, -2.0]),
        "W2": np.array([[1.0, 2.0], [5.0, 5.0]]),
        "b2": np.array([3.0, 0.0]),
    }
    X, y = np.array([[1.0, 2.0]]), np.array([0])
    # hidden: (1 + 2, -1 + 2 - 2) = (3, -1), after ReLU (3, 0); scores: (3 + 3, 6 + 0)
    assert_equal("TwoLayerNet.loss scores", model.loss(X), [[6, 6]], "They are affine - ReLU - affine of X.")

    loss, grads = model.loss(X, y)
    # both classes have probability 1/2; the weights' squares sum to 4 + 55: 0.5 * 0.5 * 59 = 14.75
    assert_loss(model, loss, np.log(2), 14.75, rtol=1e-7)
    # dscores = (-1/2, 1/2), dhidden = (-1/2 + 1, -5/2 + 5/2) = (1/2, 0); 0.5 * W is the penalty's part
    expected = {
        "W1": [[0.5 + 0.5, -0.5], [1 + 0.5, 0.5]],
        "b1": [0.5, 0],
        "W2": [[-1.5 + 0.5, 1.5 + 1], [2.5, 2.5]],
        "b2": [-0.5, 0.5],
    }
    assert_model_gradients(model, X, y, grads, expected)


@q1
def test_two_layer_net_is_the_net_with_one_hidden_layer():
    small, general = two_layer_net(reg=0.3), build((5,), reg=0.3)
    assert small.params.keys() == general.params.keys()
    general.params = small.params
    X, y = draw_batch()
    loss, grads = small.loss(X, y)
    expected_loss, expected_grads = general.loss(X, y)
    says = "is not that of FullyConnectedNet with one hidden layer"
    rule = "What is expected here is that of FullyConnectedNet. One of the two is wrong."
    assert_close("TwoLayerNet.loss loss", loss, expected_loss, rule, says=says)
    for name, grad in grads.items():
        assert_close(f"TwoLayerNet.loss d{name}", grad, expected_grads[name], rule, says=says)


def test_penalty_is_on_the_weights_only(model):
    X, y = draw_batch()
    model.reg = 0.0
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


@every_kind
@pytest.mark.parametrize("dtype", DTYPES)
def test_everything_is_in_the_models_dtype(normalization, dropout, dtype):
    """Also with settings and images of other types."""
    model = FullyConnectedNet(
        HIDDEN,
        D,
        C,
        dropout=np.float64(dropout),
        normalization=normalization,
        reg=np.float64(0.5),
        weight_scale=np.float64(0.1),
        dtype=dtype,
    )
    for X in (draw((N, D)), draw((N, D), np.float32), np.arange(N * D, dtype=np.uint8).reshape(N, D)):
        loss, grads = model.loss(X, np.arange(N) % C)
        results = [model.loss(X), loss, *grads.values(), *model.params.values()]
        results += [average for bn_param in model.bn_params for average in bn_param.values()]
        for result in results:
            if not isinstance(result, str):
                assert_dtype("a result of FullyConnectedNet", result, dtype, MODELS_DTYPE)


@q1
def test_two_layer_net_is_in_float64():
    model = TwoLayerNet(D, 5, C, weight_scale=np.float32(0.1), reg=np.float32(0.5))
    X, y = draw_batch(dtype=np.float32)
    loss, grads = model.loss(X, y)
    results = [loss, model.loss(X), *grads.values(), *model.params.values()]
    for result in results:
        assert_dtype("a result of TwoLayerNet", result, np.float64, "It computes in float64.")


def test_loss_leaves_its_arguments_and_the_parameters_alone(model):
    X, y = draw_batch()
    for array in (X, y, *model.params.values()):
        array.flags.writeable = False
    (_, grads), scores = model.loss(X, y), model.loss(X)
    for name, result in {"scores": scores, **grads}.items():
        shared = any(np.shares_memory(result, array) for array in (X, *model.params.values()))
        assert_true(not shared, f"{type(model).__name__}.loss: {name} shares memory with X or a parameter")


def test_images_of_any_shape_and_layout(model):
    X, y = draw_batch()
    expected_loss, expected_grads = model.loss(X, y)
    expected_scores = model.loss(X)
    for arranged in (X.reshape(N, 3, 1, 2), np.asfortranarray(X), every_second(X)):
        name, rule = (
            f"{type(model).__name__}.loss",
            "It has to be the same, whatever the shape and layout of X.",
        )
        assert_close(f"{name} scores", model.loss(arranged), expected_scores, rule)
        loss, grads = model.loss(arranged, y)
        assert_close(f"{name} loss", loss, expected_loss, rule)
        assert_close(f"{name} dW1", grads["W1"], expected_grads["W1"], rule, atol=1e-12)


def test_minibatch_of_one_example(model):
    X, y = draw_batch(1)
    loss, grads = model.loss(X, y)
    name, shape = f"{type(model).__name__}.loss", model.loss(X).shape
    assert_true(
        shape == (1, C), f"{name}: the scores have the wrong shape", f"Got {shape}, expected (1, {C})."
    )
    for result in ("loss", *grads):
        is_finite = np.isfinite(grads.get(result, loss)).all()
        assert_true(is_finite, f"{name}: {result} is not finite for a minibatch of one example")


@q1
@pytest.mark.parametrize(
    "build_model", [lambda: TwoLayerNet(D, 50, C), lambda: FullyConnectedNet([50], D, C)]
)
def test_small_weights_start_at_the_loss_of_guessing(build_model):
    np.random.seed(0)
    loss, _ = build_model().loss(*draw_batch())
    rule = "With small weights all classes are equally likely: the loss is log C."
    assert_close("the loss of a new model", loss, np.log(C), rule, rtol=1e-2)


@every_normalization
def test_weights_are_drawn_in_order_from_the_global_generator(normalization):
    np.random.seed(6)
    dims = [D, *HIDDEN, C]
    expected = {f"W{i}": 0.05 * np.random.randn(*dims[i - 1 : i + 1]) for i in (1, 2, 3)}
    next_number = np.random.rand()
    np.random.seed(6)
    model = FullyConnectedNet(
        HIDDEN, D, C, dropout=0.5, normalization=normalization, weight_scale=0.05, dtype=np.float64, seed=1
    )
    assert np.random.rand() == next_number
    for name, W in expected.items():
        np.testing.assert_array_equal(model.params[name], W)


@q1
def test_two_layer_net_draws_its_weights_in_order_from_the_global_generator():
    np.random.seed(6)
    W1, W2 = 0.05 * np.random.randn(D, 5), 0.05 * np.random.randn(5, C)
    np.random.seed(6)
    params = TwoLayerNet(D, 5, C, weight_scale=0.05).params
    np.testing.assert_array_equal(params["W1"], W1)
    np.testing.assert_array_equal(params["W2"], W2)


@every_normalization
def test_parameters_and_their_shapes(normalization):
    shapes = {"W1": (D, 5), "b1": (5,), "W2": (5, 4), "b2": (4,), "W3": (4, C), "b3": (C,)}
    if normalization:
        shapes |= {"gamma1": (5,), "beta1": (5,), "gamma2": (4,), "beta2": (4,)}
    params = FullyConnectedNet(HIDDEN, D, C, normalization=normalization).params
    actual = {name: param.shape for name, param in params.items()}
    headline = "FullyConnectedNet._initial_params returns the wrong names or shapes"
    assert_true(actual == shapes, headline, f"Got {actual}, expected {shapes}.")
    for name, param in params.items():
        if not name.startswith("W"):
            rule = "Biases and betas start at 0, gammas at 1."
            assert_equal(
                f"FullyConnectedNet._initial_params {name}", param, int(name.startswith("gamma")), rule
            )


@q1
def test_defaults_are_for_cifar10():
    np.random.seed(0)
    two, many = TwoLayerNet(), FullyConnectedNet([100])
    for model, weight_scale in ((two, 1e-3), (many, 1e-2)):
        name, params = f"{type(model).__name__}._initial_params", model.params
        for key, shape, rtol in (("W1", (3 * 32 * 32, 100), 0.02), ("W2", (100, 10), 0.1)):
            got = f"Got {params[key].shape}, expected {shape}."
            assert_true(params[key].shape == shape, f"{name}: {key} has the wrong shape", got)
            rule = "It is weight_scale."
            assert_close(f"{name}: the deviation of {key}", params[key].std(), weight_scale, rule, rtol=rtol)
        assert model.reg == 0
        assert_true(not params["b1"].any() and not params["b2"].any(), f"{name}: biases do not start at 0")
    assert_dtype("FullyConnectedNet._initial_params W1", many.params["W1"], np.float32, MODELS_DTYPE)


@q1
def test_hidden_dims_are_left_alone_and_may_be_a_tuple_or_empty():
    hidden_dims = [5, 4]
    for _ in range(2):
        assert len(FullyConnectedNet(hidden_dims, D, C).params) == 6
    assert hidden_dims == [5, 4]
    assert len(FullyConnectedNet((5, 4), D, C).params) == 6
    linear = build([])
    X, _ = draw_batch()
    expected = X @ linear.params["W1"] + linear.params["b1"]
    rule = "Without hidden layers the net is one affine layer."
    assert_close("FullyConnectedNet.loss scores", linear.loss(X), expected, rule)


@q2
def test_running_averages_move_in_training_only_and_are_used_in_test():
    model, (X, y) = build(normalization="batchnorm"), draw_batch()
    assert len(model.bn_params) == len(HIDDEN)
    model.loss(X, y)
    a = X @ model.params["W1"] + model.params["b1"]
    what = "FullyConnectedNet.loss(X, y): bn_params[0]['running_{}']"
    rule = "With labels it is in training mode, and running = 0.9 * running + 0.1 * the minibatch's."
    assert_close(what.format("mean"), model.bn_params[0].get("running_mean"), 0.1 * a.mean(axis=0), rule)
    assert_close(what.format("var"), model.bn_params[0].get("running_var"), 0.1 * a.var(axis=0), rule)

    averages = [dict(bn_param) for bn_param in model.bn_params]
    scores = model.loss(X)
    rule = "Without labels batch normalization is in test mode: "
    for before, after in zip(averages, model.bn_params, strict=True):
        for name in ("running_var", "running_mean"):
            what = f"FullyConnectedNet.loss(X): bn_params' {name}"
            assert_equal(what, after[name], before[name], f"{rule}running averages stay as they were.")
    rule += "the scores of an example do not depend on its minibatch."
    assert_close("FullyConnectedNet.loss(X): scores of one example", model.loss(X[:1]), scores[:1], rule)

    model.loss(X, y)  # and training goes on after a test
    moved = not np.array_equal(averages[1]["running_mean"], model.bn_params[1]["running_mean"])
    headline = "FullyConnectedNet.loss(X, y) is not in training mode after a call without labels"
    assert_true(moved, headline, "Running averages have to move again.")


@q2
def test_layers_of_equal_size_keep_their_own_running_averages():
    model = build((4, 4), normalization="batchnorm")
    model.loss(*draw_batch())
    first, second = model.bn_params
    equal = np.allclose(first["running_mean"], second["running_mean"])
    assert_true(not equal, "FullyConnectedNet.loss: two layers share their running averages")


@q2
def test_layernorm_has_the_same_scores_in_training_and_test():
    model, (X, y) = build(normalization="layernorm"), draw_batch()
    loss, _ = model.loss(X, y)
    rule = "Layer normalization is the same in training and in test: the loss is that of the scores."
    assert_close("FullyConnectedNet.loss loss", loss, layers.softmax_loss(model.loss(X), y)[0], rule)


@q3
def test_scores_are_without_dropout():
    dropped, whole = build(dropout=0.5), build()
    X, y = draw_batch()
    rule = "Without labels dropout is in test mode: the scores are those of the net without dropout."
    assert_equal("FullyConnectedNet.loss(X): scores", dropped.loss(X), whole.loss(X), rule)
    loss, _ = dropped.loss(X, y)
    used = loss != whole.loss(X, y)[0]
    assert_true(
        used, "FullyConnectedNet.loss(X, y) does not use dropout", "With labels it is in training mode."
    )
    assert_equal("FullyConnectedNet.loss(X): scores", dropped.loss(X), whole.loss(X), rule)
    again = "A test in between leaves training as it was."
    assert_equal("FullyConnectedNet.loss(X, y): loss", dropped.loss(X, y)[0], loss, again)


@q3
@pytest.mark.parametrize("seed", [0, 123])
def test_a_seed_repeats_the_masks_and_leaves_the_global_generator_alone(seed):
    X, y = draw_batch()
    model = build((200,), dropout=0.5, seed=seed)
    np.random.seed(5)
    expected = np.random.rand()
    np.random.seed(5)
    rule = "With a seed every pass draws the same masks, and not from np.random."
    assert_equal("FullyConnectedNet.loss loss", model.loss(X, y)[0], model.loss(X, y)[0], rule)
    assert_equal("np.random after FullyConnectedNet.loss", np.random.rand(), expected, rule)


@q3
def test_without_a_seed_every_pass_draws_new_masks_that_np_random_seed_repeats():
    X, y = draw_batch()
    model = build((200,), dropout=0.5, seed=None)
    np.random.seed(5)
    first, second = (model.loss(X, y)[0] for _ in range(2))
    rule = "Without a seed np.random draws new masks in every pass."
    assert_true(first != second, "FullyConnectedNet.loss has the same dropout masks in every pass", rule)
    np.random.seed(5)
    assert_equal("FullyConnectedNet.loss loss after np.random.seed", model.loss(X, y)[0], first, rule)


@q3
def test_dropout_is_the_probability_to_keep():
    model = build((10_000,), dropout=0.9)
    model.params["W1"], model.params["b1"] = np.zeros((D, 10_000)), np.ones(10_000)
    _, grads = model.loss(*draw_batch(1))
    kept = grads["W2"][:, 0] != 0  # every hidden unit is 1, so dW2 shows which ones were kept
    got = f"It keeps {kept.mean():.3g}, expected 0.9: dropout is the probability to keep a unit."
    headline = "FullyConnectedNet.loss keeps the wrong share of the hidden units"
    assert_true(abs(kept.mean() - 0.9) < 0.02, headline, got)


@q3
def test_dropout_keep_ratio_is_another_name_for_dropout():
    X, y = draw_batch()
    expected, _ = build(dropout=0.6).loss(X, y)
    assert build(dropout_keep_ratio=0.6).loss(X, y)[0] == expected
    assert build(dropout_keep_ratio=1).loss(X, y)[0] == build().loss(X, y)[0]


@q3
@validation
@pytest.mark.parametrize(
    "settings, message",
    [
        (
            {"dropout": 0.5, "dropout_keep_ratio": 0.5},
            r"dropout=0.5 and dropout_keep_ratio=0.5 are two names .* give one",
        ),
        ({"dropout": 0}, r"dropout, the probability to keep a unit, must be in \(0, 1\]; got 0"),
        ({"dropout": 1.5}, r"dropout, .* must be in \(0, 1\]; got 1.5"),
        ({"dropout_keep_ratio": 0}, r"dropout_keep_ratio must be in \(0, 1\]; got 0"),
        ({"dropout_keep_ratio": -1}, r"dropout_keep_ratio must be in \(0, 1\]; got -1"),
    ],
)
def test_dropout_that_is_no_probability_is_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        FullyConnectedNet(HIDDEN, D, C, **settings)


@q2
@validation
@pytest.mark.parametrize("normalization", ["batch_norm", "BatchNorm", "", True])
def test_unknown_normalization_is_refused_at_once(normalization):
    message = f"normalization must be one of None, 'batchnorm', 'layernorm'; got {normalization!r}"
    with pytest.raises(ValueError, match=message):
        FullyConnectedNet(HIDDEN, D, C, normalization=normalization)


@validation
def test_input_that_does_not_fit_is_refused(model):
    X, y = draw_batch()
    with pytest.raises(ValueError, match=rf"(?i)x must have shape .* = {D}.*got \({N}, {D - 1}\)"):
        model.loss(X[:, 1:], y)
    with pytest.raises(ValueError, match="y must hold labels from 0 to 2; got labels from 3 to 3"):
        model.loss(X, np.full(N, C))
    with pytest.raises(ValueError, match=rf"y must have shape \({N},\)"):
        model.loss(X, y[1:])


@q1
def test_star_import_hands_on_every_layer_and_sandwich():
    names = {}
    exec("from cs231n.classifiers.fc_net import *", names)
    for module in (layers, layer_utils):
        for name in module.__all__:
            assert names[name] is getattr(module, name)
    assert names["TwoLayerNet"] is TwoLayerNet and names["FullyConnectedNet"] is FullyConnectedNet
    assert set(fc_net.__all__) == names.keys() - {"__builtins__"}
