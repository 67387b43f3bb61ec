"""What several test files share: the settings of the run, comparisons, and what holds for every layer.

A test that meets an exercise which is still to be written is reported as "not done yet", without a
traceback, and the summary says which exercises it is that tests wait for. A wrong result is reported in
words, see `agreement`, with a short traceback; the summary lists what is wrong, each mistake once.

`make test` shares the tests among as many processes as there are processors (pytest-xdist), a run of a
learner's stays in one. So no test may depend on another, and failures are told in the order of the tests,
whichever process ends first.

A test with the marker `validation` checks that arguments that do not fit are refused. It belongs to no
question: a layer that computes the right thing passes all tests of its question, whether it refuses or not.

A `Layer` is a forward/backward pair with the shapes it is to be tried on. Its `check_*` functions
below are the rules of `cs231n.layers` that every pair has to keep; each test file of layers runs
all of `LAYER_CHECKS` over its own.
"""

import importlib
import inspect
import os
import re
from collections import Counter
from collections.abc import Callable
from copy import deepcopy
from functools import partial
from typing import NamedTuple

import numpy as np
import pytest
import torch
from agreement import (
    DisagreementError,
    assert_close,
    assert_dtype,
    assert_equal,
    assert_layer,
    assert_report,
    assert_true,
)
from hypothesis import Phase, settings
from hypothesis import strategies as st
from threadpoolctl import threadpool_limits

from course.rubric import EXERCISES
from cs231n.gradcheck.check import check_layer

validation = pytest.mark.validation
QUESTION = re.compile(r"\bq[1-5]\b")
OUTPUT = re.compile(r"\w+ out\b")  # of a forward pass, in a headline
NETS = ("test_fc_net.py", "test_cnn.py")
MOST_HEADLINES = 10
MOST_PROCESSES = 4  # each holds a gigabyte
NOT_DONE = "not done yet"
MESSAGES = tuple(dict.fromkeys(exercise.not_done for exercise in EXERCISES))

# One thread for everything, processes that tests start included: on a busy machine, threads that share small
# matrix products wait for each other most of the time. Tests of threads ask for two.
os.environ |= dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
threadpool_limits(1)
torch.set_num_threads(1)
# Not explained: what Hypothesis finds are lines of the comparison, which would hide what the comparison says.
PHASES = [phase for phase in Phase if phase is not Phase.explain]
settings.register_profile(
    "cs231n", max_examples=40, deadline=None, derandomize=True, database=None, phases=PHASES
)
settings.load_profile("cs231n")

NOT_BUILT = (
    "cs231n.kernels.{} is not built: install GCC or Clang, then run python setup.py build_ext --inplace"
)
PATIENCE = 900  # seconds after which a process is taken to hang; on a loaded machine too, none needs as many

DTYPES = (np.float32, np.float64)
TOLERANCES = {np.dtype(np.float32): 1e-4, np.dtype(np.float64): 1e-9}


def built(name):
    """The compiled module cs231n.kernels.<name>, or None where it is not built."""
    try:
        return importlib.import_module(f"cs231n.kernels.{name}")
    except ImportError:
        return None


def compiled(name):
    """The compiled module cs231n.kernels.<name>; where it is not built, whatever asks for it is skipped.

    It is a test of its own that it is built where there is a compiler, see tests/test_kernels.py.
    """
    return built(name) or pytest.skip(NOT_BUILT.format(name), allow_module_level=True)


def pytest_collection_modifyitems(config, items):
    """Run the tests of layers before those of the nets made of them: the first failure is the cause.

    A question's marker selects no test of validation, unless the expression names that marker too.
    """
    items.sort(key=lambda item: item.path.name in NETS)
    expression = config.option.markexpr
    if QUESTION.search(expression) and validation.name not in expression:
        refusing = [item for item in items if item.get_closest_marker(validation.name)]
        config.hook.pytest_deselected(items=refusing)
        items[:] = [item for item in items if item not in refusing]
    for place, item in enumerate(items):
        item.user_properties.append(("place", place))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers():
    """How many processes share the tests with --numprocesses=auto: none where there is but one processor."""
    processors = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(processors, MOST_PROCESSES) if processors > 1 else 0


def pytest_runtest_makereport(item, call):
    """The report of a test that met an exercise that is not done, or a wrong result.

    The first failed, but nothing has crashed. The second says in words what is wrong: the code of the
    comparison around it, which a full traceback shows, would only be in the way.
    """
    error = call.excinfo and call.excinfo.value
    if message := missing_exercise(error):
        report = pytest.TestReport.from_item_and_call(item, call)
        report.missing_exercise = message
        return report
    if wrong := disagreements(error):
        report = _with_short_traceback(item, call)
        report.wrong = wrong
        return report


def _with_short_traceback(item, call):
    option = item.config.option
    style, option.tbstyle = option.tbstyle, "short" if option.tbstyle == "auto" else option.tbstyle
    try:
        return pytest.TestReport.from_item_and_call(item, call)
    finally:
        option.tbstyle = style


def disagreements(error):
    """Return {headline: title} of each `DisagreementError` that an error is or, as a group, contains."""
    found = {}
    for part in getattr(error, "exceptions", ()):
        found |= disagreements(part)
    return {error.headline: error.title} if isinstance(error, DisagreementError) else found


def missing_exercise(error):
    """The message of the exercise that is not done, if it is all that went wrong; else None.

    Hypothesis raises a group of errors where a test fails in several ways.
    """
    messages = [missing_exercise(part) for part in getattr(error, "exceptions", ())]
    if isinstance(error, NotImplementedError):
        messages = [str(error)]
    return messages[0] if messages and all(message in MESSAGES for message in messages) else None


def pytest_report_teststatus(report):
    if hasattr(report, "missing_exercise"):
        return NOT_DONE, "N", (NOT_DONE.upper(), {"yellow": True})


@pytest.hookimpl(hookwrapper=True, tryfirst=True)
def pytest_terminal_summary(terminalreporter):
    terminalreporter.stats.get("failed", []).sort(key=place_of)
    write_what_is_missing(terminalreporter)
    yield
    write_what_is_wrong(terminalreporter)  # last of all, where a terminal stops


def place_of(report):
    """The place of a report's test among all tests; the report of a process that died has none."""
    return dict(report.user_properties).get("place", 0)


def write_what_is_missing(terminalreporter):
    reports = terminalreporter.stats.get(NOT_DONE, ())
    waiting = Counter(report.missing_exercise for report in reports)
    if waiting:
        terminalreporter.section(NOT_DONE)
    for message in MESSAGES:
        if count := waiting[message]:
            terminalreporter.write_line(f"{message} ({count} {'test waits' if count == 1 else 'tests wait'})")


def write_what_is_wrong(terminalreporter):
    """List every wrong result once, in the order of the tests, with the title that the first test found.

    Outputs come before everything else: gradients follow from a wrong output, never the other way round.
    """
    reports = terminalreporter.stats.get("failed", ())
    found = [item for report in reports for item in getattr(report, "wrong", {}).items()]
    if not found:
        return
    counts = Counter(headline for headline, _ in found)
    titles = {headline: title for headline, title in reversed(found) if title}
    terminalreporter.section("what is wrong")
    in_order = sorted(counts.items(), key=lambda item: OUTPUT.match(item[0]) is None)
    for headline, count in in_order[:MOST_HEADLINES]:
        title = f": {titles[headline]}" if headline in titles else ""
        terminalreporter.write_line(f"{headline}{title} ({count} {'test' if count == 1 else 'tests'})")
    if len(counts) > MOST_HEADLINES:
        terminalreporter.write_line(f"and {len(counts) - MOST_HEADLINES} more")
    if len(counts) > 1:
        terminalreporter.write_line("Correct the first one first: the others may follow from it.")


sizes = st.integers(1, 6)
seeds = st.integers(0, 2**32 - 1)


def draw(shape, dtype=np.float64, seed=0):
    """Gaussian numbers: none of them is 0 or 1, which would hide a missing term or factor."""
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def draw_all(shapes, dtype=np.float64, seed=0):
    return [draw(shape, dtype, (seed, i)) for i, shape in enumerate(shapes)]


def assert_same(actual, expected, dtype, what="the result", rule="", explain=None):
    """`actual` has this dtype and, within its rounding, the shape and the values of `expected`."""
    __tracebackhide__ = True
    tol = TOLERANCES[np.dtype(dtype)]
    assert_close(what, actual, expected, rule, explain, rtol=tol, atol=tol, strict=True)
    assert_dtype(what, actual, dtype)


def same_in(dtype):
    """`assert_same` in this dtype, with the arguments in the order of `agreement`."""

    def compare(what, actual, expected, rule="", explain=None):
        __tracebackhide__ = True
        assert_same(actual, expected, dtype, what, rule, explain)

    return compare


def near_numeric(what, grad, numeric, rule="", explain=None):
    """A gradient agrees with the numeric one, in shape too, as far as rounding in float64 allows."""
    __tracebackhide__ = True
    assert_close(what, grad, numeric, rule, explain, rtol=1e-6, atol=1e-7, strict=True)


def assert_moved(forward, bn_param, mean, var, swapped=(None, None)):
    """A forward pass of batch normalization in training mode left these running averages.

    - swapped: what they would be if momentum and 1 - momentum were swapped
    """
    __tracebackhide__ = True
    expectations = {"running_mean": (mean, swapped[0]), "running_var": (var, swapped[1])}
    for name, (expected, expected_swapped) in expectations.items():
        what = f"bn_param['{name}'] after {forward.__name__} in training mode"
        rule = f"It is momentum * {name} + (1 - momentum) * the minibatch's {name[8:]}, "
        rule += "with a momentum of 0.9 if none is given."
        average = bn_param.get(name)
        known = average is not None and expected_swapped is not None
        if known and np.allclose(average, expected_swapped):
            rule = f"momentum and 1 - momentum are swapped. {rule}"
        assert_close(what, average, expected, rule)


def assert_agrees_with_torch(layer, in_torch, arrays, dout, dtype, rule=""):
    """A layer's output and gradients are PyTorch's, in this dtype."""
    __tracebackhide__ = True
    out, grads = torch_gradients(in_torch, arrays, dout)
    assert_layer(layer, arrays, dout, out, grads, same_in(dtype), rule)


def torch_gradients(function, arrays, dout=None):
    """PyTorch's value of function(*arrays) and its gradients with respect to all arrays, as NumPy arrays."""
    leaves = [torch.tensor(array, requires_grad=True) for array in arrays]
    out = function(*leaves)
    out.backward(None if dout is None else torch.from_numpy(dout))
    return out.detach().numpy(), [leaf.grad.numpy() for leaf in leaves]


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory):
    """A data folder for all tests that use the tiny data set, which is made there by the first of them."""
    return tmp_path_factory.mktemp("data")


@pytest.fixture
def tiny_data(tiny_folder, monkeypatch):
    """The tiny data set is the chosen one."""
    monkeypatch.setenv("CS231N_DATA", str(tiny_folder))
    monkeypatch.setenv("CS231N_DATASET", "tiny")


class Layer(NamedTuple):
    """A pair of functions, the shapes of its array arguments and, behind them, the parameter dictionary."""

    forward: Callable
    backward: Callable
    shapes: tuple
    param: dict | None = None

    def __call__(self, *arrays):
        """The forward pass, with a fresh copy of the dictionary, into which some layers write."""
        return self.forward(*arrays, *([] if self.param is None else [deepcopy(self.param)]))

    def gradients(self, dout, cache):
        """The gradients of the arrays, as a tuple also where there is only one."""
        grads = self.backward(dout, cache)
        return grads if isinstance(grads, tuple) else (grads,)

    def draw(self, dtype=np.float64, seed=0):
        """Random arrays of the layer's shapes and an upstream gradient."""
        arrays = draw_all(self.shapes, dtype, seed)
        return arrays, draw(self(*arrays)[0].shape, dtype, (seed, 99))

    def named(self, arrays):
        """The arrays by the names that the forward pass gives them; numbers where it has none."""
        return dict(
            zip([*inspect.signature(self.forward).parameters, *range(len(arrays))], arrays, strict=False)
        )

    @property
    def mode(self):
        """What messages add to a name of the layer if it has a mode."""
        modes = {"train": " in training mode", "test": " in test mode"}
        return modes.get((self.param or {}).get("mode"), "")

    @property
    def output(self):
        """What messages call the output."""
        return f"{self.forward.__name__} out{self.mode}"

    def gradient(self, name):
        """What messages call the gradient of an argument."""
        return f"{self.backward.__name__} d{name}{self.mode}"


def layers(**named):
    """Parametrize a test over layers, named by the keywords."""
    return pytest.mark.parametrize(
        "layer", list(named.values()), ids=[name.replace("_", "-") for name in named]
    )


def check_numeric_gradients(layer):
    arrays, _ = layer.draw()
    inputs = layer.named(arrays)
    pair = f"{layer.forward.__name__} or {layer.backward.__name__}{layer.mode}"
    report = check_layer(layer, layer.gradients, inputs, settings=layer.param, name=pair)
    for name, comparison in zip(inputs, report.comparisons, strict=False):
        comparison.name = layer.gradient(name)
    assert_report(report)


def check_dtype_is_that_of_x(layer):
    """Parameters and upstream gradients of another precision do not change it."""
    for dtype in DTYPES:
        arrays, dout = layer.draw(dtype)
        for other in DTYPES:
            out, cache = layer(arrays[0], *(array.astype(other) for array in arrays[1:]))
            grads = layer.gradients(dout.astype(other), cache)
            assert_dtype(layer.output, out, dtype)
            for name, grad in zip(layer.named(arrays), grads, strict=True):
                assert_dtype(layer.gradient(name), grad, dtype)


def check_arguments_are_left_alone(layer):
    """Arguments may be read-only, no result shares memory with one or with another, a cache serves twice."""
    arrays, dout = layer.draw()
    for array in (*arrays, dout):
        array.flags.writeable = False
    out, cache = layer(*arrays)
    grads = layer.gradients(dout, cache)
    names = [layer.gradient(name) for name in layer.named(arrays)]
    for name, again, grad in zip(names, layer.gradients(dout, cache), grads, strict=True):
        assert_equal(name, again, grad, "The same cache has to give the same gradient a second time.")
    results = {layer.output: out} | dict(zip(names, grads, strict=True))
    earlier = [*arrays, dout]
    for name, result in results.items():
        shared = any(np.shares_memory(result, other) for other in earlier)
        assert_true(not shared, f"{name} shares memory with an argument or another result", "Return a copy.")
        earlier.append(result)


def check_any_memory_layout(layer):
    arrays, dout = layer.draw()
    expected_out, cache = layer(*arrays)
    expected = layer.gradients(dout, cache)
    close = partial(assert_close, rtol=1e-12, atol=1e-12)
    rule = "It has to be the same for arrays that are laid out differently in memory."
    for arrange in (np.asfortranarray, every_second, reversed_twice):
        out, cache = layer(*(arrange(array) for array in arrays))
        close(layer.output, out, expected_out, rule)
        grads = layer.gradients(arrange(dout), cache)
        for name, grad, expected_grad in zip(layer.named(arrays), grads, expected, strict=True):
            close(layer.gradient(name), grad, expected_grad, rule)


def check_upstream_gradient_has_the_shape_of_the_output(layer):
    arrays, dout = layer.draw()
    _, cache = layer(*arrays)
    for wrong in (dout[..., :1], dout[np.newaxis]):
        with pytest.raises(ValueError, match="dout must have shape"):
            layer.backward(wrong, cache)


def check_need_dx_false_leaves_out_dx_only(layer):
    arrays, dout = layer.draw()
    _, cache = layer(*arrays)
    dx, *grads = layer.backward(dout, cache, need_dx=False)
    first, *names = map(layer.gradient, layer.named(arrays))
    assert_true(dx is None, f"{first} is not None with need_dx=False")
    for name, grad, expected in zip(names, grads, layer.backward(dout, cache)[1:], strict=True):
        assert_equal(name, grad, expected, "It has to be the same with need_dx=False as without.")


LAYER_CHECKS = (
    check_numeric_gradients,
    check_dtype_is_that_of_x,
    check_arguments_are_left_alone,
    check_any_memory_layout,
    check_upstream_gradient_has_the_shape_of_the_output,
)
VALIDATION_CHECKS = (check_upstream_gradient_has_the_shape_of_the_output,)


def layer_checks(*without):
    """Parametrize a test over the rules of layers, without some of them."""
    marks = dict.fromkeys(VALIDATION_CHECKS, validation)
    return pytest.mark.parametrize(
        "check",
        [pytest.param(check, marks=marks.get(check, ())) for check in LAYER_CHECKS if check not in without],
    )


every_layer_check = layer_checks()


def every_second(array):
    """The same values, strided."""
    return np.repeat(array, 2, axis=-1)[..., ::2]


def reversed_twice(array):
    """The same values, with a negative stride."""
    return array[::-1].copy()[::-1]
