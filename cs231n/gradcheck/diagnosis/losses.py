"""Losses of scores: which one it is, its labels, and mistakes in its value or in its gradient.

A loss is one number, computed from scores x (N, C) and labels that the check need not know: the gradient is
negative at the labels and nowhere else. A loss is recognized only if its formula gives its value or its
numeric gradient; where the value is wrong, only if a mistake explains both.
"""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from cs231n.gradcheck.diagnosis.causes import Array, Case, Finding, Observed, is_output, matching, same
from cs231n.gradcheck.diagnosis.hinge import HINGE
from cs231n.gradcheck.diagnosis.mistakes import Mistake
from cs231n.gradcheck.diagnosis.scores import Family, Forward, Labels, Scores
from cs231n.gradcheck.diagnosis.softmax import SOFTMAX
from cs231n.gradcheck.tolerances import SAME

FAMILIES = (SOFTMAX, HINGE)
LOOK = "The gradient is that of the right loss. Compare the line that computes the loss with its formula."


class Loss(NamedTuple):
    """A loss that was recognized: its scores and labels, its family, and what its forward pass computes."""

    scores: Scores
    family: Family
    forward: Forward
    right: Array
    upstream: float


def find_losses(case: Case) -> Iterator[Finding]:
    """Find mistakes in the value or in the gradient of a loss, if the layer is one."""
    if case.is_of_x:
        findings = (list(_mistakes_in(case, loss)) for loss in _losses(case))
        yield from next(filter(None, findings), [])


def _mistakes_in(case: Case, loss: Loss) -> Iterator[Finding]:
    mistake, value, _, scale = loss.forward
    if mistake and case.is_explained_by(loss.upstream * loss.right):
        evidence = f"a loss with this mistake is {value:.6g}, and that is what it returned"
        yield Finding(Mistake.LOSS_WRONG, evidence, LOOK, about=mistake)
        return
    for factor in dict.fromkeys((scale * loss.upstream, loss.upstream)):
        for wrong in loss.family.wrong(loss.scores, case.actual / factor):
            yield from matching(case, [(wrong.mistake, factor * wrong.gradient)], wrong.look)


def loss_of(case: Case) -> Loss | None:
    """Return the loss under test, or None if it is not a known one."""
    return next(_losses(case), None)


def _losses(case: Case) -> Iterator[Loss]:
    """Yield every loss that the one under test may be: with two classes, wrong losses may coincide."""
    x, upstream = _scores_of(case), _upstream(case)
    if x is None or not upstream or case.dx.shape != x.shape:
        return
    gradient, out = case.dx / upstream, float(np.reshape(case.out, -1)[0]) if case.out is not None else 0.0
    for y in _labels(case, x, gradient):
        for family in FAMILIES:
            yield from _recognize(Scores(x, y), family, out, gradient, upstream)


def gradients_of_loss(observed: Observed) -> Mapping[str, Array] | None:
    """Return {argument: gradient} of a known loss whose labels are in the settings, or None."""
    x, upstream = _scores_of(observed), _upstream(observed)
    y = None if x is None else _given_labels(observed, x)
    if x is None or y is None:
        return None
    out = np.reshape(np.asarray(observed.out, dtype=float), -1)
    for family in FAMILIES:
        right = next(iter(family.forwards(Scores(x, y), float(out[0]))))
        if is_output(out, np.array([right.loss])):
            return {next(iter(observed.inputs)): upstream * right.gradient}
    return None


def _recognize(
    scores: Scores, family: Family, out: float, gradient: Array, upstream: float
) -> Iterator[Loss]:
    """Yield the losses of a family whose forward pass computes what was observed."""
    forwards = iter(family.forwards(scores, out))
    right = next(forwards)
    if same(right.gradient, gradient) or _agree(out, right.loss):
        yield Loss(scores, family, right, right.gradient, upstream)
        return
    for forward in forwards:
        if _agree(out, forward.loss) and same(forward.gradient, gradient):
            yield Loss(scores, family, forward, right.gradient, upstream)


def _agree(out: float, loss: float) -> bool:
    return is_output(np.array([out]), np.array([loss]))


def _scores_of(observed: Observed) -> Array | None:
    """Return the only argument if it has the shape (N, C) of scores, and the output is one number."""
    x = observed.x
    if len(observed.inputs) != 1 or x is None or observed.out is None or np.size(observed.out) != 1:
        return None
    x = np.asarray(x, dtype=float)
    return x if x.ndim == 2 and len(x) and x.shape[1] > 1 and np.isfinite(x).all() else None


def _upstream(observed: Observed) -> float:
    """Return the upstream gradient of a number, 0 if it is not known."""
    dout = observed.dout
    return float(np.reshape(dout, -1)[0]) if dout is not None and np.size(dout) == 1 else 0.0


def _labels(case: Case, x: Array, gradient: Array) -> Iterator[Labels]:
    """Yield what the labels may be: those in the settings, or those that a gradient shows."""
    given = _given_labels(case, x)
    if given is not None:
        yield given
        return
    for sign in (1, -1):  # the sign of the loss may be wrong
        yield _labels_in(sign * gradient, x)
        yield _labels_in(sign * gradient, -x)
    if case.actual.shape == x.shape:
        yield _labels_in(case.actual / _upstream(case), x)


def _labels_in(gradient: Array, x: Array) -> Labels:
    """Return where each row has its smallest gradient; where it has none, its largest score.

    An example that is right by far has no gradient, and its label has the largest score.
    """
    has_gradient = np.abs(gradient).max(axis=1) > SAME * np.abs(gradient).max()
    labels: Labels = np.where(has_gradient, gradient.argmin(axis=1), x.argmax(axis=1))
    return labels


def _given_labels(observed: Observed, x: Array) -> Labels | None:
    """Return the labels in the settings, or None if there are none that fit the scores."""
    given: Any = observed.settings.get("y")
    try:
        y = np.asarray(given)
        fits = y.dtype.kind in "iuf" and y.shape == (len(x),) and bool(((y >= 0) & (y < x.shape[1])).all())
        return y.astype(int) if fits and np.array_equal(y, y.astype(int)) else None
    except (TypeError, ValueError):  # a ragged list, or a class of one's own
        return None
