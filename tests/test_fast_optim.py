"""The fast update rules: they agree with the plain ones and work in place, whatever computes a step."""

import os
import shutil
import subprocess
import sys
from copy import deepcopy
from functools import partial
from itertools import pairwise, product
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
from cs231n.fast_optim import BLOCK, adam, update_all
from cs231n.kernels import threads
from cs231n.kernels.threads import use_threads

pytestmark = pytest.mark.q1

direct_cython, optim_cython = compiled("direct_cython"), compiled("optim_cython")
SETS = direct_cython.vector_sets()
WAYS = {"NumPy": None} | {name: partial(optim_cython.take_steps, vectors=i) for i, name in enumerate(SETS)}
SETTINGS_OF_ADAM = (0.1, 0.9, 0.99, 1e-8, 1.0)  # learning rate, betas, epsilon, what w is multiplied by

every_rule = pytest.mark.parametrize("rule", RULES)
every_dtype = pytest.mark.parametrize("dtype", DTYPES)
every_way = pytest.mark.parametrize("way", WAYS)
every_set = pytest.mark.parametrize("vectors", range(len(SETS)), ids=SETS)


@pytest.fixture
def use(monkeypatch):
    """Call it with what is to take the steps; None is NumPy."""
    return lambda take_steps: monkeypatch.setattr(fast_optim, "take_steps", take_steps)


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


def in_numpy(w, gradients, settings, rule=adam):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fast_optim, "take_steps", None)
        return run(rule, w, gradients, settings)


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
        patch.setattr(fast_optim, "take_steps", None)
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


# In compiled code


@every_rule
@every_dtype
@every_way
@pytest.mark.parametrize("given_settings", [True, False], ids=["settings", "defaults"])
@pytest.mark.parametrize("shape", [(), (0,), (7,), (1, 3, 2), (5, 13, 4), (3, BLOCK // 2)], ids=str)
def test_every_way_agrees_with_the_plain_rule(use, way, dtype, rule, given_settings, shape):
    use(WAYS[way])
    w, *gradients = (np.asarray(array) for array in draw_all([shape] * 4, dtype))
    check_against_plain(rule, w, gradients, SETTINGS[rule] if given_settings else {})


@every_rule
@every_dtype
@every_set
def test_compiled_rules_give_numpys_bits(use, vectors, dtype, rule):
    """Also of Adam's first step, whose v is (1 - beta2) dw^2: float leaves four digits of 1 - 0.999."""
    w, *gradients = draw_all([(1001,)] * 6, dtype)
    expected, expected_config = in_numpy(w, gradients, {}, fast(rule))
    use(partial(optim_cython.take_steps, vectors=vectors))
    next_w, config = run(fast(rule), w, gradients, {})
    np.testing.assert_array_equal(next_w, expected)
    assert config.keys() == expected_config.keys()
    for name, value in expected_config.items():
        np.testing.assert_array_equal(config[name], value)


@every_dtype
@every_set
def test_nan_and_infinity_go_where_they_do_in_numpy(use, vectors, dtype):
    w, m, v = np.ones((3, 40), dtype)
    dw = np.resize(np.array([np.nan, np.inf, -np.inf, 0, -0.0, 1], dtype), 40)
    v[20:] = m[20:] = 0
    settings = {"m": m, "v": v, "epsilon": 0}
    with np.errstate(invalid="ignore"):
        expected, _ = in_numpy(w, [dw], {**settings, "m": m.copy(), "v": v.copy()})
    use(partial(optim_cython.take_steps, vectors=vectors))
    np.testing.assert_allclose(run(adam, w, [dw], settings)[0], expected, rtol=1e-6)
    assert np.isnan(expected).any() and np.isfinite(expected).any()


# What is written, and by whom


@every_dtype
@every_set
def test_nothing_beside_an_array_is_touched(vectors, dtype):
    for size in range(40):
        whole = np.abs(draw((4, 3 + size + 3), dtype))
        before = whole.copy()
        optim_cython.take_steps("adam", [(SETTINGS_OF_ADAM, whole[:, 3 : 3 + size])], vectors=vectors)
        changed = whole != before
        assert changed[[0, 2, 3], 3 : 3 + size].all()
        assert changed.sum() == 3 * size


@every_way
@given(st.integers(1, 200), st.integers(1, 50), seeds)
def test_threads_and_blocks_share_all_of_an_array(way, size, block, seed):
    w, *gradients = draw_all([(size,)] * 3, seed=seed)
    with pytest.MonkeyPatch.context() as patch, use_threads(2):
        patch.setattr(threads, "WORTH_SHARING", 0)
        for name, value in {"take_steps": WAYS[way], "BLOCK": 0, "THREAD_BLOCK": block}.items():
            patch.setattr(fast_optim, name, value)
        check_against_plain(optim.adam, w, gradients, SETTINGS[optim.adam])


def test_threads_share_large_arrays_only(use, monkeypatch):
    lengths = []
    use(lambda rule, steps, start=0, stop=1, length=1: lengths.append((start, stop, length)))
    monkeypatch.setattr(threads, "WORTH_SHARING", 10 * threads.COMPILED_UPDATE)
    with use_threads(2):
        for shape in [(9,), (5, 2)]:
            adam(*draw_all([shape] * 2))
    assert sorted(lengths) == [(0, 1, 1), (0, 5, 10), (5, 10, 10)]  # threads may begin in any order


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
    use(lambda *arguments: (steps.append(None), optim_cython.take_steps(*arguments)))
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


# All parameters in one call


@every_rule
@every_dtype
@every_way
@pytest.mark.parametrize("shared", [False, True])
def test_all_parameters_in_one_call_end_where_each_alone_does(use, monkeypatch, way, dtype, rule, shared):
    """To the bit, and on the threads too, for which a small array has empty parts."""
    use(WAYS[way])
    monkeypatch.setattr(threads, "WORTH_SHARING", 0 if shared else np.inf)
    shapes = {"W1": (30, 7), "b1": (7,), "scale": (), "none": (0, 3), "W2": (7, 11)}
    params = dict(zip(shapes, map(np.asarray, draw_all(shapes.values(), dtype)), strict=True))
    own = dict(params)
    gradients = [dict(zip(shapes, draw_all(shapes.values(), dtype, seed), strict=True)) for seed in (1, 2, 3)]
    expected = {
        name: run(fast(rule), w, [each[name] for each in gradients], {}) for name, w in params.items()
    }
    configs = {name: {} for name in shapes}
    with use_threads(2):
        for grads in gradients:
            update_all(fast(rule), params, grads, configs)
    for name, (w, config) in expected.items():
        assert params[name] is own[name]
        np.testing.assert_array_equal(params[name], w)
        assert configs[name].keys() == config.keys()
        for entry, value in config.items():
            np.testing.assert_array_equal(configs[name][entry], value)


def test_an_array_under_two_names_takes_both_steps(monkeypatch):
    monkeypatch.setattr(threads, "WORTH_SHARING", 0)
    w, *gradients = draw_all([(50, 40)] * 3)
    expected, _ = run(fast_optim.sgd, w, gradients, {})
    grads = dict(zip("ab", gradients, strict=True))
    with use_threads(2):
        update_all(fast_optim.sgd, {"a": w, "b": w}, grads, {"a": {}, "b": {}})
    np.testing.assert_array_equal(w, expected)


@every_rule
def test_one_parameter_for_numpy_has_all_take_their_steps(rule):
    w = draw((6, 4))
    params = {"plain": w.copy(), "transposed": np.asfortranarray(w), "half": w.astype(np.float16)}
    expected = {
        name: run(fast(rule), array, [array * 2], SETTINGS[rule])[0] for name, array in params.items()
    }
    grads = {name: array * 2 for name, array in params.items()}
    update_all(fast(rule), params, grads, {name: dict(SETTINGS[rule]) for name in params})
    for name, array in expected.items():
        np.testing.assert_array_equal(params[name], array)


@every_rule
def test_where_one_argument_is_refused_none_is_updated(rule):
    params = {"a": np.ones(3), "b": np.ones(2)}
    configs = {"a": {}, "b": {}}
    with pytest.raises(ValueError, match="dw must have shape"):
        update_all(fast(rule), params, {"a": np.ones(3), "b": np.ones(3)}, configs)
    assert (params["a"] == 1).all() and configs["a"].get("t", 0) == 0


# Denormal numbers


@every_dtype
@every_set
def test_averages_that_decay_into_denormals_become_0(use, vectors, dtype):
    """NumPy keeps them, and outside of the step so does the calling thread."""
    tiny = np.finfo(dtype).tiny
    state = {"m": np.full(50, tiny, dtype), "v": np.full(50, tiny, dtype), "t": 5}
    settings = {"beta1": 0.5, "beta2": 0.5}
    w, dw = np.ones((2, 50), dtype)
    _, config = in_numpy(w, [0 * dw], settings | deepcopy(state))
    assert (config["m"] == tiny / 2).all() and (config["v"] == tiny / 2).all()
    use(partial(optim_cython.take_steps, vectors=vectors))
    _, config = run(adam, w, [0 * dw], settings | deepcopy(state))
    assert not config["m"].any() and not config["v"].any()
    assert (np.full(50, tiny, dtype) * dtype(0.5) > 0).all()


# take_steps itself


def take_step(*arrays, rule="adam", settings=SETTINGS_OF_ADAM, **options):
    optim_cython.take_steps(rule, [(settings, arrays)], **options)


def test_lengths_that_differ_are_refused():
    arrays = [np.ones(size) for size in (3, 3, 2, 3)]
    with pytest.raises(ValueError, match="must have equal lengths and one dtype; got lengths 3, 3, 2, 3"):
        take_step(*arrays)
    assert (arrays[0] == 1).all()


@pytest.mark.parametrize(
    "changed, rule",
    [
        ({"vectors": -1}, rf"vectors must be from 0 to {len(SETS) - 1}; got -1"),
        ({"vectors": len(SETS)}, rf"vectors must be from 0 to {len(SETS) - 1}; got {len(SETS)}"),
        ({"rule": "lion"}, "rule must be one of sgd, .*; got 'lion'"),
        ({"settings": (0.1,)}, "adam must have 5 settings and 4 arrays, w and dw first; got 1 and 4"),
        ({"rule": "sgd", "settings": (0.1,)}, "sgd must have 1 settings and 2 arrays"),
        ({"start": -1}, "start, stop and length must be in order; got -1, 1, 1"),
        ({"start": 3, "stop": 2, "length": 5}, "must be in order; got 3, 2, 5"),
        ({"stop": 2}, "must be in order; got 0, 2, 1"),
    ],
)
def test_what_take_steps_does_not_know_is_refused(changed, rule):
    arrays = np.ones((4, 3))
    with pytest.raises(ValueError, match=rule):
        take_step(*arrays, **changed)
    assert (arrays == 1).all()


@pytest.mark.parametrize("argument", range(4), ids=["w", "dw", "m", "v"])
@pytest.mark.parametrize(
    "change", [swapped, every_second, as_float16, lambda array: array.astype(np.float32)]
)
def test_arrays_of_another_kind_are_refused(argument, change):
    arrays = list(np.ones((4, 3, 2)))
    arrays[argument] = change(arrays[argument])
    with pytest.raises(ValueError, match=r"contiguous|float32 or float64|equal lengths and one dtype"):
        take_step(*arrays)
    assert all((array == 1).all() for array in arrays)


@pytest.mark.parametrize("argument", [0, 2, 3], ids=["w", "m", "v"])
def test_what_may_not_be_written_to_is_refused(argument):
    arrays = list(np.ones((4, 3)))
    arrays[argument].flags.writeable = False
    with pytest.raises(ValueError, match="read-only"):
        take_step(*arrays)


@given(st.integers(0, 50), st.integers(1, 60), st.data())
def test_parts_make_up_the_whole(size, length, data):
    """However the parts lie, each element takes exactly one step."""
    cuts = sorted([0, length, *data.draw(st.lists(st.integers(0, length), max_size=4))])
    w, dw = draw_all([size] * 2)
    expected = w - dw * 0.1
    for start, stop in pairwise(cuts):
        take_step(w, dw, rule="sgd", settings=(0.1,), start=start, stop=stop, length=length)
    np.testing.assert_array_equal(w, expected)


# Without it

ROOT = Path(cs231n.__path__[0]).parent
NOT_BUILT = """
import sys
sys.modules["cs231n.kernels.optim_cython"] = None  # an import of it fails
import numpy as np
from cs231n import fast_optim
from cs231n.fast_optim import adam

assert fast_optim.take_steps is None
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
