"""Mistakes that put the right layers of a network together in a wrong way, seen in all gradients at once.

A network that we know is computed again, see `recognition`, and every wrong backward pass of `plans` gives
the gradients of all parameters. The one that gives the learner's gradients, right ones included, has the
mistake. The L2 penalty adds a multiple of reg * W to each of them, and may be wrong as well.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import chain

import numpy as np

from cs231n.gradcheck.diagnosis.causes import Array, Case, Finding, Observed
from cs231n.gradcheck.diagnosis.chain import Grads
from cs231n.gradcheck.diagnosis.conclusion import conclusion
from cs231n.gradcheck.diagnosis.network_layers import case_of_layer, plans_of_layers
from cs231n.gradcheck.diagnosis.plans import Plan, plans
from cs231n.gradcheck.diagnosis.recognition import Chain, recognize
from cs231n.gradcheck.diagnosis.regularization import expected_count, penalty_findings
from cs231n.gradcheck.tolerances import NETWORK_FLOOR, SAME_FORMULA
from cs231n.gradcheck.values import float64_copy, is_numbers

__all__ = ["case_of_its_layer", "conclusion", "find_networks", "gradients_of_network"]

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


def case_of_its_layer(case: Case) -> Case | None:
    """Return the case of a single layer that a gradient of a known network is, or None."""
    net = _known_network(case)
    return None if net is None else case_of_layer(case, net, expected_count(case))


def gradients_of_network(observed: Observed) -> Mapping[str, Array] | None:
    """Return the right gradients, with those of the loss's penalty, of all parameters of a known network."""
    net = _known_network(observed) if isinstance(observed, Case) else None
    if net is None or not isinstance(observed, Case):
        return None
    cases = {name: replace(observed, name=name) for name in net.right()}
    return {
        name: grad + expected_count(cases[name]) * _penalty_term(cases[name])
        for name, grad in net.right().items()
    }


def _known_network(case: Case) -> Chain | None:
    """Return the network of a case as a Chain, if we know it; it is looked for once."""
    if case.network is None:
        return None
    memo = case.network.memo
    if "chain" not in memo:
        memo["chain"] = recognize(case)
    found: Chain | None = memo["chain"]
    return found


def _match(case: Case) -> Match | None:
    """Return the first plan that gives all gradients of the case's network; it is looked for once."""
    if case.network is None:
        return None
    memo = case.network.memo
    if "match" not in memo:
        memo["match"] = _first_match(case)
    found: Match | None = memo["match"]
    return found


def _first_match(case: Case) -> Match | None:
    net = _known_network(case)
    if net is None:
        return None
    right, actual = net.right(), _comparable(case)
    scale = NETWORK_FLOOR * max(float(np.abs(grad).max(initial=0)) for grad in right.values())

    def fits(name: str, gradient: Array) -> bool:
        given = actual.get(name)
        return given is None or _count(replace(case, name=name), given, gradient, scale) is not None

    for plan in chain(plans(net), plans_of_layers(case, net, right, fits)):
        wrong = _gradients_of(plan)
        counts = _counts(case, actual, wrong, scale)
        if counts is not None:
            affected = {name for name in actual if not _same(wrong[name], right[name], scale)}
            if affected:
                return Match(plan, frozenset(affected), counts)
    return None


def _gradients_of(plan: Plan) -> Grads:
    """Return the gradients of a plan; {} if its shapes do not fit, where a learner's code raises an error."""
    try:
        return plan.gradients()
    except ValueError:
        return {}


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
    term = _penalty_term(case)
    for count in (expected, *COUNTS) if term.any() else (expected,):
        if _same(actual, wrong + count * term, scale):
            return count
    return None


def _penalty_term(case: Case) -> Array:
    """Return reg * param of a case's parameter."""
    return case.reg * np.asarray(case.inputs[case.name], dtype=np.float64)


def _same(a: Array, b: Array, scale: float) -> bool:
    """Return whether two gradients, neither of them numeric, are the same."""
    return bool(np.abs(a - b).max(initial=0) <= SAME_FORMULA * max(float(np.abs(b).max(initial=0)), scale))
