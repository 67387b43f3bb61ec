"""Check gradients and say why they are wrong: backward passes against numeric gradients, with a diagnosis.

    report = check_layer(affine_forward, affine_backward, {"x": x, "w": w, "b": b})
    print(report)

A check computes in float64 with a random upstream gradient, and copes with anything that a learner's code
returns. Each gradient gets PASS, FAIL with the likely causes, or WARN for something worth knowing that is not
a mistake: some entries at kinks or in rounding noise, a gradient in float32. Where that is true of nearly all
entries, the check cannot decide, and fails with advice.
"""

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from cs231n.gradcheck.arguments import (
    require_callables,
    require_count,
    require_inputs,
    require_model,
    require_positive,
    require_settings,
)
from cs231n.gradcheck.compare import compare_all, compare_output, label, lacking
from cs231n.gradcheck.conduct import Run, raised, run_once
from cs231n.gradcheck.diagnosis.conclusion import conclusion, exchanged
from cs231n.gradcheck.diagnosis.mistakes import IN_THE_LOSS, Mistake
from cs231n.gradcheck.diagnosis.regularization import uneven_penalty
from cs231n.gradcheck.models import (
    copy_in_float64,
    gradients_of,
    knowledge_of,
    larger_weights,
    larger_weights_note,
)
from cs231n.gradcheck.numeric import numeric_gradients
from cs231n.gradcheck.projected import Projection, compare_slopes, random_directions
from cs231n.gradcheck.report import Comparison, Report
from cs231n.gradcheck.tolerances import LAYER_TOL, LONGEST, MOST_ENTRIES, NETWORK_TOL, NUDGE, STEP
from cs231n.gradcheck.values import Floats, float64_copy
from cs231n.passes import FAIL, PASS, WARN

SEED = 231
DIRECTIONS = 4  # that the check of a large layer follows
TIES = (
    "Inputs tie or lie at kinks, where numeric slopes do not decide about the gradient. At a point nearby, "
    "without ties, it is right. This is not a mistake."
)

__all__ = ["FAIL", "PASS", "WARN", "Comparison", "Report", "check_layer", "check_model", "check_projected"]


def check_layer(
    forward: Callable[..., Any],
    backward: Callable[..., Any],
    inputs: dict[str, Any],
    *,
    settings: dict[str, Any] | None = None,
    name: str = "",
    tol: float = LAYER_TOL,
    h: float = STEP,
    seed: int = SEED,
    reference: Callable[..., Any] | None = None,
    properties: dict[str, Callable[[Floats], Any]] | None = None,
) -> Report:
    """Check every entry of a layer's gradients and return a Report.

    >>> inputs = {"x": np.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]), "w": np.array([[1.0], [-1.0]])}
    >>> forward = lambda x, w: (x @ w, (x, w))
    >>> backward = lambda dout, cache: (dout @ cache[1].T, cache[0].T @ dout / 3)  # a mean, not a sum
    >>> print(check_layer(forward, backward, inputs))  # doctest: +ELLIPSIS
    PASS  dx: relative error ... (at most 1e-06)
    FAIL  dw: relative error 5.0e-01, at most 1e-06.
          it is N times too small: ...
          (1, 0): got 4.0138378, expected 12.041513
          (0, 0): got 3.09483, expected 9.28449

    - forward: a function of the arrays in `inputs`, in their order, that returns (out, cache)
    - backward: a function of (dout, cache) that returns a gradient for each of them
    - inputs: {name: array}, which are copied and converted to float64
    - settings: what else the layer was called with, for the diagnosis: stride, pad, p, eps, G, ...
    - name: of the layer, for the report
    - tol: the largest relative error that passes
    - h: the step of the numeric gradient
    - seed: of the random upstream gradient
    - reference: a function of the same arrays that returns the right output, to check the forward pass
    - properties: {sentence: function of the output}, each of which has to return True, such as
      {"every feature has the mean beta": lambda out: np.allclose(out.mean(axis=0), beta)}

    Above `MOST_ENTRIES` entries, or where all of them would take longer than `LONGEST`, it checks along
    random directions, as `check_projected` does.
    """
    require_callables(forward=forward, backward=backward)
    require_positive(tol=tol, h=h)
    arrays, settings, report = require_inputs(inputs), require_settings(settings), Report(name)
    rng = np.random.default_rng(seed)

    def check() -> None:
        run = run_once(forward, backward, arrays, report, rng)
        if run is None:
            return
        report.comparisons += compare_output(run.out, arrays, reference, name)
        report.causes += lacking(run.out, properties)
        known = _known(arrays, run, settings)
        if _takes_long(forward, arrays):
            tolerance = max(tol, NETWORK_TOL)
            report.comparisons += _project(forward, run, known, name, tolerance, h, DIRECTIONS, rng)
            report.notes.append(_along_directions(arrays))
            return
        compared = _compare_entries(forward, run, known, name, tol, h)
        if any(comparison.only_kinks for comparison in compared):
            beside = _nudged(arrays, rng)
            run = run_once(forward, backward, beside, Report(name), rng)
            if run is not None:
                nearby = _compare_entries(forward, run, _known(beside, run, settings), name, tol, h)
                compared = [_excused(*pair) for pair in zip(compared, nearby, strict=True)]
        report.comparisons += compared

    return _guarded(report, check, arrays)


def _compare_entries(
    forward: Callable[..., Any], run: Run, known: dict[str, Any], name: str, tol: float, h: float
) -> list[Comparison]:
    """Compare every entry of the gradients with the numeric ones."""
    arrays = known["inputs"]
    numeric = numeric_gradients(lambda: _output(forward, arrays), arrays, run.dout, h)
    return compare_all(name, run.grads, numeric, tol, known)


def _output(forward: Callable[..., Any], arrays: dict[str, Floats]) -> Any:
    return forward(*(array.copy() for array in arrays.values()))[0]


def _nudged(arrays: dict[str, Floats], rng: np.random.Generator) -> dict[str, Floats]:
    """Return arrays a little beside the given ones, where no two entries are equal and none is 0."""
    nudged = {}
    for key, array in arrays.items():
        size = NUDGE * max(float(np.abs(array).max(initial=0)), STEP)
        nudged[key] = array + size * rng.uniform(0.5, 1, array.shape) * rng.choice((-1, 1), array.shape)
    return nudged


def _excused(compared: Comparison, nearby: Comparison) -> Comparison:
    """Return a comparison, without a failure that is only due to ties, as a point nearby shows."""
    if not compared.only_kinks or nearby.status == FAIL:
        return compared
    return replace(compared, status=WARN, error=nearby.error, worst=[], causes=[], notes=[TIES])


def _project(
    forward: Callable[..., Any],
    run: Run,
    known: dict[str, Any],
    name: str,
    tol: float,
    h: float,
    directions: int,
    rng: np.random.Generator,
) -> list[Comparison]:
    """Compare gradients along random directions of each argument."""
    arrays = known["inputs"]
    along = random_directions(forward, arrays, run, directions, rng)
    projection = Projection(dict(zip(arrays, run.grads, strict=True)), along, tol, h, known)
    return [compare_slopes(label(name, key), key, projection) for key in arrays]


def _takes_long(forward: Callable[..., Any], arrays: dict[str, Floats]) -> bool:
    """Return whether there are too many entries, or too slow a forward pass, to move each of them."""
    start = time.perf_counter()
    _output(forward, arrays)
    seconds = time.perf_counter() - start
    return _count(arrays) > MOST_ENTRIES or 2 * _count(arrays) * seconds > LONGEST


def _count(arrays: dict[str, Any]) -> int:
    return sum(int(np.size(array)) for array in arrays.values())


def _along_directions(arrays: dict[str, Any]) -> str:
    return (
        f"To try each of the {_count(arrays):,} entries of all arguments would take long: the check follows "
        "random directions. A smaller case shows which entries are wrong."
    )


def _known(inputs: dict[str, Floats], run: Run, settings: dict[str, Any]) -> dict[str, Any]:
    """Return the fields of a `Case` that hold for every gradient of a layer."""
    return {"inputs": inputs, "out": run.out, "dout": run.dout, "settings": settings}


def _guarded(report: Report, check: Callable[[], None], inputs: Iterable[str] = ()) -> Report:
    """Run a check and return its report, with a cause in it if a learner's code raises an exception.

    NotImplementedError is raised: it says that an exercise is still to be written, which is not a mistake.
    """
    try:
        check()
    except NotImplementedError:
        raise
    except Exception as error:  # whatever a learner's code may raise
        report.causes.append(raised(error, inputs))
    return report


def check_model(
    model: Any, X: Any, y: Any, *, name: str = "", tol: float = NETWORK_TOL, h: float = STEP
) -> Report:
    """Check every gradient that `model.loss(X, y)` returns and return a Report.

    A copy of the model is checked, in float64 whatever the model's dtype. Where its weights are so small that
    the numeric gradient decides nothing, the copy gets larger ones.

    - model: has `params`, `loss(X, y)` and perhaps `reg`; it should be small, since each parameter costs two
      losses. Above `MOST_ENTRIES` parameters the check follows random directions
    - name: of the model, for the report
    - tol: the largest relative error that passes
    - h: the step of the numeric gradient
    """
    require_model(model)
    require_positive(tol=tol, h=h)
    report = Report(name or type(model).__name__)

    def check() -> None:
        copy, images = copy_in_float64(model, X, y, report)
        if copy is None:
            return
        _compare_model(copy, images, y, report, name, tol, h)
        if any(comparison.doubtful for comparison in report.comparisons):
            with larger_weights(copy) as factors:
                if factors:
                    report.notes = [larger_weights_note(factors)]
                    _compare_model(copy, images, y, report, name, tol, h)

    return _guarded(report, check)


def _compare_model(model: Any, X: Any, y: Any, report: Report, name: str, tol: float, h: float) -> None:
    """Write the comparisons of all gradients of a model, and what they conclude, into a report."""
    grads = gradients_of(model, X, y, report)
    if grads is None:
        return
    params = dict(sorted(model.params.items()))

    def loss() -> Any:
        return model.loss(X, y)[0]

    known = knowledge_of(model, X, y, grads, loss)
    of_params = {key: grads.get(key) for key in params}
    if _count(params) > MOST_ENTRIES:
        report.comparisons = _project_model(name, loss, params, of_params, tol, h, known)
        report.notes.append(_along_directions(params))
    else:
        numeric = numeric_gradients(loss, params, 1.0, h)
        report.comparisons = compare_all(name, list(of_params.values()), numeric, tol, known)
    report.notes += _conclusions(list(params), report.comparisons, known["penalty"])


def _conclusions(names: list[str], comparisons: list[Comparison], penalty: dict[str, float]) -> Iterator[str]:
    """Yield what the verdicts on all parameters of a model say together.

    A gradient whose loss is wrong, or that is stored under another name, came out of a right backward pass.
    """
    failed = {name: one.causes for name, one in zip(names, comparisons, strict=True) if one.status == FAIL}
    first = {name: causes[0] for name, causes in failed.items() if causes}
    stored = {
        name: cause.about for name, cause in first.items() if cause.mistake is Mistake.OF_ANOTHER_ARGUMENT
    }
    sentence = exchanged(stored)
    if sentence:
        yield sentence
    excused = {name for name, cause in first.items() if cause.mistake in IN_THE_LOSS} | set(
        stored if sentence else ()
    )
    wrong = [name for name in failed if name not in excused]
    concluded = conclusion([name for name in names if name not in wrong], wrong)
    if concluded:
        yield concluded
    uneven = uneven_penalty(penalty)
    if uneven:
        yield f"The loss penalizes {uneven}. It should penalize every weight once."


def _project_model(
    name: str,
    loss: Callable[[], Any],
    params: dict[str, Floats],
    grads: dict[str, Any],
    tol: float,
    h: float,
    known: dict[str, Any],
) -> list[Comparison]:
    """Compare the gradients of a model along random directions of each parameter."""

    def forward(*arrays: Floats) -> tuple[Any, None]:
        before = [param.copy() for param in params.values()]
        try:
            for param, array in zip(params.values(), arrays, strict=True):
                param[...] = array
            return loss(), None
        finally:
            for param, value in zip(params.values(), before, strict=True):
                param[...] = value

    arrays = {key: param.copy() for key, param in params.items()}
    run = Run(float64_copy(loss()), np.ones(()), list(grads.values()))
    rng = np.random.default_rng(SEED)
    return _project(forward, run, {**known, "inputs": arrays}, name, tol, h, DIRECTIONS, rng)


def check_projected(
    forward: Callable[..., Any],
    backward: Callable[..., Any],
    inputs: dict[str, Any],
    *,
    settings: dict[str, Any] | None = None,
    name: str = "",
    tol: float = NETWORK_TOL,
    h: float = STEP,
    seed: int = SEED,
    directions: int = DIRECTIONS,
) -> Report:
    """Check the gradients of a large layer cheaply, along a few random directions, and return a Report.

    Each direction costs two forward passes, whatever the size. A wrong gradient is found almost surely, but
    not where it is wrong. The arguments are those of `check_layer`, and

    - directions: the number of random directions for each argument
    """
    require_callables(forward=forward, backward=backward)
    require_positive(tol=tol, h=h)
    require_count(directions=directions)
    arrays, settings, report = require_inputs(inputs), require_settings(settings), Report(name)
    rng = np.random.default_rng(seed)

    def check() -> None:
        run = run_once(forward, backward, arrays, report, rng)
        if run is not None:
            known = _known(arrays, run, settings)
            report.comparisons = _project(forward, run, known, name, tol, h, directions, rng)

    return _guarded(report, check, arrays)
