# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False
"""The matrix product, compiled, for float32 and float64: what `cs231n.kernels.matmul` calls.

The function here checks the sizes of its arguments and calls C code, which begins in `c/matmul.h`. It runs
without the interpreter's lock, so that threads can share a product.
"""

from cython cimport floating

cdef extern from "c/matmul.h" nogil:
    ctypedef struct Product:
        Py_ssize_t rows, depth, columns
        Py_ssize_t a_row, a_column, b_row, b_column, c_row, c_column
    ctypedef int Matmul(const Product*, const void*, const void*, void*) noexcept
    Matmul* MATMULS[3][2]
    const char* const SET_NAMES[3]
    int count_sets()

cdef int _set = count_sets() - 1  # the vector instructions in use: the widest


def vector_sets():
    """Return the names of the processor's sets of vector instructions, the widest last; it is the default."""
    return [SET_NAMES[i].decode() for i in range(count_sets())]


def use_vectors(name):
    """Use this set of vector instructions from now on, to measure or to test; the default is the fastest."""
    global _set
    if name not in vector_sets():
        raise ValueError(f"name must be one of {', '.join(vector_sets())}; got {name!r}")
    _set = vector_sets().index(name)


def matmul(const floating[:, :] a, const floating[:, :] b, floating[:, :] out):
    """Write the product of a (M, K) and b (K, N) into out (M, N), which must not share memory with them."""
    cdef Product product
    cdef Matmul* multiply = MATMULS[_set][floating is double]
    cdef int enough
    product.rows, product.depth, product.columns = a.shape[0], a.shape[1], b.shape[1]
    _require_shape("b", b.shape, product.depth, product.columns, "with a row for each column of a")
    _require_shape("out", out.shape, product.rows, product.columns, "that of the product")
    if 0 in (product.rows, product.depth, product.columns):
        sizes = (product.rows, product.depth), (product.depth, product.columns)
        raise ValueError(f"a and b must not be empty; got the shapes {sizes[0]} and {sizes[1]}")
    product.a_row, product.a_column = _steps("a", a.strides, sizeof(floating))
    product.b_row, product.b_column = _steps("b", b.strides, sizeof(floating))
    product.c_row, product.c_column = _steps("out", out.strides, sizeof(floating))
    with nogil:
        enough = multiply(&product, &a[0, 0], &b[0, 0], &out[0, 0])
    if not enough:
        raise MemoryError("too little memory for the workspace of a matrix product")


cdef _require_shape(str name, const Py_ssize_t* shape, Py_ssize_t rows, Py_ssize_t columns, str rule):
    if shape[0] != rows or shape[1] != columns:
        raise ValueError(f"{name} must have shape {(rows, columns)} ({rule}); got {(shape[0], shape[1])}")


cdef tuple _steps(str name, const Py_ssize_t* strides, Py_ssize_t size):
    """Return strides in numbers; ValueError if they are not whole, as between the fields of records."""
    if strides[0] % size or strides[1] % size:
        raise ValueError(f"{name} must have strides that are multiples of {size}; got {strides[0]}, {strides[1]}")
    return strides[0] // size, strides[1] // size
