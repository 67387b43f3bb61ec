"""The judge, exercise by exercise: what a blank costs, and what is said about mistakes that learners make."""

import ast
import re

import pytest
from grading_cases import FINISHED, verdicts

from course.grading.sandbox import parent as sandbox
from course.handout.blanking import blank
from course.rubric import BY_ID, CNN, EXERCISES, FC_NET, LAYERS, OPTIM

CODE = [exercise for exercise in EXERCISES if exercise.names]


@pytest.fixture(scope="module")
def starters():
    with sandbox.Starters() as starters:
        yield starters


@pytest.fixture
def judge(starters):
    """A function of a submission's files and an exercise's id, which gives the verdict."""

    return lambda files, id: verdicts(files, [id], starters)[id]


def replaced(file, old, new, files=FINISHED):
    """The files with one place in one of them changed."""
    assert files[file].count(old) == 1, f"{old!r} is in {file} {files[file].count(old)} times"
    return files | {file: files[file].replace(old, new)}


def changed(file, function, old, new):
    """The finished files with a change inside one function, where it has to occur exactly once."""
    source = FINISHED[file]
    functions = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.FunctionDef)]
    node = next(node for node in functions if node.name == function)
    body = ast.get_source_segment(source, node)
    assert body.count(old) == 1, f"{old!r} is in {function} {body.count(old)} times"
    return FINISHED | {file: source.replace(body, body.replace(old, new))}


@pytest.mark.parametrize("exercise", CODE, ids=lambda exercise: exercise.id.replace(" ", "-"))
def test_a_blank_exercise_costs_its_points_and_nothing_else(exercise, starters):
    """What shares its functions counts as blank too; what builds on it is judged with the reference's."""
    blanked = [other for other in CODE if set(other.names) & set(exercise.names)]
    builds_on_it = [other for other in CODE if exercise.id in other.needs and other not in blanked]
    ids = [other.id for other in (*blanked, *builds_on_it)]
    found = verdicts(blank(FINISHED, [exercise]), ids, starters)
    for other in blanked:
        assert (found[other.id].state, found[other.id].score) == ("not done", 0)
    for other in builds_on_it:
        verdict = found[other.id]
        assert (other.id, verdict.checks, verdict.score) == (other.id, verdict.checks, other.points)


# (file, function, what is written there, what a learner wrote instead, exercise, property, words about it)
MISTAKES = {
    "forgotten bias": (
        LAYERS,
        "affine_forward",
        "out += b",
        "pass",
        "affine_forward",
        "values",
        "out has wrong values",
    ),
    "bias gradient not summed": (
        LAYERS,
        "affine_backward",
        "dout.sum(axis=0)",
        "dout",
        "affine_backward",
        "values",
        r"db has the shape \(.*: it is not summed over the batch",
    ),
    "relu backward lets all through": (
        LAYERS,
        "relu_backward",
        "dout * (x > 0)",
        "dout * (x > -9)",
        "relu_backward",
        "values",
        "dx has wrong values in part",
    ),
    "float64 from float32": (
        LAYERS,
        "affine_forward",
        "return out, (x, w)",
        "return out.astype(np.float64), (x, w)",
        "affine_forward",
        "dtype: float32 stays float32",
        "out has the dtype float64 and should have float32",
    ),
    "input modified": (
        LAYERS,
        "relu_forward",
        "return np.maximum(x, 0), x",
        "return np.maximum(x, 0, out=x), x.copy()",
        "relu_forward",
        "arguments are not modified",
        "the argument x was modified",
    ),
    "wrong in test mode": (
        LAYERS,
        "_normalize_batch",
        "np.sqrt(running_var + eps)",
        "(np.sqrt(running_var) + eps)",
        "batchnorm_forward",
        "test mode",
        "out has wrong values",
    ),
    "test mode ignored": (
        LAYERS,
        "_normalize_batch",
        'if mode == "train":',
        "if True:",
        "batchnorm_forward",
        "test mode",
        "out has wrong values",
    ),
    "running averages forgotten": (
        LAYERS,
        "_normalize_batch",
        '        bn_param["running_mean"] = momentum * running_mean + (1 - momentum) * mean.reshape(-1)\n',
        "",
        "batchnorm_forward",
        "values",
        r"bn_param\['running_mean'\]",
    ),
    "batch norm's mean path forgotten": (
        LAYERS,
        "batchnorm_backward",
        "dx = dcentered + dmean / N",
        "dx = dcentered",
        "batchnorm_backward",
        "values",
        "dx has wrong values: the mean's term is missing",
    ),
    "dropout not divided": (
        LAYERS,
        "dropout_forward",
        "mask /= p",
        "pass",
        "dropout_forward",
        "values",
        "out has wrong values in part",
    ),
    "stride ignored in one direction": (
        LAYERS,
        "_window",
        "top, left = i * stride[0], j * stride[1]",
        "top, left = i * stride[0], j",
        "conv_forward_naive",
        "stride 2, no padding",
        "out has wrong values",
    ),
    "pooling assigns where it should add": (
        LAYERS,
        "max_pool_backward_naive",
        "+= dout[n, c, i, j]",
        "= dout[n, c, i, j]",
        "max_pool_backward_naive",
        "overlapping windows",
        "dx has wrong values in part",
    ),
    "one result instead of two": (
        LAYERS,
        "relu_forward",
        "return np.maximum(x, 0), x",
        "return np.maximum(x, 0)",
        "relu_forward",
        "values",
        "should return 2 values; it returned one array",
    ),
    "nothing returned": (
        LAYERS,
        "relu_backward",
        "return dout * (x > 0)",
        "dout * (x > 0)",
        "relu_backward",
        "values",
        "dx is None",
    ),
    "an error of its own": (
        LAYERS,
        "relu_forward",
        "return np.maximum(x, 0), x",
        "return np.maximum(x, zero), x",
        "relu_forward",
        "values",
        r"raised NameError: name 'zero' is not defined \(cs231n/layers.py, line \d+\)",
    ),
    "momentum of the wrong sign": (
        OPTIM,
        "sgd_momentum",
        "* config[\"velocity\"] - lr",
        "* config[\"velocity\"] + lr",
        "sgd_momentum",
        "values of a step",
        "the updated w has wrong values",
    ),
    "adam without correction": (
        OPTIM,
        "adam",
        "/ (1 - b1**t)",
        "",
        "adam",
        "values of a step",
        "the updated w",
    ),
    "regularization of the first layer only": (
        FC_NET,
        "loss",
        "return add_l2_penalty(loss, grads, self.params, self.reg), grads",
        "return add_l2_penalty(loss, {'W1': grads['W1']}, self.params, self.reg), grads",
        "TwoLayerNet.loss",
        "regularization",
        "the loss has wrong values",
    ),
    "initial weights of the wrong scale": (
        CNN,
        "_initial_params",
        '"W3": weight_scale * np',
        '"W3": np',
        "ThreeLayerConvNet",
        "initial parameters",
        "W3 has wrong values",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_costs_points_and_is_named_without_numbers(name, judge):
    file, function, right, wrong, id, property_, words = MISTAKES[name]
    verdict = judge(changed(file, function, right, wrong), id)
    faults = dict(verdict.checks)
    assert verdict.score < BY_ID[id].points
    assert faults[property_] and re.search(words, faults[property_])
    assert not re.search(r"\d\.\d|e-\d", " ".join(faults.values()))  # no values, expected or not


def test_an_exercise_is_worth_the_share_of_its_checks_that_hold(judge):
    files = changed(LAYERS, "affine_forward", "return out, (x, w)", "return out.astype(np.float64), (x, w)")
    verdict = judge(files, "conv_forward_naive")
    assert verdict.score == 5
    overlap = changed(LAYERS, "max_pool_backward_naive", "+= dout[n, c, i, j]", "= dout[n, c, i, j]")
    verdict = judge(overlap, "max_pool_backward_naive")
    assert verdict.state == "partly"
    assert verdict.score == pytest.approx(3 * 3 / 4)  # of values, overlap, ties and dtype all but one


def test_without_its_first_check_an_exercise_gets_nothing(judge):
    verdict = judge(changed(LAYERS, "affine_forward", "out += b", "pass"), "affine_forward")
    assert verdict.score == 0
    assert len(verdict.checks) == 1


@pytest.mark.parametrize("id", ["TwoLayerNet.loss", "FullyConnectedNet.loss", "ThreeLayerConvNet.loss"])
def test_a_net_is_not_punished_for_a_broken_layer(id, judge):
    verdict = judge(changed(LAYERS, "affine_forward", "out += b", "pass"), id)
    assert verdict.score == BY_ID[id].points
    assert "judged with the reference's affine_forward" in verdict.notes[0]


def test_a_net_that_is_wrong_is_wrong_with_the_references_layers_too(judge):
    files = replaced(CNN, "dscores, scores_cache)", "2 * dscores, scores_cache)")
    assert judge(files, "ThreeLayerConvNet.loss").score == 0


def test_a_syntax_error_costs_its_file_only(judge):
    files = FINISHED | {LAYERS: FINISHED[LAYERS] + "\ndef broken(:\n"}
    verdict = judge(files, "affine_forward")
    assert verdict.score == 0
    assert re.search(r"layers.py is not Python: line \d+", verdict.notes[0])
    assert judge(files, "adam").score == 2
    assert judge(files, "FullyConnectedNet.loss").score == 3
    assert judge(files, "FullyConnectedNet.loss, with dropout").score == 2
    assert judge(files, "ThreeLayerConvNet").score == 1


def test_a_result_of_an_odd_form_costs_its_exercise(judge):
    double = in_notebook("nn.init.zeros_(layer.bias)", "nn.init.zeros_(layer.bias); self.double()")
    verdict = judge(double, "module-convnet")
    assert verdict.score == 0
    assert verdict.checks[0][1]


def test_a_missing_function_costs_itself(judge):
    files = replaced(LAYERS, "def relu_forward(x)", "def my_relu_forward(x)")
    assert judge(files, "relu_forward").state == "missing"
    assert judge(files, "relu_backward").score == 1
    assert judge(files, "TwoLayerNet.loss").score == 2


def test_a_cache_of_ones_own_is_fine(judge):
    """What a cache holds is private to the pair."""
    files = replaced(LAYERS, "return np.maximum(x, 0), x", "return np.maximum(x, 0), {'mine': [x > 0]}")
    files = replaced(LAYERS, "    x = cache\n", "    x = cache['mine'][0].astype(dout.dtype)\n", files)
    assert judge(files, "relu_backward").score == 1


def test_own_sandwiches_are_used(judge):
    sandwiches = "cs231n/layer_utils.py"
    files = FINISHED | {sandwiches: FINISHED[sandwiches] + "\n\ndef twice(x):\n    return 2 * x\n"}
    files = replaced(CNN, "    affine_relu_backward,\n", "    affine_relu_backward,\n    twice,\n", files)
    files = replaced(CNN, "conv_relu_pool_forward(X, W1", "conv_relu_pool_forward(twice(X) / 2, W1", files)
    assert judge(files, "ThreeLayerConvNet.loss").score == 4


def in_notebook(right, wrong):
    name = "PyTorch.ipynb"
    return replaced(name, right, wrong)


def test_mistakes_in_the_pytorch_notebook_are_found(judge):
    no_padding = in_notebook("F.conv2d(x, w2, b2, padding=1)", "F.conv2d(x, w2, b2, padding=0)")
    assert judge(no_padding, "three-layer-convnet").score == 0
    no_step = in_notebook("        optimizer.step()\\n", "        pass\\n")
    assert "after training has wrong values" in dict(judge(no_step, "training-loop").checks).popitem()[1]
    wide = in_notebook("((gain / fan_in) ** 0.5 * torch", "(2 * (gain / fan_in) ** 0.5 * torch")
    assert "Kaiming" in dict(judge(wide, "convnet-params").checks).popitem()[1]
    linear = in_notebook("x = F.relu(self.conv2(x))", "x = self.conv2(x)")
    assert judge(linear, "module-convnet").score == 0


def test_a_network_that_cannot_learn_does_not_pass_the_challenge(judge):
    convnet = "cs231n/pytorch/convnet.py"
    files = replaced(convnet, "features = self.layers(x)", "features = self.layers(0 * x)")
    assert "tell apart" in dict(judge(files, "challenge").checks)["it learns"]


def test_a_cell_that_is_not_python_costs_what_it_defines(judge):
    files = in_notebook("def three_layer_convnet(x, params):", "def three_layer_convnet(x, params:")
    assert judge(files, "three-layer-convnet").state == "missing"
    assert judge(files, "training-loop").score == 1
