"""Where the windows of a convolution or a pooling stand on an image, and whether they fit.

Shared by every implementation, so that naive and fast layers accept and refuse the same arguments.

Axes: N images, C channels, H W image height and width, F filters, HH WW height and width of a window,
H' W' of the output: the number of places at which a window stands, below and beside each other.
"""

from collections.abc import Mapping
from typing import Any

from numpy.typing import NDArray

from cs231n.validation import require_integer, require_ndim, require_settings, require_shape


def convolution_geometry(
    x: NDArray[Any], w: NDArray[Any], b: NDArray[Any], conv_param: Mapping[str, Any]
) -> tuple[int, int, int, int]:
    """Return stride, pad, H' and W' of a convolution; ValueError if an argument does not fit the others.

    - x: (N, C, H, W); w: (F, C, HH, WW); b: (F,)
    - conv_param: a dictionary with `stride` >= 1 and `pad` >= 0
    """
    require_settings("conv_param", conv_param)
    require_ndim("x", x, "N, C, H, W")
    require_ndim("w", w, "F, C, HH, WW")
    F, C, HH, WW = w.shape
    if x.shape[1] != C:
        raise ValueError(f"x {x.shape} has {x.shape[1]} channels and w {w.shape} has {C}; they must be equal")
    require_shape("b", b, (F,), "one bias per filter of w")
    stride = require_integer("conv_param['stride']", conv_param.get("stride"), 1)
    pad = require_integer("conv_param['pad']", conv_param.get("pad"), 0)
    return stride, pad, *count_windows(x.shape, HH, WW, stride, pad)


def pooling_geometry(x: NDArray[Any], pool_param: Mapping[str, Any]) -> tuple[int, int, int, int, int]:
    """Return window height and width, stride, H' and W' of a pooling; ValueError if they do not fit x.

    - x: (N, C, H, W)
    - pool_param: a dictionary with `pool_height`, `pool_width` and `stride`, each >= 1
    """
    require_settings("pool_param", pool_param)
    require_ndim("x", x, "N, C, H, W")
    HH, WW, stride = (
        require_integer(f"pool_param['{name}']", pool_param.get(name), 1)
        for name in ("pool_height", "pool_width", "stride")
    )
    return HH, WW, stride, *count_windows(x.shape, HH, WW, stride, pad=0)


def count_windows(x_shape: tuple[int, ...], HH: int, WW: int, stride: int, pad: int) -> tuple[int, int]:
    """Return H' and W' for images of shape (N, C, H, W); ValueError if windows do not end with the image.

    H' = 1 + (H + 2 pad - HH) / stride, and W' likewise, must be whole numbers: a last row or column of
    pixels that no window reaches is nearly always a mistake.
    """
    _, _, H, W = x_shape
    for name, value, low in (("HH", HH, 1), ("WW", WW, 1), ("stride", stride, 1), ("pad", pad, 0)):
        require_integer(name, value, low)
    return (
        _count_along("height", H, HH, stride, pad),
        _count_along("width", W, WW, stride, pad),
    )


def _count_along(side: str, size: int, window: int, stride: int, pad: int) -> int:
    room = size + 2 * pad - window
    if room < 0:
        raise ValueError(
            f"the window must fit into the padded image: the window's {side} is {window}, "
            f"the image's {size} + 2 * {pad}"
        )
    if room % stride:
        raise ValueError(
            f"stride must divide {side} + 2 * pad - window {side} = {size} + 2 * {pad} - {window} = {room}; "
            f"got stride {stride}, which leaves {room % stride}"
        )
    return 1 + room // stride
