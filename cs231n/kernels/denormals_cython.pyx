# cython: language_level=3
"""Whether the calling thread takes denormal numbers for 0: see `denormals_as_zeros` in `cs231n.kernels.threads`."""

cdef extern from "c/denormals.h" nogil:
    int flush_denormals(int on)
    int flushes_denormals()


def flush(bint on):
    """Have the calling thread take denormals for 0 from now on, or no longer; return whether it did before."""
    return bool(flush_denormals(on))


def flushes():
    """Return whether the calling thread takes denormals for 0."""
    return bool(flushes_denormals())
