"""What enters the library is validated at the door: the error names the argument, the rule and the remedy."""

import re

import numpy as np
import pytest
import torch
from conftest import draw

from cs231n import fast_layers, fast_optim, layers, optim
from cs231n.classifiers.cnn import ThreeLayerConvNet
from cs231n.classifiers.fc_net import FullyConnectedNet, TwoLayerNet
from cs231n.solver import Solver
from cs231n.validation import (
    as_float_array,
    describe_not_finite,
    require_choice,
    require_integer,
    require_number,
    require_pair,
)

pytestmark = pytest.mark.q1

N, D, C = 6, 4, 3
LABELS = np.array([0, 1, 2, 2, 1, 0])


def refuses(text, error=ValueError):
    return pytest.raises(error, match=re.escape(text))


def make_net(**options):
    return FullyConnectedNet([5], D, C, **options)


def make_data(**changed):
    X = draw((N, D))
    return {"X_train": X, "y_train": LABELS, "X_val": X, "y_val": LABELS} | changed


def make_solver(model=None, **changed):
    return Solver(model or make_net(), make_data(**changed), batch_size=N, num_epochs=2, verbose=False)


# Labels


def with_value(value, index, dtype=float):
    labels = LABELS.astype(dtype)
    labels[index] = value
    return labels


WRONG_LABELS = {  # labels, and how the error that refuses them ends; {y} is what the caller calls them
    "text": (LABELS.astype(str), "got dtype <U21. Pass {y}.astype(float).astype(int)."),
    "bytes": (LABELS.astype("S1"), "got dtype |S1. Pass {y}.astype(float).astype(int)."),
    "names": (
        np.array(list("abccba")),
        "got dtype <U1. Number the classes: pass np.unique({y}, return_inverse",
    ),
    "whole-floats": (LABELS.astype(np.float32), "got dtype float32. Pass {y}.astype(int)."),
    "broken-floats": (
        with_value(1.5, 4),
        "got dtype float64, with 1.5 at index 4. Labels are the numbers of classes, not quantities",
    ),
    "rounded-floats": (
        with_value(1 - 1e-6, 1),
        " at index 1. Rounding makes them whole: pass np.rint({y}).as",
    ),
    "nan": (
        with_value(np.nan, 2),
        "got dtype float64, with nan at index 2. Leave out examples without a label.",
    ),
    "objects": (LABELS.astype(object), "got dtype object. Pass {y}.astype(int)."),
    "none-within": (with_value(None, 3, object), "with None at index 3. Leave out examples without a label."),
    "booleans": (LABELS > 0, "got dtype bool. Pass {y}.astype(int)."),
    "complex": (LABELS + 0j, "got dtype complex128. Number the classes: pass np.unique({y}"),
    "dates": (np.zeros(N, "M8[D]"), "got dtype datetime64[D]. Number the classes"),
    "float-tensor": (torch.from_numpy(LABELS).float(), "got dtype float32. Pass {y}.astype(int)."),
    "tensor-with-gradient": (
        torch.ones(N, requires_grad=True),
        "A tensor is converted by {y}.detach().cpu().numpy().",
    ),
    "masked": (np.ma.masked_equal(LABELS, 2), "{y} must be an array without a mask"),
    "one-hot": (np.eye(C)[LABELS], "(6, 3). They are one-hot: pass {y}.argmax(axis=1)."),
    "one-hot-integers": (np.eye(C, dtype=int)[LABELS], "They are one-hot: pass {y}.argmax(axis=1)."),
    "probabilities": (np.full((N, C), 1 / 3), "If they have a column per class: pass {y}.argmax(axis=1)."),
    "column": (LABELS[:, np.newaxis], "(6, 1). Pass {y}.ravel()."),
    "row": (LABELS[np.newaxis], "(1, 6). Pass {y}.ravel()."),
    "too-few": (LABELS[1:], "(5,). Take labels and examples from the same rows."),
    "number": (3, "(). Pass an array with a label per example."),
    "ragged": ([[0], [1, 2]], "{y} must be an array; NumPy cannot make one of this list"),
    "from-1": (LABELS + 1, "the first one outside at index 2. Labels that start at 1: pass {y} - 1."),
    "from-1-uint8": (
        np.uint8(LABELS + 1),
        "got labels from 1 to 3, the first one outside at index 2. Labels th",
    ),
    "minus-1": (
        LABELS - 1,
        "at index 0. If -1 marks examples without a label, leave these out: {y} >= 0 cho",
    ),
    "signs": (np.where(LABELS > 0, 1, -1), "at index 0. Labels -1 and 1: pass ({y} + 1) // 2."),
    "negative": (
        LABELS - 5,
        "at index 0. Number the classes from 0: pass np.unique({y}, return_inverse=True)[1].",
    ),
    "too-many": (
        LABELS * 5,
        "got labels from 0 to 10, the first one outside at index 1. Each example has 3 scores, one per "
        "class; a model with num_classes=11 has enough.",
    ),
}
wrong_labels = pytest.mark.parametrize("y, ending", WRONG_LABELS.values(), ids=WRONG_LABELS)


@wrong_labels
@pytest.mark.parametrize("loss_function", [layers.softmax_loss, layers.svm_loss])
def test_a_loss_refuses_labels(loss_function, y, ending):
    with refuses(ending.format(y="y")) as caught:
        loss_function(draw((N, C)), y)
    assert str(caught.value).startswith("y must ")


@wrong_labels
@pytest.mark.parametrize("make", [make_net, lambda: TwoLayerNet(D, 5, C)], ids=["deep", "two-layers"])
def test_a_model_refuses_labels(make, y, ending):
    with refuses(ending.format(y="y")):
        make().loss(draw((N, D)), y)


@wrong_labels
def test_check_accuracy_refuses_labels(y, ending):
    with refuses(ending.format(y="y")):
        make_solver().check_accuracy(draw((N, D)), y)


@wrong_labels
@pytest.mark.parametrize("name", ["y_train", "y_val"])
def test_training_on_wrong_labels_leaves_the_model_as_it_was(name, y, ending):
    model = make_net()
    before = {key: param.copy() for key, param in model.params.items()}
    with pytest.raises(ValueError) as caught:
        make_solver(model, **{name: y}).train()
    *_, remedy = ending.split(". ")
    remedy = remedy.split("num_classes=")[0]  # of the labels that the first minibatch happens to have
    assert remedy.format(y=name) in str(caught.value) or remedy.format(y="y") in str(caught.value)
    for key, param in before.items():
        np.testing.assert_array_equal(model.params[key], param)


@pytest.mark.parametrize(
    "y", [LABELS.astype(str), LABELS - 1, np.eye(C)[LABELS]], ids=["text", "-1", "one-hot"]
)
@pytest.mark.parametrize("name", ["y_train", "y_val"])
def test_the_solver_says_which_labels_are_wrong_before_it_trains(name, y):
    with pytest.raises(ValueError, match=rf"{name}\b.*{name}\b.*\.$"):
        make_solver(**{name: y})


def test_labels_that_only_the_models_scores_tell_from_classes_are_refused_with_their_name():
    with refuses(
        "y_val must hold labels from 0 to 2; got labels from 1 to 3, the first one outside at index 2."
    ):
        make_solver(y_val=LABELS + 1).train()
    # Counted in y_train, not in the minibatch, in whose first step the model meets them.
    with refuses(
        "y_train must hold labels from 0 to 2; got labels from 1 to 3, the first one outside at index 2. "
        "Labels that start at 1: pass y_train - 1."
    ):
        make_solver(y_train=LABELS + 1).train()


@pytest.mark.parametrize(
    "y", [torch.from_numpy(LABELS), LABELS.tolist(), LABELS.astype(np.uint8)], ids=["tensor", "list", "uint8"]
)
def test_labels_of_every_integer_kind_work(y):
    loss, _ = layers.softmax_loss(draw((N, C)), y)
    assert loss == layers.softmax_loss(draw((N, C)), LABELS)[0]
    solver = make_solver(y_train=y, y_val=y)
    solver.train()
    assert solver.check_accuracy(draw((N, D)), y) == solver.best_val_acc


# Scores


@pytest.mark.parametrize("shape", [(N,), (1, N, C)])
def test_a_loss_refuses_scores_that_are_no_matrix(shape):
    text = f"x must have the axes (N, C); got the shape {shape}. Every class has a column of scores, so"
    with refuses(text):
        layers.softmax_loss(np.zeros(shape), LABELS)


def test_a_loss_of_one_column_knows_class_0_only():
    assert layers.softmax_loss(np.ones((2, 1)), np.array([0, 0]))[0] == 0
    with refuses("Each example has a single score, one per class; a model with num_classes=2 has enough."):
        layers.softmax_loss(np.ones((2, 1)), np.array([0, 1]))


class GivenScores:
    """A model whose scores are chosen, and which learns nothing."""

    def __init__(self, scores):
        self.params = {"b": np.zeros(1)}
        self.scores = scores

    def loss(self, X, y=None):
        return self.scores if y is None else (1.0, {"b": np.zeros(1)})


class IdentityScores(GivenScores):
    """A model whose scores are its examples."""

    def __init__(self):
        super().__init__(None)

    def loss(self, X, y=None):
        return X


@pytest.mark.parametrize("shape", [(N,), (N, 1), (N + 1, C), (N, C, 1), ()])
def test_accuracy_is_measured_on_scores_of_two_classes_or_more(shape):
    text = "model.loss(X) must return scores of shape (6, C), one per example and class, C at least 2; got"
    with refuses(f"{text} {shape}. Every class has a column of scores"):
        make_solver(GivenScores(np.zeros(shape))).train()
    with refuses("(num_classes=2). A model with one output needs another metric: give the Solver metric="):
        make_solver(GivenScores(np.zeros(shape))).check_accuracy(draw((N, D)), LABELS)


@pytest.mark.parametrize("scores", [None, "abc", np.full((N, C), None)])
def test_scores_that_are_no_numbers(scores):
    with refuses("the scores, model.loss(X), must hold real numbers; got"):
        make_solver(GivenScores(scores)).check_accuracy(draw((N, D)), LABELS)


def test_scores_that_are_nan_have_no_highest():
    scores = draw((N, C))
    scores[4, 1] = np.nan
    with refuses("the scores hold 1 NaN, the first at index (4, 1) at iteration 0", FloatingPointError):
        make_solver(GivenScores(scores)).check_accuracy(draw((N, D)), LABELS)
    scores[4, 1] = np.inf
    make_solver(GivenScores(scores)).check_accuracy(draw((N, D)), LABELS)


# NaN and infinity


@pytest.mark.parametrize(
    "indices, value, text",
    [
        ([(3, 2)], np.nan, "1 NaN, the first at index (3, 2)"),
        ([(1, 0), (4, 3)], np.inf, "2 infinite values, the first at index (1, 0)"),
        ([(5, 3)], -np.inf, "1 infinite value, the first at index (5, 3)"),
    ],
)
@pytest.mark.parametrize("name", ["X_train", "X_val"])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_data_that_are_not_finite_are_refused_before_training(name, indices, value, text, dtype):
    X = draw((N, D)).astype(dtype)
    for index in indices:
        X[index] = value
    with refuses(f"{name} must hold finite numbers; got {text}. Mend or leave out these examples"):
        make_solver(**{name: X})
    with refuses(f"X must hold finite numbers; got {text}. Mend or leave out these examples"):
        make_solver(IdentityScores()).check_accuracy(X, LABELS)


@pytest.mark.parametrize(
    "array",
    [
        np.full(4, 1e38, np.float32),
        np.full(40, 6e4, np.float16),
        np.full(3, 2**62),
        np.zeros(3, bool),
        np.zeros(0),
    ],
    ids=lambda array: str(array.dtype),
)
def test_large_numbers_are_finite(array):
    assert describe_not_finite(array) == ""


def test_nan_and_infinity_that_cancel_are_found():
    assert describe_not_finite(np.array([0, np.inf, -np.inf])) == "2 infinite values, the first at index 1"


def test_nan_that_came_into_the_data_later_is_not_blamed_on_the_learning_rate():
    solver = make_solver(X_train=draw((1, D)), y_train=LABELS[:1])
    solver.X_train[0, 1] = np.nan
    text = (
        "That is not the learning rate: the minibatch X (6, 4) holds 6 NaN, the first at index (0, 1). Look"
    )
    with refuses(text, FloatingPointError) as caught:
        solver.train()
    assert "Try a learning rate" not in str(caught.value)


def test_nan_in_the_parameters_a_model_was_made_with_is_not_blamed_on_the_learning_rate():
    model = make_net()
    model.params["W2"][2, 1] = np.nan
    text = "That is not the learning rate: the model was made with 1 NaN, the first at index (2, 1), in W2."
    with refuses(text, FloatingPointError):
        make_solver(model).train()


def test_parameters_that_training_spoiled_are_named_with_the_learning_rate():
    solver = make_solver()
    solver.train()
    solver.num_epochs = 4
    for params in (solver._latest[0], solver.model.params):
        params["b1"][3] = np.inf
    text = "By then the parameters held 1 infinite value, the first at index 3, in b1. Try a learning rate"
    with np.errstate(all="ignore"), refuses(text, FloatingPointError):
        solver.train()


# dtypes

WRONG_DTYPES = [
    (np.float16, ", in which small gradients, and the epsilon 1e-8 of Adam and RMSProp, are 0"),
    (int, ", which would round every weight to a whole number"),
    (np.uint8, ", which would round every weight to a whole number"),
    (bool, ", which would round every weight to a whole number"),
    (np.longdouble, ", which the compiled kernels do not know"),
    (">f4", ", which the compiled kernels do not know"),
    (complex, ", which the compiled kernels do not know"),
    ("single precision", ""),
    (None, ""),
    (torch.float32, ""),
    (32, ""),
]
MODELS = {
    "fully-connected": make_net,
    "convolutional": lambda **options: ThreeLayerConvNet((1, 4, 4), 2, 3, **options),
}
every_model = pytest.mark.parametrize("make", MODELS.values(), ids=MODELS)


@every_model
@pytest.mark.parametrize("dtype, reason", WRONG_DTYPES)
def test_a_model_refuses_other_dtypes(make, dtype, reason):
    with pytest.raises(
        ValueError, match=f"^dtype must be np.float32 or np.float64; got .*{re.escape(reason)}$"
    ):
        make(dtype=dtype)


@every_model
@pytest.mark.parametrize("dtype", [np.float32, "float32", np.dtype("f4"), np.float64, float, "d"])
def test_a_model_computes_in_float32_or_float64(make, dtype):
    model = make(dtype=dtype)
    assert {param.dtype for param in model.params.values()} == {np.dtype(dtype)}


# Parameters

WRONG_PARAMS = {
    "none": (lambda W: None, "must be an array; got None. Make it with np.array(..., dtype=np.float32)."),
    "list": (lambda W: W.tolist(), "must be an array; got a list."),
    "masked": (np.ma.array, "must be an array; got a MaskedArray."),
    "matrix": (lambda W: W.view(np.matrix), "must be an array; got a matrix."),
    "tensor": (torch.from_numpy, "must be an array; got a Tensor."),
    "float16": (
        np.float16,
        "must be np.float32 or np.float64; got dtype('float16'), in which small gradients",
    ),
    "integers": (lambda W: W.astype(int), "got dtype('int64'), which would round every weight"),
    "read-only": (
        lambda W: np.frombuffer(W.tobytes(), W.dtype).reshape(W.shape),
        "must not be read-only, since",
    ),
}


@pytest.mark.parametrize("change, text", WRONG_PARAMS.values(), ids=WRONG_PARAMS)
def test_the_solver_refuses_parameters_that_cannot_be_trained(change, text):
    model = make_net()
    model.params["W1"] = change(model.params["W1"])
    with refuses("model.params['W1'] " + text if text.startswith("must") else text):
        make_solver(model)


@pytest.mark.parametrize("params", [None, [np.zeros(3)], FullyConnectedNet])
def test_a_model_without_parameters(params):
    with refuses("model must have params, a dictionary of arrays; got "):
        make_solver(params) if params is FullyConnectedNet else make_solver(
            type("Model", (), {"params": params})()
        )


def test_a_gradient_that_is_missing():
    model = make_net()
    loss = model.loss
    model.loss = lambda X, y=None: (
        loss(X) if y is None else (1.0, {"W1": np.zeros((D, 5)), "b2": np.zeros(C)})
    )
    text = (
        "model.loss(X, y) must return a gradient for every parameter; W2, b1 is missing; it returned W1, b2"
    )
    with refuses(text):
        make_solver(model).train()


# Data and options


def test_data_that_are_no_dictionary():
    X = draw((N, D))
    with refuses(
        'data must be a dictionary, such as {"X_train": X, "y_train": y, "X_val": ..., "y_val": ...}; got a '
    ):
        Solver(make_net(), (X, LABELS, X, LABELS))


def test_optim_config_that_is_no_dictionary():
    with refuses('optim_config must be a dictionary, such as {"learning_rate": 1e-2}; got a list'):
        Solver(make_net(), make_data(), optim_config=[1e-3])


@pytest.mark.parametrize("X", [np.full((N, D), "1"), np.full((N, D), None), np.ones((N, D)) * 1j, "abc"])
def test_examples_that_are_no_numbers(X):
    with refuses("X_train must hold real numbers; got "):
        make_solver(X_train=X)


# Arrays

NO_NUMBERS = {
    "none": (None, "must hold real numbers; got None. Pass an array of floats."),
    "string": ("abc", "must hold real numbers; got 'abc'."),
    "strings": (
        np.array([["1", "2"]]),
        "must hold real numbers; got dtype <U1. If these are numbers, pass np.array(",
    ),
    "objects": (np.array([[1, None]]), "must hold real numbers; got dtype object."),
    "complex": (np.ones((1, 2)) * 1j, "must hold real numbers; got dtype complex128. Pass "),
    "masked": (np.ma.masked_less(np.ones((1, 2)), 2), "must be an array without a mask, which would be lost"),
    "ragged": ([[1.0], [1.0, 2.0]], "must be an array; NumPy cannot make one of this list: "),
    "gradient": (
        torch.ones(1, 2, requires_grad=True),
        "must be an array; NumPy cannot make one of this Tensor: ",
    ),
}
LAYERS = {
    "affine": (layers.affine_forward, {"x": (N, D), "w": (D, C), "b": (C,)}, ()),
    "relu": (layers.relu_forward, {"x": (N, D)}, ()),
    "batchnorm": (layers.batchnorm_forward, {"x": (N, D), "gamma": (D,), "beta": (D,)}, ({"mode": "train"},)),
    "layernorm": (layers.layernorm_forward, {"x": (N, D), "gamma": (D,), "beta": (D,)}, ({},)),
    "dropout": (layers.dropout_forward, {"x": (N, D)}, ({"mode": "train", "p": 0.5},)),
    "spatial-batchnorm": (
        layers.spatial_batchnorm_forward,
        {"x": (N, C, 4, 4), "gamma": (C,), "beta": (C,)},
        ({"mode": "train"},),
    ),
    "spatial-groupnorm": (
        lambda x, gamma, beta, gn_param: layers.spatial_groupnorm_forward(x, gamma, beta, 1, gn_param),
        {"x": (N, C, 4, 4), "gamma": (C,), "beta": (C,)},
        ({},),
    ),
}
for _kind in ("naive", "fast"):
    _module = layers if _kind == "naive" else fast_layers
    LAYERS[f"conv-{_kind}"] = (
        getattr(_module, f"conv_forward_{_kind}"),
        {"x": (2, C, 4, 4), "w": (2, C, 3, 3), "b": (2,)},
        ({"stride": 1, "pad": 1},),
    )
    LAYERS[f"pool-{_kind}"] = (
        getattr(_module, f"max_pool_forward_{_kind}"),
        {"x": (2, C, 4, 4)},
        ({"pool_height": 2, "pool_width": 2, "stride": 2},),
    )
every_layer = pytest.mark.parametrize("forward, shapes, settings", LAYERS.values(), ids=LAYERS)


@every_layer
@pytest.mark.parametrize("value, text", NO_NUMBERS.values(), ids=NO_NUMBERS)
def test_a_layer_refuses_what_is_no_array_of_numbers_by_its_name(forward, shapes, settings, value, text):
    arrays = {name: draw(shape) for name, shape in shapes.items()}
    for name in arrays:
        with refuses(f"{name} {text}"):
            forward(*(arrays | {name: value}).values(), *settings)


@every_layer
@pytest.mark.parametrize(
    "value, got", [(None, "None"), ([{}], "a list. Pass the one of this layer"), ("test", "a str")]
)
def test_a_layer_refuses_settings_that_are_no_dictionary(forward, shapes, settings, value, got):
    if not settings:
        return
    arrays = [draw(shape) for shape in shapes.values()]
    with pytest.raises(
        ValueError, match=rf"^\w+_param must be a dictionary, such as {{.*}}; got {re.escape(got)}$"
    ):
        forward(*arrays, value)


@every_layer
@pytest.mark.parametrize("convert", [np.ndarray.tolist, torch.from_numpy], ids=["list", "tensor"])
def test_a_layer_takes_lists_and_tensors(forward, shapes, settings, convert):
    arrays = [draw(shape) for shape in shapes.values()]
    outs = []
    for given in (arrays, map(convert, arrays)):
        np.random.seed(0)  # for the mask of dropout
        outs.append(forward(*given, *map(dict, settings))[0])
    np.testing.assert_array_equal(*outs)


@pytest.mark.parametrize("value, text", NO_NUMBERS.values(), ids=NO_NUMBERS)
def test_an_upstream_gradient_that_is_no_array_of_numbers(value, text):
    with refuses(f"dout {text}"):
        layers.relu_backward(value, draw((1, 2)))


def test_running_averages_that_are_no_numbers():
    with refuses("bn_param['running_var'] must hold real numbers; got 'abc'."):
        layers.batchnorm_forward(draw((N, D)), np.ones(D), np.ones(D), {"mode": "test", "running_var": "abc"})


def test_one_example_is_no_minibatch():
    with refuses("got (4,). A single example becomes a minibatch of one as x[np.newaxis]."):
        layers.affine_forward(draw(D), draw((D, C)), np.zeros(C))


def test_an_affine_layer_refuses_an_empty_minibatch_as_other_layers_do():
    with refuses("x must hold at least one example; got the shape (0, 4)"):
        layers.affine_forward(draw((0, D)), draw((D, C)), np.zeros(C))


@pytest.mark.parametrize("rule", [optim.adam, fast_optim.adam], ids=["plain", "fast"])
def test_an_update_rule_refuses_what_it_cannot_use(rule):
    w = np.ones(2)
    with refuses("dw must hold real numbers; got None"):
        rule(w, None)
    with refuses('config must be a dictionary, such as {"learning_rate": 1e-2}; got a list'):
        rule(w, w, [{}])
    with refuses("config['m'] must hold real numbers; got 'zeros'"):
        rule(w, w, {"m": "zeros"})


def test_an_array_of_floats_is_handed_on_as_it_is():
    for dtype in (np.float16, np.float32, np.float64):
        x = np.ones(3, dtype)
        assert as_float_array(x) is x
    assert as_float_array(np.ones(3, np.uint8)).dtype == np.float64


# Sizes


@pytest.mark.parametrize(
    "options, text",
    [
        (
            {"hidden_dims": 100},
            "a list with the size of each hidden layer; got 100. For one hidden layer pass [100].",
        ),
        ({"hidden_dims": None}, "hidden_dims must be a list with the size of each hidden layer; got None."),
        ({"hidden_dims": "100"}, "hidden_dims must be a list with the size of each hidden layer; got '100'."),
        (
            {"hidden_dims": np.array(5)},
            "hidden_dims must be a list with the size of each hidden layer; got array(5).",
        ),
        (
            {"hidden_dims": {5: 4}},
            "hidden_dims must be a list with the size of each hidden layer; got {5: 4}.",
        ),
        (
            {"hidden_dims": [10, 2.0]},
            "hidden_dims[1] must be an integer of at least 1; got 2.0. A float is no integer,",
        ),
        ({"hidden_dims": [10, 0]}, "hidden_dims[1] must be an integer of at least 1; got 0"),
        ({"hidden_dims": [[10, 5]]}, "hidden_dims[0] must be an integer of at least 1; got [10, 5]"),
        (
            {"input_dim": (3, 32, 32)},
            "input_dim must be an integer, the number of features of an example; got (3, 32,",
        ),
        ({"input_dim": (3, 32, 32)}, "Pass their product, 3072."),
        ({"input_dim": 4.5}, "input_dim must be an integer of at least 1; got 4.5"),
        ({"num_classes": 0}, "num_classes must be an integer of at least 1; got 0"),
        ({"num_classes": [1, 2]}, "num_classes must be an integer of at least 1; got [1, 2]"),
        ({"reg": -0.1}, "reg must be in [0, inf); got -0.1"),
        ({"reg": None}, "reg must be in [0, inf); got None"),
        ({"weight_scale": np.nan}, "weight_scale must be in [0, inf); got nan"),
        ({"weight_scale": [0.1]}, "weight_scale must be in [0, inf); got [0.1]"),
        ({"seed": "x"}, "seed must be an integer from 0 to 2**32 - 1, or None; got 'x'"),
        ({"seed": -1}, "seed must be an integer from 0 to 2**32 - 1, or None; got -1"),
        (
            {"normalization": ["batchnorm"]},
            "normalization must be one of None, 'batchnorm', 'layernorm'; got ['batch",
        ),
    ],
)
def test_a_fully_connected_net_refuses_sizes(options, text):
    with refuses(text):
        FullyConnectedNet(**{"hidden_dims": [5], "input_dim": D} | options)


@pytest.mark.parametrize("name", ["input_dim", "hidden_dim", "num_classes"])
@pytest.mark.parametrize("value", [0, -3, 2.5, "8", None])
def test_a_two_layer_net_refuses_sizes(name, value):
    with refuses(f"{name} must be an integer of at least 1; got {value!r}"):
        TwoLayerNet(**{"input_dim": D, name: value})


def test_hidden_dims_may_be_of_any_integers():
    for hidden_dims in ([5, 4], (5, 4), np.array([5, 4]), np.array([5, 4], np.uint8), range(5, 3, -1)):
        assert FullyConnectedNet(hidden_dims, D, C).params["W2"].shape == (5, 4)


@pytest.mark.parametrize("shape", [(32, 32, 3), (28, 28, 1), (64, 64, 4), (48, 64, 3), (6, 6, 1)])
def test_channels_that_come_last_are_found(shape):
    first = shape[2], *shape[:2]
    text = f"got {shape}, in which they seem to be last. Pass {first}, and images as X.transpose(0, 3, 1, 2)."
    for given in (shape, list(shape)):
        with refuses(f"input_dim must be (C, H, W), the channels first; {text}"):
            ThreeLayerConvNet(input_dim=given)


@pytest.mark.parametrize(
    "shape", [(3, 32, 32), (1, 28, 28), (4, 4, 4), (2, 4, 4), (16, 8, 4), (64, 8, 8), (3, 4, 2)]
)
def test_channels_that_come_first_are_taken(shape):
    model = ThreeLayerConvNet(shape, num_filters=2, filter_size=3, hidden_dim=3)
    assert model.loss(np.zeros((2, *shape))).shape == (2, 10)


@pytest.mark.parametrize("input_dim", [3072, (3, 32), (1, 3, 32, 32), None, "abc"])
def test_an_image_has_three_sizes(input_dim):
    with refuses(
        f"input_dim must be (C, H, W), the channels, height and width of an image; got {input_dim!r}. For 32x"
    ):
        ThreeLayerConvNet(input_dim=input_dim)


@pytest.mark.parametrize(
    "options, text",
    [
        (
            {"input_dim": (3, 32.0, 32)},
            "input_dim[1] must be an integer of at least 1; got 32.0. A float is no integer, ",
        ),
        ({"num_filters": 0}, "num_filters must be an integer of at least 1; got 0"),
        ({"filter_size": (3, 3)}, "filter_size must be an integer of at least 1; got (3, 3)"),
        ({"hidden_dim": [100]}, "hidden_dim must be an integer of at least 1; got [100]"),
        ({"num_classes": "ten"}, "num_classes must be an integer of at least 1; got 'ten'"),
        ({"reg": np.inf}, "reg must be in [0, inf); got inf"),
        ({"weight_scale": -1}, "weight_scale must be in [0, inf); got -1"),
    ],
)
def test_a_convnet_refuses_sizes(options, text):
    with refuses(text):
        ThreeLayerConvNet(**options)


# Examples that do not fit the model


@pytest.mark.parametrize("make", [make_net, lambda: TwoLayerNet(D, 5, C)], ids=["deep", "two-layers"])
@pytest.mark.parametrize(
    "shape, remedy",
    [
        ((2, 3, 8, 8), "or make the model with input_dim=192."),
        ((2, D + 1), "or make the model with input_dim=5."),
        ((D,), "A single example becomes a minibatch of one as X[np.newaxis]."),
        ((2, 2), "A single example becomes a minibatch of one as X[np.newaxis]."),
        ((), "Examples are rows."),
    ],
)
def test_a_fully_connected_net_refuses_examples_of_another_size(make, shape, remedy):
    text = f"X must have shape (N, d1, ..., dk) with d1 * ... * dk = 4, the model's input_dim; got {shape}. "
    for y in (None, LABELS):
        with refuses(text) as caught:
            make().loss(np.zeros(shape), y)
        assert str(caught.value).endswith(remedy)


@pytest.mark.parametrize(
    "shape, remedy",
    [
        ((2, 3, 8, 8), "or make the model with input_dim=(3, 8, 8)."),
        ((2, 4, 6, 3), "The channels are last: pass X.transpose(0, 3, 1, 2)."),
        ((3, 4, 6), "A single image becomes a minibatch of one as X[np.newaxis]."),
        ((4, 6, 3), "A single image with its channels last becomes X.transpose(2, 0, 1)[np.newaxis]."),
        ((2, 72), "Flattened images get their shape back as X.reshape(-1, 3, 4, 6)."),
        ((2, 4, 6), "Four axes are needed: images, channels, rows, columns."),
    ],
)
def test_a_convnet_refuses_images_of_another_size_and_its_remedies_work(shape, remedy):
    model = ThreeLayerConvNet((3, 4, 6), num_filters=2, filter_size=3, hidden_dim=3)
    X = np.zeros(shape)
    text = (
        "X must have the axes (N, C, H, W) with (C, H, W) = (3, 4, 6), the model's input_dim; got the shape"
    )
    for y in (None, LABELS):
        with refuses(f"{text} {shape}. ") as caught:
            model.loss(X, y)
        assert str(caught.value).endswith(remedy)
    for expression in re.findall(r"X[.\[].*(?=\.$)", remedy):
        assert model.loss(eval(expression, {"X": X, "np": np})).shape[1] == 10


def test_grey_images_get_their_axis_of_channels():
    model = ThreeLayerConvNet((1, 4, 6), num_filters=2, filter_size=3, hidden_dim=3)
    with refuses("Grey images get their axis of channels as X[:, np.newaxis]."):
        model.loss(np.zeros((2, 4, 6)))
    assert model.loss(np.zeros((2, 4, 6))[:, np.newaxis]).shape == (2, 10)


@every_model
@pytest.mark.parametrize("value, text", NO_NUMBERS.values(), ids=NO_NUMBERS)
def test_a_model_refuses_examples_that_are_no_numbers(make, value, text):
    with refuses(f"X {text}"):
        make().loss(value)


@every_model
def test_a_model_refuses_an_empty_minibatch(make):
    X = draw((N, D)) if make is make_net else draw((N, 1, 4, 4))
    assert len(make().loss(X)) == N
    with refuses("X must hold at least one example; got the shape (0, "):
        make().loss(X[:0])


# Numbers


@pytest.mark.parametrize("value", [3.0, np.float32(3)])
def test_a_whole_float_is_no_integer(value):
    with refuses(". A float is no integer, even if it is whole: divide with // or pass 3."):
        require_integer("pad", value, 0)
    with refuses(
        "(rows, columns); got " + repr(value) + ". A float is no integer, even if it is whole: divide"
    ):
        require_pair("pad", value, 0)


@pytest.mark.parametrize("value", [2.5, np.nan, np.inf, "3", None, True, [3], 1 + 0j])
def test_what_is_no_integer_at_all(value):
    with pytest.raises(
        ValueError, match=rf"^pad must be an integer of at least 0; got {re.escape(repr(value))}$"
    ):
        require_integer("pad", value, 0)


@pytest.mark.parametrize("value", ["0.5", None, 0.5j, np.complex128(0.5), np.array([0.5]), [0.5]])
def test_what_is_no_number(value):
    with refuses(f"p must be in [0, 1]; got {value!r}"):
        require_number("p", value, 0, 1)


@pytest.mark.parametrize("value", [["a"], {"a": 1}, np.array(["a", "b"]), 1.5])
def test_what_is_no_choice(value):
    with refuses("rule must be one of 'a', 'b'; got "):
        require_choice("rule", value, {"a": 1, "b": 2})
    with refuses("rule must be one of 'a', 'b'; got "):
        require_choice("rule", value, ("a", "b"))
