"""Gradients with a known mistake in them, to compare a learner's gradient with."""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np

from cs231n.gradcheck.diagnosis.causes import Array, Case, Finding
from cs231n.gradcheck.diagnosis.mistakes import Mistake
from cs231n.gradcheck.tolerances import MOSTLY, SAME

MATCHES = "every entry matches the formula with this mistake"
ALSO = "The numbers fit this mistake as well."


class Candidate(NamedTuple):
    """A gradient with a mistake, and what a `Finding` says about it."""

    mistake: Mistake
    gradient: Array
    look: str
    about: str = ""
    evidence: str = MATCHES


def fitting(case: Case, candidates: Iterable[Candidate]) -> list[Finding]:
    """Return a Finding for each candidate that is the case's gradient; none repeats another's advice."""
    findings: dict[Finding, None] = {}
    for mistake, gradient, look, about, evidence in candidates:
        if case.is_explained_by(_as_judged(case, gradient)):
            is_said = any(look == finding.look for finding in findings)
            findings.setdefault(Finding(mistake, evidence, ALSO if is_said else look, about))
    return list(findings)


def _as_judged(case: Case, gradient: Array) -> Array:
    """Return a candidate with entries that are judged right replaced, as they are in a `Case`.

    A mistake that changes little, such as another eps, leaves some entries within the tolerance, and some
    that only the curvature of the function explains. The latter count if most entries are wrong.
    """
    if gradient.shape != case.expected.shape:
        return gradient
    size = np.abs(gradient) + np.abs(case.expected)
    difference, wrong = np.abs(gradient - case.expected), case.wrong
    is_right = difference <= case.tol * np.maximum(size, case.floor)
    if wrong.mean() > MOSTLY:
        is_right |= difference <= SAME * np.abs(case.expected).max()
    return np.where(is_right & ~wrong, case.actual, gradient)


def first_that_fit(case: Case, groups: Iterable[Iterable[Candidate]]) -> Iterator[Finding]:
    """Yield the findings of the first group with any: where numbers cannot tell, it holds the likeliest."""
    yield from next(filter(None, (fitting(case, group) for group in groups)), [])
