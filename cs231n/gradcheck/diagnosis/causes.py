"""The parts of a diagnosis: the case, the findings that fit its numbers, and the causes that say so."""

import numbers
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import KW_ONLY, dataclass, field, fields
from enum import Enum, auto
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cs231n.gradcheck.diagnosis.mistakes import Mistake
from cs231n.gradcheck.tolerances import OUTPUT, SAME, UNEXPLAINED

Array = NDArray[Any]


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
    - PRECISION: the forward pass computes in float32, or the parameters of a model are in float32
    - UNDECIDED: the numeric gradient decides nothing: nearly all entries are at kinks, or in rounding noise
    - PROPERTY: the output is not that of the reference, or lacks a property that it should have
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
    PRECISION = auto()
    UNDECIDED = auto()
    PROPERTY = auto()


@dataclass(frozen=True)
class Cause:
    """One explanation of a wrong gradient.

    - title: what is wrong, without numbers of the data, so that a grader may show it
    - evidence: the numbers that show it
    - look: where the mistake is likely to be
    - kind: what code may decide by
    - mistake, about: the `Finding` that it puts into words, if there is one
    """

    title: str
    evidence: str
    look: str
    kind: Kind = field(default=Kind.FORMULA, kw_only=True)
    mistake: Mistake | None = field(default=None, compare=False, repr=False, kw_only=True)
    about: str = field(default="", compare=False, repr=False, kw_only=True)

    def __str__(self) -> str:
        return f"{self.title}: {self.evidence}. {self.look}"


KINDS = {  # of the mistakes that are not explained by a formula
    Mistake.WRONG_SHAPE: Kind.SHAPE,
    Mistake.NONE: Kind.MISSING,
    Mistake.NOT_NUMBERS: Kind.NOT_NUMBERS,
    Mistake.NOT_FINITE: Kind.NOT_FINITE,
}


@dataclass(frozen=True)
class Finding:
    """A known mistake that fits the numbers, as facts; `cause` puts it into words.

    Findings are equal if they name the same mistake, whatever their evidence.

    - about: the argument, size or part that the mistake concerns, if its title needs one
    - evidence, look: those of the `Cause`
    - negated: the sign is wrong as well
    - beside_penalty: the mistake is in what remains of the gradient without the L2 penalty's term
    - inside: the layer of a network in whose dx the mistake is, if it is not in the gradient itself
    """

    mistake: Mistake
    evidence: str = field(compare=False)
    look: str = field(compare=False)
    about: str = ""
    negated: bool = False
    beside_penalty: bool = False
    inside: str = ""

    def cause(self) -> Cause:
        """Return the finding in words."""
        start = "apart from the regularization, " if self.beside_penalty else ""
        start += f"in the dx of {self.inside}, " if self.inside else ""
        end = ", and its sign is wrong" if self.negated else ""
        title = start + self.mistake.value.format(self.about) + end
        kind = KINDS.get(self.mistake, Kind.FORMULA)
        return Cause(title, self.evidence, self.look, kind=kind, mistake=self.mistake, about=self.about)


def causes_of(findings: Iterable[Finding]) -> list[Cause]:
    """Return a Cause for each mistake that was found, in the order of the findings."""
    return [finding.cause() for finding in dict.fromkeys(findings)]


@dataclass(frozen=True, kw_only=True)
class Observed:
    """What one pass through a layer shows, without any gradient of it.

    - inputs: {name: array}, the arguments of the forward pass; out, dout: its result, the upstream gradient
    - settings: the other arguments that the layer was called with, such as stride, pad, p, eps, G
    """

    inputs: Mapping[str, Array] = field(default_factory=dict)
    out: Array | None = None
    dout: Array | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)

    @staticmethod
    def of(known: Mapping[str, Any]) -> "Observed":
        """Return what was observed, from the fields of a `Case` by name; the other fields are left out."""
        return Observed(**{one.name: known[one.name] for one in fields(Observed) if one.name in known})

    @property
    def x(self) -> Array | None:
        """The first argument of the forward pass, or None."""
        return next(iter(self.inputs.values()), None)

    def integer(self, setting: str) -> int | None:
        """Return a setting that is an integer, such as a stride; None without it or if it is a pair."""
        value = self.settings.get(setting)
        return int(value) if isinstance(value, numbers.Integral) else None

    def number(self, setting: str) -> float | None:
        """Return a setting that is a number, such as eps; None without it."""
        value = self.settings.get(setting)
        return float(value) if isinstance(value, numbers.Real) else None


@dataclass(frozen=True)
class Network:
    """What a model's `loss(X, y)` shows besides its parameters.

    - y: the labels; loss: the loss without its penalty; grads: {name: whatever was returned}
    - memo: what an explainer finds out once for the gradients of all parameters
    """

    y: Array
    loss: float
    grads: Mapping[str, Any]
    memo: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Case(Observed):
    """A gradient to explain, and what is known about the layer or network that it comes from.

    - actual, expected: the gradient that was computed by hand and the numeric one; `shapes` explains
      different shapes, every other explainer assumes that they are the same
    - name: the argument that the gradient belongs to, such as x, w, gamma, W1
    - numeric: {name: array}, the numeric gradients of all arguments
    - returned: {name: whatever the backward pass returned for it}, of all arguments, where that is known
    - reg: the strength of an L2 penalty; penalty: {name: how many times the loss contains
      0.5 * reg * sum(param ** 2)}, where that was measured
    - network: the rest of what is known about a network; None for a layer
    - tol: the largest relative error of a right entry; floor: see `rel_error`
    """

    actual: Array
    expected: Array
    name: str = ""
    _: KW_ONLY
    numeric: Mapping[str, Array] = field(default_factory=dict)
    returned: Mapping[str, Any] = field(default_factory=dict)
    reg: float = 0.0
    penalty: Mapping[str, float] = field(default_factory=dict)
    network: Network | None = None
    tol: float = 1e-6
    floor: float = 1e-8

    @property
    def dx(self) -> Array:
        """The numeric gradient of the first argument."""
        return self.numeric.get(next(iter(self.inputs), ""), self.expected)

    @property
    def is_of_x(self) -> bool:
        """Whether the gradient has the shape of the first argument."""
        return self.x is not None and self.actual.shape == np.shape(self.x)

    @property
    def is_of_weights(self) -> bool:
        """Whether the gradient belongs to a weight of a network, the only parameters with a penalty."""
        return self.name.startswith("W")

    @property
    def wrong(self) -> NDArray[np.bool_]:
        """The entries that are wrong, as an array of booleans."""
        difference = np.abs(self.actual - self.expected)
        size = np.abs(self.actual) + np.abs(self.expected)
        is_wrong: NDArray[np.bool_] = difference > self.tol * np.maximum(size, self.floor)
        return is_wrong

    def is_explained_by(self, array: Array) -> bool:
        """Return whether the gradient is this array, and far closer to it than to the numeric gradient."""
        if np.shape(array) != np.shape(self.actual) or not same(self.actual, array):
            return False
        rest, difference = np.abs(self.actual - array), np.abs(self.actual - self.expected)
        return bool(rest.max(initial=0) <= UNEXPLAINED * difference.max(initial=0))


def same(a: Array, b: Array, tol: float = SAME) -> bool:
    """Return whether two arrays have one shape and agree as closely as a numeric gradient can tell."""
    if np.shape(a) != np.shape(b) or not (np.isfinite(a).all() and np.isfinite(b).all()):
        return False
    return bool(np.abs(np.subtract(a, b)).max(initial=0) <= tol * np.abs(b).max(initial=0))


def is_output(out: Array | None, formula: Array) -> bool:
    """Return whether a formula gives the output of a forward pass."""
    return out is not None and same(np.asarray(out), formula, OUTPUT)


def same_values(a: Array, b: Array) -> bool:
    """Return whether two arrays agree entry by entry in row-major order, whatever their shapes."""
    return same(np.reshape(a, -1), np.reshape(b, -1))


def matching(case: Case, candidates: Iterable[tuple[Mistake, Array]], look: str) -> Iterator[Finding]:
    """Yield a Finding for each (mistake, gradient with this mistake) that is the case's gradient."""
    for mistake, gradient in candidates:
        if case.is_explained_by(gradient):
            yield Finding(mistake, "every entry matches the formula with this mistake", look)
