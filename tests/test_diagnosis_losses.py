"""Mistakes in losses: the diagnosis names the line, with labels in the settings and without.

Each mistake is a whole loss, written as learners write it: loops and indices, and nothing of the formulas in
the diagnosis. Where a mistake happens to give the right numbers, such as "one class counts once" where every
example has one class within its margin, there is nothing to name, and the test says so.
"""

import broken_layers as broken
import numpy as np
import pytest
from broken_layers import about, title_of
from conftest import draw

from cs231n.gradcheck.check import FAIL, check_layer
from cs231n.gradcheck.diagnosis import Case, Mistake, Observed, diagnose, right_gradients
from cs231n.layers import softmax_loss, svm_loss

pytestmark = pytest.mark.q1

SHAPES = [(5, 4), (4, 4), (8, 3), (3, 7), (6, 2), (12, 10)]


def labels(N, C):
    return np.random.default_rng(N + C + 1).integers(0, C, N)


def check_loss(loss, shape, with_settings, y=None, **options):
    y = labels(*shape) if y is None else y
    x = 0.8 * draw(shape, seed=3)
    settings = {"y": y} if with_settings else None
    return check_layer(
        lambda x: loss(x, y), lambda dout, dx: dout * dx, {"x": x}, settings=settings, **options
    )


# ---------------------------------------------------------------------------------------------------------
# Softmax, as learners write it
# ---------------------------------------------------------------------------------------------------------


def softmax(subtract, divide=True):
    """A softmax loss that calls subtract(p, y) in place of p[np.arange(N), y] -= 1."""

    def loss(x, y):
        value, _ = softmax_loss(x, y)
        p = np.exp(x) / np.exp(x).sum(axis=1, keepdims=True)
        result = subtract(p, y)
        dx = p if result is None else result
        return value, dx / len(x) if divide else dx

    return loss


def everywhere(p, y):
    p -= 1


def nowhere(p, y):
    pass


def in_columns(p, y):
    p[:, y] -= 1


def in_rows(p, y):
    p[y] -= 1


def swapped(p, y):
    p[y, np.arange(len(y))] -= 1


def added(p, y):
    p[np.arange(len(y)), y] += 1


def shifted(p, y):
    p[np.arange(len(y)), y - 1] -= 1


def shifted_up(p, y):
    p[np.arange(len(y)), (y + 1) % p.shape[1]] -= 1


def assigned(p, y):
    p[np.arange(len(y)), y] = -1


def number(p, y):
    p -= y.reshape(-1, 1)


def late(p, y):
    p /= len(y)
    p[np.arange(len(y)), y] -= 1


def late_p(p, y):
    p[...] = [[p[n, c] - (c == y[n]) / len(y) for c in range(p.shape[1])] for n in range(len(y))]


def only_label(p, y):
    dx = np.zeros_like(p)
    for n, c in enumerate(y):
        dx[n, c] = p[n, c] - 1
    return dx


def derivative(p, y):
    return p * (1 - p)


def jacobian(p, y):
    dx = np.zeros_like(p)
    for n, label in enumerate(y):
        for c in range(p.shape[1]):
            dx[n, c] = -p[n, label] * ((c == label) - p[n, c])
    return dx


def with_p(change):
    """A softmax whose loss is right, and whose gradient uses change(x) in place of the probabilities."""

    def loss(x, y):
        value, _ = softmax_loss(x, y)
        dx = change(x)
        dx[np.arange(len(x)), y] -= 1
        return value, dx / len(x)

    return loss


def one_p_for_both(normalize, shift=True):
    """A softmax with one wrong p in the loss and in the gradient."""

    def loss(x, y):
        e = np.exp(x - x.max(axis=1, keepdims=True)) if shift else np.exp(x)
        p = normalize(e)
        value = -np.log(p[np.arange(len(x)), y]).mean()
        dx = p.copy()
        dx[np.arange(len(x)), y] -= 1
        return value, dx / len(x)

    return loss


def with_value(value):
    """A loss with the value value(p of the labels, p, N, C), and the right gradient."""

    def loss(x, y):
        _, dx = softmax_loss(x, y)
        p = np.exp(x) / np.exp(x).sum(axis=1, keepdims=True)
        return value(p[np.arange(len(x)), y], p), dx

    return loss


def sum_without_label(x, y):
    value, _ = softmax_loss(x, y)
    e = np.exp(x)
    dx = e / (e.sum(axis=1, keepdims=True) - e[np.arange(len(x)), y].reshape(-1, 1))
    dx[np.arange(len(x)), y] -= 1
    return value, dx / len(x)


def sum_without_class_0(x):
    e = np.exp(x)
    return e / e[:, 1:].sum(axis=1, keepdims=True)


def wrong_loss(words):
    return about(Mistake.LOSS_WRONG, words)


SOFTMAX = {
    "everywhere": (Mistake.ONE_EVERYWHERE, softmax(everywhere)),
    "nowhere": (Mistake.LABEL_TERM_MISSING, softmax(nowhere)),
    "added": (Mistake.LABEL_TERM_NEGATIVE, softmax(added)),
    "shifted": (Mistake.LABELS_SHIFTED, softmax(shifted)),
    "shifted-up": (Mistake.LABELS_SHIFTED, softmax(shifted_up)),
    "assigned": (Mistake.LABEL_ENTRY_CONSTANT, softmax(assigned)),
    "number": (Mistake.LABEL_SUBTRACTED, softmax(number)),
    "late": (Mistake.LABEL_TERM_NOT_DIVIDED, softmax(late, divide=False)),
    "late-p": (Mistake.ONLY_LABEL_TERM_DIVIDED, softmax(late_p, divide=False)),
    "only-label": (Mistake.ONLY_LABEL_ENTRY, softmax(only_label)),
    "derivative": (Mistake.DERIVATIVE_OF_P, softmax(derivative)),
    "jacobian": (Mistake.DERIVATIVE_OF_P, softmax(jacobian)),
    "no-mean": (
        about(Mistake.TOO_LARGE, "N"),
        lambda x, y: (softmax_loss(x, y)[0], len(x) * softmax_loss(x, y)[1]),
    ),
    "over-examples": (Mistake.EXP_OVER_EXAMPLES, with_p(lambda x: np.exp(x) / np.exp(x).sum(axis=0))),
    "over-all": (Mistake.EXP_OVER_ALL, with_p(lambda x: np.exp(x) / np.exp(x).sum())),
    "not-normalized": (Mistake.EXP_NOT_NORMALIZED, with_p(np.exp)),
    "scores": (Mistake.SCORES_FOR_P, with_p(np.copy)),
    "logs": (Mistake.LOGS_FOR_P, with_p(lambda x: x - np.log(np.exp(x).sum(axis=1, keepdims=True)))),
    "without-label": (Mistake.LABEL_LEFT_OUT_OF_SUM, sum_without_label),
    "both-over-examples": (Mistake.EXP_OVER_EXAMPLES, one_p_for_both(lambda e: e / e.sum(axis=0))),
    "both-over-all": (Mistake.EXP_OVER_ALL, one_p_for_both(lambda e: e / e.sum())),
    "both-not-normalized": (Mistake.EXP_NOT_NORMALIZED, one_p_for_both(lambda e: e)),
    "both-over-examples-unshifted": (
        Mistake.EXP_OVER_EXAMPLES,
        one_p_for_both(lambda e: e / e.sum(axis=0), shift=False),
    ),
    "both-over-all-unshifted": (Mistake.EXP_OVER_ALL, one_p_for_both(lambda e: e / e.sum(), shift=False)),
    "loss-sum": (
        wrong_loss("is a sum over the examples, not a mean"),
        with_value(lambda q, p: -np.log(q).sum()),
    ),
    "loss-sign": (wrong_loss("has the wrong sign"), with_value(lambda q, p: np.log(q).mean())),
    "loss-size": (
        wrong_loss("is divided by the number of scores, N C, not by N"),
        with_value(lambda q, p: -np.log(q).sum() / p.size),
    ),
    "loss-log2": (
        wrong_loss("takes another logarithm than the natural one"),
        with_value(lambda q, p: -np.log2(q).mean()),
    ),
    "loss-no-log": (wrong_loss("lacks the logarithm"), with_value(lambda q, p: -q.mean())),
    "loss-1-p": (wrong_loss("lacks the logarithm"), with_value(lambda q, p: 1 - q.mean())),
}


# ---------------------------------------------------------------------------------------------------------
# The hinge loss, as learners write it
# ---------------------------------------------------------------------------------------------------------


def svm(weight=lambda margin: 1.0, at_label=None, delta=1.0, label_too=False, value=None, sign=1):
    """A hinge loss, class by class.

    - weight: a function of a margin that gives its class's gradient; at_label: a function of (the weights of
      an example's classes, N) that gives the label's entry, by default minus their sum
    - delta: the margin in the gradient; label_too: whether the label has a margin as well
    - value: a function of (x, y) that gives the loss, by default the right one
    """

    def loss(x, y):
        N, C = x.shape
        dx = np.zeros_like(x)
        for n in range(N):
            for c in range(C):
                margin = sign * (x[n, c] - x[n, y[n]]) + delta
                if margin > 0 and (label_too or c != y[n]):
                    dx[n, c] += weight(margin)
            weights = dx[n].copy()
            if at_label is None:
                dx[n, y[n]] = -weights.sum()
            else:
                dx[n, y[n]] = at_label(weights, N)
        return svm_loss(x, y)[0] if value is None else value(x, y), dx / N

    return loss


def hinge_value(delta=1.0, power=1, label_too=False, largest=False, sign=1):
    def value(x, y):
        own = x[np.arange(len(x)), y].reshape(-1, 1)
        margins = np.maximum(0, sign * (x - own) + delta)
        if not label_too:
            margins[np.arange(len(x)), y] = 0
        per_example = margins.max(axis=1) if largest else (margins**power).sum(axis=1)
        return per_example.mean()

    return value


def all_counted(x, y):
    margins = np.maximum(0, x - x[np.arange(len(x)), y].reshape(-1, 1) + 1)
    margins[np.arange(len(x)), y] = 0
    dx = (margins >= 0) * 1.0  # a margin is never negative
    dx[np.arange(len(x)), y] = 0
    dx[np.arange(len(x)), y] = -dx.sum(axis=1)
    return margins.sum() / len(x), dx / len(x)


def all_counted_and_label(x, y):
    value, _ = svm_loss(x, y)
    dx = np.ones_like(x)
    dx[np.arange(len(x)), y] -= dx.sum(axis=1)
    return value, dx / len(x)


def only_largest(x, y):
    dx = np.zeros_like(x)
    for n, label in enumerate(y):
        margins = x[n] - x[n, label] + 1
        margins[label] = 0
        if margins.max() > 0:
            dx[n, margins.argmax()] += 1
            dx[n, label] -= 1
    return svm_loss(x, y)[0], dx / len(x)


def counted_over_examples(x, y):
    value, dx = svm_loss(x, y)
    ones = (dx > 0) * 1.0
    ones[np.arange(len(x)), y] -= ones.sum(axis=0)[y]
    return value, ones / len(x)


def svm_shifted(x, y):
    return svm_loss(x, y)[0], svm_loss(x, (y + 1) % x.shape[1])[1]


SVM = {
    "once": (Mistake.LABEL_COUNTED_ONCE, svm(at_label=lambda weights, N: -1)),
    "once-if-any": (Mistake.LABEL_COUNTED_ONCE, svm(at_label=lambda weights, N: -1.0 * weights.any())),
    "own-margin": (Mistake.LABEL_MARGIN_COUNTED, svm(at_label=lambda weights, N: -weights.sum() - 1)),
    "own-margin-both": (
        Mistake.LABEL_MARGIN_COUNTED,
        svm(label_too=True, value=hinge_value(label_too=True)),
    ),
    "no-label": (Mistake.LABEL_TERM_MISSING, svm(at_label=lambda weights, N: 0)),
    "label-sign": (Mistake.LABEL_TERM_NEGATIVE, svm(at_label=lambda weights, N: weights.sum())),
    "label-not-divided": (
        Mistake.LABEL_TERM_NOT_DIVIDED,
        svm(at_label=lambda weights, N: -N * weights.sum()),
    ),
    "margins": (Mistake.MARGINS_FOR_ONES, svm(weight=lambda margin: margin)),
    "margins-no-label": (
        Mistake.MARGINS_FOR_ONES,
        svm(weight=lambda margin: margin, at_label=lambda weights, N: 0),
    ),
    "margins-count": (
        Mistake.MARGINS_FOR_ONES,
        svm(weight=lambda margin: margin, at_label=lambda weights, N: -np.count_nonzero(weights)),
    ),
    "squared": (Mistake.MARGINS_SQUARED, svm(weight=lambda margin: 2 * margin)),
    "no-margin": (Mistake.NO_MARGIN, svm(delta=0)),
    "minus-margin": (Mistake.OTHER_MARGIN, svm(delta=-1)),
    "wide-margin": (Mistake.OTHER_MARGIN, svm(delta=2)),
    "reversed": (Mistake.MARGIN_REVERSED, svm(sign=-1)),
    "all": (Mistake.ALL_CLASSES_COUNTED, all_counted),
    "all-and-label": (Mistake.ALL_CLASSES_COUNTED, all_counted_and_label),
    "largest": (Mistake.ONE_CLASS_COUNTED, only_largest),
    "over-examples": (Mistake.COUNTED_OVER_WRONG_AXIS, counted_over_examples),
    "shifted": (Mistake.LABELS_SHIFTED, svm_shifted),
    "loss-sum": (
        wrong_loss("is a sum over the examples, not a mean"),
        svm(value=lambda x, y: len(x) * hinge_value()(x, y)),
    ),
    "loss-no-margin": (wrong_loss("lacks the margin of 1"), svm(value=hinge_value(delta=0))),
    "loss-margin": (wrong_loss("has another margin than 1"), svm(value=hinge_value(delta=2.5))),
    "loss-margin-own": (
        wrong_loss("has another margin than 1"),
        svm(value=hinge_value(delta=0.3, label_too=True)),
    ),
    "loss-squared": (wrong_loss("squares the margins"), svm(value=hinge_value(power=2))),
    "loss-largest": (wrong_loss("counts only the largest margin"), svm(value=hinge_value(largest=True))),
    "loss-reversed": (wrong_loss("swaps the two scores in the margin"), svm(value=hinge_value(sign=-1))),
}

LOSSES = {f"softmax-{name}": bug for name, bug in SOFTMAX.items()} | {
    f"svm-{name}": bug for name, bug in SVM.items()
}


COINCIDE = {  # mistakes that give, with these few scores, the numbers of another one
    ("svm-no-margin", (6, 2)): "one example is left out",
    ("svm-wide-margin", (4, 4)): "every class is within the margin of 2",
    ("svm-wide-margin", (8, 3)): "every class is within the margin of 2",
    ("svm-over-examples", (3, 7)): "each label is within the margin of one example",
}
SWAPPED_LABELS = {"svm-loss-reversed"}  # with two classes, that is what swapped scores are


@pytest.mark.parametrize("with_settings", [True, False], ids=["labels", "no-labels"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("name", LOSSES)
def test_a_mistake_in_a_loss_is_named_first(name, shape, with_settings):
    mistake, loss = LOSSES[name]
    if (name, shape) in COINCIDE:
        pytest.skip(COINCIDE[name, shape])
    report = check_loss(loss, shape, with_settings)
    if report.status != FAIL:
        assert right_by_chance(loss, shape), "a mistake passes"
        return
    if shape[1] == 2 and not with_settings and name in SWAPPED_LABELS:
        mistake = Mistake.LABELS_SHIFTED
    if name.endswith("no-mean") and shape[0] == shape[1]:
        mistake = about(Mistake.TOO_LARGE, "N or C")
    titles = [cause.title for cause in report.all_causes()]
    assert titles[:1] == [title_of(mistake)], str(report)


def right_by_chance(loss, shape):
    """Whether a wrong loss has the right gradient of its own value at these scores."""
    x, y = 0.8 * draw(shape, seed=3), labels(*shape)
    rights = [right(x, y)[1] for right in (softmax_loss, svm_loss)]
    return any(np.allclose(loss(x, y)[1], right) for right in rights)


@pytest.mark.parametrize("name", LOSSES)
def test_few_mistakes_are_right_by_chance(name):
    """At most shapes every mistake shows: the test above does not pass because there is nothing to see."""
    _, loss = LOSSES[name]
    statuses = [check_loss(loss, shape, False).status for shape in SHAPES]
    assert statuses.count(FAIL) >= 4


@pytest.mark.parametrize("with_settings", [True, False], ids=["labels", "no-labels"])
@pytest.mark.parametrize(
    "mistake, subtract, y",
    [
        (Mistake.ONE_IN_COLUMNS, in_columns, [1, 0, 1]),
        (Mistake.ONE_IN_ROWS, in_rows, [1, 0, 1]),
        (Mistake.LABEL_AXES_SWAPPED, swapped, [2, 0, 1]),
    ],
)
def test_a_wrong_index_is_named(mistake, subtract, y, with_settings):
    report = check_loss(softmax(subtract), (3, 4), with_settings, np.array(y))
    assert [cause.title for cause in report.all_causes()] == [title_of(mistake)]


def test_a_label_that_every_class_has_makes_columns_the_whole():
    report = check_loss(softmax(in_columns), (6, 3), False, np.array([0, 1, 2, 0, 1, 2]))
    assert [cause.title for cause in report.all_causes()] == [title_of(Mistake.ONE_EVERYWHERE)]


@pytest.mark.parametrize("loss", [softmax_loss, svm_loss])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("with_settings", [True, False])
def test_a_right_loss_is_not_accused(loss, shape, with_settings):
    report = check_loss(loss, shape, with_settings)
    assert report.status != FAIL
    assert report.all_causes() == []


def other_loss(x, y):
    """A loss of scores that is neither softmax nor hinge: a mean of squares."""
    is_label = np.eye(x.shape[1])[y]
    return np.mean((x - is_label) ** 2), (x - is_label) / x.size * 2.3 + 0.01 * x**2


MESSES = {
    "noise": lambda dx, rng: dx + 0.1 * rng.standard_normal(dx.shape),
    "squares": lambda dx, rng: dx * np.abs(dx),
    "some": lambda dx, rng: dx * (1 + 0.5 * (rng.random(dx.shape) < 0.5)) + 0.01,
}


@pytest.mark.parametrize("mess", MESSES)
@pytest.mark.parametrize("right", [softmax_loss, svm_loss, other_loss])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_an_unknown_mistake_in_a_loss_has_no_cause(right, mess, shape):
    def loss(x, y):
        value, dx = right(x, y)
        return value, MESSES[mess](dx, np.random.default_rng(4))

    if (right, mess) == (svm_loss, "squares") and shape[1] == 2:
        pytest.skip("the squares of 0 and 1 / N are the right gradient over N")
    report = check_loss(loss, shape, False)
    assert report.status == FAIL
    assert report.all_causes() == []


@pytest.mark.parametrize("right", [softmax_loss, svm_loss])
@pytest.mark.parametrize(
    "y", [np.array([0, 9, 1, 2, 3]), [0, 1], "labels", None, np.full((5, 4), 0.5), [[1], [2, 3]]]
)
def test_labels_that_do_not_fit_are_ignored(right, y):
    x, true = draw((5, 4)), np.array([0, 3, 1, 2, 3])

    def forward(x):
        value, dx = right(x, true)
        return value, dx

    report = check_layer(forward, lambda dout, dx: 3 * dout * dx * (dx > 0), {"x": x}, settings={"y": y})
    assert report.status == FAIL


@pytest.mark.parametrize("right", [softmax_loss, svm_loss])
def test_the_formula_of_a_loss_gives_its_gradient(right):
    x, y = draw((5, 4)), np.array([0, 3, 1, 2, 3])
    value, dx = right(x, y)
    known = {"inputs": {"scores": x}, "out": np.array(value), "dout": np.array(1.7)}
    found = right_gradients(Observed(**known, settings={"y": y}))
    np.testing.assert_allclose(found["scores"], 1.7 * dx, rtol=1e-12)
    assert right_gradients(Observed(**known)) == {}
    assert right_gradients(Observed(**known, settings={"y": (y + 1) % 4})) == {}


@pytest.mark.parametrize("right", [softmax_loss, svm_loss])
def test_a_gradient_wrong_at_the_labels_in_a_way_of_its_own_is_placed(right):
    def at_labels(x, y):
        value, dx = right(x, y)
        dx[np.arange(len(x)), y] *= 1.0 + np.arange(len(x)) / 7
        return value, dx

    def elsewhere(x, y):
        value, dx = right(x, y)
        is_label = np.eye(x.shape[1])[y]
        return value, dx * (
            is_label + (1 - is_label) * (1.5 + np.sin(np.arange(x.size)).reshape(x.shape) / 4)
        )

    for loss, mistake in ((at_labels, Mistake.ONLY_AT_LABELS), (elsewhere, Mistake.ONLY_BESIDE_LABELS)):
        report = check_loss(loss, (8, 5), False)
        assert [cause.title for cause in report.all_causes()] == [title_of(mistake)], str(report)


def test_classes_are_called_classes():
    def loss(x, y):
        value, dx = softmax_loss(x, y)
        dx[:, 2] = 0
        return value, dx

    (cause,) = check_loss(loss, (5, 4), False).all_causes()
    assert cause.title == title_of(about(Mistake.SOME_SLICES, "classes"))
    report = check_loss(
        lambda x, y: (softmax_loss(x, y)[0], softmax_loss(x, y)[1] / x.shape[1]), (5, 4), False
    )
    assert [cause.title for cause in report.all_causes()] == ["it is C times too small"]


@pytest.mark.parametrize(
    "x", [np.zeros((1, 2)), np.full((2, 3), 1e3), np.array([[0.0, 900.0], [1e-9, 0]]), np.zeros((3, 1))]
)
@pytest.mark.parametrize("out", [np.array(0.0), np.array(np.log(2)), np.array([1.0]), np.array(1e300)])
def test_odd_scores_raise_nothing(x, out):
    for expected in (np.zeros_like(x), np.full_like(x, 0.25), np.eye(*x.shape)):
        case = Case(
            draw(x.shape),
            expected,
            "x",
            inputs={"x": x},
            out=out,
            dout=np.array(0.5),
            numeric={"x": expected},
        )
        diagnose(case)
        diagnose(Case(draw(x.shape), expected, "x", inputs={"x": x}, out=out, dout=np.array(0.0)))


def test_the_subjects_of_the_other_tests_are_these_losses():
    assert broken.SUBJECTS["softmax"].forward is softmax_loss
