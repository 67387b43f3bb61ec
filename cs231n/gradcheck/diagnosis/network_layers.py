"""Mistakes inside of one layer of a network, which `plans` puts together of right layers only.

A network that we know gives each layer its input and its upstream gradient. So the gradient of a parameter is
a `Case` of its layer alone, and the explainers of single layers apply to it. What a layer passes on shows in
the gradients below: each known mistake in its dx is tried, and has to give all of them.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from functools import partial
from itertools import chain
from typing import NamedTuple

import numpy as np

from cs231n.gradcheck.diagnosis.causes import Array, Case, Finding, Observed
from cs231n.gradcheck.diagnosis.chain import Backward, Grads, Step, StepKind, changed, go_back
from cs231n.gradcheck.diagnosis.conclusion import NAME
from cs231n.gradcheck.diagnosis.convolution import convolution_of
from cs231n.gradcheck.diagnosis.convolution_mistakes import wrong_dx as wrong_dx_of_convolution
from cs231n.gradcheck.diagnosis.mistakes import Mistake
from cs231n.gradcheck.diagnosis.normalization import wrong_dx as wrong_dx_of_normalization
from cs231n.gradcheck.diagnosis.plans import EVIDENCE, Plan
from cs231n.gradcheck.diagnosis.pooling import pooling_of
from cs231n.gradcheck.diagnosis.pooling_mistakes import wrong_dx as wrong_dx_of_pooling
from cs231n.gradcheck.diagnosis.recognition import Chain
from cs231n.gradcheck.diagnosis.terms import recognize
from cs231n.gradcheck.diagnosis.windows import EVERYWHERE
from cs231n.gradcheck.tolerances import NETWORK_FLOOR

ROLES = {"W": "w", "b": "b", "gamma": "gamma", "beta": "beta"}  # of parameters, in a layer alone
NAMES_OF_STEPS = {
    StepKind.NORM: "the normalization",
    StepKind.POOL: "the pooling",
    StepKind.LINEAR: "the convolution",
}


def case_of_layer(case: Case, net: Chain, count: float) -> Case | None:
    """Return the case of the layer alone that a parameter belongs to.

    - count: how many times the gradient contains reg * W
    """
    match = NAME.fullmatch(case.name)
    if match is None:
        return None
    kind = StepKind.LINEAR if match[1] in ("W", "b") else StepKind.NORM
    step = next((step for step in net.of(kind) if step.layer == int(match[2])), None)
    right = net.right()
    if step is None or case.name not in right:
        return None
    gradients = {
        role: right[f"{name}{step.layer}"] for name, role in ROLES.items() if f"{name}{step.layer}" in right
    }
    own = _inputs(case, step)
    return Case(
        case.actual - count * case.reg * case.inputs[case.name],
        right[case.name],
        name=ROLES[match[1]],
        inputs=own,
        out=step.out,
        dout=next(dout for other, dout in _upstream(net) if other is step),
        settings={"stride": 1} if step.weights.ndim == 4 else {},
        numeric={name: gradients[name] for name in own if name in gradients},
        tol=case.tol,
        floor=case.floor,
    )


def _inputs(case: Case, step: Step) -> dict[str, Array]:
    """Return the arguments of a step's forward pass by the names that they have in a layer alone."""
    kinds = {StepKind.LINEAR: ("W", "b"), StepKind.NORM: ("gamma", "beta")}.get(step.kind, ())
    return {"x": step.x} | {ROLES[kind]: case.inputs[f"{kind}{step.layer}"] for kind in kinds}


def _upstream(net: Chain) -> Iterator[tuple[Step, Array]]:
    """Yield (step, its right upstream gradient), from the last step to the first."""
    dout = net.dscores
    for step in reversed(net.steps):
        yield step, dout
        dout, _ = step.backward(dout)


# ------------------------------------------------------------------------------------- what a layer passes on


class WrongDx(NamedTuple):
    """A dx with a known mistake, and what a `Finding` says about it."""

    mistake: Mistake
    gradient: Callable[[], Array]
    look: str
    about: str
    evidence: str


Key = tuple[Mistake, str, str, int]  # of a WrongDx: what it says, and how many before it say the same
Fits = Callable[[str, Array], bool]  # whether the learner's gradient of a parameter is an array


def plans_of_layers(case: Case, net: Chain, right: Grads, fits: Fits) -> Iterator[Plan]:
    """Yield a plan for each mistake in the dx of a step that fits the first wrong gradients below it.

    - right: the right gradients
    """
    above: list[tuple[Step, Array]] = []  # since the last step with parameters, whose gradients are right
    for step, dout in _upstream(net):
        names = [name for name in right if _belongs(name, step)]
        if not all(fits(name, right[name]) for name in names):
            if _may_be_due_to_dout(names, right, fits):
                yield from _plans_above(case, net, above, step, fits)
            return
        above = [*([] if names else above), (step, dout)]


def _belongs(name: str, step: Step) -> bool:
    match, kinds = NAME.fullmatch(name), {StepKind.LINEAR: ("W", "b"), StepKind.NORM: ("gamma", "beta")}
    return match is not None and int(match[2]) == step.layer and match[1] in kinds.get(step.kind, ())


def _may_be_due_to_dout(names: list[str], right: Grads, fits: Fits) -> bool:
    """Return whether all gradients of a step are wrong, except those that are 0 in any case."""
    largest = max(float(np.abs(grad).max(initial=0)) for grad in right.values())
    shown = [name for name in names if np.abs(right[name]).max(initial=0) > NETWORK_FLOOR * largest]
    return bool(shown) and not any(fits(name, right[name]) for name in shown)


def _plans_above(
    case: Case, net: Chain, above: list[tuple[Step, Array]], wrong: Step, fits: Fits
) -> Iterator[Plan]:
    """Yield the plans with a mistake in the dx of a step above a wrong one, or of all steps of its kind."""
    for position, (step, dout) in enumerate(above):
        below = [other for other, _ in above[position + 1 :]]
        for key, candidate in _numbered(_wrong_dxs(case, step, dout)):
            try:
                reached = _passed_through(below, candidate.gradient())
            except ValueError:  # shapes that do not fit
                continue
            if reached.shape == wrong.out.shape and _explains(wrong, reached, fits):
                yield from _plans_of(case, net, step, candidate, key)


def _passed_through(steps: list[Step], dout: Array) -> Array:
    for step in steps:
        dout, _ = step.backward(dout)
    return dout


def _explains(step: Step, dout: Array, fits: Fits) -> bool:
    """Return whether an upstream gradient gives all gradients of a step, the bias first: it costs little."""
    bias = "b" if step.kind is StepKind.LINEAR else "beta"
    total = dout.sum(axis=tuple(axis for axis in range(dout.ndim) if axis != 1))
    if not fits(f"{bias}{step.layer}", total):
        return False
    return all(fits(f"{name}{step.layer}", grad) for name, grad in step.backward(dout)[1].items())


def _plans_of(case: Case, net: Chain, step: Step, candidate: WrongDx, key: Key) -> Iterator[Plan]:
    """Yield the plans with the same mistake in all steps of a kind, and in one of them alone."""
    alike = [other for other in net.of(step.kind) if other.kind is not StepKind.LINEAR or other.layer > 1]
    name = NAMES_OF_STEPS[step.kind]
    choices = [(alike, f"{name} of all layers")] if len(alike) > 1 else []
    for chosen, where in (*choices, ([step], f"{name} of layer {step.layer}")):
        steps = net.steps
        for other in chosen:
            steps = changed(steps, other, _with_mistake(case, other, key))
        finding = Finding(candidate.mistake, EVIDENCE, candidate.look, candidate.about, inside=where)
        yield Plan((finding,), partial(go_back, steps, net.dscores))


def _with_mistake(case: Case, step: Step, key: Key) -> Backward:
    """Return a step's backward pass with one mistake in its dx; it raises a ValueError if there is none."""

    def backward(dout: Array) -> tuple[Array, Grads]:
        for other, candidate in _numbered(_wrong_dxs(case, step, dout)):
            if other == key:
                return candidate.gradient(), step.backward(dout)[1]
        raise ValueError(f"this layer cannot have the mistake {key}")

    return backward


def _numbered(candidates: Iterable[WrongDx]) -> Iterator[tuple[Key, WrongDx]]:
    """Yield (key, candidate); layers of other sizes have other candidates, but the same keys."""
    seen: dict[tuple[Mistake, str, str], int] = {}
    for candidate in candidates:
        name = candidate.mistake, candidate.about, candidate.evidence
        seen[name] = seen.get(name, 0) + 1
        yield (*name, seen[name]), candidate


def _wrong_dxs(case: Case, step: Step, dout: Array) -> Iterator[WrongDx]:
    """Yield every known mistake in the dx of a normalization, a pooling or a convolution."""
    if step.kind not in NAMES_OF_STEPS or (step.kind is StepKind.LINEAR and step.weights.ndim != 4):
        return
    dx, inputs = step.backward(dout)[0], _inputs(case, step)
    alone = Case(dx, dx, name="x", inputs=inputs, out=step.out, dout=dout)
    if step.kind is StepKind.NORM:
        yield from _of_normalization(alone)
    elif step.kind is StepKind.POOL:
        yield from _of_pooling(replace(alone, settings={"pool_height": 2, "pool_width": 2, "stride": 2}))
    else:
        yield from _of_convolution(alone)


def _of_normalization(alone: Observed) -> Iterator[WrongDx]:
    terms = recognize(alone)
    if terms is not None:
        for found in chain.from_iterable(wrong_dx_of_normalization(alone, terms)):
            gradient = partial(np.reshape, found.gradient, terms.shape)
            yield WrongDx(found.mistake, gradient, found.look, found.about, found.evidence)


def _of_pooling(alone: Case) -> Iterator[WrongDx]:
    layer = pooling_of(alone)
    if layer is not None and alone.dout is not None:
        for found in wrong_dx_of_pooling(alone, layer, alone.dout):
            yield WrongDx(
                found.mistake, partial(found.gradient, EVERYWHERE), found.look, found.about, found.evidence
            )


def _of_convolution(alone: Case) -> Iterator[WrongDx]:
    layer = convolution_of(alone)
    if layer is not None and alone.dout is not None:
        for found in wrong_dx_of_convolution(alone, layer, layer.right(alone.dout)):
            yield WrongDx(
                found.mistake, partial(found.gradient, EVERYWHERE), found.look, found.about, found.evidence
            )
