"""Gradients that are wrong as a whole: zero, of another argument, rearranged, shifted, not transposed."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

from cs231n.gradcheck.diagnosis.causes import Array, Case, Finding, matching, same
from cs231n.gradcheck.diagnosis.geometry import geometry_of
from cs231n.gradcheck.diagnosis.mistakes import Mistake
from cs231n.gradcheck.tolerances import OVERLAP, SAME
from cs231n.gradcheck.values import float64_copy, is_numbers

FILTERS = "The forward pass does not flip filters; the backward pass may have to, or must not."
ORDER = "Return the gradients in the order of the forward pass's arguments."
NAMES = "Store each gradient under the name of its own parameter."
COPIED = "That gradient is in its own place too: this one needs a formula of its own."
USED = "Either the forward pass does not use it, or its gradient has to be 0."
LEAST_REACH = 2  # pixels that a shift is looked for in each direction, or the padding if that is wider


class Rearrangement(NamedTuple):
    """A way to put the right values in wrong places; `turn` undoes itself."""

    mistake: Mistake
    turn: Callable[[Array], Array]
    look: str


REARRANGED = {  # by the gradient's number of dimensions
    2: [Rearrangement(Mistake.TRANSPOSED, lambda g: g.T, "Swap the factors of the matrix product.")],
    4: [
        Rearrangement(Mistake.FLIPPED, lambda g: g[:, :, ::-1, ::-1], FILTERS),
        Rearrangement(Mistake.UPSIDE_DOWN, lambda g: g[:, :, ::-1], FILTERS),
        Rearrangement(Mistake.MIRRORED, lambda g: g[..., ::-1], FILTERS),
        Rearrangement(
            Mistake.HEIGHT_WIDTH_SWAPPED,
            lambda g: g.swapaxes(2, 3),
            "Look at the order of the last two axes.",
        ),
        Rearrangement(
            Mistake.FIRST_AXES_SWAPPED,
            lambda g: g.swapaxes(0, 1),
            "Look at the order of axes 0 and 1.",
        ),
    ],
}


def find_whole(case: Case) -> Iterator[Finding]:
    """Find mistakes that explain every entry of the gradient."""
    if not case.actual.any() and case.expected.any():
        yield Finding(Mistake.ZERO, "the expected values are not", "Was it computed, and returned?")
        return
    if _is_independent(case):
        if case.name:  # else the numbers may be no gradient, but means that should be 0
            evidence = "its numeric gradient is 0 everywhere, and the gradient is not"
            yield Finding(Mistake.INDEPENDENT, evidence, USED, about=case.name)
        return
    for find in (_of_another_argument, _rearranged, _offset, _shifted):
        yield from find(case)


def _is_independent(case: Case) -> bool:
    """Return whether the numeric gradient is zero everywhere, except for noise, and the learner's is not."""
    largest = float(np.abs(case.actual).max(initial=0))
    return bool(largest > 0 and np.abs(case.expected).max(initial=0) <= SAME * largest)


def _of_another_argument(case: Case) -> Iterator[Finding]:
    for name, gradient in case.numeric.items():
        if name != case.name and case.is_explained_by(gradient):
            evidence = f"every entry matches d{name}"
            yield Finding(Mistake.OF_ANOTHER_ARGUMENT, evidence, where_it_belongs(case, name), about=name)


def where_it_belongs(case: Case, other: str) -> str:
    """Return where to look if a gradient is that of another argument, whose own may be right or wrong."""
    own = case.returned.get(other)
    if is_numbers(own) and same(float64_copy(own), case.numeric[other]):
        return COPIED
    return ORDER if case.network is None else NAMES


def _rearranged(case: Case) -> Iterator[Finding]:
    for mistake, turn, look in REARRANGED.get(case.expected.ndim, ()):
        yield from matching(case, [(mistake, turn(case.expected))], look)


def _offset(case: Case) -> Iterator[Finding]:
    constant = float((case.actual - case.expected).mean())
    if case.actual.size > 2 and case.is_explained_by(case.expected + constant):
        yield Finding(
            Mistake.OFF_BY_CONSTANT,
            f"every entry is what it should be plus {constant:.6g}",
            "Look for a term that does not depend on the entry.",
        )


def _shifted(case: Case) -> Iterator[Finding]:
    """Find an image's gradient a few pixels from its place, where the overlap with the right one agrees."""
    if case.actual.ndim != 4 or not case.is_of_x:
        return
    for down, right in _shifts(max(LEAST_REACH, geometry_of(case).pad)):
        here, there = _overlap(case.actual, down, right), _overlap(case.expected, -down, -right)
        is_large = there.size > OVERLAP * case.actual.size
        if is_large and there.any() and same(here, there):
            yield Finding(
                Mistake.SHIFTED,
                f"it is off by ({down}, {right}) in rows and columns",
                "Is the padding cut off on both sides, and by the width that was added?",
            )
            return


def _shifts(reach: int) -> Iterator[tuple[int, int]]:
    """Yield every (down, right) of at most `reach` pixels, except no shift at all."""
    for row, column in np.ndindex(2 * reach + 1, 2 * reach + 1):
        if (row, column) != (reach, reach):
            yield row - reach, column - reach


def _overlap(images: Array, down: int, right: int) -> Array:
    """Return the pixels that remain of images which lose rows at one end and columns at one side."""
    height, width = images.shape[2:]
    rows = slice(max(down, 0), height + min(down, 0))
    columns = slice(max(right, 0), width + min(right, 0))
    return images[:, :, rows, columns]
