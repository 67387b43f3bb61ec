"""Nothing wrong passes a gradient check, and nothing right fails it."""

import time

import numpy as np
import pytest
from conftest import draw
from right_layers import check_right_layer, check_right_network

from cs231n import layers
from cs231n.classifiers.cnn import ThreeLayerConvNet
from cs231n.classifiers.fc_net import FullyConnectedNet, TwoLayerNet
from cs231n.gradcheck import (
    FAIL,
    PASS,
    WARN,
    check_backward,
    check_gradients,
    check_layer,
    check_model,
    check_projected,
)
from cs231n.gradcheck.diagnosis import Kind
from cs231n.gradcheck.numeric import rounding_of

pytestmark = pytest.mark.q1

X, y = draw((5, 12)), np.array([0, 2, 1, 1, 0])


def kinds(report):
    return [cause.kind for cause in report.all_causes()]


def spoiled(model, change):
    """The model with a loss whose gradients `change` spoils."""

    class Spoiled(type(model)):
        def loss(self, X, y=None):
            result = super().loss(X, y)
            return result if y is None else (result[0], change(dict(result[1])))

    model.__class__ = Spoiled
    return model


def small_model(kind, **options):
    np.random.seed(0)
    if kind == "two-layer":
        return TwoLayerNet(12, 4, 3)
    if kind == "convolutional":
        return ThreeLayerConvNet((3, 2, 2), 2, 1, 4, 3, **options)
    hidden = [6] * 4 if kind == "deep" else [6]
    return FullyConnectedNet(hidden, 12, 3, **options)


MODELS = ("two-layer", "one-hidden", "deep", "convolutional")


class TestFloat32:
    """The models' default dtype is float32, and their default weights are small."""

    @pytest.mark.parametrize("kind", MODELS)
    def test_a_right_model_passes(self, kind):
        images = X.reshape(5, 3, 2, 2) if kind == "convolutional" else X
        for data in (images, images.astype(np.float32)):
            assert check_model(small_model(kind), data, y).status == PASS

    @pytest.mark.parametrize("kind", MODELS)
    @pytest.mark.parametrize("factor", [0, -1, 1.01])
    def test_a_wrong_gradient_of_any_parameter_fails(self, kind, factor):
        images = X.reshape(5, 3, 2, 2) if kind == "convolutional" else X
        names = list(small_model(kind).params)
        for name in (names[0], names[-1]) if kind == "deep" else names:
            model = spoiled(small_model(kind), lambda g, name=name: {**g, name: factor * g[name]})
            failed = [c.name for c in check_model(model, images, y).comparisons if c.status == FAIL]
            assert failed == [f"d{name}"]

    def test_the_model_itself_stays_as_it_is(self):
        model = small_model("one-hidden", normalization="batchnorm")
        before = {name: param.copy() for name, param in model.params.items()}
        assert check_model(model, X, y).status == PASS
        for name, param in before.items():
            np.testing.assert_array_equal(model.params[name], param)
            assert model.params[name].dtype == np.float32
        assert model.dtype == np.float32
        assert all("running_mean" not in param for param in model.bn_params)

    def test_a_loss_that_is_always_in_float32_is_refused(self):
        model = spoiled(small_model("one-hidden"), lambda g: g)
        loss = model.loss
        model.loss = lambda X, y=None: (np.float32(loss(X, y)[0]), loss(X, y)[1])
        assert kinds(check_model(model, X, y)) == [Kind.PRECISION]

    def test_what_is_wrong_with_the_loss_comes_before_the_dtype(self):
        """A loss that varies, raises or is still to be written says so, in the default dtype too."""
        assert kinds(check_model(small_model("one-hidden", dropout=0.5), X, y)) == [Kind.VARIES]
        report = check_model(small_model("one-hidden"), X, y + 3)
        assert kinds(report) == [Kind.ERROR]
        assert "y must hold labels from 0 to 2" in str(report)

        class Unwritten(FullyConnectedNet):
            def loss(self, X, y=None):
                raise NotImplementedError("write me")

        with pytest.raises(NotImplementedError, match="write me"):
            check_model(Unwritten([6], 12, 3), X, y)

    def test_arrays_in_float32_are_checked_in_float64(self, capsys):
        x, w = draw((3, 4)).astype(np.float32), draw((4, 2), seed=1).astype(np.float32)
        dout = draw((3, 2), seed=2).astype(np.float32)
        check_backward("product", np.matmul, {"x": x, "w": w}, dout, (dout @ w.T, x.T @ dout))
        assert capsys.readouterr().out.count("PASS") == 2
        for wrong in (0 * w, -w, 1.01 * w):
            with pytest.raises(AssertionError, match="FAIL  product dw"):
                check_backward("product", np.matmul, {"x": x, "w": w}, dout, (dout @ w.T, wrong))


class TestState:
    """A forward pass that keeps a state, or works in place, has no numeric gradient."""

    def drifting(self):
        state = {"mean": np.zeros(3)}

        def forward(x):
            state["mean"] = 0.9 * state["mean"] + 0.1 * x.mean(axis=0)
            return x - state["mean"]

        return forward

    def test_check_backward_names_a_state(self):
        x, dout = draw((4, 3)), draw((4, 3), seed=1)
        with pytest.raises(AssertionError, match="the forward pass changes from call to call"):
            check_backward("centered", self.drifting(), {"x": x}, dout, [0.3 * dout])

    def test_check_layer_names_a_state(self):
        forward = self.drifting()
        report = check_layer(lambda x: (forward(x), None), lambda dout, _: 0.3 * dout, {"x": draw((4, 3))})
        assert kinds(report) == [Kind.VARIES]

    def test_a_state_that_moves_later_is_seen_at_the_end(self):
        calls = []

        def forward(x):
            calls.append(1)
            return x * (1 + 1e-3 * max(len(calls) - 8, 0))

        x, dout = draw((4, 3)), draw((4, 3), seed=1)
        with pytest.raises(AssertionError, match="the forward pass changes from call to call"):
            check_backward("drifting", forward, {"x": x}, dout, [dout])

    def test_check_backward_names_work_in_place(self):
        def forward(x):
            x[x < 0] = 0
            return x

        x = draw((4, 3))
        before, dout = x.copy(), draw((4, 3), seed=1)
        with pytest.raises(AssertionError, match="the forward pass modifies its argument x"):
            check_backward("relu", forward, {"x": x}, dout, [dout * (x > 0)])
        np.testing.assert_array_equal(x, before)

    def test_spatial_batch_norm_on_its_running_averages(self):
        state = np.zeros((1, 2, 1, 1))

        def forward(x):
            state[...] = 0.9 * state + 0.1 * x.mean(axis=(0, 2, 3), keepdims=True)
            return x - state

        x, dout = draw((2, 2, 3, 3)), draw((2, 2, 3, 3), seed=1)
        with pytest.raises(AssertionError, match="the forward pass changes"):
            check_backward("spatial", forward, {"x": x}, dout, [0 * dout])

    def test_an_upstream_gradient_of_another_shape_is_refused(self):
        with pytest.raises(
            ValueError, match=r"dout must have the shape of the output, \(4, 3\); got .*\(3,\)"
        ):
            check_backward("relu", np.abs, {"x": draw((4, 3))}, np.ones(3), [np.ones((4, 3))])


class TestUndecided:
    def test_kinks_everywhere_are_no_pass(self):
        x = np.zeros((3, 4))
        report = check_layer(lambda x: (np.abs(x), None), lambda dout, _: 0.3 * dout, {"x": x})
        assert kinds(report) == [Kind.UNDECIDED]
        assert "FAIL  dx: not decided." in str(report)

    def test_kinks_along_every_direction_are_no_pass(self):
        pair = (lambda x: (np.abs(x), None), lambda dout, _: 0.3 * dout)
        report = check_projected(*pair, {"x": np.zeros((30, 40))})
        assert kinds(report) == [Kind.UNDECIDED]

    def test_rounding_within_the_forward_pass_counts(self):
        """(1e8 + x) - 1e8 is x up to 1e-8: the rounding is in the sum, and the output does not show it."""
        x, dout = draw((3, 4)), draw((3, 4), seed=1)
        plain = rounding_of(lambda: x, [x], dout)
        cancelled = rounding_of(lambda: (1e8 * (1 + x)) - 1e8, [x], dout)
        assert plain < 1e-14 < 1e-9 < cancelled

    def test_some_kinks_are(self):
        x = draw((3, 4))
        x[0] = 0
        report = check_layer(lambda x: (np.abs(x), x), lambda dout, x: np.where(x < 0, -dout, dout), {"x": x})
        assert report.status == WARN

    def test_the_error_is_that_of_all_entries(self):
        """An entry beside a kink is compared with the slope of a smaller step."""
        x = np.array([[1.0, 2e-6, -3e-6, -2.0]])
        report = check_layer(layers.relu_forward, layers.relu_backward, {"x": x})
        assert (report.status, report.comparisons[0].notes) == (PASS, [])
        assert report.comparisons[0].error < 1e-9


class TestRight:
    @pytest.mark.parametrize("number", range(48))
    def test_a_right_layer_does_not_fail(self, number):
        _, report = check_right_layer(number)
        assert report.status != FAIL, str(report)

    @pytest.mark.parametrize("number", range(12))
    def test_a_right_network_passes(self, number):
        _, report = check_right_network(number)
        assert report.status == PASS, str(report)

    @pytest.mark.parametrize("layers_count", [2, 4, 8])
    @pytest.mark.parametrize("seed", range(3))
    def test_a_network_of_any_depth_at_its_default_weights(self, layers_count, seed):
        np.random.seed(seed)
        model = FullyConnectedNet([5] * layers_count, 12, 3, dtype=np.float64)
        report = check_model(model, X, y)
        assert report.status == PASS
        if layers_count > 2:
            assert "Checked with larger weights: W1 times" in str(report)

    def test_normalizations_have_no_kinks(self):
        x = 0.0085 * draw((8, 5))
        inputs = {"x": x, "gamma": 1.8 * np.ones(5), "beta": np.zeros(5)}
        report = check_layer(
            lambda *a: layers.batchnorm_forward(*a, {"mode": "train"}), layers.batchnorm_backward, inputs
        )
        assert report.status == PASS

    @pytest.mark.parametrize("window, stride", [(2, 1), (3, 2), (3, 1)])
    @pytest.mark.parametrize("seed", range(10))
    def test_ties_in_overlapping_windows(self, window, stride, seed):
        x = np.maximum(np.random.default_rng(seed).integers(-3, 4, (2, 2, 7, 7)), 0).astype(float)
        param = {"pool_height": window, "pool_width": window, "stride": stride}
        report = check_layer(
            lambda x: layers.max_pool_forward_naive(x, param), layers.max_pool_backward_naive, {"x": x}
        )
        assert report.status != FAIL, str(report)


class TestForward:
    INPUTS = {"x": draw((3, 4))}  # noqa: RUF012

    def test_a_reference_is_compared_with(self):
        report = check_layer(
            layers.relu_forward,
            layers.relu_backward,
            self.INPUTS,
            reference=lambda x: np.maximum(x, 0),
            name="relu",
        )
        assert str(report).startswith("PASS  relu out: relative error 0.0e+00 (at most 1e-09)\nPASS  relu dx")

    def test_another_output_than_the_reference_fails_with_its_cause(self):
        report = check_layer(
            lambda x: (2 * x, None), lambda dout, _: 2 * dout, self.INPUTS, reference=lambda x: (x, None)
        )
        assert [c.status for c in report.comparisons] == [FAIL, PASS]
        assert [cause.title for cause in report.all_causes()] == ["it is 2 times too large"]

    def test_a_property_holds_or_is_quoted(self):
        def check(sentence, holds):
            return check_layer(
                layers.relu_forward, layers.relu_backward, self.INPUTS, properties={sentence: holds}
            )

        assert check("no output is negative", lambda out: (out >= 0).all()).status == PASS
        report = check("outputs are at most 1", lambda out: out.max() <= 0.1)
        assert kinds(report) == [Kind.PROPERTY]
        assert "this should hold, and does not: outputs are at most 1" in str(report)


class TestSize:
    def test_a_large_layer_is_checked_along_directions(self):
        inputs = {"x": draw((20, 300)), "w": draw((300, 40), seed=1), "b": draw(40, seed=2)}
        report = check_layer(layers.affine_forward, layers.affine_backward, inputs)
        assert report.status == PASS
        assert "each of the 18,040 entries" in str(report)

    def test_a_slow_layer_is_checked_along_directions(self):
        def slow_forward(x):
            time.sleep(0.02)
            return layers.relu_forward(x)

        start = time.perf_counter()
        report = check_layer(slow_forward, layers.relu_backward, {"x": 1 + np.abs(draw((30, 40)))})
        assert time.perf_counter() - start < 20
        assert report.status == PASS and "each of the 1,200 entries" in str(report)

    def test_a_large_model_is_checked_along_directions(self):
        np.random.seed(0)
        net = FullyConnectedNet([100], 120, 3)
        assert check_model(net, draw((4, 120)), y[:4]).status == PASS
        for factor in (0, -1, 1.01):
            model = spoiled(FullyConnectedNet([100], 120, 3), lambda g, f=factor: {**g, "W1": f * g["W1"]})
            failed = [
                c.name for c in check_model(model, draw((4, 120)), y[:4]).comparisons if c.status == FAIL
            ]
            assert failed == ["dW1"]


def test_check_gradients_prints_every_parameter_before_it_fails():
    model = spoiled(small_model("one-hidden"), lambda g: {**g, "W1": -g["W1"], "b2": 2 * g["b2"]})
    with pytest.raises(AssertionError) as failure:
        check_gradients(model, X, y)
    for line in ("FAIL  dW1", "PASS  dW2", "PASS  db1", "FAIL  db2"):
        assert line in str(failure.value)
