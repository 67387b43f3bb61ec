"""A program that compares every kernel of norms_cython with `cs231n.layers`, on many small sizes.

python norms_grid.py MODULE FENCE

As `kernel_grid.py`, whose fences it uses.
"""

import importlib
from itertools import product

import numpy as np
from kernel_grid import DTYPES, MODULE, check, check_fences, place, room

from cs231n import layers

EPS = 1e-3
SIZES = (  # N, C, P: below, at and above the lengths at which the kernels change their way
    *product((1, 2, 7, 8, 9, 17), (1, 2, 6, 10), (1, 2, 15, 33, 128, 129)),
    *product((1, 3, 8), (31, 32, 33, 64, 65), (1,)),
    (3, 2, 1023),
    (2, 2, 1025),
    (1, 2, 2049),
    (2, 4200, 1),
)


def drawn(*shape):
    return np.random.standard_normal(shape)


def check_batch(norms, x, gamma, beta, dout):
    N, C, P = x.shape
    images, param = x.reshape(N, C, P, 1), {"mode": "train", "eps": EPS, "momentum": 0}
    expected, cache = layers.spatial_batchnorm_forward(images, gamma, beta, param)
    grads = layers.spatial_batchnorm_backward(dout.reshape(images.shape), cache)
    mean, var, inv_std, dgamma, dbeta = (room((C,), x.dtype) for _ in range(5))
    out, again, dx = (room(x.shape, x.dtype) for _ in range(3))
    for part in (slice(0, C // 2), slice(C // 2, C)):
        norms.batch_forward(x, part, gamma, beta, EPS, mean, var, inv_std, out)
        norms.batch_forward(x, part, gamma, beta, EPS, mean, None, inv_std, again)
        norms.batch_backward(dout, x, part, mean, inv_std, gamma, dx, dgamma, dbeta)
    check(mean, param["running_mean"], "mean")
    check(var, param["running_var"], "var")
    for result in (out, again):
        check(result, expected.reshape(x.shape), "out")
    for name, result, grad in zip(("dx", "dgamma", "dbeta"), (dx, dgamma, dbeta), grads, strict=True):
        check(result, grad.reshape(result.shape), name)
    check_fences(mean, var, inv_std, dgamma, dbeta, out, again, dx)


def check_group(norms, x, gamma, beta, dout, groups):
    N, C, P = x.shape
    images = x.reshape(N, C, P, 1)
    expected, cache = layers.spatial_groupnorm_forward(images, gamma, beta, groups, {"eps": EPS})
    grads = layers.spatial_groupnorm_backward(dout.reshape(images.shape), cache)
    mean, inv_std = room((N, groups), x.dtype), room((N, groups), x.dtype)
    out, dx = room(x.shape, x.dtype), room(x.shape, x.dtype)
    sums = 0
    for part in (slice(0, N // 2), slice(N // 2, N)):
        norms.group_forward(x, part, gamma, beta, EPS, mean, inv_std, out)
        sums = sums + norms.group_backward(dout, x, part, mean, inv_std, gamma, dx)
    check(out, expected.reshape(x.shape), "out")
    for name, result, grad in zip(("dx", "dgamma", "dbeta"), (dx, *sums.astype(x.dtype)), grads, strict=True):
        check(result, grad.reshape(result.shape), name)
    check_fences(mean, inv_std, out, dx)


def check_elementwise(norms, x, dout):
    kept = place((np.random.rand(x.size) < 0.5).astype(np.uint8))
    out, dx, dropped = (room(x.shape, x.dtype) for _ in range(3))
    norms.relu(x, out)
    norms.relu_backward(dout, out, dx)
    norms.keep(x, kept, 2.5, dropped)
    check(out, np.maximum(x, 0), "relu")
    check(dx, dout * (x > 0), "drelu")
    check(dropped, x * (kept * x.dtype.type(2.5)), "dropout")
    check_fences(out, dx, dropped)


def check_softmax(norms, x):
    y = place(np.random.randint(0, x.shape[1], len(x)))
    expected, expected_dx = layers.softmax_loss(x, y)
    losses, dx = room((len(x),), np.float64), room(x.shape, x.dtype)
    norms.softmax(x, y, len(x), losses, dx)
    check(np.array(losses.mean(), x.dtype), np.array(expected), "loss")
    check(dx, expected_dx, "dx")
    check_fences(losses, dx)


def main():
    np.random.seed(0)
    norms = importlib.import_module(MODULE)
    count = 0
    for dtype, (N, C, P), name in product(DTYPES, SIZES, norms.vector_sets()):
        norms.use_vectors(name)
        x, dout = (place(drawn(N, C, P).astype(dtype)) for _ in range(2))
        gamma, beta = (place(drawn(C).astype(dtype)) for _ in range(2))
        try:
            check_batch(norms, x, gamma, beta, dout)
            for groups in {1, C, 2 - C % 2}:
                check_group(norms, x, gamma, beta, dout, groups)
            check_elementwise(norms, place(x.reshape(-1)), place(dout.reshape(-1)))
            check_softmax(norms, place(x.reshape(N, -1)))
        except Exception:
            print(f"{dtype.__name__}, {name}: N, C, P = {N, C, P}")
            raise
        count += 4
    print(count, "geometries")


if __name__ == "__main__":
    main()
