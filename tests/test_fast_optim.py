"""The fast update rules: they agree with the plain ones and work in place, whatever computes a step."""

import os
import shutil
import subprocess
import sys
from copy import deepcopy
from functools import partial
from itertools import product
from pathlib import Path

import numpy as np
import pytest
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
    sizes,
)
from hypothesis import given
from hypothesis import strategies as st
from test_optim import RULES, SETTINGS, STATE

import cs231n
from cs231n import fast_optim, optim
from cs231n.fast_optim import BLOCK, adam
from cs231n.kernels import threads
from cs231n.kernels.threads import use_threads

pytestmark = pytest.mark.q1

direct_cython, optim_cython = compiled("direct_cython"), compiled("optim_cython")
SETS = direct_cython.vector_sets()
WAYS = {"NumPy": None} | {name: partial(optim_cython.adam_step, vectors=i) for i, name in enumerate(SETS)}
CLOSE = {np.dtype(np.float32): 1e-6, np.dtype(np.float64): 1e-14}  # a few roundings of one step

every_rule = pytest.mark.parametrize("rule", RULES)
every_dtype = pytest.mark.parametrize("dtype", DTYPES)
every_way = pytest.mark.parametrize("way", WAYS)
every_set = pytest.mark.parametrize("vectors", range(len(SETS)), ids=SETS)


@pytest.fixture
def use(monkeypatch):
    """Call it with what is to compute Adam's steps; None is NumPy."""
    return lambda step: monkeypatch.setattr(fast_optim, "adam_step", step)


def refuse(*arguments):
    raise AssertionError("compiled code cannot work on these arrays")


def fast(rule):
    """Return the fast form of a rule of `optim`."""
    return getattr(fast_optim, rule.__name__)


def run(rule, w, gradients, settings):
    """Return w and its config after a step with each gradient, w itself being left alone."""
    w, config = w.copy(order="K"), dict(settings)
    for dw in gradients:
        w, config = rule(w, dw, config)
    return w, config


def in_numpy(w, gradients, settings):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fast_optim, "adam_step", None)
        return run(adam, w, gradients, settings)


def unaligned(array):
    """The same values, one byte off the places that the processor prefers."""
    memory = np.empty(array.nbytes + 1, np.uint8)[1:].view(array.dtype).reshape(array.shape)
    memory[...] = array
    return memory


def swapped(array):
    """The same values, their bytes in the other order."""
    return array.astype(array.dtype.newbyteorder())


# Equal results, in place

# SGD and momentum do the plain rule's arithmetic in its order. RMSProp multiplies by the learning rate last,
# and Adam has its correction of v in the step size: their w differs by roundings, their state not at all.
# AdamW lets w decay first and not last.
ROUNDINGS = dict.fromkeys((optim.sgd, optim.sgd_momentum, optim.nesterov), 0) | dict.fromkeys(
    (optim.rmsprop, optim.adam, optim.adamw), 8
)


def check_against_plain(rule, w, gradients, settings):
    """Take a step with each gradient, plain and fast; w is updated in place."""
    expected, expected_config = run(rule, w.copy(), gradients, settings)
    start, config = w, dict(settings)
    for dw in gradients:
        w, config = fast(rule)(w, dw, config)
    assert w is start and w.dtype.newbyteorder("=") == expected.dtype
    # settings and what follows from them are Python's floats, also for longdouble
    tol = ROUNDINGS[rule] * max(np.finfo(w.dtype).eps, np.finfo(float).eps)
    np.testing.assert_allclose(w, expected, rtol=tol, atol=tol)
    assert config.keys() == expected_config.keys()
    for name, value in expected_config.items():
        np.testing.assert_array_equal(config[name], value)
        assert np.result_type(config[name]) == np.result_type(value)


@pytest.mark.parametrize("dtype", [np.float16, *DTYPES, np.longdouble])
@every_rule
@pytest.mark.parametrize("given_settings", [True, False], ids=["settings", "defaults"])
@pytest.mark.parametrize(
    "shape", [(), (0,), (7,), (1, 3, 2), (BLOCK,), (BLOCK + 1,), (5, BLOCK // 2)], ids=str
)
def test_results_are_those_of_the_plain_rule(rule, dtype, given_settings, shape):
    w, *gradients = (np.asarray(array) for array in draw_all([shape] * 5, dtype))
    # float16 has no number as small as the default epsilon
    settings = SETTINGS[rule] if given_settings or dtype == np.float16 else {}
    check_against_plain(rule, w, gradients, settings)


@every_rule
@every_dtype
@pytest.mark.parametrize("arrange", [np.asfortranarray, every_second, reversed_twice, unaligned, swapped])
@pytest.mark.parametrize("arranged", ["w", "dw", "state"])
@pytest.mark.parametrize("shape", [(4, 3), (3, BLOCK // 2)], ids=["small", "blocks"])
def test_any_memory_layout_of(arranged, rule, dtype, arrange, shape):
    w, *gradients = draw_all([shape] * 4, dtype)
    settings = dict(SETTINGS[rule])
    if arranged == "w":
        w = arrange(w)
    elif arranged == "dw":
        gradients = [arrange(dw) for dw in gradients]
    else:
        settings |= {name: arrange(np.ones(w.shape, dtype)) for name in STATE[rule]}
    check_against_plain(rule, w, gradients, settings)


@every_rule
@given(st.lists(sizes, min_size=1, max_size=3), st.integers(1, 5), st.integers(1, 5), seeds, st.booleans())
def test_blocks_of_any_size_give_the_same(rule, shape, block, thread_block, seed, shared):
    w, *gradients = draw_all([shape] * 4, seed=seed)
    with pytest.MonkeyPatch.context() as patch, use_threads(2):
        patch.setattr(fast_optim, "adam_step", None)
        patch.setattr(fast_optim, "BLOCK", block)
        patch.setattr(fast_optim, "THREAD_BLOCK", thread_block)
        patch.setattr(threads, "WORTH_SHARING", 0 if shared else np.inf)
        check_against_plain(rule, w, gradients, SETTINGS[rule])


@every_rule
def test_state_is_updated_in_place(rule):
    w, dw, *states = draw_all([(5, 9)] * (2 + len(STATE[rule])))
    config = dict(zip(STATE[rule], map(np.abs, states), strict=True))
    arrays, before = dict(config), {name: array.copy() for name, array in config.items()}
    _, next_config = fast(rule)(w, dw, config)
    assert next_config is config
    for name, array in arrays.items():
        assert config[name] is array and (array != before[name]).all()


@every_rule
def test_gradient_is_left_alone(rule):
    w, dw = draw_all([(4, 3), (4, 3)])
    dw.flags.writeable = False
    next_w, config = fast(rule)(w, dw)
    assert not any(np.shares_memory(array, dw) for array in (next_w, *(config[name] for name in STATE[rule])))


@every_rule
def test_neighbours_of_a_slice_are_left_alone(rule):
    whole = draw((6, 4))
    before = whole.copy()
    next_slice, _ = fast(rule)(whole[:, ::2], draw((6, 2)))
    np.testing.assert_array_equal(whole[:, 1::2], before[:, 1::2])
    assert not np.array_equal(next_slice, before[:, ::2])


@every_rule
def test_a_refused_step_leaves_w_alone(rule):
    w = np.ones(3)
    with pytest.raises(ValueError, match="dw must have shape"):
        fast(rule)(w, np.ones(4))
    np.testing.assert_array_equal(w, np.ones(3))


@every_rule
def test_plain_and_fast_steps_may_alternate(rule):
    """Also on a parameter without axes, of which a plain step makes a scalar."""
    w, config = rule(np.array(1.0), 2.0)
    w, config = fast(rule)(w, 2.0, config)
    w, config = rule(w, 2.0, config)
    np.testing.assert_allclose(w, run(rule, np.array(1.0), [2.0] * 3, {})[0])


# Adam in compiled code


@every_dtype
@every_way
@pytest.mark.parametrize("given_settings", [True, False], ids=["settings", "defaults"])
@pytest.mark.parametrize("shape", [(), (0,), (7,), (1, 3, 2), (5, 13, 4), (3, BLOCK // 2)], ids=str)
def test_every_way_agrees_with_plain_adam(use, way, dtype, given_settings, shape):
    use(WAYS[way])
    w, *gradients = (np.asarray(array) for array in draw_all([shape] * 4, dtype))
    check_against_plain(optim.adam, w, gradients, SETTINGS[optim.adam] if given_settings else {})


@every_dtype
@every_set
@pytest.mark.parametrize("t", [0, 1, 1000])
def test_compiled_adam_and_numpys_differ_by_rounding(use, vectors, dtype, t):
    """Also in the first step, all of whose v is (1 - beta2) dw^2: float leaves four digits of 1 - 0.999."""
    w, dw, m, v = draw_all([(1001,)] * 4, dtype)
    state = {"m": m * (t > 0), "v": v**2 * (t > 0), "t": t}
    expected, expected_config = in_numpy(w, [dw], deepcopy(state))
    use(partial(optim_cython.adam_step, vectors=vectors))
    next_w, config = run(adam, w, [dw], deepcopy(state))
    tol = CLOSE[np.dtype(dtype)]
    np.testing.assert_allclose(next_w, expected, rtol=tol, atol=tol)
    np.testing.assert_allclose(config["m"], expected_config["m"], rtol=tol, atol=tol)
    np.testing.assert_allclose(config["v"], expected_config["v"], rtol=tol)
    assert config["t"] == t + 1


@every_dtype
@every_set
def test_nan_and_infinity_go_where_they_do_in_numpy(use, vectors, dtype):
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
    with pytest.MonkeyPatch.context() as patch, use_threads(2):
        patch.setattr(threads, "WORTH_SHARING", 0)
        for name, value in {"adam_step": WAYS[way], "BLOCK": 0, "THREAD_BLOCK": block}.items():
            patch.setattr(fast_optim, name, value)
        check_against_plain(optim.adam, w, gradients, SETTINGS[optim.adam])


def test_threads_share_large_arrays_only(use, monkeypatch):
    lengths = []
    use(lambda w, *others: lengths.append(w.size))
    monkeypatch.setattr(threads, "WORTH_SHARING", 10 * threads.COMPILED_UPDATE)
    with use_threads(2):
        for shape in [(9,), (5, 2)]:
            adam(*draw_all([shape] * 2))
    assert lengths == [9, 5, 5]


# Which arrays are for compiled code


def as_float16(array):
    return array.astype(np.float16)


@every_dtype
@pytest.mark.parametrize(
    "arrange", [np.array, np.asfortranarray, every_second, reversed_twice, swapped, as_float16]
)
def test_compiled_code_takes_any_gradient(use, dtype, arrange):
    """It is brought to the dtype and the order of w."""
    w, dw = draw_all([(4, 3)] * 2, dtype)
    dw = arrange(dw)
    expected, _ = optim.adam(w, dw)
    steps = []
    use(lambda *arguments: (steps.append(None), optim_cython.adam_step(*arguments)))
    assert_same(adam(w, dw)[0], expected, dtype)
    assert len(steps) == 1


@every_dtype
@pytest.mark.parametrize(
    "arrange, argument",
    [
        *product([np.asfortranarray, every_second, reversed_twice, unaligned], ["w", "m", "v"]),
        (swapped, "w"),
    ],
)
def test_arrays_with_gaps_or_another_order_are_for_numpy(use, dtype, arrange, argument):
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
    expected, _ = optim.adam(w, dw)
    assert_same(adam(w, unaligned(dw))[0], expected, dtype)


@pytest.mark.parametrize("dtype", [np.float16, np.longdouble])
def test_other_dtypes_are_for_numpy(use, dtype):
    use(refuse)
    w, dw = draw_all([(4, 3)] * 2, dtype)
    next_w, config = adam(w, dw, {"epsilon": 0.1})
    assert next_w.dtype == config["m"].dtype == config["v"].dtype == dtype


@every_rule
@every_dtype
@pytest.mark.parametrize("other", [*DTYPES, ">f4"])
def test_state_is_brought_to_the_dtype_of_w(rule, dtype, other):
    w, *gradients = draw_all([(4, 3)] * 3, dtype)
    state = {name: np.ones((4, 3), other) for name in STATE[rule]}
    check_against_plain(rule, w, gradients, SETTINGS[rule] | state)


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

ROOT = Path(cs231n.__path__[0]).parent
NOT_BUILT = """
import sys
sys.modules["cs231n.kernels.optim_cython"] = None  # an import of it fails
import numpy as np
from cs231n import fast_optim
from cs231n.fast_optim import adam

assert fast_optim.adam_step is None
w, _ = adam(np.zeros(2), np.array([1.0, -1.0]), {"epsilon": 0})
np.testing.assert_allclose(w, [-1e-3, 1e-3])
"""


def run_python(code, folder):
    """Run code on the package in this folder; with -S, or an editable installation would fill in."""
    command = [sys.executable, "-S", "-W", "error", "-c", code]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(folder), *sys.path])}
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=PATIENCE
    )


def test_without_compiled_code_numpy_computes():
    done = run_python(NOT_BUILT, ROOT)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


TRAINS = """
import sys
import numpy as np
from cs231n import optim, solver, update_rules
from cs231n.classifiers.fc_net import FullyConnectedNet

np.random.seed(0)
X = np.random.randn(100, 6)
y = X[:, :3].argmax(axis=1)
data = {"X_train": X, "y_train": y, "X_val": X, "y_val": y}
for name, rule in update_rules.rules_by_name().items():
    assert (rule is getattr(optim, name)) == ("fast_optim" in sys.argv)
    model = FullyConnectedNet([30], 6, 3, weight_scale=0.1)
    trainer = solver.Solver(model, data, update_rule=name, batch_size=50, num_epochs=50, verbose=False)
    trainer.train()
    assert trainer.loss_history[-1] < trainer.loss_history[0], name
print(solver.__file__)
"""


@pytest.mark.parametrize("left_out", [["fast_optim"], []], ids=["learners", "whole"])
def test_the_solver_trains_without_the_fast_rules(tmp_path, left_out):
    """The learners' version has none: its Solver uses the rules that they write."""
    names = [f"{name}.py" for name in left_out]
    shutil.copytree(ROOT / "cs231n", tmp_path / "cs231n", ignore=shutil.ignore_patterns("datasets", *names))
    done = run_python(f"import sys; sys.argv += {left_out}\n{TRAINS}", tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"{tmp_path / 'cs231n' / 'solver.py'}\n"
