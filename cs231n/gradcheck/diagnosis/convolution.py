"""Mistakes in a convolution: its gradients computed again, each with one mistake.

An output pixel (i, j) sees the window of x that begins at (i stride, j stride), in the padded image. Its
gradient returns to the window times the filter, and to the filter times the window. A layer is taken for a
convolution only where the numeric gradient of x is this one.
"""

import numpy as np

from cs231n.gradcheck.diagnosis.causes import matching, same

ADD = "Add: use += for the gradient of a window's pixels, which may be in several windows."
FLIP = "out_ij is a sum of x[i + p, j + q] w[p, q]: going back, w[p, q] belongs to the same pixel."
STRIDE = "The window of output pixel (i, j) begins at i * stride and j * stride."
ASSIGNED = "where windows overlap, gradients are assigned instead of added"


def convolution_causes(case):
    """Causes that are mistakes in the windows or the filters of a convolution, where the layer is one."""
    layer = convolution_of(case)
    if layer is None:
        return
    if case.actual.shape == layer.x.shape:
        yield from _of_x(case, layer)
    if layer.stride > 1:
        ignored = [
            ("the stride is ignored", gradient) for gradient in (layer.dx(stride=1), layer.dw(stride=1))
        ]
        yield from matching(case, ignored, STRIDE)
    if case.name == "w":
        last = [("only the last share is left of a sum", layer.dw_of_the_last_window())]
        yield from matching(case, last, "Every window adds its share: use +=.")


def _of_x(case, layer):
    w = layer.w
    flipped = [
        ("its filters are flipped", layer.dx(w[:, :, ::-1, ::-1])),
        ("its filters are upside down", layer.dx(w[:, :, ::-1])),
        ("its filters are mirrored", layer.dx(w[..., ::-1])),
    ]
    yield from matching(case, flipped, FLIP)
    if w.shape[2] == w.shape[3]:
        turned = [("height and width are exchanged", layer.dx(w.swapaxes(2, 3)))]
        yield from matching(case, turned, "Look at the order of the filter's last two axes.")
    all_filters, last_filter = layer.dx(assign=True), layer.dx(only=[-1], assign=True)
    yield from matching(case, [(ASSIGNED, all_filters), (ASSIGNED, last_filter)], ADD)


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
