"""The sides of a comparison, and the rows that make them.

A side is a function without arguments that does the work of a row once and returns its results. Ours is one,
and every way to run PyTorch (`Variant`) is another; all get the same inputs.
"""

from collections.abc import Callable
from functools import lru_cache, partial
from itertools import product
from typing import Any, NamedTuple

import numpy as np
import torch

MATRIX_PRODUCT, COPY = "matrix product", "copy"  # the limits of the machine that a row is held against


class Variant(NamedTuple):
    """A way to run PyTorch; without anything it is contiguous and eager."""

    channels_last: bool = False
    compiled: bool = False
    optimizer: str = ""  # "", "foreach" or "fused"

    def __str__(self):
        words = "compiled" * self.compiled, "channels_last" * self.channels_last, self.optimizer
        return " ".join(filter(None, words)) or "plain"

    def tensor(self, array):
        """Return an array as a tensor, in this variant's layout if it has four axes."""
        layout = torch.channels_last if self.channels_last and array.ndim == 4 else torch.contiguous_format
        return torch.tensor(array).contiguous(memory_format=layout)

    def compile(self, function):
        return torch.compile(function, dynamic=False) if self.compiled else function


class Layer(NamedTuple):
    """A layer, forward and backward.

    - shapes: of the inputs; out_shape: of the output, () for a loss
    - ours: ours(inputs, dout) returns a list, the output and the gradients of the inputs
    - theirs: theirs(*tensors) returns the output; autograd does the rest
    - limit, work: which limit of the machine it has, and how many operations or elements moved it needs
    - agree: raises AssertionError unless two sides do the same
    """

    name: str
    shapes: tuple[tuple[int, ...], ...]
    out_shape: tuple[int, ...]
    ours: Callable[..., list[Any]]
    theirs: Callable[..., torch.Tensor]
    limit: str
    work: float
    agree: Callable[..., None]

    def variants(self):
        layouts = (False, True) if len(self.shapes[0]) == 4 else (False,)
        return [Variant(*each) for each in product(layouts, (False, True))]

    def our_side(self, dtype, seed):
        return partial(self.ours, *self._data(dtype, seed))

    def their_side(self, variant, dtype, seed):
        arrays, dout = self._data(dtype, seed)
        inputs = [variant.tensor(array).requires_grad_() for array in arrays]
        dout, function = variant.tensor(dout), variant.compile(self.theirs)

        def side():
            out = function(*inputs)
            return [out, *torch.autograd.grad(out, inputs, dout)]

        return side

    @lru_cache(1)  # noqa: B019 - one row at a time; all its sides get the same
    def _data(self, dtype, seed):
        """Return random inputs, and the upstream gradient; that of a loss is 1."""
        rng = np.random.default_rng(seed)
        *inputs, dout = (rng.standard_normal(shape, dtype) for shape in (*self.shapes, self.out_shape))
        return inputs, dout if self.out_shape else np.ones((), dtype)


def assert_agree(ours, theirs):
    """Assert that the results of two sides are equal up to the precision of the dtype.

    The gradient of a bias or a weight sums one term for every row, or pixel, of the output's channel. A
    running sum of n random terms is wrong by about sqrt(n / 2) roundings of eps / 2, on each side.
    """
    ours, theirs = as_arrays(ours()), as_arrays(theirs())
    out = ours[0]
    summed = np.finfo(out.dtype).eps * np.sqrt(out[:, 0].size if out.ndim > 1 else 1)
    for our, their in zip(ours, theirs, strict=True):
        assert (our.shape, our.dtype) == (their.shape, their.dtype)
        tol = max(2e-5 if our.dtype == np.float32 else 1e-12, summed) * np.abs(their).max()
        np.testing.assert_allclose(our, their, rtol=0, atol=tol)


def as_arrays(results):
    """Return the results of a side as arrays; a tensor keeps its axes N, C, H, W in every layout."""
    return [each.detach().numpy() if isinstance(each, torch.Tensor) else np.asarray(each) for each in results]


def why_not_compiled():
    """Return why torch.compile does not work here, in one line; an empty text if it does."""
    try:
        Variant(compiled=True).compile(lambda x: x.relu() + 1)(torch.ones(8))
    except Exception as error:  # no C++ compiler, Windows, a Python that is too new: each has its own
        return f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"
    return ""
