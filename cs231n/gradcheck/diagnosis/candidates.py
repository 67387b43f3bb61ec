"""Gradients with a known mistake in them, to compare a learner's gradient with."""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from cs231n.gradcheck.diagnosis.causes import Array, Case, Finding
from cs231n.gradcheck.diagnosis.mistakes import Mistake

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
        if case.is_explained_by(gradient):
            is_said = any(look == finding.look for finding in findings)
            findings.setdefault(Finding(mistake, evidence, ALSO if is_said else look, about))
    return list(findings)


def first_that_fit(case: Case, groups: Iterable[Iterable[Candidate]]) -> Iterator[Finding]:
    """Yield the findings of the first group with any: where numbers cannot tell, it holds the likeliest."""
    yield from next(filter(None, (fitting(case, group) for group in groups)), [])
