"""The comparisons of the learners' tests: as strict as NumPy's, and their failures say what is wrong."""

from types import SimpleNamespace

import numpy as np
import pytest
from agreement import (
    DisagreementError,
    assert_close,
    assert_dtype,
    assert_equal,
    assert_layer,
    assert_loss,
    assert_model_gradients,
)
from conftest import (
    Layer,
    assert_agrees_with_torch,
    assert_moved,
    assert_same,
    check_arguments_are_left_alone,
    check_dtype_is_that_of_x,
    check_numeric_gradients,
    disagreements,
    draw,
    layer_checks,
    same_in,
    validation,
    write_what_is_wrong,
)
from torch.nn import functional

from cs231n.classifiers.fc_net import TwoLayerNet
from cs231n.layers import (
    affine_backward,
    affine_forward,
    batchnorm_backward,
    batchnorm_forward,
    dropout_backward,
    dropout_forward,
)

pytestmark = pytest.mark.q1

AFFINE = Layer(affine_forward, affine_backward, ((4, 2, 3), (6, 5), (5,)))
PAIRS = [  # actual, expected
    (1.0, 1.0),
    (1.0, 1.0 + 1e-6),
    ([1.0, 2.0], [1.0, 2.0]),
    ([1.0, 2.0], [1.0, 2.0 + 1e-6]),
    ([1.0, np.nan], [1.0, np.nan]),
    ([1.0, np.nan], [1.0, 2.0]),
    ([1.0, np.inf], [1.0, np.inf]),
    ([1.0, -np.inf], [1.0, np.inf]),
    ([0.0, 0.0], 0),
    ([0.0, 1e-3], 0),
    ([[1.0, 2.0]], [1.0, 2.0]),
    ([1, 2], [1.0, 2.0]),
    ([], []),
    (None, [1.0]),
    ("text", 1.0),
]
TOLERANCES = [(1e-7, 0.0), (1e-5, 0.0), (0.0, 1e-2)]


def message_of(test, *arguments, **settings):
    """What a comparison says that has to fail."""
    with pytest.raises(DisagreementError) as error:
        test(*arguments, **settings)
    return str(error.value)


def refuses(compare, *arguments, **settings):
    try:
        compare(*arguments, **settings)
    except Exception:
        return True
    return False


@pytest.mark.parametrize("actual, expected", PAIRS)
def test_it_is_as_strict_as_numpy(actual, expected):
    assert refuses(assert_equal, "x", actual, expected) == refuses(
        np.testing.assert_array_equal, actual, expected
    )
    for rtol, atol in TOLERANCES:
        tolerances = {"rtol": rtol, "atol": atol}
        assert refuses(assert_close, "x", actual, expected, **tolerances) == refuses(
            np.testing.assert_allclose, actual, expected, **tolerances
        )


@pytest.mark.parametrize("actual, expected", [(1.0, [1.0]), (1.0, [1.0, 1.0]), ([1.0], 1.0)])
def test_a_number_is_no_array(actual, expected):
    actual, expected = np.array(actual), np.array(expected)
    assert refuses(assert_same, actual, expected, np.float64)
    assert refuses(assert_equal, "x", actual, expected) == bool(expected.ndim)


def test_the_dtype_counts():
    x = np.ones(3, np.float32)
    assert_same(x, x, np.float32)
    assert "expected float64" in message_of(assert_same, x, x, np.float64, "f out")
    assert message_of(assert_dtype, "f out", None, np.float64).startswith("f out has the wrong dtype.")


def test_the_largest_differences_come_first_and_not_all_of_them():
    message = message_of(assert_close, "f out", np.arange(9.0), np.zeros(9), "It should be 0.")
    lines = [line.strip() for line in message.split("\n")]
    assert lines[0] == "f out is wrong."
    assert lines[1:4] == [f"({i},): got {i}, expected 0" for i in (8, 7, 6)]
    assert lines[4:] == ["8 of 9 entries are wrong.", "It should be 0."]


def test_a_difference_in_the_last_digit_can_be_seen():
    assert "It is 1.0000000000000002, expected 1." in message_of(assert_equal, "x", 1.0 + 2**-52, 1.0)


def test_a_constant_factor_is_named():
    x = draw((2, 3))
    assert "Every entry is 0.6 times what it should be." in message_of(assert_close, "x", 0.6 * x, x)
    assert "times what it should be" not in message_of(assert_close, "x", x + 1, x)


def test_a_wrong_shape_is_named():
    assert "It has the shape (3, 2), expected (2, 3)." in message_of(
        assert_close, "x", np.ones((3, 2)), np.ones((2, 3))
    )


def wrong_affine(change):
    """An affine layer whose gradients are change(dx, dw, db)."""

    def backward(dout, cache):
        return change(*affine_backward(dout, cache))

    return AFFINE._replace(backward=backward)


def in_torch(x, w, b):
    return functional.linear(x.flatten(1), w.T, b)


@pytest.mark.parametrize(
    "change, expected",
    [
        (lambda dx, dw, db: (dx, -dw, db), "backward dw is wrong: its sign is wrong."),
        (lambda dx, dw, db: (dx, dw / 4, db), "backward dw is wrong: it is N times too small."),
        (lambda dx, dw, db: (dx, dw.T, db), "backward dw is wrong: it is transposed."),
        (lambda dx, dw, db: (None, dw, db), "backward dx is wrong"),
        (lambda dx, dw, db: (dx, dw), "backward returns"),
    ],
)
def test_a_wrong_gradient_is_diagnosed_against_numeric_and_known_ones(change, expected):
    layer = wrong_affine(change)
    arrays, dout = layer.draw()
    message = message_of(assert_agrees_with_torch, layer, in_torch, arrays, dout, np.float64)
    assert message.startswith(expected)
    numeric = message_of(check_numeric_gradients, layer)
    assert numeric.startswith(expected.removesuffix(" returns")) or expected == "backward returns"
    assert "PASS" not in numeric


def test_few_entries_are_not_diagnosed():
    layer = wrong_affine(lambda dx, dw, db: (dx, 2 * dw, db))
    arrays = [draw((1, 2)), draw((2, 1), seed=1), draw(1, seed=2)]
    message = message_of(assert_agrees_with_torch, layer, in_torch, arrays, draw((1, 1)), np.float64)
    assert message.startswith("backward dw is wrong.\n")
    assert "mistake" not in message


def test_an_unknown_mistake_is_not_accused():
    layer = wrong_affine(lambda dx, dw, db: (dx, dw + draw(dw.shape, seed=9), db))
    message = message_of(check_numeric_gradients, layer)
    assert message.startswith("backward dw is wrong.\n    No known mistake matches.")


def test_the_docstring_says_what_a_forward_pass_has_to_do():
    def affine_forward_wrong(x, w, b):
        """Compute x times w, plus b.

        Returns out (N, M).
        """
        out, cache = affine_forward(x, w, b)
        return out - 2 * b, cache

    layer = AFFINE._replace(forward=affine_forward_wrong)
    arrays, dout = layer.draw()
    message = message_of(assert_agrees_with_torch, layer, in_torch, arrays, dout, np.float32)
    assert message.startswith("affine_forward_wrong out is wrong.\n")
    assert "affine_forward_wrong has to do this: Compute x times w, plus b." in message


def test_the_mode_is_named():
    param = {"mode": "test", "running_mean": np.zeros(3), "running_var": np.ones(3)}
    layer = Layer(batchnorm_forward, batchnorm_backward, ((4, 3), (3,), (3,)), param)
    arrays, dout = layer.draw()
    out = layer(*arrays)[0] + 1
    message = message_of(assert_layer, layer, arrays, dout, out, (), rule="It uses the running averages.")
    assert message.startswith("batchnorm_forward out in test mode is wrong.\n")
    assert message.endswith("It uses the running averages.")


def test_what_a_layer_was_given_is_named():
    layer = Layer(dropout_forward, dropout_backward, ((3, 4),), {"mode": "train", "p": 0.5, "seed": 1})
    arrays, dout = layer.draw()
    message = message_of(assert_layer, layer, arrays, dout, layer(*arrays)[0], (dout,))
    assert message.startswith("dropout_backward dx in training mode is wrong")
    assert "Given: x (3, 4), mode train, p 0.5, seed 1." in message


def test_swapped_running_averages_are_explained():
    bn_param = {"running_mean": np.ones(3), "running_var": np.ones(3)}
    message = message_of(assert_moved, batchnorm_forward, bn_param, np.full(3, 0.1), np.ones(3))
    assert message.startswith("bn_param['running_mean'] after batchnorm_forward in training mode is wrong.\n")
    assert "momentum * running_mean + (1 - momentum) * the minibatch's mean" in message
    swapped = message_of(
        assert_moved, batchnorm_forward, bn_param, np.full(3, 0.1), np.ones(3), swapped=(np.ones(3), None)
    )
    assert "momentum and 1 - momentum are swapped." in swapped
    assert "swapped" not in message
    missing = message_of(assert_moved, batchnorm_forward, {}, np.ones(3), np.ones(3))
    assert "It is None, expected numbers." in missing


def net_and_batch():
    np.random.seed(0)
    model = TwoLayerNet(6, 5, 3, weight_scale=1, reg=0.7)
    return model, draw((4, 6)), np.array([0, 2, 1, 1])


@pytest.mark.parametrize(
    "times, sentence",
    [
        (0, "is missing."),
        (2, "is twice what"),
        (0.5, "is half of what"),
        (-1, "has the wrong sign."),
        (0.3, ""),
    ],
)
def test_a_wrong_penalty_is_named(times, sentence):
    model, _, _ = net_and_batch()
    message = message_of(assert_loss, model, 1.0 + times * 0.25, 1.0, 0.25, rtol=1e-7)
    expected = f" is wrong: the penalty {sentence}" if sentence else " is wrong.\n"
    assert message.startswith(f"TwoLayerNet.loss loss{expected}")
    assert_loss(model, 1.25, 1.0, 0.25, rtol=1e-7)


def test_a_gradient_of_a_net_is_diagnosed():
    model, X, y = net_and_batch()
    _, expected = model.loss(X, y)
    assert_model_gradients(model, X, y, dict(expected), expected)
    wrong = expected | {"W1": expected["W1"] - model.reg * model.params["W1"]}
    message = message_of(assert_model_gradients, model, X, y, wrong, expected)
    assert message.startswith("TwoLayerNet.loss dW1 is wrong: the regularization term is missing.")
    del wrong["b2"]
    assert "expected W1, W2, b1, b2" in message_of(assert_model_gradients, model, X, y, wrong, expected)


def test_a_layer_of_the_wrong_dtype_or_that_returns_a_view_is_named():
    def backward(dout, cache):
        dx, dw, db = affine_backward(dout, cache)
        return dx, dw.astype(np.float64), db

    message = message_of(check_dtype_is_that_of_x, AFFINE._replace(backward=backward))
    assert message.startswith("backward dw has the wrong dtype.")

    def backward_with_view(dout, cache):
        dx, dw, _ = affine_backward(dout, cache)
        return dx, dw, dout[0]

    message = message_of(check_arguments_are_left_alone, AFFINE._replace(backward=backward_with_view))
    assert message.startswith("backward_with_view db shares memory")


def test_disagreements_in_a_group_of_errors():
    class Several(Exception):  # noqa: N818  stands for ExceptionGroup, which Python 3.10 has not
        exceptions = (DisagreementError("a"), DisagreementError("b"), ValueError("c"))

    assert disagreements(Several()) == {"a": "", "b": ""}
    assert disagreements(DisagreementError("a")) == {"a": ""}
    assert disagreements(ValueError("a")) == disagreements(None) == {}


def test_a_compare_of_one_dtype_is_assert_same():
    same_in(np.float64)("x", np.ones(2), np.ones(2))
    assert refuses(same_in(np.float32), "x", np.ones(2), np.ones(2))


def test_the_check_of_refused_shapes_is_the_only_one_of_validation():
    marked = [param.values[0].__name__ for param in layer_checks().mark.args[1] if param.marks]
    assert marked == ["check_upstream_gradient_has_the_shape_of_the_output"]
    assert validation.name == "validation"


def test_the_summary_lists_every_wrong_result_once_and_outputs_first():
    lines = []
    found = [
        {"f_backward dx is wrong": ""},
        {"f_backward dx is wrong": "its sign is wrong"},
        {"f out is wrong": ""},
    ]
    reporter = SimpleNamespace(
        stats={"failed": [SimpleNamespace(wrong=wrong) for wrong in found] + [SimpleNamespace()]},
        section=lines.append,
        write_line=lines.append,
    )
    write_what_is_wrong(reporter)
    assert lines == [
        "what is wrong",
        "f out is wrong (1 test)",
        "f_backward dx is wrong: its sign is wrong (2 tests)",
        "Correct the first one first: the others may follow from it.",
    ]
    lines.clear()
    reporter.stats = {"failed": [SimpleNamespace()]}
    write_what_is_wrong(reporter)
    assert lines == []
