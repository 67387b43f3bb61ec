"""Mistakes in the softmax loss: its value and its gradient computed again, each time with one mistake.

With e = exp(x) and p_nc = e_nc / sum_k e_nk, the loss is -1/N sum_n log p_ny and its gradient is
(p - onehot(y)) / N. (CS231n notes, "Linear classification", section "Softmax classifier".)
"""

import math
from collections.abc import Iterator

import numpy as np

from cs231n.gradcheck.diagnosis.causes import Array
from cs231n.gradcheck.diagnosis.mistakes import Mistake
from cs231n.gradcheck.diagnosis.scores import Family, Forward, Scores, Wrong, scaled_losses

LABEL = "The gradient is (p - 1) / N at the label and p / N elsewhere: dx[np.arange(N), y] -= 1."
INDEX = "dx[np.arange(N), y] is one entry of each example; dx[:, y] is whole columns, dx[y] whole rows."
PROBABILITIES = "p is exp(x) divided by its sum over the classes, which is a sum for each example."
LOGARITHM = (
    "The loss is the logarithm of p, which turns the derivative into (p - 1) at the label and p elsewhere."
)


def softmax(x: Array, axis: int | None = 1) -> Array:
    """Return exp(x) divided by its sum over some axes; the shift by the maximum keeps exp finite."""
    exponentials = np.exp(x - x.max(axis=axis, keepdims=True))
    probabilities: Array = exponentials / exponentials.sum(axis=axis, keepdims=True)
    return probabilities


def _forwards(scores: Scores, _: float) -> Iterator[Forward]:
    """Yield what a forward pass may compute, the right loss first."""
    p = softmax(scores.x)
    log_p = _log_p(scores)
    loss, gradient = float(-log_p.mean()), (p - scores.is_label) / scores.N
    yield from scaled_losses(scores, loss, gradient)
    for base in (2, 10):
        k = 1 / math.log(base)
        yield Forward("takes another logarithm than the natural one", k * loss, k * gradient, k)
    of_label = np.exp(log_p)
    without_log = of_label * gradient
    yield Forward("lacks the logarithm", float(-of_label.mean()), without_log)
    yield Forward("lacks the logarithm", float(1 - of_label.mean()), without_log)
    for z, chain in _shifts(scores.x):
        yield from _forwards_not_normalized_by_example(scores, z, chain)


def _log_p(scores: Scores) -> Array:
    """Return the logarithm of the label's probability, (N, 1)."""
    largest = scores.x.max(axis=1, keepdims=True)
    log_p: Array = scores.of_label - largest - np.log(np.exp(scores.x - largest).sum(axis=1, keepdims=True))
    return log_p


def _shifts(x: Array) -> Iterator[tuple[Array, Array | None]]:
    """Yield (scores before exp, where each row has its maximum): as they are, and minus that maximum.

    A shift of a whole row leaves p as it is, but not what is normalized over other axes.
    """
    yield x, None
    is_largest = np.arange(x.shape[1]) == x.argmax(axis=1, keepdims=True)
    yield x - x.max(axis=1, keepdims=True), is_largest


def _forwards_not_normalized_by_example(
    scores: Scores, z: Array, is_largest: Array | None
) -> Iterator[Forward]:
    """Yield losses whose exp(z) is normalized over other axes than the classes."""

    def of_x(of_z: Array) -> Array:
        """Return the gradient of x; with z = x - max(x), the maximum gets minus the sum of its row."""
        return of_z if is_largest is None else of_z - is_largest * of_z.sum(axis=1, keepdims=True)

    N, y, is_label, of_label = scores.N, scores.y, scores.is_label, z[scores.rows, scores.y]
    log_sums = _log_sum(z, axis=0)
    counts = is_label.sum(axis=0)
    over_examples = of_x((counts * softmax(z, axis=0) - is_label) / N)
    loss = float((log_sums[y] - of_label).mean())
    yield Forward("divides exp by its sum over the examples", loss, over_examples)
    loss = float(_log_sum(z.reshape(-1), axis=0) - of_label.mean())
    over_all = of_x(softmax(z, axis=None) - is_label / N)
    yield Forward("divides exp by its sum over the whole minibatch", loss, over_all)
    yield Forward("does not divide exp by its sum", float(-of_label.mean()), of_x(-is_label / N))


def _log_sum(z: Array, axis: int) -> Array:
    largest = z.max(axis=axis)
    log_sum: Array = largest + np.log(np.exp(z - largest).sum(axis=axis))
    return log_sum


def _wrong(scores: Scores, _: Array) -> Iterator[Wrong]:
    """Yield gradients with one mistake."""
    for mistake, gradient in _wrong_labels(scores):
        yield Wrong(mistake, gradient / scores.N, LABEL)
    for mistake, gradient in _wrong_indices(scores):
        yield Wrong(mistake, gradient / scores.N, INDEX)
    for mistake, p in _wrong_probabilities(scores):
        yield Wrong(mistake, (p - scores.is_label) / scores.N, PROBABILITIES)
    for gradient in _derivatives_of_p(scores):
        yield Wrong(Mistake.DERIVATIVE_OF_P, gradient / scores.N, LOGARITHM)


def _wrong_labels(scores: Scores) -> Iterator[tuple[Mistake, Array]]:
    """Yield (mistake, N times the gradient) where the label's term is wrong."""
    N, y, is_label = scores.N, scores.y, scores.is_label
    p = softmax(scores.x)
    yield Mistake.LABEL_TERM_MISSING, p
    yield Mistake.LABEL_TERM_NEGATIVE, p + is_label
    yield Mistake.LABEL_TERM_NOT_DIVIDED, p - N * is_label
    yield Mistake.ONLY_LABEL_TERM_DIVIDED, N * p - is_label
    yield Mistake.ONLY_LABEL_ENTRY, (p - 1) * is_label
    yield Mistake.ONLY_LABEL_ENTRY, -is_label
    for constant in (0, -1, 1):
        yield Mistake.LABEL_ENTRY_CONSTANT, p * (1 - is_label) + constant * is_label
    for shift in (-1, 1):
        yield Mistake.LABELS_SHIFTED, p - scores.with_labels(y + shift).is_label
    yield Mistake.LABEL_SUBTRACTED, p - y[:, np.newaxis]
    if N == scores.C:
        yield Mistake.LABEL_SUBTRACTED, p - y


def _wrong_indices(scores: Scores) -> Iterator[tuple[Mistake, Array]]:
    """Yield (mistake, N times the gradient) where 1 is subtracted from other entries than the labels'."""
    N, C, y = scores.N, scores.C, scores.y
    p = softmax(scores.x)
    yield Mistake.ONE_EVERYWHERE, p - 1
    columns = np.isin(np.arange(C), y)
    if not columns.all():
        yield Mistake.ONE_IN_COLUMNS, p - columns
    if y.max() >= N:  # as a row number it would be an error
        return
    rows = np.isin(np.arange(N), y)
    if not rows.all():
        yield Mistake.ONE_IN_ROWS, p - rows[:, np.newaxis]
    if N <= C:
        swapped = p.copy()
        swapped[y, scores.rows] -= 1
        yield Mistake.LABEL_AXES_SWAPPED, swapped


def _wrong_probabilities(scores: Scores) -> Iterator[tuple[Mistake, Array]]:
    """Yield (mistake, what is used in place of the probabilities)."""
    p = softmax(scores.x)
    for z, _ in _shifts(scores.x):
        yield Mistake.EXP_OVER_EXAMPLES, softmax(z, axis=0)
        yield Mistake.EXP_OVER_ALL, softmax(z, axis=None)
        yield Mistake.EXP_NOT_NORMALIZED, np.exp(z)
        if scores.N == scores.C:
            yield Mistake.EXP_OVER_SUM_OF_ANOTHER, np.exp(z) / np.exp(z).sum(axis=1)
        yield Mistake.SCORES_FOR_P, z
    yield Mistake.EXP_NOT_NORMALIZED, np.exp(scores.x - scores.x.max())
    yield Mistake.LOGS_FOR_P, np.log(p)
    yield Mistake.LABEL_LEFT_OUT_OF_SUM, p / (1 - p[scores.rows, scores.y, np.newaxis])
    for left_out in range(scores.C) if scores.C > 2 else ():
        without = p / (1 - p[:, [left_out]])
        yield Mistake.CLASS_LEFT_OUT_OF_SUM, without


def _derivatives_of_p(scores: Scores) -> Iterator[Array]:
    """Yield N times gradients with a derivative of p, such as dp_c/dx_c = p_c (1 - p_c), of either sign."""
    p, is_label = softmax(scores.x), scores.is_label
    of_label = p[scores.rows, scores.y, np.newaxis]
    right = p - is_label
    for gradient in (p * (1 - p), of_label * right, p * right, p * (1 - p) * right, p * (1 - p) * is_label):
        yield gradient
        yield -gradient
    yield p * (1 - p) - is_label


SOFTMAX = Family(_forwards, _wrong)
