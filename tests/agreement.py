"""Comparisons whose failures say what is wrong: which result of which function, and what it should be.

They are as strict as NumPy's: each asks `numpy.testing` and puts into words what it refuses. A gradient that
is wrong comes with the diagnosis of `cs231n.gradcheck`.
"""

from collections.abc import Mapping

import numpy as np

from cs231n.gradcheck.diagnosis import Case, diagnose, diagnose_value
from cs231n.gradcheck.models import knowledge_of
from cs231n.gradcheck.report import FAIL
from cs231n.gradcheck.values import float64_copy, is_numbers

INDENT = " " * 4
SHOWN = 3  # entries that a message shows
DTYPE = "Results have the dtype of x: float32 stays float32."
NO_CAUSE = "No known mistake matches."
OF_FORWARD = "What is expected is the numeric gradient of the forward pass, which may be wrong instead."
TELLING = 6  # a gradient with fewer wrong entries fits several mistakes by chance: none is named


class DisagreementError(AssertionError):
    """A result is wrong: the headline says which one, and the title why, if that is known."""

    def __init__(self, headline, details=(), causes=()):
        self.headline, self.title = headline, causes[0].title if causes else ""
        first = f"{headline}: {self.title}." if causes else f"{headline}."
        because = [f"{cause.evidence[:1].upper()}{cause.evidence[1:]}. {cause.look}" for cause in causes[:1]]
        lines = [*because, *map(str, causes[1:]), *details]
        super().__init__("\n".join([first, *(f"{INDENT}{line}" for line in lines if line)]))


def assert_equal(what, actual, expected, rule="", explain=None):
    """`actual` has the shape and exactly the values of `expected`.

    - what: the result, such as "affine_forward out"
    - rule: what has to hold, as a sentence; for example the formula
    - explain: a function that returns the likely causes, for a gradient
    """
    __tracebackhide__ = True
    _compare(np.testing.assert_array_equal, {}, what, actual, expected, rule, explain)


def assert_close(
    what, actual, expected, rule="", explain=None, *, rtol=1e-7, atol=0.0, strict=False, says="is wrong"
):
    """The same within a tolerance, as `numpy.testing.assert_allclose` has it.

    - strict: whether a number stands for itself only, not for any array of equal entries
    - says: how the headline goes on, if `expected` comes from the learner's code too and may be what is wrong
    """
    __tracebackhide__ = True
    tolerances = {"rtol": rtol, "atol": atol}
    _compare(np.testing.assert_allclose, tolerances, what, actual, expected, rule, explain, strict, says)


def assert_dtype(what, actual, dtype, rule=DTYPE):
    __tracebackhide__ = True
    actual_dtype = getattr(actual, "dtype", type(actual).__name__)
    if actual_dtype != np.dtype(dtype):
        got = f"It has {actual_dtype}, expected {np.dtype(dtype)}."
        raise DisagreementError(f"{what} has the wrong dtype", [got, rule])


def assert_true(holds, headline, rule=""):
    """A property of a result holds; if it does not, the headline says what is wrong."""
    __tracebackhide__ = True
    if not holds:
        raise DisagreementError(headline, [rule])


def assert_layer(layer, arrays, dout, out, grads, compare=assert_close, rule=""):
    """A layer returns this output and, for the upstream gradient `dout`, these gradients.

    - layer: a `conftest.Layer`
    - compare: `assert_equal`, or a function with its arguments
    - rule: what the forward pass has to do; without it, its docstring says so
    """
    __tracebackhide__ = True
    actual_out, cache = layer(*arrays)
    compare(layer.output, actual_out, out, rule or summary_of(layer.forward))
    assert_gradients(layer, arrays, dout, actual_out, layer.gradients(dout, cache), grads, compare)


def assert_gradients(layer, arrays, dout, out, grads, expected, compare=assert_close):
    """A backward pass returned these gradients; a wrong one is explained by what the pass was given."""
    __tracebackhide__ = True
    inputs = layer.named(arrays)
    if len(grads) != len(expected):
        names = ", ".join(f"d{name}" for name in inputs)
        got = f"It returns {len(grads)} gradients, expected {len(expected)}: {names}."
        raise DisagreementError(f"{layer.backward.__name__} returns the wrong number of gradients", [got])
    known = {
        "inputs": {name: np.asarray(array, np.float64) for name, array in inputs.items()},
        "out": np.asarray(out, np.float64),
        "dout": np.asarray(dout, np.float64),
        "settings": layer.param or {},
        "numeric": {name: np.asarray(grad, np.float64) for name, grad in zip(inputs, expected, strict=True)},
    }
    given = _shapes_of(inputs, layer.param)
    for name, grad, right in zip(inputs, grads, expected, strict=True):
        compare(layer.gradient(name), grad, right, given, _explainer(grad, right, name, known))


def assert_loss_function(function, x, y, loss, dx, compare=assert_close):
    """A loss function returns this loss and this gradient of the scores x."""
    __tracebackhide__ = True
    actual_loss, actual_dx = function(x, y)
    name, rule = function.__name__, summary_of(function)
    compare(f"{name} loss", actual_loss, loss, rule)
    inputs = {"x": np.asarray(x, np.float64), "y": np.asarray(y)}
    known = {"inputs": inputs, "out": np.asarray(loss, np.float64), "dout": np.ones(()), "settings": {"y": y}}
    known["numeric"] = {"x": np.asarray(dx, np.float64)}
    compare(f"{name} dx", actual_dx, dx, rule, _explainer(actual_dx, dx, "x", known))


def assert_model_gradients(model, X, y, grads, expected, compare=assert_close):
    """A model's loss returned these gradients, by name; a wrong one is explained."""
    __tracebackhide__ = True
    name = type(model).__name__
    if not isinstance(grads, Mapping) or grads.keys() != expected.keys():
        got = ", ".join(sorted(grads)) if isinstance(grads, Mapping) else f"a {type(grads).__name__}"
        rule = f"It returns {got}; expected {', '.join(sorted(expected))}."
        raise DisagreementError(f"{name}.loss returns the wrong gradients", [rule])

    def known():
        numeric = {key: np.asarray(grad, np.float64) for key, grad in expected.items()}
        return knowledge_of(model, X, y, dict(grads), lambda: model.loss(X, y)[0]) | {"numeric": numeric}

    for key, grad in grads.items():
        explain = _explainer(grad, expected[key], key, known)
        compare(f"{name}.loss d{key}", grad, expected[key], _settings_of(model), explain)


def assert_loss(model, loss, data_loss, penalty, *, rtol, atol=0.0):
    """A model's loss is the softmax loss plus the L2 penalty."""
    __tracebackhide__ = True
    rule = (
        f"It should be the softmax loss, {data_loss:.8g}, plus 0.5 * reg * (the sum of the squares of all "
        f"weights), {penalty:.8g}."
    )
    mistakes = {0: "is missing", 0.5: "is half of what it should be"}
    mistakes |= {2: "is twice what it should be", -1: "has the wrong sign"}
    says = "is wrong"
    for times, mistake in mistakes.items():
        wrong = data_loss + times * penalty
        if penalty and is_numbers(loss) and np.allclose(loss, wrong, rtol=min(rtol, 1e-4), atol=0):
            says = f"is wrong: the penalty {mistake}"
    what, expected = f"{type(model).__name__}.loss loss", data_loss + penalty
    assert_close(what, loss, expected, rule, rtol=rtol, atol=atol, says=says)


def assert_report(report):
    """A report of `cs231n.gradcheck` has no failure; what failed comes first, and nothing else follows."""
    __tracebackhide__ = True
    if report.status != FAIL:
        return
    failed = [comparison for comparison in report.comparisons if comparison.status == FAIL]
    if report.causes:
        others = [line for comparison in failed for line in str(comparison).split("\n")]
        raise DisagreementError(f"{report.name} is wrong", others, report.causes)
    first, *others = failed
    lines = [*_entries(first.worst), *first.notes]
    lines += [line for comparison in others for line in str(comparison).split("\n")]
    if not first.causes:
        lines.insert(0, f"{NO_CAUSE} {OF_FORWARD}")
    raise DisagreementError(f"{first.name} is wrong", lines, first.causes)


def summary_of(function):
    """What a function has to do, from the first sentence of its docstring."""
    docstring = " ".join((function.__doc__ or "").split("\n\n")[0].split())
    return f"{function.__name__} has to do this: {docstring}" if docstring else ""


def _compare(compare, tolerances, what, actual, expected, rule, explain, strict=False, says="is wrong"):
    __tracebackhide__ = True
    try:
        compare(actual, expected, **tolerances)
        if strict or np.ndim(expected):
            assert np.shape(actual) == np.shape(expected)
    except Exception:  # also where a comparison is impossible, since anything may have been returned
        actual, expected = np.asarray(actual), np.asarray(expected)
    else:
        return
    if not is_numbers(actual):
        raise DisagreementError(f"{what} {says}", [f"It is {actual!s:.80}, expected numbers.", rule])
    details = _numbers(actual, expected, strict, **tolerances)
    causes = []
    if explain and (
        actual.shape != expected.shape or _wrong(actual, expected, **tolerances).sum() >= TELLING
    ):
        causes = explain()
        details += [] if causes else [NO_CAUSE]
    raise DisagreementError(f"{what} {says}", [*details, rule], causes)


def _explainer(actual, expected, name, known):
    """A function that returns the likely causes why a gradient differs from the expected one.

    - known: the other fields of a `Case`, or a function that returns them
    """

    def explain():
        fields = {"name": name, **(known() if callable(known) else known)}
        right = np.asarray(expected, np.float64)
        causes = diagnose_value(actual, right, **fields)
        return causes or diagnose(Case(float64_copy(actual), right, **fields))

    return explain


def _numbers(actual, expected, strict, rtol=0.0, atol=0.0):
    """Lines that say where two arrays differ: shapes, or the entries with the largest differences."""
    if actual.shape != expected.shape and (strict or expected.ndim):
        return [f"It has the shape {actual.shape}, expected {expected.shape}."]
    actual, expected = (float64_copy(array) for array in np.broadcast_arrays(actual, expected))
    wrong = _wrong(actual, expected, rtol, atol)
    with np.errstate(all="ignore"):
        size = np.nan_to_num(np.abs(actual - expected), nan=np.inf)
    order = np.argsort(-np.where(wrong, size, -1), axis=None, kind="stable")[: min(SHOWN, int(wrong.sum()))]
    indices = [tuple(int(i) for i in np.unravel_index(place, wrong.shape)) for place in order]
    lines = _entries([(index, actual[index], expected[index]) for index in indices])
    if wrong.ndim and wrong.any():
        lines.append(f"{wrong.sum()} of {wrong.size} entries are wrong.{_ratio(actual, expected)}")
    return lines


def _wrong(actual, expected, rtol=0.0, atol=0.0):
    """The entries that are wrong, as an array of booleans."""
    return ~np.isclose(actual, expected, rtol=rtol, atol=atol, equal_nan=True)


def _entries(worst):
    return [_entry(*entry) for entry in worst]


def _entry(index, actual, expected):
    same = f"{actual:.8g}" == f"{expected:.8g}"
    got, right = (f"{value:.17g}" if same else f"{value:.8g}" for value in (actual, expected))
    return f"{index}: got {got}, expected {right}" if index else f"It is {got}, expected {right}."


def _ratio(actual, expected):
    """A sentence if all entries are off by the same factor, else ""."""
    at = expected != 0
    if at.sum() < 2 or not np.isfinite(actual).all() or not np.isfinite(expected).all() or actual[~at].any():
        return ""
    ratios = actual[at] / expected[at]
    if not np.allclose(ratios, ratios[0], rtol=1e-5, atol=0) or abs(ratios[0] - 1) < 1e-3:
        return ""
    return f" Every entry is {ratios[0]:.4g} times what it should be."


def _shapes_of(inputs, param):
    """What a layer was given, as a sentence."""
    shapes = [f"{name} {np.shape(array)}" for name, array in inputs.items()]
    settings = [f"{name} {value}" for name, value in (param or {}).items() if np.ndim(value) == 0]
    return f"Given: {', '.join([*shapes, *settings])}."


def _settings_of(model):
    settings = {name: getattr(model, name, None) for name in ("normalization", "dropout_param", "reg")}
    return f"Given: {', '.join(f'{name}={value!r}' for name, value in settings.items() if value)}."
