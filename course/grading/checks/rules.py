"""Checks of the update rules: several steps, from the reference's state and with other settings."""

from copy import deepcopy

import numpy as np

from course.grading.compare import FaultError, agree, agree_in_value, items
from cs231n import optim

MODULE = "cs231n.optim"
STATES = {"sgd_momentum": ("velocity",), "rmsprop": ("cache",), "adam": ("m", "v")}
SETTINGS = {
    "sgd_momentum": {"learning_rate": 0.05, "momentum": 0.7},
    "rmsprop": {"learning_rate": 0.05, "decay_rate": 0.8, "epsilon": 1e-3},
    "adam": {"learning_rate": 0.05, "beta1": 0.7, "beta2": 0.8, "epsilon": 1e-3},
}


def _draw(subject, dtype=np.float64):
    shape = subject.size(3, 6), subject.size(3, 6)
    return subject.draw(*shape, dtype=dtype), subject.draw(*shape, dtype=dtype)


def _started(subject, name):
    """A configuration in mid-training: its state is not zero."""
    w, dw = _draw(subject)
    config = {key: np.abs(subject.draw(*w.shape)) for key in STATES[name]}
    return w, dw, config | ({"t": subject.size(3, 9)} if name == "adam" else {})


def _one_step(name, settings):
    def check(subject):
        w, dw, config = _started(subject, name)
        _compare_step(subject, name, w, dw, config | settings)

    return check


def _three_steps(name):
    """From no configuration at all, each step with what the one before returned."""

    def check(subject):
        w, _ = _draw(subject)
        expected, config, expected_config = w.copy(), None, None
        for _ in range(3):
            dw = subject.draw(*w.shape)
            w, config = _step(subject, name, w, dw, config)
            expected, expected_config = getattr(optim, name)(expected, dw, expected_config)
            agree_in_value("the updated w", w, expected)

    return check


def _keeps_float32(name):
    def check(subject):
        w, dw = _draw(subject, np.float32)
        expected, _ = getattr(optim, name)(w.copy(), dw, None)
        agree("the updated w", _step(subject, name, w, dw, None)[0], expected)

    return check


def _compare_step(subject, name, w, dw, config):
    expected, expected_config = getattr(optim, name)(w.copy(), dw, deepcopy(config))
    actual, actual_config = _step(subject, name, w, dw, config)
    agree_in_value("the updated w", actual, expected)
    for key in (*STATES[name], *(["t"] if name == "adam" else [])):
        agree_in_value(f"config['{key}']", actual_config.get(key), expected_config[key])


def _step(subject, name, w, dw, config):
    result = subject.call(f"{MODULE}:{name}", w, dw, config)["result"]
    next_w, next_config = items(name, result, 2)
    if not isinstance(next_config, dict):
        raise FaultError(f"{name} should return its config, a dictionary, as its second value")
    return next_w, next_config


RULE_CHECKS = {
    name: [
        ("values of a step", _one_step(name, {})),
        ("three steps from no config", _three_steps(name)),
        ("other settings", _one_step(name, SETTINGS[name])),
        ("dtype: float32 stays float32", _keeps_float32(name)),
    ]
    for name in STATES
}
