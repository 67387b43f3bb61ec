# cython: language_level=3
"""Denormal numbers are taken for 0 where that is asked for: see `cs231n.kernels.threads.flushed_denormals`."""

cdef extern from "c/denormals.h" nogil:
    int flush_denormals(int on)


def flush(bint on):
    """Have the calling thread take denormals for 0 from now on, or no longer; return whether it did before."""
    return bool(flush_denormals(on))
