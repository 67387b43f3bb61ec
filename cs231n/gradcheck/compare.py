"""Compare gradients with numeric ones: the verdict on each, and what explains it."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from cs231n.gradcheck.conduct import NOT_FINITE, varies
from cs231n.gradcheck.diagnosis import (
    Case,
    Cause,
    Kind,
    Observed,
    diagnose,
    diagnose_value,
    right_gradients,
    where_wrong,
)
from cs231n.gradcheck.judgement import Judgement, floor_of, is_rounding, judge, worst_entries
from cs231n.gradcheck.numeric import Numeric, rel_error
from cs231n.gradcheck.report import Comparison
from cs231n.gradcheck.tolerances import OUTPUT_TOL
from cs231n.gradcheck.values import Array, Floats, float64_copy
from cs231n.passes import FAIL, PASS, WARN

PIECES = (
    "Check a case as small as possible, and then the pieces of the backward pass, each as a layer of its own."
)
ASK_SETTINGS = (
    'Pass the settings of the layer, such as settings={"stride": 2, "pad": 1} or {"G": 4}: then the check '
    "knows more mistakes."
)


def label(name: str, key: str) -> str:
    """Return what a report calls the gradient of an argument, such as "affine dx"."""
    return f"{name} d{key}".strip()


def compare_all(
    name: str, grads: list[Any], numeric: dict[str, Numeric], tol: float, known: dict[str, Any]
) -> list[Comparison]:
    """Return a Comparison for each gradient, in the order of `numeric`, {argument: Numeric}."""
    centered = {key: gradient.centered for key, gradient in numeric.items()}
    scale = max((float(np.abs(gradient).max(initial=0)) for gradient in centered.values()), default=0.0)
    known = {**known, "numeric": centered, "returned": dict(zip(numeric, grads, strict=True))}
    return [
        compare(label(name, key), grad, numeric[key], tol, {**known, "name": key}, scale)
        for key, grad in zip(numeric, grads, strict=True)
    ]


def compare(
    name: str, grad: Any, numeric: Numeric, tol: float, known: dict[str, Any], scale: float = 0.0
) -> Comparison:
    """Compare one gradient with its Numeric one.

    - known: the other fields of a `Case`
    - scale: the largest entry of all gradients, see `judge`
    """
    causes = diagnose_value(grad, numeric.centered, **known) or _unusable(numeric)
    if causes:
        return Comparison(name, FAIL, np.inf, tol, causes=causes)
    actual = float64_copy(grad)
    with np.errstate(all="ignore"):
        judgement = judge(actual, numeric, tol, scale, _formula(known, numeric))
    found = Comparison(name, FAIL, judgement.error, tol, notes=judgement.notes, doubtful=judgement.doubtful)
    found.only_kinks = judgement.only_kinks
    if judgement.right.all() and not judgement.undecided:
        return replace(found, status=WARN if judgement.notes else PASS)
    if is_rounding(grad, actual, judgement.expected):
        note = f"It is computed in {grad.dtype}, whose rounding explains the difference: check in float64."
        return replace(found, status=WARN, notes=[note])
    if judgement.right.all():
        return replace(found, causes=judgement.undecided)
    causes, places = _explain(actual, numeric, judgement, tol, known)
    worst = worst_entries(actual, judgement.expected, judgement.right)
    return replace(found, worst=worst, causes=causes, notes=[*judgement.notes, *places])


def _formula(known: dict[str, Any], numeric: Numeric) -> Array | None:
    """Return the gradient by the layer's formula, where the numeric one has kinks and the layer is known."""
    if "dout" not in known or not numeric.bent.any():
        return None
    return right_gradients(Observed.of(known)).get(known.get("name", ""))


def _explain(
    actual: Floats, numeric: Numeric, judgement: Judgement, tol: float, known: dict[str, Any]
) -> tuple[list[Cause], list[str]]:
    """Return the causes of the wrong entries; without a cause, sentences on where they are and what helps."""
    expected, floor = judgement.expected, floor_of(numeric, tol)
    case = Case(np.where(judgement.right, expected, actual), expected, tol=tol, floor=floor, **known)
    causes = diagnose(case)
    return causes, [] if causes else [where_wrong(case), *_what_helps(case)]


def _what_helps(case: Case) -> list[str]:
    """Return how to learn more about a gradient that no known mistake explains."""
    if case.dout is None:
        return []
    of_images = case.x is not None and case.x.ndim == 4
    ask = of_images and not case.settings and not right_gradients(case)
    return [ASK_SETTINGS, PIECES] if ask else [PIECES]


def _unusable(numeric: Numeric) -> list[Cause]:
    """Return a cause if a numeric gradient is NaN or infinite, or of a forward pass that varies."""
    if not np.isfinite(numeric.centered).all():
        title, evidence = (
            "the forward pass returns NaN or infinity near its input",
            "it does so one step away",
        )
        return [Cause(title, evidence, NOT_FINITE, kind=Kind.NOT_FINITE)]
    return [] if numeric.steady else [varies("after some calls, the same arguments gave another output")]


def compare_output(
    out: Floats, inputs: dict[str, Floats], reference: Callable[..., Any] | None, name: str
) -> list[Comparison]:
    """Return a Comparison of the output with the reference's, if there is one."""
    if reference is None:
        return []
    result = reference(*(array.copy() for array in inputs.values()))
    expected = np.asarray(result[0] if issubclass(type(result), tuple) else result, dtype=np.float64)
    what = f"{name} out".strip()
    causes = diagnose_value(out, expected)
    if causes:
        return [Comparison(what, FAIL, np.inf, OUTPUT_TOL, causes=causes)]
    error = rel_error(out, expected) if out.size else 0.0
    if error <= OUTPUT_TOL:
        return [Comparison(what, PASS, error, OUTPUT_TOL)]
    case = Case(out, expected, tol=OUTPUT_TOL)
    worst = worst_entries(out, expected, ~case.wrong)
    causes = diagnose(case)
    return [Comparison(what, FAIL, error, OUTPUT_TOL, worst, causes, [] if causes else [where_wrong(case)])]


def lacking(out: Floats, properties: dict[str, Callable[[Floats], Any]] | None) -> list[Cause]:
    """Return a Cause for each property that the output lacks."""
    title, look = "the output is wrong", "Look at the forward pass first."
    return [
        Cause(title, f"this should hold, and does not: {sentence}", look, kind=Kind.PROPERTY)
        for sentence, holds in (properties or {}).items()
        if not holds(out.copy())
    ]
