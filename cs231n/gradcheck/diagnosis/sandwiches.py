"""Mistakes in a sandwich, such as affine - normalization - ReLU: a step left out, or with a wrong mask.

A sandwich is a short chain of steps, see `chain`. It is recognized by its output: no other choice of steps
gives it. The backward passes with a mistake are those of `plans`, which explain whole networks too.
"""

import itertools
import math
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial

import numpy as np

from cs231n.gradcheck.diagnosis import chain, plans
from cs231n.gradcheck.diagnosis.causes import Array, Case, Finding, Observed, same
from cs231n.gradcheck.diagnosis.chain import Grads, Step, StepKind
from cs231n.gradcheck.diagnosis.mistakes import Mistake
from cs231n.gradcheck.diagnosis.recognition import EPS_BY_TRIAL, Chain

LAYER = 2  # the number of all steps: the first layer of a network has no dx
EVIDENCE = "every entry matches the gradient with this mistake"
KINDS = ("x", "W", "b", "gamma", "beta")  # of the arguments, in their order


def _mask_of_x(net: Chain) -> Iterator[plans.Plan]:
    """Take ReLU's mask from x, where that has the shape of ReLU's input."""
    for relu in net.of(StepKind.RELU):
        if relu.x.shape == net.X.shape:
            steps = chain.changed(net.steps, relu, chain.mask_backward(net.X > 0))
            yield plans.plan_through(net, steps, (Mistake.RELU_MASK_OF_INPUT, f"layer {LAYER}"))


def _forward_order(net: Chain) -> Iterator[plans.Plan]:
    """Go through the steps in the order of the forward pass."""
    source, *steps = net.steps
    yield plans.plan_through(net, [source, *reversed(steps)], (Mistake.FORWARD_ORDER, ""))


MAKERS = (
    plans.left_out_plans,
    plans.too_early_plans,
    plans.masks_plans,
    plans.order_plans,
    plans.norms_plans,
    plans.weights_plans,
    plans.pooling_plans,
    _mask_of_x,
    _forward_order,
)


def find_sandwich(case: Case) -> Iterator[Finding]:
    """Find a mistake in the way that the backward pass of a sandwich puts its steps together."""
    net = _sandwich_of(case)
    kind = _kinds(case).get(case.name)
    if net is None or kind is None:
        return
    for make in MAKERS:
        for plan in make(net):
            gradient = _gradient(plan, kind)
            if gradient is not None and case.is_explained_by(gradient):
                yield from (_in_words(finding, case) for finding in plan.findings)
                return


def gradients_of_sandwich(observed: Observed) -> Mapping[str, Array] | None:
    """Return the right gradients of a sandwich's arguments, or None if the layer is not one."""
    net = _sandwich_of(observed)
    if net is None:
        return None
    right = net.right()
    return {name: right[kind] for name, kind in _kinds(observed).items()}


def _kinds(observed: Observed) -> dict[str, str]:
    """Return {argument: its name in a chain}, such as {"x": "x0", "w": "W2"}."""
    numbered = (f"{kind}{0 if kind == 'x' else LAYER}" for kind in KINDS)
    return dict(zip(observed.inputs, numbered, strict=False))


def _gradient(plan: plans.Plan, kind: str) -> Array | None:
    """Return one gradient of a plan; None if its shapes do not fit."""
    try:
        return plan.gradients().get(kind)
    except ValueError:
        return None


def _in_words(finding: Finding, case: Case) -> Finding:
    """Return a finding about a network with the names of the sandwich's arguments."""
    about = finding.about.replace(f"layer {LAYER}", "this layer")
    for name, kind in _kinds(case).items():
        about = about.replace(f"d{kind}", f"d{name}")
    return replace(finding, about=about, evidence=EVIDENCE)


def _sandwich_of(observed: Observed) -> Chain | None:
    """Return the sandwich that gives the output, or None if none does."""
    arrays = list(observed.inputs.values())
    if len(arrays) not in (3, 5) or observed.out is None or observed.dout is None:
        return None
    x, w, b = arrays[:3]
    fit = x.size and x.ndim >= 2 and w.ndim in (2, 4) and b.ndim == 1
    if not fit or np.shape(observed.dout) != np.shape(observed.out):
        return None
    for steps in _choices(arrays):
        if same(steps[-1].out, observed.out):
            return Chain(x, np.zeros(0, dtype=int), [_source(x), *steps], 0.0, observed.dout)
    return None


def _source(x: Array) -> Step:
    """Return a step that does nothing, whose backward pass gives the gradient of x."""
    return Step(StepKind.INPUT, 0, x, x, _to_x)


def _to_x(dout: Array) -> tuple[Array, Grads]:
    return dout, {"x": dout}


def _choices(arrays: list[Array]) -> Iterator[list[Step]]:
    """Yield the steps of every sandwich with these arguments whose shapes fit."""
    for linear in _linear(*arrays[:3]):
        normed = ([linear, norm] for norm in _norms(linear, *arrays[3:])) if arrays[3:] else [[linear]]
        yield from itertools.chain.from_iterable(map(_with_ends, normed))


def _with_ends(steps: list[Step]) -> Iterator[list[Step]]:
    """Yield the steps with ReLU, and with ReLU and 2x2 pooling."""
    relu = chain.relu(steps[-1].out, LAYER)
    yield [*steps, relu]
    if relu.out.ndim == 4 and not any(size % 2 for size in relu.out.shape[2:]):
        yield [*steps, relu, chain.pool(relu.out, LAYER)]


def _linear(x: Array, w: Array, b: Array) -> Iterator[Step]:
    """Yield the affine layer, or the convolutions with stride 1 and any padding below the filter's size."""
    if w.ndim == 2 and math.prod(x.shape[1:]) == len(w) and w.shape[1:] == b.shape:
        yield chain.affine(x, w, b, LAYER)
    elif w.ndim == x.ndim == 4 and x.shape[1] == w.shape[1] and len(w) == len(b):
        for pad in range(max(w.shape[2:])):
            if min(np.subtract(x.shape[2:], w.shape[2:])) + 2 * pad >= 0:
                yield chain.conv(x, w, b, LAYER, pad)


def _norms(linear: Step, gamma: Array, beta: Array) -> Iterator[Step]:
    """Yield the normalizations of a linear step's output, over the batch or over each example."""
    out = linear.out
    if gamma.size != out.shape[1] or beta.size != out.shape[1]:
        return
    for axes in ((0,), (1,)) if out.ndim == 2 else ((0, 2, 3),):
        make = partial(chain.norm, out, gamma.reshape(-1), beta.reshape(-1), LAYER, axes)
        yield from (make(eps) for eps in EPS_BY_TRIAL)
