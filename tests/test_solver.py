"""The Solver: what it records, which parameters it keeps, and that a stopped run goes on to the bit."""

import errno
import os
import re
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
import tqdm
from conftest import PATIENCE

import cs231n.solver
from cs231n import checkpoint
from cs231n.classifiers.fc_net import FullyConnectedNet, TwoLayerNet
from cs231n.solver import Solver
from cs231n.update_rules import OwnRule, rules_by_name

pytestmark = pytest.mark.q1

ROOT = Path(__file__).parents[1]
PARTS = ("loss_history", "train_acc_history", "val_acc_history", "best_val_acc", "epoch", "iteration")


def make_data(num_train=20, num_val=7, seed=0):
    """Noise in three classes, one of them shifted, so that there is something to learn."""
    rng = np.random.default_rng(seed)
    data = {}
    for part, count in {"train": num_train, "val": num_val}.items():
        y = rng.integers(3, size=count)
        data[f"y_{part}"] = y
        data[f"X_{part}"] = rng.standard_normal((count, 2, 2)) + y[:, None, None] - 1
    return data


def make_model(seed=0, **options):
    np.random.seed(seed)
    return FullyConnectedNet([6, 5], input_dim=4, num_classes=3, weight_scale=0.3, **options)


def make_solver(model=None, **options):
    options = {"batch_size": 5, "num_epochs": 3, "verbose": False} | options
    return Solver(model or make_model(), make_data(), **options)


def assert_same_arrays(actual, expected):
    assert actual.keys() == expected.keys()
    for name, array in expected.items():
        assert np.asarray(actual[name]).tobytes() == np.asarray(array).tobytes(), name


def assert_same_runs(actual, expected):
    """Two solvers agree in all that training leaves behind, bit for bit."""
    for name in PARTS:
        assert getattr(actual, name) == getattr(expected, name), name
    assert_same_arrays(actual.best_params, expected.best_params)
    assert_same_arrays(actual.model.params, expected.model.params)
    for a, b in zip(actual.model.bn_params, expected.model.bn_params, strict=True):
        assert_same_arrays(a, b)
    assert actual.optim_configs.keys() == expected.optim_configs.keys()
    for name, config in expected.optim_configs.items():
        assert_same_arrays(actual.optim_configs[name], config)


class Recorder:
    """A model of one bias that always hands out the same gradient and tells what it was asked."""

    def __init__(self, gradient=(0.0, 0.0, 0.0), losses=()):
        self.params = {"b": np.zeros(3)}
        self.gradient = np.array(gradient)
        self.losses = list(losses)
        self.calls = []  # ("loss" or "scores", number of examples)
        self.batches = []

    def loss(self, X, y=None):
        self.calls.append(("scores" if y is None else "loss", len(X)))
        if y is None:
            return np.tile(self.params["b"], (len(X), 1))
        self.batches.append(X.ravel())
        loss = self.losses.pop(0) if self.losses else 1.0
        if isinstance(loss, BaseException):
            raise loss
        return loss, {"b": self.gradient.copy()}


def numbered_data(num_train=10, num_val=4):
    return {
        "X_train": np.arange(num_train).reshape(-1, 1),
        "y_train": np.zeros(num_train, int),
        "X_val": np.arange(num_val).reshape(-1, 1),
        "y_val": np.arange(num_val) % 3,
    }


def record(model=None, data=None, **options):
    """A trained solver of a Recorder."""
    options = {"batch_size": 3, "num_epochs": 2, "verbose": False} | options
    solver = Solver(model or Recorder(), data or numbered_data(), **options)
    solver.train()
    return solver


# Histories


@pytest.mark.parametrize(
    "num_train, batch_size, num_epochs, num_iterations, moments",
    [
        (10, 3, 2, 6, [1, 3, 6]),
        (9, 3, 3, 9, [1, 3, 6, 9]),
        (5, 3, 3, 3, [1, 2, 3]),  # one iteration per epoch: the first is an epoch's end
        (5, 50, 2, 2, [1, 2]),  # a batch larger than the set
        (4, 1, 1, 4, [1, 4]),
        (1, 1, 1, 1, [1]),
    ],
)
def test_histories(num_train, batch_size, num_epochs, num_iterations, moments):
    data = numbered_data(num_train)
    solver = record(data=data, batch_size=batch_size, num_epochs=num_epochs)
    assert len(solver.loss_history) == solver.iteration == num_iterations
    assert len(solver.train_acc_history) == len(solver.val_acc_history) == len(moments)
    assert solver.epoch == num_epochs
    steps = np.cumsum([kind == "loss" for kind, _ in solver.model.calls])
    measured = {
        int(step) for (kind, _), step in zip(solver.model.calls, steps, strict=True) if kind == "scores"
    }
    assert sorted(measured) == moments


def test_histories_hold_what_was_measured():
    """The bias moves from class 0 to class 1, which has another share in each of the sets."""
    data = numbered_data(10, 4)
    data["y_train"][:3] = 1
    model = Recorder(gradient=(0, -1, 0), losses=np.array([3.0, 2.0, 1.0, 0.5], np.float32))
    model.params["b"][0] = 2.5  # overtaken at the third step of 1
    solver = record(model, data, batch_size=5, optim_config={"learning_rate": 1.0})
    assert solver.loss_history == [3.0, 2.0, 1.0, 0.5]
    assert solver.train_acc_history == [0.7, 0.7, 0.3]
    assert solver.val_acc_history == [0.5, 0.5, 0.25]
    assert solver.best_val_acc == 0.5
    assert all(type(value) is float for value in (*solver.loss_history, *solver.val_acc_history))


def test_minibatches_are_those_of_numpys_choice():
    np.random.seed(3)
    solver = record(num_train_samples=None)
    np.random.seed(3)
    for batch in solver.model.batches:
        np.testing.assert_array_equal(batch, np.random.choice(10, 3))


def test_a_seed_repeats_a_run():
    runs = []
    for seed in (0, 0, 1):
        solver = make_solver(make_model(seed, dropout=0.5, normalization="batchnorm"), update_rule="adam")
        solver.train()
        runs.append(solver)
    assert_same_runs(runs[1], runs[0])
    assert runs[2].loss_history != runs[0].loss_history


def test_lr_decay_every_epoch():
    solver = record(
        Recorder(gradient=(1.0, 0, 0)),
        lr_decay=0.5,
        num_epochs=3,
        optim_config={"learning_rate": np.float32(0.1)},
    )
    rate = float(np.float32(0.1))
    assert solver.optim_configs["b"]["learning_rate"] == rate * 0.5**3
    latest, _ = solver._latest
    np.testing.assert_allclose(latest["b"][0], -rate * 3 * (1 + 0.5 + 0.25), rtol=1e-12)


def test_the_callers_optim_config_is_left_alone():
    optim_config = {"learning_rate": 0.1}
    record(optim_config=optim_config, lr_decay=0.5, update_rule="sgd_momentum")
    assert optim_config == {"learning_rate": 0.1}


@pytest.mark.parametrize("rule", rules_by_name())
def test_every_update_rule_learns(rule):
    solver = make_solver(update_rule=rule, num_epochs=40, optim_config={"learning_rate": 0.02})
    solver.train()
    assert np.mean(solver.loss_history[-10:]) < 0.9 * solver.loss_history[0]


# The best parameters


@pytest.mark.parametrize(
    "options", [{}, {"normalization": "batchnorm", "dropout": 0.5}], ids=["plain", "all"]
)
def test_after_training_the_model_is_the_one_with_the_best_accuracy(options):
    """Running averages included: the accuracy measured then is measured again now."""
    solver = make_solver(make_model(**options), num_epochs=10, optim_config={"learning_rate": 0.5})
    solver.train()
    assert solver.best_val_acc == max(solver.val_acc_history) > solver.val_acc_history[-1]
    assert solver.check_accuracy(solver.X_val, solver.y_val) == solver.best_val_acc


def test_the_best_parameters_are_copies():
    solver = make_solver(make_model(normalization="batchnorm"))
    solver.train()
    assert_same_arrays(solver.model.params, solver.best_params)
    latest, latest_bn_params = solver._latest
    for name, best in solver.best_params.items():
        assert not np.shares_memory(best, solver.model.params[name])
        assert not np.shares_memory(best, latest[name])
    for mine, models in zip(solver._best_bn_params, solver.model.bn_params, strict=True):
        assert not np.shares_memory(mine["running_mean"], models["running_mean"])
    for latest, models in zip(latest_bn_params, solver.model.bn_params, strict=True):
        assert not np.shares_memory(latest["running_mean"], models["running_mean"])


def test_of_equal_accuracies_the_first_is_kept():
    solver = record(Recorder(gradient=(-1.0, 0, 0)), optim_config={"learning_rate": 1.0})
    assert set(solver.val_acc_history) == {0.5}
    np.testing.assert_array_equal(solver.model.params["b"], [1, 0, 0])


def test_training_in_two_parts_is_training_in_one():
    options = {"update_rule": "adam", "lr_decay": 0.9}
    whole = make_solver(make_model(normalization="batchnorm", dropout=0.6), num_epochs=5, **options)
    whole.train()
    parts = make_solver(make_model(normalization="batchnorm", dropout=0.6), num_epochs=2, **options)
    parts.train()
    parts.num_epochs = 5
    parts.train()
    assert_same_runs(parts, whole)


@pytest.mark.parametrize("batch_size", [3, 50])
def test_training_a_finished_run_again_changes_nothing(batch_size):
    solver = record(batch_size=batch_size)
    calls, accuracies = list(solver.model.calls), list(solver.val_acc_history)
    with pytest.warns(
        UserWarning, match=r"train\(\) has nothing to do: all 2 epochs are done\. To train on, set"
    ) as (warned):
        solver.train()
    assert warned[0].filename == __file__
    assert solver.model.calls == calls
    assert solver.val_acc_history == accuracies


# check_accuracy


class Scores:
    """A model whose scores are its inputs."""

    def __init__(self):
        self.params = {"b": np.zeros(1)}
        self.batches = []

    def loss(self, X, y=None):
        self.batches.append(X)
        return X


@pytest.mark.parametrize("batch_size, sizes", [(100, [5]), (5, [5]), (2, [2, 2, 1]), (1, [1] * 5)])
def test_check_accuracy_by_hand(batch_size, sizes):
    solver = Solver(Scores(), numbered_data())
    X = np.array([[0.1, 0.9], [5, -5], [-2, -1], [0, 0], [1, 3]])
    y = np.array([1, 0, 0, 0, 0])
    assert solver.check_accuracy(X, y, batch_size=batch_size) == 3 / 5
    assert [len(batch) for batch in solver.model.batches] == sizes
    np.testing.assert_array_equal(np.concatenate(solver.model.batches), X)


def test_check_accuracy_on_samples_draws_without_replacement():
    solver = Solver(Scores(), numbered_data())
    X = np.eye(10)
    y = np.where(np.arange(10) < 4, np.arange(10), 0)  # right: 0, 1, 2, 3
    np.random.seed(5)
    chosen = np.random.choice(10, 6, replace=False)
    np.random.seed(5)
    assert solver.check_accuracy(X, y, num_samples=6) == np.mean(chosen < 4)
    np.testing.assert_array_equal(solver.model.batches, [X[chosen]])
    state = np.random.get_state()[2]
    for num_samples in (10, 50, None):
        assert solver.check_accuracy(X, y, num_samples=num_samples) == 0.4
    assert np.random.get_state()[2] == state  # nothing was drawn


def test_accuracies_are_measured_on_so_many_samples():
    solver = record(num_train_samples=6, num_val_samples=2, num_epochs=1)
    assert [size for kind, size in solver.model.calls if kind == "scores"] == [6, 2, 6, 2]


# Errors


@pytest.mark.parametrize(
    "name", ["batch_size", "num_epochs", "print_every", "num_train_samples", "num_val_samples"]
)
@pytest.mark.parametrize("value", [0, -1, 2.5, "3", True])
def test_counts_must_be_whole_and_positive(name, value):
    with pytest.raises(ValueError, match=f"{name} must be an integer of at least 1; got {value!r}"):
        make_solver(**{name: value})


def test_unknown_option():
    with pytest.raises(TypeError, match="learning_rate"):
        make_solver(learning_rate=1e-3)


RULE_NAMES = "'sgd', 'sgd_momentum', 'nesterov', 'rmsprop', 'adam', 'adamw'"


@pytest.mark.parametrize(
    "rule, text",
    [
        ("Adam", f"{RULE_NAMES}; got 'Adam'"),
        ("prepare", f"{RULE_NAMES}; got 'prepare'"),
        (None, f"{RULE_NAMES} or a function (w, dw, config) -> (next_w, config); got None"),
        (lambda w, dw: w, "config); <lambda> takes other arguments"),
        (OwnRule, "got the class OwnRule: make one of it, as in OwnRule(...)"),
    ],
)
def test_unknown_update_rule(rule, text):
    with pytest.raises(ValueError, match=f"update_rule must be one of .*{re.escape(text)}"):
        make_solver(update_rule=rule)


def test_unknown_entry_of_optim_config():
    with pytest.raises(ValueError, match="unknown entry 'lr'"):
        make_solver(optim_config={"lr": 1e-3}).train()


@pytest.mark.parametrize("lr_decay", [-0.1, np.nan])
def test_lr_decay_out_of_range(lr_decay):
    with pytest.raises(ValueError, match=r"lr_decay must be in \[0, inf\]; got"):
        make_solver(lr_decay=lr_decay)


@pytest.mark.parametrize("name", ["X_train", "y_train", "X_val", "y_val"])
def test_data_without_a_part(name):
    data = make_data()
    del data[name]
    with pytest.raises(
        ValueError, match=f"data must have X_train, y_train, X_val and y_val; {name} is missing"
    ):
        Solver(make_model(), data)


@pytest.mark.parametrize("part", ["train", "val"])
@pytest.mark.parametrize(
    "X, y",
    [
        (np.ones((3, 4)), np.zeros(2, int)),
        (np.ones((0, 4)), np.zeros(0, int)),
        (np.ones((3, 4)), np.zeros((3, 1))),
    ],
    ids=["lengths", "empty", "column"],
)
def test_data_that_does_not_fit(part, X, y):
    text = f"X_{part} must have shape (N, ...) with N at least 1 and y_{part} shape (N,); got {X.shape} and "
    with pytest.raises(ValueError, match=re.escape(text)):
        Solver(make_model(), make_data() | {f"X_{part}": X, f"y_{part}": y})
    with pytest.raises(ValueError, match="X must have shape"):
        make_solver().check_accuracy(X, y)


def test_data_may_be_lists():
    data = {name: array.tolist() for name, array in numbered_data().items()}
    assert record(data=data).val_acc_history == [0.5, 0.5, 0.5]


# Divergence and Ctrl-C


@pytest.mark.parametrize("loss", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize(
    "config, rate", [({"learning_rate": 3e-4}, "learning rate 0.0003"), ({}, "learning rate")]
)
def test_a_loss_that_is_not_finite_stops_the_run(loss, config, rate):
    model = Recorder(gradient=(-1.0, 0, 0), losses=[1.0, 1.0, 1.0, 1.0, loss])
    solver = Solver(
        model, numbered_data(), batch_size=3, update_rule="rmsprop", optim_config=config, verbose=False
    )
    text = rf"the loss became {loss} at iteration 5 with rmsprop at .*{rate}.* Try a learning rate"
    with pytest.raises(FloatingPointError, match=text):
        solver.train()
    assert solver.loss_history == [1.0] * 4
    assert_same_arrays(model.params, solver.best_params)


@pytest.mark.parametrize("rate", [1e3, 1e30, 1e300])
def test_a_learning_rate_far_too_high_leaves_finite_parameters(rate):
    model = TwoLayerNet(4, 5, 3, weight_scale=1.0)
    solver = make_solver(model, optim_config={"learning_rate": rate}, num_epochs=50)
    text = re.escape(f"with sgd at learning rate {rate:g}. Try")
    with np.errstate(all="ignore"), pytest.raises(FloatingPointError, match=text):
        solver.train()
    assert all(np.isfinite(param).all() for param in model.params.values())


def test_parameters_that_are_not_finite_are_never_the_best():
    """Where none of those measured are finite, the initial ones are what remains."""
    model = Recorder(gradient=(-np.inf, 0, 0), losses=[1.0, 1.0, 1.0, np.nan])
    solver = Solver(model, numbered_data(), batch_size=3, verbose=False)
    with pytest.raises(FloatingPointError):
        solver.train()
    assert len(solver.val_acc_history) == 2
    np.testing.assert_array_equal(model.params["b"], [0, 0, 0])


def test_running_averages_go_back_with_the_parameters():
    solver = make_solver(make_model(normalization="batchnorm"))
    loss = solver.model.loss
    solver.model.loss = lambda X, y=None: (np.nan, loss(X, y)[1])
    with pytest.raises(FloatingPointError):
        solver.train()
    assert solver.model.bn_params == [{}, {}]


@pytest.mark.parametrize("iteration", [1, 2, 4, 5])
def test_ctrl_c_leaves_the_best_parameters_and_training_goes_on(iteration):
    def make(losses):
        model = Recorder(gradient=(0, -1.0, 0), losses=losses)
        np.random.seed(0)
        return Solver(
            model,
            numbered_data(),
            batch_size=3,
            num_epochs=2,
            num_train_samples=None,
            verbose=False,
            optim_config={"learning_rate": 1.0},
        )

    solver = make([1.0] * (iteration - 1) + [KeyboardInterrupt()])
    with pytest.raises(KeyboardInterrupt):
        solver.train()
    assert solver.iteration == len(solver.loss_history) == iteration - 1
    best = [0, 0, 0] if iteration == 1 else [0, 1, 0]
    np.testing.assert_array_equal(solver.model.params["b"], best)
    solver.train()
    assert len(solver.loss_history) == 6
    assert len(solver.val_acc_history) == len(solver.train_acc_history) == 3
    np.testing.assert_array_equal(solver._latest[0]["b"], [0, 6, 0])


@pytest.mark.parametrize("interrupted", [1, 2, 3, 4])
def test_ctrl_c_while_accuracies_are_measured_does_not_lose_them(interrupted):
    solver = make_solver(update_rule="adam", num_train_samples=None)
    loss, measurements = solver.model.loss, []

    def interrupted_loss(X, y=None):
        if y is None:
            measurements.append(len(X))
            if len(measurements) == interrupted:
                raise KeyboardInterrupt
        return loss(X, y)

    solver.model.loss = interrupted_loss
    with pytest.raises(KeyboardInterrupt):
        solver.train()
    assert len(solver.train_acc_history) == len(solver.val_acc_history)
    solver.train()
    undisturbed = make_solver(update_rule="adam", num_train_samples=None)
    undisturbed.train()
    assert_same_runs(solver, undisturbed)


# What is printed


def test_silence(capfd):
    record(verbose=False)
    assert capfd.readouterr() == ("", "")


def test_the_progress_bar_is_plain_text(capfd):
    solver = record(Recorder(losses=[2.5] * 5 + [1.25]), verbose=True, print_every=1)
    out, err = capfd.readouterr()
    last = out.rstrip("\n").split("\r")[-1]
    assert err == ""
    assert last.startswith("100%|")
    assert "| 6/6 [" in last
    assert last.rstrip().endswith("epoch 2/2, loss 1.250, accuracy train 1.000, val 0.500")
    assert out.endswith("\n")
    assert "\x1b" not in out
    assert solver.val_acc_history[-1] == 0.5


def test_the_progress_bar_is_no_widget():
    assert cs231n.solver.tqdm is tqdm.std.tqdm


def test_the_progress_bar_of_a_run_that_goes_on_starts_where_it_stopped(capfd):
    solver = record()
    solver.num_epochs, solver.verbose = 3, True
    solver.train()
    out = capfd.readouterr().out
    assert " 67%|" in out
    assert "| 6/9 [" in out
    assert "| 9/9 [" in out


# Checkpoints


class StoppedError(Exception):
    pass


def train_until(solver, epoch):
    """Train until the checkpoint of this epoch is written, and then two iterations that are lost."""
    loss = solver.model.loss

    def stopping_loss(X, y=None):
        if y is not None and len(solver.loss_history) == epoch * solver.iterations_per_epoch + 2:
            raise StoppedError
        return loss(X, y)

    solver.model.loss = stopping_loss
    with pytest.raises(StoppedError):
        solver.train()


MODELS = {
    "plain": {},
    "batchnorm-dropout": {"normalization": "batchnorm", "dropout": 0.5},
    "layernorm": {"normalization": "layernorm", "dtype": np.float64, "reg": 0.1},
}


@pytest.mark.parametrize("rule", rules_by_name())
@pytest.mark.parametrize("model_options", MODELS.values(), ids=MODELS)
@pytest.mark.parametrize("epoch", [1, 2, 4])
def test_a_resumed_run_ends_as_one_that_was_not_stopped(tmp_path, rule, model_options, epoch):
    options = {
        "update_rule": rule,
        "num_epochs": 5,
        "lr_decay": 0.8,
        "num_train_samples": 8,  # which draws from the generator too
        "optim_config": {"learning_rate": np.float32(0.03)},
    }
    whole = make_solver(make_model(**model_options), **options)
    whole.train()
    options["checkpoint_name"] = tmp_path / "run"
    train_until(make_solver(make_model(**model_options), **options), epoch)
    resumed = make_solver(make_model(1, **model_options), **options).resume()
    assert resumed.epoch == epoch
    resumed.train()
    assert_same_runs(resumed, whole)


def test_a_finished_run_goes_on_with_more_epochs(tmp_path):
    whole = make_solver(update_rule="adam", num_epochs=6)
    whole.train()
    make_solver(update_rule="adam", num_epochs=2, checkpoint_name=tmp_path / "run").train()
    resumed = make_solver(
        make_model(1), update_rule="adam", num_epochs=6, checkpoint_name=tmp_path / "run"
    ).resume()
    resumed.train()
    assert_same_runs(resumed, whole)


def test_a_model_without_bn_params_resumes(tmp_path):
    options = {"update_rule": "adam", "checkpoint_name": tmp_path / "run", "num_train_samples": None}
    whole = record(num_epochs=4, **options)
    record(**options | {"num_epochs": 2})
    np.random.seed(0)
    resumed = Solver(
        Recorder(), numbered_data(), batch_size=3, num_epochs=4, verbose=False, **options
    ).resume()
    resumed.train()
    assert resumed.loss_history == whole.loss_history
    assert_same_arrays(resumed.model.params, whole.model.params)


class NoisyRecorder(Recorder):
    """Its losses are Gaussian numbers, of which NumPy makes two at a time and keeps the second."""

    def loss(self, X, y=None):
        result = super().loss(X, y)
        return result if y is None else (np.random.randn(), result[1])


def test_half_a_pair_of_gaussian_numbers_is_kept(tmp_path):
    np.random.seed(0)
    whole = record(NoisyRecorder(), num_epochs=4)
    np.random.seed(0)
    record(NoisyRecorder(), num_epochs=1, checkpoint_name=tmp_path / "run")
    resumed = Solver(
        NoisyRecorder(),
        numbered_data(),
        batch_size=3,
        num_epochs=4,
        checkpoint_name=tmp_path / "run",
        verbose=False,
    ).resume()
    resumed.train()
    assert resumed.loss_history == whole.loss_history


def test_a_solver_that_has_trained_can_go_back(tmp_path):
    solver = make_solver(checkpoint_name=tmp_path / "run", num_epochs=2)
    solver.train()
    np.random.seed(0)
    checkpoint_text = (tmp_path / "run.npz").read_bytes()
    solver.num_epochs = 4
    solver.train()
    first = list(solver.loss_history)
    (tmp_path / "run.npz").write_bytes(checkpoint_text)
    solver.resume()
    assert len(solver.loss_history) == 8
    solver.train()
    assert solver.loss_history[:8] == first[:8]
    assert len(solver.loss_history) == 16


@pytest.mark.parametrize(
    "changed, text",
    [
        ({"update_rule": "rmsprop"}, "update_rule='adam'; this solver has 'rmsprop'"),
        ({"batch_size": 4}, "batch_size=5; this solver has 4"),
        ({"lr_decay": 0.5}, "lr_decay=1.0; this solver has 0.5"),
        ({"num_train_samples": 3}, "num_train_samples=20; this solver has 3"),
        ({"num_val_samples": 3}, "num_val_samples=7; this solver has 3"),
        (
            {"optim_config": {"learning_rate": 0.1}},
            r"optim_config\['learning_rate'\]=None; this solver has 0.1",
        ),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_a_checkpoint_of_other_options_is_refused(tmp_path, changed, text):
    options = {"update_rule": "adam", "checkpoint_name": tmp_path / "run"}
    make_solver(**options).train()
    with pytest.raises(ValueError, match=rf"run\.npz was written with {text}. Make the solver with the same"):
        make_solver(**options | changed).resume()


def test_a_checkpoint_of_other_data_is_refused(tmp_path):
    make_solver(checkpoint_name=tmp_path / "run").train()
    solver = Solver(make_model(), make_data(21), batch_size=5, checkpoint_name=tmp_path / "run")
    with pytest.raises(ValueError, match="num_train=20; this solver has 21"):
        solver.resume()


@pytest.mark.parametrize(
    "options, text",
    [
        ({"normalization": "batchnorm"}, "its beta1 is missing, this model's float32"),
        ({"dtype": np.float64}, r"its W1 is float32 \(4, 6\), this model's float64 \(4, 6\)"),
    ],
)
def test_a_checkpoint_of_another_model_is_refused(tmp_path, options, text):
    make_solver(checkpoint_name=tmp_path / "run").train()
    solver = make_solver(make_model(**options), checkpoint_name=tmp_path / "run")
    with pytest.raises(ValueError, match=rf"run\.npz is of another model: {text}"):
        solver.resume()
    assert solver.loss_history == []


@pytest.mark.parametrize(
    "damage",
    [
        lambda tree: tree.pop("random"),
        lambda tree: tree.pop("settings"),
        lambda tree: tree["histories"].pop("loss_history"),
        lambda tree: tree["optim_configs"].pop("W1"),
        lambda tree: tree["bn_params"].clear(),
        lambda tree: tree.update(params=np.ones(3)),
        lambda tree: tree.update(settings=1.0),
    ],
)
def test_a_file_that_is_no_checkpoint_of_a_solver_is_refused_and_changes_nothing(tmp_path, damage):
    options = {"checkpoint_name": tmp_path / "run"}
    make_solver(make_model(normalization="batchnorm"), **options).train()
    tree = checkpoint.load(tmp_path / "run.npz")
    damage(tree)
    checkpoint.save(tmp_path / "run.npz", tree)
    solver = make_solver(make_model(normalization="batchnorm"), **options)
    before = {name: param.copy() for name, param in solver.model.params.items()}
    with pytest.raises(ValueError, match=r"run\.npz is not a checkpoint of a Solver"):
        solver.resume()
    assert_same_arrays(solver.model.params, before)
    assert solver.iteration == 0


class RunsCode:
    def __reduce__(self):
        return print, ("the pickle ran",)


def test_a_pickle_in_a_checkpoint_is_refused_and_does_not_run(tmp_path, capsys):
    solver = make_solver(checkpoint_name=tmp_path / "run")
    solver.train()
    np.savez(tmp_path / "run.npz", **{"params/W1": np.array([RunsCode()], dtype=object)})
    with pytest.raises(ValueError, match=r"run\.npz is not a checkpoint or is damaged"):
        solver.resume()
    assert "ran" not in capsys.readouterr().out


def test_nothing_to_resume(tmp_path):
    with pytest.raises(ValueError, match="checkpoint_name must be given to resume; got None"):
        make_solver().resume()
    with pytest.raises(FileNotFoundError, match=r"run\.npz"):
        make_solver(checkpoint_name=tmp_path / "run").resume()


def test_a_full_disk_costs_the_checkpoint_and_not_the_training(tmp_path, monkeypatch):
    """The first checkpoint is written; then the disk is full in the middle of every further one."""
    whole = make_solver()
    whole.train()
    solver = make_solver(checkpoint_name=tmp_path / "run")
    write, written = checkpoint._write, []

    def write_once(file, arrays):
        if written:
            file.write(b"half a file")
            raise OSError(errno.ENOSPC, "No space left on device")
        write(file, arrays)
        written.append(True)

    monkeypatch.setattr(checkpoint, "_write", write_once)
    with pytest.warns(RuntimeWarning) as warned:
        solver.train()
    texts = [str(warning.message) for warning in warned]
    assert texts == [f"no checkpoint after epoch {i}: [Errno 28] No space left on device" for i in (2, 3)]
    assert {warning.filename for warning in warned} == {__file__}
    assert_same_runs(solver, whole)
    assert list(tmp_path.iterdir()) == [tmp_path / "run.npz"]
    assert make_solver(checkpoint_name=tmp_path / "run").resume().epoch == 1


def test_a_folder_that_cannot_be_written_to(tmp_path):
    (tmp_path / "folder").write_text("a file, not a folder")
    solver = make_solver(checkpoint_name=tmp_path / "folder" / "run", num_epochs=1)
    with pytest.warns(RuntimeWarning, match="no checkpoint after epoch 1: "):
        solver.train()
    assert len(solver.loss_history) == 4


# In processes of their own


SCRIPT = """
import os, signal, sys
import numpy as np
sys.path.insert(0, "tests")
from test_solver import make_model, make_solver

def solver(name, **options):
    model = make_model(normalization="batchnorm", dropout=0.5)
    return make_solver(model, update_rule="adam", num_epochs=4, lr_decay=0.9, checkpoint_name=name, **options)

"""


def start(tmp_path, script):
    path = tmp_path / "script.py"
    path.write_text(SCRIPT + textwrap.dedent(script))
    environment = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}
    return subprocess.Popen(
        [sys.executable, path, tmp_path / "run"],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_a_killed_process_is_resumed_by_another(tmp_path):
    killed = start(
        tmp_path,
        """
        run = solver(sys.argv[1])
        loss = run.model.loss
        def killing_loss(X, y=None):
            if len(run.loss_history) == 10:
                os.kill(os.getpid(), signal.SIGKILL)
            return loss(X, y)
        run.model.loss = killing_loss
        run.train()
        """,
    )
    killed.communicate(timeout=PATIENCE)
    assert killed.returncode == -signal.SIGKILL
    assert [path.name for path in tmp_path.iterdir() if path.suffix == ".npz"] == ["run.npz"]
    resumed = start(
        tmp_path,
        """
        run = solver(sys.argv[1]).resume()
        print(run.epoch)
        run.train()
        """,
    )
    out, err = resumed.communicate(timeout=PATIENCE)
    assert (resumed.returncode, out, err) == (0, "2\n", "")
    model = make_model(normalization="batchnorm", dropout=0.5)
    options = {"update_rule": "adam", "num_epochs": 4, "lr_decay": 0.9}
    whole = make_solver(model, checkpoint_name=tmp_path / "whole", **options)
    whole.train()
    fresh = make_model(1, normalization="batchnorm", dropout=0.5)
    ended = make_solver(fresh, checkpoint_name=tmp_path / "run", **options).resume()
    with pytest.warns(UserWarning, match="nothing to do"):
        ended.train()
    assert_same_runs(ended, whole)


def test_a_real_ctrl_c(tmp_path):
    process = start(
        tmp_path,
        """
        signal.signal(signal.SIGINT, signal.default_int_handler)
        run = solver(sys.argv[1])
        run.num_epochs = 10**9
        loss = run.model.loss
        def announcing_loss(X, y=None):
            if len(run.loss_history) == 30:
                print("training")
            return loss(X, y)
        run.model.loss = announcing_loss
        try:
            run.train()
        except KeyboardInterrupt:
            print("stopped", len(run.loss_history) == run.iteration)
        run.num_epochs = run.epoch + 2
        best = run.best_val_acc
        print(run.check_accuracy(run.X_val, run.y_val) == best)
        run.train()
        print(len(run.loss_history) == 4 * run.num_epochs == 4 * run.epoch)
        """,
    )
    assert process.stdout.readline() == "training\n"
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=PATIENCE)
    assert err == ""
    assert [line for line in out.splitlines() if line != "training"] == ["stopped True", "True", "True"]


def test_the_solver_knows_no_model():
    code = "import sys, cs231n.solver; print([name for name in sys.modules if 'classifiers' in name])"
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert run.stdout == "[]\n"


class TestBatchNormWithOneExample:
    """An example by itself has no variance: nothing below a batch norm can be learned from it."""

    def train(self, normalization="batchnorm", num_train=6, num_epochs=2, **options):
        model = FullyConnectedNet([4, 4], 4, 3, normalization=normalization)
        before = model.params["W1"].copy()
        data = make_data(num_train)
        solver = Solver(model, data, num_epochs=num_epochs, num_val_samples=5, verbose=False, **options)
        solver.train()
        return np.array_equal(solver._latest[0]["W1"], before)

    @pytest.mark.parametrize("options", [{"batch_size": 1}, {"num_train": 1, "num_epochs": 1}])
    def test_it_warns_once(self, options):
        with pytest.warns(UserWarning, match="batch normalization learns nothing with batch_size=") as caught:
            nothing_learned = self.train(**options)
        assert len(caught) == 1
        assert "normalization='layernorm'" in str(caught[0].message)
        assert caught[0].filename == __file__
        assert nothing_learned or options.get("num_train") == 1

    @pytest.mark.parametrize(
        "options", [{"batch_size": 2}, {"batch_size": 1, "normalization": "layernorm"}, {"num_train": 2}]
    )
    def test_it_is_silent_where_something_is_learned(self, options):
        np.random.seed(0)
        assert not self.train(**options)
