"""Mistakes in the L2 penalty 0.5 * reg * sum(W * W), whose gradient is reg * W: a multiple of W is left."""

import numpy as np

from cs231n.diagnosis.causes import Cause, same

FORMULA = (
    "The penalty 0.5 * reg * sum(W * W) adds reg * W to the gradient of every weight, and of nothing else."
)
MULTIPLES = {  # by how many times reg * W the gradient is too large
    -1: "the regularization term is missing",
    1: "the regularization term is twice what it should be",
    -0.5: "the regularization term is half of what it should be",
    -2: "the regularization term has the wrong sign",
}


def regularization_causes(case):
    """Causes that explain the difference by the penalty, where there is one."""
    param = case.inputs.get(case.name)
    if not case.reg or param is None or param.shape != case.actual.shape or not param.any():
        return
    difference = case.actual - case.expected
    if same(difference, case.reg * (param.sum() - param)):
        yield Cause("the regularization term is a sum", "it is reg * sum(W) in place of reg * W", FORMULA)
        return
    times = np.vdot(difference, param) / (case.reg * np.vdot(param, param))
    # The difference is a small part of the gradient, and less exact than the gradient itself.
    if np.abs(difference - times * case.reg * param).max() > 1e-3 * np.abs(difference).max():
        return
    evidence = f"the gradient is too large by {times:.4g} * reg * {case.name}"
    if not case.name.startswith("W"):
        if np.isclose(times, 1, rtol=1e-2):
            yield Cause(f"the regularization is applied to {_kind(case.name)}", evidence, FORMULA)
        return
    for multiple, title in MULTIPLES.items():
        if np.isclose(times, multiple, rtol=1e-2):
            yield Cause(title, evidence, FORMULA)
            return
    yield Cause("the regularization term has the wrong strength", evidence, FORMULA)


def _kind(name):
    return {"g": "gammas", "b": "biases"}.get(name[:1], name) if not name.startswith("beta") else "betas"
