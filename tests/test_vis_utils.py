"""Pictures: grids worked out on paper, and figures that show what they are given, legibly."""

import io
import warnings
from types import SimpleNamespace

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image

from cs231n import vis_utils
from cs231n.vis_utils import (
    as_sharp_png,
    draw_graph,
    figure,
    plot_bands,
    plot_comparison,
    plot_confusion,
    plot_curves,
    plot_gradients,
    plot_rates,
    plot_shares,
    plot_training,
    show_classes,
    show_grid,
    show_heat,
    show_images,
    show_numbers,
    show_sharp_figures,
    show_source,
    visualize_grid,
)

pytestmark = pytest.mark.q1


@pytest.fixture(autouse=True)
def agg():
    before = mpl.get_backend()
    plt.switch_backend("agg")
    with mpl.rc_context():
        yield
    plt.close("all")
    plt.switch_backend(before)


@pytest.fixture
def shown(monkeypatch):
    """The figures that were shown, drawn as a notebook would draw them."""
    figures = []

    def show():
        plt.gcf().canvas.draw()
        figures.append(plt.gcf())

    monkeypatch.setattr(plt, "show", show)
    return figures


def run(length=60, epochs=3, seed=0):
    """What the figures read of a solver."""
    rng = np.random.default_rng(seed)
    return SimpleNamespace(
        loss_history=list(rng.random(length)),
        train_acc_history=list(rng.random(epochs + 1)),
        val_acc_history=list(rng.random(epochs + 1)),
    )


RUN = run()
GRAPH = (
    {"x": (0, 0, "$x$"), "f": (1, 0, "$f$"), "y": (2, 1, "$y$")},
    [("x", "f", "$df$"), ("f", "y", "$dy$")],
)
IMAGES = np.random.default_rng(0).random((5, 4, 3, 3)) * 255


def draw_curves():
    with vis_utils.figure() as (axis,):
        plot_curves(axis, [1, 2, 3], {"one": [1, 2, 3], "two": [3, 2, 1]}, xlabel="x", title="curves")


def draw_bands():
    with vis_utils.figure() as (axis,):
        plot_bands(axis, [1, 2], {"one": [[1, 2], [3, 6]], "two": [[0, 0], [1, 1]]}, xlabel="x")


def draw_rates():
    with vis_utils.figure() as (axis,):
        plot_rates(axis, {"slow": 0.5, "fast": 1234.0}, 400, title="rates")


DRAW = {
    "show_grid": lambda: show_grid(IMAGES, "grid"),
    "show_classes": lambda: show_classes(IMAGES, np.array([0, 1, 1, 0, 1]), ["cat", "dog"], per_class=2),
    "show_images": lambda: show_images(IMAGES.astype(np.uint8), ["a cat", "a dog", "x", "y", "z"], columns=2),
    "plot_confusion": lambda: plot_confusion([0, 1, 1], [0, 1, 0], ["cat", "dog"], "pets"),
    "plot_training": lambda: plot_training(RUN, "net:"),
    "plot_comparison": lambda: plot_comparison({str(i): run(seed=i) for i in range(7)}, "seven"),
    "plot_curves": draw_curves,
    "plot_bands": draw_bands,
    "plot_rates": draw_rates,
    "plot_shares": lambda: plot_shares([0.25, 1, 0.5], ["cat", "dog", "owl"], "shares"),
    "show_heat": lambda: show_heat(IMAGES.astype(np.uint8)[:3], IMAGES[:3, ..., 0], "heat"),
    "show_numbers": lambda: show_numbers({"one": [[1, 2]], "two": [[3], [4]]}),
    "draw_graph": lambda: draw_graph(*GRAPH, title="graph"),
}
every_drawing = pytest.mark.parametrize("draw", DRAW.values(), ids=DRAW)


def texts(axis):
    return [text.get_text() for text in axis.texts]


def legend(axis):
    return [text.get_text() for text in axis.get_legend().get_texts()]


def contrast(a, b):
    """The contrast ratio of two colours as WCAG 2 defines it, from 1 to 21."""

    def luminance(color):
        rgb = np.array(to_rgb(color))
        linear = np.where(rgb <= 0.03928, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
        return linear @ [0.2126, 0.7152, 0.0722]

    light, dark = sorted((luminance(a), luminance(b)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


# The grid


@pytest.mark.parametrize(
    "padding, expected",
    [
        (0, [[0, 10, 0, 10], [10, 0, 0, 0]]),
        (1, [[0, 10, 0, 0, 10], [0, 0, 0, 0, 0], [10, 0, 0, 0, 0]]),
        (2, [[0, 10, 0, 0, 0, 10], [0] * 6, [0] * 6, [10, 0, 0, 0, 0, 0]]),
    ],
)
@pytest.mark.parametrize("dtype", [np.uint8, np.int64, np.float32, np.float64])
def test_three_images_in_a_grid_of_two_by_two(padding, expected, dtype):
    images = np.array([[[1, 3]], [[200, 255]], [[7, 5]]], dtype)[..., np.newaxis]
    grid = visualize_grid(images, ubound=10.0, padding=padding)
    np.testing.assert_array_equal(grid[..., 0], expected)


def test_rows_fill_before_columns_and_channels_stretch_together():
    images = np.zeros((5, 2, 1, 3))
    images[:, 1, 0] = [1, 2, 4]
    grid = visualize_grid(images)
    assert grid.shape == (3 * 2 + 2, 3 * 1 + 2, 3)
    np.testing.assert_array_equal(grid[1, ::2], [[63.75, 127.5, 255]] * 3)
    np.testing.assert_array_equal(grid[4, ::2], [[63.75, 127.5, 255]] * 2 + [[0, 0, 0]])
    assert grid.sum() == 5 * (63.75 + 127.5 + 255)


def test_negative_values_are_stretched_too():
    grid = visualize_grid(np.array([-2.0, 0, 2]).reshape(1, 1, 3, 1), ubound=1.0)
    np.testing.assert_array_equal(grid.ravel(), [0, 0.5, 1])


def test_an_image_of_one_value_is_0():
    np.testing.assert_array_equal(visualize_grid(np.full((1, 2, 2, 3), 7.0)), np.zeros((2, 2, 3)))


def test_the_images_are_left_alone():
    images = IMAGES.copy()
    visualize_grid(images)
    np.testing.assert_array_equal(images, IMAGES)


@pytest.mark.parametrize("shape", [(4, 4, 3), (2, 1, 4, 4, 3), (0, 4, 4, 3), (4, 0, 4, 3)])
def test_a_wrong_shape_is_refused(shape):
    with pytest.raises(
        ValueError, match=r"Xs must have the axes \(N, H, W, C\) and not be empty; got the shape"
    ):
        visualize_grid(np.zeros(shape))


# What the figures show


def test_show_grid(shown):
    show_grid(IMAGES, "weights")
    (axis,) = shown[0].axes
    np.testing.assert_array_equal(axis.images[0].get_array(), visualize_grid(IMAGES, ubound=1.0))
    assert axis.get_title() == "weights"
    assert not axis.axison


def test_show_classes(shown):
    images = IMAGES.astype(np.uint8)
    show_classes(images, np.array([1, 0, 1, 2, 1]), ["cat", "dog", "owl", "elk"], per_class=2)
    axes = shown[0].axes
    pictures = [axis.images[0].get_array() if axis.images else None for axis in axes]
    expected = [images[1], None, images[0], images[2], images[3], None, None, None]
    for picture, image in zip(pictures, expected, strict=True):
        assert picture is None if image is None else np.array_equal(picture, image)
    assert [axis.get_title(loc="left") for axis in axes[::2]] == ["cat", "dog", "owl", "elk"]


def test_show_images(shown):
    images = IMAGES.astype(np.uint8)
    show_images(images[:3], ["cat", "dog", "owl"], columns=2)
    axes = shown[0].axes
    for axis, image in zip(axes[:3], images, strict=False):
        np.testing.assert_array_equal(axis.images[0].get_array(), image)
    assert [axis.get_title() for axis in axes] == ["cat", "dog", "owl", ""]
    assert [len(axis.images) for axis in axes] == [1, 1, 1, 0]


def test_plot_confusion(shown):
    """Three cats, one of them taken for an owl; a dog, which was taken for a cat; no owl."""
    plot_confusion([0, 0, 1, 0], [0, 2, 0, 0], ["cat", "dog", "owl"], "pets")
    (axis,) = shown[0].axes
    np.testing.assert_array_equal(axis.images[0].get_array(), [[2, 0, 1], [1, 0, 0], [0, 0, 0]])
    written = {text.get_position(): text.get_text() for text in axis.texts}
    assert (len(written), written[0, 0], written[2, 0], written[0, 1]) == (9, "2", "1", "1")
    for ticks in (axis.get_xticklabels(), axis.get_yticklabels()):
        assert [label.get_text() for label in ticks] == ["cat", "dog", "owl"]
    assert (axis.get_title(), axis.get_xlabel(), axis.get_ylabel()) == ("pets", "predicted", "true")
    cells = axis.images[0]
    for text in axis.texts:
        column, row = text.get_position()
        assert contrast(text.get_color(), cells.cmap(cells.norm(cells.get_array()[row, column]))) > 3


def of_neighbours(losses):
    """The mean of each loss and its two neighbours; of one neighbour at the ends."""
    return [np.mean(losses[max(0, i - 1) : i + 2]) for i in range(len(losses))]


def test_plot_training(shown):
    plot_training(RUN, "net:")
    loss_axis, accuracy_axis = shown[0].axes
    every, mean = (line.get_ydata() for line in loss_axis.lines)
    np.testing.assert_array_equal(every, RUN.loss_history)
    np.testing.assert_allclose(mean, of_neighbours(RUN.loss_history), rtol=1e-12)  # a fortieth to either side
    train, val = (line.get_ydata() for line in accuracy_axis.lines)
    np.testing.assert_array_equal(train, RUN.train_acc_history)
    np.testing.assert_array_equal(val, RUN.val_acc_history)
    assert legend(loss_axis) == ["every minibatch", "running mean"]
    assert legend(accuracy_axis) == ["train", "val"]
    assert [axis.get_title() for axis in shown[0].axes] == ["net: loss", "net: accuracy"]
    assert [axis.get_xlabel() for axis in shown[0].axes] == ["iteration", "epoch"]
    assert [axis.get_ylabel() for axis in shown[0].axes] == ["loss", "accuracy"]


def test_plot_comparison(shown):
    runs = {"sgd": run(seed=1), "adam": run(10, 5, seed=2)}
    plot_comparison(runs, "rules")
    loss_axis, train_axis, val_axis = shown[0].axes
    for i, solver in enumerate(runs.values()):
        assert len(loss_axis.lines[i].get_ydata()) == len(solver.loss_history)
        np.testing.assert_array_equal(train_axis.lines[i].get_ydata(), solver.train_acc_history)
        np.testing.assert_array_equal(val_axis.lines[i].get_ydata(), solver.val_acc_history)
    np.testing.assert_allclose(
        loss_axis.lines[1].get_ydata(), of_neighbours(runs["adam"].loss_history), rtol=1e-12
    )
    assert [axis.get_title() for axis in shown[0].axes[1:]] == ["training accuracy", "validation accuracy"]
    assert [axis.get_xlabel() for axis in shown[0].axes] == ["iteration", "epoch", "epoch"]
    assert legend(loss_axis) == ["sgd", "adam"]
    assert [text.get_text() for text in shown[0].texts] == ["rules"]


def test_plot_curves(shown):
    draw_curves()
    (axis,) = shown[0].axes
    assert [list(line.get_xdata()) for line in axis.lines] == [[1, 2, 3]] * 2
    assert [list(line.get_ydata()) for line in axis.lines] == [[1, 2, 3], [3, 2, 1]]
    assert legend(axis) == ["one", "two"]
    assert (axis.get_xlabel(), axis.get_title()) == ("x", "curves")


def test_plot_bands(shown):
    draw_bands()
    (axis,) = shown[0].axes
    assert [list(line.get_ydata()) for line in axis.lines] == [[2, 4], [0.5, 0.5]]
    low, high = 4 - 8**0.5, 4 + 8**0.5  # 2 and 6: mean 4, standard deviation sqrt(8)
    corners = axis.collections[0].get_paths()[0].vertices
    np.testing.assert_allclose(sorted({y for x, y in corners if x == 2}), [low, 4, high][::2])
    assert legend(axis) == ["one", "two"]
    assert axis.get_xlabel() == "x"


def test_plot_rates(shown):
    draw_rates()
    (axis,) = shown[0].axes
    limit, rates = axis.lines
    assert list(limit.get_xdata()) == [400, 400]
    assert list(rates.get_xdata()) == [0.5, 1234]
    assert texts(axis) == ["0.5", "1,234"]
    assert [label.get_text() for label in axis.get_yticklabels()] == ["slow", "fast"]
    assert legend(axis) == ["a large matrix product"]
    assert (axis.get_xscale(), axis.get_title()) == ("log", "rates")


def test_plot_shares_puts_the_largest_first(shown):
    DRAW["plot_shares"]()
    (axis,) = shown[0].axes
    assert [bar.get_height() for bar in axis.patches] == [1, 0.5, 0.25]
    assert [label.get_text() for label in axis.get_xticklabels()] == ["dog", "owl", "cat"]
    assert texts(axis) == ["100%", "50%", "25%"]


def test_show_heat_puts_each_map_below_its_image(shown):
    DRAW["show_heat"]()
    axes = shown[0].axes
    assert len(axes) == 6
    for i in range(3):
        np.testing.assert_array_equal(axes[i].images[0].get_array(), IMAGES[i].astype(np.uint8))
        np.testing.assert_array_equal(axes[3 + i].images[0].get_array(), IMAGES[i, ..., 0])


def test_show_numbers(shown):
    DRAW["show_numbers"]()
    assert [texts(axis) for axis in shown[0].axes] == [["1", "2"], ["3", "4"]]
    assert [axis.get_title() for axis in shown[0].axes] == ["one", "two"]


def test_a_sharp_figure_has_two_pixels_for_each_of_a_page(shown):
    with figure(width=4, height=3) as (axis,):
        axis.plot([1, 2])
    png, size = as_sharp_png(shown[0])
    picture = Image.open(io.BytesIO(png))
    assert picture.size == (2 * size["width"], 2 * size["height"])
    assert size["width"] == pytest.approx(4 * vis_utils.STYLE["figure.dpi"], rel=0.1)
    assert picture.mode == "P"


def test_a_notebook_shows_sharp_figures(shown):
    shown_by = {}
    formatter = SimpleNamespace(for_type=shown_by.__setitem__)
    shell = SimpleNamespace(display_formatter=SimpleNamespace(formatters={"image/png": formatter}))
    show_sharp_figures(shell)
    assert shown_by == {Figure: as_sharp_png}


def test_show_source():
    shown = show_source(draw_bands, texts)
    assert repr(shown).startswith("def draw_bands():\n    with vis_utils")
    assert repr(shown).endswith("\n\n\ndef texts(axis):\n    return [text.get_text() for text in axis.texts]")
    assert shown._repr_markdown_() == f"```python\n{shown!r}\n```"


def test_plot_gradients(shown):
    with figure() as (axis,):
        plot_gradients(axis, np.array([[1.0, -4.0]]), np.array([[1.0, 2.0]]), title="dx")
    (axis,) = shown[0].axes
    right, entries = ([list(line.get_xdata()), list(line.get_ydata())] for line in axis.lines)
    assert right == [[-4, 2], [-4, 2]]
    assert entries == [[1, 2], [1, -4]]
    assert (axis.get_xlabel(), axis.get_ylabel(), axis.get_title()) == ("numeric", "computed", "dx")


def test_draw_graph(shown):
    draw_graph(*GRAPH, title="graph")
    (axis,) = shown[0].axes
    assert sorted(text for text in texts(axis) if text) == ["$df$", "$dy$", "$f$", "$x$", "$y$"]
    arrows = [annotation for annotation in axis.texts if getattr(annotation, "arrow_patch", None)]
    assert [(arrow.xyann, arrow.xy) for arrow in arrows] == [((0, 0), (1, 0)), ((1, 0), (2, 1))]
    assert axis.get_title() == "graph"


# How they look


@every_drawing
def test_lines_differ_in_colour_and_in_dashes(shown, draw):
    draw()
    for axis in shown[0].axes:
        colors = [line.get_color() for line in axis.lines]
        dashes = [str(line._dash_pattern) for line in axis.lines]
        assert len(set(colors)) == len(colors)
        if len(axis.lines) != 2 or "every minibatch" not in legend(axis):  # pale and thin, not dashed
            assert len(set(dashes)) == len(dashes)


@every_drawing
def test_the_background_is_light_and_the_writing_dark_whatever_the_users_style(shown, draw):
    white = {"axes.titlecolor": "white", "legend.labelcolor": "white"}
    with plt.style.context(["dark_background", white]):
        draw()
    figure = shown[0]
    for patch in (figure.patch, *(axis.patch for axis in figure.axes)):
        assert patch.get_alpha() in (None, 1)
        assert contrast(patch.get_facecolor(), "white") < 1.05
    on_pictures = {text for axis in figure.axes if axis.images for text in axis.texts}
    writing = [text for text in figure.findobj(Text) if text.get_text().strip() and text not in on_pictures]
    assert writing
    for text in writing:
        assert contrast(text.get_color(), "white") > 3, text.get_text()


def test_the_colours_can_be_seen_on_white():
    assert len(set(vis_utils.COLORS)) == len(vis_utils.COLORS) == len(set(vis_utils.DASHES)) >= 7
    assert all(contrast(color, "white") > 2 for color in vis_utils.COLORS)


# What they leave behind


@every_drawing
def test_nothing_is_left_behind(shown, draw):
    before = dict(mpl.rcParams)
    draw()
    assert len(shown) == 1
    assert plt.get_fignums() == []
    assert dict(mpl.rcParams) == before


def test_many_figures_in_a_row(shown):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(mpl.rcParams["figure.max_open_warning"] + 2):
            with vis_utils.figure() as (axis,):
                axis.plot([1, 2])
    assert plt.get_fignums() == []


def test_the_axes_of_a_figure_come_as_a_flat_list(shown):
    with vis_utils.figure(2, 3, width=7, height=4) as axes:
        assert len(axes) == 6
    assert [axis.get_subplotspec().num1 for axis in axes] == list(range(6))
    assert tuple(shown[0].get_size_inches()) == (7, 4)


def test_rcparams_are_restored_after_an_error(shown):
    before = dict(mpl.rcParams)
    with pytest.raises(ZeroDivisionError), vis_utils.figure():
        raise ZeroDivisionError
    assert dict(mpl.rcParams) == before
    assert shown == []
