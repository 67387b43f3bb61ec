"""Timing two sides fairly on a noisy machine."""

import statistics
import time

PAUSE = 0.15  # seconds; worker threads of BLAS and OpenMP spin for a while after their last task
BLOCK_SECONDS = 0.2
BLOCKS = 15


def compare(ours, theirs):
    """Median seconds per call of two functions, measured in alternating blocks with a pause before each.

    Without the pause the idle but still spinning threads of one side would slow down the other; without
    the alternation whatever else the machine does would fall on one side alone.
    """
    sides = (ours, theirs)
    calls = [max(1, round(BLOCK_SECONDS / _block(side, 3))) for side in sides]
    blocks = [[_block(side, count) for side, count in zip(sides, calls, strict=True)] for _ in range(BLOCKS)]
    return tuple(statistics.median(times) for times in zip(*blocks, strict=True))


def _block(side, calls):
    """Seconds per call of `side`, after a pause and one call that does not count."""
    time.sleep(PAUSE)
    side()
    start = time.perf_counter()
    for _ in range(calls):
        side()
    return (time.perf_counter() - start) / calls
