"""Gradients that are sums over examples or filters, some of which are left out.

What all examples share, such as a weight or a bias, gets the sum of what each of them contributes. With the
contribution s_n of each, the gradient differs from the right one by the sum of -s_n over what is left out:
least squares gives the coefficients, which have to be 0 or -1.
"""

from collections.abc import Iterator
from itertools import chain, combinations, islice

import numpy as np
from numpy.typing import NDArray

from cs231n.gradcheck.diagnosis.affine import affine_of
from cs231n.gradcheck.diagnosis.causes import Array, Case, Finding, same, same_values
from cs231n.gradcheck.diagnosis.convolution import convolution_of
from cs231n.gradcheck.diagnosis.mistakes import Mistake
from cs231n.gradcheck.diagnosis.terms import recognize
from cs231n.gradcheck.diagnosis.windows import argument_of
from cs231n.gradcheck.tolerances import SAME, WHOLE_NUMBER

SHOWN = 6  # indices that are listed
MOST_ENTRIES = 10**7  # of contributions, which are in memory all at once
ADD = (
    "Use += in a loop: = forgets what came before. Set the sum to zero before the loop, and not inside of it."
)
AXES = "Sum over all axes but that of the features or channels. Equal sizes can hide a wrong axis."
MOST_AXES = 5  # that are summed over at once: more than a layer of the course has
RANGE = "Look at where the loop or the slice begins and ends."


def find_sums(case: Case) -> Iterator[Finding]:
    """Find sums over other axes than the right ones, and examples or filters that are left out of a sum."""
    yield from islice(_summed_elsewhere(case), 1)
    for part, contributions in _contributions(case):
        if same(contributions.sum(axis=0), case.expected):
            yield from _left_out(case, part, contributions)


def _summed_elsewhere(case: Case) -> Iterator[Finding]:
    """Find a sum or a mean over the wrong axes, where equal sizes hide it: its shape is the right one."""
    for products in products_summed_in(case):
        right = tuple(axis for axis in range(products.ndim) if axis != 1)
        for axes in some_axes(products.ndim):
            if axes == right:  # the mean over these is off by a factor, which has a name
                continue
            for word, reduced in (("sum", products.sum(axis=axes)), ("mean", products.mean(axis=axes))):
                is_one_number = len(axes) == products.ndim
                if not is_one_number and reduced.size != case.actual.size:
                    continue
                shape = () if reduced.size == 1 else case.actual.shape
                if case.is_explained_by(np.broadcast_to(reduced.reshape(shape), case.actual.shape)):
                    many, wrong = Mistake.SUMMED_OVER_TOO_MANY_AXES, Mistake.SUMMED_OVER_WRONG_AXES
                    evidence = f"it is the {word} over {axes_text(axes)}"
                    yield Finding(many if is_one_number else wrong, evidence, AXES)


def some_axes(ndim: int) -> Iterator[tuple[int, ...]]:
    """Yield every choice of axes, the fewest first."""
    counts = range(1, min(ndim, MOST_AXES) + 1)
    return chain.from_iterable(combinations(range(ndim), count) for count in counts)


def axes_text(axes: tuple[int, ...]) -> str:
    """Return some axes as text."""
    return f"axis {axes[0]}" if len(axes) == 1 else f"axes {', '.join(map(str, axes))}"


def products_summed_in(case: Case) -> Iterator[Array]:
    """Yield arrays of dout's shape whose sums over all axes but the second are the numeric gradient.

    These are dout itself, if the gradient is that of a bias or beta, and dout * x_hat, if it is gamma's.
    """
    if case.dout is None or case.dout.ndim not in (2, 4):
        return
    candidates = [case.dout]
    terms = recognize(case)
    if terms is not None:
        candidates.append(case.dout * terms.x_hat)
    all_but_channels = tuple(axis for axis in range(case.dout.ndim) if axis != 1)
    for products in candidates:
        if same_values(products.sum(axis=all_but_channels), case.expected):
            yield products


def _contributions(case: Case) -> Iterator[tuple[str, Array]]:
    """Yield (what contributes, contributions along the first axis, each in the gradient's shape)."""
    names = {0: "examples", 2: "rows", 3: "columns"}
    for products in products_summed_in(case):
        is_of_images = products.ndim == 4 and len(case.inputs) == 3 and convolution_of(case) is None
        for axis in names if is_of_images else [0]:
            others = tuple(other for other in names if other < products.ndim and other != axis)
            each = products.sum(axis=others)
            each = each if axis == 0 else each.T
            yield names[axis], each.reshape(len(each), *case.expected.shape)
    layer = affine_of(case)
    if layer is not None and case.name == layer.names[1]:
        yield "examples", np.einsum("nd,nm->ndm", layer.X, layer.dout)
    if case.dout is not None:
        yield from _contributions_in_convolution(case, case.dout)


def _contributions_in_convolution(case: Case, dout: Array) -> Iterator[tuple[str, Array]]:
    layer = convolution_of(case)
    if layer is None or case.actual.size * len(dout if argument_of(case) else layer.w) > MOST_ENTRIES:
        return
    back, argument = layer.right(dout), argument_of(case)
    if argument == 0:
        filters = [slice(f, f + 1) for f in range(len(back.w))]
        of_filters = [layer.dx(back._replace(w=back.w[f], dout=dout[:, f])) for f in filters]
        yield "filters", np.stack(of_filters)
    elif argument == 1:
        examples = [slice(n, n + 1) for n in range(len(dout))]
        of_examples = [layer.dw(back._replace(x=back.x[n], dout=dout[n])) for n in examples]
        yield "examples", np.stack(of_examples)


def _left_out(case: Case, part: str, contributions: Array) -> Iterator[Finding]:
    counts = _counts_of_ends(case, contributions)
    if counts is None:
        counts = _whole_coefficients(case.actual - case.expected, contributions)
    if counts is None or not counts.any() or not set(counts.tolist()) <= {0, -1}:
        return
    missing, total = np.flatnonzero(counts), len(contributions)
    if len(missing) == total - 1 and counts[-1] == 0:
        evidence = f"it is the contribution of the last of {total} {part}"
        yield Finding(Mistake.ONLY_LAST_TERM, evidence, ADD)
    elif len(missing) < total:
        evidence = f"of {part} 0-{total - 1}, the sum lacks {listed(missing)}"
        yield Finding(Mistake.TERMS_LEFT_OUT, evidence, RANGE, about=part)


def _counts_of_ends(case: Case, contributions: Array) -> NDArray[np.int_] | None:
    """Return -1 for what is left out and 0 for the rest if only an end of the sum is left, or is left out.

    These few are tried one by one: of more terms than the gradient has entries, least squares finds none.
    """
    total = len(contributions)
    first, last = np.arange(total) == 0, np.arange(total) == total - 1
    for left in (first, last, ~first, ~last) if total > 2 else ():
        if case.actual.size > 1 and case.is_explained_by(contributions[left].sum(axis=0)):
            counts: NDArray[np.int_] = left.astype(int) - 1
            return counts
    return None


def _whole_coefficients(difference: Array, contributions: Array) -> NDArray[np.int_] | None:
    """Return the whole numbers of contributions that add up to a difference, or None."""
    if len(contributions) < 2:
        return None
    columns, target = contributions.reshape(len(contributions), -1).T, difference.reshape(-1)
    coefficients, _, rank, _ = np.linalg.lstsq(columns, target, rcond=None)
    whole = np.round(coefficients)
    if rank < len(contributions) or np.abs(coefficients - whole).max() > WHOLE_NUMBER:
        return None
    if np.abs(columns @ whole - target).max() > SAME * np.abs(columns).max():
        return None
    numbers: NDArray[np.int_] = whole.astype(int)
    return numbers


def listed(indices: Array) -> str:
    """Return the first few of some indices as text."""
    return ", ".join(map(str, indices[:SHOWN])) + (", ..." if len(indices) > SHOWN else "")
