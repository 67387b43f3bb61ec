"""What a diagnosis is made of: the case at hand, and the causes that its numbers speak for."""

from dataclasses import dataclass, field
from enum import Enum, auto

import numpy as np

CLOSE = 1e-5  # relative to the largest entry; numeric gradients are far more exact
SHARE = 1e-2  # an explanation leaves at most this share of the difference


class Kind(Enum):
    """The kinds of causes, for code that has to tell them apart: titles are for people.

    - FORMULA: the gradient has numbers, and a known mistake explains them
    - SHAPE: the gradient has the wrong shape, and no known mistake explains it
    - MISSING: there is no gradient, only None
    - NOT_NUMBERS: the gradient is not an array of numbers
    - NOT_FINITE: the gradient, or the forward pass near its input, is NaN or infinite
    - OUTPUT: the forward pass or the loss returns something unusable, so that there is nothing to compare
    - COUNT: the backward pass returns more or fewer gradients than there are inputs
    - PARAMETER: a parameter of a model is not an array of floats
    - ERROR: the learner's code raises an exception
    - MODIFIES: a function changes an argument of the caller
    - VARIES: a function called twice with the same arguments returns different results
    - STALE_CACHE: another forward pass changes what is in the cache of the first
    """

    FORMULA = auto()
    SHAPE = auto()
    MISSING = auto()
    NOT_NUMBERS = auto()
    NOT_FINITE = auto()
    OUTPUT = auto()
    COUNT = auto()
    PARAMETER = auto()
    ERROR = auto()
    MODIFIES = auto()
    VARIES = auto()
    STALE_CACHE = auto()


@dataclass(frozen=True)
class Cause:
    """One explanation of a wrong gradient.

    - title: what is wrong, without numbers of the data, so that a grader may say it
    - evidence: what shows it, with the numbers
    - look: where the mistake is likely to be
    - kind: what code may decide by
    """

    title: str
    evidence: str
    look: str
    kind: Kind = field(default=Kind.FORMULA, kw_only=True)

    def __str__(self) -> str:
        return f"{self.title}: {self.evidence}. {self.look}"


@dataclass(frozen=True)
class Case:
    """A gradient to explain, and what is known about the layer or network that it comes from.

    - actual, expected: the gradient that was computed by hand and the numeric one; `shapes` explains a
      difference of their shapes, everything else takes one shape for granted
    - name: the argument that it belongs to, as in x, w, gamma, W1
    - inputs: {name: array}, the arguments of the forward pass; out, dout: its result, the upstream gradient
    - numeric: {name: array}, the numeric gradients of all arguments
    - settings: numbers that the layer was called with, as in stride, pad, p, eps, G
    - reg: the strength of an L2 penalty; penalty: {name: how many times 0.5 * reg * sum(param ** 2) is in the
      loss}, where that was measured
    - tol: the largest relative error of an entry that is right; floor: see `rel_error`
    """

    actual: np.ndarray
    expected: np.ndarray
    name: str = ""
    inputs: dict = field(default_factory=dict)
    out: np.ndarray | None = None
    dout: np.ndarray | None = None
    numeric: dict = field(default_factory=dict)
    settings: dict = field(default_factory=dict)
    reg: float = 0.0
    penalty: dict = field(default_factory=dict)
    tol: float = 1e-6
    floor: float = 1e-8

    @property
    def x(self):
        """The first argument of the forward pass; None if there is none."""
        return next(iter(self.inputs.values()), None)

    @property
    def dx(self):
        """The numeric gradient of the first argument."""
        return self.numeric.get(next(iter(self.inputs), ""), self.expected)

    @property
    def wrong(self):
        """The entries that are wrong, as an array of booleans."""
        difference, size = np.abs(self.actual - self.expected), np.abs(self.actual) + np.abs(self.expected)
        return difference > self.tol * np.maximum(size, self.floor)

    def is_explained_by(self, array):
        """Whether the gradient is this array, and far closer to it than to the numeric gradient."""
        if np.shape(array) != np.shape(self.actual) or not same(self.actual, array):
            return False
        rest, difference = np.abs(self.actual - array), np.abs(self.actual - self.expected)
        return bool(rest.max(initial=0) <= SHARE * difference.max(initial=0))


def same(a, b):
    """Whether two arrays have one shape and agree as closely as a numeric gradient can tell."""
    if np.shape(a) != np.shape(b) or not (np.isfinite(a).all() and np.isfinite(b).all()):
        return False
    return bool(np.abs(np.subtract(a, b)).max(initial=0) <= CLOSE * np.abs(b).max(initial=0))


def matching(case, candidates, look):
    """A Cause for each (title, gradient) of `candidates` that is the gradient at hand, one for each title."""
    titles = set()
    for title, gradient in candidates:
        if title not in titles and case.is_explained_by(gradient):
            titles.add(title)
            yield Cause(title, "all entries are those of the formula with this mistake", look)
