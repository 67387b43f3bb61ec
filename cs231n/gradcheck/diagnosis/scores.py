"""Scores and labels, and what the family of a loss says about itself.

A loss of scores x (N, C) and labels y (N,) is a mean over the examples, so its gradient has the factor 1/N.
"""

from collections.abc import Callable, Iterable
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from cs231n.gradcheck.diagnosis.causes import Array
from cs231n.gradcheck.diagnosis.mistakes import Mistake

Labels = NDArray[np.int_]


class Scores:
    """The scores x (N, C) of a minibatch, and its labels y (N,)."""

    def __init__(self, x: Array, y: Labels) -> None:
        self.x, self.y, self.N, self.C = x, y, len(x), x.shape[1]
        self.rows = np.arange(len(x))

    @cached_property
    def is_label(self) -> Array:
        """1 at the label of each example, 0 elsewhere, (N, C)."""
        is_label: Array = (np.arange(self.C) == self.y[:, np.newaxis]).astype(float)
        return is_label

    @property
    def of_label(self) -> Array:
        """The score of each example's label, (N, 1)."""
        scores: Array = self.x[self.rows, self.y, np.newaxis]
        return scores

    def with_labels(self, y: Labels) -> "Scores":
        """Return the same scores with other labels, which count from the end if they are negative."""
        return Scores(self.x, y % self.C)


class Forward(NamedTuple):
    """What a forward pass computes: a loss, and the gradient of this loss.

    - mistake: what is wrong with the loss, "" if nothing that changes its gradient is
    - scale: the factor by which the loss differs from the right one, 1 if the difference is another one
    """

    mistake: str
    loss: float
    gradient: Array
    scale: float = 1.0


class Wrong(NamedTuple):
    """A wrong gradient of a right loss, its mistake and where to look for it."""

    mistake: Mistake
    gradient: Array
    look: str


class Family(NamedTuple):
    """A kind of loss.

    - forwards: a function of (scores, out) that gives what a forward pass may compute, the right loss first
    - wrong: a function of scores and of the gradient that was returned, divided by the upstream gradient
    """

    forwards: Callable[[Scores, float], Iterable[Forward]]
    wrong: Callable[[Scores, Array], Iterable[Wrong]]


def scaled_losses(scores: Scores, loss: float, gradient: Array) -> list[Forward]:
    """Return the losses that are the right one times a number, the right one first."""
    N, C = scores.N, scores.C
    scales = {
        "": 1.0,
        "is a sum over the examples, not a mean": N,
        "is divided by the number of scores, N C, not by N": 1 / C,
        "is divided by N twice": 1 / N,
        "is divided by C, not by N": N / C,
        "has the wrong sign": -1.0,
    }
    return [Forward(mistake, k * loss, k * gradient, k) for mistake, k in scales.items()]
