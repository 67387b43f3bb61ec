"""Gradients that are off by a constant factor, named after the sizes and settings that give it."""

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from cs231n.gradcheck.diagnosis.causes import Case, Finding
from cs231n.gradcheck.diagnosis.elementwise import keep_probability
from cs231n.gradcheck.diagnosis.mistakes import Mistake
from cs231n.gradcheck.tolerances import FACTOR, PENALTY

MEAN = "A mean over examples puts the factor 1/N into the gradient once; a sum over examples does not."
PIXELS = "Is there a mean instead of a sum, or a sum instead of a mean?"
SQUARE = "The derivative of w^2 is 2 w; that of w^2 / 2 is w."
KEEP = "Inverted dropout divides kept units by p, the probability to keep one: once forward, once backward."


class NamedFactor(NamedTuple):
    """A number that a gradient may be off by: the mistake, what it concerns, the number, where to look."""

    mistake: Mistake
    about: str
    value: float
    look: str


def find_factors(case: Case) -> Iterator[Finding]:
    """Find a constant factor; with an L2 penalty, also a factor of everything except the penalty's term."""
    findings = list(_multiplied(case))
    if not findings and _contains_penalty(case):
        penalty = case.reg * case.inputs[case.name]
        rest = replace(case, actual=case.actual - penalty, expected=case.expected - penalty, reg=0.0)
        findings = [replace(finding, beside_penalty=True) for finding in _multiplied(rest)]
    yield from findings


def _contains_penalty(case: Case) -> bool:
    """Return whether the right gradient contains reg * W once, for all that is known."""
    param = case.inputs.get(case.name)
    if not case.reg or not case.is_of_weights or param is None or param.shape != case.actual.shape:
        return False
    return math.isclose(case.penalty.get(case.name, 1.0), 1, rel_tol=PENALTY)


def _multiplied(case: Case) -> Iterator[Finding]:
    factor = _factor(case)
    if not factor or np.count_nonzero(case.expected) < 2:
        return
    if not case.is_explained_by(factor * case.expected):
        return
    evidence = f"every entry is {factor:.6g} times what it should be"
    if math.isclose(factor, -1, rel_tol=FACTOR):
        yield Finding(Mistake.SIGN, evidence, "Look for a minus.")
        return
    named = list(_named(case, factor, evidence))
    look = "Look for a missing or an extra factor."
    yield from named or [Finding(Mistake.OFF_BY_FACTOR, evidence, look)]


def _factor(case: Case) -> float:
    """Return the factor that fits best, by least squares."""
    norm = float(np.vdot(case.expected, case.expected))
    return float(np.vdot(case.expected, case.actual)) / norm if norm else 0.0


def _named(case: Case, factor: float, evidence: str) -> Iterator[Finding]:
    """Find the names of a factor, with either sign; several sizes that are equal share one finding."""
    fitting = [
        named for named in _named_factors(case) if math.isclose(abs(factor), named.value, rel_tol=FACTOR)
    ]
    for mistake in dict.fromkeys(named.mistake for named in fitting):
        same_mistake = [named for named in fitting if named.mistake is mistake]
        names = [named.about for named in same_mistake]
        if len(names) > 1 and "2" in names:  # a size that happens to be 2 is the likelier one
            names.remove("2")
        yield Finding(mistake, evidence, same_mistake[0].look, " or ".join(names), negated=factor < 0)


def _named_factors(case: Case) -> Iterator[NamedFactor]:
    yield from _factors_of_dropout(case)
    N, C = _size_of_scores(case)
    if C > 1:
        yield NamedFactor(Mistake.DIVIDED_BY_OTHER, "C, not by N", N / C, MEAN)
    for size, value in _sizes(case).items():
        look = MEAN if size == "N" else PIXELS
        yield NamedFactor(Mistake.TOO_LARGE, size, value, look)
        yield NamedFactor(Mistake.TOO_SMALL, size, 1 / value, look)
    yield NamedFactor(Mistake.TOO_LARGE, "2", 2, SQUARE)
    yield NamedFactor(Mistake.TOO_SMALL, "2", 0.5, SQUARE)


def _factors_of_dropout(case: Case) -> Iterator[NamedFactor]:
    p = keep_probability(case)
    if p is None:
        return
    yield NamedFactor(Mistake.NO_DIVISION_BY_P, "", p, KEEP)
    yield NamedFactor(Mistake.DIVIDED_BY_P_TWICE, "", 1 / p, KEEP)
    if not math.isclose(p, 0.5):
        yield NamedFactor(Mistake.ONE_MINUS_P, "", p / (1 - p), KEEP)
    yield NamedFactor(Mistake.MULTIPLIED_BY_P, "", p * p, KEEP)


def _sizes(case: Case) -> dict[str, int]:
    """Return {name: number} of the sizes of x and out, and of their products, that are above one."""
    sizes: dict[str, int] = {}
    shape = () if case.x is None else np.shape(case.x)
    if shape:
        sizes["N"] = shape[0]
        flat = "C" if _size_of_scores(case)[1] else "D"  # scores have classes, other inputs have features
        sizes |= _sizes_of(shape, flat, image=("C", "H", "W"))
    out_shape = () if case.out is None else np.shape(case.out)
    if "w" in case.inputs or out_shape != shape:
        sizes |= _sizes_of(out_shape, flat="M", image=("F", "H'", "W'"))
    return {name: value for name, value in sizes.items() if value > 1}


def _size_of_scores(case: Case) -> tuple[int, int]:
    """Return (N, C) of the scores that a loss is computed from, (0, 0) if it is not known to be a loss."""
    x, out = case.x, case.out
    if (
        len(case.inputs) != 1
        or x is None
        or out is None
        or np.ndim(x) != 2
        or np.size(out) != 1
        or not x.size
    ):
        return 0, 0
    N, C = np.shape(x)
    return N, C


def _sizes_of(shape: tuple[int, ...], flat: str, image: tuple[str, str, str]) -> dict[str, int]:
    """Return the named sizes of an array (N, flat) or (N, *image)."""
    if len(shape) == 2:
        return {flat: shape[1]}
    if len(shape) != 4:
        return {}
    depth, height, width = image
    pixels = shape[2] * shape[3]
    return {depth: shape[1], height + width: pixels, "N" + height + width: shape[0] * pixels}
