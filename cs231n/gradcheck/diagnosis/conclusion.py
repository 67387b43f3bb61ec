"""What follows from which gradients of a network are right: the place to look for the mistake.

The backward pass goes from the last layer to the first and reaches the gamma and beta of a layer before its W
and b. A right gradient shows that the backward pass was right up to there.
"""

import re
from collections.abc import Iterable, Iterator, Mapping

NAME = re.compile(r"(W|b|gamma|beta)([1-9][0-9]*)")  # of a parameter: its kind, and the number of its layer

ALL_WRONG = "All gradients are wrong: look at the gradient of the scores first, then at the last layer."
KINDS = {"W": "weights", "b": "biases", "gamma": "gammas", "beta": "betas"}
LOOK_AT = {
    "W": "look at how dW is computed, and at the regularization",
    "b": "look at how db is computed",
    "gamma": "look at how dgamma is computed",
    "beta": "look at how dbeta is computed",
}


def conclusion(names_right: Iterable[str], names_wrong: Iterable[str]) -> str:
    """Return what follows from which gradients of a network are right, in sentences; "" if nothing does.

    >>> print(conclusion(["W2", "b2"], ["W1", "b1"]))  # doctest: +NORMALIZE_WHITESPACE
    The gradients of layer 2 are right and those of layer 1 are wrong: look at the backward pass between the
    two.
    >>> print(conclusion(["W1", "b1", "b2"], ["W2"]))
    The gradient of W2 is wrong, but what is passed on to layer 1 is right: look at how dW2 is computed.

    - names_right, names_wrong: names of parameters, such as W1, b1, gamma1 and beta1
    """
    right, wrong = sorted(names_right), sorted(names_wrong)
    if not wrong or len(right) + len(wrong) < 2:
        return ""
    if not right:
        return ALL_WRONG
    if not all(NAME.fullmatch(name) for name in (*right, *wrong)):
        return _capital(f"{_gradients(right)} {_are(right)} right; {_gradients(wrong)} {_are(wrong)} wrong.")
    return _of_layers(right, wrong)


def exchanged(stored: Mapping[str, str]) -> str:
    """Return in a sentence which gradients are stored under each other's names; "" if others are involved.

    >>> print(exchanged({"W1": "W3", "W3": "W1", "b1": "b3", "b3": "b1"}))
    The gradients of W1 and W3, b1 and b3 are stored under each other's names.
    >>> exchanged({"b1": "b2"})
    ''

    - stored: {name of a parameter: that of the one whose gradient is stored under it}
    """
    if not stored or set(stored) != set(stored.values()):
        return ""
    cycles: dict[frozenset[str], None] = {}
    for name in stored:
        cycle = [name]
        while stored[cycle[-1]] != name:
            cycle.append(stored[cycle[-1]])
        cycles.setdefault(frozenset(cycle))
    listed = ", ".join(_list(sorted(cycle)) for cycle in cycles)
    return f"The gradients of {listed} are stored under each other's names."


def _of_layers(right: list[str], wrong: list[str]) -> str:
    kinds, others = {_kind(name) for name in wrong}, {_kind(name) for name in right}
    if len(wrong) > 1 and len(kinds) == 1 and not kinds & others:
        kind = kinds.pop()
        return f"All gradients of {KINDS[kind]} are wrong and all others are right: {LOOK_AT[kind]}."
    telling = [name for name in right if not _is_zero(name, {*right, *wrong})]
    if not telling:
        return ALL_WRONG
    last_right = max(map(_stage, telling))
    own = [name for name in wrong if _stage(name) <= last_right]
    behind = [name for name in wrong if _stage(name) > last_right]
    return " ".join([*_wrong_alone(own, telling), *_wrong_behind(telling, wrong, behind)])


def _wrong_alone(own: list[str], right: list[str]) -> Iterator[str]:
    """Yield what follows from wrong gradients that the backward pass does not reach after all right ones."""
    if not own:
        return
    below = min(map(layer_of, right))
    passed_on = (
        f", but what is passed on to layer {below} is right" if below < min(map(layer_of, own)) else ""
    )
    look = f"look at how {_list([f'd{name}' for name in own])} {_are(own)} computed"
    yield _capital(f"{_gradients(own)} {_are(own)} wrong{passed_on}: {look}.")


def _wrong_behind(right: list[str], wrong: list[str], behind: list[str]) -> Iterator[str]:
    """Yield what follows from wrong gradients that the backward pass reaches after all right ones."""
    if not behind:
        return
    upper, lower = layer_of(max(right, key=_stage)), layer_of(min(behind, key=_stage))
    above, below = {layer_of(name) for name in right}, {layer_of(name) for name in behind}
    if above.isdisjoint(map(layer_of, wrong)):  # whole layers are right
        of_right = f"the gradients of {_layers(above)} are"
    else:
        names = [name for name in right if layer_of(name) == upper]
        of_right = f"{_gradients(names)} {_are(names)}"
    if upper == lower:
        of_wrong, place = _list(behind), f"of layer {lower} between its normalization and its weights"
    else:
        pair = "the two" if len(above) == len(below) == 1 else f"layers {upper} and {lower}"
        of_wrong, place = _layers(below), f"between {pair}"
    look = f"look at the backward pass {place}"
    yield _capital(f"{of_right} right and those of {of_wrong} are wrong: {look}.")


def _is_zero(name: str, names: set[str]) -> bool:
    """Return whether a gradient may be 0 in any case, as that of a bias before a batch normalization is."""
    return _kind(name) == "b" and f"gamma{layer_of(name)}" in names


def _kind(name: str) -> str:
    return name.rstrip("0123456789")


def layer_of(name: str) -> int:
    """Return the number of the layer that a parameter belongs to."""
    return int(name[len(_kind(name)) :])


def _stage(name: str) -> tuple[int, bool]:
    """Return when the backward pass reaches a parameter: what is larger comes later."""
    return -layer_of(name), _kind(name) in ("W", "b")


def _gradients(names: list[str]) -> str:
    return f"the gradient{'s' if len(names) > 1 else ''} of {_list(names)}"


def _layers(numbers: set[int]) -> str:
    return f"layer{'s' if len(numbers) > 1 else ''} {_list([str(number) for number in sorted(numbers)])}"


def _are(names: list[str]) -> str:
    return "are" if len(names) > 1 else "is"


def _list(words: list[str]) -> str:
    *most, last = words
    return f"{', '.join(most)} and {last}" if most else last


def _capital(sentence: str) -> str:
    return sentence[0].upper() + sentence[1:]
