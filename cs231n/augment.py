"""Augmentation: minibatches whose images differ a little each time that a Solver draws them.

An augmentation is any function of a minibatch X (N, ...) and a NumPy generator that returns as many examples;
labels stay. The Solver's generator starts from NumPy's global one, so that `np.random.seed` makes a run
repeatable, and draws nothing from it: the minibatches are those of a run without augmentation. So

    Solver(model, data, augment=[Mirror(), Shift(4), Cutout(8)])
    Solver(model, data, augment=lambda X, rng: X * rng.uniform(0.9, 1.1))

Those below take images (N, C, H, W) of any dtype, which stays, and return new ones of the same shape. What
they fill in is 0: the mean, where the mean image was subtracted.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from cs231n.validation import require_integer, require_ndim, require_number

Array = NDArray[Any]
Augmentation = Callable[[Array, np.random.Generator], Array]


@dataclass(frozen=True)
class Mirror:
    """Mirror each image left to right with this probability.

    >>> Mirror(1.0)(np.arange(3.0).reshape(1, 1, 1, 3), np.random.default_rng(0)).ravel()
    array([2., 1., 0.])
    """

    probability: float = 0.5

    def __post_init__(self) -> None:
        require_number("probability", self.probability, 0, 1)

    def __call__(self, X: Array, rng: np.random.Generator) -> Array:
        """Return the images, some of them mirrored; see the module's docstring."""
        require_ndim("X", X, "N, C, H, W")
        out: Array = X.copy()
        mirrored = rng.random(len(X)) < self.probability
        out[mirrored] = X[mirrored, :, :, ::-1]
        return out


@dataclass(frozen=True)
class Shift:
    """Shift each image by up to `most` pixels down or up and right or left, all shifts equally likely.

    What moves out is lost, and zeros move in. (He et al. 2016, https://arxiv.org/abs/1512.03385, section
    4.2: 4 pixels for CIFAR-10, there as a random crop of the padded image.)
    """

    most: int

    def __post_init__(self) -> None:
        require_integer("most", self.most, 0)

    def __call__(self, X: Array, rng: np.random.Generator) -> Array:
        """Return the shifted images; see the module's docstring."""
        require_ndim("X", X, "N, C, H, W")
        N, _, H, W = X.shape
        rows, columns = rng.integers(0, 2 * self.most + 1, size=(2, N))
        sides = (self.most, self.most)
        padded = np.pad(X, [(0, 0), (0, 0), sides, sides])
        windows = sliding_window_view(padded, (H, W), axis=(2, 3))
        shifted: Array = windows[np.arange(N), :, rows, columns]
        return shifted


@dataclass(frozen=True)
class Cutout:
    """Erase a square of `size` x `size` pixels from each image, anywhere: its middle is any pixel.

    At the border less of it lies within the image. (DeVries and Taylor 2017,
    https://arxiv.org/abs/1708.04552: 16 pixels for CIFAR-10, 8 for CIFAR-100.)
    """

    size: int

    def __post_init__(self) -> None:
        require_integer("size", self.size, 1)

    def __call__(self, X: Array, rng: np.random.Generator) -> Array:
        """Return the images with the squares erased; see the module's docstring."""
        require_ndim("X", X, "N, C, H, W")
        N, _, H, W = X.shape
        rows, columns = (self._covered(length, rng.integers(0, length, size=(N, 1))) for length in (H, W))
        out: Array = X.copy()
        np.copyto(out, 0, where=(rows[:, :, None] & columns[:, None, :])[:, None])
        return out

    def _covered(self, length: int, middles: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Return for each middle (N, 1) which of `length` places the square covers, (N, length)."""
        firsts = middles - self.size // 2
        places = np.arange(length)
        covered: NDArray[np.bool_] = (places >= firsts) & (places < firsts + self.size)
        return covered
