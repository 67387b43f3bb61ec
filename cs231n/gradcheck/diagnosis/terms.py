"""Recognize a normalization by its output, and compute what its backward pass consists of.

    out = gamma * x_hat + beta,   x_hat = (x - mean) / std,   std = sqrt(var + eps)

Mean and variance are shared by groups of entries: a feature of the batch, an example, a channel of all
images, a group of channels of one image. In test mode they are constants. All arrays here have the shape
of x.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from cs231n.gradcheck.diagnosis.causes import Array, Case, Observed, same
from cs231n.gradcheck.tolerances import FORWARD, SAME

DEFAULT_EPS = 1e-5  # of the layers
USUAL_EPS = (DEFAULT_EPS, 1e-8, 1e-6, 1e-3, 1e-7, 1e-4, 1e-2, 1e-10, 1e-12)
LEAST_POINTS = 3  # of one feature that show a straight line: two always lie on one

Axes = tuple[int, ...]


@dataclass(frozen=True)
class Grouping:
    """Which entries of x share a mean and a variance: those along `axes` of x in the shape `view`.

    - gamma: the shape of gamma in that view
    - letters: the number of entries that share a mean, such as NHW
    - over: what the statistics are taken over, in words
    - transposed: False if the view lacks the transpose that it needs, a mistake of a forward pass
    """

    view: Axes
    axes: Axes
    gamma: Axes
    letters: str
    over: str
    transposed: bool = True

    @property
    def count(self) -> int:
        """The number of entries that share a mean."""
        return math.prod(self.view[axis] for axis in self.axes)

    def sum(self, array: Array) -> Array:
        """Return the sum over each group, at every entry of the group."""
        sums = array.reshape(self.view).sum(axis=self.axes, keepdims=True)
        spread: Array = np.broadcast_to(sums, self.view).reshape(array.shape)
        return spread

    def mean(self, array: Array) -> Array:
        """Return the mean over each group, at every entry of the group."""
        mean: Array = self.sum(array) / self.count
        return mean

    def spread(self, parameter: Array, shape: Axes) -> Array:
        """Return gamma or beta at every entry of x."""
        at_each: Array = np.broadcast_to(np.reshape(parameter, self.gamma), self.view).reshape(shape)
        return at_each

    def sum_for_parameter(self, array: Array) -> Array:
        """Return the sum over all entries that share gamma, one for each entry of gamma."""
        axes = tuple(axis for axis, size in enumerate(self.gamma) if size == 1)
        sums: Array = array.reshape(self.view).sum(axis=axes).reshape(-1)
        return sums


@dataclass(frozen=True)
class Scale:
    """How the standard deviation is computed: sqrt(sum((x - mean)**2) / (count - less) + eps)."""

    eps: float
    less: int = 0
    outside: bool = False  # eps is added to the root, not to the variance


@dataclass(frozen=True)
class Layer:
    """A normalization: the names of its arguments, their arrays, and what shares a mean."""

    names: tuple[str, ...]
    x: Array
    parameters: tuple[Array, Array]
    dout: Array
    grouping: Grouping

    @cached_property
    def gamma(self) -> Array:
        """Gamma at every entry of x."""
        return self.grouping.spread(self.parameters[0], self.x.shape)

    @cached_property
    def beta(self) -> Array:
        """Beta at every entry of x."""
        return self.grouping.spread(self.parameters[1], self.x.shape)


class Terms:
    """A normalization with its statistics: those of x, or constants (mean, std) in test mode."""

    def __init__(self, layer: Layer, scale: Scale, constants: tuple[Array, Array] | None = None) -> None:
        self.layer, self.scale, self.training = layer, scale, constants is None
        self.count = layer.grouping.count
        self.divisor = max(self.count - scale.less, 1)
        if constants is None:
            self.centered = layer.x - layer.grouping.mean(layer.x)
            self.var = layer.grouping.sum(self.centered**2) / self.divisor
            self.root = np.sqrt(self.var + (0.0 if scale.outside else scale.eps))
            self.std = self.root + (scale.eps if scale.outside else 0.0)
        else:
            mean, self.std = constants
            self.centered, self.root, self.var = layer.x - mean, self.std, self.std**2 - scale.eps

    @property
    def shape(self) -> Axes:
        """The shape of x."""
        return self.layer.x.shape

    @cached_property
    def r(self) -> Array:
        """1 / std."""
        return 1 / self.std

    @cached_property
    def x_hat(self) -> Array:
        """x, normalized."""
        return self.centered * self.r

    @property
    def out(self) -> Array:
        """The output of the forward pass."""
        return self.layer.gamma * self.x_hat + self.layer.beta

    def with_scale(self, **changes: float) -> "Terms":
        """Return the same layer with another standard deviation."""
        return Terms(self.layer, replace(self.scale, **changes))  # type: ignore[arg-type]

    def over(self, grouping: Grouping) -> "Terms":
        """Return the same layer with other entries sharing a mean."""
        return Terms(replace(self.layer, grouping=grouping), replace(self.scale, less=0))


def recognize(observed: Observed) -> Terms | None:
    """Return the Terms of the normalization that gives the output, or None if the layer is not one."""
    with np.errstate(all="ignore"):
        for names in _names(observed.inputs):
            terms = _recognize(observed, names)
            if terms is not None:
                return terms
    return None


def _names(inputs: Mapping[str, Array]) -> Iterator[tuple[str, ...]]:
    """Yield the names of (x, gamma, beta), (x, gamma) or (x,) as they may be meant."""
    names = tuple(inputs)
    if names and "gamma" in names and "beta" in names and names[0] not in ("gamma", "beta"):
        yield names[0], "gamma", "beta"
    elif len(names) == 3:
        yield names
        yield names[0], names[2], names[1]
    elif len(names) in (1, 2):
        yield names


def layers_of(observed: Observed) -> Iterator[Layer]:
    """Yield the normalizations that a layer with these arguments may be, whatever its output."""
    for names in _names(observed.inputs):
        if len(names) == 3:
            yield from (layer for layer in _layers(observed, names) if layer.grouping.transposed)


def _layers(observed: Observed, names: tuple[str, ...]) -> list[Layer]:
    """Return a Layer for each way to normalize; none if the shapes are not those of a normalization."""
    x, parameters = observed.inputs[names[0]], [observed.inputs[name] for name in names[1:]]
    out, dout = observed.out, observed.dout
    if out is None or dout is None or x.ndim not in (2, 4) or not x.size:
        return []
    if not x.shape == out.shape == dout.shape or any(p.size != x.shape[1] for p in parameters):
        return []
    defaults = (np.ones(x.shape[1]), np.zeros(x.shape[1]))
    gamma, beta = parameters + list(defaults[len(parameters) :])
    return [Layer(names, x, (gamma, beta), dout, grouping) for grouping in groupings(observed)]


def _recognize(observed: Observed, names: tuple[str, ...]) -> Terms | None:
    layers, out = _layers(observed, names), observed.out
    if not layers or out is None:
        return None
    for layer in layers:
        scale = _scale(layer, out, observed.number("eps"))
        if scale is not None:
            return Terms(layer, scale)
    return _in_test_mode(observed, layers, out) if len(names) == 3 else None


def groupings(observed: Observed) -> Iterator[Grouping]:
    """Yield the ways to normalize x that are worth trying, the one that the settings name first."""
    x = observed.x
    if x is None or x.ndim not in (2, 4):
        return
    if x.ndim == 2:
        yield Grouping(x.shape, (0,), (1, x.shape[1]), "N", "the batch")
        yield Grouping(x.shape, (1,), (1, x.shape[1]), "D", "the features of each example")
        return
    N, C, H, W = x.shape
    of_settings = observed.integer("G") or 0
    divisors = [G for G in range(1, C + 1) if C % G == 0]
    first = [of_settings] if of_settings in divisors else []
    grouped = [_in_groups(x.shape, G) for G in [*first, *divisors]]
    batch = Grouping(x.shape, (0, 2, 3), (1, C, 1, 1), "NHW", "the batch and all pixels")
    yield from [*grouped[: len(first)], batch, *grouped[len(first) :]]
    for G in divisors[1:-1]:
        over = f"groups of channels {G} apart"
        yield Grouping((N, C // G, G, H, W), (1, 3, 4), (1, C // G, G, 1, 1), "HWC/G", over)
    yield Grouping((N * H * W, C), (0,), (1, C), "NHW", "a mix of channels", transposed=False)


def _in_groups(shape: Axes, G: int) -> Grouping:
    """Return the Grouping of group normalization; with one group, or C, it has another name."""
    N, C, H, W = shape
    letters, over = "HWC/G", f"each group of {C // G} channels"
    if G == 1:
        letters, over = "CHW", "all channels of each image"
    elif G == C:
        letters, over = "HW", "each channel of each image"
    return Grouping((N, G, C // G, H, W), (2, 3, 4), (1, G, C // G, 1, 1), letters, over)


def fits(out: Array, candidate: Array, tolerance: float) -> bool:
    """Return whether an output is another one, to a tolerance relative to its largest entry."""
    return bool(np.abs(out - candidate).max() <= tolerance * np.abs(out).max())


def _scale(layer: Layer, out: Array, eps: float | None) -> Scale | None:
    """Return the Scale that gives the output, or None if no number for each group does."""
    grouping = layer.grouping
    centered = layer.x - grouping.mean(layer.x)
    scaled, rest = layer.gamma * centered, out - layer.beta
    if not np.abs(rest).max() > FORWARD * np.abs(out).max():  # the same without any x: it shows nothing
        return None
    norm = grouping.sum(scaled**2)
    r = grouping.sum(rest * scaled) / np.where(norm > 0, norm, 1)  # least squares
    if not fits(out, layer.beta + r * scaled, SAME):
        return None
    likely = list(_likely_scales(grouping.count, eps))
    solved = list(_solved_scales(grouping, centered, r))
    for tolerance, scales in ((FORWARD, likely + solved), (SAME, likely)):
        for scale in scales:
            if fits(out, Terms(layer, scale).out, tolerance):
                return scale
    return None


def _likely_scales(count: int, eps: float | None) -> Iterator[Scale]:
    """Yield scales to try: with the eps of the settings first, then without any, then with usual ones."""
    first = DEFAULT_EPS if eps is None else eps
    for number in (first, 0.0, *(usual for usual in USUAL_EPS if usual != first)):
        for less in (0, 1) if count > 1 else (0,):
            yield Scale(number, less)
            if number:
                yield Scale(number, less, outside=True)


def _solved_scales(grouping: Grouping, centered: Array, r: Array) -> Iterator[Scale]:
    """Yield scales with the eps that the output shows: std**2 - var, which is one number for all groups."""
    var = grouping.mean(centered**2)
    shows = (var > SAME * var.max()) & (r > 0)
    if not shows.any():
        return
    std, var = 1 / r[shows], var[shows]
    for less in (0, 1) if grouping.count > 1 else (0,):
        unbiased = var * grouping.count / (grouping.count - less)
        inside, outside = np.median(std**2 - unbiased), np.median(std - np.sqrt(unbiased))
        yield Scale(float(max(inside, 0.0)), less)
        yield Scale(float(max(outside, 0.0)), less, outside=True)


def _in_test_mode(observed: Observed, layers: list[Layer], out: Array) -> Terms | None:
    """Return the Terms of batch normalization in test mode: a straight line for each feature."""
    layer = next(layer for layer in layers if 0 in layer.grouping.axes)
    mean = layer.grouping.mean
    centered = layer.x - mean(layer.x)
    slope = mean(centered * out) / mean(centered**2)
    r = slope / layer.gamma
    if not (np.isfinite(r).all() and (r > 0).all()):
        return None
    center = layer.x - (out - layer.beta) / slope
    if not fits(out, layer.beta + slope * (layer.x - mean(center)), FORWARD):
        return None
    is_told = observed.settings.get("mode") == "test"
    numeric = observed.numeric.get(layer.names[0]) if isinstance(observed, Case) else None
    if not (is_told or layer.grouping.count >= LEAST_POINTS or numeric is not None):
        return None
    if numeric is not None and not same(slope * layer.dout, numeric):
        return None
    eps = observed.number("eps")
    return Terms(layer, Scale(DEFAULT_EPS if eps is None else eps), (mean(center), 1 / r))
