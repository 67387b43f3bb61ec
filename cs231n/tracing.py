"""Look inside a network while it trains: how large its signals, gradients and steps are, layer by layer.

A trace watches the calls of the layers' functions, so it works for every model of the Solver's contract that
is made of them: also for one that a learner wrote.
"""

import re
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from cs231n.validation import require_integer

__all__ = ["Trace", "trace"]

LAYERS = {"cs231n.layers", "cs231n.fast_layers", "cs231n.compiled_layers"}
PASS = re.compile(r"([a-z]\w*?)_(forward|backward)")  # affine_forward, conv_backward_fast
Array = NDArray[Any]
Seen = tuple[str, Array]  # what a layer is and the output, or the upstream gradient, of one of its calls


class Trainer(Protocol):
    """What a trace needs of a Solver."""

    model: Any

    def _step(self) -> None: ...


@dataclass(frozen=True)
class Trace:
    """What was seen in S training steps of a network with L layers and P parameters.

    - steps (S,): the number of each step, counted from 0
    - layers (L,): such as "affine 1" and "relu 1", in the order of the forward pass
    - signals (S, L): the root mean square of each layer's output
    - gradients (S, L): the root mean square of the loss's gradient with respect to that output
    - dead (S, L): the share of a ReLU's units, or channels, that are 0 for the whole minibatch; else NaN
    - params (P,): the names of the parameters
    - updates (S, P): the root mean square of a parameter's step over that of its values before; NaN if those
      are 0
    """

    steps: NDArray[np.int64]
    layers: tuple[str, ...]
    signals: NDArray[np.float64]
    gradients: NDArray[np.float64]
    dead: NDArray[np.float64]
    params: tuple[str, ...]
    updates: NDArray[np.float64]


def trace(solver: Trainer, steps: int, every: int = 1) -> Trace:
    """Take training steps, and look at the first and at each `every`-th after it.

    The steps are those of `solver.train()`, to the bit, but no epoch ends and nothing is printed.

    - solver: a Solver; it may be in the middle of its training
    - steps, every: integers, at least 1

    ValueError if the backward pass does not run the layers of the forward pass in reverse.
    """
    require_integer("steps", steps, 1)
    require_integer("every", every, 1)
    params = solver.model.params
    rows = []
    for step in range(steps):
        if step % every:
            solver._step()
            continue
        before = {name: param.copy() for name, param in params.items()}
        with _watched() as (outputs, upstream):
            solver._step()
        layers = _numbered([kind for kind, _ in outputs])
        rows.append(
            (step, *_sizes(outputs, upstream), [_update(before[name], params[name]) for name in params])
        )
    numbers, signals, gradients, dead, updates = map(np.array, zip(*rows, strict=True))
    return Trace(numbers, layers, signals, gradients, dead, tuple(params), updates)


@contextmanager
def _watched() -> Iterator[tuple[list[Seen], list[Seen]]]:
    """Yield two lists that grow with every call of a layer: outputs, and gradients that backward gets.

    A layer that another layer calls is part of that one.
    """
    outputs: list[Seen] = []
    upstream: list[Seen] = []
    depth = 0

    def watch(frame: FrameType, event: str, value: Any) -> None:
        nonlocal depth
        code = frame.f_code
        if event not in ("call", "return") or frame.f_globals.get("__name__") not in LAYERS:
            return
        if not (name := PASS.match(code.co_name)):
            return
        kind, direction = name.groups()
        if event == "return":
            depth -= 1
            if depth == 0 and direction == "forward" and value is not None:
                outputs.append((kind, value[0]))
            return
        if depth == 0 and direction == "backward":
            upstream.append((kind, frame.f_locals[code.co_varnames[0]]))
        depth += 1

    profiler = sys.getprofile()
    sys.setprofile(watch)
    try:
        yield outputs, upstream
    finally:
        sys.setprofile(profiler)


def _numbered(kinds: list[str]) -> tuple[str, ...]:
    """Return names of layers, each with its number among those of its kind: affine 1, relu 1, affine 2."""
    seen: Counter[str] = Counter()
    names = []
    for kind in kinds:
        seen[kind] += 1
        names.append(f"{kind} {seen[kind]}")
    return tuple(names)


def _sizes(outputs: list[Seen], upstream: list[Seen]) -> tuple[list[float], list[float], list[float]]:
    """Return the size of every layer's output and of its gradient, and the share of its dead units."""
    forward = [kind for kind, _ in outputs]
    backward = [kind for kind, _ in reversed(upstream)]
    if forward != backward:
        raise ValueError(
            "the backward pass must run the layers of the forward pass in reverse; "
            f"got {', '.join(forward)} forward and, in reverse, {', '.join(backward)} backward"
        )
    signals = [_rms(out) for _, out in outputs]
    gradients = [_rms(dout) for _, dout in reversed(upstream)]
    return signals, gradients, [_dead(out) if kind == "relu" else np.nan for kind, out in outputs]


def _dead(out: Array) -> float:
    """Return the share of units, or channels, of out (N, C, ...) that are 0 everywhere."""
    others = tuple(axis for axis in range(out.ndim) if axis != 1)
    return float(np.mean(~out.any(axis=others)))


def _update(before: Array, after: Array) -> float:
    """Return how large a parameter's step was, beside its values before the step."""
    size = _rms(before)
    return _rms(after - before) / size if size else np.nan


def _rms(values: Array) -> float:
    return float(np.sqrt(np.mean(np.square(values, dtype=np.float64))))
