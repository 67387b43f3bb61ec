"""What one process measures. Every process has its own seed, so its own data and other contents of memory."""

from contextlib import redirect_stdout
from functools import partial

import numpy as np
import torch

from benchmarks import layers, sides, training
from benchmarks.memory import peak_bytes
from benchmarks.timing import busy_processes, compare, copy_rate, matrix_product_rate
from cs231n.kernels import kernels_for, load_kernels

DTYPES = np.float32, np.float64
GROUPS = {  # name: function that returns its rows, dtypes
    "convolution": (layers.convolutions, DTYPES),
    "normalization": (layers.normalizations, DTYPES),
    "other layers": (layers.others, DTYPES),
    "updates": (training.updates, DTYPES),
    "training steps": (training.trainings, DTYPES[:1]),
}
UNITS = {sides.MATRIX_PRODUCT: "GFLOP/s", sides.COPY: "GB/s"}
SCREENING_ROUNDS, FINALISTS = 3, 2
CLOSE = 1.25  # times the fastest: what is slower in the screening is no finalist
BUSY_ROUNDS, BUSY_BLOCK = 3, 0.3
DENORMAL = 1e-40

_started = {}  # the arguments of `start`


def start(seed, kernels):
    """Begin a process: its data come from this seed, and ours uses these kernels, if they were built."""
    _started.update(seed=seed, kernels=kernels)
    with redirect_stdout(None):
        load_kernels(kernels)


def kernels_in_use():
    """Return the name of the module that ours computes convolutions with."""
    return kernels_for(np.float32).__name__


def find_row(group, index):
    """Return a row by the place that every process finds it at."""
    return GROUPS[group][0]()[index]


def rate(limit, dtype):
    """Return what the machine can do: operations or bytes a second."""
    return copy_rate() if limit == sides.COPY else matrix_product_rate(dtype)


def finalists(group, index, dtype, variants):
    """Assert that PyTorch's variants agree with ours; return the fastest of a short measurement."""
    seconds = compare(*_checked(group, index, dtype, variants)[1:], rounds=SCREENING_ROUNDS)
    return fastest(dict(zip(variants, seconds, strict=True)), FINALISTS)


def fastest(seconds, count):
    """Return at most `count` keys, the fastest first, that are close to the fastest."""
    best = sorted(seconds, key=seconds.get)[:count]
    return [each for each in best if seconds[each] <= CLOSE * seconds[best[0]]]


def times(group, index, dtype, variants):
    """Return the seconds of ours and of PyTorch's variants, after all agreed.

    Every second process has denormal numbers in the memory that it allocates.
    """
    checked = _checked(group, index, dtype, variants)
    if _started["seed"] % 2:
        leave_in_memory(DENORMAL)
    return compare(*checked)


def times_beside_busy_processes(group, index, dtype, variant):
    """Return the seconds of ours and of one variant while every processor has another process to run."""
    checked = _checked(group, index, dtype, [variant])
    with busy_processes():
        return compare(*checked, rounds=BUSY_ROUNDS, block_seconds=BUSY_BLOCK)


def megabytes(group, index, dtype, variant):
    """Return what a pass needs beyond its inputs, ours and a variant's, which is eager here."""
    small, whole = partial(_small_side, _started), partial(_side, group, index, dtype, _started["seed"])
    return [
        peak_bytes(partial(small, each), partial(whole, each)) / 2**20
        for each in (None, variant._replace(compiled=False))
    ]


def leave_in_memory(value):
    """Fill memory and free it, so that what is allocated next is likely to hold this value.

    The C library keeps what is freed for the next who asks, up to the size of what it has seen freed before.
    """
    for _ in range(2):
        np.full(2**22, value, np.float32)


def _checked(group, index, dtype, variants):
    """Return our side of a row, and PyTorch's in each variant, after they agreed."""
    torch.compiler.reset()  # or it soon gives up compiling the same function for one more shape
    seed, row = _started["seed"], find_row(group, index)
    theirs = [row.their_side(variant, dtype, seed) for variant in variants]
    for side in theirs:
        row.agree(row.our_side(dtype, seed), side)
    return [row.our_side(dtype, seed), *theirs]


def _side(group, index, dtype, seed, variant):
    """Return a side of a row: ours where the variant is None."""
    return _of(find_row(group, index), dtype, seed, variant)


def _small_side(started, variant):
    """Start, and return a side of a small convolution, which has libraries set up what they need once."""
    start(**started)
    return _of(layers.convolution((2, 1, 4, 4), (1, 3, 3), 1, 1), np.float32, 0, variant)


def _of(row, dtype, seed, variant):
    return row.our_side(dtype, seed) if variant is None else row.their_side(variant, dtype, seed)
