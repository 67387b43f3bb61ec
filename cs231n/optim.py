"""Update rules: how a parameter moves, given its gradient.

Every rule has the form `update(w, dw, config=None) -> (next_w, config)`.

- w: a parameter, an array of any shape in float32 or float64
- dw: the gradient of the loss with respect to w, of the same shape
- config: a dictionary of the rule's settings and of its state (velocities, moments), one per parameter;
  settings that are missing take their defaults, and missing state starts at zero

next_w is a new array; w and dw stay as they are. config is brought up to date and returned, to be given to
the next step. The Solver uses `cs231n.fast_optim` where it is there: the same rules, computed in place.
"""

import math

import numpy as np

from cs231n.validation import in_dtype, require_integer, require_number, require_settings, require_shape

# What the config of each rule holds: its settings with their defaults, then its state, at first None.
SGD = {"learning_rate": 1e-2}
SGD_MOMENTUM = {"learning_rate": 1e-2, "momentum": 0.9, "velocity": None}
RMSPROP = {"learning_rate": 1e-2, "decay_rate": 0.99, "epsilon": 1e-8, "cache": None}
ADAM = {"learning_rate": 1e-3, "beta1": 0.9, "beta2": 0.999, "epsilon": 1e-8, "t": 0, "m": None, "v": None}
ADAMW = {**ADAM, "weight_decay": 1e-2}

# The range of each setting, and which of its bounds belong to it
RANGES = {
    "learning_rate": (0, math.inf, "left"),
    "momentum": (0, 1, "both"),
    "decay_rate": (0, 1, "both"),
    "beta1": (0, 1, "left"),
    "beta2": (0, 1, "left"),
    "epsilon": (0, math.inf, "left"),
    "weight_decay": (0, math.inf, "left"),
}


def sgd(w, dw, config=None):
    """Take a step of stochastic gradient descent: w - lr * dw. Settings: `learning_rate`, 1e-2."""
    w, dw, config = prepare(w, dw, config, SGD)
    next_w = w - config["learning_rate"] * dw
    return next_w, config


def sgd_momentum(w, dw, config=None):
    """Take a step of SGD with momentum: v = mu * v - lr * dw, then w + v.

    Settings: `learning_rate`, 1e-2; `momentum` mu, 0.9. State: `velocity` v. (Sutskever et al. 2013,
    https://proceedings.mlr.press/v28/sutskever13.html, equations 1 and 2.)
    """
    w, dw, config = prepare(w, dw, config, SGD_MOMENTUM)
    lr, mu = config["learning_rate"], config["momentum"]
    v = mu * config["velocity"] - lr * dw
    next_w = w + v
    config["velocity"] = v
    return next_w, config


def nesterov(w, dw, config=None):
    """Take a step of SGD with Nesterov's momentum, which looks ahead: w + mu * v - lr * dw, with the new v.

    Settings and state are those of `sgd_momentum`, and so is the velocity's update. Nesterov's gradient is
    that at the point to which the old velocity alone would lead; here w is that point all along.
    (Sutskever et al. 2013, https://proceedings.mlr.press/v28/sutskever13.html, equations 3 and 4; rewritten
    for that point by Bengio et al. 2013, https://arxiv.org/abs/1212.0901, equations 6 and 7.)
    """
    w, dw, config = prepare(w, dw, config, SGD_MOMENTUM)
    _, config = sgd_momentum(w, dw, config)  # for the velocity: its own step is not taken
    next_w = w - config["learning_rate"] * dw + config["momentum"] * config["velocity"]
    return next_w, config


def rmsprop(w, dw, config=None):
    """Take a step of RMSProp: divide by a running root mean square of each coordinate's gradients.

    s = rho * s + (1 - rho) * dw^2, then w - lr * dw / (sqrt(s) + eps). Settings: `learning_rate`, 1e-2;
    `decay_rate` rho, 0.99; `epsilon`, 1e-8. State: `cache` s. (Tieleman and Hinton 2012, Coursera
    "Neural Networks for Machine Learning", lecture 6.5.)
    """
    w, dw, config = prepare(w, dw, config, RMSPROP)
    lr, rho, eps = config["learning_rate"], config["decay_rate"], config["epsilon"]
    s = rho * config["cache"] + (1 - rho) * dw**2
    next_w = w - lr * dw / (np.sqrt(s) + eps)
    config["cache"] = s
    return next_w, config


def adam(w, dw, config=None):
    """Take a step of Adam: momentum and RMSProp together, each average corrected for its start at zero.

    t += 1, m = b1 * m + (1 - b1) * dw, v = b2 * v + (1 - b2) * dw^2, then
    w - lr * (m / (1 - b1^t)) / (sqrt(v / (1 - b2^t)) + eps). Settings: `learning_rate`, 1e-3; `beta1`,
    0.9; `beta2`, 0.999; `epsilon`, 1e-8. State: `m`, `v` and the step number `t`. (Kingma and Ba 2015,
    https://arxiv.org/abs/1412.6980, algorithm 1.)

    >>> w, config = adam(np.array([1.0, 1.0]), np.array([4.0, -0.1]), {"learning_rate": 0.5})
    >>> w.round(6), config["t"]
    (array([0.5, 1.5]), 1)
    """
    w, dw, config = prepare(w, dw, config, ADAM)
    lr, b1, b2, eps = config["learning_rate"], config["beta1"], config["beta2"], config["epsilon"]
    t = config["t"] + 1
    m = b1 * config["m"] + (1 - b1) * dw
    v = b2 * config["v"] + (1 - b2) * dw**2
    m_hat, v_hat = m / (1 - b1**t), v / (1 - b2**t)
    next_w = w - lr * m_hat / (np.sqrt(v_hat) + eps)
    config.update(t=t, m=m, v=v)
    return next_w, config


def adamw(w, dw, config=None):
    """Take a step of Adam and, apart from it, let the weights decay: minus lr * weight_decay * w.

    Settings and state: those of `adam`, and `weight_decay`, 1e-2. An L2 penalty in the loss would be divided
    by sqrt(v) with the rest of the gradient, so that weights with large gradients would hardly decay: leave
    the model's `reg` at 0. (Loshchilov and Hutter 2019, https://arxiv.org/abs/1711.05101, algorithm 2; as in
    PyTorch, the decay is multiplied by the learning rate.)
    """
    w, dw, config = prepare(w, dw, config, ADAMW)
    next_w, adams = adam(w, dw, {name: config[name] for name in ADAM})
    next_w = next_w - config["learning_rate"] * config["weight_decay"] * w
    config.update(adams)
    return next_w, config


def prepare(w, dw, config, entries):
    """Check the arguments of a rule. Return w, dw and config with every one of its `entries` filled in.

    Arrays are brought to the dtype of w and settings to Python's numbers, which leave float32 as it is.
    """
    if not isinstance(w, (np.ndarray, np.floating)) or w.dtype.kind != "f":
        raise ValueError(f"w must be an array of floats; got {getattr(w, 'dtype', type(w).__name__)}")
    dw = in_dtype("dw", dw, w.dtype)
    require_shape("dw", dw, w.shape, "that of w")
    config = {} if config is None else require_settings("config", config)
    for name in config:
        if name not in entries:
            raise ValueError(f"config has the unknown entry {name!r}; known are {', '.join(entries)}")
    for name, default in entries.items():
        if name in RANGES:
            config[name] = require_number(name, config.get(name, default), *RANGES[name])
        elif name == "t":
            config[name] = require_integer(name, config.get(name, default), 0)
        elif config.get(name) is None:
            config[name] = np.zeros(w.shape, w.dtype)
        else:
            entry = f"config[{name!r}]"
            config[name] = in_dtype(entry, config[name], w.dtype)
            require_shape(entry, config[name], w.shape, "that of w")
    return np.asanyarray(w), dw, config
