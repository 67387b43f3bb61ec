"""Backward passes through a network with a mistake in the way that its steps are put together.

Each function yields a `Plan` for every mistake of its kind: what the mistake is, and the gradients of all
parameters that it leads to, as a function, since few of them are needed.
"""

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from cs231n.gradcheck.diagnosis.causes import Array, Finding
from cs231n.gradcheck.diagnosis.chain import (
    Backward,
    Grads,
    Step,
    StepKind,
    changed,
    every_largest,
    go_back,
    mask_backward,
    passing,
    pool_backward,
    without,
)
from cs231n.gradcheck.diagnosis.conclusion import layer_of
from cs231n.gradcheck.diagnosis.mistakes import Mistake
from cs231n.gradcheck.diagnosis.recognition import Chain

EVIDENCE = "this mistake gives all gradients that the model returned"
REVERSE = "The backward pass goes through the steps of the forward pass in reverse order."
RELU = "Multiply dout by x > 0, where x is the input of ReLU in the same layer."
DROPOUT = "Multiply dout by the mask of the forward pass in the same layer."
CACHE = "Each step of the backward pass needs what the same step of the forward pass saved."
INPUT = "out = x W + b, so dW = x^T dout, where x is the input of this affine layer."
WEIGHTS = "out = x W + b, so dx = dout W^T, with the W of this layer."
CHAIN_RULE = "The dx that a layer returns is the upstream gradient of the layer before it."
UNFLATTEN = "Flatten with x.reshape(N, -1), and undo it with dx.reshape(x.shape)."
POOLING = "Only the largest entry of a window is part of the output, so it gets the whole gradient."
SCORES = "The gradient of the scores is (p - 1 at the label) / N, the second value that softmax_loss returns."
MEAN = "A loss that is a mean over N examples has the factor 1 / N in its gradient once."
NORM = "Call the backward pass of the normalization, and pass its dx on."
NORM_FORMULA = "The mean and the variance depend on all x that they are taken of, and so does dx."
OTHER_NORM = (
    "Batch normalization takes means over the batch, layer normalization over the features of an example."
)
KEEP = "Inverted dropout divides kept units by p, the probability to keep one: once forward, once backward."

LOOK = {  # where the mistake is; the others are in a cache
    Mistake.RELU_ON_SCORES: "The last layer has no ReLU: its scores may be negative.",
    Mistake.RELU_MISSING_IN_FORWARD: "Every hidden layer is affine, then ReLU: max(0, x W + b).",
    Mistake.RELU_LEFT_OUT: RELU,
    Mistake.DROPOUT_LEFT_OUT: DROPOUT,
    Mistake.NORM_LEFT_OUT: NORM,
    Mistake.BEFORE_RELU_BACKWARD: REVERSE,
    Mistake.BEFORE_DROPOUT_BACKWARD: REVERSE,
    Mistake.BEFORE_NORM_BACKWARD: REVERSE,
    Mistake.NORM_AND_RELU_SWAPPED: REVERSE,
    Mistake.DW_BEFORE_RELU: INPUT,
    Mistake.DW_BEFORE_DROPOUT: INPUT,
    Mistake.DW_BEFORE_NORM: INPUT,
    Mistake.DW_OF_MASK: INPUT,
    Mistake.DW_OF_DROPOUT_MASK: INPUT,
    Mistake.DW_OF_X: INPUT,
    Mistake.DW_OF_OUTPUT: INPUT,
    Mistake.DW_OF_RESULT: INPUT,
    Mistake.DW_OF_INPUT_BEFORE: INPUT,
    Mistake.DW_TRANSPOSED: INPUT,
    Mistake.RELU_MASK_OF_ANOTHER: RELU,
    Mistake.RELU_MASK_OF_INPUT: RELU,
    Mistake.FORWARD_ORDER: REVERSE,
    Mistake.RELU_MASK_OF_DOUT: RELU,
    Mistake.RELU_MASK_INVERTED: RELU,
    Mistake.RELU_MASK_BEFORE_NORM: RELU,
    Mistake.DROPOUT_MASK_OF_ANOTHER: DROPOUT,
    Mistake.DROPOUT_UNSCALED: KEEP,
    Mistake.DROPOUT_TWICE: KEEP,
    Mistake.CONSTANTS: NORM_FORMULA,
    Mistake.TERM_MISSING: NORM_FORMULA,
    Mistake.NO_GAMMA: "The gradient of x_hat is gamma * dout.",
    Mistake.NO_DIVISION_BY_STD: "x_hat = (x - mean) / std, so dx is divided by std too.",
    Mistake.WEIGHTS_NOT_TRANSPOSED: WEIGHTS,
    Mistake.WEIGHTS_OF_ANOTHER: WEIGHTS,
    Mistake.SAME_UPSTREAM: CHAIN_RULE,
    Mistake.UPSTREAM_PASSED_ON: CHAIN_RULE,
    Mistake.NORM_OF_ANOTHER_KIND: OTHER_NORM,
    Mistake.POOLING_LEFT_OUT: POOLING,
    Mistake.WRONG_UNFLATTENING: UNFLATTEN,
    Mistake.SCORES_SUMMED: MEAN,
    Mistake.SCORES_DIVIDED_TWICE: MEAN,
    Mistake.SCORES_IGNORED: SCORES,
    Mistake.LABEL_NOT_SUBTRACTED: SCORES,
    Mistake.SCORES_OF_RELU: "The last layer has no ReLU: its scores may be negative.",
}
LEFT_OUT = {
    StepKind.RELU: Mistake.RELU_LEFT_OUT,
    StepKind.DROPOUT: Mistake.DROPOUT_LEFT_OUT,
    StepKind.NORM: Mistake.NORM_LEFT_OUT,
}
TOO_EARLY = {
    StepKind.RELU: Mistake.BEFORE_RELU_BACKWARD,
    StepKind.DROPOUT: Mistake.BEFORE_DROPOUT_BACKWARD,
    StepKind.NORM: Mistake.BEFORE_NORM_BACKWARD,
}
CACHES = {  # the kinds of steps whose caches may be mixed up, and what to call these caches
    "caches": (StepKind.LINEAR, StepKind.NORM, StepKind.RELU, StepKind.DROPOUT),
    "ReLU masks": (StepKind.RELU,),
    "dropout masks": (StepKind.DROPOUT,),
    "affine caches": (StepKind.LINEAR,),
    "normalization caches": (StepKind.NORM,),
}


@dataclass(frozen=True)
class Plan:
    """A mistake in the backward pass, or several at once, and the function that computes the gradients."""

    findings: tuple[Finding, ...]
    gradients: Callable[[], Grads]


def plans(net: Chain) -> Iterator[Plan]:
    """Yield a plan for every mistake in the structure of the backward pass, the likeliest first."""
    for make in (
        _forward_relus,
        left_out_plans,
        too_early_plans,
        _inputs,
        _caches,
        masks_plans,
        order_plans,
        _dropout,
        norms_plans,
        weights_plans,
    ):
        yield from make(net)
    for make in (_upstream, pooling_plans, _flattening, _scores):
        yield from make(net)


def plan_through(net: Chain, steps: Sequence[Step], *mistakes: tuple[Mistake, str]) -> Plan:
    """Return the plan of a backward pass through other steps; mistakes are pairs (mistake, about)."""
    return Plan(_findings(*mistakes), partial(go_back, steps, net.dscores))


def _findings(*mistakes: tuple[Mistake, str]) -> tuple[Finding, ...]:
    return tuple(Finding(mistake, EVIDENCE, LOOK.get(mistake, CACHE), about) for mistake, about in mistakes)


def _choices(steps: Sequence[Step]) -> Iterator[list[Step]]:
    """Yield all steps, then each of them alone if there are several."""
    if steps:
        yield list(steps)
    if len(steps) > 1:
        yield from ([step] for step in steps)


def _where(net: Chain, steps: Sequence[Step]) -> str:
    """Return which layers have these steps: "layer 1", "all hidden layers"."""
    if len(steps) == net.last - 1 > 1:
        return "all hidden layers"
    return _numbered(steps)


def _numbered(steps: Iterable[Step]) -> str:
    """Return the numbers of the steps' layers: "layer 1", "layers 1 and 2"."""
    *most, last = sorted(step.layer for step in steps)
    return f"layers {', '.join(map(str, most))} and {last}" if most else f"layer {last}"


def _gradients(names: Sequence[str]) -> str:
    """Return names of gradients: "dW1", "dW1 and db1"."""
    *most, last = (f"d{name}" for name in names)
    return f"{', '.join(most)} and {last}" if most else last


# --------------------------------------------------------------------------- a forward pass that is different


def _forward_relus(net: Chain) -> Iterator[Plan]:
    """Go back as if the scores had no ReLU, which they have, and hidden layers one, which they have not."""
    if net.of(StepKind.RELU) and net.steps[-1].kind is StepKind.RELU:
        yield plan_through(net, net.steps[:-1], (Mistake.RELU_ON_SCORES, ""))
    linear = [step for step in net.of(StepKind.LINEAR) if step.layer < net.last]
    lacking = [step for step in linear if _of_layer(net, StepKind.RELU, step.layer) is None]
    if not lacking:
        return
    steps = net.steps
    for step in lacking:
        last = _of_layer(net, StepKind.NORM, step.layer) or step
        place = next(index for index, other in enumerate(steps) if other is last) + 1
        masked = Step(StepKind.RELU, step.layer, last.out, last.out, mask_backward(last.out > 0))
        steps = [*steps[:place], masked, *steps[place:]]
    yield plan_through(net, steps, (Mistake.RELU_MISSING_IN_FORWARD, _where(net, lacking)))


# ------------------------------------------------------------------------------------ steps that are left out


def left_out_plans(net: Chain) -> Iterator[Plan]:
    """Leave out ReLU, dropout or normalizations: of one layer or of all; or several kinds, of all layers."""
    for kind in LEFT_OUT:
        for steps in _choices(net.of(kind)):
            yield from _without(net, {kind: steps})
    kinds = [kind for kind in LEFT_OUT if net.of(kind)]
    for size in range(2, len(kinds) + 1):
        for several in itertools.combinations(kinds, size):
            yield from _without(net, {kind: net.of(kind) for kind in several})


def _without(net: Chain, left_out: dict[StepKind, list[Step]]) -> Iterator[Plan]:
    """Leave out steps; normalizations still compute dgamma and dbeta.

    Without ReLU it matters how the pooling behind it decides ties, since zeros tie.
    """
    mistakes = [(LEFT_OUT[kind], _where(net, steps)) for kind, steps in left_out.items()]
    for base in _with_ties(net) if StepKind.RELU in left_out else (net.steps,):
        steps = without(
            base, *(step for kind in left_out for step in left_out[kind] if kind != StepKind.NORM)
        )
        for norm in left_out.get(StepKind.NORM, ()):
            steps = changed(steps, norm, passing(norm.backward))
        yield plan_through(net, steps, *mistakes)


def _with_ties(net: Chain) -> Iterator[list[Step]]:
    """Yield the steps, and the steps with a pooling that gives the gradient to every largest entry."""
    yield net.steps
    steps = net.steps
    for pool in net.of(StepKind.POOL):
        steps = changed(steps, pool, pool_backward(pool.x, every_largest))
    if steps is not net.steps:
        yield steps


def too_early_plans(net: Chain) -> Iterator[Plan]:
    """Compute the gradients of an affine layer before the backward pass of a step behind it."""
    for kind, mistake in TOO_EARLY.items():
        for step in net.of(kind):
            W, b = f"W{step.layer}", f"b{step.layer}"
            for names in ((W, b), (W,), (b,)):
                about = (mistake, _gradients(names))
                yield Plan(_findings(about), partial(_mixed, net, without(net.steps, step), names))
            if step.layer > 1:
                about = (mistake, f"dx of layer {step.layer}")
                below = [name for name in net.right() if layer_of(name) < step.layer]
                yield Plan(_findings(about), partial(_mixed, net, without(net.steps, step), below))
        if kind is not StepKind.NORM:
            yield from _parameters_too_early(net, kind, mistake)


def _parameters_too_early(net: Chain, kind: StepKind, mistake: Mistake) -> Iterator[Plan]:
    """Compute the gradient of gamma or beta before the backward pass of a step behind it."""
    pairs = [(step, _of_layer(net, StepKind.NORM, step.layer)) for step in net.of(kind)]
    behind = [step for step, norm in pairs if norm is not None and _is_behind(net, step, norm)]
    for chosen in _choices(behind):
        for kinds in (("gamma", "beta"), ("beta",), ("gamma",)):
            names = [f"{name}{step.layer}" for step in chosen for name in kinds]
            gradients = partial(_each_too_early, net, chosen, kinds)
            yield Plan(_findings((mistake, _gradients(names))), gradients)


def _is_behind(net: Chain, step: Step, other: Step) -> bool:
    order = [id(one) for one in net.steps]
    return order.index(id(step)) > order.index(id(other))


def _each_too_early(net: Chain, steps: Sequence[Step], kinds: Sequence[str]) -> Grads:
    """Return the right gradients, except for some kinds in the layers of some steps, which skip these."""
    found = net.right()
    for step in steps:
        wrong = go_back(without(net.steps, step), net.dscores)
        found |= {name: wrong[name] for name in (f"{kind}{step.layer}" for kind in kinds)}
    return found


def _mixed(net: Chain, steps: Sequence[Step], names: Sequence[str]) -> Grads:
    """Return the right gradients, except for some of them, which are those of other steps."""
    wrong = go_back(steps, net.dscores)
    return net.right() | {name: wrong[name] for name in names}


# ----------------------------------------------------------------------------------------- what dW is made of


def _inputs(net: Chain) -> Iterator[Plan]:
    """Compute dW with another array than the layer's input: of one layer, or the same array of all layers."""
    for mistake, other in OTHER_INPUTS.items():
        pairs = [(step, other(net, step)) for step in net.of(StepKind.LINEAR)]
        fitting = [(step, array) for step, array in pairs if array is not None and array.size == step.x.size]
        whole = [fitting] if len(fitting) > 1 else []
        for chosen in [*whole, *([pair] for pair in fitting)]:
            steps = net.steps
            for step, array in chosen:
                steps = changed(steps, step, _varied(step, x_of_dw=array))
            about = _gradients([f"W{step.layer}" for step, _ in chosen])
            yield plan_through(net, steps, (mistake, about))


def _varied(step: Step, **others: Array | float | tuple[int, ...] | None) -> Backward:
    """Return a step's backward pass with some arguments changed."""
    return step.vary(**others) if step.vary else step.backward


def _of_layer(net: Chain, kind: StepKind, layer: int) -> Step | None:
    return next((step for step in net.of(kind) if step.layer == layer), None)


def _before(kind: StepKind) -> Callable[[Chain, Step], Array | None]:
    """Return the function that gives the input of a step of the layer before."""

    def array(net: Chain, step: Step) -> Array | None:
        found = _of_layer(net, kind, step.layer - 1)
        return found.x if found else None

    return array


def _mask(net: Chain, step: Step) -> Array | None:
    relu = _of_layer(net, StepKind.RELU, step.layer - 1)
    return (relu.x > 0).astype(float) if relu else None


def _dropout_mask(net: Chain, step: Step) -> Array | None:
    dropout = _of_layer(net, StepKind.DROPOUT, step.layer - 1)
    return dropout.weights if dropout else None


def _minibatch(net: Chain, step: Step) -> Array | None:
    return net.X if step.layer > 1 else None


def _own_output(net: Chain, step: Step) -> Array | None:
    return (
        [other for other in net.steps if other.layer == step.layer][-1].out if step.layer < net.last else None
    )


def _own_result(net: Chain, step: Step) -> Array | None:
    return step.out


def _input_before(net: Chain, step: Step) -> Array | None:
    before = _of_layer(net, StepKind.LINEAR, step.layer - 1)
    return before.x if before else None


OTHER_INPUTS = {
    Mistake.DW_BEFORE_RELU: _before(StepKind.RELU),
    Mistake.DW_BEFORE_DROPOUT: _before(StepKind.DROPOUT),
    Mistake.DW_BEFORE_NORM: _before(StepKind.NORM),
    Mistake.DW_OF_MASK: _mask,
    Mistake.DW_OF_DROPOUT_MASK: _dropout_mask,
    Mistake.DW_OF_X: _minibatch,
    Mistake.DW_OF_OUTPUT: _own_output,
    Mistake.DW_OF_RESULT: _own_result,
    Mistake.DW_OF_INPUT_BEFORE: _input_before,
}


# ------------------------------------------------------------------------------------- caches of other layers


def _caches(net: Chain) -> Iterator[Plan]:
    """Let hidden layers use the caches of others: all caches, or those of one kind."""
    for caches, kinds in CACHES.items():
        for mistake, sources in _sources(net.last - 1):
            steps = _rewired(net, kinds, sources) if net.of(*kinds) else None
            if steps is not None:
                yield plan_through(net, steps, (mistake, caches))


def _sources(hidden: int) -> Iterator[tuple[Mistake, tuple[int, ...]]]:
    """Yield (mistake, the layer whose cache each hidden layer uses)."""
    layers = range(1, hidden + 1)
    named = {
        Mistake.CACHES_REVERSED: tuple(reversed(layers)),
        Mistake.CACHES_OF_LAST: (hidden,) * hidden,
        Mistake.CACHES_OF_FIRST: (1,) * hidden,
        Mistake.CACHES_OF_NEXT: (*layers[1:], hidden),
        Mistake.CACHES_OF_PREVIOUS: (1, *layers[:-1]),
    }
    seen = {tuple(layers)}
    for mistake, sources in named.items():
        if sources not in seen:
            seen.add(sources)
            yield mistake, sources


def _rewired(net: Chain, kinds: Sequence[StepKind], sources: Sequence[int]) -> list[Step] | None:
    """Return the steps where each hidden layer's are those of another layer; None if that one has none."""
    steps = []
    for step in net.steps:
        if step.layer < net.last and step.kind in kinds:
            other = _of_layer(net, step.kind, sources[step.layer - 1])
            if other is None:
                return None
            step = replace(other, layer=step.layer)
        steps.append(step)
    return steps


# ------------------------------------------------------------------------------------------------------ masks


def masks_plans(net: Chain) -> Iterator[Plan]:
    """Take the mask of ReLU or dropout from another layer, or ReLU's from another array."""
    for kind, mistake in MASKS_OF_OTHERS.items():
        for step, other in itertools.permutations(net.of(kind), 2):
            if step.x.shape == other.x.shape:
                about = f"layer {step.layer}"
                yield plan_through(net, changed(net.steps, step, other.backward), (mistake, about))
    for steps in _choices(net.of(StepKind.RELU)):
        yield from _relu_masks(net, steps)


MASKS_OF_OTHERS = {
    StepKind.RELU: Mistake.RELU_MASK_OF_ANOTHER,
    StepKind.DROPOUT: Mistake.DROPOUT_MASK_OF_ANOTHER,
}


def _relu_masks(net: Chain, relus: Sequence[Step]) -> Iterator[Plan]:
    where = _where(net, relus)
    before_norm, of_dout, inverted = net.steps, net.steps, net.steps
    for relu in relus:
        linear = _of_layer(net, StepKind.LINEAR, relu.layer)
        before_norm = changed(before_norm, relu, mask_backward(linear.out > 0) if linear else relu.backward)
        of_dout = changed(of_dout, relu, _positive_part)
        inverted = changed(inverted, relu, mask_backward(relu.x <= 0))
    yield plan_through(net, of_dout, (Mistake.RELU_MASK_OF_DOUT, where))
    yield plan_through(net, inverted, (Mistake.RELU_MASK_INVERTED, where))
    yield plan_through(net, before_norm, (Mistake.RELU_MASK_BEFORE_NORM, where))


def _positive_part(dout: Array) -> tuple[Array, Grads]:
    return np.maximum(dout, 0), {}


# ---------------------------------------------------------------------------------- order, dropout, and norms


def order_plans(net: Chain) -> Iterator[Plan]:
    """Swap the backward passes of ReLU and the normalization."""
    for norms in _choices(net.of(StepKind.NORM)):
        steps = list(net.steps)
        for norm in norms:
            relu = _of_layer(net, StepKind.RELU, norm.layer)
            if relu is None or relu.x.shape != norm.x.shape:
                return
            swap = {id(norm): relu, id(relu): norm}
            steps = [swap.get(id(step), step) for step in steps]
        yield plan_through(net, steps, (Mistake.NORM_AND_RELU_SWAPPED, _where(net, norms)))


def _dropout(net: Chain) -> Iterator[Plan]:
    """Scale dropout's gradient wrongly."""
    for dropouts in _choices(net.of(StepKind.DROPOUT)):
        unscaled, twice = net.steps, net.steps
        for step in dropouts:
            mask = step.weights
            unscaled = changed(unscaled, step, mask_backward((mask > 0).astype(float)))
            twice = changed(twice, step, mask_backward(mask**2))
        yield plan_through(net, unscaled, (Mistake.DROPOUT_UNSCALED, _where(net, dropouts)))
        yield plan_through(net, twice, (Mistake.DROPOUT_TWICE, _where(net, dropouts)))


def norms_plans(net: Chain) -> Iterator[Plan]:
    """Leave out parts of the backward pass of all normalizations, or take the means over other axes."""
    norms = net.of(StepKind.NORM)
    yield from _norms_of_another_kind(net, norms)
    for (mistake, about), others in WRONG_NORMS.items():
        steps = net.steps
        for norm in norms:
            steps = changed(steps, norm, _varied(norm, **others))
        if norms:
            yield plan_through(net, steps, (mistake, about))


def _norms_of_another_kind(net: Chain, norms: Sequence[Step]) -> Iterator[Plan]:
    """Go back through batch normalization where the network has layer normalization, or the reverse.

    The deviation is the forward pass's, from the cache, or is computed again.
    """
    if any(norm.x.ndim != 2 for norm in norms):
        return
    for kind, axes in {"batch": (0,), "layer": (1,)}.items():
        for again in (False, True):
            steps = net.steps
            for norm in norms:
                steps = changed(steps, norm, _varied(norm, axes=axes, again=again))
            if norms:
                yield plan_through(net, steps, (Mistake.NORM_OF_ANOTHER_KIND, kind))


WRONG_NORMS: dict[tuple[Mistake, str], dict[str, Array | float]] = {
    (Mistake.CONSTANTS, ""): {"of_mean": 0, "of_variance": 0},
    (Mistake.TERM_MISSING, "mean"): {"of_mean": 0},
    (Mistake.TERM_MISSING, "variance"): {"of_variance": 0},
    (Mistake.NO_GAMMA, ""): {"gamma": np.ones(1)},
    (Mistake.NO_DIVISION_BY_STD, ""): {"r": np.ones(1)},
}


# ------------------------------------------------------------------------------- weights, and what flows back


def weights_plans(net: Chain) -> Iterator[Plan]:
    """Multiply by W where W^T is due, or by another layer's W, or return dW^T."""
    affine = [step for step in net.of(StepKind.LINEAR) if step.weights.ndim == 2]
    square = [step for step in affine if len(set(step.weights.shape)) == 1]
    for chosen in _choices([step for step in square if step.layer > 1]):  # nothing uses the first layer's dx
        steps = net.steps
        for step in chosen:
            steps = changed(steps, step, _varied(step, w=step.weights.T))
        yield plan_through(net, steps, (Mistake.WEIGHTS_NOT_TRANSPOSED, _numbered(chosen)))
    for step, other in itertools.permutations(affine, 2):
        if step.weights.shape == other.weights.shape and step.layer > 1:
            steps = changed(net.steps, step, _varied(step, w=other.weights))
            yield plan_through(net, steps, (Mistake.WEIGHTS_OF_ANOTHER, f"layer {step.layer}"))
    for chosen in _choices(square):
        steps = net.steps
        for step in chosen:
            steps = changed(steps, step, _with_dw_transposed(step.backward))
        about = _gradients([f"W{step.layer}" for step in chosen])
        yield plan_through(net, steps, (Mistake.DW_TRANSPOSED, about))


def _with_dw_transposed(backward: Backward) -> Backward:
    def transposed(dout: Array) -> tuple[Array, Grads]:
        dx, grads = backward(dout)
        return dx, grads | {"W": grads["W"].T}

    return transposed


def _upstream(net: Chain) -> Iterator[Plan]:
    """Give every hidden layer the gradient that only the last one should get, or skip a layer's dx."""
    if net.last > 2:
        yield Plan(_findings((Mistake.SAME_UPSTREAM, "")), partial(_same_upstream, net))
    for chosen in _choices([step for step in net.of(StepKind.LINEAR) if step.layer > 1]):
        steps = net.steps
        for step in chosen:
            if step.x.size == step.out.size:
                steps = changed(steps, step, _passing_on(step))
        if steps is not net.steps:
            yield plan_through(net, steps, (Mistake.UPSTREAM_PASSED_ON, _numbered(chosen)))


def _passing_on(step: Step) -> Backward:
    """Return a backward pass whose dx is its upstream gradient, in the shape of x."""

    def backward(dout: Array) -> tuple[Array, Grads]:
        return dout.reshape(step.x.shape), step.backward(dout)[1]

    return backward


def _same_upstream(net: Chain) -> Grads:
    dout, of_last = net.steps[-1].backward(net.dscores)
    found = {f"{name}{net.last}": grad for name, grad in of_last.items()}
    for i in range(1, net.last):
        found |= go_back([step for step in net.steps if step.layer == i], dout)
    return found


# ------------------------------------------------------------------------------------- images, and the scores


def pooling_plans(net: Chain) -> Iterator[Plan]:
    """Spread a pooling's gradient over the whole window."""
    for share in (1, 1 / 4):
        steps = net.steps
        for pool in net.of(StepKind.POOL):
            steps = changed(steps, pool, pool_backward(pool.x, partial(np.full_like, fill_value=share)))
        if net.of(StepKind.POOL):
            yield plan_through(net, steps, (Mistake.POOLING_LEFT_OUT, ""))


def _flattening(net: Chain) -> Iterator[Plan]:
    """Put the flat gradient of an affine layer's input back into images in another order."""
    for step in net.of(StepKind.LINEAR):
        if step.x.ndim == 4 and step.weights.ndim == 2 and step.layer > 1:
            for unflatten in UNFLATTENED:
                steps = changed(net.steps, step, _reordered(step, unflatten))
                yield plan_through(net, steps, (Mistake.WRONG_UNFLATTENING, ""))


Shape = tuple[int, ...]
UNFLATTENED: tuple[Callable[[Array, Shape], Array], ...] = (
    lambda dx, shape: dx.reshape(shape[0], shape[2], shape[3], shape[1]).transpose(0, 3, 1, 2),
    lambda dx, shape: dx.reshape(shape[0], shape[1], shape[3], shape[2]).swapaxes(2, 3),
    lambda dx, shape: dx.reshape(shape[0], shape[3], shape[2], shape[1]).transpose(0, 3, 2, 1),
    lambda dx, shape: dx.T.reshape(shape),
    lambda dx, shape: dx.reshape(shape[1], shape[0], shape[2], shape[3]).swapaxes(0, 1),
    lambda dx, shape: dx.T.reshape(shape[1], shape[2], shape[3], shape[0]).transpose(3, 0, 1, 2)[::-1],
    lambda dx, shape: dx.reshape(shape, order="F"),
)


def _reordered(step: Step, unflatten: Callable[[Array, Shape], Array]) -> Backward:
    def backward(dout: Array) -> tuple[Array, Grads]:
        dx, grads = step.backward(dout)
        return unflatten(dx.reshape(len(dx), -1), step.x.shape), grads

    return backward


def _scores(net: Chain) -> Iterator[Plan]:
    """Start from a wrong gradient of the scores."""
    N, onehot = len(net.y), np.eye(net.dscores.shape[1])[net.y]
    p = N * net.dscores + onehot
    starts = [
        (Mistake.SCORES_SUMMED, N * net.dscores),
        (Mistake.SCORES_DIVIDED_TWICE, net.dscores / N),
        (Mistake.SCORES_IGNORED, np.ones_like(p)),
        (Mistake.SCORES_IGNORED, np.full_like(p, 1 / N)),
        (Mistake.SCORES_OF_RELU, net.dscores * (net.steps[-1].out > 0)),
    ]
    if bool((p > 0).all()) and np.allclose(p.sum(axis=1), 1):
        starts += [(Mistake.LABEL_NOT_SUBTRACTED, p / N), (Mistake.LABEL_NOT_SUBTRACTED, p)]
    for mistake, dscores in starts:
        yield Plan(_findings((mistake, "")), partial(go_back, net.steps, dscores))
