"""Find out what we need to know about a network before comparing gradients: its behavior and its penalty."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from typing import Any

import numpy as np

from cs231n.gradcheck.conduct import CHANGED, COPY, SEED, coarse, is_coarse
from cs231n.gradcheck.diagnosis.causes import Cause, Kind, Network
from cs231n.gradcheck.report import Report
from cs231n.gradcheck.tolerances import MEASURABLE, SMALL_WEIGHTS, SPREAD_BIASES
from cs231n.gradcheck.values import Array, equal, is_numbers

IN_FLOAT64 = "Build the model with dtype=np.float64, and check that one."


def copy_in_float64(model: Any, X: Any, y: Any, report: Report) -> tuple[Any, Any]:
    """Return a copy of a model, and its minibatch, in float64; (None, X), with a cause, if that fails.

    The check may then move what it likes, running averages too. A model whose loss does not follow the copy's
    parameters is checked itself, if it is in float64.
    """
    minibatch = X.astype(np.float64) if is_coarse(X) else X
    if any(not _is_float_array(param) for param in model.params.values()):
        return model, X  # `gradients_of` says so
    copy = _copy(model)
    if copy is not None and _follows_its_parameters(copy, minibatch, y):
        return copy, minibatch
    in_float32 = [name for name, param in model.params.items() if is_coarse(param)]
    if not in_float32:
        return model, X
    if copy is not None and not _repeats_its_loss(copy, minibatch, y):
        return copy, minibatch  # `gradients_of` says so
    evidence = (
        f"{', '.join(in_float32)}: numeric gradients need float64, and a copy in float64 was not possible"
    )
    report.causes.append(Cause("its parameters are in float32", evidence, IN_FLOAT64, kind=Kind.PRECISION))
    return None, X


def _is_float_array(param: Any) -> bool:
    return issubclass(type(param), np.ndarray) and param.dtype.kind == "f"


def _copy(model: Any) -> Any:
    """Return a deep copy with parameters in float64, or None if the model cannot be copied."""
    try:
        copy = deepcopy(model)
        copy.params = {name: np.array(param, dtype=np.float64) for name, param in model.params.items()}
        if hasattr(copy, "dtype"):
            copy.dtype = np.float64
    except Exception:  # whatever a learner's class does
        return None
    return copy


def _follows_its_parameters(copy: Any, X: Any, y: Any) -> bool:
    """Return whether the loss of a copy depends on the copy's own parameters, and on nothing that moves."""
    before = {name: param.copy() for name, param in copy.params.items()}
    try:
        first = copy.loss(X, y)[0]
        for param in copy.params.values():
            param[...] = 1.01 * param + 0.01
        moved = copy.loss(X, y)[0]
        for name, param in copy.params.items():
            param[...] = before[name]
        return not equal(first, moved) and equal(first, copy.loss(X, y)[0])
    except Exception:  # whoever calls the loss next reports it
        return False
    finally:
        for name, param in copy.params.items():
            param[...] = before[name]


def _repeats_its_loss(model: Any, X: Any, y: Any) -> bool:
    """Return whether a model returns the same loss twice; raise what the loss raises."""
    first = model.loss(X, y)
    return not list(_unusable(first)) and equal(first[0], model.loss(X, y)[0])


@contextmanager
def larger_weights(model: Any) -> Iterator[dict[str, float]]:
    """Give a model weights that keep the variance of activations, and spread its biases, for a while.

    Yield {name: factor} of the weights that were too small; if none was, nothing changes.
    """
    params: dict[str, Array] = model.params
    before = {name: param.copy() for name, param in params.items()}
    rng = np.random.default_rng(0)
    try:
        factors = {name: _enlarge(param, rng) for name, param in params.items() if param.ndim > 1}
        factors = {name: factor for name, factor in factors.items() if factor != 1}
        for param in params.values() if factors else ():
            if param.ndim == 1 and not param.any():
                param[...] = SPREAD_BIASES * rng.standard_normal(param.shape)
        yield factors
    finally:
        for name, value in before.items():
            params[name][...] = value


def _enlarge(weights: Array, rng: np.random.Generator) -> float:
    """Multiply weights so that they keep the variance of activations; return the factor, 1 for large ones."""
    inputs = weights.shape[0] if weights.ndim == 2 else weights[0].size
    due = math.sqrt(2 / max(inputs, 1))
    deviation = math.sqrt(float(np.vdot(weights, weights)) / max(weights.size, 1))
    if not weights.size or deviation >= SMALL_WEIGHTS * due:
        return 1.0
    if not deviation:
        weights[...] = due * rng.standard_normal(weights.shape)
        return math.inf
    weights *= due / deviation
    return due / deviation


def larger_weights_note(factors: dict[str, float]) -> str:
    """Return the sentence that says why a check changed the weights, and by how much."""
    changes = (
        f"{name} drawn anew" if math.isinf(factor) else f"{name} times {factor:.3g}"
        for name, factor in factors.items()
    )
    return (
        f"Checked with larger weights: {', '.join(changes)}. With the model's own, pre-activations may be "
        "smaller than the step, or gradients smaller than rounding noise."
    )


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
    elif is_coarse(result[0]):
        yield coarse("the loss", result[0])


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
