"""Adam in compiled code and in NumPy: whatever computes a step, it is the same."""

import subprocess
import sys
from functools import partial

import numpy as np
import pytest
import torch
from conftest import (
    DTYPES,
    PATIENCE,
    assert_same,
    compiled,
    draw,
    draw_all,
    every_second,
    reversed_twice,
    seeds,
)
from hypothesis import given
from hypothesis import strategies as st
from test_optim import SETTINGS, optimizer_in_torch, plain_adam, run

import cs231n
from cs231n import optim
from cs231n.kernels.threads import use_threads
from cs231n.optim import BLOCK, adam

pytestmark = pytest.mark.q1

direct_cython, optim_cython = compiled("direct_cython"), compiled("optim_cython")
SETS = direct_cython.vector_sets()
WAYS = {"NumPy": None} | {name: partial(optim_cython.adam_step, vectors=i) for i, name in enumerate(SETS)}
CLOSE = {np.dtype(np.float32): 1e-6, np.dtype(np.float64): 1e-14}  # a few roundings of one step

every_dtype = pytest.mark.parametrize("dtype", DTYPES)
every_way = pytest.mark.parametrize("way", WAYS)
every_set = pytest.mark.parametrize("vectors", range(len(SETS)), ids=SETS)


@pytest.fixture
def use(monkeypatch):
    """Call it with what is to compute the step from now on; None is NumPy."""
    return lambda step: monkeypatch.setattr(optim, "adam_step", step)


def refuse(*arguments):
    raise AssertionError("these arrays are none for compiled code")


def in_numpy(w, gradients, settings):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(optim, "adam_step", None)
        return run(adam, w, gradients, settings)


def unaligned(array):
    """The same values, one byte off the places that the processor prefers."""
    memory = np.empty(array.nbytes + 1, np.uint8)[1:].view(array.dtype).reshape(array.shape)
    memory[...] = array
    return memory


def swapped(array):
    """The same values, their bytes in the other order."""
    return array.astype(array.dtype.newbyteorder())


# The values


@every_dtype
@every_way
@pytest.mark.parametrize("given_settings", [True, False], ids=["settings", "defaults"])
@pytest.mark.parametrize("shape", [(), (0,), (7,), (1, 3, 2), (5, 13, 4), (3, BLOCK // 2)], ids=str)
def test_adam_agrees_with_its_formula(use, way, dtype, given_settings, shape):
    use(WAYS[way])
    w, *gradients = (np.asarray(array) for array in draw_all([shape] * 4, dtype))
    settings = SETTINGS[adam] if given_settings else {}
    next_w, _ = run(adam, w, gradients, settings)
    assert_same(next_w, plain_adam(w, gradients, **settings), dtype)


@every_dtype
@every_way
def test_adam_agrees_with_torch(use, way, dtype):
    use(WAYS[way])
    w, *gradients = draw_all([(31, 7)] * 6, dtype)
    settings = {name: float(value) for name, value in SETTINGS[adam].items()}
    parameter = torch.tensor(w, requires_grad=True)
    optimizer = optimizer_in_torch(adam, parameter, settings)
    for dw in gradients:
        parameter.grad = torch.tensor(dw)
        optimizer.step()
    assert_same(run(adam, w, gradients, settings)[0], parameter.detach().numpy(), dtype)


@every_dtype
@every_set
@pytest.mark.parametrize("t", [0, 1, 1000])
def test_compiled_adam_and_numpys_differ_by_rounding(use, vectors, dtype, t):
    """Also in the first step, all of whose v is (1 - beta2) dw^2: float leaves four digits of 1 - 0.999."""
    w, dw, m, v = draw_all([(1001,)] * 4, dtype)
    state = {"m": m * (t > 0), "v": v**2 * (t > 0), "t": t}
    expected, expected_config = in_numpy(w, [dw], {name: np.copy(value) for name, value in state.items()})
    use(partial(optim_cython.adam_step, vectors=vectors))
    next_w, config = run(adam, w, [dw], {name: np.copy(value) for name, value in state.items()})
    tol = CLOSE[np.dtype(dtype)]
    np.testing.assert_allclose(next_w, expected, rtol=tol, atol=tol)
    np.testing.assert_allclose(config["m"], expected_config["m"], rtol=tol, atol=tol)
    np.testing.assert_allclose(config["v"], expected_config["v"], rtol=tol)
    assert config["t"] == t + 1


@every_dtype
@every_set
def test_numbers_that_are_none_go_where_they_do_in_numpy(use, vectors, dtype):
    w, m, v = np.ones((3, 40), dtype)
    dw = np.resize(np.array([np.nan, np.inf, -np.inf, 0, -0.0, 1], dtype), 40)
    v[20:] = m[20:] = 0
    settings = {"m": m, "v": v, "epsilon": 0}
    with np.errstate(invalid="ignore"):
        expected, _ = in_numpy(w, [dw], {**settings, "m": m.copy(), "v": v.copy()})
    use(partial(optim_cython.adam_step, vectors=vectors))
    np.testing.assert_allclose(run(adam, w, [dw], settings)[0], expected, rtol=1e-6)
    assert np.isnan(expected).any() and np.isfinite(expected).any()


# What is written, and by whom


@every_way
def test_w_and_its_state_are_updated_in_place(use, way):
    use(WAYS[way])
    w, dw, m, v = draw_all([(5, 9)] * 4)
    config = {"m": m, "v": v**2}
    arrays, before = (w, config["m"], config["v"]), [w.copy(), m.copy(), v**2]
    next_w, next_config = adam(w, dw, config)
    assert next_w is w and next_config is config
    assert config["m"] is arrays[1] and config["v"] is arrays[2]
    assert all((array != old).all() for array, old in zip(arrays, before, strict=True))


@every_dtype
@every_set
def test_nothing_beside_an_array_is_touched(vectors, dtype):
    for size in range(40):
        whole = np.abs(draw((4, 3 + size + 3), dtype))
        before = whole.copy()
        optim_cython.adam_step(*whole[:, 3 : 3 + size], 0.9, 0.99, 1e-8, 0.1, vectors=vectors)
        changed = whole != before
        assert changed[[0, 2, 3], 3 : 3 + size].all()
        assert changed.sum() == 3 * size


@every_way
@given(st.integers(1, 200), st.integers(1, 50), seeds)
def test_threads_and_blocks_share_all_of_an_array(way, size, block, seed):
    w, *gradients = draw_all([(size,)] * 3, seed=seed)
    expected = plain_adam(w, gradients, **SETTINGS[adam])
    with pytest.MonkeyPatch.context() as patch, use_threads(2):
        patch.setattr(optim, "adam_step", WAYS[way])
        for name, value in {"LARGE": 0, "VERY_LARGE": 0, "BLOCK": 0, "THREAD_BLOCK": block}.items():
            patch.setattr(optim, name, value)
        np.testing.assert_allclose(run(adam, w, gradients, SETTINGS[adam])[0], expected, rtol=1e-12)


def test_threads_share_large_arrays_only(use, monkeypatch):
    sizes = []
    use(lambda w, *others: sizes.append(w.size))
    monkeypatch.setattr(optim, "LARGE", 10)
    with use_threads(2):
        for shape in [(9,), (5, 2)]:
            adam(*draw_all([shape] * 2))
    assert sizes == [9, 5, 5]


# Which arrays are for compiled code


def as_float16(array):
    return array.astype(np.float16)


@every_dtype
@pytest.mark.parametrize(
    "arrange", [np.array, np.asfortranarray, every_second, reversed_twice, swapped, as_float16]
)
def test_plain_arrays_are_for_compiled_code_and_any_gradient_is_brought_to_them(use, dtype, arrange):
    w, dw = draw_all([(4, 3)] * 2, dtype)
    dw = arrange(dw)
    expected = plain_adam(w, [np.array(dw, dtype)])
    steps = []
    use(lambda *arguments: (steps.append(None), optim_cython.adam_step(*arguments)))
    assert_same(adam(w, dw)[0], expected, dtype)
    assert len(steps) == 1


@every_dtype
@pytest.mark.parametrize("arrange", [np.asfortranarray, every_second, reversed_twice, unaligned, swapped])
@pytest.mark.parametrize("argument", ["w", "m", "v"])
def test_arrays_with_gaps_or_in_another_order_are_for_numpy(use, dtype, arrange, argument):
    arrays = dict(zip(("w", "dw", "m", "v"), draw_all([(4, 3)] * 4, dtype), strict=True))
    arrays["v"] **= 2
    expected, _ = in_numpy(arrays["w"], [arrays["dw"]], {name: arrays[name].copy() for name in "mv"})
    arrays[argument] = arrange(arrays[argument])
    use(refuse)
    next_w, _ = adam(arrays.pop("w"), arrays.pop("dw"), arrays)
    assert_same(next_w.astype(dtype), expected, dtype)


@every_dtype
def test_an_unaligned_gradient_is_for_numpy(use, dtype):
    use(refuse)
    w, dw = draw_all([(4, 3)] * 2, dtype)
    expected = plain_adam(w, [dw])
    assert_same(adam(w, unaligned(dw))[0], expected, dtype)


@pytest.mark.parametrize("dtype", [np.float16, np.longdouble])
def test_other_dtypes_are_for_numpy(use, dtype):
    use(refuse)
    w, dw = draw_all([(4, 3)] * 2, dtype)
    next_w, config = adam(w, dw, {"epsilon": 0.1})
    assert next_w.dtype == config["m"].dtype == config["v"].dtype == dtype


def test_state_of_another_dtype_is_for_numpy(use):
    use(refuse)
    w, dw = draw_all([(4, 3)] * 2, np.float32)
    _, config = adam(w, dw, {"m": np.zeros((4, 3)), "v": np.zeros((4, 3))})
    assert config["m"].dtype == np.float64


def test_arrays_with_rules_of_their_own_are_for_numpy(use):
    use(refuse)
    w = np.ma.MaskedArray(np.ones(3), mask=[False, True, False])
    next_w, _ = adam(w, np.ones(3))
    assert next_w.data[0] < 1 and next_w.data[1] == 1


# adam_step itself


def test_lengths_that_differ_are_refused():
    arrays = [np.ones(size) for size in (3, 3, 2, 3)]
    with pytest.raises(ValueError, match="must have equal lengths; got 3, 3, 2, 3"):
        optim_cython.adam_step(*arrays, 0.9, 0.99, 1e-8, 0.1)
    assert (arrays[0] == 1).all()


@pytest.mark.parametrize("vectors", [-1, len(SETS)])
def test_unknown_vectors_are_refused(vectors):
    with pytest.raises(ValueError, match=rf"vectors must be from 0 to {len(SETS) - 1}; got {vectors}"):
        optim_cython.adam_step(*np.ones((4, 3)), 0.9, 0.99, 1e-8, 0.1, vectors=vectors)


@pytest.mark.parametrize("argument", [0, 2, 3], ids=["w", "m", "v"])
def test_what_may_not_be_written_to_is_refused(argument):
    arrays = list(np.ones((4, 3)))
    arrays[argument].flags.writeable = False
    with pytest.raises(ValueError, match="read-only"):
        optim_cython.adam_step(*arrays, 0.9, 0.99, 1e-8, 0.1)


# Without it

NOT_BUILT = """
import sys
sys.modules["cs231n.kernels.optim_cython"] = None  # an import of it fails
import numpy as np
from cs231n import optim
from cs231n.optim import adam

assert optim.adam_step is None
w, _ = adam(np.zeros(2), np.array([1.0, -1.0]), {"epsilon": 0})
np.testing.assert_allclose(w, [-1e-3, 1e-3])
"""


def test_without_compiled_code_numpy_computes_and_nothing_is_said():
    command = [sys.executable, "-W", "error", "-c", NOT_BUILT]
    root = cs231n.__path__[0].removesuffix("cs231n")
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=PATIENCE)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
