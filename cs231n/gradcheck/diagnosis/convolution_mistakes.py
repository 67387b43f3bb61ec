"""Mistakes in a convolution: its gradients computed again, each time with one mistake."""

from collections.abc import Callable, Iterator
from functools import partial
from itertools import chain, product

import numpy as np

from cs231n.gradcheck.diagnosis.causes import Array, Case, Finding
from cs231n.gradcheck.diagnosis.convolution import Backward, Convolution, convolution_of, padded
from cs231n.gradcheck.diagnosis.mistakes import Mistake
from cs231n.gradcheck.diagnosis.reshapes import RESHAPE, reshapes, reshapes_of_windows
from cs231n.gradcheck.diagnosis.windows import (
    ADD,
    INDICES,
    STRIDE,
    Pair,
    Place,
    Trial,
    argument_of,
    borders,
    changes_of_dout,
    first_trial_that_fits,
    windows_left_out,
)

FLIP = "out_ij is a sum of x[i + p, j + q] w[p, q]: in backward too, w[p, q] belongs to that pixel."
LAST_AXES = "Look at the order of the filter's last two axes."
FIRST_AXES = "w has the axes (F, C, HH, WW): filters come first, then the channels of x."
FILTER = "A window of dx is the sum over filters of dout[n, f, i, j] * w[f]."
WINDOW = "dw[f] is the sum over examples and windows of dout[n, f, i, j] times the window of x."
PADDED = "Backward has to see the windows that forward saw: pad x with zeros, on all four sides."
SUM_FOR_B = "db[f] is the sum of dout[:, f] over examples, rows and columns: axis=(0, 2, 3)."

INSIDE = "Pixel (h, v) is inside of the image if 0 <= h < H and 0 <= v < W: all else is padding, and cut off."
GUARD = (
    "Row 0 and column 0 belong to the image, and so do row H - 1 and column W - 1: 0 <= h < H, 0 <= v < W."
)
ENTRIES = "Filters have HH rows and WW columns: range(HH) and range(WW)."
SIDES = ("is HH used for WW?", "is WW used for HH?")

WINDOW_AXES = "of the shape (N, C, H', W', HH, WW)"

REACH = 2  # pixels that windows are looked for beside their place, or the padding if that is wider
AXES_OF_DOUT = ("examples", "filters", "rows", "columns")

Images = Callable[[Backward, Place], Array]


def find_convolution(case: Case) -> Iterator[Finding]:
    """Find mistakes in the windows, the filters or the sums of a convolution, if the layer is one."""
    layer, argument = convolution_of(case), argument_of(case)
    if layer is None or argument is None or case.dout is None:
        return
    in_argument = (wrong_dx, _in_dw, _in_db)[argument]
    yield from first_trial_that_fits(case, in_argument(case, layer, layer.right(case.dout)))


def wrong_dx(case: Case, layer: Convolution, right: Backward) -> Iterator[Trial]:
    """Yield dx with each known mistake in it."""
    for mistake, w, look, evidence in (*_turned(right.w, "w"), *_reversed(right.w)):
        yield Trial(mistake, partial(layer.dx, right._replace(w=w)), look, evidence)
    last_filter = right.w * (np.arange(len(right.w)) == len(right.w) - 1).reshape(-1, 1, 1, 1)
    overwriting = right._replace(overwrites=True)
    for back in (overwriting, overwriting._replace(w=last_filter)) if layer.grid.overlaps else ():
        yield Trial(Mistake.ASSIGNED, partial(layer.dx, back), ADD)
    yield from _strides(layer, right, layer.dx)
    yield from _other_filters(layer, right)
    yield from _dout_changed(case, layer, right, layer.dx)
    yield from _padding_added(layer, right)
    yield from _other_indices_in_dx(layer, right)
    dx = layer.dx(right)
    for words, mask in borders(*layer.x.shape[2:]):
        yield Trial(Mistake.PIXELS_LEFT_OUT, partial(_part, dx * mask), GUARD, "without them", words)
    for words, mask in _entries_left_out(layer):
        back = right._replace(w=right.w * mask)
        yield Trial(Mistake.ENTRIES_LEFT_OUT, partial(layer.dx, back), ENTRIES, words)
    for wrong in reshapes(right.w.ndim):
        evidence = f"with {wrong.words('w', right.w.shape)} for w"
        back = right._replace(w=wrong.of(right.w))
        yield Trial(Mistake.W_RESHAPED, partial(layer.dx, back), RESHAPE, evidence)
    windows = np.einsum("nfij,fcpq->ncijpq", right.dout, right.w, optimize=True)
    for wrong in reshapes_of_windows(is_gradient=True):
        evidence = f"with {wrong.words('windows', windows.shape)} for the gradients of windows {WINDOW_AXES}"
        gradient = partial(_dx_of_windows, layer, wrong.of(windows))
        yield Trial(Mistake.WINDOWS_RESHAPED, gradient, RESHAPE, evidence, "dx")


def _entries_left_out(layer: Convolution) -> Iterator[tuple[str, Array]]:
    """Yield (words, mask (HH, WW)) of the entries that a loop which ends too soon, or begins late, leaves."""
    HH, WW = layer.grid.size
    if HH != WW:
        least = min(HH, WW)
        mask = np.zeros((HH, WW))
        mask[:least, :least] = 1
        yield f"with rows and columns 0-{least - 1} of the filters only: {SIDES[HH > WW]}", mask
    for words, mask in borders(HH, WW):
        yield f"without the {words} of the filters", mask


def _padding_added(layer: Convolution, right: Backward) -> Iterator[Trial]:
    """Yield dx with the gradient of the padding added to other pixels, as negative indices do."""
    pad, (H, W) = layer.pad, layer.x.shape[2:]
    if not pad or pad > min(H, W):
        return
    folds: dict[str, tuple[Mistake, Callable[[Array, int], Array], bool]] = {
        "with row -1 for the row before row 0, and so on": (Mistake.WRAPPED, np.remainder, False),
        "with rows and columns modulo the size of the image": (Mistake.WRAPPED, np.remainder, True),
        "with rows and columns cut off at the border": (Mistake.CLIPPED, _clipped, True),
        "with row 0 for the rows before it, and so on": (Mistake.CLIPPED, _clipped, False),
    }
    for words, (mistake, fold, at_end) in folds.items():
        for axes in ((2, 3), (2,), (3,)):
            gradient = partial(_folded, layer, right, fold, at_end, axes)
            where = "" if len(axes) == 2 else (", of rows only", ", of columns only")[axes[0] - 2]
            yield Trial(mistake, gradient, INSIDE, words + where)


def _clipped(index: Array, size: int) -> Array:
    return np.clip(index, 0, size - 1)


def _folded(
    layer: Convolution,
    right: Backward,
    fold: Callable[[Array, int], Array],
    at_end: bool,
    axes: tuple[int, ...],
    place: Place,
) -> Array:
    """Return a place of dx with the gradient of the padding in front of it, or all around, added to it."""
    dx = layer.dpadded(right, place)
    for axis in (2, 3):
        size = layer.x.shape[axis]
        index = np.arange(dx.shape[axis]) - layer.pad
        inside = (index >= 0) & (index < size)
        kept = np.flatnonzero(inside | ((index < 0) | at_end if axis in axes else False))
        moved = np.zeros((size, *np.delete(dx.shape, axis)))
        np.add.at(moved, fold(index[kept], size), np.moveaxis(dx, axis, 0)[kept])
        dx = np.moveaxis(moved, 0, axis)
    return dx


def _other_indices_in_dx(layer: Convolution, right: Backward) -> Iterator[Trial]:
    """Yield dx with one index in place of another: w[n] or w[c] for w[f], dx[f] for dx[n], and so on."""
    N, C, F, w, dout = *layer.x.shape[:2], len(right.w), right.w, right.dout

    def of(w: Array, dout: Array = dout) -> Array:
        return layer.dx(right._replace(w=np.broadcast_to(w, right.w.shape), dout=dout))

    found: list[tuple[str, str, Array]] = []
    if N <= F and F > 1:
        each = [of(w[n : n + 1], dout[n : n + 1]) for n in range(N)]
        found.append(("n is used for f in w", "with w[n] for w[f]", np.concatenate(each)))
    if C <= F and F > 1:
        by_channel = w[np.arange(C), np.arange(C)][np.newaxis]
        found.append(("c is used for f in w", "with w[c, c] for w[f, c]", of(by_channel)))
    if F <= C and C > 1:
        by_filter = w[np.arange(F), np.arange(F)][:, np.newaxis]
        found.append(("f is used for c in w", "with w[f, f] for w[f, c]", of(by_filter)))
    if F <= N and N > 1:
        dx, only = np.zeros_like(layer.x), np.eye(F)
        for f in range(F):
            dx[f] = of(w, dout * only[f].reshape(1, F, 1, 1)).sum(axis=0)
        found.append(("f is used for n in dx", "with dx[f] for dx[n]", dx))
    for about, words, gradient in found:
        yield Trial(Mistake.WRONG_INDEX, partial(_part, gradient), INDICES, words, about)


def _other_indices_in_dw(layer: Convolution, right: Backward) -> Iterator[Trial]:
    """Yield dw with one index in place of another: dw[n] for dw[f], x[f] for x[n]."""
    N, F, x, dout = len(layer.x), len(right.w), right.x, right.dout
    found: list[tuple[str, str, Array]] = []
    if N <= F and F > 1:
        dw = np.zeros_like(right.w)
        for n in range(N):
            of_example = layer.dw(right._replace(x=x[n : n + 1], dout=dout[n : n + 1]))
            dw[n] = of_example.sum(axis=0)
        found.append(("n is used for f in dw", "with dw[n] for dw[f]", dw))
    if F <= N and N > 1:
        dw = np.zeros_like(right.w)
        for f in range(F):
            one = right._replace(x=np.broadcast_to(x[f : f + 1], x.shape), dout=dout[:, f : f + 1])
            dw[f] = layer.dw(one)[0]
        found.append(("f is used for n in x", "with x[f] for x[n]", dw))
    for about, words, gradient in found:
        yield Trial(Mistake.WRONG_INDEX, partial(_part, gradient), INDICES, words, about)


def _dx_of_windows(layer: Convolution, windows: Array, place: Place) -> Array:
    """Return a place of dx, given the gradients (N, C, H', W', HH, WW) of all windows."""
    dpadded = np.zeros_like(layer.padded[place])
    for p, q in np.ndindex(layer.grid.size):
        dpadded[layer.grid.pixels(p, q)] += windows[place][..., p, q]
    H, W = layer.x.shape[2:]
    return dpadded[:, :, layer.pad : layer.pad + H, layer.pad : layer.pad + W]


def _dw_of_windows(windows: Array, dout: Array, place: Place) -> Array:
    """Return a place of dw, given windows (N, C, H', W', HH, WW) of x."""
    filters, channels = place
    return np.tensordot(dout[:, filters], windows[:, channels], axes=([0, 2, 3], [0, 2, 3]))


def _in_dw(case: Case, layer: Convolution, right: Backward) -> Iterator[Trial]:
    for mistake, dw, look, evidence in _turned(layer.dw(right), "dw"):
        yield Trial(mistake, partial(_part, dw), look, evidence)
    yield from _strides(layer, right, layer.dw)
    yield from _other_images(layer, right)
    yield from _dout_changed(case, layer, right, layer.dw)
    yield from _other_indices_in_dw(layer, right)
    for words, mask in borders(*layer.x.shape[2:]):
        back = right._replace(x=padded(layer.x * mask, layer.pad))
        yield Trial(Mistake.PIXELS_LEFT_OUT, partial(layer.dw, back), GUARD, "without them", words)
    dw = layer.dw(right)
    for words, mask in _entries_left_out(layer):
        yield Trial(Mistake.ENTRIES_LEFT_OUT, partial(_part, dw * mask), ENTRIES, words)
    windows = layer.grid.windows(right.x)
    for wrong in reshapes_of_windows(is_gradient=False):
        evidence = f"with {wrong.words('windows', windows.shape)} for windows {WINDOW_AXES}"
        gradient = partial(_dw_of_windows, wrong.of(windows), right.dout)
        yield Trial(Mistake.WINDOWS_RESHAPED, gradient, RESHAPE, evidence, "x")


def _in_db(case: Case, layer: Convolution, right: Backward) -> Iterator[Trial]:
    dout, shape = right.dout, case.actual.shape
    for kept in (0, 2, 3):
        others = tuple(axis for axis in range(4) if axis != kept)
        if dout.shape[kept] == dout.shape[1]:
            total, names = dout.sum(axis=others), ", ".join(AXES_OF_DOUT[axis] for axis in others)
            evidence = f"with the sum over {names}: axes {', '.join(map(str, others))}"
            yield Trial(Mistake.SUMMED_OVER_WRONG_AXES, partial(_whole, total, shape), SUM_FOR_B, evidence)
    total = np.full(len(layer.w), dout.sum())
    evidence = "with the sum of all entries of dout"
    yield Trial(Mistake.SUMMED_OVER_TOO_MANY_AXES, partial(_whole, total, shape), SUM_FOR_B, evidence)

    def db(back: Backward, _: Place) -> Array:
        return _whole(layer.db(back), shape)

    yield from _dout_changed(case, layer, right, db)


def _part(gradient: Array, place: Place) -> Array:
    return gradient[place]


def _whole(gradient: Array, shape: tuple[int, ...], _: Place = (slice(None), slice(None))) -> Array:
    """Return a gradient of few entries, for which no place is cheaper than the whole."""
    return gradient.reshape(shape)


def _turned(w: Array, name: str) -> Iterator[tuple[Mistake, Array, str, str]]:
    """Yield (mistake, w, look, evidence) with the filters turned around in each way that keeps the shape."""
    evidence = "with this mistake"
    yield Mistake.UPSIDE_DOWN, w[:, :, ::-1], FLIP, evidence
    yield Mistake.MIRRORED, w[..., ::-1], FLIP, evidence
    yield Mistake.FLIPPED, w[:, :, ::-1, ::-1], FLIP, evidence
    if w.shape[2] == w.shape[3]:
        yield Mistake.HEIGHT_WIDTH_SWAPPED, w.swapaxes(2, 3), LAST_AXES, evidence
        for turns in (1, 3):
            turned = np.rot90(w, turns, axes=(2, 3))
            yield Mistake.ROTATED, turned, FLIP, f"with np.rot90({name}, {turns}, axes=(2, 3))"
    if w.shape[0] == w.shape[1]:
        swapped = w.swapaxes(0, 1)
        yield Mistake.FIRST_AXES_SWAPPED, swapped, FIRST_AXES, evidence
        yield Mistake.FLIPPED_AND_SWAPPED, swapped[:, :, ::-1, ::-1], FIRST_AXES, evidence


def _reversed(w: Array) -> Iterator[tuple[Mistake, Array, str, str]]:
    """Yield (mistake, w, look, evidence) as np.flip or np.rot90 give it with other axes than the last two."""
    for axes in ((0,), (1,), (0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (0, 2, 3), (1, 2, 3), (0, 1, 2, 3)):
        evidence = f"with w in reverse order along axes {', '.join(map(str, axes))}"
        yield Mistake.REVERSED, np.flip(w, axes), f"{FLIP} {FIRST_AXES}", evidence


def _strides(layer: Convolution, right: Backward, gradient: Images) -> Iterator[Trial]:
    """Yield gradients with windows closer to each other than the stride."""
    for strides in closer(right.strides):
        evidence = f"with strides of {strides[0]} and {strides[1]} in rows and columns"
        back = right._replace(strides=strides)
        yield Trial(Mistake.STRIDE_IGNORED, partial(gradient, back), STRIDE, evidence)
    HH, WW = layer.grid.size
    if max(HH, WW) <= layer.stride:
        back = right._replace(strides=(HH, WW))
        yield Trial(Mistake.STRIDE_IS_SIZE, partial(gradient, back), STRIDE)


def closer(strides: Pair) -> Iterator[Pair]:
    """Yield strides of which one is 1, or both are, and was not before."""
    rows, columns = strides
    for closer in ((1, 1), (1, columns), (rows, 1)):
        if closer != strides:
            yield closer


def _other_filters(layer: Convolution, right: Backward) -> Iterator[Trial]:
    """Yield dx with filters in place of others, or with sums of them."""
    w = right.w

    def of(w: Array) -> Callable[[Place], Array]:
        return partial(layer.dx, right._replace(w=np.broadcast_to(w, right.w.shape)))

    for axis, name in enumerate(("filter", "channel")):
        for index in {0, w.shape[axis] - 1}:
            one, evidence = np.take(w, [index], axis=axis), f"with w of {name} {index} only"
            yield Trial(Mistake.ONE_FOR_ALL, of(one), FILTER, evidence, f"{name}'s w")
    for mean in (w.sum(axis=0, keepdims=True), w.mean(axis=0, keepdims=True)):
        yield Trial(Mistake.PRODUCT_OF_SUMS, of(mean), FILTER, "with sums over filters of w and of dout")
    sums: dict[str, tuple[int, ...]] = {"channels": (1,), "their entries": (2, 3)}
    for names, axes in sums.items():
        total: Array = w.sum(axis=axes, keepdims=True)
        mean = w.mean(axis=axes, keepdims=True)
        yield Trial(Mistake.SUMMED_FIRST, of(total), FILTER, f"with the sum of w over {names}", "w")
        yield Trial(Mistake.AVERAGED_FIRST, of(mean), FILTER, f"with the mean of w over {names}", "w")
    yield Trial(Mistake.FACTOR_MISSING, of(np.ones_like(w)), FILTER, "with 1 for w", "w")
    if w.shape[0] == w.shape[1]:
        diagonal = w * np.eye(len(w))[:, :, np.newaxis, np.newaxis]
        evidence = "with filter c for channel c only"
        yield Trial(Mistake.CHANNEL_BY_CHANNEL, of(diagonal), FILTER, evidence)


def _other_images(layer: Convolution, right: Backward) -> Iterator[Trial]:
    """Yield dw with other images, paddings or windows of x."""

    def of(x: Array) -> Callable[[Place], Array]:
        return partial(layer.dw, right._replace(x=np.broadcast_to(x, right.x.shape)))

    yield from _other_paddings(layer, of)
    x = right.x
    for axis, name in enumerate(("example", "channel")):
        for index in {0, x.shape[axis] - 1}:
            one, evidence = np.take(x, [index], axis=axis), f"with x of {name} {index} only"
            yield Trial(Mistake.ONE_FOR_ALL, of(one), WINDOW, evidence, f"{name}'s x")
    for mean in (x.sum(axis=0, keepdims=True), x.mean(axis=0, keepdims=True)):
        yield Trial(Mistake.PRODUCT_OF_SUMS, of(mean), WINDOW, "with sums over examples of x and of dout")
    total, mean = x.sum(axis=1, keepdims=True), x.mean(axis=1, keepdims=True)
    yield Trial(Mistake.SUMMED_FIRST, of(total), WINDOW, "with the sum of x over channels", "x")
    yield Trial(Mistake.AVERAGED_FIRST, of(mean), WINDOW, "with the mean of x over channels", "x")
    yield Trial(Mistake.FACTOR_MISSING, of(np.ones_like(x)), WINDOW, "with 1 for x", "x")
    for axis, (name, other) in ((0, ("examples", "channels")), (2, ("rows", "columns"))):
        if x.shape[axis] == x.shape[axis + 1]:
            swapped, evidence = x.swapaxes(axis, axis + 1), f"with {name} for {other} of x"
            yield Trial(Mistake.AXES_SWAPPED, of(swapped), WINDOW, evidence, f"{name} and {other} of x")


def _other_paddings(layer: Convolution, of: Callable[[Array], Callable[[Place], Array]]) -> Iterator[Trial]:
    """Yield dw with windows beside their place, as if x were padded on one side, or with other padding."""
    x, pad, reach = layer.x, layer.pad, max(REACH, layer.pad)
    around, (height, width) = padded(x, pad + reach), layer.padded.shape[2:]
    for down, right in product(range(2 * reach + 1), repeat=2):
        if (down, right) != (reach, reach):
            shifted = around[:, :, down : down + height, right : right + width]
            evidence = (
                f"with windows of x that begin ({down - reach}, {right - reach}) pixels from their place"
            )
            yield Trial(Mistake.WINDOWS_SHIFTED, of(shifted), PADDED, evidence)
    for mode in ("edge", "wrap", "reflect", "symmetric") if pad else ():
        yield Trial(
            Mistake.PADDING_NOT_ZERO, of(padded(x, pad, mode=mode)), PADDED, f"with np.pad's mode {mode}"
        )


def _dout_changed(case: Case, layer: Convolution, right: Backward, gradient: Images) -> Iterator[Trial]:
    """Yield gradients with mistakes in dout, or without some of the windows."""
    of_examples = argument_of(case) != 0  # what is left out of some examples of dx shows in its places
    sizes = {*layer.x.shape[2:], *layer.grid.size, *layer.grid.counts}
    left_out = windows_left_out(right.dout, sizes, with_examples=of_examples)
    for mistake, dout, look, evidence, about in chain(changes_of_dout(case, "filter"), left_out):
        back = right._replace(dout=dout)
        yield Trial(mistake, partial(gradient, back), look, evidence, about)
    for index, which in ((0, "first"), (-1, "last")):
        dout = np.zeros_like(right.dout)
        dout[:, :, index, index] = right.dout.sum(axis=(2, 3))
        evidence = f"with the {which} window for all"
        yield Trial(
            Mistake.ONE_FOR_ALL, partial(gradient, right._replace(dout=dout)), STRIDE, evidence, "window"
        )
