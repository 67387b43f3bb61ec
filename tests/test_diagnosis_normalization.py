"""Planted bugs in normalizations: as learners write them, in the lines of a staged or closed backward pass.

Each bug replaces text of a right program, so that it does not depend on how the diagnosis computes. The name
has to be right at any shape, also where sizes coincide, with and without settings.
"""

import re
from functools import cache

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
    """Turn batch into layer normalization: the sums for gamma and beta stay over axis 0."""
    lines = []
    for line in program.strip().splitlines():
        if not line.startswith(("dbeta", "dgamma")):
            line = (
                line.replace("axis=0", "axis=1, keepdims=True")
                .replace("1 / N", "1 / D")
                .replace("N * g", "D * g")
            )
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

SPATIAL_FORWARD = (
    """
N, C, H, W = x.shape
x = x.transpose(0, 2, 3, 1).reshape(-1, C)
"""
    + BATCH_FORWARD
    + """
out = out.reshape(N, H, W, C).transpose(0, 3, 1, 2)
"""
)

SPATIAL_CLOSED = (
    """
N, C, H, W = dout.shape
dout = dout.transpose(0, 2, 3, 1).reshape(-1, C)
"""
    + BATCH_CLOSED.replace("N, D = dout.shape", "NHW = len(dout)")
    .replace("1 / N", "1 / NHW")
    .replace("N * g", "NHW * g")
    + """
dx = dx.reshape(N, H, W, C).transpose(0, 3, 1, 2)
"""
)

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


@cache
def code_of(program):
    """Compile a program once, which takes longer than to run it; numeric gradients run it often."""
    return compile(program, "a learner's program", "exec")


def layer(forward_program, backward_program, **constants):
    """Return (forward, backward) that run programs; what forward computes is its cache."""
    run_forward, run_backward = code_of(forward_program), code_of(backward_program)

    def forward(x, gamma, beta):
        names = {"np": np, "x": x, "gamma": gamma, "beta": beta, **constants}
        exec(run_forward, names)
        return names["out"], names

    def backward(dout, cache):
        names = {**cache, "dout": dout}
        exec(run_backward, names)
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
    ("1 / N * np.ones((N, D)) * dmu", "0 * dmu", Mistake.TERM_MISSING, "mean"),
    ("dx1 = dxmu1 + dxmu2", "dx1 = dxmu1", Mistake.TERM_MISSING, "variance"),
    ("dx1 = dxmu1 + dxmu2", "dx1 = dxmu2", Mistake.DIRECT_MISSING, None),
    ("dx = dx1 + dx2", "dx = dxmu1", Mistake.CONSTANTS, None),
    ("dx = dx1 + dx2", "dx = dx1 - dx2", Mistake.TERM_NEGATIVE, "mean"),
    ("dmu = -1 * ", "dmu = ", Mistake.TERM_NEGATIVE, "mean"),
    ("dstd = -1 /", "dstd = 1 /", Mistake.TERM_NEGATIVE, "variance"),
    ("dx1 = dxmu1 + dxmu2", "dx1 = dxmu1 + 2 * dxmu2", Mistake.TERM_TWICE, "variance"),
    ("dxmu1 = dx_hat * ivar", "dxmu1 = 2 * dx_hat * ivar", Mistake.DIRECT_TWICE, None),
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
    (
        "dout * gamma",
        "dout * gamma; eps = 1e-5; ivar = (var + eps) ** -.5; std = 1 / ivar",
        Mistake.OTHER_EPS,
        None,
    ),
    (
        "dout * gamma",
        "dout * gamma; std = var ** .5 + eps; ivar = 1 / std; eps = 0",
        Mistake.EPS_OUTSIDE,
        None,
    ),
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
    ("* ivar", "/ std ** 2", Mistake.DIVIDED_BY_VARIANCE, None),
    ("* ivar", "* std", Mistake.MULTIPLIED_BY_STD, None),
    ("* ivar", "/ np.sqrt(var)", Mistake.NO_EPS, None),
]


def swapped(bugs):
    """The same bugs in layer normalization, whose letters N and D change roles."""
    turn = str.maketrans("ND", "DN")

    def turned(text):
        text = text.replace("np.ones((N, D))", "@").translate(turn)
        return text.replace("@", "np.ones((N, D))").replace("axis=0", "axis=1, keepdims=True")

    return [
        (turned(old), turned(new), mistake, about and about.translate(turn))
        for old, new, mistake, about in bugs
    ]


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


def test_two_bugs_are_both_named():
    without_mean = changed(BATCH_CLOSED, "- g.sum(axis=0)", "")
    report = check((BATCH_FORWARD, changed(without_mean, "(1 / N) *", "")), (6, 5))
    assert_named(report, "dx", Mistake.TERM_MISSING, "mean")
    assert [cause.title for cause in report.all_causes()][1:] == ["it is N times too large"]
    with_half = changed(changed(BATCH_CLOSED, "- g.sum", "+ g.sum"), "- x_hat", "- 0.5 * x_hat")
    report = check((BATCH_FORWARD, with_half), (6, 5))
    assert_named(report, "dx", Mistake.TERM_NEGATIVE, "mean")
    assert has_title(report.all_causes()[1].title, Mistake.TERM_HALF, "variance")


@pytest.mark.parametrize("bug", STAGED_BUGS, ids=lambda bug: f"{bug[2].name}-{bug[1][:18]}")
def test_a_bug_is_never_misnamed_with_two_examples(bug):
    """With N = 2 the terms are almost the same: x_hat is 1 and -1. So the name may be missing."""
    old, new, mistake, about = bug
    for shape in ((2, 4), (2, 5), (2, 3)):
        report = check((BATCH_FORWARD, changed(BATCH_STAGED, old, new)), shape, eps=0.1)
        (dx,) = (comparison for comparison in report.comparisons if comparison.name == "dx")
        if dx.status == FAIL and "1 / np.sqrt(var)" not in new:  # the last one is 0, apart from rounding
            assert any(has_title(cause.title, mistake, about) for cause in dx.causes), str(report)


# ---------------------------------------------------------------------------------------------------------
# Forward does this, backward does that
# ---------------------------------------------------------------------------------------------------------

DDOF = "(xmu ** 2).mean(axis=0)", "(xmu ** 2).sum(axis=0) / (len(x) - 1)"
OUTSIDE = "np.sqrt(var + eps)", "np.sqrt(var) + eps"
NO_EPS = "np.sqrt(var + eps)", "np.sqrt(var)"


@pytest.mark.parametrize("backward", [BATCH_STAGED, BATCH_CLOSED], ids=["staged", "closed"])
@pytest.mark.parametrize("settings", SETTINGS)
@pytest.mark.parametrize(
    "old, new, mistake",
    [
        (*DDOF, Mistake.FORWARD_UNBIASED),
        (*OUTSIDE, Mistake.FORWARD_EPS_OUTSIDE),
    ],
    ids=["N - 1", "outside"],
)
def test_a_forward_pass_with_another_deviation(old, new, mistake, backward, settings):
    for shape in BATCH_SHAPES:
        report = check((changed(BATCH_FORWARD, old, new), backward), shape, settings=settings)
        assert_named(report, "dx", mistake)
        assert [c.status for c in report.comparisons[1:]] == [PASS, PASS]


@pytest.mark.parametrize("shape", LAYER_SHAPES)
def test_layer_normalization_with_d_minus_1_in_the_forward_pass(shape):
    forward = LAYER_FORWARD.replace(
        "(xmu ** 2).mean(axis=1, keepdims=True)", "xmu.var(axis=1, keepdims=True, ddof=1)"
    )
    report = check((forward, LAYER_CLOSED), shape, settings={"eps": 1e-3})
    assert_named(report, "dx", Mistake.FORWARD_UNBIASED, "D - 1, the backward pass by D")


@pytest.mark.parametrize("settings", [None, {"eps": 1e-5}])
@pytest.mark.parametrize("shape", [(6, 5), (5, 9), (3, 4)])
def test_the_default_eps_is_missed_although_some_entries_are_right_without_it(shape, settings):
    """It changes a gradient by 1e-5, so that some of its entries are within the tolerance."""
    without = changed(BATCH_STAGED, "np.sqrt(var + eps) * dstd", "np.sqrt(var) * -1 / var * divar")
    report = check((BATCH_FORWARD, without), shape, eps=1e-5, settings=settings)
    assert_named(report, "dx", Mistake.NO_EPS)
    without = changed(BATCH_CLOSED, "* ivar", "/ np.sqrt(var)")
    assert_named(check((BATCH_FORWARD, without), shape, eps=1e-5, settings=settings), "dx", Mistake.NO_EPS)


@pytest.mark.parametrize("settings", SETTINGS)
def test_eps_in_the_backward_pass_only(settings):
    backward = changed(
        BATCH_STAGED, "dx_hat = dout", "std = np.sqrt(var + eps); ivar = 1 / std; dx_hat = dout"
    )
    report = check((changed(BATCH_FORWARD, *NO_EPS), backward), (6, 5), settings=settings)
    assert_named(report, "dx", Mistake.FORWARD_NO_EPS)


RUNNING = {"running_mean": draw(5, seed=3), "running_var": draw(5, seed=4) ** 2 + 0.5}


@pytest.mark.parametrize("settings", [None, {"mode": "test"}, {"mode": "test", "eps": 1e-3, **RUNNING}])
@pytest.mark.parametrize("backward", [BATCH_STAGED, BATCH_CLOSED], ids=["staged", "closed"])
@pytest.mark.parametrize("N", [1, 2, 3, 6])
def test_test_mode_differentiated_as_training(backward, settings, N):
    report = check((TEST_FORWARD, backward), (N, 5), settings=settings, **RUNNING)
    if N > 1:
        assert_named(report, "dx", Mistake.TEST_AS_TRAINING)


def test_test_mode_with_the_gradient_of_the_batch():
    statistics = "ivar = 1 / np.sqrt(x.var(axis=0) + eps); x_hat = (x - x.mean(axis=0)) * ivar\n"
    report = check((TEST_FORWARD, statistics + BATCH_CLOSED), (6, 5), **RUNNING)
    assert_named(report, "dx", Mistake.TEST_AS_TRAINING)
    assert_named(report, "dgamma", Mistake.TEST_AS_TRAINING)


@pytest.mark.parametrize(
    "new, mistake",
    [
        ("dout * ivar", Mistake.NO_GAMMA),
        ("dout * gamma", Mistake.NO_DIVISION_BY_STD),
        ("dout * gamma / (running_var + eps)", Mistake.DIVIDED_BY_VARIANCE),
        ("dout * gamma / np.sqrt(running_var)", Mistake.NO_EPS),
        ("dout * gamma / np.sqrt(x.var(axis=0) + eps)", Mistake.BATCH_VARIANCE),
    ],
)
def test_a_bug_in_test_mode(new, mistake):
    backward = changed(TEST_BACKWARD, "dout * gamma * ivar", new)
    report = check((TEST_FORWARD, backward), (6, 5), settings={"eps": 1e-3}, **RUNNING)
    assert_named(report, "dx", mistake)


def test_training_with_the_gradient_of_test_mode():
    running = changed(TEST_BACKWARD, "* ivar", "/ np.sqrt(running_var + eps)")
    assert_named(check((BATCH_FORWARD, running), (6, 5), **RUNNING), "dx", Mistake.TRAINING_AS_TEST)
    assert_named(check((BATCH_FORWARD, TEST_BACKWARD), (6, 5)), "dx", Mistake.CONSTANTS)


# ---------------------------------------------------------------------------------------------------------
# dgamma and dbeta
# ---------------------------------------------------------------------------------------------------------

DGAMMA = "(dout * x_hat).sum(axis=0)"


@pytest.mark.parametrize(
    "new, mistake",
    [
        ("(dout * x).sum(axis=0)", Mistake.X_FOR_X_HAT),
        ("(dout * xmu).sum(axis=0)", Mistake.CENTERED_FOR_X_HAT),
        ("(dout * out).sum(axis=0)", Mistake.OUT_FOR_X_HAT),
        ("(dout * (out - beta)).sum(axis=0)", Mistake.GAMMA_IN_EXCESS),
        ("(dout * gamma * x_hat).sum(axis=0)", Mistake.GAMMA_IN_EXCESS),
        ("x_hat.sum(axis=0)", Mistake.NO_DOUT),
        ("(dout * xmu / (var + eps)).sum(axis=0)", Mistake.DIVIDED_BY_VARIANCE),
        ("(dout * xmu / np.sqrt(var)).sum(axis=0)", Mistake.NO_EPS),
    ],
)
def test_another_factor_in_dgamma(new, mistake):
    for shape in ((6, 5), (4, 8), (5, 5), (3, 7)):
        for forward, backward in ((BATCH_FORWARD, BATCH_STAGED), (LAYER_FORWARD, LAYER_CLOSED)):
            report = check((forward, changed(backward, DGAMMA, new)), shape, settings={"eps": 1e-3})
            assert_named(report, "dgamma", mistake)


@pytest.mark.parametrize("shape", [(5, 5), (3, 3), (2, 2)])
@pytest.mark.parametrize("programs", [(BATCH_FORWARD, BATCH_STAGED), (LAYER_FORWARD, LAYER_CLOSED)])
def test_sums_over_the_wrong_axis_that_a_square_shape_hides(programs, shape):
    forward, backward = programs
    backward = backward.replace("(dout * x_hat).sum(axis=0)", "(dout * x_hat).sum(axis=1)")
    backward = backward.replace("dbeta = dout.sum(axis=0)", "dbeta = dout.sum(axis=1)")
    report = check((forward, backward), shape)
    assert_named(report, "dgamma", Mistake.SUMMED_OVER_WRONG_AXES)
    assert_named(report, "dbeta", Mistake.SUMMED_OVER_WRONG_AXES)


def test_gamma_in_dbeta():
    report = check((BATCH_FORWARD, changed(BATCH_STAGED, "dbeta = dout", "dbeta = (gamma * dout)")), (6, 5))
    assert_named(report, "dbeta", Mistake.GAMMA_IN_EXCESS)


# ---------------------------------------------------------------------------------------------------------
# Layer normalization: axes
# ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(4, 5), (5, 4), (5, 5), (2, 6)])
def test_layer_normalization_with_the_backward_pass_of_batch_normalization(shape):
    over_batch = BATCH_CLOSED.replace("dx = (1 / N)", "dx = (1 / N)")
    assert_named(check((LAYER_FORWARD, over_batch), shape), "dx", Mistake.MEANS_OVER_WRONG_AXES)
    assert_named(check((BATCH_FORWARD, LAYER_CLOSED), shape), "dx", Mistake.MEANS_OVER_WRONG_AXES)


@pytest.mark.parametrize("shape", [(4, 5), (5, 4), (5, 5), (2, 6)])
def test_gamma_after_the_means_of_layer_normalization(shape):
    backward = changed(LAYER_CLOSED, "g = dout * gamma", "g = dout").replace("* ivar", "* ivar * gamma")
    assert_named(check((LAYER_FORWARD, backward), shape), "dx", Mistake.GAMMA_AFTER_MEANS)


def test_means_without_keepdims():
    plain = "axis=1)"
    forgetful = LAYER_CLOSED.replace("axis=1, keepdims=True)", plain)
    assert_named(check((LAYER_FORWARD, forgetful), (5, 5)), "dx", Mistake.MEANS_LAID_OUT_WRONGLY)
    forgetful = changed(LAYER_CLOSED, "g.sum(axis=1, keepdims=True) -", "g.sum(axis=1) -")
    assert_named(check((LAYER_FORWARD, forgetful), (5, 5)), "dx", Mistake.MEANS_LAID_OUT_WRONGLY)
    forgetful = changed(
        LAYER_STAGED, "(dx_hat * xmu).sum(axis=1, keepdims=True)", "(dx_hat * xmu).sum(axis=1)"
    )
    assert_named(check((LAYER_FORWARD, forgetful), (5, 5)), "dx", Mistake.MEANS_LAID_OUT_WRONGLY)


# ---------------------------------------------------------------------------------------------------------
# Images
# ---------------------------------------------------------------------------------------------------------

IMAGES = [(3, 5, 2, 4), (2, 3, 3, 3), (4, 2, 3, 2), (3, 3, 3, 3), (2, 4, 2, 2), (2, 2, 3, 4)]
IN, BACK = "dout.transpose(0, 2, 3, 1).reshape(-1, C)", "reshape(N, H, W, C).transpose(0, 3, 1, 2)"

SPATIAL_BUGS = [
    ("NHW = len(dout)", "NHW = N", Mistake.MEANS_DIVIDED, "N"),
    ("NHW = len(dout)", "NHW = N * H", Mistake.MEANS_DIVIDED, "NH"),
    ("NHW = len(dout)", "NHW = H * W", Mistake.MEANS_DIVIDED, "HW"),
    ("NHW = len(dout)", "NHW = len(dout); g1 = 0", None, None),
    ("- g.sum(axis=0)", "", Mistake.TERM_MISSING, "mean"),
    (IN, "dout.reshape(-1, C)", Mistake.DOUT_NOT_TRANSPOSED, None),
    (IN, "dout.transpose(1, 0, 2, 3).reshape(-1, C)", Mistake.DOUT_NOT_TRANSPOSED, None),
    (IN, "dout.transpose(0, 3, 2, 1).reshape(-1, C)", Mistake.DOUT_NOT_TRANSPOSED, None),
    (IN, "dout.reshape(C, -1).T", Mistake.DOUT_NOT_TRANSPOSED, None),
    ("dx." + BACK, "dx.reshape(N, C, H, W)", Mistake.DX_NOT_TRANSPOSED, None),
    ("dx." + BACK, "dx.T.reshape(N, C, H, W)", Mistake.DX_NOT_TRANSPOSED, None),
    ("dx." + BACK, "dx.reshape(N, W, H, C).transpose(0, 3, 2, 1)", Mistake.DX_NOT_TRANSPOSED, None),
]


@pytest.mark.parametrize("bug", SPATIAL_BUGS, ids=lambda bug: bug[1][:40])
def test_a_bug_in_spatial_batch_normalization(bug):
    old, new, mistake, about = bug
    backward = changed(SPATIAL_CLOSED, old, new)
    for number, shape in enumerate(IMAGES):
        report = check((SPATIAL_FORWARD, backward), shape, settings=SETTINGS[number % 2])
        if mistake is None:
            assert report.status in (PASS, WARN)
        else:
            assert_named(report, "dx", mistake, about)


def test_dgamma_of_images_that_are_reshaped_without_a_transpose():
    report = check((SPATIAL_FORWARD, changed(SPATIAL_CLOSED, IN, "dout.reshape(-1, C)")), (3, 5, 2, 4))
    assert_named(report, "dgamma", Mistake.DOUT_NOT_TRANSPOSED)
    assert_named(report, "dbeta", Mistake.DOUT_NOT_TRANSPOSED)


@pytest.mark.parametrize("order", ["0, 3, 2, 1", "0, 1, 2, 3", "3, 0, 1, 2"])
def test_axes_that_are_not_put_back(order):
    backward = changed(SPATIAL_CLOSED, "transpose(0, 3, 1, 2)", f"transpose({order})")
    assert_named(check((SPATIAL_FORWARD, backward), (3, 5, 2, 4)), "dx", Mistake.AXES_OUT_OF_ORDER)


def test_neither_dout_nor_dx_is_transposed():
    backward = changed(
        changed(SPATIAL_CLOSED, IN, "dout.reshape(-1, C)"), "dx." + BACK, "dx.reshape(N, C, H, W)"
    )
    assert_named(check((SPATIAL_FORWARD, backward), (3, 5, 2, 4)), "dx", Mistake.NEITHER_TRANSPOSED)


def test_the_forward_pass_reshapes_without_a_transpose():
    forward = SPATIAL_FORWARD.replace("x.transpose(0, 2, 3, 1)", "x").replace(
        "out." + BACK, "out.reshape(N, C, H, W)"
    )
    right = """
dout = np.asarray(dout)
x_hat = (x_image - x_image.mean(axis=(0, 2, 3), keepdims=True))
ivar = 1 / np.sqrt(x_image.var(axis=(0, 2, 3), keepdims=True) + eps)
x_hat = x_hat * ivar
g = dout * gamma.reshape(1, -1, 1, 1)
def mean(a): return a.mean(axis=(0, 2, 3), keepdims=True)
dx = ivar * (g - mean(g) - x_hat * mean(g * x_hat))
dgamma, dbeta = (dout * x_hat).sum(axis=(0, 2, 3)), dout.sum(axis=(0, 2, 3))
"""
    report = check(("x_image = x\n" + forward, right), (3, 5, 2, 4))
    for name in ("dx", "dgamma", "dbeta"):
        assert_named(report, name, Mistake.FORWARD_NOT_TRANSPOSED)


GROUPS = [((3, 6, 2, 4), 2), ((2, 4, 3, 3), 2), ((2, 4, 2, 2), 1), ((3, 3, 2, 2), 3), ((2, 6, 2, 3), 3)]
GROUP_BUGS = [
    ("n = len(g)", "n = N", Mistake.MEANS_DIVIDED, "N"),
    ("n = len(g)", "n = H * W", Mistake.MEANS_DIVIDED, "HW"),
    ("n = len(g)", "n = N * G", Mistake.MEANS_DIVIDED, None),
    ("n = len(g)", "n = C", Mistake.MEANS_DIVIDED, "C"),
    ("dout * gamma).reshape", "dout).reshape", Mistake.NO_GAMMA, None),
    (
        "g = (dout * gamma).reshape(N * G, -1).T",
        "g = (dout * gamma).reshape(-1, N * G)",
        Mistake.DOUT_NOT_TRANSPOSED,
        None,
    ),
    ("dx.T.reshape", "dx.reshape", Mistake.DX_NOT_TRANSPOSED, None),
    ("- g.sum(axis=0)", "", Mistake.TERM_MISSING, "mean"),
    ("- x_hat * (g * x_hat).sum(axis=0)", "", Mistake.TERM_MISSING, "variance"),
]


@pytest.mark.parametrize("bug", GROUP_BUGS, ids=lambda bug: bug[1][:40])
def test_a_bug_in_group_normalization(bug):
    old, new, mistake, about = bug
    backward = changed(GROUP_CLOSED, old, new)
    for number, (shape, G) in enumerate(GROUPS):
        count = shape[1] // G * shape[2] * shape[3]
        sizes = {
            "n = N": shape[0],
            "n = H * W": shape[2] * shape[3],
            "n = N * G": shape[0] * G,
            "n = C": shape[1],
        }
        if sizes.get(new) == count:
            continue
        settings = [None, {"G": G, "eps": 1e-3}][number % 2]
        gamma_shape = [None, (1, shape[1], 1, 1)][number % 2]
        report = check((GROUP_FORWARD, backward), shape, settings=settings, gamma_shape=gamma_shape, G=G)
        assert_named(report, "dx", mistake, about)


ORDERED = """
N, C, H, W = dout.shape
def mean(a): return np.broadcast_to(a.reshape(view).mean(axis=axes, keepdims=True), view).reshape(a.shape)
x_image = x.T.reshape(N, C, H, W)
xmu = x_image - mean(x_image)
ivar = 1 / np.sqrt(mean(xmu ** 2) + eps)
x_hat = xmu * ivar
g = dout * gamma
dx = ivar * (g - mean(g) - x_hat * mean(g * x_hat))
dgamma, dbeta = (dout * x_hat).sum(axis=(0, 2, 3)), dout.sum(axis=(0, 2, 3))
"""


@pytest.mark.parametrize("settings", [None, {"G": 2, "eps": 1e-3}])
@pytest.mark.parametrize(
    "view, axes", [((3, 3, 2, 2, 4), (1, 3, 4)), ((3, 3, 2, 2, 4), (2, 3, 4)), ((3, 6, 2, 4), (0, 2, 3))]
)
def test_groups_in_another_order(view, axes, settings):
    report = check((GROUP_FORWARD, ORDERED), (3, 6, 2, 4), settings=settings, G=2, view=view, axes=axes)
    assert_named(report, "dx", Mistake.MEANS_OVER_WRONG_AXES)


# ---------------------------------------------------------------------------------------------------------
# What is right, and what is unknown
# ---------------------------------------------------------------------------------------------------------

RIGHT = {
    "batch": (BATCH_FORWARD, BATCH_STAGED, (6, 5), {}),
    "batch-closed": (BATCH_FORWARD, BATCH_CLOSED, (4, 8), {}),
    "layer": (LAYER_FORWARD, LAYER_STAGED, (4, 8), {}),
    "layer-closed": (LAYER_FORWARD, LAYER_CLOSED, (5, 3), {}),
    "test-mode": (TEST_FORWARD, TEST_BACKWARD, (6, 5), RUNNING),
    "spatial": (SPATIAL_FORWARD, SPATIAL_CLOSED, (3, 5, 2, 4), {}),
    "group": (GROUP_FORWARD, GROUP_CLOSED, (3, 6, 2, 4), {"G": 2}),
    "instance": (GROUP_FORWARD, GROUP_CLOSED, (3, 4, 2, 4), {"G": 4}),
    "whole-image": (GROUP_FORWARD, GROUP_CLOSED, (3, 4, 2, 4), {"G": 1}),
}


@pytest.mark.parametrize("kind", RIGHT)
@pytest.mark.parametrize("eps", [1e-3, 1e-5, 1e-8, 0.0123])
def test_the_formulas_give_the_right_gradients(kind, eps):
    """They are found by the output alone, without any setting."""
    forward, backward, shape, constants = RIGHT[kind]
    arrays = draw_all((shape, shape[1:2], shape[1:2]), seed=5)
    run, undo = layer(forward, backward, eps=eps, **constants)
    out, cache = run(*arrays)
    dout = draw(shape, seed=6)
    inputs = dict(zip(("images", "a", "b"), arrays, strict=True))
    found = right_gradients(Observed(inputs=inputs, out=out, dout=dout))
    assert list(found) == list(inputs)
    for gradient, right in zip(found.values(), undo(dout, cache), strict=True):
        assert gradient.shape == right.shape
        np.testing.assert_allclose(gradient, right, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("kind", RIGHT)
def test_what_is_right_has_no_cause(kind):
    forward, backward, shape, constants = RIGHT[kind]
    report = check((forward, backward), shape, **constants)
    assert report.status in (PASS, WARN) and report.all_causes() == []


UNKNOWN = [
    "dx * np.abs(dx)",
    "dx + 0.1 * np.cos(np.arange(dx.size)).reshape(dx.shape)",
    "np.tanh(3 * dx)",
    "dx[::-1] * 1.5",
]


@pytest.mark.parametrize("unknown", UNKNOWN)
@pytest.mark.parametrize("kind", RIGHT)
def test_what_is_unknown_has_no_cause(kind, unknown):
    forward, backward, shape, constants = RIGHT[kind]
    report = check((forward, f"{backward}\ndx = {unknown}\n"), shape, **constants)
    assert report.status == FAIL and report.all_causes() == []


@pytest.mark.parametrize(
    "out", [np.zeros((3, 4)), np.full((3, 4), np.nan), np.ones((3, 4)), draw((3, 4)), draw((3, 5))]
)
@pytest.mark.parametrize(
    "x", [np.zeros((3, 4)), np.full((3, 4), np.inf), np.ones((3, 4)), draw((3, 4)), draw(4)]
)
def test_nothing_is_made_of_what_is_no_normalization(x, out):
    inputs = {"x": x, "gamma": np.zeros(4), "beta": np.ones(4)}
    assert right_gradients(Observed(inputs=inputs, out=out, dout=np.ones((3, 4)))) == {}
    assert right_gradients(Observed(inputs=inputs | {"gamma": draw(4)}, out=out, dout=np.ones((3, 4)))) == {}
