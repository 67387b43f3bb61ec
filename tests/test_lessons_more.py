"""What the notebooks on dropout, ConvNets and PyTorch say, where no cell of theirs checks it.

Each test separates the cause that a text gives from another one, in a small experiment.
"""

import re
from itertools import product
from pathlib import Path

import nbformat
import numpy as np
import pytest

from course.handout.make import collect
from cs231n import model_layers
from cs231n.classifiers.fc_net import FullyConnectedNet
from cs231n.datasets.standin import CLASS_NAMES, make_images
from cs231n.fast_layers import conv_forward_fast
from cs231n.kernels import load_kernels
from cs231n.layers import dropout_backward, dropout_forward, softmax_loss
from cs231n.solver import Solver

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def data():
    """Centered images: 400 for training and 400 others."""
    labels = np.arange(400) % len(CLASS_NAMES)
    images = [make_images(labels, seed).transpose(0, 3, 1, 2) for seed in (1, 2)]
    X_train, X_val = (split.astype(np.float32) - images[0].mean(axis=0, dtype=np.float32) for split in images)
    return {"X_train": X_train, "y_train": labels, "X_val": X_val, "y_val": labels}


def trained(model, data, **options):
    Solver(model, data, update_rule="adam", verbose=False, **options).train()
    return model


# -------------------------------------------------------------------------------------------------- dropout


def undivided_forward(x, param):
    out, cache = dropout_forward(x, param)
    return (np.where(out == 0, 0, x) if param["mode"] == "train" else out), (cache, param)


def undivided_backward(dout, cache):
    inner, param = cache
    return dropout_backward(dout, inner) * (param["p"] if param["mode"] == "train" else 1)


def times_p(x, param):
    return param["p"] * x, None


@pytest.fixture
def without_division(monkeypatch):
    monkeypatch.setattr(model_layers, "dropout_forward", undivided_forward)
    monkeypatch.setattr(model_layers, "dropout_backward", undivided_backward)
    return monkeypatch


def scores_as_trained_and_scaled(without_division, data, hidden, p, **options):
    """Train without the division; return the scores of testing, without a remedy and with the factor p."""
    np.random.seed(231)
    model = FullyConnectedNet(hidden, dropout=p, weight_scale=2e-2, **options)
    trained(
        model,
        data,
        num_epochs=15,
        num_train_samples=10,
        num_val_samples=10,
        optim_config={"learning_rate": 5e-4},
    )
    scores = model.loss(data["X_val"])
    without_division.setattr(model_layers, "dropout_forward", times_p)
    return scores, model.loss(data["X_val"])


def share_of_same_answers(scores, others):
    return np.mean(scores.argmax(axis=1) == others.argmax(axis=1))


@pytest.mark.q3
@pytest.mark.parametrize(("hidden", "p"), [([100], 0.25), ([100] * 3, 0.5)])
def test_without_the_division_answers_stay_and_the_loss_rises(without_division, data, hidden, p):
    scores, scaled = scores_as_trained_and_scaled(without_division, data, hidden, p)
    assert share_of_same_answers(scores, scaled) > 0.9
    losses = [softmax_loss(s, data["y_val"])[0] for s in (scores, scaled)]
    assert losses[0] > 1.5 * losses[1]


@pytest.mark.q3
def test_without_the_division_answers_change_after_batch_normalization(without_division, data):
    net = {"hidden": [100] * 4, "p": 0.25, "normalization": "batchnorm"}
    assert share_of_same_answers(*scores_as_trained_and_scaled(without_division, data, **net)) < 0.8


@pytest.mark.q3
def test_without_the_division_weights_divided_by_p_give_the_same_training(without_division):
    """The notebook measures such a net in place of one that was trained without the division."""
    X, y = np.random.default_rng(0).standard_normal((20, 8)), np.arange(20) % 3
    nets = [FullyConnectedNet([30], 8, 3, dropout=0.25, seed=5, dtype=np.float64) for _ in range(2)]
    nets[1].params = nets[0].params | {"W2": nets[0].params["W2"] / 0.25}
    undivided = nets[1].loss(X, y)[0]
    without_division.undo()
    assert undivided == pytest.approx(nets[0].loss(X, y)[0], rel=1e-12)


# ------------------------------------------------------------------------------------- convolutional networks


def source(notebook, cell_id):
    cells = nbformat.read(ROOT / f"{notebook}.ipynb", as_version=4).cells
    return next(cell.source for cell in cells if cell.id == cell_id)


@pytest.mark.q4
def test_the_second_layer_that_kernels_are_compared_on_is_computed_by_winograd(monkeypatch):
    direct_cython = pytest.importorskip("cs231n.kernels.direct_cython")
    calls = []
    namespace = {"np": np, "compare_kernels": lambda *arguments: calls.append(arguments)}
    for end in ("stride", "channels"):
        exec(source("ConvolutionalNetworks", f"convolutionalnetworks-029-{end}"), namespace)
    load_kernels("direct")

    def same_as(algorithm, arguments):
        monkeypatch.setattr(direct_cython, "ALGORITHM", "faster")
        chosen, _ = conv_forward_fast(*arguments)
        monkeypatch.setattr(direct_cython, "ALGORITHM", algorithm)
        return np.array_equal(chosen, conv_forward_fast(*arguments)[0])

    assert [same_as("direct", arguments) for arguments in calls] == [True, False]
    assert same_as("Winograd", calls[1])


# -------------------------------------------------------------------------------------------------- handout


@pytest.fixture(scope="module")
def handout():
    return collect()


@pytest.mark.parametrize(
    ("name", "given"),
    [
        pytest.param("Dropout", set(), marks=pytest.mark.q3),
        pytest.param("ConvolutionalNetworks", {"10 %", "95 %", "100 %"}, marks=pytest.mark.q4),
        pytest.param("PyTorch", {"70 %", "80 %", "85 %"}, marks=pytest.mark.q5),
    ],
)
def test_the_handout_tells_no_learner_our_accuracies(handout, name, given):
    """What is said about a network of the learner's is printed from the learner's own run."""
    cells = nbformat.reads(handout[f"{name}.ipynb"], as_version=4).cells
    texts = [cell.source for cell in cells if cell.cell_type == "markdown"]
    found = {match for text in texts for match in re.findall(r"\d[\d.]* %", text)}
    assert found == given
    words = ("this network has fewer", "stay together", "of ten images", "lie on top", "of the cats")
    assert not [(text, word) for text, word in product(texts, words) if word in text]
