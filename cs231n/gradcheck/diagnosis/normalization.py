"""Mistakes in the backward pass of batch, layer, spatial batch and group normalization, and what is right.

`terms` recognizes the layer by its output, `staged` has its backward pass. The gradient is compared with what
the backward pass gives with one mistake in it, the likeliest mistakes first.
"""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from cs231n.gradcheck.diagnosis.candidates import Candidate, first_that_fit
from cs231n.gradcheck.diagnosis.causes import Array, Case, Finding, Observed
from cs231n.gradcheck.diagnosis.layouts import wrong_layouts, wrong_parameter_layouts
from cs231n.gradcheck.diagnosis.mistakes import Mistake
from cs231n.gradcheck.diagnosis.stage_mistakes import (
    axes_text,
    roots_in_variance,
    test_mode_mistakes,
    training_as_test_mode,
    trainings,
    wrong_groupings,
    wrong_scales,
    wrong_stages,
    wrong_sums,
)
from cs231n.gradcheck.diagnosis.staged import backward, parameter_gradients
from cs231n.gradcheck.diagnosis.sums import some_axes
from cs231n.gradcheck.diagnosis.term_counts import miscounted, miscounted_direct, off_by_factors
from cs231n.gradcheck.diagnosis.terms import Terms, fits, groupings, recognize
from cs231n.gradcheck.tolerances import FORWARD, TINY_VARIANCE

DGAMMA = "dgamma is the sum of dout * x_hat over everything that shares gamma."
DBETA = "dbeta is the sum of dout over everything that shares beta."
FORWARD_X_HAT = (
    "Use the x_hat of the forward pass: in training that of the batch, in test mode "
    "(x - running_mean) / sqrt(running_var + eps)."
)
OF_CHANNELS = "Each channel has a gamma and a beta of its own: sum over axes 0, 2, 3 of dout (N, C, H, W)."
SUM_AXES = "Sum over all axes but that of the features or channels, whatever the axes of the means."


def gradients_of_normalization(observed: Observed) -> dict[str, Array] | None:
    """Return {name: gradient} of all arguments of a normalization; None if the layer is not one."""
    terms = recognize(observed)
    if terms is None or observed.out is None:
        return None
    with np.errstate(all="ignore"):
        if not fits(observed.out, terms.out, FORWARD):  # an output in float32 does not show eps
            return None
        flat = {terms.layer.names[0]: backward(terms)} | parameter_gradients(terms)
    return {name: gradient.reshape(observed.inputs[name].shape) for name, gradient in flat.items()}


def find_normalization(case: Case) -> Iterator[Finding]:
    """Find mistakes in the gradients of a normalization, if the layer is one."""
    terms = recognize(case)
    if terms is None or not case.actual.any():
        return
    names = terms.layer.names
    if case.name == names[0] or (case.name not in names and case.is_of_x):
        yield from _in_dx(case, terms)
    elif case.name in names[1:]:
        is_gamma = case.name == names[1]
        yield from first_that_fit(_flat(case), _of_gamma(case, terms) if is_gamma else _of_beta(case, terms))


def _in_dx(case: Case, terms: Terms) -> Iterator[Finding]:
    if not terms.training:
        yield from first_that_fit(case, [test_mode_mistakes(case, terms)])
        return
    groups = (*wrong_dx(case, terms), training_as_test_mode(case, terms))
    findings = list(first_that_fit(case, groups))
    yield from findings or off_by_factors(case, terms)


def wrong_dx(observed: Observed, terms: Terms) -> tuple[Iterator[Candidate], ...]:
    """Return groups of dx with a known mistake in it, the likeliest first, for a layer in training."""
    return (
        wrong_scales(observed, terms),
        miscounted(terms),
        wrong_stages(terms),
        roots_in_variance(terms),
        miscounted_direct(terms),
        wrong_groupings(observed, terms),
        wrong_sums(terms),
        wrong_layouts(terms),
    )


def _flat(case: Case) -> Case:
    return replace(case, actual=case.actual.reshape(-1), expected=case.expected.reshape(-1))


def _of_gamma(case: Case, terms: Terms) -> Iterator[Iterator[Candidate]]:
    products = terms.layer.dout * terms.x_hat
    yield _other_factors(terms)
    yield _without_dout(case, terms)
    yield _other_x_hat(case, terms)
    yield _other_sums(terms, products)
    yield wrong_parameter_layouts(terms, of_gamma=True)


def _of_beta(case: Case, terms: Terms) -> Iterator[Iterator[Candidate]]:
    layer = terms.layer
    yield iter([Candidate(Mistake.GAMMA_IN_EXCESS, _summed(terms, layer.gamma * layer.dout), DBETA)])
    yield _other_sums(terms, layer.dout)
    yield wrong_parameter_layouts(terms, of_gamma=False)
    yield _of_other_groupings(case, terms, position=1)


def _summed(terms: Terms, array: Array) -> Array:
    return terms.layer.grouping.sum_for_parameter(array)


def _other_factors(terms: Terms) -> Iterator[Candidate]:
    """Yield dgamma with another factor in place of x_hat."""
    layer, r = terms.layer, terms.r
    without_eps = terms.centered / np.sqrt(np.maximum(terms.var, TINY_VARIANCE))
    factors = (
        (Mistake.X_FOR_X_HAT, layer.x),
        (Mistake.CENTERED_FOR_X_HAT, terms.centered),
        (Mistake.OUT_FOR_X_HAT, terms.out),
        (Mistake.GAMMA_IN_EXCESS, layer.gamma * terms.x_hat),
        (Mistake.DIVIDED_BY_VARIANCE, terms.centered * r**2),
        (Mistake.MULTIPLIED_BY_STD, terms.centered / r),
        (Mistake.NO_EPS, without_eps),
        (Mistake.X_FOR_CENTERED, layer.x * r),
    )
    for mistake, factor in factors:
        yield Candidate(mistake, _summed(terms, layer.dout * factor), DGAMMA)


def _without_dout(case: Case, terms: Terms) -> Iterator[Candidate]:
    """Yield the sum of x_hat, which is rounding noise if the mean was taken over the same entries."""
    gradient = _summed(terms, terms.x_hat)
    noise = FORWARD * np.abs(case.expected).max(initial=0)
    if np.abs(gradient).max(initial=0) <= noise and np.abs(case.actual).max(initial=0) <= noise:
        gradient = case.actual.reshape(-1)
    yield Candidate(Mistake.NO_DOUT, gradient, DGAMMA)


def _other_x_hat(case: Case, terms: Terms) -> Iterator[Candidate]:
    """Yield dgamma with an x_hat that is not the forward pass's."""
    layer, count, letters = terms.layer, terms.count, terms.layer.grouping.letters
    if not terms.training:
        look = f"{DGAMMA} {FORWARD_X_HAT}"
        for training in trainings(case, terms):
            yield Candidate(Mistake.TEST_AS_TRAINING, _summed(terms, layer.dout * training.x_hat), look)
    elif terms.scale.less:
        about = f"{letters} - 1, the backward pass by {letters}"
        x_hat = terms.with_scale(less=0).x_hat
        yield Candidate(Mistake.FORWARD_UNBIASED, _summed(terms, layer.dout * x_hat), DGAMMA, about)
    elif count > 1:
        about, x_hat = f"{letters} - 1, not by {letters}", terms.with_scale(less=1).x_hat
        yield Candidate(Mistake.UNBIASED_VARIANCE, _summed(terms, layer.dout * x_hat), DGAMMA, about)
    yield from _of_other_groupings(case, terms, position=0)


def _of_other_groupings(case: Case, terms: Terms, position: int) -> Iterator[Candidate]:
    """Yield dgamma (position 0) or dbeta (1) of the layer that normalizes over other entries."""
    right = terms.layer.grouping
    for other in groupings(case):
        if other != right and terms.training:
            gradient = list(parameter_gradients(terms.over(other)).values())[position]
            mistake = Mistake.MEANS_OVER_WRONG_AXES
            if not (right.transposed and other.transposed):
                mistake = Mistake.DOUT_NOT_TRANSPOSED if right.transposed else Mistake.FORWARD_NOT_TRANSPOSED
            evidence = f"the forward pass normalizes over {right.over}, the backward pass over {other.over}"
            yield Candidate(mistake, gradient, DGAMMA if position == 0 else DBETA, evidence=evidence)


def _other_sums(terms: Terms, products: Array) -> Iterator[Candidate]:
    """Yield sums over other axes that leave as many numbers as gamma has: a square shape hides them."""
    size, view = terms.layer.parameters[0].size, terms.layer.grouping.view
    if len(view) > products.ndim and view[1] > 1 and view[2] > 1:  # groups of several channels
        of_groups = products.reshape(view).sum(axis=(0, 2, 3, 4))
        yield Candidate(Mistake.SUMMED_OVER_GROUP, np.repeat(of_groups, view[2]), OF_CHANNELS)
    right = tuple(axis for axis in range(products.ndim) if axis != 1)
    for axes in some_axes(products.ndim):
        sums = products.sum(axis=axes)
        if axes != right and sums.size == size:
            evidence = f"it is a sum over {axes_text(axes)}"
            yield Candidate(Mistake.SUMMED_OVER_WRONG_AXES, sums.reshape(-1), SUM_AXES, evidence=evidence)
