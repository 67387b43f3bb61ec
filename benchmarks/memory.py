"""Measure the peak memory of one call in its own process."""

import ctypes
import math
import multiprocessing
from contextlib import suppress
from pathlib import Path

STATUS = Path("/proc/self/status")  # of Linux


def peak_bytes(make_small, make):
    """Return by how many bytes one call raises the peak memory of a fresh process; NaN if no system tells.

    - make: a function that returns the function to call, with its inputs; their memory does not count
    - make_small: the same for a small case; it runs first, so that what libraries set up once does not
      count either
    """
    if not STATUS.exists():
        return math.nan
    context = multiprocessing.get_context("forkserver")
    # Not every process shall import PyTorch, and what its autograd and optimizers import at the first call.
    context.set_forkserver_preload(["benchmarks.measure", "torch._dynamo"])
    with context.Pool(1) as pool:
        return pool.apply(_growth, (make_small, make))


def _growth(make_small, make):
    make_small()()
    side = make()
    _give_back()
    _forget_peak()
    before = _peak()
    results = side()
    growth = _peak() - before
    del results
    return growth


def _give_back():
    """Return freed memory to the system (glibc only), since a pass could use it without raising the peak."""
    with suppress(AttributeError, TypeError):
        ctypes.CDLL(None).malloc_trim(0)


def _forget_peak():
    """Reset the peak to the memory in use now."""
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def _peak():
    """Return the peak resident memory of this process in bytes."""
    (line,) = (line for line in STATUS.read_text(encoding="ascii").splitlines() if line.startswith("VmHWM"))
    return 1024 * int(line.split()[1])
