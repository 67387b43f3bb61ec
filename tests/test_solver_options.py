"""The Solver's choices: schedules, rules of one's own, augmentation, metrics, patience and averages."""

import pickle
import random
import re
import signal
from functools import partial

import numpy as np
import pytest
from conftest import PATIENCE
from test_solver import (
    Recorder,
    assert_same_arrays,
    assert_same_runs,
    make_data,
    make_model,
    make_solver,
    numbered_data,
    record,
    start,
    train_until,
)

from cs231n import checkpoint, optim
from cs231n.augment import Cutout, Mirror, Shift
from cs231n.averaging import ExponentialAverage, PolyakAverage
from cs231n.classifiers.fc_net import FullyConnectedNet
from cs231n.metrics import binary_accuracy, mean_squared_error
from cs231n.schedules import Cosine, OneCycle, StepDecay, WarmUp
from cs231n.solver import Solver
from cs231n.update_rules import rules_by_name

pytestmark = pytest.mark.q1


# Schedules


class Rates:
    """An update rule that keeps the learning rates it is given."""

    def __init__(self):
        self.seen = []

    def __call__(self, w, dw, config):
        self.seen.append(config["learning_rate"])
        return w, config


def test_a_schedule_multiplies_the_learning_rate_of_every_step():
    calls, rule = [], Rates()

    def schedule(step, total):
        calls.append((step, total))
        return (step + 1) / total

    record(update_rule=rule, optim_config={"learning_rate": 0.6}, lr_schedule=schedule)
    assert calls == [(step, 6) for step in range(6)]
    np.testing.assert_allclose(rule.seen, [0.1, 0.2, 0.3, 0.4, 0.5, 0.6], rtol=1e-12)


@pytest.mark.parametrize("rule", rules_by_name())
def test_without_a_learning_rate_the_rules_default_is_multiplied(rule):
    solver = record(update_rule=rule, lr_schedule=lambda step, total: 0.5)
    default = 1e-3 if rule in ("adam", "adamw") else 1e-2
    assert solver.optim_configs["b"]["learning_rate"] == default / 2


def test_a_constant_schedule_changes_nothing():
    plain, scheduled = (
        make_solver(update_rule="adam"),
        make_solver(make_model(), update_rule="adam", lr_schedule=lambda step, total: 1),
    )
    np.random.seed(1)
    plain.train()
    np.random.seed(1)
    scheduled.train()
    assert_same_runs(scheduled, plain)


def test_a_rule_without_a_learning_rate_is_refused_with_a_schedule():
    def rule(w, dw, config):
        return w - 0.1 * dw, config

    text = (
        "optim_config must give the learning_rate that lr_schedule multiplies, since rule has none by default"
    )
    with pytest.raises(ValueError, match=f"{text}; got {{}}"):
        record(update_rule=rule, lr_schedule=Cosine())
    with pytest.raises(ValueError, match="optim_config must give the learning_rate that lr_decay multiplies"):
        record(update_rule=rule, lr_decay=0.5)
    record(update_rule=rule)


@pytest.mark.parametrize("factor", [-0.1, np.nan, np.inf, None, "1"])
def test_factors_that_are_none_are_refused(factor):
    with pytest.raises(ValueError, match=rf"lr_schedule, at step 0 of 6, must be in .*; got {factor!r}"):
        record(lr_schedule=lambda step, total: factor)


@pytest.mark.parametrize(
    "options, text",
    [
        ({"lr_schedule": 0.9}, "lr_schedule must be a function (step, total) -> factor; got 0.9"),
        ({"lr_schedule": Cosine}, "got the class Cosine: make one of it, as in Cosine(...)"),
        ({"lr_schedule": Cosine(), "lr_decay": 0.9}, "lr_decay must be 1 beside lr_schedule"),
        ({"augment": "mirror"}, "augment must be a list of functions or a function (X, rng) -> X; got 'm'"),
        ({"augment": [Mirror(), Shift]}, "got the class Shift: make one of it"),
        ({"average": 0.99}, "average must be a function t -> weight; got 0.99"),
        ({"metric": "mse"}, "metric must be a function (scores, y) -> number; got 'mse'"),
        ({"metric_goal": "lowest"}, "metric_goal must be one of None, 'max', 'min'; got 'lowest'"),
        ({"patience": 0}, "patience must be an integer of at least 1; got 0"),
        ({"patience": True}, "patience must be an integer of at least 1; got True"),
    ],
)
def test_options_that_do_not_fit_are_refused(options, text):
    with pytest.raises(ValueError, match=re.escape(text)):
        make_solver(**options)


def test_data_that_is_no_dictionary_is_refused():
    X, y = np.ones((3, 4)), np.zeros(3, int)
    with pytest.raises(
        ValueError, match=r'data must be a dictionary, such as \{"X_train": .*\}; got a tuple'
    ):
        Solver(make_model(), (X, y, X, y))


# Update rules of one's own


def half_step(w, dw, config):
    """A rule as in the course: it fills in its settings, and its state starts at zero."""
    config.setdefault("learning_rate", 0.1)
    velocity = config.get("velocity", np.zeros_like(w))
    velocity = np.float64(0.5) * velocity - config["learning_rate"] * dw
    config["velocity"], config["steps"] = velocity, np.int64(config.get("steps", 0) + 1)
    return w + velocity, config


def scaled_step(w, dw, config):
    """A rule with a number of NumPy's in its state, which raises float32 to float64."""
    config.setdefault("scale", np.float64(0.1))
    return w - config["scale"] * dw, config


def test_a_function_is_an_update_rule():
    solver = record(Recorder(gradient=(1.0, 0, 0)), update_rule=half_step, num_epochs=1)
    np.testing.assert_allclose(solver._latest[0]["b"], [-0.1 - 0.15 - 0.175, 0, 0])
    assert solver.optim_configs["b"]["steps"] == 3


@pytest.mark.parametrize("rule", [optim.sgd, optim.adam, optim.adamw])
def test_a_plain_rule_given_as_a_function_trains_as_its_fast_form(rule):
    runs = []
    for update_rule in (rule, rule.__name__):
        solver = make_solver(make_model(dtype=np.float64), update_rule=update_rule)
        solver.train()
        runs.append(solver)
    np.testing.assert_allclose(runs[0].loss_history, runs[1].loss_history, rtol=1e-9)


def test_parameters_keep_their_dtype_under_a_function_that_forgets_it():
    solver = make_solver(
        update_rule=lambda w, dw, config: (w - np.float64(0.1) * dw.astype(np.float64), config)
    )
    solver.train()
    assert {param.dtype for param in solver._latest[0].values()} == {np.dtype(np.float32)}


@pytest.mark.parametrize(
    "rule, text",
    [
        (lambda w, dw, config: None, r"<lambda> must return \(next_w, config\), .*; got NoneType"),
        (lambda w, dw, config: w, "must return .*; got ndarray"),
        (lambda w, dw, config: (w, None), "must return .*; got tuple"),
        (lambda w, dw, config: (w[:2], config), r"next_w of the update rule <lambda> must have shape \(3,\)"),
    ],
)
def test_functions_that_return_something_else_are_refused(rule, text):
    with pytest.raises(ValueError, match=text):
        record(update_rule=rule)


def test_a_rule_that_is_added_to_optim_is_found_by_its_name(monkeypatch):
    def lion(w, dw, config=None):
        return w - 0.01 * np.sign(dw), config

    lion.__module__ = optim.__name__
    monkeypatch.setattr(optim, "lion", lion, raising=False)
    solver = record(Recorder(gradient=(2.0, 0, 0)), update_rule="lion")
    np.testing.assert_allclose(solver._latest[0]["b"], [-0.06, 0, 0])


def test_every_rule_of_optim_has_a_name():
    assert list(rules_by_name()) == ["sgd", "sgd_momentum", "nesterov", "rmsprop", "adam", "adamw"]
    assert all(name == rule.__name__ for name, rule in rules_by_name().items())


@pytest.mark.parametrize(
    "grads, text",
    [
        ({"c": np.zeros(3)}, "a gradient for every parameter; b is missing; it returned c"),
        (
            {"b": np.zeros((3, 1))},
            r"grads\['b'\] must have shape \(3,\) \(that of model.params\['b'\]\); got \(3, 1\)",
        ),
    ],
)
def test_gradients_that_do_not_fit_are_named(grads, text):
    model = Recorder()
    scores = model.loss
    model.loss = lambda X, y=None: scores(X) if y is None else (1.0, grads)
    with pytest.raises(ValueError, match=text):
        record(model)


# Augmentation


def test_augmentations_follow_each_other_and_minibatches_stay_those_of_numpys_choice():
    np.random.seed(3)
    shifts = []

    def shift(X, rng):
        shifts.append(rng.integers(1000))
        return X + shifts[-1]

    solver = record(num_train_samples=None, augment=[shift, lambda X, rng: 2 * X])
    np.random.seed(3)
    for batch, added in zip(solver.model.batches, shifts, strict=True):
        np.testing.assert_array_equal(batch, 2 * (np.random.choice(10, 3) + added))
    assert len(set(shifts)) == 6
    np.testing.assert_array_equal(solver.X_train.ravel(), np.arange(10))  # the data are as they were


@pytest.mark.parametrize("seed", [0, 1])
def test_a_seed_repeats_the_augmentation(seed):
    def drawn(seed):
        numbers = []
        np.random.seed(seed)
        record(augment=lambda X, rng: numbers.append(rng.random()) or X)
        return numbers

    assert drawn(seed) == drawn(seed) != drawn(2)


def test_what_is_measured_is_not_augmented():
    seen = []
    solver = record(augment=lambda X, rng: seen.append(len(X)) or X)
    assert seen == [3] * 6
    assert solver.val_acc_history == [0.5] * 3


@pytest.mark.parametrize("change", [lambda X, rng: X[:2], lambda X, rng: None, lambda X, rng: X.sum()])
def test_an_augmentation_must_return_the_minibatch(change):
    with pytest.raises(
        ValueError, match=r"augment must return as many examples as it is given, 3, .*<lambda>"
    ):
        record(augment=change)


# Metrics


class Line:
    """A linear model of one output, with the squared loss; scores (N,) or (N, 1)."""

    def __init__(self, num_inputs=1, column=False):
        self.params = {"w": np.zeros(num_inputs), "b": np.zeros(())}
        self.column = column

    def loss(self, X, y=None):
        scores = X @ self.params["w"] + self.params["b"]
        if y is None:
            return scores[:, None] if self.column else scores
        error = scores - y.reshape(-1)
        return np.mean(error**2), {"w": 2 * X.T @ error / len(X), "b": 2 * error.mean()}


def regression_data(column=False, num=60):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((num, 1))
    y = 3 * X[:, 0] - 1
    y = y[:, None] if column else y
    return {"X_train": X[10:], "y_train": y[10:], "X_val": X[:10], "y_val": y[:10]}


@pytest.mark.parametrize("column", [False, True])
def test_regression(column):
    solver = Solver(
        Line(column=column),
        regression_data(column),
        metric=mean_squared_error,
        optim_config={"learning_rate": 0.1},
        batch_size=10,
        num_epochs=40,
        verbose=False,
    )
    solver.train()
    assert solver.metric_goal == "min"
    assert solver.best_val_acc == min(solver.val_acc_history) < 1e-6 < solver.val_acc_history[0]
    assert solver.check_accuracy(solver.X_val, solver.y_val, batch_size=3) == pytest.approx(
        solver.best_val_acc
    )
    np.testing.assert_allclose(solver.model.params["w"], [3], atol=1e-3)


@pytest.mark.parametrize("column", [False, True])
def test_two_classes_with_one_output(column):
    data = regression_data()
    data |= {name: (data[name] > 0).astype(int) for name in ("y_train", "y_val")}
    options = {"batch_size": 10, "optim_config": {"learning_rate": 0.1}, "num_epochs": 20, "verbose": False}

    class Centred(Line):
        def loss(self, X, y=None):
            return super().loss(X) if y is None else super().loss(X, 2 * y - 1)

    solver = Solver(Centred(column=column), data, metric=binary_accuracy, **options)
    solver.train()
    assert solver.best_val_acc == max(solver.val_acc_history) >= 0.9
    with pytest.raises(
        ValueError, match="A model with one output needs another metric: give the Solver metric=b"
    ):
        Solver(Centred(column=column), data, **options).train()


def test_a_metric_sees_all_scores_at_once():
    seen = []

    def spread(scores, y):
        seen.append((len(scores), len(y)))
        return np.ptp(scores)

    solver = Solver(Recorder(), numbered_data(), metric=spread)
    assert solver.check_accuracy(np.ones((7, 1)), np.ones((7, 2)), batch_size=2) == 0
    assert seen == [(7, 7)]


@pytest.mark.parametrize("goal, best", [("max", 6.0), ("min", 1.0), (None, 6.0)])
def test_the_goal_says_which_numbers_are_better(goal, best):
    model = Recorder(gradient=(-1.0, 0, 0))
    options = {
        "metric": lambda scores, y: scores[0, 0],
        "metric_goal": goal,
        "optim_config": {"learning_rate": 1.0},
    }
    solver = record(model, **options)
    assert solver.val_acc_history == [1, 3, 6]
    assert solver.best_val_acc == best == model.params["b"][0]


@pytest.mark.parametrize("value", [np.nan, None, "good", np.ones(2)])
def test_a_metric_must_return_a_number(value):
    with pytest.raises(ValueError, match=r"metric must return a number; .*<lambda> returned "):
        record(metric=lambda scores, y: value)


def test_the_labels_of_validation_are_looked_at():
    data = make_data()
    for wrong in (data["y_val"].astype(str), data["y_val"] + 1, data["y_val"] + 0.5):
        with pytest.raises(ValueError, match="y_val must hold"):
            Solver(make_model(), data | {"y_val": wrong}, verbose=False).train()


def test_the_bar_names_the_metric(capfd):
    record(
        metric=mean_squared_error,
        data=numbered_data() | {"y_train": np.zeros((10, 3)), "y_val": np.zeros((4, 3))},
        verbose=True,
    )
    assert "mean_squared_error train 0.000, val 0.000" in capfd.readouterr().out


# Patience


def script(*values):
    """A metric that returns these numbers for the validation set, one after the other."""
    numbers = list(values)
    return lambda scores, y: numbers.pop(0) if len(y) == 4 else 0.0


@pytest.mark.parametrize(
    "values, patience, epochs",
    [
        ((5, 4, 4, 4, 4), 2, 2),  # the first is measured after the first iteration, the others after epochs
        ((1, 2, 2, 2, 9), 2, 3),  # as good is not better
        ((1, 2, 1, 3, 1, 1), 2, 5),
        ((1, 2, 3, 4, 5), 1, 4),
        ((5, 4, 4), 1, 1),
    ],
)
def test_training_stops_after_so_many_epochs_without_a_better_one(values, patience, epochs):
    solver = record(metric=script(*values), num_epochs=len(values) - 1, patience=patience)
    assert solver.epoch == epochs
    assert solver.val_acc_history == list(values[: epochs + 1])


def test_a_run_that_stopped_early_says_so_and_goes_on_with_more_patience(capfd):
    solver = record(metric=script(3, 1, 1, 1, 1, 1), num_epochs=5, patience=2, verbose=True, print_every=1)
    assert solver.epoch == 2
    assert ", stopped early" in capfd.readouterr().out
    text = r"has nothing to do: it stopped early, after 2 epochs without a better validation \(patience=2\)"
    with pytest.warns(UserWarning, match=f"{text}. To train on, set solver.patience to more, or None"):
        solver.train()
    assert solver.epoch == 2
    solver.patience = 3
    solver.train()
    assert solver.epoch == 3
    solver.patience = None
    solver.train()
    assert solver.epoch == 5


# Averages


def test_validation_and_the_best_parameters_are_the_averages():
    model = Recorder(gradient=(-1.0, 0, 0))
    options = {"optim_config": {"learning_rate": 1.0}, "metric": lambda scores, y: scores[0, 0]}
    solver = record(model, average=PolyakAverage(), **options)
    assert solver.val_acc_history == [1, 2, 3.5]  # after steps to 1 .. 6: means of 1, of 1 to 3, of 1 to 6
    np.testing.assert_array_equal(model.params["b"], [3.5, 0, 0])
    np.testing.assert_array_equal(solver._latest[0]["b"], [6, 0, 0])


def test_averages_do_not_change_how_training_goes():
    runs = []
    for average in (None, ExponentialAverage(0.9)):
        solver = make_solver(
            make_model(normalization="batchnorm", dropout=0.5), update_rule="adam", average=average
        )
        solver.train()
        runs.append(solver)
    assert runs[0].loss_history == runs[1].loss_history
    assert_same_arrays(runs[1]._latest[0], runs[0]._latest[0])
    for a, b in zip(runs[1]._latest[1], runs[0]._latest[1], strict=True):
        assert_same_arrays(a | {"mode": b["mode"]}, b)  # which every pass sets anew


def test_running_averages_of_batch_norm_are_averaged_too():
    model, means = make_model(normalization="batchnorm"), []
    solver = make_solver(model, average=PolyakAverage())
    step = solver._step

    def noting_step():
        step()
        means.append(model.bn_params[0]["running_mean"].copy())

    solver._step = noting_step
    solver.train()
    averages = solver._averaged[1][0]["running_mean"]
    np.testing.assert_allclose(averages, np.mean(means, axis=0), rtol=1e-5, atol=1e-6)
    assert averages.dtype == np.float32
    assert solver.check_accuracy(solver.X_val, solver.y_val) == solver.best_val_acc


def test_ctrl_c_while_the_average_is_measured_puts_the_parameters_back():
    model = Recorder(gradient=(-1.0, 0, 0))
    loss = model.loss

    def interrupted_loss(X, y=None):
        if y is None and solver.iteration == 3 and not interrupted:
            interrupted.append(model.params["b"].copy())
            raise KeyboardInterrupt
        return loss(X, y)

    model.loss, interrupted = interrupted_loss, []
    options = {"batch_size": 3, "num_epochs": 2, "verbose": False, "optim_config": {"learning_rate": 1.0}}
    solver = Solver(model, numbered_data(), average=PolyakAverage(), **options)
    with pytest.raises(KeyboardInterrupt):
        solver.train()
    np.testing.assert_array_equal(interrupted, [[2, 0, 0]])
    solver.train()
    np.testing.assert_array_equal(solver._latest[0]["b"], [6, 0, 0])
    np.testing.assert_array_equal(solver._averaged[0]["b"], [3.5, 0, 0])


def test_weights_of_an_average_that_are_none_are_refused():
    with pytest.raises(ValueError, match=r"average, at step 1, must be in \[0, 1\]; got 2"):
        record(average=lambda t: 2)


# The course's private calls


def test_a_loop_of_ones_own_over_steps_counts_epochs_and_lowers_the_rate_itself(tmp_path, monkeypatch):
    """As in the course: its `train`, line by line."""
    monkeypatch.chdir(tmp_path)
    solver = make_solver(num_epochs=2, lr_decay=0.5, optim_config={"learning_rate": 0.01})
    iterations_per_epoch = max(len(solver.X_train) // solver.batch_size, 1)
    num_iterations = solver.num_epochs * iterations_per_epoch
    for t in range(num_iterations):
        solver._step()
        if (t + 1) % iterations_per_epoch == 0:
            solver.epoch += 1
            for k in solver.optim_configs:
                solver.optim_configs[k]["learning_rate"] *= solver.lr_decay
        if t == 0 or t == num_iterations - 1 or (t + 1) % iterations_per_epoch == 0:
            solver.train_acc_history.append(solver.check_accuracy(solver.X_train, solver.y_train))
            solver.val_acc_history.append(solver.check_accuracy(solver.X_val, solver.y_val))
            solver._save_checkpoint()
            if solver.val_acc_history[-1] > solver.best_val_acc:
                solver.best_val_acc = solver.val_acc_history[-1]
                solver.best_params = {k: v.copy() for k, v in solver.model.params.items()}
    solver.model.params = solver.best_params
    assert (solver.epoch, solver.iteration) == (2, 8)
    assert {config["learning_rate"] for config in solver.optim_configs.values()} == {0.0025}
    assert list(tmp_path.iterdir()) == []
    whole = make_solver(num_epochs=2, lr_decay=0.5, optim_config={"learning_rate": 0.01})
    whole.train()
    assert solver.loss_history == whole.loss_history
    assert solver.val_acc_history == whole.val_acc_history


class CoursesSolver(Solver):
    def _step(self):
        """The course's, which knows no count of iterations."""
        batch = np.random.choice(self.X_train.shape[0], self.batch_size)
        loss, grads = self.model.loss(self.X_train[batch], self.y_train[batch])
        self.loss_history.append(loss)
        for p, w in self.model.params.items():
            self.model.params[p], self.optim_configs[p] = optim.sgd(w, grads[p], self.optim_configs[p])


def test_a_subclass_with_the_courses_step_trains_to_the_end():
    options = {"batch_size": 5, "num_epochs": 3, "verbose": False, "lr_decay": 0.5}
    runs = []
    for solver_class in (CoursesSolver, Solver):
        solver = solver_class(make_model(), make_data(), **options)
        solver.train()
        runs.append(solver)
    assert_same_runs(runs[0], runs[1])


def test_reset_starts_again():
    solver = make_solver(
        update_rule="adam",
        average=PolyakAverage(),
        augment=lambda X, rng: X + rng.normal(size=X.shape),
        patience=9,
    )
    before = {name: param.copy() for name, param in solver.model.params.items()}
    np.random.seed(5)
    solver.train()
    first = list(solver.loss_history)
    solver._reset()
    assert (solver.loss_history, solver.best_params, solver.epoch) == ([], {}, 0)
    solver.model.params = before
    np.random.seed(5)
    solver.train()
    assert solver.loss_history == first


def test_a_step_after_training_goes_on_from_its_end():
    model = Recorder(gradient=(-1.0, 0, 0))
    solver = record(model, optim_config={"learning_rate": 1.0})
    np.testing.assert_array_equal(model.params["b"], [1, 0, 0])  # the first of equally good ones
    solver._step()
    np.testing.assert_array_equal(model.params["b"], [7, 0, 0])
    solver.num_epochs = 3
    solver.train()
    np.testing.assert_array_equal(solver._latest[0]["b"], [9, 0, 0])


# Resuming

EVERYTHING = {
    "update_rule": "adamw",
    "optim_config": {"weight_decay": 0.1},
    "lr_schedule": WarmUp(0.2, Cosine()),
    "augment": [Mirror(), Shift(1), Cutout(1)],
    "average": ExponentialAverage(0.8),
    "patience": 50,
    "num_train_samples": 8,
}


def make_whole_solver(seed=0, **options):
    """A Solver with all choices, of images (2, 2, 1)."""
    model = make_model(seed, normalization="batchnorm", dropout=0.5)
    data = {
        name: array.reshape(-1, 1, 2, 2) if name[0] == "X" else array for name, array in make_data().items()
    }
    return Solver(model, data, **{"batch_size": 5, "num_epochs": 6, "verbose": False} | EVERYTHING | options)


def own_metric(scores, y):
    return float(scores[np.arange(len(y)), y].mean())


CHOICES = {
    "all": {},
    "nesterov-one-cycle-polyak": {
        "update_rule": "nesterov",
        "optim_config": {},
        "lr_schedule": OneCycle(),
        "average": PolyakAverage(start=5),
    },
    "own": {
        "update_rule": half_step,
        "optim_config": {"learning_rate": np.float64(0.3)},
        "lr_schedule": lambda step, total: np.float64(1 - step / total),
        "augment": lambda X, rng: X + rng.normal(size=X.shape) + np.random.randn(),
        "average": lambda t: np.float64(0.3),
        "metric": own_metric,
    },
    "scalars": {"update_rule": scaled_step, "optim_config": {"learning_rate": 1}},
    "decay": {"lr_schedule": None, "lr_decay": 0.7, "update_rule": partial(half_step)},
    "steps": {
        "lr_schedule": StepDecay((0.3, 0.6)),
        "average": None,
        "metric": own_metric,
        "metric_goal": "min",
    },
}


@pytest.mark.parametrize("choice", CHOICES)
@pytest.mark.parametrize("epoch", [1, 2, 5])
def test_a_resumed_run_ends_as_one_that_was_not_stopped(tmp_path, choice, epoch):
    whole = make_whole_solver(**CHOICES[choice])
    whole.train()
    options = CHOICES[choice] | {"checkpoint_name": tmp_path / "run"}
    train_until(make_whole_solver(**options), epoch)
    resumed = make_whole_solver(1, **options).resume()
    assert resumed.epoch == epoch
    resumed.train()
    assert_same_runs(resumed, whole)
    if whole._averaged:
        assert_same_arrays(resumed._averaged[0], whole._averaged[0])
        assert_same_arrays(resumed._averaged[1][1], whole._averaged[1][1])
    assert resumed._augment_rng.random() == whole._augment_rng.random()


@pytest.mark.parametrize(
    "changed, text",
    [
        (
            {"lr_schedule": Cosine()},
            r"lr_schedule='WarmUp\(share=0.2, then=Cosine\(floor=0.0\)\)'; this .*'Cosine",
        ),
        ({"lr_schedule": None}, "lr_schedule='WarmUp.*'; this solver has None"),
        (
            {"augment": Mirror()},
            r"augment='\[Mirror\(probability=0.5\), .*this solver has '\[Mirror\(pr.*\)\]'",
        ),
        ({"average": None}, r"average='ExponentialAverage\(decay=0.8\)'; this solver has None"),
        ({"metric": own_metric}, "metric=None; this solver has 'own_metric'"),
        ({"update_rule": optim.adamw}, "update_rule='adamw'; this solver has 'function adamw'"),
        (
            {"num_epochs": 9},
            "num_epochs=6; this .* 9. The schedule spans them: resume with as many, then set",
        ),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_a_checkpoint_of_other_choices_is_refused(tmp_path, changed, text):
    make_whole_solver(checkpoint_name=tmp_path / "run").train()
    with pytest.raises(ValueError, match=rf"run\.npz was written with {text}"):
        make_whole_solver(checkpoint_name=tmp_path / "run", **changed).resume()


def test_without_a_choice_a_checkpoint_holds_what_it_always_held(tmp_path):
    make_solver(checkpoint_name=tmp_path / "run").train()
    state = checkpoint.load(tmp_path / "run.npz")
    parts = "settings progress histories params best_params optim_configs bn_params best_bn_params random"
    assert state.keys() == set(parts.split())
    settings = "update_rule batch_size lr_decay num_train num_val num_train_samples num_val_samples"
    assert state["settings"].keys() == set(settings.split())
    assert state["progress"].keys() == {"iteration", "epoch", "best_val_acc"}


@pytest.mark.parametrize(
    "damage",
    [
        lambda tree: tree.pop("augmentation"),
        lambda tree: tree.pop("average"),
        lambda tree: tree["average"]["bn_params"].pop("1"),
        lambda tree: tree["augmentation"].update(generator="{}"),
        lambda tree: tree["augmentation"].update(generator="no JSON"),
        lambda tree: tree["augmentation"].update(generator=3),
    ],
)
def test_a_damaged_checkpoint_is_refused_and_changes_nothing(tmp_path, damage):
    make_whole_solver(checkpoint_name=tmp_path / "run").train()
    tree = checkpoint.load(tmp_path / "run.npz")
    damage(tree)
    checkpoint.save(tmp_path / "run.npz", tree)
    solver = make_whole_solver(1, checkpoint_name=tmp_path / "run")
    before, state = {name: param.copy() for name, param in solver.model.params.items()}, np.random.get_state()
    with pytest.raises(ValueError, match=r"run\.npz is not a checkpoint of a Solver"):
        solver.resume()
    assert_same_arrays(solver.model.params, before)
    assert solver.iteration == 0 and np.random.get_state()[2] == state[2]


def test_patience_may_change_and_a_run_that_stopped_early_goes_on(tmp_path):
    options = {"checkpoint_name": tmp_path / "run", "num_epochs": 60, "lr_schedule": None}
    stopped = make_whole_solver(**options, patience=2)
    stopped.train()
    assert stopped.epoch < 60
    with pytest.warns(UserWarning, match="it stopped early"):
        make_whole_solver(1, **options, patience=2).resume().train()
    resumed = make_whole_solver(1, **options, patience=4).resume()
    resumed.train()
    whole = make_whole_solver(**options | {"checkpoint_name": None}, patience=4)
    whole.train()
    assert_same_runs(resumed, whole)


def test_a_checkpoint_saved_by_hand_holds_where_training_stopped(tmp_path):
    """Not the best parameters, which are in the model after training; and before it, none are the best."""
    name = tmp_path / "run"
    solver = make_whole_solver(checkpoint_name=name)
    solver._save_checkpoint()
    solver.checkpoint_name = None
    solver.train()
    early = make_whole_solver(1, checkpoint_name=name).resume()
    early.train()
    assert_same_runs(early, solver)
    assert any((solver.best_params[key] != latest).any() for key, latest in solver._latest[0].items())
    solver.checkpoint_name = name
    solver._save_checkpoint()
    resumed = make_whole_solver(1, checkpoint_name=name).resume()
    assert_same_arrays(resumed.model.params, solver._latest[0])


def test_a_solver_with_all_choices_can_be_pickled():
    solver = make_whole_solver(num_epochs=2)
    solver.train()
    copy = pickle.loads(pickle.dumps(solver))
    for each in (solver, copy):
        each.num_epochs = 4
        np.random.seed(0)
        each.train()
    assert_same_runs(copy, solver)


def test_float32_stays():
    solver = make_whole_solver()
    solver.train()
    params, bn_params = solver._averaged
    arrays = [*params.values(), *solver.best_params.values(), *solver._latest[0].values()]
    arrays += [bn_param["running_var"] for bn_param in bn_params]
    assert {array.dtype for array in arrays} == {np.dtype(np.float32)}


# In processes of their own

KILLED = """
    import time
    from test_solver_options import make_whole_solver
    run = make_whole_solver(checkpoint_name=sys.argv[1], num_epochs=60, patience=12)
    loss = run.model.loss
    def announcing_loss(X, y=None):
        print(len(run.loss_history))
        time.sleep(0.001)
        return loss(X, y)
    run.model.loss = announcing_loss
    try:
        run.resume()
    except FileNotFoundError:
        pass  # killed before the first checkpoint
    run.train()
"""


def test_a_run_that_is_killed_at_random_moments_ends_to_the_bit(tmp_path):
    """With a schedule, augmentation, an average and patience, which ends it."""
    whole = make_whole_solver(num_epochs=60, patience=12)
    whole.train()
    assert whole.epoch < 60
    seed = random.randrange(2**32)
    chance = random.Random(seed)
    for _ in range(5):
        process = start(tmp_path, KILLED)
        for _ in range(chance.randrange(1, whole.iteration // 7)):
            process.stdout.readline()
        process.kill()
        _, err = process.communicate(timeout=PATIENCE)
        assert process.returncode == -signal.SIGKILL, err
    process = start(tmp_path, KILLED)
    _, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, err
    ended = make_whole_solver(1, checkpoint_name=tmp_path / "run", num_epochs=60, patience=12).resume()
    with pytest.warns(UserWarning, match="it stopped early"):
        ended.train()
    assert_same_runs(ended, whole)
    assert_same_arrays(ended._averaged[0], whole._averaged[0])


def test_a_float64_model_trains_with_all_choices():
    np.random.seed(0)
    model = FullyConnectedNet([6], input_dim=4, num_classes=3, dtype=np.float64)
    data = {
        name: array.reshape(-1, 1, 2, 2) if name[0] == "X" else array for name, array in make_data().items()
    }
    solver = Solver(model, data, batch_size=5, num_epochs=2, verbose=False, **EVERYTHING)
    solver.train()
    assert {array.dtype for array in solver._averaged[0].values()} == {np.dtype(np.float64)}
