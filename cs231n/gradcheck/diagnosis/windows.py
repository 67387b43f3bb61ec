"""What convolution and max pooling share: windows over images, and gradients that are tried one by one."""

from collections.abc import Callable, Iterable, Iterator
from itertools import permutations, product
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from cs231n.gradcheck.diagnosis.causes import Array, Case, Finding, Observed
from cs231n.gradcheck.diagnosis.mistakes import Mistake
from cs231n.gradcheck.diagnosis.reshapes import RESHAPE, reshapes
from cs231n.gradcheck.tolerances import SAME

ADD = "Use += for the gradient of a window's pixels: a pixel may be in several windows."
STRIDE = "The window of output pixel (i, j) begins at i * stride and j * stride."
MATCHES = "every entry matches the formula"

ALL = slice(None)
Pair = tuple[int, int]  # of rows and columns
PixelIndex = tuple[slice, slice, slice, slice]


class Grid(NamedTuple):
    """Windows over an image: the size of each, how far apart they begin, and how many there are."""

    size: Pair
    strides: Pair
    counts: Pair

    @property
    def reach(self) -> Pair:
        """How many rows and columns the windows cover."""
        rows, columns = (
            size + stride * (count - 1)
            for size, stride, count in zip(self.size, self.strides, self.counts, strict=True)
        )
        return rows, columns

    @property
    def overlaps(self) -> bool:
        """Whether windows have pixels in common."""
        triples = zip(self.size, self.strides, self.counts, strict=True)
        return any(count > 1 and stride < size for size, stride, count in triples)

    def pixels(self, p: int, q: int) -> PixelIndex:
        """Return the index of entry (p, q) of every window: one pixel for each output pixel."""
        rows, columns = (
            slice(start, start + stride * (count - 1) + 1, stride)
            for start, stride, count in zip((p, q), self.strides, self.counts, strict=True)
        )
        return ALL, ALL, rows, columns

    def windows(self, images: Array, beyond: float = 0.0) -> Array:
        """Return the windows (N, C, H', W', height, width) of images, which go on as `beyond`."""
        images = self.extended(images, beyond)
        entries = [images[self.pixels(p, q)] for p, q in np.ndindex(self.size)]
        return np.stack(entries, axis=-1).reshape(*entries[0].shape, *self.size)

    def extended(self, images: Array, beyond: float = 0.0) -> Array:
        """Return images with rows and columns added at their ends, if windows reach beyond them."""
        more = [max(reach - length, 0) for reach, length in zip(self.reach, images.shape[2:], strict=True)]
        if not any(more):
            return images
        return np.pad(images, ((0, 0), (0, 0), (0, more[0]), (0, more[1])), constant_values=beyond)


def strides_for(lengths: Pair, size: Pair, count: Pair, given: int | None = None) -> Iterator[int]:
    """Yield the strides that put `count` windows of a size on an image of these lengths.

    count = 1 + gap // stride in both directions, with gap = length - size, so stride > gap / count and
    stride <= gap / (count - 1). A single window has no upper bound: the least stride stands for all of them.

    - given: the only stride to look at, if it is known
    """
    least, most = 1, None
    for length, window, windows in zip(lengths, size, count, strict=True):
        gap = length - window
        if gap < 0 or windows < 1:
            return
        least = max(least, gap // windows + 1)
        if windows > 1:
            most = min(gap // (windows - 1), gap if most is None else most)
    if given is None:
        yield from range(least, (least if most is None else most) + 1)
    elif least <= given and (most is None or given <= most):
        yield given


def agree(part: Array, right: Array) -> bool:
    """Return whether a part of an array is right; `right` is finite, which `part` need not be."""
    scale = np.abs(right).max(initial=0)
    return part.shape == right.shape and bool(np.abs(part - right).max(initial=0) <= SAME * scale)


# ---------------------------------------------------------------------------------------------------------
# Trying gradients one by one
# ---------------------------------------------------------------------------------------------------------

Place = tuple[slice, slice]
EVERYWHERE = ALL, ALL


class Trial(NamedTuple):
    """A gradient with one mistake, which is computed when it is asked for.

    - gradient: a function of a Place, the first two indices of the gradient, that returns this part of it
    - evidence: how the formula differs from the right one, behind "every entry matches the formula"
    """

    mistake: Mistake
    gradient: Callable[[Place], Array]
    look: str
    evidence: str = "with this mistake"
    about: str = ""


def first_trial_that_fits(case: Case, candidates: Iterable[Trial]) -> Iterator[Finding]:
    """Yield a Finding for the first candidate that is the case's gradient.

    A layer has a few hundred candidates. Each is computed in one place first, where the gradient is most
    wrong: this costs little, and nearly all of them differ there.
    """
    place = _worst(case)
    here = case.actual if place == EVERYWHERE else case.actual[place]
    allowed = SAME * np.abs(case.actual).max()
    for candidate in candidates:
        there = candidate.gradient(place)
        if not np.abs(there - here).max() <= allowed:
            continue
        if case.is_explained_by(candidate.gradient(EVERYWHERE)):
            evidence = f"{MATCHES} {candidate.evidence}"
            yield Finding(candidate.mistake, evidence, candidate.look, about=candidate.about)
            return


def _worst(case: Case) -> Place:
    """Return the place of the largest difference; everywhere, for a gradient with fewer than two axes."""
    difference = np.abs(case.actual - case.expected)
    if difference.ndim < 2:
        return EVERYWHERE
    n, c = (int(i) for i in np.unravel_index(difference.argmax(), difference.shape)[:2])
    return slice(n, n + 1), slice(c, c + 1)


def argument_of(case: Case) -> int | None:
    """Return the position of the argument that a gradient belongs to: by its name, or else by its shape."""
    names = list(case.inputs)
    if case.name in names:
        position = names.index(case.name)
        return position if np.shape(case.inputs[case.name]) == case.actual.shape else None
    shapes = [np.shape(array) for array in case.inputs.values()]
    return shapes.index(case.actual.shape) if shapes.count(case.actual.shape) == 1 else None


# ---------------------------------------------------------------------------------------------------------
# Mistakes in dout, which convolution and pooling may both make
# ---------------------------------------------------------------------------------------------------------

LOOK_AT_DOUT = "Each output pixel has an entry of dout of its own: dout[n, {}, i, j]."
INDICES = "Look at the indices one by one: each loop has one of its own."
LOOP = "Look at where the loops over windows begin and end: dout has one entry for each window."
ADD_WINDOWS = "Every window contributes a term: use +=, and set the sum to zero before all loops."
ORDINALS = {2: "second", 3: "third"}  # steps of a loop
MOST_AT_AN_END = 3  # rows or columns that are looked for as left out

Mask = NDArray[np.bool_]


class Change(NamedTuple):
    """dout with a mistake."""

    mistake: Mistake
    dout: Array
    look: str
    evidence: str = "with this mistake"
    about: str = ""


def changes_of_dout(observed: Observed, channel: str) -> Iterator[Change]:
    """Yield dout (N, C, H', W') with each mistake that is known; `channel` says what C counts."""
    dout, out = observed.dout, observed.out
    if dout is None or out is None:
        return
    look = LOOK_AT_DOUT.format(channel[0])
    yield Change(Mistake.NO_DOUT, np.ones_like(dout), look, "with 1 for dout")
    yield Change(Mistake.OUT_FOR_DOUT, out, "The gradient is the layer's slope times dout.")
    yield from _moved(dout, channel, look)
    axes = {"example": 0, channel: 1, "row": 2, "column": 3}
    for name, axis in axes.items():
        for index in {0, dout.shape[axis] - 1} if dout.shape[axis] > 1 else ():
            one = np.broadcast_to(np.take(dout, [index], axis=axis), dout.shape)
            yield Change(
                Mistake.ONE_FOR_ALL, one, look, f"with dout of {name} {index} only", f"{name}'s dout"
            )
    for index in (0, -1):
        one = np.broadcast_to(dout[:, :, index, index][:, :, np.newaxis, np.newaxis], dout.shape)
        which = "first" if index == 0 else "last"
        yield Change(Mistake.ONE_FOR_ALL, one, look, f"with dout of the {which} window only", "window's dout")
    yield from _indexed_twice(dout, channel)
    yield from _summed(dout, channel, look)
    for wrong in reshapes(dout.ndim):
        evidence = f"with {wrong.words('dout', dout.shape)} for dout"
        yield Change(Mistake.DOUT_NOT_TRANSPOSED, wrong.of(dout), RESHAPE, evidence)


def _moved(dout: Array, channel: str, look: str) -> Iterator[Change]:
    """Yield dout with its indices swapped or reversed."""
    if dout.shape[2] == dout.shape[3]:
        evidence, about = "with dout[..., j, i] for dout[..., i, j]", "row and column"
        yield Change(Mistake.OUTPUT_SWAPPED, dout.swapaxes(2, 3), look, evidence, about)
    if dout.shape[0] == dout.shape[1]:
        c = channel[0]
        evidence, about = f"with dout[{c}, n] for dout[n, {c}]", f"example and {channel}"
        yield Change(Mistake.OUTPUT_SWAPPED, dout.swapaxes(0, 1), look, evidence, about)
    for reverse, name in ((np.s_[:, :, ::-1], "rows"), (np.s_[..., ::-1], "columns")):
        evidence = f"with the {name} of dout in reverse order"
        yield Change(Mistake.DOUT_REVERSED, dout[reverse], look, evidence)
    evidence = "with the rows and columns of dout in reverse order"
    yield Change(Mistake.DOUT_REVERSED, dout[:, :, ::-1, ::-1], look, evidence)


def _indexed_twice(dout: Array, channel: str) -> Iterator[Change]:
    """Yield dout, and sums of it, with one index in place of another, where that raises no error."""
    letters = ("n", channel[0], "i", "j")
    for source, target in permutations(range(4), 2):
        size = dout.shape[source]
        if size > dout.shape[target] or dout.shape[target] == 1:
            continue
        used = list(letters)
        used[target] = letters[source]
        words = f"dout[{', '.join(used)}] for dout[{', '.join(letters)}]"
        about, look = f"{letters[source]} is used for {letters[target]} in dout", INDICES
        diagonal = np.moveaxis(dout, (source, target), (0, 1))[np.arange(size), np.arange(size)]
        repeated = np.broadcast_to(diagonal[:, np.newaxis], (size, dout.shape[target], *diagonal.shape[1:]))
        yield Change(
            Mistake.WRONG_INDEX, np.moveaxis(repeated, (0, 1), (source, target)), look, f"with {words}", about
        )
    for source, target in ((2, 3), (3, 2)):
        if dout.shape[source] <= dout.shape[target] and dout.shape[target] > 1:
            both, total = letters[source], dout.sum(axis=target)
            moved = np.zeros_like(np.moveaxis(dout, (source, target), (0, 1)))
            index = np.arange(dout.shape[source])
            moved[index, index] = np.moveaxis(total, 2, 0)
            about = f"{both} is used for {letters[target]} in the place of a window"
            evidence = f"with window ({both}, {both}) for window (i, j)"
            yield Change(
                Mistake.WRONG_INDEX, np.moveaxis(moved, (0, 1), (source, target)), INDICES, evidence, about
            )


def _summed(dout: Array, channel: str, look: str) -> Iterator[Change]:
    """Yield sums and means of dout in place of its entries."""
    sums: dict[str, tuple[int, ...]] = {
        "pixels": (2, 3),
        f"{channel}s": (1,),
        "examples": (0,),
        "rows": (2,),
        "columns": (3,),
        "all of its entries": (0, 1, 2, 3),
    }
    for name, axes in sums.items():
        for mistake, combine in ((Mistake.SUMMED_FIRST, np.sum), (Mistake.AVERAGED_FIRST, np.mean)):
            combined = np.broadcast_to(combine(dout, axis=axes, keepdims=True), dout.shape)
            word = "sum" if mistake is Mistake.SUMMED_FIRST else "mean"
            yield Change(mistake, combined, look, f"with the {word} of dout over {name}", "dout")


def borders(height: int, width: int) -> Iterator[tuple[str, Array]]:
    """Yield (words, mask (height, width) that is 0 in rows or columns at the border of an image)."""
    choices: tuple[tuple[str, list[int]], ...] = (("", []), ("first {}", [0]), ("last {}", [-1]))
    choices += (("first and last {}", [0, -1]),)
    for (of_rows, rows), (of_columns, columns) in product(choices, repeat=2):
        mask = np.ones((height, width))
        mask[rows], mask[:, columns] = 0, 0
        words = [of_rows.format("row"), of_columns.format("column")]
        if (rows or columns) and mask.any():
            yield " and ".join(filter(None, words)), mask


def windows_left_out(dout: Array, sizes: Iterable[int], with_examples: bool) -> Iterator[Change]:
    """Yield dout (N, C, H', W') that is 0 except for some of the windows.

    - sizes: of other things, which a loop over windows may have taken for its end
    - with_examples: whether all windows of only the first or only the last example may be left
    """
    examples = [("", ALL)]
    if with_examples and len(dout) > 1:
        examples += [("the last example", slice(-1, None)), ("the first example", slice(0, 1))]
    others = list(sizes)
    for which, some in examples:
        for rows in _loops("row", dout.shape[2], others):
            for columns in _loops("column", dout.shape[3], others):
                if rows.is_whole and columns.is_whole:
                    continue
                left = np.zeros_like(dout)
                index = some, ALL, rows.left, columns.left
                left[index] = dout[index]
                yield _left(left, which, rows, columns)


class Loop(NamedTuple):
    """A loop over the rows or columns of windows: what is left of it, and that in words."""

    left: slice
    words: str
    is_whole: bool = False
    is_last: bool = False


def _loops(name: str, length: int, others: list[int]) -> Iterator[Loop]:
    """Yield the loop over all rows or columns, and the ways in which one may leave some out."""
    yield Loop(ALL, "", is_whole=True)
    if length == 1:
        return
    seen = {tuple(range(length))}
    last, end = length - 1, min(MOST_AT_AN_END, length - 1)
    choices = [slice(last, None), slice(0, 1)]
    choices += [slice(0, length - k) for k in range(1, end + 1)]
    choices += [slice(k, None) for k in range(1, end + 1)]
    choices += [slice(k, length - k) for k in range(1, end + 1)]
    choices += [slice(0, other) for other in sorted(others)]
    choices += [slice(start, None, step) for step in ORDINALS for start in range(step)]
    for choice in choices:
        indices = tuple(range(length))[choice]
        if indices and indices not in seen:
            seen.add(indices)
            yield Loop(choice, _words(name, indices, length), is_last=indices == (last,))


def _words(name: str, indices: tuple[int, ...], length: int) -> str:
    """Return which rows or columns are left, of how many."""
    first, last = indices[0], indices[-1]
    if len(indices) == 1:
        return f"{name} {first} (of 0-{length - 1})"
    if len(indices) == last - first + 1:
        return f"{name}s {first}-{last} (of 0-{length - 1})"
    return f"every {ORDINALS[indices[1] - first]} {name}, from {name} {first}"


def _left(left: Array, which: str, rows: Loop, columns: Loop) -> Change:
    """Return the change that leaves these windows, of all examples or of one."""
    words = " and ".join(loop.words for loop in (rows, columns) if not loop.is_whole)
    evidence = f"with only the windows in {words}" + (f", of {which}" if which else "")
    ends = all(loop.is_whole or loop.is_last for loop in (rows, columns))
    if ends and which != "the first example":
        return Change(Mistake.ONLY_LAST_TERM, left, ADD_WINDOWS, evidence)
    return Change(Mistake.TERMS_LEFT_OUT, left, LOOP, evidence, "windows")
