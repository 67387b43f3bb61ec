"""Averages of the weights, against the sums that define them."""

import numpy as np
import pytest
from conftest import DTYPES, draw_all

from cs231n.averaging import ExponentialAverage, PolyakAverage, move_average

pytestmark = pytest.mark.q1


def average_of(steps, averaging):
    averages = {}
    for t, step in enumerate(steps, 1):
        move_average(averages, step, averaging(t))
    return averages


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("num_steps", [1, 2, 50])
@pytest.mark.parametrize("decay", [0.0, 0.5, 0.99])
def test_an_exponential_average_is_the_weighted_mean(decay, num_steps, dtype):
    arrays = draw_all([(4, 3)] * num_steps, dtype)
    weights = [decay ** (num_steps - t) for t in range(1, num_steps + 1)]
    averages = average_of([{"W": array} for array in arrays], ExponentialAverage(decay))
    assert averages["W"].dtype == dtype
    tol = 50 * np.finfo(dtype).eps
    np.testing.assert_allclose(averages["W"], np.average(arrays, axis=0, weights=weights), rtol=tol, atol=tol)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("start", [0, 1, 7, 49, 60])
def test_a_polyak_average_is_the_mean_after_its_start(start, dtype):
    arrays = draw_all([(4, 3)] * 50, dtype)
    averages = average_of([{"W": array} for array in arrays], PolyakAverage(start))
    expected = np.mean(arrays[min(start, 49) :], axis=0, dtype=np.float64)
    tol = 50 * np.finfo(dtype).eps
    np.testing.assert_allclose(averages["W"], expected, rtol=tol, atol=tol)
    assert averages["W"].dtype == dtype


def test_the_average_has_memory_of_its_own_and_steps_are_left_alone():
    w = np.ones(3)
    averages = average_of([{"W": w}], PolyakAverage())
    assert not np.shares_memory(averages["W"], w)
    move_average(averages, {"W": w + 2}, 0.5)
    np.testing.assert_array_equal(w, 1)
    np.testing.assert_array_equal(averages["W"], 2)


def test_what_is_no_array_of_floats_is_taken_over():
    averages = {"mode": "test", "t": 1, "running_mean": np.zeros(2), "count": np.array([1])}
    values = {"mode": "train", "t": 2, "running_mean": np.ones(2), "count": np.array([4]), "new": 3.0}
    move_average(averages, values, 0.25)
    assert (averages["mode"], averages["t"], averages["count"], averages["new"]) == ("train", 2, [4], 3.0)
    np.testing.assert_array_equal(averages["running_mean"], 0.25)


def test_a_scalar_of_numpy_is_averaged():
    averages = average_of([{"w": np.float32(1)}, {"w": np.float32(2)}], PolyakAverage())
    assert averages["w"] == 1.5 and averages["w"].dtype == np.float32


@pytest.mark.parametrize(
    "make, text",
    [
        (lambda: ExponentialAverage(1), r"decay must be in \[0, 1\); got 1"),
        (lambda: ExponentialAverage(-0.1), r"decay must be in \[0, 1\); got -0.1"),
        (lambda: PolyakAverage(0.5), "start must be an integer of at least 0; got 0.5"),
    ],
)
def test_settings_that_do_not_fit_are_refused(make, text):
    with pytest.raises(ValueError, match=text):
        make()
