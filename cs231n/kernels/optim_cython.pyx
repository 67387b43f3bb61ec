# cython: language_level=3, boundscheck=False, wraparound=False
"""One step of Adam, compiled, for float32 and float64: one pass over memory where NumPy makes nine."""

from cython cimport floating

cdef extern from "c/optim.h" nogil:
    ctypedef void Adam(void*, const void*, void*, void*, Py_ssize_t, double, double, double, double) noexcept
    Adam* ADAM[3][2]
    int count_sets()

cdef int WIDEST = count_sets() - 1


def adam_step(
    floating[::1] w,
    const floating[::1] dw,
    floating[::1] m,
    floating[::1] v,
    double beta1,
    double beta2,
    double epsilon,
    double step_size,
    int vectors=WIDEST,
):
    """Update m, v and w in place:

        m = beta1 m + (1 - beta1) dw
        v = beta2 v + (1 - beta2) dw^2
        w = w - step_size m / (sqrt(v) + epsilon)

    `vectors` is the index of a set of vector instructions, to measure or to test; the last is the widest.
    """
    if not len(w) == len(dw) == len(m) == len(v):
        raise ValueError(
            f"w, dw, m and v must have equal lengths; got {len(w)}, {len(dw)}, {len(m)}, {len(v)}"
        )
    if not 0 <= vectors <= WIDEST:
        raise ValueError(f"vectors must be from 0 to {WIDEST}; got {vectors}")
    cdef Adam* adam = ADAM[vectors][floating is double]
    with nogil:
        adam(&w[0], &dw[0], &m[0], &v[0], len(w), beta1, beta2, epsilon, step_size)
