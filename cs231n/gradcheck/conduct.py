"""How a layer behaves, apart from what it computes: what it returns, writes to, keeps and draws."""

import numpy as np

from cs231n.gradcheck.diagnosis.causes import Cause
from cs231n.gradcheck.values import as_list, equal, float64_copy, is_numbers, message_of, private_copy

DRAWS = "Fix what it draws with a seed: no gradient can be checked otherwise."


def run_once(forward, backward, inputs, report, rng):
    """Forward and backward, with what is wrong with the layer as a whole added to the report's causes.

    Returns out, dout and the gradients; None where there is nothing to compare. The functions get copies of
    the inputs, which stay as they are.
    """
    copies = _copies(inputs)
    result = forward(*copies.values())
    causes = [*_returned(result), *_modified(inputs, copies)]
    report.causes += causes
    if any(cause.title.startswith("forward") for cause in causes):
        return None
    out, cache = float64_copy(result[0]), result[1]
    if not equal(out, forward(*_copies(inputs).values())[0]):
        evidence = "twice the same arguments gave two outputs"
        report.causes.append(Cause("the forward pass gives another result each time", evidence, DRAWS))
        return None
    dout = rng.standard_normal(out.shape)
    given = dout.copy()
    grads = as_list(backward(given, cache))
    if not equal(given, dout):
        look = "Write into a copy, or into a new array."
        evidence = "it is not what it was before the call"
        report.causes.append(Cause("the backward pass modifies dout", evidence, look))
    if len(grads) != len(inputs):
        report.causes.append(_miscounted(grads, inputs))
        return None
    grads = [private_copy(grad) for grad in grads]
    if not _all_equal(grads, as_list(backward(dout.copy(), cache))):
        look = "Does it draw random numbers, or write into its cache? Backward only reads."
        evidence = "twice the same dout and cache gave two results"
        report.causes.append(Cause("the backward pass gives another result each time", evidence, look))
        return None
    report.causes += _stale(forward, backward, inputs, dout, cache, grads)
    return out, dout, grads


def raised(error):
    """The Cause of an error that a learner's code raised."""
    look = "Run forward and backward by themselves to see where."
    return Cause("it raises an error", message_of(error), look)


def _copies(inputs):
    return {key: array.copy() for key, array in inputs.items()}


def _returned(result):
    """A cause if forward does not return numbers, and a cache."""
    if not issubclass(type(result), tuple | list) or len(result) != 2:
        evidence = f"it returned a {type(result).__name__}"
        if issubclass(type(result), tuple | list):
            evidence += f" of {len(result)}"
        look = "Return the output and what backward needs, as a pair."
        yield Cause("forward does not return (out, cache)", evidence, look)
    elif not is_numbers(result[0]):
        evidence = f"the output is a {type(result[0]).__name__}"
        yield Cause("forward returns no array of numbers", evidence, "Was the output computed?")
    elif not np.isfinite(float64_copy(result[0])).all():
        evidence = "there are NaN or infinite entries in it"
        look = "Look for a division by zero, a log of zero or an overflow in exp."
        yield Cause("forward returns what is not finite", evidence, look)


def _modified(before, after):
    """A cause for every argument that the forward pass has changed."""
    for key, array in before.items():
        if not equal(array, after[key]):
            yield Cause(
                f"the forward pass modifies its argument {key}",
                "it is not what it was before the call",
                "Write into a copy, or into a new array.",
            )


def _miscounted(grads, inputs):
    return Cause(
        "backward returns another number of gradients than there are arguments",
        f"it returned {len(grads)} for {', '.join(inputs)}",
        "Return one for each argument of the forward pass, in their order.",
    )


def _stale(forward, backward, inputs, dout, cache, grads):
    """A cause if the same cache gives other gradients after another forward pass."""
    try:
        forward(*(array + 1 for array in inputs.values()))
    except Exception:  # other arguments need not be possible ones
        return
    if not _all_equal(grads, as_list(backward(dout.copy(), cache))):
        yield Cause(
            "the cache is stale",
            "after another forward pass the same cache gives other gradients",
            "Keep in the cache what this call computed, in arrays that no other call writes to.",
        )


def _all_equal(grads, others):
    return len(grads) == len(others) and all(map(equal, grads, others))
