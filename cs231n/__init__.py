"""CS231n Assignment 2: neural-network layers in NumPy, forward and backward written by hand."""
