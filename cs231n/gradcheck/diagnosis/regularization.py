"""Mistakes in the L2 penalty 0.5 * reg * sum(W * W), whose gradient is reg * W: a multiple of W is left.

If the loss holds the penalty of a parameter `times` times, the numeric gradient holds reg * W as often; the
difference tells how often the gradient that was computed does. Both should hold it once for weights and never
for anything else, and it is the one that does not which is named.
"""

import math

import numpy as np

from cs231n.gradcheck.diagnosis.causes import Cause

FORMULA = (
    "The penalty 0.5 * reg * sum(W * W) adds reg * W to the gradient of every weight, and of nothing else."
)
TERM = "the regularization term"
AMOUNTS = {  # how often reg * W is there, where once is right
    0: "is missing",
    2: "is twice what it should be",
    0.5: "is half of what it should be",
    -1: "has the wrong sign",
}


def regularization_causes(case):
    """Causes that explain the difference by the penalty, where there is one."""
    param = case.inputs.get(case.name)
    if not case.reg or param is None or param.shape != case.actual.shape or np.count_nonzero(param) < 2:
        return
    difference = case.actual - case.expected
    if _is(difference, case.reg * (param.sum() - param)):
        yield Cause(f"{TERM} is a sum", "it is reg * sum(W) in place of reg * W", FORMULA)
        return
    times = np.vdot(difference, param) / (case.reg * np.vdot(param, param))
    if not _is(difference, times * case.reg * param):
        return
    due = 1 if case.name.startswith("W") else 0
    in_loss = case.penalty.get(case.name, float(due))
    in_gradient = in_loss + times
    evidence = f"the gradient holds reg * {case.name} {in_gradient:.4g} times, the loss's {in_loss:.4g} times"
    if not _near(in_gradient, due):
        yield Cause(_gradient_title(case, in_gradient), evidence, FORMULA)
    if not _near(in_loss, due):
        yield Cause(_loss_title(case, in_loss), evidence, FORMULA)


def _gradient_title(case, amount):
    if not case.name.startswith("W"):
        return f"the regularization is applied to {_kind(case.name)}"
    if not _near(case.reg, 1) and _near(amount * case.reg, 1):
        return f"{TERM} lacks reg"
    return f"{TERM} {_words(amount)}"


def _loss_title(case, amount):
    if not case.name.startswith("W"):
        return f"the loss penalizes {_kind(case.name)}"
    return "the loss lacks its penalty" if _near(amount, 0) else f"the penalty in the loss {_words(amount)}"


def _words(amount):
    return next((text for number, text in AMOUNTS.items() if _near(amount, number)), "has the wrong strength")


def _is(difference, explanation):
    """Whether this is all of the difference, which is a small part of a gradient and less exact than it."""
    return np.abs(difference - explanation).max() <= 1e-3 * np.abs(difference).max()


def _near(a, b):
    return math.isclose(a, b, rel_tol=1e-3, abs_tol=1e-3)


def _kind(name):
    kinds = {"gamma": "gammas", "beta": "betas", "b": "biases"}
    return next((kind for start, kind in kinds.items() if name.startswith(start)), name)
