"""What the notebooks explain is so: each cause is separated from others by an experiment that could fail."""

import numpy as np
import pytest
from conftest import draw

from cs231n.classifiers.fc_net import FullyConnectedNet
from cs231n.gradcheck import rel_error
from cs231n.layer_utils import affine_relu_backward, affine_relu_forward
from cs231n.layers import (
    batchnorm_backward_alt,
    batchnorm_forward,
    layernorm_forward,
    softmax_loss,
    svm_loss,
)
from cs231n.optim import adam, rmsprop, sgd, sgd_momentum
from cs231n.solver import Solver

PIXELS = 50 * draw((200, 30), seed=3)  # as large as raw pixels
LABELS = np.argmax(PIXELS @ draw((30, 10), seed=4), axis=1)


def net(hidden_dims=(20, 20, 20), seed=0, **options):
    np.random.seed(seed)
    return FullyConnectedNet(list(hidden_dims), input_dim=PIXELS.shape[1], **options)


# ---------------------------------------------------------------------------------------- FullyConnectedNets


@pytest.mark.q1
@pytest.mark.parametrize("loss", [softmax_loss, svm_loss])
def test_the_gradient_of_a_loss_is_that_of_the_mean(loss):
    scores, y = draw((6, 4)), np.arange(6) % 4
    _, dscores = loss(scores, y)
    each = np.concatenate([loss(scores[i : i + 1], y[i : i + 1])[1] for i in range(6)])
    np.testing.assert_allclose(dscores, each / 6)


def train_with_a_dead_unit(layer, steps=400):
    """Train a net of two hidden layers, in one of which no example reaches unit 0; return its history.

    That is the number of examples that reach the unit in each step, and whether its own weights moved
    while there were none.
    """
    rng = np.random.RandomState(0)
    x = rng.randn(200, 5)
    y = np.sin(2 * x[:, 0]) + x[:, 1]
    weights = [0.6 * rng.randn(5, 20), 0.3 * rng.randn(20, 20)]
    biases = [np.zeros(20), np.zeros(20)]
    last = 0.3 * rng.randn(20)
    below = x if layer == 0 else np.maximum(x @ weights[0], 0)
    biases[layer][0] = -(below @ weights[layer][:, 0]).max() - 1e-3
    own = weights[layer][:, 0].copy()
    alive = []
    for _ in range(steps):
        hidden, cache1 = affine_relu_forward(x, weights[0], biases[0])
        top, cache2 = affine_relu_forward(hidden, weights[1], biases[1])
        alive.append(int(np.sum((hidden, top)[layer][:, 0] > 0)))
        if alive[-1]:
            break
        assert np.array_equal(weights[layer][:, 0], own)
        dscores = (top @ last - y) / len(x)
        dhidden, dw2, db2 = affine_relu_backward(np.outer(dscores, last), cache2)
        _, dw1, db1 = affine_relu_backward(dhidden, cache1)
        for array, gradient in (
            (weights[0], dw1),
            (biases[0], db1),
            (weights[1], dw2),
            (biases[1], db2),
            (last, top.T @ dscores),
        ):
            array -= 0.1 * gradient
    return alive


@pytest.mark.q1
def test_a_dead_unit_of_the_first_layer_stays_dead():
    assert not any(train_with_a_dead_unit(layer=0))


@pytest.mark.q1
def test_a_dead_unit_of_the_second_layer_can_come_back():
    alive = train_with_a_dead_unit(layer=1)
    assert alive[0] == 0
    assert alive[-1] > 0


@pytest.mark.q1
@pytest.mark.parametrize("depth", [3, 5])
def test_scores_grow_with_the_weight_scale_to_the_power_of_the_depth(depth):
    one, two = (net([20] * (depth - 1), weight_scale=scale, dtype=np.float64) for scale in (0.1, 0.2))
    np.testing.assert_allclose(two.loss(PIXELS), 2**depth * one.loss(PIXELS))


@pytest.mark.q1
@pytest.mark.parametrize("seed", range(5))
def test_large_inputs_alone_make_a_large_initial_loss(seed):
    model = net([100] * 4, seed=seed, weight_scale=0.2)
    raw, _ = model.loss(PIXELS, LABELS)
    scaled, _ = model.loss(PIXELS / 50 / 10, LABELS)
    assert raw > 2 * np.log(10)
    assert scaled == pytest.approx(np.log(10), rel=0.1)


@pytest.mark.q1
def test_a_fully_connected_net_does_not_know_which_pixels_are_neighbours():
    order = np.random.RandomState(0).permutation(PIXELS.shape[1])
    histories = []
    for pixels, rows in ((PIXELS, slice(None)), (PIXELS[:, order], order)):
        model = net(weight_scale=0.05, dtype=np.float64)
        model.params["W1"] = model.params["W1"][rows]
        np.random.seed(1)
        data = {"X_train": pixels, "y_train": LABELS, "X_val": pixels, "y_val": LABELS}
        solver = Solver(model, data, num_epochs=3, batch_size=20, verbose=False)
        solver.train()
        histories.append(solver.loss_history)
    np.testing.assert_allclose(*histories, rtol=1e-9)


def steps_of(rule, gradients, learning_rate=0.1):
    """Return the size of every step that a rule takes for these gradients."""
    w, config, steps = np.zeros(1), {"learning_rate": learning_rate}, []
    for gradient in gradients:
        next_w, config = rule(w, np.array([gradient]), config)
        steps.append(abs(float(next_w[0] - w[0])))
        w = next_w
    return np.array(steps)


@pytest.mark.q1
def test_adam_keeps_its_step_where_the_gradient_stays():
    np.testing.assert_allclose(steps_of(adam, [7.0] * 300), 0.1, rtol=1e-6)


@pytest.mark.q1
@pytest.mark.parametrize(
    "gradients", [0.98 ** np.arange(300), (-1.0) ** np.arange(300)], ids=["shrinking", "changing its sign"]
)
def test_adams_step_shrinks_where_the_gradient(gradients):
    assert steps_of(adam, gradients)[-1] < 0.02


@pytest.mark.q1
def test_rmsprops_first_step_is_ten_times_its_rate():
    first, *_, last = steps_of(rmsprop, [7.0] * 2000)
    assert first == pytest.approx(1.0, rel=1e-6)
    assert last == pytest.approx(0.1, rel=1e-3)


@pytest.mark.q1
def test_momentum_adds_up_ten_gradients():
    assert steps_of(sgd_momentum, [1.0] * 300)[-1] == pytest.approx(10 * steps_of(sgd, [1.0])[0])


# ---------------------------------------------------------------------------------------- BatchNormalization


@pytest.mark.q2
@pytest.mark.parametrize(("eps", "is_removed"), [(0.0, True), (0.5, False)])
def test_the_gradient_has_no_part_along_x_hat_only_without_eps(eps, is_removed):
    x, gamma, dout = draw((8, 3)), draw(3, seed=1), draw((8, 3), seed=2)
    _, cache = batchnorm_forward(x, gamma, np.zeros(3), {"mode": "train", "eps": eps})
    dx, _, _ = batchnorm_backward_alt(dout, cache)
    along = np.sum(dx * (x - x.mean(axis=0)), axis=0)
    np.testing.assert_allclose(dx.sum(axis=0), 0, atol=1e-12)
    assert (np.abs(along).max() < 1e-12) == is_removed


def batchnorm_net(scale, dtype=np.float64):
    """A net whose hidden weights have this scale, its last ones 0.1, and almost no epsilon."""
    model = net(weight_scale=scale, normalization="batchnorm", dtype=dtype)
    model.params["W4"] *= 0.1 / scale
    for bn_param in model.bn_params:
        bn_param["eps"] = 1e-30
    return model


def losses(scale, rate, rule="adam"):
    """Train with the hidden weights at a rate of their own and their biases held; return the losses."""
    model = batchnorm_net(scale)
    np.random.seed(1)
    data = {"X_train": PIXELS, "y_train": LABELS, "X_val": PIXELS, "y_val": LABELS}
    config = {"learning_rate": 1e-3} | ({"epsilon": 1e-30} if rule == "adam" else {})
    solver = Solver(
        model, data, update_rule=rule, optim_config=config, num_epochs=4, batch_size=20, verbose=False
    )
    for i in range(1, 4):
        solver.optim_configs[f"W{i}"]["learning_rate"] = rate
        solver.optim_configs[f"b{i}"]["learning_rate"] = 0.0
    solver.train()
    return np.array(solver.loss_history)


@pytest.mark.q2
@pytest.mark.parametrize("scale", [1e-4, 1e-2, 10.0])
def test_with_the_rate_in_proportion_to_the_scale_training_is_the_same(scale):
    """Adam's steps do not depend on the size of the gradient; SGD's do, which is 1 / scale."""
    np.testing.assert_allclose(losses(scale, scale / 100), losses(1.0, 0.01), rtol=1e-5)
    np.testing.assert_allclose(losses(scale, scale**2, "sgd"), losses(1.0, 1.0, "sgd"), rtol=1e-5)


@pytest.mark.q2
def test_with_one_rate_for_all_scales_training_differs_though_epsilon_does_not_count():
    assert abs(losses(1e-4, 1e-3) - losses(1.0, 1e-3)).max() > 0.1


@pytest.mark.q2
def test_the_gradient_of_a_layer_is_inversely_proportional_to_the_scale_of_that_layer_alone():
    model = batchnorm_net(0.1)
    _, before = model.loss(PIXELS, LABELS)
    model.params["W2"] *= 0.1
    _, after = model.loss(PIXELS, LABELS)
    np.testing.assert_allclose(after["W2"], 10 * before["W2"], rtol=1e-6)
    np.testing.assert_allclose(after["W3"], before["W3"], rtol=1e-6)


@pytest.mark.q2
def test_adam_walks_on_the_rounding_errors_of_a_gradient_that_is_zero():
    model = batchnorm_net(1e-3, dtype=np.float32)
    _, grads = model.loss(PIXELS, LABELS)
    assert 0 < np.abs(grads["b1"]).max() < 1e-4 * np.abs(grads["W1"]).max()
    data = {"X_train": PIXELS, "y_train": LABELS, "X_val": PIXELS, "y_val": LABELS}
    Solver(model, data, update_rule="adam", num_epochs=5, batch_size=20, verbose=False).train()
    assert np.abs(model.params["b1"]).max() > 1e-3


@pytest.mark.q2
def test_two_features_lose_all_but_their_order_in_layer_norm():
    out, _ = layernorm_forward(draw((9, 2)), np.ones(2), np.zeros(2), {"eps": 0.0})
    assert rel_error(np.abs(out), np.ones((9, 2))) < 1e-12
