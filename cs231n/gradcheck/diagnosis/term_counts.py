"""Mistakes that count a term of a normalization's gradient the wrong number of times.

The gradient is direct + mean's term + variance's term, each once:

    direct = dx_hat / std,   mean's = -mean(direct),   variance's = -x_hat / std * mean(dx_hat * x_hat).

A divisor D instead of N multiplies a term by N / D, a missing division by N, and so on.
"""

import math
from collections.abc import Iterator

import numpy as np

from cs231n.gradcheck.diagnosis.candidates import ALSO, Candidate
from cs231n.gradcheck.diagnosis.causes import Array, Case, Finding
from cs231n.gradcheck.diagnosis.mistakes import Mistake
from cs231n.gradcheck.diagnosis.staged import Pass
from cs231n.gradcheck.diagnosis.terms import Terms
from cs231n.gradcheck.tolerances import COMBINATION, TERM_COUNT

CLOSED_FORM = (
    "The closed form is dx = (dx_hat - mean(dx_hat) - x_hat * mean(dx_hat * x_hat)) / sqrt(var + eps), "
    "with dx_hat = gamma * dout."
)
DIRECT = (
    "In the staged pass, d(x - mean) starts as dx_hat / sqrt(var + eps), before the variance adds its part. "
    "In the closed form it is the term dx_hat."
)
MEAN = (
    "In the staged pass, dmean = -sum(d(x - mean)), and dx gets dmean / {0}. In the closed form it is the "
    "term -mean(dx_hat)."
)
VARIANCE = (
    "In the staged pass, dvar = -0.5 * (var + eps)**-1.5 * sum(dx_hat * (x - mean)), and d(x - mean) gets "
    "2 / {0} * (x - mean) * dvar. In the closed form it is the term -x_hat * mean(dx_hat * x_hat)."
)
DIVISION = "In the staged pass, both dmean and dvar are divided by {0} on their way to dx. " + CLOSED_FORM
CONSTANT = (
    "The mean and the variance depend on x, so dmean and dvar contribute to dx. Only in test mode, where "
    "they are running averages, is dx = gamma / sqrt(running_var + eps) * dout."
)
OVERALL = "Is the factor in front missing, or there twice?"
LEAST_SIZE = 8  # entries of x from which three free coefficients are trusted

Reading = tuple[float, Mistake, str]  # how often a term is counted, what that means, what it concerns


def parts(terms: Terms) -> tuple[Array, Array, Array]:
    """Return the three terms of dx."""
    stages = Pass(terms, {})
    return stages.direct, -stages.sum(stages.direct) / terms.count, stages.from_var


def miscounted(terms: Terms) -> Iterator[Candidate]:
    """Yield the gradients with both means, one of them, or the direct term counted wrongly."""
    direct, mean, variance = parts(terms)
    letters = terms.layer.grouping.letters
    for factor, mistake, about in _readings_of_both(terms):
        look = CONSTANT if mistake is Mistake.CONSTANTS else DIVISION.format(letters)
        evidence = f"every entry matches with the terms of mean and variance times {_text(factor)}"
        yield Candidate(mistake, direct + factor * (mean + variance), look, about, evidence)
    for factor, mistake, about in _readings_of_mean(terms):
        evidence = _evidence("mean", factor)
        yield Candidate(mistake, direct + factor * mean + variance, MEAN.format(letters), about, evidence)
    for factor, mistake, about in _readings_of_variance(terms):
        evidence = _evidence("variance", factor)
        yield Candidate(mistake, direct + mean + factor * variance, VARIANCE.format(letters), about, evidence)


def miscounted_direct(terms: Terms) -> Iterator[Candidate]:
    """Yield the gradients with the direct term, or the whole closed form, counted wrongly."""
    direct, mean, variance = parts(terms)
    count, letters = terms.count, terms.layer.grouping.letters
    sums = f"With sums for means, the closed form is 1 / {letters} times the one with {letters} * dx_hat."
    for name, number in {"1": 1, **_other_sizes(terms)}.items():
        about = f"{name}, not by {letters}"
        yield Candidate(Mistake.DIRECT_MULTIPLIED, number / count * direct + mean + variance, sums, about)
        if number != 1:
            whole = count / number * (direct + mean + variance)
            yield Candidate(Mistake.CLOSED_FORM_DIVIDED, whole, sums, about)
    about = f"{letters}, but the other terms are means"
    yield Candidate(Mistake.DIRECT_MULTIPLIED, count * direct + mean + variance, sums, about)
    yield Candidate(Mistake.DIRECT_MISSING, mean + variance, DIRECT)
    yield Candidate(Mistake.DIRECT_TWICE, 2 * direct + mean + variance, DIRECT)
    yield Candidate(Mistake.DIRECT_TWICE, 2 * (direct + mean) + variance, DIRECT)
    yield Candidate(Mistake.DIRECT_NEGATIVE, mean + variance - direct, DIRECT)


def off_by_factors(case: Case, terms: Terms) -> Iterator[Finding]:
    """Find any factors of the two terms by least squares, perhaps beside a factor of the whole."""
    factors = _factors(case.actual, terms)
    if factors is not None:
        yield from _in_words(terms, *factors)
        return
    letters, count = terms.layer.grouping.letters, terms.count
    scaled = {Mistake.TERM_SCALED, Mistake.MEANS_SCALED}
    for mistake, about, factor in (
        (Mistake.TOO_LARGE, letters, count),
        (Mistake.TOO_SMALL, letters, 1 / count),
        (Mistake.SIGN, "", -1),
    ):
        factors = _factors(case.actual / factor, terms)
        findings = [] if factors is None else list(_in_words(terms, *factors))
        if findings and not scaled & {finding.mistake for finding in findings}:
            evidence = f"beside that, every entry is {factor:.6g} times what it should be"
            yield from [*findings, Finding(mistake, evidence, f"{OVERALL} {CLOSED_FORM}", about)]
            return


def _in_words(terms: Terms, of_mean: float, of_variance: float) -> Iterator[Finding]:
    """Yield what is wrong with the two terms, given how many times the gradient contains each."""
    letters = terms.layer.grouping.letters
    if _is(of_mean, of_variance):
        readings = _fitting(_readings_of_both(terms), of_mean) or [(of_mean, Mistake.MEANS_SCALED, "")]
        evidence = f"every entry matches with the terms of mean and variance times {_text(of_mean)}"
        yield from _findings(readings, evidence, DIVISION.format(letters))
        return
    if not _is(of_mean, 1):
        readings = _fitting(_readings_of_mean(terms), of_mean) or [(of_mean, Mistake.TERM_SCALED, "mean")]
        yield from _findings(readings, _evidence("mean", of_mean), MEAN.format(letters))
    if not _is(of_variance, 1):
        readings = _fitting(_readings_of_variance(terms), of_variance)
        readings = readings or [(of_variance, Mistake.TERM_SCALED, "variance")]
        yield from _findings(readings, _evidence("variance", of_variance), VARIANCE.format(letters))


def _fitting(readings: Iterator[Reading], factor: float) -> list[Reading]:
    return [reading for reading in readings if _is(factor, reading[0])]


def _findings(readings: list[Reading], evidence: str, look: str) -> Iterator[Finding]:
    for number, (_, mistake, about) in enumerate(readings):
        yield Finding(mistake, evidence, look if number == 0 else ALSO, about)


def _factors(actual: Array, terms: Terms) -> tuple[float, float] | None:
    """Return how many times a gradient contains the terms of mean and variance; None if it is no such sum."""
    direct, mean, variance = (part.reshape(-1) for part in parts(terms))
    if direct.size < LEAST_SIZE:
        return None
    columns, target = np.stack([mean, variance], axis=1), actual.reshape(-1) - direct
    all_columns = np.column_stack([direct, columns])
    scales = np.abs(all_columns).max(axis=0)
    if not scales.all() or not np.isfinite(all_columns).all():
        return None
    if np.linalg.matrix_rank(all_columns / scales, tol=TERM_COUNT) < all_columns.shape[1]:
        return None
    factors = np.linalg.lstsq(columns, target, rcond=None)[0]
    if not np.abs(columns @ factors - target).max() <= COMBINATION * np.abs(actual).max():
        return None
    of_mean, of_variance = factors.tolist()
    return None if _is(of_mean, 1) and _is(of_variance, 1) else (of_mean, of_variance)


def _is(factor: float, number: float) -> bool:
    return math.isclose(factor, number, rel_tol=TERM_COUNT, abs_tol=TERM_COUNT)


def _evidence(term: str, factor: float) -> str:
    if _is(factor, 0):
        return "every entry matches without it"
    return f"every entry matches with the {term}'s term times {_text(factor)}"


def _text(factor: float) -> str:
    return f"{round(factor, 4) + 0.0:.6g}"  # + 0.0 turns -0.0 into 0.0


def _readings_of_both(terms: Terms) -> Iterator[Reading]:
    yield 0, Mistake.CONSTANTS, ""
    if terms.count > 1:
        yield terms.count, Mistake.SUMS_FOR_MEANS, ""
    for factor, about in _divided(terms, "", terms.count):
        yield factor, Mistake.MEANS_DIVIDED, about
    yield -1, Mistake.BOTH_NEGATIVE, ""


def _readings_of_mean(terms: Terms) -> Iterator[Reading]:
    yield 0, Mistake.TERM_MISSING, "mean"
    yield -1, Mistake.TERM_NEGATIVE, "mean"
    yield terms.count, Mistake.TERM_SUMMED, "mean"
    for factor, about in _divided(terms, "mean's term is divided by ", terms.count):
        yield factor, Mistake.TERM_DIVIDED, about
    yield 2, Mistake.TERM_TWICE, "mean"
    yield 0.5, Mistake.TERM_HALF, "mean"


def _readings_of_variance(terms: Terms) -> Iterator[Reading]:
    letters, count = terms.layer.grouping.letters, terms.count
    yield 0, Mistake.TERM_MISSING, "variance"
    yield -1, Mistake.TERM_NEGATIVE, "variance"
    yield 2, Mistake.TERM_TWICE, "variance"
    yield 0.5, Mistake.TERM_HALF, "variance"
    yield terms.divisor, Mistake.TERM_SUMMED, "variance"
    if count > 1 and terms.divisor == count:
        alike = [name for name, size in _other_sizes(terms).items() if size == count - 1]
        yield count / (count - 1), Mistake.UNBIASED_VARIANCE, unbiased(letters, *alike)
    for factor, about in _divided(terms, "variance's term is divided by ", terms.divisor, less=False):
        if terms.divisor != count or not _is(factor, count / max(count - 1, 1)):
            yield factor, Mistake.TERM_DIVIDED, about


def unbiased(letters: str, *alike: str) -> str:
    """Return what a variance is divided by, and should not be; `alike` are other sizes of that number."""
    return f"{' or '.join([f'{letters} - 1', *alike[:1]])}, not by {letters}"


def _divided(terms: Terms, start: str, right: int, less: bool = True) -> Iterator[tuple[float, str]]:
    """Yield (factor, text) of a sum that is divided by another size; sizes that coincide share a text."""
    letters, sizes = terms.layer.grouping.letters, _other_sizes(terms)
    if less and terms.count > 1:
        sizes[f"{letters} - 1"] = terms.count - 1
    sizes[f"{letters}^2"] = terms.count**2
    names: dict[int, list[str]] = {}
    for name, size in sizes.items():
        names.setdefault(size, []).append(name)
    for size, alike in names.items():
        yield right / size, f"{start}{' or '.join(alike[:2])}, not by {letters}"


def _other_sizes(terms: Terms) -> dict[str, int]:
    """Return {letters: number} of the sizes that may be mistaken for the number of entries in a mean."""
    N, C, *pixels = terms.shape
    sizes = {"N": N, "D": C} if not pixels else _sizes_of_images(terms)
    return {name: size for name, size in sizes.items() if size not in (1, terms.count)}


def _sizes_of_images(terms: Terms) -> dict[str, int]:
    N, C, H, W = terms.shape
    sizes = {"N": N, "HW": H * W, "C": C, "NH": N * H, "NW": N * W, "NHW": N * H * W, "CHW": C * H * W}
    sizes |= {"NC": N * C, "NCHW": N * C * H * W}
    if terms.layer.grouping.letters == "HWC/G":
        group = terms.count // (H * W)
        sizes |= {"C/G": group, "G": C // group, "GHW": C // group * H * W}
    return sizes
