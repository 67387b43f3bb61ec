"""The two losses, multiclass hinge (SVM) and softmax cross-entropy."""

import numpy as np
import pytest
import torch
from agreement import assert_close, assert_equal, assert_loss_function, assert_true
from conftest import (
    DTYPES,
    draw,
    every_second,
    near_numeric,
    reversed_twice,
    same_in,
    seeds,
    sizes,
    torch_gradients,
    validation,
)
from hypothesis import given
from torch.nn import functional

from cs231n.gradient_check import eval_numerical_gradient
from cs231n.layers import softmax_loss, svm_loss

pytestmark = pytest.mark.q1

LOSSES = (softmax_loss, svm_loss)
both_losses = pytest.mark.parametrize("loss_function", LOSSES)


def draw_labels(N, C, seed=0):
    return np.random.default_rng(seed).integers(0, C, N)


def svm_in_torch(x, y):
    return functional.multi_margin_loss(x, y) * x.shape[1]  # torch divides by the number of classes as well


@both_losses
@pytest.mark.parametrize("N, C", [(5, 3), (1, 4), (5, 1)])
def test_loss_agrees_with_its_numeric_gradient(loss_function, N, C):
    x, y = draw((N, C)), draw_labels(N, C)
    numeric = eval_numerical_gradient(lambda x: loss_function(x, y)[0], x, verbose=False)
    assert_loss_function(loss_function, x, y, loss_function(x, y)[0], numeric, near_numeric)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    "loss_function, in_torch", [(softmax_loss, functional.cross_entropy), (svm_loss, svm_in_torch)]
)
@given(sizes, sizes, seeds)
def test_loss_agrees_with_torch(loss_function, in_torch, dtype, N, C, seed):
    x, y = 3 * draw((N, C), dtype, seed), draw_labels(N, C, seed)
    loss, (dx,) = torch_gradients(lambda x: in_torch(x, torch.from_numpy(y)), [x])
    assert_loss_function(loss_function, x, y, loss, dx, same_in(dtype))


def test_svm_on_paper():
    x = np.array([[3.0, 1.0, 5.0], [0.0, 4.0, 1.0]])
    # first row: max(0, 1 - 3 + 1) = 0 and max(0, 5 - 3 + 1) = 3; second: both margins are below 0
    loss, dx = 1.5, [[-0.5, 0, 0.5], [0, 0, 0]]  # (3 + 0) / 2
    assert_loss_function(svm_loss, x, np.array([0, 1]), loss, dx, assert_equal)


def test_svm_with_two_violations_pulls_the_correct_class_twice():
    x, y = np.array([[0.0, 0.0, 0.0]]), np.array([1])
    assert_loss_function(svm_loss, x, y, 2, [[1, -2, 1]], assert_equal)


def test_softmax_on_paper():
    x = np.log([[1.0, 2.0, 5.0], [3.0, 3.0, 2.0]])  # probabilities 1/8, 2/8, 5/8 and 3/8, 3/8, 2/8
    loss = np.log(4)  # both labels have probability 1/4
    dx = [[1 / 16, -6 / 16, 5 / 16], [3 / 16, 3 / 16, -6 / 16]]
    assert_loss_function(softmax_loss, x, np.array([1, 2]), loss, dx)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("size", [1e4, 1e8, 1e30])
def test_softmax_is_stable_for_large_scores(dtype, size):
    x = np.array([[size, -size, 0], [-size, -size, -size]], dtype)
    # first row: -log p = 2 size and p = (1, 0, 0); second: log 3 and thirds
    loss, dx = (2 * size + np.log(3)) / 2, [[0.5, -0.5, 0], [1 / 6, -1 / 3, 1 / 6]]
    assert_loss_function(softmax_loss, x, np.array([1, 1]), loss, dx, same_in(dtype))


@both_losses
def test_loss_ignores_a_constant_added_to_an_examples_scores(loss_function):
    x, y = draw((4, 3)), draw_labels(4, 3)
    loss, dx = loss_function(x, y)
    shifted_loss, shifted_dx = loss_function(x + draw((4, 1), seed=1), y)
    rule = "It stays the same if a constant is added to all scores of an example."
    assert_close(f"{loss_function.__name__} loss", shifted_loss, loss, rule)
    assert_close(f"{loss_function.__name__} dx", shifted_dx, dx, rule, atol=1e-12)


@both_losses
def test_gradient_of_each_example_sums_to_zero(loss_function):
    _, dx = loss_function(draw((4, 3)), draw_labels(4, 3))
    what = f"the sum of an example's entries of {loss_function.__name__} dx"
    assert_close(what, dx.sum(axis=1), 0, "It has to be 0.", atol=1e-15)


@both_losses
def test_arguments_are_left_alone(loss_function):
    x, y = draw((4, 3)), draw_labels(4, 3)
    x.flags.writeable = y.flags.writeable = False
    shared = np.shares_memory(loss_function(x, y)[1], x)
    assert_true(not shared, f"{loss_function.__name__} dx shares memory with x")


@both_losses
@pytest.mark.parametrize("arrange", [np.asfortranarray, every_second, reversed_twice])
def test_any_memory_layout(loss_function, arrange):
    x, y = draw((4, 3)), draw_labels(4, 3)
    loss, dx = loss_function(arrange(x), arrange(y))
    expected_loss, expected_dx = loss_function(x, y)
    rule = "It has to be the same for arrays that are laid out differently in memory."
    assert_close(f"{loss_function.__name__} loss", loss, expected_loss, rule)
    assert_close(f"{loss_function.__name__} dx", dx, expected_dx, rule)


@both_losses
@pytest.mark.parametrize("dtype", [np.uint8, np.int32, list])
def test_labels_may_be_any_integers(loss_function, dtype):
    x, y = draw((4, 3)), [0, 2, 1, 2]
    typed = y if dtype is list else np.array(y, dtype)
    dx, expected = loss_function(x, typed)[1], loss_function(x, np.array(y))[1]
    assert_equal(f"{loss_function.__name__} dx", dx, expected, "Labels may be integers of any type.")


@validation
@both_losses
@pytest.mark.parametrize(
    "y, message",
    [
        ([0, 1, 3, 2], "y must hold labels from 0 to 2; got labels from 0 to 3"),
        ([0, -1, 1, 2], "y must hold labels from 0 to 2; got labels from -1 to 2"),
        ([0, 1, 2], r"y must have shape \(4,\), one label per row of x; got \(3,\)"),
        ([[0], [1], [2], [0]], r"y must have shape \(4,\).*got \(4, 1\)"),
        ([0.0, 1.0, 2.0, 0.0], "y must hold integer labels; got dtype float64"),
        ([True, False, True, False], "y must hold integer labels; got dtype bool"),
    ],
)
def test_labels_that_do_not_fit_are_refused(loss_function, y, message):
    with pytest.raises(ValueError, match=message):
        loss_function(draw((4, 3)), np.array(y))


@validation
@both_losses
@pytest.mark.parametrize("shape", [(4,), (4, 3, 1), (0, 3), (4, 0)])
def test_scores_that_are_no_matrix_are_refused(loss_function, shape):
    with pytest.raises(ValueError, match="x must"):
        loss_function(np.zeros(shape), np.zeros(shape[0], int))
