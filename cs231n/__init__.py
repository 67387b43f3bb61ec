"""CS231n Assignment 2: neural-network layers in NumPy, forward and backward written by hand."""

__version__ = "1.0.0"
