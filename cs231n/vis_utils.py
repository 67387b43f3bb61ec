"""Pictures: image grids, training curves, comparisons of runs, computational graphs, source code.

Every figure has its own light background, so that it can be read in a dark notebook. Its lines differ by
colour and by dashes: the colours of Okabe and Ito (https://jfly.uni-koeln.de/color/) differ for the
colour-blind too, and the dashes survive a black-and-white printer.
"""

import inspect
import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import cycle, islice
from math import ceil, sqrt
from typing import TYPE_CHECKING, Any, Protocol

import matplotlib.pyplot as plt
import numpy as np
from cycler import Cycler, cycler
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray
from PIL import Image

from cs231n.gone import explain_gone

INK = "#222222"
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
DASHES = ("-", "--", "-.", ":", (0, (5, 1)), (0, (1, 1)), (0, (3, 1, 1, 1, 1, 1)))
STYLE: dict[Any, Any] = {
    "figure.facecolor": "#FFFFFF",
    "savefig.facecolor": "#FFFFFF",
    "figure.dpi": 90,
    "figure.constrained_layout.use": True,
    "axes.facecolor": "#FFFFFF",
    "axes.edgecolor": "#999999",
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "axes.titlesize": "medium",
    "axes.grid": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.prop_cycle": cycler(color=COLORS) + cycler(linestyle=DASHES),
    "grid.color": "#E5E5E5",
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "legend.frameon": False,
    "legend.labelcolor": INK,
    "lines.linewidth": 1.8,
    "font.size": 10,
}

if not TYPE_CHECKING:  # mypy would take every name to be here
    __getattr__ = explain_gone(__name__)


class Histories(Protocol):
    """The records of a training run that are plotted, such as a Solver's."""

    loss_history: list[float]
    train_acc_history: list[float]
    val_acc_history: list[float]


@contextmanager
def figure(rows: int = 1, columns: int = 1, width: float = 10, height: float = 3.2) -> Iterator[list[Axes]]:
    """Yield the axes of a new figure in this module's style as a flat list; show it after the block."""
    with plt.rc_context(STYLE):
        fig, axes = plt.subplots(rows, columns, figsize=(width, height), squeeze=False)
        try:
            yield list(axes.flat)
            plt.show()
        finally:
            plt.close(fig)


def as_sharp_png(drawing: Figure) -> tuple[bytes, dict[str, int]]:
    """Return a figure as a PNG with two pixels for each of a page, and its size on the page.

    It is sharp on screens of high density, and 256 colours keep it small.
    """
    file = io.BytesIO()
    drawing.savefig(file, format="png", dpi=2 * drawing.dpi, bbox_inches="tight")
    picture = Image.open(file).convert("RGB").quantize(256, dither=Image.Dither.NONE)
    small = io.BytesIO()
    picture.save(small, "PNG", optimize=True)
    return small.getvalue(), {"width": picture.width // 2, "height": picture.height // 2}


def show_sharp_figures(shell: Any) -> None:
    """Let a notebook, whose shell is `get_ipython()`, show figures by `as_sharp_png`."""
    shell.display_formatter.formatters["image/png"].for_type(Figure, as_sharp_png)


def visualize_grid(Xs: ArrayLike, ubound: float = 255.0, padding: int = 1) -> NDArray[np.float64]:
    """Tile images (N, H, W, C) into one picture (H', W', C), each stretched to fill [0, ubound].

        >>> images = np.arange(60.0).reshape(5, 2, 2, 3)  # five images of 2x2 pixels: a grid of 3x3
        >>> visualize_grid(images).shape
        (8, 8, 3)

    The grid is as square as N allows, with `padding` pixels between images. Padding and unused places are 0.
    An image whose pixels are all equal becomes 0.
    """
    Xs = np.asarray(Xs)
    if Xs.ndim != 4 or Xs.size == 0:
        raise ValueError(f"Xs must have the axes (N, H, W, C) and not be empty; got the shape {Xs.shape}")
    N, H, W, C = Xs.shape
    side = ceil(sqrt(N))
    grid = np.zeros((side * (H + padding) - padding, side * (W + padding) - padding, C))
    for i, image in enumerate(Xs):
        top, left = (i // side) * (H + padding), (i % side) * (W + padding)
        low, high = float(image.min()), float(image.max())
        if high > low:
            grid[top : top + H, left : left + W] = ubound * (image - low) / (high - low)
    return grid


def show_grid(images: ArrayLike, title: str = "", width: float = 5) -> None:
    """Show images (N, H, W, C), each stretched to its own full range, as one picture."""
    with figure(width=width, height=width) as (axes,):
        axes.imshow(visualize_grid(images, ubound=1.0))
        axes.set_title(title)
        axes.axis("off")


def show_classes(
    images: NDArray[Any], labels: NDArray[Any], class_names: Sequence[str], per_class: int = 8
) -> None:
    """Show the first `per_class` images of every class in a row: images (N, H, W, 3), from 0 to 255."""
    with figure(len(class_names), per_class, width=per_class, height=len(class_names)) as axes:
        for axis in axes:
            axis.axis("off")
        for row, name in enumerate(class_names):
            examples = images[np.flatnonzero(labels == row)[:per_class]]
            for column, image in enumerate(examples):
                axes[row * per_class + column].imshow(image.astype(np.uint8))
            axes[row * per_class].set_title(name, loc="left", fontsize="small")


def show_images(
    images: Sequence[NDArray[Any]],
    titles: Sequence[str],
    columns: int = 6,
    width: float = 1.8,
    **options: Any,
) -> None:
    """Show images, (H, W, 3) or (H, W), each under its title, with `columns` images in a row.

    An image (H, W) is shown in gray, from its smallest number to its largest, unless `options` of
    `Axes.imshow` say otherwise. `width` is that of one image in inches.
    """
    rows = ceil(len(images) / columns)
    with figure(rows, columns, width=width * columns, height=(width + 0.3) * rows) as axes:
        for axis in axes:
            axis.axis("off")
        for axis, image, title in zip(axes, images, titles, strict=False):
            axis.imshow(image, **{"cmap": "gray", "interpolation": "nearest"} | options)
            axis.set_title(title, fontsize="small")


def show_heat(images: Sequence[NDArray[Any]], maps: Sequence[NDArray[Any]], title: str = "") -> None:
    """Show images (H, W, 3) in a row, and below each its map (H', W'), stretched to its own full range."""
    count = len(images)
    with figure(2, count, width=1.5 * count, height=3.3) as axes:
        for axis, picture in zip(axes, [*images, *maps], strict=True):
            axis.imshow(picture, cmap="magma", interpolation="nearest")
            axis.axis("off")
        axes[0].figure.suptitle(title)


def show_numbers(matrices: Mapping[str, ArrayLike], height: float = 3) -> None:
    """Show matrices of whole numbers side by side, each under its name; equal numbers have one colour."""
    with figure(1, len(matrices), width=3 * len(matrices), height=height) as axes:
        for axis, (title, numbers) in zip(axes, matrices.items(), strict=True):
            axis.imshow(numbers, cmap="tab20", vmin=0, vmax=19, alpha=0.6)
            for (row, column), number in np.ndenumerate(np.asarray(numbers)):
                axis.text(column, row, f"{number:.0f}", ha="center", va="center")
            axis.set_title(title)
            axis.axis("off")


def plot_confusion(
    y: NDArray[Any], predictions: NDArray[Any], class_names: Sequence[str], title: str = ""
) -> None:
    """Plot how often each true class (a row) was predicted as each class (a column), from labels (N,)."""
    classes = range(len(class_names))
    confusion = np.zeros((len(classes), len(classes)), dtype=int)
    np.add.at(confusion, (y, predictions), 1)
    with figure(width=5.5, height=5) as (axis,):
        axis.imshow(confusion, cmap="Blues")
        axis.grid(False)
        axis.set_xticks(classes, class_names, rotation=60)
        axis.set_yticks(classes, class_names)
        axis.set(title=title, xlabel="predicted", ylabel="true")
        for (row, column), count in np.ndenumerate(confusion):
            color = "white" if count > confusion.max() / 2 else INK
            axis.text(column, row, count, ha="center", va="center", color=color, fontsize=8)


def plot_training(solver: Histories, title: str = "") -> None:
    """Plot one run: the loss of every iteration, and training and validation accuracy by epoch."""
    with figure(1, 2) as (loss_axis, accuracy_axis):
        _plot_loss(loss_axis, solver.loss_history)
        loss_axis.set(title=f"{title} loss".strip(), xlabel="iteration", ylabel="loss")
        accuracy_axis.plot(solver.train_acc_history, marker=".", label="train")
        accuracy_axis.plot(solver.val_acc_history, marker=".", label="val")
        accuracy_axis.set(title=f"{title} accuracy".strip(), xlabel="epoch", ylabel="accuracy")
        accuracy_axis.legend()


def plot_comparison(solvers: Mapping[str, Histories], title: str = "") -> None:
    """Plot several runs side by side, {label: solver}: loss, training accuracy, validation accuracy."""
    with figure(1, 3, width=12) as (loss_axis, train_axis, val_axis):
        for label, solver in solvers.items():
            loss_axis.plot(_smoothed(solver.loss_history), label=label)
            train_axis.plot(solver.train_acc_history, marker=".", label=label)
            val_axis.plot(solver.val_acc_history, marker=".", label=label)
        loss_axis.set(title="loss, running mean", xlabel="iteration", ylabel="loss")
        train_axis.set(title="training accuracy", xlabel="epoch")
        val_axis.set(title="validation accuracy", xlabel="epoch")
        loss_axis.legend()
        loss_axis.figure.suptitle(title)


def plot_curves(axis: Axes, x: Sequence[Any], curves: Mapping[str, ArrayLike], **labels: Any) -> None:
    """Plot curves {label: values} against x on an axis; pass `labels` on to `Axes.set`."""
    marker = "." if len(x) <= 40 else ""  # a marker per point, unless they would overlap
    for label, values in curves.items():
        axis.plot(x, values, marker=marker, label=label)
    axis.set(**labels)
    axis.legend()


def plot_bands(axis: Axes, x: ArrayLike, runs: Mapping[str, Any], **labels: Any) -> None:
    """Plot the mean of several runs {label: (runs, points)}, and a band of one standard deviation."""
    for label, rows in runs.items():
        mean, spread = np.mean(rows, axis=0), np.std(rows, axis=0, ddof=1)
        (line,) = axis.plot(x, mean, marker=".", label=label)
        axis.fill_between(x, mean - spread, mean + spread, alpha=0.2, color=line.get_color())
    axis.set(**labels)
    axis.legend()


def plot_rates(axis: Axes, rates: Mapping[str, float], limit: float, **labels: Any) -> None:
    """Plot a dot for each rate in GFLOP/s, on a logarithmic scale, and a line at that of a matrix product."""
    axis.axvline(limit, color=INK, linestyle="--", linewidth=0.8, label="a large matrix product")
    axis.plot(list(rates.values()), list(rates), marker="o", linestyle="none", color=COLORS[0])
    for row, rate in enumerate(rates.values()):
        text = f"{rate:,.0f}" if rate >= 10 else f"{rate:.2g}"
        axis.annotate(text, (rate, row), (0, 6), textcoords="offset points", ha="center")
    axis.set(xscale="log", xlabel="GFLOP/s", **labels)
    axis.margins(x=0.15, y=0.2)
    axis.invert_yaxis()
    axis.legend(loc="lower left", fontsize="small")


def plot_shares(shares: ArrayLike, names: Sequence[str], title: str = "") -> None:
    """Plot a bar for each share in [0, 1], the largest first, under its name."""
    shares = np.asarray(shares)
    order = np.argsort(-shares)
    with figure(width=7, height=2.8) as (axis,):
        bars = axis.bar([names[i] for i in order], shares[order], color=COLORS[0])
        axis.bar_label(bars, [f"{share:.0%}" for share in shares[order]], fontsize=8)
        axis.tick_params(axis="x", rotation=30)
        axis.set_axisbelow(True)
        axis.set(title=title, ylim=(0, 1.08))


def plot_gradients(axis: Axes, actual: ArrayLike, numeric: ArrayLike, title: str = "") -> None:
    """Plot each entry of a gradient against its numeric value: entries on the dashed line are right."""
    actual, numeric = np.ravel(actual), np.ravel(numeric)
    ends = [min(actual.min(), numeric.min()), max(actual.max(), numeric.max())]
    axis.plot(ends, ends, linestyle="--", linewidth=0.8, color=INK)
    axis.plot(numeric, actual, marker="o", markersize=4, linestyle="none", color=COLORS[0])
    axis.set(title=title, xlabel="numeric", ylabel="computed")


class Source:
    """The source code of functions, as a notebook shows it: with the colours of its theme."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __repr__(self) -> str:
        return self.text

    def _repr_markdown_(self) -> str:
        return f"```python\n{self.text}\n```"


def show_source(*functions: Callable[..., Any]) -> Source:
    """Return the source code of functions, for the last line of a cell.

    >>> show_source(figure)._repr_markdown_().splitlines()[:2]
    ['```python', '@contextmanager']
    """
    return Source("\n\n\n".join(inspect.getsource(function).rstrip() for function in functions))


def draw_graph(
    nodes: Mapping[str, tuple[float, float, str]],
    edges: Sequence[tuple[str, str, str]],
    title: str = "",
    width: float = 11,
    height: float = 3,
) -> None:
    """Draw a computational graph.

    - nodes: {name: (x, y, text)}, the place and the text of each node, with math between $ signs
    - edges: a list of (from name, to name, text of the gradient that flows back)
    """
    with figure(width=width, height=height) as (axis,):
        box = {"boxstyle": "round,pad=0.5", "facecolor": "#E8F1F8", "edgecolor": COLORS[0]}
        centered: dict[str, Any] = {"ha": "center", "va": "center"}
        patches = {
            name: axis.text(x, y, text, bbox=box, **centered).get_bbox_patch()
            for name, (x, y, text) in nodes.items()
        }
        for start, end, gradient in edges:
            (x0, y0, _), (x1, y1, _) = nodes[start], nodes[end]
            arrow = {"arrowstyle": "-|>", "color": INK, "patchA": patches[start], "patchB": patches[end]}
            axis.annotate("", (x1, y1), (x0, y0), arrowprops=arrow)
            label = {"facecolor": "#FFFFFF", "edgecolor": "none", "pad": 1.5}
            axis.text((x0 + x1) / 2, (y0 + y1) / 2, gradient, color=COLORS[1], bbox=label, **centered)
        xs, ys, _ = zip(*nodes.values(), strict=True)
        axis.set(title=title, xlim=(min(xs) - 0.5, max(xs) + 0.5), ylim=(min(ys) - 0.5, max(ys) + 0.5))
        axis.axis("off")


def _plot_loss(axis: Axes, losses: Sequence[float]) -> None:
    """Plot the loss of every iteration in a pale colour and, on top, its running mean."""
    axis.plot(losses, color=COLORS[4], linewidth=0.6, alpha=0.6, label="every minibatch")
    axis.plot(_smoothed(losses), color=COLORS[0], linestyle="-", label="running mean")
    axis.legend()


def _smoothed(values: Sequence[float]) -> NDArray[np.float64]:
    """Return the running mean over a twentieth of the run, around each value; fewer values at both ends."""
    reach = max(len(values) // 40, 1)
    sums = np.cumsum(np.concatenate([[0.0], values]))
    places = np.arange(len(values))
    starts, ends = np.maximum(places - reach, 0), np.minimum(places + reach + 1, len(values))
    means: NDArray[np.float64] = (sums[ends] - sums[starts]) / (ends - starts)
    return means


class SizesOverTraining(Protocol):
    """What `cs231n.tracing.trace` returns."""

    steps: NDArray[np.int64]
    layers: tuple[str, ...]
    signals: NDArray[np.float64]
    gradients: NDArray[np.float64]
    params: tuple[str, ...]
    updates: NDArray[np.float64]


def plot_traces(traces: Mapping[str, SizesOverTraining]) -> None:
    """Draw what traces saw, a row of panels each: sizes of outputs and of gradients by layer, relative steps.

    A colour is the same size in every row. The dashed line is at 1e-3: much larger steps tend to overshoot,
    and much smaller ones take long.
    """
    of_outputs = _shades([trace.signals for trace in traces.values()])
    of_gradients = _shades([trace.gradients for trace in traces.values()])
    layers = max(len(trace.layers) for trace in traces.values())
    with figure(len(traces), 3, width=13, height=len(traces) * max(2.6, 0.23 * layers)) as axes:
        for row, (title, trace) in enumerate(traces.items()):
            outputs, gradients, steps = axes[3 * row : 3 * row + 3]
            _plot_strip(outputs, trace, trace.signals, of_outputs, f"{title}: size of the outputs")
            _plot_strip(gradients, trace, trace.gradients, of_gradients, "size of their gradients")
            weights = {
                name: sizes
                for name, sizes in zip(trace.params, trace.updates.T, strict=True)
                if name[0] == "W"
            }
            steps.axhline(1e-3, color="#999999", linestyle="--", linewidth=0.8)
            steps.set_prop_cycle(_by_depth(len(weights)))
            plot_curves(steps, trace.steps.tolist(), weights, yscale="log", xlabel="step")
            steps.set_title("steps, relative to the weights")
            steps.legend(loc="center left", bbox_to_anchor=(1, 0.5))


def _by_depth(layers: int) -> Cycler[Any, Any]:
    """Return lines from dark, the first layer, to light, the last."""
    colors = plt.get_cmap("viridis")(np.linspace(0, 0.9, layers))
    return cycler(color=colors) + cycler(linestyle=list(islice(cycle(DASHES), layers)))


def _shades(sizes: Sequence[NDArray[np.float64]]) -> LogNorm:
    """Return the colour scale that shows all sizes; those of 0 get none."""
    numbers = np.concatenate([each.ravel() for each in sizes])
    numbers = numbers[numbers > 0]
    return LogNorm(numbers.min(), numbers.max())


def _plot_strip(
    axis: Axes, trace: SizesOverTraining, sizes: NDArray[np.float64], shades: LogNorm, title: str
) -> None:
    rows = range(len(trace.layers))
    picture = axis.pcolormesh(trace.steps, rows, np.where(sizes > 0, sizes, np.nan).T, norm=shades)
    axis.set(yticks=rows, yticklabels=trace.layers, xlabel="step", title=title)
    axis.invert_yaxis()
    axis.grid(False)
    plt.colorbar(picture, ax=axis)
