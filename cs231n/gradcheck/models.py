"""What is to be known of a network before its gradients are compared: how it behaves, what its penalty is."""

import numpy as np

from cs231n.gradcheck.diagnosis.causes import Cause
from cs231n.gradcheck.values import equal, is_numbers

MEASURABLE = 1e-9  # a penalty below this share of the loss is lost in its rounding


def gradients_of(model, X, y, report):
    """The gradients that `model.loss(X, y)` returns; None, and a cause in the report, if there are none."""
    before = {name: np.array(param) for name, param in model.params.items()}
    given = np.array(X)
    result = model.loss(X, y)
    report.causes += list(_returned(model, result))
    if report.causes:
        return None
    changed = [name for name, param in before.items() if not equal(param, model.params[name])]
    changed += [] if equal(given, X) else ["X"]
    for name in changed:
        look = "Write into a copy, or into a new array."
        report.causes.append(
            Cause(f"the loss modifies {name}", "it is not what it was before the call", look)
        )
    if not changed and not equal(result[0], model.loss(X, y)[0]):
        look = "Fix what it draws with a seed: no gradient can be checked otherwise."
        evidence = "twice the same minibatch gave two losses"
        report.causes.append(Cause("the loss is another one each time", evidence, look))
    return None if report.causes else result[1]


def _returned(model, result):
    """A cause if a loss does not return a number and a dictionary, or a parameter is no array of floats."""
    if (
        not issubclass(type(result), tuple | list)
        or len(result) != 2
        or not issubclass(type(result[1]), dict)
    ):
        look = "With labels, return the loss and a dictionary of gradients."
        evidence = f"it returned a {type(result).__name__}"
        yield Cause("loss does not return (loss, grads)", evidence, look)
    elif not is_numbers(result[0]) or np.shape(result[0]) != () or not np.isfinite(float(result[0])):
        evidence = f"it is a {type(result[0]).__name__}, not a finite number"
        yield Cause("the loss is not a number", evidence, "Look at what loss(X, y) returns first.")
    for name, param in model.params.items():
        if not is_numbers(param) or getattr(param, "dtype", np.dtype(int)).kind != "f":
            evidence = f"it is a {type(param).__name__}"
            yield Cause(f"params[{name!r}] is not an array of floats", evidence, "Look at how it begins.")


def knowledge_of(model, X, loss):
    """The fields of a `Case` that hold for every gradient of a network."""
    dropout = getattr(model, "dropout_param", None)
    keep = dropout.get("p") if isinstance(dropout, dict) else None
    reg = getattr(model, "reg", 0.0)
    return {
        "inputs": {"X": np.asarray(X), **model.params},
        "reg": float(reg) if is_numbers(reg) else 0.0,
        "penalty": penalties(model, loss),
        "settings": {"p": float(keep)} if is_numbers(keep) else {},
    }


def penalties(model, loss):
    """{name: how many times 0.5 * reg * sum(param ** 2) is in the loss}, of what can be measured.

    The loss less that for reg = 0 is the penalty of all parameters. With one of them halved it is less by 3/4
    of the penalty of this one.
    """
    reg = getattr(model, "reg", 0.0)
    if not is_numbers(reg) or not reg:
        return {}
    due = {name: 0.5 * float(reg) * float(np.vdot(param, param)) for name, param in model.params.items()}
    measurable = [name for name in due if due[name] > MEASURABLE * abs(float(loss()))]
    return {name: _penalty(model, loss, name) / due[name] for name in measurable}


def _penalty(model, loss, name):
    """The part of the loss that reg and one parameter make together."""
    param = model.params[name]
    value = param.copy()
    try:
        whole = _penalty_of_all(model, loss)
        param[...] = value / 2
        return (whole - _penalty_of_all(model, loss)) * 4 / 3
    finally:
        param[...] = value


def _penalty_of_all(model, loss):
    reg = model.reg
    try:
        with_penalty = float(loss())
        model.reg = 0.0
        return with_penalty - float(loss())
    finally:
        model.reg = reg
