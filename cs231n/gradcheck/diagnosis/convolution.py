"""A convolution and its gradients by formula; `convolution_mistakes` computes them with mistakes.

An output pixel (i, j) sees the window of x that begins at (i * stride, j * stride), in the padded image. The
pixel's gradient flows to the window in proportion to the filter, and to the filter in proportion to the
window. A layer is recognized as a convolution if this forward pass gives its output.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from cs231n.gradcheck.diagnosis.causes import Array, Observed
from cs231n.gradcheck.diagnosis.windows import ALL, EVERYWHERE, Grid, Pair, Place, agree, strides_for

BEYOND_THE_FILTER = 2  # a padding may be this much wider than the filter, in the search for it


class Backward(NamedTuple):
    """What a backward pass computes with; a mistake is another value of one of these.

    - x: padded; strides: of rows and columns
    - overwrites: whether a window's gradient overwrites what the windows before it gave to the same pixels
    """

    x: Array
    w: Array
    dout: Array
    strides: Pair
    overwrites: bool = False


class Convolution:
    """The forward pass of a convolution, and its gradients, with the right `Backward` or another one."""

    def __init__(self, x: Array, w: Array, b: Array, stride: int, pad: int, count: Pair) -> None:
        self.x, self.w, self.b, self.stride, self.pad = x, w, b, stride, pad
        self.grid = Grid((w.shape[2], w.shape[3]), (stride, stride), count)
        self.padded = padded(x, pad)

    def out(self, examples: slice = ALL, filters: slice = ALL) -> Array:
        """Return the output, or that of some examples and filters."""
        x, w = self.padded[examples], self.w[filters]
        out = np.zeros((len(x), len(w), *self.grid.counts)) + self.b[filters].reshape(-1, 1, 1)
        for p, q in np.ndindex(self.grid.size):
            seen = x[self.grid.pixels(p, q)]
            out += (w[:, :, p, q] @ seen.reshape(*seen.shape[:2], -1)).reshape(out.shape)
        return out

    def right(self, dout: Array) -> Backward:
        """Return what the right backward pass computes with."""
        return Backward(self.padded, self.w, dout, self.grid.strides)

    def dx(self, back: Backward, place: Place = EVERYWHERE) -> Array:
        """Return the gradient of x, or of a place in it: some examples and channels."""
        H, W = self.x.shape[2:]
        return self.dpadded(back, place)[:, :, self.pad : self.pad + H, self.pad : self.pad + W]

    def dpadded(self, back: Backward, place: Place = EVERYWHERE) -> Array:
        """Return the gradient of the padded x, or of a place in it.

        The last window that contains a pixel meets it with the smallest (p, q), which therefore comes last.
        """
        examples, channels = place
        dout, w = back.dout[examples], back.w[:, channels]
        grid = self.grid._replace(strides=back.strides)
        flat = dout.reshape(*dout.shape[:2], -1)
        dpadded = np.zeros((len(dout), w.shape[1], *self.padded.shape[2:]))
        for p, q in sorted(np.ndindex(grid.size), reverse=True):
            pixels = dpadded[grid.pixels(p, q)]
            new = (w[:, :, p, q].T @ flat).reshape(pixels.shape)
            pixels[...] = new if back.overwrites else pixels + new
        return dpadded

    def dw(self, back: Backward, place: Place = EVERYWHERE) -> Array:
        """Return the gradient of w, or of a place in it: some filters and channels."""
        filters, channels = place
        dout, x = back.dout[:, filters], back.x[:, channels]
        grid = self.grid._replace(strides=back.strides)
        dw = np.zeros((dout.shape[1], x.shape[1], *grid.size))
        for p, q in np.ndindex(grid.size):
            dw[:, :, p, q] = np.tensordot(dout, x[grid.pixels(p, q)], axes=([0, 2, 3], [0, 2, 3]))
        return dw

    def db(self, back: Backward) -> Array:
        """Return the gradient of b (F,)."""
        db: Array = back.dout.sum(axis=(0, 2, 3))
        return db


def padded(images: Array, pad: int, **how: str) -> Array:
    """Return images (N, C, H, W) with a border on all four sides: zeros, unless np.pad is told otherwise."""
    border: Array = np.pad(images, ((0, 0), (0, 0), (pad, pad), (pad, pad)), **how)  # type: ignore[call-overload]
    return border


def gradients_of_convolution(observed: Observed) -> dict[str, Array] | None:
    """Return the right gradients {name: array} of a convolution's arguments; None for another layer."""
    layer = convolution_of(observed)
    if layer is None or observed.dout is None:
        return None
    back, arguments = layer.right(observed.dout), list(observed.inputs.items())
    (x, _), (w, _), *bias = arguments
    gradients = {x: layer.dx(back), w: layer.dw(back)}
    return gradients | {name: layer.db(back).reshape(array.shape) for name, array in bias}


def convolution_of(observed: Observed) -> Convolution | None:
    """Return the convolution that gives the output, by its settings or by trial; None if there is not one.

    Several paddings and strides give the same output if x is 0, for instance. Then nothing is known of them.
    """
    arrays = arguments_of_convolution(observed)
    if arrays is None or observed.out is None:
        return None
    stride, pad = observed.integer("stride"), observed.integer("pad")
    given = _that_give(observed.out, *arrays, stride, pad)
    first = next(given, None)
    if first is not None and stride is not None and pad is not None:
        return first
    if first is None:
        given = _that_give(observed.out, *arrays, None, None)
        first = next(given, None)
    return first if next(given, None) is None else None


def arguments_of_convolution(observed: Observed) -> tuple[Array, Array, Array] | None:
    """Return x, w and b (zeros without one) if the shapes are those of a convolution."""
    arrays, out, dout = list(observed.inputs.values()), observed.out, observed.dout
    if len(arrays) not in (2, 3) or out is None or dout is None or np.shape(dout) != np.shape(out):
        return None
    x, w = arrays[:2]
    if not x.ndim == w.ndim == out.ndim == 4 or 0 in (*x.shape, *w.shape, *out.shape):
        return None
    b = arrays[2] if len(arrays) == 3 else np.zeros(len(w))
    fits = x.shape[1] == w.shape[1] and out.shape[:2] == (len(x), len(w)) and np.size(b) == len(w)
    return (x, w, b) if fits else None


def convolutions_that_fit(observed: Observed, arrays: tuple[Array, Array, Array]) -> Iterator[Convolution]:
    """Yield the convolutions of arrays whose output has the right shape: those of the settings, if any."""
    if observed.out is None:
        return
    given = list(_that_fit(observed.out, *arrays, observed.integer("stride"), observed.integer("pad")))
    yield from given or _that_fit(observed.out, *arrays, None, None)


def _that_give(
    out: Array, x: Array, w: Array, b: Array, stride: int | None, pad: int | None
) -> Iterator[Convolution]:
    """Yield the convolutions that give an output, with any stride or padding where it is None.

    One filter of one example is compared first: it tells nearly all of them apart.
    """
    one = slice(0, 1)
    for layer in _that_fit(out, x, w, b, stride, pad):
        if agree(layer.out(one, one), out[one, one]) and agree(layer.out(), out):
            yield layer


def _that_fit(
    out: Array, x: Array, w: Array, b: Array, stride: int | None, pad: int | None
) -> Iterator[Convolution]:
    """Yield the convolutions with as many windows as the output has pixels."""
    size, count = (w.shape[2], w.shape[3]), (out.shape[2], out.shape[3])
    for width in range(max(size) + BEYOND_THE_FILTER + 1) if pad is None else [pad]:
        lengths = x.shape[2] + 2 * width, x.shape[3] + 2 * width
        for step in strides_for(lengths, size, count, stride) if width >= 0 else ():
            yield Convolution(x, w, b, step, width, count)
