"""The pages in docs/: their code runs, and each row of the page for users of the course's code is tried.

Of a name or an argument that is gone, the old line must raise an error that says what to write, and the new
line must run. Every other row has a check of its own below, under the text of its first cell.
"""

import ast
import os
import pickle
import re
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch

import cs231n
from cs231n import gone, gradient_check, layer_utils, optim
from cs231n.classifiers.cnn import ThreeLayerConvNet
from cs231n.classifiers.fc_net import FullyConnectedNet, TwoLayerNet
from cs231n.data_utils import get_CIFAR10_data, get_class_names, load_CIFAR10, load_CIFAR_batch
from cs231n.datasets import find_dataset
from cs231n.layers import (
    conv_forward_naive,
    dropout_forward,
    max_pool_backward_naive,
    max_pool_forward_naive,
    spatial_groupnorm_backward,
    spatial_groupnorm_forward,
)
from cs231n.solver import Solver

pytestmark = pytest.mark.q1

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
COURSE = (DOCS / "coming-from-the-course.md").read_text(encoding="utf-8")
OWN_DATA = (DOCS / "your-own-data.md").read_text(encoding="utf-8")


def section(text, heading):
    return text.split(f"\n## {heading}\n")[1].split("\n## ")[0]


def table(text, heading):
    """The rows of the only table below a heading, as lists of three cells."""
    lines = [line for line in section(text, heading).splitlines() if line.startswith("|")]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]
    assert rows and all(len(row) == 3 for row in rows)
    return rows


def code_blocks(text):
    return re.findall(r"```python\n(.*?)```", text, re.DOTALL)


GONE = table(COURSE, "What is gone")
CHANGED = table(COURSE, "What kept its name and changed")
PLACES = table(COURSE, "Where things stand")


def one_by_one(code):
    """Each line that a cell stands for: imports name by name, anything else as it is."""
    statement = ast.parse(code).body[0]
    if not isinstance(statement, ast.ImportFrom):
        return [code]
    return [f"from {statement.module} import {alias.name}" for alias in statement.names]


def what_is_new(old, new):
    """The words of the new line that the old line's error must say: imported names, or other arguments."""
    statement = ast.parse(new).body[0]
    if isinstance(statement, ast.ImportFrom):
        return {alias.name for alias in statement.names}
    return arguments(new) - arguments(old)


def arguments(code):
    """The keyword arguments and the entries of dictionaries in a call, as far as they are names."""
    nodes = list(ast.walk(ast.parse(code)))
    keywords = {(node.arg, ast.unparse(node.value)) for node in nodes if isinstance(node, ast.keyword)}
    entries = {
        (key.value, ast.unparse(value))
        for node in nodes
        if isinstance(node, ast.Dict)
        for key, value in zip(node.keys, node.values, strict=True)
    }
    return keywords | entries


@pytest.fixture
def tiny(tmp_path_factory, monkeypatch):
    """The tiny data set, made once for all tests of this file."""
    folder = tmp_path_factory.getbasetemp() / "tiny-of-docs"
    monkeypatch.setenv("CS231N_DATA", str(folder))
    monkeypatch.setenv("CS231N_DATASET", "tiny")
    return find_dataset().folder


@pytest.fixture
def names():
    """What the lines of the page take for granted."""
    X, y = np.random.RandomState(0).randn(12, 5), np.arange(12) % 3
    return {
        "x": X,
        "model": TwoLayerNet(input_dim=5, hidden_dim=4, num_classes=3),
        "data": {"X_train": X, "y_train": y, "X_val": X, "y_val": y},
        **{each.__name__: each for each in (FullyConnectedNet, Solver, dropout_forward, get_CIFAR10_data)},
    }


@pytest.mark.parametrize(
    "old, new", [(line, new) for old, new, _ in GONE for line in one_by_one(old.strip("`"))]
)
def test_the_error_of_what_is_gone_says_what_to_write(old, new, names, tiny):
    with pytest.raises((ImportError, ValueError)) as raised:
        exec(old, names)
    message = str(raised.value)
    if "import" in old:
        assert "of the course's code, is gone. " in message
    if not new:
        assert "assignment 3" in message
        return
    new = new.strip("`")
    exec(new, names)
    told = what_is_new(old, new)
    assert told
    for word in told:
        name, value = (word, "") if isinstance(word, str) else word
        assert re.search(rf"\b{name}\b", message), message
        assert value in message


def test_the_page_has_every_name_that_is_gone_and_no_other():
    lines = [line for old, _, _ in GONE for line in one_by_one(old.strip("`")) if "import" in line]
    imports = [ast.parse(line).body[0] for line in lines]
    listed = {(statement.module, statement.names[0].name) for statement in imports}
    names = {(module, name) for module, names in gone.GONE.items() for name in names}
    assert listed == names
    assert len(lines) == len(names)


@pytest.mark.parametrize("module", ["im2col", "im2col_cython"])
def test_a_star_import_of_a_module_that_is_gone_says_so_too(module):
    with pytest.raises(
        ImportError, match=rf"cs231n\.{module}\.\w+, of the course's code, is gone\. Use im2col"
    ):
        exec(f"from cs231n.{module} import *")


@pytest.mark.parametrize("module", gone.GONE)
def test_other_missing_names_stay_ordinary_errors(module):
    with pytest.raises(ImportError, match="cannot import name 'conv_forward_typo'"):
        exec(f"from {module} import conv_forward_typo")
    with pytest.raises(AttributeError, match="has no attribute 'conv_forward_typo'"):
        exec(f"import {module}\n{module}.conv_forward_typo")


def test_old_arguments_are_refused_whatever_their_value():
    with pytest.raises(ValueError, match="must be one of None, 'batchnorm', 'layernorm'; got True"):
        FullyConnectedNet([4], 5, 3, 0, True)  # use_batchnorm was the fifth argument
    with pytest.raises(ValueError, match="use_batchnorm=False is now normalization=None"):
        FullyConnectedNet([4], 5, 3, use_batchnorm=False)
    with pytest.raises(ValueError, match=r"must be in \(0, 1\]; got 0.0. Pass 1 .* 2016 .* pass 1 minus"):
        FullyConnectedNet([4], dropout=0.0)


def test_where_things_stand():
    for old, new, _ in PLACES:
        assert (ROOT / new.strip("`")).is_file()
        assert not (ROOT / old.strip("`")).exists()


class TestWhatChanged:
    """One method for each row of the table."""

    def test_every_row_has_a_check(self):
        assert [what for what, _, _ in CHANGED] == list(CHECKS)

    def test_dropout_keeps(self):
        x = np.ones((100, 100))
        out, _ = dropout_forward(x, {"mode": "train", "p": 0.9, "seed": 0})
        assert abs(np.count_nonzero(out) / x.size - 0.9) < 0.02
        assert FullyConnectedNet([4], dropout=0.9).dropout_param["p"] == 0.9

    def test_dropout_has_two_names(self):
        assert FullyConnectedNet([4], dropout_keep_ratio=0.9).dropout_param["p"] == 0.9

    def test_data_set_is_printed(self, tiny, capsys):
        get_CIFAR10_data(20, 5, 5)
        assert "stand-in for CIFAR-10" in capsys.readouterr().out

    def test_folder_is_an_argument(self, tiny, monkeypatch, tmp_path, capsys):
        expected, class_names = get_CIFAR10_data(20, 5, 5), get_class_names()
        monkeypatch.setenv("CS231N_DATASET", "cifar10")
        monkeypatch.setenv("CS231N_DATA", str(tmp_path))
        capsys.readouterr()
        data = get_CIFAR10_data(20, 5, 5, cifar10_dir=str(tiny))
        assert capsys.readouterr().out.startswith(f"Data: the batch files in {tiny}; 20 training")
        assert get_class_names(cifar10_dir=tiny) == class_names
        for name, array in expected.items():
            np.testing.assert_array_equal(data[name], array)
        for load in (load_CIFAR10, lambda folder: get_CIFAR10_data(cifar10_dir=folder)):
            with pytest.raises(FileNotFoundError, match=r"not all in .*Name the folder cifar-10-batches-py"):
                load(tmp_path)

    def test_images_are_float32(self, tiny):
        X, y = load_CIFAR_batch(tiny / "data_batch_1")
        assert X.dtype == load_CIFAR10(tiny)[0].dtype == np.float32
        assert X.shape == (len(y), 32, 32, 3)

    def test_both_shapes_of_group_normalization(self):
        x = np.random.RandomState(1).randn(2, 6, 3, 4)
        outs = []
        for shape in ((6,), (1, 6, 1, 1)):
            out, cache = spatial_groupnorm_forward(x, np.ones(shape), np.zeros(shape), 2, {"mode": "train"})
            _, dgamma, dbeta = spatial_groupnorm_backward(x, cache)
            assert dgamma.shape == dbeta.shape == shape
            outs.append(out)
        np.testing.assert_array_equal(*outs)

    def test_conv_bn_relu_is_there(self):
        assert {"conv_bn_relu_forward", "conv_bn_relu_backward"} <= set(layer_utils.__all__)

    def test_a_cache_is_private(self):
        x, w, b = np.ones((1, 1, 3, 3)), np.ones((1, 1, 3, 3)), np.zeros(1)
        _, cache = conv_forward_naive(x, w, b, {"stride": 1, "pad": 1})
        assert len(cache) != 4  # the course's was (x, w, b, conv_param)

    def test_the_first_maximum_takes_the_gradient(self):
        pool_param = {"pool_height": 2, "pool_width": 2, "stride": 2}
        expected = np.array([[[[1.0, 0.0], [0.0, 0.0]]]])
        for forward, backward in (
            (max_pool_forward_naive, max_pool_backward_naive),
            (layer_utils.max_pool_forward_fast, layer_utils.max_pool_backward_fast),
        ):
            out, cache = forward(np.zeros((1, 1, 2, 2)), pool_param)
            np.testing.assert_array_equal(backward(np.ones_like(out), cache), expected)

    def test_a_seed_leaves_the_global_generator_alone(self):
        np.random.seed(3)
        expected = np.random.rand()
        np.random.seed(3)
        dropout_forward(np.ones(5), {"mode": "train", "p": 0.5, "seed": 1})
        assert np.random.rand() == expected

    def test_numeric_gradients_are_not_printed(self, capsys):
        gradient_check.eval_numerical_gradient(np.sum, np.ones(3))
        assert capsys.readouterr().out == ""
        for x in (np.ones(3, int), np.ones(3, np.float32)):
            with pytest.raises(ValueError, match="float64"):
                gradient_check.eval_numerical_gradient(np.sum, x)

    def test_sparse_check_returns_its_error(self, capsys):
        errors = []
        for _ in range(2):
            np.random.seed(0)
            x = np.arange(1.0, 9.0)
            errors.append(gradient_check.grad_check_sparse(lambda x: np.sum(x**2), x, 2 * x * 1.01))
        assert errors[0] == errors[1] == pytest.approx(0.01 / 2.01, rel=1e-5)

    def test_rel_error_is_there(self):
        assert gradient_check.rel_error(np.array([1.0, 2.0]), np.array([1.0, 3.0])) == pytest.approx(0.2)

    def test_a_checkpoint_is_one_file(self, names, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        options = {"num_epochs": 2, "batch_size": 4, "checkpoint_name": "run", "verbose": False}
        Solver(names["model"], names["data"], **options).train()
        assert os.listdir() == ["run.npz"]
        assert np.load("run.npz", allow_pickle=False)["progress/epoch"] == 2
        assert Solver(names["model"], names["data"], **options).resume().epoch == 2

    def test_training_shows_a_bar(self, names, capsys):
        Solver(names["model"], names["data"], num_epochs=1).train()
        assert "100%|" in capsys.readouterr().out

    def test_accuracy_draws_nothing_twice(self, names):
        drawn = []
        names["model"].loss = lambda X, y=None: drawn.append(X) or np.zeros((len(X), 3))
        X = np.arange(60.0).reshape(12, 5)
        Solver(names["model"], names["data"]).check_accuracy(X, np.zeros(12, int), num_samples=11)
        assert len(np.unique(np.concatenate(drawn)[:, 0])) == 11


CHECKS = {
    "`dropout` of the net, `p` of the layer": TestWhatChanged.test_dropout_keeps,
    "`dropout_keep_ratio`": TestWhatChanged.test_dropout_has_two_names,
    "`get_CIFAR10_data`": TestWhatChanged.test_data_set_is_printed,
    "`get_CIFAR10_data(cifar10_dir=...)`": TestWhatChanged.test_folder_is_an_argument,
    "`load_CIFAR10`, `load_CIFAR_batch`": TestWhatChanged.test_images_are_float32,
    "`spatial_groupnorm_forward`": TestWhatChanged.test_both_shapes_of_group_normalization,
    "`conv_bn_relu_forward`": TestWhatChanged.test_conv_bn_relu_is_there,
    "the cache of a layer": TestWhatChanged.test_a_cache_is_private,
    "maxima that tie in a pooling window": TestWhatChanged.test_the_first_maximum_takes_the_gradient,
    "`seed` of dropout": TestWhatChanged.test_a_seed_leaves_the_global_generator_alone,
    "`eval_numerical_gradient`": TestWhatChanged.test_numeric_gradients_are_not_printed,
    "`grad_check_sparse`": TestWhatChanged.test_sparse_check_returns_its_error,
    "`rel_error`": TestWhatChanged.test_rel_error_is_there,
    '`Solver(checkpoint_name="run")`': TestWhatChanged.test_a_checkpoint_is_one_file,
    "`Solver.train`": TestWhatChanged.test_training_shows_a_bar,
    "`Solver.check_accuracy(num_samples=...)`": TestWhatChanged.test_accuracy_draws_nothing_twice,
}


def test_columns_of_the_page_are_the_convolution_and_the_courses_columns():
    N, C, H, W, F, HH, WW, stride, pad = 2, 3, 5, 7, 4, 3, 3, 2, 1
    rng = np.random.default_rng(0)
    x, w, b = rng.standard_normal((N, C, H, W)), rng.standard_normal((F, C, HH, WW)), rng.standard_normal(F)
    expected, _ = conv_forward_naive(x, w, b, {"stride": stride, "pad": pad})
    H_out, W_out = expected.shape[2:]
    page = {"np": np, "x": x, "w": w, "b": b, "HH": HH, "WW": WW, "stride": stride, "pad": pad}
    page |= {"H_out": H_out, "W_out": W_out}
    (code,) = code_blocks(section(COURSE, "Columns"))
    exec(code, page)
    np.testing.assert_allclose(page["out"], expected, rtol=0, atol=1e-12)
    windows = torch.nn.functional.unfold(torch.from_numpy(x), (HH, WW), padding=pad, stride=stride)
    np.testing.assert_array_equal(page["course_cols"], windows.permute(1, 2, 0).reshape(C * HH * WW, -1))


def test_the_sandwich_of_the_page_is_its_three_layers():
    rng = np.random.default_rng(0)
    x, w, b, gamma, beta = (rng.standard_normal(shape) for shape in ((6, 4), (4, 3), 3, 3, 3))
    (code,) = code_blocks(section(COURSE, "Sandwiches"))
    exec(code, page := {})
    out, cache = page["affine_bn_relu_forward"](x, w, b, gamma, beta, {"mode": "train"})
    leaves = [torch.tensor(each, requires_grad=True) for each in (x, w, b, gamma, beta)]
    tx, tw, tb, tgamma, tbeta = leaves
    expected = torch.nn.functional.batch_norm(tx @ tw + tb, None, None, tgamma, tbeta, training=True).relu()
    expected.backward(torch.ones_like(expected))
    np.testing.assert_allclose(out, expected.detach(), rtol=0, atol=1e-12)
    grads = page["affine_bn_relu_backward"](np.ones_like(out), cache)
    for grad, leaf in zip(grads, leaves, strict=True):
        np.testing.assert_allclose(grad, leaf.grad, rtol=0, atol=1e-12)


SETTINGS = {"input_dim": 12, "num_classes": 3, "dtype": np.float64}
NETS = {
    "2016, plain": ({}, {"use_batchnorm": False, "use_dropout": False}, {}),
    "2016, batch norm": ({"normalization": "batchnorm"}, {"use_batchnorm": True, "use_dropout": False}, {}),
    "2017, dropout": (
        {"dropout": 0.75, "seed": 5},
        {"use_batchnorm": False, "use_dropout": True},
        {"mode": "train", "p": 0.25, "seed": 5},
    ),
    "2020, layer norm": (
        {"normalization": "layernorm"},
        {"normalization": "layernorm", "use_dropout": False},
        {},
    ),
    "2020, dropout": (
        {"dropout": 0.75, "seed": 5},
        {"normalization": None, "use_dropout": True},
        {"mode": "train", "p": 0.75, "seed": 5},
    ),
}


def as_the_course_left_it(model, attributes):
    """An object of the model's class with the attributes of the course's."""
    old = object.__new__(type(model))
    vars(old).update(attributes, params=model.params, reg=model.reg)
    return old


def read_as_the_page_does(old, X, folder, monkeypatch):
    """The names of the page's code after it has read a checkpoint of this model."""
    monkeypatch.chdir(folder)
    history = {"loss_history": [1.0], "update_rule": optim.adam, "epoch": 1}
    (folder / "run_epoch_1.pkl").write_bytes(pickle.dumps({"model": old, **history}))
    (code,) = code_blocks(section(COURSE, "Checkpoints"))
    exec(code, page := {"X": X})
    return page


@pytest.mark.parametrize("net", NETS)
def test_a_pickled_net_of_the_course_computes(net, tmp_path, monkeypatch):
    options, attributes, dropout_param = NETS[net]
    np.random.seed(1)
    model = FullyConnectedNet([5, 4], reg=0.1, weight_scale=0.5, **SETTINGS, **options)
    X, y = np.random.randn(6, 12), np.array([0, 1, 2, 0, 1, 2])
    model.loss(X, y)  # batch norm has averages now
    attributes |= {"dropout_param": dropout_param, "bn_params": model.bn_params}
    old = as_the_course_left_it(model, attributes | {"num_layers": 3, "dtype": np.float64})
    page = read_as_the_page_does(old, X, tmp_path, monkeypatch)
    np.testing.assert_array_equal(page["scores"], model.loss(X))
    assert page["model"].loss(X, y)[0] == model.loss(X, y)[0]
    Solver(page["model"], {"X_train": X, "y_train": y, "X_val": X, "y_val": y}, verbose=False).train()


@pytest.mark.parametrize(
    "model, attributes, shape",
    [
        pytest.param(TwoLayerNet(12, 5, 3), {}, (4, 12), id="TwoLayerNet"),
        pytest.param(
            ThreeLayerConvNet((3, 8, 8), 4, 5, 6, 3, weight_scale=0.1),
            {"dtype": np.float32},
            (4, 3, 8, 8),
            id="ThreeLayerConvNet",
        ),
    ],
)
def test_a_pickled_network_of_fixed_depth_computes(model, attributes, shape, tmp_path, monkeypatch):
    X = np.random.RandomState(0).randn(*shape)
    page = read_as_the_page_does(as_the_course_left_it(model, attributes), X, tmp_path, monkeypatch)
    np.testing.assert_array_equal(page["scores"], model.loss(X))


def test_our_own_pickles_come_back_as_they_were():
    for model in (FullyConnectedNet([4], 6, 3, 0.5, "batchnorm"), ThreeLayerConvNet((1, 4, 4), 2, 3, 4, 3)):
        copy = pickle.loads(pickle.dumps(model))
        assert vars(copy).keys() == vars(model).keys()
        assert getattr(copy, "dropout_param", None) == getattr(model, "dropout_param", None)


def test_the_page_on_your_own_data_runs(tmp_path, monkeypatch):
    """Its code runs from top to bottom, in an empty folder with a CSV file, and does what the text says."""
    monkeypatch.chdir(tmp_path)
    rows = [f"{i % 7},{i * i % 11},{i % 2}" for i in range(50)]
    Path("points.csv").write_text("\n".join(["height,width,label", *rows]), encoding="utf-8")
    code = "\n".join(code_blocks(OWN_DATA))
    monkeypatch.setattr(plt, "show", lambda: None)
    exec(code, page := {})
    assert page["report"].status == "PASS"
    assert page["solver"].best_val_acc > 0.95
    assert page["test_accuracy"] > 0.95
    assert page["recall_on_test"] > 0.95
    assert Path("two-spirals.png").stat().st_size > 10_000
    assert page["data"]["X_train"].shape == (40, 2)
    np.testing.assert_allclose(page["data"]["X_train"].mean(axis=0), 0, atol=1e-12)
    assert set(page["data"]["y_val"]) == {0, 1}


@pytest.mark.usefixtures("tiny_data")
def test_the_page_on_the_deep_convnet_runs(tmp_path, monkeypatch):
    """With a smaller net, for one epoch of smaller steps."""
    monkeypatch.chdir(tmp_path)
    text = (DOCS / "deep-convnet.md").read_text(encoding="utf-8")
    script, mirrored = code_blocks(text)
    assert len(script.splitlines()) <= 15
    smaller = {
        "DeepConvNet(": "DeepConvNet(widths=(8, 12, 16, 16), ",
        '"learning_rate": 0.3': '"learning_rate": 0.1',
        "batch_size=128, num_epochs=12": "batch_size=20, num_epochs=1, verbose=False",
    }
    for ours, tests in smaller.items():
        assert ours in script
        script = script.replace(ours, tests)
    exec(f"{script}\n{mirrored}", page := {})
    assert page["accuracy"] > 0.4
    assert Path("deep.npz").exists()


class TestReadme:
    TEXT = (ROOT / "README.md").read_text(encoding="utf-8")

    def test_report_is_that_of_its_code(self, capsys):
        (code,) = code_blocks(self.TEXT)
        (report,) = re.findall(r"```text\n(.*?)```", self.TEXT, re.DOTALL)
        exec(code, {})
        printed = capsys.readouterr().out
        assert rounded(report) == rounded(printed)
        assert "FAIL  db" in report and "N times too small" in report

    def test_is_read_in_a_few_minutes(self):
        assert len(self.TEXT.split()) < 700


def rounded(report):
    """A report without what the rounding of sums decides: errors of gradients that are right, last digits."""
    report = re.sub(r"error \d\.\de-(0[7-9]|1\d)", "error small", report)
    return re.sub(r"-?\d\.\d+", lambda number: f"{float(number[0]):.4g}", report)


@pytest.mark.usefixtures("tiny_data")
def test_the_page_on_the_library_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    text = (DOCS / "library.md").read_text(encoding="utf-8")
    training, options, check = code_blocks(text)
    exec(f"{training.replace('epochs=5', 'epochs=1')}\n{options}", page := {})
    x, w = np.random.randn(5, 4), np.random.randn(4, 3)
    layer = {
        "my_forward": lambda x, w: (x @ w, (x, w)),
        "my_backward": lambda dout, cache: (dout @ cache[1].T, cache[0].T @ dout),
    }
    exec(check, layer | {"x": x, "w": w})
    assert page["solver"].patience == 5
    assert capsys.readouterr().out.count("PASS") == 2


PAGES = [
    *sorted(DOCS.glob("*.md")),
    *(ROOT / f"{name}.md" for name in ("CONTRIBUTING", "SECURITY", "CHANGELOG")),
]


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_links_of_the_pages_lead_somewhere(page):
    text = page.read_text(encoding="utf-8")
    for link in re.findall(r"\]\(([^)]+)\)", text):
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        assert target.is_file()
        assert not anchor or anchor in anchors(target.read_text(encoding="utf-8"))
    assert str(page.relative_to(ROOT).as_posix()) in (ROOT / "README.md").read_text(encoding="utf-8")


def anchors(text):
    """The names that a page's headings have in links."""
    return {re.sub(r"[^a-z ]", "", line[3:].lower()).replace(" ", "-") for line in text.splitlines()}


def test_the_places_that_contributors_are_sent_to_exist():
    table = section((ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8"), "Where a new thing goes")
    places = re.findall(r"`((?:cs231n|course|tests|docs)/[^`]*)`", table)
    assert len(places) > 10
    for place in places:
        assert (ROOT / place).exists()


def test_the_version_is_the_same_everywhere():
    assert f"\nversion: {cs231n.__version__}\n" in (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    first = re.search(r"^## (\S+)$", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert first[1] == cs231n.__version__
