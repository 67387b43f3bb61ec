"""The sides of the comparison: our layers on each kind of kernels, and PyTorch's.

A side has a `forward` and a `backward` that do the same work on the same inputs and return arrays.
"""

from contextlib import redirect_stdout

import numpy as np
import torch
from torch.nn import functional

from cs231n.fast_layers import (
    conv_backward_fast,
    conv_forward_fast,
    max_pool_backward_fast,
    max_pool_forward_fast,
)
from cs231n.kernels import kernels_for, load_kernels
from cs231n.windows import count_windows

DIRECT, IM2COL, NUMPY, PYTORCH = NAMES = ("direct", "im2col", "NumPy", "PyTorch")
MODULES = {
    DIRECT: "cs231n.kernels.direct_cython",
    IM2COL: "cs231n.kernels.im2col_cython",
    NUMPY: "cs231n.kernels.numpy_kernels",
}


def use_kernels(name):
    """Let the fast layers use these kernels; RuntimeError if they were not built."""
    with redirect_stdout(None):
        if kernels_for(np.float32).__name__ != MODULES[name]:
            load_kernels(name)
    if kernels_for(np.float32).__name__ != MODULES[name]:
        raise RuntimeError(f"the {name} kernels are not compiled: python setup.py build_ext --inplace")


class Ours:
    """A fast layer on one kind of kernels."""

    def __init__(self, kernels, layer, inputs, param, dout):
        self.kernels, self.inputs, self.param, self.dout = kernels, inputs, param, dout
        self.forward_layer, self.backward_layer = layer
        self.cache = None

    def forward(self):
        use_kernels(self.kernels)
        out, self.cache = self.forward_layer(*self.inputs, self.param)
        return out

    def backward(self):
        use_kernels(self.kernels)
        grads = self.backward_layer(self.dout, self.cache)
        return list(grads) if isinstance(grads, tuple) else [grads]


class PyTorchs:
    """A function of PyTorch and its autograd."""

    def __init__(self, function, inputs, dout):
        self.function, self.dout = function, torch.tensor(dout)
        self.inputs = [torch.tensor(array, requires_grad=True) for array in inputs]
        self.out = None

    def forward(self):
        self.out = self.function(*self.inputs)
        return self.out.detach().numpy()

    def backward(self):
        grads = torch.autograd.grad(self.out, self.inputs, self.dout, retain_graph=True)
        return [grad.numpy() for grad in grads]


def convolution(name, x_shape, filters, stride, pad, dtype):
    """Return one side of a convolution: x_shape (N, C, H, W), filters (F, HH, WW)."""
    F, HH, WW = filters
    N, C = x_shape[:2]
    out_shape = N, F, *count_windows(x_shape, HH, WW, stride, pad)
    *inputs, dout = _gaussians(dtype, x_shape, (F, C, HH, WW), (F,), out_shape)
    if name == PYTORCH:
        return PyTorchs(lambda x, w, b: functional.conv2d(x, w, b, stride, pad), inputs, dout)
    layer = conv_forward_fast, conv_backward_fast
    return Ours(name, layer, inputs, {"stride": stride, "pad": pad}, dout)


def pooling(name, x_shape, size, stride, dtype):
    """Return one side of a max pooling with square windows: x_shape (N, C, H, W)."""
    out_shape = *x_shape[:2], *count_windows(x_shape, size, size, stride, 0)
    x, dout = _gaussians(dtype, x_shape, out_shape)
    if name == PYTORCH:
        return PyTorchs(lambda x: functional.max_pool2d(x, size, stride), [x], dout)
    param = {"pool_height": size, "pool_width": size, "stride": stride}
    return Ours(name, (max_pool_forward_fast, max_pool_backward_fast), [x], param, dout)


def _gaussians(dtype, *shapes):
    rng = np.random.default_rng(0)
    return [rng.standard_normal(shape).astype(dtype) for shape in shapes]


def assert_agree(sides):
    """Assert that the results of all sides are equal up to the precision of the dtype."""
    reference, *others = [[side.forward(), *side.backward()] for side in sides]
    for results in others:
        for ours, theirs in zip(reference, results, strict=True):
            assert ours.dtype == theirs.dtype
            tol = (2e-5 if ours.dtype == np.float32 else 1e-12) * np.abs(theirs).max()
            np.testing.assert_allclose(ours, theirs, rtol=0, atol=tol)
