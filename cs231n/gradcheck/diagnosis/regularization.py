"""Mistakes in the L2 penalty 0.5 * reg * sum(W * W): the gradient differs by a multiple of reg * W.

If the loss contains the penalty of a parameter c times, the numeric gradient contains reg * W c times, and
the difference tells how many times the learner's gradient contains it. Both should contain it once for
weights and never for anything else; the one that does not is reported.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

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
FORM = "The penalty of a weight is 0.5 * reg * sum(W * W), and its gradient reg * W."


class Form(NamedTuple):
    """Another penalty of a weight: for reg = 1, what it is and its gradient, both functions of W."""

    value: Callable[[Array], float]
    gradient: Callable[[Array], Array]


FORMS = {  # by how to write it, for W
    "sum({})**2": Form(lambda w: float(w.sum()) ** 2, lambda w: np.full_like(w, 2 * w.sum())),
    "sum(abs({}))": Form(lambda w: float(np.abs(w).sum()), np.sign),
    "sum({})": Form(lambda w: float(w.sum()), np.ones_like),
    "mean({0} * {0})": Form(lambda w: float((w * w).mean()), lambda w: 2 * w / w.size),
    "sqrt(sum({0} * {0}))": Form(lambda w: float(np.linalg.norm(w)), lambda w: w / np.linalg.norm(w)),
    "mean(abs({}))": Form(lambda w: float(np.abs(w).mean()), lambda w: np.sign(w) / w.size),
    "sum({}**3)": Form(lambda w: float((w**3).sum()), lambda w: 3 * w * w),
    "sum(abs({0}) * {0} * {0})": Form(lambda w: float((np.abs(w) ** 3).sum()), lambda w: 3 * np.abs(w) * w),
}
TERMS: dict[str, Callable[[Array], Array]] = {  # in place of W in the gradient's term reg * W
    "{0} * {0}": lambda w: w * w,
    "sum({0} * {0})": lambda w: np.full_like(w, (w * w).sum()),
    "sign({})": np.sign,
    "abs({})": np.abs,
    "mean({})": lambda w: np.full_like(w, w.mean()),
    "1": np.ones_like,
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
    forms = list(_other_forms(case, param, difference))
    if forms:
        yield from forms
        return
    extra = float(np.vdot(difference, param)) / (case.reg * float(np.vdot(param, param)))
    if _explains(extra * case.reg * param, difference):
        yield from penalty_findings(case, extra)
    else:
        yield from _overwritten(case, param)
        yield from _of_another(case, param)


def _other_forms(case: Case, param: Array, difference: Array) -> Iterator[Finding]:
    """Find a penalty in the loss, or its term in the gradient, of another form; the loss tells which."""
    in_loss = case.penalty.get(case.name)
    if not case.is_of_weights or in_loss is None:
        return
    for times, text in ((0.5, "0.5 * "), (1.0, "")):
        for words, form in FORMS.items():
            measured = (
                times * (form.value(param) - form.value(param / 2)) * 8 / 3 / float(np.vdot(param, param))
            )
            gradient = times * form.gradient(param)
            if _near(in_loss, measured) and _explains(case.reg * (param - gradient), difference):
                evidence = f"it contains {text}reg * {words.format(case.name)}"
                yield Finding(
                    Mistake.LOSS_PENALTY_OF_ANOTHER_FORM, evidence, f"{FORM} The gradient is right."
                )
                return
        for words, term in TERMS.items():
            if _near(in_loss, 1) and _explains(case.reg * (times * term(param) - param), difference):
                evidence = f"it contains {text}reg * {words.format(case.name)}"
                yield Finding(Mistake.PENALTY_OF_ANOTHER_FORM, evidence, f"{FORM} The loss is right.")
                return


def _overwritten(case: Case, param: Array) -> Iterator[Finding]:
    """Find a gradient that is reg * W, or twice that, and nothing else."""
    for text, times in (("", 1), ("2 * ", 2)):
        if case.is_explained_by(times * case.reg * param):
            evidence = f"every entry is {text}reg * {case.name}"
            yield Finding(
                Mistake.PENALTY_ONLY,
                evidence,
                "Add it to the gradient of the data loss: with +=, not with =.",
            )


def _of_another(case: Case, param: Array) -> Iterator[Finding]:
    """Find a gradient with reg times another parameter in place of reg * W."""
    without = case.expected - expected_count(case) * case.reg * param
    for name, other in list(case.inputs.items())[1:]:  # the first is X
        if (
            name != case.name
            and other.shape == param.shape
            and case.is_explained_by(without + case.reg * other)
        ):
            evidence = f"the gradient contains reg * {name} instead of reg * {case.name}"
            yield Finding(Mistake.PENALTY_OF_ANOTHER, evidence, FORMULA, about=name)


def expected_count(case: Case) -> float:
    """Return how many times the gradient should contain reg * param, given the loss."""
    in_loss = case.penalty.get(case.name, _due(case.name))
    return float(next((count for count in (0, 1, 2, 0.5, -1) if _near(in_loss, count)), in_loss))


def penalty_findings(case: Case, extra: float) -> Iterator[Finding]:
    """Find whether the gradient or the loss is wrong, if the gradient has `extra` times reg * W too much."""
    due, in_loss = _due(case.name), expected_count(case)
    in_gradient = in_loss + extra
    term = f"reg * {case.name}"
    if not _near(in_gradient, due):
        of_loss = "The loss is right." if _near(in_loss, due) else "The loss is wrong too."
        evidence = f"the gradient contains {_text(in_gradient)} * {term}, expected {_text(due)} * {term}"
        for mistake in _mistakes_in_gradient(case, in_gradient):
            yield _finding(case, mistake, evidence, f"{FORMULA} {of_loss}")
    if not _near(in_loss, due):
        yield _in_loss(case, in_gradient, in_loss)


def _in_loss(case: Case, in_gradient: float, in_loss: float) -> Finding:
    """Return the finding that the penalty of a parameter in the loss is wrong."""
    due = _due(case.name)
    term = f"0.5 * reg * sum({case.name} * {case.name})"
    evidence = f"the loss contains {_text(in_loss)} * {term}, expected {_text(due)} * {term}"
    of_gradient = "The gradient is right." if _near(in_gradient, due) else "The gradient is wrong too."
    look = f"{FORMULA} {of_gradient}"
    uneven = uneven_penalty(case.penalty)
    if uneven:
        return Finding(Mistake.LOSS_PENALTY_UNEVEN, evidence, look, about=uneven)
    return _finding(case, _mistake_in_loss(case, in_loss), evidence, look)


def uneven_penalty(penalty: Mapping[str, float]) -> str:
    """Return which weights a loss penalizes how often if one penalty takes the place of another; else "".

    >>> uneven_penalty({"W1": 2.0, "b1": 0.0, "W2": 1.0, "W3": 0.0})
    'W1 twice and W3 not at all'
    """
    counts = {name: count for name, count in penalty.items() if name.startswith("W")}
    more = [f"{name} {TIMES[n]}" for name, count in counts.items() for n in (2, 3) if _near(count, n)]
    never = [name for name, count in counts.items() if _near(count, 0)]
    return f"{', '.join(more)} and {', '.join(never)} not at all" if more and never else ""


TIMES = {2: "twice", 3: "three times"}


def _due(name: str) -> float:
    """Return how many times a loss should penalize a parameter: weights once, others never."""
    return 1.0 if name.startswith("W") else 0.0


def _text(count: float) -> str:
    return f"{round(count, 3) + 0.0:.4g}"  # + 0.0 turns -0.0 into 0.0


def _finding(case: Case, mistake: Mistake, evidence: str, look: str) -> Finding:
    kinds = (kind for start, kind in KINDS.items() if case.name.startswith(start))
    return Finding(mistake, evidence, look, about=next(kinds, case.name))


def _mistakes_in_gradient(case: Case, count: float) -> Iterator[Mistake]:
    """Yield what a wrong number of penalty terms means: with reg = 0.5, W is also 2 * reg * W."""
    if not case.is_of_weights:
        yield Mistake.PENALTY_ON_OTHERS
        return
    lacks_reg = not _near(case.reg, 1) and _near(count * case.reg, 1)
    by_count = _by_count(IN_GRADIENT, count, Mistake.PENALTY_SCALED)
    if by_count is not Mistake.PENALTY_SCALED or not lacks_reg:
        yield by_count
    if lacks_reg:
        yield Mistake.PENALTY_WITHOUT_REG


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
