"""Gradients that are right in part: the places of the wrong entries show what went wrong there."""

from collections.abc import Iterator
from itertools import islice
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from cs231n.gradcheck.diagnosis.causes import Case, Finding
from cs231n.gradcheck.diagnosis.geometry import geometry_of
from cs231n.gradcheck.diagnosis.losses import loss_of
from cs231n.gradcheck.diagnosis.mistakes import Mistake
from cs231n.gradcheck.diagnosis.pooling import pooling_of
from cs231n.gradcheck.diagnosis.sums import listed
from cs231n.gradcheck.tolerances import MOSTLY, THROUGHOUT

PADDING = "Look at the padding and at how it is cut off."
TIES = "On a tie the first maximum, in row-major order, gets the whole gradient."
LABELS = "If these are the labels: look at the term of the right class."
LABEL_TERM = "Look at the term of the right class. The other terms are right."
OTHER_TERMS = "Look at the terms of the other classes. That of the right class is right."
WINDOWS = "Look at where windows begin: i * stride."
LEFT_OUT = "Does a loop or a slice leave them out, or mix them up?"

Mask = NDArray[np.bool_]


class Axis(NamedTuple):
    """What an axis of an argument stands for: the noun for one place along it, and for several."""

    one: str
    several: str
    of_image: bool = False


EXAMPLES, FEATURES = Axis("example", "examples"), Axis("feature", "features")
CLASSES = Axis("class", "classes")
CHANNELS, FILTERS = Axis("channel", "channels"), Axis("filter", "filters")
INPUTS, OUTPUTS = Axis("input", "inputs"), Axis("output", "outputs")
ROWS, COLUMNS = Axis("row", "rows", of_image=True), Axis("column", "columns", of_image=True)
AXES_OF_X = {1: [FEATURES], 2: [EXAMPLES, FEATURES], 4: [EXAMPLES, CHANNELS, ROWS, COLUMNS]}  # by dimensions
AXES_OF_W = {1: [FEATURES], 2: [INPUTS, OUTPUTS], 4: [FILTERS, CHANNELS, ROWS, COLUMNS]}


def find_parts(case: Case) -> Iterator[Finding]:
    """Find what the places of the wrong entries show; nothing if no entry, or every entry, is wrong."""
    wrong = case.wrong
    if not wrong.any() or wrong.all():
        return
    explainers = (_wrong_at_ties, _wrong_once_per_example, _wrong_at_border, _wrong_in_slices)
    findings = (finding for explain in explainers for finding in explain(case, wrong))
    yield from islice(findings, 1)  # the others would say the same in general words


def _wrong_at_ties(case: Case, wrong: Mask) -> Iterator[Finding]:
    """Find a gradient that is wrong only in windows which contain their maximum twice."""
    layer = pooling_of(case)
    if layer is None or layer.x.shape != wrong.shape:
        return
    tied = layer.tied
    if tied.any() and not (wrong & ~tied).any():
        evidence = f"wrong entries: {wrong.sum()}, each of them one of several maxima of a window"
        yield Finding(Mistake.TIES, evidence, TIES)


def _wrong_once_per_example(case: Case, wrong: Mask) -> Iterator[Finding]:
    """Find a loss's gradient (N, C) with one wrong entry for each example, not all of one class."""
    if wrong.ndim != 2 or case.out is None or np.ndim(case.out) != 0:
        return
    loss = loss_of(case)
    if loss is not None:
        yield from _wrong_by_label(case, wrong, loss.scores.is_label > 0)
        return
    several_classes = wrong.any(axis=0).sum() > 1
    if several_classes and (wrong.sum(axis=1) == 1).all():
        evidence = f"the classes of the wrong entries, example by example, are {listed(wrong.argmax(axis=1))}"
        yield Finding(Mistake.ONE_ENTRY_PER_EXAMPLE, evidence, LABELS)


def _wrong_by_label(case: Case, wrong: Mask, is_label: Mask) -> Iterator[Finding]:
    """Find a gradient that is wrong at the labels of several classes only, or right there only."""
    at_labels, elsewhere = wrong & is_label, wrong & ~is_label
    mostly = MOSTLY * len(wrong)
    if not elsewhere.any() and at_labels.sum() > mostly and at_labels.any(axis=0).sum() > 1:
        evidence = f"wrong entries: {wrong.sum()}, each at the label of its example"
        yield Finding(Mistake.ONLY_AT_LABELS, evidence, LABEL_TERM)
    if not at_labels.any() and _wrong_just_in(~is_label, wrong, case):
        evidence = f"wrong entries: {wrong.sum()}, none at the label of its example"
        yield Finding(Mistake.ONLY_BESIDE_LABELS, evidence, OTHER_TERMS)


def _wrong_at_border(case: Case, wrong: Mask) -> Iterator[Finding]:
    """Find a gradient that is wrong in a frame around the image, as wide as the padding."""
    width = _border_width(case)
    if wrong.ndim != 4 or not case.is_of_x or min(wrong.shape[2:]) <= 2 * width:
        return
    frame = np.ones(wrong.shape, dtype=bool)
    frame[:, :, width:-width, width:-width] = False
    if _wrong_just_in(frame, wrong, case):
        evidence = f"wrong entries: {wrong.sum()}, all in a frame {width} wide around the image"
        yield Finding(Mistake.BORDER, evidence, PADDING)


def _border_width(case: Case) -> int:
    return max(geometry_of(case).pad, 1)


def _wrong_just_in(place: Mask, wrong: Mask, case: Case) -> bool:
    """Return whether the gradient is wrong nearly throughout a place, and right elsewhere.

    An entry that is zero, and is computed as zero, is right with any formula: it shows nothing.
    """
    counts = (case.expected != 0) | (case.actual != 0)
    if (wrong & ~place).any() or not (counts & ~place).any():
        return False
    return bool(wrong[place & counts].mean() >= THROUGHOUT)


def _wrong_in_slices(case: Case, wrong: Mask) -> Iterator[Finding]:
    """Find whole slices along one axis that are wrong, next to each other or evenly apart."""
    for axis, meaning in enumerate(_axes(case)):
        others = tuple(other for other in range(wrong.ndim) if other != axis)
        is_bad = wrong.any(axis=others, keepdims=True)
        place, bad = np.broadcast_to(is_bad, wrong.shape), np.flatnonzero(is_bad)
        if not _wrong_just_in(place, wrong, case) or not _evenly_spaced(bad):
            continue
        if not _has_few_entries(case, wrong, len(bad)):
            yield _sliced(case, meaning, bad, is_bad.size)


def _evenly_spaced(indices: NDArray[np.int_]) -> bool:
    return len(set(np.diff(indices).tolist())) <= 1


def _has_few_entries(case: Case, wrong: Mask, count: int) -> bool:
    """Return whether `count` slices hold too few wrong entries, and these were not left at zero."""
    return bool(wrong.sum() < 2 * count and case.actual[wrong].any())


def _sliced(case: Case, axis: Axis, bad: NDArray[np.int_], size: int) -> Finding:
    """Return what a set of wrong slices means: a border, a stride, or slices that were left out."""
    names, verb = (axis.one, "is") if len(bad) == 1 else (axis.several, "are")
    evidence = f"only {names} {listed(bad)} of 0-{size - 1} {verb} wrong"
    if case.is_of_x and axis.of_image:
        if all(min(i, size - 1 - i) < _border_width(case) for i in bad):
            return Finding(Mistake.BORDER, evidence, PADDING)
        if _a_stride_apart(case, bad):
            return Finding(Mistake.STRIDE_OFFSETS, evidence, WINDOWS)
    return Finding(Mistake.SOME_SLICES, evidence, LEFT_OUT, about=axis.several)


def _a_stride_apart(case: Case, indices: NDArray[np.int_]) -> bool:
    """Return whether evenly spaced indices are a stride apart, of a stride above 1."""
    stride = geometry_of(case).stride
    return stride > 1 and len(indices) > 1 and bool(indices[1] - indices[0] == stride)


def where_wrong(case: Case) -> str:
    """Return a sentence that says where the error sits, for a gradient that no cause explains."""
    wrong = case.wrong
    if not wrong.any():
        return ""
    if wrong.all():
        return f"All of its {wrong.size} entries are wrong." if wrong.size > 1 else "Its only entry is wrong."
    places = list(_places(case, wrong))
    verb = "is" if wrong.sum() == 1 else "are"
    where = f", all in {' and '.join(places)}" if places else ""
    return f"{wrong.sum()} of {wrong.size} entries {verb} wrong{where}."


def _places(case: Case, wrong: Mask) -> Iterator[str]:
    """Yield the places that contain all wrong entries, along each axis that has right ones besides."""
    for axis, meaning in enumerate(_axes(case)):
        is_bad = wrong.any(axis=tuple(other for other in range(wrong.ndim) if other != axis))
        if not is_bad.all():
            bad = np.flatnonzero(is_bad)
            yield f"{meaning.one if len(bad) == 1 else meaning.several} {listed(bad)}"


def _axes(case: Case) -> list[Axis]:
    """Return what the axes of the gradient stand for."""
    ndim, known = case.actual.ndim, AXES_OF_W if case.name[:1].lower() == "w" else AXES_OF_X
    if ndim == 2 and case.out is not None and np.size(case.out) == 1 and len(case.inputs) == 1:
        return [EXAMPLES, CLASSES]  # of a loss
    if ndim in known:
        return known[ndim]
    axes = [Axis(f"place along axis {axis}", f"places along axis {axis}") for axis in range(ndim)]
    return [EXAMPLES, *axes[1:]] if case.is_of_x else axes
