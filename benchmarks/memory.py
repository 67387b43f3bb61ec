"""Peak memory of one call, measured in a process of its own."""

import ctypes
import math
import multiprocessing
from contextlib import suppress
from pathlib import Path

STATUS = Path("/proc/self/status")  # of Linux


def peak_bytes(make_small, make):
    """How far one forward and backward pass raises the peak memory of a fresh process, in bytes.

    - make: a function that returns the side, inputs and all; what these take is not counted
    - make_small: the same for a small case, run before, so that what libraries set up once is not
      counted either
    """
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_growth, (make_small, make))


def _growth(make_small, make):
    small = make_small()
    results = [small.forward(), small.backward()]
    side = make()
    _give_back()
    _forget_peak()
    before = _peak()
    results = [side.forward(), side.backward()]
    growth = _peak() - before
    del results
    return growth


def _give_back():
    """Return memory that was freed to the system, where a pass could take it unseen; with glibc only."""
    with suppress(AttributeError, TypeError):
        ctypes.CDLL(None).malloc_trim(0)


def _forget_peak():
    """Let the peak start again from what is in use now."""
    if STATUS.exists():
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def _peak():
    """The peak resident memory of this process in bytes; not a number where the system does not tell."""
    if not STATUS.exists():
        return math.nan
    (line,) = (line for line in STATUS.read_text(encoding="ascii").splitlines() if line.startswith("VmHWM"))
    return 1024 * int(line.split()[1])
