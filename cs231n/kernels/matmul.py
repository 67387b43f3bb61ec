"""The matrix product of the affine layers: compiled, or that of the BLAS.

A BLAS is made for large matrices. In the products of a minibatch its threads spend more time waiting for each
other, and they spin meanwhile, which takes the processor from everything else. So the compiled product, in
C, has those; its threads are ours, which sleep. NumPy, with its BLAS, has large products, which our threads
share too, matrices times vectors, which only read memory, and all other dtypes.

Every element of a compiled product is summed in the order of the depth, so it does not depend on where the
arrays lie, on their strides or on the number of threads. It does on the vector instructions: AVX2 and
AVX-512 fuse multiplication and addition, which then round once, SSE2 does not.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from cs231n.kernels import COMPILED_DTYPES
from cs231n.kernels.threads import MATRIX_PRODUCT, blas_takes_a_limit, is_worth_sharing, map_slices

try:
    import cs231n.kernels.matmul_cython as compiled
except ImportError:  # not built, or for another Python
    compiled = None

LARGE = 2**28  # multiplications from which on the BLAS is faster


def matmul(a: NDArray[Any], b: NDArray[Any]) -> NDArray[Any]:
    """Return the matrix product a @ b, of which threads share a large one by rows or by columns."""
    if not blas_takes_a_limit():  # its threads and ours would be too many; or it has a processor of its own
        product: NDArray[Any] = a @ b
        return product
    multiplications = len(a) * b.size
    work = MATRIX_PRODUCT * multiplications
    by_blas = compiled is None or multiplications >= LARGE or not _is_for_kernels(a, b)
    if by_blas and not is_worth_sharing(work):
        product = a @ b
        return product
    multiply = np.matmul if by_blas else compiled.matmul
    product = np.empty((len(a), b.shape[1]), a.dtype)
    if len(a) > b.shape[1]:
        map_slices(lambda rows: multiply(a[rows], b, product[rows]), len(a), work, by_blas)
    else:
        map_slices(lambda columns: multiply(a, b[:, columns], product[:, columns]), b.shape[1], work, by_blas)
    return product


def _is_for_kernels(a: NDArray[Any], b: NDArray[Any]) -> bool:
    """Return whether these are matrices for the compiled product."""
    return (
        a.dtype in COMPILED_DTYPES
        and a.dtype == b.dtype
        and min(a.shape + b.shape) > 0
        and len(a) > 1
        and b.shape[1] > 1
        and a.flags.aligned
        and b.flags.aligned
    )
