"""Find out what we need to know about a network before comparing gradients: its behavior and its penalty."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from cs231n.gradcheck.conduct import CHANGED, COPY, SEED
from cs231n.gradcheck.diagnosis.causes import Cause, Kind, Network
from cs231n.gradcheck.report import Report
from cs231n.gradcheck.tolerances import MEASURABLE
from cs231n.gradcheck.values import equal, is_numbers


def gradients_of(model: Any, X: Any, y: Any, report: Report) -> dict[str, Any] | None:
    """Return the gradients of `model.loss(X, y)`; None, with a cause in the report, if they are unusable."""
    before = {name: np.array(param) for name, param in model.params.items()}
    given = np.array(X)
    result = model.loss(X, y)
    report.causes += [*_unusable(result), *_unusable_params(model)]
    if report.causes:
        return None
    report.causes += _modified(model, before, given, X)
    if not report.causes and not equal(result[0], model.loss(X, y)[0]):
        evidence = "calling it twice with the same minibatch gave different losses"
        title = "the loss changes from call to call"
        report.causes.append(Cause(title, evidence, SEED, kind=Kind.VARIES))
    return None if report.causes else dict(result[1])


def _unusable(result: Any) -> Iterator[Cause]:
    """Yield a cause unless a loss returned a finite number and a dictionary."""
    is_pair = issubclass(type(result), tuple | list) and len(result) == 2
    if not is_pair or not issubclass(type(result[1]), dict):
        look = "With labels, return the loss and a dictionary of gradients."
        evidence = f"it returned a {type(result).__name__}"
        yield Cause("loss does not return (loss, grads)", evidence, look, kind=Kind.OUTPUT)
    elif not is_numbers(result[0]) or np.shape(result[0]) != () or not np.isfinite(float(result[0])):
        evidence = f"it is a {type(result[0]).__name__}, not a finite number"
        look = "Look at the first value that loss(X, y) returns."
        yield Cause("the loss is not a number", evidence, look, kind=Kind.OUTPUT)


def _unusable_params(model: Any) -> Iterator[Cause]:
    """Yield a cause for every parameter that is not an array of floats."""
    for name, param in model.params.items():
        if not is_numbers(param) or getattr(param, "dtype", np.dtype(int)).kind != "f":
            title, evidence = f"params[{name!r}] is not an array of floats", f"it is a {type(param).__name__}"
            yield Cause(title, evidence, "Check how it is initialized.", kind=Kind.PARAMETER)


def _modified(model: Any, before: dict[str, Any], given: Any, X: Any) -> Iterator[Cause]:
    """Yield a cause for every parameter, and for the minibatch, that the loss changed."""
    changed = [name for name, param in before.items() if not equal(param, model.params[name])]
    changed += [] if equal(given, X) else ["X"]
    for name in changed:
        yield Cause(f"the loss modifies {name}", CHANGED, COPY, kind=Kind.MODIFIES)


def knowledge_of(
    model: Any, X: Any, y: Any, grads: dict[str, Any], loss: Callable[[], Any]
) -> dict[str, Any]:
    """Return the fields of a `Case` that hold for every gradient of a network.

    - grads: {name: what `model.loss(X, y)` returned}; loss: computes the loss again
    """
    dropout = getattr(model, "dropout_param", None)
    given = dropout if isinstance(dropout, dict) else {}
    reg = getattr(model, "reg", 0.0)
    return {
        "inputs": {"X": np.asarray(X), **model.params},
        "reg": float(reg) if is_numbers(reg) else 0.0,
        "penalty": penalties(model, loss),
        "settings": {name: given[name] for name in ("p", "seed") if is_numbers(given.get(name))},
        "network": Network(np.asarray(y), _without_penalty(model, loss), grads),
    }


def penalties(model: Any, loss: Callable[[], Any]) -> dict[str, float]:
    """Return {name: how many times the loss contains 0.5 * reg * sum(param ** 2)}, where it is measurable.

    The loss minus the loss for reg = 0 is the penalty of all parameters. Halving one of them lowers it by 3/4
    of the penalty of this one.
    """
    reg = getattr(model, "reg", 0.0)
    if not is_numbers(reg) or not reg:
        return {}
    due = {name: 0.5 * float(reg) * float(np.vdot(param, param)) for name, param in model.params.items()}
    measurable = [name for name in due if due[name] > MEASURABLE * abs(float(loss()))]
    return {name: _penalty(model, loss, name) / due[name] for name in measurable}


def _penalty(model: Any, loss: Callable[[], Any], name: str) -> float:
    """Return the part of the loss that reg and one parameter make together."""
    param = model.params[name]
    value = param.copy()
    try:
        whole = _penalty_of_all(model, loss)
        param[...] = value / 2
        return (whole - _penalty_of_all(model, loss)) * 4 / 3
    finally:
        param[...] = value


def _penalty_of_all(model: Any, loss: Callable[[], Any]) -> float:
    """Return the part of the loss that vanishes with reg."""
    return float(loss()) - _without_penalty(model, loss)


def _without_penalty(model: Any, loss: Callable[[], Any]) -> float:
    """Return the loss with reg = 0."""
    reg = getattr(model, "reg", 0.0)
    if not is_numbers(reg) or not reg:
        return float(loss())
    try:
        model.reg = 0.0
        return float(loss())
    finally:
        model.reg = reg
