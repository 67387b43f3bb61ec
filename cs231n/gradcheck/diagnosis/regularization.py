"""Mistakes in the L2 penalty 0.5 * reg * sum(W * W): the gradient differs by a multiple of reg * W.

If the loss contains the penalty of a parameter c times, the numeric gradient contains reg * W c times, and
the difference tells how many times the learner's gradient contains it. Both should contain it once for
weights and never for anything else; the one that does not is reported.
"""

import math
from collections.abc import Iterator

import numpy as np

from cs231n.gradcheck.diagnosis.causes import Array, Case, Finding
from cs231n.gradcheck.diagnosis.mistakes import Mistake
from cs231n.gradcheck.tolerances import PENALTY

FORMULA = (
    "The penalty 0.5 * reg * sum(W * W) adds reg * W to the gradient of every weight, and of nothing else."
)
IN_GRADIENT = {  # by how many times reg * W is in a weight's gradient, where once is right
    0: Mistake.PENALTY_MISSING,
    2: Mistake.PENALTY_TWICE,
    0.5: Mistake.PENALTY_HALF,
    -1: Mistake.PENALTY_NEGATIVE,
}
IN_LOSS = {  # the same for the penalty in the loss
    0: Mistake.LOSS_PENALTY_MISSING,
    2: Mistake.LOSS_PENALTY_TWICE,
    0.5: Mistake.LOSS_PENALTY_HALF,
    -1: Mistake.LOSS_PENALTY_NEGATIVE,
}
KINDS = {"gamma": "gammas", "beta": "betas", "b": "biases"}  # by how a parameter's name begins


def find_regularization(case: Case) -> Iterator[Finding]:
    """Find a penalty that explains the difference, if the model has one."""
    param = case.inputs.get(case.name)
    if not case.reg or param is None or param.shape != case.actual.shape or np.count_nonzero(param) < 2:
        return
    difference = case.actual - case.expected
    if _explains(case.reg * (param.sum() - param), difference):
        yield Finding(Mistake.PENALTY_SUMMED, "it is reg * sum(W) instead of reg * W", FORMULA)
        return
    extra = float(np.vdot(difference, param)) / (case.reg * float(np.vdot(param, param)))
    if _explains(extra * case.reg * param, difference):
        yield from _miscounted(case, extra)


def _miscounted(case: Case, extra: float) -> Iterator[Finding]:
    """Find whether the gradient or the loss is wrong, if the gradient has `extra` times reg * W too much."""
    due = 1.0 if case.is_of_weights else 0.0
    in_loss = case.penalty.get(case.name, due)
    in_gradient = in_loss + extra
    term = f"reg * {case.name}"
    evidence = f"the gradient contains {in_gradient:.4g} * {term}; the loss implies {in_loss:.4g} * {term}"
    if not _near(in_gradient, due):
        yield _finding(case, _mistake_in_gradient(case, in_gradient), evidence)
    if not _near(in_loss, due):
        yield _finding(case, _mistake_in_loss(case, in_loss), evidence)


def _finding(case: Case, mistake: Mistake, evidence: str) -> Finding:
    kinds = (kind for start, kind in KINDS.items() if case.name.startswith(start))
    return Finding(mistake, evidence, FORMULA, about=next(kinds, case.name))


def _mistake_in_gradient(case: Case, count: float) -> Mistake:
    if not case.is_of_weights:
        return Mistake.PENALTY_ON_OTHERS
    if not _near(case.reg, 1) and _near(count * case.reg, 1):
        return Mistake.PENALTY_WITHOUT_REG
    return _by_count(IN_GRADIENT, count, Mistake.PENALTY_SCALED)


def _mistake_in_loss(case: Case, count: float) -> Mistake:
    if not case.is_of_weights:
        return Mistake.LOSS_PENALTY_ON_OTHERS
    return _by_count(IN_LOSS, count, Mistake.LOSS_PENALTY_SCALED)


def _by_count(mistakes: dict[float, Mistake], count: float, otherwise: Mistake) -> Mistake:
    return next((mistake for number, mistake in mistakes.items() if _near(count, number)), otherwise)


def _explains(explanation: Array, difference: Array) -> bool:
    """Return whether this is the whole difference."""
    return bool(np.abs(difference - explanation).max() <= PENALTY * np.abs(difference).max())


def _near(a: float, b: float) -> bool:
    return math.isclose(a, b, rel_tol=PENALTY, abs_tol=PENALTY)
