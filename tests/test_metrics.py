"""Metrics: accuracy, of many classes and of two, and the squared error."""

import re

import numpy as np
import pytest

from cs231n.metrics import accuracy, binary_accuracy, mean_squared_error

pytestmark = pytest.mark.q1


def test_accuracy_on_paper():
    assert accuracy(np.array([[1.0, 2, 0], [3, 1, 2], [0, 0, 1], [5, 5, 5]]), np.array([1, 2, 2, 0])) == 0.75


@pytest.mark.parametrize("shape", [(4,), (4, 1), (4, 3, 2)])
def test_accuracy_needs_a_column_for_each_class_and_says_what_else_there_is(shape):
    text = (
        f"scores must have shape (N, C), a column for each of at least two classes; got {shape}. A model with"
    )
    with pytest.raises(ValueError, match=f"{re.escape(text)}.*metric=binary_accuracy or metric=mean_squared"):
        accuracy(np.ones(shape), np.zeros(4, int))


@pytest.mark.parametrize(
    "y", [np.array(["0", "1"]), np.array([0.0, 1.0]), np.array([1, 3]), np.array([-1, 0])]
)
def test_accuracy_refuses_labels_that_are_none(y):
    with pytest.raises(ValueError, match="y must hold"):
        accuracy(np.ones((2, 3)), y)


@pytest.mark.parametrize("scores_shape", [(5,), (5, 1)])
@pytest.mark.parametrize("y_shape", [(5,), (5, 1)])
@pytest.mark.parametrize("dtype", [int, bool, np.float32, np.uint8])
def test_binary_accuracy_on_paper(scores_shape, y_shape, dtype):
    scores = np.array([0.5, -2, 3, 0, -1]).reshape(scores_shape)
    y = np.array([1, 0, 0, 0, 1]).astype(dtype).reshape(y_shape)
    assert binary_accuracy(scores, y) == 0.6


@pytest.mark.parametrize(
    "scores, y, text",
    [
        (np.ones((2, 2)), np.ones(2), "scores must have shape (N,) or (N, 1); got (2, 2)"),
        (np.ones(2), np.ones((2, 2)), "y must have shape (N,) or (N, 1); got (2, 2)"),
        (np.ones(2), np.ones(3), "y must hold one label per score; got 3 labels for 2 scores"),
        (
            np.ones(2),
            np.array([-1, 1]),
            "y must hold labels 0 and 1; got np.int64(-1). Labels -1 and 1: pass",
        ),
    ],
)
def test_binary_accuracy_refuses_what_does_not_fit(scores, y, text):
    with pytest.raises(ValueError, match=re.escape(text)):
        binary_accuracy(scores, y)


@pytest.mark.parametrize(
    "scores_shape, y_shape", [((4,), (4,)), ((4, 1), (4,)), ((4, 1), (4, 1)), ((2, 2), (2, 2))]
)
def test_mean_squared_error_on_paper(scores_shape, y_shape):
    scores, y = np.array([1.0, 2, 3, 4]).reshape(scores_shape), np.array([1, 0, 3, 2]).reshape(y_shape)
    assert mean_squared_error(scores, y) == 2


@pytest.mark.parametrize("scores_shape, y_shape", [((4,), (4, 1)), ((4, 2), (4,)), ((4, 1), (3,))])
def test_mean_squared_error_never_broadcasts(scores_shape, y_shape):
    with pytest.raises(ValueError, match="y must have the scores' shape"):
        mean_squared_error(np.ones(scores_shape), np.ones(y_shape))
