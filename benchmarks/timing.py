"""Time several sides fairly on a noisy machine."""

import statistics
import time

import numpy as np

PAUSE = 0.15  # seconds; worker threads of BLAS and OpenMP spin for a while after their last task
BLOCK_SECONDS = 0.12
ROUNDS = 9


def compare(*sides):
    """Return the median seconds per call of each function, in alternating blocks with a pause before each.

    Without the pause the spinning threads of one side would slow down the next. Without the alternation any
    other load on the machine could affect one side alone.
    """
    calls = [max(1, round(BLOCK_SECONDS / _block(side, 2))) for side in sides]
    rounds = [[_block(side, count) for side, count in zip(sides, calls, strict=True)] for _ in range(ROUNDS)]
    return [statistics.median(times) for times in zip(*rounds, strict=True)]


def _block(side, calls):
    """Return the seconds per call of `side`, after a pause and one call that does not count."""
    time.sleep(PAUSE)
    side()
    start = time.perf_counter()
    for _ in range(calls):
        side()
    return (time.perf_counter() - start) / calls


def matrix_product_rate(dtype, size=3072):
    """Return the best rate of NumPy's product of two large square matrices, in operations per second."""
    a = np.random.default_rng(0).standard_normal((size, size)).astype(dtype)
    return 2 * size**3 / min(_block(lambda: a @ a, 1) for _ in range(5))
