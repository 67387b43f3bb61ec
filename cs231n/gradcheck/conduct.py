"""Check how a layer behaves, apart from its values: what it returns, modifies, caches and draws."""

import traceback
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cs231n.gradcheck.diagnosis.causes import Cause, Kind
from cs231n.gradcheck.report import Report
from cs231n.gradcheck.values import (
    Floats,
    as_list,
    equal,
    float64_copy,
    is_numbers,
    message_of,
    private_copy,
)

NOT_FINITE = "Look for a division by zero, a log of zero or an overflow in exp."
COPY = "Write into a copy, or into a new array."
SEED = (
    "If it draws random numbers, fix them with a seed; if it keeps a state between calls, check without it."
)
COARSE = "Compute in the dtype of the arguments: look for astype(np.float32) and dtype=np.float32."
CHANGED = "its values are different after the call"


@dataclass(frozen=True)
class Run:
    """What one forward and backward pass returned, and the upstream gradient between the two."""

    out: Floats
    dout: Floats
    grads: list[Any]


def run_once(
    forward: Callable[..., Any],
    backward: Callable[..., Any],
    inputs: dict[str, Floats],
    report: Report,
    rng: np.random.Generator,
) -> Run | None:
    """Run forward and backward, and add what is wrong with the layer as a whole to the report.

    Return None if there is nothing to compare. The functions get copies: the inputs stay as they are.
    """
    result = _run_forward(forward, inputs, report)
    if result is None:
        return None
    out, cache = result
    dout = rng.standard_normal(out.shape)
    grads = _run_backward(backward, inputs, dout, cache, report)
    if grads is None:
        return None
    report.causes += _stale(forward, backward, inputs, dout, cache, grads)
    return Run(out, dout, grads)


def _run_forward(
    forward: Callable[..., Any], inputs: dict[str, Floats], report: Report
) -> tuple[Floats, Any] | None:
    """Return the output and the cache of a forward pass; None, with a cause, if the output is unusable."""
    copies = _copies(inputs)
    result = forward(*copies.values())
    unusable = list(_unusable(result))
    report.causes += [*unusable, *_modified(inputs, copies)]
    if unusable:
        return None
    out, cache = float64_copy(result[0]), result[1]
    if not equal(out, forward(*_copies(inputs).values())[0]):
        report.causes.append(varies("calling it twice with the same arguments gave different outputs"))
        return None
    return out, cache


def varies(evidence: str) -> Cause:
    """Return the Cause for a forward pass whose output depends on more than its arguments."""
    return Cause("the forward pass changes from call to call", evidence, SEED, kind=Kind.VARIES)


def conduct_of_output(output: Callable[..., Any], inputs: dict[str, Floats]) -> list[Cause]:
    """Return what is wrong with a function that returns only an output, whatever its values."""
    copies = _copies(inputs)
    out = private_copy(output(*copies.values()))
    causes = [*_unusable((out, None)), *_modified(inputs, copies)]
    if not causes and not equal(out, output(*_copies(inputs).values())):
        causes.append(varies("calling it twice with the same arguments gave different outputs"))
    return causes


def _run_backward(
    backward: Callable[..., Any], inputs: dict[str, Floats], dout: Floats, cache: Any, report: Report
) -> list[Any] | None:
    """Return the gradients of a backward pass; None, with a cause, if they cannot be compared."""
    given = dout.copy()
    grads = as_list(backward(given, cache))
    if not equal(given, dout):
        report.causes.append(Cause("the backward pass modifies dout", CHANGED, COPY, kind=Kind.MODIFIES))
    if len(grads) != len(inputs):
        report.causes.append(_miscounted(grads, inputs))
        return None
    grads = [private_copy(grad) for grad in grads]
    if not _all_equal(grads, as_list(backward(dout.copy(), cache))):
        title = "the backward pass changes from call to call"
        evidence = "calling it twice with the same dout and cache gave different gradients"
        look = "Does it draw random numbers, or write into its cache? Backward should only read it."
        report.causes.append(Cause(title, evidence, look, kind=Kind.VARIES))
        return None
    return grads


def raised(error: Exception, inputs: Iterable[str] = ()) -> Cause:
    """Return the Cause for an exception that code under test raised, with the line that raised it.

    `inputs` are the names of the arguments that the code was called with.
    """
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if _is_learners(frame.filename)]
    where = f", in line {frames[-1].lineno} of {Path(frames[-1].filename).name}" if frames else ""
    look = "Call the function directly to see how it gets there."
    if not frames and isinstance(error, TypeError) and inputs:
        look = f"The forward pass gets the arrays of inputs, in their order ({', '.join(inputs)}): no others."
    return Cause("it raises an error", message_of(error) + where, look, kind=Kind.ERROR)


def _is_learners(filename: str) -> bool:
    """Return whether a file belongs to the code under test: neither to the gradient check nor to NumPy."""
    others = (Path(__file__).parent, Path(np.__file__).parent)
    return not any(Path(filename).is_relative_to(other) for other in others)


def _copies(inputs: dict[str, Floats]) -> dict[str, Floats]:
    return {key: array.copy() for key, array in inputs.items()}


def _unusable(result: Any) -> Iterator[Cause]:
    """Yield a cause unless forward returned (out, cache), with an output of finite numbers."""
    is_sequence = issubclass(type(result), tuple | list)
    if not is_sequence or len(result) != 2:
        evidence = f"it returned a {type(result).__name__}" + (f" of {len(result)}" if is_sequence else "")
        look = "Return the output and what backward needs, as a pair."
        yield Cause("the forward pass does not return (out, cache)", evidence, look, kind=Kind.OUTPUT)
    elif not is_numbers(result[0]):
        title = "the output of the forward pass is not an array of numbers"
        evidence = f"it is a {type(result[0]).__name__}"
        yield Cause(title, evidence, "Was the output computed?", kind=Kind.OUTPUT)
    elif not np.isfinite(float64_copy(result[0])).all():
        evidence = "some entries of its output are not finite"
        yield Cause("the forward pass returns NaN or infinity", evidence, NOT_FINITE, kind=Kind.OUTPUT)
    elif is_coarse(result[0]):
        yield coarse("the forward pass", result[0])


def is_coarse(value: Any) -> bool:
    """Return whether a value is in a floating dtype that is too coarse for a numeric gradient."""
    dtype = getattr(value, "dtype", None)
    return (
        isinstance(dtype, np.dtype) and dtype.kind == "f" and dtype.itemsize < np.dtype(np.float64).itemsize
    )


def coarse(what: str, value: Any) -> Cause:
    """Return the Cause for a function that computes in float32 whatever its arguments are."""
    evidence = (
        f"its result is {value.dtype} although its arguments are float64: a numeric gradient needs float64"
    )
    return Cause(f"{what} computes in {value.dtype}", evidence, COARSE, kind=Kind.PRECISION)


def _modified(before: dict[str, Floats], after: dict[str, Floats]) -> Iterator[Cause]:
    """Yield a cause for every argument that the forward pass changed."""
    for key, array in before.items():
        if not equal(array, after[key]):
            yield Cause(f"the forward pass modifies its argument {key}", CHANGED, COPY, kind=Kind.MODIFIES)


def _miscounted(grads: list[Any], inputs: dict[str, Floats]) -> Cause:
    return Cause(
        "the backward pass returns the wrong number of gradients",
        f"it returned {len(grads)} for {len(inputs)} arguments ({', '.join(inputs)})",
        "Return one gradient for each argument of the forward pass, in the same order.",
        kind=Kind.COUNT,
    )


def _stale(
    forward: Callable[..., Any],
    backward: Callable[..., Any],
    inputs: dict[str, Floats],
    dout: Floats,
    cache: Any,
    grads: list[Any],
) -> Iterator[Cause]:
    """Yield a cause if the same cache gives different gradients after another forward pass."""
    try:
        forward(*(array + 1 for array in inputs.values()))
    except Exception:  # the layer need not accept other arguments
        return
    if not _all_equal(grads, as_list(backward(dout.copy(), cache))):
        yield Cause(
            "the cache is stale",
            "after another forward pass, the same cache gave different gradients",
            "Cache what this call computed, in arrays that no other call writes to.",
            kind=Kind.STALE_CACHE,
        )


def _all_equal(grads: list[Any], others: list[Any]) -> bool:
    return len(grads) == len(others) and all(map(equal, grads, others))
