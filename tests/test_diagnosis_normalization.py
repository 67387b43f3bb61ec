"""Planted bugs in normalizations: as learners write them, in the lines of a staged or closed backward pass.

Each bug replaces text of a right program, so that it does not depend on how the diagnosis computes. The name
has to be right at any shape, also where sizes coincide, with and without settings.
"""

import re

import numpy as np
import pytest
from conftest import draw, draw_all

from cs231n.gradcheck.check import FAIL, PASS, WARN, check_layer
from cs231n.gradcheck.diagnosis import Mistake, Observed, right_gradients

pytestmark = pytest.mark.q2

# ---------------------------------------------------------------------------------------------------------
# What a learner writes
# ---------------------------------------------------------------------------------------------------------

BATCH_FORWARD = """
mean = x.mean(axis=0)
xmu = x - mean
var = (xmu ** 2).mean(axis=0)
std = np.sqrt(var + eps)
ivar = 1 / std
x_hat = xmu * ivar
out = gamma * x_hat + beta
"""

BATCH_STAGED = """
N, D = dout.shape
dbeta = dout.sum(axis=0)
dgamma = (dout * x_hat).sum(axis=0)
dx_hat = dout * gamma
divar = (dx_hat * xmu).sum(axis=0)
dxmu1 = dx_hat * ivar
dstd = -1 / (std ** 2) * divar
dvar = 0.5 / np.sqrt(var + eps) * dstd
dsq = 1 / N * np.ones((N, D)) * dvar
dxmu2 = 2 * xmu * dsq
dx1 = dxmu1 + dxmu2
dmu = -1 * (dxmu1 + dxmu2).sum(axis=0)
dx2 = 1 / N * np.ones((N, D)) * dmu
dx = dx1 + dx2
"""

BATCH_CLOSED = """
N, D = dout.shape
dbeta = dout.sum(axis=0)
dgamma = (dout * x_hat).sum(axis=0)
g = dout * gamma
dx = (1 / N) * ivar * (N * g - g.sum(axis=0) - x_hat * (g * x_hat).sum(axis=0))
"""


def per_example(program):
    """Turn batch into layer normalization: statistics over axis 1, but sums for gamma and beta over axis 0."""
    lines = []
    for line in program.strip().splitlines():
        if not line.startswith(("dbeta", "dgamma")):
            line = line.replace("axis=0", "axis=1, keepdims=True").replace("1 / N", "1 / D").replace("N * g", "D * g")
        lines.append(line)
    return "\n".join(lines) + "\n"


LAYER_FORWARD, LAYER_STAGED, LAYER_CLOSED = map(per_example, (BATCH_FORWARD, BATCH_STAGED, BATCH_CLOSED))

TEST_FORWARD = """
xmu = x - running_mean
std = np.sqrt(running_var + eps)
ivar = 1 / std
var = running_var
x_hat = xmu * ivar
out = gamma * x_hat + beta
"""

TEST_BACKWARD = """
dbeta = dout.sum(axis=0)
dgamma = (dout * x_hat).sum(axis=0)
dx = dout * gamma * ivar
"""

SPATIAL_FORWARD = """
N, C, H, W = x.shape
x = x.transpose(0, 2, 3, 1).reshape(-1, C)
""" + BATCH_FORWARD + """
out = out.reshape(N, H, W, C).transpose(0, 3, 1, 2)
"""

SPATIAL_CLOSED = """
N, C, H, W = dout.shape
dout = dout.transpose(0, 2, 3, 1).reshape(-1, C)
""" + BATCH_CLOSED.replace("N, D = dout.shape", "NHW = len(dout)").replace("1 / N", "1 / NHW").replace("N * g", "NHW * g") + """
dx = dx.reshape(N, H, W, C).transpose(0, 3, 1, 2)
"""

GROUP_FORWARD = """
N, C, H, W = x.shape
gamma, beta = gamma.reshape(1, C, 1, 1), beta.reshape(1, C, 1, 1)
x = x.reshape(N * G, -1).T
mean = x.mean(axis=0)
xmu = x - mean
var = (xmu ** 2).mean(axis=0)
ivar = 1 / np.sqrt(var + eps)
x_hat = xmu * ivar
out = gamma * x_hat.T.reshape(N, C, H, W) + beta
"""

GROUP_CLOSED = """
N, C, H, W = dout.shape
dbeta = dout.sum(axis=(0, 2, 3))
dgamma = (dout * x_hat.T.reshape(N, C, H, W)).sum(axis=(0, 2, 3))
g = (dout * gamma).reshape(N * G, -1).T
n = len(g)
dx = (1 / n) * ivar * (n * g - g.sum(axis=0) - x_hat * (g * x_hat).sum(axis=0))
dx = dx.T.reshape(N, C, H, W)
"""


def layer(forward_program, backward_program, **constants):
    """Return (forward, backward) that run programs; what forward computes is its cache."""

    def forward(x, gamma, beta):
        names = {"np": np, "x": x, "gamma": gamma, "beta": beta, **constants}
        exec(forward_program, names)
        return names["out"], names

    def backward(dout, cache):
        names = {**cache, "dout": dout}
        exec(backward_program, names)
        return names["dx"], names["dgamma"].reshape(cache["shape"]), names["dbeta"].reshape(cache["shape"])

    def forward_with_shape(x, gamma, beta):
        out, names = forward(x, gamma, beta)
        return out, {**names, "shape": gamma.shape}

    return forward_with_shape, backward


def changed(program, old, new):
    assert old in program, f"{old} is not in the program"
    return program.replace(old, new)


def check(programs, shape, eps=1e-3, settings=None, gamma_shape=None, seed=7, **constants):
    size = gamma_shape or (shape[1],)
    arrays = dict(zip(("x", "gamma", "beta"), draw_all((shape, size, size), seed=seed), strict=True))
    return check_layer(*layer(*programs, eps=eps, **constants), arrays, settings=settings)


def has_title(title, mistake, about=None):
    """Whether a title is that of a mistake, about anything, or about what contains `about`."""
    pattern = re.escape(mistake.value).replace(r"\{\}", "(.*)")
    match = re.fullmatch(pattern, title or "")
    return bool(match) and (about is None or about in match.group(1))


def assert_named(report, name, mistake, about=None):
    by_name = {comparison.name: comparison for comparison in report.comparisons}
    comparison = by_name[name]
    assert comparison.status == FAIL, str(report)
    causes = comparison.causes
    assert causes, str(report)
    assert has_title(causes[0].title, mistake, about), f"expected {mistake.name} {about}\n{report}"
    assert len({(cause.evidence, cause.look) for cause in causes}) == len(causes)


BATCH_SHAPES = [(6, 5), (4, 8), (8, 4), (6, 3), (4, 3), (5, 5), (3, 2), (3, 7), (10, 4)]
LAYER_SHAPES = [shape[::-1] for shape in BATCH_SHAPES]
SETTINGS = [None, {"eps": 1e-3}]

# (text, its replacement, the mistake, what it is about): of the staged pass of batch normalization
STAGED_BUGS = [
    ("* dvar\n", "/ N * N * D / N * dvar * N / D * 0\n", Mistake.TERM_MISSING, "variance"),
    ("1 / N * np.ones((N, D)) * dmu", "0 * dmu", Mistake.TERM_MISSING, "mean"),
    ("dx1 = dxmu1 + dxmu2", "dx1 = dxmu1", Mistake.TERM_MISSING, "variance"),
    ("dx1 = dxmu1 + dxmu2", "dx1 = dxmu2", Mistake.DIRECT_MISSING, None),
    ("dx = dx1 + dx2", "dx = dxmu1", Mistake.CONSTANTS, None),
    ("dx = dx1 + dx2", "dx = dx1 - dx2", Mistake.TERM_NEGATIVE, "mean"),
    ("dmu = -1 * ", "dmu = ", Mistake.TERM_NEGATIVE, "mean"),
    ("dstd = -1 /", "dstd = 1 /", Mistake.TERM_NEGATIVE, "variance"),
    ("dx1 = dxmu1 + dxmu2", "dx1 = dxmu1 + 2 * dxmu2", Mistake.TERM_TWICE, "variance"),
    ("dx1 = dxmu1 + dxmu2", "dx1 = 2 * dxmu1 + dxmu2", Mistake.DIRECT_TWICE, None),
    ("0.5 / np.sqrt", "1 / np.sqrt", Mistake.TERM_TWICE, "variance"),
    ("2 * xmu * dsq", "xmu * dsq", Mistake.TERM_HALF, "variance"),
    ("1 / N * np.ones((N, D)) * dvar", "np.ones((N, D)) * dvar", Mistake.TERM_SUMMED, "variance"),
    ("1 / N * np.ones((N, D)) * dmu", "np.ones((N, D)) * dmu", Mistake.TERM_SUMMED, "mean"),
    ("1 / N", "1 / D", Mistake.MEANS_DIVIDED, "D"),
    ("1 / N", "1 / (N - 1)", Mistake.MEANS_DIVIDED, "N - 1"),
    ("1 / N", "1", Mistake.SUMS_FOR_MEANS, None),
    ("1 / N * np.ones((N, D)) * dmu", "1 / D * dmu", Mistake.TERM_DIVIDED, "mean's term is divided by D"),
    ("1 / N * np.ones((N, D)) * dvar", "1 / (N - 1) * dvar", Mistake.UNBIASED_VARIANCE, "N - 1"),
    ("dx_hat = dout * gamma", "dx_hat = dout", Mistake.NO_GAMMA, None),
    ("dx_hat = dout * gamma", "dx_hat = dout * gamma ** 2", Mistake.GAMMA_TWICE, None),
    ("dx_hat = dout * gamma", "dx_hat = dout / gamma", Mistake.DIVIDED_BY_GAMMA, None),
    ("dx_hat = dout * gamma", "dx_hat = dout * beta", Mistake.BETA_FOR_GAMMA, None),
    ("divar = (dx_hat", "divar = (dout", Mistake.NO_GAMMA_IN_TERM, None),
    ("dxmu1 = dx_hat", "dxmu1 = dout", Mistake.NO_GAMMA_IN_TERM, None),
    ("(dx_hat * xmu).sum", "dx_hat.sum", Mistake.NO_PRODUCT, None),
    ("(dx_hat * xmu).sum", "(dx_hat * x).sum", Mistake.X_FOR_CENTERED, None),
    ("(dx_hat * xmu).sum", "(dx_hat * x_hat).sum", Mistake.WRONG_POWER, None),
    ("dx_hat * ivar", "dx_hat", Mistake.NO_DIVISION_BY_STD, None),
    ("dx_hat * ivar", "dx_hat * ivar ** 2", Mistake.DIVIDED_BY_VARIANCE, None),
    ("dx_hat * ivar", "dx_hat * std", Mistake.MULTIPLIED_BY_STD, None),
    ("(std ** 2)", "std", Mistake.WRONG_POWER, None),
    ("(std ** 2)", "std ** 3", Mistake.WRONG_POWER, None),
    ("0.5 / np.sqrt(var + eps)", "0.5 / (var + eps)", Mistake.WRONG_POWER, None),
    ("0.5 / np.sqrt(var + eps) * dstd", "-0.5 * ivar * divar", Mistake.WRONG_POWER, None),
    ("2 * xmu", "2 * x_hat", Mistake.WRONG_POWER, None),
    ("np.sqrt(var + eps) * dstd", "np.sqrt(var) * -1 / var * divar", Mistake.NO_EPS, None),
    ("dout * gamma", "dout * gamma; ivar = 1 / np.sqrt(var); std = 1 / ivar; eps = 0", Mistake.NO_EPS, None),
    ("dout * gamma", "dout * gamma; eps = 1e-5; ivar = (var + eps) ** -.5; std = 1 / ivar", Mistake.OTHER_EPS, None),
    ("dout * gamma", "dout * gamma; std = var ** .5 + eps; ivar = 1 / std; eps = 0", Mistake.EPS_OUTSIDE, None),
    (
        "dout * gamma",
        "dout * gamma; var = x.var(axis=0, ddof=1); std = (var + eps) ** .5; ivar = 1 / std",
        Mistake.UNBIASED_VARIANCE,
        "N - 1",
    ),
]

CLOSED_BUGS = [
    ("N * g", "g", Mistake.DIRECT_MULTIPLIED, "1, not by N"),
    ("N * g", "D * g", Mistake.DIRECT_MULTIPLIED, "D"),
    ("(1 / N)", "(1 / D)", Mistake.CLOSED_FORM_DIVIDED, "D"),
    ("- g.sum(axis=0)", "", Mistake.TERM_MISSING, "mean"),
    ("- g.sum(axis=0)", "- g.mean(axis=0)", Mistake.TERM_DIVIDED, None),
    ("- x_hat * (g * x_hat).sum(axis=0)", "", Mistake.TERM_MISSING, "variance"),
    ("- g.sum(axis=0) - x_hat", "+ g.sum(axis=0) + x_hat", Mistake.BOTH_NEGATIVE, None),
    ("- g.sum", "+ g.sum", Mistake.TERM_NEGATIVE, "mean"),
    ("- x_hat", "+ x_hat", Mistake.TERM_NEGATIVE, "variance"),
    ("(g * x_hat).sum(axis=0)", "g.sum(axis=0)", Mistake.NO_PRODUCT, None),
    ("x_hat * (g * x_hat)", "(g * x_hat)", Mistake.NO_X_HAT, None),
    ("N * g - g.sum", "N * g - dout.sum", Mistake.NO_GAMMA_IN_TERM, None),
    ("(g * x_hat)", "(dout * x_hat)", Mistake.NO_GAMMA_IN_TERM, None),
    ("* ivar", "", Mistake.NO_DIVISION_BY_STD, None),
    ("* ivar", "/ var", Mistake.DIVIDED_BY_VARIANCE, None) if False else ("* ivar", "/ std ** 2", Mistake.DIVIDED_BY_VARIANCE, None),
    ("* ivar", "* std", Mistake.MULTIPLIED_BY_STD, None),
    ("* ivar", "/ np.sqrt(var)", Mistake.NO_EPS, None),
]


def swapped(bugs):
    """The same bugs in layer normalization, whose letters N and D change roles."""
    turn = str.maketrans("ND", "DN")
    for old, new, mistake, about in bugs:
        old, new = (text.replace("np.ones((N, D))", "@").replace("N", "#").replace("D", "N") for text in (old, new))
        old, new = (text.replace("#", "D").replace("@", "np.ones((N, D))") for text in (old, new))
        old, new = (text.replace("axis=0", "axis=1, keepdims=True") for text in (old, new))
        yield old, new.replace("keepdims=True, ddof=1", "keepdims=True, ddof=1"), mistake, about and about.translate(turn)


@pytest.mark.parametrize("bug", STAGED_BUGS, ids=lambda bug: f"{bug[2].name}-{bug[1][:18]}")
def test_a_bug_in_the_staged_pass_of_batch_normalization(bug):
    old, new, mistake, about = bug
    programs = BATCH_FORWARD, changed(BATCH_STAGED, old, new)
    for number, shape in enumerate(BATCH_SHAPES):
        if not (shape[0] == shape[1] and "/ D" in new):
            report = check(programs, shape, settings=SETTINGS[number % 2])
            assert_named(report, "dx", mistake, about)


@pytest.mark.parametrize("bug", CLOSED_BUGS, ids=lambda bug: f"{bug[2].name}-{bug[1][:18]}")
def test_a_bug_in_the_closed_form_of_batch_normalization(bug):
    old, new, mistake, about = bug
    programs = BATCH_FORWARD, changed(BATCH_CLOSED, old, new)
    for number, shape in enumerate(BATCH_SHAPES):
        if not (shape[0] == shape[1] and "D" in new):
            report = check(programs, shape, settings=SETTINGS[number % 2])
            assert_named(report, "dx", mistake, about)


@pytest.mark.parametrize("bug", swapped(STAGED_BUGS), ids=lambda bug: f"{bug[2].name}-{bug[1][:18]}")
def test_a_bug_in_the_staged_pass_of_layer_normalization(bug):
    old, new, mistake, about = bug
    programs = LAYER_FORWARD, changed(LAYER_STAGED, old, new)
    for number, shape in enumerate(LAYER_SHAPES):
        if not (shape[0] == shape[1] and "/ N" in new):
            report = check(programs, shape, settings=SETTINGS[number % 2])
            assert_named(report, "dx", mistake, about)


@pytest.mark.parametrize("bug", swapped(CLOSED_BUGS), ids=lambda bug: f"{bug[2].name}-{bug[1][:18]}")
def test_a_bug_in_the_closed_form_of_layer_normalization(bug):
    old, new, mistake, about = bug
    programs = LAYER_FORWARD, changed(LAYER_CLOSED, old, new)
    for number, shape in enumerate(LAYER_SHAPES):
        if not (shape[0] == shape[1] and "N" in new):
            report = check(programs, shape, settings=SETTINGS[number % 2])
            assert_named(report, "dx", mistake, about)
