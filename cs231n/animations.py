"""A convolution in motion: the window that slides forward, and the gradients that are pushed back.

An animation is one PNG with several frames, which browsers, JupyterLab and rendered notebooks play without
JavaScript. Where a picture cannot move, as in a PDF, its last frame is shown.
"""

import io
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import ArrayLike, NDArray
from PIL import Image

from cs231n.vis_utils import COLORS, INK, STYLE

Array = NDArray[np.float64]
Place = tuple[int, int]
MILLISECONDS = 900  # that a frame is shown
SHARPNESS = 2  # pixels of the picture for each pixel of a page
CELL = 0.4  # inches
NUM_COLORS = 16
MARK = COLORS[1]


@dataclass(frozen=True)
class Panel:
    """A matrix in a frame.

    - numbers: its entries, NaN where there is none yet
    - marked: the (row, column, height, width) of the frame around some of them, if there is one
    - border: how many rows and columns on every side are padding, in gray
    """

    title: str
    numbers: Array
    marked: tuple[int, int, int, int] | None = None
    border: int = 0


class Animation:
    """Frames, each a row of panels: what a notebook shows of it is a PNG that moves."""

    def __init__(self, frames: Iterable[Sequence[Panel]]) -> None:
        self.frames = [list(frame) for frame in frames]

    def _repr_png_(self) -> tuple[bytes, dict[str, int]]:
        pictures = [_draw(frame) for frame in self.frames]
        width, height = pictures[0].size
        return _as_png(pictures), {"width": width // SHARPNESS, "height": height // SHARPNESS}


def animate_convolution(x: ArrayLike, w: ArrayLike, bias: float, stride: int, pad: int) -> Animation:
    """Show how a filter w (HH, WW) slides over one channel of one image x (H, W), a frame for each output."""
    return Animation(_forward_frames(np.asarray(x, float), np.asarray(w, float), bias, stride, pad))


def animate_backward(dout: ArrayLike, w: ArrayLike, size: Place, stride: int, pad: int) -> Animation:
    """Show how each output pushes its gradient times the filter back onto its window.

    - dout: the upstream gradient (H', W'); w: the filter (HH, WW); size: (H, W) of the image
    """
    return Animation(_backward_frames(np.asarray(dout, float), np.asarray(w, float), size, stride, pad))


def _forward_frames(x: Array, w: Array, bias: float, stride: int, pad: int) -> Iterator[list[Panel]]:
    padded = np.pad(x, pad)
    out = np.full([1 + (padded.shape[axis] - w.shape[axis]) // stride for axis in (0, 1)], np.nan)
    for row, column in product(*map(range, out.shape)):
        window = row * stride, column * stride, *w.shape
        products = padded[_slices(window)] * w + 0.0  # no -0
        out[row, column] = products.sum() + bias
        yield [
            Panel("image", padded, window, pad),
            Panel("filter", w),
            Panel("window times filter", products),
            Panel(f"their sum + {bias:g}", out.copy(), (row, column, 1, 1)),
        ]


def _backward_frames(dout: Array, w: Array, size: Place, stride: int, pad: int) -> Iterator[list[Panel]]:
    dx = np.zeros([length + 2 * pad for length in size])
    for row, column in product(*map(range, dout.shape)):
        window = row * stride, column * stride, *w.shape
        push = dout[row, column] * w + 0.0  # no -0
        dx[_slices(window)] += push
        yield [
            Panel("upstream gradient", dout, (row, column, 1, 1)),
            Panel("filter", w),
            Panel("its number times filter", push),
            Panel("gradient of the image", dx.copy(), window, pad),
        ]


def _slices(window: tuple[int, int, int, int]) -> tuple[slice, slice]:
    row, column, height, width = window
    return slice(row, row + height), slice(column, column + width)


def _draw(frame: Sequence[Panel]) -> Image.Image:
    """Draw one frame: the panels beside each other, a gap of one cell between them."""
    heights, widths = zip(*(panel.numbers.shape for panel in frame), strict=True)
    width, height = sum(widths) + len(frame), max(heights) + 1.4
    with plt.rc_context(STYLE | {"figure.constrained_layout.use": False}):
        drawing = Figure(figsize=(CELL * width, CELL * height), dpi=SHARPNESS * STYLE["figure.dpi"])
        canvas: Any = FigureCanvasAgg(drawing)
        axis = drawing.add_axes((0, 0, 1, 1))
        axis.set(xlim=(0, width), ylim=(height, 0))
        axis.axis("off")
        left = 0.5
        for panel in frame:
            _draw_panel(axis, panel, left, 0.8 + (height - 1 - panel.numbers.shape[0]) / 2)
            left += panel.numbers.shape[1] + 1
        canvas.draw()
        return Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")


def _draw_panel(axis: Axes, panel: Panel, left: float, top: float) -> None:
    H, W = panel.numbers.shape
    centred: Any = {"ha": "center", "color": INK, "fontsize": 9}
    for (row, column), number in np.ndenumerate(panel.numbers):
        inside = min(row, column, H - 1 - row, W - 1 - column) >= panel.border
        color = "#FFFFFF" if inside else "#E5E5E5"
        place = left + column, top + row
        axis.add_patch(Rectangle(place, 1, 1, facecolor=color, edgecolor="#BBBBBB"))
        if np.isfinite(number):
            axis.text(place[0] + 0.5, place[1] + 0.5, f"{number:g}", va="center", **centred)
    if panel.marked:
        row, column, height, width = panel.marked
        place = left + column, top + row
        axis.add_patch(Rectangle(place, width, height, facecolor=MARK, alpha=0.25))
        axis.add_patch(Rectangle(place, width, height, fill=False, edgecolor=MARK, linewidth=2))
    axis.text(left + W / 2, top - 0.2, panel.title, va="bottom", **centred)


def _as_png(pictures: Sequence[Image.Image]) -> bytes:
    """Return an animated PNG, whose still is the last picture and has the colours of all."""
    palette = pictures[-1].quantize(NUM_COLORS, Image.Quantize.MAXCOVERAGE)
    last, *frames = (
        picture.quantize(palette=palette, dither=Image.Dither.NONE) for picture in (pictures[-1], *pictures)
    )
    file = io.BytesIO()
    last.save(
        file,
        "PNG",
        save_all=True,
        default_image=True,
        append_images=frames,
        duration=[MILLISECONDS] * (len(frames) - 1) + [3 * MILLISECONDS],
        loop=0,
    )
    return file.getvalue()
