"""A program that compares the product of matmul_cython with NumPy's, on many small sizes.

python matmul_grid.py MODULE FENCE

As `kernel_grid.py`, whose fences it uses.
"""

import importlib
from itertools import product

import numpy as np
from kernel_grid import DTYPES, MODULE, check, check_fences, place, room

SIZES = (  # rows, depth, columns: below, at and above those of vectors, tiles, panels and blocks
    *product((1, 2, 4, 5, 9, 17), (1, 3), (1, 2, 4, 7, 8, 9, 16, 17, 33, 49, 100)),
    *product((3, 8), (127, 129, 257, 513), (3, 20)),
    (257, 5, 3),
    (3, 5, 515),
    (300, 260, 18),
)


def drawn(rows, columns, dtype, transposed):
    """Return a matrix with memory of its own, of which rows or columns are contiguous."""
    shape = (columns, rows) if transposed else (rows, columns)
    placed = place(np.random.standard_normal(shape).astype(dtype))
    return placed.T if transposed else placed


def main():
    np.random.seed(0)
    kernels = importlib.import_module(MODULE)
    count = 0
    layouts = list(product((False, True), repeat=3))
    for dtype, (rows, depth, columns), layout in product(DTYPES, SIZES, layouts):
        a, b = drawn(rows, depth, dtype, layout[0]), drawn(depth, columns, dtype, layout[1])
        expected = a @ b
        for name in kernels.vector_sets():
            kernels.use_vectors(name)
            memory = room((columns, rows) if layout[2] else (rows, columns), dtype)
            out = memory.T if layout[2] else memory
            try:
                kernels.matmul(a, b, out)
                check(out, expected, "the product")
                check_fences(memory)
            except Exception:
                print(f"{dtype.__name__}, {name}: rows, depth, columns = {rows, depth, columns}, {layout}")
                raise
        count += 1
    print(count, "geometries")


if __name__ == "__main__":
    main()
