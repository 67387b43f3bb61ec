"""A max pooling and its gradient by formula; `pooling_mistakes` computes it with mistakes.

The gradient of an output pixel flows to the largest entry of its window, and to the first of them in
row-major order if there are several. A layer is recognized as a max pooling if the maxima are its output.

Where a window has several maxima, the numeric gradient is that of none of them: a step up moves the output, a
step down does not. There the formula says what is right.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from cs231n.gradcheck.diagnosis.causes import Array, Case, Observed, same
from cs231n.gradcheck.diagnosis.windows import (
    EVERYWHERE,
    Grid,
    Pair,
    Place,
    agree,
    argument_of,
    strides_for,
)
from cs231n.gradcheck.tolerances import STEP


class Spread(NamedTuple):
    """How a backward pass spreads dout over windows; a mistake is another value of one of these.

    - weights (N, C, H', W', height, width): the part of dout that each entry of a window gets
    - strides: of the windows that the gradient is written to
    - overwrites: "" if windows add up; "entries" if an entry that gets a gradient loses what it had,
      "windows" if all entries of the window do
    - by_column: whether windows follow each other column by column
    """

    weights: Array
    dout: Array
    strides: Pair
    overwrites: str = ""
    by_column: bool = False


class Pooling:
    """The windows of a max pooling, and its gradient, with the right `Spread` or another one."""

    def __init__(self, x: Array, size: Pair, stride: int, count: Pair) -> None:
        self.x, self.stride = x, stride
        self.grid = Grid(size, (stride, stride), count)

    def out(self, place: Place = EVERYWHERE) -> Array:
        """Return the output, or that of some examples and channels."""
        out, (height, width) = self.x[place], self.grid.size
        for axis, size in ((2, height), (3, width)):  # the maximum of the rows' maxima: quicker
            out = sliding_maxima(out, size, axis)
        return out[:, :, :: self.stride, :: self.stride]

    @property
    def values(self) -> Array:
        """The windows (N, C, H', W', height, width)."""
        return self.grid.windows(self.x)

    def right(self, dout: Array) -> Spread:
        """Return how the right backward pass spreads dout."""
        return Spread(first_largest(self.values), dout, self.grid.strides)

    def dx(self, spread: Spread, place: Place = EVERYWHERE) -> Array:
        """Return the gradient of x, or of a place in it: some examples and channels.

        What windows write beyond the image is lost. The last window that contains a pixel meets it with the
        smallest (p, q), which therefore comes last.
        """
        weights, dout = spread.weights[place], spread.dout[place]
        grid = Grid((weights.shape[4], weights.shape[5]), spread.strides, self.grid.counts)
        dx = grid.extended(np.zeros_like(self.x[place]))
        order = sorted(
            np.ndindex(grid.size), key=lambda pq: pq[::-1] if spread.by_column else pq, reverse=True
        )
        for p, q in order:
            old, new = dx[grid.pixels(p, q)], dout * weights[..., p, q]
            if spread.overwrites == "windows":
                old[...] = new
            else:
                old[...] = np.where(weights[..., p, q] != 0, new, old) if spread.overwrites else old + new
        H, W = self.x.shape[2:]
        return dx[:, :, :H, :W]

    @property
    def tied(self) -> NDArray[np.bool_]:
        """The entries that share the maximum of a window with another one, up to a numeric step."""
        values = self.values
        largest = values >= values.max(axis=(4, 5), keepdims=True) - 2 * STEP
        shared = largest & (largest.sum(axis=(4, 5), keepdims=True) > 1)
        tied: NDArray[np.bool_] = self.dx(Spread(shared, np.ones(values.shape[:4]), self.grid.strides)) > 0
        return tied


def sliding_maxima(images: Array, size: int, axis: int) -> Array:
    """Return the maximum of each run of `size` entries along an axis."""
    length = images.shape[axis] - size + 1
    runs = [np.take(images, range(start, start + length), axis=axis) for start in range(size)]
    maxima: Array = np.maximum.reduce(runs)
    return maxima


def first_largest(values: Array) -> Array:
    """Return 1 at the first largest entry of each window (..., height, width) and 0 elsewhere."""
    flat = values.reshape(*values.shape[:-2], -1)
    first = np.arange(flat.shape[-1]) == flat.argmax(axis=-1)[..., np.newaxis]
    weights: Array = first.reshape(values.shape).astype(np.float64)
    return weights


def gradients_of_pooling(observed: Observed) -> dict[str, Array] | None:
    """Return {name of x: the right gradient} of a max pooling; None for another layer."""
    layer = pooling_of(observed)
    if layer is None or observed.dout is None:
        return None
    return {name: layer.dx(layer.right(observed.dout)) for name in observed.inputs}


def judged_by_formula(case: Case) -> Case:
    """Return a case whose expected gradient is the formula's in all windows with several maxima.

    An entry that has the numeric value to the last bit was set to it because it is right: it stays right.
    """
    layer = pooling_of(case)
    if layer is None or case.dout is None or argument_of(case) is None:
        return case
    tied = layer.tied
    if not tied.any():
        return case
    right = np.where(tied, layer.dx(layer.right(case.dout)), case.expected)
    actual = np.where(tied & (case.actual == case.expected), right, case.actual)
    return replace(case, actual=actual, expected=right)


def pooling_of(observed: Observed) -> Pooling | None:
    """Return the max pooling that gives the output, by its settings or by trial; None if there is not one.

    If several poolings give the same output, they have to give the same gradient, too.
    """
    arrays = arguments_of_pooling(observed)
    if arrays is None or observed.dout is None:
        return None
    x, out = arrays
    settings = _settings(observed)
    if None not in settings:
        given = next(_that_give(out, x, *settings), None)
        if given is not None:
            return given
    if not np.isin(out[0, 0], [x[0, 0], x[0, 0].astype(np.float32)]).all():
        return None  # a maximum is one of the entries, perhaps rounded
    found = list(_that_give(out, x, *settings)) or list(_that_give(out, x, None, None, None))
    return _only_one(found, observed.dout)


def arguments_of_pooling(observed: Observed) -> tuple[Array, Array] | None:
    """Return x and the output if the shapes are those of a pooling."""
    x, out, dout = observed.x, observed.out, observed.dout
    if x is None or out is None or dout is None or len(observed.inputs) != 1 or not x.ndim == out.ndim == 4:
        return None
    if np.shape(dout) != out.shape or x.shape[:2] != out.shape[:2] or 0 in (*x.shape, *out.shape):
        return None
    return x, out


Settings = tuple[int | None, int | None, int | None]


def _settings(observed: Observed) -> Settings:
    """Return height, width and stride of the windows, as far as the settings have them."""
    return observed.integer("pool_height"), observed.integer("pool_width"), observed.integer("stride")


def poolings_that_fit(observed: Observed) -> Iterator[Pooling]:
    """Yield the poolings whose output has the right shape: those of the settings, if any."""
    arrays = arguments_of_pooling(observed)
    if arrays is None:
        return
    x, out = arrays
    given = list(_that_fit(out, x, *_settings(observed)))
    yield from given or _that_fit(out, x, None, None, None)


def _that_give(
    out: Array, x: Array, height: int | None, width: int | None, stride: int | None
) -> Iterator[Pooling]:
    """Yield the max poolings that give an output, with any size or stride where it is None.

    A single image is compared first: it tells nearly all of them apart.
    """
    one = (slice(0, 1), slice(0, 1))
    is_trial = height is None or width is None or stride is None
    for layer in _that_fit(out, x, height, width, stride):
        if is_trial and layer.grid.size == (1, 1) and layer.stride == 1:
            continue  # the identity, which many layers may be
        if agree(layer.out(one), out[one]) and agree(layer.out(), out):
            yield layer


def _that_fit(
    out: Array, x: Array, height: int | None, width: int | None, stride: int | None
) -> Iterator[Pooling]:
    """Yield the poolings with as many windows as the output has pixels."""
    H, W = x.shape[2:]
    count = out.shape[2], out.shape[3]
    heights = range(1, H - count[0] + 2) if height is None else [height]
    widths = range(1, W - count[1] + 2) if width is None else [width]
    for size in ((p, q) for p in heights for q in widths if p > 0 and q > 0):
        for step in strides_for((H, W), size, count, stride):
            yield Pooling(x, size, step, count)


def _only_one(found: list[Pooling], dout: Array) -> Pooling | None:
    """Return the likeliest of some poolings, unless they differ in their gradients."""
    if not found:
        return None
    found = sorted(found, key=_unlikely)
    first = found[0].dx(found[0].right(dout))
    alike = all(same(layer.dx(layer.right(dout)), first) for layer in found[1:])
    return found[0] if alike else None


def _unlikely(layer: Pooling) -> tuple[bool, bool, int]:
    """Sort square windows first, then those that tile the image, then those that cover most of it."""
    height, width = layer.grid.size
    return height != width, layer.stride != height, -sum(layer.grid.reach)
