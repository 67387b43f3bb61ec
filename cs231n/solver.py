"""The training loop: the Solver trains any model by minibatch gradient descent and records its progress.

A model is an object with `params`, a dictionary of arrays, and `loss(X, y=None)`. Without y, `loss` returns
the scores; with y, it returns the loss and a dictionary of gradients under the names of the parameters. If a
model has `bn_params`, a list of dictionaries with running averages, they are saved with the parameters.
"""

import json
import math
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from pathlib import Path
from typing import Any, Protocol, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray
from tqdm import tqdm

from cs231n import checkpoint
from cs231n.averaging import Averaging, move_average
from cs231n.checkpoint import description
from cs231n.kernels.threads import denormals_as_zeros
from cs231n.metrics import LOWER_IS_BETTER, Metric, accuracy
from cs231n.update_rules import UpdateRule, default_learning_rate, name_of, require_update_rule, update_all
from cs231n.validation import (
    as_plain_array,
    as_real_array,
    describe_not_finite,
    label_shape_remedy,
    require_choice,
    require_finite,
    require_float_dtype,
    require_function,
    require_integer,
    require_label_values,
    require_labels,
    require_number,
    require_scores,
    require_settings,
    require_shape,
)

_PROGRESS = ("iteration", "epoch", "best_val_acc")
_HISTORIES = ("loss_history", "train_acc_history", "val_acc_history")
_NO_VARIANCE = 1e-8  # what rounding leaves of none, and far less than the 1e-5 that batch norm adds

Array = NDArray[Any]
Params = dict[str, Array]
BatchNormParams = list[dict[str, Any]]
Schedule = Callable[[int, int], float]
Augmentation = Callable[[Array, np.random.Generator], Array]


class Model(Protocol):
    """Any model that the Solver can train; see the module's docstring."""

    params: Params

    @overload
    def loss(self, X: Array) -> Array: ...

    @overload
    def loss(self, X: Array, y: Array) -> tuple[float, Params]: ...


class Solver:
    """Train a model on a training set and keep the parameters that do best on a validation set.

        >>> import numpy as np
        >>> from cs231n.classifiers.fc_net import TwoLayerNet
        >>> X, y = np.random.randn(40, 6), np.repeat([0, 1], 20)
        >>> X[y == 1] += 4
        >>> data = {"X_train": X, "y_train": y, "X_val": X, "y_val": y}
        >>> model = TwoLayerNet(input_dim=6, hidden_dim=10, num_classes=2)
        >>> solver = Solver(model, data, update_rule="adam", num_epochs=200, verbose=False)
        >>> solver.train()
        >>> solver.best_val_acc > 0.9
        True

    - model: see the module's docstring
    - data: a dictionary with `X_train` (N, ...), finite numbers, `y_train` (N,), integers from 0 on, and
      `X_val`, `y_val` likewise

    Options:
    - update_rule: 'sgd', 'sgd_momentum', 'nesterov', 'rmsprop', 'adam', 'adamw', or any other rule that was
      added to `cs231n.optim`; or a function (w, dw, config) -> (next_w, config) like those there
    - optim_config: settings of the update rule, such as {'learning_rate': 1e-3}
    - lr_decay: the learning rate is multiplied by it after every epoch
    - lr_schedule: in place of lr_decay, a function (step, total) -> factor, which multiplies optim_config's
      learning rate at each of the total steps; see `cs231n.schedules`
    - augment: a function (X, rng) -> X that changes the images of each minibatch, or several, one after the
      other; see `cs231n.augment`
    - average: a function t -> weight, by which an average of the parameters moves towards them after the
      t-th step; validation and `best_params` are then the average's; see `cs231n.averaging`
    - metric: a function (scores, y) -> number that takes the place of the accuracy, wherever one is named
      below; targets y then may be anything, such as floats (N, K); see `cs231n.metrics`
    - metric_goal: 'max' or 'min': which numbers are better; None for 'min' where `cs231n.metrics` says so
    - patience: stop after so many epochs in a row without a better validation accuracy; None for never
    - batch_size: examples per minibatch, drawn with `np.random.choice`
    - num_epochs: passes over the training set, of max(N // batch_size, 1) iterations each
    - num_train_samples, num_val_samples: how many examples the accuracies are measured on; None for all
    - checkpoint_name: save a checkpoint to the file `checkpoint_name`.npz after every epoch
    - print_every: iterations between two updates of the loss in the progress bar
    - verbose: whether to show the progress bar

    After `train()`:
    - `loss_history` holds a loss per iteration
    - `train_acc_history` and `val_acc_history` hold the accuracies after the first iteration, after every
      epoch and after the last iteration
    - `best_val_acc` is the highest validation accuracy; `best_params` and `model.params` hold its parameters
    """

    def __init__(
        self,
        model: Model,
        data: Mapping[str, ArrayLike],
        *,
        update_rule: str | UpdateRule = "sgd",
        optim_config: Mapping[str, Any] | None = None,
        lr_decay: float = 1.0,
        batch_size: int = 100,
        num_epochs: int = 10,
        num_train_samples: int | None = 1000,
        num_val_samples: int | None = None,
        checkpoint_name: str | Path | None = None,
        print_every: int = 10,
        verbose: bool = True,
        lr_schedule: Schedule | None = None,
        augment: Augmentation | Sequence[Augmentation] | None = None,
        average: Averaging | None = None,
        metric: Metric = accuracy,
        metric_goal: str | None = None,
        patience: int | None = None,
    ) -> None:
        require_update_rule(update_rule)
        _require_params(model)
        self.model = model
        self.update_rule = update_rule
        self.optim_config = dict(
            require_settings("optim_config", {} if optim_config is None else optim_config)
        )
        self.lr_decay = require_number("lr_decay", lr_decay, 0, math.inf)
        self.batch_size = require_integer("batch_size", batch_size, 1)
        self.num_epochs = require_integer("num_epochs", num_epochs, 1)
        self.num_train_samples = _require_sample_size("num_train_samples", num_train_samples)
        self.num_val_samples = _require_sample_size("num_val_samples", num_val_samples)
        self.print_every = require_integer("print_every", print_every, 1)
        self.lr_schedule = _require_schedule(lr_schedule, self.lr_decay)
        self.augment = _require_augmentations(augment)
        self.average = _require_function_or_none("average", average, "t -> weight")
        require_function("metric", metric, "(scores, y) -> number")
        self.metric = metric
        require_choice("metric_goal", metric_goal, (None, "max", "min"))
        self.metric_goal = metric_goal or ("min" if metric in LOWER_IS_BETTER else "max")
        self.patience = None if patience is None else require_integer("patience", patience, 1)
        self.X_train, self.y_train = self._examples(data, "X_train", "y_train")
        self.X_val, self.y_val = self._examples(data, "X_val", "y_val")
        for name in ("X_train", "X_val"):  # once, since it takes as long as a pass over memory
            require_finite(name, getattr(self, name), "Mend or leave out these examples before training.")
        self.checkpoint_name = checkpoint_name
        self.verbose = verbose
        self._hand_on_preprocessing(data)
        self._reset()

    def _reset(self) -> None:
        self.optim_configs = {name: dict(self.optim_config) for name in self.model.params}
        self.iteration = 0
        self.epoch = 0
        self.best_val_acc = self._worst
        self.best_params: Params = {}
        self._best_bn_params: BatchNormParams = []
        self.loss_history: list[float] = []
        self.train_acc_history: list[float] = []
        self.val_acc_history: list[float] = []
        # The model's params and bn_params where training stopped
        self._latest: tuple[Params, BatchNormParams] | None = None
        self._averaged: tuple[Params, BatchNormParams] | None = None
        self._default_learning_rate: float | None = None
        self._augment_rng: np.random.Generator | None = None  # made when the first minibatch is drawn

    def _hand_on_preprocessing(self, data: Mapping[str, ArrayLike]) -> None:
        """Tell a model that classifies pictures how the images of `data` were made of them, if they say so.

        What the user has set counts more, and images that were changed since were made in another way.
        """
        preprocessing = getattr(data, "preprocessing", None)
        if preprocessing is None or getattr(self.model, "preprocessing", preprocessing) is not None:
            return
        if preprocessing.made(self.X_train):
            self.model.preprocessing = preprocessing  # type: ignore[attr-defined]

    @property
    def iterations_per_epoch(self) -> int:
        """Return the number of iterations that make up one pass over the training set."""
        return max(len(self.X_train) // self.batch_size, 1)

    def train(self) -> None:
        """Train until `num_epochs` are done and leave the best parameters in `model.params`.

        The best parameters so far are there too after Ctrl-C or after a loss that is no longer finite, which
        raises FloatingPointError. A second call resumes where training stopped, which a larger `num_epochs`
        or `patience` allows; where nothing is left to do, it warns and says why.

        Denormal numbers are taken for 0 meanwhile: see `cs231n.kernels.threads.denormals_as_zeros`, which a
        loop of one's own over `_step` may use as well.
        """
        self._go_on()
        if not self.best_params:
            self._remember_as_best()
        try:
            measured = self._close_epoch()  # an interruption may have left it out
            if (reason := self._why_finished()) and not measured:
                warnings.warn(f"train() has nothing to do: {reason}", stacklevel=2)
            with denormals_as_zeros(), self._progress_bar() as bar:
                while not self._why_finished():
                    before = self.iteration
                    self._step()
                    self.iteration = before + 1  # also after a `_step` of a subclass, such as the course's
                    measured = self._close_epoch()
                    if measured or self.iteration % self.print_every == 0:
                        bar.set_postfix_str(self._summary(), refresh=False)
                    bar.update()
        finally:
            self._latest = self.model.params, deepcopy(self._bn_params)
            self._put_into_model(_copies(self.best_params), deepcopy(self._best_bn_params))

    def _progress_bar(self) -> Any:
        return tqdm(
            total=self._num_iterations,
            initial=self.iteration,
            disable=not self.verbose or bool(self._why_finished()),
            file=sys.stdout,
            mininterval=0.5,
            bar_format="{percentage:3.0f}%|{bar:20}| {n}/{total} [{elapsed}<{remaining}]{postfix}",
        )

    @property
    def _num_iterations(self) -> int:
        return self.num_epochs * self.iterations_per_epoch

    def _why_finished(self) -> str | None:
        """Return why training is at its end and what would let it go on; None if it is not."""
        if self.iteration >= self._num_iterations:
            return (
                f"all {self.num_epochs} epochs are done. To train on, set solver.num_epochs to more than "
                f"{self.epoch}; to start again, make a new model and Solver."
            )
        if self.patience is not None and self._epochs_without_improvement() >= self.patience:
            return (
                f"it stopped early, after {self._epochs_without_improvement()} epochs without a better "
                f"validation (patience={self.patience}). To train on, set solver.patience to more, or None."
            )
        return None

    def _epochs_without_improvement(self) -> int:
        best, best_index = self._worst, 0
        for index, value in enumerate(self.val_acc_history):
            if self._is_better(value, best):
                best, best_index = value, index
        return len(self.val_acc_history) - 1 - best_index

    @property
    def _worst(self) -> float:
        return -math.inf if self.metric_goal == "max" else math.inf

    def _is_better(self, value: float, than: float) -> bool:
        return value > than if self.metric_goal == "max" else value < than

    def _go_on(self) -> None:
        """Put back the parameters with which training stopped, where the best ones took their place."""
        if self._latest:
            self._put_into_model(*self._latest)
            self._latest = None

    def _step(self) -> None:
        """Draw a minibatch and update every parameter. It does not end epochs, which a caller may do."""
        self._go_on()
        batch = np.random.choice(len(self.X_train), self.batch_size)
        X = self._augmented(self.X_train[batch])
        try:
            loss, grads = self.model.loss(X, self.y_train[batch])
        except ValueError:
            self._require_classes(X)
            raise
        self._set_scheduled_rate()
        if not math.isfinite(loss):
            raise FloatingPointError(self._divergence(f"the loss became {loss}", self.iteration + 1, X))
        _require_gradients(grads, self.model.params)
        update_all(self.update_rule, self.model.params, grads, self.optim_configs)
        self.loss_history.append(float(loss))
        self.iteration += 1
        self._move_average()
        if self.iteration == 1:
            self._warn_of_one_example()

    def _require_classes(self, X: Array) -> None:
        """Raise ValueError if `y_train` holds labels that are no classes of the model.

        The model's own error counts within the minibatch, and does not know the name of the labels.
        """
        if self.metric is accuracy:
            num_classes = self._scores(X).shape[1]
            try:
                require_labels(self.y_train, len(self.y_train), num_classes, "y_train")
            except ValueError as error:
                raise error from None

    def _warn_of_one_example(self) -> None:
        """Warn if batch normalization gets one example at a time, which is its own mean."""
        if min(self.batch_size, len(self.X_train)) > 1:
            return
        variances = [each["running_var"] for each in self._bn_params if "running_var" in each]
        if any(np.max(variance) < _NO_VARIANCE for variance in variances):
            warnings.warn(
                f"batch normalization learns nothing with batch_size={self.batch_size} and "
                f"{len(self.X_train)} training examples: a minibatch of one example is its own mean, so that "
                "its output does not depend on its input, and no gradient reaches the layers below. Give it "
                "2 different examples or more, or use normalization='layernorm'.",
                stacklevel=4,
            )

    def _augmented(self, X: Array) -> Array:
        """Return a minibatch after all augmentations.

        Their generator starts from the state of NumPy's global one and leaves that alone.
        """
        if not self.augment:
            return X
        if self._augment_rng is None:
            _, keys, position, *_ = np.random.get_state()
            self._augment_rng = np.random.default_rng([*map(int, keys), int(position)])
        for augment in self.augment:
            augmented = np.asarray(augment(X, self._augment_rng))
            if augmented.ndim == 0 or len(augmented) != len(X):
                raise ValueError(
                    f"augment must return as many examples as it is given, {len(X)}, in their order; "
                    f"{description(augment)} returned the shape {augmented.shape}"
                )
            X = augmented
        return X

    def _set_scheduled_rate(self) -> None:
        if self.lr_schedule is None:
            return
        total = self._num_iterations
        step = min(self.iteration, total - 1)  # a loop of one's own over `_step` may go on
        name = f"lr_schedule, at step {step} of {total},"
        factor = require_number(name, self.lr_schedule(step, total), 0, math.inf, "left")
        for config in self.optim_configs.values():
            config["learning_rate"] = self._base_learning_rate * factor

    @property
    def _base_learning_rate(self) -> float:
        """Return the learning rate that a schedule multiplies: optim_config's, or else the rule's default."""
        rate = self.optim_config.get("learning_rate", self._default_learning_rate)
        if rate is None:
            rate = self._default_learning_rate = default_learning_rate(self.update_rule)
        if rate is None:
            raise ValueError(
                f"optim_config must give the learning_rate that lr_schedule multiplies, since "
                f"{name_of(self.update_rule)} has none by default; got {self.optim_config!r}"
            )
        return float(rate)

    def _move_average(self) -> None:
        """Move the average of the parameters, and of batch norm's running averages, by one step."""
        if self.average is None:
            return
        name = f"average, at step {self.iteration},"
        weight = require_number(name, self.average(self.iteration), 0, 1)
        if self._averaged is None:
            self._averaged = {}, [{} for _ in self._bn_params]
        params, bn_params = self._averaged
        move_average(params, self.model.params, weight)
        for averages, values in zip(bn_params, self._bn_params, strict=True):
            move_average(averages, values, weight)

    def _close_epoch(self) -> bool:
        """Count an epoch that has ended and lower the learning rate; return whether a measurement was due.

        What is due is inferred from the counts so far: what Ctrl-C cut short is done when training resumes.
        """
        while self.epoch < self.iteration // self.iterations_per_epoch:
            self.epoch += 1
            self._decay_learning_rate()
        return self._measure_where_due()

    def _decay_learning_rate(self) -> None:
        if self.lr_decay == 1:
            return
        for config in self.optim_configs.values():
            if "learning_rate" not in config:
                raise ValueError(
                    f"optim_config must give the learning_rate that lr_decay multiplies, since "
                    f"{name_of(self.update_rule)} sets none; got {self.optim_config!r}"
                )
            config["learning_rate"] = float(config["learning_rate"]) * self.lr_decay

    def _is_at_epoch_end(self) -> bool:
        return self.iteration > 0 and self.iteration % self.iterations_per_epoch == 0

    def _divergence(self, event: str, iteration: int, X: Array) -> str:
        """Return what happened at which iteration, and where it comes from: data X, parameters or rate."""
        rate = next(iter(self.optim_configs.values())).get("learning_rate")
        speed = "its default learning rate" if rate is None else f"learning rate {rate:g}"
        event = f"{event} at iteration {iteration} with {name_of(self.update_rule)} at {speed}. "
        best = "model.params holds the best parameters seen so far."
        in_data = describe_not_finite(X)
        if in_data:
            return (
                f"{event}That is not the learning rate: the minibatch X {X.shape} holds {in_data}. Look at "
                f"the data and at what changes them. {best}"
            )
        wrong = _not_finite_params(self.model.params)
        if wrong and self.iteration == 0:
            return f"{event}That is not the learning rate: the model was made with {wrong}."
        after = f"By then the parameters held {wrong}. " if wrong else ""
        return (
            f"{event}{after}Try a learning rate ten times smaller, a smaller weight_scale, or inputs of a "
            f"smaller scale. {best}"
        )

    def _measure_where_due(self) -> bool:
        """Measure the accuracies if that is due, then save a checkpoint; return whether it was due.

        Whether a measurement is due is inferred from the number taken so far: one that Ctrl-C cut short is
        made when training resumes.
        """
        if len(self.val_acc_history) >= self._num_measurements_due():
            return False
        self._measure_accuracies()
        if self._is_at_epoch_end():
            self._save_checkpoint()
        return True

    def _num_measurements_due(self) -> int:
        """Return how many measurements there should be by now: the first iteration's and one per epoch."""
        if self.iteration == 0:
            return 0
        if self.iterations_per_epoch == 1:  # the first iteration is the first epoch's end
            return self.epoch
        return self.epoch + 1

    def _measure_accuracies(self) -> None:
        with self._average_in_model():
            train_acc = self.check_accuracy(self.X_train, self.y_train, self.num_train_samples)
            val_acc = self.check_accuracy(self.X_val, self.y_val, self.num_val_samples)
            self.train_acc_history.append(train_acc)
            self.val_acc_history.append(val_acc)
            if self._is_better(val_acc, self.best_val_acc) and _all_finite(self.model.params):
                self.best_val_acc = val_acc
                self._remember_as_best()

    @contextmanager
    def _average_in_model(self) -> Iterator[None]:
        """Have the averaged parameters in the model within the block, where an average is taken."""
        if self._averaged is None:
            yield
            return
        latest = self.model.params, [dict(bn_param) for bn_param in self._bn_params]
        self._put_into_model(*self._averaged)
        try:
            yield
        finally:
            self._put_into_model(*latest)

    def _remember_as_best(self) -> None:
        self.best_params = _copies(self.model.params)
        self._best_bn_params = deepcopy(self._bn_params)

    def _put_into_model(self, params: Params, bn_params: BatchNormParams) -> None:
        self.model.params = params
        for models, saved in zip(self._bn_params, bn_params, strict=True):
            models.clear()
            models.update(saved)

    @property
    def _bn_params(self) -> BatchNormParams:
        bn_params: BatchNormParams = getattr(self.model, "bn_params", [])
        return bn_params

    def _summary(self) -> str:
        metric = description(self.metric)
        early = self.iteration < self._num_iterations and self._why_finished()
        return (
            f"epoch {self.epoch}/{self.num_epochs}, loss {self.loss_history[-1]:.3f}, "
            f"{metric} train {self.train_acc_history[-1]:.3f}, val {self.val_acc_history[-1]:.3f}"
            f"{', stopped early' if early else ''}"
        )

    def check_accuracy(
        self, X: ArrayLike, y: ArrayLike, num_samples: int | None = None, batch_size: int = 100
    ) -> float:
        """Return the share of the examples X (N, ...) whose highest score is that of their label y (N,).

        A Solver with a metric of its own returns that of the scores of all examples and their targets.

        - num_samples: how many examples to measure on, drawn from X without replacement; None for all
        - batch_size: examples per forward pass, which limits the memory in use

        Raises ValueError for labels that are no classes of the model and for X that is not finite, and
        FloatingPointError for scores that are NaN, of which none is the highest.
        """
        X, y = all_X, all_y = self._examples({"X": X, "y": y}, "X", "y")
        batch_size = require_integer("batch_size", batch_size, 1)
        num_samples = _require_sample_size("num_samples", num_samples)
        if num_samples is not None and num_samples < len(X):
            sample = np.random.choice(len(X), num_samples, replace=False)
            X, y = X[sample], y[sample]
        starts = range(0, len(X), batch_size)
        scores = np.concatenate([self._scores(X[start : start + batch_size]) for start in starts])
        if self.metric is accuracy:
            require_labels(all_y, len(all_y), scores.shape[1], self._name_of(all_y))
        elif len(scores) != len(X):
            raise ValueError(
                f"the model must return a score for each of {len(X)} examples; got {scores.shape}"
            )
        if not np.isfinite(scores).all():
            require_finite("X", all_X, "Mend or leave out these examples.")
        if np.isnan(scores).any():
            event = f"the scores hold {describe_not_finite(scores)}"
            raise FloatingPointError(self._divergence(event, self.iteration, X))
        value = np.asarray(self.metric(scores, y))
        if value.ndim or value.dtype.kind not in "biuf" or (np.isnan(value) and np.isfinite(scores).all()):
            raise ValueError(f"metric must return a number; {description(self.metric)} returned {value!r}")
        return float(value)

    def _scores(self, X: Array) -> Array:
        scores: Array = np.asarray(self.model.loss(X))
        return require_scores(scores, len(X)) if self.metric is accuracy else scores

    def _examples(self, data: Mapping[str, ArrayLike], X_name: str, y_name: str) -> tuple[Array, Array]:
        return _examples(data, X_name, y_name, any_targets=self.metric is not accuracy)

    def _name_of(self, y: Array) -> str:
        """Return what the caller knows these labels as."""
        return next((name for name in ("y_train", "y_val") if getattr(self, name) is y), "y")

    @property
    def checkpoint_path(self) -> Path:
        """Return where the checkpoint is saved."""
        return Path(f"{self.checkpoint_name}.npz")

    def _save_checkpoint(self) -> None:
        """Save the whole state, if there is a name for it. If the disk is full, warn and train on."""
        if not self.checkpoint_name:
            return
        _, keys, position, has_gauss, cached_gaussian = np.random.get_state()
        params, bn_params = self._latest or (self.model.params, self._bn_params)
        state = {
            "settings": self._settings(),
            "progress": {name: getattr(self, name) for name in _PROGRESS},
            "histories": {name: getattr(self, name) for name in _HISTORIES},
            "params": params,
            "best_params": self.best_params,
            "optim_configs": self.optim_configs,
            "bn_params": _numbered(bn_params),
            "best_bn_params": _numbered(self._best_bn_params),
            "random": {"keys": keys, "rest": (position, has_gauss, cached_gaussian)},
        }
        if self._augment_rng is not None:
            state["augmentation"] = {"generator": json.dumps(self._augment_rng.bit_generator.state)}
        if self._averaged is not None:
            averages, bn_averages = self._averaged
            state["average"] = {"params": averages, "bn_params": _numbered(bn_averages)}
        try:
            checkpoint.save(self.checkpoint_path, state)
        except OSError as error:
            warnings.warn(f"no checkpoint after epoch {self.epoch}: {error}", RuntimeWarning, stacklevel=5)

    def resume(self) -> "Solver":
        """Restore the checkpoint and return the solver; `train()` then ends as if it had never stopped.

        The result is the same bit for bit, because the state of NumPy's global generator is restored too.
        Make the solver with the same model, data and options as the one that stopped; `patience` and, where
        no schedule spans them, `num_epochs` may be others. Raises FileNotFoundError if there is no
        checkpoint, and ValueError if it is damaged or belongs to another run.
        """
        if not self.checkpoint_name:
            raise ValueError("checkpoint_name must be given to resume; got None")
        state = checkpoint.load(self.checkpoint_path)
        try:
            self._check_settings(state["settings"])
            self._check_params(state["params"])
            for params in (state["best_params"], state.get("average", {}).get("params")):
                if params:  # a loop of one's own over `_step` may not have found any
                    self._check_params(params)
            self._restore(state)
        except (AttributeError, KeyError, TypeError) as error:
            raise ValueError(f"{self.checkpoint_path} is not a checkpoint of a Solver: {error!r}") from error
        return self

    def _restore(self, state: Mapping[str, Any]) -> None:
        """Take over a checkpoint's state. Read all of it first: a damaged one must change nothing."""
        progress = {name: state["progress"][name] for name in _PROGRESS}
        histories = {name: state["histories"][name].tolist() for name in _HISTORIES}
        optim_configs = {name: state["optim_configs"][name] for name in self.model.params}
        numbers = [str(i) for i in range(len(self._bn_params))]
        bn_params = [state["bn_params"][number] for number in numbers]
        best_bn_params = [state["best_bn_params"][number] for number in numbers if state["best_params"]]
        position, has_gauss, cached_gaussian = state["random"]["rest"]
        random_state = ("MT19937", state["random"]["keys"], int(position), int(has_gauss), cached_gaussian)
        augment_rng, averaged = None, None
        if self.augment and progress["iteration"] > 0:
            augment_rng = _generator(state["augmentation"]["generator"])
        if self.average is not None and progress["iteration"] > 0:
            average = state["average"]
            averaged = average["params"], [average["bn_params"][number] for number in numbers]
        np.random.set_state(random_state)
        self._reset()
        for name, value in {**progress, **histories}.items():
            setattr(self, name, value)
        self.best_params = state["best_params"]
        self._best_bn_params = best_bn_params
        self.optim_configs = optim_configs
        self._augment_rng, self._averaged = augment_rng, averaged
        self._put_into_model(state["params"], bn_params)

    def _settings(self) -> dict[str, Any]:
        """Return the settings that a resumed run must share with the run that was stopped."""
        num_train, num_val = len(self.X_train), len(self.X_val)
        settings = {
            "update_rule": rule
            if isinstance(rule := self.update_rule, str)
            else f"function {description(rule)}",
            "batch_size": self.batch_size,
            "lr_decay": self.lr_decay,
            "num_train": num_train,
            "num_val": num_val,
            "num_train_samples": min(self.num_train_samples or num_train, num_train),
            "num_val_samples": min(self.num_val_samples or num_val, num_val),
        }
        settings |= self._chosen_settings()
        numbers = {name: value for name, value in self.optim_config.items() if np.isscalar(value)}
        return settings | {f"optim_config[{name!r}]": value for name, value in numbers.items()}

    def _chosen_settings(self) -> dict[str, Any]:
        """Return the settings whose defaults are not written, so that checkpoints from before still load."""
        settings: dict[str, Any] = {}
        if self.lr_schedule is not None:
            settings |= {"lr_schedule": description(self.lr_schedule), "num_epochs": self.num_epochs}
        if self.augment:
            settings["augment"] = description(self.augment)
        if self.average is not None:
            settings["average"] = description(self.average)
        if self.metric is not accuracy:
            settings |= {"metric": description(self.metric), "metric_goal": self.metric_goal}
        return settings

    def _check_settings(self, saved: Mapping[str, Any]) -> None:
        """Raise ValueError unless a checkpoint was written with this solver's options."""
        ours = self._settings()
        for name in sorted(ours.keys() | saved.keys()):
            if ours.get(name) != saved.get(name):
                remedy = "Make the solver with the same options, or delete the checkpoint."
                if name == "num_epochs":
                    remedy = "The schedule spans them: resume with as many, then set solver.num_epochs."
                raise ValueError(
                    f"{self.checkpoint_path} was written with {name}={saved.get(name)!r}; this solver has "
                    f"{ours.get(name)!r}. {remedy}"
                )

    def _check_params(self, saved: Params) -> None:
        """Raise ValueError unless a checkpoint's parameters have the model's names, shapes and dtypes."""
        ours, theirs = _shapes(self.model.params), _shapes(saved)
        if ours != theirs:
            name = min(name for name in ours.keys() | theirs.keys() if ours.get(name) != theirs.get(name))
            raise ValueError(
                f"{self.checkpoint_path} is of another model: its {name} is {theirs.get(name, 'missing')}, "
                f"this model's {ours.get(name, 'missing')}. Make the model with the same sizes and dtype."
            )


def _shapes(params: Params) -> dict[str, str]:
    return {name: f"{param.dtype} {param.shape}" for name, param in params.items()}


def _copies(params: Params) -> Params:
    return {name: param.copy() for name, param in params.items()}


def _all_finite(params: Params) -> bool:
    return all(bool(np.isfinite(param).all()) for param in params.values())


def _numbered(items: Sequence[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {str(i): item for i, item in enumerate(items)}


def _require_sample_size(name: str, value: int | None) -> int | None:
    """Return `value` as an int, or None for all examples; ValueError unless it is at least 1."""
    return None if value is None else require_integer(name, value, 1)


def _require_function_or_none(name: str, value: Any, form: str) -> Any:
    """Return a function, or None where there is none; ValueError for anything else."""
    if value is not None:
        require_function(name, value, form)
    return value


def _require_schedule(lr_schedule: Schedule | None, lr_decay: float) -> Schedule | None:
    """Return the schedule; ValueError unless it is a function or None, or if there is a decay beside it."""
    if lr_schedule is not None and lr_decay != 1:
        raise ValueError(
            "lr_decay must be 1 beside lr_schedule, which sets the learning rate of every step; "
            f"got {lr_decay}. Give one of the two; cs231n.schedules.StepDecay lowers the rate in steps."
        )
    schedule: Schedule | None = _require_function_or_none(
        "lr_schedule", lr_schedule, "(step, total) -> factor"
    )
    return schedule


def _require_augmentations(augment: Augmentation | Sequence[Augmentation] | None) -> list[Augmentation]:
    """Return the augmentations as a list, which is empty for None; ValueError unless all are functions."""
    if augment is None:
        return []
    functions: list[Augmentation] = list(augment) if isinstance(augment, Sequence) else [augment]
    for function in functions:
        require_function("augment", function, "(X, rng) -> X", "a list of functions or ")
    return functions


def _require_gradients(grads: Mapping[str, Array], params: Params) -> None:
    """Raise ValueError unless there is a gradient for every parameter, of its shape."""
    missing = ", ".join(sorted(params.keys() - grads.keys()))
    if missing:
        raise ValueError(
            f"model.loss(X, y) must return a gradient for every parameter; {missing} is missing; it "
            f"returned {', '.join(grads) or 'none'}"
        )
    for name, w in params.items():
        dw = np.asarray(grads[name])
        if dw.shape != w.shape:
            require_shape(f"grads[{name!r}]", dw, w.shape, f"that of model.params[{name!r}]")


def _generator(state: str) -> np.random.Generator:
    """Return the generator whose state a checkpoint holds as JSON; TypeError if it is none."""
    generator = np.random.default_rng()
    try:
        generator.bit_generator.state = json.loads(state)
    except (ValueError, KeyError) as error:
        raise TypeError(f"augmentation holds no state of a generator: {error!r}") from error
    return generator


def _examples(
    data: Mapping[str, ArrayLike], X_name: str, y_name: str, any_targets: bool = False
) -> tuple[Array, Array]:
    """Return the examples and labels under these names as arrays; ValueError unless they fit together.

    With `any_targets`, there may be several per example.
    """
    require_settings("data", data)
    for name in (X_name, y_name):
        if name not in data:
            raise ValueError(f"data must have X_train, y_train, X_val and y_val; {name} is missing")
    X, y = as_real_array(X_name, data[X_name]), as_plain_array(y_name, data[y_name])
    if any_targets and X.ndim and y.ndim and len(X) == len(y) > 0:
        return X, y
    if X.ndim == 0 or len(X) == 0 or y.shape != (len(X),):
        remedy = label_shape_remedy(y_name, y, len(X)) if X.ndim and len(X) else ""
        raise ValueError(
            f"{X_name} must have shape (N, ...) with N at least 1 and {y_name} shape (N,); "
            f"got {X.shape} and {y.shape}.{remedy}"
        )
    require_label_values(y_name, y)
    return X, y


def _require_params(model: Model) -> None:
    """Raise ValueError unless a model's parameters are arrays of floats that can be trained in place."""
    params = getattr(model, "params", None)
    if not isinstance(params, dict):
        raise ValueError(
            f"model must have params, a dictionary of arrays; got {params!r} in a {type(model).__name__}. "
            "Pass an instance of the model."
        )
    for key, param in params.items():
        name = f"model.params[{key!r}]"
        is_plain = isinstance(param, np.ndarray) and not isinstance(param, (np.ma.MaskedArray, np.matrix))
        if not is_plain and not isinstance(param, np.floating):
            kind = "None" if param is None else f"a {type(param).__name__}"
            raise ValueError(
                f"{name} must be an array; got {kind}. Make it with np.array(..., dtype=np.float32)."
            )
        require_float_dtype(f"the dtype of {name}", param.dtype)
        if isinstance(param, np.ndarray) and not param.flags.writeable:
            raise ValueError(
                f"{name} must not be read-only, since training writes to it. Replace it by a copy."
            )


def _not_finite_params(params: Params) -> str:
    """Return which parameters hold NaN or infinity, and how many; "" if none."""
    found = {name: describe_not_finite(np.asarray(param)) for name, param in params.items()}
    return "; ".join(f"{what}, in {name}" for name, what in found.items() if what)
