"""Arrays that are reshaped with their axes in the wrong order, as in a convolution by way of matrices.

A reshape keeps the order of the entries in memory; only a transpose changes it. So an array that is put in
one order of axes and read in another one has all of its entries, most of them in wrong places. A convolution
as a product of matrices (im2col) has (F, N H' W'), (C HH WW, F) and such, and many places to go wrong.
"""

from collections.abc import Iterator
from itertools import permutations, product
from typing import NamedTuple

import numpy as np

from cs231n.gradcheck.diagnosis.causes import Array, Case, Finding, same
from cs231n.gradcheck.diagnosis.mistakes import Mistake

RESHAPE = (
    "Reshape keeps the order in memory: move the axes with transpose first, so that they are in the order of "
    "the new shape."
)
COLUMNS = (
    (1, 0, 2, 3),
    (1, 2, 3, 0),
)  # orders in which dout (N, F, H', W') or w becomes a matrix, besides its own

Axes = tuple[int, ...]


class Reshape(NamedTuple):
    """The order that the axes of an array are put in, and the order that they are taken for."""

    put: Axes
    read: Axes

    def of(self, array: Array) -> Array:
        """Return an array that is put in one order and read in the other."""
        sizes = [array.shape[axis] for axis in self.read]
        wrong: Array = array.transpose(self.put).reshape(sizes).transpose(np.argsort(self.read))
        return wrong

    def words(self, name: str, shape: Axes) -> str:
        """Return how code gets that array."""
        put = "" if self.put == tuple(range(len(shape))) else f".transpose{self.put}"
        read = "" if self.read == tuple(range(len(shape))) else f".transpose{_inverse(self.read)}"
        return f"{name}{put}.reshape{tuple(shape[axis] for axis in self.read)}{read}"


def _inverse(order: Axes) -> Axes:
    return tuple(order.index(axis) for axis in range(len(order)))


def reshapes(ndim: int, still: int = 0) -> Iterator[Reshape]:
    """Yield the ways to reshape an array wrongly, those with a single wrong or missing transpose first.

    - still: how many axes stay in front in any case
    """
    own = tuple(range(ndim))
    orders = [own[:still] + order for order in permutations(own[still:])]
    yield from (Reshape(order, own) for order in orders[1:])
    yield from (Reshape(own, order) for order in orders[1:])
    for read in COLUMNS if ndim == 4 else ():
        yield from (Reshape(put, read) for put in orders[1:] if put != read)


# Axes of the windows of images, (N, C, H', W', HH, WW): orders in which they are stored or made a matrix.
STORED = (0, 1, 4, 5, 2, 3), (0, 1, 2, 3, 4, 5), (1, 4, 5, 0, 2, 3), (2, 3, 0, 1, 4, 5)
MATRICES = (0, 2, 3, 1, 4, 5), (1, 4, 5, 0, 2, 3), (1, 4, 5, 2, 3, 0), (2, 3, 0, 1, 4, 5)


def reshapes_of_windows(is_gradient: bool) -> Iterator[Reshape]:
    """Yield the ways to make a matrix of windows wrongly, or windows of the matrix of their gradients."""
    for stored, matrix in product((*STORED, *MATRICES), MATRICES):
        if stored != matrix:
            yield Reshape(matrix, stored) if is_gradient else Reshape(stored, matrix)


def find_reshaped(case: Case) -> Iterator[Finding]:
    """Find the right gradient with its entries in another order: the first one that fits."""
    shape = case.expected.shape
    if case.expected.ndim not in (2, 3, 4) or not same(
        np.sort(case.actual, axis=None), np.sort(case.expected, axis=None)
    ):
        return
    for wrong in reshapes(len(shape)):
        if case.is_explained_by(wrong.of(case.expected)):
            evidence = f"every entry matches {wrong.words('right', shape)}, where right is the right gradient"
            yield Finding(Mistake.ORDER_MIXED, evidence, RESHAPE)
            return
