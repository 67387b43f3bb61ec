"""Checks of the update rules: several steps, a step in mid-training, and a step with other settings."""

from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from course.grading.compare import FaultError, agree, agree_in_value, items
from course.grading.subject import Check, Checks, Subject
from cs231n import optim

MODULE = "cs231n.optim"
STATES: dict[str, tuple[str, ...]] = {
    "sgd_momentum": ("velocity",),
    "rmsprop": ("cache",),
    "adam": ("m", "v"),
}
SETTINGS = {
    "sgd_momentum": {"learning_rate": 0.05, "momentum": 0.7},
    "rmsprop": {"learning_rate": 0.05, "decay_rate": 0.8, "epsilon": 1e-3},
    "adam": {"learning_rate": 0.05, "beta1": 0.7, "beta2": 0.8, "epsilon": 1e-3},
}
Config = dict[str, Any]


@dataclass(frozen=True)
class OneStep:
    """Checks a step in mid-training: the rule's state is not zero."""

    name: str
    settings: dict[str, float] = field(default_factory=dict)

    def __call__(self, subject: Subject) -> None:
        w, dw = _draw(subject)
        config: Config = {key: np.abs(subject.draw(*w.shape)) for key in STATES[self.name]}
        if self.name == "adam":
            config["t"] = subject.size(3, 9)
        config |= self.settings
        expected, expected_config = getattr(optim, self.name)(w.copy(), dw, deepcopy(config))
        actual, actual_config = _step(subject, self.name, w, dw, config)
        agree_in_value("the updated w", actual, expected)
        counter = ("t",) if self.name == "adam" else ()
        for key in (*STATES[self.name], *counter):
            agree_in_value(f"config['{key}']", actual_config.get(key), expected_config[key])


@dataclass(frozen=True)
class ThreeSteps:
    """Checks three steps: the first without a config, the others with the config that was returned."""

    name: str

    def __call__(self, subject: Subject) -> None:
        w, _ = _draw(subject)
        expected, config, expected_config = w.copy(), None, None
        for _ in range(3):
            dw = subject.draw(*w.shape)
            w, config = _step(subject, self.name, w, dw, config)
            expected, expected_config = getattr(optim, self.name)(expected, dw, expected_config)
            agree_in_value("the updated w", w, expected)


@dataclass(frozen=True)
class KeepsFloat32:
    """Checks that a float32 w stays float32."""

    name: str

    def __call__(self, subject: Subject) -> None:
        w, dw = _draw(subject, np.float32)
        expected, _ = getattr(optim, self.name)(w.copy(), dw, None)
        agree("the updated w", _step(subject, self.name, w, dw, None)[0], expected)


def _draw(subject: Subject, dtype: DTypeLike = np.float64) -> tuple[NDArray[Any], NDArray[Any]]:
    shape = subject.size(3, 6), subject.size(3, 6)
    return subject.draw(*shape, dtype=dtype), subject.draw(*shape, dtype=dtype)


def _step(
    subject: Subject, name: str, w: NDArray[Any], dw: NDArray[Any], config: Config | None
) -> tuple[Any, Config]:
    result = subject.call(f"{MODULE}:{name}", w, dw, config)["result"]
    next_w, next_config = items(name, result, 2)
    if not isinstance(next_config, dict):
        raise FaultError(f"{name} should return its config, a dictionary, as its second value")
    return next_w, next_config


def rule_checks(name: str) -> list[tuple[str, Check]]:
    """Return the checks of an update rule."""
    return [
        ("values of a step", OneStep(name)),
        ("three steps from no config", ThreeSteps(name)),
        ("other settings", OneStep(name, SETTINGS[name])),
        ("dtype: float32 stays float32", KeepsFloat32(name)),
    ]


RULE_CHECKS: Checks = {name: rule_checks(name) for name in STATES}
