"""Where the windows of a convolution or a pooling stand on an image, and whether they fit.

Shared by every implementation, so that naive and fast layers accept and refuse the same arguments.

Axes: N images, C channels, H W image height and width, F filters, HH WW height and width of a window,
H' W' of the output: the number of places at which a window stands, below and beside each other.

`stride` and `pad` may be one integer, for rows and columns alike, or a pair (rows, columns).
"""

from collections.abc import Mapping
from typing import Any

from numpy.typing import NDArray

from cs231n.validation import require_integer, require_ndim, require_pair, require_settings, require_shape

Pair = tuple[int, int]  # one number for rows and one for columns


def convolution_geometry(
    x: NDArray[Any], w: NDArray[Any], b: NDArray[Any], conv_param: Mapping[str, Any]
) -> tuple[Pair, Pair, int, int]:
    """Return stride and pad, as pairs, H' and W' of a convolution; ValueError if arguments do not fit.

    - x: (N, C, H, W); w: (F, C, HH, WW); b: (F,)
    - conv_param: a dictionary with `stride` >= 1 and `pad` >= 0, each an integer or a pair
    """
    require_settings("conv_param", conv_param)
    require_ndim("x", x, "N, C, H, W")
    require_ndim("w", w, "F, C, HH, WW")
    F, C, HH, WW = w.shape
    if x.shape[1] != C:
        raise ValueError(f"x {x.shape} has {x.shape[1]} channels and w {w.shape} has {C}; they must be equal")
    require_shape("b", b, (F,), "one bias per filter of w")
    stride = require_pair("conv_param['stride']", conv_param.get("stride"), 1)
    pad = require_pair("conv_param['pad']", conv_param.get("pad"), 0)
    return stride, pad, *_count(x.shape, HH, WW, stride, pad)


def pooling_geometry(x: NDArray[Any], pool_param: Mapping[str, Any]) -> tuple[int, int, Pair, int, int]:
    """Return window height and width, stride (a pair), H' and W' of a pooling; ValueError if they do not fit.

    - x: (N, C, H, W)
    - pool_param: a dictionary with `pool_height`, `pool_width` and `stride`, each >= 1; stride may be a pair
    """
    require_settings("pool_param", pool_param)
    require_ndim("x", x, "N, C, H, W")
    HH, WW = (
        require_integer(f"pool_param['{name}']", pool_param.get(name), 1)
        for name in ("pool_height", "pool_width")
    )
    stride = require_pair("pool_param['stride']", pool_param.get("stride"), 1)
    return HH, WW, stride, *_count(x.shape, HH, WW, stride, pad=(0, 0))


def count_windows(x_shape: tuple[int, ...], HH: int, WW: int, stride: int | Pair, pad: int | Pair) -> Pair:
    """Return H' and W' for images of shape (N, C, H, W); ValueError if a window is larger than an image.

    H' = 1 + (H + 2 pad - HH) / stride, rounded down, and W' likewise. Where the stride does not divide, the
    next window would reach beyond the padded image: it is left out, as in PyTorch, and the last rows or
    columns of pixels are in no window.

    >>> count_windows((1, 3, 32, 32), HH=3, WW=3, stride=2, pad=1)  # one row of padding stays unused
    (16, 16)
    """
    _, _, *counts = window_geometry(x_shape, HH, WW, stride, pad)
    return counts[0], counts[1]


def window_geometry(
    x_shape: tuple[int, ...], HH: int, WW: int, stride: int | Pair, pad: int | Pair
) -> tuple[Pair, Pair, int, int]:
    """Return stride and pad, as pairs, H' and W'; ValueError unless the windows fit into the images."""
    HH, WW = require_integer("HH", HH, 1), require_integer("WW", WW, 1)
    stride, pad = require_pair("stride", stride, 1), require_pair("pad", pad, 0)
    return stride, pad, *_count(x_shape, HH, WW, stride, pad)


def _count(x_shape: tuple[int, ...], HH: int, WW: int, stride: Pair, pad: Pair) -> Pair:
    """Return H' and W' for arguments that have been checked."""
    _, _, H, W = x_shape
    return (
        _count_along("height", H, HH, stride[0], pad[0]),
        _count_along("width", W, WW, stride[1], pad[1]),
    )


def _count_along(side: str, size: int, window: int, stride: int, pad: int) -> int:
    room = size + 2 * pad - window
    if room < 0:
        raise ValueError(
            f"the window must fit into the padded image: the window's {side} is {window}, "
            f"the image's {size} + 2 * {pad}"
        )
    return 1 + room // stride
