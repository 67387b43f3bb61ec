"""The gradient check is a tool: it must pass what is right, and fail what is wrong with the right words."""

import re

import numpy as np
import pytest
import torch
from conftest import DTYPES, draw, draw_all, every_second, near_numeric
from tqdm import tqdm

from cs231n import gradient_check
from cs231n.classifiers.fc_net import FullyConnectedNet
from cs231n.gradcheck.diagnosis import Case, diagnose
from cs231n.gradcheck.notebook import check_at_least, check_backward, check_close, check_gradients
from cs231n.gradient_check import (
    eval_numerical_gradient,
    eval_numerical_gradient_array,
    grad_check_sparse,
    rel_error,
)
from cs231n.layers import affine_backward, affine_forward

pytestmark = pytest.mark.q1


def sum_of_cubes(x):
    return np.sum(x**3)


def numeric_gradient(f, x):
    return eval_numerical_gradient(f, x, verbose=False)


def numeric_gradient_of_array(f, x):
    return eval_numerical_gradient_array(f, x, np.array(1.0))


def sparse_check(f, x):
    return grad_check_sparse(f, x, np.zeros(np.shape(x)))


every_function = pytest.mark.parametrize("check", [numeric_gradient, numeric_gradient_of_array, sparse_check])


@pytest.mark.parametrize("shape", [(), (1,), (3, 2), (2, 1, 3)])
def test_gradient_of_a_scalar_function(shape):
    x = np.asarray(draw(shape))
    near_numeric("numeric gradient", numeric_gradient(sum_of_cubes, x), np.asarray(3 * x**2))


def test_gradient_of_an_array_function_is_weighted_by_the_upstream_gradient():
    x = np.array([2.0, 3.0])
    # f(x) = (x0 x1, x0^2, x1): df/dx0 = (x1, 2 x0, 0) = (3, 4, 0), df/dx1 = (x0, 0, 1) = (2, 0, 1)
    grad = eval_numerical_gradient_array(
        lambda x: np.array([x[0] * x[1], x[0] ** 2, x[1]]), x, np.array([1.0, 10.0, 100.0])
    )
    np.testing.assert_allclose(grad, [43, 102])


def test_centered_difference_has_no_error_of_first_order():
    # (2.5^2 - 1.5^2) / 1 = 4 exactly; a one-sided difference would give 4.5
    np.testing.assert_array_equal(eval_numerical_gradient(sum_of_squares, np.array([2.0]), h=0.5), [4])
    np.testing.assert_array_equal(
        eval_numerical_gradient_array(lambda x: x**2, np.array([2.0]), np.ones(1), h=0.5), [4]
    )


def sum_of_squares(x):
    return np.sum(x**2)


@every_function
def test_x_is_put_back_bit_for_bit(check):
    x = 1e-9 * draw((3, 2))  # so small that x - h + h would not be x
    before = x.copy()
    check(sum_of_cubes, x)
    np.testing.assert_array_equal(x, before)


@every_function
def test_x_is_put_back_when_f_fails(check):
    x = draw((3, 2))
    before = x.copy()

    def fails(x):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        check(fails, x)
    np.testing.assert_array_equal(x, before)


def test_f_may_close_over_x_and_return_a_view_of_it():
    x = draw((3, 2))
    np.testing.assert_allclose(numeric_gradient(lambda _: sum_of_cubes(x), x), 3 * x**2)
    np.testing.assert_allclose(
        eval_numerical_gradient_array(lambda x: x.T, x, np.ones((2, 3))), np.ones((3, 2))
    )


@pytest.mark.parametrize("arrange", [np.asfortranarray, every_second, np.transpose])
def test_x_may_have_any_memory_layout(arrange):
    x = arrange(draw((3, 2)))
    np.testing.assert_allclose(numeric_gradient(sum_of_cubes, x), 3 * x**2, rtol=1e-6)


def test_float32_keeps_its_dtype_and_takes_a_step_that_it_can_hold():
    x = draw((3, 2), np.float32)
    grads = (
        eval_numerical_gradient(sum_of_squares, x, verbose=False, h=1e-2),
        eval_numerical_gradient_array(sum_of_squares, x, np.array(1.0), h=1e-2),
    )
    for grad in grads:
        assert grad.dtype == np.float32
        np.testing.assert_allclose(grad, 2 * x, rtol=1e-3, atol=1e-3)


def test_numeric_gradient_says_nothing_when_it_is_quick(capsys):
    eval_numerical_gradient(sum_of_cubes, draw((3, 2)))
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("verbose", [True, False])
def test_progress_is_shown_on_request_only(verbose, capsys, monkeypatch):
    monkeypatch.setattr(gradient_check, "tqdm", lambda *args, **kwargs: tqdm(*args, **kwargs | {"delay": 0}))
    eval_numerical_gradient(sum_of_cubes, draw((3, 2)), verbose)
    assert ("numeric gradient" in capsys.readouterr().err) == verbose


@every_function
@pytest.mark.parametrize(
    "x, message",
    [
        (np.arange(3), r"x must be an array of floats; got int64, .* x.astype\(np.float64\)"),
        ([1.0, 2.0], "x must be an array of floats; got list"),
        (np.ones(3, np.float32), "h = 1e-05 is too small for float32.*float64"),
    ],
)
def test_points_without_a_numeric_gradient_are_refused(check, x, message):
    with pytest.raises(ValueError, match=message):
        check(np.sum, x)


@pytest.mark.parametrize("df", [np.ones((1, 2)), np.ones(2), np.array(1.0)])
def test_upstream_gradient_that_would_be_broadcast_is_refused(df):
    with pytest.raises(ValueError, match=r"df must have the shape of f\(x\), \(3, 2\); got"):
        eval_numerical_gradient_array(lambda x: x, draw((3, 2)), df)


def test_sparse_check_passes_the_right_gradient(capsys):
    np.random.seed(0)
    x = draw((3, 2))
    assert grad_check_sparse(sum_of_cubes, x, 3 * x**2, num_checks=7) < 1e-6
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 7
    assert all("relative error" in line for line in lines)


def test_sparse_check_returns_the_largest_error():
    x = np.array([1.0, 2.0])
    wrong = 3 * x**2 * [1, -1]  # right in the first coordinate, of the wrong sign in the second
    for seed in range(6):  # also where the last coordinate, or the first, is the right one
        np.random.seed(seed)
        assert grad_check_sparse(sum_of_cubes, x, wrong, num_checks=20) == pytest.approx(1)


def test_sparse_check_draws_its_coordinates_from_the_global_generator(capsys):
    x = draw((50, 40))
    outputs = []
    for seed in (1, 1, 2):
        np.random.seed(seed)
        grad_check_sparse(sum_of_cubes, x, 3 * x**2, num_checks=3)
        outputs.append(capsys.readouterr().out)
    assert outputs[0] == outputs[1] != outputs[2]


def test_sparse_check_refuses_a_gradient_of_another_shape():
    with pytest.raises(ValueError, match=r"analytic_grad must have the shape of x, \(3, 2\); got \(2,\)"):
        grad_check_sparse(sum_of_cubes, draw((3, 2)), np.ones(2))


@pytest.mark.parametrize(
    "x, y, expected",
    [
        ([1.0, 2.0], [1.0, 2.0], 0),
        ([3.0, 2.0], [1.0, 2.0], 0.5),  # |3 - 1| / (3 + 1)
        ([1.0], [-1.0], 1),
        ([0.0], [5.0], 1),
        ([0.0], [0.0], 0),
        (
            [[1.0, 9.0], [1.0, 1.0]],
            [[1.0, 1.0], [1.0, 3.0]],
            0.8,
        ),  # the largest of |9 - 1| / 10 and |1 - 3| / 4
        (3.0, 1.0, 0.5),
        ([3e-9], [1e-9], 0.2),  # 2e-9 / 1e-8: what is nearly zero is not held to its relative error
        ([3], [1], 0.5),
    ],
)
def test_rel_error_on_paper(x, y, expected):
    assert rel_error(np.array(x), np.array(y)) == pytest.approx(expected)
    assert rel_error(np.array(y), np.array(x)) == pytest.approx(expected)


def test_rel_error_compares_what_is_below_the_floor_as_if_it_had_that_size():
    x, y = np.array([3e-5, 8.0]), np.array([1e-5, 8.0])
    assert rel_error(x, y, floor=1e-3) == pytest.approx(0.02)  # 2e-5 / 1e-3


@pytest.mark.parametrize("dtype", DTYPES)
def test_rel_error_is_a_python_float(dtype):
    assert type(rel_error(np.ones(3, dtype), np.ones(3, dtype))) is float


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_rel_error_of_what_is_not_finite_passes_no_threshold(bad):
    x, y = np.array([1.0, bad]), np.array([1.0, 2.0])
    for error in (rel_error(x, y), rel_error(y, x), rel_error(x, x)):
        assert error == np.inf


@pytest.mark.parametrize("x, y", [((3, 5), (5,)), ((3, 1), (3,)), ((), (4,)), ((1,), ())])
def test_rel_error_refuses_to_broadcast(x, y):
    with pytest.raises(ValueError, match="x and y must have the same shape; got"):
        rel_error(np.zeros(x), np.zeros(y))


def test_rel_error_of_nothing_is_refused():
    with pytest.raises(ValueError, match=r"x and y must not be empty; got the shape \(0, 3\)"):
        rel_error(np.zeros((0, 3)), np.zeros((0, 3)))


def test_rel_error_leaves_its_arguments_alone():
    x, y = np.array([-1.0, 2.0]), np.array([3.0, -4.0])
    x.flags.writeable = y.flags.writeable = False
    rel_error(x, y)


def test_check_close_passes_and_says_so(capsys):
    check_close("dx", np.array([1.0, 2.0]), np.array([1.0, 2.0 + 1e-9]), 1e-8)
    assert capsys.readouterr().out == "PASS  dx: relative error 2.5e-10 (at most 1e-08)\n"


def test_check_close_includes_its_bound():
    check_close("x", 3.0, 1.0, 0.5)  # an error of 0.5
    with pytest.raises(AssertionError, match=r"FAIL  x: relative error 5.0e-01, at most 4e-01"):
        check_close("x", 3.0, 1.0, 0.4)


def test_check_close_neither_fails_nor_blames_what_is_below_the_floor():
    noise, opposite = np.array([1e-9, 2.0]), np.array([-1e-9, 2.0])
    check_close("db", noise, opposite, 1e-5, floor=1e-3)
    with pytest.raises(AssertionError, match=r"FAIL  db: relative error 2.0e-01"):
        check_close("db", noise, opposite, 1e-5)
    with pytest.raises(AssertionError, match=r"\(1,\): got 2, expected 1$"):
        check_close("db", noise, np.array([-1e-9, 1.0]), 1e-5, floor=1e-3)


@pytest.mark.parametrize("shape", [(4, 3), (3, 3), (5,), (2, 3, 4)])
@pytest.mark.parametrize(
    "plant, diagnosis",
    [
        (lambda g: 2.001 / 2 * g, "every entry is 1.0005 times what it should be"),
        (lambda g: 3 * g, "every entry is 3 times what it should be"),
        (lambda g: -g, "its sign is wrong: every entry is -1 times"),
        (lambda g: 0 * g, "it is zero everywhere"),
        (lambda g: g + 0.25, "every entry is what it should be plus 0.25"),
        (lambda g: np.where(g == g.flat[1], np.nan, g), "1 of .* are NaN or infinite, the first at .*1"),
        (lambda g: np.where(g == g.flat[0], np.inf, g), r"1 of .* are NaN or infinite, the first at \(0"),
        (lambda g: np.where(g == g.flat[1], 7.5, g), r"\(.*1,?\): got 7.5, expected"),
        (lambda g: g**2, "No known mistake matches. Worst entries"),
    ],
)
def test_planted_mistake_fails_with_its_diagnosis(shape, plant, diagnosis):
    gradient = draw(shape)
    with pytest.raises(AssertionError, match=rf"(?s)FAIL  dw: relative error .*{diagnosis}"):
        check_close("dw", plant(gradient), gradient, 1e-6)


@pytest.mark.parametrize("actual", [[1.0, 2.0], (1.0, 2.0), torch.tensor([1.0, 2.0])])
def test_check_close_takes_whatever_makes_an_array(actual, capsys):
    check_close("x", actual, [1.0, 2.0], 1e-8)
    assert capsys.readouterr().out.startswith("PASS  x")
    with pytest.raises(AssertionError, match="FAIL  x"):
        check_close("x", actual, [1.0, 3.0], 1e-8)


def test_transposed_gradient_is_named():
    gradient = draw((3, 3))
    with pytest.raises(AssertionError, match="it is transposed"):
        check_close("dw", gradient.T, gradient, 1e-6)


def test_numbers_that_should_be_zero_are_not_taken_for_a_gradient():
    with pytest.raises(AssertionError, match=r"FAIL  means: .*\n.*No known mistake matches"):
        check_close("means", np.array([0.06, -0.05, -0.02]), np.zeros(3), 1e-12, floor=1)


def test_the_worst_entry_is_named_with_its_values():
    expected = np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
    actual = expected + np.array([[0, 0.1, 0], [0, 0, 1.5]])
    # the relative errors are 0.1 / 4.1 = 0.02 and 1.5 / 13.5 = 0.1
    message = r"\(1, 2\): got 7.5, expected 6\n +\(0, 1\): got 2.1, expected 2\n"
    message += r" +If this is a gradient, check_layer"
    with pytest.raises(AssertionError, match=message):
        check_close("dx", actual, expected, 1e-6)


@pytest.mark.parametrize("shape, wrong", [((3, 2), (2, 3)), ((3,), (3, 1)), ((), (4,))])
def test_wrong_shape_fails_as_such(shape, wrong):
    shapes = f"its shape is {re.escape(str(wrong))}; that of its argument is {re.escape(str(shape))}"
    with pytest.raises(AssertionError, match=f"(?s)FAIL  dw: .*{shapes}"):
        check_close("dw", np.ones(wrong), np.ones(shape) + np.arange(np.prod(shape)).reshape(shape), 1e-6)


@pytest.mark.parametrize(
    "actual, expected", [(2.0, np.nan), (np.nan, 2.0), (np.nan, np.nan), (2.0, 3.0), (0.0, 3.0)]
)
def test_single_numbers_that_differ_fail(actual, expected):
    with pytest.raises(AssertionError, match="FAIL  loss: relative error"):
        check_close("loss", actual, expected, 1e-6)


def test_a_single_wrong_number_is_shown():
    with pytest.raises(AssertionError, match=r"\(\): got 2.5, expected 3"):
        check_close("loss", 2.5, 3.0, 1e-6)


def test_rounding_is_not_called_a_factor_or_a_transpose():
    """Too strict a bound fails, but what is right but for rounding shows no pattern."""
    gradient = draw((3, 3))
    symmetric = gradient + gradient.T
    for expected in (gradient, symmetric):
        rounded = expected * (1 + 1e-8 * draw((3, 3), seed=1))
        assert diagnose(Case(rounded, expected, tol=1e-12)) == []


@pytest.mark.parametrize(
    "value, bound, passes",
    [(0.53, 0.52, True), (0.52, 0.52, True), (0.51, 0.52, False), (np.nan, 0.52, False)],
)
def test_check_at_least(value, bound, passes, capsys):
    if passes:
        check_at_least("accuracy", value, bound)
        assert capsys.readouterr().out == f"PASS  accuracy: {value:.4g} (at least 0.52)\n"
    else:
        with pytest.raises(AssertionError, match=f"FAIL  accuracy: {value:.4g} is below 0.52"):
            check_at_least("accuracy", value, bound)


@pytest.mark.parametrize("position, name", [(0, "dx"), (1, "dw"), (2, "db")])
def test_a_layer_passes_and_a_planted_factor_in_it_is_found(position, name):
    arrays, dout = draw_all([(4, 6), (6, 3), (3,)]), draw((4, 3))
    _, cache = affine_forward(*arrays)
    grad = affine_backward(dout, cache)[position]
    numeric = eval_numerical_gradient_array(lambda _: affine_forward(*arrays)[0], arrays[position], dout)
    check_close(name, grad, numeric, 1e-7)
    with pytest.raises(
        AssertionError, match=f"(?s)FAIL  {name}: .*every entry is 1.0005 times what it should be"
    ):
        check_close(name, 2.001 / 2 * grad, numeric, 1e-7)


class LinearModel:
    """loss = sum(X W + b + c) over the minibatch and its gradients, one of them scaled by `factors`."""

    def __init__(self, **factors):
        self.params = {"W": draw((3, 2)), "b": draw(2), "c": np.array(0.5)}
        self.factors = factors

    def loss(self, X, y):
        W, b, c = (self.params[name] for name in "Wbc")
        grads = {"W": np.outer(X.sum(axis=0), np.ones(2)), "b": np.full(2, len(X)), "c": np.array(2 * len(X))}
        return np.sum(X @ W + b + c), {name: self.factors.get(name, 1) * grad for name, grad in grads.items()}


def test_check_gradients_passes_every_parameter(capsys):
    model = LinearModel()
    before = {name: param.copy() for name, param in model.params.items()}
    check_gradients(model, draw((4, 3)), None, tol=1e-6)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in lines] == ["PASS  dW", "PASS  db", "PASS  dc"]
    for name, param in model.params.items():
        np.testing.assert_array_equal(param, before[name])


def test_check_gradients_takes_a_gradient_of_zero_as_the_noise_it_is_compared_with():
    """The bias before batch normalization has no effect: its numeric gradient is nothing but rounding."""
    np.random.seed(0)
    settings = {"input_dim": 6, "num_classes": 3, "normalization": "batchnorm", "weight_scale": 0.5, "reg": 1}
    model = FullyConnectedNet([5], dtype=np.float64, **settings)
    check_gradients(model, draw((20, 6)), np.arange(20) % 3, tol=1e-5)


@pytest.mark.parametrize("name", ["W", "b", "c"])
def test_check_gradients_finds_the_wrong_one(name):
    with pytest.raises(AssertionError, match=f"FAIL  d{name}: relative error 3.3e-01"):
        check_gradients(LinearModel(**{name: 2}), draw((4, 3)), None, tol=1e-6)


def test_check_gradients_fails_where_there_is_nothing_to_compare():
    """A model that raises, or returns no gradients at all, must not pass for lack of comparisons."""
    model = LinearModel()
    model.loss = lambda X, y: 1 / 0
    with pytest.raises(AssertionError, match=r"FAIL  LinearModel: .*ZeroDivisionError"):
        check_gradients(model, draw((4, 3)), None, tol=1e-6)
    model.loss = lambda X, y: 0.5
    with pytest.raises(AssertionError, match="FAIL  LinearModel: "):
        check_gradients(model, draw((4, 3)), None, tol=1e-6)


def product(x, w):
    return x @ w


def test_check_backward_passes_every_gradient(capsys):
    arrays, dout = {"x": draw((2, 3)), "w": draw((3, 4))}, draw((2, 4), seed=1)
    before = {name: array.copy() for name, array in arrays.items()}
    grads = dout @ arrays["w"].T, arrays["x"].T @ dout
    check_backward("product", product, arrays, dout, grads, tol=1e-7)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in lines] == ["PASS  product dx", "PASS  product dw"]
    for name, array in arrays.items():
        np.testing.assert_array_equal(array, before[name])


@pytest.mark.parametrize("wrong, name", [(0, "dx"), (1, "dw")])
def test_check_backward_finds_the_wrong_gradient(wrong, name):
    arrays, dout = {"x": draw((2, 3)), "w": draw((3, 4))}, draw((2, 4), seed=1)
    grads = [dout @ arrays["w"].T, arrays["x"].T @ dout]
    grads[wrong] = 1.001 * grads[wrong]
    with pytest.raises(AssertionError, match=f"(?s)FAIL  product {name}: .*every entry is 1.001 times"):
        check_backward("product", product, arrays, dout, grads, tol=1e-5)


def test_check_backward_misses_a_gradient():
    with pytest.raises(ValueError, match=r"grads must be .* for each input \(x, w\); got a list of 0"):
        check_backward("product", product, {"x": draw((2, 3)), "w": draw((3, 4))}, draw((2, 4)), [], tol=1)
