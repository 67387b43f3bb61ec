"""Gradients of a normalization in which one stage of the backward pass is wrong, or its sums are."""

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np

from cs231n.gradcheck.diagnosis.candidates import MATCHES, Candidate
from cs231n.gradcheck.diagnosis.causes import Array, Case, Observed
from cs231n.gradcheck.diagnosis.mistakes import Mistake
from cs231n.gradcheck.diagnosis.staged import (
    STAGES,
    Pass,
    Stage,
    backward,
    closed_form,
    parameter_gradients,
)
from cs231n.gradcheck.diagnosis.sums import some_axes
from cs231n.gradcheck.diagnosis.term_counts import CLOSED_FORM, DIRECT, MEAN, VARIANCE, unbiased
from cs231n.gradcheck.diagnosis.terms import LEAST_POINTS, USUAL_EPS, Grouping, Scale, Terms, groupings
from cs231n.gradcheck.tolerances import TINY_VARIANCE

GAMMA = "dx_hat = gamma * dout comes first; every later stage uses dx_hat, and gamma no more."
EPS = "Both passes divide by sqrt(var + eps), with the same eps."
TEST_MODE = "The running averages are constants: dx = gamma / sqrt(running_var + eps) * dout."
TRAINING = "In training the mean and the variance depend on x: " + CLOSED_FORM
WHICH_MODE = f"{TEST_MODE} In training, forward has to use the mean and the variance of the batch."
NOT_IN_TEST_MODE = f"{TRAINING} Only in test mode are they constants, the running averages."
TRANSPOSE = (
    "Reshape keeps the order in memory: transpose(0, 2, 3, 1) puts the channels last before reshape(-1, C)."
)
AXES = "Backward sums over the axes that the forward pass takes the mean over."
KEEPDIMS = "A mean over axis 1 needs keepdims=True, or it is subtracted along axis 0."
GAMMA_IN_SUMS = "dbeta and dgamma are sums of dout; the sums in dx are those of dx_hat = gamma * dout."
GAMMA_AXIS = "gamma has one entry for each feature or channel: axis 1 of dout. Transpose both, or neither."
STD = "std = sqrt(var + eps) has its root already, var has not. Which of the two does the cache hold?"
ROOT = "every entry matches with sqrt(std + eps) in place of sqrt(var + eps)"
WITH_DOUT = "every entry matches with sums of dout in place of sums of dx_hat"
WITH_PARAMETERS = "every entry matches with dbeta and dgamma in place of sums of dx_hat"
EACH = "every entry matches with the summands in place of their sum"
SUM = "One mean and one variance are shared by many entries: their gradients are sums over all of these."
TIMES_DOUT = "every entry is dout times one number for each feature or channel"
POWER = "Is x_hat used where x - mean belongs, or std where var belongs? " + VARIANCE
POWERS = (0, 1, 1.5, 2, 4, 5, 6)  # of 1 / sqrt(var + eps), where 3 is right


def wrong_stages(terms: Terms) -> Iterator[Candidate]:
    """Yield the gradients with one stage of the backward pass replaced."""
    letters = terms.layer.grouping.letters
    for mistake, look, changes in _changed_stages():
        yield Candidate(mistake, backward(terms, **changes), look.format(letters))
    yield from _without_gamma_in_sums(terms)
    yield from _along_other_axes(terms)
    yield from _other_roots(terms)
    for power in POWERS:
        evidence = (
            f"every entry matches with (var + eps)**{-power / 2:g} instead of (var + eps)**-1.5 in dvar"
        )
        gradient = backward(terms, dvar=_with_power(power))
        yield Candidate(Mistake.WRONG_POWER, gradient, POWER.format(letters), evidence=evidence)


def _without_gamma_in_sums(terms: Terms) -> Iterator[Candidate]:
    """Yield dx with sums of dout in place of sums of dx_hat in both terms; dbeta and dgamma are such sums."""
    grouping, look = terms.layer.grouping, f"{GAMMA_IN_SUMS} {CLOSED_FORM}"
    gradient = backward(
        terms,
        dinv=lambda p: p.sum(p.layer.dout * p.centered),
        dmean=lambda p: -p.sum(p.layer.dout * p.r),
    )
    yield Candidate(Mistake.NO_GAMMA_IN_SUMS, gradient, look, evidence=WITH_DOUT)
    parameters = parameter_gradients(terms)
    if len(parameters) == 2:
        dgamma, dbeta = (grouping.spread(sums, terms.shape) for sums in parameters.values())
        g = terms.layer.gamma * terms.layer.dout
        gradient = terms.r * (g - (dbeta + terms.x_hat * dgamma) / terms.count)
        yield Candidate(Mistake.NO_GAMMA_IN_SUMS, gradient, look, evidence=WITH_PARAMETERS)


def _along_other_axes(terms: Terms) -> Iterator[Candidate]:
    """Yield dx with gamma along another axis than 1, where equal sizes hide it."""
    gamma = terms.layer.parameters[0]
    for axis, size in enumerate(terms.shape):
        if axis != 1 and size == gamma.size:
            along = gamma.reshape([size if other == axis else 1 for other in range(len(terms.shape))])
            gradient = backward(terms, dx_hat=_times(along))
            evidence = f"every entry matches with gamma along axis {axis} of dout"
            yield Candidate(Mistake.GAMMA_ALONG_WRONG_AXIS, gradient, GAMMA_AXIS, evidence=evidence)


def _times(gamma: Array) -> Stage:
    return lambda p: gamma * p.layer.dout


def _other_roots(terms: Terms) -> Iterator[Candidate]:
    """Yield dx with std in place of var, which adds a root, or without eps var in place of std."""
    for eps in {terms.scale.eps, 0.0}:
        for gradient in _with_root(terms, 1 / np.sqrt(terms.std + eps)):
            yield Candidate(Mistake.STD_FOR_VAR, gradient, STD, evidence=ROOT)
    for gradient in _with_root(terms, 1 / np.maximum(terms.var, TINY_VARIANCE)):
        yield Candidate(Mistake.DIVIDED_BY_VARIANCE, gradient, STD)


def _with_root(terms: Terms, r: Array) -> Iterator[Array]:
    """Yield dx with another 1 / std: in front of the closed form, or in the stages that divide by it."""
    yield backward(terms, dx=lambda p: r / p.r * STAGES["dx"](p))
    yield closed_form(terms, r=r, x_hat=terms.centered * r)
    yield backward(terms, direct=lambda p: r * p.dx_hat, dvar=lambda p: -0.5 * r**3 * p.dinv)
    yield backward(terms, direct=lambda p: r * p.dx_hat)


def roots_in_variance(terms: Terms) -> Iterator[Candidate]:
    """Yield dx with std in place of var in the variance's path alone."""
    look = f"{STD} {VARIANCE.format(terms.layer.grouping.letters)}"
    for eps in {terms.scale.eps, 0.0}:
        r = 1 / np.sqrt(terms.std + eps)
        for dvar in (_dvar_with(r, r, r), _dvar_with(r, terms.r, terms.r), _dvar_with(terms.r, r, r)):
            gradient = backward(terms, dvar=dvar)
            yield Candidate(Mistake.STD_FOR_VAR, gradient, look, evidence=f"{ROOT}, in the variance's term")


def _dvar_with(*factors: Array) -> Stage:
    """Return dvar with other factors in place of the three that are 1 / std."""
    return lambda p: -0.5 * factors[0] * factors[1] * factors[2] * p.dinv


def _with_power(power: float) -> Stage:
    return lambda p: -0.5 * p.r**power * p.dinv


def _without_eps(p: Pass) -> Array:
    return 1 / np.sqrt(np.maximum(p.terms.var, TINY_VARIANCE))


def _changed_stages() -> Iterator[tuple[Mistake, str, dict[str, Stage]]]:
    """Yield (mistake, where to look, stages): gamma, the deviation, and the variance's path."""
    yield Mistake.NO_GAMMA, GAMMA, {"dx_hat": lambda p: p.layer.dout}
    yield Mistake.GAMMA_TWICE, GAMMA, {"dx_hat": lambda p: p.layer.gamma**2 * p.layer.dout}
    yield Mistake.BETA_FOR_GAMMA, GAMMA, {"dx_hat": lambda p: p.layer.beta * p.layer.dout}
    yield Mistake.DIVIDED_BY_GAMMA, GAMMA, {"dx_hat": lambda p: p.layer.dout / p.layer.gamma}
    yield (
        Mistake.GAMMA_AFTER_MEANS,
        GAMMA + " It differs from entry to entry of a mean.",
        {"dx_hat": lambda p: p.layer.dout, "dx": lambda p: p.layer.gamma * STAGES["dx"](p)},
    )
    yield Mistake.NO_GAMMA_IN_TERM, GAMMA, {"dinv": lambda p: p.sum(p.layer.dout * p.centered)}
    yield Mistake.NO_GAMMA_IN_TERM, GAMMA, {"dmean": lambda p: -p.sum(p.layer.dout * p.r)}
    yield Mistake.NO_GAMMA_IN_TERM, GAMMA, {"direct": lambda p: p.layer.dout * p.r}
    yield (
        Mistake.NO_GAMMA_IN_TERM,
        GAMMA,
        {
            "direct": lambda p: p.layer.dout * p.r,
            "dmean": lambda p: -p.sum(p.dx_hat * p.r),
        },
    )
    yield Mistake.NO_DIVISION_BY_STD, DIRECT, {"direct": lambda p: p.dx_hat}
    yield Mistake.NO_DIVISION_BY_STD, CLOSED_FORM, {"dx": lambda p: p.terms.std * STAGES["dx"](p)}
    yield Mistake.DIVIDED_BY_VARIANCE, DIRECT, {"direct": lambda p: p.dx_hat * p.r**2}
    yield Mistake.DIVIDED_BY_VARIANCE, CLOSED_FORM, {"dx": lambda p: p.r * STAGES["dx"](p)}
    yield Mistake.MULTIPLIED_BY_STD, DIRECT, {"direct": lambda p: p.dx_hat / p.r}
    yield Mistake.MULTIPLIED_BY_STD, CLOSED_FORM, {"dx": lambda p: STAGES["dx"](p) / p.r**2}
    yield Mistake.NO_DIVISION_BY_STD_IN_MEAN, MEAN, {"dmean": lambda p: -p.sum(p.dx_hat)}
    yield Mistake.NO_PRODUCT, VARIANCE, {"dinv": lambda p: p.sum(p.dx_hat)}
    yield Mistake.NO_PRODUCT, VARIANCE, {"dinv": lambda p: p.sum(p.dx_hat) / p.r}
    yield Mistake.NO_X_HAT, VARIANCE, {"from_var": lambda p: 2 * p.dsquare / p.r, "dmean": _mean_of_direct}
    yield Mistake.NO_X_HAT, VARIANCE, {"from_var": lambda p: 2 * p.dsquare, "dmean": _mean_of_direct}
    yield Mistake.X_FOR_CENTERED, VARIANCE, {"dinv": lambda p: p.sum(p.dx_hat * p.layer.x)}
    yield (
        Mistake.X_FOR_CENTERED,
        VARIANCE,
        {"from_var": lambda p: 2 * p.layer.x * p.dsquare, "dmean": _mean_of_direct},
    )
    yield Mistake.NO_EPS, EPS, {"dvar": lambda p: -0.5 * _without_eps(p) ** 3 * p.dinv}
    yield Mistake.NO_EPS, EPS, {"direct": lambda p: p.dx_hat * _without_eps(p)}
    yield Mistake.NO_EPS, EPS, {"dx": lambda p: p.terms.std * _without_eps(p) * STAGES["dx"](p)}


def _mean_of_direct(p: Pass) -> Array:
    """Return dmean without the variance's path, which adds sum(x - mean) = 0 to it."""
    return -p.sum(p.direct)


def wrong_scales(observed: Observed, terms: Terms) -> Iterator[Candidate]:
    """Yield the gradients where forward and backward compute different standard deviations."""
    scale, letters = terms.scale, terms.layer.grouping.letters
    if scale.less:
        about = f"{letters} - 1, the backward pass by {letters}"
        evidence = f"the output matches a division by {letters} - 1, the gradient one by {letters}"
        gradients = (
            backward(terms.with_scale(less=0)),
            backward(terms, dsquare=lambda p: p.dvar / p.terms.count),
        )
        for gradient in gradients:
            yield Candidate(Mistake.FORWARD_UNBIASED, gradient, _variance_of(letters), about, evidence)
    elif terms.count > 1:
        other, about = terms.with_scale(less=1), unbiased(letters)
        in_part = backward(other, dsquare=lambda p: p.dvar / p.terms.count)
        for gradient in (backward(other), in_part):
            yield Candidate(Mistake.UNBIASED_VARIANCE, gradient, _variance_of(letters), about)
    yield from _wrong_places_of_eps(terms)
    yield from _other_eps(observed, terms)


def _variance_of(letters: str) -> str:
    return f"Both passes take var = mean((x - mean)**2), a sum divided by {letters}."


def _wrong_places_of_eps(terms: Terms) -> Iterator[Candidate]:
    scale = terms.scale
    if not scale.eps:
        return
    if scale.outside:
        mistake = Mistake.FORWARD_EPS_OUTSIDE
        slopes = [_with_power(3), lambda p: 0.5 / np.sqrt(p.terms.var + p.terms.scale.eps) * p.dstd]
    else:
        mistake, slopes = Mistake.EPS_OUTSIDE, [lambda p: 0.5 * _without_eps(p) * p.dstd]
    for gradient in (
        backward(terms.with_scale(outside=not scale.outside)),
        *(backward(terms, dvar=slope) for slope in slopes),
    ):
        yield Candidate(mistake, gradient, EPS)


def _other_eps(observed: Observed, terms: Terms) -> Iterator[Candidate]:
    """Yield the gradients with no eps, that of the settings, or another usual one."""
    told, right = observed.number("eps"), terms.scale.eps
    for eps in dict.fromkeys([0.0, *([] if told is None else [told]), *USUAL_EPS]):
        if eps == right:
            continue
        other = Terms(terms.layer, Scale(max(eps, TINY_VARIANCE), terms.scale.less, terms.scale.outside))
        if right == 0:
            evidence = f"every entry matches with eps = {eps:g} in the backward pass"
            yield Candidate(Mistake.FORWARD_NO_EPS, backward(other), EPS, evidence=evidence)
        elif eps == 0:
            yield Candidate(Mistake.NO_EPS, backward(other), EPS)
        else:
            evidence = f"the output matches eps = {right:g}, the gradient eps = {eps:g}"
            yield Candidate(Mistake.OTHER_EPS, backward(other), EPS, evidence=evidence)


def wrong_groupings(observed: Observed, terms: Terms) -> Iterator[Candidate]:
    """Yield the gradients with sums over other entries than those that share a mean."""
    right = terms.layer.grouping
    for other in groupings(observed):
        if other != right:
            mistake, look = _of_other_grouping(right, other)
            evidence = f"the forward pass normalizes over {right.over}, the backward pass over {other.over}"
            whole = backward(terms.over(other))
            gradients = [whole, closed_form(terms, grouping=other)]
            if (
                len(right.view) == len(other.view) == 5 and right.view[1] == other.view[2]
            ):  # r, laid out as groups
                of_groups = terms.r.reshape(right.view)[:, :, :1, :1, :1].swapaxes(1, 2)
                spread = np.broadcast_to(of_groups, other.view).reshape(terms.shape)
                gradients.append(closed_form(terms, grouping=other, r=spread))
            for gradient in gradients:
                yield Candidate(mistake, gradient, look, evidence=evidence)


def _of_other_grouping(right: Grouping, other: Grouping) -> tuple[Mistake, str]:
    if not right.transposed:
        return Mistake.FORWARD_NOT_TRANSPOSED, TRANSPOSE
    if not other.transposed:
        return Mistake.NEITHER_TRANSPOSED, TRANSPOSE
    return Mistake.MEANS_OVER_WRONG_AXES, f"{AXES} {CLOSED_FORM}"


def wrong_sums(terms: Terms) -> Iterator[Candidate]:
    """Yield the gradients with sums over other axes of x or of its groups, or along the wrong axis."""
    right = terms.layer.grouping
    for axes in some_axes(len(right.view)):
        if axes != right.axes:
            other = replace(right, axes=axes)
            of_view = "" if len(right.view) < 5 else " of the shape (N, G, C/G, H, W)"
            evidence = f"every entry matches with sums over {axes_text(axes)}{of_view}"
            for total in (_mean_over(other, right.count), other.sum):
                yield from _with_total(
                    terms, total, Mistake.MEANS_OVER_WRONG_AXES, Mistake.TERM_OVER_WRONG_AXES, AXES, evidence
                )
    if right.count > 1:
        of_both, of_one = Mistake.MEANS_NOT_SUMMED, Mistake.TERM_NOT_SUMMED
        yield from _with_total(terms, lambda array: array, of_both, of_one, SUM, EACH)
        gradient = backward(terms, dinv=lambda p: right.count * p.dx_hat * p.centered)
        look, evidence = f"{SUM} {VARIANCE.format(right.letters)}", f"{EACH}, not divided by {right.letters}"
        yield Candidate(of_one, gradient, look, "variance", evidence)
    if right.axes == (1,) and terms.shape[0] == terms.shape[1]:
        laid_out = Mistake.MEANS_LAID_OUT_WRONGLY
        yield from _with_total(terms, lambda array: right.sum(array).T, laid_out, laid_out, KEEPDIMS, MATCHES)


def axes_text(axes: tuple[int, ...]) -> str:
    """Return axes in words."""
    return f"axis {axes[0]}" if len(axes) == 1 else f"axes {', '.join(map(str, axes))}"


Total = Callable[[Array], Array]


def _mean_over(grouping: Grouping, count: int) -> Total:
    """Return a function that takes a mean, times the number that the stages divide a sum by."""
    return lambda array: count * grouping.mean(array)


def _with_total(
    terms: Terms, total: Total, of_both: Mistake, of_one: Mistake, look: str, evidence: str
) -> Iterator[Candidate]:
    """Yield the gradients with another sum in both terms, the mean's or the variance's, staged or closed."""
    letters = terms.layer.grouping.letters
    staged: tuple[dict[str, Stage], dict[str, Stage]] = (
        {"dmean": lambda p: -total(p.direct + p.from_var)},
        {"dinv": lambda p: total(p.dx_hat * p.centered)},
    )
    closed: tuple[dict[str, Stage], dict[str, Stage]] = (
        {"dmean": lambda p: -p.r * total(p.dx_hat)},
        {"from_var": lambda p: -p.r * p.x_hat * total(p.dx_hat * p.x_hat) / p.terms.count},
    )
    for mean, variance in (staged, closed):
        yield Candidate(of_both, backward(terms, **mean, **variance), f"{look} {CLOSED_FORM}", "", evidence)
    for mean, variance in (staged, closed):
        about = ("mean", "variance") if of_one is not of_both else ("", "")
        in_mean, in_variance = backward(terms, **mean), backward(terms, dmean=_mean_of_direct, **variance)
        yield Candidate(of_one, in_mean, f"{look} {MEAN.format(letters)}", about[0], evidence)
        yield Candidate(of_one, in_variance, f"{look} {VARIANCE.format(letters)}", about[1], evidence)
    power_in_sum = backward(terms, dvar=lambda p: -0.5 * total(p.dx_hat * p.centered * p.r**3))
    yield Candidate(of_one, power_in_sum, f"{look} {VARIANCE.format(letters)}", about[1], evidence)
    yield Candidate(
        of_one, backward(terms, **staged[1]), f"{look} {VARIANCE.format(letters)}", about[1], evidence
    )


def trainings(observed: Observed, terms: Terms) -> Iterator[Terms]:
    """Yield the training mode of a layer in test mode, whose output does not show eps."""
    told = observed.number("eps")
    for eps in USUAL_EPS if told is None else (told,):
        yield Terms(terms.layer, Scale(eps))


def test_mode_mistakes(observed: Observed, terms: Terms) -> Iterator[Candidate]:
    """Yield wrong gradients of test mode, where mean and variance are constants."""
    layer, r = terms.layer, terms.r
    g = layer.gamma * layer.dout
    for gradient in (Pass(terms, {}).dx, closed_form(terms)):
        yield Candidate(Mistake.TEST_AS_TRAINING, gradient, WHICH_MODE)
    for training in trainings(observed, terms):
        in_training = (
            backward(training),
            closed_form(training, r=r),
            closed_form(terms, r=training.r),
            closed_form(terms, x_hat=training.centered * r),
        )
        for gradient in in_training:
            yield Candidate(Mistake.TEST_AS_TRAINING, gradient, WHICH_MODE)
        yield Candidate(Mistake.BATCH_VARIANCE, g * training.r, TEST_MODE)
    yield Candidate(Mistake.NO_GAMMA, layer.dout * r, TEST_MODE)
    yield Candidate(Mistake.GAMMA_TWICE, layer.gamma * g * r, TEST_MODE)
    yield Candidate(Mistake.BETA_FOR_GAMMA, layer.beta * layer.dout * r, TEST_MODE)
    yield Candidate(Mistake.NO_DIVISION_BY_STD, g, TEST_MODE)
    yield Candidate(Mistake.DIVIDED_BY_VARIANCE, g * r**2, TEST_MODE)
    yield Candidate(Mistake.MULTIPLIED_BY_STD, g / r, TEST_MODE)
    yield Candidate(Mistake.NO_EPS, g / np.sqrt(np.maximum(terms.var, TINY_VARIANCE)), TEST_MODE)


def training_as_test_mode(case: Case, terms: Terms) -> Iterator[Candidate]:
    """Yield dout times the number that fits for each feature, for a layer that normalizes over the batch."""
    layer = terms.layer
    if 0 not in layer.grouping.axes or layer.grouping.count < LEAST_POINTS or not layer.grouping.transposed:
        return
    ratio = layer.grouping.sum(case.actual * layer.dout) / layer.grouping.sum(layer.dout**2)
    yield Candidate(Mistake.TRAINING_AS_TEST, ratio * layer.dout, NOT_IN_TEST_MODE, evidence=TIMES_DOUT)
