"""What several test files share: the settings of the run, comparisons, and what holds for every layer.

A test that meets an exercise which is still to be written is reported as "not done yet", without a
traceback, and the summary says which exercises it is that tests wait for.

A `Layer` is a forward/backward pair with the shapes it is to be tried on. Its `check_*` functions
below are the rules of `cs231n.layers` that every pair has to keep; each test file of layers runs
all of `LAYER_CHECKS` over its own.
"""

import importlib
import inspect
import os
from collections import Counter
from collections.abc import Callable
from copy import deepcopy
from typing import NamedTuple

import numpy as np
import pytest
import torch
from hypothesis import settings
from hypothesis import strategies as st
from threadpoolctl import threadpool_limits

from course.rubric import EXERCISES
from cs231n.gradcheck.check import check_layer

NOT_DONE = "not done yet"
MESSAGES = tuple(dict.fromkeys(exercise.not_done for exercise in EXERCISES))

# One thread for everything, processes that tests start included: on a busy machine, threads that share small
# matrix products wait for each other most of the time. Tests of threads ask for two.
os.environ |= dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
threadpool_limits(1)
torch.set_num_threads(1)
settings.register_profile("cs231n", max_examples=40, deadline=None, derandomize=True, database=None)
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


def pytest_runtest_makereport(item, call):
    """The report of a test that met an exercise that is not done: it failed, but nothing has crashed."""
    message = missing_exercise(call.excinfo and call.excinfo.value)
    if message:
        report = pytest.TestReport.from_item_and_call(item, call)
        report.missing_exercise = message
        return report


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


def pytest_terminal_summary(terminalreporter):
    reports = terminalreporter.stats.get(NOT_DONE, ())
    waiting = Counter(report.missing_exercise for report in reports)
    if waiting:
        terminalreporter.section(NOT_DONE)
    for message in MESSAGES:
        if count := waiting[message]:
            terminalreporter.write_line(f"{message} ({count} {'test waits' if count == 1 else 'tests wait'})")


sizes = st.integers(1, 6)
seeds = st.integers(0, 2**32 - 1)


def draw(shape, dtype=np.float64, seed=0):
    """Gaussian numbers: none of them is 0 or 1, which would hide a missing term or factor."""
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def draw_all(shapes, dtype=np.float64, seed=0):
    return [draw(shape, dtype, (seed, i)) for i, shape in enumerate(shapes)]


def assert_same(actual, expected, dtype):
    """`actual` has this dtype and, within its rounding, the shape and the values of `expected`."""
    assert actual.dtype == dtype
    assert np.shape(actual) == np.shape(expected)
    tol = TOLERANCES[np.dtype(dtype)]
    np.testing.assert_allclose(actual, expected, rtol=tol, atol=tol)


def assert_near_numeric(grad, numeric):
    """A gradient agrees with the numeric one, in shape too, as far as rounding in float64 allows."""
    assert grad.shape == numeric.shape
    np.testing.assert_allclose(grad, numeric, rtol=1e-6, atol=1e-7)


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


def layers(**named):
    """Parametrize a test over layers, named by the keywords."""
    return pytest.mark.parametrize(
        "layer", list(named.values()), ids=[name.replace("_", "-") for name in named]
    )


def check_numeric_gradients(layer):
    arrays, _ = layer.draw()
    names = [*inspect.signature(layer.forward).parameters, *range(len(arrays))]  # a number where it has none
    inputs = dict(zip(names, arrays, strict=False))
    check_layer(layer, layer.gradients, inputs, settings=layer.param).raise_if_failed()


def check_dtype_is_that_of_x(layer):
    """Parameters and upstream gradients of another precision do not change it."""
    for dtype in DTYPES:
        arrays, dout = layer.draw(dtype)
        for other in DTYPES:
            out, cache = layer(arrays[0], *(array.astype(other) for array in arrays[1:]))
            grads = layer.gradients(dout.astype(other), cache)
            assert {result.dtype for result in (out, *grads)} == {np.dtype(dtype)}


def check_arguments_are_left_alone(layer):
    """Arguments may be read-only, no result shares memory with one or with another, a cache serves twice."""
    arrays, dout = layer.draw()
    for array in (*arrays, dout):
        array.flags.writeable = False
    out, cache = layer(*arrays)
    grads = layer.gradients(dout, cache)
    for again, grad in zip(layer.gradients(dout, cache), grads, strict=True):
        np.testing.assert_array_equal(again, grad)
    results = [out, *grads]
    for i, result in enumerate(results):
        assert not any(np.shares_memory(result, other) for other in (*arrays, dout, *results[:i]))


def check_any_memory_layout(layer):
    arrays, dout = layer.draw()
    expected_out, cache = layer(*arrays)
    expected = layer.gradients(dout, cache)
    for arrange in (np.asfortranarray, every_second, reversed_twice):
        out, cache = layer(*(arrange(array) for array in arrays))
        np.testing.assert_allclose(out, expected_out, rtol=1e-12, atol=1e-12)
        for grad, expected_grad in zip(layer.gradients(arrange(dout), cache), expected, strict=True):
            assert grad.shape == expected_grad.shape
            np.testing.assert_allclose(grad, expected_grad, rtol=1e-12, atol=1e-12)


def check_upstream_gradient_has_the_shape_of_the_output(layer):
    arrays, dout = layer.draw()
    _, cache = layer(*arrays)
    for wrong in (dout[..., :1], dout[np.newaxis]):
        with pytest.raises(ValueError, match="dout must have shape"):
            layer.backward(wrong, cache)


LAYER_CHECKS = (
    check_numeric_gradients,
    check_dtype_is_that_of_x,
    check_arguments_are_left_alone,
    check_any_memory_layout,
    check_upstream_gradient_has_the_shape_of_the_output,
)
every_layer_check = pytest.mark.parametrize("check", LAYER_CHECKS)


def every_second(array):
    """The same values, strided."""
    return np.repeat(array, 2, axis=-1)[..., ::2]


def reversed_twice(array):
    """The same values, with a negative stride."""
    return array[::-1].copy()[::-1]
