"""Mistakes in the multiclass hinge (SVM) loss: its value and gradient again, each time with one mistake.

With margins m_nc = max(0, x_nc - x_ny + 1) for c != y, the loss is 1/N sum m. A positive margin, at "a class
within the margin", has the gradient 1/N at its class and -1/N at the label, so the label's entry is minus the
number of such classes. (CS231n notes, "Linear classification", "Optimization".)
"""

from collections.abc import Iterator

import numpy as np

from cs231n.gradcheck.diagnosis.causes import Array
from cs231n.gradcheck.diagnosis.mistakes import Mistake
from cs231n.gradcheck.diagnosis.scores import Family, Forward, Scores, Wrong, scaled_losses
from cs231n.gradcheck.tolerances import MARGIN_EXAMPLES, OUTPUT, SAME, WITNESSES

LABEL = "The label's entry is minus the number of classes with a positive margin, without the label, over N."
ONES = "Each class with a positive margin has the gradient 1 / N, however large the margin is."
MARGIN = "The margin of a class is max(0, its score - the label's score + 1); the label itself has none."
USUAL_MARGINS = (0.1, 0.5, 2.0, 5.0, 10.0, 100.0, -1.0)
BISECTIONS = 100  # more than float64 has digits


def margins(scores: Scores, delta: float = 1.0, sign: int = 1) -> Array:
    """Return max(0, sign * (x_nc - x_ny) + delta), 0 at the labels."""
    raw = np.maximum(0, sign * (scores.x - scores.of_label) + delta)
    without_label: Array = raw * (1 - scores.is_label)
    return without_label


def _with_counts(scores: Scores, weights: Array) -> Array:
    """Return N times the gradient of which the classes get `weights`, and the label minus their sum."""
    gradient: Array = weights - weights.sum(axis=1, keepdims=True) * scores.is_label
    return gradient


def _ones(scores: Scores, delta: float = 1.0, sign: int = 1) -> Array:
    """Return 1 where the margin is positive, 0 elsewhere."""
    ones: Array = (margins(scores, delta, sign) > 0).astype(float)
    return ones


def _largest(weights: Array) -> Array:
    """Return the largest entry of each row in its place, 0 elsewhere."""
    is_largest = np.arange(weights.shape[1]) == weights.argmax(axis=1, keepdims=True)
    largest: Array = weights * is_largest
    return largest


def _forwards(scores: Scores, out: float) -> Iterator[Forward]:
    """Yield what a forward pass may compute, the right loss first."""
    N, m = scores.N, margins(scores)
    loss, gradient = float(m.sum() / N), _with_counts(scores, _ones(scores)) / N
    yield from scaled_losses(scores, loss, gradient)
    yield Forward("", loss + 1, gradient)  # with the label's own margin, which is constant
    for half in (1.0, 0.5):
        squared = half * 2 * _with_counts(scores, m) / N
        yield Forward("squares the margins", float(half * np.square(m).sum() / N), squared)
    largest = _largest(m)
    of_largest = _with_counts(scores, (largest > 0).astype(float)) / N
    yield Forward("counts only the largest margin", float(largest.sum() / N), of_largest)
    loss, reversed_ = float(margins(scores, sign=-1).sum() / N), -_with_counts(scores, _ones(scores, sign=-1))
    yield Forward("swaps the two scores in the margin", loss, reversed_ / N)
    for own in (0, 1):
        delta = _delta_of(scores, out, own)
        loss = float(margins(scores, delta).sum() / N) + own * max(delta, 0)
        mistake = "lacks the margin of 1" if abs(delta) < OUTPUT else "has another margin than 1"
        yield Forward(mistake, loss, _with_counts(scores, _ones(scores, delta)) / N)


def _delta_of(scores: Scores, out: float, own: int) -> float:
    """Return the margin for which the loss is `out`; it grows with the margin, so bisection finds it.

    - own: 1 if the label's own margin, which is the margin itself, counts, else 0
    """
    reach = float(np.ptp(scores.x))
    low, high = -reach, reach + abs(out) + 1
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        loss = float(margins(scores, middle).sum() / scores.N) + own * max(middle, 0)
        low, high = (middle, high) if loss < out else (low, middle)
    return 0.0 if abs(high) < OUTPUT * reach else high


def _wrong(scores: Scores, actual: Array) -> Iterator[Wrong]:
    """Yield gradients with one mistake."""
    for mistake, gradient in _wrong_labels(scores):
        yield Wrong(mistake, gradient / scores.N, LABEL)
    for mistake, gradient in _wrong_weights(scores):
        yield Wrong(mistake, gradient / scores.N, ONES)
    right = _with_counts(scores, _ones(scores))
    for mistake, gradient in _wrong_margins(scores, actual):
        changed = (gradient != right).any(axis=1)
        if changed.sum() >= MARGIN_EXAMPLES or gradient[changed].any():
            yield Wrong(mistake, gradient / scores.N, MARGIN)


def _wrong_labels(scores: Scores) -> Iterator[tuple[Mistake, Array]]:
    """Yield (mistake, N times the gradient) where the label's entry is wrong."""
    N, y, is_label, ones = scores.N, scores.y, scores.is_label, _ones(scores)
    counts = ones.sum(axis=1, keepdims=True)
    yield Mistake.LABEL_COUNTED_ONCE, ones - is_label
    yield Mistake.LABEL_COUNTED_ONCE, ones - (counts > 0) * is_label
    yield Mistake.LABEL_MARGIN_COUNTED, ones - (counts + 1) * is_label
    yield Mistake.LABEL_MARGIN_COUNTED, ones - (counts - 1) * is_label
    yield Mistake.LABEL_TERM_MISSING, ones
    yield Mistake.LABEL_TERM_MISSING, ones + is_label  # and the label's own margin is counted
    yield Mistake.LABEL_TERM_NEGATIVE, ones + counts * is_label
    yield Mistake.LABEL_TERM_NOT_DIVIDED, ones - N * counts * is_label
    yield Mistake.ONLY_LABEL_TERM_DIVIDED, N * ones - counts * is_label
    yield Mistake.ONLY_LABEL_ENTRY, -counts * is_label
    of_classes = ones.sum(axis=0)
    yield Mistake.COUNTED_OVER_WRONG_AXIS, ones - of_classes * is_label
    yield Mistake.COUNTED_OVER_WRONG_AXIS, ones - ones.sum() * is_label
    if N == scores.C:
        yield Mistake.COUNTED_OVER_WRONG_AXIS, ones - of_classes[:, np.newaxis] * is_label
    for shift in (-1, 1):
        shifted = scores.with_labels(y + shift)
        yield Mistake.LABELS_SHIFTED, _with_counts(shifted, _ones(shifted))


def _wrong_weights(scores: Scores) -> Iterator[tuple[Mistake, Array]]:
    """Yield (mistake, N times the gradient) where margins count as something other than 0 or 1."""
    m, ones = margins(scores), _ones(scores)
    yield Mistake.MARGINS_FOR_ONES, _with_counts(scores, m)
    yield Mistake.MARGINS_FOR_ONES, m - ones.sum(axis=1, keepdims=True) * scores.is_label
    yield Mistake.MARGINS_FOR_ONES, m
    with_own = m + scores.is_label
    yield Mistake.MARGINS_FOR_ONES, with_own
    yield Mistake.MARGINS_FOR_ONES, with_own - with_own.sum(axis=1, keepdims=True) * scores.is_label
    yield Mistake.MARGINS_SQUARED, 2 * _with_counts(scores, m)
    all_ones = 1 - scores.is_label
    yield Mistake.ALL_CLASSES_COUNTED, _with_counts(scores, all_ones)
    for label in (-scores.C, 1 - scores.C - 1, 1):  # with the label's own margin, in one way or another
        yield Mistake.ALL_CLASSES_COUNTED, all_ones + label * scores.is_label
    yield Mistake.ALL_CLASSES_COUNTED, all_ones - ones.sum(axis=1, keepdims=True) * scores.is_label
    yield Mistake.ALL_CLASSES_COUNTED, all_ones + (2 - scores.C) * scores.is_label
    yield Mistake.ONE_CLASS_COUNTED, _with_counts(scores, (_largest(m) > 0).astype(float))


def _wrong_margins(scores: Scores, actual: Array) -> Iterator[tuple[Mistake, Array]]:
    """Yield (mistake, N times the gradient) with another margin than 1."""
    yield Mistake.NO_MARGIN, _with_counts(scores, _ones(scores, 0.0))
    swapped = _with_counts(scores, _ones(scores, sign=-1))
    yield Mistake.MARGIN_REVERSED, swapped
    yield Mistake.MARGIN_REVERSED, -swapped
    for delta in USUAL_MARGINS:
        yield Mistake.OTHER_MARGIN, _with_counts(scores, _ones(scores, delta))
    delta_in_gradient = _delta_in(scores, scores.N * actual)
    if delta_in_gradient is not None:
        yield Mistake.OTHER_MARGIN, _with_counts(scores, _ones(scores, delta_in_gradient))


def _delta_in(scores: Scores, actual: Array) -> float | None:
    """Return a margin that separates the classes with the gradient 1 from those with 0, or None."""
    others, above_label = scores.is_label == 0, scores.x - scores.of_label
    ones = np.abs(actual - 1) < SAME
    counted, skipped = above_label[others & ones], above_label[others & ~ones]
    changed = int((ones[others] != (_ones(scores) > 0)[others]).sum())
    if not counted.size or not skipped.size or changed < WITNESSES:
        return None
    return -float(counted.min() + skipped.max()) / 2 if counted.min() > skipped.max() else None


HINGE = Family(_forwards, _wrong)
