"""Forward passes that are not quite a known layer, with the backward pass of that layer.

The numeric gradient is that of the forward pass as it is written. Where a known change of the standard
forward pass gives the output, and the learner's gradient is the standard one, the two do not belong together.
"""

import copy
import math
from collections.abc import Callable, Iterator
from functools import partial
from itertools import chain
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from cs231n.gradcheck.diagnosis.causes import Array, Case, Finding, Observed, is_output
from cs231n.gradcheck.diagnosis.convolution import (
    Convolution,
    arguments_of_convolution,
    convolution_of,
    convolutions_that_fit,
    padded,
)
from cs231n.gradcheck.diagnosis.forward_norms import normalizations
from cs231n.gradcheck.diagnosis.mistakes import Mistake
from cs231n.gradcheck.diagnosis.pooling import Pooling, arguments_of_pooling, pooling_of, poolings_that_fit
from cs231n.gradcheck.diagnosis.windows import EVERYWHERE, STRIDE, Grid, Pair, Place, agree, argument_of
from cs231n.gradcheck.tolerances import FACTOR, SAME, WITNESSES

EVIDENCE = "the output matches the first, the gradient the second"
CONVOLUTION = (
    "Without flipping, out[n, f, i, j] is b[f] plus the sum of "
    "x[n, c, i * stride + p, j * stride + q] * w[f, c, p, q]."
)
BIAS = "Each output pixel gets b[f] once: add it to the sum over the window, not to its terms."
PADDING = "Pad x with pad zeros on each of the four sides."
RELU = "ReLU is max(0, x). Both passes have to be those of one function."
POOLING = "The layer's output is the largest entry of each window, which may be negative."

WINDOW = "A window has pool_height rows and pool_width columns, whatever the stride."

ONE = slice(0, 1)
TURNED: dict[str, Callable[[Array], Array]] = {
    "flips the filters": lambda w: w[:, :, ::-1, ::-1],
    "turns the filters upside down": lambda w: w[:, :, ::-1],
    "mirrors the filters": lambda w: w[..., ::-1],
    "swaps height and width of the filters": lambda w: w.swapaxes(2, 3),
    "swaps the first two axes of w": lambda w: w.swapaxes(0, 1),
}
BORDERS = {
    "edge": "the pixels of its border",
    "reflect": "its reflection",
    "symmetric": "its reflection",
    "wrap": "its other side",
}


class Forward(NamedTuple):
    """A forward pass that is not the standard one.

    - words: what it does, behind "the forward pass", without numbers of the data; these are in the evidence
    - out: a function of a Place in the output, some examples and filters or channels
    """

    words: str
    out: Callable[[Place], Array]
    look: str
    evidence: str = EVIDENCE


def find_forward_passes(case: Case) -> Iterator[Finding]:
    """Find a forward pass that differs from the standard one, if the gradient is right for the latter."""
    if case.out is None or case.dout is None or argument_of(case) is None:
        return
    for right, forward in chain(
        _of_relu(case), _of_normalization(case), _of_convolution(case), _of_pooling(case)
    ):
        if case.is_explained_by(_as_judged(case, right)):
            yield Finding(Mistake.FORWARD_DIFFERS, forward.evidence, forward.look, about=forward.words)
            return


Pairs = Iterator[tuple[Array, Forward]]


def _as_judged(case: Case, right: Array) -> Array:
    """Return a gradient with the entries at kinks that were judged right, and therefore set to be expected.

    They have to be few beside the wrong entries that it explains.
    """
    if right.shape != case.actual.shape:
        return right
    excused = (case.actual == case.expected) & (
        np.abs(right - case.actual) > SAME * np.abs(right).max(initial=0)
    )
    return np.where(excused, case.actual, right) if excused.sum() < case.wrong.sum() / 2 else right


def _gives(observed: Observed, forward: Forward) -> bool:
    """Return whether a forward pass gives the output; a small place is compared first."""
    out = observed.out
    return (
        out is not None
        and agree(forward.out((ONE, ONE)), out[ONE, ONE])
        and agree(forward.out(EVERYWHERE), out)
    )


# ------------------------------------------------------------------------------------------------- ReLU


def _of_relu(case: Case) -> Pairs:
    """Yield (gradient of ReLU, forward pass that gives the output)."""
    x, out, dout = case.x, case.out, case.dout
    if len(case.inputs) != 1 or x is None or out is None or dout is None or x.shape != out.shape:
        return
    if case.settings or not x.size or np.array_equal(out, np.maximum(x, 0)):  # dropout has settings
        return
    for words, number, formula in _functions(x, out):
        if is_output(out, formula):
            evidence = EVIDENCE if number is None else f"{EVIDENCE}; the number is {number:.4g}"
            words = f"{words}, the backward pass is that of ReLU"
            yield dout * (x > 0), Forward(words, lambda _: out, RELU, evidence)


def _functions(x: Array, out: Array) -> Iterator[tuple[str, float | None, Array]]:
    """Yield (what a forward pass does, the number that fits, its output) of functions like ReLU."""
    positive = np.maximum(x, 0)
    negative, passes = x < 0, out != 0
    if not negative.any() or not passes.any():
        return
    slope = float(np.median(out[negative] / x[negative]))
    if slope == -1:
        yield "returns the absolute value", None, np.abs(x)
    elif not math.isclose(slope, 1, rel_tol=FACTOR) and slope:
        yield (
            "multiplies negative entries by a number, not by 0",
            slope,
            np.where(negative, slope * x, positive),
        )
    if slope == 0 and (x > 0).any():
        factor = float(np.median(out[x > 0] / x[x > 0]))
        if factor > 0 and not math.isclose(factor, 1, rel_tol=FACTOR):
            yield "multiplies positive entries by a number", factor, factor * positive
    least, most = float(out.min()), float(out.max())
    if least:
        yield "takes the maximum of x and a number other than 0", least, np.maximum(x, least)
    yield "cuts its output off above a number", most, np.minimum(positive, most)
    yield "returns the negative part", None, np.minimum(x, 0)
    yield "takes the maximum of -x and 0", None, np.maximum(-x, 0)
    yield from _thresholds(x, passes)


def _thresholds(x: Array, passes: NDArray[np.bool_]) -> Iterator[tuple[str, float | None, Array]]:
    """Yield functions that let x pass above a threshold other than 0; a few entries show one by chance."""
    stopped, negative = x[~passes & (x > 0)], x[passes & (x < 0)]
    if stopped.size >= WITNESSES:
        threshold = float(stopped.max())
        yield "stops positive entries up to a threshold", threshold, np.where(x > threshold, x, 0)
    if negative.size >= WITNESSES:
        threshold = float(negative.min())
        yield "lets negative entries from a threshold on pass", threshold, np.where(x >= threshold, x, 0)


def _part(out: Array, place: Place) -> Array:
    return out[place]


def _of_normalization(case: Case) -> Pairs:
    """Yield (gradient of a normalization, forward pass that gives the output)."""
    for right, wrong in normalizations(case):
        yield right, Forward(wrong.words, partial(_part, wrong.out), wrong.look)


# -------------------------------------------------------------------------------------------- convolution


def _of_convolution(case: Case) -> Pairs:
    """Yield (gradient of the standard convolution, forward pass that gives the output)."""
    arrays = arguments_of_convolution(case)
    if arrays is None or case.out is None or case.dout is None or convolution_of(case) is not None:
        return
    for layer in convolutions_that_fit(case, arrays):
        for forward in _convolutions(layer, case.out):
            if _gives(case, forward):
                back, argument = layer.right(case.dout), argument_of(case)
                if argument == 2:
                    yield layer.db(back).reshape(case.actual.shape), forward
                else:
                    yield (layer.dw if argument else layer.dx)(back), forward


def _convolutions(layer: Convolution, out: Array) -> Iterator[Forward]:
    for words, turn in TURNED.items():
        if turn(layer.w).shape == layer.w.shape:
            yield _changed(layer, f"{words}, the backward pass does not", CONVOLUTION, w=turn(layer.w))
    for where, strides in _closer(layer.stride):
        grid = layer.grid._replace(strides=strides)
        yield _changed(layer, f"ignores the stride{where}, the backward pass does not", STRIDE, grid=grid)
    yield from _other_paddings(layer, out)
    yield from _other_biases(layer, out)


def _changed(layer: Convolution, words: str, look: str, **changes: object) -> Forward:
    """Return the forward pass of a convolution with other attributes."""
    other = copy.copy(layer)
    for name, value in changes.items():
        setattr(other, name, value)
    return Forward(words, lambda place: other.out(*place), look)


def _other_paddings(layer: Convolution, out: Array) -> Iterator[Forward]:
    pad, x = layer.pad, layer.x
    if not pad:
        return
    for mode, words in BORDERS.items():
        if pad < min(x.shape[2:]) or mode == "edge":
            words = f"pads x with {words}, the backward pass with zeros"
            yield _changed(layer, words, PADDING, padded=padded(x, pad, mode=mode))
    sides = {"at its end only": (0, 2 * pad), "in front of it only": (2 * pad, 0)}
    for words, width in sides.items():
        there = np.pad(x, ((0, 0), (0, 0), width, width))
        words = f"pads x {words}, the backward pass on all sides"
        yield _changed(layer, words, PADDING, padded=there)
    yield from _other_constant(layer, out)


def _other_constant(layer: Convolution, out: Array) -> Iterator[Forward]:
    """Yield the forward pass whose padding is the number that explains most of the output.

    The output is linear in that number: with 1 instead of 0 it has the border's share of the sum in addition.
    """
    border = padded(np.zeros_like(layer.x), layer.pad)
    border += padded(np.ones_like(layer.x), layer.pad) == 0
    with_ones = _changed(layer, "", "", padded=layer.padded + border).out(EVERYWHERE)
    here = layer.out()
    share = with_ones - here
    number = _least_squares(out - here, share)
    if number:
        words = "pads x with a number other than 0, the backward pass with 0"
        yield _changed(layer, words, PADDING, padded=layer.padded + number * border)


def _other_biases(layer: Convolution, out: Array) -> Iterator[Forward]:
    """Yield the forward pass that adds a multiple of b: the one that explains most of the output."""
    spread = np.zeros_like(out) + layer.b.reshape(-1, 1, 1)
    times = 1 + _least_squares(out - layer.out(), spread)
    _, C, HH, WW = layer.w.shape
    known = {
        "leaves out the bias, the backward pass does not": 0,
        "subtracts the bias, the backward pass does not": -1,
        "adds the bias for each entry of a window, C * HH * WW times, the backward pass once": C * HH * WW,
        "adds the bias for each pixel of a window, HH * WW times, the backward pass once": HH * WW,
        "adds the bias for each channel, C times, the backward pass once": C,
        "adds the bias twice, the backward pass once": 2,
    }
    for words, number in known.items():
        if number != 1 and abs(times - number) <= FACTOR * max(1, number):
            yield _changed(layer, words, BIAS, b=number * layer.b)
            return


def _least_squares(target: Array, array: Array) -> float:
    """Return the number that makes a multiple of an array closest to a target."""
    norm = float(np.vdot(array, array))
    return float(np.vdot(array, target)) / norm if norm else 0.0


# -------------------------------------------------------------------------------------------- max pooling


def _of_pooling(case: Case) -> Pairs:
    """Yield (gradient of the max pooling, forward pass that gives the output)."""
    if arguments_of_pooling(case) is None or case.dout is None or _is_as_set(case):
        return
    for layer in poolings_that_fit(case):
        if layer.grid.size != (1, 1):  # windows of one pixel: ReLU would be a maximum of 0 and the window
            for forward in _poolings(layer):
                if _gives(case, forward):
                    yield layer.dx(layer.right(case.dout)), forward


def _is_as_set(case: Case) -> bool:
    """Return whether the layer is a max pooling, with the windows of its settings if these are known."""
    layer = pooling_of(case)
    if layer is None:
        return False
    found = {"pool_height": layer.grid.size[0], "pool_width": layer.grid.size[1], "stride": layer.stride}
    return all(case.integer(name) in (None, number) for name, number in found.items())


def _poolings(layer: Pooling) -> Iterator[Forward]:
    zero = "takes the maximum of 0 and the window, the backward pass that of the window"
    yield Forward(zero, lambda place: np.maximum(layer.out(place), 0), POOLING)
    kinds: dict[str, Callable[..., Array]] = {"mean": np.mean, "sum": np.sum, "minimum": np.min}
    for name, kind in kinds.items():
        words = f"takes the {name} of a window, the backward pass the maximum"
        yield Forward(words, partial(_of_windows, layer.x, layer.grid, kind), POOLING)
    for where, strides in _closer(layer.stride):
        grid = layer.grid._replace(strides=strides)
        words = f"ignores the stride{where}, the backward pass does not"
        yield Forward(words, partial(_of_windows, layer.x, grid, np.max), STRIDE)
    height, width = layer.grid.size
    sizes = {
        "takes windows as large as the stride": (layer.stride, layer.stride),
        "swaps height and width of the windows": (width, height),
        "uses the height of the windows for their width too": (height, height),
        "uses the width of the windows for their height too": (width, width),
        "takes windows one row and one column too small": (height - 1, width - 1),
        "takes windows one row and one column too large": (height + 1, width + 1),
    }
    for words, size in sizes.items():
        if size != layer.grid.size and min(size) > 0:
            grid = layer.grid._replace(size=size)
            yield Forward(f"{words}, the backward pass does not", partial(_largest, layer.x, grid), WINDOW)


def _largest(x: Array, grid: Grid, place: Place) -> Array:
    """Return the largest entry of each window, of those that reach beyond the image as of the others."""
    largest: Array = grid.windows(x[place], beyond=-np.inf).max(axis=(4, 5))
    return largest


def _closer(stride: int) -> Iterator[tuple[str, Pair]]:
    """Yield (where, strides) of windows closer to each other than the stride, in one direction or in both."""
    if stride > 1:
        yield "", (1, 1)
        yield " in rows", (1, stride)
        yield " in columns", (stride, 1)


def _of_windows(x: Array, grid: Grid, kind: Callable[..., Array], place: Place) -> Array:
    """Return one number for each window."""
    numbers: Array = kind(grid.windows(x[place]), axis=(4, 5))
    return numbers
