"""What one process measures. Every process has its own seed, so its own data and other contents of memory."""

from functools import partial

import numpy as np

from benchmarks import layers, sides, training
from benchmarks.memory import peak_bytes
from benchmarks.timing import busy_processes, compare, copy_rate, matrix_product_rate

DTYPES = np.float32, np.float64
GROUPS = {  # name: function that returns its rows, dtypes
    "convolution, as tuned": (lambda: [layers.convolution(*shape) for shape in layers.TUNED], DTYPES),
    "convolution, not tuned": (lambda: [layers.convolution(*shape) for shape in layers.UNTUNED], DTYPES),
    "normalization": (layers.normalizations, DTYPES),
    "other layers": (layers.others, DTYPES),
    "updates": (training.updates, DTYPES),
    "training steps": (training.trainings, DTYPES[:1]),
}
UNITS = {sides.MATRIX_PRODUCT: "GFLOP/s", sides.COPY: "GB/s"}
SCREENING_ROUNDS, FINALISTS = 3, 2
BUSY_ROUNDS, BUSY_BLOCK = 3, 0.3
DENORMAL = 1e-40

_seed = 0


def start(seed, kernels):
    """Begin a process: remember its seed, and let ours use these kernels."""
    global _seed
    _seed = seed
    sides.use_kernels(kernels)


def find_row(group, index):
    """Return a row by the place that every process finds it at."""
    return GROUPS[group][0]()[index]


def limits():
    """Return what the machine can do: {(limit, dtype's name): operations or bytes a second}."""
    copy = copy_rate()
    products = {(sides.MATRIX_PRODUCT, dtype.__name__): matrix_product_rate(dtype) for dtype in DTYPES}
    return products | {(sides.COPY, dtype.__name__): copy for dtype in DTYPES}


def finalists(group, index, dtype, variants):
    """Assert that PyTorch's variants agree with ours, and return the fastest of them by a short measurement."""
    row = find_row(group, index)
    theirs = [_checked(row, variant, dtype) for variant in variants]
    seconds = compare(*theirs, rounds=SCREENING_ROUNDS)
    return fastest(dict(zip(variants, seconds, strict=True)), FINALISTS)


def fastest(seconds, count):
    """Return the `count` keys with the least seconds, the fastest first."""
    return sorted(seconds, key=seconds.get)[:count]


def times(group, index, dtype, variants):
    """Return the seconds of ours and of PyTorch's variants, all of one comparison, after they agreed."""
    row = find_row(group, index)
    if _seed % 2:
        leave_in_memory(DENORMAL)
    theirs = [_checked(row, variant, dtype) for variant in variants]
    return compare(row.our_side(dtype, _seed), *theirs)


def times_beside_busy_processes(group, index, dtype, variant):
    """Return the seconds of ours and of one variant while every processor has another process to run."""
    row = find_row(group, index)
    both = row.our_side(dtype, _seed), row.their_side(variant, dtype, _seed)
    with busy_processes():
        return compare(*both, rounds=BUSY_ROUNDS, block_seconds=BUSY_BLOCK)


def megabytes(group, index, dtype, variant):
    """Return what a pass needs beyond its inputs, ours and a variant's, which is eager here."""
    eager = variant._replace(compiled=False)
    return [
        peak_bytes(partial(_small_side, each), partial(_side, group, index, dtype, each, _seed)) / 2**20
        for each in (None, eager)
    ]


def leave_in_memory(value):
    """Fill memory and free it, so that what is allocated next is likely to hold this value.

    The C library keeps what is freed for the next who asks, up to the size of what it has seen freed before.
    """
    for _ in range(2):
        np.full(2**22, value, np.float32)


def _checked(row, variant, dtype):
    """Return a side of PyTorch that agrees with ours."""
    theirs = row.their_side(variant, dtype, _seed)
    row.agree(row.our_side(dtype, _seed), theirs)
    return theirs


def _side(group, index, dtype, variant, seed):
    """Return ours or, with a variant, PyTorch's side of a row."""
    row = find_row(group, index)
    return row.our_side(dtype, seed) if variant is None else row.their_side(variant, dtype, seed)


def _small_side(variant):
    """Return a side of a small convolution, which has libraries set up what they need once."""
    row = layers.convolution((2, 1, 4, 4), (1, 3, 3), 1, 1)
    return row.our_side(np.float32, 0) if variant is None else row.their_side(variant, np.float32, 0)
