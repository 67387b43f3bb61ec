"""Update rules: how a parameter moves, given its gradient.

Every rule has the form `update(w, dw, config=None) -> (next_w, config)`.

- w: a parameter, an array of any shape in float32 or float64
- dw: the gradient of the loss with respect to w, of the same shape
- config: a dictionary of the rule's settings and of its state (velocities, moments), one per parameter;
  settings that are missing are filled in with their defaults and state with zeros

For speed w and config, with the arrays in it, are updated in place: next_w is w. Large arrays are
visited a block at a time, so that what one step of the arithmetic writes is still in the processor's
cache when the next one reads it; nothing of the size of w is allocated after the first call. Threads
share the very large ones. Adam, where it was compiled, does all its arithmetic in one pass instead.
"""

import math

import numpy as np

from cs231n.kernels.threads import map_slices
from cs231n.validation import require_number, require_shape

try:
    from cs231n.kernels.optim_cython import adam_step
except ImportError:  # not built, or for another Python
    adam_step = None

BLOCK = 2**15  # elements: the five float32 blocks that Adam works on take 0.6 MB together
VERY_LARGE = 2**21  # elements from which on threads share an array
THREAD_BLOCK = 2**18  # larger, as threads wait for each other between any two operations of NumPy
COMPILED_DTYPES = (np.float32, np.float64)
LARGE = 2**20  # elements from which on threads share an array in compiled code


def sgd(w, dw, config=None):
    """Stochastic gradient descent: w -= lr * dw. Settings: `learning_rate`, 1e-2."""
    config = _fill_in(w, dw, config, {"learning_rate": 1e-2})
    learning_rate = require_number("learning_rate", config["learning_rate"], 0, math.inf, closed="left")

    def move(w, dw, step):
        np.multiply(dw, learning_rate, out=step)
        w -= step

    _in_blocks(move, w, dw)
    return w, config


def sgd_momentum(w, dw, config=None):
    """SGD with momentum: v = mu * v - lr * dw, w += v.

    Settings: `learning_rate`, 1e-2; `momentum` mu, 0.9. State: `velocity` v. (Sutskever et al. 2013,
    https://proceedings.mlr.press/v28/sutskever13.html, equations 1 and 2.)
    """
    settings = {"learning_rate": 1e-2, "momentum": 0.9}
    config = _fill_in(w, dw, config, settings, state=("velocity",))
    learning_rate = require_number("learning_rate", config["learning_rate"], 0, math.inf, closed="left")
    momentum = require_number("momentum", config["momentum"], 0, 1)

    def move(w, dw, v, step):
        np.multiply(dw, learning_rate, out=step)
        v *= momentum
        v -= step
        w += v

    _in_blocks(move, w, dw, config["velocity"])
    return w, config


def rmsprop(w, dw, config=None):
    """RMSProp: each coordinate's step is divided by a running root mean square of its gradients.

    s = rho * s + (1 - rho) * dw^2, w -= lr * dw / (sqrt(s) + eps). Settings: `learning_rate`, 1e-2;
    `decay_rate` rho, 0.99; `epsilon`, 1e-8. State: `cache` s. (Tieleman and Hinton 2012, Coursera
    "Neural Networks for Machine Learning", lecture 6.5.)
    """
    settings = {"learning_rate": 1e-2, "decay_rate": 0.99, "epsilon": 1e-8}
    config = _fill_in(w, dw, config, settings, state=("cache",))
    learning_rate = require_number("learning_rate", config["learning_rate"], 0, math.inf, closed="left")
    decay_rate = require_number("decay_rate", config["decay_rate"], 0, 1)
    epsilon = require_number("epsilon", config["epsilon"], 0, math.inf, closed="left")

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
    """Adam: momentum and RMSProp together, each average corrected for having started at zero.

    t += 1, m = b1 * m + (1 - b1) * dw, v = b2 * v + (1 - b2) * dw^2,
    w -= lr * (m / (1 - b1^t)) / (sqrt(v / (1 - b2^t)) + eps). Settings: `learning_rate`, 1e-3; `beta1`,
    0.9; `beta2`, 0.999; `epsilon`, 1e-8. State: `m`, `v` and the step number `t`. (Kingma and Ba 2015,
    https://arxiv.org/abs/1412.6980, algorithm 1.)
    """
    settings = {"learning_rate": 1e-3, "beta1": 0.9, "beta2": 0.999, "epsilon": 1e-8, "t": 0}
    config = _fill_in(w, dw, config, settings, state=("m", "v"))
    learning_rate = require_number("learning_rate", config["learning_rate"], 0, math.inf, closed="left")
    beta1 = require_number("beta1", config["beta1"], 0, 1, closed="left")
    beta2 = require_number("beta2", config["beta2"], 0, 1, closed="left")
    epsilon = require_number("epsilon", config["epsilon"], 0, math.inf, closed="left")
    config["t"] += 1
    # The correction of v is taken out of the root, into step size and epsilon: one pass over memory less.
    v_correction = math.sqrt(1 - beta2 ** config["t"])
    step_size = learning_rate * v_correction / (1 - beta1 ** config["t"])
    epsilon *= v_correction

    def move(w, dw, m, v, step):
        np.multiply(dw, 1 - beta1, out=step)
        m *= beta1
        m += step
        _decay_towards_square(v, dw, beta2, step)
        np.sqrt(v, out=step)
        step += epsilon
        np.divide(m, step, out=step)
        step *= step_size
        w -= step

    arrays = w, np.ascontiguousarray(dw, dtype=w.dtype).reshape(w.shape), config["m"], config["v"]
    if adam_step is not None and _are_plain(arrays):
        _at_once(lambda *flat: adam_step(*flat, beta1, beta2, epsilon, step_size), arrays)
    else:
        _in_blocks(move, *arrays)
    return w, config


def _decay_towards_square(average, dw, decay, scratch):
    """average = decay * average + (1 - decay) * dw^2, in place."""
    np.multiply(dw, dw, out=scratch)
    scratch *= 1 - decay
    average *= decay
    average += scratch


def _fill_in(w, dw, config, settings, state=()):
    """`config` with every missing setting at its default and every missing state array at zero."""
    if not isinstance(w, np.ndarray) or w.dtype.kind != "f":
        raise ValueError(f"w must be an array of floats; got {getattr(w, 'dtype', type(w).__name__)}")
    require_shape("dw", np.asarray(dw), w.shape, "that of w")
    config = {} if config is None else config
    for name in config:
        if name not in settings and name not in state:
            known = ", ".join([*settings, *state])
            raise ValueError(f"config has the unknown entry {name!r}; known are {known}")
    for name, default in settings.items():
        config.setdefault(name, default)
    for name in state:
        if config.get(name) is None:
            config[name] = np.zeros(w.shape, w.dtype)
        require_shape(f"config[{name!r}]", config[name], w.shape, "that of w")
    return config


def _are_plain(arrays):
    """Whether compiled code can work on all of these: arrays of one of its dtypes, without gaps in memory."""
    dtype = arrays[0].dtype
    return dtype in COMPILED_DTYPES and all(
        type(array) is np.ndarray
        and array.dtype == dtype
        and array.flags.c_contiguous
        and array.flags.aligned
        for array in arrays
    )


def _at_once(move, arrays):
    """Call move with a flat view of each array; if they are large, on every thread with a part of each."""
    flat = [array.reshape(-1) for array in arrays]
    if flat[0].size < LARGE:
        move(*flat)
    else:
        map_slices(lambda part: move(*(array[part] for array in flat)), flat[0].size)


def _in_blocks(move, w, dw, *state):
    """Call move(w, dw, *state, scratch) with views of one block after another and a scratch array as long.

    Arrays that have no flat view (slices, transposes) come as one block.
    """
    arrays = [w, np.asarray(dw, dtype=w.dtype), *state]
    if w.size <= BLOCK or not all(array.flags.c_contiguous for array in arrays):
        move(*arrays, np.empty(w.shape, w.dtype))
        return
    arrays = [array.reshape(-1) for array in arrays]

    def move_part(part, block):
        scratch = np.empty(block, w.dtype)
        for start in range(part.start, part.stop, block):
            stop = min(start + block, part.stop)
            move(*(array[start:stop] for array in arrays), scratch[: stop - start])

    if w.size < VERY_LARGE:
        move_part(slice(0, w.size), BLOCK)
    else:
        map_slices(lambda part: move_part(part, THREAD_BLOCK), w.size)
