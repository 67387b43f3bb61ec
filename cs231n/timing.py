"""How long layers take: the best of several runs, which other programs disturb least."""

import timeit
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cs231n.fast_layers import conv_backward_fast, conv_forward_fast
from cs231n.kernels import load_kernels
from cs231n.layers import conv_backward_naive, conv_forward_naive

Layer = Callable[..., Any]


def best_seconds(run: Callable[[], object], repeat: int = 15) -> float:
    """Return the seconds of the fastest of `repeat` runs."""
    return min(timeit.repeat(run, number=1, repeat=repeat))


def time_passes(forward: Layer, backward: Layer, *inputs: Any, repeat: int = 15) -> tuple[float, float]:
    """Return the seconds of a layer's forward pass and of its backward pass."""
    out, cache = forward(*inputs)
    dout = np.ones_like(out)
    runs: list[Callable[[], object]] = [lambda: forward(*inputs), lambda: backward(dout, cache)]
    forward_seconds, backward_seconds = (best_seconds(run, repeat) for run in runs)
    return forward_seconds, backward_seconds


def time_convolution(
    kernels: str, x: NDArray[Any], w: NDArray[Any], b: NDArray[Any], conv_param: dict[str, int]
) -> float:
    """Return the seconds of both passes of a convolution with these kernels.

    `kernels` is "naive" or what `cs231n.kernels.load_kernels` takes, and they stay in use. The naive layers
    get one image, and their time is multiplied by the number of images.
    """
    if kernels == "naive":
        return len(x) * sum(
            time_passes(conv_forward_naive, conv_backward_naive, x[:1], w, b, conv_param, repeat=1)
        )
    load_kernels(kernels)
    return sum(time_passes(conv_forward_fast, conv_backward_fast, x, w, b, conv_param))


def matrix_product_rate(size: int = 2048) -> float:
    """Return the operations per second of a large matrix product in float32: about the most there is."""
    a = np.random.randn(size, size).astype(np.float32)
    return 2 * size**3 / best_seconds(lambda: a @ a, 5)
