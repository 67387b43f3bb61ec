"""Planted bugs: layers with one mistake each, whose cause a report has to name first.

A wrong diagnosis is worse than none. So every cause that a report names is compared with the mistake that was
planted, also for the gradients that only suffer from it. What is right, and what is wrong in a way that no
list can hold, has no cause at all. The broken layers are in broken_layers.py; test_diagnosis_models.py has
the bugs in networks.
"""

import re
from typing import Any, NamedTuple

import broken_layers as broken
import numpy as np
import pytest
from broken_layers import (
    SUBJECTS,
    about,
    check_broken,
    check_changed,
    check_pair,
    check_right,
    named_first,
    title_of,
    titles_of,
)
from conftest import draw

from cs231n import layers
from cs231n.gradcheck.check import FAIL, PASS, WARN, check_layer
from cs231n.gradcheck.diagnosis import Case, Mistake, diagnose

pytestmark = pytest.mark.q1


N_SMALL, N_LARGE = about(Mistake.TOO_SMALL, "N"), about(Mistake.TOO_LARGE, "N")
LEFT_OUT = about(Mistake.TERMS_LEFT_OUT, "examples")
SOME_EXAMPLES = about(Mistake.SOME_SLICES, "examples")
NO_MEAN, NO_VARIANCE = about(Mistake.TERM_MISSING, "mean"), about(Mistake.TERM_MISSING, "variance")


def of_another(name):
    return about(Mistake.OF_ANOTHER_ARGUMENT, name)


# ---------------------------------------------------------------------------------------------------------
# Planted bugs
# ---------------------------------------------------------------------------------------------------------


class Bug(NamedTuple):
    """A mistake in a subject, and what is expected of the gradients it makes wrong: None for no cause.

    - wrong: {gradient: a function of a run that gives it}
    - functions: (forward, backward) instead, where it is not a gradient that is wrong
    """

    subject: str
    name: str
    expected: dict[str, Any]
    wrong: dict[str, Any]
    functions: tuple[Any, Any] | None = None


def bug(subject, name, expected, **wrong):
    return Bug(subject, name, expected, wrong)


def conduct_bug(subject, name, title, forward=None, backward=None):
    """A layer that misbehaves as a whole: the title is that of its only cause."""
    right_forward, right_backward = broken.broken_pair(SUBJECTS[subject])
    return Bug(subject, name, {"": title}, {}, (forward or right_forward, backward or right_backward))


def without_example_0(run):
    """A pass of the affine layer in which the first of three examples has no upstream gradient."""
    return run.again(dout=run.dout * [[0], [1], [1]])


def with_zeros(grad, index):
    """A copy of a gradient that is zero at an index."""
    grad = grad.copy()
    grad[index] = 0
    return grad


def without_db(dout, args):
    """The backward pass of the affine layer, with one gradient too few."""
    _, right = broken.broken_pair(SUBJECTS["affine"])
    return right(dout, args)[:2]


AFFINE = [
    bug("affine", "dx-none", {"dx": Mistake.NONE}, dx=lambda run: None),
    bug("affine", "dw-zero", {"dw": Mistake.ZERO}, dw=lambda run: np.zeros_like(run.w)),
    bug("affine", "db-not-summed", {"db": Mistake.NOT_SUMMED_OVER_BATCH}, db=lambda run: run.dout),
    bug("affine", "db-one-number", {"db": Mistake.SUMMED_OVER_TOO_MANY_AXES}, db=lambda run: run.dout.sum()),
    bug("affine", "db-mean", {"db": N_SMALL}, db=lambda run: run.dout.mean(axis=0)),
    bug(
        "affine",
        "db-keepdims",
        {"db": Mistake.WRONG_LAYOUT},
        db=lambda run: run.dout.sum(axis=0, keepdims=True),
    ),
    bug(
        "affine",
        "db-wrong-axis",
        {"db": Mistake.SUMMED_OVER_WRONG_AXES},
        db=lambda run: run.dout.sum(axis=1),
    ),
    bug("affine-square", "db-last-example", {"db": Mistake.ONLY_LAST_TERM}, db=lambda run: run.dout[-1]),
    bug("affine", "db-list", {"db": Mistake.NOT_NUMBERS}, db=lambda run: [0.0] * 7),
    bug("affine", "dw-mean", {"dw": N_SMALL}, dw=lambda run: run.dw / len(run.x)),
    bug("affine", "dw-transposed", {"dw": Mistake.TRANSPOSED}, dw=lambda run: run.dw.T),
    bug("affine-square", "dw-transposed", {"dw": Mistake.TRANSPOSED}, dw=lambda run: run.dw.T),
    bug("affine-image", "dx-flat", {"dx": Mistake.WRONG_LAYOUT}, dx=lambda run: run.dout @ run.w.T),
    bug("affine", "dx-sign", {"dx": Mistake.SIGN}, dx=lambda run: -run.dout @ run.w.T),
    bug(
        "affine-square",
        "dx-w-not-transposed",
        {"dx": Mistake.W_NOT_TRANSPOSED},
        dx=lambda run: run.dout @ run.w,
    ),
    bug(
        "affine",
        "dw-db-order",
        {"dw": of_another("b"), "db": of_another("w")},
        dw=lambda run: run.db,
        db=lambda run: run.dw,
    ),
    bug("affine", "dw-twice", {"dw": about(Mistake.TOO_LARGE, "2")}, dw=lambda run: 2 * run.x.T @ run.dout),
    bug("affine", "dw-an-example-left-out", {"dw": LEFT_OUT}, dw=lambda run: without_example_0(run).dw),
    bug("affine", "dx-examples-left-out", {"dx": SOME_EXAMPLES}, dx=lambda run: without_example_0(run).dx),
    bug(
        "affine",
        "dw-outputs-left-out",
        {"dw": about(Mistake.SOME_SLICES, "outputs")},
        dw=lambda run: with_zeros(run.dw, np.s_[:, 3]),
    ),
    conduct_bug(
        "affine",
        "too-few",
        "the backward pass returns the wrong number of gradients",
        backward=without_db,
    ),
    bug("affine", "raises", {"": "it raises an error"}, db=lambda run: run.dout.sum(axis=5)),
    conduct_bug(
        "affine",
        "only-out",
        "the forward pass does not return (out, cache)",
        forward=lambda x, w, b: x @ w + b,
    ),
]

ELEMENTWISE = [
    bug("relu", "no-mask", {"dx": Mistake.NO_MASK}, dx=lambda run: run.dout),
    bug(
        "relu",
        "leaky",
        {"dx": Mistake.LEAKY},
        dx=lambda run: np.where(run.x > 0, run.dout, 0.01 * run.dout),
    ),
    bug("relu", "mask-reversed", {"dx": Mistake.MASK_INVERTED}, dx=lambda run: run.dout * (run.x < 0)),
    bug("relu", "mask-of-dout", {"dx": Mistake.MASK_OF_DOUT}, dx=lambda run: run.dout * (run.dout > 0)),
    bug("relu", "no-dout", {"dx": Mistake.NO_DOUT}, dx=lambda run: 1.0 * (run.x > 0)),
    bug("relu", "returns-relu", {"dx": Mistake.OUTPUT_RETURNED}, dx=lambda run: np.maximum(run.x, 0)),
    conduct_bug("relu", "in-place", "the forward pass modifies its argument x", broken.relu_in_place),
    bug("dropout", "no-mask", {"dx": Mistake.NO_MASK}, dx=lambda run: run.dout),
    bug(
        "dropout",
        "no-scale",
        {"dx": Mistake.NO_DIVISION_BY_P},
        dx=lambda run: run.dout * (broken.mask_of(run) > 0),
    ),
    bug("dropout", "scaled-twice", {"dx": Mistake.DIVIDED_BY_P_TWICE}, dx=lambda run: run.dx / run.p),
    bug(
        "dropout",
        "one-minus-p",
        {"dx": Mistake.ONE_MINUS_P},
        dx=lambda run: run.dout * (broken.mask_of(run) > 0) / (1 - run.p),
    ),
    bug(
        "dropout",
        "mask-reversed",
        {"dx": Mistake.MASK_INVERTED},
        dx=lambda run: run.dout * (broken.mask_of(run) == 0) / run.p,
    ),
    bug(
        "dropout",
        "new-mask",
        {"": "the backward pass changes from call to call"},
        dx=broken.new_mask,
    ),
    conduct_bug(
        "dropout",
        "no-seed",
        "the forward pass changes from call to call",
        forward=broken.dropout_without_seed,
    ),
    bug("dropout", "no-dout", {"dx": Mistake.NO_DOUT}, dx=broken.mask_of),
]

N, _ = SUBJECTS["batchnorm"].shapes["x"]

BATCHNORM_GRAPH = [
    bug("batchnorm", "no-mean", {"dx": NO_MEAN}, dx=broken.through_graph(of_mean=0)),
    bug("batchnorm", "no-variance", {"dx": NO_VARIANCE}, dx=broken.through_graph(of_variance=0)),
    bug(
        "batchnorm",
        "constants",
        {"dx": Mistake.CONSTANTS},
        dx=broken.through_graph(of_mean=0, of_variance=0),
    ),
    bug(
        "batchnorm",
        "no-half",
        {"dx": about(Mistake.TERM_TWICE, "variance")},
        dx=broken.through_graph(half=-1.0),
    ),
    bug(
        "batchnorm",
        "no-two",
        {"dx": about(Mistake.TERM_HALF, "variance")},
        dx=broken.through_graph(of_variance=1 / N),
    ),
    bug(
        "batchnorm",
        "variance-sign",
        {"dx": about(Mistake.TERM_NEGATIVE, "variance")},
        dx=broken.through_graph(half=0.5),
    ),
    bug(
        "batchnorm",
        "mean-sign",
        {"dx": about(Mistake.TERM_NEGATIVE, "mean")},
        dx=broken.through_graph(of_mean=-1 / N),
    ),
    bug("batchnorm", "power", {"dx": Mistake.WRONG_POWER}, dx=broken.through_graph(power=2)),
    bug(
        "batchnorm",
        "mean-sum",
        {"dx": about(Mistake.TERM_SUMMED, "mean")},
        dx=broken.through_graph(of_mean=1),
    ),
    bug(
        "batchnorm",
        "variance-sum",
        {"dx": about(Mistake.TERM_SUMMED, "variance")},
        dx=broken.through_graph(of_variance=2),
    ),
    bug(
        "batchnorm",
        "unbiased",
        {"dx": about(Mistake.UNBIASED_VARIANCE, "N - 1 or D, not by N")},
        dx=broken.through_graph(of_variance=2 / (N - 1)),
    ),
    bug("batchnorm", "no-gamma", {"dx": Mistake.NO_GAMMA}, dx=broken.through_graph(with_gamma=False)),
    bug(
        "batchnorm",
        "direct-unscaled",
        {"dx": Mistake.NO_DIVISION_BY_STD},
        dx=broken.through_graph(with_std=False),
    ),
    bug(
        "batchnorm",
        "dgamma-centered",
        {"dgamma": Mistake.CENTERED_FOR_X_HAT},
        dgamma=lambda run: (run.dout * broken.centered(run)).sum(axis=0),
    ),
    bug(
        "batchnorm",
        "dgamma-not-summed",
        {"dgamma": Mistake.NOT_SUMMED_OVER_BATCH},
        dgamma=lambda run: run.dout * broken.x_hat(run),
    ),
    bug(
        "batchnorm",
        "dgamma-dbeta-order",
        {"dgamma": of_another("beta"), "dbeta": of_another("gamma")},
        dgamma=lambda run: run.dbeta,
        dbeta=lambda run: run.dgamma,
    ),
    bug("batchnorm", "dgamma-mean", {"dgamma": N_SMALL}, dgamma=lambda run: run.dgamma / len(run.x)),
    bug("batchnorm", "dbeta-is-dgamma", {"dbeta": of_another("gamma")}, dbeta=lambda run: run.dgamma),
    bug(
        "batchnorm",
        "dgamma-no-xhat",
        {"dgamma": of_another("beta")},
        dgamma=lambda run: run.dout.sum(axis=0),
    ),
]

BATCHNORM_CLOSED_FORM = [
    bug("batchnorm-alt", "no-mean", {"dx": NO_MEAN}, dx=broken.no_mean_term),
    bug("batchnorm-alt", "no-variance", {"dx": NO_VARIANCE}, dx=broken.no_variance_term),
    bug("batchnorm-alt", "no-inv-std", {"dx": Mistake.NO_DIVISION_BY_STD}, dx=broken.no_std),
    bug("batchnorm-alt", "variance", {"dx": Mistake.DIVIDED_BY_VARIANCE}, dx=broken.variance_for_std),
    bug("batchnorm-alt", "centered", {"dx": Mistake.WRONG_POWER}, dx=broken.centered_for_x_hat),
    bug("batchnorm-alt", "sums", {"dx": Mistake.SUMS_FOR_MEANS}, dx=broken.sums_for_means),
    bug("batchnorm-alt", "no-product", {"dx": Mistake.NO_PRODUCT}, dx=broken.no_product),
    bug("batchnorm-alt", "no-eps", {"dx": Mistake.NO_EPS}, dx=broken.no_eps),
    bug("batchnorm-alt", "sign", {"dx": Mistake.SIGN}, dx=lambda run: -run.dx),
]

NORMALIZATION = [
    bug("layernorm", "over-the-batch", {"dx": Mistake.MEANS_OVER_WRONG_AXES}, dx=broken.means_over(0)),
    bug("layernorm", "no-gamma", {"dx": Mistake.NO_GAMMA}, dx=broken.no_gamma),
    bug("layernorm", "no-mean", {"dx": NO_MEAN}, dx=broken.no_mean_term),
    bug("layernorm", "no-variance", {"dx": NO_VARIANCE}, dx=broken.no_variance_term),
    bug(
        "layernorm",
        "dbeta-wrong-axis",
        {"dbeta": Mistake.SUMMED_OVER_WRONG_AXES},
        dbeta=lambda run: run.dout.sum(axis=1),
    ),
    bug(
        "layernorm",
        "dgamma-wrong-axis",
        {"dgamma": Mistake.SUMMED_OVER_WRONG_AXES},
        dgamma=lambda run: (run.dout * broken.x_hat(run)).sum(axis=1),
    ),
    bug("spatial-batchnorm", "no-mean", {"dx": NO_MEAN}, dx=broken.no_mean_term),
    bug("spatial-batchnorm", "no-variance", {"dx": NO_VARIANCE}, dx=broken.no_variance_term),
    bug("spatial-batchnorm", "axes", {"dx": Mistake.MEANS_OVER_WRONG_AXES}, dx=broken.means_over(0)),
    bug(
        "spatial-batchnorm",
        "divided-by-n",
        {"dx": about(Mistake.MEANS_DIVIDED, "N, not by NHW")},
        dx=broken.means_over_examples,
    ),
    bug(
        "spatial-batchnorm",
        "dbeta-not-summed",
        {"dbeta": Mistake.NOT_SUMMED},
        dbeta=lambda run: run.dout.sum(axis=0),
    ),
    bug(
        "spatial-batchnorm",
        "dgamma-mean",
        {"dgamma": about(Mistake.TOO_SMALL, "NHW")},
        dgamma=lambda run: (run.dout * broken.x_hat(run)).mean(axis=(0, 2, 3)),
    ),
    bug(
        "groupnorm",
        "one-group",
        {"dx": Mistake.MEANS_OVER_WRONG_AXES},
        dx=broken.means_over((1, 2, 3, 4)),
    ),
    bug("groupnorm", "gamma-left-out", {"dx": Mistake.NO_GAMMA}, dx=broken.no_gamma),
    bug("groupnorm", "no-mean", {"dx": NO_MEAN}, dx=broken.no_mean_term),
    bug("groupnorm", "no-variance", {"dx": NO_VARIANCE}, dx=broken.no_variance_term),
    bug(
        "groupnorm",
        "dgamma-kept-axes",
        {"dgamma": Mistake.WRONG_LAYOUT},
        dgamma=lambda run: run.dgamma.reshape(1, -1, 1, 1),
    ),
    bug(
        "groupnorm",
        "dbeta-not-summed",
        {"dbeta": Mistake.NOT_SUMMED_OVER_BATCH},
        dbeta=lambda run: run.dout.sum(axis=(2, 3)),
    ),
]


def without_last_filter(run):
    return run.again(dout=run.dout * (np.arange(len(run.w)) < len(run.w) - 1).reshape(-1, 1, 1))


def without_last_example(run):
    return run.again(dout=with_zeros(run.dout, -1))


ALL_AROUND = "first and last row and first and last column"


def without_border(run):
    """dx with zeros around the image, one pixel wide."""
    return np.pad(run.dx[:, :, 1:-1, 1:-1], ((0, 0), (0, 0), (1, 1), (1, 1)))


def every_second_row(run):
    """dx with 1.5 times the right values in every second row, where the stride is 2."""
    dx = run.dx.copy()
    dx[:, :, ::2] *= 1.5
    return dx


CONVOLUTION = [
    bug("conv", "dx-assigned", {"dx": Mistake.ASSIGNED}, dx=lambda run: broken.conv_dx(run, assign=True)),
    bug(
        "conv-strided",
        "dx-assigned",
        {"dx": Mistake.ASSIGNED},
        dx=lambda run: broken.conv_dx(run, assign=True),
    ),
    bug(
        "conv", "dw-assigned", {"dw": Mistake.ONLY_LAST_TERM}, dw=lambda run: broken.conv_dw(run, assign=True)
    ),
    bug("conv", "padding-kept", {"dx": Mistake.PADDING_KEPT}, dx=broken.conv_dpadded),
    bug(
        "conv",
        "padding-cut-at-one-end",
        {"dx": Mistake.SHIFTED},
        dx=lambda run: broken.conv_dpadded(run)[:, :, :-2, :-2],
    ),
    bug("conv", "dw-flipped", {"dw": Mistake.FLIPPED}, dw=lambda run: run.dw[:, :, ::-1, ::-1]),
    bug(
        "conv",
        "dx-flipped",
        {"dx": Mistake.FLIPPED},
        dx=lambda run: run.again(w=run.w[:, :, ::-1, ::-1]).dx,
    ),
    bug(
        "conv-strided",
        "dx-flipped",
        {"dx": Mistake.FLIPPED},
        dx=lambda run: run.again(w=run.w[:, :, ::-1, ::-1]).dx,
    ),
    bug(
        "conv-square",
        "dw-exchanged",
        {"dw": Mistake.HEIGHT_WIDTH_SWAPPED},
        dw=lambda run: run.dw.swapaxes(2, 3),
    ),
    bug(
        "conv-square",
        "dx-exchanged",
        {"dx": Mistake.HEIGHT_WIDTH_SWAPPED},
        dx=lambda run: run.again(w=run.w.swapaxes(2, 3)).dx,
    ),
    bug(
        "conv-strided",
        "no-stride",
        {"dx": Mistake.STRIDE_IGNORED, "dw": Mistake.STRIDE_IGNORED},
        dx=lambda run: broken.conv_dx(run, stride=1),
        dw=lambda run: broken.conv_dw(run, stride=1),
    ),
    bug("conv", "db-not-summed", {"db": Mistake.NOT_SUMMED}, db=lambda run: run.dout.sum(axis=(0, 2))),
    bug(
        "conv",
        "db-mean",
        {"db": about(Mistake.TOO_SMALL, "NH'W'")},
        db=lambda run: run.dout.mean(axis=(0, 2, 3)),
    ),
    bug("conv", "dw-mean", {"dw": N_SMALL}, dw=lambda run: run.dw / len(run.x)),
    bug(
        "conv",
        "dw-pixels-mean",
        {"dw": about(Mistake.TOO_SMALL, "H'W'")},
        dw=lambda run: run.dw / np.prod(run.out.shape[2:]),
    ),
    bug(
        "conv",
        "a-filter-left-out",
        {
            "dw": about(Mistake.SOME_SLICES, "filters"),
            "db": about(Mistake.SOME_SLICES, "features"),
            "dx": about(Mistake.TERMS_LEFT_OUT, "filters"),
        },
        dx=lambda run: without_last_filter(run).dx,
        dw=lambda run: without_last_filter(run).dw,
        db=lambda run: without_last_filter(run).db,
    ),
    bug(
        "conv",
        "an-image-left-out",
        {"dx": SOME_EXAMPLES, "dw": LEFT_OUT},
        dx=lambda run: without_last_example(run).dx,
        dw=lambda run: without_last_example(run).dw,
    ),
    bug(
        "conv",
        "dx-channel-left-out",
        {"dx": about(Mistake.SOME_SLICES, "channels")},
        dx=lambda run: with_zeros(run.dx, np.s_[:, 1]),
    ),
    bug("conv", "dx-border", {"dx": about(Mistake.PIXELS_LEFT_OUT, ALL_AROUND)}, dx=without_border),
    bug("conv-strided", "dx-offset", {"dx": Mistake.STRIDE_OFFSETS}, dx=every_second_row),
    bug(
        "conv",
        "no-padding-in-dw",
        {"dw": about(Mistake.PIXELS_LEFT_OUT, "first column")},
        dw=lambda run: run.again(x=with_zeros(run.x, np.s_[..., 0])).dw,
    ),
]

POOLING = [
    bug(
        "pool-overlap",
        "assigned",
        {"dx": Mistake.ASSIGNED},
        dx=lambda run: broken.pool_dx(run, broken.first_largest, assign=True),
    ),
    bug(
        "pool",
        "no-stride",
        {"dx": Mistake.STRIDE_IGNORED},
        dx=lambda run: broken.pool_dx(run, broken.first_largest, stride=1),
    ),
    bug(
        "pool",
        "smallest",
        {"dx": Mistake.SMALLEST_TAKES_IT},
        dx=lambda run: broken.pool_dx(run, broken.first_smallest),
    ),
    bug("pool", "everywhere", {"dx": Mistake.ALL_TAKE_IT}, dx=lambda run: broken.pool_dx(run, np.ones_like)),
    bug(
        "pool",
        "mean",
        {"dx": Mistake.ALL_TAKE_IT},
        dx=lambda run: broken.pool_dx(run, broken.equal_parts),
    ),
    bug(
        "pool",
        "maximum-for-gradient",
        {"dx": Mistake.OUT_FOR_DOUT},
        dx=lambda run: run.again(dout=run.out).dx,
    ),
    bug("pool", "first-image-only", {"dx": SOME_EXAMPLES}, dx=lambda run: with_zeros(run.dx, np.s_[1:])),
]

LOSSES = [
    bug("softmax", "no-mean", {"dx": N_LARGE}, dx=lambda run: run.dx * len(run.x)),
    bug(
        "softmax",
        "no-label",
        {"dx": Mistake.LABEL_TERM_MISSING},
        dx=lambda run: run.dx + broken.onehot(run),
    ),
    bug(
        "softmax",
        "label-sign",
        {"dx": Mistake.LABEL_TERM_NEGATIVE},
        dx=lambda run: run.dx + 2 * broken.onehot(run),
    ),
    bug("softmax", "sign", {"dx": Mistake.SIGN}, dx=lambda run: -run.dx),
    bug(
        "softmax",
        "divided-by-classes",
        {"dx": about(Mistake.DIVIDED_BY_OTHER, "C, not by N")},
        dx=lambda run: run.dx * len(run.x) / run.x.shape[1],
    ),
    bug("softmax", "unnormalized", {"dx": Mistake.EXP_NOT_NORMALIZED}, dx=broken.unnormalized_softmax),
    bug("svm", "no-mean", {"dx": N_LARGE}, dx=lambda run: run.dx * len(run.x)),
    bug(
        "svm",
        "no-label",
        {"dx": Mistake.LABEL_TERM_MISSING},
        dx=lambda run: broken.with_label_entry(run, 0),
    ),
    bug(
        "svm",
        "label-constant",
        {"dx": Mistake.ONLY_AT_LABELS},
        dx=lambda run: broken.with_label_entry(run, -7),
    ),
]

BUGS = [
    *AFFINE,
    *ELEMENTWISE,
    *BATCHNORM_GRAPH,
    *BATCHNORM_CLOSED_FORM,
    *NORMALIZATION,
    *CONVOLUTION,
    *POOLING,
    *LOSSES,
]


@pytest.mark.parametrize("planted", BUGS, ids=lambda planted: f"{planted.subject}-{planted.name}")
def test_a_planted_bug_is_named(planted):
    subject = SUBJECTS[planted.subject]
    functions = planted.functions or broken.broken_pair(subject, **planted.wrong)
    report = check_pair(subject, *functions)
    assert report.status == FAIL
    assert named_first(report) == titles_of(planted.expected), str(report)
    assert all(len(comparison.causes) <= 1 for comparison in report.comparisons), str(report)


@pytest.mark.parametrize("name", SUBJECTS)
def test_a_pair_without_a_planted_bug_is_right(name):
    """What makes the planted ones fail is the bug, and nothing of the way it is planted."""
    assert check_broken(SUBJECTS[name], {}).status in (PASS, WARN)


FORMULAS = {  # what broken_layers.py writes out, with nothing wrong
    "batchnorm": {"dx": broken.through_graph()},
    "batchnorm-alt": {"dx": broken.means_over(0)},
    "layernorm": {"dx": broken.means_over(1)},
    "spatial-batchnorm": {"dx": broken.means_over((0, 2, 3))},
    "groupnorm": {"dx": broken.means_over((2, 3, 4))},
    "conv": {"dx": broken.conv_dx, "dw": broken.conv_dw},
    "conv-strided": {"dx": broken.conv_dx, "dw": broken.conv_dw},
    "pool": {"dx": lambda run: broken.pool_dx(run, broken.first_largest)},
    "pool-overlap": {"dx": lambda run: broken.pool_dx(run, broken.first_largest)},
}


@pytest.mark.parametrize("name", FORMULAS)
def test_the_formulas_that_bugs_are_planted_in_are_right(name):
    assert check_broken(SUBJECTS[name], FORMULAS[name]).status in (PASS, WARN)


# ---------------------------------------------------------------------------------------------------------
# No false alarms: right layers of any size
# ---------------------------------------------------------------------------------------------------------


def size(rng, low=2, high=4):
    return int(rng.integers(low, high, endpoint=True))


def images_for(rng, window, stride):
    """A random shape (N, C, H, W) of images with a few windows, in each direction one to three."""
    height, width = (side + stride * (size(rng, 1, 3) - 1) for side in window)
    return size(rng), size(rng), height, width


def random_window(rng):
    return size(rng, 1, 3), size(rng, 1, 3)


def random_eps(rng):
    return float(10.0 ** rng.integers(-6, -1))


def random_affine(subject, rng):
    H, W, M = size(rng), size(rng), size(rng)
    return subject._replace(shapes={"x": (size(rng), H, W), "w": (H * W, M), "b": (M,)})


def random_relu(subject, rng):
    return subject._replace(shapes={"x": (size(rng), size(rng), size(rng))})


def random_dropout(subject, rng):
    p = float(rng.uniform(0.3, 0.9))
    param = {"mode": "train", "p": p, "seed": size(rng, 0, 99)}
    shape = size(rng), size(rng), size(rng)
    return subject._replace(shapes={"x": shape}, behind=(param,), settings={"p": p})


def random_norm(subject, rng, shape, *behind):
    """A normalization of x in a shape; `behind` precedes the dictionary of settings."""
    eps, C = random_eps(rng), shape[1]
    shapes = {"x": shape, "gamma": (C,), "beta": (C,)}
    settings = {"eps": eps} | ({"G": behind[0]} if behind else {})
    return subject._replace(shapes=shapes, behind=(*behind, {"mode": "train", "eps": eps}), settings=settings)


def random_batchnorm(subject, rng):
    return random_norm(subject, rng, (size(rng, 5, 7), size(rng)))


def random_layernorm(subject, rng):
    return random_norm(subject, rng, (size(rng), size(rng, 5, 7)))


def random_spatial_batchnorm(subject, rng):
    return random_norm(subject, rng, (size(rng), size(rng), size(rng, 3, 5), size(rng)))


def random_groupnorm(subject, rng):
    return random_norm(subject, rng, (size(rng), 2 * size(rng), size(rng, 3, 5), size(rng)), 2)


def random_conv(subject, rng):
    window, F, stride = random_window(rng), size(rng), size(rng, 1, 2)
    N, C, H, W = images_for(rng, window, stride)
    conv_param = {"stride": stride, "pad": size(rng, 0, 2)}
    shapes = {"x": (N, C, H, W), "w": (F, C, *window), "b": (F,)}
    return subject._replace(shapes=shapes, behind=(conv_param,), settings=conv_param)


def random_pool(subject, rng):
    (height, width), stride = random_window(rng), size(rng, 1, 2)
    pool_param = {"pool_height": height, "pool_width": width, "stride": stride}
    shapes = {"x": images_for(rng, (height, width), stride)}
    return subject._replace(shapes=shapes, behind=(pool_param,), settings=pool_param)


def random_loss(subject, rng):
    N, C = size(rng), size(rng)
    return subject._replace(shapes={"x": (N, C)}, behind=(rng.integers(0, C, N),))


RANDOM = {  # for each kind of layer: a function of (subject, rng) that gives it random sizes and settings
    "affine": random_affine,
    "relu": random_relu,
    "dropout": random_dropout,
    "batchnorm": random_batchnorm,
    "layernorm": random_layernorm,
    "conv": random_conv,
    "pool": random_pool,
    "spatial-batchnorm": random_spatial_batchnorm,
    "groupnorm": random_groupnorm,
    "softmax": random_loss,
    "svm": random_loss,
}


@pytest.mark.parametrize("kind", RANDOM)
@pytest.mark.parametrize("seed", range(20))
def test_a_right_layer_raises_no_alarm(kind, seed):
    rng = np.random.default_rng([seed, list(RANDOM).index(kind)])
    subject = RANDOM[kind](SUBJECTS[kind], rng)
    arrays = {name: rng.standard_normal(shape) for name, shape in subject.shapes.items()}
    report = check_right(subject, arrays=arrays, seed=seed)
    assert report.status in (PASS, WARN)
    assert report.all_causes() == []
    for comparison in report.comparisons:
        assert comparison.status == PASS or any("not a mistake" in n for n in comparison.notes)


# ---------------------------------------------------------------------------------------------------------
# No false causes: what is wrong in no known way
# ---------------------------------------------------------------------------------------------------------


def with_noise(grad, rng):
    return grad + 0.1 * rng.standard_normal(grad.shape)


def some_entries(grad, rng):
    wrong = rng.random(grad.shape) < 0.3
    wrong.flat[[0, -1]] = True, False
    return grad + wrong * rng.standard_normal(grad.shape)


def squared(grad, rng):
    return grad * np.abs(grad)


def bent(grad, rng):
    return np.tanh(3 * grad) + 0.1 * grad**2


def scaled_entry_by_entry(grad, rng):
    return grad * (1 + rng.random(grad.shape))


def backwards(grad, rng):
    return grad.reshape(-1)[::-1].reshape(grad.shape)


MESSES = [with_noise, some_entries, squared, bent, scaled_entry_by_entry, backwards]


@pytest.mark.parametrize("mess", MESSES)
@pytest.mark.parametrize("name", SUBJECTS)
def test_what_is_wrong_in_no_known_way_has_no_cause(name, mess):
    forward, right = broken.broken_pair(SUBJECTS[name])

    def backward(dout, args):
        rng = np.random.default_rng(8)
        return tuple(mess(grad, rng) for grad in right(dout, args))

    report = check_pair(SUBJECTS[name], forward, backward)
    assert {comparison.status for comparison in report.comparisons} == {FAIL}
    assert report.all_causes() == []
    for comparison in report.comparisons:
        assert "No known mistake matches" in str(comparison)
        assert re.search("entries (is|are) wrong", str(comparison))


@pytest.mark.parametrize("name", SUBJECTS)
def test_a_tenth_of_a_percent_is_wrong(name):
    report = check_changed(SUBJECTS[name], lambda _, grad: 1.001 * grad)
    assert {comparison.status for comparison in report.comparisons} == {FAIL}
    assert set(named_first(report).values()) == {title_of(Mistake.OFF_BY_FACTOR)}


@pytest.mark.parametrize("name", SUBJECTS)
def test_a_tenth_of_a_percent_of_one_entry_is_wrong(name):
    def change(_, grad):
        grad = grad.copy()
        grad.flat[np.argmax(grad != 0)] *= 1.001
        return grad

    report = check_changed(SUBJECTS[name], change)
    assert set(named_first(report).values()) == {None}
    assert {comparison.status for comparison in report.comparisons} == {FAIL}
    assert all(
        f"1 of {np.prod(shape)} entries is wrong" in str(report) for shape in SUBJECTS[name].shapes.values()
    )


# ---------------------------------------------------------------------------------------------------------
# Several causes, and causes of any layer
# ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("factor, mistake", [(5, Mistake.TOO_LARGE), (1 / 5, Mistake.TOO_SMALL)])
def test_where_sizes_coincide_all_their_names_are_listed(factor, mistake):
    square = broken.affine((5, 5), (5, 5), (5,))
    report = check_changed(square, lambda name, grad: factor * grad if name == "w" else grad)
    (cause,) = report.all_causes()
    assert cause.title == title_of(about(mistake, "N or D or M"))


def test_where_p_is_a_half_the_square_is_listed_too():
    subject = SUBJECTS["dropout"]._replace(
        behind=({"mode": "train", "p": 0.5, "seed": 5},), settings={"p": 0.5}
    )
    report = check_changed(subject, lambda _, grad: grad / 2)
    expected = [Mistake.NO_DIVISION_BY_P, about(Mistake.TOO_SMALL, "2")]
    assert [cause.title for cause in report.all_causes()] == list(map(title_of, expected))


@pytest.mark.parametrize("name", SUBJECTS)
def test_every_single_cause_of_a_sign_is_the_sign(name):
    report = check_changed(SUBJECTS[name], lambda _, grad: -grad)
    assert {cause.title for cause in report.all_causes()} == {title_of(Mistake.SIGN)}


def test_a_factor_and_the_sign_are_named_together():
    report = check_changed(SUBJECTS["affine"], lambda _, grad: -2 * grad)
    titles = {cause.title for cause in report.all_causes()}
    assert titles == {"it is 2 times too large, and its sign is wrong"}


@pytest.mark.parametrize("name", ["affine", "conv", "softmax"])
def test_a_constant_that_is_added_is_named(name):
    report = check_changed(SUBJECTS[name], lambda _, grad: grad + 0.25)
    assert set(named_first(report).values()) == {title_of(Mistake.OFF_BY_CONSTANT)}


@pytest.mark.parametrize("name", ["batchnorm", "conv-strided", "relu"])
def test_a_diagnosis_is_the_same_each_time(name):
    texts = {str(check_changed(SUBJECTS[name], lambda _, grad: grad**2)) for _ in range(2)}
    assert len(texts) == 1


def test_settings_that_are_pairs_are_no_obstacle():
    """A convolution may have another stride in each direction: then it is not recognized, and that is all."""
    case = Case(
        draw((2, 3, 6, 6)),
        draw((2, 3, 6, 6), seed=1),
        name="x",
        inputs={"x": draw((2, 3, 6, 6)), "w": draw((4, 3, 2, 2))},
        dout=draw((2, 4, 3, 6)),
        settings={"stride": (2, 1), "pad": (0, 1)},
    )
    assert diagnose(case) == []


def test_examples_of_any_shape_are_called_examples():
    x, w, b = draw((4, 2, 3)), draw((6, 5)), draw(5)

    def backward(dout, cache):
        dx, dw, db = layers.affine_backward(dout, cache)
        dx[3] = 0
        return dx, dw, db

    report = check_layer(layers.affine_forward, backward, {"x": x, "w": w, "b": b})
    (cause,) = report.all_causes()
    assert cause.title == title_of(SOME_EXAMPLES)
    assert cause.evidence == "only example 3 of 0-3 is wrong"


# ---------------------------------------------------------------------------------------------------------
# Kinks and ties
# ---------------------------------------------------------------------------------------------------------


RELU_EDGE = np.array([[0.0, 1.0, -2.0], [3e-6, -4e-6, 0.5], [-1.0, 2e-7, -0.3]])


def test_kinks_of_relu_are_no_mistakes():
    report = check_right(SUBJECTS["relu"], arrays={"x": RELU_EDGE})
    (comparison,) = report.comparisons
    assert comparison.status == PASS  # beside a kink a smaller step decides, at 0 the formula
    assert comparison.error < 1e-6


@pytest.mark.parametrize(
    "at, factor",
    [((1, 0), 1.001), ((1, 0), 0.6), ((1, 1), 1.001), ((2, 1), 1.001), ((0, 0), 1.5), ((0, 1), 1.001)],
)
def test_a_wrong_gradient_beside_a_kink_fails(at, factor):
    def relu_dx(run):
        dx = run.dout * (run.x > -1e-5)  # 0 counts as positive, and so does what is a little below it
        dx[1, 1] = 0
        dx[at] = factor * run.dout[at]
        return dx

    report = check_broken(SUBJECTS["relu"], {"dx": relu_dx}, arrays={"x": RELU_EDGE})
    (comparison,) = report.comparisons
    assert comparison.status == FAIL
    assert [index for index, *_ in comparison.worst] == [at]


TIED = np.array([[[[2.0, 2.0, 5.0, 1.0], [0.0, 1.0, 5.0, 4.0], [7.0, 3.0, 1.0, 0.5], [6.0, 2.0, 1.5, 8.0]]]])


def test_ties_in_a_window_are_no_mistakes():
    report = check_right(SUBJECTS["pool"], arrays={"x": TIED})
    assert report.status == PASS  # the formula decides: the first maximum takes the gradient


def test_entries_that_share_a_maximum_may_share_its_gradient():
    """Two halves are as good as a whole and nothing."""
    halves = {"dx": lambda run: broken.pool_dx(run, broken.shared_by_largest)}
    assert check_broken(SUBJECTS["pool"], halves, arrays={"x": TIED}).status != FAIL


def test_entries_that_share_a_maximum_may_not_each_take_its_gradient():
    wholes = {"dx": lambda run: broken.pool_dx(run, broken.all_largest)}
    report = check_broken(SUBJECTS["pool"], wholes, arrays={"x": TIED})
    assert named_first(report) == {"dx": title_of(Mistake.ALL_OF_TIES)}


def test_the_margin_of_the_hinge_loss_is_a_kink():
    x = np.array([[1.0, 2.0, 0.5, 3.0]] * 5) + np.arange(5)[:, np.newaxis]
    report = check_right(SUBJECTS["svm"], arrays={"x": x})  # margins of exactly 1
    assert report.status == WARN
    assert "entries lie at a kink" in str(report)
