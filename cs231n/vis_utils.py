"""Pictures: image grids, training curves, comparisons of runs, computational graphs.

Every figure has a light background of its own, so that it can be read in a dark notebook, and tells its
lines apart by the colours of Okabe and Ito (https://jfly.uni-koeln.de/color/), which the colour-blind
see as different, and by their dashes, which survive a black-and-white printer.
"""

from contextlib import contextmanager
from math import ceil, sqrt

import matplotlib.pyplot as plt
import numpy as np
from cycler import cycler

INK = "#222222"
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
DASHES = ("-", "--", "-.", ":", (0, (5, 1)), (0, (1, 1)), (0, (3, 1, 1, 1, 1, 1)))
STYLE = {
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


@contextmanager
def figure(rows=1, columns=1, width=10, height=3.2):
    """A figure in this module's style, shown at the end of the `with` block: yields a flat list of axes."""
    with plt.rc_context(STYLE):
        fig, axes = plt.subplots(rows, columns, figsize=(width, height), squeeze=False)
        try:
            yield list(axes.flat)
            plt.show()
        finally:
            plt.close(fig)


def visualize_grid(Xs, ubound=255.0, padding=1):
    """Tile images (N, H, W, C) into one picture (H', W', C), each stretched to fill [0, ubound].

    The grid is as square as N allows, with `padding` pixels between images; what is left over is 0.
    An image of one value only becomes 0.
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


def show_grid(images, title="", width=5):
    """Show images (N, H, W, C), each stretched to its own full range, as one picture."""
    with figure(width=width, height=width) as (axes,):
        axes.imshow(visualize_grid(images, ubound=1.0))
        axes.set_title(title)
        axes.axis("off")


def show_classes(images, labels, class_names, per_class=8):
    """Show the first `per_class` images (N, H, W, 3), uint8 or in [0, 255], of every class, a row a class."""
    with figure(len(class_names), per_class, width=per_class, height=len(class_names)) as axes:
        for axis in axes:
            axis.axis("off")
        for row, name in enumerate(class_names):
            examples = images[np.flatnonzero(labels == row)[:per_class]]
            for column, image in enumerate(examples):
                axes[row * per_class + column].imshow(image.astype(np.uint8))
            axes[row * per_class].set_title(name, loc="left", fontsize="small")


def show_images(images, titles, columns=6):
    """Show images (N, H, W, 3), uint8, one by one, each under its title; N of them, `columns` to a row."""
    rows = ceil(len(images) / columns)
    with figure(rows, columns, width=1.8 * columns, height=2.1 * rows) as axes:
        for axis in axes:
            axis.axis("off")
        for axis, image, title in zip(axes, images, titles, strict=False):
            axis.imshow(image)
            axis.set_title(title, fontsize="small")


def plot_confusion(y, predictions, class_names, title=""):
    """Draw how often each true class, a row, was taken for each class, a column: labels (N,) both."""
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


def plot_training(solver, title=""):
    """Plot one run: the loss of every iteration, and training and validation accuracy by epoch."""
    with figure(1, 2) as (loss_axis, accuracy_axis):
        _plot_loss(loss_axis, solver.loss_history)
        loss_axis.set(title=f"{title} loss".strip(), xlabel="iteration", ylabel="loss")
        for label in ("train", "val"):
            history = getattr(solver, f"{label}_acc_history")
            accuracy_axis.plot(history, marker=".", label=label)
        accuracy_axis.set(title=f"{title} accuracy".strip(), xlabel="epoch", ylabel="accuracy")
        accuracy_axis.legend()


def plot_comparison(solvers, title=""):
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


def plot_curves(axis, x, curves, **labels):
    """Plot curves {label: values} against x into an axis; `labels` as `Axes.set` takes them."""
    marker = "." if len(x) <= 40 else ""  # a marker per point, where points can be told apart
    for label, values in curves.items():
        axis.plot(x, values, marker=marker, label=label)
    axis.set(**labels)
    axis.legend()


def plot_gradients(axis, actual, numeric, title=""):
    """Plot each entry of a gradient across its numeric value: those on the dashed line are right."""
    actual, numeric = np.ravel(actual), np.ravel(numeric)
    ends = [min(actual.min(), numeric.min()), max(actual.max(), numeric.max())]
    axis.plot(ends, ends, linestyle="--", linewidth=0.8, color=INK)
    axis.plot(numeric, actual, marker="o", markersize=4, linestyle="none", color=COLORS[0])
    axis.set(title=title, xlabel="numeric", ylabel="computed")


def draw_graph(nodes, edges, title="", width=11, height=3):
    """Draw a computational graph.

    - nodes: {name: (x, y, text)}, the place and the writing (math between $ signs) of each node
    - edges: a list of (from name, to name, gradient), with the writing of the gradient that flows back
    """
    with figure(width=width, height=height) as (axis,):
        box = {"boxstyle": "round,pad=0.5", "facecolor": "#E8F1F8", "edgecolor": COLORS[0]}
        centered = {"ha": "center", "va": "center"}
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


def _plot_loss(axis, losses):
    """The loss of every iteration, pale, and its running mean, which is what the eye should follow."""
    axis.plot(losses, color=COLORS[4], linewidth=0.6, alpha=0.6, label="every minibatch")
    axis.plot(_smoothed(losses), color=COLORS[0], linestyle="-", label="running mean")
    axis.legend()


def _smoothed(values):
    """Running mean over a twentieth of the run, which starts with what there is."""
    window = max(len(values) // 20, 1)
    sums = np.cumsum(np.concatenate([[0.0], values]))
    ends = np.arange(1, len(values) + 1)
    starts = np.maximum(ends - window, 0)
    return (sums[ends] - sums[starts]) / (ends - starts)
