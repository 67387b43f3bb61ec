"""Forward passes that are not quite a normalization, with the backward pass of one.

`forward_passes` compares: where one of these gives the output, and the gradient is that of a normalization,
the two do not belong together.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from cs231n.gradcheck.diagnosis.causes import Array, Case, is_output
from cs231n.gradcheck.diagnosis.staged import backward, closed_form, parameter_gradients
from cs231n.gradcheck.diagnosis.terms import DEFAULT_EPS, Scale, Terms, layers_of, recognize

NORM = "out = gamma * x_hat + beta, with x_hat = (x - mean) / sqrt(var + eps) and var = mean((x - mean)**2)."
LAYOUT = (
    "transpose(0, 2, 3, 1) puts the channels last before reshape(-1, C). Back again: reshape(N, H, W, C), "
    "and transpose(0, 3, 1, 2)."
)
SPREAD = "gamma and beta have one entry for each feature or channel: axis 1 of x."


class WrongNorm(NamedTuple):
    """A normalization's forward pass with one mistake.

    - words: what it does, behind "the forward pass"
    - x_hat, r: what it may leave in the cache in place of the right ones
    """

    words: str
    out: Array
    look: str = NORM
    x_hat: Array | None = None
    r: Array | None = None


def normalizations(case: Case) -> Iterator[tuple[Array, WrongNorm]]:
    """Yield (gradient of a normalization, forward pass with a mistake that gives the output)."""
    if recognize(case) is not None:
        return
    eps = case.number("eps")
    with np.errstate(all="ignore"):
        for layer in layers_of(case):
            terms = Terms(layer, Scale(DEFAULT_EPS if eps is None else eps))
            for wrong in _wrong(terms):
                if is_output(case.out, wrong.out):
                    for gradient in _gradients(case, terms, wrong):
                        yield gradient, wrong


def _gradients(case: Case, terms: Terms, wrong: WrongNorm) -> Iterator[Array]:
    """Yield the gradients of the right layer, also with the x_hat and the 1 / std of the wrong one."""
    layer = terms.layer
    if case.name == layer.names[0]:
        yield backward(terms)
        yield closed_form(terms, x_hat=wrong.x_hat, r=wrong.r)
        yield closed_form(terms, x_hat=wrong.x_hat)
    elif case.name in layer.names:
        yield parameter_gradients(terms)[case.name].reshape(case.actual.shape)


def _wrong(terms: Terms) -> Iterator[WrongNorm]:
    layer, grouping = terms.layer, terms.layer.grouping
    x, gamma, beta, r, centered = layer.x, layer.gamma, layer.beta, terms.r, terms.centered

    def scaled(words: str, scale: Array, of: Array = centered) -> WrongNorm:
        x_hat = of * scale
        return WrongNorm(words, gamma * x_hat + beta, x_hat=x_hat, r=scale)

    root = "the backward pass by the standard deviation"
    yield scaled(f"divides by the variance, {root}", r**2)
    yield scaled(f"divides by the variance, {root}", 1 / terms.var)
    yield scaled("multiplies by the standard deviation, the backward pass divides by it", terms.std)
    yield scaled("does not divide by the standard deviation, the backward pass does", np.ones_like(r))
    yield scaled(f"divides by the root of the standard deviation, {root}", 1 / np.sqrt(terms.std))
    of_sum = 1 / np.sqrt(grouping.sum(centered**2) + terms.scale.eps)
    yield scaled("takes the sum of (x - mean)**2 for the variance, the backward pass the mean", of_sum)
    of_squares = 1 / np.sqrt(grouping.mean(x**2) + terms.scale.eps)
    yield scaled(
        "takes the mean of x**2 for the variance, the backward pass that of (x - mean)**2", of_squares
    )
    of_sizes = 1 / (grouping.mean(np.abs(centered)) + terms.scale.eps)
    yield scaled(
        "divides by the mean of abs(x - mean), the backward pass by the standard deviation", of_sizes
    )
    yield scaled("does not subtract the mean, the backward pass does", r, x)
    yield scaled("adds the mean, the backward pass subtracts it", r, 2 * x - centered)
    yield from _of_parameters(terms)
    if x.ndim == 4:
        yield from _of_layouts(terms.out)


def _of_parameters(terms: Terms) -> Iterator[WrongNorm]:
    """Yield forward passes with mistakes in gamma and beta."""
    layer, x_hat = terms.layer, terms.x_hat
    gamma, beta = layer.gamma, layer.beta
    yield WrongNorm("leaves out gamma, the backward pass does not", x_hat + beta)
    yield WrongNorm("leaves out beta, the backward pass does not", gamma * x_hat)
    yield WrongNorm("leaves out gamma and beta, the backward pass does not", x_hat)
    yield WrongNorm("swaps gamma and beta, the backward pass does not", beta * x_hat + gamma)
    yield WrongNorm("multiplies beta by gamma, the backward pass does not", gamma * (x_hat + beta))
    yield WrongNorm("multiplies by 1 + gamma, the backward pass by gamma", (1 + gamma) * x_hat + beta)
    yield WrongNorm("subtracts beta, the backward pass adds it", gamma * x_hat - beta)
    for axis, size in enumerate(terms.shape):
        if axis != 1 and size == layer.parameters[0].size:
            shape = tuple(size if other == axis else 1 for other in range(len(terms.shape)))
            along = [np.reshape(parameter, shape) for parameter in layer.parameters]
            words = "applies gamma and beta along the wrong axis, the backward pass along axis 1"
            yield WrongNorm(words, along[0] * x_hat + along[1], SPREAD)


def _of_layouts(out: Array) -> Iterator[WrongNorm]:
    """Yield outputs whose channels come back from the last axis in the wrong way."""
    last = out.transpose(0, 2, 3, 1)
    words = (
        "puts the axes of its output back in the wrong order, the backward pass those of dx in the right one"
    )
    yield WrongNorm(words, last.reshape(out.shape), LAYOUT)
    for axes in ((0, 3, 2, 1), (0, 1, 3, 2), (0, 2, 1, 3), (0, 2, 3, 1), (0, 1, 2, 3)):
        yield WrongNorm(words, last.transpose(axes), LAYOUT)
