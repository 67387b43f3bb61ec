"""Mistakes in layers that let some entries pass and stop the others: ReLU and dropout.

Their gradient is dout * mask, where the mask is 0 for a stopped entry and c for the others: 1 in ReLU, 1/p in
inverted dropout. The output x * mask shows the mask. A layer is recognized as one of them only if the numeric
gradient agrees.
"""

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from cs231n.gradcheck.diagnosis.causes import Array, Case, Finding, Observed, is_output, matching, same
from cs231n.gradcheck.diagnosis.mistakes import Mistake
from cs231n.gradcheck.tolerances import FACTOR, MOSTLY, SAME, WITNESSES

RELU = "ReLU is flat where the input is negative: the gradient is 0 there, and dout elsewhere."
RELU_MASK = RELU + " The mask is x > 0; out >= 0 holds everywhere."
DROPOUT = "Backward uses the mask of the forward pass: dx = dout * mask."
CACHE = "Keep the mask in the cache. A mask that is drawn again, or computed from p again, is another one."
IN_TEST = "Dropout is off in test mode: out = x, and dx = dout."
IN_TRAINING = "Only in test mode is dx = dout; in training dx = dout * mask."
SCALE = "Inverted dropout divides kept units by p, in training only. The gradient has the same factor, once."
CHAIN_RULE = "The chain rule: the upstream gradient is a factor."
KEPT = "The mask holds 0 and 1 / p, as it was drawn: units that dropout keeps may be negative."
ENTRIES = "Index with the mask itself, dx[x <= 0] = 0: np.where(...)[0] gives the numbers of whole rows."
MASK_OF_ONES = "The mask holds 0 and 1 (in dropout, 0 and 1 / p), not x and not the output."


class Masked(NamedTuple):
    """A layer that multiplies every entry by a mask, which holds 0 and `kept`, or `kept` alone."""

    x: Array
    dout: Array
    mask: Array
    kept: float
    is_relu: bool

    @property
    def stopped(self) -> NDArray[np.bool_]:
        """The entries that the mask stops."""
        is_zero: NDArray[np.bool_] = self.mask == 0
        return is_zero

    @property
    def drops_nothing(self) -> bool:
        """Whether the layer returns its input, as dropout does in test mode."""
        return not self.stopped.any() and math.isclose(self.kept, 1, rel_tol=FACTOR)


def find_elementwise(case: Case) -> Iterator[Finding]:
    """Find mistakes in a mask, if the layer has one."""
    layer = masked_layer(case)
    if layer is None or case.actual.shape != layer.x.shape:
        return
    findings = list(_wrong_forward(case, layer)) or list(_of_known_form(case, layer))
    if not findings and layer.is_relu:
        findings = list(_wrong_where_negative(case, layer.x < 0))
    yield from findings or _of_another_mask(case, layer)


def masked_layer(case: Case) -> Masked | None:
    """Return the layer under test, or None if it does not multiply its only argument by a mask."""
    x, dout, expected = case.x, case.dout, case.dx
    if x is None or dout is None or not np.shape(x) == np.shape(dout) == expected.shape or not x.size:
        return None
    if len(case.inputs) != 1 or not dout.all():
        return None
    ratio = expected / dout
    if case.out is not None and np.shape(case.out) == x.shape:
        ratio = np.where(x == 0, ratio, case.out / x)  # the output is exact, but where x is 0 it says nothing
    passed = _passes(ratio)
    if not passed.any():
        return None
    kept = float(np.median(ratio[passed]))
    mask = np.where(passed, kept, 0.0)
    is_relu = math.isclose(kept, 1, rel_tol=FACTOR) and bool((mask > 0)[x != 0].any())
    is_relu = is_relu and np.array_equal((mask > 0)[x != 0], (x > 0)[x != 0]) and bool((x < 0).any())
    if is_relu:
        mask = np.where(x > 0, 1.0, 0.0)
    known = x != 0 if is_relu else np.ones(x.shape, dtype=bool)  # ReLU has a kink at 0
    return (
        Masked(x, dout, mask, kept, is_relu) if kept > 0 and _agrees(dout * mask, expected, known) else None
    )


def _passes(ratio: Array) -> NDArray[np.bool_]:
    """Return where a gradient divided by dout is not 0, apart from noise."""
    passes: NDArray[np.bool_] = np.abs(ratio) > SAME * np.abs(ratio).max()
    return passes


def _agrees(a: Array, b: Array, where: NDArray[np.bool_]) -> bool:
    return same(np.where(where, a, 0), np.where(where, b, 0))


def gradients_of_mask(observed: Observed) -> Mapping[str, Array] | None:
    """Return {argument: gradient} of ReLU and of dropout, or None for another layer.

    An output that is the input times one number everywhere, or times 0, shows a mask only if this number is
    1 or 1 / p: a normalization may divide by a number that depends on x.
    """
    x, out, dout = observed.x, observed.out, observed.dout
    if len(observed.inputs) != 1 or x is None or out is None or dout is None:
        return None
    if not np.shape(x) == np.shape(out) == np.shape(dout) or not np.size(x):
        return None
    name = next(iter(observed.inputs))
    if is_output(out, np.maximum(x, 0)):
        return {name: dout * (x > 0)}
    p = observed.number("p")
    for kept in (1.0, 1 / p if p else 1.0):
        mask = kept * (out != 0)
        if is_output(out, x * mask) and not (x == 0).any():
            return {name: dout * mask}
    return None


def keep_probability(case: Case) -> float | None:
    """Return p of the dropout under test: from its settings, or else from its output; None without one."""
    p = case.number("p")
    if p is not None:
        return p if 0 < p < 1 else None
    layer = masked_layer(case)
    if layer is None or layer.is_relu or not layer.stopped.any() or layer.kept <= 1 + FACTOR:
        return None
    return 1 / layer.kept


def _of_known_form(case: Case, layer: Masked) -> Iterator[Finding]:
    """Find gradients that a formula gives, in the order in which one explains more than the next."""
    if layer.drops_nothing:
        yield from _of_test_mode(case, layer)
    else:
        yield from _without_mask(case, layer)
    x, dout, mask, look = layer.x, layer.dout, layer.mask, RELU if layer.is_relu else DROPOUT
    yield from _matching(
        case, layer, [(Mistake.NO_DOUT, mask), (Mistake.NO_DOUT, 1.0 * (mask > 0))], CHAIN_RULE
    )
    yield from _inverted(case, layer, look)
    by_dout = layer.kept * dout * (dout > 0)
    yield from _matching(case, layer, [(Mistake.MASK_OF_DOUT, by_dout)], look)
    if case.wrong.sum() >= WITNESSES:
        yield from _matching(case, layer, [(Mistake.MASK_OF_BOTH, dout * mask * (dout > 0))], look)
    if not layer.is_relu:
        of_out = [layer.kept * dout, dout * (mask > 0), dout]
        signed = [(Mistake.MASK_OF_OUT, array * (x > 0) * (mask > 0)) for array in of_out]
        yield from _matching(case, layer, signed, KEPT)
    yield from _whole_slices(case, layer)
    holding_x = [
        (Mistake.MASK_HOLDS_X, array) for array in (dout * x * mask, dout * x, dout * x * (mask > 0))
    ]
    yield from _matching(case, layer, holding_x, MASK_OF_ONES)
    returned = [(Mistake.OUTPUT_RETURNED, x * mask), (Mistake.INPUT_RETURNED, x)]
    yield from _matching(case, layer, returned, look)


def _matching(
    case: Case, layer: Masked, candidates: Iterable[tuple[Mistake, Array]], look: str
) -> Iterator[Finding]:
    """Yield a Finding for each candidate that is the gradient, except at ReLU's kink, where any slope is."""
    at_kink = layer.is_relu & (layer.x == 0)
    yield from matching(case, ((m, np.where(at_kink, case.actual, array)) for m, array in candidates), look)


def _without_mask(case: Case, layer: Masked) -> Iterator[Finding]:
    """Find dout itself, and dout times what kept entries are multiplied by."""
    look = RELU_MASK if layer.is_relu else f"{DROPOUT} {IN_TRAINING}"
    if layer.stopped.any():
        candidates = [(Mistake.NO_MASK, layer.dout)]
        if not math.isclose(layer.kept, 1, rel_tol=FACTOR):
            candidates.append((Mistake.MASK_NOT_APPLIED, layer.kept * layer.dout))
        yield from _matching(case, layer, candidates, look)
    if not layer.is_relu:
        return
    negative = layer.x < 0
    slope = float(np.median((case.actual / layer.dout)[negative]))
    leaky = np.where(negative, slope * layer.dout, layer.dout * layer.mask)
    if not math.isclose(slope, 1, rel_tol=FACTOR) and slope:
        for finding in _matching(case, layer, [(Mistake.LEAKY, leaky)], RELU):
            yield Finding(finding.mistake, f"the slope there is {slope:.6g}", finding.look)


def _wrong_forward(case: Case, layer: Masked) -> Iterator[Finding]:
    """Find a dropout whose forward pass, and not its gradient, is wrong, as its settings show."""
    p, mode = case.number("p"), case.settings.get("mode")
    mistake = _mistake_in_forward(layer, p, mode)
    if not mistake or layer.is_relu:
        return
    if mode == "test":
        is_right, look = case.is_explained_by(layer.dout), IN_TEST
    elif layer.drops_nothing:
        is_right, look = _is_masked(case, layer), DROPOUT
    else:
        is_right, look = bool(p) and case.is_explained_by(layer.dout * (layer.mask > 0) / (p or 1)), SCALE
    if is_right:
        evidence = "the gradient is that of a right forward pass"
        yield Finding(Mistake.FORWARD_WRONG, evidence, look, about=mistake)


def _mistake_in_forward(layer: Masked, p: float | None, mode: object) -> str:
    """Return what is wrong with a dropout's output, "" if it is right for all that is known."""
    if mode == "test":
        if layer.stopped.any():
            return "drops entries in test mode"
        return "" if layer.drops_nothing else "scales its input in test mode"
    if p is None or not 0 < p < 1:
        return ""
    if layer.drops_nothing:
        return "drops nothing in training mode" if mode == "train" else ""
    if math.isclose(layer.kept * p, 1, rel_tol=FACTOR) or not layer.stopped.any():
        return ""
    return (
        "does not divide by p" if math.isclose(layer.kept, 1, rel_tol=FACTOR) else "does not scale by 1 / p"
    )


def _of_test_mode(case: Case, layer: Masked) -> Iterator[Finding]:
    """Find a mask, or a factor of dropout, in the gradient of a layer that returns its input."""
    if _is_masked(case, layer):
        stopped = int((case.actual == 0).sum())
        evidence = f"out is x, but {stopped} of {case.actual.size} entries of the gradient are 0"
        yield Finding(Mistake.MASK_WITHOUT_FORWARD, evidence, IN_TEST)
    p = case.number("p")
    if p:
        scaled = [(Mistake.SCALED_WITHOUT_FORWARD, factor * layer.dout) for factor in (p, 1 / p)]
        yield from _matching(case, layer, scaled, IN_TEST)


def _is_masked(case: Case, layer: Masked) -> bool:
    """Return whether a gradient is dout times a mask, but not a mask taken from dout."""
    ratio = case.actual / layer.dout
    passed = _passes(ratio)
    if passed.all() or not passed.any() or np.array_equal(passed, layer.dout > 0):
        return False
    factor = float(np.median(ratio[passed]))
    return factor > 0 and case.is_explained_by(factor * layer.dout * passed)


def _wrong_where_negative(case: Case, negative: Array) -> Iterator[Finding]:
    """Find a gradient that is wrong where the input is negative, and nowhere else."""
    wrong = case.wrong
    if wrong.any() and not (wrong & ~negative).any() and wrong[negative].mean() > MOSTLY:
        evidence = f"{wrong.sum()} of {negative.sum()} such entries are wrong, and no others"
        yield Finding(Mistake.WRONG_WHERE_NEGATIVE, evidence, RELU)


def _inverted(case: Case, layer: Masked, look: str) -> Iterator[Finding]:
    """Find dout, times some number, in the entries that the mask should stop, and only there."""
    stopped = layer.stopped
    if not stopped.any():
        return
    factor = float(np.median((case.actual / layer.dout)[stopped]))
    if factor > 0:
        yield from _matching(case, layer, [(Mistake.MASK_INVERTED, factor * layer.dout * stopped)], look)


def _whole_slices(case: Case, layer: Masked) -> Iterator[Finding]:
    """Find a mask that stops, or lets pass, every row or column with an entry that it should stop or pass."""
    passes = layer.mask > 0
    for axis in range(passes.ndim) if passes.ndim > 1 else ():
        others = tuple(other for other in range(passes.ndim) if other != axis)
        name = ("rows", "columns")[axis] if passes.ndim == 2 else f"slices along axis {axis}"
        look = ENTRIES if layer.is_relu else f"{DROPOUT} {MASK_OF_ONES}"
        for whole in (passes.all(axis=others, keepdims=True), passes.any(axis=others, keepdims=True)):
            if whole.all() or not whole.any():
                continue
            for finding in _matching(
                case, layer, [(Mistake.WHOLE_SLICES, layer.kept * layer.dout * whole)], look
            ):
                yield replace(finding, about=name)


def _of_another_mask(case: Case, layer: Masked) -> Iterator[Finding]:
    """Find a mask that stops entries which it should let pass, and lets pass others which it should stop."""
    passed, stopped = _passes(case.actual / layer.dout), layer.stopped
    wrongly_stopped, wrongly_passed = int((~passed & ~stopped).sum()), int((passed & stopped).sum())
    if not wrongly_stopped or not wrongly_passed or not _is_masked(case, layer):
        return
    evidence = f"it stops {wrongly_stopped} entries that should pass, and lets {wrongly_passed} others pass"
    yield Finding(Mistake.ANOTHER_MASK, evidence, RELU if layer.is_relu else CACHE)
