"""The gradient report is what a learner reads: its text, its status, and that nothing makes it crash."""

import doctest
import inspect
from collections import Counter

import numpy as np
import pytest
from conftest import draw, draw_all

from cs231n import gradient_check, passes
from cs231n.classifiers.fc_net import TwoLayerNet
from cs231n.gradcheck import check as check_module
from cs231n.gradcheck import notebook, numeric
from cs231n.gradcheck.check import (
    FAIL,
    PASS,
    WARN,
    Comparison,
    Report,
    check_layer,
    check_model,
    check_projected,
)
from cs231n.gradcheck.compare import compare, compare_all
from cs231n.gradcheck.diagnosis import Cause
from cs231n.gradcheck.notebook import check_backward, check_gradients
from cs231n.gradcheck.numeric import Numeric, numeric_gradient
from cs231n.layers import (
    affine_backward,
    affine_forward,
    batchnorm_backward,
    batchnorm_forward,
    dropout_backward,
    dropout_forward,
    relu_backward,
    relu_forward,
)

pytestmark = pytest.mark.q1


def arrays_of(*shapes):
    return dict(zip("xwb", draw_all(shapes, seed=4), strict=False))


AFFINE = arrays_of((3, 5), (5, 7), (7,))


def with_gradients(change, **options):
    """The Report on an affine layer whose gradients are change(dx, dw, db)."""

    def backward(dout, cache):
        return change(*affine_backward(dout, cache))

    return check_layer(affine_forward, backward, AFFINE, **options)


class TestText:
    def test_of_what_passes(self):
        report = Report("affine", [Comparison("affine dx", PASS, 3e-9, 1e-6)])
        assert str(report) == "PASS  affine dx: relative error 3.0e-09 (at most 1e-06)"
        assert report.status == PASS

    def test_of_a_warning(self):
        report = Report(
            "", [Comparison("dx", PASS, 0, 1e-6), Comparison("dw", WARN, 0, 1e-6, notes=["Noise."])]
        )
        assert str(report).split("\n")[1:] == [
            "WARN  dw: relative error 0.0e+00 (at most 1e-06)",
            "      Noise.",
        ]
        assert report.status == WARN

    def test_of_a_failure(self):
        cause = Cause("its sign is wrong", "it is -1 times what it should be", "Look for a minus.")
        comparison = Comparison("dx", FAIL, 1.0, 1e-6, [((0, 2), 1.5, -1.5)], [cause], ["A note."])
        assert str(comparison).split("\n") == [
            "FAIL  dx: relative error 1.0e+00, at most 1e-06.",
            "      its sign is wrong: it is -1 times what it should be. Look for a minus.",
            "      (0, 2): got 1.5, expected -1.5",
            "      A note.",
        ]

    def test_of_a_failure_that_nothing_explains(self):
        text = str(Comparison("dx", FAIL, 1.0, 1e-6, [((0,), 1.5, 2.5)]))
        assert "No known mistake matches. Worst entries:\n      (0,): got 1.5" in text

    def test_of_a_layer_that_fails_as_a_whole(self):
        cause = Cause("it raises an error", "ValueError: x", "Look.")
        assert str(Report("relu", causes=[cause])) == "FAIL  relu: it raises an error: ValueError: x. Look."
        assert str(Report("", causes=[cause])) == "FAIL  it raises an error: ValueError: x. Look."
        assert Report("relu", causes=[cause]).status == FAIL

    def test_is_what_a_notebook_prints(self):
        printed = []
        report = Report("", [Comparison("dx", PASS, 0, 1e-6)])
        report._repr_pretty_(type("Printer", (), {"text": staticmethod(printed.append)}), False)
        assert printed == [str(report)]

    def test_raise_if_failed(self):
        Report("", [Comparison("dx", WARN, 0, 1e-6)]).raise_if_failed()
        with pytest.raises(AssertionError, match="FAIL  dw: relative error"):
            Report("", [Comparison("dx", PASS, 0, 1), Comparison("dw", FAIL, 1, 1)]).raise_if_failed()

    def test_causes_of_the_whole_come_first(self):
        first, second = Cause("a", "", ""), Cause("b", "", "")
        report = Report("", [Comparison("dx", FAIL, 1, 1, causes=[second])], [first])
        assert report.all_causes() == [first, second]


class TestLayer:
    def test_passes_with_a_line_for_each_gradient(self):
        report = check_layer(affine_forward, affine_backward, AFFINE, name="affine")
        lines = str(report).split("\n")
        assert [line.split(":")[0] for line in lines] == [f"PASS  affine d{name}" for name in "xwb"]
        report.raise_if_failed()

    def test_the_worst_entries_are_shown_worst_first(self):
        def change(dx, dw, db):
            dx[0, 1] += 1
            dx[2, 3] += 3
            dx[1, 1] += 2
            dx[1, 2] += 0.5
            return dx, dw, db

        report = with_gradients(change)
        worst = report.comparisons[0].worst
        assert [index for index, *_ in worst] == [(2, 3), (1, 1), (0, 1)]
        assert [actual - numeric for _, actual, numeric in worst] == pytest.approx([3, 2, 1])
        assert "4 of 15 entries are wrong, all in features 1, 2, 3." in str(report)

    def test_arguments_of_any_kind_are_copied_to_float64(self):
        x = np.arange(6, dtype=np.float32).reshape(2, 3) - 2.5
        x.flags.writeable = False
        assert check_layer(relu_forward, relu_backward, {"x": x}).status == PASS
        assert check_layer(relu_forward, relu_backward, {"x": [[1.0, -2.0], [3.0, 4.0]]}).status == PASS

    def test_the_same_seed_gives_the_same_report(self):
        texts = {str(check_layer(affine_forward, affine_backward, AFFINE, seed=seed)) for seed in (1, 1, 2)}
        assert len(texts) == 2

    def test_an_exercise_that_is_not_written_passes_through(self):
        def unwritten(*arguments):
            raise NotImplementedError("write me")

        for check in (check_layer, check_projected):
            for pair in ((unwritten, affine_backward), (affine_forward, unwritten)):
                with pytest.raises(NotImplementedError, match="write me"):
                    check(*pair, AFFINE)

        class Model:
            params = {"W": np.ones(2)}  # noqa: RUF012
            loss = unwritten

        with pytest.raises(NotImplementedError, match="write me"):
            check_model(Model(), None, None)

    def test_of_float32_says_so(self):
        report = with_gradients(lambda *grads: tuple(grad.astype(np.float32) for grad in grads), tol=1e-8)
        assert report.status == WARN
        assert "computed in float32, whose rounding explains the difference" in str(report)

    @pytest.mark.parametrize("factor", [1.001, 2])
    def test_float32_is_no_excuse(self, factor):
        report = with_gradients(lambda *grads: tuple(np.float32(factor * grad) for grad in grads))
        assert {comparison.status for comparison in report.comparisons} == {FAIL}

    def test_a_forward_pass_in_float32_is_too_coarse(self):
        def forward(x):
            return np.tanh(x.astype(np.float32)), x

        def backward(dout, x):
            return dout * (1 - np.tanh(x) ** 2)

        for check in (check_layer, check_projected):
            report = check(forward, backward, {"x": draw((2, 3))})
            assert titles(report) == ["the forward pass computes in float32"]
            assert "look for astype(np.float32)" in str(report)
            assert report.comparisons == []

    def test_an_empty_argument_has_nothing_wrong(self):
        arrays = arrays_of((2, 0), (0, 3), (3,))

        def forward(x, w, b):
            return x @ w + b, (x, w)

        def backward(dout, cache):
            x, w = cache
            return dout @ w.T, x.T @ dout, dout.sum(axis=0)

        assert check_layer(forward, backward, arrays).status == PASS

    def test_a_number_for_an_array_without_axes(self):
        def forward(a):
            return a**2, a

        assert check_layer(forward, lambda dout, a: 2 * a * dout, {"a": 3.0}).status == PASS
        assert check_layer(forward, lambda dout, a: float(2 * a * dout), {"a": 3.0}).status == PASS
        assert check_layer(forward, lambda dout, a: 3 * a * dout, {"a": 3.0}).status == FAIL

    def test_a_forward_that_is_not_finite_beside_its_input(self):
        def forward(x):
            with np.errstate(all="ignore"):
                return np.where(x > 0.5, np.nan, x), None

        report = check_layer(forward, lambda dout, cache: dout, {"x": np.array([0.5, 0.1])})
        assert report.all_causes()[0].title == "the forward pass returns NaN or infinity near its input"


class Raises:
    """An object that answers no question."""

    def __getattribute__(self, name):
        raise RuntimeError("no")

    __array__ = __float__ = __len__ = __iter__ = __repr__ = __str__ = __eq__ = __bool__ = None


class UnreadableError(Exception):
    def __str__(self):
        raise RuntimeError("no")


def objects(array):
    return np.array([None] * array.size, dtype=object).reshape(array.shape)


def read_only(array):
    array.flags.writeable = False
    return array


class Overriding(np.ndarray):
    """An array that lets no function of NumPy near it."""

    def __array_function__(self, *arguments, **keywords):
        raise RuntimeError("no")

    def __array_ufunc__(self, *arguments, **keywords):
        raise RuntimeError("no")


HOSTILE = {  # what stands for a gradient, and the title of its cause; None if it is right
    "none": (lambda g: None, "it is None"),
    "list": (lambda g: g.tolist(), "it is not an array of numbers"),
    "text": (lambda g: "gradient", "it is not an array of numbers"),
    "bytes": (lambda g: b"gradient", "it is not an array of numbers"),
    "dictionary": (lambda g: {"g": g}, "it is not an array of numbers"),
    "function": (lambda g: len, "it is not an array of numbers"),
    "objects": (objects, "it is not an array of numbers"),
    "texts": (lambda g: g.astype(str), "it is not an array of numbers"),
    "complex": (lambda g: g + 0j, "it is not an array of numbers"),
    "complex-number": (lambda g: 1j, "it is not an array of numbers"),
    "raises": (lambda g: Raises(), "it is not an array of numbers"),
    "dates": (lambda g: g.astype("datetime64[s]"), "it is not an array of numbers"),
    "records": (lambda g: np.zeros(g.shape, [("a", float)]), "it is not an array of numbers"),
    "huge-integer": (lambda g: 10**400, "it is not an array of numbers"),
    "large-integer": (lambda g: 10**30, "it has the wrong shape"),
    "number": (lambda g: 1.5, "it has the wrong shape"),
    "no-axes": (lambda g: np.array(1.5), "it has the wrong shape"),
    "nan-number": (lambda g: np.nan, "it has the wrong shape"),
    "empty": (lambda g: np.zeros((0, 5)), "it has the wrong shape"),
    "one-more-axis": (lambda g: g[np.newaxis], "its values are right but its shape is not"),
    "many-axes": (lambda g: np.ones((1,) * 30), "it has the wrong shape"),
    "nan": (lambda g: np.full_like(g, np.nan), "it is not finite"),
    "one-infinity": (lambda g: np.where(g == g.flat[0], np.inf, g), "it is not finite"),
    "huge": (lambda g: np.full_like(g, 1e308), ""),
    "huge-integers": (lambda g: np.full(g.shape, 2**63 - 1), ""),
    "booleans": (lambda g: g > 0, ""),
    "float16": (lambda g: np.float16(2 * g), ""),
    "longdouble": (lambda g: g.astype(np.longdouble), None),
    "read-only": (read_only, None),
    "strided": (lambda g: np.repeat(g, 2, axis=-1)[..., ::2], None),
    "masked": (lambda g: np.ma.masked_array(g, mask=g > 0), None),
    "matrix-like": (lambda g: g.view(Overriding), None),
}


class TestHostile:
    @pytest.mark.parametrize("kind", HOSTILE)
    @pytest.mark.parametrize("position", range(3))
    def test_a_gradient_of_any_kind_is_judged(self, kind, position):
        make, title = HOSTILE[kind]

        def change(*grads):
            return tuple(make(grad) if i == position else grad for i, grad in enumerate(grads))

        report = with_gradients(change)
        assert len(report.comparisons) == 3, str(report)
        comparison = report.comparisons[position]
        assert str(comparison)
        if title is None:
            assert comparison.status == PASS
        elif title:
            assert [cause.title for cause in comparison.causes] == [title]
        else:
            assert comparison.status == FAIL
        assert all(other.status == PASS for i, other in enumerate(report.comparisons) if i != position)

    @pytest.mark.parametrize("kind", HOSTILE)
    def test_what_backward_returns_of_any_kind_is_judged(self, kind):
        returned = HOSTILE[kind][0](AFFINE["x"].copy())
        for check in (check_layer, check_projected):
            report = check(affine_forward, lambda dout, cache: returned, AFFINE)
            assert report.status == FAIL
            assert report.comparisons == [] or kind == "list"  # of three rows, as many as gradients

    @pytest.mark.parametrize("kind", HOSTILE)
    def test_what_forward_returns_of_any_kind_is_judged(self, kind):
        returned = HOSTILE[kind][0](AFFINE["x"].copy())
        for check in (check_layer, check_projected):
            for result in (returned, (returned, None)):
                report = check(returning(result), lambda dout, cache: (dout, dout, dout), AFFINE)
                assert report.status == FAIL
                assert str(report)

    @pytest.mark.parametrize("kind", HOSTILE)
    def test_what_a_loss_returns_of_any_kind_is_judged(self, kind):
        grad = np.array([2.0, 4.0])
        returned = HOSTILE[kind][0](grad.copy())
        for result in (returned, (returned, returned), (1.0, returned), (returned, {"W": grad})):
            assert check_model(a_model(returning(result)), None, None).status != PASS
        report = check_model(a_model(lambda W: (np.sum(W**2), {"W": returned})), None, None)
        assert report.status == (PASS if HOSTILE[kind][1] is None else FAIL)

    @pytest.mark.parametrize(
        "error", [ValueError("no such axis"), UnreadableError(), KeyError("x"), Warning("w")]
    )
    def test_an_error_is_a_cause(self, error):
        def fail(*arguments):
            raise error

        for check in (check_layer, check_projected):
            for pair in ((fail, affine_backward), (affine_forward, fail)):
                report = check(*pair, AFFINE)
                assert [cause.title for cause in report.causes] == ["it raises an error"]
                assert type(error).__name__ in str(report)
        assert check_model(a_model(fail), None, None).causes[0].title == "it raises an error"

    def test_an_error_in_the_midst_leaves_parameters_as_they_were(self):
        calls = Counter()

        def loss(W):
            calls["loss"] += 1
            if calls["loss"] == 5:
                raise ZeroDivisionError
            return np.sum(W**2), {"W": 2 * W}

        model = a_model(loss)
        report = check_model(model, None, None)
        assert "ZeroDivisionError" in str(report)
        np.testing.assert_array_equal(model.params["W"], [1.0, 2.0])

    def test_what_ends_a_program_ends_the_check(self):
        def interrupted(*arguments):
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            check_layer(interrupted, affine_backward, AFFINE)


def a_model(loss):
    """A model with a parameter W whose loss(X, y) is loss(W)."""
    params = {"W": np.array([1.0, 2.0])}
    return type("Model", (), {"params": params, "loss": lambda self, X, y: loss(params["W"])})()


def returning(result):
    return lambda *arguments: result


def titles(report):
    return [cause.title for cause in report.causes]


class TestConduct:
    @pytest.mark.parametrize("check", [check_layer, check_projected])
    def test_a_changed_argument_is_named_and_the_caller_keeps_its_own(self, check):
        x = draw((3, 4))
        before = x.copy()

        def forward(x):
            x *= 2
            return x.copy(), None

        report = check(forward, lambda dout, cache: 2 * dout, {"x": x})
        assert titles(report) == ["the forward pass modifies its argument x"]
        assert {comparison.status for comparison in report.comparisons} == {PASS}
        np.testing.assert_array_equal(x, before)

    def test_a_changed_dout_is_named(self):
        def backward(dout, x):
            dout *= x > 0
            return dout

        report = check_layer(relu_forward, backward, {"x": draw((3, 4))})
        assert titles(report) == ["the backward pass modifies dout"]
        assert report.comparisons[0].status == PASS

    def test_a_cache_in_a_global_is_stale(self):
        kept = {}

        def forward(x):
            kept["x"] = x
            return np.maximum(x, 0), None

        report = check_layer(forward, lambda dout, cache: dout * (kept["x"] > 0), {"x": draw((3, 4))})
        assert titles(report) == ["the cache is stale"]

    def test_a_cache_that_the_next_call_overwrites_is_stale(self):
        buffer = np.zeros((3, 4))

        def forward(x):
            buffer[...] = x
            return np.maximum(x, 0), buffer

        report = check_layer(forward, relu_backward, {"x": draw((3, 4))})
        assert titles(report) == ["the cache is stale"]

    def test_a_backward_that_uses_up_its_cache_is_named(self):
        def backward(dout, cache):
            cache *= 2
            return dout * cache

        report = check_layer(lambda x: (x**2, x.copy()), backward, {"x": draw((3, 4))})
        assert titles(report) == ["the backward pass changes from call to call"]
        assert report.comparisons == []

    @pytest.mark.parametrize("check", [check_layer, check_projected])
    @pytest.mark.parametrize(
        "seed, expected", [(None, ["the forward pass changes from call to call"]), (3, [])]
    )
    def test_dropout_without_a_seed_is_named(self, check, seed, expected):
        np.random.seed(0)
        param = {"mode": "train", "p": 0.5, "seed": seed}
        report = check(lambda x: dropout_forward(x, param), dropout_backward, {"x": draw((5, 6))})
        assert titles(report) == expected

    @pytest.mark.parametrize(
        "result", [1.0, (1.0, {}, 3), [], None, (None, {"W": None}), (np.nan, {}), (1.0, None)]
    )
    def test_a_loss_that_returns_something_else_is_named(self, result):
        report = check_model(a_model(lambda W: result), None, None)
        expected = {"loss does not return (loss, grads)", "the loss is not a number"}
        assert set(titles(report)) <= expected and len(report.causes) == 1

    def test_a_loss_that_changes_its_parameters_or_its_minibatch_is_named(self):
        def changes_parameter(W):
            W += 1
            return np.sum(W), {"W": np.ones(2)}

        assert titles(check_model(a_model(changes_parameter), None, None)) == ["the loss modifies W"]
        model = TwoLayerNet(4, 3, 2)
        model.loss = lambda X, y: (np.sum(np.add(X, 1, out=X)), {})
        assert titles(check_model(model, draw((2, 4)), None)) == ["the loss modifies X"]

    def test_a_loss_that_draws_is_named(self):
        rng = np.random.default_rng(0)
        report = check_model(a_model(lambda W: (rng.random(), {"W": W})), None, None)
        assert titles(report) == ["the loss changes from call to call"]

    @pytest.mark.parametrize("param", [None, 3, [1.0], np.arange(3), np.array(["a"])])
    def test_a_parameter_that_is_no_array_of_floats_is_named(self, param):
        model = a_model(lambda W: (1.0, {"W": W}))
        model.params["W"] = param
        assert titles(check_model(model, None, None)) == ["params['W'] is not an array of floats"]

    def test_reg_and_parameters_are_as_they_were(self):
        np.random.seed(0)
        model = TwoLayerNet(4, 3, 2, weight_scale=0.5, reg=0.7)
        before = {name: param.copy() for name, param in model.params.items()}
        assert check_model(model, draw((5, 4)), np.array([0, 1, 0, 1, 1])).status == PASS
        assert model.reg == 0.7
        for name, param in before.items():
            np.testing.assert_array_equal(model.params[name], param)

    def test_a_model_in_float32_is_checked_in_float64(self):
        np.random.seed(0)
        model = TwoLayerNet(4, 3, 2, weight_scale=0.5)
        model.params = {name: param.astype(np.float32) for name, param in model.params.items()}
        report = check_model(model, draw((5, 4)), np.array([0, 1, 0, 1, 1]))
        assert report.status == PASS
        assert max(comparison.error for comparison in report.comparisons) < 1e-6
        assert {param.dtype for param in model.params.values()} == {np.dtype(np.float32)}


class TestNumeric:
    def test_is_the_slope(self):
        x, dout = draw((2, 3)), draw((2, 3), seed=1)
        numeric = numeric_gradient(lambda: x**3, x, dout)
        np.testing.assert_allclose(numeric.centered, 3 * x**2 * dout, rtol=1e-7, atol=1e-9)
        np.testing.assert_allclose(numeric.right - numeric.left, 6 * x * dout * 1e-5, rtol=1e-2, atol=1e-8)

    def test_its_noise_grows_with_what_is_summed(self):
        x = np.ones(3)
        small, large = (numeric_gradient(lambda c=c: x + c, x, np.ones(3)).noise for c in (0, 1e6))
        assert large == pytest.approx(1e6 / 2 * small * 2, rel=0.01)

    def test_puts_back_what_it_changes_also_after_an_error(self):
        x = draw(3)
        before = x.copy()
        calls = Counter()

        def f():
            calls["f"] += 1
            if calls["f"] == 4:
                raise ZeroDivisionError
            return x

        with pytest.raises(ZeroDivisionError):
            numeric_gradient(f, x, np.ones(3))
        np.testing.assert_array_equal(x, before)

    def test_without_a_second_look_kinks_are_judged_by_their_slopes(self):
        numeric = Numeric(np.array([0.5, 2.0]), np.array([0.0, 2.0]), np.array([1.0, 2.0]), 1e-10)
        for value, status in ((0.0, WARN), (0.7, WARN), (1.0, WARN), (1.1, FAIL), (-0.1, FAIL)):
            assert compare("dx", np.array([value, 2.0]), numeric, 1e-6, {}).status == status

    def test_compare_all_takes_them_in_order(self):
        numeric = {key: Numeric(*[np.full(2, value)] * 3, 1e-10) for key, value in (("a", 1.0), ("b", 2.0))}
        right = compare_all("layer", [np.full(2, 1.0), np.full(2, 2.0)], numeric, 1e-6, {})
        assert [(c.name, c.status) for c in right] == [("layer da", PASS), ("layer db", PASS)]
        wrong = compare_all("", [np.full(2, 2.0), None], numeric, 1e-6, {})
        assert [(c.name, c.causes[0].title) for c in wrong] == [
            ("da", "it is the gradient of b"),
            ("db", "it is None"),
        ]


LARGE = arrays_of((60, 50), (50, 70), (70,))
SQUARE = arrays_of((30, 20), (20, 20), (20,))


def project(change, arrays=LARGE):
    return check_projected(affine_forward, lambda dout, cache: change(*affine_backward(dout, cache)), arrays)


class TestProjected:
    def test_passes_for_the_price_of_a_few_forward_passes(self):
        calls = Counter()

        def forward(*arguments):
            calls["forward"] += 1
            return affine_forward(*arguments)

        def backward(*arguments):
            calls["backward"] += 1
            return affine_backward(*arguments)

        report = check_projected(forward, backward, LARGE, name="affine", directions=3)
        assert [(c.name, c.status) for c in report.comparisons] == [(f"affine d{key}", PASS) for key in "xwb"]
        # three to see how it behaves, three for its rounding, two for each direction
        assert calls["forward"] == 3 + 3 + 2 * 3 * 3
        assert calls["backward"] == 3

    @pytest.mark.parametrize(
        "change, title",
        [
            (lambda dw: 60 * dw, "it is N times too large"),
            (lambda dw: dw / 60, "it is N times too small"),
            (lambda dw: dw * 70, "it is M times too large"),
            (lambda dw: dw / 50, "it is D times too small"),
            (lambda dw: 2 * dw, "it is 2 times too large"),
            (lambda dw: -dw, "its sign is wrong"),
            (lambda dw: 1.001 * dw, "it is off by a constant factor"),
            (lambda dw: 0 * dw, "it is zero everywhere"),
            (lambda dw: None, "it is None"),
            (lambda dw: dw.T, "it is transposed"),
            (lambda dw: np.stack([dw / 2, dw / 2]), "it is not summed over the batch"),
            (lambda dw: dw[1:], "it has the wrong shape"),
            (lambda dw: np.where(dw == dw[0, 0], np.nan, dw), "it is not finite"),
        ],
    )
    def test_finds_and_names_what_is_wrong_as_a_whole(self, change, title):
        report = project(lambda dx, dw, db: (dx, change(dw), db))
        assert [comparison.status for comparison in report.comparisons] == [PASS, FAIL, PASS]
        assert [cause.title for cause in report.all_causes()] == [title]

    def test_a_square_gradient_that_is_transposed(self):
        report = project(lambda dx, dw, db: (dx, dw.T, db), SQUARE)
        assert [cause.title for cause in report.all_causes()] == ["it is transposed"]

    def test_gradients_in_each_others_place(self):
        arrays = dict(zip(("x", "gamma", "beta"), draw_all([(30, 20), (20,), (20,)]), strict=True))

        def backward(dout, cache):
            dx, dgamma, dbeta = batchnorm_backward(dout, cache)
            return dx, dbeta, dgamma

        report = check_projected(lambda *args: batchnorm_forward(*args, {"mode": "train"}), backward, arrays)
        assert [cause.title for cause in report.all_causes()] == [
            "it is the gradient of beta",
            "it is the gradient of gamma",
        ]

    @pytest.mark.parametrize(
        "change",
        [
            lambda dw: dw + 0.1 * draw(dw.shape, seed=9),
            lambda dw: np.abs(dw),
        ],
    )
    def test_what_is_wrong_in_another_way_fails_without_a_cause(self, change):
        report = project(lambda dx, dw, db: (dx, change(dw), db))
        assert [comparison.status for comparison in report.comparisons] == [PASS, FAIL, PASS]
        assert report.all_causes() == []
        assert "direction 0: " in str(report)

    def test_a_known_layer_is_judged_entry_by_entry(self):
        report = project(lambda dx, dw, db: (dx, np.where(np.arange(50)[:, np.newaxis] == 3, 0, dw), db))
        assert [cause.evidence for cause in report.all_causes()] == ["only input 3 of 0-49 is wrong"]

    def test_dropout_by_its_settings(self):
        param = {"mode": "train", "p": 0.7, "seed": 1}
        report = check_projected(
            lambda x: dropout_forward(x, param),
            lambda dout, cache: 0.7 * dropout_backward(dout, cache),
            {"x": draw((40, 50))},
            settings={"p": 0.7},
        )
        assert [cause.title for cause in report.all_causes()] == ["the division by p is missing"]

    def test_kinks_among_very_many_entries_are_no_mistake(self):
        x = np.append(draw(30_000, seed=2), 1e-6 * draw(30, seed=3))  # and some within the step
        assert check_projected(relu_forward, relu_backward, {"x": x}).status in (PASS, WARN)
        wrong = check_projected(relu_forward, lambda dout, x: 1.1 * relu_backward(dout, x), {"x": x})
        assert wrong.status == FAIL


def test_public_names_are_there():
    assert all(hasattr(check_module, name) for name in check_module.__all__)


ARRAYS = {"x": draw((2, 3))}
MODEL = a_model(lambda W: (W.sum(), {"W": np.ones(2)}))
FORWARD, BACKWARD = relu_forward, relu_backward
REFUSED_INPUTS = [
    ((ARRAYS["x"],) * 3, "inputs must be a dictionary {name: array}, .*; got a tuple of 3"),
    ([ARRAYS["x"]], "inputs must be a dictionary .*; got a list of 1"),
    ({}, "inputs must be a dictionary .*; got an empty dictionary"),
    (ARRAYS["x"], r"inputs must be a dictionary .*; got an array of shape \(2, 3\)"),
    (None, "inputs must be a dictionary .*; got None"),
    ({0: ARRAYS["x"]}, "inputs must be a dictionary .*; got a dictionary with the keys 0"),
    ({"x": np.arange(3)}, r"inputs\['x'\] must hold floats; got dtype int64\. Convert it"),
    ({"x": np.array(["a"])}, r"inputs\['x'\] must hold floats; got dtype <U1"),
]


class TestArguments:
    @pytest.mark.parametrize("check", [check_layer, check_projected])
    @pytest.mark.parametrize("inputs, message", REFUSED_INPUTS)
    def test_inputs_of_a_layer(self, check, inputs, message):
        with pytest.raises(ValueError, match=message):
            check(FORWARD, BACKWARD, inputs)

    @pytest.mark.parametrize("inputs, message", [*REFUSED_INPUTS, ({"x": [1.0]}, "must be an array")])
    def test_inputs_of_check_backward(self, inputs, message):
        with pytest.raises(ValueError, match=message):
            check_backward("relu", np.abs, inputs, np.ones((2, 3)), [np.ones((2, 3))])

    @pytest.mark.parametrize("value", [0, -1e-6, np.nan, np.inf, "1e-6", None, True])
    @pytest.mark.parametrize("name", ["tol", "h"])
    def test_positive_numbers(self, name, value):
        message = f"{name} must be a positive number, such as 1e-6; got {value!r}"
        dout = np.ones((2, 3))
        for check, arguments in (
            (check_layer, (FORWARD, BACKWARD, ARRAYS)),
            (check_projected, (FORWARD, BACKWARD, ARRAYS)),
            (check_model, (MODEL, None, None)),
            (check_gradients, (MODEL, None, None)),
            (check_backward, ("relu", np.abs, ARRAYS, dout, [dout])),
        ):
            with pytest.raises(ValueError, match=message):
                check(*arguments, **{name: value})

    @pytest.mark.parametrize("settings", [("pad", 1), 3, "pad"])
    def test_settings(self, settings):
        for check in (check_layer, check_projected):
            with pytest.raises(ValueError, match=r"settings must be a dictionary of .*; got"):
                check(FORWARD, BACKWARD, ARRAYS, settings=settings)
        with pytest.raises(ValueError, match=r"settings must be a dictionary of .*; got"):
            check_backward("relu", np.abs, ARRAYS, 1.0, [1.0], settings=settings)

    @pytest.mark.parametrize("value", [None, 3, "relu", FORWARD(ARRAYS["x"])])
    def test_functions(self, value):
        for check in (check_layer, check_projected):
            with pytest.raises(ValueError, match="forward must be a function; got"):
                check(value, BACKWARD, ARRAYS)
            with pytest.raises(ValueError, match="backward must be a function; got"):
                check(FORWARD, value, ARRAYS)
        with pytest.raises(ValueError, match="forward must be a function; got"):
            check_backward("relu", value, ARRAYS, 1.0, [1.0])

    @pytest.mark.parametrize("directions", [0, -1, 2.0, None, True])
    def test_directions(self, directions):
        with pytest.raises(ValueError, match="directions must be an integer of at least 1; got"):
            check_projected(FORWARD, BACKWARD, ARRAYS, directions=directions)

    def test_models(self):
        for model in (None, {"W": np.ones(2)}, TwoLayerNet):
            with pytest.raises(ValueError, match=r"model\.params must be a dictionary"):
                check_model(model, None, None)
        without_loss = type("Model", (), {"params": {"W": np.ones(2)}})()
        with pytest.raises(ValueError, match=r"model must have a method loss\(X, y\)"):
            check_gradients(without_loss, None, None)

    def test_what_follows_the_inputs_is_named(self):
        for check in (check_layer, check_projected):
            with pytest.raises(TypeError, match="positional"):
                check(FORWARD, BACKWARD, ARRAYS, {"p": 0.5})
        for check in (check_model, check_gradients):
            with pytest.raises(TypeError, match="positional"):
                check(MODEL, None, None, 1e-5)

    def test_the_same_options_have_the_same_names_in_the_same_order(self):
        order = ["settings", "name", "tol", "h", "seed", "directions", "reference", "properties"]
        for check in (check_layer, check_projected, check_model, check_gradients, check_backward):
            parameters = inspect.signature(check).parameters.values()
            options = [p.name for p in parameters if p.kind is inspect.Parameter.KEYWORD_ONLY]
            assert options == [name for name in order if name in options] != []


@pytest.mark.parametrize("module", [passes, gradient_check, check_module, notebook, numeric])
def test_examples_in_docstrings_run(module):
    failed, tried = doctest.testmod(module)
    assert tried > 0 and failed == 0
