"""Mistakes in a max pooling: its gradient computed again, each time with one mistake.

The gradient of an output pixel returns to the largest entry of its window, and to the first of them if there
are several. A layer is taken for a max pooling only where the numeric gradient of x is this one, or has ties.
"""

import numpy as np

from cs231n.gradcheck.diagnosis.causes import matching, same
from cs231n.gradcheck.diagnosis.convolution import ADD, ASSIGNED, STRIDE

EVERYWHERE = "every entry of a window takes the gradient"
LARGEST = "Only the largest entry of a window moved the output."


def pooling_causes(case):
    """Causes that are mistakes in the windows of a max pooling, where the layer is one."""
    layer = pooling_of(case)
    if layer is None or case.actual.shape != layer.x.shape:
        return
    if not layer.tied.any() and not same(layer.dx(_first_largest), case.expected):
        return
    size = layer.height * layer.width
    shares = [
        (
            "the smallest entry of a window takes the gradient",
            layer.dx(lambda window: _first_largest(-window)),
        ),
        (EVERYWHERE, layer.dx(np.ones_like)),
        (EVERYWHERE, layer.dx(lambda window: np.full_like(window, 1 / size))),
    ]
    yield from matching(case, shares, LARGEST)
    if layer.stride > 1:
        ignored = layer.dx(_first_largest, put_stride=1)
        yield from matching(case, [("the stride is ignored", ignored)], STRIDE)
    entries = layer.dx(_first_largest, combine=lambda old, new: np.where(new, new, old))
    windows = layer.dx(_first_largest, combine=lambda old, new: new)
    yield from matching(case, [(ASSIGNED, entries), (ASSIGNED, windows)], ADD)


def pooling_of(case):
    """The Pooling that the case is of; None if it is of none."""
    height, width, stride = (case.settings.get(key) for key in ("pool_height", "pool_width", "stride"))
    if case.x is None or case.x.ndim != 4 or case.dout is None or None in (height, width, stride):
        return None
    layer = Pooling(case.x, case.dout, height, width, stride)
    return layer if layer.fits else None


class Pooling:
    """The gradient of a max pooling, as the formula has it or with a mistake."""

    def __init__(self, x, dout, height, width, stride):
        self.x, self.dout, self.height, self.width, self.stride = x, dout, height, width, stride

    @property
    def fits(self):
        """Whether sizes are those of such a pooling."""
        sizes = zip(self.x.shape[2:], (self.height, self.width), self.dout.shape[2:], strict=True)
        return self.dout.shape[:2] == self.x.shape[:2] and all(
            1 + (size - window) // self.stride == out for size, window, out in sizes
        )

    def windows(self, stride=None):
        """The index of every output pixel and that of its window, row by row."""
        stride = stride or self.stride
        for i, j in np.ndindex(self.dout.shape[2:]):
            rows = slice(i * stride, i * stride + self.height)
            yield (..., i, j), (..., rows, slice(j * stride, j * stride + self.width))

    def dx(self, share, put_stride=None, combine=np.add):
        """The gradient, where `share` says which part of dout each entry of a window gets."""
        dx = np.zeros_like(self.x)
        for (pixel, window), (_, target) in zip(self.windows(), self.windows(put_stride), strict=True):
            gradient = self.dout[pixel][..., np.newaxis, np.newaxis] * share(self.x[window])
            dx[target] = combine(dx[target], gradient)
        return dx

    @property
    def tied(self):
        """The entries that are largest in a window together with another one."""
        tied = np.zeros(self.x.shape, dtype=bool)
        for _, window in self.windows():
            largest = _all_largest(self.x[window]) > 0
            tied[window] |= largest & (largest.sum(axis=(2, 3), keepdims=True) > 1)
        return tied


def _first_largest(window):
    flat = window.reshape(*window.shape[:2], -1)
    first = np.arange(flat.shape[2]) == flat.argmax(axis=2)[..., np.newaxis]
    return first.reshape(window.shape).astype(window.dtype)


def _all_largest(window):
    return (window == window.max(axis=(2, 3), keepdims=True)).astype(window.dtype)
