"""A network as a chain of steps, which a forward pass records and a backward pass goes through in reverse.

A step is one layer as it ran: its input, its output and its backward pass, a function of the upstream
gradient that returns (dx, {name: gradient}). A mistake is a change of the list of steps: a step with another
backward pass, in another place, or left out. Names are W, b, gamma and beta; the number of the step's layer
is added to them.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum, auto
from functools import partial
from typing import Any

import numpy as np

from cs231n.gradcheck.diagnosis.causes import Array

Grads = dict[str, Array]
Backward = Callable[[Array], tuple[Array, Grads]]


class StepKind(Enum):
    """The kinds of steps; LINEAR is an affine layer or a convolution, INPUT only tells the gradient of x."""

    INPUT = auto()
    LINEAR = auto()
    NORM = auto()
    RELU = auto()
    POOL = auto()
    DROPOUT = auto()


@dataclass(frozen=True)
class Step:
    """One layer as it ran.

    - layer: the number in the names of its parameters, or of those of the layer before it
    - x, out: its input and output; weights: W of a linear step, the mask of dropout, else empty
    - vary: the function that makes the backward pass of a linear step or a normalization, to be called with
      the arguments that are to be others
    """

    kind: StepKind
    layer: int
    x: Array
    out: Array
    backward: Backward
    weights: Array = field(default_factory=lambda: np.zeros(0))
    vary: Callable[..., Backward] | None = None


def go_back(steps: Sequence[Step], dout: Array) -> Grads:
    """Return the gradients of all parameters, such as W1, given the gradient of the last step's output."""
    found: Grads = {}
    for step in reversed(steps):
        dout, grads = step.backward(dout)
        found |= {f"{name}{step.layer}": grad for name, grad in grads.items()}
    return found


def without(steps: Iterable[Step], *left_out: Step) -> list[Step]:
    """Return the steps without some of them: backward, dout passes through these unchanged."""
    return [step for step in steps if not any(step is other for other in left_out)]


def changed(steps: Iterable[Step], step: Step, backward: Backward) -> list[Step]:
    """Return the steps, one of them with another backward pass."""
    return [replace(other, backward=backward) if other is step else other for other in steps]


# ------------------------------------------------------------------------------------------------- affine


def affine(x: Array, w: Array, b: Array, layer: int) -> Step:
    """Return out = x w + b for x (N, d1, ..., dk) and w (D, M), D = d1 ... dk."""
    out = x.reshape(len(x), -1) @ w + b
    vary = partial(affine_backward, x, w=w)
    return Step(StepKind.LINEAR, layer, x, out, vary(), w, vary)


def affine_backward(x: Array, w: Array, x_of_dw: Array | None = None) -> Backward:
    """Return the backward pass of x w + b: dx = dout w^T, dw = x^T dout, db = sum of dout.

    - x_of_dw: what dw is computed with instead of x
    """
    factor = (x if x_of_dw is None else x_of_dw).reshape(len(x), -1)

    def backward(dout: Array) -> tuple[Array, Grads]:
        dw = factor.T @ dout
        return (dout @ w.T).reshape(x.shape), {"W": dw, "b": dout.sum(axis=0)}

    return backward


# -------------------------------------------------------------------------------------------- convolution


def conv(x: Array, w: Array, b: Array, layer: int, pad: int) -> Step:
    """Return the convolution, with stride 1, of x (N, C, H, W) with w (F, C, HH, WW)."""
    out = np.einsum("nchwij,fcij->nfhw", _windows(x, w, pad), w, optimize=True) + b[:, None, None]
    vary = partial(conv_backward, x, w=w, pad=pad, need_dx=layer > 1)
    return Step(StepKind.LINEAR, layer, x, out, vary(), w, vary)


def conv_backward(
    x: Array, w: Array, pad: int, need_dx: bool = True, x_of_dw: Array | None = None
) -> Backward:
    """Return the backward pass of a convolution with stride 1; without need_dx it returns dout for dx.

    - x_of_dw: what dw is computed with instead of x
    """

    def backward(dout: Array) -> tuple[Array, Grads]:
        windows = _windows(x if x_of_dw is None else x_of_dw, w, pad)
        dw = np.einsum("nfhw,nchwij->fcij", dout, windows, optimize=True)
        return _conv_dx(dout, x, w, pad) if need_dx else dout, {"W": dw, "b": dout.sum(axis=(0, 2, 3))}

    return backward


def _windows(x: Array, w: Array, pad: int) -> Array:
    """Return the windows of x, (N, C, H', W', HH, WW)."""
    if x.shape[1] != w.shape[1]:
        raise ValueError(f"x and w must have the same channels; got {x.shape} and {w.shape}")
    padded = np.pad(x, ((0, 0), (0, 0), (pad, pad), (pad, pad)))
    return np.lib.stride_tricks.sliding_window_view(padded, w.shape[2:], axis=(2, 3))


def _conv_dx(dout: Array, x: Array, w: Array, pad: int) -> Array:
    """Return dx: each pixel of a window gets dout times the weight that it was multiplied by."""
    N, C, H, W = x.shape
    dpadded = np.zeros((N, C, H + 2 * pad, W + 2 * pad))
    rows, columns = dout.shape[2:]
    for i, j in np.ndindex(w.shape[2:]):
        dpadded[:, :, i : i + rows, j : j + columns] += np.einsum("nfhw,fc->nchw", dout, w[:, :, i, j])
    return dpadded[:, :, pad : pad + H, pad : pad + W]


# ---------------------------------------------------------------------------------------------- activation


def relu(x: Array, layer: int) -> Step:
    """Return max(0, x)."""
    return Step(StepKind.RELU, layer, x, np.maximum(x, 0), mask_backward(x > 0))


def dropout(x: Array, mask: Array, layer: int) -> Step:
    """Return x times a mask."""
    return Step(StepKind.DROPOUT, layer, x, x * mask, mask_backward(mask), mask)


def mask_backward(mask: Array) -> Backward:
    """Return the backward pass dx = dout * mask of ReLU or dropout."""

    def backward(dout: Array) -> tuple[Array, Grads]:
        if dout.shape != mask.shape:
            raise ValueError(f"dout and the mask must have the same shape; got {dout.shape}, {mask.shape}")
        return dout * mask, {}

    return backward


# ------------------------------------------------------------------------------------------- normalization


def norm(x: Array, gamma: Array, beta: Array, layer: int, axes: tuple[int, ...], eps: float) -> Step:
    """Return gamma x_hat + beta; x_hat has mean 0 and variance 1 along `axes`, except for eps."""
    per_channel = (-1,) + (1,) * (x.ndim - 2)
    gamma = gamma.reshape(per_channel)
    x_hat, r = _normalized(x, axes, eps)
    out = gamma * x_hat + beta.reshape(per_channel)

    def vary(again: bool = False, **others: Any) -> Backward:
        """Return the backward pass with other arguments, or with x normalized again, over its axes."""
        of_x = _normalized(x, others.get("axes", axes), eps) if again else (x_hat, r)
        return norm_backward(*of_x[:1], **{"axes": axes, "r": of_x[1], "gamma": gamma, **others})

    return Step(StepKind.NORM, layer, x, out, vary(), vary=vary)


def _normalized(x: Array, axes: tuple[int, ...], eps: float) -> tuple[Array, Array]:
    """Return x_hat and 1 / sqrt(var + eps), with mean and variance over some axes."""
    centered = x - x.mean(axis=axes, keepdims=True)
    r = 1 / np.sqrt((centered**2).mean(axis=axes, keepdims=True) + eps)
    return centered * r, r


def norm_backward(
    x_hat: Array,
    axes: tuple[int, ...],
    r: Array,
    gamma: Array,
    of_mean: float = 1,
    of_variance: float = 1,
) -> Backward:
    """Return the backward pass dx = r (g - mean(g) - x_hat mean(g x_hat)) with g = gamma dout.

    - of_mean, of_variance: how many times dx contains its second and its third term
    """

    def backward(dout: Array) -> tuple[Array, Grads]:
        shared = tuple(axis for axis in range(dout.ndim) if axis != 1)  # axes that share gamma
        g = gamma * dout
        mean, product = g.mean(axis=axes, keepdims=True), (g * x_hat).mean(axis=axes, keepdims=True)
        dx = r * (g - of_mean * mean - of_variance * x_hat * product)
        return dx, {"gamma": (dout * x_hat).sum(axis=shared), "beta": dout.sum(axis=shared)}

    return backward


def passing(backward: Backward) -> Backward:
    """Return a backward pass with the same gradients of parameters that passes dout on as dx."""
    return lambda dout: (dout, backward(dout)[1])


# ------------------------------------------------------------------------------------------------- pooling


def pool(x: Array, layer: int) -> Step:
    """Return the largest entries of the 2x2 windows, with stride 2, of x (N, C, H, W), H and W even."""
    return Step(StepKind.POOL, layer, x, _tiles(x).max(axis=-1), pool_backward(x, first_largest))


def pool_backward(x: Array, shares: Callable[[Array], Array]) -> Backward:
    """Return the backward pass of 2x2 pooling.

    - shares: a function of the windows (N, C, H / 2, W / 2, 4) that gives each entry's share of dout
    """

    def backward(dout: Array) -> tuple[Array, Grads]:
        N, C, H, W = x.shape
        tiles = dout.reshape(N, C, H // 2, W // 2)[..., None] * shares(_tiles(x))
        return tiles.reshape(N, C, H // 2, W // 2, 2, 2).swapaxes(3, 4).reshape(x.shape), {}

    return backward


def first_largest(tiles: Array) -> Array:
    """Return 1 for the first largest entry along the last axis, 0 for the others."""
    is_first: Array = np.eye(4)[tiles.argmax(axis=-1)]
    return is_first


def every_largest(tiles: Array) -> Array:
    """Return 1 for every entry that is the largest along the last axis, 0 for the others."""
    is_largest: Array = (tiles == tiles.max(axis=-1, keepdims=True)).astype(float)
    return is_largest


def _tiles(x: Array) -> Array:
    """Return the 2x2 windows of x, (N, C, H / 2, W / 2, 4)."""
    N, C, H, W = x.shape
    tiles: Array = x.reshape(N, C, H // 2, 2, W // 2, 2).swapaxes(3, 4).reshape(N, C, H // 2, W // 2, 4)
    return tiles
