"""The trace of a training run: its numbers, and that training does not notice it."""

import sys
from functools import partial

import matplotlib.pyplot as plt
import numpy as np
import pytest

from cs231n import layers
from cs231n.classifiers.cnn import ThreeLayerConvNet
from cs231n.classifiers.deep_cnn import DeepConvNet
from cs231n.classifiers.fc_net import FullyConnectedNet
from cs231n.layers import affine_backward, affine_forward, relu_backward, relu_forward, softmax_loss
from cs231n.solver import Solver
from cs231n.tracing import trace
from cs231n.vis_utils import plot_traces

pytestmark = pytest.mark.q1


def rms(values):
    return np.sqrt(np.mean(values**2))


@pytest.fixture
def data():
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((20, 3, 8, 8)), rng.integers(3, size=20)
    return {"X_train": X, "y_train": y, "X_val": X[:5], "y_val": y[:5]}


def solver_of(make, data, **options):
    np.random.seed(1)
    return Solver(make(), data, batch_size=5, num_epochs=2, verbose=False, **options)


net = partial(FullyConnectedNet, [6, 5], 192, 3, weight_scale=0.1, dtype=np.float64)


class Learners:
    """A model as a learner may write it: of the plain layers, one after the other."""

    def __init__(self, backward=affine_backward):
        self.params = {"W1": np.full((192, 4), 0.01), "b1": np.array([1.0, -1e9, 1.0, 1.0])}
        self.params |= {"W2": np.random.randn(4, 3), "b2": np.zeros(3)}
        self.backward = backward

    def loss(self, X, y=None):
        hidden, first = affine_forward(X, self.params["W1"], self.params["b1"])
        hidden, kinks = relu_forward(hidden)
        scores, last = affine_forward(hidden, self.params["W2"], self.params["b2"])
        if y is None:
            return scores
        loss, dscores = softmax_loss(scores, y)
        dhidden, dW2, db2 = self.backward(dscores, last)
        _, dW1, db1 = affine_backward(relu_backward(dhidden, kinks), first)
        return loss, {"W1": dW1, "b1": db1, "W2": dW2, "b2": db2}


class TestNumbers:
    def test_signals_and_gradients_are_those_of_the_layers(self, data):
        solver = solver_of(Learners, data | {"X_train": data["X_train"][:1], "y_train": data["y_train"][:1]})
        params = {name: param.copy() for name, param in solver.model.params.items()}
        found = trace(solver, 1)

        hidden = data["X_train"][0].ravel() @ params["W1"] + params["b1"]
        outputs = hidden, np.maximum(hidden, 0), np.maximum(hidden, 0) @ params["W2"] + params["b2"]
        probabilities = np.exp(outputs[2]) / np.exp(outputs[2]).sum()
        dscores = (
            probabilities - np.eye(3)[data["y_train"][0]]
        ) / 5  # each of five equal examples has a fifth
        dhidden = params["W2"] @ dscores
        gradients = dhidden * (hidden > 0), dhidden, dscores
        assert found.layers == ("affine 1", "relu 1", "affine 2")
        np.testing.assert_allclose(found.signals, [[rms(out) for out in outputs]])
        np.testing.assert_allclose(found.gradients, [[rms(grad) for grad in gradients]])

    def test_updates_are_those_of_the_rule(self, data):
        solver = solver_of(net, data, optim_config={"learning_rate": 0.5})
        before = {name: param.copy() for name, param in solver.model.params.items()}
        found = trace(solver, 1)
        assert found.params == ("W1", "b1", "W2", "b2", "W3", "b3")
        for name, ratio in zip(found.params, found.updates[0], strict=True):
            if name[0] == "b":
                assert np.isnan(ratio)  # biases start at 0
            else:
                step = solver.model.params[name] - before[name]
                assert 0 < ratio == pytest.approx(rms(step) / rms(before[name]))

    def test_a_dead_unit_is_one_that_is_0_for_all(self, data):
        found = trace(solver_of(Learners, data), 2)
        np.testing.assert_array_equal(found.dead, [[np.nan, 0.25, np.nan]] * 2)

    def test_a_dead_channel_is_one_that_is_0_everywhere(self, data):
        solver = solver_of(partial(ThreeLayerConvNet, (3, 8, 8), 4, 3, 5, 3, 0.1), data)
        solver.model.params["b1"][:3] = -1e9
        found = trace(solver, 1)
        assert found.layers == ("conv 1", "max_pool 1", "relu 1", "affine 1", "relu 2", "affine 2")
        assert found.dead[0, 2] == 0.75

    def test_every_so_many_steps(self, data):
        all_steps = trace(solver_of(net, data), 7)
        some = trace(solver_of(net, data), 7, every=3)
        assert some.steps.tolist() == [0, 3, 6]
        for name in ("signals", "gradients", "dead", "updates"):
            np.testing.assert_array_equal(getattr(some, name), getattr(all_steps, name)[::3])


@pytest.mark.parametrize("normalization", [None, "batchnorm", "layernorm"])
@pytest.mark.parametrize("dropout", [1, 0.5])
def test_layers_of_every_network(normalization, dropout, data):
    found = trace(solver_of(partial(net, normalization=normalization, dropout=dropout), data), 1)
    kinds = ["affine", *[normalization] * bool(normalization), "relu", *["dropout"] * (dropout < 1)]
    assert found.layers == (*[f"{kind} {i}" for i in (1, 2) for kind in kinds], "affine 3")
    assert np.all(found.signals > 0) and np.all(found.gradients > 0)


def test_layers_inside_residual_blocks(data):
    found = trace(solver_of(partial(DeepConvNet, (3, 8, 8), (2, 3, 4), 3), data), 1)
    assert [name for name in found.layers if name.startswith("conv")] == [f"conv {i}" for i in (1, 2, 3, 4)]


NESTED = """
def spatial_batchnorm_forward(x, gamma, beta, bn_param):
    return batchnorm_forward(x, gamma, beta, bn_param)


def spatial_batchnorm_backward(dout, cache):
    return batchnorm_backward(dout, cache)
"""


class Spatial:
    """A model with a layer that calls another layer, as learners write spatial batch normalization."""

    def __init__(self):
        self.params = {"gamma": np.ones(192), "beta": np.zeros(192)}

    def loss(self, X, y=None):
        X = X.reshape(len(X), -1)
        scores, cache = layers.spatial_batchnorm_forward(X, *self.params.values(), {"mode": "train"})
        if y is None:
            return scores
        loss, dscores = softmax_loss(scores, y)
        _, dgamma, dbeta = layers.spatial_batchnorm_backward(dscores, cache)
        return loss, {"gamma": dgamma, "beta": dbeta}


def test_a_layer_inside_a_layer_is_part_of_it(data, monkeypatch):
    for name in ("spatial_batchnorm_forward", "spatial_batchnorm_backward"):
        monkeypatch.setattr(layers, name, None)  # to put it back afterwards
    exec(NESTED, vars(layers))
    assert trace(solver_of(Spatial, data), 1).layers == ("spatial_batchnorm 1",)


class TestTraining:
    def test_goes_on_as_without_a_trace(self, data):
        watched = solver_of(net, data, update_rule="adam")
        trace(watched, 5, every=2)
        watched.train()
        alone = solver_of(net, data, update_rule="adam")
        alone.train()
        assert watched.loss_history == alone.loss_history
        for name, param in alone.model.params.items():
            np.testing.assert_array_equal(watched.model.params[name], param)

    @pytest.mark.parametrize("fails", [False, True])
    def test_leaves_the_profiler_of_the_process(self, data, fails):
        def profiler(*event):
            pass

        solver = solver_of(net, data)
        if fails:
            solver.model.params["W1"][0, 0] = np.nan
        sys.setprofile(profiler)
        try:
            with pytest.raises(FloatingPointError) if fails else np.errstate():
                trace(solver, 1)
            assert sys.getprofile() is profiler
        finally:
            sys.setprofile(None)


class TestErrors:
    def test_a_backward_pass_that_leaves_out_a_layer(self, data):
        def by_hand(dout, cache):
            x, w = cache
            return dout @ w.T, x.T @ dout, dout.sum(axis=0)

        with pytest.raises(
            ValueError, match="in reverse; got affine, relu, affine forward and, in reverse, affine, relu"
        ):
            trace(solver_of(partial(Learners, by_hand), data), 1)

    @pytest.mark.parametrize("arguments", [(0,), (2.5,), (1, 0)])
    def test_counts_that_do_not_fit(self, data, arguments):
        with pytest.raises(ValueError, match=r"(steps|every) must be an integer"):
            trace(solver_of(net, data), *arguments)


def test_a_figure_shows_all_of_it(data, monkeypatch):
    found = trace(solver_of(net, data), 4)
    shown = []
    monkeypatch.setattr(plt, "show", lambda: shown.append(plt.gcf()))
    plot_traces({"one": found, "the same": found})
    (figure,) = shown
    panels = [axis for axis in figure.axes if axis.get_title()]
    sizes, gradients, steps = (
        f"{what}" for what in ("size of the outputs", "size of their gradients", "steps")
    )
    titles = [axis.get_title() for axis in panels]
    assert titles[:3] == [f"one: {sizes}", gradients, f"{steps}, relative to the weights"]
    assert titles[3:] == [f"the same: {sizes}", *titles[1:3]]
    assert [text.get_text() for text in panels[0].get_yticklabels()] == list(found.layers)
    (strip,) = panels[0].collections
    np.testing.assert_array_equal(strip.get_array(), found.signals.T)
    _, *curves = panels[2].lines
    assert [line.get_label() for line in curves] == ["W1", "W2", "W3"]
    np.testing.assert_array_equal(curves[1].get_ydata(), found.updates[:, 2])


def test_a_figure_leaves_sizes_of_0_blank(data, monkeypatch):
    shown = []
    monkeypatch.setattr(plt, "show", lambda: shown.append(plt.gcf()))
    found = trace(solver_of(partial(FullyConnectedNet, [4], 192, 3, weight_scale=0), data), 2)
    assert found.signals[0, 1] == 0
    plot_traces({"": found})
    (strip,) = shown[0].axes[0].collections
    assert strip.get_array().mask[1, 0]


def test_it_watches_the_modules_that_have_layers():
    from cs231n import compiled_layers, fast_layers
    from cs231n.tracing import LAYERS

    assert {module.__name__ for module in (layers, fast_layers, compiled_layers)} == LAYERS
