"""Mistakes in convolution and max pooling: their gradients computed again, each with one mistake.

An output pixel (i, j) sees the window of x that begins at (i stride, j stride), in the padded image. The
gradient returns to the window: times the filter in a convolution, to its largest entry in a pooling. A
layer is taken for one of them only where the numeric gradient of x is this one.
"""

import numpy as np

from cs231n.diagnosis.causes import matching, same

ADD = "Add: use += for the gradient of a window's pixels, which may be in several windows."
FLIP = "out_ij is a sum of x[i + p, j + q] w[p, q]: going back, w[p, q] belongs to the same pixel."
STRIDE = "The window of output pixel (i, j) begins at i * stride and j * stride."
ASSIGNED = "where windows overlap, gradients are assigned instead of added"


def window_causes(case):
    """Causes that are mistakes in the windows of a convolution or of a pooling, where the layer is one."""
    convolution = convolution_of(case)
    if convolution is not None:
        yield from _convolution_causes(case, convolution)
    pooling = pooling_of(case)
    if pooling is not None:
        yield from _pooling_causes(case, pooling)


def convolution_of(case):
    """The Convolution that the case is of; None if it is of none."""
    x, w, settings = case.x, case.inputs.get("w"), case.settings
    if any(array is None or np.ndim(array) != 4 for array in (x, w, case.dout)) or "stride" not in settings:
        return None
    layer = Convolution(x, w, case.dout, settings["stride"], settings.get("pad", 0))
    return layer if layer.fits and same(layer.dx(), case.dx) else None


class Convolution:
    """The gradients of a convolution, as the formulas have them or with a mistake."""

    def __init__(self, x, w, dout, stride, pad):
        self.x, self.w, self.dout, self.stride, self.pad = x, w, dout, stride, pad
        self.padded = np.pad(x, ((0, 0), (0, 0), (pad, pad), (pad, pad)))

    @property
    def fits(self):
        """Whether sizes are those of such a convolution."""
        sizes = zip(self.padded.shape[2:], self.w.shape[2:], self.dout.shape[2:], strict=True)
        return self.dout.shape[:2] == (len(self.x), len(self.w)) and all(
            1 + (size - window) // self.stride == out for size, window, out in sizes
        )

    def _pixels(self, p, q, stride):
        """The index of the pixels that entry (p, q) of the filter meets, one for each output pixel."""
        height, width = self.dout.shape[2:]
        ends = p + stride * (height - 1) + 1, q + stride * (width - 1) + 1
        return slice(None), slice(None), slice(p, ends[0], stride), slice(q, ends[1], stride)

    def dx(self, w=None, stride=None, only=slice(None), assign=False):
        """The gradient of x, of the filters `only`; `assign`: what is left if later windows overwrite.

        The last window that has a pixel meets it with the smallest (p, q), which therefore comes last.
        """
        w, stride = self.w if w is None else w, stride or self.stride
        dpadded = np.zeros_like(self.padded)
        for p, q in sorted(np.ndindex(w.shape[2:]), reverse=True):
            share = np.einsum("nfij,fc->ncij", self.dout[:, only], w[only, :, p, q])
            pixels = self._pixels(p, q, stride)
            dpadded[pixels] = share if assign else dpadded[pixels] + share
        H, W = self.x.shape[2:]
        return dpadded[:, :, self.pad : self.pad + H, self.pad : self.pad + W]

    def dw(self, stride=None, only=slice(None)):
        """The gradient of w, of the examples `only`."""
        dw = np.zeros_like(self.w)
        for p, q in np.ndindex(self.w.shape[2:]):
            seen = self.padded[self._pixels(p, q, stride or self.stride)]
            dw[:, :, p, q] = np.einsum("nfij,ncij->fc", self.dout[only], seen[only])
        return dw

    def dw_of_the_last_window(self):
        """What is left of dw if each window overwrites what came before."""
        dw = np.zeros_like(self.w)
        for p, q in np.ndindex(self.w.shape[2:]):
            seen = self.padded[self._pixels(p, q, self.stride)]
            dw[:, :, p, q] = np.outer(self.dout[-1, :, -1, -1], seen[-1, :, -1, -1])
        return dw


def _convolution_causes(case, layer):
    if case.actual.shape == layer.x.shape:
        w = layer.w
        yield from matching(case, [("its filters are flipped", layer.dx(w[:, :, ::-1, ::-1]))], FLIP)
        yield from matching(case, [("its filters are upside down", layer.dx(w[:, :, ::-1]))], FLIP)
        yield from matching(case, [("its filters are mirrored", layer.dx(w[..., ::-1]))], FLIP)
        if w.shape[2] == w.shape[3]:
            turned = layer.dx(w.swapaxes(2, 3))
            look = "Look at the order of the filter's last two axes."
            yield from matching(case, [("height and width are exchanged", turned)], look)
        last = layer.dx(only=[-1], assign=True)
        yield from matching(case, [(ASSIGNED, layer.dx(assign=True)), (ASSIGNED, last)], ADD)
    if layer.stride > 1:
        of_x, of_w = layer.dx(stride=1), layer.dw(stride=1)
        yield from matching(case, [("the stride is ignored", of_x), ("the stride is ignored", of_w)], STRIDE)
    if case.name == "w":
        last = layer.dw_of_the_last_window()
        yield from matching(
            case, [("only the last share is left of a sum", last)], "Every window adds: use +=."
        )


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


def _pooling_causes(case, layer):
    if case.actual.shape != layer.x.shape or not (
        layer.tied.any() or same(layer.dx(_first_largest), case.expected)
    ):
        return
    everywhere = "every entry of a window takes the gradient"
    size = layer.height * layer.width
    shares = [
        (
            "the smallest entry of a window takes the gradient",
            layer.dx(lambda window: _first_largest(-window)),
        ),
        (everywhere, layer.dx(np.ones_like)),
        (everywhere, layer.dx(lambda window: np.full_like(window, 1 / size))),
    ]
    yield from matching(case, shares, "Only the largest entry of a window moved the output.")
    if layer.stride > 1:
        ignored = layer.dx(_first_largest, put_stride=1)
        yield from matching(case, [("the stride is ignored", ignored)], STRIDE)
    entries = layer.dx(_first_largest, combine=lambda old, new: np.where(new, new, old))
    windows = layer.dx(_first_largest, combine=lambda old, new: new)
    yield from matching(case, [(ASSIGNED, entries), (ASSIGNED, windows)], ADD)
