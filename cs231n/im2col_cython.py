"""The names of the course's im2col_cython, which are gone: to import one says what takes its place."""

from cs231n.gone import GONE, explain_gone

__all__ = list(GONE[__name__])
__getattr__ = explain_gone(__name__)
