"""Mistakes that put the right layers of a network together in a wrong way, seen in all gradients at once.

A network that we know is computed again, see `recognition`, and every wrong backward pass of `plans` gives
the gradients of all parameters. The one that gives the learner's gradients, right ones included, has the
mistake. The L2 penalty adds a multiple of reg * W to each of them, and may be wrong as well.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from cs231n.gradcheck.diagnosis.causes import Array, Case, Finding
from cs231n.gradcheck.diagnosis.chain import Grads
from cs231n.gradcheck.diagnosis.conclusion import conclusion
from cs231n.gradcheck.diagnosis.plans import Plan, plans
from cs231n.gradcheck.diagnosis.recognition import recognize
from cs231n.gradcheck.diagnosis.regularization import expected_count, penalty_findings
from cs231n.gradcheck.tolerances import NETWORK_FLOOR, SAME_FORMULA
from cs231n.gradcheck.values import float64_copy, is_numbers

__all__ = ["conclusion", "find_networks"]

COUNTS = (0.0, 1.0, 2.0, 0.5, -1.0)  # how many times a gradient may contain reg * W


@dataclass(frozen=True)
class Match:
    """A plan that gives all gradients of a network.

    - affected: the names of the parameters whose gradients it makes wrong
    - counts: {name: how many times the gradient contains reg * param}
    """

    plan: Plan
    affected: frozenset[str]
    counts: dict[str, float]


def find_networks(case: Case) -> Iterator[Finding]:
    """Find a mistake in the structure of a network's backward pass, and one in the penalty besides."""
    match = _match(case)
    if match is None or case.name not in match.counts:
        return
    extra = match.counts[case.name] - expected_count(case)
    if case.name in match.affected:
        yield from (replace(finding, beside_penalty=extra != 0) for finding in match.plan.findings)
    if extra:
        yield from penalty_findings(case, extra)


def _match(case: Case) -> Match | None:
    """Return the first plan that gives all gradients of the case's network, which is looked for once."""
    if case.network is None:
        return None
    memo = case.network.memo
    if "match" not in memo:
        memo["match"] = _first_match(case)
    found: Match | None = memo["match"]
    return found


def _first_match(case: Case) -> Match | None:
    net = recognize(case)
    if net is None:
        return None
    right, actual = net.right(), _comparable(case)
    scale = NETWORK_FLOOR * max(float(np.abs(grad).max(initial=0)) for grad in right.values())
    for plan in plans(net):
        try:
            wrong = plan.gradients()
        except ValueError:  # shapes that do not fit: the learner's code would have raised an exception
            continue
        counts = _counts(case, actual, wrong, scale)
        if counts is not None:
            affected = {name for name in actual if not _same(wrong[name], right[name], scale)}
            if affected:
                return Match(plan, frozenset(affected), counts)
    return None


def _comparable(case: Case) -> Grads:
    """Return the gradients that the learner's code returned, except those of which nothing can be said."""
    grads = case.network.grads if case.network else {}
    found = {name: float64_copy(grads[name]) for name in case.numeric if is_numbers(grads.get(name))}
    return {
        name: grad
        for name, grad in found.items()
        if grad.shape == case.numeric[name].shape and np.isfinite(grad).all()
    }


def _counts(case: Case, actual: Grads, wrong: Grads, scale: float) -> dict[str, float] | None:
    """Return how many times each gradient contains reg * param besides a wrong one; None if anything else."""
    counts = {}
    for name, grad in actual.items():
        if name not in wrong or wrong[name].shape != grad.shape:
            return None
        count = _count(replace(case, name=name), grad, wrong[name], scale)
        if count is None:
            return None
        counts[name] = count
    return counts


def _count(case: Case, actual: Array, wrong: Array, scale: float) -> float | None:
    """Return how many times reg * param has to be added to the wrong gradient of a parameter, or None."""
    expected = expected_count(case)
    term = case.reg * np.asarray(case.inputs[case.name], dtype=np.float64)
    for count in (expected, *COUNTS) if term.any() else (expected,):
        if _same(actual, wrong + count * term, scale):
            return count
    return None


def _same(a: Array, b: Array, scale: float) -> bool:
    """Return whether two gradients, neither of them numeric, are the same."""
    return bool(np.abs(a - b).max(initial=0) <= SAME_FORMULA * max(float(np.abs(b).max(initial=0)), scale))
