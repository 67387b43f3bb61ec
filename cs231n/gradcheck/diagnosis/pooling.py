"""Mistakes in a max pooling: its gradient computed again, each time with one mistake.

The gradient of an output pixel flows to the largest entry of its window, and to the first of them if there
are several. A layer is recognized as a max pooling only if the numeric gradient of x is this one, or x
has ties.
"""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from cs231n.gradcheck.diagnosis.causes import Array, Case, Finding, matching, same
from cs231n.gradcheck.diagnosis.convolution import ADD, STRIDE
from cs231n.gradcheck.diagnosis.mistakes import Mistake

LARGEST = "Only the largest entry of a window determines the output."

WindowIndex = tuple[Any, ...]


class Pooling:
    """The gradient of a max pooling, by the formula or with a mistake."""

    def __init__(self, x: Array, dout: Array, height: int, width: int, stride: int) -> None:
        self.x, self.dout, self.height, self.width, self.stride = x, dout, height, width, stride

    @property
    def fits(self) -> bool:
        """Whether the sizes are those of such a pooling."""
        sizes = zip(self.x.shape[2:], (self.height, self.width), self.dout.shape[2:], strict=True)
        return self.dout.shape[:2] == self.x.shape[:2] and all(
            1 + (size - window) // self.stride == out for size, window, out in sizes
        )

    def windows(self, stride: int | None = None) -> Iterator[tuple[WindowIndex, WindowIndex]]:
        """Yield the index of every output pixel and of its window, row by row."""
        stride = stride or self.stride
        for i, j in np.ndindex(self.dout.shape[2:]):
            rows = slice(i * stride, i * stride + self.height)
            columns = slice(j * stride, j * stride + self.width)
            yield (..., i, j), (..., rows, columns)

    def dx(
        self,
        weights: Callable[[Array], Array],
        combine: Callable[[Array, Array], Array] = np.add,
        target_stride: int | None = None,
    ) -> Array:
        """Return the gradient of x.

        - weights: a function of a window that returns the part of dout which each of its entries gets
        - combine: a function of a window's gradient so far and of that which is added to it
        - target_stride: the stride of the windows that the gradient is written to, if it is another one
        """
        dx = np.zeros_like(self.x)
        for (pixel, window), (_, target) in zip(self.windows(), self.windows(target_stride), strict=True):
            gradient = self.dout[pixel][..., np.newaxis, np.newaxis] * weights(self.x[window])
            dx[target] = combine(dx[target], gradient)
        return dx

    @property
    def tied(self) -> Array:
        """The entries that share the maximum of a window with another one."""
        tied = np.zeros(self.x.shape, dtype=bool)
        for _, window in self.windows():
            values = self.x[window]
            largest = values == values.max(axis=(2, 3), keepdims=True)
            tied[window] |= largest & (largest.sum(axis=(2, 3), keepdims=True) > 1)
        return tied


def find_pooling(case: Case) -> Iterator[Finding]:
    """Find mistakes in the windows of a max pooling, if the layer is one."""
    layer = pooling_of(case)
    if layer is None or case.actual.shape != layer.x.shape:
        return
    if not layer.tied.any() and not same(layer.dx(_first_largest), case.expected):
        return
    yield from matching(case, _wrong_entries(layer), LARGEST)
    if layer.stride > 1:
        ignored = layer.dx(_first_largest, target_stride=1)
        yield from matching(case, [(Mistake.STRIDE_IGNORED, ignored)], STRIDE)
    yield from matching(case, _assigned(layer), ADD)


def _wrong_entries(layer: Pooling) -> Iterator[tuple[Mistake, Array]]:
    """Yield (mistake, gradient) where other entries of a window than the largest get the gradient."""
    size = layer.height * layer.width
    yield Mistake.SMALLEST_TAKES_IT, layer.dx(lambda window: _first_largest(-window))
    yield Mistake.ALL_TAKE_IT, layer.dx(np.ones_like)
    yield Mistake.ALL_TAKE_IT, layer.dx(lambda window: np.full_like(window, 1 / size))


def _assigned(layer: Pooling) -> Iterator[tuple[Mistake, Array]]:
    """Yield (mistake, gradient) where later windows overwrite an entry, or all of their entries."""
    entries = layer.dx(_first_largest, combine=lambda old, new: np.where(new, new, old))
    yield Mistake.ASSIGNED, entries
    yield Mistake.ASSIGNED, layer.dx(_first_largest, combine=lambda _, new: new)


def pooling_of(case: Case) -> Pooling | None:
    """Return the max pooling under test, or None if the sizes are not those of one."""
    height, width = case.integer("pool_height"), case.integer("pool_width")
    stride = case.integer("stride")
    if height is None or width is None or stride is None:
        return None
    if case.x is None or case.x.ndim != 4 or case.dout is None or case.dout.ndim != 4:
        return None
    layer = Pooling(case.x, case.dout, height, width, stride)
    return layer if layer.fits else None


def _first_largest(window: Array) -> Array:
    """Return 1 at the first largest entry of each window and 0 elsewhere."""
    flat = window.reshape(*window.shape[:2], -1)
    first = np.arange(flat.shape[2]) == flat.argmax(axis=2)[..., np.newaxis]
    weights: Array = first.reshape(window.shape).astype(window.dtype)
    return weights
