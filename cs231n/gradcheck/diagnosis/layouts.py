"""Gradients of a normalization that are reshaped with their axes in the wrong order.

Layers are often written by way of a matrix in which each column is normalized: (NHW, C) for spatial batch
normalization, (HWC/G, NG) for group normalization, (D, N) for layer normalization. A reshape keeps the order
in memory; only a transpose changes it.
"""

from collections.abc import Callable, Iterator
from itertools import permutations
from typing import NamedTuple

from cs231n.gradcheck.diagnosis.candidates import Candidate
from cs231n.gradcheck.diagnosis.causes import Array
from cs231n.gradcheck.diagnosis.mistakes import Mistake
from cs231n.gradcheck.diagnosis.terms import Terms

Turn = Callable[[Array], Array]
IMAGES = (
    "Reshape keeps the order in memory: use transpose(0, 2, 3, 1) before reshape(-1, C), and "
    "reshape(N, H, W, C).transpose(0, 3, 1, 2) on the way back."
)
GROUPS = (
    "Reshape keeps the order in memory: with one column for each group, use reshape(N * G, -1).T, and "
    ".T.reshape(N, C, H, W) on the way back."
)
EXAMPLES = "With one column for each example, transpose dout on the way in and dx on the way back."


class Columns(NamedTuple):
    """How arrays become a matrix whose columns are normalized, and back; rightly and in wrong ways."""

    put: Turn
    back: Turn
    wrong_puts: list[Turn]
    wrong_backs: list[Turn]
    look: str


def columns_of(terms: Terms) -> Columns | None:
    """Return the Columns of a layer; None for batch normalization of features, which needs no transpose."""
    grouping, shape = terms.layer.grouping, terms.shape
    if not grouping.transposed or not terms.training:
        return None
    if len(shape) == 2:
        return _columns_of_examples(shape) if grouping.axes == (1,) else None
    if grouping.axes == (0, 2, 3):
        return _columns_of_channels(shape)
    return _columns_of_groups(shape, grouping.count) if grouping.axes == (2, 3, 4) else None


def _columns_of_examples(shape: tuple[int, ...]) -> Columns:
    plain: Turn = lambda array: array.reshape(shape[::-1])  # noqa: E731
    return Columns(lambda a: a.T, lambda a: a.T, [plain], [lambda a: a.reshape(shape)], EXAMPLES)


def _columns_of_groups(shape: tuple[int, ...], count: int) -> Columns:
    return Columns(
        lambda array: array.reshape(-1, count).T,
        lambda matrix: matrix.T.reshape(shape),
        [lambda array: array.reshape(count, -1)],
        [lambda matrix: matrix.reshape(shape)],
        GROUPS,
    )


def _columns_of_channels(shape: tuple[int, ...]) -> Columns:
    N, C, H, W = shape
    puts: list[Turn] = [lambda array: array.reshape(-1, C)]
    for order in permutations(range(4)):
        puts.append(lambda array, order=order: array.transpose(order).reshape(-1, C))  # type: ignore[misc]
        puts.append(lambda array, order=order: array.transpose(order).reshape(C, -1).T)  # type: ignore[misc]
    backs: list[Turn] = [lambda matrix: matrix.reshape(shape), lambda matrix: matrix.T.reshape(shape)]
    for sizes in ((N, H, W, C), (N, W, H, C), (H, W, N, C), (W, H, N, C)):
        for order in permutations(range(4)):
            if tuple(sizes[axis] for axis in order) == shape:
                backs.append(lambda m, sizes=sizes, order=order: m.reshape(sizes).transpose(order))  # type: ignore[misc]

    def put(array: Array) -> Array:
        matrix: Array = array.transpose(0, 2, 3, 1).reshape(-1, C)
        return matrix

    def back(matrix: Array) -> Array:
        array: Array = matrix.reshape(N, H, W, C).transpose(0, 3, 1, 2)
        return array

    return Columns(put, back, puts, backs, IMAGES)


def wrong_layouts(terms: Terms) -> Iterator[Candidate]:
    """Yield dx with dout put into columns wrongly, with dx put back wrongly, and with both."""
    columns = columns_of(terms)
    if columns is None:
        return
    right = _dx(terms, columns, columns.put)
    for put in columns.wrong_puts:
        dx = _dx(terms, columns, put)
        yield Candidate(Mistake.DOUT_NOT_TRANSPOSED, columns.back(dx), columns.look)
    for back in columns.wrong_backs:
        yield Candidate(Mistake.DX_NOT_TRANSPOSED, back(right), columns.look)
    both = columns.wrong_backs[0](_dx(terms, columns, columns.wrong_puts[0]))
    yield Candidate(Mistake.NEITHER_TRANSPOSED, both, columns.look)


def _dx(terms: Terms, columns: Columns, put: Turn) -> Array:
    """Return dx in columns, in closed form."""
    r, x_hat = columns.put(terms.r), columns.put(terms.x_hat)
    if 0 in terms.layer.grouping.axes:  # spatial: gamma belongs to a column, and is applied there
        g = columns.put(terms.layer.gamma) * put(terms.layer.dout)
    else:
        g = put(terms.layer.gamma * terms.layer.dout)
    dx: Array = r * (g - g.mean(axis=0) - x_hat * (g * x_hat).mean(axis=0))
    return dx


def wrong_parameter_layouts(terms: Terms, of_gamma: bool) -> Iterator[Candidate]:
    """Yield dgamma or dbeta of spatial batch normalization with dout put into columns wrongly."""
    columns = columns_of(terms)
    if columns is None or len(terms.shape) != 4 or terms.layer.grouping.axes != (0, 2, 3):
        return
    x_hat = columns.put(terms.x_hat) if of_gamma else 1.0
    for put in columns.wrong_puts:
        gradient = (put(terms.layer.dout) * x_hat).sum(axis=0)
        yield Candidate(Mistake.DOUT_NOT_TRANSPOSED, gradient, columns.look)
