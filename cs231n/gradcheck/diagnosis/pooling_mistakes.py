"""Mistakes in a max pooling: its gradient computed again, each time with one mistake."""

from collections.abc import Iterator
from functools import partial
from itertools import chain

import numpy as np

from cs231n.gradcheck.diagnosis.causes import Array, Case, Finding
from cs231n.gradcheck.diagnosis.convolution_mistakes import closer
from cs231n.gradcheck.diagnosis.mistakes import Mistake
from cs231n.gradcheck.diagnosis.pooling import Pooling, Spread, first_largest, pooling_of
from cs231n.gradcheck.diagnosis.reshapes import RESHAPE, reshapes
from cs231n.gradcheck.diagnosis.windows import (
    ADD,
    STRIDE,
    Place,
    Trial,
    argument_of,
    borders,
    changes_of_dout,
    first_trial_that_fits,
    windows_left_out,
)

LARGEST = "Only the largest entry of a window determines the output."
OWN_WINDOW = "The maximum is that of one window, in one channel of one example."
TIES = "On a tie the first maximum, in row-major order, gets the whole gradient."
FLAT = "Entry k of a window, in row-major order, is in row k // pool_width and column k % pool_width."
OFFSET = "Entry (p, q) of window (i, j) is x[n, c, i * stride + p, j * stride + q]."
SIDES = "A window has pool_height rows and pool_width columns."
GUARD = "The last window may end with the last row and column of x, and the first begins at (0, 0)."
TILES = "Windows (N, C, H', W', height, width) need transpose(0, 1, 2, 4, 3, 5) before reshape(N, C, H, W)."
SLOPE = "A maximum has the slope 1: dx gets dout, and nothing that depends on x."

MAXIMA_OVER = {  # axes of the windows (N, C, H', W', height, width), by what they stand for
    "all channels": (1, 4, 5),
    "all examples": (0, 4, 5),
    "all examples and channels": (0, 1, 4, 5),
    "each column of a window": (4,),
    "each row of a window": (5,),
}
MAXIMA_OF_X_OVER = {  # axes of x (N, C, H, W)
    "the whole image": (2, 3),
    "the whole image and all channels": (1, 2, 3),
    "the whole array x": (0, 1, 2, 3),
}
THRESHOLDS = 50  # that are tried, for entries which count as the maximum


def find_pooling(case: Case) -> Iterator[Finding]:
    """Find mistakes in the windows of a max pooling, if the layer is one."""
    layer = pooling_of(case)
    if layer is None or argument_of(case) is None or case.dout is None:
        return
    yield from first_trial_that_fits(case, wrong_dx(case, layer, case.dout))


def wrong_dx(case: Case, layer: Pooling, dout: Array) -> Iterator[Trial]:
    """Yield dx with each known mistake in it. Those in the windows come with each way to decide ties."""
    right = layer.right(dout)
    spreads = [right, *(right._replace(weights=weights) for _, weights, _ in _of_ties(layer.values))]
    for mistake, weights, look, evidence, about in _other_entries(case, layer):
        spread = right._replace(weights=np.broadcast_to(weights, right.weights.shape))
        yield Trial(mistake, partial(layer.dx, spread), look, evidence, about)
    yield from _over_channels(layer, right)
    for spread in spreads:
        yield from _assigned(layer, spread)
        yield from _strides(layer, spread)
    yield from _other_windows(case, layer, right)
    yield from _other_places(layer, right)
    yield from _tiles_reshaped(layer, right)
    dx = layer.dx(right)
    for words, mask in borders(*layer.x.shape[2:]):
        gradient = partial(_part, dx * mask)
        yield Trial(Mistake.PIXELS_LEFT_OUT, gradient, GUARD, "without them", words)
    for spread in spreads:
        yield from _dout_changed(case, layer, spread)


WeightsWithMistake = tuple[Mistake, Array, str, str, str]


def _of_ties(values: Array) -> Iterator[tuple[Mistake, Array, str]]:
    """Yield (mistake, weights, evidence) of the other ways to decide ties, if there are any."""
    largest = (values == values.max(axis=(4, 5), keepdims=True)).astype(np.float64)
    count = largest.sum(axis=(4, 5), keepdims=True)
    if not (count > 1).any():
        return
    yield Mistake.ALL_OF_TIES, largest, "with all maxima of a window"
    yield Mistake.TIES_SHARED, largest / count, "with equal parts for all maxima of a window"
    last = first_largest(values[..., ::-1, ::-1])[..., ::-1, ::-1]
    yield Mistake.LAST_OF_TIES, last, "with the last maximum of a window"


def _other_entries(case: Case, layer: Pooling) -> Iterator[WeightsWithMistake]:
    """Yield weights of other entries of a window than its largest."""
    values, size = layer.values, layer.grid.size
    for mistake, weights, evidence in _of_ties(values):
        yield mistake, weights, TIES, evidence, ""
    yield Mistake.SMALLEST_TAKES_IT, first_largest(-values), LARGEST, "with this mistake", ""
    for part in (1.0, 1 / (size[0] * size[1])):
        weights = np.full_like(values, part)
        yield Mistake.ALL_TAKE_IT, weights, LARGEST, "with this mistake", ""
    maxima = {about: values.max(axis=axes, keepdims=True) for about, axes in MAXIMA_OVER.items()}
    for about, axes in MAXIMA_OF_X_OVER.items():
        maxima[about] = layer.x.max(axis=axes, keepdims=True)[..., np.newaxis, np.newaxis]
    for about, maximum in maxima.items():
        weights, evidence = (values == maximum).astype(np.float64), f"with the maxima over {about}"
        yield Mistake.MAXIMUM_OVER, weights, OWN_WINDOW, evidence, about
    for p, q in np.ndindex(size):
        weights = np.zeros(size)
        weights[p, q] = 1
        yield Mistake.SAME_PLACE, weights, LARGEST, f"with entry ({p}, {q}) of each window", ""
    first = first_largest(values)
    yield Mistake.MAXIMUM_AS_FACTOR, first * values, SLOPE, "with this mistake", ""
    for axis, name in ((1, "channel"), (0, "example")):
        for index in {0, first.shape[axis] - 1}:
            evidence, about = f"with the maxima of {name} {index} only", f"{name}'s maximum"
            yield Mistake.ONE_FOR_ALL, np.take(first, [index], axis=axis), OWN_WINDOW, evidence, about
    yield from _near_maxima(case, layer, values)


def _near_maxima(case: Case, layer: Pooling, values: Array) -> Iterator[WeightsWithMistake]:
    """Yield the weights of all entries within some distance of the maximum, or of a part of its size.

    An entry with a gradient is that close in one of its windows. One without is farther away in all of them.
    """
    largest = values.max(axis=(4, 5), keepdims=True)
    scales = {"below the maximum": np.ones_like(largest), "times its size below the maximum": np.abs(largest)}
    for words, scale in scales.items():
        gaps = (largest - values) / np.where(scale == 0, 1, scale)
        closest = np.full(layer.x.shape, np.inf)
        for p, q in np.ndindex(layer.grid.size):
            pixels = closest[layer.grid.pixels(p, q)]
            pixels[...] = np.minimum(pixels, gaps[..., p, q])
        touched = np.isfinite(closest) & (case.actual != 0)
        least = closest[touched].max(initial=0)
        most = closest[(case.actual == 0)].min(initial=gaps.max())
        for limit in np.unique(gaps[(gaps >= least) & (gaps < most) & (gaps > 0)])[:THRESHOLDS]:
            evidence = f"with dout for all entries at most {limit:.2g} {words}"
            yield Mistake.NEAR_MAXIMA, (gaps <= limit).astype(np.float64), LARGEST, evidence, ""


def _over_channels(layer: Pooling, right: Spread) -> Iterator[Trial]:
    """Yield dx with one maximum over all channels, which gets the gradient of each of them."""
    values = layer.values
    weights = (values == values.max(axis=(1, 4, 5), keepdims=True)).astype(np.float64)
    dout = np.broadcast_to(right.dout.sum(axis=1, keepdims=True), right.dout.shape)
    about, evidence = "all channels", "with dout of all channels where the maximum over them is"
    spread = right._replace(weights=weights, dout=dout)
    yield Trial(Mistake.MAXIMUM_OVER, partial(layer.dx, spread), OWN_WINDOW, evidence, about)


def _assigned(layer: Pooling, spread: Spread) -> Iterator[Trial]:
    """Yield dx with later windows overwriting an entry, or all of their entries."""
    for overwrites in ("entries", "windows"):
        for by_column in (False, True):
            changed = spread._replace(overwrites=overwrites, by_column=by_column)
            yield Trial(Mistake.ASSIGNED, partial(layer.dx, changed), ADD)


def _tiles_reshaped(layer: Pooling, right: Spread) -> Iterator[Trial]:
    """Yield dx from windows that tile the image, (N, C, H', height, W', width), with axes out of order."""
    (rows, height), (columns, width) = zip(layer.grid.counts, layer.grid.size, strict=True)
    tiles = (*layer.x.shape[:2], rows, height, columns, width)
    if layer.grid.size != layer.grid.strides or layer.x.shape[2:] != (rows * height, columns * width):
        return
    dx = layer.dx(right).reshape(tiles)
    for wrong in reshapes(len(tiles), still=2):
        evidence = (
            f"with {wrong.words('tiles', tiles)}, where tiles has the shape (N, C, H', height, W', width)"
        )
        gradient = partial(_part, wrong.of(dx).reshape(layer.x.shape))
        yield Trial(Mistake.ORDER_MIXED, gradient, f"{RESHAPE} {TILES}", evidence)


def _part(gradient: Array, place: Place) -> Array:
    return gradient[place]


def _strides(layer: Pooling, spread: Spread) -> Iterator[Trial]:
    """Yield dx written to windows a wrong number of pixels apart."""
    for strides in closer(spread.strides):
        evidence = f"with strides of {strides[0]} and {strides[1]} in rows and columns"
        changed = spread._replace(strides=strides)
        yield Trial(Mistake.STRIDE_IGNORED, partial(layer.dx, changed), STRIDE, evidence)
        yield Trial(
            Mistake.STRIDE_IGNORED,
            partial(layer.dx, changed._replace(overwrites="entries")),
            STRIDE,
            evidence,
        )
    if layer.grid.size != spread.strides:
        changed = spread._replace(strides=layer.grid.size)
        yield Trial(Mistake.STRIDE_IS_SIZE, partial(layer.dx, changed), STRIDE)


def _other_windows(case: Case, layer: Pooling, right: Spread) -> Iterator[Trial]:
    """Yield dx with windows that are read in the wrong places, and written to there.

    The maximum is then that of the wrong window; or, compared with the cached output, often not in it.
    """
    grid, out = layer.grid, case.out
    height, width = grid.size
    grids = [
        (Mistake.STRIDE_IGNORED, grid._replace(strides=strides), STRIDE) for strides in closer(grid.strides)
    ]
    grids.append((Mistake.STRIDE_IS_SIZE, grid._replace(strides=grid.size), STRIDE))
    grids.append((Mistake.WINDOW_SWAPPED, grid._replace(size=(width, height)), OFFSET))
    for length in (height, width):
        if height != width:
            grids.append((Mistake.ONE_SIDE_FOR_BOTH, grid._replace(size=(length, length)), SIDES))
    for mistake, other, look in grids:
        if other == grid or out is None:
            continue
        values = other.windows(layer.x, beyond=-np.inf)
        for weights in (
            first_largest(values),
            (values == out[..., np.newaxis, np.newaxis]).astype(np.float64),
        ):
            spread = right._replace(weights=weights, strides=other.strides)
            evidence = f"with windows of shape {other.size}, strides {other.strides} apart"
            about = "height" if other.size[0] == height else "width"
            yield Trial(mistake, partial(layer.dx, spread), look, evidence, about)


def _other_places(layer: Pooling, right: Spread) -> Iterator[Trial]:
    """Yield dx with the gradient at a place that is computed wrongly from the index k of the maximum."""
    height, width = layer.grid.size
    weights = right.weights
    k = weights.reshape(*weights.shape[:4], -1).argmax(axis=-1)
    top, left = layer.stride * np.indices(layer.grid.counts)
    swapped = {
        "row k % pool_width, column k // pool_width": (k % width, k // width),
        "row k // pool_height, column k % pool_height": (k // height, k % height),
        "row k % pool_height, column k // pool_height": (k % height, k // height),
    }
    for words, (p, q) in swapped.items():
        yield from _written(layer, right, Mistake.ARGMAX_SWAPPED, top + p, left + q, FLAT, f"with {words}")
    evidence = "with x[n, c, p, q]"
    mistake = Mistake.NO_WINDOW_OFFSET
    yield from _written(layer, right, mistake, k // width, k % width, OFFSET, evidence)
    W = layer.x.shape[3]
    whole = layer.x.reshape(*layer.x.shape[:2], -1).argmax(axis=-1)[..., np.newaxis, np.newaxis] + 0 * k
    evidence, about = "with all of dout at the maximum of the image", "the whole image"
    for candidate in _written(
        layer, right, Mistake.MAXIMUM_OVER, whole // W, whole % W, OWN_WINDOW, evidence
    ):
        yield candidate._replace(about=about)


def _written(
    layer: Pooling, right: Spread, mistake: Mistake, rows: Array, columns: Array, look: str, evidence: str
) -> Iterator[Trial]:
    """Yield dx with dout at other (rows, columns), added up or not, if these are in the image."""
    H, W = layer.x.shape[2:]
    if (rows >= H).any() or (columns >= W).any():
        return
    for assigns in (False, True):
        gradient = partial(_put, layer, right.dout, rows, columns, assigns)
        yield Trial(mistake, gradient, look, evidence)


def _put(layer: Pooling, dout: Array, rows: Array, columns: Array, assigns: bool, place: Place) -> Array:
    dx, dout = np.zeros_like(layer.x[place]), dout[place]
    n, c, *_ = np.indices(dout.shape)
    index = n, c, rows[place], columns[place]
    if assigns:
        dx[index] = dout
    else:
        np.add.at(dx, index, dout)
    return dx


def _dout_changed(case: Case, layer: Pooling, spread: Spread) -> Iterator[Trial]:
    """Yield dx with mistakes in dout, or without some of the windows."""
    sizes = {*layer.x.shape[2:], *layer.grid.size, *layer.grid.counts}
    left_out = windows_left_out(spread.dout, sizes, with_examples=False)
    for mistake, dout, look, evidence, about in chain(changes_of_dout(case, "channel"), left_out):
        changed = spread._replace(dout=dout)
        yield Trial(mistake, partial(layer.dx, changed), look, evidence, about)
