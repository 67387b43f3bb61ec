"""The update rules of `cs231n.optim`, fast: the same signatures and results, but computed in place.

next_w is w itself, and the arrays in config are updated too; after the first call nothing of the size of w
is allocated. Compiled code takes a step in one pass over memory, and `update_all` takes that of all
parameters of a model in one call. Compiled code takes denormal numbers for 0: averages of a gradient that has
become 0 decay into them, and a processor needs up to a hundred times as long for each.

Where nothing was compiled NumPy computes the same. Large arrays are then visited a block at a time, so that
what one operation writes is still in the processor's cache when the next one reads it. Threads share very
large arrays.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from cs231n.kernels import COMPILED_DTYPES
from cs231n.kernels.threads import COMPILED_UPDATE, NUMPY_UPDATE, is_worth_sharing, map_slices
from cs231n.optim import ADAM, ADAMW, RMSPROP, SGD, SGD_MOMENTUM, prepare

try:
    from cs231n.kernels.optim_cython import take_steps
except ImportError:  # not built, or for another Python
    take_steps = None

BLOCK = 2**15  # elements: the five float32 blocks that Adam works on take 0.6 MB together
THREAD_BLOCK = 2**18  # elements: larger, since threads wait for each other between two operations of NumPy


def sgd(w, dw, config=None):
    """Take the step of `cs231n.optim.sgd` in place."""
    return _update(sgd, w, dw, config)


def sgd_momentum(w, dw, config=None):
    """Take the step of `cs231n.optim.sgd_momentum` in place."""
    return _update(sgd_momentum, w, dw, config)


def nesterov(w, dw, config=None):
    """Take the step of `cs231n.optim.nesterov` in place."""
    return _update(nesterov, w, dw, config)


def rmsprop(w, dw, config=None):
    """Take the step of `cs231n.optim.rmsprop` in place."""
    return _update(rmsprop, w, dw, config)


def adam(w, dw, config=None):
    """Take the step of `cs231n.optim.adam` in place."""
    return _update(adam, w, dw, config)


def adamw(w, dw, config=None):
    """Take the step of `cs231n.optim.adamw` in place: w is multiplied by what remains, then `adam` steps."""
    return _update(adamw, w, dw, config)


def update_all(rule, params, grads, configs):
    """Take a step of a rule of this module, a key of `RULES`, on all parameters of a model at once.

    Everything is that of the rule, called for one parameter after the other; but if an argument of one of
    them does not fit, which raises ValueError, none is updated.

    - params, grads, configs: dictionaries; for each name in params a w, its dw and its config. params and
      configs are brought up to date.
    """
    entries = RULES[rule].entries
    prepared = {name: prepare(w, grads[name], configs[name], entries) for name, w in params.items()}
    _take_steps(RULES[rule], list(prepared.values()))
    for name, (w, _, config) in prepared.items():
        params[name], configs[name] = w, config


def _update(rule, w, dw, config):
    w, dw, config = prepare(w, dw, config, RULES[rule].entries)
    _take_steps(RULES[rule], [(w, dw, config)])
    return w, config


def _take_steps(rule, prepared):
    """Take the step of every (w, dw, config), as `prepare` returned them, in place."""
    steps = []
    for w, dw, config in prepared:
        arrays = w, np.ascontiguousarray(dw).reshape(w.shape), *(config[name] for name in rule.state)
        steps.append((rule.settings(config), arrays))
    if take_steps is None or not all(_are_plain(arrays) for _, arrays in steps):
        for settings, arrays in steps:
            _in_blocks(rule.move, settings, *arrays)
        return
    sizes = [arrays[0].size for _, arrays in steps]
    if not is_worth_sharing(COMPILED_UPDATE * sum(sizes)):
        take_steps(rule.compiled, steps)
        return
    length = max(*sizes, 1)
    # each thread has its part of every parameter: two names may stand for one array
    map_slices(lambda part: take_steps(rule.compiled, steps, part.start, part.stop, length), length)


def _are_plain(arrays):
    """Return whether compiled code can work on all arrays: of one of its dtypes, without gaps in memory."""
    dtype = arrays[0].dtype
    return dtype in COMPILED_DTYPES and all(
        type(array) is np.ndarray
        and array.dtype == dtype
        and array.flags.c_contiguous
        and array.flags.aligned
        for array in arrays
    )


def _in_blocks(move, settings, w, dw, *state):
    """Call move(settings, w, dw, *state, scratch) with views of one block after another, scratch as long.

    Arrays that have no flat view (slices, transposes) come as one block.
    """
    arrays = w, dw, *state
    if w.size <= BLOCK or not all(array.flags.c_contiguous for array in arrays):
        move(settings, *arrays, np.empty(w.shape, w.dtype))
        return
    flat = [array.reshape(-1) for array in arrays]
    work = NUMPY_UPDATE * w.size
    block = THREAD_BLOCK if is_worth_sharing(work) else BLOCK

    def move_part(part):
        scratch = np.empty(block, w.dtype)
        for start in range(part.start, part.stop, block):
            stop = min(start + block, part.stop)
            move(settings, *(array[start:stop] for array in flat), scratch[: stop - start])

    map_slices(move_part, w.size, work=work)


# What NumPy does for each rule, and compiled code in the same order, see kernels/c/update_rules.h. `step` is
# an array to work in.


def _move_sgd(settings, w, dw, step):
    (learning_rate,) = settings
    np.multiply(dw, learning_rate, out=step)
    w -= step


def _move_sgd_momentum(settings, w, dw, v, step):
    learning_rate, momentum = settings
    np.multiply(dw, learning_rate, out=step)
    v *= momentum
    v -= step
    w += v


def _move_nesterov(settings, w, dw, v, step):
    learning_rate, momentum = settings
    np.multiply(dw, learning_rate, out=step)
    w -= step
    v *= momentum
    v -= step
    np.multiply(v, momentum, out=step)
    w += step


def _move_rmsprop(settings, w, dw, s, step):
    learning_rate, decay_rate, epsilon = settings
    _decay_towards_square(s, dw, decay_rate, step)
    np.sqrt(s, out=step)
    step += epsilon
    np.divide(dw, step, out=step)
    step *= learning_rate
    w -= step


def _move_adam(settings, w, dw, m, v, step):
    step_size, beta1, beta2, epsilon, remaining = settings
    if remaining != 1:
        w *= remaining
    np.multiply(dw, 1 - beta1, out=step)
    m *= beta1
    m += step
    _decay_towards_square(v, dw, beta2, step)
    np.sqrt(v, out=step)
    step += epsilon
    np.divide(m, step, out=step)
    step *= step_size
    w -= step


def _decay_towards_square(average, dw, decay, scratch):
    """Compute average = decay * average + (1 - decay) * dw^2 in place."""
    np.multiply(dw, dw, out=scratch)
    scratch *= 1 - decay
    average *= decay
    average += scratch


def _corrected(config):
    """Count a step of Adam; return its settings, corrected for the start of its averages at zero.

    The correction of v is taken out of the root, into step size and epsilon: one pass over memory less.
    """
    config["t"] += 1
    beta1, beta2, learning_rate = config["beta1"], config["beta2"], config["learning_rate"]
    v_correction = math.sqrt(1 - beta2 ** config["t"])
    step_size = learning_rate * v_correction / (1 - beta1 ** config["t"])
    remaining = 1 - learning_rate * config.get("weight_decay", 0.0)
    return step_size, beta1, beta2, config["epsilon"] * v_correction, remaining


def _as_they_are(*names):
    """Return a function that returns the settings of these names."""
    return lambda config: tuple(config[name] for name in names)


@dataclass(frozen=True)
class _Rule:
    """What the steps of a rule are made of."""

    compiled: str  # the name of the compiled rule
    entries: dict[str, Any]  # of the config
    state: tuple[str, ...]  # those of the entries that are arrays
    settings: Callable[[dict[str, Any]], tuple[float, ...]]  # those of a step, given the config
    move: Callable[..., None]  # takes the step in NumPy


_OF_MOMENTUM = _as_they_are("learning_rate", "momentum")
_OF_RMSPROP = _as_they_are("learning_rate", "decay_rate", "epsilon")
RULES = {
    sgd: _Rule("sgd", SGD, (), _as_they_are("learning_rate"), _move_sgd),
    sgd_momentum: _Rule("sgd_momentum", SGD_MOMENTUM, ("velocity",), _OF_MOMENTUM, _move_sgd_momentum),
    nesterov: _Rule("nesterov", SGD_MOMENTUM, ("velocity",), _OF_MOMENTUM, _move_nesterov),
    rmsprop: _Rule("rmsprop", RMSPROP, ("cache",), _OF_RMSPROP, _move_rmsprop),
    adam: _Rule("adam", ADAM, ("m", "v"), _corrected, _move_adam),
    adamw: _Rule("adam", ADAMW, ("m", "v"), _corrected, _move_adam),
}
