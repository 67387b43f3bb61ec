"""Mistakes in a convolution: its gradients computed again, each with one mistake.

An output pixel (i, j) sees the window of x that begins at (i * stride, j * stride), in the padded image. The
pixel's gradient flows to the window in proportion to the filter, and to the filter in proportion to the
window. A layer is recognized as a convolution only if the numeric gradient of x is this one.
"""

from collections.abc import Iterator

import numpy as np

from cs231n.gradcheck.diagnosis.causes import Array, Case, Finding, matching, same
from cs231n.gradcheck.diagnosis.mistakes import Mistake

ADD = "Use += for the gradient of a window's pixels: a pixel may be in several windows."
ADD_WINDOWS = "Every window contributes a term: use +=."
FLIP = "out_ij is a sum of x[i + p, j + q] w[p, q]: in backward too, w[p, q] belongs to that pixel."
LAST_AXES = "Look at the order of the filter's last two axes."
STRIDE = "The window of output pixel (i, j) begins at i * stride and j * stride."

PixelIndex = tuple[slice, slice, slice, slice]
ALL = slice(None)


class Convolution:
    """The gradients of a convolution, by the formula or with a mistake."""

    def __init__(self, x: Array, w: Array, dout: Array, stride: int, pad: int) -> None:
        self.x, self.w, self.dout, self.stride, self.pad = x, w, dout, stride, pad
        self.padded = np.pad(x, ((0, 0), (0, 0), (pad, pad), (pad, pad)))

    @property
    def fits(self) -> bool:
        """Whether the sizes are those of such a convolution."""
        sizes = zip(self.padded.shape[2:], self.w.shape[2:], self.dout.shape[2:], strict=True)
        return self.dout.shape[:2] == (len(self.x), len(self.w)) and all(
            1 + (size - window) // self.stride == out for size, window, out in sizes
        )

    def dx(self, w: Array | None = None, stride: int | None = None) -> Array:
        """Return the gradient of x, with other filters or another stride if they are given."""
        w, stride = self.w if w is None else w, stride or self.stride
        dpadded = np.zeros_like(self.padded)
        for p, q in np.ndindex(w.shape[2:]):
            dpadded[self._pixels(p, q, stride)] += self._dpixels(w, self.dout, p, q)
        return self._without_padding(dpadded)

    def dx_of_filter(self, f: int) -> Array:
        """Return the contribution of one filter to the gradient of x."""
        w = np.zeros_like(self.w)
        w[f] = self.w[f]
        return self.dx(w)

    def dx_assigned(self, filters: slice = ALL) -> Array:
        """Return what is left of the gradient of x if each window overwrites the ones before it.

        The last window that contains a pixel meets it with the smallest (p, q), which therefore comes last.
        """
        dpadded = np.zeros_like(self.padded)
        for p, q in sorted(np.ndindex(self.w.shape[2:]), reverse=True):
            dpixels = self._dpixels(self.w[filters], self.dout[:, filters], p, q)
            dpadded[self._pixels(p, q, self.stride)] = dpixels
        return self._without_padding(dpadded)

    def dw(self, stride: int | None = None, examples: slice = ALL) -> Array:
        """Return the gradient of w, with another stride or of some examples only if they are given."""
        dw = np.zeros_like(self.w)
        for p, q in np.ndindex(self.w.shape[2:]):
            seen = self.padded[self._pixels(p, q, stride or self.stride)]
            dw[:, :, p, q] = np.einsum("nfij,ncij->fc", self.dout[examples], seen[examples])
        return dw

    def dw_of_last_window(self) -> Array:
        """Return what is left of dw if each window overwrites what came before."""
        dw = np.zeros_like(self.w)
        for p, q in np.ndindex(self.w.shape[2:]):
            seen = self.padded[self._pixels(p, q, self.stride)]
            dw[:, :, p, q] = np.outer(self.dout[-1, :, -1, -1], seen[-1, :, -1, -1])
        return dw

    def _pixels(self, p: int, q: int, stride: int) -> PixelIndex:
        """Return the index of the pixels that entry (p, q) of a filter meets, one for each output pixel."""
        height, width = self.dout.shape[2:]
        rows = slice(p, p + stride * (height - 1) + 1, stride)
        columns = slice(q, q + stride * (width - 1) + 1, stride)
        return ALL, ALL, rows, columns

    def _dpixels(self, w: Array, dout: Array, p: int, q: int) -> Array:
        """Return what flows back to these pixels through entry (p, q) of the filters."""
        dpixels: Array = np.einsum("nfij,fc->ncij", dout, w[:, :, p, q])
        return dpixels

    def _without_padding(self, dpadded: Array) -> Array:
        H, W = self.x.shape[2:]
        return dpadded[:, :, self.pad : self.pad + H, self.pad : self.pad + W]


def find_convolution(case: Case) -> Iterator[Finding]:
    """Find mistakes in the windows or the filters of a convolution, if the layer is one."""
    layer = convolution_of(case)
    if layer is None:
        return
    if case.actual.shape == layer.x.shape:
        yield from _in_dx(case, layer)
    if layer.stride > 1:
        gradients = layer.dx(stride=1), layer.dw(stride=1)
        yield from matching(case, [(Mistake.STRIDE_IGNORED, gradient) for gradient in gradients], STRIDE)
    if case.name == "w":
        yield from matching(case, [(Mistake.ONLY_LAST_TERM, layer.dw_of_last_window())], ADD_WINDOWS)


def _in_dx(case: Case, layer: Convolution) -> Iterator[Finding]:
    w = layer.w
    turned = [
        (Mistake.FLIPPED, layer.dx(w[:, :, ::-1, ::-1])),
        (Mistake.UPSIDE_DOWN, layer.dx(w[:, :, ::-1])),
        (Mistake.MIRRORED, layer.dx(w[..., ::-1])),
    ]
    yield from matching(case, turned, FLIP)
    if w.shape[2] == w.shape[3]:
        yield from matching(case, [(Mistake.HEIGHT_WIDTH_SWAPPED, layer.dx(w.swapaxes(2, 3)))], LAST_AXES)
    assigned = layer.dx_assigned(), layer.dx_assigned(filters=slice(-1, None))
    yield from matching(case, [(Mistake.ASSIGNED, gradient) for gradient in assigned], ADD)


def convolution_of(case: Case) -> Convolution | None:
    """Return the convolution under test, or None if the layer is not one."""
    x, w, dout = case.x, case.inputs.get("w"), case.dout
    stride, pad = case.integer("stride"), case.integer("pad")
    if x is None or w is None or dout is None or stride is None:
        return None
    if not x.ndim == w.ndim == dout.ndim == 4:
        return None
    layer = Convolution(x, w, dout, stride, pad or 0)
    return layer if layer.fits and same(layer.dx(), case.dx) else None
