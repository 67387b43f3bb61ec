"""How long layers take: the best of several runs, of both passes, for all images."""

import numpy as np
import pytest

from cs231n import timing
from cs231n.kernels import load_kernels

pytestmark = pytest.mark.q4
LAYER = np.ones((2, 1, 5, 5)), np.ones((2, 1, 3, 3)), np.ones(2), {"stride": 1, "pad": 1}


@pytest.fixture
def clock(monkeypatch):
    """Make the n-th run that is timed take n seconds."""
    runs = []

    def repeat(run, number, repeat):
        run()
        runs.append(repeat)
        return [len(runs) + extra for extra in range(repeat)]

    monkeypatch.setattr(timing.timeit, "repeat", repeat)
    return runs


def test_the_best_run_counts(clock):
    assert timing.best_seconds(lambda: None, repeat=3) == 1
    assert clock == [3]


def test_both_passes_are_timed(clock):
    forward, backward = timing.time_passes(timing.conv_forward_fast, timing.conv_backward_fast, *LAYER)
    assert (forward, backward) == (1, 2)


def test_the_time_of_the_naive_layers_is_that_of_all_images(clock):
    assert timing.time_convolution("naive", *LAYER) == 2 * (1 + 2)
    assert clock == [1, 1]


def test_the_kernels_that_are_asked_for_are_timed(clock):
    try:
        assert timing.time_convolution("NumPy", *LAYER) == 1 + 2
    finally:
        load_kernels()


def test_the_rate_of_a_matrix_product(clock):
    assert timing.matrix_product_rate(10) == 2 * 10**3
