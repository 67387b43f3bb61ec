"""The update rules of `cs231n.optim`, fast: the same signatures and results, but computed in place.

next_w is w itself, and the arrays in config are updated too. Large arrays are visited a block at a time, so
that what one operation writes is still in the processor's cache when the next one reads it; after the first
call nothing of the size of w is allocated. Threads share very large arrays. Adam, where it was compiled, does
all its arithmetic in one pass instead.
"""

import math

import numpy as np

from cs231n.kernels.threads import COMPILED_UPDATE, NUMPY_UPDATE, is_worth_sharing, map_slices
from cs231n.optim import ADAM, ADAMW, RMSPROP, SGD, SGD_MOMENTUM, prepare

try:
    from cs231n.kernels.optim_cython import adam_step
except ImportError:  # not built, or for another Python
    adam_step = None

BLOCK = 2**15  # elements: the five float32 blocks that Adam works on take 0.6 MB together
THREAD_BLOCK = 2**18  # elements: larger, since threads wait for each other between two operations of NumPy
COMPILED_DTYPES = (np.float32, np.float64)


def sgd(w, dw, config=None):
    """Take the step of `cs231n.optim.sgd` in place."""
    w, dw, config = prepare(w, dw, config, SGD)
    learning_rate = config["learning_rate"]

    def move(w, dw, step):
        np.multiply(dw, learning_rate, out=step)
        w -= step

    _in_blocks(move, w, dw)
    return w, config


def sgd_momentum(w, dw, config=None):
    """Take the step of `cs231n.optim.sgd_momentum` in place."""
    w, dw, config = prepare(w, dw, config, SGD_MOMENTUM)
    learning_rate, momentum = config["learning_rate"], config["momentum"]

    def move(w, dw, v, step):
        np.multiply(dw, learning_rate, out=step)
        v *= momentum
        v -= step
        w += v

    _in_blocks(move, w, dw, config["velocity"])
    return w, config


def nesterov(w, dw, config=None):
    """Take the step of `cs231n.optim.nesterov` in place."""
    w, dw, config = prepare(w, dw, config, SGD_MOMENTUM)
    learning_rate, momentum = config["learning_rate"], config["momentum"]

    def move(w, dw, v, step):
        np.multiply(dw, learning_rate, out=step)
        w -= step
        v *= momentum
        v -= step
        np.multiply(v, momentum, out=step)
        w += step

    _in_blocks(move, w, dw, config["velocity"])
    return w, config


def rmsprop(w, dw, config=None):
    """Take the step of `cs231n.optim.rmsprop` in place."""
    w, dw, config = prepare(w, dw, config, RMSPROP)
    learning_rate, decay_rate, epsilon = config["learning_rate"], config["decay_rate"], config["epsilon"]

    def move(w, dw, s, step):
        _decay_towards_square(s, dw, decay_rate, step)
        np.sqrt(s, out=step)
        step += epsilon
        np.divide(dw, step, out=step)
        step *= learning_rate
        w -= step

    _in_blocks(move, w, dw, config["cache"])
    return w, config


def adam(w, dw, config=None):
    """Take the step of `cs231n.optim.adam` in place; in compiled code, where it can work on the arrays."""
    w, dw, config = prepare(w, dw, config, ADAM)
    return _adam(w, dw, config, remaining=1)


def adamw(w, dw, config=None):
    """Take the step of `cs231n.optim.adamw` in place; as `adam`, after w was multiplied by what remains."""
    w, dw, config = prepare(w, dw, config, ADAMW)
    return _adam(w, dw, config, remaining=1 - config["learning_rate"] * config["weight_decay"])


def _adam(w, dw, config, remaining):
    """Multiply w by `remaining` and take Adam's step, all in place; return w and config."""
    beta1, beta2 = config["beta1"], config["beta2"]
    config["t"] += 1
    # The correction of v is taken out of the root, into step size and epsilon: one pass over memory less.
    v_correction = math.sqrt(1 - beta2 ** config["t"])
    step_size = config["learning_rate"] * v_correction / (1 - beta1 ** config["t"])
    epsilon = config["epsilon"] * v_correction

    def shrink(w):
        if remaining != 1:
            w *= remaining

    def move(w, dw, m, v, step):
        shrink(w)
        np.multiply(dw, 1 - beta1, out=step)
        m *= beta1
        m += step
        _decay_towards_square(v, dw, beta2, step)
        np.sqrt(v, out=step)
        step += epsilon
        np.divide(m, step, out=step)
        step *= step_size
        w -= step

    def move_compiled(w, dw, m, v):
        shrink(w)
        adam_step(w, dw, m, v, beta1, beta2, epsilon, step_size)

    arrays = w, np.ascontiguousarray(dw).reshape(w.shape), config["m"], config["v"]
    if adam_step is not None and _are_plain(arrays):
        _at_once(move_compiled, arrays)
    else:
        _in_blocks(move, *arrays)
    return w, config


def _decay_towards_square(average, dw, decay, scratch):
    """Compute average = decay * average + (1 - decay) * dw^2 in place."""
    np.multiply(dw, dw, out=scratch)
    scratch *= 1 - decay
    average *= decay
    average += scratch


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


def _at_once(move, arrays):
    """Call move with a flat view of each array; for large arrays, on every thread with a part of each."""
    flat = [array.reshape(-1) for array in arrays]
    if is_worth_sharing(COMPILED_UPDATE * flat[0].size):
        map_slices(lambda part: move(*(array[part] for array in flat)), flat[0].size)
    else:
        move(*flat)


def _in_blocks(move, w, dw, *state):
    """Call move(w, dw, *state, scratch) with views of one block after another and a scratch array as long.

    Arrays that have no flat view (slices, transposes) come as one block.
    """
    arrays = w, dw, *state
    if w.size <= BLOCK or not all(array.flags.c_contiguous for array in arrays):
        move(*arrays, np.empty(w.shape, w.dtype))
        return
    flat = [array.reshape(-1) for array in arrays]
    work = NUMPY_UPDATE * w.size
    block = THREAD_BLOCK if is_worth_sharing(work) else BLOCK

    def move_part(part):
        scratch = np.empty(block, w.dtype)
        for start in range(part.start, part.stop, block):
            stop = min(start + block, part.stop)
            move(*(array[start:stop] for array in flat), scratch[: stop - start])

    map_slices(move_part, w.size, work=work)
