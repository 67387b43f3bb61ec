"""Sentences are for people: with every title and every printed text reworded, each verdict stays the same."""

import itertools

import numpy as np
import pytest
from conftest import draw
from nbformat.v4 import new_code_cell, new_notebook, new_output

import run_notebooks
from course.grading.compare import FaultError, agree, agree_in_value
from course.submission.inspection import claims
from cs231n import passes
from cs231n.gradcheck import check_at_least, check_close, check_layer, check_model, check_projected
from cs231n.gradcheck.diagnosis import Cause, Kind
from cs231n.gradcheck.notebook import check_backward
from cs231n.layers import affine_backward, affine_forward, relu_backward
from cs231n.passes import Bound, Passed, read_passes, write_line

pytestmark = pytest.mark.q1

INPUTS = {"x": draw((3, 5)), "w": draw((5, 7), seed=1), "b": draw(7, seed=2)}
GRADIENTS = affine_backward(draw((3, 7), seed=3), affine_forward(*INPUTS.values())[1])


def forward_of(change):
    """An affine layer whose forward pass returns change(out, cache)."""
    return lambda x, w, b: change(*affine_forward(x, w, b)), affine_backward


def backward_of(change):
    """An affine layer whose backward pass returns change(dx, dw, db)."""
    return affine_forward, lambda dout, cache: change(*affine_backward(dout, cache))


def modifying_forward(x, w, b):
    out = affine_forward(x.copy(), w, b)
    x += 1
    return out


def modifying_backward(dout, cache):
    grads = affine_backward(dout, cache)
    dout *= 2
    return grads


def drawing_layer():
    rng = np.random.default_rng(0)
    return forward_of(lambda out, cache: (out * rng.random(), cache))


def drawing_backward():
    rng = np.random.default_rng(0)
    return backward_of(lambda dx, dw, db: (dx * rng.random(), dw, db))


def layer_with_a_stale_cache():
    kept = {}

    def forward(x, w, b):
        out, kept["cache"] = affine_forward(x, w, b)
        return out, None

    return forward, lambda dout, cache: affine_backward(dout, kept["cache"])


def raising(*arguments):
    raise ZeroDivisionError("on purpose")


def without(position):
    """The gradients, one of them None."""
    return backward_of(lambda *grads: tuple(None if i == position else grad for i, grad in enumerate(grads)))


BROKEN = {  # a function that makes (forward, backward), and the kinds of causes that its report holds
    "right": (lambda: (affine_forward, affine_backward), set()),
    "forward-none": (lambda: forward_of(lambda out, cache: None), {Kind.OUTPUT}),
    "forward-no-pair": (lambda: forward_of(lambda out, cache: out), {Kind.OUTPUT}),
    "forward-no-output": (lambda: forward_of(lambda out, cache: (None, cache)), {Kind.OUTPUT}),
    "forward-nan": (lambda: forward_of(lambda out, cache: (out * np.nan, cache)), {Kind.OUTPUT}),
    "forward-modifies": (lambda: (modifying_forward, affine_backward), {Kind.MODIFIES}),
    "forward-draws": (drawing_layer, {Kind.VARIES}),
    "forward-raises": (lambda: (raising, affine_backward), {Kind.ERROR}),
    "backward-modifies": (lambda: (affine_forward, modifying_backward), {Kind.MODIFIES}),
    "backward-draws": (drawing_backward, {Kind.VARIES}),
    "backward-raises": (lambda: (affine_forward, raising), {Kind.ERROR}),
    "stale": (layer_with_a_stale_cache, {Kind.STALE_CACHE}),
    "too-few": (lambda: backward_of(lambda dx, dw, db: (dx, dw)), {Kind.COUNT}),
    "none": (lambda: without(1), {Kind.MISSING}),
    "text": (lambda: backward_of(lambda dx, dw, db: (dx, "dw", db)), {Kind.NOT_NUMBERS}),
    "nan": (lambda: backward_of(lambda dx, dw, db: (dx, dw * np.nan, db)), {Kind.NOT_FINITE}),
    "shape": (lambda: backward_of(lambda dx, dw, db: (dx, dw[1:], db)), {Kind.SHAPE}),
    "transposed": (lambda: backward_of(lambda dx, dw, db: (dx, dw.T, db)), {Kind.FORMULA}),
    "factor": (lambda: backward_of(lambda dx, dw, db: (dx, dw / 3, db)), {Kind.FORMULA}),
    "zero": (lambda: backward_of(lambda dx, dw, db: (0 * dx, dw, db)), {Kind.FORMULA}),
    "unknown": (lambda: backward_of(lambda dx, dw, db: (dx, np.exp(dw), db)), set()),
    "float32": (lambda: backward_of(lambda dx, dw, db: (dx, np.float32(dw), db)), set()),
}


@pytest.fixture
def reword(monkeypatch):
    """Return a function that replaces every title from then on: cause 0, cause 1 and so on."""

    def replace_titles():
        original, numbers = Cause.__init__, itertools.count()

        def reworded(self, title, evidence, look, **kind):
            original(self, f"cause {next(numbers)}", evidence, look, **kind)

        monkeypatch.setattr(Cause, "__init__", reworded)

    return replace_titles


def verdict(report):
    """What code may go by: the statuses, and the kinds of causes."""
    return (
        report.status,
        [c.status for c in report.comparisons],
        {cause.kind for cause in report.all_causes()},
    )


@pytest.mark.parametrize("check", [check_layer, check_projected])
@pytest.mark.parametrize("name", BROKEN)
def test_no_verdict_on_a_layer_depends_on_a_title(name, check, reword):
    make, kinds = BROKEN[name]
    before = check(*make(), INPUTS)
    assert before.status == "FAIL" or name in ("right", "float32")
    if not (check is check_projected and name == "unknown"):
        assert verdict(before)[2] == kinds, str(before)
    reword()
    after = check(*make(), INPUTS)
    assert verdict(after) == verdict(before)
    assert all(cause.title.startswith("cause ") for cause in after.all_causes())


class Model:
    """A model with one parameter whose loss(X, y) is loss(W)."""

    def __init__(self, loss):
        W = self.params = {"W": np.array([1.0, 2.0])}
        self.loss = lambda X, y: loss(W["W"])


def drawing_loss():
    rng = np.random.default_rng(0)
    return lambda W: (rng.random(), {"W": W})


def modifying_loss(W):
    W += 1
    return W.sum(), {"W": np.ones(2)}


LOSSES = {
    "right": (lambda: lambda W: (W.sum(), {"W": np.ones(2)}), set()),
    "no-pair": (lambda: lambda W: W.sum(), {Kind.OUTPUT}),
    "nan": (lambda: lambda W: (np.nan, {}), {Kind.OUTPUT}),
    "modifies": (lambda: modifying_loss, {Kind.MODIFIES}),
    "draws": (drawing_loss, {Kind.VARIES}),
    "raises": (lambda: raising, {Kind.ERROR}),
    "no-gradient": (lambda: lambda W: (W.sum(), {}), {Kind.MISSING}),
    "factor": (lambda: lambda W: (np.sum(W**2), {"W": 3 * W}), {Kind.FORMULA}),
}


@pytest.mark.parametrize("name", LOSSES)
def test_no_verdict_on_a_model_depends_on_a_title(name, reword):
    make, kinds = LOSSES[name]
    before = check_model(Model(make()), None, None)
    assert verdict(before)[2] == kinds, str(before)
    reword()
    assert verdict(check_model(Model(make()), None, None)) == verdict(before)


COMPARED = {  # how dw is wrong, and whether a grader adds a cause to the fault; None if it is right
    "right": (lambda dw: dw, None),
    "none": (lambda dw: None, False),
    "shape": (lambda dw: dw[1:], False),
    "transposed": (lambda dw: dw.T, True),
    "nan": (lambda dw: dw * np.nan, False),
    "factor": (lambda dw: 3 * dw, True),
    "zero": (lambda dw: 0 * dw, True),
    "unknown": (np.exp, False),
}


def fault(compare, change):
    """Whether a grader finds a fault, and whether it adds a cause; None without a fault."""
    x, dw, _ = GRADIENTS
    known = {"name": "w", "inputs": INPUTS, "numeric": {"x": x, "w": dw}}
    try:
        compare("dw", change(dw.copy()), dw, known)
    except FaultError as error:
        return ":" in str(error)
    return None


@pytest.mark.parametrize("compare", [agree, agree_in_value])
@pytest.mark.parametrize("name", COMPARED)
def test_no_fault_that_a_grader_finds_depends_on_a_title(name, compare, reword):
    change, expected = COMPARED[name]
    assert fault(compare, change) is expected
    reword()
    assert fault(compare, change) is expected


WORDS = {
    Bound.AT_MOST: "({status}) {name} is off by {value:.1e} [limit {limit:.0e}].",
    Bound.AT_LEAST: "{status} | {name} = {value:.4g}, {limit:.4g} needed",
}


def run_checks():
    """Print the lines of four checks that pass, and of what else a notebook prints."""
    check_close("dx", np.ones(2), np.ones(2), tol=1e-8)
    print("epoch 3: accuracy: 0.9, PASS")
    check_at_least("validation accuracy", 0.5412, 0.5)
    check_at_least("speed", 2, 1.5)
    x, dout = draw((2, 3)), np.ones((2, 3))
    check_backward("ReLU", lambda x: np.maximum(x, 0), {"x": x}, dout, [relu_backward(dout, x)])


@pytest.mark.parametrize("words", [passes.LINES, WORDS], ids=["ours", "others"])
def test_whoever_reads_pass_lines_reads_what_the_checks_write(words, monkeypatch, capsys):
    for bound, line in words.items():
        monkeypatch.setitem(passes.LINES, bound, line)
    run_checks()
    text = capsys.readouterr().out
    output = new_output("stream", name="stdout", text=text)
    notebook = new_notebook(cells=[new_code_cell("run_checks()", outputs=[output])])
    assert [passed.name for passed in read_passes(text)] == ["dx", "validation accuracy", "speed", "ReLU dx"]
    assert claims(notebook) == [("validation accuracy", 0.5412)]
    assert run_notebooks._count_passes(notebook) == 4


@pytest.mark.parametrize(
    "passed",
    [
        Passed(Bound.AT_MOST, "dx", 2.5e-10, 1e-8),
        Passed(Bound.AT_MOST, "max pooling: dx", 0.0, 0.0),
        Passed(Bound.AT_LEAST, "training accuracy (at least 0.5)", 0.5412, 0.5),
        Passed(Bound.AT_LEAST, "a limit below zero", -1.5, -2.0),
        Passed(Bound.AT_LEAST, "no limit", np.inf, 1e20),
        Passed(Bound.AT_LEAST, "", 1.0, 1.0),
    ],
)
def test_a_line_reads_as_it_was_written(passed):
    line = write_line("PASS", passed.bound, passed.name, passed.value, passed.limit)
    assert read_passes(f"before\n{line}\nafter\n") == [passed]


@pytest.mark.parametrize(
    "line",
    [
        "WARN  dx: relative error 2.5e-10 (at most 1e-08)",
        "FAIL  accuracy: 0.4 is below 0.5",
        " PASS  accuracy: 0.6 (at least 0.5)",
        "PASS  accuracy: 0.6 (at least 0.5) not",
        "PASS  accuracy: nan (at least 0.5)",
        "PASS  accuracy: \u0661 (at least 0.5)",  # a digit, but no number that a check prints
        f"PASS  {'x' * 200}: 0.6 (at least 0.5)",
    ],
)
def test_other_lines_say_nothing(line):
    assert read_passes(line) == []
