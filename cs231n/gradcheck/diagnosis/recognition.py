"""Whether a model is a network that we know: a chain of steps that gives its loss and its gradients.

The network is computed again from its parameters and the minibatch: {affine - [norm] - ReLU - [dropout]} x
(L - 1) - affine, where the first layers may be conv - ReLU - 2x2 max pool, with a softmax or SVM loss. What a
model does not tell, such as eps or how dropout draws its mask, is found by trial. No two networks have the
same loss to nine digits, and the numeric gradients have to agree as well.
"""

import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from cs231n.gradcheck.diagnosis import chain
from cs231n.gradcheck.diagnosis.causes import Array, Case
from cs231n.gradcheck.diagnosis.chain import Grads, Step
from cs231n.gradcheck.diagnosis.conclusion import NAME
from cs231n.gradcheck.tolerances import BESIDE_KINKS, SAME, SAME_LOSS

EPS_BY_TRIAL = (1e-5, 1e-8, 1e-3, 1e-6, 1e-4)

Loss = Callable[[Array, Array], tuple[float, Array]]
Masks = Callable[[Sequence[tuple[int, ...]]], list[Array]]


@dataclass(frozen=True)
class Chain:
    """A network as it ran: X, its steps, and the loss, without a penalty, with its gradient (N, C)."""

    X: Array
    y: Array
    steps: list[Step]
    loss: float
    dscores: Array

    @property
    def last(self) -> int:
        """The number of the last layer."""
        return self.steps[-1].layer

    def of(self, *kinds: chain.StepKind) -> list[Step]:
        """Return the steps of some kinds."""
        return [step for step in self.steps if step.kind in kinds]

    def right(self) -> Grads:
        """Return the right gradients of all parameters, without those of a penalty."""
        return chain.go_back(self.steps, self.dscores)


@dataclass(frozen=True)
class Recipe:
    """How a network may be built from its parameters.

    - axis: along which affine layers are normalized, 0 for batch and 1 for layer normalization
    - norm_first: whether the normalization comes before ReLU; pooled: whether convolutions have a pooling
    - masks: draws the masks of dropout, given the shapes of the hidden layers; None without dropout
    - relus: whether layer i of L has a ReLU, a function of both
    """

    axis: int
    eps: float
    norm_first: bool
    pooled: bool
    masks: Masks | None
    loss: Loss
    relus: Callable[[int, int], bool] = lambda layer, last: layer < last


def recognize(case: Case) -> Chain | None:
    """Return the network that a case's gradient belongs to as a Chain, or None if we do not know it."""
    if case.network is None or not _is_network(case):
        return None
    for recipe in itertools.chain(_recipes(case), _recipes_with_other_relus(case)):
        try:
            found = _built(case, recipe)
        except (ValueError, IndexError):  # shapes that do not fit
            continue
        if math.isclose(found.loss, case.network.loss, rel_tol=SAME_LOSS) and _agrees(case, found):
            return found
    return None


def layers_of(params: Mapping[str, Array]) -> int | None:
    """Return the number of layers of a network with the parameters W1, b1, W2, b2, ...; None of another one.

    All but the last layer may have gamma and beta too.
    """
    matches = [NAME.fullmatch(name) for name in params]
    last = max((int(match[2]) for match in matches if match), default=0)
    layers = range(1, last + 1)
    due = {f"{kind}{i}" for i in layers for kind in ("W", "b")}
    optional = {f"{kind}{i}" for i in layers[:-1] for kind in ("gamma", "beta") if f"gamma{i}" in params}
    return last if last and set(params) == due | optional else None


def _is_network(case: Case) -> bool:
    """Return whether inputs and labels are those of a network for classification."""
    X, *params = case.inputs.values()
    y = case.network.y if case.network else np.zeros(0)
    if y.dtype.kind not in "iu" or X.dtype.kind not in "fiub" or X.ndim < 2 or y.shape != X.shape[:1]:
        return False
    if not layers_of(_params(case)) or not all(param.dtype.kind == "f" for param in params):
        return False
    return all(param.ndim in ((2, 4) if name[0] == "W" else (1,)) for name, param in _params(case).items())


def _params(case: Case) -> dict[str, Array]:
    return dict(list(case.inputs.items())[1:])  # the first is X


def _recipes(case: Case) -> Iterator[Recipe]:
    """Yield the ways to build the network, the likeliest first."""
    names = _params(case)
    normalized = "gamma1" in names
    has_conv = np.ndim(names["W1"]) == 4
    yield from itertools.starmap(
        Recipe,
        itertools.product(
            (0, 1) if normalized else (0,),
            EPS_BY_TRIAL if normalized else EPS_BY_TRIAL[:1],
            (True, False) if normalized else (True,),
            (True, False) if has_conv else (True,),
            [*_masks(case), None],
            (softmax, svm),
        ),
    )


def _recipes_with_other_relus(case: Case) -> Iterator[Recipe]:
    """Yield recipes whose scores have a ReLU, or that lack one or all of the hidden layers' ReLUs."""
    last = layers_of(_params(case)) or 0
    others: list[Callable[[int, int], bool]] = [lambda layer, last: True, lambda layer, last: False]
    if last > 2:
        others += [partial(_has_other_relu, without=without) for without in range(1, last)]
    for recipe, relus in itertools.product(_recipes(case), others if last > 1 else []):
        if recipe.eps == EPS_BY_TRIAL[0]:
            yield replace(recipe, relus=relus)


def _has_other_relu(layer: int, last: int, without: int) -> bool:
    return layer not in (last, without)


def _built(case: Case, recipe: Recipe) -> Chain:
    """Run the network forward."""
    params = {name: np.asarray(param, dtype=np.float64) for name, param in _params(case).items()}
    X, last = np.asarray(case.x, dtype=np.float64), layers_of(params) or 0
    y = case.network.y if case.network else np.zeros(0, dtype=int)
    hidden_shapes = [(len(X), params[f"W{i}"].shape[1]) for i in range(1, last) if params[f"W{i}"].ndim == 2]
    masks = iter(recipe.masks(hidden_shapes) if recipe.masks else [])
    steps: list[Step] = []
    for i in range(1, last + 1):
        steps += _layer(steps[-1].out if steps else X, params, (i, last), recipe, masks)
    return Chain(X, y, steps, *recipe.loss(steps[-1].out, y))


def _layer(
    x: Array, params: Grads, layer: tuple[int, int], recipe: Recipe, masks: Iterator[Array]
) -> list[Step]:
    """Return the steps of a layer, given its number and that of the last layer."""
    i, last = layer
    w, b = params[f"W{i}"], params[f"b{i}"]
    is_conv = w.ndim == 4
    steps = [chain.conv(x, w, b, i, pad=(w.shape[2] - 1) // 2) if is_conv else chain.affine(x, w, b, i)]
    has_relu = recipe.relus(i, last)
    if i == last:
        return [*steps, chain.relu(steps[-1].out, i)] if has_relu else steps
    makers: list[Callable[[Array], Step]] = [lambda x: chain.relu(x, i)] if has_relu else []
    if f"gamma{i}" in params:
        axes = (0, 2, 3) if is_conv else (recipe.axis,)
        gamma, beta = params[f"gamma{i}"], params[f"beta{i}"]
        makers.insert(
            0 if recipe.norm_first else 1, lambda x: chain.norm(x, gamma, beta, i, axes, recipe.eps)
        )
    if is_conv and recipe.pooled:
        makers.append(lambda x: chain.pool(x, i))
    if recipe.masks and not is_conv:
        makers.append(lambda x: chain.dropout(x, next(masks), i))
    for make in makers:
        steps.append(make(steps[-1].out))
    return steps


def _agrees(case: Case, found: Chain) -> bool:
    """Return whether the numeric gradients of all parameters, taken together, are those of a chain.

    Where a step of the numeric gradient crosses a kink its entry is off, so that not all of them agree.
    """
    near = []
    for name, grad in found.right().items():
        count = case.penalty.get(name, 1.0 if name.startswith("W") else 0.0)
        expected, numeric = grad + count * case.reg * case.inputs[name], case.numeric.get(name)
        if numeric is None or np.shape(numeric) != grad.shape:
            return False
        margin = SAME * np.abs(expected).max(initial=0) + case.tol * case.floor  # and the rounding noise
        near.append((np.abs(numeric - expected) <= margin).reshape(-1))
    return bool(np.concatenate(near).mean() > BESIDE_KINKS)


# -------------------------------------------------------------------------------------------------- losses


def softmax(scores: Array, y: Array) -> tuple[float, Array]:
    """Return the mean of -log p_y over the examples, and its gradient (p - onehot(y)) / N."""
    shifted = scores - scores.max(axis=1, keepdims=True)
    log_p = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    onehot = np.eye(scores.shape[1])[y]
    return -float((log_p * onehot).sum()) / len(y), (np.exp(log_p) - onehot) / len(y)


def svm(scores: Array, y: Array) -> tuple[float, Array]:
    """Return the mean over the examples of sum_c max(0, s_c - s_y + 1), c != y, and its gradient."""
    onehot = np.eye(scores.shape[1])[y]
    margins = (scores - (scores * onehot).sum(axis=1, keepdims=True) + 1) * (1 - onehot)
    counted = (margins > 0).astype(float)
    gradient = counted - onehot * counted.sum(axis=1, keepdims=True)
    return float(np.maximum(margins, 0).sum()) / len(y), gradient / len(y)


# ------------------------------------------------------------------------------------------ dropout's masks


def _masks(case: Case) -> Iterator[Masks]:
    """Yield the ways to draw the masks from the seed: generators, thresholds and scales by trial."""
    p, seed = case.number("p"), case.integer("seed")
    if p is None or not 0 < p < 1 or seed is None or not 0 <= seed < 2**32:
        return
    draws = (_legacy_draws, _modern_draws)
    for draw, reseeded, rule in itertools.product(draws, (True, False), _rules(p)):
        yield _mask_drawing(draw, seed, reseeded, rule)


def _rules(p: float) -> list[Callable[[Array], Array]]:
    """Return the ways to turn uniform random numbers into a mask, where p keeps or drops a unit."""
    return [
        lambda u: (u < p) / p,
        lambda u: (u > p) / (1 - p),
        lambda u: (u > 1 - p) / p,
        lambda u: (u < 1 - p) / (1 - p),
        lambda u: (u < p) * 1.0,
        lambda u: (u > p) * 1.0,
    ]


def _mask_drawing(
    draw: Callable[[int], Callable[[tuple[int, ...]], Array]],
    seed: int,
    reseeded: bool,
    rule: Callable[[Array], Array],
) -> Masks:
    def masks(shapes: Sequence[tuple[int, ...]]) -> list[Array]:
        stream = draw(seed)
        return [rule((draw(seed) if reseeded else stream)(shape)) for shape in shapes]

    return masks


def _legacy_draws(seed: int) -> Callable[[tuple[int, ...]], Array]:
    """Return a function of a shape that draws as np.random.rand does after np.random.seed(seed)."""
    return np.random.RandomState(seed).random_sample


def _modern_draws(seed: int) -> Callable[[tuple[int, ...]], Array]:
    return np.random.default_rng(seed).random
