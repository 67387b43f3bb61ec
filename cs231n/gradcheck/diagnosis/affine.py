"""Mistakes in an affine layer, out = x w + b: another matrix product, or entries in another order.

With the examples x as rows X (N, D), the gradients are dx = dout w^T, dw = X^T dout and db, the sum of dout
over the examples. A product of the right shape is not always the right product: in square layers, products
of other factors and of their transposes have the same shape. The layer is recognized by its output.
"""

from collections.abc import Iterator, Mapping
from itertools import product
from typing import NamedTuple

import numpy as np

from cs231n.gradcheck.diagnosis.causes import Array, Case, Finding, Observed, is_output, matching
from cs231n.gradcheck.diagnosis.mistakes import Mistake

PRODUCT = "A product of the right shape is not always the right product. Derive it: out = x w + b."
CHAIN_RULE = "The chain rule: the upstream gradient is a factor."
FORWARD = (
    "The gradient is that of out = x w + b, with each example as a row. Compare the forward pass with it."
)
ORDER = "Reshape each example to a row: x.reshape(N, -1). Back again: dx.reshape(x.shape)."


class Affine(NamedTuple):
    """An affine layer: its arguments as rows X (N, D), w (D, M), their names, and how its output differs.

    - b: (M,), or None without a bias
    - mistake: what is wrong with the forward pass, "" if nothing is
    """

    x: Array
    w: Array
    b: Array | None
    dout: Array
    out: Array
    names: list[str]
    mistake: str

    @property
    def X(self) -> Array:
        """The examples as rows."""
        return self.x.reshape(len(self.x), -1)

    def gradients(self) -> dict[str, Array]:
        """Return the right gradients of all arguments."""
        dx = (self.dout @ self.w.T).reshape(self.x.shape)
        gradients = dict(zip(self.names, (dx, self.X.T @ self.dout), strict=False))
        if self.b is not None:
            gradients[self.names[2]] = self.dout.sum(axis=0).reshape(self.b.shape)
        return gradients


def find_affine(case: Case) -> Iterator[Finding]:
    """Find a wrong product, or a wrong order of entries, if the layer is affine."""
    layer = affine_of(case)
    if layer is None or case.name not in layer.names:
        return
    right = layer.gradients()[case.name]
    if layer.mistake:
        if case.is_explained_by(right):
            evidence = "the output is the one with this mistake, and the gradient is that of a right layer"
            yield Finding(Mistake.FORWARD_WRONG, evidence, FORWARD, about=layer.mistake)
        return
    position = layer.names.index(case.name)
    findings = list(_reordered(case, layer, position)) or list(_without_dout(case, layer, position))
    yield from findings or (_wrong_product(case, layer, position) if position < 2 else ())


def affine_of(observed: Observed) -> Affine | None:
    """Return the affine layer under test, whatever its arguments are called, or None."""
    values, out, dout = list(observed.inputs.values()), observed.out, observed.dout
    if out is None or dout is None or len(values) not in (2, 3) or np.ndim(out) != 2:
        return None
    x, w, *biases = values
    b = biases[0] if biases else None
    if np.ndim(x) < 2 or np.ndim(w) != 2 or not np.size(x) or x.size != len(x) * len(w):
        return None
    if not out.shape == np.shape(dout) == (len(x), w.shape[1]) or (b is not None and b.size != w.shape[1]):
        return None
    for mistake, formula in _outputs(x, w, 0.0 if b is None else b.reshape(-1)):
        if is_output(out, formula):
            return Affine(x, w, b, dout, out, list(observed.inputs), mistake)
    return None


def gradients_of_affine(observed: Observed) -> Mapping[str, Array] | None:
    """Return {argument: gradient} of an affine layer, or None for another one."""
    layer = affine_of(observed)
    return None if layer is None or layer.mistake else layer.gradients()


def _outputs(x: Array, w: Array, b: Array | float) -> Iterator[tuple[str, Array]]:
    """Yield (mistake, output) of affine layers, the right one first."""
    X = x.reshape(len(x), -1)
    yield "", X @ w + b
    if w.shape[0] == w.shape[1]:
        yield "transposes w", X @ w.T + b
    if len(x) == w.shape[1] and np.ndim(b):
        yield "adds b along the wrong axis", X @ w + np.reshape(b, (-1, 1))
    for rows in _flattened_otherwise(x):
        yield "flattens x in another order", rows @ w + b


def _flattened_otherwise(x: Array) -> Iterator[Array]:
    """Yield the entries of x as an array (N, D), but in another order than row by row."""
    N = len(x)
    if _is_square(x):  # the other order is the transpose, which is another product
        return
    yield x.reshape(-1, N).T
    if x.ndim > 2:
        yield x.reshape(N, -1, order="F")
        yield np.moveaxis(x, 1, -1).reshape(N, -1)
    yield x.reshape(N, -1).T.reshape(N, -1)


def _is_square(x: Array) -> bool:
    return x.ndim == 2 and x.shape[0] == x.shape[1]


def _reordered(case: Case, layer: Affine, position: int) -> Iterator[Finding]:
    """Find entries that a reshape puts in another order."""
    x, N = layer.x, len(layer.x)
    if position == 0 and _is_square(x):  # the other order is the transpose
        return
    if position == 0:
        rows = layer.dout @ layer.w.T
        candidates = [rows.T.reshape(x.shape)]
        if x.ndim > 2:
            candidates.append(rows.reshape(x.shape, order="F"))
            candidates.append(rows.reshape(N, *x.shape[:0:-1]).transpose(0, *range(x.ndim - 1, 0, -1)))
            last = rows.reshape(N, *x.shape[2:], x.shape[1])
            candidates.append(np.moveaxis(last, -1, 1))
    elif position == 1:
        candidates = [rows.T @ layer.dout for rows in _flattened_otherwise(x)]
    else:
        return
    about = f"d{case.name}" if position == 0 else layer.names[0]
    for finding in matching(case, [(Mistake.RESHAPED, array) for array in candidates], ORDER):
        yield Finding(finding.mistake, finding.evidence, finding.look, about=about)


def _without_dout(case: Case, layer: Affine, position: int) -> Iterator[Finding]:
    """Find gradients with 1 in place of the upstream gradient."""
    ones = layer._replace(dout=np.ones_like(layer.dout)).gradients()[case.name]
    candidates = [ones, np.ones_like(ones)] if position == 2 else [ones]
    if position == 1 and layer.X.T.shape == ones.shape:
        candidates.append(layer.X.T)
    yield from matching(case, [(Mistake.NO_DOUT, array) for array in candidates], CHAIN_RULE)


def _wrong_product(case: Case, layer: Affine, position: int) -> Iterator[Finding]:
    """Find a product of two other factors, or of the right ones transposed otherwise."""
    x, w, *_ = layer.names
    right = f"dout @ {w}.T" if position == 0 else f"{x}.T @ dout"
    factors = {x: layer.X, w: layer.w, "dout": layer.dout, "out": layer.out}
    factors |= {f"{name}.T": array.T for name, array in factors.items()}
    shape = (len(layer.x), len(layer.w)) if position == 0 else layer.w.shape
    for (one, a), (other, b) in product(factors.items(), repeat=2):
        text = f"{one} @ {other}"
        fits = a.shape[1] == len(b) and (len(a), b.shape[1]) == shape
        if fits and not _has_a_name(text, x, w) and case.is_explained_by((a @ b).reshape(case.actual.shape)):
            is_known = position == 0 and text == f"dout @ {w}"
            mistake = Mistake.W_NOT_TRANSPOSED if is_known else Mistake.WRONG_PRODUCT
            yield Finding(mistake, f"it is {text}; it should be {right}", PRODUCT)
            return


def _has_a_name(text: str, x: str, w: str) -> bool:
    """Return whether a product is dx, dw or their transpose, which have names of their own."""
    return text in (f"dout @ {w}.T", f"{w} @ dout.T", f"{x}.T @ dout", f"dout.T @ {x}")
