"""Gradients that are right in part: where the wrong entries are tells what went wrong there."""

import numpy as np

from cs231n.diagnosis.causes import Cause

AXES = {  # what the axes of an argument stand for, by its number of dimensions
    "x": {1: ("features",), 2: ("examples", "features"), 4: ("examples", "channels", "rows", "columns")},
    "w": {1: ("features",), 2: ("inputs", "outputs"), 4: ("filters", "channels", "rows", "columns")},
}
SHOWN = 6  # indices that are listed


def part_causes(case):
    """Causes that the places of the wrong entries speak for; none where there are none or all are wrong."""
    wrong = case.wrong
    if not wrong.any() or wrong.all():
        return
    for test in (_overlapping, _tied, _masked, _sliced):
        causes = list(test(case, wrong))
        yield from causes
        if causes:
            return


def _overlapping(case, wrong):
    """Wrong just where windows overlap: their shares were assigned, not added."""
    cover = window_cover(case)
    if cover is None:
        return
    several = np.broadcast_to(cover > 1, wrong.shape)
    if not (wrong & ~several).any() and (cover == 1).any() and wrong[several].mean() > 0.2:
        yield Cause(
            "where windows overlap, gradients are assigned instead of added",
            f"{wrong.sum()} entries are wrong, all of pixels in several windows; the others are right",
            "Use += for the gradient of a window's pixels.",
        )


def window_cover(case):
    """In how many windows each pixel of x is, (H, W); None where there are no windows or this is not x."""
    x, w = next(iter(case.inputs.values()), None), case.inputs.get("w")
    stride, pad = case.settings.get("stride"), case.settings.get("pad", 0)
    if stride is None or x is None or x.ndim != 4 or case.actual.shape != x.shape:
        return None
    height, width = (
        w.shape[2:] if w is not None else (case.settings.get(f"pool_{side}") for side in ("height", "width"))
    )
    if not height or not width:
        return None
    cover = np.zeros((x.shape[2] + 2 * pad, x.shape[3] + 2 * pad), dtype=int)
    for i in range(0, cover.shape[0] - height + 1, stride):
        for j in range(0, cover.shape[1] - width + 1, stride):
            cover[i : i + height, j : j + width] += 1
    return cover[pad : pad + x.shape[2], pad : pad + x.shape[3]]


def _tied(case, wrong):
    """Wrong in windows only that have their maximum twice."""
    x = next(iter(case.inputs.values()), None)
    height, width, stride = (case.settings.get(key) for key in ("pool_height", "pool_width", "stride"))
    if height is None or x is None or x.shape != wrong.shape:
        return
    tied = np.zeros(x.shape, dtype=bool)
    for i in range(0, x.shape[2] - height + 1, stride):
        for j in range(0, x.shape[3] - width + 1, stride):
            window = x[:, :, i : i + height, j : j + width]
            largest = window == window.max(axis=(2, 3), keepdims=True)
            ties = largest & (largest.sum(axis=(2, 3), keepdims=True) > 1)
            tied[:, :, i : i + height, j : j + width] |= ties
    if tied.any() and not (wrong & ~tied).any():
        yield Cause(
            "ties in a window are not decided as they should be",
            f"{wrong.sum()} entries are wrong, all of them largest values that their window has twice",
            "On a tie the first maximum, in row-major order, takes the whole gradient.",
        )


def _masked(case, wrong):
    """Wrong where the input is negative, or where the output is zero, and right elsewhere."""
    x, out = next(iter(case.inputs.values()), None), case.out
    if x is None or out is None or x.shape != wrong.shape or out.shape != x.shape:
        return
    negative, off = x < 0, (out == 0) & (x != 0)
    if negative.any() and np.array_equal(off, negative):
        masks = {"where the input is negative": negative, "where the input is positive": ~negative}
        look = "Where the input is negative ReLU is flat: the gradient is 0 there, and dout elsewhere."
    elif off.any():
        masks = {"of units that are switched off": off, "of units that are kept": ~off}
        look = "Backward uses the mask of the forward pass: what was switched off gets no gradient."
    else:
        return
    for title, mask in masks.items():
        if not (wrong & ~mask).any() and wrong[mask].mean() > 0.5:
            yield Cause(
                f"it is wrong for entries {title}",
                f"{wrong.sum()} of {mask.sum()} such entries, and no other",
                look,
            )


def _sliced(case, wrong):
    """Wrong in whole slices along one axis, and right in the others."""
    for axis, axis_name in enumerate(_axis_names(case)):
        other = tuple(i for i in range(wrong.ndim) if i != axis)
        bad = wrong.any(axis=other)
        if bad.all() or wrong.compress(bad, axis=axis).mean() < 0.5:
            continue
        indices = np.flatnonzero(bad)
        listed = ", ".join(map(str, indices[:SHOWN])) + (", ..." if len(indices) > SHOWN else "")
        evidence = f"the wrong entries are those of the {axis_name} {listed}, of {len(bad)}"
        yield _slice_cause(case, axis_name, bad, evidence)
        return


def _slice_cause(case, axis_name, bad, evidence):
    """What a set of wrong slices means: a border, a stride, or some that were left out."""
    indices, last = np.flatnonzero(bad), len(bad) - 1
    if axis_name in ("rows", "columns") and case.actual.ndim == 4:
        stride = case.settings.get("stride", 1)
        inner = [i for i in indices if 0 < i < last]
        if not inner or (
            case.settings.get("pad") and all(min(i, last - i) < case.settings["pad"] for i in indices)
        ):
            return Cause(
                "it is wrong at the border of the image",
                evidence,
                "Look at the padding and at how it is cut off.",
            )
        if stride > 1 and len({i % stride for i in indices}) < min(stride, len(indices)):
            return Cause(
                "it is wrong at some offsets of the stride",
                evidence,
                "Look at where windows begin: i * stride.",
            )
    return Cause(
        f"it is wrong for some {axis_name} only",
        evidence,
        "Does a loop or a slice leave them out, or mix them up?",
    )


def _axis_names(case):
    kind = "w" if case.name[:1].lower() == "w" else "x"
    names = AXES[kind].get(case.actual.ndim, ())
    return names or tuple(f"axis {axis}" for axis in range(case.actual.ndim))
