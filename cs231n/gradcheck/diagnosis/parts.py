"""Gradients that are right in part: where the wrong entries are tells what went wrong there."""

import numpy as np

from cs231n.gradcheck.diagnosis.causes import Cause
from cs231n.gradcheck.diagnosis.pooling import pooling_of
from cs231n.gradcheck.diagnosis.sums import listed

AXES = {  # what the axes of an argument stand for, by its number of dimensions
    "x": {1: ("features",), 2: ("examples", "features"), 4: ("examples", "channels", "rows", "columns")},
    "w": {1: ("features",), 2: ("inputs", "outputs"), 4: ("filters", "channels", "rows", "columns")},
}
THROUGHOUT = 0.9  # of the entries of a place that are wrong
LEFT_OUT = "Does a loop or a slice leave them out, or mix them up?"


def part_causes(case):
    """Causes that the places of the wrong entries speak for; none where there are none or all are wrong."""
    wrong = case.wrong
    if not wrong.any() or wrong.all():
        return
    for test in (_tied, _labelled, _bordered, _sliced):
        causes = list(test(case, wrong))
        yield from causes
        if causes:
            return


def _tied(case, wrong):
    """Wrong in windows only that have their maximum twice."""
    layer = pooling_of(case)
    if layer is None or layer.x.shape != wrong.shape:
        return
    tied = layer.tied
    if tied.any() and not (wrong & ~tied).any():
        yield Cause(
            "ties in a window are not decided as they should be",
            f"{wrong.sum()} entries are wrong, all of them largest values that their window has twice",
            "On a tie the first maximum, in row-major order, takes the whole gradient.",
        )


def _labelled(case, wrong):
    """Of a loss's gradient (N, C), one wrong entry for each example, not all of one class."""
    if wrong.ndim != 2 or np.ndim(case.out) != 0 or case.out is None:
        return
    if (wrong.sum(axis=1) == 1).all() and wrong.any(axis=0).sum() > 1:
        yield Cause(
            "it is wrong at one entry of each example",
            f"the wrong entries are, example by example, {listed(wrong.argmax(axis=1))}",
            "If these are the labels: look at the term of the right class.",
        )


def _bordered(case, wrong):
    """Wrong in a frame around the image, as wide as the padding, and right inside."""
    depth = max(case.settings.get("pad", 0), 1)
    if wrong.ndim != 4 or wrong.shape != np.shape(case.x) or min(wrong.shape[2:]) <= 2 * depth:
        return
    frame = np.ones(wrong.shape, dtype=bool)
    frame[:, :, depth:-depth, depth:-depth] = False
    if _just(wrong, frame, case):
        yield Cause(
            "it is wrong at the border of the image",
            f"{wrong.sum()} entries are wrong, all at most {depth} from the border; the rest is right",
            "Look at the padding and at how it is cut off.",
        )


def _just(wrong, place, case):
    """Whether it is wrong in a place, nearly throughout, and right elsewhere.

    What is zero, and is computed as zero, is right whatever the formula: it speaks for nothing.
    """
    counts = (case.expected != 0) | (case.actual != 0)
    if (wrong & ~place).any() or not (counts & ~place).any():
        return False
    return bool(wrong[place & counts].mean() >= THROUGHOUT)


def _sliced(case, wrong):
    """Wrong in whole slices along one axis, next to each other or evenly apart, and right elsewhere.

    A single entry that is wrong is no slice, unless it was left at zero.
    """
    for axis, axis_name in enumerate(_axis_names(case)):
        bad = wrong.any(axis=tuple(i for i in range(wrong.ndim) if i != axis), keepdims=True)
        indices = np.flatnonzero(bad)
        if not _just(wrong, np.broadcast_to(bad, wrong.shape), case) or len(set(np.diff(indices))) > 1:
            continue
        if wrong.sum() < 2 * len(indices) and case.actual[wrong].any():
            continue
        evidence = f"the wrong entries are those of the {axis_name} {listed(indices)}, of {bad.size}"
        yield _slice_cause(case, axis_name, indices, bad.size - 1, evidence)
        return


def _slice_cause(case, axis_name, indices, last, evidence):
    """What a set of wrong slices means: a border, a stride, or some that were left out."""
    if case.actual.shape == np.shape(case.x) and axis_name in ("rows", "columns"):
        depth, stride = max(case.settings.get("pad", 0), 1), case.settings.get("stride", 1)
        if all(min(i, last - i) < depth for i in indices):
            look = "Look at the padding and at how it is cut off."
            return Cause("it is wrong at the border of the image", evidence, look)
        if len(indices) > 1 and 1 < stride == indices[1] - indices[0]:
            look = "Look at where windows begin: i * stride."
            return Cause("it is wrong at some offsets of the stride", evidence, look)
    return Cause(f"it is wrong for some {axis_name} only", evidence, LEFT_OUT)


def where_wrong(case):
    """Where the error sits, in a sentence, for a gradient that no cause explains."""
    wrong = case.wrong
    if wrong.all() or not wrong.any():
        return f"All of its {wrong.size} entries are wrong." if wrong.any() else ""
    places = [f"{wrong.sum()} of {wrong.size} entries are wrong"]
    for axis, axis_name in enumerate(_axis_names(case)):
        bad = wrong.any(axis=tuple(i for i in range(wrong.ndim) if i != axis))
        if not bad.all():
            places.append(f"none of them outside the {axis_name} {listed(np.flatnonzero(bad))}")
    return ", ".join(places) + "."


def _axis_names(case):
    kind = "w" if case.name[:1].lower() == "w" else "x"
    if case.actual.ndim in AXES[kind]:
        return AXES[kind][case.actual.ndim]
    places = [f"places along axis {axis}" for axis in range(case.actual.ndim)]
    return ["examples", *places[1:]] if case.actual.shape == np.shape(case.x) else places
