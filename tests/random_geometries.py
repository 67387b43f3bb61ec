"""A program that compares every layer, on all kernels, with PyTorch on random geometries.

python tests/random_geometries.py COUNT [SEED]

A geometry has windows in tiles, overlapping or with gaps, with or without pixels behind the last of them;
strides and paddings are the same down and across, or pairs. Every one is computed in float32 or float64 by
the naive layers and by the fast ones on the direct, im2col and NumPy kernels, forward and backward.
"""

import sys

import numpy as np
from conftest import built, torch_gradients
from geometry import Convolution, Pooling, pair
from torch.nn import functional

from cs231n import fast_layers, kernels, layers

MOST_NAIVE = 3000  # products of one window and one filter: more would take the naive layers too long
ROUNDING = {np.float32: 3e-6, np.float64: 1e-14}  # of a sum, relative to that of its terms' absolute values
BACKENDS = {name: built(module.removeprefix("cs231n.kernels.")) for name, module in kernels.COMPILED.items()}
BACKENDS = {name: module for name, module in BACKENDS.items() if module} | {"NumPy": kernels.numpy_kernels}


def random_pair(rng, low, high):
    """Return an integer or a pair of them, low <= value <= high."""
    rows, columns = (int(value) for value in rng.integers(low, high, 2, endpoint=True))
    return rows if rng.random() < 0.5 else (rows, columns)


def random_sizes(rng, windows, pads):
    """Return the height and width of an image into which, with its padding, the windows fit."""
    return [
        int(rng.integers(max(1, window - 2 * pad), window + rng.choice([2, 8, 24]), endpoint=True))
        for window, pad in zip(windows, pair(pads), strict=True)
    ]


def random_convolution(rng):
    """Return a convolution; a third have 3x3 filters, stride 1 and the channels for Winograd's algorithm."""
    suits_winograd = rng.random() < 1 / 3
    N, C, F = (int(rng.integers(1, most, endpoint=True)) for most in (3, 4, 6))
    windows = [3, 3] if suits_winograd else rng.integers(1, 5, 2, endpoint=True).tolist()
    stride, pad = 1 if suits_winograd else random_pair(rng, 1, 4), random_pair(rng, 0, 3)
    if suits_winograd:
        C, F = (int(size) for size in rng.integers(16, 20, 2))
    return Convolution((N, C, *random_sizes(rng, windows, pad)), (F, C, *windows), stride, pad)


def random_pooling(rng):
    """Return a pooling."""
    windows = rng.integers(1, 5, 2, endpoint=True).tolist()
    images = rng.integers(1, 3, 2, endpoint=True).tolist()
    return Pooling((*images, *random_sizes(rng, windows, 0)), *windows, random_pair(rng, 1, 5))


def in_torch(geometry, arrays, dout):
    """Return PyTorch's output and gradients of this geometry."""
    if isinstance(geometry, Pooling):
        window = geometry.height, geometry.width
        return torch_gradients(lambda x: functional.max_pool2d(x, window, geometry.stride), arrays, dout)
    move = geometry.stride, geometry.pad
    return torch_gradients(lambda x, w, b: functional.conv2d(x, w, b, *move), arrays, dout)


def results(module, version, geometry, arrays, dout):
    """Return the output and gradients of a module's layer, whose version is "naive" or "fast"."""
    kind = "max_pool" if isinstance(geometry, Pooling) else "conv"
    forward, backward = (getattr(module, f"{kind}_{name}_{version}") for name in ("forward", "backward"))
    out, cache = forward(*arrays, geometry.param)
    grads = backward(dout, cache)
    return out, *(grads if isinstance(grads, tuple) else (grads,))


def results_of_all(geometry, arrays, dout, rng):
    """Yield the name of every implementation and what it computes; vector instructions are drawn."""
    if np.prod(geometry.out) <= MOST_NAIVE:
        yield "naive", results(layers, "naive", geometry, arrays, dout)
    before = kernels._in_use
    for name, module in BACKENDS.items():
        if name == "direct":
            module.use_vectors(rng.choice(module.vector_sets()))
        kernels._in_use = module
        try:
            yield name, results(fast_layers, "fast", geometry, arrays, dout)
        finally:
            kernels._in_use = before
            if name == "direct":
                module.use_vectors(module.vector_sets()[-1])


def check(geometry, dtype, rng):
    """Assert that every implementation gives PyTorch's output and gradients."""
    shapes = geometry.shapes if isinstance(geometry, Convolution) else (geometry.x,)
    *arrays, dout = (rng.standard_normal(shape).astype(dtype) for shape in (*shapes, geometry.out))
    out, grads = in_torch(geometry, arrays, dout)
    assert out.shape == geometry.out
    # Rounding is relative to the sum of the terms' absolute values
    largest_out, largest_grads = in_torch(geometry, [np.abs(array) for array in arrays], np.abs(dout))
    sizes = [value.max() for value in (largest_out, *largest_grads)]
    for name, actual in results_of_all(geometry, arrays, dout, rng):
        names = ("out", "dx", "dw", "db")[: len(actual)]
        for what, value, expected, size in zip(names, actual, (out, *grads), sizes, strict=True):
            assert value.dtype == dtype, f"{name}: {what} is {value.dtype}"
            tolerance = ROUNDING[dtype] * size
            np.testing.assert_allclose(value, expected, 0, tolerance, err_msg=f"{name}: {what}")


def compare_random_geometries(count, seed=0):
    """Check `count` geometries; print the one that fails."""
    rng = np.random.default_rng(seed)
    for k in range(count):
        geometry = (random_pooling if k % 3 == 2 else random_convolution)(rng)
        dtype = (np.float32, np.float64)[k % 2]
        try:
            check(geometry, dtype, rng)
        except Exception:
            print(f"geometry {k} of seed {seed}, {dtype.__name__}: {geometry}")
            raise


if __name__ == "__main__":
    compare_random_geometries(*map(int, sys.argv[1:]))
    print(f"{sys.argv[1]} geometries agree with PyTorch")
