"""Which update rules a Solver finds by name, and how it takes a function in place of one.

By name: every rule of `cs231n.optim`, those that are added there too, in its fast form if there is one.
"""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cs231n import optim
from cs231n.validation import require_choice, require_function, require_shape

try:
    from cs231n import fast_optim
except ImportError:  # not in the learners' version, whose Solver uses the rules that they write
    fast_optim = optim  # type: ignore[misc]

Array = NDArray[Any]
Config = dict[str, Any]
UpdateRule = Callable[[Array, Array, Config], tuple[Array, Config]]
RETURNED = "(next_w, config)"
FORM = f"(w, dw, config) -> {RETURNED}"


def rules_by_name() -> dict[str, UpdateRule]:
    """Return the rules that have a name: those of `cs231n.optim`, in their fast form if there is one."""
    return _rules_in(optim) | _rules_in(fast_optim)


def _rules_in(module: ModuleType) -> dict[str, UpdateRule]:
    """Return the public functions that a module defines and that can be called with (w, dw, config)."""
    own = {name: value for name, value in vars(module).items() if inspect.isfunction(value)}
    return {
        name: function
        for name, function in own.items()
        if function.__module__ == module.__name__ and not name.startswith("_") and _takes_three(function)
    }


def _takes_three(function: Callable[..., Any]) -> bool:
    """Return whether a function can be called with three arguments, as far as it tells."""
    try:
        inspect.signature(function).bind(None, None, None)
    except TypeError:
        return False
    except ValueError:  # a function in C that does not tell
        return True
    return True


@dataclass(frozen=True)
class OwnRule:
    """A function of somebody's own as an update rule: what it returns is checked and tidied.

    Parameters keep their dtype. Numbers in the config become Python's, as which a checkpoint gives them back:
    NumPy computes with its own scalars in another precision, and a resumed run has to end to the bit.
    """

    function: UpdateRule

    def __call__(self, w: Array, dw: Array, config: Config) -> tuple[Array, Config]:
        """Return what the function returns, a parameter and a config; ValueError for anything else."""
        returned: object = self.function(w, dw, config)
        name = name_of(self.function)
        if not (isinstance(returned, tuple) and len(returned) == 2 and isinstance(returned[1], dict)):
            raise ValueError(
                f"the update rule {name} must return {RETURNED}, an array and a dictionary; "
                f"got {type(returned).__name__}"
            )
        next_w = np.asarray(returned[0], dtype=w.dtype)
        require_shape(f"next_w of the update rule {name}", next_w, w.shape, "that of w")
        return next_w, {name: _plain(value) for name, value in returned[1].items()}


def require_update_rule(update_rule: str | UpdateRule) -> None:
    """Raise ValueError unless it is the name of a rule or a function of the rules' form."""
    if isinstance(update_rule, str):
        require_choice("update_rule", update_rule, rules_by_name())
        return
    others = f"one of {', '.join(map(repr, rules_by_name()))} or "
    require_function("update_rule", update_rule, FORM, others)
    if not _takes_three(update_rule):
        raise ValueError(
            f"update_rule must be {others}a function {FORM}; {name_of(update_rule)} takes other arguments"
        )


def find_rule(update_rule: str | UpdateRule) -> UpdateRule:
    """Return the rule of this name, or a function of somebody's own as a rule."""
    if not isinstance(update_rule, str):
        return OwnRule(update_rule)
    # Looked up at each step, so that a rule that is edited while a notebook runs takes effect.
    rule: UpdateRule = getattr(fast_optim, update_rule, None) or getattr(optim, update_rule)
    return rule


def update_all(
    update_rule: str | UpdateRule,
    params: dict[str, Array],
    grads: Mapping[str, Array],
    configs: dict[str, Config],
) -> None:
    """Take a step on every parameter: in one call where the rule has a fast form, or else one by one.

    - grads, configs: the gradient of each parameter and its config; params and configs are brought up to date
    """
    rule = find_rule(update_rule)
    if isinstance(update_rule, str) and rule in getattr(fast_optim, "RULES", {}):
        fast_optim.update_all(rule, params, grads, configs)
        return
    for name, w in params.items():
        params[name], configs[name] = rule(w, grads[name], configs[name])


def name_of(update_rule: str | UpdateRule) -> str:
    """Return what messages call a rule."""
    if isinstance(update_rule, str):
        return update_rule
    return str(getattr(update_rule, "__name__", type(update_rule).__name__))


def default_learning_rate(update_rule: str | UpdateRule) -> float | None:
    """Return the learning rate that a rule fills in where config has none; None if it fills in none."""
    _, config = find_rule(update_rule)(np.zeros(1), np.zeros(1), {})
    rate = config.get("learning_rate")
    return None if rate is None else float(rate)


def _plain(value: Any) -> Any:
    """Return NumPy's scalars and arrays without axes as Python's numbers, and all else as it is."""
    return value.item() if isinstance(value, (np.generic, np.ndarray)) and value.ndim == 0 else value
